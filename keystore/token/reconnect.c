/* SPDX-License-Identifier: Apache-2.0
 *
 * reconnect.c - the table by which a thread decides what to do when connecting has failed.
 */
#include <stdbool.h>
#include <stddef.h>

#include "reconnect.h"

enum answer { NO, YES, ANY };

/* The first row that fits holds; without one there is nothing left to try. A row fits at most
 * `reinits` times. SoftHSM, for one, writes a token's file anew at every login, and a process that
 * reads it in that moment sees no token, for ever, or one without a PIN: hence the rows about
 * modules that were just loaded, and the second reinitialisation of a token that is missing. */
static const struct {
    enum ks_reconnect_outcome outcome;
    enum answer just_loaded, login_retried;
    unsigned reinits_from, reinits_below;
    enum ks_reconnect_state next;
} rows[] = {
    {KS_OUTCOME_CONNECTED, ANY, ANY, 0, ~0U, KS_RECONNECT_DONE},
    {KS_OUTCOME_LOGIN_UNCLEAR, YES, NO, 0, ~0U, KS_RECONNECT_PAUSE},
    {KS_OUTCOME_LOGIN_UNCLEAR, NO, NO, 0, ~0U, KS_RECONNECT_PAUSE_IF_DUE},
    {KS_OUTCOME_DEVICE_LOST, YES, ANY, 0, KS_REINITS_JUST_LOADED, KS_RECONNECT_PAUSE},
    {KS_OUTCOME_DEVICE_LOST, NO, ANY, 0, 1, KS_RECONNECT_WAIT_INTERVAL},
    {KS_OUTCOME_TOKEN_MISSING, YES, ANY, 0, KS_REINITS_JUST_LOADED, KS_RECONNECT_PAUSE},
    {KS_OUTCOME_TOKEN_MISSING, NO, ANY, 0, 1, KS_RECONNECT_WAIT_INTERVAL},
    {KS_OUTCOME_TOKEN_MISSING, NO, ANY, 1, 2, KS_RECONNECT_PAUSE},
    {KS_OUTCOME_HALF_WRITTEN, YES, ANY, 0, KS_REINITS_JUST_LOADED, KS_RECONNECT_PAUSE},
};

static bool fits(enum answer wanted, bool is)
{
    return wanted == ANY || (wanted == YES) == is;
}

enum ks_reconnect_state ks_reconnect_next(const struct ks_reconnect *r,
                                          enum ks_reconnect_outcome outcome)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].outcome == outcome && fits(rows[i].just_loaded, r->just_loaded) &&
            fits(rows[i].login_retried, r->login_retried) && r->reinits >= rows[i].reinits_from &&
            r->reinits < rows[i].reinits_below)
            return rows[i].next;
    return KS_RECONNECT_GIVE_UP;
}
