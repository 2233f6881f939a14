/* SPDX-License-Identifier: Apache-2.0
 *
 * endings KEY.pem OBJECT MOMENT: a program that knows EVP and nothing of HSMs, and frees one
 * object that has to do with a key at one moment of its end: before, while or after libcrypto
 * cleans up. It prints "OBJECT freed" then, and ends with status 0. Without arguments it lists the
 * objects and the moments, a line each.
 *
 * With a software key in KEY.pem it does the same without a provider: what crashes then is
 * libcrypto's.
 */
#include <dlfcn.h>
#include <openssl/crypto.h>
#include <openssl/decoder.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <openssl/store.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "keys.h"

static const char *key_path, *name;
static EVP_PKEY *key;

static void fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    ERR_print_errors_fp(stderr);
    _exit(90);
}

static bool in_hsm(void)
{
    const OSSL_PROVIDER *provider = EVP_PKEY_get0_provider(key);

    return provider != NULL && strcmp(OSSL_PROVIDER_get0_name(provider), "hsm") == 0;
}

static void sign_once(EVP_PKEY *with)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    unsigned char sig[1024];
    size_t len = sizeof(sig);

    if (EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, with) != 1 ||
        EVP_DigestSign(ctx, sig, &len, (const unsigned char *)"abc", 3) != 1)
        fail("a signature");
    EVP_MD_CTX_free(ctx);
}

/* --- objects --------------------------------------------------------------------------------- */

/* Each is made from `key`; what is returned is all that is left of it, so it holds the key or has
 * never needed one. */
static void *make_key(void)
{
    EVP_PKEY_up_ref(key);
    return key;
}

static void free_key(void *object)
{
    EVP_PKEY_free(object);
}

static void *make_digest_sign(void)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();

    if (EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) != 1 ||
        EVP_DigestSignUpdate(ctx, "abc", 3) != 1)
        return NULL;
    return ctx;
}

static void free_md(void *object)
{
    EVP_MD_CTX_free(object);
}

static void *make_sign(void)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);

    return EVP_PKEY_sign_init(ctx) == 1 ? ctx : NULL;
}

/* Derivation, or decryption. */
static void *make_other_operation(void)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    int ok = EVP_PKEY_is_a(key, "RSA") ? EVP_PKEY_decrypt_init(ctx) : EVP_PKEY_derive_init(ctx);

    return ok == 1 ? ctx : NULL;
}

static void *make_generation(void)
{
    EVP_PKEY_CTX *ctx =
        EVP_PKEY_CTX_new_from_name(NULL, "EC", in_hsm() ? "provider=hsm" : "provider=default");

    return EVP_PKEY_keygen_init(ctx) == 1 ? ctx : NULL;
}

static void free_pkey_ctx(void *object)
{
    EVP_PKEY_CTX_free(object);
}

static void *make_certificate(void)
{
    X509 *cert = X509_new();

    return X509_set_pubkey(cert, key) == 1 && X509_sign(cert, key, EVP_sha256()) > 0 ? cert : NULL;
}

static void free_certificate(void *object)
{
    X509_free(object);
}

static void *make_store(void)
{
    return OSSL_STORE_open(key_path, NULL, NULL, NULL, NULL);
}

static void free_store(void *object)
{
    OSSL_STORE_close(object);
}

static void *make_decoder(void)
{
    static EVP_PKEY *decoded;

    return OSSL_DECODER_CTX_new_for_pkey(&decoded, "PEM", NULL, NULL, EVP_PKEY_KEYPAIR, NULL, NULL);
}

static void free_decoder(void *object)
{
    OSSL_DECODER_CTX_free(object);
}

static const char *ours(void)
{
    return in_hsm() ? "provider=hsm" : "provider=default";
}

static void *make_keymgmt(void)
{
    return EVP_KEYMGMT_fetch(NULL, "EC", ours());
}

static void free_keymgmt(void *object)
{
    EVP_KEYMGMT_free(object);
}

static void *make_signature(void)
{
    return EVP_SIGNATURE_fetch(NULL, in_hsm() ? "HSM-ECDSA" : "ECDSA", ours());
}

static void free_signature(void *object)
{
    EVP_SIGNATURE_free(object);
}

static void *make_random(void)
{
    EVP_RAND *rand = EVP_RAND_fetch(NULL, in_hsm() ? "HSM-RAND" : "TEST-RAND", ours());
    EVP_RAND_CTX *ctx = rand != NULL ? EVP_RAND_CTX_new(rand, NULL) : NULL;

    EVP_RAND_free(rand);
    return ctx;
}

static void free_random(void *object)
{
    EVP_RAND_CTX_free(object);
}

/* A key of a library context of its own, which is freed before it. */
static void *make_foreign_key(void)
{
    OSSL_LIB_CTX *libctx = OSSL_LIB_CTX_new();
    OSSL_PROVIDER *one, *other;
    EVP_PKEY *its;

    if (OSSL_LIB_CTX_load_config(libctx, getenv("OPENSSL_CONF")) != 1)
        return NULL;
    one = OSSL_PROVIDER_load(libctx, "default");
    other = OSSL_PROVIDER_load(libctx, in_hsm() ? "hsm" : "base");
    its = keys_load(libctx, key_path);
    if (one == NULL || other == NULL || its == NULL)
        return NULL;
    OSSL_PROVIDER_unload(other);
    OSSL_PROVIDER_unload(one);
    OSSL_LIB_CTX_free(libctx);
    return its;
}

static void *make_context(void)
{
    OSSL_LIB_CTX *libctx = OSSL_LIB_CTX_new();

    EVP_PKEY *its;

    if (OSSL_LIB_CTX_load_config(libctx, getenv("OPENSSL_CONF")) != 1)
        return NULL;
    its = keys_load(libctx, key_path);
    if (its == NULL)
        return NULL;
    EVP_PKEY_free(its);
    return libctx;
}

