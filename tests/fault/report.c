/* SPDX-License-Identifier: Apache-2.0
 *
 * report.c - see report.h.
 */
#include <stdio.h>
#include <string.h>

#include "report.h"

struct sum {
    unsigned runs, tried, refused, down, lost, wrong, serving, failed;
    uint64_t slowest_ns, took_ns;
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
    sum->took_ns += r->took_ns;
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
    printf("%-62s %6u %8u %7u %6u %5u %5u %7.1f ms %7.1f s  %s\n", name, sum->runs, sum->tried,
           sum->refused, sum->down, sum->lost, sum->wrong, (double)sum->slowest_ns / 1e6,
           (double)sum->took_ns / 1e9, sum->serving == sum->runs ? "yes" : "NO");
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
    printf("%-62s %6s %8s %7s %6s %5s %5s %10s %9s  %s\n", "", "runs", "tried", "refused", "down",
           "lost", "wrong", "slowest", "in all", "serving");
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

/* --- docs/faults.md -------------------------------------------------------------------------- */

static const char intro[] =
    "# What becomes of operations when something fails\n\n"
    "<!-- Made by scripts/faults-doc.sh from a run of tests/fault/: do not edit. -->\n\n"
    "Every line sums scenarios that ran, each in a process of its own, against a PKCS#11 module "
    "that "
    "is scripted to fail. Every signature is the one that was verified with the key's public half "
    "at the beginning, or is verified itself; every decryption and every shared secret is "
    "compared.\n\n"
    "- **tried**: operations.\n"
    "- **lost**: operations that failed though the HSM could have served them. What a token says "
    "of itself for good, `CKR_KEY_FUNCTION_NOT_PERMITTED` for one, is an answer and not a loss; "
    "and nothing can be served while a token is away.\n"
    "- **wrong**: a result that is not right, or another key's.\n"
    "- **slowest**: the operation that took longest, with its retries and waits, in the run that "
    "this was made from; sixteen scenarios ran at a time.\n"
    "- **serving**: whether operations were served afterwards, in all scenarios, within two "
    "seconds and without a restart.\n\n"
    "What is to be expected of each scenario is computed from the keystore's classification of "
    "the code (`keystore/base/status.def`), and a scenario that does otherwise fails the test. Run "
    "it with `./tests/run.sh fault`.\n\n";

static void columns(FILE *out, const struct sum *sum)
{
    fprintf(out, " %u | %u | %u | %u | %lu ms | %s |\n", sum->runs, sum->tried, sum->lost,
            sum->wrong, (unsigned long)((sum->slowest_ns + 999999U) / 1000000U),
            sum->serving == sum->runs ? "yes" : "no");
}

static void write_events(FILE *out, const struct scenario *s, struct result *r, unsigned count)
{
    const struct event *event;
    struct event_facts facts;

    fprintf(out, "## What befalls tokens and modules\n\n"
                 "In the middle of a run of signatures with two keys; with one thread and with "
                 "eight, and each of these again in a forked child of a process that had used the "
                 "token.\n\n"
                 "| event | what is promised | runs | tried | lost | wrong | slowest | serving |\n"
                 "|---|---|--:|--:|--:|--:|--:|---|\n");
    for (unsigned n = 0; (event = event_number(n)) != NULL; n++) {
        struct sum sum = {0};

        for (unsigned i = 0; i < count; i++)
            if (s[i].event == event)
                add_up(&sum, &r[i]);
        event_facts(event, &facts);
        fprintf(out, "| %s | %s |", facts.what, facts.promise);
        columns(out, &sum);
    }
}

/* Count the codes that are overcome at this call, and those that the caller gets as an error. */
static void count_promises(const struct row *row, unsigned *served, unsigned *answered)
{
    struct code_facts facts;

    *served = *answered = 0;
    for (unsigned i = 1; code_facts(i, &facts); i++) {
        const char *promise = promise_of(row, i);

        *served += strcmp(promise, "served") == 0;
        *answered += strcmp(promise, "answered") == 0 || strcmp(promise, "pin") == 0;
    }
}

static void write_functions(FILE *out, const struct scenario *s, struct result *r, unsigned count)
{
    const struct row *row;
    struct row_facts facts;
    unsigned served, answered;

    fprintf(out,
            "\n## Each code, at each call\n\n"
            "Every `CKR_` code of PKCS#11 2.40 and 3.0, one of a vendor's, and one that nobody "
            "knows: once, at the first, a middle and the last call of the function in a run of "
            "operations, and as an outage that ends; each of these with one thread and with eight, "
            "and in a forked child of a process that had used the token, and not. Functions that "
            "are not called in every "
            "operation are called because of what else happens in the run. *Overcome* counts the "
            "codes after which no operation may be lost; *an answer* those that the one operation "
            "that they befell reports.\n\n"
            "| function | in a run of | while | overcome | an answer | runs | tried | lost | "
            "wrong | slowest | serving |\n|---|---|---|--:|--:|--:|--:|--:|--:|--:|---|\n");
    for (unsigned n = 0; (row = row_number(n)) != NULL; n++) {
        struct sum sum = sum_row(s, r, count, row);

        row_facts(row, &facts);
        count_promises(row, &served, &answered);
        fprintf(out, "| `%s` | %s | %s | %u | %u |", facts.function, facts.work, facts.circumstance,
                served, answered);
        columns(out, &sum);
    }
    fprintf(out,
            "\nGeneration is never run twice, and a question about key sizes is asked once: "
            "whatever these meet with is an answer. Neither overcome nor answered, because they "
            "are the "
            "recovery itself, are `C_Initialize` and `C_Finalize`: operations wait or fail until "
            "the next one. A PIN is sent once more after a code that need not mean that it was "
            "wrong, unless the token has counted a wrong one since; after a code that says so "
            "nothing goes until `pin` is right. "
            "After a `C_Initialize` that fails while the connection is lost the module is "
            "initialised anew after the recovery interval. p11-kit does not tell when "
            "`C_Finalize` fails, and does not call it again: such a module is served again when "
            "it recovers by itself.\n");
}

static void write_codes(FILE *out, const struct scenario *s, struct result *r, unsigned count)
{
    struct code_facts facts;

    fprintf(out, "\n## Each code\n\n"
                 "| code | value | treated as | runs | tried | lost | wrong | slowest | serving |\n"
                 "|---|---|---|--:|--:|--:|--:|--:|---|\n");
    for (unsigned n = 1; code_facts(n, &facts); n++) {
        struct sum sum = {0};

        for (unsigned i = 0; i < count; i++)
            if (s[i].row != NULL && !s[i].dry && s[i].code == n)
                add_up(&sum, &r[i]);
        fprintf(out, "| %s | 0x%lx | %s |", facts.name, facts.rv, facts.treated);
        columns(out, &sum);
    }
    fprintf(out, "\nSome codes mean something else from some functions (`keystore/base/status.c`): "
                 "from `C_Decrypt` whatever may be about the data is one error, and neither a "
                 "reason to try again nor anything about the token.\n");
}

int report_markdown(const struct scenario *s, struct result *r, unsigned count, const char *path)
{
    FILE *out = fopen(path, "we");

    if (out == NULL) {
        perror(path);
        return 1;
    }
    fputs(intro, out);
    write_events(out, s, r, count);
    write_functions(out, s, r, count);
    write_codes(out, s, r, count);
    if (fclose(out) != 0) {
        perror(path);
        return 1;
    }
    return 0;
}

/* Copy a line without its times, which differ from run to run, or without all numbers of a
 * table. */
static size_t drop_numbers(char *text, size_t len, bool all)
{
    size_t kept = 0, at;

    for (size_t i = 0; i < len; i++) {
        text[kept++] = text[i];
        if (text[i] != '|' || i + 1 >= len || text[i + 1] != ' ')
            continue;
        for (at = i + 2; at < len && text[at] >= '0' && text[at] <= '9'; at++)
            ;
        if (at > i + 2 && len - at > 5 && memcmp(text + at, " ms |", 5) == 0)
            i = at + 3;
        else if (all && at > i + 2 && len - at > 2 && memcmp(text + at, " |", 2) == 0)
            i = at;
    }
    return kept;
}

static bool read_file(const char *path, char *text, size_t size, bool counts, size_t *len)
{
    FILE *in = fopen(path, "re");

    *len = 0;
    if (in == NULL) {
        perror(path);
        return false;
    }
    *len = drop_numbers(text, fread(text, 1, size, in), !counts);
    fclose(in);
    return true;
}

int report_check(const char *made, const char *kept, bool sample)
{
    static char a[1 << 18], b[1 << 18];
    size_t a_len, b_len, line_number = 1;

    if (!read_file(made, a, sizeof(a), !sample, &a_len) ||
        !read_file(kept, b, sizeof(b), !sample, &b_len))
        return 1;
    if (a_len == b_len && memcmp(a, b, a_len) == 0)
        return 0;
    for (size_t i = 0; i < a_len && i < b_len && a[i] == b[i]; i++)
        line_number += a[i] == '\n';
    printf("FAILED %s is stale from line %zu on: run scripts/faults-doc.sh\n", kept, line_number);
    return 1;
}
