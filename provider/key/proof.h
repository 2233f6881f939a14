/* SPDX-License-Identifier: Apache-2.0
 *
 * proof.h - is it the key of this public half? Signatures as tokens give them, and what proves
 * whose they are.
 */
#ifndef HSM_PROV_PROOF_H
#define HSM_PROV_PROOF_H

#include "key.h"

/* --- signatures (raw_signature.c) ------------------------------------------------------------ */

/* The largest ECDSA signature, of P-521, as r || s and as DER. */
#define PROV_ECDSA_RAW_MAX ((size_t)2 * 66)
#define PROV_ECDSA_DER_MAX (PROV_ECDSA_RAW_MAX + 16)

/* Purpose: r || s, each half of `raw_len` bytes, as the DER of Ecdsa-Sig-Value (RFC 3279, 2.2.3).
 * `der` has room for PROV_ECDSA_DER_MAX bytes. Returns the length; 0 if that failed, also where
 * `raw` is too long (signature/common.c). */
size_t prov_ecdsa_to_der(const uint8_t *raw, size_t raw_len, unsigned char *der);
/* Purpose: verify r || s in software with the key `key`, a struct prov_key; raises nothing
 * (signature/common.c). */
bool prov_ecdsa_verify_raw(void *key, const uint8_t *digest, size_t digest_len,
                           const uint8_t *signature, size_t signature_len);
/* Purpose: the same for types that sign messages, as EdDSA does. */
bool prov_message_verify_raw(void *key, const uint8_t *message, size_t message_len,
                             const uint8_t *signature, size_t signature_len);

/* --- proofs (proof.c) ------------------------------------------------------------------------ */

/* Purpose: what struct ks_expect wants of us, done in software with the public half. `key` is a
 * struct prov_key. They raise nothing. */
bool prov_proof_verify(void *key, const struct ks_mech *mech, const uint8_t *in, size_t in_len,
                       const uint8_t *signature, size_t signature_len);
bool prov_proof_challenge(void *key, const struct ks_mech *mech, uint8_t *in, size_t *in_len,
                          uint8_t *answer, size_t *answer_len);
/* Purpose: whether a SubjectPublicKeyInfo is another key's; not if it cannot be read. */
bool prov_proof_other_spki(const struct prov_key *key, const uint8_t *der, size_t len);

#endif
