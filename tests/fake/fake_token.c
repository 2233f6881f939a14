/* SPDX-License-Identifier: Apache-2.0
 *
 * Slots, tokens and sessions: their state, and its control. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_local.h"

static const CK_MECHANISM_TYPE all_mechanisms[] = {
    CKM_RSA_PKCS_KEY_PAIR_GEN, CKM_RSA_PKCS,         CKM_RSA_X_509,  CKM_RSA_PKCS_OAEP,
    CKM_RSA_PKCS_PSS,          CKM_EC_KEY_PAIR_GEN,  CKM_ECDSA,      CKM_ECDH1_DERIVE,
    CKM_ECDH1_COFACTOR_DERIVE, FAKE_CKM_EDWARDS_GEN, FAKE_CKM_EDDSA,
};

CK_RV fake_get_slot(CK_SLOT_ID id, struct fake_slot **slot)
{
    if (fake.server_down || id < fake.slot_base || id - fake.slot_base >= fake.slots)
        return CKR_SLOT_ID_INVALID;
    *slot = &fake.slot[id - fake.slot_base];
    return CKR_OK;
}

CK_RV fake_get_token(CK_SLOT_ID id, enum fake_function function, struct fake_slot **slot)
{
    CK_RV rv = fake_get_slot(id, slot);

    if (rv != CKR_OK)
        return rv;
    if ((*slot)->trouble != CKR_OK &&
        ((*slot)->trouble_in == function || (*slot)->trouble_in == FAKE_FUNCTIONS))
        return (*slot)->trouble;
    return (*slot)->present ? CKR_OK : CKR_TOKEN_NOT_PRESENT;
}

CK_RV fake_get_session(CK_SESSION_HANDLE handle, struct fake_session **session)
{
    struct fake_session *s = &fake.session[handle % FAKE_SESSIONS];

    if (handle == 0 || s->handle != handle)
        return CKR_SESSION_HANDLE_INVALID;
    if (!fake.slot[s->slot].present)
        return CKR_DEVICE_REMOVED;
    *session = s;
    return CKR_OK;
}

void fake_op_clear(struct fake_op *op)
{
    fake_material_free(op->material);
    memset(op, 0, sizeof(*op));
}

void fake_search_clear(struct fake_session *session)
{
    free(session->found);
    session->found = NULL;
    session->found_count = 0;
    session->found_next = 0;
    session->searching = false;
}

/* A token forgets the login with its last session (PKCS#11 v2.40, 5.6.5). */
void fake_close_session(struct fake_session *session, bool keep_login)
{
    struct fake_slot *slot = &fake.slot[session->slot];

    fake_session_objects_drop(session->handle);
    fake_op_clear(&session->op);
    fake_search_clear(session);
    slot->sessions--;
    if ((session->flags & CKF_RW_SESSION) != 0)
        slot->rw_sessions--;
    fake.sessions--;
    session->handle = 0;
    if (slot->sessions == 0 && !keep_login) {
        slot->user = false;
        slot->so = false;
    }
}

void fake_close_sessions(unsigned long slot, bool keep_login)
{
    for (size_t i = 0; i < FAKE_SESSIONS && fake.sessions > 0; i++) {
        struct fake_session *s = &fake.session[i];

        if (s->handle != 0 && (slot == ~0UL || s->slot == slot))
            fake_close_session(s, keep_login);
    }
    for (unsigned long i = 0; i < fake.slots && !keep_login; i++) {
        if (slot == ~0UL || slot == i) {
            fake.slot[i].user = false;
            fake.slot[i].so = false;
        }
    }
}

bool fake_sees_private(unsigned long slot)
{
    return fake.slot[slot].user || fake.slot[slot].no_login;
}

bool fake_has_mechanism(const struct fake_slot *slot, CK_MECHANISM_TYPE type)
{
    for (size_t i = 0; i < slot->mechanism_count; i++) {
        if (slot->mechanisms[i] == type)
            return true;
    }
    return false;
}

