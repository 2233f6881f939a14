/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_checkconf.c - what hsmkey check says about openssl.cnf, from reading it.
 */
#include <string.h>

#include "cmd.h"

static const char *config_value(void *arg, const char *key)
{
    const struct cmd_config *config = arg;

    return prov_cnf_value(config->conf, config->section, key);
}

static bool is_key(struct cmd_config *config, const char *name)
{
    const struct prov_config_key *key;

    for (key = prov_config_keys; key->name != NULL; key++) {
        if (strcmp(key->name, name) == 0) {
            return true;
        }
    }
    return prov_cnf_is_libcrypto_key(name) || prov_config_dotted_key(name, config_value, config);
}

/* The known key that is nearest to a misspelt one, if it is near; NULL otherwise. */
static const char *nearest(const char *name)
{
    const struct prov_config_key *key;
    size_t i, len = strlen(name), same;

    for (key = prov_config_keys; key->name != NULL; key++) {
        size_t other = strlen(key->name), tail = 0;

        for (same = 0; same < len && name[same] == key->name[same]; same++) {
        }
        for (i = 1; i <= len - same && i <= other && name[len - i] == key->name[other - i]; i++) {
            tail++;
        }
        if (same + tail + 2 >= (len > other ? len : other)) {
            return key->name;
        }
    }
    return NULL;
}

static bool check_keys(struct cmd_checks *checks)
{
    struct cmd_config *config = &checks->env->config;
    const STACK_OF(CONF_VALUE) *rows = NCONF_get_section(config->conf, config->section);
    char key[128], value[256], section[128];
    bool ok = true;
    int i;

    ks_escape(section, sizeof(section), config->section, SIZE_MAX);
    for (i = 0; rows != NULL && i < sk_CONF_VALUE_num(rows); i++) {
        const CONF_VALUE *row = sk_CONF_VALUE_value(rows, i);
        const char *guess = nearest(row->name);

        ks_escape(key, sizeof(key), row->name, SIZE_MAX);
        ks_escape(value, sizeof(value), row->value, SIZE_MAX);
        if (!is_key(config, row->name)) {
            cmd_report(checks, CMD_CHECK_FAIL, "config", "unknown key \"%s\" in section [%s]%s%s%s",
                       key, section, guess != NULL ? "; did you mean " : "",
                       guess != NULL ? guess : "", guess != NULL ? "?" : "");
            ok = false;
        } else if (NCONF_get_section(config->conf, row->value) != NULL) {
            cmd_report(checks, CMD_CHECK_FAIL, "config",
                       "%s = %s: there is a section [%s], so OpenSSL takes the value for the name "
                       "of that section; rename the section",
                       key, value, value);
            ok = false;
        }
    }
    return ok;
}

/* Things that are legal, but not what anybody wants. */
static void check_surroundings(struct cmd_checks *checks)
{
    const CONF *conf = checks->env->config.conf;
    const char *section, *init, *value, *algorithms;
    int us = 0, software = 0;
    char shown[128];

    section = prov_cnf_section(conf, PROV_NAME, &us);
    if (prov_cnf_value(conf, section, "activate") == NULL) {
        cmd_report(checks, CMD_CHECK_WARN, "config",
                   "section [%s] has no \"activate = 1\": programs use the HSM only if they load "
                   "the provider themselves",
                   ks_escape(shown, sizeof(shown), section, SIZE_MAX));
    }
    section = prov_cnf_section(conf, "default", &software);
    value = section != NULL ? prov_cnf_value(conf, section, "activate") : NULL;
    if (value == NULL) {
        cmd_report(
            checks, CMD_CHECK_WARN, "config",
            "the provider \"default\" is not activated; once another one is, it has to be, or "
            "programs lack hashes, ciphers and TLS");
    } else if (us < software) {
        cmd_report(checks, CMD_CHECK_WARN, "config",
                   "the provider \"hsm\" comes before \"default\": programs then lose TLS groups; "
                   "list default first");
    }
    init = prov_cnf_init(conf);
    algorithms = init != NULL ? prov_cnf_value(conf, init, "alg_section") : NULL;
    value = algorithms != NULL ? prov_cnf_value(conf, algorithms, "default_properties") : NULL;
    if (value != NULL && strstr(value, "provider=hsm") != NULL) {
        cmd_report(checks, CMD_CHECK_WARN, "config",
                   "default_properties asks for provider=hsm: TLS then wants its short-lived keys "
                   "from the HSM and drops its groups; remove that line");
    }
}

bool cmd_check_config(struct cmd_checks *checks)
{
    struct cmd_env *env = checks->env;
    char why[2048] = "", path[512], section[128], *line;
    bool ok = true;

    if (!cmd_config_load(&env->config, env->config_file, why, sizeof(why))) {
        cmd_report(checks, CMD_CHECK_FAIL, "config", "%s", why);
        return false;
    }
    if (!cmd_take_name(env, why, sizeof(why))) {
        cmd_report(checks, CMD_CHECK_FAIL, "config", "%s", why);
        return false;
    }
    ks_escape(path, sizeof(path), env->config.path != NULL ? env->config.path : "(none)", SIZE_MAX);
    if (env->config.section == NULL) {
        cmd_report(checks, env->module != NULL ? CMD_CHECK_WARN : CMD_CHECK_FAIL, "config",
                   "%s %s; programs that use this file do not know the HSM: include hsm.cnf in it",
                   path,
                   env->config.conf != NULL ? "has no section for the provider \"hsm\""
                                            : "does not exist");
        if (env->module == NULL) {
            return false;
        }
    } else {
        ok = check_keys(checks);
        check_surroundings(checks);
    }
    if (!cmd_valid(env, why, sizeof(why))) {
        for (line = why; *line != '\0'; line++) {
            *line = *line == '\n' ? ' ' : *line;
        }
        cmd_report(checks, CMD_CHECK_FAIL, "config", "%s", why);
        return false;
    }
    if (ok && env->config.section != NULL) {
        cmd_report(checks, CMD_CHECK_OK, "config", "%s, section [%s]", path,
                   ks_escape(section, sizeof(section), env->config.section, SIZE_MAX));
    }
    /* The values are all right, so go on and see the rest, too. */
    return true;
}
