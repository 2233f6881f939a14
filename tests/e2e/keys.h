/* SPDX-License-Identifier: Apache-2.0
 *
 * keys.h - how the programs here come by their keys: as others do, from files that they take for
 * private keys in PEM.
 */
#ifndef HSM_E2E_KEYS_H
#define HSM_E2E_KEYS_H

#include <openssl/evp.h>
#include <openssl/types.h>

/* Purpose: the private key in that file. NULL after a message when there is no such file, and with
 * OpenSSL's errors in the queue when it cannot be loaded. Freed with EVP_PKEY_free(). */
EVP_PKEY *keys_load(OSSL_LIB_CTX *libctx, const char *path);

/* Purpose: the public half as a certificate would carry it: through DER, so without a connection
 * to the HSM. NULL on failure. */
EVP_PKEY *keys_public_half(EVP_PKEY *key);

#endif
