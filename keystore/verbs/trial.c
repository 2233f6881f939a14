/* SPDX-License-Identifier: Apache-2.0
 *
 * trial.c - is the token's key the expected one? Somebody asks: try what the key can do.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "../token/connect.h"
#include "../token/key.h"
#include "../token/key_types.h"
#include "single.h"

/* For padding, encoding, and short keys. */
#define ROOM_MORE 64U

/* SHA-256's DigestInfo, and a digest that is nobody's; the string's own NUL is not part of it. */
static const uint8_t test_info[] =
    "\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"
    "is this the key that it is to be";
#define TEST_INFO_LEN   (sizeof(test_info) - 1)
#define TEST_DIGEST     (test_info + 19)
#define TEST_DIGEST_LEN 32U

static bool possible(struct ks_key *key, const struct ks_call_options *opts,
                     const struct ks_trial *t)
{
    const struct ks_object *o = key->object;
    struct ks_error err;
    bool can = false;

    if (!(t->class == KS_OP_SIGN      ? o->can_sign
          : t->class == KS_OP_DECRYPT ? o->can_decrypt
                                      : o->can_derive))
        return false;
    return ks_ok(ks_token_can_hash(key->token, opts, t->mech.kind, t->mech.digest, &can, &err)) &&
           can;
}

/* The operation proves itself on its way: what comes out of it does not matter. */
static ks_status try_one(struct ks_key *key, const struct ks_call_options *opts,
                         const struct ks_trial *t, uint8_t *room, size_t size, struct ks_error *err)
{
    const struct ks_key_type_row *row = ks_key_type_row(key->object->type);
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
    if (row->result_len != NULL)
        out_len = row->result_len(e->public_len);
    if (t->class == KS_OP_SIGN)
        return ks_sign(key, opts, &t->mech, in, in_len, room + 2 * size, &out_len, err);
    if (t->class == KS_OP_DECRYPT)
        return ks_decrypt(key, opts, &t->mech, in, in_len, room + 2 * size, &out_len, err);
    return ks_derive(key, opts, t->mech.kind == KS_MECH_ECDH_COFACTOR, in, in_len, room + 2 * size,
                     &out_len, err);
}

bool ks_single_shown(struct ks_key *key)
{
    bool is;

    pthread_mutex_lock(&key->token->pool.lock);
    is = atomic_load(&key->proved) == key->finding && ks_token_is_up_unlocked(key->token) &&
         key->epoch == key->token->pool.epoch;
    pthread_mutex_unlock(&key->token->pool.lock);
    return is;
}

ks_status ks_key_prove(struct ks_key *key, const struct ks_call_options *opts, struct ks_error *err)
{
    const struct ks_key_type_row *row = ks_key_type_row(key->object->type);
    size_t size = ROOM_MORE + key->expect.public_len;
    ks_status st = {KS_MECHANISM};
    bool tried = false;
    uint8_t *room;

    if (key->token->kind->shown(key))
        return KS_SUCCESS;
    room = calloc(3, size);
    if (room == NULL)
        return ks_no_memory(err);
    for (size_t i = 0; row != NULL && i < row->trial_count; i++) {
        if (!possible(key, opts, &row->trials[i]))
            continue;
        tried = true;
        st = try_one(key, opts, &row->trials[i], room, size, err);
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
