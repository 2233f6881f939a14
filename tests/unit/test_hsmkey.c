/* SPDX-License-Identifier: Apache-2.0
 *
 * test_hsmkey.c - what hsmkey does where real tokens do not easily bring it: slots and objects that
 * cannot be read, an interrupted generation, another provider that hangs; and wrong options.
 */
#include <time.h>

#include "with_hsmkey.h"

#define MOST_S 30U

static bool says(const char *text)
{
    return strstr(output, text) != NULL;
}

/* Files in the working directory whose name begins so. */
static unsigned files(const char *start)
{
    DIR *folder = opendir(".");
    const struct dirent *entry;
    unsigned n = 0;

    ck_assert_ptr_nonnull(folder);
    while ((entry = readdir(folder)) != NULL)
        n += strncmp(entry->d_name, start, strlen(start)) == 0;
    closedir(folder);
    return n;
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void wait_for_files(const char *start)
{
    const struct timespec pause = {.tv_nsec = 10000000};
    const double end = now() + MOST_S;

    while (files(start) == 0) {
        ck_assert_msg(now() < end, "no file %s...", start);
        nanosleep(&pause, NULL);
    }
}

/* --- what cannot be read --------------------------------------------------------------------- */

START_TEST(a_slot_that_cannot_be_read_hides_no_token)
{
    folder_up(FAKE_PKCS11_PATH,
              "token label=good\ntoken label=bad\ntrouble C_GetTokenInfo CKR_GENERAL_ERROR\n", "");
    /* the tokens are shown, and the status says that one is missing */
    ck_assert_int_eq(hsmkey((const char *const[]){"tokens", NULL}, MOST_S, "tokens"), 1);
    ck_assert_msg(says("good") && says("unreadable") && says("C_GetTokenInfo"), "%s", output);
    ck_assert_int_eq(hsmkey((const char *const[]){"tokens", "--json", NULL}, MOST_S, "json"), 1);
    ck_assert_msg(says("\"label\": \"good\"") && says("\"unreadable\": ["), "%s", output);
    ck_assert_msg(says("CKR_GENERAL_ERROR") && !says("\"label\": \"bad\""), "%s", output);
    folder_down();
}
END_TEST

START_TEST(an_object_that_cannot_be_read_hides_no_other)
{
    folder_up(FAKE_PKCS11_PATH,
              "token label=T\nkey rsa label=one\nkey p256 label=two\n"
              "inject C_GetAttributeValue CKR_ARGUMENTS_BAD\n",
              "");
    ck_assert_int_eq(hsmkey((const char *const[]){"list", NULL}, MOST_S, "list"), 0);
    ck_assert_msg(says(" object could not be read, and is not listed: "), "%s", output);
    ck_assert_msg(says("CKR_ARGUMENTS_BAD"), "%s", output);
    ck_assert_msg(says("private  ec:P-256  two") && says("public   rsa:2048  one"), "%s", output);
    ck_assert_msg(!says("private  rsa"), "%s", output);
    ck_assert_int_eq(hsmkey((const char *const[]){"list", "--json", NULL}, MOST_S, "json"), 0);
    ck_assert_msg(says("\"unreadable\": [") && says("\"objects\": ["), "%s", output);
    ck_assert_msg(says("\"error\": ") && says("\"label\": \"two\""), "%s", output);
    folder_down();
}
END_TEST

/* --- an interrupted generation --------------------------------------------------------------- */

START_TEST(an_interrupted_generation_leaves_no_file)
{
    static const int signals[] = {SIGHUP, SIGINT, SIGTERM};
    const char *const args[] = {"generate", "--type", "ec:P-256", "--label",
                                "new",      "-o",     "new.pem",  NULL};
    pid_t pid;
    int status;

    folder_up(FAKE_PKCS11_PATH, "token label=T\nlatency C_GenerateKeyPair 60000\n", "");
    pid = hsmkey_start(args, MOST_S);
    wait_for_files(".hsmkey-");
    ck_assert_int_eq(kill(pid, signals[_i]), 0);
    status = hsmkey_end(pid, "generate");
    ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == signals[_i], "status %d: %s", status,
                  output);
    ck_assert_uint_eq(files(".hsmkey-"), 0);
    ck_assert_uint_eq(files("new.pem"), 0);
    folder_down();
}
END_TEST

/* --- check ----------------------------------------------------------------------------------- */

START_TEST(check_does_not_wait_for_ever)
{
    double start;

    folder_up(FAKE_PKCS11_PATH, "token label=T\nkey p256 label=ec\n",
              "[o]\nactivate = 1\nmodule = " HANG_PATH "\n[p]\nother = o\n");
    start = now();
    ck_assert_int_eq(hsmkey((const char *const[]){"check", NULL}, 100, "check"), 1);
    ck_assert_msg(says("a program that loads this configuration is not ready within 60 s"), "%s",
                  output);
    ck_assert(now() - start >= 60);
    folder_down();
}
END_TEST

/* --- options --------------------------------------------------------------------------------- */

static const struct {
    const char *args[3], *says;
} wrong[] = {
    {{"list", "--no-such", NULL}, "unknown option '--no-such'"},
    {{"list", "-x", NULL}, "unknown option 'x'"},
    {{"--no-such", "list", NULL}, "unknown option '--no-such'"},
    {{"list", "--token", NULL}, "option '--token' needs a value"},
    {{"list", "--\033[31m", NULL}, "unknown option '--\\x1b[31m'"},
};

START_TEST(wrong_options_are_named)
{
    folder_up(FAKE_PKCS11_PATH, "token label=T\n", "");
    ck_assert_int_eq(hsmkey(wrong[_i].args, MOST_S, wrong[_i].says), 2);
    ck_assert_msg(says(wrong[_i].says) && says("--help"), "%s", output);
    folder_down();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hsmkey");
    TCase *tc = tcase_create("hsmkey");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tc, 200);
    tcase_add_test(tc, a_slot_that_cannot_be_read_hides_no_token);
    tcase_add_test(tc, an_object_that_cannot_be_read_hides_no_other);
    tcase_add_loop_test(tc, an_interrupted_generation_leaves_no_file, 0, 3);
    tcase_add_test(tc, check_does_not_wait_for_ever);
    tcase_add_loop_test(tc, wrong_options_are_named, 0, (int)COUNT_OF(wrong));
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
