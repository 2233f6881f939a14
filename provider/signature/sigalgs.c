/* SPDX-License-Identifier: Apache-2.0
 *
 * sigalgs.c - signature algorithms with a digest in their name ("RSA-SHA2-256"), which
 * OpenSSL 3.4 and later fetch as such. They are RSA and ECDSA signatures whose digest is fixed;
 * what differs from one to the next is newctx.
 */
#include <openssl/params.h>

#include "signature.h"

#ifdef OSSL_FUNC_SIGNATURE_SIGN_MESSAGE_INIT

static OSSL_FUNC_signature_sign_init_fn rsa_sign_init;
static OSSL_FUNC_signature_sign_message_init_fn rsa_sign_message_init;
static OSSL_FUNC_signature_sign_message_init_fn ecdsa_sign_message_init;
static OSSL_FUNC_signature_query_key_types_fn rsa_query_key_types;
static OSSL_FUNC_signature_query_key_types_fn ecdsa_query_key_types;

static void *fixed_digest(struct prov_sig *sig, enum ks_digest digest)
{
    if (sig != NULL)
        sig->fixed = prov_digest_by_ks(digest);
    return sig;
}

/* The name says all there is to set, but verification may be given the signature beforehand. */
static int set_ctx_params(void *vsig, const OSSL_PARAM params[])
{
    return params == NULL || prov_sig_set_expected(vsig, params);
}

static const OSSL_PARAM *settable_ctx_params(void *vsig, void *provctx)
{
    static const OSSL_PARAM settable[] = {
        OSSL_PARAM_octet_string(OSSL_SIGNATURE_PARAM_SIGNATURE, NULL, 0),
        OSSL_PARAM_END,
    };

    (void)vsig;
    (void)provctx;
    return settable;
}

static int rsa_sign_init(void *vsig, void *vkey, const OSSL_PARAM params[])
{
    (void)params;
    return prov_rsa_sig_sign_init(vsig, vkey, NULL);
}

static int rsa_sign_message_init(void *vsig, void *vkey, const OSSL_PARAM params[])
{
    struct prov_sig *sig = vsig;

    (void)params;
    if (!prov_rsa_sig_digest_sign_init(vsig, sig->fixed->name, vkey, NULL))
        return 0;
    sig->message = true;
    return 1;
}

static int ecdsa_sign_message_init(void *vsig, void *vkey, const OSSL_PARAM params[])
{
    struct prov_sig *sig = vsig;

    if (!prov_ecdsa_digest_sign_init(vsig, sig->fixed->name, vkey, NULL) ||
        !prov_ecdsa_set_ctx_params(vsig, params))
        return 0;
    sig->message = true;
    return 1;
}

static const char **rsa_query_key_types(void)
{
    static const char *types[] = {"RSA", NULL};

    return types;
}

static const char **ecdsa_query_key_types(void)
{
    static const char *types[] = {"EC", NULL};

    return types;
}

#define FN(function) ((void (*)(void))(function))

#define VERIFY_ROWS                                                                                \
    {OSSL_FUNC_SIGNATURE_SIGN_MESSAGE_UPDATE, FN(prov_sig_update)},                                \
        {OSSL_FUNC_SIGNATURE_VERIFY_INIT, FN(prov_sig_verify_init)},                               \
        {OSSL_FUNC_SIGNATURE_VERIFY, FN(prov_sig_verify)},                                         \
        {OSSL_FUNC_SIGNATURE_VERIFY_MESSAGE_INIT, FN(prov_sig_verify_message_init)},               \
        {OSSL_FUNC_SIGNATURE_VERIFY_MESSAGE_UPDATE, FN(prov_sig_digest_verify_update)},            \
        {OSSL_FUNC_SIGNATURE_VERIFY_MESSAGE_FINAL, FN(prov_sig_verify_message_final)},             \
        {OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, FN(set_ctx_params)},                                  \
    {                                                                                              \
        OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, FN(settable_ctx_params)                           \
    }

