/* SPDX-License-Identifier: Apache-2.0
 *
 * Directives from HSM_FAKE_SCRIPT, for programs that cannot call the functions of fake.h. */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_local.h"

#define WORDS 24

struct line {
    unsigned number;
    char *word[WORDS];
    size_t words;
    unsigned long slot; /* of the latest `token` */
};

__attribute__((format(printf, 2, 3), noreturn)) static void bad(const struct line *line,
                                                                const char *fmt, ...)
{
    char text[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    fake_die("script line %u: %s", line->number, text);
}

/* --- names ----------------------------------------------------------------------------------- */

struct name {
    const char *name;
    unsigned long value;
};

static const struct name rv_names[] = {
#define KS_RV(name, value, status, class) {#name, value},
#include "../../keystore/base/status.def"
#undef KS_RV
    {NULL, 0},
};

static const struct name mechanism_names[] = {
    {"CKM_RSA_PKCS_KEY_PAIR_GEN", CKM_RSA_PKCS_KEY_PAIR_GEN},
    {"CKM_RSA_PKCS", CKM_RSA_PKCS},
    {"CKM_RSA_X_509", CKM_RSA_X_509},
    {"CKM_RSA_PKCS_OAEP", CKM_RSA_PKCS_OAEP},
    {"CKM_RSA_PKCS_PSS", CKM_RSA_PKCS_PSS},
    {"CKM_EC_KEY_PAIR_GEN", CKM_EC_KEY_PAIR_GEN},
    {"CKM_ECDSA", CKM_ECDSA},
    {"CKM_ECDH1_DERIVE", CKM_ECDH1_DERIVE},
    {"CKM_ECDH1_COFACTOR_DERIVE", CKM_ECDH1_COFACTOR_DERIVE},
    {"CKM_EC_EDWARDS_KEY_PAIR_GEN", FAKE_CKM_EDWARDS_GEN},
    {"CKM_EDDSA", FAKE_CKM_EDDSA},
    {"CKM_SHA256_RSA_PKCS", CKM_SHA256_RSA_PKCS},
    {"CKM_SHA256_RSA_PKCS_PSS", CKM_SHA256_RSA_PKCS_PSS},
    {"CKM_ECDSA_SHA256", CKM_ECDSA_SHA256},
    {NULL, 0},
};

static const struct name attribute_names[] = {
    {"CKA_LABEL", CKA_LABEL},
    {"CKA_ID", CKA_ID},
    {"CKA_MODULUS", CKA_MODULUS},
    {"CKA_MODULUS_BITS", CKA_MODULUS_BITS},
    {"CKA_PUBLIC_EXPONENT", CKA_PUBLIC_EXPONENT},
    {"CKA_EC_PARAMS", CKA_EC_PARAMS},
    {"CKA_EC_POINT", CKA_EC_POINT},
    {"CKA_PUBLIC_KEY_INFO", CKA_PUBLIC_KEY_INFO},
    {"CKA_ALWAYS_AUTHENTICATE", CKA_ALWAYS_AUTHENTICATE},
    {"CKA_LOCAL", CKA_LOCAL},
    {"CKA_SENSITIVE", CKA_SENSITIVE},
    {"CKA_EXTRACTABLE", CKA_EXTRACTABLE},
    {"CKA_SIGN", CKA_SIGN},
    {"CKA_DECRYPT", CKA_DECRYPT},
    {"CKA_DERIVE", CKA_DERIVE},
    {"CKA_PRIVATE", CKA_PRIVATE},
    {"CKA_TOKEN", CKA_TOKEN},
    {NULL, 0},
};

static const struct name kind_names[] = {
    {"rsa", FAKE_RSA},
    {"rsa-3072", FAKE_RSA_3072},
    {"rsa-4096", FAKE_RSA_4096},
    {"p256", FAKE_P256},
    {"p384", FAKE_P384},
    {"p521", FAKE_P521},
    {"secp256k1", FAKE_SECP256K1},
    {"ed25519", FAKE_ED25519},
    {"ed448", FAKE_ED448},
    {NULL, 0},
};

static const struct name quirk_names[] = {
    {"object-handle", FAKE_QUIRK_OBJECT_HANDLE},
    {"late-errors", FAKE_QUIRK_LATE_ERRORS},
    {"swapped-refusal", FAKE_QUIRK_SWAPPED_REFUSAL},
    {"null-pin-aborts", FAKE_QUIRK_NULL_PIN_ABORTS},
    {"bulk-read-fails", FAKE_QUIRK_BULK_READ_FAILS},
    {"raw-ec-point", FAKE_QUIRK_RAW_EC_POINT},
    {"use-not-enforced", FAKE_QUIRK_USE_NOT_ENFORCED},
    {"stripped-zeros", FAKE_QUIRK_STRIPPED_ZEROS},
    {"sha1-oaep", FAKE_QUIRK_SHA1_OAEP},
    {"data-is-general", FAKE_QUIRK_DATA_IS_GENERAL},
    {"unusable-keys", FAKE_QUIRK_UNUSABLE_KEYS},
    {"picky-private", FAKE_QUIRK_PICKY_PRIVATE},
    {"half-pair", FAKE_QUIRK_HALF_PAIR},
    {"bad-signatures", FAKE_QUIRK_BAD_SIGNATURES},
    {"operation-sticks", FAKE_QUIRK_OPERATION_STICKS},
    {"softhsm-fork", FAKE_QUIRK_SOFTHSM_FORK},
    {"edwards-names", FAKE_QUIRK_EDWARDS_NAMES},
    {"eddsa-params", FAKE_QUIRK_EDDSA_PARAMS},
    {"der-peer", FAKE_QUIRK_DER_PEER},
    {"no-value-len", FAKE_QUIRK_NO_VALUE_LEN},
    {NULL, 0},
};

static const struct name handle_names[] = {
    {"keep", FAKE_HANDLES_KEEP},
    {"fresh", FAKE_HANDLES_FRESH},
    {"other", FAKE_HANDLES_OTHER},
    {NULL, 0},
};

static unsigned long number(const struct line *line, const char *text)
{
    char *end;
    unsigned long n;

    errno = 0;
    n = strtoul(text, &end, 0);
    if (errno != 0 || end == text || *end != '\0')
        bad(line, "\"%s\" is no number", text);
    return n;
}

static unsigned small_number(const struct line *line, const char *text)
{
    unsigned long n = number(line, text);

    if (n > 1000000000)
        bad(line, "\"%s\" is too much", text);
    return (unsigned)n;
}

static unsigned long by_name(const struct line *line, const struct name *table, const char *text)
{
    for (size_t i = 0; table[i].name != NULL; i++) {
        if (strcmp(table[i].name, text) == 0)
            return table[i].value;
    }
    return number(line, text);
}

static enum fake_kind kind_by_name(const struct line *line, const char *text)
{
    return (enum fake_kind)by_name(line, kind_names, text);
}

/* --- words ----------------------------------------------------------------------------------- */

/* The value of NAME=VALUE, if `word` is that. */
static const char *option(const char *word, const char *name)
{
    size_t len = strlen(name);

    return strncmp(word, name, len) == 0 && word[len] == '=' ? word + len + 1 : NULL;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The next character, \xNN and \n undone. */
static char unescape(const struct line *line, const char **p)
{
    if (**p != '\\')
        return *(*p)++;
    (*p)++;
    if (**p == 'n') {
        (*p)++;
        return '\n';
    }
    if (**p == 'x' && hex_digit((*p)[1]) >= 0 && hex_digit((*p)[2]) >= 0) {
        int c = hex_digit((*p)[1]) * 16 + hex_digit((*p)[2]);

        *p += 3;
        return (char)c;
    }
    if (**p == '\\' || **p == '"')
        return *(*p)++;
    bad(line, "a backslash before something else than n, xNN, backslash or quote");
}

/* Cuts a line to words, in place. */
static void split(struct line *line, char *text)
{
    const char *p = text;
    char *out = text;

    line->words = 0;
    while (*p != '\0' && *p != '#') {
        bool quoted = false;

        if (isspace((unsigned char)*p)) {
            p++;
            continue;
        }
        if (line->words == WORDS)
            bad(line, "too many words");
        line->word[line->words++] = out;
        while (*p != '\0' && (quoted || !isspace((unsigned char)*p))) {
            if (*p == '"') {
                quoted = !quoted;
                p++;
            } else {
                *out++ = unescape(line, &p);
            }
        }
        if (quoted)
            bad(line, "a quote is not closed");
        if (*p != '\0')
            p++;
        *out++ = '\0';
    }
}

static void want_words(const struct line *line, size_t least, size_t most)
{
    if (line->words < least || line->words > most)
        bad(line, "wrong number of words after \"%s\"", line->word[0]);
}

static size_t from_hex(const struct line *line, const char *hex, unsigned char *out, size_t size)
{
    size_t n = strlen(hex) / 2;

    if (strlen(hex) % 2 != 0 || n == 0 || n > size)
        bad(line, "\"%s\" is no hex string", hex);
    for (size_t i = 0; i < n; i++) {
        int high = hex_digit(hex[2 * i]), low = hex_digit(hex[2 * i + 1]);

        if (high < 0 || low < 0)
            bad(line, "\"%s\" is no hex string", hex);
        out[i] = (unsigned char)(high * 16 + low);
    }
    return n;
}

/* --- directives ------------------------------------------------------------------------------ */

static bool token_flag(struct fake_token *t, const char *word)
{
    if (strcmp(word, "no-login") == 0)
        t->no_login = true;
    else if (strcmp(word, "protected-path") == 0)
        t->protected_path = true;
    else if (strcmp(word, "write-protected") == 0)
        t->write_protected = true;
    else if (strcmp(word, "pin-not-set") == 0)
        t->pin_not_set = true;
    else if (strcmp(word, "not-initialized") == 0)
        t->not_initialized = true;
    else
        return false;
    return true;
}

static void do_token(struct line *line)
{
    struct fake_token t = {.label = NULL};

    for (size_t i = 1; i < line->words; i++) {
        const char *word = line->word[i], *v;

        if ((v = option(word, "label")) != NULL)
            t.label = v;
        else if ((v = option(word, "serial")) != NULL)
            t.serial = v;
        else if ((v = option(word, "pin")) != NULL)
            t.pin = v;
        else if ((v = option(word, "pin-tries")) != NULL)
            t.pin_tries = small_number(line, v);
        else if ((v = option(word, "sessions")) != NULL)
            t.sessions_max = small_number(line, v);
        else if ((v = option(word, "rw-sessions")) != NULL)
            t.rw_sessions_max = small_number(line, v);
        else if (!token_flag(&t, word))
            bad(line, "no token option \"%s\"", word);
    }
    line->slot = fake_add_token(&t);
}

static const struct name key_flags[] = {
    {"no-public", FAKE_NO_PUBLIC},
    {"no-private", FAKE_NO_PRIVATE},
    {"no-sign", FAKE_NO_SIGN},
    {"no-decrypt", FAKE_NO_DECRYPT},
    {"no-derive", FAKE_NO_DERIVE},
    {"extractable", FAKE_EXTRACTABLE},
    {"always-authenticate", FAKE_ALWAYS_AUTHENTICATE},
    {"point-in-private", FAKE_POINT_IN_PRIVATE},
    {NULL, 0},
};

static void do_key(struct line *line)
{
    struct fake_key key = {.flags = 0};
    unsigned char id[64];

    want_words(line, 2, WORDS);
    key.kind = kind_by_name(line, line->word[1]);
    key.label = line->word[1];
    key.id = line->word[1];
    for (size_t i = 2; i < line->words; i++) {
        const char *word = line->word[i], *v;

        if ((v = option(word, "label")) != NULL) {
            key.label = v;
        } else if ((v = option(word, "id")) != NULL) {
            key.id_len = from_hex(line, v, id, sizeof(id));
            key.id = id;
        } else if ((v = option(word, "material")) != NULL) {
            key.material = small_number(line, v);
        } else {
            key.flags |= (unsigned)by_name(line, key_flags, word);
        }
    }
    fake_add_key(line->slot, &key);
}

static void do_keys(struct line *line)
{
    want_words(line, 4, 4);
    fake_add_pairs(line->slot, kind_by_name(line, line->word[2]), line->word[3],
                   small_number(line, line->word[1]));
}

static void do_certificate(struct line *line)
{
    const char *label, *v;
    char id[65] = "";

    want_words(line, 3, 5);
    label = line->word[1];
    for (size_t i = 3; i < line->words; i++) {
        if ((v = option(line->word[i], "label")) != NULL)
            label = v;
        else if ((v = option(line->word[i], "id")) != NULL)
            id[from_hex(line, v, (unsigned char *)id, sizeof(id) - 1)] = '\0';
        else
            bad(line, "no certificate option \"%s\"", line->word[i]);
    }
    fake_add_certificate(line->slot, label, id[0] != '\0' ? id : line->word[1],
                         kind_by_name(line, line->word[1]), small_number(line, line->word[2]));
}

static void do_mechanism(struct line *line)
{
    bool on;

    want_words(line, 3, 3);
    on = strcmp(line->word[2], "on") == 0;
    if (!on && strcmp(line->word[2], "off") != 0)
        bad(line, "neither on nor off");
    fake_set_mechanism(line->slot, by_name(line, mechanism_names, line->word[1]), on);
}

static void do_trouble(struct line *line)
{
    want_words(line, 3, 3);
    fake_set_trouble(line->slot, strcmp(line->word[1], "all") == 0 ? NULL : line->word[1],
                     by_name(line, rv_names, line->word[2]));
}

static void do_hide(struct line *line)
{
    want_words(line, 2, 2);
    fake_hide_attribute(FAKE_ANY, by_name(line, attribute_names, line->word[1]));
}

static void do_inject(struct line *line)
{
    unsigned nth = 1, times = 1;
    bool after = false;

    want_words(line, 3, 6);
    for (size_t i = 3; i < line->words; i++) {
        const char *word = line->word[i], *v;

        if ((v = option(word, "nth")) != NULL)
            nth = small_number(line, v);
        else if ((v = option(word, "times")) != NULL)
            times = strcmp(v, "forever") == 0 ? FAKE_FOREVER : small_number(line, v);
        else if (strcmp(word, "after") == 0)
            after = true;
        else
            bad(line, "no inject option \"%s\"", word);
    }
    fake_inject(line->word[1], nth, times, by_name(line, rv_names, line->word[2]), after);
}

static void do_latency(struct line *line)
{
    want_words(line, 3, 3);
    fake_set_latency(strcmp(line->word[1], "all") == 0 ? NULL : line->word[1],
                     small_number(line, line->word[2]));
}

static void do_hang(struct line *line)
{
    const char *v = "1";

    want_words(line, 2, 3);
    if (line->words == 3 && (v = option(line->word[2], "nth")) == NULL)
        bad(line, "no hang option \"%s\"", line->word[2]);
    fake_hang(line->word[1], small_number(line, v));
}

static void do_quirk(struct line *line)
{
    want_words(line, 2, 2);
    fake_set_quirk((enum fake_quirk)by_name(line, quirk_names, line->word[1]), true);
}

static void do_reinit_handles(struct line *line)
{
    want_words(line, 2, 2);
    fake_set_reinit_handles((enum fake_handles)by_name(line, handle_names, line->word[1]));
}

static void do_pin_failures(struct line *line)
{
    want_words(line, 2, 2);
    fake_set_pin_failures(line->slot, small_number(line, line->word[1]));
}

static void do_random_max(struct line *line)
{
    want_words(line, 2, 2);
    fake_set_random_max(small_number(line, line->word[1]));
}

static void do_server_down(struct line *line)
{
    want_words(line, 1, 1);
    fake_set_server_down(true);
}

static void do_cheap(struct line *line)
{
    want_words(line, 1, 1);
    fake_set_cheap(true);
}

static const struct {
    const char *name;
    void (*run)(struct line *line);
    bool needs_token;
} directives[] = {
    {"token", do_token, false},
    {"key", do_key, true},
    {"keys", do_keys, true},
    {"certificate", do_certificate, true},
    {"mechanism", do_mechanism, true},
    {"trouble", do_trouble, true},
    {"hide", do_hide, false},
    {"inject", do_inject, false},
    {"latency", do_latency, false},
    {"hang", do_hang, false},
    {"quirk", do_quirk, false},
    {"reinit-handles", do_reinit_handles, false},
    {"pin-failures", do_pin_failures, true},
    {"random-max", do_random_max, false},
    {"server-down", do_server_down, false},
    {"cheap", do_cheap, false},
};

static void run_line(struct line *line, char *text)
{
    split(line, text);
    if (line->words == 0)
        return;
    for (size_t i = 0; i < sizeof(directives) / sizeof(directives[0]); i++) {
        if (strcmp(directives[i].name, line->word[0]) != 0)
            continue;
        if (directives[i].needs_token && fake.slots == 0)
            line->slot = fake_add_token(NULL);
        directives[i].run(line);
        return;
    }
    bad(line, "no directive \"%s\"", line->word[0]);
}

FAKE_EXPORT void fake_script(const char *text)
{
    struct line line = {.number = 0};
    char *copy = strdup(text), *rest = copy, *one;

    if (copy == NULL)
        fake_die("out of memory");
    line.slot = fake.slots != 0 ? fake.slots - 1 : 0;
    while ((one = strsep(&rest, "\n")) != NULL) {
        line.number++;
        run_line(&line, one);
    }
    free(copy);
}

void fake_run_environment(void)
{
    const char *path = getenv("HSM_FAKE_SCRIPT");
    char text[65536];
    size_t len;
    FILE *file;

    if (path != NULL) {
        file = fopen(path, "re");
        if (file == NULL)
            fake_die("cannot read %s", path);
        len = fread(text, 1, sizeof(text) - 1, file);
        fclose(file);
        if (len == sizeof(text) - 1)
            fake_die("%s is too long", path);
        text[len] = '\0';
        fake_script(text);
    }
    if (fake.slots == 0)
        fake_add_token(NULL);
}