static void free_context(void *object)
{
    OSSL_LIB_CTX_free(object);
}

static const struct object {
    const char *name;
    void *(*make)(void);
    void (*free)(void *object);
} objects[] = {
    {"key", make_key, free_key},
    {"digest-sign", make_digest_sign, free_md},
    {"sign", make_sign, free_pkey_ctx},
    {"other-operation", make_other_operation, free_pkey_ctx},
    {"generation", make_generation, free_pkey_ctx},
    {"certificate", make_certificate, free_certificate},
    {"store", make_store, free_store},
    {"decoder", make_decoder, free_decoder},
    {"keymgmt", make_keymgmt, free_keymgmt},
    {"signature", make_signature, free_signature},
    {"random", make_random, free_random},
    {"foreign-key", make_foreign_key, free_key},
    {"context", make_context, free_context},
};
#define OBJECTS (sizeof(objects) / sizeof(objects[0]))

/* --- moments --------------------------------------------------------------------------------- */

static const struct object *object;
static void *made;
static bool armed; /* for the destructor that every process has */

static void free_it(void)
{
    char line[80];
    int len = snprintf(line, sizeof(line), "%s freed\n", name);

    object->free(made);
    made = NULL;
    if (write(STDOUT_FILENO, line, (size_t)len) != len)
        _exit(91);
}

static void free_late(void *arg)
{
    (void)arg;
    free_it();
}

__attribute__((destructor)) static void destructor(void)
{
    if (armed)
        free_it();
}

static int now(void)
{
    free_it();
    return 0;
}

static int at_once_after(void)
{
    OPENSSL_cleanup();
    free_it();
    return 0;
}

static int cleaned_up_twice(void)
{
    OPENSSL_cleanup();
    free_it();
    OPENSSL_cleanup();
    return 0;
}

static int by_exit_handler(void)
{
    return atexit(free_it); /* before libcrypto's: what is registered last comes first */
}

static int by_libcrypto_handler(void)
{
    return OPENSSL_atexit(free_it) == 1 ? 0 : 92;
}

static int by_destructor(void)
{
    armed = true;
    return 0;
}

static int after_cleanup_by_destructor(void)
{
    armed = true;
    OPENSSL_cleanup();
    return 0;
}

/* A destructor that the dynamic linker calls for a library: its exit handler. */
static int by_library(void)
{
    int (*at_end)(void (*)(void)) = NULL;
    void *library = dlopen(getenv("ENDINGS_LIBRARY"), RTLD_NOW);
    void *symbol = library != NULL ? dlsym(library, "endings_at_end") : NULL;

    if (symbol == NULL)
        return 93;
    memcpy(&at_end, &symbol, sizeof(at_end));
    return at_end(free_it);
}

static pthread_barrier_t barrier;
static pthread_key_t slot;

/* The thread's own data is freed when it ends, after libcrypto has cleaned up in another one. */
static void *thread_main(void *arg)
{
    (void)arg;
    sign_once(key);
    OPENSSL_thread_stop(); /* libcrypto would not find what it has of this thread any more */
    pthread_setspecific(slot, &slot);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return NULL;
}

static int by_thread(void)
{
    pthread_t thread;

    pthread_key_create(&slot, free_late);
    pthread_barrier_init(&barrier, NULL, 2);
    if (pthread_create(&thread, NULL, thread_main, NULL) != 0)
        return 94;
    pthread_barrier_wait(&barrier);
    OPENSSL_cleanup();
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
    return 0;
}

/* The key is gone when libcrypto cleans up, and the object has to do without. */
static const struct moment {
    const char *name;
    int (*go)(void);
    bool early; /* its exit handler comes before libcrypto has one, so it is called after that */
} moments[] = {
    {"now", now, false},
    {"after-cleanup", at_once_after, false},
    {"between-cleanups", cleaned_up_twice, false},
    {"exit-handler", by_exit_handler, false},
    {"first-exit-handler", NULL, true},
    {"libcrypto-handler", by_libcrypto_handler, false},
    {"destructor", by_destructor, false},
    {"destructor-after-cleanup", after_cleanup_by_destructor, false},
    {"library", by_library, false},
    {"thread", by_thread, false},
};
#define MOMENTS (sizeof(moments) / sizeof(moments[0]))

static int list(void)
{
    for (size_t i = 0; i < OBJECTS; i++)
        printf("object %s\n", objects[i].name);
    for (size_t i = 0; i < MOMENTS; i++)
        printf("moment %s\n", moments[i].name);
    return 0;
}

int main(int argc, char **argv)
{
    const struct moment *moment = NULL;

    if (argc == 1)
        return list();
    for (size_t i = 0; argc == 4 && i < OBJECTS; i++)
        if (strcmp(objects[i].name, argv[2]) == 0)
            object = &objects[i];
    for (size_t i = 0; argc == 4 && i < MOMENTS; i++)
        if (strcmp(moments[i].name, argv[3]) == 0)
            moment = &moments[i];
    if (object == NULL || moment == NULL) {
        fprintf(stderr, "usage: endings KEY.pem OBJECT MOMENT\n");
        return 2;
    }
    key_path = argv[1];
    name = object->name;
    if (moment->early && atexit(free_it) != 0)
        return 95;
    key = keys_load(NULL, key_path);
    if (key == NULL)
        fail("the key");
    sign_once(key);
    made = object->make();
    if (made == NULL)
        fail("the object");
    if (moment->go != by_thread) { /* whose thread signs */
        EVP_PKEY_free(key);
        key = NULL;
    }
    return moment->early ? 0 : moment->go();
}
