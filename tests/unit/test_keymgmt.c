/* SPDX-License-Identifier: Apache-2.0
 *
 * test_keymgmt.c - keys as libcrypto sees them, the public half of keys on a token, and
 * generation, through the EVP API and over the fake module.
 */
#include <check.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>
#include <openssl/store.h>
#include <openssl/x509.h>
#include <p11-kit/pkcs11.h>
#include <stdlib.h>
#include <string.h>

#include "../../provider/core/digest.h"
#include "../../provider/key/key.h"
#include "../../provider/key/public.h"
#include "../../provider/key/reference.h"
#include "../../provider/provider.h"
#include "fake.h"
#include "prov_fixture.h"

/* --- helpers --------------------------------------------------------------------------------- */

static OSSL_LIB_CTX *libctx;
static OSSL_PROVIDER *hsm;
static struct prov_fixture fixture;
static struct prov_ctx *ctx;
static unsigned long slot;

static void load_provider(const char *offload, const char *check, bool hsm_first)
{
    pf_config("token", "pkcs11:token=t");
    pf_config("offload", offload);
    pf_config("check-key-at-load", check);
    fixture = pf_open(hsm_first);
    libctx = fixture.libctx;
    hsm = fixture.hsm;
    ctx = OSSL_PROVIDER_get0_provider_ctx(hsm);
}

static void unload_provider(void)
{
    pf_close(&fixture);
}

static void set_up(void)
{
    ck_assert_int_eq(setenv("OPENSSL_CONF", "/dev/null", 1), 0);
    fake_reset();
    slot = fake_add_token(&(struct fake_token){.label = "t"});
    load_provider("all", "yes", false);
}

static void reload(const char *offload, const char *check, bool hsm_first)
{
    unload_provider();
    load_provider(offload, check, hsm_first);
    fake_clear_counts();
}

/* Does the queue hold an error with our reason and these words? Empties it. */
static bool raised(const char *reason, const char *words)
{
    const char *data, *text;
    unsigned long code;
    bool found = false;
    int flags;

    while ((code = ERR_get_error_all(NULL, NULL, NULL, &data, &flags)) != 0) {
        text = ERR_reason_error_string(code);
        if (text != NULL && strcmp(text, reason) == 0 && strstr(data, words) != NULL)
            found = true;
    }
    return found;
}

static void no_error(void)
{
    if (ERR_peek_error() != 0)
        ERR_print_errors_fp(stderr);
    ck_assert_uint_eq(ERR_peek_error(), 0);
}

/* The key on the token with this label, by OSSL_STORE. */
static EVP_PKEY *load_key(const char *label)
{
    char uri[200];
    OSSL_STORE_CTX *store;
    OSSL_STORE_INFO *info;
    EVP_PKEY *key = NULL;

    snprintf(uri, sizeof(uri), "pkcs11:object=%s;type=private", label);
    store = OSSL_STORE_open_ex(uri, libctx, NULL, NULL, NULL, NULL, NULL, NULL);
    ck_assert_ptr_nonnull(store);
    while (key == NULL && !OSSL_STORE_eof(store)) {
        info = OSSL_STORE_load(store);
        if (info != NULL && OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY)
            key = OSSL_STORE_INFO_get1_PKEY(info);
        OSSL_STORE_INFO_free(info);
    }
    OSSL_STORE_close(store);
    return key;
}

/* A key of this kind on the token, called "key", and loaded. */
static EVP_PKEY *make_key(enum fake_kind kind)
{
    EVP_PKEY *key;

    ck_assert_uint_ne(fake_add_pair(slot, kind, "key"), 0);
    key = load_key("key");
    ck_assert_ptr_nonnull(key);
    no_error();
    return key;
}

/* The public half of a key on the token, in software. */
static EVP_PKEY *software_public(unsigned long handle)
{
    unsigned char der[1024];
    const unsigned char *p = der;
    size_t len = fake_public_key(handle, der, sizeof(der));
    EVP_PKEY *pub;

    ck_assert_uint_gt(len, 0);
    pub = d2i_PUBKEY_ex(NULL, &p, (long)len, libctx, "provider=default");
    ck_assert_ptr_nonnull(pub);
    return pub;
}

/* A public key with the token's number, as a key of ours. */
static EVP_PKEY *public_of_ours(EVP_PKEY *pub)
{
    EVP_PKEY_CTX *pctx =
        EVP_PKEY_CTX_new_from_name(libctx, EVP_PKEY_get0_type_name(pub), "provider=hsm");
    OSSL_PARAM *params = NULL;
    EVP_PKEY *ours = NULL;

    ck_assert_int_eq(EVP_PKEY_todata(pub, EVP_PKEY_PUBLIC_KEY, &params), 1);
    ck_assert_int_eq(EVP_PKEY_fromdata_init(pctx), 1);
    ck_assert_int_eq(EVP_PKEY_fromdata(pctx, &ours, EVP_PKEY_PUBLIC_KEY, params), 1);
    ck_assert_ptr_eq(EVP_PKEY_get0_provider(ours), hsm);
    OSSL_PARAM_free(params);
    EVP_PKEY_CTX_free(pctx);
    return ours;
}

static int sign(EVP_PKEY *key, const char *propq, unsigned char *sig, size_t *len)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    int ok;

    *len = 1024;
    ok = EVP_DigestSignInit_ex(md, NULL, "SHA256", libctx, propq, key, NULL) == 1 &&
         EVP_DigestSign(md, sig, len, (const unsigned char *)"text", 4) == 1;
    EVP_MD_CTX_free(md);
    return ok;
}

static int verify(EVP_PKEY *key, const unsigned char *sig, size_t len)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    int ok = EVP_DigestVerifyInit_ex(md, NULL, "SHA256", libctx, NULL, key, NULL) == 1 &&
             EVP_DigestVerify(md, sig, len, (const unsigned char *)"text", 4) == 1;

    EVP_MD_CTX_free(md);
    return ok;
}

