/* SPDX-License-Identifier: Apache-2.0
 *
 * login.c - logging in. One thread at a time sends a PIN to a token, whichever handle it uses and
 * whichever kind of login it is: if the token's PIN has just been changed, logins that overlap
 * would be as many wrong tries, and the token may lock itself.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../base/clock.h"
#include "../observe/log.h"
#include "connect.h"

/* A token's flags are read again before a login of an operation if they are older: others may have
 * used up tries meanwhile. */
#define FLAGS_GOOD_NS 5000000000U
/* A login that has been out for so long does not keep others from it any more. */
uint64_t ks_login_lost_ns = 60000000000U;

/* One who waits for its turn, on its own stack. */
struct turn_waiter {
    struct turn_waiter *next;
    pthread_cond_t called;
};

/* Whose turn it is to send a PIN to a token. There is one for each token, shared by all handles for
 * it. They are never freed: tokens are few. */
struct ks_turn {
    struct ks_turn *next; /* registry lock */
    uint64_t token;       /* what it is: token_identity() */
    pthread_mutex_t lock; /* short */
    /* lock */
    struct turn_waiter *waiters; /* the first one is next */
    bool taken;
    uint64_t taken_ns;
    unsigned ticket; /* of the thread that has it */
    /* Written by the thread that has the turn: the epoch in which the token took a PIN for an
     * operation, and that PIN; 0: the token's flags have to be read again. */
    _Atomic uint64_t epoch;
    _Atomic(const struct ks_pin_value *) value;
    _Atomic uint64_t flags_ns; /* when the flags were read last */
    atomic_bool low;           /* it had counted a wrong PIN then */
};

static struct ks_turn *turns; /* registry lock */

/* --- what a token is ------------------------------------------------------------------------- */

static uint64_t hash_text(uint64_t hash, const char *text)
{
    for (const char *p = text; *p != '\0'; p++)
        hash = (hash ^ (unsigned char)*p) * 0x100000001b3U;
    return (hash ^ 0xffU) * 0x100000001b3U;
}

/* FNV-1a of what a token says of itself. With a serial number it is the same token in every module;
 * without one, its module is a part of its identity. */
static uint64_t token_identity(const struct ks_token *token, const struct ks_token_facts *f)
{
    const char *const parts[] = {f->manufacturer, f->model, f->serial, f->label};
    bool numbered = f->serial[strspn(f->serial, "0 ")] != '\0';
    uint64_t hash = 0xcbf29ce484222325U;

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        hash = hash_text(hash, parts[i]);
    return numbered ? hash : hash_text(hash, token->module->key);
}

static void turn_init(struct ks_turn *turn)
{
    pthread_mutex_init(&turn->lock, NULL);
    turn->waiters = NULL; /* in a forked child they are the parent's threads */
    turn->taken = false;
    turn->epoch = 0;
}

void ks_turns_forked(void)
{
    for (struct ks_turn *turn = turns; turn != NULL; turn = turn->next)
        turn_init(turn);
}

/* NULL without memory. */
static struct ks_turn *turn_of(uint64_t identity)
{
    struct ks_turn *turn;

    ks_registry_lock();
    for (turn = turns; turn != NULL && turn->token != identity; turn = turn->next)
        ;
    if (turn == NULL && (turn = calloc(1, sizeof(*turn))) != NULL) {
        turn_init(turn);
        turn->token = identity;
        turn->next = turns;
        turns = turn;
    }
    ks_registry_unlock();
    return turn;
}

/* --- turns ----------------------------------------------------------------------------------- */

/* All with turn->lock: */

static bool turn_free(const struct ks_turn *turn)
{
    return !turn->taken || ks_now_ns() >= turn->taken_ns + ks_login_lost_ns;
}

static unsigned turn_take(struct ks_turn *turn)
{
    turn->taken = true;
    turn->taken_ns = ks_now_ns();
    if (++turn->ticket == 0)
        turn->ticket = 1;
    return turn->ticket;
}

