/* SPDX-License-Identifier: Apache-2.0
 *
 * fakepem.c - tells vendors' fake PEM files from private keys.
 */
#include "fakepem.h"

#include <openssl/err.h>
#include <string.h>

#define TAG_INTEGER      0x02
#define TAG_OCTET_STRING 0x04
#define TAG_SEQUENCE     0x30

/* What is left of some DER. */
struct der {
    const unsigned char *p;
    size_t len;
};

/* Take one element with tag `tag` from the front; its contents go to `out`. */
static int take(struct der *in, unsigned char tag, struct der *out)
{
    size_t head = 2, len, i;

    if (in->len < 2 || in->p[0] != tag)
        return 0;
    len = in->p[1];
    if (len >= 0x80) {
        size_t bytes = len & 0x7f;

        if (bytes < 1 || bytes > 3 || in->len < 2 + bytes)
            return 0;
        for (len = 0, i = 0; i < bytes; i++)
            len = len << 8 | in->p[2 + i];
        head += bytes;
    }
    if (len > in->len - head)
        return 0;
    out->p = in->p + head;
    out->len = len;
    in->p += head + len;
    in->len -= head + len;
    return 1;
}

static BIGNUM *take_number(struct der *in)
{
    struct der number;

    /* a negative number is nothing that we know */
    if (!take(in, TAG_INTEGER, &number) || number.len == 0 || (number.p[0] & 0x80) != 0)
        return NULL;
    return BN_bin2bn(number.p, (int)number.len, NULL);
}

/* Go from a PKCS#8 PrivateKeyInfo of an RSA key to what it holds; leave anything else. */
static void unwrap_pkcs8(struct der *der)
{
    static const unsigned char rsa_oid[] = {0x06, 0x09, 0x2a, 0x86, 0x48, 0x86,
                                            0xf7, 0x0d, 0x01, 0x01, 0x01};
    struct der all = *der, in, number, algorithm, key;

    if (take(&all, TAG_SEQUENCE, &in) && take(&in, TAG_INTEGER, &number) &&
        take(&in, TAG_SEQUENCE, &algorithm) && algorithm.len >= sizeof(rsa_oid) &&
        memcmp(algorithm.p, rsa_oid, sizeof(rsa_oid)) == 0 && take(&in, TAG_OCTET_STRING, &key))
        *der = key;
}

/* Whether 2^(e*d) = 2 modulo n, as for every key whose private exponent is one. -1: cannot say. */
static int exponent_works(const BIGNUM *n, const BIGNUM *e, BIGNUM *d)
{
    BN_CTX *bn = BN_CTX_secure_new();
    BIGNUM *two = BN_new(), *x = BN_secure_new();
    int works = -1;

    if (bn == NULL || two == NULL || x == NULL || !BN_set_word(two, 2))
        goto out;
    BN_set_flags(d, BN_FLG_CONSTTIME);
    if (BN_mod_exp(x, two, e, n, bn) && BN_mod_exp(x, x, d, n, bn))
        works = BN_cmp(x, two) == 0;
out:
    BN_clear_free(x);
    BN_free(two);
    BN_CTX_free(bn);
    return works;
}

enum eng_pem_kind eng_pem_kind(const unsigned char *der, size_t len, BIGNUM **modulus)
{
    struct der all = {der, len}, in, version;
    BIGNUM *n = NULL, *e = NULL, *d = NULL;
    enum eng_pem_kind kind = ENG_PEM_OTHER;
    int works;

    ERR_set_mark();
    unwrap_pkcs8(&all);
    if (!take(&all, TAG_SEQUENCE, &in) || !take(&in, TAG_INTEGER, &version) ||
        (n = take_number(&in)) == NULL || (e = take_number(&in)) == NULL ||
        (d = take_number(&in)) == NULL)
        goto out;
    /* The sizes bound the work that a stranger's file can cause. */
    if (!BN_is_odd(n) || BN_num_bits(n) < 512 || BN_num_bits(n) > 16384 || !BN_is_odd(e) ||
        BN_num_bits(e) > 64 || BN_num_bits(d) > BN_num_bits(n))
        goto out;
    works = BN_is_zero(d) ? 0 : exponent_works(n, e, d);
    if (works < 0)
        goto out;
    kind = works ? ENG_PEM_SOFTWARE : ENG_PEM_FAKE;
    if (kind == ENG_PEM_FAKE && modulus != NULL) {
        *modulus = n;
        n = NULL;
    }
out:
    ERR_pop_to_mark();
    BN_free(n);
    BN_free(e);
    BN_clear_free(d);
    return kind;
}

bool eng_pem_is_private(const char *name)
{
    static const char end[] = "PRIVATE KEY";
    size_t len = strlen(name);

    return len >= sizeof(end) - 1 && strcmp(name + len - (sizeof(end) - 1), end) == 0;
}
