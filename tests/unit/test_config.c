/* SPDX-License-Identifier: Apache-2.0
 *
 * test_config.c - the provider's section: what is taken, what is refused and with which words, and
 * that a broken one poisons the provider instead of making it vanish.
 */
#include <check.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../provider/provider.h"
#include "fake.h"

/* --- values ---------------------------------------------------------------------------------- */

struct pair {
    const char *key;
    const char *value;
};

/* `arg`: pairs, the last one with a NULL key. */
static const char *from_pairs(void *arg, const char *key)
{
    const struct pair *pair;

    for (pair = arg; pair->key != NULL; pair++) {
        if (strcmp(pair->key, key) == 0)
            return pair->value;
    }
    return NULL;
}

static int read_pairs(struct prov_config *config, const struct pair *pairs, char *why, size_t size)
{
    return prov_config_read(config, from_pairs, (void *)pairs, why, size);
}

START_TEST(only_the_module_is_needed)
{
    static const struct pair pairs[] = {{"pkcs11-module", "/lib/x.so"}, {NULL, NULL}};
    struct prov_config config;
    unsigned classes = 0;
    char why[256] = "";

    ck_assert_int_eq(read_pairs(&config, pairs, why, sizeof(why)), 1);
    ck_assert_str_eq(config.module, "/lib/x.so");
    ck_assert_ptr_null(config.token);
    ck_assert_ptr_null(config.pin);
    ck_assert_ptr_null(config.init_args);
    ck_assert_uint_eq(config.sessions, 0);
    ck_assert(config.check_key_at_load);
    ck_assert_int_eq(prov_policy_parse(NULL, &classes, why, sizeof(why)), 1);
    ck_assert_uint_eq(config.offload, classes);
    prov_config_clear(&config);
}
END_TEST

START_TEST(all_values)
{
    static const struct pair pairs[] = {
        {"pkcs11-module", "p11-kit-client.so"},
        {"token", "pkcs11:token=my%20token;serial=0001"},
        {"pin", "file:/etc/hsm/pin"},
        {"offload", "rsa-sign"},
        {"sessions", "4096"},
        {"check-key-at-load", "no"},
        {"pkcs11-init-args", "configdir='sql:/x'"},
        {"stats-file", "/run/hsm/%p.prom"},
        {"log", "file:/var/log/hsm"},
        {"log-level", "debug"},
        {"audit", "yes"},
        {NULL, NULL},
    };
    struct prov_config config;
    char why[256] = "";

    ck_assert_int_eq(read_pairs(&config, pairs, why, sizeof(why)), 1);
    ck_assert_str_eq(config.module, "p11-kit-client.so");
    ck_assert_str_eq(config.token, "pkcs11:token=my%20token;serial=0001");
    ck_assert_str_eq(config.pin, "file:/etc/hsm/pin");
    ck_assert_uint_eq(config.offload, 1U << PROV_CLASS_RSA_SIGN);
    ck_assert_uint_eq(config.sessions, 4096);
    ck_assert(!config.check_key_at_load);
    ck_assert_str_eq(config.init_args, "configdir='sql:/x'");
    ck_assert_str_eq(config.stats_file, "/run/hsm/%p.prom");
    ck_assert_str_eq(config.log, "file:/var/log/hsm");
    ck_assert_int_eq(config.log_level, KS_LOG_DEBUG);
    ck_assert(config.audit);
    prov_config_clear(&config);
}
END_TEST

