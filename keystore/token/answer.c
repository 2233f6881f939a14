/* SPDX-License-Identifier: Apache-2.0
 *
 * answer.c - see token/answer.h. The wording is alike everywhere, so that logs can be searched for
 * "the module is at fault".
 */
#include <stdlib.h>
#include <string.h>

#include "answer.h"

#define FAULT "; the answer was not used: " KS_MODULE_FAULT

/* The same for operations: the session may be in any state. */
static ks_status lied(struct ks_call *call, ks_status st)
{
    if (!ks_ok(st))
        call->close_session = true;
    return st;
}

/* --- bytes ----------------------------------------------------------------------------------- */

CK_ULONG ks_answer_room(struct ks_call *call)
{
    if (call->room > 0)
        memset(call->out, 0, call->room);
    call->out_len = 0;
    return call->room;
}

static ks_status check_length(const struct ks_call *call, enum ks_fn function, CK_ULONG len,
                              CK_ULONG room)
{
    if (len <= room)
        return KS_SUCCESS;
    return ks_fail_token(call->err, call->token, KS_TOKEN,
                         "%s: the module says that it gave %lu bytes, and there was room for "
                         "%lu" FAULT,
                         ks_fn_name(function), (unsigned long)len, (unsigned long)room);
}

ks_status ks_answer_output(struct ks_call *call, enum ks_fn function, CK_RV rv, CK_ULONG len)
{
    ks_status st = ks_call_rv(call, function, rv);

    if (ks_ok(st))
        st = lied(call, check_length(call, function, len, call->room));
    if (ks_ok(st))
        call->out_len = len;
    return st;
}

/* In a time that does not depend on the bytes: they may be what a decryption gave. */
static bool all_zero(const uint8_t *data, size_t len)
{
    uint64_t any = 0, word;
    size_t i = 0;

    for (; i + sizeof(word) <= len; i += sizeof(word)) {
        memcpy(&word, data + i, sizeof(word));
        any |= word;
    }
    for (; i < len; i++)
        any |= data[i];
    return any == 0;
}

ks_status ks_answer_written(struct ks_call *call, enum ks_fn function)
{
    /* raw RSA makes zeros of zeros */
    if (!all_zero(call->out, call->out_len) ||
        (call->in_len > 0 && all_zero(call->in, call->in_len)))
        return KS_SUCCESS;
    return lied(call,
                ks_fail_token(call->err, call->token, KS_TOKEN,
                              "%s: the module says CKR_OK and %zu bytes, and wrote nothing to "
                              "the room of %zu" FAULT,
                              ks_fn_name(function), call->out_len, call->room));
}

ks_status ks_answer_random(struct ks_call *call, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                           uint8_t *out, size_t len, CK_RV *rv)
{
    uint8_t least[KS_RANDOM_LEAST] = {0};
    bool few = len < sizeof(least);
    uint8_t *to = few ? least : out;
    size_t n = few ? sizeof(least) : len;
    ks_status st = KS_SUCCESS;

    memset(to, 0, n);
    *rv = fn->C_GenerateRandom(session, to, n);
    if (*rv == CKR_OK && all_zero(to, n))
        st = lied(call, ks_fail_token(call->err, call->token, KS_TOKEN,
                                      "C_GenerateRandom: the module says CKR_OK, and all %zu bytes "
                                      "of %zu are 0" FAULT,
                                      n, n));
    if (few) {
        memcpy(out, least, len);
        explicit_bzero(least, sizeof(least));
    }
    return st;
}

/* --- attributes ------------------------------------------------------------------------------ */

/* What the module made of one attribute. The struct is ours again but for the length. */
static ks_status check_attribute(const struct ks_call *call, const CK_ATTRIBUTE *asked,
                                 CK_ATTRIBUTE *got, CK_RV rv)
{
    CK_ULONG len = got->ulValueLen;
    CK_ULONG room = asked->pValue != NULL ? asked->ulValueLen : KS_VALUE_MAX;

    *got = *asked;
    got->ulValueLen = len;
    if (len <= room || len == CK_UNAVAILABLE_INFORMATION)
        return KS_SUCCESS;
    got->ulValueLen = CK_UNAVAILABLE_INFORMATION;
    if (rv != CKR_OK) /* it may be what it would need */
        return KS_SUCCESS;
    return ks_fail_token(call->err, call->token, KS_TOKEN,
                         "C_GetAttributeValue: the module says that attribute 0x%lx has %lu bytes, "
                         "and %s %lu" FAULT,
                         (unsigned long)asked->type, (unsigned long)len,
                         asked->pValue != NULL ? "there was room for" : "no more are believed than",
                         (unsigned long)room);
}

