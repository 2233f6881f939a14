/* SPDX-License-Identifier: Apache-2.0
 *
 * fakepem.h - tells vendors' fake PEM files from private keys. Needs libcrypto's numbers only, no
 * ENGINE: hsmkey is built with it, too.
 */
#ifndef HSM_ENG_FAKEPEM_H
#define HSM_ENG_FAKEPEM_H

#include <openssl/bn.h>
#include <stdbool.h>
#include <stddef.h>

enum eng_pem_kind {
    ENG_PEM_OTHER,    /* not an RSA private key, or too damaged to say */
    ENG_PEM_SOFTWARE, /* a private key that works by itself */
    ENG_PEM_FAKE,     /* a real public half with false private numbers */
};

/* Purpose: look at DER, an RSAPrivateKey (RFC 8017, A.1.2) or a PKCS#8 PrivateKeyInfo around one.
 * Vendors hide the handle of a key in the private exponent and leave the other numbers 0; what
 * makes a fake is that its private exponent is not one. `modulus` may be NULL; for ENG_PEM_FAKE it
 * becomes the modulus, freed with BN_free(). Raises nothing. */
enum eng_pem_kind eng_pem_kind(const unsigned char *der, size_t len, BIGNUM **modulus);

/* Purpose: tell whether the name of a PEM block is that of a private key: "PRIVATE KEY", "RSA
 * PRIVATE KEY" and so on. */
bool eng_pem_is_private(const char *name);

#endif
