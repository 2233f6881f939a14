/* SPDX-License-Identifier: Apache-2.0
 *
 * fetch_cache.c - keeps our key managements from being the answer to a program that did not ask for
 * them.
 *
 * For every operation with one of our keys libcrypto fetches the key's key management ("EC") from
 * our provider, and remembers that under its name and the property query, which most often is
 * empty. It remembers in the same place what a program gets that asks for "EC" without a query,
 * and there it does not look whose the answer is: the first one that it finds under the name will
 * do, which is the one that was put there first (evp_fetch.c, query_cmp() in property.c; the same
 * in 3.0 to 4.0). If that is ours, generation of EC keys, and with it TLS, comes to the HSM and is
 * refused.
 *
 * So we see to it that the others' answers are there first: each time that key managements are
 * looked for, we ask for those that we have as well, before ours can be found. That order lasts as
 * long as nothing is thrown out. libcrypto does so at random when there are 500 answers (128 of a
 * kind in 4.0), so we have all of them thrown out well before that: nothing is lost but time. The
 * only way to that which does not take anything away from anybody is to activate a provider; it is
 * one without any algorithm, and is deactivated at once.
 *
 * None of this is done while no key of ours is in use, nor when all that is fetched is in the
 * cache, as it is in a server that has started up.
 */
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/provider.h>
#include <unistd.h>

#include "fetch_cache.h"

/* The answers are thrown out after so many fetches that were not among them. Some are not seen
 * here: those that name another provider, at most one for each that is seen. */
#define MISSES_MAX 60U

#define EMPTY_NAME "hsm-fetch-cache"

/* A query that any algorithm meets, and that nobody but us makes. A property has no hyphen in its
 * name, or the query is none (property(7)). */
#define OWN_QUERY "?hsm.fetch.cache=1"

/* How often the cache is emptied in a row when threads get in each other's way. */
#define TRIES 4

static atomic_bool in_use; /* a key of ours was or is about to be used in this process */
static atomic_bool unkept; /* there is a library context whose cache is out of our reach */

/* Of a fetch that is under way in this thread. */
static _Thread_local struct {
    bool busy;   /* it is one of our own here */
    bool missed; /* a key management was looked for that was not in the cache */
} here;

/* --- the library context --------------------------------------------------------------------- */

/* A program may have a libcrypto of its own (check_libcrypto.c): our own cannot work
 * with its library context then. */
static OSSL_LIB_CTX *reachable(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in)
{
    OSSL_FUNC_core_get_libctx_fn *get_libctx = NULL;
    OSSL_LIB_CTX *libctx;
    bool same = false;

    for (; in->function_id != 0; in++) {
        if (in->function_id == OSSL_FUNC_CORE_GET_LIBCTX)
            get_libctx = OSSL_FUNC_core_get_libctx(in);
        else if (in->function_id == OSSL_FUNC_CRYPTO_MALLOC)
            same = OSSL_FUNC_CRYPTO_malloc(in) == CRYPTO_malloc;
    }
    if (!same || get_libctx == NULL)
        return NULL;
    libctx = (OSSL_LIB_CTX *)get_libctx(handle);
    return libctx != NULL ? libctx : OSSL_LIB_CTX_get0_global_default();
}

void prov_fetch_cache_init(struct prov_ctx *ctx, const OSSL_DISPATCH *in, const char *const *types)
{
    ctx->fetched.types = types;
    ctx->fetched.libctx = reachable(ctx->core, in);
    if (ctx->fetched.libctx == NULL)
        atomic_store(&unkept, true);
}

void prov_fetch_expected(void)
{
    if (!atomic_load_explicit(&in_use, memory_order_relaxed))
        atomic_store(&in_use, true);
}

const char *prov_operation_name(const char *own, const char *common)
{
    prov_fetch_expected();
    return atomic_load_explicit(&unkept, memory_order_relaxed) ? common : own;
}

/* --- throwing out ---------------------------------------------------------------------------- */

static const OSSL_ALGORITHM *nothing(void *provctx, int operation_id, int *no_cache)
{
    (void)provctx;
    (void)operation_id;
    *no_cache = 0;
    return NULL;
}

static int empty_init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in,
                      const OSSL_DISPATCH **out, void **provctx)
{
    static const OSSL_DISPATCH dispatch[] = {
        {OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))nothing},
        {0, NULL},
    };

    (void)in;
    *out = dispatch;
    *provctx = (void *)(uintptr_t)handle;
    return 1;
}

