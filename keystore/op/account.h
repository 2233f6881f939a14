/* SPDX-License-Identifier: Apache-2.0
 *
 * op/account.h - what operations add to the statistics, the log and the audit. Thread-safe.
 */
#ifndef HSM_KS_ACCOUNT_H
#define HSM_KS_ACCOUNT_H

#include "../token/token.h"
#include "op.h"

/* Purpose: count and log an operation on one token that has ended with that status; its measure
 * was begun with ks_measure_begin(). On the caller's thread. */
void ks_account_end(struct ks_op *op, ks_status st);
/* Purpose: no member of a group could be asked: counted as refused. */
void ks_account_no_member(const struct ks_op *op);
/* Purpose: the operation goes on on `to` because `from` failed it: counted for `from`, logged. */
void ks_account_failed_over(struct ks_token *from, const struct ks_token *to,
                            enum ks_operation class);
/* Purpose: one audit line for each operation with a private key, never left out, by the member that
 * did it, or was tried last. */
void ks_account_audit(const struct ks_op *op, ks_status st);

#endif
