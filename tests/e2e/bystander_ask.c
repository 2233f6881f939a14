/* SPDX-License-Identifier: Apache-2.0
 *
 * bystander_ask.c - see bystander.h.
 */
#include <openssl/core_names.h>
#include <openssl/decoder.h>
#include <openssl/encoder.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/ssl.h>
#include <openssl/store.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bystander.h"

static OSSL_LIB_CTX *alone; /* with the default provider and no other */
static OSSL_PROVIDER *its_default;

/* --- who answers ----------------------------------------------------------------------------- */

struct names {
    char *list[4096];
    size_t count;
};

static void add_name(const char *name, void *arg)
{
    struct names *names = arg;

    if (names->count < sizeof(names->list) / sizeof(names->list[0]))
        names->list[names->count++] = strdup(name);
}

/* For each kind of algorithm: all names of a library context, and the provider that a fetch without
 * a query gives. */
#define KIND(id, TYPE)                                                                             \
    static void id##_names(TYPE *method, void *arg)                                                \
    {                                                                                              \
        (void)TYPE##_names_do_all(method, add_name, arg);                                          \
    }                                                                                              \
    static void id##_all(OSSL_LIB_CTX *libctx, struct names *names)                                \
    {                                                                                              \
        TYPE##_do_all_provided(libctx, id##_names, names);                                         \
    }                                                                                              \
    static const char *id##_owner(OSSL_LIB_CTX *libctx, const char *name)                          \
    {                                                                                              \
        TYPE *method = TYPE##_fetch(libctx, name, NULL);                                           \
        const char *owner =                                                                        \
            method != NULL ? OSSL_PROVIDER_get0_name(TYPE##_get0_provider(method)) : "nobody";     \
                                                                                                   \
        TYPE##_free(method);                                                                       \
        return owner;                                                                              \
    }

KIND(keymgmt, EVP_KEYMGMT)
KIND(signature, EVP_SIGNATURE)
KIND(cipher, EVP_CIPHER)
KIND(asym_cipher, EVP_ASYM_CIPHER)
KIND(keyexch, EVP_KEYEXCH)
KIND(kem, EVP_KEM)
KIND(digest, EVP_MD)
KIND(mac, EVP_MAC)
KIND(kdf, EVP_KDF)
KIND(random, EVP_RAND)
KIND(encoder, OSSL_ENCODER)
KIND(decoder, OSSL_DECODER)
KIND(store, OSSL_STORE_LOADER)

static struct kind {
    const char *name;
    void (*all)(OSSL_LIB_CTX *libctx, struct names *names);
    const char *(*owner)(OSSL_LIB_CTX *libctx, const char *name);
    struct names names;
} kinds[] = {
    {"keymgmt", keymgmt_all, keymgmt_owner, {{NULL}, 0}},
    {"signature", signature_all, signature_owner, {{NULL}, 0}},
    {"cipher", cipher_all, cipher_owner, {{NULL}, 0}},
    {"asym_cipher", asym_cipher_all, asym_cipher_owner, {{NULL}, 0}},
    {"keyexch", keyexch_all, keyexch_owner, {{NULL}, 0}},
    {"kem", kem_all, kem_owner, {{NULL}, 0}},
    {"digest", digest_all, digest_owner, {{NULL}, 0}},
    {"mac", mac_all, mac_owner, {{NULL}, 0}},
    {"kdf", kdf_all, kdf_owner, {{NULL}, 0}},
    {"rand", random_all, random_owner, {{NULL}, 0}},
    {"encoder", encoder_all, encoder_owner, {{NULL}, 0}},
    {"decoder", decoder_all, decoder_owner, {{NULL}, 0}},
    {"store", store_all, store_owner, {{NULL}, 0}},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static int asks(OSSL_LIB_CTX *libctx, const struct kind *kind, const char *name, char *why,
                size_t size)
{
    const char *owner;

    ERR_set_mark();
    owner = kind->owner(libctx, name);
    ERR_pop_to_mark();
    if (strcmp(owner, "default") == 0)
        return 1;
    snprintf(why, size, "%s %s is answered by %s", kind->name, name, owner);
    return 0;
}

int bystander_answers(OSSL_LIB_CTX *libctx, char *why, size_t size)
{
    for (size_t k = 0; k < KINDS; k++)
        for (size_t n = 0; n < kinds[k].names.count; n++)
            if (!asks(libctx, &kinds[k], kinds[k].names.list[n], why, size))
                return 0;
    return 1;
}

int bystander_key_types(OSSL_LIB_CTX *libctx, char *why, size_t size)
{
    static const char *const types[] = {"EC", "RSA", "RSA-PSS", "ED25519", "ED448", "X25519", "DH"};

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (!asks(libctx, &kinds[0], types[i], why, size))
            return 0;
    return asks(libctx, &kinds[1], "ECDSA", why, size) &&
           asks(libctx, &kinds[1], "RSA", why, size) && asks(libctx, &kinds[4], "ECDH", why, size);
}

/* --- whose keys ------------------------------------------------------------------------------ */

static const struct key_row {
    const char *type, *group;
    size_t bits;
    bool signs, parameters;
} key_rows[] = {
    {"EC", "P-256", 0, true, true},       {"EC", "P-384", 0, true, true},
    {"EC", "secp224r1", 0, true, true},   {"RSA", NULL, 1024, true, false},
    {"RSA-PSS", NULL, 1024, true, false}, {"ED25519", NULL, 0, true, false},
    {"ED448", NULL, 0, true, false},      {"X25519", NULL, 0, false, false},
    {"X448", NULL, 0, false, false},      {"DH", "ffdhe2048", 0, false, true},
};

static bool of_default(const EVP_PKEY *key)
{
    const OSSL_PROVIDER *provider = key != NULL ? EVP_PKEY_get0_provider(key) : NULL;

    return provider != NULL && strcmp(OSSL_PROVIDER_get0_name(provider), "default") == 0;
}

static EVP_PKEY *generate(OSSL_LIB_CTX *libctx, const struct key_row *row)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(libctx, row->type, NULL);
    EVP_PKEY *key = NULL;

    if (EVP_PKEY_keygen_init(ctx) == 1 &&
        (row->group == NULL || EVP_PKEY_CTX_set_group_name(ctx, row->group) == 1) &&
        (row->bits == 0 || EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, (int)row->bits) == 1))
        (void)EVP_PKEY_generate(ctx, &key);
    EVP_PKEY_CTX_free(ctx);
    return key;
}

