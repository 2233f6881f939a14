/* SPDX-License-Identifier: Apache-2.0
 *
 * test_refused.c - no key type leaks: whatever the running libcrypto's default provider can
 * generate is generated on the token when we are asked for it, or refused by us.
 */
#include <check.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake.h"
#include "prov_fixture.h"

/* Their "generation" takes the caller's own bytes, or there is none: nothing is made up, nothing
 * private comes about. test_exceptions proves it. */
static const char *const not_generated[] = {"HMAC",     "SIPHASH", "POLY1305", "CMAC",
                                            "TLS1-PRF", "HKDF",    "SCRYPT",   NULL};

#define NAMES_MAX 400

static char *names[NAMES_MAX]; /* of all keymgmts, with their aliases */
static bool exempt[NAMES_MAX];
static size_t name_count;
static char *keymgmt_names[NAMES_MAX]; /* one of each keymgmt */
static size_t keymgmt_count;

/* --- what libcrypto has ---------------------------------------------------------------------- */

static bool is_exempt(EVP_KEYMGMT *keymgmt)
{
    size_t i;

    for (i = 0; not_generated[i] != NULL; i++) {
        if (EVP_KEYMGMT_is_a(keymgmt, not_generated[i]))
            return true;
    }
    return false;
}

static void add_name(const char *name, void *arg)
{
    ck_assert_uint_lt(name_count, NAMES_MAX);
    exempt[name_count] = is_exempt(arg);
    names[name_count++] = strdup(name);
}

static void add_keymgmt(EVP_KEYMGMT *keymgmt, void *arg)
{
    (void)arg;
    ck_assert_int_eq(EVP_KEYMGMT_names_do_all(keymgmt, add_name, keymgmt), 1);
    keymgmt_names[keymgmt_count++] = strdup(EVP_KEYMGMT_get0_name(keymgmt));
}

static void set_up(void)
{
    OSSL_LIB_CTX *libctx = OSSL_LIB_CTX_new();
    OSSL_PROVIDER *software = OSSL_PROVIDER_load(libctx, "default");

    ck_assert_ptr_nonnull(software);
    name_count = keymgmt_count = 0;
    EVP_KEYMGMT_do_all_provided(libctx, add_keymgmt, NULL);
    OSSL_PROVIDER_unload(software);
    OSSL_LIB_CTX_free(libctx);
    ck_assert_uint_ge(keymgmt_count, 11); /* what 3.0 has without those that do not generate */
    fake_reset();
    (void)fake_add_token(NULL);
    pf_config("offload", "all");
    pf_config("software-private-keys", NULL);
}

static void tear_down(void)
{
    while (name_count > 0)
        free(names[--name_count]);
    while (keymgmt_count > 0)
        free(keymgmt_names[--keymgmt_count]);
}

/* --- asking ---------------------------------------------------------------------------------- */

static bool is_made_on_token(EVP_PKEY_CTX *pctx)
{
    return EVP_PKEY_CTX_is_a(pctx, "RSA") || EVP_PKEY_CTX_is_a(pctx, "RSA-PSS") ||
           EVP_PKEY_CTX_is_a(pctx, "EC") || EVP_PKEY_CTX_is_a(pctx, "ED25519") ||
           EVP_PKEY_CTX_is_a(pctx, "ED448");
}

/* Generates for a name that we have to make on the token. */
static void assert_made(EVP_PKEY_CTX *pctx, const char *name)
{
    const unsigned long before = fake_calls("C_GenerateKeyPair");
    EVP_PKEY *key = NULL;
    char label[64];
    OSSL_PARAM params[3] = {OSSL_PARAM_END, OSSL_PARAM_END, OSSL_PARAM_END};

    snprintf(label, sizeof(label), "%.30s %lu", name, before);
    params[0] = OSSL_PARAM_construct_utf8_string("hsm-label", label, 0);
    if (EVP_PKEY_CTX_is_a(pctx, "EC"))
        params[1] = OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0);
    ck_assert_msg(EVP_PKEY_CTX_set_params(pctx, params) > 0, "%s: %s", name, pf_errors());
    ck_assert_msg(EVP_PKEY_generate(pctx, &key) > 0, "%s: %s", name, pf_errors());
    ck_assert_uint_eq(fake_calls("C_GenerateKeyPair"), before + 1);
    ck_assert_ptr_nonnull(EVP_PKEY_get0_provider(key));
    ck_assert_str_eq(OSSL_PROVIDER_get0_name(EVP_PKEY_get0_provider(key)), "hsm");
    EVP_PKEY_free(key);
}

