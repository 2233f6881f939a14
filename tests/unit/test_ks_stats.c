/* SPDX-License-Identifier: Apache-2.0
 *
 * observe/stats.c, report/stats_file.c: what is counted as what, and the text and file that tell
 * it.
 */
#include "ks_fixture.h"

#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

/* The number at the end of the line that begins with `series`; fails if there is none. */
static double value_in(const char *text, const char *series)
{
    const char *at = text;
    size_t len = strlen(series);

    while ((at = strstr(at, series)) != NULL) {
        if ((at == text || at[-1] == '\n') && at[len] == ' ')
            return strtod(at + len, NULL);
        at++;
    }
    ck_abort_msg("no line for %s in:\n%.3000s", series, text);
    return -1;
}

static double value(const char *series)
{
    char *text = NULL;
    double v;

    fx_ok(ks_stats_text(&text, &fx.err));
    v = value_in(text, series);
    free(text);
    return v;
}

static bool has(const char *part)
{
    char *text = NULL;
    bool found;

    fx_ok(ks_stats_text(&text, &fx.err));
    found = strstr(text, part) != NULL;
    free(text);
    return found;
}

#define OPS(class, result)                                                                         \
    "hsm_operations_total{token=\"test\",class=\"" class "\",result=\"" result "\"}"

static struct ks_token *named_token(unsigned sessions, unsigned timeout_ms)
{
    struct ks_token_config config = fx_config();

    config.name = "test";
    config.sessions = sessions;
    config.timeout_ms = timeout_ms;
    fx_ok(ks_token_new(&config, &fx.token, &fx.err));
    return fx.token;
}

/* --- what is counted ------------------------------------------------------------------------- */

START_TEST(every_class_is_counted_as_itself)
{
    uint8_t in[256] = {1}, out[FX_ROOM];
    size_t len = sizeof(out);
    struct ks_key *key;

    named_token(0, 0);
    key = fx_new_key(FAKE_RSA, "k");
    for (int i = 0; i < 3; i++)
        fx_sign_well(key, "k");
    fx_ok(ks_decrypt(key, NULL, &fx_raw, in, sizeof(in), out, &len, &fx.err));
    fx_ok(ks_random(fx.token, NULL, out, 16, &fx.err));
    ck_assert(value(OPS("sign", "done")) == 3);
    ck_assert(value(OPS("sign", "failed")) == 0);
    ck_assert(value(OPS("decrypt", "done")) == 1);
    ck_assert(value(OPS("random", "done")) == 1);
    ck_assert(value(OPS("find", "done")) == 1);
    ck_assert(value("hsm_queue_seconds_count{token=\"test\",class=\"sign\"}") == 3);
    ck_assert(value("hsm_call_seconds_count{token=\"test\",class=\"sign\"}") == 3);
    ck_assert(value("hsm_call_seconds_bucket{token=\"test\",class=\"sign\",le=\"+Inf\"}") == 3);
    ck_assert(value("hsm_key_operations_total{token=\"test\",key=\"pkcs11:id=%6B;object=k;"
                    "type=private\",result=\"done\"}") == 4);
    ck_assert(value("hsm_key_call_seconds_count{token=\"test\",key=\"pkcs11:id=%6B;object=k;"
                    "type=private\"}") == 4);
    ck_assert(value("hsm_key_call_seconds_bucket{token=\"test\",key=\"pkcs11:id=%6B;object=k;"
                    "type=private\",le=\"+Inf\"}") == 4);
    ck_assert(!has("class=\"derive\""));
    ks_key_free(key);
}
END_TEST

