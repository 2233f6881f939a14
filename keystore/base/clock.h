/* SPDX-License-Identifier: Apache-2.0
 *
 * base/clock.h - the monotonic clock, and pauses by it. Times are nanoseconds since an arbitrary
 * start; a deadline of 0 is none. All functions are thread-safe.
 */
#ifndef HSM_KS_CLOCK_H
#define HSM_KS_CLOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "../keystore.h"

/* Purpose: the time now. clock_gettime(2), CLOCK_MONOTONIC */
uint64_t ks_now_ns(void);
/* Purpose: the same time or duration as a struct timespec. */
struct timespec ks_timespec(uint64_t ns);
/* Purpose: sleep for so long, or until a signal comes. nanosleep(2) */
void ks_sleep(uint64_t ns);
/* Purpose: make a condition variable for timed waits by this clock. */
void ks_cond_init(pthread_cond_t *cond);

/* Purpose: the deadline of an operation; 0 where its options are NULL or have none. */
static inline uint64_t ks_deadline(const struct ks_call_options *opts)
{
    return opts != NULL ? opts->deadline_ns : 0;
}

/* The first pause before something is tried again that passes by itself. */
#define KS_TRANSIENT_PAUSE_NS 5000000U

/* Exponential back-off: the next pause, twice as long each time. */
struct ks_backoff {
    uint64_t pause_ns;
    bool jitter; /* up to almost twice as long: processes that collided shall not do so again */
};

/* Purpose: sleep for the next pause, and double it. Returns false, without a sleep, when the pause
 * would pass the deadline. */
bool ks_backoff_wait(struct ks_backoff *backoff, uint64_t deadline_ns);

#endif
