/* SPDX-License-Identifier: Apache-2.0
 *
 * rand.c: HSM-RAND as libcrypto's generators and as their seed source. Every number is the
 * token's, a failure is a failure, and nothing that a module does comes back to itself.
 */
#define OPENSSL_SUPPRESS_DEPRECATED /* engines */
#include <openssl/engine.h>
#include <openssl/rand.h>
#include <p11-kit/pkcs11.h>
#include <pthread.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "with_provider.h"

#define ROOM 200000

static uint8_t numbers[ROOM + 8];

static void setup(void)
{
    token_up();
}

/* The provider with this policy, and HSM-RAND in place of all three generators. */
static void generators(const char *offload)
{
    provider_up(offload);
    ck_assert_int_eq(RAND_set_DRBG_type(libctx, "HSM-RAND", NULL, NULL, NULL), 1);
}

/* The same, only as what seeds libcrypto's own. */
static void seed_source(const char *offload)
{
    provider_up(offload);
    ck_assert_int_eq(RAND_set_seed_source_type(libctx, "HSM-RAND", NULL), 1);
}

static unsigned long asked(void)
{
    return fake_calls("C_GenerateRandom");
}

/* `len` bytes, all of which have been written. */
static void draw(size_t len)
{
    size_t zeros = 0;

    memset(numbers, 0, sizeof(numbers));
    ck_assert_int_eq(RAND_bytes_ex(libctx, numbers, len, 0), 1);
    for (size_t i = 0; i < len; i++)
        zeros += numbers[i] == 0;
    ck_assert_uint_lt(zeros, 8 + len / 64);
    for (size_t i = len; i < len + 8; i++)
        ck_assert_uint_eq(numbers[i], 0);
    no_errors();
}

/* Refused with this reason, and nothing given. */
static void refused(int reason)
{
    static const uint8_t zeros[32];

    memset(numbers, 0, sizeof(numbers));
    ck_assert_int_eq(RAND_bytes_ex(libctx, numbers, 32, 0), 0);
    ck_assert_int_eq(our_reason(), reason);
    ck_assert_int_eq(RAND_priv_bytes_ex(libctx, numbers, 32, 0), 0);
    ck_assert_int_eq(our_reason(), reason);
    ck_assert_mem_eq(numbers, zeros, sizeof(zeros));
}

START_TEST(every_number_is_the_tokens)
{
    static const size_t lengths[] = {1, 16, 32, 1000, 4096, 65536, ROOM};

    generators("rand");
    draw(8); /* login and session */
    for (int i = 0; i < COUNT(lengths); i++) {
        unsigned long calls;

        fake_clear_counts();
        draw(lengths[i]);
        calls = asked();
        ck_assert_uint_gt(calls, 0);
        ck_assert_uint_eq(fake_calls(NULL), calls);
        ck_assert_uint_ge(calls * fake_largest_random(), lengths[i]);
        if (lengths[i] <= 32)
            ck_assert_uint_eq(calls, 1);
        ck_assert_int_eq(RAND_priv_bytes_ex(libctx, numbers, lengths[i], 256), 1);
        ck_assert_uint_eq(asked(), 2 * calls);
    }
    provider_down();
}
END_TEST

START_TEST(software_keys_are_made_of_them)
{
    EVP_PKEY *key;

    generators("rand");
    draw(1);
    fake_clear_counts();
    key = EVP_PKEY_Q_keygen(libctx, "provider=default", "EC", "P-256");
    ck_assert_ptr_nonnull(key);
    ck_assert_uint_gt(asked(), 0);
    EVP_PKEY_free(key);
    provider_down();
}
END_TEST

START_TEST(what_the_token_does_not_give_is_not_given)
{
    EVP_PKEY *key;

    generators("rand");
    draw(1);
    fake_inject("C_GenerateRandom", 1, FAKE_FOREVER, CKR_RANDOM_NO_RNG, false);
    refused(PROV_R_TOKEN + KS_MECHANISM);
    key = EVP_PKEY_Q_keygen(libctx, "provider=default", "EC", "P-256");
    ck_assert_ptr_null(key);
    ERR_clear_error();
    fake_heal(NULL);
    /* in the middle of a long one */
    fake_inject("C_GenerateRandom", 3, FAKE_FOREVER, CKR_RANDOM_NO_RNG, false);
    ck_assert_int_eq(RAND_bytes_ex(libctx, numbers, ROOM, 0), 0);
    ck_assert_int_eq(our_reason(), PROV_R_TOKEN + KS_MECHANISM);
    fake_heal(NULL);
    draw(32);
    provider_down();
}
END_TEST

