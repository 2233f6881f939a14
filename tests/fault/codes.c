/* SPDX-License-Identifier: Apache-2.0
 *
 * codes.c - each CKR_ code from each C_ function that the keystore calls, once at the first, a
 * middle and the last call of a run of operations, and as an outage that ends.
 *
 * What has to come of it is computed here, from the keystore's classification (ks_classify) and
 * the few differences below: never taken from what came of it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../keystore/base/error.h"
#include "fault.h"

static const struct {
    CK_RV rv;
    const char *name;
} all_codes[] = {
#define KS_RV(name, value, status, class) {value, #name},
#include "../../keystore/base/status.def"
#undef KS_RV
    {0x80000001UL, "CKR_VENDOR_DEFINED"},
    {0x00000fffUL, "a number that no standard knows"},
};

/* What is done in the middle of a run to make the keystore call the function there. */
enum shake {
    SHAKE_NOTHING,
    SHAKE_SESSIONS,   /* all sessions are gone, and the login with them */
    SHAKE_LOGIN,      /* the login is gone */
    SHAKE_HALF_LOGIN, /* as SESSIONS, and the token says "already logged in" and is not */
    SHAKE_CONNECTION, /* CKR_DEVICE_ERROR until the module is initialised anew */
    SHAKE_HICCUP,     /* one C_Sign fails for no known reason: that session is closed */
};

enum role {
    ROLE_STARTS, /* the recovery itself: it comes again after the recovery interval */
    ROLE_ENDS, /* p11-kit hides its failure, and never calls it again: the module keeps its state */
    ROLE_NEEDED, /* the operation cannot do without this call */
    ROLE_WANTED, /* what it says is of no consequence */
    ROLE_LEARNT, /* as WANTED; a forked child knows it already */
    ROLE_ASKED,  /* a question, asked once */
    ROLE_MAKING, /* makes something: never run again */
};

struct row {
    const char *function;
    enum work work;
    enum shake shake;
    enum role role;
};

static const struct row rows[] = {
    {"C_Initialize", WORK_SIGN, SHAKE_CONNECTION, ROLE_STARTS},
    {"C_Finalize", WORK_SIGN, SHAKE_CONNECTION, ROLE_ENDS},
    {"C_GetSlotList", WORK_SIGN, SHAKE_SESSIONS, ROLE_NEEDED},
    {"C_GetTokenInfo", WORK_SIGN, SHAKE_SESSIONS, ROLE_NEEDED},
    {"C_GetTokenInfo", WORK_SIGN, SHAKE_LOGIN, ROLE_NEEDED},
    {"C_GetMechanismList", WORK_SIGN, SHAKE_SESSIONS, ROLE_LEARNT},
    {"C_GetMechanismInfo", WORK_SIZES, SHAKE_NOTHING, ROLE_ASKED},
    {"C_OpenSession", WORK_SIGN, SHAKE_SESSIONS, ROLE_NEEDED},
    {"C_CloseSession", WORK_SIGN, SHAKE_HICCUP, ROLE_WANTED},
    {"C_GetSessionInfo", WORK_SIGN, SHAKE_HALF_LOGIN, ROLE_NEEDED},
    {"C_Login", WORK_SIGN, SHAKE_SESSIONS, ROLE_NEEDED},
    {"C_Login", WORK_SIGN, SHAKE_LOGIN, ROLE_NEEDED},
    {"C_Login", WORK_AUTH, SHAKE_NOTHING, ROLE_NEEDED},
    {"C_FindObjectsInit", WORK_SIGN, SHAKE_SESSIONS, ROLE_NEEDED},
    {"C_FindObjects", WORK_SIGN, SHAKE_SESSIONS, ROLE_NEEDED},
    {"C_FindObjectsFinal", WORK_SIGN, SHAKE_SESSIONS, ROLE_NEEDED},
    {"C_GetAttributeValue", WORK_SIGN, SHAKE_SESSIONS, ROLE_NEEDED},
    {"C_SignInit", WORK_SIGN, SHAKE_NOTHING, ROLE_NEEDED},
    {"C_Sign", WORK_SIGN, SHAKE_NOTHING, ROLE_NEEDED},
    {"C_DecryptInit", WORK_DECRYPT, SHAKE_NOTHING, ROLE_NEEDED},
    {"C_Decrypt", WORK_DECRYPT, SHAKE_NOTHING, ROLE_NEEDED},
    {"C_DeriveKey", WORK_DERIVE, SHAKE_NOTHING, ROLE_NEEDED},
    {"C_GetAttributeValue", WORK_DERIVE, SHAKE_NOTHING, ROLE_NEEDED},
    {"C_DestroyObject", WORK_DERIVE, SHAKE_NOTHING, ROLE_WANTED},
    {"C_GenerateRandom", WORK_RANDOM, SHAKE_NOTHING, ROLE_NEEDED},
    {"C_GenerateKeyPair", WORK_GENERATE, SHAKE_NOTHING, ROLE_MAKING},
};

