/* SPDX-License-Identifier: Apache-2.0
 *
 * status.c - what CKR_ codes mean, and how failures are put into words.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "error.h"

static const char *const code_texts[] = {
#define KS_STATUS(name, text) [KS_##name] = text,
#include "status.def"
#undef KS_STATUS
};

static const char *const fn_names[] = {
    [KS_NO_FUNCTION] = "",
#define KS_FUNCTION(name) [KS_##name] = #name,
#include "functions.def"
#undef KS_FUNCTION
};

struct rv_row {
    CK_RV rv;
    const char *name;
    enum ks_code code;
    enum ks_recovery class;
};

static const struct rv_row rv_rows[] = {
#define KS_RV(name, value, status, class) {value, #name, KS_##status, KS_##class},
#include "status.def"
#undef KS_RV
};

/* The same code means different things from different functions. What a token says about the
 * data that a stranger sent must neither take the token down nor be told apart (an oracle), and
 * *Init functions say "bad argument" about parameters that they do not support. */
struct exception_row {
    enum ks_fn function;
    CK_RV rv;
    enum ks_code code;
    enum ks_recovery class;
};

static const struct exception_row exceptions[] = {
    {KS_C_Decrypt, CKR_GENERAL_ERROR, KS_DATA, KS_PERMANENT},
    {KS_C_Decrypt, CKR_FUNCTION_FAILED, KS_DATA, KS_PERMANENT},
    {KS_C_Decrypt, CKR_ARGUMENTS_BAD, KS_DATA, KS_PERMANENT},
    {KS_C_Decrypt, CKR_DATA_INVALID, KS_DATA, KS_PERMANENT},
    {KS_C_Decrypt, CKR_DATA_LEN_RANGE, KS_DATA, KS_PERMANENT},
    {KS_C_Decrypt, CKR_BUFFER_TOO_SMALL, KS_DATA, KS_PERMANENT},
    {KS_C_Decrypt, CKR_ENCRYPTED_DATA_INVALID, KS_DATA, KS_PERMANENT},
    {KS_C_Decrypt, CKR_ENCRYPTED_DATA_LEN_RANGE, KS_DATA, KS_PERMANENT},
    {KS_C_DecryptInit, CKR_ARGUMENTS_BAD, KS_MECHANISM, KS_PERMANENT},
    {KS_C_SignInit, CKR_ARGUMENTS_BAD, KS_MECHANISM, KS_PERMANENT},
    /* with nothing of the caller's in it, these are about the device */
    {KS_C_GetSlotList, CKR_GENERAL_ERROR, KS_DEVICE, KS_DEVICE_LOST},
    {KS_C_GetSlotList, CKR_FUNCTION_FAILED, KS_DEVICE, KS_DEVICE_LOST},
    {KS_C_GetTokenInfo, CKR_GENERAL_ERROR, KS_DEVICE, KS_DEVICE_LOST},
    {KS_C_GetTokenInfo, CKR_FUNCTION_FAILED, KS_DEVICE, KS_DEVICE_LOST},
    {KS_C_OpenSession, CKR_GENERAL_ERROR, KS_DEVICE, KS_DEVICE_LOST},
    {KS_C_OpenSession, CKR_FUNCTION_FAILED, KS_DEVICE, KS_DEVICE_LOST},
    {KS_C_GenerateKeyPair, CKR_ATTRIBUTE_VALUE_INVALID, KS_MECHANISM, KS_PERMANENT},
};

const char *ks_code_text(enum ks_code code)
{
    size_t i = (size_t)code;

    return i < sizeof(code_texts) / sizeof(code_texts[0]) ? code_texts[i] : "unknown error";
}

const char *ks_fn_name(enum ks_fn fn)
{
    return fn_names[fn];
}

static const struct rv_row *rv_find(CK_RV rv)
{
    for (size_t i = 0; i < sizeof(rv_rows) / sizeof(rv_rows[0]); i++)
        if (rv_rows[i].rv == rv)
            return &rv_rows[i];
    return NULL;
}

const char *ks_rv_name(CK_RV rv)
{
    const struct rv_row *row = rv_find(rv);

    if (row != NULL)
        return row->name;
    return rv >= CKR_VENDOR_DEFINED ? "CKR_VENDOR_DEFINED" : "unknown CKR_";
}

void ks_classify(enum ks_fn function, CK_RV rv, enum ks_code *code, enum ks_recovery *class)
{
    const struct rv_row *row;

    for (size_t i = 0; i < sizeof(exceptions) / sizeof(exceptions[0]); i++) {
        if (exceptions[i].rv == rv && exceptions[i].function == function) {
            *code = exceptions[i].code;
            *class = exceptions[i].class;
            return;
        }
    }
    row = rv_find(rv);
    /* vendor codes are most often throttling or an internal hiccup */
    *code = row != NULL ? row->code : KS_TOKEN;
    *class = row != NULL ? row->class : KS_AMBIGUOUS;
}

