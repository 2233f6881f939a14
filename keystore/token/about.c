/* SPDX-License-Identifier: Apache-2.0
 *
 * about.c - failures of a token, which name it, and what every file asks about one.
 */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../observe/log.h"
#include "connect.h"

static _Atomic uint64_t epochs;

uint64_t ks_epoch_new(void)
{
    return atomic_fetch_add(&epochs, 1) + 1;
}

const char *ks_token_label(const struct ks_token *token)
{
    const char *label = atomic_load(&token->label);

    return label != NULL ? label : "";
}

bool ks_token_is_up_unlocked(const struct ks_token *token)
{
    return token->pool.epoch != 0 && token->pool.fork_count == ks_fork_count() &&
           token->pool.init_count ==
               atomic_load_explicit(&token->module->init_count, memory_order_relaxed);
}

bool ks_token_is_up(struct ks_token *token)
{
    bool up;

    pthread_mutex_lock(&token->pool.lock);
    up = ks_token_is_up_unlocked(token);
    pthread_mutex_unlock(&token->pool.lock);
    return up;
}

ks_status ks_fail_token(struct ks_error *err, const struct ks_token *token, enum ks_code code,
                        const char *fmt, ...)
{
    va_list ap;

    if (err != NULL) {
        size_t n = ks_error_begin(err, code, token != NULL ? ks_token_label(token) : NULL,
                                  token != NULL ? token->name : NULL);

        va_start(ap, fmt);
        vsnprintf(err->text + n, sizeof(err->text) - n, fmt, ap);
        va_end(ap);
    }
    return (ks_status){code};
}

ks_status ks_fail_rv(struct ks_error *err, const struct ks_token *token, enum ks_fn function,
                     CK_RV rv, const char *hint)
{
    return ks_error_rv(err, token != NULL ? ks_token_label(token) : NULL,
                       token != NULL ? token->name : NULL, function, rv, hint);
}

ks_status ks_gate_enter_since(struct ks_gate *gate, const struct ks_token *token,
                              unsigned init_count, enum ks_fn function, struct ks_error *err)
{
    ks_status st = ks_gate_enter(gate, token->module, err);

    if (!ks_ok(st) || atomic_load(&token->module->init_count) == init_count)
        return st;
    ks_gate_leave(gate);
    return ks_fail_rv(err, token, function, CKR_SESSION_HANDLE_INVALID, NULL);
}

ks_status ks_call_rv(struct ks_call *call, enum ks_fn function, CK_RV rv)
{
    call->function = function;
    call->rv = rv;
    if (rv == CKR_OK)
        return KS_SUCCESS;
    return ks_fail_rv(call->err, call->token, function, rv, NULL);
}

/* --- what is counted and logged of a token --------------------------------------------------- */

void ks_token_count_refused(const struct ks_token *token, enum ks_operation class, const char *key,
                            const char *why)
{
    struct ks_token *t = (struct ks_token *)token; /* counters are not what const is about */

    ks_count(&t->stats.rare[class].refused, 1);
    ks_log_event(KS_LOG_WARN, "refused", token->name, "class", ks_op_class_names[class], "key", key,
                 "reason", why, NULL);
    ks_stats_tell();
}

void ks_stats_refused(const struct ks_token *token, enum ks_operation class, const char *key,
                      const char *why)
{
    ks_token_count_refused(token, class, key, why);
    ks_log_audit_line(token->name, class, key, "refused", why);
}

void ks_token_note_down(struct ks_token *token, uint64_t epoch, enum ks_fn function,
                        unsigned long rv)
{
    uint64_t before = atomic_load(&token->stats.lost_epoch);

    do
        if (before >= epoch)
            return;
    while (!atomic_compare_exchange_weak(&token->stats.lost_epoch, &before, epoch));
    atomic_store(&token->stats.lost, true);
    ks_log_call(KS_LOG_WARN, "token-down", token->name, function, rv);
}

void ks_token_note_up(struct ks_token *token)
{
    bool recovered = atomic_exchange(&token->stats.lost, false);

    ks_count(&token->stats.ups, 1);
    if (recovered)
        ks_count(&token->stats.recoveries, 1);
    ks_log_event(recovered ? KS_LOG_WARN : KS_LOG_INFO, "token-up", token->name, "label",
                 token->conn.facts.label, "serial", token->conn.facts.serial, "recovered",
                 recovered ? "yes" : "no", NULL);
}
