/* SPDX-License-Identifier: Apache-2.0
 *
 * test_policy.c - the value of `offload`, and what is said when a class is not in it.
 */
#include <check.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "../../provider/key/policy.h"

#define BIT(class) (1U << PROV_CLASS_##class)
#define ALL                                                                                        \
    (BIT(RSA_SIGN) | BIT(RSA_OAEP) | BIT(RSA_PKCS1) | BIT(EC_SIGN) | BIT(EC_DERIVE) |              \
     BIT(ED_SIGN) | BIT(KEYGEN) | BIT(RAND))

static const struct {
    const char *value;
    unsigned classes;
} good[] = {
    {NULL, ALL & ~BIT(KEYGEN) & ~BIT(RAND)},
    {"all", ALL},
    {"all rsa-tls", ALL | BIT(RSA_TLS)},
    {"all -rand", ALL & ~BIT(RAND)},
    {"all,-rand,-keygen", ALL & ~BIT(RAND) & ~BIT(KEYGEN)},
    {" all ,\t-rsa-tls ", ALL},
    {"rsa-sign", BIT(RSA_SIGN)},
    {"rsa-sign rsa-sign", BIT(RSA_SIGN)},
    {"rsa-sign,ec-sign", BIT(RSA_SIGN) | BIT(EC_SIGN)},
    {"rsa-sign rsa-oaep rsa-pkcs1 rsa-tls ec-sign ec-derive ed-sign keygen rand",
     ALL | BIT(RSA_TLS)},
    {"keygen all -ed-sign", ALL & ~BIT(ED_SIGN)},
};

START_TEST(good_values)
{
    unsigned classes = 0;
    char why[256] = "";

    ck_assert_int_eq(prov_policy_parse(good[_i].value, &classes, why, sizeof(why)), 1);
    ck_assert_uint_eq(classes, good[_i].classes);
    ck_assert_str_eq(why, "");
}
END_TEST

static const struct {
    const char *value;
    const char *says;
} bad[] = {
    {"", "offload is empty"},
    {" , \t", "offload is empty"},
    {"random", "unknown operation class \"random\""},
    {"RSA-SIGN", "unknown operation class \"RSA-SIGN\""},
    {"rsa-sign;ec-sign", "unknown operation class"},
    {"all -", "unknown operation class \"-\""},
    {"all --rand", "unknown operation class"},
    {"all -all", "unknown operation class \"-all\""},
    {"rsa", "unknown operation class \"rsa\""},
    {"rsa-sign2", "unknown operation class"},
    {"-rand", "\"-rand\" is allowed only after \"all\""},
    {"rsa-sign -rand all", "\"-rand\" is allowed only after \"all\""},
    {"all rand -rand", "\"rand\" is both listed and taken away"},
    {"rand all -rand", "\"rand\" is both listed and taken away"},
    {"all -rand rand", "\"rand\" is both listed and taken away"},
    {"rand\nkeygen", "unknown operation class \"rand\\x0akeygen\""},
};

START_TEST(bad_values)
{
    unsigned classes = 0;
    char why[256] = "";

    ck_assert_int_eq(prov_policy_parse(bad[_i].value, &classes, why, sizeof(why)), 0);
    ck_assert_msg(strstr(why, bad[_i].says) != NULL, "\"%s\" does not say \"%s\"", why,
                  bad[_i].says);
}
END_TEST

/* The latest error's text. Without a core, errors go to libcrypto's queue directly. */
static const char *last_error(void)
{
    const char *data = "";
    int flags = 0;

    ck_assert_uint_ne(ERR_peek_last_error_all(NULL, NULL, NULL, &data, &flags), 0);
    ck_assert_int_ne(flags & ERR_TXT_STRING, 0);
    return data;
}

START_TEST(refusal_says_which_line_would_allow_it)
{
    struct prov_ctx ctx = {.config.offload = BIT(RSA_SIGN) | BIT(KEYGEN), .able = BIT(RSA_SIGN)};
    struct prov_key key = {.uri = (char *)"pkcs11:object=web;type=private"};

    ck_assert_int_eq(prov_permits(&ctx, PROV_CLASS_RSA_SIGN, &key), 1);
    ck_assert_uint_eq(ERR_peek_error(), 0);
    ck_assert_int_eq(prov_permits(&ctx, PROV_CLASS_EC_SIGN, &key), 0);
    ck_assert_ptr_nonnull(strstr(last_error(), "ec-sign is not offloaded"));
    ck_assert_ptr_nonnull(strstr(last_error(), "pkcs11:object=web;type=private"));
    ck_assert_ptr_nonnull(strstr(last_error(), "offload = rsa-sign ec-sign keygen"));
    ERR_clear_error();
    ck_assert_int_eq(prov_permits(&ctx, PROV_CLASS_RAND, NULL), 0);
    ck_assert_ptr_nonnull(strstr(last_error(), "offload = rsa-sign keygen rand"));
}
END_TEST

START_TEST(broken_configuration_refuses_everything)
{
    struct prov_ctx ctx = {.config.offload = ~0U, .broken = (char *)"sessions = x: must be"};
    unsigned i;

    for (i = 0; i < PROV_CLASSES; i++) {
        ERR_clear_error();
        ck_assert_int_eq(prov_permits(&ctx, (enum prov_operation)i, NULL), 0);
        ck_assert_str_eq(last_error(), ctx.broken);
    }
    ERR_clear_error();
    ck_assert_int_eq(prov_usable(&ctx), 0);
    ck_assert_str_eq(last_error(), ctx.broken);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("policy");
    TCase *tc = tcase_create("policy");
    SRunner *runner;
    int failed;

    tcase_add_loop_test(tc, good_values, 0, (int)(sizeof(good) / sizeof(good[0])));
    tcase_add_loop_test(tc, bad_values, 0, (int)(sizeof(bad) / sizeof(bad[0])));
    tcase_add_test(tc, refusal_says_which_line_would_allow_it);
    tcase_add_test(tc, broken_configuration_refuses_everything);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
