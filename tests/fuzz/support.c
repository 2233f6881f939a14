/* SPDX-License-Identifier: Apache-2.0
 *
 * support.c - what several fuzz targets need: a file with the input in it, what was printed, and
 * what must hold of every text.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"

const char *fuzz_file(const uint8_t *data, size_t size)
{
    static char path[40];
    static int fd = -1;

    if (fd < 0) {
        fd = memfd_create("input", MFD_CLOEXEC);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    }
    if (fd < 0 || ftruncate(fd, 0) != 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
        abort();
    return path;
}

/* --- what was printed ------------------------------------------------------------------------ */

static FILE *real_out, *real_err;

/* The C library lets a program replace its streams. Sanitizers and libFuzzer write without them. */
void fuzz_listen_begin(struct fuzz_said *said)
{
    memset(said, 0, sizeof(*said));
    fflush(stdout);
    real_out = stdout;
    real_err = stderr;
    stdout = open_memstream(&said->out, &said->out_len);
    stderr = open_memstream(&said->err, &said->err_len);
    if (stdout == NULL || stderr == NULL)
        abort();
}

void fuzz_listen_end(struct fuzz_said *said)
{
    fclose(stdout);
    fclose(stderr);
    stdout = real_out;
    stderr = real_err;
    if (said->out == NULL || said->err == NULL)
        abort();
}

void fuzz_said_clear(struct fuzz_said *said)
{
    free(said->out);
    free(said->err);
    memset(said, 0, sizeof(*said));
}

/* --- what must hold -------------------------------------------------------------------------- */

void fuzz_must_print(const char *text, size_t len, int lines)
{
    for (size_t i = 0; i < len; i++)
        if ((text[i] < 0x20 || text[i] > 0x7e) && !(lines && text[i] == '\n'))
            abort();
}

void fuzz_must_explain(const char *why)
{
    if (why[0] == '\0')
        abort();
    fuzz_must_print(why, strlen(why), 0);
}

static const char *json_value(const char *p, unsigned depth);

static const char *blanks(const char *p)
{
    return p + strspn(p, " \n");
}

static const char *json_string(const char *p)
{
    if (*p++ != '"')
        abort();
    for (; *p != '"'; p++) {
        if (*p < 0x20 || *p == 0x7f)
            abort();
        if (*p != '\\')
            continue;
        p++;
        if (*p == 'u' && strspn(p + 1, "0123456789abcdef") >= 4)
            p += 4;
        else if (*p != '"' && *p != '\\')
            abort();
    }
    return p + 1;
}

/* What is between the brackets of an object or an array. */
static const char *json_members(const char *p, char end, unsigned depth)
{
    p = blanks(p + 1);
    while (*p != end) {
        if (end == '}') {
            p = blanks(json_string(p));
            if (*p++ != ':')
                abort();
        }
        p = blanks(json_value(blanks(p), depth + 1));
        if (*p == ',')
            p = blanks(p + 1);
        else if (*p != end)
            abort();
    }
    return p + 1;
}

static const char *json_value(const char *p, unsigned depth)
{
    static const char *const words[] = {"true", "false", "null"};
    size_t digits = strspn(p, "0123456789");

    if (depth > 20) /* ours are flat */
        abort();
    if (digits > 0)
        return p + digits;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strncmp(p, words[i], strlen(words[i])) == 0)
            return p + strlen(words[i]);
    if (*p == '{')
        return json_members(p, '}', depth);
    if (*p == '[')
        return json_members(p, ']', depth);
    return json_string(p);
}

void fuzz_must_be_json(const char *text)
{
    if (*blanks(json_value(blanks(text), 0)) != '\0')
        abort();
}
