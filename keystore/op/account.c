/* SPDX-License-Identifier: Apache-2.0
 *
 * account.c - what an operation adds to the statistics, the log and the audit when it has ended.
 */
#include "../base/clock.h"
#include "../observe/log.h"
#include "op.h"

/* The CKR_ value behind a failure, of the step or of what came before it; CKR_OK without one. */
static CK_RV rv_of(const struct ks_op *op)
{
    if (op->call.rv != CKR_OK)
        return op->call.rv;
    return op->call.err != NULL ? op->call.err->rv : CKR_OK;
}

static const char *key_uri(const struct ks_op *op)
{
    return op->key != NULL && op->key->stats != NULL ? op->key->stats->uri : NULL;
}

/* Failures that callers can provoke, or after which another way is taken: not worth a warning. */
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
    ks_log_event(level, "operation-failed", op->call.token->name, "class",
                 ks_op_class_names[op->class], "key", key_uri(op), "function",
                 op->call.function != KS_NO_FUNCTION ? ks_fn_name(op->call.function) : NULL, "code",
                 ks_failure_name(rv_of(op), st, room, sizeof(room)), "text",
                 op->call.err != NULL && op->call.err->code == st.code ? op->call.err->text : NULL,
                 NULL);
}

/* Account for the time since the last mark, too: as time in the module if the call was left behind
 * there, otherwise as time in the queue. */
static void failed(struct ks_op *op, ks_status st)
{
    uint64_t rest = ks_now_ns() - op->measure.mark_ns;

    if (st.code == KS_TIMEOUT && !op->attempted)
        op->measure.call_ns += rest;
    else if (op->measure.call_ns == 0)
        op->measure.queue_ns += rest;
    ks_count(&op->call.token->stats.rare[op->class].failed, 1);
    ks_stats_failure(&op->call.token->stats, op->class, rv_of(op), st);
    log_failure(op, st);
}

void ks_account_end(struct ks_op *op, ks_status st)
{
    struct ks_class_stats *c = &ks_stats_stripe(&op->call.token->stats)->classes[op->class];
    struct ks_key_stats *key = op->key != NULL ? op->key->stats : NULL;
    const bool done = ks_counts_as_done(op->class, st);

    if (done)
        ks_count(&c->done, 1);
    else
        failed(op, st);
    ks_histogram_add(&c->queue, op->measure.queue_ns);
    if (op->measure.call_ns > 0)
        ks_histogram_add(&c->call, op->measure.call_ns);
    if (key != NULL) {
        ks_count(done ? &key->counts.done : &key->counts.failed, 1);
        if (op->measure.call_ns > 0)
            ks_histogram_add(&key->counts.call, op->measure.call_ns);
    }
    if (op->measure.retries > 0)
        ks_count(&op->call.token->stats.rare[op->class].retried, op->measure.retries);
    ks_stats_tell();
}

void ks_account_no_member(const struct ks_op *op)
{
    ks_token_count_refused(op->call.token, op->class, key_uri(op), "no member answers");
}

void ks_account_failed_over(struct ks_token *from, const struct ks_token *to,
                            enum ks_operation class)
{
    ks_count(&from->stats.rare[class].failed_over, 1);
    ks_log_event(KS_LOG_WARN, "failover", from->name, "class", ks_op_class_names[class], "to",
                 to->name, NULL);
}

void ks_account_audit(const struct ks_op *op, ks_status st)
{
    const struct ks_token *on = op->ran_on != NULL ? op->ran_on : op->call.token;
    bool done = ks_counts_as_done(op->class, st);
    char room[32];

    if (op->key == NULL)
        return; /* no private key has a part in it; ks_generate() writes its own line */
    ks_log_audit_line(on->name, op->class, key_uri(op) != NULL ? key_uri(op) : "",
                      done ? "done" : "failed",
                      done ? NULL : ks_failure_name(rv_of(op), st, room, sizeof(room)));
}
