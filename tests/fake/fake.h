/* SPDX-License-Identifier: Apache-2.0
 *
 * fake.h - control of fake-pkcs11.so, a PKCS#11 v2.40 module made to be scripted.
 *
 * A test program links fake-pkcs11.so and gives its path (FAKE_PKCS11_PATH, from meson) to the
 * code under test: both then talk to the one instance. Cryptography is real (libcrypto, in a
 * library context of the module's own), unless fake_set_cheap() says otherwise. Programs that
 * know nothing of this header are scripted by the environment: HSM_FAKE_SCRIPT and
 * HSM_FAKE_COUNTS, at the end of this file.
 *
 * Common to all functions:
 *  - they may be called from any thread at any time, also while C_ calls are under way;
 *  - a function name is one like "C_Sign"; a name that does not exist, and any other misuse, is
 *    an error of the test, and aborts with a message;
 *  - `slot` is the number that fake_add_token() returned, and the slot's CK_SLOT_ID as well;
 *  - values of CKR_, CKM_, CKA_ and CKH_ type are unsigned long, so that p11-kit's header is not
 *    needed to include this one.
 */
#ifndef FAKE_PKCS11_H
#define FAKE_PKCS11_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- start anew ------------------------------------------------------------------------------ */

/* Purpose: forget everything: tokens, objects, sessions, script, counts, log. Whether the module
 * is initialised is kept (the code under test knows it), every session is gone. Then there is no
 * token: add one. */
void fake_reset(void);

/* --- tokens ---------------------------------------------------------------------------------- */

/* Zeros mean the default, so that `(struct fake_token){.label = "x"}` is enough. */
struct fake_token {
    const char *label;        /* "fake" */
    const char *serial;       /* "0001" and so on */
    const char *manufacturer; /* "openssl-hsm tests" */
    const char *model;        /* "fake" */
    const char *pin;          /* "1234" */
    unsigned pin_tries;       /* wrong PINs until it is locked; 10 */
    unsigned sessions_max;    /* ulMaxSessionCount, enforced; 0: unlimited (reported as such) */
    unsigned rw_sessions_max; /* the same for read-write sessions */
    bool no_login;            /* without CKF_LOGIN_REQUIRED; private objects are seen by all */
    bool protected_path;      /* CKF_PROTECTED_AUTHENTICATION_PATH: C_Login with a NULL PIN */
    bool write_protected;
    bool pin_not_set; /* without CKF_USER_PIN_INITIALIZED */
    bool not_initialized;
};

/* Purpose: add a slot with a token (`spec` may be NULL). Returns the slot. */
unsigned long fake_add_token(const struct fake_token *spec);

/* Purpose: set how many wrong PINs have been tried: CKF_USER_PIN_COUNT_LOW from 1 on,
 * CKF_USER_PIN_FINAL_TRY when one is left, CKF_USER_PIN_LOCKED when none is. */
void fake_set_pin_failures(unsigned long slot, unsigned failures);
/* Purpose: C_Login(CKU_USER) attempts with a PIN so far, right or wrong, over all tokens. */
unsigned fake_pin_attempts(void);
/* Purpose: change the PIN that the token takes. */
void fake_set_pin(unsigned long slot, const char *pin);

/* Purpose: take the token out of its slot (`present` false: its sessions and login are gone,
 * calls for it give CKR_TOKEN_NOT_PRESENT), and put it back. */
void fake_set_present(unsigned long slot, bool present);

/* Purpose: this slot alone is in trouble: `function` (one of C_GetTokenInfo, C_GetMechanismList,
 * C_GetMechanismInfo and C_OpenSession; NULL: all of them) gives `rv` for it, whatever the module
 * does, until that is CKR_OK again. */
void fake_set_trouble(unsigned long slot, const char *function, unsigned long rv);

/* Purpose: C_GenerateRandom gives CKR_ARGUMENTS_BAD for more than `bytes` (0: no limit). */
void fake_set_random_max(unsigned bytes);