START_TEST(failures_by_code_and_retries)
{
    struct ks_key *key;

    named_token(0, 0);
    key = fx_new_key(FAKE_RSA, "k");
    fake_fail("C_SignInit", CKR_MECHANISM_INVALID);
    fx_fails(fx_sign(key), KS_MECHANISM);
    fake_fail("C_SignInit", 0x80001234UL);
    fx_sign_well(key, "k"); /* ambiguous: tried again */
    fake_inject("C_SignInit", 1, FAKE_FOREVER, 0x80001234UL, false);
    fx_fails(fx_sign(key), KS_TOKEN);
    fake_heal(NULL);
    ck_assert(value(OPS("sign", "done")) == 1);
    ck_assert(value(OPS("sign", "failed")) == 2);
    ck_assert(value("hsm_retries_total{token=\"test\",class=\"sign\"}") == 2);
    ck_assert(value("hsm_failures_total{token=\"test\",class=\"sign\",code=\"CKR_MECHANISM_INVALID"
                    "\"}") == 1);
    ck_assert(value("hsm_failures_total{token=\"test\",class=\"sign\",code=\"0x80001234\"}") == 1);
    ck_assert(value("hsm_key_operations_total{token=\"test\",key=\"pkcs11:id=%6B;object=k;"
                    "type=private\",result=\"failed\"}") == 2);
    ks_key_free(key);
}
END_TEST

/* Of a key that is looked for; that a URI is about another token is no failure of this one. */
START_TEST(connections_that_fail_are_counted)
{
    const unsigned limits[] = {0, 5000};
    struct ks_uri *other = fx_uri("pkcs11:token=another;object=k", KS_URI_CALLER);
    struct ks_key *key = NULL;

    named_token(0, limits[_i]);
    fake_add_pair(fx.slot, FAKE_P256, "k");
    fake_fail("C_Login", CKR_PIN_INCORRECT);
    fx_fails(fx_find("k", &key), KS_PIN_REFUSED);
    ck_assert(value(OPS("find", "failed")) == 1);
    ck_assert(value("hsm_failures_total{token=\"test\",class=\"find\",code=\"CKR_PIN_INCORRECT"
                    "\"}") == 1);
    fx_write(fx.pin_path, "5678", 0600);
    fake_set_pin(fx.slot, "5678");
    fx_ok(fx_find("k", &key));
    ks_key_free(key);
    fx_fails(ks_key_find(fx.token, NULL, other, &key, &fx.err), KS_TOKEN_NOT_FOUND);
    ck_assert(value(OPS("find", "done")) == 1);
    ck_assert(value(OPS("find", "failed")) == 1);
    ck_assert(!has("class=\"other\",result=\"failed\"} 1")); /* once, with a time limit, too */
    ks_uri_free(other);
}
END_TEST

/* Whoever reads counters must not learn which ciphertexts a token takes. */
START_TEST(bad_ciphertexts_do_not_show)
{
    uint8_t in[256] = {1}, out[FX_ROOM];
    size_t len = sizeof(out);
    struct ks_key *key;

    named_token(0, 0);
    key = fx_new_key(FAKE_RSA, "k");
    fake_fail("C_Decrypt", CKR_ENCRYPTED_DATA_INVALID);
    fx_fails(ks_decrypt(key, NULL, &fx_raw, in, sizeof(in), out, &len, &fx.err), KS_DATA);
    len = sizeof(out);
    fx_ok(ks_decrypt(key, NULL, &fx_raw, in, sizeof(in), out, &len, &fx.err));
    ck_assert(value(OPS("decrypt", "done")) == 2);
    ck_assert(value(OPS("decrypt", "failed")) == 0);
    ck_assert(!has("ENCRYPTED_DATA"));
    ks_key_free(key);
}
END_TEST

START_TEST(refused_is_not_failed)
{
    struct ks_key *key;

    named_token(0, 0);
    fake_add_key(fx.slot, &(struct fake_key){
                              .kind = FAKE_RSA, .label = "k", .id = "k", .flags = FAKE_NO_SIGN});
    key = fx_key("k");
    fake_clear_counts();
    fx_fails(fx_sign(key), KS_KEY_USE);
    ck_assert_uint_eq(fake_calls(NULL), 0);
    ck_assert(value(OPS("sign", "refused")) == 1);
    ck_assert(value(OPS("sign", "failed")) == 0);
    ks_key_free(key);
}
END_TEST

