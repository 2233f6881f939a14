/* SPDX-License-Identifier: Apache-2.0
 *
 * refused.c - with software-private-keys = refuse: decryption with keys of a type that
 * the HSM does not have (SM2) is refused, encryption is libcrypto's own. Without that line none of
 * this is offered.
 */
#include <openssl/crypto.h>

#include "asymcipher.h"

struct refused_cipher {
    struct prov_ctx *ctx;
    EVP_PKEY_CTX *soft; /* while encrypting */
};

static void *cipher_newctx(void *provctx)
{
    struct refused_cipher *cipher = OPENSSL_zalloc(sizeof(*cipher));

    if (cipher != NULL)
        cipher->ctx = provctx;
    return cipher;
}

static void cipher_freectx(void *vctx)
{
    struct refused_cipher *cipher = vctx;

    if (cipher == NULL)
        return;
    EVP_PKEY_CTX_free(cipher->soft);
    OPENSSL_free(cipher);
}

static int decrypt_init(void *vctx, void *vkey, const OSSL_PARAM params[])
{
    const struct refused_cipher *cipher = vctx;
    const struct prov_key *key = vkey;

    (void)params;
    if (key != NULL && key->software)
        prov_raise_software_key(key);
    else
        prov_raise(cipher->ctx, PROV_R_NO_PRIVATE, "this is not a private key in the HSM");
    return 0;
}

/* libcrypto wants it beside its init, which never succeeds. */
static int decrypt(void *vctx, unsigned char *out, size_t *out_len, size_t out_size,
                   const unsigned char *in, size_t in_len)
{
    (void)vctx;
    (void)out;
    (void)out_len;
    (void)out_size;
    (void)in;
    (void)in_len;
    return 0;
}

static int encrypt_init(void *vctx, void *vkey, const OSSL_PARAM params[])
{
    struct refused_cipher *cipher = vctx;
    const struct prov_key *key = vkey;

    EVP_PKEY_CTX_free(cipher->soft);
    cipher->soft = NULL;
    if (key == NULL || key->pub == NULL)
        return 0;
    cipher->soft = EVP_PKEY_CTX_new_from_pkey(cipher->ctx->libctx, key->pub, PROV_NOT_US);
    return cipher->soft != NULL && EVP_PKEY_encrypt_init_ex(cipher->soft, params) == 1;
}

static int encrypt(void *vctx, unsigned char *out, size_t *out_len, size_t out_size,
                   const unsigned char *in, size_t in_len)
{
    struct refused_cipher *cipher = vctx;

    if (cipher->soft == NULL)
        return 0;
    *out_len = out_size;
    return EVP_PKEY_encrypt(cipher->soft, out, out_len, in, in_len) == 1;
}

static int set_ctx_params(void *vctx, const OSSL_PARAM params[])
{
    const struct refused_cipher *cipher = vctx;

    return params == NULL ||
           (cipher->soft != NULL && EVP_PKEY_CTX_set_params(cipher->soft, params) == 1);
}

static const OSSL_PARAM *settable_ctx_params(void *vctx, void *provctx)
{
    static const OSSL_PARAM settable[] = {
        OSSL_PARAM_utf8_string(OSSL_ASYM_CIPHER_PARAM_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_ASYM_CIPHER_PARAM_PROPERTIES, NULL, 0),
        OSSL_PARAM_END,
    };

    (void)vctx;
    (void)provctx;
    return settable;
}

const OSSL_DISPATCH prov_asymcipher_refused[] = {
    {OSSL_FUNC_ASYM_CIPHER_NEWCTX, (void (*)(void))cipher_newctx},
    {OSSL_FUNC_ASYM_CIPHER_FREECTX, (void (*)(void))cipher_freectx},
    {OSSL_FUNC_ASYM_CIPHER_DECRYPT_INIT, (void (*)(void))decrypt_init},
    {OSSL_FUNC_ASYM_CIPHER_DECRYPT, (void (*)(void))decrypt},
    {OSSL_FUNC_ASYM_CIPHER_ENCRYPT_INIT, (void (*)(void))encrypt_init},
    {OSSL_FUNC_ASYM_CIPHER_ENCRYPT, (void (*)(void))encrypt},
    {OSSL_FUNC_ASYM_CIPHER_SET_CTX_PARAMS, (void (*)(void))set_ctx_params},
    {OSSL_FUNC_ASYM_CIPHER_SETTABLE_CTX_PARAMS, (void (*)(void))settable_ctx_params},
    {0, NULL},
};