static const char *key_is_wrong(OSSL_LIB_CTX *libctx, const struct key_row *row)
{
    const char *const md = row->type[0] == 'E' && row->type[1] == 'D' ? NULL : "SHA256";
    EVP_PKEY *key = generate(libctx, row), *again = NULL, *parameters = NULL;
    const char *what = NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx = NULL;

    if (!of_default(key))
        what = "a generated key";
    if (what == NULL && row->parameters &&
        (PEM_write_bio_Parameters(bio, key) != 1 ||
         (parameters = PEM_read_bio_Parameters_ex(bio, NULL, libctx, NULL)) == NULL ||
         !of_default(parameters)))
        what = "parameters that were read";
    if (what == NULL &&
        (PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1 ||
         (again = PEM_read_bio_PrivateKey_ex(bio, NULL, NULL, NULL, libctx, NULL)) == NULL ||
         !of_default(again)))
        what = "a key that was read";
    if (what == NULL && row->signs &&
        (EVP_DigestSignInit_ex(ctx, &pctx, md, libctx, NULL, again, NULL) != 1 ||
         strcmp(OSSL_PROVIDER_get0_name(EVP_PKEY_CTX_get0_provider(pctx)), "default") != 0))
        what = "a signature with a key that was read";
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(parameters);
    EVP_PKEY_free(again);
    EVP_PKEY_free(key);
    BIO_free(bio);
    return what;
}

int bystander_keys(OSSL_LIB_CTX *libctx, char *why, size_t size)
{
    for (size_t i = 0; i < sizeof(key_rows) / sizeof(key_rows[0]); i++) {
        const struct key_row *row = &key_rows[i];
        const char *what;

        ERR_set_mark();
        what = key_is_wrong(libctx, row);
        if (what != NULL) {
            unsigned long code = ERR_peek_last_error();

            snprintf(why, size, "%s (%s%s%s) is not the default provider's (%s)", what, row->type,
                     row->group != NULL ? " " : "", row->group != NULL ? row->group : "",
                     code != 0 ? ERR_reason_error_string(code) : "no error");
            ERR_pop_to_mark();
            return 0;
        }
        ERR_pop_to_mark();
    }
    return 1;
}

