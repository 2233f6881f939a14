/* SPDX-License-Identifier: Apache-2.0
 *
 * rsa.c - RSA signatures: PKCS#1 v1.5, PSS and raw blocks, for RSA and RSA-PSS keys.
 * Verification is common.c's.
 */
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../key/padding.h"
#include "signature.h"

struct rsa_sig {
    struct prov_sig sig; /* first */
    int pad_mode;
    const struct prov_digest *mgf1; /* NULL: as the message digest */
    int salt_len;                   /* a length, or one of RSA_PSS_SALTLEN_* */
    int min_salt;                   /* of a restricted RSA-PSS key; -1: not restricted */
};

struct word {
    int value;
    const char *name;
};

static const struct word pad_modes[] = {
    {RSA_PKCS1_PADDING, OSSL_PKEY_RSA_PAD_MODE_PKCSV15},
    {RSA_NO_PADDING, OSSL_PKEY_RSA_PAD_MODE_NONE},
    {RSA_X931_PADDING, OSSL_PKEY_RSA_PAD_MODE_X931},
    {RSA_PKCS1_PSS_PADDING, OSSL_PKEY_RSA_PAD_MODE_PSS},
    {RSA_PKCS1_OAEP_PADDING, OSSL_PKEY_RSA_PAD_MODE_OAEP},
    {0, NULL},
};

static const struct word salt_modes[] = {
    {RSA_PSS_SALTLEN_DIGEST, OSSL_PKEY_RSA_PSS_SALT_LEN_DIGEST},
    {RSA_PSS_SALTLEN_MAX, OSSL_PKEY_RSA_PSS_SALT_LEN_MAX},
    {RSA_PSS_SALTLEN_AUTO, OSSL_PKEY_RSA_PSS_SALT_LEN_AUTO},
    {PROV_SALTLEN_AUTO_DIGEST_MAX, "auto-digestmax"},
    {0, NULL},
};

static const char *name_of(const struct word *words, int value)
{
    for (; words->name != NULL; words++)
        if (words->value == value)
            return words->name;
    return NULL;
}

/* --- contexts -------------------------------------------------------------------------------- */

void *prov_rsa_sig_newctx(void *provctx, const char *propq)
{
    struct rsa_sig *rsa = prov_sig_new(sizeof(*rsa), provctx, propq);

    if (rsa == NULL)
        return NULL;
    rsa->pad_mode = RSA_PKCS1_PADDING;
    rsa->salt_len = PROV_SALTLEN_DEFAULT;
    rsa->min_salt = -1;
    return rsa;
}

/* --- PSS parameters -------------------------------------------------------------------------- */

static const struct prov_digest *mgf1_of(const struct rsa_sig *rsa)
{
    return rsa->mgf1 != NULL ? rsa->mgf1 : rsa->sig.digest;
}

/* What the parameters of an RSA-PSS key demand; they stand in its public half. */
static int apply_restrictions(struct rsa_sig *rsa)
{
    char digest[64] = "SHA1", mgf1[64] = "SHA1"; /* RFC 8017, A.2.3: the defaults */
    int salt = 20;
    OSSL_PARAM params[] = {
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_RSA_DIGEST, digest, sizeof(digest)),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_RSA_MGF1_DIGEST, mgf1, sizeof(mgf1)),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_RSA_PSS_SALTLEN, &salt),
        OSSL_PARAM_END,
    };

    if (!EVP_PKEY_get_params(rsa->sig.key->pub, params)) {
        prov_raise(rsa->sig.ctx, PROV_R_SOFTWARE, "the RSA-PSS key's parameters are unreadable");
        return 0;
    }
    if (!OSSL_PARAM_modified(&params[0]) && !OSSL_PARAM_modified(&params[1]) &&
        !OSSL_PARAM_modified(&params[2]))
        return 1;
    rsa->mgf1 = prov_digest_by_name(rsa->sig.ctx, mgf1);
    if (rsa->mgf1 == NULL) {
        prov_raise(rsa->sig.ctx, PROV_R_UNSUPPORTED,
                   "the RSA-PSS key demands MGF1 with a digest that is not supported");
        return 0;
    }
    rsa->min_salt = rsa->salt_len = salt;
    return prov_sig_set_digest(&rsa->sig, digest);
}

