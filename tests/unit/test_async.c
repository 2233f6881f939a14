/* SPDX-License-Identifier: Apache-2.0
 *
 * async.c: operations inside ASYNC_JOBs. One thread has many of them in the HSM at a time, none of
 * them runs on the job's small stack, and each ends as it would elsewhere.
 */
#include <fcntl.h>
#include <openssl/async.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <p11-kit/pkcs11.h>
#include <poll.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "with_provider.h"

#define JOBS    16
#define FDS     4
#define MESSAGE "a message"

/* What a job does, and its result. ASYNC_start_job() copies its argument: the job has a pointer. */
struct task {
    EVP_PKEY *key;
    ASYNC_JOB *job;
    ASYNC_WAIT_CTX *wait;
    uint8_t sig[512];
    size_t sig_len;
    int state, result; /* ASYNC_...; what the job's function returned */
    unsigned pauses;
    bool block; /* ASYNC_block_pause() around the operation */
};

static EVP_PKEY *pub;
static unsigned long handle; /* of the private key */

static void setup(void)
{
    token_up();
    ck_assert(ASYNC_is_capable());
}

static EVP_PKEY *up(enum fake_kind kind)
{
    EVP_PKEY *key;

    handle = fake_add_key(slot, &(struct fake_key){.kind = kind, .label = "k"});
    provider_up(NULL);
    key = load_key("k");
    pub = public_half(handle);
    return key;
}

static void down(EVP_PKEY *key)
{
    EVP_PKEY_free(pub);
    EVP_PKEY_free(key);
    provider_down();
}

/* --- jobs ------------------------------------------------------------------------------------ */

static int sign(void *arg)
{
    struct task *task = *(struct task **)arg;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int good;

    if (task->block)
        ASYNC_block_pause();
    task->sig_len = sizeof(task->sig);
    good = EVP_DigestSignInit_ex(ctx, NULL, "SHA256", libctx, NULL, task->key, NULL) == 1 &&
           EVP_DigestSign(ctx, task->sig, &task->sig_len, (const uint8_t *)MESSAGE,
                          strlen(MESSAGE)) == 1;
    if (task->block)
        ASYNC_unblock_pause();
    EVP_MD_CTX_free(ctx);
    return good;
}

static int draw(void *arg)
{
    struct task *task = *(struct task **)arg;

    task->sig_len = 32;
    return RAND_bytes_ex(libctx, task->sig, task->sig_len, 0);
}

/* Start or resume it. */
static void go_on(struct task *task, int (*function)(void *arg))
{
    task->state =
        ASYNC_start_job(&task->job, task->wait, &task->result, function, &task, sizeof(task));
    ck_assert(task->state == ASYNC_PAUSE || task->state == ASYNC_FINISH);
    task->pauses += task->state == ASYNC_PAUSE;
}

static void start(struct task *task, EVP_PKEY *key, int (*function)(void *arg))
{
    task->key = key;
    task->wait = ASYNC_WAIT_CTX_new();
    ck_assert_ptr_nonnull(task->wait);
    go_on(task, function);
}

static size_t descriptors(const struct task *task, OSSL_ASYNC_FD *fds)
{
    size_t count = 0;

    ck_assert_int_eq(ASYNC_WAIT_CTX_get_all_fds(task->wait, NULL, &count), 1);
    ck_assert_uint_le(count, FDS);
    ck_assert_int_eq(ASYNC_WAIT_CTX_get_all_fds(task->wait, fds, &count), 1);
    return count;
}

/* As a server does it: resume what is ready, until nothing is paused. */
static void run(struct task *tasks, size_t count, int (*function)(void *arg))
{
    struct pollfd polled[JOBS * FDS];
    OSSL_ASYNC_FD fds[FDS];
    size_t owner[JOBS * FDS], n;

    for (;;) {
        n = 0;
        for (size_t i = 0; i < count; i++) {
            const size_t m = tasks[i].state == ASYNC_PAUSE ? descriptors(&tasks[i], fds) : 0;

            ck_assert(tasks[i].state == ASYNC_FINISH || m > 0);
            for (size_t j = 0; j < m; j++, n++) {
                polled[n] = (struct pollfd){.fd = fds[j], .events = POLLIN};
                owner[n] = i;
            }
        }
        if (n == 0)
            return;
        ck_assert_int_gt(poll(polled, n, 60000), 0);
        for (size_t i = 0; i < n; i++)
            if (polled[i].revents != 0 && tasks[owner[i]].state == ASYNC_PAUSE)
                go_on(&tasks[owner[i]], function);
    }
}

