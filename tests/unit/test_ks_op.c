/* SPDX-License-Identifier: Apache-2.0
 *
 * op/op.c: what an operation costs, and what it does when the token fails: one row of
 * CKR_ code, one outcome. The deviations of real modules are here.
 */
#include "ks_fixture.h"

#include <malloc.h>
#include <pthread.h>
#include <time.h>

#define SIGN "C_SignInit C_Sign"
/* finding an EC key again, of which no public half is expected: search and read, and the same for
 * its public object */
#define SEARCH   "C_FindObjectsInit C_FindObjects C_FindObjects C_FindObjectsFinal "
#define READ     "C_GetAttributeValue "
#define FIND_EC  SEARCH READ SEARCH READ
#define FIND_RSA SEARCH READ

/* --- what it costs --------------------------------------------------------------------------- */

struct job {
    pthread_t thread;
    struct ks_key *key;
    unsigned rounds;
    bool decrypt;
    unsigned failed;
    struct ks_error err;
};

static void *operate(void *arg)
{
    struct job *job = arg;
    uint8_t in[256] = {1}, out[FX_ROOM];

    for (unsigned i = 0; i < job->rounds; i++) {
        size_t len = sizeof(out);
        ks_status st =
            job->decrypt ? ks_decrypt(job->key, NULL, &fx_raw, in, sizeof(in), out, &len, &job->err)
                         : ks_sign(job->key, NULL, &fx_pkcs1, fx_digest, sizeof(fx_digest), out,
                                   &len, &job->err);

        if (!ks_ok(st))
            job->failed++;
    }
    return NULL;
}

static void run(unsigned threads, struct ks_key *key, unsigned rounds, bool decrypt)
{
    struct job jobs[32];

    for (unsigned i = 0; i < threads; i++) {
        jobs[i] = (struct job){.key = key, .rounds = rounds, .decrypt = decrypt};
        ck_assert_int_eq(pthread_create(&jobs[i].thread, NULL, operate, &jobs[i]), 0);
    }
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(jobs[i].thread, NULL);
        ck_assert_msg(jobs[i].failed == 0, "%s", jobs[i].err.text);
    }
}

static const unsigned thread_counts[] = {1, 8, 32};

START_TEST(exactly_two_calls_per_operation_at_any_number_of_threads)
{
    unsigned threads = thread_counts[_i % 3], rounds = fx_rounds(200);
    bool decrypt = _i >= 3;
    const char *init = decrypt ? "C_DecryptInit" : "C_SignInit";
    const char *work = decrypt ? "C_Decrypt" : "C_Sign";
    struct ks_key *key;

    fake_set_cheap(true);
    key = fx_new_key(FAKE_RSA, "k");
    /* the pool fills up */
    fx_meet(work, threads);
    run(threads, key, 2, decrypt);
    fx_met();
    fake_clear_counts();
    run(threads, key, rounds, decrypt);
    ck_assert_uint_eq(fake_calls(init), threads * rounds);
    ck_assert_uint_eq(fake_calls(work), threads * rounds);
    ck_assert_uint_eq(fake_calls(NULL), 2 * threads * rounds);
    ks_key_free(key);
}
END_TEST

START_TEST(the_calls_are_these)
{
    uint8_t in[256] = {1}, out[FX_ROOM];
    size_t len = sizeof(out);
    struct ks_key *key = fx_new_key(FAKE_RSA, "k");

    fake_clear_counts();
    fx_sign_well(key, "k");
    fx_log_is(SIGN);
    fake_clear_counts();
    fx_ok(ks_decrypt(key, NULL, &fx_raw, in, sizeof(in), out, &len, &fx.err));
    fx_log_is("C_DecryptInit C_Decrypt");
    ks_key_free(key);
}
END_TEST

START_TEST(always_authenticate_keys_cost_three)
{
    uint8_t in[256] = {1}, out[FX_ROOM];
    size_t len = sizeof(out);
    struct ks_key *key;

    fake_add_key(fx.slot,
                 &(struct fake_key){
                     .kind = FAKE_RSA, .label = "k", .id = "k", .flags = FAKE_ALWAYS_AUTHENTICATE});
    key = fx_key("k");
    ck_assert(ks_key_object(key)->always_authenticate);
    fake_clear_counts();
    /* the first of an epoch looks whether the token would still forgive a wrong PIN */
    fx_sign_well(key, "k");
    fx_log_is("C_SignInit C_GetTokenInfo C_Login C_Sign");
    fake_clear_counts();
    fx_sign_well(key, "k");
    fx_log_is("C_SignInit C_Login C_Sign");
    for (int i = 0; i < 9; i++)
        fx_sign_well(key, "k");
    ck_assert_uint_eq(fake_calls(NULL), 30);
    fake_clear_counts();
    fx_ok(ks_decrypt(key, NULL, &fx_raw, in, sizeof(in), out, &len, &fx.err));
    fx_log_is("C_DecryptInit C_Login C_Decrypt");
    ks_key_free(key);
}
END_TEST

