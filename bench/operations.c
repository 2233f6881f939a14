/* SPDX-License-Identifier: Apache-2.0
 *
 * operations MEASUREMENT...: what the way from EVP to the PKCS#11 boundary costs, over the fake
 * module. Prints ratios and counts of one run; passes or fails nothing.
 *
 *   calls        PKCS#11 calls per operation at 1, 8 and 32 threads
 *   throughput   share of what a token with 2 ms per signature could do, at 1 to 64 threads
 *   handovers    how often threads wait for one another, with and without timeout-ms
 *   cpu          CPU per signature against the bare C_SignInit and C_Sign
 *   load         from a reference to the first signature, with 1 and with 5,000 key pairs
 *   memory       growth over 100,000 signatures of each kind
 */
#include <openssl/core_names.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <p11-kit/p11-kit.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../provider/config/config.h"
#include "bench.h"

#define THREADS_MAX 64
#define SIG_MAX     512
#define MESSAGE     "what a TLS server signs has about this size: 64 bytes and 2 nonces"

enum kind { PKCS1, PSS, ECDSA, OAEP, PKCS1_DECRYPT, KINDS };

static const struct {
    const char *name, *key;
    int padding; /* 0: ECDSA */
    bool decrypt;
} kinds[KINDS] = {
    [PKCS1] = {"RSA PKCS#1 sign", "rsa", RSA_PKCS1_PADDING, false},
    [PSS] = {"RSA-PSS sign", "rsa", RSA_PKCS1_PSS_PADDING, false},
    [ECDSA] = {"ECDSA sign", "ec", 0, false},
    [OAEP] = {"RSA-OAEP decrypt", "rsa", RSA_PKCS1_OAEP_PADDING, true},
    [PKCS1_DECRYPT] = {"RSA PKCS#1 decrypt", "rsa", RSA_PKCS1_PADDING, true},
};

struct job {
    enum kind kind;
    EVP_PKEY *key;
    const unsigned char *cipher;
    size_t cipher_len;
    unsigned rounds;
    double *rate;       /* NULL, or where each thread puts its operations a second */
    struct ks_key *own; /* for the loop over the keystore */
    /* for the loop over the module alone */
    CK_FUNCTION_LIST *fn;
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE handle;
};

/* --- one operation --------------------------------------------------------------------------- */

/* Sign as libssl does, which makes all contexts anew for each signature. */
static void sign_once(const struct job *job)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    unsigned char sig[SIG_MAX];
    size_t len = sizeof(sig);
    EVP_PKEY_CTX *pctx;

    bench_must(
        EVP_DigestSignInit_ex(ctx, &pctx, "SHA256", bench_libctx, NULL, job->key, NULL) == 1 &&
            (kinds[job->kind].padding == 0 ||
             EVP_PKEY_CTX_set_rsa_padding(pctx, kinds[job->kind].padding) == 1) &&
            EVP_DigestSign(ctx, sig, &len, (const unsigned char *)MESSAGE, sizeof(MESSAGE)) == 1,
        kinds[job->kind].name);
    EVP_MD_CTX_free(ctx);
}

static void decrypt_once(const struct job *job)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(bench_libctx, job->key, NULL);
    unsigned char out[SIG_MAX];
    size_t len = sizeof(out);

    bench_must(EVP_PKEY_decrypt_init(ctx) == 1 &&
                   EVP_PKEY_CTX_set_rsa_padding(ctx, kinds[job->kind].padding) == 1 &&
                   EVP_PKEY_decrypt(ctx, out, &len, job->cipher, job->cipher_len) == 1,
               kinds[job->kind].name);
    EVP_PKEY_CTX_free(ctx);
}

static void note_rate(const struct job *job, uint64_t from)
{
    if (job->rate != NULL)
        *job->rate = job->rounds * 1e9 / (double)(bench_now() - from);
}

static void *work(void *arg)
{
    const struct job *job = arg;
    const uint64_t from = bench_now();

    for (unsigned i = 0; i < job->rounds; i++) {
        if (kinds[job->kind].decrypt)
            decrypt_once(job);
        else
            sign_once(job);
    }
    note_rate(job, from);
    return NULL;
}

