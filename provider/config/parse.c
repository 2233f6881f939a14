/* SPDX-License-Identifier: Apache-2.0
 *
 * parse.c - the provider's section of openssl.cnf. Strict: what is not understood is an error.
 */
#include <ctype.h>
#include <openssl/conf.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>

#include "config.h"

static int copy(char **to, const char *value, char *why, size_t why_size)
{
    *to = OPENSSL_strdup(value);
    if (*to == NULL)
        snprintf(why, why_size, "out of memory while the configuration was read");
    return *to != NULL;
}

static int set_module(struct prov_config *config, const char *value, char *why, size_t why_size)
{
    char shown[160];

    if (strchr(value, '/') != NULL && value[0] != '/') {
        snprintf(why, why_size,
                 "pkcs11-module = %s: must be an absolute path, or a file name in p11-kit's module "
                 "folder",
                 ks_escape(shown, sizeof(shown), value, SIZE_MAX));
        return 0;
    }
    return copy(&config->module, value, why, why_size);
}

static int set_token(struct prov_config *config, const char *value, char *why, size_t why_size)
{
    struct ks_uri *uri = NULL;
    struct ks_error err;

    if (!ks_ok(ks_uri_parse(value, KS_URI_TOKEN, &uri, &err))) {
        snprintf(why, why_size, "token: %s", err.text);
        return 0;
    }
    ks_uri_free(uri);
    return copy(&config->token, value, why, why_size);
}

static bool is_env_name(const char *name)
{
    size_t i;

    if (name[0] == '\0' || isdigit((unsigned char)name[0]))
        return false;
    for (i = 0; name[i] != '\0'; i++) {
        if (!isalnum((unsigned char)name[i]) && name[i] != '_')
            return false;
    }
    return true;
}

static int set_pin(struct prov_config *config, const char *value, char *why, size_t why_size)
{
    if ((strncmp(value, "file:", 5) == 0 && value[5] == '/') ||
        (strncmp(value, "env:", 4) == 0 && is_env_name(value + 4)) || strcmp(value, "prompt") == 0)
        return copy(&config->pin, value, why, why_size);
    /* The value is not shown: people write the PIN itself there. */
    snprintf(why, why_size,
             "pin: must be file:/absolute/path, env:NAME or prompt (the PIN itself is not taken)");
    return 0;
}

static int set_offload(struct prov_config *config, const char *value, char *why, size_t why_size)
{
    return prov_policy_parse(value, &config->offload, why, why_size);
}

static int number(const char *key, const char *value, unsigned min, unsigned max, unsigned *out,
                  char *why, size_t why_size)
{
    char shown[40];
    unsigned n = 0;
    size_t i;

    for (i = 0; i < 8 && isdigit((unsigned char)value[i]); i++)
        n = n * 10U + (unsigned)(value[i] - '0');
    if (i == 0 || value[i] != '\0' || n < min || n > max) {
        snprintf(why, why_size, "%s = %s: must be a number from %u to %u", key,
                 ks_escape(shown, sizeof(shown), value, SIZE_MAX), min, max);
        return 0;
    }
    *out = n;
    return 1;
}

static int set_timeout(struct prov_config *config, const char *value, char *why, size_t why_size)
{
    return number("timeout-ms", value, 10, 3600000, &config->timeout_ms, why, why_size);
}

static int set_recover(struct prov_config *config, const char *value, char *why, size_t why_size)
{
    return number("recover-interval-ms", value, 10, 3600000, &config->recover_ms, why, why_size);
}

static int set_pin_keep(struct prov_config *config, const char *value, char *why, size_t why_size)
{
    char shown[40];

    if (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0) {
        snprintf(why, why_size, "pin-keep = %s: must be yes or no",
                 ks_escape(shown, sizeof(shown), value, SIZE_MAX));
        return 0;
    }
    config->forget_pin = value[0] == 'n';
    return 1;
}

static int set_tokens(struct prov_config *config, const char *value, char *why, size_t why_size)
{
    return copy(&config->tokens, value, why, why_size);
}

