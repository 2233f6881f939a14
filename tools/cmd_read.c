/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_read.c - the one way in which hsmkey reads a file that it was given: a plain file, up to a
 * size.
 *
 * Root looks at files of a service's user with this tool. So nothing here waits (a FIFO without a
 * writer, a terminal), has side effects (devices, files of the kernel), or goes on without an end.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <openssl/crypto.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "cmd.h"

/* File systems whose "plain files" are the kernel talking: reading may wait or do something. */
static const unsigned long kernels[] = {PROC_SUPER_MAGIC,   SYSFS_MAGIC,      DEBUGFS_MAGIC,
                                        TRACEFS_MAGIC,      SECURITYFS_MAGIC, CGROUP_SUPER_MAGIC,
                                        CGROUP2_SUPER_MAGIC};

static bool is_kernels(int fd)
{
    struct statfs fs;
    size_t i;

    if (fstatfs(fd, &fs) != 0) {
        return false;
    }
    for (i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++) {
        if ((unsigned long)fs.f_type == kernels[i]) {
            return true;
        }
    }
    return false;
}

/* Why an open file is not read; NULL: it is. */
static const char *unfit(int fd, const struct stat *st)
{
    if (S_ISDIR(st->st_mode)) {
        return "is a folder";
    }
    if (!S_ISREG(st->st_mode) || is_kernels(fd)) {
        return "is not a plain file";
    }
    return st->st_size > CMD_READ_MAX ? "is larger than 16 MiB" : NULL;
}

/* All of it, with a NUL behind. The size is only a first guess: the file may grow. */
static bool read_all(int fd, size_t guess, struct cmd_bytes *out, const char **reason)
{
    size_t room = guess + 2;
    ssize_t n;
    char *more;

    out->data = OPENSSL_malloc(room);
    while (out->data != NULL) {
        n = read(fd, out->data + out->len, room - out->len - 1);
        if (n == 0) {
            out->data[out->len] = '\0';
            return true;
        }
        if (n < 0 && errno != EINTR) {
            *reason = strerror(errno);
            return false;
        }
        out->len += n > 0 ? (size_t)n : 0;
        if (out->len > CMD_READ_MAX) {
            *reason = "is larger than 16 MiB";
            return false;
        }
        if (out->len + 1 == room) {
            more = OPENSSL_clear_realloc(out->data, room, room * 2);
            if (more == NULL) {
                break;
            }
            out->data = more;
            room *= 2;
        }
    }
    *reason = "out of memory";
    return false;
}

bool cmd_read_file(const char *path, unsigned flags, struct cmd_bytes *out, char *why,
                   size_t why_size)
{
    const char *reason = NULL;
    struct stat st;
    bool ok = false;
    int fd;

    memset(out, 0, sizeof(*out));
    /* Not waiting for a FIFO's writer, and taking no terminal for ours. */
    fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        reason = strerror(errno);
        goto out;
    }
    if ((flags & CMD_READ_NULL) != 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3)) {
        ok = read_all(fd, 0, out, &reason);
        goto out;
    }
    reason = unfit(fd, &st);
    ok = reason == NULL && read_all(fd, (size_t)st.st_size, out, &reason);
out:
    if (!ok) {
        snprintf(why, why_size, "%s", reason);
        cmd_bytes_clear(out);
    }
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

void cmd_bytes_clear(struct cmd_bytes *bytes)
{
    OPENSSL_clear_free(bytes->data, bytes->len);
    memset(bytes, 0, sizeof(*bytes));
}

BIO *cmd_bytes_bio(const struct cmd_bytes *bytes)
{
    return BIO_new_mem_buf(bytes->data, (int)bytes->len);
}