ks_status ks_answer_attributes(struct ks_call *call, CK_FUNCTION_LIST *fn,
                               CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object,
                               CK_ATTRIBUTE *list, CK_ULONG count, CK_RV *rv)
{
    CK_ATTRIBUTE asked[KS_ATTRIBUTES_MAX];
    ks_status st = KS_SUCCESS, one;

    if (count > KS_ATTRIBUTES_MAX)
        return ks_fail(call->err, KS_INTERNAL, "too many attributes at once");
    for (CK_ULONG i = 0; i < count; i++) {
        asked[i] = list[i];
        if (list[i].pValue != NULL)
            memset(list[i].pValue, 0, list[i].ulValueLen);
    }
    *rv = fn->C_GetAttributeValue(session, object, list, count);
    for (CK_ULONG i = 0; i < count; i++) {
        one = check_attribute(call, &asked[i], &list[i], *rv);
        if (!ks_ok(one))
            st = one;
    }
    return lied(call, st);
}

ks_status ks_answer_listing(struct ks_call *call, size_t *total, size_t len)
{
    *total += len;
    if (*total <= KS_LISTING_MAX)
        return KS_SUCCESS;
    return lied(call,
                ks_fail_token(call->err, call->token, KS_TOKEN,
                              "C_GetAttributeValue: the objects have %zu bytes so far, and no "
                              "more are listed than %u; list fewer at once (object= or id= in "
                              "a URI)",
                              *total, KS_LISTING_MAX));
}

/* --- counts and lists ------------------------------------------------------------------------ */

static CK_RV slot_list(CK_FUNCTION_LIST *fn, CK_SLOT_ID slot, CK_ULONG *list, CK_ULONG *count)
{
    (void)slot;
    return fn->C_GetSlotList(CK_TRUE, list, count);
}

static CK_RV mechanism_list(CK_FUNCTION_LIST *fn, CK_SLOT_ID slot, CK_ULONG *list, CK_ULONG *count)
{
    return fn->C_GetMechanismList(slot, list, count);
}

static const struct list_kind {
    enum ks_fn function;
    const char *what;
    CK_ULONG max;
    CK_RV (*call)(CK_FUNCTION_LIST *fn, CK_SLOT_ID slot, CK_ULONG *list, CK_ULONG *count);
} lists[] = {
    [KS_LIST_SLOTS] = {KS_C_GetSlotList, "slots", KS_SLOTS_MAX, slot_list},
    [KS_LIST_MECHANISMS] = {KS_C_GetMechanismList, "mechanisms", KS_MECHANISMS_MAX, mechanism_list},
};

static ks_status check_count(const struct ks_token *token, const struct list_kind *kind,
                             CK_ULONG count, CK_ULONG max, const char *why, struct ks_error *err)
{
    if (count <= max)
        return KS_SUCCESS;
    return ks_fail_token(err, token, KS_TOKEN,
                         "%s: the module says that there are %lu %s, and %s "
                         "%lu" FAULT,
                         ks_fn_name(kind->function), (unsigned long)count, kind->what, why,
                         (unsigned long)max);
}

/* How many there are now. */
static ks_status ask_count(const struct ks_token *token, CK_FUNCTION_LIST *fn,
                           const struct list_kind *kind, CK_SLOT_ID slot, CK_ULONG *count,
                           struct ks_error *err)
{
    CK_RV rv;

    *count = 0;
    rv = kind->call(fn, slot, NULL, count);
    if (rv != CKR_OK)
        return ks_fail_rv(err, token, kind->function, rv, NULL);
    return check_count(token, kind, *count, kind->max, "no more are believed than", err);
}

