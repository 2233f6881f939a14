/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_fakepem.c - any bytes as the inside of a vendor's fake PEM. Whatever libcrypto reads as an
 * RSA private key, and would write as the same bytes, is recognised; a fake has the modulus that
 * libcrypto sees; and a key that works is not called a fake.
 */
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "../../engine/fakepem.h"
#include "fuzz.h"

/* Larger numbers are left out, as their powers take too long. */
#define SIZE_MOST 1500

/* The key by libcrypto's reader, NULL when it has none, or a form that is not DER. */
static RSA *by_libcrypto(const uint8_t *data, size_t size)
{
    const unsigned char *p = data;
    RSA *rsa = d2i_RSAPrivateKey(NULL, &p, (long)size);
    unsigned char *again = NULL;
    int len = rsa != NULL ? i2d_RSAPrivateKey(rsa, &again) : -1;
    bool same = len > 0 && (size_t)len == size && memcmp(again, data, size) == 0;

    OPENSSL_free(again);
    if (!same) {
        RSA_free(rsa);
        rsa = NULL;
    }
    ERR_clear_error();
    return rsa;
}

/* Within the limits that eng_pem_kind() has, so that it has to say something. */
static bool is_usual(const RSA *rsa)
{
    const BIGNUM *n = RSA_get0_n(rsa), *e = RSA_get0_e(rsa), *d = RSA_get0_d(rsa);

    return RSA_get_version((RSA *)(uintptr_t)rsa) == 0 && !BN_is_negative(n) &&
           !BN_is_negative(e) && !BN_is_negative(d) && BN_is_odd(n) && BN_num_bits(n) >= 512 &&
           BN_is_odd(e) && BN_num_bits(e) <= 64 && BN_num_bits(d) <= BN_num_bits(n);
}

/* Check 3^(e*d) = 3, which holds for every right d. eng_pem_kind() takes another base. */
static bool works(const RSA *rsa)
{
    BN_CTX *bn = BN_CTX_new();
    BIGNUM *x = BN_new(), *three = BN_new();
    bool same;

    if (bn == NULL || x == NULL || three == NULL || !BN_set_word(three, 3) ||
        !BN_mod_exp(x, three, RSA_get0_e(rsa), RSA_get0_n(rsa), bn) ||
        !BN_mod_exp(x, x, RSA_get0_d(rsa), RSA_get0_n(rsa), bn))
        abort();
    same = BN_cmp(x, three) == 0;
    BN_free(x);
    BN_free(three);
    BN_CTX_free(bn);
    return same;
}

static void compare(const RSA *rsa, enum eng_pem_kind kind, const BIGNUM *modulus)
{
    if (kind == ENG_PEM_OTHER) {
        if (is_usual(rsa))
            abort();
        return;
    }
    if (modulus != NULL && BN_cmp(modulus, RSA_get0_n(rsa)) != 0)
        abort();
    /* A fake may satisfy one of the two by chance, if its numbers are chosen so; a right key
     * satisfies both. */
    if (kind == ENG_PEM_FAKE && works(rsa) && RSA_check_key(rsa) == 1)
        abort();
    ERR_clear_error();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    BIGNUM *modulus = NULL;
    enum eng_pem_kind kind;
    RSA *rsa;

    if (size > SIZE_MOST)
        return 0;
    kind = eng_pem_kind(data, size, &modulus);
    if (ERR_peek_error() != 0 || (kind == ENG_PEM_FAKE) != (modulus != NULL))
        abort();
    if (modulus != NULL && (!BN_is_odd(modulus) || BN_num_bits(modulus) < 512))
        abort();
    rsa = by_libcrypto(data, size);
    if (rsa != NULL)
        compare(rsa, kind, modulus);
    RSA_free(rsa);
    BN_free(modulus);
    return 0;
}
