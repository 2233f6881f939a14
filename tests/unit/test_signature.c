/* SPDX-License-Identifier: Apache-2.0
 *
 * test_signature.c - signatures through the EVP API: what comes out verifies in software, costs
 * two calls, and what cannot be is refused.
 */
#include <openssl/core_names.h>
#include <openssl/decoder.h>
#include <openssl/params.h>
#include <p11-kit/pkcs11.h>

#include "../../provider/key/padding.h"
#include "../../provider/key/reference.h"
#include "../../provider/keymgmt/keymgmt.h"
#include "with_provider.h"

#ifndef RSA_PSS_SALTLEN_AUTO_DIGEST_MAX
#define RSA_PSS_SALTLEN_AUTO_DIGEST_MAX -4
#endif

static const unsigned char message[] = "a message that is to be signed, of no great length";

static void set_up(void)
{
    token_up();
    provider_up(NULL);
}

static void tear_down(void)
{
    provider_down();
}

/* A key pair on the token, the key as we give it out, and its public half in software. */
struct pair {
    unsigned long handle;
    EVP_PKEY *key, *pub;
};

static struct pair pair_new(enum fake_kind kind)
{
    struct pair p;

    p.handle = fake_add_pair(slot, kind, "key");
    p.key = load_key("key");
    p.pub = public_half(p.handle);
    fake_clear_counts();
    return p;
}

static void pair_free(struct pair *p)
{
    EVP_PKEY_free(p->key);
    EVP_PKEY_free(p->pub);
}

static void calls_made(unsigned signatures)
{
    ck_assert_uint_eq(fake_calls("C_SignInit"), signatures);
    ck_assert_uint_eq(fake_calls("C_Sign"), signatures);
    ck_assert_uint_eq(fake_calls(NULL), 2UL * signatures);
}

/* What differs between RSA's ways to sign. */
struct scheme {
    int pad_mode; /* 0: not RSA */
    const char *mgf1;
    int salt;
};

static void set_scheme(EVP_PKEY_CTX *pctx, const struct scheme *s)
{
    if (s->pad_mode == 0)
        return;
    ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_padding(pctx, s->pad_mode), 1);
    if (s->pad_mode != RSA_PKCS1_PSS_PADDING)
        return;
    ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, s->salt), 1);
    if (s->mgf1 != NULL)
        ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_mgf1_md_name(pctx, s->mgf1, NULL), 1);
}

static size_t sign(EVP_PKEY *key, const char *md, const struct scheme *s, unsigned char *sig)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx = NULL;
    size_t len = SIG_MAX;

    ck_assert_int_eq(EVP_DigestSignInit_ex(ctx, &pctx, md, libctx, NULL, key, NULL), 1);
    set_scheme(pctx, s);
    if (EVP_DigestSign(ctx, sig, &len, message, sizeof(message)) != 1) {
        ERR_print_errors_fp(stderr);
        ck_abort_msg("not signed");
    }
    EVP_MD_CTX_free(ctx);
    no_errors();
    return len;
}

static int verify(OSSL_LIB_CTX *where, EVP_PKEY *pub, const char *md, const struct scheme *s,
                  const unsigned char *sig, size_t len)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx = NULL;
    int ret;

    ck_assert_int_eq(EVP_DigestVerifyInit_ex(ctx, &pctx, md, where, NULL, pub, NULL), 1);
    set_scheme(pctx, s);
    ret = EVP_DigestVerify(ctx, sig, len, message, sizeof(message));
    EVP_MD_CTX_free(ctx);
    return ret == 1;
}

/* --- what can be signed ---------------------------------------------------------------------- */

static const char *const digests[] = {"SHA1",     "SHA2-224",     "SHA2-256",     "SHA2-384",
                                      "SHA2-512", "SHA2-512/224", "SHA2-512/256", "SHA3-224",
                                      "SHA3-256", "SHA3-384",     "SHA3-512"};
static const struct {
    enum fake_kind kind;
    struct scheme scheme;
} schemes[] = {
    {FAKE_RSA, {RSA_PKCS1_PADDING, NULL, 0}},
    {FAKE_RSA_3072, {RSA_PKCS1_PADDING, NULL, 0}},
    {FAKE_RSA, {RSA_PKCS1_PSS_PADDING, NULL, RSA_PSS_SALTLEN_DIGEST}},
    {FAKE_RSA, {RSA_PKCS1_PSS_PADDING, "SHA1", RSA_PSS_SALTLEN_DIGEST}},
    {FAKE_RSA, {RSA_PKCS1_PSS_PADDING, "SHA2-512", 5}},
    {FAKE_P256, {0, NULL, 0}},
    {FAKE_P384, {0, NULL, 0}},
    {FAKE_P521, {0, NULL, 0}},
    {FAKE_SECP256K1, {0, NULL, 0}},
};

START_TEST(every_scheme_with_every_digest)
{
    const struct scheme *s = &schemes[_i].scheme;
    struct pair p = pair_new(schemes[_i].kind);
    unsigned char sig[SIG_MAX];

    for (int i = 0; i < COUNT(digests); i++) {
        size_t len;

        /* the first time shows whether the token takes these parameters at all */
        (void)sign(p.key, digests[i], s, sig);
        fake_clear_counts();
        len = sign(p.key, digests[i], s, sig);
        calls_made(1);
        ck_assert_msg(verify(plain, p.pub, digests[i], s, sig, len), "%s", digests[i]);
        /* our key object verifies too, in software */
        ck_assert_int_eq(verify(libctx, p.key, digests[i], s, sig, len), 1);
        sig[len / 2] ^= 1;
        ck_assert_int_eq(verify(libctx, p.key, digests[i], s, sig, len), 0);
        ERR_clear_error();
        calls_made(1);
    }
    pair_free(&p);
}
END_TEST

START_TEST(a_thousand_signatures_cost_two_thousand_calls)
{
    const struct scheme s = {RSA_PKCS1_PSS_PADDING, NULL, RSA_PSS_SALTLEN_DIGEST};
    struct pair p = pair_new(FAKE_RSA);
    unsigned char sig[SIG_MAX];

    fake_set_cheap(true);
    for (int i = 0; i < 1000; i++)
        ck_assert_uint_eq(sign(p.key, "SHA2-256", &s, sig), 256);
    calls_made(1000);
    pair_free(&p);
}
END_TEST

