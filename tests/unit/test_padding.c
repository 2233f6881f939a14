/* SPDX-License-Identifier: Apache-2.0
 *
 * test_padding.c - the RSA encodings, against libcrypto's and against vectors. No token is needed:
 * a software key does the raw operations.
 */
#include <check.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>

#include "../../provider/key/padding.h"
#include "../../provider/signature/signature.h"

static struct prov_ctx ctx; /* without a core: errors go to libcrypto's queue directly */

static void set_up(void)
{
    ctx.libctx = OSSL_LIB_CTX_new();
    ck_assert_ptr_nonnull(ctx.libctx);
}

static void tear_down(void)
{
    OSSL_LIB_CTX_free(ctx.libctx);
}

/* --- helpers --------------------------------------------------------------------------------- */

static unsigned char *common_der; /* RSA, 2048 bits: made once, for all tests */
static int common_len;

static EVP_PKEY *new_key(unsigned bits)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(ctx.libctx, NULL, "RSA", (size_t)bits);

    ck_assert_ptr_nonnull(key);
    return key;
}

/* Before Check forks. */
static void make_common_key(void)
{
    EVP_PKEY *key = new_key(2048);

    common_len = i2d_PrivateKey(key, &common_der);
    ck_assert_int_gt(common_len, 0);
    EVP_PKEY_free(key);
}

static void drop_common_key(void)
{
    OPENSSL_free(common_der);
    common_der = NULL;
}

static EVP_PKEY *rsa_key(unsigned bits)
{
    const unsigned char *p = common_der;
    EVP_PKEY *key = bits != 2048 ? new_key(bits)
                                 : d2i_AutoPrivateKey_ex(NULL, &p, common_len, ctx.libctx, NULL);

    ck_assert_ptr_nonnull(key);
    return key;
}

static size_t key_size(EVP_PKEY *key)
{
    return (size_t)EVP_PKEY_get_size(key);
}

static EVP_PKEY_CTX *start(EVP_PKEY *key, int (*init)(EVP_PKEY_CTX *), int pad_mode)
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(ctx.libctx, key, NULL);

    ck_assert_ptr_nonnull(pctx);
    ck_assert_int_eq(init(pctx), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_padding(pctx, pad_mode), 1);
    return pctx;
}

/* RSADP, and RSAEP */
static void raw_private(EVP_PKEY *key, const unsigned char *in, unsigned char *out)
{
    EVP_PKEY_CTX *pctx = start(key, EVP_PKEY_decrypt_init, RSA_NO_PADDING);
    size_t len = key_size(key);

    ck_assert_int_eq(EVP_PKEY_decrypt(pctx, out, &len, in, len), 1);
    ck_assert_uint_eq(len, key_size(key));
    EVP_PKEY_CTX_free(pctx);
}

static void raw_public(EVP_PKEY *key, const unsigned char *in, unsigned char *out)
{
    EVP_PKEY_CTX *pctx = start(key, EVP_PKEY_encrypt_init, RSA_NO_PADDING);
    size_t len = key_size(key);

    ck_assert_int_eq(EVP_PKEY_encrypt(pctx, out, &len, in, len), 1);
    EVP_PKEY_CTX_free(pctx);
}

static size_t unhex(const char *hex, unsigned char *out)
{
    size_t len = 0;

    ck_assert_int_eq(OPENSSL_hexstr2buf_ex(out, PROV_RSA_MAX_BYTES, &len, hex, '\0'), 1);
    return len;
}

/* A PKCS#1 v1.5 block of `size` bytes around the message. */
static void block(unsigned char *em, size_t size, const void *message, size_t len)
{
    em[0] = 0;
    em[1] = 2;
    memset(em + 2, 0xa5, size - len - 3);
    em[size - len - 1] = 0;
    if (len > 0)
        memcpy(em + size - len, message, len);
}

/* --- DigestInfo ------------------------------------------------------------------------------ */

