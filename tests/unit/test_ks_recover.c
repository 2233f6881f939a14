/* SPDX-License-Identifier: Apache-2.0
 *
 * token/connect.c, module/module.c: a token that was lost comes back, and what fails meanwhile says
 * why. Logins that fail for another reason than the PIN.
 */
#include "../../keystore/token/key.h"
#include "ks_fixture.h"

#include <pthread.h>
#include <time.h>

#define LONG_MS 60000U /* no test waits for so long */

static uint64_t in_ms(unsigned milliseconds)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec + milliseconds * 1000000ULL;
}

/* A token with one key that has served, of a module that is initialised anew so often at most. */
static struct ks_key *serving(unsigned recover_ms)
{
    struct ks_token_config config = fx_config();
    struct ks_key *key;

    config.recover_ms = recover_ms;
    fx_ok(ks_token_new(&config, &fx.token, &fx.err));
    fake_add_pair(fx.slot, FAKE_P256, "k");
    key = fx_key("k");
    fx_sign_well(key, "k");
    fake_clear_counts();
    return key;
}

static ks_status sign_until(struct ks_key *key, uint64_t deadline_ns, struct ks_error *err)
{
    struct ks_call_options opts = {.deadline_ns = deadline_ns};
    uint8_t sig[FX_ROOM];
    size_t len = sizeof(sig);

    return ks_sign(key, &opts, &fx_ecdsa, fx_digest, sizeof(fx_digest), sig, &len, err);
}

/* The connection is lost, the module is initialised anew, and sees no slots, twice. */
static void go_down(struct ks_key *key)
{
    fake_set_server_down(true);
    fake_lose_connection();
    fx_fails(fx_sign(key), KS_DEVICE);
    ck_assert_uint_eq(fake_calls("C_Initialize"), 2);
    fake_clear_counts();
}

/* The slots show when the module is initialised next, as p11-kit's client does it. */
static void come_back(void)
{
    fake_set_server_down(false);
    fake_lose_connection();
}

/* --- the device ------------------------------------------------------------------------------ */

START_TEST(what_keeps_a_module_from_being_initialised_anew_is_said)
{
    struct ks_key *key = serving(LONG_MS);

    go_down(key);
    fx_says("no token at all");
    fx_fails(fx_sign(key), KS_DEVICE);
    fx_says("no token at all");
    fx_says("initialised anew only");
    fx_says("recover-interval-ms");
    ck_assert_uint_eq(fake_calls("C_Initialize"), 0);
    /* and what the token said first stays what it is */
    fake_lose_connection();
    fx_fails(fx_sign(key), KS_DEVICE);
    ck_assert_str_eq(fx.err.function, "C_GetSlotList");
    ck_assert_uint_eq(fx.err.rv, CKR_DEVICE_ERROR);
    fx_says("initialised anew only");
    ks_key_free(key);
}
END_TEST

START_TEST(an_operation_that_has_time_waits_for_the_next_look)
{
    struct ks_key *key = serving(300);

    go_down(key);
    come_back();
    fx_ok(sign_until(key, in_ms(20000), &fx.err));
    ck_assert_uint_eq(fake_calls("C_Initialize"), 1);
    ks_key_free(key);
}
END_TEST

START_TEST(an_operation_that_has_no_time_to_wait_fails_at_once)
{
    struct ks_key *key = serving(LONG_MS);

    go_down(key);
    come_back();
    fx_fails(sign_until(key, in_ms(20000), &fx.err), KS_DEVICE); /* and not KS_TIMEOUT */
    fx_says("initialised anew only");
    fx_fails(fx_sign(key), KS_DEVICE);
    ck_assert_uint_eq(fake_calls("C_Initialize"), 0);
    ks_key_free(key);
}
END_TEST

/* SoftHSM behind p11-kit server, while another process logs in. */
START_TEST(a_recovery_at_the_wrong_moment_looks_once_more)
{
    struct ks_key *key = serving(LONG_MS);

    fake_lose_connection();
    fake_inject("C_GetTokenInfo", 1, 1, CKR_TOKEN_NOT_PRESENT, false);
    fx_sign_well(key, "k");
    ck_assert_uint_eq(fake_calls("C_Initialize"), 2);
    /* and then not before the interval is over */
    fake_clear_counts();
    fake_lose_connection();
    fx_fails(fx_sign(key), KS_DEVICE);
    ck_assert_uint_eq(fake_calls("C_Initialize"), 0);
    ks_key_free(key);
}
END_TEST