EVP_PKEY *bystander_load(OSSL_LIB_CTX *libctx, const char *path)
{
    BIO *bio = BIO_new_file(path, "r");
    EVP_PKEY *key =
        bio != NULL ? PEM_read_bio_PrivateKey_ex(bio, NULL, NULL, NULL, libctx, NULL) : NULL;

    BIO_free(bio);
    return key;
}

EVP_PKEY *bystander_public_half(OSSL_LIB_CTX *libctx, EVP_PKEY *key)
{
    unsigned char *der = NULL;
    int len = i2d_PUBKEY(key, &der);
    const unsigned char *p = der;
    EVP_PKEY *half = len > 0 ? d2i_PUBKEY_ex(NULL, &p, len, libctx, NULL) : NULL;

    OPENSSL_free(der);
    return half;
}

/* --- TLS ------------------------------------------------------------------------------------- */

static const char *const groups[] = {
    "P-256",     "P-384",           "P-521",     "X25519",         "X448",
    "ffdhe2048", "brainpoolP256r1", "secp224r1", "X25519MLKEM768", "SecP256r1MLKEM768",
    "MLKEM768",
};
static const char *const sigalgs[] = {
    "ECDSA+SHA256", "ECDSA+SHA384", "RSA+SHA256", "RSA-PSS+SHA256", "rsa_pss_pss_sha256",
    "ed25519",      "ed448",        "mldsa65",    "ECDSA+SHA1",
};
#define GROUPS  (sizeof(groups) / sizeof(groups[0]))
#define SIGALGS (sizeof(sigalgs) / sizeof(sigalgs[0]))

static struct {
    bool group[GROUPS], sigalg[SIGALGS], shakes[GROUPS];
} expected;

static unsigned char *server_key, *server_cert;
static int server_key_len, server_cert_len;

EVP_PKEY *bystander_peer(void)
{
    return EVP_PKEY_Q_keygen(alone, NULL, "EC", "P-256");
}

static int make_server(void)
{
    EVP_PKEY *key = bystander_peer();
    X509 *cert = X509_new_ex(alone, NULL);
    int ok = key != NULL && X509_gmtime_adj(X509_getm_notBefore(cert), 0) != NULL &&
             X509_gmtime_adj(X509_getm_notAfter(cert), 86400) != NULL &&
             X509_set_pubkey(cert, key) == 1 && X509_sign(cert, key, EVP_sha256()) > 0;

    if (ok) {
        server_key_len = i2d_PrivateKey(key, &server_key);
        server_cert_len = i2d_X509(cert, &server_cert);
    }
    X509_free(cert);
    EVP_PKEY_free(key);
    return ok && server_key_len > 0 && server_cert_len > 0;
}

static SSL_CTX *make_context(OSSL_LIB_CTX *libctx, const SSL_METHOD *method, const char *group)
{
    SSL_CTX *ctx = SSL_CTX_new_ex(libctx, NULL, method);

    if (ctx != NULL && (SSL_CTX_set1_groups_list(ctx, group) != 1 ||
                        SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1)) {
        SSL_CTX_free(ctx);
        ctx = NULL;
    }
    return ctx;
}

static bool give_key(OSSL_LIB_CTX *libctx, SSL_CTX *ctx)
{
    const unsigned char *p = server_key, *q = server_cert;
    EVP_PKEY *key = d2i_AutoPrivateKey_ex(NULL, &p, server_key_len, libctx, NULL);
    X509 *cert = X509_new_ex(libctx, NULL);
    bool ok = key != NULL && d2i_X509(&cert, &q, server_cert_len) != NULL &&
              SSL_CTX_use_certificate(ctx, cert) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1;

    X509_free(cert);
    EVP_PKEY_free(key);
    return ok;
}

