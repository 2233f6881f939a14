/* SPDX-License-Identifier: Apache-2.0
 *
 * token/pin.c: where PINs come from, and that a refused one is never sent twice.
 */
#include "ks_fixture.h"

#include <pthread.h>
#include <sys/stat.h>

/* Connects with `pin` as the source. The token is fx.token. */
static ks_status connect_with(const char *pin, const struct ks_call_options *opts)
{
    struct ks_token_config config = fx_config();
    ks_status st;

    config.pin = pin;
    ks_token_free(fx.token);
    fx.token = NULL;
    st = ks_token_new(&config, &fx.token, &fx.err);
    return ks_ok(st) ? ks_token_connect(fx.token, opts, &fx.err) : st;
}

/* --- sources --------------------------------------------------------------------------------- */

START_TEST(only_the_documented_sources_are_taken)
{
    static const char *const refused[] = {
        "",        "1234",      "file:",     "file:pin", "file:./pin", "env:",
        "prompt:", "prompt:no", "pass:1234", "|cat pin", "FILE:/pin",  "stdin",
    };

    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        fx_fails(connect_with(refused[i], NULL), KS_CONFIG);
        ck_assert_ptr_null(fx.token);
        fx_says("pin");
        /* somebody may have written the PIN itself */
        ck_assert_ptr_null(strstr(fx.err.text, "1234"));
    }
    ck_assert_uint_eq(fake_calls(NULL), 0);
}
END_TEST

START_TEST(a_private_file_is_read)
{
    fx_ok(connect_with(fx.pin, NULL));
    ck_assert(fake_logged_in(fx.slot));
    ck_assert_uint_eq(fake_pin_attempts(), 1);
}
END_TEST

START_TEST(group_may_read_but_nobody_else_and_nobody_may_write)
{
    static const struct {
        unsigned mode;
        bool good;
    } cases[] = {
        {0400, true},  {0600, true},  {0640, true},  {0440, true},  {0700, true},
        {0660, false}, {0620, false}, {0644, false}, {0604, false}, {0602, false},
        {0601, false}, {0666, false}, {0777, false},
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        ck_assert_int_eq(chmod(fx.pin_path, (mode_t)cases[i].mode), 0);
        if (cases[i].good) {
            fx_ok(connect_with(fx.pin, NULL));
            continue;
        }
        fx_fails(connect_with(fx.pin, NULL), KS_PIN_SOURCE);
        fx_says(fx.pin_path);
        fx_says("chmod");
        ck_assert(!fake_logged_in(fx.slot));
    }
    ck_assert_uint_eq(fake_sessions(), 0);
}
END_TEST

START_TEST(a_file_of_another_user_is_refused)
{
    if (geteuid() == 0) {
        ck_assert_int_eq(chown(fx.pin_path, 65534, (gid_t)-1), 0);
        fx_fails(connect_with(fx.pin, NULL), KS_PIN_SOURCE);
        fx_says("65534");
    } else {
        /* cannot be given away: root's, which nobody else can read, is as good */
        fx_fails(connect_with("file:/etc/shadow", NULL), KS_PIN_SOURCE);
    }
    ck_assert_uint_eq(fake_calls("C_Login"), 0);
}
END_TEST

START_TEST(what_is_no_regular_file_is_refused_and_blocks_nobody)
{
    char path[128], source[144];

    snprintf(path, sizeof(path), "%s/fifo", fx.dir);
    snprintf(source, sizeof(source), "file:%s", path);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    alarm(10); /* ends the test, if it does block */
    fx_fails(connect_with(source, NULL), KS_PIN_SOURCE);
    alarm(0);
    fx_says("regular");
    snprintf(source, sizeof(source), "file:%s", fx.dir);
    fx_fails(connect_with(source, NULL), KS_PIN_SOURCE);
    fx_fails(connect_with("file:/dev/zero", NULL), KS_PIN_SOURCE);
}
END_TEST

