/* SPDX-License-Identifier: Apache-2.0
 *
 * hsmkey over a module that lies: each lie of evil.def x each verb that asks a token. It ends in
 * time, is not killed, no sanitizer reports anything, and who hears a lie says which function told
 * it, or does its work all the same. HSM_LIE=NAME runs one lie alone.
 */
#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "evil.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define MOST_S          20U

static const struct verb {
    const char *name;
    const char *args[10];
} verbs[] = {
    {"tokens", {"tokens"}},
    {"list", {"list", "--json"}},
    {"policy", {"policy"}},
    {"check RSA", {"check", "rsa.pem"}},
    {"check EC", {"check", "ec.pem"}},
    {"reference", {"reference", "pkcs11:object=ec", "-o", "new.pem", "--force"}},
    {"generate RSA", {"generate", "--type", "rsa:2048", "--label", "new"}},
    {"generate EC", {"generate", "--type", "ec:P-256", "--label", "new"}},
};

static char dir[] = "/tmp/hsm-lies-XXXXXX", output[1 << 16];

static void write_file(const char *name, const char *text)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static void child(const struct verb *verb, enum evil_lie lie)
{
    const char *argv[12] = {HSMKEY_PATH};
    int out = open("output", O_WRONLY | O_CREAT | O_TRUNC, 0600);

    for (size_t i = 0; verb->args[i] != NULL; i++)
        argv[i + 1] = verb->args[i];
    dup2(out, 1);
    dup2(out, 2);
    setenv("HSM_EVIL_LIE", evil_lies[lie].name, 1);
    setenv("HSM_EVIL_TOLD", "told", 1);
    setenv("HSM_FAKE_SCRIPT", "script", 1);
    setenv("OPENSSL_CONF", "openssl.cnf", 1);
    signal(SIGALRM, SIG_DFL);
    alarm(MOST_S);
    execv(argv[0], (char **)argv);
    _exit(127);
}

/* Returns the exit status; what it printed is in `output`. */
static int run(const struct verb *verb, enum evil_lie lie, const char *where)
{
    int status = 0, fd;
    ssize_t n;
    pid_t pid;

    unlink("told");
    fflush(NULL);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        child(verb, lie);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    fd = open("output", O_RDONLY);
    n = read(fd, output, sizeof(output) - 1);
    close(fd);
    ck_assert_int_ge(n, 0);
    output[n] = '\0';
    ck_assert_msg(WIFEXITED(status), "%s: ended by signal %d: %s", where, WTERMSIG(status), output);
    ck_assert_msg(strstr(output, "Sanitizer") == NULL && strstr(output, "runtime error") == NULL,
                  "%s: %s", where, output);
    ck_assert_msg(strlen(output) == (size_t)n, "%s: a NUL in the output", where);
    return WEXITSTATUS(status);
}

static void judge(const char *where, enum evil_lie lie, int status)
{
    bool heard = access("told", F_OK) == 0;
    bool named = strstr(output, evil_lies[lie].function) != NULL;

    ck_assert_msg(status <= 1, "%s: exit status %d: %s", where, status, output);
    if (!heard || evil_lies[lie].outcome == EVIL_IS_HARMLESS) {
        ck_assert_msg(status == 0, "%s: exit status %d: %s", where, status, output);
    } else if (evil_lies[lie].outcome == EVIL_IS_REFUSED) {
        ck_assert_msg(status != 0, "%s: went well: %s", where, output);
        ck_assert_msg(named, "%s: does not name %s: %s", where, evil_lies[lie].function, output);
    } else if (evil_lies[lie].outcome == EVIL_IS_FAILS) {
        ck_assert_msg(status != 0, "%s: went well: %s", where, output);
    } else if (evil_lies[lie].outcome == EVIL_IS_ASKED) {
        ck_assert_msg(status == 0 || named, "%s: does not name %s: %s", where,
                      evil_lies[lie].function, output);
    }
}

static void set_up(void)
{
    static const struct verb references[] = {
        {"", {"reference", "pkcs11:object=rsa", "-o", "rsa.pem"}},
        {"", {"reference", "pkcs11:object=ec", "-o", "ec.pem"}},
    };

    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert_int_eq(chdir(dir), 0);
    write_file("pin", "1234");
    write_file("script", "token label=T\nkey rsa label=rsa\nkey p256 label=ec\n"
                         "key ed25519 label=ed\n");
    {
        char conf[2048];

        snprintf(conf, sizeof(conf),
                 "openssl_conf = init\n[init]\nproviders = p\n[p]\ndefault = d\nhsm = h\n"
                 "[d]\nactivate = 1\n[h]\nmodule = %s\nactivate = 1\n"
                 "pkcs11-module = %s\npin = file:%s/pin\n",
                 PROVIDER_PATH, EVIL_PKCS11_PATH, dir);
        write_file("openssl.cnf", conf);
    }
    for (size_t i = 0; i < COUNT_OF(references); i++)
        ck_assert_msg(run(&references[i], EVIL_TRUTH, "set-up") == 0, "%s", output);
}

static void tear_down(void)
{
    static const char *const names[] = {"pin",  "script", "openssl.cnf", "output",
                                        "told", "ec.pem", "rsa.pem",     "new.pem"};

    for (size_t i = 0; i < COUNT_OF(names); i++)
        unlink(names[i]);
    ck_assert_int_eq(chdir("/"), 0);
    rmdir(dir);
}

START_TEST(a_lie_is_named_or_harmless)
{
    enum evil_lie lie = (enum evil_lie)_i;
    const char *only = getenv("HSM_LIE");
    char where[128];

    if (only != NULL && strcmp(only, evil_lies[lie].name) != 0)
        return;
    for (size_t i = 0; i < COUNT_OF(verbs); i++) {
        snprintf(where, sizeof(where), "%s, hsmkey %s", evil_lies[lie].name, verbs[i].name);
        judge(where, lie, run(&verbs[i], lie, where));
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hsmkey");
    TCase *tc = tcase_create("lies");
    SRunner *runner;
    int failed;

    tcase_add_unchecked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 20 * MOST_S);
    tcase_add_loop_test(tc, a_lie_is_named_or_harmless, 0, EVIL_LIES);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