/* Signs on the token, and the software's public half agrees. */
static void works(EVP_PKEY *key, EVP_PKEY *pub)
{
    unsigned char sig[1024];
    size_t len;
    unsigned long before = fake_calls("C_Sign");

    ck_assert_int_eq(sign(key, NULL, sig, &len), 1);
    ck_assert_uint_eq(fake_calls("C_Sign"), before + 1);
    ck_assert_int_eq(verify(pub, sig, len), 1);
    no_error();
}

static const enum fake_kind kinds[] = {FAKE_RSA,  FAKE_RSA_4096, FAKE_P256,
                                       FAKE_P384, FAKE_P521,     FAKE_SECP256K1};
static const int kind_bits[] = {2048, 4096, 256, 384, 521, 256};

/* --- what a key tells ------------------------------------------------------------------------ */

START_TEST(key_tells_its_public_half)
{
    EVP_PKEY *key = make_key(kinds[_i]);
    EVP_PKEY *pub = software_public(fake_find(slot, CKO_PRIVATE_KEY, "key"));
    unsigned char *a = NULL, *b = NULL;
    char digest[40], uri[200];
    int a_len, b_len;

    ck_assert_ptr_eq(EVP_PKEY_get0_provider(key), hsm);
    ck_assert_int_eq(EVP_PKEY_get_bits(key), kind_bits[_i]);
    ck_assert_int_eq(EVP_PKEY_get_size(key), EVP_PKEY_get_size(pub));
    ck_assert_int_eq(EVP_PKEY_get_security_bits(key), EVP_PKEY_get_security_bits(pub));
    ck_assert_int_eq(EVP_PKEY_get_default_digest_name(key, digest, sizeof(digest)), 1);
    ck_assert_str_eq(digest, "SHA256");
    ck_assert_int_eq(EVP_PKEY_get_utf8_string_param(key, "hsm-uri", uri, sizeof(uri), NULL), 1);
    ck_assert_str_eq(uri, "pkcs11:id=%6B%65%79;object=key;type=private");
    a_len = i2d_PUBKEY(key, &a);
    b_len = i2d_PUBKEY(pub, &b);
    ck_assert_int_gt(a_len, 0);
    ck_assert_int_eq(a_len, b_len);
    ck_assert_mem_eq(a, b, (size_t)a_len);
    works(key, pub);
    OPENSSL_free(a);
    OPENSSL_free(b);
    EVP_PKEY_free(pub);
    EVP_PKEY_free(key);
}
END_TEST

START_TEST(private_half_stays)
{
    EVP_PKEY *key = make_key(kinds[_i]);
    OSSL_PARAM *params = NULL;
    BIGNUM *number = NULL;

    ck_assert_int_le(EVP_PKEY_todata(key, EVP_PKEY_KEYPAIR, &params), 0);
    ck_assert_ptr_null(params);
    ck_assert(raised("the private part cannot leave or enter the HSM", "stays in the HSM"));
    ck_assert_int_eq(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_PRIV_KEY, &number), 0);
    ck_assert_int_eq(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_D, &number), 0);
    ck_assert_ptr_null(number);
    ck_assert_int_eq(EVP_PKEY_todata(key, EVP_PKEY_PUBLIC_KEY, &params), 1);
    ck_assert_ptr_null(OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_PRIV_KEY));
    ck_assert_ptr_null(OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_RSA_D));
    OSSL_PARAM_free(params);
    EVP_PKEY_free(key);
}
END_TEST

START_TEST(keys_compare_by_their_public_halves)
{
    EVP_PKEY *key, *pub, *same, *other, *ours;

    reload("all", "yes", _i % 2 == 1);
    key = make_key(kinds[_i / 2]);
    pub = software_public(fake_find(slot, CKO_PRIVATE_KEY, "key"));
    fake_add_pair(slot, kinds[_i / 2], "other");
    other = software_public(fake_find(slot, CKO_PRIVATE_KEY, "other"));
    same = load_key("key");
    ours = public_of_ours(pub);
    ck_assert_int_eq(EVP_PKEY_eq(key, pub), 1);
    ck_assert_int_eq(EVP_PKEY_eq(pub, key), 1);
    ck_assert_int_eq(EVP_PKEY_eq(key, same), 1);
    ck_assert_int_eq(EVP_PKEY_eq(key, ours), 1);
    ck_assert_int_eq(EVP_PKEY_eq(pub, ours), 1);
    ck_assert_int_eq(EVP_PKEY_parameters_eq(key, pub), 1);
    ck_assert_int_eq(EVP_PKEY_parameters_eq(pub, key), 1);
    no_error();
    ck_assert_int_eq(EVP_PKEY_eq(key, other), 0);
    ck_assert_int_eq(EVP_PKEY_eq(other, key), 0);
    ck_assert_int_eq(EVP_PKEY_eq(other, ours), 0);
    no_error();
    works(key, pub); /* comparing has not moved it to the other provider */
    EVP_PKEY_free(key);
    EVP_PKEY_free(pub);
    EVP_PKEY_free(same);
    EVP_PKEY_free(other);
    EVP_PKEY_free(ours);
}
END_TEST

START_TEST(different_curves_do_not_compare)
{
    EVP_PKEY *a, *b;

    fake_add_pair(slot, FAKE_P256, "a");
    fake_add_pair(slot, FAKE_SECP256K1, "b");
    a = load_key("a");
    b = load_key("b");
    ck_assert_int_eq(EVP_PKEY_parameters_eq(a, b), 0);
    ck_assert_int_eq(EVP_PKEY_eq(a, b), 0);
    EVP_PKEY_free(a);
    EVP_PKEY_free(b);
}
END_TEST