/* Codes that are permanent by the table, and are overcome at this call all the same. */
static const struct {
    const char *function;
    int work; /* -1: whichever */
    CK_RV rv;
    const char *because;
} overcome[] = {
    {"C_Login", WORK_SIGN, CKR_USER_ALREADY_LOGGED_IN, "another part of the process did it"},
    {"C_GetAttributeValue", WORK_SIGN, CKR_ATTRIBUTE_SENSITIVE, "read again one by one"},
    {"C_GetAttributeValue", WORK_SIGN, CKR_ATTRIBUTE_TYPE_INVALID, "read again one by one"},
    {"C_GetAttributeValue", WORK_SIGN, CKR_ATTRIBUTE_VALUE_INVALID, "read again one by one"},
    {"C_GetAttributeValue", WORK_SIGN, CKR_BUFFER_TOO_SMALL, "read again one by one"},
    {"C_GenerateRandom", -1, CKR_ARGUMENTS_BAD, "asked for less at a time"},
    {"C_GenerateRandom", -1, CKR_DATA_LEN_RANGE, "asked for less at a time"},
};

/* --- the promise ----------------------------------------------------------------------------- */

enum promise {
    PROMISE_SERVED,   /* no operation is lost */
    PROMISE_ANSWERED, /* the one operation that the fault befell fails, and says so */
    PROMISE_EITHER,   /* one of these two: what is done for another reason may overcome it */
    PROMISE_PIN,      /* nothing goes until the PIN has been corrected: it is not tried again */
    PROMISE_LATER,    /* served again after the recovery interval */
    PROMISE_MODULE,   /* served again when the module has recovered by itself */
};

/* The keystore's number of a function. KS_NO_FUNCTION: it has no exceptions for that function. */
static enum ks_fn fn_of(const char *name)
{
    unsigned fn = KS_FUNCTIONS;

    while (--fn > 0 && strcmp(ks_fn_name((enum ks_fn)fn), name) != 0)
        ;
    return (enum ks_fn)fn;
}

static enum promise promise(const struct row *row, CK_RV rv)
{
    enum ks_recovery class;
    enum ks_code code;
    bool login;

    if (row->role == ROLE_STARTS)
        return PROMISE_LATER;
    if (row->role == ROLE_ENDS)
        return PROMISE_MODULE;
    if (row->role == ROLE_WANTED || row->role == ROLE_LEARNT)
        return PROMISE_SERVED;
    if (row->role == ROLE_ASKED || row->role == ROLE_MAKING)
        return PROMISE_ANSWERED;
    for (size_t i = 0; i < COUNT_OF(overcome); i++)
        if (overcome[i].rv == rv && strcmp(overcome[i].function, row->function) == 0 &&
            (overcome[i].work < 0 || overcome[i].work == (int)row->work))
            return PROMISE_SERVED;
    ks_classify(fn_of(row->function), rv, &code, &class);
    login = strcmp(row->function, "C_Login") == 0;
    /* overcome in the second of its two calls: a token was plugged in between */
    if (strcmp(row->function, "C_GetSlotList") == 0 && rv == CKR_BUFFER_TOO_SMALL)
        return PROMISE_EITHER;
    /* tried again if the token was taken down meanwhile, by another thread */
    if (strcmp(row->function, "C_OpenSession") == 0 && class == KS_PERMANENT)
        return PROMISE_EITHER;
    /* a module that has only just started may not have seen all of the token: looked at again */
    if (login && row->work == WORK_SIGN && rv == CKR_USER_PIN_NOT_INITIALIZED)
        return PROMISE_EITHER;
    if (class != KS_PERMANENT)
        return PROMISE_SERVED;
    if (login && code == KS_PIN_REFUSED)
        return PROMISE_PIN;
    if (code == KS_DEVICE && row->shake != SHAKE_NOTHING)
        return PROMISE_EITHER;
    return PROMISE_ANSWERED;
}

