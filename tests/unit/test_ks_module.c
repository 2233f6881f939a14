/* SPDX-License-Identifier: Apache-2.0
 *
 * module/module.c: forks, and the end of the process.
 */
#include "ks_fixture.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

static void sign_as_child(void *arg)
{
    for (int i = 0; i < 3; i++)
        fx_need(fx_signs(arg, "k"), "signing failed");
    fx_need(fake_calls("C_Finalize") == 0, "C_Finalize in a child");
    fx_need(fake_calls("C_Login") <= 1, "more than one login");
    fx_need(fake_calls("C_Sign") == 3, "more than one C_Sign a signature");
    fx_need(fake_sessions() <= 2, "sessions");
}

START_TEST(a_child_signs_and_the_parent_goes_on)
{
    enum { KEEP, OTHER, SOFTHSM, VARIANTS };
    struct ks_key *key;
    struct ks_key *other;

    ck_assert_int_lt(_i, VARIANTS);
    if (_i == OTHER)
        fake_set_reinit_handles(FAKE_HANDLES_OTHER);
    if (_i == SOFTHSM)
        fake_set_quirk(FAKE_QUIRK_SOFTHSM_FORK, true);
    key = fx_new_key(FAKE_P256, "k");
    other = fx_new_key(FAKE_P256, "other");
    ck_assert(fx_signs(key, "k"));
    fake_clear_counts();
    for (int i = 0; i < 3; i++)
        fx_in_child(sign_as_child, key);
    ck_assert_uint_eq(fake_calls(NULL), 0);
    ck_assert(fx_signs(key, "k"));
    ck_assert(fx_signs(other, "other"));
    fx_log_is("C_SignInit C_Sign C_SignInit C_Sign");
    ks_key_free(key);
    ks_key_free(other);
}
END_TEST

static void initialised_anew(void *arg)
{
    fx_need(fx_signs(arg, "k"), "signing failed");
    fx_need(fake_calls("C_Initialize") == 1, "not initialised once");
    fx_need(fake_calls("C_Login") == 1, "not logged in once");
    fx_need(fake_calls("C_FindObjectsInit") > 0, "the key was not found again");
}

START_TEST(a_child_starts_anew)
{
    struct ks_key *key = fx_new_key(FAKE_P256, "k");

    fx_in_child(initialised_anew, key);
    ks_key_free(key);
}
END_TEST

static void fork_again(void *arg)
{
    fx_need(fx_signs(arg, "k"), "signing failed");
    fx_in_child(sign_as_child, arg);
    fx_need(fx_signs(arg, "k"), "signing failed after a fork");
}

START_TEST(a_child_s_child_signs_too)
{
    struct ks_key *key = fx_new_key(FAKE_P256, "k");

    fx_in_child(fork_again, key);
    ck_assert(fx_signs(key, "k"));
    ks_key_free(key);
}
END_TEST

static void refused_in_child(void *arg)
{
    fx_need(fx_sign(arg).code == KS_MODULE, "not refused");
    fx_need(strstr(fx.err.text, "check-key-at-load = no") != NULL, "no advice");
    fx_need(fake_calls(NULL) == 0, "the module was called");
}

/* A module that would go on with its parent's connection. Its name tells. */
START_TEST(tpm2_pkcs11_is_left_alone_in_a_child)
{
    struct ks_token_config config = fx_config();
    char path[sizeof(fx.dir) + 32];
    struct ks_token *token = NULL;
    struct ks_key *key = NULL;
    struct ks_uri *uri = fx_uri("pkcs11:object=k;type=private", KS_URI_REFERENCE);

    snprintf(path, sizeof(path), "%s/libtpm2_pkcs11.so.1", fx.dir);
    ck_assert_int_eq(symlink(FAKE_PKCS11_PATH, path), 0);
    config.module = path;
    fake_add_pair(fx.slot, FAKE_P256, "k");
    fx_ok(ks_token_new(&config, &token, &fx.err));
    fx_ok(ks_key_find(token, NULL, uri, &key, &fx.err));
    fx_ok(fx_sign(key));
    fake_clear_counts();
    fx_in_child(refused_in_child, key);
    fx_ok(fx_sign(key));
    ks_key_free(key);
    ks_uri_free(uri);
    ks_token_free(token);
}
END_TEST

