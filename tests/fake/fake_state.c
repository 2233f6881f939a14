/* SPDX-License-Identifier: Apache-2.0
 *
 * The state, its mutex, forks, and what happens at the edge of every C_ call. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "fake_local.h"

struct fake_state fake;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t released = PTHREAD_COND_INITIALIZER; /* fake_release() was called */
static pthread_cond_t hanging = PTHREAD_COND_INITIALIZER;  /* one more call hangs */

const char *const fake_function_names[FAKE_FUNCTIONS] = {
#define FAKE_FUNCTION(name) #name,
#include "fake_functions.def"
#undef FAKE_FUNCTION
};

void fake_die(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fputs("fake-pkcs11: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    abort();
}

void *fake_alloc(size_t size)
{
    void *p = calloc(1, size != 0 ? size : 1);

    if (p == NULL)
        fake_die("out of memory");
    return p;
}

void fake_set_blob(struct fake_blob *blob, const void *data, size_t len)
{
    free(blob->data);
    blob->data = NULL;
    blob->len = 0;
    if (data == NULL)
        return;
    blob->data = fake_alloc(len + 1);
    memcpy(blob->data, data, len);
    blob->len = len;
}

enum fake_function fake_function_by_name(const char *name)
{
    for (size_t i = 0; i < FAKE_FUNCTIONS; i++) {
        if (strcmp(fake_function_names[i], name) == 0)
            return (enum fake_function)i;
    }
    fake_die("no function \"%s\"", name);
}

void fake_lock(void)
{
    pthread_mutex_lock(&mutex);
}

void fake_unlock(void)
{
    pthread_mutex_unlock(&mutex);
}

/* --- forks ----------------------------------------------------------------------------------- */

static void zero_counts(void)
{
    memset(fake.calls, 0, sizeof(fake.calls));
    memset(fake.peak_running, 0, sizeof(fake.peak_running));
    fake.logged = 0;
    fake.peak_sessions = fake.sessions;
}

/* In the child the module is not initialised, as the specification wants it; or, as SoftHSM has
 * it, nothing has happened. */
static void after_fork(void)
{
    pthread_mutex_unlock(&mutex); /* or ThreadSanitizer takes it for locked for ever */
    pthread_mutex_init(&mutex, NULL);
    pthread_cond_init(&released, NULL);
    pthread_cond_init(&hanging, NULL);
    memset(fake.running, 0, sizeof(fake.running));
    fake.hanging = 0;
    if (!fake.quirk[FAKE_QUIRK_SOFTHSM_FORK]) {
        fake.initialized = false;
        fake_close_sessions(~0UL, false);
    }
    zero_counts();
}

__attribute__((constructor)) static void start(void)
{
    pthread_atfork(fake_lock, fake_unlock, after_fork);
    fake_run_environment();
}

/* After everything that atexit() has: the keystore's C_Finalize is counted, too. */
__attribute__((destructor)) static void write_counts(void)
{
    const char *path = getenv("HSM_FAKE_COUNTS");
    char line[8192];
    int len;
    unsigned long sum = 0;
    FILE *file;

    if (path == NULL)
        return;
    len = snprintf(line, sizeof(line), "pid=%ld", (long)getpid());
    for (size_t i = 0; i < FAKE_FUNCTIONS; i++) {
        sum += fake.calls[i];
        if (fake.calls[i] != 0)
            len += snprintf(line + len, sizeof(line) - (size_t)len, " %s=%lu",
                            fake_function_names[i], fake.calls[i]);
    }
    if (sum == 0)
        return;
    line[len++] = '\n';
    file = fopen(path, "ae");
    if (file == NULL)
        return;
    setvbuf(file, NULL, _IONBF, 0); /* one write: lines of several processes stay whole */
    fwrite(line, 1, (size_t)len, file);
    fclose(file);
}

/* --- the edge of a call ---------------------------------------------------------------------- */

static void hang(void)
{
    unsigned long seen = fake.releases;

    fake.hanging++;
    pthread_cond_broadcast(&hanging);
    while (fake.releases == seen)
        pthread_cond_wait(&released, &mutex);
    fake.hanging--;
}

/* To the point, as far as that is the kernel's to decide: by default it adds up to 50 us, so that
 * it can wake several at once. */
static void sleep_us(unsigned us)
{
    static _Thread_local bool exact;
    struct timespec t;

    if (!exact)
        exact = prctl(PR_SET_TIMERSLACK, 1) == 0;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += us / 1000000;
    t.tv_nsec += (long)(us % 1000000) * 1000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) != 0)
        ;
}

