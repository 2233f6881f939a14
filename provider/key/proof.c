/* SPDX-License-Identifier: Apache-2.0
 *
 * proof.c - is the token's key the one of this public half? What the keystore cannot find out
 * without cryptography: software work with the public half alone, and with throw-away numbers.
 */
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <string.h>

#include "padding.h"
#include "proof.h"
#include "public.h"

/* What a token is to find in a padded block; less where the padding leaves less. */
#define SECRET_LEN 32U
/* 00 02, eight bytes of padding, 00 */
#define PKCS1_LEAST 11U

/* --- RSA ------------------------------------------------------------------------------------- */

/* x^e mod n as a block of the modulus' size. By hand: providers refuse raw RSA, or small padding,
 * for keys and in modes of their choice, and nothing of this is secret. */
static int public_operation(const struct prov_key *key, const BIGNUM *x, unsigned char *out,
                            size_t room, size_t *len)
{
    BN_CTX *bn = BN_CTX_new_ex(key->ctx->libctx);
    BIGNUM *n = NULL, *e = NULL, *y = BN_new();
    int ok;

    ok = bn != NULL && y != NULL && EVP_PKEY_get_bn_param(key->pub, OSSL_PKEY_PARAM_RSA_N, &n) &&
         EVP_PKEY_get_bn_param(key->pub, OSSL_PKEY_PARAM_RSA_E, &e) && BN_cmp(x, n) < 0 &&
         (size_t)BN_num_bytes(n) <= room && BN_mod_exp(y, x, e, n, bn) == 1;
    if (ok) {
        *len = (size_t)BN_num_bytes(n);
        ok = BN_bn2binpad(y, out, (int)*len) >= 0;
    }
    BN_free(n);
    BN_free(e);
    BN_free(y);
    BN_CTX_free(bn);
    return ok;
}

static int public_block(const struct prov_key *key, const unsigned char *block, size_t block_len,
                        unsigned char *out, size_t room, size_t *len)
{
    BIGNUM *x = BN_bin2bn(block, (int)block_len, NULL);
    int ok = x != NULL && public_operation(key, x, out, room, len);

    BN_free(x);
    return ok;
}

/* RFC 8017, 9.2, around what is there: a DigestInfo, or something else of the caller's. */
static bool verify_pkcs1(const struct prov_key *key, const uint8_t *in, size_t in_len,
                         const uint8_t *sig, size_t sig_len)
{
    size_t room = sig_len, len = 0, pad;
    unsigned char *em = OPENSSL_malloc(room > 0 ? room : 1);
    bool good = false;

    if (em != NULL && public_block(key, sig, sig_len, em, room, &len) && len == sig_len &&
        in_len + PKCS1_LEAST <= len) {
        pad = len - in_len - 3;
        good =
            em[0] == 0 && em[1] == 1 && em[2 + pad] == 0 && memcmp(em + 3 + pad, in, in_len) == 0;
        for (size_t i = 0; i < pad; i++)
            good = good && em[2 + i] == 0xff;
    }
    OPENSSL_free(em);
    return good;
}

/* A digest's signature, by libcrypto. */
static bool verify_digest(const struct prov_key *key, const struct ks_mech *mech, bool pss,
                          const uint8_t *hash, size_t hash_len, const uint8_t *sig, size_t sig_len)
{
    const struct prov_digest *digest = prov_digest_by_ks(mech->digest);
    const struct prov_digest *mgf1 = pss ? prov_digest_by_ks(mech->mgf1) : digest;
    EVP_PKEY_CTX *soft = EVP_PKEY_CTX_new_from_pkey(key->ctx->libctx, key->pub, PROV_NOT_US);
    EVP_MD *md = digest != NULL ? prov_digest_fetch(key->ctx, digest, NULL) : NULL;
    bool good;

    good =
        soft != NULL && md != NULL && mgf1 != NULL && EVP_PKEY_verify_init(soft) == 1 &&
        EVP_PKEY_CTX_set_rsa_padding(soft, pss ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING) == 1 &&
        EVP_PKEY_CTX_set_signature_md(soft, md) == 1;
    if (good && pss)
        good = EVP_PKEY_CTX_set_rsa_mgf1_md_name(soft, mgf1->name, PROV_NOT_US) == 1 &&
               EVP_PKEY_CTX_set_rsa_pss_saltlen(soft, (int)mech->salt_len) == 1;
    good = good && EVP_PKEY_verify(soft, sig, sig_len, hash, hash_len) == 1;
    EVP_MD_free(md);
    EVP_PKEY_CTX_free(soft);
    return good;
}

