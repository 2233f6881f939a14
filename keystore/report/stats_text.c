/* SPDX-License-Identifier: Apache-2.0
 *
 * stats_text.c - what observe/stats.c counts, as text for Prometheus (its text format, 0.0.4).
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../observe/log.h"
#include "../op/worker.h"
#include "../token/connect.h"
#include "../token/session.h"
#include "report.h"

static uint64_t get(_Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* A token as the text shows it. */
struct shown {
    struct ks_token *token;
    char name[200]; /* escaped; its own, should two be called the same */
};

struct text {
    FILE *out;
    char pid[40]; /* "pid=\"1\"," or nothing */
    bool final;
    struct shown *shown;
    size_t count;
};

/* For a label's value: printable, and Prometheus' own escapes. */
static void put_escaped(FILE *out, const char *value)
{
    char plain[1024];

    ks_escape(plain, sizeof(plain), value, SIZE_MAX);
    for (const char *p = plain; *p != '\0'; p++) {
        if (*p == '\\' || *p == '"')
            putc('\\', out);
        putc(*p, out);
    }
}

static void put_head(const struct text *t, const char *name, const char *type, const char *help)
{
    fprintf(t->out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* name{pid,token,...: the caller goes on with labels, or "}". */
static void put_name(const struct text *t, const char *name, const struct shown *s)
{
    fprintf(t->out, "%s{%stoken=\"", name, t->pid);
    put_escaped(t->out, s->name);
    putc('"', t->out);
}

static void put_class(const struct text *t, const char *name, const struct shown *s, unsigned class)
{
    put_name(t, name, s);
    fprintf(t->out, ",class=\"%s\"", ks_op_class_names[class]);
}

static uint64_t sum_done(struct ks_stats *stats, unsigned class)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < KS_STATS_STRIPES; i++)
        sum += get(&stats->stripes[i].classes[class].done);
    return sum;
}

static bool class_used(struct ks_stats *stats, unsigned class)
{
    return sum_done(stats, class) + get(&stats->rare[class].failed) +
               get(&stats->rare[class].refused) >
           0;
}

static void put_operations(const struct text *t)
{
    put_head(t, "hsm_operations_total", "counter",
             "Operations that ended: done, failed, or refused before the token was asked.");
    for (size_t i = 0; i < t->count; i++) {
        const struct shown *s = &t->shown[i];
        struct ks_stats *stats = &s->token->stats;

        for (unsigned c = 0; c < KS_OP_CLASSES; c++) {
            const struct {
                const char *name;
                uint64_t n;
            } results[] = {{"done", sum_done(stats, c)},
                           {"failed", get(&stats->rare[c].failed)},
                           {"refused", get(&stats->rare[c].refused)}};

            for (size_t r = 0; class_used(stats, c) && r < 3; r++) {
                put_class(t, "hsm_operations_total", s, c);
                fprintf(t->out, ",result=\"%s\"} %" PRIu64 "\n", results[r].name, results[r].n);
            }
        }
    }
}

/* One number a class. */
static void put_rare(const struct text *t, const char *name, const char *help,
                     uint64_t (*of)(struct ks_rare_stats *rare))
{
    put_head(t, name, "counter", help);
    for (size_t i = 0; i < t->count; i++) {
        for (unsigned c = 0; c < KS_OP_CLASSES; c++) {
            if (!class_used(&t->shown[i].token->stats, c))
                continue;
            put_class(t, name, &t->shown[i], c);
            fprintf(t->out, "} %" PRIu64 "\n", of(&t->shown[i].token->stats.rare[c]));
        }
    }
}

static uint64_t of_retried(struct ks_rare_stats *rare)
{
    return get(&rare->retried);
}

static uint64_t of_failed_over(struct ks_rare_stats *rare)
{
    return get(&rare->failed_over);
}

static void put_failures(const struct text *t)
{
    put_head(t, "hsm_failures_total", "counter",
             "Failed operations by the code of PKCS#11, or of the keystore where there is none.");
    for (size_t i = 0; i < t->count; i++) {
        struct ks_stats *stats = &t->shown[i].token->stats;
        char room[32];

        for (unsigned f = 0; f < KS_STATS_FAILURES; f++) {
            uint64_t what = get(&stats->failures[f].what);

            if (what == 0)
                break;
            put_class(t, "hsm_failures_total", &t->shown[i], ks_failure_class(what));
            fprintf(t->out, ",code=\"%s\"} %" PRIu64 "\n",
                    ks_failure_text(what, room, sizeof(room)), get(&stats->failures[f].count));
        }
        if (get(&stats->failures_other) > 0) {
            put_name(t, "hsm_failures_total", &t->shown[i]);
            fprintf(t->out, ",class=\"any\",code=\"any\"} %" PRIu64 "\n",
                    get(&stats->failures_other));
        }
    }
}

static void put_seconds(FILE *out, uint64_t ns)
{
    fprintf(out, "%" PRIu64 ".%09" PRIu64, ns / 1000000000U, ns % 1000000000U);
}

/* What a line is about: a class of operations, or (not NULL) a key. */
struct series {
    const struct shown *shown;
    unsigned class;
    const char *key;
};

static void put_series(const struct text *t, const char *name, const struct series *of)
{
    if (of->key == NULL) {
        put_class(t, name, of->shown, of->class);
        return;
    }
    put_name(t, name, of->shown);
    fputs(",key=\"", t->out);
    put_escaped(t->out, of->key);
    putc('"', t->out);
}

/* A histogram that is read while it is counted on. */
struct tally {
    uint64_t buckets[KS_STATS_BUCKETS + 1], sum_ns;
};

static void tally(struct tally *sum, struct ks_histogram *h)
{
    for (unsigned b = 0; b <= KS_STATS_BUCKETS; b++)
        sum->buckets[b] += get(&h->buckets[b]);
    sum->sum_ns += get(&h->sum_ns);
}

/* Buckets add up in Prometheus' text. */
static void put_histogram(const struct text *t, const char *name, const struct series *of,
                          const struct tally *sum)
{
    char line[64], label[64];
    uint64_t total = 0;

    snprintf(line, sizeof(line), "%s_bucket", name);
    for (unsigned b = 0; b <= KS_STATS_BUCKETS; b++) {
        uint64_t us = (uint64_t)1 << (b + KS_STATS_SHIFT);

        total += sum->buckets[b];
        if (b < KS_STATS_BUCKETS)
            snprintf(label, sizeof(label), "%" PRIu64 ".%06" PRIu64, us / 1000000U, us % 1000000U);
        else
            snprintf(label, sizeof(label), "+Inf");
        put_series(t, line, of);
        fprintf(t->out, ",le=\"%s\"} %" PRIu64 "\n", label, total);
    }
    snprintf(line, sizeof(line), "%s_sum", name);
    put_series(t, line, of);
    fputs("} ", t->out);
    put_seconds(t->out, sum->sum_ns);
    snprintf(line, sizeof(line), "%s_count", name);
    putc('\n', t->out);
    put_series(t, line, of);
    fprintf(t->out, "} %" PRIu64 "\n", total);
}

static void put_class_histogram(const struct text *t, const char *name, const struct series *of,
                                bool queue)
{
    struct tally sum = {.sum_ns = 0};

    for (unsigned i = 0; i < KS_STATS_STRIPES; i++) {
        struct ks_class_stats *c = &of->shown->token->stats.stripes[i].classes[of->class];

        tally(&sum, queue ? &c->queue : &c->call);
    }
    put_histogram(t, name, of, &sum);
}

static void put_histograms(const struct text *t, const char *name, const char *help, bool queue)
{
    put_head(t, name, "histogram", help);
    for (size_t i = 0; i < t->count; i++) {
        struct series of = {.shown = &t->shown[i]};

        for (of.class = 0; of.class < KS_OP_CLASSES; of.class ++)
            if (class_used(&of.shown->token->stats, of.class))
                put_class_histogram(t, name, &of, queue);
    }
}

static void put_key_operations(const struct text *t, struct series *of, struct ks_key_stats *key)
{
    for (int r = 0; r < 2; r++) {
        put_series(t, "hsm_key_operations_total", of);
        fprintf(t->out, ",result=\"%s\"} %" PRIu64 "\n", r == 0 ? "done" : "failed",
                get(r == 0 ? &key->counts.done : &key->counts.failed));
    }
}

/* Of keys that were loaded and never used there is nothing to say. */
static void put_key_histogram(const struct text *t, struct series *of, struct ks_key_stats *key)
{
    struct tally sum = {.sum_ns = 0};

    tally(&sum, &key->counts.call);
    if (sum.sum_ns > 0)
        put_histogram(t, "hsm_key_call_seconds", of, &sum);
}

static void put_keys(const struct text *t, const char *name, const char *type, const char *help,
                     void (*put)(const struct text *t, struct series *of, struct ks_key_stats *key))
{
    put_head(t, name, type, help);
    pthread_mutex_lock(&ks_stats_keys_lock);
    for (size_t i = 0; i < t->count; i++) {
        struct series of = {.shown = &t->shown[i]};

        for (struct ks_key_stats *k = of.shown->token->stats.keys; k != NULL; k = k->next) {
            of.key = k->uri;
            put(t, &of, k);
        }
    }
    pthread_mutex_unlock(&ks_stats_keys_lock);
}

struct state {
    bool up;
    unsigned open, busy, limit, waiting;
};

static struct state state_of(struct ks_token *token)
{
    struct ks_token *const *members = NULL;
    const size_t count = ks_token_members(token, &members);
    struct state s = {0};

    pthread_mutex_lock(&token->pool.lock);
    s.up = ks_token_is_up_unlocked(token);
    if (s.up) {
        s.open = token->pool.open_count;
        s.busy = token->pool.open_count - token->pool.idle_count;
        s.limit = token->pool.limit;
        s.waiting = ks_session_waiting(token);
    }
    pthread_mutex_unlock(&token->pool.lock);
    s.up = s.up && !ks_token_hung(token);
    for (size_t i = 0; i < count; i++)
        s.up = s.up || state_of(members[i]).up;
    return s;
}

static void put_session_rows(const struct text *t, const struct shown *shown)
{
    struct state s = state_of(shown->token);
    const struct {
        const char *name;
        unsigned n;
    } rows[] = {{"open", s.open}, {"busy", s.busy}, {"limit", s.limit}, {"waiting", s.waiting}};

    for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
        put_name(t, "hsm_sessions", shown);
        fprintf(t->out, ",state=\"%s\"} %u\n", rows[r].name, rows[r].n);
    }
}