/* Call the module alone, without anything of ours or of libcrypto's: the least that it can cost. */
static void *bare(void *arg)
{
    struct job *job = arg;
    CK_MECHANISM mechanism = {.mechanism = job->kind == ECDSA ? CKM_ECDSA : CKM_RSA_PKCS};
    unsigned char in[51] = {1}, sig[SIG_MAX];
    CK_ULONG in_len = job->kind == ECDSA ? 32 : sizeof(in), len;
    const uint64_t from = bench_now();

    for (unsigned i = 0; i < job->rounds; i++) {
        len = sizeof(sig);
        bench_must(job->fn->C_SignInit(job->session, &mechanism, job->handle) == CKR_OK &&
                       job->fn->C_Sign(job->session, in, in_len, sig, &len) == CKR_OK,
                   "C_Sign");
    }
    note_rate(job, from);
    return NULL;
}

/* Sign with the keystore alone, without libcrypto and the provider. */
static void *keystore(void *arg)
{
    const struct job *job = arg;
    const struct ks_mech mech = {.kind = KS_MECH_ECDSA};
    const unsigned char in[32] = {1};
    unsigned char sig[SIG_MAX];
    const uint64_t from = bench_now();
    struct ks_error err;
    size_t len;

    for (unsigned i = 0; i < job->rounds; i++) {
        len = sizeof(sig);
        bench_must(ks_ok(ks_sign(job->own, NULL, &mech, in, sizeof(in), sig, &len, &err)),
                   "ks_sign");
    }
    note_rate(job, from);
    return NULL;
}

/* Hash the message with libcrypto alone. */
static void *hash(void *arg)
{
    const struct job *job = arg;
    unsigned char out[EVP_MAX_MD_SIZE];

    for (unsigned i = 0; i < job->rounds; i++)
        bench_must(EVP_Q_digest(bench_libctx, "SHA256", NULL, MESSAGE, sizeof(MESSAGE), out, NULL),
                   "SHA-256");
    return NULL;
}

/* --- setting up ------------------------------------------------------------------------------ */

static void tokens(unsigned others, bool cheap)
{
    static const enum fake_kind built_in[] = {FAKE_RSA, FAKE_P256};
    static const char *const names[] = {"rsa", "ec"};

    fake_reset();
    bench_slot = fake_add_token(NULL);
    for (int i = 0; i < 2; i++) {
        fake_add_pairs(bench_slot, built_in[i], i == 0 ? "other-rsa-" : "other-ec-", others);
        fake_add_key(bench_slot,
                     &(struct fake_key){
                         .kind = built_in[i], .label = names[i], .id = names[i], .material = 1});
    }
    fake_set_cheap(cheap);
}

static size_t encrypt(EVP_PKEY *key, int padding, unsigned char *out)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(bench_libctx, key, NULL);
    size_t len = SIG_MAX;

    bench_must(EVP_PKEY_encrypt_init(ctx) == 1 && EVP_PKEY_CTX_set_rsa_padding(ctx, padding) == 1 &&
                   EVP_PKEY_encrypt(ctx, out, &len, (const unsigned char *)MESSAGE, 48) == 1,
               "encrypt");
    EVP_PKEY_CTX_free(ctx);
    return len;
}

static void run(const struct job *model, unsigned threads, unsigned rounds, void *(*opts)(void *))
{
    struct job jobs[THREADS_MAX];

    for (unsigned i = 0; i < threads; i++) {
        jobs[i] = *model;
        jobs[i].rounds = rounds;
        jobs[i].rate = model->rate != NULL ? model->rate + i : NULL;
    }
    bench_threads(threads, opts, jobs, sizeof(jobs[0]));
}

/* Make calls slow for a moment, so that every thread opens a session of its own. */
static void warm_up(const struct job *model, unsigned threads, void *(*opts)(void *))
{
    run(model, 1, 2, opts);
    fake_set_latency("C_SignInit", 20000);
    fake_set_latency("C_DecryptInit", 20000);
    run(model, threads, 3, opts);
    fake_set_latency("C_SignInit", 0);
    fake_set_latency("C_DecryptInit", 0);
}

/* --- measurements ---------------------------------------------------------------------------- */

static void calls(void)
{
    static const unsigned threads[] = {1, 8, 32};
    unsigned char cipher[SIG_MAX];

    printf("\nPKCS#11 calls per operation (sessions opened or closed meanwhile)\n"
           "%-20s %12s %12s %12s\n",
           "", "1 thread", "8 threads", "32 threads");
    for (unsigned kind = 0; kind < KINDS; kind++) {
        struct job model = {.kind = (enum kind)kind, .cipher = cipher};

        tokens(0, false);
        bench_up();
        model.key = bench_key(kinds[kind].key);
        if (kinds[kind].decrypt)
            model.cipher_len = encrypt(model.key, kinds[kind].padding, cipher);
        printf("%-20s", kinds[kind].name);
        for (unsigned i = 0; i < 3; i++) {
            char cell[32];

            warm_up(&model, threads[i], work);
            fake_clear_counts();
            run(&model, threads[i], 40, work);
            snprintf(cell, sizeof(cell), "%.3f (%lu)",
                     (double)fake_calls(NULL) / (threads[i] * 40.0),
                     fake_calls("C_OpenSession") + fake_calls("C_CloseSession"));
            printf(" %12s", cell);
        }
        printf("\n");
        EVP_PKEY_free(model.key);
        bench_down();
    }
}

