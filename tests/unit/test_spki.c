/* SPDX-License-Identifier: Apache-2.0
 *
 * test_spki.c - our own reading of a SubjectPublicKeyInfo: it takes exactly what libcrypto would
 * have written for the key that comes out, and leaves every other shape to libcrypto.
 */
#include <check.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>

#include "../../provider/key/public.h"

#define ROOM 1024

static struct prov_ctx ctx; /* without a core: errors go to libcrypto's queue directly */

struct kind {
    const char *type, *curve;
    unsigned exponent;        /* 0: the usual one */
    enum prov_key_type plain; /* PROV_KEY_TYPES: not of the plain shape */
    const char *encoding;     /* of an EC group */
    const char *form;         /* of an EC point */
};

static const struct kind kinds[] = {
    {"RSA", NULL, 0, PROV_RSA, NULL, NULL},
    {"RSA", NULL, 3, PROV_RSA, NULL, NULL},
    {"EC", "P-256", 0, PROV_EC, NULL, NULL},
    {"EC", "P-384", 0, PROV_EC, NULL, NULL},
    {"EC", "P-521", 0, PROV_EC, NULL, NULL},
    {"EC", "secp256k1", 0, PROV_EC, NULL, NULL},
    {"ED25519", NULL, 0, PROV_ED25519, NULL, NULL},
    {"ED448", NULL, 0, PROV_ED448, NULL, NULL},
    {"RSA-PSS", NULL, 0, PROV_KEY_TYPES, NULL, NULL},
    {"X25519", NULL, 0, PROV_KEY_TYPES, NULL, NULL},
    {"EC", "brainpoolP256r1", 0, PROV_KEY_TYPES, NULL, NULL},
    {"EC", "P-256", 0, PROV_KEY_TYPES, OSSL_PKEY_EC_ENCODING_EXPLICIT, NULL},
    {"EC", "P-256", 0, PROV_KEY_TYPES, NULL, OSSL_PKEY_EC_POINT_CONVERSION_FORMAT_COMPRESSED},
    {"EC", "P-256", 0, PROV_KEY_TYPES, NULL, OSSL_PKEY_EC_POINT_CONVERSION_FORMAT_HYBRID},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static EVP_PKEY *generate(const struct kind *kind)
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_name(ctx.libctx, kind->type, NULL);
    EVP_PKEY *key = NULL;
    BIGNUM *e = BN_new();

    ck_assert(EVP_PKEY_keygen_init(pctx) > 0);
    ck_assert(kind->curve == NULL || EVP_PKEY_CTX_set_group_name(pctx, kind->curve) > 0);
    if (kind->exponent != 0) {
        ck_assert(BN_set_word(e, kind->exponent) == 1);
        ck_assert(EVP_PKEY_CTX_set1_rsa_keygen_pubexp(pctx, e) > 0);
    }
    ck_assert(EVP_PKEY_generate(pctx, &key) > 0);
    ck_assert(kind->encoding == NULL ||
              EVP_PKEY_set_utf8_string_param(key, OSSL_PKEY_PARAM_EC_ENCODING, kind->encoding));
    ck_assert(kind->form == NULL ||
              EVP_PKEY_set_utf8_string_param(key, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT,
                                             kind->form));
    EVP_PKEY_CTX_free(pctx);
    BN_free(e);
    return key;
}

static size_t spki_of(EVP_PKEY *key, unsigned char *out)
{
    unsigned char *p = out;
    int len = i2d_PUBKEY(key, NULL);

    ck_assert(len > 0 && len < ROOM - 16);
    ck_assert_int_eq(i2d_PUBKEY(key, &p), len);
    return (size_t)len;
}

START_TEST(reads_what_libcrypto_writes)
{
    const struct kind *kind = &kinds[_i];
    EVP_PKEY *key = generate(kind), *pub;
    unsigned char der[ROOM], again[ROOM];
    size_t len = spki_of(key, der);
    enum prov_key_type type = PROV_KEY_TYPES;
    bool plain;

    pub = prov_spki_read(&ctx, der, len, &type, &plain);
    ck_assert_uint_eq(ERR_peek_error(), 0);
    ck_assert(plain == (kind->plain != PROV_KEY_TYPES));
    ck_assert((pub != NULL) == plain);
    if (plain) {
        ck_assert_int_eq(type, kind->plain);
        ck_assert(EVP_PKEY_is_a(pub, kind->type));
        ck_assert_int_eq(EVP_PKEY_eq(pub, key), 1);
        ck_assert_uint_eq(spki_of(pub, again), len);
        ck_assert_mem_eq(again, der, len);
    } else {
        /* by libcrypto, where we have such a type at all */
        pub = prov_public_spki(&ctx, der, len);
        ck_assert(pub != NULL && EVP_PKEY_eq(pub, key) == 1);
    }
    EVP_PKEY_free(pub);
    EVP_PKEY_free(key);
}
END_TEST

/* Whatever is taken is the one encoding of what came out of it; nothing reads past the end, which
 * the address sanitizer sees, as each try has memory of its own. */
static void only_that_encoding(const unsigned char *der, size_t len)
{
    unsigned char *copy = OPENSSL_memdup(der, len), again[ROOM];
    enum prov_key_type type;
    EVP_PKEY *pub;
    bool plain;

    ERR_set_mark();
    pub = prov_spki_read(&ctx, copy, len, &type, &plain);
    ERR_pop_to_mark();
    ck_assert(pub == NULL || plain);
    if (pub != NULL) {
        ck_assert_uint_eq(spki_of(pub, again), len);
        ck_assert_mem_eq(again, der, len);
    }
    EVP_PKEY_free(pub);
    OPENSSL_free(copy);
}

START_TEST(takes_no_other_encoding)
{
    static const unsigned char flips[] = {0x01, 0x80, 0xff, 0x20};
    EVP_PKEY *key = generate(&kinds[_i]);
    unsigned char der[ROOM] = {0};
    size_t len = spki_of(key, der);

    for (size_t i = 0; i < len; i++) {
        for (size_t f = 0; f < sizeof(flips); f++) {
            der[i] ^= flips[f];
            only_that_encoding(der, len);
            der[i] ^= flips[f];
        }
        only_that_encoding(der, i + 1);
        /* one byte more, here */
        memmove(der + i + 1, der + i, len - i);
        der[i] = 0;
        only_that_encoding(der, len + 1);
        memmove(der + i, der + i + 1, len - i);
    }
    only_that_encoding(der, len + 3);
    EVP_PKEY_free(key);
}
END_TEST

START_TEST(refuses_a_point_beside_the_curve)
{
    EVP_PKEY *key = generate(&kinds[2]), *pub;
    unsigned char der[ROOM];
    size_t len = spki_of(key, der);
    enum prov_key_type type;
    bool plain;

    der[len - 1] ^= 1;
    pub = prov_spki_read(&ctx, der, len, &type, &plain);
    ck_assert(pub == NULL && plain && ERR_peek_error() != 0);
    EVP_PKEY_free(key);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("spki");
    TCase *tc = tcase_create("spki");
    const int plain = 8; /* the rows that are */
    SRunner *runner;
    int failed;

    ctx.libctx = OSSL_LIB_CTX_new();
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, reads_what_libcrypto_writes, 0, KINDS);
    tcase_add_loop_test(tc, takes_no_other_encoding, 0, plain);
    tcase_add_test(tc, refuses_a_point_beside_the_curve);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    OSSL_LIB_CTX_free(ctx.libctx);
    return failed == 0 ? 0 : 1;
}
