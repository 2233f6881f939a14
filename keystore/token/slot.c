/* SPDX-License-Identifier: Apache-2.0
 *
 * slot.c - which slot a token is in, and what its module says of it.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../observe/log.h"
#include "answer.h"
#include "connect.h"

void ks_copy_padded(char *out, const unsigned char *in, size_t size)
{
    while (size > 0 && (in[size - 1] == ' ' || in[size - 1] == '\0'))
        size--;
    memcpy(out, in, size);
    out[size] = '\0';
}

void ks_slot_facts(struct ks_token_facts *facts, CK_SLOT_ID slot, const CK_TOKEN_INFO *info)
{
    CK_ULONG max = info->ulMaxSessionCount;

    memset(facts, 0, sizeof(*facts));
    ks_copy_padded(facts->label, info->label, sizeof(info->label));
    ks_copy_padded(facts->manufacturer, info->manufacturerID, sizeof(info->manufacturerID));
    ks_copy_padded(facts->model, info->model, sizeof(info->model));
    ks_copy_padded(facts->serial, info->serialNumber, sizeof(info->serialNumber));
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
    pthread_mutex_lock(&token->pool.lock);
    // NOLINTNEXTLINE(bugprone-suspicious-memory-comparison,cert-exp42-c,cert-flp37-c)
    if (memcmp(&token->conn.facts, facts, sizeof(*facts)) != 0)
        token->conn.facts = *facts;
    pthread_mutex_unlock(&token->pool.lock);
}

bool ks_slot_empty(CK_RV rv)
{
    return rv == CKR_TOKEN_NOT_PRESENT || rv == CKR_TOKEN_NOT_RECOGNIZED ||
           rv == CKR_SLOT_ID_INVALID || rv == CKR_DEVICE_REMOVED;
}

/* What a scan of all slots has found. */
struct look {
    struct ks_token_facts found; /* the first that matches */
    unsigned matches;
    unsigned unread;        /* slots that could not be read */
    CK_SLOT_ID unread_slot; /* the first of them, and its answer */
    CK_RV unread_rv;
    CK_ULONG count;
};

static ks_status two_match(const struct ks_token *token, const struct ks_token_facts *one,
                           const struct ks_token_facts *two, struct ks_error *err)
{
    char a[136], b[136], sa[68], sb[68];

    return ks_fail_token(
        err, token, KS_TOKEN_AMBIGUOUS,
        "more than one token matches: '%s' (serial %s) and '%s' (serial %s); set token = "
        "pkcs11:token=...;serial=... in the provider's section",
        ks_escape(a, sizeof(a), one->label, SIZE_MAX),
        ks_escape(sa, sizeof(sa), one->serial, SIZE_MAX),
        ks_escape(b, sizeof(b), two->label, SIZE_MAX),
        ks_escape(sb, sizeof(sb), two->serial, SIZE_MAX));
}

/* Trouble with one slot is not the others': the scan goes on. */
static ks_status look_at(struct ks_token *token, CK_FUNCTION_LIST *fn, CK_SLOT_ID slot,
                         struct look *look, struct ks_error *err)
{
    struct ks_token_facts facts;
    CK_TOKEN_INFO info;
    CK_RV rv;

    memset(&info, 0, sizeof(info));
    rv = fn->C_GetTokenInfo(slot, &info);
    if (ks_slot_empty(rv))
        return KS_SUCCESS;
    if (rv != CKR_OK) {
        if (look->unread++ == 0) {
            look->unread_slot = slot;
            look->unread_rv = rv;
        }
        return KS_SUCCESS;
    }
    ks_slot_facts(&facts, slot, &info);
    if (!facts.initialized || (token->uri != NULL && !ks_uri_matches_token(token->uri, &info)))
        return KS_SUCCESS;
    if (look->matches++ > 0)
        return two_match(token, &look->found, &facts, err);
    look->found = facts;
    return KS_SUCCESS;
}

/* No token matches. If a slot could not be read the token may be in that one: then that slot's
 * failure is reported, and decides what is done. */
static ks_status none_matches(struct ks_token *token, const struct look *look, struct ks_error *err)
{
    char uri[300], hint[600];
    const char *wanted = token->uri != NULL
                             ? ks_escape(uri, sizeof(uri), token->uri->text, SIZE_MAX)
                             : "(any initialised token)";

    if (look->unread == 0)
        return ks_fail_token(err, token, KS_TOKEN_NOT_FOUND,
                             "no token of the module %s matches %s (%lu slots looked at; 'hsmkey "
                             "tokens' lists them)",
                             token->module->path, wanted, (unsigned long)look->count);
    snprintf(hint, sizeof(hint),
             "%u of %lu slots could not be read (slot %lu was the first), and none of the others "
             "has a token that matches %s ('hsmkey tokens' lists them)",
             look->unread, (unsigned long)look->count, (unsigned long)look->unread_slot, wanted);
    return ks_fail_rv(err, token, KS_C_GetTokenInfo, look->unread_rv, hint);
}

