/* SPDX-License-Identifier: Apache-2.0
 *
 * token/key.c: the one key that is meant, found cheaply, and never another one in its place.
 */
#include "ks_fixture.h"

/* --- finding --------------------------------------------------------------------------------- */

START_TEST(a_key_is_found_by_what_the_uri_says)
{
    static const struct {
        const char *uri, *label; /* NULL: `code` */
        enum ks_code code;
    } cases[] = {
        {"pkcs11:object=a", "a", KS_OK},
        {"pkcs11:id=a", "a", KS_OK},
        {"pkcs11:object=b;id=b;type=private", "b", KS_OK},
        {"pkcs11:object=a;id=b", NULL, KS_KEY_NOT_FOUND},
        {"pkcs11:object=A", NULL, KS_KEY_NOT_FOUND},
        {"pkcs11:object=c", NULL, KS_KEY_NOT_FOUND},
        {"pkcs11:object=only-public", NULL, KS_KEY_NOT_FOUND},
        {"pkcs11:object=a;type=public", NULL, KS_URI},
        {"pkcs11:", NULL, KS_URI},
        {"pkcs11:token=elsewhere;object=a", NULL, KS_TOKEN_NOT_FOUND},
        {"pkcs11:serial=999;object=a", NULL, KS_TOKEN_NOT_FOUND},
        {"pkcs11:serial=0001;object=a", "a", KS_OK},
    };

    fake_add_pair(fx.slot, FAKE_P256, "a");
    fake_add_pair(fx.slot, FAKE_RSA, "b");
    fake_add_key(fx.slot, &(struct fake_key){.kind = FAKE_RSA,
                                             .label = "only-public",
                                             .id = "o",
                                             .flags = FAKE_NO_PRIVATE});
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct ks_uri *uri = fx_uri(cases[i].uri, KS_URI_CALLER);
        struct ks_key *key = NULL;
        ks_status st = ks_key_find(fx_token(), NULL, uri, &key, &fx.err);

        if (cases[i].label == NULL) {
            fx_fails(st, cases[i].code);
            ck_assert_ptr_null(key);
        } else {
            fx_ok(st);
            ck_assert_str_eq(ks_key_object(key)->label, cases[i].label);
            ck_assert_ptr_eq(ks_key_token(key), fx.token);
        }
        ks_key_free(key);
        ks_uri_free(uri);
    }
}
END_TEST

START_TEST(what_was_not_found_is_named_escaped)
{
    struct ks_uri *uri = fx_uri("pkcs11:object=no%0Asuch", KS_URI_CALLER);
    struct ks_key *key = NULL;

    fx_fails(ks_key_find(fx_token(), NULL, uri, &key, &fx.err), KS_KEY_NOT_FOUND);
    fx_says("no%0Asuch");
    fx_says(fx.label);
    ks_uri_free(uri);
}
END_TEST

START_TEST(two_that_match_are_both_named_and_neither_is_taken)
{
    struct ks_key *key = NULL;

    fake_add_key(fx.slot, &(struct fake_key){.kind = FAKE_P256, .label = "twin", .id = "\x01\x02"});
    fake_add_key(fx.slot, &(struct fake_key){.kind = FAKE_RSA, .label = "twin", .id = "\xab\xcd"});
    fx_fails(fx_find("twin", &key), KS_KEY_AMBIGUOUS);
    ck_assert_ptr_null(key);
    fx_says("twin");
    fx_says("01:02");
    fx_says("ab:cd");
    /* a public and a private key are not two */
    fake_add_pair(fx.slot, FAKE_P256, "pair");
    key = fx_key("pair");
    ks_key_free(key);
}
END_TEST

START_TEST(two_with_one_name_are_told_apart_by_the_id)
{
    struct ks_uri *uri = fx_uri("pkcs11:object=twin;id=2", KS_URI_CALLER);
    struct ks_key *key = NULL;

    fake_add_key(fx.slot, &(struct fake_key){.kind = FAKE_P256, .label = "twin", .id = "1"});
    fake_add_key(fx.slot, &(struct fake_key){.kind = FAKE_P256, .label = "twin", .id = "2"});
    fx_ok(ks_key_find(fx_token(), NULL, uri, &key, &fx.err));
    ck_assert_mem_eq(ks_key_object(key)->id.data, "2", 1);
    ks_key_free(key);
    ks_uri_free(uri);
}
END_TEST

