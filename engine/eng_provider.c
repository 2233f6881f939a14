/* SPDX-License-Identifier: Apache-2.0
 *
 * eng_provider.c - finds or loads the provider, and hands it what the engine's commands say.
 *
 * All of it is the process's: there is one provider hsm in the default library context, however
 * many ENGINE structures libcrypto makes of this file. Nothing is given back: keys outlive the
 * engine that loaded them (nginx frees its engine at once), and need the provider.
 */
#include <dlfcn.h>
#include <openssl/conf.h>
#include <openssl/core.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <pthread.h>
#include <string.h>

#include "../provider/config/cnf.h"
#include "../provider/core/control.h"
#include "eng_local.h"

static const char *const keys[ENG_SETTINGS] = {
    [ENG_MODULE_PATH] = "pkcs11-module",
    [ENG_INIT_ARGS] = "pkcs11-init-args",
    [ENG_TOKEN] = "token",
    [ENG_PIN] = "pin",
};

static struct {
    pthread_mutex_t lock;
    OSSL_PROVIDER *provider; /* NULL: not loaded through us so far */
    char *values[ENG_SETTINGS];
    bool force_login;
    char *path;                /* PROVIDER_PATH */
    bool used;                 /* a key was asked for, and the settings were good */
    const char *refused, *why; /* a command that was refused before any key was asked for */
} state = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* A forked child makes the lock anew: its owner may be a thread that only the parent has. */
void eng_provider_forked(void)
{
    pthread_mutex_init(&state.lock, NULL);
}

bool eng_is_ours(const EVP_PKEY *key)
{
    const OSSL_PROVIDER *provider = EVP_PKEY_get0_provider(key);

    return provider != NULL && strcmp(OSSL_PROVIDER_get0_name(provider), ENG_PROVIDER) == 0;
}

/* --- what openssl.cnf is going to do --------------------------------------------------------- */

/* Whether a line of the list of providers activates one that is not there yet. */
static bool line_pending(const CONF *conf, const CONF_VALUE *line)
{
    STACK_OF(CONF_VALUE) *section = NCONF_get_section(conf, line->value);
    bool activate = false;
    int i;

    for (i = 0; i < sk_CONF_VALUE_num(section); i++) {
        const CONF_VALUE *entry = sk_CONF_VALUE_value(section, i);

        if (strcmp(prov_cnf_skip_dot(entry->name), "activate") == 0)
            activate = strcmp(entry->value, "0") != 0;
    }
    return activate && !OSSL_PROVIDER_available(NULL, prov_cnf_provider_name(conf, line));
}

/* An engine may stand before the providers in openssl.cnf. Were the provider loaded now, it would
 * get neither its section nor the path in it, and come before `default`, where it takes TLS its
 * groups away. The file says what is still to come. */
static bool configuration_pending(void)
{
    char *file = CONF_get1_default_config_file();
    CONF *conf = NCONF_new(NULL);
    STACK_OF(CONF_VALUE) *providers = NULL;
    bool pending = false;
    int i;

    ERR_set_mark();
    if (file == NULL || conf == NULL || NCONF_load(conf, file, NULL) <= 0)
        goto out;
    providers = prov_cnf_providers(conf);
    for (i = 0; i < sk_CONF_VALUE_num(providers); i++)
        pending = pending || line_pending(conf, sk_CONF_VALUE_value(providers, i));
out:
    ERR_pop_to_mark();
    NCONF_free(conf);
    OPENSSL_free(file);
    return pending;
}

/* --- loading --------------------------------------------------------------------------------- */

/* Make the file that PROVIDER_PATH names known to libcrypto under the provider's name. Setting the
 * search path would do so as well, but all providers share that path, and OpenSSL 3.0 cannot tell
 * what it was before. */