/* A block below the modulus, and what it is encrypted. */
static int challenge_raw(const struct prov_key *key, uint8_t *in, size_t *in_len, uint8_t *answer,
                         size_t *answer_len)
{
    BN_CTX *bn = BN_CTX_new_ex(key->ctx->libctx);
    BIGNUM *n = NULL, *x = BN_new();
    size_t room = *in_len;
    int ok;

    ok = bn != NULL && x != NULL && EVP_PKEY_get_bn_param(key->pub, OSSL_PKEY_PARAM_RSA_N, &n) &&
         (size_t)BN_num_bytes(n) <= *answer_len && BN_rand_range_ex(x, n, 0, bn) == 1 &&
         public_operation(key, x, in, room, in_len) && BN_bn2binpad(x, answer, (int)*in_len) >= 0;
    *answer_len = *in_len;
    BN_free(n);
    BN_clear_free(x);
    BN_CTX_free(bn);
    return ok;
}

/* RFC 8017, 7.2.1. */
static int challenge_pkcs1(const struct prov_key *key, uint8_t *in, size_t *in_len, uint8_t *answer,
                           size_t *answer_len)
{
    size_t size = (size_t)EVP_PKEY_get_size(key->pub), room = *in_len, len;
    unsigned char *em = NULL;
    int ok = 0;

    if (size <= PKCS1_LEAST || size > room)
        return 0;
    len = size - PKCS1_LEAST < SECRET_LEN ? size - PKCS1_LEAST : SECRET_LEN;
    em = OPENSSL_malloc(size);
    if (em == NULL || len > *answer_len || RAND_bytes_ex(key->ctx->libctx, em, size, 0) <= 0)
        goto out;
    em[0] = 0;
    em[1] = 2;
    for (size_t i = 2; i < size - len - 1; i++)
        em[i] |= em[i] == 0;
    em[size - len - 1] = 0;
    memcpy(answer, em + size - len, len);
    *answer_len = len;
    ok = public_block(key, em, size, in, room, in_len);
out:
    OPENSSL_clear_free(em, size);
    return ok;
}

/* With the digests of the operation, and no label: it says nothing about the key, and tokens have
 * their ways with it. */
static int challenge_oaep(const struct prov_key *key, const struct ks_mech *mech, uint8_t *in,
                          size_t *in_len, uint8_t *answer, size_t *answer_len)
{
    const struct prov_digest *digest = prov_digest_by_ks(mech->digest);
    const struct prov_digest *mgf1 = prov_digest_by_ks(mech->mgf1);
    EVP_PKEY_CTX *soft = EVP_PKEY_CTX_new_from_pkey(key->ctx->libctx, key->pub, PROV_NOT_US);
    size_t size = (size_t)EVP_PKEY_get_size(key->pub), len;
    int ok = 0;

    if (soft == NULL || digest == NULL || mgf1 == NULL || size < 2 * digest->size + 2)
        goto out;
    len = size - 2 * digest->size - 2 < SECRET_LEN ? size - 2 * digest->size - 2 : SECRET_LEN;
    if (len > *answer_len || RAND_bytes_ex(key->ctx->libctx, answer, len, 0) <= 0)
        goto out;
    *answer_len = len;
    ok = EVP_PKEY_encrypt_init(soft) == 1 &&
         EVP_PKEY_CTX_set_rsa_padding(soft, RSA_PKCS1_OAEP_PADDING) == 1 &&
         EVP_PKEY_CTX_set_rsa_oaep_md_name(soft, digest->name, PROV_NOT_US) == 1 &&
         EVP_PKEY_CTX_set_rsa_mgf1_md_name(soft, mgf1->name, PROV_NOT_US) == 1 &&
         EVP_PKEY_encrypt(soft, in, in_len, answer, len) == 1;
out:
    EVP_PKEY_CTX_free(soft);
    return ok;
}

/* --- ECDH ------------------------------------------------------------------------------------ */

static EVP_PKEY *ephemeral_key(const struct prov_key *key)
{
    const struct prov_curve *curve = prov_curve_of(key->pub);
    EVP_PKEY_CTX *gen = EVP_PKEY_CTX_new_from_name(key->ctx->libctx, "EC", PROV_NOT_US);
    EVP_PKEY *ephemeral = NULL;

    if (gen == NULL || curve == NULL || EVP_PKEY_keygen_init(gen) != 1 ||
        EVP_PKEY_CTX_set_group_name(gen, curve->name) != 1 ||
        EVP_PKEY_generate(gen, &ephemeral) != 1)
        ephemeral = NULL;
    EVP_PKEY_CTX_free(gen);
    return ephemeral;
}

/* e * G for the token, which has to come to e * Q. */
static int challenge_ecdh(const struct prov_key *key, uint8_t *in, size_t *in_len, uint8_t *answer,
                          size_t *answer_len)
{
    EVP_PKEY *ephemeral = ephemeral_key(key);
    EVP_PKEY_CTX *soft = NULL;
    unsigned char *point = NULL;
    size_t point_len = 0;
    int ok = 0;

    if (ephemeral == NULL)
        goto out;
    point = prov_key_public_part(ephemeral, &point_len);
    soft = EVP_PKEY_CTX_new_from_pkey(key->ctx->libctx, ephemeral, PROV_NOT_US);
    if (point == NULL || point_len > *in_len || soft == NULL)
        goto out;
    memcpy(in, point, point_len);
    *in_len = point_len;
    ok = EVP_PKEY_derive_init(soft) == 1 && EVP_PKEY_derive_set_peer(soft, key->pub) == 1 &&
         EVP_PKEY_derive(soft, answer, answer_len) == 1;
out:
    OPENSSL_free(point);
    EVP_PKEY_CTX_free(soft);
    EVP_PKEY_free(ephemeral);
    return ok;
}

