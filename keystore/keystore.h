/* SPDX-License-Identifier: Apache-2.0
 *
 * keystore.h - keys that live in PKCS#11 tokens.
 *
 * This is the only header of keystore/ that other folders include. Types are opaque or plain
 * data, and no CK_ type crosses it. References to the specification are to PKCS#11 v2.40 and
 * v3.0 (OASIS) and to RFC 7512.
 *
 * Common to all functions:
 *  - a ks_status must be looked at (the compiler insists); `ks_ok()` asks it;
 *  - `err` may be NULL; otherwise it is filled on failure and untouched on success;
 *  - unless a comment says otherwise a function may be called from any thread, and again in a
 *    forked child;
 *  - sizes are bytes.
 */
#ifndef HSM_KEYSTORE_H
#define HSM_KEYSTORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KS_MUST_USE __attribute__((warn_unused_result))

/* --- status and errors ----------------------------------------------------------------------- */

enum ks_code {
#define KS_STATUS(name, text) KS_##name,
#include "base/status.def"
#undef KS_STATUS
};

/* A struct of one member, so that it can be mixed up neither with a CK_RV (0 is success) nor
 * with OpenSSL's int (0 is failure). */
typedef struct ks_status {
    enum ks_code code;
} ks_status;

static inline bool ks_ok(ks_status s)
{
    return s.code == KS_OK;
}

/* The functions of PKCS#11 that the keystore calls. */
enum ks_fn {
    KS_NO_FUNCTION,
#define KS_FUNCTION(name) KS_##name,
#include "base/functions.def"
#undef KS_FUNCTION
    KS_FUNCTIONS
};

/* Everything that there is to say about a failure. Owned by the caller, no pointers to free. */
struct ks_error {
    enum ks_code code;
    unsigned long rv;     /* the CKR_ value, 0 when the token was not asked */
    const char *rv_name;  /* "CKR_PIN_INCORRECT", static; NULL without rv */
    enum ks_fn fn;        /* KS_NO_FUNCTION without rv */
    const char *function; /* its name: "C_Login", static; NULL without rv */
    char token[160];      /* the token's label, escaped; "" when none was reached */
    char text[768];       /* one complete line for people, escaped, no secret in it */
};

/* What the text of an error says where a module's answer cannot be (KS_TOKEN). */
#define KS_MODULE_FAULT "the module is at fault"

/* Purpose: the fixed text of a code, as base/status.def has it. Returns a static string. */
const char *ks_code_text(enum ks_code code);

/* Purpose: copy `in` (`len` bytes, SIZE_MAX for a C string) to `out`, with everything but
 * printable ASCII, and the backslash, written as \xNN: labels come from strangers and end in
 * logs. `size` is the room at `out` including the final NUL; longer text ends in "...".
 * Returns `out`. */
const char *ks_escape(char *out, size_t size, const void *in, size_t len);

/* --- process-wide hooks ---------------------------------------------------------------------- */

/* Called around every call into a PKCS#11 module, on the calling thread. The provider uses them
 * to give modules that are themselves built on OpenSSL a library context of their own. `enter`
 * returns a cookie for `leave`. */
struct ks_hooks {
    void *(*enter)(void);
    void (*leave)(void *cookie);
};

/* Purpose: set the hooks, once per process before the first token is used; `hooks` must stay
 * valid for ever. Later calls with the same pointer do nothing. */
void ks_set_hooks(const struct ks_hooks *hooks);

/* For callers on a small stack that could do something else while the HSM works (an ASYNC_JOB): the
 * operation runs on a worker thread, and the caller is paused meanwhile. */
struct ks_pauser {
    /* Whether the calling thread is on such a stack now. */
    bool (*on)(void);
    /* A handle for one wait, until a moment (CLOCK_MONOTONIC, 0: none); NULL: the thread has to
     * wait. */
    void *(*begin)(uint64_t deadline_ns);
    /* Comes back once wake() was called or the moment has passed, and sometimes before. */
    void (*pause)(void *waiter);
    /* On the worker thread, with locks held: must not wait. */
    void (*wake)(void *waiter);
    /* Ends the wait. wake() is not called any more. */
    void (*end)(void *waiter);
};

