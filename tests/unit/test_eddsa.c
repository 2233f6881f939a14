/* SPDX-License-Identifier: Apache-2.0
 *
 * Ed25519 and Ed448: signature/eddsa.c and keymgmt/raw.c at the EVP level, over the fake
 * module.
 */
#include "with_provider.h"

static const struct row {
    const char *type;
    enum fake_kind kind;
    size_t sig_len;
} rows[] = {{"ED25519", FAKE_ED25519, 64}, {"ED448", FAKE_ED448, 114}};

static const unsigned char text[] = "some text to sign";
static EVP_PKEY *key, *pub;
static unsigned long handle;

static void set_up(void)
{
    token_up();
    provider_up(NULL);
}

static void tear_down(void)
{
    EVP_PKEY_free(key);
    EVP_PKEY_free(pub);
    key = pub = NULL;
    provider_down();
}

static void load(int i, unsigned flags)
{
    const struct fake_key spec = {.kind = rows[i].kind, .label = "ed", .id = "ed", .flags = flags};

    handle = fake_add_key(slot, &spec);
    key = load_key("ed");
    pub = public_half(handle);
    ck_assert_int_eq(EVP_PKEY_is_a(key, rows[i].type), 1);
    fake_clear_counts();
}

static bool sign(const unsigned char *in, size_t in_len, unsigned char *sig, size_t *len)
{
    EVP_MD_CTX *mdctx = EVP_MD_CTX_new();
    bool ok = EVP_DigestSignInit_ex(mdctx, NULL, NULL, libctx, NULL, key, NULL) == 1 &&
              EVP_DigestSign(mdctx, sig, len, in, in_len) == 1;

    EVP_MD_CTX_free(mdctx);
    return ok;
}

static bool verify(EVP_PKEY *with, OSSL_LIB_CTX *in_ctx, const unsigned char *in, size_t in_len,
                   const unsigned char *sig, size_t len)
{
    EVP_MD_CTX *mdctx = EVP_MD_CTX_new();
    bool ok = EVP_DigestVerifyInit_ex(mdctx, NULL, NULL, in_ctx, NULL, with, NULL) == 1 &&
              EVP_DigestVerify(mdctx, sig, len, in, in_len) == 1;

    EVP_MD_CTX_free(mdctx);
    return ok;
}

START_TEST(signs_with_two_calls)
{
    unsigned char sig[SIG_MAX];
    size_t len = 0;

    load(_i, 0);
    ck_assert(sign(text, sizeof(text), NULL, &len));
    ck_assert_uint_eq(len, rows[_i].sig_len);
    ck_assert_uint_eq(fake_calls(NULL), 0);
    for (int i = 0; i < 3; i++) {
        len = sizeof(sig);
        ck_assert(sign(text, sizeof(text), sig, &len));
        ck_assert_uint_eq(len, rows[_i].sig_len);
        ck_assert(verify(pub, plain, text, sizeof(text), sig, len));
    }
    ck_assert_uint_eq(fake_calls("C_Sign"), 3);
    ck_assert_uint_eq(fake_calls(NULL), 6);
    no_errors();
    /* and with the key itself, in software */
    ck_assert(verify(key, libctx, text, sizeof(text), sig, len));
    sig[1] ^= 1;
    ck_assert(!verify(key, libctx, text, sizeof(text), sig, len));
    ck_assert_uint_eq(fake_calls(NULL), 6);
}
END_TEST

/* A copy signs with the key after the first one is gone. */
START_TEST(copies_sign)
{
    EVP_MD_CTX *mdctx = EVP_MD_CTX_new(), *copy = EVP_MD_CTX_new();
    unsigned char sig[SIG_MAX];
    size_t len = sizeof(sig);

    load(_i, 0);
    ck_assert_int_eq(EVP_DigestSignInit_ex(mdctx, NULL, NULL, libctx, NULL, key, NULL), 1);
    ck_assert_int_eq(EVP_MD_CTX_copy_ex(copy, mdctx), 1);
    EVP_MD_CTX_free(mdctx);
    ck_assert_int_eq(EVP_DigestSign(copy, sig, &len, text, sizeof(text)), 1);
    EVP_MD_CTX_free(copy);
    ck_assert(verify(pub, plain, text, sizeof(text), sig, len));
    ck_assert_uint_eq(fake_calls("C_Sign"), 1);
    no_errors();
}
END_TEST

