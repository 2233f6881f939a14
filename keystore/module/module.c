/* SPDX-License-Identifier: Apache-2.0
 *
 * module.c - PKCS#11 modules are process-wide: each is loaded and initialised once, whatever
 * number of library contexts use it, and never unmapped. Also here: the gate that every call
 * passes, what happens around fork(), and the end of the process.
 */
#include <errno.h>
#include <limits.h>
#include <p11-kit/p11-kit.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/single_threaded.h>
#include <sys/time.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/file.h"
#include "../base/process.h"
#include "../observe/log.h"
#include "module.h"

/* How long C_Finalize waits for calls in flight. DRAIN_AGAIN_NS if the last wait ran out within the
 * recover interval: those calls hang, and only short ones are worth waiting for. */
#define DRAIN_WAIT_NS  1000000000U
#define DRAIN_AGAIN_NS 50000000U
/* How long the end of the process waits for all modules to be finalised, and how long it may take
 * after that if there are modules that could not be. */
#define END_WAIT_SECONDS  2
#define END_GRACE_SECONDS 5
/* How long a fork waits for calls in flight; and for a module that is being initialised or
 * finalised, which the child could not use otherwise. */
#define FORK_WAIT_NS       250000000U
#define FORK_WAIT_START_NS 2000000000U

static pthread_mutex_t registry_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct ks_module *modules; /* registry lock */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool handlers_ready;
static atomic_uint fork_count;
static _Atomic(const struct ks_hooks *) hooks;
static atomic_bool shut_down, forking;
static bool threads_at_fork, forked_amid_threads;
static uid_t loaded_by; /* once: the user of the process before any fork */

/* Modules whose behaviour towards the process needs care; matched within the file name. */
static const struct {
    const char *file_name;
    bool sends_sigpipe;
    bool not_after_fork;
} quirks[] = {
    {"p11-kit-client", true, false}, /* writes to its socket without MSG_NOSIGNAL */
    /* C_Initialize in a child does nothing: it goes on with the parent's connection to the TPM, so
     * that both lose, and the TPM counts failed authorisations until it locks itself. */
    {"tpm2_pkcs11", false, true},
};

void ks_set_hooks(const struct ks_hooks *new_hooks)
{
    atomic_store(&hooks, new_hooks);
}

bool ks_forked_amid_threads(void)
{
    return forked_amid_threads;
}

unsigned ks_fork_count(void)
{
    return atomic_load_explicit(&fork_count, memory_order_relaxed);
}

/* Servers' workers have given up rights, and some servers empty their environment. */
void ks_error_note_fork(struct ks_error *err)
{
    if (err == NULL || ks_fork_count() == 0)
        return;
    ks_error_add(err,
                 "this process runs as user %lu and is a child of the one that loaded the provider "
                 "as user %lu: it needs access to the token's files as well, and the environment "
                 "variables that the module wants (nginx: env NAME;)",
                 (unsigned long)geteuid(), (unsigned long)loaded_by);
}

void ks_registry_lock(void)
{
    pthread_mutex_lock(&registry_mutex);
}

void ks_registry_unlock(void)
{
    pthread_mutex_unlock(&registry_mutex);
}

/* How long the fork has to wait at least, counted from its beginning: for calls in flight, and
 * longer for p11-kit's own lock; 0: nothing is in the way. */
static uint64_t fork_wants(void)
{
    uint64_t wants = 0;

    for (struct ks_module *m = modules; m != NULL; m = m->next) {
        if (atomic_load(&m->starting))
            return FORK_WAIT_START_NS;
        if (atomic_load(&m->in_flight) > 0)
            wants = FORK_WAIT_NS;
    }
    return wants;
}

/* A fork in the middle of another thread's call would leave that module's locks, and p11-kit's,
 * locked for ever in the child. So new calls wait, and those in flight are given a bounded time:
 * one that hangs must not hang the fork. A module that itself forks, inside a call, is not kept
 * waiting. */
