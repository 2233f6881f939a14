/* SPDX-License-Identifier: Apache-2.0
 *
 * asymcipher.h - decryption.
 */
#ifndef HSM_PROV_ASYMCIPHER_H
#define HSM_PROV_ASYMCIPHER_H

#include "../key/key.h"

/* What a context for RSA decryption holds. */
struct rsa_cipher {
    struct prov_ctx *ctx;
    struct prov_key *key;
    struct ks_key *priv; /* key's, while decrypting, borrowed */
    EVP_PKEY_CTX *soft;  /* while encrypting */
    int pad_mode;
    const struct prov_digest *oaep; /* NULL: SHA-1 */
    const struct prov_digest *mgf1; /* NULL: as the OAEP digest */
    unsigned char *label;
    size_t label_len;
    unsigned client_version, negotiated_version;
    unsigned implicit_rejection;
};

/* Purpose: the digest of OAEP; SHA-1 unless another one was set. */
const struct prov_digest *prov_rsa_oaep_digest(const struct rsa_cipher *rsa);
/* Purpose: decrypt in the token, by the context's padding. provider-asym_cipher(7) */
int prov_rsa_decrypt(void *vctx, unsigned char *out, size_t *out_len, size_t out_size,
                     const unsigned char *in, size_t in_len);

extern const OSSL_DISPATCH prov_asymcipher_rsa[];
extern const OSSL_DISPATCH prov_asymcipher_refused[];

#endif
