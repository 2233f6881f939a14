/* SPDX-License-Identifier: Apache-2.0
 *
 * token/token.c and module/module.c: configuration, which token, listings, loading and unloading.
 */
#include "ks_fixture.h"

#include <time.h>

#include "../../keystore/op/worker.h"
#include "../../keystore/token/connect.h"

static ks_status connect_to(const char *uri)
{
    struct ks_token_config config = fx_config();
    ks_status st;

    config.token = uri;
    ks_token_free(fx.token);
    fx.token = NULL;
    st = ks_token_new(&config, &fx.token, &fx.err);
    return ks_ok(st) ? ks_token_connect(fx.token, NULL, &fx.err) : st;
}

START_TEST(making_a_handle_calls_nothing)
{
    (void)fx_token();
    ck_assert_uint_eq(fake_calls(NULL), 0);
    ks_token_free(NULL);
}
END_TEST

START_TEST(bad_configurations_are_refused_at_once)
{
    static const struct {
        const char *module, *token, *pin;
        unsigned sessions;
        enum ks_code code;
    } cases[] = {
        {NULL, NULL, NULL, 0, KS_CONFIG},
        {"", NULL, NULL, 0, KS_CONFIG},
        {FAKE_PKCS11_PATH, "token=x", NULL, 0, KS_URI},
        {FAKE_PKCS11_PATH, "pkcs11:object=x", NULL, 0, KS_URI},
        {FAKE_PKCS11_PATH, "pkcs11:slot-id=0", NULL, 0, KS_URI},
        {FAKE_PKCS11_PATH, NULL, "1234", 0, KS_CONFIG},
        {FAKE_PKCS11_PATH, NULL, NULL, KS_SESSIONS_MAX + 1, KS_CONFIG},
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct ks_token_config config = {.name = "unit",
                                         .module = cases[i].module,
                                         .token = cases[i].token,
                                         .pin = cases[i].pin,
                                         .sessions = cases[i].sessions};
        struct ks_token *token = NULL;

        fx_fails(ks_token_new(&config, &token, &fx.err), cases[i].code);
        ck_assert_ptr_null(token);
        ck_assert_uint_gt(strlen(fx.err.text), 10);
    }
    ck_assert_uint_eq(fake_calls(NULL), 0);
}
END_TEST

START_TEST(a_module_that_is_missing_or_none_is_an_error)
{
    char path[128];
    struct ks_token_config config = fx_config();

    snprintf(path, sizeof(path), "%s/none.so", fx.dir);
    config.module = path;
    fx_ok(ks_token_new(&config, &fx.token, &fx.err));
    fx_fails(ks_token_connect(fx.token, NULL, &fx.err), KS_MODULE);
    fx_says(path);
    ks_token_free(fx.token);
    config.module = fx.pin_path;
    fx_ok(ks_token_new(&config, &fx.token, &fx.err));
    fx_fails(ks_token_connect(fx.token, NULL, &fx.err), KS_MODULE);
    fx_says(fx.pin_path);
}
END_TEST

START_TEST(a_module_that_does_not_initialise_is_an_error_and_may_be_tried_again)
{
    fake_fail("C_Initialize", CKR_GENERAL_ERROR);
    fx_fails(connect_to(fx.uri), KS_MODULE);
    fx_says("CKR_GENERAL_ERROR");
    fx_says("C_Initialize");
    fx_ok(ks_token_connect(fx.token, NULL, &fx.err));
}
END_TEST

START_TEST(the_init_args_reach_the_module)
{
    struct ks_token_config config = fx_config(), other;
    struct ks_token *second = NULL;

    config.init_args = "configdir='/x' flags=readOnly";
    fx_ok(ks_token_new(&config, &fx.token, &fx.err));
    fx_ok(ks_token_connect(fx.token, NULL, &fx.err));
    ck_assert_str_eq(fake_init_args(), config.init_args);
    /* one initialisation, one string */
    other = config;
    other.init_args = "else";
    fx_fails(ks_token_new(&other, &second, &fx.err), KS_CONFIG);
    fx_says("pkcs11-init-args");
}
END_TEST

