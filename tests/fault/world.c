/* SPDX-License-Identifier: Apache-2.0
 *
 * world.c - one token with a few keys, and the work that is done with them. Results are checked
 * with libcrypto and the public halves that the keys had at the beginning.
 */
#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/x509.h>
#include <p11-kit/p11-kit.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fault.h"

unsigned long world_slot;

static char folder[128], pin_path[192], pin_source[200];
static const uint8_t digest[32] = "thirty-two bytes to be signed..";
static const uint8_t secret[16] = "a secret, kept";

enum key_name { KEY_A, KEY_B, KEY_RSA, KEY_AUTH, KEYS };

static struct {
    const char *label;
    struct fake_key spec;
    EVP_PKEY *pub;
    uint8_t part[512]; /* point or modulus */
    size_t part_len;
    uint8_t signature[64]; /* the right one: the fake makes it once */
} keys[KEYS] = {
    [KEY_A] = {.label = "a", .spec = {.kind = FAKE_P256, .material = 1}},
    [KEY_B] = {.label = "b", .spec = {.kind = FAKE_P256, .material = 2}},
    [KEY_RSA] = {.label = "r", .spec = {.kind = FAKE_RSA, .material = 1}},
    [KEY_AUTH] = {.label = "u",
                  .spec = {.kind = FAKE_P256, .material = 3, .flags = FAKE_ALWAYS_AUTHENTICATE}},
};

static uint8_t ciphertext[512], peer_point[65], shared[32];
static size_t ciphertext_len;

static void die(const char *what)
{
    fprintf(stderr, "fault campaign: %s\n", what);
    abort();
}

static void must(bool ok, const char *what)
{
    if (!ok)
        die(what);
}

/* --- making ---------------------------------------------------------------------------------- */

static bool verifies(EVP_PKEY *pub, const uint8_t *raw, size_t raw_len);

static void know_signature(int i, unsigned long handle)
{
    const struct fake_mechanism ecdsa = {.type = CKM_ECDSA};
    size_t len = fake_remember(handle, &ecdsa, false, digest, sizeof(digest), keys[i].signature,
                               sizeof(keys[i].signature));

    must(verifies(keys[i].pub, keys[i].signature, len), "a signature");
}

static void know_key(int i)
{
    unsigned long handle = fake_find(world_slot, CKO_PRIVATE_KEY, keys[i].label);
    uint8_t spki[1024];
    const uint8_t *p = spki;
    size_t len = fake_public_key(handle, spki, sizeof(spki));
    BIGNUM *n = NULL;

    keys[i].pub = d2i_PUBKEY(NULL, &p, (long)len);
    must(keys[i].pub != NULL, "a public key");
    if (keys[i].spec.kind != FAKE_RSA) {
        must(EVP_PKEY_get_octet_string_param(keys[i].pub, OSSL_PKEY_PARAM_PUB_KEY, keys[i].part,
                                             sizeof(keys[i].part), &keys[i].part_len) == 1,
             "a point");
        know_signature(i, handle);
        return;
    }
    must(EVP_PKEY_get_bn_param(keys[i].pub, OSSL_PKEY_PARAM_RSA_N, &n) == 1, "a modulus");
    keys[i].part_len = (size_t)BN_bn2bin(n, keys[i].part);
    BN_free(n);
}

/* The secret that ECDH has to give, computed with the other side's private key. */
static void make_peer(void)
{
    EVP_PKEY *peer = EVP_EC_gen("P-256");
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(peer, NULL);
    size_t len = sizeof(peer_point), shared_len = sizeof(shared);

    must(peer != NULL && ctx != NULL &&
             EVP_PKEY_get_octet_string_param(peer, OSSL_PKEY_PARAM_PUB_KEY, peer_point, len,
                                             &len) == 1 &&
             EVP_PKEY_derive_init(ctx) == 1 &&
             EVP_PKEY_derive_set_peer(ctx, keys[KEY_A].pub) == 1 &&
             EVP_PKEY_derive(ctx, shared, &shared_len) == 1,
         "a shared secret");
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(peer);
}

