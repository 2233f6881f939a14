/* SPDX-License-Identifier: Apache-2.0 */
#include "prov_local.h"

const OSSL_DISPATCH prov_keymgmt_ec[] = {{0, NULL}};
