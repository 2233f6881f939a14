/* SPDX-License-Identifier: Apache-2.0
 *
 * ks_internal.h - structs and functions for keystore/ alone.
 *
 * Locks, in the order in which they may be taken:
 *   token->connect_lock      long: one thread brings a token up, the others wait
 *   module->init_lock   long: C_Initialize
 *   registry lock       short: lists of modules and tokens, reference counts (module/module.c)
 *   token->lock         short: sessions, epoch, key handles
 * No short lock is held during a call into a module, so that fork() is never kept waiting and a
 * module that itself forks cannot deadlock with our atfork handler.
 */
#ifndef HSM_KS_INTERNAL_H
#define HSM_KS_INTERNAL_H

#include <p11-kit/p11-kit.h>
#include <p11-kit/pkcs11.h>
#include <p11-kit/uri.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "base/clock.h"
#include "keystore.h"
#include "ks_stats.h"

/* --- base/status.c --------------------------------------------------------------------------- */

enum ks_recovery {
    KS_PERMANENT,     /* give up */
    KS_RETRY,         /* the same again after a pause */
    KS_AMBIGUOUS,     /* may be anything: once more on a fresh session */
    KS_SESSION_DIRTY, /* close this session, take another */
    KS_SESSION_LOST,  /* all sessions of this age are gone */
    KS_SESSIONS_FULL, /* the token has no room for a session: wait for one of ours */
    KS_LOGIN_LOST,    /* log in again */
    KS_STALE_HANDLE,  /* find the key again */
    KS_DEVICE_LOST,   /* bring the token up again */
    KS_RECOVERIES
};

#define KS_SUCCESS ((ks_status){KS_OK})

struct ks_token;
struct ks_op;
struct ks_key;

/* Purpose: the name of a function, "C_Login"; "" for KS_NO_FUNCTION. Static. */
const char *ks_fn_name(enum ks_fn fn);
/* Purpose: what `rv` from `function` means. */
void ks_classify(enum ks_fn function, CK_RV rv, enum ks_code *code, enum ks_recovery *class);
/* Purpose: what may help when a token could not be brought up, or logged in to: KS_PERMANENT,
 * KS_RETRY, KS_SESSION_LOST, KS_DEVICE_LOST, or KS_AMBIGUOUS for a login that failed for a reason
 * that need not be the PIN: reconnect() looks once more, and nobody else does. */
