/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_checkuse.c - what hsmkey check has a program do with one key file, and whether it came out
 * right. The program's side is cmd_trial.c; here, with the software provider, is what it is held
 * against.
 */
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>

#include "../provider/key/key.h"
#include "../provider/key/reference.h"
#include "cmd_checkfile.h"
#include "cmd_trial.h"

static const unsigned char message[] = "hsmkey check: a trial, of no other meaning";

/* --- ways to use a key ----------------------------------------------------------------------- */

/* In the order in which they are tried, until one works: what servers need most comes first. A key,
 * or a token, may permit only some of them. */
struct way {
    const char *name;
    unsigned types; /* set of 1 << prov_key_type */
    enum prov_operation class;
    enum cmd_trial_op op;
    int padding;
    const char *md;
};

#define RSA     (1U << PROV_RSA)
#define ANY_RSA (1U << PROV_RSA | 1U << PROV_RSA_PSS)
#define EC      (1U << PROV_EC)
#define EDWARDS (1U << PROV_ED25519 | 1U << PROV_ED448)
#define SIGN    CMD_TRIAL_SIGN

static const struct way ways[] = {
    {"PKCS#1 with SHA-256", RSA, PROV_CLASS_RSA_SIGN, SIGN, RSA_PKCS1_PADDING, "SHA256"},
    {"PSS with SHA-256", ANY_RSA, PROV_CLASS_RSA_SIGN, SIGN, RSA_PKCS1_PSS_PADDING, "SHA256"},
    {"PKCS#1 with SHA-384", RSA, PROV_CLASS_RSA_SIGN, SIGN, RSA_PKCS1_PADDING, "SHA384"},
    {"PSS with SHA-384", ANY_RSA, PROV_CLASS_RSA_SIGN, SIGN, RSA_PKCS1_PSS_PADDING, "SHA384"},
    {"PKCS#1 with SHA-512", RSA, PROV_CLASS_RSA_SIGN, SIGN, RSA_PKCS1_PADDING, "SHA512"},
    {"PSS with SHA-512", ANY_RSA, PROV_CLASS_RSA_SIGN, SIGN, RSA_PKCS1_PSS_PADDING, "SHA512"},
    {"ECDSA with SHA-256", EC, PROV_CLASS_EC_SIGN, SIGN, 0, "SHA256"},
    {"ECDSA with SHA-384", EC, PROV_CLASS_EC_SIGN, SIGN, 0, "SHA384"},
    {"ECDSA with SHA-512", EC, PROV_CLASS_EC_SIGN, SIGN, 0, "SHA512"},
    {"EdDSA", EDWARDS, PROV_CLASS_ED_SIGN, SIGN, 0, ""},
    {"OAEP with SHA-1", RSA, PROV_CLASS_RSA_OAEP, CMD_TRIAL_DECRYPT, RSA_PKCS1_OAEP_PADDING, ""},
    {"OAEP with SHA-256", RSA, PROV_CLASS_RSA_OAEP, CMD_TRIAL_DECRYPT, RSA_PKCS1_OAEP_PADDING,
     "SHA256"},
    {"PKCS#1 decryption", RSA, PROV_CLASS_RSA_PKCS1, CMD_TRIAL_DECRYPT, RSA_PKCS1_PADDING, ""},
    {"ECDH", EC, PROV_CLASS_EC_DERIVE, CMD_TRIAL_DERIVE, 0, ""},
};
#define WAYS (sizeof(ways) / sizeof(ways[0]))

static bool key_permits(const struct ks_object *object, const struct way *way)
{
    return way->op == CMD_TRIAL_SIGN      ? object->can_sign
           : way->op == CMD_TRIAL_DECRYPT ? object->can_decrypt
                                          : object->can_derive;
}

/* --- one use --------------------------------------------------------------------------------- */

/* One try of one way to use the key. */
struct use {
    const struct cmd_check_file *file;
    const struct way *way;
    struct cmd_trial_request request;
    unsigned char plain[32]; /* the text that was encrypted, or the secret that ECDH has to give */
    unsigned char *data;     /* of the request, freed with OPENSSL_free() */
    EVP_PKEY *own;           /* ECDH: the other side's key */
};

