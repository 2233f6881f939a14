/* SPDX-License-Identifier: Apache-2.0
 *
 * The cryptography, with libcrypto's default provider in a library context of this module's own:
 * the process's context, where the provider under test may be loaded, is never used. */
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/provider.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "fake_local.h"

#define DEFAULT "provider=default"

static OSSL_LIB_CTX *libctx;
static pthread_once_t libctx_once = PTHREAD_ONCE_INIT;

static void libctx_start(void)
{
    libctx = OSSL_LIB_CTX_new();
    if (libctx == NULL || OSSL_PROVIDER_load(libctx, "default") == NULL)
        fake_die("cannot set up libcrypto");
}

static OSSL_LIB_CTX *ctx(void)
{
    pthread_once(&libctx_once, libctx_start);
    return libctx;
}

/* --- key material ---------------------------------------------------------------------------- */

static void take_bn(EVP_PKEY *pkey, const char *name, struct fake_blob *out)
{
    BIGNUM *bn = NULL;
    unsigned char buf[1024];
    int len;

    if (EVP_PKEY_get_bn_param(pkey, name, &bn) != 1)
        fake_die("no %s in a key", name);
    len = BN_bn2bin(bn, buf);
    fake_set_blob(out, buf, (size_t)len);
    BN_free(bn);
}

static void take_ec(EVP_PKEY *pkey, struct fake_material *m)
{
    char name[64];
    unsigned char point[256], *der = NULL;
    size_t len = 0;
    ASN1_OBJECT *oid;
    int der_len;

    if (EVP_PKEY_get_utf8_string_param(pkey, OSSL_PKEY_PARAM_GROUP_NAME, name, sizeof(name),
                                       NULL) != 1 ||
        (oid = OBJ_txt2obj(name, 0)) == NULL)
        fake_die("an EC key without curve");
    der_len = i2d_ASN1_OBJECT(oid, &der);
    ASN1_OBJECT_free(oid);
    if (der_len <= 0)
        fake_die("no OID for curve %s", name);
    fake_set_blob(&m->ec_params, der, (size_t)der_len);
    OPENSSL_free(der);
    if (EVP_PKEY_get_octet_string_param(pkey, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point),
                                        &len) != 1)
        fake_die("an EC key without point");
    fake_set_blob(&m->point, point, len);
}

const unsigned char *fake_edwards_params(bool ed448, bool named, size_t *len)
{
    static const unsigned char oids[2][5] = {{0x06, 0x03, 0x2b, 0x65, 0x70},
                                             {0x06, 0x03, 0x2b, 0x65, 0x71}};

    *len = named ? ed448 ? 12 : 14 : sizeof(oids[0]);
    if (named)
        return (const unsigned char *)(ed448 ? "\x13\x0a"
                                               "edwards448"
                                             : "\x13\x0c"
                                               "edwards25519");
    return oids[ed448];
}

static void take_edwards(EVP_PKEY *pkey, struct fake_material *m)
{
    unsigned char point[57];
    size_t len = sizeof(point);
    const unsigned char *oid;

    if (EVP_PKEY_get_raw_public_key(pkey, point, &len) != 1)
        fake_die("an Edwards key without public half");
    fake_set_blob(&m->point, point, len);
    oid = fake_edwards_params(len == 57, false, &len);
    fake_set_blob(&m->ec_params, oid, len);
}

/* Takes `pkey` over. */
static struct fake_material *material_new(EVP_PKEY *pkey, unsigned refs)
{
    struct fake_material *m = fake_alloc(sizeof(*m));
    unsigned char *spki = NULL;
    int len;

