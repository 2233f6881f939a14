/* SPDX-License-Identifier: Apache-2.0
 *
 * verbs/generate.c: a key pair that is what was asked for, or nothing at all.
 */
#include "ks_fixture.h"

static const struct {
    const char *name;
    uint8_t oid[12];
    size_t len, point;
} curves[] = {
    {"P-256", {6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}, 10, 65},
    {"P-384", {6, 5, 0x2b, 0x81, 4, 0, 0x22}, 7, 97},
    {"P-521", {6, 5, 0x2b, 0x81, 4, 0, 0x23}, 7, 133},
    {"secp256k1", {6, 5, 0x2b, 0x81, 4, 0, 0x0a}, 7, 65},
};

static struct ks_generate_spec ec(const char *label)
{
    return (struct ks_generate_spec){.type = KS_KEY_EC,
                                     .ec_params = curves[0].oid,
                                     .ec_params_len = curves[0].len,
                                     .label = label,
                                     .sign = true,
                                     .derive = true};
}

static struct ks_generate_spec rsa(const char *label)
{
    return (struct ks_generate_spec){
        .type = KS_KEY_RSA, .rsa_bits = 2048, .label = label, .sign = true, .decrypt = true};
}

static ks_status generate(const struct ks_generate_spec *spec, struct ks_key **key)
{
    *key = NULL;
    return ks_generate(fx_token(), NULL, spec, key, &fx.err);
}

static bool flag(bool private_half, const char *label, unsigned long attribute)
{
    unsigned char value = 0;
    unsigned long handle =
        fake_find(fx.slot, private_half ? CKO_PRIVATE_KEY : CKO_PUBLIC_KEY, label);

    ck_assert_int_eq(fake_attribute(handle, attribute, &value, 1), 1);
    return value != 0;
}

START_TEST(every_curve_makes_a_pair_that_signs)
{
    for (size_t i = 0; i < COUNT_OF(curves); i++) {
        struct ks_generate_spec spec = ec(curves[i].name);
        struct ks_key *key;

        spec.ec_params = curves[i].oid;
        spec.ec_params_len = curves[i].len;
        fx_ok(generate(&spec, &key));
        ck_assert_int_eq(ks_key_object(key)->type, KS_KEY_EC);
        ck_assert_str_eq(ks_key_object(key)->label, curves[i].name);
        ck_assert_uint_eq(ks_key_object(key)->ec_point.len, curves[i].point);
        ck_assert_uint_eq(ks_key_object(key)->ec_params.len, curves[i].len);
        fx_sign_well(key, curves[i].name);
        /* and can be found */
        ks_key_free(key);
        key = fx_key(curves[i].name);
        fx_sign_well(key, curves[i].name);
        ks_key_free(key);
    }
    ck_assert_uint_eq(fake_objects(fx.slot, FAKE_ANY), 2 * COUNT_OF(curves));
}
END_TEST

START_TEST(rsa_keys_have_the_size_and_exponent_asked_for)
{
    struct ks_generate_spec spec = rsa("r");
    struct ks_key *key;
    uint8_t value[8];
    size_t len = sizeof(value);
    unsigned long bits;

    fake_set_cheap(true);
    fx_ok(generate(&spec, &key));
    ck_assert_uint_eq(ks_key_object(key)->modulus.len, 256);
    fake_set_cheap(false);
    fx_sign_well(key, "r");
    ks_key_free(key);
    ck_assert(fake_template_has(false, CKA_PUBLIC_EXPONENT, value, &len));
    ck_assert_uint_eq(len, 3);
    ck_assert_mem_eq(value, "\x01\x00\x01", 3);
    fake_set_cheap(true);
    spec = rsa("s");
    spec.rsa_bits = 3072;
    spec.rsa_exponent_len = 1;
    spec.rsa_exponent[0] = 3;
    fx_ok(generate(&spec, &key));
    ck_assert_uint_eq(ks_key_object(key)->modulus.len, 384);
    len = sizeof(bits);
    ck_assert(fake_template_has(false, CKA_MODULUS_BITS, &bits, &len));
    ck_assert_uint_eq(bits, 3072);
    len = sizeof(value);
    ck_assert(fake_template_has(false, CKA_PUBLIC_EXPONENT, value, &len));
    ck_assert_uint_eq(len, 1);
    ck_assert_uint_eq(value[0], 3);
    ck_assert_uint_eq(fake_last_mechanism().type, CKM_RSA_PKCS_KEY_PAIR_GEN);
    ks_key_free(key);
}
END_TEST

