/* SPDX-License-Identifier: Apache-2.0
 *
 * ks_fixture.h - what the keystore's unit tests share: a fake token, a PIN file, short cuts.
 * Tests work in a process each and (CK_FORK=no) one after the other in one process.
 */
#ifndef KS_FIXTURE_H
#define KS_FIXTURE_H

#include <check.h>
#include <p11-kit/pkcs11.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../keystore/keystore.h"
#include "fake.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

struct fx {
    char dir[64];       /* a folder of this test's own */
    char pin_path[96];  /* a good PIN file in it */
    char pin[112];      /* "file:" pin_path */
    char label[32];     /* of the token: never the same twice in a process */
    char uri[64];       /* "pkcs11:token=" label */
    unsigned long slot; /* of the fake */
    struct ks_error err;
    struct ks_token *token; /* fx_token()'s; freed by fx_teardown() */
};
extern struct fx fx;

/* Purpose: checked fixtures: a fresh fake with one token; and at the end, that no search and no
 * operation was left open. */
void fx_setup(void);
void fx_teardown(void);

/* Purpose: configuration of the token in `fx`, to be changed and given to ks_token_new(). */
struct ks_token_config fx_config(void);
/* Purpose: the one ks_token of most tests. */
struct ks_token *fx_token(void);
/* Purpose: take down what fx_setup() made, and make it again with another token. */
void fx_restart(const struct fake_token *spec);
/* Purpose: parse, or fail the test. */
struct ks_uri *fx_uri(const char *text, enum ks_uri_use use);
/* Purpose: ks_key_find() by label, with its status (the error is in fx.err); `*out` is set. */
ks_status fx_find(const char *label, struct ks_key **out);
/* Purpose: the same, it has to succeed. */
struct ks_key *fx_key(const char *label);
/* Purpose: add a pair to the fake and find it. */
struct ks_key *fx_new_key(enum fake_kind kind, const char *label);
void fx_write(const char *path, const char *text, unsigned mode);

/* A 32-byte input, and room for every signature. */
extern const uint8_t fx_digest[32];
#define FX_ROOM 1024

extern const struct ks_mech fx_pkcs1, fx_raw, fx_ecdsa;

/* Purpose: sign fx_digest with the mechanism that suits the key; the result is not looked at. */
ks_status fx_sign(struct ks_key *key);
/* Purpose: sign with everything checked: success, and the signature is that of the fake's private
 * object with this label. */
void fx_sign_well(struct ks_key *key, const char *label);

/* Purpose: whether an ECDSA signature succeeds, and is that of the fake's private object with this
 * label. Asserts nothing, for children. */
bool fx_signs(struct ks_key *key, const char *label);
/* Purpose: run `body` in a child that is ended if it takes more than 20 s; its failures are ours.
 * Without the parent's exit handlers: they are looked at apart. */
void fx_in_child(void (*body)(void *arg), void *arg);
/* Purpose: for a child, where Check's asserts would write to the parent's pipe, or return to its
 * tests: end it with `text` unless `what`. */
void fx_need(bool what, const char *text);

/* Purpose: the next `calls` calls of `function` wait for each other: so that many are under way at
 * once, however slow the machine is. fx_met() is called after them, and fails if they never met. */
void fx_meet(const char *function, unsigned calls);
void fx_met(void);

/* Purpose: fewer rounds where every instruction costs fifty. */
unsigned fx_rounds(unsigned full);

/* A test, and how many times it runs (for tests that take a row of a table by _i); 0: once. */
struct fx_test {
    const TTest *test;
    int rows;
};

/* Purpose: run a Check program of one case; returns main()'s exit code. */
int fx_main(const char *name, const struct fx_test *tests, size_t count);

#define fx_ok(status)                                                                              \
    do {                                                                                           \
        ks_status fx_st = (status);                                                                \
        ck_assert_msg(ks_ok(fx_st), "unexpected failure %d: %s", (int)fx_st.code, fx.err.text);    \
    } while (0)

#define fx_fails(status, wanted)                                                                   \
    do {                                                                                           \
        ks_status fx_st = (status);                                                                \
        ck_assert_msg(fx_st.code == (wanted), "%s: status %d (%s), not %d; %s", #status,           \
                      (int)fx_st.code, ks_code_text(fx_st.code), (int)(wanted), fx.err.text);      \
    } while (0)

#define fx_says(part)                                                                              \
    ck_assert_msg(strstr(fx.err.text, (part)) != NULL, "\"%s\" is not in: %s", (part), fx.err.text)

#define fx_log_is(log) ck_assert_str_eq(fake_log(), (log))

#endif
