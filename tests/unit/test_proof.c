/* SPDX-License-Identifier: Apache-2.0
 *
 * test_proof.c - never with another key: each way in which a token shows a key's public half or
 * hides it, each operation, and each moment at which another key may be there. The right key does
 * its work, and what it costs is the proof's share; of another one nothing comes out.
 */
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <p11-kit/pkcs11.h>
#include <sys/wait.h>
#include <unistd.h>

#include "with_provider.h"

#define PUBLIC_KEY_INFO 0x129UL
#define BLOCK           256U
#define LABEL           "k"

/* --- what the token shows -------------------------------------------------------------------- */

static const struct shape {
    const char *name;
    enum fake_kind kind;
    unsigned flags;
    bool hide_modulus, hide_spki;
    bool shown; /* by the private object itself */
} shapes[] = {
    {"RSA, modulus", FAKE_RSA, 0, false, false, true},
    {"RSA, CKA_PUBLIC_KEY_INFO alone", FAKE_RSA, FAKE_NO_PUBLIC, true, false, true},
    {"RSA, nothing", FAKE_RSA, FAKE_NO_PUBLIC, true, true, false},
    {"RSA, a public object", FAKE_RSA, 0, true, true, false},
    {"EC, point", FAKE_P256, FAKE_NO_PUBLIC | FAKE_POINT_IN_PRIVATE, false, true, true},
    {"EC, CKA_PUBLIC_KEY_INFO", FAKE_P256, FAKE_NO_PUBLIC, false, false, true},
    {"EC, nothing", FAKE_P256, FAKE_NO_PUBLIC, false, true, false},
    {"EC, a public object", FAKE_P256, 0, false, true, false},
    {"Ed25519, point", FAKE_ED25519, FAKE_NO_PUBLIC | FAKE_POINT_IN_PRIVATE, false, true, true},
    {"Ed25519, nothing", FAKE_ED25519, FAKE_NO_PUBLIC, false, true, false},
    {"Ed25519, a public object", FAKE_ED25519, 0, false, true, false},
};

/* --- what is done with it -------------------------------------------------------------------- */

static EVP_PKEY *key, *pub; /* ours, and the expected public half in software */

enum outcome { FAILED, RIGHT, WRONG };

static const unsigned char text[32] = "a message or a digest of others";

static enum outcome judged(bool good)
{
    return good ? RIGHT : WRONG;
}

static void set_signature(EVP_PKEY_CTX *pctx, int padding)
{
    if (padding == 0)
        return;
    ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_padding(pctx, padding), 1);
    if (padding == RSA_PKCS1_PSS_PADDING)
        ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, 20), 1);
}

/* A message, with SHA-256 unless `md` is NULL. */
static enum outcome sign(const char *md, int padding)
{
    unsigned char sig[SIG_MAX] = {0};
    EVP_MD_CTX *ctx = EVP_MD_CTX_new(), *judge = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx = NULL, *jctx = NULL;
    size_t len = sizeof(sig);
    enum outcome outcome = FAILED;

    ck_assert_int_eq(EVP_DigestSignInit_ex(ctx, &pctx, md, libctx, NULL, key, NULL), 1);
    ck_assert_int_eq(EVP_DigestVerifyInit_ex(judge, &jctx, md, plain, NULL, pub, NULL), 1);
    set_signature(pctx, padding);
    set_signature(jctx, padding);
    if (EVP_DigestSign(ctx, sig, &len, text, sizeof(text)) == 1)
        outcome = judged(EVP_DigestVerify(judge, sig, len, text, sizeof(text)) == 1);
    EVP_MD_CTX_free(ctx);
    EVP_MD_CTX_free(judge);
    return outcome;
}

static enum outcome sign_pkcs1(void)
{
    return sign("SHA256", RSA_PKCS1_PADDING);
}

static enum outcome sign_pss(void)
{
    return sign("SHA256", RSA_PKCS1_PSS_PADDING);
}

static enum outcome sign_ecdsa(void)
{
    return sign("SHA256", 0);
}

static enum outcome sign_eddsa(void)
{
    return sign(NULL, 0);
}