START_TEST(tokens_are_found_by_what_the_uri_says)
{
    static const struct {
        const char *uri, *label; /* label NULL: `code` */
        enum ks_code code;
    } cases[] = {
        {"pkcs11:token=one", "one", KS_OK},
        {"pkcs11:token=two", "two", KS_OK},
        {"pkcs11:serial=0003", "two", KS_OK},
        {"pkcs11:token=two;serial=0003", "two", KS_OK},
        {"pkcs11:token=with%20blank%2fand%3bmore", "with blank/and;more", KS_OK},
        {"pkcs11:model=special", "with blank/and;more", KS_OK},
        {"pkcs11:manufacturer=m", "with blank/and;more", KS_OK},
        {"pkcs11:token=two;serial=0002", NULL, KS_TOKEN_NOT_FOUND},
        {"pkcs11:token=tw", NULL, KS_TOKEN_NOT_FOUND},
        {"pkcs11:token=TWO", NULL, KS_TOKEN_NOT_FOUND},
        {"pkcs11:token=blank", NULL, KS_TOKEN_NOT_FOUND},
        {"pkcs11:token=same", NULL, KS_TOKEN_AMBIGUOUS},
        {"pkcs11:model=fake", NULL, KS_TOKEN_AMBIGUOUS},
        {"pkcs11:", NULL, KS_TOKEN_AMBIGUOUS},
        {NULL, NULL, KS_TOKEN_AMBIGUOUS},
    };
    struct ks_token_facts facts;

    fake_reset();
    fake_add_token(&(struct fake_token){.label = "blank", .not_initialized = true});
    fake_add_token(&(struct fake_token){.label = "one"});
    fake_add_token(&(struct fake_token){.label = "two"});
    fake_add_token(&(struct fake_token){.label = "same"});
    fake_add_token(&(struct fake_token){.label = "same"});
    fake_add_token(&(struct fake_token){
        .label = "with blank/and;more", .model = "special", .manufacturer = "m"});
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        if (cases[i].label == NULL) {
            fx_fails(connect_to(cases[i].uri), cases[i].code);
            continue;
        }
        fx_ok(connect_to(cases[i].uri));
        fx_ok(ks_token_facts(fx.token, NULL, &facts, &fx.err));
        ck_assert_str_eq(facts.label, cases[i].label);
    }
}
END_TEST

START_TEST(two_that_match_are_both_named)
{
    fake_reset();
    fake_add_token(&(struct fake_token){.label = "one", .serial = "S1"});
    fake_add_token(&(struct fake_token){.label = "two", .serial = "S2"});
    fx_fails(connect_to(NULL), KS_TOKEN_AMBIGUOUS);
    fx_says("one");
    fx_says("two");
    fx_says("S1");
    fx_says("S2");
    ck_assert_uint_eq(fake_calls("C_OpenSession"), 0);
}
END_TEST

START_TEST(the_only_initialised_token_needs_no_name)
{
    fake_reset();
    fake_add_token(&(struct fake_token){.label = "blank", .not_initialized = true});
    fake_add_token(&(struct fake_token){.label = "one"});
    fx_ok(connect_to(NULL));
}
END_TEST

START_TEST(no_slot_at_all_means_down_and_not_unknown)
{
    fake_set_server_down(true);
    fx_fails(connect_to(fx.uri), KS_DEVICE);
    fx_fails(connect_to(NULL), KS_DEVICE);
    fake_set_server_down(false);
    fx_ok(ks_token_connect(fx.token, NULL, &fx.err));
}
END_TEST

START_TEST(a_token_that_is_pulled_out_is_not_found_and_found_again)
{
    fake_add_token(&(struct fake_token){.label = "other"});
    fake_set_present(fx.slot, false);
    fx_fails(connect_to(fx.uri), KS_TOKEN_NOT_FOUND);
    fx_says(fx.label);
    fake_set_present(fx.slot, true);
    fx_ok(ks_token_connect(fx.token, NULL, &fx.err));
}
END_TEST

