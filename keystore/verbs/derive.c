/* SPDX-License-Identifier: Apache-2.0
 *
 * derive.c - ECDH. The derived secret exists on the token as a session object between two
 * calls, and is destroyed on every path: tokens fill up with forgotten ones. Where it is not
 * certain that there is none left, the session is closed.
 */
#include <string.h>

#include "../op/op.h"
#include "../token/answer.h"
#include "../token/mech.h"

#define POINT_MAX 160 /* P-521 is 133 */

struct derivation {
    bool cofactor;
    size_t field;
};

/* The peer's point is raw in PKCS#11 2.40, and a DER OCTET STRING for modules that follow the
 * older text. Returns the length of what is in `buffer`. */
static size_t spell_point(const struct ks_op *op, bool der, uint8_t *buffer)
{
    size_t head = 0;

    if (der) {
        buffer[head++] = 4;
        if (op->call.in_len >= 0x80)
            buffer[head++] = 0x81;
        buffer[head++] = (uint8_t)op->call.in_len;
    }
    memcpy(buffer + head, op->call.in, op->call.in_len);
    return head + op->call.in_len;
}

static CK_RV derive_once(const struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                         CK_OBJECT_HANDLE key, bool der, bool with_len, CK_OBJECT_HANDLE *secret)
{
    static CK_OBJECT_CLASS klass = CKO_SECRET_KEY;
    static CK_KEY_TYPE type = CKK_GENERIC_SECRET;
    static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    const struct derivation *d = op->arg;
    CK_ULONG field = d->field;
    CK_ATTRIBUTE template[] = {
        {CKA_CLASS, &klass, sizeof(klass)},   {CKA_KEY_TYPE, &type, sizeof(type)},
        {CKA_TOKEN, &no, sizeof(no)},         {CKA_SENSITIVE, &no, sizeof(no)},
        {CKA_EXTRACTABLE, &yes, sizeof(yes)}, {CKA_VALUE_LEN, &field, sizeof(field)},
    };
    uint8_t point[POINT_MAX + 3];
    CK_ECDH1_DERIVE_PARAMS params = {.kdf = CKD_NULL};
    CK_MECHANISM mechanism = {
        ks_mech_type(d->cofactor ? KS_MECH_ECDH_COFACTOR : KS_MECH_ECDH, KS_DIGEST_NONE), &params,
        sizeof(params)};

    params.ulPublicDataLen = spell_point(op, der, point);
    params.pPublicData = point;
    return fn->C_DeriveKey(session, &mechanism, key, template, with_len ? 6 : 5, secret);
}

/* Spellings: the point raw or in DER, with and without a length in the template. */
static CK_RV derive_secret(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                           CK_OBJECT_HANDLE key, CK_OBJECT_HANDLE *secret)
{
    int known = atomic_load(&op->key->encoding);
    CK_RV rv;

    /* known - 1: bit 0 is DER, bit 1 is "no length" */
    if (known != KS_ENCODING_UNKNOWN)
        return derive_once(op, fn, session, key, ((known - 1) & 1) != 0, ((known - 1) & 2) == 0,
                           secret);
    for (int opts = 0; opts < 4; opts++) {
        if (opts > 0) /* the try before may have made its object all the same */
            op->call.close_session = true;
        rv = derive_once(op, fn, session, key, (opts & 1) != 0, (opts & 2) == 0, secret);
        if (rv == CKR_OK)
            atomic_store(&op->key->encoding, opts + 1);
        if (rv != CKR_MECHANISM_PARAM_INVALID && rv != CKR_ARGUMENTS_BAD &&
            rv != CKR_TEMPLATE_INCONSISTENT && rv != CKR_ATTRIBUTE_VALUE_INVALID &&
            rv != CKR_ATTRIBUTE_TYPE_INVALID && rv != CKR_GENERAL_ERROR)
            break;
    }
    return rv;
}

/* A number of the field's size: tokens that strip its leading zeros get them put back. */
static ks_status read_secret(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                             CK_OBJECT_HANDLE secret)
{
    const struct derivation *d = op->arg;
    uint8_t value[POINT_MAX];
    CK_ATTRIBUTE a = {CKA_VALUE, value, sizeof(value)};
    ks_status st;
    CK_RV rv;

    st = ks_answer_attributes(&op->call, fn, session, secret, &a, 1, &rv);
    if (ks_ok(st))
        st = ks_call_rv(&op->call, KS_C_GetAttributeValue, rv);
    if (ks_ok(st) && (a.ulValueLen == 0 || a.ulValueLen > d->field))
        st = ks_fail_token(op->call.err, op->call.token, KS_TOKEN,
                           "C_DeriveKey: the shared secret has %lu bytes and not %zu",
                           (unsigned long)a.ulValueLen, d->field);
    if (ks_ok(st)) {
        memset(op->call.out, 0, d->field - a.ulValueLen);
        memcpy(op->call.out + (d->field - a.ulValueLen), value, a.ulValueLen);
        op->call.out_len = d->field;
        st = ks_answer_written(&op->call, KS_C_GetAttributeValue);
    }
    explicit_bzero(value, sizeof(value));
    return st;
}

static ks_status derive_step(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                             CK_OBJECT_HANDLE key)
{
    CK_OBJECT_HANDLE secret = CK_INVALID_HANDLE;
    enum ks_fn function;
    ks_status st;
    CK_RV rv;

    st = ks_call_rv(&op->call, KS_C_DeriveKey, derive_secret(op, fn, session, key, &secret));
    if (ks_ok(st))
        st = ks_answer_handle(op->call.token, KS_C_DeriveKey, secret, op->call.err);
    if (!ks_ok(st)) {
        op->call.close_session = true; /* whatever it made before it failed */
        return st;
    }
    st = read_secret(op, fn, session, secret);
    rv = op->call.rv;
    function = op->call.function;
    /* the object ends with its session, if not before */
    if (fn->C_DestroyObject(session, secret) != CKR_OK || !ks_ok(st))
        op->call.close_session = true;
    op->call.rv = rv;
    op->call.function = function;
    return st;
}

ks_status ks_derive(struct ks_key *key, const struct ks_call_options *opts, bool cofactor,
                    const uint8_t *peer, size_t peer_len, uint8_t *out, size_t *out_len,
                    struct ks_error *err)
{
    const struct ks_mech mech = {.kind = cofactor ? KS_MECH_ECDH_COFACTOR : KS_MECH_ECDH};
    struct derivation d = {.cofactor = cofactor, .field = peer_len / 2};
    struct ks_op op = {.call.token = key->token,
                       .key = key,
                       .class = KS_OP_DERIVE,
                       .step = derive_step,
                       .call.opts = opts,
                       .call.err = err,
                       .arg = &d,
                       .arg_size = sizeof(d),
                       .call.in = peer,
                       .call.in_len = peer_len,
                       .call.out = out,
                       .call.room = *out_len,
                       .mech = &mech};
    ks_status st;

    if (peer_len < 3 || peer_len > POINT_MAX || peer[0] != 4)
        return ks_fail(err, KS_DATA, "ECDH: the peer's point is not an uncompressed point");
    if (*out_len < d.field)
        return ks_fail(err, KS_INTERNAL, "ECDH: the buffer is too small");
    st = ks_key_check_use(key, key->object->can_derive, "CKA_DERIVE", err);
    if (ks_ok(st))
        st = ks_op_run(&op);
    if (ks_ok(st))
        *out_len = op.call.out_len;
    return st;
}
