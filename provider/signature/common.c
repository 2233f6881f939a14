/* SPDX-License-Identifier: Apache-2.0
 *
 * common.c - what all signature algorithms share, see signature.h.
 */
#include "../core/fetch_cache.h"
#include "signature.h"

#include <openssl/asn1.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>

/* --- contexts -------------------------------------------------------------------------------- */

/* The length of the first clause of a property query, up to its comma; values may be quoted. */
static size_t clause_length(const char *clause)
{
    char quote = '\0';
    size_t i;

    for (i = 0; clause[i] != '\0'; i++) {
        if (quote != '\0') {
            if (clause[i] == quote)
                quote = '\0';
        } else if (clause[i] == '"' || clause[i] == '\'') {
            quote = clause[i];
        } else if (clause[i] == ',') {
            break;
        }
    }
    return i;
}

static bool names_provider(const char *clause, size_t len)
{
    static const char name[] = "provider";
    size_t i = 0;

    while (i < len &&
           (clause[i] == ' ' || clause[i] == '\t' || clause[i] == '?' || clause[i] == '-'))
        i++;
    if (len - i < sizeof(name) - 1 || OPENSSL_strncasecmp(clause + i, name, sizeof(name) - 1) != 0)
        return false;
    i += sizeof(name) - 1;
    return i == len || clause[i] == '=' || clause[i] == '!' || clause[i] == ' ';
}

char *prov_propq_not_us(const char *propq)
{
    const size_t size = (propq != NULL ? strlen(propq) : 0) + sizeof(PROV_NOT_US) + 1;
    char *out = OPENSSL_malloc(size);
    size_t used = sizeof(PROV_NOT_US) - 1;

    if (out == NULL)
        return NULL;
    memcpy(out, PROV_NOT_US, sizeof(PROV_NOT_US));
    while (propq != NULL && *propq != '\0') {
        const size_t len = clause_length(propq);

        if (len > 0 && !names_provider(propq, len)) {
            out[used++] = ',';
            memcpy(out + used, propq, len);
            used += len;
            out[used] = '\0';
        }
        propq += len + (propq[len] == ',' ? 1 : 0);
    }
    return out;
}

/* For software work: the query for a caller who gave none costs no memory. */
static const char *soft_propq(const struct prov_sig *sig)
{
    return sig->propq != NULL ? sig->propq : PROV_NOT_US;
}

void *prov_sig_new(size_t size, void *provctx, const char *propq)
{
    struct prov_sig *sig = OPENSSL_zalloc(size);

    if (sig == NULL)
        return NULL;
    sig->size = size;
    sig->ctx = provctx;
    prov_fetched(sig->ctx);
    if (propq != NULL && *propq != '\0') {
        sig->propq = prov_propq_not_us(propq);
        if (sig->propq == NULL) {
            OPENSSL_free(sig);
            return NULL;
        }
    }
    return sig;
}

void *prov_sig_newctx(void *provctx, const char *propq)
{
    return prov_sig_new(sizeof(struct prov_sig), provctx, propq);
}

/* Forget whatever was under way, but not the key and the digest. */
static void reset(struct prov_sig *sig)
{
    EVP_MD_CTX_free(sig->mdctx);
    sig->mdctx = NULL;
    sig->hashed = sig->streaming = sig->message = false;
    if (sig->soft_md != NULL)
        EVP_MD_CTX_free(sig->soft_md);
    else
        EVP_PKEY_CTX_free(sig->soft);
    sig->soft_md = NULL;
    sig->soft = NULL;
    sig->priv = NULL;
    sig->postponed = false;
    OPENSSL_free(sig->expected);
    sig->expected = NULL;
    sig->expected_len = 0;
    OPENSSL_clear_free(sig->kept, sig->kept_room);
    sig->kept = NULL;
    sig->kept_len = sig->kept_room = 0;
    sig->keeping = sig->too_long = false;
}

static void release(struct prov_sig *sig)
{
    reset(sig);
    EVP_MD_free(sig->md);
    sig->md = NULL;
    prov_key_free(sig->key);
    sig->key = NULL;
    OPENSSL_free(sig->propq);
    sig->propq = NULL;
}

void prov_sig_freectx(void *vctx)
{
    if (vctx == NULL)
        return;
    release(vctx);
    OPENSSL_free(vctx);
}