START_TEST(a_token_that_goes_between_list_and_look_is_passed_over)
{
    fake_add_token(&(struct fake_token){.label = "other"});
    fake_fail("C_GetTokenInfo", CKR_TOKEN_NOT_PRESENT);
    fx_ok(connect_to("pkcs11:token=other"));
    ck_assert_uint_eq(fake_calls("C_GetTokenInfo"), 2);
}
END_TEST

START_TEST(facts_are_told_without_login)
{
    struct ks_token_facts facts;

    fx_restart(&(struct fake_token){.serial = "77",
                                    .model = "m",
                                    .manufacturer = "maker",
                                    .sessions_max = 7,
                                    .write_protected = true,
                                    .pin_tries = 3});
    fake_set_pin_failures(fx.slot, 1);
    fx_ok(ks_token_facts(fx_token(), NULL, &facts, &fx.err));
    ck_assert_str_eq(facts.label, fx.label);
    ck_assert_str_eq(facts.serial, "77");
    ck_assert_str_eq(facts.model, "m");
    ck_assert_str_eq(facts.manufacturer, "maker");
    ck_assert_str_eq(facts.module_library, "fake PKCS#11 module");
    ck_assert_uint_eq(facts.sessions_max, 7);
    ck_assert(facts.initialized && facts.login_required && facts.user_pin_set);
    ck_assert(facts.user_pin_count_low && !facts.user_pin_final_try && !facts.user_pin_locked);
    ck_assert(facts.write_protected && !facts.protected_path);
    ck_assert_uint_eq(fake_calls("C_OpenSession"), 0);
    ck_assert_uint_eq(fake_calls("C_Login"), 0);
}
END_TEST

struct listing {
    char labels[256];
    unsigned seen, stop_after;
};

/* Asked for while the token is down, which another thread may have found a moment ago. */
START_TEST(facts_are_asked_for_once_more_where_that_may_help)
{
    static const unsigned long passing[] = {CKR_SESSION_CLOSED, CKR_DEVICE_MEMORY,
                                            CKR_FUNCTION_CANCELED};
    struct ks_token_facts facts;

    fx_ok(ks_token_connect(fx_token(), NULL, &fx.err));
    for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++) {
        ks_token_mark_lost(fx.token, fx.token->pool.epoch);
        fake_clear_counts();
        fake_inject("C_GetTokenInfo", 1, 1, passing[i], false);
        fx_ok(ks_token_facts(fx.token, NULL, &facts, &fx.err));
        ck_assert_uint_eq(fake_calls("C_GetTokenInfo"), 2);
    }
}
END_TEST

static bool list_token(void *arg, const struct ks_token_facts *facts, const struct ks_error *unread)
{
    struct listing *l = arg;

    ck_assert_ptr_null(unread);
    strcat(l->labels, facts->label);
    strcat(l->labels, ",");
    ck_assert_str_eq(facts->module_library, "fake PKCS#11 module");
    return ++l->seen != l->stop_after;
}

START_TEST(all_tokens_of_a_module_are_listed)
{
    struct listing all = {.seen = 0}, first = {.stop_after = 1}, none = {.seen = 0};

    fake_reset();
    fake_add_token(&(struct fake_token){.label = "one"});
    fake_add_token(&(struct fake_token){.label = "two", .not_initialized = true});
    fake_set_present(fake_add_token(&(struct fake_token){.label = "gone"}), false);
    fx_ok(ks_module_tokens(FAKE_PKCS11_PATH, NULL, 0, list_token, &all, &fx.err));
    ck_assert_str_eq(all.labels, "one,two,");
    fx_ok(ks_module_tokens(FAKE_PKCS11_PATH, NULL, 0, list_token, &first, &fx.err));
    ck_assert_str_eq(first.labels, "one,");
    ck_assert_uint_eq(fake_calls("C_OpenSession"), 0);
    fake_reset();
    fx_ok(ks_module_tokens(FAKE_PKCS11_PATH, NULL, 0, list_token, &none, &fx.err));
    ck_assert_uint_eq(none.seen, 0);
    fx_fails(ks_module_tokens("/nonexistent/m.so", NULL, 0, list_token, &none, &fx.err), KS_MODULE);
}
END_TEST

