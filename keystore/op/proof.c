/* SPDX-License-Identifier: Apache-2.0
 *
 * proof.c - is it the expected key that gave this result? Asked where the private object shows
 * nothing of its public half, of the first result each time that the key was found, and answered
 * before anybody sees that result.
 *
 * A signature is its own proof. A decryption and a derivation are not: their input is a stranger's
 * choice, and there are inputs that any key answers alike (a raw block of 0 or 1, and with a small
 * exponent every small power). So the token does the same once more with an input that is made up
 * here, and whose answer only the expected key has. That goes for raw signatures as well, which
 * are raw decryptions by another name.
 */
#include <stdlib.h>
#include <string.h>

#include "../ks_internal.h"

/* For padding, encoding, and short keys. */
#define ROOM_MORE 64U

/* The object that was found is another one, or useless: the next operation looks for it anew. */
static ks_status not_the_key(struct ks_op *op, const char *what)
{
    char name[256];

    ks_key_forget(op->key, op->epoch);
    if (op->out != NULL)
        explicit_bzero(op->out, op->room);
    op->function = KS_NO_FUNCTION;
    op->rv = CKR_OK;
    return ks_fail_token(op->err, op->token, KS_KEY_MISMATCH,
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

    if (!e->verify(e->arg, op->mech, op->in, op->in_len, op->out, op->out_len))
        return not_the_key(op, "the signature does not verify with the expected public key");
    atomic_store(&op->key->proved, op->finding);
    return KS_SUCCESS;
}

/* What the probe has cost and met belongs to the operation. */
static void take_over(struct ks_op *op, const struct ks_op *probe, ks_status st)
{
    op->measure = probe->measure;
    if (ks_ok(st))
        return;
    op->function = probe->function;
    op->rv = probe->rv;
    op->epoch = probe->epoch;
}

/* `room` has three parts of `size` bytes: input, answer, and what the token says. */
static ks_status prove_by_challenge(struct ks_op *op, const struct ks_call_options *opts,
                                    uint8_t *room, size_t size, bool *again)
{
    const struct ks_expect *e = &op->key->expect;
    uint8_t *in = room, *answer = room + size;
    size_t in_len = size, answer_len = size;
    struct ks_op probe = {.token = op->token,
                          .key = op->key,
                          .step = op->step,
                          .opts = opts,
                          .err = op->err,
                          .arg = op->arg,
                          .arg_size = op->arg_size,
                          .in = in,
                          .out = room + 2 * size,
                          .move_on = op->move_on,
                          .class = op->class,
                          .measure = op->measure};
    ks_status st;

    if (!e->challenge(e->arg, op->mech, in, &in_len, answer, &answer_len))
        return ks_fail_token(op->err, op->token, KS_INTERNAL,
                             "nothing could be made up in software that would prove that the "
                             "token's key is the expected one");
    probe.in_len = in_len;
    /* as in the operation itself: some tokens take no other room */
    probe.room = op->room < size ? op->room : size;
    st = ks_op_run_direct(&probe);
    take_over(op, &probe, st);
    if (!ks_ok(st) && st.code != KS_DATA)
        return st;
    if (!ks_ok(st) || probe.out_len != answer_len || memcmp(probe.out, answer, answer_len) != 0) {
        op->epoch = probe.epoch;
        return not_the_key(op, "a trial has not given what the expected key would give");
    }
    atomic_store(&op->key->proved, probe.finding);
    *again = probe.finding != op->finding;
    return KS_SUCCESS;
}

ks_status ks_prove(struct ks_op *op, const struct ks_call_options *opts, bool *again)
{
    const struct ks_expect *e = &op->key->expect;
    size_t size = ROOM_MORE + (e->public_len > op->in_len ? e->public_len : op->in_len);
    uint8_t *room;
    ks_status st;

    *again = false;
    if (is_signature(op))
        return e->verify != NULL ? prove_signature(op) : KS_SUCCESS;
    if (e->challenge == NULL)
        return KS_SUCCESS;
    room = calloc(3, size);
    if (room == NULL)
        return ks_no_memory(op->err);
    st = prove_by_challenge(op, opts, room, size, again);
    explicit_bzero(room, 3 * size);
    free(room);
    return st;
}
