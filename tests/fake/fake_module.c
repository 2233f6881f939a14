/* SPDX-License-Identifier: Apache-2.0
 *
 * C_ functions: the module, slots, tokens, sessions, login; and the function list. */
#include <stdlib.h>
#include <string.h>

#include "fake_local.h"

static void pad(unsigned char *out, size_t size, const char *text)
{
    memset(out, ' ', size);
    memcpy(out, text, strlen(text) < size ? strlen(text) : size);
}

/* --- module ---------------------------------------------------------------------------------- */

static CK_RV initialize(const CK_C_INITIALIZE_ARGS *args)
{
    fake.has_init_args = false;
    if (args != NULL && args->pReserved != NULL) {
        strncpy(fake.init_args, args->pReserved, sizeof(fake.init_args) - 1);
        fake.has_init_args = true;
    }
    if (fake.initialized)
        return CKR_CRYPTOKI_ALREADY_INITIALIZED;
    fake.initialized = true;
    fake.lost = false;
    fake_renumber_locked(fake.reinit_handles);
    return CKR_OK;
}

CK_RV C_Initialize(void *init_args)
{
    struct fake_call call;
    CK_RV rv = fake_enter(&call, FAKE_C_Initialize);

    if (rv == CKR_OK)
        rv = initialize(init_args);
    return fake_leave(&call, rv);
}

CK_RV C_Finalize(void *reserved)
{
    struct fake_call call;
    CK_RV rv = fake_enter(&call, FAKE_C_Finalize);

    if (rv == CKR_OK && reserved != NULL)
        rv = CKR_ARGUMENTS_BAD;
    if (rv == CKR_OK) {
        fake_close_sessions(~0UL, false);
        fake.initialized = false;
        fake.lost = false;
    }
    return fake_leave(&call, rv);
}

CK_RV C_GetInfo(CK_INFO *info)
{
    struct fake_call call;
    CK_RV rv = fake_enter(&call, FAKE_C_GetInfo);

    if (rv == CKR_OK) {
        memset(info, 0, sizeof(*info));
        info->cryptokiVersion.major = 2;
        info->cryptokiVersion.minor = 40;
        pad(info->manufacturerID, sizeof(info->manufacturerID), "openssl-hsm tests");
        pad(info->libraryDescription, sizeof(info->libraryDescription), "fake PKCS#11 module");
    }
    return fake_leave(&call, rv);
}

/* --- slots and tokens ------------------------------------------------------------------------ */

static CK_RV slot_list(bool with_token, CK_SLOT_ID *list, CK_ULONG *count)
{
    CK_ULONG n = 0;
    CK_SLOT_ID found[FAKE_SLOTS];

    for (unsigned long i = 0; i < fake.slots && !fake.server_down; i++) {
        if (fake.slot[i].present || !with_token)
            found[n++] = fake.slot_base + i;
    }
    if (list != NULL && *count < n) {
        *count = n;
        return CKR_BUFFER_TOO_SMALL;
    }
    if (list != NULL)
        memcpy(list, found, n * sizeof(found[0]));
    *count = n;
    return CKR_OK;
}

CK_RV C_GetSlotList(CK_BBOOL token_present, CK_SLOT_ID *list, CK_ULONG *count)
{
    struct fake_call call;
    CK_RV rv = fake_enter(&call, FAKE_C_GetSlotList);

    if (rv == CKR_OK)
        rv = slot_list(token_present != 0, list, count);
    return fake_leave(&call, rv);
}

CK_RV C_GetSlotInfo(CK_SLOT_ID id, CK_SLOT_INFO *info)
{
    struct fake_call call;
    struct fake_slot *slot;
    CK_RV rv = fake_enter(&call, FAKE_C_GetSlotInfo);

    if (rv == CKR_OK)
        rv = fake_get_slot(id, &slot);
    if (rv == CKR_OK) {
        memset(info, 0, sizeof(*info));
        pad(info->slotDescription, sizeof(info->slotDescription), "fake slot");
        pad(info->manufacturerID, sizeof(info->manufacturerID), "openssl-hsm tests");
        info->flags = CKF_REMOVABLE_DEVICE | (slot->present ? CKF_TOKEN_PRESENT : 0);
    }
    return fake_leave(&call, rv);
}

