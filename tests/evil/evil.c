/* SPDX-License-Identifier: Apache-2.0
 *
 * evil.c - see evil.h. Each function asks the fake module and then spoils its answer. Lengths are
 * claimed and never written beyond: what goes wrong then is the reader's own doing.
 */
#include "evil.h"

#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

/* What is claimed beyond a room, and limits of keystore/token/answer.h. */
#define BEYOND         100000UL
#define SLOTS_MAX      4096UL
#define MECHANISMS_MAX 4096UL
/* The first of the handles that are made up. */
#define NOWHERE 0x40000000UL

static CK_FUNCTION_LIST *fake, mine;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static _Atomic int lie;
static _Atomic unsigned long attribute = EVIL_EVERY;
static atomic_uint told;
static _Atomic unsigned long claimed;
static _Atomic unsigned long made_up = NOWHERE; /* handles */
static _Atomic unsigned long first_found;       /* that was found */
static _Atomic unsigned long secret;            /* the latest derived object */

EXPORT const struct evil_row evil_lies[EVIL_LIES] = {
    [EVIL_TRUTH] = {"TRUTH", "", EVIL_IS_HARMLESS},
#define EVIL_LIE(name, function, outcome) [EVIL_##name] = {#name, #function, EVIL_IS_##outcome},
#include "evil.def"
#undef EVIL_LIE
};

EXPORT void evil_tell(enum evil_lie which, unsigned long of)
{
    atomic_store(&lie, (int)which);
    atomic_store(&attribute, of);
    atomic_store(&told, 0);
    atomic_store(&claimed, 0);
    atomic_store(&secret, 0);
    atomic_store(&first_found, 0);
}

EXPORT unsigned evil_told(void)
{
    return atomic_load(&told);
}

EXPORT unsigned long evil_claimed(void)
{
    return atomic_load(&claimed);
}

static bool is(enum evil_lie which)
{
    return atomic_load(&lie) == (int)which;
}

static void note(void)
{
    const char *path = getenv("HSM_EVIL_TOLD");
    FILE *file;

    if (atomic_fetch_add(&told, 1) > 0 || path == NULL)
        return;
    file = fopen(path, "w");
    if (file != NULL)
        fclose(file);
}

static CK_ULONG claim(CK_ULONG number)
{
    note();
    atomic_store(&claimed, number);
    return number;
}

/* --- lists ----------------------------------------------------------------------------------- */

enum { HUGE_COUNT, WRAP, MANY, GROW, LOOP, KINDS };

/* Spoil the answer of one of the functions that give a list. `first` is the first of five lies. */
static CK_RV spoil_list(CK_RV rv, enum evil_lie first, CK_ULONG limit, CK_ULONG room,
                        CK_ULONG *list, CK_ULONG *count)
{
    int which = atomic_load(&lie) - (int)first;

    if (which < 0 || which >= KINDS)
        return rv;
    if (list == NULL && which == HUGE_COUNT)
        *count = claim(~0UL);
    else if (list == NULL && which == WRAP)
        *count = claim(~0UL / sizeof(CK_ULONG) + 2);
    else if (list == NULL && which == MANY)
        *count = claim(limit + 1);
    else if (list != NULL && which == GROW)
        *count = claim(room + BEYOND);
    else if (list != NULL && which == LOOP)
        *count = claim(room + 1);
    else if (list != NULL && which == MANY && room > limit)
        memset(list, 0, room * sizeof(*list));
    else if (list != NULL && which <= MANY)
        return CKR_BUFFER_TOO_SMALL; /* so that it is asked how many there are */
    else
        return rv;
    return list != NULL && which == LOOP ? CKR_BUFFER_TOO_SMALL : CKR_OK;
}

static CK_RV get_slot_list(CK_BBOOL present, CK_SLOT_ID *list, CK_ULONG *count)
{
    CK_ULONG room = *count;
    CK_RV rv = fake->C_GetSlotList(present, list, count);

    return spoil_list(rv, EVIL_SLOTS_HUGE, SLOTS_MAX, room, list, count);
}

