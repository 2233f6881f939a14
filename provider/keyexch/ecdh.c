/* SPDX-License-Identifier: Apache-2.0
 *
 * ecdh.c - ECDH with a key in the HSM. The token gives the shared secret; the KDF, if one
 * is asked for, is libcrypto's own. The peer's point is checked here before the token sees it:
 * tokens do not all do so, and a point off the curve draws the private key out of them.
 */
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <string.h>

#include "../core/digest.h"
#include "../core/fetch_cache.h"
#include "../key/policy.h"
#include "../key/public.h"
#include "keyexch.h"

/* P-521's field, and its uncompressed point. */
#define FIELD_MAX 66U

struct ecdh {
    struct prov_ctx *ctx;
    struct prov_key *key;  /* one reference */
    struct ks_key *priv;   /* key's private half, borrowed; NULL: not initialised */
    struct prov_key *peer; /* one reference */
    int cofactor;          /* -1: as the key says, which is as 0; 0; 1 */
    /* X9.63 */
    bool kdf;
    const struct prov_digest *digest;
    size_t out_len;
    unsigned char *ukm;
    size_t ukm_len;
};

/* --- contexts -------------------------------------------------------------------------------- */

static void *ecdh_newctx(void *provctx)
{
    struct ecdh *ecdh = OPENSSL_zalloc(sizeof(*ecdh));

    prov_fetched(provctx);
    if (ecdh != NULL) {
        ecdh->ctx = provctx;
        ecdh->cofactor = -1;
    }
    return ecdh;
}

static void ecdh_freectx(void *vecdh)
{
    struct ecdh *ecdh = vecdh;

    if (ecdh == NULL)
        return;
    prov_key_free(ecdh->key);
    prov_key_free(ecdh->peer);
    OPENSSL_clear_free(ecdh->ukm, ecdh->ukm_len);
    OPENSSL_free(ecdh);
}

static void *ecdh_dupctx(void *vecdh)
{
    const struct ecdh *ecdh = vecdh;
    struct ecdh *copy = OPENSSL_memdup(ecdh, sizeof(*ecdh));

    if (copy == NULL)
        return NULL;
    if (copy->key != NULL)
        (void)prov_key_ref(copy->key);
    if (copy->peer != NULL)
        (void)prov_key_ref(copy->peer);
    copy->ukm = NULL;
    if (ecdh->ukm != NULL && (copy->ukm = OPENSSL_memdup(ecdh->ukm, ecdh->ukm_len)) == NULL) {
        ecdh_freectx(copy);
        return NULL;
    }
    return copy;
}

/* --- parameters ------------------------------------------------------------------------------ */

static int bad(const struct ecdh *ecdh, const OSSL_PARAM *p, const char *must)
{
    prov_raise(ecdh->ctx, PROV_R_PARAMETER, "ECDH: %s must be %s", p->key, must);
    return 0;
}

static int set_kdf_type(struct ecdh *ecdh, const OSSL_PARAM *p)
{
    char name[32], *s = name;

    if (!OSSL_PARAM_get_utf8_string(p, &s, sizeof(name)) ||
        (name[0] != '\0' && OPENSSL_strcasecmp(name, OSSL_KDF_NAME_X963KDF) != 0))
        return bad(ecdh, p, "empty (no KDF), or " OSSL_KDF_NAME_X963KDF);
    ecdh->kdf = name[0] != '\0';
    return 1;
}

static int set_kdf_digest(struct ecdh *ecdh, const OSSL_PARAM *p)
{
    char name[64], *s = name;

    if (!OSSL_PARAM_get_utf8_string(p, &s, sizeof(name)) ||
        (ecdh->digest = prov_digest_by_name(ecdh->ctx, name)) == NULL)
        return bad(ecdh, p, "SHA-1, SHA-2 or SHA-3");
    return 1;
}

static int set_ukm(struct ecdh *ecdh, const OSSL_PARAM *p)
{
    void *ukm = NULL;
    size_t len = 0;

    if (p->data != NULL && p->data_size > 0 && !OSSL_PARAM_get_octet_string(p, &ukm, 0, &len))
        return bad(ecdh, p, "an octet string");
    OPENSSL_clear_free(ecdh->ukm, ecdh->ukm_len);
    ecdh->ukm = ukm;
    ecdh->ukm_len = len;
    return 1;
}

