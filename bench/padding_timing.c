/* SPDX-License-Identifier: Apache-2.0
 *
 * padding_timing.c - can good padding be told from bad by time? Fixed-versus-fixed measurements of
 * the decoders in padding.c, in random order, and Welch's t-test over them (the method of
 * "dudect"): |t| above 10 is a leak, below 4.5 nothing was found. A statistic and no proof, so it
 * is no test that passes or fails.
 *
 *   padding_timing [SAMPLES]
 */
#include <math.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../provider/padding.h"

#define SIZE 256U

static struct prov_ctx ctx; /* without a core: nothing fails here */

/* Running mean and variance (Welford). */
struct stats {
    double n, mean, m2;
};

static void add(struct stats *s, double value)
{
    const double delta = value - s->mean;

    s->n += 1;
    s->mean += delta / s->n;
    s->m2 += delta * (value - s->mean);
}

static double welch(const struct stats *a, const struct stats *b)
{
    return (a->mean - b->mean) / sqrt(a->m2 / (a->n - 1) / a->n + b->m2 / (b->n - 1) / b->n);
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static unsigned char kdk[PROV_IR_BYTES], substitute[PROV_TLS_SECRET], out[SIZE];

static void implicit(const unsigned char *em)
{
    size_t len = SIZE;

    (void)prov_pkcs1_implicit(&ctx, out, &len, em, SIZE, kdk);
}

static void tls(const unsigned char *em)
{
    prov_pkcs1_tls(out, em, SIZE, substitute, 0x0303, 0);
}

static void explicit_check(const unsigned char *em)
{
    size_t len = SIZE;

    (void)prov_pkcs1_explicit(out, &len, em, SIZE);
}

/* The returned length may show, but nothing else: a key whose substitute has 48 bytes, too. */
static void choose_kdk(const unsigned char *bad)
{
    size_t len = 0;

    for (unsigned i = 0; i < 65536 && len != PROV_TLS_SECRET; i++) {
        memset(kdk, 0x5a, sizeof(kdk));
        kdk[0] = (unsigned char)i;
        kdk[1] = (unsigned char)(i >> 8);
        len = SIZE;
        if (!prov_pkcs1_implicit(&ctx, out, &len, bad, SIZE, kdk))
            exit(EXIT_FAILURE);
    }
}

/* One byte of a good block with a message of 48 bytes is changed. */
static const struct {
    const char *name;
    void (*decode)(const unsigned char *em);
    size_t at;
    unsigned char to;
} rows[] = {
    {"implicit, first byte", implicit, 0, 1},
    {"implicit, block type", implicit, 1, 1},
    {"implicit, early zero", implicit, 5, 0},
    {"tls, first byte", tls, 0, 1},
    {"tls, block type", tls, 1, 1},
    {"tls, early zero", tls, 5, 0},
    {"tls, no separator", tls, SIZE - 49, 1},
    {"tls, version", tls, SIZE - 47, 1},
    {"explicit, first byte", explicit_check, 0, 1},
    {"explicit, block type", explicit_check, 1, 1},
};

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Samples above the 90th percentile are interrupts and other people's work. */
static double threshold(void (*decode)(const unsigned char *em), const unsigned char *em)
{
    static double times[1000];

    for (int i = 0; i < 1000; i++) {
        const double start = now();

        decode(em);
        times[i] = now() - start;
    }
    qsort(times, 1000, sizeof(times[0]), compare);
    return times[900];
}

int main(int argc, char **argv)
{
    const long samples = argc > 1 ? strtol(argv[1], NULL, 10) : 200000;
    unsigned char em[2][SIZE];

    memset(em[1], 0xff, SIZE);
    choose_kdk(em[1]);
    printf("%-24s %10s %10s %8s\n", "what is wrong", "good ns", "bad ns", "t");
    for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
        struct stats stats[2] = {{0}};
        double limit;

        memset(em[0], 0xa5, SIZE);
        em[0][0] = 0;
        em[0][1] = 2;
        em[0][SIZE - 49] = 0;
        em[0][SIZE - 48] = em[0][SIZE - 47] = 3;
        memcpy(em[1], em[0], SIZE);
        em[1][rows[r].at] = rows[r].to;
        limit = threshold(rows[r].decode, em[0]);
        for (long i = 0; i < samples; i++) {
            const int which = rand() & 1;
            unsigned char block[SIZE]; /* one address for both */
            double start;

            memcpy(block, em[which], SIZE);
            start = now();
            rows[r].decode(block);
            start = now() - start;
            if (start <= limit)
                add(&stats[which], start);
        }
        printf("%-24s %10.1f %10.1f %8.2f\n", rows[r].name, stats[0].mean, stats[1].mean,
               welch(&stats[0], &stats[1]));
    }
    return EXIT_SUCCESS;
}
