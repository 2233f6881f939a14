/* SPDX-License-Identifier: Apache-2.0
 *
 * secret.c - pages for PINs and what is remembered of them: locked in memory, out of core
 * dumps, wiped before they go. Where the system does not allow that, the log says so once.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "../observe/log.h"
#include "pin.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* short: see ks_secrets_lock() */
/* What the system refused, as an errno; 0: nothing. Said once in each process. */
static atomic_int not_locked, in_dumps;
static atomic_bool lock_said, dumps_said;

void ks_secrets_lock(void)
{
    pthread_mutex_lock(&lock);
}

bool ks_secrets_try_lock(void)
{
    return pthread_mutex_trylock(&lock) == 0;
}

void ks_secrets_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

void ks_secrets_forked(void)
{
    ks_secrets_unlock(); /* taken before the fork */
    /* a lock that this process did not get is another matter than its parent's */
    atomic_store(&not_locked, 0);
    atomic_store(&lock_said, false);
}

void ks_secret_lock_page(void *page)
{
    if (mlock(page, KS_SECRET_SIZE) != 0)
        atomic_store(&not_locked, errno);
}

void *ks_secret_new(void)
{
    void *page =
        mmap(NULL, KS_SECRET_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED)
        return NULL;
    if (madvise(page, KS_SECRET_SIZE, MADV_DONTDUMP) != 0)
        atomic_store(&in_dumps, errno);
    ks_secret_lock_page(page);
    return page;
}

void ks_secret_free(void *page)
{
    if (page == NULL)
        return;
    explicit_bzero(page, KS_SECRET_SIZE);
    (void)munmap(page, KS_SECRET_SIZE);
}

void ks_secrets_say(void)
{
    struct rlimit most = {0};
    char limit[32];
    int why = atomic_load(&not_locked);

    if (why != 0 && ks_log_on(KS_LOG_WARN) && !atomic_exchange(&lock_said, true)) {
        (void)getrlimit(RLIMIT_MEMLOCK, &most);
        snprintf(limit, sizeof(limit), "%lu", (unsigned long)most.rlim_cur);
        ks_log_event(KS_LOG_WARN, "pin-not-locked", NULL, "reason", strerror(why), "limit", limit,
                     "text",
                     "the PIN is in memory that may be written to swap space: raise "
                     "RLIMIT_MEMLOCK (systemd: LimitMEMLOCK=), or have no unencrypted swap",
                     NULL);
    }
    why = atomic_load(&in_dumps);
    if (why != 0 && ks_log_on(KS_LOG_WARN) && !atomic_exchange(&dumps_said, true))
        ks_log_event(KS_LOG_WARN, "pin-in-core-dumps", NULL, "reason", strerror(why), "text",
                     "a core dump of this process would hold the PIN: switch core dumps off "
                     "(RLIMIT_CORE; systemd: LimitCORE=0)",
                     NULL);
}