START_TEST(digest_info_is_what_libcrypto_signs)
{
    const struct prov_digest *digest = prov_digest_by_ks((enum ks_digest)_i);
    unsigned char value[EVP_MAX_MD_SIZE], sig[256], em[256], info[PROV_DIGEST_INFO_MAX];
    EVP_PKEY *key = rsa_key(2048);
    EVP_PKEY_CTX *pctx;
    size_t len = sizeof(sig), info_len;
    EVP_MD *md;

    ck_assert_ptr_nonnull(digest);
    memset(value, 0x3c, sizeof(value));
    md = EVP_MD_fetch(ctx.libctx, digest->name, NULL);
    ck_assert_ptr_nonnull(md);
    ck_assert_uint_eq(digest->size, (size_t)EVP_MD_get_size(md));
    pctx = start(key, EVP_PKEY_sign_init, RSA_PKCS1_PADDING);
    ck_assert_int_eq(EVP_PKEY_CTX_set_signature_md(pctx, md), 1);
    ck_assert_int_eq(EVP_PKEY_sign(pctx, sig, &len, value, digest->size), 1);
    raw_public(key, sig, em);

    info_len = prov_digest_info(digest, value, info);
    ck_assert_uint_le(info_len, sizeof(info));
    ck_assert_mem_eq(em + sizeof(em) - info_len, info, info_len);
    ck_assert_uint_eq(em[sizeof(em) - info_len - 1], 0);
    EVP_PKEY_CTX_free(pctx);
    EVP_PKEY_free(key);
    EVP_MD_free(md);
}
END_TEST

/* --- PSS ------------------------------------------------------------------------------------- */

static const struct pss_case {
    unsigned bits;
    const char *md, *mgf1;
    long salt; /* -1: as long as can be */
} pss_cases[] = {
    {2048, "SHA2-256", "SHA2-256", 32}, {2048, "SHA2-256", "SHA1", 32},
    {2048, "SHA1", "SHA2-512", 0},      {2048, "SHA2-512", "SHA2-256", -1},
    {1024, "SHA3-256", "SHA3-512", 11}, {1025, "SHA2-256", "SHA2-256", -1},
    {1026, "SHA2-384", "SHA2-256", -1}, {1031, "SHA2-256", "SHA2-384", -1},
    {1032, "SHA2-224", "SHA2-224", 28}, {1033, "SHA2-224", "SHA2-224", 1},
};

START_TEST(pss_verifies_in_libcrypto)
{
    const struct pss_case *c = &pss_cases[_i];
    EVP_MD *md = EVP_MD_fetch(ctx.libctx, c->md, NULL);
    EVP_MD *mgf1 = EVP_MD_fetch(ctx.libctx, c->mgf1, NULL);
    const size_t hash_len = (size_t)EVP_MD_get_size(md);
    const long max = prov_pss_max_salt(c->bits, hash_len);
    const size_t salt = (size_t)(c->salt < 0 ? max : c->salt);
    unsigned char hash[EVP_MAX_MD_SIZE], em[PROV_RSA_MAX_BYTES], sig[PROV_RSA_MAX_BYTES];
    EVP_PKEY *key = rsa_key(c->bits);
    EVP_PKEY_CTX *pctx;

    ck_assert_int_eq(EVP_PKEY_get_bits(key), (int)c->bits);
    memset(hash, 0x77, sizeof(hash));
    ck_assert_int_eq(prov_pss_encode(&ctx, em, key_size(key), c->bits, md, mgf1, hash, salt), 1);
    raw_private(key, em, sig);

    pctx = start(key, EVP_PKEY_verify_init, RSA_PKCS1_PSS_PADDING);
    ck_assert_int_eq(EVP_PKEY_CTX_set_signature_md(pctx, md), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_mgf1_md(pctx, mgf1), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, (int)salt), 1);
    ck_assert_int_eq(EVP_PKEY_verify(pctx, sig, key_size(key), hash, hash_len), 1);

    ck_assert_int_eq(
        prov_pss_encode(&ctx, em, key_size(key), c->bits, md, mgf1, hash, (size_t)max + 1), 0);
    ERR_clear_error();
    EVP_PKEY_CTX_free(pctx);
    EVP_PKEY_free(key);
    EVP_MD_free(md);
    EVP_MD_free(mgf1);
}
END_TEST

