/* SPDX-License-Identifier: Apache-2.0
 *
 * async: ECDSA signatures per second by one thread with 1, 8 and 64 ASYNC_JOBs, as a server with
 * SSL_MODE_ASYNC has them, on the fake module with 2 ms for each C_Sign.
 */
#include <openssl/async.h>
#include <openssl/evp.h>
#include <p11-kit/pkcs11.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "bench.h"

#define JOBS_MAX 64
#define SECONDS  2
#define MESSAGE  "what a TLS server signs"

struct connection {
    EVP_PKEY *key;
    ASYNC_JOB *job;
    ASYNC_WAIT_CTX *wait;
};

static int sign(void *arg)
{
    const struct connection *c = *(struct connection **)arg;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    unsigned char sig[256];
    size_t len = sizeof(sig);
    int good = EVP_DigestSignInit_ex(ctx, NULL, "SHA256", bench_libctx, NULL, c->key, NULL) == 1 &&
               EVP_DigestSign(ctx, sig, &len, (const unsigned char *)MESSAGE, sizeof(MESSAGE)) == 1;

    EVP_MD_CTX_free(ctx);
    return good;
}

/* Start or resume the signature of a job. Returns how many were finished. */
static unsigned go_on(struct connection *c)
{
    unsigned finished = 0;
    int good = 0;

    /* One that is finished makes room for the next one. */
    while (ASYNC_start_job(&c->job, c->wait, &good, sign, &c, sizeof(c)) == ASYNC_FINISH) {
        bench_must(good, "signature");
        finished++;
        c->job = NULL;
        if (finished > 100)
            break;
    }
    return finished;
}

static double per_second(EVP_PKEY *key, unsigned jobs)
{
    struct connection connections[JOBS_MAX] = {0};
    struct pollfd fds[JOBS_MAX];
    unsigned finished = 0;
    uint64_t from;

    for (unsigned i = 0; i < jobs; i++) {
        connections[i] = (struct connection){.key = key, .wait = ASYNC_WAIT_CTX_new()};
        bench_must(connections[i].wait != NULL, "wait context");
    }
    from = bench_now();
    for (unsigned i = 0; i < jobs; i++)
        finished += go_on(&connections[i]);
    while (bench_now() - from < (uint64_t)SECONDS * 1000000000U) {
        for (unsigned i = 0; i < jobs; i++) {
            OSSL_ASYNC_FD fd;
            size_t count = 1;

            bench_must(ASYNC_WAIT_CTX_get_all_fds(connections[i].wait, &fd, &count) == 1, "fd");
            fds[i] = (struct pollfd){.fd = fd, .events = POLLIN};
        }
        bench_must(poll(fds, jobs, 1000) > 0, "poll");
        for (unsigned i = 0; i < jobs; i++)
            if (fds[i].revents != 0)
                finished += go_on(&connections[i]);
    }
    /* Signatures that the token still works at are not counted. The program ends without them. */
    return finished / ((double)(bench_now() - from) / 1e9);
}

static double inline_per_second(EVP_PKEY *key)
{
    struct connection c = {.key = key};
    const uint64_t from = bench_now();
    unsigned finished = 0;

    while (bench_now() - from < (uint64_t)SECONDS * 1000000000U)
        finished += (unsigned)sign(&(struct connection *){&c});
    return finished / ((double)(bench_now() - from) / 1e9);
}

int main(void)
{
    static const unsigned jobs[] = {1, 8, JOBS_MAX};
    EVP_PKEY *key;
    double alone;

    fake_reset();
    bench_slot = fake_add_token(NULL);
    fake_add_key(bench_slot, &(struct fake_key){.kind = FAKE_P256, .label = "ec", .material = 1});
    fake_set_cheap(true);
    bench_up();
    key = bench_key("ec");
    fake_set_latency("C_Sign", 2000);
    alone = inline_per_second(key);
    printf("\nECDSA signatures of one thread on a token that takes 2 ms for each\n"
           "%-22s %14s %10s\n%-22s %14.0f %10.1f\n",
           "", "signatures/s", "ratio", "without ASYNC_JOBs", alone, 1.0);
    for (unsigned i = 0; i < sizeof(jobs) / sizeof(jobs[0]); i++) {
        const double rate = per_second(key, jobs[i]);

        printf("%-3u %-18s %14.0f %10.1f\n", jobs[i], jobs[i] == 1 ? "ASYNC_JOB" : "ASYNC_JOBs",
               rate, rate / alone);
    }
    fflush(stdout);
    _exit(0); /* with jobs that are paused */
}
