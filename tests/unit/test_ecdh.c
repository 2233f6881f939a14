/* SPDX-License-Identifier: Apache-2.0
 *
 * ECDH: keyexch/ecdh.c at the EVP level, over the fake module. Whatever happens, no secret stays
 * behind on the token.
 */
#include "with_provider.h"

#include <openssl/ec.h>
#include <openssl/kdf.h>

#define CKO_PRIVATE_KEY_     3UL
#define CKO_SECRET_KEY_      4UL
#define CKA_PUBLIC_KEY_INFO_ 0x129UL
#define CKM_ECDH1            0x1050UL
#define CKM_ECDH1_COF        0x1051UL

static const struct row {
    const char *group;
    enum fake_kind kind;
    size_t field;
} rows[] = {{"P-256", FAKE_P256, 32},
            {"P-384", FAKE_P384, 48},
            {"P-521", FAKE_P521, 66},
            {"secp256k1", FAKE_SECP256K1, 32}};

static EVP_PKEY *key, *pub, *peer, *peer_pub;
static unsigned objects;

static void set_up(void)
{
    token_up();
    provider_up(NULL);
}

static void tear_down(void)
{
    EVP_PKEY_free(key);
    EVP_PKEY_free(pub);
    EVP_PKEY_free(peer);
    EVP_PKEY_free(peer_pub);
    provider_down();
}

/* A key in `in` with the public half of `of` and no more. */
static EVP_PKEY *public_copy(EVP_PKEY *of, OSSL_LIB_CTX *in)
{
    unsigned char *der = NULL;
    const unsigned char *p;
    int len = i2d_PUBKEY(of, &der);
    EVP_PKEY *copy;

    p = der;
    copy = d2i_PUBKEY_ex(NULL, &p, len, in, NULL);
    ck_assert_ptr_nonnull(copy);
    OPENSSL_free(der);
    return copy;
}

static void load(int i, unsigned flags)
{
    const struct fake_key spec = {.kind = rows[i].kind, .label = "k", .id = "k", .flags = flags};
    const unsigned long handle = fake_add_key(slot, &spec);

    key = load_key("k");
    pub = public_half(handle);
    peer = EVP_PKEY_Q_keygen(plain, NULL, "EC", rows[i].group);
    ck_assert_ptr_nonnull(peer);
    peer_pub = public_copy(peer, libctx);
    objects = fake_objects(slot, FAKE_ANY);
    fake_clear_counts();
}

static void nothing_left(void)
{
    ck_assert_uint_eq(fake_objects(slot, CKO_SECRET_KEY_), 0);
    ck_assert_uint_eq(fake_objects(slot, FAKE_ANY), objects);
}

static bool derive_in(OSSL_LIB_CTX *in, EVP_PKEY *own, EVP_PKEY *other, const OSSL_PARAM params[],
                      unsigned char *out, size_t *len)
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(in, own, NULL);
    bool ok = pctx != NULL && EVP_PKEY_derive_init_ex(pctx, params) == 1 &&
              EVP_PKEY_derive_set_peer(pctx, other) == 1 && EVP_PKEY_derive(pctx, out, len) == 1;

    EVP_PKEY_CTX_free(pctx);
    return ok;
}

static bool derive(const OSSL_PARAM params[], unsigned char *out, size_t *len)
{
    return derive_in(libctx, key, peer_pub, params, out, len);
}

/* The same secret as the other side's; as many times, each with three calls. */
static void agree(const OSSL_PARAM params[], int times)
{
    unsigned char ours[256], theirs[256];
    size_t theirs_len = sizeof(theirs);

    ck_assert(derive_in(plain, peer, pub, params, theirs, &theirs_len));
    for (int i = 0; i < times; i++) {
        size_t len = sizeof(ours);

        ck_assert(derive(params, ours, &len));
        ck_assert_uint_eq(len, theirs_len);
        ck_assert_mem_eq(ours, theirs, len);
    }
    no_errors();
    nothing_left();
}