static void finish(struct task *task)
{
    struct pollfd polled[FDS];
    OSSL_ASYNC_FD fds[FDS];
    size_t n;

    ck_assert_int_eq(task->state, ASYNC_FINISH);
    n = descriptors(task, fds);
    for (size_t i = 0; i < n; i++)
        polled[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
    /* Open and quiet for the next operation, closed with the wait context. */
    ck_assert_int_eq(poll(polled, n, 0), 0);
    ASYNC_WAIT_CTX_free(task->wait);
    for (size_t i = 0; i < n; i++)
        ck_assert_int_eq(fcntl(fds[i], F_GETFD), -1);
}

static bool verifies(const struct task *task)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    const bool good = EVP_DigestVerifyInit_ex(ctx, NULL, "SHA256", plain, NULL, pub, NULL) == 1 &&
                      EVP_DigestVerify(ctx, task->sig, task->sig_len, (const uint8_t *)MESSAGE,
                                       strlen(MESSAGE)) == 1;

    EVP_MD_CTX_free(ctx);
    return good;
}

static void finish_good(struct task *task)
{
    finish(task);
    ck_assert_int_eq(task->result, 1);
    ck_assert(verifies(task));
}

/* --- tests ----------------------------------------------------------------------------------- */

START_TEST(one_thread_has_many_operations_in_the_hsm)
{
    EVP_PKEY *key = up(_i == 0 ? FAKE_RSA : FAKE_P256);
    struct task tasks[JOBS] = {0}, first = {0};

    /* twice in the same wait context, as in one connection */
    for (unsigned i = 0; i < 2; i++) {
        OSSL_ASYNC_FD fds[FDS];

        if (i == 0)
            start(&first, key, sign);
        else
            go_on(&first, sign);
        ck_assert_uint_eq(descriptors(&first, fds), first.pauses > 0 ? 1 : 0);
        run(&first, 1, sign);
        ck_assert(verifies(&first));
    }
    finish_good(&first);
    for (unsigned i = 0; i < JOBS; i++)
        fake_hang("C_Sign", i + 1);
    fake_clear_counts();
    for (size_t i = 0; i < JOBS; i++) {
        start(&tasks[i], key, sign);
        ck_assert_int_eq(tasks[i].state, ASYNC_PAUSE);
    }
    ck_assert(fake_wait_hanging(JOBS, 60000));
    fake_release();
    run(tasks, JOBS, sign);
    for (size_t i = 0; i < JOBS; i++)
        finish_good(&tasks[i]);
    ck_assert_uint_eq(fake_calls("C_SignInit"), JOBS);
    ck_assert_uint_eq(fake_calls("C_Sign"), JOBS);
    ck_assert_uint_eq(fake_calls("C_FindObjectsInit"), 0);
    no_errors();
    down(key);
}
END_TEST

static pthread_t signed_on;

static void note_thread(void *arg)
{
    (void)arg;
    signed_on = pthread_self();
}

START_TEST(modules_do_not_run_on_a_jobs_stack)
{
    EVP_PKEY *key = up(FAKE_RSA);
    struct task tasks[2] = {0};

    tasks[1].block = true;
    for (size_t i = 0; i < 2; i++) {
        signed_on = pthread_self();
        fake_at("C_Sign", 1, note_thread, NULL);
        start(&tasks[i], key, sign);
        run(&tasks[i], 1, sign);
        finish_good(&tasks[i]);
        ck_assert(!pthread_equal(signed_on, pthread_self()));
    }
    /* A job that may not be paused waits for its worker. */
    ck_assert_uint_eq(tasks[1].pauses, 0);
    /* Outside of jobs nothing changes. */
    fake_at("C_Sign", 1, note_thread, NULL);
    ck_assert_int_eq(sign(&(struct task *){&tasks[0]}), 1);
    ck_assert(pthread_equal(signed_on, pthread_self()));
    down(key);
}
END_TEST

/* More than a job's stack has. */
static void use_stack(void *arg)
{
    volatile char room[200 * 1024];

    for (size_t i = 0; i < sizeof(room); i++)
        room[i] = (char)i;
    note_thread(arg);
}

/* HAProxy forbids itself new threads once it runs. */
START_TEST(without_threads_modules_still_have_a_stack)
{
    struct rlimit had, none;
    const bool root = geteuid() == 0;
    EVP_PKEY *key = up(FAKE_RSA);
    struct task task = {0};
    OSSL_STORE_CTX *store;
    char text[512];

    ck_assert_int_eq(getrlimit(RLIMIT_NPROC, &had), 0);
    none = (struct rlimit){0, had.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NPROC, &none), 0);
    if (root) /* whom the limit does not hold for */
        ck_assert_int_eq(setresuid(65534, 65534, 0), 0);
    fake_at("C_Sign", 1, use_stack, NULL);
    start(&task, key, sign);
    ck_assert_uint_eq(task.pauses, 0);
    finish_good(&task);
    ck_assert(pthread_equal(signed_on, pthread_self()));
    down(key);

    /* With a time limit there has to be a thread. */
    prov_config_override("timeout-ms", "10000");
    provider_up(NULL);
    store = OSSL_STORE_open_ex("pkcs11:object=k;type=private", libctx, NULL, NULL, NULL, NULL, NULL,
                               NULL);
    ck_assert_ptr_nonnull(store);
    ck_assert_ptr_null(OSSL_STORE_load(store));
    (void)our_reason_and_text(text, sizeof(text));
    ck_assert_ptr_nonnull(strstr(text, "insecure-fork-wanted"));
    OSSL_STORE_close(store);
    provider_down();
    /* Sanitizers want to look at the end. */
    ck_assert_int_eq(root ? setresuid(0, 0, 0) : 0, 0);
    ck_assert_int_eq(setrlimit(RLIMIT_NPROC, &had), 0);
    ck_assert_int_eq(prctl(PR_SET_DUMPABLE, 1), 0);
}
END_TEST

