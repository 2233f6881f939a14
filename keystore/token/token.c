/* SPDX-License-Identifier: Apache-2.0
 *
 * token.c - handles for tokens, shared by all that mean the same one.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "../base/process.h"
#include "../observe/log.h"
#include "connect.h"
#include "kind.h"
#include "session.h"

static struct ks_token *tokens; /* registry lock */

struct ks_token *ks_tokens_unlocked(void)
{
    return tokens;
}

bool ks_token_others_up(const struct ks_token *token)
{
    bool any = false;

    ks_registry_lock();
    for (struct ks_token *t = tokens; t != NULL && !any; t = t->next)
        any = t != token && t->module == token->module && ks_token_is_up(t);
    ks_registry_unlock();
    return any;
}

/* --- handles --------------------------------------------------------------------------------- */

static void locks_init(struct ks_token *token)
{
    pthread_mutex_init(&token->conn.lock, NULL);
    pthread_mutex_init(&token->pool.lock, NULL);
}

static void forked(void)
{
    ks_secrets_forked();
    ks_pins_forked();
    ks_turns_forked();
    for (struct ks_token *t = tokens; t != NULL; t = t->next) {
        locks_init(t);
        t->pool.waiters = NULL; /* the parent's threads */
        /* calls of the parent's threads */
        atomic_store(&t->health.stuck, 0);
        atomic_store(&t->members.in_flight, 0);
        atomic_store(&t->health.lost, false);
        atomic_store(&t->health.probing, false);
        atomic_store(&t->health.probe_ns, 0);
        ks_stats_reset(&t->stats);
        /* It may have been changed since it was read, and a server's worker has the right to read
         * it only now. */
        if (t->pin != NULL && !t->forget_pin)
            ks_pin_renew(t->pin);
    }
    ks_stats_forked();
    ks_log_forked();
}

static const struct ks_process_part part = {
    .forking = ks_secrets_lock,
    .forked_parent = ks_secrets_unlock,
    .forked = forked,
    .end_last = ks_pins_end,
};

static void token_destroy(struct ks_token *token)
{
    if (token == NULL)
        return;
    if (token->kind != NULL && token->kind->clear != NULL)
        token->kind->clear(token);
    ks_module_put(token->module);
    ks_uri_free(token->uri);
    ks_pin_free(token->pin);
    pthread_mutex_destroy(&token->pool.lock);
    pthread_mutex_destroy(&token->conn.lock);
    free(token->mechs.list);
    free(token->pool.idle);
    free(token->name);
    free(atomic_load(&token->label));
    ks_stats_clear(&token->stats);
    free(token);
}

ks_status ks_token_make(const struct ks_token_config *config, struct ks_token **out,
                        struct ks_error *err)
{
    struct ks_token *token = calloc(1, sizeof(*token));
    ks_status st;

    if (token == NULL)
        return ks_no_memory(err);
    ks_process_add(&part);
    locks_init(token);
    token->refs = 1;
    token->sessions = config->sessions;
    token->forget_pin = config->forget_pin;
    token->timeout_ns = (uint64_t)config->timeout_ms * 1000000U;
    token->recover_ns =
        (config->recover_ms != 0 ? config->recover_ms : KS_RECOVER_MS_DEFAULT) * (uint64_t)1000000U;
    token->name = strdup(config->name != NULL ? config->name : "hsm");
    if (token->name == NULL) {
        st = ks_no_memory(err);
        goto fail;
    }
    if (config->module == NULL || config->module[0] == '\0') {
        st = ks_fail(err, KS_CONFIG, "no PKCS#11 module configured (pkcs11-module)");
        goto fail;
    }
    if (config->sessions > KS_SESSIONS_MAX) {
        st = ks_fail(err, KS_CONFIG, "sessions: must be 1 to %u", KS_SESSIONS_MAX);
        goto fail;
    }
    if (config->token != NULL) {
        st = ks_uri_parse(config->token, KS_URI_TOKEN, &token->uri, err);
        if (!ks_ok(st))
            goto fail;
    }
    if (config->pin != NULL) {
        st = ks_pin_new(config->pin, &token->pin, err);
        if (!ks_ok(st))
            goto fail;
    }
    st = ks_module_get(config->module, config->init_args, &token->module, err);
    if (!ks_ok(st))
        goto fail;
    *out = token;
    return KS_SUCCESS;
fail:
    token_destroy(token);
    return st;
}

