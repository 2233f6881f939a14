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
#include "../provider/key/key.h"
#include "../provider/key/reference.h"
#include "cmd_checkfile.h"

static void fail_openssl(struct cmd_check_file *file, const char *what)
{
    char text[1024];

    cmd_queue_text(text, sizeof(text));
    cmd_check_file_fail(file, "%s: %s", what, text);
}

#define REFUSED                                                                                    \
    "software-private-keys = refuse forbids to use it where the HSM is asked; make a key in the "  \
    "HSM (hsmkey generate) and remove this one"

/* What a file holds besides the reference. */
struct seen {
    bool pem;      /* anything in PEM */
    bool first;    /* before the reference, what may be a key of somebody else's */
    bool software; /* a private key, or what passes for one */
    bool fake;     /* a vendor's PEM with false private numbers */
    bool bad;      /* a reference that is not usable; the error is in the queue */
};

/* What may stand before the reference: PEM functions that want a private key pass over it. */
static const char *const harmless[] = {
    "CERTIFICATE",
    "X509 CERTIFICATE",
    "TRUSTED CERTIFICATE",
    "X509 CRL",
    "PUBLIC KEY",
    "CERTIFICATE REQUEST",
    "DH PARAMETERS",
    "X9.42 DH PARAMETERS",
    "EC PARAMETERS",
    "DSA PARAMETERS",
    "PKCS7",
    "CMS",
    "RSA PUBLIC KEY",
    "NEW CERTIFICATE REQUEST",
};

static bool is_harmless(const char *name)
{
    size_t i;

    for (i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++) {
        if (strcmp(harmless[i], name) == 0) {
            return true;
        }
    }
    return false;
}

/* One PEM block. */
static void look_at(struct cmd_check_file *file, const char *name, const unsigned char *data,
                    size_t len, size_t left, struct seen *seen)
{
    bool ours = false;
    struct prov_ref *ref = prov_ref_from_der(file->checks->env->prov, data, len, &ours);

    seen->pem = true;
    seen->bad = ref == NULL && ours;
    if (ref == NULL && !ours && eng_pem_is_private(name)) {
        seen->software = true;
        seen->fake = seen->fake || eng_pem_kind(data, len, NULL) == ENG_PEM_FAKE;
    }
    if (ref == NULL && file->ref == NULL && !seen->bad && !is_harmless(name)) {
        seen->first = true;
    }
    if (file->ref == NULL && ref != NULL) {
        file->ref = ref;
        file->reference_end = file->bytes.len - left;
    } else {
        prov_ref_free(ref);
    }
}

/* All blocks, up to a bad reference. There may be certificates before the reference. */
static bool look(struct cmd_check_file *file, struct seen *seen)
{
    unsigned char *data = NULL;
    char *name = NULL, *header = NULL, why[200];
    BIO *bio;
    long len;

    if (!cmd_read_file(file->path, 0, &file->bytes, why, sizeof(why))) {
        cmd_check_file_fail(file, "cannot be read: %s", why);
        return false;
    }
    bio = cmd_bytes_bio(&file->bytes);
    if (bio == NULL) {
        cmd_check_file_fail(file, "out of memory");
        return false;
    }
    while (!seen->bad && PEM_read_bio(bio, &name, &header, &data, &len) == 1) {
        look_at(file, name, data, (size_t)len, BIO_pending(bio) > 0 ? (size_t)BIO_pending(bio) : 0,
                seen);
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
static bool find_reference(struct cmd_check_file *file)
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
        cmd_check_file_fail(
            file,
            "%sa vendor's fake PEM, whose private numbers are false: software that loads it signs "
            "rubbish; this command makes a key reference of it: hsmkey reference --from-fake %s "
            "-o NEW.pem",
            found ? "holds, too, " : "", file->shown);
    } else if (found && seen.first) {
        /* Not tried: other providers have references as well, with commands and PINs in them. */
        cmd_check_file_fail(file,
                            "OpenSSL loads another key from this file, which is not in the HSM: "
                            "what stands before the key reference; put the reference first");
    } else if (found && seen.software && refuse) {
        cmd_check_file_fail(
            file, "holds a private key itself, too, which is not in the HSM, and " REFUSED);
    } else if (!found && seen.software) {
        cmd_check_file_fail(
            file, "holds a private key itself and no key reference: this key is not in the HSM%s",
            refuse ? ", and " REFUSED : "");
    } else if (!found && !seen.pem) {
        cmd_check_file_fail(
            file, "is no key reference; a configuration is checked with --config FILE, and hsmkey "
                  "reference makes a reference");
    } else if (!found) {
        cmd_check_file_fail(file, "holds no key reference in PEM; hsmkey reference makes one");
    }
    ERR_clear_error();
    return found && !seen.first;
}

/* The public half, in the library context of the tool. */
static bool public_half(struct cmd_check_file *file)
{
    unsigned char *der = NULL;
    const unsigned char *p;
    int len = i2d_PUBKEY(file->key->pub, &der);

    p = der;
    if (len > 0) {
        file->pub = d2i_PUBKEY_ex(NULL, &p, len, file->checks->env->libctx, "provider=default");
    }
    OPENSSL_free(der);
    if (file->pub == NULL) {
        fail_openssl(file, "its public half cannot be read");
    }
    return file->pub != NULL;
}

void cmd_check_file(struct cmd_checks *checks, const char *path)
{
    struct cmd_check_file file = {.checks = checks, .path = path};

    file.here.libctx = checks->env->libctx;
    ks_escape(file.shown, sizeof(file.shown), path, SIZE_MAX);
    ERR_clear_error();
    if (!find_reference(&file)) {
        goto out;
    }
    file.key = prov_key_from_ref(checks->env->prov, file.ref, &checks->env->opts);
    if (file.key == NULL || prov_key_private(file.key, &checks->env->opts) == NULL) {
        fail_openssl(&file, "the key cannot be used");
        goto out;
    }
    if (public_half(&file)) {
        cmd_check_use(&file);
    }
out:
    cmd_trial_clear(&file.here);
    EVP_PKEY_free(file.pub);
    prov_key_free(file.key);
    prov_ref_free(file.ref);
    cmd_bytes_clear(&file.bytes);
}