/* Purpose: set it, once per process before the first token is used; must stay valid for ever. */
void ks_set_pauser(const struct ks_pauser *pauser);

/* A keyed hash (HMAC-SHA256) of `who` and then `data`, of KS_MAC_SIZE bytes, to `out`; false on
 * failure. Keeps nothing of it. Called inside the hooks. */
#define KS_MAC_SIZE 32
typedef bool ks_mac_fn(const unsigned char *key, size_t key_len, const void *who, size_t who_len,
                       const void *data, size_t len, unsigned char *out);

/* Purpose: hand in the function that PINs are remembered by once a token has refused them, once
 * per process before the first token is used. Without one, or where it fails, no other PIN is sent
 * to such a token either. */
void ks_set_mac(ks_mac_fn *mac);

/* Purpose: tell whether this thread is inside a call into a PKCS#11 module right now. */
bool ks_inside_module(void);

/* Purpose: tell whether this process, or one that it descends from, was forked while there were
 * other threads. What they had locked at that moment, in libcrypto for one, stays locked here. */
bool ks_forked_amid_threads(void);

/* Purpose: finalise every module that this process initialised, once, after waiting a bounded
 * time for calls in flight; later operations fail with KS_SHUTDOWN. Called by itself through
 * atexit(); a caller that knows of an earlier end (OPENSSL_atexit) may call it too. */
void ks_shutdown(void);

/* --- URIs (RFC 7512) ------------------------------------------------------------------------- */

struct ks_bytes {
    uint8_t *data; /* NULL: absent */
    size_t len;
};

struct ks_uri;

enum ks_uri_use {
    KS_URI_TOKEN,     /* names a token: no object attributes */
    KS_URI_REFERENCE, /* inside a key reference: token, serial, object, id, type only */
    KS_URI_FOREIGN,   /* inside other software's files: also manufacturer and model */
    KS_URI_CALLER,    /* given by the caller: also pin-source=file:/absolute */
};

enum ks_object_class { KS_CLASS_ANY, KS_CLASS_PRIVATE, KS_CLASS_PUBLIC, KS_CLASS_CERTIFICATE };

/* Purpose: parse and check `text`. Unknown attributes, pin-value, module-*, slot-*, and whatever
 * `use` does not allow, are KS_URI errors that name the attribute. `*out` is freed with
 * ks_uri_free(). */
KS_MUST_USE ks_status ks_uri_parse(const char *text, enum ks_uri_use use, struct ks_uri **out,
                                   struct ks_error *err);
void ks_uri_free(struct ks_uri *uri);

/* Purpose: the class that `type=` asks for; KS_CLASS_ANY without it. */
enum ks_object_class ks_uri_class(const struct ks_uri *uri);

/* Purpose: tell whether the URI has an `object` or `id` attribute, so names objects and not a
 * whole token. */
bool ks_uri_names_object(const struct ks_uri *uri);

/* Purpose: the decoded values of `object` and `id`, without a NUL behind them, and of `pin-source`;
 * NULL data, NULL: not there. They live as long as the URI. */
struct ks_bytes ks_uri_label(const struct ks_uri *uri);
struct ks_bytes ks_uri_id(const struct ks_uri *uri);
const char *ks_uri_pin_source(const struct ks_uri *uri);

struct ks_object;

enum ks_uri_detail {
    KS_URI_DETAIL_REFERENCE, /* object, id, type=private: what a reference holds */
    KS_URI_DETAIL_TOKEN,     /* with the token's label before it */
    KS_URI_DETAIL_FULL,      /* with the token's label and serial: what listings show */
};

/* --- tokens ---------------------------------------------------------------------------------- */

struct ks_token;

