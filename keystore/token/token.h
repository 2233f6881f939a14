/* SPDX-License-Identifier: Apache-2.0
 *
 * token/token.h - tokens: what is known of one, and what protects it.
 */
#ifndef HSM_KS_TOKEN_H
#define HSM_KS_TOKEN_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "../base/uri.h"
#include "../module/module.h"
#include "../observe/stats.h"
#include "pin.h"

struct ks_session {
    CK_SESSION_HANDLE handle;
    uint64_t age;        /* of the pool when it was opened */
    uint64_t epoch;      /* of the token when it was taken: handles of that epoch are good */
    unsigned init_count; /* of the module: before another one it means nothing */
    uint64_t finding;    /* of the key whose handle was taken with it; 0: none was known */
};

struct ks_token {
    const struct ks_kind *kind; /* NULL: asked nothing but direct operations */
    struct ks_token *next;
    unsigned refs; /* registry lock */
    struct ks_module *module;
    char *name;
    struct ks_uri *uri;             /* NULL: the only token */
    struct ks_pin *pin;             /* NULL: none configured */
    _Atomic(struct ks_turn *) turn; /* to send it; NULL: not looked for yet. token/login.c */
    unsigned sessions;              /* configured limit, 0: default */
    bool forget_pin;                /* after each login */
    uint64_t recover_ns;            /* a lost module is initialised anew at most this often */
    uint64_t timeout_ns; /* an operation ends within it; 0: whenever the module returns */

    pthread_mutex_t connect_lock;
    /* written under connect_lock and lock, read under either */
    struct ks_token_facts facts;
    _Atomic CK_SLOT_ID slot; /* written under connect_lock */
    atomic_uint
        slot_init; /* the module's init_count when it was found: another one, another slot */
    /* under connect_lock */
    bool login_unclear; /* the last login failed, and not because of the PIN, it seems */
    bool half_seen;     /* the last look has found other tokens, and a slot unreadable */
    unsigned
        reinits_in_vain; /* how often the module was initialised anew in vain since it was up */
    uint64_t failed_began_ns;   /* the last try that initialised the module anew, in vain */
    struct ks_error failed_err; /* what came of it */

    pthread_mutex_t lock;
    struct ks_waiter *waiters; /* those who wait for a session, in turn; token/session.c */
    uint64_t epoch;            /* 0: down. Key handles of another epoch are dead. */
    unsigned init_count;       /* the module's, when this epoch began */
    uint64_t age;              /* sessions of another age are dead */
    unsigned generation;
    CK_MECHANISM_TYPE *mechanisms; /* NULL: not known yet; once set it stays */
    size_t mechanism_count;
    atomic_uint kinds;        /* of them, 1 << ks_mech_kind for those without digest; 0: unknown */
    atomic_uint random_chunk; /* what the token took; 0: not tried yet */
    CK_SESSION_HANDLE *idle;  /* stack, room for KS_SESSIONS_MAX or the limit */
    unsigned idle_count, open_count, limit;
    unsigned closing; /* of the open ones, those that are being closed; of this age: */
    uint64_t closing_age;
    /* calls that did not come back in time and are still out; while there are any the token is
     * hung, unless a probe got through since */
    atomic_uint stuck;
    _Atomic uint64_t answered_ns; /* when a call last came back, or a probe did */
    _Atomic uint64_t hung_ns;     /* when the last one was left behind */
    _Atomic uint64_t probe_ns;    /* no probe before this */
    atomic_uint probe_failures;
    atomic_bool probing;
    _Atomic(char *) label; /* escaped, for errors; set at the first connect, then constant */
    atomic_bool lost;      /* the last try to bring it up failed, or its device went away */

    /* Several tokens behind one handle: no module and no sessions then. group/group.c */
    enum ks_group group;
    struct ks_token **members; /* NULL: a token of its own */
    size_t member_count;
    /* of a member: what is going on there */
    atomic_uint in_flight;
    _Atomic uint64_t latency_ns; /* moving average of what succeeded */

    struct ks_stats stats;
};

struct ks_token *ks_token_ref(struct ks_token *token);
/* Purpose: ks_token_new() and ks_token_group(), for tokens of that kind. */
ks_status ks_token_share(const struct ks_token_config *config, const struct ks_kind *kind,
                         struct ks_token **out, struct ks_error *err);
ks_status ks_token_make_group(const char *name, enum ks_group group,
                              struct ks_token *const members[], size_t count,
                              const struct ks_kind *kind, struct ks_token **out,
                              struct ks_error *err);
/* Purpose: a handle that nobody else shares, whatever its settings, and without a kind. */
ks_status ks_token_make(const struct ks_token_config *config, struct ks_token **out,
                        struct ks_error *err);
/* Purpose: ks_gate_enter() for calls with a slot, a session or a key handle that was got when the
 * module's init_count was that. Whoever waits at the gate while the module is initialised anew for
 * another token finds the same numbers given to others: then it fails, as
 * CKR_SESSION_HANDLE_INVALID from `function`, and is outside. Inside, nothing is initialised. */
ks_status ks_gate_enter_since(struct ks_gate *gate, const struct ks_token *token,
                              unsigned init_count, enum ks_fn function, struct ks_error *err);
/* Purpose: the token's escaped label, "" before the first connect. */
const char *ks_token_label(const struct ks_token *token);
/* Purpose: whether another token of the module is up, so that the module as a whole is not what is
 * wrong. Takes the registry lock. */
bool ks_token_others_up(const struct ks_token *token);
uint64_t ks_epoch_new(void);
/* Purpose: count and log that an operation was refused, without an audit line. */
void ks_token_count_refused(const struct ks_token *token, enum ks_operation class, const char *key,
                            const char *why);
/* Purpose: note that the token was lost, or is there (again); and log it. An epoch is lost once,
 * however many threads say so. Without token->lock. */
void ks_token_note_down(struct ks_token *token, uint64_t epoch, enum ks_fn function,
                        unsigned long rv);
void ks_token_note_up(struct ks_token *token);
/* Purpose: the list of tokens; the caller holds the registry lock. (token/token.c) */
struct ks_token *ks_tokens_unlocked(void);
/* Purpose: the same, about a token, which may be NULL. (token/about.c) */
ks_status ks_fail_rv(struct ks_error *err, const struct ks_token *token, enum ks_fn function,
                     CK_RV rv, const char *hint);
/* Purpose: put the token's name before the text of a ks_fail() about it. */
ks_status ks_fail_token(struct ks_error *err, const struct ks_token *token, enum ks_code code,
                        const char *fmt, ...) __attribute__((format(printf, 4, 5)));

#endif
