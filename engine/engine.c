/* SPDX-License-Identifier: Apache-2.0
 *
 * engine.c - the ENGINE "hsm": its commands, and what it hands on to the provider.
 *
 * It has no RSA, EC or pkey methods: keys that it loads are the provider's own and find their way
 * there by themselves, while methods would force them onto libcrypto's legacy path.
 */
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "eng_local.h"

/* --- commands -------------------------------------------------------------------------------- */

enum command {
    CMD_PROVIDER_PATH = ENGINE_CMD_BASE,
    CMD_MODULE_PATH,
    CMD_INIT_ARGS,
    CMD_TOKEN,
    CMD_PIN,
    CMD_FORCE_LOGIN,
    CMD_VERBOSE,
    CMD_QUIET,
    CMD_LOAD_CERT_CTRL,
    CMD_SET_USER_INTERFACE,
    CMD_SET_CALLBACK_DATA,
    CMD_SO_PATH,
    CMD_DEBUG_LEVEL,
    CMD_RE_ENUMERATE,
    CMD_VLOG_A,
};

/* In the order of their numbers: libcrypto takes the first as the lowest. */
static const ENGINE_CMD_DEFN commands[] = {
    {CMD_PROVIDER_PATH, "PROVIDER_PATH",
     "The provider's hsm.so, if it is not in OpenSSL's folder of modules", ENGINE_CMD_FLAG_STRING},
    {CMD_MODULE_PATH, "MODULE_PATH", "The PKCS#11 module (pkcs11-module of the provider)",
     ENGINE_CMD_FLAG_STRING},
    {CMD_INIT_ARGS, "INIT_ARGS", "A string for C_Initialize (pkcs11-init-args of the provider)",
     ENGINE_CMD_FLAG_STRING},
    {CMD_TOKEN, "TOKEN", "The token, as a pkcs11: URI (token of the provider)",
     ENGINE_CMD_FLAG_STRING},
    {CMD_PIN, "PIN",
     "Where the PIN comes from: file:/PATH, env:NAME or prompt (pin of the provider)",
     ENGINE_CMD_FLAG_STRING},
    {CMD_FORCE_LOGIN, "FORCE_LOGIN", "Ask for the PIN if nothing says where it comes from",
     ENGINE_CMD_FLAG_NO_INPUT},
    {CMD_VERBOSE, "VERBOSE", "Say on standard error what is loaded", ENGINE_CMD_FLAG_NO_INPUT},
    {CMD_QUIET, "QUIET", "Take VERBOSE back", ENGINE_CMD_FLAG_NO_INPUT},
    {CMD_LOAD_CERT_CTRL, "LOAD_CERT_CTRL", "Get a certificate from the token",
     ENGINE_CMD_FLAG_INTERNAL},
    {CMD_SET_USER_INTERFACE, "SET_USER_INTERFACE", "The UI_METHOD to ask for a PIN with",
     ENGINE_CMD_FLAG_INTERNAL},
    {CMD_SET_CALLBACK_DATA, "SET_CALLBACK_DATA", "The data for that UI_METHOD",
     ENGINE_CMD_FLAG_INTERNAL},
    {CMD_SO_PATH, "SO_PATH", "Refused: it is a command of the engine `dynamic`",
     ENGINE_CMD_FLAG_STRING},
    {CMD_DEBUG_LEVEL, "DEBUG_LEVEL", "Refused: the log is the provider's", ENGINE_CMD_FLAG_NUMERIC},
    {CMD_RE_ENUMERATE, "RE_ENUMERATE", "Nothing: tokens are looked for whenever a key is loaded",
     ENGINE_CMD_FLAG_NO_INPUT},
    {CMD_VLOG_A, "VLOG_A", "Refused: the log is the provider's", ENGINE_CMD_FLAG_INTERNAL},
    {0, NULL, NULL, 0},
};

/* Whoever asks a person for PINs when the call for a key names nobody. Programs set it before they
 * load keys. */
static struct eng_ui user;

/* LOAD_CERT_CTRL's argument, as libp11's engine has it. */
struct load_cert {
    const char *name;
    X509 *certificate;
};

/* Raise a program's own mistake. Unlike after eng_refuse(), keys can still be loaded. */
static int bad_call(const char *name, const char *why)
{
    eng_raise(ENG_R_COMMAND, "%s: %s", name, why);
    return 0;
}

static int set_pin(const char *value)
{
    if ((strncmp(value, "file:/", 6) == 0 && value[6] != '\0') ||
        (strncmp(value, "env:", 4) == 0 && value[4] != '\0') || strcmp(value, "prompt") == 0)
        return eng_set(ENG_PIN, value);
    /* The value is not shown. */
    return eng_refuse("PIN",
                      "the PIN itself is not taken, as others can read the file that it would "
                      "be in; put it into a file of mode 0400 and write PIN = file:/that/file "
                      "(or env:NAME, or prompt)");
}

static int load_certificate(struct load_cert *load)
{
    if (load == NULL || load->certificate != NULL)
        return bad_call("LOAD_CERT_CTRL", "wants a struct of a name and an X509 that is NULL");
    load->certificate = eng_load_certificate(load->name, &user);
    return load->certificate != NULL;
}

static int set_string(int cmd, const char *value)
{
    if (value == NULL || value[0] == '\0')
        return eng_refuse(commands[cmd - ENGINE_CMD_BASE].cmd_name, "has no value");
    switch (cmd) {
    case CMD_PROVIDER_PATH:
        return eng_set_provider_path(value);
    case CMD_MODULE_PATH:
        return eng_set(ENG_MODULE_PATH, value);
    case CMD_INIT_ARGS:
        return eng_set(ENG_INIT_ARGS, value);
    case CMD_TOKEN:
        return eng_set(ENG_TOKEN, value);
    default:
        return set_pin(value);
    }
}

