/* SPDX-License-Identifier: Apache-2.0
 *
 * padding.h - RSA encodings that we apply or remove ourselves, around a raw RSA operation of the
 * token. Nothing here talks to a token. What decodes a decrypted block runs in a time, and touches
 * memory in a way, that depend on the block's size and on the length of what is returned, never on
 * whether the padding was good.
 */
#ifndef HSM_PADDING_H
#define HSM_PADDING_H

#include "../core/digest.h"
#include "key.h"

/* Largest RSA block, 16384 bits, so that blocks fit on the stack. */
#define PROV_RSA_MAX_BYTES 2048U
/* Length of a TLS premaster secret (RFC 5246, 7.4.7.1). */
#define PROV_TLS_SECRET 48U
/* Length of the implicit rejection's per-key secret and of the key derived for one ciphertext. */
#define PROV_IR_BYTES 32U

/* Purpose: the DER of a DigestInfo (RFC 8017, 9.2) around `value`, which has digest->size bytes.
 * `out` has room for PROV_DIGEST_INFO_MAX bytes. Returns the length. */
#define PROV_DIGEST_INFO_MAX (19 + EVP_MAX_MD_SIZE)
size_t prov_digest_info(const struct prov_digest *digest, const unsigned char *value,
                        unsigned char out[PROV_DIGEST_INFO_MAX]);

/* OpenSSL 3.1 and later: at most the digest's length, at most what fits. */
#ifdef RSA_PSS_SALTLEN_AUTO_DIGEST_MAX
#define PROV_SALTLEN_AUTO_DIGEST_MAX RSA_PSS_SALTLEN_AUTO_DIGEST_MAX
#define PROV_SALTLEN_DEFAULT         RSA_PSS_SALTLEN_AUTO_DIGEST_MAX
#else
#define PROV_SALTLEN_AUTO_DIGEST_MAX (-4)
#define PROV_SALTLEN_DEFAULT         RSA_PSS_SALTLEN_AUTO
#endif
/* Purpose: the longest PSS salt for a modulus of `bits` and a digest of `digest_len` bytes;
 * negative when the modulus is too small for any. Raises nothing. */
long prov_pss_max_salt(unsigned bits, size_t digest_len);

/* Purpose: the bytes of salt that `wanted`, a length or one of RSA_PSS_SALTLEN_*, comes to for a
 * modulus of `bits`; raises an error if it does not fit, or is less than `least`. */
int prov_pss_salt_len(const struct prov_ctx *ctx, unsigned bits, const struct prov_digest *digest,
                      long wanted, long least, size_t *out);

/* Purpose: EMSA-PSS-ENCODE (RFC 8017, 9.1.1) of the digest `hash`, of md's length, to the whole
 * block of `em_len` bytes for a modulus of `bits`. The salt comes from the library context's
 * random numbers. */
int prov_pss_encode(const struct prov_ctx *ctx, unsigned char *em, size_t em_len, unsigned bits,
                    const EVP_MD *md, const EVP_MD *mgf1_md, const unsigned char *hash,
                    size_t salt_len);

/* Purpose: EME-OAEP-DECODE (RFC 8017, 7.1.2) of the block `em`, in constant time. `*out_len` is
 * the room at `out` and becomes the length. Returns 0 for any defect, raises nothing. */
int prov_oaep_decode(unsigned char *out, size_t *out_len, const unsigned char *em, size_t em_len,
                     const EVP_MD *md, const EVP_MD *mgf1_md, const unsigned char *label,
                     size_t label_len);

/* Purpose: the premaster secret from the PKCS#1 v1.5 block `em`, or `substitute` when padding,
 * length or version are wrong. `alt_version` is accepted in place of `client_version` unless it
 * is 0. Cannot fail, but em_len must be at least PROV_TLS_SECRET + 11. */
void prov_pkcs1_tls(unsigned char out[PROV_TLS_SECRET], const unsigned char *em, size_t em_len,
                    const unsigned char substitute[PROV_TLS_SECRET], unsigned client_version,
                    unsigned alt_version);

/* Purpose: the message from the PKCS#1 v1.5 block `em`, or, when the padding is wrong, the
 * message that `kdk` (PROV_IR_BYTES) determines: implicit rejection as OpenSSL 3.2 and later do
 * it (draft-irtf-cfrg-rsa-guidance). `*out_len` is the room at `out` and becomes the length.
 * Returns 0 only when hashing fails, and has raised then. */
int prov_pkcs1_implicit(const struct prov_ctx *ctx, unsigned char *out, size_t *out_len,
                        const unsigned char *em, size_t em_len, const unsigned char *kdk);

/* Purpose: the message from the PKCS#1 v1.5 block `em`, for callers that ask to be told of bad
 * padding. As prov_oaep_decode(): returns 0 for any defect, raises nothing. `out` is always
 * written as far as there is room. */
int prov_pkcs1_explicit(unsigned char *out, size_t *out_len, const unsigned char *em,
                        size_t em_len);

/* Purpose: c0, the ciphertext whose decryption keys the implicit rejection of a modulus:
 * MGF1-SHA256("openssl-hsm-ir-v1" || n) mod n, as em_len bytes, em_len being n's size. */
int prov_ir_point(const struct prov_ctx *ctx, const unsigned char *n, size_t n_len,
                  unsigned char *out);

/* Purpose: tell whether a caller may have `block` (of the modulus' size) run through the private
 * key raw: everything but c0, whose result keys the implicit rejection. Raises and returns 0
 * otherwise. (Who may do raw operations can work it out by blinding, but can also decrypt all
 * there is; this stops accidents and replays.) */
int prov_ir_allows(const struct prov_key *key, const unsigned char *block, size_t len);

/* Purpose: the modulus of `key`, big-endian; `*len` is the room and becomes its size. */
int prov_rsa_modulus(const struct prov_key *key, unsigned char *out, size_t *len);

/* Purpose: wipe and free prov_key.ir_secret; NULL is allowed (key/padding.c). */
void prov_ir_secret_free(void *secret);

/* Purpose: the per-key secret from RSADP(c0), in secure memory; NULL on failure. Freed with
 * prov_ir_secret_free(). */
void *prov_ir_secret_new(const struct prov_ctx *ctx, const unsigned char *decrypted, size_t len);

/* Purpose: the key for one ciphertext: HMAC-SHA256(secret, ciphertext), the ciphertext being of
 * the modulus' full size. */
int prov_ir_kdk(const struct prov_ctx *ctx, const void *secret, const unsigned char *ciphertext,
                size_t len, unsigned char kdk[PROV_IR_BYTES]);

#endif
