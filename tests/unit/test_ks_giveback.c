/* SPDX-License-Identifier: Apache-2.0
 *
 * token/session.c and all who take sessions: whatever call fails, in whatever operation, a session
 * that was counted or opened is given back or closed. The token has room for one only, so that the
 * next operation would wait for ever for one that was forgotten.
 */
#include "ks_fixture.h"

#include <pthread.h>
#include <time.h>

#include "../../keystore/base/clock.h"
#include "../../keystore/token/key.h"

#define LIMIT_MS 20000U

static struct ks_key *key;
static unsigned made;

static struct ks_call_options soon(void)
{
    return (struct ks_call_options){.deadline_ns = ks_now_ns() + (uint64_t)LIMIT_MS * 1000000U};
}

/* --- what may be under way when it happens --------------------------------------------------- */

static ks_status do_sign(void)
{
    struct ks_call_options opts = soon();
    uint8_t sig[FX_ROOM];
    size_t len = sizeof(sig);

    return ks_sign(key, &opts, &fx_ecdsa, fx_digest, sizeof(fx_digest), sig, &len, &fx.err);
}

static ks_status do_derive(void)
{
    static const uint8_t base[65] = {
        0x04, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5,
        0x63, 0xa4, 0x40, 0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4,
        0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96, 0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a,
        0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce, 0x33,
        0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5};
    struct ks_call_options opts = soon();
    uint8_t secret[66];
    size_t len = sizeof(secret);

    return ks_derive(key, &opts, false, base, sizeof(base), secret, &len, &fx.err);
}

static ks_status do_find(void)
{
    struct ks_uri *uri = fx_uri("pkcs11:object=k", KS_URI_CALLER);
    struct ks_call_options opts = soon();
    struct ks_key *found = NULL;
    ks_status st = ks_key_find(fx.token, &opts, uri, &found, &fx.err);

    ks_key_free(found);
    ks_uri_free(uri);
    return st;
}

static bool see(void *arg, const struct ks_object *object)
{
    (void)arg;
    (void)object;
    return true;
}

static ks_status do_list(void)
{
    struct ks_call_options opts = soon();

    return ks_token_objects(fx.token, &opts, NULL, see, NULL, &fx.err);
}

static ks_status do_random(void)
{
    struct ks_call_options opts = soon();
    uint8_t bytes[32];

    return ks_random(fx.token, &opts, bytes, sizeof(bytes), &fx.err);
}

