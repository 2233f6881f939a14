/* SPDX-License-Identifier: Apache-2.0
 *
 * dudect [SAMPLES [rsa]]: does the time of a decryption tell good PKCS#1 v1.5 padding from bad? As
 * Reparaz, Balasch and Verbauwhede, "Dude, is my code constant time?": two classes of input, in
 * random order, each input used once; Welch's t of the times, of all of them and of the fastest
 * parts, which have less noise. |t| above 4.5 is taken for a difference.
 *
 * Measured are the decoders of padding.c alone, and EVP_PKEY_decrypt() over the fake module, whose
 * raw decryption returns its input (with `rsa` it calculates: slower, more noise). Blocks with bad
 * padding are compared with good ones; where bad padding is answered by implicit rejection the
 * messages in good blocks have lengths as random as those of the substitutes, for the length
 * that is returned may show in time.
 *
 * Two controls tell whether the statistic is worth anything: good against good, which must not
 * differ, and a decoder that stops at the first wrong byte, which must.
 */
#include <math.h>
#include <openssl/core_names.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../provider/key/padding.h"
#include "bench.h"

#define SIZE        256U /* of the modulus */
#define VERSION     0x0303U
#define SAMPLES     200000U
#define SAMPLES_RSA 10000U
#define DIFFERS     4.5

enum defect { NONE, FIRST_BYTE, BLOCK_TYPE, SHORT_PADDING, NO_ZERO, LENGTH, TLS_VERSION, DEFECTS };

static const char *const defects[DEFECTS] = {
    [NONE] = "good as well (control)",    [FIRST_BYTE] = "first byte not 0",
    [BLOCK_TYPE] = "block type not 2",    [SHORT_PADDING] = "padding too short",
    [NO_ZERO] = "no zero behind padding", [LENGTH] = "secret of 47 bytes",
    [TLS_VERSION] = "wrong TLS version",
};

static uint64_t seed = 88172645463325252U;
static EVP_PKEY *key;
static bool with_rsa;
static volatile unsigned sink;

static unsigned random_number(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)(seed >> 16);
}

/* A block 00 02 PS 00 M with that defect. `secret` for TLS, else a message of any length. */
static void make_block(unsigned char em[SIZE], enum defect defect, bool secret)
{
    unsigned len = secret ? PROV_TLS_SECRET : random_number() % (SIZE - 10);

    if (defect == LENGTH)
        len--;
    if (len > SIZE - 11)
        len = SIZE - 11;
    for (unsigned i = 0; i < SIZE; i++)
        em[i] = (unsigned char)(1 + random_number() % 255);
    em[0] = 0;
    em[1] = 2;
    em[SIZE - len - 1] = 0;
    if (secret) {
        em[SIZE - len] = VERSION >> 8;
        em[SIZE - len + 1] = VERSION & 0xff;
    }
    if (defect == FIRST_BYTE)
        em[0] = 1;
    if (defect == BLOCK_TYPE)
        em[1] = 1;
    if (defect == SHORT_PADDING)
        em[5] = 0;
    if (defect == NO_ZERO)
        em[SIZE - len - 1] = 1;
    if (defect == TLS_VERSION)
        em[SIZE - len + 1] ^= 1;
}

/* --- what is measured ------------------------------------------------------------------------ */

static void decode_implicit(const unsigned char *em)
{
    static const struct prov_ctx none;
    struct prov_ctx ctx = none;
    unsigned char out[SIZE];
    size_t len = sizeof(out);

    ctx.libctx = bench_libctx;
    /* 32 bytes that differ from block to block */
    bench_must(prov_pkcs1_implicit(&ctx, out, &len, em, SIZE, em + SIZE - PROV_IR_BYTES), "decode");
    sink += (unsigned)len;
}

static void decode_tls(const unsigned char *em)
{
    static const unsigned char substitute[PROV_TLS_SECRET] = {3, 3, 1};
    unsigned char out[PROV_TLS_SECRET];

    prov_pkcs1_tls(out, em, SIZE, substitute, VERSION, 0);
    sink += out[5];
}

/* The control: a decoder that stops at the first wrong byte, as none should. */
static void decode_naive(const unsigned char *em)
{
    unsigned i = 2;

    if (em[0] != 0 || em[1] != 2)
        return;
    while (i < SIZE && em[i] != 0)
        i++;
    sink += i;
}