struct job {
    pthread_t thread;
    struct ks_key *key;
    struct ks_error err;
    uint64_t deadline_ns;
    enum ks_code code;
};

static void *sign_once(void *arg)
{
    struct job *job = arg;

    job->code = sign_until(job->key, job->deadline_ns, &job->err).code;
    return NULL;
}

/* Each of them would wait for an interval, one after the other. */
START_TEST(those_who_waited_for_a_vain_try_do_not_repeat_it)
{
    struct ks_key *key = serving(500);
    struct job jobs[8];

    go_down(key);
    for (unsigned i = 0; i < COUNT_OF(jobs); i++) {
        jobs[i] = (struct job){.key = key, .deadline_ns = in_ms(60000)};
        ck_assert_int_eq(pthread_create(&jobs[i].thread, NULL, sign_once, &jobs[i]), 0);
    }
    for (unsigned i = 0; i < COUNT_OF(jobs); i++) {
        pthread_join(jobs[i].thread, NULL);
        ck_assert_int_eq(jobs[i].code, KS_DEVICE);
        ck_assert_ptr_nonnull(strstr(jobs[i].err.text, "no token at all"));
    }
    /* two each time */
    ck_assert_msg(fake_calls("C_Initialize") < 2 * COUNT_OF(jobs), "%lu",
                  fake_calls("C_Initialize"));
    ks_key_free(key);
}
END_TEST

static struct job *call_that_hangs(struct ks_key *key)
{
    static struct job job;

    job = (struct job){.key = key};
    fake_hang("C_Sign", 1);
    ck_assert_int_eq(pthread_create(&job.thread, NULL, sign_once, &job), 0);
    ck_assert(fake_wait_hanging(1, 60000));
    return &job;
}

START_TEST(a_call_that_does_not_return_costs_no_recovery)
{
    struct ks_key *key = serving(LONG_MS);
    struct job *job = call_that_hangs(key);

    fake_lose_connection();
    fx_fails(sign_until(key, in_ms(100), &fx.err), KS_DEVICE);
    fx_says("while 1 calls do not return");
    ck_assert_uint_eq(fake_calls("C_Finalize"), 0);
    fake_release();
    pthread_join(job->thread, NULL);
    /* nothing was done, so there is no interval to wait for */
    fx_sign_well(key, "k");
    ck_assert_uint_eq(fake_calls("C_Finalize"), 1);
    ks_key_free(key);
}
END_TEST

/* Other tokens of the module cannot be used while it waits for calls in flight. */
START_TEST(a_call_that_never_returns_is_waited_for_once)
{
    struct ks_key *key = serving(LONG_MS);
    struct job *job = call_that_hangs(key);
    uint64_t started;

    fake_lose_connection();
    fx_fails(fx_sign(key), KS_DEVICE);
    started = in_ms(0);
    for (int i = 0; i < 5; i++)
        fx_fails(fx_sign(key), KS_DEVICE);
    /* five times a second without, a quarter of one with it */
    ck_assert_uint_lt(in_ms(0) - started, 4000000000U);
    fx_says("do not return");
    fake_release();
    pthread_join(job->thread, NULL);
    ks_key_free(key);
}
END_TEST

/* --- logins ---------------------------------------------------------------------------------- */

static const unsigned long doubtful[] = {CKR_GENERAL_ERROR, CKR_FUNCTION_FAILED, 0x80000001UL,
                                         CKR_DEVICE_ERROR, CKR_TOKEN_NOT_RECOGNIZED};

START_TEST(a_login_that_failed_without_the_pin_is_looked_at_once_more)
{
    struct ks_key *key = serving(10);

    fake_lose_sessions(false);
    fake_inject("C_Login", 1, 1, doubtful[_i], false);
    fx_sign_well(key, "k");
    ck_assert_uint_eq(fake_calls("C_Login"), 2);
    /* the same where only the login went */
    fake_clear_counts();
    fake_lose_login();
    fake_inject("C_Login", 1, 1, doubtful[_i], false);
    fx_sign_well(key, "k");
    ck_assert_uint_eq(fake_calls("C_Login"), 2);
    ks_key_free(key);
}
END_TEST

/* Other processes log in at that moment, too: they all lost it. */
START_TEST(nor_is_it_lost_after_a_recovery)
{
    struct ks_key *key = serving(LONG_MS);

    fake_lose_connection();
    fake_inject("C_Login", 1, 1, CKR_GENERAL_ERROR, false);
    fx_sign_well(key, "k");
    ck_assert_uint_eq(fake_calls("C_Initialize"), 1);
    ck_assert_uint_eq(fake_calls("C_Login"), 2);
    ks_key_free(key);
}
END_TEST

