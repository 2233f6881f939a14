/* SPDX-License-Identifier: Apache-2.0
 *
 * module/module.h - PKCS#11 modules of this process, and the gate that every call passes.
 */
#ifndef HSM_KS_MODULE_H
#define HSM_KS_MODULE_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "../base/error.h"

struct ks_module {
    struct ks_module *next;
    char *path; /* as configured */
    char *key;  /* canonical path: what makes two configurations the same module */
    char *init_args;
    unsigned refs; /* registry lock */

    CK_FUNCTION_LIST *fn; /* p11-kit's managed list; once set never released */
    bool sends_sigpipe;   /* p11-kit's remote client */
    char *remote;         /* the server's address in p11-kit's configuration, or NULL */
    bool not_after_fork;  /* no use in a child of a process that used it */
    pthread_mutex_t init_lock;
    atomic_uint initialized;    /* fork count + 1 at which we called C_Initialize; 0: never */
    atomic_uint init_count;     /* handles from before the last C_Initialize are dead */
    bool exit_handled;          /* init_lock: the handler for the end of the process is there */
    _Atomic uint64_t reinit_ns; /* when it was last finalised and initialised again; 0: never */
    uint64_t drain_failed_ns;   /* init_lock: when calls last kept that from being done */
    atomic_bool starting; /* being loaded, initialised or finalised: p11-kit has a lock then */
    bool stuck;           /* in a child that was forked meanwhile: that lock stays locked */
    atomic_uint in_flight;
    _Atomic int gate; /* enum ks_gate_state */
};

enum ks_gate_state {
    KS_GATE_OPEN,
    KS_GATE_PAUSED, /* being finalised and initialised: wait */
};

/* A pass through the gate of a module; lives on the caller's stack. */
struct ks_gate {
    struct ks_module *module;
    void *cookie;
    sigset_t old_mask;
    bool sigpipe_was_pending;
};

/* Purpose: find or make the process-wide entry for a module. Loads nothing. */
ks_status ks_module_get(const char *path, const char *init_args, struct ks_module **out,
                        struct ks_error *err);
void ks_module_put(struct ks_module *module);
/* Purpose: load the module and initialise it for this process, if that is still to be done. */
ks_status ks_module_ready(struct ks_module *module, struct ks_error *err);
/* Purpose: the time (ks_now_ns) from which ks_module_reinit() with that interval does it;
 * 0: any. */
uint64_t ks_module_reinit_at(struct ks_module *module, uint64_t interval_ns);
/* Purpose: a module that has lost its device: finalise it and initialise it again, unless another
 * thread did so since `seen` (an init_count), and at most once in `interval_ns`. Waits a bounded
 * time for the calls in flight, until the deadline (0: none) at most; fails with KS_DEVICE when it
 * may not or cannot. */
ks_status ks_module_reinit(struct ks_module *module, unsigned seen, uint64_t interval_ns,
                           uint64_t deadline_ns, struct ks_error *err);
/* Purpose: enter before C_ calls and leave after them. No lock is taken unless the module is
 * being initialised again, which is waited for. Fails with KS_SHUTDOWN at the end of the
 * process. Never nested. */
ks_status ks_gate_enter(struct ks_gate *gate, struct ks_module *module, struct ks_error *err);
void ks_gate_leave(struct ks_gate *gate);
/* Purpose: how often this process was forked: handles of another count must not be used. */
unsigned ks_fork_count(void);
/* Purpose: in a child of the process that loaded the first module, add to an error what such a
 * child may lack. */
void ks_error_note_fork(struct ks_error *err);
/* Purpose: the registry lock, which also guards the list of tokens. */
void ks_registry_lock(void);
void ks_registry_unlock(void);

#endif
