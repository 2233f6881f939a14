/* SPDX-License-Identifier: Apache-2.0
 *
 * keys.c - keys from files, and their public halves.
 */
#include "keys.h"

#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>

EVP_PKEY *keys_load(OSSL_LIB_CTX *libctx, const char *path)
{
    FILE *file = fopen(path, "r");
    EVP_PKEY *key;

    if (file == NULL) {
        perror(path);
        return NULL;
    }
    key = PEM_read_PrivateKey_ex(file, NULL, NULL, NULL, libctx, NULL);
    fclose(file);
    return key;
}

EVP_PKEY *keys_public_half(EVP_PKEY *key)
{
    unsigned char *der = NULL;
    const unsigned char *p;
    EVP_PKEY *half = NULL;
    const int len = i2d_PUBKEY(key, &der);

    if (len > 0) {
        p = der;
        half = d2i_PUBKEY(NULL, &p, len);
    }
    OPENSSL_free(der);
    return half;
}
