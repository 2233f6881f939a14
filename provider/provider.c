/* SPDX-License-Identifier: Apache-2.0
 *
 * provider.c - entry, configuration and teardown. No algorithms here.
 *
 * A broken configuration does not fail OSSL_provider_init(): libcrypto would go on without us,
 * in silence. It poisons: every use raises what is wrong.
 */
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/provider.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "prov_local.h"

#define PROV_FULL_NAME "OpenSSL HSM provider (PKCS#11)"

/* --- hooks around calls into PKCS#11 modules -------------------------------------------------- */

/* A module may be built on the same libcrypto. While it runs, the thread's default library
 * context is one of its own, so that nothing it fetches can come back to us; and what it leaves in
 * the thread's error queue is taken away again, or it would look like our caller's failure. The
 * context is never freed: the module may use it until the process ends. */
static OSSL_LIB_CTX *module_libctx;
static pthread_once_t module_libctx_once = PTHREAD_ONCE_INIT;

static void make_module_libctx(void)
{
    OSSL_LIB_CTX *libctx = OSSL_LIB_CTX_new();

    if (libctx != NULL && OSSL_PROVIDER_load(libctx, "default") == NULL) {
        OSSL_LIB_CTX_free(libctx);
        libctx = NULL;
    }
    module_libctx = libctx;
}

static void *hook_enter(void)
{
    (void)pthread_once(&module_libctx_once, make_module_libctx);
    /* What a module on libcrypto leaves in the error queue is not the application's: "padding
     * check failed" in there would be an oracle, and any left-over fails libssl's next call. */
    (void)ERR_set_mark();
    return module_libctx != NULL ? OSSL_LIB_CTX_set0_default(module_libctx) : NULL;
}

static void hook_leave(void *cookie)
{
    if (cookie != NULL)
        (void)OSSL_LIB_CTX_set0_default(cookie);
    (void)ERR_pop_to_mark(); /* an empty queue takes no mark, and is empty again then */
}

static const struct ks_hooks hooks = {hook_enter, hook_leave};

static void once_per_process(void)
{
    ks_set_hooks(&hooks);
#if OPENSSL_VERSION_MAJOR < 4
    /* For programs that call OPENSSL_cleanup() themselves; exit() alone is ks_shutdown's own. */
    (void)OPENSSL_atexit(ks_shutdown);
#endif
}

/* --- configuration ---------------------------------------------------------------------------- */

struct core_values {
    const OSSL_CORE_HANDLE *core;
    OSSL_FUNC_core_get_params_fn *get_params;
};

/* The string belongs to libcrypto and stays as long as the provider is loaded. */
static const char *core_value(void *arg, const char *key)
{
    const struct core_values *values = arg;
    char *value = NULL;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_ptr(key, &value, 0),
        OSSL_PARAM_construct_end(),
    };

    if (values->get_params == NULL || !values->get_params(values->core, params))
        return NULL;
    return value;
}

/* Fills ctx->config and ctx->token, or ctx->broken. Returns 0 only when memory is out. */
static int configure(struct prov_ctx *ctx, struct core_values *values)
{
    char why[1024] = "";
    const char *name = core_value(values, OSSL_PROV_PARAM_CORE_PROV_NAME);
    struct ks_token_config config;
    struct ks_error err;

    if (name == NULL)
        name = PROV_NAME;
    if (!prov_config_read(&ctx->config, core_value, values, why, sizeof(why)))
        goto broken;
    if (prov_config_check_default(name, core_value, values, why, sizeof(why)) == 0)
        goto broken;
    config = (struct ks_token_config){
        .name = name,
        .module = ctx->config.module,
        .init_args = ctx->config.init_args,
        .token = ctx->config.token,
        .pin = ctx->config.pin,
        .sessions = ctx->config.sessions,
    };
    if (!ks_ok(ks_token_new(&config, &ctx->token, &err))) {
        snprintf(why, sizeof(why), "%s", err.text);
        ctx->token = NULL;
        goto broken;
    }
    return 1;
broken:
    ctx->broken = OPENSSL_strdup(why);
    return ctx->broken != NULL;
}

/* --- what the core asks of us ----------------------------------------------------------------- */

