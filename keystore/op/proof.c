/* SPDX-License-Identifier: Apache-2.0
 *
 * proof.c - is it the expected key that gave this result? This is asked of the first result after
 * a key was found, if its private object shows nothing of its public half, and it is answered
 * before the caller gets the result.
 *
 * A signature is its own proof. A decryption and a derivation are not: their input is a stranger's
 * choice, and there are inputs that any key answers alike (a raw block of 0 or 1, and with a small
 * exponent every small power). So the token does the same once more with an input that is made up
 * here, and whose answer only the expected key has. That goes for raw signatures as well, which
 * are raw decryptions by another name.
 */
#include <stdlib.h>
#include <string.h>

#include "op.h"

/* For padding, encoding, and short keys. */
#define ROOM_MORE 64U

/* Another key gave the result: forget the handle, so that the next operation finds the key again,
 * and report it. */
static ks_status not_the_key(struct ks_op *op, const char *what)
{
    char name[256];

    ks_key_forget(op->key, op->call.epoch);
    if (op->call.out != NULL)
        explicit_bzero(op->call.out, op->call.room);
    op->call.function = KS_NO_FUNCTION;
    op->call.rv = CKR_OK;
    return ks_fail_token(op->call.err, op->call.token, KS_KEY_MISMATCH,
                         "%s: the token's key is another one; key %s was replaced, or the key "
                         "reference belongs to another token: make a new reference (hsmkey "
                         "reference)",
                         what, ks_object_name(op->key->object, name, sizeof(name)));
}

static bool is_signature(const struct ks_op *op)
{
    return op->class == KS_OP_SIGN && op->mech->kind != KS_MECH_RSA_RAW;
}

static ks_status prove_signature(struct ks_op *op)
{
    const struct ks_expect *e = &op->key->expect;

    if (!e->verify(e->arg, op->mech, op->call.in, op->call.in_len, op->call.out, op->call.out_len))
        return not_the_key(op, "the signature does not verify with the expected public key");
    atomic_store(&op->key->proved, op->call.finding);
    return KS_SUCCESS;
}

/* What the probe has cost and met belongs to the operation. */
static void take_over(struct ks_op *op, const struct ks_op *probe, ks_status st)
{
    op->measure = probe->measure;
    if (ks_ok(st))
        return;
    op->call.function = probe->call.function;
    op->call.rv = probe->call.rv;
    op->call.epoch = probe->call.epoch;
}

/* `room` has three parts of `size` bytes: input, answer, and what the token says. */
static ks_status prove_by_challenge(struct ks_op *op, const struct ks_call_options *opts,
                                    uint8_t *room, size_t size, bool *again)
{
    const struct ks_expect *e = &op->key->expect;
    uint8_t *in = room, *answer = room + size;
    size_t in_len = size, answer_len = size;
    struct ks_op probe = {.call.token = op->call.token,
                          .key = op->key,
                          .step = op->step,
                          .call.opts = opts,
                          .call.err = op->call.err,
                          .arg = op->arg,
                          .arg_size = op->arg_size,
                          .call.in = in,
                          .call.out = room + 2 * size,
                          .move_on = op->move_on,
                          .class = op->class,
                          .measure = op->measure};
    ks_status st;

    if (!e->challenge(e->arg, op->mech, in, &in_len, answer, &answer_len))
        return ks_fail_token(op->call.err, op->call.token, KS_INTERNAL,
                             "nothing could be made up in software that would prove that the "
                             "token's key is the expected one");
    probe.call.in_len = in_len;
    /* as in the operation itself: some tokens take no other room */
    probe.call.room = op->call.room < size ? op->call.room : size;
    st = ks_op_run_direct(&probe);
    take_over(op, &probe, st);
    if (!ks_ok(st) && st.code != KS_DATA)
        return st;
    if (!ks_ok(st) || probe.call.out_len != answer_len ||
        memcmp(probe.call.out, answer, answer_len) != 0) {
        op->call.epoch = probe.call.epoch;
        return not_the_key(op, "a trial has not given what the expected key would give");
    }
    atomic_store(&op->key->proved, probe.call.finding);
    *again = probe.call.finding != op->call.finding;
    return KS_SUCCESS;
}

ks_status ks_prove(struct ks_op *op, const struct ks_call_options *opts, bool *again)
{
    const struct ks_expect *e = &op->key->expect;
    size_t size = ROOM_MORE + (e->public_len > op->call.in_len ? e->public_len : op->call.in_len);
    uint8_t *room;
    ks_status st;

    *again = false;
    if (is_signature(op))
        return e->verify != NULL ? prove_signature(op) : KS_SUCCESS;
    if (e->challenge == NULL)
        return KS_SUCCESS;
    room = calloc(3, size);
    if (room == NULL)
        return ks_no_memory(op->call.err);
    st = prove_by_challenge(op, opts, room, size, again);
    explicit_bzero(room, 3 * size);
    free(room);
    return st;
}