static int set_clusters(struct prov_config *config, const char *value, char *why, size_t why_size)
{
    return copy(&config->clusters, value, why, why_size);
}

static int set_sessions(struct prov_config *config, const char *value, char *why, size_t why_size)
{
    return number("sessions", value, 1, KS_SESSIONS_MAX, &config->sessions, why, why_size);
}

static int set_check(struct prov_config *config, const char *value, char *why, size_t why_size)
{
    char shown[40];

    if (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0) {
        snprintf(why, why_size, "check-key-at-load = %s: must be yes or no",
                 ks_escape(shown, sizeof(shown), value, SIZE_MAX));
        return 0;
    }
    config->check_key_at_load = value[0] == 'y';
    return 1;
}

static int set_software_keys(struct prov_config *config, const char *value, char *why,
                             size_t why_size)
{
    char shown[40];

    if (strcmp(value, "allow") != 0 && strcmp(value, "refuse") != 0) {
        snprintf(why, why_size, "software-private-keys = %s: must be allow or refuse",
                 ks_escape(shown, sizeof(shown), value, SIZE_MAX));
        return 0;
    }
    config->refuse_software_keys = value[0] == 'r';
    return 1;
}

static int set_init_args(struct prov_config *config, const char *value, char *why, size_t why_size)
{
    return copy(&config->init_args, value, why, why_size);
}

static int set_stats_file(struct prov_config *config, const char *value, char *why, size_t why_size)
{
    char shown[160];

    if (value[0] != '/') {
        snprintf(why, why_size, "stats-file = %s: must be an absolute path",
                 ks_escape(shown, sizeof(shown), value, SIZE_MAX));
        return 0;
    }
    return copy(&config->stats_file, value, why, why_size);
}

static int set_log(struct prov_config *config, const char *value, char *why, size_t why_size)
{
    char shown[160];

    if (strcmp(value, "stderr") != 0 && strcmp(value, "syslog") != 0 &&
        strncmp(value, "file:/", 6) != 0) {
        snprintf(why, why_size, "log = %s: must be stderr, syslog or file:/absolute/path",
                 ks_escape(shown, sizeof(shown), value, SIZE_MAX));
        return 0;
    }
    return copy(&config->log, value, why, why_size);
}

static int set_log_level(struct prov_config *config, const char *value, char *why, size_t why_size)
{
    static const char *const names[] = {NULL, "error", "warn", "info", "debug"};
    char shown[40];
    size_t i;

    for (i = 1; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(value, names[i]) == 0) {
            config->log_level = (enum ks_log_level)i;
            return 1;
        }
    }
    snprintf(why, why_size, "log-level = %s: must be error, warn, info or debug",
             ks_escape(shown, sizeof(shown), value, SIZE_MAX));
    return 0;
}

static int set_audit(struct prov_config *config, const char *value, char *why, size_t why_size)
{
    char shown[40];

    if (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0) {
        snprintf(why, why_size, "audit = %s: must be yes or no",
                 ks_escape(shown, sizeof(shown), value, SIZE_MAX));
        return 0;
    }
    config->audit = value[0] == 'y';
    return 1;
}

const struct prov_config_key prov_config_keys[] = {
    {"pkcs11-module", set_module},
    {"token", set_token},
    {"pin", set_pin},
    {"offload", set_offload},
    {"sessions", set_sessions},
    {"check-key-at-load", set_check},
    {"software-private-keys", set_software_keys},
    {"pkcs11-init-args", set_init_args},
    {"timeout-ms", set_timeout},
    {"recover-interval-ms", set_recover},
    {"pin-keep", set_pin_keep},
    {"tokens", set_tokens},
    {"clusters", set_clusters},
    {"stats-file", set_stats_file},
    {"log", set_log},
    {"log-level", set_log_level},
    {"audit", set_audit},
    {NULL, NULL},
};
#define KEYS (sizeof(prov_config_keys) / sizeof(prov_config_keys[0]) - 1)