/* The codes whose class is not open to discussion, whatever the table says: what a session, a
 * login, a handle or a device suffers, and what passes. */
static const CK_RV never_permanent[] = {
    CKR_SESSION_HANDLE_INVALID, CKR_SESSION_CLOSED,     CKR_USER_NOT_LOGGED_IN,
    CKR_KEY_HANDLE_INVALID,     CKR_DEVICE_ERROR,       CKR_DEVICE_REMOVED,
    CKR_TOKEN_NOT_PRESENT,      CKR_DEVICE_MEMORY,      CKR_CRYPTOKI_NOT_INITIALIZED,
    CKR_OPERATION_ACTIVE,       CKR_FUNCTION_CANCELED,  CKR_SESSION_COUNT,
    CKR_OBJECT_HANDLE_INVALID,  CKR_VENDOR_DEFINED + 1,
};

static void check_table(struct result *r)
{
    enum ks_recovery class;
    enum ks_code code;

    for (size_t i = 0; i < COUNT_OF(never_permanent); i++) {
        ks_classify(KS_C_Sign, never_permanent[i], &code, &class);
        if (class == KS_PERMANENT)
            fault_tell(r, "base/status.def calls %s permanent", ks_rv_name(never_permanent[i]));
    }
}

/* --- one scenario ---------------------------------------------------------------------------- */

struct run {
    const struct scenario *s;
    struct result *r;
    struct crew crew;
    atomic_uint *profiles;
    CK_RV rv;
    enum promise promise;
    bool pin_refused; /* by the fault */
};

static void shake(void *arg)
{
    const struct run *run = arg;

    switch (run->s->row->shake) {
    case SHAKE_SESSIONS:
        fake_lose_sessions(false);
        break;
    case SHAKE_LOGIN:
        fake_lose_login();
        break;
    case SHAKE_HALF_LOGIN:
        fake_inject("C_Login", 1, 1, CKR_USER_ALREADY_LOGGED_IN, false);
        fake_lose_sessions(false);
        break;
    case SHAKE_CONNECTION:
        fake_lose_connection();
        break;
    case SHAKE_HICCUP:
        fake_fail("C_Sign", CKR_GENERAL_ERROR);
        break;
    default:
        break;
    }
}

/* Tell whether this failure is the one that the injected code has to lead to. */
static bool is_answer(void *arg, ks_status st, const struct ks_error *err)
{
    const struct run *run = arg;
    const struct row *row = run->s->row;
    enum ks_recovery class;
    enum ks_code code;

    if (run->promise == PROMISE_SERVED)
        return false;
    if (run->promise == PROMISE_PIN)
        return st.code == KS_PIN_REFUSED;
    ks_classify(fn_of(row->function), run->rv, &code, &class);
    if (row->work == WORK_DECRYPT && code == KS_DATA) /* the one error: no code in it */
        return st.code == KS_DATA && err->rv == 0;
    return st.code == code && err->rv == run->rv && err->function != NULL &&
           strcmp(err->function, row->function) == 0;
}

static bool always(void *arg, ks_status st, const struct ks_error *err)
{
    (void)arg;
    (void)st;
    (void)err;
    return true;
}

static unsigned nth_of(enum position position, unsigned calls)
{
    switch (position) {
    case AT_FIRST:
        return 1;
    case AT_LAST:
        return calls;
    default:
        return (calls + 1) / 2;
    }
}

/* Among threads the call may be the one that ends a search which sessions that vanished have made
 * fail: what it says is not looked at then, and the search is made again. */
static bool ends_a_failed_search(const struct run *run)
{
    const struct row *row = run->s->row;

    return run->s->threads > 1 && row->shake != SHAKE_NOTHING &&
           strcmp(row->function, "C_FindObjectsFinal") == 0;
}

