/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_stats.c - hsmkey stats: statistics files of several processes, added up.
 */
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"

/* One series with its label pid taken out; values of several files are added. */
struct series {
    char *name;
    char *labels; /* as in the file, "" without any */
    double value;
};

/* The limit bounds the time that a file of somebody else's can cost, as each line is compared
 * with all series. A server with hundreds of keys has some thousands of series. */
#define SERIES_MAX 20000

struct stats {
    struct series *list;
    size_t count, room;
};

/* --- reading --------------------------------------------------------------------------------- */

static bool add_value(struct stats *s, const char *name, const char *labels, double value)
{
    struct series *one;
    size_t i;

    for (i = 0; i < s->count; i++) {
        one = &s->list[i];
        if (strcmp(one->name, name) == 0 && strcmp(one->labels, labels) == 0) {
            one->value += value;
            /* hsm_token_info only carries labels: its value is always 1 */
            if (strcmp(name, "hsm_token_info") == 0)
                one->value = 1;
            return true;
        }
    }
    if (s->count == s->room) {
        one = realloc(s->list, (s->room * 2 + 64) * sizeof(*one));
        if (one == NULL)
            return false;
        s->list = one;
        s->room = s->room * 2 + 64;
    }
    one = &s->list[s->count];
    one->name = strdup(name);
    one->labels = strdup(labels);
    one->value = value;
    s->count++; /* counted even if a copy failed, so that stats_clear() frees the other */
    return one->name != NULL && one->labels != NULL;
}

/* Find the end of the label's value that begins at `p`, behind the quote. NULL: it has no end. */
static char *value_end(char *p)
{
    while (*p != '\0' && *p != '"')
        p += p[0] == '\\' && p[1] != '\0' ? 2 : 1;
    return *p == '"' ? p : NULL;
}

/* Take pid="..." out of a list of labels like a="b",pid="1". False: this is no list of labels. */
static bool drop_pid(char *labels)
{
    char *p = labels, *equals, *end;

    while (*p != '\0') {
        equals = strstr(p, "=\"");
        end = equals != NULL ? value_end(equals + 2) : NULL;
        if (end == NULL || (end[1] != ',' && end[1] != '\0'))
            return false;
        end += end[1] == ',' ? 2 : 1;
        if (strncmp(p, "pid=", 4) == 0)
            memmove(p, end, strlen(end) + 1);
        else
            p = end;
    }
    return true;
}

/* Tell whether a line has only characters that the provider writes. A server's user may have
 * written the file while root looks at it, so nothing else may get to a terminal. */
static bool is_printable(const char *line, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (line[i] < 0x20 || line[i] > 0x7e)
            return false;
    return true;
}

/* Add one line, "name{labels} value" or "name value". */
static bool take_line(struct stats *s, char *line, bool *memory)
{
    char *number = strrchr(line, ' '), *open = strchr(line, '{'), *rest;
    double value;

    if (number == NULL || number == line || strncmp(line, "hsm_", 4) != 0)
        return false;
    *number++ = '\0';
    errno = 0;
    value = strtod(number, &rest);
    if (rest == number || *rest != '\0' || !(value >= 0 && value < 1e30))
        return false;
    if (open == NULL || open >= number) {
        *memory = add_value(s, line, "", value);
        return true;
    }
    if (number[-2] != '}')
        return false;
    number[-2] = '\0';
    *open++ = '\0';
    if (!drop_pid(open))
        return false;
    *memory = add_value(s, line, open, value);
    return true;
}

