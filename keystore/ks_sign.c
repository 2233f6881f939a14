/* SPDX-License-Identifier: Apache-2.0
 *
 * ks_sign.c - signatures and decryptions with a private key: two calls each.
 */
#include <string.h>

#include "ks_internal.h"

struct crypt {
    const struct ks_mech *mech;
    struct ks_mech_storage storage;
    const uint8_t *in;
    size_t in_len;
    uint8_t *out;
    size_t room, out_len;
};

/* CKM_RSA_X_509 gives a number: some tokens leave its leading zeros out. In constant time as far
 * as the bytes are concerned: the length that the token gave is its own leak. */
static ks_status restore_zeros(struct ks_op *op, struct crypt *c)
{
    size_t size = op->key->object->modulus.len;

    if (c->mech->kind != KS_MECH_RSA_RAW || c->out_len >= size)
        return KS_SUCCESS;
    if (c->room < size)
        return ks_fail(op->err, KS_INTERNAL, "raw RSA: the buffer is smaller than the modulus");
    memmove(c->out + (size - c->out_len), c->out, c->out_len);
    memset(c->out, 0, size - c->out_len);
    c->out_len = size;
    return KS_SUCCESS;
}

static ks_status context_login(struct ks_op *op, CK_SESSION_HANDLE session)
{
    if (!op->key->object->always_authenticate)
        return KS_SUCCESS;
    return ks_op_rv(op, "C_Login", ks_token_context_login(op->token, session));
}

/* CK_EDDSA_PARAMS (PKCS#11 3.0), which p11-kit's header lacks. */
struct eddsa_params {
    CK_BBOOL ph_flag;
    CK_ULONG context_len;
    CK_BYTE *context;
};

/* PKCS#11 3.0 wants parameters for Ed448 and none for Ed25519; tokens older than it know none, and
 * some want them for both. Try the standard's way first, and remember what the token took. */
static CK_RV eddsa_init(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                        CK_OBJECT_HANDLE key, CK_MECHANISM *mechanism)
{
    static struct eddsa_params pure;
    int spelling = atomic_load(&op->key->spelling);
    bool ed448 = op->key->object->ec_point.len == 57 || op->key->expect.public_len == 57;
    CK_RV rv;

    for (int i = spelling == KS_SPELLING_SECOND; i < 2; i++) {
        bool with = ed448 != (i == 1);

        mechanism->pParameter = with ? &pure : NULL;
        mechanism->ulParameterLen = with ? sizeof(pure) : 0;
        rv = fn->C_SignInit(session, mechanism, key);
        if (rv == CKR_OK && spelling == KS_SPELLING_UNKNOWN)
            atomic_store(&op->key->spelling, i == 0 ? KS_SPELLING_FIRST : KS_SPELLING_SECOND);
        if (spelling != KS_SPELLING_UNKNOWN ||
            (rv != CKR_MECHANISM_PARAM_INVALID && rv != CKR_ARGUMENTS_BAD &&
             rv != CKR_MECHANISM_INVALID))
            break;
    }
    return rv;
}

static ks_status sign_step(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                           CK_OBJECT_HANDLE key)
{
    struct crypt *c = op->arg;
    CK_ULONG len = c->room;
    ks_status st;

    st = ks_op_rv(op, "C_SignInit",
                  c->mech->kind == KS_MECH_EDDSA
                      ? eddsa_init(op, fn, session, key, &c->storage.mechanism)
                      : fn->C_SignInit(session, &c->storage.mechanism, key));
    if (ks_ok(st))
        st = context_login(op, session);
    if (!ks_ok(st))
        return st;
    st = ks_op_rv(op, "C_Sign", fn->C_Sign(session, (uint8_t *)c->in, c->in_len, c->out, &len));
    if (!ks_ok(st))
        return st;
    c->out_len = len;
    return restore_zeros(op, c);
}

