/* SPDX-License-Identifier: Apache-2.0
 *
 * base/uri.c: what URIs are taken where, and the URIs that we write.
 */
#include "ks_fixture.h"

enum { TOKEN = 1, REFERENCE = 2, FOREIGN = 4, CALLER = 8, NOWHERE = 0 };
#define OBJECT (REFERENCE | FOREIGN | CALLER)

static const enum ks_uri_use uses[] = {KS_URI_TOKEN, KS_URI_REFERENCE, KS_URI_FOREIGN,
                                       KS_URI_CALLER};

static const struct row {
    const char *text;
    unsigned where;     /* uses that take it */
    const char *reason; /* what the refusal names; NULL: not looked at */
} rows[] = {
    {"pkcs11:token=t", TOKEN | CALLER, NULL},
    {"pkcs11:token=t;object=k", OBJECT, "object"},
    {"pkcs11:token=t;serial=1;object=k;id=%01%02;type=private", OBJECT, NULL},
    {"pkcs11:object=k", OBJECT, NULL},
    {"pkcs11:id=%AB%cd", OBJECT, NULL},
    {"pkcs11:id=abc", OBJECT, NULL},
    {"PKCS11:object=k", OBJECT, NULL},
    {"pkcs11:", TOKEN | CALLER, NULL},
    {"pkcs11:serial=0001;token=a%20b", TOKEN | CALLER, NULL},
    {"pkcs11:manufacturer=m;model=x", TOKEN | CALLER, NULL},
    {"pkcs11:object=k;manufacturer=m", FOREIGN | CALLER, "manufacturer"},
    {"pkcs11:object=k;type=public", CALLER, "type"},
    {"pkcs11:object=k;type=cert", CALLER, "type"},
    {"pkcs11:object=k;type=private", OBJECT, NULL},
    {"pkcs11:object=k;type=secret-key", NOWHERE, "type"},
    {"pkcs11:object=k;type=data", NOWHERE, "type"},
    {"pkcs11:object=k;type=nonsense", NOWHERE, NULL},
    {"pkcs11:object=a%2Fb%3Bc%3Fd", OBJECT, NULL},
    {"pkcs11:object=%00%0A", OBJECT, NULL},
    {"pkcs11:object=k?pin-source=file:/run/pin", CALLER, "pin-source"},
    {"pkcs11:object=k?pin-source=file:pin", NOWHERE, "pin-source"},
    {"pkcs11:object=k?pin-source=/run/pin", NOWHERE, "pin-source"},
    {"pkcs11:object=k?pin-source=|/bin/cat%20pin", NOWHERE, "pin-source"},
    {"pkcs11:object=k?pin-source=%7C/bin/cat%20pin", NOWHERE, "pin-source"},
    {"pkcs11:object=k?pin-source=http://x/", NOWHERE, "pin-source"},
    {"pkcs11:object=k?pin-source=env:PIN", NOWHERE, "pin-source"},
    {"pkcs11:object=k;pin-source=file:/run/pin", NOWHERE, "pin-source"},
    {"pkcs11:object=k?pin-value=1234", NOWHERE, "pin-value"},
    {"pkcs11:object=k;pin-value=1234", NOWHERE, "pin-value"},
    {"pkcs11:object=k?module-path=/tmp/evil.so", NOWHERE, "module-path"},
    {"pkcs11:object=k?module-name=evil", NOWHERE, "module-name"},
    {"pkcs11:object=k;slot-id=1", NOWHERE, "slot-id"},
    {"pkcs11:object=k;slot-description=x", NOWHERE, "slot-description"},
    {"pkcs11:object=k;slot-manufacturer=x", NOWHERE, "slot-manufacturer"},
    {"pkcs11:object=k;library-version=1", NOWHERE, "library-version"},
    {"pkcs11:object=k;library-description=x", NOWHERE, "library-description"},
    {"pkcs11:object=k;colour=red", NOWHERE, "colour"},
    {"pkcs11:object=k;x-vendor=1", NOWHERE, "x-vendor"},
    {"pkcs11:object=k?x-vendor=1", NOWHERE, "x-vendor"},
    {"pkcs11:Object=k", NOWHERE, "Object"},
    {"pkcs11:objec%74=k", NOWHERE, NULL},
    {"pkcs11:object=k;object=l", NOWHERE, "object"},
    {"pkcs11:object=k;id=%01;id=%01", NOWHERE, "id"},
    {"pkcs11:object=", NOWHERE, "object"},
    {"pkcs11:object", NOWHERE, "object"},
    {"pkcs11:object=k;", NOWHERE, NULL},
    {"pkcs11:;object=k", NOWHERE, NULL},
    {"pkcs11:object=k;;id=%01", NOWHERE, NULL},
    {"pkcs11:object=k?", NOWHERE, NULL},
    {"pkcs11:object=%", NOWHERE, NULL},
    {"pkcs11:object=%4", NOWHERE, NULL},
    {"pkcs11:object=%zz", NOWHERE, NULL},
    {"pkcs11:id=%0g", NOWHERE, NULL},
    {"pkcs11:token=a-label-that-is-longer-than-thirty-two-bytes", NOWHERE, NULL},
    {"", NOWHERE, "pkcs11:"},
    {"pkcs11", NOWHERE, "pkcs11:"},
    {"file:/etc/passwd", NOWHERE, "pkcs11:"},
    {" pkcs11:object=k", NOWHERE, "pkcs11:"},
};

