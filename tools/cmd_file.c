/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_file.c - writes a file that appears whole or not at all.
 *
 * A temporary file in the same folder gets the contents and then the name: with link(), which
 * never replaces anything, or with rename() if replacing is wanted. The folder is held open, so
 * that its path may change meanwhile, and the last part of the path is never followed.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd.h"

/* The temporary file that exists now, for the signal handler. A generation takes seconds, and a
 * person who interrupts it must not find a strange file afterwards. */
static volatile sig_atomic_t pending_dir = -1;
static char pending_temp[64];

static void on_signal(int sig)
{
    if (pending_dir >= 0) {
        (void)unlinkat((int)pending_dir, pending_temp, 0);
    }
    /* The default action, once this handler returns and unblocks it. Not by SA_RESETHAND: a second
     * signal right behind (timeout(1) sends two) would end us before the first came here. */
    (void)signal(sig, SIG_DFL);
    (void)raise(sig);
}

static const int signals[] = {SIGHUP, SIGINT, SIGTERM};
#define SIGNALS (sizeof(signals) / sizeof(signals[0]))

static void watch_signals(const struct cmd_file *file)
{
    struct sigaction action, old;
    size_t i;

    memcpy(pending_temp, file->temp, sizeof(pending_temp));
    pending_dir = file->dir;
    memset(&action, 0, sizeof(action));
    action.sa_handler = on_signal;
    for (i = 0; i < SIGNALS; i++) {
        /* A signal that is ignored, as by nohup, stays ignored. */
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL) {
            (void)sigaction(signals[i], &action, NULL);
        }
    }
}

static bool is_stdout(const struct cmd_file *file)
{
    return strcmp(file->path, "-") == 0;
}

static bool open_folder(struct cmd_file *file)
{
    const char *slash = strrchr(file->path, '/');
    char *folder;

    file->name = strdup(slash != NULL ? slash + 1 : file->path);
    folder = slash == NULL         ? strdup(".")
             : slash == file->path ? strdup("/")
                                   : strndup(file->path, (size_t)(slash - file->path));
    if (file->name != NULL && folder != NULL) {
        file->dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    free(folder);
    return file->dir >= 0;
}

/* Say why no file of that name can be made. NULL: it can be made. */
static const char *obstacle(const struct cmd_file *file)
{
    struct stat st;

    if (file->name[0] == '\0' || strcmp(file->name, ".") == 0 || strcmp(file->name, "..") == 0) {
        return "is a folder; give the name of a file";
    }
    if (fstatat(file->dir, file->name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        return errno == ENOENT ? NULL : strerror(errno);
    }
    if (S_ISLNK(st.st_mode)) {
        return "is a symbolic link, which is not followed; give the file that it points to";
    }
    if (S_ISDIR(st.st_mode)) {
        return "is a folder; give the name of a file";
    }
    if (!S_ISREG(st.st_mode)) {
        return "is not a plain file";
    }
    return file->force ? NULL : "exists already; choose another name, or add --force";
}

/* Make the temporary file. Signals are blocked until the handler knows it, so that none can
 * leave it behind. errno is set on failure. */
static bool create_temporary(struct cmd_file *file)
{
    unsigned long number;
    sigset_t watched, before;
    size_t i;
    int tries, saved;

    sigemptyset(&watched);
    for (i = 0; i < SIGNALS; i++) {
        sigaddset(&watched, signals[i]);
    }
    (void)sigprocmask(SIG_BLOCK, &watched, &before);
    for (tries = 0; file->fd < 0 && tries < 16; tries++) {
        if (getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number)) {
            break;
        }
        snprintf(file->temp, sizeof(file->temp), ".hsmkey-%016lx", number);
        file->fd = openat(file->dir, file->temp,
                          O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (file->fd < 0 && errno != EEXIST) {
            break;
        }
    }
    if (file->fd >= 0) {
        watch_signals(file);
    }
    saved = errno;
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    errno = saved;
    return file->fd >= 0 && fchmod(file->fd, 0600) == 0;
}

bool cmd_file_begin(struct cmd_env *env, struct cmd_file *file, const char *path, bool force)
{
    const char *why = NULL;
    char shown[512];

    file->path = path;
    file->force = force;
    if (is_stdout(file)) {
        return true;
    }
    ks_escape(shown, sizeof(shown), path, SIZE_MAX);
    if (path[0] == '\0' || !open_folder(file)) {
        cmd_error(env, "%s: cannot open its folder: %s", shown,
                  path[0] == '\0' ? "the name is empty" : strerror(errno));
        return false;
    }
    why = obstacle(file);
    if (why != NULL) {
        cmd_error(env, "%s: %s", shown, why);
        return false;
    }
    if (!create_temporary(file)) {
        cmd_error(env, "%s: cannot be created: %s", shown, strerror(errno));
        return false;
    }
    return true;
}

static bool write_all(int fd, const char *data, size_t len)
{
    ssize_t n;

    while (len > 0) {
        n = write(fd, data, len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        data += n;
        len -= (size_t)n;
    }
    return true;
}

bool cmd_file_commit(struct cmd_file *file, const void *data, size_t len, char *why,
                     size_t why_size)
{
    int fd = file->fd, rc;

    if (is_stdout(file)) {
        if (fwrite(data, 1, len, stdout) != len || fflush(stdout) != 0) {
            snprintf(why, why_size, "standard output: %s", strerror(errno));
            return false;
        }
        return true;
    }
    if (!write_all(fd, data, len) || fsync(fd) != 0) {
        snprintf(why, why_size, "%s", strerror(errno));
        return false;
    }
    file->fd = -1;
    if (close(fd) != 0) {
        rc = -1;
    } else if (file->force) {
        rc = renameat(file->dir, file->temp, file->dir, file->name);
    } else {
        rc = linkat(file->dir, file->temp, file->dir, file->name, 0);
    }
    if (rc != 0) {
        snprintf(why, why_size, "%s", strerror(errno));
        return false;
    }
    if (file->force) {
        file->temp[0] = '\0';
    }
    cmd_file_end(file);
    return true;
}

void cmd_file_end(struct cmd_file *file)
{
    pending_dir = -1;
    if (file->temp[0] != '\0' && file->dir >= 0) {
        unlinkat(file->dir, file->temp, 0);
    }
    file->temp[0] = '\0';
    if (file->fd >= 0) {
        close(file->fd);
    }
    if (file->dir >= 0) {
        fsync(file->dir);
        close(file->dir);
    }
    file->fd = file->dir = -1;
    free(file->name);
    file->name = NULL;
}