int bystander_handshake(OSSL_LIB_CTX *libctx, const char *group, char *why, size_t size)
{
    SSL_CTX *client = make_context(libctx, TLS_client_method(), group);
    SSL_CTX *server = make_context(libctx, TLS_server_method(), group);
    SSL *c = NULL, *s = NULL;
    BIO *a = NULL, *b = NULL;
    int ok = 0;

    ERR_set_mark();
    if (client == NULL || server == NULL || !give_key(libctx, server) ||
        (c = SSL_new(client)) == NULL || (s = SSL_new(server)) == NULL ||
        BIO_new_bio_pair(&a, 0, &b, 0) != 1)
        goto out;
    SSL_set_bio(c, a, a);
    SSL_set_bio(s, b, b);
    SSL_set_connect_state(c);
    SSL_set_accept_state(s);
    for (int i = 0; i < 20 && !ok; i++) {
        (void)SSL_do_handshake(c);
        (void)SSL_do_handshake(s);
        ok = SSL_is_init_finished(c) && SSL_is_init_finished(s);
    }
out:
    if (!ok) {
        unsigned long code = ERR_peek_error();

        snprintf(why, size, "no handshake with group %s (%s)", group,
                 code != 0 ? ERR_reason_error_string(code) : "no error");
    }
    ERR_pop_to_mark();
    SSL_free(c);
    SSL_free(s);
    SSL_CTX_free(client);
    SSL_CTX_free(server);
    return ok;
}

static bool takes(OSSL_LIB_CTX *libctx, const char *name, bool group)
{
    SSL_CTX *ctx = SSL_CTX_new_ex(libctx, NULL, TLS_method());
    bool ok;

    ERR_set_mark();
    ok = ctx != NULL && (group ? SSL_CTX_set1_groups_list(ctx, name) == 1
                               : SSL_CTX_set1_sigalgs_list(ctx, name) == 1);
    ERR_pop_to_mark();
    SSL_CTX_free(ctx);
    return ok;
}

int bystander_tls(OSSL_LIB_CTX *libctx, char *why, size_t size)
{
    for (size_t i = 0; i < GROUPS; i++) {
        if (takes(libctx, groups[i], true) != expected.group[i]) {
            snprintf(why, size, "TLS group %s: expected %d", groups[i], expected.group[i]);
            return 0;
        }
        if (expected.shakes[i] && !bystander_handshake(libctx, groups[i], why, size))
            return 0;
    }
    for (size_t i = 0; i < SIGALGS; i++) {
        if (takes(libctx, sigalgs[i], false) != expected.sigalg[i]) {
            snprintf(why, size, "TLS sigalg %s: expected %d", sigalgs[i], expected.sigalg[i]);
            return 0;
        }
    }
    return 1;
}

/* --- the default provider alone -------------------------------------------------------------- */

int bystander_begin(void)
{
    char why[512];
    size_t shakes = 0;

    alone = OSSL_LIB_CTX_new();
    if (alone == NULL || (its_default = OSSL_PROVIDER_load(alone, "default")) == NULL ||
        !make_server()) {
        ERR_print_errors_fp(stderr);
        return 0;
    }
    for (size_t k = 0; k < KINDS; k++)
        kinds[k].all(alone, &kinds[k].names);
    for (size_t i = 0; i < GROUPS; i++) {
        expected.group[i] = takes(alone, groups[i], true);
        expected.shakes[i] =
            expected.group[i] && bystander_handshake(alone, groups[i], why, sizeof(why));
        shakes += expected.shakes[i];
    }
    for (size_t i = 0; i < SIGALGS; i++)
        expected.sigalg[i] = takes(alone, sigalgs[i], false);
    /* the questions themselves */
    if (!bystander_answers(alone, why, sizeof(why)) || !bystander_keys(alone, why, sizeof(why)) ||
        !bystander_key_types(alone, why, sizeof(why)) || shakes < 5) {
        fprintf(stderr, "the default provider alone: %s\n", why);
        return 0;
    }
    return 1;
}

void bystander_end(void)
{
    for (size_t k = 0; k < KINDS; k++)
        for (size_t n = 0; n < kinds[k].names.count; n++)
            free(kinds[k].names.list[n]);
    OPENSSL_free(server_key);
    OPENSSL_free(server_cert);
    OSSL_PROVIDER_unload(its_default);
    OSSL_LIB_CTX_free(alone);
}
