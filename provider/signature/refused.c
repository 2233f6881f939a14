/* SPDX-License-Identifier: Apache-2.0
 *
 * refused.c - with software-private-keys = refuse: signatures of the types that the HSM
 * does not have. Signing is refused; verification is libcrypto's own, in software, as always.
 * Without that line none of this is offered, and these types are none of our business.
 */
#include <openssl/crypto.h>

#include "signature.h"

static int refuse(const struct prov_sig *sig, const struct prov_key *key)
{
    if (key == NULL)
        key = sig->key;
    if (key != NULL && key->software)
        prov_raise_software_key(key);
    else
        prov_raise(sig->ctx, PROV_R_NO_PRIVATE, "this is not a private key in the HSM");
    return 0;
}

static int sign_init(void *vsig, void *vkey, const OSSL_PARAM params[])
{
    (void)params;
    return refuse(vsig, vkey);
}

static int digest_sign_init(void *vsig, const char *mdname, void *vkey, const OSSL_PARAM params[])
{
    (void)mdname;
    (void)params;
    return refuse(vsig, vkey);
}

static int sign(void *vsig, unsigned char *out, size_t *out_len, size_t out_size,
                const unsigned char *tbs, size_t tbs_len)
{
    (void)out;
    (void)out_len;
    (void)out_size;
    (void)tbs;
    (void)tbs_len;
    return refuse(vsig, NULL);
}

static int set_ctx_params(void *vsig, const OSSL_PARAM params[])
{
    const struct prov_sig *sig = vsig;

    return params == NULL || (sig->soft != NULL && EVP_PKEY_CTX_set_params(sig->soft, params));
}

static const OSSL_PARAM *settable_ctx_params(void *vsig, void *provctx)
{
    static const OSSL_PARAM none[] = {OSSL_PARAM_END};
    const struct prov_sig *sig = vsig;

    (void)provctx;
    return sig != NULL && sig->soft != NULL ? EVP_PKEY_CTX_settable_params(sig->soft) : none;
}

const OSSL_DISPATCH prov_signature_refused[] = {
    {OSSL_FUNC_SIGNATURE_NEWCTX, (void (*)(void))prov_sig_newctx},
    {OSSL_FUNC_SIGNATURE_FREECTX, (void (*)(void))prov_sig_freectx},
    {OSSL_FUNC_SIGNATURE_DUPCTX, (void (*)(void))prov_sig_dupctx},
    {OSSL_FUNC_SIGNATURE_SIGN_INIT, (void (*)(void))sign_init},
    {OSSL_FUNC_SIGNATURE_SIGN, (void (*)(void))sign},
    {OSSL_FUNC_SIGNATURE_VERIFY_INIT, (void (*)(void))prov_sig_verify_init},
    {OSSL_FUNC_SIGNATURE_VERIFY, (void (*)(void))prov_sig_verify},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, (void (*)(void))digest_sign_init},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN, (void (*)(void))sign},
    {OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_INIT, (void (*)(void))prov_sig_digest_verify_init},
    {OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_UPDATE, (void (*)(void))prov_sig_digest_verify_update},
    {OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_FINAL, (void (*)(void))prov_sig_digest_verify_final},
    {OSSL_FUNC_SIGNATURE_DIGEST_VERIFY, (void (*)(void))prov_sig_digest_verify},
    {OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, (void (*)(void))set_ctx_params},
    {OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, (void (*)(void))settable_ctx_params},
    {0, NULL},
};
