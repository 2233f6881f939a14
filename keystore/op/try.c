/* SPDX-License-Identifier: Apache-2.0
 *
 * try.c - one operation on one token: take a session and the key's handle, call, classify what
 * came back, and recover, try again or give up.
 */
#include "../base/clock.h"
#include "../token/connect.h"
#include "op.h"
#include "recovery.h"

/* Logins by one operation; those that another thread did meanwhile do not count. */
#define LOGINS_MAX 2U

/* May the session go back to the pool? Not after C_Sign or C_Decrypt, or the login that a key
 * wants between an init and these, failed for anything but bad data: the operation that was begun
 * may still be active in it. */
static bool session_is_clean(const struct ks_op *op, enum ks_code code)
{
    if (op->call.rv == CKR_BUFFER_TOO_SMALL || op->call.rv == CKR_OPERATION_ACTIVE)
        return false;
    switch (op->call.function) {
    case KS_C_Sign:
    case KS_C_Decrypt:
        return op->call.rv == CKR_OK || code == KS_DATA;
    case KS_C_Login:
        return op->call.rv == CKR_OK;
    default:
        return true;
    }
}

/* Log in again in that session. On failure `*recovery` says what may help against that. */
static ks_status log_in_again(struct ks_op *op, struct ks_session *session, ks_status st,
                              enum ks_recovery *recovery)
{
    /* cppcheck-suppress uninitvar */
    struct ks_error why, *err = op->call.err != NULL ? op->call.err : &why;
    bool did = false;
    ks_status login;

    if (op->logins >= LOGINS_MAX) {
        *recovery = KS_PERMANENT;
        return st;
    }
    login = ks_token_relogin(op->call.token, op->call.opts, session, &did, err);
    op->logins += did;
    if (ks_ok(login))
        return st;
    *recovery = ks_recovery_of_error(err);
    return login;
}

/* The calls of one try: inside the gate, in a session that is ours. */
static ks_status call(struct ks_op *op, struct ks_session *session, CK_OBJECT_HANDLE handle)
{
    ks_status st = KS_SUCCESS;

    ks_measure_call_begin(&op->measure);
    /* Initialised again while we waited at the gate: our session's number is another's by now. */
    if (atomic_load(&op->call.token->module->init_count) != session->init_count)
        st = ks_call_rv(&op->call, KS_C_GetSessionInfo, CKR_SESSION_HANDLE_INVALID);
    if (ks_ok(st) && op->key != NULL && handle == CK_INVALID_HANDLE)
        st = ks_key_locate(&op->call, op->call.token->module->fn, session, op->key, &handle);
    if (ks_ok(st))
        st = op->step(op, op->call.token->module->fn, session->handle, handle);
    ks_measure_call_end(&op->measure);
    return st;
}

/* Give the session back after a try, and do what the failure's class asks for before another one:
 * `*recovery` is that class, or the one of a remedy that failed. Returns the operation's status. */
static ks_status remedy(struct ks_op *op, struct ks_session *session, ks_status st,
                        enum ks_recovery *recovery)
{
    enum ks_session_fate fate = KS_SESSION_KEEP;
    enum ks_code code = KS_OK;
    bool reconnect;

    if (!ks_ok(st)) {
        if (op->call.rv != CKR_OK)
            ks_classify(op->call.function, op->call.rv, &code, recovery);
        fate = session_is_clean(op, code) ? ks_recovery_rows[*recovery].fate : KS_SESSION_CLOSE;
        if (ks_recovery_rows[*recovery].remedy == KS_REMEDY_LOG_IN)
            st = log_in_again(op, session, st, recovery);
        if (ks_recovery_rows[*recovery].remedy == KS_REMEDY_FIND_KEY && op->key != NULL)
            ks_key_forget(op->key, session->epoch);
    }
    reconnect = ks_recovery_rows[*recovery].remedy == KS_REMEDY_RECONNECT;
    if (reconnect)
        fate = ks_recovery_rows[*recovery].fate;
    if (fate == KS_SESSION_KEEP && (op->read_write || op->call.close_session))
        fate = KS_SESSION_CLOSE;
    ks_session_give(op->call.token, session, fate);
    if (reconnect) {
        ks_token_mark_lost(op->call.token, session->epoch);
        ks_token_note_down(op->call.token, session->epoch, op->call.function, op->call.rv);
    }
    if (*recovery == KS_DEVICE_LOST)
        atomic_store(&op->call.token->health.lost, true);
    return st;
}

/* One try. Returns its status; on failure `*recovery` is its class. */
static ks_status attempt(struct ks_op *op, enum ks_recovery *recovery)
{
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
    struct ks_session session = {.handle = CK_INVALID_HANDLE};
    struct ks_gate gate;
    ks_status st;

    *recovery = KS_PERMANENT;
    op->call.rv = CKR_OK;
    op->attempted = true;
    op->call.function = KS_NO_FUNCTION;
    op->call.close_session = false;
    st = (op->read_write ? ks_session_take_rw : ks_session_take)(
        op->call.token, op->call.opts, op->key, &session, &handle, op->call.err);
    if (!ks_ok(st))
        return st;
    st = ks_gate_enter(&gate, op->call.token->module, op->call.err);
    if (!ks_ok(st)) {
        ks_session_give(op->call.token, &session, KS_SESSION_CLOSE);
        return st;
    }
    op->call.gate = &gate;
    op->call.epoch = session.epoch;
    st = call(op, &session, handle);
    if (op->call.gate != NULL)
        ks_gate_leave(&gate);
    op->call.gate = NULL;
    op->call.finding = session.finding;
    return remedy(op, &session, st, recovery);
}

ks_status ks_op_try(struct ks_op *op)
{
    unsigned used[KS_RECOVERIES] = {0};
    const struct ks_recovery_row *row;
    struct ks_backoff backoff = {0};
    enum ks_recovery recovery;
    ks_status st;

    if (op->direct != NULL)
        return op->direct(op);
    for (;;) {
        st = attempt(op, &recovery);
        row = &ks_recovery_rows[recovery];
        if (ks_ok(st) || op->once || used[recovery] >= row->retries ||
            (op->move_on && recovery == KS_DEVICE_LOST))
            break;
        if (row->pause_ns != 0) {
            if (used[recovery] == 0)
                backoff.pause_ns = row->pause_ns;
            if (!ks_backoff_wait(&backoff, ks_deadline(op->call.opts)))
                break;
        }
        used[recovery]++;
        op->measure.retries++;
    }
    return st;
}
