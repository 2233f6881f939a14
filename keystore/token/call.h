/* SPDX-License-Identifier: Apache-2.0
 *
 * token/call.h - the PKCS#11 calls of one try of an operation.
 */
#ifndef HSM_KS_CALL_H
#define HSM_KS_CALL_H

#include "../base/error.h"

struct ks_token;
struct ks_gate;

/* What the PKCS#11 calls of one try of an operation work on, and what has come of them: the part
 * of an operation that this floor sees. */
struct ks_call {
    struct ks_token *token;
    const struct ks_call_options *opts; /* the deadline covers all tries */
    struct ks_error *err;
    const uint8_t *in;
    size_t in_len;
    uint8_t *out; /* wiped on failure */
    size_t room, out_len;
    /* set by ks_call_rv(): the last function that was called, and its code */
    enum ks_fn function;
    CK_RV rv;
    bool close_session;      /* something was left in it */
    uint64_t epoch, finding; /* of the session, and of the key's handle */
    struct ks_gate *gate;    /* that the calls are inside of */
};

/* Purpose: note the function and its code, for classification. Returns success for CKR_OK. */
ks_status ks_call_rv(struct ks_call *call, enum ks_fn function, CK_RV rv);

#endif
