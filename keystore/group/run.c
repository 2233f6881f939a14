/* SPDX-License-Identifier: Apache-2.0
 *
 * run.c - operations of a group: which member does it, and who is next when it cannot.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/clock.h"
#include "../op/worker.h"
#include "../token/connect.h"
#include "../token/mech.h"
#include "group.h"

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
        st = ks_group_member_key(op->key, index, opts, &key, op->call.err);
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
            atomic_store(&op->key->members[index].again_ns, ks_now_ns() + KS_GROUP_ABSENT_NS);
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
    uint64_t deadline = ks_deadline(op->call.opts), limit = 0;

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
    const struct ks_group_answers none = {.any = false};
    struct ks_error why;
    ks_status st = ks_fail(&why, KS_DEVICE, "%s", "");

    ks_group_tell_answers(op->call.token, &none, not_tried, op, &why);
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
    struct ks_group_answers answers;
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
        ks_group_note_answer(op->call.token, &answers, list[i].index, op->call.err);
        if (deadline != 0 && ks_now_ns() >= deadline)
            break;
        /* The member may be back already, and we have only just noticed that it was lost: it gets
         * a second turn after the others. */
        if (more && ks_recovery_of_error(op->call.err) == KS_DEVICE_LOST)
            list[turns++] = list[i];
        if (i + 1 < turns)
            ks_account_failed_over(op->call.token->members.list[list[i].index],
                                   op->call.token->members.list[list[i + 1].index], op->class);
    }
    if (op->call.token->members.count > 1)
        ks_group_tell_answers(op->call.token, &answers, not_tried, op, op->call.err);
    return st;
}

ks_status ks_group_run(struct ks_op *op)
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
