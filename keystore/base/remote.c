/* SPDX-License-Identifier: Apache-2.0
 *
 * remote.c - p11-kit's connections to its servers. Version 0.24 opens them so
 * that a program which this process executes inherits them, as they are: logged in to the token.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "file.h"

#define UNIX_PREFIX "unix:path="

/* The socket's path, or how it ends; NULL: it is reached otherwise. */
static const char *address(const char *remote)
{
    const size_t prefix = sizeof(UNIX_PREFIX) - 1;

    if (remote == NULL)
        remote = secure_getenv("P11_KIT_SERVER_ADDRESS"); /* p11-kit-client's, and its default */
    if (remote == NULL)
        return "/p11-kit/pkcs11";
    /* an empty one would be the end of every socket's path: of the program's own as well */
    if (strncmp(remote, UNIX_PREFIX, prefix) != 0 || remote[prefix] == '\0')
        return NULL;
    return remote + prefix;
}

static bool connected_to(int fd, const char *path)
{
    struct sockaddr_un peer = {.sun_family = AF_UNSPEC};
    socklen_t size = sizeof(peer) - 1; /* a NUL stays */
    size_t len, want = strlen(path);

    if (getpeername(fd, (struct sockaddr *)&peer, &size) != 0 || peer.sun_family != AF_UNIX)
        return false;
    len = strnlen(peer.sun_path, sizeof(peer.sun_path));
    return len >= want && strcmp(peer.sun_path + len - want, path) == 0;
}

void ks_remote_set_cloexec(const char *remote)
{
    const char *path = address(remote);
    struct dirent *entry;
    DIR *dir;

    dir = path != NULL ? opendir("/proc/self/fd") : NULL;
    if (dir == NULL)
        return;
    while ((entry = readdir(dir)) != NULL) {
        int fd = (int)strtol(entry->d_name, NULL, 10);

        if (entry->d_name[0] != '.' && connected_to(fd, path))
            (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
    closedir(dir);
}
