/* SPDX-License-Identifier: Apache-2.0
 *
 * ks_session.c - the session pool of a token. Sessions are opened as they are needed, up to the
 * limit, and kept; whoever finds none free waits. A session is proved by using it, never by
 * asking.
 */
#include <errno.h>
#include <time.h>

#include "ks_answer.h"

void ks_session_close(struct ks_token *token, CK_SESSION_HANDLE handle)
{
    enum ks_rv_class class;
    struct ks_gate gate;
    enum ks_code code;
    bool open = true;
    CK_RV rv;

    if (!ks_ok(ks_gate_enter(&gate, token->module, NULL)))
        return;
    /* One that stays open takes the place of another: tokens have few. */
    for (int tries = 0; open && tries < 2; tries++) {
        rv = token->module->fn->C_CloseSession(handle);
        ks_classify("C_CloseSession", rv, &code, &class);
        open = rv != CKR_OK && class != KS_SESSION_LOST;
    }
    ks_gate_leave(&gate);
}

void ks_session_close_idle(struct ks_token *token)
{
    CK_SESSION_HANDLE handle;
    bool more;

    for (;;) {
        pthread_mutex_lock(&token->lock);
        /* In a forked child the sessions are the parent's; before an initialisation they are
         * gone, and their numbers given to others. */
        if (token->generation != ks_generation() ||
            token->init_count != atomic_load(&token->module->init_count)) {
            token->open_count -= token->idle_count;
            token->idle_count = 0;
        }
        more = token->idle_count > 0;
        if (more) {
            handle = token->idle[--token->idle_count];
            if (token->open_count > 0)
                token->open_count--;
        }
        pthread_mutex_unlock(&token->lock);
        if (!more)
            return;
        ks_session_close(token, handle);
    }
}

/* --- waiting in turn ------------------------------------------------------------------------- */

/* One who waits for a session, on its own stack. Only the first in the queue may take one, and
 * whoever comes while there is a queue joins it. */
struct ks_waiter {
    struct ks_waiter *next;
    pthread_cond_t called;
};

/* Holds token->lock. */
static bool room(const struct ks_token *token)
{
    return token->idle_count > 0 || token->open_count < token->limit;
}

void ks_session_call_next(struct ks_token *token)
{
    if (token->waiters != NULL && (room(token) || !ks_token_up_locked(token)))
        pthread_cond_signal(&token->waiters->called);
}

void ks_session_call_all(struct ks_token *token)
{
    for (struct ks_waiter *w = token->waiters; w != NULL; w = w->next)
        pthread_cond_signal(&w->called);
}

unsigned ks_session_waiting(const struct ks_token *token)
{
    unsigned n = 0;

    for (const struct ks_waiter *w = token->waiters; w != NULL; w = w->next)
        n++;
    return n;
}

/* Wait in the queue until there may be a session for us, or the token is down; false when the
 * deadline has passed. Holds token->lock. */
static bool wait_in_turn(struct ks_token *token, const struct ks_how *how)
{
    struct ks_waiter self = {.next = NULL}, **at = &token->waiters;
    bool in_time = true;
    struct timespec ts = {.tv_sec = 0};

    ks_cond_init(&self.called);
    while (*at != NULL)
        at = &(*at)->next;
    *at = &self;
    if (how != NULL && how->deadline_ns != 0)
        ts = ks_timespec(how->deadline_ns);
    while (in_time && ks_token_up_locked(token) && !(token->waiters == &self && room(token))) {
        if (how == NULL || how->deadline_ns == 0)
            pthread_cond_wait(&self.called, &token->lock);
        else
            in_time = pthread_cond_timedwait(&self.called, &token->lock, &ts) != ETIMEDOUT;
    }
    in_time = in_time || (token->waiters == &self && room(token)); /* at the last moment */
    for (at = &token->waiters; *at != &self; at = &(*at)->next)
        ;
    *at = self.next;
    pthread_cond_destroy(&self.called);
    return in_time;
}

/* --- sessions -------------------------------------------------------------------------------- */

/* A session is about to be closed: are all others that are open being closed as well? Closing the
 * last one logs out. Holds token->lock. */
static bool closes_last(struct ks_token *token)
{
    if (token->closing_age != token->age) {
        token->closing_age = token->age;
        token->closing = 0;
    }
    return ++token->closing >= token->open_count;
}

/* The login ended with the last session: the next use begins with one, and no handle from before
 * is used after it. Holds token->lock. */
static void none_left(struct ks_token *token)
{
    token->epoch = 0;
    token->age = 0;
    token->open_count = 0;
}

/* Holds token->lock. */
static void closed(struct ks_token *token)
{
    if (token->closing_age == token->age && token->closing > 0)
        token->closing--;
}

/* What reserve() found. */
enum place {
    PLACE_IDLE, /* `out` is an idle session */
    PLACE_NEW,  /* room for one more was reserved: open it */
    PLACE_DOWN, /* the token has to be brought up */
    PLACE_LATE, /* none within the deadline */
};

/* With `other_kind` an idle session would have to be closed for a new one: only if there is no
 * room for both. */
static enum place reserve(struct ks_token *token, const struct ks_how *how,
                          const struct ks_key *key, bool other_kind, struct ks_session *out,
                          CK_OBJECT_HANDLE *handle)
{
    bool up, in_time = true;
    enum place place;
    bool known;

    pthread_mutex_lock(&token->lock);
    up = ks_token_up_locked(token);
    if (up && (token->waiters != NULL || !room(token))) {
        in_time = wait_in_turn(token, how);
        up = ks_token_up_locked(token);
    }
    if (!up) {
        place = PLACE_DOWN;
    } else if (!in_time) {
        place = PLACE_LATE;
    } else if (token->idle_count > 0 && !(other_kind && token->open_count < token->limit)) {
        out->handle = token->idle[--token->idle_count];
        place = PLACE_IDLE;
    } else {
        token->open_count++;
        place = PLACE_NEW;
    }
    ks_session_call_next(token); /* there may be more than one */
    out->age = token->age;
    out->epoch = token->epoch;
    out->init_count = token->init_count;
    known = key != NULL && key->epoch == token->epoch;
    out->finding = known ? key->finding : 0;
    if (handle != NULL)
        *handle = known ? key->handle : CK_INVALID_HANDLE;
    pthread_mutex_unlock(&token->lock);
    return place;
}

