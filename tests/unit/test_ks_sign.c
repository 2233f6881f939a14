/* SPDX-License-Identifier: Apache-2.0
 *
 * verbs/sign.c and token/mech.c: what reaches the token, what comes back, and that a decryption
 * tells nothing about its data.
 */
#include "ks_fixture.h"

static const struct {
    enum ks_digest ks;
    unsigned long hash, mgf;
    size_t size;
} digests[] = {
    {KS_DIGEST_SHA1, CKM_SHA_1, CKG_MGF1_SHA1, 20},
    {KS_DIGEST_SHA224, CKM_SHA224, CKG_MGF1_SHA224, 28},
    {KS_DIGEST_SHA256, CKM_SHA256, CKG_MGF1_SHA256, 32},
    {KS_DIGEST_SHA384, CKM_SHA384, CKG_MGF1_SHA384, 48},
    {KS_DIGEST_SHA512, CKM_SHA512, CKG_MGF1_SHA512, 64},
    /* PKCS#11 3.0; p11-kit's header has none of them */
    {KS_DIGEST_SHA3_224, 0x2b5, 6, 28},
    {KS_DIGEST_SHA3_256, 0x2b0, 7, 32},
    {KS_DIGEST_SHA3_384, 0x2c0, 8, 48},
    {KS_DIGEST_SHA3_512, 0x2d0, 9, 64},
};

static const uint8_t message[64] = "sixty-four bytes that stand for a digest of whichever length";

/* --- signatures ------------------------------------------------------------------------------ */

START_TEST(ecdsa_is_r_and_s_on_every_curve)
{
    static const struct {
        enum fake_kind kind;
        size_t size;
    } curves[] = {{FAKE_P256, 64}, {FAKE_P384, 96}, {FAKE_P521, 132}, {FAKE_SECP256K1, 64}};

    for (size_t i = 0; i < COUNT_OF(curves); i++) {
        char label[8];
        struct ks_key *key;
        struct fake_mechanism made = {.type = CKM_ECDSA};

        snprintf(label, sizeof(label), "k%zu", i);
        key = fx_new_key(curves[i].kind, label);
        for (size_t in_len = 20; in_len <= 64; in_len += 4) {
            uint8_t sig[132];
            size_t len = curves[i].size; /* room for exactly that */

            fx_ok(ks_sign(key, NULL, &fx_ecdsa, message, in_len, sig, &len, &fx.err));
            ck_assert_uint_eq(len, curves[i].size);
            ck_assert(fake_verify(fake_find(fx.slot, CKO_PRIVATE_KEY, label), &made, message,
                                  in_len, sig, len));
        }
        ks_key_free(key);
    }
}
END_TEST

START_TEST(pkcs1_signs_what_it_is_given)
{
    struct ks_key *key = fx_new_key(FAKE_RSA_3072, "k");
    struct fake_mechanism made = {.type = CKM_RSA_PKCS};
    uint8_t sig[384];
    size_t len = sizeof(sig);

    fx_ok(ks_sign(key, NULL, &fx_pkcs1, message, 51, sig, &len, &fx.err));
    ck_assert_uint_eq(len, 384);
    ck_assert(fake_verify(fake_find(fx.slot, CKO_PRIVATE_KEY, "k"), &made, message, 51, sig, len));
    ck_assert_uint_eq(fake_last_mechanism().type, CKM_RSA_PKCS);
    ck_assert_uint_eq(fake_last_mechanism().parameter_len, 0);
    ks_key_free(key);
}
END_TEST

START_TEST(pss_takes_every_digest_with_every_mgf_and_salt)
{
    static const size_t salts[] = {0, 20, 32, 94};
    struct ks_key *key = fx_new_key(FAKE_RSA, "k");
    unsigned long handle = fake_find(fx.slot, CKO_PRIVATE_KEY, "k");

    for (size_t d = 0; d < COUNT_OF(digests); d++) {
        for (size_t m = 0; m < COUNT_OF(digests); m++) {
            struct ks_mech mech = {.kind = KS_MECH_RSA_PSS,
                                   .digest = digests[d].ks,
                                   .mgf1 = digests[m].ks,
                                   .salt_len = salts[(d + m) % COUNT_OF(salts)]};
            struct fake_mechanism made = {.type = CKM_RSA_PKCS_PSS,
                                          .hash = digests[d].hash,
                                          .mgf = digests[m].mgf,
                                          .salt = mech.salt_len},
                                  seen;
            uint8_t sig[256];
            size_t len = sizeof(sig);

            fx_ok(ks_sign(key, NULL, &mech, message, digests[d].size, sig, &len, &fx.err));
            ck_assert_uint_eq(len, 256);
            ck_assert(fake_verify(handle, &made, message, digests[d].size, sig, len));
            seen = fake_last_mechanism();
            ck_assert_uint_eq(seen.hash, made.hash);
            ck_assert_uint_eq(seen.mgf, made.mgf);
            ck_assert_uint_eq(seen.salt, made.salt);
        }
    }
    ks_key_free(key);
}
END_TEST

