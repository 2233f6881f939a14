/* SPDX-License-Identifier: Apache-2.0
 *
 * algorithms.c - what we offer, one row each.
 */
#include <pthread.h>
#include <string.h>

#include "algorithms.h"
#include "asymcipher/asymcipher.h"
#include "codec/codec.h"
#include "keyexch/keyexch.h"
#include "keymgmt/keymgmt.h"
#include "rand/rand.h"
#include "signature/signature.h"

#define ROW(names, extra, table, description)                                                      \
    {                                                                                              \
        names, PROV_PROPERTIES extra, table, description                                           \
    }
#define LAST_ROW                                                                                   \
    {                                                                                              \
        NULL, NULL, NULL, NULL                                                                     \
    }

static const OSSL_ALGORITHM keymgmt[] = {
#define KEY_TYPE(ID, id, shape, name, title, ...)                                                  \
    ROW(PROV_NAMES(ID), "", prov_keymgmt_##id, title " keys in an HSM"),
#include "key/types.def"
#undef KEY_TYPE
#define REFUSED(id, name, others) ROW(name others, "", prov_refused_##id, "refused: not in an HSM"),
#define REFUSED_SIGNS             REFUSED
#include "keymgmt/refused.def"
#undef REFUSED
#undef REFUSED_SIGNS
    LAST_ROW,
};

/* The others sign by more than one name, or take their key's digest: they have rows below. */
#define SIGNS_RSA(...)
#define SIGNS_EC(...)
#define SIGNS_RAW(names, id, title) ROW(names, "", prov_signature_##id, title " by an HSM"),

static const OSSL_ALGORITHM signature[] = {
    ROW(PROV_OWN_RSA, "", prov_signature_rsa, "RSA by an HSM"),
    ROW(PROV_OWN_ECDSA, "", prov_signature_ecdsa, "ECDSA by an HSM"),
#define KEY_TYPE(ID, id, shape, name, title, ...) SIGNS_##shape(PROV_OWN_##ID, id, title)
#include "key/types.def"
#undef KEY_TYPE
    /* what an application asks for by name, with provider=hsm */
    ROW(PROV_COMMON_RSA, "", prov_signature_rsa, "RSA by an HSM"),
    ROW("ECDSA", "", prov_signature_ecdsa, "ECDSA by an HSM"),
#define KEY_TYPE(ID, id, shape, name, title, ...) SIGNS_##shape(PROV_COMMON_##ID, id, title)
#include "key/types.def"
#undef KEY_TYPE
#ifdef OSSL_FUNC_SIGNATURE_SIGN_MESSAGE_INIT
    /* names as in the default provider of OpenSSL 3.4 and later */
    ROW("RSA-SHA1:RSA-SHA-1:sha1WithRSAEncryption:1.2.840.113549.1.1.5", "", prov_sigalg_rsa_sha1,
        "RSA by an HSM"),
    ROW("RSA-SHA2-224:RSA-SHA224:sha224WithRSAEncryption:1.2.840.113549.1.1.14", "",
        prov_sigalg_rsa_sha224, "RSA by an HSM"),
    ROW("RSA-SHA2-256:RSA-SHA256:sha256WithRSAEncryption:1.2.840.113549.1.1.11", "",
        prov_sigalg_rsa_sha256, "RSA by an HSM"),
    ROW("RSA-SHA2-384:RSA-SHA384:sha384WithRSAEncryption:1.2.840.113549.1.1.12", "",
        prov_sigalg_rsa_sha384, "RSA by an HSM"),
    ROW("RSA-SHA2-512:RSA-SHA512:sha512WithRSAEncryption:1.2.840.113549.1.1.13", "",
        prov_sigalg_rsa_sha512, "RSA by an HSM"),
    ROW("RSA-SHA2-512/224:RSA-SHA512-224:sha512-224WithRSAEncryption:1.2.840.113549.1.1.15", "",
        prov_sigalg_rsa_sha512_224, "RSA by an HSM"),
    ROW("RSA-SHA2-512/256:RSA-SHA512-256:sha512-256WithRSAEncryption:1.2.840.113549.1.1.16", "",
        prov_sigalg_rsa_sha512_256, "RSA by an HSM"),
    ROW("RSA-SHA3-224:id-rsassa-pkcs1-v1_5-with-sha3-224:2.16.840.1.101.3.4.3.13", "",
        prov_sigalg_rsa_sha3_224, "RSA by an HSM"),
    ROW("RSA-SHA3-256:id-rsassa-pkcs1-v1_5-with-sha3-256:2.16.840.1.101.3.4.3.14", "",
        prov_sigalg_rsa_sha3_256, "RSA by an HSM"),
    ROW("RSA-SHA3-384:id-rsassa-pkcs1-v1_5-with-sha3-384:2.16.840.1.101.3.4.3.15", "",
        prov_sigalg_rsa_sha3_384, "RSA by an HSM"),
    ROW("RSA-SHA3-512:id-rsassa-pkcs1-v1_5-with-sha3-512:2.16.840.1.101.3.4.3.16", "",
        prov_sigalg_rsa_sha3_512, "RSA by an HSM"),
    ROW("ECDSA-SHA1:ECDSA-SHA-1:ecdsa-with-SHA1:1.2.840.10045.4.1", "", prov_sigalg_ecdsa_sha1,
        "ECDSA by an HSM"),
    ROW("ECDSA-SHA2-224:ECDSA-SHA224:ecdsa-with-SHA224:1.2.840.10045.4.3.1", "",
        prov_sigalg_ecdsa_sha224, "ECDSA by an HSM"),
    ROW("ECDSA-SHA2-256:ECDSA-SHA256:ecdsa-with-SHA256:1.2.840.10045.4.3.2", "",
        prov_sigalg_ecdsa_sha256, "ECDSA by an HSM"),
    ROW("ECDSA-SHA2-384:ECDSA-SHA384:ecdsa-with-SHA384:1.2.840.10045.4.3.3", "",
        prov_sigalg_ecdsa_sha384, "ECDSA by an HSM"),
    ROW("ECDSA-SHA2-512:ECDSA-SHA512:ecdsa-with-SHA512:1.2.840.10045.4.3.4", "",
        prov_sigalg_ecdsa_sha512, "ECDSA by an HSM"),
    ROW("ECDSA-SHA3-224:ecdsa_with_SHA3-224:id-ecdsa-with-sha3-224:2.16.840.1.101.3.4.3.9", "",
        prov_sigalg_ecdsa_sha3_224, "ECDSA by an HSM"),
    ROW("ECDSA-SHA3-256:ecdsa_with_SHA3-256:id-ecdsa-with-sha3-256:2.16.840.1.101.3.4.3.10", "",
        prov_sigalg_ecdsa_sha3_256, "ECDSA by an HSM"),
    ROW("ECDSA-SHA3-384:ecdsa_with_SHA3-384:id-ecdsa-with-sha3-384:2.16.840.1.101.3.4.3.11", "",
        prov_sigalg_ecdsa_sha3_384, "ECDSA by an HSM"),
    ROW("ECDSA-SHA3-512:ecdsa_with_SHA3-512:id-ecdsa-with-sha3-512:2.16.840.1.101.3.4.3.12", "",
        prov_sigalg_ecdsa_sha3_512, "ECDSA by an HSM"),
#endif
    LAST_ROW,
};

/* Offered with software-private-keys = refuse, behind the others. */
static const OSSL_ALGORITHM signature_strict[] = {
#define REFUSED(id, name, others)
#define REFUSED_SIGNS(id, name, others)                                                            \
    ROW(name others, "", prov_signature_refused, "refuses software keys"),
#include "keymgmt/refused.def"
#undef REFUSED
#undef REFUSED_SIGNS
    LAST_ROW,
};

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

static OSSL_ALGORITHM signature_all[COUNT(signature) - 1 + COUNT(signature_strict)];

static const OSSL_ALGORITHM asymcipher[] = {
    ROW(PROV_OWN_RSA, "", prov_asymcipher_rsa, "RSA by an HSM"),
    ROW(PROV_COMMON_RSA, "", prov_asymcipher_rsa, "RSA by an HSM"),
    LAST_ROW,
};

static const OSSL_ALGORITHM keyexch[] = {
    ROW(PROV_OWN_ECDH, "", prov_keyexch_ecdh, "ECDH by an HSM"),
    ROW("ECDH", "", prov_keyexch_ecdh, "ECDH by an HSM"),
    LAST_ROW,
};

/* With software-private-keys = refuse; the first rows as above. */
static const OSSL_ALGORITHM asymcipher_strict[] = {
    ROW(PROV_OWN_RSA, "", prov_asymcipher_rsa, "RSA by an HSM"),
    ROW(PROV_COMMON_RSA, "", prov_asymcipher_rsa, "RSA by an HSM"),
    ROW("SM2:1.2.156.10197.1.301", "", prov_asymcipher_refused, "refuses software keys"),
    LAST_ROW,
};

static const OSSL_ALGORITHM store[] = {
    ROW("pkcs11", "", prov_store, "objects in a PKCS#11 token"),
    LAST_ROW,
};

static const OSSL_ALGORITHM random_numbers[] = {
    ROW("HSM-RAND", "", prov_rand, "random numbers from an HSM"),
    LAST_ROW,
};

/* One decoder for each type, and no more: OpenSSL 3.0 creates every decoder again for every key
 * that the process reads, software keys too, at 300,000 instructions each. */
#define DER_PKI ",input=der,structure=PrivateKeyInfo"

/* Parameters of one type, between two rows without "provider": codec/decoder_params.c says why.
 * (The name of a property that is not libcrypto's needs a dot.) */
#define DER_PARAMS "input=der,structure=" PROV_PARAMS_STRUCTURE
#define PARAMETERS(names, id)                                                                      \
    {names, DER_PARAMS ",hsm.place=before", prov_decoder_params_mark, "tells how it was asked"},   \
        {names, PROV_PROPERTIES "," DER_PARAMS, prov_decoder_params_##id, "parameters"},           \
    {                                                                                              \
        names, DER_PARAMS ",hsm.place=behind", prov_decoder_params_mark, "tells how it was asked"  \
    }

static const OSSL_ALGORITHM decoder[] = {
#define KEY_TYPE(ID, id, shape, name, title, ...)                                                  \
    ROW(PROV_NAMES(ID), DER_PKI, prov_decoder_der_##id, title " key reference"),
#include "key/types.def"
#undef KEY_TYPE
    ROW("DER", ",input=pem", prov_decoder_pem, "PEM labels of key references"),
    ROW("PEM", ",input=pem", prov_decoder_params_pem, "parameters"),
    ROW("DER", ",input=der", prov_decoder_params_der, "parameters"),
    LAST_ROW,
};

/* Also offered if libcrypto sorts decoders by the query, and leaves out those that the query
 * excludes. (Such a libcrypto creates decoders once.) */
static const OSSL_ALGORITHM decoder_parameters[] = {
    PARAMETERS(PROV_NAMES(EC), ec),
    PARAMETERS("SM2:1.2.156.10197.1.301", sm2),
    PARAMETERS("DSA:dsaEncryption:1.2.840.10040.4.1", dsa),
    PARAMETERS("DH:dhKeyAgreement:1.2.840.113549.1.3.1", dh),
    PARAMETERS("DHX:X9.42 DH:dhpublicnumber:1.2.840.10046.2.1", dhx),
    LAST_ROW,
};

static OSSL_ALGORITHM decoder_sorted[COUNT(decoder) - 1 + COUNT(decoder_parameters)];

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
    ROW(PROV_NAMES(RSA), DER("pkcs1"), prov_encoder_traditional, "refuses"),
    ROW(PROV_NAMES(RSA), PEM("pkcs1"), prov_encoder_traditional, "refuses"),
    ROW(PROV_NAMES(EC), DER("X9.62"), prov_encoder_traditional, "refuses"),
    ROW(PROV_NAMES(EC), PEM("X9.62"), prov_encoder_traditional, "refuses"),
#define KEY_TYPE(ID, ...) ENCODERS(PROV_NAMES(ID)),
#include "key/types.def"
#undef KEY_TYPE
    LAST_ROW,
};

static void join(void)
{
    memcpy(signature_all, signature, sizeof(signature));
    memcpy(signature_all + COUNT(signature) - 1, signature_strict, sizeof(signature_strict));
    memcpy(decoder_sorted, decoder, sizeof(decoder));
    memcpy(decoder_sorted + COUNT(decoder) - 1, decoder_parameters, sizeof(decoder_parameters));
}

const OSSL_ALGORITHM *prov_algorithms(const struct prov_ctx *ctx, int operation_id)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const bool strict = ctx->config.refuse_software_keys;

    (void)pthread_once(&once, join);
    /* What is offered does not depend on `offload`: what is not allowed is refused. */
    switch (operation_id) {
    case OSSL_OP_KEYMGMT:
        return keymgmt;
    case OSSL_OP_SIGNATURE:
        return strict ? signature_all : signature;
    case OSSL_OP_ASYM_CIPHER:
        return strict ? asymcipher_strict : asymcipher;
    case OSSL_OP_KEYEXCH:
        return keyexch;
    case OSSL_OP_STORE:
        return store;
    case OSSL_OP_RAND:
        return random_numbers;
    case OSSL_OP_DECODER:
        return prov_decoders_are_sorted() ? decoder_sorted : decoder;
    case OSSL_OP_ENCODER:
        return encoder;
    default:
        return NULL;
    }
}