/* --- parameters ------------------------------------------------------------------------------ */

static int refuse_padding(const struct rsa_sig *rsa, int pad_mode)
{
    const bool pss_key = rsa->sig.key->type == PROV_RSA_PSS;
    const char *name = name_of(pad_modes, pad_mode);

    if (pad_mode == RSA_PKCS1_PSS_PADDING)
        return 0;
    if (!pss_key && pad_mode == RSA_PKCS1_PADDING)
        return 0;
    if (!pss_key && pad_mode == RSA_NO_PADDING) {
        if (rsa->sig.digest == NULL)
            return 0;
        prov_raise(rsa->sig.ctx, PROV_R_PARAMETER,
                   "padding mode \"none\" signs a whole block, so it takes no digest");
        return 1;
    }
    prov_raise(rsa->sig.ctx, PROV_R_UNSUPPORTED,
               "padding mode \"%s\" (%d) is not for signatures with %s key in an HSM: %s",
               name != NULL ? name : "unknown", pad_mode, pss_key ? "an RSA-PSS" : "an RSA",
               pss_key ? "use pss" : "use pkcs1, pss or none");
    return 1;
}

/* A mode given as a word, or as the number that it has in rsa.h. */
static int get_word(const OSSL_PARAM *p, const struct word *words, bool numbers, int *out)
{
    char text[32], *s = text, *end;
    long value;

    if (p->data_type == OSSL_PARAM_INTEGER || p->data_type == OSSL_PARAM_UNSIGNED_INTEGER)
        return OSSL_PARAM_get_int(p, out);
    if (!OSSL_PARAM_get_utf8_string(p, &s, sizeof(text)))
        return 0;
    for (; words->name != NULL; words++) {
        if (strcmp(words->name, text) == 0) {
            *out = words->value;
            return 1;
        }
    }
    value = strtol(text, &end, 10);
    if (!numbers || end == text || *end != '\0' || value < -4 || value > 65536)
        return 0;
    *out = (int)value;
    return 1;
}

static int set_pad_mode(struct rsa_sig *rsa, const OSSL_PARAM *p)
{
    int pad_mode = 0;

    if (!get_word(p, pad_modes, false, &pad_mode)) {
        prov_raise(rsa->sig.ctx, PROV_R_PARAMETER, "parameter %s is not an RSA padding mode",
                   p->key);
        return 0;
    }
    if (refuse_padding(rsa, pad_mode))
        return 0;
    rsa->pad_mode = pad_mode;
    return 1;
}

static int set_salt_len(struct rsa_sig *rsa, const OSSL_PARAM *p)
{
    int salt_len = 0;

    if (rsa->pad_mode != RSA_PKCS1_PSS_PADDING) {
        prov_raise(rsa->sig.ctx, PROV_R_PARAMETER, "a salt length needs padding mode pss first");
        return 0;
    }
    if (!get_word(p, salt_modes, true, &salt_len) || salt_len < PROV_SALTLEN_AUTO_DIGEST_MAX) {
        prov_raise(rsa->sig.ctx, PROV_R_PARAMETER, "parameter %s is not a PSS salt length", p->key);
        return 0;
    }
    if (salt_len >= 0 && salt_len < rsa->min_salt) {
        prov_raise(rsa->sig.ctx, PROV_R_PARAMETER,
                   "the RSA-PSS key demands a salt of %d bytes at least, not %d", rsa->min_salt,
                   salt_len);
        return 0;
    }
    rsa->salt_len = salt_len;
    return 1;
}

