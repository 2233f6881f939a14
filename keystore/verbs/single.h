/* SPDX-License-Identifier: Apache-2.0
 *
 * verbs/single.h - what one token does: each function is in the file of the public one.
 */
#ifndef HSM_KS_SINGLE_H
#define HSM_KS_SINGLE_H

#include "../token/kind.h"

ks_status ks_single_connect(struct ks_token *token, const struct ks_call_options *opts,
                            struct ks_error *err);
ks_status ks_single_facts(struct ks_token *token, const struct ks_call_options *opts,
                          struct ks_token_facts *out, struct ks_error *err);
ks_status ks_single_can(struct ks_token *token, const struct ks_call_options *opts,
                        enum ks_mech_kind kind, enum ks_digest digest, bool *can,
                        struct ks_error *err);
ks_status ks_single_key_sizes(struct ks_token *token, const struct ks_call_options *opts,
                              enum ks_mech_kind kind, unsigned long *min, unsigned long *max,
                              struct ks_error *err);
ks_status ks_single_objects(struct ks_token *token, const struct ks_call_options *opts,
                            const struct ks_uri *uri,
                            bool (*visit)(void *arg, const struct ks_object *object), void *arg,
                            struct ks_error *err);
ks_status ks_single_find(struct ks_token *token, const struct ks_call_options *opts,
                         const struct ks_uri *uri, bool known, struct ks_key **out,
                         struct ks_error *err);
ks_status ks_single_key_of(struct ks_token *token, const struct ks_object *object,
                           struct ks_key **out, struct ks_error *err);
ks_status ks_single_generate(struct ks_token *token, const struct ks_call_options *opts,
                             const struct ks_generate_spec *spec, struct ks_key **out,
                             struct ks_error *err);
ks_status ks_single_destroy(struct ks_key *key, const struct ks_call_options *opts,
                            struct ks_error *err);
bool ks_single_shown(struct ks_key *key);

#endif