/* Questions end in time, too. What was left behind comes back in the end. */
static void hang(const char *function)
{
    fake_hang(function, 1);
}

static void over(void)
{
    const struct timespec pause = {.tv_nsec = 10000000};

    fake_release();
    while (ks_token_hung(fx.token))
        nanosleep(&pause, NULL);
}

START_TEST(questions_end_within_the_token_s_time)
{
    struct ks_token_config config = fx_config();
    struct ks_token_facts facts;

    config.timeout_ms = 200;
    fx_ok(ks_token_new(&config, &fx.token, &fx.err));
    hang("C_GetTokenInfo");
    fx_fails(ks_token_facts(fx.token, NULL, &facts, &fx.err), KS_TIMEOUT);
    fx_says("no answer from the module");
    /* and the next one is not made to wait */
    fx_fails(ks_token_facts(fx.token, NULL, &facts, &fx.err), KS_DEVICE);
    over();
    fx_ok(ks_token_facts(fx.token, NULL, &facts, &fx.err));
    ck_assert_str_eq(facts.label, fx.label);
}
END_TEST

/* The list of mechanisms, where the token did not give it when it came up. */
START_TEST(so_do_those_about_mechanisms)
{
    struct ks_token_config config = fx_config();
    bool can;

    config.timeout_ms = 200;
    fx_ok(ks_token_new(&config, &fx.token, &fx.err));
    fake_inject("C_GetMechanismList", 1, FAKE_FOREVER, CKR_GENERAL_ERROR, false);
    fx_ok(ks_token_connect(fx.token, NULL, &fx.err));
    fake_heal(NULL);
    hang("C_GetMechanismList");
    fx_fails(ks_token_can(fx.token, NULL, KS_MECH_ECDSA, &can, &fx.err), KS_TIMEOUT);
    over();
    fx_ok(ks_token_can(fx.token, NULL, KS_MECH_ECDSA, &can, &fx.err));
    ck_assert(can);
}
END_TEST

static bool nobody(void *arg, const char *what, char *pin, size_t size, size_t *len)
{
    (void)arg;
    (void)what;
    (void)pin;
    (void)size;
    (void)len;
    ck_abort_msg("asked for a PIN");
}

/* Nobody is asked for the PIN of a token that does not answer, and for one from a file. */
START_TEST(that_somebody_could_be_asked_lifts_no_time_limit)
{
    const struct ks_prompt prompt = {.ask = nobody};
    const struct ks_call_options opts = {.prompt = &prompt};
    struct ks_token_config config = fx_config();

    config.timeout_ms = 200;
    if (_i == 0)
        config.pin = "prompt";
    fx_ok(ks_token_new(&config, &fx.token, &fx.err));
    hang("C_GetTokenInfo");
    fx_fails(ks_token_connect(fx.token, &opts, &fx.err), KS_TIMEOUT);
    over();
}
END_TEST

/* Another thread has the token's long lock, in a call that does not return. */
START_TEST(what_the_token_can_is_known_while_it_is_brought_up_again)
{
    struct ks_token_config config = fx_config();
    struct ks_key *key;
    bool can;

    config.timeout_ms = 200;
    fx_ok(ks_token_new(&config, &fx.token, &fx.err));
    key = fx_new_key(FAKE_P256, "k");
    pthread_mutex_lock(&fx.token->conn.lock);
    fx_ok(ks_token_can(fx.token, NULL, KS_MECH_ECDSA, &can, &fx.err));
    pthread_mutex_unlock(&fx.token->conn.lock);
    ck_assert(can);
    ks_key_free(key);
}
END_TEST

