/* SPDX-License-Identifier: Apache-2.0
 *
 * eng_err.c - the engine's own error library, and its other ways to say something.
 */
#include <openssl/err.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "eng_local.h"

static atomic_bool verbose;

void eng_set_verbose(bool on)
{
    atomic_store(&verbose, on);
}

/* The library's number is known at run time only. */
static ERR_STRING_DATA library_name[] = {{0, "hsm engine"}, {0, NULL}};
static ERR_STRING_DATA reasons[] = {
    {ERR_PACK(0, 0, ENG_R_ID), "this engine has another name"},
    {ERR_PACK(0, 0, ENG_R_COMMAND), "engine command refused"},
    {ERR_PACK(0, 0, ENG_R_PROVIDER), "the provider hsm is not available"},
    {ERR_PACK(0, 0, ENG_R_KEY_NAME), "not the name of a key"},
    {ERR_PACK(0, 0, ENG_R_FILE), "no key reference"},
    {ERR_PACK(0, 0, ENG_R_FAKE_PEM), "a vendor's fake PEM"},
    {ERR_PACK(0, 0, ENG_R_SOFTWARE_KEY), "a private key that is not in the HSM"},
    {ERR_PACK(0, 0, ENG_R_NOT_LOADED), "the provider could not load it"},
    {0, NULL},
};

static int library;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Never unloaded: errors are printed after engines are gone, and this object stays mapped. */
static void load(void)
{
    library = ERR_get_next_error_library();
    library_name[0].error = ERR_PACK(library, 0, 0);
    ERR_load_strings(0, library_name);
    ERR_load_strings(library, reasons);
}

void eng_err_load(void)
{
    (void)pthread_once(&once, load);
}

int eng_err_lib(void)
{
    eng_err_load();
    return library;
}

const char *eng_escape(char *out, size_t size, const char *text)
{
    static const char hex[] = "0123456789abcdef";
    size_t used = 0;

    for (; *text != '\0' && *text != '?'; text++) {
        unsigned char c = (unsigned char)*text;

        if (used + 8 > size) {
            memcpy(out + used, "...", 3);
            used += 3;
            break;
        }
        if (c >= 0x20 && c < 0x7f && c != '\\') {
            out[used++] = (char)c;
            continue;
        }
        out[used++] = '\\';
        out[used++] = 'x';
        out[used++] = hex[c >> 4];
        out[used++] = hex[c & 15];
    }
    out[used] = '\0';
    return out;
}

void eng_log(const char *fmt, ...)
{
    va_list args;

    if (!atomic_load(&verbose))
        return;
    va_start(args, fmt);
    fputs("hsm engine: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
}
