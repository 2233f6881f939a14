/* SPDX-License-Identifier: Apache-2.0
 *
 * prov_local.h - what the files of provider/ share. Functions return 1/0 as OpenSSL's callbacks
 * do, and have raised their error when they return 0 or NULL, unless their comment says else.
 */
#ifndef HSM_PROV_LOCAL_H
#define HSM_PROV_LOCAL_H

#include <openssl/core.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/types.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "../keystore/keystore.h"

#define PROV_NAME "hsm"
/* What every algorithm of ours is registered with. */
#define PROV_PROPERTIES "provider=hsm"
/* Software work on public parts, and hashing, must never come back to us. Merged by libcrypto
 * with the library context's default properties, so that fips=yes there stays in force. */
#define PROV_NOT_US "provider!=hsm"

/* --- key types ------------------------------------------------------------------------------- */

enum prov_key_type { PROV_RSA, PROV_RSA_PSS, PROV_EC, PROV_ED25519, PROV_ED448, PROV_KEY_TYPES };

/* The private arc for key references, 2.25.<UUID b291fade-7c3b-4ae2-9bc6-66e689d76d81>. One OID
 * per key type; never reuse or reorder. Text stays under libcrypto's 50 characters. */
#define PROV_OID_ARC     "2.25.237360554523703387943816228194110369153"
#define PROV_OID_RSA     PROV_OID_ARC ".1"
#define PROV_OID_RSA_PSS PROV_OID_ARC ".2"
#define PROV_OID_EC      PROV_OID_ARC ".3"
#define PROV_OID_ED25519 PROV_OID_ARC ".4"
#define PROV_OID_ED448   PROV_OID_ARC ".5"

/* The names under which keymgmt, encoders and decoders of a type are registered. The OID has to
 * be among the keymgmt's names, or the PEM decoder of OpenSSL 3.5 and later finds no keymgmt. */
#define PROV_NAMES_RSA     "RSA:rsaEncryption:1.2.840.113549.1.1.1:" PROV_OID_RSA
#define PROV_NAMES_RSA_PSS "RSA-PSS:RSASSA-PSS:1.2.840.113549.1.1.10:" PROV_OID_RSA_PSS
#define PROV_NAMES_EC      "EC:id-ecPublicKey:1.2.840.10045.2.1:" PROV_OID_EC
#define PROV_NAMES_ED25519 "ED25519:1.3.101.112:" PROV_OID_ED25519
#define PROV_NAMES_ED448   "ED448:1.3.101.113:" PROV_OID_ED448

/* The names of what our keys sign, decrypt and agree with (query_operation_name). No other provider
 * has them, so that libcrypto does not first take the algorithm of another one and have the key
 * exported to it, which we refuse: rows of their own in algorithms.c, as a second name in the row
 * of "RSA" would make it the same algorithm. */
#define PROV_OWN_RSA     "HSM-RSA"
#define PROV_OWN_ECDSA   "HSM-ECDSA"
#define PROV_OWN_ECDH    "HSM-ECDH"
#define PROV_OWN_ED25519 "HSM-ED25519"
#define PROV_OWN_ED448   "HSM-ED448"

struct prov_type_info {
    const char *name; /* "RSA", what EVP_PKEY_is_a() is asked with */
    const char *oid;  /* the reference's OID, dotted */
    enum ks_key_type ks_type;
};
extern const struct prov_type_info prov_types[PROV_KEY_TYPES];

/* --- errors (core/errors.c) ------------------------------------------------------------------- */

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

/* --- configuration and policy (config/parse.c, key/policy.c) ---------------------------------- */

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

/* Purpose: refuse (raise, return 0) when the configuration is broken, does not offload `class`, or
 * when the token has no mechanism for it. `key` is named in the error, and may be NULL. Called at
 * init of every operation: the token is asked once for a class that it can do. */
int prov_permits(const struct prov_ctx *ctx, enum prov_operation class, const struct prov_key *key);

/* Purpose: refuse (raise, return 0) when the configuration is broken. */
int prov_usable(const struct prov_ctx *ctx);

/* What a class can be done with: any one mechanism will do; none needed (count 0): none to lack.
 * The one table for refusals, and for hsmkey policy. */