static int copy_soft(struct prov_sig *dst, const struct prov_sig *src)
{
    if (src->soft_md != NULL) {
        dst->soft_md = EVP_MD_CTX_new();
        if (dst->soft_md == NULL || !EVP_MD_CTX_copy_ex(dst->soft_md, src->soft_md))
            return 0;
        dst->soft = EVP_MD_CTX_get_pkey_ctx(dst->soft_md);
    } else if (src->soft != NULL) {
        dst->soft = EVP_PKEY_CTX_dup(src->soft);
    }
    return src->soft == NULL || dst->soft != NULL;
}

/* Makes `dst`, a plain copy of `src`, own what it points to; on failure it is empty. */
static int duplicate(struct prov_sig *dst, const struct prov_sig *src)
{
    dst->propq = NULL;
    dst->key = NULL;
    dst->md = NULL;
    dst->mdctx = dst->soft_md = NULL;
    dst->soft = NULL;
    dst->expected = NULL;
    dst->kept = NULL;

    if (src->key != NULL)
        dst->key = prov_key_ref(src->key);
    if (src->md != NULL) {
        if (!EVP_MD_up_ref(src->md))
            goto err;
        dst->md = src->md;
    }
    if (src->propq != NULL && (dst->propq = OPENSSL_strdup(src->propq)) == NULL)
        goto err;
    if (src->expected != NULL &&
        (dst->expected = OPENSSL_memdup(src->expected, src->expected_len)) == NULL)
        goto err;
    if (src->kept != NULL) {
        dst->kept = OPENSSL_malloc(src->kept_room);
        if (dst->kept == NULL)
            goto err;
        memcpy(dst->kept, src->kept, src->kept_len);
    }
    if (src->mdctx != NULL) {
        dst->mdctx = EVP_MD_CTX_new();
        if (dst->mdctx == NULL || !EVP_MD_CTX_copy_ex(dst->mdctx, src->mdctx))
            goto err;
    }
    if (!copy_soft(dst, src))
        goto err;
    return 1;
err:
    release(dst);
    return 0;
}

void *prov_sig_dupctx(void *vctx)
{
    const struct prov_sig *sig = vctx;
    struct prov_sig *copy = OPENSSL_memdup(sig, sig->size);

    if (copy != NULL && !duplicate(copy, sig)) {
        OPENSSL_free(copy);
        copy = NULL;
    }
    return copy;
}

static int set_key(struct prov_sig *sig, struct prov_key *key)
{
    if (key == NULL && sig->key == NULL) {
        prov_raise(sig->ctx, PROV_R_PARAMETER, "no key was given");
        return 0;
    }
    if (key != NULL && key != sig->key) {
        prov_key_free(sig->key);
        sig->key = prov_key_ref(key);
    }
    if (!sig->key->has_public) {
        prov_raise(sig->ctx, PROV_R_PARAMETER, "these are parameters and no key");
        return 0;
    }
    return 1;
}

static int take_private(struct prov_sig *sig)
{
    sig->priv = prov_key_private_for(sig->key, PROV_USE_SIGN);
    return sig->priv != NULL;
}

/* libssl tries the init to see whether a key can sign at all, drops the errors, and finds "no
 * suitable signature algorithm": what is wrong with a token would not be heard, and be tried for
 * each algorithm. Signing is where errors count. */
int prov_sig_sign_start(struct prov_sig *sig, struct prov_key *key, enum prov_operation class)
{
    reset(sig);
    if (!set_key(sig, key) || !prov_permits(sig->ctx, class, sig->key))
        return 0;
    sig->postponed = prov_key_unseen(sig->key);
    return sig->postponed || take_private(sig);
}

int prov_sig_ready(struct prov_sig *sig)
{
    return sig->priv != NULL || (sig->postponed && take_private(sig));
}

size_t prov_sig_size(const struct prov_sig *sig)
{
    const int size = EVP_PKEY_get_size(sig->key->pub);

    return size > 0 ? (size_t)size : 0;
}

unsigned prov_sig_bits(const struct prov_sig *sig)
{
    const int bits = EVP_PKEY_get_bits(sig->key->pub);

    return bits > 0 ? (unsigned)bits : 0;
}

/* --- hashing --------------------------------------------------------------------------------- */