START_TEST(always_authenticate_keys_do_not_run_the_pin_down)
{
    struct ks_key *key;

    fake_add_key(fx.slot, &(struct fake_key){.kind = FAKE_P256,
                                             .label = "k",
                                             .id = "k",
                                             .flags = FAKE_ALWAYS_AUTHENTICATE});
    key = fx_key("k");
    fake_set_pin(fx.slot, "changed");
    fake_clear_counts();
    fx_fails(fx_sign(key), KS_PIN_REFUSED);
    for (int i = 0; i < 10; i++)
        ck_assert(!ks_ok(fx_sign(key)));
    ck_assert_uint_eq(fake_pin_attempts(), 1);
    ks_key_free(key);
}
END_TEST

START_TEST(a_hundred_thousand_operations_need_no_more_memory)
{
    unsigned rounds = fx_rounds(100000);
    struct mallinfo2 before, after;
    struct ks_key *key;

    fake_set_cheap(true);
    key = fx_new_key(FAKE_RSA, "k");
    run(1, key, 10, false);
    fake_clear_counts();
    before = mallinfo2();
    for (unsigned i = 0; i < rounds; i++)
        fx_ok(fx_sign(key));
    after = mallinfo2();
    ck_assert_uint_eq(after.uordblks, before.uordblks);
    ck_assert_uint_eq(after.hblkhd, before.hblkhd);
    ck_assert_uint_eq(fake_calls(NULL), 2 * (unsigned long)rounds);
    ck_assert_uint_eq(fake_sessions(), 1);
    ks_key_free(key);
}
END_TEST

/* --- failures: one row each ------------------------------------------------------------------ */

#define FOREVER FAKE_FOREVER