static void find_in_child(void *arg)
{
    struct ks_uri *uri = arg;
    struct ks_key *key = NULL;

    fx_need(ks_ok(ks_key_find(fx.token, NULL, uri, &key, &fx.err)), "not found");
    fx_need(fx_signs(key, "k"), "signing failed");
    ks_key_free(key);
}

/* A master that has read its configuration, and nothing more. */
START_TEST(a_child_of_a_parent_that_used_nothing_yet)
{
    struct ks_uri *uri = fx_uri("pkcs11:object=k", KS_URI_CALLER);

    fake_add_pair(fx.slot, FAKE_P256, "k");
    (void)fx_token();
    fx_in_child(find_in_child, uri);
    fx_in_child(find_in_child, uri);
    ck_assert_uint_eq(fake_calls(NULL), 0);
    ks_uri_free(uri);
}
END_TEST

static void pin_file_is_gone(void *arg)
{
    fx_need(fx_signs(arg, "k"), "signing failed");
}

START_TEST(a_child_needs_no_pin_file)
{
    struct ks_key *key = fx_new_key(FAKE_P256, "k");

    ck_assert_int_eq(unlink(fx.pin_path), 0);
    fx_in_child(pin_file_is_gone, key);
    ks_key_free(key);
}
END_TEST

static void release_all(void *arg)
{
    ks_key_free(arg);
    ks_token_free(fx.token);
    fx_need(fake_calls(NULL) == 0, "calls for the parent's sessions");
}

START_TEST(a_child_that_releases_does_not_touch_the_parent_s_module)
{
    struct ks_key *key = fx_new_key(FAKE_P256, "k");

    fx_in_child(release_all, key);
    ck_assert(fx_signs(key, "k"));
    ks_key_free(key);
}
END_TEST

/* --- forks while other threads are at work --------------------------------------------------- */

struct worker {
    pthread_t thread;
    struct ks_key *key;
    atomic_bool *stop;
    atomic_uint tried;
    unsigned failed;
    struct ks_error err; /* the last one */
};

static void *sign_on(void *arg)
{
    struct worker *w = arg;
    uint8_t sig[64];

    while (!atomic_load(w->stop)) {
        size_t len = sizeof(sig);

        if (!ks_ok(
                ks_sign(w->key, NULL, &fx_ecdsa, fx_digest, sizeof(fx_digest), sig, &len, &w->err)))
            w->failed++;
        atomic_fetch_add(&w->tried, 1);
    }
    return NULL;
}

/* An operation takes four losses, and no more: let each worker finish one that began after the
 * last. */
static void let_all_sign(struct worker *workers, size_t count)
{
    const struct timespec pause = {.tv_nsec = 100000};

    for (size_t i = 0; i < count; i++) {
        const unsigned before = atomic_load(&workers[i].tried);

        while (atomic_load(&workers[i].tried) - before < 2)
            nanosleep(&pause, NULL);
    }
}

static void sign_cheaply(void *arg)
{
    fx_need(ks_ok(fx_sign(arg)), "signing failed");
}

START_TEST(forks_amid_busy_threads_leave_no_lock_behind)
{
    struct worker workers[4];
    atomic_bool stop = false;
    struct ks_key *key;
    unsigned rounds = fx_rounds(100);

    fake_set_cheap(true);
    key = fx_new_key(FAKE_P256, "k");
    for (size_t i = 0; i < COUNT_OF(workers); i++) {
        workers[i] = (struct worker){.key = key, .stop = &stop};
        ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, sign_on, &workers[i]), 0);
    }
    for (unsigned i = 0; i < rounds; i++) {
        if (i % 2 != 0)
            fake_lose_sessions(false);
        fx_in_child(sign_cheaply, key);
        if (i % 2 != 0)
            let_all_sign(workers, COUNT_OF(workers));
    }
    atomic_store(&stop, true);
    for (size_t i = 0; i < COUNT_OF(workers); i++) {
        pthread_join(workers[i].thread, NULL);
        ck_assert_msg(workers[i].failed == 0, "%u failed: %s", workers[i].failed,
                      workers[i].err.text);
    }
    ks_key_free(key);
}
END_TEST

