/* SPDX-License-Identifier: Apache-2.0
 *
 * spki.c - a SubjectPublicKeyInfo of the plain shape, read without libcrypto's decoders.
 *
 * For each key libcrypto's own reader and writer create every decoder and encoder that any provider
 * has: 3.8 million instructions on OpenSSL 3.0, twenty times what the rest of loading a key takes.
 * Nearly every key is a few numbers in a fixed frame, which this file reads. libcrypto reads all
 * other DER.
 */
#include <openssl/asn1.h>
#include <string.h>

#include "public.h"

struct cursor {
    const unsigned char *p;
    size_t left;
};

/* The element at the cursor, if its tag is `tag` and its length is encoded as DER wants it. The
 * cursor moves behind it; `whole` and `inside` (may be NULL) span all of it, and its contents. */
static bool take(struct cursor *at, unsigned char tag, struct cursor *whole, struct cursor *inside)
{
    size_t head = 2, len, octets;

    if (at->left < 2 || at->p[0] != tag)
        return false;
    len = at->p[1];
    if (len >= 0x80) {
        octets = len - 0x80;
        if (octets < 1 || octets > 3 || at->left < 2 + octets)
            return false;
        for (len = 0; head < 2 + octets; head++)
            len = len << 8 | at->p[head];
        if (at->p[2] == 0 || len < 0x80)
            return false;
    }
    if (len > at->left - head)
        return false;
    if (whole != NULL)
        *whole = (struct cursor){at->p, head + len};
    if (inside != NULL)
        *inside = (struct cursor){at->p + head, len};
    at->p += head + len;
    at->left -= head + len;
    return true;
}

static bool is(const struct cursor *at, const void *bytes, size_t len)
{
    return at->left == len && memcmp(at->p, bytes, len) == 0;
}

/* A positive INTEGER, without the zero that keeps it positive. */
static bool take_number(struct cursor *at, struct cursor *out)
{
    if (!take(at, V_ASN1_INTEGER, NULL, out) || out->left == 0 || out->p[0] >= 0x80)
        return false;
    if (out->p[0] != 0)
        return true;
    out->p++;
    out->left--;
    return out->left > 0 && out->p[0] >= 0x80;
}

static EVP_PKEY *rsa(const struct prov_ctx *ctx, struct cursor key, bool *plain)
{
    struct cursor numbers, n, e;

    *plain = take(&key, V_ASN1_SEQUENCE | V_ASN1_CONSTRUCTED, NULL, &numbers) && key.left == 0 &&
             take_number(&numbers, &n) && take_number(&numbers, &e) && numbers.left == 0;
    return *plain ? prov_public_rsa(ctx, n.p, n.left, e.p, e.left) : NULL;
}

static EVP_PKEY *ec(const struct prov_ctx *ctx, const struct cursor *curve_oid, struct cursor key,
                    bool *plain)
{
    const struct prov_curve *curve = prov_curve_by_der(curve_oid->p, curve_oid->left);

    *plain = curve != NULL && key.left == 1 + 2 * curve->field && key.p[0] == 0x04;
    return *plain ? prov_public_ec(ctx, curve, key.p, key.left) : NULL;
}

EVP_PKEY *prov_spki_read(const struct prov_ctx *ctx, const unsigned char *der, size_t len,
                         enum prov_key_type *type, bool *plain)
{
    static const unsigned char oid_rsa[] = {0x06, 0x09, 0x2a, 0x86, 0x48, 0x86,
                                            0xf7, 0x0d, 0x01, 0x01, 0x01};
    static const unsigned char oid_ec[] = {0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01};
    static const unsigned char null[] = {V_ASN1_NULL, 0};
    struct cursor at = {der, len}, spki, algorithm, oid, key;
    unsigned i;

    *plain = take(&at, V_ASN1_SEQUENCE | V_ASN1_CONSTRUCTED, NULL, &spki) && at.left == 0 &&
             take(&spki, V_ASN1_SEQUENCE | V_ASN1_CONSTRUCTED, NULL, &algorithm) &&
             take(&spki, V_ASN1_BIT_STRING, NULL, &key) && spki.left == 0 &&
             take(&algorithm, V_ASN1_OBJECT, &oid, NULL) &&
             /* the first octet counts the unused bits of the last */
             key.left > 1 && key.p[0] == 0;
    if (!*plain)
        return NULL;
    key.p++;
    key.left--;
    if (is(&oid, oid_rsa, sizeof(oid_rsa)) && is(&algorithm, null, sizeof(null))) {
        *type = PROV_RSA;
        return rsa(ctx, key, plain);
    }
    if (is(&oid, oid_ec, sizeof(oid_ec))) {
        *type = PROV_EC;
        return ec(ctx, &algorithm, key, plain);
    }
    for (i = 0; i < PROV_KEY_TYPES; i++) {
        const struct prov_raw *raw = prov_types[i].raw;

        if (raw != NULL && is(&oid, raw->oid, raw->oid_len) && algorithm.left == 0 &&
            key.left == raw->public_len) {
            *type = (enum prov_key_type)i;
            return prov_public_raw(ctx, *type, key.p, key.left);
        }
    }
    *plain = false;
    return NULL;
}
