/* SPDX-License-Identifier: Apache-2.0
 *
 * config.h - the provider's section of openssl.cnf as values: parsing it, the tokens that it
 * describes, and the operation classes. Knows nothing of a provider that runs, and raises nothing:
 * errors are sentences in `why`.
 */
#ifndef HSM_PROV_CONFIG_H
#define HSM_PROV_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "../../keystore/keystore.h"

/* --- operation classes (classes.c) ----------------------------------------------------------- */

enum prov_operation {
    PROV_CLASS_RSA_SIGN,
    PROV_CLASS_RSA_OAEP,
    PROV_CLASS_RSA_PKCS1,
    PROV_CLASS_RSA_TLS,
    PROV_CLASS_EC_SIGN,
    PROV_CLASS_EC_DERIVE,
    PROV_CLASS_ED_SIGN,
    PROV_CLASS_KEYGEN,
    PROV_CLASS_RAND,
    PROV_CLASSES
};
extern const char *const prov_class_names[PROV_CLASSES];

/* Purpose: parse the value of `offload` (NULL: the default) to a set of bits 1 << prov_operation.
 * Returns 0 with a sentence in `why` when it is not valid; raises nothing. */
int prov_policy_parse(const char *value, unsigned *classes, char *why, size_t why_size);

/* Purpose: the `offload` line that would allow `class` besides the set `offload`. Returns `out`. */
const char *prov_policy_line(unsigned offload, enum prov_operation class, char *out, size_t size);

/* --- the section's values (parse.c) ---------------------------------------------------------- */

struct prov_config {
    char *module;
    char *init_args;
    char *token;
    char *pin;
    unsigned sessions;
    bool forget_pin;           /* pin-keep = no */
    unsigned timeout_ms;       /* 0: none */
    unsigned recover_ms;       /* 0: the keystore's default */
    char *tokens, *clusters;   /* lists of names, as written */
    bool check_key_at_load;    /* default yes */
    unsigned offload;          /* set of 1 << prov_operation */
    bool refuse_software_keys; /* software-private-keys = refuse; default no */
    char *stats_file;
    char *log;
    enum ks_log_level log_level; /* default info */
    bool audit;
};

/* The keys of the provider's section, one row each. `set` takes a value to its place; on a bad
 * one it returns 0 and leaves the sentence in `why`. */
struct prov_config_key {
    const char *name;
    int (*set)(struct prov_config *config, const char *value, char *why, size_t why_size);
};
extern const struct prov_config_key prov_config_keys[]; /* ends with a NULL name */

/* Purpose: fill `config` from `get`, which returns the value of a key, or NULL. On a broken
 * value returns 0 with a sentence in `why` that names the key; raises nothing. `config` is
 * released with prov_config_clear() in either case. */
int prov_config_read(struct prov_config *config, const char *(*get)(void *arg, const char *key),
                     void *arg, char *why, size_t why_size);
void prov_config_clear(struct prov_config *config);
/* Purpose: the same without overrides. */
int prov_config_parse(struct prov_config *config, const char *(*get)(void *arg, const char *key),
                      void *arg, char *why, size_t why_size);
/* Purpose: tell whether a line (NULL: there is none) says nothing. An empty `pin` or `token`, also
 * as NAME.KEY, takes back what an included file says; other keys cannot be empty. */
bool prov_config_unset(const char *key, const char *value);
/* Purpose: the override of a key, or NULL. */
const char *prov_config_overridden(const char *key);

/* Purpose: the token, set or cluster that the configuration describes (config/tokens.c); `get` has
 * the values of NAME.KEY. On failure NULL, with a sentence in `why`; raises nothing. Calls nothing
 * in PKCS#11. */
struct ks_token *prov_config_token(const char *name, const struct prov_config *config,
                                   const char *(*get)(void *arg, const char *key), void *arg,
                                   char *why, size_t why_size);
/* Purpose: tell whether `list`, the value of `tokens` (NULL: empty), has that name in it. */
bool prov_config_lists(const char *list, const char *name);
/* Purpose: tell whether `key` is a line of a token that the configuration names. */
bool prov_config_dotted_key(const char *key, const char *(*get)(void *arg, const char *key),
                            void *arg);
/* Purpose: the effective value of `key` for the named token `name`: its own, or the section's where
 * that counts for it. */
const char *prov_config_of_token(const char *name, const char *key,
                                 const char *(*get)(void *arg, const char *key), void *arg);

/* Purpose: find keys that a provider cannot see, because libcrypto hands over only the keys that
 * are asked for: find the section of the provider called `name` in the configuration file `file`,
 * and report a key there that is neither ours nor libcrypto's, and a value that is a section's name
 * as well (libcrypto would take that section's lines instead of the value). Returns 1 when all is
 * well, 0 with a sentence in `why` that names key and section, -1 (`why` says it) when the file
 * cannot be read or has no such section. Raises nothing. */
int prov_config_check_file(const char *file, const char *name, char *why, size_t why_size);

/* Purpose: the same for the default configuration file (OPENSSL_CONF, or libcrypto's own), at
 * load. When that file is not where the values of `get` came from, there is nothing to check and
 * the answer is 1. */
int prov_config_check_default(const char *name, const char *(*get)(void *arg, const char *key),
                              void *arg, char *why, size_t why_size);

/* Purpose: values that win over the configuration file, for hsmkey, which links the provider in.
 * Set before the provider is loaded; `value` must stay valid, NULL takes it back. Those that there
 * is no room for are an error of the configuration. Not thread-safe. */
void prov_config_override(const char *key, const char *value);

#endif