static bool read_stats(struct cmd_env *env, const char *path, struct stats *s)
{
    char shown[200], why[200], *line, *end;
    struct cmd_bytes bytes;
    unsigned long number = 0;
    bool ok = true, memory = true;
    size_t len;

    ks_escape(shown, sizeof(shown), path, SIZE_MAX);
    if (!cmd_read_file(path, 0, &bytes, why, sizeof(why))) {
        cmd_error(env, "%s: %s", shown, why);
        return false;
    }
    for (line = bytes.data; ok && memory && line < bytes.data + bytes.len; line = end + 1) {
        number++;
        end = memchr(line, '\n', (size_t)(bytes.data + bytes.len - line));
        if (end == NULL)
            end = bytes.data + bytes.len;
        *end = '\0';
        len = (size_t)(end - line);
        if (len > 0 && line[0] != '#' && (!is_printable(line, len) || !take_line(s, line, &memory)))
            ok = false;
        if (s->count > SERIES_MAX)
            break;
    }
    if (!memory) {
        cmd_error(env, "out of memory");
    } else if (s->count > SERIES_MAX) {
        cmd_error(env, "%s: line %lu: there are more than %d series", shown, number, SERIES_MAX);
        ok = false;
    } else if (!ok)
        cmd_error(env, "%s: line %lu is not of a statistics file", shown, number);
    else if (number == 0) {
        cmd_error(env, "%s: is empty", shown);
        ok = false;
    }
    cmd_bytes_clear(&bytes);
    return ok && memory;
}

static void stats_clear(struct stats *s)
{
    size_t i;

    for (i = 0; i < s->count; i++) {
        free(s->list[i].name);
        free(s->list[i].labels);
    }
    free(s->list);
}

/* --- asking ---------------------------------------------------------------------------------- */

/* Copy the value of a label without Prometheus' escapes; those of ks_escape() stay. False: the
 * series has no such label. */
static bool label(const struct series *one, const char *name, char *out, size_t size)
{
    size_t len = strlen(name), used = 0;
    const char *p = one->labels;

    while (*p != '\0') {
        const char *value = strstr(p, "=\"");
        bool mine = value != NULL && (size_t)(value - p) == len && strncmp(p, name, len) == 0;

        if (value == NULL)
            return false;
        for (p = value + 2; *p != '\0' && *p != '"'; p++) {
            if (p[0] == '\\' && p[1] != '\0')
                p++;
            if (mine && used + 1 < size)
                out[used++] = *p;
        }
        if (mine) {
            out[used] = '\0';
            return true;
        }
        p += *p == '"';
        p += *p == ',';
    }
    return false;
}

static bool label_is(const struct series *one, const char *name, const char *want)
{
    char got[1024];

    return label(one, name, got, sizeof(got)) && strcmp(got, want) == 0;
}

/* Tell whether a series has these labels. `pairs`: labels and their values, up to a NULL. */
static bool matches(const struct series *one, const char *name, const char *const *pairs)
{
    size_t k;

    if (strcmp(one->name, name) != 0)
        return false;
    for (k = 0; pairs[k] != NULL && label_is(one, pairs[k], pairs[k + 1]); k += 2)
        ;
    return pairs[k] == NULL;
}

/* Sum up the series with these labels. */
static double sum(const struct stats *s, const char *name, const char *const *pairs)
{
    double total = 0;
    size_t i;

    for (i = 0; i < s->count; i++)
        if (matches(&s->list[i], name, pairs))
            total += s->list[i].value;
    return total;
}

/* The bound (seconds) of the first bucket in which the share of all values lies; -1: beyond the
 * last, or no values. */
static double quantile(const struct stats *s, const char *what, const char *const *pairs,
                       double share)
{
    double count, best = -1, le;
    char name[64], text[64];
    size_t i;

    snprintf(name, sizeof(name), "%s_count", what);
    count = sum(s, name, pairs);
    snprintf(name, sizeof(name), "%s_bucket", what);
    for (i = 0; count > 0 && i < s->count; i++) {
        const struct series *one = &s->list[i];

        if (!matches(one, name, pairs) || !label(one, "le", text, sizeof(text)) ||
            strcmp(text, "+Inf") == 0)
            continue;
        le = strtod(text, NULL);
        if (one->value >= count * share && (best < 0 || le < best))
            best = le;
    }
    return best;
}

/* --- showing --------------------------------------------------------------------------------- */

static const char *count_text(double value, char *out, size_t size)
{
    snprintf(out, size, "%.0f", value);
    return out;
}

