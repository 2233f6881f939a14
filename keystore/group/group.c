/* SPDX-License-Identifier: Apache-2.0
 *
 * group.c - several tokens behind one handle. In a cluster they hold the same keys, and an
 * operation runs on the one that suits best; in a set they are independent, and the URI decides.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/clock.h"
#include "../op/worker.h"
#include "../token/connect.h"
#include "../token/mech.h"
#include "group.h"

bool ks_token_is_group(const struct ks_token *token, enum ks_group kind)
{
    return token->members.list != NULL && token->members.group == kind;
}

ks_status ks_token_select(struct ks_token *token, const struct ks_call_options *opts,
                          const struct ks_uri *uri, struct ks_token **out, struct ks_error *err)
{
    struct ks_token *found = NULL;
    ks_status st = {KS_TOKEN_NOT_FOUND};

    if (token->members.list == NULL) {
        st = ks_token_matches(token, opts, uri, err);
        if (ks_ok(st))
            *out = ks_token_ref(token);
        return st;
    }
    if (token->members.group == KS_GROUP_CLUSTER)
        return ks_fail(
            err, KS_CONFIG,
            "%s is a cluster: make the key on one of its tokens (hsmkey generate --token "
            "NAME), and bring it to the others with the HSM's own tools",
            token->name);
    for (size_t i = 0; i < token->members.count; i++) {
        ks_status one = {KS_TOKEN_NOT_FOUND};

        if (token->members.list[i]->members.list == NULL)
            one = ks_token_matches(token->members.list[i], opts, uri, err);
        if (ks_ok(one) && found != NULL)
            return ks_fail(err, KS_CONFIG,
                           "several tokens are configured: name one, by a URI with token= (hsmkey "
                           "generate --token NAME)");
        if (ks_ok(one))
            found = token->members.list[i];
        else if (found == NULL)
            st = one;
    }
    if (found == NULL)
        return st;
    *out = ks_token_ref(found);
    return KS_SUCCESS;
}

const char *ks_token_name(const struct ks_token *token)
{
    return token->name;
}

/* --- the whole group ------------------------------------------------------------------------- */

static ks_status group_connect(struct ks_token *group, const struct ks_call_options *opts,
                               struct ks_error *err)
{
    ks_status st = {KS_INTERNAL}, one;
    struct ks_error why;

    /* One that answers is enough; what is wrong with the first is said when none does. */
    for (size_t i = 0; i < group->members.count; i++) {
        one = ks_token_connect(group->members.list[i], opts, &why);
        if (ks_ok(one))
            return one;
        if (i == 0) {
            st = one;
            if (err != NULL)
                *err = why;
        }
    }
    return st;
}

static ks_status group_facts(struct ks_token *group, const struct ks_call_options *opts,
                             struct ks_token_facts *out, struct ks_error *err)
{
    ks_status st = {KS_INTERNAL};

    for (size_t i = 0; i < group->members.count; i++) {
        st = ks_token_facts(group->members.list[i], opts, out, err);
        if (ks_ok(st))
            break;
    }
    return st;
}

/* What one member lists is enough. Of one that is there and does not say what it can, nobody knows
 * that it cannot; one that is down is not asked for operations either. */
static ks_status group_can(struct ks_token *group, const struct ks_call_options *opts,
                           enum ks_mech_kind kind, enum ks_digest digest, bool *can,
                           struct ks_error *err)
{
    bool this, said = false, silent = false, first = true;
    ks_status st = {KS_INTERNAL}, one;
    struct ks_error why;

    *can = false;
    for (size_t i = 0; i < group->members.count; i++) {
        one = ks_token_can_hash(group->members.list[i], opts, kind, digest, &this, &why);
        if (ks_ok(one)) {
            said = true;
            *can = *can || this;
        } else if (!silent) {
            silent = why.fn == KS_C_GetMechanismList;
            if (silent || first) {
                st = one;
                if (err != NULL)
                    *err = why;
            }
            first = false;
        }
    }
    return *can || (said && !silent) ? KS_SUCCESS : st;
}

static ks_status group_objects(struct ks_token *group, const struct ks_call_options *opts,
                               const struct ks_uri *uri,
                               bool (*visit)(void *arg, const struct ks_object *object), void *arg,
                               struct ks_error *err)
{
    ks_status st = {KS_TOKEN_NOT_FOUND}, one;
    struct ks_error why;
    bool any = false;

