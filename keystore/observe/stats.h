/* SPDX-License-Identifier: Apache-2.0
 *
 * observe/stats.h - counters and latency histograms.
 *
 * The way of a healthy operation takes no lock and allocates nothing here: relaxed additions to
 * counters that only a few threads share, and three looks at the clock.
 */
#ifndef HSM_KS_STATS_H
#define HSM_KS_STATS_H

#include <pthread.h>
#include <stdatomic.h>

#include "../keystore.h"

/* Bucket i is for times up to 2^(i + KS_STATS_SHIFT) microseconds: 8 us to 33.6 s; the last for
 * whatever is longer. */
#define KS_STATS_SHIFT   3U
#define KS_STATS_BUCKETS 23U
/* Threads are dealt out to this many sets of counters. */
#define KS_STATS_STRIPES 8U
/* Different failures (class and code) that are told apart, per token. */
#define KS_STATS_FAILURES 48U
/* Keys that are told apart, per token; the others share one record. */
#define KS_STATS_KEYS 256U

struct ks_histogram {
    _Atomic uint64_t buckets[KS_STATS_BUCKETS + 1];
    _Atomic uint64_t sum_ns;
};

struct ks_class_stats {
    _Atomic uint64_t done;
    struct ks_histogram queue, call;
};

struct ks_stripe {
    struct ks_class_stats classes[KS_OP_CLASSES];
    char apart[64]; /* from the next one's cache lines */
};

/* What seldom happens. */
struct ks_rare_stats {
    _Atomic uint64_t failed, refused, retried, failed_over;
};

/* One (class, code). */
struct ks_failure {
    _Atomic uint64_t what; /* 0: free */
    _Atomic uint64_t count;
};

/* Lives as long as its token: loading a key again goes on where it was. */
struct ks_key_stats {
    struct ks_key_stats *next;
    struct {
        _Atomic uint64_t done, failed;
        struct ks_histogram call;
    } counts;
    char uri[]; /* percent-encoded, printable */
};

struct ks_stats {
    struct ks_stripe stripes[KS_STATS_STRIPES];
    struct ks_rare_stats rare[KS_OP_CLASSES];
    struct ks_failure failures[KS_STATS_FAILURES];
    _Atomic uint64_t failures_other; /* when all of them were taken */
    _Atomic uint64_t ups;            /* how often the token was brought up */
    _Atomic uint64_t recoveries;     /* how often of that after it had been lost */
    _Atomic uint64_t lost_epoch;     /* the latest that was */
    atomic_bool lost;                /* was up, and is not */
    struct ks_key_stats *keys;       /* ks_stats_keys_lock */
    unsigned key_count;
};

/* Where the time of an operation goes; part of struct ks_op. */
struct ks_measure {
    uint64_t start_ns, mark_ns, queue_ns, call_ns;
    unsigned retries;
};

/* Purpose: begin to measure an operation on one token: everything before the step, and pauses
 * between tries, is queue time; the step is HSM time. */
void ks_measure_begin(struct ks_measure *m);
/* Purpose: around the step, on whatever thread. */
void ks_measure_call_begin(struct ks_measure *m);
void ks_measure_call_end(struct ks_measure *m);

/* Purpose: add to a counter. */
static inline void ks_count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}
void ks_histogram_add(struct ks_histogram *h, uint64_t ns);
/* Purpose: the set of counters that this thread adds to. */
struct ks_stripe *ks_stats_stripe(struct ks_stats *stats);
/* Purpose: count one (class, code). */
void ks_stats_failure(struct ks_stats *stats, enum ks_operation class, unsigned long rv,
                      ks_status st);
/* Purpose: call ks_stats_listener, if there is one: something was counted. */
void ks_stats_tell(void);

/* What keys without a URI, and those beyond KS_STATS_KEYS, are counted as. */
#define KS_STATS_OTHER_KEYS "other"
/* Purpose: the record of the key with that URI, found or made; NULL without memory. */
struct ks_key_stats *ks_stats_key(struct ks_stats *stats, const char *uri);
/* Held while ks_stats.keys is gone through, or added to. */
extern pthread_mutex_t ks_stats_keys_lock;
/* Purpose: free what hangs on it. */
void ks_stats_clear(struct ks_stats *stats);
/* Purpose: in a forked child everything starts at 0, or sums over processes would count the
 * parent's operations twice. The first is called once, the second for each token. */
void ks_stats_forked(void);
void ks_stats_reset(struct ks_stats *stats);
/* Purpose: what a failed operation is counted as: "CKR_..." of `rv`, or the name of the status
 * without one. `room` holds numbers without a name. */
const char *ks_failure_name(unsigned long rv, ks_status st, char *room, size_t size);
/* Purpose: make ks_failure.what. */
uint64_t ks_failure_what(enum ks_operation class, unsigned long rv, ks_status st);
/* Purpose: the parts of ks_failure.what: its class, and the same name. */
enum ks_operation ks_failure_class(uint64_t what);
const char *ks_failure_text(uint64_t what, char *room, size_t size);
/* Purpose: tell whether an operation counts as done. A decryption that the token refused because
 * of the data does: whoever can read counters or a log must not learn which ciphertexts are
 * good. */
bool ks_counts_as_done(enum ks_operation class, ks_status st);

/* Called after each operation that was counted; NULL: nobody wants to know. Set by the file. */
extern _Atomic(void (*)(void)) ks_stats_listener;

#endif