    m->refs = refs;
    m->pkey = pkey;
    if (EVP_PKEY_is_a(pkey, "RSA")) {
        m->family = FAKE_FAMILY_RSA;
        take_bn(pkey, OSSL_PKEY_PARAM_RSA_N, &m->modulus);
        take_bn(pkey, OSSL_PKEY_PARAM_RSA_E, &m->exponent);
    } else if (EVP_PKEY_is_a(pkey, "EC")) {
        m->family = FAKE_FAMILY_EC;
        take_ec(pkey, m);
    } else {
        m->family = FAKE_FAMILY_EDWARDS;
        take_edwards(pkey, m);
    }
    len = i2d_PUBKEY(pkey, &spki);
    if (len <= 0)
        fake_die("cannot encode a public key");
    fake_set_blob(&m->spki, spki, (size_t)len);
    OPENSSL_free(spki);
    return m;
}

void fake_material_ref(struct fake_material *material)
{
    if (material != NULL && material->refs != 0)
        material->refs++;
}

void fake_material_free(struct fake_material *material)
{
    if (material == NULL || material->refs == 0 || --material->refs != 0)
        return;
    EVP_PKEY_free(material->pkey);
    free(material->modulus.data);
    free(material->exponent.data);
    free(material->ec_params.data);
    free(material->point.data);
    free(material->spki.data);
    free(material);
}

struct fake_material *fake_builtin_material(enum fake_kind kind, unsigned index)
{
    static struct fake_material *cache[32];
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    struct fake_material *m = NULL;
    size_t i;

    for (i = 0; i < fake_builtins_count; i++) {
        if (fake_builtins[i].kind == kind && index-- == 0)
            break;
    }
    if (i == fake_builtins_count)
        return NULL;
    pthread_mutex_lock(&mutex);
    if (cache[i] == NULL) {
        const unsigned char *p = fake_builtins[i].der;
        EVP_PKEY *pkey =
            d2i_AutoPrivateKey_ex(NULL, &p, (long)fake_builtins[i].len, ctx(), DEFAULT);

        if (pkey == NULL)
            fake_die("built-in key %zu does not load", i);
        cache[i] = material_new(pkey, 0);
    }
    m = cache[i];
    pthread_mutex_unlock(&mutex);
    return m;
}

struct fake_material *fake_generate_rsa(unsigned bits, const unsigned char *e, size_t e_len)
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_name(ctx(), "RSA", DEFAULT);
    EVP_PKEY *pkey = NULL;
    BIGNUM *exponent = BN_bin2bn(e, (int)e_len, NULL);

    if (pctx != NULL && exponent != NULL && EVP_PKEY_keygen_init(pctx) == 1 &&
        EVP_PKEY_CTX_set_rsa_keygen_bits(pctx, (int)bits) == 1 &&
        EVP_PKEY_CTX_set1_rsa_keygen_pubexp(pctx, exponent) == 1)
        (void)EVP_PKEY_generate(pctx, &pkey);
    BN_free(exponent);
    EVP_PKEY_CTX_free(pctx);
    return pkey != NULL ? material_new(pkey, 1) : NULL;
}

struct fake_material *fake_generate_ec(const unsigned char *params, size_t len, bool *curve_known)
{
    const unsigned char *p = params;
    ASN1_OBJECT *oid = d2i_ASN1_OBJECT(NULL, &p, (long)len);
    const char *name = oid != NULL ? OBJ_nid2sn(OBJ_obj2nid(oid)) : NULL;
    EVP_PKEY *pkey = NULL;

    *curve_known = oid != NULL && OBJ_obj2nid(oid) != NID_undef;
    if (*curve_known) {
        EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_name(ctx(), "EC", DEFAULT);

        *curve_known = pctx != NULL && EVP_PKEY_keygen_init(pctx) == 1 &&
                       EVP_PKEY_CTX_set_group_name(pctx, name) == 1;
        if (*curve_known)
            (void)EVP_PKEY_generate(pctx, &pkey);
        EVP_PKEY_CTX_free(pctx);
    }
    ASN1_OBJECT_free(oid);
    ERR_clear_error();
    return pkey != NULL ? material_new(pkey, 1) : NULL;
}

struct fake_material *fake_generate_edwards(bool ed448)
{
    EVP_PKEY *pkey = EVP_PKEY_Q_keygen(ctx(), DEFAULT, ed448 ? "ED448" : "ED25519");

