/* SPDX-License-Identifier: Apache-2.0
 *
 * What an operation costs at the PKCS#11 boundary, through EVP: two calls, whatever the number of
 * threads, and no session opened or closed. And what it costs to load a key from a reference on a
 * token with thousands of keys. Numbers, no times: bench/ has those.
 */
#include <openssl/encoder.h>
#include <openssl/pem.h>
#include <pthread.h>

#include "with_provider.h"

/* PKCS#11 calls from PEM_read_bio_PrivateKey() to the first signature, on a module that has not
 * been used before: C_Initialize, slots (twice) and token, session, login, mechanisms, the key's
 * search (4) and attributes, C_SignInit, C_Sign. The same number for all types of keys, and on a
 * token with one key pair and on one with OTHER_KEYS more. */
#define FIRST_SIGNATURE 14
/* And to load it, once the token is connected: the search and the attributes. */
#define LOAD 5
#define LOAD_CALLS                                                                                 \
    "C_FindObjectsInit C_FindObjects C_FindObjects C_FindObjectsFinal C_GetAttributeValue"
#define OTHER_KEYS 5000

#define MOST        32
#define MESSAGE     "a message"
#define MESSAGE_LEN (sizeof(MESSAGE) - 1)

struct operation {
    const char *name;
    enum fake_kind kind;
    int padding; /* RSA_..._PADDING; 0: ECDSA */
    bool decrypt;
    unsigned threads;
};

#define AT_1_8_32(...)                                                                             \
    {__VA_ARGS__, 1}, {__VA_ARGS__, 8},                                                            \
    {                                                                                              \
        __VA_ARGS__, 32                                                                            \
    }
static const struct operation operations[] = {
    AT_1_8_32("RSA PKCS#1 signature", FAKE_RSA, RSA_PKCS1_PADDING, false),
    AT_1_8_32("RSA-PSS signature", FAKE_RSA, RSA_PKCS1_PSS_PADDING, false),
    AT_1_8_32("ECDSA signature", FAKE_P256, 0, false),
    AT_1_8_32("RSA-OAEP decryption", FAKE_RSA, RSA_PKCS1_OAEP_PADDING, true),
    AT_1_8_32("RSA PKCS#1 decryption", FAKE_RSA, RSA_PKCS1_PADDING, true),
    AT_1_8_32("raw RSA decryption", FAKE_RSA, RSA_NO_PADDING, true),
};

/* Fewer for many threads, and under valgrind, where every instruction costs fifty. */
static unsigned rounds_each(unsigned threads)
{
    if (under_valgrind())
        return 2;
    return threads < MOST ? 50 : 10;
}

struct worker {
    const struct operation *op;
    EVP_PKEY *key;
    const uint8_t *cipher;
    size_t cipher_len;
    unsigned rounds, good;
};

static bool sign_once(EVP_PKEY *key, int padding)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx;
    uint8_t sig[SIG_MAX];
    size_t len = sizeof(sig);
    bool good = EVP_DigestSignInit_ex(ctx, &pctx, "SHA256", libctx, NULL, key, NULL) == 1 &&
                (padding == 0 || EVP_PKEY_CTX_set_rsa_padding(pctx, padding) == 1) &&
                EVP_DigestSign(ctx, sig, &len, (const uint8_t *)MESSAGE, MESSAGE_LEN) == 1;

    EVP_MD_CTX_free(ctx);
    return good;
}

static bool decrypt_once(const struct worker *w)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(libctx, w->key, NULL);
    uint8_t out[SIG_MAX];
    size_t len = sizeof(out);
    bool good = EVP_PKEY_decrypt_init(ctx) == 1 &&
                EVP_PKEY_CTX_set_rsa_padding(ctx, w->op->padding) == 1 &&
                EVP_PKEY_decrypt(ctx, out, &len, w->cipher, w->cipher_len) == 1;

    EVP_PKEY_CTX_free(ctx);
    return good && len >= MESSAGE_LEN && memcmp(out + len - MESSAGE_LEN, MESSAGE, MESSAGE_LEN) == 0;
}

static void *work(void *arg)
{
    struct worker *w = arg;

    for (unsigned i = 0; i < w->rounds; i++)
        w->good += w->op->decrypt ? decrypt_once(w) : sign_once(w->key, w->op->padding);
    return NULL;
}

/* The same in all threads. `together`: until every one of them is inside the module. */
static void run(const struct worker *model, unsigned rounds, const char *together)
{
    struct worker workers[MOST];
    pthread_t threads[MOST];
    unsigned count = model->op->threads;

    for (unsigned i = 0; together != NULL && i < count; i++)
        fake_hang(together, i + 1);
    for (unsigned i = 0; i < count; i++) {
        workers[i] = *model;
        workers[i].rounds = rounds;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    if (together != NULL) {
        ck_assert(fake_wait_hanging(count, 60000));
        fake_release();
    }
    for (unsigned i = 0; i < count; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        ck_assert_uint_eq(workers[i].good, rounds);
    }
}

/* For raw RSA the message stands behind zeros. */
static size_t encrypt(EVP_PKEY *pub, int padding, uint8_t *out)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(plain, pub, NULL);
    uint8_t in[256] = {0};
    size_t in_len = padding == RSA_NO_PADDING ? sizeof(in) : MESSAGE_LEN, len = SIG_MAX;

    memcpy(in + in_len - MESSAGE_LEN, MESSAGE, MESSAGE_LEN);
    ck_assert_int_eq(EVP_PKEY_encrypt_init(ctx), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_padding(ctx, padding), 1);
    ck_assert_int_eq(EVP_PKEY_encrypt(ctx, out, &len, in, in_len), 1);
    EVP_PKEY_CTX_free(ctx);
    return len;
}

