/* SPDX-License-Identifier: Apache-2.0
 *
 * digest.c - the digests that we sign with, or use in MGF1, and how to get at them.
 */
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <string.h>

#include "digest.h"

/* In the order of enum ks_digest, from KS_DIGEST_SHA1 on. */
static const struct prov_digest digests[] = {
    {"SHA1", NID_sha1, KS_DIGEST_SHA1, 20},
    {"SHA2-224", NID_sha224, KS_DIGEST_SHA224, 28},
    {"SHA2-256", NID_sha256, KS_DIGEST_SHA256, 32},
    {"SHA2-384", NID_sha384, KS_DIGEST_SHA384, 48},
    {"SHA2-512", NID_sha512, KS_DIGEST_SHA512, 64},
    {"SHA2-512/224", NID_sha512_224, KS_DIGEST_SHA512_224, 28},
    {"SHA2-512/256", NID_sha512_256, KS_DIGEST_SHA512_256, 32},
    {"SHA3-224", NID_sha3_224, KS_DIGEST_SHA3_224, 28},
    {"SHA3-256", NID_sha3_256, KS_DIGEST_SHA3_256, 32},
    {"SHA3-384", NID_sha3_384, KS_DIGEST_SHA3_384, 48},
    {"SHA3-512", NID_sha3_512, KS_DIGEST_SHA3_512, 64},
};
#define DIGESTS (sizeof(digests) / sizeof(digests[0]))

/* The other names that programs use, so that the usual case needs no fetch. */
static const struct {
    const char *alias;
    enum ks_digest ks;
} aliases[] = {
    {"SHA256", KS_DIGEST_SHA256},
    {"SHA384", KS_DIGEST_SHA384},
    {"SHA512", KS_DIGEST_SHA512},
    {"SHA224", KS_DIGEST_SHA224},
    {"SHA-256", KS_DIGEST_SHA256},
    {"SHA-384", KS_DIGEST_SHA384},
    {"SHA-512", KS_DIGEST_SHA512},
    {"SHA-224", KS_DIGEST_SHA224},
    {"SHA-1", KS_DIGEST_SHA1},
    {"SHA512-224", KS_DIGEST_SHA512_224},
    {"SHA512-256", KS_DIGEST_SHA512_256},
    {"SHA-512/224", KS_DIGEST_SHA512_224},
    {"SHA-512/256", KS_DIGEST_SHA512_256},
};

const struct prov_digest *prov_digest_by_ks(enum ks_digest ks)
{
    if (ks < KS_DIGEST_SHA1 || (size_t)(ks - KS_DIGEST_SHA1) >= DIGESTS)
        return NULL;
    return &digests[ks - KS_DIGEST_SHA1];
}

/* Names that only libcrypto knows: dotted OIDs, and what a configuration adds. */
static const struct prov_digest *by_fetch(const struct prov_ctx *ctx, const char *name)
{
    const struct prov_digest *found = NULL;
    EVP_MD *md;

    ERR_set_mark();
    md = EVP_MD_fetch(ctx->libctx, name, PROV_NOT_US);
    ERR_pop_to_mark();
    if (md == NULL)
        return NULL;
    for (size_t i = 0; i < DIGESTS && found == NULL; i++)
        if (EVP_MD_is_a(md, digests[i].name))
            found = &digests[i];
    EVP_MD_free(md);
    return found;
}

const struct prov_digest *prov_digest_by_name(const struct prov_ctx *ctx, const char *name)
{
    for (size_t i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++)
        if (OPENSSL_strcasecmp(name, aliases[i].alias) == 0)
            return prov_digest_by_ks(aliases[i].ks);
    for (size_t i = 0; i < DIGESTS; i++)
        if (OPENSSL_strcasecmp(name, digests[i].name) == 0)
            return &digests[i];
    return by_fetch(ctx, name);
}

EVP_MD *prov_digest_fetch(const struct prov_ctx *ctx, const struct prov_digest *digest,
                          const char *propq)
{
    EVP_MD *md = EVP_MD_fetch(ctx->libctx, digest->name, propq != NULL ? propq : PROV_NOT_US);

    if (md == NULL)
        prov_raise(ctx, PROV_R_UNSUPPORTED,
                   "digest %s is in none of the loaded providers (property query \"%s\")",
                   digest->name, propq != NULL ? propq : PROV_NOT_US);
    return md;
}