START_TEST(streams_and_copies)
{
    const struct scheme s = {RSA_PKCS1_PSS_PADDING, NULL, RSA_PSS_SALTLEN_MAX};
    struct pair p = pair_new(FAKE_RSA);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new(), *copy = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx = NULL;
    unsigned char sig[SIG_MAX];
    size_t len = 0;

    ck_assert_int_eq(EVP_DigestSignInit_ex(ctx, &pctx, "SHA256", libctx, NULL, p.key, NULL), 1);
    set_scheme(pctx, &s);
    ck_assert_int_eq(EVP_DigestSignUpdate(ctx, message, 10), 1);
    ck_assert_int_eq(EVP_MD_CTX_copy_ex(copy, ctx), 1);
    ck_assert_int_eq(EVP_DigestSignUpdate(ctx, message + 10, sizeof(message) - 10), 1);
    ck_assert_int_eq(EVP_DigestSignFinal(ctx, NULL, &len), 1);
    ck_assert_uint_eq(len, 256);
    calls_made(0);
    ck_assert_int_eq(EVP_DigestSignFinal(ctx, sig, &len), 1);
    ck_assert_int_eq(verify(plain, p.pub, "SHA256", &s, sig, len), 1);

    /* the copy went its own way, padding and all */
    ck_assert_int_eq(EVP_DigestSignUpdate(copy, message + 10, sizeof(message) - 10), 1);
    len = sizeof(sig);
    ck_assert_int_eq(EVP_DigestSignFinal(copy, sig, &len), 1);
    ck_assert_int_eq(verify(plain, p.pub, "SHA256", &s, sig, len), 1);
    calls_made(2);

    /* verification in pieces, and of a copy */
    EVP_MD_CTX_free(copy);
    copy = EVP_MD_CTX_new();
    ck_assert_int_eq(EVP_DigestVerifyInit_ex(ctx, &pctx, "SHA256", libctx, NULL, p.key, NULL), 1);
    set_scheme(pctx, &s);
    ck_assert_int_eq(EVP_DigestVerifyUpdate(ctx, message, 7), 1);
    ck_assert_int_eq(EVP_MD_CTX_copy_ex(copy, ctx), 1);
    ck_assert_int_eq(EVP_DigestVerifyUpdate(copy, message + 7, sizeof(message) - 7), 1);
    ck_assert_int_eq(EVP_DigestVerifyFinal(copy, sig, len), 1);
    ck_assert_int_ne(EVP_DigestVerifyFinal(ctx, sig, len), 1);
    EVP_MD_CTX_free(ctx);
    EVP_MD_CTX_free(copy);
    pair_free(&p);
}
END_TEST

START_TEST(without_a_digest_sha256_is_the_default)
{
    const struct scheme pkcs1 = {RSA_PKCS1_PADDING, NULL, 0}, none = {0, NULL, 0};
    struct pair p = pair_new(_i == 0 ? FAKE_RSA : FAKE_P256);
    unsigned char sig[SIG_MAX];
    size_t len = sign(p.key, NULL, _i == 0 ? &pkcs1 : &none, sig);

    ck_assert_int_eq(verify(plain, p.pub, "SHA256", _i == 0 ? &pkcs1 : &none, sig, len), 1);
    pair_free(&p);
}
END_TEST

/* Our key object, not its public half: in software, without a call of the token. */
START_TEST(a_key_verifies_digests_and_recovers_them)
{
    const bool rsa = _i == 0;
    struct pair p = pair_new(rsa ? FAKE_RSA : FAKE_P256);
    EVP_PKEY_CTX *check = EVP_PKEY_CTX_new_from_pkey(libctx, p.key, NULL);
    const struct scheme pkcs1 = {RSA_PKCS1_PADDING, NULL, 0}, none = {0, NULL, 0};
    unsigned char sig[SIG_MAX], hash[32], out[SIG_MAX];
    size_t len = sign(p.key, "SHA2-256", rsa ? &pkcs1 : &none, sig), out_len = sizeof(out);

    ck_assert_int_eq(EVP_Q_digest(libctx, "SHA2-256", NULL, message, sizeof(message), hash, NULL),
                     1);
    fake_clear_counts();
    ck_assert_int_eq(EVP_PKEY_verify_init(check), 1);
    if (rsa)
        ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_padding(check, RSA_PKCS1_PADDING), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set_signature_md(check, EVP_sha256()), 1);
    ck_assert_int_eq(EVP_PKEY_verify(check, sig, len, hash, sizeof(hash)), 1);
    hash[0] ^= 1;
    ck_assert_int_ne(EVP_PKEY_verify(check, sig, len, hash, sizeof(hash)), 1);
    hash[0] ^= 1;
    ERR_clear_error();
    if (rsa) {
        ck_assert_int_eq(EVP_PKEY_verify_recover_init(check), 1);
        ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_padding(check, RSA_PKCS1_PADDING), 1);
        ck_assert_int_eq(EVP_PKEY_CTX_set_signature_md(check, EVP_sha256()), 1);
        ck_assert_int_eq(EVP_PKEY_verify_recover(check, out, &out_len, sig, len), 1);
        ck_assert_uint_eq(out_len, sizeof(hash));
        ck_assert_mem_eq(out, hash, sizeof(hash));
    }
    calls_made(0);
    no_errors();
    EVP_PKEY_CTX_free(check);
    pair_free(&p);
}
END_TEST

/* --- salts ----------------------------------------------------------------------------------- */

static const struct {
    const char *given; /* as a string through the parameter */
    int mode;          /* as a number, where given is NULL */
    int salt;          /* what it is to be, with SHA-256 and 2048 bits */
} salts[] = {
    {NULL, RSA_PSS_SALTLEN_DIGEST, 32},
    {NULL, RSA_PSS_SALTLEN_AUTO, 222},
    {NULL, RSA_PSS_SALTLEN_MAX, 222},
    {NULL, RSA_PSS_SALTLEN_AUTO_DIGEST_MAX, 32},
    {NULL, 0, 0},
    {NULL, 222, 222},
    {"digest", 0, 32},
    {"max", 0, 222},
    {"auto", 0, 222},
    {"auto-digestmax", 0, 32},
    {"17", 0, 17},
};

