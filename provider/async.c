/* SPDX-License-Identifier: Apache-2.0
 *
 * async.c - operations inside an ASYNC_JOB, as servers with SSL_MODE_ASYNC start them: a worker
 * thread has the operation, the job is paused, and the server goes on with other connections until
 * the job's file descriptors can be read. Modules never run on a job's stack, which has 32 KiB.
 */
#include <openssl/async.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "prov_local.h"

struct waiter {
    ASYNC_WAIT_CTX *ctx;
    int done;  /* eventfd: the worker has finished */
    int timer; /* timerfd: the deadline has passed; -1: there is none */
    bool resumed;
};

/* Keys of the two descriptors in the job's wait context. */
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

static int timer_until(uint64_t deadline_ns)
{
    const struct itimerspec when = {.it_value = {.tv_sec = (time_t)(deadline_ns / 1000000000U),
                                                 .tv_nsec = (long)(deadline_ns % 1000000000U)}};
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

    if (fd >= 0 && timerfd_settime(fd, TFD_TIMER_ABSTIME, &when, NULL) != 0) {
        (void)close(fd);
        fd = -1;
    }
    return fd;
}

/* Programs take the descriptors from the wait context and poll them. They close none. */
static void job_end(void *arg)
{
    struct waiter *w = arg;

    (void)ASYNC_WAIT_CTX_clear_fd(w->ctx, &done_key);
    (void)close(w->done);
    if (w->timer >= 0) {
        (void)ASYNC_WAIT_CTX_clear_fd(w->ctx, &timer_key);
        (void)close(w->timer);
    }
    OPENSSL_free(w);
}

static void *job_begin(uint64_t deadline_ns)
{
    ASYNC_JOB *job = ASYNC_get_current_job();
    struct waiter *w = holds == 0 ? OPENSSL_zalloc(sizeof(*w)) : NULL;

    if (w == NULL)
        return NULL;
    w->ctx = ASYNC_get_wait_ctx(job);
    w->done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    w->timer = deadline_ns != 0 ? timer_until(deadline_ns) : -1;
    if (w->done < 0 || (deadline_ns != 0 && w->timer < 0))
        goto err;
    if (ASYNC_WAIT_CTX_set_wait_fd(w->ctx, &done_key, w->done, NULL, NULL) != 1)
        goto err;
    if (w->timer < 0 || ASYNC_WAIT_CTX_set_wait_fd(w->ctx, &timer_key, w->timer, NULL, NULL) == 1)
        return w;
    (void)ASYNC_WAIT_CTX_clear_fd(w->ctx, &done_key);
err:
    if (w->done >= 0)
        (void)close(w->done);
    if (w->timer >= 0)
        (void)close(w->timer);
    OPENSSL_free(w);
    return NULL;
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
    (void)ASYNC_pause_job();
}

static void job_wake(void *arg)
{
    const struct waiter *w = arg;

    (void)eventfd_write(w->done, 1);
}

const struct ks_pauser prov_async_pauser = {job_on, job_begin, job_pause, job_wake, job_end};