START_TEST(public_keys_of_ours_work_in_software)
{
    EVP_PKEY *key = make_key(kinds[_i]);
    EVP_PKEY *pub = software_public(fake_find(slot, CKO_PRIVATE_KEY, "key"));
    EVP_PKEY *ours = public_of_ours(pub);
    unsigned char sig[1024];
    size_t len;

    ck_assert_int_eq(sign(key, NULL, sig, &len), 1);
    fake_clear_counts();
    ck_assert_int_eq(verify(ours, sig, len), 1);
    sig[len - 1] ^= 1;
    ck_assert_int_eq(verify(ours, sig, len), 0);
    ERR_clear_error();
    ck_assert_int_eq(sign(ours, NULL, sig, &len), 0);
    ck_assert(raised("not a private key", "public key"));
    ck_assert_uint_eq(fake_calls(NULL), 0);
    EVP_PKEY_free(key);
    EVP_PKEY_free(pub);
    EVP_PKEY_free(ours);
}
END_TEST

static EVP_PKEY *software_key(const char *type)
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_name(libctx, type, "provider=default");
    EVP_PKEY *key = NULL;

    ck_assert_int_eq(EVP_PKEY_keygen_init(pctx), 1);
    if (strcmp(type, "EC") == 0)
        ck_assert_int_eq(EVP_PKEY_CTX_set_group_name(pctx, "P-256"), 1);
    ck_assert_int_eq(EVP_PKEY_generate(pctx, &key), 1);
    EVP_PKEY_CTX_free(pctx);
    return key;
}

START_TEST(software_private_keys_do_not_become_ours)
{
    const char *type = _i % 2 == 0 ? "RSA" : "EC";
    EVP_PKEY *key, *ours = NULL;
    EVP_PKEY_CTX *pctx;
    OSSL_PARAM *params = NULL;
    unsigned char sig[1024];
    size_t len;

    reload("all", "yes", _i / 2 == 1);
    key = software_key(type);
    ck_assert_int_eq(EVP_PKEY_todata(key, EVP_PKEY_KEYPAIR, &params), 1);
    pctx = EVP_PKEY_CTX_new_from_name(libctx, type, "provider=hsm");
    ck_assert_int_eq(EVP_PKEY_fromdata_init(pctx), 1);
    ck_assert_int_le(EVP_PKEY_fromdata(pctx, &ours, EVP_PKEY_KEYPAIR, params), 0);
    ck_assert_ptr_null(ours);
    ck_assert(raised("the private part cannot leave or enter the HSM", "cannot become an HSM key"));
    /* named or not: the private numbers are in there */
    ck_assert_int_le(EVP_PKEY_fromdata(pctx, &ours, EVP_PKEY_PUBLIC_KEY, params), 0);
    ck_assert_ptr_null(ours);
    ERR_clear_error();
    /* its own provider goes on using it, without a trace in the queue */
    ck_assert_int_eq(sign(key, NULL, sig, &len), 1);
    no_error();
    ck_assert_int_eq(verify(key, sig, len), 1);
    no_error();
    ck_assert_uint_eq(fake_calls(NULL), 0);
    OSSL_PARAM_free(params);
    EVP_PKEY_CTX_free(pctx);
    EVP_PKEY_free(key);
}
END_TEST

START_TEST(forcing_the_default_provider_does_not_move_a_key)
{
    EVP_PKEY *key = make_key(kinds[_i]);
    unsigned char sig[1024];
    size_t len;

    fake_clear_counts();
    ck_assert_int_eq(sign(key, "provider=default", sig, &len), 0);
    ck_assert_uint_eq(fake_calls("C_Sign"), 0);
    ERR_clear_error();
    EVP_PKEY_free(key);
}
END_TEST

START_TEST(no_trace_in_the_error_queue)
{
    EVP_PKEY *key;
    unsigned char sig[1024];
    size_t len;

    reload("all", "yes", _i % 2 == 1);
    key = make_key(kinds[_i / 2]);
    ck_assert_int_eq(sign(key, NULL, sig, &len), 1);
    no_error();
    ck_assert_int_eq(verify(key, sig, len), 1);
    no_error();
    EVP_PKEY_free(key);
}
END_TEST

START_TEST(copies_sign)
{
    EVP_PKEY *key = make_key(kinds[_i]);
    EVP_PKEY *pub = software_public(fake_find(slot, CKO_PRIVATE_KEY, "key"));
    EVP_PKEY *copy = EVP_PKEY_dup(key);

    ck_assert_ptr_nonnull(copy);
    EVP_PKEY_free(key);
    works(copy, pub);
    EVP_PKEY_free(copy);
    EVP_PKEY_free(pub);
}
END_TEST

START_TEST(copy_of_parameters_is_only_that)
{
    EVP_PKEY *key = make_key(FAKE_P384), *copy = EVP_PKEY_new();
    char group[40];
    unsigned char *der = NULL;

    ck_assert_int_eq(EVP_PKEY_copy_parameters(copy, key), 1);
    ck_assert_int_eq(EVP_PKEY_get_group_name(copy, group, sizeof(group), NULL), 1);
    ck_assert_str_eq(group, "secp384r1");
    ck_assert_int_le(i2d_PUBKEY(copy, &der), 0);
    ERR_clear_error();
    EVP_PKEY_free(copy);
    EVP_PKEY_free(key);
}
END_TEST

START_TEST(keys_are_read_only)
{
    EVP_PKEY *key = make_key(FAKE_P256);
    EVP_PKEY *pub = software_public(fake_find(slot, CKO_PRIVATE_KEY, "key"));
    unsigned char *point = NULL;
    size_t len = EVP_PKEY_get1_encoded_public_key(pub, &point);

    ck_assert_uint_eq(len, 65);
    ck_assert_int_le(EVP_PKEY_set1_encoded_public_key(key, point, len), 0);
    ck_assert(raised("bad parameter", "read-only"));
    /* `openssl ec` always sets it */
    ck_assert_int_eq(EVP_PKEY_set_int_param(key, OSSL_PKEY_PARAM_EC_INCLUDE_PUBLIC, 1), 1);
    ck_assert_int_le(EVP_PKEY_set_int_param(key, OSSL_PKEY_PARAM_EC_INCLUDE_PUBLIC, 0), 0);
    ck_assert(raised("bad parameter", "read-only"));
    works(key, pub);
    OPENSSL_free(point);
    EVP_PKEY_free(key);
    EVP_PKEY_free(pub);
}
END_TEST

