/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_child.c - the process in which hsmkey check does what a program does (cmd_trial.c), seen from
 * outside: starts it, asks it, and ends it, all within a time.
 *
 * It is this program again, and not a fork: modules and libcrypto do not know of each other there
 * what they have been through here, and openssl.cnf is loaded as if for the first time.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../provider/core/lifecycle.h"
#include "cmd_trial.h"

/* Network HSMs take seconds to log in; systemd gives a service's start 90 s. */
#define ANSWER_MS 60000
#define PROMPT_MS 300000
#define END_MS    10000

static int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* --- start ----------------------------------------------------------------------------------- */

/* The environment, with --config in it, and with the word that keeps the provider in there from
 * writing over a service's statistics. Freed with free(); the strings are not copied. */
static char **environment(char *config, char *trial)
{
    size_t n = 0, kept = 0, i;
    char **env;

    while (environ[n] != NULL) {
        n++;
    }
    env = malloc((n + 3) * sizeof(*env));
    if (env == NULL) {
        return NULL;
    }
    for (i = 0; i < n; i++) {
        if (config == NULL || strncmp(environ[i], "OPENSSL_CONF=", 13) != 0) {
            env[kept++] = environ[i];
        }
    }
    if (config != NULL) {
        env[kept++] = config;
    }
    env[kept++] = trial;
    env[kept] = NULL;
    return env;
}

/* No other descriptor of ours comes along: all are opened with O_CLOEXEC. What modules print is not
 * to be mixed with a report. */
static int run(int fd, char **env, pid_t *pid)
{
    char name[] = "hsmkey", verb[] = CMD_TRIAL_VERB;
    char *argv[] = {name, verb, NULL};
    posix_spawn_file_actions_t actions;
    const char *self = "/proc/self/exe";
    int rc;

    if (access(self, X_OK) != 0) {
        self = (const char *)getauxval(AT_EXECFN);
    }
    rc = posix_spawn_file_actions_init(&actions);
    if (rc != 0) {
        return rc;
    }
    if ((rc = posix_spawn_file_actions_adddup2(&actions, fd, CMD_TRIAL_FD)) == 0 &&
        (rc = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)) == 0 &&
        (rc = posix_spawn_file_actions_adddup2(&actions, 2, 1)) == 0) {
        rc = posix_spawn(pid, self, &actions, NULL, argv, env);
    }
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

static bool start(struct cmd_child *child, char *why, size_t why_size)
{
    char trial[] = PROV_ENV_TRIAL "=1";
    char *config = NULL, **env = NULL;
    int ends[2] = {-1, -1}, rc = ENOMEM;
    pid_t pid = 0;

    if (child->config != NULL && asprintf(&config, "OPENSSL_CONF=%s", child->config) < 0) {
        config = NULL;
        goto out;
    }
    env = environment(config, trial);
    if (env == NULL) {
        goto out;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0 ||
        fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0) {
        rc = errno;
        goto out;
    }
    rc = run(ends[1], env, &pid);
    if (rc == 0) {
        child->pid = pid;
        child->answered = false;
        child->fd = ends[0];
        ends[0] = -1;
    }
out:
    if (rc != 0) {
        snprintf(why, why_size, "cannot start a second process for the trial: %s", strerror(rc));
    }
    if (ends[0] >= 0) {
        close(ends[0]);
    }
    if (ends[1] >= 0) {
        close(ends[1]);
    }
    free(env);
    free(config);
    return rc == 0;
}

/* --- talk ------------------------------------------------------------------------------------ */

/* Wait until the socket can be read or written. False: the deadline has passed. */
static bool ready(int fd, short events, int64_t deadline)
{
    struct pollfd p = {.fd = fd, .events = events};
    int64_t left;
    int n;

    do {
        left = deadline - now_ms();
        n = left > 0 ? poll(&p, 1, (int)left) : 0;
    } while (n < 0 && errno == EINTR);
    return n > 0;
}

