/* SPDX-License-Identifier: Apache-2.0
 *
 * instructions ROW: do what the row says ROUNDS times over the fake module, after a warm-up, for
 * callgrind to count: bench/run.sh instructions runs it, with collection switched by the functions
 * counted_*. A count is the same on every machine with the same libraries, so that it can be held
 * against that of an earlier version. The fake token's own instructions are not counted.
 */
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

#define MESSAGE "what a TLS server signs has about this size: 64 bytes and 2 nonces"

void counted_signature(EVP_PKEY *key);
void counted_key(BIO *pem);
void counted_load(BIO *pem);
void begin_counting(void);

static EVP_PKEY *load(BIO *pem)
{
    EVP_PKEY *key;

    bench_must(BIO_reset(pem) >= 0, "BIO_reset");
    key = PEM_read_bio_PrivateKey_ex(pem, NULL, NULL, NULL, bench_libctx, NULL);
    bench_must(key != NULL, "a key from its reference");
    return key;
}

static void sign(EVP_PKEY *key)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    unsigned char sig[512];
    size_t len = sizeof(sig);

    bench_must(
        EVP_DigestSignInit_ex(ctx, NULL, "SHA256", bench_libctx, NULL, key, NULL) == 1 &&
            EVP_DigestSign(ctx, sig, &len, (const unsigned char *)MESSAGE, sizeof(MESSAGE)) == 1,
        "a signature");
    EVP_MD_CTX_free(ctx);
}

/* Not inline and not static: callgrind knows them by their names. */
__attribute__((noinline)) void counted_key(BIO *pem)
{
    EVP_PKEY *key = load(pem);

    sign(key);
    EVP_PKEY_free(key);
}

__attribute__((noinline)) void counted_load(BIO *pem)
{
    EVP_PKEY_free(load(pem));
}

__attribute__((noinline)) void counted_signature(EVP_PKEY *key)
{
    sign(key);
}

static const struct row {
    const char *name;
    enum fake_kind kind;
    bool cheap;
    bool load, sign;
    bool software; /* a key of libcrypto's own, to hold ours against */
} rows[] = {
    {"rsa", FAKE_RSA, true, true, true, false},
    {"rsa-load", FAKE_RSA, true, true, false, false},
    {"rsa-sign", FAKE_RSA, true, false, true, false},
    {"ec", FAKE_P256, false, true, true, false},
    {"ec-load", FAKE_P256, false, true, false, false},
    {"ec-sign", FAKE_P256, false, false, true, false},
    {"software-load", FAKE_RSA, true, true, false, true},
    {"software-alone", FAKE_RSA, true, true, false, true},
};

/* Write the key as PEM to a memory BIO that can be read again and again. Frees the key. */
static BIO *pem_of(EVP_PKEY *key)
{
    static char copy[8192];
    BIO *pem = BIO_new(BIO_s_mem());
    char *text;
    long len;

    bench_must(PEM_write_bio_PrivateKey(pem, key, NULL, NULL, 0, NULL, NULL), "PEM");
    EVP_PKEY_free(key);
    len = BIO_get_mem_data(pem, &text);
    bench_must(len > 0 && (size_t)len < sizeof(copy), "room for the PEM");
    memcpy(copy, text, (size_t)len);
    BIO_free(pem);
    return BIO_new_mem_buf(copy, (int)len);
}

static BIO *reference(void)
{
    return pem_of(bench_key("k"));
}

static BIO *software(void)
{
    return pem_of(EVP_PKEY_Q_keygen(bench_libctx, "provider=default", "RSA", (size_t)2048));
}

/* From here on instructions are counted: callgrind forgets the earlier ones when it comes here. */
__attribute__((noinline)) void begin_counting(void)
{
    __asm__ volatile("");
}

/* A library context without our provider. */
static void alone(void)
{
    bench_down();
    bench_libctx = OSSL_LIB_CTX_new();
}

int main(int argc, char **argv)
{
    const struct row *row = NULL;
    EVP_PKEY *key;
    BIO *pem;
    int rounds;

    for (size_t i = 0; argc == 3 && i < sizeof(rows) / sizeof(rows[0]); i++)
        row = strcmp(argv[1], rows[i].name) == 0 ? &rows[i] : row;
    if (row == NULL) {
        fprintf(stderr, "usage: %s ROW ROUNDS\n", argv[0]);
        return 2;
    }
    rounds = atoi(argv[2]);
    fake_reset();
    bench_slot = fake_add_token(NULL);
    fake_add_key(bench_slot,
                 &(struct fake_key){.kind = row->kind, .label = "k", .id = "k", .material = 1});
    fake_set_cheap(row->cheap);
    bench_up();
    pem = row->software ? software() : reference();
    if (strcmp(row->name, "software-alone") == 0)
        alone();
    /* so that nothing but a signature says which key an EC key is */
    fake_remove_object(fake_find(bench_slot, 2 /* CKO_PUBLIC_KEY */, "k"));
    fake_hide_attribute(FAKE_ANY, 0x129 /* CKA_PUBLIC_KEY_INFO */);
    /* a warm-up, so that what is done once in a process or with a connection is not counted */
    for (int i = 0; i < 3; i++) {
        key = load(pem);
        sign(key);
        EVP_PKEY_free(key);
    }
    key = load(pem);
    sign(key);
    begin_counting();
    for (int i = 0; i < rounds; i++) {
        if (!row->load)
            counted_signature(key);
        else if (row->sign)
            counted_key(pem);
        else
            counted_load(pem);
    }
    _exit(0); /* nor is the end of the process counted */
}
