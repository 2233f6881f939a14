/* SPDX-License-Identifier: Apache-2.0
 *
 * worker.c - threads that run operations within a time. A call into a module cannot be ended
 * from outside: what does not come back is left behind, with everything that it uses, and the
 * token counts as hung until it answers again. Idle threads are kept for a while; none is ever
 * joined.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/process.h"
#include "../observe/log.h"
#include "worker.h"

#define IDLE_SECONDS     10
#define STACK_SIZE       ((size_t)512 * 1024)
#define PROBE_FIRST_NS   100000000U
#define PROBE_LONGEST_NS 1000000000U
#define PROBE_TIMEOUT_NS 5000000000U

/* One operation, owned by the caller and the worker until both are done with it. */
struct job {
    struct ks_op op; /* its pointers lead into this job */
    struct ks_call_options opts;
    struct ks_error err;
    ks_status status;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool finished, abandoned;
    void *waiter; /* the pauser's; NULL: the caller waits on `cond` */
    void (*run)(struct job *job);
    unsigned char bytes[]; /* arg, in, aux, out */
};

struct worker {
    struct worker *next;
    pthread_cond_t wake;
    struct job *job;
};

static _Atomic(const struct ks_pauser *) pauser;
static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static struct worker *idle; /* pool_lock */

static void forked(void)
{
    pthread_mutex_init(&pool_lock, NULL);
    idle = NULL; /* the parent's threads; their memory stays with us */
}

static const struct ks_process_part part = {.forked = forked};

void ks_set_pauser(const struct ks_pauser *new_pauser)
{
    atomic_store(&pauser, new_pauser);
}

bool ks_worker_needed(void)
{
    const struct ks_pauser *p = atomic_load_explicit(&pauser, memory_order_relaxed);

    return p != NULL && p->on();
}

/* --- jobs ------------------------------------------------------------------------------------ */

static void job_free(struct job *job, size_t out_room)
{
    if (job->op.call.out != NULL)
        explicit_bzero(job->op.call.out, out_room);
    if (job->op.call.in != NULL)
        explicit_bzero((void *)job->op.call.in, job->op.call.in_len);
    ks_key_free(job->op.key);
    ks_token_free(job->op.call.token);
    pthread_cond_destroy(&job->cond);
    pthread_mutex_destroy(&job->lock);
    free(job);
}

static void *put(unsigned char **at, const void *from, size_t len)
{
    void *to = *at;

    if (from == NULL || len == 0)
        return NULL;
    memcpy(to, from, len);
    *at += (len + 15) & ~(size_t)15;
    return to;
}

static struct job *job_new(const struct ks_op *op, uint64_t deadline_ns)
{
    size_t size = op->arg_size + op->call.in_len + op->aux_len + op->call.room + (size_t)4 * 16;
    struct job *job = calloc(1, sizeof(*job) + size + 16);
    unsigned char *at;

    if (job == NULL)
        return NULL;
    at = (unsigned char *)(((uintptr_t)job->bytes + 15) & ~(uintptr_t)15);
    pthread_mutex_init(&job->lock, NULL);
    ks_cond_init(&job->cond);
    job->op = *op;
    job->opts.deadline_ns = deadline_ns; /* nobody is asked for a PIN on this thread */
    job->op.call.opts = &job->opts;
    job->op.call.err = &job->err;
    job->op.arg = put(&at, op->arg, op->arg_size);
    job->op.call.in = put(&at, op->call.in, op->call.in_len);
    job->op.aux = put(&at, op->aux, op->aux_len);
    job->op.call.out = op->call.room > 0 ? at : NULL;
    job->op.call.token = ks_token_ref(op->call.token);
    if (op->key != NULL)
        ks_key_ref(op->key);
    return job;
}

/* --- threads --------------------------------------------------------------------------------- */

/* Park until there is a job; NULL after a while without one. */
static struct job *wait_for_job(struct worker *self)
{
    struct timespec until = ks_timespec(ks_now_ns() + (uint64_t)IDLE_SECONDS * 1000000000U);
    struct worker **at;
    struct job *job;

    pthread_mutex_lock(&pool_lock);
    self->job = NULL;
    self->next = idle;
    idle = self;
    while (self->job == NULL &&
           pthread_cond_timedwait(&self->wake, &pool_lock, &until) != ETIMEDOUT)
        ;
    job = self->job;
    if (job == NULL) {
        for (at = &idle; *at != self; at = &(*at)->next)
            ;
        *at = self->next;
    }
    pthread_mutex_unlock(&pool_lock);
    return job;
}

static void *worker_main(void *arg)
{
    struct worker *self = arg;

    while (self->job != NULL) {
        self->job->run(self->job);
        self->job = wait_for_job(self);
    }
    pthread_cond_destroy(&self->wake);
    free(self);
    return NULL;
}

/* A new thread, with all signals blocked: they are the application's. */
static bool worker_start(struct job *job)
{
    struct worker *self = calloc(1, sizeof(*self));
    pthread_attr_t attr;
    sigset_t all, old;
    pthread_t thread;
    int rc;

    if (self == NULL)
        return false;
    ks_process_add(&part);
    ks_cond_init(&self->wake);
    self->job = job;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(&thread, &attr, worker_main, self);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    if (rc != 0) {
        pthread_cond_destroy(&self->wake);
        free(self);
    }
    return rc == 0;
}