static void turn_call_next(struct ks_turn *turn)
{
    if (turn->waiters != NULL)
        pthread_cond_signal(&turn->waiters->called);
}

/* Returns a ticket, 0: somebody else has the turn, or waits for it. */
static unsigned turn_take_now(struct ks_turn *turn)
{
    unsigned ticket = 0;

    pthread_mutex_lock(&turn->lock);
    if (!turn->taken && turn->waiters == NULL)
        ticket = turn_take(turn);
    pthread_mutex_unlock(&turn->lock);
    return ticket;
}

/* Outside the gate: the others are inside a module, and a fork waits for those who are. Returns a
 * ticket, 0: too late. */
static unsigned turn_wait(struct ks_turn *turn, const struct ks_call_options *opts)
{
    struct turn_waiter self = {.next = NULL}, **at = &turn->waiters;
    uint64_t deadline = ks_deadline(opts), until;
    struct timespec ts;
    unsigned ticket = 0;

    ks_cond_init(&self.called);
    pthread_mutex_lock(&turn->lock);
    while (*at != NULL)
        at = &(*at)->next;
    *at = &self;
    while (!(turn->waiters == &self && turn_free(turn)) &&
           (deadline == 0 || ks_now_ns() < deadline)) {
        until = turn->taken_ns + ks_login_lost_ns;
        if (turn->waiters != &self) /* the first in the queue sees to that, and calls us */
            until = ks_now_ns() + ks_login_lost_ns;
        if (deadline != 0 && deadline < until)
            until = deadline;
        ts = ks_timespec(until);
        (void)pthread_cond_timedwait(&self.called, &turn->lock, &ts);
    }
    if (turn->waiters == &self && turn_free(turn))
        ticket = turn_take(turn);
    for (at = &turn->waiters; *at != &self; at = &(*at)->next)
        ;
    *at = self.next;
    turn_call_next(turn);
    pthread_mutex_unlock(&turn->lock);
    pthread_cond_destroy(&self.called);
    return ticket;
}

static void turn_give(struct ks_turn *turn, unsigned ticket)
{
    pthread_mutex_lock(&turn->lock);
    if (turn->ticket == ticket) { /* not after it was taken from us */
        turn->taken = false;
        turn_call_next(turn);
    }
    pthread_mutex_unlock(&turn->lock);
}

static ks_status turn_late(struct ks_error *err, const struct ks_token *token)
{
    return ks_fail_token(err, token, KS_TIMEOUT,
                         "another login has not come back from the token in time");
}

/* --- what may be sent ------------------------------------------------------------------------ */

static ks_status flags_allow(const struct ks_token *token, const struct ks_token_facts *f,
                             struct ks_error *err)
{
    if (f->user_pin_locked)
        return ks_fail_token(err, token, KS_PIN_REFUSED,
                             "the user PIN is locked; the security officer must reset it");
    if (!f->user_pin_set)
        return ks_fail_token(err, token, KS_LOGIN, "no user PIN has been set on this token");
    if (f->user_pin_final_try)
        return ks_fail_token(err, token, KS_PIN_REFUSED,
                             "the token says that the next wrong PIN locks it, so no login was "
                             "tried; log in once by hand with the right PIN");
    return KS_SUCCESS;
}

/* Has the token refused this PIN? `low`: it has counted a wrong one, by whomever. */
static ks_status pin_allows(struct ks_token *token, struct ks_pin_value *pin,
                            const struct ks_pin_mark *mark, bool low, struct ks_error *err)
{
    switch (ks_pin_judge(mark, low)) {
    case KS_PIN_REFUSED_BEFORE:
        ks_pin_drop(token->pin, pin);
        return ks_fail_token(err, token, KS_PIN_REFUSED,
                             "the token refused this PIN before, so it was not sent again "
                             "(tokens lock); correct what pin names");
    case KS_PIN_COUNTED:
        return ks_fail_token(err, token, KS_PIN_REFUSED,
                             "the last login failed without saying that the PIN was wrong, but the "
                             "token counts a wrong PIN since: it was not sent once more");
    case KS_PIN_SEND:
    default:
        return KS_SUCCESS;
    }
}