static const struct prov_digest *known_digest(const struct prov_sig *sig, const char *name)
{
    const struct prov_digest *digest = prov_digest_by_name(sig->ctx, name);
    char shown[128];

    if (digest == NULL)
        prov_raise(sig->ctx, PROV_R_UNSUPPORTED,
                   "digest \"%s\" is not supported: SHA-1, SHA-2 and SHA-3 are",
                   ks_escape(shown, sizeof(shown), name, SIZE_MAX));
    return digest;
}

const struct prov_digest *prov_sig_digest_param(const struct prov_sig *sig, const OSSL_PARAM *p)
{
    char name[64], *out = name;

    if (!OSSL_PARAM_get_utf8_string(p, &out, sizeof(name))) {
        prov_raise(sig->ctx, PROV_R_PARAMETER, "parameter %s is not the name of a digest", p->key);
        return NULL;
    }
    return known_digest(sig, name);
}

int prov_sig_set_digest(struct prov_sig *sig, const char *name)
{
    const struct prov_digest *digest = known_digest(sig, name);

    if (digest == NULL)
        return 0;
    if (digest == sig->digest && sig->md != NULL)
        return 1;
    if (sig->streaming || (sig->fixed != NULL && digest != sig->fixed)) {
        prov_raise(sig->ctx, PROV_R_PARAMETER, "digest %s cannot take the place of %s now",
                   digest->name, sig->digest != NULL ? sig->digest->name : "none");
        return 0;
    }
    EVP_MD_free(sig->md);
    sig->digest = NULL;
    sig->md = prov_digest_fetch(sig->ctx, digest, soft_propq(sig));
    if (sig->md == NULL)
        return 0;
    sig->digest = digest;
    return 1;
}

int prov_sig_hash_start(struct prov_sig *sig, const OSSL_PARAM params[])
{
    if (sig->mdctx == NULL)
        sig->mdctx = EVP_MD_CTX_new();
    if (sig->mdctx == NULL || !EVP_DigestInit_ex2(sig->mdctx, sig->md, params)) {
        prov_raise(sig->ctx, PROV_R_SOFTWARE, "hashing with %s cannot begin", sig->digest->name);
        EVP_MD_CTX_free(sig->mdctx);
        sig->mdctx = NULL;
        return 0;
    }
    sig->hashed = false;
    sig->streaming = true;
    sig->kept_len = 0;
    sig->too_long = false;
    return 1;
}

int prov_sig_update(void *vsig, const unsigned char *data, size_t len)
{
    struct prov_sig *sig = vsig;

    if (sig->mdctx == NULL) {
        prov_raise(sig->ctx, PROV_R_PARAMETER, "nothing is being signed");
        return 0;
    }
    if (sig->hashed && !prov_sig_hash_start(sig, NULL))
        return 0;
    if (sig->keeping && !prov_sig_keep_more(sig, data, len))
        return 0;
    return EVP_DigestUpdate(sig->mdctx, data, len);
}

int prov_sig_hash_finish(struct prov_sig *sig, unsigned char *out, size_t *len)
{
    unsigned out_len = 0;

    if (sig->mdctx == NULL) {
        prov_raise(sig->ctx, PROV_R_PARAMETER, "nothing is being signed");
        return 0;
    }
    if ((sig->hashed && !prov_sig_hash_start(sig, NULL)) ||
        !EVP_DigestFinal_ex(sig->mdctx, out, &out_len)) {
        prov_raise(sig->ctx, PROV_R_SOFTWARE, "hashing with %s failed", sig->digest->name);
        return 0;
    }
    sig->hashed = true;
    *len = out_len;
    return 1;
}

int prov_sig_check_tbs(const struct prov_sig *sig, size_t tbs_len)
{
    if (sig->digest == NULL || tbs_len == sig->digest->size)
        return 1;
    prov_raise(sig->ctx, PROV_R_PARAMETER, "%zu bytes are not a %s digest, which has %zu", tbs_len,
               sig->digest->name, sig->digest->size);
    return 0;
}

/* What EVP_MD_CTX_get_params() and its kind ask of a signature context is about hashing. */
int prov_sig_get_ctx_md_params(void *vsig, OSSL_PARAM *params)
{
    const struct prov_sig *sig = vsig;

    if (sig->soft_md != NULL)
        return EVP_MD_CTX_get_params(sig->soft_md, params);
    return sig->mdctx != NULL && EVP_MD_CTX_get_params(sig->mdctx, params);
}

