/* SPDX-License-Identifier: Apache-2.0
 *
 * test_asymcipher.c - RSA decryption through the EVP API: what software encrypted comes back, for
 * two calls, and what is wrong with a ciphertext does not show.
 */
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/params.h>
#include <p11-kit/pkcs11.h>

#include "../../provider/key/padding.h"
#include "with_provider.h"

#define SIZE    256U /* of the modulus */
#define VERSION 0x0303U

static const unsigned char secret[] = "a secret of some bytes";
static unsigned long handle;
static EVP_PKEY *key, *pub; /* the key as we give it out, and its public half in software */

static void key_up(unsigned flags)
{
    const struct fake_key spec = {.kind = FAKE_RSA, .label = "key", .id = "key", .flags = flags};

    handle = fake_add_key(slot, &spec);
    key = load_key("key");
    pub = public_half(handle);
    fake_clear_counts();
}

static void key_down(void)
{
    EVP_PKEY_free(key);
    EVP_PKEY_free(pub);
}

static void set_up(void)
{
    token_up();
    provider_up(NULL);
    key_up(0);
}

static void tear_down(void)
{
    key_down();
    provider_down();
}

/* --- helpers --------------------------------------------------------------------------------- */

static void calls_made(unsigned decryptions)
{
    ck_assert_uint_eq(fake_calls("C_DecryptInit"), decryptions);
    ck_assert_uint_eq(fake_calls("C_Decrypt"), decryptions);
    ck_assert_uint_eq(fake_calls(NULL), 2UL * decryptions);
}

struct scheme {
    int pad_mode;
    const char *md, *mgf1, *label;
};

static void set_scheme(EVP_PKEY_CTX *pctx, const struct scheme *s)
{
    ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_padding(pctx, s->pad_mode), 1);
    if (s->md != NULL)
        ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_oaep_md_name(pctx, s->md, NULL), 1);
    if (s->mgf1 != NULL)
        ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_mgf1_md_name(pctx, s->mgf1, NULL), 1);
    if (s->label != NULL)
        ck_assert_int_eq(
            EVP_PKEY_CTX_set0_rsa_oaep_label(pctx, OPENSSL_strdup(s->label), (int)strlen(s->label)),
            1);
}

static void encrypt_with(OSSL_LIB_CTX *where, EVP_PKEY *with, const struct scheme *s,
                         const void *in, size_t in_len, unsigned char *out)
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(where, with, NULL);
    size_t len = SIZE;

    ck_assert_int_eq(EVP_PKEY_encrypt_init(pctx), 1);
    set_scheme(pctx, s);
    ck_assert_int_eq(EVP_PKEY_encrypt(pctx, out, &len, in, in_len), 1);
    ck_assert_uint_eq(len, SIZE);
    EVP_PKEY_CTX_free(pctx);
}

static void encrypt(const struct scheme *s, const void *in, size_t in_len, unsigned char *out)
{
    encrypt_with(plain, pub, s, in, in_len, out);
}

static EVP_PKEY_CTX *decrypt_ctx(const struct scheme *s)
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(libctx, key, NULL);

    ck_assert_int_eq(EVP_PKEY_decrypt_init(pctx), 1);
    set_scheme(pctx, s);
    return pctx;
}

static int decrypt(const struct scheme *s, const unsigned char *in, unsigned char *out, size_t *len)
{
    EVP_PKEY_CTX *pctx = decrypt_ctx(s);
    int ret;

    *len = SIZE;
    ret = EVP_PKEY_decrypt(pctx, out, len, in, SIZE);
    EVP_PKEY_CTX_free(pctx);
    return ret;
}

/* A ciphertext for the block `em`. */
static void encrypt_block(const unsigned char *em, unsigned char *out)
{
    const struct scheme none = {RSA_NO_PADDING, NULL, NULL, NULL};

    encrypt(&none, em, SIZE, out);
}

static void block(unsigned char *em, const void *message, size_t len)
{
    em[0] = 0;
    em[1] = 2;
    memset(em + 2, 0xa5, SIZE - len - 3);
    em[SIZE - len - 1] = 0;
    memcpy(em + SIZE - len, message, len);
}

static const struct scheme pkcs1 = {RSA_PKCS1_PADDING, NULL, NULL, NULL};
static const struct scheme none = {RSA_NO_PADDING, NULL, NULL, NULL};
static const struct scheme oaep = {RSA_PKCS1_OAEP_PADDING, NULL, NULL, NULL};

/* --- what comes back ------------------------------------------------------------------------- */