static CK_FUNCTION_LIST *module_up(void)
{
    CK_FUNCTION_LIST *fn = p11_kit_module_load(FAKE_PKCS11_PATH, 0);

    bench_must(fn != NULL && p11_kit_module_initialize(fn) == CKR_OK, "p11-kit");
    return fn;
}

static void module_down(CK_FUNCTION_LIST *fn)
{
    p11_kit_module_finalize(fn);
    p11_kit_module_release(fn);
}

/* Run the loop over the module alone, with a session for each thread. Returns the nanoseconds that
 * passed on `clock`. */
static double bare_ns(const struct job *model, CK_FUNCTION_LIST *fn, unsigned threads,
                      unsigned rounds, uint64_t (*clock)(void))
{
    struct job jobs[THREADS_MAX];
    uint64_t from;
    double ns;

    for (unsigned i = 0; i < threads; i++) {
        jobs[i] = *model;
        jobs[i].rate = model->rate != NULL ? model->rate + i : NULL;
        jobs[i].fn = fn;
        jobs[i].rounds = rounds;
        bench_must(fn->C_OpenSession(bench_slot, CKF_SERIAL_SESSION, NULL, NULL,
                                     &jobs[i].session) == CKR_OK,
                   "C_OpenSession");
    }
    from = clock();
    bench_threads(threads, bare, jobs, sizeof(jobs[0]));
    ns = (double)(clock() - from);
    for (unsigned i = 0; i < threads; i++)
        fn->C_CloseSession(jobs[i].session);
    return ns;
}

static double sum(const double *rates, unsigned count)
{
    double all = 0;

    for (unsigned i = 0; i < count; i++)
        all += rates[i];
    return all;
}

#define TOKEN_US 2000

/* How long the token has to sleep so that a signature takes TOKEN_US to one thread that does
 * nothing else: what the system adds to a sleep, and much more so in a virtual machine, is no part
 * of that. Measured without any code of ours; the lowest of some, as whatever else the machine
 * does can only add. */
static unsigned sleep_for_latency(struct job *model, CK_FUNCTION_LIST *fn)
{
    double lowest = 1e9, us;

    fake_set_latency("C_Sign", TOKEN_US);
    for (int i = 0; i < 10; i++) {
        (void)bare_ns(model, fn, 1, 100, bench_now);
        us = 1e6 / model->rate[0];
        if (us < lowest)
            lowest = us;
    }
    fake_set_latency("C_Sign", 0);
    bench_must(lowest >= TOKEN_US && lowest < 2 * TOKEN_US, "sleeps of a known length");
    return (unsigned)(2 * TOKEN_US - lowest);
}

/* Find the key of `job->key` with the keystore. */
static struct ks_token *keystore_up(struct job *job)
{
    const struct ks_token_config config = {.name = "bench",
                                           .module = FAKE_PKCS11_PATH,
                                           .token = "pkcs11:token=fake",
                                           .pin = "env:HSM_BENCH_PIN"};
    struct ks_token *token = NULL;
    struct ks_uri *uri = NULL;
    struct ks_error err;

    bench_must(ks_ok(ks_token_new(&config, &token, &err)) &&
                   ks_ok(ks_uri_parse("pkcs11:object=ec", KS_URI_CALLER, &uri, &err)) &&
                   ks_ok(ks_key_find(token, NULL, uri, &job->own, &err)),
               "a key in the keystore");
    ks_uri_free(uri);
    return token;
}

/* Sum up the rates of the threads, which leaves out the time to start and join them. */
static double rate_of(const struct job *model, CK_FUNCTION_LIST *fn, unsigned threads,
                      void *(*opts)(void *))
{
    const unsigned rounds = 100;

    if (opts == bare)
        (void)bare_ns(model, fn, threads, rounds, bench_now);
    else
        run(model, threads, rounds, opts);
    return sum(model->rate, threads);
}