START_TEST(listing_a_module_ends_in_time)
{
    struct listing all = {.seen = 0};

    fx_ok(ks_token_connect(fx_token(), NULL, &fx.err)); /* so the module stays loaded */
    hang(_i == 0 ? "C_GetSlotList" : "C_GetTokenInfo");
    fx_fails(ks_module_tokens(FAKE_PKCS11_PATH, NULL, 200, list_token, &all, &fx.err), KS_TIMEOUT);
    ck_assert_uint_eq(all.seen, 0);
    fake_release();
    fx_ok(ks_module_tokens(FAKE_PKCS11_PATH, NULL, 20000, list_token, &all, &fx.err));
    ck_assert_uint_eq(all.seen, 1);
}
END_TEST

START_TEST(handles_of_one_token_share_login_and_sessions)
{
    struct ks_token_config config = fx_config();
    struct ks_token *second = NULL;

    fx_ok(ks_token_connect(fx_token(), NULL, &fx.err));
    fx_ok(ks_token_new(&config, &second, &fx.err));
    fx_ok(ks_token_connect(second, NULL, &fx.err));
    ck_assert_uint_eq(fake_calls("C_Login"), 1);
    ck_assert_uint_eq(fake_calls("C_OpenSession"), 1);
    ck_assert_uint_eq(fake_calls("C_Initialize"), 1);
    /* one goes, the other one stays */
    ks_token_free(second);
    ck_assert_uint_eq(fake_sessions(), 1);
    ck_assert(fake_logged_in(fx.slot));
}
END_TEST

START_TEST(a_second_handle_with_other_settings_is_refused)
{
    struct ks_token_config config = fx_config();
    struct ks_token *second = NULL;

    (void)fx_token();
    config.pin = "env:OTHER";
    fx_fails(ks_token_new(&config, &second, &fx.err), KS_CONFIG);
    config = fx_config();
    config.sessions = 3;
    fx_fails(ks_token_new(&config, &second, &fx.err), KS_CONFIG);
    config = fx_config();
    fx_ok(ks_token_new(&config, &second, &fx.err));
    ks_token_free(second);
}
END_TEST

START_TEST(load_and_unload_and_load_again)
{
    for (int i = 0; i < 20; i++) {
        struct ks_key *key = fx_new_key(FAKE_P256, "k");

        fx_sign_well(key, "k");
        ks_key_free(key);
        ck_assert_uint_eq(fake_sessions(), 1);
        ks_token_free(fx.token);
        fx.token = NULL;
        ck_assert_uint_eq(fake_sessions(), 0);
        ck_assert(!fake_initialized());
        fake_remove_object(fake_find(fx.slot, CKO_PRIVATE_KEY, "k"));
        fake_remove_object(fake_find(fx.slot, CKO_PUBLIC_KEY, "k"));
    }
    ck_assert_uint_eq(fake_calls("C_Initialize"), 20);
    ck_assert_uint_eq(fake_calls("C_Finalize"), 20);
}
END_TEST

START_TEST(a_key_keeps_its_token)
{
    struct ks_key *key = fx_new_key(FAKE_P256, "k");

    ks_token_free(fx.token);
    fx.token = NULL;
    fx_sign_well(key, "k");
    ck_assert_ptr_nonnull(ks_key_token(key));
    ks_key_free(key);
    ck_assert_uint_eq(fake_sessions(), 0);
    ck_assert(!fake_initialized());
}
END_TEST

/* Two paths to one file are one module. */
START_TEST(a_link_to_a_module_is_the_same_module)
{
    struct ks_token_config config = fx_config();
    struct ks_token *second = NULL;
    char link[128];

    snprintf(link, sizeof(link), "%s/link.so", fx.dir);
    ck_assert_int_eq(symlink(FAKE_PKCS11_PATH, link), 0);
    fx_ok(ks_token_connect(fx_token(), NULL, &fx.err));
    config.module = link;
    fx_ok(ks_token_new(&config, &second, &fx.err));
    fx_ok(ks_token_connect(second, NULL, &fx.err));
    ck_assert_uint_eq(fake_calls("C_Initialize"), 1);
    ck_assert_uint_eq(fake_calls("C_Login"), 1);
    ks_token_free(second);
}
END_TEST

static unsigned entered, left;
static bool inside_at_enter;