static const struct scheme schemes[] = {
    {RSA_PKCS1_PADDING, NULL, NULL, NULL},
    {RSA_PKCS1_OAEP_PADDING, NULL, NULL, NULL},
    {RSA_PKCS1_OAEP_PADDING, "SHA2-256", NULL, NULL},
    {RSA_PKCS1_OAEP_PADDING, "SHA2-512", "SHA1", NULL},
    {RSA_PKCS1_OAEP_PADDING, "SHA1", "SHA2-384", NULL},
    {RSA_PKCS1_OAEP_PADDING, "SHA3-256", "SHA3-256", NULL},
    {RSA_PKCS1_OAEP_PADDING, "SHA2-512/256", "SHA2-224", NULL},
    {RSA_PKCS1_OAEP_PADDING, "SHA1", NULL, "a label"},
    {RSA_PKCS1_OAEP_PADDING, "SHA2-384", "SHA2-512", "l"},
};

/* On a token that can do all, on one that does OAEP with SHA-1 alone and strips zeros, and on one
 * without raw RSA as far as that goes. */
START_TEST(every_padding)
{
    const struct scheme *s = &schemes[_i / 2];
    unsigned char cipher[SIZE], out[SIZE];
    size_t len;

    if (_i % 2 == 1) {
        fake_set_quirk(FAKE_QUIRK_SHA1_OAEP, true);
        fake_set_quirk(FAKE_QUIRK_STRIPPED_ZEROS, true);
        fake_set_quirk(FAKE_QUIRK_DATA_IS_GENERAL, true);
    }
    encrypt(s, secret, sizeof(secret), cipher);
    ck_assert_int_eq(decrypt(s, cipher, out, &len), 1);
    for (int i = 0; i < 20; i++) {
        encrypt(s, secret, sizeof(secret), cipher);
        fake_clear_counts();
        ck_assert_int_eq(decrypt(s, cipher, out, &len), 1);
        calls_made(1);
        no_errors();
        ck_assert_uint_eq(len, sizeof(secret));
        ck_assert_mem_eq(out, secret, len);
    }
    /* our key object encrypts, too, in software */
    encrypt_with(libctx, key, s, secret, sizeof(secret), cipher);
    calls_made(1);
    ck_assert_int_eq(decrypt(s, cipher, out, &len), 1);
    ck_assert_uint_eq(len, sizeof(secret));
}
END_TEST

START_TEST(two_digests_are_not_left_to_the_token)
{
    const struct scheme mixed = {RSA_PKCS1_OAEP_PADDING, "SHA2-256", "SHA1", NULL};
    const struct scheme same = {RSA_PKCS1_OAEP_PADDING, "SHA2-256", "SHA2-256", NULL};
    unsigned char cipher[SIZE], out[SIZE];
    size_t len;

    encrypt(&mixed, secret, sizeof(secret), cipher);
    ck_assert_int_eq(decrypt(&mixed, cipher, out, &len), 1);
    ck_assert_uint_eq(fake_last_mechanism().type, CKM_RSA_X_509);
    encrypt(&same, secret, sizeof(secret), cipher);
    ck_assert_int_eq(decrypt(&same, cipher, out, &len), 1);
    ck_assert_uint_eq(fake_last_mechanism().type, CKM_RSA_PKCS_OAEP);
    fake_set_mechanism(slot, CKM_RSA_X_509, false);
    encrypt(&mixed, secret, sizeof(secret), cipher);
    ck_assert_int_eq(decrypt(&mixed, cipher, out, &len), 1);
    ck_assert_uint_eq(fake_last_mechanism().type, CKM_RSA_PKCS_OAEP);
    ck_assert_uint_eq(fake_last_mechanism().mgf, CKG_MGF1_SHA1);
    no_errors();
}
END_TEST

START_TEST(a_label_is_not_left_to_the_token)
{
    const struct scheme labelled = {RSA_PKCS1_OAEP_PADDING, NULL, NULL, "x"};
    unsigned char cipher[SIZE], out[SIZE];
    size_t len;

    encrypt(&labelled, secret, sizeof(secret), cipher);
    ck_assert_int_eq(decrypt(&labelled, cipher, out, &len), 1);
    ck_assert_uint_eq(fake_last_mechanism().type, CKM_RSA_X_509);
    encrypt(&oaep, secret, sizeof(secret), cipher);
    ck_assert_int_ne(decrypt(&labelled, cipher, out, &len), 1);
    ck_assert_int_eq(our_reason(), PROV_R_DECRYPT);
    /* unless there is no other way */
    fake_set_mechanism(slot, CKM_RSA_X_509, false);
    encrypt(&labelled, secret, sizeof(secret), cipher);
    ck_assert_int_eq(decrypt(&labelled, cipher, out, &len), 1);
    ck_assert_uint_eq(fake_last_mechanism().type, CKM_RSA_PKCS_OAEP);
    ck_assert_uint_eq(fake_last_mechanism().label_len, 1);
    no_errors();
}
END_TEST