static OSSL_LIB_CTX *software(const struct use *use)
{
    return use->file->checks->env->libctx;
}

#define IN_SOFTWARE "provider=default"

static bool encrypt(struct use *use)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(software(use), use->file->pub, IN_SOFTWARE);
    size_t len = 2048;
    bool ok;

    use->data = OPENSSL_malloc(len);
    ok = ctx != NULL && use->data != NULL &&
         RAND_bytes_ex(software(use), use->plain, sizeof(use->plain), 0) == 1 &&
         EVP_PKEY_encrypt_init(ctx) == 1 &&
         EVP_PKEY_CTX_set_rsa_padding(ctx, use->way->padding) == 1 &&
         (use->way->md[0] == '\0' ||
          EVP_PKEY_CTX_set_rsa_oaep_md_name(ctx, use->way->md, NULL) == 1) &&
         EVP_PKEY_encrypt(ctx, use->data, &len, use->plain, sizeof(use->plain)) == 1;
    use->request.data = use->data;
    use->request.len = len;
    EVP_PKEY_CTX_free(ctx);
    return ok;
}

/* Make the key of the other side of ECDH, in software. */
static bool make_peer(struct use *use)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(software(use), use->file->pub, IN_SOFTWARE);
    bool ok = ctx != NULL && EVP_PKEY_keygen_init(ctx) == 1 && EVP_PKEY_keygen(ctx, &use->own) == 1;
    int len = ok ? i2d_PUBKEY(use->own, &use->data) : -1;

    use->request.data = use->data;
    use->request.len = len > 0 ? (uint64_t)len : 0;
    EVP_PKEY_CTX_free(ctx);
    return len > 0;
}

static bool prepare(struct use *use)
{
    use->request.op = use->way->op;
    use->request.padding = use->way->padding;
    snprintf(use->request.md, sizeof(use->request.md), "%s", use->way->md);
    if (use->way->op == CMD_TRIAL_DECRYPT) {
        return encrypt(use);
    }
    if (use->way->op == CMD_TRIAL_DERIVE) {
        return make_peer(use);
    }
    use->request.data = message;
    use->request.len = sizeof(message);
    return true;
}

static bool verifies(const struct use *use, const struct cmd_trial_answer *answer)
{
    const char *md = use->way->md[0] != '\0' ? use->way->md : NULL;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx = NULL;
    bool ok =
        ctx != NULL &&
        EVP_DigestVerifyInit_ex(ctx, &pctx, md, software(use), IN_SOFTWARE, use->file->pub, NULL) ==
            1 &&
        (use->way->padding == 0 || EVP_PKEY_CTX_set_rsa_padding(pctx, use->way->padding) == 1) &&
        EVP_DigestVerify(ctx, answer->data, answer->len, message, sizeof(message)) == 1;

    EVP_MD_CTX_free(ctx);
    return ok;
}

static bool same_secret(const struct use *use, const struct cmd_trial_answer *answer)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(software(use), use->own, IN_SOFTWARE);
    unsigned char secret[256];
    size_t len = sizeof(secret);
    bool ok = ctx != NULL && EVP_PKEY_derive_init(ctx) == 1 &&
              EVP_PKEY_derive_set_peer(ctx, use->file->pub) == 1 &&
              EVP_PKEY_derive(ctx, secret, &len) == 1 && len == answer->len &&
              memcmp(secret, answer->data, len) == 0;

    EVP_PKEY_CTX_free(ctx);
    OPENSSL_cleanse(secret, sizeof(secret));
    return ok;
}

static bool right(const struct use *use, const struct cmd_trial_answer *answer)
{
    if (use->way->op == CMD_TRIAL_SIGN) {
        return verifies(use, answer);
    }
    if (use->way->op == CMD_TRIAL_DERIVE) {
        return same_secret(use, answer);
    }
    return answer->len == sizeof(use->plain) &&
           memcmp(answer->data, use->plain, sizeof(use->plain)) == 0;
}