static int set_salt(EVP_PKEY_CTX *pctx, const char *text, int number)
{
    OSSL_PARAM params[2] = {OSSL_PARAM_END, OSSL_PARAM_END};
    char buf[32];

    if (text != NULL) {
        snprintf(buf, sizeof(buf), "%s", text);
        params[0] = OSSL_PARAM_construct_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, buf, 0);
    } else {
        params[0] = OSSL_PARAM_construct_int(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, &number);
    }
    return EVP_PKEY_CTX_set_params(pctx, params);
}

START_TEST(salt_lengths)
{
    struct pair p = pair_new(FAKE_RSA);
    const struct scheme want = {RSA_PKCS1_PSS_PADDING, NULL, salts[_i].salt};
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx = NULL;
    unsigned char sig[SIG_MAX];
    size_t len = sizeof(sig);

    ck_assert_int_eq(EVP_DigestSignInit_ex(ctx, &pctx, "SHA256", libctx, NULL, p.key, NULL), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING), 1);
    ck_assert_int_eq(set_salt(pctx, salts[_i].given, salts[_i].mode), 1);
    ck_assert_int_eq(EVP_DigestSign(ctx, sig, &len, message, sizeof(message)), 1);
    ck_assert_uint_eq(fake_last_mechanism().type, CKM_RSA_PKCS_PSS);
    ck_assert_uint_eq(fake_last_mechanism().salt, (unsigned long)salts[_i].salt);
    ck_assert_int_eq(verify(plain, p.pub, "SHA256", &want, sig, len), 1);
    EVP_MD_CTX_free(ctx);
    pair_free(&p);
}
END_TEST

START_TEST(bad_salt_lengths)
{
    static const char *const bad[] = {"", "-5", "12x", "long", "99999999999"};
    struct pair p = pair_new(FAKE_RSA);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx = NULL;
    unsigned char sig[SIG_MAX];
    size_t len = sizeof(sig);

    ck_assert_int_eq(EVP_DigestSignInit_ex(ctx, &pctx, "SHA256", libctx, NULL, p.key, NULL), 1);
    ck_assert_int_ne(set_salt(pctx, "32", 0), 1); /* not PSS */
    ck_assert_int_eq(our_reason(), PROV_R_PARAMETER);
    ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING), 1);
    for (int i = 0; i < COUNT(bad); i++) {
        ck_assert_int_ne(set_salt(pctx, bad[i], 0), 1);
        ck_assert_int_eq(our_reason(), PROV_R_PARAMETER);
    }
    ck_assert_int_ne(set_salt(pctx, NULL, -5), 1);
    ck_assert_int_eq(our_reason(), PROV_R_PARAMETER);
    /* one byte more than fits shows when it is signed */
    ck_assert_int_eq(set_salt(pctx, NULL, 223), 1);
    ck_assert_int_ne(EVP_DigestSign(ctx, sig, &len, message, sizeof(message)), 1);
    ck_assert_int_eq(our_reason(), PROV_R_PARAMETER);
    calls_made(0);
    EVP_MD_CTX_free(ctx);
    pair_free(&p);
}
END_TEST

/* --- tokens that do not take these PSS parameters -------------------------------------------- */

START_TEST(pss_that_the_token_refuses_is_encoded_locally)
{
    const struct scheme mixed = {RSA_PKCS1_PSS_PADDING, "SHA1", 20};
    struct pair p = pair_new(FAKE_RSA);
    unsigned char sig[SIG_MAX];
    size_t len;

    fake_set_quirk(FAKE_QUIRK_SHA1_OAEP, true);
    fake_set_quirk(FAKE_QUIRK_STRIPPED_ZEROS, true);
    len = sign(p.key, "SHA256", &mixed, sig);
    ck_assert_int_eq(verify(plain, p.pub, "SHA256", &mixed, sig, len), 1);
    ck_assert_uint_eq(fake_last_mechanism().type, CKM_RSA_X_509);
    /* it is remembered: two calls from now on */
    fake_clear_counts();
    for (int i = 0; i < 300; i++) {
        len = sign(p.key, "SHA256", &mixed, sig);
        ck_assert_uint_eq(len, 256);
        if (i < 3 || sig[0] == 0)
            ck_assert_int_eq(verify(plain, p.pub, "SHA256", &mixed, sig, len), 1);
    }
    calls_made(300);
    pair_free(&p);
}
END_TEST

START_TEST(pss_without_any_way_is_refused)
{
    const struct scheme mixed = {RSA_PKCS1_PSS_PADDING, "SHA1", 20};
    struct pair p = pair_new(FAKE_RSA);
    unsigned char sig[SIG_MAX];

    fake_set_quirk(FAKE_QUIRK_SHA1_OAEP, true);
    fake_set_mechanism(slot, CKM_RSA_X_509, false);
    for (int i = 0; i < 2; i++) {
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        EVP_PKEY_CTX *pctx = NULL;
        size_t len = sizeof(sig);

        ck_assert_int_eq(EVP_DigestSignInit_ex(ctx, &pctx, "SHA256", libctx, NULL, p.key, NULL), 1);
        set_scheme(pctx, &mixed);
        ck_assert_int_ne(EVP_DigestSign(ctx, sig, &len, message, sizeof(message)), 1);
        ck_assert_int_eq(our_reason(), PROV_R_UNSUPPORTED);
        EVP_MD_CTX_free(ctx);
    }
    pair_free(&p);
}
END_TEST

/* --- over digests ---------------------------------------------------------------------------- */

static EVP_PKEY_CTX *sign_ctx(EVP_PKEY *key)
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(libctx, key, NULL);

    ck_assert_int_eq(EVP_PKEY_sign_init(pctx), 1);
    return pctx;
}