static CK_RV get_mechanism_list(CK_SLOT_ID slot, CK_MECHANISM_TYPE *list, CK_ULONG *count)
{
    CK_ULONG room = *count;
    CK_RV rv = fake->C_GetMechanismList(slot, list, count);

    return spoil_list(rv, EVIL_MECHANISMS_HUGE, MECHANISMS_MAX, room, list, count);
}

/* --- facts ----------------------------------------------------------------------------------- */

static CK_RV get_mechanism_info(CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *info)
{
    CK_RV rv = fake->C_GetMechanismInfo(slot, type, info);

    if (is(EVIL_MECHANISM_INFO_JUNK)) {
        note();
        memset(info, 0xff, sizeof(*info));
        info->ulMinKeySize = 1UL << 40;
        info->ulMaxKeySize = 1;
    }
    return rv;
}

static CK_RV get_info(CK_INFO *info)
{
    CK_RV rv = fake->C_GetInfo(info);

    if (is(EVIL_INFO_JUNK)) {
        note();
        memset(info, 0xff, sizeof(*info));
    }
    return rv;
}

static CK_RV get_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
    static const unsigned char junk[] = {'a', 0, 0x1b, '[', '2', 'J', '\n', '\r', 0xff, '%'};
    CK_TOKEN_INFO was;
    CK_RV rv;

    if (is(EVIL_TOKEN_NOTHING)) {
        note();
        return CKR_OK;
    }
    rv = fake->C_GetTokenInfo(slot, info);
    if (!is(EVIL_TOKEN_JUNK) || rv != CKR_OK)
        return rv;
    note();
    was = *info;
    memset(info, 0xfe, sizeof(*info));
    memcpy(info->manufacturerID, junk, sizeof(junk));
    memcpy(info->model, junk, sizeof(junk));
    memcpy(info->label, was.label, sizeof(was.label));
    info->flags = was.flags;
    return CKR_OK;
}

static CK_RV open_session(CK_SLOT_ID slot, CK_FLAGS flags, void *application, CK_NOTIFY notify,
                          CK_SESSION_HANDLE *session)
{
    CK_RV rv = fake->C_OpenSession(slot, flags, application, notify, session);

    if (is(EVIL_SESSION_NONE) && rv == CKR_OK) {
        note();
        (void)fake->C_CloseSession(*session);
        *session = CK_INVALID_HANDLE;
    }
    return rv;
}

static CK_RV get_session_info(CK_SESSION_HANDLE session, CK_SESSION_INFO *info)
{
    CK_RV rv = fake->C_GetSessionInfo(session, info);

    if (is(EVIL_SESSION_INFO_JUNK)) {
        note();
        memset(info, 0xff, sizeof(*info));
    }
    return rv;
}

/* --- objects --------------------------------------------------------------------------------- */

static CK_RV find_objects(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *found, CK_ULONG max,
                          CK_ULONG *count)
{
    CK_RV rv = fake->C_FindObjects(session, found, max, count);
    CK_ULONG n = is(EVIL_FIND_ENDLESS) ? max : 1;

    if (rv != CKR_OK || max == 0)
        return rv;
    if (*count > 0)
        atomic_store(&first_found, found[0]);
    if (is(EVIL_FIND_MORE) && *count > 0) {
        *count = claim(max + 1);
    } else if (is(EVIL_FIND_WRAP) && *count > 0) {
        *count = claim(~0UL);
    } else if (is(EVIL_FIND_ENDLESS) || is(EVIL_FIND_TRICKLE)) {
        note();
        for (CK_ULONG i = 0; i < n; i++)
            found[i] = atomic_fetch_add(&made_up, 1);
        *count = n;
    } else if (is(EVIL_FIND_AGAIN) && atomic_load(&first_found) != 0) {
        note();
        found[0] = atomic_load(&first_found);
        *count = 1;
    } else if (is(EVIL_FIND_NONE) && *count > 0) {
        note();
        found[*count - 1] = CK_INVALID_HANDLE;
    }
    return rv;
}

/* The lies about the secret of a derivation. */
static bool spoil_secret(CK_ATTRIBUTE *a, CK_RV *rv)
{
    CK_ULONG room = a->ulValueLen;

    if (is(EVIL_SECRET_LONG))
        a->ulValueLen = claim(room + BEYOND);
    else if (is(EVIL_SECRET_EMPTY))
        a->ulValueLen = 0;
    else if (is(EVIL_SECRET_NOTHING))
        a->ulValueLen = 32;
    else
        return false;
    note();
    *rv = CKR_OK;
    return true;
}

