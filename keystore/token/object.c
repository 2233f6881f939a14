/* SPDX-License-Identifier: Apache-2.0
 *
 * object.c - search for objects, read one, and what a private object lacks of its public half.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../observe/log.h"
#include "answer.h"
#include "key_types.h"
#include "object.h"

const char *ks_object_name(const struct ks_object *o, char *out, size_t size)
{
    char label[128], id[80] = "";
    size_t n = 0;

    for (size_t i = 0; i < o->id.len && n + 4 < sizeof(id); i++)
        n += (size_t)snprintf(id + n, sizeof(id) - n, "%s%02x", i > 0 ? ":" : "", o->id.data[i]);
    snprintf(out, size, "'%s' (id %s)", ks_escape(label, sizeof(label), o->label, o->label_len),
             id[0] != '\0' ? id : "none");
    return out;
}

/* Room for more; the caller's own list has no more than it has. */
static ks_status more_room(struct ks_call *call, struct ks_hits *hits)
{
    CK_ULONG room = hits->room == 0 ? 256 : 4 * hits->room;
    CK_OBJECT_HANDLE *grown;
    ks_status st = ks_answer_objects(call, hits->count);

    if (!ks_ok(st))
        return st;
    if (room > KS_OBJECTS_MAX)
        room = KS_OBJECTS_MAX;
    grown = realloc(hits->list, room * sizeof(*grown));
    if (grown == NULL)
        return ks_no_memory(call->err);
    hits->list = grown;
    hits->room = room;
    return KS_SUCCESS;
}

/* Some modules hand out fewer than there are: ask until there are none. */
static ks_status take_hits(struct ks_call *call, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                           struct ks_hits *hits)
{
    CK_ULONG got;
    ks_status st;
    CK_RV rv;

    do {
        st = KS_SUCCESS;
        got = 0;
        if (hits->count == hits->room && hits->grows)
            st = more_room(call, hits);
        if (!ks_ok(st) || hits->count == hits->room)
            return st;
        rv = fn->C_FindObjects(session, hits->list + hits->count, hits->room - hits->count, &got);
        st = ks_call_rv(call, KS_C_FindObjects, rv);
        if (ks_ok(st))
            st = ks_answer_found(call, hits->list + hits->count, hits->count,
                                 hits->room - hits->count, got);
        if (ks_ok(st))
            hits->count += got;
    } while (ks_ok(st) && got > 0);
    return st;
}

ks_status ks_object_search_all(struct ks_call *call, CK_FUNCTION_LIST *fn,
                               CK_SESSION_HANDLE session, CK_ATTRIBUTE *template, CK_ULONG count,
                               struct ks_hits *hits)
{
    ks_status st;
    CK_RV rv;

    st = ks_call_rv(call, KS_C_FindObjectsInit, fn->C_FindObjectsInit(session, template, count));
    if (!ks_ok(st))
        return st;
    st = take_hits(call, fn, session, hits);
    /* On every path: a module may accept a second search while one is open. */
    rv = fn->C_FindObjectsFinal(session);
    if (ks_ok(st))
        st = ks_call_rv(call, KS_C_FindObjectsFinal, rv);
    return st;
}

ks_status ks_object_search(struct ks_call *call, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                           CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE *found,
                           CK_ULONG max, CK_ULONG *found_count)
{
    struct ks_hits hits = {.list = found, .room = max};
    ks_status st = ks_object_search_all(call, fn, session, template, count, &hits);

    *found_count = hits.count;
    return st;
}

/* --- the public half of a private key -------------------------------------------------------- */

static struct ks_bytes take_bytes(struct ks_bytes *from)
{
    struct ks_bytes out = *from;

    *from = (struct ks_bytes){NULL, 0};
    return out;
}

void ks_object_borrow(struct ks_object *o, struct ks_object *pub)
{
    if (pub->type != o->type)
        return;
    if (o->modulus.len == 0 && pub->modulus.len > 0) {
        o->modulus = take_bytes(&pub->modulus);
        free(o->exponent.data); /* of the modulus that it does not show */
        o->exponent = take_bytes(&pub->exponent);
        o->borrowed = true;
    } else if (o->exponent.len == 0 && o->modulus.len == pub->modulus.len && o->modulus.len > 0 &&
               memcmp(o->modulus.data, pub->modulus.data, o->modulus.len) == 0) {
        o->exponent = take_bytes(&pub->exponent);
    }
    if (o->ec_point.len == 0 && pub->ec_point.len > 0) {
        o->ec_point = take_bytes(&pub->ec_point);
        o->borrowed = true;
    }
    if (o->ec_params.len == 0)
        o->ec_params = take_bytes(&pub->ec_params);
}

bool ks_object_lacks_public(const struct ks_object *o)
{
    const struct ks_key_type_row *row = ks_key_type_row(o->type);

    for (size_t i = 0; row != NULL && i < KS_PUBLIC_ATTRIBUTES; i++)
        if (row->public[i].offset != 0 && ks_public_bytes(o, &row->public[i])->len == 0)
            return true;
    return false;
}

ks_status ks_object_complete(struct ks_call *call, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                             struct ks_object *o)
{
    CK_OBJECT_CLASS klass = CKO_PUBLIC_KEY;
    CK_ATTRIBUTE template[2] = {{CKA_CLASS, &klass, sizeof(klass)}};
    CK_OBJECT_HANDLE found[2];
    struct ks_object *pub = NULL;
    CK_ULONG count = 0;
    ks_status st;

    if (o->id.len > 0)
        template[1] = (CK_ATTRIBUTE){CKA_ID, o->id.data, o->id.len};
    else if (o->label_len > 0)
        template[1] = (CK_ATTRIBUTE){CKA_LABEL, o->label, o->label_len};
    else
        return KS_SUCCESS;
    st = ks_object_search(call, fn, session, template, 2, found, 2, &count);
    if (!ks_ok(st) || count != 1)
        return st;
    st = ks_snapshot_read(call, fn, session, found[0], KS_CLASS_PUBLIC, &pub);
    if (ks_ok(st))
        ks_object_borrow(o, pub);
    ks_object_free(pub);
    return st;
}

ks_status ks_object_read(struct ks_call *call, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                         CK_OBJECT_HANDLE handle, enum ks_object_class klass, bool complete,
                         struct ks_object **out)
{
    struct ks_object *o = NULL;
    ks_status st = ks_snapshot_read(call, fn, session, handle, klass, &o);

    if (ks_ok(st) && complete && klass == KS_CLASS_PRIVATE && ks_object_lacks_public(o))
        st = ks_object_complete(call, fn, session, o);
    if (ks_ok(st))
        *out = o;
    else
        ks_object_free(o);
    return st;
}

void ks_log_trouble(const struct ks_token *token, const struct ks_object *object, const char *why)
{
    static const char *const classes[] = {
        [KS_CLASS_ANY] = "object",
        [KS_CLASS_PRIVATE] = "private key",
        [KS_CLASS_PUBLIC] = "public key",
        [KS_CLASS_CERTIFICATE] = "certificate",
    };
    char name[256];

    ks_log_event(KS_LOG_WARN, "object-left-out",
                 (object->at.token != NULL ? object->at.token : token)->name, "class",
                 classes[object->klass], "object", ks_object_name(object, name, sizeof(name)),
                 "text", why, NULL);
}
