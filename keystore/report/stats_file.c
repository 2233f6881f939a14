/* SPDX-License-Identifier: Apache-2.0
 *
 * stats_file.c - the statistics as a file. A thread of its own writes it, so that no operation
 * waits for a disk; the first operation starts it (in a forked child as well), and it ends when
 * nothing has happened for a while, so that a process that rests is not woken up.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/error.h"
#include "../base/file.h"
#include "../base/process.h"
#include "../observe/log.h"
#include "../observe/stats.h"
#include "report.h"

#define INTERVAL_NS 2000000000U
/* The thread ends after so many intervals without an operation. */
#define IDLE_ROUNDS 5
#define STACK_SIZE  ((size_t)256 * 1024)
#define PATHS_MAX   8
/* How long the end of the process waits for a write that is under way. */
#define FINAL_WAIT_NS 1000000000U

struct path {
    char *path;
    unsigned uses;
    bool failed; /* has been logged */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* short; guards paths */
static struct path paths[PATHS_MAX];
static pthread_mutex_t write_lock = PTHREAD_MUTEX_INITIALIZER; /* long: one writes at a time */
static atomic_bool wanted;                                     /* a path is there */
static atomic_bool running;                                    /* the thread; in this process */
static atomic_bool touched; /* something happened since the last write */
static atomic_bool ever;    /* something happened in this process */
static atomic_uint finals_asked, finals_done;

static bool write_all(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, text, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        text += n;
        len -= (size_t)n;
    }
    return true;
}

/* A temporary file beside it, then its name: readers see all or nothing. */
static bool replace_file(const char *path, const char *text, size_t len)
{
    char temp[PATH_MAX + 32];
    int fd, why;
    bool ok;

    snprintf(temp, sizeof(temp), "%s.%ld.tmp", path, (long)getpid());
    for (int tries = 0;; tries++) {
        fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd >= 0)
            break;
        /* of a process with this number that was killed */
        if (errno != EEXIST || tries > 0 || unlink(temp) != 0)
            return false;
    }
    ok = write_all(fd, text, len) && fchmod(fd, 0644) == 0;
    why = errno;
    ok = close(fd) == 0 && ok;
    if (ok && rename(temp, path) == 0)
        return true;
    if (ok)
        why = errno;
    (void)unlink(temp);
    errno = why;
    return false;
}

static void write_path(struct path *p, const char *path, bool final)
{
    char real[PATH_MAX];
    size_t len = 0;
    char *text;
    bool ok;

    if (!ks_path_expand(path, real, sizeof(real)))
        return;
    text = ks_stats_render(strstr(path, "%p") != NULL, final, &len);
    if (text == NULL)
        return;
    ok = replace_file(real, text, len);
    if (!ok && !p->failed)
        ks_log_event(KS_LOG_ERROR, "stats-file-failed", NULL, "path", real, "reason",
                     strerror(errno), NULL);
    p->failed = !ok;
    free(text);
}

/* Holds write_lock. */
static void write_files(bool final)
{
    char copy[PATH_MAX];

    for (size_t i = 0; i < PATHS_MAX; i++) {
        bool there;

        pthread_mutex_lock(&lock);
        there = paths[i].path != NULL;
        if (there)
            snprintf(copy, sizeof(copy), "%s", paths[i].path);
        pthread_mutex_unlock(&lock);
        if (there)
            write_path(&paths[i], copy, final);
    }
}

static void touch(void);

static void *writer_main(void *arg)
{
    unsigned idle = 0;

    (void)arg;
    while (idle < IDLE_ROUNDS && atomic_load(&wanted)) {
        if (atomic_exchange(&touched, false)) {
            idle = 0;
            pthread_mutex_lock(&write_lock);
            if (atomic_load(&wanted)) /* never after the last words */
                write_files(false);
            pthread_mutex_unlock(&write_lock);
        } else {
            idle++;
        }
        ks_sleep(INTERVAL_NS);
    }
    atomic_store(&running, false);
    /* an operation that ended just now saw a thread that was still there */
    if (atomic_load(&touched) && atomic_load(&wanted))
        touch();
    return NULL;
}