/* One attribute, the room of which was `room`; `alone`: it was the only one. */
static void spoil_value(CK_ATTRIBUTE *a, CK_ULONG room, bool alone, CK_RV *rv)
{
    static unsigned char elsewhere[64];
    bool asked = a->pValue == NULL;

    if (!asked && !alone && (is(EVIL_VALUE_LONG) || is(EVIL_VALUE_LONG_FAILS))) {
        *rv = is(EVIL_VALUE_LONG) ? CKR_OK : CKR_BUFFER_TOO_SMALL;
        a->ulValueLen = claim(room + BEYOND);
    } else if (!asked && alone && room > 16 && (is(EVIL_VALUE_HUGE) || is(EVIL_VALUE_GROWS))) {
        *rv = CKR_BUFFER_TOO_SMALL; /* so that the length is asked for */
        a->ulValueLen = CK_UNAVAILABLE_INFORMATION;
    } else if (asked && is(EVIL_VALUE_HUGE)) {
        *rv = CKR_OK;
        a->ulValueLen = claim(1UL << 40);
    } else if (is(EVIL_VALUE_GROWS)) {
        *rv = CKR_OK;
        a->ulValueLen = asked ? 16 : claim(room + BEYOND);
    } else if (is(EVIL_VALUE_EMPTY)) {
        note();
        a->ulValueLen = 0;
    } else if (is(EVIL_VALUE_MOVED)) {
        note();
        a->pValue = elsewhere;
        a->type = 0x80001234UL;
    }
}

/* Those that leave the memory of the caller alone. */
static CK_RV write_nothing(CK_ATTRIBUTE *list, CK_ULONG count)
{
    note();
    for (CK_ULONG i = 0; i < count; i++)
        if (list[i].pValue == NULL)
            list[i].ulValueLen = 48;
    return CKR_OK;
}

static CK_RV get_attribute_value(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object,
                                 CK_ATTRIBUTE *list, CK_ULONG count)
{
    bool one_by_one = is(EVIL_VALUE_HUGE) || is(EVIL_VALUE_GROWS) || is(EVIL_VALUE_NOTHING_ALONE);
    CK_ULONG room[32];
    CK_RV rv;

    if (count > 32)
        return CKR_ARGUMENTS_BAD;
    if (one_by_one && count > 1)
        return CKR_FUNCTION_FAILED;
    if (object == atomic_load(&secret) && is(EVIL_SECRET_NOTHING)) {
        (void)spoil_secret(&list[0], &rv);
        return CKR_OK;
    }
    if (is(EVIL_VALUE_NOTHING) || is(EVIL_VALUE_NOTHING_ALONE))
        return write_nothing(list, count);
    for (CK_ULONG i = 0; i < count; i++)
        room[i] = list[i].ulValueLen;
    rv = fake->C_GetAttributeValue(session, object, list, count);
    if (object == atomic_load(&secret) && spoil_secret(&list[0], &rv))
        return rv;
    for (CK_ULONG i = 0; i < count; i++)
        if (atomic_load(&attribute) == EVIL_EVERY || atomic_load(&attribute) == list[i].type)
            spoil_value(&list[i], room[i], count == 1, &rv);
    return rv;
}

/* --- operations ------------------------------------------------------------------------------ */

typedef CK_RV (*operation)(CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG in_len, CK_BYTE *out,
                           CK_ULONG *out_len);

/* `first` is that of the lies _LONG, _WRAP, _NOTHING. */
static CK_RV operate(operation real, enum evil_lie first, CK_SESSION_HANDLE session, CK_BYTE *in,
                     CK_ULONG in_len, CK_BYTE *out, CK_ULONG *out_len)
{
    int which = atomic_load(&lie) - (int)first;
    CK_ULONG room = *out_len;
    CK_BYTE elsewhere[4096];
    CK_RV rv;

    if (which == 2) {
        *out_len = sizeof(elsewhere);
        rv = real(session, in, in_len, elsewhere, out_len);
        note();
        return rv;
    }
    rv = real(session, in, in_len, out, out_len);
    if (which == 0 && rv == CKR_OK)
        *out_len = claim(room + BEYOND);
    if (which == 1 && rv == CKR_OK)
        *out_len = claim(~0UL);
    return rv;
}

