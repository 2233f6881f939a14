/* SPDX-License-Identifier: Apache-2.0
 *
 * report/report.h - statistics as text.
 */
#ifndef HSM_KS_REPORT_H
#define HSM_KS_REPORT_H

#include <stdbool.h>
#include <stddef.h>

/* Purpose: ks_stats_text() for a file: `pid` adds that label to every line, `final` leaves out
 * what a process that has ended does not have (sessions, state). NULL without memory. */
char *ks_stats_render(bool pid, bool final, size_t *len);

#endif
