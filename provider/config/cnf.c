/* SPDX-License-Identifier: Apache-2.0
 *
 * cnf.c - see cnf.h.
 */
#include "cnf.h"

#include <string.h>

const char *prov_cnf_skip_dot(const char *name)
{
    const char *dot = strchr(name, '.');

    return dot != NULL ? dot + 1 : name;
}

bool prov_cnf_is_libcrypto_key(const char *name)
{
    static const char *const keys[] = {"identity", "module", "activate", "soft_load"};
    size_t i;

    for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (strcmp(prov_cnf_skip_dot(name), keys[i]) == 0)
            return true;
    }
    return false;
}

const char *prov_cnf_value(const CONF *conf, const char *section, const char *key)
{
    const STACK_OF(CONF_VALUE) *lines = NCONF_get_section(conf, section);
    int i;

    for (i = 0; i < sk_CONF_VALUE_num(lines); i++) {
        const CONF_VALUE *line = sk_CONF_VALUE_value(lines, i);

        if (strcmp(line->name, key) == 0)
            return line->value;
    }
    return NULL;
}

const char *prov_cnf_init(const CONF *conf)
{
    return prov_cnf_value(conf, "default", "openssl_conf");
}

STACK_OF(CONF_VALUE) * prov_cnf_providers(const CONF *conf)
{
    const char *init = prov_cnf_init(conf);
    const char *list = init != NULL ? prov_cnf_value(conf, init, "providers") : NULL;

    return list != NULL ? NCONF_get_section(conf, list) : NULL;
}

const char *prov_cnf_provider_name(const CONF *conf, const CONF_VALUE *entry)
{
    const STACK_OF(CONF_VALUE) *lines = NCONF_get_section(conf, entry->value);
    const char *name = prov_cnf_skip_dot(entry->name);
    int i;

    for (i = 0; i < sk_CONF_VALUE_num(lines); i++) {
        const CONF_VALUE *line = sk_CONF_VALUE_value(lines, i);

        if (strcmp(prov_cnf_skip_dot(line->name), "identity") == 0)
            name = line->value;
    }
    return name;
}

const char *prov_cnf_section(const CONF *conf, const char *name, int *position)
{
    const STACK_OF(CONF_VALUE) *entries = prov_cnf_providers(conf);
    int i;

    for (i = 0; i < sk_CONF_VALUE_num(entries); i++) {
        const CONF_VALUE *entry = sk_CONF_VALUE_value(entries, i);

        if (strcmp(prov_cnf_provider_name(conf, entry), name) == 0) {
            if (position != NULL)
                *position = i;
            return entry->value;
        }
    }
    return NULL;
}