START_TEST(raw_data_without_a_digest)
{
    struct pair p = pair_new(FAKE_RSA);
    EVP_PKEY_CTX *pctx = sign_ctx(p.key);
    EVP_PKEY_CTX *check = EVP_PKEY_CTX_new_from_pkey(plain, p.pub, NULL);
    unsigned char data[256], sig[SIG_MAX], out[256];
    size_t len = sizeof(sig), out_len = sizeof(out);

    /* PKCS#1 v1.5 around whatever it is, up to 11 bytes less than the modulus */
    memset(data, 0x1d, sizeof(data));
    ck_assert_int_eq(EVP_PKEY_sign(pctx, sig, &len, data, 245), 1);
    ck_assert_int_eq(EVP_PKEY_verify_recover_init(check), 1);
    ck_assert_int_eq(EVP_PKEY_verify_recover(check, out, &out_len, sig, len), 1);
    ck_assert_uint_eq(out_len, 245);
    ck_assert_mem_eq(out, data, 245);
    len = sizeof(sig);
    ck_assert_int_ne(EVP_PKEY_sign(pctx, sig, &len, data, 246), 1);
    ck_assert_int_eq(our_reason(), PROV_R_PARAMETER);

    /* padding mode none: one block of the modulus' size, below it */
    ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_NO_PADDING), 1);
    len = sizeof(sig);
    ck_assert_int_eq(EVP_PKEY_sign(pctx, sig, &len, data, 256), 1);
    ck_assert_uint_eq(fake_last_mechanism().type, CKM_RSA_X_509);
    ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_padding(check, RSA_NO_PADDING), 1);
    out_len = sizeof(out);
    ck_assert_int_eq(EVP_PKEY_verify_recover(check, out, &out_len, sig, len), 1);
    ck_assert_mem_eq(out, data, 256);
    calls_made(2);
    ck_assert_int_ne(EVP_PKEY_sign(pctx, sig, &len, data, 255), 1);
    ck_assert_int_eq(our_reason(), PROV_R_PARAMETER);
    memset(data, 0xff, sizeof(data));
    ck_assert_int_ne(EVP_PKEY_sign(pctx, sig, &len, data, 256), 1);
    ck_assert_int_eq(our_reason(), PROV_R_PARAMETER);
    calls_made(2);
    EVP_PKEY_CTX_free(pctx);
    EVP_PKEY_CTX_free(check);
    pair_free(&p);
}
END_TEST

START_TEST(the_rejection_point_is_not_signed)
{
    struct pair p = pair_new(FAKE_RSA);
    EVP_PKEY_CTX *pctx = sign_ctx(p.key);
    struct prov_ctx bare = {.libctx = plain};
    struct prov_key of = {.ctx = &bare, .type = PROV_RSA, .pub = p.pub};
    unsigned char n[PROV_RSA_MAX_BYTES], c0[256], sig[SIG_MAX];
    size_t n_len = sizeof(n), len = sizeof(sig);

    ck_assert_int_eq(prov_rsa_modulus(&of, n, &n_len), 1);
    ck_assert_int_eq(prov_ir_point(&bare, n, n_len, c0), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_NO_PADDING), 1);
    ck_assert_int_ne(EVP_PKEY_sign(pctx, sig, &len, c0, sizeof(c0)), 1);
    ck_assert_int_eq(our_reason(), PROV_R_PARAMETER);
    calls_made(0);
    EVP_PKEY_CTX_free(pctx);
    pair_free(&p);
}
END_TEST

START_TEST(ecdsa_cuts_what_is_longer_than_the_order)
{
    struct pair p = pair_new(_i == 0 ? FAKE_P256 : FAKE_P521);
    EVP_PKEY_CTX *pctx = sign_ctx(p.key);
    EVP_PKEY_CTX *check = EVP_PKEY_CTX_new_from_pkey(plain, p.pub, NULL);
    static const size_t lengths[] = {1, 20, 32, 33, 64, 66};
    unsigned char data[67], sig[SIG_MAX];
    size_t len;

    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (unsigned char)(0x80 + i);
    ck_assert_int_eq(EVP_PKEY_verify_init(check), 1);
    for (int i = 0; i < COUNT(lengths); i++) {
        if (_i == 1 && lengths[i] == 66)
            data[0] = 0; /* 66 bytes of a number that fits into 521 bits */
        len = sizeof(sig);
        ck_assert_int_eq(EVP_PKEY_sign(pctx, sig, &len, data, lengths[i]), 1);
        ck_assert_int_eq(EVP_PKEY_verify(check, sig, len, data, lengths[i]), 1);
    }
    len = sizeof(sig);
    if (_i == 1) { /* would have to be cut within a byte */
        ck_assert_int_ne(EVP_PKEY_sign(pctx, sig, &len, data, 67), 1);
        ck_assert_int_eq(our_reason(), PROV_R_PARAMETER);
    }
    EVP_PKEY_CTX_free(pctx);
    EVP_PKEY_CTX_free(check);
    pair_free(&p);
}
END_TEST

/* --- algorithm identifiers ------------------------------------------------------------------- */

static size_t algorithm_id(OSSL_LIB_CTX *where, EVP_PKEY *key, const char *md,
                           const struct scheme *s, unsigned char *out, size_t size)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx = NULL;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_SIGNATURE_PARAM_ALGORITHM_ID, out, size),
        OSSL_PARAM_END};

    ck_assert_int_eq(EVP_DigestSignInit_ex(ctx, &pctx, md, where, NULL, key, NULL), 1);
    set_scheme(pctx, s);
    if (EVP_PKEY_CTX_get_params(pctx, params) != 1)
        params[0].return_size = 0;
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return params[0].return_size;
}

START_TEST(algorithm_ids_are_libcryptos)
{
    const struct scheme *s = &schemes[_i].scheme;
    struct pair p = pair_new(schemes[_i].kind);
    EVP_PKEY *soft = s->pad_mode != 0 ? EVP_PKEY_Q_keygen(plain, NULL, "RSA", (size_t)2048)
                                      : EVP_PKEY_Q_keygen(plain, NULL, "EC", "P-256");
    int compared = 0;

    for (int i = 0; i < COUNT(digests); i++) {
        unsigned char ours[256], theirs[256];
        size_t ours_len = algorithm_id(libctx, p.key, digests[i], s, ours, sizeof(ours));
        size_t theirs_len = algorithm_id(plain, soft, digests[i], s, theirs, sizeof(theirs));
        const unsigned char *der = ours;
        X509_ALGOR *algor;

        if (strncmp(digests[i], "SHA2-512/", 9) == 0 && s->pad_mode == 0) {
            ck_assert_uint_eq(ours_len, 0); /* there is none */
            continue;
        }
        algor = d2i_X509_ALGOR(NULL, &der, (long)ours_len);
        ck_assert_msg(algor != NULL && der == ours + ours_len, "%s", digests[i]);
        X509_ALGOR_free(algor);
        if (theirs_len == 0)
            continue; /* libcrypto has no PSS with SHA-3 here */
        ck_assert_uint_eq(ours_len, theirs_len);
        ck_assert_mem_eq(ours, theirs, ours_len);
        compared++;
    }
    ck_assert_int_ge(compared, 7);
    calls_made(0);
    EVP_PKEY_free(soft);
    pair_free(&p);
}
END_TEST

