/* SPDX-License-Identifier: Apache-2.0
 *
 * connect.c - a token goes up and down: the first session, a login, an epoch; and back.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

#include "answer.h"

/* How long an operation without a time limit waits before a module is initialised anew. */
#define WAIT_MAX_NS 1000000000U
/* How often a module that has only just started looks again, and the first pause before that. */
#define LOOKS_FRESH   4
#define LOOK_AGAIN_NS 20000000U
/* What has to be left for the look itself when its time has come. */
#define LOOK_TAKES_NS 50000000U
/* How often the pause between two recoveries that are in vain grows, where others are disturbed. */
#define VAIN_MAX 6U

static unsigned session_limit(const struct ks_token *token)
{
    unsigned limit = token->sessions != 0 ? token->sessions : KS_SESSIONS_DEFAULT;

    if (token->facts.sessions_max != 0 && token->facts.sessions_max < limit)
        limit = (unsigned)token->facts.sessions_max;
    return limit;
}

/* The first session, login, and everything that a new epoch needs. Holds up_lock. */
static ks_status bring_up(struct ks_token *token, const struct ks_call_options *opts,
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
    init_count = atomic_load(&token->slot_init);
    limit = session_limit(token);
    idle = calloc(limit, sizeof(*idle));
    if (idle == NULL)
        return ks_no_memory(err);
    st = ks_gate_enter_since(&gate, token, init_count, KS_C_OpenSession, err);
    if (!ks_ok(st))
        goto fail;
    rv = token->module->fn->C_OpenSession(token->slot, CKF_SERIAL_SESSION, NULL, NULL, &session);
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
    /* Now, so that no operation has to ask; whoever needs it asks again if this fails. */
    (void)ks_token_read_mechanisms(token, NULL);
    pthread_mutex_lock(&token->lock);
    old_idle = token->idle; /* freed later: a fork may come in between */
    token->idle = idle;
    token->idle[0] = session;
    token->idle_count = 1;
    token->open_count = 1;
    token->limit = limit;
    token->generation = ks_fork_count();
    token->init_count = init_count;
    token->age = ks_epoch_new();
    token->epoch = token->age;
    ks_session_call_next(token);
    pthread_mutex_unlock(&token->lock);
    free(old_idle);
    ks_stats_token_up(token);
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

typedef ks_status step_fn(struct ks_token *token, const struct ks_call_options *opts,
                          struct ks_error *err);

/* Again where a new session was lost as quickly as the old ones, and after a pause for what
 * passes. Holds up_lock. */
static ks_status patiently(step_fn *step, struct ks_token *token,
                           const struct ks_call_options *opts, struct ks_error *err)
{
    struct timespec pause = {.tv_nsec = 5000000};
    enum ks_recovery class;
    ks_status st;

    for (int tries = 0;; tries++) {
        st = step(token, opts, err);
        if (ks_ok(st) || tries == 2)
            return st;
        class = ks_class_of_error(err);
        if (class == KS_RETRY) {
            if (opts != NULL && opts->deadline_ns != 0 &&
                ks_now_ns() + (uint64_t)pause.tv_nsec >= opts->deadline_ns)
                return st;
            nanosleep(&pause, NULL);
            pause.tv_nsec *= 2;
        } else if (class != KS_SESSION_LOST) {
            return st;
        }
    }
}

ks_status ks_token_find(struct ks_token *token, const struct ks_call_options *opts,
                        struct ks_error *err)
{
    return patiently(find_slot, token, opts, err);
}

/* What bring_back() knows after a try that failed. */
struct look {
    bool fresh;  /* the module has only just started */
    bool second; /* a doubtful login was looked at twice */
    bool served; /* the token was up since the module was initialised last */
    bool tried;  /* the module was initialised anew */
};

/* Others were there, and not this one; a slot that could not be read may have been it, or not. */
static bool not_seen(const struct ks_token *token, ks_status st)
{
    return st.code == KS_TOKEN_NOT_FOUND || token->half_seen;
}

/* SoftHSM, for one, rewrites a token's file at every login, and a process that starts in between
 * sees no token, for ever, or one without a PIN. */
static bool half_written(const struct ks_token *token, ks_status st, const struct ks_error *err)
{
    bool login = err->rv == CKR_USER_PIN_NOT_INITIALIZED && err->fn == KS_C_Login;

    return not_seen(token, st) || (st.code == KS_DEVICE && err->rv == CKR_OK) ||
           (st.code == KS_LOGIN && (err->rv == CKR_OK || login));
}

/* May the module be initialised once more? One that has only just started a few times, in quick
 * succession; another one after the interval, and then once more if it seems to have looked at the
 * wrong moment. `looks` is how often it was. */
static bool may_look_again(const struct ks_token *token, const struct look *look, unsigned looks,
                           ks_status st, const struct ks_error *err)
{
    if (look->fresh)
        return looks < LOOKS_FRESH;
    return looks == 0 || (looks == 1 && half_written(token, st, err));
}

/* Something other than the PIN may be what is wrong with the login. */
static bool doubtful(const struct ks_error *err)
{
    return err->fn == KS_C_Login && ks_class_of_error(err) == KS_AMBIGUOUS;
}

/* May it be different if the module looks again? A device that is gone; a token that was there
 * before; or what a module that has only just started did not see. */
static bool may_come_back(const struct ks_token *token, ks_status st, const struct ks_error *err,
                          const struct look *look)
{
    if (doubtful(err))
        return !look->second;
    return st.code == KS_DEVICE || (not_seen(token, st) && ks_token_label(token)[0] != '\0') ||
           (look->fresh && half_written(token, st, err));
}

/* To initialise a module anew disturbs its other tokens. While they serve, it is this token that is
 * lost and not the module: each time that it was in vain makes the pause twice as long. */
static uint64_t interval(const struct ks_token *token)
{
    return ks_token_others_up(token) ? token->recover_ns << token->vain : token->recover_ns;
}

/* A module is initialised anew once in an interval: wait for the rest of it, if there is time. An
 * operation without a time waits only for a token that has served since the last time; another one
 * is down, and it may be so for long. */
static void wait_for_interval(struct ks_token *token, const struct ks_call_options *opts,
                              uint64_t pause_ns, bool served)
{
    uint64_t now = ks_now_ns(), at = ks_module_reinit_at(token->module, pause_ns);
    uint64_t until = opts != NULL ? opts->deadline_ns : 0;
    struct timespec pause = ks_timespec(at - now);

    if (until == 0 && served)
        until = now + WAIT_MAX_NS + LOOK_TAKES_NS;
    if (at <= now || at + LOOK_TAKES_NS >= until)
        return;
    if (atomic_load(&token->module->initialized) == 0) /* after a C_Initialize that failed */
        return;
    nanosleep(&pause, NULL);
}

/* Twice as long each time, and not as long as others: processes that got in each other's way should
 * not do so again. False when there is no time. */
static bool short_pause(const struct ks_call_options *opts, unsigned round)
{
    uint64_t now = ks_now_ns(), ns = (uint64_t)LOOK_AGAIN_NS << round;
    struct timespec pause;

    ns += ns * (now / 1000U % 16U) / 16U;
    pause = ks_timespec(ns);
    if (opts != NULL && opts->deadline_ns != 0 && now + ns >= opts->deadline_ns)
        return false;
    nanosleep(&pause, NULL);
    return true;
}

/* Holds up_lock. First without disturbing the module's other tokens; a module that has lost its
 * device (p11-kit's remote client has, when its server was away) says so again, and has to be
 * initialised anew. */
static ks_status bring_back(struct ks_token *token, const struct ks_call_options *opts,
                            struct ks_error *err)
{
    unsigned seen = atomic_load(&token->module->init_count);
    struct look look = {.second = token->doubtful,
                        .served =
                            token->generation == ks_fork_count() && token->init_count == seen};
    struct ks_error why;
    uint64_t pause = interval(token);
    ks_status st, reinit;
    bool doubt, hurry;

    ks_session_close_idle(token);
    for (unsigned round = 0, looks = 0;; round++) {
        st = patiently(bring_up, token, opts, err);
        if (round == 0)
            look.fresh = seen != atomic_load(&token->module->init_count);
        if (ks_ok(st) || !may_come_back(token, st, err, &look))
            break;
        doubt = doubtful(err);
        if (!doubt && !may_look_again(token, &look, looks, st, err))
            break;
        hurry = look.fresh || (looks > 0 && !doubt);
        if (!hurry && !doubt)
            wait_for_interval(token, opts, pause, look.served);
        else if (!short_pause(opts, round))
            break;
        look.second = look.second || doubt;
        looks += !doubt;
        seen = atomic_load(&token->module->init_count);
        reinit = ks_module_reinit(token->module, seen, hurry ? 0 : pause,
                                  opts != NULL ? opts->deadline_ns : 0, &why);
        if (!ks_ok(reinit) && !doubt) { /* a new session may do for a login */
            ks_error_add(err, "%s", why.text);
            break;
        }
        look.tried = look.tried || ks_ok(reinit);
    }
    token->doubtful = false; /* the next operation looks twice again */
    if (ks_ok(st))
        token->vain = 0;
    else if (look.tried && token->vain < VAIN_MAX)
        token->vain++;
    return st;
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

/* Another thread may be inside the module with the lock, for as long as that takes. */
bool ks_token_lock_up(struct ks_token *token, const struct ks_call_options *opts)
{
    struct timespec until;

    if (opts == NULL || opts->deadline_ns == 0)
        return pthread_mutex_lock(&token->up_lock) == 0;
    until = ks_timespec(opts->deadline_ns);
    if (pthread_mutex_clocklock(&token->up_lock, CLOCK_MONOTONIC, &until) != 0)
        return false;
    tell_tsan_of_lock(&token->up_lock);
    return true;
}

ks_status ks_token_up(struct ks_token *token, const struct ks_call_options *opts,
                      struct ks_error *err)
{
    uint64_t came = ks_now_ns(), began;
    ks_status st = KS_SUCCESS;
    struct ks_error why;
    unsigned seen;

    if (err == NULL)
        err = &why;
    if (!ks_token_lock_up(token, opts))
        return ks_fail_token(err, token, KS_TIMEOUT,
                             "another thread has not finished connecting to the token in time");
    if (token->failed_began_ns >= came && !ks_token_is_up(token) &&
        (opts == NULL || opts->prompt == NULL)) {
        /* All of it happened while we waited: it would be the same for us, a second later. */
        *err = token->failed_err;
        st.code = err->code;
    } else if (!ks_token_is_up(token)) {
        began = ks_now_ns();
        seen = atomic_load(&token->module->init_count);
        st = bring_back(token, opts, err);
        atomic_store(&token->lost, !ks_ok(st));
        /* what served here before did not lack anything */
        if (!ks_ok(st) && token->generation != ks_fork_count() && !token->module->not_after_fork)
            ks_error_note_fork(err);
        if (!ks_ok(st))
            ks_log_event(KS_LOG_ERROR, "connect-failed", token, "text", err->text, NULL);
        if (st.code == KS_DEVICE && seen != atomic_load(&token->module->init_count)) {
            token->failed_began_ns = began;
            token->failed_err = *err;
        }
    }
    pthread_mutex_unlock(&token->up_lock);
    return st;
}

void ks_token_down(struct ks_token *token, uint64_t epoch)
{
    pthread_mutex_lock(&token->lock);
    if (token->epoch == epoch) {
        token->epoch = 0;
        token->age = 0;
        token->open_count = token->idle_count;
        ks_session_call_all(token);
    }
    pthread_mutex_unlock(&token->lock);
}

ks_status ks_token_relogin(struct ks_token *token, const struct ks_call_options *opts,
                           struct ks_session *session, bool *did, struct ks_error *err)
{
    ks_status st = KS_SUCCESS;
    bool done, second;

    *did = false;
    if (!ks_token_lock_up(token, opts))
        return ks_fail_token(err, token, KS_TIMEOUT,
                             "another thread has not finished logging in to the token in time");
    pthread_mutex_lock(&token->lock);
    done = token->epoch != session->epoch || token->generation != ks_fork_count();
    pthread_mutex_unlock(&token->lock);
    *did = !done;
    if (!done) {
        second = token->doubtful;
        if (second)
            (void)short_pause(opts, 0);
        st = ks_slot_refresh(token, err); /* others may have used up the tries meanwhile */
        if (ks_ok(st))
            st = ks_login(token, opts, session->handle, session->init_count, err);
        if (second)
            token->doubtful = false;
        if (ks_ok(st)) {
            ks_session_close_idle(token);
            pthread_mutex_lock(&token->lock);
            token->epoch = token->age = session->age = session->epoch = ks_epoch_new();
            token->open_count = 1 + token->idle_count;
            ks_session_call_next(token);
            pthread_mutex_unlock(&token->lock);
        }
    }
    pthread_mutex_unlock(&token->up_lock);
    return st;
}