static const struct row {
    const char *function; /* of signing, where it is injected */
    unsigned long rv;
    unsigned times; /* how often */
    enum ks_code code;
    const char *log; /* exactly these calls; NULL: `most` at most */
    unsigned most;
} rows[] = {
    /* stale handles: found again once */
    {"C_SignInit", CKR_KEY_HANDLE_INVALID, 1, KS_OK, "C_SignInit " FIND_EC SIGN, 0},
    {"C_SignInit", CKR_OBJECT_HANDLE_INVALID, 1, KS_OK, "C_SignInit " FIND_EC SIGN, 0},
    {"C_SignInit", CKR_KEY_HANDLE_INVALID, FOREVER, KS_KEY_NOT_FOUND,
     "C_SignInit " FIND_EC "C_SignInit", 0},
    {"C_SignInit", CKR_OBJECT_HANDLE_INVALID, FOREVER, KS_KEY_NOT_FOUND,
     "C_SignInit " FIND_EC "C_SignInit", 0},
    /* the error comes from C_Sign though it was due before: same class */
    {"C_Sign", CKR_KEY_HANDLE_INVALID, 1, KS_OK, NULL, 32},
    {"C_Sign", CKR_OBJECT_HANDLE_INVALID, 1, KS_OK, NULL, 32},
    {"C_Sign", CKR_USER_NOT_LOGGED_IN, 1, KS_OK, NULL, 40},
    {"C_Sign", CKR_MECHANISM_INVALID, FOREVER, KS_MECHANISM, NULL, 3},
    {"C_Sign", CKR_KEY_TYPE_INCONSISTENT, FOREVER, KS_MECHANISM, NULL, 3},
    {"C_Sign", CKR_MECHANISM_PARAM_INVALID, FOREVER, KS_MECHANISM, NULL, 3},
    /* refused: permanent, whichever of the two codes it is */
    {"C_SignInit", CKR_MECHANISM_INVALID, FOREVER, KS_MECHANISM, "C_SignInit", 0},
    {"C_SignInit", CKR_KEY_TYPE_INCONSISTENT, FOREVER, KS_MECHANISM, "C_SignInit", 0},
    {"C_SignInit", CKR_MECHANISM_PARAM_INVALID, FOREVER, KS_MECHANISM, "C_SignInit", 0},
    {"C_SignInit", CKR_ARGUMENTS_BAD, FOREVER, KS_MECHANISM, "C_SignInit", 0},
    {"C_SignInit", CKR_KEY_FUNCTION_NOT_PERMITTED, FOREVER, KS_KEY_USE, "C_SignInit", 0},
    {"C_SignInit", CKR_HOST_MEMORY, FOREVER, KS_NO_MEMORY, "C_SignInit", 0},
    /* a dirty session is closed, another one taken, once */
    {"C_SignInit", CKR_OPERATION_ACTIVE, 1, KS_OK, NULL, 40},
    {"C_Sign", CKR_OPERATION_NOT_INITIALIZED, 1, KS_OK, NULL, 40},
    /* lost sessions: fresh ones, retried */
    {"C_SignInit", CKR_SESSION_HANDLE_INVALID, 1, KS_OK, NULL, 40},
    {"C_Sign", CKR_SESSION_HANDLE_INVALID, 1, KS_OK, NULL, 40},
    {"C_SignInit", CKR_SESSION_CLOSED, 1, KS_OK, NULL, 40},
    {"C_Sign", CKR_SESSION_CLOSED, 1, KS_OK, NULL, 40},
    {"C_SignInit", CKR_SESSION_HANDLE_INVALID, FOREVER, KS_SESSIONS, NULL, 200},
    /* logged out: login once */
    {"C_SignInit", CKR_USER_NOT_LOGGED_IN, 1, KS_OK,
     "C_SignInit C_GetTokenInfo C_Login " FIND_EC SIGN, 0},
    {"C_SignInit", CKR_USER_NOT_LOGGED_IN, FOREVER, KS_LOGIN, NULL, 40},
    /* throttling: again after a pause, then the code */
    {"C_Sign", CKR_DEVICE_MEMORY, 2, KS_OK, NULL, 80},
    {"C_SignInit", CKR_DEVICE_MEMORY, 2, KS_OK, "C_SignInit C_SignInit " SIGN, 0},
    {"C_SignInit", CKR_DEVICE_MEMORY, FOREVER, KS_TOKEN_FULL, NULL, 20},
    {"C_SignInit", 0x80000005UL, 1, KS_OK, NULL, 40},
    {"C_Sign", 0x80000005UL, FOREVER, KS_TOKEN, NULL, 80},
    {"C_SignInit", CKR_FUNCTION_CANCELED, 1, KS_OK, NULL, 40},
    /* may be anything: once more on a fresh session */
    {"C_SignInit", CKR_GENERAL_ERROR, 1, KS_OK, NULL, 40},
    {"C_Sign", CKR_GENERAL_ERROR, 1, KS_OK, NULL, 40},
    {"C_Sign", CKR_FUNCTION_FAILED, 1, KS_OK, NULL, 40},
    {"C_Sign", CKR_GENERAL_ERROR, FOREVER, KS_TOKEN, NULL, 80},
    {"C_Sign", CKR_FUNCTION_FAILED, FOREVER, KS_TOKEN, NULL, 80},
    /* the token is gone: brought up again twice, then an error in bounded time */
    {"C_SignInit", CKR_DEVICE_ERROR, 1, KS_OK, NULL, 40},
    {"C_SignInit", CKR_DEVICE_ERROR, 2, KS_OK, NULL, 60},
    {"C_Sign", CKR_DEVICE_REMOVED, 1, KS_OK, NULL, 40},
    {"C_SignInit", CKR_TOKEN_NOT_PRESENT, 1, KS_OK, NULL, 40},
    {"C_SignInit", CKR_TOKEN_NOT_RECOGNIZED, 1, KS_OK, NULL, 40},
    {"C_SignInit", CKR_DEVICE_ERROR, FOREVER, KS_DEVICE, NULL, 80},
    {"C_Sign", CKR_DEVICE_REMOVED, FOREVER, KS_DEVICE, NULL, 80},
    /* the data: permanent */
    {"C_Sign", CKR_DATA_LEN_RANGE, FOREVER, KS_DATA, SIGN, 0},
    {"C_Sign", CKR_DATA_INVALID, FOREVER, KS_DATA, SIGN, 0},
};

