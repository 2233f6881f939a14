/* SPDX-License-Identifier: Apache-2.0
 *
 * ks_token.c - tokens: which slot, login, up and down.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ks_internal.h"

/* How long an operation without a time limit waits before a module is initialised anew. */
#define WAIT_MAX_NS 1000000000U

static struct ks_token *tokens; /* registry lock */
static _Atomic uint64_t epochs;

uint64_t ks_epoch_new(void)
{
    return atomic_fetch_add(&epochs, 1) + 1;
}

const char *ks_token_label(const struct ks_token *token)
{
    const char *label = atomic_load(&token->label);

    return label != NULL ? label : "";
}

struct ks_token *ks_tokens_locked(void)
{
    return tokens;
}

/* --- handles --------------------------------------------------------------------------------- */

static void locks_init(struct ks_token *token)
{
    pthread_condattr_t attr;

    pthread_mutex_init(&token->up_lock, NULL);
    pthread_mutex_init(&token->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&token->freed, &attr);
    pthread_condattr_destroy(&attr);
}

void ks_tokens_forked(void)
{
    for (struct ks_token *t = tokens; t != NULL; t = t->next) {
        locks_init(t);
        /* calls of the parent's threads */
        atomic_store(&t->stuck, 0);
        atomic_store(&t->in_flight, 0);
        atomic_store(&t->lost, false);
        atomic_store(&t->probing, false);
        atomic_store(&t->probe_ns, 0);
    }
    ks_stats_forked(tokens);
    ks_workers_forked();
    ks_pins_forked();
}

static void token_destroy(struct ks_token *token)
{
    if (token == NULL)
        return;
    for (size_t i = 0; i < token->member_count; i++)
        ks_token_free(token->members[i]);
    free(token->members);
    ks_module_put(token->module);
    ks_uri_free(token->uri);
    ks_pin_free(token->pin);
    pthread_cond_destroy(&token->freed);
    pthread_mutex_destroy(&token->lock);
    pthread_mutex_destroy(&token->up_lock);
    free(token->mechanisms);
    free(token->idle);
    free(token->name);
    free(atomic_load(&token->label));
    ks_stats_clear(&token->stats);
    free(token);
}

static ks_status token_make(const struct ks_token_config *config, struct ks_token **out,
                            struct ks_error *err)
{
    struct ks_token *token = calloc(1, sizeof(*token));
    ks_status st;