/* In use are a few; the lines of named tokens (NAME.KEY) among them. */
#define OVERRIDES 256
static struct {
    const char *key, *value;
} overrides[OVERRIDES];
static bool too_many_overrides;

void prov_config_override(const char *key, const char *value)
{
    size_t i;

    for (i = 0; i < OVERRIDES; i++) {
        if (overrides[i].key == NULL || strcmp(overrides[i].key, key) == 0) {
            overrides[i].key = key;
            overrides[i].value = value;
            return;
        }
    }
    too_many_overrides = true;
}

const char *prov_config_overridden(const char *key)
{
    size_t i;

    for (i = 0; i < OVERRIDES && overrides[i].key != NULL; i++) {
        if (strcmp(overrides[i].key, key) == 0)
            return overrides[i].value;
    }
    return NULL;
}

bool prov_config_unset(const char *key, const char *value)
{
    const char *dot = strchr(key, '.');

    if (dot != NULL)
        key = dot + 1;
    return value == NULL ||
           (value[0] == '\0' && (strcmp(key, "pin") == 0 || strcmp(key, "token") == 0));
}

int prov_config_parse(struct prov_config *config, const char *(*get)(void *arg, const char *key),
                      void *arg, char *why, size_t why_size)
{
    const char *value;
    size_t i;

    memset(config, 0, sizeof(*config));
    config->check_key_at_load = true;
    if (!prov_policy_parse(NULL, &config->offload, why, why_size))
        return 0;
    for (i = 0; i < KEYS; i++) {
        value = get(arg, prov_config_keys[i].name);
        if (prov_config_unset(prov_config_keys[i].name, value))
            continue;
        /* prov_policy_parse has its own sentence for an empty value. */
        if (value[0] == '\0' && prov_config_keys[i].set != set_offload) {
            snprintf(why, why_size, "%s is empty: give it a value, or leave the line out",
                     prov_config_keys[i].name);
            return 0;
        }
        if (!prov_config_keys[i].set(config, value, why, why_size))
            return 0;
    }
    if (config->module == NULL && config->tokens == NULL && config->clusters == NULL) {
        snprintf(why, why_size,
                 "pkcs11-module is missing: add \"pkcs11-module = /path/of/module.so\" to the "
                 "provider's section of the OpenSSL configuration");
        return 0;
    }
    if (config->log == NULL && (config->audit || config->log_level != KS_LOG_OFF)) {
        snprintf(why, why_size, "%s needs log: say where to, as in log = syslog",
                 config->audit ? "audit" : "log-level");
        return 0;
    }
    if (config->log_level == KS_LOG_OFF)
        config->log_level = KS_LOG_INFO;
    return 1;
}

struct with_overrides {
    const char *(*get)(void *arg, const char *key);
    void *arg;
};

static const char *value_or_override(void *arg, const char *key)
{
    const struct with_overrides *w = arg;
    const char *value = prov_config_overridden(key);

    return value != NULL ? value : w->get(w->arg, key);
}

int prov_config_read(struct prov_config *config, const char *(*get)(void *arg, const char *key),
                     void *arg, char *why, size_t why_size)
{
    struct with_overrides with = {get, arg};

    if (too_many_overrides) {
        memset(config, 0, sizeof(*config));
        snprintf(why, why_size,
                 "the provider's section has more lines than hsmkey can take: %d with those of "
                 "all tokens",
                 OVERRIDES);
        return 0;
    }
    return prov_config_parse(config, value_or_override, &with, why, why_size);
}

void prov_config_clear(struct prov_config *config)
{
    OPENSSL_free(config->tokens);
    OPENSSL_free(config->clusters);
    OPENSSL_free(config->module);
    OPENSSL_free(config->init_args);
    OPENSSL_free(config->token);
    OPENSSL_free(config->pin);
    OPENSSL_free(config->stats_file);
    OPENSSL_free(config->log);
    memset(config, 0, sizeof(*config));
}
