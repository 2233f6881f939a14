/* SPDX-License-Identifier: Apache-2.0
 *
 * test_reference.c - the key-reference codec: what it writes it reads, and everything else it
 * refuses. No token is needed.
 */
#include <check.h>
#include <openssl/asn1.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "../../provider/key/key.h"
#include "../../provider/key/reference.h"

#define URI_EC  "pkcs11:id=%01%02;object=web;type=private"
#define URI_RSA "pkcs11:id=%a5;object=my%20key;type=private"
#define URI_PSS "pkcs11:object=pss;type=private"

static struct prov_ctx ctx; /* without a core: errors go to libcrypto's queue directly */
static EVP_PKEY *pubs[PROV_KEY_TYPES];
static const char *const uris[PROV_KEY_TYPES] = {[PROV_RSA] = URI_RSA,
                                                 [PROV_RSA_PSS] = URI_PSS,
                                                 [PROV_EC] = URI_EC,
                                                 [PROV_ED25519] = URI_RSA,
                                                 [PROV_ED448] = URI_PSS};

/* --- helpers --------------------------------------------------------------------------------- */

struct der {
    unsigned char *data;
    size_t len;
};

static EVP_PKEY *generate(const char *type, const char *curve)
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_name(ctx.libctx, type, NULL);
    EVP_PKEY *key = NULL;

    ck_assert_ptr_nonnull(pctx);
    ck_assert_int_gt(EVP_PKEY_keygen_init(pctx), 0);
    if (curve != NULL)
        ck_assert_int_gt(EVP_PKEY_CTX_set_group_name(pctx, curve), 0);
    ck_assert_int_gt(EVP_PKEY_generate(pctx, &key), 0);
    EVP_PKEY_CTX_free(pctx);
    return key;
}

static void set_up(void)
{
    ctx.libctx = OSSL_LIB_CTX_new();
    ck_assert_ptr_nonnull(ctx.libctx);
    pubs[PROV_RSA] = generate("RSA", NULL);
    pubs[PROV_RSA_PSS] = generate("RSA-PSS", NULL);
    pubs[PROV_EC] = generate("EC", "P-256");
    pubs[PROV_ED25519] = generate("ED25519", NULL);
    pubs[PROV_ED448] = generate("ED448", NULL);
}

static void tear_down(void)
{
    for (int i = 0; i < PROV_KEY_TYPES; i++)
        EVP_PKEY_free(pubs[i]);
    OSSL_LIB_CTX_free(ctx.libctx);
}

static int write_key(enum prov_key_type type, const char *uri, EVP_PKEY *pub, struct der *out)
{
    struct prov_key key = {.ctx = &ctx, .type = type, .pub = pub, .has_private = true};
    int ok;

    key.uri = OPENSSL_strdup(uri);
    ok = prov_ref_to_der(&key, &out->data, &out->len);
    OPENSSL_free(key.uri);
    return ok;
}

static struct der good(enum prov_key_type type)
{
    struct der out = {0};

    ck_assert_int_eq(write_key(type, uris[type], pubs[type], &out), 1);
    ck_assert_uint_eq(ERR_peek_error(), 0);
    return out;
}

static void free_der(struct der *d)
{
    OPENSSL_free(d->data);
    d->data = NULL;
}

/* The text of the last error, which must be there. */
static const char *last_error(void)
{
    const char *data = "";
    int flags = 0;

    ck_assert_uint_ne(ERR_peek_last_error_data(&data, &flags), 0);
    return data;
}

static struct prov_ref *parse(const unsigned char *data, size_t len, bool *is_ours)
{
    struct prov_ref *ref = prov_ref_from_der(&ctx, data, len, is_ours);

    ck_assert(*is_ours == prov_ref_claims(data, len));
    if (ref != NULL)
        ck_assert(*is_ours);
    /* an error exactly when it is ours and not usable */
    ck_assert_int_eq(ERR_peek_error() != 0, *is_ours && ref == NULL);
    return ref;
}

static void assert_refused(struct der d, const char *because)
{
    bool is_ours;
    struct prov_ref *ref = parse(d.data, d.len, &is_ours);

    ck_assert_ptr_null(ref);
    ck_assert_msg(is_ours, "not taken for a reference, should be refused because: %s", because);
    ck_assert_msg(strstr(last_error(), because) != NULL, "'%s' does not contain '%s'", last_error(),
                  because);
    ERR_clear_error();
    free_der(&d);
}