/* --- RSA-PSS keys ---------------------------------------------------------------------------- */

/* A reference to the token's RSA key as an RSA-PSS key with these restrictions. */
static EVP_PKEY *pss_key(const struct pair *p, const char *md, const char *mgf1, int salt)
{
    struct prov_ctx bare = {.libctx = libctx};
    struct prov_key ref = {.ctx = &bare, .type = PROV_RSA_PSS, .has_private = true};
    OSSL_PARAM params[6], *q = params;
    char uri[] = "pkcs11:object=key;type=private", mdname[32], mgf1name[32];
    unsigned char n[256], e[3] = {1, 0, 1}, *der = NULL;
    BIGNUM *bn = NULL;
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_name(libctx, "RSA-PSS", "provider=default");
    EVP_PKEY *key = NULL;
    OSSL_DECODER_CTX *decoder;
    const unsigned char *data;
    size_t len = 0;

    ck_assert_int_eq(EVP_PKEY_get_bn_param(p->pub, OSSL_PKEY_PARAM_RSA_N, &bn), 1);
    ck_assert_int_eq(BN_bn2nativepad(bn, n, sizeof(n)), (int)sizeof(n));
    *q++ = OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_N, n, sizeof(n));
    *q++ = OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_E, e, sizeof(e));
    if (md != NULL) {
        snprintf(mdname, sizeof(mdname), "%s", md);
        snprintf(mgf1name, sizeof(mgf1name), "%s", mgf1);
        *q++ = OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_RSA_DIGEST, mdname, 0);
        *q++ = OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_RSA_MGF1_DIGEST, mgf1name, 0);
        *q++ = OSSL_PARAM_construct_int(OSSL_PKEY_PARAM_RSA_PSS_SALTLEN, &salt);
    }
    *q = OSSL_PARAM_construct_end();
    ck_assert_int_eq(EVP_PKEY_fromdata_init(pctx), 1);
    ck_assert_int_eq(EVP_PKEY_fromdata(pctx, &ref.pub, EVP_PKEY_PUBLIC_KEY, params), 1);
    ref.uri = uri;
    ref.has_public = true;
    ck_assert_int_eq(prov_ref_to_der(&ref, &der, &len), 1);
    data = der;
    decoder =
        OSSL_DECODER_CTX_new_for_pkey(&key, "DER", NULL, NULL, EVP_PKEY_KEYPAIR, libctx, NULL);
    if (OSSL_DECODER_from_data(decoder, &data, &len) != 1)
        ERR_print_errors_fp(stderr);
    ck_assert_ptr_nonnull(key);
    ck_assert_int_eq(EVP_PKEY_is_a(key, "RSA-PSS"), 1);
    ERR_clear_error();
    OSSL_DECODER_CTX_free(decoder);
    EVP_PKEY_CTX_free(pctx);
    EVP_PKEY_free(ref.pub);
    OPENSSL_free(der);
    BN_free(bn);
    fake_clear_counts();
    return key;
}

START_TEST(an_rsa_pss_key_signs_pss_only)
{
    const struct scheme s = {RSA_PKCS1_PSS_PADDING, NULL, RSA_PSS_SALTLEN_DIGEST};
    struct pair p = pair_new(FAKE_RSA);
    EVP_PKEY *key = pss_key(&p, NULL, NULL, 0);
    EVP_PKEY_CTX *pctx;
    unsigned char sig[SIG_MAX];
    size_t len = sign(key, "SHA384", &s, sig);

    ck_assert_int_eq(verify(plain, p.pub, "SHA384", &s, sig, len), 1);
    pctx = sign_ctx(key);
    ck_assert_int_ne(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PADDING), 1);
    ck_assert_int_eq(our_reason(), PROV_R_UNSUPPORTED);
    ck_assert_int_ne(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_NO_PADDING), 1);
    ck_assert_int_eq(our_reason(), PROV_R_UNSUPPORTED);
    EVP_PKEY_CTX_free(pctx);
    EVP_PKEY_free(key);
    pair_free(&p);
}
END_TEST

START_TEST(an_rsa_pss_keys_restrictions_hold)
{
    const struct scheme as_key = {RSA_PKCS1_PSS_PADDING, "SHA2-512", 40};
    const struct scheme plain_pss = {RSA_PKCS1_PSS_PADDING, NULL, RSA_PSS_SALTLEN_AUTO};
    struct pair p = pair_new(FAKE_RSA);
    EVP_PKEY *key = pss_key(&p, "SHA2-384", "SHA2-512", 40);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx = NULL;
    unsigned char sig[SIG_MAX];
    size_t len = sizeof(sig);

    ck_assert_int_ne(EVP_DigestSignInit_ex(ctx, &pctx, "SHA256", libctx, NULL, key, NULL), 1);
    ck_assert_int_eq(our_reason(), PROV_R_PARAMETER);
    EVP_MD_CTX_reset(ctx);
    pctx = NULL;
    ck_assert_int_eq(EVP_DigestSignInit_ex(ctx, &pctx, "SHA384", libctx, NULL, key, NULL), 1);
    ck_assert_int_ne(EVP_PKEY_CTX_set_rsa_mgf1_md_name(pctx, "SHA256", NULL), 1);
    ck_assert_int_eq(our_reason(), PROV_R_PARAMETER);
    ck_assert_int_ne(set_salt(pctx, NULL, 39), 1);
    ck_assert_int_eq(our_reason(), PROV_R_PARAMETER);
    /* left alone, everything is as the key says */
    ck_assert_int_eq(EVP_DigestSign(ctx, sig, &len, message, sizeof(message)), 1);
    ck_assert_uint_eq(fake_last_mechanism().hash, CKM_SHA384);
    ck_assert_uint_eq(fake_last_mechanism().mgf, CKG_MGF1_SHA512);
    ck_assert_uint_eq(fake_last_mechanism().salt, 40);
    ck_assert_int_eq(verify(plain, p.pub, "SHA384", &as_key, sig, len), 1);
    EVP_MD_CTX_reset(ctx);
    pctx = NULL;
    ck_assert_int_eq(EVP_DigestSignInit_ex(ctx, &pctx, "SHA384", libctx, NULL, key, NULL), 1);
    ck_assert_int_eq(set_salt(pctx, "max", 0), 1);
    len = sizeof(sig);
    ck_assert_int_eq(EVP_DigestSign(ctx, sig, &len, message, sizeof(message)), 1);
    ck_assert_int_eq(verify(plain, p.pub, "SHA384", &as_key, sig, len), 0);
    ck_assert_int_eq(verify(plain, p.pub, "SHA384",
                            &(struct scheme){RSA_PKCS1_PSS_PADDING, "SHA2-512", plain_pss.salt},
                            sig, len),
                     1);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
    pair_free(&p);
}
END_TEST

