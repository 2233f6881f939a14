/* SPDX-License-Identifier: Apache-2.0
 *
 * Tokens that hash by themselves: they lack CKM_RSA_PKCS, CKM_RSA_PKCS_PSS or CKM_ECDSA, and have
 * CKM_SHA256_RSA_PKCS and its kind (signature/buffer.c). Over the fake module.
 */
#include <openssl/pem.h>
#include <p11-kit/pkcs11.h>

#include "with_provider.h"

static const struct row {
    enum fake_kind kind;
    const char *md;
    int padding;
    unsigned long mechanism; /* the one that hashes */
} rows[] = {
    {FAKE_RSA, "SHA1", RSA_PKCS1_PADDING, 0x06},
    {FAKE_RSA, "SHA224", RSA_PKCS1_PADDING, 0x46},
    {FAKE_RSA, "SHA256", RSA_PKCS1_PADDING, 0x40},
    {FAKE_RSA, "SHA384", RSA_PKCS1_PADDING, 0x41},
    {FAKE_RSA, "SHA512", RSA_PKCS1_PADDING, 0x42},
    {FAKE_RSA, "SHA256", RSA_PKCS1_PSS_PADDING, 0x43},
    {FAKE_RSA, "SHA512", RSA_PKCS1_PSS_PADDING, 0x45},
    {FAKE_P256, "SHA256", 0, 0x1044},
    {FAKE_P384, "SHA384", 0, 0x1045},
    {FAKE_P256, "SHA512", 0, 0x1046}, /* longer than the order */
    {FAKE_P521, "SHA256", 0, 0x1044},
};

static EVP_PKEY *key, *pub;
static const unsigned char text[] = "some text to sign";

static void set_up(void)
{
    static const unsigned long raw[] = {0x01, 0x03, 0x0d, 0x1041};

    token_up();
    provider_up(NULL);
    for (size_t i = 0; i < sizeof(raw) / sizeof(raw[0]); i++)
        fake_set_mechanism(slot, raw[i], false);
}

static void tear_down(void)
{
    EVP_PKEY_free(key);
    EVP_PKEY_free(pub);
    provider_down();
}

static void load(int i)
{
    const unsigned long handle = fake_add_pair(slot, rows[i].kind, "k");

    fake_set_mechanism(slot, rows[i].mechanism, true);
    key = load_key("k");
    pub = public_half(handle);
    fake_clear_counts();
}

static bool pad(EVP_PKEY_CTX *pctx, int i)
{
    return rows[i].padding == 0 || EVP_PKEY_CTX_set_rsa_padding(pctx, rows[i].padding) == 1;
}

static bool verify(int i, const void *in, size_t in_len, const unsigned char *sig, size_t len)
{
    EVP_MD_CTX *mdctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx = NULL;
    bool ok = EVP_DigestVerifyInit_ex(mdctx, &pctx, rows[i].md, plain, NULL, pub, NULL) == 1 &&
              pad(pctx, i) && EVP_DigestVerify(mdctx, sig, len, in, in_len) == 1;

    EVP_MD_CTX_free(mdctx);
    return ok;
}

static EVP_MD_CTX *start(int i)
{
    EVP_MD_CTX *mdctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx = NULL;

    ck_assert_int_eq(EVP_DigestSignInit_ex(mdctx, &pctx, rows[i].md, libctx, NULL, key, NULL), 1);
    ck_assert(pad(pctx, i)); /* after the init, as libssl does it */
    return mdctx;
}

START_TEST(one_shot)
{
    unsigned char sig[SIG_MAX];
    size_t len = sizeof(sig);
    EVP_MD_CTX *mdctx;

    load(_i);
    mdctx = start(_i);
    ck_assert_int_eq(EVP_DigestSign(mdctx, sig, &len, text, sizeof(text)), 1);
    ck_assert(verify(_i, text, sizeof(text), sig, len));
    ck_assert_uint_eq(fake_last_mechanism().type, rows[_i].mechanism);
    ck_assert_uint_eq(fake_calls(NULL), 2);
    no_errors();
    EVP_MD_CTX_free(mdctx);
}
END_TEST

