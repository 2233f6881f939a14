/* SPDX-License-Identifier: Apache-2.0
 *
 * ks_random.c - random bytes from the token.
 */
#include <string.h>

#include "ks_internal.h"

/* Every token takes this much at once; a TPM's limit is lower and reported by its module. */
#define CHUNK 256

struct random_request {
    uint8_t *out;
    size_t len;
};

static ks_status random_step(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                             CK_OBJECT_HANDLE key)
{
    struct random_request *r = op->arg;
    ks_status st = KS_SUCCESS;

    (void)key;
    for (size_t done = 0; ks_ok(st) && done < r->len;) {
        size_t n = r->len - done < CHUNK ? r->len - done : CHUNK;

        st = ks_op_rv(op, "C_GenerateRandom", fn->C_GenerateRandom(session, r->out + done, n));
        done += n;
    }
    return st;
}

ks_status ks_random(struct ks_token *token, const struct ks_how *how, uint8_t *out, size_t len,
                    struct ks_error *err)
{
    struct random_request r = {out, len};
    struct ks_op op = {.token = token, .step = random_step, .arg = &r, .how = how, .err = err};
    ks_status st = ks_op_run(&op);

    if (!ks_ok(st))
        explicit_bzero(out, len);
    return st;
}