const OSSL_PARAM *prov_sig_gettable_ctx_md_params(void *vsig)
{
    const struct prov_sig *sig = vsig;

    if (sig->soft_md != NULL)
        return EVP_MD_CTX_gettable_params(sig->soft_md);
    return sig->md != NULL ? EVP_MD_gettable_ctx_params(sig->md) : NULL;
}

int prov_sig_set_ctx_md_params(void *vsig, const OSSL_PARAM params[])
{
    const struct prov_sig *sig = vsig;

    if (sig->soft_md != NULL)
        return EVP_MD_CTX_set_params(sig->soft_md, params);
    return sig->mdctx != NULL && EVP_MD_CTX_set_params(sig->mdctx, params);
}

const OSSL_PARAM *prov_sig_settable_ctx_md_params(void *vsig)
{
    const struct prov_sig *sig = vsig;

    if (sig->soft_md != NULL)
        return EVP_MD_CTX_settable_params(sig->soft_md);
    return sig->md != NULL ? EVP_MD_settable_ctx_params(sig->md) : NULL;
}

/* --- verification: libcrypto's own, with the public half ------------------------------------- */

static int verify_start(struct prov_sig *sig, struct prov_key *key)
{
    reset(sig);
    return set_key(sig, key) && prov_usable(sig->ctx);
}

/* Common part of the inits over digests; `init` is libcrypto's. */
static int soft_init(struct prov_sig *sig, struct prov_key *key, const OSSL_PARAM params[],
                     int (*init)(EVP_PKEY_CTX *ctx, const OSSL_PARAM params[]))
{
    if (!verify_start(sig, key))
        return 0;
    sig->soft = EVP_PKEY_CTX_new_from_pkey(sig->ctx->libctx, sig->key->pub, soft_propq(sig));
    if (sig->soft != NULL && init(sig->soft, params) == 1 &&
        (sig->fixed == NULL ||
         EVP_PKEY_CTX_set_signature_md(sig->soft, EVP_get_digestbynid(sig->fixed->nid)) == 1))
        return 1;
    prov_raise(sig->ctx, PROV_R_SOFTWARE, "libcrypto cannot verify with this key's public half");
    reset(sig);
    return 0;
}

int prov_sig_verify_init(void *vsig, void *vkey, const OSSL_PARAM params[])
{
    return soft_init(vsig, vkey, params, EVP_PKEY_verify_init_ex);
}

int prov_sig_verify(void *vsig, const unsigned char *signature, size_t signature_len,
                    const unsigned char *tbs, size_t tbs_len)
{
    struct prov_sig *sig = vsig;

    if (sig->soft == NULL)
        return 0;
    if (sig->message)
        return prov_sig_digest_verify(vsig, signature, signature_len, tbs, tbs_len);
    return EVP_PKEY_verify(sig->soft, signature, signature_len, tbs, tbs_len) == 1;
}

int prov_sig_verify_recover_init(void *vsig, void *vkey, const OSSL_PARAM params[])
{
    return soft_init(vsig, vkey, params, EVP_PKEY_verify_recover_init_ex);
}

int prov_sig_verify_recover(void *vsig, unsigned char *out, size_t *out_len, size_t out_size,
                            const unsigned char *signature, size_t signature_len)
{
    struct prov_sig *sig = vsig;

    if (sig->soft == NULL)
        return 0;
    *out_len = out_size;
    return EVP_PKEY_verify_recover(sig->soft, out, out_len, signature, signature_len) == 1;
}

int prov_sig_digest_verify_init(void *vsig, const char *mdname, void *vkey,
                                const OSSL_PARAM params[])
{
    struct prov_sig *sig = vsig;

    if (!verify_start(sig, vkey))
        return 0;
    if (mdname != NULL && *mdname == '\0')
        mdname = NULL;
    if (mdname == NULL && sig->fixed != NULL)
        mdname = sig->fixed->name;
    sig->soft_md = EVP_MD_CTX_new();
    if (sig->soft_md != NULL &&
        EVP_DigestVerifyInit_ex(sig->soft_md, &sig->soft, mdname, sig->ctx->libctx, soft_propq(sig),
                                sig->key->pub, params) == 1)
        return 1;
    prov_raise(sig->ctx, PROV_R_SOFTWARE, "libcrypto cannot verify with this key's public half");
    reset(sig);
    return 0;
}

