/* SPDX-License-Identifier: Apache-2.0
 *
 * group/group.h - several tokens behind one handle.
 */
#ifndef HSM_KS_GROUP_H
#define HSM_KS_GROUP_H

#include "../token/key.h"
#include "../token/kind.h"

extern const struct ks_kind ks_kind_group;

/* How long a member is not asked again for a key that it does not have. */
#define KS_GROUP_ABSENT_NS 10000000000U

/* --- what each member said (group/keys.c) ---------------------------------------------------- */

/* Why members did not do it. Only what fails costs something. */
struct ks_group_answers {
    bool any;
    char of[KS_GROUP_MAX][112]; /* "": not asked */
};

/* Purpose: remember why the member with that index could not do it. */
void ks_group_note_answer(const struct ks_token *group, struct ks_group_answers *a, size_t index,
                          const struct ks_error *err);
/* Purpose: one line for all members, in the place of what the last one said; its code stays.
 * `not_asked` says why a member was not asked. */
void ks_group_tell_answers(const struct ks_token *group, const struct ks_group_answers *a,
                           const char *(*not_asked)(void *arg, size_t index), void *arg,
                           struct ks_error *err);

/* --- keys (group/keys.c) --------------------------------------------------------------------- */

/* Purpose: find the key in one token of a set, or in a member of a cluster. */
ks_status ks_group_find(struct ks_token *group, const struct ks_call_options *opts,
                        const struct ks_uri *uri, bool known, struct ks_key **out,
                        struct ks_error *err);
/* Purpose: make `first`, which was found on the member with index `at`, the key of
 * the cluster. Takes it over. */
ks_status ks_group_cluster_key(struct ks_token *cluster, struct ks_key *first, size_t at,
                               struct ks_key **out, struct ks_error *err);
/* Purpose: free what a key of a group has in addition to others. */
void ks_group_key_free(struct ks_key *key);
/* Purpose: pass the expectation on to the members' keys that were found. */
ks_status ks_group_expect(struct ks_key *key, struct ks_error *err);
/* Purpose: the key on one member, with a reference; found by its names at the first
 * use, and held against the expectation. */
ks_status ks_group_member_key(struct ks_key *key, size_t i, const struct ks_call_options *opts,
                              struct ks_key **out, struct ks_error *err);

/* --- operations (group/run.c) ---------------------------------------------------------------- */

/* Purpose: run an operation on the member that suits best, and on others if it cannot. */
ks_status ks_group_run(struct ks_op *op);

#endif