static int add_by_path(const char *path)
{
    OSSL_provider_init_fn *init = NULL;
    char shown[ENG_SHOWN];
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    void *symbol = object != NULL ? dlsym(object, "OSSL_provider_init") : NULL;

    if (symbol == NULL) {
        eng_raise(ENG_R_PROVIDER, "PROVIDER_PATH: %s", eng_escape(shown, sizeof(shown), dlerror()));
        if (object != NULL)
            dlclose(object);
        return 0;
    }
    memcpy(&init, &symbol, sizeof(init)); /* POSIX, not ISO C, lets a pointer be a function */
    return OSSL_PROVIDER_add_builtin(NULL, ENG_PROVIDER, init);
}

static int count(OSSL_PROVIDER *provider, void *number)
{
    (void)provider;
    ++*(int *)number;
    return 1;
}

/* Load the provider behind `default`. A program that asks for nothing in particular gets the
 * algorithms of the first provider, and ours refuses what is not for an HSM. The caller holds the
 * lock. */
static OSSL_PROVIDER *load_behind_default(void)
{
    OSSL_PROVIDER *place = NULL, *provider;
    int number = 0;

    /* `default`, the fallback, has to be loaded first and has to stay. Where nothing else was
     * configured, a walk over all providers loads it. */
    (void)OSSL_PROVIDER_do_all(NULL, count, &number);
    /* libcrypto loads no fallback in a program that loads providers itself, and openssl.cnf,
     * which binds this engine, may be read before the program has loaded the first. A provider
     * that is unloaded keeps its place in libcrypto's list: so `default` gets its place now, and
     * the program decides whether `default` comes to be used. */
    if (number == 0)
        place = OSSL_PROVIDER_try_load(NULL, "default", 1);
    provider = OSSL_PROVIDER_try_load(NULL, ENG_PROVIDER, 1);
    if (place != NULL)
        (void)OSSL_PROVIDER_unload(place);
    return provider;
}

/* Load the provider, if it is not loaded. The caller holds the lock. */
static int load(void)
{
    if (state.provider != NULL)
        return 1;
    if (state.path != NULL && !OSSL_PROVIDER_available(NULL, ENG_PROVIDER) &&
        !add_by_path(state.path))
        return 0;
    state.provider = load_behind_default();
    if (state.provider == NULL) {
        eng_raise(ENG_R_PROVIDER,
                  "the provider %s cannot be loaded: its hsm.so has to be in OPENSSL_MODULES or %s "
                  "(or give its path: `module` in its section of openssl.cnf, or the engine "
                  "command PROVIDER_PATH)",
                  ENG_PROVIDER, OPENSSL_info(OPENSSL_INFO_MODULES_DIR));
        return 0;
    }
    return 1;
}

/* --- configuring ----------------------------------------------------------------------------- */

static prov_configure_fn *configure_entry(const OSSL_PROVIDER *provider)
{
    const OSSL_DISPATCH *entry = OSSL_PROVIDER_get0_dispatch(provider);

    for (; entry != NULL && entry->function_id != 0; entry++) {
        if (entry->function_id == PROV_FUNC_CONFIGURE)
            return (prov_configure_fn *)entry->function;
    }
    return NULL;
}

/* Hand the settings of the engine's commands to the provider, which is loaded. The caller holds the
 * lock. */
static int configure(void)
{
    prov_configure_fn *entry = configure_entry(state.provider);
    int prompt = state.values[ENG_MODULE_PATH] != NULL || state.force_login;
    OSSL_PARAM params[ENG_SETTINGS + 2];
    size_t i, n = 0;

    if (entry == NULL) {
        eng_raise(ENG_R_PROVIDER,
                  "the loaded provider called %s is not the one that this engine belongs to: look "
                  "at `module` in its section of openssl.cnf, and at its version",
                  ENG_PROVIDER);
        return 0;
    }
    for (i = 0; i < ENG_SETTINGS; i++) {
        if (state.values[i] != NULL)
            params[n++] = OSSL_PARAM_construct_utf8_string(keys[i], state.values[i], 0);
    }
    /* A program that uses an engine expects to be asked for the PIN. */
    params[n++] = OSSL_PARAM_construct_int(PROV_CONFIGURE_PROMPT, &prompt);
    params[n] = OSSL_PARAM_construct_end();
    return entry(OSSL_PROVIDER_get0_provider_ctx(state.provider), params);
}

