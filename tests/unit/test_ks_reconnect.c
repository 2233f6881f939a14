/* SPDX-License-Identifier: Apache-2.0
 *
 * What a thread does when connecting to a token has failed (token/reconnect.c): the whole truth
 * table, and that it comes to an end. What the states do to a real module: test_ks_recover.c. And
 * the table of remedies (op/recovery.c).
 */
#include "../../keystore/base/clock.h"
#include "../../keystore/op/recovery.h"
#include "../../keystore/token/reconnect.h"
#include "ks_fixture.h"

/* After 0, 1, 2, 3, 4 and 5 reinitialisations: D(one), G(ive up), P(ause, then reinitialise), I: a
 * pause, and reinitialise if the interval allows it, W(ait for the interval, then reinitialise). */
#define REINITS 6
static const struct {
    enum ks_reconnect_outcome outcome;
    bool just_loaded, login_retried;
    char next[REINITS + 1];
} truth[] = {
    {KS_OUTCOME_CONNECTED, false, false, "DDDDDD"},
    {KS_OUTCOME_CONNECTED, false, true, "DDDDDD"},
    {KS_OUTCOME_CONNECTED, true, false, "DDDDDD"},
    {KS_OUTCOME_CONNECTED, true, true, "DDDDDD"},
    {KS_OUTCOME_LOGIN_UNCLEAR, false, false, "IIIIII"},
    {KS_OUTCOME_LOGIN_UNCLEAR, false, true, "GGGGGG"},
    {KS_OUTCOME_LOGIN_UNCLEAR, true, false, "PPPPPP"},
    {KS_OUTCOME_LOGIN_UNCLEAR, true, true, "GGGGGG"},
    {KS_OUTCOME_DEVICE_LOST, false, false, "WGGGGG"},
    {KS_OUTCOME_DEVICE_LOST, false, true, "WGGGGG"},
    {KS_OUTCOME_DEVICE_LOST, true, false, "PPPPGG"},
    {KS_OUTCOME_DEVICE_LOST, true, true, "PPPPGG"},
    {KS_OUTCOME_TOKEN_MISSING, false, false, "WPGGGG"},
    {KS_OUTCOME_TOKEN_MISSING, false, true, "WPGGGG"},
    {KS_OUTCOME_TOKEN_MISSING, true, false, "PPPPGG"},
    {KS_OUTCOME_TOKEN_MISSING, true, true, "PPPPGG"},
    {KS_OUTCOME_HALF_WRITTEN, false, false, "GGGGGG"},
    {KS_OUTCOME_HALF_WRITTEN, false, true, "GGGGGG"},
    {KS_OUTCOME_HALF_WRITTEN, true, false, "PPPPGG"},
    {KS_OUTCOME_HALF_WRITTEN, true, true, "PPPPGG"},
    {KS_OUTCOME_FAILED, false, false, "GGGGGG"},
    {KS_OUTCOME_FAILED, false, true, "GGGGGG"},
    {KS_OUTCOME_FAILED, true, false, "GGGGGG"},
    {KS_OUTCOME_FAILED, true, true, "GGGGGG"},
};

static const char letters[KS_RECONNECT_STATES] = {
    [KS_RECONNECT_CONNECT] = 'c',       [KS_RECONNECT_PAUSE] = 'P',
    [KS_RECONNECT_PAUSE_IF_DUE] = 'I',  [KS_RECONNECT_REINIT] = 'r',
    [KS_RECONNECT_WAIT_INTERVAL] = 'W', [KS_RECONNECT_DONE] = 'D',
    [KS_RECONNECT_GIVE_UP] = 'G',
};

START_TEST(each_outcome_has_its_next_state)
{
    unsigned seen[KS_OUTCOMES] = {0};

    for (size_t i = 0; i < COUNT_OF(truth); i++) {
        for (unsigned n = 0; n < REINITS; n++) {
            const struct ks_reconnect r = {truth[i].just_loaded, truth[i].login_retried, n};
            char next = letters[ks_reconnect_next(&r, truth[i].outcome)];

            ck_assert_msg(next == truth[i].next[n],
                          "row %zu, reinitialised %u times: %c and not %c", i, n, next,
                          truth[i].next[n]);
        }
        seen[truth[i].outcome]++;
    }
    for (size_t i = 0; i < KS_OUTCOMES; i++)
        ck_assert_uint_eq(seen[i], 4);
}
END_TEST

/* Whatever comes of connecting, again and again: how often is it tried at most? */
static unsigned longest(struct ks_reconnect r, unsigned depth)
{
    unsigned most = depth;

    ck_assert_uint_lt(depth, 20);
    for (int outcome = 0; outcome < KS_OUTCOMES; outcome++) {
        enum ks_reconnect_state next = ks_reconnect_next(&r, (enum ks_reconnect_outcome)outcome);
        struct ks_reconnect after = r;
        unsigned n;

        if (next == KS_RECONNECT_DONE || next == KS_RECONNECT_GIVE_UP)
            continue;
        if (outcome == KS_OUTCOME_LOGIN_UNCLEAR)
            after.login_retried = true;
        else
            after.reinits++;
        n = longest(after, depth + 1);
        most = n > most ? n : most;
    }
    return most;
}

START_TEST(a_reconnect_comes_to_an_end)
{
    ck_assert_uint_eq(longest((struct ks_reconnect){.just_loaded = false}, 1), 1 + 1 + 2);
    ck_assert_uint_eq(longest((struct ks_reconnect){.just_loaded = true}, 1),
                      1 + 1 + KS_REINITS_JUST_LOADED);
}
END_TEST

START_TEST(each_class_of_failure_has_its_remedy)
{
    for (size_t i = 0; i < KS_RECOVERIES; i++) {
        const struct ks_recovery_row *row = &ks_recovery_rows[i];

        ck_assert_ptr_nonnull(row->name);
        ck_assert_ptr_nonnull(row->meaning);
        ck_assert_uint_le(row->retries, 4);
        /* a session that is lost is never used again, and what is permanent is not tried again */
        if (row->remedy == KS_REMEDY_RECONNECT)
            ck_assert_int_ne(row->fate, KS_SESSION_KEEP);
        ck_assert((row->retries == 0) == (i == KS_PERMANENT));
    }
}
END_TEST

START_TEST(a_pause_doubles_and_ends_before_the_deadline)
{
    struct ks_backoff backoff = {.pause_ns = 1000000};
    uint64_t began = ks_now_ns();

    ck_assert(ks_backoff_wait(&backoff, 0));
    ck_assert(ks_backoff_wait(&backoff, 0));
    ck_assert_uint_ge(ks_now_ns() - began, 3000000);
    ck_assert_uint_eq(backoff.pause_ns, 4000000);
    began = ks_now_ns();
    ck_assert(!ks_backoff_wait(&backoff, began + 4000000));
    ck_assert_uint_eq(backoff.pause_ns, 4000000);
}
END_TEST

int main(void)
{
    const struct fx_test tests[] = {
        {each_outcome_has_its_next_state, 0},
        {a_reconnect_comes_to_an_end, 0},
        {each_class_of_failure_has_its_remedy, 0},
        {a_pause_doubles_and_ends_before_the_deadline, 0},
    };

    return fx_main("ks_reconnect", tests, COUNT_OF(tests));
}