static int set_mgf1(struct rsa_sig *rsa, const OSSL_PARAM *p)
{
    const struct prov_digest *mgf1;

    if (rsa->pad_mode != RSA_PKCS1_PSS_PADDING) {
        prov_raise(rsa->sig.ctx, PROV_R_PARAMETER, "an MGF1 digest needs padding mode pss first");
        return 0;
    }
    mgf1 = prov_sig_digest_param(&rsa->sig, p);
    if (mgf1 == NULL)
        return 0;
    if (rsa->min_salt >= 0 && mgf1 != mgf1_of(rsa)) {
        prov_raise(rsa->sig.ctx, PROV_R_PARAMETER, "the RSA-PSS key demands MGF1 with %s, not %s",
                   mgf1_of(rsa)->name, mgf1->name);
        return 0;
    }
    rsa->mgf1 = mgf1;
    return 1;
}

/* Every change of the digest goes through here, for a restricted key's sake. */
static int set_digest(struct rsa_sig *rsa, const char *name)
{
    if (rsa->min_salt >= 0 && prov_digest_by_name(rsa->sig.ctx, name) != rsa->sig.digest) {
        char shown[64];

        prov_raise(rsa->sig.ctx, PROV_R_PARAMETER, "the RSA-PSS key demands digest %s, not %s",
                   rsa->sig.digest->name, ks_escape(shown, sizeof(shown), name, SIZE_MAX));
        return 0;
    }
    return prov_sig_set_digest(&rsa->sig, name) && !refuse_padding(rsa, rsa->pad_mode);
}

static int rsa_set_ctx_params(void *vctx, const OSSL_PARAM params[])
{
    struct rsa_sig *rsa = vctx;
    const OSSL_PARAM *digest, *p;
    char name[64], *s = name;

    if (rsa->sig.soft != NULL)
        return EVP_PKEY_CTX_set_params(rsa->sig.soft, params);
    if (params == NULL)
        return 1;
    if (rsa->sig.key == NULL)
        return 0;

    if ((p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PAD_MODE)) != NULL &&
        !set_pad_mode(rsa, p))
        return 0;
    if ((p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PSS_SALTLEN)) != NULL &&
        !set_salt_len(rsa, p))
        return 0;
    digest = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_DIGEST);
    if (digest != NULL) {
        if (!OSSL_PARAM_get_utf8_string(digest, &s, sizeof(name))) {
            prov_raise(rsa->sig.ctx, PROV_R_PARAMETER, "parameter %s is not the name of a digest",
                       digest->key);
            return 0;
        }
        if (!set_digest(rsa, name))
            return 0;
    }
    /* PSS without a digest means SHA-1, as everywhere in libcrypto. */
    if (rsa->pad_mode == RSA_PKCS1_PSS_PADDING && rsa->sig.digest == NULL &&
        !prov_sig_set_digest(&rsa->sig, "SHA1"))
        return 0;
    if ((p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_MGF1_DIGEST)) != NULL &&
        !set_mgf1(rsa, p))
        return 0;
    return 1;
}

static const OSSL_PARAM *rsa_settable_ctx_params(void *vctx, void *provctx)
{
    static const OSSL_PARAM settable[] = {
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PROPERTIES, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_MGF1_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_MGF1_PROPERTIES, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL, 0),
        OSSL_PARAM_END,
    };

    (void)vctx;
    (void)provctx;
    return settable;
}

static int set_word_param(OSSL_PARAM *p, const struct word *words, int value)
{
    char number[16];
    const char *name;

    if (p->data_type == OSSL_PARAM_INTEGER)
        return OSSL_PARAM_set_int(p, value);
    name = name_of(words, value);
    if (name == NULL) {
        snprintf(number, sizeof(number), "%d", value);
        name = number;
    }
    return OSSL_PARAM_set_utf8_string(p, name);
}

static int get_algorithm_id(const struct rsa_sig *rsa, OSSL_PARAM *p)
{
    size_t salt_len;

    if (rsa->pad_mode == RSA_PKCS1_PADDING)
        return prov_sig_algorithm_id(&rsa->sig, NID_rsaEncryption, p);
    if (rsa->pad_mode == RSA_PKCS1_PSS_PADDING && rsa->sig.digest != NULL)
        return prov_pss_salt_len(rsa->sig.ctx, prov_sig_bits(&rsa->sig), rsa->sig.digest,
                                 rsa->salt_len, rsa->min_salt, &salt_len) &&
               prov_sig_algorithm_id_pss(&rsa->sig, mgf1_of(rsa), (long)salt_len, p);
    prov_raise(rsa->sig.ctx, PROV_R_UNSUPPORTED, "padding mode %s has no algorithm identifier",
               name_of(pad_modes, rsa->pad_mode));
    return 0;
}

