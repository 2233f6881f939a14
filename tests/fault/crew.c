/* SPDX-License-Identifier: Apache-2.0
 *
 * crew.c - threads at work, and what becomes of each operation.
 */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fault.h"

void fault_tell(struct result *r, const char *fmt, ...)
{
    va_list ap;

    if (atomic_exchange(&r->told, true))
        return;
    va_start(ap, fmt);
    vsnprintf(r->why, sizeof(r->why), fmt, ap);
    va_end(ap);
}

uint64_t fault_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

static void note_time(struct result *r, uint64_t took)
{
    uint64_t slowest = atomic_load(&r->slowest_ns);

    while (took > slowest && !atomic_compare_exchange_weak(&r->slowest_ns, &slowest, took))
        ;
    if (took > FAULT_SLOWEST_MS * 1000000ULL)
        fault_tell(r, "an operation took %lu ms", (unsigned long)(took / 1000000U));
}

static ks_status one(struct crew *crew, unsigned thread, unsigned turn, bool *wrong,
                     struct ks_error *err)
{
    uint64_t start = fault_now_ns();
    struct ks_call_options opts = {.deadline_ns = start + crew->patience_ms * 1000000ULL};
    ks_status st;

    memset(err, 0, sizeof(*err));
    st = world_work(crew->hand[thread], crew->work, turn, crew->patience_ms > 0 ? &opts : NULL,
                    wrong, err);
    note_time(crew->result, fault_now_ns() - start);
    return st;
}

static void judge(struct crew *crew, ks_status st, bool wrong, const struct ks_error *err)
{
    struct result *r = crew->result;

    atomic_fetch_add(&r->tried, 1);
    if (wrong) {
        atomic_fetch_add(&r->wrong, 1);
        fault_tell(r, "a wrong result");
    } else if (ks_ok(st)) {
        return;
    } else if (crew->refusal != NULL && crew->refusal(crew->arg, st, err)) {
        atomic_fetch_add(&r->refused, 1);
    } else if (crew->excuse != NULL && crew->excuse(crew->arg, st, err)) {
        atomic_fetch_add(&r->down, 1);
    } else {
        atomic_fetch_add(&r->lost, 1);
        fault_tell(r, "lost: %s: %s", ks_code_text(st.code), err->text);
    }
}

struct member {
    struct crew *crew;
    unsigned index;
    pthread_barrier_t *start;
    pthread_t thread;
};

static void *work(void *arg)
{
    struct member *m = arg;
    struct crew *crew = m->crew;
    struct ks_error err;
    ks_status st;
    bool wrong;

    if (m->start != NULL)
        pthread_barrier_wait(m->start);
    for (unsigned i = 0; i < crew->each; i++) {
        if (m->index == 0 && crew->shake != NULL && i == crew->shake_at)
            crew->shake(crew->arg);
        st = one(crew, m->index, i, &wrong, &err);
        judge(crew, st, wrong, &err);
    }
    return NULL;
}

static void hire(struct crew *crew)
{
    for (unsigned i = 0; i < crew->threads; i++)
        if (crew->hand[i] == NULL)
            crew->hand[i] = hand_new(crew->token);
}

void crew_run(struct crew *crew)
{
    struct member m[CREW_MAX];
    pthread_barrier_t start;

    hire(crew);
    if (crew->threads == 1) {
        m[0] = (struct member){.crew = crew};
        work(&m[0]);
        return;
    }
    pthread_barrier_init(&start, NULL, crew->threads);
    for (unsigned i = 0; i < crew->threads; i++) {
        m[i] = (struct member){.crew = crew, .index = i, .start = &start};
        if (pthread_create(&m[i].thread, NULL, work, &m[i]) != 0)
            abort();
    }
    for (unsigned i = 0; i < crew->threads; i++)
        pthread_join(m[i].thread, NULL);
    pthread_barrier_destroy(&start);
}

void crew_load(struct crew *crew)
{
    struct ks_error err = {.text = ""};

    hire(crew);
    for (unsigned i = 0; i < crew->threads; i++)
        if (!ks_ok(hand_load(crew->hand[i], crew->work, NULL, &err)))
            fault_tell(crew->result, "before any fault: %s", err.text);
}

void crew_free(struct crew *crew)
{
    for (unsigned i = 0; i < CREW_MAX; i++) {
        if (crew->hand[i] != NULL)
            hand_free(crew->hand[i]);
        crew->hand[i] = NULL;
    }
}

void crew_serves(struct crew *crew)
{
    const struct timespec pause = {.tv_nsec = 20000000};
    uint64_t until = fault_now_ns() + FAULT_BACK_MS * 1000000ULL;
    struct crew after = *crew;
    unsigned lost = atomic_load(&crew->result->lost);
    struct ks_error err;
    bool wrong, late;
    ks_status st;

    hire(&after);
    for (;;) {
        late = fault_now_ns() >= until;
        st = one(&after, 0, 0, &wrong, &err);
        if (ks_ok(st) || late)
            break;
        nanosleep(&pause, NULL);
    }
    if (!ks_ok(st))
        fault_tell(crew->result, "not serving again after %u ms: %s", FAULT_BACK_MS, err.text);
    after.shake = NULL;
    after.excuse = NULL;
    after.refusal = NULL;
    after.each = 1;
    if (ks_ok(st) && !wrong)
        crew_run(&after);
    memcpy(crew->hand, after.hand, sizeof(after.hand));
    if (wrong) {
        atomic_fetch_add(&crew->result->wrong, 1);
        fault_tell(crew->result, "a wrong result after the fault");
    }
    atomic_store(&crew->result->serving,
                 ks_ok(st) && !wrong && atomic_load(&crew->result->lost) == lost);
}

void fork_and_run(struct result *r, void (*part)(void *arg), void *arg)
{
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        alarm(40);
        part(arg);
        ks_shutdown();
        _exit(EXIT_SUCCESS);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) ||
        WEXITSTATUS(status) != EXIT_SUCCESS)
        fault_tell(r, "the forked process ended with status 0x%x", (unsigned)status);
}