/* In pieces, with a copy on the way, and the empty message. */
START_TEST(streamed)
{
    static unsigned char message[KS_MESSAGE_MAX];
    unsigned char sig[SIG_MAX];
    size_t len = sizeof(sig);
    EVP_MD_CTX *mdctx, *copy = EVP_MD_CTX_new();

    for (size_t i = 0; i < sizeof(message); i++)
        message[i] = (unsigned char)(i * 7);
    load(_i);
    mdctx = start(_i);
    ck_assert_int_eq(EVP_DigestSignUpdate(mdctx, message, 1), 1);
    ck_assert_int_eq(EVP_DigestSignUpdate(mdctx, message + 1, 2999), 1);
    ck_assert_int_eq(EVP_MD_CTX_copy_ex(copy, mdctx), 1);
    ck_assert_int_eq(EVP_DigestSignUpdate(mdctx, message + 3000, sizeof(message) - 3000), 1);
    ck_assert_int_eq(EVP_DigestSignFinal(mdctx, sig, &len), 1);
    ck_assert(verify(_i, message, sizeof(message), sig, len));
    len = sizeof(sig);
    ck_assert_int_eq(EVP_DigestSignFinal(copy, sig, &len), 1);
    ck_assert(verify(_i, message, 3000, sig, len));
    EVP_MD_CTX_free(mdctx);
    EVP_MD_CTX_free(copy);
    mdctx = start(_i);
    len = sizeof(sig);
    ck_assert_int_eq(EVP_DigestSignFinal(mdctx, sig, &len), 1);
    ck_assert(verify(_i, message, 0, sig, len));
    EVP_MD_CTX_free(mdctx);
    no_errors();
}
END_TEST

START_TEST(too_long)
{
    static unsigned char message[KS_MESSAGE_MAX + 1];
    unsigned char sig[SIG_MAX];
    size_t len = sizeof(sig);
    EVP_MD_CTX *mdctx;
    char said[1024];

    load(_i);
    mdctx = start(_i);
    ck_assert_int_eq(EVP_DigestSignUpdate(mdctx, message, 1000), 1);
    ck_assert_int_eq(EVP_DigestSignUpdate(mdctx, message, sizeof(message) - 1000), 1);
    ck_assert_int_ne(EVP_DigestSignFinal(mdctx, sig, &len), 1);
    ck_assert_int_eq(our_reason_and_text(said, sizeof(said)), PROV_R_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(said, "longer than"));
    ck_assert_uint_eq(fake_calls(NULL), 0);
    EVP_MD_CTX_free(mdctx);
}
END_TEST

START_TEST(bad_signatures_are_not_released)
{
    unsigned char sig[SIG_MAX] = {0}, nothing[SIG_MAX] = {0};
    size_t len = sizeof(sig);
    EVP_MD_CTX *mdctx;

    load(_i);
    fake_set_quirk(FAKE_QUIRK_BAD_SIGNATURES, true);
    mdctx = start(_i);
    ck_assert_int_ne(EVP_DigestSign(mdctx, sig, &len, text, sizeof(text)), 1);
    ck_assert_int_eq(our_reason(), PROV_R_VERIFY);
    ck_assert_mem_eq(sig, nothing, sizeof(sig));
    EVP_MD_CTX_free(mdctx);
}
END_TEST

