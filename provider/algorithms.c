/* SPDX-License-Identifier: Apache-2.0
 *
 * algorithms.c - what we offer, one row each.
 */
#include "prov_local.h"

#define ROW(names, extra, table, description)                                                      \
    {                                                                                              \
        names, PROV_PROPERTIES extra, table, description                                           \
    }
#define LAST_ROW                                                                                   \
    {                                                                                              \
        NULL, NULL, NULL, NULL                                                                     \
    }

static const OSSL_ALGORITHM keymgmt[] = {
    ROW(PROV_NAMES_RSA, "", prov_keymgmt_rsa, "RSA keys in an HSM"),
    ROW(PROV_NAMES_RSA_PSS, "", prov_keymgmt_rsa_pss, "RSA-PSS keys in an HSM"),
    ROW(PROV_NAMES_EC, "", prov_keymgmt_ec, "EC keys in an HSM"),
    LAST_ROW,
};

static const OSSL_ALGORITHM signature[] = {
    ROW("RSA:rsaEncryption:1.2.840.113549.1.1.1", "", prov_signature_rsa, "RSA by an HSM"),
    ROW("ECDSA", "", prov_signature_ecdsa, "ECDSA by an HSM"),
    LAST_ROW,
};

static const OSSL_ALGORITHM asymcipher[] = {
    ROW("RSA:rsaEncryption:1.2.840.113549.1.1.1", "", prov_asymcipher_rsa, "RSA by an HSM"),
    LAST_ROW,
};

static const OSSL_ALGORITHM store[] = {
    ROW("pkcs11", "", prov_store, "objects in a PKCS#11 token"),
    LAST_ROW,
};

#define DER_PKI ",input=der,structure=PrivateKeyInfo"

#define DER_REF ",input=der,structure=hsm-reference"

static const OSSL_ALGORITHM decoder[] = {
    ROW(PROV_NAMES_RSA, DER_PKI, prov_decoder_der_rsa, "RSA key reference"),
    ROW(PROV_NAMES_RSA_PSS, DER_PKI, prov_decoder_der_rsa_pss, "RSA-PSS key reference"),
    ROW(PROV_NAMES_EC, DER_PKI, prov_decoder_der_ec, "EC key reference"),
    ROW(PROV_NAMES_RSA, DER_REF, prov_decoder_der_rsa, "RSA key reference"),
    ROW(PROV_NAMES_RSA_PSS, DER_REF, prov_decoder_der_rsa_pss, "RSA-PSS key reference"),
    ROW(PROV_NAMES_EC, DER_REF, prov_decoder_der_ec, "EC key reference"),
    ROW("DER", ",input=pem", prov_decoder_pem, "PEM labels of key references"),
    LAST_ROW,
};

#define DER(structure) ",output=der,structure=" structure
#define PEM(structure) ",output=pem,structure=" structure

/* The encoders of one key type. */
#define ENCODERS(names)                                                                            \
    ROW(names, DER("type-specific"), prov_encoder_traditional, "refuses"),                         \
        ROW(names, PEM("type-specific"), prov_encoder_traditional, "refuses"),                     \
        ROW(names, DER("EncryptedPrivateKeyInfo"), prov_encoder_encrypted, "refuses"),             \
        ROW(names, PEM("EncryptedPrivateKeyInfo"), prov_encoder_encrypted, "refuses"),             \
        ROW(names, DER("SubjectPublicKeyInfo"), prov_encoder_spki_der, "public key"),              \
        ROW(names, PEM("SubjectPublicKeyInfo"), prov_encoder_spki_pem, "public key"),              \
        ROW(names, DER("PrivateKeyInfo"), prov_encoder_pki_der, "key reference"),                  \
        ROW(names, PEM("PrivateKeyInfo"), prov_encoder_pki_pem, "key reference"),                  \
        ROW(names, ",output=text", prov_encoder_text, "key in words")

static const OSSL_ALGORITHM encoder[] = {
    ROW(PROV_NAMES_RSA, DER("pkcs1"), prov_encoder_traditional, "refuses"),
    ROW(PROV_NAMES_RSA, PEM("pkcs1"), prov_encoder_traditional, "refuses"),
    ROW(PROV_NAMES_EC, DER("X9.62"), prov_encoder_traditional, "refuses"),
    ROW(PROV_NAMES_EC, PEM("X9.62"), prov_encoder_traditional, "refuses"),
    ENCODERS(PROV_NAMES_RSA),
    ENCODERS(PROV_NAMES_RSA_PSS),
    ENCODERS(PROV_NAMES_EC),
    LAST_ROW,
};

const OSSL_ALGORITHM *prov_algorithms(const struct prov_ctx *ctx, int operation_id)
{
    (void)ctx; /* what is offered does not depend on the policy: what is not allowed is refused */
    switch (operation_id) {
    case OSSL_OP_KEYMGMT:
        return keymgmt;
    case OSSL_OP_SIGNATURE:
        return signature;
    case OSSL_OP_ASYM_CIPHER:
        return asymcipher;
    case OSSL_OP_STORE:
        return store;
    case OSSL_OP_DECODER:
        return decoder;
    case OSSL_OP_ENCODER:
        return encoder;
    default:
        return NULL;
    }
}
