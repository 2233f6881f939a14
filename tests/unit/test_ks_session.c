/* SPDX-License-Identifier: Apache-2.0
 *
 * token/session.c: a bounded pool, from which nobody goes empty-handed, and which costs nothing.
 */
#include "ks_fixture.h"

#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../keystore/token/connect.h"
#include "../../keystore/token/key.h"
#include "../../keystore/token/session.h"

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

struct job {
    pthread_t thread;
    struct ks_key *key;
    unsigned rounds, failed;
    uint64_t deadline_ns;
    enum ks_code code;
    struct ks_error err;
};

static void *sign_many(void *arg)
{
    struct job *job = arg;
    struct ks_call_options opts = {.deadline_ns = job->deadline_ns};
    uint8_t sig[FX_ROOM];

    for (unsigned i = 0; i < job->rounds; i++) {
        size_t len = sizeof(sig);
        ks_status st =
            ks_sign(job->key, &opts, &fx_ecdsa, fx_digest, sizeof(fx_digest), sig, &len, &job->err);

        if (!ks_ok(st)) {
            job->failed++;
            job->code = st.code;
        }
    }
    return NULL;
}

static void run(struct job *jobs, size_t count, struct ks_key *key, unsigned rounds)
{
    for (size_t i = 0; i < count; i++) {
        jobs[i] = (struct job){.key = key, .rounds = rounds};
        ck_assert_int_eq(pthread_create(&jobs[i].thread, NULL, sign_many, &jobs[i]), 0);
    }
    for (size_t i = 0; i < count; i++) {
        pthread_join(jobs[i].thread, NULL);
        ck_assert_msg(jobs[i].failed == 0, "thread %zu: %s", i, jobs[i].err.text);
    }
}

START_TEST(thirty_two_threads_share_two_sessions_of_the_token)
{
    struct job jobs[32];
    struct ks_key *key;

    fx_restart(&(struct fake_token){.sessions_max = 2});
    fake_set_cheap(true);
    key = fx_new_key(FAKE_P256, "k");
    fx_meet("C_Sign", 2);
    run(jobs, COUNT_OF(jobs), key, 20);
    fx_met();
    ck_assert_uint_eq(fake_calls("C_Sign"), 32 * 20);
    ck_assert_uint_eq(fake_peak_sessions(), 2);
    ck_assert_uint_eq(fake_peak_parallel("C_Sign"), 2);
    ck_assert_uint_eq(fake_sessions(), 2);
    ck_assert_uint_eq(fake_calls("C_OpenSession"), 2);
    ks_key_free(key);
}
END_TEST

START_TEST(the_configured_limit_counts_too)
{
    struct ks_token_config config = fx_config();
    struct job jobs[16];
    struct ks_key *key;

    config.sessions = 3;
    fx_ok(ks_token_new(&config, &fx.token, &fx.err));
    fake_set_cheap(true);
    key = fx_new_key(FAKE_P256, "k");
    fx_meet("C_Sign", 3);
    run(jobs, COUNT_OF(jobs), key, 10);
    fx_met();
    ck_assert_uint_eq(fake_peak_sessions(), 3);
    ck_assert_uint_eq(fake_peak_parallel("C_Sign"), 3);
    ks_key_free(key);
}
END_TEST

START_TEST(all_of_the_token_s_parallelism_is_used)
{
    struct job jobs[16];
    struct ks_key *key;

    fake_set_cheap(true);
    key = fx_new_key(FAKE_P256, "k");
    fx_meet("C_Sign", COUNT_OF(jobs));
    run(jobs, COUNT_OF(jobs), key, 3);
    fx_met();
    ck_assert_uint_eq(fake_peak_parallel("C_Sign"), COUNT_OF(jobs));
    ck_assert_uint_le(fake_peak_sessions(), COUNT_OF(jobs) + 1);
    ks_key_free(key);
}
END_TEST

/* The token promises more than it has. */
START_TEST(a_token_that_is_full_early_is_believed)
{
    struct job jobs[8];
    struct ks_key *key;

    fake_set_cheap(true);
    key = fx_new_key(FAKE_P256, "k");
    fx_meet("C_Sign", 2);
    fake_inject("C_OpenSession", 2, FAKE_FOREVER, CKR_SESSION_COUNT, false);
    run(jobs, COUNT_OF(jobs), key, 10);
    fx_met();
    ck_assert_uint_eq(fake_calls("C_Sign"), 8 * 10);
    ck_assert_uint_eq(fake_peak_sessions(), 2);
    ks_key_free(key);
}
END_TEST