static void atfork_prepare(void)
{
    const uint64_t began = ks_now_ns();
    const bool waits = ks_calls_inside == 0;

    ks_registry_lock();
    threads_at_fork = __libc_single_threaded == 0;
    atomic_store(&forking, waits);
    while (waits && ks_now_ns() - began < fork_wants())
        ks_sleep(50000U);
    ks_process_run(KS_FORKING);
}

static void atfork_parent(void)
{
    ks_process_run(KS_FORKED_PARENT);
    atomic_store(&forking, false);
    ks_registry_unlock();
}

/* In the child only this thread exists: other threads' locks, calls in flight and sessions are
 * the parent's business. The locks that were taken before the fork are this thread's own, and are
 * given back; all others may be another thread's, and are made new. */
static void atfork_child(void)
{
    ks_registry_unlock();
    forked_amid_threads = forked_amid_threads || threads_at_fork;
    atomic_store(&forking, false);
    atomic_fetch_add(&fork_count, 1);
    for (struct ks_module *m = modules; m != NULL; m = m->next) {
        pthread_mutex_init(&m->init_lock, NULL);
        m->stuck = m->stuck || (ks_calls_inside == 0 && atomic_load(&m->starting));
        if (ks_calls_inside == 0)
            atomic_store(&m->starting, false);
        atomic_store(&m->in_flight, ks_calls_inside > 0 ? 1U : 0U);
        atomic_store(&m->gate, KS_GATE_OPEN);
    }
    ks_process_run(KS_FORKED);
}

static void init_once(void)
{
    loaded_by = geteuid();
    handlers_ready = pthread_atfork(atfork_prepare, atfork_parent, atfork_child) == 0;
}

static char *canonical(const char *path)
{
    char *real = strchr(path, '/') != NULL ? realpath(path, NULL) : NULL;

    return real != NULL ? real : strdup(path);
}

static bool same_string(const char *a, const char *b)
{
    return strcmp(a != NULL ? a : "", b != NULL ? b : "") == 0;
}

static void module_destroy(struct ks_module *m)
{
    if (m == NULL)
        return;
    pthread_mutex_destroy(&m->init_lock);
    free(m->path);
    free(m->key);
    free(m->init_args);
    free(m->remote);
    free(m);
}

static struct ks_module *module_new(const char *path, const char *init_args)
{
    struct ks_module *m = calloc(1, sizeof(*m));
    const char *base;

    if (m == NULL)
        return NULL;
    pthread_mutex_init(&m->init_lock, NULL);
    m->refs = 1;
    m->path = strdup(path);
    m->key = canonical(path);
    m->init_args = init_args != NULL ? strdup(init_args) : NULL;
    if (m->path == NULL || m->key == NULL || (init_args != NULL && m->init_args == NULL)) {
        module_destroy(m);
        return NULL;
    }
    base = strrchr(path, '/');
    base = base != NULL ? base + 1 : path;
    for (size_t i = 0; i < sizeof(quirks) / sizeof(quirks[0]); i++)
        if (strstr(base, quirks[i].file_name) != NULL) {
            m->sends_sigpipe = quirks[i].sends_sigpipe;
            m->not_after_fork = quirks[i].not_after_fork;
        }
    return m;
}

ks_status ks_module_get(const char *path, const char *init_args, struct ks_module **out,
                        struct ks_error *err)
{
    struct ks_module *m, *fresh;
    ks_status st = KS_SUCCESS;

    pthread_once(&once, init_once);
    if (!handlers_ready)
        return ks_no_memory(err);
    fresh = module_new(path, init_args);
    if (fresh == NULL)
        return ks_no_memory(err);
    ks_registry_lock();
    for (m = modules; m != NULL; m = m->next)
        if (strcmp(m->key, fresh->key) == 0)
            break;
    if (m == NULL) {
        m = fresh;
        fresh = NULL;
        m->next = modules;
        modules = m;
    } else if (!same_string(m->init_args, init_args) && m->refs > 0) {
        st = ks_fail(err, KS_CONFIG,
                     "module %s is already in use in this process with other "
                     "pkcs11-init-args: a module is initialised once per process",
                     m->path);
    } else {
        m->refs++;
        if (!same_string(m->init_args, init_args)) {
            /* nobody uses it at present: the new owner's arguments count */
            char *old = m->init_args;

            m->init_args = fresh->init_args;
            fresh->init_args = old;
        }
    }
    ks_registry_unlock();
    module_destroy(fresh);
    if (ks_ok(st))
        *out = m;
    return st;
}