static void throughput(void)
{
    static const unsigned threads[] = {1, 8, 32, 64};
    static void *(*const ways[])(void *) = {bare, keystore, work};
    double rates[THREADS_MAX];
    struct job model = {.kind = ECDSA, .rate = rates};
    struct ks_token *token;
    CK_FUNCTION_LIST *fn;
    unsigned sleep_us;

    tokens(0, true);
    bench_up();
    fn = module_up();
    model.key = bench_key("ec");
    model.handle = fake_find(bench_slot, CKO_PRIVATE_KEY, "ec");
    token = keystore_up(&model);
    sleep_us = sleep_for_latency(&model, fn);
    printf(
        "\nECDSA signatures per second on a token that takes 2 ms for each (a sleep of %u us) and\n"
        "any number at a time, as a share of threads / 2 ms\n"
        "%-10s %14s %14s %14s %14s\n",
        sleep_us, "threads", "threads/2 ms", "bare C_Sign's", "keystore", "EVP, hsm");
    for (unsigned i = 0; i < 4; i++) {
        const unsigned slices = 10;
        double all[3] = {0};

        warm_up(&model, threads[i], keystore);
        warm_up(&model, threads[i], work);
        fake_set_latency("C_Sign", sleep_us);
        /* The two are measured by turns, so that other load on the machine meets both. */
        for (unsigned j = 0; j < 3 * slices; j++)
            all[j % 3] += rate_of(&model, fn, threads[i], ways[j % 3]) / slices;
        fake_set_latency("C_Sign", 0);
        printf("%-10u %14.0f", threads[i], threads[i] * 1e6 / TOKEN_US);
        for (unsigned j = 0; j < 3; j++)
            printf(" %13.1f%%", 100 * all[j] * TOKEN_US / 1e6 / threads[i]);
        printf("\n");
    }
    ks_key_free(model.own);
    ks_token_free(token);
    EVP_PKEY_free(model.key);
    module_down(fn);
    bench_down();
}

static long switches(void)
{
    struct rusage usage;

    bench_must(getrusage(RUSAGE_SELF, &usage) == 0, "getrusage");
    return usage.ru_nvcsw;
}

/* A hand-over is each time that a thread goes to sleep: the caller to wait for the worker, and the
 * worker to wait for its next job. */
static void handovers(void)
{
    static const char *const limits[] = {NULL, "20000"};
    const unsigned rounds = 5000;

    printf("\nThread hand-overs per signature (voluntary context switches), 1 thread\n");
    for (int i = 0; i < 2; i++) {
        struct job model = {.kind = ECDSA};
        long before;

        if (limits[i] != NULL)
            prov_config_override("timeout-ms", limits[i]);
        tokens(0, true);
        bench_up();
        model.key = bench_key("ec");
        run(&model, 1, 10, work);
        before = switches();
        run(&model, 1, rounds, work);
        printf("%-20s %12.3f\n", limits[i] != NULL ? "with timeout-ms" : "without",
               (double)(switches() - before) / rounds);
        EVP_PKEY_free(model.key);
        bench_down();
    }
    prov_config_override("timeout-ms", NULL);
}

