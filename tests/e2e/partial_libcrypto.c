/* SPDX-License-Identifier: Apache-2.0
 *
 * partial_libcrypto.c - preloaded: a program that shows some of "its" libcrypto's functions, and
 * not the rest.
 */
#include <stddef.h>

#define SHOWN __attribute__((visibility("default")))

SHOWN void *EVP_PKEY_new(void);
void *EVP_PKEY_new(void)
{
    return NULL;
}

SHOWN void EVP_PKEY_free(void *key);
void EVP_PKEY_free(void *key)
{
    (void)key;
}