START_TEST(sizes_and_copies)
{
    unsigned char cipher[SIZE], out[SIZE];
    EVP_PKEY_CTX *pctx, *copy;
    size_t len = 0;

    encrypt(&schemes[8], secret, sizeof(secret), cipher);
    pctx = decrypt_ctx(&schemes[8]);
    ck_assert_int_eq(EVP_PKEY_decrypt(pctx, NULL, &len, cipher, SIZE), 1);
    ck_assert_uint_eq(len, SIZE);
    calls_made(0);
    copy = EVP_PKEY_CTX_dup(pctx);
    ck_assert_ptr_nonnull(copy);
    EVP_PKEY_CTX_free(pctx);
    ck_assert_int_eq(EVP_PKEY_decrypt(copy, out, &len, cipher, SIZE), 1);
    ck_assert_uint_eq(len, sizeof(secret));
    len = SIZE - 1;
    ck_assert_int_ne(EVP_PKEY_decrypt(copy, out, &len, cipher, SIZE), 1);
    ERR_clear_error();
    EVP_PKEY_CTX_free(copy);
}
END_TEST

START_TEST(parameters_are_given_back)
{
    const struct scheme labelled = {RSA_PKCS1_OAEP_PADDING, "SHA2-256", "SHA1", "label"};
    const struct scheme plain_pkcs1 = {RSA_PKCS1_PADDING, NULL, NULL, NULL};
    EVP_PKEY_CTX *pctx = decrypt_ctx(&labelled);
    unsigned char *label = NULL;
    char name[50];
    int mode = 0;

    ck_assert_int_gt(EVP_PKEY_CTX_get_rsa_padding(pctx, &mode), 0); /* the mode, in 3.0 */
    ck_assert_int_eq(mode, RSA_PKCS1_OAEP_PADDING);
    ck_assert_int_eq(EVP_PKEY_CTX_get_rsa_oaep_md_name(pctx, name, sizeof(name)), 1);
    ck_assert_str_eq(name, "SHA2-256");
    ck_assert_int_eq(EVP_PKEY_CTX_get_rsa_mgf1_md_name(pctx, name, sizeof(name)), 1);
    ck_assert_str_eq(name, "SHA1");
    ck_assert_int_eq(EVP_PKEY_CTX_get0_rsa_oaep_label(pctx, &label), 5);
    ck_assert_mem_eq(label, "label", 5);
    EVP_PKEY_CTX_free(pctx);

    pctx = decrypt_ctx(&plain_pkcs1);
    ck_assert_int_gt(EVP_PKEY_CTX_get_rsa_padding(pctx, &mode), 0); /* the mode, in 3.0 */
    ck_assert_int_eq(mode, RSA_PKCS1_PADDING);
    EVP_PKEY_CTX_free(pctx);
    calls_made(0);
}
END_TEST

START_TEST(ciphertexts_of_other_lengths)
{
    unsigned char cipher[SIZE + 1] = {0}, out[SIZE];
    EVP_PKEY_CTX *pctx = decrypt_ctx(&pkcs1);
    size_t len;

    /* leading zeros may be missing: seek a ciphertext that has one */
    do {
        encrypt(&pkcs1, secret, sizeof(secret), cipher);
    } while (cipher[0] != 0);
    len = SIZE;
    ck_assert_int_eq(EVP_PKEY_decrypt(pctx, out, &len, cipher + 1, SIZE - 1), 1);
    ck_assert_uint_eq(len, sizeof(secret));
    ck_assert_mem_eq(out, secret, len);
    fake_clear_counts();
    for (size_t bad = 0; bad <= SIZE + 1; bad += 19) {
        if (bad + 8 >= SIZE && bad <= SIZE)
            continue;
        len = SIZE;
        ck_assert_int_ne(EVP_PKEY_decrypt(pctx, out, &len, cipher, bad), 1);
        ck_assert_int_eq(our_reason(), PROV_R_DECRYPT);
    }
    len = SIZE;
    ck_assert_int_ne(EVP_PKEY_decrypt(pctx, out, &len, cipher, SIZE + 1), 1);
    ck_assert_int_eq(our_reason(), PROV_R_DECRYPT);
    /* not below the modulus */
    memset(cipher, 0xff, SIZE);
    len = SIZE;
    ck_assert_int_ne(EVP_PKEY_decrypt(pctx, out, &len, cipher, SIZE), 1);
    ck_assert_int_eq(our_reason(), PROV_R_DECRYPT);
    calls_made(0);
    EVP_PKEY_CTX_free(pctx);
}
END_TEST

/* --- implicit rejection ---------------------------------------------------------------------- */

static const struct bad_block {
    const char *what;
    size_t at;
    unsigned char to;
} bad_blocks[] = {
    {"first byte", 0, 1},        {"block type", 1, 1},   {"a zero at once", 2, 0},
    {"seven bytes of it", 9, 0}, {"block type 0", 1, 0},
};