static const char *trial_name(enum cmd_trial_op op)
{
    return op == CMD_TRIAL_SIGN      ? "trial signature"
           : op == CMD_TRIAL_DECRYPT ? "trial decryption"
                                     : "trial derivation";
}

static void report(struct cmd_check_file *file, const struct way *way, const char *type)
{
    static const char *const did[] = {[CMD_TRIAL_SIGN] = "signs, signature verified",
                                      [CMD_TRIAL_DECRYPT] = "decrypts, trial succeeded",
                                      [CMD_TRIAL_DERIVE] = "derives, trial succeeded"};

    cmd_report(file->checks, CMD_CHECK_OK, "file", "%s: %s, %s (%s); %s", file->shown, type,
               did[way->op], way->name, file->ref->uri);
}

/* --- the whole ------------------------------------------------------------------------------- */

static bool ask(struct cmd_check_file *file, const struct cmd_trial_request *request,
                struct cmd_trial_answer *answer, char *why, size_t why_size)
{
    if (file->checks->child == NULL) {
        cmd_trial_do(&file->here, request, answer);
        return true;
    }
    return cmd_child_ask(file->checks->child, request, answer, why, why_size);
}

/* What came of a try. */
enum outcome { DONE, NOT_THIS_WAY, HOPELESS };

static enum outcome use_key(struct cmd_check_file *file, const struct way *way, const char *type,
                            char *why, size_t why_size)
{
    struct use use = {.file = file, .way = way};
    struct cmd_trial_answer answer = {0};
    enum outcome outcome = HOPELESS;
    char hint[600];

    if (!prepare(&use)) {
        cmd_queue_text(why, why_size);
        outcome = NOT_THIS_WAY; /* too short a key for OAEP with SHA-256, for instance */
    } else if (!ask(file, &use.request, &answer, why, why_size)) {
        cmd_check_file_fail(file, "the %s: %s", trial_name(way->op), why);
    } else if (!answer.ok) {
        cmd_check_hint(&file->checks->env->config, answer.state, hint, sizeof(hint));
        snprintf(why, why_size, "%s%s%.600s", hint, hint[0] != '\0' ? "; OpenSSL says: " : "",
                 (const char *)answer.data);
        /* Another way is tried if the token does not know this one, but not if its result is
         * wrong. */
        if ((answer.state & CMD_STATE_VISIBLE) == 0 ||
            strstr((const char *)answer.data, KS_MODULE_FAULT) != NULL) {
            cmd_check_file_fail(file, "the %s failed: %s", trial_name(way->op), why);
        } else {
            outcome = NOT_THIS_WAY;
        }
    } else if (!right(&use, &answer)) {
        cmd_check_file_fail(file,
                            "the %s %s: the token's key is not the one in the reference; make the "
                            "reference anew with hsmkey reference",
                            trial_name(way->op),
                            way->op == CMD_TRIAL_SIGN ? "does not verify" : "gave something else");
    } else {
        report(file, way, type);
        outcome = DONE;
    }
    EVP_PKEY_free(use.own);
    OPENSSL_free(use.data);
    OPENSSL_cleanse(use.plain, sizeof(use.plain));
    OPENSSL_cleanse(&answer, sizeof(answer));
    ERR_clear_error();
    return outcome;
}