static const OSSL_PROVIDER *provider_of(const struct prov_fixture *f, const char *name,
                                        const char *propq)
{
    EVP_KEYMGMT *keymgmt = EVP_KEYMGMT_fetch(f->libctx, name, propq);
    const OSSL_PROVIDER *provider;

    ck_assert_msg(keymgmt != NULL, "%s is unknown: %s", name, pf_errors());
    provider = EVP_KEYMGMT_get0_provider(keymgmt);
    EVP_KEYMGMT_free(keymgmt);
    return provider;
}

/* One name with one property query: made on the token, or refused by us with its name. */
static void assert_no_leak(const struct prov_fixture *f, const char *name, const char *propq)
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_name(f->libctx, name, propq);
    unsigned long error;

    ck_assert_msg(provider_of(f, name, propq) == f->hsm, "%s leaks to the default provider", name);
    ck_assert_ptr_nonnull(pctx);
    if (is_made_on_token(pctx)) {
        ck_assert_msg(EVP_PKEY_keygen_init(pctx) > 0, "%s: %s", name, pf_errors());
        assert_made(pctx, name);
        goto out;
    }
    ck_assert_int_le(EVP_PKEY_keygen_init(pctx), 0);
    error = ERR_peek_error();
    ck_assert_str_eq(ERR_reason_error_string(error), "not supported");
    ck_assert_msg(pf_error_says("keys are not generated in the HSM"), "%s: %s", name, pf_errors());
    ERR_clear_error();
    ck_assert_int_le(EVP_PKEY_paramgen_init(pctx), 0);
out:
    ERR_clear_error();
    EVP_PKEY_CTX_free(pctx);
}

static void assert_none_leaks(bool hsm_first, const char *propq)
{
    struct prov_fixture f = pf_open(hsm_first);
    size_t i, asked = 0;

    for (i = 0; i < name_count; i++) {
        if (exempt[i])
            continue;
        assert_no_leak(&f, names[i], propq);
        asked++;
    }
    ck_assert_uint_ge(asked, 11);
    ck_assert_uint_ge(fake_calls("C_GenerateKeyPair"), 3);
    pf_close(&f);
}

START_TEST(test_required)
{
    assert_none_leaks(false, "provider=hsm");
}
END_TEST

START_TEST(test_preferred)
{
    assert_none_leaks(false, "?provider=hsm");
}
END_TEST

START_TEST(test_first)
{
    assert_none_leaks(true, NULL);
}
END_TEST

/* In the supported order nobody asks us, and the default provider is left alone. */
START_TEST(test_not_asked)
{
    struct prov_fixture f = pf_open(false);
    size_t i;

    for (i = 0; i < name_count; i++)
        ck_assert_msg(provider_of(&f, names[i], NULL) == f.software, "%s is taken over", names[i]);
    pf_close(&f);
}
END_TEST

/* Is every exception one? Without the caller's bytes they make nothing. */
START_TEST(test_exceptions)
{
    OSSL_LIB_CTX *libctx = OSSL_LIB_CTX_new();
    OSSL_PROVIDER *software = OSSL_PROVIDER_load(libctx, "default");
    size_t i;

    for (i = 0; not_generated[i] != NULL; i++) {
        EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_name(libctx, not_generated[i], NULL);
        EVP_PKEY *key = NULL;

        ck_assert_ptr_nonnull(pctx);
        if (EVP_PKEY_keygen_init(pctx) > 0)
            ck_assert_msg(EVP_PKEY_generate(pctx, &key) <= 0, "%s is generated", not_generated[i]);
        ck_assert_ptr_null(key);
        EVP_PKEY_CTX_free(pctx);
    }
    OSSL_PROVIDER_unload(software);
    OSSL_LIB_CTX_free(libctx);
}
END_TEST

