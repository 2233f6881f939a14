/* SPDX-License-Identifier: Apache-2.0
 *
 * op/worker.h - worker threads, for operations with a time limit or on a small stack.
 */
#ifndef HSM_KS_WORKER_H
#define HSM_KS_WORKER_H

#include "op.h"

/* Purpose: whether the calling thread's stack is too small for a module: see struct ks_pauser. */
bool ks_worker_needed(void);
/* Purpose: run ks_op_try(op) on a worker thread, and wait for it until `deadline_ns` (0: as long as
 * it takes). What the worker uses is its own copy: when it is not back in time it is left behind,
 * the token is marked as hung, and the call ends with KS_TIMEOUT. */
ks_status ks_worker_run(struct ks_op *op, uint64_t deadline_ns);
/* Purpose: whether calls have not come back from the token, and none has since. */
bool ks_token_hung(struct ks_token *token);
/* Purpose: try in the background whether a token answers again; at most one such try at a time
 * and token, with growing pauses. Returns at once. */
void ks_worker_probe(struct ks_token *token);

#endif
