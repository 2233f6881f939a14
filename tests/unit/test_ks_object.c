/* SPDX-License-Identifier: Apache-2.0
 *
 * token/object.c: what is read of objects, from tokens that leave half of it out.
 */
#include "ks_fixture.h"

/* What the fake has, to compare with. */
static void attribute_is(unsigned long handle, unsigned long attribute,
                         const struct ks_bytes *bytes)
{
    uint8_t value[1024];
    long len = fake_attribute(handle, attribute, value, sizeof(value));

    ck_assert_int_gt(len, 0);
    ck_assert_uint_eq(bytes->len, (size_t)len);
    ck_assert_mem_eq(bytes->data, value, (size_t)len);
}

static void point_is(unsigned long public_handle, const struct ks_bytes *point)
{
    uint8_t value[256];
    long len = fake_attribute(public_handle, CKA_EC_POINT, value, sizeof(value));
    size_t head = value[1] == 0x81 ? 3 : 2;

    ck_assert_int_gt(len, 3);
    ck_assert_uint_eq(point->len, (size_t)len - head);
    ck_assert_mem_eq(point->data, value + head, point->len);
    ck_assert_uint_eq(point->data[0], 4);
}

START_TEST(an_rsa_key_is_read_whole)
{
    static const enum fake_kind kinds[] = {FAKE_RSA, FAKE_RSA_3072, FAKE_RSA_4096};
    static const size_t sizes[] = {256, 384, 512};
    static const char *const labels[] = {"r2", "r3", "r4"};

    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct ks_key *key = fx_new_key(kinds[i], labels[i]);
        const struct ks_object *o = ks_key_object(key);
        unsigned long handle = fake_find(fx.slot, CKO_PRIVATE_KEY, labels[i]);

        ck_assert_int_eq(o->klass, KS_CLASS_PRIVATE);
        ck_assert_int_eq(o->type, KS_KEY_RSA);
        ck_assert_str_eq(o->label, labels[i]);
        ck_assert_uint_eq(o->label_len, strlen(labels[i]));
        ck_assert_uint_eq(o->modulus.len, sizes[i]);
        attribute_is(handle, CKA_ID, &o->id);
        attribute_is(handle, CKA_MODULUS, &o->modulus);
        attribute_is(handle, CKA_PUBLIC_EXPONENT, &o->exponent);
        ck_assert(o->can_sign && o->can_decrypt && !o->can_derive);
        ck_assert(o->sensitive && !o->extractable && !o->always_authenticate && o->local);
        ks_key_free(key);
    }
}
END_TEST

START_TEST(an_ec_key_is_completed_from_its_public_object)
{
    static const enum fake_kind kinds[] = {FAKE_P256, FAKE_P384, FAKE_P521, FAKE_SECP256K1};
    static const char *const labels[] = {"p256", "p384", "p521", "secp256k1"};

    for (int raw = 0; raw < 2; raw++) {
        for (size_t i = 0; i < COUNT_OF(kinds); i++) {
            struct ks_key *key;
            const struct ks_object *o;

            fake_set_quirk(FAKE_QUIRK_RAW_EC_POINT, raw != 0);
            key = raw != 0 ? fx_key(labels[i]) : fx_new_key(kinds[i], labels[i]);
            o = ks_key_object(key);
            ck_assert_int_eq(o->type, KS_KEY_EC);
            attribute_is(fake_find(fx.slot, CKO_PRIVATE_KEY, labels[i]), CKA_EC_PARAMS,
                         &o->ec_params);
            fake_set_quirk(FAKE_QUIRK_RAW_EC_POINT, false);
            point_is(fake_find(fx.slot, CKO_PUBLIC_KEY, labels[i]), &o->ec_point);
            attribute_is(fake_find(fx.slot, CKO_PRIVATE_KEY, labels[i]), CKA_PUBLIC_KEY_INFO,
                         &o->spki);
            ck_assert(o->can_sign && o->can_derive && !o->can_decrypt);
            ks_key_free(key);
        }
    }
}
END_TEST

