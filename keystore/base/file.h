/* SPDX-License-Identifier: Apache-2.0
 *
 * base/file.h - files in folders of others, and connections that programs which this process
 * executes shall not inherit.
 */
#ifndef HSM_KS_FILE_H
#define HSM_KS_FILE_H

#include <stdbool.h>
#include <stddef.h>

/* Purpose: `path` with %p replaced by the process' number. False when it does not fit. */
bool ks_path_expand(const char *path, char *out, size_t size);
/* Purpose: open `path` to append to it, and make it (mode 0640) if there is nothing. Follows no
 * symbolic link in its last part, and takes only what nobody but root and this process' user can
 * have put there: a file of theirs, a FIFO, a terminal. Returns a descriptor; or -1, with errno,
 * and what is wrong in words or NULL in `*why`. Does not wait. open(2) */
int ks_file_append(const char *path, const char **why);
/* Purpose: programs that this process executes shall not inherit connections to that server;
 * `remote` is its address in p11-kit's terms, NULL: p11-kit-client's. (base/remote.c) */
void ks_remote_set_cloexec(const char *remote);

#endif
