/* SPDX-License-Identifier: Apache-2.0
 *
 * algorithms.h - what the provider answers libcrypto's query with.
 */
#ifndef HSM_PROV_ALGORITHMS_H
#define HSM_PROV_ALGORITHMS_H

#include "core/core.h"

/* Purpose: the algorithms of one operation. */
const OSSL_ALGORITHM *prov_algorithms(const struct prov_ctx *ctx, int operation_id);

#endif
