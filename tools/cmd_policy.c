/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_policy.c - hsmkey policy: what the provider would do for each operation class, and why. The
 * decision is provider/key/policy.c's.
 */
#include <stdint.h>
#include <stdio.h>

#include "../provider/key/policy.h"
#include "cmd.h"

#define NAMES_SIZE 200

/* One class with its outcome. */
struct outcome {
    enum prov_operation class;
    bool listed;
    bool hsm;
    bool unknown;  /* the token does not say what it has; `why` does */
    unsigned have; /* mechanisms of prov_needs that the token has, one bit each */
    char why[NAMES_SIZE + sizeof(((struct ks_error *)NULL)->text)];
};

static const char *word(const struct outcome *out)
{
    return out->unknown ? "unknown" : out->hsm ? "HSM" : "refused";
}

static void decide(struct cmd_env *env, enum prov_operation class, struct outcome *out)
{
    const struct prov_ctx *prov = env->prov;
    const struct prov_need *need = &prov_needs[class];
    char names[NAMES_SIZE], line[160];
    struct ks_error err;

    out->class = class;
    out->listed = (prov->config.offload & 1U << (unsigned)class) != 0;
    out->unknown = !ks_ok(prov_class_mechanisms(prov, class, &out->have, &err)) && out->listed &&
                   out->have == 0;
    out->hsm = out->listed && (need->count == 0 || out->have != 0);
    if (!out->listed)
        snprintf(out->why, sizeof(out->why), "not listed; this line would allow it: %s",
                 prov_policy_line(prov->config.offload, class, line, sizeof(line)));
    else if (out->unknown)
        snprintf(out->why, sizeof(out->why), "%s", err.text);
    else if (need->count == 0)
        snprintf(out->why, sizeof(out->why), "with the token's own random numbers");
    else if (out->hsm)
        snprintf(out->why, sizeof(out->why), "with %s",
                 prov_class_mech_names(class, out->have, names, sizeof(names)));
    else
        snprintf(out->why, sizeof(out->why), "the token lacks %s%s",
                 prov_class_mech_names(class, ~0U, names, sizeof(names)),
                 need->count > 1 ? " (one of them would do)" : "");
}

static void as_json(struct cmd_json *json, const struct outcome *out)
{
    const struct prov_need *need = &prov_needs[out->class];
    unsigned i;

    cmd_json_open(json, NULL, '{');
    cmd_json_string(json, "class", prov_class_names[out->class]);
    cmd_json_bool(json, "listed", out->listed);
    cmd_json_string(json, "outcome", word(out));
    cmd_json_string(json, "why", out->why);
    cmd_json_open(json, "mechanisms", '[');
    for (i = 0; i < need->count; i++) {
        if ((out->have & 1U << i) != 0)
            cmd_json_string(json, NULL, ks_mech_name(need->kinds[i]));
    }
    cmd_json_close(json, '[');
    cmd_json_open(json, "lacking", '[');
    for (i = 0; i < need->count; i++) {
        if ((out->have & 1U << i) == 0)
            cmd_json_string(json, NULL, ks_mech_name(need->kinds[i]));
    }
    cmd_json_close(json, '[');
    cmd_json_close(json, '{');
}

static void print_head(struct cmd_env *env, const char *uri)
{
    const char *keys = env->prov->config.refuse_software_keys ? "refuse" : "allow";

    if (!env->json) {
        printf("token: %s\nsoftware-private-keys: %s\n\n", uri, keys);
        return;
    }
    cmd_json_open(&env->doc, NULL, '{');
    cmd_json_string(&env->doc, "token", uri);
    cmd_json_string(&env->doc, "software-private-keys", keys);
    cmd_json_open(&env->doc, "classes", '[');
}

/* What no `offload` can change. */
static void print_not_asked(struct cmd_env *env)
{
    const struct prov_not_asked *row;

    if (!env->json)
        printf("\nA key that is to be made on the HSM is made there or refused, by name and from "
               "parameters.\nlibcrypto does not ask the HSM, and makes a software key, with:\n");
    else
        cmd_json_open(&env->doc, "not-asked", '[');
    for (row = prov_not_asked; row->way != NULL; row++) {
        if (!env->json) {
            printf("  %s\n    (%s)\n", row->way, row->why);
            continue;
        }
        cmd_json_open(&env->doc, NULL, '{');
        cmd_json_string(&env->doc, "way", row->way);
        cmd_json_string(&env->doc, "why", row->why);
        cmd_json_close(&env->doc, '{');
    }
    if (env->json)
        cmd_json_close(&env->doc, '[');
}

static int policy_run(struct cmd_env *env, int argc, char **argv)
{
    static const struct option own[] = {{0}};
    static const char *const head[] = {"CLASS", "OUTCOME", "WHY"};
    struct cmd_table table = {.columns = 3};
    struct outcome outcomes[PROV_CLASSES] = {{0}};
    struct ks_token_facts facts;
    char uri[CMD_URI_SIZE] = "";
    bool unknown = false;
    struct ks_error err;
    int status = CMD_FAILED;
    unsigned i;

    if (cmd_getopt(env, argc, argv, own, &status) == CMD_STOP)
        return status;
    if (optind != argc)
        return cmd_usage(env, "takes no arguments");
    if (!cmd_open(env, NULL, NULL) || !cmd_connect(env))
        goto out;
    if (!ks_ok(ks_token_facts(env->prov->token, &env->opts, &facts, &err))) {
        cmd_error_ks(env, NULL, &err);
        goto out;
    }
    for (i = 0; i < PROV_CLASSES; i++) {
        decide(env, (enum prov_operation)i, &outcomes[i]);
        unknown = unknown || outcomes[i].unknown;
    }
    cmd_token_uri(&facts, uri, sizeof(uri));
    print_head(env, uri);
    if (!env->json && !cmd_table_row(&table, head))
        goto memory;
    for (i = 0; i < PROV_CLASSES; i++) {
        const char *cells[] = {prov_class_names[i], word(&outcomes[i]), outcomes[i].why};

        if (env->json)
            as_json(&env->doc, &outcomes[i]);
        else if (!cmd_table_row(&table, cells))
            goto memory;
    }
    if (env->json)
        cmd_json_close(&env->doc, '[');
    else
        cmd_table_print(&table, stdout);
    print_not_asked(env);
    if (env->json)
        cmd_json_close(&env->doc, '{');
    status = unknown ? CMD_FAILED : CMD_OK;
    goto out;
memory:
    cmd_error(env, "out of memory");
out:
    cmd_table_clear(&table);
    return status;
}

const struct cmd cmd_policy = {
    "policy",
    "",
    "Show which operations run on the HSM, which are refused, and why",
    "Prints every operation class for the configured token: HSM, or refused because it is not\n"
    "listed in offload or because the token lacks the mechanism. Nothing runs in software.\n"
    "Then the ways to make a key in which libcrypto does not ask the HSM.\n"
    "Exit status: 0, or 1 also when the token does not say what it has (\"unknown\").\n",
    policy_run,
};
