/* SPDX-License-Identifier: Apache-2.0
 *
 * rand.h - random numbers.
 */
#ifndef HSM_PROV_RAND_H
#define HSM_PROV_RAND_H

#include "../core/core.h"

extern const OSSL_DISPATCH prov_rand[];

#endif