START_TEST(a_login_that_goes_on_failing_is_tried_twice_and_no_more)
{
    struct ks_key *key = serving(10);

    fake_inject("C_Login", 1, FAKE_FOREVER, CKR_GENERAL_ERROR, false);
    for (int i = 0; i < 3; i++) {
        if (i == 2)
            fake_lose_login();
        else
            fake_lose_sessions(false);
        fake_clear_counts();
        fx_fails(fx_sign(key), KS_TOKEN);
        fx_says("C_Login");
        ck_assert_uint_eq(fake_calls("C_Login"), 2);
    }
    fake_heal(NULL);
    fx_sign_well(key, "k");
    ks_key_free(key);
}
END_TEST

START_TEST(a_refused_pin_is_never_looked_at_again)
{
    static const unsigned long codes[] = {CKR_PIN_INCORRECT, CKR_PIN_INVALID, CKR_PIN_LEN_RANGE,
                                          CKR_PIN_EXPIRED, CKR_PIN_LOCKED};
    struct ks_key *key = serving(10);

    fake_lose_sessions(false);
    fake_inject("C_Login", 1, 1, codes[_i], false);
    for (int i = 0; i < 3; i++)
        fx_fails(fx_sign(key), KS_PIN_REFUSED);
    ck_assert_uint_eq(fake_calls("C_Login"), 1);
    ks_key_free(key);
}
END_TEST

/* A module that does not say that a PIN was wrong, of a token that counts it all the same. */
START_TEST(a_pin_that_the_token_counted_as_wrong_is_not_sent_once_more)
{
    for (int only_login = 0; only_login < 2; only_login++) {
        struct ks_key *key;

        fx_restart(NULL);
        key = serving(10);
        fake_set_pin(fx.slot, "9999");
        if (only_login)
            fake_lose_login();
        else
            fake_lose_sessions(false);
        fake_inject("C_Login", 1, 1, CKR_GENERAL_ERROR, true);
        fx_fails(fx_sign(key), KS_PIN_REFUSED);
        fx_says("not sent once more");
        ck_assert_uint_eq(fake_pin_attempts(), 1);
        /* whoever mistyped it may have been somebody else */
        fake_set_pin(fx.slot, "1234");
        fx_sign_well(key, "k");
        ks_key_free(key);
    }
}
END_TEST

/* SoftHSM, while another process writes the token's file. */
START_TEST(a_module_that_starts_and_sees_half_a_token_looks_again)
{
    struct ks_token_config config = fx_config();

    if (_i == 0)
        fake_inject("C_Login", 1, 2, CKR_USER_PIN_NOT_INITIALIZED, false);
    else if (_i == 1)
        fake_inject("C_Login", 1, 1, CKR_GENERAL_ERROR, false);
    else
        fake_inject("C_GetTokenInfo", 1, 2, CKR_GENERAL_ERROR, false);
    fx_ok(ks_token_new(&config, &fx.token, &fx.err));
    fx_ok(ks_token_connect(fx.token, NULL, &fx.err));
    ck_assert_uint_ge(fake_calls("C_Initialize"), 2);
}
END_TEST

START_TEST(a_token_without_a_pin_is_still_an_error)
{
    struct ks_token_config config;

    fx_restart(&(struct fake_token){.label = "bare", .pin_not_set = true});
    config = fx_config();
    config.token = "pkcs11:token=bare";
    fx_ok(ks_token_new(&config, &fx.token, &fx.err));
    fx_fails(ks_token_connect(fx.token, NULL, &fx.err), KS_LOGIN);
    fx_says("no user PIN has been set");
    ck_assert_uint_eq(fake_calls("C_Login"), 0);
}
END_TEST

/* --- at the gate ----------------------------------------------------------------------------- */

/* The module is initialised anew for another of its tokens while this one's caller waits at the
 * gate: afterwards the numbers that it has of slots, sessions and keys may be others'. */
static pthread_t other_thread;

static void *initialise_anew(void *arg)
{
    struct ks_module *module = arg;
    struct ks_error err;

    if (!ks_ok(ks_module_reinit(module, atomic_load(&module->init_count), 0, 0, &err)))
        abort();
    return NULL;
}

/* Returns when the gate is closed: whoever is inside may leave, and nobody can enter. */
static void start_another(void *arg)
{
    struct ks_module *module = arg;
    const struct timespec pause = {.tv_nsec = 100000};

    ck_assert_int_eq(pthread_create(&other_thread, NULL, initialise_anew, module), 0);
    while (atomic_load(&module->gate) != KS_GATE_PAUSED)
        nanosleep(&pause, NULL);
}

