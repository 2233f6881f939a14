/* SPDX-License-Identifier: Apache-2.0
 *
 * Forks in the midst of everything that takes time: a thread is inside the module, or waits for a
 * person, and the child of the fork, which does not have that thread, uses the same key and the
 * same provider. Whatever lock of ours the thread holds then, the child is not kept waiting by it.
 */
#include <openssl/core_names.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <p11-kit/pkcs11.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../provider/core/lifecycle.h"
#include "with_provider.h"

#define CHILD_LIMIT 20 /* seconds */

static EVP_PKEY *key, *pub;
static unsigned long handle;
static char reference[4096];
static char log_target[64]; /* every line is written while others are forked */

/* --- what threads are in the middle of ------------------------------------------------------- */

static int sign(void)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new(), *verify = EVP_MD_CTX_new();
    unsigned char sig[SIG_MAX];
    size_t len = sizeof(sig);
    int ok = EVP_DigestSignInit_ex(ctx, NULL, "SHA256", libctx, NULL, key, NULL) == 1 &&
             EVP_DigestSign(ctx, sig, &len, (const uint8_t *)"abc", 3) == 1 &&
             EVP_DigestVerifyInit_ex(verify, NULL, "SHA256", plain, NULL, pub, NULL) == 1 &&
             EVP_DigestVerify(verify, sig, len, (const uint8_t *)"abc", 3) == 1;

    EVP_MD_CTX_free(ctx);
    EVP_MD_CTX_free(verify);
    return ok;
}

static int decrypt(void)
{
    EVP_PKEY_CTX *enc = EVP_PKEY_CTX_new_from_pkey(plain, pub, NULL);
    EVP_PKEY_CTX *dec = EVP_PKEY_CTX_new_from_pkey(libctx, key, NULL);
    unsigned char in[SIG_MAX], out[SIG_MAX];
    size_t in_len = sizeof(in), out_len = sizeof(out);
    int ok = EVP_PKEY_encrypt_init(enc) == 1 &&
             EVP_PKEY_CTX_set_rsa_padding(enc, RSA_PKCS1_PADDING) == 1 &&
             EVP_PKEY_encrypt(enc, in, &in_len, (const uint8_t *)"abc", 3) == 1 &&
             EVP_PKEY_decrypt_init(dec) == 1 &&
             EVP_PKEY_CTX_set_rsa_padding(dec, RSA_PKCS1_PADDING) == 1 &&
             EVP_PKEY_decrypt(dec, out, &out_len, in, in_len) == 1 && out_len == 3 &&
             memcmp(out, "abc", 3) == 0;

    EVP_PKEY_CTX_free(enc);
    EVP_PKEY_CTX_free(dec);
    return ok;
}

static EVP_PKEY *load_with(pem_password_cb *ask)
{
    BIO *bio = BIO_new_mem_buf(reference, -1);
    EVP_PKEY *loaded_key = PEM_read_bio_PrivateKey_ex(bio, NULL, ask, NULL, libctx, NULL);

    BIO_free(bio);
    return loaded_key;
}

static int load(void)
{
    EVP_PKEY *another = load_with(NULL);

    EVP_PKEY_free(another);
    return another != NULL;
}

static int list(void)
{
    OSSL_STORE_CTX *store =
        OSSL_STORE_open_ex("pkcs11:", libctx, NULL, NULL, NULL, NULL, NULL, NULL);
    int seen = 0;

    while (store != NULL && !OSSL_STORE_eof(store)) {
        OSSL_STORE_INFO *info = OSSL_STORE_load(store);

        seen += info != NULL;
        OSSL_STORE_INFO_free(info);
    }
    OSSL_STORE_close(store);
    return seen > 0;
}

static int generate(void)
{
    static atomic_uint count;
    char label[40];
    OSSL_PARAM params[] = {OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)"P-256", 5),
                           OSSL_PARAM_utf8_string("hsm-label", label, 0), OSSL_PARAM_END};
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(libctx, "EC", "provider=hsm");
    EVP_PKEY *new_key = NULL;
    int ok;

    snprintf(label, sizeof(label), "made-%ld-%u", (long)getpid(), atomic_fetch_add(&count, 1));
    params[1].data_size = strlen(label);
    ok = EVP_PKEY_keygen_init(ctx) == 1 && EVP_PKEY_CTX_set_params(ctx, params) == 1 &&
         EVP_PKEY_generate(ctx, &new_key) == 1;
    EVP_PKEY_free(new_key);
    EVP_PKEY_CTX_free(ctx);
    return ok;
}

static int draw(void)
{
    EVP_RAND *rand = EVP_RAND_fetch(libctx, "HSM-RAND", NULL);
    EVP_RAND_CTX *ctx = EVP_RAND_CTX_new(rand, NULL);
    unsigned char out[32];
    int ok = EVP_RAND_instantiate(ctx, 256, 0, NULL, 0, NULL) == 1 &&
             EVP_RAND_generate(ctx, out, sizeof(out), 256, 0, NULL, 0) == 1;

    EVP_RAND_CTX_free(ctx);
    EVP_RAND_free(rand);
    return ok;
}

/* As the statistics' parameter is asked for all the time, and whatever it is answered with. */
static int statistics(void)
{
    char *text = NULL;
    OSSL_PARAM params[] = {OSSL_PARAM_utf8_ptr(PROV_PARAM_STATS, &text, 0), OSSL_PARAM_END};

    return sign() && OSSL_PROVIDER_get_params(loaded[1], params) == 1 && text != NULL;
}

/* --- and a person ---------------------------------------------------------------------------- */