START_TEST(a_missing_or_empty_or_huge_file_is_refused)
{
    static char huge[5000];
    char source[144];

    snprintf(source, sizeof(source), "file:%s/none", fx.dir);
    fx_fails(connect_with(source, NULL), KS_PIN_SOURCE);
    fx_says("/none");
    fx_says("No such file");
    fx_write(fx.pin_path, "", 0600);
    fx_fails(connect_with(fx.pin, NULL), KS_PIN_SOURCE);
    fx_write(fx.pin_path, "\n", 0600);
    fx_fails(connect_with(fx.pin, NULL), KS_PIN_SOURCE);
    memset(huge, '1', sizeof(huge) - 1);
    fx_write(fx.pin_path, huge, 0600);
    fx_fails(connect_with(fx.pin, NULL), KS_PIN_SOURCE);
    ck_assert_ptr_null(strstr(fx.err.text, "1111"));
    ck_assert_uint_eq(fake_calls("C_Login"), 0);
    ck_assert_uint_eq(fake_sessions(), 0);
}
END_TEST

START_TEST(a_link_to_a_good_file_is_followed_and_judged_by_the_file)
{
    char link[128], source[144];

    snprintf(link, sizeof(link), "%s/link", fx.dir);
    snprintf(source, sizeof(source), "file:%s", link);
    ck_assert_int_eq(symlink(fx.pin_path, link), 0);
    fx_ok(connect_with(source, NULL));
    ck_assert_int_eq(chmod(fx.pin_path, 0644), 0);
    fx_fails(connect_with(source, NULL), KS_PIN_SOURCE);
}
END_TEST

static void write_bytes(const char *bytes, size_t len)
{
    FILE *f = fopen(fx.pin_path, "w");

    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(bytes, 1, len, f), len);
    ck_assert_int_eq(fclose(f), 0);
}

START_TEST(one_newline_goes_and_every_other_byte_stays)
{
    static const struct {
        const char *file, *pin;
    } cases[] = {
        {"1234", "1234"},
        {"1234\n", "1234"},
        {"12 34\n", "12 34"},
        {"user:pass", "user:pass"},
        {"\xc3\xa4\xff", "\xc3\xa4\xff"},
        {"\xc2\xa0\n", "\xc2\xa0"}, /* no blank that we know */
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        fx_write(fx.pin_path, cases[i].file, 0600);
        fake_set_pin(fx.slot, cases[i].pin);
        fx_ok(connect_with(fx.pin, NULL));
        ck_assert(fake_logged_in(fx.slot));
    }
    ck_assert_uint_eq(fake_pin_attempts(), COUNT_OF(cases));
}
END_TEST

/* What nobody sees in a file, and was not meant: nothing is sent. */
#define BYTES(text) text, sizeof(text) - 1
static const struct {
    const char *bytes;
    size_t len;
    const char *says;
} flawed[] = {
    {BYTES("1234\r\n"), "carriage return"},
    {BYTES("1234\r"), "carriage return"},
    {BYTES("12\r34"), "carriage return"},
    {BYTES("1234 "), "ends with a blank"},
    {BYTES("1234\t\n"), "ends with a blank"},
    {BYTES(" 1234\n"), "begins with a blank"},
    {BYTES("\t1234"), "begins with a blank"},
    {BYTES(" "), "a blank"},
    {BYTES("1234\n\n"), "more than one line"},
    {BYTES("1234\n5678"), "more than one line"},
    {BYTES("\n1234"), "more than one line"},
    {BYTES("1234\0"), "NUL"},
    {BYTES("1234\0\n"), "NUL"},
    {BYTES("\0"
           "1234"),
     "NUL"},
    {BYTES("12\x01"
           "34"),
     "control character"},
    {BYTES("12\t34"), "control character"},
    {BYTES("1234\x1b"), "control character"},
    {BYTES("1234\x7f"), "control character"},
    {BYTES("\xef\xbb\xbf"
           "1234"),
     "byte order mark"},
    {BYTES("\xef\xbb\xbf\n"), "byte order mark"},
    {BYTES("\xff\xfe"
           "1\0002\0"),
     "UTF-16"},
    {BYTES("\xfe\xff\0"
           "1\0002"),
     "UTF-16"},
    {BYTES("1\0002\0\r\0\n\0"), "NUL"},
};

