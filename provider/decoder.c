/* SPDX-License-Identifier: Apache-2.0 */
#include "prov_local.h"

const OSSL_DISPATCH prov_decoder_der_rsa[] = {{0, NULL}};

const OSSL_DISPATCH prov_decoder_der_rsa_pss[] = {{0, NULL}};

const OSSL_DISPATCH prov_decoder_der_ec[] = {{0, NULL}};

const OSSL_DISPATCH prov_decoder_pem[] = {{0, NULL}};