/* --- OAEP ------------------------------------------------------------------------------------ */

static const struct oaep_case {
    const char *md, *mgf1, *label;
    size_t len;
} oaep_cases[] = {
    {"SHA1", "SHA1", NULL, 20},          {"SHA2-256", "SHA1", NULL, 0},
    {"SHA2-512", "SHA2-256", "l", 126},  {"SHA3-384", "SHA3-384", "two words", 1},
    {"SHA2-256", "SHA2-256", NULL, 190},
};

START_TEST(oaep_decodes_what_libcrypto_encodes)
{
    const struct oaep_case *c = &oaep_cases[_i];
    EVP_MD *md = EVP_MD_fetch(ctx.libctx, c->md, NULL);
    EVP_MD *mgf1 = EVP_MD_fetch(ctx.libctx, c->mgf1, NULL);
    const unsigned char *label = (const unsigned char *)c->label;
    const size_t label_len = c->label != NULL ? strlen(c->label) : 0;
    unsigned char message[256], cipher[256], em[256], out[256];
    EVP_PKEY *key = rsa_key(2048);
    EVP_PKEY_CTX *pctx = start(key, EVP_PKEY_encrypt_init, RSA_PKCS1_OAEP_PADDING);
    size_t len = sizeof(cipher);

    memset(message, 0x42, sizeof(message));
    ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_oaep_md(pctx, md), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_mgf1_md(pctx, mgf1), 1);
    if (label != NULL)
        ck_assert_int_eq(
            EVP_PKEY_CTX_set0_rsa_oaep_label(pctx, OPENSSL_strdup(c->label), (int)label_len), 1);
    ck_assert_int_eq(EVP_PKEY_encrypt(pctx, cipher, &len, message, c->len), 1);
    raw_private(key, cipher, em);

    len = sizeof(out);
    ck_assert_int_eq(prov_oaep_decode(out, &len, em, sizeof(em), md, mgf1, label, label_len), 1);
    ck_assert_uint_eq(len, c->len);
    ck_assert_mem_eq(out, message, len);

    /* whatever is damaged: refused, and nothing left in the error queue */
    for (size_t i = 0; i < sizeof(em); i++) {
        em[i] ^= 0x01;
        len = sizeof(out);
        ck_assert_int_eq(prov_oaep_decode(out, &len, em, sizeof(em), md, mgf1, label, label_len),
                         0);
        em[i] ^= 0x01;
    }
    len = sizeof(out);
    ck_assert_int_eq(
        prov_oaep_decode(out, &len, em, sizeof(em), md, mgf1, (const unsigned char *)"other", 5),
        0);
    ck_assert_uint_eq(ERR_peek_error(), 0);
    EVP_PKEY_CTX_free(pctx);
    EVP_PKEY_free(key);
    EVP_MD_free(md);
    EVP_MD_free(mgf1);
}
END_TEST

/* --- the TLS premaster secret ---------------------------------------------------------------- */

#define TLS12 0x0303U
#define TLS11 0x0302U

static const struct tls_case {
    const char *what;
    size_t at; /* the byte that is changed */
    unsigned char to;
    unsigned client, alt;
    bool good;
} tls_cases[] = {
    {"as it should be", 2, 0xa5, TLS12, 0, true},
    {"first byte", 0, 1, TLS12, 0, false},
    {"first byte, high bit", 0, 0x80, TLS12, 0, false},
    {"block type 1", 1, 1, TLS12, 0, false},
    {"block type 0x82", 1, 0x82, TLS12, 0, false},
    {"zero at the start of the padding", 2, 0, TLS12, 0, false},
    {"zero in the middle", 40, 0, TLS12, 0, false},
    {"zero at the end: 49 bytes", 128 - 50, 0, TLS12, 0, false},
    {"no separator", 128 - 49, 9, TLS12, 0, false},
    {"major version", 128 - 48, 2, TLS12, 0, false},
    {"minor version", 128 - 47, 2, TLS12, 0, false},
    {"minor version, another client", 128 - 47, 2, TLS11, 0, true},
    {"the negotiated version", 128 - 47, 2, TLS12, TLS11, true},
    {"neither version", 128 - 47, 1, TLS12, TLS11, false},
    {"version zero without a negotiated one", 128 - 48, 0, TLS12, 0, false},
    {"client's version though another was negotiated", 2, 0xa5, TLS12, TLS11, true},
    {"zero inside the secret", 128 - 1, 0, TLS12, 0, true},
};

