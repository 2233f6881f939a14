/* SPDX-License-Identifier: Apache-2.0 */
#include "prov_local.h"

const OSSL_DISPATCH prov_encoder_pki_der[] = {{0, NULL}};

const OSSL_DISPATCH prov_encoder_pki_pem[] = {{0, NULL}};

const OSSL_DISPATCH prov_encoder_spki_der[] = {{0, NULL}};

const OSSL_DISPATCH prov_encoder_spki_pem[] = {{0, NULL}};

const OSSL_DISPATCH prov_encoder_text[] = {{0, NULL}};