enum moved { MOVED, TOO_LATE, GONE };

/* Send (`out`) or receive all `len` bytes. */
static enum moved move(int fd, bool out, char *data, size_t len, int64_t deadline)
{
    ssize_t n;

    while (len > 0) {
        if (!ready(fd, out ? POLLOUT : POLLIN, deadline)) {
            return TOO_LATE;
        }
        n = out ? send(fd, data, len, MSG_NOSIGNAL) : recv(fd, data, len, 0);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
            continue;
        }
        if (n <= 0) {
            return GONE;
        }
        data += n;
        len -= (size_t)n;
    }
    return MOVED;
}

/* Wait for the process, which has ended or been killed, and forget it. */
static int reap(struct cmd_child *child)
{
    int status = 0;

    while (waitpid((pid_t)child->pid, &status, 0) < 0 && errno == EINTR) {
    }
    close(child->fd);
    child->pid = 0;
    return status;
}

/* What the process was doing when it failed, for an error. */
static const char *doing(const struct cmd_child *child)
{
    return child->answered ? "that does so" : "that loads this configuration";
}

static void died(struct cmd_child *child, char *why, size_t why_size)
{
    const char *when = doing(child);
    int status = reap(child);

    if (WIFSIGNALED(status)) {
        snprintf(why, why_size, "a program %s crashes (signal %d, %s)", when, WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    } else {
        snprintf(why, why_size, "a program %s ends at once, with status %d", when,
                 WEXITSTATUS(status));
    }
}

bool cmd_child_ask(struct cmd_child *child, const struct cmd_trial_request *request,
                   struct cmd_trial_answer *answer, char *why, size_t why_size)
{
    struct cmd_trial_request head = *request;
    const int limit = child->prompt ? PROMPT_MS : ANSWER_MS;
    int64_t deadline = now_ms() + limit;
    enum moved moved;

    if (child->hangs) {
        snprintf(why, why_size, "not tried: a program hangs with this configuration, see above");
        return false;
    }
    if (child->pid == 0 && !start(child, why, why_size)) {
        return false;
    }
    head.data = NULL;
    moved = move(child->fd, true, (char *)&head, sizeof(head), deadline);
    if (moved == MOVED && request->len > 0) {
        moved = move(child->fd, true, (char *)request->data, request->len, deadline);
    }
    if (moved == MOVED) {
        moved = move(child->fd, false, (char *)answer, sizeof(*answer), deadline);
    }
    if (moved == GONE) {
        died(child, why, why_size);
        return false;
    }
    if (moved == TOO_LATE) {
        child->hangs = true;
        kill((pid_t)child->pid, SIGKILL);
        (void)reap(child);
        snprintf(why, why_size, "a program %s is not ready within %d s", doing(child),
                 limit / 1000);
        return false;
    }
    child->answered = true;
    answer->data[sizeof(answer->data) - 1] = '\0';
    if (answer->len > sizeof(answer->data)) {
        answer->len = sizeof(answer->data);
    }
    return true;
}

bool cmd_child_end(struct cmd_child *child, char *why, size_t why_size)
{
    int status;

    if (child->pid == 0) {
        return true;
    }
    /* The process ends when it sees that no more requests come. Its end of the socket closes
     * then. */
    shutdown(child->fd, SHUT_WR);
    if (!ready(child->fd, POLLIN, now_ms() + END_MS)) {
        kill((pid_t)child->pid, SIGKILL);
        (void)reap(child);
        snprintf(why, why_size, "a program that has used the HSM does not end within %d s",
                 END_MS / 1000);
        return false;
    }
    status = reap(child);
    if (WIFSIGNALED(status)) {
        snprintf(why, why_size,
                 "a program that has used the HSM crashes at its end (signal %d, %s)",
                 WTERMSIG(status), strsignal(WTERMSIG(status)));
        return false;
    }
    return true;
}