static bool initialised_here(struct ks_module *m)
{
    return atomic_load_explicit(&m->initialized, memory_order_acquire) == ks_fork_count() + 1;
}

/* SIGPIPE: block it, and take away the one that our call caused; one that was pending before is
 * the application's. */
static void sigpipe_block(struct ks_gate *gate)
{
    sigset_t set;

    sigpending(&set);
    gate->sigpipe_was_pending = sigismember(&set, SIGPIPE) == 1;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &set, &gate->old_mask);
}

static void sigpipe_restore(struct ks_gate *gate)
{
    const struct timespec now = {0};
    sigset_t set;

    if (!gate->sigpipe_was_pending) {
        sigpending(&set);
        if (sigismember(&set, SIGPIPE) == 1) {
            sigemptyset(&set);
            sigaddset(&set, SIGPIPE);
            while (sigtimedwait(&set, NULL, &now) < 0 && errno == EINTR)
                ;
        }
    }
    pthread_sigmask(SIG_SETMASK, &gate->old_mask, NULL);
}

static void wait_for_fork(void)
{

    while (atomic_load(&forking))
        ks_sleep(50000U);
}

static void module_enter(struct ks_gate *gate, struct ks_module *m)
{
    const struct ks_hooks *h = atomic_load_explicit(&hooks, memory_order_relaxed);

    gate->module = m;
    gate->sigpipe_was_pending = true; /* unless it is looked for: nothing to restore */
    gate->cookie = h != NULL ? h->enter() : NULL;
    ks_calls_inside++;
    if (m->sends_sigpipe)
        sigpipe_block(gate);
}

static void module_leave(struct ks_gate *gate)
{
    const struct ks_hooks *h = atomic_load_explicit(&hooks, memory_order_relaxed);

    if (gate->module->sends_sigpipe)
        sigpipe_restore(gate);
    ks_calls_inside--;
    if (h != NULL)
        h->leave(gate->cookie);
}

/* Enter without asking the gate: for those who have closed it themselves. */
static void module_enter_alone(struct ks_gate *gate, struct ks_module *m)
{
    for (;;) {
        atomic_fetch_add(&m->in_flight, 1);
        if (!atomic_load(&forking))
            break;
        atomic_fetch_sub(&m->in_flight, 1);
        wait_for_fork();
    }
    module_enter(gate, m);
}

/* Finalise after the calls in flight are through; after a bounded time leave the module alone:
 * a thread that is still inside it must not find it gone. Nobody can enter meanwhile. */
static bool module_finalize(struct ks_module *m, uint64_t until_ns)
{
    struct ks_gate gate;

    if (!initialised_here(m))
        return true;
    while (atomic_load(&m->in_flight) > 0 && ks_now_ns() < until_ns)
        ks_sleep(1000000U);
    if (atomic_load(&m->in_flight) > 0)
        return false;
    module_enter_alone(&gate, m);
    atomic_store(&m->starting, true);
    (void)m->fn->C_Finalize(NULL);
    atomic_store(&m->starting, false);
    ks_gate_leave(&gate);
    atomic_store(&m->initialized, 0);
    return true;
}

/* --- the end of the process ------------------------------------------------------------------ */

static atomic_bool end_waits; /* for finalize_all() */
static volatile sig_atomic_t exit_status;

/* Without the registry lock: another thread may hold it for ever at this point. Entries are never
 * removed. */
static void *finalize_all(void *arg)
{
    (void)arg;
    for (struct ks_module *m = modules; m != NULL && atomic_load(&end_waits); m = m->next)
        (void)module_finalize(m, ks_now_ns() + DRAIN_WAIT_NS);
    return NULL;
}

/* C_Finalize may never return, as any other call: p11-kit's remote client asks its server. So it is
 * called on a thread that can be left behind. */
