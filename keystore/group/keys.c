/* SPDX-License-Identifier: Apache-2.0
 *
 * keys.c - keys of several tokens: of a set the key is on one of them, and the URI says on which;
 * of a cluster each member has it, and it is found there at its first use.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/clock.h"
#include "../token/connect.h"
#include "../token/key.h"
#include "group.h"

#define URI_ROOM 4096

size_t ks_token_members(const struct ks_token *token, struct ks_token *const **members)
{
    if (token->members.list == NULL)
        return 0;
    *members = token->members.list;
    return token->members.count;
}

/* --- what each of them said ------------------------------------------------------------------ */

void ks_group_note_answer(const struct ks_token *group, struct ks_group_answers *a, size_t index,
                          const struct ks_error *err)
{
    const char *text = err->text, *name = group->members.list[index]->name, *behind;

    if (!a->any)
        for (size_t i = 0; i < group->members.count; i++)
            a->of[i][0] = '\0';
    a->any = true;
    if (err->rv != CKR_OK) {
        snprintf(a->of[index], sizeof(a->of[index]), "%s: %s", err->function, err->rv_name);
        return;
    }
    /* it begins with the token's label, or with the name that comes here anyway */
    behind = err->token[0] != '\0' ? strstr(text, "': ") : NULL;
    if (behind != NULL)
        text = behind + 3;
    else if (strncmp(text, name, strlen(name)) == 0 && text[strlen(name)] == ':')
        text += strlen(name) + 2;
    snprintf(a->of[index], sizeof(a->of[index]), "%.*s", (int)sizeof(a->of[index]) - 1, text);
}

/* One line for all, in the place of what the last one said; its code stays. */
void ks_group_tell_answers(const struct ks_token *group, const struct ks_group_answers *a,
                           const char *(*not_asked)(void *arg, size_t index), void *arg,
                           struct ks_error *err)
{
    size_t room = sizeof(err->text), n;

    snprintf(err->text, room, "%s: no member could do it", group->name);
    for (size_t i = 0; i < group->members.count; i++) {
        const char *said = a->any && a->of[i][0] != '\0' ? a->of[i] : not_asked(arg, i);

        n = strlen(err->text);
        snprintf(err->text + n, room - n, "; %s: %s", group->members.list[i]->name, said);
    }
}

/* --- keys of a set --------------------------------------------------------------------------- */

/* With a public half that is known, or without. */
static ks_status find_on(struct ks_token *token, const struct ks_call_options *opts,
                         const struct ks_uri *uri, bool known, struct ks_key **out,
                         struct ks_error *err)
{
    return known ? ks_key_find_known(token, opts, uri, out, err)
                 : ks_key_find(token, opts, uri, out, err);
}

static ks_status find_in_set(struct ks_token *set, const struct ks_call_options *opts,
                             const struct ks_uri *uri, bool known, struct ks_key **out,
                             struct ks_error *err)
{
    struct ks_key *found = NULL, *key;
    ks_status st = {KS_TOKEN_NOT_FOUND}, one;
    struct ks_error why;

    for (size_t i = 0; i < set->members.count; i++) {
        key = NULL;
        one = find_on(set->members.list[i], opts, uri, known, &key, &why);
        if (ks_ok(one) && key != NULL && found != NULL) {
            st = ks_fail(err, KS_KEY_AMBIGUOUS,
                         "a key of that name is on token '%s' and on token '%s'; name the token "
                         "too (token=)",
                         ks_token_label(found->token), ks_token_label(key->token));
            ks_key_free(key);
            ks_key_free(found);
            return st;
        }
        if (ks_ok(one)) {
            found = key;
            continue;
        }
        /* "Not this token" says least, then "no such key"; what is broken says most. */
        if (st.code == KS_TOKEN_NOT_FOUND ||
            (st.code == KS_KEY_NOT_FOUND && one.code != KS_TOKEN_NOT_FOUND)) {
            st = one;
            if (err != NULL)
                *err = why;
        }
    }
    if (found == NULL)
        return st;
    *out = found;
    return KS_SUCCESS;
}

/* --- keys of a cluster ----------------------------------------------------------------------- */

static const char *nobody_left_out(void *arg, size_t index)
{
    (void)arg;
    (void)index;
    return "not asked";
}

ks_status ks_group_cluster_key(struct ks_token *cluster, struct ks_key *first, size_t at,
                               struct ks_key **out, struct ks_error *err)
{
    struct ks_object *copy = ks_object_copy(first->object);
    struct ks_key *key = NULL;
    ks_status st = copy != NULL ? ks_key_make(cluster, copy, CK_INVALID_HANDLE, 0, &key, err)
                                : ks_no_memory(err);