START_TEST(a_file_with_what_was_not_meant_is_refused_before_anything_is_sent)
{
    write_bytes(flawed[_i].bytes, flawed[_i].len);
    fx_fails(connect_with(fx.pin, NULL), KS_PIN_SOURCE);
    fx_says(flawed[_i].says);
    fx_says(fx.pin_path);
    fx_says("printf %s 'PIN' > ");
    fx_says("env:NAME");
    ck_assert_ptr_null(strstr(fx.err.text, "1234"));
    ck_assert_uint_eq(fake_calls("C_Login"), 0);
    ck_assert_uint_eq(fake_sessions(), 0);
    /* an environment variable is taken as it is */
    if (memchr(flawed[_i].bytes, '\0', flawed[_i].len) == NULL) {
        fake_set_pin(fx.slot, flawed[_i].bytes);
        setenv("HSM_UNIT_PIN", flawed[_i].bytes, 1);
        fx_ok(connect_with("env:HSM_UNIT_PIN", NULL));
    }
}
END_TEST

START_TEST(the_environment_is_a_source)
{
    setenv("HSM_UNIT_PIN", "1234", 1);
    fx_ok(connect_with("env:HSM_UNIT_PIN", NULL));
    setenv("HSM_UNIT_PIN", "", 1);
    fx_fails(connect_with("env:HSM_UNIT_PIN", NULL), KS_PIN_SOURCE);
    unsetenv("HSM_UNIT_PIN");
    fx_fails(connect_with("env:HSM_UNIT_PIN", NULL), KS_PIN_SOURCE);
    fx_says("HSM_UNIT_PIN");
    ck_assert_uint_eq(fake_pin_attempts(), 1);
}
END_TEST

/* --- prompts --------------------------------------------------------------------------------- */

struct person {
    const char *pin; /* NULL: nobody there */
    size_t claims;   /* length to claim, 0: the true one */
    unsigned asked;
    char what[256];
};

static bool answer(void *arg, const char *what, char *pin, size_t size, size_t *len)
{
    struct person *p = arg;

    p->asked++;
    snprintf(p->what, sizeof(p->what), "%s", what);
    if (p->pin == NULL)
        return false;
    ck_assert_uint_ge(size, strlen(p->pin));
    memcpy(pin, p->pin, strlen(p->pin));
    *len = p->claims != 0 ? p->claims : strlen(p->pin);
    return true;
}

START_TEST(a_person_is_asked_once)
{
    struct person person = {.pin = "1234"};
    struct ks_prompt prompt = {answer, &person};
    struct ks_call_options opts = {.prompt = &prompt};
    struct ks_key *key;

    fx_ok(connect_with("prompt", &opts));
    ck_assert_uint_eq(person.asked, 1);
    ck_assert_ptr_nonnull(strstr(person.what, fx.label));
    /* later logins use what is in memory */
    key = fx_new_key(FAKE_P256, "k");
    fake_lose_login();
    fx_sign_well(key, "k");
    fake_lose_sessions(false);
    fx_sign_well(key, "k");
    ck_assert_uint_eq(person.asked, 1);
    ck_assert(fake_logged_in(fx.slot));
    ks_key_free(key);
}
END_TEST

START_TEST(nobody_to_ask_is_an_error_and_no_login)
{
    struct person person = {.pin = NULL};
    struct ks_prompt prompt = {answer, &person};
    struct ks_call_options opts = {.prompt = &prompt};

    fx_fails(connect_with("prompt", NULL), KS_PIN_SOURCE);
    fx_fails(connect_with("prompt", &opts), KS_PIN_SOURCE);
    ck_assert_uint_eq(person.asked, 1);
    person.pin = "";
    fx_fails(connect_with("prompt", &opts), KS_PIN_SOURCE);
    person.pin = "1234";
    person.claims = 1000000;
    fx_fails(connect_with("prompt", &opts), KS_PIN_SOURCE);
    ck_assert_uint_eq(fake_calls("C_Login"), 0);
    ck_assert_uint_eq(fake_sessions(), 0);
}
END_TEST