static void *sign_thread(void *key)
{
    ck_assert(ks_ok(fx_sign(key)));
    return NULL;
}

/* One session, two threads, 100 ms in the module: one of them waits, and only its waiting is queue
 * time. */
START_TEST(queue_time_is_not_hsm_time)
{
    pthread_t threads[2];
    struct ks_key *key;
    double queue, call;

    named_token(1, _i == 0 ? 0 : 20000);
    key = fx_new_key(FAKE_RSA, "k");
    fake_set_cheap(true);
    fake_set_latency("C_Sign", 100000);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, sign_thread, key), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    fake_set_latency(NULL, 0);
    queue = value("hsm_queue_seconds_sum{token=\"test\",class=\"sign\"}");
    call = value("hsm_call_seconds_sum{token=\"test\",class=\"sign\"}");
    ck_assert_msg(call >= 0.2 && call < 5, "HSM time is %f", call);
    /* the second thread may have been started late, but hardly by all of 100 ms */
    ck_assert_msg(queue >= 0.01 && queue < call + 5, "queue time is %f", queue);
    ck_assert(value("hsm_call_seconds_bucket{token=\"test\",class=\"sign\",le=\"0.065536\"}") == 0);
    ck_assert(value("hsm_call_seconds_count{token=\"test\",class=\"sign\"}") == 2);
    ks_key_free(key);
}
END_TEST

START_TEST(state_sessions_and_recoveries)
{
    struct ks_key *key;

    named_token(5, 0);
    ck_assert(value("hsm_token_up{token=\"test\"}") == 0);
    key = fx_new_key(FAKE_RSA, "k");
    ck_assert(value("hsm_token_up{token=\"test\"}") == 1);
    ck_assert(value("hsm_sessions{token=\"test\",state=\"open\"}") == 1);
    ck_assert(value("hsm_sessions{token=\"test\",state=\"busy\"}") == 0);
    ck_assert(value("hsm_sessions{token=\"test\",state=\"limit\"}") == 5);
    ck_assert(value("hsm_sessions{token=\"test\",state=\"waiting\"}") == 0);
    ck_assert(value("hsm_recoveries_total{token=\"test\"}") == 0);
    fake_lose_sessions(false);
    fx_sign_well(key, "k");
    ck_assert(value("hsm_recoveries_total{token=\"test\"}") == 1);
    ck_assert(value("hsm_token_up{token=\"test\"}") == 1);
    ck_assert(value(OPS("sign", "done")) == 1);
    ck_assert(value(OPS("sign", "failed")) == 0);
    ks_key_free(key);
}
END_TEST

/* A call that never returns shows as a failure by time, with its time. */
START_TEST(a_hung_token_shows)
{
    struct ks_key *key;

    named_token(0, 1000);
    key = fx_new_key(FAKE_RSA, "k");
    fake_hang("C_Sign", 1);
    fx_fails(fx_sign(key), KS_TIMEOUT);
    ck_assert(value("hsm_token_up{token=\"test\"}") == 0);
    ck_assert(value("hsm_failures_total{token=\"test\",class=\"sign\",code=\"TIMEOUT\"}") == 1);
    ck_assert(value("hsm_call_seconds_sum{token=\"test\",class=\"sign\"}") >= 0.9);
    fake_release();
    for (int i = 0; i < 1000 && value("hsm_token_up{token=\"test\"}") == 0; i++)
        usleep(10000);
    ck_assert(value("hsm_token_up{token=\"test\"}") == 1);
    ks_key_free(key);
}
END_TEST

/* --- text ------------------------------------------------------------------------------------ */

