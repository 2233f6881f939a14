/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_checkfile.h - what the two files about one key file share: cmd_checkref.c (what is in it) and
 * cmd_checkuse.c (whether it can be used).
 */
#ifndef HSM_CMD_CHECKFILE_H
#define HSM_CMD_CHECKFILE_H

#include "cmd.h"
#include "cmd_trial.h"

struct cmd_check_file {
    struct cmd_checks *checks;
    const char *path; /* as given */
    char shown[512];  /* escaped */
    struct cmd_bytes bytes;
    size_t reference_end; /* how many of them there are up to the end of the reference */
    struct prov_ref *ref;
    struct prov_key *key;
    EVP_PKEY *pub;         /* the public half, in software */
    struct cmd_trial here; /* where options stand in place of the configuration */
};

/* Purpose: report what is wrong with the file. */
void cmd_check_file_fail(struct cmd_check_file *file, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Purpose: load and use the key as a program does, and report what came of it. The reference was
 * found to be one, its key on the token, and file->pub is set. */
void cmd_check_use(struct cmd_check_file *file);

#endif