START_TEST(each_is_taken_where_it_may_be_and_refused_elsewhere)
{
    const struct row *row = &rows[_i];

    for (size_t u = 0; u < COUNT_OF(uses); u++) {
        struct ks_uri *uri = NULL;
        ks_status st = ks_uri_parse(row->text, uses[u], &uri, &fx.err);

        if ((row->where & (1U << u)) != 0) {
            ck_assert_msg(ks_ok(st), "%s (use %zu): %s", row->text, u, fx.err.text);
            ck_assert_ptr_nonnull(uri);
            ks_uri_free(uri);
            continue;
        }
        ck_assert_msg(st.code == KS_URI, "%s (use %zu) is taken", row->text, u);
        ck_assert_ptr_null(uri);
        ck_assert_ptr_null(strstr(fx.err.text, "1234"));
        ck_assert_uint_eq(fx.err.rv, 0);
        /* an object attribute is the first thing that a token's URI may not have */
        if (row->reason != NULL)
            fx_says(uses[u] == KS_URI_TOKEN && strstr(row->text, "pkcs11:object") == row->text
                        ? "object"
                        : row->reason);
    }
    /* nothing has to be loaded to read a URI */
    ck_assert_uint_eq(fake_calls(NULL), 0);
}
END_TEST

START_TEST(a_long_one_is_refused)
{
    static char text[100000];
    struct ks_uri *uri = NULL;

    memset(text, 'a', sizeof(text) - 1);
    memcpy(text, "pkcs11:object=", 14);
    fx_fails(ks_uri_parse(text, KS_URI_CALLER, &uri, &fx.err), KS_URI);
    ck_assert_ptr_null(uri);
    text[1024] = '\0';
    fx_ok(ks_uri_parse(text, KS_URI_CALLER, &uri, &fx.err));
    ks_uri_free(uri);
}
END_TEST

START_TEST(newlines_of_a_refused_one_are_escaped)
{
    struct ks_uri *uri = NULL;

    fx_fails(ks_uri_parse("pkcs11:a\nb\x1b=1", KS_URI_CALLER, &uri, &fx.err), KS_URI);
    ck_assert_ptr_null(strchr(fx.err.text, '\n'));
    ck_assert_ptr_null(strchr(fx.err.text, '\x1b'));
    fx_says("a\\x0ab\\x1b");
}
END_TEST

START_TEST(values_can_be_asked)
{
    struct ks_uri *uri =
        fx_uri("pkcs11:id=%00%41b;object=a%3Bb?pin-source=file:/p%20q", KS_URI_CALLER);

    ck_assert_uint_eq(ks_uri_id(uri).len, 3);
    ck_assert_mem_eq(ks_uri_id(uri).data, "\0Ab", 3);
    ck_assert_uint_eq(ks_uri_label(uri).len, 3);
    ck_assert_mem_eq(ks_uri_label(uri).data, "a;b", 3);
    ck_assert_str_eq(ks_uri_pin_source(uri), "file:/p q");
    ks_uri_free(uri);
    uri = fx_uri("pkcs11:token=t", KS_URI_CALLER);
    ck_assert_ptr_null(ks_uri_id(uri).data);
    ck_assert_ptr_null(ks_uri_label(uri).data);
    ck_assert_ptr_null(ks_uri_pin_source(uri));
    ks_uri_free(uri);
}
END_TEST

