/* SPDX-License-Identifier: Apache-2.0
 *
 * ks_login.c - logging in, and which PINs are never sent again.
 */
#include <stdio.h>

#include "ks_internal.h"

static ks_status login_possible(struct ks_token *token, struct ks_error *err)
{
    const struct ks_token_facts *f = &token->facts;
    bool counted = token->doubtful && f->user_pin_count_low && !token->doubt_low;

    if (f->user_pin_locked)
        return ks_fail_token(err, token, KS_PIN_REFUSED,
                             "the user PIN is locked; the security officer must reset it");
    if (!f->user_pin_set)
        return ks_fail_token(err, token, KS_LOGIN, "no user PIN has been set on this token");
    if (f->user_pin_final_try)
        return ks_fail_token(err, token, KS_PIN_REFUSED,
                             "the token says that the next wrong PIN locks it, so no login was "
                             "tried; log in once by hand with the right PIN");
    if (!counted)
        return KS_SUCCESS;
    token->doubtful = false; /* said once; the next operation tries once */
    return ks_fail_token(err, token, KS_PIN_REFUSED,
                         "the last login failed without saying that the PIN was wrong, but the "
                         "token counts a wrong PIN since: it was not sent once more");
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

ks_status ks_login(struct ks_token *token, const struct ks_how *how, CK_SESSION_HANDLE session,
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
        token->doubtful = false;
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
    token->doubtful = code != KS_PIN_REFUSED;
    token->doubt_low = token->facts.user_pin_count_low;
    st = ks_fail_rv(err, token, "C_Login", rv, hint);
    if (st.code == KS_PIN_REFUSED && pin != NULL)
        ks_pin_refused(token->pin, token_hash(token));
    return st;
}

void ks_token_keep_pin(struct ks_token *token, const struct ks_how *how)
{
    char name[136], what[200];
    const char *pin = NULL;
    size_t len = 0;

    for (size_t i = 0; i < token->member_count; i++)
        ks_token_keep_pin(token->members[i], how);
    /* Whoever has the lock is about to log in, and reads it. */
    if (token->pin == NULL || token->forget_pin || pthread_mutex_trylock(&token->up_lock) != 0)
        return;
    (void)ks_pin_peek(token->pin, &pin, &len);
    if (len == 0) {
        /* its label is not known yet */
        snprintf(what, sizeof(what), "PIN for token '%s'",
                 ks_escape(name, sizeof(name), token->uri != NULL ? token->uri->text : token->name,
                           SIZE_MAX));
        (void)ks_pin_get(token->pin, how, what, &pin, &len, NULL);
    }
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