static void assert_not_ours(struct der d)
{
    bool is_ours;

    ck_assert_ptr_null(parse(d.data, d.len, &is_ours));
    ck_assert(!is_ours);
    free_der(&d);
}

/* --- a DER writer for things that our own codec would never write ---------------------------- */

static struct der tlv(int tag, const void *content, size_t len)
{
    struct der out = {OPENSSL_malloc(len + 6), 0};
    unsigned char *p = out.data;

    ck_assert_ptr_nonnull(p);
    *p++ = (unsigned char)tag;
    if (len < 0x80) {
        *p++ = (unsigned char)len;
    } else {
        size_t octets = len > 0xffff ? 3 : len > 0xff ? 2 : 1;

        *p++ = (unsigned char)(0x80 + octets);
        while (octets-- > 0)
            *p++ = (unsigned char)(len >> (8 * octets));
    }
    memcpy(p, content, len);
    out.len = (size_t)(p - out.data) + len;
    return out;
}

/* Frees what it joins. */
static struct der sequence(struct der parts[], size_t count)
{
    size_t len = 0;
    unsigned char *all;
    struct der out;

    for (size_t i = 0; i < count; i++)
        len += parts[i].len;
    all = OPENSSL_malloc(len + 1);
    ck_assert_ptr_nonnull(all);
    len = 0;
    for (size_t i = 0; i < count; i++) {
        memcpy(all + len, parts[i].data, parts[i].len);
        len += parts[i].len;
        free_der(&parts[i]);
    }
    out = tlv(0x30, all, len);
    OPENSSL_free(all);
    return out;
}

static struct der integer(unsigned char value)
{
    return tlv(0x02, &value, 1);
}

static struct der spki_of(EVP_PKEY *key)
{
    struct der out = {0};
    int len = i2d_PUBKEY(key, &out.data);

    ck_assert_int_gt(len, 0);
    out.len = (size_t)len;
    return out;
}

static struct der inner_with(unsigned char version, const char *uri, size_t uri_len, const char *id,
                             size_t id_len, struct der spki)
{
    struct der parts[] = {integer(version), tlv(0x0c, uri, uri_len), tlv(0x04, id, id_len), spki};

    return sequence(parts, 4);
}

static struct der algorithm(const char *oid, bool null_parameters)
{
    ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
    struct der parts[2] = {{0}, tlv(0x05, "", 0)};
    struct der out;
    int len = i2d_ASN1_OBJECT(object, &parts[0].data);

    ck_assert_int_gt(len, 0);
    parts[0].len = (size_t)len;
    ASN1_OBJECT_free(object);
    out = sequence(parts, null_parameters ? 2 : 1);
    if (!null_parameters)
        free_der(&parts[1]);
    return out;
}

static struct der outer_with(unsigned char version, struct der algorithm_der, struct der inner)
{
    struct der parts[] = {integer(version), algorithm_der, tlv(0x04, inner.data, inner.len)};

    free_der(&inner);
    return sequence(parts, 3);
}

static struct der with_uri(const char *uri, size_t len)
{
    return outer_with(0, algorithm(PROV_OID_EC, false),
                      inner_with(1, uri, len, "", 0, spki_of(pubs[PROV_EC])));
}

static struct der foreign(const char *what, const char *uri)
{
    struct der parts[] = {tlv(0x1a, what, strlen(what)), tlv(0x0c, uri, strlen(uri))};

    return sequence(parts, 2);
}

/* --- what we write we read ------------------------------------------------------------------- */

START_TEST(round_trip)
{
    enum prov_key_type type = (enum prov_key_type)_i;
    struct der d = good(type);
    bool is_ours;
    struct prov_ref *ref = parse(d.data, d.len, &is_ours);
    struct ks_uri *uri = NULL;
    struct ks_error err;

    ck_assert_ptr_nonnull(ref);
    ck_assert_int_eq(ref->type, type);
    ck_assert(ref->has_public);
    ck_assert_str_eq(ref->uri, uris[type]);
    ck_assert(ks_ok(ks_uri_parse(uris[type], KS_URI_REFERENCE, &uri, &err)));
    ck_assert_uint_eq(ref->id_len, ks_uri_id(uri).len);
    if (ref->id_len > 0)
        ck_assert_mem_eq(ref->id, ks_uri_id(uri).data, ref->id_len);
    ks_uri_free(uri);
    ck_assert_int_eq(EVP_PKEY_eq(ref->pub, pubs[type]), 1);
    prov_ref_free(ref);
    free_der(&d);
}
END_TEST

