/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_open.c - from configuration and options to the provider that is linked in.
 *
 * The provider's section is read here and handed over through prov_config_override(), into a
 * library context that never loads openssl.cnf itself: neither the installed hsm.so nor any
 * other provider or engine that the file activates comes into this process.
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "../provider/provider.h"
#include "cmd.h"

/* --- PINs from a person ---------------------------------------------------------------------- */

/* A person can be asked if the process has a terminal and is in the foreground of it. A read from
 * the background would stop the process, and without a terminal OpenSSL's prompt would read
 * standard input. */
static int open_terminal(void)
{
    int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);

    if (fd >= 0 && tcgetpgrp(fd) != getpgrp()) {
        close(fd);
        fd = -1;
    }
    return fd;
}

bool cmd_ask_pin(void *arg, const char *what, char *pin, size_t size, size_t *len)
{
    struct cmd_env *env = arg;
    char buffer[256] = "", prompt[512];
    struct termios before, quiet;
    int fd = open_terminal();
    bool ok = false;

    if (fd < 0 || tcgetattr(fd, &before) != 0) {
        goto out;
    }
    if (env != NULL) {
        env->asked = true;
    }
    /* OpenSSL shows its prompt before it turns the echo off, which is too late for fast fingers:
     * so the echo is turned off here. OpenSSL catches signals, so it is turned on again in any
     * case. */
    quiet = before;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    (void)tcsetattr(fd, TCSAFLUSH, &quiet);
    snprintf(prompt, sizeof(prompt), "%s: ", what);
    if (EVP_read_pw_string_min(buffer, 0, (int)sizeof(buffer) - 1, prompt, 0) == 0) {
        *len = strlen(buffer);
        ok = *len > 0 && *len <= size;
    }
    (void)tcsetattr(fd, TCSAFLUSH, &before);
    if (ok) {
        memcpy(pin, buffer, *len);
    }
    ERR_clear_error();
out:
    OPENSSL_cleanse(buffer, sizeof(buffer));
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

/* --- settings -------------------------------------------------------------------------------- */

static bool other_module(const struct cmd_env *env)
{
    const char *module = cmd_config_get(&env->config, "pkcs11-module");

    return env->module != NULL && (module == NULL || strcmp(env->module, module) != 0);
}

/* Tell whether an option names another token than the configuration does. The configured PIN must
 * not go to that one. */
static bool points_elsewhere(const struct cmd_env *env)
{
    const char *token = cmd_config_get(&env->config, "token");

    return other_module(env) ||
           (env->token != NULL && (token == NULL || strcmp(env->token, token) != 0));
}

/* Tell whether the verb is about the named tokens of the configuration. An option that names a
 * module or a token means that one alone. */
static bool several_tokens(const struct cmd_env *env)
{
    return env->token_name == NULL && !points_elsewhere(env) &&
           (cmd_config_get(&env->config, "tokens") != NULL ||
            cmd_config_get(&env->config, "clusters") != NULL);
}

static const char *config_line(void *arg, const char *key)
{
    const struct cmd_config *config = arg;

    return cmd_config_get(config, key);
}

bool cmd_take_name(struct cmd_env *env, char *why, size_t why_size)
{
    char shown[128], key[160];

    if (env->token == NULL || OPENSSL_strncasecmp(env->token, "pkcs11:", 7) == 0) {
        return true;
    }
    ks_escape(shown, sizeof(shown), env->token, SIZE_MAX);
    snprintf(key, sizeof(key), "%s.token", env->token);
    if (strlen(env->token) > 64 || !prov_config_dotted_key(key, config_line, &env->config)) {
        snprintf(why, why_size,
                 "--token %s: neither a pkcs11: URI (hsmkey tokens shows them) nor the name of a "
                 "token in the configuration",
                 shown);
        return false;
    }
    if (env->module != NULL) {
        snprintf(why, why_size, "--token %s: its module is the configuration's; leave --module out",
                 shown);
        return false;
    }
    env->token_name = env->token;
    env->token = NULL;
    return true;
}

/* The value of a setting for the token --token NAME: its own line, or else the line for all. */
static const char *named_setting(const struct cmd_env *env, const char *key)
{
    const char *value =
        prov_config_of_token(env->token_name, key, config_line, (void *)&env->config);

    if (value == NULL && strcmp(key, "token") != 0 && strcmp(key, "pin") != 0) {
        value = cmd_config_get(&env->config, key);
    }
    return value;
}

const char *cmd_setting(const struct cmd_env *env, const char *key)
{
    const char *value;

    if (strcmp(key, "tokens") == 0 || strcmp(key, "clusters") == 0) {
        return several_tokens(env) ? cmd_config_get(&env->config, key) : NULL;
    }
    if (env->token_name != NULL) {
        value = strcmp(key, "pin") == 0 && env->pin != NULL ? env->pin : named_setting(env, key);
        return value == NULL && strcmp(key, "pin") == 0 ? "prompt" : value;
    }
    if (strcmp(key, "pkcs11-module") == 0 && env->module != NULL) {
        return env->module;
    }
    if (strcmp(key, "token") == 0) {
        /* Another module has other tokens. */
        if (env->token != NULL || other_module(env)) {
            return env->token;
        }
    }
    if (strcmp(key, "pin") == 0) {
        if (env->pin != NULL) {
            return env->pin;
        }
        value = points_elsewhere(env) ? NULL : cmd_config_get(&env->config, key);
        if (several_tokens(env)) {
            return value;
        }
        /* A person at a terminal can be asked. Without a terminal, "prompt" is the same as no
         * PIN. */
        return value != NULL ? value : "prompt";
    }
    if (strcmp(key, "pkcs11-init-args") == 0 && other_module(env)) {
        return NULL;
    }
    return cmd_config_get(&env->config, key);
}

bool cmd_has_pin(const struct cmd_env *env)
{
    if (env->token_name != NULL) {
        return env->pin != NULL || named_setting(env, "pin") != NULL;
    }
    return env->pin != NULL ||
           (!points_elsewhere(env) && cmd_config_get(&env->config, "pin") != NULL);
}

static const char *effective_setting(void *arg, const char *key)
{
    return cmd_setting(arg, key);
}

bool cmd_valid(const struct cmd_env *env, char *why, size_t why_size)
{
    struct prov_config parsed = {0};
    struct cmd_env copy = *env;
    bool ok;

    ok = prov_config_read(&parsed, effective_setting, &copy, why, why_size) == 1;
    prov_config_clear(&parsed);
    return ok;
}

/* Look for unknown settings, and for values that libcrypto takes for names of sections, in the file
 * itself: the provider sees neither. */
static bool section_valid(const struct cmd_env *env, char *why, size_t why_size)
{
    return env->config.section == NULL ||
           prov_config_check_file(env->config.path, PROV_NAME, why, why_size) == 1;
}

bool cmd_read(struct cmd_env *env)
{
    char why[2048], shown[512] = "(none)";

    if (!cmd_config_load(&env->config, env->config_file, why, sizeof(why))) {
        cmd_error(env, "%s", why);
        return false;
    }
    if (!cmd_take_name(env, why, sizeof(why))) {
        cmd_error(env, "%s", why);
        return false;
    }
    if (cmd_setting(env, "pkcs11-module") == NULL && !several_tokens(env)) {
        if (env->config.path != NULL) {
            ks_escape(shown, sizeof(shown), env->config.path, SIZE_MAX);
        }
        cmd_error(env,
                  "no PKCS#11 module: %s%s has no %s; give --module, or include hsm.cnf there "
                  "or give it with --config",
                  shown, env->config.path != NULL && env->config.conf == NULL ? " (not there)" : "",
                  env->config.section != NULL ? "pkcs11-module in the section of provider hsm"
                                              : "section for the provider hsm");
        return false;
    }
    return true;
}

bool cmd_take_uri(struct cmd_env *env, const char *text, struct ks_uri **uri)
{
    const char *source;
    struct ks_error err;

    if (!ks_ok(ks_uri_parse(text, KS_URI_CALLER, uri, &err))) {
        cmd_error_ks(env, NULL, &err);
        return false;
    }
    source = ks_uri_pin_source(*uri);
    if (source == NULL) {
        return true;
    }
    if (strlen(source) >= sizeof(env->uri_pin) ||
        (env->pin != NULL && strcmp(env->pin, source) != 0)) {
        cmd_error(env, "the URI's pin-source %s; leave it out, and give --pin file:/PATH",
                  strlen(source) >= sizeof(env->uri_pin) ? "is too long"
                                                         : "is not what --pin says");
        ks_uri_free(*uri);
        *uri = NULL;
        return false;
    }
    snprintf(env->uri_pin, sizeof(env->uri_pin), "%s", source);
    env->pin = env->uri_pin;
    return true;
}

/* --- the provider ---------------------------------------------------------------------------- */

bool cmd_load(struct cmd_env *env, const char *offload, const char *check_at_load)
{
    const struct prov_config_key *key;
    const char *value;

    env->prompt.ask = cmd_ask_pin;
    env->prompt.arg = env;
    env->opts.prompt = &env->prompt;
    for (key = prov_config_keys; key->name != NULL; key++) {
        value = cmd_setting(env, key->name);
        if (strcmp(key->name, "offload") == 0 && offload != NULL) {
            value = offload;
        } else if (strcmp(key->name, "check-key-at-load") == 0 && check_at_load != NULL) {
            value = check_at_load;
        }
        prov_config_override(key->name, value);
    }
    cmd_config_each_dotted(&env->config, prov_config_override);
    ERR_clear_error();
    env->libctx = OSSL_LIB_CTX_new();
    if (env->libctx == NULL ||
        OSSL_PROVIDER_add_builtin(env->libctx, PROV_NAME, OSSL_provider_init) != 1 ||
        (env->software = OSSL_PROVIDER_load(env->libctx, "default")) == NULL ||
        (env->hsm = OSSL_PROVIDER_load(env->libctx, PROV_NAME)) == NULL ||
        (env->prov = OSSL_PROVIDER_get0_provider_ctx(env->hsm)) == NULL) {
        cmd_error_openssl(env, "cannot start the provider");
        return false;
    }
    /* The reference is for programs that read the whole configuration: where that has several
     * tokens, it has to name this one. */
    env->prov->name_token =
        env->token_name != NULL &&
        prov_config_lists(cmd_config_get(&env->config, "tokens"), env->token_name);
    return true;
}

bool cmd_open(struct cmd_env *env, const char *offload, const char *check_at_load)
{
    char why[2048] = "";

    if (!cmd_read(env)) {
        return false;
    }
    if (!cmd_valid(env, why, sizeof(why)) || !section_valid(env, why, sizeof(why))) {
        cmd_error(env, "%s; hsmkey check shows all of the configuration", why);
        return false;
    }
    if (!cmd_load(env, offload, check_at_load)) {
        return false;
    }
    if (env->prov->broken != NULL) {
        cmd_error(env, "%s", env->prov->broken);
        return false;
    }
    return true;
}

const char *cmd_login_text(const struct cmd_env *env, const struct ks_error *err)
{
    const char *pin = cmd_setting(env, "pin");

    if (err->code != KS_PIN_SOURCE || pin == NULL || strcmp(pin, "prompt") != 0) {
        return err->text;
    }
    if (env->asked) {
        return "no PIN was given, so no login was tried";
    }
    return cmd_has_pin(env)
               ? "pin = prompt, but there is no terminal to ask on; give --pin file:/PATH"
               : "the token wants a PIN, none is configured, and there is no terminal to ask on: "
                 "set pin in the provider's section, or give --pin file:/PATH";
}

size_t cmd_targets(const struct cmd_env *env, struct cmd_target targets[KS_GROUP_MAX])
{
    struct ks_token *const *all = &env->prov->token;
    size_t count = 1, i;
    const bool set = ks_token_is_group(*all, KS_GROUP_SET);

    if (set) {
        count = ks_token_members(*all, &all);
    }
    for (i = 0; i < count; i++) {
        struct cmd_target *target = &targets[i];

        target->cluster = ks_token_is_group(all[i], KS_GROUP_CLUSTER);
        target->name = several_tokens(env) ? ks_token_name(all[i]) : NULL;
        target->members = &all[i];
        target->count = 1;
        if (target->cluster) {
            target->count = ks_token_members(all[i], &target->members);
        }
    }
    return count;
}

const char *cmd_token_setting(const struct cmd_env *env, const char *name, const char *key)
{
    if (name == NULL) {
        return cmd_setting(env, key);
    }
    return prov_config_of_token(name, key, effective_setting, (void *)env);
}

const struct ks_call_options *cmd_call_options(const struct cmd_env *env, const char *name)
{
    static const struct ks_call_options nobody = {0};
    const char *pin = cmd_token_setting(env, name, "pin");

    return pin != NULL && strcmp(pin, "prompt") == 0 ? &env->opts : &nobody;
}

unsigned cmd_timeout(const struct cmd_env *env, const char *name)
{
    const char *text = cmd_token_setting(env, name, "timeout-ms");

    /* The caller has read the configuration, so the text is a number. */
    return text != NULL ? (unsigned)strtoul(text, NULL, 10) : 0;
}

const char *cmd_without_name(const char *name, const char *text)
{
    size_t len = name != NULL ? strlen(name) : 0;

    return len > 0 && strncmp(text, name, len) == 0 && strncmp(text + len, ": ", 2) == 0
               ? text + len + 2
               : text;
}

bool cmd_connect(struct cmd_env *env)
{
    struct ks_error err;

    if (ks_ok(ks_token_connect(env->prov->token, &env->opts, &err))) {
        return true;
    }
    cmd_error(env, "%s", cmd_login_text(env, &err));
    return false;
}

void cmd_close(struct cmd_env *env)
{
    if (env->hsm != NULL) {
        OSSL_PROVIDER_unload(env->hsm);
    }
    if (env->software != NULL) {
        OSSL_PROVIDER_unload(env->software);
    }
    OSSL_LIB_CTX_free(env->libctx);
    env->libctx = NULL;
    env->hsm = env->software = NULL;
    env->prov = NULL;
    cmd_config_clear(&env->config);
}
