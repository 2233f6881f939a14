/* SPDX-License-Identifier: Apache-2.0
 *
 * observe/log.h - the log and the audit.
 */
#ifndef HSM_KS_LOG_H
#define HSM_KS_LOG_H

#include <stdatomic.h>

#include "../keystore.h"

/* Lines that are not written, because a disk is full or a file is not ours. */
extern _Atomic uint64_t ks_log_lost;
extern atomic_int ks_log_level; /* enum ks_log_level */
extern atomic_bool ks_log_auditing;
extern const char *ks_log_socket; /* syslog's; changed by tests */

/* Purpose: ask before anything is put together. */
static inline bool ks_log_on(enum ks_log_level level)
{
    return atomic_load_explicit(&ks_log_level, memory_order_relaxed) >= (int)level;
}

/* Purpose: one line: time, pid, level, event, the token's name (may be NULL), then fields: pairs of
 * name and value up to a NULL name. Fields with a NULL value are left out. Values are escaped here.
 * At most some dozens of lines a second are written by one process; how many were left out is in
 * the next one. */
void ks_log_event(enum ks_log_level level, const char *event, const char *token, ...)
    __attribute__((sentinel));
/* Purpose: the same of a call into a module: function and CKR_ name, the latter only if rv is not
 * CKR_OK. */
void ks_log_call(enum ks_log_level level, const char *event, const char *token, enum ks_fn function,
                 unsigned long rv);
/* Purpose: an audit line; nothing where no audit is wanted. */
void ks_log_audit_line(const char *token, enum ks_operation class, const char *key,
                       const char *outcome, const char *code);
void ks_log_forked(void);

#endif