static int checks(EVP_PKEY *key, int (*check)(EVP_PKEY_CTX *pctx))
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(libctx, key, NULL);
    int ok = check(pctx);

    EVP_PKEY_CTX_free(pctx);
    return ok;
}

START_TEST(validation_asks_the_token)
{
    EVP_PKEY *key = make_key(kinds[_i]);

    ck_assert_int_eq(checks(key, EVP_PKEY_check), 1);
    ck_assert_int_eq(checks(key, EVP_PKEY_public_check), 1);
    ck_assert_int_eq(checks(key, EVP_PKEY_public_check_quick), 1);
    ck_assert_int_eq(checks(key, EVP_PKEY_private_check), 1);
    ck_assert_int_eq(checks(key, EVP_PKEY_pairwise_check), 1);
    no_error();
    fake_remove_object(fake_find(slot, CKO_PRIVATE_KEY, "key"));
    ck_assert_int_eq(checks(key, EVP_PKEY_private_check), 0);
    ck_assert(raised("key not found", ""));
    ck_assert_int_eq(checks(key, EVP_PKEY_public_check), 1);
    EVP_PKEY_free(key);
}
END_TEST

/* --- the public half of keys on the token ---------------------------------------------------- */

static struct prov_ref reference(EVP_PKEY *pub, enum prov_key_type type)
{
    return (struct prov_ref){.type = type,
                             .has_public = pub != NULL,
                             .uri = (char *)"pkcs11:object=key;type=private",
                             .pub = pub};
}

START_TEST(reference_is_held_against_the_token)
{
    EVP_PKEY *pub, *other, *pub_ec;
    struct prov_key *key;
    struct prov_ref ref;

    fake_add_pair(slot, FAKE_RSA, "key");
    fake_add_pair(slot, FAKE_RSA, "other");
    fake_add_pair(slot, FAKE_P256, "ec");
    pub = software_public(fake_find(slot, CKO_PRIVATE_KEY, "key"));
    other = software_public(fake_find(slot, CKO_PRIVATE_KEY, "other"));
    pub_ec = software_public(fake_find(slot, CKO_PRIVATE_KEY, "ec"));
    ref = reference(pub, PROV_RSA);
    key = prov_key_from_ref(ctx, &ref, NULL);
    ck_assert_ptr_nonnull(key);
    prov_key_free(key);
    no_error();
    ref = reference(other, PROV_RSA);
    ck_assert_ptr_null(prov_key_from_ref(ctx, &ref, NULL));
    ck_assert(raised("the token's key is not the expected one", "key"));
    ref = reference(pub_ec, PROV_EC);
    ck_assert_ptr_null(prov_key_from_ref(ctx, &ref, NULL));
    ck_assert(raised("bad key reference", "the key's type"));
    ref = reference(NULL, PROV_RSA);
    key = prov_key_from_ref(ctx, &ref, NULL);
    ck_assert_ptr_nonnull(key);
    ck_assert_int_eq(EVP_PKEY_eq(key->pub, pub), 1);
    prov_key_free(key);
    fake_remove_object(fake_find(slot, CKO_PRIVATE_KEY, "key"));
    ck_assert_ptr_null(prov_key_from_ref(ctx, &ref, NULL));
    ck_assert(raised("key not found", "key"));
    EVP_PKEY_free(pub);
    EVP_PKEY_free(other);
    EVP_PKEY_free(pub_ec);
}
END_TEST

START_TEST(curve_and_exponent_are_compared)
{
    EVP_PKEY *pub, *k256, *wrong_e;
    struct prov_ref ref;
    BIGNUM *n = NULL;
    unsigned char bytes[256];

    fake_add_pair(slot, FAKE_P256, "key");
    fake_add_pair(slot, FAKE_SECP256K1, "k256");
    fake_add_pair(slot, FAKE_RSA, "rsa");
    k256 = software_public(fake_find(slot, CKO_PRIVATE_KEY, "k256"));
    ref = reference(k256, PROV_EC);
    ck_assert_ptr_null(prov_key_from_ref(ctx, &ref, NULL));
    ck_assert(raised("bad key reference", "the key's curve"));
    pub = software_public(fake_find(slot, CKO_PRIVATE_KEY, "rsa"));
    ck_assert_int_eq(EVP_PKEY_get_bn_param(pub, OSSL_PKEY_PARAM_RSA_N, &n), 1);
    ck_assert_int_eq(BN_bn2bin(n, bytes), 256);
    wrong_e = prov_public_rsa(ctx, bytes, sizeof(bytes), (const uint8_t *)"\x03", 1);
    ck_assert_ptr_nonnull(wrong_e);
    ref = reference(wrong_e, PROV_RSA);
    ref.uri = (char *)"pkcs11:object=rsa;type=private";
    ck_assert_ptr_null(prov_key_from_ref(ctx, &ref, NULL));
    ck_assert(raised("bad key reference", "the RSA exponent"));
    BN_free(n);
    EVP_PKEY_free(pub);
    EVP_PKEY_free(k256);
    EVP_PKEY_free(wrong_e);
}
END_TEST

