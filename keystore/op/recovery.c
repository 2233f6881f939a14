/* SPDX-License-Identifier: Apache-2.0
 *
 * recovery.c - the table of what is done about each class of failure. base/status.def says which
 * class a CKR_ code belongs to; op/try.c acts on the rows.
 */
#include "recovery.h"

#include "../base/clock.h"

const struct ks_recovery_row ks_recovery_rows[KS_RECOVERIES] = {
    [KS_PERMANENT] = {"permanent", "trying again would not help", 0, 0, KS_SESSION_KEEP,
                      KS_REMEDY_NONE},
    [KS_RETRY] = {"transient", "passes by itself", 4, KS_TRANSIENT_PAUSE_NS, KS_SESSION_KEEP,
                  KS_REMEDY_NONE},
    [KS_AMBIGUOUS] = {"ambiguous", "may mean anything", 1, 0, KS_SESSION_CLOSE, KS_REMEDY_NONE},
    [KS_SESSION_DIRTY] = {"session dirty", "an operation is still active in the session", 2, 0,
                          KS_SESSION_KEEP, KS_REMEDY_NONE},
    [KS_SESSION_LOST] = {"session lost", "all sessions of this login are gone", 4, 0,
                         KS_SESSION_GONE, KS_REMEDY_RECONNECT},
    [KS_SESSIONS_FULL] = {"sessions full", "the token has no room for another session", 2, 0,
                          KS_SESSION_KEEP, KS_REMEDY_NONE},
    [KS_LOGIN_LOST] = {"login lost", "the session is no longer logged in", 4, 0, KS_SESSION_KEEP,
                       KS_REMEDY_LOG_IN},
    [KS_STALE_HANDLE] = {"stale handle", "the key's handle is no longer good", 1, 0,
                         KS_SESSION_KEEP, KS_REMEDY_FIND_KEY},
    [KS_DEVICE_LOST] = {"device lost", "the token or its device is gone", 2, 0, KS_SESSION_CLOSE,
                        KS_REMEDY_RECONNECT},
};
