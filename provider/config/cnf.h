/* SPDX-License-Identifier: Apache-2.0
 *
 * cnf.h - finds a provider's section in openssl.cnf, the way that libcrypto does
 * (crypto/conf/conf_mod.c and crypto/provider_conf.c), without carrying out what the file says.
 * Needs libcrypto alone: hsmkey and the engine link it too.
 */
#ifndef HSM_PROV_CNF_H
#define HSM_PROV_CNF_H

#include <openssl/conf.h>
#include <stdbool.h>

/* Purpose: a value in that section. NCONF_get_string() would go on to the default section, which
 * libcrypto does not do for what it carries out. */
const char *prov_cnf_value(const CONF *conf, const char *section, const char *key);

/* Purpose: the section that `openssl_conf` names, which lists what libcrypto carries out; NULL if
 * there is none. */
const char *prov_cnf_init(const CONF *conf);

/* Purpose: the entries of the list of providers, in their order; NULL if there is none. */
STACK_OF(CONF_VALUE) * prov_cnf_providers(const CONF *conf);

/* Purpose: the name that such an entry gives its provider. */
const char *prov_cnf_provider_name(const CONF *conf, const CONF_VALUE *entry);

/* Purpose: the name of the section of the provider `name`, and its position in the list (may be
 * NULL). NULL if the list does not have it. */
const char *prov_cnf_section(const CONF *conf, const char *name, int *position);

/* Purpose: libcrypto reads "a.module" as "module". */
const char *prov_cnf_skip_dot(const char *name);

/* Purpose: tell whether a line of a provider's section is libcrypto's own (config(5)). */
bool prov_cnf_is_libcrypto_key(const char *name);

#endif
