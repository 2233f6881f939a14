/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_check.c - hsmkey check: will programs be able to use the HSM? For people, monitoring and
 * ExecStartPre.
 */
#include <openssl/err.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cmd_trial.h"

struct slots {
    unsigned tokens, unread;
    unsigned long slot; /* the first that could not be read, and why */
    struct ks_error why;
};

static bool count_slot(void *arg, const struct ks_token_facts *facts, const struct ks_error *unread)
{
    struct slots *slots = arg;

    if (unread == NULL) {
        slots->tokens++;
    } else if (slots->unread++ == 0) {
        slots->slot = facts->slot;
        slots->why = *unread;
    }
    return true;
}

/* A slot that cannot be read is a warning only: check_token() finds out whether it has the
 * token. */
static bool check_module(struct cmd_checks *checks, const char *name)
{
    const struct cmd_env *env = checks->env;
    const char *module = cmd_token_setting(env, name, "pkcs11-module");
    struct slots slots = {0};
    struct ks_error err;
    char shown[512];

    ks_escape(shown, sizeof(shown), module, SIZE_MAX);
    if (!ks_ok(ks_module_tokens(module, cmd_token_setting(env, name, "pkcs11-init-args"),
                                cmd_timeout(env, name), count_slot, &slots, &err))) {
        cmd_report(checks, CMD_CHECK_FAIL, "module", "%s", err.text);
        return false;
    }
    if (slots.tokens + slots.unread == 0) {
        cmd_report(
            checks, CMD_CHECK_FAIL, "module",
            "%s: loaded, but it shows no token; is the HSM connected and its service running?",
            shown);
        return false;
    }
    if (slots.unread > 0) {
        cmd_report(checks, CMD_CHECK_WARN, "module", "%s: %u slot%s cannot be read; slot %lu: %s",
                   shown, slots.unread, slots.unread == 1 ? "" : "s", slots.slot, slots.why.text);
    }
    cmd_report(checks, CMD_CHECK_OK, "module", "%s: loaded, shows %u token%s", shown, slots.tokens,
               slots.tokens == 1 ? "" : "s");
    return true;
}

/* Report what the token says of its PIN counters, before a login uses up a try. */
static bool check_token(struct cmd_checks *checks, struct ks_token *token,
                        struct ks_token_facts *facts)
{
    struct cmd_env *env = checks->env;
    char label[160], serial[80];
    struct ks_error err;

    if (!ks_ok(ks_token_facts(token, &env->opts, facts, &err))) {
        cmd_report(checks, CMD_CHECK_FAIL, "token", "%s", err.text);
        return false;
    }
    ks_escape(label, sizeof(label), facts->label, SIZE_MAX);
    ks_escape(serial, sizeof(serial), facts->serial, SIZE_MAX);
    cmd_report(checks, CMD_CHECK_OK, "token", "\"%s\", serial %s, slot %lu", label, serial,
               facts->slot);
    if (facts->user_pin_count_low && !facts->user_pin_final_try && !facts->user_pin_locked) {
        cmd_report(checks, CMD_CHECK_WARN, "token",
                   "\"%s\": a wrong PIN was given since the last login", label);
    }
    return true;
}

static bool check_login(struct cmd_checks *checks, struct ks_token *token, const char *name,
                        const struct ks_token_facts *facts)
{
    struct cmd_env *env = checks->env;
    const char *pin = cmd_token_setting(env, name, "pin");
    const bool has_pin = name != NULL ? pin != NULL : cmd_has_pin(env);
    struct ks_error err;
    char shown[512];

    if (facts->login_required && !has_pin && !facts->protected_path) {
        cmd_report(checks, CMD_CHECK_FAIL, "pin",
                   "the token wants a login, and no pin is configured; add: %s%spin = file:/PATH",
                   name != NULL ? name : "", name != NULL ? "." : "");
        return false;
    }
    if (!ks_ok(ks_token_connect(token, cmd_call_options(env, name), &err))) {
        cmd_report(checks, CMD_CHECK_FAIL, "pin", "%s%s",
                   name != NULL ? err.text : cmd_login_text(env, &err),
                   err.code == KS_PIN_REFUSED ? " (tried once; nothing else was tried)" : "");
        return false;
    }
    if (!facts->login_required) {
        cmd_report(checks, CMD_CHECK_OK, "pin", "the token wants no login");
        return true;
    }
    ks_escape(shown, sizeof(shown), facts->protected_path ? "the token's own PIN pad" : pin,
              SIZE_MAX);
    cmd_report(checks, CMD_CHECK_OK, "pin", "accepted (one login, PIN from %s)", shown);
    return true;
}

/* Where there is a time limit, find out whether the token answers at all, since the checks of the
 * details are not limited and would wait for ever. These checks report all other failures. */
static bool check_answers(struct cmd_checks *checks, struct ks_token *token, const char *name)
{
    struct ks_error err;

    if (cmd_token_setting(checks->env, name, "timeout-ms") == NULL ||
        ks_ok(ks_token_connect(token, cmd_call_options(checks->env, name), &err)) ||
        err.code != KS_TIMEOUT) {
        return true;
    }
    cmd_report(checks, CMD_CHECK_FAIL, "token", "%s", err.text);
    return false;
}

