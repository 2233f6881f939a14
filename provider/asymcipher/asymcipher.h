/* SPDX-License-Identifier: Apache-2.0
 *
 * asymcipher.h - decryption.
 */
#ifndef HSM_PROV_ASYMCIPHER_H
#define HSM_PROV_ASYMCIPHER_H

#include "../key/key.h"

extern const OSSL_DISPATCH prov_asymcipher_rsa[];
extern const OSSL_DISPATCH prov_asymcipher_refused[];

#endif
