/* SPDX-License-Identifier: Apache-2.0
 *
 * padding.c - RSA encodings, see padding.h.
 */
/* MGF1 and OAEP decoding have no successor in libcrypto's new API. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "padding.h"

#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <string.h>

#define PRF_DIGEST "SHA2-256" /* fixed: all members and versions must answer alike */

/* --- constant time --------------------------------------------------------------------------- */

/* Masks are all ones or all zeros. The barrier keeps compilers from finding out what they are,
 * and turning selections back into branches. */
static inline size_t barrier(size_t value)
{
    __asm__("" : "+r"(value));
    return value;
}

static inline size_t msb_mask(size_t value)
{
    return barrier(0 - (value >> (sizeof(value) * 8 - 1)));
}

static inline size_t is_zero(size_t value)
{
    return msb_mask(~value & (value - 1));
}

static inline size_t is_equal(size_t a, size_t b)
{
    return is_zero(a ^ b);
}

/* For operands below SIZE_MAX / 2, which all of ours are. */
static inline size_t is_less(size_t a, size_t b)
{
    return msb_mask(a - b);
}

static inline size_t choose(size_t mask, size_t a, size_t b)
{
    return (barrier(mask) & a) | (barrier(~mask) & b);
}

static inline unsigned char choose_byte(size_t mask, unsigned char a, unsigned char b)
{
    return (unsigned char)choose(mask, a, b);
}

/* --- signatures ------------------------------------------------------------------------------ */

/* The last byte of 2.16.840.1.101.3.4.2.x. */
static const unsigned char nist_hash_arc[] = {
    [KS_DIGEST_SHA224] = 4,    [KS_DIGEST_SHA256] = 1,     [KS_DIGEST_SHA384] = 2,
    [KS_DIGEST_SHA512] = 3,    [KS_DIGEST_SHA512_224] = 5, [KS_DIGEST_SHA512_256] = 6,
    [KS_DIGEST_SHA3_224] = 7,  [KS_DIGEST_SHA3_256] = 8,   [KS_DIGEST_SHA3_384] = 9,
    [KS_DIGEST_SHA3_512] = 10,
};

size_t prov_digest_info(const struct prov_digest *digest, const unsigned char *value,
                        unsigned char out[PROV_DIGEST_INFO_MAX])
{
    static const unsigned char sha1[] = {0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e,
                                         0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14};
    static const unsigned char nist[] = {0x30, 0,    0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                         0x65, 0x03, 0x04, 0x02, 0,    0x05, 0x00, 0x04, 0};
    size_t len;

    if (digest->ks == KS_DIGEST_SHA1) {
        len = sizeof(sha1);
        memcpy(out, sha1, len);
    } else {
        len = sizeof(nist);
        memcpy(out, nist, len);
        out[1] = (unsigned char)(len - 2 + digest->size);
        out[14] = nist_hash_arc[digest->ks];
        out[18] = (unsigned char)digest->size;
    }
    memcpy(out + len, value, digest->size);
    return len + digest->size;
}

long prov_pss_max_salt(unsigned bits, size_t digest_len)
{
    return ((long)bits - 1 + 7) / 8 - (long)digest_len - 2;
}

int prov_pss_salt_len(const struct prov_ctx *ctx, unsigned bits, const struct prov_digest *digest,
                      long wanted, long least, size_t *out)
{
    const long size = (long)digest->size, max = prov_pss_max_salt(bits, digest->size);
    long len = wanted;

    if (len == RSA_PSS_SALTLEN_DIGEST)
        len = size;
    else if (len == PROV_SALTLEN_AUTO_DIGEST_MAX)
        len = max < size ? max : size;
    else if (len < 0)
        len = max;
    if (len < 0 || len > max) {
        prov_raise(ctx, PROV_R_PARAMETER,
                   "PSS with %s does not fit a %u bit key (salt of %ld bytes, at most %ld)",
                   digest->name, bits, len, max < 0 ? 0 : max);
        return 0;
    }
    if (len < least) {
        prov_raise(ctx, PROV_R_PARAMETER,
                   "the RSA-PSS key demands a salt of %ld bytes at least, not %ld", least, len);
        return 0;
    }
    *out = (size_t)len;
    return 1;
}