/* Exactly these calls, whatever else is on the token. Lists of slots are asked for twice (count
 * and content: the first is what makes a module look at its slots again), everything else once. */
#define COST_START  "C_Initialize C_GetSlotList C_GetSlotList C_GetTokenInfo "
#define COST_LOGIN  "C_OpenSession C_Login C_GetMechanismList "
#define COST_SEARCH "C_FindObjectsInit C_FindObjects C_FindObjects C_FindObjectsFinal "
#define COST_RSA    COST_SEARCH "C_GetAttributeValue "
#define COST_SIGN   "C_SignInit C_Sign"

static void load_and_sign_once(void)
{
    struct ks_key *key = fx_key("wanted");

    fx_sign_well(key, "wanted");
    ks_key_free(key);
}

START_TEST(a_key_among_five_thousand_costs_no_more_than_a_key_alone)
{
    char alone[2048];
    unsigned long calls;

    fake_add_pair(fx.slot, FAKE_RSA, "wanted");
    load_and_sign_once();
    calls = fake_calls(NULL) - fake_calls("C_GetFunctionList");
    snprintf(alone, sizeof(alone), "%s", fake_log());
    ck_assert_uint_eq(calls, 14);
    ck_assert_ptr_nonnull(strstr(alone, COST_START COST_LOGIN COST_RSA COST_SIGN));

    fx_restart(NULL);
    fake_add_pairs(fx.slot, FAKE_RSA, "before", fx_rounds(2500));
    fake_add_pair(fx.slot, FAKE_RSA, "wanted");
    fake_add_pairs(fx.slot, FAKE_RSA, "after", fx_rounds(2499));
    fake_clear_counts();
    load_and_sign_once();
    ck_assert_uint_eq(fake_calls(NULL) - fake_calls("C_GetFunctionList"), 14);
    ck_assert_ptr_nonnull(strstr(fake_log(), COST_START COST_LOGIN COST_RSA COST_SIGN));
}
END_TEST

START_TEST(the_same_for_an_ec_key_with_its_public_object)
{
    struct ks_key *key;

    fake_add_pairs(fx.slot, FAKE_P256, "before", 500);
    fake_add_pair(fx.slot, FAKE_P256, "wanted");
    fake_add_pairs(fx.slot, FAKE_P256, "after", 500);
    fx_ok(ks_token_connect(fx_token(), NULL, &fx.err));
    fake_clear_counts();
    key = fx_key("wanted");
    fx_sign_well(key, "wanted");
    ck_assert_uint_eq(fake_calls("C_FindObjectsInit"), 2);
    ck_assert_uint_eq(fake_calls("C_GetAttributeValue"), 2);
    ck_assert_uint_eq(fake_calls(NULL), 2 * 5 + 2);
    ks_key_free(key);
}
END_TEST

START_TEST(references_are_counted)
{
    struct ks_key *key = fx_new_key(FAKE_P256, "k");

    ck_assert_ptr_eq(ks_key_ref(key), key);
    ks_key_free(key);
    fx_sign_well(key, "k");
    ks_key_free(key);
    ks_key_free(NULL);
}
END_TEST

/* --- expectation ----------------------------------------------------------------------------- */

struct verifier {
    unsigned asked;
    bool answer;
};

static bool verify(void *arg, const struct ks_mech *mech, const uint8_t *digest, size_t digest_len,
                   const uint8_t *sig, size_t sig_len)
{
    struct verifier *v = arg;

    v->asked++;
    ck_assert_int_eq(mech->kind, KS_MECH_ECDSA);
    ck_assert_uint_eq(digest_len, sizeof(fx_digest));
    ck_assert_mem_eq(digest, fx_digest, sizeof(fx_digest));
    ck_assert_uint_eq(sig_len, 64);
    ck_assert_ptr_nonnull(sig);
    return v->answer;
}

