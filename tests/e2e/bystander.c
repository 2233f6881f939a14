/* SPDX-License-Identifier: Apache-2.0
 *
 * bystander.c - what somebody notices of the provider who does not use its keys: nothing.
 *
 *   bystander [-1] [-n] [-l] KEY.pem...
 *
 *   -1  no second library context
 *   -n  nothing is asked before the first signature
 *   -l  the program loads the providers legacy and default itself, before all else
 *
 * Asks libcrypto, without a property query, for everything that it knows: who answers, which
 * groups and signature algorithms a TLS context takes, whose keys are generated and loaded,
 * whether a handshake comes about. The answers have to be those of a library context that has the
 * default provider alone: before and after each operation with the keys (references), after
 * another provider was loaded and unloaded, while other queries make libcrypto empty its cache of
 * fetches, and in a second library context. Prints what differs; status 0 if nothing does. From
 * several threads at once, amid all this, one answer of some hundred may be ours (SECURITY.md);
 * when they have ended, none.
 *
 * BYSTANDER_FETCHES: how many distinct property queries are made (20000).
 */
#include "bystander.h"

#include <openssl/conf.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/store.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEYS_MAX 8
#define THREADS  8
/* The share of answers that may be ours while a thread empties libcrypto's cache again and
 * again. */
#define RACES_ONE_IN 500

static struct {
    EVP_PKEY *key;
    char *uri;
} keys[KEYS_MAX];
static int key_count;
static atomic_int wrong;        /* how many answers differed */
static atomic_int asked, raced; /* with threads: how many there were, and differed */

static void complain(const char *when, const char *what)
{
    if (atomic_fetch_add(&wrong, 1) < 20)
        printf("%s: %s\n", when, what);
}

static void look_whole(OSSL_LIB_CTX *libctx, const char *when)
{
    char why[512];

    if (!bystander_answers(libctx, why, sizeof(why)) || !bystander_keys(libctx, why, sizeof(why)) ||
        !bystander_tls(libctx, why, sizeof(why)) || !bystander_answers(libctx, why, sizeof(why)))
        complain(when, why);
}

/* With threads an answer may be ours now and then, as SECURITY.md says: count how often. */
static void race(bool ok)
{
    atomic_fetch_add(&asked, 1);
    if (!ok)
        atomic_fetch_add(&raced, 1);
}

static void look_quickly(OSSL_LIB_CTX *libctx, const char *when)
{
    char why[512];

    if (!bystander_key_types(libctx, why, sizeof(why)))
        complain(when, why);
}

/* --- operations with the keys in the HSM ----------------------------------------------------- */

static int op_digest_sign(EVP_PKEY *key, OSSL_LIB_CTX *libctx)
{
    const char *md = EVP_PKEY_is_a(key, "ED25519") || EVP_PKEY_is_a(key, "ED448") ? NULL : "SHA256";
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    unsigned char sig[1024];
    size_t len = sizeof(sig);
    int ok = EVP_DigestSignInit_ex(ctx, NULL, md, libctx, NULL, key, NULL) == 1 &&
             EVP_DigestSign(ctx, sig, &len, (const unsigned char *)"text", 4) == 1;

    EVP_MD_CTX_free(ctx);
    return ok;
}

static int op_pkey_sign(EVP_PKEY *key, OSSL_LIB_CTX *libctx)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(libctx, key, NULL);
    unsigned char sig[1024], digest[32] = {1};
    size_t len = sizeof(sig);
    int ok =
        EVP_PKEY_sign_init(ctx) == 1 && EVP_PKEY_sign(ctx, sig, &len, digest, sizeof(digest)) == 1;

    EVP_PKEY_CTX_free(ctx);
    return ok;
}

static int op_decrypt(EVP_PKEY *key, OSSL_LIB_CTX *libctx)
{
    EVP_PKEY_CTX *enc = EVP_PKEY_CTX_new_from_pkey(libctx, key, NULL);
    EVP_PKEY_CTX *dec = EVP_PKEY_CTX_new_from_pkey(libctx, key, NULL);
    unsigned char cipher[1024], plain[1024];
    size_t len = sizeof(cipher), plain_len = sizeof(plain);
    int ok = EVP_PKEY_encrypt_init(enc) == 1 && EVP_PKEY_CTX_set_rsa_padding(enc, 4) == 1 &&
             EVP_PKEY_encrypt(enc, cipher, &len, (const unsigned char *)"text", 4) == 1 &&
             EVP_PKEY_decrypt_init(dec) == 1 && EVP_PKEY_CTX_set_rsa_padding(dec, 4) == 1 &&
             EVP_PKEY_decrypt(dec, plain, &plain_len, cipher, len) == 1 && plain_len == 4;

    EVP_PKEY_CTX_free(enc);
    EVP_PKEY_CTX_free(dec);
    return ok;
}

