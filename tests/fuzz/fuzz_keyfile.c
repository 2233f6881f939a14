/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_keyfile.c - any bytes as a file that should stand for a key, for everybody who reads such
 * files: `hsmkey reference --from-fake`, `hsmkey check` and the engine, with the provider's
 * decoders behind it. There is no token, so nobody may come to a key; all say why, in printable
 * words.
 */
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "../../provider/core/lifecycle.h"
#include "../../provider/provider.h"
#include "../../tools/cmd.h"
#include "fuzz.h"

#ifdef FUZZ_ENGINE /* OpenSSL 4.0 has none */
#include "../../engine/eng_local.h"
#endif

/* Private keys in the file cost time. */
#define SIZE_MOST 4096

static struct prov_ctx *prov;
static OSSL_LIB_CTX *libctx;

static int get_provider(OSSL_PROVIDER *provider, void *arg)
{
    (void)arg;
    if (strcmp(OSSL_PROVIDER_get0_name(provider), PROV_NAME) == 0)
        prov = OSSL_PROVIDER_get0_provider_ctx(provider);
    return 1;
}

/* The provider as the engine finds it, with a configuration that is good but for the module. */
static void prepare(void)
{
    setenv("OPENSSL_CONF", "/dev/null", 1);
    if (!OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL))
        abort();
    prov_stats_no_file = true;
    prov_config_override("pkcs11-module", "/nowhere/fuzz.so");
    if (!OSSL_PROVIDER_add_builtin(NULL, PROV_NAME, OSSL_provider_init) ||
        OSSL_PROVIDER_load(NULL, "default") == NULL || OSSL_PROVIDER_load(NULL, PROV_NAME) == NULL)
        abort();
    OSSL_PROVIDER_do_all(NULL, get_provider, NULL);
    libctx = OSSL_LIB_CTX_new();
    if (prov == NULL || prov->broken != NULL || libctx == NULL)
        abort();
}

static void judge(const struct fuzz_said *said)
{
    fuzz_must_print(said->out, said->out_len, 1);
    fuzz_must_print(said->err, said->err_len, 1);
}

static void from_fake(const char *path)
{
    struct cmd_env env = {.libctx = libctx};
    struct fuzz_said said;
    BIGNUM *modulus = NULL;
    bool ok;

    fuzz_listen_begin(&said);
    ok = cmd_fake_read(&env, path, &modulus);
    fuzz_listen_end(&said);
    judge(&said);
    if (ok != (modulus != NULL) || ok != (said.err_len == 0) || said.out_len != 0)
        abort();
    fuzz_said_clear(&said);
    BN_free(modulus);
    free(env.error);
}

static void check(const char *path)
{
    struct cmd_env env = {.libctx = libctx, .prov = prov};
    struct cmd_checks checks = {.env = &env};
    struct fuzz_said said;

    fuzz_listen_begin(&said);
    cmd_check_file(&checks, path);
    fuzz_listen_end(&said);
    judge(&said);
    if (checks.failed == 0 || said.out_len == 0)
        abort(); /* there is no token: no key is good */
    fuzz_said_clear(&said);
    free(env.error);
}

#ifdef FUZZ_ENGINE
static void engine(const char *path)
{
    const struct eng_ui nobody = {NULL, NULL};
    const char *data = NULL;
    int flags = 0;

    if (eng_load_reference(path, &nobody) != NULL)
        abort();
    if (ERR_GET_LIB(ERR_peek_last_error_all(NULL, NULL, NULL, &data, &flags)) != eng_err_lib() ||
        (flags & ERR_TXT_STRING) == 0)
        abort();
    fuzz_must_explain(data);
    ERR_clear_error();
}
#else
static void engine(const char *path)
{
    (void)path;
}
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path;

    if (size > SIZE_MOST)
        return 0;
    if (prov == NULL)
        prepare();
    path = fuzz_file(data, size);
    from_fake(path);
    check(path);
    engine(path);
    return 0;
}