/* --- what the keystore asks ------------------------------------------------------------------ */

/* The hash of a message that the token hashed by itself. */
static bool hash_of(const struct prov_key *key, const struct ks_mech *mech, const uint8_t *in,
                    size_t in_len, unsigned char *hash, unsigned *hash_len)
{
    const struct prov_digest *digest = prov_digest_by_ks(mech->digest);
    EVP_MD *md = digest != NULL ? prov_digest_fetch(key->ctx, digest, NULL) : NULL;
    bool ok = md != NULL && EVP_Digest(in, in_len, hash, hash_len, md, NULL) == 1;

    EVP_MD_free(md);
    return ok;
}

bool prov_proof_verify(void *vkey, const struct ks_mech *mech, const uint8_t *in, size_t in_len,
                       const uint8_t *sig, size_t sig_len)
{
    struct prov_key *key = vkey;
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned hash_len = 0;
    bool good = false;

    ERR_set_mark();
    switch (mech->kind) {
    case KS_MECH_RSA_PKCS1:
        good = verify_pkcs1(key, in, in_len, sig, sig_len);
        break;
    case KS_MECH_RSA_PSS:
        good = verify_digest(key, mech, true, in, in_len, sig, sig_len);
        break;
    case KS_MECH_RSA_PKCS1_HASH:
    case KS_MECH_RSA_PSS_HASH:
        good = hash_of(key, mech, in, in_len, hash, &hash_len) &&
               verify_digest(key, mech, mech->kind == KS_MECH_RSA_PSS_HASH, hash, hash_len, sig,
                             sig_len);
        break;
    case KS_MECH_ECDSA:
        good = prov_ecdsa_verify_raw(key, in, in_len, sig, sig_len);
        break;
    case KS_MECH_ECDSA_HASH:
        good = hash_of(key, mech, in, in_len, hash, &hash_len) &&
               prov_ecdsa_verify_raw(key, hash, hash_len, sig, sig_len);
        break;
    default: /* types that sign messages, in one way only */
        good = prov_types[key->type].raw != NULL &&
               mech->kind == prov_types[key->type].mechanisms[0] &&
               prov_message_verify_raw(key, in, in_len, sig, sig_len);
        break;
    }
    ERR_pop_to_mark();
    return good;
}

bool prov_proof_challenge(void *vkey, const struct ks_mech *mech, uint8_t *in, size_t *in_len,
                          uint8_t *answer, size_t *answer_len)
{
    const struct prov_key *key = vkey;
    int ok = 0;

    ERR_set_mark();
    switch (mech->kind) {
    case KS_MECH_RSA_RAW:
        ok = challenge_raw(key, in, in_len, answer, answer_len);
        break;
    case KS_MECH_RSA_PKCS1:
        ok = challenge_pkcs1(key, in, in_len, answer, answer_len);
        break;
    case KS_MECH_RSA_OAEP:
        ok = challenge_oaep(key, mech, in, in_len, answer, answer_len);
        break;
    case KS_MECH_ECDH:
    case KS_MECH_ECDH_COFACTOR: /* 1 on all curves that we have */
        ok = challenge_ecdh(key, in, in_len, answer, answer_len);
        break;
    default:
        break;
    }
    ERR_pop_to_mark();
    return ok == 1;
}

/* Of an RSA-PSS key the numbers count: what a token says of its restrictions is not our matter. */
static bool other_numbers(const EVP_PKEY *a, const EVP_PKEY *b)
{
    BIGNUM *an = NULL, *bn = NULL;
    bool other = EVP_PKEY_get_bn_param(a, OSSL_PKEY_PARAM_RSA_N, &an) &&
                 (!EVP_PKEY_get_bn_param(b, OSSL_PKEY_PARAM_RSA_N, &bn) || BN_cmp(an, bn) != 0);

    BN_free(an);
    BN_free(bn);
    return other;
}

bool prov_proof_other_spki(const struct prov_key *key, const uint8_t *der, size_t len)
{
    EVP_PKEY *shown;
    bool other = false;
    int eq;

    ERR_set_mark();
    shown = prov_public_spki(key->ctx, der, len);
    if (shown != NULL && prov_types[key->type].ks_type == KS_KEY_RSA) {
        other = other_numbers(key->pub, shown);
    } else if (shown != NULL) {
        eq = EVP_PKEY_eq(key->pub, shown); /* -1: of another type; -2: cannot be compared */
        other = eq == 0 || eq == -1;
    }
    ERR_pop_to_mark();
    EVP_PKEY_free(shown);
    return other;
}