void world_make(const char *in)
{
    const struct fake_mechanism pkcs1 = {.type = CKM_RSA_PKCS};
    unsigned long handle;
    uint8_t plain[512];

    snprintf(folder, sizeof(folder), "%s", in);
    /* load a module once, so that p11-kit's configuration is not read in every scenario */
    must(p11_kit_module_load(FAKE_PKCS11_PATH, 0) != NULL, "the module");
    ks_set_mac(fake_mac);
    fake_reset();
    world_slot = fake_add_token(&(struct fake_token){.label = WORLD_LABEL, .pin = WORLD_PIN});
    for (int i = 0; i < KEYS; i++) {
        struct fake_key spec = keys[i].spec;

        spec.label = spec.id = keys[i].label;
        fake_add_key(world_slot, &spec);
        know_key(i);
    }
    /* a second key of each type, which a stale handle may come to denote */
    fake_add_key(world_slot,
                 &(struct fake_key){.kind = FAKE_RSA, .label = "q", .id = "q", .material = 2});
    handle = fake_find(world_slot, CKO_PRIVATE_KEY, keys[KEY_RSA].label);
    ciphertext_len =
        fake_encrypt(handle, &pkcs1, secret, sizeof(secret), ciphertext, sizeof(ciphertext));
    must(ciphertext_len > 0, "a ciphertext");
    must(fake_remember(handle, &pkcs1, true, ciphertext, ciphertext_len, plain, sizeof(plain)) ==
             sizeof(secret),
         "a decryption");
    make_peer();
}

