/* SPDX-License-Identifier: Apache-2.0
 *
 * log.c - what happens to tokens, one line an event (logfmt). No descriptor is kept between
 * lines, and no lock is taken: a program may fork, close everything or rotate its logs whenever it
 * likes, and the line after that is written all the same.
 *
 * Fields are names of ours with values that are escaped here. No caller has a PIN, key material
 * or data in its hands when it calls.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/error.h"
#include "../base/file.h"
#include "log.h"

#define LINE_MAX_ 2048
/* Events of one process in a second; those after that are only counted. */
#define EVENTS_PER_SECOND 50U

atomic_int ks_log_level;
atomic_bool ks_log_auditing;
_Atomic uint64_t ks_log_lost;
const char *ks_log_socket = "/dev/log";

/* What was configured; never freed while in use, and constant. */
struct log_target {
    const struct log_target *before; /* another thread may be writing to it still */
    enum { TO_STDERR, TO_SYSLOG, TO_FILE } to;
    char path[]; /* for TO_FILE */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* opening and closing */
static _Atomic(const struct log_target *) target;
static struct ks_log_config current; /* lock; `target` owned */
static unsigned users;               /* lock */

static _Atomic uint64_t second; /* the one that is counted */
static atomic_uint in_second, left_out;

/* Where the lines of this process go that its log file does not take; said once for each. */
static _Atomic uint64_t elsewhere;

static const char *const level_names[] = {
    [KS_LOG_OFF] = "audit", [KS_LOG_ERROR] = "error", [KS_LOG_WARN] = "warn",
    [KS_LOG_INFO] = "info", [KS_LOG_DEBUG] = "debug",
};

/* --- lines ----------------------------------------------------------------------------------- */

struct line {
    char text[LINE_MAX_];
    size_t len; /* room for the newline is kept */
};

static void put(struct line *l, char c)
{
    if (l->len < sizeof(l->text) - 2)
        l->text[l->len++] = c;
}

static void put_text(struct line *l, const char *text)
{
    while (*text != '\0')
        put(l, *text++);
}

/* Quoted if need be; what is not printable becomes \xNN. */
static void put_value(struct line *l, const char *value)
{
    char plain[768];
    bool quote;

    ks_escape(plain, sizeof(plain), value, SIZE_MAX);
    quote = plain[0] == '\0' || strpbrk(plain, " =\"\\") != NULL;
    if (quote)
        put(l, '"');
    for (const char *p = plain; *p != '\0'; p++) {
        if (*p == '"' || *p == '\\')
            put(l, '\\');
        put(l, *p);
    }
    if (quote)
        put(l, '"');
}

static void put_field(struct line *l, const char *name, const char *value)
{
    if (value == NULL)
        return;
    if (l->len > 0)
        put(l, ' ');
    put_text(l, name);
    put(l, '=');
    put_value(l, value);
}

/* Days since 1970 to a date (Hinnant's civil_from_days); gmtime_r takes a lock that a fork may
 * leave locked. */
static void put_time(struct line *l)
{
    struct timespec ts;
    long days, era, doe, yoe, doy, mp, rest;
    char text[96];

    clock_gettime(CLOCK_REALTIME, &ts);
    days = (long)(ts.tv_sec / 86400) + 719468;
    rest = (long)(ts.tv_sec % 86400);
    era = days / 146097;
    doe = days % 146097;
    yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    mp = (5 * doy + 2) / 153;
    snprintf(text, sizeof(text), "%04ld-%02ld-%02ldT%02ld:%02ld:%02ld.%06ldZ",
             yoe + era * 400 + (mp >= 10), mp < 10 ? mp + 3 : mp - 9, doy - (153 * mp + 2) / 5 + 1,
             rest / 3600, rest / 60 % 60, rest % 60, ts.tv_nsec / 1000);
    put_field(l, "ts", text);
}

static void begin(struct line *l, enum ks_log_level level, const char *event, const char *token)
{
    char pid[32];

    l->len = 0;
    put_time(l);
    snprintf(pid, sizeof(pid), "%ld", (long)getpid());
    put_field(l, "pid", pid);
    put_field(l, "level", level_names[level]);
    put_field(l, "event", event);
    if (token != NULL)
        put_field(l, "token", token);
}

/* --- where to -------------------------------------------------------------------------------- */

/* A reader that went away must not end the program. */
static bool write_quietly(int fd, const char *text, size_t len)
{
    const struct timespec now = {0};
    sigset_t pipe_set, pending, old;
    bool was_pending;
    ssize_t n;

    sigemptyset(&pipe_set);
    sigaddset(&pipe_set, SIGPIPE);
    sigpending(&pending);
    was_pending = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_set, &old);
    do
        n = write(fd, text, len);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EPIPE && !was_pending)
        while (sigtimedwait(&pipe_set, NULL, &now) < 0 && errno == EINTR)
            ;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return n == (ssize_t)len;
}