/* Counts down every entry of this function, and takes the first that is due. */
static bool take_injection(enum fake_function function, struct fake_injection *taken)
{
    bool found = false;

    for (size_t i = 0; i < FAKE_INJECTIONS; i++) {
        struct fake_injection *in = &fake.injection[i];

        if (!in->used || in->function != function)
            continue;
        if (in->nth > 1) {
            in->nth--;
            continue;
        }
        if (found)
            continue;
        *taken = *in;
        found = true;
        if (in->times != FAKE_FOREVER && --in->times == 0)
            in->used = false;
    }
    return found;
}

CK_RV fake_enter(struct fake_call *call, enum fake_function function)
{
    struct fake_injection in = {.used = false};
    unsigned us;

    call->function = function;
    call->after = CKR_OK;
    call->session = 0;
    fake_lock();
    fake.calls[function]++;
    fake.log[fake.logged++ % FAKE_LOG] = (unsigned char)function;
    if (++fake.running[function] > fake.peak_running[function])
        fake.peak_running[function] = fake.running[function];
    us = fake.latency_us[function];
    if (take_injection(function, &in) && in.action != NULL) {
        fake_unlock();
        in.action(in.arg);
        fake_lock();
    }
    if (in.hang)
        hang();
    if (us != 0) {
        fake_unlock();
        sleep_us(us);
        fake_lock();
    }
    if (in.rv != CKR_OK && !in.after)
        return in.rv;
    call->after = in.rv;
    if (function == FAKE_C_Initialize || function == FAKE_C_GetFunctionList)
        return CKR_OK;
    if (!fake.initialized)
        return CKR_CRYPTOKI_NOT_INITIALIZED;
    if (fake.lost && function != FAKE_C_Finalize)
        return CKR_DEVICE_ERROR;
    return CKR_OK;
}

CK_RV fake_leave(struct fake_call *call, CK_RV rv)
{
    fake.running[call->function]--;
    fake_unlock();
    return call->after != CKR_OK ? call->after : rv;
}

/* What an injected code means for the session. */
static void session_suffers(const struct fake_call *call, CK_RV rv)
{
    struct fake_session *s = &fake.session[call->session % FAKE_SESSIONS];
    bool works = call->function == FAKE_C_Sign || call->function == FAKE_C_Decrypt;

    if (call->session == 0 || s->handle != call->session)
        return;
    if (rv == CKR_SESSION_HANDLE_INVALID || rv == CKR_SESSION_CLOSED)
        fake_close_session(s, false);
    else if (works && rv != CKR_BUFFER_TOO_SMALL && !fake.quirk[FAKE_QUIRK_OPERATION_STICKS])
        fake_op_clear(&s->op);
}

CK_RV fake_enter_session(struct fake_call *call, enum fake_function function,
                         CK_SESSION_HANDLE handle)
{
    CK_RV rv = fake_enter(call, function);

    call->session = handle;
    if (rv != CKR_OK)
        session_suffers(call, rv);
    return rv;
}

CK_RV fake_leave_session(struct fake_call *call, CK_RV rv)
{
    if (call->after != CKR_OK)
        session_suffers(call, call->after);
    return fake_leave(call, rv);
}

/* --- control: script ------------------------------------------------------------------------- */

static void add_injection(struct fake_injection in)
{
    size_t n = 0;

    if (in.nth == 0 || in.times == 0)
        fake_die("injection with nth or times 0");
    in.used = true;
    fake_lock();
    for (size_t i = 0; i < FAKE_INJECTIONS; i++) {
        if (fake.injection[i].used)
            fake.injection[n++] = fake.injection[i];
    }
    if (n == FAKE_INJECTIONS)
        fake_die("more than %d injections", FAKE_INJECTIONS);
    fake.injection[n++] = in;
    while (n < FAKE_INJECTIONS)
        fake.injection[n++].used = false;
    fake_unlock();
}

FAKE_EXPORT void fake_inject(const char *function, unsigned nth, unsigned times, unsigned long rv,
                             bool after)
{
    add_injection((struct fake_injection){.function = fake_function_by_name(function),
                                          .nth = nth,
                                          .times = times,
                                          .rv = rv,
                                          .after = after});
}

