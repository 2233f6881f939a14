/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_options.c - the options that all verbs share, and how a verb reads its own.
 */
#include <openssl/crypto.h>
#include <string.h>

#include "cmd.h"

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

const char cmd_common_help[] =
    "Options of every command:\n"
    "  --config FILE   read this openssl.cnf (default: $OPENSSL_CONF, or the system's file)\n"
    "  --module M      PKCS#11 module: a path, or a file name in p11-kit's module folder\n"
    "  --token URI     the token, as \"pkcs11:token=LABEL\", or the name of a configured one\n"
    "  --pin SOURCE    file:/PATH, env:NAME or prompt; never the PIN itself\n"
    "  --json          print one JSON object\n"
    "  --help          print this\n"
    "  --version       print the version\n";

static void print_help(const struct cmd_env *env)
{
    const struct cmd *cmd = env->cmd;

    if (cmd == NULL) {
        env->print_help();
        return;
    }
    printf("Usage: hsmkey [OPTION...] %s%s%s\n\n%s.\n%s%s\n%s", cmd->name,
           cmd->arguments[0] != '\0' ? " " : "", cmd->arguments, cmd->summary,
           cmd->help[0] != '\0' ? "\n" : "", cmd->help, cmd_common_help);
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
        print_help(env);
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

bool cmd_getopt_common(struct cmd_env *env, int argc, char **argv, int *status)
{
    struct option options[COMMON + 1] = {{0}};
    bool stop = false;
    int opt;

    memcpy(options, common, sizeof(common));
    opterr = 0;
    /* "+": stop at the verb; what follows is the verb's. */
    while ((opt = getopt_long(argc, argv, "+:h", options, NULL)) != -1) {
        if (!common_option(env, opt == 'h' ? OPT_HELP : opt, &stop, status)) {
            *status = bad_option(env, opt, argv);
            return false;
        }
        if (stop) {
            return false;
        }
    }
    return true;
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