static void write_pin(const char *pin)
{
    int fd = open(pin_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    must(fd >= 0 && write(fd, pin, strlen(pin)) == (ssize_t)strlen(pin), "a PIN file");
    close(fd);
}

struct ks_token *world_token(const struct ks_token_config *like)
{
    struct ks_token_config config = {.name = NULL};
    struct ks_token *token = NULL;
    struct ks_error err;

    if (like != NULL)
        config = *like;
    snprintf(pin_path, sizeof(pin_path), "%s/pin.%ld", folder, (long)getpid());
    snprintf(pin_source, sizeof(pin_source), "file:%s", pin_path);
    write_pin(WORLD_PIN);
    config.name = "fault";
    config.module = FAKE_PKCS11_PATH;
    config.token = "pkcs11:token=" WORLD_LABEL;
    config.pin = pin_source;
    if (!ks_ok(ks_token_new(&config, &token, &err)))
        die(err.text);
    return token;
}

void world_set_pin(const char *pin, bool file)
{
    fake_set_pin(world_slot, pin);
    if (file)
        write_pin(pin);
}

void world_clean(void)
{
    unlink(pin_path);
}

/* --- keys ------------------------------------------------------------------------------------ */

struct hand {
    struct ks_token *token;
    struct ks_key *key[KEYS];
    unsigned made;
};

struct hand *hand_new(struct ks_token *token)
{
    struct hand *hand = calloc(1, sizeof(*hand));

    must(hand != NULL, "memory");
    hand->token = token;
    return hand;
}

void hand_free(struct hand *hand)
{
    for (int i = 0; i < KEYS; i++)
        ks_key_free(hand->key[i]);
    free(hand);
}

/* What the provider has for this: the private objects of EC keys show nothing of their point. */
static bool verify(void *arg, const struct ks_mech *mech, const uint8_t *in, size_t in_len,
                   const uint8_t *signature, size_t signature_len)
{
    (void)mech;
    must(in_len == sizeof(digest) && memcmp(in, digest, in_len) == 0, "the digest");
    return verifies(arg, signature, signature_len);
}

/* Of the keys here only one derives, and no other one would give this secret. */
static bool challenge(void *arg, const struct ks_mech *mech, uint8_t *in, size_t *in_len,
                      uint8_t *answer, size_t *answer_len)
{
    if (arg != keys[KEY_A].pub || mech->kind != KS_MECH_ECDH || *in_len < sizeof(peer_point) ||
        *answer_len < sizeof(shared))
        return false;
    memcpy(in, peer_point, sizeof(peer_point));
    *in_len = sizeof(peer_point);
    memcpy(answer, shared, sizeof(shared));
    *answer_len = sizeof(shared);
    return true;
}

static ks_status load(struct hand *hand, enum key_name name, const struct ks_call_options *opts,
                      struct ks_error *err)
{
    struct ks_expect expect = {.public_part = keys[name].part,
                               .public_len = keys[name].part_len,
                               .verify = verify,
                               .challenge = challenge,
                               .arg = keys[name].pub};
    struct ks_key *key = NULL;
    struct ks_uri *uri = NULL;
    char text[64];
    ks_status st;

    if (hand->key[name] != NULL)
        return (ks_status){KS_OK};
    snprintf(text, sizeof(text), "pkcs11:object=%s;id=%s", keys[name].label, keys[name].label);
    st = ks_uri_parse(text, KS_URI_CALLER, &uri, err);
    if (ks_ok(st))
        st = ks_key_find(hand->token, opts, uri, &key, err);
    if (ks_ok(st))
        st = ks_key_expect(key, &expect, err);
    if (ks_ok(st))
        hand->key[name] = key;
    else
        ks_key_free(key);
    ks_uri_free(uri);
    return st;
}

static enum key_name key_for(enum work work, unsigned turn)
{
    switch (work) {
    case WORK_DECRYPT:
        return KEY_RSA;
    case WORK_AUTH:
        return KEY_AUTH;
    case WORK_SIGN:
        return turn % 2 == 0 ? KEY_A : KEY_B;
    default:
        return KEY_A;
    }
}

ks_status hand_load(struct hand *hand, enum work work, const struct ks_call_options *opts,
                    struct ks_error *err)
{
    ks_status st = {KS_OK};

    if (work == WORK_RANDOM || work == WORK_GENERATE || work == WORK_SIZES)
        return ks_token_connect(hand->token, opts, err);
    for (unsigned turn = 0; turn < 2 && ks_ok(st); turn++)
        st = load(hand, key_for(work, turn), opts, err);
    return st;
}

/* --- work ------------------------------------------------------------------------------------ */

static bool verifies(EVP_PKEY *pub, const uint8_t *raw, size_t raw_len)
{
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw, (int)(raw_len / 2), NULL);
    BIGNUM *s = BN_bin2bn(raw + raw_len / 2, (int)(raw_len / 2), NULL);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(pub, NULL);
    uint8_t *der = NULL;
    bool good = false;
    int len;

    must(sig != NULL && r != NULL && s != NULL && ctx != NULL, "memory");
    must(ECDSA_SIG_set0(sig, r, s) == 1, "memory");
    len = i2d_ECDSA_SIG(sig, &der);
    if (raw_len == 64 && len > 0)
        good = EVP_PKEY_verify_init(ctx) == 1 &&
               EVP_PKEY_verify(ctx, der, (size_t)len, digest, sizeof(digest)) == 1;
    OPENSSL_free(der);
    EVP_PKEY_CTX_free(ctx);
    ECDSA_SIG_free(sig);
    return good;
}

/* Compare the signature with the right one, which costs nothing, or verify it where signatures
 * of one message differ. */
static bool is_right(EVP_PKEY *pub, const uint8_t *raw, size_t raw_len)
{
    for (int i = 0; i < KEYS; i++)
        if (keys[i].pub == pub && raw_len == sizeof(keys[i].signature) &&
            memcmp(keys[i].signature, raw, raw_len) == 0)
            return true;
    return verifies(pub, raw, raw_len);
}

static ks_status sign(struct ks_key *key, EVP_PKEY *pub, const struct ks_call_options *opts,
                      bool *wrong, struct ks_error *err)
{
    const struct ks_mech mech = {.kind = KS_MECH_ECDSA};
    uint8_t out[256];
    size_t len = sizeof(out);
    ks_status st = ks_sign(key, opts, &mech, digest, sizeof(digest), out, &len, err);

    *wrong = ks_ok(st) && !is_right(pub, out, len);
    return st;
}

static ks_status decrypt(struct ks_key *key, const struct ks_call_options *opts, bool *wrong,
                         struct ks_error *err)
{
    const struct ks_mech mech = {.kind = KS_MECH_RSA_PKCS1};
    uint8_t out[512];
    size_t len = sizeof(out);
    ks_status st = ks_decrypt(key, opts, &mech, ciphertext, ciphertext_len, out, &len, err);