static const char *ms_text(double seconds, char *out, size_t size)
{
    if (seconds < 0)
        snprintf(out, size, "-");
    else
        snprintf(out, size, "%.3g ms", seconds * 1000);
    return out;
}

static const char *mean_text(const struct stats *s, const char *what, const char *const *pairs,
                             char *out, size_t size)
{
    char name[64];
    double count, seconds;

    snprintf(name, sizeof(name), "%s_count", what);
    count = sum(s, name, pairs);
    snprintf(name, sizeof(name), "%s_sum", what);
    seconds = sum(s, name, pairs);
    return ms_text(count > 0 ? seconds / count : -1, out, size);
}

/* Print a row for each token and class with at least one operation, in the order of the files. */
static bool show_operations(const struct stats *s)
{
    static const char *const head[] = {"TOKEN",   "CLASS", "DONE",   "FAILED",
                                       "REFUSED", "QUEUE", "IN HSM", "99 % UNDER"};
    struct cmd_table table = {.columns = 8};
    char token[256], class[64], n[3][32], ms[3][32];
    bool ok = cmd_table_row(&table, head);
    size_t i;

    for (i = 0; ok && i < s->count; i++) {
        const struct series *one = &s->list[i];
        const char *const pairs[] = {"token", token, "class", class, NULL};
        const char *const failed[] = {"token", token, "class", class, "result", "failed", NULL};
        const char *const refused[] = {"token", token, "class", class, "result", "refused", NULL};

        if (strcmp(one->name, "hsm_operations_total") != 0 || !label_is(one, "result", "done") ||
            !label(one, "token", token, sizeof(token)) ||
            !label(one, "class", class, sizeof(class)))
            continue;
        const char *const cells[] = {
            token,
            class,
            count_text(one->value, n[0], sizeof(n[0])),
            count_text(sum(s, one->name, failed), n[1], sizeof(n[1])),
            count_text(sum(s, one->name, refused), n[2], sizeof(n[2])),
            mean_text(s, "hsm_queue_seconds", pairs, ms[0], sizeof(ms[0])),
            mean_text(s, "hsm_call_seconds", pairs, ms[1], sizeof(ms[1])),
            ms_text(quantile(s, "hsm_call_seconds", pairs, 0.99), ms[2], sizeof(ms[2])),
        };
        ok = cmd_table_row(&table, cells);
    }
    if (ok)
        cmd_table_print(&table, stdout);
    cmd_table_clear(&table);
    return ok;
}

/* Print a row for each key that was used. */
static bool show_keys(const struct stats *s)
{
    static const char *const head[] = {"TOKEN", "KEY", "DONE", "FAILED", "IN HSM", "99 % UNDER"};
    struct cmd_table table = {.columns = 6};
    char token[256], key[1024], n[2][32], ms[2][32];
    bool ok = cmd_table_row(&table, head), any = false;
    size_t i;

    for (i = 0; ok && i < s->count; i++) {
        const struct series *one = &s->list[i];
        const char *const pairs[] = {"token", token, "key", key, NULL};
        const char *const failed[] = {"token", token, "key", key, "result", "failed", NULL};

        if (strcmp(one->name, "hsm_key_operations_total") != 0 ||
            !label_is(one, "result", "done") || !label(one, "token", token, sizeof(token)) ||
            !label(one, "key", key, sizeof(key)) || one->value + sum(s, one->name, failed) == 0)
            continue;
        const char *const cells[] = {
            token,
            key,
            count_text(one->value, n[0], sizeof(n[0])),
            count_text(sum(s, one->name, failed), n[1], sizeof(n[1])),
            mean_text(s, "hsm_key_call_seconds", pairs, ms[0], sizeof(ms[0])),
            ms_text(quantile(s, "hsm_key_call_seconds", pairs, 0.99), ms[1], sizeof(ms[1])),
        };
        ok = cmd_table_row(&table, cells);
        any = true;
    }
    if (ok && any) {
        printf("\n");
        cmd_table_print(&table, stdout);
    }
    cmd_table_clear(&table);
    return ok;
}

