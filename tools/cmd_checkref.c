/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_checkref.c - what hsmkey check says about one file with a key reference.
 *
 * Twice: once with the codec itself, whose errors are exact, and once through libcrypto's PEM
 * functions, as the program that gets the file will do it.
 */
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "../engine/fakepem.h"
#include "cmd.h"

struct file {
    struct cmd_checks *checks;
    const char *path; /* as given */
    char shown[512];  /* escaped */
    struct cmd_bytes bytes;
    struct prov_ref *ref;
    struct prov_key *key;
    EVP_PKEY *loaded; /* what a program gets */
    EVP_PKEY *pub;    /* its public half, in software */
};

static void fail(struct file *file, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void fail(struct file *file, const char *fmt, ...)
{
    char text[1600];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    cmd_check(file->checks, CMD_CHECK_FAIL, "file", "%s: %s", file->shown, text);
}

static void fail_openssl(struct file *file, const char *what)
{
    char text[1024];

    cmd_queue_text(text, sizeof(text));
    fail(file, "%s: %s", what, text);
}

static bool ends_with(const char *text, const char *end)
{
    size_t a = strlen(text), b = strlen(end);

    return a >= b && strcmp(text + a - b, end) == 0;
}

#define REFUSED                                                                                    \
    "software-private-keys = refuse forbids to use it where the HSM is asked; make a key in the "  \
    "HSM (hsmkey generate) and remove this one"

/* What a file holds besides the reference. */
struct seen {
    bool pem;      /* anything in PEM */
    bool software; /* a private key, or what passes for one */
    bool fake;     /* a vendor's PEM with false private numbers */
    bool bad;      /* a reference that is not usable; the error is in the queue */
};

/* One PEM block. */
static void look_at(struct file *file, const char *name, const unsigned char *data, size_t len,
                    struct seen *seen)
{
    bool ours = false;
    struct prov_ref *ref = prov_ref_from_der(file->checks->env->prov, data, len, &ours);

    seen->pem = true;
    seen->bad = ref == NULL && ours;
    if (ref == NULL && !ours && ends_with(name, "PRIVATE KEY")) {
        seen->software = true;
        seen->fake = seen->fake || eng_pem_kind(data, len, NULL) == ENG_PEM_FAKE;
    }
    if (file->ref == NULL) {
        file->ref = ref;
    } else {
        prov_ref_free(ref);
    }
}

/* All blocks, up to a bad reference. There may be certificates before the reference. */
static bool look(struct file *file, struct seen *seen)
{
    unsigned char *data = NULL;
    char *name = NULL, *header = NULL, why[200];
    BIO *bio;
    long len;

    if (!cmd_read_file(file->path, 0, &file->bytes, why, sizeof(why))) {
        fail(file, "cannot be read: %s", why);
        return false;
    }
    bio = cmd_bytes_bio(&file->bytes);
    if (bio == NULL) {
        fail(file, "out of memory");
        return false;
    }
    while (!seen->bad && PEM_read_bio(bio, &name, &header, &data, &len) == 1) {
        look_at(file, name, data, (size_t)len, seen);
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_clear_free(data, (size_t)len);
        name = header = NULL;
        data = NULL;
    }
    BIO_free(bio);
    return true;
}

/* Find the first reference in the file, and say what else is in there. */
static bool find_reference(struct file *file)
{
    const bool refuse = file->checks->env->prov->config.refuse_software_keys;
    struct seen seen = {0};
    bool found;

    if (!look(file, &seen)) {
        return false;
    }
    found = file->ref != NULL && !seen.bad;
    if (seen.bad) {
        fail_openssl(file, "the key reference is not usable");
    } else if (seen.fake) {
        fail(file,
             "%sa vendor's fake PEM, whose private numbers are false: software that loads it signs "
             "rubbish; this command makes a key reference of it: hsmkey reference --from-fake %s "
             "-o NEW.pem",
             found ? "holds, too, " : "", file->shown);
    } else if (found && seen.software && refuse) {
        fail(file, "holds a private key itself, too, which is not in the HSM, and " REFUSED);
    } else if (!found && seen.software) {
        fail(file, "holds a private key itself and no key reference: this key is not in the HSM%s",
             refuse ? ", and " REFUSED : "");
    } else if (!found && !seen.pem) {
        fail(file, "is no key reference; a configuration is checked with --config FILE, and hsmkey "
                   "reference makes a reference");
    } else if (!found) {
        fail(file, "holds no key reference in PEM; hsmkey reference makes one");
    }
    ERR_clear_error();
    return found;
}

/* Through libcrypto, as a program. */
static bool load(struct file *file)
{
    OSSL_LIB_CTX *libctx = file->checks->env->libctx;
    const OSSL_PROVIDER *provider;
    unsigned char *der = NULL;
    const unsigned char *p;
    int len;
    BIO *bio;

    ERR_clear_error();
    bio = cmd_bytes_bio(&file->bytes);
    file->loaded =
        bio != NULL ? PEM_read_bio_PrivateKey_ex(bio, NULL, NULL, NULL, libctx, NULL) : NULL;
    BIO_free(bio);
    if (file->loaded == NULL) {
        fail_openssl(file, "OpenSSL cannot load it");
        return false;
    }
    provider = EVP_PKEY_get0_provider(file->loaded);
    if (provider == NULL || strcmp(OSSL_PROVIDER_get0_name(provider), PROV_NAME) != 0) {
        fail(file, "OpenSSL loads another key from this file, which is not in the HSM");
        return false;
    }
    len = i2d_PUBKEY(file->loaded, &der);
    p = der;
    if (len > 0) {
        file->pub = d2i_PUBKEY_ex(NULL, &p, len, libctx, "provider=default");
    }
    OPENSSL_free(der);
    if (file->pub == NULL) {
        fail_openssl(file, "its public half cannot be read");
        return false;
    }
    return true;
}

static bool trial_signature(struct file *file, const char *type)
{
    static const unsigned char message[] = "hsmkey check: a trial, of no other meaning";
    OSSL_LIB_CTX *libctx = file->checks->env->libctx;
    /* Ed25519 and Ed448 hash by themselves */
    const char *md = ks_key_object(file->key->priv)->type == KS_KEY_EDWARDS ? NULL : "SHA256";
    EVP_MD_CTX *sign = EVP_MD_CTX_new(), *verify = EVP_MD_CTX_new();
    unsigned char signature[2048];
    size_t len = sizeof(signature);
    bool ok = false;

    if (sign == NULL || verify == NULL ||
        EVP_DigestSignInit_ex(sign, NULL, md, libctx, NULL, file->loaded, NULL) != 1 ||
        EVP_DigestSign(sign, signature, &len, message, sizeof(message)) != 1) {
        fail_openssl(file, "the trial signature failed");
        goto out;
    }
    if (EVP_DigestVerifyInit_ex(verify, NULL, md, libctx, "provider=default", file->pub, NULL) !=
            1 ||
        EVP_DigestVerify(verify, signature, len, message, sizeof(message)) != 1) {
        fail(file, "the trial signature does not verify: the token's key is not the one in the "
                   "reference; make the reference anew with hsmkey reference");
        goto out;
    }
    cmd_check(file->checks, CMD_CHECK_OK, "file", "%s: %s, signs, signature verified; %s",
              file->shown, type, file->ref->uri);
    ok = true;
out:
    EVP_MD_CTX_free(sign);
    EVP_MD_CTX_free(verify);
    ERR_clear_error();
    return ok;
}

static bool crypt_init(EVP_PKEY_CTX *ctx, bool encrypt, int padding)
{
    return ctx != NULL &&
           (encrypt ? EVP_PKEY_encrypt_init(ctx) : EVP_PKEY_decrypt_init(ctx)) == 1 &&
           EVP_PKEY_CTX_set_rsa_padding(ctx, padding) == 1;
}

static bool trial_decryption(struct file *file, const char *type, int padding)
{
    OSSL_LIB_CTX *libctx = file->checks->env->libctx;
    EVP_PKEY_CTX *enc = EVP_PKEY_CTX_new_from_pkey(libctx, file->pub, "provider=default");
    EVP_PKEY_CTX *dec = EVP_PKEY_CTX_new_from_pkey(libctx, file->loaded, NULL);
    unsigned char plain[32], cipher[2048], back[2048];
    size_t cipher_len = sizeof(cipher), back_len = sizeof(back);

    if (RAND_bytes_ex(libctx, plain, sizeof(plain), 0) != 1 || !crypt_init(enc, true, padding) ||
        EVP_PKEY_encrypt(enc, cipher, &cipher_len, plain, sizeof(plain)) != 1 ||
        !crypt_init(dec, false, padding) ||
        EVP_PKEY_decrypt(dec, back, &back_len, cipher, cipher_len) != 1) {
        fail_openssl(file, "the trial decryption failed");
        goto out;
    }
    if (back_len != sizeof(plain) || memcmp(plain, back, sizeof(plain)) != 0) {
        fail(file, "the trial decryption gave something else: the token's key is not the one in "
                   "the reference; make the reference anew with hsmkey reference");
        goto out;
    }
    cmd_check(file->checks, CMD_CHECK_OK, "file", "%s: %s, decrypts, trial succeeded; %s",
              file->shown, type, file->ref->uri);
out:
    EVP_PKEY_CTX_free(enc);
    EVP_PKEY_CTX_free(dec);
    OPENSSL_cleanse(plain, sizeof(plain));
    OPENSSL_cleanse(back, sizeof(back));
    ERR_clear_error();
    return true;
}

/* The trial that both the key's own flags and the policy permit. */
static void trial(struct file *file)
{
    const struct ks_object *object = ks_key_object(file->key->priv);
    unsigned offload = file->checks->env->prov->config.offload;
    bool rsa = object->type == KS_KEY_RSA;
    enum prov_class class =
        object->type == KS_KEY_EDWARDS ? PROV_CLASS_ED_SIGN : PROV_CLASS_EC_SIGN;
    unsigned sign = 1U << (rsa ? PROV_CLASS_RSA_SIGN : class);
    char type[96];

    cmd_key_type(object, type, sizeof(type));
    if (object->can_sign && (offload & sign) != 0) {
        trial_signature(file, type);
    } else if (object->can_decrypt && rsa && (offload & 1U << PROV_CLASS_RSA_OAEP) != 0) {
        trial_decryption(file, type, RSA_PKCS1_OAEP_PADDING);
    } else if (object->can_decrypt && rsa && (offload & 1U << PROV_CLASS_RSA_PKCS1) != 0) {
        trial_decryption(file, type, RSA_PKCS1_PADDING);
    } else if (object->can_sign || (object->can_decrypt && rsa)) {
        fail(file,
             "%s: no trial possible: `offload` in the configuration permits nothing that "
             "this key can do (%s)",
             type, rsa ? "rsa-sign, rsa-oaep, rsa-pkcs1" : prov_class_names[class]);
    } else {
        fail(file, "%s: the key on the token permits neither signing nor decryption", type);
    }
}

void cmd_check_file(struct cmd_checks *checks, const char *path)
{
    struct file file = {.checks = checks, .path = path};

    ks_escape(file.shown, sizeof(file.shown), path, SIZE_MAX);
    ERR_clear_error();
    if (!find_reference(&file)) {
        goto out;
    }
    file.key = prov_key_from_ref(checks->env->prov, file.ref, &checks->env->how);
    if (file.key == NULL || prov_key_private(file.key, &checks->env->how) == NULL) {
        fail_openssl(&file, "the key cannot be used");
        goto out;
    }
    if (load(&file)) {
        trial(&file);
    }
out:
    EVP_PKEY_free(file.pub);
    EVP_PKEY_free(file.loaded);
    prov_key_free(file.key);
    prov_ref_free(file.ref);
    cmd_bytes_clear(&file.bytes);
}
