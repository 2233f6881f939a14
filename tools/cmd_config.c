/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_config.c - reads openssl.cnf, without carrying out what the file says.
 */
#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"

static char *choose_path(const char *path, bool *chosen)
{
    char *copy;

    if (path != NULL) {
        *chosen = true;
        return OPENSSL_strdup(path);
    }
    /* CONF_get1_default_config_file() does so, too; this is to know who chose. */
    *chosen = secure_getenv("OPENSSL_CONF") != NULL;
    copy = CONF_get1_default_config_file();
    if (copy != NULL && copy[0] == '\0') {
        OPENSSL_free(copy);
        copy = NULL;
    }
    return copy;
}

/* The file's lines. What it includes is opened by libcrypto, as for every program. */
static bool parse(struct cmd_config *config, char *why, size_t why_size)
{
    char shown[512], reason[1024];
    struct cmd_bytes bytes;
    const char *text;
    BIO *bio = NULL;
    long line = 0;
    bool ok = false;

    ks_escape(shown, sizeof(shown), config->path, SIZE_MAX);
    ERR_clear_error();
    if (!cmd_read_file(config->path, CMD_READ_NULL, &bytes, reason, sizeof(reason))) {
        snprintf(why, why_size, "%s: the configuration cannot be read: %s", shown, reason);
        goto out;
    }
    config->conf = NCONF_new(NULL);
    bio = cmd_bytes_bio(&bytes);
    if (config->conf == NULL || bio == NULL) {
        snprintf(why, why_size, "out of memory");
        goto out;
    }
    if (NCONF_load_bio(config->conf, bio, &line) > 0) {
        ok = true;
        goto out;
    }
    text = ERR_reason_error_string(ERR_peek_last_error());
    if (line > 0 && text != NULL) {
        snprintf(why, why_size, "%s: line %ld: %s; libcrypto ignores the whole file then", shown,
                 line, text);
    } else {
        cmd_queue_text(reason, sizeof(reason));
        snprintf(why, why_size, "%s: the configuration cannot be read: %s", shown, reason);
    }
out:
    if (!ok) {
        NCONF_free(config->conf);
        config->conf = NULL;
    }
    ERR_clear_error();
    BIO_free(bio);
    cmd_bytes_clear(&bytes);
    return ok;
}

bool cmd_config_load(struct cmd_config *config, const char *path, char *why, size_t why_size)
{
    char shown[512], reason[1024];
    const char *section;

    memset(config, 0, sizeof(*config));
    config->path = choose_path(path, &config->chosen);
    if (config->path == NULL || (!config->chosen && access(config->path, F_OK) != 0)) {
        return true;
    }
    ks_escape(shown, sizeof(shown), config->path, SIZE_MAX);
    if (!parse(config, why, why_size)) {
        return false;
    }
    section = prov_cnf_section(config->conf, PROV_NAME, NULL);
    if (section == NULL) {
        return true;
    }
    config->section = OPENSSL_strdup(section);
    if (NCONF_get_section(config->conf, section) == NULL) {
        ks_escape(reason, sizeof(reason), section, SIZE_MAX);
        snprintf(why, why_size,
                 "%s: the provider \"" PROV_NAME "\" names section [%.200s], which is not there",
                 shown, reason);
        return false;
    }
    return true;
}

void cmd_config_each_dotted(const struct cmd_config *config,
                            void (*visit)(const char *key, const char *value))
{
    const STACK_OF(CONF_VALUE) *rows =
        config->section != NULL ? NCONF_get_section(config->conf, config->section) : NULL;
    int i;

    for (i = 0; rows != NULL && i < sk_CONF_VALUE_num(rows); i++) {
        const CONF_VALUE *row = sk_CONF_VALUE_value(rows, i);

        if (strchr(row->name, '.') != NULL) {
            visit(row->name, row->value);
        }
    }
}

void cmd_config_clear(struct cmd_config *config)
{
    OPENSSL_free(config->path);
    OPENSSL_free(config->section);
    NCONF_free(config->conf);
    memset(config, 0, sizeof(*config));
}

const char *cmd_config_get(const struct cmd_config *config, const char *key)
{
    const char *value = NULL;

    if (config->section != NULL) {
        value = prov_cnf_value(config->conf, config->section, key);
    }
    if (prov_config_unset(key, value)) {
        value = NULL;
    }
    /* A value that is the name of a section becomes that section's rows, "key.name", and the
     * provider never sees `key`: hsmkey check says so. */
    if (value != NULL && NCONF_get_section(config->conf, value) != NULL) {
        value = NULL;
    }
    return value;
}
