/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_stats.c - any text as a statistics file for `hsmkey stats`. The file may be the work of a
 * server's user while root looks at it: what is printed is printable, JSON is JSON, and what is
 * refused is refused by its line. A file that is taken is taken twice as well.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "hsmkey_main.h"

static void run(struct fuzz_said *said, int *status, int argc, const char *const *args)
{
    char *argv[8] = {NULL};

    for (int i = 0; i < argc; i++)
        argv[i] = (char *)(uintptr_t)args[i];
    optind = 0;
    fuzz_listen_begin(said);
    *status = hsmkey_main(argc, argv);
    fuzz_listen_end(said);
}

static void judge(const struct fuzz_said *said, int status, const char *path)
{
    if (status != 0 && status != 1)
        abort();
    if ((status == 0) != (said->err_len == 0))
        abort();
    fuzz_must_print(said->out, said->out_len, 1);
    fuzz_must_print(said->err, said->err_len, 1);
    if (status != 0 && strstr(said->err, path) == NULL)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = fuzz_file(data, size);
    const char *const text[] = {"hsmkey", "stats", path};
    const char *const json[] = {"hsmkey", "stats", "--json", path};
    const char *const twice[] = {"hsmkey", "stats", path, path};
    struct fuzz_said said;
    int status, again;

    run(&said, &status, 3, text);
    judge(&said, status, path);
    fuzz_said_clear(&said);

    run(&said, &again, 4, json);
    judge(&said, again, path);
    fuzz_must_be_json(said.out);
    if (again != status)
        abort();
    fuzz_said_clear(&said);

    run(&said, &again, 4, twice);
    judge(&said, again, path);
    if (again != status)
        abort();
    fuzz_said_clear(&said);
    return 0;
}
