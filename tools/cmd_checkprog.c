/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_checkprog.c - what hsmkey check says about hsm.so, and about what programs find once they
 * have loaded openssl.cnf.
 */
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd_trial.h"

/* --- what is in the way ---------------------------------------------------------------------- */

/* Find the line that sets default properties. False: the file has none. */
static bool properties(const CONF *conf, const char **key, const char **value, const char **section)
{
    static const char *const keys[] = {"default_properties", "fips_mode"};
    const char *init = prov_cnf_init(conf);
    size_t i;

    *section = init != NULL ? prov_cnf_value(conf, init, "alg_section") : NULL;
    for (i = 0; *section != NULL && i < sizeof(keys) / sizeof(keys[0]); i++) {
        *key = keys[i];
        *value = prov_cnf_value(conf, *section, keys[i]);
        if (*value != NULL && (*value)[0] != '\0') {
            return true;
        }
    }
    return false;
}

static bool activates(const CONF *conf, const char *name)
{
    const char *section = prov_cnf_section(conf, name, NULL);

    return section != NULL && prov_cnf_value(conf, section, "activate") != NULL;
}

static void not_active(const struct cmd_config *config, char *out, size_t size)
{
    char section[128];

    ks_escape(section, sizeof(section), config->section, SIZE_MAX);
    if (prov_cnf_value(config->conf, config->section, "activate") == NULL) {
        snprintf(out, size,
                 "section [%s] has no \"activate = 1\", so programs do not load the provider "
                 "\"hsm\": add that line",
                 section);
    } else {
        snprintf(out, size,
                 "section [%s] activates the provider \"hsm\", but programs do not get it: hsm.so "
                 "cannot be loaded, or OpenSSL does not read so far, as it stops at the first line "
                 "that it cannot carry out",
                 section);
    }
}

static void default_missing(const CONF *conf, char *out, size_t size)
{
    const char *init = prov_cnf_init(conf);
    const char *list = init != NULL ? prov_cnf_value(conf, init, "providers") : NULL;
    const char *section = prov_cnf_section(conf, "default", NULL);
    char where[128], name[128], entry[300] = "";

    ks_escape(name, sizeof(name), section != NULL ? section : "default_sect", SIZE_MAX);
    if (section == NULL) {
        ks_escape(where, sizeof(where), list != NULL ? list : "", SIZE_MAX);
        snprintf(entry, sizeof(entry), "\"default = default_sect\" to section [%s], and ", where);
    }
    snprintf(out, size,
             "the provider \"default\" is not activated: programs that use this file cannot load "
             "the key: add %s\"activate = 1\" to section [%s]",
             entry, name);
}

/* What programs need that other providers have to give. */
#define SOFTWARE (CMD_STATE_PEM | CMD_STATE_SOFTWARE | CMD_STATE_DIGEST | CMD_STATE_STORE)

static const char *hidden(unsigned state)
{
    static const struct {
        unsigned bit;
        const char *what;
    } rows[] = {
        {CMD_STATE_VISIBLE, "every algorithm of the provider \"hsm\""},
        {CMD_STATE_PEM, "the decoder that reads PEM"},
        {CMD_STATE_STORE, "the loader of files that openssl(1) uses"},
        {CMD_STATE_DIGEST, "the software that hashes"},
        {CMD_STATE_SOFTWARE, "the software that public halves need"},
    };
    size_t i = 0;

    while (i + 1 < sizeof(rows) / sizeof(rows[0]) && (state & rows[i].bit) != 0) {
        i++;
    }
    return rows[i].what;
}

