/* SPDX-License-Identifier: Apache-2.0
 *
 * file.c - files that are appended to in folders where others may put what they like.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "file.h"

/* What others could have put there must not be written to: a file of theirs, or another name of
 * somebody's. They cannot put devices anywhere. NULL: good. */
static const char *flaw(int fd)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return "cannot be looked at";
    if (S_ISCHR(st.st_mode))
        return isatty(fd) || st.st_rdev == makedev(1, 3)
                   ? NULL
                   : "is a device, and neither a terminal nor /dev/null";
    if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode))
        return "is neither a file nor a FIFO nor a terminal";
    if (st.st_uid != 0 && st.st_uid != geteuid())
        return "belongs neither to root nor to the user of this process";
    if (S_ISREG(st.st_mode) && st.st_nlink > 1)
        return "has another name as well (a hard link)";
    return NULL;
}

int ks_file_append(const char *path, const char **why)
{
    /* non-blocking: the open of a FIFO without a reader would wait */
    const int opts = O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW;
    int fd;

    for (int tries = 0;; tries++) {
        fd = open(path, opts);
        if (fd >= 0 || errno != ENOENT)
            break;
        /* only where there is nothing, not even a link that leads nowhere */
        fd = open(path, opts | O_CREAT | O_EXCL, 0640);
        if (fd >= 0 || errno != EEXIST || tries == 3)
            break; /* somebody made it, or took it away, in between */
    }
    if (fd < 0) {
        *why = errno == ELOOP ? "is a symbolic link" : NULL;
        return -1;
    }
    *why = flaw(fd);
    if (*why == NULL)
        return fd;
    close(fd);
    errno = EPERM;
    return -1;
}

bool ks_path_expand(const char *path, char *out, size_t size)
{
    size_t used = 0;
    int n;

    for (; *path != '\0'; path++) {
        if (path[0] == '%' && path[1] == 'p') {
            n = snprintf(out + used, size - used, "%ld", (long)getpid());
            path++;
        } else {
            n = snprintf(out + used, size - used, "%c", *path);
        }
        if (n < 0 || (size_t)n >= size - used)
            return false;
        used += (size_t)n;
    }
    out[used] = '\0';
    return true;
}
