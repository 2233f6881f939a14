/* SPDX-License-Identifier: Apache-2.0
 *
 * op/worker.h - worker threads, for operations with a time limit or on a small stack.
 */
#ifndef HSM_KS_WORKER_H
#define HSM_KS_WORKER_H

#include "op.h"

/* Purpose: whether the calling thread's stack is too small for a module: see struct ks_pauser. */
bool ks_worker_needed(void);
/* Purpose: whether calls have not come back from the token, and none has since. */
bool ks_token_hung(struct ks_token *token);
/* Purpose: try in the background whether a token answers again; at most one such try at a time
 * and token, with growing pauses. Returns at once. */
void ks_worker_probe(struct ks_token *token);

#endif