int prov_rsa_sig_get_ctx_params(void *vctx, OSSL_PARAM params[])
{
    const struct rsa_sig *rsa = vctx;
    const struct prov_digest *mgf1 = mgf1_of(rsa);
    OSSL_PARAM *p;

    if (rsa->sig.soft != NULL)
        return EVP_PKEY_CTX_get_params(rsa->sig.soft, params);
    if (params == NULL)
        return 1;

    if ((p = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_ALGORITHM_ID)) != NULL &&
        !get_algorithm_id(rsa, p))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_PAD_MODE)) != NULL &&
        !set_word_param(p, pad_modes, rsa->pad_mode))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_DIGEST)) != NULL &&
        !OSSL_PARAM_set_utf8_string(p, rsa->sig.digest != NULL ? rsa->sig.digest->name : ""))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_MGF1_DIGEST)) != NULL &&
        !OSSL_PARAM_set_utf8_string(p, mgf1 != NULL ? mgf1->name : ""))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_PSS_SALTLEN)) != NULL &&
        !set_word_param(p, salt_modes, rsa->salt_len))
        return 0;
    return 1;
}

const OSSL_PARAM *prov_rsa_sig_gettable_ctx_params(void *vctx, void *provctx)
{
    static const OSSL_PARAM gettable[] = {
        OSSL_PARAM_octet_string(OSSL_SIGNATURE_PARAM_ALGORITHM_ID, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_MGF1_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL, 0),
        OSSL_PARAM_END,
    };

    (void)vctx;
    (void)provctx;
    return gettable;
}

/* --- signing --------------------------------------------------------------------------------- */

/* Whether `block`, big-endian and of the modulus' size, is below the modulus. */
static bool below_modulus(const struct rsa_sig *rsa, const unsigned char *block, size_t len)
{
    const struct ks_bytes *n = &ks_key_object(rsa->sig.priv)->modulus;

    return n->data == NULL || n->len != len || memcmp(block, n->data, len) < 0;
}

static int sign_raw(const struct rsa_sig *rsa, const unsigned char *block, size_t len,
                    unsigned char *out, size_t *out_len)
{
    const struct ks_mech raw = {.kind = KS_MECH_RSA_RAW};
    struct ks_error err;
    const ks_status status = ks_sign(rsa->sig.priv, NULL, &raw, block, len, out, out_len, &err);

    if (status.code == KS_MECHANISM && rsa->pad_mode == RSA_PKCS1_PSS_PADDING) {
        prov_raise(rsa->sig.ctx, PROV_R_UNSUPPORTED,
                   "the token has neither PSS with %s and MGF1 with %s nor raw RSA: %s",
                   rsa->sig.digest->name, mgf1_of(rsa)->name, err.text);
        return 0;
    }
    return ks_ok(status) || prov_sig_raise_failed(&rsa->sig, &err);
}

/* A block that the caller made: with padding mode none. */
static int sign_callers_block(const struct rsa_sig *rsa, const unsigned char *tbs, size_t tbs_len,
                              unsigned char *out, size_t *out_len)
{
    const size_t size = prov_sig_size(&rsa->sig);

    if (tbs_len != size || !below_modulus(rsa, tbs, tbs_len)) {
        prov_raise(rsa->sig.ctx, PROV_R_PARAMETER,
                   "padding mode none takes %zu bytes below the modulus; these are %zu%s", size,
                   tbs_len, tbs_len == size ? ", but not below it" : "");
        return 0;
    }
    return prov_ir_allows(rsa->sig.key, tbs, tbs_len) && sign_raw(rsa, tbs, tbs_len, out, out_len);
}

