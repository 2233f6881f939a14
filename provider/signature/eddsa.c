/* SPDX-License-Identifier: Apache-2.0
 *
 * eddsa.c - Ed25519 and Ed448 signatures, pure mode: the token gets the message itself,
 * in one piece. Verification is common.c's.
 */
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <string.h>

#include "signature.h"

/* Ed448's signatures. */
#define EDDSA_MAX 114U

/* --- parameters ----------------------------------------------------------------------------- */

/* Parameters of OpenSSL 3.2 and later. */
#ifndef OSSL_SIGNATURE_PARAM_INSTANCE
#define OSSL_SIGNATURE_PARAM_INSTANCE "instance"
#endif
#ifndef OSSL_SIGNATURE_PARAM_CONTEXT_STRING
#define OSSL_SIGNATURE_PARAM_CONTEXT_STRING "context-string"
#endif

/* Pure mode and no context are all that there is: those may be said, others are refused. */
static int check_params(const struct prov_sig *ed, const OSSL_PARAM params[])
{
    const char *pure = ed->key->type == PROV_ED448 ? "Ed448" : "Ed25519";
    const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_INSTANCE);
    char instance[32], shown[64], *s = instance;

    if (p != NULL && (!OSSL_PARAM_get_utf8_string(p, &s, sizeof(instance)) ||
                      OPENSSL_strcasecmp(instance, pure) != 0)) {
        prov_raise(ed->ctx, PROV_R_UNSUPPORTED,
                   "EdDSA instance \"%s\" is not supported in the HSM: pure %s is",
                   ks_escape(shown, sizeof(shown), p->data, p->data_size), pure);
        return 0;
    }
    p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_CONTEXT_STRING);
    if (p != NULL && p->data_size > 0) {
        prov_raise(ed->ctx, PROV_R_UNSUPPORTED,
                   "EdDSA with a context string is not supported in the HSM");
        return 0;
    }
    return 1;
}

static int eddsa_set_ctx_params(void *vctx, const OSSL_PARAM params[])
{
    struct prov_sig *ed = vctx;

    if (params == NULL || params[0].key == NULL)
        return 1;
    if (ed->soft != NULL)
        return EVP_PKEY_CTX_set_params(ed->soft, params);
    return ed->key != NULL && check_params(ed, params);
}

static const OSSL_PARAM *eddsa_settable_ctx_params(void *vctx, void *provctx)
{
    static const OSSL_PARAM settable[] = {
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_INSTANCE, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_SIGNATURE_PARAM_CONTEXT_STRING, NULL, 0),
        OSSL_PARAM_END,
    };

    (void)vctx;
    (void)provctx;
    return settable;
}

static int eddsa_get_ctx_params(void *vctx, OSSL_PARAM params[])
{
    /* AlgorithmIdentifiers of RFC 8410: an OID and nothing else */
    static const unsigned char ed25519[] = {0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70};
    static const unsigned char ed448[] = {0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x71};
    const struct prov_sig *ed = vctx;
    OSSL_PARAM *p;

    if (params == NULL)
        return 1;
    p = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_ALGORITHM_ID);
    if (p == NULL)
        return 1;
    return ed->key != NULL &&
           OSSL_PARAM_set_octet_string(p, ed->key->type == PROV_ED448 ? ed448 : ed25519,
                                       sizeof(ed25519));
}

static const OSSL_PARAM *eddsa_gettable_ctx_params(void *vctx, void *provctx)
{
    static const OSSL_PARAM gettable[] = {
        OSSL_PARAM_octet_string(OSSL_SIGNATURE_PARAM_ALGORITHM_ID, NULL, 0),
        OSSL_PARAM_END,
    };

    (void)vctx;
    (void)provctx;
    return gettable;
}

/* --- signing --------------------------------------------------------------------------------- */

static int start(struct prov_sig *ed, enum prov_key_type type, const char *mdname,
                 struct prov_key *key, const OSSL_PARAM params[])
{
    char shown[64];

    if (mdname != NULL && *mdname != '\0') {
        prov_raise(ed->ctx, PROV_R_PARAMETER,
                   "%s signs the message itself and takes no digest: leave %s out (openssl dgst "
                   "cannot, openssl pkeyutl -sign -rawin can)",
                   prov_types[type].name, ks_escape(shown, sizeof(shown), mdname, SIZE_MAX));
        return 0;
    }
    if (!prov_sig_sign_start(ed, key, PROV_CLASS_ED_SIGN))
        return 0;
    if (ed->key->type != type) {
        prov_raise(ed->ctx, PROV_R_PARAMETER, "the key is of type %s, not %s",
                   prov_types[ed->key->type].name, prov_types[type].name);
        return 0;
    }
    if (ed->priv != NULL && !prov_key_can(ed->key, ed->priv, KS_MECH_EDDSA))
        return prov_sig_raise_lacks(ed, KS_MECH_EDDSA);
    return params == NULL || check_params(ed, params);
}

static int ed25519_digest_sign_init(void *vctx, const char *mdname, void *vkey,
                                    const OSSL_PARAM params[])
{
    return start(vctx, PROV_ED25519, mdname, vkey, params);
}

static int ed448_digest_sign_init(void *vctx, const char *mdname, void *vkey,
                                  const OSSL_PARAM params[])
{
    return start(vctx, PROV_ED448, mdname, vkey, params);
}

