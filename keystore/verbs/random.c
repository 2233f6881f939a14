/* SPDX-License-Identifier: Apache-2.0
 *
 * random.c - random bytes from the token.
 */
#include "../op/op.h"
#include "../token/answer.h"

/* Tokens limit what they give at once, and do not say how much that is. */
#define CHUNK_FIRST 256U
#define CHUNK_LEAST KS_RANDOM_LEAST

static ks_status random_step(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                             CK_OBJECT_HANDLE key)
{
    unsigned chunk = atomic_load(&op->call.token->mechs.random_chunk);
    ks_status st = KS_SUCCESS;

    (void)key;
    if (chunk == 0)
        chunk = CHUNK_FIRST;
    for (size_t done = 0; done < op->call.room;) {
        size_t n = op->call.room - done < chunk ? op->call.room - done : chunk;
        CK_RV rv;

        st = ks_answer_random(&op->call, fn, session, op->call.out + done, n, &rv);
        if ((rv == CKR_ARGUMENTS_BAD || rv == CKR_DATA_LEN_RANGE) && n > CHUNK_LEAST) {
            chunk = (unsigned)n / 2;
            atomic_store(&op->call.token->mechs.random_chunk, chunk);
            continue;
        }
        if (ks_ok(st))
            st = ks_call_rv(&op->call, KS_C_GenerateRandom, rv);
        if (!ks_ok(st))
            break;
        done += n;
    }
    return st;
}

ks_status ks_random(struct ks_token *token, const struct ks_call_options *opts, uint8_t *out,
                    size_t len, struct ks_error *err)
{
    struct ks_op op = {.call.token = token,
                       .class = KS_OP_RANDOM,
                       .step = random_step,
                       .call.opts = opts,
                       .call.err = err,
                       .call.out = out,
                       .call.room = len};

    return ks_op_run(&op);
}