static void finalize_all_in_time(void)
{
    struct timespec until;
    sigset_t all, old;
    pthread_t thread;
    int rc;

    atomic_store(&end_waits, true);
    sigfillset(&all);
    sigdelset(&all, SIGALRM); /* at_exit()'s */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(&thread, NULL, finalize_all, NULL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0)
        return;
    clock_gettime(CLOCK_REALTIME, &until); /* ThreadSanitizer does not know pthread_clockjoin_np */
    until.tv_sec += END_WAIT_SECONDS;
    if (pthread_timedjoin_np(thread, NULL, &until) != 0)
        pthread_detach(thread);
    atomic_store(&end_waits, false);
}

static bool any_initialised(void)
{
    for (struct ks_module *m = modules; m != NULL; m = m->next)
        if (initialised_here(m))
            return true;
    return false;
}

/* exit() was called in a signal handler that interrupted a call into a module. That call never
 * comes back and its locks stay locked, so the module cannot be finalised. The calls of other
 * threads are still waited for, because the module's destructors come next. */
static void wait_for_others(void)
{
    const uint64_t until = ks_now_ns() + DRAIN_WAIT_NS;
    unsigned others = 1;

    while (others > 0 && ks_now_ns() < until) {
        others = 0;
        for (struct ks_module *m = modules; m != NULL; m = m->next)
            others += atomic_load(&m->in_flight);
        others -= others > 0; /* this thread's own */
        if (others > 0)
            ks_sleep(1000000U);
    }
}

void ks_shutdown(void)
{
    if (atomic_exchange(&shut_down, true))
        return;
    ks_process_run(KS_END_FIRST);
    if (ks_calls_inside > 0)
        wait_for_others();
    else if (any_initialised())
        finalize_all_in_time();
    ks_process_run(KS_END_LAST);
}

/* exit() may find that it cannot go on: the module's own destructors wait for a call that never
 * returns; or a signal handler that calls exit() has interrupted a call, and they wait for its
 * locks, or free what it was freeing. Then the process ends all the same, with the status that it
 * was to have. */
static const int crashes[] = {SIGSEGV, SIGBUS, SIGABRT};

struct bound {
    struct sigaction action;
    struct itimerval timer;
    sigset_t mask;
};

static void end_now(int number)
{
    (void)number;
    _exit(exit_status);
}

static void bound_set(struct bound *old, int status)
{
    const struct itimerval grace = {.it_value = {.tv_sec = END_GRACE_SECONDS}};
    struct sigaction action = {.sa_handler = end_now};

    exit_status = status;
    sigemptyset(&action.sa_mask);
    sigaction(SIGALRM, &action, &old->action);
    for (size_t i = 0; ks_calls_inside > 0 && i < sizeof(crashes) / sizeof(crashes[0]); i++)
        sigaction(crashes[i], &action, NULL);
    setitimer(ITIMER_REAL, &grace, &old->timer);
    sigaddset(&action.sa_mask, SIGALRM);
    pthread_sigmask(SIG_UNBLOCK, &action.sa_mask, &old->mask);
}

static void bound_unset(const struct bound *old)
{
    pthread_sigmask(SIG_SETMASK, &old->mask, NULL);
    setitimer(ITIMER_REAL, &old->timer, NULL);
    sigaction(SIGALRM, &old->action, NULL);
}

static void at_exit(int status, void *arg)
{
    struct bound old;

    (void)arg;
    if (!any_initialised())
        return;
    bound_set(&old, status);
    ks_shutdown();
    if (!any_initialised())
        bound_unset(&old);
}

void ks_module_put(struct ks_module *m)
{
    bool last;

    if (m == NULL)
        return;
    ks_registry_lock();
    last = --m->refs == 0;
    ks_registry_unlock();
    /* An unload in a running process. The entry stays for the next one who loads it. */
    if (last && !atomic_load(&shut_down)) {
        pthread_mutex_lock(&m->init_lock);
        ks_registry_lock();
        last = m->refs == 0;
        ks_registry_unlock();
        if (last) {
            atomic_store(&m->gate, KS_GATE_PAUSED);
            (void)module_finalize(m, ks_now_ns() + DRAIN_WAIT_NS);
            atomic_store(&m->gate, KS_GATE_OPEN);
        }
        pthread_mutex_unlock(&m->init_lock);
    }
}

