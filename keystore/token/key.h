/* SPDX-License-Identifier: Apache-2.0
 *
 * token/key.h - private keys: handles, and what is expected of them.
 */
#ifndef HSM_KS_KEY_H
#define HSM_KS_KEY_H

#include <stdatomic.h>

#include "call.h"
#include "object.h"
#include "token.h"

#define KS_REFUSED_MAX 4

/* How the token wants what PKCS#11 leaves open; found out by trying, 0 first. */
enum ks_encoding { KS_ENCODING_UNKNOWN, KS_ENCODING_FIRST, KS_ENCODING_SECOND };

struct ks_key {
    atomic_uint refs;
    struct ks_token *token;
    struct ks_object *object;
    struct ks_expect expect; /* public_part owned */
    /* under the pool's lock */
    CK_OBJECT_HANDLE handle;
    uint64_t epoch;
    uint64_t finding; /* another number each time that it is found */
    /* the finding for which it was proved that it is the expected key; 0: none */
    _Atomic uint64_t proved;
    /* set when it is made, and constant */
    uint64_t first_finding;
    CK_OBJECT_HANDLE public_handle; /* of a generation, good while `finding` is the first */
    bool id_is_ours;                /* its id is a random one that we made up */
    _Atomic uint32_t refused[KS_REFUSED_MAX];
    _Atomic int encoding;       /* enum ks_encoding, of EdDSA's parameters or ECDH's peer point */
    struct ks_key_stats *stats; /* the token's; NULL: no memory */
    struct ks_member_key *members; /* of a cluster's key: one for each member; else NULL */
};

/* The key on one member of a cluster, found at its first use there. */
struct ks_member_key {
    struct ks_key *key;        /* under the pool's lock; NULL: not found yet */
    _Atomic uint64_t again_ns; /* it was not there, or another key was: do not look before this */
};

/* Purpose: the one private key of that label and id (NULL: any), inside the gate. `wanted` is what
 * it is called in errors. */
ks_status ks_key_search(struct ks_call *call, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                        const CK_ATTRIBUTE *label, const CK_ATTRIBUTE *id, const char *wanted,
                        CK_OBJECT_HANDLE *out);
/* Purpose: find the key again in this epoch and check that it is still the same one; inside the
 * gate. Sets session->finding. */
ks_status ks_key_locate(struct ks_call *call, CK_FUNCTION_LIST *fn, struct ks_session *session,
                        struct ks_key *key, CK_OBJECT_HANDLE *handle);
/* Purpose: wrap a snapshot and a fresh handle; takes over `object`. */
ks_status ks_key_make(struct ks_token *token, struct ks_object *object, CK_OBJECT_HANDLE handle,
                      uint64_t epoch, struct ks_key **out, struct ks_error *err);
/* Purpose: modulus or point, whichever says that two keys are the same; may be empty. */
const struct ks_bytes *ks_key_public_part(const struct ks_object *o);
/* Purpose: refuse a use that the key's attributes do not permit: tokens do not all enforce them. */
ks_status ks_key_check_use(const struct ks_key *key, bool allowed, const char *attribute,
                           struct ks_error *err);
/* Purpose: the size of an RSA key's blocks: of the modulus that is expected, or else shown. */
size_t ks_key_block(const struct ks_key *key);
/* Purpose: the handle is stale. */
void ks_key_forget(struct ks_key *key, uint64_t epoch);

#endif
