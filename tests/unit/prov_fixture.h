/* SPDX-License-Identifier: Apache-2.0
 *
 * prov_fixture.h - for tests of the whole provider through libcrypto: library contexts with the
 * default provider and ours (linked in as a built-in), in either order, over the fake module.
 */
#ifndef HSM_PROV_FIXTURE_H
#define HSM_PROV_FIXTURE_H

#include <openssl/evp.h>
#include <openssl/provider.h>
#include <stdbool.h>

struct prov_fixture {
    OSSL_LIB_CTX *libctx;
    OSSL_PROVIDER *software, *hsm;
};

/* Purpose: set one key of the provider's configuration for the contexts made from now on; NULL
 * takes it away. The module is the fake one, the PIN comes from the environment. */
void pf_config(const char *key, const char *value);

/* Purpose: a context with both providers, ours first or second. */
struct prov_fixture pf_open(bool hsm_first);
void pf_close(struct prov_fixture *f);

/* Purpose: tell whether the error queue holds `text` in an error's data; the queue stays. */
bool pf_error_says(const char *text);
/* Purpose: the whole queue as text, emptied; for messages of failed assertions. */
const char *pf_errors(void);

#endif