START_TEST(a_token_that_is_not_there_is_an_error)
{
    generators("rand");
    fake_set_present(slot, false);
    refused(PROV_R_TOKEN + KS_DEVICE);
    fake_set_present(slot, true);
    draw(32);
    provider_down();
}
END_TEST

START_TEST(refused_where_it_is_not_offloaded)
{
    generators("rsa-sign");
    refused(PROV_R_POLICY);
    ck_assert_uint_eq(fake_calls(NULL), 0);
    ck_assert_int_eq(EVP_RAND_get_state(RAND_get0_primary(libctx)), EVP_RAND_STATE_ERROR);
    provider_down();
}
END_TEST

START_TEST(an_error_where_the_configuration_is_broken)
{
    generators("rsa-sing");
    refused(PROV_R_CONFIG);
    ck_assert_uint_eq(fake_calls(NULL), 0);
    ck_assert_int_eq(EVP_RAND_get_state(RAND_get0_primary(libctx)), EVP_RAND_STATE_ERROR);
    provider_down();
}
END_TEST

/* --- as the seed source ---------------------------------------------------------------------- */

START_TEST(a_seed_is_drawn_from_the_token)
{
    unsigned long calls;

    seed_source("rand");
    draw(32);
    calls = asked();
    ck_assert_uint_gt(calls, 0);
    ck_assert_uint_ge(fake_largest_random(), 32);
    draw(4096); /* by libcrypto's own generator */
    ck_assert_uint_eq(asked(), calls);
    ck_assert_int_eq(EVP_RAND_reseed(RAND_get0_primary(libctx), 1, NULL, 0, NULL, 0), 1);
    ck_assert_uint_gt(asked(), calls);
    provider_down();
}
END_TEST

/* libcrypto takes the operating system's entropy, in silence, when a seed source cannot be made. */
START_TEST(without_the_tokens_seed_there_are_no_numbers)
{
    static const struct {
        const char *offload;
        int reason;
    } rows[] = {
        {"rand", PROV_R_TOKEN + KS_MECHANISM},
        {"rsa-sign", PROV_R_POLICY},
        {"rsa-sing", PROV_R_CONFIG},
    };

    seed_source(rows[_i].offload);
    fake_inject("C_GenerateRandom", 1, FAKE_FOREVER, CKR_RANDOM_NO_RNG, false);
    refused(rows[_i].reason);
    provider_down();
}
END_TEST

/* --- modules that draw random numbers themselves --------------------------------------------- */

static struct {
    unsigned draws, good;
    bool own_thread;
    double seconds;
} module;

static void *module_thread(void *arg)
{
    uint8_t out[300];
    struct timespec from, to;

    (void)arg;
    clock_gettime(CLOCK_MONOTONIC, &from);
    module.draws++;
    module.good += RAND_bytes_ex(libctx, out, sizeof(out), 0) == 1;
    clock_gettime(CLOCK_MONOTONIC, &to);
    module.seconds = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
    return NULL;
}