    if (token == NULL)
        return ks_no_memory(err);
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

static bool same_token(const struct ks_token *a, const struct ks_token *b)
{
    if (a->members != NULL || a->module != b->module || (a->uri == NULL) != (b->uri == NULL))
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

ks_status ks_token_group(const char *name, enum ks_group kind, struct ks_token *const members[],
                         size_t count, struct ks_token **out, struct ks_error *err)
{
    struct ks_token *token;

    if (count == 0 || count > KS_GROUP_MAX)
        return ks_fail(err, KS_CONFIG, "%s: needs 1 to %d tokens", name, KS_GROUP_MAX);
    token = calloc(1, sizeof(*token));
    if (token == NULL)
        return ks_no_memory(err);
    locks_init(token);
    token->refs = 1;
    token->group = kind;
    token->name = strdup(name);
    token->members = calloc(count, sizeof(struct ks_token *));
    if (token->name == NULL || token->members == NULL) {
        token_destroy(token);
        return ks_no_memory(err);
    }
    for (; token->member_count < count; token->member_count++)
        token->members[token->member_count] = ks_token_ref(members[token->member_count]);
    ks_registry_lock();
    token->next = tokens;
    tokens = token;
    ks_registry_unlock();
    *out = token;
    return KS_SUCCESS;
}

ks_status ks_token_new(const struct ks_token_config *config, struct ks_token **out,
                       struct ks_error *err)
{
    struct ks_token *fresh = NULL, *t;
    ks_status st = token_make(config, &fresh, err);

    if (!ks_ok(st) || fresh == NULL)
        return st;
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
        if (token->members == NULL)
            ks_session_close_idle(token);
        token_destroy(token);
    }
}

/* --- slots ----------------------------------------------------------------------------------- */

static void copy_padded(char *out, const unsigned char *in, size_t size)
{
    while (size > 0 && (in[size - 1] == ' ' || in[size - 1] == '\0'))
        size--;
    memcpy(out, in, size);
    out[size] = '\0';
}

static void facts_fill(struct ks_token_facts *facts, CK_SLOT_ID slot, const CK_TOKEN_INFO *info)
{
    CK_ULONG max = info->ulMaxSessionCount;

    memset(facts, 0, sizeof(*facts));
    copy_padded(facts->label, info->label, sizeof(info->label));
    copy_padded(facts->manufacturer, info->manufacturerID, sizeof(info->manufacturerID));
    copy_padded(facts->model, info->model, sizeof(info->model));
    copy_padded(facts->serial, info->serialNumber, sizeof(info->serialNumber));
    facts->slot = slot;
    facts->initialized = (info->flags & CKF_TOKEN_INITIALIZED) != 0;
    facts->login_required = (info->flags & CKF_LOGIN_REQUIRED) != 0;
    facts->user_pin_set = (info->flags & CKF_USER_PIN_INITIALIZED) != 0;
    facts->user_pin_count_low = (info->flags & CKF_USER_PIN_COUNT_LOW) != 0;
    facts->user_pin_final_try = (info->flags & CKF_USER_PIN_FINAL_TRY) != 0;
    facts->user_pin_locked = (info->flags & CKF_USER_PIN_LOCKED) != 0;
    facts->protected_path = (info->flags & CKF_PROTECTED_AUTHENTICATION_PATH) != 0;
    facts->write_protected = (info->flags & CKF_WRITE_PROTECTED) != 0;
    if (max != CK_UNAVAILABLE_INFORMATION && max != CK_EFFECTIVELY_INFINITE)
        facts->sessions_max = max;
}

/* Only a change is written: others may be reading what stays the same. */
static void facts_store(struct ks_token *token, const struct ks_token_facts *facts)
{
    /* all of it was zeroed before, padding too */
    pthread_mutex_lock(&token->lock);
    // NOLINTNEXTLINE(bugprone-suspicious-memory-comparison,cert-exp42-c,cert-flp37-c)
    if (memcmp(&token->facts, facts, sizeof(*facts)) != 0)
        token->facts = *facts;
    pthread_mutex_unlock(&token->lock);
}

/* All slots with a token; freed by the caller. Inside the gate. */
static CK_RV slot_list(CK_FUNCTION_LIST *fn, CK_SLOT_ID **out, CK_ULONG *count)
{
    CK_SLOT_ID *slots = NULL;
    CK_RV rv;

    do {
        *count = 0;
        rv = fn->C_GetSlotList(CK_TRUE, NULL, count);
        if (rv != CKR_OK || *count == 0)
            break;
        free(slots);
        slots = calloc(*count, sizeof(*slots));
        if (slots == NULL)
            return CKR_HOST_MEMORY;
        rv = fn->C_GetSlotList(CK_TRUE, slots, count);
    } while (rv == CKR_BUFFER_TOO_SMALL); /* a token was plugged in meanwhile */
    if (rv != CKR_OK || *count == 0) {
        free(slots);
        slots = NULL;
    }
    *out = slots;
    return rv;
}

static bool token_gone(CK_RV rv)
{
    return rv == CKR_TOKEN_NOT_PRESENT || rv == CKR_TOKEN_NOT_RECOGNIZED ||
           rv == CKR_SLOT_ID_INVALID || rv == CKR_DEVICE_REMOVED;
}

/* The one slot whose token the configuration names. Inside the gate. */
static ks_status find_slot(struct ks_token *token, CK_FUNCTION_LIST *fn,
                           struct ks_token_facts *facts, struct ks_error *err)
{
    char a[136], b[136], sa[68], sb[68];
    CK_SLOT_ID *slots = NULL;
    CK_ULONG count = 0;
    unsigned matches = 0;
    ks_status st = KS_SUCCESS;
    CK_TOKEN_INFO info;
    CK_RV rv = slot_list(fn, &slots, &count);

