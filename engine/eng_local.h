/* SPDX-License-Identifier: Apache-2.0
 *
 * eng_local.h - what the files of engine/ share.
 *
 * The engine has no algorithm and no PKCS#11 of its own: it finds the provider, tells it what the
 * engine's commands say, and hands out the provider's keys. All functions return 1/0, or NULL, and
 * have raised their error then.
 */
#ifndef HSM_ENG_LOCAL_H
#define HSM_ENG_LOCAL_H

#include <openssl/engine.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <openssl/ui.h>
#include <openssl/x509.h>
#include <stdbool.h>

#define ENG_ID   "hsm"
#define ENG_NAME "keys in an HSM, through the provider hsm"
/* The provider's name, and the property of everything in it. */
#define ENG_PROVIDER      "hsm"
#define ENG_PROVIDER_ONLY "provider=hsm"

/* --- errors (eng_err.c) ---------------------------------------------------------------------- */

enum eng_reason {
    ENG_R_ID = 100,     /* asked for another engine */
    ENG_R_COMMAND,      /* an engine command that is refused */
    ENG_R_PROVIDER,     /* the provider is not there, or is another one */
    ENG_R_KEY_NAME,     /* what names the key is not understood */
    ENG_R_FILE,         /* a file that cannot be read, or holds no reference */
    ENG_R_FAKE_PEM,     /* a vendor's PEM with false private numbers */
    ENG_R_SOFTWARE_KEY, /* a private key that is not in the HSM */
    ENG_R_NOT_LOADED,   /* the provider gave nothing; its own error comes first */
};

/* Purpose: get the library number for our errors, once, and load their texts. */
void eng_err_load(void);

/* Purpose: eng_raise(reason, fmt, ...) raises one error. Strings from outside have to go through
 * eng_escape() first. */
#define eng_raise(reason, ...) ERR_raise_data(eng_err_lib(), (reason), __VA_ARGS__)
int eng_err_lib(void);

/* Purpose: copy `text` to `out` (`size` bytes with NUL) with everything but printable ASCII
 * written as \xNN, and cut off at '?': a URI's query may hold a PIN. Returns `out`. */
const char *eng_escape(char *out, size_t size, const char *text);
#define ENG_SHOWN 320

/* Purpose: a line on standard error, if VERBOSE was given. */
void eng_log(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* --- settings and the provider (eng_provider.c) ---------------------------------------------- */

enum eng_setting { ENG_MODULE_PATH, ENG_INIT_ARGS, ENG_TOKEN, ENG_PIN, ENG_SETTINGS };

/* Purpose: take the value of a command, and hand it on if the provider is there. A bad value is an
 * error again when the first key is loaded, for openssl.cnf drops errors; later than that, the
 * former value stays. */
int eng_set(enum eng_setting setting, const char *value);
int eng_force_login(void);
/* Purpose: raise why command `name` is refused (static strings), now and, if none was loaded so
 * far, for every key. Returns 0. */
int eng_refuse(const char *name, const char *why);
/* Purpose: the provider's shared object, for when it is not in OpenSSL's folder of modules. Loads
 * it, as eng_provider_at_bind() would have. */
int eng_set_provider_path(const char *path);
void eng_set_verbose(bool on);

/* Purpose: load the provider unless openssl.cnf is about to do that itself, which is then left to
 * it: the section has the module's path, its settings, and the order of providers. Says nothing
 * when it fails, the next one does. */
void eng_provider_at_bind(void);
/* Purpose: make the lock anew in a forked child: its owner may be a thread of the parent's. */
void eng_provider_forked(void);
/* Purpose: the provider, loaded by now and with our settings; NULL when that cannot be. It stays
 * loaded for ever, as keys outlive engines. */
OSSL_PROVIDER *eng_provider(void);

/* --- random numbers (eng_rand.c) ------------------------------------------------------------- */

/* Purpose: give the engine a RAND_METHOD if the provider is there and its `offload` lists rand;
 * else nothing, to be asked again. Asks nothing of the token. Raises nothing. */
void eng_offer_random(ENGINE *e);
/* Purpose: as eng_provider_forked(). */
void eng_rand_forked(void);

/* --- keys (eng_key.c, eng_file.c) ------------------------------------------------------------ */

/* Who can be asked for a PIN; both may be NULL. */
struct eng_ui {
    UI_METHOD *method;
    void *data;
};

/* Purpose: what ENGINE_load_private_key() and its kind do. `name` is a pkcs11: URI, the path of a
 * key reference, or the classic slot_N-id_HEX. */
EVP_PKEY *eng_load_private(const char *name, const struct eng_ui *ui);
EVP_PKEY *eng_load_public(const char *name, const struct eng_ui *ui);
X509 *eng_load_certificate(const char *name, const struct eng_ui *ui);

/* Purpose: the key that the reference in file `path` stands for. */
EVP_PKEY *eng_load_reference(const char *path, const struct eng_ui *ui);

/* Purpose: tell whether a key is the provider's. */
bool eng_is_ours(const EVP_PKEY *key);

#endif