/* H = Hash(eight zeros || hash || salt) */
static int pss_hash(const EVP_MD *md, const unsigned char *hash, size_t hash_len,
                    const unsigned char *salt, size_t salt_len, unsigned char *out)
{
    static const unsigned char zeros[8] = {0};
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int ok;

    ok = ctx != NULL && EVP_DigestInit_ex2(ctx, md, NULL) &&
         EVP_DigestUpdate(ctx, zeros, sizeof(zeros)) && EVP_DigestUpdate(ctx, hash, hash_len) &&
         EVP_DigestUpdate(ctx, salt, salt_len) && EVP_DigestFinal_ex(ctx, out, NULL);
    EVP_MD_CTX_free(ctx);
    return ok;
}

int prov_pss_encode(const struct prov_ctx *ctx, unsigned char *em, size_t em_len, unsigned bits,
                    const EVP_MD *md, const EVP_MD *mgf1_md, const unsigned char *hash,
                    size_t salt_len)
{
    const size_t hash_len = (size_t)EVP_MD_get_size(md);
    const size_t used = (bits + 6) / 8; /* octets of a number of bits - 1 */
    unsigned char *salt, *h, *db = em;
    unsigned char mask[PROV_RSA_MAX_BYTES];
    size_t db_len;
    int ok = 0;

    if (em_len > sizeof(mask) || em_len != (bits + 7) / 8 || used < hash_len + salt_len + 2) {
        prov_raise(ctx, PROV_R_PARAMETER, "PSS salt of %zu bytes does not fit a %u bit key",
                   salt_len, bits);
        return 0;
    }
    if (used < em_len)
        *db++ = 0;
    db_len = used - hash_len - 1;
    h = db + db_len;
    salt = h - salt_len;

    memset(db, 0, db_len - salt_len - 1);
    db[db_len - salt_len - 1] = 0x01;
    if ((salt_len > 0 && RAND_bytes_ex(ctx->libctx, salt, salt_len, 0) <= 0) ||
        !pss_hash(md, hash, hash_len, salt, salt_len, h) ||
        PKCS1_MGF1(mask, (long)db_len, h, (long)hash_len, mgf1_md) != 0) {
        prov_raise(ctx, PROV_R_SOFTWARE, "PSS encoding failed in libcrypto");
        goto out;
    }
    for (size_t i = 0; i < db_len; i++)
        db[i] ^= mask[i];
    db[0] &= (unsigned char)(0xff >> (8 * used - (bits - 1)));
    h[hash_len] = 0xbc;
    ok = 1;
out:
    OPENSSL_cleanse(mask, sizeof(mask));
    return ok;
}

/* --- OAEP ------------------------------------------------------------------------------------ */

int prov_oaep_decode(unsigned char *out, size_t *out_len, const unsigned char *em, size_t em_len,
                     const EVP_MD *md, const EVP_MD *mgf1_md, const unsigned char *label,
                     size_t label_len)
{
    int len;

    /* libcrypto's decoder runs in constant time, and leaves an error of its own behind. */
    ERR_set_mark();
    len = RSA_padding_check_PKCS1_OAEP_mgf1(out, (int)*out_len, em, (int)em_len, (int)em_len, label,
                                            (int)label_len, md, mgf1_md);
    ERR_pop_to_mark();
    *out_len = choose(msb_mask((size_t)(ossl_ssize_t)len), 0, (size_t)len);
    return len >= 0;
}

/* --- PKCS#1 v1.5 ----------------------------------------------------------------------------- */

