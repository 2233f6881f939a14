/* SPDX-License-Identifier: Apache-2.0
 *
 * base/status.c: the table of CKR_ codes, error texts, escaping.
 */
#include "ks_fixture.h"

static const struct row {
    const char *name;
    unsigned long value;
    enum ks_code code;
} rows[] = {
#define KS_RV(name, value, status, class) {#name, value, KS_##status},
#include "../../keystore/base/status.def"
#undef KS_RV
};

static const uint8_t p256_oid[] = {6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7};

static ks_status generate(void)
{
    struct ks_generate_spec spec = {.type = KS_KEY_EC,
                                    .ec_params = p256_oid,
                                    .ec_params_len = sizeof(p256_oid),
                                    .label = "new",
                                    .sign = true};
    struct ks_key *key = NULL;
    ks_status st = ks_generate(fx_token(), NULL, &spec, &key, &fx.err);

    ks_key_free(key);
    return st;
}

START_TEST(every_code_and_every_name_is_there_once)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        ck_assert(strncmp(rows[i].name, "CKR_", 4) == 0);
        for (size_t j = 0; j < i; j++) {
            ck_assert_str_ne(rows[i].name, rows[j].name);
            ck_assert_uint_ne(rows[i].value, rows[j].value);
        }
    }
    ck_assert_uint_gt(COUNT_OF(rows), 90);
}
END_TEST

/* Generation is never retried, so the code comes out as it went in. */
START_TEST(each_code_is_reported_by_name_value_and_function)
{
    const struct row *row = &rows[_i];
    char hex[32];

    snprintf(hex, sizeof(hex), "(0x%lx)", row->value);
    if (row->value == CKR_OK) {
        fx_ok(generate());
        return;
    }
    fake_fail("C_GenerateKeyPair", row->value);
    /* this one is what modules say of a size or curve that they have not */
    fx_fails(generate(), row->value == CKR_ATTRIBUTE_VALUE_INVALID ? KS_MECHANISM : row->code);
    ck_assert_uint_eq(fx.err.rv, row->value);
    ck_assert_str_eq(fx.err.rv_name, row->name);
    ck_assert_str_eq(fx.err.function, "C_GenerateKeyPair");
    ck_assert_str_eq(fx.err.token, fx.label);
    fx_says(row->name);
    fx_says(hex);
    fx_says("C_GenerateKeyPair");
    fx_says(fx.label);
    ck_assert_uint_eq(fake_calls("C_GenerateKeyPair"), 1);
    ck_assert_uint_eq(fake_objects(fx.slot, FAKE_ANY), 0);
}
END_TEST

START_TEST(codes_that_nobody_knows_are_reported_by_value)
{
    fake_fail("C_GenerateKeyPair", 0x80000123UL);
    fx_fails(generate(), KS_TOKEN);
    ck_assert_str_eq(fx.err.rv_name, "CKR_VENDOR_DEFINED");
    fx_says("0x80000123");
    fake_fail("C_GenerateKeyPair", 0x7654UL);
    fx_fails(generate(), KS_TOKEN);
    fx_says("0x7654");
}
END_TEST

START_TEST(every_status_has_a_text)
{
    static const enum ks_code codes[] = {
#define KS_STATUS(name, text) KS_##name,
#include "../../keystore/base/status.def"
#undef KS_STATUS
    };

    for (size_t i = 0; i < COUNT_OF(codes); i++) {
        ck_assert_uint_gt(strlen(ks_code_text(codes[i])), 3);
        for (size_t j = 0; j < i; j++)
            ck_assert_str_ne(ks_code_text(codes[i]), ks_code_text(codes[j]));
    }
    ck_assert_ptr_nonnull(ks_code_text((enum ks_code)9999));
}
END_TEST