#define PROV_NEEDS_MAX 5
struct prov_need {
    enum ks_mech_kind kinds[PROV_NEEDS_MAX];
    unsigned count;
};
extern const struct prov_need prov_needs[PROV_CLASSES];

/* Purpose: which of the mechanisms of prov_needs[class] the token lists: bit n for kinds[n]. The
 * digest that stands for the hash-and-sign kinds is SHA-256. Raises nothing. */
ks_status prov_class_mechanisms(const struct prov_ctx *ctx, enum prov_operation class,
                                unsigned *listed, struct ks_error *err);

/* Purpose: the names of those mechanisms of a class that are in the set (`bits` as above), in
 * `out`. Returns `out`. */
const char *prov_class_mech_names(enum prov_operation class, unsigned bits, char *out, size_t size);

/* Ways to have a key made in which libcrypto does not ask us, although the HSM was asked for: the
 * key is a software key. For hsmkey policy; tests/unit/generation_table.h has all ways. */
struct prov_not_asked {
    const char *way;
    const char *why;
};
extern const struct prov_not_asked prov_not_asked[]; /* ends with a NULL way */

/* Purpose: the line that would allow `class` besides what is allowed. Returns `out`. */
const char *prov_policy_line(const struct prov_ctx *ctx, enum prov_operation class, char *out,
                             size_t size);

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