    if (rv != CKR_OK)
        return ks_fail_rv(err, token, "C_GetSlotList", rv, NULL);
    if (count == 0)
        return ks_fail_token(err, token, KS_DEVICE,
                             "C_GetSlotList: the module %s shows no token at all: the HSM, or the "
                             "service behind the module, is down or not configured",
                             token->module->path);
    for (CK_ULONG i = 0; i < count && ks_ok(st); i++) {
        struct ks_token_facts these;

        memset(&info, 0, sizeof(info));
        rv = fn->C_GetTokenInfo(slots[i], &info);
        if (token_gone(rv))
            continue;
        if (rv != CKR_OK) {
            st = ks_fail_rv(err, token, "C_GetTokenInfo", rv, NULL);
            break;
        }
        facts_fill(&these, slots[i], &info);
        if (!these.initialized || (token->uri != NULL && !ks_uri_matches_token(token->uri, &info)))
            continue;
        if (matches++ == 0) {
            *facts = these;
            continue;
        }
        st = ks_fail_token(
            err, token, KS_TOKEN_AMBIGUOUS,
            "more than one token matches: '%s' (serial %s) and '%s' (serial %s); set token = "
            "pkcs11:token=...;serial=... in the provider's section",
            ks_escape(a, sizeof(a), facts->label, SIZE_MAX),
            ks_escape(sa, sizeof(sa), facts->serial, SIZE_MAX),
            ks_escape(b, sizeof(b), these.label, SIZE_MAX),
            ks_escape(sb, sizeof(sb), these.serial, SIZE_MAX));
    }
    free(slots);
    if (ks_ok(st) && matches == 0)
        st = ks_fail_token(err, token, KS_TOKEN_NOT_FOUND,
                           "no token of the module %s matches %s (%lu slots looked at; 'hsmkey "
                           "tokens' lists them)",
                           token->module->path,
                           token->uri != NULL ? ks_escape(a, sizeof(a), token->uri->text, SIZE_MAX)
                                              : "(any initialised token)",
                           (unsigned long)count);
    return st;
}

/* --- login ----------------------------------------------------------------------------------- */

static ks_status login_possible(struct ks_token *token, struct ks_error *err)
{
    const struct ks_token_facts *f = &token->facts;

    if (f->user_pin_locked)
        return ks_fail_token(err, token, KS_PIN_REFUSED,
                             "the user PIN is locked; the security officer must reset it");
    if (!f->user_pin_set)
        return ks_fail_token(err, token, KS_LOGIN, "no user PIN has been set on this token");
    if (f->user_pin_final_try)
        return ks_fail_token(err, token, KS_PIN_REFUSED,
                             "the token says that the next wrong PIN locks it, so no login was "
                             "tried; log in once by hand with the right PIN");
    return KS_SUCCESS;
}

/* What a PIN is refused for: FNV-1a of module, serial number and label. */
static uint64_t token_hash(const struct ks_token *token)
{
    const char *const parts[] = {token->module->key, token->facts.serial, token->facts.label};
    uint64_t hash = 0xcbf29ce484222325U;

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        for (const char *p = parts[i]; *p != '\0'; p++)
            hash = (hash ^ (unsigned char)*p) * 0x100000001b3U;
        hash = (hash ^ 0xffU) * 0x100000001b3U;
    }
    return hash;
}

