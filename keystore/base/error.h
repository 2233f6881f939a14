/* SPDX-License-Identifier: Apache-2.0
 *
 * base/error.h - what CKR_ codes mean, and how failures are put into words.
 * All functions are thread-safe.
 */
#ifndef HSM_KS_ERROR_H
#define HSM_KS_ERROR_H

#include <stdio.h>

#include "../keystore.h"
#include "pkcs11.h"

enum ks_recovery {
    KS_PERMANENT,     /* give up */
    KS_RETRY,         /* the same again after a pause */
    KS_AMBIGUOUS,     /* may be anything: once more on a fresh session */
    KS_SESSION_DIRTY, /* close this session, take another */
    KS_SESSION_LOST,  /* all sessions of this age are gone */
    KS_SESSIONS_FULL, /* the token has no room for a session: wait for one of ours */
    KS_LOGIN_LOST,    /* log in again */
    KS_STALE_HANDLE,  /* find the key again */
    KS_DEVICE_LOST,   /* bring the token up again */
    KS_RECOVERIES
};

#define KS_SUCCESS ((ks_status){KS_OK})

/* Purpose: the name of a function, "C_Login"; "" for KS_NO_FUNCTION. Static. */
const char *ks_fn_name(enum ks_fn fn);
/* Purpose: what `rv` from `function` means. */
void ks_classify(enum ks_fn function, CK_RV rv, enum ks_code *code, enum ks_recovery *class);
/* Purpose: what may help when connecting to a token or logging in has failed: KS_PERMANENT,
 * KS_RETRY, KS_SESSION_LOST, KS_DEVICE_LOST; or KS_AMBIGUOUS for a login that failed with a code
 * that need not mean a wrong PIN, which only reconnect() tries again. */
enum ks_recovery ks_recovery_of_error(const struct ks_error *err);
/* Purpose: "CKR_..." of a value, "CKR_VENDOR_DEFINED" or "unknown CKR_" for others. */
const char *ks_rv_name(CK_RV rv);
/* Purpose: fill `err` (may be NULL) with a sentence, and return its status. */
ks_status ks_fail(struct ks_error *err, enum ks_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Purpose: begin a new error in `err`. With a `name` the text begins with the token's label, or
 * with that name while the label is "". Returns the length of the text so far. */
size_t ks_error_begin(struct ks_error *err, enum ks_code code, const char *label, const char *name);
/* Purpose: fill `err` for a code that a module returned; `label` and `name` as above. `hint` may be
 * NULL, and says what to do. */
ks_status ks_error_rv(struct ks_error *err, const char *label, const char *name,
                      enum ks_fn function, CK_RV rv, const char *hint);
ks_status ks_no_memory(struct ks_error *err);
/* Purpose: append "; " and a sentence to the text of an error that there is. */
void ks_error_add(struct ks_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *ks_strdup_n(const void *data, size_t len); /* with a NUL behind */

#endif