static bool submit(struct job *job)
{
    struct worker *w;

    pthread_mutex_lock(&pool_lock);
    w = idle;
    if (w != NULL) {
        idle = w->next;
        w->job = job;
        pthread_cond_signal(&w->wake);
    }
    pthread_mutex_unlock(&pool_lock);
    return w != NULL || worker_start(job);
}

/* --- operations ------------------------------------------------------------------------------ */

static void run_op(struct job *job)
{
    size_t room = job->op.call.room;
    ks_status st = ks_op_try(&job->op);
    bool abandoned;

    pthread_mutex_lock(&job->lock);
    job->status = st;
    job->finished = true;
    abandoned = job->abandoned;
    /* The caller frees the job once it has the lock: nothing of it after this. */
    if (!abandoned && job->waiter != NULL)
        atomic_load(&pauser)->wake(job->waiter);
    else if (!abandoned)
        pthread_cond_signal(&job->cond);
    else
        atomic_store(&job->op.call.token->health.answered_ns, ks_now_ns());
    pthread_mutex_unlock(&job->lock);
    if (abandoned) {
        atomic_fetch_sub(&job->op.call.token->health.stuck, 1);
        if (job->op.release != NULL)
            job->op.release(job->op.arg);
        job_free(job, room);
    }
}

/* The worker's results to where the caller wants them. */
static ks_status take_results(struct ks_op *op, struct job *job)
{
    ks_status st = job->status;

    if (op->arg_size > 0)
        memcpy(op->arg, job->op.arg, op->arg_size);
    if (ks_ok(st) && op->call.room > 0) {
        memcpy(op->call.out, job->op.call.out, op->call.room);
        op->call.out_len = job->op.call.out_len;
    }
    op->attempted = job->op.attempted;
    op->call.function = job->op.call.function;
    op->call.rv = job->op.call.rv;
    op->call.epoch = job->op.call.epoch;
    op->call.finding = job->op.call.finding;
    op->measure = job->op.measure;
    if (!ks_ok(st) && op->call.err != NULL)
        *op->call.err = job->err;
    return st;
}

/* With the job's lock, until the worker is done with it or it is too late. */
static void wait_for_worker(struct job *job, uint64_t deadline_ns)
{
    struct timespec until = ks_timespec(deadline_ns);
    const struct ks_pauser *p = atomic_load(&pauser);

    while (!job->finished && (deadline_ns == 0 || ks_now_ns() < deadline_ns)) {
        if (job->waiter != NULL) {
            pthread_mutex_unlock(&job->lock);
            p->pause(job->waiter);
            pthread_mutex_lock(&job->lock);
        } else if (deadline_ns == 0) {
            pthread_cond_wait(&job->cond, &job->lock);
        } else {
            (void)pthread_cond_timedwait(&job->cond, &job->lock, &until);
        }
    }
}

/* --- where there can be no thread ------------------------------------------------------------ */

/* One operation on a stack of our own. */
struct stack_run {
    struct ks_op *op;
    ks_status status;
    ucontext_t there, back;
};
static _Thread_local struct stack_run *stack_run;

static void trip_main(void)
{
    stack_run->status = ks_op_try(stack_run->op);
}

/* The caller's stack is too small for a module, and no thread can be had (HAProxy forbids itself
 * new ones once it runs): the caller does it, on a larger stack, and is not paused. */