    if (ks_ok(st) && key != NULL)
        key->members = calloc(cluster->members.count, sizeof(*key->members));
    if (ks_ok(st) && (key == NULL || key->members == NULL))
        st = ks_no_memory(err);
    if (!ks_ok(st) || key == NULL || key->members == NULL) {
        ks_key_free(first);
        if (key == NULL)
            ks_object_free(copy);
        ks_key_free(key);
        return st;
    }
    key->members[at].key = first;
    *out = key;
    return KS_SUCCESS;
}

static ks_status find_in_cluster(struct ks_token *cluster, const struct ks_call_options *opts,
                                 const struct ks_uri *uri, bool known, struct ks_key **out,
                                 struct ks_error *err)
{
    ks_status st = {KS_KEY_NOT_FOUND};
    struct ks_key *first = NULL;
    struct ks_group_answers answers = {.any = false};
    struct ks_error why;
    size_t i;

    for (i = 0; i < cluster->members.count; i++) {
        st = find_on(cluster->members.list[i], opts, uri, known, &first, &why);
        if (ks_ok(st))
            break;
        ks_group_note_answer(cluster, &answers, i, &why);
    }
    if (ks_ok(st) && first != NULL)
        return ks_group_cluster_key(cluster, first, i, out, err);
    if (cluster->members.count > 1)
        ks_group_tell_answers(cluster, &answers, nobody_left_out, NULL, &why);
    if (err != NULL)
        *err = why;
    return st;
}

ks_status ks_group_find(struct ks_token *group, const struct ks_call_options *opts,
                        const struct ks_uri *uri, bool known, struct ks_key **out,
                        struct ks_error *err)
{
    /* Servers load keys as root and use them as somebody else: the PINs of the members that are not
     * asked, or not there, are read now too. */
    ks_token_preload_pin(group, NULL);
    return group->members.group == KS_GROUP_SET
               ? find_in_set(group, opts, uri, known, out, err)
               : find_in_cluster(group, opts, uri, known, out, err);
}

void ks_group_key_free(struct ks_key *key)
{
    for (size_t i = 0; key->members != NULL && i < key->token->members.count; i++)
        ks_key_free(key->members[i].key);
    free(key->members);
}

/* What a member's key has to be: what the caller expects, or what the first member has. */
static struct ks_expect expectation(const struct ks_key *key)
{
    const struct ks_bytes *had = ks_key_public_part(key->object);
    struct ks_expect e = key->expect;

    if (e.public_part == NULL) {
        e.public_part = had->data;
        e.public_len = had->len;
    }
    return e;
}

ks_status ks_group_expect(struct ks_key *key, struct ks_error *err)
{
    struct ks_expect e = expectation(key);
    ks_status st = KS_SUCCESS;

    for (size_t i = 0; ks_ok(st) && i < key->token->members.count; i++)
        if (key->members[i].key != NULL)
            st = ks_key_expect(key->members[i].key, &e, err);
    return st;
}

/* The key on one member, with a reference; found by its names at the first use, and held against
 * the expectation. */
ks_status ks_group_member_key(struct ks_key *key, size_t i, const struct ks_call_options *opts,
                              struct ks_key **out, struct ks_error *err)
{
    struct ks_member_key *m = &key->members[i];
    struct ks_expect e = expectation(key);
    struct ks_key *found = NULL, *have;
    struct ks_uri *uri = NULL;
    char text[URI_ROOM];
    ks_status st;

    pthread_mutex_lock(&key->token->pool.lock);
    have = m->key != NULL ? ks_key_ref(m->key) : NULL;
    pthread_mutex_unlock(&key->token->pool.lock);
    if (have != NULL) {
        *out = have;
        return KS_SUCCESS;
    }
    st = ks_object_uri(key->object, NULL, KS_URI_DETAIL_REFERENCE, text, sizeof(text), err);
    if (ks_ok(st))
        st = ks_uri_parse(text, KS_URI_REFERENCE, &uri, err);
    if (ks_ok(st))
        st = find_on(key->token->members.list[i], opts, uri, e.public_len > 0, &found, err);
    ks_uri_free(uri);
    if (ks_ok(st) && (e.public_len > 0 || e.arg != NULL))
        st = ks_key_expect(found, &e, err);
    if (!ks_ok(st)) {
        ks_key_free(found);
        if (st.code == KS_KEY_NOT_FOUND || st.code == KS_KEY_AMBIGUOUS ||
            st.code == KS_KEY_MISMATCH)
            atomic_store(&m->again_ns, ks_now_ns() + KS_GROUP_ABSENT_NS);
        return st;
    }
    pthread_mutex_lock(&key->token->pool.lock);
    if (m->key == NULL)
        m->key = ks_key_ref(found);
    pthread_mutex_unlock(&key->token->pool.lock);
    *out = found;
    return KS_SUCCESS;
}