static void put_sessions(const struct text *t)
{
    struct ks_token *const *members;

    put_head(t, "hsm_sessions", "gauge",
             "Sessions that are open, and of these busy; the limit; operations that wait for one.");
    for (size_t i = 0; i < t->count; i++)
        if (ks_token_members(t->shown[i].token, &members) == 0) /* a group has none of its own */
            put_session_rows(t, &t->shown[i]);
}

static void put_tokens(const struct text *t)
{
    put_head(t, "hsm_token_info", "gauge", "What is behind a name: the token's label.");
    for (size_t i = 0; i < t->count; i++) {
        put_name(t, "hsm_token_info", &t->shown[i]);
        /* escaped by ks_escape() before */
        fputs(",label=\"", t->out);
        for (const char *p = ks_token_label(t->shown[i].token); *p != '\0'; p++)
            fprintf(t->out, "%s%c", *p == '\\' || *p == '"' ? "\\" : "", *p);
        fputs("\"} 1\n", t->out);
    }
    put_head(t, "hsm_recoveries_total", "counter", "How often a token that was lost came back.");
    for (size_t i = 0; i < t->count; i++) {
        put_name(t, "hsm_recoveries_total", &t->shown[i]);
        fprintf(t->out, "} %" PRIu64 "\n", get(&t->shown[i].token->stats.recoveries));
    }
    put_head(t, "hsm_log_lines_lost_total", "counter", "Lines that the log did not take.");
    fprintf(t->out, "hsm_log_lines_lost_total{%.*s} %" PRIu64 "\n",
            (int)(t->pid[0] != '\0' ? strlen(t->pid) - 1 : 0), t->pid, get(&ks_log_lost));
    if (t->final)
        return;
    put_head(t, "hsm_token_up", "gauge",
             "1: connected and answering. 0: lost, hung, or not used yet.");
    for (size_t i = 0; i < t->count; i++) {
        put_name(t, "hsm_token_up", &t->shown[i]);
        fprintf(t->out, "} %d\n", state_of(t->shown[i].token).up);
    }
    put_sessions(t);
}