/* --- control --------------------------------------------------------------------------------- */

static struct fake_slot *slot_or_die(unsigned long slot)
{
    if (slot >= fake.slots)
        fake_die("no slot %lu", slot);
    return &fake.slot[slot];
}

static void set_text(char *out, size_t size, const char *text, const char *otherwise)
{
    const char *from = text != NULL ? text : otherwise;

    if (strlen(from) >= size)
        fake_die("\"%s\" is too long for a token", from);
    memcpy(out, from, strlen(from) + 1);
}

FAKE_EXPORT unsigned long fake_add_token(const struct fake_token *spec)
{
    static const struct fake_token defaults = {.label = NULL};
    const struct fake_token *t = spec != NULL ? spec : &defaults;
    struct fake_slot *s;
    char serial[17];
    unsigned long slot;

    fake_lock();
    if (fake.slots == FAKE_SLOTS)
        fake_die("more than %d tokens", FAKE_SLOTS);
    slot = fake.slots++;
    s = &fake.slot[slot];
    memset(s, 0, sizeof(*s));
    snprintf(serial, sizeof(serial), "%04lu", slot + 1);
    set_text(s->label, sizeof(s->label), t->label, "fake");
    set_text(s->serial, sizeof(s->serial), t->serial, serial);
    set_text(s->manufacturer, sizeof(s->manufacturer), t->manufacturer, "openssl-hsm tests");
    set_text(s->model, sizeof(s->model), t->model, "fake");
    set_text(s->pin, sizeof(s->pin), t->pin, "1234");
    s->pin_tries = t->pin_tries != 0 ? t->pin_tries : 10;
    s->sessions_max = t->sessions_max;
    s->rw_sessions_max = t->rw_sessions_max;
    s->no_login = t->no_login;
    s->protected_path = t->protected_path;
    s->write_protected = t->write_protected;
    s->pin_not_set = t->pin_not_set;
    s->not_initialized = t->not_initialized;
    s->present = true;
    memcpy(s->mechanisms, all_mechanisms, sizeof(all_mechanisms));
    s->mechanism_count = sizeof(all_mechanisms) / sizeof(all_mechanisms[0]);
    fake_unlock();
    return slot;
}

FAKE_EXPORT void fake_set_pin_failures(unsigned long slot, unsigned failures)
{
    fake_lock();
    slot_or_die(slot)->pin_failures = failures;
    fake_unlock();
}

FAKE_EXPORT unsigned fake_pin_attempts(void)
{
    unsigned n;

    fake_lock();
    n = fake.pin_attempts;
    fake_unlock();
    return n;
}

FAKE_EXPORT void fake_set_pin(unsigned long slot, const char *pin)
{
    fake_lock();
    set_text(slot_or_die(slot)->pin, sizeof(fake.slot[0].pin), pin, "");
    fake_unlock();
}

FAKE_EXPORT void fake_set_present(unsigned long slot, bool present)
{
    fake_lock();
    slot_or_die(slot)->present = present;
    if (!present)
        fake_close_sessions(slot, false);
    fake_unlock();
}

FAKE_EXPORT void fake_set_trouble(unsigned long slot, const char *function, unsigned long rv)
{
    fake_lock();
    slot_or_die(slot)->trouble = rv;
    slot_or_die(slot)->trouble_in =
        function != NULL ? fake_function_by_name(function) : FAKE_FUNCTIONS;
    fake_unlock();
}

FAKE_EXPORT void fake_set_random_max(unsigned bytes)
{
    fake_lock();
    fake.random_max = bytes;
    fake_unlock();
}