/* The raw point of an object, as the expectation wants it. */
static size_t raw_point(const char *label, uint8_t *out, size_t size)
{
    uint8_t value[256];
    long len = fake_attribute(fake_find(fx.slot, CKO_PUBLIC_KEY, label), CKA_EC_POINT, value,
                              sizeof(value));

    ck_assert_int_eq(len, 67);
    ck_assert_uint_ge(size, 65);
    memcpy(out, value + 2, 65);
    return 65;
}

static ks_status expect(struct ks_key *key, const uint8_t *part, size_t len, struct verifier *v)
{
    struct ks_expect e = {
        .public_part = part, .public_len = len, .verify = v != NULL ? verify : NULL, .arg = v};

    return ks_key_expect(key, &e, &fx.err);
}

/* What the private object itself shows. */
START_TEST(the_right_public_half_is_taken_as_proof)
{
    struct verifier v = {.answer = false};
    struct ks_key *key, *rsa = fx_new_key(FAKE_RSA, "r");
    uint8_t point[65], modulus[256];

    fake_add_key(fx.slot,
                 &(struct fake_key){
                     .kind = FAKE_P256, .label = "k", .id = "k", .flags = FAKE_POINT_IN_PRIVATE});
    key = fx_key("k");
    fake_attribute(fake_find(fx.slot, CKO_PUBLIC_KEY, "r"), CKA_MODULUS, modulus, sizeof(modulus));
    fx_ok(expect(rsa, modulus, sizeof(modulus), &v));
    fx_ok(fx_sign(rsa));
    fx_ok(expect(key, point, raw_point("k", point, sizeof(point)), &v));
    memset(point, 0, sizeof(point)); /* it was copied */
    fx_sign_well(key, "k");
    fake_lose_sessions(false);
    fx_sign_well(key, "k");
    fx_ok(fx_sign(rsa));
    ck_assert_uint_eq(v.asked, 0);
    ks_key_free(key);
    ks_key_free(rsa);
}
END_TEST

/* The public object of the same id says whose key it should be. */
START_TEST(that_of_a_public_object_is_none)
{
    struct verifier v = {.answer = true};
    struct ks_key *key;
    uint8_t point[65];

    fake_hide_attribute(CKO_PRIVATE_KEY, 0x129 /* CKA_PUBLIC_KEY_INFO */);
    key = fx_new_key(FAKE_P256, "k");
    fx_ok(expect(key, point, raw_point("k", point, sizeof(point)), &v));
    for (int i = 0; i < 3; i++)
        fx_sign_well(key, "k");
    ck_assert_uint_eq(v.asked, 1);
    fake_lose_sessions(false);
    fx_sign_well(key, "k");
    ck_assert_uint_eq(v.asked, 2);
    v.answer = false;
    fake_lose_sessions(false);
    fx_fails(fx_sign(key), KS_KEY_MISMATCH);
    ks_key_free(key);
}
END_TEST

START_TEST(another_public_half_is_a_mismatch)
{
    struct verifier v = {.answer = true};
    struct ks_key *key = fx_new_key(FAKE_P256, "k"), *rsa = fx_new_key(FAKE_RSA, "r");
    uint8_t point[65], modulus[256];

    raw_point("k", point, sizeof(point));
    fake_attribute(fake_find(fx.slot, CKO_PUBLIC_KEY, "r"), CKA_MODULUS, modulus, sizeof(modulus));
    point[64] ^= 1;
    fx_fails(expect(key, point, sizeof(point), NULL), KS_KEY_MISMATCH);
    fx_says("k");
    point[64] ^= 1;
    fx_fails(expect(key, point, sizeof(point) - 1, &v), KS_KEY_MISMATCH);
    fx_ok(fx_sign(key));
    ck_assert_uint_eq(v.asked, 1); /* it was not proved */
    modulus[0] ^= 1;
    fx_fails(expect(rsa, modulus, sizeof(modulus), NULL), KS_KEY_MISMATCH);
    ks_key_free(key);
    ks_key_free(rsa);
}
END_TEST