/* Another thread hangs in the module while we fork: the child has nothing to do with it. */
START_TEST(a_hanging_call_in_the_parent_does_not_hang_the_child)
{
    struct ks_key *key = fx_new_key(FAKE_P256, "k");
    atomic_bool stop = true;
    struct worker w = {.key = key, .stop = &stop};

    atomic_store(&stop, false);
    fake_hang("C_Sign", 1);
    ck_assert_int_eq(pthread_create(&w.thread, NULL, sign_on, &w), 0);
    ck_assert(fake_wait_hanging(1, 5000));
    fx_in_child(sign_as_child, key);
    fake_release();
    atomic_store(&stop, true);
    pthread_join(w.thread, NULL);
    ck_assert_uint_eq(w.failed, 0);
    ks_key_free(key);
}
END_TEST

static atomic_bool starting;

static void is_starting(void *arg)
{
    (void)arg;
    atomic_store(&starting, true);
}

static void *connect_there(void *arg)
{
    return ks_ok(ks_token_connect(arg, NULL, NULL)) ? arg : NULL;
}

/* p11-kit has a lock of its own while a module is being initialised, which would stay locked in the
 * child: the fork waits for that, longer than for calls. */
START_TEST(a_fork_waits_for_a_module_that_is_starting)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    struct ks_uri *uri = fx_uri("pkcs11:object=k", KS_URI_CALLER);
    void *connected = NULL;
    pthread_t thread;

    fake_add_pair(fx.slot, FAKE_P256, "k");
    fake_set_latency("C_Initialize", 600000);
    fake_at("C_Initialize", 1, is_starting, NULL);
    ck_assert_int_eq(pthread_create(&thread, NULL, connect_there, fx_token()), 0);
    while (!atomic_load(&starting))
        nanosleep(&pause, NULL);
    fake_set_latency("C_Initialize", 0);
    fx_in_child(find_in_child, uri);
    pthread_join(thread, &connected);
    ck_assert_ptr_nonnull(connected);
    ks_uri_free(uri);
}
END_TEST

/* --- the end --------------------------------------------------------------------------------- */

static void shut_down(void *arg)
{
    struct ks_key *key = NULL;

    fx_need(fx_signs(arg, "k"), "signing failed");
    fake_clear_counts();
    ks_shutdown();
    fx_need(!fake_initialized(), "still initialised");
    fx_need(fake_calls("C_Finalize") == 1, "not finalised once");
    ks_shutdown();
    fx_need(fx_sign(arg).code == KS_SHUTDOWN, "signing after the end");
    fx_need(fx_find("k", &key).code == KS_SHUTDOWN, "finding after the end");
    ks_key_free(arg);
    ks_token_free(fx.token);
    fx_need(fake_calls("C_Finalize") == 1, "finalised again");
}

START_TEST(after_the_shutdown_everything_says_so)
{
    struct ks_key *key = fx_new_key(FAKE_P256, "k");

    fx_in_child(shut_down, key);
    ks_key_free(key);
}
END_TEST

static void *hang_in_sign(void *arg)
{
    struct ks_error err;
    uint8_t sig[64];
    size_t len = sizeof(sig);

    (void)ks_ok(ks_sign(arg, NULL, &fx_ecdsa, fx_digest, sizeof(fx_digest), sig, &len, &err));
    return NULL;
}

static void shut_down_while_hanging(void *arg)
{
    pthread_t thread;

    fx_need(fx_signs(arg, "k"), "signing failed");
    fake_hang("C_Sign", 1);
    fx_need(pthread_create(&thread, NULL, hang_in_sign, arg) == 0, "no thread");
    fx_need(fake_wait_hanging(1, 5000), "nothing hangs");
    ks_shutdown(); /* alarm() ends us if this waits for ever */
    fx_need(fake_calls("C_Finalize") == 0, "finalised under a running call");
    fake_release();
    pthread_join(thread, NULL);
}

START_TEST(the_shutdown_waits_for_a_bounded_time_and_then_leaves_the_module_alone)
{
    struct ks_key *key = fx_new_key(FAKE_P256, "k");

    fx_in_child(shut_down_while_hanging, key);
    ks_key_free(key);
}
END_TEST

/* p11-kit's remote client does so when its server hangs. */
static void shut_down_with_a_hanging_finalize(void *arg)
{
    fx_need(fx_signs(arg, "k"), "signing failed");
    fake_hang("C_Finalize", 1);
    ks_shutdown();
    fx_need(fake_calls("C_Finalize") == 1, "not finalised");
    fx_need(fx_sign(arg).code == KS_SHUTDOWN, "signing after the end");
}

