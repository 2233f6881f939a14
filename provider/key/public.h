/* SPDX-License-Identifier: Apache-2.0
 *
 * public.h - public halves: ordinary software keys in the provider's library context.
 * Functions return 1/0 as OpenSSL's callbacks do, and have raised their error when they return 0 or
 * NULL, unless their comment says otherwise.
 */
#ifndef HSM_PROV_PUBLIC_H
#define HSM_PROV_PUBLIC_H

#include "types.h"

/* Purpose: make a public half in software from numbers (big-endian), from an encoded point, or
 * from an Edwards key's raw bytes. */
EVP_PKEY *prov_public_rsa(const struct prov_ctx *ctx, const uint8_t *n, size_t n_len,
                          const uint8_t *e, size_t e_len);
EVP_PKEY *prov_public_ec(const struct prov_ctx *ctx, const struct prov_curve *curve,
                         const uint8_t *point, size_t point_len);
EVP_PKEY *prov_public_raw(const struct prov_ctx *ctx, enum prov_key_type type, const uint8_t *raw,
                          size_t raw_len);
/* Purpose: the same from a SubjectPublicKeyInfo in DER of the plain shape: RSA numbers, an
 * uncompressed point on a curve that we know, an Edwards key; of what type it is goes to `*type`.
 * `*plain` false: it has another shape, and nothing was raised. NULL with `*plain`: raised. */
EVP_PKEY *prov_spki_read(const struct prov_ctx *ctx, const unsigned char *der, size_t len,
                         enum prov_key_type *type, bool *plain);
/* Purpose: the same from any SubjectPublicKeyInfo, and from import's parameters of a type
 * (`selection` is EVP_PKEY_PUBLIC_KEY or EVP_PKEY_KEY_PARAMETERS). */
EVP_PKEY *prov_public_spki(const struct prov_ctx *ctx, const uint8_t *der, size_t len);
EVP_PKEY *prov_public_params(const struct prov_ctx *ctx, enum prov_key_type type, int selection,
                             const OSSL_PARAM params[]);

/* Purpose: where that failed: raise that nobody but us has keys of type `name`, in software, if
 * that is so. False, nothing raised, when somebody has. */
bool prov_raise_no_software(const struct prov_ctx *ctx, const char *name);

/* Purpose: the other way: modulus without leading zeros, uncompressed point, or raw bytes. NULL,
 * nothing raised, when it has none. Freed with OPENSSL_free(). */
unsigned char *prov_key_public_part(EVP_PKEY *pub, size_t *len);

/* Purpose: the public half that a public key object or certificate object holds. */
EVP_PKEY *prov_key_public_of_object(const struct prov_ctx *ctx, const struct ks_object *object);
/* Purpose: the public half that a certificate gives to an EC or Edwards private key whose token
 * does not show the point; NULL, nothing raised, when it is damaged or of another curve. */
EVP_PKEY *prov_key_public_of_certificate(const struct prov_ctx *ctx, const struct ks_object *key,
                                         const uint8_t *der, size_t len);
/* Purpose: the public half of a private key, from what the token tells: RSA numbers; for EC the
 * point, a certificate with the same id, or CKA_PUBLIC_KEY_INFO, in that order. `uri` names the
 * key in the error. Asks the token for certificates. */
EVP_PKEY *prov_key_public_of_private(const struct prov_ctx *ctx, struct ks_key *priv,
                                     const char *uri);

#endif
