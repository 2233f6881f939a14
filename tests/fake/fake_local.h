/* SPDX-License-Identifier: Apache-2.0
 *
 * fake_local.h - what the files of the fake module share.
 */
#ifndef FAKE_LOCAL_H
#define FAKE_LOCAL_H

#include <openssl/evp.h>
#include <p11-kit/pkcs11.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fake.h"

/* What p11-kit's header lacks of PKCS#11 3.0. */
#define FAKE_CKM_SHA3_256      0x2b0UL
#define FAKE_CKM_SHA3_224      0x2b5UL
#define FAKE_CKM_SHA3_384      0x2c0UL
#define FAKE_CKM_SHA3_512      0x2d0UL
#define FAKE_CKM_EDDSA         0x1057UL
#define FAKE_CKM_EDWARDS_GEN   0x1055UL
#define FAKE_CKK_EDWARDS       0x40UL
#define FAKE_CKG_MGF1_SHA3_224 6UL
#define FAKE_CKG_MGF1_SHA3_256 7UL
#define FAKE_CKG_MGF1_SHA3_384 8UL
#define FAKE_CKG_MGF1_SHA3_512 9UL

#define FAKE_EXPORT __attribute__((visibility("default")))

#define FAKE_SLOTS      16
#define FAKE_SESSIONS   8192 /* a power of 2 */
#define FAKE_MECHANISMS 64
#define FAKE_LOG        4096
#define FAKE_INJECTIONS 64
#define FAKE_TEMPLATE   32
#define FAKE_PARAMETER  256

enum fake_function {
#define FAKE_FUNCTION(name) FAKE_##name,
#include "fake_functions.def"
#undef FAKE_FUNCTION
    FAKE_FUNCTIONS
};

struct fake_builtin {
    enum fake_kind kind;
    const unsigned char *der;
    size_t len;
};
extern const struct fake_builtin fake_builtins[];
extern const size_t fake_builtins_count;

struct fake_blob {
    unsigned char *data;
    size_t len;
};

enum fake_family { FAKE_FAMILY_RSA, FAKE_FAMILY_EC, FAKE_FAMILY_EDWARDS };

/* One key pair's numbers. Built-in ones live for ever, generated ones are counted. */
struct fake_material {
    unsigned refs; /* 0: for ever */
    enum fake_family family;
    EVP_PKEY *pkey;
    struct fake_blob modulus, exponent; /* RSA */
    struct fake_blob ec_params, point;  /* EC; the point is raw */
    struct fake_blob spki;
};

/* Flags of an object; each is one CK_BBOOL attribute. */
enum fake_flag {
    FAKE_F_TOKEN = 1 << 0,
    FAKE_F_PRIVATE = 1 << 1,
    FAKE_F_SENSITIVE = 1 << 2,
    FAKE_F_EXTRACTABLE = 1 << 3,
    FAKE_F_SIGN = 1 << 4,
    FAKE_F_DECRYPT = 1 << 5,
    FAKE_F_DERIVE = 1 << 6,
    FAKE_F_UNWRAP = 1 << 7,
    FAKE_F_VERIFY = 1 << 8,
    FAKE_F_ENCRYPT = 1 << 9,
    FAKE_F_WRAP = 1 << 10,
    FAKE_F_LOCAL = 1 << 11,
    FAKE_F_ALWAYS_AUTHENTICATE = 1 << 12,
    FAKE_F_MODIFIABLE = 1 << 13,
    FAKE_F_POINT = 1 << 14, /* no attribute: CKA_EC_POINT is in the private object */
};
#define FAKE_F_USES                                                                                \
    (FAKE_F_SIGN | FAKE_F_DECRYPT | FAKE_F_DERIVE | FAKE_F_UNWRAP | FAKE_F_VERIFY |                \
     FAKE_F_ENCRYPT | FAKE_F_WRAP)

struct fake_object {
    CK_OBJECT_HANDLE handle;
    CK_OBJECT_CLASS class;
    unsigned long slot;
    CK_SESSION_HANDLE session;       /* owner of a session object, 0 */
    unsigned flags;                  /* enum fake_flag */
    struct fake_blob label, id;      /* data NULL: attribute absent */
    struct fake_blob value, subject; /* certificates */
    struct fake_material *material;
};

enum fake_op_kind { FAKE_OP_NONE, FAKE_OP_SIGN, FAKE_OP_DECRYPT };

struct fake_op {
    enum fake_op_kind kind;
    struct fake_mechanism mech; /* label in `label` */
    unsigned char label[FAKE_PARAMETER];
    struct fake_material *material;
    bool wants_login; /* always-authenticate, and not yet done */
    bool once_authenticated;
    CK_RV late; /* FAKE_QUIRK_LATE_ERRORS */
};

