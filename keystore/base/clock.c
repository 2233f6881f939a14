/* SPDX-License-Identifier: Apache-2.0
 *
 * clock.c - the monotonic clock, and pauses by it.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "clock.h"

#define SECOND_NS 1000000000U
/* With jitter a pause is longer by 0 to 15 sixteenths of it. */
#define JITTER_PARTS 16U

uint64_t ks_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * SECOND_NS + (uint64_t)ts.tv_nsec;
}

struct timespec ks_timespec(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / SECOND_NS), .tv_nsec = (long)(ns % SECOND_NS)};
}

void ks_sleep(uint64_t ns)
{
    struct timespec ts = ks_timespec(ns);

    nanosleep(&ts, NULL);
}

bool ks_backoff_wait(struct ks_backoff *backoff, uint64_t deadline_ns)
{
    uint64_t now = ks_now_ns(), ns = backoff->pause_ns;

    if (backoff->jitter)
        ns += ns * (now / 1000U % JITTER_PARTS) / JITTER_PARTS;
    if (deadline_ns != 0 && now + ns >= deadline_ns)
        return false;
    ks_sleep(ns);
    backoff->pause_ns *= 2;
    return true;
}

void ks_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}
