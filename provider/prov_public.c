/* SPDX-License-Identifier: Apache-2.0
 *
 * prov_public.c - public halves: ordinary software keys, made from numbers, from a certificate, or
 * from what a token tells; and the curves that we know.
 */
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

#include "prov_local.h"

/* The longest URI that is made here. */
#define URI_MAX 4096
/* The longest raw public key: Ed448's. */
#define EDWARDS_MAX 57

/* --- curves ---------------------------------------------------------------------------------- */

static const unsigned char oid_p256[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 7};
static const unsigned char oid_p384[] = {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22};
static const unsigned char oid_p521[] = {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23};
static const unsigned char oid_k256[] = {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a};

static const struct prov_curve curves[] = {
    {"prime256v1", "P-256", "secp256r1", "1.2.840.10045.3.1.7", oid_p256, sizeof(oid_p256), 32},
    {"secp384r1", "P-384", "secp384r1", "1.3.132.0.34", oid_p384, sizeof(oid_p384), 48},
    {"secp521r1", "P-521", "secp521r1", "1.3.132.0.35", oid_p521, sizeof(oid_p521), 66},
    {"secp256k1", NULL, "secp256k1", "1.3.132.0.10", oid_k256, sizeof(oid_k256), 32},
};
#define CURVES (sizeof(curves) / sizeof(curves[0]))

const struct prov_curve *prov_curve_by_name(const char *name)
{
    size_t i;

    for (i = 0; i < CURVES; i++) {
        const struct prov_curve *c = &curves[i];

        if (OPENSSL_strcasecmp(name, c->name) == 0 || OPENSSL_strcasecmp(name, c->secg) == 0 ||
            (c->nist != NULL && OPENSSL_strcasecmp(name, c->nist) == 0) ||
            strcmp(name, c->dotted) == 0)
            return c;
    }
    return NULL;
}

const struct prov_curve *prov_curve_by_der(const unsigned char *der, size_t len)
{
    size_t i;

    for (i = 0; i < CURVES; i++) {
        if (len == curves[i].der_len && memcmp(der, curves[i].der, len) == 0)
            return &curves[i];
    }
    return NULL;
}

const struct prov_curve *prov_curve_of(EVP_PKEY *pub)
{
    char name[80];
    const struct prov_curve *curve = NULL;

    ERR_set_mark();
    if (EVP_PKEY_get_utf8_string_param(pub, OSSL_PKEY_PARAM_GROUP_NAME, name, sizeof(name), NULL))
        curve = prov_curve_by_name(name);
    ERR_pop_to_mark();
    return curve;
}

static const unsigned char oid_ed25519[] = {0x06, 0x03, 0x2b, 0x65, 0x70};
static const unsigned char oid_ed448[] = {0x06, 0x03, 0x2b, 0x65, 0x71};
static const unsigned char name_ed25519[] = "\x13\x0c"
                                            "edwards25519";
static const unsigned char name_ed448[] = "\x13\x0a"
                                          "edwards448";

const struct prov_edwards *prov_edwards_of(enum prov_key_type type)
{
    static const struct prov_edwards ed25519 = {oid_ed25519, sizeof(oid_ed25519), name_ed25519,
                                                sizeof(name_ed25519) - 1, 32};
    static const struct prov_edwards ed448 = {oid_ed448, sizeof(oid_ed448), name_ed448,
                                              sizeof(name_ed448) - 1, 57};

    if (type == PROV_ED25519)
        return &ed25519;
    return type == PROV_ED448 ? &ed448 : NULL;
}

/* Which of the two an object on a token is. PKCS#11 lets X25519 and X448 be named in the same
 * way, and some tokens give them the Edwards type: those are none of ours. */
bool prov_edwards_type(const struct ks_object *object, enum prov_key_type *type)
{
    static const enum prov_key_type types[] = {PROV_ED25519, PROV_ED448};
    size_t i;

    for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        const struct prov_edwards *e = prov_edwards_of(types[i]);
        const struct ks_bytes *p = &object->ec_params;

        *type = types[i];
        if (p->data == NULL) {
            if (object->ec_point.len == e->public_len)
                return true;
            continue;
        }
        if ((p->len == e->oid_len && memcmp(p->data, e->oid, p->len) == 0) ||
            (p->len == e->name_len && memcmp(p->data, e->name, p->len) == 0))
            return true;
    }
    return false;
}

