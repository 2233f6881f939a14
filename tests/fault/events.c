/* SPDX-License-Identifier: Apache-2.0
 *
 * events.c - what befalls tokens and modules as a whole: sessions vanish, tokens are taken away,
 * modules hang. Each with one thread and with eight, and again in a forked child.
 */
#include <p11-kit/pkcs11.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fault.h"

#define TIMEOUT_MS 200U
/* the default of recover-interval-ms */
#define KS_RECOVER_MS 1000U

struct run;

struct event {
    const char *name, *what, *promise;
    struct ks_token_config config;
    void (*before)(void);
    void (*shake)(struct run *run);
    /* the failures that are answers, up to `refused_max`; 0: any number */
    enum ks_code refusal;
    enum ks_code or_refusal; /* what may be seen in the middle of the event; KS_OK: nothing else */
    unsigned refused_max;
    bool down; /* while it lasts the HSM cannot serve */
    void (*after)(void);
    unsigned pins_max;   /* PINs that may be sent; 0: not looked at */
    unsigned slowest_ms; /* 0: FAULT_SLOWEST_MS */
};

struct run {
    const struct event *event;
    const struct scenario *s;
    struct result *r;
    struct crew crew;
};

/* --- what happens ---------------------------------------------------------------------------- */

static void lose_sessions(struct run *run)
{
    (void)run;
    fake_lose_sessions(false);
}

static void lose_sessions_only(struct run *run)
{
    (void)run;
    fake_lose_sessions(true);
}

static void lose_login(struct run *run)
{
    (void)run;
    fake_lose_login();
}

static void lose_sessions_again(void *left)
{
    unsigned n = *(unsigned *)left;

    fake_lose_sessions(false);
    *(unsigned *)left = n - 1;
    if (n > 1)
        fake_at("C_SignInit", 9, lose_sessions_again, left);
}

static void lose_sessions_often(struct run *run)
{
    static unsigned left;

    (void)run;
    left = 3;
    lose_sessions_again(&left);
}

static void lose_connection(struct run *run)
{
    (void)run;
    fake_lose_connection();
}

static void lose_connection_again(void *arg)
{
    (void)arg;
    fake_lose_connection();
}

/* Twice, the second time right after the first recovery, and so within the recovery interval. */
static void lose_connection_twice(struct run *run)
{
    (void)run;
    fake_at("C_Sign", 1, lose_connection_again, NULL);
    fake_lose_connection();
}

static void handles_fresh(void)
{
    fake_set_reinit_handles(FAKE_HANDLES_FRESH);
}

static void handles_other(void)
{
    fake_set_reinit_handles(FAKE_HANDLES_OTHER);
}

static void renumber_handles(struct run *run)
{
    (void)run;
    fake_lose_sessions(false);
    fake_renumber(FAKE_HANDLES_OTHER);
}

static void renumber_slots(struct run *run)
{
    (void)run;
    fake_renumber_slots();
    fake_lose_sessions(false);
}

static void renumber_slots_and_connection(struct run *run)
{
    (void)run;
    fake_renumber_slots();
    fake_lose_connection();
}

static void remove_token(struct run *run)
{
    (void)run;
    fake_set_present(world_slot, false);
}

static void put_back_token(void)
{
    fake_set_present(world_slot, true);
}

static void server_down(struct run *run)
{
    (void)run;
    fake_set_server_down(true);
    fake_lose_connection();
}

static void server_up(void)
{
    fake_set_server_down(false);
    fake_lose_connection(); /* what was there of it is of no use */
}

static void hang_one(struct run *run)
{
    (void)run;
    fake_hang("C_Sign", 1);
}

static void hang_all(struct run *run)
{
    for (unsigned i = 0; i < run->crew.threads; i++)
        fake_hang("C_Sign", 1);
}

static void hang_recovery(struct run *run)
{
    (void)run;
    fake_hang("C_OpenSession", 1);
    fake_lose_sessions(false);
}

static void release(void)
{
    fake_heal(NULL);
    fake_release();
}

static void heal(void)
{
    fake_heal(NULL);
}

static void little_room(void)
{
    fake_inject("C_OpenSession", 4, FAKE_FOREVER, CKR_SESSION_COUNT, false);
}

