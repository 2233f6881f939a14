/* SPDX-License-Identifier: Apache-2.0
 *
 * token/object.h - objects of a token, as snapshots.
 */
#ifndef HSM_KS_OBJECT_H
#define HSM_KS_OBJECT_H

#include "call.h"

/* Purpose: snapshot of an object, inside the gate. `complete`: look for the public object of a
 * private key too, if it does not show its public half itself. */
ks_status ks_object_read(struct ks_call *call, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                         CK_OBJECT_HANDLE handle, enum ks_object_class klass, bool complete,
                         struct ks_object **out);
/* Purpose: handles of the objects that a template matches, at most `max`; always ends the
 * search. */
ks_status ks_object_search(struct ks_call *call, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                           CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE *found,
                           CK_ULONG max, CK_ULONG *found_count);
/* What a search has found; grows if it may. */
struct ks_hits {
    CK_OBJECT_HANDLE *list;
    CK_ULONG count, room;
    bool grows;
};

/* Purpose: the same with a list that grows; the caller frees it. */
ks_status ks_object_search_all(struct ks_call *call, CK_FUNCTION_LIST *fn,
                               CK_SESSION_HANDLE session, CK_ATTRIBUTE *template, CK_ULONG count,
                               struct ks_hits *hits);
/* Purpose: tell whether a private object does not show all of its public half. */
bool ks_object_lacks_public(const struct ks_object *o);
/* Purpose: what a private object lacks, from the one public object with its id (or, without an id,
 * its label). */
ks_status ks_object_complete(struct ks_call *call, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                             struct ks_object *o);
/* Purpose: give a private key what it lacks of its public half from its public object, which is
 * left with the rest. */
void ks_object_borrow(struct ks_object *o, struct ks_object *pub);
/* Purpose: a snapshot of that object alone, inside the gate, with one call where the token plays
 * along. (token/snapshot.c) */
ks_status ks_snapshot_read(struct ks_call *call, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                           CK_OBJECT_HANDLE handle, enum ks_object_class klass,
                           struct ks_object **out);
/* Purpose: a deep copy; NULL without memory. */
struct ks_object *ks_object_copy(const struct ks_object *o);
/* Purpose: "'label' (id 01:02)" escaped, for messages. */
const char *ks_object_name(const struct ks_object *object, char *out, size_t size);

#endif