static void *hook_enter(void)
{
    entered++;
    return &entered;
}

static void hook_leave(void *cookie)
{
    ck_assert_ptr_eq(cookie, &entered);
    left++;
}

static void look_inside(void *arg)
{
    (void)arg;
    inside_at_enter = ks_inside_module();
}

START_TEST(hooks_surround_every_call)
{
    static const struct ks_hooks hooks = {hook_enter, hook_leave};
    struct ks_key *key;

    ks_set_hooks(&hooks);
    ck_assert(!ks_inside_module());
    fake_at("C_Login", 1, look_inside, NULL);
    key = fx_new_key(FAKE_P256, "k");
    ck_assert(inside_at_enter);
    ck_assert(!ks_inside_module());
    inside_at_enter = false;
    fake_at("C_Sign", 1, look_inside, NULL);
    entered = left = 0;
    fx_sign_well(key, "k");
    ck_assert(inside_at_enter);
    ck_assert_uint_ge(entered, 1);
    ck_assert_uint_eq(entered, left);
    ks_key_free(key);
}
END_TEST

START_TEST(what_the_token_can_is_asked_once)
{
    static const enum ks_mech_kind kinds[] = {
        KS_MECH_RSA_PKCS1, KS_MECH_RSA_PSS,    KS_MECH_RSA_OAEP,  KS_MECH_RSA_RAW,
        KS_MECH_ECDSA,     KS_MECH_RSA_KEYGEN, KS_MECH_EC_KEYGEN,
    };
    bool can = false;

    fake_set_mechanism(fx.slot, CKM_RSA_PKCS_OAEP, false);
    fx_ok(ks_token_can(fx_token(), NULL, KS_MECH_ECDSA, &can, &fx.err));
    ck_assert(can);
    fx_ok(ks_token_can(fx_token(), NULL, KS_MECH_RSA_OAEP, &can, &fx.err));
    ck_assert(!can);
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        fx_ok(ks_token_can(fx_token(), NULL, kinds[i], &can, &fx.err));
        ck_assert_msg(can == (kinds[i] != KS_MECH_RSA_OAEP), "%s", ks_mech_name(kinds[i]));
        ck_assert(strncmp(ks_mech_name(kinds[i]), "CKM_", 4) == 0);
    }
    ck_assert_uint_le(fake_calls("C_GetMechanismList"), 2);
}
END_TEST

int main(void)
{
    const struct fx_test tests[] = {
        {making_a_handle_calls_nothing, 0},
        {bad_configurations_are_refused_at_once, 0},
        {a_module_that_is_missing_or_none_is_an_error, 0},
        {a_module_that_does_not_initialise_is_an_error_and_may_be_tried_again, 0},
        {the_init_args_reach_the_module, 0},
        {tokens_are_found_by_what_the_uri_says, 0},
        {two_that_match_are_both_named, 0},
        {the_only_initialised_token_needs_no_name, 0},
        {no_slot_at_all_means_down_and_not_unknown, 0},
        {a_token_that_is_pulled_out_is_not_found_and_found_again, 0},
        {a_token_that_goes_between_list_and_look_is_passed_over, 0},
        {facts_are_told_without_login, 0},
        {facts_are_asked_for_once_more_where_that_may_help, 0},
        {all_tokens_of_a_module_are_listed, 0},
        {questions_end_within_the_token_s_time, 0},
        {what_the_token_can_is_known_while_it_is_brought_up_again, 0},
        {so_do_those_about_mechanisms, 0},
        {that_somebody_could_be_asked_lifts_no_time_limit, 2},
        {listing_a_module_ends_in_time, 2},
        {handles_of_one_token_share_login_and_sessions, 0},
        {a_second_handle_with_other_settings_is_refused, 0},
        {load_and_unload_and_load_again, 0},
        {a_key_keeps_its_token, 0},
        {a_link_to_a_module_is_the_same_module, 0},
        {hooks_surround_every_call, 0},
        {what_the_token_can_is_asked_once, 0},
    };

    return fx_main("ks_token", tests, COUNT_OF(tests));
}