static CK_RV sign(CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG in_len, CK_BYTE *out,
                  CK_ULONG *out_len)
{
    CK_RV rv = operate(fake->C_Sign, EVIL_SIGN_LONG, session, in, in_len, out, out_len);

    if (is(EVIL_SIGN_EMPTY) && rv == CKR_OK) {
        note();
        *out_len = 0;
    }
    return rv;
}

static CK_RV decrypt(CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG in_len, CK_BYTE *out,
                     CK_ULONG *out_len)
{
    return operate(fake->C_Decrypt, EVIL_DECRYPT_LONG, session, in, in_len, out, out_len);
}

static CK_RV derive_key(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE base,
                        CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE *key)
{
    CK_RV rv = fake->C_DeriveKey(session, mechanism, base, template, count, key);

    if (rv == CKR_OK)
        atomic_store(&secret, *key);
    if (is(EVIL_SECRET_NONE) && rv == CKR_OK) {
        note();
        *key = CK_INVALID_HANDLE;
    }
    return rv;
}

static CK_RV generate_key_pair(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism,
                               CK_ATTRIBUTE *public_template, CK_ULONG public_count,
                               CK_ATTRIBUTE *private_template, CK_ULONG private_count,
                               CK_OBJECT_HANDLE *public_key, CK_OBJECT_HANDLE *private_key)
{
    CK_RV rv = fake->C_GenerateKeyPair(session, mechanism, public_template, public_count,
                                       private_template, private_count, public_key, private_key);

    if (is(EVIL_PAIR_NONE) && rv == CKR_OK) {
        note();
        *public_key = *private_key = CK_INVALID_HANDLE;
    }
    return rv;
}

static CK_RV generate_random(CK_SESSION_HANDLE session, CK_BYTE *out, CK_ULONG len)
{
    if (is(EVIL_RANDOM_NOTHING)) {
        note();
        return CKR_OK;
    }
    return fake->C_GenerateRandom(session, out, len);
}

/* --- the module ------------------------------------------------------------------------------ */

static void tell_from_environment(void)
{
    const char *wanted = getenv("HSM_EVIL_LIE");

    for (int i = 0; wanted != NULL && i < EVIL_LIES; i++)
        if (strcmp(evil_lies[i].name, wanted) == 0)
            evil_tell((enum evil_lie)i, EVIL_EVERY);
}

static void load(void)
{
    void *handle = dlopen(FAKE_PKCS11_PATH, RTLD_NOW | RTLD_LOCAL);
    CK_C_GetFunctionList get = NULL;
    void *symbol = handle != NULL ? dlsym(handle, "C_GetFunctionList") : NULL;

    memcpy(&get, &symbol, sizeof(get)); /* ISO C has no cast for it */
    if (get == NULL || get(&fake) != CKR_OK) {
        fprintf(stderr, "evil-pkcs11: %s\n", dlerror());
        abort();
    }
    tell_from_environment();
    mine = *fake;
    mine.C_GetFunctionList = C_GetFunctionList;
    mine.C_GetInfo = get_info;
    mine.C_GetSlotList = get_slot_list;
    mine.C_GetTokenInfo = get_token_info;
    mine.C_GetMechanismList = get_mechanism_list;
    mine.C_GetMechanismInfo = get_mechanism_info;
    mine.C_OpenSession = open_session;
    mine.C_GetSessionInfo = get_session_info;
    mine.C_FindObjects = find_objects;
    mine.C_GetAttributeValue = get_attribute_value;
    mine.C_Sign = sign;
    mine.C_Decrypt = decrypt;
    mine.C_DeriveKey = derive_key;
    mine.C_GenerateKeyPair = generate_key_pair;
    mine.C_GenerateRandom = generate_random;
}

EXPORT CK_RV C_GetFunctionList(CK_FUNCTION_LIST **list)
{
    pthread_once(&once, load);
    *list = &mine;
    return CKR_OK;
}