/* Asks a person for a PIN. `ask` puts at most `size` bytes (no NUL needed) to `pin` and the
 * length to `*len`; returns false when there is nobody to ask. `what` is one escaped line. */
struct ks_prompt {
    bool (*ask)(void *arg, const char *what, char *pin, size_t size, size_t *len);
    void *arg;
};

/* How a call is to be carried out; NULL means no prompt and no deadline. */
struct ks_call_options {
    const struct ks_prompt *prompt;
    uint64_t deadline_ns; /* CLOCK_MONOTONIC, 0: none. Bounds waits of ours. */
};

struct ks_token_config {
    const char *name;      /* how messages call it: the configuration section's name */
    const char *module;    /* path, or file name in p11-kit's module folder */
    const char *init_args; /* C_Initialize's reserved string; NULL: none */
    const char *token;     /* "pkcs11:..."; NULL: the only initialised token there is */
    const char *pin;       /* "file:/path", "env:NAME", "prompt"; NULL: no login with a PIN */
    unsigned sessions;     /* most sessions to keep; 0: 64, or less if the token says so */
    unsigned timeout_ms;   /* an operation ends within it, even if the module never returns;
                            * 0: no limit. Generation and deletion are not limited. */
    bool forget_pin;       /* wipe the PIN after each login, and read it again for the next one */
    unsigned recover_ms;   /* a lost module is initialised anew at most this often; 0: 1000 */
};

#define KS_SESSIONS_DEFAULT 64U
#define KS_SESSIONS_MAX     4096U

/* Purpose: check `config` and make a handle for its token. Loads nothing and calls nothing in
 * PKCS#11: that happens at first use. Handles for the same module and token share login and
 * sessions; a second one with another PIN source or session limit is a KS_CONFIG error. Copies
 * what it needs. `*out` is released with ks_token_free(). */
KS_MUST_USE ks_status ks_token_new(const struct ks_token_config *config, struct ks_token **out,
                                   struct ks_error *err);
void ks_token_free(struct ks_token *token);

enum ks_group {
    KS_GROUP_CLUSTER, /* the tokens hold the same keys: an operation runs on any of them */
    KS_GROUP_SET,     /* the tokens are independent: a key's URI decides */
};
#define KS_GROUP_MAX 16

/* Purpose: one handle for `count` tokens (1 to KS_GROUP_MAX; of a set also clusters), which it
 * takes references to.
 *
 * A cluster's key is the same one on every member: same label and id, same public half, which is
 * checked; a member without it is not used for it. Operations go to the member with the fewest in
 * flight, weighted by its latency; when that is lost or does not answer in time, to another one
 * within the same call and the same time. Lost members are tried in the background.
 *
 * Keys are not generated and not destroyed through a group: that is done on one token. */
KS_MUST_USE ks_status ks_token_group(const char *name, enum ks_group kind,
                                     struct ks_token *const members[], size_t count,
                                     struct ks_token **out, struct ks_error *err);

/* Purpose: the one token that is meant: the handle itself, or that member of a set which `uri` (may
 * be NULL) names. KS_CONFIG for a cluster, or when a set has several that match. `*out` gets a
 * reference. */
KS_MUST_USE ks_status ks_token_select(struct ks_token *token, const struct ks_call_options *opts,
                                      const struct ks_uri *uri, struct ks_token **out,
                                      struct ks_error *err);
/* Purpose: tell whether the handle stands for several tokens in this way. */
bool ks_token_is_group(const struct ks_token *token, enum ks_group kind);

/* Purpose: the tokens behind a group's handle, valid as long as it. Returns how many; 0, and leaves
 * `*members`, for a token of its own. */
size_t ks_token_members(const struct ks_token *token, struct ks_token *const **members);

/* Purpose: what the configuration calls the token; valid as long as the handle. */
const char *ks_token_name(const struct ks_token *token);

/* Purpose: load and initialise the module, find the slot and log in, as far as that has not been
 * done; everything else does it by itself. Never tries a PIN that was refused before in this
 * process, and never one when the token says that it is the final try. */