struct fake_session {
    CK_SESSION_HANDLE handle; /* 0: free */
    unsigned long slot;
    CK_FLAGS flags;
    struct fake_op op;
    bool searching;
    CK_OBJECT_HANDLE *found;
    size_t found_count, found_next;
};

struct fake_slot {
    char label[33], serial[17], manufacturer[33], model[17];
    char pin[256];
    unsigned pin_tries, pin_failures;
    unsigned sessions_max, rw_sessions_max;
    unsigned sessions, rw_sessions;
    bool no_login, protected_path, write_protected, pin_not_set, not_initialized;
    bool present;
    bool user, so; /* logged in */
    CK_RV trouble; /* of the slot, in one function or in all of those that have a slot */
    enum fake_function trouble_in;
    CK_MECHANISM_TYPE mechanisms[FAKE_MECHANISMS];
    size_t mechanism_count;
};

struct fake_injection {
    bool used;
    enum fake_function function;
    unsigned nth, times;
    CK_RV rv;
    bool after, hang;
    void (*action)(void *arg);
    void *arg;
};

struct fake_hidden {
    unsigned long class, attribute;
};

struct fake_recorded {
    CK_ATTRIBUTE_TYPE type;
    unsigned char value[64];
    size_t len;
};

struct fake_template {
    struct fake_recorded row[FAKE_TEMPLATE];
    size_t count;
};

/* All that there is, under one mutex. */
struct fake_state {
    bool initialized, lost, server_down;
    char init_args[512];
    bool has_init_args;
    bool cheap;
    bool quirk[FAKE_QUIRKS];
    enum fake_handles reinit_handles;

    struct fake_slot slot[FAKE_SLOTS];
    unsigned long slots, slot_base;

    struct fake_object **object; /* grows; holes are NULL */
    size_t objects, objects_room;
    struct fake_object **by_handle; /* index is handle - handle_base */
    size_t handles, handles_room;
    CK_OBJECT_HANDLE handle_base;

    struct fake_session session[FAKE_SESSIONS];
    CK_SESSION_HANDLE next_session;
    unsigned sessions, peak_sessions;

    struct fake_hidden hidden[32];
    size_t hidden_count;
    unsigned turn[FAKE_KINDS]; /* whose turn it is among built-in keys */

    unsigned long calls[FAKE_FUNCTIONS];
    unsigned running[FAKE_FUNCTIONS], peak_running[FAKE_FUNCTIONS];
    unsigned latency_us[FAKE_FUNCTIONS];
    unsigned char log[FAKE_LOG];
    unsigned long logged;
    struct fake_injection injection[FAKE_INJECTIONS];
    unsigned hanging;
    unsigned long releases;

    unsigned pin_attempts;
    unsigned long largest_random, last_session_flags;
    unsigned random_max; /* 0: no limit */
    struct fake_op last; /* its mech and label alone */
    struct fake_template private_template, public_template;
};

extern struct fake_state fake; /* fake_state.c */

/* --- fake_state.c: the mutex, and what happens at the edge of every call --------------------- */

void fake_lock(void);
void fake_unlock(void);
extern const char *const fake_function_names[FAKE_FUNCTIONS];
enum fake_function fake_function_by_name(const char *name);
void fake_die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
void *fake_alloc(size_t size);
void fake_set_blob(struct fake_blob *blob, const void *data, size_t len);

struct fake_call {
    enum fake_function function;
    CK_RV after; /* what to return instead, CKR_OK: nothing */
    CK_SESSION_HANDLE session;
};
/* Purpose: begin a call: takes the mutex, counts, waits, injects. Whatever it returns, the call
 * ends with `return fake_leave(&call, rv)`; the work is done only if it returned CKR_OK. */
CK_RV fake_enter(struct fake_call *call, enum fake_function function);
CK_RV fake_leave(struct fake_call *call, CK_RV rv);
/* Purpose: the same for calls in a session. An injected code has the consequences that it states:
 * a session that is said to be gone is closed, and a failed C_Sign or C_Decrypt ends the operation
 * (but for CKR_BUFFER_TOO_SMALL and FAKE_QUIRK_OPERATION_STICKS). */
CK_RV fake_enter_session(struct fake_call *call, enum fake_function function,
                         CK_SESSION_HANDLE handle);
CK_RV fake_leave_session(struct fake_call *call, CK_RV rv);

/* --- fake_token.c ---------------------------------------------------------------------------- */

/* Purpose: the slot or session of a call, checked. */
CK_RV fake_get_slot(CK_SLOT_ID id, struct fake_slot **slot);
/* Purpose: the same for a call about the slot's token: what fake_set_trouble() says, and whether it
 * is present. */