/* x^e mod n, by the judge. */
static void public_operation(const unsigned char *in, unsigned char *out)
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(plain, pub, NULL);
    size_t len = BLOCK;

    ck_assert_int_eq(EVP_PKEY_encrypt_init(pctx), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_NO_PADDING), 1);
    ck_assert_int_eq(EVP_PKEY_encrypt(pctx, out, &len, in, BLOCK), 1);
    EVP_PKEY_CTX_free(pctx);
}

static const unsigned char small_block[BLOCK] = {[BLOCK - 1] = 1};

/* What is not the digest of something, as TLS 1.1 has it. */
static enum outcome sign_unhashed(const unsigned char *in, size_t in_len, int padding)
{
    unsigned char sig[BLOCK] = {0}, em[BLOCK];
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(libctx, key, NULL);
    size_t len = sizeof(sig);
    enum outcome outcome = FAILED;

    ck_assert_int_eq(EVP_PKEY_sign_init(pctx), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_padding(pctx, padding), 1);
    if (EVP_PKEY_sign(pctx, sig, &len, in, in_len) == 1) {
        public_operation(sig, em);
        outcome = judged(memcmp(em + BLOCK - in_len, in, in_len) == 0);
    }
    EVP_PKEY_CTX_free(pctx);
    return outcome;
}

static enum outcome sign_info(void)
{
    return sign_unhashed(text, sizeof(text), RSA_PKCS1_PADDING);
}

/* 1 has the same raw signature by every key: no proof of anything. */
static enum outcome sign_block(void)
{
    unsigned char block[BLOCK] = {0};

    memcpy(block + BLOCK - sizeof(text), text, sizeof(text));
    if (sign_unhashed(small_block, BLOCK, RSA_NO_PADDING) == WRONG)
        return WRONG;
    return sign_unhashed(block, BLOCK, RSA_NO_PADDING);
}

static EVP_PKEY_CTX *decryption(OSSL_LIB_CTX *in, EVP_PKEY *with, bool encrypt, int padding)
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(in, with, NULL);

    ck_assert_int_eq(encrypt ? EVP_PKEY_encrypt_init(pctx) : EVP_PKEY_decrypt_init(pctx), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_padding(pctx, padding), 1);
    return pctx;
}

static enum outcome decrypt(int padding)
{
    unsigned char cipher[BLOCK], out[BLOCK] = {0};
    EVP_PKEY_CTX *soft = decryption(plain, pub, true, padding);
    EVP_PKEY_CTX *ours = decryption(libctx, key, false, padding);
    size_t len = sizeof(cipher);
    enum outcome outcome = FAILED;

    ck_assert_int_eq(EVP_PKEY_encrypt(soft, cipher, &len, text, sizeof(text)), 1);
    len = sizeof(out);
    if (EVP_PKEY_decrypt(ours, out, &len, cipher, sizeof(cipher)) == 1)
        outcome = judged(len == sizeof(text) && memcmp(out, text, len) == 0);
    EVP_PKEY_CTX_free(soft);
    EVP_PKEY_CTX_free(ours);
    return outcome;
}

static enum outcome decrypt_pkcs1(void)
{
    return decrypt(RSA_PKCS1_PADDING);
}

static enum outcome decrypt_oaep(void)
{
    return decrypt(RSA_PKCS1_OAEP_PADDING);
}

static enum outcome decrypt_block(const unsigned char *cipher)
{
    unsigned char out[BLOCK] = {0}, back[BLOCK];
    EVP_PKEY_CTX *ours = decryption(libctx, key, false, RSA_NO_PADDING);
    size_t len = sizeof(out);
    enum outcome outcome = FAILED;

    if (EVP_PKEY_decrypt(ours, out, &len, cipher, BLOCK) == 1) {
        public_operation(out, back);
        outcome = judged(memcmp(back, cipher, BLOCK) == 0);
    }
    EVP_PKEY_CTX_free(ours);
    return outcome;
}

/* The ciphertext 1 is a stranger's choice, and every key answers 1. */
static enum outcome decrypt_raw(void)
{
    unsigned char block[BLOCK] = {0};

    memcpy(block + BLOCK - sizeof(text), text, sizeof(text));
    if (decrypt_block(small_block) == WRONG)
        return WRONG;
    return decrypt_block(block);
}

static bool derive_in(OSSL_LIB_CTX *in, EVP_PKEY *own, EVP_PKEY *peer, unsigned char *out)
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(in, own, NULL);
    size_t len = 32;
    bool ok = EVP_PKEY_derive_init(pctx) == 1 && EVP_PKEY_derive_set_peer(pctx, peer) == 1 &&
              EVP_PKEY_derive(pctx, out, &len) == 1 && len == 32;

    EVP_PKEY_CTX_free(pctx);
    return ok;
}