START_TEST(empty_and_longest_messages)
{
    static unsigned char message[KS_MESSAGE_MAX + 1];
    unsigned char sig[SIG_MAX];
    size_t len = sizeof(sig);

    load(_i, 0);
    ck_assert(sign(message, 0, sig, &len));
    ck_assert(verify(pub, plain, message, 0, sig, len));
    len = sizeof(sig);
    ck_assert(sign(message, KS_MESSAGE_MAX, sig, &len));
    ck_assert(verify(pub, plain, message, KS_MESSAGE_MAX, sig, len));
    len = sizeof(sig);
    ck_assert(!sign(message, KS_MESSAGE_MAX + 1, sig, &len));
    ck_assert_int_eq(our_reason(), PROV_R_UNSUPPORTED);
    ck_assert_uint_eq(fake_calls("C_Sign"), 2);
    len = rows[_i].sig_len - 1;
    ck_assert(!sign(text, sizeof(text), sig, &len));
    ck_assert_int_eq(our_reason(), PROV_R_PARAMETER);
    ck_assert_uint_eq(fake_calls("C_Sign"), 2);
}
END_TEST

START_TEST(digests_and_instances_are_refused)
{
    char instance[] = "Ed25519ph", pure[2][8] = {"Ed25519", "Ed448"};
    unsigned char context[] = "context";
    OSSL_PARAM ph[] = {OSSL_PARAM_utf8_string("instance", instance, sizeof(instance) - 1),
                       OSSL_PARAM_END};
    OSSL_PARAM with_context[] = {OSSL_PARAM_octet_string("context-string", context, 7),
                                 OSSL_PARAM_END};
    OSSL_PARAM good[] = {OSSL_PARAM_utf8_string("instance", pure[_i], strlen(pure[_i])),
                         OSSL_PARAM_octet_string("context-string", context, 0), OSSL_PARAM_END};
    EVP_MD_CTX *mdctx = EVP_MD_CTX_new();

    load(_i, 0);
    ck_assert_int_ne(EVP_DigestSignInit_ex(mdctx, NULL, "SHA256", libctx, NULL, key, NULL), 1);
    ck_assert_int_eq(our_reason(), PROV_R_PARAMETER);
    ck_assert_int_ne(EVP_DigestSignInit_ex(mdctx, NULL, NULL, libctx, NULL, key, ph), 1);
    ck_assert_int_eq(our_reason(), PROV_R_UNSUPPORTED);
    ck_assert_int_ne(EVP_DigestSignInit_ex(mdctx, NULL, NULL, libctx, NULL, key, with_context), 1);
    ck_assert_int_eq(our_reason(), PROV_R_UNSUPPORTED);
    ck_assert_int_eq(EVP_DigestSignInit_ex(mdctx, NULL, NULL, libctx, NULL, key, good), 1);
    ck_assert_uint_eq(fake_calls(NULL), 0);
    EVP_MD_CTX_free(mdctx);
}
END_TEST

/* What PKCS#11 3.0 says, and the other way round: found out once, and remembered. */
START_TEST(both_spellings_of_the_parameters)
{
    unsigned char sig[SIG_MAX];

    fake_set_quirk(FAKE_QUIRK_EDDSA_PARAMS, true);
    load(_i, 0);
    for (int i = 0; i < 3; i++) {
        size_t len = sizeof(sig);

        ck_assert(sign(text, sizeof(text), sig, &len));
        ck_assert(verify(pub, plain, text, sizeof(text), sig, len));
    }
    ck_assert_uint_eq(fake_calls("C_SignInit"), 4);
    no_errors();
}
END_TEST

