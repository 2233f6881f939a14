/* SPDX-License-Identifier: Apache-2.0
 *
 * process.c - what the parts of the keystore have to do when the process forks, and when it
 * ends. They say so here, so that the module's handlers need not know them.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "process.h"

/* As many as there are: a part that found no room would leave its locks to a forked child. */
#define PARTS_MAX 3

static const struct ks_process_part *parts[PARTS_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of those who add */
static atomic_uint count;

_Thread_local unsigned ks_calls_inside;

bool ks_inside_module(void)
{
    return ks_calls_inside > 0;
}

void ks_process_add(const struct ks_process_part *part)
{
    unsigned n;
    bool there = false;

    pthread_mutex_lock(&lock);
    n = atomic_load(&count);
    for (unsigned i = 0; i < n; i++)
        there = there || parts[i] == part;
    if (!there) {
        if (n == PARTS_MAX)
            abort();
        parts[n] = part;
        atomic_store(&count, n + 1);
    }
    pthread_mutex_unlock(&lock);
}

void ks_process_run(enum ks_process_moment moment)
{
    const unsigned n = atomic_load(&count);
    void (*run)(void);

    if (moment == KS_FORKED)
        pthread_mutex_init(&lock, NULL);
    for (unsigned i = 0; i < n; i++) {
        switch (moment) {
        case KS_FORKING:
            run = parts[i]->forking;
            break;
        case KS_FORKED_PARENT:
            run = parts[i]->forked_parent;
            break;
        case KS_FORKED:
            run = parts[i]->forked;
            break;
        case KS_END_FIRST:
            run = parts[i]->end_first;
            break;
        default:
            run = parts[i]->end_last;
            break;
        }
        if (run != NULL)
            run();
    }
}
