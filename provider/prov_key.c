/* SPDX-License-Identifier: Apache-2.0
 *
 * prov_key.c - what keymgmt's keydata points to: a private key on a token, and its public half,
 * which is an ordinary software key.
 */
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

#include "prov_local.h"

/* The longest URI that a reference may hold. */
#define URI_MAX 4096
/* The longest raw public key: Ed448's. */
#define EDWARDS_MAX 57

const struct prov_type_info prov_types[PROV_KEY_TYPES] = {
    [PROV_RSA] = {"RSA", PROV_OID_RSA, KS_KEY_RSA},
    [PROV_RSA_PSS] = {"RSA-PSS", PROV_OID_RSA_PSS, KS_KEY_RSA},
    [PROV_EC] = {"EC", PROV_OID_EC, KS_KEY_EC},
    [PROV_ED25519] = {"ED25519", PROV_OID_ED25519, KS_KEY_EDWARDS},
    [PROV_ED448] = {"ED448", PROV_OID_ED448, KS_KEY_EDWARDS},
};

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

/* PKCS#11 lets X25519 and X448 be named in the same way, and some tokens give them the Edwards
 * type: those are none of ours. */
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

EVP_PKEY *prov_public_params(const struct prov_ctx *ctx, enum prov_key_type type, int selection,
                             const OSSL_PARAM params[])
{
    const char *name = prov_types[type].name;
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_name(ctx->libctx, name, PROV_NOT_US);
    EVP_PKEY *pub = NULL;

    /* libcrypto only reads them, its prototype forgot to say so. */
    if (pctx == NULL || EVP_PKEY_fromdata_init(pctx) <= 0 ||
        EVP_PKEY_fromdata(pctx, &pub, selection, (OSSL_PARAM *)params) <= 0) {
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
    EVP_PKEY *pub = d2i_PUBKEY_ex(NULL, &p, (long)len, ctx->libctx, PROV_NOT_US);

    if (pub == NULL || p != der + len) {
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

/* The first certificate with the key's id and curve. */
static bool visit_certificate(void *arg, const struct ks_object *object)
{
    struct certificate_search *search = arg;

    if (object->klass != KS_CLASS_CERTIFICATE || object->value.data == NULL)
        return true;
    ERR_set_mark();
    search->pub = public_from_certificate(search->ctx, object->value.data, object->value.len);
    ERR_pop_to_mark();
    if (search->pub == NULL)
        return true;
    if (same_curve(search->key, search->pub))
        return false;
    EVP_PKEY_free(search->pub);
    search->pub = NULL;
    return true;
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

static EVP_PKEY *public_from_token(const struct prov_ctx *ctx, struct ks_key *priv, const char *uri)
{
    const struct ks_object *object = ks_key_object(priv);
    const bool ec = object->type == KS_KEY_EC || object->type == KS_KEY_EDWARDS;
    EVP_PKEY *pub = NULL;

    if (object->type == KS_KEY_RSA && object->modulus.data != NULL && object->exponent.data != NULL)
        return prov_public_rsa(ctx, object->modulus.data, object->modulus.len,
                               object->exponent.data, object->exponent.len);
    if (ec && object->ec_point.data != NULL)
        return public_from_point(ctx, object);
    if (ec)
        pub = public_from_token_certificate(ctx, priv);
    if (pub == NULL && object->spki.data != NULL)
        return prov_public_spki(ctx, object->spki.data, object->spki.len);
    if (pub == NULL)
        prov_raise(ctx, PROV_R_REFERENCE,
                   "the token does not tell the public half of %s (no public key object and no "
                   "certificate with its id): load the key by a reference that holds the public "
                   "key (hsmkey reference), or store its certificate on the token",
                   uri);
    return pub;
}

/* --- the key itself -------------------------------------------------------------------------- */

struct prov_key *prov_key_new(struct prov_ctx *ctx, enum prov_key_type type)
{
    struct prov_key *key = OPENSSL_zalloc(sizeof(*key));

    if (key == NULL)
        return NULL;
    atomic_init(&key->refs, 1);
    key->ctx = ctx;
    key->type = type;
    key->lock = CRYPTO_THREAD_lock_new();
    if (key->lock == NULL) {
        OPENSSL_free(key);
        return NULL;
    }
    return key;
}

struct prov_key *prov_key_ref(struct prov_key *key)
{
    atomic_fetch_add_explicit(&key->refs, 1, memory_order_relaxed);
    return key;
}

void prov_key_free(struct prov_key *key)
{
    if (key == NULL || atomic_fetch_sub_explicit(&key->refs, 1, memory_order_acq_rel) != 1)
        return;
    ks_key_free(key->priv);
    prov_ref_free(key->ref);
    prov_ir_secret_free(key->ir_secret);
    EVP_PKEY_free(key->pub);
    OPENSSL_free(key->uri);
    CRYPTO_THREAD_lock_free(key->lock);
    OPENSSL_free(key);
}

void prov_raise_software_key(const struct prov_key *key)
{
    prov_raise(key->ctx, PROV_R_SOFTWARE_KEY,
               "this %s private key is not in the HSM, and software-private-keys = refuse forbids "
               "to use it: load a key reference (hsmkey reference) instead",
               key->refused != NULL ? key->refused : prov_types[key->type].name);
}

static int raise_mismatch(const struct prov_key *key, const char *what)
{
    prov_raise(key->ctx, PROV_R_REFERENCE,
               "%s: %s on the token differs from what the key reference says", key->uri, what);
    return 0;
}

/* Type, exponent and curve: what ks_key_expect() does not compare. */
static int compare_rest(const struct prov_key *key, const struct ks_object *object)
{
    BIGNUM *e = NULL, *token_e = NULL;
    int ret = 0;

    if (object->type != prov_types[key->type].ks_type)
        return raise_mismatch(key, "the key's type");
    if (object->type == KS_KEY_EDWARDS) {
        enum prov_key_type type = key->type;

        if (object->ec_params.data != NULL &&
            (!prov_edwards_type(object, &type) || type != key->type))
            return raise_mismatch(key, "the key's curve");
        return 1;
    }
    if (object->type == KS_KEY_EC) {
        const struct prov_curve *curve = prov_curve_of(key->pub);

        if (curve == NULL) {
            prov_raise(key->ctx, PROV_R_UNSUPPORTED,
                       "%s: the curve is not one of P-256, P-384, P-521 and secp256k1", key->uri);
            return 0;
        }
        if (object->ec_params.data != NULL &&
            prov_curve_by_der(object->ec_params.data, object->ec_params.len) != curve)
            return raise_mismatch(key, "the key's curve");
        return 1;
    }
    if (object->exponent.data == NULL)
        return 1;
    token_e = BN_bin2bn(object->exponent.data, (int)object->exponent.len, NULL);
    if (token_e == NULL || !EVP_PKEY_get_bn_param(key->pub, OSSL_PKEY_PARAM_RSA_E, &e))
        goto out;
    ret = BN_cmp(e, token_e) == 0 ? 1 : raise_mismatch(key, "the RSA exponent");
out:
    BN_free(e);
    BN_free(token_e);
    return ret;
}

/* Ask now which mechanisms there are, so that operations need not. */
static void note_mechanisms(struct prov_key *key, struct ks_key *priv)
{
    static const struct {
        enum ks_key_type type;
        enum ks_mech_kind kind;
    } rows[] = {
        {KS_KEY_RSA, KS_MECH_RSA_PKCS1}, {KS_KEY_RSA, KS_MECH_RSA_PSS},
        {KS_KEY_RSA, KS_MECH_RSA_RAW},   {KS_KEY_EC, KS_MECH_ECDSA},
        {KS_KEY_EC, KS_MECH_ECDH},       {KS_KEY_EC, KS_MECH_ECDH_COFACTOR},
        {KS_KEY_EDWARDS, KS_MECH_EDDSA},
    };
    size_t i;

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].type == prov_types[key->type].ks_type)
            (void)prov_key_can(key, priv, rows[i].kind);
    }
}

/* Holds the token's key against key->pub, now and in later epochs. */
static int expect_public(struct prov_key *key, struct ks_key *priv)
{
    struct ks_expect expect = {.arg = key}; /* outlives its private half */
    const struct ks_object *object = ks_key_object(priv);
    unsigned char *part = NULL;
    struct ks_error err;
    int ret = 0;

    if (!compare_rest(key, object))
        return 0;
    part = prov_public_part(key->pub, &expect.public_len);
    if (part == NULL) {
        prov_raise(key->ctx, PROV_R_SOFTWARE, "%s: the public half cannot be read", key->uri);
        return 0;
    }
    expect.public_part = part;
    if (key->type == PROV_EC)
        expect.verify = prov_ecdsa_verify_raw;
    else if (prov_edwards_of(key->type) != NULL)
        expect.verify = prov_eddsa_verify_raw;
    if (!ks_ok(ks_key_expect(priv, &expect, &err))) {
        prov_raise_ks(key->ctx, &err);
        goto out;
    }
    /* A key that only derives never makes the signature that would prove it. */
    if (key->type == PROV_EC && !object->can_sign && key->ctx->config.check_key_at_load &&
        !ks_key_proved(priv)) {
        prov_raise(key->ctx, PROV_R_REFERENCE,
                   "%s: the token has no public key object to prove that this is the key of the "
                   "reference, and the key cannot sign to prove it; store the public object, or "
                   "set check-key-at-load = no",
                   key->uri);
        goto out;
    }
    note_mechanisms(key, priv);
    ret = 1;
out:
    OPENSSL_free(part);
    return ret;
}

/* As a reference has it. Where the token is one of several independent ones the URI names it; a
 * cluster's key is on all of them. `token` may be NULL. */
static char *uri_of(const struct prov_ctx *ctx, const struct ks_object *object,
                    struct ks_token *token)
{
    const bool named = token != NULL && ctx->token != NULL &&
                       (ctx->name_token || ks_token_is_group(ctx->token, KS_GROUP_SET)) &&
                       !ks_token_is_group(token, KS_GROUP_CLUSTER);
    struct ks_token_facts facts;
    char uri[URI_MAX];
    struct ks_error err;

    if (named && !ks_ok(ks_token_facts(token, NULL, &facts, &err))) {
        prov_raise_ks(ctx, &err);
        return NULL;
    }

    if (!ks_ok(ks_object_uri(object, named ? &facts : NULL,
                             named ? KS_URI_DETAIL_TOKEN : KS_URI_DETAIL_REFERENCE, uri,
                             sizeof(uri), &err))) {
        prov_raise_ks(ctx, &err);
        return NULL;
    }
    return OPENSSL_strdup(uri);
}

static bool type_of(EVP_PKEY *pub, enum prov_key_type *type)
{
    unsigned i;

    for (i = 0; i < PROV_KEY_TYPES; i++) {
        if (EVP_PKEY_is_a(pub, prov_types[i].name)) {
            *type = (enum prov_key_type)i;
            return true;
        }
    }
    return false;
}

struct prov_key *prov_key_from_ks(struct prov_ctx *ctx, struct ks_key *priv, EVP_PKEY *pub)
{
    char *uri = uri_of(ctx, ks_key_object(priv), ks_key_token(priv));
    struct prov_key *key = NULL;
    enum prov_key_type type;

    if (uri == NULL)
        return NULL;
    if (pub == NULL)
        pub = public_from_token(ctx, priv, uri);
    else if (!EVP_PKEY_up_ref(pub))
        pub = NULL;
    if (pub == NULL)
        goto err;
    if (!type_of(pub, &type)) {
        prov_raise(ctx, PROV_R_UNSUPPORTED, "%s: keys of this type are not supported", uri);
        goto err;
    }
    key = prov_key_new(ctx, type);
    if (key == NULL)
        goto err;
    key->pub = pub;
    key->uri = uri;
    key->has_public = key->has_private = true;
    if (!expect_public(key, priv)) {
        prov_key_free(key);
        return NULL;
    }
    key->priv = priv;
    return key;
err:
    EVP_PKEY_free(pub);
    OPENSSL_free(uri);
    return NULL;
}

struct prov_key *prov_key_from_object(struct prov_ctx *ctx, const struct ks_object *object)
{
    struct prov_key *key = NULL;
    EVP_PKEY *pub = NULL;
    enum prov_key_type type;

    if (object->klass == KS_CLASS_CERTIFICATE)
        pub = public_from_certificate(ctx, object->value.data, object->value.len);
    else if (object->type == KS_KEY_RSA && object->modulus.data != NULL &&
             object->exponent.data != NULL)
        pub = prov_public_rsa(ctx, object->modulus.data, object->modulus.len, object->exponent.data,
                              object->exponent.len);
    else if ((object->type == KS_KEY_EC || object->type == KS_KEY_EDWARDS) &&
             object->ec_point.data != NULL)
        pub = public_from_point(ctx, object);
    else if (object->spki.data != NULL)
        pub = prov_public_spki(ctx, object->spki.data, object->spki.len);
    else
        prov_raise(ctx, PROV_R_UNSUPPORTED, "the object does not hold a public key that we know");
    if (pub == NULL)
        return NULL;
    if (!type_of(pub, &type)) {
        prov_raise(ctx, PROV_R_UNSUPPORTED, "public keys of this type are not supported");
        goto err;
    }
    key = prov_key_new(ctx, type);
    if (key == NULL)
        goto err;
    key->pub = pub;
    key->has_public = true;
    key->uri = uri_of(ctx, object, NULL);
    if (key->uri == NULL) {
        prov_key_free(key);
        return NULL;
    }
    return key;
err:
    EVP_PKEY_free(pub);
    return NULL;
}

/* --- references ------------------------------------------------------------------------------ */

static struct ks_key *find_reference(struct prov_ctx *ctx, const struct prov_ref *ref,
                                     const struct ks_how *how)
{
    struct ks_uri *uri = NULL;
    struct ks_key *priv = NULL;
    struct ks_error err;

    if (!ks_ok(ks_uri_parse(ref->uri, KS_URI_REFERENCE, &uri, &err)) ||
        !ks_ok(ks_key_find(ctx->token, how, uri, &priv, &err))) {
        prov_raise_ks(ctx, &err);
        priv = NULL;
    }
    ks_uri_free(uri);
    return priv;
}

static struct prov_ref *copy_reference(const struct prov_ref *ref)
{
    struct prov_ref *copy = OPENSSL_zalloc(sizeof(*copy));

    if (copy == NULL)
        return NULL;
    copy->type = ref->type;
    copy->uri = OPENSSL_strdup(ref->uri);
    if (copy->uri == NULL)
        goto err;
    if (ref->id_len > 0) {
        copy->id = OPENSSL_memdup(ref->id, ref->id_len);
        if (copy->id == NULL)
            goto err;
        copy->id_len = ref->id_len;
    }
    if (ref->has_public) {
        if (!EVP_PKEY_up_ref(ref->pub))
            goto err;
        copy->pub = ref->pub;
        copy->has_public = true;
    }
    return copy;
err:
    prov_ref_free(copy);
    return NULL;
}

/* A key that is looked up at its first use. */
static struct prov_key *lazy_key(struct prov_ctx *ctx, const struct prov_ref *ref)
{
    struct prov_key *key = prov_key_new(ctx, ref->type);

    if (key == NULL)
        return NULL;
    key->ref = copy_reference(ref);
    key->uri = OPENSSL_strdup(ref->uri);
    if (key->ref == NULL || key->uri == NULL || !EVP_PKEY_up_ref(ref->pub)) {
        prov_key_free(key);
        return NULL;
    }
    key->pub = ref->pub;
    key->has_public = key->has_private = true;
    return key;
}

struct prov_key *prov_key_from_ref(struct prov_ctx *ctx, const struct prov_ref *ref,
                                   const struct ks_how *how)
{
    struct prov_key *key;
    struct ks_key *priv;

    if (!prov_usable(ctx))
        return NULL;
    if (ref->has_public && !ctx->config.check_key_at_load) {
        /* the token can wait, but who uses the key may not be allowed to read the PIN */
        ks_token_keep_pin(ctx->token);
        return lazy_key(ctx, ref);
    }
    priv = find_reference(ctx, ref, how);
    if (priv == NULL)
        return NULL;
    key = prov_key_from_ks(ctx, priv, ref->has_public ? ref->pub : NULL);
    if (key == NULL)
        ks_key_free(priv);
    return key;
}

bool prov_key_unseen(const struct prov_key *key)
{
    return key->ref != NULL && __atomic_load_n(&key->priv, __ATOMIC_ACQUIRE) == NULL;
}

struct ks_key *prov_key_private(struct prov_key *key, const struct ks_how *how)
{
    struct ks_key *priv = __atomic_load_n(&key->priv, __ATOMIC_ACQUIRE);

    if (priv != NULL)
        return priv;
    if (key->software) {
        prov_raise_software_key(key);
        return NULL;
    }
    if (!key->has_private || key->ref == NULL) {
        prov_raise(key->ctx, PROV_R_NO_PRIVATE,
                   "this is a public key: the operation needs the private key in the HSM");
        return NULL;
    }
    if (!prov_usable(key->ctx) || !CRYPTO_THREAD_write_lock(key->lock))
        return NULL;
    priv = key->priv;
    if (priv == NULL) {
        priv = find_reference(key->ctx, key->ref, how);
        if (priv != NULL && !expect_public(key, priv)) {
            ks_key_free(priv);
            priv = NULL;
        }
        __atomic_store_n(&key->priv, priv, __ATOMIC_RELEASE);
    }
    CRYPTO_THREAD_unlock(key->lock);
    return priv;
}

bool prov_key_can(struct prov_key *key, struct ks_key *priv, enum ks_mech_kind kind)
{
    /* two bits for each kind: the answer is known, the answer */
    const unsigned known = 1U << (2 * (unsigned)kind), yes = known << 1;
    unsigned seen = atomic_load_explicit(&key->mechanisms, memory_order_relaxed);
    struct ks_error err;
    bool can = true;

    _Static_assert(2 * KS_MECH_KINDS <= 32, "prov_key.mechanisms is too small");
    if ((seen & known) != 0)
        return (seen & yes) != 0;
    if (!ks_ok(ks_token_can(ks_key_token(priv), NULL, kind, &can, &err)))
        return true;
    atomic_fetch_or_explicit(&key->mechanisms, can ? known | yes : known, memory_order_relaxed);
    return can;
}