START_TEST(an_ec_key_without_a_public_object_has_no_point_and_signs)
{
    struct ks_key *key;

    fake_add_key(fx.slot, &(struct fake_key){
                              .kind = FAKE_P256, .label = "k", .id = "k", .flags = FAKE_NO_PUBLIC});
    fake_hide_attribute(FAKE_ANY, CKA_PUBLIC_KEY_INFO);
    key = fx_key("k");
    ck_assert_ptr_null(ks_key_object(key)->ec_point.data);
    ck_assert_ptr_null(ks_key_object(key)->spki.data);
    ck_assert_uint_gt(ks_key_object(key)->ec_params.len, 0);
    fx_sign_well(key, "k");
    ks_key_free(key);
}
END_TEST

START_TEST(an_rsa_key_without_exponent_gets_it_from_the_public_object)
{
    struct ks_key *key;

    fake_hide_attribute(CKO_PRIVATE_KEY, CKA_PUBLIC_EXPONENT);
    key = fx_new_key(FAKE_RSA, "k");
    attribute_is(fake_find(fx.slot, CKO_PUBLIC_KEY, "k"), CKA_PUBLIC_EXPONENT,
                 &ks_key_object(key)->exponent);
    ks_key_free(key);
}
END_TEST

/* Another key's public object under the same id is not this key's. */
START_TEST(a_foreign_public_object_completes_nothing)
{
    struct ks_key *key;

    fake_hide_attribute(CKO_PRIVATE_KEY, CKA_PUBLIC_EXPONENT);
    fake_add_key(
        fx.slot,
        &(struct fake_key){
            .kind = FAKE_RSA, .label = "k", .id = "k", .material = 1, .flags = FAKE_NO_PUBLIC});
    fake_add_key(
        fx.slot,
        &(struct fake_key){
            .kind = FAKE_RSA, .label = "k", .id = "k", .material = 2, .flags = FAKE_NO_PRIVATE});
    key = fx_key("k");
    ck_assert_ptr_null(ks_key_object(key)->exponent.data);
    fx_sign_well(key, "k");
    ks_key_free(key);
}
END_TEST

/* Every attribute but class and key type may be missing, one at a time and all together. */
START_TEST(missing_attributes_are_no_error)
{
    static const unsigned long optional[] = {
        CKA_PUBLIC_KEY_INFO, CKA_ALWAYS_AUTHENTICATE, CKA_LOCAL,
        CKA_SENSITIVE,       CKA_EXTRACTABLE,         CKA_DERIVE,
        CKA_DECRYPT,
    };
    bool bulk_fails = _i % 2 != 0;
    size_t only = (size_t)_i / 2; /* behind the last: all */
    struct ks_key *key;

    fake_set_quirk(FAKE_QUIRK_BULK_READ_FAILS, bulk_fails);
    for (size_t i = 0; i < COUNT_OF(optional); i++) {
        if (only == i || only == COUNT_OF(optional))
            fake_hide_attribute(FAKE_ANY, optional[i]);
    }
    key = fx_new_key(FAKE_P256, "k");
    ck_assert_str_eq(ks_key_object(key)->label, "k");
    ck_assert_uint_eq(ks_key_object(key)->ec_point.len, 65);
    ck_assert(ks_key_object(key)->can_sign);
    if (only == 1 || only == COUNT_OF(optional))
        ck_assert(!ks_key_object(key)->always_authenticate);
    fx_sign_well(key, "k");
    ks_key_free(key);
    key = fx_new_key(FAKE_RSA, "r");
    ck_assert_uint_eq(ks_key_object(key)->modulus.len, 256);
    ck_assert_uint_eq(ks_key_object(key)->exponent.len, 3);
    fx_sign_well(key, "r");
    ks_key_free(key);
}
END_TEST

START_TEST(keys_without_label_or_without_id_are_found_by_the_other)
{
    struct ks_key *key;
    struct ks_uri *uri;

    fake_add_key(fx.slot, &(struct fake_key){.kind = FAKE_P256, .id = "i"});
    fake_add_key(fx.slot, &(struct fake_key){.kind = FAKE_P256, .label = "l"});
    uri = fx_uri("pkcs11:id=i", KS_URI_CALLER);
    fx_ok(ks_key_find(fx_token(), NULL, uri, &key, &fx.err));
    ck_assert_uint_eq(ks_key_object(key)->label_len, 0);
    /* and found again */
    fake_lose_sessions(false);
    fx_ok(fx_sign(key));
    ks_key_free(key);
    ks_uri_free(uri);
    key = fx_key("l");
    ck_assert_uint_eq(ks_key_object(key)->id.len, 0);
    /* the public object is found by the label then */
    ck_assert_uint_eq(ks_key_object(key)->ec_point.len, 65);
    fake_lose_sessions(false);
    fx_ok(fx_sign(key));
    ks_key_free(key);
}
END_TEST

