/* SPDX-License-Identifier: Apache-2.0
 *
 * ecdsa.c - ECDSA signatures. Verification is common.c's.
 */
#include <openssl/crypto.h>
#include <openssl/objects.h>
#include <string.h>

#include "../key/proof.h"
#include "signature.h"

/* --- parameters ------------------------------------------------------------------------------ */

#ifndef OSSL_SIGNATURE_PARAM_NONCE_TYPE
#define OSSL_SIGNATURE_PARAM_NONCE_TYPE "nonce-type" /* OpenSSL 3.2 and later */
#endif

int prov_ecdsa_set_ctx_params(void *vctx, const OSSL_PARAM params[])
{
    struct prov_sig *ec = vctx;
    const OSSL_PARAM *p;
    unsigned nonce_type = 0;
    char name[64], *s = name;

    if (ec->soft != NULL)
        return EVP_PKEY_CTX_set_params(ec->soft, params);
    if (params == NULL)
        return 1;

    if ((p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_DIGEST)) != NULL) {
        if (!OSSL_PARAM_get_utf8_string(p, &s, sizeof(name))) {
            prov_raise(ec->ctx, PROV_R_PARAMETER, "parameter %s is not the name of a digest",
                       p->key);
            return 0;
        }
        if (!prov_sig_set_digest(ec, name))
            return 0;
    }
    if ((p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_NONCE_TYPE)) != NULL &&
        (!OSSL_PARAM_get_uint(p, &nonce_type) || nonce_type != 0)) {
        prov_raise(ec->ctx, PROV_R_UNSUPPORTED,
                   "the token chooses the nonce of an ECDSA signature: nonce-type has to be 0");
        return 0;
    }
    return 1;
}

static const OSSL_PARAM *ecdsa_settable_ctx_params(void *vctx, void *provctx)
{
    static const OSSL_PARAM settable[] = {
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PROPERTIES, NULL, 0),
        OSSL_PARAM_uint(OSSL_SIGNATURE_PARAM_NONCE_TYPE, NULL),
        OSSL_PARAM_END,
    };

    (void)vctx;
    (void)provctx;
    return settable;
}

int prov_ecdsa_get_ctx_params(void *vctx, OSSL_PARAM params[])
{
    const struct prov_sig *ec = vctx;
    const struct prov_digest *digest = ec->digest;
    OSSL_PARAM *p;

    if (ec->soft != NULL)
        return EVP_PKEY_CTX_get_params(ec->soft, params);
    if (params == NULL)
        return 1;

    if ((p = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_ALGORITHM_ID)) != NULL &&
        !prov_sig_algorithm_id(ec, NID_X9_62_id_ecPublicKey, p))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_DIGEST_SIZE)) != NULL &&
        !OSSL_PARAM_set_size_t(p, digest != NULL ? digest->size : 0))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_DIGEST)) != NULL &&
        !OSSL_PARAM_set_utf8_string(p, digest != NULL ? digest->name : ""))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_NONCE_TYPE)) != NULL &&
        !OSSL_PARAM_set_uint(p, 0))
        return 0;
    return 1;
}

const OSSL_PARAM *prov_ecdsa_gettable_ctx_params(void *vctx, void *provctx)
{
    static const OSSL_PARAM gettable[] = {
        OSSL_PARAM_octet_string(OSSL_SIGNATURE_PARAM_ALGORITHM_ID, NULL, 0),
        OSSL_PARAM_size_t(OSSL_SIGNATURE_PARAM_DIGEST_SIZE, NULL),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, NULL, 0),
        OSSL_PARAM_uint(OSSL_SIGNATURE_PARAM_NONCE_TYPE, NULL),
        OSSL_PARAM_END,
    };

    (void)vctx;
    (void)provctx;
    return gettable;
}

/* --- signing --------------------------------------------------------------------------------- */

static int encode(const struct prov_sig *ec, const unsigned char *raw, size_t raw_len,
                  unsigned char *out, size_t *out_len, size_t out_size)
{
    unsigned char der[PROV_ECDSA_DER_MAX];
    const size_t len = prov_ecdsa_to_der(raw, raw_len, der);
    const bool fits = len > 0 && len <= out_size;

    if (fits) {
        memcpy(out, der, len);
        *out_len = len;
    } else {
        prov_raise(ec->ctx, PROV_R_SOFTWARE, "an ECDSA signature could not be encoded");
    }
    return fits;
}