static const struct {
    const char *key, *value, *says;
} bad_values[] = {
    {"pkcs11-module", NULL, "pkcs11-module is missing"},
    {"pkcs11-module", "", "pkcs11-module is empty"},
    {"pkcs11-module", "lib/x.so", "must be an absolute path"},
    {"sessions", "", "sessions is empty"},
    {"token", "my token", "token: "},
    {"token", "pkcs11:token=x;colour=red", "colour"},
    {"token", "pkcs11:object=x", "token: "},
    {"token", "pkcs11:token=x?pin-value=1234", "pin-value"},
    {"pin", "1234", "pin: must be file:/absolute/path, env:NAME or prompt"},
    {"pin", "file:pin", "pin: must be"},
    {"pin", "env:", "pin: must be"},
    {"pin", "env:1X", "pin: must be"},
    {"pin", "env:A B", "pin: must be"},
    {"pin", "Prompt", "pin: must be"},
    {"offload", "everything", "unknown operation class \"everything\""},
    {"offload", "", "offload is empty"},
    {"sessions", "0", "sessions = 0: must be a number from 1 to 4096"},
    {"sessions", "4097", "from 1 to 4096"},
    {"sessions", "-1", "from 1 to 4096"},
    {"sessions", "4 ", "from 1 to 4096"},
    {"sessions", "0x10", "from 1 to 4096"},
    {"sessions", "99999999999999999999", "from 1 to 4096"},
    {"check-key-at-load", "true", "check-key-at-load = true: must be yes or no"},
    {"check-key-at-load", "YES", "must be yes or no"},
    {"check-key-at-load", "no\n", "check-key-at-load = no\\x0a: must be yes or no"},
    {"pkcs11-init-args", "", "pkcs11-init-args is empty"},
    {"stats-file", "stats", "stats-file = stats: must be an absolute path"},
    {"log", "stdout", "log = stdout: must be stderr, syslog or file:/absolute/path"},
    {"log", "file:log", "must be stderr, syslog or file:/absolute/path"},
    {"log-level", "verbose", "log-level = verbose: must be error, warn, info or debug"},
    {"log-level", "info", "log-level needs log"},
    {"audit", "1", "audit = 1: must be yes or no"},
    {"audit", "yes", "audit needs log"},
};

START_TEST(bad_value_is_named)
{
    struct pair pairs[] = {
        {bad_values[_i].key, bad_values[_i].value}, {"pkcs11-module", "/lib/x.so"}, {NULL, NULL}};
    struct prov_config config;
    char why[512] = "";

    ck_assert_int_eq(read_pairs(&config, pairs, why, sizeof(why)), 0);
    ck_assert_msg(strstr(why, bad_values[_i].says) != NULL, "\"%s\" does not say \"%s\"", why,
                  bad_values[_i].says);
    prov_config_clear(&config);
}
END_TEST

START_TEST(empty_pin_and_token_take_back_what_was_included)
{
    struct pair pairs[] = {
        {"pkcs11-module", "/lib/x.so"}, {"token", ""}, {"pin", ""}, {NULL, NULL}};
    struct prov_config config;
    char why[512] = "";

    ck_assert_int_eq(read_pairs(&config, pairs, why, sizeof(why)), 1);
    ck_assert_ptr_null(config.token);
    ck_assert_ptr_null(config.pin);
    prov_config_clear(&config);
}
END_TEST

START_TEST(more_overrides_than_there_is_room_for)
{
    static char keys[300][24];
    struct pair pairs[] = {{"pkcs11-module", "/lib/x.so"}, {NULL, NULL}};
    struct prov_config config;
    char why[512] = "";

    for (int i = 0; i < 300; i++) {
        snprintf(keys[i], sizeof(keys[i]), "t%d.token", i);
        prov_config_override(keys[i], "pkcs11:token=x");
    }
    ck_assert_int_eq(read_pairs(&config, pairs, why, sizeof(why)), 0);
    ck_assert_ptr_nonnull(strstr(why, "more lines than hsmkey can take: 256"));
    prov_config_clear(&config);
}
END_TEST

START_TEST(pin_written_into_the_file_is_not_repeated)
{
    static const struct pair pairs[] = {{"pin", "s3cr3t"}, {NULL, NULL}};
    struct prov_config config;
    char why[512] = "";

    ck_assert_int_eq(read_pairs(&config, pairs, why, sizeof(why)), 0);
    ck_assert_ptr_null(strstr(why, "s3cr3t"));
    prov_config_clear(&config);
}
END_TEST