static void check_one_off(const struct run *run, unsigned hits)
{
    unsigned refused = atomic_load(&run->r->refused), want = 0;

    atomic_store(&run->r->hits, hits);
    if (run->promise == PROMISE_ANSWERED)
        want = hits;
    if (run->promise == PROMISE_PIN)
        want = hits > 0 && refused > 0 ? refused : hits;
    if (run->promise == PROMISE_EITHER || ends_a_failed_search(run))
        want = hits > 0 && refused == 0 ? 0 : hits;
    if (refused != want)
        fault_tell(run->r, "%u operations were refused, and not %u", refused, want);
}

/* Initialise the module again, as one does by itself whose server has come back. */
static void recover_by_itself(void)
{
    CK_C_INITIALIZE_ARGS args = {.flags = CKF_OS_LOCKING_OK};
    CK_FUNCTION_LIST *fn = NULL;

    if (C_GetFunctionList(&fn) != CKR_OK || fn->C_Finalize(NULL) != CKR_OK ||
        fn->C_Initialize(&args) != CKR_OK)
        abort();
}

/* With the faults in place. In the forked child where there is one. */
static void at_work(void *arg)
{
    struct run *run = arg;
    const struct row *row = run->s->row;
    bool outage = run->s->position == AT_OUTAGE;
    /* how the token spells ECDH has been found out */
    bool warm = run->s->forked || row->work == WORK_DERIVE;
    unsigned calls, nth, objects;
    struct ks_error err;

    /* Where nothing shakes, the calls that count are those of the operations themselves. */
    if (row->shake == SHAKE_NOTHING) {
        crew_load(&run->crew);
        if (run->s->forked && !ks_ok(ks_token_connect(run->crew.token, NULL, &err)))
            fault_tell(run->r, "before any fault: %s", err.text);
        for (unsigned i = 0; warm && i < run->crew.threads; i++) {
            bool wrong;

            if (!ks_ok(world_work(run->crew.hand[i], row->work, 0, NULL, &wrong, &err)))
                fault_tell(run->r, "before any fault: %s", err.text);
        }
    }
    objects = fake_objects(world_slot, FAKE_ANY);
    fake_clear_counts();
    run->crew.shake = shake;
    run->crew.arg = run;
    if (run->s->dry) {
        crew_run(&run->crew);
        atomic_store(&run->profiles[run->s->profile], (unsigned)fake_calls(row->function));
    } else {
        calls = atomic_load(&run->profiles[run->s->profile]);
        if (calls == 0) {
            fault_tell(run->r, "%s is never called in this run", row->function);
            return;
        }
        nth = nth_of(run->s->position, calls);
        fake_inject(row->function, nth, outage ? FAKE_FOREVER : 1, run->rv, false);
        if (outage || run->promise == PROMISE_LATER || run->promise == PROMISE_MODULE)
            run->crew.excuse = always;
        else
            run->crew.refusal = is_answer;
        crew_run(&run->crew);
        if (!outage)
            check_one_off(run, fake_calls(row->function) >= nth);
        fake_heal(NULL);
        if (run->promise == PROMISE_PIN)
            world_set_pin("5678", true);
        if (run->promise == PROMISE_MODULE)
            recover_by_itself();
    }
    run->crew.shake = NULL;
    crew_serves(&run->crew);
    if (row->work == WORK_GENERATE && !run->s->dry) {
        unsigned made = fake_objects(world_slot, FAKE_ANY) - objects;
        unsigned done = atomic_load(&run->r->tried) - atomic_load(&run->r->refused) -
                        atomic_load(&run->r->down) - atomic_load(&run->r->lost) + 1;

        if (made != 2 * done)
            fault_tell(run->r, "%u generations succeeded, and %u objects are there", done, made);
    } else if (row->work == WORK_DERIVE && fake_objects(world_slot, FAKE_ANY) != objects) {
        fault_tell(run->r, "derived secrets were left behind");
    }
    atomic_store(&run->r->finished, true);
}

void codes_run(const struct scenario *s, struct result *r, atomic_uint *profiles)
{
    struct run run = {.s = s, .r = r, .profiles = profiles, .rv = all_codes[s->code].rv};
    /* long enough to matter, short enough to be waited for two thousand times */
    const struct ks_token_config config = {.recover_ms = 50};

    check_table(r);
    run.promise = promise(s->row, run.rv);
    run.crew = (struct crew){.token = world_token(&config),
                             .work = s->row->work,
                             .threads = s->threads,
                             .each = s->threads == 1 ? 6 : 2,
                             .shake_at = s->threads == 1 ? 3 : 1,
                             .result = r};
    if (s->forked) {
        crew_load(&run.crew);
        fork_and_run(r, at_work, &run);
        /* the parent goes on as if nothing had happened */
        run.crew.each = 1;
        crew_run(&run.crew);
    } else {
        at_work(&run);
    }
    crew_free(&run.crew);
    ks_token_free(run.crew.token);
    world_clean();
}