START_TEST(parameters_that_pkcs11_has_no_number_for_are_refused)
{
    static const struct ks_mech mechs[] = {
        {.kind = KS_MECH_RSA_PSS, .digest = KS_DIGEST_SHA512_256, .mgf1 = KS_DIGEST_SHA512_256},
        {.kind = KS_MECH_RSA_PSS, .digest = KS_DIGEST_SHA256, .mgf1 = KS_DIGEST_SHA512_224},
        {.kind = KS_MECH_RSA_PSS, .digest = KS_DIGEST_SHA256, .mgf1 = KS_DIGEST_NONE},
        {.kind = KS_MECH_RSA_PSS, .digest = KS_DIGEST_NONE, .mgf1 = KS_DIGEST_SHA256},
    };
    struct ks_key *key = fx_new_key(FAKE_RSA, "k");

    fake_clear_counts();
    for (size_t i = 0; i < COUNT_OF(mechs); i++) {
        uint8_t sig[256];
        size_t len = sizeof(sig);

        fx_fails(ks_sign(key, NULL, &mechs[i], message, 32, sig, &len, &fx.err), KS_MECHANISM);
        fx_says("CKM_RSA_PKCS_PSS");
    }
    ck_assert_uint_eq(fake_calls(NULL), 0);
    ks_key_free(key);
}
END_TEST

START_TEST(a_token_that_refuses_parameters_says_mechanism)
{
    struct ks_mech mixed = {.kind = KS_MECH_RSA_PSS,
                            .digest = KS_DIGEST_SHA256,
                            .mgf1 = KS_DIGEST_SHA1,
                            .salt_len = 20};
    struct ks_key *key = fx_new_key(FAKE_RSA, "k");
    uint8_t sig[256];
    size_t len = sizeof(sig);

    fake_set_quirk(FAKE_QUIRK_SHA1_OAEP, true);
    fake_clear_counts();
    fx_fails(ks_sign(key, NULL, &mixed, message, 32, sig, &len, &fx.err), KS_MECHANISM);
    fx_log_is("C_SignInit");
    mixed.mgf1 = KS_DIGEST_SHA256;
    len = sizeof(sig);
    fx_ok(ks_sign(key, NULL, &mixed, message, 32, sig, &len, &fx.err));
    ck_assert_uint_eq(fake_sessions(), 1);
    ks_key_free(key);
}
END_TEST

START_TEST(raw_results_get_their_zeros_back)
{
    struct ks_key *key = fx_new_key(FAKE_RSA, "k");
    unsigned long handle = fake_find(fx.slot, CKO_PRIVATE_KEY, "k");
    struct fake_mechanism raw = {.type = CKM_RSA_X_509};
    uint8_t block[256], cipher[256], out[256];
    size_t len;

    fake_set_quirk(FAKE_QUIRK_STRIPPED_ZEROS, true);
    for (size_t zeros = 1; zeros <= 256; zeros += 51) {
        memset(block, 0, sizeof(block));
        memset(block + zeros, 0x77, sizeof(block) - zeros);
        ck_assert_uint_eq(fake_encrypt(handle, &raw, block, sizeof(block), cipher, sizeof(cipher)),
                          256);
        len = sizeof(out);
        memset(out, 0xee, sizeof(out));
        fx_ok(ks_decrypt(key, NULL, &fx_raw, cipher, sizeof(cipher), out, &len, &fx.err));
        ck_assert_uint_eq(len, 256);
        ck_assert_mem_eq(out, block, sizeof(block));
        len = sizeof(out);
        fx_ok(ks_sign(key, NULL, &fx_raw, cipher, sizeof(cipher), out, &len, &fx.err));
        ck_assert_uint_eq(len, 256);
        ck_assert_mem_eq(out, block, sizeof(block));
    }
    ks_key_free(key);
}
END_TEST

START_TEST(nothing_is_written_behind_the_room)
{
    struct ks_key *key = fx_new_key(FAKE_RSA, "k");
    uint8_t sig[300];
    size_t len = 255; /* one too few */

    memset(sig, 0xee, sizeof(sig));
    ck_assert(!ks_ok(ks_sign(key, NULL, &fx_pkcs1, message, 32, sig, &len, &fx.err)));
    for (size_t i = 255; i < sizeof(sig); i++)
        ck_assert_uint_eq(sig[i], 0xee);
    fx_sign_well(key, "k");
    ks_key_free(key);
}
END_TEST

