/* SPDX-License-Identifier: Apache-2.0
 *
 * ks_stats.c - counters and latency histograms of each token, and their text for Prometheus.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ks_internal.h"

const char *const ks_op_class_names[KS_OP_CLASSES] = {
    [KS_OP_OTHER] = "other",       [KS_OP_SIGN] = "sign",     [KS_OP_DECRYPT] = "decrypt",
    [KS_OP_DERIVE] = "derive",     [KS_OP_RANDOM] = "random", [KS_OP_FIND] = "find",
    [KS_OP_GENERATE] = "generate",
};

/* Names of the statuses without a CKR_ code. */
static const char *const code_names[] = {
#define KS_STATUS(name, text) [KS_##name] = #name,
#include "ks_status.def"
#undef KS_STATUS
};

static pthread_mutex_t keys_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_uint next_stripe;

static void add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static uint64_t get(_Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
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

bool ks_counts_as_done(enum ks_op_class class, ks_status st)
{
    return ks_ok(st) || (class == KS_OP_DECRYPT && st.code == KS_DATA);
}

/* The CKR_ value behind a failure: of the step, or of what came before it. */
static CK_RV failure_rv(const struct ks_op *op)
{
    if (op->rv != CKR_OK)
        return op->rv;
    return op->err != NULL ? op->err->rv : CKR_OK;
}

static const char *rv_text(CK_RV rv, char *room, size_t size)
{
    const char *name = ks_rv_name(rv);

    if (rv < CKR_VENDOR_DEFINED && strncmp(name, "CKR_", 4) == 0)
        return name;
    snprintf(room, size, "0x%lx", (unsigned long)rv);
    return room;
}

const char *ks_failure_name(const struct ks_op *op, ks_status st, char *room, size_t size)
{
    CK_RV rv = failure_rv(op);

    return rv != CKR_OK ? rv_text(rv, room, size) : code_names[st.code];
}

#define WHAT_STATUS ((uint64_t)1 << 40) /* the low half is a ks_code and not a CK_RV */
#define WHAT_USED   ((uint64_t)1 << 41)

/* Count one (class, code); entries are taken and never given back. */
static void count_failure(struct ks_stats *stats, enum ks_op_class class, CK_RV rv, ks_status st)
{
    uint64_t what = WHAT_USED | (uint64_t) class << 48 |
                    (rv != CKR_OK ? (uint64_t)(rv & 0xffffffffU) : WHAT_STATUS | st.code);

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
                 op->function != NULL && op->function[0] != '\0' ? op->function : NULL, "code",
                 ks_failure_name(op, st, room, sizeof(room)), "text",
                 op->err != NULL && op->err->code == st.code ? op->err->text : NULL, NULL);
}

/* What is not accounted for yet: a call that was left behind was in the module for all we know;
 * everything else waited. */
static void failed(struct ks_op *op, ks_status st)
{
    uint64_t rest = ks_now_ns() - op->measure.mark_ns;

    if (st.code == KS_TIMEOUT && op->function == NULL)
        op->measure.call_ns += rest;
    else if (op->measure.call_ns == 0)
        op->measure.queue_ns += rest;
    add(&op->token->stats.rare[op->class].failed, 1);
    count_failure(&op->token->stats, op->class, failure_rv(op), st);
    if (op->key != NULL && op->key->stats != NULL)
        add(&op->key->stats->failed, 1);
    log_failure(op, st);
}

void ks_stats_end(struct ks_op *op, ks_status st)
{
    struct ks_class_stats *c = &stripe(op->token)->classes[op->class];

    if (ks_counts_as_done(op->class, st)) {
        add(&c->done, 1);
        if (op->key != NULL && op->key->stats != NULL)
            add(&op->key->stats->done, 1);
    } else {
        failed(op, st);
    }
    observe(&c->queue, op->measure.queue_ns);
    if (op->measure.call_ns > 0)
        observe(&c->call, op->measure.call_ns);
    if (op->measure.retries > 0)
        add(&op->token->stats.rare[op->class].retried, op->measure.retries);
    if (atomic_load_explicit(&ks_stats_file_wanted, memory_order_relaxed))
        ks_stats_file_touch();
}

static void count_refused(const struct ks_token *token, enum ks_op_class class, const char *key,
                          const char *why)
{
    struct ks_token *t = (struct ks_token *)token; /* counters are not what const is about */

    add(&t->stats.rare[class].refused, 1);
    ks_log_event(KS_LOG_WARN, "refused", token, "class", ks_op_class_names[class], "key", key,
                 "reason", why, NULL);
    if (atomic_load_explicit(&ks_stats_file_wanted, memory_order_relaxed))
        ks_stats_file_touch();
}

