/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd.h - what the files of tools/ share: the table of verbs, the environment they run in, output.
 */
#ifndef HSM_CMD_H
#define HSM_CMD_H

#include <getopt.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/conf.h>
#include <openssl/provider.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "../provider/config/cnf.h"
#include "../provider/core/core.h"

/* Exit codes. */
enum { CMD_OK = 0, CMD_FAILED = 1, CMD_USAGE = 2 };

struct cmd_env;

/* One verb. `help` is the text about its own options and arguments, lines with newlines. */
struct cmd {
    const char *name;
    const char *arguments;
    const char *summary;
    const char *help;
    int (*run)(struct cmd_env *env, int argc, char **argv);
};

/* --- JSON and text output (cmd_out.c) -------------------------------------------------------- */

/* Writes one JSON document to memory. Output is ASCII; keys are ours and need no escaping. */
struct cmd_json {
    FILE *out;
    char *text;
    size_t len;
    unsigned depth;
    bool comma; /* the next member needs one before it */
    bool done;  /* the outermost bracket was closed */
};

/* Purpose: start and end an object ('{') or an array ('['). `key` is NULL in arrays and for the
 * outermost. */
void cmd_json_open(struct cmd_json *json, const char *key, char bracket);
void cmd_json_close(struct cmd_json *json, char bracket);
/* Purpose: members. Bytes that are not UTF-8 become U+FFFD; `len` SIZE_MAX is a C string; a NULL
 * string becomes null. */
void cmd_json_bytes(struct cmd_json *json, const char *key, const char *value, size_t len);
void cmd_json_string(struct cmd_json *json, const char *key, const char *value);
void cmd_json_bool(struct cmd_json *json, const char *key, bool value);
void cmd_json_number(struct cmd_json *json, const char *key, unsigned long value);

#define CMD_COLUMNS 8

/* A table that is printed once the width of each column is known. */
struct cmd_table {
    unsigned columns;
    size_t rows;
    size_t room;
    char **cells; /* rows * columns */
};

/* Purpose: add a row of copies; cells must be escaped already. False without memory. */
bool cmd_table_row(struct cmd_table *table, const char *const *cells);
void cmd_table_print(const struct cmd_table *table, FILE *out);
void cmd_table_clear(struct cmd_table *table);

