/* SPDX-License-Identifier: Apache-2.0
 *
 * open.c - handles for tokens: one, or several behind one.
 */
#include "../op/op.h"
#include "../token/connect.h"
#include "../verbs/single.h"
#include "group.h"

static ks_status known_facts(struct ks_token *token, const struct ks_call_options *opts,
                             struct ks_token_facts *out, struct ks_error *err)
{
    (void)opts;
    (void)err;
    ks_token_copy_facts(token, out);
    return KS_SUCCESS;
}

static ks_status expect_nothing_more(struct ks_key *key, struct ks_error *err)
{
    (void)key;
    (void)err;
    return KS_SUCCESS;
}

static void nothing_hangs_on_it(struct ks_key *key)
{
    (void)key;
}

static bool started(const struct ks_token *token)
{
    return atomic_load(&token->module->initialized) != 0;
}

static const struct ks_kind single = {
    .connect = ks_single_connect,
    .facts = ks_single_facts,
    .known_facts = known_facts,
    .can = ks_single_can,
    .key_sizes = ks_single_key_sizes,
    .objects = ks_single_objects,
    .find = ks_single_find,
    .key_of = ks_single_key_of,
    .generate = ks_single_generate,
    .destroy = ks_single_destroy,
    .run = ks_op_run_on,
    .expect = expect_nothing_more,
    .shown = ks_single_shown,
    .key_free = nothing_hangs_on_it,
    .preload_pin = ks_single_preload_pin,
    .started = started,
};

ks_status ks_token_new(const struct ks_token_config *config, struct ks_token **out,
                       struct ks_error *err)
{
    return ks_token_share(config, &single, out, err);
}

ks_status ks_token_group(const char *name, enum ks_group kind, struct ks_token *const members[],
                         size_t count, struct ks_token **out, struct ks_error *err)
{
    return ks_token_make_group(name, kind, members, count, &ks_kind_group, out, err);
}