static enum outcome derive(void)
{
    unsigned char ours[32] = {0}, theirs[32];
    EVP_PKEY *peer = EVP_PKEY_Q_keygen(plain, NULL, "EC", "P-256"), *peer_pub;
    unsigned char *der = NULL;
    const unsigned char *p;
    int len = i2d_PUBKEY(peer, &der);
    enum outcome outcome = FAILED;

    p = der;
    peer_pub = d2i_PUBKEY_ex(NULL, &p, len, libctx, NULL);
    OPENSSL_free(der);
    ck_assert(derive_in(plain, peer, pub, theirs));
    if (derive_in(libctx, key, peer_pub, ours))
        outcome = judged(memcmp(ours, theirs, sizeof(ours)) == 0);
    EVP_PKEY_free(peer);
    EVP_PKEY_free(peer_pub);
    return outcome;
}

static const struct action {
    const char *name;
    enum fake_kind kind;
    enum outcome (*run)(void);
    unsigned calls;  /* what it costs, when nothing has to be found out any more */
    bool challenged; /* proved by one more operation, not by its own result */
    unsigned flags;  /* of the key */
    CK_MECHANISM_TYPE lacks[3], has;
} actions[] = {
    {"PKCS#1", FAKE_RSA, sign_pkcs1, 2, false, FAKE_NO_DECRYPT, {0}, 0},
    {"PKCS#1 of anything", FAKE_RSA, sign_info, 2, false, 0, {0}, 0},
    {"PSS", FAKE_RSA, sign_pss, 2, false, 0, {0}, 0},
    {"PSS padded here", FAKE_RSA, sign_pss, 2, true, 0, {CKM_RSA_PKCS_PSS}, 0},
    {"PKCS#1 hashed there",
     FAKE_RSA,
     sign_pkcs1,
     2,
     false,
     0,
     {CKM_RSA_PKCS, CKM_RSA_X_509},
     CKM_SHA256_RSA_PKCS},
    {"PSS hashed there",
     FAKE_RSA,
     sign_pss,
     2,
     false,
     0,
     {CKM_RSA_PKCS_PSS, CKM_RSA_X_509},
     CKM_SHA256_RSA_PKCS_PSS},
    {"raw signature", FAKE_RSA, sign_block, 4, true, 0, {0}, 0},
    {"PKCS#1 decryption", FAKE_RSA, decrypt_pkcs1, 2, true, FAKE_NO_SIGN, {0}, 0},
    {"PKCS#1 decryption there", FAKE_RSA, decrypt_pkcs1, 2, true, 0, {CKM_RSA_X_509}, 0},
    {"OAEP decryption", FAKE_RSA, decrypt_oaep, 2, true, 0, {0}, 0},
    {"OAEP decoded here", FAKE_RSA, decrypt_oaep, 2, true, 0, {CKM_RSA_PKCS_OAEP}, 0},
    {"raw decryption", FAKE_RSA, decrypt_raw, 4, true, 0, {0}, 0},
    {"ECDSA", FAKE_P256, sign_ecdsa, 2, false, FAKE_NO_DERIVE, {0}, 0},
    {"ECDSA hashed there", FAKE_P256, sign_ecdsa, 2, false, 0, {CKM_ECDSA}, CKM_ECDSA_SHA256},
    {"ECDH", FAKE_P256, derive, 3, true, FAKE_NO_SIGN, {0}, 0},
    {"EdDSA", FAKE_ED25519, sign_eddsa, 2, false, 0, {0}, 0},
};

/* --- the token, and the key by a reference --------------------------------------------------- */

static const struct shape *shape;
static const struct action *action;
static char reference[4096];

static void set_mechanisms(unsigned long where)
{
    for (int i = 0; i < 3 && action->lacks[i] != 0; i++)
        fake_set_mechanism(where, action->lacks[i], false);
    if (action->has != 0)
        fake_set_mechanism(where, action->has, true);
}

static void remove_key(unsigned long where)
{
    unsigned long handle;

    while ((handle = fake_find(where, CKO_PRIVATE_KEY, LABEL)) != 0 ||
           (handle = fake_find(where, CKO_PUBLIC_KEY, LABEL)) != 0)
        fake_remove_object(handle);
}