START_TEST(tls_secret_or_substitute)
{
    const struct tls_case *c = &tls_cases[_i];
    unsigned char secret[PROV_TLS_SECRET], substitute[PROV_TLS_SECRET], out[PROV_TLS_SECRET];
    unsigned char em[128];

    memset(secret, 0x11, sizeof(secret));
    memset(substitute, 0x99, sizeof(substitute));
    secret[0] = 3;
    secret[1] = 3;
    block(em, sizeof(em), secret, sizeof(secret));
    em[c->at] = c->to;
    prov_pkcs1_tls(out, em, sizeof(em), substitute, c->client, c->alt);
    ck_assert_msg(memcmp(out, c->good ? em + 80 : substitute, sizeof(out)) == 0, "%s", c->what);
}
END_TEST

START_TEST(tls_secret_in_the_smallest_block)
{
    unsigned char secret[PROV_TLS_SECRET] = {3, 3, 7}, out[PROV_TLS_SECRET];
    unsigned char em[PROV_TLS_SECRET + 11], substitute[PROV_TLS_SECRET] = {0};

    block(em, sizeof(em), secret, sizeof(secret));
    prov_pkcs1_tls(out, em, sizeof(em), substitute, TLS12, 0);
    ck_assert_mem_eq(out, secret, sizeof(secret));
}
END_TEST

/* --- PKCS#1 v1.5 ----------------------------------------------------------------------------- */

/* Blocks of 128 bytes: where the message starts, and what is changed before it. */
static const struct pkcs1_case {
    const char *what;
    size_t len; /* of the message */
    size_t at;
    unsigned char to;
    bool good;
} pkcs1_cases[] = {
    {"a short message", 10, 2, 0xa5, true},
    {"no message", 0, 2, 0xa5, true},
    {"the longest message", 117, 2, 0xa5, true},
    {"seven bytes of padding", 118, 2, 0xa5, false},
    {"no padding", 125, 127, 0xa5, false},
    {"first byte", 10, 0, 1, false},
    {"first byte, high bit", 10, 0, 0x80, false},
    {"block type 1", 10, 1, 1, false},
    {"block type 0", 10, 1, 0, false},
    {"block type 3", 10, 1, 3, false},
    {"zero as the first byte of padding", 10, 2, 0, false},
    {"zero as the eighth", 10, 9, 0, false},
};

START_TEST(pkcs1_good_or_not)
{
    const struct pkcs1_case *c = &pkcs1_cases[_i];
    unsigned char message[128], em[128], out[128], again[128], kdk[PROV_IR_BYTES];
    size_t len = sizeof(out), again_len = sizeof(again);

    memset(message, 0x6b, sizeof(message));
    memset(kdk, 0x5a, sizeof(kdk));
    memset(out, 0xee, sizeof(out));
    block(em, sizeof(em), message, c->len);
    em[c->at] = c->to;

    ck_assert_msg(prov_pkcs1_explicit(out, &len, em, sizeof(em)) == (c->good ? 1 : 0), "%s",
                  c->what);
    ck_assert_uint_eq(len, c->good ? c->len : 0);
    ck_assert_int_eq(memcmp(out, message, len), 0);
    for (size_t i = len; i < sizeof(out); i++)
        ck_assert_uint_eq(out[i], 0);
    ck_assert_uint_eq(ERR_peek_error(), 0);

    len = sizeof(out);
    ck_assert_int_eq(prov_pkcs1_implicit(&ctx, out, &len, em, sizeof(em), kdk), 1);
    ck_assert_uint_eq(ERR_peek_error(), 0);
    if (c->good) {
        ck_assert_uint_eq(len, c->len);
        ck_assert_int_eq(memcmp(out, message, len), 0);
    } else {
        /* what comes depends on the key alone: the same for another bad block */
        em[1] = 0x55;
        ck_assert_int_eq(prov_pkcs1_implicit(&ctx, again, &again_len, em, sizeof(em), kdk), 1);
        ck_assert_uint_eq(len, again_len);
        ck_assert_int_eq(memcmp(out, again, len), 0);
        ck_assert_uint_le(len, 117);
    }
}
END_TEST