START_TEST(each_failure_has_its_outcome)
{
    const struct row *row = &rows[_i];
    struct ks_key *key = fx_new_key(FAKE_P256, "k");
    ks_status st;

    fx_sign_well(key, "k");
    fake_clear_counts();
    fake_inject(row->function, 1, row->times, row->rv, false);
    st = fx_sign(key);
    ck_assert_msg(st.code == row->code, "%s 0x%lx x %u: %d (%s), not %d; %s", row->function,
                  row->rv, row->times, (int)st.code, ks_code_text(st.code), (int)row->code,
                  fake_log());
    if (row->log != NULL)
        fx_log_is(row->log);
    else
        ck_assert_msg(fake_calls(NULL) <= row->most, "%lu calls: %s", fake_calls(NULL), fake_log());
    if (row->code != KS_OK) {
        ck_assert_uint_eq(fx.err.rv, row->rv);
        ck_assert_str_eq(fx.err.function, row->function);
        ck_assert_str_eq(fx.err.token, fx.label);
    }
    /* and it is over when it is over: nothing is left behind */
    fake_heal(NULL);
    fx_sign_well(key, "k");
    fake_clear_counts();
    fx_sign_well(key, "k");
    fx_log_is(SIGN);
    ck_assert_uint_eq(fake_sessions(), 1);
    ck_assert_uint_eq(fake_open_operations(), 0);
    ks_key_free(key);
}
END_TEST

/* The same with other threads at work: none of them fails. */
START_TEST(one_failure_disturbs_no_other_thread)
{
    static const struct {
        const char *function;
        unsigned long rv;
    } cases[] = {
        {"C_Sign", CKR_SESSION_HANDLE_INVALID}, {"C_SignInit", CKR_USER_NOT_LOGGED_IN},
        {"C_SignInit", CKR_KEY_HANDLE_INVALID}, {"C_SignInit", CKR_OPERATION_ACTIVE},
        {"C_Sign", CKR_GENERAL_ERROR},          {"C_SignInit", CKR_DEVICE_ERROR},
        {"C_SignInit", CKR_DEVICE_MEMORY},
    };
    struct ks_key *key;

    fake_set_cheap(true);
    key = fx_new_key(FAKE_RSA, "k");
    fake_set_latency("C_Sign", 300);
    for (unsigned i = 0; i < 5; i++)
        fake_inject(cases[_i].function, 30 * (i + 1), 1, cases[_i].rv, false);
    run(8, key, 40, false);
    ck_assert_uint_le(fake_sessions(), 9);
    ck_assert_uint_eq(fake_open_operations(), 0);
    ks_key_free(key);
}
END_TEST

/* --- the module really is in that state ------------------------------------------------------ */

START_TEST(a_stale_handle_is_found_again)
{
    for (int quirk = 0; quirk < 2; quirk++) {
        struct ks_key *key;

        fx_restart(NULL);
        fake_set_quirk(FAKE_QUIRK_OBJECT_HANDLE, quirk != 0);
        key = fx_new_key(FAKE_RSA, "k");
        fx_sign_well(key, "k");
        fake_renumber(FAKE_HANDLES_FRESH);
        fake_clear_counts();
        fx_sign_well(key, "k");
        fx_log_is("C_SignInit " FIND_RSA SIGN);
        fake_clear_counts();
        fx_sign_well(key, "k");
        fx_log_is(SIGN);
        ks_key_free(key);
    }
}
END_TEST

/* SoftHSM: after all sessions were lost the old handle may be valid, and another key's. */
START_TEST(a_handle_of_an_old_epoch_is_never_used)
{
    struct ks_key *a = fx_new_key(FAKE_RSA, "a"), *b = fx_new_key(FAKE_RSA, "b");

    for (int i = 0; i < 3; i++) {
        fx_sign_well(a, "a");
        fx_sign_well(b, "b");
        fake_lose_sessions(false);
        fake_renumber(FAKE_HANDLES_OTHER);
    }
    fx_sign_well(b, "b");
    fx_sign_well(a, "a");
    ck_assert_uint_eq(fake_calls("C_Sign"), 8);
    ks_key_free(a);
    ks_key_free(b);
}
END_TEST

START_TEST(an_unload_in_between_makes_a_new_epoch)
{
    struct ks_key *key;

    fake_set_reinit_handles(FAKE_HANDLES_OTHER);
    fake_add_key(fx.slot, &(struct fake_key){.kind = FAKE_RSA, .label = "a", .id = "a"});
    fake_add_key(fx.slot, &(struct fake_key){.kind = FAKE_RSA, .label = "b", .id = "b"});
    for (int i = 0; i < 3; i++) {
        key = fx_key("a");
        fx_sign_well(key, "a");
        ks_key_free(key);
        ks_token_free(fx.token);
        fx.token = NULL;
    }
    ck_assert_uint_eq(fake_calls("C_Initialize"), 3);
}
END_TEST