KS_MUST_USE ks_status ks_token_connect(struct ks_token *token, const struct ks_call_options *opts,
                                       struct ks_error *err);

/* Purpose: read the PIN now (of all members) if that was not done yet, without asking the token
 * anything: this process, or those that it will fork, may later lack the rights to. `how` (NULL:
 * nobody) is who can be asked for it. Errors come back at the login. Does nothing with
 * `forget_pin`. */
void ks_token_preload_pin(struct ks_token *token, const struct ks_call_options *opts);

/* Purpose: tell whether the token's module has been initialised in this process, or before it was
 * forked: from then on settings cannot change. */
bool ks_token_started(const struct ks_token *token);

/* Plain facts about a token; strings are raw (not escaped) and without PKCS#11's padding. */
struct ks_token_facts {
    char label[33];
    char manufacturer[33];
    char model[17];
    char serial[17];
    char module_library[33]; /* CK_INFO.libraryDescription; "" if the token was in use before */
    unsigned long slot;
    bool initialized;
    bool login_required;
    bool user_pin_set;
    bool user_pin_count_low;
    bool user_pin_final_try;
    bool user_pin_locked;
    bool protected_path;
    bool write_protected;
    unsigned long sessions_max; /* 0: unlimited or unknown */
};

/* Purpose: facts of the token behind `token` (connects to the slot, does not log in), within the
 * token's time. */
KS_MUST_USE ks_status ks_token_facts(struct ks_token *token, const struct ks_call_options *opts,
                                     struct ks_token_facts *out, struct ks_error *err);

/* Purpose: call `visit` for every token of a module, without login; stops when it returns false.
 * A slot that cannot be read comes with `unread`, which says why (NULL otherwise), and then only
 * the number of the slot is known of it. No tokens is success. The module is asked within
 * `timeout_ms` (0: no limit), before the first `visit`. */
KS_MUST_USE ks_status ks_module_tokens(const char *module, const char *init_args,
                                       unsigned timeout_ms,
                                       bool (*visit)(void *arg, const struct ks_token_facts *facts,
                                                     const struct ks_error *unread),
                                       void *arg, struct ks_error *err);

/* --- mechanisms ------------------------------------------------------------------------------ */

enum ks_digest {
    KS_DIGEST_NONE,
    KS_DIGEST_SHA1,
    KS_DIGEST_SHA224,
    KS_DIGEST_SHA256,
    KS_DIGEST_SHA384,
    KS_DIGEST_SHA512,
    KS_DIGEST_SHA512_224,
    KS_DIGEST_SHA512_256,
    KS_DIGEST_SHA3_224,
    KS_DIGEST_SHA3_256,
    KS_DIGEST_SHA3_384,
    KS_DIGEST_SHA3_512,
};

enum ks_mech_kind {
    KS_MECH_RSA_PKCS1, /* sign: input is the DigestInfo; decrypt: the token removes the padding */
    KS_MECH_RSA_PSS,   /* sign a digest */
    KS_MECH_RSA_OAEP,  /* decrypt */
    KS_MECH_RSA_RAW,   /* sign or decrypt one block of the modulus' size */
    KS_MECH_ECDSA,     /* sign a digest; output is r || s */
    KS_MECH_EDDSA,     /* sign a message, pure mode; output is R || S */
    KS_MECH_ECDH,      /* derive */
    KS_MECH_ECDH_COFACTOR,
    KS_MECH_RSA_KEYGEN,
    KS_MECH_EC_KEYGEN,
    KS_MECH_EDWARDS_KEYGEN,
    /* Hash and sign in the token, of a message: for tokens that lack the raw mechanism. */
    KS_MECH_RSA_PKCS1_HASH,
    KS_MECH_RSA_PSS_HASH,
    KS_MECH_ECDSA_HASH,
    KS_MECH_KINDS
};

