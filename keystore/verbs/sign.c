/* SPDX-License-Identifier: Apache-2.0
 *
 * sign.c - signatures and decryptions with a private key: two calls each.
 */
#include <string.h>

#include "../op/op.h"
#include "../token/answer.h"
#include "../token/connect.h"
#include "../token/mech.h"

/* CKM_RSA_X_509 gives a number: some tokens leave its leading zeros out. In constant time as far
 * as the bytes are concerned: the length that the token gave is its own leak. */
static ks_status restore_zeros(struct ks_op *op, const struct ks_mech *mech)
{
    size_t size = ks_key_block(op->key);

    if (mech->kind != KS_MECH_RSA_RAW || op->call.out_len >= size)
        return KS_SUCCESS;
    if (op->call.room < size)
        return ks_fail(op->call.err, KS_INTERNAL,
                       "raw RSA: the buffer is smaller than the modulus");
    memmove(op->call.out + (size - op->call.out_len), op->call.out, op->call.out_len);
    memset(op->call.out, 0, size - op->call.out_len);
    op->call.out_len = size;
    return KS_SUCCESS;
}

static ks_status context_login(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session)
{
    return op->key->object->always_authenticate ? ks_token_context_login(&op->call, fn, session)
                                                : KS_SUCCESS;
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
    int encoding = atomic_load(&op->key->encoding);
    bool ed448 = op->key->object->ec_point.len == 57 || op->key->expect.public_len == 57;
    CK_RV rv = CKR_GENERAL_ERROR;

    for (int i = encoding == KS_ENCODING_SECOND; i < 2; i++) {
        bool with = ed448 != (i == 1);

        mechanism->pParameter = with ? &pure : NULL;
        mechanism->ulParameterLen = with ? sizeof(pure) : 0;
        rv = fn->C_SignInit(session, mechanism, key);
        if (rv == CKR_OK && encoding == KS_ENCODING_UNKNOWN)
            atomic_store(&op->key->encoding, i == 0 ? KS_ENCODING_FIRST : KS_ENCODING_SECOND);
        if (encoding != KS_ENCODING_UNKNOWN ||
            (rv != CKR_MECHANISM_PARAM_INVALID && rv != CKR_ARGUMENTS_BAD &&
             rv != CKR_MECHANISM_INVALID))
            break;
    }
    return rv;
}

static ks_status sign(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session)
{
    CK_ULONG len = ks_answer_room(&op->call);
    CK_RV rv = fn->C_Sign(session, (uint8_t *)op->call.in, op->call.in_len, op->call.out, &len);

    return ks_answer_output(&op->call, KS_C_Sign, rv, len);
}

static ks_status sign_step(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                           CK_OBJECT_HANDLE key)
{
    const struct ks_mech *mech = op->arg;
    struct ks_mech_storage storage;
    ks_status st = ks_mech_build(mech, NULL, 0, &storage, op->call.err);

    if (!ks_ok(st))
        return st;
    st = ks_call_rv(&op->call, KS_C_SignInit,
                    mech->kind == KS_MECH_EDDSA
                        ? eddsa_init(op, fn, session, key, &storage.mechanism)
                        : fn->C_SignInit(session, &storage.mechanism, key));
    if (ks_ok(st))
        st = context_login(op, fn, session);
    if (ks_ok(st))
        st = sign(op, fn, session);
    ks_mech_blame(op->call.err, st, mech->kind);
    if (ks_ok(st))
        st = ks_answer_written(&op->call, KS_C_Sign);
    return ks_ok(st) ? restore_zeros(op, mech) : st;
}

static ks_status decrypt(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session)
{
    CK_ULONG len = ks_answer_room(&op->call);
    CK_RV rv = fn->C_Decrypt(session, (uint8_t *)op->call.in, op->call.in_len, op->call.out, &len);

    return ks_answer_output(&op->call, KS_C_Decrypt, rv, len);
}

