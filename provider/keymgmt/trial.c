/* SPDX-License-Identifier: Apache-2.0
 *
 * trial.c - does a key that the token has just generated work, and is it that of its public half?
 */
#include <openssl/crypto.h>
#include <openssl/rsa.h>

#include "../core/digest.h"
#include "../key/padding.h"
#include "../key/proof.h"
#include "keymgmt.h"

/* A DigestInfo of SHA-256 around a digest that is nobody's. */
static const unsigned char test_info[51] =
    "\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"
    "a digest to test a new key with";
static const unsigned char *const test_digest = test_info + 19;
#define TEST_DIGEST_LEN 32U

static int verify_rsa(const struct prov_ctx *ctx, EVP_PKEY *pub, int padding,
                      const unsigned char *digest, const uint8_t *sig, size_t sig_len)
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(ctx->libctx, pub, PROV_NOT_US);
    EVP_MD *md = EVP_MD_fetch(ctx->libctx, "SHA2-256", PROV_NOT_US);
    int ok = pctx != NULL && md != NULL && EVP_PKEY_verify_init(pctx) > 0 &&
             EVP_PKEY_CTX_set_rsa_padding(pctx, padding) > 0 &&
             EVP_PKEY_CTX_set_signature_md(pctx, md) > 0 &&
             EVP_PKEY_verify(pctx, sig, sig_len, digest, TEST_DIGEST_LEN) == 1;

    EVP_MD_free(md);
    EVP_PKEY_CTX_free(pctx);
    return ok;
}

/* For tokens that hash by themselves: the text is the message. */
static int test_message(const struct prov_ctx *ctx, struct ks_key *priv, enum ks_mech_kind kind,
                        uint8_t *sig, size_t *sig_len, struct ks_error *err)
{
    const struct ks_mech mech = {.kind = kind, .digest = KS_DIGEST_SHA256};
    struct ks_error other;
    bool can = false;

    if (!ks_ok(ks_token_can_hash(ks_key_token(priv), NULL, kind, KS_DIGEST_SHA256, &can, &other)) ||
        !can) {
        prov_raise_ks(ctx, err); /* what the token said to the raw mechanism */
        return 0;
    }
    if (ks_ok(ks_sign(priv, NULL, &mech, test_digest, TEST_DIGEST_LEN, sig, sig_len, err)))
        return 1;
    prov_raise_ks(ctx, err);
    return 0;
}

static int hash_of_test(const struct prov_ctx *ctx, unsigned char *out)
{
    EVP_MD *md = EVP_MD_fetch(ctx->libctx, "SHA2-256", PROV_NOT_US);
    int ok = md != NULL && EVP_Digest(test_digest, TEST_DIGEST_LEN, out, NULL, md, NULL);

    EVP_MD_free(md);
    return ok;
}

/* PKCS#1 v1.5, or what else the token has. `pub` is a plain RSA key. */
static int test_rsa(const struct prov_ctx *ctx, struct ks_key *priv, EVP_PKEY *pub)
{
    struct ks_mech mech = {.kind = KS_MECH_RSA_PKCS1};
    unsigned char hash[TEST_DIGEST_LEN];
    uint8_t sig[PROV_RSA_MAX_BYTES];
    size_t sig_len = sizeof(sig);
    int padding = RSA_PKCS1_PADDING;
    struct ks_error err;
    ks_status status;

    status = ks_sign(priv, NULL, &mech, test_info, sizeof(test_info), sig, &sig_len, &err);
    if (status.code == KS_MECHANISM) {
        mech = (struct ks_mech){.kind = KS_MECH_RSA_PSS,
                                .digest = KS_DIGEST_SHA256,
                                .mgf1 = KS_DIGEST_SHA256,
                                .salt_len = TEST_DIGEST_LEN};
        padding = RSA_PKCS1_PSS_PADDING;
        sig_len = sizeof(sig);
        status = ks_sign(priv, NULL, &mech, test_digest, TEST_DIGEST_LEN, sig, &sig_len, &err);
    }
    if (status.code == KS_MECHANISM) {
        sig_len = sizeof(sig);
        return test_message(ctx, priv, KS_MECH_RSA_PKCS1_HASH, sig, &sig_len, &err) &&
               hash_of_test(ctx, hash) &&
               verify_rsa(ctx, pub, RSA_PKCS1_PADDING, hash, sig, sig_len);
    }
    if (!ks_ok(status)) {
        prov_raise_ks(ctx, &err);
        return 0;
    }
    return verify_rsa(ctx, pub, padding, test_digest, sig, sig_len);
}

static int test_ec(struct prov_key *key, struct ks_key *priv)
{
    const struct ks_mech mech = {.kind = KS_MECH_ECDSA};
    unsigned char hash[TEST_DIGEST_LEN];
    uint8_t sig[2 * 66];
    size_t sig_len = sizeof(sig);
    struct ks_error err;
    ks_status status;

    status = ks_sign(priv, NULL, &mech, test_digest, TEST_DIGEST_LEN, sig, &sig_len, &err);
    if (status.code == KS_MECHANISM) {
        sig_len = sizeof(sig);
        return test_message(key->ctx, priv, KS_MECH_ECDSA_HASH, sig, &sig_len, &err) &&
               hash_of_test(key->ctx, hash) &&
               prov_ecdsa_verify_raw(key, hash, sizeof(hash), sig, sig_len);
    }
    if (!ks_ok(status)) {
        prov_raise_ks(key->ctx, &err);
        return 0;
    }
    return prov_ecdsa_verify_raw(key, test_digest, TEST_DIGEST_LEN, sig, sig_len);
}

/* Types that sign messages. */
static int test_raw(struct prov_key *key, struct ks_key *priv)
{
    const struct prov_type_info *info = &prov_types[key->type];
    const struct ks_mech mech = {.kind = info->mechanisms[0]};
    size_t sig_len = info->raw->signature_len; /* NSS takes no other room */
    uint8_t *sig = OPENSSL_malloc(sig_len);
    struct ks_error err;
    int ok = 0;

    if (sig == NULL)
        return 0;
    if (!ks_ok(ks_sign(priv, NULL, &mech, test_digest, TEST_DIGEST_LEN, sig, &sig_len, &err)))
        prov_raise_ks(key->ctx, &err);
    else
        ok = prov_message_verify_raw(key, test_digest, TEST_DIGEST_LEN, sig, sig_len);
    OPENSSL_free(sig);
    return ok;
}

/* A key that does not sign: whether it is its public half's. */
static int test_other(const struct prov_gen *gen, struct ks_key *priv)
{
    struct ks_error err;

    if (ks_ok(ks_key_prove(priv, NULL, &err)))
        return 1;
    prov_raise_ks(gen->ctx, &err);
    return 0;
}

int prov_gen_try(const struct prov_gen *gen, struct prov_key *key, struct ks_key *priv)
{
    const struct prov_type_info *info = &prov_types[gen->type];

    if (!gen->sign)
        return test_other(gen, priv);
    if (info->raw != NULL)
        return test_raw(key, priv);
    return info->grouped ? test_ec(key, priv) : test_rsa(gen->ctx, priv, key->pub);
}