/* Purpose: have `mechanism` in the slot's list or not. A new token lists all that we have, but for
 * those that hash (CKM_SHA256_RSA_PKCS, CKM_ECDSA_SHA256 and their kind). */
void fake_set_mechanism(unsigned long slot, unsigned long mechanism, bool listed);

/* --- keys and certificates ------------------------------------------------------------------- */

/* FAKE_RSA is RSA-2048. The key material is built in, always the same in every process. */
enum fake_kind {
    FAKE_RSA,
    FAKE_RSA_3072,
    FAKE_RSA_4096,
    FAKE_P256,
    FAKE_P384,
    FAKE_P521,
    FAKE_SECP256K1,
    FAKE_ED25519,
    FAKE_ED448,
    FAKE_KINDS
};

/* FAKE_RSA has four different keys built in, P-256 four, the others two. */
#define FAKE_MATERIALS_RSA 4

enum fake_key_flags {
    FAKE_NO_PUBLIC = 1 << 0, /* no public object */
    FAKE_NO_PRIVATE = 1 << 1,
    FAKE_NO_SIGN = 1 << 2,
    FAKE_NO_DECRYPT = 1 << 3,
    FAKE_NO_DERIVE = 1 << 4,
    FAKE_EXTRACTABLE = 1 << 5,
    FAKE_ALWAYS_AUTHENTICATE = 1 << 6, /* C_Login(CKU_CONTEXT_SPECIFIC) before every operation */
    FAKE_POINT_IN_PRIVATE = 1 << 7,    /* CKA_EC_POINT in the private object, as NSS has it */
};

struct fake_key {
    enum fake_kind kind;
    const char *label; /* NULL: no CKA_LABEL */
    size_t label_len;  /* 0: strlen */
    const void *id;    /* NULL: no CKA_ID */
    size_t id_len;     /* 0: strlen of id as a string */
    unsigned flags;    /* enum fake_key_flags */
    unsigned material; /* which built-in key, counted from 1; 0: the next one in turn */
};

/* Purpose: add a key pair. Returns the private object's handle (the public one's with
 * FAKE_NO_PRIVATE). */
unsigned long fake_add_key(unsigned long slot, const struct fake_key *spec);

/* Purpose: the short form, for the usual case: `label`, and the same string as id. */
unsigned long fake_add_pair(unsigned long slot, enum fake_kind kind, const char *label);

/* Purpose: add `count` key pairs "<prefix>0", "<prefix>1", ... with their label as id. */
void fake_add_pairs(unsigned long slot, enum fake_kind kind, const char *prefix, unsigned count);

/* Purpose: add a self-signed certificate for the built-in key `material` (counted from 1). */
unsigned long fake_add_certificate(unsigned long slot, const char *label, const char *id,
                                   enum fake_kind kind, unsigned material);

/* Purpose: give a certificate object another CKA_VALUE, which need not be one. */
void fake_set_certificate(unsigned long handle, const void *data, size_t len);

/* Purpose: remove an object behind everybody's back. */
void fake_remove_object(unsigned long handle);
/* Purpose: the handle of the first object of `class` (CKO_) with that label; 0: none. */
unsigned long fake_find(unsigned long slot, unsigned long class, const char *label);
/* Purpose: how many objects there are, of one class (CKO_), or of all (FAKE_ANY). */
#define FAKE_ANY (~0UL)
unsigned fake_objects(unsigned long slot, unsigned long class);
/* Purpose: read an attribute as the token has it, whatever is hidden or injected. Returns the
 * length, or -1 if there is none; up to `size` bytes go to `out`. */
long fake_attribute(unsigned long handle, unsigned long attribute, void *out, size_t size);
/* Purpose: change one CK_BBOOL attribute of an object. */
void fake_set_flag(unsigned long handle, unsigned long attribute, bool value);

/* Purpose: pretend not to know an attribute of objects of `class` (CKO_, FAKE_ANY). */
void fake_hide_attribute(unsigned long class, unsigned long attribute);