START_TEST(bad_padding_gives_a_message_of_its_own)
{
    unsigned char em[SIZE], cipher[SIZE], out[SIZE], again[SIZE];
    size_t len, again_len;

    block(em, secret, sizeof(secret));
    em[bad_blocks[_i].at] = bad_blocks[_i].to;
    encrypt_block(em, cipher);
    ck_assert_int_eq(decrypt(&pkcs1, cipher, out, &len), 1);
    no_errors();
    ck_assert_uint_le(len, SIZE - 11);
    ck_assert(len != sizeof(secret) || memcmp(out, secret, len) != 0);

    /* the same again, from another key object, in another instance, after another start */
    key_down();
    provider_down();
    provider_up(NULL);
    key = load_key("key");
    pub = public_half(handle);
    ck_assert_int_eq(decrypt(&pkcs1, cipher, again, &again_len), 1);
    ck_assert_uint_eq(again_len, len);
    ck_assert_int_eq(memcmp(again, out, len), 0);

    /* and another one for another ciphertext */
    em[SIZE - 1] ^= 1;
    encrypt_block(em, cipher);
    ck_assert_int_eq(decrypt(&pkcs1, cipher, again, &again_len), 1);
    ck_assert(again_len != len || len < 8 || memcmp(again, out, len) != 0);
}
END_TEST

START_TEST(bad_padding_gives_what_the_ruling_says)
{
    struct prov_ctx bare = {.libctx = plain};
    struct prov_key of = {.ctx = &bare, .type = PROV_RSA, .pub = pub};
    const struct fake_mechanism raw = {.type = CKM_RSA_X_509};
    unsigned char n[PROV_RSA_MAX_BYTES], c0[SIZE], em[SIZE], cipher[SIZE], out[SIZE], want[SIZE];
    unsigned char kdk[PROV_IR_BYTES], decrypted[SIZE];
    size_t n_len = sizeof(n), len, want_len = SIZE;
    void *ir_secret = NULL;

    /* RSADP(c0), from whoever else can sign raw with this key: c0 with its lowest bit changed is
     * no use, so take it from the product with a known e-th power */
    unsigned char two[SIZE] = {0}, power[SIZE], product[SIZE];
    BN_CTX *bn_ctx = BN_CTX_new();
    BIGNUM *bn_n, *bn_c, *bn_p;

    ck_assert_int_eq(prov_rsa_modulus(&of, n, &n_len), 1);
    ck_assert_int_eq(prov_ir_point(&bare, n, n_len, c0), 1);
    two[SIZE - 1] = 2;
    ck_assert_uint_eq(fake_encrypt(handle, &raw, two, SIZE, power, SIZE), SIZE);
    bn_n = BN_bin2bn(n, SIZE, NULL);
    bn_c = BN_bin2bn(c0, SIZE, NULL);
    bn_p = BN_bin2bn(power, SIZE, NULL);
    ck_assert_int_eq(BN_mod_mul(bn_p, bn_p, bn_c, bn_n, bn_ctx), 1);
    ck_assert_int_eq(BN_bn2binpad(bn_p, product, SIZE), (int)SIZE);
    ck_assert_int_eq(decrypt(&none, product, decrypted, &len), 1); /* 2 * RSADP(c0) mod n */
    BN_bin2bn(decrypted, SIZE, bn_p);
    if (BN_is_odd(bn_p))
        BN_add(bn_p, bn_p, bn_n);
    BN_rshift1(bn_p, bn_p);
    ck_assert_int_eq(BN_bn2binpad(bn_p, decrypted, SIZE), (int)SIZE);

    block(em, secret, sizeof(secret));
    em[1] = 7;
    encrypt_block(em, cipher);
    ir_secret = prov_ir_secret_new(&bare, decrypted, SIZE);
    ck_assert_int_eq(prov_ir_kdk(&bare, ir_secret, cipher, SIZE, kdk), 1);
    ck_assert_int_eq(prov_pkcs1_implicit(&bare, want, &want_len, em, SIZE, kdk), 1);
    ck_assert_int_eq(decrypt(&pkcs1, cipher, out, &len), 1);
    ck_assert_uint_eq(len, want_len);
    ck_assert_int_eq(memcmp(out, want, len), 0);
    prov_ir_secret_free(ir_secret);
    BN_free(bn_n);
    BN_free(bn_c);
    BN_free(bn_p);
    BN_CTX_free(bn_ctx);
}
END_TEST

START_TEST(the_secret_costs_one_decryption_per_key)
{
    unsigned char cipher[SIZE], out[SIZE];
    size_t len;

    encrypt(&pkcs1, secret, sizeof(secret), cipher);
    for (unsigned i = 1; i <= 50; i++) {
        ck_assert_int_eq(decrypt(&pkcs1, cipher, out, &len), 1);
        calls_made(i + 1);
    }
}
END_TEST

START_TEST(the_rejection_point_is_not_decrypted)
{
    struct prov_ctx bare = {.libctx = plain};
    struct prov_key of = {.ctx = &bare, .type = PROV_RSA, .pub = pub};
    unsigned char n[PROV_RSA_MAX_BYTES], c0[SIZE], out[SIZE];
    size_t n_len = sizeof(n), len;

    ck_assert_int_eq(prov_rsa_modulus(&of, n, &n_len), 1);
    ck_assert_int_eq(prov_ir_point(&bare, n, n_len, c0), 1);
    ck_assert_int_ne(decrypt(&none, c0, out, &len), 1);
    ck_assert_int_eq(our_reason(), PROV_R_PARAMETER);
    calls_made(0);
}
END_TEST

