/* SPDX-License-Identifier: Apache-2.0
 *
 * with_hsmkey.h - for tests of hsmkey as a program, over a module that a script tells what to hold.
 * Everything is in a folder of the test program's own, which is the working directory.
 */
#ifndef WITH_HSMKEY_H
#define WITH_HSMKEY_H

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static char dir[] = "/tmp/hsm-hsmkey-XXXXXX", output[1 << 16];

static inline void write_file(const char *name, const char *text)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

/* The working directory, a PIN, the script, and an openssl.cnf for `module`. `more` are further
 * lines of its list of providers, sections and so on, or "". */
static inline void folder_up(const char *module, const char *script, const char *more)
{
    char conf[4096];

    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert_int_eq(chdir(dir), 0);
    write_file("pin", "1234");
    write_file("script", script);
    snprintf(conf, sizeof(conf),
             "openssl_conf = init\n[init]\nproviders = p\n"
             "[d]\nactivate = 1\n[h]\nmodule = %s\nactivate = 1\n"
             "pkcs11-module = %s\npin = file:%s/pin\n%s[p]\ndefault = d\nhsm = h\n",
             PROVIDER_PATH, module, dir, more);
    write_file("openssl.cnf", conf);
    ck_assert_int_eq(setenv("HSM_FAKE_SCRIPT", "script", 1), 0);
    ck_assert_int_eq(setenv("OPENSSL_CONF", "openssl.cnf", 1), 0);
}

/* Remove the folder, which has no folders in it. */
static inline void folder_down(void)
{
    DIR *folder = opendir(dir);
    const struct dirent *entry;

    ck_assert_ptr_nonnull(folder);
    while ((entry = readdir(folder)) != NULL)
        (void)unlinkat(dirfd(folder), entry->d_name, 0);
    closedir(folder);
    ck_assert_int_eq(chdir("/"), 0);
    ck_assert_int_eq(rmdir(dir), 0);
}

/* Start hsmkey with these arguments, up to a NULL. It has `seconds`; what it prints goes to the
 * file "output". */
static inline pid_t hsmkey_start(const char *const *args, unsigned seconds)
{
    const char *argv[12] = {HSMKEY_PATH};
    pid_t pid;

    for (size_t i = 0; args[i] != NULL; i++)
        argv[i + 1] = args[i];
    fflush(NULL);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        int out = open("output", O_WRONLY | O_CREAT | O_TRUNC, 0600);

        dup2(out, 1);
        dup2(out, 2);
        signal(SIGALRM, SIG_DFL);
        alarm(seconds);
        execv(argv[0], (char **)(uintptr_t)argv);
        _exit(127);
    }
    return pid;
}

/* Wait for it; what it printed is in `output` then. Returns what waitpid() says. */
static inline int hsmkey_end(pid_t pid, const char *where)
{
    int status = 0, fd;
    ssize_t n;

    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    fd = open("output", O_RDONLY);
    n = read(fd, output, sizeof(output) - 1);
    close(fd);
    ck_assert_int_ge(n, 0);
    output[n] = '\0';
    ck_assert_msg(strstr(output, "Sanitizer") == NULL && strstr(output, "runtime error") == NULL,
                  "%s: %s", where, output);
    ck_assert_msg(strlen(output) == (size_t)n, "%s: a NUL in the output", where);
    return status;
}

/* Both. Returns the exit status. */
static inline int hsmkey(const char *const *args, unsigned seconds, const char *where)
{
    int status = hsmkey_end(hsmkey_start(args, seconds), where);

    ck_assert_msg(WIFEXITED(status), "%s: ended by signal %d: %s", where, WTERMSIG(status), output);
    return WEXITSTATUS(status);
}

#endif
