/* SPDX-License-Identifier: Apache-2.0
 *
 * connect.c - connecting to a token and reconnecting it: open the first session, log in, begin a
 * new epoch; initialise the module again if its device was lost.
 */
#include <pthread.h>
#include <sanitizer/tsan_interface.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

#include "../base/clock.h"
#include "../observe/log.h"
#include "answer.h"
#include "connect.h"
#include "mech.h"
#include "reconnect.h"
#include "session.h"

/* How often something is tried that may pass. */
#define TRANSIENT_TRIES 3
/* The first pause before a module is initialised again at once, or a login is tried again. */
#define REINIT_PAUSE_NS 20000000U
/* How long an operation without a time limit waits for the recover interval to end. */
#define INTERVAL_WAIT_MAX_NS 1000000000U
/* What connecting takes: so much has to be left before the deadline when the interval ends. */
#define CONNECT_TAKES_NS 50000000U
/* How often the recover interval doubles while the module's other tokens serve. */
#define VAIN_MAX 6U

static unsigned session_limit(const struct ks_token *token)
{
    unsigned limit = token->sessions != 0 ? token->sessions : KS_SESSIONS_DEFAULT;

    if (token->conn.facts.sessions_max != 0 && token->conn.facts.sessions_max < limit)
        limit = (unsigned)token->conn.facts.sessions_max;
    return limit;
}

/* Open the first session, log in, and begin a new epoch. The caller holds the connection's lock. */
static ks_status connect_once(struct ks_token *token, const struct ks_call_options *opts,
                              struct ks_error *err)
{
    CK_SESSION_HANDLE session = CK_INVALID_HANDLE, *idle, *old_idle;
    unsigned limit, init_count;
    struct ks_gate gate;
    ks_status st;
    CK_RV rv;

    st = ks_slot_connect(token, err);
    if (!ks_ok(st))
        return st;
    init_count = atomic_load(&token->conn.slot_init);
    limit = session_limit(token);
    idle = calloc(limit, sizeof(*idle));
    if (idle == NULL)
        return ks_no_memory(err);
    st = ks_gate_enter_since(&gate, token, init_count, KS_C_OpenSession, err);
    if (!ks_ok(st))
        goto fail;
    rv = token->module->fn->C_OpenSession(token->conn.slot, CKF_SERIAL_SESSION, NULL, NULL,
                                          &session);
    ks_gate_leave(&gate);
    if (rv != CKR_OK) {
        st = ks_fail_rv(err, token, KS_C_OpenSession, rv, NULL);
        goto fail;
    }
    st = ks_answer_handle(token, KS_C_OpenSession, session, err);
    if (!ks_ok(st))
        goto fail;
    st = ks_login(token, opts, session, init_count, err);
    if (!ks_ok(st)) {
        ks_session_close(token, session, init_count);
        goto fail;
    }
    /* Read them now, so that no operation has to wait for it; if this fails, the first operation
     * that needs the list reads it. */
    (void)ks_token_read_mechanisms(token, NULL);
    pthread_mutex_lock(&token->pool.lock);
    old_idle = token->pool.idle; /* freed without the lock, for which a fork may be waiting */
    token->pool.idle = idle;
    token->pool.idle[0] = session;
    token->pool.idle_count = 1;
    token->pool.open_count = 1;
    token->pool.limit = limit;
    token->pool.fork_count = ks_fork_count();
    token->pool.init_count = init_count;
    token->pool.age = ks_epoch_new();
    token->pool.epoch = token->pool.age;
    ks_session_call_next(token);
    pthread_mutex_unlock(&token->pool.lock);
    free(old_idle);
    ks_token_note_up(token);
    return KS_SUCCESS;
fail:
    free(idle);
    return st;
}

static ks_status find_slot(struct ks_token *token, const struct ks_call_options *opts,
                           struct ks_error *err)
{
    (void)opts;
    return ks_slot_connect(token, err);
}

typedef ks_status connect_fn(struct ks_token *token, const struct ks_call_options *opts,
                             struct ks_error *err);

/* Run `connect` up to three times: at once if the new session was lost as well, after 5 and then
 * 10 ms if the error is a transient one. The caller holds the connection's lock. */
