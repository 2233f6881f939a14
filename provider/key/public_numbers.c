/* SPDX-License-Identifier: Apache-2.0
 *
 * public_numbers.c - public keys, as software has them, made of numbers.
 */
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <string.h>

#include "public.h"

bool prov_raise_no_software(const struct prov_ctx *ctx, const char *name)
{
    EVP_KEYMGMT *keymgmt;
    bool missing;

    ERR_set_mark();
    keymgmt = EVP_KEYMGMT_fetch(ctx->libctx, name, PROV_NOT_US);
    ERR_pop_to_mark();
    missing = keymgmt == NULL;
    EVP_KEYMGMT_free(keymgmt);
    if (missing)
        prov_raise(ctx, PROV_R_SOFTWARE,
                   "no other provider has %s, which is needed for public halves: activate the "
                   "provider \"default\" in the OpenSSL configuration; if it is active, "
                   "default_properties hides it",
                   name);
    return missing;
}

EVP_PKEY *prov_public_params(const struct prov_ctx *ctx, enum prov_key_type type, int selection,
                             const OSSL_PARAM params[])
{
    const char *name = prov_types[type].name;
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_name(ctx->libctx, name, PROV_NOT_US);
    EVP_PKEY *pub = NULL;

    /* libcrypto only reads them, its prototype forgot to say so. */
    if (pctx == NULL || EVP_PKEY_fromdata_init(pctx) <= 0 ||
        EVP_PKEY_fromdata(pctx, &pub, selection, (OSSL_PARAM *)params) <= 0) {
        if (!prov_raise_no_software(ctx, name))
            prov_raise(ctx, PROV_R_SOFTWARE, "these numbers are no %s public key", name);
        EVP_PKEY_free(pub);
        pub = NULL;
    }
    EVP_PKEY_CTX_free(pctx);
    return pub;
}

EVP_PKEY *prov_public_rsa(const struct prov_ctx *ctx, const uint8_t *n, size_t n_len,
                          const uint8_t *e, size_t e_len)
{
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    OSSL_PARAM *params = NULL;
    BIGNUM *bn = BN_bin2bn(n, (int)n_len, NULL);
    BIGNUM *be = BN_bin2bn(e, (int)e_len, NULL);
    EVP_PKEY *pub = NULL;

    if (bld == NULL || bn == NULL || be == NULL ||
        !OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, bn) ||
        !OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, be))
        goto out;
    params = OSSL_PARAM_BLD_to_param(bld);
    if (params != NULL)
        pub = prov_public_params(ctx, PROV_RSA, EVP_PKEY_PUBLIC_KEY, params);
out:
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(bld);
    BN_free(bn);
    BN_free(be);
    return pub;
}

EVP_PKEY *prov_public_ec(const struct prov_ctx *ctx, const struct prov_curve *curve,
                         const uint8_t *point, size_t point_len)
{
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)curve->name, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)point, point_len),
        OSSL_PARAM_construct_end(),
    };

    return prov_public_params(ctx, PROV_EC, EVP_PKEY_PUBLIC_KEY, params);
}

EVP_PKEY *prov_public_raw(const struct prov_ctx *ctx, enum prov_key_type type, const uint8_t *raw,
                          size_t raw_len)
{
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)raw, raw_len),
        OSSL_PARAM_construct_end(),
    };

    return prov_public_params(ctx, type, EVP_PKEY_PUBLIC_KEY, params);
}