START_TEST(overrides_win)
{
    static const struct pair pairs[] = {
        {"pkcs11-module", "/lib/x.so"}, {"sessions", "bad"}, {NULL, NULL}};
    struct prov_config config;
    char why[512] = "";

    prov_config_override("pkcs11-module", "/lib/y.so");
    prov_config_override("sessions", "7");
    ck_assert_int_eq(read_pairs(&config, pairs, why, sizeof(why)), 1);
    ck_assert_str_eq(config.module, "/lib/y.so");
    ck_assert_uint_eq(config.sessions, 7);
    prov_config_clear(&config);
    prov_config_override("pkcs11-module", NULL);
    prov_config_override("sessions", NULL);
    ck_assert_int_eq(read_pairs(&config, pairs, why, sizeof(why)), 0);
    prov_config_clear(&config);
}
END_TEST

/* --- files ----------------------------------------------------------------------------------- */

static char folder[] = "/tmp/test_config.XXXXXX";
static char file[sizeof(folder) + 16];

static void make_folder(void)
{
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(file, sizeof(file), "%s/openssl.cnf", folder);
    ck_assert_int_eq(setenv("OPENSSL_CONF", file, 1), 0);
}

static void remove_folder(void)
{
    (void)unlink(file);
    (void)rmdir(folder);
}

#define HEAD                                                                                       \
    "openssl_conf = init\n[init]\nproviders = provs\n[provs]\ndefault = dflt\nhsm = hsm_sect\n"    \
    "[dflt]\nactivate = 1\n[hsm_sect]\nactivate = 1\n"

static void write_file(const char *text)
{
    FILE *f = fopen(file, "w");

    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs(text, f), 0);
    ck_assert_int_eq(fclose(f), 0);
}

static const struct {
    const char *text;
    int answer;
    const char *says;
} files[] = {
    {HEAD "pkcs11-module = /lib/x.so\nsoft_load = 1\nmodule = hsm.so\nidentity = hsm\n", 1, ""},
    {HEAD "1.module = hsm.so\npkcs11-module = /lib/x.so\n", 1, ""},
    {HEAD "pkcs11-modul = /lib/x.so\n", 0, "unknown key \"pkcs11-modul\" in section [hsm_sect]"},
    {HEAD "Pin = prompt\n", 0, "unknown key \"Pin\" in section [hsm_sect]"},
    {HEAD "offload = keygen\n[keygen]\nx = y\n", 0, "[keygen]"},
    {"openssl_conf = init\n[init]\nproviders = p\n[p]\nmine = s\n[s]\nidentity = hsm\nbad = 1\n", 0,
     "unknown key \"bad\" in section [s]"},
    {"openssl_conf = init\n[init]\nproviders = p\n[p]\nhsm = s\n[s]\nidentity = other\nbad = 1\n",
     -1, "no section for a provider \"hsm\""},
    {"openssl_conf = init\n[init]\nx = y\n", -1, "no section"},
    {"", -1, "no section"},
    {"[unfinished\n", -1, "error in line 1"},
};

START_TEST(unknown_keys_in_a_file)
{
    char why[512] = "";

    write_file(files[_i].text);
    ck_assert_int_eq(prov_config_check_file(file, "hsm", why, sizeof(why)), files[_i].answer);
    ck_assert_msg(strstr(why, files[_i].says) != NULL, "\"%s\" does not say \"%s\"", why,
                  files[_i].says);
    ck_assert_uint_eq(ERR_peek_error(), 0);
}
END_TEST

START_TEST(file_that_is_not_there)
{
    char why[512] = "";

    ck_assert_int_eq(prov_config_check_file("/does/not/exist", "hsm", why, sizeof(why)), -1);
    ck_assert_ptr_nonnull(strstr(why, "/does/not/exist: cannot be read"));
    ck_assert_uint_eq(ERR_peek_error(), 0);
}
END_TEST

