/* SPDX-License-Identifier: Apache-2.0
 *
 * fault_campaign [--jobs N] [--quarter] [--only TEXT] [--stop] [--list] [--markdown FILE]
 *                [--check FILE]
 *
 * Runs every scenario in a process of its own and judges it; prints what was not as promised, and
 * sums. The exit status is 0 if all was. With --quarter each code at each function has one of the
 * four moments in each of the four situations (threads, fork), by turns; all events are run.
 * With --stop each process that --only has asked for stops before it begins, for a debugger.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fault.h"
#include "report.h"

#define SCENARIOS_MAX 60000
#define PROFILES_MAX  256

static struct scenario scenarios[SCENARIOS_MAX];
static unsigned scenario_count;
static const char *only;
static bool quarter, stop;

/* shared by all processes */
static struct result *results;
static atomic_uint *profiles, *next_scenario;

static void add(const struct scenario *s)
{
    if (scenario_count == SCENARIOS_MAX)
        abort();
    if (quarter && s->row != NULL && !s->dry &&
        (s->profile / 4 + s->profile % 4 + s->code + (unsigned)s->position) % 4 != 0)
        return;
    /* dry runs are needed whatever is asked for */
    if (s->dry || only == NULL || strstr(s->name, only) != NULL)
        scenarios[scenario_count++] = *s;
}

static void *shared(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        abort();
    return p;
}

static void run_here(unsigned i)
{
    if (stop && !scenarios[i].dry) {
        fprintf(stderr, "stopped: gdb -p %ld: %s\n", (long)getpid(), scenarios[i].name);
        (void)raise(SIGSTOP);
    } else {
        alarm(60);
    }
    if (scenarios[i].row != NULL)
        codes_run(&scenarios[i], &results[i], profiles);
    else
        events_run(&scenarios[i], &results[i]);
    /* libcrypto's own end costs more than the scenario */
    ks_shutdown();
    _exit(EXIT_SUCCESS);
}

static void run_one(unsigned i)
{
    struct result *r = &results[i];
    uint64_t started = fault_now_ns();
    int status = 0;
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid == 0)
        run_here(i);
    if (pid < 0) {
        fault_tell(r, "fork: %s", strerror(errno));
        return;
    }
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fault_tell(r, "the process ended with status 0x%x%s", (unsigned)status,
                   WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? ": it hung" : "");
    else if (!atomic_load(&r->finished))
        fault_tell(r, "the scenario did not come to its end");
    else if (!atomic_load(&r->serving))
        fault_tell(r, "not serving afterwards");
    r->took_ns = fault_now_ns() - started;
}

static void run_range(unsigned jobs, bool dry)
{
    pid_t runners[64];

    atomic_store(next_scenario, 0);
    for (unsigned j = 0; j < jobs; j++) {
        runners[j] = fork();
        if (runners[j] != 0)
            continue;
        for (;;) {
            unsigned i = atomic_fetch_add(next_scenario, 1);

            if (i >= scenario_count)
                _exit(0);
            if (scenarios[i].dry == dry)
                run_one(i);
        }
    }
    for (unsigned j = 0; j < jobs; j++)
        if (runners[j] < 0 || waitpid(runners[j], NULL, 0) != runners[j])
            abort();
}

/* Under valgrind every instruction costs fifty: a sample. */
static bool thin_out(void)
{
    const char *preload = getenv("LD_PRELOAD");
    unsigned kept = 0;

    if (preload == NULL || strstr(preload, "vgpreload") == NULL)
        return false;
    for (unsigned i = 0; i < scenario_count; i++)
        if (scenarios[i].event != NULL || scenarios[i].dry || i % 97 == 0)
            scenarios[kept++] = scenarios[i];
    printf("under valgrind: %u of %u scenarios\n", kept, scenario_count);
    scenario_count = kept;
    return true;
}

static void usage(int status)
{
    fprintf(status == 0 ? stdout : stderr,
            "fault_campaign [--jobs N] [--quarter] [--only TEXT] [--stop] [--list] "
            "[--markdown FILE] [--check FILE]\n");
    exit(status);
}

int main(int argc, char **argv)
{
    char folder[] = "/tmp/hsm-fault-XXXXXX";
    const char *markdown = NULL, *check = NULL;
    bool list = false, sample;
    char made[64];
    unsigned jobs = 16; /* most of their time they wait */
    int failed;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--list") == 0)
            list = true;
        else if (strcmp(argv[i], "--quarter") == 0)
            quarter = true;
        else if (strcmp(argv[i], "--stop") == 0)
            stop = true;
        else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
            only = argv[++i];
        else if (strcmp(argv[i], "--markdown") == 0 && i + 1 < argc)
            markdown = argv[++i];
        else if (strcmp(argv[i], "--check") == 0 && i + 1 < argc)
            check = argv[++i];
        else if (strcmp(argv[i], "--jobs") == 0 && i + 1 < argc)
            jobs = (unsigned)strtoul(argv[++i], NULL, 10);
        else
            usage(strcmp(argv[i], "--help") == 0 ? 0 : 2);
    }
    if (jobs == 0 || jobs > 64 || (only != NULL && (markdown != NULL || check != NULL)) ||
        (quarter && markdown != NULL) || (stop && only == NULL))
        usage(2);
    codes_list(add);
    events_list(add);
    if (list) {
        for (unsigned i = 0; i < scenario_count; i++)
            puts(scenarios[i].name);
        return 0;
    }
    sample = thin_out();
    if (mkdtemp(folder) == NULL)
        abort();
    results = shared(sizeof(*results) * SCENARIOS_MAX);
    profiles = shared(sizeof(*profiles) * PROFILES_MAX);
    next_scenario = shared(sizeof(*next_scenario));
    world_make(folder);
    run_range(jobs, true);
    run_range(jobs, false);
    failed = report_text(scenarios, results, scenario_count);
    if (markdown != NULL && failed == 0)
        failed = report_markdown(scenarios, results, scenario_count, markdown);
    if (check != NULL && failed == 0 && !sample) {
        snprintf(made, sizeof(made), "%s/faults.md", folder);
        failed = report_markdown(scenarios, results, scenario_count, made);
        if (failed == 0)
            failed = report_check(made, check, quarter);
        unlink(made);
    }
    rmdir(folder);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