static CK_FLAGS token_flags(const struct fake_slot *slot)
{
    CK_FLAGS flags = CKF_RNG;

    if (!slot->no_login)
        flags |= CKF_LOGIN_REQUIRED;
    if (slot->protected_path)
        flags |= CKF_PROTECTED_AUTHENTICATION_PATH;
    if (slot->write_protected)
        flags |= CKF_WRITE_PROTECTED;
    if (!slot->pin_not_set)
        flags |= CKF_USER_PIN_INITIALIZED;
    if (!slot->not_initialized)
        flags |= CKF_TOKEN_INITIALIZED;
    if (slot->pin_failures >= slot->pin_tries)
        flags |= CKF_USER_PIN_LOCKED;
    else if (slot->pin_failures + 1 == slot->pin_tries)
        flags |= CKF_USER_PIN_FINAL_TRY;
    else if (slot->pin_failures != 0)
        flags |= CKF_USER_PIN_COUNT_LOW;
    return flags;
}

static void token_info(const struct fake_slot *slot, CK_TOKEN_INFO *info)
{
    memset(info, 0, sizeof(*info));
    pad(info->label, sizeof(info->label), slot->label);
    pad(info->manufacturerID, sizeof(info->manufacturerID), slot->manufacturer);
    pad(info->model, sizeof(info->model), slot->model);
    pad(info->serialNumber, sizeof(info->serialNumber), slot->serial);
    info->flags = token_flags(slot);
    /* 0 is CK_EFFECTIVELY_INFINITE */
    info->ulMaxSessionCount = slot->sessions_max;
    info->ulSessionCount = slot->sessions;
    info->ulMaxRwSessionCount = slot->rw_sessions_max;
    info->ulRwSessionCount = slot->rw_sessions;
    info->ulMaxPinLen = sizeof(slot->pin) - 1;
    info->ulMinPinLen = 1;
    info->ulTotalPublicMemory = CK_UNAVAILABLE_INFORMATION;
    info->ulFreePublicMemory = CK_UNAVAILABLE_INFORMATION;
    info->ulTotalPrivateMemory = CK_UNAVAILABLE_INFORMATION;
    info->ulFreePrivateMemory = CK_UNAVAILABLE_INFORMATION;
}

CK_RV C_GetTokenInfo(CK_SLOT_ID id, CK_TOKEN_INFO *info)
{
    struct fake_call call;
    struct fake_slot *slot;
    CK_RV rv = fake_enter(&call, FAKE_C_GetTokenInfo);

    if (rv == CKR_OK)
        rv = fake_get_token(id, FAKE_C_GetTokenInfo, &slot);
    if (rv == CKR_OK)
        token_info(slot, info);
    return fake_leave(&call, rv);
}

static CK_RV mechanism_list(const struct fake_slot *slot, CK_MECHANISM_TYPE *list, CK_ULONG *count)
{
    CK_ULONG n = slot->mechanism_count;
    bool fits = list == NULL || *count >= n;

    if (list != NULL && fits)
        memcpy(list, slot->mechanisms, n * sizeof(list[0]));
    *count = n;
    return fits ? CKR_OK : CKR_BUFFER_TOO_SMALL;
}

CK_RV C_GetMechanismList(CK_SLOT_ID id, CK_MECHANISM_TYPE *list, CK_ULONG *count)
{
    struct fake_call call;
    struct fake_slot *slot;
    CK_RV rv = fake_enter(&call, FAKE_C_GetMechanismList);

    if (rv == CKR_OK)
        rv = fake_get_token(id, FAKE_C_GetMechanismList, &slot);
    if (rv == CKR_OK)
        rv = mechanism_list(slot, list, count);
    return fake_leave(&call, rv);
}

static const struct {
    CK_MECHANISM_TYPE type;
    CK_MECHANISM_INFO info;
} mechanism_infos[] = {
    {CKM_RSA_PKCS_KEY_PAIR_GEN, {2048, 4096, CKF_HW | CKF_GENERATE_KEY_PAIR}},
    {CKM_RSA_PKCS, {2048, 4096, CKF_HW | CKF_SIGN | CKF_DECRYPT}},
    {CKM_RSA_X_509, {2048, 4096, CKF_HW | CKF_SIGN | CKF_DECRYPT}},
    {CKM_RSA_PKCS_OAEP, {2048, 4096, CKF_HW | CKF_DECRYPT}},
    {CKM_RSA_PKCS_PSS, {2048, 4096, CKF_HW | CKF_SIGN}},
    {CKM_EC_KEY_PAIR_GEN, {256, 521, CKF_HW | CKF_GENERATE_KEY_PAIR | CKF_EC_F_P}},
    {CKM_ECDSA, {256, 521, CKF_HW | CKF_SIGN | CKF_EC_F_P}},
    {CKM_ECDH1_DERIVE, {256, 521, CKF_HW | CKF_DERIVE | CKF_EC_F_P}},
    {CKM_ECDH1_COFACTOR_DERIVE, {256, 521, CKF_HW | CKF_DERIVE | CKF_EC_F_P}},
    {FAKE_CKM_EDWARDS_GEN, {255, 448, CKF_HW | CKF_GENERATE_KEY_PAIR}},
    {FAKE_CKM_EDDSA, {255, 448, CKF_HW | CKF_SIGN}},
};