/* --- refusals -------------------------------------------------------------------------------- */

START_TEST(digests_that_we_do_not_have)
{
    static const char *const names[] = {"MD5", "SHAKE256", "BLAKE2B-512"};
    struct pair p = pair_new(_i == 0 ? FAKE_RSA : FAKE_P256);

    for (int i = 0; i < COUNT(names); i++) {
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();

        ck_assert_int_ne(EVP_DigestSignInit_ex(ctx, NULL, names[i], libctx, NULL, p.key, NULL), 1);
        ck_assert_int_eq(our_reason(), PROV_R_UNSUPPORTED);
        EVP_MD_CTX_free(ctx);
    }
    calls_made(0);
    pair_free(&p);
}
END_TEST

START_TEST(bad_uses)
{
    struct pair p = pair_new(_i == 0 ? FAKE_RSA : FAKE_P256);
    EVP_PKEY_CTX *pctx = sign_ctx(p.key);
    unsigned char sig[SIG_MAX], data[64] = {1};
    size_t len = sizeof(sig);

    if (_i == 0) {
        ck_assert_int_ne(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_X931_PADDING), 1);
        ck_assert_int_eq(our_reason(), PROV_R_UNSUPPORTED);
        ck_assert_int_ne(EVP_PKEY_CTX_set_rsa_padding(pctx, 99), 1);
        ck_assert_int_eq(our_reason(), PROV_R_UNSUPPORTED);
    } else {
        unsigned nonce = 1;
        OSSL_PARAM params[] = {OSSL_PARAM_construct_uint("nonce-type", &nonce), OSSL_PARAM_END};

        ck_assert_int_ne(EVP_PKEY_CTX_set_params(pctx, params), 1);
        ck_assert_int_eq(our_reason(), PROV_R_UNSUPPORTED);
        nonce = 0;
        ck_assert_int_eq(EVP_PKEY_CTX_set_params(pctx, params), 1);
    }
    /* a digest of the wrong length */
    ck_assert_int_eq(EVP_PKEY_CTX_set_signature_md(pctx, EVP_sha256()), 1);
    ck_assert_int_ne(EVP_PKEY_sign(pctx, sig, &len, data, 31), 1);
    ck_assert_int_eq(our_reason(), PROV_R_PARAMETER);
    /* no room */
    len = 16;
    ck_assert_int_ne(EVP_PKEY_sign(pctx, sig, &len, data, 32), 1);
    ERR_clear_error();
    if (_i == 0) { /* a digest, and then no padding */
        ck_assert_int_ne(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_NO_PADDING), 1);
        ck_assert_int_eq(our_reason(), PROV_R_PARAMETER);
    }
    calls_made(0);
    /* after all that it still signs */
    len = sizeof(sig);
    ck_assert_int_eq(EVP_PKEY_sign(pctx, sig, &len, data, 32), 1);
    EVP_PKEY_CTX_free(pctx);
    pair_free(&p);
}
END_TEST

START_TEST(a_key_that_is_not_for_signing)
{
    const struct fake_key spec = {
        .kind = _i == 0 ? FAKE_RSA : FAKE_P256, .label = "key", .id = "key", .flags = FAKE_NO_SIGN};
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY *key;

    /* the token would sign all the same */
    fake_set_quirk(FAKE_QUIRK_USE_NOT_ENFORCED, true);
    fake_add_key(slot, &spec);
    key = load_key("key");
    fake_clear_counts();
    ck_assert_int_ne(EVP_DigestSignInit_ex(ctx, NULL, "SHA256", libctx, NULL, key, NULL), 1);
    ck_assert_int_eq(our_reason(), PROV_R_TOKEN + KS_KEY_USE);
    calls_made(0);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
}
END_TEST

START_TEST(a_class_that_is_not_offloaded)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY *key;

    provider_down();
    provider_up(_i == 0 ? "all -rsa-sign" : "all -ec-sign");
    fake_add_pair(slot, _i == 0 ? FAKE_RSA : FAKE_P256, "key");
    key = load_key("key");
    fake_clear_counts();
    ck_assert_int_ne(EVP_DigestSignInit_ex(ctx, NULL, "SHA256", libctx, NULL, key, NULL), 1);
    ck_assert_int_eq(our_reason(), PROV_R_POLICY);
    calls_made(0);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
}
END_TEST

START_TEST(an_error_of_the_token_is_told)
{
    struct pair p = pair_new(_i == 0 ? FAKE_RSA : FAKE_P256);
    EVP_PKEY_CTX *pctx = sign_ctx(p.key);
    unsigned char sig[SIG_MAX], data[32] = {1};
    size_t len = sizeof(sig);
    char text[512] = "";

    fake_inject("C_Sign", 1, FAKE_FOREVER, CKR_KEY_FUNCTION_NOT_PERMITTED, false);
    ck_assert_int_ne(EVP_PKEY_sign(pctx, sig, &len, data, sizeof(data)), 1);
    ck_assert_int_eq(our_reason_and_text(text, sizeof(text)), PROV_R_TOKEN + KS_KEY_USE);
    ck_assert_ptr_nonnull(strstr(text, "CKR_KEY_FUNCTION_NOT_PERMITTED"));
    ck_assert_ptr_nonnull(strstr(text, "C_Sign"));
    ck_assert_ptr_nonnull(strstr(text, "fake"));
    fake_heal(NULL);
    len = sizeof(sig);
    ck_assert_int_eq(EVP_PKEY_sign(pctx, sig, &len, data, sizeof(data)), 1);
    EVP_PKEY_CTX_free(pctx);
    pair_free(&p);
}
END_TEST