/* The keys of the provider's section, one row each; hsmkey check and the man page use it too. */
struct prov_config_key {
    const char *name;
    const char *help;
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

/* Purpose: look for keys that a provider cannot see (libcrypto hands over only what is asked
 * for): find the section of the provider called `name` in the configuration file `file`, and
 * report a key there that is neither ours nor libcrypto's, and a value that is a section's name
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

/* --- the provider's context (provider.c) ----------------------------------------------------- */

/* How many threads may empty the application's cache of fetches at once. */
#define PROV_THROWERS 4

/* What is known of that cache; core/fetch_cache.c. */
struct prov_fetch_cache {
    OSSL_LIB_CTX *libctx; /* the application's; NULL: it has another libcrypto */
    atomic_uint misses;   /* fetches that were not in it since it was emptied last, about */
    atomic_bool known;    /* it was emptied once: `misses` counts from then */
    atomic_uint rightful; /* key types that are answered by us because we come first */
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
    struct prov_watch *watch;       /* statistics and log; core/stats.c */
    OSSL_FUNC_core_get_params_fn *core_get_params;
    OSSL_FUNC_core_new_error_fn *core_new_error;
    OSSL_FUNC_core_set_error_debug_fn *core_set_error_debug;
    OSSL_FUNC_core_vset_error_fn *core_vset_error;
};

/* Purpose: find the application's library context, among the core's functions. */
void prov_fetch_cache_init(struct prov_ctx *ctx, const OSSL_DISPATCH *in);
/* Purpose: called when libcrypto asks for algorithms, which it does for what is not in its cache:
 * keeps the others' key managements before ours. */
void prov_fetch_missed(struct prov_ctx *ctx, int operation_id);
/* Purpose: called when libcrypto has fetched a key management of ours for an operation. Costs a
 * look at a thread-local flag, unless it was not in the cache. */
void prov_fetched(struct prov_ctx *ctx);
/* Purpose: called before libcrypto may fetch one for a key. */
void prov_fetch_expected(void);
/* Purpose: query_operation_name(): the name that our keys give for an operation: `own`, which is
 * nobody else's, so that libcrypto does not first go to another provider; or the `common` one,
 * where its cache cannot be kept in order. */
const char *prov_operation_name(const char *own, const char *common);

/* Purpose: fill ctx->config and ctx->token, or ctx->broken; and empty them again (core/control.c).
 * Returns 0, with nothing raised, only when memory is out. */
int prov_configure(struct prov_ctx *ctx);
void prov_unconfigure(struct prov_ctx *ctx);
void prov_supplied_free(struct prov_ctx *ctx);

/* Purpose: turn on what ctx->config says of statistics and log, and off again (core/stats.c). Start
 * returns 0 with a sentence in `why`; raises nothing. Stop before the token is freed. */
int prov_watch_start(struct prov_ctx *ctx, char *why, size_t why_size);
extern bool prov_watch_no_file; /* hsmkey: statistics are about services */
/* The same for the process in which hsmkey check does what a program does: in its environment. */
#define PROV_ENV_TRIAL "HSMKEY_TRIAL"
void prov_watch_stop(struct prov_ctx *ctx);
/* Purpose: answer the provider parameter "hsm-stats": a pointer to a text that stays valid until
 * the same thread asks again or ends, or a copy, as the caller wants it. */
#define PROV_PARAM_STATS "hsm-stats"
int prov_stats(struct prov_ctx *ctx, OSSL_PARAM *p);
/* Purpose: count and log that an operation of `class` was refused; raises nothing. */
void prov_note_refused(const struct prov_ctx *ctx, enum prov_operation class,
                       const struct prov_key *key, const char *why);

/* Purpose: make our locks anew in a forked child: their owners may be threads of the parent's. */
void prov_configure_forked(void);
void prov_children_forked(void);
/* Purpose: libcrypto is about to clean up: keep all providers of ours, with their library contexts,
 * until the process is gone. Whoever has a key may free it at any time after that. */
void prov_children_keep(void);

/* Purpose: the engine's ways in, see core/control.h. */
int prov_configure_entry(void *provctx, const OSSL_PARAM params[]);
int prov_slot(struct prov_ctx *ctx, OSSL_PARAM *p);

/* The provider's entry, also linked into hsmkey as a built-in. */
__attribute__((visibility("default"))) int OSSL_provider_init(const OSSL_CORE_HANDLE *handle,
                                                              const OSSL_DISPATCH *in,
                                                              const OSSL_DISPATCH **out,
                                                              void **provctx);

/* Purpose: the algorithms of one operation (algorithms.c). */
const OSSL_ALGORITHM *prov_algorithms(const struct prov_ctx *ctx, int operation_id);

/* --- prompts (core/prompt.c) ------------------------------------------------------------------ */

/* Bridges OpenSSL's passphrase callback to the keystore's. Lives on the caller's stack. */
struct prov_prompt {
    struct ks_prompt ks;
    struct ks_call_options opts; /* give &p.how to the keystore */
    OSSL_PASSPHRASE_CALLBACK *cb;
    void *cbarg;
};
void prov_prompt_init(struct prov_prompt *p, OSSL_PASSPHRASE_CALLBACK *cb, void *cbarg);

/* --- key references (key/reference.c) --------------------------------------------------------- */

/* A parsed reference, plain data; nothing of it has been checked against a token. */
struct prov_ref {
    enum prov_key_type type; /* only with has_public */
    bool has_public;         /* false: a foreign URI-only PEM */
    bool skipped;            /* of another type than was asked for: nothing but `type` is set */
    char *uri;               /* checked with KS_URI_REFERENCE; a foreign one: KS_URI_FOREIGN */
    unsigned char *id;
    size_t id_len;
    EVP_PKEY *pub; /* in the provider's library context; NULL without has_public */
};

/* Purpose: parse DER that may be a reference: a PKCS#8 PrivateKeyInfo with one of our OIDs, the
 * bare HSMKeyReference inside it, or the foreign "PKCS#11 Provider URI" SEQUENCE.
 * `*is_ours` tells whether the DER claims to be a reference at all: when it is false nothing was
 * raised; when it is true and NULL is returned, the error was. Freed with prov_ref_free(). */
struct prov_ref *prov_ref_from_der(const struct prov_ctx *ctx, const unsigned char *der, size_t len,
                                   bool *is_ours);
/* Purpose: the same for one who can use keys of one type only: when a reference says that its key
 * is of another one, the rest of it is not looked at, and the result has `skipped`. */
struct prov_ref *prov_ref_from_der_of(const struct prov_ctx *ctx, const unsigned char *der,
                                      size_t len, enum prov_key_type type, bool *is_ours);
void prov_ref_free(struct prov_ref *ref);

/* Purpose: tell whether DER claims to be a reference; its first PROV_REF_HEAD bytes do. Raises
 * nothing. */
#define PROV_REF_HEAD 64
bool prov_ref_claims(const unsigned char *der, size_t len);

/* The most DER that a reference may have. */
#define PROV_REF_MAX ((size_t)64 * 1024)

/* Purpose: the PKCS#8 DER of a reference to `key`'s private half. `*der` is freed with
 * OPENSSL_free(). */
int prov_ref_to_der(const struct prov_key *key, unsigned char **der, size_t *len);

/* --- what keys need from the operations' files ----------------------------------------------- */

/* Purpose: wipe and free prov_key.ir_secret; NULL is allowed (key/padding.c). */
void prov_ir_secret_free(void *secret);

/* The largest ECDSA signature, of P-521, as r || s and as DER. */
#define PROV_ECDSA_RAW_MAX ((size_t)2 * 66)
#define PROV_ECDSA_DER_MAX (PROV_ECDSA_RAW_MAX + 16)

/* Purpose: r || s, each half of `raw_len` bytes, as the DER of Ecdsa-Sig-Value (RFC 3279, 2.2.3).
 * `der` has room for PROV_ECDSA_DER_MAX bytes. Returns the length; 0 if that failed, also where
 * `raw` is too long (signature/common.c). */
size_t prov_ecdsa_to_der(const uint8_t *raw, size_t raw_len, unsigned char *der);
/* Purpose: verify r || s in software with the key `key`, a struct prov_key; raises nothing
 * (signature/common.c). */
bool prov_ecdsa_verify_raw(void *key, const uint8_t *digest, size_t digest_len,
                           const uint8_t *signature, size_t signature_len);
/* Purpose: the same for EdDSA, over a message (signature/eddsa.c). */
bool prov_eddsa_verify_raw(void *key, const uint8_t *message, size_t message_len,
                           const uint8_t *signature, size_t signature_len);

/* --- is it the key of this public half? (key/proof.c) ----------------------------------------- */

/* Purpose: what struct ks_expect wants of us, done in software with the public half. `key` is a
 * struct prov_key. They raise nothing. */
bool prov_proof_verify(void *key, const struct ks_mech *mech, const uint8_t *in, size_t in_len,
                       const uint8_t *signature, size_t signature_len);
bool prov_proof_challenge(void *key, const struct ks_mech *mech, uint8_t *in, size_t *in_len,
                          uint8_t *answer, size_t *answer_len);
/* Purpose: whether a SubjectPublicKeyInfo is another key's; not if it cannot be read. */
bool prov_proof_other_spki(const struct prov_key *key, const uint8_t *der, size_t len);

/* --- ASYNC_JOBs (core/async.c) ---------------------------------------------------------------- */

/* What the keystore is told of them. */
extern const struct ks_pauser prov_async_pauser;

/* Purpose: between the two, which may be nested, an operation of this thread does not pause the
 * job that it is in: a lock is held that another job on this thread may want. */
void prov_async_hold(void);
void prov_async_release(void);

/* --- curves and public halves (key/public.c) ------------------------------------------------ */

/* The curves that keys on a token may have. Other curves work with public keys only. */
struct prov_curve {
    const char *name;         /* what libcrypto calls the group: "prime256v1" */
    const char *nist;         /* "P-256", or NULL */
    const char *secg;         /* "secp256r1" */
    const char *dotted;       /* the OID */
    const unsigned char *der; /* the OID in DER: CKA_EC_PARAMS */
    size_t der_len;
    size_t field; /* bytes of a coordinate, and of the order */
};
/* Purpose: the row for a group's name (any of its four) or for CKA_EC_PARAMS; NULL, with nothing
 * raised, when it is not one of ours. */
const struct prov_curve *prov_curve_by_name(const char *name);
const struct prov_curve *prov_curve_by_der(const unsigned char *der, size_t len);
/* Purpose: the curve of an EC public half; NULL, nothing raised, as above. */
const struct prov_curve *prov_curve_of(EVP_PKEY *pub);

/* The Edwards curves: what CKA_EC_PARAMS may be for each. */
struct prov_edwards {
    const unsigned char *oid; /* RFC 8410 and PKCS#11 3.1, in DER */
    size_t oid_len;
    const unsigned char *name; /* PKCS#11 3.0: a PrintableString, in DER */
    size_t name_len;
    size_t public_len; /* of a public key */
};
/* Purpose: the row of PROV_ED25519 or PROV_ED448; NULL for another type. */
const struct prov_edwards *prov_edwards_of(enum prov_key_type type);
/* Purpose: which of the two an object on a token is; false: neither. */
bool prov_edwards_type(const struct ks_object *object, enum prov_key_type *type);

/* Purpose: make a public half in software from numbers (big-endian), from an encoded point, or
 * from an Edwards key's raw bytes. */
EVP_PKEY *prov_public_rsa(const struct prov_ctx *ctx, const uint8_t *n, size_t n_len,
                          const uint8_t *e, size_t e_len);
EVP_PKEY *prov_public_ec(const struct prov_ctx *ctx, const struct prov_curve *curve,
                         const uint8_t *point, size_t point_len);
EVP_PKEY *prov_public_raw(const struct prov_ctx *ctx, enum prov_key_type type, const uint8_t *raw,
                          size_t raw_len);
/* Purpose: the same from a SubjectPublicKeyInfo in DER of the plain shape: RSA numbers, an
 * uncompressed point on a curve that we know, an Edwards key; of what type it is goes to `*type`.
 * `*plain` false: it has another shape, and nothing was raised. NULL with `*plain`: raised. */
EVP_PKEY *prov_spki_read(const struct prov_ctx *ctx, const unsigned char *der, size_t len,
                         enum prov_key_type *type, bool *plain);
/* Purpose: the same from any SubjectPublicKeyInfo, and from import's parameters of a type
 * (`selection` is EVP_PKEY_PUBLIC_KEY or EVP_PKEY_KEY_PARAMETERS). */
EVP_PKEY *prov_public_spki(const struct prov_ctx *ctx, const uint8_t *der, size_t len);
EVP_PKEY *prov_public_params(const struct prov_ctx *ctx, enum prov_key_type type, int selection,
                             const OSSL_PARAM params[]);

/* Purpose: where that failed: raise that nobody but us has keys of type `name`, in software, if
 * that is so. False, nothing raised, when somebody has. */
bool prov_raise_no_software(const struct prov_ctx *ctx, const char *name);

/* Purpose: the other way: modulus without leading zeros, uncompressed point, or raw bytes. NULL,
 * nothing raised, when it has none. Freed with OPENSSL_free(). */
unsigned char *prov_key_public_part(EVP_PKEY *pub, size_t *len);

/* Purpose: the public half that a public key object or certificate object holds. */
EVP_PKEY *prov_public_object(const struct prov_ctx *ctx, const struct ks_object *object);
/* Purpose: the public half that a certificate gives to an EC or Edwards private key whose token
 * does not show the point; NULL, nothing raised, when it is damaged or of another curve. */
EVP_PKEY *prov_public_certificate(const struct prov_ctx *ctx, const struct ks_object *key,
                                  const uint8_t *der, size_t len);
/* Purpose: the public half of a private key, from what the token tells: RSA numbers; for EC the
 * point, a certificate with the same id, or CKA_PUBLIC_KEY_INFO, in that order. `uri` names the
 * key in the error. Asks the token for certificates. */
EVP_PKEY *prov_public_private(const struct prov_ctx *ctx, struct ks_key *priv, const char *uri);

/* --- keys (key/key.c) ----------------------------------------------------------------------- */

/* What keymgmt's keydata points to. Immutable once it is shared, but for what is found out later
 * and published by compare-and-swap: `priv` of a key that was loaded lazily, and `ir_secret`. No
 * lock: a token is asked for both, and a child that is forked meanwhile would find it locked for
 * ever. */
struct prov_key {
    atomic_int refs;
    struct prov_ctx *ctx;
    enum prov_key_type type;
    EVP_PKEY *pub;   /* the public half, a software key in ctx->libctx; never NULL in use */
    bool has_public; /* false: `pub` holds EC domain parameters only, or is NULL */
    bool has_private;
    bool software; /* the private half was a software key's and has been left out: not usable */
    const char *refused;    /* keymgmt/refused.c: the type's name; `type` is PROV_KEY_TYPES then */
    struct ks_key *priv;    /* NULL while lazy, or without private half: use prov_key_private() */
    struct prov_ref *ref;   /* the reference a lazy key came from, else NULL */
    char *uri;              /* as a reference would have it, for messages and encoders */
    void *ir_secret;        /* implicit rejection: 32 bytes in secure memory, asymcipher/rsa.c */
    atomic_uint mechanisms; /* what the token's list says of each ks_mech_kind: prov_key_can() */
};

/* Purpose: an empty key of `type` with one reference. */
struct prov_key *prov_key_new(struct prov_ctx *ctx, enum prov_key_type type);
struct prov_key *prov_key_ref(struct prov_key *key);
void prov_key_free(struct prov_key *key);

/* Purpose: the key that `ref` points to: finds it on the token and compares the public halves, or
 * (check-key-at-load = no, and the reference has a public half) only notes it. */
struct prov_key *prov_key_from_ref(struct prov_ctx *ctx, const struct prov_ref *ref,
                                   const struct ks_call_options *opts);

/* Purpose: raise that `key` is a software key, which software-private-keys = refuse forbids. */
void prov_raise_software_key(const struct prov_key *key);

/* Purpose: wrap a private key that was found on or generated in the token; takes over the
 * reference to `priv` on success. `pub` is the public half if the caller has it (up-ref'd), NULL
 * for what prov_public_private() finds. */
struct prov_key *prov_key_from_ks(struct prov_ctx *ctx, struct ks_key *priv, EVP_PKEY *pub);

/* Purpose: a public-only key from a token's public object or a certificate object. */
struct prov_key *prov_key_from_object(struct prov_ctx *ctx, const struct ks_object *object);

/* Purpose: hold a key of the token against key->pub, now and whenever it is found again: what it
 * shows, or else its first result (key/proof.c). `key` must outlive the use of `priv`. Refuses
 * (raises) a key that is another one, and curves that we do not have. */
int prov_key_expect(struct prov_key *key, struct ks_key *priv);

/* Purpose: tell whether the key waits for its first use (check-key-at-load = no). */
bool prov_key_unseen(const struct prov_key *key);

/* Purpose: the keystore key, which a lazy key finds now. Raises when there is no private half. */
struct ks_key *prov_key_private(struct prov_key *key, const struct ks_call_options *opts);

/* Purpose: tell whether the key's token lists a mechanism (not a _HASH kind), asking it once per
 * key. True as well when the token cannot be asked now: the operation itself will say why. */
bool prov_key_can(struct prov_key *key, struct ks_key *priv, enum ks_mech_kind kind);

/* What decoder and store hand to keymgmt's load() by reference: OSSL_OBJECT_PARAM_REFERENCE is
 * the address of a `struct prov_load *`. load() takes what it uses and sets it to NULL; the
 * producer frees the rest. */
struct prov_load {
    struct prov_ctx *ctx; /* load() has no other way to it */
    struct prov_key *key; /* ready, or NULL */
    struct prov_ref *ref; /* still to be looked up by load(), or NULL */
    bool failed;          /* looking it up has failed already: load() raises `err`, if not KS_OK */
    struct ks_error err;
};

/* --- digests (core/digest.c) ------------------------------------------------------------------ */

/* One row per digest that we sign with or use in MGF1. */
struct prov_digest {
    const char *name; /* "SHA2-256", what EVP_MD_fetch is called with */
    int nid;
    enum ks_digest ks;
    size_t size;
};

/* Purpose: the row for a digest's name or alias; NULL (nothing raised) when we do not have it. */
const struct prov_digest *prov_digest_by_name(const struct prov_ctx *ctx, const char *name);
const struct prov_digest *prov_digest_by_ks(enum ks_digest ks);
/* Purpose: fetch the library context's own implementation, never ours; freed with EVP_MD_free. */
EVP_MD *prov_digest_fetch(const struct prov_ctx *ctx, const struct prov_digest *digest,
                          const char *propq);

/* --- random numbers (rand/rand.c) ------------------------------------------------------------- */

/* Purpose: have libcrypto decide now who serves RAND_bytes(). SoftHSM makes the rdrand engine,
 * where libcrypto has it, the whole process's generator when it is initialised; without this the
 * application's random numbers would come from there, whatever is configured. */
void prov_rand_keep_method(void);

/* --- our library context (core/child_context.c) ----------------------------------------------- */

/* Purpose: a child of the application's library context, as OSSL_LIB_CTX_new_child() makes it, that
 * may be freed after its parent. `*link` goes with it. NULL without memory. */
OSSL_LIB_CTX *prov_child_new(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in,
                             struct prov_link **link);
/* Purpose: free it; both may be NULL. */
void prov_child_free(OSSL_LIB_CTX *child, struct prov_link *link);

/* --- libcrypto (core/check_libcrypto.c) ------------------------------------------------------- */

/* Purpose: whether all functions of libcrypto that we use come from the same one; if not, `why`
 * says which do not. Calls nothing of libcrypto. */
bool prov_one_libcrypto(char *why, size_t room);

/* --- dispatch tables, one per file ----------------------------------------------------------- */

extern const OSSL_DISPATCH prov_keymgmt_rsa[];
extern const OSSL_DISPATCH prov_keymgmt_rsa_pss[];
extern const OSSL_DISPATCH prov_keymgmt_ec[];
extern const OSSL_DISPATCH prov_keymgmt_ed25519[];
extern const OSSL_DISPATCH prov_keymgmt_ed448[];
#define REFUSED(id, name, others) extern const OSSL_DISPATCH prov_refused_##id[];
#define REFUSED_SIGNS             REFUSED
#include "keymgmt/refused.def"
#undef REFUSED
#undef REFUSED_SIGNS
extern const OSSL_DISPATCH prov_signature_refused[];
extern const OSSL_DISPATCH prov_asymcipher_refused[];
extern const OSSL_DISPATCH prov_signature_rsa[];
extern const OSSL_DISPATCH prov_signature_ecdsa[];
extern const OSSL_DISPATCH prov_signature_ed25519[];
extern const OSSL_DISPATCH prov_signature_ed448[];
extern const OSSL_DISPATCH prov_keyexch_ecdh[];
extern const OSSL_DISPATCH prov_asymcipher_rsa[];
extern const OSSL_DISPATCH prov_store[];
extern const OSSL_DISPATCH prov_rand[];
/* decoders: input=der,structure=PrivateKeyInfo (one a type), and input=pem for the PEM labels that
 * libcrypto does not know */
extern const OSSL_DISPATCH prov_decoder_der_rsa[];
extern const OSSL_DISPATCH prov_decoder_der_rsa_pss[];
extern const OSSL_DISPATCH prov_decoder_der_ec[];
extern const OSSL_DISPATCH prov_decoder_der_ed25519[];
extern const OSSL_DISPATCH prov_decoder_der_ed448[];
extern const OSSL_DISPATCH prov_decoder_pem[];
/* decoders of parameters (codec/decoder_params.c): input=pem and input=der, which run before all
 * others, and one a type. The structure is a name of our own: nobody else's decoder is meant. */
#define PROV_PARAMS_STRUCTURE "hsm-parameters"
/* Purpose: whether the running libcrypto sorts decoders by how well they fit the query, from 3.5
 * on. Those of one type are of no use elsewhere. */
bool prov_decoders_are_sorted(void);
extern const OSSL_DISPATCH prov_decoder_params_pem[];
extern const OSSL_DISPATCH prov_decoder_params_der[];
extern const OSSL_DISPATCH prov_decoder_params_mark[];
extern const OSSL_DISPATCH prov_decoder_params_ec[];
extern const OSSL_DISPATCH prov_decoder_params_sm2[];
extern const OSSL_DISPATCH prov_decoder_params_dsa[];
extern const OSSL_DISPATCH prov_decoder_params_dh[];
extern const OSSL_DISPATCH prov_decoder_params_dhx[];
/* encoders, one set serves all types: PrivateKeyInfo and SubjectPublicKeyInfo in der and pem,
 * and text; "type-specific" and EncryptedPrivateKeyInfo are there to refuse with the reason */
extern const OSSL_DISPATCH prov_encoder_pki_der[];
extern const OSSL_DISPATCH prov_encoder_pki_pem[];
extern const OSSL_DISPATCH prov_encoder_spki_der[];
extern const OSSL_DISPATCH prov_encoder_spki_pem[];
extern const OSSL_DISPATCH prov_encoder_text[];
extern const OSSL_DISPATCH prov_encoder_traditional[]; /* refuses: type-specific, pkcs1, X9.62 */
extern const OSSL_DISPATCH prov_encoder_encrypted[];   /* refuses: EncryptedPrivateKeyInfo */

#endif