struct ks_mech {
    enum ks_mech_kind kind;
    enum ks_digest digest; /* PSS, OAEP, and the _HASH kinds */
    enum ks_digest mgf1;   /* PSS, OAEP */
    size_t salt_len;       /* PSS */
    const uint8_t *label;  /* OAEP, borrowed */
    size_t label_len;
};

/* Purpose: tell whether the token lists the mechanism for private-key use (sign, decrypt, or
 * generate). That it takes certain parameters shows only when it is used. */
KS_MUST_USE ks_status ks_token_can(struct ks_token *token, const struct ks_call_options *opts,
                                   enum ks_mech_kind kind, bool *can, struct ks_error *err);

/* Purpose: the same for a _HASH kind with its digest. */
KS_MUST_USE ks_status ks_token_can_hash(struct ks_token *token, const struct ks_call_options *opts,
                                        enum ks_mech_kind kind, enum ks_digest digest, bool *can,
                                        struct ks_error *err);

/* Purpose: the key sizes (bits) that the token gives for a mechanism (C_GetMechanismInfo); 0 where
 * it says nothing. KS_MECHANISM when the token lacks it. */
KS_MUST_USE ks_status ks_token_key_sizes(struct ks_token *token, const struct ks_call_options *opts,
                                         enum ks_mech_kind kind, unsigned long *min,
                                         unsigned long *max, struct ks_error *err);

/* Purpose: "CKM_RSA_PKCS_PSS" and its kind, for messages. Returns a static string. */
const char *ks_mech_name(enum ks_mech_kind kind);

/* --- objects: what a token says about a key or certificate ----------------------------------- */

enum ks_key_type { KS_KEY_OTHER, KS_KEY_RSA, KS_KEY_EC, KS_KEY_EDWARDS };

/* A snapshot, plain data. Owned by whoever got it from the function that says so. */
struct ks_object {
    enum ks_object_class klass;
    enum ks_key_type type;
    char *label; /* raw bytes of CKA_LABEL with a NUL behind; NULL: absent. May hold newlines. */
    size_t label_len;
    struct ks_bytes id;
    /* RSA */
    struct ks_bytes modulus; /* big-endian, no leading zeros */
    struct ks_bytes exponent;
    /* EC and Edwards */
    struct ks_bytes ec_params; /* DER, CKA_EC_PARAMS */
    struct ks_bytes ec_point;  /* the raw point (0x04 ...), OCTET STRING wrapping removed */
    struct ks_bytes spki;      /* CKA_PUBLIC_KEY_INFO */
    struct ks_bytes value;     /* certificates: CKA_VALUE */
    /* Of a private key: modulus, or point, are not its own but those of the public object with the
     * same id. They say whose key it should be, and prove nothing. */
    bool borrowed;
    /* private keys; a flag that the token does not know is false */
    bool can_sign, can_decrypt, can_derive;
    bool sensitive, extractable, always_authenticate, local;
    /* In a listing: why it could not be read, one escaped line; then there is nothing but `klass`.
     * NULL: it was. */
    char *trouble;
    /* For ks_key_of_object() alone: where a listing found it, and whether another private key there
     * has the same label and id. */
    struct {
        struct ks_token *token; /* borrowed */
        unsigned long handle;
        uint64_t epoch;
        bool twin;
    } at;
};

void ks_object_free(struct ks_object *object);

/* Purpose: write the URI of an object. `size` is the room at `out` with NUL; an URI that does
 * not fit is KS_URI. With KS_URI_DETAIL_REFERENCE `facts` may be NULL. An object of KS_CLASS_ANY
 * without label and id gives the URI of the token itself. */
KS_MUST_USE ks_status ks_object_uri(const struct ks_object *object,
                                    const struct ks_token_facts *facts, enum ks_uri_detail detail,
                                    char *out, size_t size, struct ks_error *err);

/* Purpose: call `visit` for every private key, public key and certificate on the token that
 * matches `uri` (NULL: all of them); stops when it returns false. Private keys are completed with
 * the public object's point and exponent where the token keeps one under the same id. What could
 * not be read is shown too, with `trouble`; only when nothing could be read the call fails. The
 * number of searches does not depend on how many objects there are. The object is the visitor's
 * only during the call. Logs in when the token wants it. No match is success. */