void ks_stats_refused(const struct ks_token *token, enum ks_op_class class, const char *key,
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

void ks_stats_failed_over(struct ks_token *from, const struct ks_token *to, enum ks_op_class class)
{
    add(&from->stats.rare[class].failed_over, 1);
    ks_log_event(KS_LOG_WARN, "failover", from, "class", ks_op_class_names[class], "to", to->name,
                 NULL);
}

void ks_stats_token_down(struct ks_token *token, uint64_t epoch, const char *function,
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
    pthread_mutex_lock(&keys_lock);
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
    pthread_mutex_unlock(&keys_lock);
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
    pthread_mutex_init(&keys_lock, NULL);
    for (struct ks_token *t = tokens; t != NULL; t = t->next) {
        struct ks_key_stats *keys = t->stats.keys;
        unsigned count = t->stats.key_count;

        memset(&t->stats, 0, sizeof(t->stats));
        t->stats.keys = keys;
        t->stats.key_count = count;
        for (; keys != NULL; keys = keys->next) {
            atomic_store(&keys->done, 0);
            atomic_store(&keys->failed, 0);
        }
    }
    atomic_store(&ks_log_lost, 0);
    ks_log_forked();
    ks_stats_file_forked();
}

/* --- text ------------------------------------------------------------------------------------ */

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
            put_class(t, "hsm_failures_total", &t->shown[i], (unsigned)(what >> 48));
            fprintf(t->out, ",code=\"%s\"} %" PRIu64 "\n",
                    what & WHAT_STATUS ? code_names[what & 0xff]
                                       : rv_text((CK_RV)(what & 0xffffffffU), room, sizeof(room)),
                    get(&stats->failures[f].count));
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

/* One histogram: all stripes together, buckets that add up. */
static void put_histogram(const struct text *t, const char *name, const struct shown *s,
                          unsigned class, bool queue)
{
    uint64_t buckets[KS_STATS_BUCKETS + 1] = {0}, sum = 0, total = 0;
    char bucket[64], label[64];

    for (unsigned i = 0; i < KS_STATS_STRIPES; i++) {
        struct ks_class_stats *c = &s->token->stats.stripes[i].classes[class];
        struct ks_histogram *h = queue ? &c->queue : &c->call;

        for (unsigned b = 0; b <= KS_STATS_BUCKETS; b++)
            buckets[b] += get(&h->buckets[b]);
        sum += get(&h->sum_ns);
    }
    snprintf(bucket, sizeof(bucket), "%s_bucket", name);
    for (unsigned b = 0; b <= KS_STATS_BUCKETS; b++) {
        uint64_t us = (uint64_t)1 << (b + KS_STATS_SHIFT);

        total += buckets[b];
        if (b < KS_STATS_BUCKETS)
            snprintf(label, sizeof(label), "%" PRIu64 ".%06" PRIu64, us / 1000000U, us % 1000000U);
        else
            snprintf(label, sizeof(label), "+Inf");
        put_class(t, bucket, s, class);
        fprintf(t->out, ",le=\"%s\"} %" PRIu64 "\n", label, total);
    }
    snprintf(bucket, sizeof(bucket), "%s_sum", name);
    put_class(t, bucket, s, class);
    fputs("} ", t->out);
    put_seconds(t->out, sum);
    snprintf(bucket, sizeof(bucket), "%s_count", name);
    putc('\n', t->out);
    put_class(t, bucket, s, class);
    fprintf(t->out, "} %" PRIu64 "\n", total);
}

static void put_histograms(const struct text *t, const char *name, const char *help, bool queue)
{
    put_head(t, name, "histogram", help);
    for (size_t i = 0; i < t->count; i++)
        for (unsigned c = 0; c < KS_OP_CLASSES; c++)
            if (class_used(&t->shown[i].token->stats, c))
                put_histogram(t, name, &t->shown[i], c, queue);
}

static void put_keys(const struct text *t)
{
    put_head(t, "hsm_key_operations_total", "counter", "Operations with a private key.");
    pthread_mutex_lock(&keys_lock);
    for (size_t i = 0; i < t->count; i++) {
        for (struct ks_key_stats *k = t->shown[i].token->stats.keys; k != NULL; k = k->next) {
            for (int r = 0; r < 2; r++) {
                put_name(t, "hsm_key_operations_total", &t->shown[i]);
                fputs(",key=\"", t->out);
                put_escaped(t->out, k->uri);
                fprintf(t->out, "\",result=\"%s\"} %" PRIu64 "\n", r == 0 ? "done" : "failed",
                        get(r == 0 ? &k->done : &k->failed));
            }
        }
    }
    pthread_mutex_unlock(&keys_lock);
}

struct state {
    bool up;
    unsigned open, busy, limit, waiting;
};

static struct state state_of(struct ks_token *token)
{
    struct state s = {0};

    pthread_mutex_lock(&token->lock);
    s.up = ks_token_up_locked(token);
    if (s.up) {
        s.open = token->open_count;
        s.busy = token->open_count - token->idle_count;
        s.limit = token->limit;
        s.waiting = ks_session_waiting(token);
    }
    pthread_mutex_unlock(&token->lock);
    s.up = s.up && !ks_token_hung(token);
    for (size_t i = 0; i < token->member_count; i++)
        s.up = s.up || state_of(token->members[i]).up;
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
    put_head(t, "hsm_sessions", "gauge",
             "Sessions that are open, and of these busy; the limit; operations that wait for one.");
    for (size_t i = 0; i < t->count; i++)
        if (t->shown[i].token->members == NULL) /* a group of tokens has none of its own */
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

    for (struct ks_token *token = ks_tokens_locked(); token != NULL; token = token->next)
        n++;
    t->shown = calloc(n + 1, sizeof(*t->shown));
    if (t->shown == NULL)
        return false;
    for (struct ks_token *token = ks_tokens_locked(); token != NULL; token = token->next) {
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
        put_keys(&t);
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