START_TEST(a_person_may_try_another_pin_but_not_the_same_again)
{
    struct person person = {.pin = "wrong"};
    struct ks_prompt prompt = {answer, &person};
    struct ks_call_options opts = {.prompt = &prompt};

    fx_fails(connect_with("prompt", &opts), KS_PIN_REFUSED);
    fx_fails(ks_token_connect(fx.token, &opts, &fx.err), KS_PIN_REFUSED);
    ck_assert_uint_eq(person.asked, 2);
    ck_assert_uint_eq(fake_pin_attempts(), 1);
    person.pin = "1234";
    fx_ok(ks_token_connect(fx.token, &opts, &fx.err));
    ck_assert_uint_eq(fake_pin_attempts(), 2);
    ck_assert(fake_logged_in(fx.slot));
}
END_TEST

START_TEST(of_two_wrong_pins_neither_is_sent_twice)
{
    struct person person = {.pin = "wrong"};
    struct ks_prompt prompt = {answer, &person};
    struct ks_call_options opts = {.prompt = &prompt};

    fx_fails(connect_with("prompt", &opts), KS_PIN_REFUSED);
    person.pin = "bad";
    fx_fails(ks_token_connect(fx.token, &opts, &fx.err), KS_PIN_REFUSED);
    person.pin = "wrong";
    fx_fails(ks_token_connect(fx.token, &opts, &fx.err), KS_PIN_REFUSED);
    ck_assert_uint_eq(fake_pin_attempts(), 2);
}
END_TEST

/* --- refusals -------------------------------------------------------------------------------- */

START_TEST(a_pin_that_is_not_kept_is_read_again)
{
    struct ks_token_config config = fx_config();
    struct ks_key *key;

    config.forget_pin = true;
    fake_add_pair(fx.slot, FAKE_P256, "k");
    fx_ok(ks_token_new(&config, &fx.token, &fx.err));
    key = fx_key("k");
    fx_sign_well(key, "k");
    /* all sessions lost: the source has what the next login needs, and without it there is none */
    fake_lose_sessions(false);
    fx_sign_well(key, "k");
    ck_assert_int_eq(unlink(fx.pin_path), 0);
    fake_lose_sessions(false);
    fx_fails(fx_sign(key), KS_PIN_SOURCE);
    ks_key_free(key);
}
END_TEST

START_TEST(a_refused_pin_is_never_sent_again)
{
    struct ks_key *key;

    fake_add_pair(fx.slot, FAKE_P256, "k");
    fx_write(fx.pin_path, "4321\n", 0600);
    fx_fails(connect_with(fx.pin, NULL), KS_PIN_REFUSED);
    ck_assert_str_eq(fx.err.rv_name, "CKR_PIN_INCORRECT");
    ck_assert_str_eq(fx.err.function, "C_Login");
    fx_says(fx.label);
    ck_assert_ptr_null(strstr(fx.err.text, "4321"));
    for (int i = 0; i < 20; i++) {
        fx_fails(ks_token_connect(fx.token, NULL, &fx.err), KS_PIN_REFUSED);
        fx_fails(fx_find("k", &key), KS_PIN_REFUSED);
    }
    ck_assert_uint_eq(fake_pin_attempts(), 1);
    ck_assert_uint_eq(fake_sessions(), 0);
}
END_TEST

START_TEST(nor_after_the_token_was_released_and_taken_again)
{
    fx_write(fx.pin_path, "4321\n", 0600);
    for (int i = 0; i < 5; i++)
        fx_fails(connect_with(fx.pin, NULL), KS_PIN_REFUSED);
    ck_assert_uint_eq(fake_pin_attempts(), 1);
}
END_TEST

START_TEST(nor_by_another_handle_of_the_same_token)
{
    struct ks_token_config config = fx_config();
    struct ks_token *other = NULL;

    fx_write(fx.pin_path, "4321\n", 0600);
    fx_fails(connect_with(fx.pin, NULL), KS_PIN_REFUSED);
    config.token = NULL; /* the only one: the same */
    fx_ok(ks_token_new(&config, &other, &fx.err));
    fx_fails(ks_token_connect(other, NULL, &fx.err), KS_PIN_REFUSED);
    ck_assert_uint_eq(fake_pin_attempts(), 1);
    ks_token_free(other);
}
END_TEST