static void decrypt(const unsigned char *in, bool tls)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(bench_libctx, key, NULL);
    unsigned version = VERSION;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_uint(OSSL_ASYM_CIPHER_PARAM_TLS_CLIENT_VERSION, &version),
        OSSL_PARAM_construct_end(),
    };
    unsigned char out[SIZE];
    size_t len = tls ? PROV_TLS_SECRET : sizeof(out);

    bench_must(EVP_PKEY_decrypt_init(ctx) == 1 &&
                   EVP_PKEY_CTX_set_rsa_padding(ctx, tls ? RSA_PKCS1_WITH_TLS_PADDING
                                                         : RSA_PKCS1_PADDING) == 1 &&
                   (!tls || EVP_PKEY_CTX_set_params(ctx, params) == 1) &&
                   EVP_PKEY_decrypt(ctx, out, &len, in, SIZE) == 1,
               "EVP_PKEY_decrypt");
    EVP_PKEY_CTX_free(ctx);
    sink += (unsigned)len;
}

static void decrypt_implicit(const unsigned char *in)
{
    decrypt(in, false);
}

static void decrypt_tls(const unsigned char *in)
{
    decrypt(in, true);
}

/* The ciphertext whose raw decryption is this block. */
static void encrypt(const unsigned char em[SIZE], unsigned char out[SIZE])
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(bench_libctx, key, NULL);
    size_t len = SIZE;

    bench_must(EVP_PKEY_encrypt_init(ctx) == 1 &&
                   EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_NO_PADDING) == 1 &&
                   EVP_PKEY_encrypt(ctx, out, &len, em, SIZE) == 1,
               "encrypt");
    EVP_PKEY_CTX_free(ctx);
}

/* --- statistics ------------------------------------------------------------------------------ */

struct samples {
    float *ns;
    unsigned char *class;
    unsigned count;
};

static int by_value(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;

    return x < y ? -1 : x > y;
}

/* Welch's t of the times below `limit`: class 1 (bad padding) against class 0 (good). */
static double welch(const struct samples *s, float limit)
{
    double n[2] = {0}, mean[2] = {0}, m2[2] = {0}, error;

    for (unsigned i = 0; i < s->count; i++) {
        const unsigned c = s->class[i];
        double delta;

        if (s->ns[i] > limit)
            continue;
        n[c]++;
        delta = s->ns[i] - mean[c];
        mean[c] += delta / n[c];
        m2[c] += delta * (s->ns[i] - mean[c]);
    }
    if (n[0] < 100 || n[1] < 100)
        return 0;
    error = sqrt(m2[0] / (n[0] - 1) / n[0] + m2[1] / (n[1] - 1) / n[1]);
    return error > 0 ? (mean[1] - mean[0]) / error : 0;
}

/* The difference of the medians, in nanoseconds: what the t is about. */
static double median_gap(const struct samples *s, float *scratch)
{
    double median[2] = {0};

    for (unsigned c = 0; c < 2; c++) {
        unsigned n = 0;

        for (unsigned i = 0; i < s->count; i++)
            if (s->class[i] == c)
                scratch[n++] = s->ns[i];
        qsort(scratch, n, sizeof(float), by_value);
        median[c] = n > 0 ? scratch[n / 2] : 0;
    }
    return median[1] - median[0];
}

static void measure(struct samples *s, void (*measured)(const unsigned char *in),
                    enum defect defect, bool secret, bool through_token)
{
    for (unsigned i = 0; i < s->count; i++) {
        unsigned char good[SIZE], bad[SIZE], in[SIZE], cipher[SIZE];
        const unsigned class = random_number() & 1;
        const unsigned char mask = (unsigned char)(0U - class);
        uint64_t from;

        /* The same work for both classes, so that the clock starts with the same caches. */
        make_block(good, NONE, secret);
        make_block(bad, defect, secret);
        for (unsigned j = 0; j < SIZE; j++)
            in[j] = (unsigned char)((bad[j] & mask) | (good[j] & ~mask));
        if (through_token && with_rsa) {
            encrypt(in, cipher);
            memcpy(in, cipher, SIZE);
        }
        from = bench_now();
        measured(in);
        s->ns[i] = (float)(bench_now() - from);
        s->class[i] = (unsigned char)class;
    }
}

/* One line of the table. Returns the largest |t|. */
static double row(unsigned count, void (*measured)(const unsigned char *in), enum defect defect,
                  bool secret, bool through_token)
{
    static const double crops[] = {1, 0.99, 0.95, 0.9, 0.75, 0.5};
    struct samples s = {malloc(count * sizeof(float)), malloc(count), count};
    float *sorted = malloc(count * sizeof(float));
    double median, most = 0;

    bench_must(s.ns != NULL && s.class != NULL && sorted != NULL, "memory");
    measure(&s, measured, defect, secret, through_token);
    memcpy(sorted, s.ns, count * sizeof(float));
    qsort(sorted, count, sizeof(float), by_value);
    printf("  %-26s", defects[defect]);
    for (unsigned i = 0; i < sizeof(crops) / sizeof(crops[0]); i++) {
        const double t = welch(&s, sorted[(size_t)((count - 1) * crops[i])]);

        most = fabs(t) > most ? fabs(t) : most;
        printf(" %8.2f", t);
    }
    median = sorted[count / 2];
    printf(" %8.0f ns %6.0f ns  %s\n", median, median_gap(&s, sorted),
           most < DIFFERS ? "no difference seen"
           : most < 10    ? "doubtful: once more"
                          : "DIFFERENT");
    free(sorted);
    free(s.ns);
    free(s.class);
    return most;
}