/* --- checks, with the public half ------------------------------------------------------------ */

/* A mechanism with its parameters, as recorded and as asked for. */
struct fake_mechanism {
    unsigned long type;   /* CKM_ */
    unsigned long hash;   /* PSS, OAEP: CKM_SHA256 ... */
    unsigned long mgf;    /* CKG_ */
    unsigned long salt;   /* PSS */
    const void *label;    /* OAEP */
    size_t label_len;     /* OAEP */
    size_t parameter_len; /* recorded only: ulParameterLen */
};

/* Purpose: SubjectPublicKeyInfo of an object's key. Returns the length, 0 if it does not fit. */
size_t fake_public_key(unsigned long handle, uint8_t *out, size_t size);
/* Purpose: tell whether `sig` (raw r || s for ECDSA) over `in`, which is what C_Sign got, is the
 * key's. */
bool fake_verify(unsigned long handle, const struct fake_mechanism *mech, const void *in,
                 size_t in_len, const void *sig, size_t sig_len);
/* Purpose: encrypt for the key (RSA). Returns the length, 0 on failure. */
size_t fake_encrypt(unsigned long handle, const struct fake_mechanism *mech, const void *in,
                    size_t in_len, uint8_t *out, size_t size);

/* Purpose: sign (or decrypt) `in` once, and give the same result whenever that built-in key is
 * asked for it again: for campaigns that run the same operation a million times. Before there are
 * threads. Up to `size` bytes go to `out`; returns the length. */
size_t fake_remember(unsigned long handle, const struct fake_mechanism *mech, bool decrypt,
                     const void *in, size_t in_len, uint8_t *out, size_t size);

/* --- for ks_set_mac() ------------------------------------------------------------------------ */

/* Purpose: a keyed hash of 32 bytes that is another one for other input, and nothing more. */
bool fake_mac(const unsigned char *key, size_t key_len, const void *who, size_t who_len,
              const void *data, size_t len, unsigned char *out);

/* --- counts ---------------------------------------------------------------------------------- */

/* Purpose: calls of one function, of all (NULL), since fake_reset() or fake_clear_counts(). In a
 * forked child all counts start at 0. Failed and injected calls count. */
unsigned long fake_calls(const char *function);
/* Purpose: zero counts, log and peaks. The script goes on. */
void fake_clear_counts(void);
/* Purpose: the names of the calls since then, in order, blanks between ("C_SignInit C_Sign"); the
 * last 4,096 of them. Valid until it is asked again. */
const char *fake_log(void);

unsigned fake_sessions(void);      /* open now, all tokens */
unsigned fake_peak_sessions(void); /* most at one time since counts were cleared */
bool fake_initialized(void);
bool fake_logged_in(unsigned long slot);
/* Purpose: most calls of this function that were under way at one time. */
unsigned fake_peak_parallel(const char *function);
/* Purpose: searches (C_FindObjectsInit) and operations (C_SignInit ...) that are open now. */
unsigned fake_open_searches(void);
unsigned fake_open_operations(void);

/* Purpose: the mechanism of the latest ...Init or C_GenerateKeyPair call. `label` points into a
 * buffer of the thread's. */
struct fake_mechanism fake_last_mechanism(void);
/* Purpose: the attribute types in the template of the latest C_GenerateKeyPair; tells whether
 * `attribute` was among them, and its value if `out` is given. */
bool fake_template_has(bool private_half, unsigned long attribute, void *out, size_t *out_len);
/* Purpose: pReserved of the latest C_Initialize as a string; NULL: it was NULL. */
const char *fake_init_args(void);
/* Purpose: most bytes that one C_GenerateRandom asked for. */
unsigned long fake_largest_random(void);
/* Purpose: the flags (CKF_) of the latest C_OpenSession. */
unsigned long fake_last_session_flags(void);

/* --- script ---------------------------------------------------------------------------------- */

#define FAKE_FOREVER (~0U)