static void *connect_thread(void *arg)
{
    struct ks_error err;
    ks_status st = ks_token_connect(fx.token, NULL, &err);

    *(enum ks_code *)arg = st.code;
    return NULL;
}

START_TEST(nor_by_threads_that_connect_at_the_same_time)
{
    struct ks_token_config config = fx_config();
    enum ks_code codes[16];
    pthread_t threads[16];

    fx_write(fx.pin_path, "4321\n", 0600);
    fake_set_latency("C_Login", 20000);
    fx_ok(ks_token_new(&config, &fx.token, &fx.err));
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, connect_thread, &codes[i]), 0);
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        pthread_join(threads[i], NULL);
        ck_assert_int_eq(codes[i], KS_PIN_REFUSED);
    }
    ck_assert_uint_eq(fake_pin_attempts(), 1);
}
END_TEST

START_TEST(a_locked_pin_is_reported_and_not_tried)
{
    fx_restart(&(struct fake_token){.pin_tries = 3});
    fake_set_pin_failures(fx.slot, 3);
    fx_fails(connect_with(fx.pin, NULL), KS_PIN_REFUSED);
    fx_says("locked");
    ck_assert_uint_eq(fake_calls("C_Login"), 0);
}
END_TEST

START_TEST(the_final_try_is_never_used)
{
    fx_restart(&(struct fake_token){.pin_tries = 3});
    fake_set_pin_failures(fx.slot, 2);
    for (int i = 0; i < 3; i++)
        fx_fails(connect_with(fx.pin, NULL), KS_PIN_REFUSED);
    ck_assert_uint_eq(fake_calls("C_Login"), 0);
    ck_assert_uint_eq(fake_sessions(), 0);
    fake_set_pin_failures(fx.slot, 1);
    fx_ok(connect_with(fx.pin, NULL));
}
END_TEST

/* Others' wrong PINs may have brought the token there since we looked. */
START_TEST(nor_is_it_when_all_sessions_were_lost)
{
    struct ks_key *key;

    fx_restart(&(struct fake_token){.pin_tries = 3});
    key = fx_new_key(FAKE_P256, "k");
    fake_lose_sessions(false);
    fake_set_pin_failures(fx.slot, 2);
    fx_fails(fx_sign(key), KS_PIN_REFUSED);
    ck_assert_uint_eq(fake_calls("C_Login"), 1);
    ks_key_free(key);
}
END_TEST

START_TEST(nor_is_it_when_the_login_was_lost)
{
    struct ks_key *key;

    fx_restart(&(struct fake_token){.pin_tries = 3});
    key = fx_new_key(FAKE_P256, "k");
    fake_lose_login();
    fake_set_pin_failures(fx.slot, 2);
    fx_fails(fx_sign(key), KS_PIN_REFUSED);
    ck_assert_uint_eq(fake_calls("C_Login"), 1);
    ks_key_free(key);
}
END_TEST

START_TEST(other_refusals_of_the_login_are_not_repeated_with_the_pin)
{
    static const unsigned long codes[] = {CKR_PIN_LOCKED, CKR_PIN_EXPIRED, CKR_PIN_LEN_RANGE,
                                          CKR_PIN_INVALID};

    for (size_t i = 0; i < COUNT_OF(codes); i++) {
        fx_restart(NULL);
        fake_inject("C_Login", 1, 1, codes[i], false);
        fx_fails(connect_with(fx.pin, NULL), KS_PIN_REFUSED);
        fx_fails(ks_token_connect(fx.token, NULL, &fx.err), KS_PIN_REFUSED);
        ck_assert_uint_eq(fake_calls("C_Login"), 1);
    }
}
END_TEST

START_TEST(a_failed_login_for_another_reason_may_be_tried_again)
{
    /* the device, not the PIN: within the same call */
    fake_fail("C_Login", CKR_DEVICE_ERROR);
    fx_ok(connect_with(fx.pin, NULL));
    ck_assert_uint_eq(fake_calls("C_Login"), 2);
    ck_assert_uint_eq(fake_sessions(), 1);
    fx_restart(NULL);
    fake_fail("C_Login", CKR_FUNCTION_REJECTED);
    ck_assert(!ks_ok(connect_with(fx.pin, NULL)));
    fx_ok(ks_token_connect(fx.token, NULL, &fx.err));
    ck_assert_uint_eq(fake_calls("C_Login"), 2);
    ck_assert_uint_eq(fake_sessions(), 1);
}
END_TEST