/* What the token said of a PIN. */
static void take_note(struct ks_token *token, struct ks_turn *turn, struct ks_pin_value *pin,
                      const struct ks_pin_mark *mark, CK_RV rv)
{
    enum ks_pin_answer answer = KS_PIN_RIGHT; /* or it did not look at it */
    enum ks_recovery class;
    enum ks_code code;

    if (rv != CKR_OK)
        atomic_store(&turn->epoch, 0);
    if (rv != CKR_OK && rv != CKR_USER_ALREADY_LOGGED_IN) {
        ks_classify(KS_C_Login, rv, &code, &class);
        answer = code == KS_PIN_REFUSED  ? KS_PIN_WRONG
                 : class == KS_AMBIGUOUS ? KS_PIN_PERHAPS_WRONG
                                         : KS_PIN_NO_ANSWER;
    }
    ks_pin_answered(mark, answer);
    if (answer == KS_PIN_WRONG)
        ks_pin_drop(token->pin, pin);
}

/* --- the login of a token -------------------------------------------------------------------- */

/* The turn, and flags that are no older than it. */
static ks_status take_turn(struct ks_token *token, const struct ks_call_options *opts, bool asked,
                           unsigned *ticket, struct ks_error *err)
{
    struct ks_turn *turn = turn_of(token_identity(token, &token->conn.facts));
    ks_status st = KS_SUCCESS;

    if (turn == NULL)
        return ks_no_memory(err);
    atomic_store(&token->turn, turn);
    *ticket = turn_take_now(turn);
    if (*ticket == 0) {
        *ticket = turn_wait(turn, opts);
        asked = true;
    }
    if (*ticket == 0)
        return turn_late(err, token);
    if (asked) /* it has taken a while */
        st = ks_slot_refresh(token, err);
    return ks_ok(st) ? flags_allow(token, &token->conn.facts, err) : st;
}

/* C_Login with a PIN, NULL where the token has a PIN pad of its own. */
static ks_status log_in(struct ks_token *token, struct ks_pin_value *value,
                        CK_SESSION_HANDLE session, unsigned init_count, CK_RV *rv,
                        struct ks_error *err)
{
    struct ks_turn *turn = atomic_load(&token->turn);
    struct ks_pin_mark mark;
    const char *pin = NULL;
    struct ks_gate gate;
    size_t len = 0;
    ks_status st = ks_gate_enter_since(&gate, token, init_count, KS_C_Login, err);

    if (!ks_ok(st))
        return st;
    if (value != NULL) {
        ks_pin_mark(value, turn->token, &mark);
        st = pin_allows(token, value, &mark, token->conn.facts.user_pin_count_low, err);
        pin = ks_pin_bytes(value, &len);
    }
    if (ks_ok(st)) {
        /* A NULL PIN crashes some modules: only for a protected authentication path. */
        *rv = token->module->fn->C_Login(session, CKU_USER, (CK_UTF8CHAR *)pin, len);
        if (value != NULL)
            take_note(token, turn, value, &mark, *rv);
    }
    ks_gate_leave(&gate);
    return st;
}

/* The PIN, from memory, its source or a person (`*asked`). */
static ks_status get_pin(struct ks_token *token, const struct ks_call_options *opts,
                         struct ks_pin_value **pin, bool *asked, struct ks_error *err)
{
    char label[136], what[200];
    struct ks_error why;
    ks_status st = flags_allow(token, &token->conn.facts, err);

    if (!ks_ok(st))
        return st;
    *asked = ks_pin_asks(token->pin);
    snprintf(what, sizeof(what), "PIN for token '%s'",
             ks_escape(label, sizeof(label), token->conn.facts.label, SIZE_MAX));
    st = ks_pin_get(token->pin, opts, what, pin, &why);
    if (!ks_ok(st))
        return ks_fail_token(err, token, st.code, "%s", why.text);
    return st;
}

