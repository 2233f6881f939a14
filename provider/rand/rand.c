/* SPDX-License-Identifier: Apache-2.0
 *
 * rand.c - HSM-RAND: random numbers from the token (C_GenerateRandom), with nothing in between. As
 * `random = HSM-RAND` it is each of OpenSSL's three generators, as `seed = HSM-RAND` it feeds them.
 *
 * Whatever is wrong shows when numbers are asked for, never before: libcrypto answers a seed source
 * that it cannot make, or not instantiate, by taking the operating system's entropy in silence,
 * but takes a failed get_seed for the failure that it is. And as libcrypto makes generators under
 * a lock of its own, no call into the module is made then.
 *
 * There is no lock and no state to protect: the token's sessions have theirs.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "../core/async.h"
#include "../key/policy.h"
#include "rand.h"

/* Bits. What a token's generator is worth is for its maker to say; less than this and libcrypto
 * would not take it as the parent of its AES-256 generator. */
#define STRENGTH 256U
/* Bytes that libcrypto asks for at once; the keystore makes chunks of it that the token takes. */
#define REQUEST_MAX ((size_t)65536)
/* How long a request waits for a free session and for a token that others bring up. */
#define WAIT_SECONDS 10

struct rand_ctx {
    struct prov_ctx *prov;
    int state; /* EVP_RAND_STATE_ */
};

/* The parent, if there is one, is the seed source: not needed. */
static void *rand_newctx(void *provctx, void *parent, const OSSL_DISPATCH *parent_calls)
{
    struct rand_ctx *ctx = OPENSSL_zalloc(sizeof(*ctx));

    (void)parent;
    (void)parent_calls;
    if (ctx == NULL)
        return NULL;
    ctx->prov = provctx;
    ctx->state = EVP_RAND_STATE_UNINITIALISED;
    return ctx;
}

static void rand_freectx(void *vctx)
{
    OPENSSL_free(vctx);
}

/* The parameters are those of software generators ("cipher", reseed intervals). */
static int rand_instantiate(void *vctx, unsigned int strength, int prediction_resistance,
                            const unsigned char *pstr, size_t pstr_len, const OSSL_PARAM params[])
{
    struct rand_ctx *ctx = vctx;

    (void)prediction_resistance; /* every number is fresh */
    (void)pstr;
    (void)pstr_len;
    (void)params;
    if (strength > STRENGTH) {
        prov_raise(ctx->prov, PROV_R_UNSUPPORTED, "HSM-RAND has a strength of %u bits, not of %u",
                   STRENGTH, strength);
        return 0;
    }
    ctx->state = EVP_RAND_STATE_READY;
    return 1;
}

static int rand_uninstantiate(void *vctx)
{
    struct rand_ctx *ctx = vctx;

    ctx->state = EVP_RAND_STATE_UNINITIALISED;
    return 1;
}

/* For a module that asks us while we are inside it: asking it in turn would never end. */
static int from_system(const struct prov_ctx *prov, unsigned char *out, size_t len)
{
    ssize_t n;

    for (size_t done = 0; done < len; done += (size_t)n) {
        n = getrandom(out + done, len - done, 0);
        if (n < 0 && errno == EINTR) {
            n = 0;
        } else if (n <= 0) {
            prov_raise(prov, PROV_R_SOFTWARE, "no random numbers from the operating system: %s",
                       strerror(errno));
            OPENSSL_cleanse(out, len);
            return 0;
        }
    }
    return 1;
}

static int from_token(const struct prov_ctx *prov, unsigned char *out, size_t len)
{
    struct ks_call_options opts = {0};
    struct timespec now;
    struct ks_error err;
    ks_status status;

    if (!prov_permits(prov, PROV_CLASS_RAND, NULL))
        return 0;
    if (clock_gettime(CLOCK_MONOTONIC, &now) == 0)
        opts.deadline_ns =
            ((uint64_t)now.tv_sec + WAIT_SECONDS) * 1000000000U + (uint64_t)now.tv_nsec;
    prov_async_hold(); /* libcrypto's generators are locked */
    status = ks_random(prov->token, &opts, out, len, &err);
    prov_async_release();
    if (!ks_ok(status)) {
        prov_raise_ks(prov, &err);
        return 0;
    }
    return 1;
}

static int rand_generate(void *vctx, unsigned char *out, size_t len, unsigned int strength,
                         int prediction_resistance, const unsigned char *adin, size_t adin_len)
{
    const struct rand_ctx *ctx = vctx;

    (void)prediction_resistance;
    (void)adin;
    (void)adin_len;
    if (ctx->state != EVP_RAND_STATE_READY) {
        prov_raise(ctx->prov, PROV_R_PARAMETER, "HSM-RAND: instantiate it before it is used");
        return 0;
    }
    if (strength > STRENGTH) {
        prov_raise(ctx->prov, PROV_R_UNSUPPORTED, "HSM-RAND has a strength of %u bits, not of %u",
                   STRENGTH, strength);
        return 0;
    }
    if (len == 0)
        return 1;
    return ks_inside_module() ? from_system(ctx->prov, out, len) : from_token(ctx->prov, out, len);
}