static void set_implicit(EVP_PKEY_CTX *pctx, unsigned value)
{
    OSSL_PARAM params[] = {OSSL_PARAM_construct_uint("implicit-rejection", &value), OSSL_PARAM_END};

    ck_assert_int_eq(EVP_PKEY_CTX_set_params(pctx, params), 1);
}

START_TEST(without_implicit_rejection_there_is_one_error)
{
    EVP_PKEY_CTX *pctx = decrypt_ctx(&pkcs1);
    unsigned char em[SIZE], cipher[SIZE], out[SIZE];
    size_t len = SIZE;

    set_implicit(pctx, 0);
    block(em, secret, sizeof(secret));
    encrypt_block(em, cipher);
    ck_assert_int_eq(EVP_PKEY_decrypt(pctx, out, &len, cipher, SIZE), 1);
    ck_assert_uint_eq(len, sizeof(secret));
    no_errors();
    em[bad_blocks[_i].at] = bad_blocks[_i].to;
    encrypt_block(em, cipher);
    len = SIZE;
    ck_assert_int_ne(EVP_PKEY_decrypt(pctx, out, &len, cipher, SIZE), 1);
    ck_assert_int_eq(our_reason(), PROV_R_DECRYPT);
    calls_made(2); /* no secret was needed */
    EVP_PKEY_CTX_free(pctx);
}
END_TEST

/* --- TLS ------------------------------------------------------------------------------------- */

static EVP_PKEY_CTX *tls_ctx(unsigned client, unsigned negotiated)
{
    OSSL_PARAM params[3], *p = params;
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(libctx, key, NULL);

    *p++ = OSSL_PARAM_construct_uint(OSSL_ASYM_CIPHER_PARAM_TLS_CLIENT_VERSION, &client);
    if (negotiated != 0)
        *p++ =
            OSSL_PARAM_construct_uint(OSSL_ASYM_CIPHER_PARAM_TLS_NEGOTIATED_VERSION, &negotiated);
    *p = OSSL_PARAM_construct_end();
    ck_assert_int_eq(EVP_PKEY_decrypt_init(pctx), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_WITH_TLS_PADDING), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set_params(pctx, params), 1);
    return pctx;
}

static const struct tls_case {
    const char *what;
    size_t at;
    unsigned char to;
    unsigned client, negotiated;
    bool good;
} tls_cases[] = {
    {"as it should be", 2, 0xa5, VERSION, 0, true},
    {"first byte", 0, 2, VERSION, 0, false},
    {"block type", 1, 1, VERSION, 0, false},
    {"a byte more", SIZE - 50, 0, VERSION, 0, false},
    {"no separator", SIZE - 49, 1, VERSION, 0, false},
    {"version", SIZE - 47, 1, VERSION, 0, false},
    {"the negotiated version", SIZE - 47, 1, VERSION, 0x0301, true},
    {"neither version", SIZE - 47, 2, VERSION, 0x0301, false},
};

START_TEST(tls_always_gives_48_bytes)
{
    const struct tls_case *c = &tls_cases[_i];
    unsigned char premaster[PROV_TLS_SECRET], em[SIZE], cipher[SIZE], out[SIZE], again[SIZE];
    EVP_PKEY_CTX *pctx = tls_ctx(c->client, c->negotiated);
    size_t len = 0, again_len = PROV_TLS_SECRET;

    memset(premaster, 0x77, sizeof(premaster));
    premaster[0] = premaster[1] = 3;
    block(em, premaster, sizeof(premaster));
    em[c->at] = c->to;
    encrypt_block(em, cipher);

    ck_assert_int_eq(EVP_PKEY_decrypt(pctx, NULL, &len, cipher, SIZE), 1);
    ck_assert_uint_eq(len, PROV_TLS_SECRET);
    memset(out, 0xee, sizeof(out));
    ck_assert_int_eq(EVP_PKEY_decrypt(pctx, out, &len, cipher, SIZE), 1);
    ck_assert_uint_eq(len, PROV_TLS_SECRET);
    ck_assert_uint_eq(out[PROV_TLS_SECRET], 0xee);
    no_errors();
    ck_assert_int_eq(EVP_PKEY_decrypt(pctx, again, &again_len, cipher, SIZE), 1);
    ck_assert_uint_eq(again_len, PROV_TLS_SECRET);
    calls_made(2);
    if (c->good) {
        ck_assert_mem_eq(out, em + SIZE - PROV_TLS_SECRET, PROV_TLS_SECRET);
    } else {
        ck_assert_mem_ne(out, em + SIZE - PROV_TLS_SECRET, PROV_TLS_SECRET);
        ck_assert_mem_ne(out, again, PROV_TLS_SECRET); /* drawn anew */
    }
    EVP_PKEY_CTX_free(pctx);
}
END_TEST

