/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_out.c - tables, JSON and error lines.
 */
#include <openssl/err.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"

/* --- JSON ------------------------------------------------------------------------------------ */

/* The code point at `p`, and its length in `*used`; U+FFFD and one byte for what is not UTF-8
 * (overlong forms and surrogates too). */
static uint32_t utf8_decode(const unsigned char *p, size_t len, size_t *used)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n, i;
    uint32_t c;

    *used = 1;
    if (p[0] < 0x80) {
        return p[0];
    }
    n = p[0] >= 0xf0 && p[0] < 0xf8 ? 4 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3 : 2;
    if (p[0] < 0xc0 || p[0] >= 0xf8 || n > len) {
        return 0xfffd;
    }
    c = p[0] & (0x7fU >> n);
    for (i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0xfffd;
        }
        c = c << 6 | (p[i] & 0x3f);
    }
    if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) {
        return 0xfffd;
    }
    *used = n;
    return c;
}

static void json_text(FILE *out, const char *value, size_t len)
{
    const unsigned char *p = (const unsigned char *)value;
    size_t used;
    uint32_t c;

    putc('"', out);
    for (; len > 0; p += used, len -= used) {
        c = utf8_decode(p, len, &used);
        if (c == '"' || c == '\\') {
            fprintf(out, "\\%c", (int)c);
        } else if (c >= 0x20 && c < 0x7f) {
            putc((int)c, out);
        } else if (c < 0x10000) {
            fprintf(out, "\\u%04x", (unsigned)c);
        } else {
            c -= 0x10000;
            fprintf(out, "\\u%04x\\u%04x", (unsigned)(0xd800 | c >> 10),
                    (unsigned)(0xdc00 | (c & 0x3ff)));
        }
    }
    putc('"', out);
}

/* What comes before a value: comma, line, indentation, key. False when there is nothing to write
 * to, which means that memory ran out. */
static bool json_begin(struct cmd_json *json, const char *key)
{
    if (json->out == NULL && json->text == NULL) {
        json->out = open_memstream(&json->text, &json->len);
    }
    if (json->out == NULL) {
        return false;
    }
    if (json->depth > 0) {
        fprintf(json->out, "%s\n%*s", json->comma ? "," : "", (int)json->depth * 2, "");
    }
    if (key != NULL) {
        fprintf(json->out, "\"%s\": ", key);
    }
    json->comma = true;
    return true;
}

void cmd_json_open(struct cmd_json *json, const char *key, char bracket)
{
    if (json_begin(json, key)) {
        putc(bracket, json->out);
        json->comma = false;
        json->depth++;
    }
}

void cmd_json_close(struct cmd_json *json, char bracket)
{
    if (json->out == NULL || json->depth == 0) {
        return;
    }
    json->depth--;
    if (json->comma) {
        fprintf(json->out, "\n%*s", (int)json->depth * 2, "");
    }
    putc(bracket == '{' ? '}' : ']', json->out);
    json->comma = true;
    if (json->depth == 0) {
        json->done = fclose(json->out) == 0;
        json->out = NULL;
    }
}

void cmd_json_bytes(struct cmd_json *json, const char *key, const char *value, size_t len)
{
    if (!json_begin(json, key)) {
        return;
    }
    if (value == NULL) {
        fputs("null", json->out);
    } else {
        json_text(json->out, value, len == SIZE_MAX ? strlen(value) : len);
    }
}

void cmd_json_string(struct cmd_json *json, const char *key, const char *value)
{
    cmd_json_bytes(json, key, value, SIZE_MAX);
}

void cmd_json_bool(struct cmd_json *json, const char *key, bool value)
{
    if (json_begin(json, key)) {
        fputs(value ? "true" : "false", json->out);
    }
}

void cmd_json_number(struct cmd_json *json, const char *key, unsigned long value)
{
    if (json_begin(json, key)) {
        fprintf(json->out, "%lu", value);
    }
}

/* --- tables ---------------------------------------------------------------------------------- */

bool cmd_table_row(struct cmd_table *table, const char *const *cells)
{
    size_t i, at = table->rows * table->columns;

    if (at + table->columns > table->room) {
        size_t room = (table->room + table->columns) * 2;
        char **grown = realloc(table->cells, room * sizeof(*grown));

        if (grown == NULL) {
            return false;
        }
        table->cells = grown;
        table->room = room;
    }
    for (i = 0; i < table->columns; i++) {
        table->cells[at + i] = strdup(cells[i]);
        if (table->cells[at + i] == NULL) {
            while (i-- > 0) {
                free(table->cells[at + i]);
            }
            return false;
        }
    }
    table->rows++;
    return true;
}