void prov_pkcs1_tls(unsigned char out[PROV_TLS_SECRET], const unsigned char *em, size_t em_len,
                    const unsigned char substitute[PROV_TLS_SECRET], unsigned client_version,
                    unsigned alt_version)
{
    const unsigned char *secret = em + em_len - PROV_TLS_SECRET;
    const size_t separator = em_len - PROV_TLS_SECRET - 1;
    size_t good, version_good, alt_good;

    good = is_zero(em[0]) & is_equal(em[1], 2) & is_zero(em[separator]);
    for (size_t i = 2; i < separator; i++)
        good &= ~is_zero(em[i]);

    version_good = is_equal(secret[0], (client_version >> 8) & 0xff) &
                   is_equal(secret[1], client_version & 0xff);
    alt_good = is_equal(secret[0], (alt_version >> 8) & 0xff) &
               is_equal(secret[1], alt_version & 0xff) & ~is_zero(alt_version);
    good &= version_good | alt_good;

    for (size_t i = 0; i < PROV_TLS_SECRET; i++)
        out[i] = choose_byte(good, secret[i], substitute[i]);
}

/* Where the message starts in `em`, with whether the padding is good as `*good`. */
static size_t find_message(const unsigned char *em, size_t em_len, size_t *good)
{
    size_t found = 0, separator = 0;

    *good = is_zero(em[0]) & is_equal(em[1], 2);
    for (size_t i = 2; i < em_len; i++) {
        const size_t zero = is_zero(em[i]);

        separator = choose(zero & ~found, i, separator);
        found |= zero;
    }
    /* Eight bytes of padding at least; without any zero `separator` is 0 and fails here too. */
    *good &= ~is_less(separator, 2 + 8);
    return separator + 1;
}

/* `len` bytes from a label, a counter and the key: the guidance draft's IRPRF. */
static int ir_prf(EVP_MAC_CTX *mac, const char *label, size_t len, unsigned char *out)
{
    const unsigned char bits[2] = {(unsigned char)((len * 8) >> 8), (unsigned char)(len * 8)};
    unsigned char block[PROV_IR_BYTES];
    size_t block_len;
    int ok = 0;

    for (size_t pos = 0, i = 0; pos < len; pos += PROV_IR_BYTES, i++) {
        const unsigned char counter[2] = {(unsigned char)(i >> 8), (unsigned char)i};
        const size_t want = len - pos < PROV_IR_BYTES ? len - pos : PROV_IR_BYTES;

        if (!EVP_MAC_init(mac, NULL, 0, NULL) || !EVP_MAC_update(mac, counter, sizeof(counter)) ||
            !EVP_MAC_update(mac, (const unsigned char *)label, strlen(label)) ||
            !EVP_MAC_update(mac, bits, sizeof(bits)) ||
            !EVP_MAC_final(mac, block, &block_len, sizeof(block)))
            goto out;
        memcpy(out + pos, block, want);
    }
    ok = 1;
out:
    OPENSSL_cleanse(block, sizeof(block));
    return ok;
}

/* An HMAC-SHA256 context with its key set. */
static EVP_MAC_CTX *hmac_new(const struct prov_ctx *ctx, const unsigned char *key, size_t key_len)
{
    char digest[] = PRF_DIGEST;
    OSSL_PARAM params[] = {OSSL_PARAM_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                           OSSL_PARAM_END};
    EVP_MAC *mac = EVP_MAC_fetch(ctx->libctx, "HMAC", PROV_NOT_US);
    EVP_MAC_CTX *hmac = mac != NULL ? EVP_MAC_CTX_new(mac) : NULL;

    params[0].data_size = strlen(digest);
    if (hmac != NULL && !EVP_MAC_init(hmac, key, key_len, params)) {
        EVP_MAC_CTX_free(hmac);
        hmac = NULL;
    }
    EVP_MAC_free(mac);
    return hmac;
}

#define IR_CANDIDATES 128U

/* The length of the substitute message: the last of 128 candidates that is small enough. Always
 * all of them, so that time does not tell which. */
