/* SPDX-License-Identifier: Apache-2.0
 *
 * token/pin.h - PINs: where they come from, where they are kept, and which were refused.
 */
#ifndef HSM_KS_PIN_H
#define HSM_KS_PIN_H

#include "../base/error.h"

/* --- pages for secrets (token/secret.c) ------------------------------------------------------ */

/* Purpose: a page of this size for secrets, zeroed, locked in memory and left out of core dumps as
 * far as the system lets us; NULL without memory. Wiped when it is freed. */
#define KS_SECRET_SIZE 4096
void *ks_secret_new(void);
void ks_secret_free(void *page);
/* Purpose: lock it again in a forked child (mlock is not inherited). */
void ks_secret_lock_page(void *page);
/* Purpose: say in the log, once in a process, what the system did not let us. Holds no lock. */
void ks_secrets_say(void);
/* Purpose: a short lock that guards what is in such pages, and their lists. Nothing else is locked
 * while it is held. A fork takes it, so that its child finds all in order. */
void ks_secrets_lock(void);
bool ks_secrets_try_lock(void);
void ks_secrets_unlock(void);
void ks_secrets_forked(void);

/* --- PINs that were refused (token/refused.c) ------------------------------------------------ */

/* A PIN that was sent to a token, or is about to be, as this process remembers it: no PIN, but an
 * HMAC. Without a function for that (ks_set_mac) all PINs for a token are alike. */
struct ks_pin_mark {
    uint64_t token; /* what it is: see token/login.c */
    bool exact;     /* `mac` is there */
    unsigned char mac[KS_MAC_SIZE];
};

enum ks_pin_verdict {
    KS_PIN_SEND,           /* it may be sent now, once */
    KS_PIN_REFUSED_BEFORE, /* never again */
    KS_PIN_COUNTED,        /* the last time it went unanswered, and the token counted a wrong PIN */
};

enum ks_pin_answer {
    KS_PIN_RIGHT,
    KS_PIN_WRONG,
    KS_PIN_PERHAPS_WRONG, /* an error that need not be the PIN's */
    KS_PIN_NO_ANSWER,     /* an error that is not */
};

void ks_pin_mark_make(uint64_t token, const char *pin, size_t len, struct ks_pin_mark *mark);
/* Purpose: ask before a PIN is sent. `low`: the token says that it has counted a wrong PIN, by
 * whomever. After KS_PIN_SEND comes ks_pin_answered(), sooner or later. */
enum ks_pin_verdict ks_pin_judge(const struct ks_pin_mark *mark, bool low);
void ks_pin_answered(const struct ks_pin_mark *mark, enum ks_pin_answer answer);
/* Purpose: in a forked child; and at the end of the process, when no PIN is sent any more: wipe
 * it. Both with ks_secrets_lock(), or where there is one thread. */
void ks_refused_forked(void);
void ks_refused_end(void);

/* --- PINs (token/pin.c) ---------------------------------------------------------------------- */

struct ks_pin;       /* a source, and what was read from it last */
struct ks_pin_value; /* a PIN that was read: a locked page that stays out of core dumps; constant */

/* Purpose: check a PIN source and make a holder for it; reads nothing yet. */
ks_status ks_pin_new(const char *source, struct ks_pin **out, struct ks_error *err);
void ks_pin_free(struct ks_pin *pin);
const char *ks_pin_source(const struct ks_pin *pin);
/* Purpose: tell whether a person is asked for it. */
bool ks_pin_asks(const struct ks_pin *pin);
/* Purpose: the PIN from memory, or from its source. `what` is what a person is asked. `*out` is a
 * reference, given back with ks_pin_put(). The caller holds the connection's lock. */
ks_status ks_pin_get(struct ks_pin *pin, const struct ks_call_options *opts, const char *what,
                     struct ks_pin_value **out, struct ks_error *err);
/* Purpose: the PIN that is in memory already, as a reference; NULL when there is none. Needs no
 * lock. */
struct ks_pin_value *ks_pin_peek(struct ks_pin *pin);
/* Purpose: give a reference (or NULL) back; the last one wipes. */
void ks_pin_put(struct ks_pin_value *value);
/* Purpose: its bytes, valid as long as the reference. */
const char *ks_pin_bytes(const struct ks_pin_value *value, size_t *len);
/* Purpose: its mark for a token. Inside the gate, as libcrypto makes it. */
void ks_pin_mark(struct ks_pin_value *value, uint64_t token, struct ks_pin_mark *mark);
/* Purpose: where a PIN is kept that came from a file, and this process may read that, take what is
 * in it now; one that was refused only if the file has changed. For a forked child, which has one
 * thread and nobody's locks, or with the connection's lock. */
void ks_pin_renew(struct ks_pin *pin);
/* Purpose: the token refused `value`: it is wiped, and the source looked at for the next login. */
void ks_pin_drop(struct ks_pin *pin, struct ks_pin_value *value);
/* Purpose: tell whether that has happened, and nothing was read since. */
bool ks_pin_gone(const struct ks_pin *pin);
/* Purpose: wipe the PIN; the source is read again for the next login. */
void ks_pin_forget(struct ks_pin *pin);
/* Purpose: in a forked child: lock the PINs in memory again, and forget those of logins of the
 * parent's threads. At the end of the process: wipe all that is left. */
void ks_pins_forked(void);
void ks_pins_end(void);

#endif
