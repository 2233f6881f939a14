/* SPDX-License-Identifier: Apache-2.0
 *
 * bystander.h - the questions of bystander.c. Each gives 1 when all answers are those of a library
 * context with the default provider alone, and 0 with the first difference in `why`. They leave
 * nothing in the error queue.
 */
#ifndef HSM_BYSTANDER_H
#define HSM_BYSTANDER_H

#include <openssl/evp.h>
#include <stdbool.h>

/* Purpose: ask the context with the default provider alone, once. 0 after a message. */
int bystander_begin(void);
void bystander_end(void);

/* Purpose: who answers for every algorithm of every kind that the default provider has. */
int bystander_answers(OSSL_LIB_CTX *libctx, char *why, size_t size);
/* Purpose: who answers for the key types that we have as well: quick. */
int bystander_key_types(OSSL_LIB_CTX *libctx, char *why, size_t size);
/* Purpose: whose are keys that are generated, and loaded from PEM, and parameters. */
int bystander_keys(OSSL_LIB_CTX *libctx, char *why, size_t size);
/* Purpose: groups and signature algorithms of TLS, and a handshake with each group. */
int bystander_tls(OSSL_LIB_CTX *libctx, char *why, size_t size);
/* Purpose: one handshake of TLS 1.3 with that group, with a software key. */
int bystander_handshake(OSSL_LIB_CTX *libctx, const char *group, char *why, size_t size);

/* Purpose: a private key from a PEM file; NULL on failure. */
EVP_PKEY *bystander_load(OSSL_LIB_CTX *libctx, const char *path);
/* Purpose: a new P-256 key, made where nobody is but the default provider. */
EVP_PKEY *bystander_peer(void);
/* Purpose: the public half, through DER. */
EVP_PKEY *bystander_public_half(OSSL_LIB_CTX *libctx, EVP_PKEY *key);

#endif