START_TEST(keys_are_sensitive_and_stay_unless_asked_otherwise)
{
    struct ks_generate_spec spec = ec("a");
    struct ks_key *key;

    fx_ok(generate(&spec, &key));
    ks_key_free(key);
    ck_assert(flag(true, "a", CKA_TOKEN) && flag(true, "a", CKA_PRIVATE));
    ck_assert(flag(true, "a", CKA_SENSITIVE) && !flag(true, "a", CKA_EXTRACTABLE));
    ck_assert(flag(true, "a", CKA_SIGN) && flag(true, "a", CKA_DERIVE));
    ck_assert(flag(false, "a", CKA_TOKEN) && flag(false, "a", CKA_VERIFY));
    spec = ec("b");
    spec.extractable = true;
    spec.derive = false;
    fx_ok(generate(&spec, &key));
    ks_key_free(key);
    ck_assert(flag(true, "b", CKA_EXTRACTABLE) && !flag(true, "b", CKA_DERIVE));
}
END_TEST

START_TEST(templates_hold_nothing_that_breaks_tokens)
{
    static const unsigned long never_private[] = {
        CKA_MODULUS_BITS, CKA_PUBLIC_EXPONENT, CKA_ALLOWED_MECHANISMS,  CKA_START_DATE,
        CKA_MODIFIABLE,   CKA_PUBLIC_KEY_INFO, CKA_ALWAYS_AUTHENTICATE, CKA_SIGN_RECOVER,
    };
    static const unsigned long never_ec[] = {CKA_ENCRYPT, CKA_WRAP,   CKA_VERIFY_RECOVER,
                                             CKA_DECRYPT, CKA_UNWRAP, CKA_SIGN_RECOVER};
    struct ks_generate_spec specs[] = {ec("e"), rsa("r")};
    struct ks_key *key;

    fake_set_cheap(true);
    fake_set_quirk(FAKE_QUIRK_PICKY_PRIVATE, true);
    for (size_t s = 0; s < COUNT_OF(specs); s++) {
        fx_ok(generate(&specs[s], &key));
        ks_key_free(key);
        for (size_t i = 0; i < COUNT_OF(never_private); i++)
            ck_assert(!fake_template_has(true, never_private[i], NULL, NULL));
        for (size_t i = 0; i < COUNT_OF(never_ec) && s == 0; i++) {
            ck_assert(!fake_template_has(false, never_ec[i], NULL, NULL));
            ck_assert(!fake_template_has(true, never_ec[i], NULL, NULL));
        }
    }
}
END_TEST

START_TEST(the_id_is_the_given_one_or_random)
{
    static const uint8_t id[] = {0, 1, 0xfe};
    struct ks_generate_spec spec = ec("a");
    struct ks_key *a, *b, *c;

    spec.id = id;
    spec.id_len = sizeof(id);
    fx_ok(generate(&spec, &a));
    ck_assert_uint_eq(ks_key_object(a)->id.len, sizeof(id));
    ck_assert_mem_eq(ks_key_object(a)->id.data, id, sizeof(id));
    spec = ec("b");
    fx_ok(generate(&spec, &b));
    spec = ec("c");
    fx_ok(generate(&spec, &c));
    ck_assert_uint_eq(ks_key_object(b)->id.len, 16);
    ck_assert_uint_eq(ks_key_object(c)->id.len, 16);
    ck_assert_mem_ne(ks_key_object(b)->id.data, ks_key_object(c)->id.data, 16);
    ks_key_free(a);
    ks_key_free(b);
    ks_key_free(c);
}
END_TEST

START_TEST(a_label_is_required)
{
    struct ks_generate_spec spec = ec(NULL);
    struct ks_key *key;

    fx_fails(generate(&spec, &key), KS_CONFIG);
    fx_says("label");
    spec.label = "";
    fx_fails(generate(&spec, &key), KS_CONFIG);
    spec = ec("x");
    spec.type = KS_KEY_OTHER;
    fx_fails(generate(&spec, &key), KS_MECHANISM);
    ck_assert_uint_eq(fake_calls("C_GenerateKeyPair"), 0);
}
END_TEST