/* Print the other series that are not zero, a line each. */
static void show_rest(const struct stats *s)
{
    static const struct {
        const char *name, *text, *label;
    } rows[] = {
        {"hsm_failures_total", "failed", "code"},
        {"hsm_retries_total", "tried again", "class"},
        {"hsm_failovers_total", "moved to another token", "class"},
        {"hsm_recoveries_total", "came back after it was lost", NULL},
        {"hsm_sessions", "sessions", "state"},
        {"hsm_token_up", "processes to which it is up", NULL},
        {"hsm_log_lines_lost_total", "log lines lost", NULL},
    };
    char token[256], what[1024], class[64];
    size_t r, i;

    printf("\n");
    for (r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
        for (i = 0; i < s->count; i++) {
            const struct series *one = &s->list[i];

            if (strcmp(one->name, rows[r].name) != 0 ||
                (one->value == 0 && strcmp(one->name, "hsm_token_up") != 0))
                continue;
            if (!label(one, "token", token, sizeof(token)))
                token[0] = '\0';
            if (rows[r].label == NULL || !label(one, rows[r].label, what, sizeof(what)))
                what[0] = '\0';
            if (strcmp(rows[r].name, "hsm_failures_total") != 0 ||
                !label(one, "class", class, sizeof(class)))
                class[0] = '\0';
            printf("%s%s%s%s%s%s%s: %.0f\n", token, token[0] != '\0' ? ": " : "", rows[r].text,
                   class[0] != '\0' ? " " : "", class, what[0] != '\0' ? " " : "", what,
                   one->value);
        }
    }
}

/* Convert a number of a file, which may be larger than any counter. */
static unsigned long whole(double value)
{
    return value < (double)ULONG_MAX ? (unsigned long)value : ULONG_MAX;
}

/* Print every series as JSON, with its labels as members. */
static void as_json(struct cmd_json *json, const struct stats *s, int files)
{
    static const char *const names[] = {"token", "class", "result", "code",
                                        "key",   "state", "label",  "le"};
    char value[1024];
    size_t i, k;

    cmd_json_open(json, NULL, '{');
    cmd_json_number(json, "files", (unsigned long)files);
    cmd_json_open(json, "series", '[');
    for (i = 0; i < s->count; i++) {
        const struct series *one = &s->list[i];

        cmd_json_open(json, NULL, '{');
        cmd_json_string(json, "name", one->name);
        for (k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
            if (label(one, names[k], value, sizeof(value)))
                cmd_json_string(json, names[k], value);
        }
        /* JSON has no integers of more than 53 bits; seconds come as nanoseconds */
        if (strstr(one->name, "_seconds_sum") != NULL)
            cmd_json_number(json, "nanoseconds", whole(one->value * 1e9 + 0.5));
        else
            cmd_json_number(json, "value", whole(one->value));
        cmd_json_close(json, '{');
    }
    cmd_json_close(json, '[');
    cmd_json_close(json, '{');
}

static int stats_run(struct cmd_env *env, int argc, char **argv)
{
    static const struct option own[] = {{0}};
    struct stats s = {0};
    int status = CMD_FAILED, files, i;

    if (cmd_getopt(env, argc, argv, own, &status) == CMD_STOP)
        return status;
    files = argc - optind;
    if (files < 1)
        return cmd_usage(env, "needs a statistics file (stats-file in the configuration)");
    status = CMD_FAILED;
    for (i = optind; i < argc; i++) {
        if (!read_stats(env, argv[i], &s))
            goto out;
    }
    if (env->json) {
        as_json(&env->doc, &s, files);
    } else {
        if (!show_operations(&s) || !show_keys(&s)) {
            cmd_error(env, "out of memory");
            goto out;
        }
        show_rest(&s);
    }
    status = CMD_OK;
out:
    stats_clear(&s);
    return status;
}

const struct cmd cmd_stats = {
    "stats",
    "FILE...",
    "Show statistics files, several of them added up",
    "FILE is what stats-file in the provider's section names, one a process if it has %p in it.\n"
    "QUEUE is the mean time until an operation had a session, IN HSM the mean time in the "
    "module.\n",
    stats_run,
};
