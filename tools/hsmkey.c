/* SPDX-License-Identifier: Apache-2.0
 *
 * hsmkey.c - looks after keys in a PKCS#11 token. The table of verbs, and the options that all of
 * them share.
 */
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "cmd_trial.h"

/* In the order in which somebody sets up a token. A new verb is a file and a line here. */
static const struct cmd *const verbs[] = {
    &cmd_tokens, &cmd_list,       &cmd_generate, &cmd_reference,
    &cmd_policy, &cmd_check_verb, &cmd_cluster,  &cmd_stats,
};
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

enum { OPT_CONFIG = 1000, OPT_MODULE, OPT_TOKEN, OPT_PIN, OPT_JSON, OPT_HELP, OPT_VERSION };

static const struct option common[] = {
    {"config", required_argument, NULL, OPT_CONFIG},
    {"module", required_argument, NULL, OPT_MODULE},
    {"token", required_argument, NULL, OPT_TOKEN},
    {"pin", required_argument, NULL, OPT_PIN},
    {"json", no_argument, NULL, OPT_JSON},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
};
#define COMMON (sizeof(common) / sizeof(common[0]))

static const char common_help[] =
    "Options of every command:\n"
    "  --config FILE   read this openssl.cnf (default: $OPENSSL_CONF, or the system's file)\n"
    "  --module M      PKCS#11 module: a path, or a file name in p11-kit's module folder\n"
    "  --token URI     the token, as \"pkcs11:token=LABEL\", or the name of a configured one\n"
    "  --pin SOURCE    file:/PATH, env:NAME or prompt; never the PIN itself\n"
    "  --json          print one JSON object\n"
    "  --help          print this\n"
    "  --version       print the version\n";

static void print_help(const struct cmd *cmd)
{
    size_t i;

    if (cmd != NULL) {
        printf("Usage: hsmkey [OPTION...] %s%s%s\n\n%s.\n%s%s\n%s", cmd->name,
               cmd->arguments[0] != '\0' ? " " : "", cmd->arguments, cmd->summary,
               cmd->help[0] != '\0' ? "\n" : "", cmd->help, common_help);
        return;
    }
    printf("Usage: hsmkey [OPTION...] COMMAND [ARGUMENT...]\n\n"
           "Looks after keys that live in an HSM (a PKCS#11 token).\n\nCommands:\n");
    for (i = 0; i < VERBS; i++) {
        printf("  %-10s %s\n", verbs[i]->name, verbs[i]->summary);
    }
    printf("\n%s\nhsmkey COMMAND --help says more; so do hsmkey(1) and hsm-provider(7).\n",
           common_help);
}

/* The value is not quoted: people write the PIN itself here. */
static int check_pin(struct cmd_env *env)
{
    if (strncmp(env->pin, "file:", 5) == 0 || strncmp(env->pin, "env:", 4) == 0 ||
        strcmp(env->pin, "prompt") == 0) {
        return CMD_OK;
    }
    return cmd_usage(env,
                     "--pin takes file:/PATH, env:NAME or prompt; a PIN itself does not belong "
                     "on a command line, where every user of this machine can read it");
}

/* Returns true if `opt` was one of ours; `*stop` tells that the program is done, with *status. */
static bool common_option(struct cmd_env *env, int opt, bool *stop, int *status)
{
    *status = CMD_OK;
    switch (opt) {
    case OPT_CONFIG:
        env->config_file = optarg;
        return true;
    case OPT_MODULE:
        env->module = optarg;
        return true;
    case OPT_TOKEN:
        env->token = optarg;
        return true;
    case OPT_PIN:
        env->pin = optarg;
        *status = check_pin(env);
        *stop = *status != CMD_OK;
        return true;
    case OPT_JSON:
        env->json = true;
        return true;
    case OPT_HELP:
        print_help(env->cmd);
        *stop = true;
        return true;
    case OPT_VERSION:
        printf("hsmkey %s (%s)\n", HSM_VERSION, OpenSSL_version(OPENSSL_VERSION));
        *stop = true;
        return true;
    default:
        return false;
    }
}

static int bad_option(struct cmd_env *env, int opt, char **argv)
{
    const char *text = argv[optind > 0 ? optind - 1 : 0];
    char shown[128], letter[2] = {(char)optopt, '\0'};

    /* getopt says which short option it was, and leaves a long one in argv. */
    if (optopt > 0 && optopt < 256) {
        text = letter;
    }
    ks_escape(shown, sizeof(shown), text, SIZE_MAX);
    if (opt == ':') {
        return cmd_usage(env, "option '%s' needs a value", shown);
    }
    return cmd_usage(env, "unknown option '%s'", shown);
}

int cmd_getopt(struct cmd_env *env, int argc, char **argv, const struct option *own, int *status)
{
    size_t n = 0, i;
    bool stop = false;
    int opt;

    if (env->options[0].name == NULL) {
        for (i = 0; i < COMMON; i++) {
            env->options[n++] = common[i];
        }
        for (i = 0; own[i].name != NULL && n < 31; i++) {
            env->options[n++] = own[i];
        }
        memset(&env->options[n], 0, sizeof(env->options[n]));
        optind = 0;
    }
    for (;;) {
        opt = getopt_long(argc, argv, ":o:h", env->options, NULL);
        if (opt == -1) {
            return CMD_END;
        }
        if (opt == ':' || opt == '?') {
            *status = bad_option(env, opt, argv);
            return CMD_STOP;
        }
        if (!common_option(env, opt == 'h' ? OPT_HELP : opt, &stop, status)) {
            for (i = 0; own[i].name != NULL; i++) {
                if (own[i].val == opt) {
                    return opt;
                }
            }
            optopt = opt;
            *status = bad_option(env, '?', argv);
            return CMD_STOP;
        }
        if (stop) {
            return CMD_STOP;
        }
    }
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
    struct option options[COMMON + 1] = {{0}};
    char shown[128];
    bool stop = false;
    int opt, status;

    memcpy(options, common, sizeof(common));
    opterr = 0;
    /* "+": stop at the verb; what follows is the verb's. */
    while ((opt = getopt_long(argc, argv, "+:h", options, NULL)) != -1) {
        if (!common_option(env, opt == 'h' ? OPT_HELP : opt, &stop, &status)) {
            return bad_option(env, opt, argv);
        }
        if (stop) {
            return status;
        }
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
    struct cmd_env env = {0};
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
    prov_watch_no_file = true;
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
