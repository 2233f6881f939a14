/* SPDX-License-Identifier: Apache-2.0
 *
 * What a module answers is not believed, at the EVP level: the lies of evil.def about signatures,
 * decryptions, secrets, random numbers and mechanisms x the operations of the provider. Who hears
 * one fails with an error that names the function, or has the right result. Programs often offer
 * more room than they have: nothing beyond what the key needs is touched.
 */
#include <openssl/rand.h>

#include "evil.h"

#define TEST_MODULE_PATH EVIL_PKCS11_PATH
#include "with_provider.h"

#define OURS 0xa5
#define ROOM 1024

static const struct {
    enum evil_lie lie;
    const char *function;
} lies[] = {
    {EVIL_TRUTH, ""},
    {EVIL_SIGN_LONG, "C_Sign"},
    {EVIL_SIGN_WRAP, "C_Sign"},
    {EVIL_SIGN_NOTHING, "C_Sign"},
    {EVIL_SIGN_EMPTY, "C_Sign"},
    {EVIL_DECRYPT_LONG, "C_Decrypt"},
    {EVIL_DECRYPT_WRAP, "C_Decrypt"},
    {EVIL_DECRYPT_NOTHING, "C_Decrypt"},
    {EVIL_SECRET_NONE, "C_DeriveKey"},
    {EVIL_SECRET_LONG, "C_GetAttributeValue"},
    {EVIL_SECRET_EMPTY, "C_DeriveKey"},
    {EVIL_SECRET_NOTHING, "C_GetAttributeValue"},
    {EVIL_RANDOM_NOTHING, "C_GenerateRandom"},
};

static EVP_PKEY *rsa, *ec, *ed, *rsa_pub, *ec_pub, *ed_pub;
static const unsigned char text[] = "some text to sign";

struct cell {
    unsigned char out[ROOM];
    size_t room, len; /* what may be touched; what came back */
    bool right;
};

/* --- operations ------------------------------------------------------------------------------ */

static bool sign(struct cell *c, EVP_PKEY *key, EVP_PKEY *pub, const char *md, int padding)
{
    EVP_MD_CTX *mdctx = EVP_MD_CTX_new(), *check = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx = NULL;
    bool ok;

    c->room = (size_t)EVP_PKEY_get_size(pub);
    c->len = sizeof(c->out);
    ok = EVP_DigestSignInit_ex(mdctx, &pctx, md, libctx, NULL, key, NULL) == 1 &&
         (padding == 0 || EVP_PKEY_CTX_set_rsa_padding(pctx, padding) == 1) &&
         EVP_DigestSign(mdctx, c->out, &c->len, text, sizeof(text)) == 1;
    c->right = ok && EVP_DigestVerifyInit_ex(check, &pctx, md, plain, NULL, pub, NULL) == 1 &&
               (padding == 0 || EVP_PKEY_CTX_set_rsa_padding(pctx, padding) == 1) &&
               EVP_DigestVerify(check, c->out, c->len, text, sizeof(text)) == 1;
    EVP_MD_CTX_free(mdctx);
    EVP_MD_CTX_free(check);
    return ok;
}

static bool decrypt(struct cell *c, int padding)
{
    EVP_PKEY_CTX *soft = EVP_PKEY_CTX_new_from_pkey(plain, rsa_pub, NULL);
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(libctx, rsa, NULL);
    unsigned char cipher[256];
    size_t len = sizeof(cipher);
    bool ok;

    ck_assert_int_eq(EVP_PKEY_encrypt_init(soft), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_padding(soft, padding), 1);
    ck_assert_int_eq(EVP_PKEY_encrypt(soft, cipher, &len, text, sizeof(text)), 1);
    c->room = 256;
    c->len = sizeof(c->out);
    ok = EVP_PKEY_decrypt_init(pctx) == 1 && EVP_PKEY_CTX_set_rsa_padding(pctx, padding) == 1 &&
         EVP_PKEY_decrypt(pctx, c->out, &c->len, cipher, len) == 1;
    c->right = ok && c->len == sizeof(text) && memcmp(c->out, text, c->len) == 0;
    EVP_PKEY_CTX_free(soft);
    EVP_PKEY_CTX_free(pctx);
    return ok;
}