/* Any PKCS#8 parser sees a key of an unknown algorithm, whose OID fits libcrypto's buffers. */
START_TEST(is_pkcs8_of_unknown_algorithm)
{
    enum prov_key_type type = (enum prov_key_type)_i;
    struct der d = good(type);
    const unsigned char *p = d.data;
    PKCS8_PRIV_KEY_INFO *p8 = d2i_PKCS8_PRIV_KEY_INFO(NULL, &p, (long)d.len);
    const ASN1_OBJECT *object;
    char text[50];
    EVP_PKEY *key;

    ck_assert_ptr_nonnull(p8);
    ck_assert_ptr_eq(p, d.data + d.len);
    ck_assert_int_eq(PKCS8_pkey_get0(&object, NULL, NULL, NULL, p8), 1);
    ck_assert_int_lt(OBJ_obj2txt(text, sizeof(text), object, 0), (int)sizeof(text));
    ck_assert_str_eq(text, prov_types[type].oid);
    key = EVP_PKCS82PKEY_ex(p8, ctx.libctx, NULL);
    ck_assert_ptr_null(key);
    ERR_clear_error();
    PKCS8_PRIV_KEY_INFO_free(p8);
    free_der(&d);
}
END_TEST

START_TEST(bare_inner_form)
{
    struct der d = inner_with(1, URI_EC, strlen(URI_EC), "\x01\x02", 2, spki_of(pubs[PROV_EC]));
    bool is_ours;
    struct prov_ref *ref = parse(d.data, d.len, &is_ours);

    ck_assert_ptr_nonnull(ref);
    ck_assert_int_eq(ref->type, PROV_EC);
    ck_assert_int_eq(EVP_PKEY_eq(ref->pub, pubs[PROV_EC]), 1);
    prov_ref_free(ref);
    free_der(&d);
}
END_TEST

START_TEST(foreign_uri)
{
    static const char uri[] = "pkcs11:model=Soft;manufacturer=Maker;serial=12;token=t;id=%01;"
                              "object=web;type=private";
    struct der d = foreign("PKCS#11 Provider URI v1.0", uri);
    bool is_ours;
    struct prov_ref *ref = parse(d.data, d.len, &is_ours);

    ck_assert_ptr_nonnull(ref);
    ck_assert(!ref->has_public);
    ck_assert_ptr_null(ref->pub);
    ck_assert_str_eq(ref->uri, uri);
    prov_ref_free(ref);
    free_der(&d);
}
END_TEST

/* --- what is not ours is left alone ---------------------------------------------------------- */

START_TEST(software_keys_are_not_ours)
{
    enum prov_key_type type = (enum prov_key_type)_i;
    PKCS8_PRIV_KEY_INFO *p8 = EVP_PKEY2PKCS8(pubs[type]); /* they are whole keys here */
    struct der d = {0};
    int len = i2d_PKCS8_PRIV_KEY_INFO(p8, &d.data);

    ck_assert_int_gt(len, 0);
    d.len = (size_t)len;
    assert_not_ours(d);
    PKCS8_PRIV_KEY_INFO_free(p8);
    assert_not_ours(spki_of(pubs[type]));

    d.data = NULL;
    len = i2d_PrivateKey(pubs[type], &d.data);
    ERR_clear_error();
    ck_assert_int_gt(len, 0);
    d.len = (size_t)len;
    assert_not_ours(d);
}
END_TEST

START_TEST(other_things_are_not_ours)
{
    bool is_ours;

    ck_assert_ptr_null(parse((const unsigned char *)"", 0, &is_ours));
    ck_assert(!is_ours);
    assert_not_ours(tlv(0x30, "", 0));
    assert_not_ours(foreign("Some other text", URI_EC));
    assert_not_ours(
        outer_with(0, algorithm("2.25.1.1", false), tlv(0x04, "x", 1))); /* another UUID */
}
END_TEST

