/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_verdict.c - a line of hsmkey check.
 */
#include <stdarg.h>
#include <stdio.h>

#include "cmd_checkfile.h"

void cmd_report(struct cmd_checks *checks, enum cmd_verdict verdict, const char *name,
                const char *fmt, ...)
{
    static const char *const words[] = {"ok", "warning", "FAILED"};
    static const char *const json_words[] = {"ok", "warning", "failed"};
    const char *of = checks->name;
    struct cmd_env *env = checks->env;
    char text[2048];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (verdict == CMD_CHECK_FAIL && checks->optional) {
        verdict = CMD_CHECK_WARN;
    }
    checks->failed += verdict == CMD_CHECK_FAIL;
    checks->warned += verdict == CMD_CHECK_WARN;
    if (!env->json) {
        printf("%-8s %-9s %s%s%s\n", words[verdict], name, of != NULL ? of : "",
               of != NULL ? ": " : "", cmd_without_name(of, text));
        fflush(stdout);
        return;
    }
    cmd_json_open(&env->doc, NULL, '{');
    cmd_json_string(&env->doc, "check", name);
    if (of != NULL) {
        cmd_json_string(&env->doc, "name", of);
    }
    cmd_json_string(&env->doc, "result", json_words[verdict]);
    cmd_json_string(&env->doc, "text", cmd_without_name(of, text));
    cmd_json_close(&env->doc, '{');
}

void cmd_check_file_fail(struct cmd_check_file *file, const char *fmt, ...)
{
    char text[1900];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    cmd_report(file->checks, CMD_CHECK_FAIL, "file", "%s: %s", file->shown, text);
}