START_TEST(a_token_without_any_session_left_is_an_error_and_no_hang)
{
    fake_inject("C_OpenSession", 1, FAKE_FOREVER, CKR_SESSION_COUNT, false);
    fx_fails(ks_token_connect(fx_token(), NULL, &fx.err), KS_SESSIONS);
    fx_says("CKR_SESSION_COUNT");
    fake_heal(NULL);
    fx_ok(ks_token_connect(fx_token(), NULL, &fx.err));
}
END_TEST

START_TEST(steady_state_opens_and_closes_nothing)
{
    static const unsigned threads[] = {1, 8, 32};
    struct job jobs[32];
    struct ks_key *key;
    unsigned rounds = fx_rounds(500);

    fake_set_cheap(true);
    key = fx_new_key(FAKE_P256, "k");
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        /* as many sessions as threads */
        fx_meet("C_Sign", threads[i]);
        run(jobs, threads[i], key, 2);
        fx_met();
        fake_clear_counts();
        run(jobs, threads[i], key, rounds);
        ck_assert_uint_eq(fake_calls("C_SignInit"), threads[i] * rounds);
        ck_assert_uint_eq(fake_calls("C_Sign"), threads[i] * rounds);
        ck_assert_uint_eq(fake_calls(NULL), 2 * threads[i] * rounds);
    }
    ks_key_free(key);
}
END_TEST

START_TEST(one_thread_needs_one_session)
{
    struct ks_key *key = fx_new_key(FAKE_P256, "k");

    for (int i = 0; i < 10; i++)
        fx_sign_well(key, "k");
    ck_assert_uint_eq(fake_peak_sessions(), 1);
    ks_key_free(key);
}
END_TEST

START_TEST(signing_sessions_are_read_only)
{
    struct ks_key *key;

    fx_restart(&(struct fake_token){.write_protected = true});
    key = fx_new_key(FAKE_P256, "k");
    fx_sign_well(key, "k");
    ck_assert_uint_eq(fake_last_session_flags(), CKF_SERIAL_SESSION);
    ks_key_free(key);
}
END_TEST

START_TEST(a_wait_ends_at_the_deadline)
{
    struct ks_token_config config = fx_config();
    struct job busy = {.rounds = 1}, late = {.rounds = 1};
    uint64_t before;

    config.sessions = 1;
    fx_ok(ks_token_new(&config, &fx.token, &fx.err));
    busy.key = late.key = fx_new_key(FAKE_P256, "k");
    fake_hang("C_Sign", 1);
    ck_assert_int_eq(pthread_create(&busy.thread, NULL, sign_many, &busy), 0);
    ck_assert(fake_wait_hanging(1, 5000));
    before = now_ns();
    late.deadline_ns = before + 100000000U;
    sign_many(&late);
    ck_assert_int_eq(late.code, KS_TIMEOUT);
    ck_assert_uint_ge(now_ns() - before, 100000000U);
    ck_assert_uint_lt(now_ns() - before, 5000000000U);
    fake_release();
    pthread_join(busy.thread, NULL);
    ck_assert_msg(busy.failed == 0, "%s", busy.err.text);
    fx_sign_well(busy.key, "k");
    ck_assert_uint_eq(fake_sessions(), 1);
    ks_key_free(busy.key);
}
END_TEST

/* --- in turn --------------------------------------------------------------------------------- */

/* One who takes the session, notes when that was, and gives it back. */
struct guest {
    pthread_t thread;
    unsigned number;
    struct ks_call_options opts;
    enum ks_code code;
    atomic_bool done;
};

static unsigned order[16], guests_served; /* by the one who has the session */

static void *visit(void *arg)
{
    struct guest *guest = arg;
    struct ks_session session;
    struct ks_error err;
    ks_status st = ks_session_take(fx.token, &guest->opts, NULL, &session, NULL, &err);

    guest->code = st.code;
    if (ks_ok(st)) {
        order[guests_served++] = guest->number;
        ks_session_give(fx.token, &session, KS_SESSION_KEEP);
    }
    atomic_store(&guest->done, true);
    return NULL;
}