/* --- refusals -------------------------------------------------------------------------------- */

START_TEST(contradictions)
{
    assert_refused(
        outer_with(0, algorithm(PROV_OID_RSA, false),
                   inner_with(1, URI_EC, strlen(URI_EC), "\x01\x02", 2, spki_of(pubs[PROV_EC]))),
        "contradicts itself");
    assert_refused(
        outer_with(0, algorithm(PROV_OID_RSA, false),
                   inner_with(1, URI_PSS, strlen(URI_PSS), "", 0, spki_of(pubs[PROV_RSA_PSS]))),
        "contradicts itself");
    assert_refused(
        outer_with(0, algorithm(PROV_OID_EC, false),
                   inner_with(1, URI_EC, strlen(URI_EC), "\x01\x03", 2, spki_of(pubs[PROV_EC]))),
        "id is not the one");
    assert_refused(outer_with(0, algorithm(PROV_OID_EC, false),
                              inner_with(1, URI_EC, strlen(URI_EC), "", 0, spki_of(pubs[PROV_EC]))),
                   "id is not the one");
    assert_refused(
        outer_with(0, algorithm(PROV_OID_EC, false),
                   inner_with(1, URI_PSS, strlen(URI_PSS), "\x01", 1, spki_of(pubs[PROV_EC]))),
        "id is not the one");
}
END_TEST

START_TEST(versions_and_types)
{
    struct der ec = spki_of(pubs[PROV_EC]);

    assert_refused(outer_with(0, algorithm(PROV_OID_EC, false),
                              inner_with(2, URI_PSS, strlen(URI_PSS), "", 0, ec)),
                   "version");
    assert_refused(
        outer_with(0, algorithm(PROV_OID_EC, false),
                   inner_with(0, URI_PSS, strlen(URI_PSS), "", 0, spki_of(pubs[PROV_EC]))),
        "version");
    assert_refused(
        outer_with(1, algorithm(PROV_OID_EC, false),
                   inner_with(1, URI_PSS, strlen(URI_PSS), "", 0, spki_of(pubs[PROV_EC]))),
        "version is not 0");
    assert_refused(
        outer_with(0, algorithm(PROV_OID_EC, true),
                   inner_with(1, URI_PSS, strlen(URI_PSS), "", 0, spki_of(pubs[PROV_EC]))),
        "parameters");
    assert_refused(outer_with(0, algorithm(PROV_OID_ARC ".6", false), tlv(0x04, "x", 1)),
                   "type that this release does not have");
    assert_refused(outer_with(0, algorithm(PROV_OID_ARC ".77", false), tlv(0x04, "x", 1)),
                   "type that this release does not have");
    assert_refused(outer_with(0, algorithm(PROV_OID_EC ".1", false), tlv(0x04, "x", 1)),
                   "type that this release does not have");
}
END_TEST

START_TEST(bad_public_keys)
{
    EVP_PKEY *x = generate("X25519", NULL);
    EVP_PKEY *explicit_ec = generate("EC", "P-256");
    struct der off_curve = spki_of(pubs[PROV_EC]);

    assert_refused(inner_with(1, URI_PSS, strlen(URI_PSS), "", 0, spki_of(x)), "neither RSA");
    ck_assert_int_eq(EVP_PKEY_set_utf8_string_param(explicit_ec, OSSL_PKEY_PARAM_EC_ENCODING,
                                                    OSSL_PKEY_EC_ENCODING_EXPLICIT),
                     1);
    assert_refused(inner_with(1, URI_PSS, strlen(URI_PSS), "", 0, spki_of(explicit_ec)),
                   "named curve");
    off_curve.data[off_curve.len - 1] ^= 1;
    assert_refused(inner_with(1, URI_PSS, strlen(URI_PSS), "", 0, off_curve), "not a valid EC");
    EVP_PKEY_free(x);
    EVP_PKEY_free(explicit_ec);
}
END_TEST