START_TEST(on_failure_the_room_is_wiped)
{
    struct ks_key *key = fx_new_key(FAKE_RSA, "k");
    uint8_t sig[256], zeros[256] = {0};
    size_t len = sizeof(sig);

    memset(sig, 0xee, sizeof(sig));
    fake_inject("C_Sign", 1, FAKE_FOREVER, CKR_DEVICE_ERROR, true);
    ck_assert(!ks_ok(ks_sign(key, NULL, &fx_pkcs1, message, 32, sig, &len, &fx.err)));
    ck_assert_mem_eq(sig, zeros, sizeof(sig));
    ks_key_free(key);
}
END_TEST

/* --- decryption ------------------------------------------------------------------------------ */

START_TEST(oaep_takes_digests_and_labels)
{
    static const uint8_t label[] = "a label";
    struct ks_key *key = fx_new_key(FAKE_RSA, "k");
    unsigned long handle = fake_find(fx.slot, CKO_PRIVATE_KEY, "k");

    for (size_t d = 0; d < COUNT_OF(digests); d++) {
        for (size_t m = 0; m < COUNT_OF(digests); m++) {
            bool labelled = (d + m) % 2 != 0;
            struct ks_mech mech = {.kind = KS_MECH_RSA_OAEP,
                                   .digest = digests[d].ks,
                                   .mgf1 = digests[m].ks,
                                   .label = labelled ? label : NULL,
                                   .label_len = labelled ? sizeof(label) : 0};
            struct fake_mechanism made = {.type = CKM_RSA_PKCS_OAEP,
                                          .hash = digests[d].hash,
                                          .mgf = digests[m].mgf,
                                          .label = mech.label,
                                          .label_len = mech.label_len};
            uint8_t cipher[256], plain[256];
            size_t len = sizeof(plain);

            ck_assert_uint_eq(fake_encrypt(handle, &made, message, 40, cipher, sizeof(cipher)),
                              256);
            fx_ok(ks_decrypt(key, NULL, &mech, cipher, sizeof(cipher), plain, &len, &fx.err));
            ck_assert_uint_eq(len, 40);
            ck_assert_mem_eq(plain, message, 40);
            ck_assert_uint_eq(fake_last_mechanism().label_len, mech.label_len);
        }
    }
    ks_key_free(key);
}
END_TEST

START_TEST(pkcs1_is_decrypted_by_the_token)
{
    struct ks_key *key = fx_new_key(FAKE_RSA, "k");
    struct fake_mechanism made = {.type = CKM_RSA_PKCS};
    uint8_t cipher[256], plain[256];
    size_t len = sizeof(plain);

    ck_assert_uint_eq(fake_encrypt(fake_find(fx.slot, CKO_PRIVATE_KEY, "k"), &made, message, 48,
                                   cipher, sizeof(cipher)),
                      256);
    fx_ok(ks_decrypt(key, NULL, &fx_pkcs1, cipher, sizeof(cipher), plain, &len, &fx.err));
    ck_assert_uint_eq(len, 48);
    ck_assert_mem_eq(plain, message, 48);
    ks_key_free(key);
}
END_TEST

/* Whatever a token says about bad ciphertext: one error, the same to the last byte, one attempt, no
 * session closed, nobody logged out. */
START_TEST(whatever_is_wrong_with_the_data_is_one_error)
{
    static const unsigned long codes[] = {
        CKR_ENCRYPTED_DATA_INVALID, CKR_ENCRYPTED_DATA_LEN_RANGE,
        CKR_DATA_INVALID,           CKR_DATA_LEN_RANGE,
        CKR_GENERAL_ERROR,          CKR_FUNCTION_FAILED,
        CKR_ARGUMENTS_BAD,          CKR_BUFFER_TOO_SMALL,
    };
    struct ks_key *key = fx_new_key(FAKE_RSA, "k");
    struct ks_error first;
    uint8_t cipher[256] = {1}, out[256], zeros[256] = {0};

    memset(&first, 0, sizeof(first));
    for (size_t i = 0; i < COUNT_OF(codes); i++) {
        size_t len = sizeof(out);

        fake_clear_counts();
        memset(&fx.err, 0, sizeof(fx.err));
        memset(out, 0xee, sizeof(out));
        fake_fail("C_Decrypt", codes[i]);
        fx_fails(ks_decrypt(key, NULL, &fx_pkcs1, cipher, sizeof(cipher), out, &len, &fx.err),
                 KS_DATA);
        ck_assert_uint_eq(fake_calls("C_Decrypt"), 1);
        ck_assert_uint_eq(fake_calls("C_Login"), 0);
        ck_assert_uint_eq(fx.err.rv, 0);
        ck_assert_ptr_null(fx.err.rv_name);
        ck_assert_ptr_null(strstr(fx.err.text, "CKR_"));
        ck_assert_mem_eq(out, zeros, sizeof(out));
        if (i == 0)
            first = fx.err;
        ck_assert_str_eq(fx.err.text, first.text);
        ck_assert_str_eq(fx.err.token, first.token);
        ck_assert_uint_eq(fake_open_operations(), 0);
    }
    ks_key_free(key);
}
END_TEST

