/* SPDX-License-Identifier: Apache-2.0
 *
 * try.c - one operation on one token: take a session and the key's handle, call, classify what
 * came back, and recover, try again or give up.
 */
#include <string.h>
#include <time.h>

#include "../ks_internal.h"

/* How often one operation may be run again for each class of failure. */
static const unsigned budgets[KS_RECOVERIES] = {
    [KS_PERMANENT] = 0,     [KS_RETRY] = 4,        [KS_AMBIGUOUS] = 1,
    [KS_SESSION_DIRTY] = 2, [KS_SESSION_LOST] = 4, [KS_SESSIONS_FULL] = 2,
    [KS_LOGIN_LOST] = 4,    [KS_STALE_HANDLE] = 1, [KS_DEVICE_LOST] = 2,
};

#define BACKOFF_FIRST_NS 5000000U

/* Sleep before a retry; false when the deadline would pass. */
static bool back_off(const struct ks_op *op, unsigned tries)
{
    uint64_t pause = (uint64_t)BACKOFF_FIRST_NS << tries;
    struct timespec ts;

    if (op->opts != NULL && op->opts->deadline_ns != 0 &&
        ks_now_ns() + pause >= op->opts->deadline_ns)
        return false;
    ts = ks_timespec(pause);
    nanosleep(&ts, NULL);
    return true;
}

/* A session is used again unless the failure may have left an operation open in it: after the
 * init and before the end, for another reason than data that the token looked at. */
static bool session_clean(const struct ks_op *op, enum ks_code code)
{
    static const enum ks_fn middle[] = {KS_C_Sign, KS_C_Decrypt,
                                        KS_C_Login}; /* the last: context */

    if (op->rv == CKR_BUFFER_TOO_SMALL || op->rv == CKR_OPERATION_ACTIVE)
        return false;
    for (size_t i = 0; i < sizeof(middle) / sizeof(middle[0]); i++)
        if (op->function == middle[i])
            return op->rv == CKR_OK || (code == KS_DATA && i < 2);
    return true;
}

/* Twice for an operation, more often when another thread does it. */
static ks_status log_in_again(struct ks_op *op, struct ks_session *session, ks_status st,
                              enum ks_recovery *class)
{
    /* cppcheck-suppress uninitvar */
    struct ks_error why, *err = op->err != NULL ? op->err : &why;
    bool did = false;
    ks_status login;

    if (op->logins >= 2) {
        *class = KS_PERMANENT;
        return st;
    }
    login = ks_token_relogin(op->token, op->opts, session, &did, err);
    op->logins += did;
    if (ks_ok(login))
        return st;
    *class = ks_class_of_error(err);
    return login;
}

/* One try. Returns its status; on failure `*class` says what may help. */
static ks_status attempt(struct ks_op *op, enum ks_recovery *class)
{
    enum ks_session_fate fate = KS_SESSION_KEEP;
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
    struct ks_session session = {.handle = CK_INVALID_HANDLE};
    enum ks_code code = KS_OK;
    struct ks_gate gate;
    bool lost = false;
    ks_status st;

    *class = KS_PERMANENT;
    op->rv = CKR_OK;
    op->attempted = true;
    op->function = KS_NO_FUNCTION;
    op->close_session = false;
    st = (op->read_write ? ks_session_take_rw : ks_session_take)(op->token, op->opts, op->key,
                                                                 &session, &handle, op->err);
    if (!ks_ok(st))
        return st;
    st = ks_gate_enter(&gate, op->token->module, op->err);
    if (!ks_ok(st)) {
        ks_session_give(op->token, &session, KS_SESSION_CLOSE);
        return st;
    }
    op->gate = &gate;
    op->epoch = session.epoch;
    ks_stats_call_begin(op);
    /* Initialised anew while we waited at the gate: the numbers that we have are others' by now. */
    if (atomic_load(&op->token->module->init_count) != session.init_count)
        st = ks_op_rv(op, KS_C_GetSessionInfo, CKR_SESSION_HANDLE_INVALID);
    if (ks_ok(st) && op->key != NULL && handle == CK_INVALID_HANDLE)
        st = ks_key_locate(op, op->token->module->fn, &session, op->key, &handle);
    if (ks_ok(st))
        st = op->step(op, op->token->module->fn, session.handle, handle);
    ks_stats_call_end(op);
    if (op->gate != NULL)
        ks_gate_leave(&gate);
    op->gate = NULL;
    op->finding = session.finding;
    if (!ks_ok(st)) {
        if (op->rv != CKR_OK)
            ks_classify(op->function, op->rv, &code, class);
        if (!session_clean(op, code) || *class == KS_AMBIGUOUS)
            fate = KS_SESSION_CLOSE;
        /* log in while the session is still ours */
        if (*class == KS_LOGIN_LOST)
            st = log_in_again(op, &session, st, class);
        if (*class == KS_STALE_HANDLE && op->key != NULL)
            ks_key_forget(op->key, session.epoch);
        lost = *class == KS_SESSION_LOST || *class == KS_DEVICE_LOST;
        if (lost)
            fate = *class == KS_SESSION_LOST ? KS_SESSION_GONE : KS_SESSION_CLOSE;
    }
    if (fate == KS_SESSION_KEEP && (op->read_write || op->close_session))
        fate = KS_SESSION_CLOSE;
    ks_session_give(op->token, &session, fate);
    if (lost) {
        ks_token_down(op->token, session.epoch);
        ks_stats_token_down(op->token, session.epoch, op->function, op->rv);
    }
    if (*class == KS_DEVICE_LOST)
        atomic_store(&op->token->lost, true);
    return st;
}

ks_status ks_op_try(struct ks_op *op)
{
    unsigned used[KS_RECOVERIES] = {0};
    enum ks_recovery class;
    ks_status st;

    if (op->direct != NULL)
        return op->direct(op);
    for (;;) {
        st = attempt(op, &class);
        if (ks_ok(st) || op->once || used[class] >= budgets[class] ||
            (op->move_on && class == KS_DEVICE_LOST))
            break;
        if (class == KS_RETRY && !back_off(op, used[class]))
            break;
        used[class]++;
        op->measure.retries++;
    }
    return st;
}