/* Log in on `session`. Holds up_lock; outside the gate, for a person may be asked. */
static ks_status login(struct ks_token *token, const struct ks_how *how, CK_SESSION_HANDLE session,
                       struct ks_error *err)
{
    char label[136], what[200];
    const char *pin = NULL, *hint = NULL;
    enum ks_rv_class class;
    enum ks_code code;
    struct ks_gate gate;
    struct ks_error why;
    size_t len = 0;
    ks_status st;
    CK_RV rv;

    if (!token->facts.login_required)
        return KS_SUCCESS;
    if (!token->facts.protected_path) {
        if (token->pin == NULL)
            return KS_SUCCESS; /* public objects only; finding no key says so */
        st = login_possible(token, err);
        if (!ks_ok(st))
            return st;
        snprintf(what, sizeof(what), "PIN for token '%s'",
                 ks_escape(label, sizeof(label), token->facts.label, SIZE_MAX));
        st = ks_pin_get(token->pin, how, what, &pin, &len, &why);
        if (!ks_ok(st))
            return ks_fail_token(err, token, st.code, "%s", why.text);
        if (ks_pin_was_refused(token_hash(token), pin, len)) {
            ks_pin_outdated(token->pin);
            return ks_fail_token(err, token, KS_PIN_REFUSED,
                                 "the token refused this PIN before, so it was not sent again "
                                 "(tokens lock); correct what pin names");
        }
    }
    st = ks_gate_enter(&gate, token->module, err);
    if (!ks_ok(st))
        return st;
    /* A NULL PIN crashes some modules: only for a protected authentication path. */
    rv = token->module->fn->C_Login(session, CKU_USER, (CK_UTF8CHAR *)pin, len);
    ks_gate_leave(&gate);
    if (rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN) {
        ks_log_call(KS_LOG_INFO, "login", token, NULL, rv);
        if (token->forget_pin && token->pin != NULL)
            ks_pin_forget(token->pin);
        return KS_SUCCESS;
    }
    ks_log_call(KS_LOG_ERROR, "login-failed", token, "C_Login", rv);
    ks_classify("C_Login", rv, &code, &class);
    if (pin == NULL)
        hint = "the token's own PIN pad or service refused";
    else if (code == KS_PIN_REFUSED)
        hint = "this PIN is not sent again by this process; check pin in the provider's section";
    st = ks_fail_rv(err, token, "C_Login", rv, hint);
    if (st.code == KS_PIN_REFUSED && pin != NULL)
        ks_pin_refused(token->pin, token_hash(token));
    return st;
}

void ks_token_keep_pin(struct ks_token *token)
{
    const char *pin = NULL;
    size_t len = 0;

    for (size_t i = 0; i < token->member_count; i++)
        ks_token_keep_pin(token->members[i]);
    /* Whoever has the lock is about to log in, and reads it. */
    if (token->pin == NULL || token->forget_pin || pthread_mutex_trylock(&token->up_lock) != 0)
        return;
    (void)ks_pin_peek(token->pin, &pin, &len);
    if (len == 0)
        (void)ks_pin_get(token->pin, NULL, "", &pin, &len, NULL);
    pthread_mutex_unlock(&token->up_lock);
}

CK_RV ks_token_context_login(struct ks_token *token, CK_SESSION_HANDLE session)
{
    const char *pin = NULL;
    enum ks_rv_class class;
    enum ks_code code;
    size_t len = 0;
    CK_RV rv;

    if (!token->facts.protected_path &&
        (token->pin == NULL || !ks_pin_peek(token->pin, &pin, &len)))
        return CKR_USER_NOT_LOGGED_IN;
    rv = token->module->fn->C_Login(session, CKU_CONTEXT_SPECIFIC, (CK_UTF8CHAR *)pin, len);
    ks_classify("C_Login", rv, &code, &class);
    if (code == KS_PIN_REFUSED && pin != NULL)
        ks_pin_refused(token->pin, token_hash(token));
    return rv;
}

/* --- up and down ----------------------------------------------------------------------------- */