static ks_status login_result(struct ks_token *token, CK_RV rv, bool with_pin, struct ks_error *err)
{
    const char *hint = NULL;
    enum ks_recovery class;
    enum ks_code code;

    if (rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN) {
        token->conn.login_unclear = false;
        ks_log_call(KS_LOG_INFO, "login", token->name, KS_NO_FUNCTION, rv);
        if (token->forget_pin && token->pin != NULL)
            ks_pin_forget(token->pin);
        return KS_SUCCESS;
    }
    ks_log_call(KS_LOG_ERROR, "login-failed", token->name, KS_C_Login, rv);
    ks_classify(KS_C_Login, rv, &code, &class);
    if (!with_pin)
        hint = "the token's own PIN pad or service refused";
    else if (code == KS_PIN_REFUSED)
        hint = "this PIN is not sent again by this process; check pin in the provider's section";
    token->conn.login_unclear = code != KS_PIN_REFUSED;
    return ks_fail_rv(err, token, KS_C_Login, rv, hint);
}

ks_status ks_login(struct ks_token *token, const struct ks_call_options *opts,
                   CK_SESSION_HANDLE session, unsigned init_count, struct ks_error *err)
{
    bool with_pin = !token->conn.facts.protected_path, asked = false;
    struct ks_pin_value *pin = NULL;
    ks_status st = KS_SUCCESS;
    unsigned ticket = 0;
    CK_RV rv = CKR_OK;

    if (!token->conn.facts.login_required)
        return KS_SUCCESS;
    if (with_pin && token->pin == NULL)
        return KS_SUCCESS; /* public objects only; finding no key says so */
    if (with_pin)
        st = get_pin(token, opts, &pin, &asked, err);
    if (ks_ok(st) && with_pin)
        st = take_turn(token, opts, asked, &ticket, err);
    if (ks_ok(st))
        st = log_in(token, pin, session, init_count, &rv, err);
    if (ticket != 0)
        turn_give(atomic_load(&token->turn), ticket);
    ks_pin_put(pin);
    return ks_ok(st) ? login_result(token, rv, with_pin, err) : st;
}

void ks_single_preload_pin(struct ks_token *token, const struct ks_call_options *opts)
{
    struct ks_pin_value *pin = NULL;
    char name[136], what[200];

    /* A thread that has the lock is about to log in, and reads the PIN itself. */
    if (token->pin == NULL || token->forget_pin || pthread_mutex_trylock(&token->conn.lock) != 0)
        return;
    if (ks_pin_gone(token->pin)) {
        ks_pin_renew(token->pin);
    } else {
        /* its label is not known yet */
        snprintf(what, sizeof(what), "PIN for token '%s'",
                 ks_escape(name, sizeof(name), token->uri != NULL ? token->uri->text : token->name,
                           SIZE_MAX));
        if (ks_ok(ks_pin_get(token->pin, opts, what, &pin, NULL)))
            ks_pin_put(pin);
    }
    pthread_mutex_unlock(&token->conn.lock);
}

/* --- the login of an operation --------------------------------------------------------------- */

/* Wait for the turn outside the gate, for the others' logins are inside, and come back. */
static ks_status wait_for_turn(struct ks_call *call, struct ks_turn *turn, unsigned *ticket)
{
    unsigned seen = atomic_load(&call->token->module->init_count);
    struct ks_gate *gate = call->gate;
    ks_status st;

    ks_gate_leave(gate);
    *ticket = turn_wait(turn, call->opts);
    st = ks_gate_enter(gate, call->token->module, call->err);
    if (!ks_ok(st)) {
        call->gate = NULL; /* we are outside, and stay there */
        return st;
    }
    if (*ticket == 0)
        return turn_late(call->err, call->token);
    if (atomic_load(&call->token->module->init_count) != seen)
        return ks_call_rv(call, KS_C_Login,
                          CKR_SESSION_HANDLE_INVALID); /* it is another's by now */
    return KS_SUCCESS;
}