START_TEST(lazy_reference_is_looked_up_at_its_first_use)
{
    EVP_PKEY *pub, *other;
    struct prov_key *key;
    struct prov_ref ref;
    struct ks_key *priv;

    reload("all", "no", false);
    fake_add_pair(slot, FAKE_RSA, "key");
    fake_add_pair(slot, FAKE_RSA, "other");
    pub = software_public(fake_find(slot, CKO_PRIVATE_KEY, "key"));
    other = software_public(fake_find(slot, CKO_PRIVATE_KEY, "other"));
    ref = reference(pub, PROV_RSA);
    key = prov_key_from_ref(ctx, &ref, NULL);
    ck_assert_ptr_nonnull(key);
    ck_assert_uint_eq(fake_calls(NULL), 0);
    priv = prov_key_private(key, NULL);
    ck_assert_ptr_nonnull(priv);
    fake_clear_counts();
    ck_assert_ptr_eq(prov_key_private(key, NULL), priv);
    ck_assert_uint_eq(fake_calls(NULL), 0);
    prov_key_free(key);
    ref = reference(other, PROV_RSA);
    key = prov_key_from_ref(ctx, &ref, NULL);
    ck_assert_ptr_nonnull(key);
    ck_assert_ptr_null(prov_key_private(key, NULL));
    ck_assert(raised("the token's key is not the expected one", ""));
    prov_key_free(key);
    EVP_PKEY_free(pub);
    EVP_PKEY_free(other);
}
END_TEST

START_TEST(ec_key_without_public_object)
{
    const struct fake_key spec = {
        .kind = FAKE_P256, .label = "key", .id = "key", .flags = FAKE_NO_PUBLIC, .material = 1};
    unsigned long handle = fake_add_key(slot, &spec);
    EVP_PKEY *pub = software_public(handle);
    struct prov_ref ref = reference(NULL, PROV_EC);
    struct prov_key *key;

    fake_hide_attribute(FAKE_ANY, CKA_PUBLIC_KEY_INFO);
    ck_assert_ptr_null(prov_key_from_ref(ctx, &ref, NULL));
    ck_assert(raised("bad key reference", "hsmkey reference"));
    /* a reference knows it */
    ref = reference(pub, PROV_EC);
    key = prov_key_from_ref(ctx, &ref, NULL);
    ck_assert_ptr_nonnull(key);
    prov_key_free(key);
    /* so does a certificate with the same id, but not one with another curve */
    fake_add_certificate(slot, "cert", "key", FAKE_P384, 1);
    ref = reference(NULL, PROV_EC);
    ck_assert_ptr_null(prov_key_from_ref(ctx, &ref, NULL));
    ERR_clear_error();
    fake_add_certificate(slot, "cert", "key", FAKE_P256, 1);
    key = prov_key_from_ref(ctx, &ref, NULL);
    ck_assert_ptr_nonnull(key);
    ck_assert_int_eq(EVP_PKEY_eq(key->pub, pub), 1);
    no_error();
    prov_key_free(key);
    EVP_PKEY_free(pub);
}
END_TEST

START_TEST(first_signature_proves_an_ec_key_without_public_object)
{
    const struct fake_key spec = {
        .kind = FAKE_P256, .label = "key", .id = "key", .flags = FAKE_NO_PUBLIC, .material = 1};
    const struct ks_mech mech = {.kind = KS_MECH_ECDSA};
    const uint8_t digest[32] = "some digest";
    struct prov_key *good, *wrong;
    struct prov_ref ref;
    struct ks_error err;
    EVP_PKEY *pub, *other;
    uint8_t sig[64];
    size_t len = sizeof(sig);

    fake_hide_attribute(FAKE_ANY, CKA_PUBLIC_KEY_INFO);
    pub = software_public(fake_add_key(slot, &spec));
    other = software_public(fake_add_key(
        slot, &(struct fake_key){.kind = FAKE_P256, .label = "other", .id = "o", .material = 2}));
    ck_assert_int_eq(EVP_PKEY_eq(pub, other), 0);
    ref = reference(pub, PROV_EC);
    good = prov_key_from_ref(ctx, &ref, NULL);
    ref = reference(other, PROV_EC);
    wrong = prov_key_from_ref(ctx, &ref, NULL);
    ck_assert_ptr_nonnull(good);
    ck_assert_ptr_nonnull(wrong); /* nothing on the token says that it is */
    ck_assert(ks_ok(ks_sign(prov_key_private(good, NULL), NULL, &mech, digest, sizeof(digest), sig,
                            &len, &err)));
    len = sizeof(sig);
    ck_assert_int_eq(
        ks_sign(prov_key_private(wrong, NULL), NULL, &mech, digest, sizeof(digest), sig, &len, &err)
            .code,
        KS_KEY_MISMATCH);
    prov_key_free(good);
    prov_key_free(wrong);
    EVP_PKEY_free(pub);
    EVP_PKEY_free(other);
}
END_TEST

/* Its first derivation is proved: test_proof.c. */
START_TEST(key_that_only_derives_loads)
{
    const struct fake_key spec = {
        .kind = FAKE_P256, .label = "key", .id = "key", .flags = FAKE_NO_PUBLIC | FAKE_NO_SIGN};
    EVP_PKEY *pub;
    struct prov_key *key;
    struct prov_ref ref;

    fake_hide_attribute(FAKE_ANY, CKA_PUBLIC_KEY_INFO);
    pub = software_public(fake_add_key(slot, &spec));
    ref = reference(pub, PROV_EC);
    key = prov_key_from_ref(ctx, &ref, NULL);
    ck_assert_ptr_nonnull(key);
    prov_key_free(key);
    EVP_PKEY_free(pub);
    reload("all", "no", false);
    pub = software_public(fake_find(slot, CKO_PRIVATE_KEY, "key"));
    ref = reference(pub, PROV_EC);
    key = prov_key_from_ref(ctx, &ref, NULL);
    ck_assert_ptr_nonnull(key);
    ck_assert_ptr_nonnull(prov_key_private(key, NULL));
    prov_key_free(key);
    EVP_PKEY_free(pub);
}
END_TEST

/* --- generation ------------------------------------------------------------------------------ */

struct option {
    const char *name, *value;
};

