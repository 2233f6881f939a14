/* SPDX-License-Identifier: Apache-2.0
 *
 * token/mech.h - mechanisms: their numbers, their parameters, and which of them a token lists.
 */
#ifndef HSM_KS_MECH_H
#define HSM_KS_MECH_H

#include "token.h"

struct ks_mech_storage {
    CK_MECHANISM mechanism;
    union {
        CK_RSA_PKCS_PSS_PARAMS pss;
        CK_RSA_PKCS_OAEP_PARAMS oaep;
    } param;
};

/* Purpose: fill `out` for `mech`, with `label` instead of the mechanism's own, which in a worker's
 * copy of an operation is elsewhere; it has to outlive `out`. KS_MECHANISM when there is no such
 * mechanism. */
ks_status ks_mech_build(const struct ks_mech *mech, const uint8_t *label, size_t label_len,
                        struct ks_mech_storage *out, struct ks_error *err);
/* Purpose: when `st` is KS_MECHANISM, add the mechanism's name to the text of `err` (may be
 * NULL). */
void ks_mech_blame(struct ks_error *err, ks_status st, enum ks_mech_kind kind);
/* Purpose: whether a mechanism signs a message as it is, and hashes by itself. */
bool ks_mech_takes_message(enum ks_mech_kind kind);
/* No mechanism's number. */
#define KS_NO_MECHANISM (~(CK_MECHANISM_TYPE)0)
/* Purpose: the number; KS_NO_MECHANISM when PKCS#11 has none for this digest. */
CK_MECHANISM_TYPE ks_mech_type(enum ks_mech_kind kind, enum ks_digest digest);
/* Purpose: read the token's list of mechanisms, unless it is known. */
ks_status ks_token_read_mechanisms(struct ks_token *token, struct ks_error *err);
/* Purpose: read it again: ks_token_lacks() and ks_token_lists() answer by what it is now. */
ks_status ks_token_reread_mechanisms(struct ks_token *token, struct ks_error *err);
/* Purpose: whether the token is known not to list a mechanism (not a _HASH kind), or to list it. */
bool ks_token_lacks(const struct ks_token *token, enum ks_mech_kind kind);
bool ks_token_lists(const struct ks_token *token, enum ks_mech_kind kind);
/* Purpose: read the list again, for these two. */
ks_status ks_token_lists_anew(struct ks_token *token, const struct ks_call_options *opts,
                              struct ks_error *err);
/* Purpose: a number that is the same for the same parameters: for ks_key_is_refused(). */
uint32_t ks_mech_hash(const struct ks_mech *mech);

#endif
