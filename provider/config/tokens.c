/* SPDX-License-Identifier: Apache-2.0
 *
 * tokens.c - from the configuration to tokens: one; several independent ones (tokens = a b);
 * and clusters of several that hold the same keys (clusters = web, web.members = east west). Named
 * tokens have their lines as NAME.KEY, and take what is general from the section itself.
 */
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "config.h"

#define NAME_MAX_LEN 32

/* What a named token may say for itself; what it does not say is the section's, but for what
 * belongs to one token alone. */
static const struct {
    const char *name;
    bool own; /* never taken from the section */
} token_keys[] = {
    {"pkcs11-module", false},
    {"pkcs11-init-args", false},
    {"token", true},
    {"pin", true},
    {"sessions", false},
    {"timeout-ms", false},
    {"recover-interval-ms", false},
    {"pin-keep", false},
};

static const char separators[] = " ,\t";

/* The next word of a list; its length, 0 at the end. */
static size_t next_word(const char **p)
{
    *p += strspn(*p, separators);
    return strcspn(*p, separators);
}

static bool list_has(const char *list, const char *word, size_t len)
{
    size_t n;

    for (const char *p = list; p != NULL && (n = next_word(&p)) > 0; p += n)
        if (n == len && memcmp(p, word, len) == 0)
            return true;
    return false;
}

bool prov_config_lists(const char *list, const char *name)
{
    return list_has(list, name, strlen(name));
}

bool prov_config_dotted_key(const char *key, const char *(*get)(void *arg, const char *key),
                            void *arg)
{
    const char *dot = strchr(key, '.'), *clusters = get(arg, "clusters");
    size_t len = dot != NULL ? (size_t)(dot - key) : 0, n;
    char members[NAME_MAX_LEN + 16];

    if (dot == NULL || len == 0)
        return false;
    if (strcmp(dot + 1, "members") == 0)
        return list_has(clusters, key, len);
    if (!list_has(get(arg, "tokens"), key, len)) {
        const char *p = clusters;

        while (p != NULL && (n = next_word(&p)) > 0 && n <= NAME_MAX_LEN) {
            snprintf(members, sizeof(members), "%.*s.members", (int)n, p);
            if (list_has(get(arg, members), key, len))
                break;
            p += n;
        }
        if (p == NULL || n == 0 || n > NAME_MAX_LEN)
            return false;
    }
    for (size_t i = 0; i < sizeof(token_keys) / sizeof(token_keys[0]); i++)
        if (strcmp(dot + 1, token_keys[i].name) == 0)
            return true;
    return false;
}

/* --- one token ------------------------------------------------------------------------------- */

struct named {
    const char *name;
    size_t len;
    const char *(*get)(void *arg, const char *key);
    void *arg;
};

static const char *named_value(void *arg, const char *key)
{
    const struct named *named = arg;
    char dotted[NAME_MAX_LEN + 64];
    const char *value;

    for (size_t i = 0; i < sizeof(token_keys) / sizeof(token_keys[0]); i++) {
        if (strcmp(key, token_keys[i].name) != 0)
            continue;
        snprintf(dotted, sizeof(dotted), "%.*s.%s", (int)named->len, named->name, key);
        value = named->get(named->arg, dotted);
        if (prov_config_unset(dotted, value))
            value = NULL;
        return value != NULL || token_keys[i].own ? value : named->get(named->arg, key);
    }
    return NULL;
}

const char *prov_config_of_token(const char *name, const char *key,
                                 const char *(*get)(void *arg, const char *key), void *arg)
{
    struct named named = {.name = name, .len = strlen(name), .get = get, .arg = arg};

    return named_value(&named, key);
}

static struct ks_token *make_token(const char *name, const struct prov_config *config, char *why,
                                   size_t why_size)
{
    struct ks_token_config tc = {
        .name = name,
        .module = config->module,
        .init_args = config->init_args,
        .token = config->token,
        .pin = config->pin,
        .sessions = config->sessions,
        .forget_pin = config->forget_pin,
        .timeout_ms = config->timeout_ms,
        .recover_ms = config->recover_ms,
    };
    struct ks_token *token = NULL;
    struct ks_error err;

    if (!ks_ok(ks_token_new(&tc, &token, &err))) {
        snprintf(why, why_size, "%s", err.text);
        return NULL;
    }
    return token;
}

static struct ks_token *make_named(const struct named *named, char *why, size_t why_size)
{
    struct prov_config config;
    struct ks_token *token = NULL;
    char name[NAME_MAX_LEN + 1], reason[512];