int prov_sig_digest_verify_update(void *vsig, const unsigned char *data, size_t len)
{
    struct prov_sig *sig = vsig;

    return sig->soft_md != NULL && EVP_DigestVerifyUpdate(sig->soft_md, data, len) == 1;
}

int prov_sig_digest_verify_final(void *vsig, const unsigned char *signature, size_t signature_len)
{
    struct prov_sig *sig = vsig;

    return sig->soft_md != NULL &&
           EVP_DigestVerifyFinal(sig->soft_md, signature, signature_len) == 1;
}

int prov_sig_digest_verify(void *vsig, const unsigned char *signature, size_t signature_len,
                           const unsigned char *tbs, size_t tbs_len)
{
    struct prov_sig *sig = vsig;

    return sig->soft_md != NULL &&
           EVP_DigestVerify(sig->soft_md, signature, signature_len, tbs, tbs_len) == 1;
}

#ifdef OSSL_FUNC_SIGNATURE_SIGN_MESSAGE_INIT
int prov_sig_verify_message_init(void *vsig, void *vkey, const OSSL_PARAM params[])
{
    struct prov_sig *sig = vsig;

    if (!prov_sig_digest_verify_init(vsig, NULL, vkey, NULL))
        return 0;
    sig->message = true;
    return prov_sig_set_expected(sig, params);
}

int prov_sig_set_expected(struct prov_sig *sig, const OSSL_PARAM params[])
{
    const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_SIGNATURE);
    void *copy = NULL;
    size_t len = 0;

    if (p == NULL)
        return 1;
    if (!OSSL_PARAM_get_octet_string(p, &copy, 0, &len)) {
        prov_raise(sig->ctx, PROV_R_PARAMETER, "the signature to verify is not an octet string");
        return 0;
    }
    OPENSSL_free(sig->expected);
    sig->expected = copy;
    sig->expected_len = len;
    return 1;
}

int prov_sig_verify_message_final(void *vsig)
{
    struct prov_sig *sig = vsig;

    if (sig->expected == NULL) {
        prov_raise(sig->ctx, PROV_R_PARAMETER, "no signature to verify was set");
        return 0;
    }
    return prov_sig_digest_verify_final(vsig, sig->expected, sig->expected_len);
}
#endif

/* --- algorithm identifiers ------------------------------------------------------------------- */

/* libcrypto's own table (OBJ_find_sigid_by_algs) lacks SHA-512/t. */
static const struct {
    enum ks_digest digest;
    int rsa;
    int ecdsa;
} signature_oids[] = {
    {KS_DIGEST_SHA1, NID_sha1WithRSAEncryption, NID_ecdsa_with_SHA1},
    {KS_DIGEST_SHA224, NID_sha224WithRSAEncryption, NID_ecdsa_with_SHA224},
    {KS_DIGEST_SHA256, NID_sha256WithRSAEncryption, NID_ecdsa_with_SHA256},
    {KS_DIGEST_SHA384, NID_sha384WithRSAEncryption, NID_ecdsa_with_SHA384},
    {KS_DIGEST_SHA512, NID_sha512WithRSAEncryption, NID_ecdsa_with_SHA512},
    {KS_DIGEST_SHA512_224, NID_sha512_224WithRSAEncryption, NID_undef},
    {KS_DIGEST_SHA512_256, NID_sha512_256WithRSAEncryption, NID_undef},
    {KS_DIGEST_SHA3_224, NID_RSA_SHA3_224, NID_ecdsa_with_SHA3_224},
    {KS_DIGEST_SHA3_256, NID_RSA_SHA3_256, NID_ecdsa_with_SHA3_256},
    {KS_DIGEST_SHA3_384, NID_RSA_SHA3_384, NID_ecdsa_with_SHA3_384},
    {KS_DIGEST_SHA3_512, NID_RSA_SHA3_512, NID_ecdsa_with_SHA3_512},
};

static int set_algor(OSSL_PARAM *p, X509_ALGOR *algor)
{
    unsigned char *der = NULL;
    const int len = i2d_X509_ALGOR(algor, &der);
    const int ok = len > 0 && OSSL_PARAM_set_octet_string(p, der, (size_t)len);

    OPENSSL_free(der);
    return ok;
}