FAKE_EXPORT void fake_set_mechanism(unsigned long slot, unsigned long mechanism, bool listed)
{
    struct fake_slot *s;
    size_t n = 0;

    fake_lock();
    s = slot_or_die(slot);
    for (size_t i = 0; i < s->mechanism_count; i++) {
        if (s->mechanisms[i] != mechanism)
            s->mechanisms[n++] = s->mechanisms[i];
    }
    if (listed) {
        if (n == FAKE_MECHANISMS)
            fake_die("more than %d mechanisms", FAKE_MECHANISMS);
        s->mechanisms[n++] = mechanism;
    }
    s->mechanism_count = n;
    fake_unlock();
}

FAKE_EXPORT void fake_lose_sessions(bool keep_login)
{
    fake_lock();
    fake_close_sessions(~0UL, keep_login);
    fake_unlock();
}

FAKE_EXPORT void fake_lose_login(void)
{
    fake_lock();
    for (unsigned long i = 0; i < fake.slots; i++)
        fake.slot[i].user = false;
    fake_unlock();
}

FAKE_EXPORT void fake_lose_connection(void)
{
    fake_lock();
    fake.lost = true;
    fake_unlock();
}

FAKE_EXPORT void fake_set_server_down(bool down)
{
    fake_lock();
    fake.server_down = down;
    fake_unlock();
}

FAKE_EXPORT void fake_renumber_slots(void)
{
    fake_lock();
    fake.slot_base += 100;
    fake_unlock();
}

FAKE_EXPORT void fake_set_quirk(enum fake_quirk quirk, bool on)
{
    fake_lock();
    fake.quirk[quirk] = on;
    fake_unlock();
}

FAKE_EXPORT void fake_set_cheap(bool cheap)
{
    fake_lock();
    fake.cheap = cheap;
    fake_unlock();
}

FAKE_EXPORT unsigned fake_sessions(void)
{
    unsigned n;

    fake_lock();
    n = fake.sessions;
    fake_unlock();
    return n;
}

FAKE_EXPORT unsigned fake_peak_sessions(void)
{
    unsigned n;

    fake_lock();
    n = fake.peak_sessions;
    fake_unlock();
    return n;
}

FAKE_EXPORT bool fake_initialized(void)
{
    bool yes;

    fake_lock();
    yes = fake.initialized;
    fake_unlock();
    return yes;
}

FAKE_EXPORT bool fake_logged_in(unsigned long slot)
{
    bool yes;

    fake_lock();
    yes = slot_or_die(slot)->user;
    fake_unlock();
    return yes;
}

static unsigned count_sessions(bool (*is)(const struct fake_session *session))
{
    unsigned n = 0;

    fake_lock();
    for (size_t i = 0; i < FAKE_SESSIONS; i++) {
        if (fake.session[i].handle != 0 && is(&fake.session[i]))
            n++;
    }
    fake_unlock();
    return n;
}

static bool is_searching(const struct fake_session *session)
{
    return session->searching;
}

static bool is_operating(const struct fake_session *session)
{
    return session->op.kind != FAKE_OP_NONE;
}

FAKE_EXPORT unsigned fake_open_searches(void)
{
    return count_sessions(is_searching);
}

FAKE_EXPORT unsigned fake_open_operations(void)
{
    return count_sessions(is_operating);
}

FAKE_EXPORT struct fake_mechanism fake_last_mechanism(void)
{
    static _Thread_local unsigned char label[FAKE_PARAMETER];
    struct fake_mechanism mech;

    fake_lock();
    mech = fake.last.mech;
    memcpy(label, fake.last.label, sizeof(label));
    fake_unlock();
    mech.label = mech.label_len != 0 ? label : NULL;
    return mech;
}

FAKE_EXPORT const char *fake_init_args(void)
{
    return fake.has_init_args ? fake.init_args : NULL;
}

FAKE_EXPORT unsigned long fake_largest_random(void)
{
    unsigned long n;

    fake_lock();
    n = fake.largest_random;
    fake_unlock();
    return n;
}

FAKE_EXPORT unsigned long fake_last_session_flags(void)
{
    unsigned long flags;

    fake_lock();
    flags = fake.last_session_flags;
    fake_unlock();
    return flags;
}
