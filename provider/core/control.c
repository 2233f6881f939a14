/* SPDX-License-Identifier: Apache-2.0
 *
 * control.c - from the section of openssl.cnf, and from what the engine shim adds to it, to the
 * provider's configuration and token.
 *
 * A broken configuration poisons (prov_usable() raises it at every use); it fails nothing here.
 */
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "control.h"
#include "lifecycle.h"

/* The keys that the engine's commands map to. */
static const char *const supplied_keys[] = {"pkcs11-module", "pkcs11-init-args", "token", "pin"};
#define SUPPLIED (sizeof(supplied_keys) / sizeof(supplied_keys[0]))

struct prov_supplied {
    char *values[SUPPLIED];
    bool prompt;
};

static void supplied_free(struct prov_supplied *supplied)
{
    size_t i;

    if (supplied == NULL)
        return;
    for (i = 0; i < SUPPLIED; i++)
        OPENSSL_free(supplied->values[i]);
    OPENSSL_free(supplied);
}

/* --- where values come from ------------------------------------------------------------------ */

/* The section's; the string belongs to libcrypto and stays as long as the provider is loaded. */
static const char *core_value(void *arg, const char *key)
{
    const struct prov_ctx *ctx = arg;
    char *value = NULL;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_ptr(key, &value, 0),
        OSSL_PARAM_construct_end(),
    };

    if (ctx->core_get_params == NULL || !ctx->core_get_params(ctx->core, params))
        return NULL;
    return value;
}

/* The section's values, completed with the supplied ones. */
struct merged {
    struct prov_ctx *ctx;
    const struct prov_supplied *supplied; /* NULL: none */
    bool any_module;                      /* a missing module does not matter */
};

static const char *merged_value(void *arg, const char *key)
{
    const struct merged *merged = arg;
    const char *value = core_value(merged->ctx, key);
    size_t i;

    if (prov_config_unset(key, value))
        value = NULL;
    for (i = 0; value == NULL && merged->supplied != NULL && i < SUPPLIED; i++) {
        if (strcmp(supplied_keys[i], key) == 0)
            value = merged->supplied->values[i];
    }
    if (value == NULL && merged->supplied != NULL && merged->supplied->prompt &&
        strcmp(key, "pin") == 0)
        value = "prompt";
    if (value == NULL && merged->any_module && strcmp(key, "pkcs11-module") == 0)
        value = "any.so";
    return value;
}

static const char *named_value(void *arg, const char *key)
{
    const char *value = prov_config_overridden(key);

    return value != NULL ? value : merged_value(arg, key);
}

/* --- making it so ---------------------------------------------------------------------------- */

int prov_configure(struct prov_ctx *ctx)
{
    char why[1024] = "";
    const char *name = core_value(ctx, OSSL_PROV_PARAM_CORE_PROV_NAME);
    struct merged merged = {.ctx = ctx, .supplied = ctx->supplied};

    if (name == NULL)
        name = PROV_NAME;
    if (!prov_config_read(&ctx->config, merged_value, &merged, why, sizeof(why)))
        goto broken;
    if (prov_config_check_default(name, core_value, ctx, why, sizeof(why)) == 0)
        goto broken;
    ctx->token = prov_config_token(name, &ctx->config, named_value, &merged, why, sizeof(why));
    if (ctx->token == NULL)
        goto broken;
    if (!prov_stats_start(ctx, why, sizeof(why))) {
        ks_token_free(ctx->token);
        ctx->token = NULL;
        goto broken;
    }
    return 1;
broken:
    ctx->broken = OPENSSL_strdup(why);
    return ctx->broken != NULL;
}

void prov_unconfigure(struct prov_ctx *ctx)
{
    prov_stats_stop(ctx);
    ks_token_free(ctx->token);
    ctx->token = NULL;
    prov_config_clear(&ctx->config);
    OPENSSL_free(ctx->broken);
    ctx->broken = NULL;
}

void prov_supplied_free(struct prov_ctx *ctx)
{
    supplied_free(ctx->supplied);
    ctx->supplied = NULL;
}

/* --- the engine's entry ---------------------------------------------------------------------- */

static struct prov_supplied *supplied_from(const struct prov_ctx *ctx, const OSSL_PARAM params[])
{
    struct prov_supplied *supplied = OPENSSL_zalloc(sizeof(*supplied));
    const OSSL_PARAM *p;
    int prompt = 0;
    size_t i;

