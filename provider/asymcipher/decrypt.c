/* SPDX-License-Identifier: Apache-2.0
 *
 * decrypt.c - RSA decryption: OAEP, PKCS#1 v1.5, the TLS key exchange, and raw blocks.
 *
 * What a decrypted PKCS#1 v1.5 block looks like must not show: not in the result, not in the
 * error queue, not in time. So the token decrypts raw wherever it can, and key/padding.c does the
 * rest. Where a token has CKM_RSA_PKCS alone, the padding is the token's business: its one error
 * is all that comes out, but its time is its own, and the TLS key exchange is refused.
 */
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <string.h>

#include "../key/padding.h"
#include "../key/policy.h"
#include "asymcipher.h"

const struct prov_digest *prov_rsa_oaep_digest(const struct rsa_cipher *rsa)
{
    return rsa->oaep != NULL ? rsa->oaep : prov_digest_by_ks(KS_DIGEST_SHA1);
}

/* One operation's input, and what comes out of the token. */
struct block {
    size_t size; /* of the modulus */
    unsigned char in[PROV_RSA_MAX_BYTES];
    unsigned char em[PROV_RSA_MAX_BYTES];
};

/* The one error for whatever is wrong with a ciphertext or its padding. */
static int bad_data(const struct rsa_cipher *rsa)
{
    prov_raise(rsa->ctx, PROV_R_DECRYPT, "RSA decryption failed");
    return 0;
}

/* The keystore's errors: those about the data are all the same. */
static int failed(const struct rsa_cipher *rsa, ks_status status, const struct ks_error *err)
{
    if (status.code == KS_DATA)
        return bad_data(rsa);
    prov_raise_ks(rsa->ctx, err);
    return 0;
}

static const struct ks_mech raw_mech = {.kind = KS_MECH_RSA_RAW};

/* Raw RSA was refused: is that how it is with this token? The list that it was asked for long ago
 * may be outdated. */
static bool lists_raw(const struct rsa_cipher *rsa)
{
    return ks_key_lists(rsa->priv, NULL, KS_MECH_RSA_RAW, true);
}

/* A token that lists CKM_RSA_X_509 and refuses it is asked once more: an odd answer is none. */
static ks_status raw(const struct rsa_cipher *rsa, const unsigned char *in, unsigned char *em,
                     size_t size, struct ks_error *err)
{
    size_t len = size;
    ks_status status = ks_decrypt(rsa->priv, NULL, &raw_mech, in, size, em, &len, err);

    if (status.code == KS_MECHANISM && lists_raw(rsa)) {
        len = size;
        status = ks_decrypt(rsa->priv, NULL, &raw_mech, in, size, em, &len, err);
    }
    return status;
}

/* Was raw RSA refused because the token has not got it? Where it is listed a refusal is an error of
 * this one operation, and no reason to go on without what raw RSA is for: an implicit rejection
 * that can be turned off by an answer is none. */
static bool lacks_raw(const struct rsa_cipher *rsa, ks_status status)
{
    if (status.code != KS_MECHANISM || lists_raw(rsa))
        return false;
    ks_key_mark_refused(rsa->priv, &raw_mech);
    return true;
}

/* That was so once; members of a cluster come and go. */
static bool known_to_lack_raw(const struct rsa_cipher *rsa)
{
    return ks_key_is_refused(rsa->priv, &raw_mech) &&
           !ks_key_lists(rsa->priv, NULL, KS_MECH_RSA_RAW, false);
}

/* The secret if it is there already. */
static const void *ir_secret_known(struct prov_key *key)
{
    return __atomic_load_n(&key->ir_secret, __ATOMIC_ACQUIRE);
}

/* Makes the key's secret for implicit rejection at its first use, before the ciphertext is
 * examined, so that it tells nothing about one. `*no_raw` is set, and nothing raised, when the
 * token does not decrypt raw. */