static ks_status retry_transient(connect_fn *connect, struct ks_token *token,
                                 const struct ks_call_options *opts, struct ks_error *err)
{
    struct ks_backoff backoff = {.pause_ns = KS_TRANSIENT_PAUSE_NS};
    enum ks_recovery recovery;
    ks_status st;

    for (int tries = 1;; tries++) {
        st = connect(token, opts, err);
        if (ks_ok(st) || tries == TRANSIENT_TRIES)
            return st;
        recovery = ks_recovery_of_error(err);
        if (recovery != KS_SESSION_LOST &&
            (recovery != KS_RETRY || !ks_backoff_wait(&backoff, ks_deadline(opts))))
            return st;
    }
}

ks_status ks_token_find_slot(struct ks_token *token, const struct ks_call_options *opts,
                             struct ks_error *err)
{
    return retry_transient(find_slot, token, opts, err);
}

/* The token is not among those that the module shows, or in a slot that could not be read. */
static bool not_seen(const struct ks_token *token, ks_status st)
{
    return st.code == KS_TOKEN_NOT_FOUND || token->conn.half_seen;
}

/* Another process may be writing the token's files: it is not seen, or without its PIN. */
static bool half_written(const struct ks_token *token, ks_status st, const struct ks_error *err)
{
    bool no_pin = err->rv == CKR_USER_PIN_NOT_INITIALIZED && err->fn == KS_C_Login;

    return not_seen(token, st) || (st.code == KS_DEVICE && err->rv == CKR_OK) ||
           (st.code == KS_LOGIN && (err->rv == CKR_OK || no_pin));
}

static enum ks_reconnect_outcome outcome_of(const struct ks_token *token, ks_status st,
                                            const struct ks_error *err)
{
    bool half, gone;

    if (ks_ok(st))
        return KS_OUTCOME_CONNECTED;
    if (err->fn == KS_C_Login && ks_recovery_of_error(err) == KS_AMBIGUOUS)
        return KS_OUTCOME_LOGIN_UNCLEAR;
    half = half_written(token, st, err);
    gone = st.code == KS_DEVICE || (not_seen(token, st) && ks_token_label(token)[0] != '\0');
    if (gone)
        return half ? KS_OUTCOME_TOKEN_MISSING : KS_OUTCOME_DEVICE_LOST;
    return half ? KS_OUTCOME_HALF_WRITTEN : KS_OUTCOME_FAILED;
}

/* Initialising a module again disturbs its other tokens. While these serve, it is this token that
 * is lost and not the module: each time that it was in vain makes the interval twice as long. */
static uint64_t recover_interval(const struct ks_token *token)
{
    return ks_token_others_up(token) ? token->recover_ns << token->conn.reinits_in_vain
                                     : token->recover_ns;
}

/* Sleep until the module may be initialised again, if there is time for that before the deadline.
 * An operation without a deadline waits a bounded time, and only for a token that has served since
 * the module was last initialised: another one has been down before, and may be so for long. */
static void wait_for_interval(struct ks_token *token, uint64_t interval_ns, uint64_t deadline_ns,
                              bool had_session)
{
    uint64_t now = ks_now_ns(), at = ks_module_reinit_at(token->module, interval_ns);

    if (deadline_ns == 0 && had_session)
        deadline_ns = now + INTERVAL_WAIT_MAX_NS + CONNECT_TAKES_NS;
    if (at <= now || at + CONNECT_TAKES_NS >= deadline_ns)
        return;
    if (atomic_load(&token->module->initialized) == 0) /* the last C_Initialize has failed */
        return;
    ks_sleep(at - now);
}

/* What a reconnect goes on to use from state to state. */
struct run {
    struct ks_token *token;
    const struct ks_call_options *opts;
    struct ks_error *err;
    struct ks_reconnect facts;
    struct ks_backoff backoff;
    uint64_t interval_ns;  /* at least so long between two initialisations of the module, */
    bool skip_interval;    /* except where one has only just seen the wrong moment */
    bool had_session;      /* the token has served since the module was last initialised */
    bool failure_is_fatal; /* of initialising it again: for an unclear login a session may do */
    bool reinit_done;
    unsigned connects;
    ks_status st;
};