/* The first spelling has made its object, and says that it has not: the second one succeeds. */
START_TEST(nothing_stays_of_a_spelling_that_was_refused)
{
    static const unsigned long codes[] = {
        0x05 /* GENERAL_ERROR */,           0x07 /* ARGUMENTS_BAD */,
        0x12 /* ATTRIBUTE_TYPE_INVALID */,  0x13 /* ATTRIBUTE_VALUE_INVALID */,
        0x71 /* MECHANISM_PARAM_INVALID */, 0xd1 /* TEMPLATE_INCONSISTENT */,
    };

    for (int hidden = 0; hidden < 2; hidden++) {
        for (int i = 0; i < COUNT(codes); i++) {
            token_up();
            if (hidden != 0)
                fake_hide_attribute(CKO_PRIVATE_KEY_, CKA_PUBLIC_KEY_INFO_);
            EVP_PKEY_free(key);
            EVP_PKEY_free(pub);
            EVP_PKEY_free(peer);
            EVP_PKEY_free(peer_pub);
            load(0, 0);
            fake_inject("C_DeriveKey", 1, 1, codes[i], true);
            agree(NULL, 2);
        }
    }
}
END_TEST

START_TEST(both_sides_agree)
{
    load(_i, 0);
    agree(NULL, 3);
    ck_assert_uint_eq(fake_calls("C_DeriveKey"), 3);
    ck_assert_uint_eq(fake_calls("C_DestroyObject"), 3);
    ck_assert_uint_eq(fake_calls(NULL), 9);
    ck_assert_uint_eq(fake_last_mechanism().type, CKM_ECDH1);
}
END_TEST

START_TEST(ten_thousand_leave_nothing)
{
    const unsigned rounds = under_valgrind() ? 50 : 10000;

    load(0, 0);
    agree(NULL, (int)rounds);
    ck_assert_uint_eq(fake_calls("C_DeriveKey"), rounds);
    ck_assert_uint_eq(fake_calls("C_DestroyObject"), rounds);
    ck_assert_uint_eq(fake_calls(NULL), 3UL * rounds);
    ck_assert_uint_le(fake_sessions(), 2);
}
END_TEST

START_TEST(sizes)
{
    EVP_PKEY_CTX *pctx;
    unsigned char out[80];
    size_t len = 0;

    load(_i, 0);
    pctx = EVP_PKEY_CTX_new_from_pkey(libctx, key, NULL);
    ck_assert_int_eq(EVP_PKEY_derive_init(pctx), 1);
    ck_assert_int_ne(EVP_PKEY_derive(pctx, out, &len), 1); /* no peer yet */
    ERR_clear_error();
    ck_assert_int_eq(EVP_PKEY_derive_set_peer(pctx, peer_pub), 1);
    ck_assert_int_eq(EVP_PKEY_derive(pctx, NULL, &len), 1);
    ck_assert_uint_eq(len, rows[_i].field);
    len = rows[_i].field - 1;
    ck_assert_int_ne(EVP_PKEY_derive(pctx, out, &len), 1);
    ck_assert_int_eq(our_reason(), PROV_R_PARAMETER);
    ck_assert_uint_eq(fake_calls(NULL), 0);
    EVP_PKEY_CTX_free(pctx);
}
END_TEST

START_TEST(x963)
{
    char kdf[] = OSSL_KDF_NAME_X963KDF, md[] = "SHA384";
    unsigned char ukm[] = "user keying material", none[1];
    size_t out_len = 100;
    OSSL_PARAM params[] = {
        OSSL_PARAM_utf8_string(OSSL_EXCHANGE_PARAM_KDF_TYPE, kdf, sizeof(kdf) - 1),
        OSSL_PARAM_utf8_string(OSSL_EXCHANGE_PARAM_KDF_DIGEST, md, sizeof(md) - 1),
        OSSL_PARAM_size_t(OSSL_EXCHANGE_PARAM_KDF_OUTLEN, &out_len),
        OSSL_PARAM_octet_string(OSSL_EXCHANGE_PARAM_KDF_UKM, ukm, sizeof(ukm)),
        OSSL_PARAM_END,
    };
    size_t len = sizeof(none);

    load(_i, 0);
    agree(params, 2);
    params[3] = OSSL_PARAM_construct_end();
    agree(params, 1);
    ck_assert(!derive(params, none, &len));
    ck_assert_int_eq(our_reason(), PROV_R_PARAMETER);
    params[2] = OSSL_PARAM_construct_end();
    len = 0;
    ck_assert(!derive(params, NULL, &len)); /* without a length */
    ck_assert_int_eq(our_reason(), PROV_R_PARAMETER);
    nothing_left();
}
END_TEST

