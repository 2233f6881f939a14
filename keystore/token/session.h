/* SPDX-License-Identifier: Apache-2.0
 *
 * token/session.h - taking sessions from a token's pool, and giving them back.
 */
#ifndef HSM_KS_SESSION_H
#define HSM_KS_SESSION_H

#include "token.h"

struct ks_key;

enum ks_session_fate {
    KS_SESSION_KEEP,
    KS_SESSION_CLOSE,
    KS_SESSION_GONE, /* the module has said that there is no such session */
};

/* Purpose: take a session that is logged in; waits (until how->deadline_ns) when all are busy.
 * With `key`, `*handle` is that key's handle if it is known in this epoch, else
 * CK_INVALID_HANDLE: one lock for both. */
ks_status ks_session_take(struct ks_token *token, const struct ks_call_options *opts,
                          const struct ks_key *key, struct ks_session *out,
                          CK_OBJECT_HANDLE *handle, struct ks_error *err);
void ks_session_give(struct ks_token *token, struct ks_session *session, enum ks_session_fate fate);
/* Purpose: the same for a read-write session within the limit, for generation and destruction;
 * closed by ks_session_give with KS_SESSION_CLOSE. */
ks_status ks_session_take_rw(struct ks_token *token, const struct ks_call_options *opts,
                             const struct ks_key *key, struct ks_session *out,
                             CK_OBJECT_HANDLE *handle, struct ks_error *err);
/* What ks_pool_reserve() found. */
enum ks_pool_place {
    KS_POOL_IDLE, /* `out` is an idle session */
    KS_POOL_NEW,  /* room for one more was reserved: open it */
    KS_POOL_DOWN, /* the token has to be brought up */
    KS_POOL_LATE, /* none within the deadline */
};

/* Purpose: a session for ks_session_take(), in turn. `other_kind`: the caller needs a read-write
 * session, so an idle one is of no use: it is returned, to be closed, only if the pool is full.
 * Of `key` (may be NULL) the handle that is good in this epoch, or CK_INVALID_HANDLE. */
enum ks_pool_place ks_pool_reserve(struct ks_token *token, const struct ks_call_options *opts,
                                   const struct ks_key *key, bool other_kind,
                                   struct ks_session *out, CK_OBJECT_HANDLE *handle);
/* Purpose: a session is about to be closed: are all others that are open being closed as well?
 * Closing the last one logs out. Then, in any case, ks_pool_closed(). The caller holds
 * the pool's lock, for these three. */
bool ks_pool_closes_last(struct ks_token *token);
void ks_pool_closed(struct ks_token *token);
/* Purpose: the login ended with the last session: the next use begins with one, and no handle from
 * before is used after it. */
void ks_pool_none_left(struct ks_token *token);
/* Purpose: C_CloseSession, once more where that may help, of a session that was opened when the
 * module's init_count was that. Outside the gate; counts nothing. */
void ks_session_close(struct ks_token *token, CK_SESSION_HANDLE handle, unsigned init_count);
/* Purpose: close all idle sessions; the caller holds the connection's lock or is the last owner. */
void ks_session_close_idle(struct ks_token *token);

/* Purpose: there may be a session for the first one who waits; or things have changed for all. The
 * caller holds the pool's lock. */
void ks_session_call_next(struct ks_token *token);
void ks_session_call_all(struct ks_token *token);
/* Purpose: how many wait. The caller holds the pool's lock. */
unsigned ks_session_waiting(const struct ks_token *token);

#endif
