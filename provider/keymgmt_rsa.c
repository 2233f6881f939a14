/* SPDX-License-Identifier: Apache-2.0 */
#include "prov_local.h"

const OSSL_DISPATCH prov_keymgmt_rsa[] = {{0, NULL}};

const OSSL_DISPATCH prov_keymgmt_rsa_pss[] = {{0, NULL}};