    ERR_clear_error();
    return pkey != NULL ? material_new(pkey, 1) : NULL;
}

static size_t order_size(const struct fake_material *m)
{
    return ((size_t)EVP_PKEY_get_bits(m->pkey) + 7) / 8;
}

size_t fake_output_size(const struct fake_material *material)
{
    if (material->family == FAKE_FAMILY_EDWARDS)
        return 2 * material->point.len;
    return material->family == FAKE_FAMILY_RSA ? material->modulus.len : 2 * order_size(material);
}

/* --- mechanisms ------------------------------------------------------------------------------ */

static const struct {
    CK_MECHANISM_TYPE hash;
    unsigned long mgf;
    const char *name;
} digests[] = {
    {CKM_SHA_1, CKG_MGF1_SHA1, "SHA1"},
    {CKM_SHA224, CKG_MGF1_SHA224, "SHA224"},
    {CKM_SHA256, CKG_MGF1_SHA256, "SHA256"},
    {CKM_SHA384, CKG_MGF1_SHA384, "SHA384"},
    {CKM_SHA512, CKG_MGF1_SHA512, "SHA512"},
    {FAKE_CKM_SHA3_224, FAKE_CKG_MGF1_SHA3_224, "SHA3-224"},
    {FAKE_CKM_SHA3_256, FAKE_CKG_MGF1_SHA3_256, "SHA3-256"},
    {FAKE_CKM_SHA3_384, FAKE_CKG_MGF1_SHA3_384, "SHA3-384"},
    {FAKE_CKM_SHA3_512, FAKE_CKG_MGF1_SHA3_512, "SHA3-512"},
};

static const char *digest_name(CK_MECHANISM_TYPE hash, unsigned long mgf)
{
    for (size_t i = 0; i < sizeof(digests) / sizeof(digests[0]); i++) {
        if (hash != 0 ? digests[i].hash == hash : digests[i].mgf == mgf)
            return digests[i].name;
    }
    return NULL;
}

/* Padding and digests of an RSA operation that has been initialised. */
static bool set_rsa(EVP_PKEY_CTX *pctx, const struct fake_mechanism *mech)
{
    int pad = mech->type == CKM_RSA_PKCS       ? RSA_PKCS1_PADDING
              : mech->type == CKM_RSA_X_509    ? RSA_NO_PADDING
              : mech->type == CKM_RSA_PKCS_PSS ? RSA_PKCS1_PSS_PADDING
                                               : RSA_PKCS1_OAEP_PADDING;
    const char *hash = digest_name(mech->hash, 0), *mgf = digest_name(0, mech->mgf);
    unsigned no = 0;
    OSSL_PARAM params[] = {
        /* from 3.2 on, and only for PKCS#1 decryption; others ignore it */
        OSSL_PARAM_uint("implicit-rejection", &no),
        OSSL_PARAM_END,
    };

    if (EVP_PKEY_CTX_set_rsa_padding(pctx, pad) != 1)
        return false;
    if (pad == RSA_PKCS1_PADDING && EVP_PKEY_CTX_get_operation(pctx) == EVP_PKEY_OP_DECRYPT)
        (void)EVP_PKEY_CTX_set_params(pctx, params);
    if (pad == RSA_PKCS1_PADDING || pad == RSA_NO_PADDING)
        return true;
    if (hash == NULL || mgf == NULL)
        return false;
    if (pad == RSA_PKCS1_PSS_PADDING) {
        EVP_MD *md = EVP_MD_fetch(ctx(), hash, DEFAULT);
        bool good = md != NULL && EVP_PKEY_CTX_set_signature_md(pctx, md) == 1 &&
                    EVP_PKEY_CTX_set_rsa_mgf1_md_name(pctx, mgf, DEFAULT) == 1 &&
                    EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, (int)mech->salt) == 1;

        EVP_MD_free(md);
        return good;
    }
    if (EVP_PKEY_CTX_set_rsa_oaep_md_name(pctx, hash, DEFAULT) != 1 ||
        EVP_PKEY_CTX_set_rsa_mgf1_md_name(pctx, mgf, DEFAULT) != 1)
        return false;
    if (mech->label_len != 0) {
        void *label = OPENSSL_memdup(mech->label, mech->label_len);

        if (label == NULL ||
            EVP_PKEY_CTX_set0_rsa_oaep_label(pctx, label, (int)mech->label_len) != 1)
            return false;
    }
    return true;
}