/* The expected key is the first one. The public object, if there is one, is always its own. */
static void put_key(unsigned long where, bool right)
{
    struct fake_key k = {.kind = shape->kind,
                         .label = LABEL,
                         .id = LABEL,
                         .flags = shape->flags | FAKE_NO_PUBLIC,
                         .material = right ? 1 : 2};

    if (action != NULL)
        k.flags |= action->flags;
    remove_key(where);
    fake_add_key(where, &k);
    if ((shape->flags & FAKE_NO_PUBLIC) != 0)
        return;
    k.flags = FAKE_NO_PRIVATE;
    k.material = 1;
    fake_add_key(where, &k);
}

static void write_reference(void)
{
    BIO *bio = BIO_new(BIO_s_mem());
    EVP_PKEY *shown;
    int len;

    fake_add_key(
        slot, &(struct fake_key){.kind = shape->kind, .label = LABEL, .id = LABEL, .material = 1});
    pub = public_half(fake_find(slot, CKO_PRIVATE_KEY, LABEL));
    shown = load_key(LABEL);
    ck_assert_int_eq(PEM_write_bio_PrivateKey(bio, shown, NULL, NULL, 0, NULL, NULL), 1);
    len = BIO_read(bio, reference, sizeof(reference) - 1);
    ck_assert_int_gt(len, 0);
    reference[len] = '\0';
    BIO_free(bio);
    EVP_PKEY_free(shown);
    remove_key(slot);
    ERR_clear_error();
}

static bool load(void)
{
    BIO *bio = BIO_new_mem_buf(reference, -1);

    EVP_PKEY_free(key);
    key = PEM_read_bio_PrivateKey_ex(bio, NULL, NULL, NULL, libctx, NULL);
    BIO_free(bio);
    return key != NULL;
}

static void hide(void)
{
    if (shape->hide_modulus)
        fake_hide_attribute(CKO_PRIVATE_KEY, CKA_MODULUS);
    if (shape->hide_spki)
        fake_hide_attribute(CKO_PRIVATE_KEY, PUBLIC_KEY_INFO);
}

static void set_up(void)
{
    token_up();
    key = pub = NULL;
    shape = NULL;
    action = NULL;
}

static void tear_down(void)
{
    EVP_PKEY_free(key);
    EVP_PKEY_free(pub);
    provider_down();
}

/* --- when another key may be there ----------------------------------------------------------- */

/* Each leaves `key` loaded, or not at all, and the token with the right key or another one. */
static bool at_the_load(bool right)
{
    put_key(slot, right);
    return load();
}

/* What is shown cannot be read just then: that is no proof. */
static bool when_it_cannot_be_read(bool right)
{
    bool done;

    put_key(slot, right);
    /* all at once, and then, one by one, those behind the ten that every private key has */
    fake_inject("C_GetAttributeValue", 1, 1, CKR_GENERAL_ERROR, false);
    fake_inject("C_GetAttributeValue", 12, 3, CKR_GENERAL_ERROR, false);
    done = load();
    fake_heal(NULL);
    return done;
}

static void load_and_use(void)
{
    put_key(slot, true);
    ck_assert_msg(load(), "%s", shape->name);
    ck_assert_int_eq(action->run(), RIGHT);
}

static bool after_lost_sessions(bool right)
{
    load_and_use();
    put_key(slot, right);
    fake_lose_sessions(false);
    return true;
}

static bool after_a_reconnect(bool right)
{
    load_and_use();
    put_key(slot, right);
    fake_lose_connection();
    return true;
}

/* Nothing is lost: the object was replaced, and its handle is stale. */
static bool within_the_epoch(bool right)
{
    load_and_use();
    put_key(slot, right);
    return true;
}

static const struct moment {
    const char *name;
    bool (*prepare)(bool right);
    bool hidden; /* whatever the token shows, it does not show it now */
} moments[] = {
    {"at the load", at_the_load, false},
    {"when it cannot be read", when_it_cannot_be_read, true},
    {"after lost sessions", after_lost_sessions, false},
    {"after a reconnect", after_a_reconnect, false},
    {"within the epoch", within_the_epoch, false},
};