static const OSSL_PARAM *gettable_params(void *provctx)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_utf8_ptr(OSSL_PROV_PARAM_NAME, NULL, 0),
        OSSL_PARAM_utf8_ptr(OSSL_PROV_PARAM_VERSION, NULL, 0),
        OSSL_PARAM_utf8_ptr(OSSL_PROV_PARAM_BUILDINFO, NULL, 0),
        OSSL_PARAM_int(OSSL_PROV_PARAM_STATUS, NULL),
        OSSL_PARAM_END,
    };

    (void)provctx;
    return params;
}

static int get_params(void *provctx, OSSL_PARAM params[])
{
    OSSL_PARAM *p;

    (void)provctx;
    p = OSSL_PARAM_locate(params, OSSL_PROV_PARAM_NAME);
    if (p != NULL && !OSSL_PARAM_set_utf8_ptr(p, PROV_FULL_NAME))
        return 0;
    p = OSSL_PARAM_locate(params, OSSL_PROV_PARAM_VERSION);
    if (p != NULL && !OSSL_PARAM_set_utf8_ptr(p, HSM_VERSION))
        return 0;
    p = OSSL_PARAM_locate(params, OSSL_PROV_PARAM_BUILDINFO);
    if (p != NULL && !OSSL_PARAM_set_utf8_ptr(p, HSM_VERSION " for " OPENSSL_VERSION_TEXT))
        return 0;
    /* A broken configuration is an error at use, with its reason. */
    p = OSSL_PARAM_locate(params, OSSL_PROV_PARAM_STATUS);
    return p == NULL || OSSL_PARAM_set_int(p, 1);
}

static const OSSL_ALGORITHM *query_operation(void *provctx, int operation_id, int *no_cache)
{
    *no_cache = 0;
    return prov_algorithms(provctx, operation_id);
}

static const OSSL_ITEM *get_reason_strings(void *provctx)
{
    (void)provctx;
    return prov_reason_strings();
}

static void teardown(void *provctx)
{
    struct prov_ctx *ctx = provctx;

    if (ctx == NULL)
        return;
    ks_token_free(ctx->token);
    prov_config_clear(&ctx->config);
    OPENSSL_free(ctx->broken);
    OSSL_LIB_CTX_free(ctx->libctx);
    OPENSSL_free(ctx);
}

static const OSSL_DISPATCH dispatch[] = {
    {OSSL_FUNC_PROVIDER_TEARDOWN, (void (*)(void))teardown},
    {OSSL_FUNC_PROVIDER_GETTABLE_PARAMS, (void (*)(void))gettable_params},
    {OSSL_FUNC_PROVIDER_GET_PARAMS, (void (*)(void))get_params},
    {OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))query_operation},
    {OSSL_FUNC_PROVIDER_GET_REASON_STRINGS, (void (*)(void))get_reason_strings},
    {0, NULL},
};

static void take_core_functions(struct prov_ctx *ctx, struct core_values *values,
                                const OSSL_DISPATCH *in)
{
    for (; in->function_id != 0; in++) {
        switch (in->function_id) {
        case OSSL_FUNC_CORE_GET_PARAMS:
            values->get_params = OSSL_FUNC_core_get_params(in);
            break;
        case OSSL_FUNC_CORE_NEW_ERROR:
            ctx->core_new_error = OSSL_FUNC_core_new_error(in);
            break;
        case OSSL_FUNC_CORE_SET_ERROR_DEBUG:
            ctx->core_set_error_debug = OSSL_FUNC_core_set_error_debug(in);
            break;
        case OSSL_FUNC_CORE_VSET_ERROR:
            ctx->core_vset_error = OSSL_FUNC_core_vset_error(in);
            break;
        default:
            break;
        }
    }
}

int OSSL_provider_init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in,
                       const OSSL_DISPATCH **out, void **provctx)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct core_values values = {.core = handle};
    struct prov_ctx *ctx = OPENSSL_zalloc(sizeof(*ctx));

    if (ctx == NULL)
        return 0;
    ctx->core = handle;
    take_core_functions(ctx, &values, in);
    ctx->libctx = OSSL_LIB_CTX_new_child(handle, in);
    if (ctx->libctx == NULL || pthread_once(&once, once_per_process) != 0 ||
        !configure(ctx, &values)) {
        teardown(ctx);
        return 0;
    }
    *out = dispatch;
    *provctx = ctx;
    return 1;
}