static unsigned waiting(void)
{
    unsigned n;

    pthread_mutex_lock(&fx.token->pool.lock);
    n = ks_session_waiting(fx.token);
    pthread_mutex_unlock(&fx.token->pool.lock);
    return n;
}

static void wait_for(unsigned number)
{
    const struct timespec pause = {.tv_nsec = 1000000};

    while (waiting() != number)
        nanosleep(&pause, NULL);
}

static void come(struct guest *guest, unsigned number)
{
    guest->number = number;
    ck_assert_int_eq(pthread_create(&guest->thread, NULL, visit, guest), 0);
}

static void queue(struct guest *guest, unsigned number)
{
    unsigned before = waiting();

    come(guest, number);
    wait_for(before + 1);
}

static void only_session(struct ks_session *out)
{
    struct ks_token_config config = fx_config();

    config.sessions = 1;
    fx_ok(ks_token_new(&config, &fx.token, &fx.err));
    fx_ok(ks_session_take(fx.token, NULL, NULL, out, NULL, &fx.err));
    guests_served = 0;
}

START_TEST(who_came_first_is_served_first)
{
    struct guest guests[9] = {{.number = 0}};
    struct ks_session session;

    only_session(&session);
    for (unsigned i = 0; i < COUNT_OF(guests); i++)
        queue(&guests[i], i);
    ks_session_give(fx.token, &session, KS_SESSION_KEEP);
    for (unsigned i = 0; i < COUNT_OF(guests); i++)
        pthread_join(guests[i].thread, NULL);
    ck_assert_uint_eq(guests_served, COUNT_OF(guests));
    for (unsigned i = 0; i < COUNT_OF(guests); i++)
        ck_assert_uint_eq(order[i], i);
}
END_TEST

/* The one who gives a session back is already awake, and would always be quicker. */
START_TEST(a_newcomer_overtakes_nobody)
{
    struct guest guests[3] = {{.number = 0}}, self = {.number = 99};
    struct ks_session session;

    only_session(&session);
    for (unsigned i = 0; i < COUNT_OF(guests); i++)
        queue(&guests[i], i);
    ks_session_give(fx.token, &session, KS_SESSION_KEEP);
    visit(&self);
    for (unsigned i = 0; i < COUNT_OF(guests); i++)
        pthread_join(guests[i].thread, NULL);
    ck_assert_uint_eq(guests_served, COUNT_OF(guests) + 1);
    for (unsigned i = 0; i < COUNT_OF(guests); i++)
        ck_assert_uint_eq(order[i], i);
    ck_assert_uint_eq(order[COUNT_OF(guests)], 99);
}
END_TEST

START_TEST(who_gives_up_waiting_holds_up_nobody)
{
    struct guest guests[3] = {{.number = 0}};
    struct ks_session session;

    only_session(&session);
    for (unsigned i = 0; i < 2; i++) {
        guests[i].opts.deadline_ns = now_ns() + 100000000U;
        come(&guests[i], i);
        while (waiting() <= i && !atomic_load(&guests[i].done))
            sched_yield();
    }
    come(&guests[2], 2);
    pthread_join(guests[0].thread, NULL);
    pthread_join(guests[1].thread, NULL);
    ck_assert_int_eq(guests[0].code, KS_TIMEOUT);
    ck_assert_int_eq(guests[1].code, KS_TIMEOUT);
    wait_for(1);
    ks_session_give(fx.token, &session, KS_SESSION_KEEP);
    pthread_join(guests[2].thread, NULL);
    ck_assert_int_eq(guests[2].code, KS_OK);
    ck_assert_uint_eq(waiting(), 0);
}
END_TEST

/* All who wait find out that the token is gone, and bring it up again: one of them. */
START_TEST(those_who_wait_survive_that_the_token_goes_down)
{
    struct guest guests[5] = {{.number = 0}};
    struct ks_session session;

    only_session(&session);
    for (unsigned i = 0; i < COUNT_OF(guests); i++)
        queue(&guests[i], i);
    fake_lose_sessions(false);
    ks_token_mark_lost(fx.token, session.epoch);
    for (unsigned i = 0; i < COUNT_OF(guests); i++)
        pthread_join(guests[i].thread, NULL);
    ks_session_give(fx.token, &session, KS_SESSION_GONE);
    ck_assert_uint_eq(guests_served, COUNT_OF(guests));
    ck_assert_uint_eq(fake_pin_attempts(), 2);
    ck_assert_uint_eq(fake_sessions(), 1);
}
END_TEST