/* The key types for which libcrypto would answer with this provider, as a set of bits. */
static unsigned answered_by_us(const struct prov_ctx *ctx, const char *query)
{
    unsigned ours = 0;
    EVP_KEYMGMT *keymgmt;

    for (unsigned i = 0; ctx->fetched.types[i] != NULL; i++) {
        keymgmt = EVP_KEYMGMT_fetch(ctx->fetched.libctx, ctx->fetched.types[i], query);
        if (keymgmt != NULL &&
            OSSL_PROVIDER_get0_provider_ctx(EVP_KEYMGMT_get0_provider(keymgmt)) == ctx)
            ours |= 1U << i;
        EVP_KEYMGMT_free(keymgmt);
    }
    return ours;
}

/* Empties the cache and puts the other providers' answers to its front. Returns false when that
 * failed, because libcrypto added an answer of this provider for another thread in between. */
static bool refill(struct prov_ctx *ctx, const char *empty_name)
{
    OSSL_PROVIDER *empty = OSSL_PROVIDER_try_load(ctx->fetched.libctx, empty_name, 1);
    unsigned ours;

    atomic_store(&ctx->fetched.misses, 0);
    if (empty != NULL)
        (void)OSSL_PROVIDER_unload(empty);
    ours = answered_by_us(ctx, NULL);
    /* Nobody else asks with this query, so the answers are libcrypto's own choice: ours only where
     * we stand before the others. */
    atomic_store(&ctx->fetched.rightful, answered_by_us(ctx, OWN_QUERY));
    atomic_store(&ctx->fetched.known, true);
    return (ours & ~atomic_load(&ctx->fetched.rightful)) == 0;
}

/* One thread is enough where there are many answers. Where there is a wrong one, the next thread
 * does not wait for one that may be kept from running: it activates another of these providers, as
 * only the first activation of one empties the cache. Nor does a child that was forked meanwhile
 * wait for a thread that it does not have. */
static void throw_out(struct prov_ctx *ctx, unsigned threads)
{
    const int me = (int)getpid();
    char name[] = EMPTY_NAME "-0";
    int other;
    bool done;

    for (unsigned i = 0; i < threads; i++) {
        other = atomic_load(&ctx->fetched.thrower[i]);
        if (other == me || !atomic_compare_exchange_strong(&ctx->fetched.thrower[i], &other, me))
            continue;
        name[sizeof(name) - 2] = (char)('0' + i);
        if (!ctx->fetched.registered[i])
            ctx->fetched.registered[i] =
                OSSL_PROVIDER_add_builtin(ctx->fetched.libctx, name, empty_init) == 1;
        done = false;
        for (int try = 0; ctx->fetched.registered[i] && !done && try < TRIES; try++)
            done = refill(ctx, name);
        atomic_store(&ctx->fetched.thrower[i], 0);
        return;
    }
}

/* The others' answers to the front; if that was too late, all over again. */
static void put_in_order(struct prov_ctx *ctx)
{
    if ((answered_by_us(ctx, NULL) & ~atomic_load(&ctx->fetched.rightful)) == 0)
        return;
    throw_out(ctx, PROV_THROWERS);
}

/* --- when ------------------------------------------------------------------------------------ */

void prov_fetch_missed(struct prov_ctx *ctx, int operation_id)
{
    /* Encoders, decoders and loaders of stores have caches of their own. */
    if (ctx->fetched.libctx == NULL || here.busy ||
        !atomic_load_explicit(&in_use, memory_order_relaxed) || operation_id >= OSSL_OP_ENCODER)
        return;
    here.busy = true;
    ERR_set_mark();
    if (atomic_fetch_add(&ctx->fetched.misses, 1) >= MISSES_MAX ||
        !atomic_load(&ctx->fetched.known))
        throw_out(ctx, 1);
    if (operation_id == OSSL_OP_KEYMGMT)
        put_in_order(ctx);
    here.missed = here.missed || operation_id == OSSL_OP_KEYMGMT;
    ERR_pop_to_mark();
    here.busy = false;
}

void prov_fetched(struct prov_ctx *ctx)
{
    if (!here.missed)
        return;
    here.missed = false;
    if (ctx->fetched.libctx == NULL || here.busy)
        return;
    here.busy = true;
    ERR_set_mark();
    put_in_order(ctx);
    ERR_pop_to_mark();
    here.busy = false;
}