START_TEST(pkcs1_without_any_zero)
{
    unsigned char em[256], out[256], kdk[PROV_IR_BYTES] = {1};
    size_t len = sizeof(out);

    memset(em, 0xff, sizeof(em));
    em[0] = 0;
    em[1] = 2;
    ck_assert_int_eq(prov_pkcs1_explicit(out, &len, em, sizeof(em)), 0);
    len = sizeof(out);
    ck_assert_int_eq(prov_pkcs1_implicit(&ctx, out, &len, em, sizeof(em), kdk), 1);
    ck_assert_uint_le(len, sizeof(em) - 11);
}
END_TEST

START_TEST(pkcs1_into_a_small_buffer)
{
    unsigned char em[128], out[16], kdk[PROV_IR_BYTES] = {1};
    size_t len = 9;

    /* ten bytes do not fit into nine: an error if the caller wants to be told, else a substitute */
    block(em, sizeof(em), "0123456789", 10);
    memset(out, 0xee, sizeof(out));
    ck_assert_int_eq(prov_pkcs1_explicit(out, &len, em, sizeof(em)), 0);
    ck_assert_uint_eq(out[9], 0xee);
    len = 9;
    ck_assert_int_eq(prov_pkcs1_implicit(&ctx, out, &len, em, sizeof(em), kdk), 1);
    ck_assert_uint_le(len, 9);
    ck_assert_uint_eq(out[9], 0xee);
    ck_assert(len < 9 || memcmp(out, "012345678", 9) != 0);
    len = 10;
    ck_assert_int_eq(prov_pkcs1_explicit(out, &len, em, sizeof(em)), 1);
    ck_assert_mem_eq(out, "0123456789", 10);
}
END_TEST

/* Recorded from OpenSSL 3.5's default provider: private keys made for it, ciphertexts that are
 * random numbers, and the key derived from both as libcrypto does it (HMAC-SHA256 of the
 * ciphertext under SHA-256 of the private exponent). */
static const struct ir_vector {
    size_t size;
    const char *kdk, *out;
} ir_vectors[] = {
    {64, "9a8fcf879a180769a497bfa46033adba3cf6b6bcbe8b2ebd53866867f1adc666",
     "0159b7d65598a2d15da567"},
    {64, "26f5b555643df562fe9325efde1684c7c6e33f553eb255ac7e7b98ef594d3716",
     "fe41975630e41976ba7573189f6732c0ce19b427c2d86dd6b07f40a68f98"},
    {128, "7bf20596079d23f0a042ead86898289bebc7baa11cd6c01566bc552f5763a9a2",
     "0194ca0349603e7648796cf128e324ca7e62d6446e7d1148c2b07658ed83bb6b08282ec43cf67b"},
    {128, "4f6fe9bd8044b60098b1a06c3d29bef1cdfcf7621ae0f6b116ce888019b74ce2",
     "fa12281aff4a7bf7ec518d4c8a29408a832c7f77e29a09fb89d6a29259aa2fc2017057240493b8a8"},
    {129, "e35fdd9f7c908cf11224b3db6c9649344c26495e2bfd8818ae1b071b71b5e3de",
     "0a67ca1bca0da154f79007549cab4684aacfd6"},
    {129, "fce241e2b350f80e2f23e75f96149521e83c1326cf02e14b3bcbf107d547ed11",
     "9224b9c2f8c9c3ad3ec59997ce6d63f861bc62d1ed7b674c4dc56115"},
    {256, "057a2f7ce29717c40a0b02592f31a4d55fce586caa5f5db2845710494ee6c23a",
     "03121aef2ccae8739683007e64e4b73079db179e7116bfb90ce6280feb67dbad3d71"},
    {256, "5d206246a94af2a443ca72cc2ca49ac5089750fe84100c0cd944bcc4217b25ed",
     "49a702b984d7d25f0b3f2e157160d14cdd8d3b616eef7eb6e24c1d2fa4d66db3c248c1a75a6b7edfcb3d38377c"
     "0bc522"},
};