static const void *ir_secret_make(const struct rsa_cipher *rsa, bool *no_raw)
{
    struct prov_key *key = rsa->key;
    unsigned char n[PROV_RSA_MAX_BYTES], c0[PROV_RSA_MAX_BYTES], em[PROV_RSA_MAX_BYTES];
    size_t size = sizeof(n);
    void *secret = NULL, *first = NULL;
    struct ks_error err;
    ks_status status;

    if (!prov_rsa_modulus(key, n, &size) || !prov_ir_point(rsa->ctx, n, size, c0))
        return NULL;
    status = raw(rsa, c0, em, size, &err);
    if (ks_ok(status))
        secret = prov_ir_secret_new(rsa->ctx, em, size);
    else if (lacks_raw(rsa, status))
        *no_raw = true;
    else
        prov_raise_ks(rsa->ctx, &err);
    OPENSSL_cleanse(em, sizeof(em));
    if (secret == NULL)
        return NULL;
    if (__atomic_compare_exchange_n(&key->ir_secret, &first, secret, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE))
        return secret;
    prov_ir_secret_free(secret); /* another thread was faster, with the same result */
    return first;
}

/* PKCS#1 v1.5 on a token without raw RSA. */
static int decrypt_by_token(const struct rsa_cipher *rsa, struct block *b, unsigned char *out,
                            size_t *out_len)
{
    const struct ks_mech mech = {.kind = KS_MECH_RSA_PKCS1};
    struct ks_error err;
    const ks_status status = ks_decrypt(rsa->priv, NULL, &mech, b->in, b->size, out, out_len, &err);

    return ks_ok(status) || failed(rsa, status, &err);
}

static int decrypt_pkcs1(const struct rsa_cipher *rsa, struct block *b, unsigned char *out,
                         size_t *out_len)
{
    const bool implicit = rsa->implicit_rejection != 0;
    bool no_raw = known_to_lack_raw(rsa);
    unsigned char kdk[PROV_IR_BYTES];
    const void *secret = NULL;
    struct ks_error err;
    ks_status status;
    int ok = 0;

    if (implicit && !no_raw) {
        secret = ir_secret_known(rsa->key);
        if (secret == NULL)
            secret = ir_secret_make(rsa, &no_raw);
        if (!no_raw && (secret == NULL || !prov_ir_kdk(rsa->ctx, secret, b->in, b->size, kdk)))
            return 0;
    }
    if (!no_raw) {
        status = raw(rsa, b->in, b->em, b->size, &err);
        no_raw = lacks_raw(rsa, status);
        if (ks_ok(status) && implicit)
            ok = prov_pkcs1_implicit(rsa->ctx, out, out_len, b->em, b->size, kdk);
        else if (ks_ok(status))
            ok = prov_pkcs1_explicit(out, out_len, b->em, b->size) || bad_data(rsa);
        else if (!no_raw)
            ok = failed(rsa, status, &err);
    }
    if (no_raw)
        ok = decrypt_by_token(rsa, b, out, out_len);
    OPENSSL_cleanse(kdk, sizeof(kdk));
    return ok;
}

/* RFC 5246, 7.4.7.1: whatever is wrong with the block, the answer is 48 bytes and success. */
static int decrypt_tls(const struct rsa_cipher *rsa, struct block *b, unsigned char *out,
                       size_t *out_len)
{
    unsigned char substitute[PROV_TLS_SECRET];
    struct ks_error err;
    ks_status status;
    int ok = 0;

    if (rsa->client_version == 0 || b->size < PROV_TLS_SECRET + 11) {
        prov_raise(rsa->ctx, PROV_R_PARAMETER,
                   "TLS key exchange needs parameter tls-client-version, and an RSA key of 512 "
                   "bits at least");
        return 0;
    }
    if (RAND_priv_bytes_ex(rsa->ctx->libctx, substitute, sizeof(substitute), 0) <= 0) {
        prov_raise(rsa->ctx, PROV_R_SOFTWARE, "no random numbers");
        return 0;
    }
    status = raw(rsa, b->in, b->em, b->size, &err);
    /* A token that finds fault with the data of a raw decryption has told more than it should. */
    if (status.code == KS_DATA)
        memset(b->em, 0xff, b->size);
    if (ks_ok(status) || status.code == KS_DATA) {
        prov_pkcs1_tls(out, b->em, b->size, substitute, rsa->client_version,
                       rsa->negotiated_version);
        *out_len = PROV_TLS_SECRET;
        ok = 1;
    } else {
        prov_raise_ks(rsa->ctx, &err);
        if (status.code == KS_MECHANISM)
            prov_raise(rsa->ctx, PROV_R_UNSUPPORTED,
                       "TLS key exchange needs a token with CKM_RSA_X_509: with CKM_RSA_PKCS it "
                       "could not be kept secret whether the padding was good");
    }
    OPENSSL_cleanse(substitute, sizeof(substitute));
    return ok;
}

