/* SPDX-License-Identifier: Apache-2.0
 *
 * op/op.h - an operation: what is asked of a token, tried until it is done or cannot be.
 */
#ifndef HSM_KS_OP_H
#define HSM_KS_OP_H

#include <stdatomic.h>

#include "../token/call.h"
#include "../token/key.h"

struct ks_op;

/* One try, inside the gate. Codes from the module go through ks_call_rv(). */
typedef ks_status (*ks_step)(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                             CK_OBJECT_HANDLE key);

struct ks_op {
    struct ks_call call;
    struct ks_key *key; /* NULL: the step needs no key handle */
    ks_step step;
    /* Instead of all that: no session, no key, run once, for questions that need no login. */
    ks_status (*direct)(struct ks_op *op);
    /* Parameters and results of the step, plain bytes that may be moved; what they point to is
     * owned by them and released by `release` (NULL: nothing). */
    void *arg;
    size_t arg_size;
    void (*release)(void *arg);
    const uint8_t *aux; /* OAEP's label */
    size_t aux_len;
    /* What the private key does: the proof is made of it, on the caller's thread and outside the
     * gate, and members of a cluster are chosen by it. The caller's. NULL: nothing to prove. */
    const struct ks_mech *mech;
    void (*done)(struct ks_op *op, ks_status status); /* completion; may be NULL */
    bool once;        /* not safe to run again: generation, deletion */
    bool move_on;     /* there are other tokens to try: do not bring this one back first */
    bool inline_only; /* never on a worker: its arguments are the caller's */
    bool read_write;  /* needs a read-write session */
    enum ks_operation class;
    /* set by ks_op_run */
    bool attempted;  /* a try has begun; not copied back from a worker that was left behind */
    unsigned logins; /* how often this operation has logged in again */
    const struct ks_token *ran_on; /* in a group: the member that was tried last; else NULL */
    struct ks_measure measure;
};

/* Purpose: before an operation that searches for something: connect to its token, on this thread,
 * because a person may have to be asked for the PIN; and check that `uri` is about that token. A
 * failed connection is counted as the operation's failure. */
ks_status ks_op_reach(struct ks_op *op, const struct ks_uri *uri);
/* Purpose: run the operation: session, key handle, step; and again after a failure as long as
 * ks_recovery_rows says so. The result is proved and counted. */
ks_status ks_op_run(struct ks_op *op);
/* Purpose: the operation on one token that is no group: inline or on a worker, and proved. */
ks_status ks_op_run_on(struct ks_op *op);
/* Purpose: run `direct`, or the step, within the token's time; nothing is counted. */
ks_status ks_op_run_direct(struct ks_op *op);
/* Purpose: the loop of tries of ks_op_run, on one token and on this thread. */
ks_status ks_op_try(struct ks_op *op);

/* --- proofs (op/proof.c) --------------------------------------------------------------------- */

/* Purpose: prove that the expected key gave the operation's result. KS_KEY_MISMATCH, and `out`
 * wiped, when it was another one. `*again`: the key was found again meanwhile, so the proof is not
 * about the key that gave the result: run the operation again. */
ks_status ks_prove(struct ks_op *op, const struct ks_call_options *opts, bool *again);
/* Purpose: after an operation, tell whether its result has to be proved before the caller gets it:
 * since the key was found, nothing has shown that it is the expected one. "Bad ciphertext" is a
 * result, too: with another key every ciphertext is bad. */
static inline bool ks_proof_wanted(const struct ks_op *op, ks_status st)
{
    return op->key != NULL && op->mech != NULL &&
           (st.code == KS_OK || (st.code == KS_DATA && op->class == KS_OP_DECRYPT)) &&
           atomic_load_explicit(&op->key->proved, memory_order_relaxed) != op->call.finding &&
           (op->key->expect.verify != NULL || op->key->expect.challenge != NULL);
}

/* --- statistics, log and audit (op/account.c) ------------------------------------------------ */

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