static CK_RV mechanism_info(const struct fake_slot *slot, CK_MECHANISM_TYPE type,
                            CK_MECHANISM_INFO *info)
{
    if (!fake_has_mechanism(slot, type))
        return CKR_MECHANISM_INVALID;
    memset(info, 0, sizeof(*info));
    for (size_t i = 0; i < sizeof(mechanism_infos) / sizeof(mechanism_infos[0]); i++) {
        if (mechanism_infos[i].type == type)
            *info = mechanism_infos[i].info;
    }
    return CKR_OK;
}

CK_RV C_GetMechanismInfo(CK_SLOT_ID id, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *info)
{
    struct fake_call call;
    struct fake_slot *slot;
    CK_RV rv = fake_enter(&call, FAKE_C_GetMechanismInfo);

    if (rv == CKR_OK)
        rv = fake_get_token(id, FAKE_C_GetMechanismInfo, &slot);
    if (rv == CKR_OK)
        rv = mechanism_info(slot, type, info);
    return fake_leave(&call, rv);
}

/* --- sessions -------------------------------------------------------------------------------- */

static CK_RV open_session(CK_SLOT_ID id, CK_FLAGS flags, CK_SESSION_HANDLE *handle)
{
    struct fake_slot *slot;
    struct fake_session *s;
    CK_RV rv = fake_get_token(id, FAKE_C_OpenSession, &slot);

    fake.last_session_flags = flags;
    if (rv != CKR_OK)
        return rv;
    if (slot->not_initialized)
        return CKR_TOKEN_NOT_RECOGNIZED;
    if ((flags & CKF_SERIAL_SESSION) == 0)
        return CKR_SESSION_PARALLEL_NOT_SUPPORTED;
    if ((flags & CKF_RW_SESSION) != 0 && slot->write_protected)
        return CKR_TOKEN_WRITE_PROTECTED;
    if ((slot->sessions_max != 0 && slot->sessions >= slot->sessions_max) ||
        ((flags & CKF_RW_SESSION) != 0 && slot->rw_sessions_max != 0 &&
         slot->rw_sessions >= slot->rw_sessions_max) ||
        fake.sessions >= FAKE_SESSIONS - 1)
        return CKR_SESSION_COUNT;
    do
        fake.next_session++;
    while (fake.next_session == 0 || fake.session[fake.next_session % FAKE_SESSIONS].handle != 0);
    s = &fake.session[fake.next_session % FAKE_SESSIONS];
    s->handle = fake.next_session;
    s->slot = (unsigned long)(slot - fake.slot);
    s->flags = flags;
    slot->sessions++;
    if ((flags & CKF_RW_SESSION) != 0)
        slot->rw_sessions++;
    if (++fake.sessions > fake.peak_sessions)
        fake.peak_sessions = fake.sessions;
    *handle = s->handle;
    return CKR_OK;
}

CK_RV C_OpenSession(CK_SLOT_ID id, CK_FLAGS flags, void *application, CK_NOTIFY notify,
                    CK_SESSION_HANDLE *handle)
{
    struct fake_call call;
    CK_RV rv = fake_enter(&call, FAKE_C_OpenSession);

    (void)application;
    (void)notify;
    if (rv == CKR_OK)
        rv = open_session(id, flags, handle);
    return fake_leave(&call, rv);
}

CK_RV C_CloseSession(CK_SESSION_HANDLE handle)
{
    struct fake_call call;
    struct fake_session *s;
    CK_RV rv = fake_enter_session(&call, FAKE_C_CloseSession, handle);

    if (rv == CKR_OK)
        rv = fake_get_session(handle, &s);
    if (rv == CKR_OK)
        fake_close_session(s, false);
    return fake_leave_session(&call, rv);
}

CK_RV C_CloseAllSessions(CK_SLOT_ID id)
{
    struct fake_call call;
    struct fake_slot *slot;
    CK_RV rv = fake_enter(&call, FAKE_C_CloseAllSessions);

    if (rv == CKR_OK)
        rv = fake_get_slot(id, &slot);
    if (rv == CKR_OK)
        fake_close_sessions((unsigned long)(slot - fake.slot), false);
    return fake_leave(&call, rv);
}

