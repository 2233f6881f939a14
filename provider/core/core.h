/* SPDX-License-Identifier: Apache-2.0
 *
 * core.h - what every file above config/ works with: the provider's context, and errors.
 * Functions return 1/0 as OpenSSL's callbacks do, and have raised their error when they return 0 or
 * NULL, unless their comment says otherwise.
 */
#ifndef HSM_PROV_CORE_H
#define HSM_PROV_CORE_H

#include <openssl/core.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/types.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "../config/config.h"

#define PROV_NAME "hsm"
/* What every algorithm of ours is registered with. */
#define PROV_PROPERTIES "provider=hsm"
/* Software work on public parts, and hashing, must never come back to us. Merged by libcrypto
 * with the library context's default properties, so that fips=yes there stays in force. */
#define PROV_NOT_US "provider!=hsm"

/* --- errors (errors.c) ----------------------------------------------------------------------- */

/* Our reason codes; core/errors.c has the text of each. */
enum prov_reason {
    PROV_R_CONFIG = 1,     /* the provider's configuration is broken */
    PROV_R_POLICY,         /* the operation class is not offloaded */
    PROV_R_UNSUPPORTED,    /* key type, digest, padding ... that we do not have */
    PROV_R_PARAMETER,      /* a parameter with a bad value */
    PROV_R_NO_LABEL,       /* generation without a label */
    PROV_R_REFERENCE,      /* a key reference that is malformed or not permitted */
    PROV_R_NO_PRIVATE,     /* public key used for a private operation */
    PROV_R_PRIVATE_EXPORT, /* the private part cannot leave the HSM */
    PROV_R_ENCRYPTED,      /* encryption asked for a reference, which holds no secret */
    PROV_R_SOFTWARE,       /* a public operation in libcrypto failed */
    PROV_R_VERIFY,         /* what the token returned does not verify */
    PROV_R_DECRYPT,        /* decryption failed (the one error for that) */
    PROV_R_SOFTWARE_KEY,   /* a private key that is not in the HSM (software-private-keys) */
    PROV_R_TOKEN,          /* the keystore's KS_ codes follow: reason = PROV_R_TOKEN + code */
};

struct prov_ctx;
struct prov_key;

/* Where in the source an error was raised; made by the two macros below. */
struct prov_where {
    const char *file;
    int line;
    const char *func;
};
#define PROV_HERE                                                                                  \
    (struct prov_where)                                                                            \
    {                                                                                              \
        OPENSSL_FILE, OPENSSL_LINE, OPENSSL_FUNC                                                   \
    }

/* Purpose: prov_raise(ctx, reason, fmt, ...) raises one error with a formatted text, which has to
 * say what to do. Strings from tokens or files must have gone through ks_escape(). `ctx` may be
 * NULL where there is none: the text is then raised as libcrypto's own. */
void prov_raise_at(const struct prov_ctx *ctx, struct prov_where where, enum prov_reason reason,
                   const char *fmt, ...) __attribute__((format(printf, 4, 5)));
#define prov_raise(ctx, ...) prov_raise_at(ctx, PROV_HERE, __VA_ARGS__)

/* Purpose: prov_raise_ks(ctx, err) raises a keystore failure: its code as reason, its text as
 * data. */
void prov_raise_ks_at(const struct prov_ctx *ctx, struct prov_where where,
                      const struct ks_error *err);
#define prov_raise_ks(ctx, err) prov_raise_ks_at(ctx, PROV_HERE, err)

/* Purpose: the table for OSSL_FUNC_provider_get_reason_strings. */
const OSSL_ITEM *prov_reason_strings(void);

/* Purpose: refuse (raise, return 0) when the configuration is broken. */
int prov_usable(const struct prov_ctx *ctx);

/* --- the provider's context ------------------------------------------------------------------ */

/* How many threads may empty the application's cache of fetches at once. */
#define PROV_THROWERS 4

/* What is known of that cache; core/fetch_cache.c. */
struct prov_fetch_cache {
    const char *const *types; /* the names of the key types that are watched */
    OSSL_LIB_CTX *libctx;     /* the application's; NULL: it has another libcrypto */
    atomic_uint misses;       /* fetches that were not in it since it was emptied last, about */
    atomic_bool known;        /* it was emptied once: `misses` counts from then */
    atomic_uint rightful;     /* key types that are answered by us because we come first */
    /* For each thread that may empty it: the process in which one does, or 0; and whether its
     * provider is registered. */
    atomic_int thrower[PROV_THROWERS];
    atomic_bool registered[PROV_THROWERS];
};

struct prov_ctx {
    const OSSL_CORE_HANDLE *core;
    struct prov_fetch_cache fetched;
    OSSL_LIB_CTX *libctx;   /* a child of the application's: its providers, digests, properties */
    struct prov_link *link; /* what ties it to that; core/child_context.c */
    struct prov_config config;
    char *broken;                   /* why the configuration is unusable; NULL: it is fine */
    struct ks_token *token;         /* NULL when broken */
    bool name_token;                /* references name the token, although it is the only one */
    atomic_uint able;               /* classes that the token was found to have a mechanism for */
    struct prov_supplied *supplied; /* what the engine added; core/control.c */
    struct prov_stats *stats;       /* statistics and log; core/stats.c */
    OSSL_FUNC_core_get_params_fn *core_get_params;
    OSSL_FUNC_core_new_error_fn *core_new_error;
    OSSL_FUNC_core_set_error_debug_fn *core_set_error_debug;
    OSSL_FUNC_core_vset_error_fn *core_vset_error;
};

#endif