void cmd_table_print(const struct cmd_table *table, FILE *out)
{
    size_t width[CMD_COLUMNS] = {0}, row, column, len;

    for (row = 0; row < table->rows; row++) {
        for (column = 0; column < table->columns; column++) {
            len = strlen(table->cells[row * table->columns + column]);
            width[column] = len > width[column] ? len : width[column];
        }
    }
    for (row = 0; row < table->rows; row++) {
        for (column = 0; column + 1 < table->columns; column++) {
            fprintf(out, "%-*s  ", (int)width[column], table->cells[row * table->columns + column]);
        }
        fprintf(out, "%s\n", table->cells[row * table->columns + column]);
    }
}

void cmd_table_clear(struct cmd_table *table)
{
    size_t i;

    for (i = 0; i < table->rows * table->columns; i++) {
        free(table->cells[i]);
    }
    free(table->cells);
    table->cells = NULL;
    table->rows = table->room = 0;
}

/* --- errors ---------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 0))) static void error_line(struct cmd_env *env, const char *fmt,
                                                             va_list ap)
{
    char *text = NULL;

    if (vasprintf(&text, fmt, ap) < 0) {
        fputs("hsmkey: out of memory\n", stderr);
        return;
    }
    fflush(stdout);
    fprintf(stderr, "hsmkey: %s%s%s\n", env->cmd != NULL ? env->cmd->name : "",
            env->cmd != NULL ? ": " : "", text);
    if (env->error == NULL) {
        env->error = text;
    } else {
        free(text);
    }
}

void cmd_error(struct cmd_env *env, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    error_line(env, fmt, ap);
    va_end(ap);
}

int cmd_usage(struct cmd_env *env, const char *fmt, ...)
{
    char what[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    cmd_error(env, "%s; see: hsmkey %s%s--help", what, env->cmd != NULL ? env->cmd->name : "",
              env->cmd != NULL ? " " : "");
    return CMD_USAGE;
}

void cmd_error_ks(struct cmd_env *env, const char *what, const struct ks_error *err)
{
    if (what == NULL) {
        cmd_error(env, "%s", err->text);
    } else {
        cmd_error(env, "%s: %s", what, err->text);
    }
}

/* Append "; text", unless `out` has the text already. */
static void append(char *out, size_t size, const char *text)
{
    size_t len = strlen(out);

    if (text == NULL || text[0] == '\0' || strstr(out, text) != NULL || len + 3 > size) {
        return;
    }
    snprintf(out + len, size - len, "%s%s", len > 0 ? "; " : "", text);
}

void cmd_queue_text(char *out, size_t size)
{
    char ours[1024] = "", theirs[1024] = "", line[1200], shown[1024];
    const char *data, *reason, *library;
    unsigned long code;
    int flags;

    while ((code = ERR_get_error_all(NULL, NULL, NULL, &data, &flags)) != 0) {
        library = ERR_lib_error_string(code);
        reason = ERR_reason_error_string(code);
        if (ERR_SYSTEM_ERROR(code)) {
            reason = strerror((int)ERR_GET_REASON(code));
        }
        if ((flags & ERR_TXT_STRING) == 0) {
            data = "";
        }
        if (library != NULL && strcmp(library, PROV_NAME) == 0) {
            /* Errors of ours are whole sentences, and stand alone. */
            append(ours, sizeof(ours), data[0] != '\0' ? data : reason);
        } else {
            /* libcrypto's errors may quote a file or a configuration, so they are escaped. */
            ks_escape(shown, sizeof(shown), data, SIZE_MAX);
            snprintf(line, sizeof(line), "%s%s%s%s", reason != NULL ? reason : "unknown error",
                     data[0] != '\0' ? " (" : "", shown, data[0] != '\0' ? ")" : "");
            append(theirs, sizeof(theirs), line);
        }
    }
    snprintf(out, size, "%s",
             ours[0] != '\0'     ? ours
             : theirs[0] != '\0' ? theirs
                                 : "OpenSSL gave no reason");
}

void cmd_error_openssl(struct cmd_env *env, const char *what)
{
    char text[1024];

    cmd_queue_text(text, sizeof(text));
    cmd_error(env, "%s: %s", what, text);
}
