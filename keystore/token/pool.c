/* SPDX-License-Identifier: Apache-2.0
 *
 * pool.c - the sessions that a token has open: which are idle, who waits for one, in turn, and
 * how they are closed.
 */
#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "../base/clock.h"
#include "connect.h"
#include "key.h"
#include "session.h"

void ks_session_close(struct ks_token *token, CK_SESSION_HANDLE handle, unsigned init_count)
{
    enum ks_recovery class;
    struct ks_gate gate;
    enum ks_code code;
    bool open = true;
    CK_RV rv;

    if (!ks_ok(ks_gate_enter_since(&gate, token, init_count, KS_C_CloseSession, NULL)))
        return;
    /* One that stays open takes the place of another: tokens have few. */
    for (int tries = 0; open && tries < 2; tries++) {
        rv = token->module->fn->C_CloseSession(handle);
        ks_classify(KS_C_CloseSession, rv, &code, &class);
        open = rv != CKR_OK && class != KS_SESSION_LOST;
    }
    ks_gate_leave(&gate);
}

void ks_session_close_idle(struct ks_token *token)
{
    CK_SESSION_HANDLE handle;
    unsigned init_count;
    bool more;

    for (;;) {
        pthread_mutex_lock(&token->pool.lock);
        /* In a forked child the sessions are the parent's; before an initialisation they are
         * gone, and their numbers given to others. */
        if (token->pool.fork_count != ks_fork_count() ||
            token->pool.init_count != atomic_load(&token->module->init_count)) {
            token->pool.open_count -= token->pool.idle_count;
            token->pool.idle_count = 0;
        }
        init_count = token->pool.init_count;
        more = token->pool.idle_count > 0;
        if (more) {
            handle = token->pool.idle[--token->pool.idle_count];
            if (token->pool.open_count > 0)
                token->pool.open_count--;
        }
        pthread_mutex_unlock(&token->pool.lock);
        if (!more)
            return;
        ks_session_close(token, handle, init_count);
    }
}

/* --- waiting in turn ------------------------------------------------------------------------- */

/* A thread that waits for a session; lives on its stack. Only the first in the queue may take one,
 * and a thread that comes while there is a queue joins it. */
struct ks_waiter {
    struct ks_waiter *next;
    pthread_cond_t called;
};

/* Holds the pool's lock. */
static bool room(const struct ks_token *token)
{
    return token->pool.idle_count > 0 || token->pool.open_count < token->pool.limit;
}

void ks_session_call_next(struct ks_token *token)
{
    if (token->pool.waiters != NULL && (room(token) || !ks_token_is_up_unlocked(token)))
        pthread_cond_signal(&token->pool.waiters->called);
}

void ks_session_call_all(struct ks_token *token)
{
    for (struct ks_waiter *w = token->pool.waiters; w != NULL; w = w->next)
        pthread_cond_signal(&w->called);
}

unsigned ks_session_waiting(const struct ks_token *token)
{
    unsigned n = 0;

    for (const struct ks_waiter *w = token->pool.waiters; w != NULL; w = w->next)
        n++;
    return n;
}

/* Wait in the queue until there may be a session for us, or the token is down; false when the
 * deadline has passed. Holds the pool's lock. */
static bool wait_in_turn(struct ks_token *token, const struct ks_call_options *opts)
{
    struct ks_waiter self = {.next = NULL}, **at = &token->pool.waiters;
    bool in_time = true;
    struct timespec ts = {.tv_sec = 0};

    ks_cond_init(&self.called);
    while (*at != NULL)
        at = &(*at)->next;
    *at = &self;
    if (ks_deadline(opts) != 0)
        ts = ks_timespec(opts->deadline_ns);
    while (in_time && ks_token_is_up_unlocked(token) &&
           !(token->pool.waiters == &self && room(token))) {
        if (ks_deadline(opts) == 0)
            pthread_cond_wait(&self.called, &token->pool.lock);
        else
            in_time = pthread_cond_timedwait(&self.called, &token->pool.lock, &ts) != ETIMEDOUT;
    }
    in_time = in_time || (token->pool.waiters == &self && room(token)); /* at the last moment */
    for (at = &token->pool.waiters; *at != &self; at = &(*at)->next)
        ;
    *at = self.next;
    pthread_cond_destroy(&self.called);
    return in_time;
}

/* --- counting -------------------------------------------------------------------------------- */

bool ks_pool_closes_last(struct ks_token *token)
{
    if (token->pool.closing_age != token->pool.age) {
        token->pool.closing_age = token->pool.age;
        token->pool.closing = 0;
    }
    return ++token->pool.closing >= token->pool.open_count;
}

void ks_pool_none_left(struct ks_token *token)
{
    token->pool.epoch = 0;
    token->pool.age = 0;
    token->pool.open_count = 0;
}

void ks_pool_closed(struct ks_token *token)
{
    if (token->pool.closing_age == token->pool.age && token->pool.closing > 0)
        token->pool.closing--;
}

enum ks_pool_place ks_pool_reserve(struct ks_token *token, const struct ks_call_options *opts,
                                   const struct ks_key *key, bool other_kind,
                                   struct ks_session *out, CK_OBJECT_HANDLE *handle)
{
    bool up, in_time = true;
    enum ks_pool_place place;
    bool known;

    pthread_mutex_lock(&token->pool.lock);
    up = ks_token_is_up_unlocked(token);
    if (up && (token->pool.waiters != NULL || !room(token))) {
        in_time = wait_in_turn(token, opts);
        up = ks_token_is_up_unlocked(token);
    }
    if (!up) {
        place = KS_POOL_DOWN;
    } else if (!in_time) {
        place = KS_POOL_LATE;
    } else if (token->pool.idle_count > 0 &&
               !(other_kind && token->pool.open_count < token->pool.limit)) {
        out->handle = token->pool.idle[--token->pool.idle_count];
        place = KS_POOL_IDLE;
    } else {
        token->pool.open_count++;
        place = KS_POOL_NEW;
    }
    ks_session_call_next(token); /* there may be more than one */
    out->age = token->pool.age;
    out->epoch = token->pool.epoch;
    out->init_count = token->pool.init_count;
    known = key != NULL && key->epoch == token->pool.epoch;
    out->finding = known ? key->finding : 0;
    if (handle != NULL)
        *handle = known ? key->handle : CK_INVALID_HANDLE;
    pthread_mutex_unlock(&token->pool.lock);
    return place;
}

void ks_session_give(struct ks_token *token, struct ks_session *session, enum ks_session_fate fate)
{
    bool old;

    pthread_mutex_lock(&token->pool.lock);
    old = session->age != token->pool.age;
    if (!old && fate == KS_SESSION_KEEP) {
        token->pool.idle[token->pool.idle_count++] = session->handle;
        ks_session_call_next(token);
        pthread_mutex_unlock(&token->pool.lock);
        return;
    }
    if (!old && ks_pool_closes_last(token))
        ks_pool_none_left(token);
    pthread_mutex_unlock(&token->pool.lock);
    /* Close it even if the pool has started over since, as it may still be open at the token; but
     * not if the module said that it is gone, or was initialised again: its number may be that of a
     * new session by now. */
    if (fate != KS_SESSION_GONE && session->init_count == atomic_load(&token->module->init_count))
        ks_session_close(token, session->handle, session->init_count);
    pthread_mutex_lock(&token->pool.lock);
    if (!old && session->age == token->pool.age && token->pool.open_count > 0) {
        token->pool.open_count--;
        ks_pool_closed(token);
    }
    ks_session_call_next(token);
    pthread_mutex_unlock(&token->pool.lock);
}