ks_status ks_answer_list(const struct ks_token *token, CK_FUNCTION_LIST *fn, enum ks_list which,
                         CK_SLOT_ID slot, CK_ULONG room, CK_ULONG **out, CK_ULONG *count,
                         struct ks_error *err)
{
    const struct list_kind *kind = &lists[which];
    CK_ULONG *list = NULL;
    ks_status st;
    CK_RV rv = CKR_BUFFER_TOO_SMALL;

    for (unsigned round = 0; round < KS_ROUNDS_MAX; round++) {
        bool empty = false;

        if (room == 0) {
            st = ask_count(token, fn, kind, slot, &room, err);
            if (!ks_ok(st))
                goto fail;
            empty = room == 0;
        }
        free(list);
        list = calloc(empty ? 1 : room, sizeof(*list));
        if (list == NULL)
            return ks_no_memory(err);
        *count = room;
        rv = empty ? CKR_OK : kind->call(fn, slot, list, count);
        if (rv != CKR_BUFFER_TOO_SMALL)
            break;
        room = 0; /* there is one more since */
    }
    if (rv == CKR_BUFFER_TOO_SMALL)
        st = ks_fail_token(err, token, KS_TOKEN,
                           "%s: the module answered CKR_BUFFER_TOO_SMALL %u times, each time for "
                           "as many %s as it had said, the last time %lu" FAULT,
                           ks_fn_name(kind->function), KS_ROUNDS_MAX, kind->what,
                           (unsigned long)*count);
    else if (rv != CKR_OK)
        st = ks_fail_rv(err, token, kind->function, rv, NULL);
    else
        st = check_count(token, kind, *count, room, "there was room for", err);
    if (!ks_ok(st))
        goto fail;
    *out = list;
    return st;
fail:
    free(list);
    *count = 0;
    return st;
}

ks_status ks_answer_found(struct ks_call *call, const CK_OBJECT_HANDLE *found, CK_ULONG before,
                          CK_ULONG max, CK_ULONG got)
{
    const char *wrong = NULL;

    if (got > max)
        return lied(call, ks_fail_token(call->err, call->token, KS_TOKEN,
                                        "C_FindObjects: the module says that it gave %lu objects, "
                                        "and there was room for %lu" FAULT,
                                        (unsigned long)got, (unsigned long)max));
    for (CK_ULONG i = 0; i < got && wrong == NULL; i++)
        if (found[i] == CK_INVALID_HANDLE)
            wrong = "is no handle (CK_INVALID_HANDLE)";
        else if (before + i > 0 && found[i] == *(found - before))
            wrong = "is the first one again";
    if (wrong == NULL)
        return KS_SUCCESS;
    return lied(call,
                ks_fail_token(call->err, call->token, KS_TOKEN,
                              "C_FindObjects: among %lu objects, after %lu others, one %s" FAULT,
                              (unsigned long)got, (unsigned long)before, wrong));
}

ks_status ks_answer_objects(struct ks_call *call, CK_ULONG count)
{
    if (count < KS_OBJECTS_MAX)
        return KS_SUCCESS;
    return lied(call,
                ks_fail_token(call->err, call->token, KS_TOKEN,
                              "C_FindObjects: the search gave %lu objects and has not ended; no "
                              "more are listed than %u: list fewer at once (object= or id= in a "
                              "URI)",
                              (unsigned long)count, KS_OBJECTS_MAX));
}

void ks_answer_range(CK_ULONG *least, CK_ULONG *most)
{
    if (*least == CK_UNAVAILABLE_INFORMATION || *most == CK_UNAVAILABLE_INFORMATION ||
        *least > *most)
        *least = *most = 0;
}

/* --- handles --------------------------------------------------------------------------------- */

ks_status ks_answer_handle(const struct ks_token *token, enum ks_fn function, CK_ULONG handle,
                           struct ks_error *err)
{
    if (handle != CK_INVALID_HANDLE)
        return KS_SUCCESS;
    return ks_fail_token(err, token, KS_TOKEN,
                         "%s: the module says CKR_OK and gives no handle (CK_INVALID_HANDLE, 0)"
                         "; " KS_MODULE_FAULT,
                         ks_fn_name(function));
}