/* A name from p11-kit's own configuration: how modules behind a socket or ssh are reached. */
static bool is_p11kit_name(const char *path)
{
    size_t len = strlen(path);

    return strchr(path, '/') == NULL && (len < 3 || strcmp(path + len - 3, ".so") != 0) &&
           strstr(path, ".so.") == NULL;
}

/* The list stays: modules are never unmapped. */
static CK_FUNCTION_LIST *load_by_name(const char *name)
{
    CK_FUNCTION_LIST **all = p11_kit_modules_load(NULL, 0), *fn = NULL;

    for (size_t i = 0; all != NULL && all[i] != NULL; i++) {
        char *its = p11_kit_module_get_name(all[i]);

        if (its != NULL && strcmp(its, name) == 0)
            fn = all[i];
        free(its);
    }
    if (fn == NULL && all != NULL)
        p11_kit_modules_release(all);
    return fn;
}

static ks_status module_load(struct ks_module *m, struct ks_error *err)
{
    const char *why;

    if (m->fn != NULL)
        return KS_SUCCESS;
    m->fn = is_p11kit_name(m->path) ? load_by_name(m->path) : p11_kit_module_load(m->path, 0);
    if (m->fn != NULL) {
        m->remote = p11_kit_config_option(m->fn, "remote");
        m->sends_sigpipe = m->sends_sigpipe || m->remote != NULL;
        return KS_SUCCESS;
    }
    why = p11_kit_message();
    return ks_fail(err, KS_MODULE,
                   "cannot load the PKCS#11 module %s: %s; check pkcs11-module in the provider's "
                   "section (a path, a file name in p11-kit's module folder, or the name of a "
                   "module in p11-kit's configuration)",
                   m->path, why != NULL ? why : strerror(errno));
}

static ks_status module_initialize(struct ks_module *m, struct ks_error *err)
{
    CK_C_INITIALIZE_ARGS args = {.flags = CKF_OS_LOCKING_OK};
    char hint[400];
    struct ks_gate gate;
    ks_status st;
    CK_RV rv;

    if (m->not_after_fork && atomic_load(&m->initialized) != 0 && !initialised_here(m))
        return ks_fail(err, KS_MODULE,
                       "the module %s cannot be used in a child of a process that used it; set "
                       "check-key-at-load = no, so that the parent does not, or use the module "
                       "through p11-kit server",
                       m->path);
    if (m->stuck)
        return ks_fail(err, KS_MODULE,
                       "the module %s cannot be used in this process: it was forked while another "
                       "thread of its parent was waiting for the module to start or to end",
                       m->path);
    args.pReserved = m->init_args;
    module_enter_alone(&gate, m);
    if (atomic_load(&shut_down)) {
        ks_gate_leave(&gate);
        return ks_fail(err, KS_SHUTDOWN, "%s", ks_code_text(KS_SHUTDOWN));
    }
    atomic_store(&m->starting, true);
    rv = m->fn->C_Initialize(&args);
    atomic_store(&m->starting, false);
    if (rv == CKR_OK && m->sends_sigpipe)
        ks_remote_set_cloexec(m->remote);
    /* Right after C_Initialize, so that it runs before the module's own destructors: for each
     * module, the latest one's come first. */
    if (rv == CKR_OK && !m->exit_handled)
        m->exit_handled = on_exit(at_exit, NULL) == 0;
    ks_gate_leave(&gate);
    if (rv == CKR_OK || rv == CKR_CRYPTOKI_ALREADY_INITIALIZED) {
        atomic_fetch_add(&m->init_count, 1);
        atomic_store_explicit(&m->initialized, ks_fork_count() + 1, memory_order_release);
        return KS_SUCCESS;
    }
    snprintf(hint, sizeof(hint),
             "check pkcs11-module (%s) and pkcs11-init-args, and the module's own configuration",
             m->path);
    st = ks_error_rv(err, NULL, NULL, KS_C_Initialize, rv, hint);
    return (ks_status){st.code == KS_DEVICE ? KS_DEVICE : KS_MODULE};
}