static ks_status decrypt_step(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                              CK_OBJECT_HANDLE key)
{
    struct crypt *c = op->arg;
    CK_ULONG len = c->room;
    ks_status st;

    st = ks_op_rv(op, "C_DecryptInit", fn->C_DecryptInit(session, &c->storage.mechanism, key));
    if (ks_ok(st))
        st = context_login(op, session);
    if (!ks_ok(st))
        return st;
    st = ks_op_rv(op, "C_Decrypt",
                  fn->C_Decrypt(session, (uint8_t *)c->in, c->in_len, c->out, &len));
    if (!ks_ok(st))
        return st;
    c->out_len = len;
    return restore_zeros(op, c);
}

static bool verify_with_expected(struct ks_op *op)
{
    const struct ks_expect *e = &op->key->expect;
    const struct crypt *c = op->arg;

    return e->verify(e->arg, c->in, c->in_len, c->out, c->out_len);
}

ks_status ks_key_check_use(const struct ks_key *key, bool allowed, const char *attribute,
                           struct ks_error *err)
{
    char name[256];

    if (allowed)
        return KS_SUCCESS;
    return ks_fail_token(err, key->token, KS_KEY_USE,
                         "key %s does not permit this operation (%s is false)",
                         ks_object_name(key->object, name, sizeof(name)), attribute);
}

static bool takes_message(enum ks_mech_kind kind)
{
    return kind == KS_MECH_EDDSA || kind == KS_MECH_RSA_PKCS1_HASH ||
           kind == KS_MECH_RSA_PSS_HASH || kind == KS_MECH_ECDSA_HASH;
}

ks_status ks_sign(struct ks_key *key, const struct ks_how *how, const struct ks_mech *mech,
                  const uint8_t *in, size_t in_len, uint8_t *out, size_t *out_len,
                  struct ks_error *err)
{
    struct crypt c = {.mech = mech, .in = in, .in_len = in_len, .out = out, .room = *out_len};
    struct ks_op op = {.token = key->token,
                       .key = key,
                       .step = sign_step,
                       .arg = &c,
                       .how = how,
                       .err = err,
                       .verify = mech->kind == KS_MECH_ECDSA || mech->kind == KS_MECH_EDDSA
                                     ? verify_with_expected
                                     : NULL};
    ks_status st = ks_key_check_use(key, key->object->can_sign, "CKA_SIGN", err);

    if (ks_ok(st) && takes_message(mech->kind) && in_len > KS_MESSAGE_MAX)
        st = ks_fail_token(err, key->token, KS_DATA,
                           "the token hashes by itself, and a message of %zu bytes is longer than "
                           "the %u that every module is known to take whole",
                           in_len, KS_MESSAGE_MAX);
    if (ks_ok(st))
        st = ks_mech_build(mech, &c.storage, err);
    if (!ks_ok(st))
        return st;
    st = ks_op_run(&op);
    if (ks_ok(st))
        *out_len = c.out_len;
    else
        explicit_bzero(out, c.room);
    return st;
}

ks_status ks_decrypt(struct ks_key *key, const struct ks_how *how, const struct ks_mech *mech,
                     const uint8_t *in, size_t in_len, uint8_t *out, size_t *out_len,
                     struct ks_error *err)
{
    struct crypt c = {.mech = mech, .in = in, .in_len = in_len, .out = out, .room = *out_len};
    struct ks_op op = {
        .token = key->token, .key = key, .step = decrypt_step, .arg = &c, .how = how, .err = err};
    ks_status st = ks_key_check_use(key, key->object->can_decrypt, "CKA_DECRYPT", err);

    if (ks_ok(st))
        st = ks_mech_build(mech, &c.storage, err);
    if (!ks_ok(st))
        return st;
    st = ks_op_run(&op);
    if (ks_ok(st)) {
        *out_len = c.out_len;
        return st;
    }
    explicit_bzero(out, c.room);
    /* One error for whatever is wrong with the data. */
    if (st.code == KS_DATA)
        st = ks_fail_token(err, key->token, KS_DATA, "decryption failed");
    return st;
}