/* r || s, each as long as the order. */
static CK_RV split_ecdsa(const struct fake_material *m, const unsigned char *der, size_t der_len,
                         unsigned char *out, size_t *out_len)
{
    const unsigned char *p = der;
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &p, (long)der_len);
    size_t n = order_size(m);
    CK_RV rv = CKR_FUNCTION_FAILED;

    if (sig != NULL && BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, (int)n) > 0 &&
        BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + n, (int)n) > 0) {
        *out_len = 2 * n;
        rv = CKR_OK;
    }
    ECDSA_SIG_free(sig);
    return rv;
}

const struct fake_hashing *fake_hashing_of(CK_MECHANISM_TYPE type)
{
    static const struct fake_hashing rows[] = {
        {CKM_SHA1_RSA_PKCS, CKM_RSA_PKCS, CKM_SHA_1},
        {CKM_SHA224_RSA_PKCS, CKM_RSA_PKCS, CKM_SHA224},
        {CKM_SHA256_RSA_PKCS, CKM_RSA_PKCS, CKM_SHA256},
        {CKM_SHA384_RSA_PKCS, CKM_RSA_PKCS, CKM_SHA384},
        {CKM_SHA512_RSA_PKCS, CKM_RSA_PKCS, CKM_SHA512},
        {CKM_SHA1_RSA_PKCS_PSS, CKM_RSA_PKCS_PSS, CKM_SHA_1},
        {CKM_SHA224_RSA_PKCS_PSS, CKM_RSA_PKCS_PSS, CKM_SHA224},
        {CKM_SHA256_RSA_PKCS_PSS, CKM_RSA_PKCS_PSS, CKM_SHA256},
        {CKM_SHA384_RSA_PKCS_PSS, CKM_RSA_PKCS_PSS, CKM_SHA384},
        {CKM_SHA512_RSA_PKCS_PSS, CKM_RSA_PKCS_PSS, CKM_SHA512},
        {CKM_ECDSA_SHA1, CKM_ECDSA, CKM_SHA_1},
        {CKM_ECDSA_SHA224, CKM_ECDSA, CKM_SHA224},
        {CKM_ECDSA_SHA256, CKM_ECDSA, CKM_SHA256},
        {CKM_ECDSA_SHA384, CKM_ECDSA, CKM_SHA384},
        {CKM_ECDSA_SHA512, CKM_ECDSA, CKM_SHA512},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].type == type)
            return &rows[i];
    return NULL;
}

/* The message is hashed, and the hash signed, with PKCS#1 in a DigestInfo. */
static CK_RV sign_hashed(const struct fake_material *material, const struct fake_mechanism *mech,
                         const struct fake_hashing *hashing, const unsigned char *in, size_t in_len,
                         unsigned char *out, size_t *out_len)
{
    struct fake_mechanism raw = *mech;
    unsigned char hash[EVP_MAX_MD_SIZE], sig[1024];
    const char *name = digest_name(hashing->hash, 0);
    EVP_PKEY_CTX *pctx;
    EVP_MD *md;
    size_t hash_len = 0, len = sizeof(sig);
    CK_RV rv = CKR_FUNCTION_FAILED;

    if (EVP_Q_digest(ctx(), name, DEFAULT, in, in_len, hash, &hash_len) != 1)
        return CKR_FUNCTION_FAILED;
    raw.type = hashing->base;
    if (raw.type != CKM_RSA_PKCS)
        return fake_crypto_sign(material, &raw, hash, hash_len, out, out_len);
    pctx = EVP_PKEY_CTX_new_from_pkey(ctx(), material->pkey, DEFAULT);
    md = EVP_MD_fetch(ctx(), name, DEFAULT);
    if (pctx != NULL && md != NULL && EVP_PKEY_sign_init(pctx) == 1 && set_rsa(pctx, &raw) &&
        EVP_PKEY_CTX_set_signature_md(pctx, md) == 1 &&
        EVP_PKEY_sign(pctx, sig, &len, hash, hash_len) == 1) {
        memcpy(out, sig, len);
        *out_len = len;
        rv = CKR_OK;
    }
    EVP_MD_free(md);
    EVP_PKEY_CTX_free(pctx);
    ERR_clear_error();
    return rv;
}

