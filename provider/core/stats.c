/* SPDX-License-Identifier: Apache-2.0
 *
 * stats.c - statistics and the log, as the provider's section configures them, and statistics
 * as a parameter of the provider.
 */
#include <openssl/crypto.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lifecycle.h"

/* What is on. */
struct prov_stats {
    char *file; /* NULL: none */
    bool log;
};

bool prov_stats_no_file;

int prov_stats_start(struct prov_ctx *ctx, char *why, size_t why_size)
{
    const struct ks_log_config log = {
        .target = ctx->config.log, .level = ctx->config.log_level, .audit = ctx->config.audit};
    struct prov_stats *w = OPENSSL_zalloc(sizeof(*w));
    struct ks_error err;

    if (w == NULL) {
        snprintf(why, why_size, "out of memory while the configuration was read");
        return 0;
    }
    ctx->stats = w;
    if (ctx->config.log != NULL) {
        if (!ks_ok(ks_log_open(&log, &err)))
            goto failed;
        w->log = true;
    }
    if (ctx->config.stats_file != NULL && !prov_stats_no_file &&
        secure_getenv(PROV_ENV_TRIAL) == NULL) {
        w->file = OPENSSL_strdup(ctx->config.stats_file);
        if (w->file == NULL) {
            snprintf(why, why_size, "out of memory while the configuration was read");
            return 0;
        }
        if (!ks_ok(ks_stats_file_add(w->file, &err))) {
            OPENSSL_free(w->file);
            w->file = NULL;
            goto failed;
        }
    }
    return 1;
failed:
    snprintf(why, why_size, "%s", err.text);
    return 0;
}

void prov_stats_stop(struct prov_ctx *ctx)
{
    struct prov_stats *w = ctx->stats;

    if (w == NULL)
        return;
    ctx->stats = NULL;
    if (w->file != NULL)
        ks_stats_file_drop(w->file);
    if (w->log)
        ks_log_close();
    OPENSSL_free(w->file);
    OPENSSL_free(w);
}

/* What a thread was answered with last, by a pointer. It is the thread's own, so that nobody else's
 * question takes it away, and it is released with the thread; we are never unmapped. */
static pthread_key_t answer;
static pthread_once_t answer_once = PTHREAD_ONCE_INIT;
static bool answer_made;

static void make_answer(void)
{
    answer_made = pthread_key_create(&answer, free) == 0;
}

int prov_stats_answer(struct prov_ctx *ctx, OSSL_PARAM *p)
{
    char *text = NULL, *before;
    struct ks_error err;
    int ok;

    if (!prov_usable(ctx))
        return 0;
    if (!ks_ok(ks_stats_text(&text, &err))) {
        prov_raise_ks(ctx, &err);
        return 0;
    }
    if (p->data_type == OSSL_PARAM_UTF8_STRING) {
        ok = OSSL_PARAM_set_utf8_string(p, text);
        free(text);
        return ok;
    }
    (void)pthread_once(&answer_once, make_answer);
    before = answer_made ? pthread_getspecific(answer) : NULL;
    ok = answer_made && pthread_setspecific(answer, text) == 0;
    if (!ok) {
        free(text);
        prov_raise(ctx, PROV_R_SOFTWARE, "out of memory for the statistics' text");
        return 0;
    }
    free(before);
    return OSSL_PARAM_set_utf8_ptr(p, text);
}
