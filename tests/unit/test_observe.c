/* SPDX-License-Identifier: Apache-2.0
 *
 * core/stats.c: statistics as the provider's parameter, operations that the policy refuses, and the
 * configuration of file and log.
 */
#include <pthread.h>
#include <unistd.h>

#include "with_provider.h"

static char *stats_text(void)
{
    char *text = NULL;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_ptr("hsm-stats", &text, 0),
        OSSL_PARAM_construct_end(),
    };

    ck_assert_int_eq(OSSL_PROVIDER_get_params(loaded[1], params), 1);
    ck_assert_ptr_nonnull(text);
    return text;
}

static int sign_once(EVP_PKEY *key)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    unsigned char sig[512];
    size_t len = sizeof(sig);
    int ok;

    ok = EVP_DigestSignInit_ex(ctx, NULL, "SHA256", libctx, NULL, key, NULL) == 1 &&
         EVP_DigestSign(ctx, sig, &len, (const unsigned char *)"x", 1) == 1;
    EVP_MD_CTX_free(ctx);
    return ok;
}

START_TEST(the_parameter_has_the_text)
{
    static char copy[65536];
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string("hsm-stats", copy, sizeof(copy)),
        OSSL_PARAM_construct_end(),
    };
    EVP_PKEY *key;

    token_up();
    fake_add_pair(slot, FAKE_RSA, "k");
    provider_up(NULL);
    ck_assert_ptr_null(strstr(stats_text(), "class=\"sign\""));
    key = load_key("k");
    ck_assert_int_eq(sign_once(key), 1);
    ck_assert_ptr_nonnull(strstr(
        stats_text(), "hsm_operations_total{token=\"hsm\",class=\"sign\",result=\"done\"} 1\n"));
    ck_assert_int_eq(OSSL_PROVIDER_get_params(loaded[1], params), 1);
    ck_assert_ptr_nonnull(strstr(copy, "class=\"sign\",result=\"done\"} 1\n"));
    ck_assert_ptr_nonnull(
        OSSL_PARAM_locate_const(OSSL_PROVIDER_gettable_params(loaded[1]), "hsm-stats"));
    EVP_PKEY_free(key);
    provider_down();
}
END_TEST

START_TEST(what_the_policy_refuses_is_counted)
{
    EVP_PKEY *key;

    token_up();
    fake_add_pair(slot, FAKE_RSA, "k");
    provider_up("rsa-oaep");
    key = load_key("k");
    fake_clear_counts();
    ck_assert_int_eq(sign_once(key), 0);
    ck_assert_uint_eq(fake_calls(NULL), 0);
    ck_assert_ptr_nonnull(
        strstr(stats_text(), "{token=\"hsm\",class=\"sign\",result=\"refused\"} "));
    ck_assert_ptr_null(
        strstr(stats_text(), "{token=\"hsm\",class=\"sign\",result=\"refused\"} 0\n"));
    ck_assert_ptr_nonnull(
        strstr(stats_text(), "{token=\"hsm\",class=\"sign\",result=\"done\"} 0\n"));
    ERR_clear_error();
    EVP_PKEY_free(key);
    provider_down();
}
END_TEST

/* From the configuration to a file, and the last words at unload. */
START_TEST(file_and_log_are_where_the_configuration_says)
{
    char folder[] = "/tmp/test_observe.XXXXXX", stats[64], log[64], target[80], text[8192];
    EVP_PKEY *key;
    size_t len;
    FILE *f;

    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(stats, sizeof(stats), "%s/stats", folder);
    snprintf(log, sizeof(log), "%s/log", folder);
    snprintf(target, sizeof(target), "file:%s", log);
    prov_config_override("stats-file", stats);
    prov_config_override("log", target);
    prov_config_override("audit", "yes");
    token_up();
    fake_add_pair(slot, FAKE_RSA, "k");
    provider_up(NULL);
    key = load_key("k");
    ck_assert_int_eq(sign_once(key), 1);
    EVP_PKEY_free(key);
    provider_down();
    f = fopen(stats, "r");
    ck_assert_ptr_nonnull(f);
    len = fread(text, 1, sizeof(text) - 1, f);
    text[len] = '\0';
    fclose(f);
    ck_assert_ptr_nonnull(strstr(text, "class=\"sign\",result=\"done\"} 1\n"));
    f = fopen(log, "r");
    ck_assert_ptr_nonnull(f);
    len = fread(text, 1, sizeof(text) - 1, f);
    text[len] = '\0';
    fclose(f);
    ck_assert_ptr_nonnull(strstr(text, "level=info event=login token=hsm\n"));
    ck_assert_ptr_nonnull(strstr(text, "level=audit event=operation token=hsm class=sign key="));
    unlink(stats);
    unlink(log);
    ck_assert_int_eq(rmdir(folder), 0); /* no temporary file is left */
}
END_TEST

static void *ask_too(void *arg)
{
    for (int i = 0; i < 3; i++)
        ck_assert_ptr_ne(stats_text(), arg);
    return NULL;
}

/* Whoever has a pointer keeps it until the same thread asks again. */
START_TEST(another_thread_does_not_take_the_text_away)
{
    pthread_t thread;
    char *mine, *copy;

    token_up();
    provider_up(NULL);
    mine = stats_text();
    copy = strdup(mine);
    ck_assert_int_eq(pthread_create(&thread, NULL, ask_too, mine), 0);
    pthread_join(thread, NULL);
    ck_assert_str_eq(mine, copy);
    ck_assert_ptr_nonnull(strstr(stats_text(), "hsm_"));
    free(copy);
    provider_down();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("observe");
    TCase *tcase = tcase_create("observe");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, the_parameter_has_the_text);
    tcase_add_test(tcase, another_thread_does_not_take_the_text_away);
    tcase_add_test(tcase, what_the_policy_refuses_is_counted);
    tcase_add_test(tcase, file_and_log_are_where_the_configuration_says);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
