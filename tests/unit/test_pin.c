/* SPDX-License-Identifier: Apache-2.0
 *
 * provider.c: what is remembered of PINs, made with the real HMAC; and what is left of a PIN in the
 * memory of a program. keystore's part is in test_ks_login.c.
 */
#include <sys/wait.h>

#include "memory.h"
#include "with_provider.h"

static char dir[64], pin_path[96], pin[112];

static void up(void)
{
    snprintf(dir, sizeof(dir), "/tmp/hsm-unit-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(pin_path, sizeof(pin_path), "%s/pin", dir);
    snprintf(pin, sizeof(pin), "file:%s", pin_path);
    token_up();
    fake_add_pair(slot, FAKE_RSA, "k");
    pin_source = pin;
    provider_up("all");
}

static void down(void)
{
    provider_down();
    unlink(pin_path);
    rmdir(dir);
}

/* Whether the key can be loaded, for which somebody has to log in. */
static bool loads(void)
{
    OSSL_STORE_CTX *store = OSSL_STORE_open_ex("pkcs11:object=k;type=private", libctx, NULL, NULL,
                                               NULL, NULL, NULL, NULL);
    OSSL_STORE_INFO *info = store != NULL ? OSSL_STORE_load(store) : NULL;
    bool ok = info != NULL;

    OSSL_STORE_INFO_free(info);
    OSSL_STORE_close(store);
    ERR_clear_error();
    return ok;
}

static void write_pin(const char *text)
{
    FILE *f = fopen(pin_path, "w");

    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
    ck_assert_int_eq(chmod(pin_path, 0600), 0);
}

START_TEST(a_refused_pin_is_told_from_others)
{
    static const char *const wrong[] = {"4321", "43210", "4321"};

    up();
    for (size_t i = 0; i < 3; i++) {
        write_pin(wrong[i]);
        ck_assert(!loads());
        ck_assert(!loads());
    }
    ck_assert_uint_eq(fake_pin_attempts(), 2);
    write_pin("1234");
    ck_assert(loads());
    ck_assert_uint_eq(fake_pin_attempts(), 3);
    down();
}
END_TEST

/* Row 0: the token refuses it, row 1: it takes it, and then it has a copy itself. */
static int search(bool right)
{
    char secret[SECRET_LEN + 1];
    unsigned kept;

    up();
    secret_write(pin_path);
    if (right) {
        secret_make(secret);
        fake_set_pin(slot, secret);
        explicit_bzero(secret, sizeof(secret));
    }
    if (loads() != right)
        return 2;
    kept = secret_copies();
    down();
    OPENSSL_cleanup();
    if (kept != (right ? 2U : 0U))
        return 3;
    return secret_copies() == (right ? 1U : 0U) ? 0 : 4;
}

START_TEST(nothing_of_a_pin_is_left)
{
    pid_t pid = fork();
    int status = 0;

    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        alarm(60);
        _exit(search(_i == 1));
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "ended with 0x%x",
                  (unsigned)status);
}
END_TEST

int main(int argc, char *argv[])
{
    Suite *suite = suite_create("pin");
    TCase *tc = tcase_create("pin");
    SRunner *runner;
    int failed;

    (void)argc;
    secret_bind_now(argv);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, a_refused_pin_is_told_from_others);
    tcase_add_loop_test(tc, nothing_of_a_pin_is_left, 0, 2);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