/* Purpose: print "hsmkey: <text>" to stderr, and keep the first for the JSON document. */
void cmd_error(struct cmd_env *env, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Purpose: the same with the keystore's error, or with what is in OpenSSL's error queue (which is
 * emptied), behind `what`; `advice` may be NULL. */
void cmd_error_ks(struct cmd_env *env, const char *what, const struct ks_error *err);
void cmd_error_openssl(struct cmd_env *env, const char *what);
/* Purpose: the error queue as one line: the hsm provider's own errors if there are any, else
 * everything. Empties the queue. */
void cmd_queue_text(char *out, size_t size);

/* Purpose: a usage error, with the pointer to --help. Returns CMD_USAGE. */
int cmd_usage(struct cmd_env *env, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* --- configuration (cmd_config.c) ------------------------------------------------------------ */

/* The provider's section of openssl.cnf, as libcrypto would hand it to the provider. */
struct cmd_config {
    char *path;    /* the file that was read; NULL: there is none */
    bool chosen;   /* by --config or OPENSSL_CONF, so it has to exist */
    CONF *conf;    /* NULL: no such file */
    char *section; /* the provider's section; NULL: the file has none */
};

/* Purpose: read the file. A missing default file is success. False, and a line in `why`, on
 * failure. Released with cmd_config_clear() in either case. */
bool cmd_config_load(struct cmd_config *config, const char *path, char *why, size_t why_size);
/* Purpose: call `visit` for the lines of named tokens, NAME.KEY. */
void cmd_config_each_dotted(const struct cmd_config *config,
                            void (*visit)(const char *key, const char *value));
void cmd_config_clear(struct cmd_config *config);

/* Purpose: the value of a key in the provider's section, NULL if it has none (or if libcrypto
 * would take the value for the name of a section). */
const char *cmd_config_get(const struct cmd_config *config, const char *key);

/* --- the environment of a verb (hsmkey.c, cmd_open.c) ---------------------------------------- */

struct cmd_env {
    const struct cmd *cmd;    /* NULL before the verb is known */
    void (*print_help)(void); /* prints the list of verbs, before the verb is known */
    const char *config_file;
    const char *module, *token, *pin; /* options; NULL: not given */
    const char *token_name;           /* --token NAME instead of a URI; `token` is NULL then */
    char uri_pin[1024];               /* what `pin` points to if it comes from a URI */
    bool json;
    struct cmd_json doc;
    char *error; /* the first error, for the JSON document */
    struct option options[32];

    struct cmd_config config;
    OSSL_LIB_CTX *libctx;
    OSSL_PROVIDER *software, *hsm;
    struct prov_ctx *prov; /* of the built-in provider */
    struct ks_prompt prompt;
    struct ks_call_options opts;
    bool asked; /* a person at the terminal was asked for a PIN */
};

/* Purpose: where --token is not a URI, take it for the name of a configured token
 * (env->token_name), and use that token alone. The configuration has been read. False, and a line
 * in `why`, when no token has that name. */
bool cmd_take_name(struct cmd_env *env, char *why, size_t why_size);

/* Purpose: getopt_long() for the options of a verb (`own`, which ends with a zero row and has
 * values above 0), which also takes care of the common options. Returns a value from `own`; CMD_END
 * when arguments start at optind; or CMD_STOP when the verb has to return *status (help was
 * printed, or an option is wrong). */
#define CMD_END  (-1)
#define CMD_STOP (-2)
/* Purpose: the common options before the verb. False: the program is to end with *status. */
bool cmd_getopt_common(struct cmd_env *env, int argc, char **argv, int *status);
extern const char cmd_common_help[]; /* of the options that all verbs have */
int cmd_getopt(struct cmd_env *env, int argc, char **argv, const struct option *own, int *status);

/* Purpose: the effective value of a setting: from an option, or else from the section, or else the
 * tool's own default. NULL: it is not set. */
const char *cmd_setting(const struct cmd_env *env, const char *key);

/* Purpose: tell whether an option or the configuration says where the PIN comes from. */
bool cmd_has_pin(const struct cmd_env *env);

/* Purpose: read the configuration, without looking at its values. Prints what is wrong. */
bool cmd_read(struct cmd_env *env);
/* Purpose: check the values of the configuration as the provider would. */
bool cmd_valid(const struct cmd_env *env, char *why, size_t why_size);
/* Purpose: cmd_read(), cmd_valid(), and load the built-in provider with these settings.
 * `offload` and `check_at_load` win over the configuration when they are not NULL. */
bool cmd_open(struct cmd_env *env, const char *offload, const char *check_at_load);
/* Purpose: load the built-in provider, and check nothing. The caller has read the configuration,
 * which may turn out to be broken (env->prov->broken). */
bool cmd_load(struct cmd_env *env, const char *offload, const char *check_at_load);
void cmd_close(struct cmd_env *env);

/* Purpose: parse a URI from the command line. Its pin-source, if any, counts as --pin. Prints what
 * is wrong. */
bool cmd_take_uri(struct cmd_env *env, const char *text, struct ks_uri **uri);

/* Purpose: the call options for the token `name` (NULL: the only one). They carry the PIN prompt
 * only with pin = prompt, because timeout-ms is not enforced while a person is asked. */
const struct ks_call_options *cmd_call_options(const struct cmd_env *env, const char *name);

/* Purpose: the timeout-ms of the token `name` (NULL: the only one); 0: none. */
unsigned cmd_timeout(const struct cmd_env *env, const char *name);

/* Purpose: ask the person at the terminal for a PIN, as ks_prompt wants it; `arg` is the cmd_env,
 * or NULL. False when there is nobody. */
bool cmd_ask_pin(void *arg, const char *what, char *pin, size_t size, size_t *len);

/* Purpose: log in. Prints what is wrong. */
bool cmd_connect(struct cmd_env *env);

/* One of the independent holders of keys that a verb goes through: a token, or a cluster. */
struct cmd_target {
    const char *name; /* as configured; NULL: the only token, which has no name of its own */
    bool cluster;
    struct ks_token *const *members; /* of a single token: itself */
    size_t count;
};

/* Purpose: list the tokens and clusters of the loaded provider's configuration, in its order.
 * Returns how many there are. */
size_t cmd_targets(const struct cmd_env *env, struct cmd_target targets[KS_GROUP_MAX]);

/* Purpose: a message about the token `name` (NULL: the only one) without the name that the keystore
 * puts in front of it. For callers that show the name themselves. */
const char *cmd_without_name(const char *name, const char *text);

/* Purpose: the effective value of `key` for the token that the configuration calls `name`; NULL is
 * the only token. */
const char *cmd_token_setting(const struct cmd_env *env, const char *name, const char *key);
/* Purpose: what is wrong when ks_token_connect() fails, in this program's words. */
const char *cmd_login_text(const struct cmd_env *env, const struct ks_error *err);

/* --- small things (cmd_text.c) --------------------------------------------------------------- */

/* Purpose: "rsa:2048", "ec:P-256" and its kind for an object. Returns `out`. */
const char *cmd_key_type(const struct ks_object *object, char *out, size_t size);
const char *cmd_pkey_type(const EVP_PKEY *pkey, char *out, size_t size);
/* Purpose: lower-case hexadecimal. Returns `out`; too long ends in "...". */
const char *cmd_hex(const unsigned char *in, size_t len, char *out, size_t size);
/* Purpose: a copy of bytes, released with free(). `out`: the address of a pointer of any type, left
 * alone (as is *out_len) when `in` is NULL. False: out of memory. */
bool cmd_copy(void *out, size_t *out_len, const void *in, size_t len);
/* Purpose: the URI of a token, or of an object with its token before it. False: `out` is "". */
bool cmd_token_uri(const struct ks_token_facts *facts, char *out, size_t size);
bool cmd_object_uri(const struct ks_object *object, const struct ks_token_facts *facts, char *out,
                    size_t size);

#define CMD_URI_SIZE 1024

/* --- files that are read (cmd_read.c) -------------------------------------------------------- */

struct cmd_bytes {
    char *data; /* with a NUL behind; NULL: nothing */
    size_t len;
};

#define CMD_READ_MAX  (16 << 20)
#define CMD_READ_NULL 1U /* /dev/null is an empty file, as people name it for "no configuration" */

/* Purpose: read the whole of a plain file of at most CMD_READ_MAX bytes. Everything that this tool
 * reads comes through here: FIFOs, devices, folders and files of the kernel are refused without
 * waiting and without reading. False, and a reason without the path in `why`, on failure. The bytes
 * are wiped and freed with cmd_bytes_clear(), in either case. */
bool cmd_read_file(const char *path, unsigned flags, struct cmd_bytes *out, char *why,
                   size_t why_size);
void cmd_bytes_clear(struct cmd_bytes *bytes);
/* Purpose: a memory BIO over the bytes, which have to stay; NULL without memory. */
BIO *cmd_bytes_bio(const struct cmd_bytes *bytes);

/* --- files that appear whole or not at all (cmd_file.c) -------------------------------------- */

struct cmd_file {
    const char *path;
    char *name; /* within dir */
    char temp[64];
    int dir, fd;
    bool force;
};

/* Purpose: make sure that `path` can be created, by opening its folder and a temporary file in it
 * with mode 0600. An existing file is an error unless `force`; a symbolic link or anything but a
 * plain file always is. "-" is standard output. Prints what is wrong. */
bool cmd_file_begin(struct cmd_env *env, struct cmd_file *file, const char *path, bool force);
/* Purpose: write, flush to disk and give the file its name; never replaces a file that appeared
 * meanwhile unless `force`. False with errno's text in `why`. Ends with cmd_file_end() anyway. */
bool cmd_file_commit(struct cmd_file *file, const void *data, size_t len, char *why,
                     size_t why_size);
/* Purpose: remove what is left of an attempt. Harmless after a commit, and on {.fd = -1}. */
void cmd_file_end(struct cmd_file *file);

#define CMD_FILE_NONE                                                                              \
    {                                                                                              \
        .dir = -1, .fd = -1                                                                        \
    }

/* --- references (cmd_reference.c) ------------------------------------------------------------ */

/* Purpose: PEM of a reference's PKCS#8 DER in a new memory BIO; NULL without memory. */
BIO *cmd_reference_pem(const unsigned char *der, size_t len);

/* Purpose: read a vendor's fake PEM (see engine/fakepem.h); `*modulus` is freed with BN_free().
 * Then find the one private key on the token that has the modulus, and put its URI to `uri`
 * (`size` bytes with NUL); the token is connected. Both print what is wrong (cmd_fromfake.c). */
bool cmd_fake_read(struct cmd_env *env, const char *path, BIGNUM **modulus);
bool cmd_fake_find(struct cmd_env *env, const char *path, const BIGNUM *modulus, char *uri,
                   size_t size);

/* --- checks (cmd_check.c, cmd_checkconf.c, cmd_checkprog.c, cmd_checkref.c) ------------------ */

enum cmd_verdict { CMD_CHECK_OK, CMD_CHECK_WARN, CMD_CHECK_FAIL };

struct cmd_child;

struct cmd_checks {
    struct cmd_env *env;
    unsigned failed, warned;
    const char *name; /* of the token or cluster that is being checked; NULL: none has one */
    bool optional;    /* another member of its cluster may do instead: a failure is a warning */
    struct cmd_child *child; /* the process that tries keys; NULL: keys are tried in this
                              * process, as options replace what programs read (cmd_trial.h) */
    bool prompt;             /* the PIN is a person's */
};

/* Purpose: report one check, as text at once, or into the JSON document. */
void cmd_report(struct cmd_checks *checks, enum cmd_verdict verdict, const char *name,
                const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Purpose: check all of the configuration that can be checked without asking a token. False when
 * the later checks would be of no use. */
bool cmd_check_config(struct cmd_checks *checks);
/* Purpose: check that hsm.so is where programs will look for it, that it can be loaded, and that
 * programs find what is in it. `child` is such a program. */
void cmd_check_provider(struct cmd_checks *checks, struct cmd_child *child);
/* Purpose: say what in the configuration keeps programs from loading keys, and what to do about
 * it. `state` is what a program has found (CMD_STATE_...). `out` is "" if nothing keeps them
 * from it. */
void cmd_check_hint(const struct cmd_config *config, unsigned state, char *out, size_t size);
/* Purpose: check one file with a key reference. The caller has connected the token. */
void cmd_check_file(struct cmd_checks *checks, const char *path);

/* --- verbs ----------------------------------------------------------------------------------- */

extern const struct cmd cmd_tokens, cmd_list, cmd_generate, cmd_reference, cmd_policy, cmd_check,
    cmd_cluster, cmd_stats;

#endif