START_TEST(a_digest_alone_is_refused)
{
    unsigned char sig[SIG_MAX], digest[EVP_MAX_MD_SIZE];
    size_t len = sizeof(sig), digest_len = 0;
    EVP_PKEY_CTX *pctx;
    EVP_MD *md;
    char said[1024];

    load(_i);
    md = EVP_MD_fetch(plain, rows[_i].md, NULL);
    ck_assert_int_eq(
        EVP_Q_digest(plain, rows[_i].md, NULL, text, sizeof(text), digest, &digest_len), 1);
    pctx = EVP_PKEY_CTX_new_from_pkey(libctx, key, NULL);
    ck_assert_int_eq(EVP_PKEY_sign_init(pctx), 1);
    ck_assert(pad(pctx, _i));
    ck_assert_int_eq(EVP_PKEY_CTX_set_signature_md(pctx, md), 1);
    ck_assert_int_ne(EVP_PKEY_sign(pctx, sig, &len, digest, digest_len), 1);
    ck_assert_int_eq(our_reason_and_text(said, sizeof(said)), PROV_R_TOKEN + KS_MECHANISM);
    ck_assert_ptr_nonnull(strstr(said, "here is a digest"));
    ck_assert_uint_eq(fake_calls(NULL), 0);
    EVP_PKEY_CTX_free(pctx);
    EVP_MD_free(md);
}
END_TEST

/* The token has another digest's mechanism only. */
START_TEST(other_digests_are_refused)
{
    unsigned char sig[SIG_MAX];
    size_t len = sizeof(sig);
    EVP_MD_CTX *mdctx;
    char said[1024];

    load(_i);
    fake_set_mechanism(slot, rows[_i].mechanism, false);
    fake_set_mechanism(slot,
                       rows[_i].padding == 0        ? 0x1043
                       : rows[_i].mechanism == 0x46 ? 0x40
                                                    : 0x46,
                       true);
    EVP_PKEY_free(key);
    provider_down();
    provider_up(NULL);
    key = load_key("k");
    fake_clear_counts();
    mdctx = EVP_MD_CTX_new();
    /* refused at the init where the token has nothing that the class could use */
    ck_assert(EVP_DigestSignInit_ex(mdctx, NULL, rows[_i].md, libctx, NULL, key, NULL) != 1 ||
              EVP_DigestSign(mdctx, sig, &len, text, sizeof(text)) != 1);
    ck_assert_int_eq(our_reason_and_text(said, sizeof(said)), PROV_R_TOKEN + KS_MECHANISM);
    ck_assert_ptr_nonnull(strstr(said, rows[_i].padding == 0 ? "CKM_ECDSA" : "CKM_RSA_PKCS"));
    ck_assert_uint_eq(fake_calls("C_Sign"), 0);
    EVP_MD_CTX_free(mdctx);
}
END_TEST

/* A token that has the raw mechanism is given digests, whatever else it has, of any length. */
START_TEST(raw_mechanisms_win)
{
    static unsigned char message[4 * KS_MESSAGE_MAX];
    static const unsigned long raw[] = {0x01, 0x0d, 0x1041};
    unsigned char sig[SIG_MAX];
    size_t len = sizeof(sig);
    EVP_MD_CTX *mdctx;

    for (size_t i = 0; i < sizeof(raw) / sizeof(raw[0]); i++)
        fake_set_mechanism(slot, raw[i], true);
    load(_i);
    mdctx = start(_i);
    ck_assert_int_eq(EVP_DigestSign(mdctx, sig, &len, message, sizeof(message)), 1);
    ck_assert(verify(_i, message, sizeof(message), sig, len));
    ck_assert_uint_ne(fake_last_mechanism().type, rows[_i].mechanism);
    ck_assert_uint_eq(fake_calls(NULL), 2);
    EVP_MD_CTX_free(mdctx);
}
END_TEST

/* Raw RSA makes PSS of a digest: better than the message, which may be long. */
START_TEST(pss_by_raw_rsa)
{
    unsigned char sig[SIG_MAX];
    size_t len = sizeof(sig);
    EVP_MD_CTX *mdctx;

    fake_set_mechanism(slot, 0x03, true);
    load(5);
    mdctx = start(5);
    ck_assert_int_eq(EVP_DigestSign(mdctx, sig, &len, text, sizeof(text)), 1);
    ck_assert(verify(5, text, sizeof(text), sig, len));
    ck_assert_uint_eq(fake_last_mechanism().type, 0x03);
    EVP_MD_CTX_free(mdctx);
}
END_TEST