START_TEST(the_shutdown_does_not_wait_for_ever_for_c_finalize)
{
    struct ks_key *key = fx_new_key(FAKE_P256, "k");

    fx_in_child(shut_down_with_a_hanging_finalize, key);
    ks_key_free(key);
}
END_TEST

/* As a destructor of the module's that waits for a call which never returns. */
static void wait_for_ever(void)
{
    for (;;)
        pause();
}

START_TEST(a_module_that_hangs_does_not_keep_the_process_from_ending)
{
    int status = 0;
    pid_t pid;

    fake_add_pair(fx.slot, FAKE_P256, "k");
    fflush(NULL);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        struct ks_key *key = NULL;
        pthread_t thread;

        signal(SIGALRM, SIG_DFL);
        fx_need(atexit(wait_for_ever) == 0, "atexit"); /* before the module is initialised */
        fx_need(ks_ok(fx_find("k", &key)), "not found");
        fake_hang("C_Sign", 1);
        fx_need(pthread_create(&thread, NULL, hang_in_sign, key) == 0, "no thread");
        fx_need(fake_wait_hanging(1, 5000), "nothing hangs");
        exit(42);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 42, "ended with 0x%x",
                  (unsigned)status);
}
END_TEST

/* What a process writes at its end, with what is registered with atexit(). */
static void counts_of_exit(const char *counts, bool use, char *line, size_t size)
{
    pid_t pid;
    int status = 0;
    FILE *file;

    fake_add_pair(fx.slot, FAKE_P256, "k");
    fflush(NULL);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        struct ks_key *key = NULL;

        signal(SIGALRM, SIG_DFL);
        alarm(20);
        setenv("HSM_FAKE_COUNTS", counts, 1);
        if (use) {
            fx_need(ks_ok(fx_find("k", &key)), "not found");
            fx_need(fx_signs(key, "k"), "signing failed");
        }
        exit(0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "ended with 0x%x",
                  (unsigned)status);
    line[0] = '\0';
    file = fopen(counts, "r");
    if (file == NULL)
        return;
    ck_assert_ptr_nonnull(fgets(line, (int)size, file));
    fclose(file);
}

START_TEST(at_exit_the_module_is_finalised_by_who_initialised_it)
{
    char counts[128], line[2048];

    snprintf(counts, sizeof(counts), "%s/counts", fx.dir);
    counts_of_exit(counts, true, line, sizeof(line));
    ck_assert_ptr_nonnull(strstr(line, " C_Initialize=1 C_Finalize=1 "));
    ck_assert_ptr_nonnull(strstr(line, " C_Sign=1"));
}
END_TEST

START_TEST(at_exit_a_child_that_used_nothing_calls_nothing)
{
    char counts[128], line[2048];
    struct ks_key *key = fx_new_key(FAKE_P256, "l");

    snprintf(counts, sizeof(counts), "%s/counts", fx.dir);
    counts_of_exit(counts, false, line, sizeof(line));
    ck_assert_str_eq(line, "");
    ck_assert(fx_signs(key, "l"));
    ks_key_free(key);
}
END_TEST

int main(void)
{
    const struct fx_test tests[] = {
        {a_child_signs_and_the_parent_goes_on, 3},
        {a_child_starts_anew, 0},
        {a_child_s_child_signs_too, 0},
        {tpm2_pkcs11_is_left_alone_in_a_child, 0},
        {a_child_of_a_parent_that_used_nothing_yet, 0},
        {a_child_needs_no_pin_file, 0},
        {a_child_that_releases_does_not_touch_the_parent_s_module, 0},
        {forks_amid_busy_threads_leave_no_lock_behind, 0},
        {a_hanging_call_in_the_parent_does_not_hang_the_child, 0},
        {a_fork_waits_for_a_module_that_is_starting, 0},
        {after_the_shutdown_everything_says_so, 0},
        {the_shutdown_waits_for_a_bounded_time_and_then_leaves_the_module_alone, 0},
        {the_shutdown_does_not_wait_for_ever_for_c_finalize, 0},
        {a_module_that_hangs_does_not_keep_the_process_from_ending, 0},
        {at_exit_the_module_is_finalised_by_who_initialised_it, 0},
        {at_exit_a_child_that_used_nothing_calls_nothing, 0},
    };

    return fx_main("ks_module", tests, COUNT_OF(tests));
}
