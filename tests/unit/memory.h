/* SPDX-License-Identifier: Apache-2.0
 *
 * memory.h - for tests that look for a secret in the memory of their own process. They keep it
 * with every bit turned round, so that they do not find themselves.
 */
#ifndef MEMORY_H
#define MEMORY_H

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECRET_LEN 12

/* Purpose: put a secret that is nowhere in the program to `secret` (a string; wipe it). */
static inline void secret_make(char secret[SECRET_LEN + 1])
{
    for (int i = 0; i < SECRET_LEN; i++)
        secret[i] = (char)('a' + (i * 7 + 3) % 26);
    secret[SECRET_LEN] = '\0';
}

/* Purpose: the same to a file that only its owner reads. */
static inline void secret_write(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    char secret[SECRET_LEN + 1];

    secret_make(secret);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, secret, SECRET_LEN), SECRET_LEN);
    ck_assert_int_eq(close(fd), 0);
    explicit_bzero(secret, sizeof(secret));
}

/* Purpose: at the start of main(): have all symbols bound now, in a new run of the program. The
 * dynamic linker puts vector registers on the stack when it binds one later, and there a secret may
 * be that the C library has just compared. */
static inline void secret_bind_now(char *argv[])
{
    if (getenv("LD_BIND_NOW") == NULL && setenv("LD_BIND_NOW", "1", 1) == 0)
        (void)execv("/proc/self/exe", argv);
}

/* Purpose: how often it is in this process' memory. What a sanitizer has mapped for itself, which
 * is terabytes, is left out. */
__attribute__((no_sanitize("address", "thread"))) static inline unsigned secret_copies(void)
{
    unsigned char turned[SECRET_LEN];
    FILE *maps = fopen("/proc/self/maps", "r");
    unsigned long from, to;
    unsigned found = 0;
    char line[512], *end;

    for (int i = 0; i < SECRET_LEN; i++)
        turned[i] = (unsigned char)~('a' + (i * 7 + 3) % 26);
    while (maps != NULL && fgets(line, sizeof(line), maps) != NULL) {
        from = strtoul(line, &end, 16);
        to = *end == '-' ? strtoul(end + 1, &end, 16) : 0;
        if (to <= from || strncmp(end, " r", 2) != 0 || strstr(line, "[v") != NULL ||
            to - from > (unsigned long)1 << 30)
            continue;
        for (const volatile unsigned char *p = (const unsigned char *)from;
             p + SECRET_LEN <= (const unsigned char *)to; p++) {
            size_t n = 0;

            while (n < SECRET_LEN && (p[n] ^ turned[n]) == 0xff)
                n++;
            found += n == SECRET_LEN;
        }
    }
    if (maps == NULL)
        return ~0U;
    fclose(maps);
    return found;
}

#endif
