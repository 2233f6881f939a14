/* SPDX-License-Identifier: Apache-2.0
 *
 * keyexch.h - key agreement.
 */
#ifndef HSM_PROV_KEYEXCH_H
#define HSM_PROV_KEYEXCH_H

#include "../key/key.h"

extern const OSSL_DISPATCH prov_keyexch_ecdh[];

#endif
