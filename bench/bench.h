/* SPDX-License-Identifier: Apache-2.0
 *
 * bench.h - what the programs here share: the provider as a built-in over the fake module, which is
 * linked in as well, so that its calls can be counted.
 */
#ifndef HSM_BENCH_H
#define HSM_BENCH_H

#include <openssl/evp.h>
#include <openssl/types.h>
#include <stdint.h>

#include "fake.h"

extern OSSL_LIB_CTX *bench_libctx; /* default and hsm */
extern unsigned long bench_slot;

/* Purpose: end the program with a message and OpenSSL's errors unless `good`. */
void bench_must(int good, const char *what);

/* Purpose: load the provider over the fake's first token, everything offloaded; and unload it. The
 * fake has to have a token. */
void bench_up(void);
void bench_down(void);

/* Purpose: the private key of that label. Freed with EVP_PKEY_free(). */
EVP_PKEY *bench_key(const char *label);

/* Purpose: clocks in nanoseconds: CLOCK_MONOTONIC and CLOCK_PROCESS_CPUTIME_ID. */
uint64_t bench_now(void);
uint64_t bench_cpu(void);

/* Purpose: run `work` with each element of `args` (`size` bytes each) in a thread of its own. */
void bench_threads(unsigned threads, void *(*work)(void *arg), void *args, size_t size);

#endif