static CK_RV sign_edwards(const struct fake_material *material, const unsigned char *in,
                          size_t in_len, unsigned char *out, size_t *out_len)
{
    EVP_MD_CTX *mdctx = EVP_MD_CTX_new();
    CK_RV rv = CKR_FUNCTION_FAILED;

    if (mdctx != NULL &&
        EVP_DigestSignInit_ex(mdctx, NULL, NULL, ctx(), DEFAULT, material->pkey, NULL) == 1 &&
        EVP_DigestSign(mdctx, out, out_len, in, in_len) == 1)
        rv = CKR_OK;
    EVP_MD_CTX_free(mdctx);
    ERR_clear_error();
    return rv;
}

CK_RV fake_crypto_derive(const struct fake_material *material, const unsigned char *peer,
                         size_t peer_len, unsigned char *out, size_t *out_len)
{
    EVP_PKEY *other = EVP_PKEY_new();
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(ctx(), material->pkey, DEFAULT);
    CK_RV rv = CKR_MECHANISM_PARAM_INVALID;

    if (other != NULL && pctx != NULL && EVP_PKEY_copy_parameters(other, material->pkey) == 1 &&
        EVP_PKEY_set1_encoded_public_key(other, peer, peer_len) == 1 &&
        EVP_PKEY_derive_init(pctx) == 1 && EVP_PKEY_derive_set_peer(pctx, other) == 1)
        rv = EVP_PKEY_derive(pctx, out, out_len) == 1 ? CKR_OK : CKR_FUNCTION_FAILED;
    EVP_PKEY_CTX_free(pctx);
    EVP_PKEY_free(other);
    ERR_clear_error();
    return rv;
}

CK_RV fake_crypto_sign(const struct fake_material *material, const struct fake_mechanism *mech,
                       const unsigned char *in, size_t in_len, unsigned char *out, size_t *out_len)
{
    const struct fake_hashing *hashing = fake_hashing_of(mech->type);
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(ctx(), material->pkey, DEFAULT);
    unsigned char buf[1024], block[1024] = {0};
    size_t len = sizeof(buf);
    CK_RV rv = CKR_DATA_LEN_RANGE;

    if (hashing != NULL || mech->type == FAKE_CKM_EDDSA) {
        EVP_PKEY_CTX_free(pctx);
        return hashing != NULL ? sign_hashed(material, mech, hashing, in, in_len, out, out_len)
                               : sign_edwards(material, in, in_len, out, out_len);
    }
    if (mech->type == CKM_RSA_X_509) {
        if (in_len > material->modulus.len)
            goto out;
        memcpy(block + material->modulus.len - in_len, in, in_len);
        in = block;
        in_len = material->modulus.len;
    }
    if (pctx == NULL || EVP_PKEY_sign_init(pctx) != 1 ||
        (material->family == FAKE_FAMILY_RSA && !set_rsa(pctx, mech))) {
        rv = CKR_MECHANISM_PARAM_INVALID;
        goto out;
    }
    if (EVP_PKEY_sign(pctx, buf, &len, in, in_len) != 1)
        goto out;
    if (material->family == FAKE_FAMILY_RSA) {
        memcpy(out, buf, len);
        *out_len = len;
        rv = CKR_OK;
    } else {
        rv = split_ecdsa(material, buf, len, out, out_len);
    }
out:
    EVP_PKEY_CTX_free(pctx);
    ERR_clear_error();
    return rv;
}