/* OAEP removed here. `*no_raw` is set, and nothing raised, when the token does not decrypt raw. */
static int oaep_decoded(const struct rsa_cipher *rsa, struct block *b, unsigned char *out,
                        size_t *out_len, bool *no_raw)
{
    EVP_MD *md = NULL, *mgf1 = NULL;
    struct ks_error err;
    ks_status status;
    int ok = 0;

    md = prov_digest_fetch(rsa->ctx, prov_rsa_oaep_digest(rsa), NULL);
    if (md == NULL ||
        (rsa->mgf1 != NULL && (mgf1 = prov_digest_fetch(rsa->ctx, rsa->mgf1, NULL)) == NULL))
        goto out;
    status = raw(rsa, b->in, b->em, b->size, &err);
    if (lacks_raw(rsa, status)) {
        *no_raw = true;
    } else if (!ks_ok(status)) {
        ok = failed(rsa, status, &err);
    } else {
        ok = prov_oaep_decode(out, out_len, b->em, b->size, md, mgf1 != NULL ? mgf1 : md,
                              rsa->label, rsa->label_len) ||
             bad_data(rsa);
    }
out:
    EVP_MD_free(md);
    EVP_MD_free(mgf1);
    return ok;
}

/* OAEP removed by the token. `*refused` is set, and nothing raised, when it does not know these
 * parameters. That alone leads on to another way, never what was wrong with the data. */
static int oaep_by_token(const struct rsa_cipher *rsa, struct block *b, unsigned char *out,
                         size_t *out_len, bool *refused)
{
    const struct prov_digest *digest = prov_rsa_oaep_digest(rsa);
    const struct ks_mech mech = {.kind = KS_MECH_RSA_OAEP,
                                 .digest = digest->ks,
                                 .mgf1 = rsa->mgf1 != NULL ? rsa->mgf1->ks : digest->ks,
                                 .label = rsa->label,
                                 .label_len = rsa->label_len};
    size_t room = *out_len;
    struct ks_error err;
    ks_status status;

    if (ks_key_is_refused(rsa->priv, &mech)) {
        *refused = true;
        return 0;
    }
    status = ks_decrypt(rsa->priv, NULL, &mech, b->in, b->size, out, &room, &err);
    if (ks_ok(status)) {
        *out_len = room;
        return 1;
    }
    if (status.code != KS_MECHANISM)
        return failed(rsa, status, &err);
    ks_key_mark_refused(rsa->priv, &mech);
    *refused = true;
    return 0;
}

/* The token's OAEP, and where it has not got it ours. With a label or two digests it is the other
 * way round: SoftHSM takes a label and decodes as if there were none, so it both fails on good
 * ciphertexts and accepts those that were made for no label; and a TPM knows one digest, whatever
 * its module takes for MGF1. */
static int decrypt_oaep(const struct rsa_cipher *rsa, struct block *b, unsigned char *out,
                        size_t *out_len)
{
    const bool labelled = rsa->label_len > 0;
    const bool ours_first =
        labelled || (rsa->mgf1 != NULL && rsa->mgf1 != prov_rsa_oaep_digest(rsa));
    bool no_raw = known_to_lack_raw(rsa), refused = false;
    int ok = 0;

    if (ours_first && !no_raw) {
        ok = oaep_decoded(rsa, b, out, out_len, &no_raw);
        if (!no_raw)
            return ok;
    }
    ok = oaep_by_token(rsa, b, out, out_len, &refused);
    if (!refused)
        return ok;
    if (!no_raw)
        ok = oaep_decoded(rsa, b, out, out_len, &no_raw);
    if (no_raw)
        prov_raise(rsa->ctx, PROV_R_UNSUPPORTED,
                   "the token has neither OAEP with %s, MGF1 with %s%s, nor raw RSA "
                   "(CKM_RSA_X_509)",
                   prov_rsa_oaep_digest(rsa)->name,
                   rsa->mgf1 != NULL ? rsa->mgf1->name : prov_rsa_oaep_digest(rsa)->name,
                   labelled ? " and a label" : "");
    return ok;
}