START_TEST(parameters_are_given_back)
{
    EVP_PKEY_CTX *pctx, *copy;
    const EVP_MD *md = NULL;
    int len = 0;

    load(0, 0);
    pctx = EVP_PKEY_CTX_new_from_pkey(libctx, key, NULL);
    ck_assert_int_eq(EVP_PKEY_derive_init(pctx), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set_ecdh_cofactor_mode(pctx, 1), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set_ecdh_kdf_type(pctx, EVP_PKEY_ECDH_KDF_X9_63), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set_ecdh_kdf_md(pctx, EVP_sha512()), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set_ecdh_kdf_outlen(pctx, 33), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set0_ecdh_kdf_ukm(pctx, OPENSSL_memdup("abc", 3), 3), 1);
    ck_assert_int_eq(EVP_PKEY_derive_set_peer(pctx, peer_pub), 1);
    copy = EVP_PKEY_CTX_dup(pctx);
    ck_assert_ptr_nonnull(copy);
    EVP_PKEY_CTX_free(pctx);
    ck_assert_int_eq(EVP_PKEY_CTX_get_ecdh_cofactor_mode(copy), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_get_ecdh_kdf_type(copy), EVP_PKEY_ECDH_KDF_X9_63);
    ck_assert_int_eq(EVP_PKEY_CTX_get_ecdh_kdf_md(copy, &md), 1);
    ck_assert_int_eq(EVP_MD_get_type(md), NID_sha512);
    ck_assert_int_eq(EVP_PKEY_CTX_get_ecdh_kdf_outlen(copy, &len), 1);
    ck_assert_int_eq(len, 33);
    {
        unsigned char out[33];
        size_t out_len = sizeof(out);

        ck_assert_int_eq(EVP_PKEY_derive(copy, out, &out_len), 1);
        ck_assert_uint_eq(out_len, 33);
    }
    ck_assert_int_le(EVP_PKEY_CTX_set_ecdh_cofactor_mode(copy, 2), 0);
    EVP_PKEY_CTX_free(copy);
    nothing_left();
}
END_TEST

/* The cofactor of these curves is 1: whichever mechanism the token has will do. */
/* Each by its name, and the token is not asked. */
START_TEST(bad_parameters_are_refused)
{
    char kdf[] = "HKDF", md[] = "SHAKE-128", text[] = "text";
    int mode = 2;
    const OSSL_PARAM bad[] = {
        OSSL_PARAM_utf8_string(OSSL_EXCHANGE_PARAM_KDF_TYPE, kdf, sizeof(kdf) - 1),
        OSSL_PARAM_utf8_string(OSSL_EXCHANGE_PARAM_KDF_DIGEST, md, sizeof(md) - 1),
        OSSL_PARAM_utf8_string(OSSL_EXCHANGE_PARAM_KDF_UKM, text, sizeof(text) - 1),
        OSSL_PARAM_utf8_string(OSSL_EXCHANGE_PARAM_KDF_OUTLEN, text, sizeof(text) - 1),
        OSSL_PARAM_int(OSSL_EXCHANGE_PARAM_EC_ECDH_COFACTOR_MODE, &mode),
    };
    const OSSL_PARAM params[] = {bad[_i], OSSL_PARAM_END};
    unsigned char out[256];
    size_t len = sizeof(out);

    load(0, 0);
    ck_assert(!derive(params, out, &len));
    ck_assert_int_eq(our_reason(), PROV_R_PARAMETER);
    ck_assert_uint_eq(fake_calls("C_DeriveKey"), 0);
    nothing_left();
}
END_TEST

START_TEST(cofactor_modes)
{
    static const struct {
        int mode;
        bool plain, cofactor;
        unsigned long used;
    } cases[] = {
        {-1, true, true, CKM_ECDH1},    {0, true, true, CKM_ECDH1},
        {1, true, true, CKM_ECDH1_COF}, {0, false, true, CKM_ECDH1_COF},
        {1, true, false, CKM_ECDH1},
    };
    int mode = cases[_i].mode;
    const OSSL_PARAM params[] = {OSSL_PARAM_int(OSSL_EXCHANGE_PARAM_EC_ECDH_COFACTOR_MODE, &mode),
                                 OSSL_PARAM_END};

    fake_set_mechanism(slot, CKM_ECDH1, cases[_i].plain);
    fake_set_mechanism(slot, CKM_ECDH1_COF, cases[_i].cofactor);
    load(0, 0);
    agree(params, 1);
    ck_assert_uint_eq(fake_last_mechanism().type, cases[_i].used);
}
END_TEST

START_TEST(tokens_without_the_mechanism)
{
    unsigned char out[80];
    size_t len = sizeof(out);
    char said[1024];

    fake_set_mechanism(slot, CKM_ECDH1, false);
    fake_set_mechanism(slot, CKM_ECDH1_COF, false);
    load(0, 0);
    ck_assert(!derive(NULL, out, &len));
    ck_assert_int_eq(our_reason_and_text(said, sizeof(said)), PROV_R_TOKEN + KS_MECHANISM);
    ck_assert_ptr_nonnull(strstr(said, "CKM_ECDH1_DERIVE"));
    ck_assert_uint_eq(fake_calls("C_DeriveKey"), 0);
}
END_TEST