START_TEST(tls_when_the_token_finds_fault_with_the_data)
{
    static const unsigned long codes[] = {CKR_ENCRYPTED_DATA_INVALID, CKR_GENERAL_ERROR,
                                          CKR_FUNCTION_FAILED, CKR_DATA_LEN_RANGE};
    EVP_PKEY_CTX *pctx = tls_ctx(VERSION, 0);
    unsigned char cipher[SIZE] = {1}, out[PROV_TLS_SECRET], again[PROV_TLS_SECRET];
    size_t len = sizeof(out);

    fake_inject("C_Decrypt", 1, 2, codes[_i], false);
    ck_assert_int_eq(EVP_PKEY_decrypt(pctx, out, &len, cipher, SIZE), 1);
    no_errors();
    ck_assert_uint_eq(len, sizeof(out));
    ck_assert_int_eq(EVP_PKEY_decrypt(pctx, again, &len, cipher, SIZE), 1);
    ck_assert_mem_ne(out, again, sizeof(out));
    EVP_PKEY_CTX_free(pctx);
}
END_TEST

START_TEST(tls_needs_its_parameters)
{
    EVP_PKEY_CTX *pctx = tls_ctx(0, 0);
    unsigned char cipher[SIZE] = {1}, out[PROV_TLS_SECRET];
    size_t len = sizeof(out);

    ck_assert_int_ne(EVP_PKEY_decrypt(pctx, out, &len, cipher, SIZE), 1);
    ck_assert_int_eq(our_reason(), PROV_R_PARAMETER);
    EVP_PKEY_CTX_free(pctx);
    pctx = tls_ctx(VERSION, 0);
    len = PROV_TLS_SECRET - 1;
    ck_assert_int_ne(EVP_PKEY_decrypt(pctx, out, &len, cipher, SIZE), 1);
    ERR_clear_error();
    /* a lost token is no matter of the padding, and is told */
    fake_inject("C_DecryptInit", 1, FAKE_FOREVER, CKR_KEY_FUNCTION_NOT_PERMITTED, false);
    len = sizeof(out);
    ck_assert_int_ne(EVP_PKEY_decrypt(pctx, out, &len, cipher, SIZE), 1);
    ck_assert_int_eq(our_reason(), PROV_R_TOKEN + KS_KEY_USE);
    EVP_PKEY_CTX_free(pctx);
}
END_TEST

/* --- tokens that cannot do all of it --------------------------------------------------------- */

START_TEST(without_raw_rsa_the_token_unpads)
{
    unsigned char em[SIZE], cipher[SIZE], out[SIZE];
    EVP_PKEY_CTX *pctx;
    size_t len;

    fake_set_mechanism(slot, CKM_RSA_X_509, false);
    encrypt(&pkcs1, secret, sizeof(secret), cipher);
    ck_assert_int_eq(decrypt(&pkcs1, cipher, out, &len), 1);
    ck_assert_uint_eq(len, sizeof(secret));
    ck_assert_mem_eq(out, secret, len);
    no_errors();
    fake_clear_counts();
    ck_assert_int_eq(decrypt(&pkcs1, cipher, out, &len), 1);
    calls_made(1);
    block(em, secret, sizeof(secret));
    em[1] = 1;
    encrypt_block(em, cipher);
    ck_assert_int_ne(decrypt(&pkcs1, cipher, out, &len), 1);
    ck_assert_int_eq(our_reason(), PROV_R_DECRYPT);

    ck_assert_int_ne(decrypt(&none, cipher, out, &len), 1);
    ck_assert_int_eq(our_reason(), PROV_R_TOKEN + KS_MECHANISM);

    pctx = tls_ctx(VERSION, 0);
    len = PROV_TLS_SECRET;
    ck_assert_int_ne(EVP_PKEY_decrypt(pctx, out, &len, cipher, SIZE), 1);
    ck_assert_int_eq(our_reason(), PROV_R_UNSUPPORTED);
    EVP_PKEY_CTX_free(pctx);
}
END_TEST

/* A token that lists CKM_RSA_X_509 and refuses it: once is nothing, twice is that operation's
 * error, and neither leads to the token's own ways with the padding. */