KS_MUST_USE ks_status ks_token_objects(struct ks_token *token, const struct ks_call_options *opts,
                                       const struct ks_uri *uri,
                                       bool (*visit)(void *arg, const struct ks_object *object),
                                       void *arg, struct ks_error *err);

/* --- keys ------------------------------------------------------------------------------------ */

struct ks_key; /* a private key on a token, reference-counted */

/* Purpose: find the one private key that `uri` names. None is KS_KEY_NOT_FOUND, two are
 * KS_KEY_AMBIGUOUS and the error names both, a URI that does not match the token is
 * KS_TOKEN_NOT_FOUND. `*out` starts with one reference. */
KS_MUST_USE ks_status ks_key_find(struct ks_token *token, const struct ks_call_options *opts,
                                  const struct ks_uri *uri, struct ks_key **out,
                                  struct ks_error *err);
/* Purpose: the same for a caller who knows the public half and goes on to ks_key_expect(): the
 * token's public objects are not looked at, which costs most of the calls, and the key's object has
 * only what the private object shows itself. */
KS_MUST_USE ks_status ks_key_find_known(struct ks_token *token, const struct ks_call_options *opts,
                                        const struct ks_uri *uri, struct ks_key **out,
                                        struct ks_error *err);
/* Purpose: the private key that ks_token_objects() of the same `token` shows to its visitor,
 * without asking the token once more. KS_KEY_AMBIGUOUS when another one has the same label and id,
 * KS_URI when it has neither: such a key could not be found again. */
KS_MUST_USE ks_status ks_key_of_object(struct ks_token *token, const struct ks_object *object,
                                       struct ks_key **out, struct ks_error *err);
struct ks_key *ks_key_ref(struct ks_key *key);
void ks_key_free(struct ks_key *key);

/* Purpose: what the token says of the key; valid as long as the key, and constant. */
const struct ks_object *ks_key_object(const struct ks_key *key);

/* Purpose: the token that holds the key; valid as long as the key. */
struct ks_token *ks_key_token(const struct ks_key *key);

/* The public half that the caller expects. What the private object shows of its own (modulus,
 * point, CKA_PUBLIC_KEY_INFO) is compared now and whenever the key has to be found again (another
 * epoch): something else is KS_KEY_MISMATCH, the same is the proof. Of CKA_PUBLIC_KEY_INFO only
 * the same is recognised. Where one of the two functions is missing a public object of the same id
 * is read for a hint: another public half there is KS_KEY_MISMATCH, the same one proves nothing.
 * Where the private object shows nothing the first result is proved before anybody sees it, each
 * time that the key was found, on the token that gave it: a signature by `verify`; a decryption, a
 * derivation, or raw RSA by doing the same once more with what `challenge` makes up. A key that
 * does not pass is KS_KEY_MISMATCH. The two are called on the caller's thread, with no lock held,
 * and perhaps by several threads at once; those that are NULL are not done. */
struct ks_expect {
    const uint8_t *public_part; /* RSA: modulus without leading zeros; EC: uncompressed point */
    size_t public_len;
    /* Is `signature`, made by `mech` of what ks_sign() was given, the expected key's? */
    bool (*verify)(void *arg, const struct ks_mech *mech, const uint8_t *in, size_t in_len,
                   const uint8_t *signature, size_t signature_len);
    /* Make up an input for `mech` (RSA: what is decrypted or, raw, signed; ECDH: a peer's point),
     * and the answer that nobody but the expected key has. The lengths are the rooms, and become
     * the lengths. False when that fails. */
    bool (*challenge)(void *arg, const struct ks_mech *mech, uint8_t *in, size_t *in_len,
                      uint8_t *answer, size_t *answer_len);
    void *arg;
};

/* Purpose: set the expectation, once, before the key is shared between threads. Copies
 * `public_part`; `arg` must outlive the key's use. */