static int ecdh_set_ctx_params(void *vecdh, const OSSL_PARAM params[])
{
    struct ecdh *ecdh = vecdh;
    const OSSL_PARAM *p;
    int mode = 0;

    if (params == NULL)
        return 1;
    p = OSSL_PARAM_locate_const(params, OSSL_EXCHANGE_PARAM_EC_ECDH_COFACTOR_MODE);
    if (p != NULL) {
        if (!OSSL_PARAM_get_int(p, &mode) || mode < -1 || mode > 1)
            return bad(ecdh, p, "-1, 0 or 1");
        ecdh->cofactor = mode;
    }
    p = OSSL_PARAM_locate_const(params, OSSL_EXCHANGE_PARAM_KDF_TYPE);
    if (p != NULL && !set_kdf_type(ecdh, p))
        return 0;
    p = OSSL_PARAM_locate_const(params, OSSL_EXCHANGE_PARAM_KDF_DIGEST);
    if (p != NULL && !set_kdf_digest(ecdh, p))
        return 0;
    p = OSSL_PARAM_locate_const(params, OSSL_EXCHANGE_PARAM_KDF_OUTLEN);
    if (p != NULL && !OSSL_PARAM_get_size_t(p, &ecdh->out_len))
        return bad(ecdh, p, "a number of bytes");
    p = OSSL_PARAM_locate_const(params, OSSL_EXCHANGE_PARAM_KDF_UKM);
    return p == NULL || set_ukm(ecdh, p);
}

static const OSSL_PARAM *ecdh_settable_ctx_params(void *vecdh, void *provctx)
{
    static const OSSL_PARAM settable[] = {
        OSSL_PARAM_int(OSSL_EXCHANGE_PARAM_EC_ECDH_COFACTOR_MODE, NULL),
        OSSL_PARAM_utf8_string(OSSL_EXCHANGE_PARAM_KDF_TYPE, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_EXCHANGE_PARAM_KDF_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_EXCHANGE_PARAM_KDF_DIGEST_PROPS, NULL, 0),
        OSSL_PARAM_size_t(OSSL_EXCHANGE_PARAM_KDF_OUTLEN, NULL),
        OSSL_PARAM_octet_string(OSSL_EXCHANGE_PARAM_KDF_UKM, NULL, 0),
        OSSL_PARAM_END,
    };

    (void)vecdh;
    (void)provctx;
    return settable;
}

static int ecdh_get_ctx_params(void *vecdh, OSSL_PARAM params[])
{
    const struct ecdh *ecdh = vecdh;
    OSSL_PARAM *p;

    if (params == NULL)
        return 1;
    p = OSSL_PARAM_locate(params, OSSL_EXCHANGE_PARAM_EC_ECDH_COFACTOR_MODE);
    if (p != NULL && !OSSL_PARAM_set_int(p, ecdh->cofactor == 1))
        return 0;
    p = OSSL_PARAM_locate(params, OSSL_EXCHANGE_PARAM_KDF_TYPE);
    if (p != NULL && !OSSL_PARAM_set_utf8_string(p, ecdh->kdf ? OSSL_KDF_NAME_X963KDF : ""))
        return 0;
    p = OSSL_PARAM_locate(params, OSSL_EXCHANGE_PARAM_KDF_DIGEST);
    if (p != NULL && !OSSL_PARAM_set_utf8_string(p, ecdh->digest != NULL ? ecdh->digest->name : ""))
        return 0;
    p = OSSL_PARAM_locate(params, OSSL_EXCHANGE_PARAM_KDF_OUTLEN);
    if (p != NULL && !OSSL_PARAM_set_size_t(p, ecdh->out_len))
        return 0;
    p = OSSL_PARAM_locate(params, OSSL_EXCHANGE_PARAM_KDF_UKM);
    return p == NULL || OSSL_PARAM_set_octet_ptr(p, ecdh->ukm, ecdh->ukm_len);
}

