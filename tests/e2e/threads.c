/* SPDX-License-Identifier: Apache-2.0
 *
 * threads KEY.pem THREADS COUNT [fork]: a program as others write it, which knows EVP and nothing
 * of HSMs. Loads one private key, shares it between threads, each of which makes COUNT signatures
 * (and, with RSA, decrypts as many messages if asked with "decrypt") and verifies each in
 * software with the public half alone. With "fork" the key is loaded and used once by the parent,
 * then four children do the same work at the same time with the key that they inherited.
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keys.h"

#define THREADS_MAX 256
#define CHILDREN    4

struct job {
    EVP_PKEY *key; /* in the HSM, shared */
    EVP_PKEY *pub; /* in software, shared */
    unsigned number;
    unsigned count;
    int decrypt;
    int ok;
};

static int sign_once(const struct job *job, const unsigned char *message, size_t len)
{
    unsigned char signature[1024];
    size_t signature_len = sizeof(signature);
    EVP_MD_CTX *sign = EVP_MD_CTX_new();
    EVP_MD_CTX *verify = EVP_MD_CTX_new();
    int ok = 0;

    if (sign == NULL || verify == NULL)
        goto out;
    if (EVP_DigestSignInit(sign, NULL, EVP_sha256(), NULL, job->key) != 1 ||
        EVP_DigestSign(sign, signature, &signature_len, message, len) != 1)
        goto out;
    if (EVP_DigestVerifyInit(verify, NULL, EVP_sha256(), NULL, job->pub) != 1 ||
        EVP_DigestVerify(verify, signature, signature_len, message, len) != 1)
        goto out;
    ok = 1;
out:
    EVP_MD_CTX_free(sign);
    EVP_MD_CTX_free(verify);
    return ok;
}

static int decrypt_once(const struct job *job, const unsigned char *message, size_t len)
{
    unsigned char cipher[1024];
    unsigned char plain[1024];
    size_t cipher_len = sizeof(cipher);
    size_t plain_len = sizeof(plain);
    EVP_PKEY_CTX *encrypt = EVP_PKEY_CTX_new(job->pub, NULL);
    EVP_PKEY_CTX *decrypt = EVP_PKEY_CTX_new(job->key, NULL);
    int ok = 0;

    if (encrypt == NULL || decrypt == NULL)
        goto out;
    if (EVP_PKEY_encrypt_init(encrypt) != 1 ||
        EVP_PKEY_CTX_set_rsa_padding(encrypt, RSA_PKCS1_OAEP_PADDING) != 1 ||
        EVP_PKEY_encrypt(encrypt, cipher, &cipher_len, message, len) != 1)
        goto out;
    if (EVP_PKEY_decrypt_init(decrypt) != 1 ||
        EVP_PKEY_CTX_set_rsa_padding(decrypt, RSA_PKCS1_OAEP_PADDING) != 1 ||
        EVP_PKEY_decrypt(decrypt, plain, &plain_len, cipher, cipher_len) != 1)
        goto out;
    ok = plain_len == len && memcmp(plain, message, len) == 0;
out:
    EVP_PKEY_CTX_free(encrypt);
    EVP_PKEY_CTX_free(decrypt);
    return ok;
}

/* What worked leaves nothing in the thread's error queue: servers take it for their own failure. */
static int no_stale_errors(void)
{
    if (ERR_peek_error() == 0)
        return 1;
    fprintf(stderr, "stale errors in the queue after success:\n");
    ERR_print_errors_fp(stderr);
    return 0;
}

static void *work(void *arg)
{
    struct job *job = arg;
    unsigned char message[64];
    unsigned i;

    for (i = 0; i < job->count; i++) {
        int len = snprintf((char *)message, sizeof(message), "process %ld thread %u message %u",
                           (long)getpid(), job->number, i);

        if (!sign_once(job, message, (size_t)len) ||
            (job->decrypt && !decrypt_once(job, message, (size_t)len))) {
            fprintf(stderr, "thread %u failed at message %u\n", job->number, i);
            ERR_print_errors_fp(stderr);
            return NULL;
        }
    }
    job->ok = no_stale_errors();
    return NULL;
}

static int run(const struct job *model, unsigned threads)
{
    struct job jobs[THREADS_MAX];
    pthread_t ids[THREADS_MAX];
    unsigned started;
    unsigned i;
    int ok = 1;

    for (started = 0; started < threads; started++) {
        jobs[started] = *model;
        jobs[started].number = started;
        if (pthread_create(&ids[started], NULL, work, &jobs[started]) != 0) {
            fprintf(stderr, "no more threads after %u\n", started);
            ok = 0;
            break;
        }
    }
    for (i = 0; i < started; i++) {
        if (pthread_join(ids[i], NULL) != 0 || !jobs[i].ok)
            ok = 0;
    }
    if (ok)
        printf("%u threads made %u signatures each\n", threads, model->count);
    return ok;
}

static int run_children(const struct job *model, unsigned threads)
{
    pid_t children[CHILDREN];
    int ok = 1;
    int i;

    fflush(stdout);
    for (i = 0; i < CHILDREN; i++) {
        children[i] = fork();
        if (children[i] == 0)
            exit(run(model, threads) ? EXIT_SUCCESS : EXIT_FAILURE);
        if (children[i] < 0) {
            perror("fork");
            ok = 0;
        }
    }
    if (!run(model, threads)) /* the parent goes on meanwhile */
        ok = 0;
    for (i = 0; i < CHILDREN; i++) {
        int status = 0;

        if (children[i] < 0)
            continue;
        while (waitpid(children[i], &status, 0) < 0 && errno == EINTR)
            continue;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != EXIT_SUCCESS) {
            fprintf(stderr, "child %d ended with wait status %d\n", i, status);
            ok = 0;
        }
    }
    return ok;
}

int main(int argc, char **argv)
{
    struct job model = {0};
    struct job once;
    unsigned threads;
    int with_fork = 0;
    int ok = 0;
    int i;

    if (argc < 4) {
        fprintf(stderr, "usage: threads KEY.pem THREADS COUNT [decrypt] [fork]\n");
        return EXIT_FAILURE;
    }
    threads = (unsigned)strtoul(argv[2], NULL, 10);
    model.count = (unsigned)strtoul(argv[3], NULL, 10);
    for (i = 4; i < argc; i++) {
        if (strcmp(argv[i], "decrypt") == 0)
            model.decrypt = 1;
        else if (strcmp(argv[i], "fork") == 0)
            with_fork = 1;
    }
    if (threads == 0 || threads > THREADS_MAX || model.count == 0) {
        fprintf(stderr, "from 1 to %d threads, at least one signature\n", THREADS_MAX);
        return EXIT_FAILURE;
    }
    model.key = keys_load(NULL, argv[1]);
    if (model.key == NULL) {
        ERR_print_errors_fp(stderr);
        return EXIT_FAILURE;
    }
    model.pub = keys_public_half(model.key);
    if (!no_stale_errors())
        goto out;
    if (model.pub == NULL) {
        ERR_print_errors_fp(stderr);
        goto out;
    }
    if (with_fork) {
        once = model;
        once.count = 1;
        ok = run(&once, 1) && run_children(&model, threads);
    } else {
        ok = run(&model, threads);
    }
out:
    EVP_PKEY_free(model.pub);
    EVP_PKEY_free(model.key);
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