enum ks_recovery ks_recovery_of_error(const struct ks_error *err);
/* Purpose: "CKR_..." of a value, "CKR_VENDOR_DEFINED" or "unknown CKR_" for others. */
const char *ks_rv_name(CK_RV rv);
/* Purpose: fill `err` (may be NULL) with a sentence, and return its status. */
ks_status ks_fail(struct ks_error *err, enum ks_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Purpose: start `err` anew. Where `name` is not NULL the text begins with the token's label, or
 * with that name while the label is "". Returns the length of the text so far. */
size_t ks_error_begin(struct ks_error *err, enum ks_code code, const char *label, const char *name);
/* Purpose: fill `err` for a code that a module returned; `label` and `name` as above. `hint` may be
 * NULL, and says what to do. */
ks_status ks_error_rv(struct ks_error *err, const char *label, const char *name,
                      enum ks_fn function, CK_RV rv, const char *hint);
/* Purpose: the same, about a token, which may be NULL. (token/about.c) */
ks_status ks_fail_rv(struct ks_error *err, const struct ks_token *token, enum ks_fn function,
                     CK_RV rv, const char *hint);
/* Purpose: put the token's name before the text of a ks_fail() about it. */
ks_status ks_fail_token(struct ks_error *err, const struct ks_token *token, enum ks_code code,
                        const char *fmt, ...) __attribute__((format(printf, 4, 5)));
ks_status ks_no_memory(struct ks_error *err);
/* Purpose: append "; " and a sentence to the text of an error that there is. */
void ks_error_add(struct ks_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* --- base/process.c -------------------------------------------------------------------------- */

/* What a part of the keystore does around a fork and at the end of the process; NULL: nothing. */
struct ks_process_part {
    void (*forking)(void);       /* before a fork, on its thread, when all calls have ended */
    void (*forked_parent)(void); /* after it, in the parent */
    void (*forked)(void);        /* and in the child, where this thread is the only one */
    void (*end_first)(void);     /* at the end of the process, before modules are finalised */
    void (*end_last)(void);      /* and when they are */
};

enum ks_process_moment { KS_FORKING, KS_FORKED_PARENT, KS_FORKED, KS_END_FIRST, KS_END_LAST };

/* Purpose: take part from now on; does nothing the second time. `part` is constant. Thread-safe. */
void ks_process_add(const struct ks_process_part *part);
/* Purpose: for the handlers in module/module.c: run what the parts have for that moment, in the
 * order in which they were added. */
void ks_process_run(enum ks_process_moment moment);
/* How many calls into modules this thread is in; more than 0 for what a module calls. */
extern _Thread_local unsigned ks_calls_inside;

/* --- module/module.c ------------------------------------------------------------------------- */

struct ks_module {
    struct ks_module *next;
    char *path; /* as configured */
    char *key;  /* canonical path: what makes two configurations the same module */
    char *init_args;
    unsigned refs; /* registry lock */

    CK_FUNCTION_LIST *fn; /* p11-kit's managed list; once set never released */
    bool sends_sigpipe;   /* p11-kit's remote client */
    char *remote;         /* the server's address in p11-kit's configuration, or NULL */
    bool not_after_fork;  /* no use in a child of a process that used it */
    pthread_mutex_t init_lock;
    atomic_uint initialized;    /* fork generation + 1 in which we called C_Initialize; 0: never */
    atomic_uint init_count;     /* handles from before the last C_Initialize are dead */
    bool exit_handled;          /* init_lock: the handler for the end of the process is there */
    _Atomic uint64_t reinit_ns; /* when it was last finalised and initialised again; 0: never */
    uint64_t drain_failed_ns;   /* init_lock: when calls last kept that from being done */
    atomic_bool starting; /* being loaded, initialised or finalised: p11-kit has a lock then */
    bool stuck;           /* in a child that was forked meanwhile: that lock stays locked */
    atomic_uint in_flight;
    _Atomic int gate; /* enum ks_gate_state */
};

enum ks_gate_state {
    KS_GATE_OPEN,
    KS_GATE_PAUSED, /* being finalised and initialised: wait */
};

/* A pass through the gate of a module; lives on the caller's stack. */
struct ks_gate {
    struct ks_module *module;
    void *cookie;
    sigset_t old_mask;
    bool sigpipe_was_pending;
};

/* Purpose: find or make the process-wide entry for a module. Loads nothing. */
ks_status ks_module_get(const char *path, const char *init_args, struct ks_module **out,
                        struct ks_error *err);
void ks_module_put(struct ks_module *module);
/* Purpose: load the module and initialise it for this process, if that is still to be done. */
ks_status ks_module_ready(struct ks_module *module, struct ks_error *err);
/* Purpose: the time (ks_now_ns) from which ks_module_reinit() with that interval does it;
 * 0: any. */
uint64_t ks_module_reinit_at(struct ks_module *module, uint64_t interval_ns);
/* Purpose: a module that has lost its device: finalise it and initialise it again, unless another
 * thread did so since `seen` (an init_count), and at most once in `interval_ns`. Waits a bounded
 * time for the calls in flight, until the deadline (0: none) at most; fails with KS_DEVICE when it
 * may not or cannot. */
ks_status ks_module_reinit(struct ks_module *module, unsigned seen, uint64_t interval_ns,
                           uint64_t deadline_ns, struct ks_error *err);
/* Purpose: enter before C_ calls and leave after them. No lock is taken unless the module is
 * being initialised again, which is waited for. Fails with KS_SHUTDOWN at the end of the
 * process. Never nested. */
ks_status ks_gate_enter(struct ks_gate *gate, struct ks_module *module, struct ks_error *err);
void ks_gate_leave(struct ks_gate *gate);
/* Purpose: programs that this process executes shall not inherit connections to that server;
 * `remote` is its address in p11-kit's terms, NULL: p11-kit-client's. (base/remote.c) */
void ks_remote_set_cloexec(const char *remote);
/* Purpose: counts forks: handles of another generation must not be used. */
unsigned ks_fork_count(void);
/* Purpose: in a child of the process that loaded the first module, add to an error what such a
 * child may lack. */
void ks_error_note_fork(struct ks_error *err);
/* Purpose: the registry lock, which also guards the list of tokens. */
void ks_registry_lock(void);
void ks_registry_unlock(void);

/* --- base/uri.c ------------------------------------------------------------------------------ */

struct ks_uri {
    atomic_uint refs;
    P11KitUri *p11;
    char *text; /* as given */
};

struct ks_uri *ks_uri_ref(const struct ks_uri *uri);
/* Purpose: object attributes (CKA_LABEL, CKA_ID) for a search template; NULL when absent. */
const CK_ATTRIBUTE *ks_uri_attribute(const struct ks_uri *uri, CK_ATTRIBUTE_TYPE type);
bool ks_uri_matches_token(const struct ks_uri *uri, const CK_TOKEN_INFO *info);
bool ks_uri_matches_facts(const struct ks_uri *uri, const struct ks_token_facts *facts);

/* --- token/secret.c -------------------------------------------------------------------------- */

/* Purpose: a page of this size for secrets, zeroed, locked in memory and left out of core dumps as
 * far as the system lets us; NULL without memory. Wiped when it is freed. */
#define KS_SECRET_SIZE 4096
void *ks_secret_new(void);
void ks_secret_free(void *page);
/* Purpose: lock it again in a forked child (mlock is not inherited). */
void ks_secret_lock_page(void *page);
/* Purpose: say in the log, once in a process, what the system did not let us. Holds no lock. */
void ks_secrets_say(void);
/* Purpose: a short lock that guards what is in such pages, and their lists. Nothing else is locked
 * while it is held. A fork takes it, so that its child finds all in order. */
void ks_secrets_lock(void);
bool ks_secrets_try_lock(void);
void ks_secrets_unlock(void);
void ks_secrets_forked(void);

/* --- token/refused.c ------------------------------------------------------------------------- */

/* A PIN that was sent to a token, or is about to be, as this process remembers it: no PIN, but an
 * HMAC. Without a function for that (ks_set_mac) all PINs for a token are alike. */
struct ks_pin_mark {
    uint64_t token; /* what it is: see token/login.c */
    bool exact;     /* `mac` is there */
    unsigned char mac[KS_MAC_SIZE];
};

enum ks_pin_verdict {
    KS_PIN_SEND,           /* it may be sent now, once */
    KS_PIN_REFUSED_BEFORE, /* never again */
    KS_PIN_COUNTED,        /* the last time it went unanswered, and the token counted a wrong PIN */
};

enum ks_pin_answer {
    KS_PIN_RIGHT,
    KS_PIN_WRONG,
    KS_PIN_PERHAPS_WRONG, /* an error that need not be the PIN's */
    KS_PIN_NO_ANSWER,     /* an error that is not */
};

void ks_pin_mark_make(uint64_t token, const char *pin, size_t len, struct ks_pin_mark *mark);
/* Purpose: ask before a PIN is sent. `low`: the token says that it has counted a wrong PIN, by
 * whomever. After KS_PIN_SEND comes ks_pin_answered(), sooner or later. */
enum ks_pin_verdict ks_pin_judge(const struct ks_pin_mark *mark, bool low);
void ks_pin_answered(const struct ks_pin_mark *mark, enum ks_pin_answer answer);
/* Purpose: in a forked child; and at the end of the process, when no PIN is sent any more: wipe
 * it. Both with ks_secrets_lock(), or where there is one thread. */
void ks_refused_forked(void);
void ks_refused_end(void);

/* --- token/pin.c ----------------------------------------------------------------------------- */

struct ks_pin;       /* a source, and what was read from it last */
struct ks_pin_value; /* a PIN that was read: a locked page that stays out of core dumps; constant */

/* Purpose: check a PIN source and make a holder for it; reads nothing yet. */
ks_status ks_pin_new(const char *source, struct ks_pin **out, struct ks_error *err);
void ks_pin_free(struct ks_pin *pin);
const char *ks_pin_source(const struct ks_pin *pin);
/* Purpose: tell whether a person is asked for it. */
bool ks_pin_asks(const struct ks_pin *pin);
/* Purpose: the PIN from memory, or from its source. `what` is what a person is asked. `*out` is a
 * reference, given back with ks_pin_put(). The caller holds token->connect_lock. */
ks_status ks_pin_get(struct ks_pin *pin, const struct ks_call_options *opts, const char *what,
                     struct ks_pin_value **out, struct ks_error *err);
/* Purpose: the PIN that is in memory already, as a reference; NULL when there is none. Needs no
 * lock. */
struct ks_pin_value *ks_pin_peek(struct ks_pin *pin);
/* Purpose: give a reference (or NULL) back; the last one wipes. */
void ks_pin_put(struct ks_pin_value *value);
/* Purpose: its bytes, valid as long as the reference. */
const char *ks_pin_bytes(const struct ks_pin_value *value, size_t *len);
/* Purpose: its mark for a token. Inside the gate, as libcrypto makes it. */
void ks_pin_mark(struct ks_pin_value *value, uint64_t token, struct ks_pin_mark *mark);
/* Purpose: where a PIN is kept that came from a file, and this process may read that, take what is
 * in it now; one that was refused only if the file has changed. For a forked child, which has one
 * thread and nobody's locks, or with token->connect_lock. */
void ks_pin_renew(struct ks_pin *pin);
/* Purpose: the token refused `value`: it is wiped, and the source looked at for the next login. */
void ks_pin_drop(struct ks_pin *pin, struct ks_pin_value *value);
/* Purpose: tell whether that has happened, and nothing was read since. */
bool ks_pin_gone(const struct ks_pin *pin);
/* Purpose: wipe the PIN; the source is read again for the next login. */
void ks_pin_forget(struct ks_pin *pin);
/* Purpose: in a forked child: lock the PINs in memory again, and forget those of logins of the
 * parent's threads. At the end of the process: wipe all that is left. */
void ks_pins_forked(void);
void ks_pins_end(void);

/* --- token/token.c --------------------------------------------------------------------------- */

struct ks_session {
    CK_SESSION_HANDLE handle;
    uint64_t age;        /* of the pool when it was opened */
    uint64_t epoch;      /* of the token when it was taken: handles of that epoch are good */
    unsigned init_count; /* of the module: before another one it means nothing */
    uint64_t finding;    /* of the key whose handle was taken with it; 0: none was known */
};

/* What a token is and does: one behind a module (`ks_kind_single`), or several behind one handle
 * (`ks_kind_group`). The public functions of these names call it, so that no file but group/group.c
 * asks whether there are members. */
struct ks_kind {
    ks_status (*connect)(struct ks_token *token, const struct ks_call_options *opts,
                         struct ks_error *err);
    ks_status (*facts)(struct ks_token *token, const struct ks_call_options *opts,
                       struct ks_token_facts *out, struct ks_error *err);
    /* of a token that is connected: what is known, without asking it */
    ks_status (*known_facts)(struct ks_token *token, const struct ks_call_options *opts,
                             struct ks_token_facts *out, struct ks_error *err);
    ks_status (*can)(struct ks_token *token, const struct ks_call_options *opts,
                     enum ks_mech_kind kind, enum ks_digest digest, bool *can,
                     struct ks_error *err);
    ks_status (*key_sizes)(struct ks_token *token, const struct ks_call_options *opts,
                           enum ks_mech_kind kind, unsigned long *min, unsigned long *max,
                           struct ks_error *err);
    ks_status (*objects)(struct ks_token *token, const struct ks_call_options *opts,
                         const struct ks_uri *uri,
                         bool (*visit)(void *arg, const struct ks_object *object), void *arg,
                         struct ks_error *err);
    /* `known`: the caller has the public half */
    ks_status (*find)(struct ks_token *token, const struct ks_call_options *opts,
                      const struct ks_uri *uri, bool known, struct ks_key **out,
                      struct ks_error *err);
    ks_status (*key_of)(struct ks_token *token, const struct ks_object *object, struct ks_key **out,
                        struct ks_error *err);
    ks_status (*generate)(struct ks_token *token, const struct ks_call_options *opts,
                          const struct ks_generate_spec *spec, struct ks_key **out,
                          struct ks_error *err);
    ks_status (*destroy)(struct ks_key *key, const struct ks_call_options *opts,
                         struct ks_error *err);
    /* run an operation: session, key handle, step; and what helps when it fails */
    ks_status (*run)(struct ks_op *op);
    /* the key's expectation has been set: pass it on */
    ks_status (*expect)(struct ks_key *key, struct ks_error *err);
    /* tell whether the key has shown that it is the expected one, since it was found */
    bool (*shown)(struct ks_key *key);
    void (*key_free)(struct ks_key *key); /* what hangs on it */
    void (*preload_pin)(struct ks_token *token, const struct ks_call_options *opts);
    bool (*started)(const struct ks_token *token);
    void (*clear)(struct ks_token *token); /* what the kind has in it; NULL: nothing */
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

/* --- calls of a try (token/about.c) ---------------------------------------------------------- */

/* What the PKCS#11 calls of one try of an operation work on, and what has come of them: the part
 * of an operation that this floor sees. */
struct ks_call {
    struct ks_token *token;
    const struct ks_call_options *opts; /* the deadline covers all tries */
    struct ks_error *err;
    const uint8_t *in;
    size_t in_len;
    uint8_t *out; /* wiped on failure */
    size_t room, out_len;
    /* set by ks_call_rv(): the last function that was called, and its code */
    enum ks_fn function;
    CK_RV rv;
    bool close_session;      /* something was left in it */
    uint64_t epoch, finding; /* of the session, and of the key's handle */
    struct ks_gate *gate;    /* that the calls are inside of */
};

/* Purpose: note the function and its code, for classification. Returns success for CKR_OK. */
ks_status ks_call_rv(struct ks_call *call, enum ks_fn function, CK_RV rv);

/* --- token/slot.c ---------------------------------------------------------------------------- */

/* Purpose: initialise the module where that is still to be done, find the token's slot, and note
 * what the module says of it. The caller holds connect_lock. */
ks_status ks_slot_connect(struct ks_token *token, struct ks_error *err);
/* Purpose: what a token says of itself, as plain data. */
void ks_slot_facts(struct ks_token_facts *facts, CK_SLOT_ID slot, const CK_TOKEN_INFO *info);
/* Purpose: whether C_GetTokenInfo() has said that there is no token in the slot. */
bool ks_slot_empty(CK_RV rv);
/* Purpose: PKCS#11's texts end in blanks; `out` has room for `size` + 1 bytes. */
void ks_copy_padded(char *out, const unsigned char *in, size_t size);
/* Purpose: ask the slot again: others may have used up tries of the PIN. Holds connect_lock. */
ks_status ks_slot_refresh(struct ks_token *token, struct ks_error *err);
/* Purpose: token->facts, which another thread may be writing. Takes token->lock. */
void ks_token_copy_facts(struct ks_token *token, struct ks_token_facts *out);
/* Purpose: what the token in that slot says of itself now. Inside the gate. */
CK_RV ks_slot_flags(CK_FUNCTION_LIST *fn, CK_SLOT_ID slot, struct ks_token_facts *facts);
/* Purpose: KS_TOKEN_NOT_FOUND when `uri` (may be NULL) names another token than this one. */
ks_status ks_token_matches(struct ks_token *token, const struct ks_call_options *opts,
                           const struct ks_uri *uri, struct ks_error *err);

/* --- token/login.c --------------------------------------------------------------------------- */

struct ks_op;

/* How long a login that does not come back keeps others from it; changed by tests. */
extern uint64_t ks_login_lost_ns;

/* Purpose: log in on `session`, where the token wants it. Never sends a PIN that it refused. Holds
 * connect_lock; outside the gate, for a person may be asked. */
ks_status ks_login(struct ks_token *token, const struct ks_call_options *opts,
                   CK_SESSION_HANDLE session, unsigned init_count, struct ks_error *err);
/* Purpose: C_Login(CKU_CONTEXT_SPECIFIC) for an operation that was just initialised. The PIN is
 * in memory since the token's login. The caller is inside the gate, which is left to wait for
 * others' logins; if there is no way back op->gate is NULL afterwards. */
ks_status ks_token_context_login(struct ks_call *call, CK_FUNCTION_LIST *fn,
                                 CK_SESSION_HANDLE session);
/* Purpose: make all locks anew in a forked child. */
void ks_turns_forked(void);

/* --- token/connect.c ------------------------------------------------------------------------- */

#define KS_RECOVER_MS_DEFAULT 1000U
/* Purpose: find out whether the token is usable as it stands; brings it up if not. */
ks_status ks_token_reconnect(struct ks_token *token, const struct ks_call_options *opts,
                             struct ks_error *err);
/* Purpose: ks_slot_connect(), once more where what failed may pass. The caller holds connect_lock. */
ks_status ks_token_find_slot(struct ks_token *token, const struct ks_call_options *opts,
                             struct ks_error *err);
/* Purpose: take connect_lock; false when the deadline has passed. */
bool ks_token_connect_lock(struct ks_token *token, const struct ks_call_options *opts);
/* Purpose: whether the present epoch is good. The second: the caller holds token->lock. */
bool ks_token_is_up(struct ks_token *token);
bool ks_token_is_up_unlocked(const struct ks_token *token);
/* Purpose: something is wrong with everything of `epoch`: take the token down, unless another
 * thread has replaced that epoch already. The next use brings it up again. */
void ks_token_mark_lost(struct ks_token *token, uint64_t epoch);
/* Purpose: the login of the session's epoch is gone: log in again in it, for a new epoch, unless
 * another thread did (`*did` tells). A login ends with the last session, so the others are
 * probably gone as well: the session begins a new age. */
ks_status ks_token_relogin(struct ks_token *token, const struct ks_call_options *opts,
                           struct ks_session *session, bool *did, struct ks_error *err);

/* --- token/pool.c, token/session.c ----------------------------------------------------------- */

enum ks_session_fate {
    KS_SESSION_KEEP,
    KS_SESSION_CLOSE,
    KS_SESSION_GONE, /* the module has said that there is no such session */
};

/* Purpose: take a session that is logged in; waits (until how->deadline_ns) when all are busy.
 * With `key`, `*handle` is that key's handle if it is known in this epoch, else
 * CK_INVALID_HANDLE: one lock for both. */
ks_status ks_session_take(struct ks_token *token, const struct ks_call_options *opts,
                          const struct ks_key *key, struct ks_session *out,
                          CK_OBJECT_HANDLE *handle, struct ks_error *err);
void ks_session_give(struct ks_token *token, struct ks_session *session, enum ks_session_fate fate);
/* Purpose: the same for a read-write session within the limit, for generation and destruction;
 * closed by ks_session_give with KS_SESSION_CLOSE. */
ks_status ks_session_take_rw(struct ks_token *token, const struct ks_call_options *opts,
                             const struct ks_key *key, struct ks_session *out,
                             CK_OBJECT_HANDLE *handle, struct ks_error *err);
/* What ks_pool_reserve() found. */
enum ks_pool_place {
    KS_POOL_IDLE, /* `out` is an idle session */
    KS_POOL_NEW,  /* room for one more was reserved: open it */
    KS_POOL_DOWN, /* the token has to be brought up */
    KS_POOL_LATE, /* none within the deadline */
};

/* Purpose: a session for ks_session_take(), in turn. `other_kind`: the caller needs a read-write
 * session, so an idle one is of no use: it is given to be closed only if there is no room for both.
 * Of `key` (may be NULL) the handle that is good in this epoch, or CK_INVALID_HANDLE. */
enum ks_pool_place ks_pool_reserve(struct ks_token *token, const struct ks_call_options *opts,
                                   const struct ks_key *key, bool other_kind,
                                   struct ks_session *out, CK_OBJECT_HANDLE *handle);
/* Purpose: a session is about to be closed: are all others that are open being closed as well?
 * Closing the last one logs out. Then, in any case, ks_pool_closed(). The caller holds
 * token->lock, for these three. */
bool ks_pool_closes_last(struct ks_token *token);
void ks_pool_closed(struct ks_token *token);
/* Purpose: the login ended with the last session: the next use begins with one, and no handle from
 * before is used after it. */
void ks_pool_none_left(struct ks_token *token);
/* Purpose: C_CloseSession, once more where that may help, of a session that was opened when the
 * module's init_count was that. Outside the gate; counts nothing. */
void ks_session_close(struct ks_token *token, CK_SESSION_HANDLE handle, unsigned init_count);
/* Purpose: close all idle sessions; the caller holds connect_lock or is the last owner. */
void ks_session_close_idle(struct ks_token *token);

/* Purpose: there may be a session for the first one who waits; or things have changed for all. The
 * caller holds token->lock. */
void ks_session_call_next(struct ks_token *token);
void ks_session_call_all(struct ks_token *token);
/* Purpose: how many wait. The caller holds token->lock. */
unsigned ks_session_waiting(const struct ks_token *token);

/* --- token/mech.c ---------------------------------------------------------------------------- */

struct ks_mech_storage {
    CK_MECHANISM mechanism;
    union {
        CK_RSA_PKCS_PSS_PARAMS pss;
        CK_RSA_PKCS_OAEP_PARAMS oaep;
    } param;
};

/* Purpose: fill `out` for `mech` (its label is not looked at, but `label`, which is borrowed);
 * KS_MECHANISM when there is no such mechanism. */
ks_status ks_mech_build(const struct ks_mech *mech, const uint8_t *label, size_t label_len,
                        struct ks_mech_storage *out, struct ks_error *err);
/* Purpose: when `st` is KS_MECHANISM, add the mechanism's name to the text of `err` (may be
 * NULL). */
void ks_mech_blame(struct ks_error *err, ks_status st, enum ks_mech_kind kind);
/* No mechanism's number. */
#define KS_NO_MECHANISM (~(CK_MECHANISM_TYPE)0)
/* Purpose: the number; KS_NO_MECHANISM when PKCS#11 has none for this digest. */
CK_MECHANISM_TYPE ks_mech_type(enum ks_mech_kind kind, enum ks_digest digest);
/* Purpose: read the token's list of mechanisms, unless it is known. */
ks_status ks_token_read_mechanisms(struct ks_token *token, struct ks_error *err);
/* Purpose: read it again: ks_token_lacks() and ks_token_lists() answer by what it is now. */
ks_status ks_token_reread_mechanisms(struct ks_token *token, struct ks_error *err);
/* Purpose: whether the token is known not to list a mechanism (not a _HASH kind), or to list it. */
bool ks_token_lacks(const struct ks_token *token, enum ks_mech_kind kind);
bool ks_token_lists(const struct ks_token *token, enum ks_mech_kind kind);
/* Purpose: read the list again, for these two. */
ks_status ks_token_lists_anew(struct ks_token *token, const struct ks_call_options *opts,
                              struct ks_error *err);
/* Purpose: a number that is the same for the same parameters: for ks_key_is_refused(). */
uint32_t ks_mech_hash(const struct ks_mech *mech);

/* --- op/op.c --------------------------------------------------------------------------------- */

struct ks_op;
/* One try, inside the gate. Codes from the module go through ks_call_rv(). */
typedef ks_status (*ks_step)(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                             CK_OBJECT_HANDLE key);

struct ks_op {
    struct ks_call call;
    struct ks_key *key; /* NULL: the step needs no key handle */
    ks_step step;
    /* Instead of all that: no session, no key, run once, for questions that need no login. */
    ks_status (*direct)(struct ks_op *op);
    /* Parameters and results of the step, plain bytes that may be moved; what they point to is
     * owned by them and released by `release` (NULL: nothing). */
    void *arg;
    size_t arg_size;
    void (*release)(void *arg);
    const uint8_t *aux; /* OAEP's label */
    size_t aux_len;
    /* What the private key does: the proof is made of it, on the caller's thread and outside the
     * gate, and members of a cluster are chosen by it. The caller's. NULL: nothing to prove. */
    const struct ks_mech *mech;
    void (*done)(struct ks_op *op, ks_status status); /* completion; may be NULL */
    bool once;        /* not safe to run again: generation, deletion */
    bool move_on;     /* there are other tokens to try: do not bring this one back first */
    bool inline_only; /* never on a worker: its arguments are the caller's */
    bool read_write;  /* needs a read-write session */
    enum ks_operation class;
    /* set by ks_op_run */
    bool attempted;  /* a try has begun; not copied back from a worker that was left behind */
    unsigned logins; /* how often this operation has logged in again */
    const struct ks_token *ran_on; /* in a group: the member that was tried last; else NULL */
    struct ks_measure measure;
};

/* Purpose: before an operation that looks for something: connect to its token, on this thread, for
 * a person may have to be asked for the PIN; and see whether `uri` is about that token. A failed
 * connection is accounted for as the operation's failure. */
ks_status ks_op_reach(struct ks_op *op, const struct ks_uri *uri);
/* Purpose: run the operation: session, key handle, step; classify a failure and act on it. The
 * one place where that is decided. */
ks_status ks_op_run(struct ks_op *op);
/* Purpose: the operation on one token that is no group: inline or on a worker, and proved. */
ks_status ks_op_run_on(struct ks_op *op);
/* Purpose: run `direct`, or the step, within the token's time; nothing is counted. */
ks_status ks_op_run_direct(struct ks_op *op);
/* Purpose: the loop of tries of ks_op_run, on one token and on this thread. */
ks_status ks_op_try(struct ks_op *op);

/* --- op/proof.c ------------------------------------------------------------------------------ */

/* Purpose: prove it. KS_KEY_MISMATCH, and `out` wiped, when it is another key. `*again`: the key
 * has been found anew meanwhile, and what was proved is not what gave the result: run it again. */
ks_status ks_prove(struct ks_op *op, const struct ks_call_options *opts, bool *again);

/* --- kinds of tokens (group/open.c) ---------------------------------------------------------- */

/* One token; each function is in the file of the public one. */
ks_status ks_single_connect(struct ks_token *token, const struct ks_call_options *opts,
                            struct ks_error *err);
ks_status ks_single_facts(struct ks_token *token, const struct ks_call_options *opts,
                          struct ks_token_facts *out, struct ks_error *err);
ks_status ks_single_can(struct ks_token *token, const struct ks_call_options *opts,
                        enum ks_mech_kind kind, enum ks_digest digest, bool *can,
                        struct ks_error *err);
ks_status ks_single_key_sizes(struct ks_token *token, const struct ks_call_options *opts,
                              enum ks_mech_kind kind, unsigned long *min, unsigned long *max,
                              struct ks_error *err);
ks_status ks_single_objects(struct ks_token *token, const struct ks_call_options *opts,
                            const struct ks_uri *uri,
                            bool (*visit)(void *arg, const struct ks_object *object), void *arg,
                            struct ks_error *err);
ks_status ks_single_find(struct ks_token *token, const struct ks_call_options *opts,
                         const struct ks_uri *uri, bool known, struct ks_key **out,
                         struct ks_error *err);
ks_status ks_single_key_of(struct ks_token *token, const struct ks_object *object,
                           struct ks_key **out, struct ks_error *err);
ks_status ks_single_generate(struct ks_token *token, const struct ks_call_options *opts,
                             const struct ks_generate_spec *spec, struct ks_key **out,
                             struct ks_error *err);
ks_status ks_single_destroy(struct ks_key *key, const struct ks_call_options *opts,
                            struct ks_error *err);
bool ks_single_shown(struct ks_key *key);
void ks_single_preload_pin(struct ks_token *token, const struct ks_call_options *opts);

/* Several tokens: group/group.c. */
extern const struct ks_kind ks_kind_group;

/* --- op/worker.c ----------------------------------------------------------------------------- */

/* Purpose: whether the calling thread's stack is too small for a module: see struct ks_pauser. */
bool ks_worker_needed(void);
/* Purpose: run ks_op_try(op) on a worker thread, and wait for it until `deadline_ns` (0: as long as
 * it takes). What the worker uses is its own copy: when it is not back in time it is left behind,
 * the token is marked as hung, and the call ends with KS_TIMEOUT. */
ks_status ks_worker_run(struct ks_op *op, uint64_t deadline_ns);
/* Purpose: whether calls have not come back from the token, and none has since. */
bool ks_token_hung(struct ks_token *token);
/* Purpose: try in the background whether a token answers again; at most one such try at a time
 * and token, with growing pauses. Returns at once. */
void ks_worker_probe(struct ks_token *token);

/* --- token/object.c -------------------------------------------------------------------------- */

/* Purpose: snapshot of an object, inside the gate. `complete`: look for the public object of a
 * private key too, if it does not show its public half itself. */
ks_status ks_object_read(struct ks_call *call, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                         CK_OBJECT_HANDLE handle, enum ks_object_class klass, bool complete,
                         struct ks_object **out);
/* Purpose: handles of the objects that a template matches, at most `max`; always ends the
 * search. */
ks_status ks_object_search(struct ks_call *call, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                           CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE *found,
                           CK_ULONG max, CK_ULONG *found_count);
/* What a search has found; grows if it may. */
struct ks_hits {
    CK_OBJECT_HANDLE *list;
    CK_ULONG count, room;
    bool grows;
};

/* Purpose: the same with a list that grows; the caller frees it. */
ks_status ks_object_search_all(struct ks_call *call, CK_FUNCTION_LIST *fn,
                               CK_SESSION_HANDLE session, CK_ATTRIBUTE *template, CK_ULONG count,
                               struct ks_hits *hits);
/* Purpose: tell whether a private object does not show all of its public half. */
bool ks_object_lacks_public(const struct ks_object *o);
/* Purpose: what a private object lacks, from the one public object with its id (or, without an id,
 * its label). */
ks_status ks_object_complete(struct ks_call *call, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                             struct ks_object *o);
/* Purpose: give a private key what it lacks of its public half from its public object, which is
 * left with the rest. */
void ks_object_borrow(struct ks_object *o, struct ks_object *pub);
/* Purpose: a snapshot of that object alone, inside the gate, with one call where the token plays
 * along. (token/snapshot.c) */
ks_status ks_snapshot_read(struct ks_call *call, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                           CK_OBJECT_HANDLE handle, enum ks_object_class klass,
                           struct ks_object **out);
/* Purpose: a deep copy; NULL without memory. */
struct ks_object *ks_object_copy(const struct ks_object *o);
/* Purpose: "'label' (id 01:02)" escaped, for messages. */
const char *ks_object_name(const struct ks_object *object, char *out, size_t size);

/* --- token/key.c ----------------------------------------------------------------------------- */

#define KS_REFUSED_MAX 4

/* How the token wants what PKCS#11 leaves open; found out by trying, 0 first. */
enum ks_encoding { KS_ENCODING_UNKNOWN, KS_ENCODING_FIRST, KS_ENCODING_SECOND };

struct ks_key {
    atomic_uint refs;
    struct ks_token *token;
    struct ks_object *object;
    struct ks_expect expect; /* public_part owned */
    /* under token->lock */
    CK_OBJECT_HANDLE handle;
    uint64_t epoch;
    uint64_t finding; /* another number each time that it is found */
    /* the finding for which it was proved that it is the expected key; 0: none */
    _Atomic uint64_t proved;
    /* set when it is made, and constant */
    uint64_t first_finding;
    CK_OBJECT_HANDLE public_handle; /* of a generation, good while `finding` is the first */
    bool id_is_ours;                /* its id is a random one that we made up */
    _Atomic uint32_t refused[KS_REFUSED_MAX];
    _Atomic int encoding;       /* enum ks_encoding, of EdDSA's parameters or ECDH's peer point */
    struct ks_key_stats *stats; /* the token's; NULL: no memory */
    struct ks_member_key *members; /* of a cluster's key: one for each member; else NULL */
};

/* The key on one member of a cluster, found at its first use there. */
struct ks_member_key {
    struct ks_key *key;        /* under token->lock; NULL: not found yet */
    _Atomic uint64_t again_ns; /* it was not there, or another key was: do not look before this */
};

/* Purpose: the one private key of that label and id (NULL: any), inside the gate. `wanted` is what
 * it is called in errors. */
ks_status ks_key_search(struct ks_call *call, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                        const CK_ATTRIBUTE *label, const CK_ATTRIBUTE *id, const char *wanted,
                        CK_OBJECT_HANDLE *out);
/* Purpose: find the key again in this epoch and check that it is still the same one; inside the
 * gate. Sets session->finding. */
ks_status ks_key_locate(struct ks_call *call, CK_FUNCTION_LIST *fn, struct ks_session *session,
                        struct ks_key *key, CK_OBJECT_HANDLE *handle);
/* Purpose: wrap a snapshot and a fresh handle; takes over `object`. */
ks_status ks_key_make(struct ks_token *token, struct ks_object *object, CK_OBJECT_HANDLE handle,
                      uint64_t epoch, struct ks_key **out, struct ks_error *err);
/* Purpose: modulus or point, whichever says that two keys are the same; may be empty. */
const struct ks_bytes *ks_key_public_part(const struct ks_object *o);
/* Purpose: refuse a use that the key's attributes do not permit: tokens do not all enforce them. */
ks_status ks_key_check_use(const struct ks_key *key, bool allowed, const char *attribute,
                           struct ks_error *err);
/* Purpose: the size of an RSA key's blocks: of the modulus that is expected, or else shown. */
size_t ks_key_block(const struct ks_key *key);
/* Purpose: the handle is stale. */
void ks_key_forget(struct ks_key *key, uint64_t epoch);

/* Purpose: after an operation, tell whether its result has to be proved before anybody sees it:
 * nothing has shown, since the key was found, that it is the expected one. That a ciphertext is bad
 * is a result, too: another key says so of all of them. */
static inline bool ks_proof_wanted(const struct ks_op *op, ks_status st)
{
    return op->key != NULL && op->mech != NULL &&
           (st.code == KS_OK || (st.code == KS_DATA && op->class == KS_OP_DECRYPT)) &&
           atomic_load_explicit(&op->key->proved, memory_order_relaxed) != op->call.finding &&
           (op->key->expect.verify != NULL || op->key->expect.challenge != NULL);
}

/* --- small things (base/status.c) ------------------------------------------------------------ */

char *ks_strdup_n(const void *data, size_t len); /* with a NUL behind */

#endif
