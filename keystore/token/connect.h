/* SPDX-License-Identifier: Apache-2.0
 *
 * token/connect.h - finding a token, logging in, connecting and reconnecting.
 */
#ifndef HSM_KS_CONNECT_H
#define HSM_KS_CONNECT_H

#include "call.h"
#include "token.h"

/* --- slots (token/slot.c) -------------------------------------------------------------------- */

/* Purpose: initialise the module where that is still to be done, find the token's slot, and note
 * what the module says of it. The caller holds the connection's lock. */
ks_status ks_slot_connect(struct ks_token *token, struct ks_error *err);
/* Purpose: what a token says of itself, as plain data. */
void ks_slot_facts(struct ks_token_facts *facts, CK_SLOT_ID slot, const CK_TOKEN_INFO *info);
/* Purpose: whether C_GetTokenInfo() has said that there is no token in the slot. */
bool ks_slot_empty(CK_RV rv);
/* Purpose: PKCS#11's texts end in blanks; `out` has room for `size` + 1 bytes. */
void ks_copy_padded(char *out, const unsigned char *in, size_t size);
/* Purpose: read the token's flags again: others may have used up tries of the PIN. The caller holds
 * the connection's lock. */
ks_status ks_slot_refresh(struct ks_token *token, struct ks_error *err);
/* Purpose: token->facts, which another thread may be writing. Takes the pool's lock. */
void ks_token_copy_facts(struct ks_token *token, struct ks_token_facts *out);
/* Purpose: what the token in that slot says of itself now. Inside the gate. */
CK_RV ks_slot_flags(CK_FUNCTION_LIST *fn, CK_SLOT_ID slot, struct ks_token_facts *facts);
/* Purpose: KS_TOKEN_NOT_FOUND when `uri` (may be NULL) names another token than this one. */
ks_status ks_token_matches(struct ks_token *token, const struct ks_call_options *opts,
                           const struct ks_uri *uri, struct ks_error *err);

/* --- login (token/login.c) ------------------------------------------------------------------- */

/* How long a login that does not come back keeps others from it; changed by tests. */
extern uint64_t ks_login_lost_ns;

/* Purpose: log in on `session`, where the token wants it. Never sends a PIN that it refused. Holds
 * the connection's lock; outside the gate, for a person may be asked. */
ks_status ks_login(struct ks_token *token, const struct ks_call_options *opts,
                   CK_SESSION_HANDLE session, unsigned init_count, struct ks_error *err);
/* Purpose: C_Login(CKU_CONTEXT_SPECIFIC) for an operation that was just initialised. The PIN is
 * in memory since the token's login. The caller is inside the gate, which is left to wait for
 * others' logins; if there is no way back op->gate is NULL afterwards. */
ks_status ks_token_context_login(struct ks_call *call, CK_FUNCTION_LIST *fn,
                                 CK_SESSION_HANDLE session);
/* Purpose: initialise the locks again in a forked child, whose parent may have held them. */
void ks_turns_forked(void);

/* --- connections (token/connect.c) ----------------------------------------------------------- */

#define KS_RECOVER_MS_DEFAULT 1000U
/* Purpose: find out whether the token is usable as it stands; brings it up if not. */
ks_status ks_token_reconnect(struct ks_token *token, const struct ks_call_options *opts,
                             struct ks_error *err);
/* Purpose: ks_slot_connect(), tried again after a transient error. The caller holds the
 * connection's lock. */
ks_status ks_token_find_slot(struct ks_token *token, const struct ks_call_options *opts,
                             struct ks_error *err);
/* Purpose: take the connection's lock; false when the deadline has passed. */
bool ks_token_connect_lock(struct ks_token *token, const struct ks_call_options *opts);
/* Purpose: whether the present epoch is good. The second: the caller holds the pool's lock. */
bool ks_token_is_up(struct ks_token *token);
bool ks_token_is_up_unlocked(const struct ks_token *token);
/* Purpose: something is wrong with everything of `epoch`: take the token down, unless another
 * thread has replaced that epoch already. The next use brings it up again. */
void ks_token_mark_lost(struct ks_token *token, uint64_t epoch);
/* Purpose: the login of the session's epoch is gone: log in again in it, for a new epoch, unless
 * another thread did (`*did` tells). A login ends with the last session, so the others are
 * probably gone as well: the session begins a new age. */
ks_status ks_token_relogin(struct ks_token *token, const struct ks_call_options *opts,
                           struct ks_session *session, bool *did, struct ks_error *err);
/* Purpose: read the PIN of one token now. */
void ks_single_preload_pin(struct ks_token *token, const struct ks_call_options *opts);

#endif
