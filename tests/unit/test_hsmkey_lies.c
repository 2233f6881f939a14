/* SPDX-License-Identifier: Apache-2.0
 *
 * hsmkey over a module that lies: each lie of evil.def x each verb that asks a token. It ends in
 * time, is not killed, no sanitizer reports anything, and who hears a lie says which function told
 * it, or does its work all the same. HSM_LIE=NAME runs one lie alone.
 */
#include "evil.h"
#include "with_hsmkey.h"

#define MOST_S 20U

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

/* Returns the exit status; what it printed is in `output`. */
static int run(const struct verb *verb, enum evil_lie lie, const char *where)
{
    unlink("told");
    setenv("HSM_EVIL_LIE", evil_lies[lie].name, 1);
    setenv("HSM_EVIL_TOLD", "told", 1);
    return hsmkey(verb->args, MOST_S, where);
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

    folder_up(EVIL_PKCS11_PATH,
              "token label=T\nkey rsa label=rsa\nkey p256 label=ec\nkey ed25519 label=ed\n", "");
    for (size_t i = 0; i < COUNT_OF(references); i++)
        ck_assert_msg(run(&references[i], EVIL_TRUTH, "set-up") == 0, "%s", output);
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

    tcase_add_unchecked_fixture(tc, set_up, folder_down);
    tcase_set_timeout(tc, 20 * MOST_S);
    tcase_add_loop_test(tc, a_lie_is_named_or_harmless, 0, EVIL_LIES);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
