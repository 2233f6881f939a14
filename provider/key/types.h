/* SPDX-License-Identifier: Apache-2.0
 *
 * types.h - the key types, their names, and the curves.
 */
#ifndef HSM_PROV_TYPES_H
#define HSM_PROV_TYPES_H

#include "../core/core.h"

enum prov_key_type {
#define KEY_TYPE(ID, ...) PROV_##ID,
#include "types.def"
#undef KEY_TYPE
    PROV_KEY_TYPES
};

/* The names under which keymgmt, encoders and decoders of a type are registered. The OID has to
 * be among the keymgmt's names, or the PEM decoder of OpenSSL 3.5 and later finds no keymgmt. */
#define PROV_NAMES(ID) PROV_COMMON_##ID ":" PROV_OID_##ID

/* A type whose public keys are strings of bytes of one length, as those of the Edwards curves. */
struct prov_raw {
    const char *oid; /* of the AlgorithmIdentifier, in DER; for Edwards CKA_EC_PARAMS, too */
    size_t oid_len;
    const char *curve; /* CKA_EC_PARAMS of PKCS#11 3.0: a PrintableString, in DER */
    size_t curve_len;
    size_t public_len, signature_len;
};
#define PROV_BYTES(text) (text), sizeof(text) - 1

/* What there is to know of a key type; types.def has the rows. */
struct prov_type_info {
    const char *name;  /* "ED25519", what EVP_PKEY_is_a() is asked with */
    const char *title; /* "Ed25519" */
    const char *word;  /* "ed25519", as hsmkey writes it */
    const char *oid;   /* the reference's OID, dotted */
    enum ks_key_type ks_type;
    /* The AlgorithmIdentifier in a SubjectPublicKeyInfo: its OID (or `raw` has it), and the V_ASN1_
     * type of its parameters, V_ASN1_UNDEF if it has none. An EC key has to name its curve:
     * explicit parameters would be a curve of the writer's choice. */
    int nid, parameters, or_else;
    bool decrypts, derives; /* generated keys also do this, besides signing */
    bool grouped;           /* keys belong to a group, which is generated before the key */
    bool restricted;        /* tokens do not know the type: their object is that of an RSA key */
    enum ks_mech_kind keygen;
    /* Asked for when a key is loaded, so that operations need not ask. The first one signs. */
    enum ks_mech_kind mechanisms[3];
    unsigned mechanism_count;
    const struct prov_raw *raw; /* NULL for other shapes */
};
extern const struct prov_type_info prov_types[PROV_KEY_TYPES];
/* The names alone; NULL ends them. */
extern const char *const prov_type_names[];

/* Purpose: the type of a software key; false, nothing raised, when it is none of ours. */
bool prov_type_of(const EVP_PKEY *pub, enum prov_key_type *type);
/* Purpose: the first of the types that are one type to the token. */
enum prov_key_type prov_type_first(enum ks_key_type ks_type);
/* Purpose: which Edwards curve an object on a token is on; false: none of ours. */
bool prov_edwards_type(const struct ks_object *object, enum prov_key_type *type);

/* --- curves ---------------------------------------------------------------------------------- */

/* The curves that keys on a token may have. Other curves work with public keys only. */
struct prov_curve {
    const char *name;         /* what libcrypto calls the group: "prime256v1" */
    const char *nist;         /* "P-256", or NULL */
    const char *secg;         /* "secp256r1" */
    const char *dotted;       /* the OID */
    const unsigned char *der; /* the OID in DER: CKA_EC_PARAMS */
    size_t der_len;
    size_t field; /* bytes of a coordinate, and of the order */
};
/* Purpose: the row for a group's name (any of its four) or for CKA_EC_PARAMS; NULL, with nothing
 * raised, when it is not one of ours. */
const struct prov_curve *prov_curve_by_name(const char *name);
const struct prov_curve *prov_curve_by_der(const unsigned char *der, size_t len);
/* Purpose: the curve of an EC public half; NULL, nothing raised, as above. */
const struct prov_curve *prov_curve_of(EVP_PKEY *pub);

#endif
