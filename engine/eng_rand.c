/* SPDX-License-Identifier: Apache-2.0
 *
 * eng_rand.c - random numbers for programs that make the engine their default: the provider's
 * HSM-RAND as a RAND_METHOD, and only where the provider's `offload` lists rand. There is no way
 * from here to numbers of another kind: what fails, fails.
 */
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>

#include "eng_local.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* The provider's generator, set once. It has no state and no lock, so threads and forked children
 * share it. */
static EVP_RAND_CTX *generator;

void eng_rand_forked(void)
{
    pthread_mutex_init(&lock, NULL);
}

static EVP_RAND_CTX *make(void)
{
    EVP_RAND *rand = EVP_RAND_fetch(NULL, "HSM-RAND", ENG_PROVIDER_ONLY);
    EVP_RAND_CTX *ctx = rand != NULL ? EVP_RAND_CTX_new(rand, NULL) : NULL;

    EVP_RAND_free(rand);
    if (ctx != NULL && (!EVP_RAND_enable_locking(ctx) ||
                        !EVP_RAND_instantiate(ctx, EVP_RAND_get_strength(ctx), 0, NULL, 0, NULL))) {
        EVP_RAND_CTX_free(ctx);
        ctx = NULL;
    }
    return ctx;
}

static bool listed(void)
{
    return generator != NULL && EVP_RAND_get_state(generator) == EVP_RAND_STATE_READY;
}

static int bytes(unsigned char *out, int len)
{
    return len >= 0 && EVP_RAND_generate(generator, out, (size_t)len, 0, 0, NULL, 0);
}

/* What programs stir in with RAND_seed() and RAND_add() changes nothing: every number comes from
 * the token. */
static int seed(const void *data, int len)
{
    (void)data;
    (void)len;
    return 1;
}

static int add(const void *data, int len, double entropy)
{
    (void)data;
    (void)len;
    (void)entropy;
    return 1;
}

static int status(void)
{
    return listed();
}

void eng_offer_random(ENGINE *e)
{
    static const RAND_METHOD method = {seed, bytes, NULL, add, bytes, status};
    bool offer;

    if (ENGINE_get_RAND(e) != NULL || !OSSL_PROVIDER_available(NULL, ENG_PROVIDER))
        return;
    ERR_set_mark();
    pthread_mutex_lock(&lock);
    if (generator == NULL)
        generator = make();
    offer = listed();
    pthread_mutex_unlock(&lock);
    ERR_pop_to_mark();
    if (offer)
        (void)ENGINE_set_RAND(e, &method);
}
