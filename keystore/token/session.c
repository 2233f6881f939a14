/* SPDX-License-Identifier: Apache-2.0
 *
 * session.c - taking a session of a token. Sessions are opened as they are needed, up to the limit,
 * and kept in the pool (token/pool.c); a thread that finds none free waits. Whether a session is
 * still good shows when it is used; no call asks for it.
 */
#include <pthread.h>

#include "answer.h"
#include "connect.h"
#include "key.h"
#include "session.h"

/* The reserved session could not be opened. True when there is reason to try again: others of
 * ours are open and one of them will be given back, or the token has been taken down. */
static bool open_failed(struct ks_token *token, const struct ks_session *session, CK_RV rv,
                        unsigned tries)
{
    enum ks_recovery class;
    enum ks_code code;
    bool again = false;

    ks_classify(KS_C_OpenSession, rv, &code, &class);
    pthread_mutex_lock(&token->pool.lock);
    if (token->pool.age == session->age) {
        token->pool.open_count--;
        if (token->pool.open_count == 0)
            ks_pool_none_left(token);
        /* The token has less room than it said. */
        if (class == KS_SESSIONS_FULL && token->pool.open_count > 0) {
            token->pool.limit = token->pool.open_count;
            again = true;
        } else if (class != KS_PERMANENT) {
            again = tries == 0;
        }
    } else {
        again = tries == 0;
    }
    ks_session_call_next(token);
    pthread_mutex_unlock(&token->pool.lock);
    if (class == KS_DEVICE_LOST || class == KS_SESSION_LOST || class == KS_LOGIN_LOST) {
        ks_token_mark_lost(token, session->epoch);
        ks_token_note_down(token, session->epoch, KS_C_OpenSession, rv);
        again = tries == 0;
    }
    return again;
}

static CK_RV open_session(struct ks_token *token, CK_FLAGS flags, struct ks_session *out,
                          ks_status *st, struct ks_error *err)
{
    struct ks_gate gate;
    CK_RV rv;

    out->handle = CK_INVALID_HANDLE;
    *st = ks_gate_enter_since(&gate, token, out->init_count, KS_C_OpenSession, err);
    if (!ks_ok(*st)) /* to try again, unless the gate is closed for good */
        return st->code == KS_SHUTDOWN ? CKR_GENERAL_ERROR : CKR_SESSION_HANDLE_INVALID;
    rv = token->module->fn->C_OpenSession(token->conn.slot, CKF_SERIAL_SESSION | flags, NULL, NULL,
                                          &out->handle);
    ks_gate_leave(&gate);
    if (rv != CKR_OK) {
        *st = ks_fail_rv(err, token, KS_C_OpenSession, rv, NULL);
        return rv;
    }
    *st = ks_answer_handle(token, KS_C_OpenSession, out->handle, err);
    return ks_ok(*st) ? CKR_OK : CKR_ARGUMENTS_BAD; /* of no use to try again */
}

static ks_status take(struct ks_token *token, const struct ks_call_options *opts,
                      const struct ks_key *key, CK_FLAGS flags, struct ks_session *out,
                      CK_OBJECT_HANDLE *handle, struct ks_error *err)
{
    ks_status st;
    bool last, did;
    CK_RV rv;

    for (unsigned tries = 0;;) {
        switch (ks_pool_reserve(token, opts, key, flags != 0, out, handle)) {
        case KS_POOL_DOWN:
            st = ks_token_reconnect(token, opts, err);
            if (!ks_ok(st))
                return st;
            continue;
        case KS_POOL_LATE:
            return ks_fail_token(err, token, KS_TIMEOUT,
                                 "all %u sessions stayed busy until the deadline",
                                 token->pool.limit);
        case KS_POOL_IDLE:
            if (flags == 0)
                return KS_SUCCESS;
            /* Another kind of session in this one's place. */
            pthread_mutex_lock(&token->pool.lock);
            last = ks_pool_closes_last(token);
            pthread_mutex_unlock(&token->pool.lock);
            if (last && handle != NULL)
                *handle = CK_INVALID_HANDLE; /* the login ends, and the epoch with it */
            ks_session_close(token, out->handle, out->init_count);
            pthread_mutex_lock(&token->pool.lock);
            if (out->age == token->pool.age) /* else it was counted in another pool */
                ks_pool_closed(token);
            pthread_mutex_unlock(&token->pool.lock);
            break;
        case KS_POOL_NEW:
        default:
            last = false;
            break;
        }
        rv = open_session(token, flags, out, &st, err);
        if (rv == CKR_OK && last) {
            st = ks_token_relogin(token, opts, out, &did, err);
            if (!ks_ok(st))
                ks_session_give(token, out, KS_SESSION_CLOSE);
        }
        if (rv == CKR_OK)
            return st;
        if (!open_failed(token, out, rv, tries++))
            return st;
    }
}

ks_status ks_session_take(struct ks_token *token, const struct ks_call_options *opts,
                          const struct ks_key *key, struct ks_session *out,
                          CK_OBJECT_HANDLE *handle, struct ks_error *err)
{
    return take(token, opts, key, 0, out, handle, err);
}

ks_status ks_session_take_rw(struct ks_token *token, const struct ks_call_options *opts,
                             const struct ks_key *key, struct ks_session *out,
                             CK_OBJECT_HANDLE *handle, struct ks_error *err)
{
    return take(token, opts, key, CKF_RW_SESSION, out, handle, err);
}