/* --- listings -------------------------------------------------------------------------------- */

struct listing {
    char text[1024];
    unsigned seen, stop_after;
    size_t value_len;
};

static bool list(void *arg, const struct ks_object *o)
{
    static const char classes[] = {'?', 's', 'p', 'c'};
    struct listing *l = arg;

    if (l->seen < 20)
        sprintf(l->text + strlen(l->text), "%c:%s ", classes[o->klass],
                o->label != NULL ? o->label : "-");
    if (o->klass == KS_CLASS_CERTIFICATE)
        l->value_len = o->value.len;
    return ++l->seen != l->stop_after;
}

static void list_uri(const char *text, struct listing *l)
{
    struct ks_uri *uri = text != NULL ? fx_uri(text, KS_URI_CALLER) : NULL;

    *l = (struct listing){.stop_after = l->stop_after};
    fx_ok(ks_token_objects(fx_token(), NULL, uri, list, l, &fx.err));
    ks_uri_free(uri);
}

START_TEST(objects_are_listed_as_the_uri_says)
{
    static const struct {
        const char *uri, *list;
    } cases[] = {
        {NULL, "s:a s:b p:a p:b c:a "},
        {"pkcs11:", "s:a s:b p:a p:b c:a "},
        {"pkcs11:type=private", "s:a s:b "},
        {"pkcs11:type=public", "p:a p:b "},
        {"pkcs11:type=cert", "c:a "},
        {"pkcs11:object=a", "s:a p:a c:a "},
        {"pkcs11:object=a;type=public", "p:a "},
        {"pkcs11:id=b", "s:b p:b "},
        {"pkcs11:object=a;id=b", ""},
        {"pkcs11:object=none", ""},
    };
    struct listing l = {.seen = 0};
    struct ks_uri *uri;

    fake_add_pair(fx.slot, FAKE_RSA, "a");
    fake_add_pair(fx.slot, FAKE_P256, "b");
    fake_add_certificate(fx.slot, "a", "a", FAKE_RSA, 1);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        list_uri(cases[i].uri, &l);
        ck_assert_str_eq(l.text, cases[i].list);
    }
    list_uri("pkcs11:type=cert", &l);
    ck_assert_int_eq(fake_attribute(fake_find(fx.slot, CKO_CERTIFICATE, "a"), CKA_VALUE, NULL, 0),
                     (long)l.value_len);
    l.stop_after = 2;
    list_uri(NULL, &l);
    ck_assert_str_eq(l.text, "s:a s:b ");
    uri = fx_uri("pkcs11:token=elsewhere", KS_URI_CALLER);
    fx_fails(ks_token_objects(fx.token, NULL, uri, list, &l, &fx.err), KS_TOKEN_NOT_FOUND);
    ks_uri_free(uri);
}
END_TEST

START_TEST(a_thousand_objects_are_listed)
{
    struct listing l = {.seen = 0};

    fake_add_pairs(fx.slot, FAKE_RSA, "k", 500);
    list_uri(NULL, &l);
    ck_assert_uint_eq(l.seen, 1000);
    list_uri("pkcs11:type=private", &l);
    ck_assert_uint_eq(l.seen, 500);
}
END_TEST