START_TEST(slots_may_get_other_numbers)
{
    struct ks_key *key = fx_new_key(FAKE_P256, "k");

    fake_renumber_slots();
    fake_lose_sessions(false);
    fx_sign_well(key, "k");
    fake_set_present(fx.slot, false);
    ck_assert(!ks_ok(fx_sign(key)));
    fake_renumber_slots();
    fake_set_present(fx.slot, true);
    fx_sign_well(key, "k");
    ks_key_free(key);
}
END_TEST

START_TEST(errors_that_come_late_have_the_same_outcome)
{
    struct ks_key *key = fx_new_key(FAKE_RSA, "k");
    uint8_t sig[FX_ROOM];
    size_t len = sizeof(sig);

    fake_set_quirk(FAKE_QUIRK_LATE_ERRORS, true);
    fx_sign_well(key, "k");
    fake_lose_login();
    fx_sign_well(key, "k");
    fake_renumber(FAKE_HANDLES_FRESH);
    fx_sign_well(key, "k");
    fake_set_mechanism(fx.slot, CKM_RSA_X_509, false);
    fx_fails(ks_sign(key, NULL, &fx_raw, fx_digest, sizeof(fx_digest), sig, &len, &fx.err),
             KS_MECHANISM);
    fx_sign_well(key, "k");
    ks_key_free(key);
}
END_TEST

START_TEST(both_refusals_mean_the_same)
{
    for (int swapped = 0; swapped < 2; swapped++) {
        struct ks_key *rsa, *ec;
        uint8_t sig[FX_ROOM];
        size_t len = sizeof(sig);

        fx_restart(NULL);
        fake_set_quirk(FAKE_QUIRK_SWAPPED_REFUSAL, swapped != 0);
        fake_set_mechanism(fx.slot, CKM_RSA_X_509, false);
        rsa = fx_new_key(FAKE_RSA, "r");
        ec = fx_new_key(FAKE_P256, "e");
        fx_fails(ks_sign(rsa, NULL, &fx_raw, fx_digest, 32, sig, &len, &fx.err), KS_MECHANISM);
        len = sizeof(sig);
        fx_fails(ks_sign(ec, NULL, &fx_pkcs1, fx_digest, 32, sig, &len, &fx.err), KS_MECHANISM);
        ks_key_free(rsa);
        ks_key_free(ec);
    }
}
END_TEST

/* A failed C_Sign that leaves the operation open in the session. */
START_TEST(a_session_where_an_operation_stuck_is_not_used_again)
{
    struct ks_key *key = fx_new_key(FAKE_RSA, "k");
    static const uint8_t block[400];
    uint8_t sig[FX_ROOM];
    size_t len = sizeof(sig);

    fake_set_quirk(FAKE_QUIRK_OPERATION_STICKS, true);
    /* too long for the key */
    fx_fails(ks_sign(key, NULL, &fx_pkcs1, block, sizeof(block), sig, &len, &fx.err), KS_DATA);
    fx_sign_well(key, "k");
    fake_inject("C_Sign", 1, 1, CKR_FUNCTION_FAILED, false);
    fx_sign_well(key, "k");
    fx_sign_well(key, "k");
    ck_assert_uint_eq(fake_open_operations(), 0);
    ks_key_free(key);
}
END_TEST

/* The answer was lost, not the signature: signing may be run again. */
START_TEST(an_operation_that_was_done_and_lost_is_run_again)
{
    struct ks_key *key = fx_new_key(FAKE_RSA, "k");

    fake_inject("C_Sign", 1, 1, CKR_DEVICE_ERROR, true);
    fx_sign_well(key, "k");
    ck_assert_uint_eq(fake_calls("C_Sign"), 2);
    ks_key_free(key);
}
END_TEST

/* As p11-kit's client: every call fails until the module is initialised anew. Handles may be
 * other keys' afterwards. */
START_TEST(a_lost_connection_is_made_again)
{
    struct ks_key *a = fx_new_key(FAKE_RSA, "a"), *b = fx_new_key(FAKE_RSA, "b");

    fake_set_reinit_handles(FAKE_HANDLES_OTHER);
    fake_lose_connection();
    fx_sign_well(a, "a");
    fx_sign_well(b, "b");
    ck_assert_uint_eq(fake_calls("C_Finalize"), 1);
    ck_assert_uint_eq(fake_calls("C_Initialize"), 2);
    ck_assert_uint_eq(fake_calls("C_Login"), 2);
    ck_assert_uint_eq(fake_sessions(), 1);
    ks_key_free(a);
    ks_key_free(b);
}
END_TEST