void cmd_check_hint(const struct cmd_config *config, unsigned state, char *out, size_t size)
{
    const char *key, *value, *section;
    char shown[200], where[128];
    bool software = (state & SOFTWARE) == SOFTWARE;

    out[0] = '\0';
    if (config->section == NULL || (state & CMD_STATE_ALL) == CMD_STATE_ALL) {
        return;
    }
    if ((state & CMD_STATE_ACTIVE) == 0) {
        not_active(config, out, size);
    } else if (!software && !activates(config->conf, "default")) {
        default_missing(config->conf, out, size);
    } else if (properties(config->conf, &key, &value, &section)) {
        ks_escape(shown, sizeof(shown), value, SIZE_MAX);
        ks_escape(where, sizeof(where), section, SIZE_MAX);
        snprintf(out, size,
                 "%s = %s in section [%s] hides %s: programs find no key, or cannot use it; remove "
                 "that line",
                 key, shown, where, hidden(state));
    }
}

/* --- hsm.so ---------------------------------------------------------------------------------- */

/* Build the path at which libcrypto looks for the module (provider_init() of its
 * crypto/provider_core.c). */
static char *provider_path(const struct cmd_config *config)
{
    const char *module = NULL, *folder = secure_getenv("OPENSSL_MODULES");
    char *path = NULL;

    if (config->section != NULL) {
        module = prov_cnf_value(config->conf, config->section, "module");
    }
    if (module != NULL && module[0] == '/') {
        return strdup(module);
    }
    if (folder == NULL) {
        folder = OPENSSL_info(OPENSSL_INFO_MODULES_DIR);
    }
    if (asprintf(&path, "%s/%s", folder != NULL ? folder : "", module != NULL ? module : "hsm.so") <
        0) {
        path = NULL;
    }
    return path;
}

/* What a program that has loaded the file lacks, also without a key. That "default" is missing is
 * a warning of the configuration until there is a key to be loaded. */
static void check_state(struct cmd_checks *checks, struct cmd_child *child)
{
    const struct cmd_trial_request request = {.op = CMD_TRIAL_STATE};
    const struct cmd_config *config = &checks->env->config;
    struct cmd_trial_answer answer;
    char why[512];

    if (config->section == NULL || !activates(config->conf, PROV_NAME)) {
        return;
    }
    if (!cmd_child_ask(child, &request, &answer, why, sizeof(why))) {
        cmd_report(checks, CMD_CHECK_FAIL, "provider", "%s", why);
        return;
    }
    cmd_check_hint(config, answer.state, why, sizeof(why));
    if (why[0] != '\0' &&
        (activates(config->conf, "default") || (answer.state & CMD_STATE_ACTIVE) == 0)) {
        cmd_report(checks, CMD_CHECK_FAIL, "config", "%s%s%s", why,
                   answer.len > 0 ? "; OpenSSL says: " : "", (const char *)answer.data);
    }
}

void cmd_check_provider(struct cmd_checks *checks, struct cmd_child *child)
{
    char *path = provider_path(&checks->env->config), shown[512], why[512];
    struct cmd_trial_request request = {.op = CMD_TRIAL_MODULE, .data = path};
    struct cmd_trial_answer answer;

    if (path == NULL) {
        cmd_report(checks, CMD_CHECK_FAIL, "provider", "out of memory");
        return;
    }
    ks_escape(shown, sizeof(shown), path, SIZE_MAX);
    request.len = strlen(path) + 1;
    if (access(path, R_OK) != 0) {
        cmd_report(checks, CMD_CHECK_FAIL, "provider",
                   "%s is not there or not readable: programs go on without the HSM, and say "
                   "nothing; install it, or set \"module\" in the section, or OPENSSL_MODULES",
                   shown);
    } else if (!cmd_child_ask(child, &request, &answer, why, sizeof(why))) {
        cmd_report(checks, CMD_CHECK_FAIL, "provider", "%s: %s", shown, why);
    } else if (!answer.ok) {
        cmd_report(checks, CMD_CHECK_FAIL, "provider", "%s %s", shown, (const char *)answer.data);
    } else {
        cmd_report(checks, CMD_CHECK_OK, "provider", "%s", shown);
        check_state(checks, child);
    }
    free(path);
}