#define RSA_SIGALG(id, digest)                                                                     \
    static void *rsa_newctx_##id(void *provctx, const char *propq)                                 \
    {                                                                                              \
        return fixed_digest(prov_rsa_sig_newctx(provctx, propq), digest);                          \
    }                                                                                              \
    const OSSL_DISPATCH prov_sigalg_rsa_##id[] = {                                                 \
        {OSSL_FUNC_SIGNATURE_NEWCTX, FN(rsa_newctx_##id)},                                         \
        {OSSL_FUNC_SIGNATURE_FREECTX, FN(prov_sig_freectx)},                                       \
        {OSSL_FUNC_SIGNATURE_DUPCTX, FN(prov_sig_dupctx)},                                         \
        {OSSL_FUNC_SIGNATURE_QUERY_KEY_TYPES, FN(rsa_query_key_types)},                            \
        {OSSL_FUNC_SIGNATURE_SIGN_INIT, FN(rsa_sign_init)},                                        \
        {OSSL_FUNC_SIGNATURE_SIGN, FN(prov_rsa_sig_sign)},                                         \
        {OSSL_FUNC_SIGNATURE_SIGN_MESSAGE_INIT, FN(rsa_sign_message_init)},                        \
        {OSSL_FUNC_SIGNATURE_SIGN_MESSAGE_FINAL, FN(prov_rsa_sig_digest_sign_final)},              \
        {OSSL_FUNC_SIGNATURE_VERIFY_RECOVER_INIT, FN(prov_sig_verify_recover_init)},               \
        {OSSL_FUNC_SIGNATURE_VERIFY_RECOVER, FN(prov_sig_verify_recover)},                         \
        {OSSL_FUNC_SIGNATURE_GET_CTX_PARAMS, FN(prov_rsa_sig_get_ctx_params)},                     \
        {OSSL_FUNC_SIGNATURE_GETTABLE_CTX_PARAMS, FN(prov_rsa_sig_gettable_ctx_params)},           \
        VERIFY_ROWS,                                                                               \
        {0, NULL},                                                                                 \
    };

#define ECDSA_SIGALG(id, digest)                                                                   \
    static void *ecdsa_newctx_##id(void *provctx, const char *propq)                               \
    {                                                                                              \
        return fixed_digest(prov_sig_newctx(provctx, propq), digest);                              \
    }                                                                                              \
    const OSSL_DISPATCH prov_sigalg_ecdsa_##id[] = {                                               \
        {OSSL_FUNC_SIGNATURE_NEWCTX, FN(ecdsa_newctx_##id)},                                       \
        {OSSL_FUNC_SIGNATURE_FREECTX, FN(prov_sig_freectx)},                                       \
        {OSSL_FUNC_SIGNATURE_DUPCTX, FN(prov_sig_dupctx)},                                         \
        {OSSL_FUNC_SIGNATURE_QUERY_KEY_TYPES, FN(ecdsa_query_key_types)},                          \
        {OSSL_FUNC_SIGNATURE_SIGN_INIT, FN(prov_ecdsa_sign_init)},                                 \
        {OSSL_FUNC_SIGNATURE_SIGN, FN(prov_ecdsa_sign)},                                           \
        {OSSL_FUNC_SIGNATURE_SIGN_MESSAGE_INIT, FN(ecdsa_sign_message_init)},                      \
        {OSSL_FUNC_SIGNATURE_SIGN_MESSAGE_FINAL, FN(prov_ecdsa_digest_sign_final)},                \
        {OSSL_FUNC_SIGNATURE_GET_CTX_PARAMS, FN(prov_ecdsa_get_ctx_params)},                       \
        {OSSL_FUNC_SIGNATURE_GETTABLE_CTX_PARAMS, FN(prov_ecdsa_gettable_ctx_params)},             \
        VERIFY_ROWS,                                                                               \
        {0, NULL},                                                                                 \
    };

RSA_SIGALG(sha1, KS_DIGEST_SHA1)
RSA_SIGALG(sha224, KS_DIGEST_SHA224)
RSA_SIGALG(sha256, KS_DIGEST_SHA256)
RSA_SIGALG(sha384, KS_DIGEST_SHA384)
RSA_SIGALG(sha512, KS_DIGEST_SHA512)
RSA_SIGALG(sha512_224, KS_DIGEST_SHA512_224)
RSA_SIGALG(sha512_256, KS_DIGEST_SHA512_256)
RSA_SIGALG(sha3_224, KS_DIGEST_SHA3_224)
RSA_SIGALG(sha3_256, KS_DIGEST_SHA3_256)
RSA_SIGALG(sha3_384, KS_DIGEST_SHA3_384)
RSA_SIGALG(sha3_512, KS_DIGEST_SHA3_512)

ECDSA_SIGALG(sha1, KS_DIGEST_SHA1)
ECDSA_SIGALG(sha224, KS_DIGEST_SHA224)
ECDSA_SIGALG(sha256, KS_DIGEST_SHA256)
ECDSA_SIGALG(sha384, KS_DIGEST_SHA384)
ECDSA_SIGALG(sha512, KS_DIGEST_SHA512)
ECDSA_SIGALG(sha3_224, KS_DIGEST_SHA3_224)
ECDSA_SIGALG(sha3_256, KS_DIGEST_SHA3_256)
ECDSA_SIGALG(sha3_384, KS_DIGEST_SHA3_384)
ECDSA_SIGALG(sha3_512, KS_DIGEST_SHA3_512)
#else
typedef int prov_no_sigalgs; /* an empty translation unit is not C */
#endif