START_TEST(labels_are_escaped)
{
    struct ks_token_config config;

    fx_restart(&(struct fake_token){.label = "a\"b\\c\nd"});
    config = fx_config();
    config.token = NULL;
    config.name = "odd \"name\"\n";
    fx_ok(ks_token_new(&config, &fx.token, &fx.err));
    fx_ok(ks_token_connect(fx.token, NULL, &fx.err));
    ck_assert(has("hsm_token_info{token=\"odd \\\"name\\\"\\\\x0a\",label=\"a\\\"b\\\\x5cc\\\\x0ad"
                  "\"} 1\n"));
}
END_TEST

/* Every line is a comment or a sample, and buckets never go down. */
START_TEST(the_text_is_well_formed)
{
    char *text = NULL, *save = NULL, *line;
    double last = 0;
    struct ks_key *key;
    unsigned samples = 0;

    named_token(0, 0);
    key = fx_new_key(FAKE_RSA, "k");
    fx_sign_well(key, "k");
    fx_ok(ks_stats_text(&text, &fx.err));
    for (line = strtok_r(text, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
        char *number, *rest;
        double v;

        if (line[0] == '#')
            continue;
        number = strrchr(line, ' ');
        ck_assert_msg(strncmp(line, "hsm_", 4) == 0 && number != NULL && number[-1] == '}', "%s",
                      line);
        v = strtod(number + 1, &rest);
        ck_assert_msg(*rest == '\0' && rest != number + 1, "%s", line);
        if (strstr(line, "_bucket{") != NULL && strstr(line, "le=\"0.000008\"") == NULL)
            ck_assert_msg(v >= last, "%s", line);
        last = v;
        samples++;
    }
    ck_assert_uint_gt(samples, 60);
    free(text);
    ks_key_free(key);
}
END_TEST

/* --- many threads, forks --------------------------------------------------------------------- */

static void *sign_often(void *key)
{
    for (int i = 0; i < 50; i++)
        ck_assert(ks_ok(fx_sign(key)));
    return NULL;
}

START_TEST(nothing_is_lost_between_threads)
{
    pthread_t threads[16];
    struct ks_key *key;

    named_token(0, 0);
    key = fx_new_key(FAKE_RSA, "k");
    fake_set_cheap(true);
    for (int i = 0; i < 16; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, sign_often, key), 0);
    for (int i = 0; i < 16; i++)
        pthread_join(threads[i], NULL);
    ck_assert(value(OPS("sign", "done")) == 800);
    ck_assert(value("hsm_queue_seconds_count{token=\"test\",class=\"sign\"}") == 800);
    ks_key_free(key);
}
END_TEST