/* --- all of them ----------------------------------------------------------------------------- */

static const char *const position_names[POSITIONS] = {"first", "middle", "last", "outage"};

static const char *const work_names[] = {
    [WORK_SIGN] = "sign",
    [WORK_DECRYPT] = "decrypt",
    [WORK_DERIVE] = "derive",
    [WORK_RANDOM] = "random",
    [WORK_AUTH] = "sign, always authenticate",
    [WORK_GENERATE] = "generate",
    [WORK_SIZES] = "ask for key sizes",
};

static const char *const shake_names[] = {
    [SHAKE_NOTHING] = "steady",
    [SHAKE_SESSIONS] = "sessions vanish",
    [SHAKE_LOGIN] = "login vanishes",
    [SHAKE_HALF_LOGIN] = "login does not hold",
    [SHAKE_CONNECTION] = "connection lost",
    [SHAKE_HICCUP] = "a session is given up",
};

static void add(scenario_add *out, struct scenario *s)
{
    const struct row *row = s->row;

    snprintf(s->name, sizeof(s->name), "%s %s (%s, %s) %s %u thread%s%s", row->function,
             s->dry ? "no fault" : all_codes[s->code].name, work_names[row->work],
             shake_names[row->shake], s->dry ? "dry" : position_names[s->position], s->threads,
             s->threads == 1 ? "" : "s", s->forked ? " forked" : "");
    out(s);
}

void codes_list(scenario_add *out)
{
    static const unsigned threads[] = {1, 8};
    unsigned profile = 0;

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        for (unsigned t = 0; t < 4; t++) {
            struct scenario s = {.row = &rows[i],
                                 .threads = threads[t / 2],
                                 .forked = t % 2 == 1,
                                 .dry = true,
                                 .profile = profile++};

            if (s.forked && rows[i].role == ROLE_LEARNT)
                continue;
            add(out, &s);
            s.dry = false;
            for (s.code = 0; s.code < COUNT_OF(all_codes); s.code++)
                for (s.position = AT_FIRST; s.position < POSITIONS; s.position++)
                    if (all_codes[s.code].rv != CKR_OK)
                        add(out, &s);
        }
    }
}

/* --- for the report -------------------------------------------------------------------------- */

void row_facts(const struct row *row, struct row_facts *out)
{
    *out = (struct row_facts){row->function, work_names[row->work], shake_names[row->shake]};
}

const struct row *row_number(unsigned i)
{
    return i < COUNT_OF(rows) ? &rows[i] : NULL;
}

bool code_facts(unsigned i, struct code_facts *out)
{
    static const char *const treated[KS_RECOVERIES] = {
        [KS_PERMANENT] = "an answer",
        [KS_RETRY] = "again after a pause",
        [KS_AMBIGUOUS] = "once more, in another session",
        [KS_SESSION_DIRTY] = "another session",
        [KS_SESSION_LOST] = "all sessions anew",
        [KS_SESSIONS_FULL] = "wait for a session",
        [KS_LOGIN_LOST] = "log in again",
        [KS_STALE_HANDLE] = "find the key again",
        [KS_DEVICE_LOST] = "bring the token up again",
    };
    enum ks_recovery class;
    enum ks_code code;

    if (i >= COUNT_OF(all_codes))
        return false;
    ks_classify(KS_NO_FUNCTION, all_codes[i].rv, &code, &class);
    *out = (struct code_facts){all_codes[i].name, treated[class], all_codes[i].rv};
    return true;
}

const char *promise_of(const struct row *row, unsigned code)
{
    static const char *const words[] = {
        [PROMISE_SERVED] = "served", [PROMISE_ANSWERED] = "answered", [PROMISE_EITHER] = "answered",
        [PROMISE_PIN] = "pin",       [PROMISE_LATER] = "later",       [PROMISE_MODULE] = "module"};

    return words[promise(row, all_codes[code].rv)];
}
