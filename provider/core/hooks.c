/* SPDX-License-Identifier: Apache-2.0
 *
 * hooks.c - what the keystore calls around every call into a PKCS#11 module, and the MAC by which
 * it recognises a refused PIN. The keystore itself has no libcrypto.
 */
#define OPENSSL_SUPPRESS_DEPRECATED /* RAND_get_rand_method() */
#include "lifecycle.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/provider.h>
#include <openssl/rand.h>
#include <pthread.h>

/* A module may be built on the same libcrypto. While it runs, the thread's default library
 * context is one of its own, so that nothing it fetches can come back to us; and what it leaves in
 * the thread's error queue is taken away again, or it would look like our caller's failure. The
 * context is never freed: the module may use it until the process ends. */
static OSSL_LIB_CTX *module_libctx;
static pthread_once_t module_libctx_once = PTHREAD_ONCE_INIT;

/* Makes libcrypto decide now who serves RAND_bytes(). SoftHSM makes the rdrand engine, where
 * libcrypto has it, the whole process's generator when it is initialised; without this the
 * application's random numbers would come from there, whatever is configured. */
static void keep_rand_method(void)
{
#if OPENSSL_VERSION_MAJOR < 4
    (void)RAND_get_rand_method(); /* decides, for good, at its first call */
#endif
}

static void make_module_libctx(void)
{
    OSSL_LIB_CTX *libctx = OSSL_LIB_CTX_new();

    keep_rand_method(); /* no module has run before */
    if (libctx != NULL && OSSL_PROVIDER_load(libctx, "default") == NULL) {
        OSSL_LIB_CTX_free(libctx);
        libctx = NULL;
    }
    module_libctx = libctx;
}

static void *hook_enter(void)
{
    (void)pthread_once(&module_libctx_once, make_module_libctx);
    /* What a module on libcrypto leaves in the error queue is not the application's: "padding
     * check failed" in there would be an oracle, and any left-over fails libssl's next call. */
    (void)ERR_set_mark();
    return module_libctx != NULL ? OSSL_LIB_CTX_set0_default(module_libctx) : NULL;
}

static void hook_leave(void *cookie)
{
    if (cookie != NULL)
        (void)OSSL_LIB_CTX_set0_default(cookie);
    (void)ERR_pop_to_mark(); /* an empty queue takes no mark, and is empty again then */
}

static const struct ks_hooks hooks = {hook_enter, hook_leave};

/* HMAC-SHA256 for what is remembered of refused PINs, in the modules' library context, which no
 * application changes and nothing of ours is in. EVP_MAC-HMAC(7) */
static bool mac(const unsigned char *key, size_t key_len, const void *who, size_t who_len,
                const void *data, size_t len, unsigned char *out)
{
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_PROPERTIES, (char *)"provider=default", 0),
        OSSL_PARAM_construct_end(),
    };
    EVP_MAC *hmac = module_libctx != NULL
                        ? EVP_MAC_fetch(module_libctx, OSSL_MAC_NAME_HMAC, "provider=default")
                        : NULL;
    EVP_MAC_CTX *ctx = hmac != NULL ? EVP_MAC_CTX_new(hmac) : NULL;
    size_t out_len = 0;
    bool ok = ctx != NULL && EVP_MAC_init(ctx, key, key_len, params) == 1 &&
              EVP_MAC_update(ctx, who, who_len) == 1 && EVP_MAC_update(ctx, data, len) == 1 &&
              EVP_MAC_final(ctx, out, &out_len, KS_MAC_SIZE) == 1 && out_len == KS_MAC_SIZE;

    EVP_MAC_CTX_free(ctx);
    EVP_MAC_free(hmac);
    return ok;
}

void prov_hooks_install(void)
{
    ks_set_hooks(&hooks);
    ks_set_mac(mac);
}