static void no_room(struct run *run)
{
    (void)run;
    fake_inject("C_OpenSession", 1, FAKE_FOREVER, CKR_SESSION_COUNT, false);
    fake_lose_sessions(false);
}

static void change_pin(struct run *run)
{
    (void)run;
    world_set_pin("5678", false);
    fake_lose_sessions(false);
}

static void change_pin_and_file(struct run *run)
{
    (void)run;
    world_set_pin("5678", true);
    fake_lose_sessions(false);
}

static void correct_file(void)
{
    world_set_pin("5678", true);
}

static void replace_key(unsigned material)
{
    unsigned long handle;

    while ((handle = fake_find(world_slot, CKO_PRIVATE_KEY, "a")) != 0)
        fake_remove_object(handle);
    while ((handle = fake_find(world_slot, CKO_PUBLIC_KEY, "a")) != 0)
        fake_remove_object(handle);
    if (material != 0)
        fake_add_key(
            world_slot,
            &(struct fake_key){.kind = FAKE_P256, .label = "a", .id = "a", .material = material});
    fake_lose_sessions(false);
}

static void other_key(struct run *run)
{
    (void)run;
    replace_key(4);
}

static void no_key(struct run *run)
{
    (void)run;
    replace_key(0);
}

static void right_key(void)
{
    replace_key(1);
}

static void key_twice(struct run *run)
{
    (void)run;
    fake_add_key(world_slot,
                 &(struct fake_key){.kind = FAKE_P256, .label = "a", .id = "a", .material = 4});
    fake_lose_sessions(false);
}

static void throttle(struct run *run)
{
    (void)run;
    fake_inject("C_Sign", 1, 3, CKR_DEVICE_MEMORY, false);
}

static void finalized(struct run *run)
{
    CK_FUNCTION_LIST *fn = NULL;

    (void)run;
    if (C_GetFunctionList(&fn) != CKR_OK || fn->C_Finalize(NULL) != CKR_OK)
        abort();
}

static void in_child(void *arg)
{
    struct run *run = arg;
    struct crew crew = {.token = run->crew.token,
                        .work = WORK_SIGN,
                        .threads = run->crew.threads,
                        .each = 2,
                        .result = run->r};

    crew_run(&crew);
    crew_free(&crew);
}

/* Let the event happen in a thread of its own, while the others work. */
static void fork_thrice(struct run *run)
{
    for (int i = 0; i < 3; i++)
        fork_and_run(run->r, in_child, run);
}

/* --- the table ------------------------------------------------------------------------------- */

#define NONE_LOST "none lost"

