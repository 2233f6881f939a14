/* SPDX-License-Identifier: Apache-2.0
 *
 * reference.h - key references: files that stand for a private key in the HSM
 * (docs/key-reference.md).
 */
#ifndef HSM_PROV_REFERENCE_H
#define HSM_PROV_REFERENCE_H

#include "types.h"

struct prov_key;

/* A parsed reference, plain data; nothing of it has been checked against a token. */
struct prov_ref {
    enum prov_key_type type; /* only with has_public */
    bool has_public;         /* false: a foreign URI-only PEM */
    bool skipped;            /* of another type than was asked for: nothing but `type` is set */
    char *uri;               /* checked with KS_URI_REFERENCE; a foreign one: KS_URI_FOREIGN */
    unsigned char *id;
    size_t id_len;
    EVP_PKEY *pub; /* in the provider's library context; NULL without has_public */
};

/* Purpose: parse DER that may be a reference: a PKCS#8 PrivateKeyInfo with one of our OIDs, the
 * bare HSMKeyReference inside it, or the foreign "PKCS#11 Provider URI" SEQUENCE.
 * `*is_ours` tells whether the DER claims to be a reference at all: when it is false nothing was
 * raised; when it is true and NULL is returned, the error was. Freed with prov_ref_free(). */
struct prov_ref *prov_ref_from_der(const struct prov_ctx *ctx, const unsigned char *der, size_t len,
                                   bool *is_ours);
/* Purpose: the same for a caller that can use keys of one type only. When the reference says that
 * its key has another type, the rest is not parsed, and the result has `skipped`. */
struct prov_ref *prov_ref_from_der_of(const struct prov_ctx *ctx, const unsigned char *der,
                                      size_t len, enum prov_key_type type, bool *is_ours);
void prov_ref_free(struct prov_ref *ref);

/* Purpose: tell whether DER claims to be a reference; its first PROV_REF_HEAD bytes do. Raises
 * nothing. */
#define PROV_REF_HEAD 64
bool prov_ref_claims(const unsigned char *der, size_t len);

/* The most DER that a reference may have. */
#define PROV_REF_MAX ((size_t)64 * 1024)

/* Purpose: the PKCS#8 DER of a reference to `key`'s private half. `*der` is freed with
 * OPENSSL_free(). */
int prov_ref_to_der(const struct prov_key *key, unsigned char **der, size_t *len);

#endif
