/* SPDX-License-Identifier: Apache-2.0
 *
 * evil.h - control of evil-pkcs11.so, a PKCS#11 module in front of the fake one (fake.h) that lies:
 * one lie of evil.def at a time, everything else is the fake one's.
 *
 * A test program links it and gives its path (EVIL_PKCS11_PATH) to the code under test. Programs
 * that do not know this header are told by the environment: HSM_EVIL_LIE=SIGN_LONG, and
 * HSM_EVIL_TOLD=FILE, which exists once the lie has been told.
 */
#ifndef EVIL_PKCS11_H
#define EVIL_PKCS11_H

enum evil_lie {
    EVIL_TRUTH,
#define EVIL_LIE(name, function, outcome) EVIL_##name,
#include "evil.def"
#undef EVIL_LIE
    EVIL_LIES
};

/* What has to come of a lie; evil.def says what each means. */
enum evil_outcome {
    EVIL_IS_REFUSED,
    EVIL_IS_FAILS,
    EVIL_IS_ASKED,
    EVIL_IS_HARMLESS,
    EVIL_IS_ANY,
};

/* The rows of evil.def, and one for the truth. */
extern const struct evil_row {
    const char *name, *function;
    enum evil_outcome outcome;
} evil_lies[EVIL_LIES];

#define EVIL_EVERY (~0UL)

/* Purpose: tell that lie from now on. The lies about values are about `attribute` (CKA_) alone,
 * EVIL_EVERY: about all that are asked for. */
void evil_tell(enum evil_lie lie, unsigned long attribute);
/* Purpose: how often it was told since. */
unsigned evil_told(void);
/* Purpose: the latest number that was claimed; 0: there was none in it. */
unsigned long evil_claimed(void);

#endif
