/* SPDX-License-Identifier: Apache-2.0
 *
 * report.c - see report.h.
 */
#include <stdio.h>
#include <string.h>

#include "report.h"

struct sum {
    unsigned runs, tried, refused, down, lost, wrong, serving, failed;
    uint64_t slowest_ns;
};

static void add_up(struct sum *sum, struct result *r)
{
    uint64_t slowest = atomic_load(&r->slowest_ns);

    sum->runs++;
    sum->tried += atomic_load(&r->tried);
    sum->refused += atomic_load(&r->refused);
    sum->down += atomic_load(&r->down);
    sum->lost += atomic_load(&r->lost);
    sum->wrong += atomic_load(&r->wrong);
    sum->serving += atomic_load(&r->serving);
    sum->failed += atomic_load(&r->told);
    if (slowest > sum->slowest_ns)
        sum->slowest_ns = slowest;
}

static struct sum sum_row(const struct scenario *s, struct result *r, unsigned count,
                          const struct row *row)
{
    struct sum sum = {0};

    for (unsigned i = 0; i < count; i++)
        if (s[i].row == row && !s[i].dry)
            add_up(&sum, &r[i]);
    return sum;
}

static void line(const char *name, const struct sum *sum)
{
    printf("%-62s %6u %8u %7u %6u %5u %5u %7.1f ms  %s\n", name, sum->runs, sum->tried,
           sum->refused, sum->down, sum->lost, sum->wrong, (double)sum->slowest_ns / 1e6,
           sum->serving == sum->runs ? "yes" : "NO");
}

int report_text(const struct scenario *s, struct result *r, unsigned count)
{
    const struct row *row;
    struct row_facts facts;
    struct sum all = {0}, sum;
    char name[128];

    for (unsigned i = 0; i < count; i++) {
        add_up(&all, &r[i]);
        if (atomic_load(&r[i].told))
            printf("FAILED %s: %s\n", s[i].name, r[i].why);
    }
    printf("%-62s %6s %8s %7s %6s %5s %5s %10s  %s\n", "", "runs", "tried", "refused", "down",
           "lost", "wrong", "slowest", "serving");
    for (unsigned n = 0; (row = row_number(n)) != NULL; n++) {
        sum = sum_row(s, r, count, row);
        row_facts(row, &facts);
        snprintf(name, sizeof(name), "%s (%s, %s)", facts.function, facts.work, facts.circumstance);
        if (sum.runs > 0)
            line(name, &sum);
    }
    for (unsigned i = 0; i < count; i++) {
        if (s[i].event == NULL)
            continue;
        sum = (struct sum){0};
        add_up(&sum, &r[i]);
        line(s[i].name, &sum);
    }
    line("all", &all);
    printf("%u scenarios, %u not as promised\n", all.runs, all.failed);
    return all.runs == 0 ? 1 : (int)all.failed;
}

int report_markdown(const struct scenario *s, struct result *r, unsigned count, const char *path)
{
    (void)s;
    (void)r;
    (void)count;
    (void)path;
    return 1;
}