START_TEST(raw_points_and_named_curves)
{
    unsigned char sig[SIG_MAX];
    size_t len = sizeof(sig);

    fake_set_quirk(FAKE_QUIRK_RAW_EC_POINT, true);
    fake_set_quirk(FAKE_QUIRK_EDWARDS_NAMES, true);
    load(_i, 0);
    ck_assert(sign(text, sizeof(text), sig, &len));
    ck_assert(verify(pub, plain, text, sizeof(text), sig, len));
    ck_assert_int_eq(EVP_PKEY_eq(key, pub), 1);
}
END_TEST

START_TEST(wrong_signatures_of_an_unproved_key_are_not_released)
{
    unsigned char sig[SIG_MAX] = {0}, nothing[SIG_MAX] = {0};
    size_t len = sizeof(sig);

    /* the public object gives the public half and proves nothing */
    fake_set_quirk(FAKE_QUIRK_BAD_SIGNATURES, true);
    fake_hide_attribute(3 /* CKO_PRIVATE_KEY */, 0x129 /* CKA_PUBLIC_KEY_INFO */);
    load(_i, 0);
    ck_assert(!sign(text, sizeof(text), sig, &len));
    ck_assert_int_eq(our_reason(), PROV_R_TOKEN + KS_KEY_MISMATCH);
    ck_assert_mem_eq(sig, nothing, sizeof(sig));
    fake_set_quirk(FAKE_QUIRK_BAD_SIGNATURES, false);
    len = sizeof(sig);
    ck_assert(sign(text, sizeof(text), sig, &len));
    ck_assert(verify(pub, plain, text, sizeof(text), sig, len));
}
END_TEST

START_TEST(tokens_without_the_mechanism)
{
    unsigned char sig[SIG_MAX];
    size_t len = sizeof(sig);
    char said[1024];

    fake_set_mechanism(slot, 0x1057, false);
    load(_i, 0);
    ck_assert(!sign(text, sizeof(text), sig, &len));
    ck_assert_int_eq(our_reason_and_text(said, sizeof(said)), PROV_R_TOKEN + KS_MECHANISM);
    ck_assert_ptr_nonnull(strstr(said, "CKM_EDDSA"));
    ck_assert_uint_eq(fake_calls("C_SignInit"), 0);
}
END_TEST

START_TEST(keys_that_may_not_sign)
{
    unsigned char sig[SIG_MAX];
    size_t len = sizeof(sig);

    load(_i, FAKE_NO_SIGN);
    ck_assert(!sign(text, sizeof(text), sig, &len));
    ck_assert_int_eq(our_reason(), PROV_R_TOKEN + KS_KEY_USE);
    ck_assert_uint_eq(fake_calls("C_Sign"), 0);
}
END_TEST

START_TEST(the_algorithm_identifier_is_libcryptos)
{
    X509_REQ *req = X509_REQ_new_ex(libctx, NULL);
    unsigned char *der = NULL;
    const unsigned char *p;
    X509_REQ *again;
    int len;

    load(_i, 0);
    ck_assert_int_eq(X509_REQ_set_pubkey(req, key), 1);
    ck_assert_int_gt(X509_REQ_sign(req, key, NULL), 0);
    len = i2d_X509_REQ(req, &der);
    ck_assert_int_gt(len, 0);
    p = der;
    again = d2i_X509_REQ(NULL, &p, len);
    ck_assert_int_eq(X509_REQ_verify_ex(again, pub, plain, NULL), 1);
    ck_assert_int_eq(X509_REQ_get_signature_nid(again), EVP_PKEY_get_id(pub));
    OPENSSL_free(der);
    X509_REQ_free(req);
    X509_REQ_free(again);
}
END_TEST

START_TEST(the_private_half_stays)
{
    unsigned char raw[64];
    size_t len = sizeof(raw);
    OSSL_PARAM *params = NULL;

    load(_i, 0);
    ck_assert_int_ne(EVP_PKEY_get_raw_private_key(key, raw, &len), 1);
    ERR_clear_error();
    ck_assert_int_ne(EVP_PKEY_todata(key, EVP_PKEY_KEYPAIR, &params), 1);
    ck_assert_int_eq(our_reason(), PROV_R_PRIVATE_EXPORT);
    len = sizeof(raw);
    ck_assert_int_eq(EVP_PKEY_get_raw_public_key(key, raw, &len), 1);
    ck_assert_uint_eq(len, _i == 0 ? 32 : 57);
}
END_TEST