/* --- keys that exist already, where we come first -------------------------------------------- */

static EVP_PKEY *raw_key(const struct prov_fixture *f, const char *type, bool private,
                         const unsigned char *bytes, size_t len)
{
    EVP_PKEY *key = private ? EVP_PKEY_new_raw_private_key_ex(f->libctx, type, NULL, bytes, len)
                            : EVP_PKEY_new_raw_public_key_ex(f->libctx, type, NULL, bytes, len);

    ck_assert_msg(key != NULL, "%s: %s", type, pf_errors());
    return key;
}

static bool derives(const struct prov_fixture *f, EVP_PKEY *own, EVP_PKEY *peer)
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(f->libctx, own, NULL);
    unsigned char secret[32];
    size_t len = sizeof(secret);
    bool ok = pctx != NULL && EVP_PKEY_derive_init(pctx) > 0 &&
              EVP_PKEY_derive_set_peer(pctx, peer) > 0 && EVP_PKEY_derive(pctx, secret, &len) > 0;

    EVP_PKEY_CTX_free(pctx);
    return ok;
}

static int sign(const struct prov_fixture *f, EVP_PKEY *key, const char *md, unsigned char *sig,
                size_t *sig_len)
{
    EVP_MD_CTX *mdctx = EVP_MD_CTX_new();
    int ok = EVP_DigestSignInit_ex(mdctx, NULL, md, f->libctx, NULL, key, NULL) > 0 &&
             EVP_DigestSign(mdctx, sig, sig_len, (const unsigned char *)"x", 1) > 0;

    EVP_MD_CTX_free(mdctx);
    return ok;
}

static int verify(const struct prov_fixture *f, EVP_PKEY *key, const char *md,
                  const unsigned char *sig, size_t sig_len)
{
    EVP_MD_CTX *mdctx = EVP_MD_CTX_new();
    int ok = EVP_DigestVerifyInit_ex(mdctx, NULL, md, f->libctx, NULL, key, NULL) > 0 &&
             EVP_DigestVerify(mdctx, sig, sig_len, (const unsigned char *)"x", 1) == 1;

    EVP_MD_CTX_free(mdctx);
    return ok;
}

static const unsigned char seed[32] = "thirty-two bytes of a private k";

/* The same as a PKCS#8 file. */
static const unsigned char ed25519[48] = "\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22"
                                         "\x04\x20thirty-two bytes of a private k";

/* Key exchange with given keys, signature and verification, public keys: nothing breaks. */
START_TEST(test_existing_keys)
{
    struct prov_fixture f = pf_open(true);
    EVP_PKEY *x = raw_key(&f, "X25519", true, seed, 32), *ed, *ed_pub;
    const unsigned char *p = ed25519;
    unsigned char pub[32], sig[64];
    size_t len = sizeof(pub), sig_len = sizeof(sig);

    ck_assert_ptr_eq(EVP_PKEY_get0_provider(x), f.hsm);
    ck_assert_msg(derives(&f, x, x), "%s", pf_errors());
    /* by hand it would have to be made by us, and as with RSA and EC that is refused */
    ck_assert_ptr_null(EVP_PKEY_new_raw_private_key_ex(f.libctx, "ED25519", NULL, seed, 32));
    ck_assert_msg(pf_error_says("cannot become an HSM key"), "%s", pf_errors());
    ERR_clear_error();
    ed = d2i_AutoPrivateKey_ex(NULL, &p, sizeof(ed25519), f.libctx, NULL);
    ck_assert_msg(ed != NULL, "%s", pf_errors());
    ck_assert_int_eq(EVP_PKEY_get_raw_public_key(ed, pub, &len), 1);
    ck_assert_msg(sign(&f, ed, NULL, sig, &sig_len), "%s", pf_errors());
    ed_pub = raw_key(&f, "ED25519", false, pub, len);
    ck_assert_msg(verify(&f, ed_pub, NULL, sig, sig_len), "%s", pf_errors());
    ck_assert_int_eq(EVP_PKEY_eq(ed, ed_pub), 1);
    sig[0] ^= 1;
    ck_assert(!verify(&f, ed_pub, NULL, sig, sig_len));
    ERR_clear_error();
    EVP_PKEY_free(x);
    EVP_PKEY_free(ed);
    EVP_PKEY_free(ed_pub);
    pf_close(&f);
}
END_TEST