static size_t secret_of(OSSL_LIB_CTX *in, EVP_PKEY *own, EVP_PKEY *other, unsigned char *out,
                        size_t room)
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(in, own, NULL);
    bool ok = EVP_PKEY_derive_init(pctx) == 1 && EVP_PKEY_derive_set_peer(pctx, other) == 1 &&
              EVP_PKEY_derive(pctx, out, &room) == 1;

    EVP_PKEY_CTX_free(pctx);
    return ok ? room : 0;
}

static bool op_derive(struct cell *c)
{
    EVP_PKEY *peer = EVP_PKEY_Q_keygen(plain, NULL, "EC", "P-256");
    unsigned char *der = NULL, right[32];
    int der_len = i2d_PUBKEY(peer, &der);
    const unsigned char *p = der;
    EVP_PKEY *peer_pub = d2i_PUBKEY_ex(NULL, &p, der_len, libctx, NULL);

    c->room = 32;
    c->len = secret_of(libctx, ec, peer_pub, c->out, sizeof(c->out));
    ck_assert_uint_eq(secret_of(plain, peer, ec_pub, right, sizeof(right)), sizeof(right));
    c->right = c->len == sizeof(right) && memcmp(c->out, right, sizeof(right)) == 0;
    OPENSSL_free(der);
    EVP_PKEY_free(peer);
    EVP_PKEY_free(peer_pub);
    return c->len != 0;
}

static bool op_random(struct cell *c)
{
    EVP_RAND *rand = EVP_RAND_fetch(libctx, "HSM-RAND", "provider=hsm");
    EVP_RAND_CTX *ctx = EVP_RAND_CTX_new(rand, NULL);
    bool ok;

    c->room = c->len = 48;
    ok = EVP_RAND_instantiate(ctx, 0, 0, NULL, 0, NULL) == 1 &&
         EVP_RAND_generate(ctx, c->out, 48, 0, 0, NULL, 0) == 1;
    c->right = ok;
    EVP_RAND_CTX_free(ctx);
    EVP_RAND_free(rand);
    return ok;
}

static bool op_pkcs1(struct cell *c)
{
    return sign(c, rsa, rsa_pub, "SHA256", RSA_PKCS1_PADDING);
}

static bool op_pss(struct cell *c)
{
    return sign(c, rsa, rsa_pub, "SHA256", RSA_PKCS1_PSS_PADDING);
}

static bool op_ecdsa(struct cell *c)
{
    return sign(c, ec, ec_pub, "SHA256", 0);
}

static bool op_eddsa(struct cell *c)
{
    return sign(c, ed, ed_pub, NULL, 0);
}

static bool op_decrypt(struct cell *c)
{
    return decrypt(c, RSA_PKCS1_PADDING);
}

static bool op_oaep(struct cell *c)
{
    return decrypt(c, RSA_PKCS1_OAEP_PADDING);
}

/* What the token does not list: other ways are gone then. */
enum { ALL, NO_RAW, HASHES, NO_OAEP };
static const struct op {
    const char *name;
    bool (*run)(struct cell *c);
    int lacks;
    bool may_be_zeros; /* the token removes the padding: zeros are as good as anything */
} ops[] = {
    {"PKCS#1", op_pkcs1, ALL, false},
    {"PSS", op_pss, ALL, false},
    {"ECDSA", op_ecdsa, ALL, false},
    {"Ed25519", op_eddsa, ALL, false},
    {"PKCS#1, the token hashes", op_pkcs1, HASHES, false},
    {"ECDSA, the token hashes", op_ecdsa, HASHES, false},
    {"PSS by raw RSA", op_pss, NO_OAEP, false},
    {"decrypt PKCS#1", op_decrypt, ALL, false},
    {"decrypt PKCS#1, by the token", op_decrypt, NO_RAW, true},
    {"decrypt OAEP", op_oaep, ALL, true},
    {"decrypt OAEP by raw RSA", op_oaep, NO_OAEP, false},
    {"derive", op_derive, ALL, false},
    {"random", op_random, ALL, false},
};