static const struct event events[] = {
    {.name = "sessions-vanish",
     .what = "all sessions are gone, and the login with them",
     .promise = NONE_LOST,
     .shake = lose_sessions},
    {.name = "sessions-vanish-only",
     .what = "all sessions are gone, the login is kept",
     .promise = NONE_LOST,
     .shake = lose_sessions_only},
    {.name = "sessions-vanish-often",
     .what = "all sessions are gone, three times in a row",
     .promise = NONE_LOST,
     .shake = lose_sessions_often},
    {.name = "login-vanishes",
     .what = "the user is logged out, sessions stay",
     .promise = NONE_LOST,
     .shake = lose_login},
    {.name = "connection-lost",
     .what = "`CKR_DEVICE_ERROR` until the module is initialised anew",
     .promise = NONE_LOST,
     .shake = lose_connection},
    {.name = "connection-lost-twice",
     .what = "the same, and again right after the recovery",
     .promise = "none lost; served after the recovery interval",
     .shake = lose_connection_twice,
     .slowest_ms = KS_RECOVER_MS + 1500},
    {.name = "connection-lost-new-handles",
     .what = "`CKR_DEVICE_ERROR` until then, and afterwards all handles are new",
     .promise = NONE_LOST,
     .before = handles_fresh,
     .shake = lose_connection},
    {.name = "connection-lost-handles-reused",
     .what = "the same, and afterwards the old handles denote other keys",
     .promise = NONE_LOST,
     .before = handles_other,
     .shake = lose_connection},
    {.name = "sessions-vanish-handles-reused",
     .what = "all sessions are gone, and the old handles denote other keys",
     .promise = NONE_LOST,
     .shake = renumber_handles},
    {.name = "slots-renumbered",
     .what = "slots have other numbers, sessions are gone",
     .promise = NONE_LOST,
     .shake = renumber_slots},
    {.name = "connection-lost-slots-renumbered",
     .what = "slots have other numbers after the module was initialised anew",
     .promise = NONE_LOST,
     .shake = renumber_slots_and_connection},
    {.name = "module-finalised",
     .what = "another part of the process finalises the module",
     .promise = NONE_LOST,
     .shake = finalized},
    {.name = "token-removed",
     .what = "the token is taken out of its slot, later put back",
     .promise = "served when it is back",
     .shake = remove_token,
     .down = true,
     .after = put_back_token},
    {.name = "server-down",
     .what = "connection lost, no slots at all; later it is up again",
     .promise = "served when it is back",
     .shake = server_down,
     .down = true,
     .after = server_up},
    {.name = "one-call-hangs",
     .what = "one `C_Sign` does not return; `timeout-ms` is set",
     .promise = "fails in time, then fast; served when it answers",
     .config = {.timeout_ms = TIMEOUT_MS},
     .shake = hang_one,
     .down = true,
     .after = release,
     .slowest_ms = TIMEOUT_MS + 1500},
    {.name = "all-calls-hang",
     .what = "every thread's `C_Sign` does not return; `timeout-ms` is set",
     .promise = "fail in time, then fast; served when it answers",
     .config = {.timeout_ms = TIMEOUT_MS},
     .shake = hang_all,
     .down = true,
     .after = release,
     .slowest_ms = TIMEOUT_MS + 1500},
    {.name = "recovery-hangs",
     .what = "sessions are gone, and `C_OpenSession` does not return",
     .promise = "fail in time, then fast; served when it answers",
     .config = {.timeout_ms = TIMEOUT_MS},
     .shake = hang_recovery,
     .down = true,
     .after = release,
     .slowest_ms = TIMEOUT_MS + 1500},
    {.name = "few-sessions",
     .what = "the configuration allows two sessions",
     .promise = NONE_LOST,
     .config = {.sessions = 2}},
    {.name = "session-table-small",
     .what = "the token takes three sessions, and had not said so",
     .promise = NONE_LOST,
     .before = little_room},
    {.name = "session-table-full",
     .what = "others hold all of the token's sessions; later they give them back",
     .promise = "served when there is room",
     .shake = no_room,
     .down = true,
     .after = heal},
    {.name = "pin-changed",
     .what = "the token takes another PIN, and what `pin` names follows later",
     .promise = "refused, the old PIN is sent once; served when `pin` is right",
     .shake = change_pin,
     .refusal = KS_PIN_REFUSED,
     .after = correct_file,
     .pins_max = 1},
    {.name = "pin-changed-with-file",
     .what = "the token takes another PIN, and so does what `pin` names",
     .promise = "one refused: the old PIN is sent once",
     .shake = change_pin_and_file,
     .refusal = KS_PIN_REFUSED,
     .refused_max = 1,
     .pins_max = 2},
    {.name = "key-replaced",
     .what = "another key has the label and the id; later the right one is back",
     .promise = "refused; served when it is back",
     .shake = other_key,
     .refusal = KS_KEY_MISMATCH,
     .or_refusal = KS_KEY_NOT_FOUND,
     .after = right_key},
    {.name = "key-removed",
     .what = "the key is gone; later it is back",
     .promise = "refused; served when it is back",
     .shake = no_key,
     .refusal = KS_KEY_NOT_FOUND,
     .after = right_key},
    {.name = "key-twice",
     .what = "two keys have the label and the id; later one",
     .promise = "refused; served when there is one",
     .shake = key_twice,
     .refusal = KS_KEY_AMBIGUOUS,
     .after = right_key},
    {.name = "throttled",
     .what = "three `CKR_DEVICE_MEMORY` in a row",
     .promise = NONE_LOST,
     .shake = throttle},
    {.name = "forks",
     .what = "three forks, one after the other, while other threads sign",
     .promise = NONE_LOST,
     .shake = fork_thrice},
};

