/* SPDX-License-Identifier: Apache-2.0
 *
 * types.h - the key types, their names, and the curves.
 */
#ifndef HSM_PROV_TYPES_H
#define HSM_PROV_TYPES_H

#include "../core/core.h"

enum prov_key_type { PROV_RSA, PROV_RSA_PSS, PROV_EC, PROV_ED25519, PROV_ED448, PROV_KEY_TYPES };

/* The private arc for key references, 2.25.<UUID b291fade-7c3b-4ae2-9bc6-66e689d76d81>. One OID
 * per key type; never reuse or reorder. Text stays under libcrypto's 50 characters. */
#define PROV_OID_ARC     "2.25.237360554523703387943816228194110369153"
#define PROV_OID_RSA     PROV_OID_ARC ".1"
#define PROV_OID_RSA_PSS PROV_OID_ARC ".2"
#define PROV_OID_EC      PROV_OID_ARC ".3"
#define PROV_OID_ED25519 PROV_OID_ARC ".4"
#define PROV_OID_ED448   PROV_OID_ARC ".5"

/* The names under which keymgmt, encoders and decoders of a type are registered. The OID has to
 * be among the keymgmt's names, or the PEM decoder of OpenSSL 3.5 and later finds no keymgmt. */
#define PROV_NAMES_RSA     "RSA:rsaEncryption:1.2.840.113549.1.1.1:" PROV_OID_RSA
#define PROV_NAMES_RSA_PSS "RSA-PSS:RSASSA-PSS:1.2.840.113549.1.1.10:" PROV_OID_RSA_PSS
#define PROV_NAMES_EC      "EC:id-ecPublicKey:1.2.840.10045.2.1:" PROV_OID_EC
#define PROV_NAMES_ED25519 "ED25519:1.3.101.112:" PROV_OID_ED25519
#define PROV_NAMES_ED448   "ED448:1.3.101.113:" PROV_OID_ED448

/* The names of what our keys sign, decrypt and agree with (query_operation_name). No other provider
 * has them, so that libcrypto does not first take the algorithm of another one and have the key
 * exported to it, which we refuse: rows of their own in algorithms.c, as a second name in the row
 * of "RSA" would make it the same algorithm. */
#define PROV_OWN_RSA     "HSM-RSA"
#define PROV_OWN_ECDSA   "HSM-ECDSA"
#define PROV_OWN_ECDH    "HSM-ECDH"
#define PROV_OWN_ED25519 "HSM-ED25519"
#define PROV_OWN_ED448   "HSM-ED448"

struct prov_type_info {
    const char *name; /* "RSA", what EVP_PKEY_is_a() is asked with */
    const char *oid;  /* the reference's OID, dotted */
    enum ks_key_type ks_type;
};
extern const struct prov_type_info prov_types[PROV_KEY_TYPES];

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

/* The Edwards curves: what CKA_EC_PARAMS may be for each. */
struct prov_edwards {
    const unsigned char *oid; /* RFC 8410 and PKCS#11 3.1, in DER */
    size_t oid_len;
    const unsigned char *name; /* PKCS#11 3.0: a PrintableString, in DER */
    size_t name_len;
    size_t public_len; /* of a public key */
};
/* Purpose: the row of PROV_ED25519 or PROV_ED448; NULL for another type. */
const struct prov_edwards *prov_edwards_of(enum prov_key_type type);
/* Purpose: which of the two an object on a token is; false: neither. */
bool prov_edwards_type(const struct ks_object *object, enum prov_key_type *type);

#endif