static const OSSL_PARAM *ecdh_gettable_ctx_params(void *vecdh, void *provctx)
{
    static const OSSL_PARAM gettable[] = {
        OSSL_PARAM_int(OSSL_EXCHANGE_PARAM_EC_ECDH_COFACTOR_MODE, NULL),
        OSSL_PARAM_utf8_string(OSSL_EXCHANGE_PARAM_KDF_TYPE, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_EXCHANGE_PARAM_KDF_DIGEST, NULL, 0),
        OSSL_PARAM_size_t(OSSL_EXCHANGE_PARAM_KDF_OUTLEN, NULL),
        OSSL_PARAM_DEFN(OSSL_EXCHANGE_PARAM_KDF_UKM, OSSL_PARAM_OCTET_PTR, NULL, 0),
        OSSL_PARAM_END,
    };

    (void)vecdh;
    (void)provctx;
    return gettable;
}

/* --- the two keys ---------------------------------------------------------------------------- */

static int ecdh_init(void *vecdh, void *vkey, const OSSL_PARAM params[])
{
    struct ecdh *ecdh = vecdh;
    struct prov_key *key = vkey;
    struct ks_key *priv;

    ecdh->priv = NULL;
    if (key == NULL || !prov_permits(ecdh->ctx, PROV_CLASS_EC_DERIVE, key))
        return 0;
    priv = prov_key_private_for(key, PROV_USE_DERIVE);
    if (priv == NULL)
        return 0;
    if (!prov_key_can(key, priv, KS_MECH_ECDH) && !prov_key_can(key, priv, KS_MECH_ECDH_COFACTOR)) {
        prov_raise(ecdh->ctx, (enum prov_reason)(PROV_R_TOKEN + KS_MECHANISM),
                   "the token lacks %s, which ECDH with %s needs, and nothing else is used in its "
                   "place",
                   ks_mech_name(KS_MECH_ECDH), key->uri != NULL ? key->uri : "the key");
        return 0;
    }
    (void)prov_key_ref(key);
    prov_key_free(ecdh->key);
    prov_key_free(ecdh->peer);
    ecdh->key = key;
    ecdh->priv = priv;
    ecdh->peer = NULL;
    ecdh->cofactor = -1;
    ecdh->kdf = false;
    return ecdh_set_ctx_params(ecdh, params);
}

/* On the curve, in the right subgroup, and not the point at infinity. */
static bool valid_point(const struct prov_ctx *ctx, EVP_PKEY *pub)
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(ctx->libctx, pub, PROV_NOT_US);
    bool good;

    ERR_set_mark();
    good = pctx != NULL && EVP_PKEY_public_check(pctx) == 1;
    ERR_pop_to_mark();
    EVP_PKEY_CTX_free(pctx);
    return good;
}

static int ecdh_set_peer(void *vecdh, void *vpeer)
{
    struct ecdh *ecdh = vecdh;
    struct prov_key *peer = vpeer;

    if (ecdh->priv == NULL || peer == NULL)
        return 0;
    if (!peer->has_public || EVP_PKEY_parameters_eq(ecdh->key->pub, peer->pub) != 1) {
        prov_raise(ecdh->ctx, PROV_R_PARAMETER, "ECDH: the peer's key is not on the key's curve");
        return 0;
    }
    if (!valid_point(ecdh->ctx, peer->pub)) {
        prov_raise(ecdh->ctx, PROV_R_PARAMETER,
                   "ECDH: the peer's public key is not a point of the curve");
        return 0;
    }
    (void)prov_key_ref(peer);
    prov_key_free(ecdh->peer);
    ecdh->peer = peer;
    return 1;
}

/* --- the secret ------------------------------------------------------------------------------ */

/* `out` has room for the field's size, which `*len` is then. */
static int raw_secret(const struct ecdh *ecdh, unsigned char *out, size_t *len)
{
    /* All curves here have the cofactor 1: what the token has of the two gives the same. */
    const enum ks_mech_kind wanted = ecdh->cofactor == 1 ? KS_MECH_ECDH_COFACTOR : KS_MECH_ECDH;
    bool cofactor = ecdh->cofactor == 1;
    unsigned char *point;
    size_t point_len = 0;
    struct ks_error err;
    int ok;

    if (!prov_key_can(ecdh->key, ecdh->priv, wanted))
        cofactor = !cofactor;
    point = prov_key_public_part(ecdh->peer->pub, &point_len);
    if (point == NULL) {
        prov_raise(ecdh->ctx, PROV_R_SOFTWARE, "ECDH: the peer's point cannot be read");
        return 0;
    }
    ok = ks_ok(ks_derive(ecdh->priv, NULL, cofactor, point, point_len, out, len, &err));
    if (!ok)
        prov_raise_ks(ecdh->ctx, &err);
    OPENSSL_free(point);
    return ok;
}