START_TEST(without_proof_the_first_signature_of_each_epoch_is_verified)
{
    struct verifier v = {.answer = true};
    struct ks_key *key;
    uint8_t point[65] = {4};

    fake_add_key(fx.slot, &(struct fake_key){
                              .kind = FAKE_P256, .label = "k", .id = "k", .flags = FAKE_NO_PUBLIC});
    key = fx_key("k");
    fx_ok(expect(key, point, sizeof(point), &v));
    ck_assert_uint_eq(v.asked, 0);
    for (int i = 0; i < 5; i++)
        fx_sign_well(key, "k");
    ck_assert_uint_eq(v.asked, 1);
    fake_lose_sessions(false);
    for (int i = 0; i < 5; i++)
        fx_sign_well(key, "k");
    ck_assert_uint_eq(v.asked, 2);
    fake_lose_login();
    fx_sign_well(key, "k");
    ck_assert_uint_eq(v.asked, 3);
    ks_key_free(key);
}
END_TEST

START_TEST(a_signature_that_does_not_verify_is_not_released)
{
    struct verifier v = {.answer = false};
    struct ks_key *key;
    uint8_t point[65] = {4}, sig[64], zeros[64] = {0};
    size_t len = sizeof(sig);

    fake_add_key(fx.slot, &(struct fake_key){
                              .kind = FAKE_P256, .label = "k", .id = "k", .flags = FAKE_NO_PUBLIC});
    key = fx_key("k");
    fx_ok(expect(key, point, sizeof(point), &v));
    memset(sig, 0, sizeof(sig));
    for (int i = 0; i < 3; i++) {
        len = sizeof(sig);
        fx_fails(ks_sign(key, NULL, &fx_ecdsa, fx_digest, sizeof(fx_digest), sig, &len, &fx.err),
                 KS_KEY_MISMATCH);
        ck_assert_mem_eq(sig, zeros, sizeof(sig));
        ck_assert_uint_eq(v.asked, (unsigned)i + 1); /* and it is never proved */
    }
    ks_key_free(key);
}
END_TEST

START_TEST(a_key_that_was_replaced_is_noticed_when_found_again)
{
    struct ks_key *key;
    uint8_t modulus[256];

    fake_add_key(fx.slot,
                 &(struct fake_key){.kind = FAKE_RSA, .label = "k", .id = "k", .material = 1});
    key = fx_key("k");
    fake_attribute(fake_find(fx.slot, CKO_PUBLIC_KEY, "k"), CKA_MODULUS, modulus, sizeof(modulus));
    fx_ok(expect(key, modulus, sizeof(modulus), NULL));
    fx_sign_well(key, "k");
    fake_remove_object(fake_find(fx.slot, CKO_PRIVATE_KEY, "k"));
    fake_remove_object(fake_find(fx.slot, CKO_PUBLIC_KEY, "k"));
    fake_add_key(fx.slot,
                 &(struct fake_key){.kind = FAKE_RSA, .label = "k", .id = "k", .material = 2});
    fake_lose_sessions(false);
    fx_fails(fx_sign(key), KS_KEY_MISMATCH);
    fx_fails(fx_sign(key), KS_KEY_MISMATCH);
    ck_assert_uint_eq(fake_calls("C_Sign"), 1);
    ks_key_free(key);
}
END_TEST

/* Nobody expressed an expectation: what the token said at first is one all the same. */
START_TEST(a_replaced_key_is_noticed_without_an_expectation_too)
{
    struct ks_key *key;

    fake_add_key(fx.slot,
                 &(struct fake_key){.kind = FAKE_RSA, .label = "k", .id = "k", .material = 1});
    key = fx_key("k");
    fake_remove_object(fake_find(fx.slot, CKO_PRIVATE_KEY, "k"));
    fake_remove_object(fake_find(fx.slot, CKO_PUBLIC_KEY, "k"));
    fake_add_key(fx.slot,
                 &(struct fake_key){.kind = FAKE_RSA, .label = "k", .id = "k", .material = 2});
    fake_lose_sessions(false);
    fx_fails(fx_sign(key), KS_KEY_MISMATCH);
    ks_key_free(key);
}
END_TEST