bool ks_token_up_locked(const struct ks_token *token)
{
    return token->epoch != 0 && token->generation == ks_generation() &&
           token->init_count ==
               atomic_load_explicit(&token->module->init_count, memory_order_relaxed);
}

static bool is_up(struct ks_token *token)
{
    bool up;

    pthread_mutex_lock(&token->lock);
    up = ks_token_up_locked(token);
    pthread_mutex_unlock(&token->lock);
    return up;
}

static ks_status connect_slot(struct ks_token *token, struct ks_error *err)
{
    struct ks_token_facts facts = {0};
    char label[136], *copy, *none = NULL;
    struct ks_gate gate;
    CK_INFO info = {0};
    ks_status st;

    st = ks_module_ready(token->module, err);
    if (!ks_ok(st))
        return st;
    st = ks_gate_enter(&gate, token->module, err);
    if (!ks_ok(st))
        return st;
    st = find_slot(token, token->module->fn, &facts, err);
    if (ks_ok(st) && token->module->fn->C_GetInfo(&info) == CKR_OK)
        copy_padded(facts.module_library, info.libraryDescription, sizeof(info.libraryDescription));
    ks_gate_leave(&gate);
    if (!ks_ok(st))
        return st;
    facts_store(token, &facts);
    token->slot = facts.slot;
    copy = strdup(ks_escape(label, sizeof(label), facts.label, SIZE_MAX));
    if (copy != NULL && !atomic_compare_exchange_strong(&token->label, &none, copy))
        free(copy);
    return KS_SUCCESS;
}

static unsigned session_limit(const struct ks_token *token)
{
    unsigned limit = token->sessions != 0 ? token->sessions : KS_SESSIONS_DEFAULT;

    if (token->facts.sessions_max != 0 && token->facts.sessions_max < limit)
        limit = (unsigned)token->facts.sessions_max;
    return limit;
}

/* The first session, login, and everything that a new epoch needs. Holds up_lock. */
static ks_status bring_up(struct ks_token *token, const struct ks_how *how, struct ks_error *err)
{
    CK_SESSION_HANDLE session = CK_INVALID_HANDLE, *idle, *old_idle;
    unsigned limit, init_count;
    struct ks_gate gate;
    ks_status st;
    CK_RV rv;

    if (token->generation != ks_generation() && token->pin != NULL)
        ks_pin_forked(token->pin);
    st = connect_slot(token, err);
    if (!ks_ok(st))
        return st;
    init_count = atomic_load(&token->module->init_count);
    limit = session_limit(token);
    idle = calloc(limit, sizeof(*idle));
    if (idle == NULL)
        return ks_no_memory(err);
    st = ks_gate_enter(&gate, token->module, err);
    if (!ks_ok(st))
        goto fail;
    rv = token->module->fn->C_OpenSession(token->slot, CKF_SERIAL_SESSION, NULL, NULL, &session);
    ks_gate_leave(&gate);
    if (rv != CKR_OK) {
        st = ks_fail_rv(err, token, "C_OpenSession", rv, NULL);
        goto fail;
    }
    st = login(token, how, session, err);
    if (!ks_ok(st)) {
        if (ks_ok(ks_gate_enter(&gate, token->module, NULL))) {
            (void)token->module->fn->C_CloseSession(session);
            ks_gate_leave(&gate);
        }
        goto fail;
    }
    /* Now, so that no operation has to ask; whoever needs it asks again if this fails. */
    if (token->mechanisms == NULL)
        (void)ks_token_read_mechanisms(token, NULL);
    pthread_mutex_lock(&token->lock);
    old_idle = token->idle; /* freed later: a fork may come in between */
    token->idle = idle;
    token->idle[0] = session;
    token->idle_count = 1;
    token->open_count = 1;
    token->limit = limit;
    token->generation = ks_generation();
    token->init_count = init_count;
    token->age = ks_epoch_new();
    token->epoch = token->age;
    pthread_cond_broadcast(&token->freed);
    pthread_mutex_unlock(&token->lock);
    free(old_idle);
    ks_stats_token_up(token);
    return KS_SUCCESS;
fail:
    free(idle);
    return st;
}

