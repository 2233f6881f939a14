/* SPDX-License-Identifier: Apache-2.0
 *
 * sections.c - reads openssl.cnf itself, to find what libcrypto does not pass on to a provider:
 * unknown keys, and values that libcrypto takes for the name of a section.
 */
#include "cnf.h"
#include "config.h"
#include <ctype.h>
#include <openssl/conf.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>

static bool is_our_key(const char *key)
{
    size_t i;

    for (i = 0; prov_config_keys[i].name != NULL; i++) {
        if (strcmp(key, prov_config_keys[i].name) == 0)
            return true;
    }
    return false;
}

/* The name of the section of the provider `name`; NULL when there is no such section. */
static const char *find_section(const CONF *conf, const char *name)
{
    const char *section = prov_cnf_section(conf, name, NULL);

    return section != NULL && NCONF_get_section(conf, section) != NULL ? section : NULL;
}

struct in_section {
    const CONF *conf;
    const char *name;
};

static const char *section_value(void *arg, const char *key)
{
    const struct in_section *in = arg;

    return NCONF_get_string(in->conf, in->name, key);
}

static int check_section(const CONF *conf, const char *name, char *why, size_t why_size)
{
    STACK_OF(CONF_VALUE) *section = NCONF_get_section(conf, name);
    char key[80], value[80], where[80];
    int i;

    ks_escape(where, sizeof(where), name, SIZE_MAX);
    for (i = 0; i < sk_CONF_VALUE_num(section); i++) {
        const CONF_VALUE *line = sk_CONF_VALUE_value(section, i);

        ks_escape(key, sizeof(key), line->name, SIZE_MAX);
        if (prov_cnf_is_libcrypto_key(line->name))
            continue;
        if (!is_our_key(line->name) &&
            !prov_config_dotted_key(line->name, section_value, &(struct in_section){conf, name})) {
            snprintf(why, why_size, "unknown key \"%s\" in section [%s]", key, where);
            return 0;
        }
        if (NCONF_get_section(conf, line->value) != NULL) {
            ks_escape(value, sizeof(value), line->value, SIZE_MAX);
            snprintf(why, why_size,
                     "the value of \"%s\" in section [%s] is the name of another section, [%s], "
                     "and OpenSSL would take that section instead of the value: rename it",
                     key, where, value);
            return 0;
        }
    }
    return 1;
}

/* Tells whether what `get` returns is what the section says. */
static bool same_values(const CONF *conf, const char *section,
                        const char *(*get)(void *arg, const char *key), void *arg)
{
    const char *here, *there;
    size_t i;

    for (i = 0; prov_config_keys[i].name != NULL; i++) {
        here = NCONF_get_string(conf, section, prov_config_keys[i].name);
        there = get(arg, prov_config_keys[i].name);
        if (here != NULL && there == NULL && NCONF_get_section(conf, here) != NULL)
            continue;
        if ((here == NULL) != (there == NULL) || (here != NULL && strcmp(here, there) != 0))
            return false;
    }
    return true;
}

static CONF *read_file(const char *file, char *why, size_t why_size)
{
    CONF *conf = NCONF_new(NULL);
    char shown[160];
    long line = 0;

    ks_escape(shown, sizeof(shown), file, SIZE_MAX);
    if (conf == NULL || NCONF_load(conf, file, &line) <= 0) {
        if (line > 0)
            snprintf(why, why_size, "%s: error in line %ld", shown, line);
        else
            snprintf(why, why_size, "%s: cannot be read", shown);
        NCONF_free(conf);
        return NULL;
    }
    return conf;
}

int prov_config_check_file(const char *file, const char *name, char *why, size_t why_size)
{
    CONF *conf;
    const char *section;
    char shown[160];
    int ret = -1;

    ERR_set_mark();
    conf = read_file(file, why, why_size);
    if (conf == NULL)
        goto out;
    section = find_section(conf, name);
    if (section == NULL) {
        ks_escape(shown, sizeof(shown), file, SIZE_MAX);
        snprintf(why, why_size, "%s: no section for a provider \"%s\"", shown, name);
        goto out;
    }
    ret = check_section(conf, section, why, why_size);
out:
    NCONF_free(conf);
    ERR_pop_to_mark();
    return ret;
}

int prov_config_check_default(const char *name, const char *(*get)(void *arg, const char *key),
                              void *arg, char *why, size_t why_size)
{
    char *file;
    CONF *conf = NULL;
    const char *section;
    int ret = 1;

    ERR_set_mark();
    file = CONF_get1_default_config_file(); /* OPENSSL_CONF, unless we are set-uid */
    if (file == NULL || (conf = read_file(file, why, why_size)) == NULL)
        goto out;
    section = find_section(conf, name);
    if (section != NULL && same_values(conf, section, get, arg))
        ret = check_section(conf, section, why, why_size);
out:
    NCONF_free(conf);
    OPENSSL_free(file);
    ERR_pop_to_mark();
    return ret;
}