/* --- one scenario ---------------------------------------------------------------------------- */

static void shake(void *arg)
{
    struct run *run = arg;

    if (run->event->shake != NULL)
        run->event->shake(run);
}

static bool is_refusal(void *arg, ks_status st, const struct ks_error *err)
{
    const struct run *run = arg;

    (void)err;
    return !ks_ok(st) && (st.code == run->event->refusal || st.code == run->event->or_refusal);
}

static bool is_down(void *arg, ks_status st, const struct ks_error *err)
{
    const struct run *run = arg;

    (void)err;
    return run->event->down &&
           (st.code == KS_DEVICE || st.code == KS_TIMEOUT || st.code == KS_SESSIONS);
}

static void check(const struct run *run)
{
    const struct event *e = run->event;
    unsigned refused = atomic_load(&run->r->refused), down = atomic_load(&run->r->down);
    unsigned long slowest = (unsigned long)(atomic_load(&run->r->slowest_ns) / 1000000U);

    if (e->refusal != KS_OK && refused == 0)
        fault_tell(run->r, "nothing was refused");
    if (e->refused_max != 0 && refused > e->refused_max)
        fault_tell(run->r, "%u operations were refused, and not %u", refused, e->refused_max);
    if (e->down && down == 0)
        fault_tell(run->r, "no operation noticed that the HSM was down");
    if (e->pins_max != 0 && fake_pin_attempts() > e->pins_max)
        fault_tell(run->r, "%u PINs were sent, and not %u", fake_pin_attempts(), e->pins_max);
    if (e->slowest_ms != 0 && slowest > e->slowest_ms)
        fault_tell(run->r, "an operation took %lu ms", slowest);
}

static void at_work(void *arg)
{
    struct run *run = arg;
    struct ks_error err = {.text = ""};
    bool wrong;

    if (run->event->before != NULL)
        run->event->before();
    for (unsigned i = 0; i < run->crew.threads; i++)
        if (!ks_ok(world_work(run->crew.hand[i], WORK_SIGN, 0, NULL, &wrong, &err)) || wrong)
            fault_tell(run->r, "before the event: %s", err.text);
    fake_clear_counts();
    run->crew.shake = shake;
    run->crew.refusal = is_refusal;
    run->crew.excuse = is_down;
    run->crew.arg = run;
    crew_run(&run->crew);
    check(run);
    if (run->event->after != NULL)
        run->event->after();
    crew_serves(&run->crew);
    atomic_store(&run->r->finished, true);
}

void events_run(const struct scenario *s, struct result *r)
{
    struct run run = {.event = s->event, .s = s, .r = r};

    run.crew = (struct crew){.token = world_token(&s->event->config),
                             .work = WORK_SIGN,
                             .threads = s->threads,
                             .each = s->threads == 1 ? 8 : 4,
                             .shake_at = s->threads == 1 ? 3 : 1,
                             .result = r};
    crew_load(&run.crew);
    if (s->forked) {
        fork_and_run(r, at_work, &run);
        run.crew.shake = NULL;
        run.crew.refusal = NULL;
        run.crew.excuse = NULL;
        run.crew.each = 1;
        /* the child may have changed the PIN in the file, but not the PIN of this process's
         * token */
        crew_run(&run.crew);
    } else {
        at_work(&run);
    }
    crew_free(&run.crew);
    ks_token_free(run.crew.token);
    world_clean();
}

void events_list(scenario_add *add)
{
    for (size_t i = 0; i < COUNT_OF(events); i++) {
        for (unsigned t = 0; t < 4; t++) {
            struct scenario s = {
                .event = &events[i], .threads = t / 2 == 0 ? 1 : 8, .forked = t % 2 == 1};

            snprintf(s.name, sizeof(s.name), "%s %u thread%s%s", events[i].name, s.threads,
                     s.threads == 1 ? "" : "s", s.forked ? " forked" : "");
            add(&s);
        }
    }
}

void event_facts(const struct event *event, struct event_facts *out)
{
    *out = (struct event_facts){event->name, event->what, event->promise};
}

const struct event *event_number(unsigned i)
{
    return i < COUNT_OF(events) ? &events[i] : NULL;
}