START_TEST(tokens_that_deviate)
{
    static const enum fake_quirk quirks[] = {FAKE_QUIRK_DER_PEER, FAKE_QUIRK_NO_VALUE_LEN,
                                             FAKE_QUIRK_RAW_EC_POINT};

    fake_set_quirk(quirks[_i], true);
    load(0, 0);
    agree(NULL, 5);
    /* found out once */
    ck_assert_uint_le(fake_calls("C_DeriveKey"), 7);
}
END_TEST

/* Secrets that begin with a zero: one of 256 does, and the token leaves it out. */
START_TEST(stripped_zeros)
{
    unsigned shorter = 0;

    fake_set_quirk(FAKE_QUIRK_STRIPPED_ZEROS, true);
    load(0, 0);
    for (int i = 0; i < 3000 && shorter == 0; i++) {
        unsigned char secret[32];
        size_t len = sizeof(secret);

        EVP_PKEY_free(peer);
        EVP_PKEY_free(peer_pub);
        peer = EVP_PKEY_Q_keygen(plain, NULL, "EC", "P-256");
        peer_pub = public_copy(peer, libctx);
        ck_assert(derive_in(plain, peer, pub, NULL, secret, &len));
        if (secret[0] != 0)
            continue;
        shorter++;
        agree(NULL, 1);
    }
    ck_assert_uint_eq(shorter, 1);
}
END_TEST

/* Each failure at each of the three calls; the secret is gone all the same. */
START_TEST(errors_leave_nothing)
{
    static const char *const functions[] = {"C_DeriveKey", "C_GetAttributeValue",
                                            "C_DestroyObject"};
    static const unsigned long codes[] = {0x30 /* DEVICE_ERROR */,
                                          0x5 /* GENERAL_ERROR */,
                                          0x6 /* FUNCTION_FAILED */,
                                          0x12 /* TYPE_INVALID */,
                                          0x11 /* SENSITIVE */,
                                          0x82 /* OBJECT_HANDLE_INVALID */,
                                          0xb3 /* SESSION_HANDLE_INVALID */,
                                          0x101 /* USER_NOT_LOGGED_IN */,
                                          0x31 /* MEMORY */};
    const char *function = functions[_i / COUNT(codes)];
    const unsigned long code = codes[_i % COUNT(codes)];
    unsigned char out[80];

    load(0, 0);
    for (int after = 0; after < 2; after++) {
        for (unsigned times = 1; times < 4; times += 2) {
            size_t len = sizeof(out);

            fake_inject(function, 1, times, code, after == 1);
            if (!derive(NULL, out, &len))
                ck_assert_int_ne(our_reason(), 0);
            ERR_clear_error();
            fake_heal(NULL);
            nothing_left();
        }
    }
    agree(NULL, 2);
}
END_TEST

START_TEST(peers_are_checked)
{
    /* x and y that are no point of P-256 */
    unsigned char point[65] = {4};
    EVP_PKEY *other = EVP_PKEY_Q_keygen(libctx, "provider=default", "EC", "P-384"), *bad;
    EVP_PKEY_CTX *pctx;
    unsigned char out[80];
    size_t len = sizeof(out);

    load(0, 0);
    pctx = EVP_PKEY_CTX_new_from_pkey(libctx, key, NULL);
    ck_assert_int_eq(EVP_PKEY_derive_init(pctx), 1);
    bad = public_copy(other, libctx);
    ck_assert_int_ne(EVP_PKEY_derive_set_peer(pctx, bad), 1);
    ck_assert_int_eq(our_reason(), PROV_R_PARAMETER);
    EVP_PKEY_free(bad);
    ck_assert_int_ne(EVP_PKEY_derive(pctx, out, &len), 1); /* still no peer */
    ERR_clear_error();
    EVP_PKEY_CTX_free(pctx);
    EVP_PKEY_free(other);
    /* libcrypto itself does not make such a key; nor do we */
    point[64] = 1;
    pctx = EVP_PKEY_CTX_new_from_name(libctx, "EC", "provider=hsm");
    {
        char group[] = "P-256";
        OSSL_PARAM params[] = {
            OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof(group) - 1),
            OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)),
            OSSL_PARAM_END,
        };

        bad = NULL;
        ck_assert_int_eq(EVP_PKEY_fromdata_init(pctx), 1);
        ck_assert_int_ne(EVP_PKEY_fromdata(pctx, &bad, EVP_PKEY_PUBLIC_KEY, params), 1);
        ck_assert_int_eq(our_reason(), PROV_R_SOFTWARE);
    }
    EVP_PKEY_CTX_free(pctx);
    ck_assert_uint_eq(fake_calls("C_DeriveKey"), 0);
}
END_TEST