static void another_key(const struct moment *m)
{
    if (!m->prepare(false)) {
        ck_assert_int_eq(our_reason(), PROV_R_TOKEN + KS_KEY_MISMATCH);
        return;
    }
    for (int i = 0; i < 3; i++) {
        enum outcome outcome = action->run();

        ck_assert_msg(outcome == FAILED, "%s, %s, %s, time %d: %s", shape->name, action->name,
                      m->name, i, outcome == RIGHT ? "works with another key" : "ANOTHER KEY'S");
        ck_assert_int_eq(our_reason(), PROV_R_TOKEN + KS_KEY_MISMATCH);
    }
}

static unsigned long operations(void)
{
    return fake_calls("C_Sign") + fake_calls("C_Decrypt") + fake_calls("C_DeriveKey");
}

/* Returns how many operations the first one took. */
static unsigned long right_key(const struct moment *m)
{
    unsigned long first;

    ck_assert_msg(m->prepare(true), "%s, %s, %s: not loaded", shape->name, action->name, m->name);
    fake_clear_counts();
    ck_assert_msg(action->run() == RIGHT, "%s, %s, %s", shape->name, action->name, m->name);
    first = operations();
    fake_clear_counts();
    ck_assert_int_eq(action->run(), RIGHT);
    ck_assert_msg(fake_calls(NULL) == action->calls, "%s, %s, %s: %lu calls: %s", shape->name,
                  action->name, m->name, fake_calls(NULL), fake_log());
    ck_assert_uint_eq(fake_objects(slot, CKO_SECRET_KEY), 0);
    ERR_clear_error();
    return first;
}

/* Pairs of a shape and an action that go together, from main(). */
static int rows[sizeof(shapes) / sizeof(shapes[0]) * sizeof(actions) / sizeof(actions[0])];
static int row_count;

static void list_rows(void)
{
    for (int i = 0; i < COUNT(rows); i++)
        if (shapes[i / COUNT(actions)].kind == actions[i % COUNT(actions)].kind)
            rows[row_count++] = i;
}

static void choose(int row)
{
    shape = &shapes[rows[row] / COUNT(actions)];
    action = &actions[rows[row] % COUNT(actions)];
}

START_TEST(never_with_another_key)
{
    choose(_i);
    prov_config_override("recover-interval-ms", "10");
    provider_up(NULL);
    set_mechanisms(slot); /* before the list is read */
    write_reference();
    hide();
    for (int m = 0; m < COUNT(moments); m++) {
        right_key(&moments[m]);
        another_key(&moments[m]);
    }
}
END_TEST

/* The one thing that a proof costs: an operation more, and only where nothing is shown. */
START_TEST(what_is_shown_costs_nothing)
{
    unsigned long first, proved;

    choose(_i);
    provider_up(NULL);
    set_mechanisms(slot); /* before the list is read */
    write_reference();
    hide();
    first = right_key(&moments[0]);
    proved = right_key(&moments[1]);
    ck_assert_msg(proved - first == (shape->shown && action->challenged), "%s, %s: %lu and %lu",
                  shape->name, action->name, first, proved);
}
END_TEST

/* A child of a server that has used the key: it finds it anew. */
START_TEST(nor_in_a_child)
{
    choose(_i);
    provider_up(NULL);
    set_mechanisms(slot); /* before the list is read */
    write_reference();
    hide();
    for (int right = 0; right < 2; right++) {
        enum outcome wanted = right != 0 ? RIGHT : FAILED, again;
        int status = 0;
        pid_t pid;

        load_and_use();
        put_key(slot, right != 0);
        pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
            alarm(60);
            again = action->run();
            _exit(again == wanted && action->run() == wanted ? 0 : 1);
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s, %s, %s: 0x%x",
                      shape->name, action->name, right != 0 ? "right" : "other", (unsigned)status);
    }
}
END_TEST

/* --- clusters -------------------------------------------------------------------------------- */

static unsigned long east, west;