/* Load the key as a program does, and compare its public half with the reference's. */
static bool load_key(struct cmd_check_file *file)
{
    struct cmd_trial_request request = {
        .op = CMD_TRIAL_LOAD, .data = file->bytes.data, .len = file->reference_end};
    struct cmd_trial_answer answer;
    char why[512], hint[1024];
    const unsigned char *p;
    EVP_PKEY *pub = NULL;
    size_t name;
    bool ok = false;

    request.ask_for_pin = file->checks->prompt;
    if (!ask(file, &request, &answer, why, sizeof(why))) {
        cmd_check_file_fail(file, "OpenSSL cannot load it: %s", why);
        return false;
    }
    if (!answer.ok) {
        cmd_check_hint(&file->checks->env->config, answer.state, hint, sizeof(hint));
        cmd_check_file_fail(file, "OpenSSL cannot load it: %s%s%s", hint,
                            hint[0] != '\0' ? "; OpenSSL says: " : "", (const char *)answer.data);
        return false;
    }
    name = strnlen((const char *)answer.data, answer.len) + 1;
    if (strcmp((const char *)answer.data, PROV_NAME) != 0) {
        cmd_check_file_fail(file,
                            "OpenSSL loads another key from this file, which is not in the HSM");
        return false;
    }
    p = answer.data + name;
    pub = d2i_PUBKEY_ex(NULL, &p, (long)answer.len - (long)name, file->checks->env->libctx,
                        IN_SOFTWARE);
    ok = pub != NULL && EVP_PKEY_eq(pub, file->pub) == 1;
    if (!ok) {
        cmd_check_file_fail(file, "OpenSSL loads it with another public half");
    }
    EVP_PKEY_free(pub);
    ERR_clear_error();
    return ok;
}

/* The ways that both the key's own flags and the policy permit. Returns how many there are;
 * `of_key` counts what the flags alone would. */
static size_t permitted(const struct cmd_check_file *file, const struct way *list[WAYS],
                        size_t *of_key, unsigned *classes)
{
    const struct ks_object *object = ks_key_object(file->key->priv);
    const unsigned offload = file->checks->env->prov->config.offload;
    size_t count = 0, i;

    for (i = 0, *of_key = 0, *classes = 0; i < WAYS; i++) {
        if ((ways[i].types & 1U << file->key->type) == 0) {
            continue;
        }
        *classes |= 1U << ways[i].class;
        if (key_permits(object, &ways[i])) {
            ++*of_key;
            if ((offload & 1U << ways[i].class) != 0) {
                list[count++] = &ways[i];
            }
        }
    }
    return count;
}

static void class_names(unsigned classes, char *out, size_t size)
{
    size_t i, len;

    out[0] = '\0';
    for (i = 0; i < PROV_CLASSES; i++) {
        len = strlen(out);
        if ((classes & 1U << i) != 0) {
            snprintf(out + len, size - len, "%s%s", len > 0 ? ", " : "", prov_class_names[i]);
        }
    }
}

void cmd_check_use(struct cmd_check_file *file)
{
    const struct way *list[WAYS];
    char type[96], names[200], why[1400], first[1400] = "", also[512] = "";
    enum outcome outcome = NOT_THIS_WAY;
    size_t of_key, count, i, len;
    unsigned classes;

    cmd_key_type(ks_key_object(file->key->priv), type, sizeof(type));
    count = permitted(file, list, &of_key, &classes);
    class_names(classes, names, sizeof(names));
    if (of_key == 0) {
        cmd_check_file_fail(
            file, "%s: the key on the token permits neither signing nor decryption nor derivation",
            type);
        return;
    }
    if (count == 0) {
        cmd_check_file_fail(file,
                            "%s: no trial possible: `offload` in the configuration permits nothing "
                            "that this key can do (%s)",
                            type, names);
        return;
    }
    if (!load_key(file)) {
        return;
    }
    for (i = 0; i < count && outcome == NOT_THIS_WAY; i++) {
        outcome = use_key(file, list[i], type, why, sizeof(why));
        if (outcome == NOT_THIS_WAY && i == 0) {
            snprintf(first, sizeof(first), "%s", why);
        } else if (outcome == NOT_THIS_WAY) {
            len = strlen(also);
            snprintf(also + len, sizeof(also) - len, "%s%s", len > 0 ? ", " : "", list[i]->name);
        }
    }
    if (outcome == NOT_THIS_WAY) {
        cmd_check_file_fail(file, "the %s failed (%s): %s%s%s%s", trial_name(list[0]->op),
                            list[0]->name, first, also[0] != '\0' ? " (so did " : "", also,
                            also[0] != '\0' ? ")" : "");
    }
}
