/* SPDX-License-Identifier: Apache-2.0
 *
 * token/login.c, token/refused.c, token/secret.c: a PIN that a token refused reaches it once,
 * whoever sends it; and what this process keeps of it.
 */
#include "ks_fixture.h"
#include "memory.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define THREADS 8

extern uint64_t ks_login_lost_ns; /* token/login.c */

static struct ks_key *strict_key(unsigned tries)
{
    fx_restart(&(struct fake_token){.pin_tries = tries});
    fake_add_key(fx.slot, &(struct fake_key){.kind = FAKE_P256,
                                             .label = "k",
                                             .id = "k",
                                             .flags = FAKE_ALWAYS_AUTHENTICATE});
    return fx_key("k");
}

static ks_status sign(struct ks_key *key, struct ks_error *err)
{
    uint8_t sig[FX_ROOM];
    size_t len = sizeof(sig);

    return ks_sign(key, NULL, &fx_ecdsa, fx_digest, sizeof(fx_digest), sig, &len, err);
}

/* --- logins of operations -------------------------------------------------------------------- */

struct signer {
    pthread_t thread;
    struct ks_key *key;
    unsigned rounds;
    enum ks_code last;
    unsigned good;
};

static void *sign_main(void *arg)
{
    struct signer *s = arg;
    struct ks_error err;
    ks_status st;

    for (unsigned i = 0; i < s->rounds; i++) {
        st = sign(s->key, &err);
        s->last = st.code;
        s->good += ks_ok(st);
    }
    return NULL;
}