START_TEST(implicit_rejection_is_libcryptos)
{
    const struct ir_vector *v = &ir_vectors[_i];
    unsigned char em[256], kdk[PROV_RSA_MAX_BYTES], want[PROV_RSA_MAX_BYTES], out[256];
    const size_t want_len = unhex(v->out, want);
    size_t len = sizeof(out);

    ck_assert_uint_eq(unhex(v->kdk, kdk), PROV_IR_BYTES);
    memset(em, 0x31, sizeof(em));
    ck_assert_int_eq(prov_pkcs1_implicit(&ctx, out, &len, em, v->size, kdk), 1);
    ck_assert_uint_eq(len, want_len);
    ck_assert_mem_eq(out, want, want_len);
}
END_TEST

#if OPENSSL_VERSION_PREREQ(3, 2)
/* The same against the libcrypto that is here: from 3.2 on it does implicit rejection itself. */
START_TEST(implicit_rejection_is_this_libcryptos)
{
    unsigned char cipher[256], em[256], d[256], want[256], out[256], kdk[PROV_IR_BYTES];
    EVP_PKEY *key = rsa_key(2048);
    BIGNUM *bn_d = NULL;
    void *secret;

    ck_assert_int_eq(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_D, &bn_d), 1);
    ck_assert_int_eq(BN_bn2binpad(bn_d, d, sizeof(d)), (int)sizeof(d));
    secret = prov_ir_secret_new(&ctx, d, sizeof(d));
    ck_assert_ptr_nonnull(secret);
    for (int i = 0; i < 200; i++) {
        EVP_PKEY_CTX *pctx = start(key, EVP_PKEY_decrypt_init, RSA_PKCS1_PADDING);
        size_t len = sizeof(out), want_len = sizeof(want);

        ck_assert_int_eq(RAND_bytes_ex(ctx.libctx, cipher, sizeof(cipher), 0), 1);
        cipher[0] &= 0x7f;
        ck_assert_int_eq(EVP_PKEY_decrypt(pctx, want, &want_len, cipher, sizeof(cipher)), 1);
        raw_private(key, cipher, em);
        ck_assert_int_eq(prov_ir_kdk(&ctx, secret, cipher, sizeof(cipher), kdk), 1);
        ck_assert_int_eq(prov_pkcs1_implicit(&ctx, out, &len, em, sizeof(em), kdk), 1);
        ck_assert_uint_eq(len, want_len);
        ck_assert_int_eq(memcmp(out, want, len), 0);
        EVP_PKEY_CTX_free(pctx);
    }
    prov_ir_secret_free(secret);
    BN_free(bn_d);
    EVP_PKEY_free(key);
}
END_TEST
#endif

/* --- implicit rejection's key ---------------------------------------------------------------- */

/* Worked out with another implementation (Python's hashlib): n is `first`, then step * i + 3 for
 * i from 0, then 0x0d. MGF1's number is below the first modulus and above the second. */
