/* SPDX-License-Identifier: Apache-2.0
 *
 * test_store.c - OSSL_STORE over a whole token: what it costs, and that one odd object hides no
 * other.
 */
#include <stdio.h>

#include "with_provider.h"

static unsigned seen[OSSL_STORE_INFO_CRL + 1];

/* As programs do it that stop at the first NULL. Returns how many things there were. */
static unsigned walk(const char *uri, int expect)
{
    OSSL_STORE_CTX *store = OSSL_STORE_open_ex(uri, libctx, NULL, NULL, NULL, NULL, NULL, NULL);
    OSSL_STORE_INFO *info;
    unsigned all = 0;

    ck_assert_ptr_nonnull(store);
    ck_assert(expect == 0 || OSSL_STORE_expect(store, expect) == 1);
    memset(seen, 0, sizeof(seen));
    while ((info = OSSL_STORE_load(store)) != NULL) {
        seen[OSSL_STORE_INFO_get_type(info)]++;
        OSSL_STORE_INFO_free(info);
        all++;
    }
    ck_assert(OSSL_STORE_eof(store));
    ck_assert(!OSSL_STORE_error(store));
    OSSL_STORE_close(store);
    return all;
}

START_TEST(a_listing_costs_the_same_number_of_searches_for_2_and_2000)
{
    static const int expects[] = {0, OSSL_STORE_INFO_PKEY};
    unsigned long searches[2];
    unsigned pairs = under_valgrind() ? 20 : 1000;

    for (int many = 0; many < 2; many++) {
        token_up();
        fake_add_pairs(slot, FAKE_P256, "k", many ? pairs : 1);
        provider_up(NULL);
        ck_assert_uint_gt(walk("pkcs11:", 0), 0); /* connects */
        fake_clear_counts();
        ck_assert_uint_eq(walk("pkcs11:", expects[_i]),
                          (many ? pairs : 1) * (expects[_i] == 0 ? 2 : 1));
        searches[many] = fake_calls("C_FindObjectsInit");
        ck_assert_uint_le(searches[many], 3);
        provider_down();
    }
    ck_assert_uint_eq(searches[0], searches[1]);
}
END_TEST

/* Each makes one thing that cannot be used. */
static void without_name(void)
{
    fake_add_key(slot, &(struct fake_key){.kind = FAKE_RSA, .flags = FAKE_NO_PUBLIC});
}

static void without_public_half(void)
{
    fake_add_key(slot, &(struct fake_key){
                           .kind = FAKE_P256, .label = "a", .id = "a", .flags = FAKE_NO_PUBLIC});
    fake_hide_attribute(3 /* CKO_PRIVATE_KEY */, 0x129 /* CKA_PUBLIC_KEY_INFO */);
}

static void twins(void)
{
    for (int i = 0; i < 2; i++)
        fake_add_key(slot, &(struct fake_key){
                               .kind = FAKE_RSA, .label = "t", .id = "t", .flags = FAKE_NO_PUBLIC});
}

static void unreadable_first(void)
{
    fake_inject("C_GetAttributeValue", 1, 1, 7UL /* CKR_ARGUMENTS_BAD */, false);
    fake_add_key(slot, &(struct fake_key){
                           .kind = FAKE_RSA, .label = "u", .id = "u", .flags = FAKE_NO_PUBLIC});
}

static void damaged_certificate(void)
{
    unsigned long handle = fake_add_certificate(slot, "d", "d", FAKE_RSA, 1);
    char der[2048];
    long len = fake_attribute(handle, 0x11 /* CKA_VALUE */, der, sizeof(der));

    ck_assert_int_gt(len, 100);
    fake_set_certificate(handle, der, (size_t)len - 1);
}

static void empty_certificate(void)
{
    fake_set_certificate(fake_add_certificate(slot, "e", "e", FAKE_RSA, 1), "", 0);
}

static void (*const odd[])(void) = {unreadable_first,    without_name,
                                    without_public_half, twins,
                                    damaged_certificate, empty_certificate};

START_TEST(one_odd_object_hides_no_other)
{
    for (int last = 0; last < 2; last++) {
        token_up();
        if (!last)
            odd[_i]();
        fake_add_pair(slot, FAKE_RSA, "one");
        fake_add_pair(slot, FAKE_P256, "two");
        fake_add_certificate(slot, "one", "one", FAKE_RSA, 1);
        if (last && _i > 0)
            odd[_i]();
        provider_up(NULL);
        walk("pkcs11:", 0);
        ck_assert_uint_eq(seen[OSSL_STORE_INFO_PKEY], 2);
        ck_assert_uint_eq(seen[OSSL_STORE_INFO_PUBKEY], 2);
        ck_assert_uint_eq(seen[OSSL_STORE_INFO_CERT], 1);
        ck_assert_uint_eq(ERR_peek_error(), 0);
        provider_down();
    }
}
END_TEST

/* A URI that names one which cannot be used says why. */
START_TEST(a_key_that_is_named_and_cannot_be_used_is_an_error)
{
    OSSL_STORE_CTX *store;

    token_up();
    without_public_half();
    provider_up(NULL);
    store = OSSL_STORE_open_ex("pkcs11:object=a;type=private", libctx, NULL, NULL, NULL, NULL, NULL,
                               NULL);
    ck_assert_ptr_null(OSSL_STORE_load(store));
    ck_assert_uint_ne(ERR_peek_error(), 0);
    OSSL_STORE_close(store);
    ERR_clear_error();
    provider_down();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store");
    TCase *tc = tcase_create("store");

    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, a_listing_costs_the_same_number_of_searches_for_2_and_2000, 0, 2);
    tcase_add_loop_test(tc, one_odd_object_hides_no_other, 0, 6);
    tcase_add_test(tc, a_key_that_is_named_and_cannot_be_used_is_an_error);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