/* --- software-private-keys ------------------------------------------------------------------- */

/* Sign, and ask in the way that `propq` says. */
static int sign_asking(const struct prov_fixture *f, EVP_PKEY *key, const char *propq,
                       const char *md, unsigned char *sig, size_t *sig_len)
{
    EVP_MD_CTX *mdctx = EVP_MD_CTX_new();
    int ok = EVP_DigestSignInit_ex(mdctx, NULL, md, f->libctx, propq, key, NULL) > 0 &&
             EVP_DigestSign(mdctx, sig, sig_len, (const unsigned char *)"x", 1) > 0;

    EVP_MD_CTX_free(mdctx);
    return ok;
}

static unsigned char *rsa_der; /* the RSA key of all tests, which takes long to make */
static int rsa_len;

/* Before Check forks. */
static void make_rsa(void)
{
    OSSL_LIB_CTX *other = OSSL_LIB_CTX_new();
    EVP_PKEY *made = EVP_PKEY_Q_keygen(other, NULL, "RSA", (size_t)2048);

    rsa_len = i2d_PrivateKey(made, &rsa_der);
    ck_assert_int_gt(rsa_len, 0);
    EVP_PKEY_free(made);
    OSSL_LIB_CTX_free(other);
}

static void drop_rsa(void)
{
    OPENSSL_free(rsa_der);
    rsa_der = NULL;
}

/* Made in a context of its own, and read from DER, as a server would read it. (From 3.5 on,
 * generating it here would leave the default provider's signatures in libcrypto's cache, and they
 * would win over ours whatever the order.) */
static EVP_PKEY *software_key(OSSL_LIB_CTX *libctx, const char *type)
{
    OSSL_LIB_CTX *other = OSSL_LIB_CTX_new();
    unsigned char *der = NULL;
    const unsigned char *p = rsa_der;
    EVP_PKEY *key;
    int len = rsa_len;

    if (strcmp(type, "RSA") != 0) {
        EVP_PKEY *made = strcmp(type, "EC") == 0 ? EVP_PKEY_Q_keygen(other, NULL, "EC", "P-256")
                                                 : EVP_PKEY_Q_keygen(other, NULL, type);

        len = i2d_PrivateKey(made, &der);
        p = der;
        EVP_PKEY_free(made);
    }
    ck_assert_int_gt(len, 0);
    key = d2i_AutoPrivateKey_ex(NULL, &p, len, libctx, NULL);
    OPENSSL_free(der);
    OSSL_LIB_CTX_free(other);
    ck_assert_msg(key != NULL, "%s: %s", type, pf_errors());
    return key;
}

static const struct {
    const char *type, *md;
} signing[] = {
    {"RSA", "SHA256"}, {"EC", "SHA256"}, {"ED25519", NULL}, {"ED448", NULL}, {"SM2", "SM3"}};
#define SIGNING (sizeof(signing) / sizeof(signing[0]))

