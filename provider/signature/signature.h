/* SPDX-License-Identifier: Apache-2.0
 *
 * signature.h - what the signature algorithms' files share: the key, hashing, and
 * verification, which is libcrypto's own work on the public half.
 */
#ifndef HSM_SIGNATURE_COMMON_H
#define HSM_SIGNATURE_COMMON_H

#include "../core/digest.h"
#include "../key/policy.h"

extern const OSSL_DISPATCH prov_signature_rsa[];
extern const OSSL_DISPATCH prov_signature_ecdsa[];
/* Those of shape RAW; each file of this folder defines its own. */
#define SIGNATURE_RSA(id)
#define SIGNATURE_EC(id)
#define SIGNATURE_RAW(id)            extern const OSSL_DISPATCH prov_signature_##id[];
#define KEY_TYPE(ID, id, shape, ...) SIGNATURE_##shape(id)
#include "../key/types.def"
#undef KEY_TYPE
#undef SIGNATURE_RSA
#undef SIGNATURE_EC
#undef SIGNATURE_RAW
extern const OSSL_DISPATCH prov_signature_refused[];

/* A signature context, or its first member, so that a pointer to a context is one to this. */
struct prov_sig {
    size_t size; /* of the whole context */
    struct prov_ctx *ctx;
    char *propq;          /* the caller's property query, made safe for software work */
    struct prov_key *key; /* one reference */
    struct ks_key *priv;  /* key's private half while signing, borrowed; NULL: verifying */
    bool postponed;       /* signing, and `priv` is looked up when there is something to sign */

    /* signing */
    const struct prov_digest *digest; /* NULL: sign what is given as it is */
    EVP_MD *md;                       /* fetched once, at init */
    EVP_MD_CTX *mdctx;                /* NULL: nothing is being hashed */
    bool hashed;                      /* mdctx was finished; the next update starts a new digest */
    bool streaming;                   /* after digest_sign_init: the digest cannot change */

    /* tokens that hash by themselves want the message, which is kept beside the hash */
    bool keeping;
    bool too_long; /* over KS_MESSAGE_MAX: not kept any longer */
    unsigned char *kept;
    size_t kept_len, kept_room;

    /* verification, in software */
    EVP_MD_CTX *soft_md; /* digest-verify; owns `soft` */
    EVP_PKEY_CTX *soft;  /* NULL: signing */

    /* sigalg-style algorithms (OpenSSL 3.4 and later) */
    const struct prov_digest *fixed; /* the algorithm's digest; NULL: not a sigalg */
    bool message;                    /* sign() and verify() get the message, not the digest */
    unsigned char *expected;         /* the signature that verify_message_final() looks at */
    size_t expected_len;
};

/* Purpose: newctx for a context of `size` bytes that begins with a struct prov_sig. The rest is
 * zero, and may own nothing: freectx and dupctx below serve it as it is. */
void *prov_sig_new(size_t size, void *provctx, const char *propq);
OSSL_FUNC_signature_newctx_fn prov_sig_newctx; /* a struct prov_sig and nothing more */
OSSL_FUNC_signature_freectx_fn prov_sig_freectx;
OSSL_FUNC_signature_dupctx_fn prov_sig_dupctx;

/* Purpose: start signing with `key` (NULL: with the one from before): policy, private half, and
 * what the key may be used for. With check-key-at-load = no a key that was not looked up yet is
 * left for prov_sig_ready(). */
int prov_sig_sign_start(struct prov_sig *sig, struct prov_key *key, enum prov_operation class);

/* Purpose: `sig->priv` at the moment of signing. Returns 0, raised, when it cannot be had, and 0
 * when nothing is being signed. */
int prov_sig_ready(struct prov_sig *sig);

/* Purpose: the size of the largest signature, and the size of the modulus or order in bits. */
size_t prov_sig_size(const struct prov_sig *sig);
unsigned prov_sig_bits(const struct prov_sig *sig);

/* Purpose: set the digest by name, refusing what we do not have, or what differs from the one
 * that is in use already. */
int prov_sig_set_digest(struct prov_sig *sig, const char *name);