static ks_status run_on_own_stack(struct ks_op *op)
{
    const size_t guard = (size_t)sysconf(_SC_PAGESIZE);
    struct stack_run this = {.op = op, .status = {KS_INTERNAL}};
    char *stack = mmap(NULL, guard + STACK_SIZE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

    if (stack == MAP_FAILED)
        return ks_no_memory(op->call.err);
    if (mprotect(stack, guard, PROT_NONE) != 0 || getcontext(&this.there) != 0) {
        (void)munmap(stack, guard + STACK_SIZE);
        return ks_no_memory(op->call.err);
    }
    this.there.uc_stack.ss_sp = stack + guard;
    this.there.uc_stack.ss_size = STACK_SIZE;
    this.there.uc_link = &this.back;
    makecontext(&this.there, trip_main, 0);
    stack_run = &this;
    if (swapcontext(&this.back, &this.there) != 0)
        this.status = ks_no_memory(op->call.err);
    stack_run = NULL;
    (void)munmap(stack, guard + STACK_SIZE);
    return this.status;
}

/* --- operations, continued ------------------------------------------------------------------- */

static ks_status left_behind(struct ks_op *op, uint64_t started_ns)
{
    return ks_fail_token(op->call.err, op->call.token, KS_TIMEOUT,
                         "%s: no answer from the module within %lu ms; the call was left behind "
                         "and the token counts as down until it answers",
                         "PKCS#11", (unsigned long)((ks_now_ns() - started_ns) / 1000000U));
}

bool ks_token_hung(struct ks_token *token)
{
    return atomic_load(&token->health.stuck) > 0 &&
           atomic_load(&token->health.answered_ns) < atomic_load(&token->health.hung_ns);
}

/* Run ks_op_try(op) on a worker thread, and wait for it until the deadline. What the worker uses is
 * its own copy: when it is not back in time it is left behind, the token is marked as hung, and the
 * call ends with KS_TIMEOUT. */
static ks_status run_on_worker(struct ks_op *op, uint64_t deadline_ns)
{
    const struct ks_pauser *p = ks_worker_needed() ? atomic_load(&pauser) : NULL;
    uint64_t started = ks_now_ns();
    void *waiter = NULL; /* the job is the worker's alone when it is left behind */
    struct job *job;
    bool finished;
    ks_status st;

    if (ks_token_hung(op->call.token)) {
        ks_worker_probe(op->call.token);
        return ks_fail_token(op->call.err, op->call.token, KS_DEVICE,
                             "the token does not answer (%u calls have not come back); failing "
                             "fast until it does",
                             atomic_load(&op->call.token->health.stuck));
    }
    job = job_new(op, deadline_ns);
    if (job == NULL)
        return ks_no_memory(op->call.err);
    job->run = run_op;
    if (p != NULL)
        waiter = job->waiter = p->begin(deadline_ns);
    if (!submit(job)) {
        if (waiter != NULL)
            p->end(waiter);
        job_free(job, op->call.room);
        if (deadline_ns == 0)
            return run_on_own_stack(op);
        return ks_fail(op->call.err, KS_INTERNAL,
                       "no thread can be started for the operation, and it has a time limit; the "
                       "program forbids itself new ones (HAProxy: see insecure-fork-wanted), or "
                       "there are too many");
    }
    pthread_mutex_lock(&job->lock);
    wait_for_worker(job, deadline_ns);
    finished = job->finished;
    if (!finished) {
        job->abandoned = true;
        atomic_fetch_add(&op->call.token->health.stuck, 1);
        atomic_store(&op->call.token->health.hung_ns, ks_now_ns());
    }
    pthread_mutex_unlock(&job->lock);
    if (waiter != NULL)
        p->end(waiter);
    if (!finished) {
        /* what `arg` points to belongs to the worker now: the caller must not release it */
        if (op->release != NULL && op->arg_size > 0)
            memset(op->arg, 0, op->arg_size);
        ks_log_event(KS_LOG_ERROR, "token-hung", op->call.token->name, NULL);
        return left_behind(op, started);
    }
    st = take_results(op, job);
    job_free(job, op->call.room);
    return st;
}

/* --- probes ---------------------------------------------------------------------------------- */

static ks_status probe_step(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                            CK_OBJECT_HANDLE key)
{
    CK_SESSION_INFO info = {0};

    (void)key;
    return ks_call_rv(&op->call, KS_C_GetSessionInfo, fn->C_GetSessionInfo(session, &info));
}

static void run_probe(struct job *job)
{
    struct ks_token *token = job->op.call.token;
    uint64_t pause = PROBE_FIRST_NS;
    uint64_t at = ks_module_reinit_at(token->module, token->recover_ns);
    unsigned failures;

    /* not waiting for the recovery interval, with a lock that operations wait for */
    if (at > ks_now_ns() && at < job->opts.deadline_ns)
        job->opts.deadline_ns = at;
    if (ks_ok(ks_op_try(&job->op))) {
        if (ks_token_hung(token))
            ks_log_event(KS_LOG_WARN, "token-answers", token->name, NULL);
        atomic_store(&token->health.answered_ns, ks_now_ns());
        atomic_store(&token->health.probe_failures, 0);
    } else {
        failures = atomic_fetch_add(&token->health.probe_failures, 1);
        pause <<= failures < 4 ? failures : 4;
    }
    atomic_store(&token->health.probe_ns,
                 ks_now_ns() + (pause < PROBE_LONGEST_NS ? pause : PROBE_LONGEST_NS));
    atomic_store(&token->health.probing, false);
    job_free(job, 0);
}

void ks_worker_probe(struct ks_token *token)
{
    struct ks_op op = {.call.token = token, .step = probe_step};
    uint64_t now = ks_now_ns();
    struct job *job;

    if (now < atomic_load(&token->health.probe_ns) || atomic_exchange(&token->health.probing, true))
        return;
    job = job_new(&op, now + PROBE_TIMEOUT_NS);
    if (job != NULL)
        job->run = run_probe;
    if (job == NULL || !submit(job)) {
        if (job != NULL)
            job_free(job, 0);
        atomic_store(&token->health.probing, false);
    }
}

ks_status ks_op_run_direct(struct ks_op *op)
{
    uint64_t deadline = ks_deadline(op->call.opts), own;

    if (op->inline_only || (op->call.token->timeout_ns == 0 && !ks_worker_needed()))
        return ks_op_try(op);
    if (op->call.token->timeout_ns != 0) {
        own = ks_now_ns() + op->call.token->timeout_ns;
        if (deadline == 0 || own < deadline)
            deadline = own;
    }
    return run_on_worker(op, deadline);
}