static int sign_pkcs1(const struct rsa_sig *rsa, const unsigned char *tbs, size_t tbs_len,
                      unsigned char *out, size_t *out_len)
{
    const struct ks_mech pkcs1 = {.kind = KS_MECH_RSA_PKCS1};
    unsigned char info[PROV_DIGEST_INFO_MAX];
    const size_t size = prov_sig_size(&rsa->sig);
    struct ks_error err;

    if (rsa->sig.digest != NULL) {
        tbs_len = prov_digest_info(rsa->sig.digest, tbs, info);
        tbs = info;
    }
    if (size < 11 || tbs_len > size - 11) {
        prov_raise(rsa->sig.ctx, PROV_R_PARAMETER,
                   "%zu bytes are too many for PKCS#1 v1.5 with a %u bit key", tbs_len,
                   prov_sig_bits(&rsa->sig));
        return 0;
    }
    if (!prov_key_can(rsa->sig.key, rsa->sig.priv, KS_MECH_RSA_PKCS1))
        return prov_sig_raise_lacks(&rsa->sig, KS_MECH_RSA_PKCS1);
    return ks_ok(ks_sign(rsa->sig.priv, NULL, &pkcs1, tbs, tbs_len, out, out_len, &err)) ||
           prov_sig_raise_failed(&rsa->sig, &err);
}

/* PSS for tokens that do not take these parameters: encoded here, signed as a raw block. */
static int sign_pss_encoded(const struct rsa_sig *rsa, const unsigned char *hash, size_t salt_len,
                            unsigned char *out, size_t *out_len)
{
    const struct prov_digest *mgf1 = mgf1_of(rsa);
    const size_t size = prov_sig_size(&rsa->sig);
    unsigned char em[PROV_RSA_MAX_BYTES];
    EVP_MD *mgf1_md = NULL;
    int ok = 0;

    if (size > sizeof(em)) {
        prov_raise(rsa->sig.ctx, PROV_R_UNSUPPORTED, "RSA keys over %zu bits are not supported",
                   sizeof(em) * 8);
        return 0;
    }
    if (mgf1 != rsa->sig.digest) {
        mgf1_md = prov_digest_fetch(rsa->sig.ctx, mgf1, rsa->sig.propq);
        if (mgf1_md == NULL)
            return 0;
    }
    ok = prov_pss_encode(rsa->sig.ctx, em, size, prov_sig_bits(&rsa->sig), rsa->sig.md,
                         mgf1_md != NULL ? mgf1_md : rsa->sig.md, hash, salt_len) &&
         sign_raw(rsa, em, size, out, out_len);
    OPENSSL_cleanse(em, size);
    EVP_MD_free(mgf1_md);
    return ok;
}

static int sign_pss(const struct rsa_sig *rsa, const unsigned char *hash, unsigned char *out,
                    size_t *out_len)
{
    struct ks_mech pss = {.kind = KS_MECH_RSA_PSS};
    struct ks_error err;
    ks_status status;

    if (!prov_pss_salt_len(rsa->sig.ctx, prov_sig_bits(&rsa->sig), rsa->sig.digest, rsa->salt_len,
                           rsa->min_salt, &pss.salt_len))
        return 0;
    pss.digest = rsa->sig.digest->ks;
    pss.mgf1 = mgf1_of(rsa)->ks;
    if (!ks_key_is_refused(rsa->sig.priv, &pss)) {
        size_t room = *out_len;

        status = ks_sign(rsa->sig.priv, NULL, &pss, hash, rsa->sig.digest->size, out, &room, &err);
        if (ks_ok(status)) {
            *out_len = room;
            return 1;
        }
        if (status.code != KS_MECHANISM)
            return prov_sig_raise_failed(&rsa->sig, &err);
        ks_key_mark_refused(rsa->sig.priv, &pss);
    }
    return sign_pss_encoded(rsa, hash, pss.salt_len, out, out_len);
}

/* --- tokens that hash by themselves ---------------------------------------------------------- */

static bool hashes_pkcs1(const struct rsa_sig *rsa)
{
    return prov_sig_hashes(&rsa->sig, KS_MECH_RSA_PKCS1, KS_MECH_RSA_PKCS1_HASH);
}

