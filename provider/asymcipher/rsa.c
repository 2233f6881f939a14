/* SPDX-License-Identifier: Apache-2.0
 *
 * rsa.c - RSA decryption: contexts and parameters; decrypt.c has the rest. Encryption is
 * libcrypto's own work on the public half.
 */
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <string.h>

#include "../core/fetch_cache.h"
#include "../key/padding.h"
#include "../key/policy.h"
#include "asymcipher.h"

#ifndef OSSL_ASYM_CIPHER_PARAM_IMPLICIT_REJECTION
#define OSSL_ASYM_CIPHER_PARAM_IMPLICIT_REJECTION "implicit-rejection" /* OpenSSL 3.2 and later */
#endif

static const struct {
    int value;
    const char *name;
    enum prov_operation class;
} pad_modes[] = {
    {RSA_PKCS1_PADDING, OSSL_PKEY_RSA_PAD_MODE_PKCSV15, PROV_CLASS_RSA_PKCS1},
    {RSA_NO_PADDING, OSSL_PKEY_RSA_PAD_MODE_NONE, PROV_CLASS_RSA_PKCS1},
    {RSA_PKCS1_OAEP_PADDING, OSSL_PKEY_RSA_PAD_MODE_OAEP, PROV_CLASS_RSA_OAEP},
    {RSA_PKCS1_OAEP_PADDING, "oeap", PROV_CLASS_RSA_OAEP}, /* libcrypto's old misspelling */
    {RSA_PKCS1_WITH_TLS_PADDING, "tls", PROV_CLASS_RSA_TLS},
};
#define PAD_MODES (sizeof(pad_modes) / sizeof(pad_modes[0]))

/* --- contexts -------------------------------------------------------------------------------- */

static void *rsa_newctx(void *provctx)
{
    struct rsa_cipher *rsa = OPENSSL_zalloc(sizeof(*rsa));

    prov_fetched(provctx);
    if (rsa != NULL) {
        rsa->ctx = provctx;
        rsa->pad_mode = RSA_PKCS1_PADDING;
        rsa->implicit_rejection = 1;
    }
    return rsa;
}

static void rsa_freectx(void *vctx)
{
    struct rsa_cipher *rsa = vctx;

    if (rsa == NULL)
        return;
    EVP_PKEY_CTX_free(rsa->soft);
    prov_key_free(rsa->key);
    OPENSSL_free(rsa->label);
    OPENSSL_free(rsa);
}

static void *rsa_dupctx(void *vctx)
{
    const struct rsa_cipher *rsa = vctx;
    struct rsa_cipher *copy = OPENSSL_memdup(rsa, sizeof(*rsa));

    if (copy == NULL)
        return NULL;
    copy->key = rsa->key != NULL ? prov_key_ref(rsa->key) : NULL;
    copy->label = NULL;
    copy->soft = NULL;
    if ((rsa->label != NULL &&
         (copy->label = OPENSSL_memdup(rsa->label, rsa->label_len)) == NULL) ||
        (rsa->soft != NULL && (copy->soft = EVP_PKEY_CTX_dup(rsa->soft)) == NULL)) {
        rsa_freectx(copy);
        return NULL;
    }
    return copy;
}

static int set_key(struct rsa_cipher *rsa, struct prov_key *key)
{
    EVP_PKEY_CTX_free(rsa->soft);
    rsa->soft = NULL;
    rsa->priv = NULL;
    if (key == NULL && rsa->key == NULL) {
        prov_raise(rsa->ctx, PROV_R_PARAMETER, "no key was given");
        return 0;
    }
    if (key != NULL && key != rsa->key) {
        prov_key_free(rsa->key);
        rsa->key = prov_key_ref(key);
    }
    if (rsa->key->type != PROV_RSA) {
        prov_raise(rsa->ctx, PROV_R_UNSUPPORTED, "only RSA keys encrypt and decrypt, not %s keys",
                   prov_types[rsa->key->type].name);
        return 0;
    }
    return prov_usable(rsa->ctx);
}

/* --- parameters ------------------------------------------------------------------------------ */

