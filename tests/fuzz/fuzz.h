/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HSM_FUZZ_H
#define HSM_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Purpose: run the target once on `size` bytes; aborts when a rule is broken. What libFuzzer
 * calls, and main.c without it. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* --- what several targets need (support.c) --------------------------------------------------- */

/* Purpose: the path of a file in memory that holds these bytes, for readers that open their files
 * themselves. It is the same file each time; the path stays valid. */
const char *fuzz_file(const uint8_t *data, size_t size);

/* What a program has said. */
struct fuzz_said {
    char *out, *err; /* standard output and standard error, with a NUL behind */
    size_t out_len, err_len;
};

/* Purpose: from here to fuzz_listen_end() everything that is printed goes to `said`, which is
 * released with fuzz_said_clear(). */
void fuzz_listen_begin(struct fuzz_said *said);
void fuzz_listen_end(struct fuzz_said *said);
void fuzz_said_clear(struct fuzz_said *said);

/* Purpose: abort unless the text is printable ASCII, and newlines if `lines` is not 0: a stranger's
 * bytes neither drive a terminal nor start a line of their own. */
void fuzz_must_print(const char *text, size_t len, int lines);
/* Purpose: the same for an error's text, which must not be empty, either. */
void fuzz_must_explain(const char *why);
/* Purpose: abort unless the text is one JSON value and white space. */
void fuzz_must_be_json(const char *text);

#endif
