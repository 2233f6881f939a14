/* SPDX-License-Identifier: Apache-2.0
 *
 * op.c - the entry of all operations: count it, run it, see that it is proved, and account for
 * it.
 */
#include <string.h>

#include "../observe/log.h"
#include "../token/kind.h"
#include "op.h"

/* How often an operation is run and proved again because its key was found again meanwhile. */
#define PROOFS_MAX 4

/* A result that has to be proved, in the time of the operation. */
static ks_status proved(struct ks_op *op, ks_status st)
{
    const struct ks_call_options *opts = op->call.opts;
    struct ks_call_options within = {.deadline_ns = 0};
    uint64_t own = op->measure.start_ns + op->call.token->timeout_ns;
    ks_status proof;
    bool again;

    if (opts != NULL)
        within = *opts;
    if (op->call.token->timeout_ns != 0 && (within.deadline_ns == 0 || own < within.deadline_ns))
        within.deadline_ns = own;
    /* cppcheck-suppress autoVariables ; taken back below */
    op->call.opts = &within;
    for (unsigned i = 0; ks_proof_wanted(op, st); i++) {
        if (i == PROOFS_MAX) {
            st = ks_fail_token(op->call.err, op->call.token, KS_DEVICE,
                               "the sessions were lost again and again before it could be proved "
                               "that the key is the expected one");
            break;
        }
        proof = ks_prove(op, &within, &again);
        if (!ks_ok(proof))
            st = proof;
        if (!ks_ok(proof) || !again)
            break;
        st = ks_op_run_direct(op);
    }
    op->call.opts = opts;
    return st;
}

ks_status ks_op_run_on(struct ks_op *op)
{
    ks_status st;

    ks_measure_begin(&op->measure);
    st = ks_op_run_direct(op);
    if (ks_proof_wanted(op, st))
        st = proved(op, st);
    ks_account_end(op, st);
    return st;
}

ks_status ks_op_run(struct ks_op *op)
{
    ks_status st = op->call.token->kind->run(op);

    if (!ks_ok(st) && op->call.out != NULL)
        explicit_bzero(op->call.out, op->call.room);
    if (atomic_load_explicit(&ks_log_auditing, memory_order_relaxed))
        ks_account_audit(op, st);
    if (op->done != NULL)
        op->done(op, st);
    return st;
}