CK_RV fake_crypto_decrypt(const struct fake_material *material, const struct fake_mechanism *mech,
                          const unsigned char *in, size_t in_len, unsigned char *out,
                          size_t *out_len)
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(ctx(), material->pkey, DEFAULT);
    CK_RV rv = CKR_OK;

    if (in_len != material->modulus.len)
        rv = CKR_ENCRYPTED_DATA_LEN_RANGE;
    else if (pctx == NULL || EVP_PKEY_decrypt_init(pctx) != 1 || !set_rsa(pctx, mech))
        rv = CKR_MECHANISM_PARAM_INVALID;
    else if (EVP_PKEY_decrypt(pctx, out, out_len, in, in_len) != 1)
        rv = CKR_ENCRYPTED_DATA_INVALID;
    EVP_PKEY_CTX_free(pctx);
    ERR_clear_error();
    return rv;
}

/* --- what is worked out once ----------------------------------------------------------------- */

/* Filled before there are threads, and only read afterwards: no lock that a fork could keep. */
static struct memory {
    const struct fake_material *material;
    bool decrypt;
    struct fake_blob in, out;
} memories[8];
static unsigned memory_count;

void fake_crypto_remember(const struct fake_material *material, bool decrypt,
                          const unsigned char *in, size_t in_len, const unsigned char *out,
                          size_t out_len)
{
    struct memory *m = &memories[memory_count];

    if (material->refs != 0 || memory_count == sizeof(memories) / sizeof(memories[0]))
        fake_die("fake_remember: not a built-in key, or too many");
    m->material = material;
    m->decrypt = decrypt;
    fake_set_blob(&m->in, in, in_len);
    fake_set_blob(&m->out, out, out_len);
    memory_count++;
}

bool fake_crypto_recall(const struct fake_material *material, bool decrypt, const unsigned char *in,
                        size_t in_len, unsigned char *out, size_t *out_len)
{
    for (unsigned i = 0; i < memory_count; i++) {
        const struct memory *m = &memories[i];

        if (m->material == material && m->decrypt == decrypt && m->in.len == in_len &&
            memcmp(m->in.data, in, in_len) == 0) {
            memcpy(out, m->out.data, m->out.len);
            *out_len = m->out.len;
            return true;
        }
    }
    return false;
}

/* --- the public half ------------------------------------------------------------------------- */

static unsigned char *join_ecdsa(const unsigned char *sig, size_t sig_len, size_t *der_len)
{
    ECDSA_SIG *s = ECDSA_SIG_new();
    BIGNUM *r0 = BN_bin2bn(sig, (int)(sig_len / 2), NULL);
    BIGNUM *s0 = BN_bin2bn(sig + sig_len / 2, (int)(sig_len / 2), NULL);
    unsigned char *der = NULL;
    int len;

    if (s == NULL || r0 == NULL || s0 == NULL || ECDSA_SIG_set0(s, r0, s0) != 1)
        fake_die("out of memory");
    len = i2d_ECDSA_SIG(s, &der);
    *der_len = len > 0 ? (size_t)len : 0;
    ECDSA_SIG_free(s);
    return der;
}

/* PKCS#1 and raw: what the public operation recovers is the input. */
static bool recovers(EVP_PKEY_CTX *pctx, const struct fake_mechanism *mech, const unsigned char *in,
                     size_t in_len, const unsigned char *sig, size_t sig_len)
{
    unsigned char buf[1024];
    size_t len = sizeof(buf);

    return EVP_PKEY_verify_recover_init(pctx) == 1 && set_rsa(pctx, mech) &&
           EVP_PKEY_verify_recover(pctx, buf, &len, sig, sig_len) == 1 && len == in_len &&
           memcmp(buf, in, len) == 0;
}