static const char no_log[] =
    "the log is the provider's: log and log-level in its section of openssl.cnf; errors are in "
    "OpenSSL's queue, and VERBOSE says what is loaded";

static int command(int cmd, void *p)
{
    switch (cmd) {
    case CMD_PROVIDER_PATH:
    case CMD_MODULE_PATH:
    case CMD_INIT_ARGS:
    case CMD_TOKEN:
    case CMD_PIN:
        return set_string(cmd, p);
    case CMD_FORCE_LOGIN:
        return eng_force_login();
    case CMD_VERBOSE:
    case CMD_QUIET:
        eng_set_verbose(cmd == CMD_VERBOSE);
        return 1;
    case CMD_LOAD_CERT_CTRL:
        return load_certificate(p);
    case CMD_SET_USER_INTERFACE:
    case ENGINE_CTRL_SET_USER_INTERFACE:
        user.method = p;
        return 1;
    case CMD_SET_CALLBACK_DATA:
    case ENGINE_CTRL_SET_CALLBACK_DATA:
        user.data = p;
        return 1;
    case CMD_SO_PATH:
        return eng_refuse("SO_PATH", "a command of the engine `dynamic`; this engine is loaded "
                                     "(PROVIDER_PATH names the provider, MODULE_PATH the PKCS#11 "
                                     "module)");
    case CMD_DEBUG_LEVEL:
        return eng_refuse("DEBUG_LEVEL", no_log);
    case CMD_VLOG_A:
        return bad_call("VLOG_A", no_log);
    case CMD_RE_ENUMERATE:
        return 1; /* tokens are looked for whenever a key is loaded */
    default:
        return 0;
    }
}

/* --- what libcrypto calls -------------------------------------------------------------------- */

static struct eng_ui asked_with(UI_METHOD *method, void *data)
{
    struct eng_ui ui = {method, data};

    return method != NULL ? ui : user;
}

/* Each command is an occasion to offer random numbers: the provider may only have them after a
 * command, or may only be loaded after the engine, if openssl.cnf has the providers behind it. */
static int ctrl(ENGINE *e, int cmd, long i, void *p, void (*f)(void))
{
    int ok = command(cmd, p);

    (void)i;
    (void)f;
    eng_offer_random(e);
    return ok;
}

static EVP_PKEY *load_private(ENGINE *e, const char *name, UI_METHOD *method, void *data)
{
    struct eng_ui ui = asked_with(method, data);
    EVP_PKEY *key = eng_load_private(name, &ui);

    eng_offer_random(e);
    return key;
}

static EVP_PKEY *load_public(ENGINE *e, const char *name, UI_METHOD *method, void *data)
{
    struct eng_ui ui = asked_with(method, data);

    (void)e;
    return eng_load_public(name, &ui);
}

static void forked(void)
{
    eng_provider_forked();
    eng_rand_forked();
}

static void once_per_process(void)
{
    (void)pthread_atfork(NULL, NULL, forked);
}

static int set_up(ENGINE *e, const char *id)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    char shown[ENG_SHOWN];

    eng_err_load();
    (void)pthread_once(&once, once_per_process);
    if (id != NULL && strcmp(id, ENG_ID) != 0) {
        eng_raise(ENG_R_ID, "engine \"%s\" was asked for, but the name of this one is \"%s\"",
                  eng_escape(shown, sizeof(shown), id), ENG_ID);
        return 0;
    }
    if (!ENGINE_set_id(e, ENG_ID) || !ENGINE_set_name(e, ENG_NAME) ||
        !ENGINE_set_ctrl_function(e, ctrl) || !ENGINE_set_cmd_defns(e, commands) ||
        !ENGINE_set_load_privkey_function(e, load_private) ||
        !ENGINE_set_load_pubkey_function(e, load_public) ||
        /* a program that calls ENGINE_register_all_complete() has not asked for the HSM's
         * numbers */
        !ENGINE_set_flags(e, ENGINE_FLAGS_NO_REGISTER_ALL))
        return 0;
    /* The provider is loaded here and not when the engine is initialised: some programs never
     * initialise an engine without methods, and yet expect to read key references then. */
    eng_provider_at_bind();
    eng_offer_random(e);
    /* nginx loads keys without ever calling ENGINE_init(). libcrypto refuses that, and with other
     * engines it takes init = 1 in openssl.cnf. This engine has nothing to initialise, so it takes
     * its functional reference itself, and keeps it. */
    return ENGINE_init(e);
}

/* --- what the dynamic loader looks for ------------------------------------------------------- */

/* These two are written out, because libcrypto's macros for them would leave them hidden, and would
 * take over the memory functions of a program with a libcrypto of its own. That program is refused
 * below: keys of one libcrypto cannot be used by another. */
__attribute__((visibility("default"))) unsigned long v_check(unsigned long version);
__attribute__((visibility("default"))) int bind_engine(ENGINE *e, const char *id,
                                                       const dynamic_fns *fns);

unsigned long v_check(unsigned long version)
{
    return version >= OSSL_DYNAMIC_OLDEST ? OSSL_DYNAMIC_VERSION : 0;
}

int bind_engine(ENGINE *e, const char *id, const dynamic_fns *fns)
{
    if (ENGINE_get_static_state() != fns->static_state) {
        /* The program would not see our error queue, as that is the other libcrypto's. */
        fprintf(stderr,
                "hsm engine: refused: this program has a libcrypto of its own, and the engine is "
                "linked with another (%s); build the engine and the provider for the program's\n",
                OpenSSL_version(OPENSSL_VERSION));
        return 0;
    }
    return set_up(e, id);
}
