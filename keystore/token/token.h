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

/* What a thread does that connects or reconnects the token. Its lock is held for long: one thread
 * connects, the others wait for it. All of this is written under it. */
struct ks_connection {
    pthread_mutex_t lock;
    /* written under the pool's lock as well, and read under either */
    struct ks_token_facts facts;
    _Atomic CK_SLOT_ID slot;
    atomic_uint slot_init;      /* the module's init_count when `slot` was found */
    bool login_unclear;         /* the last C_Login failed with a code that need not mean the PIN */
    bool half_seen;             /* other tokens were found, and a slot that could not be read */
    unsigned reinits_in_vain;   /* of the module, since the token was last connected */
    uint64_t failed_began_ns;   /* the last reconnect that reinitialised the module in vain, */
    struct ks_error failed_err; /* and what came of it */
};

/* The sessions, and what is good as long as they are. Its lock is held for a few instructions. */
struct ks_pool {
    pthread_mutex_t lock;
    struct ks_waiter *waiters; /* those who wait for a session, in turn; token/pool.c */
    uint64_t epoch;            /* 0: not connected. Key handles of another epoch are stale. */
    uint64_t age;              /* sessions of another age are gone */
    unsigned init_count;       /* the module's, when this epoch began */
    unsigned fork_count;       /* and the process' */
    CK_SESSION_HANDLE *idle;   /* a stack, with room for `limit` */
    unsigned idle_count, open_count, limit;
    unsigned closing; /* of the open ones, those that are being closed; of this age: */
    uint64_t closing_age;
};

/* The list of mechanisms, once it is known. It is set under the pool's lock, and stays. */
struct ks_mechanisms {
    CK_MECHANISM_TYPE *list; /* NULL: not known yet */
    size_t count;
    atomic_uint kinds;        /* of them, 1 << ks_mech_kind for those without digest; 0: unknown */
    atomic_uint random_chunk; /* bytes that C_GenerateRandom took at once; 0: not tried yet */
};

/* Whether the token answers. While calls are out that did not come back in time it is hung, unless
 * a probe got through since. No lock. */
struct ks_health {
    atomic_uint stuck;            /* calls that are out */
    _Atomic uint64_t answered_ns; /* when a call last came back, or a probe did */
    _Atomic uint64_t hung_ns;     /* when the last one was left behind */
    _Atomic uint64_t probe_ns;    /* no probe before this */
    atomic_uint probe_failures;
    atomic_bool probing;
    atomic_bool lost; /* the last reconnect failed, or the device went away */
};

/* Several tokens behind one handle: no module and no sessions then. And what such a group wants to
 * know of its members. keystore/group/ */
struct ks_members {
    enum ks_group group;
    struct ks_token **list; /* NULL: a token of its own. Constant. */
    size_t count;
    /* of a member: what is going on there */
    atomic_uint in_flight;
    _Atomic uint64_t latency_ns; /* moving average of what succeeded */
};

struct ks_token {
    /* constant, but for the first three */
    struct ks_token *next;      /* registry lock */
    unsigned refs;              /* registry lock */
    _Atomic(char *) label;      /* escaped, for errors; set at the first connect, then constant */
    const struct ks_kind *kind; /* NULL: asked nothing but direct operations */
    struct ks_module *module;
    char *name;
    struct ks_uri *uri;             /* NULL: the only token */
    struct ks_pin *pin;             /* NULL: none configured */
    _Atomic(struct ks_turn *) turn; /* to send it; NULL: not looked for yet. token/login.c */
    unsigned sessions;              /* configured limit, 0: default */
    bool forget_pin;                /* after each login */
    uint64_t recover_ns;            /* a lost module is reinitialised at most this often */
    uint64_t timeout_ns; /* an operation ends within it; 0: whenever the module returns */

    struct ks_connection conn;
    struct ks_pool pool;
    struct ks_mechanisms mechs;
    struct ks_health health;
    struct ks_members members;
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
/* Purpose: ks_gate_enter() for calls with a slot, a session or a key handle from when the module's
 * init_count was that. If the module was initialised again while this thread waited at the gate,
 * these numbers may be another's by now: the function fails then, as with
 * CKR_SESSION_HANDLE_INVALID from `function`, and the thread is outside the gate. While it is
 * inside, the module is not initialised again. */
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
 * however many threads say so. Without the pool's lock. */
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