START_TEST(a_child_of_a_fork_waits_for_none_of_the_parent_s_threads)
{
    struct guest guest = {.number = 0}, self = {.number = 1};
    struct ks_session session;
    int status;
    pid_t pid;

    only_session(&session);
    queue(&guest, 0);
    pid = fork();
    if (pid == 0) {
        alarm(30);
        visit(&self);
        _exit(self.code == KS_OK ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    ks_session_give(fx.token, &session, KS_SESSION_KEEP);
    pthread_join(guest.thread, NULL);
    ck_assert_int_eq(guest.code, KS_OK);
}
END_TEST

START_TEST(lost_sessions_are_replaced_once_for_all_threads)
{
    struct job jobs[8];
    struct ks_key *key;

    fake_set_cheap(true);
    key = fx_new_key(FAKE_P256, "k");
    fake_set_latency("C_Sign", 5000);
    for (int i = 0; i < 5; i++) {
        run(jobs, COUNT_OF(jobs), key, 2);
        fake_lose_sessions(false);
    }
    run(jobs, COUNT_OF(jobs), key, 2);
    ck_assert_uint_eq(fake_calls("C_Login"), 6);
    ck_assert_uint_le(fake_sessions(), COUNT_OF(jobs) + 1);
    ck_assert_uint_le(fake_peak_sessions(), COUNT_OF(jobs) + 1);
    ks_key_free(key);
}
END_TEST

static void lose_all(void *arg)
{
    (void)arg;
    fake_lose_sessions(false);
}

/* In the middle of many operations: all of them are retried, none fails. */
START_TEST(sessions_that_are_lost_under_way_fail_nobody)
{
    struct job jobs[8];
    struct ks_key *key;

    fake_set_cheap(true);
    key = fx_new_key(FAKE_P256, "k");
    fake_set_latency("C_Sign", 500);
    for (unsigned i = 1; i <= 5; i++)
        fake_at("C_Sign", 40 * i, lose_all, NULL);
    run(jobs, COUNT_OF(jobs), key, 40);
    ck_assert_uint_eq(fake_pin_attempts(), fake_calls("C_Login"));
    ck_assert_uint_le(fake_sessions(), COUNT_OF(jobs) + 1);
    ks_key_free(key);
}
END_TEST

START_TEST(releasing_the_token_closes_its_sessions)
{
    struct job jobs[8];
    struct ks_key *key;

    fake_set_cheap(true);
    key = fx_new_key(FAKE_P256, "k");
    fx_meet("C_Sign", COUNT_OF(jobs));
    run(jobs, COUNT_OF(jobs), key, 2);
    fx_met();
    ck_assert_uint_eq(fake_sessions(), COUNT_OF(jobs));
    ks_key_free(key);
    ks_token_free(fx.token);
    fx.token = NULL;
    ck_assert_uint_eq(fake_sessions(), 0);
    ck_assert_uint_eq(fake_calls("C_OpenSession"), fake_calls("C_CloseSession"));
}
END_TEST

int main(void)
{
    const struct fx_test tests[] = {
        {thirty_two_threads_share_two_sessions_of_the_token, 0},
        {the_configured_limit_counts_too, 0},
        {all_of_the_token_s_parallelism_is_used, 0},
        {a_token_that_is_full_early_is_believed, 0},
        {a_token_without_any_session_left_is_an_error_and_no_hang, 0},
        {steady_state_opens_and_closes_nothing, 0},
        {one_thread_needs_one_session, 0},
        {signing_sessions_are_read_only, 0},
        {a_wait_ends_at_the_deadline, 0},
        {who_came_first_is_served_first, 0},
        {a_newcomer_overtakes_nobody, 0},
        {who_gives_up_waiting_holds_up_nobody, 0},
        {those_who_wait_survive_that_the_token_goes_down, 0},
        {a_child_of_a_fork_waits_for_none_of_the_parent_s_threads, 0},
        {lost_sessions_are_replaced_once_for_all_threads, 0},
        {sessions_that_are_lost_under_way_fail_nobody, 0},
        {releasing_the_token_closes_its_sessions, 0},
    };

    return fx_main("ks_session", tests, COUNT_OF(tests));
}
