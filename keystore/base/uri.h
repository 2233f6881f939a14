/* SPDX-License-Identifier: Apache-2.0
 *
 * base/uri.h - PKCS#11 URIs, for keystore/ alone.
 */
#ifndef HSM_KS_URI_H
#define HSM_KS_URI_H

#include <p11-kit/uri.h>
#include <stdatomic.h>

#include "../keystore.h"
#include "pkcs11.h"

struct ks_uri {
    atomic_uint refs;
    P11KitUri *p11;
    char *text; /* as given */
};

struct ks_uri *ks_uri_ref(const struct ks_uri *uri);
/* Purpose: object attributes (CKA_LABEL, CKA_ID) for a search template; NULL when absent. */
const CK_ATTRIBUTE *ks_uri_attribute(const struct ks_uri *uri, CK_ATTRIBUTE_TYPE type);
bool ks_uri_matches_token(const struct ks_uri *uri, const CK_TOKEN_INFO *info);
bool ks_uri_matches_facts(const struct ks_uri *uri, const struct ks_token_facts *facts);

#endif
