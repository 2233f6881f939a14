/* SPDX-License-Identifier: Apache-2.0
 *
 * key.h - a private key on a token, with its public half.
 * Functions return 1/0 as OpenSSL's callbacks do, and have raised their error when they return 0 or
 * NULL, unless their comment says otherwise.
 */
#ifndef HSM_PROV_KEY_H
#define HSM_PROV_KEY_H

#include "types.h"

struct prov_ref;

/* What keymgmt's keydata points to. Immutable once it is shared, but for what is found out later
 * and published by compare-and-swap: `priv` of a key that was loaded lazily, and `ir_secret`. No
 * lock: a token is asked for both, and a child that is forked meanwhile would find it locked for
 * ever. */
struct prov_key {
    atomic_int refs;
    struct prov_ctx *ctx;
    enum prov_key_type type;
    EVP_PKEY *pub;   /* the public half, a software key in ctx->libctx; never NULL in use */
    bool has_public; /* false: `pub` holds EC domain parameters only, or is NULL */
    bool has_private;
    bool software; /* the private half was a software key's and has been left out: not usable */
    const char *refused;  /* keymgmt/refused.c: the type's name; `type` is PROV_KEY_TYPES then */
    struct ks_key *priv;  /* NULL while lazy, or without private half: use prov_key_private() */
    struct prov_ref *ref; /* the reference a lazy key came from, else NULL */
    char *uri;            /* as a reference would have it, for messages and encoders */
    void *ir_secret;      /* implicit rejection: 32 bytes in secure memory, asymcipher/decrypt.c */
    atomic_uint mechanisms; /* what the token's list says of each ks_mech_kind: prov_key_can() */
};

/* Purpose: an empty key of `type` with one reference. */
struct prov_key *prov_key_new(struct prov_ctx *ctx, enum prov_key_type type);
struct prov_key *prov_key_ref(struct prov_key *key);
void prov_key_free(struct prov_key *key);

/* Purpose: the key that `ref` points to. Finds it on the token and compares the public halves; with
 * check-key-at-load = no, and a public half in the reference, that is left for the first use. */
struct prov_key *prov_key_from_ref(struct prov_ctx *ctx, const struct prov_ref *ref,
                                   const struct ks_call_options *opts);

/* Purpose: raise that `key` is a software key, which software-private-keys = refuse forbids. */
void prov_raise_software_key(const struct prov_key *key);

/* Purpose: wrap a private key that was found on or generated in the token; takes over the
 * reference to `priv` on success. `pub` is the public half if the caller has it (up-ref'd), NULL
 * for what prov_key_public_of_private() finds. */
struct prov_key *prov_key_from_ks(struct prov_ctx *ctx, struct ks_key *priv, EVP_PKEY *pub);

/* Purpose: a public-only key from a token's public object or a certificate object. */
struct prov_key *prov_key_from_object(struct prov_ctx *ctx, const struct ks_object *object);

/* Purpose: require that a key of the token belongs to key->pub, now and whenever it is found again:
 * by what its object shows, or else by its first result (proof.c). `key` must outlive the use of
 * `priv`. Refuses (raises) a key that is another one, and curves that we do not have. */
int prov_key_expect(struct prov_key *key, struct ks_key *priv);

/* Purpose: tell whether the key is still to be looked up on the token (check-key-at-load = no). */
bool prov_key_unseen(const struct prov_key *key);

/* Purpose: the keystore key, which a lazy key finds now. Raises when there is no private half. */
struct ks_key *prov_key_private(struct prov_key *key, const struct ks_call_options *opts);

/* Purpose: the same for one kind of use. Refuses (raises) when the token's object does not permit
 * it: some tokens do not enforce that, and use the key against its owner's will. */
enum prov_use { PROV_USE_SIGN, PROV_USE_DECRYPT, PROV_USE_DERIVE };
struct ks_key *prov_key_private_for(struct prov_key *key, enum prov_use use);

/* Purpose: tell whether the key's token lists a mechanism (not a _HASH kind), asking it once per
 * key. True as well when the token cannot be asked now: the operation itself will say why. */
bool prov_key_can(struct prov_key *key, struct ks_key *priv, enum ks_mech_kind kind);

/* What decoder and store hand to keymgmt's load() by reference: OSSL_OBJECT_PARAM_REFERENCE is
 * the address of a `struct prov_load *`. load() takes what it uses and sets it to NULL; the
 * producer frees the rest. */
struct prov_load {
    struct prov_ctx *ctx; /* load() has no other way to it */
    struct prov_key *key; /* ready, or NULL */
    struct prov_ref *ref; /* still to be looked up by load(), or NULL */
    bool failed;          /* looking it up has failed already: load() raises `err`, if not KS_OK */
    struct ks_error err;
};

#endif
