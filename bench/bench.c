/* SPDX-License-Identifier: Apache-2.0
 *
 * bench.c - see bench.h.
 */
#include "bench.h"
#include "../provider/config/config.h"

#include <openssl/err.h>
#include <openssl/provider.h>
#include <openssl/store.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../provider/provider.h"

#define THREADS_MAX 256

OSSL_LIB_CTX *bench_libctx;
unsigned long bench_slot;
static OSSL_PROVIDER *loaded[2];

void bench_must(int good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "failed: %s\n", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

void bench_up(void)
{
    bench_must(setenv("HSM_BENCH_PIN", "1234", 1) == 0, "setenv");
    prov_config_override("pkcs11-module", FAKE_PKCS11_PATH);
    prov_config_override("token", "pkcs11:token=fake");
    prov_config_override("pin", "env:HSM_BENCH_PIN");
    prov_config_override("offload", "all rsa-tls");
    bench_libctx = OSSL_LIB_CTX_new();
    bench_must(OSSL_PROVIDER_add_builtin(bench_libctx, "hsm", OSSL_provider_init), "built-in");
    loaded[0] = OSSL_PROVIDER_load(bench_libctx, "default");
    loaded[1] = OSSL_PROVIDER_load(bench_libctx, "hsm");
    bench_must(loaded[0] != NULL && loaded[1] != NULL, "providers");
}

void bench_down(void)
{
    OSSL_PROVIDER_unload(loaded[1]);
    OSSL_PROVIDER_unload(loaded[0]);
    OSSL_LIB_CTX_free(bench_libctx);
}

EVP_PKEY *bench_key(const char *label)
{
    EVP_PKEY *key = NULL;
    OSSL_STORE_CTX *store;
    char uri[128];

    snprintf(uri, sizeof(uri), "pkcs11:object=%s;type=private", label);
    store = OSSL_STORE_open_ex(uri, bench_libctx, NULL, NULL, NULL, NULL, NULL, NULL);
    bench_must(store != NULL, uri);
    while (key == NULL && !OSSL_STORE_eof(store)) {
        OSSL_STORE_INFO *info = OSSL_STORE_load(store);

        if (info != NULL && OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY)
            key = OSSL_STORE_INFO_get1_PKEY(info);
        OSSL_STORE_INFO_free(info);
    }
    OSSL_STORE_close(store);
    bench_must(key != NULL, uri);
    return key;
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec ts;

    bench_must(clock_gettime(clock, &ts) == 0, "clock_gettime");
    return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

uint64_t bench_now(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t bench_cpu(void)
{
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

void bench_threads(unsigned threads, void *(*work)(void *arg), void *args, size_t size)
{
    pthread_t ids[THREADS_MAX];

    bench_must(threads <= THREADS_MAX, "too many threads");
    for (unsigned i = 0; i < threads; i++)
        bench_must(pthread_create(&ids[i], NULL, work, (char *)args + i * size) == 0, "a thread");
    for (unsigned i = 0; i < threads; i++)
        bench_must(pthread_join(ids[i], NULL) == 0, "a thread");
}