    *wrong = ks_ok(st) && (len != sizeof(secret) || memcmp(out, secret, len) != 0);
    return st;
}

static ks_status derive(struct ks_key *key, const struct ks_call_options *opts, bool *wrong,
                        struct ks_error *err)
{
    uint8_t out[64];
    size_t len = sizeof(out);
    ks_status st = ks_derive(key, opts, false, peer_point, sizeof(peer_point), out, &len, err);

    *wrong = ks_ok(st) && (len != sizeof(shared) || memcmp(out, shared, len) != 0);
    return st;
}

static ks_status random_bytes(struct ks_token *token, const struct ks_call_options *opts,
                              bool *wrong, struct ks_error *err)
{
    static const uint8_t zeros[16];
    uint8_t out[64] = {0};
    ks_status st = ks_random(token, opts, out, sizeof(out), err);

    /* every part of the listing came once */
    for (size_t i = 0; ks_ok(st) && i < sizeof(out); i += sizeof(zeros)) {
        *wrong = *wrong || memcmp(out + i, zeros, sizeof(zeros)) == 0;
        for (size_t j = 0; j < i; j += sizeof(zeros))
            *wrong = *wrong || memcmp(out + i, out + j, sizeof(zeros)) == 0;
    }
    return st;
}

static EVP_PKEY *public_from_point(const struct ks_bytes *point)
{
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    OSSL_PARAM *params = NULL;
    EVP_PKEY *pub = NULL;

    must(bld != NULL && ctx != NULL && point->len > 0 &&
             OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0) == 1 &&
             OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point->data,
                                              point->len) == 1,
         "memory");
    params = OSSL_PARAM_BLD_to_param(bld);
    if (EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &pub, EVP_PKEY_PUBLIC_KEY, params) != 1)
        pub = NULL;
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(bld);
    EVP_PKEY_CTX_free(ctx);
    return pub;
}

static ks_status generate(struct hand *hand, const struct ks_call_options *opts, bool *wrong,
                          struct ks_error *err)
{
    static const uint8_t p256[] = {6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7};
    struct ks_generate_spec spec = {
        .type = KS_KEY_EC, .ec_params = p256, .ec_params_len = sizeof(p256), .sign = true};
    struct ks_key *key = NULL;
    char label[64];
    EVP_PKEY *pub;
    ks_status st;

    snprintf(label, sizeof(label), "new-%p-%u", (void *)hand, hand->made++);
    spec.label = label;
    st = ks_generate(hand->token, opts, &spec, &key, err);
    if (!ks_ok(st))
        return st;
    pub = public_from_point(&ks_key_object(key)->ec_point);
    *wrong = pub == NULL;
    if (!*wrong)
        st = sign(key, pub, opts, wrong, err);
    EVP_PKEY_free(pub);
    ks_key_free(key);
    return st;
}

ks_status world_work(struct hand *hand, enum work work, unsigned turn,
                     const struct ks_call_options *opts, bool *wrong, struct ks_error *err)
{
    enum key_name name = key_for(work, turn);
    unsigned long least, most;
    ks_status st = {KS_OK};

    *wrong = false;
    if (work == WORK_SIGN || work == WORK_DECRYPT || work == WORK_DERIVE || work == WORK_AUTH)
        st = load(hand, name, opts, err);
    if (!ks_ok(st))
        return st;
    switch (work) {
    case WORK_DECRYPT:
        return decrypt(hand->key[name], opts, wrong, err);
    case WORK_DERIVE:
        return derive(hand->key[name], opts, wrong, err);
    case WORK_RANDOM:
        return random_bytes(hand->token, opts, wrong, err);
    case WORK_GENERATE:
        return generate(hand, opts, wrong, err);
    case WORK_SIZES:
        st = ks_token_key_sizes(hand->token, opts, KS_MECH_ECDSA, &least, &most, err);
        *wrong = ks_ok(st) && (least > 256 || most < 256);
        return st;
    default:
        return sign(hand->key[name], keys[name].pub, opts, wrong, err);
    }
}