/* With raw RSA everything can be had, see sign_pss_encoded(). */
static bool hashes_pss(const struct rsa_sig *rsa)
{
    return prov_sig_hashes(&rsa->sig, KS_MECH_RSA_PSS, KS_MECH_RSA_PSS_HASH) &&
           rsa->sig.priv != NULL && !prov_key_can(rsa->sig.key, rsa->sig.priv, KS_MECH_RSA_RAW);
}

/* Does a mere digest do, in the present padding mode? */
static int digest_suffices(const struct rsa_sig *rsa)
{
    if (rsa->pad_mode == RSA_PKCS1_PADDING)
        return prov_sig_digest_suffices(&rsa->sig, KS_MECH_RSA_PKCS1, KS_MECH_RSA_PKCS1_HASH);
    if (rsa->pad_mode == RSA_PKCS1_PSS_PADDING && hashes_pss(rsa))
        return prov_sig_digest_suffices(&rsa->sig, KS_MECH_RSA_PSS, KS_MECH_RSA_PSS_HASH);
    return 1;
}

static bool verify_hash(const struct rsa_sig *rsa, size_t salt_len, const unsigned char *hash,
                        const unsigned char *sig, size_t sig_len)
{
    const struct prov_key *key = rsa->sig.key;
    EVP_PKEY_CTX *soft = EVP_PKEY_CTX_new_from_pkey(key->ctx->libctx, key->pub, PROV_NOT_US);
    bool good;

    ERR_set_mark();
    good = soft != NULL && EVP_PKEY_verify_init(soft) == 1 &&
           EVP_PKEY_CTX_set_rsa_padding(soft, rsa->pad_mode) == 1 &&
           EVP_PKEY_CTX_set_signature_md(soft, rsa->sig.md) == 1;
    if (good && rsa->pad_mode == RSA_PKCS1_PSS_PADDING)
        good = EVP_PKEY_CTX_set_rsa_mgf1_md_name(soft, mgf1_of(rsa)->name, PROV_NOT_US) == 1 &&
               EVP_PKEY_CTX_set_rsa_pss_saltlen(soft, (int)salt_len) == 1;
    good = good && EVP_PKEY_verify(soft, sig, sig_len, hash, rsa->sig.digest->size) == 1;
    ERR_pop_to_mark();
    EVP_PKEY_CTX_free(soft);
    return good;
}

static int sign_message(const struct rsa_sig *rsa, const unsigned char *hash, unsigned char *out,
                        size_t *out_len)
{
    struct ks_mech mech = {.kind = KS_MECH_RSA_PKCS1_HASH, .digest = rsa->sig.digest->ks};

    if (rsa->pad_mode == RSA_PKCS1_PSS_PADDING) {
        mech.kind = KS_MECH_RSA_PSS_HASH;
        mech.mgf1 = mgf1_of(rsa)->ks;
        if (!prov_pss_salt_len(rsa->sig.ctx, prov_sig_bits(&rsa->sig), rsa->sig.digest,
                               rsa->salt_len, rsa->min_salt, &mech.salt_len))
            return 0;
    }
    if (!prov_sig_sign_kept(&rsa->sig, &mech, out, out_len))
        return 0;
    return verify_hash(rsa, mech.salt_len, hash, out, *out_len) ||
           prov_sig_raise_not_good(&rsa->sig, out, *out_len);
}

/* --- all of them ----------------------------------------------------------------------------- */