static int op_derive(EVP_PKEY *key, OSSL_LIB_CTX *libctx)
{
    EVP_PKEY *peer = bystander_peer();
    EVP_PKEY *half = peer != NULL ? bystander_public_half(libctx, peer) : NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(libctx, key, NULL);
    unsigned char secret[64];
    size_t len = sizeof(secret);
    int ok = half != NULL && EVP_PKEY_derive_init(ctx) == 1 &&
             EVP_PKEY_derive_set_peer(ctx, half) == 1 && EVP_PKEY_derive(ctx, secret, &len) == 1;

    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(half);
    EVP_PKEY_free(peer);
    return ok;
}

static int op_request(EVP_PKEY *key, OSSL_LIB_CTX *libctx)
{
    const EVP_MD *md =
        EVP_PKEY_is_a(key, "ED25519") || EVP_PKEY_is_a(key, "ED448") ? NULL : EVP_sha256();
    X509_REQ *req = X509_REQ_new_ex(libctx, NULL);
    int ok = X509_REQ_set_version(req, X509_REQ_VERSION_1) == 1 &&
             X509_REQ_set_pubkey(req, key) == 1 && X509_REQ_sign(req, key, md) > 0 &&
             X509_REQ_verify(req, key) == 1;

    X509_REQ_free(req);
    return ok;
}

/* Ask a key for everything that a program may ask it for. Other tests look at the answers. */
static int op_look(EVP_PKEY *key, OSSL_LIB_CTX *libctx)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(libctx, key, NULL);
    EVP_PKEY *half = bystander_public_half(libctx, key);
    EVP_PKEY *copy = EVP_PKEY_dup(key);
    BIO *bio = BIO_new(BIO_s_null());
    int ok = ctx != NULL && half != NULL && EVP_PKEY_eq(key, half) == 1 &&
             EVP_PKEY_public_check(ctx) == 1 && EVP_PKEY_print_private(bio, key, 0, NULL) >= 0;

    (void)EVP_PKEY_check(ctx);
    (void)EVP_PKEY_get0_RSA(key);
    (void)EVP_PKEY_get0_EC_KEY(key);
    (void)PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
    BIO_free(bio);
    EVP_PKEY_free(copy);
    EVP_PKEY_free(half);
    EVP_PKEY_CTX_free(ctx);
    return ok;
}

/* Ask for a generation. It is refused, as it has no label, but we were asked. */
static int op_generate(EVP_PKEY *key, OSSL_LIB_CTX *libctx)
{
    EVP_PKEY_CTX *ctx =
        EVP_PKEY_CTX_new_from_name(libctx, EVP_PKEY_get0_type_name(key), "provider=hsm");
    EVP_PKEY *made = NULL;

    if (EVP_PKEY_keygen_init(ctx) == 1)
        (void)EVP_PKEY_generate(ctx, &made);
    EVP_PKEY_free(made);
    EVP_PKEY_CTX_free(ctx);
    return made == NULL;
}

static int op_load(EVP_PKEY *key, OSSL_LIB_CTX *libctx)
{
    BIO *bio = BIO_new(BIO_s_mem());
    EVP_PKEY *again = NULL;

    if (PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1)
        again = PEM_read_bio_PrivateKey_ex(bio, NULL, NULL, NULL, libctx, NULL);
    BIO_free(bio);
    EVP_PKEY_free(again);
    return again != NULL;
}

static int op_store(EVP_PKEY *key, OSSL_LIB_CTX *libctx)
{
    char uri[1024] = "";
    size_t len;
    OSSL_STORE_CTX *store;
    OSSL_STORE_INFO *info;
    EVP_PKEY *again = NULL;

    if (EVP_PKEY_get_utf8_string_param(key, "hsm-uri", uri, sizeof(uri), &len) != 1)
        return 0;
    store = OSSL_STORE_open_ex(uri, libctx, NULL, NULL, NULL, NULL, NULL, NULL);
    while (store != NULL && again == NULL && !OSSL_STORE_eof(store)) {
        info = OSSL_STORE_load(store);
        if (info != NULL && OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY)
            again = OSSL_STORE_INFO_get1_PKEY(info);
        OSSL_STORE_INFO_free(info);
    }
    OSSL_STORE_close(store);
    len = again != NULL && op_digest_sign(again, libctx) == 1;
    EVP_PKEY_free(again);
    return (int)len;
}

