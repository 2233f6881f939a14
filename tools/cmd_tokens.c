/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_tokens.c - hsmkey tokens.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"

/* The flags of a token that are shown besides its names, as text and as JSON. */
static const struct {
    const char *name;
    size_t offset;
} flags[] = {
    {"initialized", offsetof(struct ks_token_facts, initialized)},
    {"login-required", offsetof(struct ks_token_facts, login_required)},
    {"pin-set", offsetof(struct ks_token_facts, user_pin_set)},
    {"pin-count-low", offsetof(struct ks_token_facts, user_pin_count_low)},
    {"pin-final-try", offsetof(struct ks_token_facts, user_pin_final_try)},
    {"pin-locked", offsetof(struct ks_token_facts, user_pin_locked)},
    {"pin-pad", offsetof(struct ks_token_facts, protected_path)},
    {"write-protected", offsetof(struct ks_token_facts, write_protected)},
};
#define FLAGS (sizeof(flags) / sizeof(flags[0]))

struct visit {
    struct cmd_env *env;
    struct cmd_table table;
    unsigned count;
    unsigned unusable; /* modules */
    bool failed;
    /* slots that could not be read */
    struct unread {
        unsigned long slot;
        char *why;
    } * unread;
    size_t unread_count;
};

static bool has_flag(const struct ks_token_facts *facts, size_t i)
{
    return *(const bool *)((const char *)facts + flags[i].offset);
}

static void as_json(struct cmd_json *json, const struct ks_token_facts *facts, const char *uri)
{
    size_t i;

    cmd_json_open(json, NULL, '{');
    cmd_json_string(json, "label", facts->label);
    cmd_json_string(json, "serial", facts->serial);
    cmd_json_string(json, "model", facts->model);
    cmd_json_string(json, "manufacturer", facts->manufacturer);
    cmd_json_string(json, "library", facts->module_library);
    cmd_json_number(json, "slot", facts->slot);
    cmd_json_open(json, "flags", '[');
    for (i = 0; i < FLAGS; i++) {
        if (has_flag(facts, i)) {
            cmd_json_string(json, NULL, flags[i].name);
        }
    }
    cmd_json_close(json, '[');
    cmd_json_number(json, "sessions-max", facts->sessions_max);
    cmd_json_string(json, "uri", uri[0] != '\0' ? uri : NULL);
    cmd_json_close(json, '{');
}

static const char *flags_text(const struct ks_token_facts *facts, char *out, size_t size)
{
    size_t i, len;

    out[0] = '\0';
    for (i = 0; i < FLAGS; i++) {
        if (has_flag(facts, i)) {
            len = strlen(out);
            snprintf(out + len, size - len, "%s%s", len > 0 ? "," : "", flags[i].name);
        }
    }
    return out;
}

static bool as_row(struct cmd_table *table, const struct ks_token_facts *facts, const char *text,
                   const char *uri)
{
    char label[160], serial[80], model[80], slot[24];
    const char *cells[] = {label, serial, model, slot, text, uri};
    size_t i;

    ks_escape(label, sizeof(label), facts->label, SIZE_MAX);
    ks_escape(serial, sizeof(serial), facts->serial, SIZE_MAX);
    ks_escape(model, sizeof(model), facts->model, SIZE_MAX);
    snprintf(slot, sizeof(slot), "%lu", facts->slot);
    for (i = 0; i < 5; i++) {
        if (cells[i][0] == '\0') {
            cells[i] = "-";
        }
    }
    return cmd_table_row(table, cells);
}

/* Show a slot that could not be read. As text it is a row among the tokens, and its error goes
 * to standard error. In JSON it goes to a list of its own, so that a script that reads the
 * tokens finds tokens only. */
static bool visit_unread(struct visit *visit, unsigned long slot, const struct ks_error *why)
{
    const struct ks_token_facts nothing = {.slot = slot};
    struct unread *grown =
        realloc(visit->unread, (visit->unread_count + 1) * sizeof(*visit->unread));

    if (grown == NULL) {
        return false;
    }
    visit->unread = grown;
    grown += visit->unread_count;
    grown->slot = slot;
    grown->why = strdup(why->text);
    if (grown->why == NULL) {
        return false;
    }
    visit->unread_count++;
    cmd_error(visit->env, "slot %lu: %s", slot, why->text);
    return visit->env->json || as_row(&visit->table, &nothing, "unreadable", "-");
}

static void unread_json(const struct visit *visit)
{
    struct cmd_json *json = &visit->env->doc;
    size_t i;

    cmd_json_open(json, "unreadable", '[');
    for (i = 0; i < visit->unread_count; i++) {
        cmd_json_open(json, NULL, '{');
        cmd_json_number(json, "slot", visit->unread[i].slot);
        cmd_json_string(json, "error", visit->unread[i].why);
        cmd_json_close(json, '{');
    }
    cmd_json_close(json, '[');
}

static void unread_clear(struct visit *visit)
{
    size_t i;

    for (i = 0; i < visit->unread_count; i++) {
        free(visit->unread[i].why);
    }
    free(visit->unread);
}