static void cluster_up(void)
{
    prov_config_override("clusters", "web");
    prov_config_override("web.members", "east west");
    prov_config_override("east.token", "pkcs11:token=east");
    prov_config_override("east.pin", "env:HSM_TEST_PIN");
    prov_config_override("west.token", "pkcs11:token=west");
    prov_config_override("west.pin", "env:HSM_TEST_PIN");
    prov_config_override("recover-interval-ms", "10");
    east = fake_add_token(&(struct fake_token){.label = "east"});
    west = fake_add_token(&(struct fake_token){.label = "west"});
    set_mechanisms(east);
    set_mechanisms(west);
    setenv("HSM_TEST_PIN", "1234", 1);
    prov_config_override("token", NULL);
    prov_config_override("pin", NULL);
    prov_config_override("offload", "all rsa-tls");
    libctx = OSSL_LIB_CTX_new();
    ck_assert_int_eq(OSSL_PROVIDER_add_builtin(libctx, "hsm", OSSL_provider_init), 1);
    loaded[0] = OSSL_PROVIDER_load(libctx, "default");
    loaded[1] = OSSL_PROVIDER_load(libctx, "hsm");
    ck_assert(loaded[0] != NULL && loaded[1] != NULL);
}

START_TEST(nor_on_another_member)
{
    choose(_i);
    provider_up(NULL);
    write_reference();
    OSSL_PROVIDER_unload(loaded[0]);
    OSSL_PROVIDER_unload(loaded[1]);
    OSSL_LIB_CTX_free(libctx);
    cluster_up();
    hide();
    for (int right = 0; right < 2; right++) {
        fake_set_present(east, true);
        fake_lose_sessions(false);
        put_key(east, true);
        put_key(west, right != 0);
        if (!load())
            ERR_print_errors_fp(stderr);
        ck_assert_ptr_nonnull(key);
        /* while the right one is there everything is done there, whoever is asked first */
        for (int i = 0; i < 4; i++)
            ck_assert_msg(action->run() == RIGHT, "%s, %s: %s", shape->name, action->name,
                          right != 0 ? "both right" : "the other is passed by");
        fake_set_present(east, false);
        for (int i = 0; i < 2; i++)
            ck_assert_msg(action->run() == (right != 0 ? RIGHT : FAILED), "%s, %s: alone",
                          shape->name, action->name);
    }
    ERR_clear_error();
}
END_TEST

/* --- EVP_PKEY_check() ------------------------------------------------------------------------ */

static bool checks(int (*check)(EVP_PKEY_CTX *pctx))
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(libctx, key, NULL);
    int ret = check(pctx);

    EVP_PKEY_CTX_free(pctx);
    ERR_clear_error();
    return ret == 1;
}

static const struct action uses[] = {
    {.name = "all", .flags = 0},
    {.name = "no signatures", .flags = FAKE_NO_SIGN},
    {.name = "signatures alone", .flags = FAKE_NO_DECRYPT | FAKE_NO_DERIVE},
    {.name = "nothing", .flags = FAKE_NO_SIGN | FAKE_NO_DECRYPT | FAKE_NO_DERIVE},
};

START_TEST(a_check_is_about_the_key_that_is_there_now)
{
    static int (*const all[])(EVP_PKEY_CTX *) = {EVP_PKEY_private_check, EVP_PKEY_pairwise_check,
                                                 EVP_PKEY_check};
    bool usable;

    shape = &shapes[_i / COUNT(uses)];
    action = &uses[_i % COUNT(uses)];
    usable = shape->shown || (action->flags & FAKE_NO_SIGN) == 0 ||
             (shape->kind != FAKE_ED25519 && (action->flags & FAKE_NO_DERIVE) == 0);
    provider_up(NULL);
    write_reference();
    hide();
    put_key(slot, true);
    ck_assert(load());
    for (int i = 0; i < 3; i++)
        ck_assert_msg(checks(all[i]) == usable, "%s, %s", shape->name, action->name);
    put_key(slot, false);
    for (int i = 0; i < 3; i++)
        ck_assert_msg(!checks(all[i]), "%s, %s: another key passes", shape->name, action->name);
    remove_key(slot);
    for (int i = 0; i < 3; i++)
        ck_assert(!checks(all[i]));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proof");
    TCase *tc = tcase_create("proof");

    list_rows();
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, never_with_another_key, 0, row_count);
    tcase_add_loop_test(tc, what_is_shown_costs_nothing, 0, row_count);
    tcase_add_loop_test(tc, nor_in_a_child, 0, row_count);
    tcase_add_loop_test(tc, nor_on_another_member, 0, row_count);
    tcase_add_loop_test(tc, a_check_is_about_the_key_that_is_there_now, 0,
                        COUNT(shapes) * COUNT(uses));
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