START_TEST(an_operation_costs_two_calls)
{
    const struct operation *op = &operations[_i];
    const char *init = op->decrypt ? "C_DecryptInit" : "C_SignInit";
    const char *last = op->decrypt ? "C_Decrypt" : "C_Sign";
    const unsigned rounds = rounds_each(op->threads);
    unsigned long done = (unsigned long)op->threads * rounds;
    uint8_t cipher[SIG_MAX];
    struct worker model = {.op = op, .cipher = cipher};
    EVP_PKEY *pub;

    token_up();
    pub = NULL;
    fake_add_pair(slot, op->kind, "k");
    fake_set_cheap(!op->decrypt); /* what is decrypted is looked at */
    provider_up(NULL);
    model.key = load_key("k");
    if (op->decrypt) {
        pub = public_half(fake_find(slot, 3 /* CKO_PRIVATE_KEY */, "k"));
        model.cipher_len = encrypt(pub, op->padding, cipher);
    }
    run(&model, 1, NULL); /* once: implicit rejection's secret, what the token takes */
    run(&model, 1, last); /* a session for every thread */
    ck_assert_uint_eq(fake_sessions(), op->threads);
    fake_clear_counts();
    run(&model, rounds, NULL);
    ck_assert_msg(fake_calls(NULL) == 2 * done, "%s, %u threads: %lu calls for %lu operations: %s",
                  op->name, op->threads, fake_calls(NULL), done, fake_log());
    ck_assert_uint_eq(fake_calls(init), done);
    ck_assert_uint_eq(fake_calls(last), done);
    ck_assert_uint_eq(fake_sessions(), op->threads);
    EVP_PKEY_free(model.key);
    EVP_PKEY_free(pub);
    provider_down();
}
END_TEST

/* --- loading from a reference ---------------------------------------------------------------- */

static void token_with(enum fake_kind kind, unsigned others)
{
    token_up();
    fake_add_pairs(slot, kind, "other", others);
    fake_add_key(slot, &(struct fake_key){.kind = kind, .label = "k", .id = "k", .material = 1});
}

static BIO *reference(enum fake_kind kind)
{
    static char copy[8192];
    BIO *pem = BIO_new(BIO_s_mem()), *again;
    EVP_PKEY *key;
    char *text;
    long len;

    token_with(kind, 0);
    provider_up(NULL);
    key = load_key("k");
    ck_assert_int_eq(PEM_write_bio_PrivateKey(pem, key, NULL, NULL, 0, NULL, NULL), 1);
    EVP_PKEY_free(key);
    provider_down();
    len = BIO_get_mem_data(pem, &text);
    ck_assert(len > 0 && (size_t)len < sizeof(copy));
    memcpy(copy, text, (size_t)len);
    again = BIO_new_mem_buf(copy, (int)len); /* one that can be read again */
    BIO_free(pem);
    return again;
}

static const struct {
    enum fake_kind kind;
    unsigned others;
} loads[] = {
    {FAKE_RSA, 0},           {FAKE_RSA, OTHER_KEYS}, {FAKE_P256, 0},
    {FAKE_P256, OTHER_KEYS}, {FAKE_ED25519, 0},      {FAKE_ED25519, OTHER_KEYS},
};

static bool sign_message(EVP_PKEY *key, enum fake_kind kind)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t sig[SIG_MAX];
    size_t len = sizeof(sig);
    bool good = EVP_DigestSignInit_ex(ctx, NULL, kind == FAKE_ED25519 ? NULL : "SHA256", libctx,
                                      NULL, key, NULL) == 1 &&
                EVP_DigestSign(ctx, sig, &len, (const uint8_t *)MESSAGE, MESSAGE_LEN) == 1;

    EVP_MD_CTX_free(ctx);
    return good;
}

START_TEST(a_key_among_thousands_loads_like_a_key_alone)
{
    enum fake_kind kind = loads[_i].kind;
    BIO *pem = reference(kind);
    EVP_PKEY *key, *again;

    token_with(kind, loads[_i].others);
    provider_up(NULL);
    ck_assert_uint_eq(fake_calls(NULL), 0);
    key = PEM_read_bio_PrivateKey_ex(pem, NULL, NULL, NULL, libctx, NULL);
    ck_assert_ptr_nonnull(key);
    ck_assert(sign_message(key, kind));
    ck_assert_uint_eq(fake_calls("C_Initialize"), 1);
    ck_assert_uint_eq(fake_calls("C_Sign"), 1);
    ck_assert_msg(fake_calls(NULL) == FIRST_SIGNATURE, "%lu calls instead of %d: %s",
                  fake_calls(NULL), FIRST_SIGNATURE, fake_log());
    /* another one, on a token that is connected */
    ck_assert_int_ge(BIO_reset(pem), 0);
    fake_clear_counts();
    again = PEM_read_bio_PrivateKey_ex(pem, NULL, NULL, NULL, libctx, NULL);
    ck_assert_ptr_nonnull(again);
    ck_assert_str_eq(fake_log(), LOAD_CALLS);
    ck_assert_uint_eq(fake_calls(NULL), LOAD);
    ck_assert(sign_message(again, kind));
    EVP_PKEY_free(again);
    EVP_PKEY_free(key);
    BIO_free(pem);
    provider_down();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("calls");
    TCase *tc = tcase_create("calls");

    tcase_set_timeout(tc, 600);
    tcase_add_loop_test(tc, an_operation_costs_two_calls, 0, COUNT(operations));
    tcase_add_loop_test(tc, a_key_among_thousands_loads_like_a_key_alone, 0, COUNT(loads));
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