/* --- public halves --------------------------------------------------------------------------- */

bool prov_raise_no_software(const struct prov_ctx *ctx, const char *name)
{
    EVP_KEYMGMT *keymgmt;
    bool missing;

    ERR_set_mark();
    keymgmt = EVP_KEYMGMT_fetch(ctx->libctx, name, PROV_NOT_US);
    ERR_pop_to_mark();
    missing = keymgmt == NULL;
    EVP_KEYMGMT_free(keymgmt);
    if (missing)
        prov_raise(ctx, PROV_R_SOFTWARE,
                   "no other provider has %s, which is needed for public halves: activate the "
                   "provider \"default\" in the OpenSSL configuration; if it is active, "
                   "default_properties hides it",
                   name);
    return missing;
}

EVP_PKEY *prov_public_params(const struct prov_ctx *ctx, enum prov_key_type type, int selection,
                             const OSSL_PARAM params[])
{
    const char *name = prov_types[type].name;
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_name(ctx->libctx, name, PROV_NOT_US);
    EVP_PKEY *pub = NULL;

    /* libcrypto only reads them, its prototype forgot to say so. */
    if (pctx == NULL || EVP_PKEY_fromdata_init(pctx) <= 0 ||
        EVP_PKEY_fromdata(pctx, &pub, selection, (OSSL_PARAM *)params) <= 0) {
        if (!prov_raise_no_software(ctx, name))
            prov_raise(ctx, PROV_R_SOFTWARE, "these numbers are no %s public key", name);
        EVP_PKEY_free(pub);
        pub = NULL;
    }
    EVP_PKEY_CTX_free(pctx);
    return pub;
}

EVP_PKEY *prov_public_rsa(const struct prov_ctx *ctx, const uint8_t *n, size_t n_len,
                          const uint8_t *e, size_t e_len)
{
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    OSSL_PARAM *params = NULL;
    BIGNUM *bn = BN_bin2bn(n, (int)n_len, NULL);
    BIGNUM *be = BN_bin2bn(e, (int)e_len, NULL);
    EVP_PKEY *pub = NULL;

    if (bld == NULL || bn == NULL || be == NULL ||
        !OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, bn) ||
        !OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, be))
        goto out;
    params = OSSL_PARAM_BLD_to_param(bld);
    if (params != NULL)
        pub = prov_public_params(ctx, PROV_RSA, EVP_PKEY_PUBLIC_KEY, params);
out:
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(bld);
    BN_free(bn);
    BN_free(be);
    return pub;
}

EVP_PKEY *prov_public_ec(const struct prov_ctx *ctx, const struct prov_curve *curve,
                         const uint8_t *point, size_t point_len)
{
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)curve->name, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)point, point_len),
        OSSL_PARAM_construct_end(),
    };

    return prov_public_params(ctx, PROV_EC, EVP_PKEY_PUBLIC_KEY, params);
}

EVP_PKEY *prov_public_raw(const struct prov_ctx *ctx, enum prov_key_type type, const uint8_t *raw,
                          size_t raw_len)
{
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)raw, raw_len),
        OSSL_PARAM_construct_end(),
    };

    return prov_public_params(ctx, type, EVP_PKEY_PUBLIC_KEY, params);
}

EVP_PKEY *prov_public_spki(const struct prov_ctx *ctx, const uint8_t *der, size_t len)
{
    const unsigned char *p = der;
    enum prov_key_type type;
    EVP_PKEY *pub;
    bool plain;

    pub = prov_spki_read(ctx, der, len, &type, &plain);
    if (plain)
        return pub;
    pub = d2i_PUBKEY_ex(NULL, &p, (long)len, ctx->libctx, PROV_NOT_US);
    if (pub == NULL || p != der + len) {
        if (!prov_raise_no_software(ctx, prov_types[PROV_RSA].name))
            prov_raise(ctx, PROV_R_SOFTWARE, "not a usable SubjectPublicKeyInfo");
        EVP_PKEY_free(pub);
        return NULL;
    }
    return pub;
}