static enum ks_reconnect_state connect_state(struct run *run)
{
    unsigned before = atomic_load(&run->token->module->init_count);
    enum ks_reconnect_outcome outcome;
    enum ks_reconnect_state next;

    run->st = retry_transient(connect_once, run->token, run->opts, run->err);
    if (run->connects++ == 0)
        run->facts.just_loaded = before != atomic_load(&run->token->module->init_count);
    outcome = outcome_of(run->token, run->st, run->err);
    next = ks_reconnect_next(&run->facts, outcome);
    run->failure_is_fatal = outcome != KS_OUTCOME_LOGIN_UNCLEAR;
    if (outcome == KS_OUTCOME_LOGIN_UNCLEAR)
        run->facts.login_retried = true;
    else
        run->facts.reinits++;
    return next;
}

static enum ks_reconnect_state reinit_state(struct run *run)
{
    struct ks_module *module = run->token->module;
    struct ks_error why;

    if (ks_ok(ks_module_reinit(module, atomic_load(&module->init_count),
                               run->skip_interval ? 0 : run->interval_ns, ks_deadline(run->opts),
                               &why))) {
        run->reinit_done = true;
    } else if (run->failure_is_fatal) {
        ks_error_add(run->err, "%s", why.text);
        return KS_RECONNECT_GIVE_UP;
    }
    return KS_RECONNECT_CONNECT;
}

static enum ks_reconnect_state step(struct run *run, enum ks_reconnect_state state)
{
    uint64_t deadline_ns = ks_deadline(run->opts);

    switch (state) {
    case KS_RECONNECT_CONNECT:
        return connect_state(run);
    case KS_RECONNECT_WAIT_INTERVAL:
        wait_for_interval(run->token, run->interval_ns, deadline_ns, run->had_session);
        run->backoff.pause_ns *= 2;
        run->skip_interval = false;
        return KS_RECONNECT_REINIT;
    case KS_RECONNECT_PAUSE:
    case KS_RECONNECT_PAUSE_IF_DUE:
        run->skip_interval = state == KS_RECONNECT_PAUSE;
        return ks_backoff_wait(&run->backoff, deadline_ns) ? KS_RECONNECT_REINIT
                                                           : KS_RECONNECT_GIVE_UP;
    case KS_RECONNECT_REINIT:
        return reinit_state(run);
    case KS_RECONNECT_DONE:
    case KS_RECONNECT_GIVE_UP:
    case KS_RECONNECT_STATES:
    default:
        return KS_RECONNECT_GIVE_UP;
    }
}

/* Connect the token again; docs/recovery.md has the table. A new session and login come first, as
 * they disturb none of the module's other tokens; a module that has lost its device, as p11-kit's
 * remote client has when its server was away, fails again then, and has to be initialised again.
 * The caller holds the connection's lock. */
static ks_status reconnect(struct ks_token *token, const struct ks_call_options *opts,
                           struct ks_error *err)
{
    enum ks_reconnect_state state = KS_RECONNECT_CONNECT;
    struct run run = {.token = token,
                      .opts = opts,
                      .err = err,
                      .facts = {.login_retried = token->conn.login_unclear},
                      .backoff = {.pause_ns = REINIT_PAUSE_NS, .jitter = true},
                      .interval_ns = recover_interval(token)};

    run.had_session = token->pool.fork_count == ks_fork_count() &&
                      token->pool.init_count == atomic_load(&token->module->init_count);
    ks_session_close_idle(token);
    while (state != KS_RECONNECT_DONE && state != KS_RECONNECT_GIVE_UP)
        state = step(&run, state);
    token->conn.login_unclear = false; /* the next reconnect may try a login twice again */
    if (ks_ok(run.st))
        token->conn.reinits_in_vain = 0;
    else if (run.reinit_done && token->conn.reinits_in_vain < VAIN_MAX)
        token->conn.reinits_in_vain++;
    return run.st;
}

/* ThreadSanitizer of gcc 12 and clang 14 does not see pthread_mutex_clocklock(). */
static void tell_tsan_of_lock(pthread_mutex_t *lock)
{
#ifdef __SANITIZE_THREAD__
    __tsan_mutex_pre_lock(lock, __tsan_mutex_try_lock);
    __tsan_mutex_post_lock(lock, __tsan_mutex_try_lock, 0);
#else
    (void)lock;
#endif
}

