/* SPDX-License-Identifier: Apache-2.0
 *
 * prompt.h - asking a person for the PIN.
 */
#ifndef HSM_PROV_PROMPT_H
#define HSM_PROV_PROMPT_H

#include "core.h"

/* Bridges OpenSSL's passphrase callback to the keystore's. Lives on the caller's stack. */
struct prov_prompt {
    struct ks_prompt ks;
    struct ks_call_options opts; /* give &p.opts to the keystore */
    OSSL_PASSPHRASE_CALLBACK *cb;
    void *cbarg;
};
void prov_prompt_init(struct prov_prompt *p, OSSL_PASSPHRASE_CALLBACK *cb, void *cbarg);

#endif