bool fake_crypto_verify(const struct fake_material *material, const struct fake_mechanism *mech,
                        const unsigned char *in, size_t in_len, const unsigned char *sig,
                        size_t sig_len)
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(ctx(), material->pkey, DEFAULT);
    bool good = false;

    if (pctx == NULL || (material->family == FAKE_FAMILY_RSA) != (mech->type != CKM_ECDSA))
        fake_die("fake_verify: mechanism and key do not fit");
    if (mech->type == CKM_RSA_PKCS || mech->type == CKM_RSA_X_509) {
        good = recovers(pctx, mech, in, in_len, sig, sig_len);
    } else if (mech->type == CKM_RSA_PKCS_PSS) {
        good = EVP_PKEY_verify_init(pctx) == 1 && set_rsa(pctx, mech) &&
               EVP_PKEY_verify(pctx, sig, sig_len, in, in_len) == 1;
    } else if (sig_len == 2 * order_size(material)) {
        size_t der_len;
        unsigned char *der = join_ecdsa(sig, sig_len, &der_len);

        good =
            EVP_PKEY_verify_init(pctx) == 1 && EVP_PKEY_verify(pctx, der, der_len, in, in_len) == 1;
        OPENSSL_free(der);
    }
    EVP_PKEY_CTX_free(pctx);
    ERR_clear_error();
    return good;
}

size_t fake_crypto_encrypt(const struct fake_material *material, const struct fake_mechanism *mech,
                           const unsigned char *in, size_t in_len, unsigned char *out, size_t size)
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(ctx(), material->pkey, DEFAULT);
    size_t len = size;

    if (pctx == NULL || EVP_PKEY_encrypt_init(pctx) != 1 || !set_rsa(pctx, mech) ||
        EVP_PKEY_encrypt(pctx, out, &len, in, in_len) != 1)
        len = 0;
    EVP_PKEY_CTX_free(pctx);
    ERR_clear_error();
    return len;
}

bool fake_crypto_random(unsigned char *out, size_t len)
{
    return RAND_bytes_ex(ctx(), out, len, 0) == 1;
}

/* Self-signed, valid for a hundred years, always the same serial. */
bool fake_crypto_certificate(const struct fake_material *material, const char *name,
                             struct fake_blob *der, struct fake_blob *subject)
{
    X509 *x = X509_new_ex(ctx(), DEFAULT);
    EVP_MD *md = EVP_MD_fetch(ctx(), "SHA256", DEFAULT);
    X509_NAME *n = X509_NAME_new();
    unsigned char *buf = NULL;
    int len;
    bool good = false;

    if (x == NULL || n == NULL || md == NULL ||
        X509_NAME_add_entry_by_txt(n, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1,
                                   0) != 1 ||
        X509_set_version(x, 2) != 1 || ASN1_INTEGER_set(X509_get_serialNumber(x), 1) != 1 ||
        X509_gmtime_adj(X509_getm_notBefore(x), -3600) == NULL ||
        X509_time_adj_ex(X509_getm_notAfter(x), 36500, 0, NULL) == NULL ||
        X509_set_subject_name(x, n) != 1 || X509_set_issuer_name(x, n) != 1 ||
        X509_set_pubkey(x, material->pkey) != 1 || X509_sign(x, material->pkey, md) <= 0)
        goto out;
    len = i2d_X509(x, &buf);
    if (len <= 0)
        goto out;
    fake_set_blob(der, buf, (size_t)len);
    OPENSSL_free(buf);
    buf = NULL;
    len = i2d_X509_NAME(n, &buf);
    if (len <= 0)
        goto out;
    fake_set_blob(subject, buf, (size_t)len);
    good = true;
out:
    OPENSSL_free(buf);
    X509_NAME_free(n);
    X509_free(x);
    EVP_MD_free(md);
    return good;
}