    if (supplied == NULL)
        goto fail;
    for (i = 0; i < SUPPLIED; i++) {
        p = OSSL_PARAM_locate_const(params, supplied_keys[i]);
        if (p != NULL && !OSSL_PARAM_get_utf8_string(p, &supplied->values[i], 0))
            goto fail;
    }
    p = OSSL_PARAM_locate_const(params, PROV_CONFIGURE_PROMPT);
    if (p != NULL && !OSSL_PARAM_get_int(p, &prompt))
        goto fail;
    supplied->prompt = prompt != 0;
    return supplied;
fail:
    prov_raise(ctx, PROV_R_PARAMETER, "the engine's settings cannot be read");
    supplied_free(supplied);
    return NULL;
}

static bool same_text(const char *a, const char *b)
{
    return (a == NULL) == (b == NULL) && (a == NULL || strcmp(a, b) == 0);
}

/* Whether the settings come to what is in use already. */
static bool in_use(struct prov_ctx *ctx, const struct prov_supplied *supplied)
{
    struct merged merged = {.ctx = ctx, .supplied = supplied};

    return ctx->broken == NULL &&
           same_text(merged_value(&merged, "pkcs11-module"), ctx->config.module) &&
           same_text(merged_value(&merged, "pkcs11-init-args"), ctx->config.init_args) &&
           same_text(merged_value(&merged, "token"), ctx->config.token) &&
           same_text(merged_value(&merged, "pin"), ctx->config.pin);
}

/* The section and the engine may say the same, but not different things. Values are not shown:
 * one may be a PIN. */
static bool agree(struct prov_ctx *ctx, const struct prov_supplied *supplied)
{
    const char *value;
    size_t i;

    for (i = 0; i < SUPPLIED; i++) {
        value = core_value(ctx, supplied_keys[i]);
        if (prov_config_unset(supplied_keys[i], value) || supplied->values[i] == NULL ||
            same_text(value, supplied->values[i]))
            continue;
        prov_raise(ctx, PROV_R_CONFIG,
                   "the provider's section and the engine's commands have different values for %s: "
                   "keep the section's, and remove the engine's",
                   supplied_keys[i]);
        return false;
    }
    return true;
}

/* Whether the values that are there are good; a module may still be missing. */
static bool valid(struct prov_ctx *ctx, const struct prov_supplied *supplied)
{
    struct merged merged = {.ctx = ctx, .supplied = supplied, .any_module = true};
    struct prov_config config;
    char why[1024] = "";
    int ok = prov_config_read(&config, merged_value, &merged, why, sizeof(why));

    prov_config_clear(&config);
    if (!ok)
        prov_raise(ctx, PROV_R_CONFIG, "%s", why);
    return ok == 1;
}

static pthread_mutex_t entry_lock = PTHREAD_MUTEX_INITIALIZER;

void prov_configure_forked(void)
{
    pthread_mutex_init(&entry_lock, NULL);
}

int prov_configure_entry(void *provctx, const OSSL_PARAM params[])
{
    struct prov_ctx *ctx = provctx;
    struct prov_supplied *supplied;
    int ok = 0;

    pthread_mutex_lock(&entry_lock);
    supplied = supplied_from(ctx, params);
    if (supplied == NULL || !agree(ctx, supplied) || !valid(ctx, supplied))
        goto out;
    if (!in_use(ctx, supplied)) {
        if (ctx->token != NULL && ks_token_started(ctx->token)) {
            prov_raise(
                ctx, PROV_R_CONFIG,
                "the PKCS#11 module is in use: MODULE_PATH, INIT_ARGS, TOKEN and PIN have to "
                "come before the first key");
            goto out;
        }
        /* The old handle first: two for one token with different settings are refused. */
        prov_unconfigure(ctx);
        supplied_free(ctx->supplied);
        ctx->supplied = supplied;
        supplied = NULL;
        if (!prov_configure(ctx)) {
            prov_raise(ctx, PROV_R_SOFTWARE, "out of memory");
            goto out;
        }
    }
    ok = 1;
out:
    supplied_free(supplied);
    pthread_mutex_unlock(&entry_lock);
    return ok;
}

int prov_slot(struct prov_ctx *ctx, OSSL_PARAM *p)
{
    struct ks_token_facts facts;
    struct ks_error err;

    if (!prov_usable(ctx))
        return 0;
    if (!ks_ok(ks_token_facts(ctx->token, NULL, &facts, &err))) {
        prov_raise_ks(ctx, &err);
        return 0;
    }
    return OSSL_PARAM_set_ulong(p, facts.slot);
}