static size_t ir_length(const unsigned char candidates[2 * IR_CANDIDATES], size_t em_len)
{
    const size_t limit = em_len - 2 - 8;
    size_t mask = limit, length = 0;

    for (unsigned shift = 1; shift < 16; shift <<= 1)
        mask |= mask >> shift;
    for (size_t i = 0; i < IR_CANDIDATES; i++, candidates += 2) {
        const size_t candidate = (((size_t)candidates[0] << 8) | candidates[1]) & mask;

        length = choose(is_less(candidate, limit), candidate, length);
    }
    return length;
}

int prov_pkcs1_implicit(const struct prov_ctx *ctx, unsigned char *out, size_t *out_len,
                        const unsigned char *em, size_t em_len, const unsigned char *kdk)
{
    unsigned char substitute[PROV_RSA_MAX_BYTES], candidates[2 * IR_CANDIDATES];
    EVP_MAC_CTX *mac = NULL;
    size_t good, start, len;
    int ok = 0;

    if (em_len > sizeof(substitute) || em_len < 11) {
        prov_raise(ctx, PROV_R_UNSUPPORTED, "no PKCS#1 v1.5 padding in a block of %zu bytes",
                   em_len);
        return 0;
    }
    mac = hmac_new(ctx, kdk, PROV_IR_BYTES);
    if (mac == NULL || !ir_prf(mac, "message", em_len, substitute) ||
        !ir_prf(mac, "length", sizeof(candidates), candidates)) {
        prov_raise(ctx, PROV_R_SOFTWARE, "HMAC-SHA256 failed in libcrypto");
        goto out;
    }
    start = find_message(em, em_len, &good);
    /* What does not fit is rejected like bad padding: an error would tell. */
    good &= ~is_less(*out_len, em_len - start);
    start = choose(good, start, em_len - ir_length(candidates, em_len));

    /* From here on `start` shows in the returned length anyway; `good` must not show. */
    len = em_len - start;
    if (len > *out_len)
        len = *out_len;
    for (size_t i = 0; i < len; i++)
        out[i] = choose_byte(good, em[start + i], substitute[start + i]);
    *out_len = len;
    ok = 1;
out:
    EVP_MAC_CTX_free(mac);
    OPENSSL_cleanse(substitute, sizeof(substitute));
    OPENSSL_cleanse(candidates, sizeof(candidates));
    return ok;
}

int prov_pkcs1_explicit(unsigned char *out, size_t *out_len, const unsigned char *em, size_t em_len)
{
    unsigned char shifted[PROV_RSA_MAX_BYTES];
    size_t good, start, len, room = *out_len;

    if (em_len > sizeof(shifted) || em_len < 11)
        return 0;
    start = find_message(em, em_len, &good);
    len = em_len - start;
    good &= ~is_less(room, len);

    /* Move the message to the front without showing its length: by each bit of `start`. */
    memcpy(shifted, em, em_len);
    for (size_t bit = 1; bit < em_len; bit <<= 1) {
        const size_t move = ~is_zero(start & bit);

        for (size_t i = 0; i + bit < em_len; i++)
            shifted[i] = choose_byte(move, shifted[i + bit], shifted[i]);
    }
    if (room > em_len)
        room = em_len;
    for (size_t i = 0; i < room; i++)
        out[i] = choose_byte(good & is_less(i, len), shifted[i], 0);
    *out_len = choose(good, len, 0);
    OPENSSL_cleanse(shifted, sizeof(shifted));
    return (int)(good & 1);
}

/* --- implicit rejection's key ---------------------------------------------------------------- */

