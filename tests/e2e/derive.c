/* SPDX-License-Identifier: Apache-2.0
 *
 * derive.c - derive KEY.pem PEER.pub WANT COUNT: the shared secret COUNT times, compared with the
 * file WANT. A user of OpenSSL like any other, linked with nothing of ours.
 */
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int derive(EVP_PKEY *key, EVP_PKEY *peer, unsigned char *out, size_t *len)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    int ok = ctx != NULL && EVP_PKEY_derive_init(ctx) == 1 &&
             EVP_PKEY_derive_set_peer(ctx, peer) == 1 && EVP_PKEY_derive(ctx, out, len) == 1;

    EVP_PKEY_CTX_free(ctx);
    return ok;
}

int main(int argc, char **argv)
{
    BIO *key_file = argc == 5 ? BIO_new_file(argv[1], "r") : NULL;
    BIO *peer_file = argc == 5 ? BIO_new_file(argv[2], "r") : NULL;
    FILE *want_file = argc == 5 ? fopen(argv[3], "rb") : NULL;
    EVP_PKEY *key = NULL, *peer = NULL;
    unsigned char want[128];
    size_t want_len;
    long count, i;

    if (key_file == NULL || peer_file == NULL || want_file == NULL) {
        fprintf(stderr, "usage: derive KEY.pem PEER.pub WANT COUNT\n");
        return 2;
    }
    count = strtol(argv[4], NULL, 10);
    want_len = fread(want, 1, sizeof(want), want_file);
    fclose(want_file);
    key = PEM_read_bio_PrivateKey(key_file, NULL, NULL, NULL);
    peer = PEM_read_bio_PUBKEY(peer_file, NULL, NULL, NULL);
    if (key == NULL || peer == NULL) {
        ERR_print_errors_fp(stderr);
        return 1;
    }
    for (i = 0; i < count; i++) {
        unsigned char got[128];
        size_t got_len = sizeof(got);

        if (!derive(key, peer, got, &got_len)) {
            ERR_print_errors_fp(stderr);
            return 1;
        }
        if (got_len != want_len || memcmp(got, want, got_len) != 0) {
            fprintf(stderr, "another secret\n");
            return 1;
        }
    }
    printf("%ld secrets\n", count);
    EVP_PKEY_free(key);
    EVP_PKEY_free(peer);
    BIO_free(key_file);
    BIO_free(peer_file);
    return 0;
}