START_TEST(default_file_counts_only_where_it_is_the_source)
{
    static const struct pair same[] = {{"pkcs11-module", "/lib/x.so"}, {NULL, NULL}};
    static const struct pair other[] = {{"pkcs11-module", "/lib/y.so"}, {NULL, NULL}};
    char why[512] = "";

    write_file(HEAD "pkcs11-module = /lib/x.so\ntypo = 1\n");
    ck_assert_int_eq(prov_config_check_default("hsm", from_pairs, (void *)same, why, sizeof(why)),
                     0);
    ck_assert_ptr_nonnull(strstr(why, "unknown key \"typo\""));
    ck_assert_int_eq(prov_config_check_default("hsm", from_pairs, (void *)other, why, sizeof(why)),
                     1);
    ck_assert_int_eq(unlink(file), 0);
    ck_assert_int_eq(prov_config_check_default("hsm", from_pairs, (void *)same, why, sizeof(why)),
                     1);
}
END_TEST

/* --- the provider ---------------------------------------------------------------------------- */

static OSSL_LIB_CTX *load_provider(const char *text)
{
    OSSL_LIB_CTX *libctx = OSSL_LIB_CTX_new();

    write_file(text);
    ck_assert_ptr_nonnull(libctx);
    ck_assert_int_eq(OSSL_PROVIDER_add_builtin(libctx, "hsm", OSSL_provider_init), 1);
    ck_assert_int_eq(OSSL_LIB_CTX_load_config(libctx, file), 1);
    ck_assert_int_eq(OSSL_PROVIDER_available(libctx, "hsm"), 1);
    return libctx;
}

/* Does the queue hold an error with our reason and these words? */
static bool raised(const char *reason, const char *words)
{
    const char *data, *text;
    unsigned long code;
    bool found = false;
    int flags;

    while ((code = ERR_get_error_all(NULL, NULL, NULL, &data, &flags)) != 0) {
        text = ERR_reason_error_string(code);
        if (text != NULL && strcmp(text, reason) == 0 && strstr(data, words) != NULL)
            found = true;
    }
    return found;
}

static const struct {
    const char *text, *says;
} poison[] = {
    {HEAD, "pkcs11-module is missing"},
    {HEAD "pkcs11-module = /lib/x.so\nsessions = lots\n", "sessions = lots"},
    {HEAD "pkcs11-module = /lib/x.so\ntokn = pkcs11:token=x\n",
     "unknown key \"tokn\" in section [hsm_sect]"},
    {HEAD "pkcs11-module = /lib/x.so\noffload = keygen\n[keygen]\nx = y\n", "[keygen]"},
};

START_TEST(broken_configuration_is_an_error_at_every_use)
{
    OSSL_LIB_CTX *libctx = load_provider(poison[_i].text);
    OSSL_PROVIDER *provider = OSSL_PROVIDER_load(libctx, "hsm");
    EVP_PKEY_CTX *pctx;
    int status = 0;
    OSSL_PARAM params[] = {OSSL_PARAM_construct_int(OSSL_PROV_PARAM_STATUS, &status),
                           OSSL_PARAM_construct_end()};

    ck_assert_ptr_nonnull(provider);
    ck_assert_int_eq(OSSL_PROVIDER_get_params(provider, params), 1);
    ck_assert_int_eq(status, 1);
    ERR_clear_error();
    pctx = EVP_PKEY_CTX_new_from_name(libctx, "RSA", "provider=hsm");
    ck_assert_ptr_nonnull(pctx);
    ck_assert_int_le(EVP_PKEY_keygen_init(pctx), 0);
    ck_assert(raised("the provider's configuration is broken", poison[_i].says));
    EVP_PKEY_CTX_free(pctx);
    pctx = EVP_PKEY_CTX_new_from_name(libctx, "EC", "provider=hsm");
    ck_assert_int_le(EVP_PKEY_paramgen_init(pctx), 0);
    ck_assert(raised("the provider's configuration is broken", poison[_i].says));
    EVP_PKEY_CTX_free(pctx);
    OSSL_PROVIDER_unload(provider);
    OSSL_LIB_CTX_free(libctx);
}
END_TEST