/* Hand on a changed setting if the provider is loaded; if not, eng_provider() does so later. The
 * caller holds the lock. */
static int changed(void)
{
    return state.provider == NULL || configure();
}

int eng_set(enum eng_setting setting, const char *value)
{
    char *copy = OPENSSL_strdup(value), *old;
    int ok = 0;

    if (copy == NULL)
        return 0;
    pthread_mutex_lock(&state.lock);
    if (setting == ENG_PIN && state.refused != NULL && strcmp(state.refused, "PIN") == 0)
        state.refused = NULL;
    old = state.values[setting];
    state.values[setting] = copy;
    ok = changed();
    /* Reading openssl.cnf drops errors. So a bad value stays, and the first key raises its error
     * again. Once keys are in use, a bad value is dropped, or it would break what works. */
    if (!ok && state.used) {
        state.values[setting] = old;
        old = copy;
    }
    OPENSSL_free(old);
    pthread_mutex_unlock(&state.lock);
    return ok;
}

int eng_force_login(void)
{
    bool old;
    int ok;

    pthread_mutex_lock(&state.lock);
    old = state.force_login;
    state.force_login = true;
    ok = changed();
    if (!ok && state.used)
        state.force_login = old;
    pthread_mutex_unlock(&state.lock);
    return ok;
}

int eng_refuse(const char *name, const char *why)
{
    pthread_mutex_lock(&state.lock);
    if (!state.used) {
        state.refused = name;
        state.why = why;
    }
    pthread_mutex_unlock(&state.lock);
    eng_raise(ENG_R_COMMAND, "%s: %s", name, why);
    return 0;
}

int eng_set_provider_path(const char *path)
{
    char *copy = OPENSSL_strdup(path);
    int ok = 0;

    if (copy == NULL)
        return 0;
    pthread_mutex_lock(&state.lock);
    if (path[0] != '/') {
        eng_raise(ENG_R_COMMAND,
                  "PROVIDER_PATH: must be the absolute path of the provider's hsm.so");
    } else if (state.provider != NULL) {
        eng_raise(ENG_R_COMMAND, "PROVIDER_PATH: the provider %s is loaded already", ENG_PROVIDER);
    } else {
        /* The path is kept even if it is wrong, so that the first key raises the error again:
         * reading openssl.cnf drops it. */
        OPENSSL_free(state.path);
        state.path = copy;
        copy = NULL;
        ok = configuration_pending() || (load() && configure());
    }
    pthread_mutex_unlock(&state.lock);
    OPENSSL_free(copy);
    return ok;
}

/* --- at each stage of an engine's life ------------------------------------------------------- */

/* Read openssl.cnf now, without the lock. libcrypto would read it at the first look for a provider,
 * and the file may bind this very engine and give it commands, which take the lock. A second call
 * does nothing, and neither does a call from within the reading. */
static void read_configuration(void)
{
    (void)OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CONFIG, NULL);
}

void eng_provider_at_bind(void)
{
    read_configuration();
    ERR_set_mark();
    pthread_mutex_lock(&state.lock);
    if (!configuration_pending())
        (void)load();
    pthread_mutex_unlock(&state.lock);
    ERR_pop_to_mark();
}

OSSL_PROVIDER *eng_provider(void)
{
    OSSL_PROVIDER *provider = NULL;

    read_configuration();
    pthread_mutex_lock(&state.lock);
    if (state.refused != NULL) {
        eng_raise(ENG_R_COMMAND, "%s: %s", state.refused, state.why);
    } else if (load() && configure()) {
        /* configure() also when no command was given: the provider reads its section again if it
         * had none when it was loaded. */
        provider = state.provider;
        state.used = true;
    }
    pthread_mutex_unlock(&state.lock);
    return provider;
}