static double cpu_of(const struct job *model, unsigned threads, unsigned rounds,
                     void *(*opts)(void *))
{
    uint64_t from = bench_cpu();

    run(model, threads, rounds, opts);
    return (double)(bench_cpu() - from) / ((double)threads * rounds * 1000);
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static void cpu_row(enum kind kind, CK_FUNCTION_LIST *fn, unsigned threads)
{
    const unsigned rounds = 20000 / threads;
    struct job model = {.kind = kind, .key = bench_key(kinds[kind].key)};
    double ours[5], lowest[5], hashing[5];

    model.handle = fake_find(bench_slot, CKO_PRIVATE_KEY, kinds[kind].key);
    warm_up(&model, threads, work);
    for (int i = 0; i < 5; i++) {
        lowest[i] =
            bare_ns(&model, fn, threads, rounds, bench_cpu) / ((double)threads * rounds * 1000);
        hashing[i] = cpu_of(&model, threads, rounds, hash);
        ours[i] = cpu_of(&model, threads, rounds, work);
    }
    qsort(lowest, 5, sizeof(double), by_value);
    qsort(hashing, 5, sizeof(double), by_value);
    qsort(ours, 5, sizeof(double), by_value);
    printf("%-20s %8u %10.2f us %10.2f us %10.2f us %8.1f\n", kinds[kind].name, threads, lowest[2],
           hashing[2], ours[2], ours[2] / lowest[2]);
    EVP_PKEY_free(model.key);
}

static void cpu(void)
{
    static const unsigned threads[] = {1, 8, 64};
    CK_FUNCTION_LIST *fn;

    tokens(0, true);
    bench_up();
    fn = module_up();
    printf("\nCPU per signature over a token that does nothing (median of 5)\n"
           "%-20s %8s %13s %13s %13s %8s\n",
           "", "threads", "bare C_Sign", "SHA-256", "EVP, hsm", "ratio");
    for (unsigned i = 0; i < 3; i++)
        for (unsigned kind = PKCS1; kind <= ECDSA; kind++)
            cpu_row((enum kind)kind, fn, threads[i]);
    module_down(fn);
    bench_down();
}

/* --- loading --------------------------------------------------------------------------------- */

static double load_once(BIO *pem, unsigned long *calls_made)
{
    struct job job = {.kind = PKCS1, .rounds = 1};
    uint64_t from;
    double us;

    bench_up();
    fake_clear_counts();
    from = bench_now();
    (void)BIO_reset(pem);
    job.key = PEM_read_bio_PrivateKey_ex(pem, NULL, NULL, NULL, bench_libctx, NULL);
    bench_must(job.key != NULL, "PEM_read_bio_PrivateKey_ex");
    sign_once(&job);
    us = (double)(bench_now() - from) / 1000;
    *calls_made = fake_calls(NULL);
    EVP_PKEY_free(job.key);
    bench_down();
    return us;
}

static void load(void)
{
    static const unsigned others[] = {0, 4999};
    double us[2][21];
    BIO *pem, *copy = BIO_new(BIO_s_mem());
    unsigned long made[2];
    EVP_PKEY *key;
    char *text;
    long len;

    tokens(0, true);
    bench_up();
    key = bench_key("rsa");
    bench_must(PEM_write_bio_PrivateKey(copy, key, NULL, NULL, 0, NULL, NULL), "PEM");
    EVP_PKEY_free(key);
    bench_down();
    len = BIO_get_mem_data(copy, &text);
    pem = BIO_new_mem_buf(text, (int)len);
    printf("\nFrom a reference (PEM) to the first signature, RSA, module not used before\n"
           "%-12s %16s %16s\n",
           "key pairs", "PKCS#11 calls", "median of 21");
    for (int i = 0; i < 2; i++) {
        tokens(others[i], true);
        for (int j = 0; j < 21; j++)
            us[i][j] = load_once(pem, &made[i]);
        qsort(us[i], 21, sizeof(double), by_value);
        /* of each type */
        printf("%-12u %16lu %13.0f us\n", others[i] + 1, made[i], us[i][10]);
    }
    printf("ratio %32.2f\n", us[1][10] / us[0][10]);
    printf("(what grows is the fake's own search: it looks at one object after the other)\n");
    BIO_free(pem);
    BIO_free(copy);
}

/* --- memory ---------------------------------------------------------------------------------- */

static long resident_kib(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    long size = 0, resident = 0;

    bench_must(file != NULL && fscanf(file, "%ld %ld", &size, &resident) == 2, "/proc/self/statm");
    fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void memory(void)
{
    const unsigned rounds = 100000 / 8;

    tokens(0, true);
    bench_up();
    printf("\nResident memory over 100,000 signatures in 8 threads\n%-20s %12s %12s %12s\n", "",
           "before", "after", "growth");
    for (unsigned kind = PKCS1; kind <= ECDSA; kind++) {
        struct job model = {.kind = (enum kind)kind, .key = bench_key(kinds[kind].key)};
        long before, after;

        warm_up(&model, 8, work);
        run(&model, 8, 2000, work);
        before = resident_kib();
        run(&model, 8, rounds, work);
        after = resident_kib();
        printf("%-20s %8ld KiB %8ld KiB %8ld KiB\n", kinds[kind].name, before, after,
               after - before);
        EVP_PKEY_free(model.key);
    }
    bench_down();
}

static const struct {
    const char *name;
    void (*measure)(void);
} measurements[] = {
    {"calls", calls}, {"throughput", throughput}, {"handovers", handovers}, {"cpu", cpu},
    {"load", load},   {"memory", memory},
};
#define MEASUREMENTS ((int)(sizeof(measurements) / sizeof(measurements[0])))

int main(int argc, char **argv)
{
    int done = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 0; i < MEASUREMENTS; i++) {
        bool wanted = argc == 1;

        for (int j = 1; j < argc; j++)
            wanted = wanted || strcmp(argv[j], measurements[i].name) == 0;
        if (wanted) {
            measurements[i].measure();
            done++;
        }
    }
    if (done < (argc == 1 ? MEASUREMENTS : argc - 1)) {
        fprintf(stderr, "usage: %s [calls] [throughput] [handovers] [cpu] [load] [memory]\n",
                argv[0]);
        return 2;
    }
    return 0;
}