/* As the command line does it. NULL when it was refused; the error stays in the queue. */
static EVP_PKEY *generate(const char *type, const struct option *options)
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_name(libctx, type, "provider=hsm");
    EVP_PKEY *key = NULL;

    ck_assert_ptr_nonnull(pctx);
    if (EVP_PKEY_keygen_init(pctx) <= 0)
        goto out;
    for (; options->name != NULL; options++) {
        if (EVP_PKEY_CTX_ctrl_str(pctx, options->name, options->value) <= 0)
            goto out;
    }
    if (EVP_PKEY_generate(pctx, &key) <= 0)
        key = NULL;
out:
    EVP_PKEY_CTX_free(pctx);
    return key;
}

#define LABEL                                                                                      \
    {                                                                                              \
        "hsm-label", "new"                                                                         \
    }
#define END                                                                                        \
    {                                                                                              \
        NULL, NULL                                                                                 \
    }

static const struct {
    const char *type;
    int bits;
    struct option options[8];
} good[] = {
    {"RSA", 2048, {LABEL, END}},
    {"RSA", 3072, {LABEL, {"rsa_keygen_bits", "3072"}, {"rsa_keygen_primes", "2"}, END}},
    {"RSA", 2048, {LABEL, {"rsa_keygen_pubexp", "3"}, END}},
    {"RSA-PSS", 2048, {LABEL, END}},
    {"EC", 256, {LABEL, {"ec_paramgen_curve", "P-256"}, {"ec_param_enc", "named_curve"}, END}},
    {"EC", 256, {LABEL, {"group", "secp256r1"}, END}},
    {"EC", 384, {LABEL, {"ec_paramgen_curve", "secp384r1"}, END}},
    {"EC", 521, {LABEL, {"group", "P-521"}, END}},
    {"EC", 256, {LABEL, {"group", "secp256k1"}, END}},
};

START_TEST(generates_on_the_token)
{
    EVP_PKEY *key = generate(good[_i].type, good[_i].options), *pub;
    unsigned long handle = fake_find(slot, CKO_PRIVATE_KEY, "new");
    unsigned char value = 0;

    no_error();
    ck_assert_ptr_nonnull(key);
    ck_assert_uint_ne(handle, 0);
    ck_assert_int_eq(EVP_PKEY_is_a(key, good[_i].type), 1);
    ck_assert_int_eq(EVP_PKEY_get_bits(key), good[_i].bits);
    ck_assert_uint_eq(fake_calls("C_GenerateKeyPair"), 1);
    ck_assert_uint_eq(fake_calls("C_Sign"), 1); /* tried once */
    ck_assert_uint_eq(fake_objects(slot, FAKE_ANY), 2);
    ck_assert_int_eq(fake_attribute(handle, CKA_SENSITIVE, &value, 1), 1);
    ck_assert_uint_eq(value, 1);
    ck_assert_int_eq(fake_attribute(handle, CKA_EXTRACTABLE, &value, 1), 1);
    ck_assert_uint_eq(value, 0);
    ck_assert_int_eq(fake_attribute(handle, CKA_TOKEN, &value, 1), 1);
    ck_assert_uint_eq(value, 1);
    ck_assert_int_eq(fake_attribute(handle, CKA_ID, NULL, 0), 16);
    pub = software_public(handle);
    if (strcmp(good[_i].type, "RSA-PSS") != 0)
        ck_assert_int_eq(EVP_PKEY_eq(key, pub), 1);
    works(key, strcmp(good[_i].type, "RSA-PSS") == 0 ? key : pub);
    EVP_PKEY_free(key);
    EVP_PKEY_free(pub);
}
END_TEST

START_TEST(exponent_is_the_one_asked_for)
{
    static const struct option options[] = {LABEL, {"rsa_keygen_pubexp", "3"}, END};
    EVP_PKEY *key = generate("RSA", options);
    BIGNUM *e = NULL;

    ck_assert_ptr_nonnull(key);
    ck_assert_int_eq(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &e), 1);
    ck_assert_int_eq(BN_is_word(e, 3), 1);
    BN_free(e);
    EVP_PKEY_free(key);
}
END_TEST

START_TEST(id_usage_and_extractable_are_the_ones_asked_for)
{
    static const struct option options[] = {
        LABEL, {"hsm-id", "00aBff"}, {"hsm-usage", "decrypt"}, {"hsm-extractable", "yes"}, END};
    EVP_PKEY *key = generate("RSA", options);
    unsigned long handle = fake_find(slot, CKO_PRIVATE_KEY, "new");
    unsigned char id[8], value = 9;

    no_error();
    ck_assert_ptr_nonnull(key);
    ck_assert_int_eq(fake_attribute(handle, CKA_ID, id, sizeof(id)), 3);
    ck_assert_mem_eq(id, "\x00\xab\xff", 3);
    ck_assert_int_eq(fake_attribute(handle, CKA_SIGN, &value, 1), 1);
    ck_assert_uint_eq(value, 0);
    ck_assert_int_eq(fake_attribute(handle, CKA_DECRYPT, &value, 1), 1);
    ck_assert_uint_eq(value, 1);
    ck_assert_int_eq(fake_attribute(handle, CKA_EXTRACTABLE, &value, 1), 1);
    ck_assert_uint_eq(value, 1);
    ck_assert_uint_eq(fake_calls("C_Sign"), 0);
    EVP_PKEY_free(key);
}
END_TEST