START_TEST(an_odd_refusal_of_raw_rsa_is_not_remembered)
{
    static const unsigned long codes[] = {CKR_MECHANISM_INVALID, CKR_MECHANISM_PARAM_INVALID,
                                          CKR_FUNCTION_NOT_SUPPORTED};
    const struct scheme labelled = {RSA_PKCS1_OAEP_PADDING, NULL, NULL, "x"};
    const struct scheme *s = _i % 2 == 0 ? &pkcs1 : &labelled;
    unsigned char em[SIZE], bad[SIZE], good[SIZE], out[SIZE];
    const unsigned long code = codes[_i / 2];
    size_t len;

    block(em, secret, sizeof(secret));
    em[1] = 1;
    encrypt_block(em, bad);
    encrypt(s, secret, sizeof(secret), good);
    for (unsigned times = 1; times <= 3; times++) {
        fake_inject("C_DecryptInit", 1, times, code, false);
        ck_assert_int_eq(decrypt(s, good, out, &len) == 1, times < 2);
        fake_heal(NULL);
        ERR_clear_error();
        fake_inject("C_DecryptInit", 1, times, code, false);
        ck_assert_int_eq(decrypt(s, bad, out, &len) == 1, times < 2 && s == &pkcs1);
        if (times >= 2)
            ck_assert_int_eq(our_reason(), PROV_R_TOKEN + KS_MECHANISM);
        fake_heal(NULL);
        ERR_clear_error();
        /* and as if nothing had been */
        ck_assert_int_eq(decrypt(s, good, out, &len), 1);
        ck_assert_mem_eq(out, secret, sizeof(secret));
        ck_assert_uint_eq(fake_last_mechanism().type, CKM_RSA_X_509);
        ck_assert_int_eq(decrypt(s, bad, out, &len) == 1, s == &pkcs1);
        ck_assert_uint_eq(fake_last_mechanism().type, CKM_RSA_X_509);
        ERR_clear_error();
    }
}
END_TEST

START_TEST(oaep_without_any_way_is_refused)
{
    unsigned char cipher[SIZE], out[SIZE];
    size_t len;

    fake_set_mechanism(slot, CKM_RSA_X_509, false);
    fake_set_quirk(FAKE_QUIRK_SHA1_OAEP, true);
    encrypt(&schemes[2], secret, sizeof(secret), cipher);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_ne(decrypt(&schemes[2], cipher, out, &len), 1);
        ck_assert_int_eq(our_reason(), PROV_R_UNSUPPORTED);
    }
}
END_TEST

/* What is wrong with an OAEP ciphertext, and who found it, cannot be told from the errors. */
static void one_error_text(const struct scheme *s, char *text, size_t size)
{
    unsigned char cipher[SIZE], out[SIZE];
    const char *data = NULL;
    size_t len;
    int flags = 0;

    encrypt(&none, (const unsigned char[SIZE]){0, 1, 2}, SIZE, cipher);
    ck_assert_int_ne(decrypt(s, cipher, out, &len), 1);
    (void)ERR_peek_error_data(&data, &flags);
    snprintf(text, size, "%lu %s", ERR_peek_error(), data);
    ck_assert_uint_ne(ERR_get_error(), 0);
    ck_assert_uint_eq(ERR_get_error(), 0); /* the only one */
}

START_TEST(oaep_has_one_error)
{
    const struct scheme labelled = {RSA_PKCS1_OAEP_PADDING, NULL, NULL, "x"};
    char by_token[256], general[256], local[256];

    one_error_text(&oaep, by_token, sizeof(by_token));
    fake_set_quirk(FAKE_QUIRK_DATA_IS_GENERAL, true);
    one_error_text(&oaep, general, sizeof(general));
    one_error_text(&labelled, local, sizeof(local));
    ck_assert_str_eq(by_token, general);
    ck_assert_str_eq(by_token, local);
}
END_TEST

START_TEST(what_is_wrong_with_the_data_leads_nowhere_else)
{
    unsigned char cipher[SIZE], out[SIZE];
    size_t len;

    encrypt(&none, (const unsigned char[SIZE]){0, 1, 2}, SIZE, cipher);
    ck_assert_int_ne(decrypt(&oaep, cipher, out, &len), 1);
    ERR_clear_error();
    calls_made(1);
    ck_assert_uint_eq(fake_last_mechanism().type, CKM_RSA_PKCS_OAEP);
    encrypt(&oaep, secret, sizeof(secret), cipher);
    ck_assert_int_eq(decrypt(&oaep, cipher, out, &len), 1);
    ck_assert_uint_eq(fake_last_mechanism().type, CKM_RSA_PKCS_OAEP);
}
END_TEST

/* --- refusals -------------------------------------------------------------------------------- */

static const struct {
    const char *offload;
    int pad_mode;
    bool allowed;
} policies[] = {
    {"rsa-oaep", RSA_PKCS1_OAEP_PADDING, true},
    {"rsa-oaep", RSA_PKCS1_WITH_TLS_PADDING, false},
    {"rsa-oaep", RSA_NO_PADDING, false},
    {"rsa-pkcs1", RSA_PKCS1_OAEP_PADDING, false},
    {"rsa-pkcs1", RSA_PKCS1_PADDING, true},
    {"rsa-pkcs1", RSA_NO_PADDING, true},
    {"rsa-pkcs1", RSA_PKCS1_WITH_TLS_PADDING, false},
    {"rsa-tls", RSA_PKCS1_WITH_TLS_PADDING, true},
    {"all", RSA_PKCS1_WITH_TLS_PADDING, false},
};

