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
#include "../op/account.h"
#include "../op/worker.h"
#include "../token/connect.h"
#include "../token/mech.h"
#include "group.h"

/* How long a member is not asked again for a key that it does not have. */
#define ABSENT_NS 10000000000U
#define URI_ROOM  4096

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

size_t ks_token_members(const struct ks_token *token, struct ks_token *const **members)
{
    if (token->members.list == NULL)
        return 0;
    *members = token->members.list;
    return token->members.count;
}

const char *ks_token_name(const struct ks_token *token)
{
    return token->name;
}

/* --- what each of them said ------------------------------------------------------------------ */

/* Why members did not do it. Only what fails costs something. */
struct answers {
    bool any;
    char of[KS_GROUP_MAX][112]; /* "": not asked */
};

static void note_answer(const struct ks_token *group, struct answers *a, size_t index,
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
static void tell_answers(const struct ks_token *group, const struct answers *a,
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

static ks_status cluster_key(struct ks_token *cluster, struct ks_key *first, size_t at,
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
    struct answers answers = {.any = false};
    struct ks_error why;
    size_t i;

    for (i = 0; i < cluster->members.count; i++) {
        st = find_on(cluster->members.list[i], opts, uri, known, &first, &why);
        if (ks_ok(st))
            break;
        note_answer(cluster, &answers, i, &why);
    }
    if (ks_ok(st) && first != NULL)
        return cluster_key(cluster, first, i, out, err);
    if (cluster->members.count > 1)
        tell_answers(cluster, &answers, nobody_left_out, NULL, &why);
    if (err != NULL)
        *err = why;
    return st;
}

static ks_status group_find(struct ks_token *group, const struct ks_call_options *opts,
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

static void group_key_free(struct ks_key *key)
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

static ks_status group_expect(struct ks_key *key, struct ks_error *err)
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
static ks_status member_key(struct ks_key *key, size_t i, const struct ks_call_options *opts,
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
            atomic_store(&m->again_ns, ks_now_ns() + ABSENT_NS);
        return st;
    }
    pthread_mutex_lock(&key->token->pool.lock);
    if (m->key == NULL)
        m->key = ks_key_ref(found);
    pthread_mutex_unlock(&key->token->pool.lock);
    *out = found;
    return KS_SUCCESS;
}

/* --- operations ------------------------------------------------------------------------------ */

enum state { STATE_UP, STATE_LOST, STATE_HUNG };

struct candidate {
    size_t index;
    enum state state;
    uint64_t score;
};

static enum state state_of(struct ks_token *member)
{
    if (ks_token_hung(member))
        return STATE_HUNG;
    return atomic_load_explicit(&member->health.lost, memory_order_relaxed) ? STATE_LOST : STATE_UP;
}

/* Does the member list the mechanism? One that decrypts raw is not to remove padding by itself:
 * what it says then tells good padding from bad. */
static bool suits(const struct ks_op *op, const struct ks_token *member)
{
    if (op->class == KS_OP_DECRYPT && op->mech->kind == KS_MECH_RSA_PKCS1 &&
        ks_token_lists(member, KS_MECH_RSA_RAW))
        return false;
    return !ks_token_lacks(member, op->mech->kind);
}

/* Those that do not suit leave it to those that do, if there are any. */
static size_t leave_to_others(const struct ks_op *op, struct candidate *list, size_t n)
{
    size_t kept = 0;

    if (op->mech == NULL)
        return n;
    for (size_t i = 0; i < n; i++)
        kept += suits(op, op->call.token->members.list[list[i].index]);
    if (kept == 0 || kept == n)
        return n;
    kept = 0;
    for (size_t i = 0; i < n; i++)
        if (suits(op, op->call.token->members.list[list[i].index]))
            list[kept++] = list[i];
    return kept;
}

/* Members in the order in which they are tried: those that are up, fewest operations in flight
 * times latency first; then the lost ones. Hung ones, and those that do not have the key or the
 * mechanism, are left out. Who is not up is looked after in the background. */
static size_t candidates(struct ks_op *op, struct candidate *list)
{
    struct ks_token *group = op->call.token;
    uint64_t now = 0;
    size_t n = 0;

    for (size_t i = 0; i < group->members.count; i++) {
        struct ks_token *m = group->members.list[i];
        struct candidate c = {.index = i, .state = state_of(m)};
        size_t at;

        if (c.state != STATE_UP)
            ks_worker_probe(m);
        if (c.state == STATE_HUNG)
            continue;
        if (op->key != NULL && atomic_load(&op->key->members[i].again_ns) != 0) {
            now = now != 0 ? now : ks_now_ns();
            if (now < atomic_load(&op->key->members[i].again_ns))
                continue;
        }
        c.score = (atomic_load_explicit(&m->members.in_flight, memory_order_relaxed) + 1U) *
                  (atomic_load_explicit(&m->members.latency_ns, memory_order_relaxed) / 1024U + 1U);
        for (at = n++; at > 0 && (list[at - 1].state > c.state ||
                                  (list[at - 1].state == c.state && list[at - 1].score > c.score));
             at--)
            list[at] = list[at - 1];
        list[at] = c;
    }
    return leave_to_others(op, list, n);
}

/* Would another member do better? Not where the data, the parameters or the caller are wrong; what
 * fails before a session is there is none of those, whatever the module calls it. */
static bool worth_another(ks_status st, const struct ks_error *err)
{
    static const enum ks_fn before[] = {KS_C_Initialize, KS_C_GetSlotList, KS_C_GetTokenInfo,
                                        KS_C_OpenSession};
    static const enum ks_code codes[] = {
        KS_DEVICE,        KS_TIMEOUT,      KS_SESSIONS,        KS_LOGIN,         KS_PIN_SOURCE,
        KS_PIN_REFUSED,   KS_MODULE,       KS_TOKEN_NOT_FOUND, KS_KEY_NOT_FOUND, KS_TOKEN_AMBIGUOUS,
        KS_KEY_AMBIGUOUS, KS_KEY_MISMATCH, KS_TOKEN,           KS_TOKEN_FULL,
    };

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (codes[i] == st.code)
            return true;
    for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++)
        if (before[i] == err->fn)
            return true;
    return false;
}

static void note_latency(struct ks_token *member, uint64_t took)
{
    uint64_t was = atomic_load_explicit(&member->members.latency_ns, memory_order_relaxed);

    atomic_store_explicit(&member->members.latency_ns, was == 0 ? took : was - was / 8 + took / 8,
                          memory_order_relaxed);
}

static ks_status run_on_member(struct ks_op *op, size_t index, const struct ks_call_options *opts,
                               bool more)
{
    struct ks_token *member = op->call.token->members.list[index];
    uint64_t started = ks_now_ns();
    struct ks_key *key = NULL;
    struct ks_op sub = *op;
    ks_status st = KS_SUCCESS;

    op->ran_on = member;
    op->call.function = KS_NO_FUNCTION;
    op->attempted = true;
    op->call.rv = CKR_OK;
    atomic_fetch_add(&member->members.in_flight, 1);
    if (op->key != NULL)
        st = member_key(op->key, index, opts, &key, op->call.err);
    if (ks_ok(st)) {
        sub.call.token = member;
        sub.key = key;
        sub.call.opts = opts;
        sub.done = NULL;
        sub.move_on = more;
        sub.attempted = false;
        st = ks_op_run_on(&sub);
        op->call.out_len = sub.call.out_len;
        op->call.function = sub.call.function;
        op->attempted = sub.attempted;
        op->call.rv = sub.call.rv;
        op->call.epoch = sub.call.epoch;
        /* what its object shows, or what it did, was another key's */
        if (st.code == KS_KEY_MISMATCH)
            atomic_store(&op->key->members[index].again_ns, ks_now_ns() + ABSENT_NS);
    }
    ks_key_free(key);
    atomic_fetch_sub(&member->members.in_flight, 1);
    if (ks_ok(st))
        note_latency(member, ks_now_ns() - started);
    return st;
}

bool ks_key_lists(struct ks_key *key, const struct ks_call_options *opts, enum ks_mech_kind kind,
                  bool anew)
{
    struct ks_token *const *tokens = &key->token;
    size_t n = ks_token_members(key->token, &tokens);
    struct ks_error err;
    bool asked = false;

    for (size_t i = 0; i < (n > 0 ? n : 1); i++) {
        if (n > 0 &&
            (state_of(tokens[i]) != STATE_UP ||
             (key->members != NULL && atomic_load(&key->members[i].again_ns) > ks_now_ns())))
            continue;
        if (anew && !ks_ok(ks_token_lists_anew(tokens[i], opts, &err)))
            continue;
        if (!ks_token_lacks(tokens[i], kind))
            return true;
        asked = true;
    }
    return !asked;
}

/* The members' own time limit is that of the whole operation: half of what is left for each try,
 * all of it for the last. */
static uint64_t whole_deadline(const struct ks_op *op)
{
    uint64_t deadline = op->call.opts != NULL ? op->call.opts->deadline_ns : 0, limit = 0;

    for (size_t i = 0; i < op->call.token->members.count; i++)
        if (op->call.token->members.list[i]->timeout_ns > limit)
            limit = op->call.token->members.list[i]->timeout_ns;
    if (limit != 0 && (deadline == 0 || ks_now_ns() + limit < deadline))
        deadline = ks_now_ns() + limit;
    return deadline;
}

/* Why a member was not tried. */
static const char *not_tried(void *arg, size_t index)
{
    const struct ks_op *op = arg;

    if (ks_token_hung(op->call.token->members.list[index]))
        return "does not answer";
    if (op->key != NULL && atomic_load(&op->key->members[index].again_ns) > ks_now_ns())
        return "does not have the key, or another one of that name";
    if (op->mech != NULL && ks_token_lacks(op->call.token->members.list[index], op->mech->kind))
        return "does not list the mechanism";
    return "no time was left for it";
}

static ks_status nobody(struct ks_op *op)
{
    const struct answers none = {.any = false};
    struct ks_error why;
    ks_status st = ks_fail(&why, KS_DEVICE, "%s", "");

    tell_answers(op->call.token, &none, not_tried, op, &why);
    ks_error_add(&why, "they are tried in the background");
    if (op->call.err != NULL)
        *op->call.err = why;
    ks_account_no_member(op);
    return st;
}

/* Tries the candidates one after the other. op->err is not NULL. */
static ks_status run_on_candidates(struct ks_op *op, struct candidate *list, size_t n)
{
    uint64_t deadline = whole_deadline(op), now;
    struct ks_call_options opts = {.prompt = op->call.opts != NULL ? op->call.opts->prompt : NULL};
    struct answers answers;
    ks_status st = {KS_DEVICE};
    size_t turns = n;
    bool more;

    answers.any = false;
    for (size_t i = 0; i < turns; i++) {
        opts.deadline_ns = deadline;
        if (deadline != 0 && i + 1 < turns) {
            now = ks_now_ns();
            opts.deadline_ns = now < deadline ? now + (deadline - now) / 2 : deadline;
        }
        /* a lost one is brought back in the foreground only if there is nobody else */
        more = i + 1 < n && list[0].state == STATE_UP;
        st = run_on_member(op, list[i].index, &opts, more);
        if (ks_ok(st) || op->once || !worth_another(st, op->call.err))
            return st; /* what is wrong with the data is said by the one who looked at it */
        note_answer(op->call.token, &answers, list[i].index, op->call.err);
        if (deadline != 0 && ks_now_ns() >= deadline)
            break;
        /* It may only have been away for a while, unnoticed: if the others cannot, it is next. */
        if (more && ks_recovery_of_error(op->call.err) == KS_DEVICE_LOST)
            list[turns++] = list[i];
        if (i + 1 < turns)
            ks_account_failed_over(op->call.token->members.list[list[i].index],
                                   op->call.token->members.list[list[i + 1].index], op->class);
    }
    if (op->call.token->members.count > 1)
        tell_answers(op->call.token, &answers, not_tried, op, op->call.err);
    return st;
}

static ks_status group_run(struct ks_op *op)
{
    struct candidate list[2 * KS_GROUP_MAX]; /* each may have a second turn */
    size_t n = candidates(op, list);
    struct ks_error *err = op->call.err, why;
    ks_status st;

    if (n == 0)
        return nobody(op);
    if (err == NULL)
        op->call.err = &why;
    st = run_on_candidates(op, list, n);
    op->call.err = err;
    return st;
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
        return cluster_key(group, key, i, out, err);
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
    .find = group_find,
    .key_of = group_key_of,
    .generate = group_generate,
    .destroy = group_destroy,
    .run = group_run,
    .expect = group_expect,
    .shown = group_shown,
    .key_free = group_key_free,
    .preload_pin = group_keep_pin,
    .started = group_started,
    .clear = group_clear,
};