START_TEST(pss_restrictions_are_in_the_public_key)
{
    static const struct option options[] = {LABEL,
                                            {"rsa_pss_keygen_md", "SHA384"},
                                            {"rsa_pss_keygen_mgf1_md", "SHA384"},
                                            {"rsa_pss_keygen_saltlen", "40"},
                                            END};
    EVP_PKEY *key = generate("RSA-PSS", options), *again;
    unsigned char *der = NULL;
    const unsigned char *p;
    char digest[40];
    int len, salt = 0;

    no_error();
    ck_assert_ptr_nonnull(key);
    len = i2d_PUBKEY(key, &der);
    ck_assert_int_gt(len, 0);
    p = der;
    again = d2i_PUBKEY_ex(NULL, &p, len, libctx, "provider=default");
    ck_assert_ptr_nonnull(again);
    ck_assert_int_eq(EVP_PKEY_is_a(again, "RSA-PSS"), 1);
    ck_assert_int_eq(EVP_PKEY_get_default_digest_name(again, digest, sizeof(digest)), 2);
    ck_assert_ptr_eq(prov_digest_by_name(ctx, digest), prov_digest_by_ks(KS_DIGEST_SHA384));
    ck_assert_int_eq(EVP_PKEY_get_int_param(again, OSSL_PKEY_PARAM_RSA_PSS_SALTLEN, &salt), 1);
    ck_assert_int_eq(salt, 40);
    ck_assert_int_eq(EVP_PKEY_get_default_digest_name(key, digest, sizeof(digest)), 2);
    OPENSSL_free(der);
    EVP_PKEY_free(again);
    EVP_PKEY_free(key);
}
END_TEST

#define P256                                                                                       \
    {                                                                                              \
        "group", "P-256"                                                                           \
    }

static const struct {
    const char *type, *reason, *words;
    struct option options[4];
} refused[] = {
    {"RSA", "key generation needs a label", "-pkeyopt hsm-label:NAME", {END}},
    {"RSA",
     "key generation needs a label",
     "rsa_keygen_bits:4096",
     {{"rsa_keygen_bits", "4096"}, END}},
    {"RSA-PSS", "key generation needs a label", "-algorithm RSA-PSS", {END}},
    {"EC", "key generation needs a label", "ec_paramgen_curve:P-256", {P256, END}},
    {"EC", "bad parameter", "ec_paramgen_curve:P-256", {LABEL, END}},
    {"EC", "not supported", "\"brainpoolP256r1\"", {LABEL, {"group", "brainpoolP256r1"}, END}},
    {"EC", "not supported", "\"P-192\"", {LABEL, {"group", "P-192"}, END}},
    {"EC", "bad parameter", "named_curve", {LABEL, P256, {"ec_param_enc", "explicit"}, END}},
    {"EC", "bad parameter", "hsm-usage", {LABEL, P256, {"hsm-usage", "decrypt"}, END}},
    {"RSA", "bad parameter", "hsm-usage", {LABEL, {"hsm-usage", "derive"}, END}},
    {"RSA", "bad parameter", "hsm-usage", {LABEL, {"hsm-usage", ""}, END}},
    {"RSA", "bad parameter", "hsm-usage", {LABEL, {"hsm-usage", "sign;decrypt"}, END}},
    {"RSA-PSS", "bad parameter", "hsm-usage", {LABEL, {"hsm-usage", "decrypt"}, END}},
    {"RSA", "bad parameter", "key size", {LABEL, {"rsa_keygen_bits", "512"}, END}},
    {"RSA", "bad parameter", "key size", {LABEL, {"rsa_keygen_bits", "32768"}, END}},
    {"RSA", "bad parameter", "primes", {LABEL, {"rsa_keygen_primes", "3"}, END}},
    {"RSA", "bad parameter", "exponent", {LABEL, {"rsa_keygen_pubexp", "4"}, END}},
    {"RSA", "bad parameter", "exponent", {LABEL, {"rsa_keygen_pubexp", "1"}, END}},
    {"RSA",
     "bad parameter",
     "exponent",
     {LABEL, {"rsa_keygen_pubexp", "0x10000000000000001"}, END}},
    {"RSA", "bad parameter", "hsm-label", {{"hsm-label", ""}, END}},
    {"RSA", "bad parameter", "hsm-id", {LABEL, {"hsm-id", "abc"}, END}},
    {"RSA", "bad parameter", "hsm-id", {LABEL, {"hsm-id", "xy"}, END}},
    {"RSA", "bad parameter", "hsm-id", {LABEL, {"hsm-id", ""}, END}},
    {"RSA", "bad parameter", "hsm-extractable", {LABEL, {"hsm-extractable", "1"}, END}},
    {"RSA-PSS", "bad parameter", "digest", {LABEL, {"rsa_pss_keygen_md", "MD5"}, END}},
};

START_TEST(refused_before_the_token_is_asked)
{
    ck_assert_ptr_null(generate(refused[_i].type, refused[_i].options));
    ck_assert(raised(refused[_i].reason, refused[_i].words));
    ck_assert_uint_eq(fake_calls(NULL), 0);
}
END_TEST

START_TEST(refused_without_keygen_in_offload)
{
    static const struct option options[] = {LABEL, END};

    reload(_i == 0 ? NULL : "all -keygen", "yes", false);
    ck_assert_ptr_null(generate("RSA", options));
    ck_assert(raised("operation class not offloaded", "keygen"));
    ck_assert_uint_eq(fake_calls(NULL), 0);
}
END_TEST

START_TEST(name_that_is_taken)
{
    static const struct option options[] = {LABEL, END};

    fake_add_pair(slot, FAKE_RSA, "new");
    ck_assert_ptr_null(generate("RSA", options));
    ck_assert(raised("a key with this name exists already", "new"));
    ck_assert_uint_eq(fake_objects(slot, FAKE_ANY), 2);
    ck_assert_uint_eq(fake_calls("C_GenerateKeyPair"), 0);
}
END_TEST

static const enum fake_quirk bad_tokens[] = {FAKE_QUIRK_BAD_SIGNATURES, FAKE_QUIRK_UNUSABLE_KEYS,
                                             FAKE_QUIRK_HALF_PAIR};

START_TEST(bad_key_is_not_kept)
{
    static const struct option rsa[] = {LABEL, END}, ec[] = {LABEL, P256, END};

    fake_set_quirk(bad_tokens[_i / 2], true);
    ck_assert_ptr_null(_i % 2 == 0 ? generate("RSA", rsa) : generate("EC", ec));
    ck_assert_uint_eq(fake_calls("C_GenerateKeyPair"), 1);
    ck_assert_uint_ne(ERR_peek_error(), 0);
    ck_assert_uint_eq(fake_objects(slot, FAKE_ANY), 0);
    ERR_clear_error();
}
END_TEST