START_TEST(a_label_or_id_that_exists_is_refused)
{
    static const struct {
        const char *label, *id;
        unsigned flags;
    } cases[] = {
        {"taken", "other", FAKE_NO_PUBLIC},
        {"taken", "other", FAKE_NO_PRIVATE},
        {"other", "taken", FAKE_NO_PUBLIC},
        {"other", "taken", FAKE_NO_PRIVATE},
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct ks_generate_spec spec = ec("taken");
        struct ks_key *key;

        fx_restart(NULL);
        spec.id = (const uint8_t *)"taken";
        spec.id_len = 5;
        fake_add_key(fx.slot, &(struct fake_key){.kind = FAKE_RSA,
                                                 .label = cases[i].label,
                                                 .id = cases[i].id,
                                                 .flags = cases[i].flags});
        fx_fails(generate(&spec, &key), KS_KEY_EXISTS);
        fx_says("taken");
        ck_assert_ptr_null(key);
        ck_assert_uint_eq(fake_calls("C_GenerateKeyPair"), 0);
        ck_assert_uint_eq(fake_objects(fx.slot, FAKE_ANY), 1);
    }
}
END_TEST

/* --- half-way -------------------------------------------------------------------------------- */

/* What may go wrong after the pair was begun. */
static void break_half_pair(void)
{
    fake_set_quirk(FAKE_QUIRK_HALF_PAIR, true);
}

static void break_usage(void)
{
    fake_set_quirk(FAKE_QUIRK_UNUSABLE_KEYS, true);
}

static void break_read_back(void)
{
    fake_inject("C_GetAttributeValue", 1, 1, CKR_ARGUMENTS_BAD, false);
}

static void break_read_memory(void)
{
    fake_inject("C_GetAttributeValue", 1, 1, CKR_HOST_MEMORY, false);
}

static void break_answer(void)
{
    fake_inject("C_GenerateKeyPair", 1, 1, CKR_FUNCTION_FAILED, true);
}

static void (*const breaks[])(void) = {break_half_pair, break_usage, break_read_back,
                                       break_read_memory, break_answer};

START_TEST(a_generation_that_fails_half_way_leaves_nothing)
{
    struct ks_generate_spec spec = _i % 2 != 0 ? ec("new") : rsa("new");
    struct ks_key *key, *other = fx_new_key(FAKE_P256, "other");

    fake_set_cheap(true);
    breaks[_i / 2]();
    ck_assert(!ks_ok(generate(&spec, &key)));
    ck_assert_ptr_null(key);
    ck_assert_uint_eq(fake_calls("C_GenerateKeyPair"), 1);
    /* the other pair, and nothing else */
    ck_assert_uint_eq(fake_objects(fx.slot, FAKE_ANY), 2);
    fake_set_cheap(false);
    fx_sign_well(other, "other");
    ck_assert_uint_le(fake_sessions(), 2);
    ks_key_free(other);
}
END_TEST

/* The answer was lost together with the session: clean up in another one. */
START_TEST(nor_does_one_whose_session_was_lost)
{
    static const unsigned long codes[] = {CKR_SESSION_HANDLE_INVALID, CKR_DEVICE_ERROR};
    struct ks_generate_spec spec = ec("new");
    struct ks_key *key;

    fx_ok(ks_token_connect(fx_token(), NULL, &fx.err));
    fake_inject("C_GenerateKeyPair", 1, 1, codes[_i], true);
    /* the first one afterwards; the lost session gives that by itself */
    if (codes[_i] == CKR_DEVICE_ERROR)
        fake_inject("C_FindObjectsInit", 5, 1, codes[_i], false);
    ck_assert(!ks_ok(generate(&spec, &key)));
    ck_assert_uint_eq(fake_calls("C_GenerateKeyPair"), 1);
    ck_assert_uint_eq(fake_objects(fx.slot, FAKE_ANY), 0);
}
END_TEST

/* --- other processes ------------------------------------------------------------------------- */

/* What another one makes of the same label and id, and that it is whole afterwards. */
static unsigned long theirs[2];