/* The one slot whose token the configuration names. Inside the gate. */
static ks_status find_slot(struct ks_token *token, CK_FUNCTION_LIST *fn, struct look *look,
                           struct ks_error *err)
{
    CK_SLOT_ID *slots = NULL;
    ks_status st = ks_answer_list(token, fn, KS_LIST_SLOTS, 0, 0, &slots, &look->count, err);

    if (!ks_ok(st))
        return st;
    if (look->count == 0) {
        free(slots);
        return ks_fail_token(err, token, KS_DEVICE,
                             "C_GetSlotList: the module %s shows no token at all: the HSM, or the "
                             "service behind the module, is down or not configured",
                             token->module->path);
    }
    for (CK_ULONG i = 0; i < look->count && ks_ok(st); i++)
        st = look_at(token, fn, slots[i], look, err);
    free(slots);
    if (ks_ok(st) && look->matches == 0) {
        token->conn.half_seen = look->unread > 0 && look->unread < look->count;
        st = none_matches(token, look, err);
    }
    return st;
}

/* What could not be read may have been another token of that name. */
static void log_unread(const struct ks_token *token, const struct look *look)
{
    char slot[24], count[24];

    if (look->unread == 0)
        return;
    snprintf(slot, sizeof(slot), "%lu", (unsigned long)look->unread_slot);
    snprintf(count, sizeof(count), "%u", look->unread);
    ks_log_event(KS_LOG_WARN, "slots-unread", token->name, "slot", slot, "function",
                 ks_fn_name(KS_C_GetTokenInfo), "rv", ks_rv_name(look->unread_rv), "count", count,
                 NULL);
}

ks_status ks_slot_connect(struct ks_token *token, struct ks_error *err)
{
    struct look look = {.matches = 0};
    struct ks_token_facts *facts = &look.found;
    char label[136], *copy, *none = NULL;
    struct ks_gate gate;
    unsigned init_count;
    ks_status st;

    token->conn.half_seen = false;
    st = ks_module_ready(token->module, err);
    if (!ks_ok(st))
        return st;
    st = ks_gate_enter(&gate, token->module, err);
    if (!ks_ok(st))
        return st;
    init_count = atomic_load(&token->module->init_count);
    st = find_slot(token, token->module->fn, &look, err);
    ks_gate_leave(&gate);
    if (!ks_ok(st))
        return st;
    facts_store(token, facts);
    token->conn.slot = facts->slot;
    atomic_store(&token->conn.slot_init, init_count);
    log_unread(token, &look);
    copy = strdup(ks_escape(label, sizeof(label), facts->label, SIZE_MAX));
    if (copy != NULL && !atomic_compare_exchange_strong(&token->label, &none, copy))
        free(copy);
    return KS_SUCCESS;
}

CK_RV ks_slot_flags(CK_FUNCTION_LIST *fn, CK_SLOT_ID slot, struct ks_token_facts *facts)
{
    CK_TOKEN_INFO info = {0};
    CK_RV rv = fn->C_GetTokenInfo(slot, &info);

    if (rv == CKR_OK)
        ks_slot_facts(facts, slot, &info);
    return rv;
}

ks_status ks_slot_refresh(struct ks_token *token, struct ks_error *err)
{
    struct ks_token_facts facts = {0};
    struct ks_gate gate;
    ks_status st = ks_gate_enter_since(&gate, token, atomic_load(&token->conn.slot_init),
                                       KS_C_GetTokenInfo, err);
    CK_RV rv;

    if (!ks_ok(st))
        return st;
    rv = ks_slot_flags(token->module->fn, token->conn.slot, &facts);
    ks_gate_leave(&gate);
    if (rv != CKR_OK)
        return ks_fail_rv(err, token, KS_C_GetTokenInfo, rv, NULL);
    memcpy(facts.module_library, token->conn.facts.module_library, sizeof(facts.module_library));
    facts_store(token, &facts);
    return KS_SUCCESS;
}

void ks_token_copy_facts(struct ks_token *token, struct ks_token_facts *out)
{
    pthread_mutex_lock(&token->pool.lock);
    *out = token->conn.facts;
    pthread_mutex_unlock(&token->pool.lock);
}
