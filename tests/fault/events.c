/* SPDX-License-Identifier: Apache-2.0 */
#include "fault.h"
void events_list(scenario_add *add)
{
    (void)add;
}
void events_run(const struct scenario *s, struct result *r)
{
    (void)s;
    (void)r;
}
void event_facts(const struct event *event, struct event_facts *out)
{
    (void)event;
    (void)out;
}
