/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_config.c - any text as the values of the provider's section: lines KEY=VALUE, without the
 * file around them (fuzz_openssl_cnf.c has that). What is refused has a text, and the text does not
 * show a PIN that somebody wrote there; what is taken is within its limits and reads the same when
 * it is written out again; and tokens of all names are made of it.
 */
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../provider/core/core.h"
#include "fuzz.h"

#define LINES 64

static struct {
    char *key, *value;
} lines[LINES];
static size_t count;
static bool other_pin; /* wrong PINs are replaced by another wrong one */

static bool is_pin(const char *key)
{
    const char *dot = strrchr(key, '.');

    return strcmp(dot != NULL ? dot + 1 : key, "pin") == 0;
}

/* Tell whether a value has none of the right forms, and so may be a PIN itself. */
static bool is_secret(const char *value)
{
    return value[0] != '\0' && strncmp(value, "file:", 5) != 0 && strncmp(value, "env:", 4) != 0 &&
           strcmp(value, "prompt") != 0;
}

/* The last line counts, as in libcrypto. */
static const char *get(void *arg, const char *key)
{
    const char *value = NULL;

    (void)arg;
    for (size_t i = 0; i < count; i++)
        if (strcmp(lines[i].key, key) == 0)
            value = lines[i].value;
    if (value != NULL && other_pin && is_pin(key) && is_secret(value))
        value = "another secret";
    return value;
}

static void split(char *text)
{
    char *equals, *end;

    for (count = 0; text != NULL && count < LINES; text = end) {
        end = strchr(text, '\n');
        if (end != NULL)
            *end++ = '\0';
        equals = strchr(text, '=');
        if (equals == NULL)
            continue;
        *equals = '\0';
        lines[count].key = text;
        lines[count].value = equals + 1;
        count++;
    }
}

/* The values that were taken are within the limits that their errors name. */
static void check_limits(const struct prov_config *c)
{
    if (c->sessions > KS_SESSIONS_MAX || (c->timeout_ms != 0 && c->timeout_ms < 10) ||
        c->timeout_ms > 3600000 || (c->recover_ms != 0 && c->recover_ms < 10) ||
        c->recover_ms > 3600000 || (c->offload >> (unsigned)PROV_CLASSES) != 0)
        abort();
    if (c->log_level < KS_LOG_ERROR || c->log_level > KS_LOG_DEBUG ||
        (c->audit && c->log == NULL) || (c->stats_file != NULL && c->stats_file[0] != '/'))
        abort();
    if (c->module == NULL && c->tokens == NULL && c->clusters == NULL)
        abort();
    if (c->pin != NULL && is_secret(c->pin))
        abort();
}

/* A list of classes reads the same when it is written out. */
static void check_offload(const struct prov_config *c)
{
    struct prov_ctx ctx = {.config = {.offload = c->offload}};
    char line[256], why[512];
    unsigned first, again;

    for (first = 0; first < PROV_CLASSES && (c->offload & 1U << first) == 0; first++)
        ;
    if (first == PROV_CLASSES) /* "all -rsa-sign -...": there is no other way to say nothing */
        return;
    prov_policy_line(ctx.config.offload, (enum prov_operation)first, line, sizeof(line));
    if (strncmp(line, "offload = ", 10) != 0 ||
        !prov_policy_parse(line + 10, &again, why, sizeof(why)) || again != c->offload)
        abort();
}

static void check_token(const struct prov_config *c, char *why, size_t size)
{
    struct ks_token *token = prov_config_token("hsm", c, get, NULL, why, size);

    if (token == NULL)
        fuzz_must_explain(why);
    else
        why[0] = '\0';
    ks_token_free(token);
}

/* Check everything. `why` is empty if the configuration was taken. */
static void read_values(char *why, size_t size)
{
    struct prov_config config;

    why[0] = '\0';
    if (prov_config_parse(&config, get, NULL, why, size)) {
        check_limits(&config);
        check_offload(&config);
        check_token(&config, why, size);
    } else {
        fuzz_must_explain(why);
    }
    prov_config_clear(&config);
    if (ERR_peek_error() != 0) /* raises nothing */
        abort();
}

/* A dotted key belongs to a name of the lists, and none of our plain keys is one. */
static void check_keys(void)
{
    for (size_t i = 0; i < count; i++) {
        bool dotted = prov_config_dotted_key(lines[i].key, get, NULL);
        char name[80];

        if (!dotted)
            continue;
        snprintf(name, sizeof(name), "%.*s", (int)strcspn(lines[i].key, "."), lines[i].key);
        if (strchr(lines[i].key, '.') == NULL ||
            (get(NULL, "tokens") == NULL && get(NULL, "clusters") == NULL))
            abort();
        if (strstr(lines[i].key, ".members") != NULL &&
            !prov_config_lists(get(NULL, "clusters"), name))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char why[1024], again[1024];
    char *text = malloc(size + 1);

    if (text == NULL)
        abort();
    memcpy(text, data, size);
    text[size] = '\0';
    split(text);
    other_pin = false;
    read_values(why, sizeof(why));
    other_pin = true;
    read_values(again, sizeof(again));
    other_pin = false;
    if (strcmp(why, again) != 0)
        abort(); /* the text depends on the PIN */
    check_keys();
    free(text);
    return 0;
}
