/* SPDX-License-Identifier: Apache-2.0
 *
 * stats.c - counters and latency histograms of each token; report/stats_text.c shows them.
 */
#include <stdlib.h>
#include <string.h>

#include "../ks_internal.h"

_Atomic(void (*)(void)) ks_stats_listener;
pthread_mutex_t ks_stats_keys_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_uint next_stripe;

static void add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* Whoever wants to know that something was counted. */
static void tell(void)
{
    void (*listener)(void) = atomic_load_explicit(&ks_stats_listener, memory_order_relaxed);

    if (listener != NULL)
        listener();
}

/* --- counting -------------------------------------------------------------------------------- */

static struct ks_stripe *stripe(struct ks_token *token)
{
    static _Thread_local unsigned mine; /* from 1 */

    if (mine == 0)
        mine =
            atomic_fetch_add_explicit(&next_stripe, 1, memory_order_relaxed) % KS_STATS_STRIPES + 1;
    return &token->stats.stripes[mine - 1];
}

static void observe(struct ks_histogram *h, uint64_t ns)
{
    uint64_t us = (ns + 999) / 1000;
    unsigned bits = us <= 1 ? 0 : 64U - (unsigned)__builtin_clzll(us - 1);
    unsigned i = bits <= KS_STATS_SHIFT ? 0 : bits - KS_STATS_SHIFT;

    add(&h->buckets[i < KS_STATS_BUCKETS ? i : KS_STATS_BUCKETS], 1);
    add(&h->sum_ns, ns);
}

void ks_stats_begin(struct ks_op *op)
{
    op->measure = (struct ks_measure){.mark_ns = ks_now_ns()};
    op->measure.start_ns = op->measure.mark_ns;
}

void ks_stats_call_begin(struct ks_op *op)
{
    uint64_t now = ks_now_ns();

    op->measure.queue_ns += now - op->measure.mark_ns;
    op->measure.mark_ns = now;
}

void ks_stats_call_end(struct ks_op *op)
{
    uint64_t now = ks_now_ns();

    op->measure.call_ns += now - op->measure.mark_ns;
    op->measure.mark_ns = now;
}

/* Count one (class, code); entries are taken and never given back. */
static void count_failure(struct ks_stats *stats, enum ks_operation class, CK_RV rv, ks_status st)
{
    uint64_t what = ks_failure_what(class, rv, st);

    for (unsigned i = 0; i < KS_STATS_FAILURES; i++) {
        struct ks_failure *f = &stats->failures[i];
        uint64_t there = 0;

        if (atomic_compare_exchange_strong(&f->what, &there, what) || there == what) {
            add(&f->count, 1);
            return;
        }
    }
    add(&stats->failures_other, 1);
}

/* Whether anybody can make an operation fail so, or another way is taken then. */
static bool is_ordinary(ks_status st)
{
    return st.code == KS_DATA || st.code == KS_MECHANISM || st.code == KS_KEY_EXISTS;
}

/* Programs do not always show the error: Apache logs failed handshakes with LogLevel info only. */
static void log_failure(const struct ks_op *op, ks_status st)
{
    const enum ks_log_level level = is_ordinary(st) ? KS_LOG_DEBUG : KS_LOG_WARN;
    char room[32];

    if (!ks_log_on(level))
        return;
    ks_log_event(level, "operation-failed", op->token, "class", ks_op_class_names[op->class], "key",
                 op->key != NULL && op->key->stats != NULL ? op->key->stats->uri : NULL, "function",
                 op->function != KS_NO_FUNCTION ? ks_fn_name(op->function) : NULL, "code",
                 ks_failure_name(op, st, room, sizeof(room)), "text",
                 op->err != NULL && op->err->code == st.code ? op->err->text : NULL, NULL);
}

/* What is not accounted for yet: a call that was left behind was in the module for all we know;
 * everything else waited. */
static void failed(struct ks_op *op, ks_status st)
{
    uint64_t rest = ks_now_ns() - op->measure.mark_ns;

    if (st.code == KS_TIMEOUT && !op->attempted)
        op->measure.call_ns += rest;
    else if (op->measure.call_ns == 0)
        op->measure.queue_ns += rest;
    add(&op->token->stats.rare[op->class].failed, 1);
    count_failure(&op->token->stats, op->class, ks_failure_rv(op), st);
    log_failure(op, st);
}