START_TEST(a_child_starts_at_zero)
{
    struct ks_key *key;
    int status;
    pid_t pid;

    named_token(0, 0);
    key = fx_new_key(FAKE_RSA, "k");
    fx_sign_well(key, "k");
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        bool ok = !has("class=\"sign\"") && ks_ok(fx_sign(key)) && value(OPS("sign", "done")) == 1;

        ks_key_free(key);
        _exit(ok ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    ck_assert(value(OPS("sign", "done")) == 1);
    ks_key_free(key);
}
END_TEST

/* --- the file -------------------------------------------------------------------------------- */

static bool read_file(const char *path, char *out, size_t size)
{
    FILE *f = fopen(path, "r");
    size_t n;

    if (f == NULL)
        return false;
    n = fread(out, 1, size - 1, f);
    out[n] = '\0';
    fclose(f);
    return n > 0;
}

static char text[65536];

START_TEST(the_file_is_written_while_operations_run_and_at_the_end)
{
    char path[128], real[160], series[200];
    struct ks_key *key;
    struct stat info;

    snprintf(path, sizeof(path), "%s/stats.%%p", fx.dir);
    snprintf(real, sizeof(real), "%s/stats.%ld", fx.dir, (long)getpid());
    snprintf(series, sizeof(series),
             "hsm_operations_total{pid=\"%ld\",token=\"test\",class=\"sign\",result=\"done\"}",
             (long)getpid());
    fx_ok(ks_stats_file_add(path, &fx.err));
    named_token(0, 0);
    key = fx_new_key(FAKE_RSA, "k");
    fx_sign_well(key, "k");
    for (int i = 0; i < 1000 && (!read_file(real, text, sizeof(text)) ||
                                 strstr(text, "class=\"sign\"") == NULL);
         i++)
        usleep(10000);
    ck_assert(value_in(text, series) == 1);
    ck_assert_int_eq(stat(real, &info), 0);
    ck_assert_uint_eq(info.st_mode & 07777, 0644);
    ck_assert_ptr_nonnull(strstr(text, "hsm_token_up"));
    fx_sign_well(key, "k");
    ks_stats_file_drop(path); /* writes at once */
    ck_assert(read_file(real, text, sizeof(text)));
    ck_assert(value_in(text, series) == 2);
    /* of a process that has ended there is no state */
    ck_assert_ptr_null(strstr(text, "hsm_token_up"));
    ck_assert_ptr_null(strstr(text, "hsm_sessions"));
    unlink(real);
    ks_key_free(key);
}
END_TEST

START_TEST(a_child_writes_a_file_of_its_own)
{
    char path[128], real[160];
    struct ks_key *key;
    int status;
    pid_t pid;

    snprintf(path, sizeof(path), "%s/stats.%%p", fx.dir);
    fx_ok(ks_stats_file_add(path, &fx.err));
    named_token(0, 0);
    key = fx_new_key(FAKE_RSA, "k");
    fx_sign_well(key, "k");
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        bool ok = ks_ok(fx_sign(key));

        ok = ok && ks_ok(fx_sign(key));

        ks_stats_file_drop(path);
        ks_key_free(key);
        _exit(ok ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    snprintf(real, sizeof(real), "%s/stats.%ld", fx.dir, (long)pid);
    ck_assert(read_file(real, text, sizeof(text)));
    ck_assert_ptr_nonnull(strstr(text, "class=\"sign\",result=\"done\"} 2\n"));
    unlink(real);
    ks_stats_file_drop(path);
    snprintf(real, sizeof(real), "%s/stats.%ld", fx.dir, (long)getpid());
    ck_assert(read_file(real, text, sizeof(text)));
    ck_assert_ptr_nonnull(strstr(text, "class=\"sign\",result=\"done\"} 1\n"));
    unlink(real);
    ks_key_free(key);
}
END_TEST

START_TEST(a_file_that_cannot_be_written_costs_no_operation)
{
    static const char path[] = "/nonexistent/folder/stats";
    struct ks_key *key;

    fx_fails(ks_stats_file_add("stats", &fx.err), KS_CONFIG);
    fx_ok(ks_stats_file_add(path, &fx.err));
    named_token(0, 0);
    key = fx_new_key(FAKE_RSA, "k");
    fx_sign_well(key, "k");
    ks_stats_file_drop(path);
    ks_key_free(key);
}
END_TEST

int main(void)
{
    const struct fx_test tests[] = {
        {every_class_is_counted_as_itself, 0},
        {failures_by_code_and_retries, 0},
        {connections_that_fail_are_counted, 2},
        {bad_ciphertexts_do_not_show, 0},
        {refused_is_not_failed, 0},
        {queue_time_is_not_hsm_time, 2},
        {state_sessions_and_recoveries, 0},
        {a_hung_token_shows, 0},
        {labels_are_escaped, 0},
        {the_text_is_well_formed, 0},
        {nothing_is_lost_between_threads, 0},
        {a_child_starts_at_zero, 0},
        {the_file_is_written_while_operations_run_and_at_the_end, 0},
        {a_child_writes_a_file_of_its_own, 0},
        {a_file_that_cannot_be_written_costs_no_operation, 0},
    };

    return fx_main("ks_stats", tests, COUNT_OF(tests));
}