static void make_theirs(void *arg)
{
    (void)arg;
    theirs[0] = fake_add_key(
        fx.slot, &(struct fake_key){.kind = FAKE_P256, .label = "new", .id = "id", .material = 2});
    theirs[1] = theirs[0] + 1; /* its public half comes next */
}

static bool theirs_is_there(void)
{
    uint8_t a[256], b[256];
    size_t a_len = fake_public_key(theirs[0], a, sizeof(a));
    size_t b_len = fake_public_key(theirs[1], b, sizeof(b));

    return a_len > 0 && a_len == b_len && memcmp(a, b, a_len) == 0;
}

static void break_nothing(void)
{
}

static void break_template(void)
{
    fake_inject("C_GenerateKeyPair", 1, 1, CKR_TEMPLATE_INCONSISTENT, false);
}

static void break_token(void)
{
    fake_inject("C_GenerateKeyPair", 1, 1, CKR_GENERAL_ERROR, false);
}

static void break_answer_and_session(void)
{
    fake_inject("C_GenerateKeyPair", 1, 1, CKR_SESSION_HANDLE_INVALID, true);
}

static void break_device(void)
{
    fake_inject("C_GenerateKeyPair", 1, 1, CKR_DEVICE_ERROR, true);
}

static void break_session(void)
{
    fake_inject("C_OpenSession", 1, FAKE_FOREVER, CKR_SESSION_READ_ONLY, false);
}

static void break_destruction(void)
{
    fake_set_quirk(FAKE_QUIRK_UNUSABLE_KEYS, true);
    fake_inject("C_DestroyObject", 1, FAKE_FOREVER, CKR_ACTION_PROHIBITED, false);
}

/* How a generation fails, and how much of it stays when the id was given: by then nobody can tell
 * whose it is. With a random id nothing does, unless the token does not destroy it. */
static const struct failure {
    void (*cause)(void);
    unsigned stays, stays_at_random;
    bool works;
} failures[] = {
    {break_nothing, 2, 2, true},    {break_template, 0, 0, false},
    {break_token, 0, 0, false},     {break_session, 0, 0, false},
    {break_half_pair, 1, 0, false}, {break_usage, 0, 0, false},
    {break_read_back, 0, 0, false}, {break_read_memory, 0, 0, false},
    {break_answer, 2, 0, false},    {break_answer_and_session, 2, 0, false},
    {break_device, 2, 0, false},    {break_destruction, 2, 2, false},
};

/* Another process is quicker, or comes while ours is being made. */
START_TEST(what_others_made_is_left_alone)
{
    const struct failure *f = &failures[_i / 4];
    const bool before = _i / 2 % 2 == 0;
    const bool random = _i % 2 != 0;
    struct ks_generate_spec spec = ec("new");
    unsigned stays = random ? f->stays_at_random : f->stays;
    struct ks_key *key;

    if (!random) {
        spec.id = (const uint8_t *)"id";
        spec.id_len = 2;
    }
    fx_ok(ks_token_connect(fx_token(), NULL, &fx.err));
    /* at the end of the fourth and last look, or while ours is read back */
    if (before)
        fake_at("C_FindObjectsFinal", 4, make_theirs, NULL);
    else
        fake_at("C_GetAttributeValue", 1, make_theirs, NULL);
    f->cause();
    ck_assert_int_eq(ks_ok(generate(&spec, &key)), f->works);
    fake_heal(NULL);
    if (theirs[0] == 0) /* it never came to that */
        return;
    ck_assert_msg(theirs_is_there(), "theirs was destroyed");
    ck_assert_uint_eq(fake_objects(fx.slot, FAKE_ANY), 2 + stays);
    if (!f->works && stays > 0)
        fx_says("look for 'new'");
    ks_key_free(key);
}
END_TEST

