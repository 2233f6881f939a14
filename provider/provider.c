/* SPDX-License-Identifier: Apache-2.0
 *
 * provider.c - entry and teardown. No algorithms here.
 *
 * A broken configuration does not fail OSSL_provider_init(): libcrypto would go on without us,
 * in silence. It poisons: every use raises what is wrong.
 */
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <pthread.h>
#include <stdio.h>

#include "algorithms.h"
#include "core/async.h"
#include "core/control.h"
#include "core/fetch_cache.h"
#include "core/lifecycle.h"
#include "key/types.h"
#include "provider.h"

#define PROV_FULL_NAME "OpenSSL HSM provider (PKCS#11)"

static void forked(void)
{
    prov_configure_forked();
    prov_children_forked();
}

/* libcrypto cleans up: at exit(), or earlier if the program calls OPENSSL_cleanup() itself. */
static void cleaning_up(void)
{
    ks_shutdown();
    prov_children_keep();
}

static void once_per_process(void)
{
    prov_hooks_install();
    ks_set_pauser(&prov_async_pauser);
    (void)pthread_atfork(NULL, NULL, forked);
#if OPENSSL_VERSION_MAJOR < 4
    (void)OPENSSL_atexit(cleaning_up);
#endif
}

/* --- what the core asks of us ---------------------------------------------------------------- */

static const OSSL_PARAM *gettable_params(void *provctx)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_utf8_ptr(OSSL_PROV_PARAM_NAME, NULL, 0),
        OSSL_PARAM_utf8_ptr(OSSL_PROV_PARAM_VERSION, NULL, 0),
        OSSL_PARAM_utf8_ptr(OSSL_PROV_PARAM_BUILDINFO, NULL, 0),
        OSSL_PARAM_int(OSSL_PROV_PARAM_STATUS, NULL),
        OSSL_PARAM_utf8_ptr(PROV_PARAM_STATS, NULL, 0),
        OSSL_PARAM_END,
    };

    (void)provctx;
    return params;
}

static int get_params(void *provctx, OSSL_PARAM params[])
{
    OSSL_PARAM *p;

    /* Not among the gettable ones: the engine's alone. */
    p = OSSL_PARAM_locate(params, PROV_PARAM_SLOT);
    if (p != NULL && !prov_slot(provctx, p))
        return 0;
    p = OSSL_PARAM_locate(params, PROV_PARAM_STATS);
    if (p != NULL && !prov_stats_answer(provctx, p))
        return 0;
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
    prov_fetch_missed(provctx, operation_id);
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
    prov_unconfigure(ctx);
    prov_supplied_free(ctx);
    prov_child_free(ctx->libctx, ctx->link);
    OPENSSL_free(ctx);
}

static const OSSL_DISPATCH dispatch[] = {
    {OSSL_FUNC_PROVIDER_TEARDOWN, (void (*)(void))teardown},
    {OSSL_FUNC_PROVIDER_GETTABLE_PARAMS, (void (*)(void))gettable_params},
    {OSSL_FUNC_PROVIDER_GET_PARAMS, (void (*)(void))get_params},
    {OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))query_operation},
    {OSSL_FUNC_PROVIDER_GET_REASON_STRINGS, (void (*)(void))get_reason_strings},
    {PROV_FUNC_CONFIGURE, (void (*)(void))prov_configure_entry},
    {0, NULL},
};

static void take_core_functions(struct prov_ctx *ctx, const OSSL_DISPATCH *in)
{
    for (; in->function_id != 0; in++) {
        switch (in->function_id) {
        case OSSL_FUNC_CORE_GET_PARAMS:
            ctx->core_get_params = OSSL_FUNC_core_get_params(in);
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

/* The one thing that does fail OSSL_provider_init(): with a mixture of libcryptos not even an error
 * at use can be promised. libcrypto is silent about a provider that its configuration names and
 * that does not come up, so it is said on stderr as well. */
static int libcrypto_will_do(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in)
{
    struct prov_ctx raising = {.core = handle};
    char why[1024];

    if (prov_one_libcrypto(why, sizeof(why)))
        return 1;
    take_core_functions(&raising, in);
    prov_raise(&raising, PROV_R_UNSUPPORTED, "%s", why);
    fprintf(stderr, "hsm provider: not loaded: %s\n", why);
    return 0;
}

int OSSL_provider_init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in,
                       const OSSL_DISPATCH **out, void **provctx)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct prov_ctx *ctx;

    if (!libcrypto_will_do(handle, in))
        return 0;
    ctx = OPENSSL_zalloc(sizeof(*ctx));
    if (ctx == NULL)
        return 0;
    ctx->core = handle;
    take_core_functions(ctx, in);
    prov_fetch_cache_init(ctx, in, prov_type_names);
    ctx->libctx = prov_child_new(handle, in, &ctx->link);
    if (ctx->libctx == NULL || pthread_once(&once, once_per_process) != 0 || !prov_configure(ctx)) {
        teardown(ctx);
        return 0;
    }
    *out = dispatch;
    *provctx = ctx;
    return 1;
}
