/* SPDX-License-Identifier: Apache-2.0
 *
 * raw_signature.c - signatures as tokens give them: ECDSA's encoding, and whether they are good.
 */
#include <openssl/bn.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <string.h>

#include "proof.h"

size_t prov_ecdsa_to_der(const uint8_t *raw, size_t raw_len, unsigned char *der)
{
    const int half = (int)(raw_len / 2);
    ECDSA_SIG *rs;
    BIGNUM *r, *s;
    int len = -1;

    if (raw_len > PROV_ECDSA_RAW_MAX || raw_len % 2 != 0)
        return 0;
    rs = ECDSA_SIG_new();
    r = BN_bin2bn(raw, half, NULL);
    s = BN_bin2bn(raw + half, half, NULL);
    if (rs != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(rs, r, s)) {
        r = s = NULL;
        len = i2d_ECDSA_SIG(rs, &der);
    }
    ECDSA_SIG_free(rs);
    BN_free(r);
    BN_free(s);
    return len > 0 ? (size_t)len : 0;
}

bool prov_ecdsa_verify_raw(void *vkey, const uint8_t *digest, size_t digest_len,
                           const uint8_t *signature, size_t signature_len)
{
    const struct prov_key *key = vkey;
    EVP_PKEY_CTX *soft = NULL;
    unsigned char der[PROV_ECDSA_DER_MAX];
    size_t der_len;
    bool good;

    ERR_set_mark();
    der_len = prov_ecdsa_to_der(signature, signature_len, der);
    soft = EVP_PKEY_CTX_new_from_pkey(key->ctx->libctx, key->pub, PROV_NOT_US);
    good = der_len > 0 && soft != NULL && EVP_PKEY_verify_init(soft) == 1 &&
           EVP_PKEY_verify(soft, der, der_len, digest, digest_len) == 1;
    ERR_pop_to_mark();
    EVP_PKEY_CTX_free(soft);
    return good;
}

bool prov_message_verify_raw(void *vkey, const uint8_t *message, size_t message_len,
                             const uint8_t *signature, size_t signature_len)
{
    const struct prov_key *key = vkey;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good;

    ERR_set_mark();
    good = ctx != NULL &&
           EVP_DigestVerifyInit_ex(ctx, NULL, NULL, key->ctx->libctx, PROV_NOT_US, key->pub,
                                   NULL) == 1 &&
           EVP_DigestVerify(ctx, signature, signature_len, message, message_len) == 1;
    ERR_pop_to_mark();
    EVP_MD_CTX_free(ctx);
    return good;
}