/* A thread that holds the lock may be inside the module for as long as a call takes. */
bool ks_token_connect_lock(struct ks_token *token, const struct ks_call_options *opts)
{
    struct timespec until;

    if (ks_deadline(opts) == 0)
        return pthread_mutex_lock(&token->conn.lock) == 0;
    until = ks_timespec(opts->deadline_ns);
    if (pthread_mutex_clocklock(&token->conn.lock, CLOCK_MONOTONIC, &until) != 0)
        return false;
    tell_tsan_of_lock(&token->conn.lock);
    return true;
}

ks_status ks_token_reconnect(struct ks_token *token, const struct ks_call_options *opts,
                             struct ks_error *err)
{
    uint64_t came = ks_now_ns(), began;
    ks_status st = KS_SUCCESS;
    struct ks_error why;
    unsigned seen;

    if (err == NULL)
        err = &why;
    if (!ks_token_connect_lock(token, opts))
        return ks_fail_token(err, token, KS_TIMEOUT,
                             "another thread has not finished connecting to the token in time");
    if (token->conn.failed_began_ns >= came && !ks_token_is_up(token) &&
        (opts == NULL || opts->prompt == NULL)) {
        /* That thread has failed while this one waited for it: trying again, a moment later, would
         * initialise the module once more to meet the same. */
        *err = token->conn.failed_err;
        st.code = err->code;
    } else if (!ks_token_is_up(token)) {
        began = ks_now_ns();
        seen = atomic_load(&token->module->init_count);
        st = reconnect(token, opts, err);
        atomic_store(&token->health.lost, !ks_ok(st));
        /* Only for a token that this process has not used: one that it has used lacks nothing. */
        if (!ks_ok(st) && token->pool.fork_count != ks_fork_count() &&
            !token->module->not_after_fork)
            ks_error_note_fork(err);
        if (!ks_ok(st))
            ks_log_event(KS_LOG_ERROR, "connect-failed", token->name, "text", err->text, NULL);
        if (st.code == KS_DEVICE && seen != atomic_load(&token->module->init_count)) {
            token->conn.failed_began_ns = began;
            token->conn.failed_err = *err;
        }
    }
    pthread_mutex_unlock(&token->conn.lock);
    return st;
}

void ks_token_mark_lost(struct ks_token *token, uint64_t epoch)
{
    pthread_mutex_lock(&token->pool.lock);
    if (token->pool.epoch == epoch) {
        token->pool.epoch = 0;
        token->pool.age = 0;
        token->pool.open_count = token->pool.idle_count;
        ks_session_call_all(token);
    }
    pthread_mutex_unlock(&token->pool.lock);
}

ks_status ks_token_relogin(struct ks_token *token, const struct ks_call_options *opts,
                           struct ks_session *session, bool *did, struct ks_error *err)
{
    struct ks_backoff backoff = {.pause_ns = REINIT_PAUSE_NS, .jitter = true};
    ks_status st = KS_SUCCESS;
    bool done, second;

    *did = false;
    if (!ks_token_connect_lock(token, opts))
        return ks_fail_token(err, token, KS_TIMEOUT,
                             "another thread has not finished logging in to the token in time");
    pthread_mutex_lock(&token->pool.lock);
    done = token->pool.epoch != session->epoch || token->pool.fork_count != ks_fork_count();
    pthread_mutex_unlock(&token->pool.lock);
    *did = !done;
    if (!done) {
        second = token->conn.login_unclear;
        if (second)
            (void)ks_backoff_wait(&backoff, ks_deadline(opts));
        st = ks_slot_refresh(token, err); /* others may have used up the tries meanwhile */
        if (ks_ok(st))
            st = ks_login(token, opts, session->handle, session->init_count, err);
        if (second)
            token->conn.login_unclear = false;
        if (ks_ok(st)) {
            ks_session_close_idle(token);
            pthread_mutex_lock(&token->pool.lock);
            token->pool.epoch = token->pool.age = session->age = session->epoch = ks_epoch_new();
            token->pool.open_count = 1 + token->pool.idle_count;
            ks_session_call_next(token);
            pthread_mutex_unlock(&token->pool.lock);
        }
    }
    pthread_mutex_unlock(&token->conn.lock);
    return st;
}