static bool visit_token(void *arg, const struct ks_token_facts *facts,
                        const struct ks_error *unread)
{
    struct visit *visit = arg;
    char uri[CMD_URI_SIZE] = "", text[256];

    if (unread != NULL) {
        visit->failed = !visit_unread(visit, facts->slot, unread);
        return !visit->failed;
    }
    visit->count++;
    /* A token that is not initialised has no label, and so no URI. */
    if (facts->initialized) {
        cmd_token_uri(facts, uri, sizeof(uri));
    }
    if (visit->env->json) {
        as_json(&visit->env->doc, facts, uri);
        return true;
    }
    visit->failed = !as_row(&visit->table, facts, flags_text(facts, text, sizeof(text)),
                            uri[0] != '\0' ? uri : "-");
    return !visit->failed;
}

struct source {
    const char *module, *init_args;
    unsigned timeout_ms;
};

static bool equal(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* Collect the modules that the configuration names, each once. */
static size_t find_sources(const struct cmd_env *env, struct source *out)
{
    struct cmd_target targets[KS_GROUP_MAX];
    size_t count = env->prov->token != NULL ? cmd_targets(env, targets) : 0, n = 0, i, j, k;

    for (i = 0; i < count && targets[0].name != NULL; i++) {
        for (j = 0; j < targets[i].count; j++) {
            const char *name = ks_token_name(targets[i].members[j]);
            struct source s = {cmd_token_setting(env, name, "pkcs11-module"),
                               cmd_token_setting(env, name, "pkcs11-init-args"),
                               cmd_timeout(env, name)};

            for (k = 0; k < n; k++) {
                if (equal(out[k].module, s.module) && equal(out[k].init_args, s.init_args)) {
                    break;
                }
            }
            if (k == n) {
                out[n++] = s;
            }
        }
    }
    if (n == 0 && cmd_setting(env, "pkcs11-module") != NULL) {
        out[n++] = (struct source){cmd_setting(env, "pkcs11-module"),
                                   cmd_setting(env, "pkcs11-init-args"), cmd_timeout(env, NULL)};
    }
    return n;
}

/* Show all tokens of one module. False: the error was printed. */
static bool show_source(struct visit *visit, const struct source *source)
{
    struct cmd_env *env = visit->env;
    size_t before = visit->count + visit->unread_count;
    char shown[512];
    struct ks_error err;

    if (!ks_ok(ks_module_tokens(source->module, source->init_args, source->timeout_ms, visit_token,
                                visit, &err))) {
        cmd_error_ks(env, NULL, &err);
        visit->unusable++;
        return false;
    }
    if (visit->count + visit->unread_count > before || visit->failed) {
        return true;
    }
    ks_escape(shown, sizeof(shown), source->module, SIZE_MAX);
    cmd_error(env,
              "%s: the module shows no token; is the HSM connected, its service running, and "
              "the module's own configuration found?",
              shown);
    return false;
}

static int tokens_run(struct cmd_env *env, int argc, char **argv)
{
    static const struct option own[] = {{0}};
    static const char *const head[] = {"LABEL", "SERIAL", "MODEL", "SLOT", "FLAGS", "URI"};
    struct visit visit = {.env = env, .table = {.columns = 6}};
    struct source sources[KS_GROUP_MAX * KS_GROUP_MAX];
    size_t count, i, bad = 0;
    int status = CMD_FAILED;

    if (cmd_getopt(env, argc, argv, own, &status) == CMD_STOP) {
        return status;
    }
    if (optind != argc) {
        return cmd_usage(env, "takes no arguments");
    }
    /* The settings of tokens are not checked here: administrators use this verb to find out what to
     * write into them. */
    if (!cmd_read(env) || !cmd_load(env, NULL, NULL)) {
        goto out;
    }
    count = find_sources(env, sources);
    if (count == 0) {
        cmd_error(env, "%s",
                  env->prov->broken != NULL ? env->prov->broken
                                            : "no PKCS#11 module: give --module");
        goto out;
    }
    if (env->json) {
        cmd_json_open(&env->doc, NULL, '{');
        cmd_json_open(&env->doc, "tokens", '[');
    } else if (!cmd_table_row(&visit.table, head)) {
        visit.failed = true;
    }
    for (i = 0; i < count; i++) {
        bad += !show_source(&visit, &sources[i]);
    }
    if (visit.failed) {
        cmd_error(env, "out of memory");
        goto out;
    }
    if (visit.count + visit.unread_count == 0 && (visit.unusable > 0 || !env->json)) {
        goto out;
    }
    if (env->json) {
        cmd_json_close(&env->doc, '[');
        unread_json(&visit);
        cmd_json_close(&env->doc, '{');
    } else {
        cmd_table_print(&visit.table, stdout);
    }
    status = bad == 0 && visit.unread_count == 0 ? CMD_OK : CMD_FAILED;
out:
    cmd_table_clear(&visit.table);
    unread_clear(&visit);
    return status;
}

const struct cmd cmd_tokens = {
    "tokens",
    "",
    "Show the tokens of the PKCS#11 module, without logging in",
    "Exit status: 0, or 1 also when the module shows no token at all, or a slot cannot be read\n"
    "(the others are shown).\n",
    tokens_run,
};