/* Purpose: the next call of `function` gives `rv`, and does nothing. What the code itself states
 * comes true all the same: CKR_SESSION_HANDLE_INVALID and CKR_SESSION_CLOSED close the session of
 * the call, and a C_Sign or C_Decrypt that fails ends the operation. */
void fake_fail(const char *function, unsigned long rv);
/* Purpose: the `nth` call from now (1: the next one) and those after it, `times` of them all in
 * all, give `rv`. `after`: the call does its work first. Several may wait at a time; the first
 * that was set and is due is taken. */
void fake_inject(const char *function, unsigned nth, unsigned times, unsigned long rv, bool after);
/* Purpose: drop all injections, of one function or of all (NULL). */
void fake_heal(const char *function);

/* Purpose: from now on calls of `function` (NULL: every one) take that long. They overlap. */
void fake_set_latency(const char *function, unsigned microseconds);

/* Purpose: the `nth` call of `function` from now does not come back until fake_release(). */
void fake_hang(const char *function, unsigned nth);
/* Purpose: wait until that many calls hang; false when that does not come about in time. */
bool fake_wait_hanging(unsigned calls, unsigned milliseconds);
void fake_release(void);

/* Purpose: call `action(arg)` in the calling thread, at the start of the `nth` call of `function`
 * from now, before anything else of that call: whatever fake_ function does, at an exact time. */
void fake_at(const char *function, unsigned nth, void (*action)(void *arg), void *arg);

/* --- what befalls a token -------------------------------------------------------------------- */

/* Purpose: every open session is gone: CKR_SESSION_HANDLE_INVALID. `keep_login`: nobody is
 * logged out, otherwise as if all had been closed. */
void fake_lose_sessions(bool keep_login);
/* Purpose: the user is logged out, the sessions stay. */
void fake_lose_login(void);
/* Purpose: every call gives CKR_DEVICE_ERROR until C_Finalize and C_Initialize, as p11-kit's
 * client does it when its server has gone away. */
void fake_lose_connection(void);
/* Purpose: `down`: C_Initialize succeeds and there are no slots. */
void fake_set_server_down(bool down);

enum fake_handles {
    FAKE_HANDLES_KEEP,  /* an object has the same handle again */
    FAKE_HANDLES_FRESH, /* all handles are new, the old ones are invalid */
    FAKE_HANDLES_OTHER, /* old handles are valid, and denote OTHER keys of the same type */
};
/* Purpose: give the objects other handles, now. */
void fake_renumber(enum fake_handles opts);
/* Purpose: what C_Initialize does with the handles; FAKE_HANDLES_KEEP after fake_reset(). */
void fake_set_reinit_handles(enum fake_handles opts);
/* Purpose: give the slots other numbers now: each `CK_SLOT_ID` grows by 100. The control
 * functions go on with the old ones. */
void fake_renumber_slots(void);

/* --- how the module deviates ----------------------------------------------------------------- */