START_TEST(a_key_that_became_another_type_is_noticed)
{
    struct ks_key *key = fx_new_key(FAKE_RSA, "k");

    fake_remove_object(fake_find(fx.slot, CKO_PRIVATE_KEY, "k"));
    fake_remove_object(fake_find(fx.slot, CKO_PUBLIC_KEY, "k"));
    fake_add_pair(fx.slot, FAKE_P256, "k");
    fake_lose_sessions(false);
    fx_fails(fx_sign(key), KS_KEY_MISMATCH);
    ks_key_free(key);
}
END_TEST

START_TEST(a_key_that_is_gone_is_not_found_and_found_when_it_is_back)
{
    struct ks_key *key = fx_new_key(FAKE_P256, "k");

    fake_set_present(fx.slot, false);
    ck_assert(!ks_ok(fx_sign(key)));
    fake_set_present(fx.slot, true);
    fx_sign_well(key, "k");
    fake_remove_object(fake_find(fx.slot, CKO_PRIVATE_KEY, "k"));
    fx_fails(fx_sign(key), KS_KEY_NOT_FOUND);
    fake_remove_object(fake_find(fx.slot, CKO_PUBLIC_KEY, "k"));
    fake_add_key(fx.slot,
                 &(struct fake_key){.kind = FAKE_P256, .label = "k", .id = "k", .material = 1});
    fx_sign_well(key, "k");
    ks_key_free(key);
}
END_TEST

START_TEST(a_second_key_of_the_same_name_makes_finding_again_ambiguous)
{
    struct ks_key *key = fx_new_key(FAKE_P256, "k");

    fake_add_pair(fx.slot, FAKE_P256, "k");
    fx_sign_well(key, "k"); /* the handle is known */
    fake_lose_sessions(false);
    fx_fails(fx_sign(key), KS_KEY_AMBIGUOUS);
    ks_key_free(key);
}
END_TEST

START_TEST(refused_mechanisms_are_remembered_per_parameters)
{
    struct ks_mech pss = {.kind = KS_MECH_RSA_PSS,
                          .digest = KS_DIGEST_SHA256,
                          .mgf1 = KS_DIGEST_SHA256,
                          .salt_len = 32};
    struct ks_mech other = pss;
    struct ks_key *key = fx_new_key(FAKE_RSA, "k"), *second = fx_new_key(FAKE_RSA, "l");

    other.mgf1 = KS_DIGEST_SHA1;
    ck_assert(!ks_key_is_refused(key, &pss));
    ks_key_mark_refused(key, &pss);
    ck_assert(ks_key_is_refused(key, &pss));
    ck_assert(!ks_key_is_refused(key, &other));
    ck_assert(!ks_key_is_refused(key, &fx_pkcs1));
    ck_assert(!ks_key_is_refused(second, &pss));
    ks_key_free(key);
    ks_key_free(second);
}
END_TEST

int main(void)
{
    const struct fx_test tests[] = {
        {a_key_is_found_by_what_the_uri_says, 0},
        {what_was_not_found_is_named_escaped, 0},
        {two_that_match_are_both_named_and_neither_is_taken, 0},
        {two_with_one_name_are_told_apart_by_the_id, 0},
        {a_key_among_five_thousand_costs_no_more_than_a_key_alone, 0},
        {the_same_for_an_ec_key_with_its_public_object, 0},
        {references_are_counted, 0},
        {the_right_public_half_is_taken_as_proof, 0},
        {that_of_a_public_object_is_none, 0},
        {another_public_half_is_a_mismatch, 0},
        {without_proof_the_first_signature_of_each_epoch_is_verified, 0},
        {a_signature_that_does_not_verify_is_not_released, 0},
        {a_key_that_was_replaced_is_noticed_when_found_again, 0},
        {a_replaced_key_is_noticed_without_an_expectation_too, 0},
        {a_key_that_became_another_type_is_noticed, 0},
        {a_key_that_is_gone_is_not_found_and_found_when_it_is_back, 0},
        {a_second_key_of_the_same_name_makes_finding_again_ambiguous, 0},
        {refused_mechanisms_are_remembered_per_parameters, 0},
    };

    return fx_main("ks_key", tests, COUNT_OF(tests));
}