ks_status ks_module_ready(struct ks_module *m, struct ks_error *err)
{
    ks_status st;

    if (initialised_here(m))
        return KS_SUCCESS;
    pthread_mutex_lock(&m->init_lock);
    st = module_load(m, err);
    if (ks_ok(st) && !initialised_here(m))
        st = module_initialize(m, err);
    pthread_mutex_unlock(&m->init_lock);
    return st;
}

uint64_t ks_module_reinit_at(struct ks_module *m, uint64_t interval_ns)
{
    uint64_t last = atomic_load(&m->reinit_ns);

    return last != 0 ? last + interval_ns : 0;
}

/* The gate is closed meanwhile, for all tokens of the module. The caller holds init_lock. */
static ks_status finalize_and_initialize(struct ks_module *m, uint64_t deadline_ns,
                                         uint64_t interval_ns, struct ks_error *err)
{
    uint64_t now = ks_now_ns(), until = now + DRAIN_WAIT_NS;
    ks_status st;

    if (m->drain_failed_ns != 0 && now - m->drain_failed_ns < interval_ns)
        until = now + DRAIN_AGAIN_NS;
    if (deadline_ns != 0 && deadline_ns < until)
        until = deadline_ns;
    atomic_store(&m->gate, KS_GATE_PAUSED);
    if (module_finalize(m, until)) {
        m->drain_failed_ns = 0;
        atomic_store(&m->reinit_ns, ks_now_ns());
        st = module_initialize(m, err);
    } else {
        /* Nothing was done, so the next thread that asks may do it as soon as they are back. */
        m->drain_failed_ns = ks_now_ns();
        st =
            ks_fail(err, KS_DEVICE,
                    "the module %s cannot be initialised anew while %u calls do not return from it",
                    m->path, atomic_load(&m->in_flight));
    }
    atomic_store(&m->gate, KS_GATE_OPEN);
    return st;
}

ks_status ks_module_reinit(struct ks_module *m, unsigned seen, uint64_t interval_ns,
                           uint64_t deadline_ns, struct ks_error *err)
{
    ks_status st = KS_SUCCESS;
    uint64_t now, last;

    pthread_mutex_lock(&m->init_lock);
    now = ks_now_ns();
    last = atomic_load(&m->reinit_ns);
    if (atomic_load(&m->init_count) != seen)
        goto out; /* another thread did it */
    if (last != 0 && now - last < interval_ns) {
        st = ks_fail(err, KS_DEVICE,
                     "the module %s was initialised anew only %lu ms ago (recover-interval-ms)",
                     m->path, (unsigned long)((now - last) / 1000000U));
        goto out;
    }
    st = finalize_and_initialize(m, deadline_ns, interval_ns, err);
    ks_log_event(KS_LOG_WARN, "recovery", NULL, "module", m->path, "result",
                 ks_ok(st) ? "done" : "failed", NULL);
out:
    pthread_mutex_unlock(&m->init_lock);
    return st;
}

ks_status ks_gate_enter(struct ks_gate *gate, struct ks_module *m, struct ks_error *err)
{
    for (;;) {
        atomic_fetch_add(&m->in_flight, 1);
        if (atomic_load(&shut_down)) {
            atomic_fetch_sub(&m->in_flight, 1);
            return ks_fail(err, KS_SHUTDOWN, "%s", ks_code_text(KS_SHUTDOWN));
        }
        if (!atomic_load(&forking) && atomic_load(&m->gate) == KS_GATE_OPEN)
            break;
        atomic_fetch_sub(&m->in_flight, 1);
        wait_for_fork();
        if (atomic_load(&m->gate) != KS_GATE_OPEN) {
            pthread_mutex_lock(&m->init_lock);
            pthread_mutex_unlock(&m->init_lock);
        }
    }
    module_enter(gate, m);
    return KS_SUCCESS;
}

void ks_gate_leave(struct ks_gate *gate)
{
    module_leave(gate);
    atomic_fetch_sub(&gate->module->in_flight, 1);
}
