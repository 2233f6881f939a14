/* SPDX-License-Identifier: Apache-2.0
 *
 * op/recovery.h - what is done about each class of failure, before an operation is tried again.
 */
#ifndef HSM_KS_RECOVERY_H
#define HSM_KS_RECOVERY_H

#include "../base/error.h"
#include "../token/session.h"

enum ks_remedy {
    KS_REMEDY_NONE,
    KS_REMEDY_LOG_IN,    /* in the same session, while it is still ours */
    KS_REMEDY_FIND_KEY,  /* forget the key's handle, so that the next try looks for it */
    KS_REMEDY_RECONNECT, /* end the token's epoch, so that the next try connects again */
    KS_REMEDIES
};

struct ks_recovery_row {
    const char *name;
    const char *meaning;       /* for docs/recovery.md */
    unsigned retries;          /* for one operation */
    uint64_t pause_ns;         /* before the first of them; doubles each time */
    enum ks_session_fate fate; /* of the session; where it is KEEP, see session_is_clean() */
    enum ks_remedy remedy;
};

/* One row for each enum ks_recovery. */
extern const struct ks_recovery_row ks_recovery_rows[KS_RECOVERIES];

#endif