/* Before the first login of an operation in an epoch, after one that failed, and now and then. */
static ks_status look(struct ks_call *call, CK_FUNCTION_LIST *fn, struct ks_turn *turn)
{
    struct ks_token_facts facts;
    ks_status st =
        ks_call_rv(call, KS_C_GetTokenInfo, ks_slot_flags(fn, call->token->conn.slot, &facts));

    if (!ks_ok(st))
        return st;
    atomic_store(&turn->low, facts.user_pin_count_low);
    atomic_store(&turn->flags_ns, ks_now_ns());
    return flags_allow(call->token, &facts, call->err);
}

/* Has the turn. */
static ks_status send_pin(struct ks_call *call, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                          struct ks_turn *turn, struct ks_pin_value *value)
{
    bool known = atomic_load(&turn->epoch) == call->epoch && atomic_load(&turn->value) == value &&
                 ks_now_ns() - atomic_load(&turn->flags_ns) < FLAGS_GOOD_NS;
    ks_status st = known ? KS_SUCCESS : look(call, fn, turn);
    struct ks_pin_mark mark;
    const char *pin;
    size_t len;
    CK_RV rv;

    if (!ks_ok(st))
        return st;
    ks_pin_mark(value, turn->token, &mark);
    st = pin_allows(call->token, value, &mark, !known && atomic_load(&turn->low), call->err);
    if (!ks_ok(st))
        return st;
    pin = ks_pin_bytes(value, &len);
    rv = fn->C_Login(session, CKU_CONTEXT_SPECIFIC, (CK_UTF8CHAR *)pin, len);
    if (rv == CKR_OK) {
        atomic_store(&turn->value, value);
        atomic_store(&turn->epoch, call->epoch);
    }
    take_note(call->token, turn, value, &mark, rv);
    return ks_call_rv(call, KS_C_Login, rv);
}

static ks_status log_in_with_pin(struct ks_call *call, CK_FUNCTION_LIST *fn,
                                 CK_SESSION_HANDLE session)
{
    struct ks_turn *turn = atomic_load(&call->token->turn);
    struct ks_pin_value *value;
    ks_status st = KS_SUCCESS;
    unsigned ticket;

    /* The login of the token has read the PIN and made `turn`; without it there is neither. */
    if (call->token->pin == NULL || turn == NULL)
        return ks_call_rv(call, KS_C_Login, CKR_USER_NOT_LOGGED_IN);
    if (call->token->forget_pin)
        return ks_fail_token(call->err, call->token, KS_PIN_SOURCE,
                             "the key wants the PIN for every operation, and pin-keep = no has "
                             "wiped it: such keys need pin-keep = yes");
    ticket = turn_take_now(turn);
    if (ticket == 0)
        st = wait_for_turn(call, turn, &ticket);
    if (ks_ok(st)) {
        value = ks_pin_peek(call->token->pin);
        st = value != NULL ? send_pin(call, fn, session, turn, value)
                           : ks_call_rv(call, KS_C_Login, CKR_USER_NOT_LOGGED_IN);
        ks_pin_put(value);
    }
    if (ticket != 0)
        turn_give(turn, ticket);
    return st;
}

ks_status ks_token_context_login(struct ks_call *call, CK_FUNCTION_LIST *fn,
                                 CK_SESSION_HANDLE session)
{
    bool pad;
    ks_status st;

    pthread_mutex_lock(&call->token->pool.lock);
    pad = call->token->conn.facts.protected_path;
    pthread_mutex_unlock(&call->token->pool.lock);
    if (pad)
        return ks_call_rv(call, KS_C_Login, fn->C_Login(session, CKU_CONTEXT_SPECIFIC, NULL, 0));
    st = log_in_with_pin(call, fn, session);
    call->close_session = !ks_ok(st); /* an operation has begun in it, and does not go on */
    return st;
}
