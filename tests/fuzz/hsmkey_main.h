/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HSM_FUZZ_HSMKEY_MAIN_H
#define HSM_FUZZ_HSMKEY_MAIN_H

#include <getopt.h>

/* Purpose: hsmkey's main(); fuzz targets are linked with hsmkey under this name. Set optind to 0
 * before each call. */
int hsmkey_main(int argc, char **argv);

#endif