/* Again where a new session was lost as quickly as the old ones, and after a pause for what
 * passes. Holds up_lock. */
static ks_status bring_up_patiently(struct ks_token *token, const struct ks_how *how,
                                    struct ks_error *err)
{
    struct timespec pause = {.tv_nsec = 5000000};
    enum ks_rv_class class;
    ks_status st;

    for (int tries = 0;; tries++) {
        st = bring_up(token, how, err);
        if (ks_ok(st) || tries == 2)
            return st;
        class = ks_class_of_error(err);
        if (class == KS_RETRY) {
            if (how != NULL && how->deadline_ns != 0 &&
                ks_now_ns() + (uint64_t)pause.tv_nsec >= how->deadline_ns)
                return st;
            nanosleep(&pause, NULL);
            pause.tv_nsec *= 2;
        } else if (class != KS_SESSION_LOST) {
            return st;
        }
    }
}

/* May it be different if the module looks again? A device that is gone; a token that was there
 * before; or a module that has only just started: SoftHSM, for one, rewrites a token's file at
 * every login, and a process that starts in between sees no token, for ever. */
static bool may_come_back(const struct ks_token *token, ks_status st, bool fresh)
{
    return st.code == KS_DEVICE ||
           (st.code == KS_TOKEN_NOT_FOUND && (fresh || ks_token_label(token)[0] != '\0'));
}

/* A module that was initialised anew, served, and lost its device again within the interval: wait
 * for the rest of it, if there is time. One that has not served since is down; no use to wait. */
static void wait_for_interval(struct ks_token *token, const struct ks_how *how)
{
    uint64_t now = ks_now_ns(), at = ks_module_reinit_at(token->module, token->recover_ns);
    uint64_t until = how != NULL && how->deadline_ns != 0 ? how->deadline_ns : now + WAIT_MAX_NS;
    struct timespec pause;

    if (at <= now || at >= until)
        return;
    pause.tv_sec = (time_t)((at - now) / 1000000000U);
    pause.tv_nsec = (long)((at - now) % 1000000000U);
    nanosleep(&pause, NULL);
}

/* Holds up_lock. First without disturbing the module's other tokens; a module that has lost its
 * device (p11-kit's remote client has, when its server was away) says so again, and has to be
 * initialised anew. */
static ks_status bring_back(struct ks_token *token, const struct ks_how *how, struct ks_error *err)
{
    const struct timespec pause = {.tv_nsec = 20000000};
    unsigned seen = atomic_load(&token->module->init_count);
    bool served = token->generation == ks_generation() && token->init_count == seen &&
                  ks_token_started(token); /* not after a C_Initialize that failed */
    bool fresh = false;
    ks_status st;

    ks_session_close_idle(token);
    for (unsigned round = 0;; round++) {
        st = bring_up_patiently(token, how, err);
        if (round == 0)
            fresh = seen != atomic_load(&token->module->init_count);
        if (ks_ok(st) || !may_come_back(token, st, fresh) || round == (fresh ? 3 : 1))
            return st;
        if (fresh)
            nanosleep(&pause, NULL);
        else if (served)
            wait_for_interval(token, how);
        seen = atomic_load(&token->module->init_count);
        if (!ks_ok(ks_module_reinit(token->module, seen, fresh ? 0 : token->recover_ns, NULL)))
            return st;
    }
}

/* Another thread may be inside the module with the lock, for as long as that takes. */
static bool lock_up(struct ks_token *token, const struct ks_how *how)
{
    struct timespec until;

    if (how == NULL || how->deadline_ns == 0)
        return pthread_mutex_lock(&token->up_lock) == 0;
    until.tv_sec = (time_t)(how->deadline_ns / 1000000000U);
    until.tv_nsec = (long)(how->deadline_ns % 1000000000U);
    return pthread_mutex_clocklock(&token->up_lock, CLOCK_MONOTONIC, &until) == 0;
}

