/* SPDX-License-Identifier: Apache-2.0
 *
 * token/kind.h - the two kinds of tokens: one, or several behind one handle.
 */
#ifndef HSM_KS_KIND_H
#define HSM_KS_KIND_H

#include "../base/error.h"

struct ks_op;
struct ks_token;

/* What a token is and does: one behind a module (`ks_kind_single`), or several behind one handle
 * (`ks_kind_group`). The public functions of these names call it, so that no file outside group/
 * asks whether there are members. */
struct ks_kind {
    ks_status (*connect)(struct ks_token *token, const struct ks_call_options *opts,
                         struct ks_error *err);
    ks_status (*facts)(struct ks_token *token, const struct ks_call_options *opts,
                       struct ks_token_facts *out, struct ks_error *err);
    /* of a token that is connected: what is known, without asking it */
    ks_status (*known_facts)(struct ks_token *token, const struct ks_call_options *opts,
                             struct ks_token_facts *out, struct ks_error *err);
    ks_status (*can)(struct ks_token *token, const struct ks_call_options *opts,
                     enum ks_mech_kind kind, enum ks_digest digest, bool *can,
                     struct ks_error *err);
    ks_status (*key_sizes)(struct ks_token *token, const struct ks_call_options *opts,
                           enum ks_mech_kind kind, unsigned long *min, unsigned long *max,
                           struct ks_error *err);
    ks_status (*objects)(struct ks_token *token, const struct ks_call_options *opts,
                         const struct ks_uri *uri,
                         bool (*visit)(void *arg, const struct ks_object *object), void *arg,
                         struct ks_error *err);
    /* `known`: the caller has the public half */
    ks_status (*find)(struct ks_token *token, const struct ks_call_options *opts,
                      const struct ks_uri *uri, bool known, struct ks_key **out,
                      struct ks_error *err);
    ks_status (*key_of)(struct ks_token *token, const struct ks_object *object, struct ks_key **out,
                        struct ks_error *err);
    ks_status (*generate)(struct ks_token *token, const struct ks_call_options *opts,
                          const struct ks_generate_spec *spec, struct ks_key **out,
                          struct ks_error *err);
    ks_status (*destroy)(struct ks_key *key, const struct ks_call_options *opts,
                         struct ks_error *err);
    /* run an operation: session, key handle, step; and what helps when it fails */
    ks_status (*run)(struct ks_op *op);
    /* the key's expectation has been set: pass it on */
    ks_status (*expect)(struct ks_key *key, struct ks_error *err);
    /* tell whether the key has shown that it is the expected one, since it was found */
    bool (*shown)(struct ks_key *key);
    void (*key_free)(struct ks_key *key); /* what hangs on it */
    void (*preload_pin)(struct ks_token *token, const struct ks_call_options *opts);
    bool (*started)(const struct ks_token *token);
    void (*clear)(struct ks_token *token); /* what the kind has in it; NULL: nothing */
};

#endif