void ks_stats_end(struct ks_op *op, ks_status st)
{
    struct ks_class_stats *c = &stripe(op->token)->classes[op->class];
    struct ks_key_stats *key = op->key != NULL ? op->key->stats : NULL;
    const bool done = ks_counts_as_done(op->class, st);

    if (done)
        add(&c->done, 1);
    else
        failed(op, st);
    observe(&c->queue, op->measure.queue_ns);
    if (op->measure.call_ns > 0)
        observe(&c->call, op->measure.call_ns);
    if (key != NULL) {
        add(done ? &key->counts.done : &key->counts.failed, 1);
        if (op->measure.call_ns > 0)
            observe(&key->counts.call, op->measure.call_ns);
    }
    if (op->measure.retries > 0)
        add(&op->token->stats.rare[op->class].retried, op->measure.retries);
    tell();
}

static void count_refused(const struct ks_token *token, enum ks_operation class, const char *key,
                          const char *why)
{
    struct ks_token *t = (struct ks_token *)token; /* counters are not what const is about */

    add(&t->stats.rare[class].refused, 1);
    ks_log_event(KS_LOG_WARN, "refused", token, "class", ks_op_class_names[class], "key", key,
                 "reason", why, NULL);
    tell();
}

void ks_stats_refused(const struct ks_token *token, enum ks_operation class, const char *key,
                      const char *why)
{
    count_refused(token, class, key, why);
    ks_log_audit_line(token, class, key, "refused", why);
}

void ks_stats_no_member(const struct ks_op *op)
{
    count_refused(op->token, op->class,
                  op->key != NULL && op->key->stats != NULL ? op->key->stats->uri : NULL,
                  "no member answers");
}

void ks_stats_failed_over(struct ks_token *from, const struct ks_token *to, enum ks_operation class)
{
    add(&from->stats.rare[class].failed_over, 1);
    ks_log_event(KS_LOG_WARN, "failover", from, "class", ks_op_class_names[class], "to", to->name,
                 NULL);
}

void ks_stats_token_down(struct ks_token *token, uint64_t epoch, enum ks_fn function,
                         unsigned long rv)
{
    uint64_t before = atomic_load(&token->stats.lost_epoch);

    do
        if (before >= epoch)
            return;
    while (!atomic_compare_exchange_weak(&token->stats.lost_epoch, &before, epoch));
    atomic_store(&token->stats.lost, true);
    ks_log_call(KS_LOG_WARN, "token-down", token, function, rv);
}

void ks_stats_token_up(struct ks_token *token)
{
    bool recovered = atomic_exchange(&token->stats.lost, false);

    add(&token->stats.ups, 1);
    if (recovered)
        add(&token->stats.recoveries, 1);
    ks_log_event(recovered ? KS_LOG_WARN : KS_LOG_INFO, "token-up", token, "label",
                 token->facts.label, "serial", token->facts.serial, "recovered",
                 recovered ? "yes" : "no", NULL);
}

/* --- keys ------------------------------------------------------------------------------------ */

static struct ks_key_stats *key_find(struct ks_stats *stats, const char *uri)
{
    struct ks_key_stats *k = stats->keys;

    while (k != NULL && strcmp(k->uri, uri) != 0)
        k = k->next;
    return k;
}

struct ks_key_stats *ks_stats_key(struct ks_token *token, const struct ks_object *object)
{
    struct ks_stats *stats = &token->stats;
    struct ks_key_stats *k = NULL;
    char uri[512];

    if (!ks_ok(ks_object_uri(object, NULL, KS_URI_DETAIL_REFERENCE, uri, sizeof(uri), NULL)))
        memcpy(uri, "other", sizeof("other"));
    pthread_mutex_lock(&ks_stats_keys_lock);
    k = key_find(stats, uri);
    if (k == NULL && stats->key_count >= KS_STATS_KEYS) {
        memcpy(uri, "other", sizeof("other"));
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

void ks_stats_forked(struct ks_token *tokens)
{
    pthread_mutex_init(&ks_stats_keys_lock, NULL);
    for (struct ks_token *t = tokens; t != NULL; t = t->next) {
        struct ks_key_stats *keys = t->stats.keys;
        unsigned count = t->stats.key_count;

        memset(&t->stats, 0, sizeof(t->stats));
        t->stats.keys = keys;
        t->stats.key_count = count;
        for (; keys != NULL; keys = keys->next)
            memset(&keys->counts, 0, sizeof(keys->counts));
    }
}