/* The message, for tokens that hash by themselves. `tbs` is its hash, or what counts of it. */
static int sign_message(const struct prov_sig *ec, const unsigned char *tbs, size_t tbs_len,
                        unsigned char *raw, size_t *raw_len)
{
    const struct ks_mech hash = {.kind = KS_MECH_ECDSA_HASH, .digest = ec->digest->ks};

    if (!prov_sig_sign_kept(ec, &hash, raw, raw_len))
        return 0;
    return prov_ecdsa_verify_raw(ec->key, tbs, tbs_len, raw, *raw_len) ||
           prov_sig_raise_not_good(ec, raw, *raw_len);
}

static int sign_tbs(const struct prov_sig *ec, unsigned char *out, size_t *out_len, size_t out_size,
                    const unsigned char *tbs, size_t tbs_len)
{
    const struct ks_mech ecdsa = {.kind = KS_MECH_ECDSA};
    const unsigned bits = prov_sig_bits(ec);
    const size_t size = prov_sig_size(ec), half = (bits + 7) / 8;
    unsigned char raw[PROV_ECDSA_RAW_MAX];
    size_t raw_len = sizeof(raw);
    struct ks_error err;

    if (out_size < size || 2 * half > PROV_ECDSA_RAW_MAX) {
        prov_raise(ec->ctx, PROV_R_PARAMETER,
                   "the signature needs %zu bytes, and there is room for %zu", size, out_size);
        return 0;
    }
    if (!prov_sig_check_tbs(ec, tbs_len))
        return 0;
    /* Only the leftmost bits of a digest count, as many as the order has (FIPS 186-4, 6.4). Some
     * tokens cut it themselves and some refuse it, so cut it here, which has to be at a byte. */
    if (tbs_len * 8 > bits && tbs_len > half) {
        if (bits % 8 != 0) {
            prov_raise(ec->ctx, PROV_R_PARAMETER,
                       "%zu bytes are too many for ECDSA with a %u bit order", tbs_len, bits);
            return 0;
        }
        tbs_len = half;
    }
    if (ec->keeping && prov_sig_hashes(ec, KS_MECH_ECDSA, KS_MECH_ECDSA_HASH)) {
        if (!sign_message(ec, tbs, tbs_len, raw, &raw_len))
            return 0;
    } else if (!prov_key_can(ec->key, ec->priv, KS_MECH_ECDSA)) {
        return prov_sig_raise_lacks(ec, KS_MECH_ECDSA);
    } else if (!ks_ok(ks_sign(ec->priv, NULL, &ecdsa, tbs, tbs_len, raw, &raw_len, &err))) {
        return prov_sig_raise_failed(ec, &err);
    }
    if (raw_len != 2 * half) {
        prov_raise(ec->ctx, PROV_R_VERIFY,
                   "the token's ECDSA signature has %zu bytes instead of %zu", raw_len, 2 * half);
        return 0;
    }
    return encode(ec, raw, raw_len, out, out_len, out_size);
}

int prov_ecdsa_sign_init(void *vctx, void *vkey, const OSSL_PARAM params[])
{
    struct prov_sig *ec = vctx;

    return prov_sig_sign_start(ec, vkey, PROV_CLASS_EC_SIGN) &&
           (ec->fixed == NULL || prov_sig_set_digest(ec, ec->fixed->name)) &&
           prov_ecdsa_set_ctx_params(ec, params);
}

int prov_ecdsa_digest_sign_init(void *vctx, const char *mdname, void *vkey,
                                const OSSL_PARAM params[])
{
    struct prov_sig *ec = vctx;

    if (!prov_sig_sign_start(ec, vkey, PROV_CLASS_EC_SIGN))
        return 0;
    if (mdname == NULL || *mdname == '\0')
        mdname = ec->digest != NULL ? ec->digest->name : "SHA2-256";
    if (!prov_sig_set_digest(ec, mdname) || !prov_ecdsa_set_ctx_params(ec, params))
        return 0;
    if (prov_sig_hashes(ec, KS_MECH_ECDSA, KS_MECH_ECDSA_HASH))
        prov_sig_keep(ec);
    return prov_sig_hash_start(ec, params);
}

int prov_ecdsa_digest_sign_final(void *vctx, unsigned char *out, size_t *out_len, size_t out_size)
{
    struct prov_sig *ec = vctx;
    unsigned char hash[EVP_MAX_MD_SIZE];
    size_t hash_len = 0;

    if (!prov_sig_ready(ec))
        return 0;
    if (out == NULL) {
        *out_len = prov_sig_size(ec);
        return 1;
    }
    return prov_sig_hash_finish(ec, hash, &hash_len) &&
           sign_tbs(ec, out, out_len, out_size, hash, hash_len);
}