    snprintf(name, sizeof(name), "%.*s", (int)named->len, named->name);
    if (prov_config_parse(&config, named_value, (void *)named, reason, sizeof(reason)))
        token = make_token(name, &config, reason, sizeof(reason));
    if (token == NULL)
        snprintf(why, why_size, "%s: %s", name, reason);
    prov_config_clear(&config);
    return token;
}

/* --- lists ----------------------------------------------------------------------------------- */

struct list {
    struct ks_token *tokens[KS_GROUP_MAX];
    size_t count;
};

static void list_free(struct list *list)
{
    while (list->count > 0)
        ks_token_free(list->tokens[--list->count]);
}

static int list_add(struct list *list, struct ks_token *token, char *why, size_t why_size)
{
    if (token == NULL)
        return 0;
    if (list->count == KS_GROUP_MAX) {
        snprintf(why, why_size, "more than %d tokens", KS_GROUP_MAX);
        ks_token_free(token);
        return 0;
    }
    list->tokens[list->count++] = token;
    return 1;
}

static int good_name(const char *name, size_t len, char *why, size_t why_size)
{
    char shown[80];

    for (size_t i = 0; i < len; i++) {
        const char c = name[i];

        if (len > NAME_MAX_LEN || !((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                                    (c >= '0' && c <= '9') || c == '-' || c == '_')) {
            snprintf(why, why_size,
                     "\"%s\" is no name for a token: letters, digits, - and _, at most %d",
                     ks_escape(shown, sizeof(shown), name, len), NAME_MAX_LEN);
            return 0;
        }
    }
    return 1;
}

/* The tokens that `value` names, in order, each once. */
static int add_tokens(struct list *list, const char *value, struct named *named, char *why,
                      size_t why_size)
{
    size_t n;

    for (const char *p = value; (n = next_word(&p)) > 0; p += n) {
        named->name = p;
        named->len = n;
        if (!good_name(p, n, why, why_size))
            return 0;
        if (list_has(p + n, p, n)) {
            snprintf(why, why_size, "%.*s is listed twice", (int)n, p);
            return 0;
        }
        if (!list_add(list, make_named(named, why, why_size), why, why_size))
            return 0;
    }
    return 1;
}

static struct ks_token *make_group(const char *name, enum ks_group kind, struct list *list,
                                   char *why, size_t why_size)
{
    struct ks_token *group = NULL;
    struct ks_error err;

    if (!ks_ok(ks_token_group(name, kind, list->tokens, list->count, &group, &err))) {
        snprintf(why, why_size, "%s", err.text);
        group = NULL;
    }
    list_free(list);
    return group;
}

static int add_clusters(struct list *list, const char *value, struct named *named, char *why,
                        size_t why_size)
{
    char name[NAME_MAX_LEN + 1], key[NAME_MAX_LEN + 16];
    const char *members;
    size_t n;

    for (const char *p = value; (n = next_word(&p)) > 0; p += n) {
        struct list inner = {.count = 0};

        if (!good_name(p, n, why, why_size))
            return 0;
        snprintf(name, sizeof(name), "%.*s", (int)n, p);
        snprintf(key, sizeof(key), "%s.members", name);
        members = named->get(named->arg, key);
        if (members == NULL || members[strspn(members, separators)] == '\0') {
            snprintf(why, why_size, "cluster %s: add \"%s = NAME NAME ...\"", name, key);
            return 0;
        }
        if (!add_tokens(&inner, members, named, why, why_size)) {
            list_free(&inner);
            return 0;
        }
        if (!list_add(list, make_group(name, KS_GROUP_CLUSTER, &inner, why, why_size), why,
                      why_size))
            return 0;
    }
    return 1;
}

struct ks_token *prov_config_token(const char *name, const struct prov_config *config,
                                   const char *(*get)(void *arg, const char *key), void *arg,
                                   char *why, size_t why_size)
{
    struct named named = {.get = get, .arg = arg};
    struct list list = {.count = 0};
    struct ks_token *only;

    if (config->tokens == NULL && config->clusters == NULL)
        return make_token(name, config, why, why_size);
    if (config->token != NULL || config->pin != NULL) {
        snprintf(why, why_size,
                 "with tokens or clusters, token and pin belong to each token: write NAME.token "
                 "and NAME.pin; an empty \"pin =\" takes back that of an included file");
        return NULL;
    }
    if ((config->tokens != NULL && !add_tokens(&list, config->tokens, &named, why, why_size)) ||
        (config->clusters != NULL &&
         !add_clusters(&list, config->clusters, &named, why, why_size))) {
        list_free(&list);
        return NULL;
    }
    if (list.count == 1) {
        only = list.tokens[0];
        return only;
    }
    return make_group(name, KS_GROUP_SET, &list, why, why_size);
}