START_TEST(a_protected_path_gets_a_null_pin_and_others_never)
{
    fx_restart(&(struct fake_token){.protected_path = true});
    fx_ok(connect_with(NULL, NULL));
    ck_assert(fake_logged_in(fx.slot));
    ck_assert_uint_eq(fake_pin_attempts(), 0);

    fx_restart(NULL);
    fake_set_quirk(FAKE_QUIRK_NULL_PIN_ABORTS, true);
    fx_ok(connect_with(NULL, NULL));
    ck_assert_uint_eq(fake_calls("C_Login"), 0);
}
END_TEST

START_TEST(a_token_without_login_is_not_logged_in_to)
{
    struct ks_key *key;

    fx_restart(&(struct fake_token){.no_login = true});
    key = fx_new_key(FAKE_P256, "k");
    fx_sign_well(key, "k");
    ck_assert_uint_eq(fake_calls("C_Login"), 0);
    ks_key_free(key);
}
END_TEST

START_TEST(a_token_without_a_user_pin_says_so)
{
    fx_restart(&(struct fake_token){.pin_not_set = true});
    fx_fails(connect_with(fx.pin, NULL), KS_LOGIN);
    ck_assert_uint_eq(fake_calls("C_Login"), 0);
}
END_TEST

/* The PIN file is gone, or its reader's right is: workers of a server. */
START_TEST(the_pin_stays_for_later_logins)
{
    struct ks_key *key = fx_new_key(FAKE_P256, "k");

    ck_assert_int_eq(unlink(fx.pin_path), 0);
    fake_lose_sessions(false);
    fx_sign_well(key, "k");
    ck_assert_uint_eq(fake_calls("C_Login"), 2);
    ks_key_free(key);
}
END_TEST

/* By a process that may read it, before it becomes one that may not. */
START_TEST(a_pin_is_kept_for_a_later_login)
{
    struct ks_token_config config = fx_config();

    config.pin = fx.pin;
    fx_ok(ks_token_new(&config, &fx.token, &fx.err));
    ks_token_preload_pin(fx.token, NULL);
    ck_assert_uint_eq(fake_calls(NULL), 0);
    ck_assert_int_eq(unlink(fx.pin_path), 0);
    fx_ok(ks_token_connect(fx.token, NULL, &fx.err));
    ck_assert(fake_logged_in(fx.slot));
}
END_TEST

static void log_in_without_the_file(void *key)
{
    fx_need(unlink(fx.pin_path) == 0, "the PIN file is not there");
    fx_need(fx_signs(key, "k"), "signing failed");
    fx_need(fake_calls("C_Login") == 1, "not logged in once");
}

/* A server's worker may read the file when it is forked, and never again. */
START_TEST(a_forked_child_has_the_pin_that_the_file_has_then)
{
    struct ks_key *key = fx_new_key(FAKE_P256, "k");

    fx_write(fx.pin_path, "5678\n", 0600);
    fake_set_pin(fx.slot, "5678");
    fx_sign_well(key, "k"); /* still logged in */
    fake_clear_counts();
    fx_in_child(log_in_without_the_file, key);
    ks_key_free(key);
}
END_TEST

START_TEST(without_the_file_a_forked_child_has_the_old_pin)
{
    struct ks_key *key = fx_new_key(FAKE_P256, "k");

    fx_write(fx.pin_path, "", 0600); /* somebody is about to write it */
    fake_clear_counts();
    fx_in_child(log_in_without_the_file, key);
    ks_key_free(key);
}
END_TEST

START_TEST(without_its_file_a_refused_pin_leads_to_a_reload)
{
    struct ks_key *key = fx_new_key(FAKE_P256, "k");

    fake_set_pin(fx.slot, "5678");
    ck_assert_int_eq(unlink(fx.pin_path), 0);
    fake_lose_sessions(false);
    fx_fails(fx_sign(key), KS_PIN_REFUSED);
    fx_fails(fx_sign(key), KS_PIN_SOURCE);
    fx_says("reload the service");
    ck_assert_uint_eq(fake_calls("C_Login"), 2);
    ks_key_free(key);
}
END_TEST