static int ecdsa_digest_sign(void *vctx, unsigned char *out, size_t *out_len, size_t out_size,
                             const unsigned char *tbs, size_t tbs_len)
{
    return (out == NULL || prov_sig_update(vctx, tbs, tbs_len)) &&
           prov_ecdsa_digest_sign_final(vctx, out, out_len, out_size);
}

int prov_ecdsa_sign(void *vctx, unsigned char *out, size_t *out_len, size_t out_size,
                    const unsigned char *tbs, size_t tbs_len)
{
    struct prov_sig *ec = vctx;

    if (ec->message)
        return ecdsa_digest_sign(vctx, out, out_len, out_size, tbs, tbs_len);
    if (!prov_sig_ready(ec))
        return 0;
    if (out == NULL) {
        *out_len = prov_sig_size(ec);
        return 1;
    }
    return prov_sig_digest_suffices(ec, KS_MECH_ECDSA, KS_MECH_ECDSA_HASH) &&
           sign_tbs(ec, out, out_len, out_size, tbs, tbs_len);
}

#ifdef OSSL_FUNC_SIGNATURE_QUERY_KEY_TYPES
/* Asked where an application fetched this algorithm itself: the keys name another (PROV_OWN_). */
static const char **ecdsa_query_key_types(void)
{
    static const char *types[] = {"EC", NULL};

    return types;
}
#endif

const OSSL_DISPATCH prov_signature_ecdsa[] = {
    {OSSL_FUNC_SIGNATURE_NEWCTX, (void (*)(void))prov_sig_newctx},
    {OSSL_FUNC_SIGNATURE_FREECTX, (void (*)(void))prov_sig_freectx},
    {OSSL_FUNC_SIGNATURE_DUPCTX, (void (*)(void))prov_sig_dupctx},
#ifdef OSSL_FUNC_SIGNATURE_QUERY_KEY_TYPES
    {OSSL_FUNC_SIGNATURE_QUERY_KEY_TYPES, (void (*)(void))ecdsa_query_key_types},
#endif
    {OSSL_FUNC_SIGNATURE_SIGN_INIT, (void (*)(void))prov_ecdsa_sign_init},
    {OSSL_FUNC_SIGNATURE_SIGN, (void (*)(void))prov_ecdsa_sign},
    {OSSL_FUNC_SIGNATURE_VERIFY_INIT, (void (*)(void))prov_sig_verify_init},
    {OSSL_FUNC_SIGNATURE_VERIFY, (void (*)(void))prov_sig_verify},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, (void (*)(void))prov_ecdsa_digest_sign_init},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN_UPDATE, (void (*)(void))prov_sig_update},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN_FINAL, (void (*)(void))prov_ecdsa_digest_sign_final},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN, (void (*)(void))ecdsa_digest_sign},
    {OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_INIT, (void (*)(void))prov_sig_digest_verify_init},
    {OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_UPDATE, (void (*)(void))prov_sig_digest_verify_update},
    {OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_FINAL, (void (*)(void))prov_sig_digest_verify_final},
    {OSSL_FUNC_SIGNATURE_DIGEST_VERIFY, (void (*)(void))prov_sig_digest_verify},
    {OSSL_FUNC_SIGNATURE_GET_CTX_PARAMS, (void (*)(void))prov_ecdsa_get_ctx_params},
    {OSSL_FUNC_SIGNATURE_GETTABLE_CTX_PARAMS, (void (*)(void))prov_ecdsa_gettable_ctx_params},
    {OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, (void (*)(void))prov_ecdsa_set_ctx_params},
    {OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, (void (*)(void))ecdsa_settable_ctx_params},
    {OSSL_FUNC_SIGNATURE_GET_CTX_MD_PARAMS, (void (*)(void))prov_sig_get_ctx_md_params},
    {OSSL_FUNC_SIGNATURE_GETTABLE_CTX_MD_PARAMS, (void (*)(void))prov_sig_gettable_ctx_md_params},
    {OSSL_FUNC_SIGNATURE_SET_CTX_MD_PARAMS, (void (*)(void))prov_sig_set_ctx_md_params},
    {OSSL_FUNC_SIGNATURE_SETTABLE_CTX_MD_PARAMS, (void (*)(void))prov_sig_settable_ctx_md_params},
    {0, NULL},
};
