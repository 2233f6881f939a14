/* SPDX-License-Identifier: Apache-2.0
 *
 * stats.c - counters and latency histograms of each token; report/stats_text.c shows them.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "../base/clock.h"
#include "stats.h"

_Atomic(void (*)(void)) ks_stats_listener;
pthread_mutex_t ks_stats_keys_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_uint next_stripe;

void ks_stats_tell(void)
{
    void (*listener)(void) = atomic_load_explicit(&ks_stats_listener, memory_order_relaxed);

    if (listener != NULL)
        listener();
}

/* --- counting -------------------------------------------------------------------------------- */

struct ks_stripe *ks_stats_stripe(struct ks_stats *stats)
{
    static _Thread_local unsigned mine; /* from 1 */

    if (mine == 0)
        mine =
            atomic_fetch_add_explicit(&next_stripe, 1, memory_order_relaxed) % KS_STATS_STRIPES + 1;
    return &stats->stripes[mine - 1];
}

void ks_histogram_add(struct ks_histogram *h, uint64_t ns)
{
    uint64_t us = (ns + 999) / 1000;
    unsigned bits = us <= 1 ? 0 : 64U - (unsigned)__builtin_clzll(us - 1);
    unsigned i = bits <= KS_STATS_SHIFT ? 0 : bits - KS_STATS_SHIFT;

    ks_count(&h->buckets[i < KS_STATS_BUCKETS ? i : KS_STATS_BUCKETS], 1);
    ks_count(&h->sum_ns, ns);
}

void ks_measure_begin(struct ks_measure *m)
{
    *m = (struct ks_measure){.mark_ns = ks_now_ns()};
    m->start_ns = m->mark_ns;
}

void ks_measure_call_begin(struct ks_measure *m)
{
    uint64_t now = ks_now_ns();

    m->queue_ns += now - m->mark_ns;
    m->mark_ns = now;
}

void ks_measure_call_end(struct ks_measure *m)
{
    uint64_t now = ks_now_ns();

    m->call_ns += now - m->mark_ns;
    m->mark_ns = now;
}

/* Entries are taken, and never given back. */
void ks_stats_failure(struct ks_stats *stats, enum ks_operation class, unsigned long rv,
                      ks_status st)
{
    uint64_t what = ks_failure_what(class, rv, st);

    for (unsigned i = 0; i < KS_STATS_FAILURES; i++) {
        struct ks_failure *f = &stats->failures[i];
        uint64_t there = 0;

        if (atomic_compare_exchange_strong(&f->what, &there, what) || there == what) {
            ks_count(&f->count, 1);
            return;
        }
    }
    ks_count(&stats->failures_other, 1);
}

/* --- keys ------------------------------------------------------------------------------------ */

static struct ks_key_stats *key_find(struct ks_stats *stats, const char *uri)
{
    struct ks_key_stats *k = stats->keys;

    while (k != NULL && strcmp(k->uri, uri) != 0)
        k = k->next;
    return k;
}

struct ks_key_stats *ks_stats_key(struct ks_stats *stats, const char *uri)
{
    struct ks_key_stats *k = NULL;

    pthread_mutex_lock(&ks_stats_keys_lock);
    k = key_find(stats, uri);
    if (k == NULL && stats->key_count >= KS_STATS_KEYS) {
        uri = KS_STATS_OTHER_KEYS;
        k = key_find(stats, uri);
    }
    if (k == NULL) {
        k = calloc(1, sizeof(*k) + strlen(uri) + 1);
        if (k != NULL) {
            memcpy(k->uri, uri, strlen(uri) + 1);
            k->next = stats->keys;
            stats->keys = k;
            stats->key_count++;
        }
    }
    pthread_mutex_unlock(&ks_stats_keys_lock);
    return k;
}

void ks_stats_clear(struct ks_stats *stats)
{
    struct ks_key_stats *next;

    for (struct ks_key_stats *k = stats->keys; k != NULL; k = next) {
        next = k->next;
        free(k);
    }
    stats->keys = NULL;
}

void ks_stats_forked(void)
{
    pthread_mutex_init(&ks_stats_keys_lock, NULL);
}

void ks_stats_reset(struct ks_stats *stats)
{
    struct ks_key_stats *keys = stats->keys;
    unsigned count = stats->key_count;

    memset(stats, 0, sizeof(*stats));
    stats->keys = keys;
    stats->key_count = count;
    for (; keys != NULL; keys = keys->next)
        memset(&keys->counts, 0, sizeof(keys->counts));
}