START_TEST(a_stranger_s_ciphertext_does_not_disturb_the_token)
{
    struct ks_key *key = fx_new_key(FAKE_RSA, "k");
    uint8_t cipher[256] = {0, 1}, out[256];

    fake_set_quirk(FAKE_QUIRK_DATA_IS_GENERAL, true);
    fake_clear_counts();
    for (unsigned i = 0; i < 20; i++) {
        size_t len = sizeof(out);

        cipher[255] = (uint8_t)i;
        fx_fails(ks_decrypt(key, NULL, &fx_pkcs1, cipher, sizeof(cipher), out, &len, &fx.err),
                 KS_DATA);
    }
    ck_assert_uint_eq(fake_calls("C_DecryptInit"), 20);
    ck_assert_uint_eq(fake_calls("C_Decrypt"), 20);
    ck_assert_uint_eq(fake_calls(NULL), 40);
    ck_assert_uint_eq(fake_sessions(), 1);
    ks_key_free(key);
}
END_TEST

/* From C_DecryptInit it is the mechanism, from elsewhere the token: not the data. */
START_TEST(what_is_not_the_data_s_fault_is_reported)
{
    struct ks_mech oaep = {
        .kind = KS_MECH_RSA_OAEP, .digest = KS_DIGEST_SHA256, .mgf1 = KS_DIGEST_SHA256};
    struct ks_key *key = fx_new_key(FAKE_RSA, "k");
    uint8_t cipher[256] = {1}, out[256];
    size_t len = sizeof(out);

    fake_set_quirk(FAKE_QUIRK_SHA1_OAEP, true);
    fx_fails(ks_decrypt(key, NULL, &oaep, cipher, sizeof(cipher), out, &len, &fx.err),
             KS_MECHANISM);
    ck_assert_str_eq(fx.err.function, "C_DecryptInit");
    len = sizeof(out);
    fake_inject("C_Decrypt", 1, FAKE_FOREVER, CKR_DEVICE_ERROR, false);
    fx_fails(ks_decrypt(key, NULL, &fx_pkcs1, cipher, sizeof(cipher), out, &len, &fx.err),
             KS_DEVICE);
    fx_says("CKR_DEVICE_ERROR");
    ks_key_free(key);
}
END_TEST

START_TEST(decryption_recovers_as_signing_does)
{
    struct ks_key *key = fx_new_key(FAKE_RSA, "k");
    struct fake_mechanism made = {.type = CKM_RSA_PKCS};
    uint8_t cipher[256], plain[256];

    ck_assert_uint_eq(fake_encrypt(fake_find(fx.slot, CKO_PRIVATE_KEY, "k"), &made, message, 48,
                                   cipher, sizeof(cipher)),
                      256);
    for (int what = 0; what < 4; what++) {
        size_t len = sizeof(plain);

        if (what == 0)
            fake_lose_sessions(false);
        else if (what == 1)
            fake_lose_login();
        else if (what == 2)
            fake_renumber(FAKE_HANDLES_FRESH);
        else
            fake_fail("C_DecryptInit", CKR_OPERATION_ACTIVE);
        fx_ok(ks_decrypt(key, NULL, &fx_pkcs1, cipher, sizeof(cipher), plain, &len, &fx.err));
        ck_assert_uint_eq(len, 48);
        ck_assert_mem_eq(plain, message, 48);
    }
    ks_key_free(key);
}
END_TEST

int main(void)
{
    const struct fx_test tests[] = {
        {ecdsa_is_r_and_s_on_every_curve, 0},
        {pkcs1_signs_what_it_is_given, 0},
        {pss_takes_every_digest_with_every_mgf_and_salt, 0},
        {parameters_that_pkcs11_has_no_number_for_are_refused, 0},
        {a_token_that_refuses_parameters_says_mechanism, 0},
        {raw_results_get_their_zeros_back, 0},
        {nothing_is_written_behind_the_room, 0},
        {on_failure_the_room_is_wiped, 0},
        {oaep_takes_digests_and_labels, 0},
        {pkcs1_is_decrypted_by_the_token, 0},
        {whatever_is_wrong_with_the_data_is_one_error, 0},
        {a_stranger_s_ciphertext_does_not_disturb_the_token, 0},
        {what_is_not_the_data_s_fault_is_reported, 0},
        {decryption_recovers_as_signing_does, 0},
    };

    return fx_main("ks_sign", tests, COUNT_OF(tests));
}