/* Searches of a listing, whatever there is on the token. */
START_TEST(a_listing_costs_the_same_number_of_searches_for_2_and_2000)
{
    static const char *const uris[] = {NULL, "pkcs11:type=private"};
    unsigned long searches[2][2];
    struct listing l;

    for (int many = 0; many < 2; many++) {
        if (many)
            fx_restart(NULL);
        fake_add_pairs(fx.slot, FAKE_P256, "k", many ? fx_rounds(1000) : 3);
        fx_ok(ks_token_connect(fx_token(), NULL, &fx.err));
        for (int u = 0; u < 2; u++) {
            l = (struct listing){.seen = 0};
            fake_clear_counts();
            list_uri(uris[u], &l);
            searches[many][u] = fake_calls("C_FindObjectsInit");
            ck_assert_uint_le(searches[many][u], 3);
            ck_assert_uint_eq(fake_calls("C_FindObjectsFinal"), searches[many][u]);
        }
    }
    ck_assert_uint_eq(searches[0][0], searches[1][0]);
    ck_assert_uint_eq(searches[0][1], searches[1][1]);
}
END_TEST

struct troubled {
    unsigned good, bad;
    char why[512];
};

static bool note_trouble(void *arg, const struct ks_object *o)
{
    struct troubled *t = arg;

    t->good += o->trouble == NULL;
    t->bad += o->trouble != NULL;
    if (o->trouble != NULL)
        snprintf(t->why, sizeof(t->why), "%s", o->trouble);
    return true;
}

START_TEST(one_object_that_cannot_be_read_hides_no_other)
{
    static const unsigned long codes[] = {CKR_ARGUMENTS_BAD, CKR_FUNCTION_NOT_SUPPORTED,
                                          CKR_OBJECT_HANDLE_INVALID};

    fake_add_pair(fx.slot, FAKE_RSA, "a");
    fake_add_pair(fx.slot, FAKE_P256, "b");
    fx_ok(ks_token_connect(fx_token(), NULL, &fx.err));
    for (size_t c = 0; c < COUNT_OF(codes); c++) {
        for (unsigned nth = 1; nth <= 4; nth++) {
            struct troubled t = {.good = 0};

            fake_inject("C_GetAttributeValue", nth, 1, codes[c], false);
            fx_ok(ks_token_objects(fx.token, NULL, NULL, note_trouble, &t, &fx.err));
            ck_assert_uint_eq(t.good, 3);
            /* what has gone in between is no trouble */
            ck_assert_uint_eq(t.bad, codes[c] != CKR_OBJECT_HANDLE_INVALID);
            ck_assert(t.bad == 0 || strstr(t.why, "C_GetAttributeValue") != NULL);
            fake_heal(NULL);
        }
    }
    /* nothing at all: it is not the objects */
    fake_inject("C_GetAttributeValue", 1, FAKE_FOREVER, CKR_ARGUMENTS_BAD, false);
    fx_fails(ks_token_objects(fx.token, NULL, NULL, note_trouble, &(struct troubled){0}, &fx.err),
             KS_TOKEN);
}
END_TEST

struct handed {
    struct ks_key *keys[8];
    size_t count;
    enum ks_code last;
};

static bool take_key(void *arg, const struct ks_object *o)
{
    struct handed *h = arg;

    if (o->klass == KS_CLASS_PRIVATE) {
        h->last = ks_key_of_object(fx.token, o, &h->keys[h->count], &fx.err).code;
        h->count += h->last == KS_OK;
    }
    return true;
}

START_TEST(a_listed_key_needs_no_other_search)
{
    struct handed h = {.count = 0};

    fake_add_pair(fx.slot, FAKE_P256, "a");
    fake_add_pair(fx.slot, FAKE_RSA, "b");
    fx_ok(ks_token_connect(fx_token(), NULL, &fx.err));
    fake_clear_counts();
    fx_ok(ks_token_objects(fx.token, NULL, NULL, take_key, &h, &fx.err));
    ck_assert_uint_eq(h.count, 2);
    ck_assert_uint_eq(fake_calls("C_FindObjectsInit"), 3);
    fx_sign_well(h.keys[0], "a");
    fx_sign_well(h.keys[1], "b");
    ck_assert_uint_eq(fake_calls("C_FindObjectsInit"), 3);
    /* the handle is another key's in the next epoch */
    fake_renumber(FAKE_HANDLES_OTHER);
    fake_lose_login();
    fx_sign_well(h.keys[0], "a");
    ks_key_free(h.keys[0]);
    ks_key_free(h.keys[1]);
}
END_TEST

