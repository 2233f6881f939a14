/* SPDX-License-Identifier: Apache-2.0
 *
 * ks_proof.c - is it the expected key that gave this result? Asked where the private object shows
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

#include "ks_internal.h"

/* For padding, encoding, and short keys. */
#define ROOM_MORE 64U

/* The object that was found is another one, or useless: the next operation looks for it anew. */
static ks_status not_the_key(struct ks_op *op, const char *what)
{
    char name[256];

    ks_key_forget(op->key, op->epoch);
    if (op->out != NULL)
        explicit_bzero(op->out, op->room);
    op->function = "";
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
static ks_status prove_by_challenge(struct ks_op *op, const struct ks_how *how, uint8_t *room,
                                    size_t size, bool *again)
{
    const struct ks_expect *e = &op->key->expect;
    uint8_t *in = room, *answer = room + size;
    size_t in_len = size, answer_len = size;
    struct ks_op probe = {.token = op->token,
                          .key = op->key,
                          .step = op->step,
                          .how = how,
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

ks_status ks_prove(struct ks_op *op, const struct ks_how *how, bool *again)
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
    st = prove_by_challenge(op, how, room, size, again);
    explicit_bzero(room, 3 * size);
    free(room);
    return st;
}

/* --- on request ------------------------------------------------------------------------------ */

/* SHA-256's DigestInfo, and a digest that is nobody's; the string's own NUL is not part of it. */
static const uint8_t test_info[] =
    "\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"
    "is this the key that it is to be";
#define TEST_INFO_LEN   (sizeof(test_info) - 1)
#define TEST_DIGEST     (test_info + 19)
#define TEST_DIGEST_LEN 32U

/* What can be tried, in this order. A signature first: it is what most keys are for. */
static const struct trial {
    enum ks_key_type type;
    enum ks_op_class class;
    struct ks_mech mech;
} trials[] = {
    {KS_KEY_RSA, KS_OP_SIGN, {.kind = KS_MECH_RSA_PKCS1}},
    {KS_KEY_RSA,
     KS_OP_SIGN,
     {.kind = KS_MECH_RSA_PSS,
      .digest = KS_DIGEST_SHA256,
      .mgf1 = KS_DIGEST_SHA256,
      .salt_len = TEST_DIGEST_LEN}},
    {KS_KEY_RSA, KS_OP_SIGN, {.kind = KS_MECH_RSA_PKCS1_HASH, .digest = KS_DIGEST_SHA256}},
    {KS_KEY_RSA,
     KS_OP_SIGN,
     {.kind = KS_MECH_RSA_PSS_HASH,
      .digest = KS_DIGEST_SHA256,
      .mgf1 = KS_DIGEST_SHA256,
      .salt_len = TEST_DIGEST_LEN}},
    {KS_KEY_RSA, KS_OP_SIGN, {.kind = KS_MECH_RSA_RAW}},
    {KS_KEY_RSA, KS_OP_DECRYPT, {.kind = KS_MECH_RSA_RAW}},
    {KS_KEY_RSA,
     KS_OP_DECRYPT,
     {.kind = KS_MECH_RSA_OAEP, .digest = KS_DIGEST_SHA1, .mgf1 = KS_DIGEST_SHA1}},
    {KS_KEY_RSA, KS_OP_DECRYPT, {.kind = KS_MECH_RSA_PKCS1}},
    {KS_KEY_EC, KS_OP_SIGN, {.kind = KS_MECH_ECDSA}},
    {KS_KEY_EC, KS_OP_SIGN, {.kind = KS_MECH_ECDSA_HASH, .digest = KS_DIGEST_SHA256}},
    {KS_KEY_EC, KS_OP_DERIVE, {.kind = KS_MECH_ECDH}},
    {KS_KEY_EC, KS_OP_DERIVE, {.kind = KS_MECH_ECDH_COFACTOR}},
    {KS_KEY_EDWARDS, KS_OP_SIGN, {.kind = KS_MECH_EDDSA}},
};

static bool possible(struct ks_key *key, const struct ks_how *how, const struct trial *t)
{
    const struct ks_object *o = key->object;
    struct ks_error err;
    bool can = false;

    if (t->type != o->type || !(t->class == KS_OP_SIGN      ? o->can_sign
                                : t->class == KS_OP_DECRYPT ? o->can_decrypt
                                                            : o->can_derive))
        return false;
    return ks_ok(ks_token_can_hash(key->token, how, t->mech.kind, t->mech.digest, &can, &err)) &&
           can;
}

/* The operation proves itself on its way: what comes out of it does not matter. */
static ks_status try_one(struct ks_key *key, const struct ks_how *how, const struct trial *t,
                         uint8_t *room, size_t size, struct ks_error *err)
{
    const struct ks_expect *e = &key->expect;
    bool whole = t->mech.kind == KS_MECH_RSA_PKCS1;
    const uint8_t *in = whole ? test_info : TEST_DIGEST;
    size_t in_len = whole ? TEST_INFO_LEN : TEST_DIGEST_LEN, answer_len = size;
    size_t out_len = size - ROOM_MORE;

    if (t->class != KS_OP_SIGN || t->mech.kind == KS_MECH_RSA_RAW) {
        in = room;
        in_len = size;
        if (e->challenge == NULL ||
            !e->challenge(e->arg, &t->mech, room, &in_len, room + size, &answer_len))
            return ks_fail(err, KS_MECHANISM, "%s cannot be tried", ks_mech_name(t->mech.kind));
    } else if (e->verify == NULL) {
        return ks_fail(err, KS_MECHANISM, "%s cannot be tried", ks_mech_name(t->mech.kind));
    }
    if (key->object->type != KS_KEY_RSA) /* twice a coordinate, whatever the curve */
        out_len = key->object->type == KS_KEY_EC ? e->public_len - 1 : 2 * e->public_len;
    if (t->class == KS_OP_SIGN)
        return ks_sign(key, how, &t->mech, in, in_len, room + 2 * size, &out_len, err);
    if (t->class == KS_OP_DECRYPT)
        return ks_decrypt(key, how, &t->mech, in, in_len, room + 2 * size, &out_len, err);
    return ks_derive(key, how, t->mech.kind == KS_MECH_ECDH_COFACTOR, in, in_len, room + 2 * size,
                     &out_len, err);
}

static bool shown(struct ks_key *key)
{
    bool is;

    for (size_t i = 0; key->members != NULL && i < key->token->member_count; i++)
        if (key->members[i].key != NULL)
            return shown(key->members[i].key);
    pthread_mutex_lock(&key->token->lock);
    is = atomic_load(&key->proved) == key->finding && ks_token_up_locked(key->token) &&
         key->epoch == key->token->epoch;
    pthread_mutex_unlock(&key->token->lock);
    return is;
}

ks_status ks_key_prove(struct ks_key *key, const struct ks_how *how, struct ks_error *err)
{
    size_t size = ROOM_MORE + key->expect.public_len;
    ks_status st = {KS_MECHANISM};
    bool tried = false;
    uint8_t *room;

    if (shown(key))
        return KS_SUCCESS;
    room = calloc(3, size);
    if (room == NULL)
        return ks_no_memory(err);
    for (size_t i = 0; i < sizeof(trials) / sizeof(trials[0]); i++) {
        if (!possible(key, how, &trials[i]))
            continue;
        tried = true;
        st = try_one(key, how, &trials[i], room, size, err);
        if (st.code != KS_MECHANISM && st.code != KS_KEY_USE)
            break;
    }
    explicit_bzero(room, 3 * size);
    free(room);
    if (!tried)
        st = ks_fail_token(err, key->token, KS_MECHANISM,
                           "the key's object does not show its public half, and there is nothing "
                           "that the key permits and the token lists to prove it with");
    return st;
}