START_TEST(keys_are_generated_and_tried)
{
    static const char *const types[] = {"RSA", "EC"};
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_name(libctx, types[_i], "provider=hsm");
    char label[] = "new", group[] = "P-256";
    OSSL_PARAM params[3] = {OSSL_PARAM_utf8_string("hsm-label", label, sizeof(label) - 1),
                            OSSL_PARAM_END, OSSL_PARAM_END};

    if (_i == 1)
        params[1] = OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0);
    fake_set_mechanism(slot, 0x40, true);
    fake_set_mechanism(slot, 0x1044, true);
    ck_assert_int_eq(EVP_PKEY_keygen_init(pctx), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set_params(pctx, params), 1);
    ck_assert_int_eq(EVP_PKEY_generate(pctx, &key), 1);
    ck_assert_uint_eq(fake_calls("C_Sign"), 1);
    ck_assert_uint_eq(fake_objects(slot, FAKE_ANY), 2);
    EVP_PKEY_CTX_free(pctx);
}
END_TEST

/* check-key-at-load = no: nothing of the token is asked before there is something to sign, and
 * what is wrong then is said then: libssl drops the errors of inits. */
static EVP_PKEY *load_unseen(int i)
{
    BIO *pem = BIO_new(BIO_s_mem());

    ck_assert_int_eq(PEM_write_bio_PrivateKey(pem, key, NULL, NULL, 0, NULL, NULL), 1);
    EVP_PKEY_free(key);
    provider_down();
    prov_config_override("check-key-at-load", "no");
    provider_up(NULL);
    EVP_PKEY_free(pub);
    pub = public_half(fake_find(slot, CKO_PRIVATE_KEY, "k"));
    fake_set_mechanism(slot, rows[i].mechanism, true);
    fake_clear_counts();
    key = PEM_read_bio_PrivateKey_ex(pem, NULL, NULL, NULL, libctx, NULL);
    ck_assert_ptr_nonnull(key);
    BIO_free(pem);
    return key;
}

START_TEST(keys_that_wait_for_their_first_use)
{
    unsigned char sig[SIG_MAX];
    size_t len = sizeof(sig);
    EVP_MD_CTX *mdctx;

    load(_i);
    key = load_unseen(_i);
    mdctx = start(_i);
    ck_assert_int_eq(EVP_DigestSignUpdate(mdctx, text, sizeof(text)), 1);
    ck_assert_uint_eq(fake_calls(NULL), 0);
    fake_set_present(slot, false);
    ck_assert_int_ne(EVP_DigestSignFinal(mdctx, sig, &len), 1);
    ck_assert_uint_eq(fake_calls("C_SignInit"), 0);
    ck_assert_int_eq(our_reason() - PROV_R_TOKEN, KS_DEVICE);
    EVP_MD_CTX_free(mdctx);
    fake_set_present(slot, true);
    mdctx = start(_i);
    len = sizeof(sig);
    ck_assert_int_eq(EVP_DigestSign(mdctx, sig, &len, text, sizeof(text)), 1);
    ck_assert(verify(_i, text, sizeof(text), sig, len));
    ck_assert_uint_eq(fake_last_mechanism().type, rows[_i].mechanism);
    no_errors();
    EVP_MD_CTX_free(mdctx);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hash and sign");
    TCase *tc = tcase_create("hash and sign");

    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, one_shot, 0, COUNT(rows));
    tcase_add_loop_test(tc, streamed, 0, COUNT(rows));
    tcase_add_loop_test(tc, too_long, 0, COUNT(rows));
    tcase_add_loop_test(tc, bad_signatures_are_not_released, 0, COUNT(rows));
    tcase_add_loop_test(tc, a_digest_alone_is_refused, 0, COUNT(rows));
    tcase_add_loop_test(tc, other_digests_are_refused, 0, COUNT(rows));
    tcase_add_loop_test(tc, raw_mechanisms_win, 0, COUNT(rows));
    tcase_add_test(tc, pss_by_raw_rsa);
    tcase_add_loop_test(tc, keys_are_generated_and_tried, 0, 2);
    tcase_add_loop_test(tc, keys_that_wait_for_their_first_use, 0, COUNT(rows));
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