static void assert_software_key(bool hsm_first, const char *propq, size_t i, bool refused)
{
    struct prov_fixture f = pf_open(hsm_first);
    EVP_PKEY *key = software_key(f.libctx, signing[i].type);
    unsigned char sig[512];
    size_t len = sizeof(sig);
    int ok;

    ck_assert_ptr_eq(EVP_PKEY_get0_provider(key), f.software);
    ok = sign_asking(&f, key, propq, signing[i].md, sig, &len);
    ck_assert_msg(ok == !refused, "%s: %s", signing[i].type, pf_errors());
    ck_assert_msg(!refused || pf_error_says("software-private-keys = refuse"), "%s", pf_errors());
    ERR_clear_error();
    /* the public half verifies in any case, and the key is what it was */
    if (refused) {
        len = sizeof(sig);
        ck_assert_msg(sign_asking(&f, key, "provider=default", signing[i].md, sig, &len), "%s",
                      pf_errors());
        ck_assert_msg(verify(&f, key, signing[i].md, sig, len), "%s: %s", signing[i].type,
                      pf_errors());
    }
    EVP_PKEY_free(key);
    pf_close(&f);
}

START_TEST(test_software_keys_refused)
{
    pf_config("software-private-keys", "refuse");
    assert_software_key(true, NULL, (size_t)_i, true);
    assert_software_key(false, "?provider=hsm", (size_t)_i, true);
    assert_software_key(false, NULL, (size_t)_i, false); /* not asked */
}
END_TEST

START_TEST(test_software_keys_allowed)
{
    pf_config("software-private-keys", _i % 2 == 0 ? NULL : "allow");
    assert_software_key(true, NULL, (size_t)_i, false);
    assert_software_key(false, "?provider=hsm", (size_t)_i, false);
}
END_TEST

static const char *const decrypting[] = {"RSA", "SM2"};

START_TEST(test_software_decryption)
{
    struct prov_fixture f;
    unsigned char ct[512], pt[512];
    size_t ct_len = sizeof(ct), pt_len = sizeof(pt);
    EVP_PKEY_CTX *pctx;
    EVP_PKEY *key;

    pf_config("software-private-keys", "refuse");
    f = pf_open(true);
    key = software_key(f.libctx, decrypting[_i]);
    pctx = EVP_PKEY_CTX_new_from_pkey(f.libctx, key, NULL);
    ck_assert_int_gt(EVP_PKEY_encrypt_init(pctx), 0);
    ck_assert_int_gt(EVP_PKEY_encrypt(pctx, ct, &ct_len, seed, sizeof(seed)), 0);
    ck_assert(EVP_PKEY_decrypt_init(pctx) <= 0 ||
              EVP_PKEY_decrypt(pctx, pt, &pt_len, ct, ct_len) <= 0);
    ck_assert_msg(pf_error_says("software-private-keys = refuse"), "%s", pf_errors());
    ERR_clear_error();
    EVP_PKEY_CTX_free(pctx);
    /* what was encrypted is right */
    pctx = EVP_PKEY_CTX_new_from_pkey(f.libctx, key, "provider=default");
    ck_assert_int_gt(EVP_PKEY_decrypt_init(pctx), 0);
    ck_assert_int_gt(EVP_PKEY_decrypt(pctx, pt, &pt_len, ct, ct_len), 0);
    ck_assert_uint_eq(pt_len, sizeof(seed));
    ck_assert_mem_eq(pt, seed, sizeof(seed));
    EVP_PKEY_CTX_free(pctx);
    EVP_PKEY_free(key);
    pf_close(&f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("refused");
    TCase *tcase = tcase_create("keys");
    SRunner *runner;
    int failed;

    tcase_add_unchecked_fixture(tcase, make_rsa, drop_rsa);
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, test_required);
    tcase_add_test(tcase, test_preferred);
    tcase_add_test(tcase, test_first);
    tcase_add_test(tcase, test_not_asked);
    tcase_add_test(tcase, test_exceptions);
    tcase_add_test(tcase, test_existing_keys);
    tcase_add_loop_test(tcase, test_software_keys_refused, 0, (int)SIGNING);
    tcase_add_loop_test(tcase, test_software_keys_allowed, 0, (int)SIGNING);
    tcase_add_loop_test(tcase, test_software_decryption, 0, 2);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