static int decrypt_none(const struct rsa_cipher *rsa, struct block *b, unsigned char *out,
                        size_t *out_len)
{
    struct ks_error err;
    ks_status status;

    if (!prov_ir_allows(rsa->key, b->in, b->size))
        return 0;
    status = raw(rsa, b->in, out, b->size, &err);
    if (!ks_ok(status))
        return failed(rsa, status, &err);
    *out_len = b->size;
    return 1;
}

static const struct {
    int pad_mode;
    enum prov_operation class;
    int (*run)(const struct rsa_cipher *rsa, struct block *b, unsigned char *out, size_t *out_len);
} operations[] = {
    {RSA_PKCS1_PADDING, PROV_CLASS_RSA_PKCS1, decrypt_pkcs1},
    {RSA_NO_PADDING, PROV_CLASS_RSA_PKCS1, decrypt_none},
    {RSA_PKCS1_OAEP_PADDING, PROV_CLASS_RSA_OAEP, decrypt_oaep},
    {RSA_PKCS1_WITH_TLS_PADDING, PROV_CLASS_RSA_TLS, decrypt_tls},
};

/* More leading zeros than this do not come by chance. */
#define STRIPPED_ZEROS 8U

/* Fill the block: some programs strip a ciphertext's leading zeros. What is much shorter than the
 * modulus, longer, or not a number below it, is no ciphertext. All of that is public. */
static int take_ciphertext(const struct rsa_cipher *rsa, struct block *b, const unsigned char *in,
                           size_t in_len)
{
    const struct ks_object *object = ks_key_object(rsa->priv);
    unsigned char expected[PROV_RSA_MAX_BYTES];
    const unsigned char *n = object->modulus.data;
    size_t n_len = object->modulus.len;

    if (in_len > b->size || in_len + STRIPPED_ZEROS < b->size)
        return bad_data(rsa);
    memset(b->in, 0, b->size - in_len);
    memcpy(b->in + b->size - in_len, in, in_len);
    if (object->borrowed || n == NULL) {
        n = expected;
        n_len = sizeof(expected);
        if (!prov_rsa_modulus(rsa->key, expected, &n_len))
            return 0;
    }
    if (n_len == b->size && memcmp(b->in, n, b->size) >= 0)
        return bad_data(rsa);
    return 1;
}

int prov_rsa_decrypt(void *vctx, unsigned char *out, size_t *out_len, size_t out_size,
                     const unsigned char *in, size_t in_len)
{
    const struct rsa_cipher *rsa = vctx;
    const bool tls = rsa->pad_mode == RSA_PKCS1_WITH_TLS_PADDING;
    const int size = rsa->priv != NULL ? EVP_PKEY_get_size(rsa->key->pub) : 0;
    const size_t need = tls ? PROV_TLS_SECRET : (size_t)size;
    struct block b;
    int ok = 0;

    if (size <= 0 || (size_t)size > PROV_RSA_MAX_BYTES) {
        prov_raise(rsa->ctx, PROV_R_UNSUPPORTED, "no RSA private key of a usable size was set");
        return 0;
    }
    if (out == NULL) {
        *out_len = need;
        return 1;
    }
    if (out_size < need) {
        prov_raise(rsa->ctx, PROV_R_PARAMETER, "decryption needs room for %zu bytes, not %zu", need,
                   out_size);
        return 0;
    }
    b.size = (size_t)size;
    *out_len = need; /* all that is touched: some programs give more room than they have */
    for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
        if (operations[i].pad_mode != rsa->pad_mode)
            continue;
        ok = prov_permits(rsa->ctx, operations[i].class, rsa->key) &&
             take_ciphertext(rsa, &b, in, in_len) && operations[i].run(rsa, &b, out, out_len);
    }
    OPENSSL_cleanse(&b, sizeof(b));
    return ok;
}
