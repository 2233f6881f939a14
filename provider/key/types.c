/* SPDX-License-Identifier: Apache-2.0
 *
 * types.c - the key types, and the curves, that we know.
 */
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <string.h>

#include "types.h"

const struct prov_type_info prov_types[PROV_KEY_TYPES] = {
    [PROV_RSA] = {"RSA", PROV_OID_RSA, KS_KEY_RSA},
    [PROV_RSA_PSS] = {"RSA-PSS", PROV_OID_RSA_PSS, KS_KEY_RSA},
    [PROV_EC] = {"EC", PROV_OID_EC, KS_KEY_EC},
    [PROV_ED25519] = {"ED25519", PROV_OID_ED25519, KS_KEY_EDWARDS},
    [PROV_ED448] = {"ED448", PROV_OID_ED448, KS_KEY_EDWARDS},
};

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