static void all_sign(struct signer *signers, struct ks_key *key, unsigned rounds)
{
    for (unsigned i = 0; i < THREADS; i++) {
        signers[i] = (struct signer){.key = key, .rounds = rounds};
        ck_assert_int_eq(pthread_create(&signers[i].thread, NULL, sign_main, &signers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(signers[i].thread, NULL);
}

START_TEST(a_pin_that_became_wrong_reaches_the_token_once)
{
    struct ks_key *key = strict_key(3);
    struct signer signers[THREADS];

    all_sign(signers, key, 3);
    for (unsigned i = 0; i < THREADS; i++)
        ck_assert_uint_eq(signers[i].good, 3);
    fake_clear_counts();
    fake_set_pin(fx.slot, "changed");
    fake_set_latency("C_Login", 20000);
    all_sign(signers, key, 2);
    for (unsigned i = 0; i < THREADS; i++)
        ck_assert_int_eq(signers[i].last, KS_PIN_REFUSED);
    ck_assert_uint_eq(fake_calls("C_Login"), 1);
    ks_key_free(key);
}
END_TEST

static unsigned attempts_before;

static void another_pin(void *arg)
{
    (void)arg;
    attempts_before = fake_pin_attempts();
    fake_set_pin(fx.slot, "changed");
}

/* In the middle of it, with everybody at work. */
START_TEST(also_when_it_becomes_wrong_under_load)
{
    struct ks_key *key = strict_key(3);
    struct signer signers[THREADS];
    unsigned good = 0;

    fake_set_latency("C_Login", 200);
    fake_at("C_Login", 50, another_pin, NULL);
    all_sign(signers, key, 20);
    for (unsigned i = 0; i < THREADS; i++) {
        ck_assert_int_eq(signers[i].last, KS_PIN_REFUSED);
        good += signers[i].good;
    }
    ck_assert_uint_eq(good, 49);
    ck_assert_uint_eq(fake_pin_attempts() - attempts_before, 1);
    ks_key_free(key);
}
END_TEST

START_TEST(the_right_one_of_a_changed_file_is_taken_by_all)
{
    struct ks_key *key = strict_key(3);
    struct signer signers[THREADS];

    fx_ok(sign(key, &fx.err));
    fake_set_pin(fx.slot, "changed");
    fx_write(fx.pin_path, "changed", 0600);
    fx_fails(sign(key, &fx.err), KS_PIN_REFUSED); /* with the one in memory */
    all_sign(signers, key, 5);
    for (unsigned i = 0; i < THREADS; i++)
        ck_assert_uint_eq(signers[i].good, 5);
    ks_key_free(key);
}
END_TEST

/* Others' wrong PINs may have brought the token there since it was looked at. */
START_TEST(the_last_try_is_not_used_for_an_operation)
{
    struct ks_key *key = strict_key(3);

    fake_set_pin(fx.slot, "changed");
    fake_set_pin_failures(fx.slot, 2);
    fake_clear_counts();
    for (int i = 0; i < 3; i++)
        fx_fails(sign(key, &fx.err), KS_PIN_REFUSED);
    fx_says("locks it");
    ck_assert_uint_eq(fake_calls("C_Login"), 0);
    fake_set_pin_failures(fx.slot, 3);
    fx_fails(sign(key, &fx.err), KS_PIN_REFUSED);
    fx_says("locked");
    ck_assert_uint_eq(fake_calls("C_Login"), 0);
    /* somebody has logged in by hand */
    fake_set_pin_failures(fx.slot, 0);
    fake_set_pin(fx.slot, "1234");
    fx_sign_well(key, "k");
    ks_key_free(key);
}
END_TEST

/* A token that does not say that a PIN was wrong, and counts it all the same. */
START_TEST(an_unclear_answer_that_was_counted_is_no_invitation)
{
    struct ks_key *key = strict_key(10);

    fx_ok(sign(key, &fx.err));
    fake_set_pin(fx.slot, "changed");
    attempts_before = fake_pin_attempts();
    fake_inject("C_Login", 1, FAKE_FOREVER, CKR_GENERAL_ERROR, true);
    for (int i = 0; i < 20; i++)
        ck_assert(!ks_ok(sign(key, &fx.err)));
    fx_fails(sign(key, &fx.err), KS_PIN_REFUSED);
    ck_assert_uint_eq(fake_pin_attempts() - attempts_before, 2);
    ks_key_free(key);
}
END_TEST

START_TEST(nor_is_one_at_the_login_of_the_token)
{
    struct ks_key *key;

    fx_write(fx.pin_path, "4321", 0600);
    fake_inject("C_Login", 1, FAKE_FOREVER, CKR_GENERAL_ERROR, true);
    for (int i = 0; i < 20; i++)
        ck_assert(!ks_ok(fx_find("k", &key)));
    fx_fails(fx_find("k", &key), KS_PIN_REFUSED);
    ck_assert_uint_eq(fake_pin_attempts(), 2);
}
END_TEST

START_TEST(one_that_was_not_counted_is)
{
    struct ks_key *key = strict_key(10);

    for (int i = 0; i < 5; i++) {
        fake_fail("C_Login", CKR_GENERAL_ERROR);
        fx_sign_well(key, "k");
    }
    ks_key_free(key);
}
END_TEST

START_TEST(without_a_pin_in_memory_there_is_a_clear_answer)
{
    struct ks_token_config config;
    struct ks_key *key;

    fx_restart(NULL);
    config = fx_config();
    config.forget_pin = true;
    fake_add_key(fx.slot, &(struct fake_key){.kind = FAKE_P256,
                                             .label = "k",
                                             .id = "k",
                                             .flags = FAKE_ALWAYS_AUTHENTICATE});
    fx_ok(ks_token_new(&config, &fx.token, &fx.err));
    key = fx_key("k");
    fake_clear_counts();
    fx_fails(sign(key, &fx.err), KS_PIN_SOURCE);
    fx_says("pin-keep");
    ck_assert_uint_eq(fake_calls("C_Login"), 0);
    ck_assert_uint_eq(fake_open_operations(), 0);
    ks_key_free(key);
}
END_TEST

START_TEST(a_login_waits_for_the_one_that_is_under_way)
{
    struct ks_key *key = strict_key(10);
    struct signer signers[2];

    fake_hang("C_Login", 1);
    for (unsigned i = 0; i < 2; i++) {
        signers[i] = (struct signer){.key = key, .rounds = 1};
        ck_assert_int_eq(pthread_create(&signers[i].thread, NULL, sign_main, &signers[i]), 0);
    }
    ck_assert(fake_wait_hanging(1, 20000));
    usleep(20000);
    ck_assert_uint_eq(fake_calls("C_Login"), 2); /* of the token, and the one that hangs */
    ck_assert_uint_eq(fake_open_operations(), 2);
    fake_release();
    for (unsigned i = 0; i < 2; i++) {
        pthread_join(signers[i].thread, NULL);
        ck_assert_uint_eq(signers[i].good, 1);
    }
    ks_key_free(key);
}
END_TEST

static void sign_in_child(void *key)
{
    fx_need(fx_signs(key, "k"), "signing failed");
}

START_TEST(a_child_has_its_own_turn)
{
    struct ks_key *key = strict_key(10);
    struct signer signer = {.key = key, .rounds = 1};

    fake_hang("C_Login", 1);
    ck_assert_int_eq(pthread_create(&signer.thread, NULL, sign_main, &signer), 0);
    ck_assert(fake_wait_hanging(1, 20000));
    fx_in_child(sign_in_child, key);
    fake_release();
    pthread_join(signer.thread, NULL);
    ck_assert_uint_eq(signer.good, 1);
    ks_key_free(key);
}
END_TEST

/* --- several handles ------------------------------------------------------------------------- */

static struct ks_token *other_handle(const char *module, unsigned timeout_ms)
{
    struct ks_token_config config = fx_config();
    struct ks_token *other = NULL;

    config.module = module;
    config.timeout_ms = timeout_ms;
    config.token = NULL; /* the only one: the same */
    fx_ok(ks_token_new(&config, &other, &fx.err));
    return other;
}

struct connecting {
    pthread_t thread;
    struct ks_token *token;
    ks_status st;
};

static void *connect_main(void *arg)
{
    struct connecting *c = arg;
    struct ks_error err;

    c->st = ks_token_connect(c->token, NULL, &err);
    return NULL;
}

START_TEST(two_handles_send_a_wrong_pin_once_between_them)
{
    struct connecting c[2];
    unsigned hung = (unsigned)_i;

    fx_write(fx.pin_path, "4321\n", 0600);
    c[0].token = fx_token();
    c[1].token = other_handle(FAKE_PKCS11_PATH, 0);
    fake_hang("C_Login", 1);
    for (unsigned i = 0; i < 2; i++) {
        unsigned which = i == 0 ? hung : 1 - hung;

        ck_assert_int_eq(pthread_create(&c[which].thread, NULL, connect_main, &c[which]), 0);
        ck_assert(fake_wait_hanging(1, 20000));
    }
    usleep(20000);
    ck_assert_uint_eq(fake_calls("C_Login"), 1);
    fake_release();
    for (unsigned i = 0; i < 2; i++) {
        pthread_join(c[i].thread, NULL);
        ck_assert_int_eq(c[i].st.code, KS_PIN_REFUSED);
    }
    ck_assert_uint_eq(fake_pin_attempts(), 1);
    ks_token_free(c[1].token);
}
END_TEST

/* One that was left behind has not come back: it may still be refused. */
START_TEST(a_login_that_hangs_keeps_others_from_it)
{
    struct ks_token *one = NULL, *two = NULL;
    struct ks_token_config config = fx_config();

    fx_write(fx.pin_path, "4321\n", 0600);
    config.timeout_ms = 100;
    fx_ok(ks_token_new(&config, &one, &fx.err));
    two = other_handle(FAKE_PKCS11_PATH, 100);
    fake_hang("C_Login", 1);
    fx_fails(ks_token_connect(one, NULL, &fx.err), KS_TIMEOUT);
    fx_fails(ks_token_connect(two, NULL, &fx.err), KS_TIMEOUT);
    ck_assert_uint_eq(fake_calls("C_Login"), 1);
    fake_release();
    for (int i = 0; i < 2000 && fake_pin_attempts() == 0; i++)
        usleep(5000);
    ck_assert_uint_eq(fake_pin_attempts(), 1);
    ck_assert(!ks_ok(ks_token_connect(two, NULL, &fx.err)));
    ck_assert_uint_eq(fake_pin_attempts(), 1);
    ks_token_free(two);
    ks_token_free(one);
}
END_TEST

/* For a while: it may never come back. Then the token's flags decide. */
START_TEST(one_that_never_comes_back_does_so_for_a_minute)
{
    struct connecting hung = {.token = fx_token()};
    struct ks_token *other = other_handle(FAKE_PKCS11_PATH, 0);
    bool counted = _i == 1;

    ks_login_lost_ns = 50000000;
    fake_hang("C_Login", 1);
    ck_assert_int_eq(pthread_create(&hung.thread, NULL, connect_main, &hung), 0);
    ck_assert(fake_wait_hanging(1, 20000));
    if (counted)
        fake_set_pin_failures(fx.slot, 1);
    fx_fails(ks_token_connect(other, NULL, &fx.err), counted ? KS_PIN_REFUSED : KS_OK);
    ck_assert_uint_eq(fake_pin_attempts(), counted ? 0 : 1);
    fake_release();
    pthread_join(hung.thread, NULL);
    fx_ok(hung.st);
    fx_ok(ks_token_connect(other, NULL, &fx.err));
    ks_login_lost_ns = 60000000000U;
    ks_token_free(other);
}
END_TEST

/* The same library twice: by another path, with a state of its own. */
static void copy_module(const char *to)
{
    static char data[1 << 22];
    int fd = open(FAKE_PKCS11_PATH, O_RDONLY);
    ssize_t n = read(fd, data, sizeof(data));

    ck_assert_int_gt(n, 0);
    ck_assert_int_lt(n, (ssize_t)sizeof(data));
    close(fd);
    fd = open(to, O_WRONLY | O_CREAT | O_EXCL, 0700);
    ck_assert_int_eq(write(fd, data, (size_t)n), n);
    close(fd);
}

START_TEST(nor_is_it_sent_through_another_module)
{
    static const struct {
        const char *serial;
        enum ks_code code;
    } rows[] = {{"4711", KS_PIN_REFUSED}, {"0000", KS_OK}, {"", KS_OK}};
    char script[128], path[128], text[256];
    struct ks_token *other;

    fx_restart(&(struct fake_token){.label = "twin", .serial = rows[_i].serial});
    snprintf(script, sizeof(script), "%s/script", fx.dir);
    snprintf(path, sizeof(path), "%s/other.so", fx.dir);
    snprintf(text, sizeof(text), "token label=twin serial=\"%s\" pin=4321\n", rows[_i].serial);
    fx_write(script, text, 0600);
    copy_module(path);
    fx_write(fx.pin_path, "4321\n", 0600);
    fx_fails(ks_token_connect(fx_token(), NULL, &fx.err), KS_PIN_REFUSED);
    setenv("HSM_FAKE_SCRIPT", script, 1);
    other = other_handle(path, 0);
    /* a token with a number is the same one, by whatever way */
    fx_fails(ks_token_connect(other, NULL, &fx.err), rows[_i].code);
    unsetenv("HSM_FAKE_SCRIPT");
    ks_token_free(other);
}
END_TEST

/* --- without a keyed hash -------------------------------------------------------------------- */

static bool broken_mac(const unsigned char *key, size_t key_len, const void *who, size_t who_len,
                       const void *data, size_t len, unsigned char *out)
{
    (void)key;
    (void)key_len;
    (void)who;
    (void)who_len;
    (void)data;
    (void)len;
    (void)out;
    return false;
}

START_TEST(where_pins_cannot_be_told_apart_no_other_is_sent)
{
    ks_mac_fn *const functions[] = {NULL, broken_mac};

    ks_set_mac(functions[_i]);
    fx_write(fx.pin_path, "4321\n", 0600);
    fx_fails(ks_token_connect(fx_token(), NULL, &fx.err), KS_PIN_REFUSED);
    fx_write(fx.pin_path, "1234\n", 0600);
    fx_fails(ks_token_connect(fx_token(), NULL, &fx.err), KS_PIN_REFUSED);
    ck_assert_uint_eq(fake_pin_attempts(), 1);
    /* another token is another matter */
    fx_restart(NULL);
    ks_set_mac(functions[_i]);
    fx_ok(ks_token_connect(fx_token(), NULL, &fx.err));
}
END_TEST

/* --- memory ---------------------------------------------------------------------------------- */

START_TEST(a_refused_pin_is_nowhere_in_memory)
{
    struct ks_key *key;

    secret_write(fx.pin_path);
    ks_token_preload_pin(fx_token(), NULL);
    ck_assert_uint_eq(secret_copies(), 1); /* the search finds what there is */
    fx_fails(ks_token_connect(fx_token(), NULL, &fx.err), KS_PIN_REFUSED);
    ck_assert_uint_eq(secret_copies(), 0);
    /* nor after it was found to be the same again, by whomever */
    for (int i = 0; i < 3; i++)
        fx_fails(fx_find("k", &key), KS_PIN_REFUSED);
    ks_token_preload_pin(fx_token(), NULL);
    ck_assert_uint_eq(secret_copies(), 0);
    ck_assert_uint_eq(fake_pin_attempts(), 1);
}
END_TEST

static void search_in_child(void *arg)
{
    (void)arg;
    fx_need(secret_copies() == 0, "there is a copy");
    ks_shutdown();
    fx_need(secret_copies() == 0, "there is a copy at the end");
}

START_TEST(nor_in_that_of_a_forked_child)
{
    secret_write(fx.pin_path);
    fx_fails(ks_token_connect(fx_token(), NULL, &fx.err), KS_PIN_REFUSED);
    fx_in_child(search_in_child, NULL);
}
END_TEST

static void end_in_child(void *arg)
{
    (void)arg;
    fx_need(secret_copies() == 1, "a good PIN stays, once");
    ks_shutdown();
    fx_need(secret_copies() == 0, "there is a copy at the end");
}

START_TEST(nor_is_a_good_one_at_the_end)
{
    secret_write(fx.pin_path);
    ks_token_preload_pin(fx_token(), NULL);
    fx_in_child(end_in_child, NULL);
}
END_TEST

/* --- what the system does not let us do ------------------------------------------------------ */

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* theirs locks nothing */

static unsigned lines_with(const char *path, const char *part)
{
    char line[4096];
    FILE *f = fopen(path, "r");
    unsigned n = 0;

    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        n += strstr(line, part) != NULL;
    if (f != NULL)
        fclose(f);
    return n;
}

static void connect_again(void *log)
{
    fx_need(ks_ok(ks_token_connect(fx.token, NULL, &fx.err)), "connecting failed");
    fx_need(lines_with(log, "event=pin-not-locked") == 2, "a child says it, too");
}

static void without_locked_memory(void *log)
{
    const struct rlimit none = {0, 0};
    char target[160];
    struct ks_log_config config = {.target = target, .level = KS_LOG_WARN};

    /* root is let */
    fx_need(geteuid() != 0 || (chmod(fx.dir, 0777) == 0 && setuid(65534) == 0), "setuid");
    fx_need(setrlimit(RLIMIT_MEMLOCK, &none) == 0, "setrlimit");
    setenv("HSM_UNIT_PIN", "1234", 1);
    snprintf(target, sizeof(target), "file:%s", (const char *)log);
    fx_need(ks_ok(ks_log_open(&config, &fx.err)), "no log");
    for (int i = 0; i < 3; i++) {
        fx_need(ks_ok(ks_token_connect(fx.token, NULL, &fx.err)), "connecting failed");
        fake_lose_sessions(false);
    }
    fx_need(lines_with(log, "level=warn event=pin-not-locked reason=") == 1, "said once");
    fx_need(lines_with(log, "limit=0 text=") == 1, "with the limit");
    fx_in_child(connect_again, log);
}

START_TEST(memory_that_cannot_be_locked_is_said_once)
{
    struct ks_token_config config = fx_config();
    char log[128];

    snprintf(log, sizeof(log), "%s/log", fx.dir);
    config.pin = "env:HSM_UNIT_PIN";
    fx_ok(ks_token_new(&config, &fx.token, &fx.err));
    fx_in_child(without_locked_memory, log);
}
END_TEST

#endif

int main(int argc, char *argv[])
{
    const struct fx_test tests[] = {
        {a_pin_that_became_wrong_reaches_the_token_once, 0},
        {also_when_it_becomes_wrong_under_load, 0},
        {the_right_one_of_a_changed_file_is_taken_by_all, 0},
        {the_last_try_is_not_used_for_an_operation, 0},
        {an_unclear_answer_that_was_counted_is_no_invitation, 0},
        {nor_is_one_at_the_login_of_the_token, 0},
        {one_that_was_not_counted_is, 0},
        {without_a_pin_in_memory_there_is_a_clear_answer, 0},
        {a_login_waits_for_the_one_that_is_under_way, 0},
        {a_child_has_its_own_turn, 0},
        {two_handles_send_a_wrong_pin_once_between_them, 2},
        {a_login_that_hangs_keeps_others_from_it, 0},
        {one_that_never_comes_back_does_so_for_a_minute, 2},
        {nor_is_it_sent_through_another_module, 3},
        {where_pins_cannot_be_told_apart_no_other_is_sent, 2},
        {a_refused_pin_is_nowhere_in_memory, 0},
        {nor_in_that_of_a_forked_child, 0},
        {nor_is_a_good_one_at_the_end, 0},
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        {memory_that_cannot_be_locked_is_said_once, 0},
#endif
    };

    (void)argc;
    secret_bind_now(argv);
    return fx_main("ks_login", tests, COUNT_OF(tests));
}