int prov_ir_point(const struct prov_ctx *ctx, const unsigned char *n, size_t n_len,
                  unsigned char *out)
{
    static const char label[] = "openssl-hsm-ir-v1";
    const struct prov_digest *sha256 = prov_digest_by_ks(KS_DIGEST_SHA256);
    unsigned char seed[sizeof(label) - 1 + PROV_RSA_MAX_BYTES];
    const size_t label_len = sizeof(label) - 1;
    EVP_MD *md = NULL;
    BIGNUM *bn_n = NULL, *bn_c = NULL;
    BN_CTX *bn_ctx = NULL;
    int ok = 0;

    if (n_len > PROV_RSA_MAX_BYTES) {
        prov_raise(ctx, PROV_R_UNSUPPORTED, "RSA keys over %u bits are not supported",
                   PROV_RSA_MAX_BYTES * 8);
        return 0;
    }
    memcpy(seed, label, label_len);
    memcpy(seed + label_len, n, n_len);
    md = prov_digest_fetch(ctx, sha256, NULL);
    if (md == NULL)
        return 0;
    bn_ctx = BN_CTX_new_ex(ctx->libctx);
    bn_n = BN_bin2bn(n, (int)n_len, NULL);
    bn_c = BN_new();
    ok = bn_ctx != NULL && bn_n != NULL && bn_c != NULL &&
         PKCS1_MGF1(out, (long)n_len, seed, (long)(label_len + n_len), md) == 0 &&
         BN_bin2bn(out, (int)n_len, bn_c) != NULL && BN_nnmod(bn_c, bn_c, bn_n, bn_ctx) &&
         BN_bn2binpad(bn_c, out, (int)n_len) == (int)n_len;
    if (!ok)
        prov_raise(ctx, PROV_R_SOFTWARE, "MGF1-SHA256 failed in libcrypto");
    EVP_MD_free(md);
    BN_free(bn_n);
    BN_free(bn_c);
    BN_CTX_free(bn_ctx);
    return ok;
}

int prov_rsa_modulus(const struct prov_key *key, unsigned char *out, size_t *len)
{
    BIGNUM *n = NULL;
    int ok;

    ok = EVP_PKEY_get_bn_param(key->pub, OSSL_PKEY_PARAM_RSA_N, &n) &&
         (size_t)BN_num_bytes(n) <= *len;
    if (ok)
        *len = (size_t)BN_bn2bin(n, out);
    else
        prov_raise(key->ctx, PROV_R_SOFTWARE, "the RSA key's modulus is unreadable, or too large");
    BN_free(n);
    return ok;
}

int prov_ir_allows(const struct prov_key *key, const unsigned char *block, size_t len)
{
    unsigned char n[PROV_RSA_MAX_BYTES], c0[PROV_RSA_MAX_BYTES];
    size_t n_len = sizeof(n);

    if (!prov_rsa_modulus(key, n, &n_len) || !prov_ir_point(key->ctx, n, n_len, c0))
        return 0;
    if (len != n_len || memcmp(block, c0, len) != 0)
        return 1;
    prov_raise(key->ctx, PROV_R_PARAMETER,
               "this block is reserved: its decryption keys the implicit rejection of bad padding");
    return 0;
}

void *prov_ir_secret_new(const struct prov_ctx *ctx, const unsigned char *decrypted, size_t len)
{
    unsigned char *secret = OPENSSL_secure_malloc(PROV_IR_BYTES);

    if (secret == NULL ||
        !EVP_Q_digest(ctx->libctx, PRF_DIGEST, PROV_NOT_US, decrypted, len, secret, NULL)) {
        prov_raise(ctx, PROV_R_SOFTWARE, "SHA-256 failed in libcrypto");
        prov_ir_secret_free(secret);
        return NULL;
    }
    return secret;
}

void prov_ir_secret_free(void *secret)
{
    OPENSSL_secure_clear_free(secret, PROV_IR_BYTES);
}

int prov_ir_kdk(const struct prov_ctx *ctx, const void *secret, const unsigned char *ciphertext,
                size_t len, unsigned char kdk[PROV_IR_BYTES])
{
    EVP_MAC_CTX *mac = hmac_new(ctx, secret, PROV_IR_BYTES);
    size_t kdk_len;
    int ok;

    ok = mac != NULL && EVP_MAC_update(mac, ciphertext, len) &&
         EVP_MAC_final(mac, kdk, &kdk_len, PROV_IR_BYTES);
    if (!ok)
        prov_raise(ctx, PROV_R_SOFTWARE, "HMAC-SHA256 failed in libcrypto");
    EVP_MAC_CTX_free(mac);
    return ok;
}