static int expand(const struct ecdh *ecdh, unsigned char *secret, size_t secret_len,
                  unsigned char *out)
{
    EVP_KDF *kdf = EVP_KDF_fetch(ecdh->ctx->libctx, OSSL_KDF_NAME_X963KDF, PROV_NOT_US);
    EVP_KDF_CTX *kctx = kdf != NULL ? EVP_KDF_CTX_new(kdf) : NULL;
    OSSL_PARAM params[5], *p = params;
    int ok;

    /* libcrypto only reads them */
    *p++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST,
                                            (char *)(uintptr_t)ecdh->digest->name, 0);
    *p++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_PROPERTIES,
                                            (char *)(uintptr_t)PROV_NOT_US, 0);
    *p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, secret, secret_len);
    if (ecdh->ukm != NULL)
        *p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, ecdh->ukm, ecdh->ukm_len);
    *p = OSSL_PARAM_construct_end();
    ok = kctx != NULL && EVP_KDF_derive(kctx, out, ecdh->out_len, params) == 1;
    if (!ok)
        prov_raise(ecdh->ctx, PROV_R_SOFTWARE, "ECDH: libcrypto's X9.63 KDF with %s failed",
                   ecdh->digest->name);
    EVP_KDF_CTX_free(kctx);
    EVP_KDF_free(kdf);
    return ok;
}

static int ecdh_derive(void *vecdh, unsigned char *out, size_t *out_len, size_t out_size)
{
    struct ecdh *ecdh = vecdh;
    const struct prov_curve *curve;
    unsigned char secret[FIELD_MAX];
    size_t len = sizeof(secret), size;
    int ok;

    if (ecdh->priv == NULL || ecdh->peer == NULL) {
        prov_raise(ecdh->ctx, PROV_R_PARAMETER, "ECDH: there is no key, or no peer's key");
        return 0;
    }
    curve = prov_curve_of(ecdh->key->pub);
    if (curve == NULL || (ecdh->kdf && (ecdh->digest == NULL || ecdh->out_len == 0))) {
        prov_raise(ecdh->ctx, PROV_R_PARAMETER,
                   "ECDH: the X9.63 KDF needs a digest (kdf-digest) and a length (kdf-outlen)");
        return 0;
    }
    size = ecdh->kdf ? ecdh->out_len : curve->field;
    if (out == NULL) {
        *out_len = size;
        return 1;
    }
    if (out_size < size) {
        prov_raise(ecdh->ctx, PROV_R_PARAMETER,
                   "ECDH: the secret has %zu bytes, and there is room for %zu", size, out_size);
        return 0;
    }
    ok = raw_secret(ecdh, secret, &len);
    if (ok && ecdh->kdf)
        ok = expand(ecdh, secret, len, out);
    else if (ok)
        memcpy(out, secret, len);
    OPENSSL_cleanse(secret, sizeof(secret));
    if (ok)
        *out_len = size;
    return ok;
}

const OSSL_DISPATCH prov_keyexch_ecdh[] = {
    {OSSL_FUNC_KEYEXCH_NEWCTX, (void (*)(void))ecdh_newctx},
    {OSSL_FUNC_KEYEXCH_FREECTX, (void (*)(void))ecdh_freectx},
    {OSSL_FUNC_KEYEXCH_DUPCTX, (void (*)(void))ecdh_dupctx},
    {OSSL_FUNC_KEYEXCH_INIT, (void (*)(void))ecdh_init},
    {OSSL_FUNC_KEYEXCH_SET_PEER, (void (*)(void))ecdh_set_peer},
    {OSSL_FUNC_KEYEXCH_DERIVE, (void (*)(void))ecdh_derive},
    {OSSL_FUNC_KEYEXCH_SET_CTX_PARAMS, (void (*)(void))ecdh_set_ctx_params},
    {OSSL_FUNC_KEYEXCH_SETTABLE_CTX_PARAMS, (void (*)(void))ecdh_settable_ctx_params},
    {OSSL_FUNC_KEYEXCH_GET_CTX_PARAMS, (void (*)(void))ecdh_get_ctx_params},
    {OSSL_FUNC_KEYEXCH_GETTABLE_CTX_PARAMS, (void (*)(void))ecdh_gettable_ctx_params},
    {0, NULL},
};
