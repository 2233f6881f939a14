/* SPDX-License-Identifier: Apache-2.0
 *
 * provider.h - the provider's entry, for programs that have it built in.
 */
#ifndef HSM_PROV_PROVIDER_H
#define HSM_PROV_PROVIDER_H

#include "core/core.h"

/* The provider's entry, also linked into hsmkey as a built-in. */
__attribute__((visibility("default"))) int OSSL_provider_init(const OSSL_CORE_HANDLE *handle,
                                                              const OSSL_DISPATCH *in,
                                                              const OSSL_DISPATCH **out,
                                                              void **provctx);

#endif