    for (size_t i = 0; i < group->members.count; i++) {
        one = ks_token_objects(group->members.list[i], opts, uri, visit, arg, &why);
        any = any || ks_ok(one);
        /* All members of a cluster show the same. */
        if (ks_ok(one) && group->members.group == KS_GROUP_CLUSTER)
            return one;
        /* In a set, that the URI means another token is no failure; an unreachable one is. */
        if (!ks_ok(one) && one.code != KS_TOKEN_NOT_FOUND) {
            st = one;
            if (err != NULL)
                *err = why;
        } else if (!ks_ok(one) && !any && st.code == KS_TOKEN_NOT_FOUND && err != NULL) {
            *err = why;
        }
    }
    return any && st.code == KS_TOKEN_NOT_FOUND ? KS_SUCCESS : st;
}

/* --- the kind -------------------------------------------------------------------------------- */

static bool has_member(const struct ks_token *token, const struct ks_token *wanted)
{
    bool found = token == wanted;

    for (size_t i = 0; i < token->members.count && !found; i++)
        found = has_member(token->members.list[i], wanted);
    return found;
}

/* From a listing, which shows objects of the members. */
static ks_status group_key_of(struct ks_token *group, const struct ks_object *object,
                              struct ks_key **out, struct ks_error *err)
{
    struct ks_key *key = NULL;
    size_t i = 0;
    ks_status st;

    while (i < group->members.count && !has_member(group->members.list[i], object->at.token))
        i++;
    if (i == group->members.count)
        return ks_fail(err, KS_INTERNAL, "the object is of another token");
    st = ks_key_of_object(group->members.list[i], object, &key, err);
    if (ks_ok(st) && group->members.group == KS_GROUP_CLUSTER)
        return ks_group_cluster_key(group, key, i, out, err);
    if (ks_ok(st))
        *out = key;
    return st;
}

/* What the first one says that is there and has the mechanism. */
static ks_status group_key_sizes(struct ks_token *group, const struct ks_call_options *opts,
                                 enum ks_mech_kind kind, unsigned long *min, unsigned long *max,
                                 struct ks_error *err)
{
    ks_status st = {KS_INTERNAL};

    for (size_t i = 0; i < group->members.count; i++) {
        st = ks_token_key_sizes(group->members.list[i], opts, kind, min, max, err);
        if (ks_ok(st))
            break;
    }
    return st;
}

static ks_status group_generate(struct ks_token *token, const struct ks_call_options *opts,
                                const struct ks_generate_spec *spec, struct ks_key **out,
                                struct ks_error *err)
{
    (void)opts;
    (void)spec;
    (void)out;
    return ks_fail(
        err, KS_CONFIG,
        "%s stands for several tokens: generate the key on one of them (hsmkey "
        "generate --token NAME), and bring it to a cluster's others with the HSM's own tools",
        token->name);
}

/* On one member it would leave the others with a key that is no more, and nobody could tell. */
static ks_status group_destroy(struct ks_key *key, const struct ks_call_options *opts,
                               struct ks_error *err)
{
    (void)opts;
    return ks_fail(err, KS_CONFIG,
                   "%s stands for several tokens: destroy the key on each of them by itself",
                   key->token->name);
}

static bool group_shown(struct ks_key *key)
{
    for (size_t i = 0; i < key->token->members.count; i++)
        if (key->members[i].key != NULL)
            return key->members[i].key->token->kind->shown(key->members[i].key);
    return false;
}

static void group_keep_pin(struct ks_token *group, const struct ks_call_options *opts)
{
    for (size_t i = 0; i < group->members.count; i++)
        ks_token_preload_pin(group->members.list[i], opts);
}

static bool group_started(const struct ks_token *group)
{
    for (size_t i = 0; i < group->members.count; i++)
        if (ks_token_started(group->members.list[i]))
            return true;
    return false;
}

static void group_clear(struct ks_token *group)
{
    for (size_t i = 0; i < group->members.count; i++)
        ks_token_free(group->members.list[i]);
    free(group->members.list);
}

const struct ks_kind ks_kind_group = {
    .connect = group_connect,
    .facts = group_facts,
    .known_facts = group_facts,
    .can = group_can,
    .key_sizes = group_key_sizes,
    .objects = group_objects,
    .find = ks_group_find,
    .key_of = group_key_of,
    .generate = group_generate,
    .destroy = group_destroy,
    .run = ks_group_run,
    .expect = ks_group_expect,
    .shown = group_shown,
    .key_free = ks_group_key_free,
    .preload_pin = group_keep_pin,
    .started = group_started,
    .clear = group_clear,
};