/* Sign a digest, or without one what is there. */
static int sign_tbs(const struct rsa_sig *rsa, unsigned char *out, size_t *out_len, size_t out_size,
                    const unsigned char *tbs, size_t tbs_len)
{
    const size_t size = prov_sig_size(&rsa->sig);
    int ok;

    if (out_size < size) {
        prov_raise(rsa->sig.ctx, PROV_R_PARAMETER,
                   "the signature has %zu bytes, and there is room for %zu", size, out_size);
        return 0;
    }
    if (!prov_sig_check_tbs(&rsa->sig, tbs_len))
        return 0;
    *out_len = size; /* all that is touched: some programs give more room than they have */
    if (rsa->sig.keeping &&
        (rsa->pad_mode == RSA_PKCS1_PSS_PADDING ? hashes_pss(rsa) : hashes_pkcs1(rsa)))
        ok = sign_message(rsa, tbs, out, out_len);
    else if (rsa->pad_mode == RSA_PKCS1_PSS_PADDING)
        ok = sign_pss(rsa, tbs, out, out_len);
    else if (rsa->pad_mode == RSA_NO_PADDING)
        ok = sign_callers_block(rsa, tbs, tbs_len, out, out_len);
    else
        ok = sign_pkcs1(rsa, tbs, tbs_len, out, out_len);
    if (ok && *out_len != size) {
        prov_raise(rsa->sig.ctx, PROV_R_VERIFY,
                   "the token's signature has %zu bytes, and an RSA signature of this key %zu",
                   *out_len, size);
        ok = 0;
    }
    return ok;
}

static int size_query(const struct rsa_sig *rsa, size_t *out_len)
{
    *out_len = prov_sig_size(&rsa->sig);
    return 1;
}

static int start(struct rsa_sig *rsa, void *vkey)
{
    if (!prov_sig_sign_start(&rsa->sig, vkey, PROV_CLASS_RSA_SIGN))
        return 0;
    rsa->pad_mode = RSA_PKCS1_PADDING;
    rsa->mgf1 = NULL;
    rsa->salt_len = PROV_SALTLEN_DEFAULT;
    rsa->min_salt = -1;
    if (rsa->sig.key->type == PROV_RSA_PSS) {
        rsa->pad_mode = RSA_PKCS1_PSS_PADDING;
        return apply_restrictions(rsa);
    }
    return 1;
}

int prov_rsa_sig_sign_init(void *vctx, void *vkey, const OSSL_PARAM params[])
{
    struct rsa_sig *rsa = vctx;

    return start(rsa, vkey) && (rsa->sig.fixed == NULL || set_digest(rsa, rsa->sig.fixed->name)) &&
           rsa_set_ctx_params(rsa, params);
}

int prov_rsa_sig_digest_sign_init(void *vctx, const char *mdname, void *vkey,
                                  const OSSL_PARAM params[])
{
    struct rsa_sig *rsa = vctx;

    if (!start(rsa, vkey))
        return 0;
    if (mdname != NULL && *mdname != '\0') {
        if (!set_digest(rsa, mdname))
            return 0;
    } else if (rsa->sig.digest == NULL && !prov_sig_set_digest(&rsa->sig, "SHA2-256")) {
        return 0;
    }
    if (!rsa_set_ctx_params(rsa, params))
        return 0;
    /* libssl sets the padding mode afterwards: the message is kept if either mode needs it */
    if (hashes_pkcs1(rsa) || hashes_pss(rsa))
        prov_sig_keep(&rsa->sig);
    return prov_sig_hash_start(&rsa->sig, params);
}

int prov_rsa_sig_digest_sign_final(void *vctx, unsigned char *out, size_t *out_len, size_t out_size)
{
    struct rsa_sig *rsa = vctx;
    unsigned char hash[EVP_MAX_MD_SIZE];
    size_t hash_len = 0;

    if (!prov_sig_ready(&rsa->sig))
        return 0;
    if (out == NULL)
        return size_query(rsa, out_len);
    return prov_sig_hash_finish(&rsa->sig, hash, &hash_len) &&
           sign_tbs(rsa, out, out_len, out_size, hash, hash_len);
}

static int rsa_digest_sign(void *vctx, unsigned char *out, size_t *out_len, size_t out_size,
                           const unsigned char *tbs, size_t tbs_len)
{
    return (out == NULL || prov_sig_update(vctx, tbs, tbs_len)) &&
           prov_rsa_sig_digest_sign_final(vctx, out, out_len, out_size);
}