enum ks_recovery ks_recovery_of_error(const struct ks_error *err)
{
    enum ks_recovery class;
    enum ks_code code;

    if (err->rv == CKR_OK || err->fn == KS_C_Initialize)
        return KS_PERMANENT;
    ks_classify(err->fn, err->rv, &code, &class);
    if (class == KS_PERMANENT || class == KS_DEVICE_LOST || class == KS_SESSION_LOST)
        return class;
    if (err->fn == KS_C_Login && class != KS_RETRY && class != KS_SESSIONS_FULL)
        return KS_AMBIGUOUS;
    return KS_RETRY;
}

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x7f && c != '\\';
}

const char *ks_escape(char *out, size_t size, const void *in, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    const unsigned char *p = in;
    size_t used = 0, total = 1;

    if (size == 0)
        return out;
    if (in == NULL)
        len = 0;
    else if (len == SIZE_MAX)
        len = strlen(in);
    for (size_t i = 0; i < len && total <= size; i++)
        total += is_plain(p[i]) ? 1 : 4;
    for (size_t i = 0; i < len; i++) {
        bool plain = is_plain(p[i]);
        size_t need = plain ? 1 : 4;
        size_t reserve = total > size ? 4 : 1; /* for "..." and the NUL */

        if (used + need + reserve > size) {
            for (int dots = 0; dots < 3 && used + 1 < size; dots++)
                out[used++] = '.';
            break;
        }
        if (plain) {
            out[used++] = (char)p[i];
        } else {
            out[used++] = '\\';
            out[used++] = 'x';
            out[used++] = hex[p[i] >> 4];
            out[used++] = hex[p[i] & 15];
        }
    }
    out[used] = '\0';
    return out;
}

size_t ks_error_begin(struct ks_error *err, enum ks_code code, const char *label, const char *name)
{
    int n = 0;

    err->code = code;
    err->rv = 0;
    err->rv_name = NULL;
    err->fn = KS_NO_FUNCTION;
    err->function = NULL;
    err->token[0] = '\0';
    err->text[0] = '\0';
    if (name == NULL)
        return 0;
    snprintf(err->token, sizeof(err->token), "%s", label);
    if (err->token[0] != '\0')
        n = snprintf(err->text, sizeof(err->text), "token '%s': ", err->token);
    else
        n = snprintf(err->text, sizeof(err->text), "%s: ", name);
    return n > 0 && (size_t)n < sizeof(err->text) ? (size_t)n : 0;
}

ks_status ks_fail(struct ks_error *err, enum ks_code code, const char *fmt, ...)
{
    va_list ap;

    if (err != NULL) {
        ks_error_begin(err, code, NULL, NULL);
        va_start(ap, fmt);
        vsnprintf(err->text, sizeof(err->text), fmt, ap);
        va_end(ap);
    }
    return (ks_status){code};
}

ks_status ks_error_rv(struct ks_error *err, const char *label, const char *name,
                      enum ks_fn function, CK_RV rv, const char *hint)
{
    enum ks_recovery class;
    enum ks_code code;

    ks_classify(function, rv, &code, &class);
    if (err != NULL) {
        size_t n = ks_error_begin(err, code, label, name);

        err->rv = rv;
        err->rv_name = ks_rv_name(rv);
        err->fn = function;
        err->function = ks_fn_name(function);
        snprintf(err->text + n, sizeof(err->text) - n, "%s: %s (0x%lx): %s%s%s", err->function,
                 err->rv_name, (unsigned long)rv, ks_code_text(code), hint != NULL ? "; " : "",
                 hint != NULL ? hint : "");
    }
    return (ks_status){code};
}

void ks_error_add(struct ks_error *err, const char *fmt, ...)
{
    size_t n = strlen(err->text);
    va_list ap;

    if (n + 3 > sizeof(err->text))
        return;
    memcpy(err->text + n, "; ", 3);
    va_start(ap, fmt);
    vsnprintf(err->text + n + 2, sizeof(err->text) - n - 2, fmt, ap);
    va_end(ap);
}

ks_status ks_no_memory(struct ks_error *err)
{
    return ks_fail(err, KS_NO_MEMORY, "out of memory");
}

char *ks_strdup_n(const void *data, size_t len)
{
    char *out = malloc(len + 1);

    if (out != NULL) {
        if (len > 0)
            memcpy(out, data, len);
        out[len] = '\0';
    }
    return out;
}