static int set_pad_mode(struct rsa_cipher *rsa, const OSSL_PARAM *p)
{
    char text[16], *s = text;
    int value = 0;

    if (p->data_type == OSSL_PARAM_UTF8_STRING) {
        if (!OSSL_PARAM_get_utf8_string(p, &s, sizeof(text)))
            text[0] = '\0';
        for (size_t i = 0; i < PAD_MODES && value == 0; i++)
            if (strcmp(text, pad_modes[i].name) == 0)
                value = pad_modes[i].value;
    } else if (!OSSL_PARAM_get_int(p, &value)) {
        value = 0;
    }
    for (size_t i = 0; i < PAD_MODES; i++) {
        if (value == pad_modes[i].value) {
            rsa->pad_mode = value;
            return prov_permits(rsa->ctx, pad_modes[i].class, rsa->key);
        }
    }
    prov_raise(rsa->ctx, PROV_R_UNSUPPORTED,
               "RSA decryption knows the padding modes pkcs1, oaep, none and the TLS one (7)");
    return 0;
}

static const struct prov_digest *digest_param(const struct rsa_cipher *rsa, const OSSL_PARAM *p)
{
    char name[64] = "", *s = name, shown[64];
    const struct prov_digest *digest = NULL;

    if (OSSL_PARAM_get_utf8_string(p, &s, sizeof(name)))
        digest = prov_digest_by_name(rsa->ctx, name);
    if (digest == NULL)
        prov_raise(rsa->ctx, PROV_R_UNSUPPORTED,
                   "digest \"%s\" is not supported: SHA-1, SHA-2 and SHA-3 are",
                   ks_escape(shown, sizeof(shown), name, SIZE_MAX));
    return digest;
}

static int set_label(struct rsa_cipher *rsa, const OSSL_PARAM *p)
{
    void *label = NULL;
    size_t len = 0;

    if (p->data_size > 0 && !OSSL_PARAM_get_octet_string(p, &label, 0, &len)) {
        prov_raise(rsa->ctx, PROV_R_PARAMETER, "the OAEP label is not an octet string");
        return 0;
    }
    OPENSSL_free(rsa->label);
    rsa->label = label;
    rsa->label_len = len;
    return 1;
}

static const struct {
    const char *name;
    size_t offset; /* of an unsigned in struct rsa_cipher */
} numbers[] = {
    {OSSL_ASYM_CIPHER_PARAM_TLS_CLIENT_VERSION, offsetof(struct rsa_cipher, client_version)},
    {OSSL_ASYM_CIPHER_PARAM_TLS_NEGOTIATED_VERSION,
     offsetof(struct rsa_cipher, negotiated_version)},
    {OSSL_ASYM_CIPHER_PARAM_IMPLICIT_REJECTION, offsetof(struct rsa_cipher, implicit_rejection)},
};
#define NUMBERS (sizeof(numbers) / sizeof(numbers[0]))

static unsigned *number(struct rsa_cipher *rsa, size_t i)
{
    return (unsigned *)(void *)((char *)rsa + numbers[i].offset);
}

static int set_numbers(struct rsa_cipher *rsa, const OSSL_PARAM params[])
{
    for (size_t i = 0; i < NUMBERS; i++) {
        const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, numbers[i].name);

        if (p != NULL && !OSSL_PARAM_get_uint(p, number(rsa, i))) {
            prov_raise(rsa->ctx, PROV_R_PARAMETER, "parameter %s is not a number", numbers[i].name);
            return 0;
        }
    }
    return 1;
}