static EVP_PKEY *public_from_certificate(const struct prov_ctx *ctx, const uint8_t *der, size_t len)
{
    const unsigned char *p = der;
    X509 *cert = X509_new_ex(ctx->libctx, PROV_NOT_US);
    EVP_PKEY *pub = NULL;

    if (cert != NULL && d2i_X509(&cert, &p, (long)len) != NULL)
        pub = X509_get_pubkey(cert);
    if (pub == NULL)
        prov_raise(ctx, PROV_R_SOFTWARE, "the certificate object holds no usable certificate");
    X509_free(cert);
    return pub;
}

/* As ks_expect wants it, too. */
unsigned char *prov_public_part(EVP_PKEY *pub, size_t *len)
{
    const struct prov_curve *curve;
    BIGNUM *a = NULL, *b = NULL;
    unsigned char *out = NULL;

    if (EVP_PKEY_is_a(pub, "ED25519") || EVP_PKEY_is_a(pub, "ED448")) {
        out = OPENSSL_malloc(EDWARDS_MAX);
        *len = EDWARDS_MAX;
        if (out != NULL && EVP_PKEY_get_raw_public_key(pub, out, len) != 1) {
            OPENSSL_free(out);
            out = NULL;
        }
        return out;
    }
    if (!EVP_PKEY_is_a(pub, "EC")) {
        if (EVP_PKEY_get_bn_param(pub, OSSL_PKEY_PARAM_RSA_N, &a)) {
            *len = (size_t)BN_num_bytes(a);
            out = OPENSSL_malloc(*len);
            if (out != NULL)
                BN_bn2bin(a, out);
        }
        goto out;
    }
    curve = prov_curve_of(pub);
    if (curve == NULL || !EVP_PKEY_get_bn_param(pub, OSSL_PKEY_PARAM_EC_PUB_X, &a) ||
        !EVP_PKEY_get_bn_param(pub, OSSL_PKEY_PARAM_EC_PUB_Y, &b))
        goto out;
    *len = 1 + 2 * curve->field;
    out = OPENSSL_malloc(*len);
    if (out == NULL)
        goto out;
    out[0] = 0x04;
    if (BN_bn2binpad(a, out + 1, (int)curve->field) < 0 ||
        BN_bn2binpad(b, out + 1 + curve->field, (int)curve->field) < 0) {
        OPENSSL_free(out);
        out = NULL;
    }
out:
    BN_free(a);
    BN_free(b);
    return out;
}

static bool has_point(const struct ks_object *object)
{
    return (object->type == KS_KEY_EC || object->type == KS_KEY_EDWARDS) &&
           object->ec_point.data != NULL;
}

/* --- the public half of an EC or Edwards key on a token -------------------------------------- */

static EVP_PKEY *public_from_point(const struct prov_ctx *ctx, const struct ks_object *object)
{
    const struct prov_curve *curve;
    enum prov_key_type type;

    if (object->type == KS_KEY_EDWARDS) {
        if (prov_edwards_type(object, &type))
            return prov_public_raw(ctx, type, object->ec_point.data, object->ec_point.len);
        prov_raise(ctx, PROV_R_UNSUPPORTED, "the key's curve is neither Ed25519 nor Ed448");
        return NULL;
    }
    curve = prov_curve_by_der(object->ec_params.data, object->ec_params.len);
    if (curve == NULL) {
        prov_raise(ctx, PROV_R_UNSUPPORTED,
                   "the key's curve is not one of P-256, P-384, P-521 and secp256k1");
        return NULL;
    }
    return prov_public_ec(ctx, curve, object->ec_point.data, object->ec_point.len);
}

struct certificate_search {
    const struct prov_ctx *ctx;
    const struct ks_object *key;
    EVP_PKEY *pub;
};

/* Is the certificate's key of the private key's curve? */
static bool same_curve(const struct ks_object *key, EVP_PKEY *pub)
{
    const struct prov_curve *curve;
    enum prov_key_type type;

    if (key->type == KS_KEY_EDWARDS)
        return prov_edwards_type(key, &type) && EVP_PKEY_is_a(pub, prov_types[type].name);
    curve = EVP_PKEY_is_a(pub, "EC") ? prov_curve_of(pub) : NULL;
    return curve != NULL && curve == prov_curve_by_der(key->ec_params.data, key->ec_params.len);
}

