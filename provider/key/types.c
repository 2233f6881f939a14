/* SPDX-License-Identifier: Apache-2.0
 *
 * types.c - the key types, and the curves, that we know.
 */
#include <openssl/asn1.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <string.h>

#include "types.h"

const struct prov_type_info prov_types[PROV_KEY_TYPES] = {
#define KEY_TYPE(ID, id, shape, called, written, ...)                                              \
    [PROV_##                                                                                       \
        ID] = {.name = called, .title = written, .word = #id, .oid = PROV_OID_##ID, __VA_ARGS__},
#include "types.def"
#undef KEY_TYPE
};

const char *const prov_type_names[] = {
#define KEY_TYPE(ID, id, shape, name, ...) name,
#include "types.def"
#undef KEY_TYPE
    NULL,
};

bool prov_type_of(const EVP_PKEY *pub, enum prov_key_type *type)
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

enum prov_key_type prov_type_first(enum ks_key_type ks_type)
{
    unsigned i = 0;

    while (i < PROV_KEY_TYPES && prov_types[i].ks_type != ks_type)
        i++;
    return (enum prov_key_type)i;
}

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

/* PKCS#11 lets X25519 and X448 be named in the same way, and some tokens give them the Edwards
 * type: those are none of ours. */
bool prov_edwards_type(const struct ks_object *object, enum prov_key_type *type)
{
    const struct ks_bytes *p = &object->ec_params;
    unsigned i;

    for (i = 0; i < PROV_KEY_TYPES; i++) {
        const struct prov_raw *raw = prov_types[i].raw;

        if (prov_types[i].ks_type != KS_KEY_EDWARDS || raw == NULL)
            continue;
        *type = (enum prov_key_type)i;
        if (p->data == NULL) {
            if (object->ec_point.len == raw->public_len)
                return true;
            continue;
        }
        if ((p->len == raw->oid_len && memcmp(p->data, raw->oid, p->len) == 0) ||
            (p->len == raw->curve_len && memcmp(p->data, raw->curve, p->len) == 0))
            return true;
    }
    return false;
}
