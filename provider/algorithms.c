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

/* Key references come as PKCS#8, or bare: the structure that our PEM decoder hands on. */
#define DECODERS(names, table)                                                                     \
    ROW(names, ",input=der,structure=PrivateKeyInfo", table, "key reference"),                     \
        ROW(names, ",input=der,structure=hsm-reference", table, "bare key reference")

static const OSSL_ALGORITHM decoder[] = {
    DECODERS(PROV_NAMES_RSA, prov_decoder_der_rsa),
    DECODERS(PROV_NAMES_RSA_PSS, prov_decoder_der_rsa_pss),
    DECODERS(PROV_NAMES_EC, prov_decoder_der_ec),
    ROW("DER", ",input=pem", prov_decoder_pem, "PEM labels of key references"),
    LAST_ROW,
};

#define ENCODER(names, output, structure, table, description)                                      \
    ROW(names, ",output=" output ",structure=" structure, table, description)
/* The traditional formats hold private numbers, so these refuse, with the reason. */
#define TRADITIONAL(names, structure)                                                              \
    ENCODER(names, "der", structure, prov_encoder_traditional, "refuses"),                         \
        ENCODER(names, "pem", structure, prov_encoder_traditional, "refuses")
#define ENCODERS(names)                                                                            \
    TRADITIONAL(names, "type-specific"),                                                           \
        ENCODER(names, "der", "EncryptedPrivateKeyInfo", prov_encoder_encrypted, "refuses"),       \
        ENCODER(names, "pem", "EncryptedPrivateKeyInfo", prov_encoder_encrypted, "refuses"),       \
        ENCODER(names, "der", "SubjectPublicKeyInfo", prov_encoder_spki_der, "public key"),        \
        ENCODER(names, "pem", "SubjectPublicKeyInfo", prov_encoder_spki_pem, "public key"),        \
        ENCODER(names, "der", "PrivateKeyInfo", prov_encoder_pki_der, "key reference"),            \
        ENCODER(names, "pem", "PrivateKeyInfo", prov_encoder_pki_pem, "key reference"),            \
        ROW(names, ",output=text", prov_encoder_text, "key in words")

static const OSSL_ALGORITHM encoder[] = {
    ENCODERS(PROV_NAMES_RSA),
    TRADITIONAL(PROV_NAMES_RSA, "pkcs1"),
    ENCODERS(PROV_NAMES_RSA_PSS),
    TRADITIONAL(PROV_NAMES_RSA_PSS, "pkcs1"),
    ENCODERS(PROV_NAMES_EC),
    TRADITIONAL(PROV_NAMES_EC, "X9.62"),
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
