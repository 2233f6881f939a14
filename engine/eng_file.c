/* SPDX-License-Identifier: Apache-2.0
 *
 * eng_file.c - files that stand for keys.
 *
 * Each block of the file is looked at before libcrypto gets it: a vendor's fake PEM would load as
 * a software key and sign rubbish, and a private key in software is not what anybody means who
 * names this engine.
 */
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/decoder.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

#include "eng_local.h"
#include "fakepem.h"

#define FILE_MAX ((size_t)1024 * 1024)
/* The most private keys in software that are looked at in one file. An ill-meant key can cost
 * seconds each. */
#define KEYS_MAX 4

/* What the file holds besides the key, for the error if it holds no usable key. */
struct found {
    bool software, fake, reference;
    unsigned keys; /* software or fake */
};

/* Read the whole file into memory. NULL, and an error is raised, when it cannot be read. */
static BIO *read_file(const char *path)
{
    char shown[ENG_SHOWN], buffer[4096];
    BIO *file = BIO_new_file(path, "rb"), *memory = BIO_new(BIO_s_mem());
    size_t all = 0;
    int n = 0;

    eng_escape(shown, sizeof(shown), path);
    if (file == NULL || memory == NULL) {
        eng_raise(ENG_R_FILE,
                  "%s: cannot be read; the engine takes a pkcs11: URI, the path of a key "
                  "reference, or slot_N-id_HEX, slot_N-label_NAME, id_HEX, label_NAME",
                  shown);
        goto fail;
    }
    while (all <= FILE_MAX && (n = BIO_read(file, buffer, sizeof(buffer))) > 0) {
        if (BIO_write(memory, buffer, n) != n)
            goto fail;
        all += (size_t)n;
    }
    if (n < 0 || all > FILE_MAX) {
        eng_raise(ENG_R_FILE, "%s: %s", shown,
                  n < 0 ? "cannot be read; is it a file?" : "is too big for a key reference");
        goto fail;
    }
    OPENSSL_cleanse(buffer, sizeof(buffer));
    BIO_free(file);
    return memory;
fail:
    OPENSSL_cleanse(buffer, sizeof(buffer));
    BIO_free(file);
    BIO_free(memory);
    return NULL;
}

/* Decode one block's DER with the provider's decoders alone. */
static EVP_PKEY *decode(const unsigned char *der, size_t len, const struct eng_ui *ui)
{
    OSSL_DECODER_CTX *decoder = NULL;
    EVP_PKEY *key = NULL;

    decoder = OSSL_DECODER_CTX_new_for_pkey(&key, "DER", NULL, NULL, EVP_PKEY_KEYPAIR, NULL,
                                            ENG_PROVIDER_ONLY);
    if (decoder == NULL ||
        (ui->method != NULL && !OSSL_DECODER_CTX_set_passphrase_ui(decoder, ui->method, ui->data)))
        goto out;
    if (!OSSL_DECODER_from_data(decoder, &der, &len)) {
        EVP_PKEY_free(key);
        key = NULL;
    }
out:
    OSSL_DECODER_CTX_free(decoder);
    return key;
}

/* Tell whether libcrypto reads the block as a key without our provider: then it is a software
 * key. */
static bool works_without_us(const unsigned char *der, size_t len)
{
    EVP_PKEY *key = d2i_AutoPrivateKey_ex(NULL, &der, (long)len, NULL, "provider!=" ENG_PROVIDER);
    bool works = key != NULL && !eng_is_ours(key);

    EVP_PKEY_free(key);
    return works;
}

/* Load a block that has the PEM label of a reference. Software keys have one of these labels,
 * too. */
static EVP_PKEY *try_reference(const unsigned char *der, size_t len, const struct eng_ui *ui,
                               struct found *found)
{
    EVP_PKEY *key;

    ERR_set_mark();
    key = decode(der, len, ui);
    if (key != NULL && eng_is_ours(key)) {
        ERR_pop_to_mark();
        return key;
    }
    EVP_PKEY_free(key);
    if (works_without_us(der, len)) {
        ERR_pop_to_mark();
        found->software = true;
        found->keys++;
    } else {
        ERR_clear_last_mark();
        found->reference = true;
    }
    return NULL;
}

static EVP_PKEY *try_block(const char *name, const unsigned char *der, size_t len,
                           const struct eng_ui *ui, struct found *found)
{
    switch (eng_pem_kind(der, len, NULL)) {
    case ENG_PEM_FAKE:
        found->fake = true;
        found->keys++;
        return NULL;
    case ENG_PEM_SOFTWARE:
        found->software = true;
        found->keys++;
        return NULL;
    case ENG_PEM_OTHER:
        break;
    }
    if (strcmp(name, PEM_STRING_PKCS8INF) == 0 || strcmp(name, "HSM KEY REFERENCE") == 0 ||
        strcmp(name, "PKCS#11 PROVIDER URI") == 0)
        return try_reference(der, len, ui, found);
    found->software = found->software || eng_pem_is_private(name);
    return NULL;
}

/* Try all blocks, up to the first that gives a key, or until KEYS_MAX software keys were seen. A
 * file that is not PEM is one block. */
static EVP_PKEY *try_all(BIO *file, const struct eng_ui *ui, struct found *found)
{
    char *name = NULL, *header = NULL, *start;
    unsigned char *der = NULL;
    long len = BIO_get_mem_data(file, &start);
    EVP_PKEY *key = NULL;
    bool any = false;

    if (len > 0 && start[0] == 0x30)
        return try_block(PEM_STRING_PKCS8INF, (const unsigned char *)start, (size_t)len, ui, found);
    while (key == NULL && !found->reference && found->keys < KEYS_MAX) {
        ERR_set_mark();
        any = PEM_read_bio(file, &name, &header, &der, &len) == 1;
        ERR_pop_to_mark();
        if (!any)
            break;
        key = try_block(name, der, (size_t)len, ui, found);
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_clear_free(der, (size_t)len);
        name = header = NULL;
        der = NULL;
    }
    return key;
}

static void explain(const char *path, const struct found *found)
{
    char shown[ENG_SHOWN];

    eng_escape(shown, sizeof(shown), path);
    if (found->reference)
        eng_raise(ENG_R_NOT_LOADED, "%s: the key that this file stands for cannot be used", shown);
    else if (found->fake)
        eng_raise(ENG_R_FAKE_PEM,
                  "%s: a fake PEM whose private numbers are false and name a key to its vendor's "
                  "engine only; this command makes a key reference of it: hsmkey reference "
                  "--from-fake %s -o NEW.pem",
                  shown, shown);
    else if (found->software)
        eng_raise(ENG_R_SOFTWARE_KEY,
                  "%s: holds a private key itself, which is not in the HSM; the engine loads no "
                  "keys in software",
                  shown);
    else
        eng_raise(ENG_R_FILE, "%s: holds no key reference; hsmkey reference makes one", shown);
}

EVP_PKEY *eng_load_reference(const char *path, const struct eng_ui *ui)
{
    struct found found = {0};
    EVP_PKEY *key = NULL;
    BIO *file = read_file(path);

    if (file == NULL)
        return NULL;
    key = try_all(file, ui, &found);
    if (key == NULL)
        explain(path, &found);
    BIO_free(file);
    return key;
}