CK_RV C_GetSessionInfo(CK_SESSION_HANDLE handle, CK_SESSION_INFO *info)
{
    struct fake_call call;
    struct fake_session *s;
    CK_RV rv = fake_enter_session(&call, FAKE_C_GetSessionInfo, handle);

    if (rv == CKR_OK)
        rv = fake_get_session(handle, &s);
    if (rv == CKR_OK) {
        bool rw = (s->flags & CKF_RW_SESSION) != 0;
        bool user = fake.slot[s->slot].user;

        memset(info, 0, sizeof(*info));
        info->slotID = fake.slot_base + s->slot;
        info->flags = s->flags;
        if (rw)
            info->state = user ? CKS_RW_USER_FUNCTIONS : CKS_RW_PUBLIC_SESSION;
        else
            info->state = user ? CKS_RO_USER_FUNCTIONS : CKS_RO_PUBLIC_SESSION;
    }
    return fake_leave_session(&call, rv);
}

/* --- login ----------------------------------------------------------------------------------- */

static CK_RV check_pin(struct fake_slot *slot, const unsigned char *pin, CK_ULONG len)
{
    if (pin == NULL && fake.quirk[FAKE_QUIRK_NULL_PIN_ABORTS])
        fake_die("C_Login with a NULL PIN");
    if (slot->pin_not_set)
        return CKR_USER_PIN_NOT_INITIALIZED;
    if (pin == NULL)
        return slot->protected_path ? CKR_OK : CKR_ARGUMENTS_BAD;
    fake.pin_attempts++;
    if (slot->pin_failures >= slot->pin_tries)
        return CKR_PIN_LOCKED;
    if (len != strlen(slot->pin) || memcmp(pin, slot->pin, len) != 0) {
        slot->pin_failures++;
        return CKR_PIN_INCORRECT;
    }
    slot->pin_failures = 0;
    return CKR_OK;
}

static CK_RV login(struct fake_session *s, CK_USER_TYPE user, const unsigned char *pin,
                   CK_ULONG len)
{
    struct fake_slot *slot = &fake.slot[s->slot];
    CK_RV rv;

    if (user == CKU_CONTEXT_SPECIFIC) {
        if (s->op.kind == FAKE_OP_NONE || !s->op.once_authenticated)
            return CKR_OPERATION_NOT_INITIALIZED;
        rv = check_pin(slot, pin, len);
        if (rv == CKR_OK)
            s->op.wants_login = false;
        return rv;
    }
    if (user != CKU_USER)
        return CKR_USER_TYPE_INVALID;
    if (slot->user)
        return CKR_USER_ALREADY_LOGGED_IN;
    if (slot->so)
        return CKR_USER_ANOTHER_ALREADY_LOGGED_IN;
    rv = check_pin(slot, pin, len);
    if (rv == CKR_OK)
        slot->user = true;
    return rv;
}

CK_RV C_Login(CK_SESSION_HANDLE handle, CK_USER_TYPE user, unsigned char *pin, CK_ULONG len)
{
    struct fake_call call;
    struct fake_session *s;
    CK_RV rv = fake_enter_session(&call, FAKE_C_Login, handle);

    if (rv == CKR_OK)
        rv = fake_get_session(handle, &s);
    if (rv == CKR_OK)
        rv = login(s, user, pin, len);
    return fake_leave_session(&call, rv);
}

CK_RV C_Logout(CK_SESSION_HANDLE handle)
{
    struct fake_call call;
    struct fake_session *s;
    CK_RV rv = fake_enter_session(&call, FAKE_C_Logout, handle);

    if (rv == CKR_OK)
        rv = fake_get_session(handle, &s);
    if (rv == CKR_OK && !fake.slot[s->slot].user)
        rv = CKR_USER_NOT_LOGGED_IN;
    if (rv == CKR_OK)
        fake.slot[s->slot].user = false;
    return fake_leave_session(&call, rv);
}

/* --- the list -------------------------------------------------------------------------------- */

static CK_FUNCTION_LIST function_list = {
    .version = {2, 40},
#define FAKE_FUNCTION(name) .name = name,
#include "fake_functions.def"
#undef FAKE_FUNCTION
};

FAKE_EXPORT CK_RV C_GetFunctionList(CK_FUNCTION_LIST **list)
{
    struct fake_call call;
    CK_RV rv = fake_enter(&call, FAKE_C_GetFunctionList);

    if (rv == CKR_OK)
        *list = &function_list;
    return fake_leave(&call, rv);
}
