/* SPDX-License-Identifier: Apache-2.0
 *
 * report.h - what came of the campaign, for people.
 */
#ifndef FAULT_REPORT_H
#define FAULT_REPORT_H

#include "fault.h"

/* Purpose: print what was not as promised, and sums with times. Returns how many scenarios failed;
 * none at all is a failure. */
int report_text(const struct scenario *s, struct result *r, unsigned count);
/* Purpose: write docs/faults.md; but for times it is the same after every run. Returns 0, or 1
 * when it cannot be written. */
int report_markdown(const struct scenario *s, struct result *r, unsigned count, const char *path);

/* Purpose: compare what was just made with the file that is kept. Returns 0 when they agree,
 * but for times, and in a sample for all numbers. */
int report_check(const char *made, const char *kept, bool sample);

#endif
