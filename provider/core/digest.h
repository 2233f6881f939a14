/* SPDX-License-Identifier: Apache-2.0
 *
 * digest.h - the digests that we sign with.
 */
#ifndef HSM_PROV_DIGEST_H
#define HSM_PROV_DIGEST_H

#include "core.h"

/* One row per digest that we sign with or use in MGF1. */
struct prov_digest {
    const char *name; /* "SHA2-256", what EVP_MD_fetch is called with */
    int nid;
    enum ks_digest ks;
    size_t size;
};

/* Purpose: the row for a digest's name or alias; NULL (nothing raised) when we do not have it. */
const struct prov_digest *prov_digest_by_name(const struct prov_ctx *ctx, const char *name);
const struct prov_digest *prov_digest_by_ks(enum ks_digest ks);
/* Purpose: fetch the library context's own implementation, never ours; freed with EVP_MD_free. */
EVP_MD *prov_digest_fetch(const struct prov_ctx *ctx, const struct prov_digest *digest,
                          const char *propq);

#endif