static const struct operation {
    const char *name;
    const char *type; /* NULL: for all */
    int (*run)(EVP_PKEY *key, OSSL_LIB_CTX *libctx);
} operations[] = {
    {"EVP_DigestSign", NULL, op_digest_sign},   {"EVP_PKEY_sign", "RSA", op_pkey_sign},
    {"EVP_PKEY_sign", "EC", op_pkey_sign},      {"EVP_PKEY_decrypt", "RSA", op_decrypt},
    {"EVP_PKEY_derive", "EC", op_derive},       {"X509_REQ_sign", NULL, op_request},
    {"a look at the key", NULL, op_look},       {"a generation", NULL, op_generate},
    {"PEM_read_bio_PrivateKey", NULL, op_load}, {"OSSL_STORE", NULL, op_store},
};
#define OPERATIONS (sizeof(operations) / sizeof(operations[0]))

/* Carry out one operation. The test fails if the key does not do it. */
static void run(size_t i, EVP_PKEY *key, OSSL_LIB_CTX *libctx)
{
    const struct operation *op = &operations[i];
    char why[128];

    if (op->type != NULL && !EVP_PKEY_is_a(key, op->type))
        return;
    ERR_clear_error();
    if (!op->run(key, libctx)) {
        snprintf(why, sizeof(why), "%s fails with the %s key", op->name,
                 EVP_PKEY_get0_type_name(key));
        complain("operation", why);
        ERR_print_errors_fp(stdout);
    }
    ERR_clear_error();
}

static void all_operations(OSSL_LIB_CTX *libctx, const char *when, bool whole)
{
    char text[160];

    for (size_t i = 0; i < OPERATIONS; i++) {
        for (int k = 0; k < key_count; k++) {
            run(i, keys[k].key, libctx);
            snprintf(text, sizeof(text), "%s, after %s with %s", when, operations[i].name,
                     EVP_PKEY_get0_type_name(keys[k].key));
            look_quickly(libctx, text);
        }
        if (whole)
            look_whole(libctx, text);
    }
}

/* --- what else happens in a process ---------------------------------------------------------- */

/* Make one fetch that is not in libcrypto's cache. The cache has room for some hundred, and when
 * it is full libcrypto throws some out at random. */
static void distinct_fetch(OSSL_LIB_CTX *libctx, unsigned long number)
{
    static const char *const types[] = {"EC", "RSA", "ED25519", "X25519"};
    char query[64];

    snprintf(query, sizeof(query), "?bystander.number=%lu", number);
    if (number % 3 == 0)
        EVP_KEYMGMT_free(EVP_KEYMGMT_fetch(libctx, types[number / 3 % 4], query));
    else
        EVP_MD_free(EVP_MD_fetch(libctx, "SHA256", query));
    ERR_clear_error();
}

static unsigned long fetches(void)
{
    const char *text = getenv("BYSTANDER_FETCHES");

    return text != NULL ? strtoul(text, NULL, 10) : 20000;
}

static void many_fetches(OSSL_LIB_CTX *libctx)
{
    unsigned long count = fetches();

    for (unsigned long i = 0; i < count; i++) {
        distinct_fetch(libctx, i);
        look_quickly(libctx, "amid distinct fetches");
        if (i % 16 == 0)
            run(0, keys[i / 16 % (unsigned)key_count].key, libctx);
        if (i % 16 == 0)
            look_quickly(libctx, "amid distinct fetches, after a signature");
    }
    look_whole(libctx, "after distinct fetches");
}

static void other_providers(void)
{
    OSSL_PROVIDER *legacy;

    for (int round = 0; round < 3; round++) {
        legacy = OSSL_PROVIDER_load(NULL, "legacy");
        if (legacy == NULL)
            complain("legacy", "cannot be loaded");
        run(0, keys[round % key_count].key, NULL);
        look_whole(NULL, "legacy was loaded, and a signature made");
        if (legacy != NULL)
            OSSL_PROVIDER_unload(legacy);
        look_whole(NULL, "legacy was unloaded");
        all_operations(NULL, "legacy was unloaded", false);
    }
}