START_TEST(key_that_the_token_will_not_sign_with_is_not_kept)
{
    static const struct option options[] = {LABEL, END};

    fake_inject("C_Sign", 1, FAKE_FOREVER, CKR_KEY_FUNCTION_NOT_PERMITTED, false);
    ck_assert_ptr_null(generate("RSA", options));
    ck_assert(raised("the token's result does not verify", "was not kept"));
    ck_assert_uint_eq(fake_objects(slot, FAKE_ANY), 0);
}
END_TEST

START_TEST(token_with_pss_only)
{
    static const struct option options[] = {LABEL, END};
    EVP_PKEY *key;

    fake_set_mechanism(slot, CKM_RSA_PKCS, false);
    key = generate("RSA", options);
    no_error();
    ck_assert_ptr_nonnull(key);
    ck_assert_uint_eq(fake_last_mechanism().type, CKM_RSA_PKCS_PSS);
    EVP_PKEY_free(key);
}
END_TEST

START_TEST(parameters_and_a_key_from_them)
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_name(libctx, "EC", "provider=hsm");
    EVP_PKEY *params = NULL, *key = NULL;
    unsigned char *der = NULL;

    ck_assert_int_eq(EVP_PKEY_paramgen_init(pctx), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set_group_name(pctx, "P-384"), 1);
    ck_assert_int_eq(EVP_PKEY_generate(pctx, &params), 1);
    EVP_PKEY_CTX_free(pctx);
    ck_assert_uint_eq(fake_calls(NULL), 0);
    ck_assert_int_le(i2d_PUBKEY(params, &der), 0);
    ERR_clear_error();
    pctx = EVP_PKEY_CTX_new_from_pkey(libctx, params, NULL);
    ck_assert_int_eq(EVP_PKEY_keygen_init(pctx), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_ctrl_str(pctx, "hsm-label", "new"), 1);
    ck_assert_int_eq(EVP_PKEY_generate(pctx, &key), 1);
    ck_assert_int_eq(EVP_PKEY_get_bits(key), 384);
    ck_assert_uint_ne(fake_find(slot, CKO_PRIVATE_KEY, "new"), 0);
    no_error();
    EVP_PKEY_CTX_free(pctx);
    EVP_PKEY_free(params);
    EVP_PKEY_free(key);
    pctx = EVP_PKEY_CTX_new_from_name(libctx, "RSA", "provider=hsm");
    ck_assert_int_le(EVP_PKEY_paramgen_init(pctx), 0);
    ck_assert(raised("not supported", "no parameters"));
    EVP_PKEY_CTX_free(pctx);
}
END_TEST

#define COUNT(array) (int)(sizeof(array) / sizeof((array)[0]))

static void add_key_tests(Suite *suite)
{
    TCase *tc = tcase_create("keys");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, set_up, unload_provider);
    tcase_add_loop_test(tc, key_tells_its_public_half, 0, COUNT(kinds));
    tcase_add_loop_test(tc, private_half_stays, 0, COUNT(kinds));
    tcase_add_loop_test(tc, keys_compare_by_their_public_halves, 0, 2 * COUNT(kinds));
    tcase_add_test(tc, different_curves_do_not_compare);
    tcase_add_loop_test(tc, public_keys_of_ours_work_in_software, 0, COUNT(kinds));
    tcase_add_loop_test(tc, software_private_keys_do_not_become_ours, 0, 4);
    tcase_add_loop_test(tc, forcing_the_default_provider_does_not_move_a_key, 0, COUNT(kinds));
    tcase_add_loop_test(tc, no_trace_in_the_error_queue, 0, 2 * COUNT(kinds));
    tcase_add_loop_test(tc, copies_sign, 0, COUNT(kinds));
    tcase_add_test(tc, copy_of_parameters_is_only_that);
    tcase_add_test(tc, keys_are_read_only);
    tcase_add_loop_test(tc, validation_asks_the_token, 0, COUNT(kinds));
    suite_add_tcase(suite, tc);
    tc = tcase_create("public halves");
    tcase_add_checked_fixture(tc, set_up, unload_provider);
    tcase_add_test(tc, reference_is_held_against_the_token);
    tcase_add_test(tc, curve_and_exponent_are_compared);
    tcase_add_test(tc, lazy_reference_is_looked_up_at_its_first_use);
    tcase_add_test(tc, ec_key_without_public_object);
    tcase_add_test(tc, first_signature_proves_an_ec_key_without_public_object);
    tcase_add_test(tc, key_that_only_derives_loads);
    suite_add_tcase(suite, tc);
}

int main(void)
{
    Suite *suite = suite_create("keymgmt");
    TCase *tc = tcase_create("generation");
    SRunner *runner;
    int failed;

    add_key_tests(suite);
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, set_up, unload_provider);
    tcase_add_loop_test(tc, generates_on_the_token, 0, COUNT(good));
    tcase_add_test(tc, exponent_is_the_one_asked_for);
    tcase_add_test(tc, id_usage_and_extractable_are_the_ones_asked_for);
    tcase_add_test(tc, pss_restrictions_are_in_the_public_key);
    tcase_add_loop_test(tc, refused_before_the_token_is_asked, 0, COUNT(refused));
    tcase_add_loop_test(tc, refused_without_keygen_in_offload, 0, 2);
    tcase_add_test(tc, name_that_is_taken);
    tcase_add_loop_test(tc, bad_key_is_not_kept, 0, 2 * COUNT(bad_tokens));
    tcase_add_test(tc, key_that_the_token_will_not_sign_with_is_not_kept);
    tcase_add_test(tc, token_with_pss_only);
    tcase_add_test(tc, parameters_and_a_key_from_them);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