EVP_PKEY *prov_public_certificate(const struct prov_ctx *ctx, const struct ks_object *key,
                                  const uint8_t *der, size_t len)
{
    EVP_PKEY *pub = NULL;

    if ((key->type != KS_KEY_EC && key->type != KS_KEY_EDWARDS) || has_point(key))
        return NULL;
    ERR_set_mark();
    pub = public_from_certificate(ctx, der, len);
    ERR_pop_to_mark();
    if (pub != NULL && same_curve(key, pub))
        return pub;
    EVP_PKEY_free(pub);
    return NULL;
}

/* The first certificate with the key's id and curve. */
static bool visit_certificate(void *arg, const struct ks_object *object)
{
    struct certificate_search *search = arg;

    if (object->klass != KS_CLASS_CERTIFICATE || object->value.data == NULL)
        return true;
    search->pub =
        prov_public_certificate(search->ctx, search->key, object->value.data, object->value.len);
    return search->pub == NULL;
}

static EVP_PKEY *public_from_token_certificate(const struct prov_ctx *ctx, struct ks_key *priv)
{
    const struct ks_object *object = ks_key_object(priv);
    struct certificate_search search = {.ctx = ctx, .key = object};
    char text[URI_MAX] = "pkcs11:type=cert;id=";
    size_t used = strlen(text), i;
    struct ks_uri *uri = NULL;
    struct ks_error err;

    if (object->id.len == 0 || used + 3 * object->id.len >= sizeof(text))
        return NULL;
    for (i = 0; i < object->id.len; i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%%%02x", object->id.data[i]);
    if (!ks_ok(ks_uri_parse(text, KS_URI_CALLER, &uri, &err)))
        return NULL;
    /* A failed search is as good as no certificate: the caller's error says what to do. */
    if (!ks_ok(ks_token_objects(ks_key_token(priv), NULL, uri, visit_certificate, &search, &err)))
        search.pub = NULL;
    ks_uri_free(uri);
    return search.pub;
}

static bool has_numbers(const struct ks_object *object)
{
    return object->type == KS_KEY_RSA && object->modulus.data != NULL &&
           object->exponent.data != NULL;
}

/* What a key object itself may tell. */
static bool tells_public(const struct ks_object *object)
{
    return has_numbers(object) || has_point(object) || object->spki.data != NULL;
}

EVP_PKEY *prov_public_object(const struct prov_ctx *ctx, const struct ks_object *object)
{
    EVP_PKEY *pub;

    if (object->klass == KS_CLASS_CERTIFICATE)
        return public_from_certificate(ctx, object->value.data, object->value.len);
    if (!tells_public(object)) {
        prov_raise(ctx, PROV_R_UNSUPPORTED, "the object does not hold a public key that we know");
        return NULL;
    }
    /* What is the object's own comes first; some tokens' CKA_PUBLIC_KEY_INFO cannot be read. */
    if (object->borrowed && object->spki.data != NULL) {
        ERR_set_mark();
        pub = prov_public_spki(ctx, object->spki.data, object->spki.len);
        ERR_pop_to_mark();
        if (pub != NULL)
            return pub;
    }
    if (has_numbers(object))
        return prov_public_rsa(ctx, object->modulus.data, object->modulus.len,
                               object->exponent.data, object->exponent.len);
    if (has_point(object))
        return public_from_point(ctx, object);
    return prov_public_spki(ctx, object->spki.data, object->spki.len);
}

EVP_PKEY *prov_public_private(const struct prov_ctx *ctx, struct ks_key *priv, const char *uri)
{
    const struct ks_object *object = ks_key_object(priv);
    EVP_PKEY *pub = NULL;

    if ((object->type == KS_KEY_EC || object->type == KS_KEY_EDWARDS) && !has_point(object))
        pub = public_from_token_certificate(ctx, priv);
    if (pub == NULL && tells_public(object))
        return prov_public_object(ctx, object);
    if (pub == NULL)
        prov_raise(ctx, PROV_R_REFERENCE,
                   "the token does not tell the public half of %s (no public key object and no "
                   "certificate with its id): load the key by a reference that holds the public "
                   "key (hsmkey reference), or store its certificate on the token",
                   uri);
    return pub;
}