/* Names by which the text tells the tokens apart. */
static bool name_tokens(struct text *t)
{
    size_t n = 0;

    for (struct ks_token *token = ks_tokens_unlocked(); token != NULL; token = token->next)
        n++;
    t->shown = calloc(n + 1, sizeof(*t->shown));
    if (t->shown == NULL)
        return false;
    for (struct ks_token *token = ks_tokens_unlocked(); token != NULL; token = token->next) {
        struct shown *s = &t->shown[t->count];
        unsigned same = 1;

        for (size_t i = 0; i < t->count; i++)
            same += strcmp(t->shown[i].token->name, token->name) == 0;
        s->token = token;
        if (same == 1)
            snprintf(s->name, sizeof(s->name), "%.180s", token->name);
        else
            snprintf(s->name, sizeof(s->name), "%.180s#%u", token->name, same);
        t->count++;
    }
    return true;
}

char *ks_stats_render(bool pid, bool final, size_t *len)
{
    struct text t = {.final = final};
    char *text = NULL;
    bool ok = false;

    *len = 0;
    if (pid)
        snprintf(t.pid, sizeof(t.pid), "pid=\"%ld\",", (long)getpid());
    t.out = open_memstream(&text, len);
    if (t.out == NULL)
        return NULL;
    ks_registry_lock();
    if (name_tokens(&t)) {
        put_operations(&t);
        put_rare(&t, "hsm_retries_total", "Tries after the first, with the same token.",
                 of_retried);
        put_rare(&t, "hsm_failovers_total", "Operations that went on with another token.",
                 of_failed_over);
        put_failures(&t);
        put_histograms(&t, "hsm_queue_seconds",
                       "Time until the operation had a session, and between its tries.", true);
        put_histograms(&t, "hsm_call_seconds", "Time in the PKCS#11 module.", false);
        put_keys(&t, "hsm_key_operations_total", "counter", "Operations with a private key.",
                 put_key_operations);
        put_keys(&t, "hsm_key_call_seconds", "histogram",
                 "Time in the PKCS#11 module, for a private key.", put_key_histogram);
        put_tokens(&t);
        ok = true;
    }
    ks_registry_unlock();
    free(t.shown);
    if (fclose(t.out) != 0 || !ok) {
        free(text);
        return NULL;
    }
    return text;
}

ks_status ks_stats_text(char **out, struct ks_error *err)
{
    size_t len;

    *out = ks_stats_render(false, false, &len);
    return *out != NULL ? KS_SUCCESS : ks_no_memory(err);
}