/* A group has no module. */
static bool same_token(const struct ks_token *a, const struct ks_token *b)
{
    if (a->module != b->module || (a->uri == NULL) != (b->uri == NULL))
        return false;
    return a->uri == NULL || strcmp(a->uri->text, b->uri->text) == 0;
}

static bool same_settings(const struct ks_token *a, const struct ks_token *b)
{
    if (a->sessions != b->sessions || a->timeout_ns != b->timeout_ns ||
        a->recover_ns != b->recover_ns || a->forget_pin != b->forget_pin ||
        (a->pin == NULL) != (b->pin == NULL))
        return false;
    return a->pin == NULL || strcmp(ks_pin_source(a->pin), ks_pin_source(b->pin)) == 0;
}

ks_status ks_token_make_group(const char *name, enum ks_group group,
                              struct ks_token *const members[], size_t count,
                              const struct ks_kind *kind, struct ks_token **out,
                              struct ks_error *err)
{
    struct ks_token *token;

    if (count == 0 || count > KS_GROUP_MAX)
        return ks_fail(err, KS_CONFIG, "%s: needs 1 to %d tokens", name, KS_GROUP_MAX);
    token = calloc(1, sizeof(*token));
    if (token == NULL)
        return ks_no_memory(err);
    locks_init(token);
    token->refs = 1;
    token->members.group = group;
    token->kind = kind;
    token->name = strdup(name);
    token->members.list = calloc(count, sizeof(struct ks_token *));
    if (token->name == NULL || token->members.list == NULL) {
        token_destroy(token);
        return ks_no_memory(err);
    }
    for (; token->members.count < count; token->members.count++)
        token->members.list[token->members.count] = ks_token_ref(members[token->members.count]);
    ks_registry_lock();
    token->next = tokens;
    tokens = token;
    ks_registry_unlock();
    *out = token;
    return KS_SUCCESS;
}

ks_status ks_token_share(const struct ks_token_config *config, const struct ks_kind *kind,
                         struct ks_token **out, struct ks_error *err)
{
    struct ks_token *fresh = NULL, *t;
    ks_status st = ks_token_make(config, &fresh, err);

    if (!ks_ok(st) || fresh == NULL)
        return st;
    fresh->kind = kind;
    ks_registry_lock();
    for (t = tokens; t != NULL; t = t->next)
        if (same_token(t, fresh))
            break;
    if (t == NULL) {
        t = fresh;
        fresh = NULL;
        t->next = tokens;
        tokens = t;
    } else if (same_settings(t, fresh)) {
        t->refs++;
    } else {
        st = ks_fail(err, KS_CONFIG,
                     "the same token is in use in this process with another pin or sessions "
                     "setting: login and sessions are shared, so the settings must agree");
    }
    ks_registry_unlock();
    token_destroy(fresh);
    if (ks_ok(st))
        *out = t;
    return st;
}

struct ks_token *ks_token_ref(struct ks_token *token)
{
    ks_registry_lock();
    token->refs++;
    ks_registry_unlock();
    return token;
}

void ks_token_free(struct ks_token *token)
{
    struct ks_token **at;
    bool last;

    if (token == NULL)
        return;
    ks_registry_lock();
    last = --token->refs == 0;
    if (last) {
        for (at = &tokens; *at != NULL && *at != token; at = &(*at)->next)
            ;
        if (*at != NULL)
            *at = token->next;
    }
    ks_registry_unlock();
    if (last) {
        if (token->module != NULL)
            ks_session_close_idle(token);
        token_destroy(token);
    }
}