START_TEST(bad_uris)
{
    static const struct {
        const char *uri, *because;
    } rows[] = {
        {"pkcs11:object=a;type=public", "private"},
        {"pkcs11:object=a;type=cert", "private"},
        {"pkcs11:type=private", "object"},
        {"pkcs11:token=t", "object"},
        {"pkcs11:", "object"},
        {"file:/etc/passwd", "pkcs11:"},
        {"pkcs11:object=a;slot-id=1", "slot-id"},
        {"pkcs11:object=a;x-mine=1", "x-mine"},
        {"pkcs11:object=a?pin-value=1234", "set \"pin\""},
        {"pkcs11:object=a?pin-source=file:/root/pin", "set \"pin\""},
        {"pkcs11:object=a?pin-source=|cat", "set \"pin\""},
        {"pkcs11:object=a?module-path=/tmp/evil.so", "pkcs11-module"},
        {"pkcs11:object=a?module-name=evil", "pkcs11-module"},
        {"pkcs11:object=a?x=y&pin-value=1234", "unknown attribute 'x'"},
        {"pkcs11:object=a b", "0x20"},
        {"pkcs11:object=a\nb", "0x0a"},
        {"pkcs11:object=\xc3\xa4", "0xc3"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_refused(with_uri(rows[i].uri, strlen(rows[i].uri)), rows[i].because);
    assert_refused(with_uri("pkcs11:object=a\0b", 17), "0x00");
    assert_refused(with_uri("", 0), "0 bytes");
}
END_TEST

START_TEST(pins_are_not_repeated_in_errors)
{
    struct der d = foreign("PKCS#11 Provider URI v1.0", "pkcs11:object=a?pin-value=s3cret");
    bool is_ours;

    ck_assert_ptr_null(parse(d.data, d.len, &is_ours));
    ck_assert(is_ours);
    ck_assert_ptr_nonnull(strstr(last_error(), "pin-value"));
    ck_assert_ptr_nonnull(strstr(last_error(), "take it out"));
    ck_assert_ptr_null(strstr(last_error(), "s3cret"));
    ERR_clear_error();
    free_der(&d);
    assert_refused(foreign("PKCS#11 Provider URI v1.0", "pkcs11:object=a?pin-source=file:/p"),
                   "take it out");
    assert_refused(foreign("PKCS#11 Provider URI v2.0", URI_EC), "another version");
}
END_TEST

START_TEST(sizes)
{
    char *uri = malloc(70000);

    ck_assert_ptr_nonnull(uri);
    memset(uri, 'a', 70000);
    memcpy(uri, "pkcs11:object=", 14);
    assert_refused(with_uri(uri, 4097), "bytes");
    assert_refused(with_uri(uri, 65000), "bytes");
    assert_refused(with_uri(uri, 69000), "are possible");
    free(uri);
}
END_TEST

START_TEST(only_der_and_nothing_behind)
{
    struct der d = good(PROV_RSA), longer;
    struct der parts[4];
    bool is_ours;

    longer.data = OPENSSL_zalloc(d.len + 1);
    longer.len = d.len + 1;
    memcpy(longer.data, d.data, d.len);
    assert_refused(longer, "damaged");

    /* the same with a length octet too many in front */
    ck_assert_uint_eq(d.data[1], 0x82);
    longer.data = OPENSSL_malloc(d.len + 1);
    longer.len = d.len + 1;
    longer.data[0] = 0x30;
    longer.data[1] = 0x83;
    longer.data[2] = 0;
    memcpy(longer.data + 3, d.data + 2, d.len - 2);
    assert_refused(longer, "damaged");

    /* a fifth field */
    parts[0] = integer(0);
    parts[1] = algorithm(PROV_OID_EC, false);
    parts[2] = tlv(0x04, "x", 1);
    parts[3] = tlv(0xa0, "", 0);
    assert_refused(sequence(parts, 4), "damaged");

    prov_ref_free(parse(d.data, d.len, &is_ours));
    ck_assert(is_ours);
    free_der(&d);
}
END_TEST

/* --- damage ---------------------------------------------------------------------------------- */

START_TEST(truncated_at_every_length)
{
    struct der d = good((enum prov_key_type)_i);
    size_t ours = 0;

    for (size_t len = 0; len < d.len; len++) {
        unsigned char *copy = OPENSSL_memdup(d.data, len + (len == 0)); /* for valgrind, ASan */
        bool is_ours;

        ck_assert_ptr_nonnull(copy);
        ck_assert_ptr_null(parse(copy, len, &is_ours));
        ERR_clear_error();
        ours += is_ours;
        OPENSSL_free(copy);
    }
    /* all but the cuts in the head, before the OID's end */
    ck_assert_uint_ge(ours, d.len - PROV_REF_HEAD);
    free_der(&d);
}
END_TEST

/* A changed byte makes either no reference or openly another one: what was accepted encodes to
 * exactly the changed bytes, so that nothing in them was overlooked. */
START_TEST(every_byte_counts)
{
    static const unsigned char flips[] = {0x01, 0x10, 0x80, 0xff};
    enum prov_key_type type = (enum prov_key_type)_i;
    struct der d = good(type);
    size_t accepted = 0, refused = 0;

    for (size_t i = 0; i < d.len * sizeof(flips); i++) {
        struct der changed = {OPENSSL_memdup(d.data, d.len), d.len}, again = {0};
        struct prov_ref *ref;
        bool is_ours;

        ck_assert_ptr_nonnull(changed.data);
        changed.data[i / sizeof(flips)] ^= flips[i % sizeof(flips)];
        ref = parse(changed.data, changed.len, &is_ours);
        ERR_clear_error();
        if (ref != NULL) {
            accepted++;
            ck_assert_int_eq(write_key(ref->type, ref->uri, ref->pub, &again), 1);
            ck_assert_uint_eq(again.len, changed.len);
            ck_assert_mem_eq(again.data, changed.data, again.len);
            ck_assert(strcmp(ref->uri, uris[type]) != 0 || EVP_PKEY_eq(ref->pub, pubs[type]) != 1);
        } else {
            refused++;
        }
        prov_ref_free(ref);
        free_der(&changed);
        free_der(&again);
    }
    ck_assert_uint_gt(accepted, 0); /* another label is another reference */
    ck_assert_uint_gt(refused, 0);
    free_der(&d);
}
END_TEST

/* --- writing --------------------------------------------------------------------------------- */

START_TEST(does_not_write_what_it_would_not_read)
{
    static const char *const bad[] = {
        "pkcs11:object=a?pin-value=1234",
        "pkcs11:object=a?pin-source=file:/pin",
        "pkcs11:object=a?module-path=/x.so",
        "pkcs11:object=a;type=public",
        "pkcs11:token=t",
    };
    struct prov_key public_key = {.ctx = &ctx, .type = PROV_EC, .pub = pubs[PROV_EC]};
    struct der d = {0};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_int_eq(write_key(PROV_EC, bad[i], pubs[PROV_EC], &d), 0);
        ck_assert_ptr_null(d.data);
        ck_assert_uint_ne(ERR_peek_error(), 0);
        ERR_clear_error();
    }
    ck_assert_int_eq(prov_ref_to_der(&public_key, &d.data, &d.len), 0);
    ck_assert_ptr_nonnull(strstr(last_error(), "public key"));
    ERR_clear_error();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("reference");
    TCase *tc = tcase_create("codec");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tc, 240);
    tcase_add_unchecked_fixture(tc, set_up, tear_down);
    tcase_add_loop_test(tc, round_trip, 0, PROV_KEY_TYPES);
    tcase_add_loop_test(tc, is_pkcs8_of_unknown_algorithm, 0, PROV_KEY_TYPES);
    tcase_add_test(tc, bare_inner_form);
    tcase_add_test(tc, foreign_uri);
    tcase_add_loop_test(tc, software_keys_are_not_ours, 0, PROV_KEY_TYPES);
    tcase_add_test(tc, other_things_are_not_ours);
    tcase_add_test(tc, contradictions);
    tcase_add_test(tc, versions_and_types);
    tcase_add_test(tc, bad_public_keys);
    tcase_add_test(tc, bad_uris);
    tcase_add_test(tc, pins_are_not_repeated_in_errors);
    tcase_add_test(tc, sizes);
    tcase_add_test(tc, only_der_and_nothing_behind);
    tcase_add_loop_test(tc, truncated_at_every_length, 0, PROV_KEY_TYPES);
    tcase_add_loop_test(tc, every_byte_counts, 0, PROV_KEY_TYPES);
    tcase_add_test(tc, does_not_write_what_it_would_not_read);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