/* With all signals blocked: they are the application's. */
static bool start_thread(void *(*run)(void *arg), void *arg)
{
    pthread_attr_t attr;
    sigset_t all, old;
    pthread_t thread;
    int rc;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(&thread, &attr, run, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    return rc == 0;
}

static void touch(void)
{
    /* written once an interval only: no line that every operation fights for */
    if (!atomic_load_explicit(&touched, memory_order_relaxed)) {
        atomic_store(&touched, true);
        atomic_store(&ever, true);
    }
    if (!atomic_load(&running) && !atomic_exchange(&running, true) &&
        !start_thread(writer_main, NULL))
        atomic_store(&running, false); /* the next operation tries again */
}

static void forked(void)
{
    pthread_mutex_init(&lock, NULL);
    pthread_mutex_init(&write_lock, NULL);
    atomic_store(&running, false);
    atomic_store(&touched, false);
    atomic_store(&ever, false);
    atomic_store(&finals_asked, 0);
    atomic_store(&finals_done, 0);
}

/* --- the end --------------------------------------------------------------------------------- */

/* `arg` is the path, or NULL for all of them. */
static void *final_main(void *arg)
{
    struct path one = {.path = arg};

    pthread_mutex_lock(&write_lock);
    if (arg != NULL)
        write_path(&one, one.path, true);
    else
        write_files(true);
    pthread_mutex_unlock(&write_lock);
    free(arg);
    atomic_fetch_add(&finals_done, 1);
    return NULL;
}

/* The last words, on a thread that is waited for no longer than this: a program may be ending
 * with any lock held, by a signal's handler. Takes over `path`. */
static void write_final(char *path)
{
    uint64_t end = ks_now_ns() + FINAL_WAIT_NS;
    unsigned mine = atomic_fetch_add(&finals_asked, 1) + 1;

    if (!start_thread(final_main, path)) {
        free(path);
        return;
    }
    while ((int)(atomic_load(&finals_done) - mine) < 0 && ks_now_ns() < end)
        ks_sleep(100000U);
}

static void shut_down(void)
{
    atomic_store(&ks_stats_listener, NULL);
    if (atomic_exchange(&wanted, false) && atomic_exchange(&ever, false))
        write_final(NULL);
}

static const struct ks_process_part part = {.forked = forked, .end_first = shut_down};

/* --- paths ----------------------------------------------------------------------------------- */

static struct path *find(const char *path)
{
    for (size_t i = 0; i < PATHS_MAX; i++)
        if (paths[i].path != NULL && strcmp(paths[i].path, path) == 0)
            return &paths[i];
    return NULL;
}

ks_status ks_stats_file_add(const char *path, struct ks_error *err)
{
    struct path *p;
    ks_status st = KS_SUCCESS;

    if (path[0] != '/' || strlen(path) > PATH_MAX - 64)
        return ks_fail(err, KS_CONFIG, "stats-file: must be an absolute path");
    pthread_mutex_lock(&lock);
    p = find(path);
    for (size_t i = 0; p == NULL && i < PATHS_MAX; i++)
        if (paths[i].path == NULL)
            p = &paths[i];
    if (p == NULL)
        st =
            ks_fail(err, KS_CONFIG, "stats-file: this process writes %d others already", PATHS_MAX);
    else if (p->path == NULL && (p->path = strdup(path)) == NULL)
        st = ks_no_memory(err);
    else
        p->uses++;
    pthread_mutex_unlock(&lock);
    if (ks_ok(st)) {
        ks_process_add(&part);
        atomic_store(&wanted, true);
        atomic_store(&ks_stats_listener, touch);
    }
    return st;
}

void ks_stats_file_drop(const char *path)
{
    bool others = false;
    char *old = NULL;
    struct path *p;

    pthread_mutex_lock(&lock);
    p = find(path);
    if (p != NULL && --p->uses == 0) {
        old = p->path;
        p->path = NULL;
    }
    for (size_t i = 0; i < PATHS_MAX; i++)
        others = others || paths[i].path != NULL;
    pthread_mutex_unlock(&lock);
    if (!others) {
        atomic_store(&wanted, false);
        atomic_store(&ks_stats_listener, NULL);
    }
    if (old != NULL && atomic_load(&ever))
        write_final(old);
    else
        free(old);
}
