/* SPDX-License-Identifier: Apache-2.0
 *
 * hang.c - a provider that never comes to the end of being loaded.
 */
#include <unistd.h>

__attribute__((constructor)) static void hang(void)
{
    for (;;)
        pause();
}