/* To /dev/log by ourselves: syslog(3) keeps a descriptor, and takes a lock that a fork may leave
 * locked. */
static bool to_syslog(enum ks_log_level level, const char *text, size_t len)
{
    static const int priorities[] = {[KS_LOG_OFF] = 6,
                                     [KS_LOG_ERROR] = 3,
                                     [KS_LOG_WARN] = 4,
                                     [KS_LOG_INFO] = 6,
                                     [KS_LOG_DEBUG] = 7};
    struct sockaddr_un where = {.sun_family = AF_UNIX};
    char line[LINE_MAX_ + 64];
    ssize_t n = -1;
    int fd, head;

    snprintf(where.sun_path, sizeof(where.sun_path), "%s", ks_log_socket);

    head = snprintf(line, sizeof(line), "<%d>openssl-hsm[%ld]: ", 3 << 3 | priorities[level],
                    (long)getpid());
    memcpy(line + head, text, len);
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    if (connect(fd, (const struct sockaddr *)&where, sizeof(where)) == 0)
        n = send(fd, line, (size_t)head + len, MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
    return n >= 0;
}

/* One line saying that, and why, where the lines go to from now on; `fd` is -1 for syslog. */
static void say_elsewhere(int fd, const char *path, const char *reason)
{
    uint64_t here = (uint64_t)geteuid() * 2 + (fd < 0) + 1;
    struct line l;

    if (atomic_exchange(&elsewhere, here) == here)
        return;
    begin(&l, KS_LOG_WARN, "log-elsewhere", NULL);
    put_field(&l, "path", path);
    put_field(&l, "reason", reason);
    l.text[l.len] = '\n';
    if (fd < 0)
        (void)to_syslog(KS_LOG_WARN, l.text, l.len);
    else
        (void)write_quietly(fd, l.text, l.len + 1);
}

static bool append(int fd, const char *text, size_t len)
{
    bool ok = write_quietly(fd, text, len);

    close(fd);
    return ok;
}

/* A process that has become another user cannot go on with the file that it made before: it makes
 * one of its own beside that, PATH.UID; where it may not do that either there is syslog. No line is
 * lost as long as one of them takes it. */
static bool to_file(const char *path, enum ks_log_level level, const char *text, size_t len)
{
    char real[PATH_MAX], own[PATH_MAX + 32], reason[256];
    const char *why, *ignored;
    int fd, error;

    if (!ks_path_expand(path, real, sizeof(real)))
        return false;
    fd = ks_file_append(real, &why);
    if (fd >= 0 && append(fd, text, len))
        return true;
    error = errno;
    snprintf(reason, sizeof(reason), "%s", why != NULL ? why : strerror(error));
    if (fd < 0 && (error == EACCES || error == EPERM || error == ELOOP)) {
        snprintf(own, sizeof(own), "%s.%lu", real, (unsigned long)geteuid());
        fd = ks_file_append(own, &ignored);
        if (fd >= 0) {
            say_elsewhere(fd, real, reason);
            if (append(fd, text, len))
                return true;
        }
    }
    say_elsewhere(-1, real, reason);
    return to_syslog(level, text, len - 1);
}

static void end(struct line *l, enum ks_log_level level)
{
    const struct log_target *t = atomic_load(&target);
    int saved = errno;
    bool ok = true;

    if (t == NULL)
        return;
    l->text[l->len] = '\n';
    if (t->to == TO_SYSLOG)
        ok = to_syslog(level, l->text, l->len);
    else if (t->to == TO_FILE)
        ok = to_file(t->path, level, l->text, l->len + 1);
    else
        ok = write_quietly(STDERR_FILENO, l->text, l->len + 1);
    if (!ok)
        atomic_fetch_add(&ks_log_lost, 1);
    errno = saved;
}

/* --- events ---------------------------------------------------------------------------------- */

/* A token that is down would fill a disk. Lossy where threads meet at the turn of a second. */
static bool within_limit(struct line *l)
{
    uint64_t now = ks_now_ns() / 1000000000U;
    unsigned missing;
    char text[32];

    if (atomic_exchange(&second, now) != now)
        atomic_store(&in_second, 0);
    if (atomic_fetch_add(&in_second, 1) >= EVENTS_PER_SECOND) {
        atomic_fetch_add(&left_out, 1);
        return false;
    }
    missing = atomic_exchange(&left_out, 0);
    if (missing > 0) {
        snprintf(text, sizeof(text), "%u", missing);
        put_field(l, "suppressed", text);
    }
    return true;
}

void ks_log_event(enum ks_log_level level, const char *event, const char *token, ...)
{
    const char *name, *value;
    struct line l;
    va_list ap;

    if (!ks_log_on(level))
        return;
    begin(&l, level, event, token);
    va_start(ap, token);
    while ((name = va_arg(ap, const char *)) != NULL) {
        value = va_arg(ap, const char *);
        put_field(&l, name, value);
    }
    va_end(ap);
    if (within_limit(&l))
        end(&l, level);
}

void ks_log_call(enum ks_log_level level, const char *event, const char *token, enum ks_fn function,
                 unsigned long rv)
{
    char number[32];
    const char *name = ks_rv_name(rv);

    if (rv >= CKR_VENDOR_DEFINED || strncmp(name, "CKR_", 4) != 0) {
        snprintf(number, sizeof(number), "0x%lx", rv);
        name = number;
    }
    ks_log_event(level, event, token, "function",
                 function != KS_NO_FUNCTION ? ks_fn_name(function) : NULL, "code",
                 rv == CKR_OK ? NULL : name, NULL);
}

void ks_log_audit_line(const char *token, enum ks_operation class, const char *key,
                       const char *outcome, const char *code)
{
    struct line l;

    if (!atomic_load_explicit(&ks_log_auditing, memory_order_relaxed))
        return;
    begin(&l, KS_LOG_OFF, "operation", token);
    put_field(&l, "class", ks_op_class_names[class]);
    put_field(&l, "key", key);
    put_field(&l, "outcome", outcome);
    put_field(&l, "code", code);
    end(&l, KS_LOG_OFF);
}

/* --- opening and closing --------------------------------------------------------------------- */

static ks_status target_new(const char *text, struct log_target **out, struct ks_error *err)
{
    const char *path = strncmp(text, "file:", 5) == 0 ? text + 5 : "";
    struct log_target *t;

    if (strcmp(text, "stderr") != 0 && strcmp(text, "syslog") != 0 && path[0] != '/')
        return ks_fail(err, KS_CONFIG, "log: must be stderr, syslog or file:/absolute/path");
    if (strlen(path) > PATH_MAX - 64)
        return ks_fail(err, KS_CONFIG, "log: the path is too long");
    t = calloc(1, sizeof(*t) + strlen(path) + 1);
    if (t == NULL)
        return ks_no_memory(err);
    memcpy(t->path, path, strlen(path) + 1);
    t->to = path[0] == '/' ? TO_FILE : strcmp(text, "syslog") == 0 ? TO_SYSLOG : TO_STDERR;
    *out = t;
    return KS_SUCCESS;
}

ks_status ks_log_open(const struct ks_log_config *config, struct ks_error *err)
{
    struct log_target *fresh = NULL;
    char *name = strdup(config->target);
    ks_status st = name != NULL ? target_new(name, &fresh, err) : ks_no_memory(err);

    pthread_mutex_lock(&lock);
    if (!ks_ok(st) || fresh == NULL)
        goto out;
    if (users > 0) {
        if (strcmp(current.target, config->target) != 0 || current.level != config->level ||
            current.audit != config->audit)
            st = ks_fail(err, KS_CONFIG,
                         "log: this process logs already, with other settings: log, log-level and "
                         "audit must agree");
        else
            users++;
        goto out;
    }
    users = 1;
    fresh->before = atomic_load(&target); /* one for every time it was configured, so few */
    free((void *)current.target);
    current = *config;
    current.target = name;
    name = NULL;
    atomic_store(&target, fresh);
    fresh = NULL;
    atomic_store(&ks_log_auditing, config->audit);
    atomic_store(&ks_log_level, (int)config->level);
out:
    pthread_mutex_unlock(&lock);
    free(name);
    free(fresh);
    return st;
}

void ks_log_close(void)
{
    pthread_mutex_lock(&lock);
    if (users > 0 && --users == 0) {
        atomic_store(&ks_log_level, (int)KS_LOG_OFF);
        atomic_store(&ks_log_auditing, false);
    }
    pthread_mutex_unlock(&lock);
}

void ks_log_forked(void)
{
    atomic_store(&ks_log_lost, 0);
    pthread_mutex_init(&lock, NULL);
    atomic_store(&left_out, 0);
    atomic_store(&elsewhere, 0);
}