/* Purpose: read a digest's name from a parameter. NULL and raised when we do not have it. */
const struct prov_digest *prov_sig_digest_param(const struct prov_sig *sig, const OSSL_PARAM *p);

/* Purpose: begin hashing, with the digest that was set; what digest_sign_init ends with. */
int prov_sig_hash_start(struct prov_sig *sig, const OSSL_PARAM params[]);

/* Purpose: finish hashing. `out` has room for EVP_MAX_MD_SIZE bytes. */
int prov_sig_hash_finish(struct prov_sig *sig, unsigned char *out, size_t *len);

/* Purpose: check the digest's length when there is a digest. */
int prov_sig_check_tbs(const struct prov_sig *sig, size_t tbs_len);

/* Purpose: raise what the keystore said about a private operation. Always returns 0. */
int prov_sig_raise_failed(const struct prov_sig *sig, const struct ks_error *err);

/* Purpose: raise that the token lacks a mechanism, by its name. Always returns 0. */
int prov_sig_raise_lacks(const struct prov_sig *sig, enum ks_mech_kind kind);

/* Purpose: whether the message must be kept: the token has no `raw` mechanism but has `hash`, or
 * the key has not been looked up yet. Costs nothing where the token has `raw`. */
bool prov_sig_hashes(const struct prov_sig *sig, enum ks_mech_kind raw, enum ks_mech_kind hash);

/* Purpose: have prov_sig_update() keep the message, up to KS_MESSAGE_MAX. Before
 * prov_sig_hash_start(). */
void prov_sig_keep(struct prov_sig *sig);

/* Purpose: keep that much more of the message. */
int prov_sig_keep_more(struct prov_sig *sig, const unsigned char *data, size_t len);

/* Purpose: refuse (raise, return 0) to go on with nothing but a digest on a token that lacks
 * `raw` and hashes by itself; 1 otherwise. */
int prov_sig_digest_suffices(const struct prov_sig *sig, enum ks_mech_kind raw,
                             enum ks_mech_kind hash);

/* Purpose: sign the kept message with a mechanism that hashes in the token. `*out_len` is the room
 * at `out` and becomes the length. The caller verifies the result. */
int prov_sig_sign_kept(const struct prov_sig *sig, const struct ks_mech *mech, unsigned char *out,
                       size_t *out_len);

/* Purpose: raise that what the token hashed and signed is not good, and wipe it. Returns 0. */
int prov_sig_raise_not_good(const struct prov_sig *sig, unsigned char *out, size_t len);

/* Purpose: the AlgorithmIdentifier of a signature with `digest` by a key of `key_nid`
 * (NID_rsaEncryption or NID_X9_62_id_ecPublicKey) into parameter `p`. */
int prov_sig_algorithm_id(const struct prov_sig *sig, int key_nid, OSSL_PARAM *p);

/* Purpose: the same for RSA-PSS. */
int prov_sig_algorithm_id_pss(const struct prov_sig *sig, const struct prov_digest *mgf1,
                              long salt_len, OSSL_PARAM *p);

/* Dispatch functions that serve all algorithms as they are. */
OSSL_FUNC_signature_digest_sign_update_fn prov_sig_update;
OSSL_FUNC_signature_verify_init_fn prov_sig_verify_init;
OSSL_FUNC_signature_verify_fn prov_sig_verify;
OSSL_FUNC_signature_verify_recover_init_fn prov_sig_verify_recover_init;
OSSL_FUNC_signature_verify_recover_fn prov_sig_verify_recover;
OSSL_FUNC_signature_digest_verify_init_fn prov_sig_digest_verify_init;
OSSL_FUNC_signature_digest_verify_update_fn prov_sig_digest_verify_update;
OSSL_FUNC_signature_digest_verify_final_fn prov_sig_digest_verify_final;
OSSL_FUNC_signature_digest_verify_fn prov_sig_digest_verify;
OSSL_FUNC_signature_get_ctx_md_params_fn prov_sig_get_ctx_md_params;
OSSL_FUNC_signature_gettable_ctx_md_params_fn prov_sig_gettable_ctx_md_params;
OSSL_FUNC_signature_set_ctx_md_params_fn prov_sig_set_ctx_md_params;
OSSL_FUNC_signature_settable_ctx_md_params_fn prov_sig_settable_ctx_md_params;