static void *sign_there(void *arg)
{
    fx_sign_well(arg, "k");
    return NULL;
}

static bool has_taken(struct ks_token *token)
{
    bool taken;

    pthread_mutex_lock(&token->pool.lock);
    taken = token->pool.open_count > token->pool.idle_count;
    pthread_mutex_unlock(&token->pool.lock);
    return taken;
}

START_TEST(a_handle_from_before_the_gate_is_not_used_behind_it)
{
    const struct timespec pause = {.tv_nsec = 100000};
    struct ks_key *key = serving(LONG_MS);
    pthread_t signer;

    fake_add_key(fx.slot,
                 &(struct fake_key){.kind = FAKE_P256, .label = "x", .id = "x", .material = 4});
    fake_set_reinit_handles(FAKE_HANDLES_OTHER);
    fake_hang("C_Initialize", 1);
    start_another(fx.token->module);
    ck_assert(fake_wait_hanging(1, LONG_MS));
    fake_clear_counts();
    ck_assert_int_eq(pthread_create(&signer, NULL, sign_there, key), 0);
    while (!has_taken(fx.token)) /* then it comes to the gate */
        nanosleep(&pause, NULL);
    fake_release();
    pthread_join(other_thread, NULL);
    pthread_join(signer, NULL);
    ck_assert_uint_eq(fake_calls("C_SignInit"), 1); /* with the right key, and no other */
    ck_assert_uint_eq(fake_calls("C_OpenSession"), 1);
    ks_key_free(key);
}
END_TEST

static void renumber_slots(void *arg)
{
    (void)arg;
    fake_renumber_slots();
}

/* A PIN that goes to the token that has the slot's number now is one try less for its owner. */
START_TEST(nor_is_a_pin_sent_to_whoever_has_the_slot_now)
{
    static const char *const last_calls[] = {"C_GetTokenInfo", "C_OpenSession"};
    struct ks_token_config config = fx_config();
    struct ks_token *other = NULL;
    char uri[64];

    /* the module is in use by another token */
    fake_add_token(&(struct fake_token){.label = "other", .pin = "other"});
    snprintf(uri, sizeof(uri), "%s", fx.uri);
    config.token = "pkcs11:token=other";
    config.pin = NULL;
    fx_ok(ks_token_new(&config, &other, &fx.err));
    fx_ok(ks_token_connect(other, NULL, &fx.err));
    config = fx_config();
    fx_ok(ks_token_new(&config, &fx.token, &fx.err));
    fake_clear_counts();
    /* the last call before it leaves the gate, with the slot; and with a session in it */
    fake_at(last_calls[_i], _i == 0 ? 2 : 1, start_another, fx.token->module);
    fake_at("C_Initialize", 1, renumber_slots, NULL);
    fx_ok(ks_token_connect(fx.token, NULL, &fx.err));
    pthread_join(other_thread, NULL);
    ck_assert_uint_eq(fake_calls("C_Login"), 1);
    ks_token_free(other);
}
END_TEST

int main(void)
{
    const struct fx_test tests[] = {
        {what_keeps_a_module_from_being_initialised_anew_is_said, 0},
        {an_operation_that_has_time_waits_for_the_next_look, 0},
        {an_operation_that_has_no_time_to_wait_fails_at_once, 0},
        {a_recovery_at_the_wrong_moment_looks_once_more, 0},
        {those_who_waited_for_a_vain_try_do_not_repeat_it, 0},
        {a_call_that_does_not_return_costs_no_recovery, 0},
        {a_call_that_never_returns_is_waited_for_once, 0},
        {a_login_that_failed_without_the_pin_is_looked_at_once_more, COUNT_OF(doubtful)},
        {nor_is_it_lost_after_a_recovery, 0},
        {a_login_that_goes_on_failing_is_tried_twice_and_no_more, 0},
        {a_refused_pin_is_never_looked_at_again, 5},
        {a_pin_that_the_token_counted_as_wrong_is_not_sent_once_more, 0},
        {a_module_that_starts_and_sees_half_a_token_looks_again, 3},
        {a_token_without_a_pin_is_still_an_error, 0},
        {a_handle_from_before_the_gate_is_not_used_behind_it, 0},
        {nor_is_a_pin_sent_to_whoever_has_the_slot_now, 2},
    };

    return fx_main("ks_recover", tests, COUNT_OF(tests));
}
