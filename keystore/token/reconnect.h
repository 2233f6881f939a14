/* SPDX-License-Identifier: Apache-2.0
 *
 * token/reconnect.h - what a thread does that reconnects a token: a state machine without side
 * effects. token/connect.c acts on its states; docs/recovery.md is its truth table.
 */
#ifndef HSM_KS_RECONNECT_H
#define HSM_KS_RECONNECT_H

#include <stdbool.h>

enum ks_reconnect_state {
    KS_RECONNECT_CONNECT,       /* open a session and log in, in the module as it is */
    KS_RECONNECT_PAUSE,         /* back off, then initialise the module again at once */
    KS_RECONNECT_PAUSE_IF_DUE,  /* back off, then do it if the recover interval allows it */
    KS_RECONNECT_WAIT_INTERVAL, /* wait for the rest of the recover interval, then do it */
    KS_RECONNECT_REINIT,        /* initialise the module again */
    KS_RECONNECT_DONE,
    KS_RECONNECT_GIVE_UP,
    KS_RECONNECT_STATES
};

/* What has come of connecting. */
enum ks_reconnect_outcome {
    KS_OUTCOME_CONNECTED,
    KS_OUTCOME_LOGIN_UNCLEAR, /* C_Login failed with a code that need not mean a wrong PIN */
    KS_OUTCOME_DEVICE_LOST,   /* the module says that the device is gone */
    KS_OUTCOME_TOKEN_MISSING, /* a token that was here before is not seen, or only half of it */
    KS_OUTCOME_HALF_WRITTEN,  /* looks like a token whose files somebody is just writing */
    KS_OUTCOME_FAILED,        /* anything else, as a wrong PIN */
    KS_OUTCOMES
};

/* What the decision depends on, besides the outcome. */
struct ks_reconnect {
    bool just_loaded;   /* this reconnect has itself initialised the module for the first time */
    bool login_retried; /* an unclear login has had its second chance */
    unsigned reinits;   /* how often the module was initialised again because of the token */
};

/* How often a module that was just loaded is initialised again. */
#define KS_REINITS_JUST_LOADED 4U

/* Purpose: the state after KS_RECONNECT_CONNECT with that outcome. Thread-safe, no side effects. */
enum ks_reconnect_state ks_reconnect_next(const struct ks_reconnect *r,
                                          enum ks_reconnect_outcome outcome);

#endif