START_TEST(the_error_may_be_null_and_stays_as_it_was_on_success)
{
    struct ks_error before;
    struct ks_key *key = fx_new_key(FAKE_P256, "k");
    uint8_t sig[FX_ROOM];
    size_t len = sizeof(sig);
    ks_status st;

    memset(&fx.err, 0x5a, sizeof(fx.err));
    before = fx.err;
    fx_ok(fx_sign(key));
    ck_assert_mem_eq(&before, &fx.err, sizeof(before));
    fake_fail("C_Sign", CKR_ARGUMENTS_BAD);
    st = ks_sign(key, NULL, &fx_ecdsa, fx_digest, sizeof(fx_digest), sig, &len, NULL);
    ck_assert_int_eq(st.code, KS_TOKEN);
    ks_key_free(key);
}
END_TEST

START_TEST(text_is_escaped)
{
    static const struct {
        const char *in;
        size_t len, room;
        const char *out;
    } cases[] = {
        {"plain text", SIZE_MAX, 64, "plain text"},
        {"", SIZE_MAX, 64, ""},
        {"a\nb", SIZE_MAX, 64, "a\\x0ab"},
        {"a\0b", 3, 64, "a\\x00b"},
        {"back\\slash", SIZE_MAX, 64, "back\\x5cslash"},
        {"\x1b[31m", SIZE_MAX, 64, "\\x1b[31m"},
        {"\xc3\xa4", SIZE_MAX, 64, "\\xc3\\xa4"},
        {"\x7f~ ", SIZE_MAX, 64, "\\x7f~ "},
        {"12345678", SIZE_MAX, 9, "12345678"},
        {"123456789", SIZE_MAX, 9, "12345..."},
        {"1234\n", SIZE_MAX, 9, "1234\\x0a"},
        {"1234\n5", SIZE_MAX, 9, "1234..."},
        {"abc", SIZE_MAX, 1, ""},
    };
    char out[64];

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        memset(out, 'X', sizeof(out));
        ck_assert_ptr_eq(ks_escape(out, cases[i].room, cases[i].in, cases[i].len), out);
        ck_assert_str_eq(out, cases[i].out);
    }
}
END_TEST

START_TEST(a_label_with_a_newline_does_not_break_the_line)
{
    struct ks_token_config config = fx_config();
    struct ks_key *key;
    struct ks_uri *uri;

    fake_reset();
    fx.slot = fake_add_token(&(struct fake_token){.label = "two\nlines\\"});
    fake_add_key(fx.slot, &(struct fake_key){.kind = FAKE_P256, .label = "k\n1", .id = "1"});
    config.token = NULL;
    fx_ok(ks_token_new(&config, &fx.token, &fx.err));
    uri = fx_uri("pkcs11:object=k%0A1", KS_URI_CALLER);
    fx_ok(ks_key_find(fx.token, NULL, uri, &key, &fx.err));
    fake_fail("C_SignInit", CKR_ARGUMENTS_BAD);
    fx_fails(fx_sign(key), KS_MECHANISM);
    ck_assert_str_eq(fx.err.token, "two\\x0alines\\x5c");
    fx_says("two\\x0alines\\x5c");
    ck_assert_ptr_null(strchr(fx.err.text, '\n'));
    ks_key_free(key);
    fake_add_key(fx.slot, &(struct fake_key){.kind = FAKE_P256, .label = "k\n1", .id = "2"});
    fx_fails(ks_key_find(fx.token, NULL, uri, &key, &fx.err), KS_KEY_AMBIGUOUS);
    fx_says("k\\x0a1");
    ck_assert_ptr_null(strchr(fx.err.text, '\n'));
    ks_uri_free(uri);
}
END_TEST

int main(void)
{
    const struct fx_test tests[] = {
        {every_code_and_every_name_is_there_once, 0},
        {each_code_is_reported_by_name_value_and_function, (int)COUNT_OF(rows)},
        {codes_that_nobody_knows_are_reported_by_value, 0},
        {every_status_has_a_text, 0},
        {the_error_may_be_null_and_stays_as_it_was_on_success, 0},
        {text_is_escaped, 0},
        {a_label_with_a_newline_does_not_break_the_line, 0},
    };

    return fx_main("ks_status", tests, COUNT_OF(tests));
}
