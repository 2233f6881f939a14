/* SPDX-License-Identifier: Apache-2.0
 *
 * prov_fixture.c - see prov_fixture.h.
 */
#include "prov_fixture.h"

#include <check.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../provider/provider.h"
#include "fake.h"

void pf_config(const char *key, const char *value)
{
    prov_config_override(key, value);
}

struct prov_fixture pf_open(bool hsm_first)
{
    struct prov_fixture f = {.libctx = OSSL_LIB_CTX_new()};
    const struct prov_ctx *ctx;

    ck_assert_ptr_nonnull(f.libctx);
    if (getenv("HSM_TEST_MODULE") == NULL)
        pf_config("pkcs11-module", FAKE_PKCS11_PATH);
    setenv("HSM_TEST_PIN", "1234", 0);
    pf_config("pin", "env:HSM_TEST_PIN");
    ck_assert_int_eq(OSSL_PROVIDER_add_builtin(f.libctx, PROV_NAME, OSSL_provider_init), 1);
    if (hsm_first)
        f.hsm = OSSL_PROVIDER_load(f.libctx, PROV_NAME);
    f.software = OSSL_PROVIDER_load(f.libctx, "default");
    if (!hsm_first)
        f.hsm = OSSL_PROVIDER_load(f.libctx, PROV_NAME);
    ck_assert_ptr_nonnull(f.software);
    ck_assert_ptr_nonnull(f.hsm);
    ctx = OSSL_PROVIDER_get0_provider_ctx(f.hsm);
    ck_assert_ptr_null(ctx->broken);
    return f;
}

void pf_close(struct prov_fixture *f)
{
    OSSL_PROVIDER_unload(f->hsm);
    OSSL_PROVIDER_unload(f->software);
    OSSL_LIB_CTX_free(f->libctx);
    memset(f, 0, sizeof(*f));
}

static char queue[8192];

static int add_line(const char *line, size_t len, void *arg)
{
    size_t used = strlen(queue);

    (void)arg;
    if (used + len + 1 < sizeof(queue)) {
        memcpy(queue + used, line, len);
        queue[used + len] = '\0';
    }
    return 1;
}

const char *pf_errors(void)
{
    queue[0] = '\0';
    ERR_print_errors_cb(add_line, NULL);
    return queue;
}

bool pf_error_says(const char *text)
{
    /* There is no way to look at the whole queue and keep it: read it, put it back as one. */
    const char *all = pf_errors();
    bool found = strstr(all, text) != NULL;

    ERR_raise_data(ERR_LIB_USER, ERR_R_INTERNAL_ERROR, "%s", all);
    return found;
}
