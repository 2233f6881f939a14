/* SPDX-License-Identifier: Apache-2.0
 *
 * verbs/random.c: random bytes in chunks, all of them or none.
 */
#include "ks_fixture.h"

START_TEST(lengths_are_served_in_chunks)
{
    static uint8_t out[65536 + 8];
    unsigned long chunk;

    fx_ok(ks_random(fx_token(), NULL, out, 65536, &fx.err));
    chunk = fake_largest_random();
    ck_assert_uint_ge(chunk, 16);
    ck_assert_uint_le(chunk, 4096);
    for (int i = 0; i < 8; i++) {
        const size_t lengths[] = {0, 1, 32, chunk - 1, chunk, chunk + 1, 4 * chunk, 65536};
        size_t n = lengths[i], zeros = 0;

        memset(out, 0, sizeof(out));
        fake_clear_counts();
        fx_ok(ks_random(fx_token(), NULL, out, n, &fx.err));
        for (size_t j = 0; j < n; j++)
            zeros += out[j] == 0;
        /* one in 256 of them; all of one chunk would be many more */
        ck_assert_uint_lt(zeros, 12 + n / 64);
        for (size_t j = n; j < n + 8; j++)
            ck_assert_uint_eq(out[j], 0);
        ck_assert_uint_le(fake_largest_random(), chunk);
        ck_assert_uint_eq(fake_calls("C_GenerateRandom"), (n + chunk - 1) / chunk);
        ck_assert_uint_eq(fake_calls(NULL), fake_calls("C_GenerateRandom"));
    }
    ck_assert_uint_eq(fake_sessions(), 1);
}
END_TEST

START_TEST(a_token_that_takes_less_is_asked_for_less_from_then_on)
{
    static const unsigned limits[] = {32, 48, 100, 200};
    uint8_t out[4096], zeros[16] = {0};

    fx_restart(NULL);
    fake_set_random_max(limits[_i]);
    fx_ok(ks_random(fx_token(), NULL, out, sizeof(out), &fx.err));
    for (size_t i = 0; i + sizeof(zeros) <= sizeof(out); i += sizeof(zeros))
        ck_assert_mem_ne(out + i, zeros, sizeof(zeros));
    fake_clear_counts();
    fx_ok(ks_random(fx_token(), NULL, out, sizeof(out), &fx.err));
    /* never too much again, and no less than half of what it takes */
    ck_assert_uint_le(fake_largest_random(), limits[_i]);
    ck_assert_uint_le(fake_calls("C_GenerateRandom"), sizeof(out) / (limits[_i] / 2) + 1);
}
END_TEST

START_TEST(a_token_that_takes_nothing_is_an_error)
{
    uint8_t out[64], zeros[64] = {0};

    fake_set_random_max(1);
    memset(out, 0xee, sizeof(out));
    fx_fails(ks_random(fx_token(), NULL, out, sizeof(out), &fx.err), KS_TOKEN);
    fx_says("C_GenerateRandom");
    ck_assert_mem_eq(out, zeros, sizeof(out));
    ck_assert_uint_lt(fake_calls("C_GenerateRandom"), 20);
}
END_TEST

START_TEST(two_answers_differ)
{
    uint8_t a[32], b[32];

    fx_ok(ks_random(fx_token(), NULL, a, sizeof(a), &fx.err));
    fx_ok(ks_random(fx_token(), NULL, b, sizeof(b), &fx.err));
    ck_assert_mem_ne(a, b, sizeof(a));
}
END_TEST

START_TEST(a_failure_is_a_failure_and_gives_nothing)
{
    uint8_t out[4096], zeros[4096] = {0};

    memset(out, 0xee, sizeof(out));
    fake_inject("C_GenerateRandom", 3, FAKE_FOREVER, CKR_RANDOM_NO_RNG, false);
    fx_fails(ks_random(fx_token(), NULL, out, sizeof(out), &fx.err), KS_MECHANISM);
    fx_says("CKR_RANDOM_NO_RNG");
    ck_assert_mem_eq(out, zeros, sizeof(out));
}
END_TEST

START_TEST(a_lost_session_is_replaced)
{
    uint8_t out[4096] = {0};

    fx_ok(ks_token_connect(fx_token(), NULL, &fx.err));
    fake_lose_sessions(false);
    fx_ok(ks_random(fx_token(), NULL, out, sizeof(out), &fx.err));
    fake_inject("C_GenerateRandom", 2, 1, CKR_SESSION_HANDLE_INVALID, false);
    fx_ok(ks_random(fx_token(), NULL, out, sizeof(out), &fx.err));
    fake_inject("C_GenerateRandom", 2, 1, CKR_GENERAL_ERROR, false);
    fx_ok(ks_random(fx_token(), NULL, out, sizeof(out), &fx.err));
}
END_TEST

int main(void)
{
    const struct fx_test tests[] = {
        {lengths_are_served_in_chunks, 0},
        {a_token_that_takes_less_is_asked_for_less_from_then_on, 4},
        {a_token_that_takes_nothing_is_an_error, 0},
        {two_answers_differ, 0},
        {a_failure_is_a_failure_and_gives_nothing, 0},
        {a_lost_session_is_replaced, 0},
    };

    return fx_main("ks_random", tests, COUNT_OF(tests));
}
