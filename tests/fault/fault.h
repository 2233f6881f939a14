/* SPDX-License-Identifier: Apache-2.0
 *
 * fault.h - the fault campaign: what its files share. Every scenario runs in a process of its own,
 * against the scriptable fake module, and is judged by what the keystore's own classification of
 * the fault promises.
 */
#ifndef FAULT_H
#define FAULT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../keystore/keystore.h"
#include "fake.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* A token that is back has to be served again within this. */
#define FAULT_BACK_MS 2000U
/* No operation may take longer, whatever happens; generous, for machines that do much else. */
#define FAULT_SLOWEST_MS 10000U

/* --- results --------------------------------------------------------------------------------- */

/* One scenario's; in memory that all processes share. */
struct result {
    atomic_uint tried;
    atomic_uint refused; /* failed with the answer that was to be expected */
    atomic_uint down;    /* failed while the HSM could not have served */
    atomic_uint lost;    /* failed though the HSM could have served */
    atomic_uint wrong;   /* said to be done, and was not: wrong signature, another key's */
    _Atomic uint64_t slowest_ns;
    uint64_t took_ns; /* the whole scenario */
    atomic_uint hits; /* injected faults that took place */
    atomic_bool serving, finished;
    atomic_bool told; /* `why` is taken */
    char why[400];    /* the first thing that was not as expected */
};

/* Purpose: note what is wrong, unless something was before. */
void fault_tell(struct result *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Purpose: CLOCK_MONOTONIC. */
uint64_t fault_now_ns(void);

/* --- world.c: one token, its keys, and what the right results are ---------------------------- */

#define WORLD_LABEL "fault"
#define WORLD_PIN   "1234"

/* Purpose: make token and keys in the fake, and know their public halves. Calls nothing of the
 * keystore: scenarios fork from here. `folder` is for PIN files. */
void world_make(const char *folder);
extern unsigned long world_slot;
/* Purpose: a PIN file of this process, and a handle for the token. `config` may be NULL; its pin,
 * module and token are set. */
struct ks_token *world_token(const struct ks_token_config *config);
/* Purpose: change what the token takes; `file` too: what the keystore reads. */
void world_set_pin(const char *pin, bool file);
/* Purpose: remove the PIN file. */
void world_clean(void);

enum work {
    WORK_SIGN,     /* with one P-256 key and another in turn */
    WORK_DECRYPT,  /* RSA PKCS#1 */
    WORK_DERIVE,   /* ECDH */
    WORK_RANDOM,   /* random bytes */
    WORK_AUTH,     /* sign with an always-authenticate key */
    WORK_GENERATE, /* a P-256 key pair, and a signature with it */
    WORK_SIZES,    /* ask for key sizes of a mechanism */
};

struct hand; /* one thread's keys */

/* Purpose: do one piece of work, loading keys that are not loaded yet. `*wrong` is set when it
 * "succeeded" with a wrong result. */
ks_status world_work(struct hand *hand, enum work work, unsigned turn,
                     const struct ks_call_options *opts, bool *wrong, struct ks_error *err);
struct hand *hand_new(struct ks_token *token);
void hand_free(struct hand *hand);
/* Purpose: tell whether all keys that `work` uses are loaded. */
ks_status hand_load(struct hand *hand, enum work work, const struct ks_call_options *opts,
                    struct ks_error *err);

/* --- crew.c: threads at work ----------------------------------------------------------------- */

struct crew {
    struct ks_token *token;
    enum work work;
    unsigned threads;
    unsigned each;        /* operations a thread */
    unsigned patience_ms; /* every operation's deadline; 0: none */
    struct result *result;
    /* What a failure is: the answer that was to be expected (`refused`), or nothing that the HSM
     * could have helped (`down`). NULL: there is no excuse. */
    bool (*refusal)(void *arg, ks_status st, const struct ks_error *err);
    bool (*excuse)(void *arg, ks_status st, const struct ks_error *err);
    /* Called by the first thread before its operation number `shake_at`; NULL: nothing. */
    void (*shake)(void *arg);
    unsigned shake_at;
    void *arg;
    struct hand *hand[8];
};

#define CREW_MAX 8

/* Purpose: have all threads do their operations, and wait for them. One thread: on this one. */
void crew_run(struct crew *crew);
/* Purpose: load the keys of all threads. */
void crew_load(struct crew *crew);
void crew_free(struct crew *crew);
/* Purpose: after a fault is over: try until an operation succeeds, at most FAULT_BACK_MS; then have
 * all threads do one more each, and nothing may fail. Sets result->serving. */
void crew_serves(struct crew *crew);

/* --- scenarios ------------------------------------------------------------------------------- */

enum position { AT_FIRST, AT_MIDDLE, AT_LAST, AT_OUTAGE, POSITIONS };

struct row;   /* a function, codes.c */
struct event; /* events.c */

struct scenario {
    char name[112];
    const struct row *row;
    unsigned code; /* which of the codes */
    enum position position;
    const struct event *event;
    unsigned threads;
    bool forked;
    bool dry;         /* count calls, without a fault */
    unsigned profile; /* where the counts of the dry run are */
};

/* Purpose: append all scenarios. */
typedef void scenario_add(const struct scenario *s);
void codes_list(scenario_add *add);
void events_list(scenario_add *add);
/* Purpose: run one, in this process, and judge it. */
void codes_run(const struct scenario *s, struct result *r, atomic_uint *profiles);
void events_run(const struct scenario *s, struct result *r);

/* Purpose: run `part` in a forked child of a process that has used the token, and see it
 * through. */
void fork_and_run(struct result *r, void (*part)(void *arg), void *arg);

/* --- for the report -------------------------------------------------------------------------- */

struct row_facts {
    const char *function, *work, *circumstance;
};
void row_facts(const struct row *row, struct row_facts *out);
const struct row *row_number(unsigned i); /* NULL: no more */
struct code_facts {
    const char *name, *treated;
    unsigned long rv;
};
bool code_facts(unsigned i, struct code_facts *out); /* false: no more */
/* What is promised of operations that one fault befalls. */
const char *promise_of(const struct row *row, unsigned code);
struct event_facts {
    const char *name, *what, *promise;
};
void event_facts(const struct event *event, struct event_facts *out);
const struct event *event_number(unsigned i); /* NULL: no more */

#endif