static int rsa_set_ctx_params(void *vctx, const OSSL_PARAM params[])
{
    struct rsa_cipher *rsa = vctx;
    const OSSL_PARAM *p;

    if (rsa->soft != NULL)
        return EVP_PKEY_CTX_set_params(rsa->soft, params);
    if (params == NULL)
        return 1;
    if ((p = OSSL_PARAM_locate_const(params, OSSL_ASYM_CIPHER_PARAM_PAD_MODE)) != NULL &&
        !set_pad_mode(rsa, p))
        return 0;
    if ((p = OSSL_PARAM_locate_const(params, OSSL_ASYM_CIPHER_PARAM_OAEP_DIGEST)) != NULL &&
        (rsa->oaep = digest_param(rsa, p)) == NULL)
        return 0;
    if ((p = OSSL_PARAM_locate_const(params, OSSL_ASYM_CIPHER_PARAM_MGF1_DIGEST)) != NULL &&
        (rsa->mgf1 = digest_param(rsa, p)) == NULL)
        return 0;
    if ((p = OSSL_PARAM_locate_const(params, OSSL_ASYM_CIPHER_PARAM_OAEP_LABEL)) != NULL &&
        !set_label(rsa, p))
        return 0;
    return set_numbers(rsa, params);
}

static const OSSL_PARAM *rsa_settable_ctx_params(void *vctx, void *provctx)
{
    static const OSSL_PARAM settable[] = {
        OSSL_PARAM_utf8_string(OSSL_ASYM_CIPHER_PARAM_OAEP_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_ASYM_CIPHER_PARAM_OAEP_DIGEST_PROPS, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_ASYM_CIPHER_PARAM_PAD_MODE, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_ASYM_CIPHER_PARAM_MGF1_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_ASYM_CIPHER_PARAM_MGF1_DIGEST_PROPS, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_ASYM_CIPHER_PARAM_OAEP_LABEL, NULL, 0),
        OSSL_PARAM_uint(OSSL_ASYM_CIPHER_PARAM_TLS_CLIENT_VERSION, NULL),
        OSSL_PARAM_uint(OSSL_ASYM_CIPHER_PARAM_TLS_NEGOTIATED_VERSION, NULL),
        OSSL_PARAM_uint(OSSL_ASYM_CIPHER_PARAM_IMPLICIT_REJECTION, NULL),
        OSSL_PARAM_END,
    };

    (void)vctx;
    (void)provctx;
    return settable;
}

static int get_pad_mode(const struct rsa_cipher *rsa, OSSL_PARAM *p)
{
    if (p->data_type != OSSL_PARAM_UTF8_STRING)
        return OSSL_PARAM_set_int(p, rsa->pad_mode);
    for (size_t i = 0; i < PAD_MODES; i++)
        if (rsa->pad_mode == pad_modes[i].value)
            return OSSL_PARAM_set_utf8_string(p, pad_modes[i].name);
    return 0;
}

static int rsa_get_ctx_params(void *vctx, OSSL_PARAM params[])
{
    struct rsa_cipher *rsa = vctx;
    const struct prov_digest *oaep = prov_rsa_oaep_digest(rsa);
    OSSL_PARAM *p;

    if (rsa->soft != NULL)
        return EVP_PKEY_CTX_get_params(rsa->soft, params);
    if (params == NULL)
        return 1;
    if ((p = OSSL_PARAM_locate(params, OSSL_ASYM_CIPHER_PARAM_PAD_MODE)) != NULL &&
        !get_pad_mode(rsa, p))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_ASYM_CIPHER_PARAM_OAEP_DIGEST)) != NULL &&
        !OSSL_PARAM_set_utf8_string(p, oaep->name))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_ASYM_CIPHER_PARAM_MGF1_DIGEST)) != NULL &&
        !OSSL_PARAM_set_utf8_string(p, rsa->mgf1 != NULL ? rsa->mgf1->name : oaep->name))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_ASYM_CIPHER_PARAM_OAEP_LABEL)) != NULL &&
        !OSSL_PARAM_set_octet_ptr(p, rsa->label, rsa->label_len))
        return 0;
    for (size_t i = 0; i < NUMBERS; i++)
        if ((p = OSSL_PARAM_locate(params, numbers[i].name)) != NULL &&
            !OSSL_PARAM_set_uint(p, *number(rsa, i)))
            return 0;
    return 1;
}

