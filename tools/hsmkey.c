/* SPDX-License-Identifier: Apache-2.0
 *
 * hsmkey.c - looks after keys in a PKCS#11 token. The table of verbs.
 */
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "../provider/core/lifecycle.h"
#include "cmd_trial.h"

/* In the order in which somebody sets up a token. A new verb is a file and a line here. */
static const struct cmd *const verbs[] = {
    &cmd_tokens, &cmd_list,  &cmd_generate, &cmd_reference,
    &cmd_policy, &cmd_check, &cmd_cluster,  &cmd_stats,
};
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

static void print_help(void)
{
    printf("Usage: hsmkey [OPTION...] COMMAND [ARGUMENT...]\n\n"
           "Looks after keys that live in an HSM (a PKCS#11 token).\n\nCommands:\n");
    for (size_t i = 0; i < VERBS; i++) {
        printf("  %-10s %s\n", verbs[i]->name, verbs[i]->summary);
    }
    printf("\n%s\nhsmkey COMMAND --help says more; so do hsmkey(1) and hsm-provider(7).\n",
           cmd_common_help);
}

static const struct cmd *find_verb(const char *name)
{
    size_t i;

    for (i = 0; i < VERBS; i++) {
        if (strcmp(verbs[i]->name, name) == 0) {
            return verbs[i];
        }
    }
    return NULL;
}

static int run(struct cmd_env *env, int argc, char **argv)
{
    char shown[128];
    int status;

    if (!cmd_getopt_common(env, argc, argv, &status)) {
        return status;
    }
    if (optind >= argc) {
        return cmd_usage(env, "no command given");
    }
    argc -= optind;
    argv += optind;
    env->cmd = find_verb(argv[0]);
    if (env->cmd == NULL) {
        ks_escape(shown, sizeof(shown), argv[0], SIZE_MAX);
        return cmd_usage(env, "unknown command '%s'", shown);
    }
    return env->cmd->run(env, argc, argv);
}

int main(int argc, char **argv)
{
    struct cmd_env env = {.print_help = print_help};
    int status;

    if (argc == 2 && strcmp(argv[1], CMD_TRIAL_VERB) == 0) {
        return cmd_trial_main();
    }
    /* The default library context must not load openssl.cnf: it would bring in the real hsm.so,
     * and everything else that is activated there. */
    if (OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) != 1) {
        fprintf(stderr, "hsmkey: libcrypto cannot be initialised\n");
        return CMD_FAILED;
    }
    prov_stats_no_file = true;
    status = run(&env, argc, argv);
    cmd_close(&env);

    if (env.json && !env.doc.done && env.error != NULL) {
        struct cmd_json doc = {0};

        cmd_json_open(&doc, NULL, '{');
        cmd_json_string(&doc, "error", env.error);
        cmd_json_close(&doc, '{');
        printf("%s\n", doc.text != NULL ? doc.text : "{}");
        free(doc.text);
    } else if (env.doc.done) {
        printf("%s\n", env.doc.text);
    }
    if (env.doc.out != NULL) {
        fclose(env.doc.out);
    }
    free(env.doc.text);
    free(env.error);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "hsmkey: standard output: cannot write\n");
        status = status == CMD_OK ? CMD_FAILED : status;
    }
    return status;
}
