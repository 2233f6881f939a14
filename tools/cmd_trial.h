/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_trial.h - what hsmkey check has a program do: load a key file and use the key once.
 *
 * A request and its answer are plain bytes, so that the same request can be carried out in this
 * process, or in one that has loaded openssl.cnf as programs do.
 */
#ifndef HSM_CMD_TRIAL_H
#define HSM_CMD_TRIAL_H

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cmd.h"

/* How the second process is started: hsmkey CMD_TRIAL_VERB, with a socket for requests as
 * descriptor CMD_TRIAL_FD. Not for people, so not in the table of verbs. */
#define CMD_TRIAL_VERB "as-a-program"
#define CMD_TRIAL_FD   3

enum cmd_trial_op {
    CMD_TRIAL_MODULE, /* data: path of a provider's module. Can it be loaded? */
    CMD_TRIAL_STATE,  /* what can be found (answer.state); if not hsm, libcrypto's errors as well */
    CMD_TRIAL_LOAD,   /* data: PEM. Answers the provider's name, NUL, the public half's SPKI */
    CMD_TRIAL_SIGN,   /* data: a message; with the key that was loaded last. Answers a signature */
    CMD_TRIAL_DECRYPT, /* data: a ciphertext. Answers the plaintext */
    CMD_TRIAL_DERIVE,  /* data: a peer's SPKI. Answers the shared secret */
};

/* Bits of answer.state: what a program finds without naming a provider. */
enum {
    CMD_STATE_ACTIVE = 1,   /* the provider hsm is active */
    CMD_STATE_VISIBLE = 2,  /* its algorithms can be fetched */
    CMD_STATE_PEM = 4,      /* there is a decoder for PEM */
    CMD_STATE_SOFTWARE = 8, /* somebody but hsm has RSA, for public halves */
    CMD_STATE_DIGEST = 16,  /* SHA-256 */
    CMD_STATE_STORE = 32,   /* files can be opened as openssl(1) does */
    CMD_STATE_ALL = 63,
};

struct cmd_trial_request {
    uint32_t op;
    int32_t padding;  /* RSA_..._PADDING, 0: none to set */
    char md[16];      /* "": none */
    const void *data; /* on the socket the bytes follow the struct */
    uint64_t len;
    bool ask_for_pin; /* LOAD: there may be a person at the terminal */
};

#define CMD_TRIAL_ANSWER 16384

struct cmd_trial_answer {
    uint32_t ok;
    uint32_t state; /* for STATE, and for every request that failed */
    uint32_t len;
    unsigned char data[CMD_TRIAL_ANSWER]; /* ok: the result; else the reason, with a NUL */
};

/* The state of whoever carries out requests: the second process, or this one. */
struct cmd_trial {
    OSSL_LIB_CTX *libctx; /* NULL: the default one */
    EVP_PKEY *key;
    void *module;       /* the module that CMD_TRIAL_MODULE has opened */
    const char *broken; /* why no request can be carried out, or NULL */
};

/* Purpose: carry out one request here. The answer holds secrets of no worth: plaintexts and shared
 * secrets of the trial itself. */
void cmd_trial_do(struct cmd_trial *trial, const struct cmd_trial_request *request,
                  struct cmd_trial_answer *answer);
void cmd_trial_clear(struct cmd_trial *trial);

/* Purpose: main() of the second process. */
int cmd_trial_main(void);

/* --- the second process, seen from the first (cmd_child.c) ----------------------------------- */

struct cmd_child {
    const char *config; /* --config; NULL: what the environment says */
    long pid;           /* 0: none */
    int fd;
    bool answered; /* it has loaded the configuration */
    bool prompt;   /* a person may be asked: wait longer */
    bool hangs;    /* it did not answer once, and is not started again */
};

/* Purpose: have a request carried out by a process that has loaded openssl.cnf as programs do. It
 * is started at the first request, and again after a crash. False, with a sentence in `why`, when
 * there is no answer: it crashed, or took too long. */
bool cmd_child_ask(struct cmd_child *child, const struct cmd_trial_request *request,
                   struct cmd_trial_answer *answer, char *why, size_t why_size);
/* Purpose: let it end as programs do. False, with a sentence in `why`, when that is a crash or
 * takes too long. True when there is none. */
bool cmd_child_end(struct cmd_child *child, char *why, size_t why_size);

#endif