START_TEST(good_configuration_calls_nothing_at_load)
{
    char text[1024];
    OSSL_LIB_CTX *libctx;
    OSSL_PROVIDER *provider;
    char *name = NULL, *version = NULL, *build = NULL;
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_ptr(OSSL_PROV_PARAM_NAME, &name, 0),
                           OSSL_PARAM_construct_utf8_ptr(OSSL_PROV_PARAM_VERSION, &version, 0),
                           OSSL_PARAM_construct_utf8_ptr(OSSL_PROV_PARAM_BUILDINFO, &build, 0),
                           OSSL_PARAM_construct_end()};

    fake_reset();
    snprintf(text, sizeof(text), HEAD "pkcs11-module = %s\n", FAKE_PKCS11_PATH);
    libctx = load_provider(text);
    provider = OSSL_PROVIDER_load(libctx, "hsm");
    ck_assert_int_eq(OSSL_PROVIDER_get_params(provider, params), 1);
    ck_assert_str_eq(name, "OpenSSL HSM provider (PKCS#11)");
    ck_assert_str_eq(version, HSM_VERSION);
    ck_assert_ptr_nonnull(build);
    ck_assert_uint_eq(fake_calls(NULL), 0);
    OSSL_PROVIDER_unload(provider);
    OSSL_LIB_CTX_free(libctx);
    ck_assert_uint_eq(fake_calls(NULL), 0);
}
END_TEST

START_TEST(loads_again_after_unload)
{
    char text[1024];
    int i;

    snprintf(text, sizeof(text), HEAD "pkcs11-module = %s\n", FAKE_PKCS11_PATH);
    for (i = 0; i < 3; i++) {
        OSSL_LIB_CTX *a = load_provider(text), *b = load_provider(text);

        OSSL_LIB_CTX_free(a);
        OSSL_LIB_CTX_free(b);
    }
}
END_TEST

START_TEST(every_reason_has_a_text)
{
    const OSSL_ITEM *item;
    unsigned seen = 0;

    for (item = prov_reason_strings(); item->id != 0; item++) {
        ck_assert_ptr_nonnull(item->ptr);
        ck_assert_str_ne(item->ptr, "");
        seen++;
    }
    ck_assert_uint_eq(seen, (unsigned)PROV_R_TOKEN + (unsigned)KS_TOKEN);
}
END_TEST

#define COUNT(array) (int)(sizeof(array) / sizeof((array)[0]))

int main(void)
{
    Suite *suite = suite_create("config");
    TCase *tc = tcase_create("values");
    SRunner *runner;
    int failed;

    tcase_add_test(tc, only_the_module_is_needed);
    tcase_add_test(tc, all_values);
    tcase_add_loop_test(tc, bad_value_is_named, 0, COUNT(bad_values));
    tcase_add_test(tc, empty_pin_and_token_take_back_what_was_included);
    tcase_add_test(tc, more_overrides_than_there_is_room_for);
    tcase_add_test(tc, pin_written_into_the_file_is_not_repeated);
    tcase_add_test(tc, overrides_win);
    tcase_add_test(tc, every_reason_has_a_text);
    suite_add_tcase(suite, tc);
    tc = tcase_create("files");
    tcase_add_unchecked_fixture(tc, make_folder, remove_folder);
    tcase_add_loop_test(tc, unknown_keys_in_a_file, 0, COUNT(files));
    tcase_add_test(tc, file_that_is_not_there);
    tcase_add_test(tc, default_file_counts_only_where_it_is_the_source);
    tcase_add_loop_test(tc, broken_configuration_is_an_error_at_every_use, 0, COUNT(poison));
    tcase_add_test(tc, good_configuration_calls_nothing_at_load);
    tcase_add_test(tc, loads_again_after_unload);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
