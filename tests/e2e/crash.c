/* SPDX-License-Identifier: Apache-2.0
 *
 * crash.c - a module that crashes whoever loads it.
 */
#include <stdlib.h>

__attribute__((constructor)) static void crash(void)
{
    abort();
}