START_TEST(class_and_names_can_be_asked)
{
    static const struct {
        const char *text;
        enum ks_object_class class;
        bool names;
    } cases[] = {
        {"pkcs11:token=t", KS_CLASS_ANY, false},
        {"pkcs11:token=t;type=cert", KS_CLASS_CERTIFICATE, false},
        {"pkcs11:object=k;type=private", KS_CLASS_PRIVATE, true},
        {"pkcs11:id=%01;type=public", KS_CLASS_PUBLIC, true},
        {"pkcs11:object=k", KS_CLASS_ANY, true},
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct ks_uri *uri = fx_uri(cases[i].text, KS_URI_CALLER);

        ck_assert_int_eq(ks_uri_class(uri), cases[i].class);
        ck_assert_int_eq(ks_uri_names_object(uri), cases[i].names);
        ks_uri_free(uri);
    }
    ks_uri_free(NULL);
}
END_TEST

static struct ks_object odd_object(void)
{
    static uint8_t id[] = {0, '/', ';', '?', '%', 0xff};
    static char label[] = "a/b;c?d&e=f%g h\n\xc3\xa4";

    return (struct ks_object){.klass = KS_CLASS_PRIVATE,
                              .type = KS_KEY_RSA,
                              .label = label,
                              .label_len = sizeof(label) - 1,
                              .id = {id, sizeof(id)}};
}

START_TEST(what_we_write_we_read_and_it_finds_the_key)
{
    struct ks_object odd = odd_object();
    struct ks_token_facts facts;
    char text[512];

    fake_add_key(fx.slot, &(struct fake_key){.kind = FAKE_P256,
                                             .label = odd.label,
                                             .label_len = odd.label_len,
                                             .id = odd.id.data,
                                             .id_len = odd.id.len});
    fake_add_pair(fx.slot, FAKE_P256, "another");
    fx_ok(ks_token_facts(fx_token(), NULL, &facts, &fx.err));
    for (int detail = KS_URI_DETAIL_REFERENCE; detail <= KS_URI_DETAIL_FULL; detail++) {
        struct ks_key *key;
        struct ks_uri *uri;

        fx_ok(ks_object_uri(&odd, &facts, (enum ks_uri_detail)detail, text, sizeof(text), &fx.err));
        for (const char *p = text; *p != '\0'; p++)
            ck_assert(*p > 0x20 && *p < 0x7f);
        ck_assert_int_eq(strstr(text, "token=") != NULL, detail != KS_URI_DETAIL_REFERENCE);
        ck_assert_int_eq(strstr(text, "serial=") != NULL, detail == KS_URI_DETAIL_FULL);
        ck_assert_ptr_nonnull(strstr(text, "type=private"));
        /* nothing else than what a reference may hold */
        uri = fx_uri(text, KS_URI_REFERENCE);
        ck_assert_int_eq(ks_uri_class(uri), KS_CLASS_PRIVATE);
        fx_ok(ks_key_find(fx.token, NULL, uri, &key, &fx.err));
        ck_assert_uint_eq(ks_key_object(key)->label_len, odd.label_len);
        ck_assert_mem_eq(ks_key_object(key)->label, odd.label, odd.label_len);
        ck_assert_uint_eq(ks_key_object(key)->id.len, odd.id.len);
        ck_assert_mem_eq(ks_key_object(key)->id.data, odd.id.data, odd.id.len);
        ks_key_free(key);
        ks_uri_free(uri);
    }
}
END_TEST

START_TEST(a_written_one_that_does_not_fit_is_an_error)
{
    struct ks_object odd = odd_object();
    char text[512];
    size_t len;

    fx_ok(ks_object_uri(&odd, NULL, KS_URI_DETAIL_REFERENCE, text, sizeof(text), &fx.err));
    len = strlen(text);
    text[len + 1] = 'X';
    fx_ok(ks_object_uri(&odd, NULL, KS_URI_DETAIL_REFERENCE, text, len + 1, &fx.err));
    ck_assert_int_eq(text[len + 1], 'X');
    text[len] = 'X';
    fx_fails(ks_object_uri(&odd, NULL, KS_URI_DETAIL_REFERENCE, text, len, &fx.err), KS_URI);
    ck_assert_int_eq(text[len], 'X');
}
END_TEST

int main(void)
{
    const struct fx_test tests[] = {
        {each_is_taken_where_it_may_be_and_refused_elsewhere, (int)COUNT_OF(rows)},
        {a_long_one_is_refused, 0},
        {newlines_of_a_refused_one_are_escaped, 0},
        {values_can_be_asked, 0},
        {class_and_names_can_be_asked, 0},
        {what_we_write_we_read_and_it_finds_the_key, 0},
        {a_written_one_that_does_not_fit_is_an_error, 0},
    };

    return fx_main("ks_uri", tests, COUNT_OF(tests));
}