START_TEST(a_service_that_stays_down_is_an_error_in_bounded_time)
{
    const struct timespec pause = {.tv_sec = 1, .tv_nsec = 100000000};
    struct ks_key *key = fx_new_key(FAKE_P256, "k");

    fake_lose_connection();
    fake_set_server_down(true);
    fake_clear_counts();
    for (int i = 0; i < 3; i++)
        fx_fails(fx_sign(key), KS_DEVICE);
    ck_assert_uint_lt(fake_calls(NULL), 60);
    ck_assert_uint_eq(fake_calls("C_Login"), 0);
    fake_set_server_down(false);
    nanosleep(&pause, NULL); /* the module is initialised once a second at most */
    fx_sign_well(key, "k");
    ks_key_free(key);
}
END_TEST

START_TEST(a_retry_ends_at_the_deadline)
{
    struct ks_key *key = fx_new_key(FAKE_P256, "k");
    struct ks_call_options opts = {.prompt = NULL};
    uint8_t sig[FX_ROOM];
    size_t len = sizeof(sig);
    struct timespec t;

    fake_inject("C_SignInit", 1, FAKE_FOREVER, CKR_DEVICE_MEMORY, false);
    clock_gettime(CLOCK_MONOTONIC, &t);
    /* 1 ms from now: no time for a pause */
    opts.deadline_ns = (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec + 1000000U;
    fake_clear_counts();
    fx_fails(ks_sign(key, &opts, &fx_ecdsa, fx_digest, sizeof(fx_digest), sig, &len, &fx.err),
             KS_TOKEN_FULL);
    fx_log_is("C_SignInit");
    ks_key_free(key);
}
END_TEST

START_TEST(use_that_the_key_does_not_permit_is_refused_before_the_token_is_asked)
{
    uint8_t in[256] = {1}, out[FX_ROOM];
    size_t len = sizeof(out);
    struct ks_key *no_sign, *no_decrypt;

    fake_set_quirk(FAKE_QUIRK_USE_NOT_ENFORCED, true);
    fake_add_key(
        fx.slot,
        &(struct fake_key){.kind = FAKE_RSA, .label = "no-sign", .id = "1", .flags = FAKE_NO_SIGN});
    fake_add_key(fx.slot,
                 &(struct fake_key){
                     .kind = FAKE_RSA, .label = "no-decrypt", .id = "2", .flags = FAKE_NO_DECRYPT});
    no_sign = fx_key("no-sign");
    no_decrypt = fx_key("no-decrypt");
    fake_clear_counts();
    fx_fails(fx_sign(no_sign), KS_KEY_USE);
    fx_says("no-sign");
    fx_says("CKA_SIGN");
    fx_fails(ks_decrypt(no_decrypt, NULL, &fx_raw, in, sizeof(in), out, &len, &fx.err), KS_KEY_USE);
    fx_says("CKA_DECRYPT");
    ck_assert_uint_eq(fake_calls(NULL), 0);
    ks_key_free(no_sign);
    ks_key_free(no_decrypt);
}
END_TEST

int main(void)
{
    const struct fx_test tests[] = {
        {exactly_two_calls_per_operation_at_any_number_of_threads, 6},
        {the_calls_are_these, 0},
        {always_authenticate_keys_cost_three, 0},
        {always_authenticate_keys_do_not_run_the_pin_down, 0},
        {a_hundred_thousand_operations_need_no_more_memory, 0},
        {each_failure_has_its_outcome, (int)COUNT_OF(rows)},
        {one_failure_disturbs_no_other_thread, 7},
        {a_stale_handle_is_found_again, 0},
        {a_handle_of_an_old_epoch_is_never_used, 0},
        {an_unload_in_between_makes_a_new_epoch, 0},
        {slots_may_get_other_numbers, 0},
        {errors_that_come_late_have_the_same_outcome, 0},
        {both_refusals_mean_the_same, 0},
        {a_session_where_an_operation_stuck_is_not_used_again, 0},
        {an_operation_that_was_done_and_lost_is_run_again, 0},
        {a_lost_connection_is_made_again, 0},
        {a_service_that_stays_down_is_an_error_in_bounded_time, 0},
        {a_retry_ends_at_the_deadline, 0},
        {use_that_the_key_does_not_permit_is_refused_before_the_token_is_asked, 0},
    };

    return fx_main("ks_op", tests, COUNT_OF(tests));
}