enum fake_quirk {
    FAKE_QUIRK_OBJECT_HANDLE,    /* CKR_OBJECT_HANDLE_INVALID for CKR_KEY_HANDLE_INVALID */
    FAKE_QUIRK_LATE_ERRORS,      /* C_SignInit and C_DecryptInit give OK, the error comes later */
    FAKE_QUIRK_SWAPPED_REFUSAL,  /* KEY_TYPE_INCONSISTENT and MECHANISM_INVALID swapped */
    FAKE_QUIRK_NULL_PIN_ABORTS,  /* a NULL PIN ends the process */
    FAKE_QUIRK_BULK_READ_FAILS,  /* one unknown attribute, and C_GetAttributeValue fills nothing */
    FAKE_QUIRK_RAW_EC_POINT,     /* CKA_EC_POINT without the OCTET STRING around it */
    FAKE_QUIRK_USE_NOT_ENFORCED, /* CKA_SIGN=FALSE and its kind are not looked at */
    FAKE_QUIRK_STRIPPED_ZEROS,   /* raw RSA results come without their leading zeros */
    FAKE_QUIRK_SHA1_OAEP,        /* OAEP with SHA-1 and no label only, no mixed PSS digests */
    FAKE_QUIRK_DATA_IS_GENERAL,  /* bad ciphertext gives CKR_GENERAL_ERROR */
    FAKE_QUIRK_UNUSABLE_KEYS,    /* C_GenerateKeyPair says OK, all usage flags are false */
    FAKE_QUIRK_PICKY_PRIVATE,    /* the same if CKA_MODULUS_BITS or CKA_PUBLIC_EXPONENT is in
                                    the private template */
    FAKE_QUIRK_HALF_PAIR,        /* C_GenerateKeyPair makes the public half, then fails */
    FAKE_QUIRK_BAD_SIGNATURES,   /* one bit of every signature is wrong */
    FAKE_QUIRK_OPERATION_STICKS, /* C_Sign and C_Decrypt that fail leave the operation active */
    FAKE_QUIRK_SOFTHSM_FORK,     /* in a child: C_Initialize says ALREADY, sessions go on */
    FAKE_QUIRK_EDWARDS_NAMES,    /* CKA_EC_PARAMS of Edwards keys is a PrintableString */
    FAKE_QUIRK_EDDSA_PARAMS,     /* CK_EDDSA_PARAMS for Ed25519, and none for Ed448 */
    FAKE_QUIRK_DER_PEER,         /* ECDH: the peer's point in an OCTET STRING */
    FAKE_QUIRK_NO_VALUE_LEN,     /* ECDH: CKA_VALUE_LEN in the template is refused */
    FAKE_QUIRKS
};
/* Purpose: switch a deviation on or off; all are off after fake_reset(). */
void fake_set_quirk(enum fake_quirk quirk, bool on);

/* Purpose: sign, decrypt and generate without cryptography: signatures are the input again and
 * again, a raw decryption is its input, RSA keys come from the built-in ones. For counting and for
 * running long. */
void fake_set_cheap(bool cheap);

/* --- programs that do not know this header --------------------------------------------------- */

/* HSM_FAKE_SCRIPT names a file that is read when the module is loaded. One directive a line,
 * '#' starts a comment, words with blanks in "quotes", \xNN and \n inside them. The first error
 * ends the process with a message. Without a `token` line there is the default token.
 *
 *   token label=L serial=S pin=P pin-tries=N sessions=N rw-sessions=N
 *         no-login protected-path write-protected pin-not-set not-initialized
 *   key KIND [label=L] [id=HEX] [material=N] [no-public] [no-private] [no-sign] [no-decrypt]
 *         [no-derive] [extractable] [always-authenticate] [point-in-private]
 *   keys COUNT KIND PREFIX
 *   certificate KIND MATERIAL [label=L] [id=HEX]
 *   mechanism CKM_NAME on|off           (or its number: 0x1041)
 *   trouble FUNCTION|all CKR_NAME
 *   hide CKA_NAME                       (or its number; objects of every class)
 *   inject FUNCTION CKR_NAME [nth=N] [times=N|forever] [after]
 *   latency FUNCTION|all MICROSECONDS
 *   hang FUNCTION [nth=N]
 *   quirk NAME                          (as the enum: raw-ec-point)
 *   reinit-handles keep|fresh|other
 *   pin-failures N
 *   random-max N
 *   server-down
 *   cheap
 *
 * KIND: rsa rsa-3072 rsa-4096 p256 p384 p521 secp256k1 ed25519 ed448. Lines after a
 * `token` line are for that token. Without label or id, both default to the KIND; id=HEX wins over
 * that.
 *
 * HSM_FAKE_COUNTS names a file to which every process that made a C_ call appends one line when
 * it exits: "pid=123 C_Initialize=1 C_Sign=20 ...". Calls made before a fork are the parent's. */

/* Purpose: run directives from a string, as HSM_FAKE_SCRIPT does. */
void fake_script(const char *text);

#endif
