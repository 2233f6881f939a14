/* SPDX-License-Identifier: Apache-2.0
 *
 * mechanisms.c - which mechanisms a token has, for somebody who asks.
 */
#include <pthread.h>
#include <stdlib.h>

#include "../op/op.h"
#include "../token/answer.h"
#include "../token/mech.h"
#include "single.h"

/* False: the list is not known. */
static bool listed(struct ks_token *token, CK_MECHANISM_TYPE type, bool *is)
{
    bool known;

    pthread_mutex_lock(&token->pool.lock);
    known = token->mechs.list != NULL;
    pthread_mutex_unlock(&token->pool.lock);
    *is = false;
    for (size_t i = 0; known && i < token->mechs.count; i++)
        *is = *is || token->mechs.list[i] == type;
    return known;
}

static ks_status read_direct(struct ks_op *op)
{
    return ks_token_read_mechanisms(op->call.token, op->call.err);
}

static ks_status read_anew(struct ks_op *op)
{
    return ks_token_reread_mechanisms(op->call.token, op->call.err);
}

ks_status ks_token_lists_anew(struct ks_token *token, const struct ks_call_options *opts,
                              struct ks_error *err)
{
    struct ks_op op = {
        .call.token = token, .direct = read_anew, .call.opts = opts, .call.err = err};
    ks_status st = ks_token_connect(token, opts, err);

    return ks_ok(st) ? ks_op_run_direct(&op) : st;
}

ks_status ks_single_can(struct ks_token *token, const struct ks_call_options *opts,
                        enum ks_mech_kind kind, enum ks_digest digest, bool *can,
                        struct ks_error *err)
{
    struct ks_op op = {
        .call.token = token, .direct = read_direct, .call.opts = opts, .call.err = err};
    CK_MECHANISM_TYPE type = ks_mech_type(kind, digest);
    ks_status st;
    bool is;

    st = ks_token_connect(token, opts, err);
    if (ks_ok(st) && !listed(token, type, &is)) {
        st = ks_op_run_direct(&op);
        if (ks_ok(st))
            (void)listed(token, type, &is);
    }
    if (ks_ok(st))
        *can = type != KS_NO_MECHANISM && is;
    return st;
}

ks_status ks_token_can_hash(struct ks_token *token, const struct ks_call_options *opts,
                            enum ks_mech_kind kind, enum ks_digest digest, bool *can,
                            struct ks_error *err)
{
    return token->kind->can(token, opts, kind, digest, can, err);
}

ks_status ks_token_can(struct ks_token *token, const struct ks_call_options *opts,
                       enum ks_mech_kind kind, bool *can, struct ks_error *err)
{
    return ks_token_can_hash(token, opts, kind, KS_DIGEST_NONE, can, err);
}

struct sizes {
    enum ks_mech_kind kind;
    CK_MECHANISM_INFO info;
};

static ks_status sizes_direct(struct ks_op *op)
{
    struct sizes *sizes = op->arg;
    struct ks_gate gate;
    ks_status st =
        ks_gate_enter_since(&gate, op->call.token, atomic_load(&op->call.token->conn.slot_init),
                            KS_C_GetMechanismInfo, op->call.err);
    CK_RV rv;

    if (!ks_ok(st))
        return st;
    rv = op->call.token->module->fn->C_GetMechanismInfo(
        op->call.token->conn.slot, ks_mech_type(sizes->kind, KS_DIGEST_NONE), &sizes->info);
    ks_gate_leave(&gate);
    return ks_call_rv(&op->call, KS_C_GetMechanismInfo, rv);
}

ks_status ks_single_key_sizes(struct ks_token *token, const struct ks_call_options *opts,
                              enum ks_mech_kind kind, unsigned long *min, unsigned long *max,
                              struct ks_error *err)
{
    struct sizes sizes = {.kind = kind};
    struct ks_op op = {.call.token = token,
                       .direct = sizes_direct,
                       .arg = &sizes,
                       .arg_size = sizeof(sizes),
                       .call.opts = opts,
                       .call.err = err};
    bool can = false;
    ks_status st = ks_single_can(token, opts, kind, KS_DIGEST_NONE, &can, err);

    if (ks_ok(st) && !can)
        return ks_fail_token(err, token, KS_MECHANISM, "the token lacks %s", ks_mech_name(kind));
    if (ks_ok(st))
        st = ks_op_run_direct(&op);
    if (!ks_ok(st))
        return st;
    ks_answer_range(&sizes.info.ulMinKeySize, &sizes.info.ulMaxKeySize);
    *min = sizes.info.ulMinKeySize;
    *max = sizes.info.ulMaxKeySize;
    return KS_SUCCESS;
}

ks_status ks_token_key_sizes(struct ks_token *token, const struct ks_call_options *opts,
                             enum ks_mech_kind kind, unsigned long *min, unsigned long *max,
                             struct ks_error *err)
{
    return token->kind->key_sizes(token, opts, kind, min, max, err);
}