static int eddsa_digest_sign(void *vctx, unsigned char *out, size_t *out_len, size_t out_size,
                             const unsigned char *tbs, size_t tbs_len)
{
    static const unsigned char nothing[1];
    const struct ks_mech eddsa = {.kind = KS_MECH_EDDSA};
    struct prov_sig *ed = vctx;
    unsigned char raw[EDDSA_MAX];
    size_t size, raw_len;
    struct ks_error err;

    if (!prov_sig_ready(ed))
        return 0;
    size = prov_types[ed->key->type].raw->signature_len;
    raw_len = size; /* NSS takes no other room */
    *out_len = size;
    if (out == NULL)
        return 1;
    if (out_size < size) {
        prov_raise(ed->ctx, PROV_R_PARAMETER,
                   "the signature has %zu bytes, and there is room for %zu", size, out_size);
        return 0;
    }
    if (tbs_len > KS_MESSAGE_MAX) {
        prov_raise(ed->ctx, PROV_R_UNSUPPORTED,
                   "%s signs the message itself in the token, and %zu bytes are more than the %u "
                   "that every token is known to take",
                   prov_types[ed->key->type].name, tbs_len, KS_MESSAGE_MAX);
        return 0;
    }
    if (!ks_ok(ks_sign(ed->priv, NULL, &eddsa, tbs_len > 0 ? tbs : nothing, tbs_len, raw, &raw_len,
                       &err)))
        return prov_sig_raise_failed(ed, &err);
    if (raw_len != size) {
        prov_raise(ed->ctx, PROV_R_VERIFY, "the token's %s signature has %zu bytes instead of %zu",
                   prov_types[ed->key->type].name, raw_len, size);
        return 0;
    }
    memcpy(out, raw, size);
    return 1;
}

/* --- OpenSSL 3.4 and later: the same by the names of messages -------------------------------- */

#ifdef OSSL_FUNC_SIGNATURE_SIGN_MESSAGE_INIT
static int ed25519_sign_message_init(void *vctx, void *vkey, const OSSL_PARAM params[])
{
    return start(vctx, PROV_ED25519, NULL, vkey, params);
}

static int ed448_sign_message_init(void *vctx, void *vkey, const OSSL_PARAM params[])
{
    return start(vctx, PROV_ED448, NULL, vkey, params);
}

static int verify_message_init(void *vctx, void *vkey, const OSSL_PARAM params[])
{
    struct prov_sig *ed = vctx;

    /* the parameters too: which instance it is matters to the answer */
    if (!prov_sig_digest_verify_init(ed, NULL, vkey, params))
        return 0;
    ed->message = true;
    return 1;
}

static const char **ed25519_query_key_types(void)
{
    static const char *types[] = {"ED25519", NULL};

    return types;
}

static const char **ed448_query_key_types(void)
{
    static const char *types[] = {"ED448", NULL};

    return types;
}

#define MESSAGE_ROWS(id)                                                                           \
    {OSSL_FUNC_SIGNATURE_QUERY_KEY_TYPES, (void (*)(void))id##_query_key_types},                   \
        {OSSL_FUNC_SIGNATURE_SIGN_MESSAGE_INIT, (void (*)(void))id##_sign_message_init},           \
        {OSSL_FUNC_SIGNATURE_SIGN, (void (*)(void))eddsa_digest_sign},                             \
        {OSSL_FUNC_SIGNATURE_VERIFY_MESSAGE_INIT, (void (*)(void))verify_message_init},            \
        {OSSL_FUNC_SIGNATURE_VERIFY, (void (*)(void))prov_sig_verify},
#else
#define MESSAGE_ROWS(id)
#endif

/* clang-format off */
#define EDDSA(id)                                                                                  \
    const OSSL_DISPATCH prov_signature_##id[] = {                                                  \
        {OSSL_FUNC_SIGNATURE_NEWCTX, (void (*)(void))prov_sig_newctx}, \
        {OSSL_FUNC_SIGNATURE_FREECTX, (void (*)(void))prov_sig_freectx}, \
        {OSSL_FUNC_SIGNATURE_DUPCTX, (void (*)(void))prov_sig_dupctx}, \
        {OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, (void (*)(void))id##_digest_sign_init},             \
        {OSSL_FUNC_SIGNATURE_DIGEST_SIGN, (void (*)(void))eddsa_digest_sign},                      \
        {OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_INIT, (void (*)(void))prov_sig_digest_verify_init},     \
        {OSSL_FUNC_SIGNATURE_DIGEST_VERIFY, (void (*)(void))prov_sig_digest_verify},               \
        {OSSL_FUNC_SIGNATURE_GET_CTX_PARAMS, (void (*)(void))eddsa_get_ctx_params},                \
        {OSSL_FUNC_SIGNATURE_GETTABLE_CTX_PARAMS, (void (*)(void))eddsa_gettable_ctx_params},      \
        {OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, (void (*)(void))eddsa_set_ctx_params},                \
        {OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, (void (*)(void))eddsa_settable_ctx_params},      \
        MESSAGE_ROWS(id)                                                                           \
        {0, NULL},                                                                                 \
    }
/* clang-format on */

EDDSA(ed25519);
EDDSA(ed448);