/* A key that turns out unusable is destroyed, and that alone. */
START_TEST(destruction_takes_ours_and_not_theirs)
{
    struct ks_generate_spec spec = ec("new");
    unsigned long ours[2];
    struct ks_key *key, *old = fx_new_key(FAKE_P256, "old");

    fx_sign_well(old, "old"); /* a session that stays */
    fake_hide_attribute(CKO_PRIVATE_KEY, 0x129 /* CKA_PUBLIC_KEY_INFO */);
    spec.id = (const uint8_t *)"id";
    spec.id_len = 2;
    fx_ok(generate(&spec, &key));
    ours[0] = fake_find(fx.slot, CKO_PRIVATE_KEY, "new");
    ours[1] = fake_find(fx.slot, CKO_PUBLIC_KEY, "new");
    make_theirs(NULL);
    /* the handles are known: it does not matter that there are two of that name */
    if (_i == 0) {
        fx_ok(ks_key_destroy(key, NULL, &fx.err));
        ck_assert_uint_eq(fake_objects(fx.slot, FAKE_ANY), 4);
    }
    /* two, and which one is ours cannot be told any more */
    if (_i == 1) {
        fake_lose_sessions(false);
        fx_sign_well(old, "old");
        fx_fails(ks_key_destroy(key, NULL, &fx.err), KS_KEY_AMBIGUOUS);
        ck_assert_uint_eq(fake_objects(fx.slot, FAKE_ANY), 6);
    }
    /* somebody has removed ours, and there is theirs of that name */
    if (_i == 2) {
        fake_remove_object(ours[0]);
        fake_remove_object(ours[1]);
        fake_lose_sessions(false);
        fx_sign_well(old, "old");
        fx_fails(ks_key_destroy(key, NULL, &fx.err), KS_KEY_MISMATCH);
        ck_assert_uint_eq(fake_objects(fx.slot, FAKE_ANY), 4);
    }
    ck_assert(theirs_is_there());
    ks_key_free(old);
    ks_key_free(key);
}
END_TEST

START_TEST(a_generation_is_never_run_twice)
{
    static const unsigned long codes[] = {
        CKR_SESSION_HANDLE_INVALID, CKR_DEVICE_ERROR,    CKR_GENERAL_ERROR,      CKR_DEVICE_MEMORY,
        CKR_OPERATION_ACTIVE,       CKR_FUNCTION_FAILED, CKR_USER_NOT_LOGGED_IN,
    };
    struct ks_generate_spec spec = ec("new");
    struct ks_key *key;

    fake_inject("C_GenerateKeyPair", 1, FAKE_FOREVER, codes[_i], false);
    ck_assert(!ks_ok(generate(&spec, &key)));
    ck_assert_str_eq(fx.err.function, "C_GenerateKeyPair");
    ck_assert_uint_eq(fx.err.rv, codes[_i]);
    ck_assert_uint_eq(fake_calls("C_GenerateKeyPair"), 1);
}
END_TEST

START_TEST(refusals_say_what_is_not_supported)
{
    struct ks_generate_spec spec = ec("new");
    static const uint8_t unknown[] = {6, 3, 0x2a, 3, 4};
    struct ks_key *key;

    spec.ec_params = unknown;
    spec.ec_params_len = sizeof(unknown);
    fx_fails(generate(&spec, &key), KS_MECHANISM);
    spec = rsa("new");
    spec.rsa_bits = 1024;
    fx_fails(generate(&spec, &key), KS_MECHANISM);
    fake_set_mechanism(fx.slot, CKM_EC_KEY_PAIR_GEN, false);
    spec = ec("new");
    fx_fails(generate(&spec, &key), KS_MECHANISM);
    ck_assert_uint_eq(fake_objects(fx.slot, FAKE_ANY), 0);
}
END_TEST

START_TEST(a_write_protected_token_says_so)
{
    struct ks_generate_spec spec = ec("new");
    struct ks_key *key;

    fx_restart(&(struct fake_token){.write_protected = true});
    fx_fails(generate(&spec, &key), KS_READ_ONLY);
}
END_TEST

/* --- sessions of its own --------------------------------------------------------------------- */

START_TEST(it_works_with_a_single_session)
{
    struct ks_generate_spec spec = ec("new");
    struct ks_key *key, *old;

    fx_restart(&(struct fake_token){.sessions_max = 1});
    old = fx_new_key(FAKE_P256, "old");
    fx_sign_well(old, "old");
    fx_ok(generate(&spec, &key));
    fx_sign_well(key, "new");
    fx_sign_well(old, "old");
    fx_ok(ks_key_destroy(key, NULL, &fx.err));
    fx_sign_well(old, "old");
    ck_assert_uint_eq(fake_peak_sessions(), 1);
    ks_key_free(key);
    ks_key_free(old);
}
END_TEST