START_TEST(a_person_is_asked_for_it_in_time)
{
    struct person person = {.pin = "1234"};
    struct ks_prompt prompt = {answer, &person};
    struct ks_call_options opts = {.prompt = &prompt};
    struct ks_token_config config = fx_config();

    config.pin = "prompt";
    fx_ok(ks_token_new(&config, &fx.token, &fx.err));
    ks_token_preload_pin(fx.token, NULL);
    ck_assert_uint_eq(person.asked, 0);
    for (int i = 0; i < 2; i++)
        ks_token_preload_pin(fx.token, &opts);
    ck_assert_uint_eq(person.asked, 1);
    ck_assert_ptr_nonnull(strstr(person.what, "pkcs11:"));
    ck_assert_uint_eq(fake_calls(NULL), 0);
    fx_ok(ks_token_connect(fx.token, NULL, &fx.err));
    ck_assert(fake_logged_in(fx.slot));
}
END_TEST

START_TEST(but_not_where_it_is_not_to_be_kept)
{
    struct ks_token_config config = fx_config();

    config.pin = fx.pin;
    config.forget_pin = true;
    fx_ok(ks_token_new(&config, &fx.token, &fx.err));
    ks_token_preload_pin(fx.token, NULL);
    ck_assert_int_eq(unlink(fx.pin_path), 0);
    fx_fails(ks_token_connect(fx.token, NULL, &fx.err), KS_PIN_SOURCE);
    fx_says("No such file");
}
END_TEST

int main(void)
{
    const struct fx_test tests[] = {
        {only_the_documented_sources_are_taken, 0},
        {a_private_file_is_read, 0},
        {group_may_read_but_nobody_else_and_nobody_may_write, 0},
        {a_file_of_another_user_is_refused, 0},
        {what_is_no_regular_file_is_refused_and_blocks_nobody, 0},
        {a_missing_or_empty_or_huge_file_is_refused, 0},
        {a_link_to_a_good_file_is_followed_and_judged_by_the_file, 0},
        {one_newline_goes_and_every_other_byte_stays, 0},
        {a_file_with_what_was_not_meant_is_refused_before_anything_is_sent, COUNT_OF(flawed)},
        {the_environment_is_a_source, 0},
        {a_person_is_asked_once, 0},
        {nobody_to_ask_is_an_error_and_no_login, 0},
        {a_person_may_try_another_pin_but_not_the_same_again, 0},
        {of_two_wrong_pins_neither_is_sent_twice, 0},
        {a_pin_that_is_not_kept_is_read_again, 0},
        {a_refused_pin_is_never_sent_again, 0},
        {nor_after_the_token_was_released_and_taken_again, 0},
        {nor_by_another_handle_of_the_same_token, 0},
        {nor_by_threads_that_connect_at_the_same_time, 0},
        {a_locked_pin_is_reported_and_not_tried, 0},
        {the_final_try_is_never_used, 0},
        {nor_is_it_when_all_sessions_were_lost, 0},
        {nor_is_it_when_the_login_was_lost, 0},
        {other_refusals_of_the_login_are_not_repeated_with_the_pin, 0},
        {a_failed_login_for_another_reason_may_be_tried_again, 0},
        {a_protected_path_gets_a_null_pin_and_others_never, 0},
        {a_token_without_login_is_not_logged_in_to, 0},
        {a_token_without_a_user_pin_says_so, 0},
        {the_pin_stays_for_later_logins, 0},
        {a_pin_is_kept_for_a_later_login, 0},
        {a_forked_child_has_the_pin_that_the_file_has_then, 0},
        {without_the_file_a_forked_child_has_the_old_pin, 0},
        {without_its_file_a_refused_pin_leads_to_a_reload, 0},
        {a_person_is_asked_for_it_in_time, 0},
        {but_not_where_it_is_not_to_be_kept, 0},
    };

    return fx_main("ks_pin", tests, COUNT_OF(tests));
}