FAKE_EXPORT void fake_fail(const char *function, unsigned long rv)
{
    fake_inject(function, 1, 1, rv, false);
}

FAKE_EXPORT void fake_hang(const char *function, unsigned nth)
{
    add_injection((struct fake_injection){
        .function = fake_function_by_name(function), .nth = nth, .times = 1, .hang = true});
}

FAKE_EXPORT void fake_at(const char *function, unsigned nth, void (*action)(void *arg), void *arg)
{
    add_injection((struct fake_injection){.function = fake_function_by_name(function),
                                          .nth = nth,
                                          .times = 1,
                                          .action = action,
                                          .arg = arg});
}

FAKE_EXPORT void fake_heal(const char *function)
{
    enum fake_function f = function != NULL ? fake_function_by_name(function) : FAKE_FUNCTIONS;

    fake_lock();
    for (size_t i = 0; i < FAKE_INJECTIONS; i++) {
        if (f == FAKE_FUNCTIONS || fake.injection[i].function == f)
            fake.injection[i].used = false;
    }
    fake_unlock();
}

FAKE_EXPORT void fake_release(void)
{
    fake_lock();
    fake.releases++;
    pthread_cond_broadcast(&released);
    fake_unlock();
}

FAKE_EXPORT bool fake_wait_hanging(unsigned calls, unsigned milliseconds)
{
    struct timespec until;
    int rc = 0;
    bool reached;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += milliseconds / 1000;
    until.tv_nsec += (long)(milliseconds % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    fake_lock();
    while (fake.hanging < calls && rc == 0)
        rc = pthread_cond_timedwait(&hanging, &mutex, &until);
    reached = fake.hanging >= calls;
    fake_unlock();
    return reached;
}

FAKE_EXPORT void fake_set_latency(const char *function, unsigned microseconds)
{
    enum fake_function f = function != NULL ? fake_function_by_name(function) : FAKE_FUNCTIONS;

    fake_lock();
    for (size_t i = 0; i < FAKE_FUNCTIONS; i++) {
        if (f == FAKE_FUNCTIONS || i == (size_t)f)
            fake.latency_us[i] = microseconds;
    }
    fake_unlock();
}

/* --- control: counts ------------------------------------------------------------------------- */

FAKE_EXPORT unsigned long fake_calls(const char *function)
{
    unsigned long sum = 0;

    enum fake_function f = function != NULL ? fake_function_by_name(function) : FAKE_FUNCTIONS;

    fake_lock();
    for (size_t i = 0; i < FAKE_FUNCTIONS; i++) {
        if (f == FAKE_FUNCTIONS || i == (size_t)f)
            sum += fake.calls[i];
    }
    fake_unlock();
    return sum;
}

FAKE_EXPORT void fake_clear_counts(void)
{
    fake_lock();
    zero_counts();
    fake.pin_attempts = 0;
    fake.largest_random = 0;
    fake_unlock();
}

FAKE_EXPORT const char *fake_log(void)
{
    static char text[FAKE_LOG * 24];
    size_t len = 0;
    unsigned long first;

    fake_lock();
    first = fake.logged > FAKE_LOG ? fake.logged - FAKE_LOG : 0;
    text[0] = '\0';
    for (unsigned long i = first; i < fake.logged; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s", i == first ? "" : " ",
                                fake_function_names[fake.log[i % FAKE_LOG]]);
    fake_unlock();
    return text;
}

FAKE_EXPORT unsigned fake_peak_parallel(const char *function)
{
    unsigned n;
    enum fake_function f = fake_function_by_name(function);

    fake_lock();
    n = fake.peak_running[f];
    fake_unlock();
    return n;
}

/* What outlives a reset: calls that are under way, and numbers that must not come again, since
 * code under test may still hold old ones. */
FAKE_EXPORT void fake_reset(void)
{
    static struct fake_state old;

    fake_release();
    fake_lock();
    fake_close_sessions(~0UL, false);
    fake_objects_drop_all();
    old = fake;
    memset(&fake, 0, sizeof(fake));
    fake.initialized = old.initialized;
    memcpy(fake.running, old.running, sizeof(fake.running));
    fake.hanging = old.hanging;
    fake.releases = old.releases;
    fake.next_session = old.next_session;
    fake_unlock();
}