int prov_rsa_sig_sign(void *vctx, unsigned char *out, size_t *out_len, size_t out_size,
                      const unsigned char *tbs, size_t tbs_len)
{
    struct rsa_sig *rsa = vctx;

    if (rsa->sig.message)
        return rsa_digest_sign(vctx, out, out_len, out_size, tbs, tbs_len);
    if (!prov_sig_ready(&rsa->sig))
        return 0;
    if (out == NULL)
        return size_query(rsa, out_len);
    return digest_suffices(rsa) && sign_tbs(rsa, out, out_len, out_size, tbs, tbs_len);
}

#ifdef OSSL_FUNC_SIGNATURE_QUERY_KEY_TYPES
/* Asked where an application fetched this algorithm itself: the keys name another (PROV_OWN_). */
static const char **rsa_query_key_types(void)
{
    static const char *types[] = {"RSA", "RSA-PSS", NULL};

    return types;
}
#endif

const OSSL_DISPATCH prov_signature_rsa[] = {
    {OSSL_FUNC_SIGNATURE_NEWCTX, (void (*)(void))prov_rsa_sig_newctx},
    {OSSL_FUNC_SIGNATURE_FREECTX, (void (*)(void))prov_sig_freectx},
    {OSSL_FUNC_SIGNATURE_DUPCTX, (void (*)(void))prov_sig_dupctx},
#ifdef OSSL_FUNC_SIGNATURE_QUERY_KEY_TYPES
    {OSSL_FUNC_SIGNATURE_QUERY_KEY_TYPES, (void (*)(void))rsa_query_key_types},
#endif
    {OSSL_FUNC_SIGNATURE_SIGN_INIT, (void (*)(void))prov_rsa_sig_sign_init},
    {OSSL_FUNC_SIGNATURE_SIGN, (void (*)(void))prov_rsa_sig_sign},
    {OSSL_FUNC_SIGNATURE_VERIFY_INIT, (void (*)(void))prov_sig_verify_init},
    {OSSL_FUNC_SIGNATURE_VERIFY, (void (*)(void))prov_sig_verify},
    {OSSL_FUNC_SIGNATURE_VERIFY_RECOVER_INIT, (void (*)(void))prov_sig_verify_recover_init},
    {OSSL_FUNC_SIGNATURE_VERIFY_RECOVER, (void (*)(void))prov_sig_verify_recover},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, (void (*)(void))prov_rsa_sig_digest_sign_init},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN_UPDATE, (void (*)(void))prov_sig_update},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN_FINAL, (void (*)(void))prov_rsa_sig_digest_sign_final},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN, (void (*)(void))rsa_digest_sign},
    {OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_INIT, (void (*)(void))prov_sig_digest_verify_init},
    {OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_UPDATE, (void (*)(void))prov_sig_digest_verify_update},
    {OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_FINAL, (void (*)(void))prov_sig_digest_verify_final},
    {OSSL_FUNC_SIGNATURE_DIGEST_VERIFY, (void (*)(void))prov_sig_digest_verify},
    {OSSL_FUNC_SIGNATURE_GET_CTX_PARAMS, (void (*)(void))prov_rsa_sig_get_ctx_params},
    {OSSL_FUNC_SIGNATURE_GETTABLE_CTX_PARAMS, (void (*)(void))prov_rsa_sig_gettable_ctx_params},
    {OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, (void (*)(void))rsa_set_ctx_params},
    {OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, (void (*)(void))rsa_settable_ctx_params},
    {OSSL_FUNC_SIGNATURE_GET_CTX_MD_PARAMS, (void (*)(void))prov_sig_get_ctx_md_params},
    {OSSL_FUNC_SIGNATURE_GETTABLE_CTX_MD_PARAMS, (void (*)(void))prov_sig_gettable_ctx_md_params},
    {OSSL_FUNC_SIGNATURE_SET_CTX_MD_PARAMS, (void (*)(void))prov_sig_set_ctx_md_params},
    {OSSL_FUNC_SIGNATURE_SETTABLE_CTX_MD_PARAMS, (void (*)(void))prov_sig_settable_ctx_md_params},
    {0, NULL},
};