static const struct {
    int when;
    unsigned long mechanism;
    bool listed;
} mechanisms[] = {
    {NO_RAW, 0x03, false}, {HASHES, 0x01, false},  {HASHES, 0x1041, false}, {HASHES, 0x03, false},
    {HASHES, 0x40, true},  {HASHES, 0x1044, true}, {NO_OAEP, 0x09, false},  {NO_OAEP, 0x0d, false},
};

/* --- cells ----------------------------------------------------------------------------------- */

static EVP_PKEY *add(enum fake_kind kind, const char *label, EVP_PKEY **pub)
{
    *pub = public_half(fake_add_pair(slot, kind, label));
    return load_key(label);
}

static void set_up(int lacks)
{
    evil_tell(EVIL_TRUTH, EVIL_EVERY);
    token_up();
    for (int i = 0; i < COUNT(mechanisms); i++)
        if (mechanisms[i].when == lacks)
            fake_set_mechanism(slot, mechanisms[i].mechanism, mechanisms[i].listed);
    provider_up("all rsa-tls rand");
    rsa = add(FAKE_RSA, "rsa", &rsa_pub);
    ec = add(FAKE_P256, "ec", &ec_pub);
    ed = add(FAKE_ED25519, "ed", &ed_pub);
}

static void tear_down(void)
{
    EVP_PKEY *const keys[] = {rsa, ec, ed, rsa_pub, ec_pub, ed_pub};

    for (int i = 0; i < COUNT(keys); i++)
        EVP_PKEY_free(keys[i]);
    provider_down();
    ck_assert_uint_eq(fake_sessions(), 0);
    ck_assert_uint_eq(fake_objects(slot, FAKE_ANY), 6);
}

static void judge(const char *where, const struct cell *c, const struct op *op, int row, bool ok)
{
    char said[1024] = "";
    bool heard = evil_told() > 0, untouched = true;

    for (size_t i = c->room; i < sizeof(c->out); i++)
        untouched = untouched && c->out[i] == OURS;
    ck_assert_msg(untouched, "%s: written beyond %zu bytes", where, c->room);
    if (!heard) {
        ck_assert_msg(ok && c->right, "%s: failed, or gave a wrong result", where);
        return;
    }
    if (ok && op->may_be_zeros && lies[row].lie == EVIL_DECRYPT_NOTHING) {
        for (size_t i = 0; i < c->len; i++)
            ck_assert_msg(c->out[i] == 0, "%s: memory of ours", where);
        return;
    }
    ck_assert_msg(!ok, "%s: went well", where);
    (void)our_reason_and_text(said, sizeof(said));
    ck_assert_msg(strstr(said, lies[row].function) != NULL, "%s: %s", where, said);
}

START_TEST(a_lie_is_refused_or_harmless)
{
    const struct op *op = &ops[_i];
    char where[128];

    set_up(op->lacks);
    for (int row = 0; row < COUNT(lies); row++) {
        struct cell c = {.right = false};
        bool ok;

        snprintf(where, sizeof(where), "%s, lie %d (%s)", op->name, (int)lies[row].lie,
                 lies[row].function);
        memset(c.out, OURS, sizeof(c.out));
        evil_tell(lies[row].lie, EVIL_EVERY);
        ok = op->run(&c);
        judge(where, &c, op, row, ok);
        evil_tell(EVIL_TRUTH, EVIL_EVERY);
        ERR_clear_error();
    }
    tear_down();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lies");
    TCase *tc = tcase_create("provider");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, a_lie_is_refused_or_harmless, 0, COUNT(ops));
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
