/* SPDX-License-Identifier: Apache-2.0
 *
 * token/answer.h - what a module answers passes here before it is used.
 *
 * A module is code of somebody else, and what it says comes from a device or from the network. It
 * may say CKR_OK and a length beyond the room that it was given, a count that grows from call to
 * call, or nothing at all. So each call that gives a length, a count, a list, a handle or bytes
 * goes through a function of this file, and nobody else looks at such a number:
 *  - outputs are cleared before the call: what is not written is zeros, and not our memory;
 *  - a length beyond its room, a number beyond the limits below and a loop that does not end are
 *    KS_TOKEN errors whose text names the function and both numbers; the answer is not used, and
 *    the session in which it came is closed.
 *
 * All of these functions are called inside the gate, and call into the module themselves only where
 * their comment says so. Sources: PKCS#11 v2.40, sections 5.2 (lengths), 5.5 and 5.7.
 */
#ifndef HSM_KS_ANSWER_H
#define HSM_KS_ANSWER_H

#include "call.h"
#include "token.h"

/* Limits. Far beyond what there is, so that nobody meets one; small enough that a module cannot use
 * up the memory of a process, or its time. */
#define KS_SLOTS_MAX      4096U      /* slots of a module */
#define KS_MECHANISMS_MAX 4096U      /* mechanisms of a token */
#define KS_OBJECTS_MAX    262144U    /* objects that one search finds */
#define KS_VALUE_MAX      1048576U   /* bytes of an attribute */
#define KS_LISTING_MAX    268435456U /* bytes of all values of one listing */
#define KS_ROUNDS_MAX     16U        /* how often a list may have grown when it is read */
#define KS_ATTRIBUTES_MAX 16U        /* attributes that are read with one call */
/* Random bytes that are all zero by chance once in 2^128 times. */
#define KS_RANDOM_LEAST 16U

/* --- bytes ----------------------------------------------------------------------------------- */

/* Purpose: before a call that writes to call->out: clears it. Returns the room that it has. */
CK_ULONG ks_answer_room(struct ks_call *call);
/* Purpose: after it: notes `function` and its code as ks_call_rv() does, and sets call->out_len to
 * `len`, which is what the module says that it wrote. KS_TOKEN if that is more than call->room. */
ks_status ks_answer_output(struct ks_call *call, enum ks_fn function, CK_RV rv, CK_ULONG len);
/* Purpose: after that, for results that are zeros for an input of zeros at most (signatures, raw
 * RSA, shared secrets): KS_TOKEN unless one of the call->out_len bytes is another one. The module
 * said CKR_OK and wrote nothing. Takes the same time whatever the bytes are. */
ks_status ks_answer_written(struct ks_call *call, enum ks_fn function);
/* Purpose: calls C_GenerateRandom for `len` bytes, which go to `out`, cleared before. The module is
 * asked for KS_RANDOM_LEAST bytes at least, so that it shows when it wrote nothing: KS_TOKEN then.
 * `*rv` is its code; the status fails for such an answer alone. */
ks_status ks_answer_random(struct ks_call *call, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                           uint8_t *out, size_t len, CK_RV *rv);

/* --- attributes ------------------------------------------------------------------------------ */

/* Purpose: calls C_GetAttributeValue for `count` (KS_ATTRIBUTES_MAX at most) attributes. A value's
 * room is ulValueLen if there is a pValue, and is cleared before; without a pValue the module is
 * asked for the length, and KS_VALUE_MAX is the room. `*rv` is the module's code; the status fails
 * for an answer that cannot be (KS_TOKEN) alone. After success each ulValueLen is its room at most,
 * or CK_UNAVAILABLE_INFORMATION: the token does not tell, or the room is too small; pValue and type
 * are what they were. */
ks_status ks_answer_attributes(struct ks_call *call, CK_FUNCTION_LIST *fn,
                               CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object,
                               CK_ATTRIBUTE *list, CK_ULONG count, CK_RV *rv);
/* Purpose: add the `len` bytes of another object to `*total`, those of a listing; KS_TOKEN beyond
 * KS_LISTING_MAX. */
ks_status ks_answer_listing(struct ks_call *call, size_t *total, size_t len);

/* --- counts and lists ------------------------------------------------------------------------ */

/* The lists that modules give by the same convention. */
enum ks_list { KS_LIST_SLOTS, KS_LIST_MECHANISMS };

/* Purpose: calls C_GetSlotList (slots with a token) or C_GetMechanismList (of `slot`) until the
 * whole list is there. With `room` 0 the module is first asked how many there are, otherwise that
 * many are expected. `*out` is never NULL after success, and released with free(). `token` may be
 * NULL, and is named in errors. KS_TOKEN for more than the limit, more than there was room for,
 * and a list that grows whenever it is read. */
ks_status ks_answer_list(const struct ks_token *token, CK_FUNCTION_LIST *fn, enum ks_list which,
                         CK_SLOT_ID slot, CK_ULONG room, CK_ULONG **out, CK_ULONG *count,
                         struct ks_error *err);
/* Purpose: after a C_FindObjects that was asked for `max` handles at `found` and says that it gave
 * `got`, in a search that gave `before` (right before `found`) so far: KS_TOKEN if it is more, if
 * one of them is none, or if the search has begun again. */
ks_status ks_answer_found(struct ks_call *call, const CK_OBJECT_HANDLE *found, CK_ULONG before,
                          CK_ULONG max, CK_ULONG got);
/* Purpose: KS_TOKEN if a search has found KS_OBJECTS_MAX objects, and may go on. */
ks_status ks_answer_objects(struct ks_call *call, CK_ULONG count);

/* Purpose: from `*least` to `*most`; both 0, for unknown, if that cannot be. */
void ks_answer_range(CK_ULONG *least, CK_ULONG *most);

/* --- handles --------------------------------------------------------------------------------- */

/* Purpose: KS_TOKEN if `function` said CKR_OK and gave no handle. */
ks_status ks_answer_handle(const struct ks_token *token, enum ks_fn function, CK_ULONG handle,
                           struct ks_error *err);

#endif