ks_status ks_token_up(struct ks_token *token, const struct ks_how *how, struct ks_error *err)
{
    ks_status st = KS_SUCCESS;
    struct ks_error why;

    if (err == NULL)
        err = &why;
    if (!lock_up(token, how))
        return ks_fail_token(err, token, KS_TIMEOUT,
                             "another thread has not finished connecting to the token in time");
    if (!is_up(token)) {
        st = bring_back(token, how, err);
        atomic_store(&token->lost, !ks_ok(st));
        /* what served here before did not lack anything */
        if (!ks_ok(st) && token->generation != ks_generation() && !token->module->not_after_fork)
            ks_note_child(err);
        if (!ks_ok(st))
            ks_log_event(KS_LOG_ERROR, "connect-failed", token, "text", err->text, NULL);
    }
    pthread_mutex_unlock(&token->up_lock);
    return st;
}

void ks_token_down(struct ks_token *token, uint64_t epoch)
{
    pthread_mutex_lock(&token->lock);
    if (token->epoch == epoch) {
        token->epoch = 0;
        token->age = 0;
        token->open_count = token->idle_count;
        pthread_cond_broadcast(&token->freed);
    }
    pthread_mutex_unlock(&token->lock);
}

static ks_status refresh_facts(struct ks_token *token, struct ks_error *err)
{
    struct ks_token_facts facts = {0};
    CK_TOKEN_INFO info = {0};
    struct ks_gate gate;
    ks_status st = ks_gate_enter(&gate, token->module, err);
    CK_RV rv;

    if (!ks_ok(st))
        return st;
    rv = token->module->fn->C_GetTokenInfo(token->slot, &info);
    ks_gate_leave(&gate);
    if (rv != CKR_OK)
        return ks_fail_rv(err, token, "C_GetTokenInfo", rv, NULL);
    facts_fill(&facts, token->slot, &info);
    memcpy(facts.module_library, token->facts.module_library, sizeof(facts.module_library));
    facts_store(token, &facts);
    return KS_SUCCESS;
}

ks_status ks_token_relogin(struct ks_token *token, const struct ks_how *how,
                           struct ks_session *session, bool *did, struct ks_error *err)
{
    ks_status st = KS_SUCCESS;
    bool done;

    pthread_mutex_lock(&token->up_lock);
    pthread_mutex_lock(&token->lock);
    done = token->epoch != session->epoch || token->generation != ks_generation();
    pthread_mutex_unlock(&token->lock);
    *did = !done;
    if (!done) {
        st = refresh_facts(token, err); /* others may have used up the tries meanwhile */
        if (ks_ok(st))
            st = login(token, how, session->handle, err);
        if (ks_ok(st)) {
            ks_session_close_idle(token);
            pthread_mutex_lock(&token->lock);
            token->epoch = token->age = session->age = ks_epoch_new();
            token->open_count = 1 + token->idle_count;
            pthread_mutex_unlock(&token->lock);
        }
    }
    pthread_mutex_unlock(&token->up_lock);
    return st;
}

static ks_status connect_step(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                              CK_OBJECT_HANDLE key)
{
    (void)op;
    (void)fn;
    (void)session;
    (void)key;
    return KS_SUCCESS; /* the session was what was wanted */
}

ks_status ks_token_connect(struct ks_token *token, const struct ks_how *how, struct ks_error *err)
{
    if (token->members != NULL)
        return ks_group_connect(token, how, err);
    if (is_up(token))
        return KS_SUCCESS;
    /* Within the token's time on a worker, unless there is somebody to ask for the PIN. */
    if (token->timeout_ns != 0 && (how == NULL || how->prompt == NULL)) {
        struct ks_op op = {.token = token, .step = connect_step, .how = how, .err = err};

        return ks_op_run(&op);
    }
    return ks_token_up(token, how, err);
}