/* The reserved session could not be opened. True when there is reason to try again: others of
 * ours are open and one of them will be given back, or the token has been taken down. */
static bool open_failed(struct ks_token *token, const struct ks_session *session, CK_RV rv,
                        unsigned tries)
{
    enum ks_rv_class class;
    enum ks_code code;
    bool again = false;

    ks_classify("C_OpenSession", rv, &code, &class);
    pthread_mutex_lock(&token->lock);
    if (token->age == session->age) {
        token->open_count--;
        if (token->open_count == 0)
            none_left(token);
        /* The token has less room than it said. */
        if (class == KS_SESSIONS_FULL && token->open_count > 0) {
            token->limit = token->open_count;
            again = true;
        } else if (class != KS_PERMANENT) {
            again = tries == 0;
        }
    } else {
        again = tries == 0;
    }
    ks_session_call_next(token);
    pthread_mutex_unlock(&token->lock);
    if (class == KS_DEVICE_LOST || class == KS_SESSION_LOST || class == KS_LOGIN_LOST) {
        ks_token_down(token, session->epoch);
        ks_stats_token_down(token, session->epoch, "C_OpenSession", rv);
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
    *st = ks_gate_enter(&gate, token->module, err);
    if (!ks_ok(*st))
        return CKR_GENERAL_ERROR;
    rv = token->module->fn->C_OpenSession(token->slot, CKF_SERIAL_SESSION | flags, NULL, NULL,
                                          &out->handle);
    ks_gate_leave(&gate);
    if (rv != CKR_OK) {
        *st = ks_fail_rv(err, token, "C_OpenSession", rv, NULL);
        return rv;
    }
    *st = ks_answer_handle(token, "C_OpenSession", out->handle, err);
    return ks_ok(*st) ? CKR_OK : CKR_ARGUMENTS_BAD; /* of no use to try again */
}

static ks_status take(struct ks_token *token, const struct ks_how *how, const struct ks_key *key,
                      CK_FLAGS flags, struct ks_session *out, CK_OBJECT_HANDLE *handle,
                      struct ks_error *err)
{
    ks_status st;
    bool last, did;
    CK_RV rv;

    for (unsigned tries = 0;;) {
        switch (reserve(token, how, key, flags != 0, out, handle)) {
        case PLACE_DOWN:
            st = ks_token_up(token, how, err);
            if (!ks_ok(st))
                return st;
            continue;
        case PLACE_LATE:
            return ks_fail_token(err, token, KS_TIMEOUT,
                                 "all %u sessions stayed busy until the deadline", token->limit);
        case PLACE_IDLE:
            if (flags == 0)
                return KS_SUCCESS;
            /* Another kind of session in this one's place. */
            pthread_mutex_lock(&token->lock);
            last = closes_last(token);
            pthread_mutex_unlock(&token->lock);
            if (last && handle != NULL)
                *handle = CK_INVALID_HANDLE; /* the login ends, and the epoch with it */
            ks_session_close(token, out->handle);
            pthread_mutex_lock(&token->lock);
            closed(token);
            pthread_mutex_unlock(&token->lock);
            break;
        case PLACE_NEW:
        default:
            last = false;
            break;
        }
        rv = open_session(token, flags, out, &st, err);
        if (rv == CKR_OK && last) {
            st = ks_token_relogin(token, how, out, &did, err);
            if (!ks_ok(st))
                ks_session_give(token, out, KS_SESSION_CLOSE);
        }
        if (rv == CKR_OK)
            return st;
        if (!open_failed(token, out, rv, tries++))
            return st;
    }
}

ks_status ks_session_take(struct ks_token *token, const struct ks_how *how,
                          const struct ks_key *key, struct ks_session *out,
                          CK_OBJECT_HANDLE *handle, struct ks_error *err)
{
    return take(token, how, key, 0, out, handle, err);
}

ks_status ks_session_take_rw(struct ks_token *token, const struct ks_how *how,
                             const struct ks_key *key, struct ks_session *out,
                             CK_OBJECT_HANDLE *handle, struct ks_error *err)
{
    return take(token, how, key, CKF_RW_SESSION, out, handle, err);
}

void ks_session_give(struct ks_token *token, struct ks_session *session, enum ks_session_fate fate)
{
    bool old;

    pthread_mutex_lock(&token->lock);
    old = session->age != token->age;
    if (!old && fate == KS_SESSION_KEEP) {
        token->idle[token->idle_count++] = session->handle;
        ks_session_call_next(token);
        pthread_mutex_unlock(&token->lock);
        return;
    }
    if (!old && closes_last(token))
        none_left(token);
    pthread_mutex_unlock(&token->lock);
    /* One of an older age may still be alive. One that is gone, or of a module that was
     * initialised since: its number may denote a new session by now. */
    if (fate != KS_SESSION_GONE && session->init_count == atomic_load(&token->module->init_count))
        ks_session_close(token, session->handle);
    pthread_mutex_lock(&token->lock);
    if (!old && session->age == token->age && token->open_count > 0) {
        token->open_count--;
        closed(token);
    }
    ks_session_call_next(token);
    pthread_mutex_unlock(&token->lock);
}