static const struct point_vector {
    unsigned char first, step;
    const char *c0;
} point_vectors[] = {
    {0xc1, 7,
     "93c3fa1927028847ef6cc910516ec2d9c7287997cb48341f22b6b092c8b11327f53efff2cce18b4c4a2a196ac0b4"
     "ceb4447b0dfdb3deb0e3da8373bd5334e054b93d5c6ca9d5596149f8a305a457245b14b0fec0848d715e236150f8"
     "01e6a355a934dc2d70c255e017d4af9a77e400c174cd3813cf551081d2d16df8e3f81c34"},
    {0x81, 1,
     "4199eb29682705c900989729233d64733032972a3eb452ebd00136d80e05ab23138f39c39eaf5a4485802df76f11d"
     "cc2"
     "10240a48000f1dc76de7f8fc2b37b198b2498988cebd8e9a02ca529e89f9ec6fb61f49d684ce35222615d4d2597dc"
     "815"
     "9c50bf4e30b26026079df89d6355b9da40c4e9bc4755fc8902beb79a75a1ebf7"},
};

START_TEST(point_vector)
{
    const struct point_vector *v = &point_vectors[_i];
    unsigned char n[128], out[128], want[PROV_RSA_MAX_BYTES];

    n[0] = v->first;
    for (unsigned i = 0; i < 126; i++)
        n[i + 1] = (unsigned char)(v->step * i + 3);
    n[127] = 0x0d;
    ck_assert_uint_eq(unhex(v->c0, want), sizeof(out));
    ck_assert_int_eq(prov_ir_point(&ctx, n, sizeof(n), out), 1);
    ck_assert_mem_eq(out, want, sizeof(out));
}
END_TEST

START_TEST(kdk_vector)
{
    static const char want_hex[] =
        "3a18a4c3b1d237f6260d770345e6502535acc4749107c4dc528be6c9d5caadf4";
    unsigned char decrypted[128], cipher[128], want[PROV_RSA_MAX_BYTES], kdk[PROV_IR_BYTES];
    void *secret;

    for (unsigned i = 0; i < sizeof(cipher); i++) {
        decrypted[i] = (unsigned char)i;
        cipher[i] = (unsigned char)(255 - i);
    }
    secret = prov_ir_secret_new(&ctx, decrypted, sizeof(decrypted));
    ck_assert_ptr_nonnull(secret);
    ck_assert_int_eq(prov_ir_kdk(&ctx, secret, cipher, sizeof(cipher), kdk), 1);
    ck_assert_uint_eq(unhex(want_hex, want), sizeof(kdk));
    ck_assert_mem_eq(kdk, want, sizeof(kdk));
    prov_ir_secret_free(secret);
    prov_ir_secret_free(NULL);
}
END_TEST

START_TEST(the_point_is_not_for_callers)
{
    struct prov_key key = {.ctx = &ctx, .type = PROV_RSA, .pub = rsa_key(1024)};
    unsigned char n[PROV_RSA_MAX_BYTES], c0[128];
    size_t n_len = 127;

    ck_assert_int_eq(prov_rsa_modulus(&key, n, &n_len), 0); /* no room */
    ERR_clear_error();
    n_len = sizeof(n);
    ck_assert_int_eq(prov_rsa_modulus(&key, n, &n_len), 1);
    ck_assert_uint_eq(n_len, sizeof(c0));
    ck_assert_int_eq(prov_ir_point(&ctx, n, n_len, c0), 1);
    ck_assert_int_lt(memcmp(c0, n, sizeof(c0)), 0);
    ck_assert_int_eq(prov_ir_allows(&key, c0, sizeof(c0)), 0);
    ck_assert_uint_ne(ERR_peek_error(), 0);
    ERR_clear_error();
    c0[127] ^= 1;
    ck_assert_int_eq(prov_ir_allows(&key, c0, sizeof(c0)), 1);
    ck_assert_uint_eq(ERR_peek_error(), 0);
    EVP_PKEY_free(key.pub);
}
END_TEST

/* --- digests, property queries --------------------------------------------------------------- */