bool ks_token_started(const struct ks_token *token)
{
    for (size_t i = 0; i < token->member_count; i++)
        if (ks_token_started(token->members[i]))
            return true;
    if (token->members != NULL)
        return false;
    return atomic_load(&token->module->initialized) != 0;
}

ks_status ks_token_facts(struct ks_token *token, const struct ks_how *how,
                         struct ks_token_facts *out, struct ks_error *err)
{
    ks_status st = KS_SUCCESS;

    if (token->members != NULL)
        return ks_group_facts(token, how, out, err);
    (void)how; /* no login, nobody to ask */
    if (is_up(token)) {
        pthread_mutex_lock(&token->lock);
        *out = token->facts;
        pthread_mutex_unlock(&token->lock);
        return KS_SUCCESS;
    }
    pthread_mutex_lock(&token->up_lock);
    if (!is_up(token))
        st = connect_slot(token, err);
    if (ks_ok(st))
        *out = token->facts;
    pthread_mutex_unlock(&token->up_lock);
    return st;
}

ks_status ks_token_matches(struct ks_token *token, const struct ks_how *how,
                           const struct ks_uri *uri, struct ks_error *err)
{
    struct ks_token_facts facts;
    char text[512];
    ks_status st;

    if (uri == NULL)
        return KS_SUCCESS;
    /* First with login, as whoever asks goes on to use the token: one look at the slots. */
    st = ks_token_connect(token, how, err);
    if (ks_ok(st))
        st = ks_token_facts(token, how, &facts, err);
    if (!ks_ok(st) || ks_uri_matches_facts(uri, &facts))
        return st;
    return ks_fail_token(err, token, KS_TOKEN_NOT_FOUND,
                         "%s names another token than the configured one",
                         ks_escape(text, sizeof(text), uri->text, SIZE_MAX));
}

/* --- listings -------------------------------------------------------------------------------- */

ks_status ks_module_tokens(const char *path, const char *init_args,
                           bool (*visit)(void *arg, const struct ks_token_facts *facts), void *arg,
                           struct ks_error *err)
{
    struct ks_module *module = NULL;
    CK_SLOT_ID *slots = NULL;
    CK_ULONG count = 0;
    struct ks_gate gate;
    CK_INFO library = {0};
    ks_status st;
    CK_RV rv;

    st = ks_module_get(path, init_args, &module, err);
    if (!ks_ok(st))
        return st;
    st = ks_module_ready(module, err);
    if (!ks_ok(st))
        goto out;
    st = ks_gate_enter(&gate, module, err);
    if (!ks_ok(st))
        goto out;
    rv = slot_list(module->fn, &slots, &count);
    (void)module->fn->C_GetInfo(&library);
    ks_gate_leave(&gate);
    if (rv != CKR_OK) {
        st = ks_fail_rv(err, NULL, "C_GetSlotList", rv, NULL);
        goto out;
    }
    for (CK_ULONG i = 0; i < count; i++) {
        struct ks_token_facts facts;
        CK_TOKEN_INFO info = {0};

        st = ks_gate_enter(&gate, module, err);
        if (!ks_ok(st))
            goto out;
        rv = module->fn->C_GetTokenInfo(slots[i], &info);
        ks_gate_leave(&gate);
        if (token_gone(rv))
            continue;
        if (rv != CKR_OK) {
            st = ks_fail_rv(err, NULL, "C_GetTokenInfo", rv, NULL);
            goto out;
        }
        facts_fill(&facts, slots[i], &info);
        copy_padded(facts.module_library, library.libraryDescription,
                    sizeof(library.libraryDescription));
        if (!visit(arg, &facts))
            break;
    }
out:
    free(slots);
    ks_module_put(module);
    return st;
}