/* --- the table ------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*measured)(const unsigned char *in);
    bool secret, through_token;
    unsigned tried; /* set of 1 << enum defect */
} subjects[] = {
    {"control: a decoder that stops at the first wrong byte", decode_naive, false, false,
     1 << NONE | 1 << BLOCK_TYPE},
    {"rsa-pkcs1: prov_pkcs1_implicit() alone", decode_implicit, false, false,
     1 << NONE | 1 << FIRST_BYTE | 1 << BLOCK_TYPE | 1 << SHORT_PADDING | 1 << NO_ZERO},
    {"rsa-tls: prov_pkcs1_tls() alone", decode_tls, true, false,
     1 << NONE | 1 << FIRST_BYTE | 1 << BLOCK_TYPE | 1 << SHORT_PADDING | 1 << NO_ZERO |
         1 << LENGTH | 1 << TLS_VERSION},
    {"rsa-pkcs1: EVP_PKEY_decrypt()", decrypt_implicit, false, true,
     1 << NONE | 1 << FIRST_BYTE | 1 << BLOCK_TYPE | 1 << SHORT_PADDING | 1 << NO_ZERO},
    {"rsa-tls: EVP_PKEY_decrypt()", decrypt_tls, true, true,
     1 << NONE | 1 << FIRST_BYTE | 1 << BLOCK_TYPE | 1 << SHORT_PADDING | 1 << NO_ZERO |
         1 << LENGTH | 1 << TLS_VERSION},
};
#define SUBJECTS ((int)(sizeof(subjects) / sizeof(subjects[0])))

static void verdict(double control_same, double control_naive, double most)
{
    printf("\nlargest |t|: %.1f (controls: good against good %.1f, naive decoder %.1f)\n", most,
           control_same, control_naive);
    if (control_naive < 10)
        printf("verdict: none. The naive decoder was not caught: too much noise, or too few "
               "samples.\n");
    else if (control_same >= DIFFERS)
        printf("verdict: none. Good blocks differ from good ones: the machine is too noisy; run "
               "again.\n");
    else if (most < DIFFERS)
        printf("verdict: time does not tell bad padding from good, as far as these samples "
               "show.\n");
    else if (most < 10)
        printf("verdict: doubtful. Run again with more samples; a true difference grows with "
               "them.\n");
    else
        printf("verdict: time tells bad padding from good. This is a fault: report it as "
               "SECURITY.md says.\n");
}

int main(int argc, char **argv)
{
    const long wanted = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
    double control_same = 0, control_naive = 0, most = 0;

    with_rsa = argc > 2 && strcmp(argv[2], "rsa") == 0;
    if (argc > 3 || (argc > 2 && !with_rsa) ||
        (argc > 1 && (wanted < 1000 || wanted > 100000000))) {
        fprintf(stderr, "usage: %s [SAMPLES [rsa]], at least 1000\n", argv[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    fake_reset();
    bench_slot = fake_add_token(NULL);
    fake_add_key(bench_slot,
                 &(struct fake_key){.kind = FAKE_RSA, .label = "k", .id = "k", .material = 1});
    bench_up();
    key = bench_key("k");
    fake_set_cheap(!with_rsa);
    for (int i = 0; i < SUBJECTS; i++) {
        unsigned count = wanted > 0                              ? (unsigned)wanted
                         : with_rsa && subjects[i].through_token ? SAMPLES_RSA
                                                                 : SAMPLES;

        printf("\n%s, %u samples\n  %-26s %8s %8s %8s %8s %8s %8s %11s %9s\n", subjects[i].name,
               count, "good against", "t, all", "99 %", "95 %", "90 %", "75 %", "50 %", "median",
               "bad-good");
        for (int d = 0; d < DEFECTS; d++) {
            double t;

            if ((subjects[i].tried & (1U << d)) == 0)
                continue;
            t = row(count, subjects[i].measured, (enum defect)d, subjects[i].secret,
                    subjects[i].through_token);
            if (i == 0 && d != NONE)
                control_naive = t;
            else if (d == NONE)
                control_same = t > control_same && i > 0 ? t : control_same;
            else
                most = t > most ? t : most;
        }
    }
    verdict(control_same, control_naive, most);
    EVP_PKEY_free(key);
    bench_down();
    return 0;
}