KS_MUST_USE ks_status ks_key_expect(struct ks_key *key, const struct ks_expect *expect,
                                    struct ks_error *err);

/* Purpose: find out whether the token's key is the expected one: by what it shows, and where it
 * shows nothing by an operation that the key permits and the token lists. KS_KEY_MISMATCH when it
 * is another one, KS_MECHANISM when nothing can be tried. Of a cluster one member answers. */
KS_MUST_USE ks_status ks_key_prove(struct ks_key *key, const struct ks_call_options *opts,
                                   struct ks_error *err);

/* Purpose: tell whether a token that an operation with this key may run on now lists the mechanism
 * (not a _HASH kind); of a cluster, whether one of the members that are up does. `anew`: read the
 * list again before. True as well when none can be asked. */
bool ks_key_lists(struct ks_key *key, const struct ks_call_options *opts, enum ks_mech_kind kind,
                  bool anew);

/* Purpose: remember that this key's token refused `mech` with its parameters (`set`), and ask it.
 * Small and lossy: a forgotten fact costs one refused call. What is remembered is logged. */
void ks_key_mark_refused(struct ks_key *key, const struct ks_mech *mech);
bool ks_key_is_refused(struct ks_key *key, const struct ks_mech *mech);

/* --- operations ------------------------------------------------------------------------------ */

/* Purpose: one private-key signature (C_SignInit, C_Sign). `*out_len` is the room at `out` and
 * becomes the length. RSA needs the modulus' size, ECDSA twice the order's. Raw RSA (here and in
 * ks_decrypt) is always given with the modulus' full size: zeros that a token strips are put
 * back. KS_MECHANISM when the token refuses mechanism or parameters. Safe to run again, so it is
 * retried as base/status.def says. */
KS_MUST_USE ks_status ks_sign(struct ks_key *key, const struct ks_call_options *opts,
                              const struct ks_mech *mech, const uint8_t *in, size_t in_len,
                              uint8_t *out, size_t *out_len, struct ks_error *err);

/* Purpose: one private-key decryption (C_DecryptInit, C_Decrypt). Whatever the token says about
 * the ciphertext or the padding is the one error KS_DATA, with the same text and without the
 * CKR_ value (an oracle otherwise). `out` is wiped on failure. */
KS_MUST_USE ks_status ks_decrypt(struct ks_key *key, const struct ks_call_options *opts,
                                 const struct ks_mech *mech, const uint8_t *in, size_t in_len,
                                 uint8_t *out, size_t *out_len, struct ks_error *err);

/* The most bytes of a message that a _HASH kind or EdDSA takes: some modules sign only the
 * beginning of longer ones and say OK. */
#define KS_MESSAGE_MAX 16384U

/* Purpose: ECDH with the private key (C_DeriveKey), the raw shared secret without any KDF.
 * `peer` is the other side's uncompressed point. `*out_len` is the room at `out`, which must be
 * the field's size at least, and becomes the length: always the field's size. The derived key is
 * a session object that is read once and destroyed, on every path; if it cannot be destroyed its
 * session is closed. The caller wipes `out`. */
KS_MUST_USE ks_status ks_derive(struct ks_key *key, const struct ks_call_options *opts,
                                bool cofactor, const uint8_t *peer, size_t peer_len, uint8_t *out,
                                size_t *out_len, struct ks_error *err);

struct ks_generate_spec {
    enum ks_key_type type;
    unsigned rsa_bits;
    uint8_t rsa_exponent[8];  /* big-endian */
    size_t rsa_exponent_len;  /* 0: 65537 */
    const uint8_t *ec_params; /* DER of the curve's OID, borrowed; EC and Edwards */
    size_t ec_params_len;
    const uint8_t *ec_params_else; /* for tokens that refuse the former; NULL: nothing else */
    size_t ec_params_else_len;
    const char *label; /* required */
    const uint8_t *id; /* NULL: 16 random bytes */
    size_t id_len;
    bool sign, decrypt, derive;
    bool extractable;
};