/* What a module does that knows the application's library context. */
static void module_draws(void *arg)
{
    pthread_t thread;

    (void)arg;
    if (!module.own_thread) {
        module_thread(NULL);
        return;
    }
    ck_assert_int_eq(pthread_create(&thread, NULL, module_thread, NULL), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

static int sign(EVP_PKEY *key)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t sig[SIG_MAX];
    size_t len = sizeof(sig);
    int ret;

    ck_assert_int_eq(EVP_DigestSignInit_ex(ctx, NULL, "SHA256", libctx, NULL, key, NULL), 1);
    ret = EVP_DigestSign(ctx, sig, &len, (const uint8_t *)"x", 1);
    EVP_MD_CTX_free(ctx);
    return ret;
}

static const char *const drawing[] = {"C_Sign", "C_GenerateRandom", "C_Initialize", "C_Login",
                                      "C_OpenSession"};

/* The module asks while it is itself asked: it gets the operating system's numbers. */
START_TEST(a_module_that_draws_is_not_asked_by_itself)
{
    EVP_PKEY *key;

    fake_add_pair(slot, FAKE_P256, "k");
    memset(&module, 0, sizeof(module));
    generators("all");
    fake_at(drawing[_i], 1, module_draws, NULL);
    draw(32);
    ck_assert_uint_eq(asked(), 1);
    key = load_key("k");
    ck_assert_int_eq(sign(key), 1);
    ck_assert_uint_eq(asked(), 1);
    ck_assert_uint_eq(module.draws, 1);
    ck_assert_uint_eq(module.good, 1);
    no_errors();
    EVP_PKEY_free(key);
    provider_down();
}
END_TEST

/* A thread of the module's own is for us as any other: it asks the token. */
START_TEST(a_thread_of_the_module_gets_the_tokens_numbers)
{
    EVP_PKEY *key;

    fake_add_pair(slot, FAKE_P256, "k");
    memset(&module, 0, sizeof(module));
    module.own_thread = true;
    generators("all");
    key = load_key("k");
    draw(1);
    fake_clear_counts();
    fake_at("C_Sign", 1, module_draws, NULL);
    ck_assert_int_eq(sign(key), 1);
    ck_assert_uint_eq(module.good, 1);
    ck_assert_uint_gt(asked(), 0);
    EVP_PKEY_free(key);
    provider_down();
}
END_TEST

/* And where the token has no session left for it, or nobody can use the token before the module
 * goes on, it is told so, and nothing hangs. */
START_TEST(a_thread_of_the_module_does_not_wait_for_ever)
{
    static const char *const blocking[] = {"C_Sign", "C_Login"};
    EVP_PKEY *key;

    fake_reset();
    slot = fake_add_token(&(struct fake_token){.sessions_max = 1});
    fake_add_pair(slot, FAKE_P256, "k");
    memset(&module, 0, sizeof(module));
    module.own_thread = true;
    generators("all");
    fake_at(blocking[_i], 1, module_draws, NULL);
    key = load_key("k");
    ck_assert_int_eq(sign(key), 1);
    ck_assert_uint_eq(module.draws, 1);
    ck_assert_uint_eq(module.good, 0);
    ck_assert(module.seconds > 1 && module.seconds < 30);
    ERR_clear_error();
    draw(32);
    EVP_PKEY_free(key);
    provider_down();
}
END_TEST

static int engine_bytes(unsigned char *out, int len)
{
    memset(out, 0x5a, (size_t)len);
    return 1;
}

static int engine_status(void)
{
    return 1;
}

static void make_engine_the_generator(void *arg)
{
    static const RAND_METHOD method = {.bytes = engine_bytes, .status = engine_status};
    ENGINE **engine = arg;

    *engine = ENGINE_new();
    ck_assert_int_eq(ENGINE_set_id(*engine, "module") & ENGINE_set_name(*engine, "module") &
                         ENGINE_set_RAND(*engine, &method) & ENGINE_set_default_RAND(*engine),
                     1);
}

START_TEST(a_module_cannot_replace_the_processs_generator)
{
    ENGINE *engine = NULL;
    EVP_PKEY *key;

    fake_add_pair(slot, FAKE_P256, "k");
    generators("all");
    fake_at("C_Initialize", 1, make_engine_the_generator, &engine);
    key = load_key("k");
    ck_assert_ptr_nonnull(engine);
    fake_clear_counts();
    draw(32);
    ck_assert_uint_eq(asked(), 1);
    EVP_PKEY_free(key);
    ENGINE_free(engine);
    provider_down();
}
END_TEST

/* --- threads, forks, and the interface ------------------------------------------------------- */

#define THREADS 8
#define ROUNDS  100

static void *draws_much(void *arg)
{
    unsigned *good = arg;
    uint8_t out[32];

    for (int i = 0; i < ROUNDS; i++)
        *good += RAND_bytes_ex(libctx, out, sizeof(out), 0) == 1;
    return NULL;
}

START_TEST(threads_draw_at_the_same_time)
{
    unsigned good[THREADS] = {0};
    pthread_t threads[THREADS];

    generators("rand");
    draw(1);
    fake_set_latency("C_GenerateRandom", 1000);
    fake_clear_counts();
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, draws_much, &good[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        ck_assert_uint_eq(good[i], ROUNDS);
    }
    ck_assert_uint_eq(asked(), THREADS * ROUNDS);
    ck_assert_uint_gt(fake_peak_parallel("C_GenerateRandom"), 1);
    fake_set_latency("C_GenerateRandom", 0);
    provider_down();
}
END_TEST

START_TEST(a_child_draws_other_numbers)
{
    uint8_t mine[32], childs[32];
    int status, ends[2];
    pid_t pid;

    generators("rand");
    draw(32);
    ck_assert_int_eq(pipe(ends), 0);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        int ok = RAND_bytes_ex(libctx, childs, sizeof(childs), 0) == 1 && asked() == 1 &&
                 write(ends[1], childs, sizeof(childs)) == (ssize_t)sizeof(childs);

        _exit(ok ? 0 : 1);
    }
    ck_assert_int_eq(RAND_bytes_ex(libctx, mine, sizeof(mine), 0), 1);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    ck_assert_int_eq(read(ends[0], childs, sizeof(childs)), (int)sizeof(childs));
    ck_assert_mem_ne(mine, childs, sizeof(mine));
    close(ends[0]);
    close(ends[1]);
    provider_down();
}
END_TEST