/* A read-write session takes the place of the only one there is: the login ends and begins. */
static ks_status do_generate(void)
{
    static const uint8_t p256[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
    char label[24];
    const struct ks_generate_spec spec = {.type = KS_KEY_EC,
                                          .ec_params = p256,
                                          .ec_params_len = sizeof(p256),
                                          .label = label,
                                          .sign = true};
    struct ks_call_options opts = soon();
    struct ks_key *new = NULL;
    ks_status st;

    snprintf(label, sizeof(label), "made-%u", ++made);
    st = ks_generate(fx.token, &opts, &spec, &new, &fx.err);
    ks_key_free(new);
    return st;
}

static ks_status do_destroy(void)
{
    struct ks_call_options opts = soon();
    struct ks_uri *uri;
    struct ks_key *doomed = NULL;
    char text[48];
    ks_status st;

    snprintf(text, sizeof(text), "doomed-%u", ++made);
    fake_add_pair(fx.slot, FAKE_P256, text);
    snprintf(text, sizeof(text), "pkcs11:object=doomed-%u", made);
    uri = fx_uri(text, KS_URI_CALLER);
    st = ks_key_find(fx.token, &opts, uri, &doomed, &fx.err);
    if (ks_ok(st))
        st = ks_key_destroy(doomed, &opts, &fx.err);
    ks_key_free(doomed);
    ks_uri_free(uri);
    return st;
}

static const struct {
    const char *name;
    ks_status (*run)(void);
} operations[] = {
    {"sign", do_sign},     {"derive", do_derive},     {"find", do_find},       {"list", do_list},
    {"random", do_random}, {"generate", do_generate}, {"destroy", do_destroy},
};

/* --- in what state the token is when it begins ----------------------------------------------- */

static void nothing_special(void)
{
}

static void logged_out(void)
{
    fake_lose_login();
}

static void sessions_lost(void)
{
    fake_lose_sessions(false);
}

static const struct {
    const char *name;
    void (*go)(void);
    bool lost; /* what is counted need not be there */
} states[] = {
    {"connected", nothing_special, false},
    {"logged out", logged_out, false},
    {"all sessions lost", sessions_lost, true},
};

/* --- what goes wrong ------------------------------------------------------------------------- */

static const char *const functions[] = {
    "C_GetSlotList",       "C_GetTokenInfo",  "C_GetMechanismList",
    "C_OpenSession",       "C_CloseSession",  "C_Login",
    "C_FindObjectsInit",   "C_FindObjects",   "C_FindObjectsFinal",
    "C_GetAttributeValue", "C_SignInit",      "C_Sign",
    "C_DeriveKey",         "C_DestroyObject", "C_GenerateKeyPair",
    "C_GenerateRandom",
};

static const struct {
    unsigned long rv;
    unsigned times;
} codes[] = {
    {CKR_DEVICE_ERROR, 1},           {CKR_DEVICE_ERROR, 3},
    {CKR_GENERAL_ERROR, 1},          {CKR_HOST_MEMORY, 1},
    {CKR_DEVICE_MEMORY, 1},          {CKR_SESSION_COUNT, 1},
    {CKR_SESSION_HANDLE_INVALID, 1}, {CKR_USER_NOT_LOGGED_IN, 1},
    {CKR_USER_NOT_LOGGED_IN, 3},     {CKR_VENDOR_DEFINED + 1, 1},
};

/* A module says that there is no such session to what was given one; and a session that it does not
 * close, however often it is asked, stays open. */
static bool makes_sense(const char *function, unsigned times, unsigned long rv)
{
    static const char *const without[] = {"C_GetSlotList", "C_GetTokenInfo", "C_GetMechanismList",
                                          "C_OpenSession"};

    if (strcmp(function, "C_CloseSession") == 0)
        return times == 1;
    for (size_t i = 0; i < COUNT_OF(without); i++)
        if (rv == CKR_SESSION_HANDLE_INVALID && strcmp(function, without[i]) == 0)
            return false;
    return true;
}

/* The pool's numbers are the token's. What is counted of a token that is down are idle sessions
 * that nobody has come to close yet. */
static void numbers_agree(const char *what)
{
    unsigned open, idle;

    pthread_mutex_lock(&fx.token->pool.lock);
    open = fx.token->pool.open_count;
    idle = fx.token->pool.idle_count;
    pthread_mutex_unlock(&fx.token->pool.lock);
    ck_assert_msg(open == fake_sessions() && idle == open,
                  "%s: %u sessions counted, %u idle, and %u open in the token", what, open, idle,
                  fake_sessions());
}

static void one(size_t op, size_t state, const char *function, unsigned nth, unsigned times,
                unsigned long rv)
{
    char what[200];
    ks_status st;

    if (!makes_sense(function, times, rv))
        return;
    snprintf(what, sizeof(what), "%s (%s), %s number %u fails %u times with 0x%lx",
             operations[op].name, states[state].name, function, nth, times, rv);
    states[state].go();
    fake_inject(function, nth, times, rv, false);
    st = operations[op].run();
    ck_assert_msg(st.code != KS_TIMEOUT, "%s: %s", what, fx.err.text);
    fake_heal(NULL);
    if (!states[state].lost)
        numbers_agree(what);
    st = do_sign();
    ck_assert_msg(ks_ok(st), "%s, and the next signature: %s", what, fx.err.text);
    numbers_agree(what);
    ck_assert_msg(fake_sessions() == 1, "%s: %u sessions", what, fake_sessions());
}

/* One row an operation; every call of every function that it makes. */
START_TEST(no_failure_takes_a_session_along)
{
    const size_t op = (size_t)_i;
    struct ks_token_config config;
    unsigned long calls;

    fx_restart(&(struct fake_token){.sessions_max = 1});
    fake_set_cheap(true);
    config = fx_config();
    config.sessions = 1;
    config.recover_ms = 1;
    fx_ok(ks_token_new(&config, &fx.token, &fx.err));
    key = fx_new_key(FAKE_P256, "k");
    fx_ok(do_sign());
    for (size_t s = 0; s < COUNT_OF(states); s++) {
        for (size_t f = 0; f < COUNT_OF(functions); f++) {
            states[s].go();
            fake_clear_counts();
            fx_ok(operations[op].run());
            calls = fake_calls(functions[f]);
            fx_ok(do_sign());
            for (unsigned nth = 1; nth <= calls && nth <= 4; nth++) {
                for (size_t c = 0; c < COUNT_OF(codes); c++)
                    one(op, s, functions[f], nth, codes[c].times, codes[c].rv);
            }
        }
    }
    ks_key_free(key);
}
END_TEST

/* The login that the only session needs after it was replaced is refused for another reason than
 * the PIN: twice, and as long as the token goes on so. */
START_TEST(a_login_that_fails_in_the_only_session_gives_it_back)
{
    struct ks_token_config config = fx_config();

    config.sessions = 1;
    config.recover_ms = 1;
    fx_ok(ks_token_new(&config, &fx.token, &fx.err));
    key = fx_new_key(FAKE_P256, "k");
    for (unsigned i = 0; i < 5; i++) {
        fake_inject("C_Login", 1, FAKE_FOREVER, CKR_DEVICE_ERROR, false);
        fx_fails(do_generate(), KS_DEVICE);
        ck_assert_uint_eq(fake_sessions(), 0);
        fake_heal(NULL);
    }
    fx_ok(do_sign());
    fx_ok(do_generate());
    fx_sign_well(key, "k");
    ck_assert_uint_eq(fake_sessions(), 1);
    ks_key_free(key);
}
END_TEST

int main(void)
{
    const struct fx_test tests[] = {
        {no_failure_takes_a_session_along, COUNT_OF(operations)},
        {a_login_that_fails_in_the_only_session_gives_it_back, 0},
    };

    return fx_main("ks_giveback", tests, COUNT_OF(tests));
}
