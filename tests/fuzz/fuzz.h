/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HSM_FUZZ_H
#define HSM_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Purpose: run the target once on `size` bytes; aborts when a rule is broken. What libFuzzer
 * calls, and main.c without it. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