static pthread_barrier_t asked, answered;
static pid_t parent;

/* In the parent it takes until the child is gone. */
static int ask(char *buf, int size, int rwflag, void *u)
{
    (void)rwflag;
    (void)u;
    if (getpid() == parent) {
        pthread_barrier_wait(&asked);
        pthread_barrier_wait(&answered);
    }
    return snprintf(buf, (size_t)size, "1234");
}

static int load_asking(void)
{
    EVP_PKEY *another = load_with(ask);

    EVP_PKEY_free(another);
    return another != NULL;
}

/* --- the table ------------------------------------------------------------------------------- */

static const struct row {
    const char *name;
    int (*run)(void);
    const char *function; /* the thread is in there; NULL: it waits for a person */
    bool lazy;  /* check-key-at-load = no, so that the key is looked up by its first use */
    bool fails; /* p11-kit has a lock of its own then: an error, and no hang */
} rows[] = {
    {"the first use looks the key up", sign, "C_FindObjectsInit", true, false},
    {"the first use reads the key", sign, "C_GetAttributeValue", true, false},
    {"the first use connects", sign, "C_Initialize", true, true},
    {"the first use looks for the slot", sign, "C_GetSlotList", true, false},
    {"the first use asks the slot", sign, "C_GetTokenInfo", true, false},
    {"the first use opens a session", sign, "C_OpenSession", true, false},
    {"the first use logs in", sign, "C_Login", true, false},
    {"the first use asks for mechanisms", sign, "C_GetMechanismList", true, false},
    {"the first decryption looks the key up", decrypt, "C_FindObjectsInit", true, false},
    {"the first decryption makes its secret", decrypt, "C_Decrypt", false, false},
    {"a signature", sign, "C_Sign", false, false},
    {"a signature begins", sign, "C_SignInit", false, false},
    {"a load", load, "C_FindObjectsInit", false, false},
    {"a listing", list, "C_FindObjects", false, false},
    {"a listing reads", list, "C_GetAttributeValue", false, false},
    {"a generation", generate, "C_GenerateKeyPair", false, false},
    {"random numbers", draw, "C_GenerateRandom", false, false},
    {"statistics are asked for", statistics, "C_Sign", false, false},
    {"a person is asked for the PIN", load_asking, NULL, false, false},
};

static void start(const struct row *row)
{
    EVP_PKEY *made;
    BIO *bio;

    token_up();
    handle = fake_add_key(slot, &(struct fake_key){.kind = FAKE_RSA, .label = "k"});
    parent = getpid();
    snprintf(log_target, sizeof(log_target), "file:/tmp/hsm-unit-forks-%ld", (long)parent);
    provider_up("all rsa-tls keygen rand");
    made = load_key("k");
    bio = BIO_new(BIO_s_mem());
    ck_assert_int_eq(PEM_write_bio_PrivateKey(bio, made, NULL, NULL, 0, NULL, NULL), 1);
    ck_assert_int_gt(BIO_read(bio, reference, sizeof(reference) - 1), 0);
    BIO_free(bio);
    EVP_PKEY_free(made);
    provider_down();
    prov_config_override("check-key-at-load", row->lazy ? "no" : NULL);
    prov_config_override("log", log_target);
    prov_config_override("log-level", "debug");
    pin_source = row->function != NULL ? pin_source : "prompt";
    provider_up("all rsa-tls keygen rand");
    pub = public_half(handle);
}

static void *thread_main(void *arg)
{
    const struct row *row = arg;
    static int done;

    done = row->run();
    return done == 1 ? &done : NULL;
}

static void child(const struct row *row)
{
    signal(SIGALRM, SIG_DFL);
    alarm(CHILD_LIMIT);
    fake_heal(NULL);
    fake_release();
    if (row->fails)
        _exit(row->run() == 0 && our_reason() == PROV_R_TOKEN + KS_MODULE ? 0 : 2);
    if (row->run() != 1 || (row->function != NULL && sign() != 1)) {
        ERR_print_errors_fp(stderr);
        _exit(1);
    }
    _exit(0);
}

static void fork_in_the_midst_of(const struct row *row)
{
    pthread_t thread;
    void *good = NULL;
    int status = 0;
    pid_t pid;

    if (row->function != NULL)
        fake_hang(row->function, 1);
    ck_assert_int_eq(pthread_create(&thread, NULL, thread_main, (void *)(uintptr_t)row), 0);
    if (row->function != NULL)
        ck_assert_msg(fake_wait_hanging(1, 10000), "%s: never in %s", row->name, row->function);
    else
        pthread_barrier_wait(&asked);
    fflush(NULL);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        child(row);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    if (row->function != NULL)
        fake_release();
    else
        pthread_barrier_wait(&answered);
    pthread_join(thread, &good);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s: the child ended with 0x%x",
                  row->name, (unsigned)status);
    ck_assert_msg(good != NULL, "%s: the parent's thread failed", row->name);
}

START_TEST(a_child_is_not_kept_waiting)
{
    const struct row *row = &rows[_i];

    start(row);
    pthread_barrier_init(&asked, NULL, 2);
    pthread_barrier_init(&answered, NULL, 2);
    key = row->function != NULL ? load_with(NULL) : NULL;
    fork_in_the_midst_of(row);
    EVP_PKEY_free(key);
    EVP_PKEY_free(pub);
    provider_down();
    unlink(log_target + strlen("file:"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("forks");
    TCase *tcase = tcase_create("all");

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, a_child_is_not_kept_waiting, 0, COUNT(rows));
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