/* Two keys of the token's, each the other's peer. */
START_TEST(a_key_of_the_token_as_peer)
{
    unsigned char one[32], two[32];
    size_t one_len = sizeof(one), two_len = sizeof(two);
    EVP_PKEY *second;

    load(0, 0);
    (void)fake_add_pair(slot, FAKE_P256, "second");
    second = load_key("second");
    ck_assert(derive_in(libctx, key, second, NULL, one, &one_len));
    ck_assert(derive_in(libctx, second, key, NULL, two, &two_len));
    ck_assert_mem_eq(one, two, sizeof(one));
    ck_assert_uint_eq(fake_objects(slot, CKO_SECRET_KEY_), 0);
    EVP_PKEY_free(second);
}
END_TEST

START_TEST(keys_that_may_not_derive)
{
    unsigned char out[80];
    size_t len = sizeof(out);

    fake_set_quirk(FAKE_QUIRK_USE_NOT_ENFORCED, true);
    load(0, FAKE_NO_DERIVE);
    ck_assert(!derive(NULL, out, &len));
    ck_assert_int_eq(our_reason(), PROV_R_TOKEN + KS_KEY_USE);
    ck_assert_uint_eq(fake_calls("C_DeriveKey"), 0);
}
END_TEST

/* Where the private object does not say whose secret it is, a derivation that we know the result of
 * does, before the first one; and not a signature, which the key need not be able to make. */
START_TEST(unproved_keys_are_proved_first)
{
    fake_hide_attribute(CKO_PRIVATE_KEY_, CKA_PUBLIC_KEY_INFO_);
    load(_i, FAKE_NO_SIGN);
    agree(NULL, 3);
    ck_assert_uint_eq(fake_calls("C_DeriveKey"), 4);
    ck_assert_uint_eq(fake_calls("C_DestroyObject"), 4);
    ck_assert_uint_eq(fake_calls("C_Sign"), 0);
    fake_lose_sessions(false);
    agree(NULL, 3);
    ck_assert_uint_eq(fake_calls("C_DeriveKey"), 9); /* one found the session gone */
}
END_TEST

START_TEST(not_listed)
{
    unsigned char out[80];
    size_t len = sizeof(out);
    char said[1024];

    provider_down();
    provider_up("all -ec-derive");
    load(0, 0);
    ck_assert(!derive(NULL, out, &len));
    ck_assert_int_eq(our_reason_and_text(said, sizeof(said)), PROV_R_POLICY);
    ck_assert_ptr_nonnull(strstr(said, "ec-derive is not offloaded"));
    /* nor by anybody else */
    {
        EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(libctx, key, "provider=default");

        ck_assert(pctx == NULL || EVP_PKEY_derive_init(pctx) != 1);
        EVP_PKEY_CTX_free(pctx);
    }
    ck_assert_uint_eq(fake_calls(NULL), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ecdh");
    TCase *tc = tcase_create("ecdh");

    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, nothing_stays_of_a_spelling_that_was_refused);
    tcase_add_loop_test(tc, both_sides_agree, 0, COUNT(rows));
    tcase_add_test(tc, ten_thousand_leave_nothing);
    tcase_add_loop_test(tc, sizes, 0, COUNT(rows));
    tcase_add_loop_test(tc, x963, 0, COUNT(rows));
    tcase_add_test(tc, parameters_are_given_back);
    tcase_add_loop_test(tc, bad_parameters_are_refused, 0, 5);
    tcase_add_loop_test(tc, cofactor_modes, 0, 5);
    tcase_add_test(tc, tokens_without_the_mechanism);
    tcase_add_loop_test(tc, tokens_that_deviate, 0, 3);
    tcase_add_test(tc, stripped_zeros);
    tcase_add_loop_test(tc, errors_leave_nothing, 0, 27);
    tcase_add_test(tc, peers_are_checked);
    tcase_add_test(tc, a_key_of_the_token_as_peer);
    tcase_add_test(tc, keys_that_may_not_derive);
    tcase_add_loop_test(tc, unproved_keys_are_proved_first, 0, COUNT(rows));
    tcase_add_test(tc, not_listed);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
