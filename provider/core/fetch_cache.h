/* SPDX-License-Identifier: Apache-2.0
 *
 * fetch_cache.h - libcrypto's cache of fetched algorithms, in which our algorithms must not stand
 * where it would have found another provider's.
 */
#ifndef HSM_PROV_FETCH_CACHE_H
#define HSM_PROV_FETCH_CACHE_H

#include "core.h"

/* Purpose: find the application's library context, among the core's functions. `types`
 * are the key types that others may ask for and get from us; NULL ends them. */
void prov_fetch_cache_init(struct prov_ctx *ctx, const OSSL_DISPATCH *in, const char *const *types);
/* Purpose: called when libcrypto asks for algorithms, which it does for what is not in its cache:
 * keeps the others' key managements before ours. */
void prov_fetch_missed(struct prov_ctx *ctx, int operation_id);
/* Purpose: called when libcrypto has fetched a key management of ours for an operation. Costs a
 * look at a thread-local flag, unless it was not in the cache. */
void prov_fetched(struct prov_ctx *ctx);
/* Purpose: called before libcrypto may fetch one for a key. */
void prov_fetch_expected(void);
/* Purpose: query_operation_name(): the name that our keys give for an operation: `own`, which is
 * nobody else's, so that libcrypto does not first go to another provider; or the `common` one,
 * where its cache cannot be kept in order. */
const char *prov_operation_name(const char *own, const char *common);

#endif