static bool check_one(struct cmd_checks *checks, struct ks_token *token, const char *name)
{
    struct ks_token_facts facts;

    checks->name = name;
    return check_answers(checks, token, name) && check_module(checks, name) &&
           check_token(checks, token, &facts) && check_login(checks, token, name, &facts);
}

/* A member that is down is a warning as long as another one is up: services that run `hsmkey check`
 * before they start can serve. */
static bool check_cluster(struct cmd_checks *checks, const struct cmd_target *target)
{
    size_t i, good = 0;

    checks->optional = true;
    for (i = 0; i < target->count; i++) {
        good += check_one(checks, target->members[i], ks_token_name(target->members[i]));
    }
    checks->optional = false;
    checks->name = target->name;
    cmd_report(checks,
               good == target->count ? CMD_CHECK_OK
               : good > 0            ? CMD_CHECK_WARN
                                     : CMD_CHECK_FAIL,
               "cluster", "%zu of %zu members can be used", good, target->count);
    return good > 0;
}

/* Check every target, whatever is wrong with the others. True if one of them can be used. */
static bool check_tokens(struct cmd_checks *checks)
{
    struct cmd_target targets[KS_GROUP_MAX];
    size_t count = cmd_targets(checks->env, targets), i, good = 0;

    for (i = 0; i < count; i++) {
        good += targets[i].cluster ? check_cluster(checks, &targets[i])
                                   : check_one(checks, targets[i].members[0], targets[i].name);
    }
    checks->name = NULL;
    return good > 0;
}

/* A program uses the module, token and PIN of the configuration. If options replace one of them,
 * keys can only be tried in this process: say so, and return true. */
static bool warn_of_replaced(struct cmd_checks *checks)
{
    const struct cmd_env *env = checks->env;

    if (env->module == NULL && env->token == NULL && env->token_name == NULL && env->pin == NULL) {
        return false;
    }
    cmd_report(checks, CMD_CHECK_WARN, "program",
               "not tried what programs can do: --module, --token or --pin stand in place of what "
               "the configuration says; keys are tried with these");
    return true;
}

static void end_child(struct cmd_checks *checks, struct cmd_child *child)
{
    char why[512];

    if (!cmd_child_end(child, why, sizeof(why))) {
        cmd_report(checks, CMD_CHECK_WARN, "program", "%s", why);
    }
}

static void run_checks(struct cmd_checks *checks, struct cmd_child *child, int files, char **paths)
{
    struct cmd_env *env = checks->env;
    bool ok;
    int i;

    ok = cmd_check_config(checks);
    cmd_check_provider(checks, child);
    /* End this process: what it has fetched would answer the fetches for keys from libcrypto's
     * cache. Keys are tried in a new one. */
    end_child(checks, child);
    if (ok && !cmd_load(env, NULL, "yes")) {
        cmd_report(checks, CMD_CHECK_FAIL, "config", "the provider does not start");
        ok = false;
    }
    if (ok && env->prov->broken != NULL) {
        cmd_report(checks, CMD_CHECK_FAIL, "config", "%s", env->prov->broken);
        ok = false;
    }
    ok = ok && check_tokens(checks);
    if (ok && files > 0 && !warn_of_replaced(checks)) {
        checks->child = child;
        checks->prompt = child->prompt = env->asked;
    }
    for (i = 0; i < files; i++) {
        if (ok) {
            cmd_check_file(checks, paths[i]);
        } else {
            char shown[512];

            ks_escape(shown, sizeof(shown), paths[i], SIZE_MAX);
            cmd_report(checks, CMD_CHECK_FAIL, "file", "%s: not checked, because of the above",
                       shown);
        }
    }
}

static int check_run(struct cmd_env *env, int argc, char **argv)
{
    static const struct option own[] = {{0}};
    struct cmd_checks checks = {.env = env};
    struct cmd_child child = {0};
    int status, files;

    if (cmd_getopt(env, argc, argv, own, &status) == CMD_STOP) {
        return status;
    }
    files = argc - optind;
    if (env->json) {
        cmd_json_open(&env->doc, NULL, '{');
        cmd_json_open(&env->doc, "checks", '[');
    }
    child.config = env->config_file;
    run_checks(&checks, &child, files, argv + optind);
    end_child(&checks, &child);
    if (env->json) {
        cmd_json_close(&env->doc, '[');
        cmd_json_bool(&env->doc, "ok", checks.failed == 0);
        cmd_json_number(&env->doc, "failed", checks.failed);
        cmd_json_number(&env->doc, "warnings", checks.warned);
        cmd_json_close(&env->doc, '{');
    }
    return checks.failed == 0 ? CMD_OK : CMD_FAILED;
}

const struct cmd cmd_check = {
    "check",
    "[FILE...]",
    "Check the configuration, the token, the PIN (one try) and key references",
    "FILE is a key reference, or any PEM file with one in it; never a configuration, which is\n"
    "named with --config. For each reference: it can be read, its key is on the\n"
    "token, the public halves match, and a program that loads the configuration can load the file\n"
    "and sign with it (or decrypt, or derive, as the key permits), which is verified in software.\n"
    "With several tokens each is checked, and named. What is wrong with a member of a cluster is\n"
    "a warning as long as another member can be used.\n"
    "Exit status: 0 if nothing failed (warnings do not count), 1 otherwise.\n",
    check_run,
};