static ks_status decrypt_step(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                              CK_OBJECT_HANDLE key)
{
    const struct ks_mech *mech = op->arg;
    struct ks_mech_storage storage;
    ks_status st = ks_mech_build(mech, op->aux, op->aux_len, &storage, op->call.err);

    if (!ks_ok(st))
        return st;
    st = ks_call_rv(&op->call, KS_C_DecryptInit,
                    fn->C_DecryptInit(session, &storage.mechanism, key));
    if (ks_ok(st))
        st = context_login(op, fn, session);
    if (ks_ok(st))
        st = decrypt(op, fn, session);
    ks_mech_blame(op->call.err, st, mech->kind);
    if (ks_ok(st) && mech->kind == KS_MECH_RSA_RAW)
        st = ks_answer_written(&op->call, KS_C_Decrypt);
    return ks_ok(st) ? restore_zeros(op, mech) : st;
}

static enum ks_operation class_of_use(const char *attribute)
{
    return strcmp(attribute, "CKA_SIGN") == 0      ? KS_OP_SIGN
           : strcmp(attribute, "CKA_DECRYPT") == 0 ? KS_OP_DECRYPT
                                                   : KS_OP_DERIVE;
}

ks_status ks_key_check_use(const struct ks_key *key, bool allowed, const char *attribute,
                           struct ks_error *err)
{
    char name[256];

    if (allowed)
        return KS_SUCCESS;
    ks_stats_refused(key->token, class_of_use(attribute),
                     key->stats != NULL ? key->stats->uri : NULL, attribute);
    return ks_fail_token(err, key->token, KS_KEY_USE,
                         "key %s does not permit this operation (%s is false)",
                         ks_object_name(key->object, name, sizeof(name)), attribute);
}

ks_status ks_sign(struct ks_key *key, const struct ks_call_options *opts,
                  const struct ks_mech *mech, const uint8_t *in, size_t in_len, uint8_t *out,
                  size_t *out_len, struct ks_error *err)
{
    struct ks_mech copy = *mech;
    struct ks_op op = {.call.token = key->token,
                       .key = key,
                       .class = KS_OP_SIGN,
                       .step = sign_step,
                       .call.opts = opts,
                       .call.err = err,
                       .arg = &copy,
                       .arg_size = sizeof(copy),
                       .call.in = in,
                       .call.in_len = in_len,
                       .call.out = out,
                       .call.room = *out_len,
                       .mech = mech};
    ks_status st = ks_key_check_use(key, key->object->can_sign, "CKA_SIGN", err);

    if (ks_ok(st) && ks_mech_takes_message(mech->kind) && in_len > KS_MESSAGE_MAX)
        st = ks_fail_token(err, key->token, KS_DATA,
                           "the token hashes by itself, and a message of %zu bytes is longer than "
                           "the %u that every module is known to take whole",
                           in_len, KS_MESSAGE_MAX);
    if (ks_ok(st))
        st = ks_op_run(&op);
    if (ks_ok(st))
        *out_len = op.call.out_len;
    return st;
}

ks_status ks_decrypt(struct ks_key *key, const struct ks_call_options *opts,
                     const struct ks_mech *mech, const uint8_t *in, size_t in_len, uint8_t *out,
                     size_t *out_len, struct ks_error *err)
{
    struct ks_mech copy = *mech;
    struct ks_op op = {.call.token = key->token,
                       .key = key,
                       .class = KS_OP_DECRYPT,
                       .step = decrypt_step,
                       .call.opts = opts,
                       .call.err = err,
                       .arg = &copy,
                       .arg_size = sizeof(copy),
                       .call.in = in,
                       .call.in_len = in_len,
                       .aux = mech->label,
                       .aux_len = mech->label_len,
                       .call.out = out,
                       .call.room = *out_len,
                       .mech = mech};
    ks_status st = ks_key_check_use(key, key->object->can_decrypt, "CKA_DECRYPT", err);

    if (ks_ok(st))
        st = ks_op_run(&op);
    if (ks_ok(st))
        *out_len = op.call.out_len;
    /* One error for whatever is wrong with the data. */
    else if (st.code == KS_DATA)
        st = ks_fail_token(err, key->token, KS_DATA, "decryption failed");
    return st;
}