static const OSSL_PARAM *rsa_gettable_ctx_params(void *vctx, void *provctx)
{
    static const OSSL_PARAM gettable[] = {
        OSSL_PARAM_utf8_string(OSSL_ASYM_CIPHER_PARAM_OAEP_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_ASYM_CIPHER_PARAM_PAD_MODE, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_ASYM_CIPHER_PARAM_MGF1_DIGEST, NULL, 0),
        OSSL_PARAM_octet_ptr(OSSL_ASYM_CIPHER_PARAM_OAEP_LABEL, NULL, 0),
        OSSL_PARAM_uint(OSSL_ASYM_CIPHER_PARAM_TLS_CLIENT_VERSION, NULL),
        OSSL_PARAM_uint(OSSL_ASYM_CIPHER_PARAM_TLS_NEGOTIATED_VERSION, NULL),
        OSSL_PARAM_uint(OSSL_ASYM_CIPHER_PARAM_IMPLICIT_REJECTION, NULL),
        OSSL_PARAM_END,
    };

    (void)vctx;
    (void)provctx;
    return gettable;
}

/* --- encryption ------------------------------------------------------------------------------ */

static int rsa_encrypt_init(void *vctx, void *vkey, const OSSL_PARAM params[])
{
    struct rsa_cipher *rsa = vctx;

    if (!set_key(rsa, vkey))
        return 0;
    rsa->soft = EVP_PKEY_CTX_new_from_pkey(rsa->ctx->libctx, rsa->key->pub, PROV_NOT_US);
    if (rsa->soft != NULL && EVP_PKEY_encrypt_init_ex(rsa->soft, params) == 1)
        return 1;
    prov_raise(rsa->ctx, PROV_R_SOFTWARE, "libcrypto cannot encrypt with this key's public half");
    EVP_PKEY_CTX_free(rsa->soft);
    rsa->soft = NULL;
    return 0;
}

static int rsa_encrypt(void *vctx, unsigned char *out, size_t *out_len, size_t out_size,
                       const unsigned char *in, size_t in_len)
{
    struct rsa_cipher *rsa = vctx;

    if (rsa->soft == NULL)
        return 0;
    *out_len = out_size;
    return EVP_PKEY_encrypt(rsa->soft, out, out_len, in, in_len) == 1;
}

/* --- decryption ------------------------------------------------------------------------------ */

static int rsa_decrypt_init(void *vctx, void *vkey, const OSSL_PARAM params[])
{
    struct rsa_cipher *rsa = vctx;

    if (!set_key(rsa, vkey))
        return 0;
    rsa->pad_mode = RSA_PKCS1_PADDING;
    rsa->priv = prov_key_private_for(rsa->key, PROV_USE_DECRYPT);
    if (rsa->priv == NULL)
        return 0;
    return rsa_set_ctx_params(rsa, params);
}

const OSSL_DISPATCH prov_asymcipher_rsa[] = {
    {OSSL_FUNC_ASYM_CIPHER_NEWCTX, (void (*)(void))rsa_newctx},
    {OSSL_FUNC_ASYM_CIPHER_FREECTX, (void (*)(void))rsa_freectx},
    {OSSL_FUNC_ASYM_CIPHER_DUPCTX, (void (*)(void))rsa_dupctx},
    {OSSL_FUNC_ASYM_CIPHER_ENCRYPT_INIT, (void (*)(void))rsa_encrypt_init},
    {OSSL_FUNC_ASYM_CIPHER_ENCRYPT, (void (*)(void))rsa_encrypt},
    {OSSL_FUNC_ASYM_CIPHER_DECRYPT_INIT, (void (*)(void))rsa_decrypt_init},
    {OSSL_FUNC_ASYM_CIPHER_DECRYPT, (void (*)(void))prov_rsa_decrypt},
    {OSSL_FUNC_ASYM_CIPHER_GET_CTX_PARAMS, (void (*)(void))rsa_get_ctx_params},
    {OSSL_FUNC_ASYM_CIPHER_GETTABLE_CTX_PARAMS, (void (*)(void))rsa_gettable_ctx_params},
    {OSSL_FUNC_ASYM_CIPHER_SET_CTX_PARAMS, (void (*)(void))rsa_set_ctx_params},
    {OSSL_FUNC_ASYM_CIPHER_SETTABLE_CTX_PARAMS, (void (*)(void))rsa_settable_ctx_params},
    {0, NULL},
};
