/* SPDX-License-Identifier: Apache-2.0
 *
 * async.c - operations inside an ASYNC_JOB, as servers with SSL_MODE_ASYNC start them: a worker
 * thread has the operation, the job is paused, and the server goes on with other connections until
 * the job's file descriptors can be read. Modules never run on a job's stack, which has 32 KiB.
 */
#include <openssl/async.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "async.h"

/* Programs are told of descriptors when a job pauses, not before: HAProxy at the end takes all of
 * them out of its table, and ends itself over one that it never saw. And they stay open, and in the
 * wait context, until the program frees that (SSL_free): another connection could come by the
 * number of a closed one. */
struct waiter {
    atomic_uint refs; /* of the wait context, one for each descriptor, and of the operation */
    ASYNC_WAIT_CTX *ctx;
    int done;                     /* eventfd: the worker has finished */
    int timer;                    /* timerfd: the deadline has passed; -1: none was needed so far */
    bool done_known, timer_known; /* to the wait context */
    bool resumed;
};

/* Keys of the two descriptors in the wait context. */
static const char done_key, timer_key;

/* While it is not 0 this thread holds a lock, which another job on it may want. */
static _Thread_local unsigned holds;

void prov_async_hold(void)
{
    holds++;
}

void prov_async_release(void)
{
    holds--;
}

static bool job_on(void)
{
    return ASYNC_get_current_job() != NULL;
}

static void waiter_free(struct waiter *w)
{
    if (atomic_fetch_sub(&w->refs, 1) != 1)
        return;
    if (w->done >= 0)
        (void)close(w->done);
    if (w->timer >= 0)
        (void)close(w->timer);
    OPENSSL_free(w);
}

/* The program frees the wait context. A job that it never resumed still has the waiter. */
static void cleanup(ASYNC_WAIT_CTX *ctx, const void *key, OSSL_ASYNC_FD fd, void *custom)
{
    (void)ctx;
    (void)key;
    (void)fd;
    waiter_free(custom);
}

static bool make_known(struct waiter *w, const void *key, int fd, bool *known)
{
    if (fd < 0 || *known)
        return true;
    atomic_fetch_add(&w->refs, 1);
    *known = ASYNC_WAIT_CTX_set_wait_fd(w->ctx, key, fd, w, cleanup) == 1;
    if (!*known)
        atomic_fetch_sub(&w->refs, 1);
    return *known;
}

/* The wait context's waiter, or a new one; with a reference. */
static struct waiter *waiter_of(ASYNC_WAIT_CTX *ctx)
{
    struct waiter *w = NULL;
    void *custom = NULL;
    OSSL_ASYNC_FD fd;

    if (ASYNC_WAIT_CTX_get_fd(ctx, &done_key, &fd, &custom) == 1) {
        w = custom;
        atomic_fetch_add(&w->refs, 1);
        return w;
    }
    w = OPENSSL_zalloc(sizeof(*w));
    if (w == NULL)
        return NULL;
    atomic_init(&w->refs, 1);
    w->ctx = ctx;
    w->timer = -1;
    w->done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->done < 0) {
        waiter_free(w);
        w = NULL;
    }
    return w;
}

/* 0: never. */
static bool set_timer(struct waiter *w, uint64_t deadline_ns)
{
    const struct itimerspec when = {.it_value = {.tv_sec = (time_t)(deadline_ns / 1000000000U),
                                                 .tv_nsec = (long)(deadline_ns % 1000000000U)}};

    if (w->timer < 0 && deadline_ns != 0)
        w->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (w->timer < 0)
        return deadline_ns == 0;
    return timerfd_settime(w->timer, TFD_TIMER_ABSTIME, &when, NULL) == 0;
}

static void *job_begin(uint64_t deadline_ns)
{
    struct waiter *w = holds == 0 ? waiter_of(ASYNC_get_wait_ctx(ASYNC_get_current_job())) : NULL;

    if (w != NULL && !set_timer(w, deadline_ns)) {
        waiter_free(w);
        w = NULL;
    }
    return w;
}

static void job_end(void *arg)
{
    struct waiter *w = arg;
    eventfd_t count;

    (void)eventfd_read(w->done, &count);
    (void)set_timer(w, 0);
    w->resumed = false;
    waiter_free(w);
}

/* A job that was resumed although nothing has happened looks like one that cannot be paused at
 * all (ASYNC_block_pause): the thread waits a moment then, or it would spin. */
static void job_pause(void *arg)
{
    struct waiter *w = arg;
    struct pollfd fds[2] = {{.fd = w->done, .events = POLLIN}, {.fd = w->timer, .events = POLLIN}};

    if (poll(fds, 2, w->resumed ? 1 : 0) > 0)
        return;
    w->resumed = true;
    if (make_known(w, &done_key, w->done, &w->done_known) &&
        make_known(w, &timer_key, w->timer, &w->timer_known))
        (void)ASYNC_pause_job();
}

static void job_wake(void *arg)
{
    const struct waiter *w = arg;

    (void)eventfd_write(w->done, 1);
}

const struct ks_pauser prov_async_pauser = {job_on, job_begin, job_pause, job_wake, job_end};