START_TEST(keys_that_cannot_be_told_apart_are_not_handed_out)
{
    struct handed h = {.count = 0};

    fake_add_key(fx.slot, &(struct fake_key){.kind = FAKE_RSA, .label = "a", .id = "1"});
    fake_add_key(fx.slot, &(struct fake_key){.kind = FAKE_RSA, .label = "a", .id = "1"});
    fx_ok(ks_token_objects(fx_token(), NULL, NULL, take_key, &h, &fx.err));
    ck_assert_uint_eq(h.count, 0);
    ck_assert_int_eq(h.last, KS_KEY_AMBIGUOUS);
}
END_TEST

START_TEST(a_listing_that_breaks_down_shows_nothing_twice)
{
    struct listing l = {.seen = 0};

    fake_add_pair(fx.slot, FAKE_RSA, "a");
    fake_add_pair(fx.slot, FAKE_RSA, "b");
    fake_inject("C_GetAttributeValue", 4, 1, CKR_SESSION_HANDLE_INVALID, false);
    list_uri(NULL, &l);
    ck_assert_str_eq(l.text, "s:a s:b p:a p:b ");
    fake_inject("C_FindObjects", 1, FAKE_FOREVER, CKR_DEVICE_ERROR, false);
    l = (struct listing){.seen = 0};
    fx_fails(ks_token_objects(fx.token, NULL, NULL, list, &l, &fx.err), KS_DEVICE);
    ck_assert_uint_eq(l.seen, 0);
    ck_assert_uint_eq(fake_open_searches(), 0);
}
END_TEST

START_TEST(public_objects_are_seen_without_login)
{
    struct ks_token_config config = fx_config();
    struct listing l = {.seen = 0};
    struct ks_key *key;

    config.pin = NULL;
    fx_ok(ks_token_new(&config, &fx.token, &fx.err));
    fake_add_pair(fx.slot, FAKE_RSA, "a");
    list_uri(NULL, &l);
    ck_assert_str_eq(l.text, "p:a ");
    fx_fails(fx_find("a", &key), KS_KEY_NOT_FOUND);
    fx_says("pin");
}
END_TEST

/* Some modules accept a second search while one is open, and then answer rubbish. */
START_TEST(every_search_is_ended_on_every_path)
{
    static const char *const functions[] = {"C_FindObjects", "C_FindObjectsFinal",
                                            "C_GetAttributeValue"};
    struct ks_key *key = NULL;

    fake_add_pair(fx.slot, FAKE_P256, "k");
    for (size_t f = 0; f < COUNT_OF(functions); f++) {
        for (unsigned nth = 1; nth <= 3; nth++) {
            fx_ok(ks_token_connect(fx_token(), NULL, &fx.err));
            fake_clear_counts();
            fake_inject(functions[f], nth, 1, CKR_ARGUMENTS_BAD, strstr(functions[f], "Final"));
            if (ks_ok(fx_find("k", &key)))
                ks_key_free(key);
            fake_heal(NULL);
            ck_assert_uint_eq(fake_open_searches(), 0);
            ck_assert_uint_eq(fake_calls("C_FindObjectsInit"), fake_calls("C_FindObjectsFinal"));
        }
    }
}
END_TEST

int main(void)
{
    const struct fx_test tests[] = {
        {an_rsa_key_is_read_whole, 0},
        {an_ec_key_is_completed_from_its_public_object, 0},
        {an_ec_key_without_a_public_object_has_no_point_and_signs, 0},
        {an_rsa_key_without_exponent_gets_it_from_the_public_object, 0},
        {a_foreign_public_object_completes_nothing, 0},
        {missing_attributes_are_no_error, 16},
        {keys_without_label_or_without_id_are_found_by_the_other, 0},
        {objects_are_listed_as_the_uri_says, 0},
        {a_thousand_objects_are_listed, 0},
        {a_listing_costs_the_same_number_of_searches_for_2_and_2000, 0},
        {one_object_that_cannot_be_read_hides_no_other, 0},
        {a_listed_key_needs_no_other_search, 0},
        {keys_that_cannot_be_told_apart_are_not_handed_out, 0},
        {a_listing_that_breaks_down_shows_nothing_twice, 0},
        {public_objects_are_seen_without_login, 0},
        {every_search_is_ended_on_every_path, 0},
    };

    return fx_main("ks_object", tests, COUNT_OF(tests));
}