CK_RV fake_get_token(CK_SLOT_ID id, enum fake_function function, struct fake_slot **slot);
CK_RV fake_get_session(CK_SESSION_HANDLE handle, struct fake_session **session);
void fake_close_session(struct fake_session *session, bool keep_login);
/* Purpose: close all of a slot, or of all slots (~0UL). */
void fake_close_sessions(unsigned long slot, bool keep_login);
void fake_op_clear(struct fake_op *op);
void fake_search_clear(struct fake_session *session);
bool fake_sees_private(unsigned long slot);
bool fake_has_mechanism(const struct fake_slot *slot, CK_MECHANISM_TYPE type);

/* --- fake_object.c --------------------------------------------------------------------------- */

struct fake_object *fake_object_new(unsigned long slot, CK_OBJECT_CLASS class,
                                    struct fake_material *material);
void fake_object_drop(struct fake_object *object);
struct fake_object *fake_object_get(CK_OBJECT_HANDLE handle);
void fake_session_objects_drop(CK_SESSION_HANDLE session);
void fake_objects_drop_all(void);
void fake_renumber_locked(enum fake_handles opts);
/* Purpose: the value of an attribute: allocates `*out`. CKR_ATTRIBUTE_TYPE_INVALID or
 * CKR_ATTRIBUTE_SENSITIVE where there is none. */
CK_RV fake_attribute_get(const struct fake_object *object, CK_ATTRIBUTE_TYPE type,
                         struct fake_blob *out);
/* Purpose: give a new object its attributes from a template. */
CK_RV fake_template_apply(struct fake_object *object, const CK_ATTRIBUTE *template, CK_ULONG count);
unsigned fake_flag_of(CK_ATTRIBUTE_TYPE type);

/* --- fake_crypto.c: nothing but libcrypto, and no mutex held --------------------------------- */

/* Purpose: a built-in key, 0 is the first of its kind; NULL when there are not that many. */
struct fake_material *fake_builtin_material(enum fake_kind kind, unsigned index);
struct fake_material *fake_generate_rsa(unsigned bits, const unsigned char *e, size_t e_len);
struct fake_material *fake_generate_ec(const unsigned char *params, size_t len, bool *curve_known);
struct fake_material *fake_generate_edwards(bool ed448);
/* Purpose: what CKA_EC_PARAMS is for an Edwards key, `named`: as a PrintableString. */
const unsigned char *fake_edwards_params(bool ed448, bool named, size_t *len);
/* Purpose: ECDH. `*out_len` is the room at `out`, and becomes the length. */
CK_RV fake_crypto_derive(const struct fake_material *material, const unsigned char *peer,
                         size_t peer_len, unsigned char *out, size_t *out_len);
/* A mechanism that hashes: what it does with the hash, and which that is. */
struct fake_hashing {
    CK_MECHANISM_TYPE type, base, hash;
};
/* Purpose: NULL when it is not one of them. */
const struct fake_hashing *fake_hashing_of(CK_MECHANISM_TYPE type);
void fake_material_ref(struct fake_material *material);
void fake_material_free(struct fake_material *material);
size_t fake_output_size(const struct fake_material *material);
CK_RV fake_crypto_sign(const struct fake_material *material, const struct fake_mechanism *mech,
                       const unsigned char *in, size_t in_len, unsigned char *out, size_t *out_len);
CK_RV fake_crypto_decrypt(const struct fake_material *material, const struct fake_mechanism *mech,
                          const unsigned char *in, size_t in_len, unsigned char *out,
                          size_t *out_len);
/* Purpose: note what signing (decrypting) `in` gives, and look that up. */
void fake_crypto_remember(const struct fake_material *material, bool decrypt,
                          const unsigned char *in, size_t in_len, const unsigned char *out,
                          size_t out_len);
bool fake_crypto_recall(const struct fake_material *material, bool decrypt, const unsigned char *in,
                        size_t in_len, unsigned char *out, size_t *out_len);
bool fake_crypto_verify(const struct fake_material *material, const struct fake_mechanism *mech,
                        const unsigned char *in, size_t in_len, const unsigned char *sig,
                        size_t sig_len);
size_t fake_crypto_encrypt(const struct fake_material *material, const struct fake_mechanism *mech,
                           const unsigned char *in, size_t in_len, unsigned char *out, size_t size);
bool fake_crypto_random(unsigned char *out, size_t len);
bool fake_crypto_certificate(const struct fake_material *material, const char *name,
                             struct fake_blob *der, struct fake_blob *subject);

/* --- fake_script.c --------------------------------------------------------------------------- */

void fake_run_environment(void);

#endif