START_TEST(property_queries_for_us_do_not_reach_the_digest)
{
    const struct scheme pkcs1 = {RSA_PKCS1_PADDING, NULL, 0};
    struct pair p = pair_new(FAKE_RSA);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    unsigned char sig[SIG_MAX];
    size_t len = sizeof(sig);

    ck_assert_int_eq(
        EVP_DigestSignInit_ex(ctx, NULL, "SHA256", libctx, "provider=hsm", p.key, NULL), 1);
    ck_assert_int_eq(EVP_DigestSign(ctx, sig, &len, message, sizeof(message)), 1);
    ck_assert_int_eq(verify(plain, p.pub, "SHA256", &pkcs1, sig, len), 1);
    calls_made(1);
    EVP_MD_CTX_free(ctx);
    pair_free(&p);
}
END_TEST

/* What a key says that it signs with is not to be found anywhere else: libcrypto would try that
 * first, and the key would have to be exported to it. */
START_TEST(keys_name_algorithms_that_only_we_have)
{
    static const OSSL_DISPATCH *const keys[] = {prov_keymgmt_rsa, prov_keymgmt_rsa_pss,
                                                prov_keymgmt_ec, prov_keymgmt_ed25519,
                                                prov_keymgmt_ed448};
    const OSSL_DISPATCH *row = keys[_i];
    const char *name;
    EVP_SIGNATURE *alg;

    while (row->function_id != 0 && row->function_id != OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME)
        row++;
    ck_assert_int_ne(row->function_id, 0);
    name = OSSL_FUNC_keymgmt_query_operation_name(row)(OSSL_OP_SIGNATURE);
    alg = EVP_SIGNATURE_fetch(libctx, name, NULL);
    ck_assert_ptr_nonnull(alg);
    ck_assert_str_eq(OSSL_PROVIDER_get0_name(EVP_SIGNATURE_get0_provider(alg)), "hsm");
    EVP_SIGNATURE_free(alg);
    ck_assert_ptr_null(EVP_SIGNATURE_fetch(libctx, name, "provider=default"));
    ERR_clear_error();
}
END_TEST

/* --- signature algorithms with a digest in their name ---------------------------------------- */

#ifdef OSSL_FUNC_SIGNATURE_SIGN_MESSAGE_INIT
static const struct {
    enum fake_kind kind;
    const char *name, *md;
    size_t md_len;
} sigalgs[] = {
    {FAKE_RSA, "RSA-SHA1", "SHA1", 20},
    {FAKE_RSA, "RSA-SHA224", "SHA224", 28},
    {FAKE_RSA, "RSA-SHA256", "SHA256", 32},
    {FAKE_RSA, "sha384WithRSAEncryption", "SHA384", 48},
    {FAKE_RSA, "1.2.840.113549.1.1.13", "SHA512", 64},
    {FAKE_RSA, "RSA-SHA2-512/224", "SHA512-224", 28},
    {FAKE_RSA, "RSA-SHA512-256", "SHA512-256", 32},
    {FAKE_RSA, "RSA-SHA3-224", "SHA3-224", 28},
    {FAKE_RSA, "RSA-SHA3-256", "SHA3-256", 32},
    {FAKE_RSA, "RSA-SHA3-384", "SHA3-384", 48},
    {FAKE_RSA, "RSA-SHA3-512", "SHA3-512", 64},
    {FAKE_P256, "ECDSA-SHA1", "SHA1", 20},
    {FAKE_P256, "ECDSA-SHA224", "SHA224", 28},
    {FAKE_P256, "ECDSA-SHA256", "SHA256", 32},
    {FAKE_P384, "ecdsa-with-SHA384", "SHA384", 48},
    {FAKE_P521, "ECDSA-SHA2-512", "SHA512", 64},
    {FAKE_P256, "ECDSA-SHA3-224", "SHA3-224", 28},
    {FAKE_P256, "ECDSA-SHA3-256", "SHA3-256", 32},
    {FAKE_P256, "ECDSA-SHA3-384", "SHA3-384", 48},
    {FAKE_P256, "ECDSA-SHA3-512", "SHA3-512", 64},
};