static EVP_PKEY *generate(int i, const char *label)
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_name(libctx, rows[i].type, "provider=hsm");
    OSSL_PARAM params[2] = {OSSL_PARAM_END, OSSL_PARAM_END};
    EVP_PKEY *made = NULL;

    if (label != NULL)
        params[0] = OSSL_PARAM_construct_utf8_string("hsm-label", (char *)(uintptr_t)label, 0);
    ck_assert_int_eq(EVP_PKEY_keygen_init(pctx), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set_params(pctx, params), 1);
    if (EVP_PKEY_generate(pctx, &made) != 1)
        made = NULL;
    EVP_PKEY_CTX_free(pctx);
    return made;
}

START_TEST(keys_are_generated_on_the_token)
{
    unsigned char sig[SIG_MAX];
    size_t len = sizeof(sig);

    fake_set_quirk(FAKE_QUIRK_EDWARDS_NAMES, _i >= 2);
    ck_assert_ptr_null(generate(_i % 2, NULL));
    ck_assert_int_eq(our_reason(), PROV_R_NO_LABEL);
    key = generate(_i % 2, "new");
    ck_assert_ptr_nonnull(key);
    ck_assert_uint_eq(fake_calls("C_GenerateKeyPair"), _i >= 2 ? 2 : 1);
    pub = public_half(fake_find(slot, 3 /* CKO_PRIVATE_KEY */, "new"));
    ck_assert(sign(text, sizeof(text), sig, &len));
    ck_assert(verify(pub, plain, text, sizeof(text), sig, len));
    ck_assert_uint_eq(fake_objects(slot, FAKE_ANY), 2);
    ck_assert_ptr_null(generate(_i % 2, "new"));
    ck_assert_int_eq(our_reason(), PROV_R_TOKEN + KS_KEY_EXISTS);
}
END_TEST

START_TEST(bad_new_keys_are_not_kept)
{
    static const enum fake_quirk quirks[] = {FAKE_QUIRK_HALF_PAIR, FAKE_QUIRK_UNUSABLE_KEYS,
                                             FAKE_QUIRK_BAD_SIGNATURES};

    fake_set_quirk(quirks[_i], true);
    ck_assert_ptr_null(generate(_i % 2, "new"));
    ck_assert_int_ne(our_reason(), 0);
    ck_assert_uint_eq(fake_objects(slot, FAKE_ANY), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("eddsa");
    TCase *tc = tcase_create("eddsa");

    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, signs_with_two_calls, 0, COUNT(rows));
    tcase_add_loop_test(tc, copies_sign, 0, COUNT(rows));
    tcase_add_loop_test(tc, empty_and_longest_messages, 0, COUNT(rows));
    tcase_add_loop_test(tc, digests_and_instances_are_refused, 0, COUNT(rows));
    tcase_add_loop_test(tc, both_spellings_of_the_parameters, 0, COUNT(rows));
    tcase_add_loop_test(tc, raw_points_and_named_curves, 0, COUNT(rows));
    tcase_add_loop_test(tc, wrong_signatures_of_an_unproved_key_are_not_released, 0, COUNT(rows));
    tcase_add_loop_test(tc, tokens_without_the_mechanism, 0, COUNT(rows));
    tcase_add_loop_test(tc, keys_that_may_not_sign, 0, COUNT(rows));
    tcase_add_loop_test(tc, the_algorithm_identifier_is_libcryptos, 0, COUNT(rows));
    tcase_add_loop_test(tc, the_private_half_stays, 0, COUNT(rows));
    tcase_add_loop_test(tc, keys_are_generated_on_the_token, 0, 4);
    tcase_add_loop_test(tc, bad_new_keys_are_not_kept, 0, 3);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
