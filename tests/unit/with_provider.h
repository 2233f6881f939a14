/* SPDX-License-Identifier: Apache-2.0
 *
 * with_provider.h - for tests at the EVP level: the provider as a built-in, in a library context
 * of the test's own, over the fake module. Everything here is for one Check test at a time, which
 * runs in a process of its own.
 */
#ifndef WITH_PROVIDER_H
#define WITH_PROVIDER_H

#include <check.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>
#include <openssl/store.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "../../provider/provider.h"
#include "fake.h"

/* A test may define another one, in front of it. */
#ifndef TEST_MODULE_PATH
#define TEST_MODULE_PATH FAKE_PKCS11_PATH
#endif

static OSSL_LIB_CTX *libctx; /* default and hsm */
static OSSL_LIB_CTX *plain;  /* default alone: judges what comes out */
static OSSL_PROVIDER *loaded[3];
static unsigned long slot;
static const char *pin_source = "env:HSM_TEST_PIN"; /* for the next provider_up() */

/* Where every instruction costs fifty: fewer rounds will do. */
static inline bool under_valgrind(void)
{
    const char *preload = getenv("LD_PRELOAD");

    return preload != NULL && strstr(preload, "vgpreload") != NULL;
}

/* The contexts and providers for what was configured with prov_config_override(). */
static inline void providers_load(void)
{
    libctx = OSSL_LIB_CTX_new();
    plain = OSSL_LIB_CTX_new();
    ck_assert_int_eq(OSSL_PROVIDER_add_builtin(libctx, "hsm", OSSL_provider_init), 1);
    loaded[0] = OSSL_PROVIDER_load(libctx, "default");
    loaded[1] = OSSL_PROVIDER_load(libctx, "hsm");
    loaded[2] = OSSL_PROVIDER_load(plain, "default");
    for (int i = 0; i < 3; i++)
        ck_assert_ptr_nonnull(loaded[i]);
}

/* `offload`: NULL is everything. */
static inline void provider_up(const char *offload)
{
    ck_assert_int_eq(setenv("HSM_TEST_PIN", "1234", 1), 0);
    prov_config_override("pkcs11-module", TEST_MODULE_PATH);
    prov_config_override("token", "pkcs11:token=fake");
    prov_config_override("pin", pin_source);
    prov_config_override("offload", offload != NULL ? offload : "all rsa-tls");
    providers_load();
}

static inline void provider_down(void)
{
    for (int i = 0; i < 3; i++)
        OSSL_PROVIDER_unload(loaded[i]);
    OSSL_LIB_CTX_free(libctx);
    OSSL_LIB_CTX_free(plain);
}

static inline void token_up(void)
{
    fake_reset();
    slot = fake_add_token(NULL);
}

/* The private key of that label on the token, as libcrypto gets it from us. */
static inline EVP_PKEY *load_key(const char *label)
{
    OSSL_STORE_CTX *store;
    EVP_PKEY *key = NULL;
    char uri[128];

    snprintf(uri, sizeof(uri), "pkcs11:object=%s;type=private", label);
    store = OSSL_STORE_open_ex(uri, libctx, NULL, NULL, NULL, NULL, NULL, NULL);
    if (store == NULL)
        ERR_print_errors_fp(stderr);
    ck_assert_ptr_nonnull(store);
    while (key == NULL && !OSSL_STORE_eof(store)) {
        OSSL_STORE_INFO *info = OSSL_STORE_load(store);

        if (info != NULL && OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY)
            key = OSSL_STORE_INFO_get1_PKEY(info);
        OSSL_STORE_INFO_free(info);
    }
    OSSL_STORE_close(store);
    if (key == NULL)
        ERR_print_errors_fp(stderr);
    ck_assert_ptr_nonnull(key);
    ERR_clear_error();
    return key;
}

/* Its public half as a software key that knows nothing of us. */
static inline EVP_PKEY *public_half(unsigned long handle)
{
    unsigned char der[1024];
    const unsigned char *p = der;
    size_t len = fake_public_key(handle, der, sizeof(der));
    EVP_PKEY *key = d2i_PUBKEY_ex(NULL, &p, (long)len, plain, NULL);

    ck_assert_ptr_nonnull(key);
    return key;
}

/* The reason of the latest error of ours; libcrypto may have added its own. The queue is empty
 * then. The error's text goes to `text` (or NULL). */
static inline int our_reason_and_text(char *text, size_t size)
{
    const char *data = NULL;
    unsigned long e;
    int reason = 0, flags = 0;

    while ((e = ERR_get_error_all(NULL, NULL, NULL, &data, &flags)) != 0) {
        const char *lib = ERR_lib_error_string(e);

        if (lib == NULL || strstr(lib, "hsm") == NULL)
            continue;
        reason = ERR_GET_REASON(e);
        if (text != NULL)
            snprintf(text, size, "%s", (flags & ERR_TXT_STRING) != 0 ? data : "");
    }
    ck_assert_msg(reason != 0, "no error of ours");
    return reason;
}

static inline int our_reason(void)
{
    return our_reason_and_text(NULL, 0);
}

static inline void no_errors(void)
{
    const unsigned long e = ERR_peek_error();

    ck_assert_msg(e == 0, "left in the queue: %s", ERR_error_string(e, NULL));
}

/* Room for the largest signature here. */
#define SIG_MAX 512

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

static inline int run_suite(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    int failures;

    srunner_run_all(runner, CK_NORMAL);
    failures = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