START_TEST(classes)
{
    EVP_PKEY_CTX *pctx;

    key_down();
    provider_down();
    provider_up(policies[_i].offload);
    key = load_key("key");
    pub = public_half(handle);
    pctx = EVP_PKEY_CTX_new_from_pkey(libctx, key, NULL);
    ck_assert_int_eq(EVP_PKEY_decrypt_init(pctx), 1);
    if (policies[_i].allowed) {
        ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_padding(pctx, policies[_i].pad_mode), 1);
        no_errors();
    } else {
        ck_assert_int_ne(EVP_PKEY_CTX_set_rsa_padding(pctx, policies[_i].pad_mode), 1);
        ck_assert_int_eq(our_reason(), PROV_R_POLICY);
    }
    EVP_PKEY_CTX_free(pctx);
}
END_TEST

/* PKCS#1 v1.5 is what a context starts with: nobody has to ask for it, so decrypt() looks again. */
START_TEST(the_default_padding_is_subject_to_policy)
{
    unsigned char cipher[SIZE], out[SIZE];
    EVP_PKEY_CTX *pctx;
    size_t len = SIZE;

    key_down();
    provider_down();
    provider_up("all -rsa-pkcs1");
    key = load_key("key");
    pub = public_half(handle);
    encrypt(&pkcs1, secret, sizeof(secret), cipher);
    pctx = EVP_PKEY_CTX_new_from_pkey(libctx, key, NULL);
    ck_assert_int_eq(EVP_PKEY_decrypt_init(pctx), 1);
    fake_clear_counts();
    ck_assert_int_ne(EVP_PKEY_decrypt(pctx, out, &len, cipher, SIZE), 1);
    ck_assert_int_eq(our_reason(), PROV_R_POLICY);
    calls_made(0);
    EVP_PKEY_CTX_free(pctx);
}
END_TEST

START_TEST(bad_uses)
{
    EVP_PKEY_CTX *pctx = decrypt_ctx(&oaep);

    ck_assert_int_ne(EVP_PKEY_CTX_set_rsa_oaep_md_name(pctx, "MD5", NULL), 1);
    ck_assert_int_eq(our_reason(), PROV_R_UNSUPPORTED);
    ck_assert_int_ne(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING), 1);
    ERR_clear_error();
    ck_assert_int_ne(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_X931_PADDING), 1);
    ck_assert_int_eq(our_reason(), PROV_R_UNSUPPORTED);
    calls_made(0);
    EVP_PKEY_CTX_free(pctx);
}
END_TEST

START_TEST(a_key_that_is_not_for_decryption)
{
    EVP_PKEY_CTX *pctx;

    key_down();
    fake_set_quirk(FAKE_QUIRK_USE_NOT_ENFORCED, true);
    fake_remove_object(handle);
    fake_remove_object(fake_find(slot, CKO_PUBLIC_KEY, "key"));
    key_up(FAKE_NO_DECRYPT);
    pctx = EVP_PKEY_CTX_new_from_pkey(libctx, key, NULL);
    ck_assert_int_ne(EVP_PKEY_decrypt_init(pctx), 1);
    ck_assert_int_eq(our_reason(), PROV_R_TOKEN + KS_KEY_USE);
    calls_made(0);
    EVP_PKEY_CTX_free(pctx);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("asymcipher");
    TCase *tc = tcase_create("asymcipher");

    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, every_padding, 0, 2 * COUNT(schemes));
    tcase_add_test(tc, two_digests_are_not_left_to_the_token);
    tcase_add_test(tc, a_label_is_not_left_to_the_token);
    tcase_add_test(tc, sizes_and_copies);
    tcase_add_test(tc, parameters_are_given_back);
    tcase_add_test(tc, ciphertexts_of_other_lengths);
    tcase_add_loop_test(tc, bad_padding_gives_a_message_of_its_own, 0, COUNT(bad_blocks));
    tcase_add_test(tc, bad_padding_gives_what_the_ruling_says);
    tcase_add_test(tc, the_secret_costs_one_decryption_per_key);
    tcase_add_test(tc, the_rejection_point_is_not_decrypted);
    tcase_add_loop_test(tc, without_implicit_rejection_there_is_one_error, 0, COUNT(bad_blocks));
    tcase_add_loop_test(tc, tls_always_gives_48_bytes, 0, COUNT(tls_cases));
    tcase_add_loop_test(tc, tls_when_the_token_finds_fault_with_the_data, 0, 4);
    tcase_add_test(tc, tls_needs_its_parameters);
    tcase_add_test(tc, without_raw_rsa_the_token_unpads);
    tcase_add_loop_test(tc, an_odd_refusal_of_raw_rsa_is_not_remembered, 0, 6);
    tcase_add_test(tc, oaep_without_any_way_is_refused);
    tcase_add_test(tc, oaep_has_one_error);
    tcase_add_test(tc, what_is_wrong_with_the_data_leads_nowhere_else);
    tcase_add_loop_test(tc, classes, 0, COUNT(policies));
    tcase_add_test(tc, the_default_padding_is_subject_to_policy);
    tcase_add_test(tc, bad_uses);
    tcase_add_test(tc, a_key_that_is_not_for_decryption);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