START_TEST(sigalgs_sign_and_verify)
{
    struct pair p = pair_new(sigalgs[_i].kind);
    const struct scheme s = {sigalgs[_i].kind == FAKE_RSA ? RSA_PKCS1_PADDING : 0, NULL, 0};
    EVP_SIGNATURE *alg = EVP_SIGNATURE_fetch(libctx, sigalgs[_i].name, "provider=hsm");
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(libctx, p.key, "provider=hsm");
    unsigned char sig[SIG_MAX], hash[EVP_MAX_MD_SIZE];
    size_t len = sizeof(sig);

    ck_assert_ptr_nonnull(alg);
    ck_assert_int_eq(EVP_PKEY_sign_message_init(pctx, alg, NULL), 1);
    ck_assert_int_eq(EVP_PKEY_sign(pctx, sig, &len, message, sizeof(message)), 1);
    ck_assert_int_eq(verify(plain, p.pub, sigalgs[_i].md, &s, sig, len), 1);

    ck_assert_int_eq(EVP_PKEY_sign_message_init(pctx, alg, NULL), 1);
    ck_assert_int_eq(EVP_PKEY_sign_message_update(pctx, message, 3), 1);
    ck_assert_int_eq(EVP_PKEY_sign_message_update(pctx, message + 3, sizeof(message) - 3), 1);
    len = sizeof(sig);
    ck_assert_int_eq(EVP_PKEY_sign_message_final(pctx, sig, &len), 1);
    ck_assert_int_eq(verify(plain, p.pub, sigalgs[_i].md, &s, sig, len), 1);

    ck_assert_int_eq(EVP_PKEY_verify_message_init(pctx, alg, NULL), 1);
    ck_assert_int_eq(EVP_PKEY_verify(pctx, sig, len, message, sizeof(message)), 1);
    ck_assert_int_eq(EVP_PKEY_verify_message_init(pctx, alg, NULL), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set_signature(pctx, sig, len), 1);
    ck_assert_int_eq(EVP_PKEY_verify_message_update(pctx, message, sizeof(message)), 1);
    ck_assert_int_eq(EVP_PKEY_verify_message_final(pctx), 1);
    ck_assert_int_eq(EVP_PKEY_verify_message_init(pctx, alg, NULL), 1);
    ck_assert_int_ne(EVP_PKEY_verify(pctx, sig, len, message, sizeof(message) - 1), 1);
    ERR_clear_error();

    ck_assert_int_eq(
        EVP_Q_digest(plain, sigalgs[_i].md, NULL, message, sizeof(message), hash, NULL), 1);
    ck_assert_int_eq(EVP_PKEY_sign_init_ex2(pctx, alg, NULL), 1);
    len = sizeof(sig);
    ck_assert_int_eq(EVP_PKEY_sign(pctx, sig, &len, hash, sigalgs[_i].md_len), 1);
    ck_assert_int_eq(verify(plain, p.pub, sigalgs[_i].md, &s, sig, len), 1);
    ck_assert_int_ne(EVP_PKEY_sign(pctx, sig, &len, hash, sigalgs[_i].md_len - 1), 1);
    ck_assert_int_eq(our_reason(), PROV_R_PARAMETER);
    ck_assert_int_eq(EVP_PKEY_verify_init_ex2(pctx, alg, NULL), 1);
    ck_assert_int_eq(EVP_PKEY_verify(pctx, sig, len, hash, sigalgs[_i].md_len), 1);
    calls_made(3);
    EVP_PKEY_CTX_free(pctx);
    EVP_SIGNATURE_free(alg);
    pair_free(&p);
}
END_TEST

/* By names that are not those that the keys give. */
START_TEST(algorithms_that_the_application_fetched_take_our_keys)
{
    static const struct {
        enum fake_kind kind;
        bool pss;
        const char *name;
    } cases[] = {{FAKE_RSA, false, "RSA"},    {FAKE_RSA, true, "RSA"},
                 {FAKE_P256, false, "ECDSA"}, {FAKE_RSA, false, "HSM-RSA"},
                 {FAKE_RSA, true, "HSM-RSA"}, {FAKE_P256, false, "HSM-ECDSA"}};
    struct pair p = pair_new(cases[_i].kind);
    EVP_PKEY *key = cases[_i].pss ? pss_key(&p, NULL, NULL, 0) : p.key;
    const struct scheme s = {cases[_i].pss                ? RSA_PKCS1_PSS_PADDING
                             : cases[_i].kind == FAKE_RSA ? RSA_PKCS1_PADDING
                                                          : 0,
                             NULL, RSA_PSS_SALTLEN_AUTO};
    EVP_SIGNATURE *alg = EVP_SIGNATURE_fetch(libctx, cases[_i].name, "provider=hsm");
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(libctx, key, NULL);
    unsigned char sig[SIG_MAX], hash[32];
    size_t len = sizeof(sig);

    ck_assert_int_eq(EVP_Q_digest(plain, "SHA256", NULL, message, sizeof(message), hash, NULL), 1);
    ck_assert_int_eq(EVP_PKEY_sign_init_ex2(pctx, alg, NULL), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set_signature_md(pctx, EVP_sha256()), 1);
    ck_assert_int_eq(EVP_PKEY_sign(pctx, sig, &len, hash, sizeof(hash)), 1);
    ck_assert_int_eq(verify(plain, p.pub, "SHA256", &s, sig, len), 1);
    EVP_PKEY_CTX_free(pctx);
    EVP_SIGNATURE_free(alg);
    if (key != p.key)
        EVP_PKEY_free(key);
    pair_free(&p);
}
END_TEST
#endif

int main(void)
{
    Suite *suite = suite_create("signature");
    TCase *tc = tcase_create("signature");

    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, every_scheme_with_every_digest, 0, COUNT(schemes));
    tcase_add_test(tc, a_thousand_signatures_cost_two_thousand_calls);
    tcase_add_test(tc, streams_and_copies);
    tcase_add_loop_test(tc, without_a_digest_sha256_is_the_default, 0, 2);
    tcase_add_loop_test(tc, a_key_verifies_digests_and_recovers_them, 0, 2);
    tcase_add_loop_test(tc, salt_lengths, 0, COUNT(salts));
    tcase_add_test(tc, bad_salt_lengths);
    tcase_add_test(tc, pss_that_the_token_refuses_is_encoded_locally);
    tcase_add_test(tc, pss_without_any_way_is_refused);
    tcase_add_test(tc, raw_data_without_a_digest);
    tcase_add_test(tc, the_rejection_point_is_not_signed);
    tcase_add_loop_test(tc, ecdsa_cuts_what_is_longer_than_the_order, 0, 2);
    tcase_add_loop_test(tc, algorithm_ids_are_libcryptos, 0, COUNT(schemes));
    tcase_add_test(tc, an_rsa_pss_key_signs_pss_only);
    tcase_add_test(tc, an_rsa_pss_keys_restrictions_hold);
    tcase_add_loop_test(tc, digests_that_we_do_not_have, 0, 2);
    tcase_add_loop_test(tc, bad_uses, 0, 2);
    tcase_add_loop_test(tc, a_key_that_is_not_for_signing, 0, 2);
    tcase_add_loop_test(tc, a_class_that_is_not_offloaded, 0, 2);
    tcase_add_loop_test(tc, an_error_of_the_token_is_told, 0, 2);
    tcase_add_test(tc, property_queries_for_us_do_not_reach_the_digest);
    tcase_add_loop_test(tc, keys_name_algorithms_that_only_we_have, 0, 5);
#ifdef OSSL_FUNC_SIGNATURE_SIGN_MESSAGE_INIT
    tcase_add_loop_test(tc, algorithms_that_the_application_fetched_take_our_keys, 0, 6);
    tcase_add_loop_test(tc, sigalgs_sign_and_verify, 0, COUNT(sigalgs));
#endif
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