/* Nothing to do: the token is asked each time. */
static int rand_reseed(void *vctx, int prediction_resistance, const unsigned char *ent,
                       size_t ent_len, const unsigned char *adin, size_t adin_len)
{
    const struct rand_ctx *ctx = vctx;

    (void)prediction_resistance;
    (void)ent;
    (void)ent_len;
    (void)adin;
    (void)adin_len;
    return ctx->state == EVP_RAND_STATE_READY;
}

/* Asked for the length first, with `out` NULL. */
static size_t rand_nonce(void *vctx, unsigned char *out, unsigned int strength, size_t min_len,
                         size_t max_len)
{
    size_t len = (strength + 7U) / 8U;

    if (len < min_len)
        len = min_len;
    if (len > max_len)
        len = max_len;
    return out == NULL || rand_generate(vctx, out, len, strength, 0, NULL, 0) ? len : 0;
}

/* For a generator whose parent we are. `entropy` is in bits, all of ours count in full. */
static size_t rand_get_seed(void *vctx, unsigned char **out, int entropy, size_t min_len,
                            size_t max_len, int prediction_resistance, const unsigned char *adin,
                            size_t adin_len)
{
    const struct rand_ctx *ctx = vctx;
    size_t len = entropy > 0 ? ((size_t)entropy + 7U) / 8U : 0;
    unsigned char *seed;

    if (len < min_len)
        len = min_len;
    if (len > max_len) {
        prov_raise(ctx->prov, PROV_R_PARAMETER, "a seed of %d bits does not fit %zu bytes", entropy,
                   max_len);
        return 0;
    }
    seed = OPENSSL_secure_malloc(len);
    if (seed == NULL)
        return 0;
    if (!rand_generate(vctx, seed, len, 0, prediction_resistance, adin, adin_len)) {
        OPENSSL_secure_clear_free(seed, len);
        return 0;
    }
    *out = seed;
    return len;
}

static void rand_clear_seed(void *vctx, unsigned char *seed, size_t len)
{
    (void)vctx;
    OPENSSL_secure_clear_free(seed, len);
}

/* There must be this function, or libcrypto does not share us between threads. */
static int rand_enable_locking(void *vctx)
{
    (void)vctx;
    return 1;
}

static const OSSL_PARAM *rand_gettable_ctx_params(void *vctx, void *provctx)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_int(OSSL_RAND_PARAM_STATE, NULL),
        OSSL_PARAM_uint(OSSL_RAND_PARAM_STRENGTH, NULL),
        OSSL_PARAM_size_t(OSSL_RAND_PARAM_MAX_REQUEST, NULL),
        OSSL_PARAM_END,
    };

    (void)vctx;
    (void)provctx;
    return params;
}

/* RAND_status() is told so when every request would be refused. */
static int state_of(const struct rand_ctx *ctx)
{
    bool refused = ctx->prov->broken != NULL ||
                   (ctx->prov->config.offload & (1U << (unsigned)PROV_CLASS_RAND)) == 0;

    return refused && ctx->state == EVP_RAND_STATE_READY ? EVP_RAND_STATE_ERROR : ctx->state;
}

static int rand_get_ctx_params(void *vctx, OSSL_PARAM params[])
{
    const struct rand_ctx *ctx = vctx;
    OSSL_PARAM *p;

    p = OSSL_PARAM_locate(params, OSSL_RAND_PARAM_STATE);
    if (p != NULL && !OSSL_PARAM_set_int(p, state_of(ctx)))
        return 0;
    p = OSSL_PARAM_locate(params, OSSL_RAND_PARAM_STRENGTH);
    if (p != NULL && !OSSL_PARAM_set_uint(p, STRENGTH))
        return 0;
    p = OSSL_PARAM_locate(params, OSSL_RAND_PARAM_MAX_REQUEST);
    return p == NULL || OSSL_PARAM_set_size_t(p, REQUEST_MAX);
}

/* Nothing is kept that would have to be wiped. */
static int rand_verify_zeroization(void *vctx)
{
    (void)vctx;
    return 1;
}

const OSSL_DISPATCH prov_rand[] = {
    {OSSL_FUNC_RAND_NEWCTX, (void (*)(void))rand_newctx},
    {OSSL_FUNC_RAND_FREECTX, (void (*)(void))rand_freectx},
    {OSSL_FUNC_RAND_INSTANTIATE, (void (*)(void))rand_instantiate},
    {OSSL_FUNC_RAND_UNINSTANTIATE, (void (*)(void))rand_uninstantiate},
    {OSSL_FUNC_RAND_GENERATE, (void (*)(void))rand_generate},
    {OSSL_FUNC_RAND_RESEED, (void (*)(void))rand_reseed},
    {OSSL_FUNC_RAND_NONCE, (void (*)(void))rand_nonce},
    {OSSL_FUNC_RAND_GET_SEED, (void (*)(void))rand_get_seed},
    {OSSL_FUNC_RAND_CLEAR_SEED, (void (*)(void))rand_clear_seed},
    {OSSL_FUNC_RAND_ENABLE_LOCKING, (void (*)(void))rand_enable_locking},
    {OSSL_FUNC_RAND_GETTABLE_CTX_PARAMS, (void (*)(void))rand_gettable_ctx_params},
    {OSSL_FUNC_RAND_GET_CTX_PARAMS, (void (*)(void))rand_get_ctx_params},
    {OSSL_FUNC_RAND_VERIFY_ZEROIZATION, (void (*)(void))rand_verify_zeroization},
    {0, NULL},
};