static pthread_barrier_t barrier;

static void *thread(void *arg)
{
    unsigned long number = (unsigned long)(size_t)arg, each = fetches() / THREADS / 4;
    char why[512];

    pthread_barrier_wait(&barrier);
    for (unsigned long i = 0; i < each; i++) {
        distinct_fetch(NULL, 1000000 * (number + 1) + i);
        if (i % 8 == number % 8)
            run((i / 8) % OPERATIONS, keys[i % (unsigned)key_count].key, NULL);
        race(bystander_key_types(NULL, why, sizeof(why)));
        if (i % 64 == 0)
            race(bystander_handshake(NULL, "P-256", why, sizeof(why)));
        if (number == 0 && i % 128 == 0)
            OSSL_PROVIDER_unload(OSSL_PROVIDER_load(NULL, "legacy"));
    }
    return NULL;
}

static void threads(void)
{
    pthread_t ids[THREADS];

    pthread_barrier_init(&barrier, NULL, THREADS);
    for (size_t i = 0; i < THREADS; i++)
        pthread_create(&ids[i], NULL, thread, (void *)i);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(ids[i], NULL);
    pthread_barrier_destroy(&barrier);
    printf("with threads %d of %d answers were ours\n", atomic_load(&raced), atomic_load(&asked));
    if (atomic_load(&raced) * RACES_ONE_IN > atomic_load(&asked))
        complain("with threads", "too many answers are ours");
    look_whole(NULL, "after threads");
}

/* Load the same configuration into a library context of its own, and free that. */
static void second_context(const char *const paths[])
{
    OSSL_LIB_CTX *libctx = OSSL_LIB_CTX_new();
    EVP_PKEY *key;

    if (OSSL_LIB_CTX_load_config(libctx, getenv("OPENSSL_CONF")) != 1) {
        complain("second library context", "the configuration cannot be loaded");
        OSSL_LIB_CTX_free(libctx);
        return;
    }
    for (int k = 0; k < key_count; k++) {
        look_whole(libctx, "second library context, before");
        key = bystander_load(libctx, paths[k]);
        for (size_t i = 0; key != NULL && i < OPERATIONS; i++) {
            run(i, key, libctx);
            look_quickly(libctx, "second library context");
        }
        if (key == NULL)
            complain("second library context", "a key cannot be loaded");
        EVP_PKEY_free(key);
    }
    look_whole(libctx, "second library context, after");
    OSSL_LIB_CTX_free(libctx);
    look_whole(NULL, "a second library context went away");
}

static int use_the_keys(const char *const *paths, bool ask_first, bool second)
{
    if (ask_first)
        look_whole(NULL, "before any key");
    for (; paths[key_count] != NULL && key_count < KEYS_MAX; key_count++) {
        keys[key_count].key = bystander_load(NULL, paths[key_count]);
        if (keys[key_count].key == NULL) {
            ERR_print_errors_fp(stderr);
            return 0;
        }
        if (ask_first)
            look_whole(NULL, "a key was loaded");
    }
    for (int k = 0; k < key_count; k++) {
        run(0, keys[k].key, NULL);
        look_whole(NULL, "the first signature");
    }
    all_operations(NULL, "at first", true);
    other_providers();
    many_fetches(NULL);
    threads();
    if (second)
        second_context(paths);
    for (int k = 0; k < key_count; k++)
        EVP_PKEY_free(keys[k].key);
    look_whole(NULL, "at the end");
    return key_count > 0;
}

int main(int argc, char **argv)
{
    bool ask_first = true, loads = false, second = true;
    int option, ok;

    setvbuf(stdout, NULL, _IONBF, 0);
    while ((option = getopt(argc, argv, "1ln")) != -1) {
        if (option == '1')
            second = false;
        else if (option == 'l')
            loads = true;
        else if (option == 'n')
            ask_first = false;
        else
            return 2;
    }
    if (loads &&
        (OSSL_PROVIDER_load(NULL, "legacy") == NULL || OSSL_PROVIDER_load(NULL, "default") == NULL))
        return 2;
    if (!bystander_begin())
        return 2;
    ok = use_the_keys((const char *const *)argv + optind, ask_first, second);
    bystander_end();
    printf("%d answers were not as without the provider\n", atomic_load(&wrong));
    return !ok ? 2 : atomic_load(&wrong) != 0;
}