/* Those of rsa.c and ecdsa.c that sigalgs.c uses as well. */
OSSL_FUNC_signature_newctx_fn prov_rsa_sig_newctx;
OSSL_FUNC_signature_sign_init_fn prov_rsa_sig_sign_init;
OSSL_FUNC_signature_sign_fn prov_rsa_sig_sign;
OSSL_FUNC_signature_digest_sign_init_fn prov_rsa_sig_digest_sign_init;
OSSL_FUNC_signature_digest_sign_final_fn prov_rsa_sig_digest_sign_final;
OSSL_FUNC_signature_get_ctx_params_fn prov_rsa_sig_get_ctx_params;
OSSL_FUNC_signature_gettable_ctx_params_fn prov_rsa_sig_gettable_ctx_params;
OSSL_FUNC_signature_sign_init_fn prov_ecdsa_sign_init;
OSSL_FUNC_signature_sign_fn prov_ecdsa_sign;
OSSL_FUNC_signature_digest_sign_init_fn prov_ecdsa_digest_sign_init;
OSSL_FUNC_signature_digest_sign_final_fn prov_ecdsa_digest_sign_final;
OSSL_FUNC_signature_set_ctx_params_fn prov_ecdsa_set_ctx_params;
OSSL_FUNC_signature_get_ctx_params_fn prov_ecdsa_get_ctx_params;
OSSL_FUNC_signature_gettable_ctx_params_fn prov_ecdsa_gettable_ctx_params;

/* Purpose: a copy of the property query without its conditions on "provider", and with PROV_NOT_US:
 * a caller who asks for us by provider=hsm does not mean hashing and public operations, which this
 * provider does not have. Other conditions, as fips=yes, stay. Freed with OPENSSL_free(). */
char *prov_propq_not_us(const char *propq);

#ifdef OSSL_FUNC_SIGNATURE_SIGN_MESSAGE_INIT
OSSL_FUNC_signature_verify_message_init_fn prov_sig_verify_message_init;
OSSL_FUNC_signature_verify_message_final_fn prov_sig_verify_message_final;

/* Purpose: keep the signature that comes as a parameter before verify_message_final(). */
int prov_sig_set_expected(struct prov_sig *sig, const OSSL_PARAM params[]);

/* Signature algorithms with a digest in their name (sigalgs.c). */
extern const OSSL_DISPATCH prov_sigalg_rsa_sha1[];
extern const OSSL_DISPATCH prov_sigalg_rsa_sha224[];
extern const OSSL_DISPATCH prov_sigalg_rsa_sha256[];
extern const OSSL_DISPATCH prov_sigalg_rsa_sha384[];
extern const OSSL_DISPATCH prov_sigalg_rsa_sha512[];
extern const OSSL_DISPATCH prov_sigalg_rsa_sha512_224[];
extern const OSSL_DISPATCH prov_sigalg_rsa_sha512_256[];
extern const OSSL_DISPATCH prov_sigalg_rsa_sha3_224[];
extern const OSSL_DISPATCH prov_sigalg_rsa_sha3_256[];
extern const OSSL_DISPATCH prov_sigalg_rsa_sha3_384[];
extern const OSSL_DISPATCH prov_sigalg_rsa_sha3_512[];
extern const OSSL_DISPATCH prov_sigalg_ecdsa_sha1[];
extern const OSSL_DISPATCH prov_sigalg_ecdsa_sha224[];
extern const OSSL_DISPATCH prov_sigalg_ecdsa_sha256[];
extern const OSSL_DISPATCH prov_sigalg_ecdsa_sha384[];
extern const OSSL_DISPATCH prov_sigalg_ecdsa_sha512[];
extern const OSSL_DISPATCH prov_sigalg_ecdsa_sha3_224[];
extern const OSSL_DISPATCH prov_sigalg_ecdsa_sha3_256[];
extern const OSSL_DISPATCH prov_sigalg_ecdsa_sha3_384[];
extern const OSSL_DISPATCH prov_sigalg_ecdsa_sha3_512[];
#endif

#endif
