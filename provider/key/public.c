/* SPDX-License-Identifier: Apache-2.0
 *
 * public.c - public halves: ordinary software keys, made from numbers, from a certificate, or
 * from what a token tells; and the curves that we know.
 */
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

#include "public.h"

/* The longest URI that is made here. */
#define URI_MAX 4096

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
unsigned char *prov_key_public_part(EVP_PKEY *pub, size_t *len)
{
    const struct prov_curve *curve;
    enum prov_key_type type;
    BIGNUM *a = NULL, *b = NULL;
    unsigned char *out = NULL;

    if (!prov_type_of(pub, &type))
        return NULL;
    if (prov_types[type].raw != NULL) {
        *len = prov_types[type].raw->public_len;
        out = OPENSSL_malloc(*len);
        if (out != NULL && EVP_PKEY_get_raw_public_key(pub, out, len) != 1) {
            OPENSSL_free(out);
            out = NULL;
        }
        return out;
    }
    if (!prov_types[type].grouped) {
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

EVP_PKEY *prov_key_public_of_certificate(const struct prov_ctx *ctx, const struct ks_object *key,
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
    search->pub = prov_key_public_of_certificate(search->ctx, search->key, object->value.data,
                                                 object->value.len);
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

EVP_PKEY *prov_key_public_of_object(const struct prov_ctx *ctx, const struct ks_object *object)
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

EVP_PKEY *prov_key_public_of_private(const struct prov_ctx *ctx, struct ks_key *priv,
                                     const char *uri)
{
    const struct ks_object *object = ks_key_object(priv);
    EVP_PKEY *pub = NULL;

    if ((object->type == KS_KEY_EC || object->type == KS_KEY_EDWARDS) && !has_point(object))
        pub = public_from_token_certificate(ctx, priv);
    if (pub == NULL && tells_public(object))
        return prov_key_public_of_object(ctx, object);
    if (pub == NULL)
        prov_raise(ctx, PROV_R_REFERENCE,
                   "the token does not tell the public half of %s (no public key object and no "
                   "certificate with its id): load the key by a reference that holds the public "
                   "key (hsmkey reference), or store its certificate on the token",
                   uri);
    return pub;
}