START_TEST(the_read_write_session_does_not_stay)
{
    struct ks_generate_spec spec = ec("new");
    struct ks_key *key;

    fx_restart(&(struct fake_token){.rw_sessions_max = 1});
    for (int i = 0; i < 3; i++) {
        fx_ok(generate(&spec, &key));
        fx_sign_well(key, "new");
        fx_ok(ks_key_destroy(key, NULL, &fx.err));
        ks_key_free(key);
    }
    ck_assert_uint_le(fake_sessions(), 1);
}
END_TEST

START_TEST(a_hundred_generations_leave_a_hundred_pairs)
{
    struct ks_key *key;
    char label[16];

    fake_set_cheap(true);
    for (int i = 0; i < 100; i++) {
        struct ks_generate_spec spec = rsa(label);

        snprintf(label, sizeof(label), "k%d", i);
        fx_ok(generate(&spec, &key));
        ks_key_free(key);
    }
    ck_assert_uint_eq(fake_objects(fx.slot, FAKE_ANY), 200);
    ck_assert_uint_le(fake_sessions(), 2);
}
END_TEST

/* --- destruction ----------------------------------------------------------------------------- */

START_TEST(destroying_takes_both_halves_and_no_other)
{
    struct ks_key *key = fx_new_key(FAKE_P256, "k");

    /* the same id under another label, and the same label under another id */
    fake_add_key(fx.slot, &(struct fake_key){.kind = FAKE_P256, .label = "x", .id = "k"});
    fake_add_key(fx.slot, &(struct fake_key){.kind = FAKE_P256, .label = "k", .id = "x"});
    fx_ok(ks_key_destroy(key, NULL, &fx.err));
    ck_assert_uint_eq(fake_objects(fx.slot, FAKE_ANY), 4);
    fx_fails(fx_sign(key), KS_KEY_NOT_FOUND);
    fx_fails(ks_key_destroy(key, NULL, &fx.err), KS_KEY_NOT_FOUND);
    ks_key_free(key);
}
END_TEST

START_TEST(a_destruction_that_fails_is_reported)
{
    struct ks_key *key = fx_new_key(FAKE_P256, "k");

    fake_inject("C_DestroyObject", 1, 1, CKR_ACTION_PROHIBITED, false);
    fx_fails(ks_key_destroy(key, NULL, &fx.err), KS_KEY_USE);
    ck_assert_uint_eq(fake_objects(fx.slot, FAKE_ANY), 2);
    fake_inject("C_DestroyObject", 2, 1, CKR_ACTION_PROHIBITED, false);
    ck_assert(!ks_ok(ks_key_destroy(key, NULL, &fx.err)));
    ck_assert_uint_eq(fake_objects(fx.slot, FAKE_ANY), 1);
    ks_key_free(key);
}
END_TEST

int main(void)
{
    const struct fx_test tests[] = {
        {every_curve_makes_a_pair_that_signs, 0},
        {rsa_keys_have_the_size_and_exponent_asked_for, 0},
        {keys_are_sensitive_and_stay_unless_asked_otherwise, 0},
        {templates_hold_nothing_that_breaks_tokens, 0},
        {the_id_is_the_given_one_or_random, 0},
        {a_label_is_required, 0},
        {a_label_or_id_that_exists_is_refused, 0},
        {a_generation_that_fails_half_way_leaves_nothing, 2 * (int)COUNT_OF(breaks)},
        {nor_does_one_whose_session_was_lost, 2},
        {what_others_made_is_left_alone, 4 * (int)COUNT_OF(failures)},
        {destruction_takes_ours_and_not_theirs, 3},
        {a_generation_is_never_run_twice, 7},
        {refusals_say_what_is_not_supported, 0},
        {a_write_protected_token_says_so, 0},
        {it_works_with_a_single_session, 0},
        {the_read_write_session_does_not_stay, 0},
        {a_hundred_generations_leave_a_hundred_pairs, 0},
        {destroying_takes_both_halves_and_no_other, 0},
        {a_destruction_that_fails_is_reported, 0},
    };

    return fx_main("ks_generate", tests, COUNT_OF(tests));
}