/* Purpose: generate a key pair on the token (C_GenerateKeyPair), sensitive and, unless asked
 * otherwise, not extractable. A private or public key with the same label or id is
 * KS_KEY_EXISTS. Reads the new key's attributes back; if it is not what was asked for, both
 * halves are destroyed and the call fails. Nothing is destroyed that may be somebody else's: where
 * an answer was lost and the id is not a random one, the error says what to look for. Never
 * retried. */
KS_MUST_USE ks_status ks_generate(struct ks_token *token, const struct ks_call_options *opts,
                                  const struct ks_generate_spec *spec, struct ks_key **out,
                                  struct ks_error *err);

/* Purpose: destroy the key and its public object: of those with the same id and label the one that
 * ks_generate() was given, or whose public half is the key's. For a generation that turns out
 * unusable, and is nobody else's: the expectation's functions are not called any more. A key that
 * was found again and cannot be told from another one is left alone: KS_KEY_MISMATCH. */
KS_MUST_USE ks_status ks_key_destroy(struct ks_key *key, const struct ks_call_options *opts,
                                     struct ks_error *err);

/* Purpose: `len` random bytes from the token, in chunks of a size that it takes. `out` is wiped on
 * failure. */
KS_MUST_USE ks_status ks_random(struct ks_token *token, const struct ks_call_options *opts,
                                uint8_t *out, size_t len, struct ks_error *err);

/* --- what happened: counters, and a log ------------------------------------------------------ */

/* What operations are counted as. */
enum ks_operation {
    KS_OP_OTHER, /* deletion, probes */
    KS_OP_SIGN,
    KS_OP_DECRYPT,
    KS_OP_DERIVE,
    KS_OP_RANDOM,
    KS_OP_GENERATE,
    KS_OP_FIND, /* keys and listings */
    KS_OP_CLASSES
};
extern const char *const ks_op_class_names[KS_OP_CLASSES];

/* Purpose: count and log an operation that was refused before the token was asked. `key` is the
 * key's URI or NULL, `why` a short reason; both go to the log, and are escaped there. */
void ks_stats_refused(const struct ks_token *token, enum ks_operation class, const char *key,
                      const char *why);

/* Purpose: the counters of all tokens of this process since it was started or forked, in
 * Prometheus' text format, with a NUL behind. `*out` is released with free(). */
KS_MUST_USE ks_status ks_stats_text(char **out, struct ks_error *err);

/* Purpose: have that text written to `path` (absolute; %p becomes the process' number, and then
 * every line has a label pid) every few seconds while operations run, and by
 * ks_stats_file_drop(). The file is replaced as a whole, with mode 0644. Failures are logged, and
 * nothing else: statistics are not worth an operation. Every add needs its drop. */
KS_MUST_USE ks_status ks_stats_file_add(const char *path, struct ks_error *err);
void ks_stats_file_drop(const char *path);

enum ks_log_level { KS_LOG_OFF, KS_LOG_ERROR, KS_LOG_WARN, KS_LOG_INFO, KS_LOG_DEBUG };

struct ks_log_config {
    const char *target; /* "stderr", "syslog", "file:/PATH" (%p becomes the process' number) */
    enum ks_log_level level;
    bool audit; /* a line for every operation with a private key, whatever the level */
};

/* Purpose: log to `config->target` from now on, one line an event (logfmt). The log is the
 * process': a second one with other settings is a KS_CONFIG error. Every open needs its close.
 * Nothing is kept open: daemons close descriptors that are not theirs, and files are rotated. */
KS_MUST_USE ks_status ks_log_open(const struct ks_log_config *config, struct ks_error *err);
void ks_log_close(void);

/* Purpose: log (warn) that a listing leaves an object out, and why, a line of text. For callers of
 * ks_token_objects() that cannot say it otherwise. `token` may be a group. */
void ks_log_trouble(const struct ks_token *token, const struct ks_object *object, const char *why);

#endif