START_TEST(the_interface_is_complete)
{
    EVP_RAND *rand;
    EVP_RAND_CTX *ctx;
    unsigned strength = 0;
    size_t most = 0;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_uint(OSSL_RAND_PARAM_STRENGTH, &strength),
        OSSL_PARAM_construct_size_t(OSSL_RAND_PARAM_MAX_REQUEST, &most),
        OSSL_PARAM_construct_end(),
    };

    provider_up("rand");
    rand = EVP_RAND_fetch(libctx, "HSM-RAND", "provider=hsm");
    ck_assert_ptr_nonnull(rand);
    ctx = EVP_RAND_CTX_new(rand, NULL);
    ck_assert_ptr_nonnull(ctx);
    ck_assert_int_eq(EVP_RAND_get_state(ctx), EVP_RAND_STATE_UNINITIALISED);
    ck_assert_int_eq(EVP_RAND_generate(ctx, numbers, 32, 0, 0, NULL, 0), 0);
    ck_assert_int_eq(our_reason(), PROV_R_PARAMETER);
    ck_assert_int_eq(EVP_RAND_instantiate(ctx, 512, 0, NULL, 0, NULL), 0);
    ck_assert_int_eq(our_reason(), PROV_R_UNSUPPORTED);
    ck_assert_int_eq(EVP_RAND_instantiate(ctx, 256, 1, NULL, 0, NULL), 1);
    ck_assert_uint_eq(fake_calls(NULL), 0);
    ck_assert_int_eq(EVP_RAND_get_state(ctx), EVP_RAND_STATE_READY);
    ck_assert_int_eq(EVP_RAND_CTX_get_params(ctx, params), 1);
    ck_assert_uint_eq(strength, 256);
    ck_assert_uint_eq(EVP_RAND_get_strength(ctx), 256);
    ck_assert_uint_ge(most, 4096);
    ck_assert_int_eq(EVP_RAND_enable_locking(ctx), 1);
    ck_assert_int_eq(EVP_RAND_generate(ctx, numbers, 32, 512, 0, NULL, 0), 0);
    ck_assert_int_eq(our_reason(), PROV_R_UNSUPPORTED);
    ck_assert_int_eq(EVP_RAND_generate(ctx, numbers, 32, 256, 1, numbers, 8), 1);
    ck_assert_uint_eq(asked(), 1);
    ck_assert_int_eq(EVP_RAND_generate(ctx, numbers, 0, 256, 0, NULL, 0), 1);
    ck_assert_int_eq(EVP_RAND_reseed(ctx, 1, numbers, 8, NULL, 0), 1);
    ck_assert_int_eq(EVP_RAND_nonce(ctx, numbers, 16), 1);
    ck_assert_uint_eq(asked(), 2);
    ck_assert_int_eq(EVP_RAND_uninstantiate(ctx), 1);
    ck_assert_int_eq(EVP_RAND_verify_zeroization(ctx), 1);
    ck_assert_int_eq(EVP_RAND_get_state(ctx), EVP_RAND_STATE_UNINITIALISED);
    ck_assert_int_eq(EVP_RAND_generate(ctx, numbers, 32, 0, 0, NULL, 0), 0);
    EVP_RAND_CTX_free(ctx);
    EVP_RAND_free(rand);
    provider_down();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rand");
    TCase *tc = tcase_create("rand");

    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, every_number_is_the_tokens);
    tcase_add_test(tc, software_keys_are_made_of_them);
    tcase_add_test(tc, what_the_token_does_not_give_is_not_given);
    tcase_add_test(tc, a_token_that_is_not_there_is_an_error);
    tcase_add_test(tc, refused_where_it_is_not_offloaded);
    tcase_add_test(tc, an_error_where_the_configuration_is_broken);
    tcase_add_test(tc, a_seed_is_drawn_from_the_token);
    tcase_add_loop_test(tc, without_the_tokens_seed_there_are_no_numbers, 0, 3);
    tcase_add_loop_test(tc, a_module_that_draws_is_not_asked_by_itself, 0, COUNT(drawing));
    tcase_add_test(tc, a_thread_of_the_module_gets_the_tokens_numbers);
    tcase_add_loop_test(tc, a_thread_of_the_module_does_not_wait_for_ever, 0, 2);
    tcase_add_test(tc, a_module_cannot_replace_the_processs_generator);
    tcase_add_test(tc, threads_draw_at_the_same_time);
    tcase_add_test(tc, a_child_draws_other_numbers);
    tcase_add_test(tc, the_interface_is_complete);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
