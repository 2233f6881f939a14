/* SPDX-License-Identifier: Apache-2.0
 *
 * base/process.h - what parts of the keystore do around a fork, and at the end of the process.
 */
#ifndef HSM_KS_PROCESS_H
#define HSM_KS_PROCESS_H

#include "../keystore.h"

/* What a part of the keystore does around a fork and at the end of the process; NULL: nothing. */
struct ks_process_part {
    void (*forking)(void);       /* before a fork, on its thread, when all calls have ended */
    void (*forked_parent)(void); /* after it, in the parent */
    void (*forked)(void);        /* and in the child, where this thread is the only one */
    void (*end_first)(void);     /* at the end of the process, before modules are finalised */
    void (*end_last)(void);      /* and when they are */
};

enum ks_process_moment { KS_FORKING, KS_FORKED_PARENT, KS_FORKED, KS_END_FIRST, KS_END_LAST };

/* Purpose: take part from now on; does nothing the second time. `part` is constant. Thread-safe. */
void ks_process_add(const struct ks_process_part *part);
/* Purpose: for the handlers in module/module.c: run what the parts have for that moment, in the
 * order in which they were added. */
void ks_process_run(enum ks_process_moment moment);
/* How many calls into modules this thread is in; more than 0 for what a module calls. */
extern _Thread_local unsigned ks_calls_inside;

#endif
