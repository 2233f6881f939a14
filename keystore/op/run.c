/* SPDX-License-Identifier: Apache-2.0
 *
 * run.c - an operation on one token within its time: here, or on a worker thread.
 */
#include "../base/clock.h"
#include "worker.h"

/* On one token: inline; or, within a time or from a stack that is too small, on a worker. */
ks_status ks_op_run_direct(struct ks_op *op)
{
    uint64_t deadline = op->call.opts != NULL ? op->call.opts->deadline_ns : 0, own;

    if (op->inline_only || (op->call.token->timeout_ns == 0 && !ks_worker_needed()))
        return ks_op_try(op);
    if (op->call.token->timeout_ns != 0) {
        own = ks_now_ns() + op->call.token->timeout_ns;
        if (deadline == 0 || own < deadline)
            deadline = own;
    }
    return ks_worker_run(op, deadline);
}