int prov_sig_algorithm_id(const struct prov_sig *sig, int key_nid, OSSL_PARAM *p)
{
    const bool rsa = key_nid == NID_rsaEncryption;
    X509_ALGOR *algor = NULL;
    int nid = NID_undef, ok = 0;

    for (size_t i = 0; i < sizeof(signature_oids) / sizeof(signature_oids[0]); i++)
        if (sig->digest != NULL && signature_oids[i].digest == sig->digest->ks)
            nid = rsa ? signature_oids[i].rsa : signature_oids[i].ecdsa;
    if (nid == NID_undef) {
        prov_raise(sig->ctx, PROV_R_UNSUPPORTED,
                   "there is no algorithm identifier for %s signatures with digest %s",
                   rsa ? "RSA" : "ECDSA", sig->digest != NULL ? sig->digest->name : "none");
        return 0;
    }
    algor = X509_ALGOR_new();
    ok = algor != NULL &&
         X509_ALGOR_set0(algor, OBJ_nid2obj(nid), rsa ? V_ASN1_NULL : V_ASN1_UNDEF, NULL) &&
         set_algor(p, algor);
    if (!ok)
        prov_raise(sig->ctx, PROV_R_SOFTWARE, "the algorithm identifier could not be encoded");
    X509_ALGOR_free(algor);
    return ok;
}

/* A digest's identifier: with NULL for SHA-1 and SHA-2 (RFC 4055), with nothing for SHA-3. */
static X509_ALGOR *digest_algor(const struct prov_digest *digest)
{
    X509_ALGOR *algor = X509_ALGOR_new();
    const int type = digest->ks >= KS_DIGEST_SHA3_224 ? V_ASN1_UNDEF : V_ASN1_NULL;

    if (algor != NULL && !X509_ALGOR_set0(algor, OBJ_nid2obj(digest->nid), type, NULL)) {
        X509_ALGOR_free(algor);
        algor = NULL;
    }
    return algor;
}

/* A sequence as an X509_ALGOR's parameter; `*algor` is made. */
static int algor_around(X509_ALGOR **algor, int nid, const void *value, const ASN1_ITEM *item)
{
    ASN1_STRING *packed = ASN1_item_pack((void *)(uintptr_t)value, item, NULL);

    if (packed == NULL)
        return 0;
    *algor = X509_ALGOR_new();
    if (*algor == NULL || !X509_ALGOR_set0(*algor, OBJ_nid2obj(nid), V_ASN1_SEQUENCE, packed)) {
        ASN1_STRING_free(packed);
        return 0;
    }
    return 1;
}

int prov_sig_algorithm_id_pss(const struct prov_sig *sig, const struct prov_digest *mgf1,
                              long salt_len, OSSL_PARAM *p)
{
    RSA_PSS_PARAMS *pss = RSA_PSS_PARAMS_new();
    X509_ALGOR *hash = NULL, *algor = NULL;
    int ok = 0;

    if (pss == NULL)
        goto out;
    /* DER: what has its default value, SHA-1 and 20, is left out. */
    if (sig->digest->ks != KS_DIGEST_SHA1 &&
        (pss->hashAlgorithm = digest_algor(sig->digest)) == NULL)
        goto out;
    if (mgf1->ks != KS_DIGEST_SHA1 &&
        ((hash = digest_algor(mgf1)) == NULL ||
         !algor_around(&pss->maskGenAlgorithm, NID_mgf1, hash, ASN1_ITEM_rptr(X509_ALGOR))))
        goto out;
    if (salt_len != 20 && ((pss->saltLength = ASN1_INTEGER_new()) == NULL ||
                           !ASN1_INTEGER_set(pss->saltLength, salt_len)))
        goto out;
    ok = algor_around(&algor, NID_rsassaPss, pss, ASN1_ITEM_rptr(RSA_PSS_PARAMS)) &&
         set_algor(p, algor);
out:
    if (!ok)
        prov_raise(sig->ctx, PROV_R_SOFTWARE, "no algorithm identifier for RSA-PSS");
    RSA_PSS_PARAMS_free(pss);
    X509_ALGOR_free(hash);
    X509_ALGOR_free(algor);
    return ok;
}