START_TEST(resumed_too_early_it_pauses_again)
{
    EVP_PKEY *key = up(FAKE_P256);
    struct task task = {0};

    fake_hang("C_Sign", 1);
    start(&task, key, sign);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_int_eq(task.state, ASYNC_PAUSE);
        go_on(&task, sign);
    }
    ck_assert_int_eq(task.state, ASYNC_PAUSE);
    ck_assert(fake_wait_hanging(1, 60000));
    fake_release();
    run(&task, 1, sign);
    finish_good(&task);
    down(key);
}
END_TEST

START_TEST(errors_come_when_it_goes_on)
{
    EVP_PKEY *key = up(FAKE_RSA);
    struct task task = {0};
    char text[512];

    fake_hang("C_SignInit", 1);
    fake_inject("C_Sign", 1, 1, CKR_KEY_FUNCTION_NOT_PERMITTED, false);
    start(&task, key, sign);
    ck_assert_int_eq(task.state, ASYNC_PAUSE);
    no_errors();
    ck_assert(fake_wait_hanging(1, 60000));
    fake_release();
    run(&task, 1, sign);
    finish(&task);
    ck_assert_int_ne(task.result, 1);
    (void)our_reason_and_text(text, sizeof(text));
    ck_assert_ptr_nonnull(strstr(text, "CKR_KEY_FUNCTION_NOT_PERMITTED"));
    down(key);
}
END_TEST

START_TEST(what_does_not_come_back_ends_in_time)
{
    struct task task = {0};
    char text[512];
    EVP_PKEY *key;

    prov_config_override("timeout-ms", "200");
    key = up(FAKE_RSA);
    fake_hang("C_Sign", 1);
    start(&task, key, sign);
    ck_assert_int_eq(task.state, ASYNC_PAUSE);
    run(&task, 1, sign);
    finish(&task);
    ck_assert_int_ne(task.result, 1);
    (void)our_reason_and_text(text, sizeof(text));
    ck_assert_ptr_nonnull(strstr(text, "left behind"));
    fake_release();
    down(key);
}
END_TEST

/* Two jobs of one thread want the same lock: whoever has it must not be paused. */
START_TEST(a_key_that_is_looked_up_late_blocks_no_other_job)
{
    struct task tasks[2] = {0};
    EVP_PKEY *key = up(FAKE_RSA), *late;
    BIO *bio = BIO_new(BIO_s_mem());
    ck_assert_int_eq(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
    down(key);
    prov_config_override("check-key-at-load", "no");
    provider_up(NULL);
    pub = public_half(handle);
    late = PEM_read_bio_PrivateKey_ex(bio, NULL, NULL, NULL, libctx, NULL);
    ck_assert_ptr_nonnull(late);
    fake_set_latency("C_FindObjectsInit", 20000);
    for (size_t i = 0; i < 2; i++)
        start(&tasks[i], late, sign);
    run(tasks, 2, sign);
    for (size_t i = 0; i < 2; i++)
        finish_good(&tasks[i]);
    BIO_free(bio);
    down(late);
}
END_TEST

START_TEST(random_numbers_are_drawn_without_a_pause)
{
    struct task task = {0};

    provider_up("all");
    ck_assert_int_eq(RAND_set_DRBG_type(libctx, "HSM-RAND", NULL, NULL, NULL), 1);
    start(&task, NULL, draw);
    ck_assert_int_eq(task.state, ASYNC_FINISH);
    ck_assert_int_eq(task.result, 1);
    ck_assert_uint_gt(fake_calls("C_GenerateRandom"), 0);
    finish(&task);
    provider_down();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("async");
    TCase *tc = tcase_create("jobs");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_loop_test(tc, one_thread_has_many_operations_in_the_hsm, 0, 2);
    tcase_add_test(tc, modules_do_not_run_on_a_jobs_stack);
    tcase_add_test(tc, without_threads_modules_still_have_a_stack);
    tcase_add_test(tc, resumed_too_early_it_pauses_again);
    tcase_add_test(tc, errors_come_when_it_goes_on);
    tcase_add_test(tc, what_does_not_come_back_ends_in_time);
    tcase_add_test(tc, a_key_that_is_looked_up_late_blocks_no_other_job);
    tcase_add_test(tc, random_numbers_are_drawn_without_a_pause);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
