/* SPDX-License-Identifier: Apache-2.0
 *
 * ks_slot.c - which slot a token is in, and what its module says of it.
 */
#include <stdlib.h>
#include <string.h>

#include "ks_answer.h"

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
    ks_status st;
    CK_TOKEN_INFO info;
    CK_RV rv;

    st = ks_answer_list(token, fn, KS_LIST_SLOTS, 0, 0, &slots, &count, err);
    if (!ks_ok(st))
        return st;
    if (count == 0) {
        free(slots);
        return ks_fail_token(err, token, KS_DEVICE,
                             "C_GetSlotList: the module %s shows no token at all: the HSM, or the "
                             "service behind the module, is down or not configured",
                             token->module->path);
    }
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

ks_status ks_slot_connect(struct ks_token *token, struct ks_error *err)
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

CK_RV ks_slot_flags(CK_FUNCTION_LIST *fn, CK_SLOT_ID slot, struct ks_token_facts *facts)
{
    CK_TOKEN_INFO info = {0};
    CK_RV rv = fn->C_GetTokenInfo(slot, &info);

    if (rv == CKR_OK)
        facts_fill(facts, slot, &info);
    return rv;
}

ks_status ks_slot_refresh(struct ks_token *token, struct ks_error *err)
{
    struct ks_token_facts facts = {0};
    struct ks_gate gate;
    ks_status st = ks_gate_enter(&gate, token->module, err);
    CK_RV rv;

    if (!ks_ok(st))
        return st;
    rv = ks_slot_flags(token->module->fn, token->slot, &facts);
    ks_gate_leave(&gate);
    if (rv != CKR_OK)
        return ks_fail_rv(err, token, "C_GetTokenInfo", rv, NULL);
    memcpy(facts.module_library, token->facts.module_library, sizeof(facts.module_library));
    facts_store(token, &facts);
    return KS_SUCCESS;
}

void ks_token_copy_facts(struct ks_token *token, struct ks_token_facts *out)
{
    pthread_mutex_lock(&token->lock);
    *out = token->facts;
    pthread_mutex_unlock(&token->lock);
}

static ks_status facts_direct(struct ks_op *op)
{
    ks_status st = KS_SUCCESS;

    if (!ks_token_lock_up(op->token, op->how))
        return ks_fail_token(op->err, op->token, KS_TIMEOUT,
                             "another thread has not finished connecting to the token in time");
    if (!ks_token_is_up(op->token))
        st = ks_token_find(op->token, op->how, op->err);
    if (ks_ok(st))
        ks_token_copy_facts(op->token, op->arg);
    pthread_mutex_unlock(&op->token->up_lock);
    return st;
}

ks_status ks_token_facts(struct ks_token *token, const struct ks_how *how,
                         struct ks_token_facts *out, struct ks_error *err)
{
    struct ks_op op = {.token = token,
                       .direct = facts_direct,
                       .arg = out,
                       .arg_size = sizeof(*out),
                       .how = how,
                       .err = err};

    if (token->members != NULL)
        return ks_group_facts(token, how, out, err);
    if (!ks_token_is_up(token))
        return ks_op_run_direct(&op);
    ks_token_copy_facts(token, out);
    return KS_SUCCESS;
}

ks_status ks_token_matches(struct ks_token *token, const struct ks_how *how,
                           const struct ks_uri *uri, struct ks_error *err)
{
    struct ks_token_facts facts;
    char text[512];
    ks_status st;

    if (uri == NULL)
        return KS_SUCCESS;
    /* First with login, as whoever asks goes on to use the token: one look at the slots. What it
     * saw holds even if another thread has found the sessions lost since. */
    st = ks_token_connect(token, how, err);
    if (ks_ok(st) && token->members != NULL)
        st = ks_group_facts(token, how, &facts, err);
    else if (ks_ok(st))
        ks_token_copy_facts(token, &facts);
    if (!ks_ok(st) || ks_uri_matches_facts(uri, &facts))
        return st;
    return ks_fail_token(err, token, KS_TOKEN_NOT_FOUND,
                         "%s names another token than the configured one",
                         ks_escape(text, sizeof(text), uri->text, SIZE_MAX));
}

/* --- listings -------------------------------------------------------------------------------- */

/* The tokens of a module; `all` is what the list owns. */
struct listing {
    struct ks_token_facts *all;
    size_t count;
};

static void listing_release(void *arg)
{
    struct listing *listing = arg;

    free(listing->all);
    listing->all = NULL;
}

static ks_status list_slot(struct ks_op *op, CK_SLOT_ID slot, const CK_INFO *library)
{
    CK_FUNCTION_LIST *fn = op->token->module->fn;
    struct listing *listing = op->arg;
    struct ks_token_facts *facts = &listing->all[listing->count];
    CK_TOKEN_INFO info = {0};
    struct ks_gate gate;
    ks_status st = ks_gate_enter(&gate, op->token->module, op->err);
    CK_RV rv;

    if (!ks_ok(st))
        return st;
    rv = fn->C_GetTokenInfo(slot, &info);
    ks_gate_leave(&gate);
    if (token_gone(rv))
        return KS_SUCCESS;
    if (rv != CKR_OK)
        return ks_fail_rv(op->err, NULL, "C_GetTokenInfo", rv, NULL);
    facts_fill(facts, slot, &info);
    copy_padded(facts->module_library, library->libraryDescription,
                sizeof(library->libraryDescription));
    listing->count++;
    return KS_SUCCESS;
}

static ks_status list_direct(struct ks_op *op)
{
    struct ks_module *module = op->token->module;
    struct listing *listing = op->arg;
    CK_SLOT_ID *slots = NULL;
    CK_ULONG count = 0;
    struct ks_gate gate;
    CK_INFO library = {0};
    ks_status st;

    st = ks_module_ready(module, op->err);
    if (ks_ok(st))
        st = ks_gate_enter(&gate, module, op->err);
    if (!ks_ok(st))
        return st;
    st = ks_answer_list(NULL, module->fn, KS_LIST_SLOTS, 0, 0, &slots, &count, op->err);
    (void)module->fn->C_GetInfo(&library);
    ks_gate_leave(&gate);
    if (!ks_ok(st))
        return st;
    listing->all = calloc(count + 1, sizeof(*listing->all));
    if (listing->all == NULL) {
        free(slots);
        return ks_no_memory(op->err);
    }
    for (CK_ULONG i = 0; i < count && ks_ok(st); i++)
        st = list_slot(op, slots[i], &library);
    free(slots);
    return st;
}

ks_status ks_module_tokens(const char *path, const char *init_args, unsigned timeout_ms,
                           bool (*visit)(void *arg, const struct ks_token_facts *facts), void *arg,
                           struct ks_error *err)
{
    /* of no token in particular: for the time limit */
    const struct ks_token_config config = {
        .name = path, .module = path, .init_args = init_args, .timeout_ms = timeout_ms};
    struct listing listing = {.all = NULL};
    struct ks_token *token = NULL;
    struct ks_op op = {.direct = list_direct,
                       .arg = &listing,
                       .arg_size = sizeof(listing),
                       .release = listing_release,
                       .err = err};
    ks_status st = ks_token_make(&config, &token, err);

    if (!ks_ok(st))
        return st;
    op.token = token;
    st = ks_op_run_direct(&op);
    for (size_t i = 0; ks_ok(st) && i < listing.count; i++)
        if (!visit(arg, &listing.all[i]))
            break;
    free(listing.all);
    ks_token_free(token);
    return st;
}