static const struct name_case {
    const char *name;
    enum ks_digest ks;
} name_cases[] = {
    {"SHA256", KS_DIGEST_SHA256},
    {"sha2-256", KS_DIGEST_SHA256},
    {"SHA-1", KS_DIGEST_SHA1},
    {"SHA1", KS_DIGEST_SHA1},
    {"SHA512-224", KS_DIGEST_SHA512_224},
    {"SHA-512/256", KS_DIGEST_SHA512_256},
    {"SHA3-384", KS_DIGEST_SHA3_384},
    {"2.16.840.1.101.3.4.2.3", KS_DIGEST_SHA512},
    {"2.16.840.1.101.3.4.2.8", KS_DIGEST_SHA3_256},
    {"MD5", KS_DIGEST_NONE},
    {"SHAKE256", KS_DIGEST_NONE},
    {"no such thing", KS_DIGEST_NONE},
    {"", KS_DIGEST_NONE},
};

START_TEST(digest_names)
{
    const struct name_case *c = &name_cases[_i];
    const struct prov_digest *digest = prov_digest_by_name(&ctx, c->name);

    if (c->ks == KS_DIGEST_NONE) {
        ck_assert_ptr_null(digest);
    } else {
        ck_assert_ptr_nonnull(digest);
        ck_assert_int_eq(digest->ks, c->ks);
        ck_assert_ptr_eq(digest, prov_digest_by_ks(c->ks));
    }
    ck_assert_uint_eq(ERR_peek_error(), 0);
}
END_TEST

static const struct propq_case {
    const char *in, *out;
} propq_cases[] = {
    {NULL, "provider!=hsm"},
    {"", "provider!=hsm"},
    {"provider=hsm", "provider!=hsm"},
    {"?provider=hsm", "provider!=hsm"},
    {"-provider", "provider!=hsm"},
    {"fips=yes", "provider!=hsm,fips=yes"},
    {"fips=yes,provider=hsm", "provider!=hsm,fips=yes"},
    {" ?provider=hsm,fips=yes", "provider!=hsm,fips=yes"},
    {"provider = hsm , fips=yes,?a='b,provider=c'", "provider!=hsm, fips=yes,?a='b,provider=c'"},
    {"providers=2", "provider!=hsm,providers=2"},
};

START_TEST(property_queries)
{
    const struct propq_case *c = &propq_cases[_i];
    char *out = prov_propq_not_us(c->in);

    ck_assert_str_eq(out, c->out);
    OPENSSL_free(out);
}
END_TEST

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

int main(void)
{
    Suite *suite = suite_create("padding");
    TCase *tc = tcase_create("padding");
    SRunner *runner = srunner_create(suite);
    int failures;

    tcase_add_unchecked_fixture(tc, make_common_key, drop_common_key);
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, digest_info_is_what_libcrypto_signs, KS_DIGEST_SHA1,
                        KS_DIGEST_SHA3_512 + 1);
    tcase_add_loop_test(tc, pss_verifies_in_libcrypto, 0, COUNT(pss_cases));
    tcase_add_loop_test(tc, oaep_decodes_what_libcrypto_encodes, 0, COUNT(oaep_cases));
    tcase_add_loop_test(tc, tls_secret_or_substitute, 0, COUNT(tls_cases));
    tcase_add_test(tc, tls_secret_in_the_smallest_block);
    tcase_add_loop_test(tc, pkcs1_good_or_not, 0, COUNT(pkcs1_cases));
    tcase_add_test(tc, pkcs1_without_any_zero);
    tcase_add_test(tc, pkcs1_into_a_small_buffer);
    tcase_add_loop_test(tc, implicit_rejection_is_libcryptos, 0, COUNT(ir_vectors));
#if OPENSSL_VERSION_PREREQ(3, 2)
    tcase_add_test(tc, implicit_rejection_is_this_libcryptos);
#endif
    tcase_add_loop_test(tc, point_vector, 0, COUNT(point_vectors));
    tcase_add_test(tc, kdk_vector);
    tcase_add_test(tc, the_point_is_not_for_callers);
    tcase_add_loop_test(tc, digest_names, 0, COUNT(name_cases));
    tcase_add_loop_test(tc, property_queries, 0, COUNT(propq_cases));
    suite_add_tcase(suite, tc);
    srunner_run_all(runner, CK_NORMAL);
    failures = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
