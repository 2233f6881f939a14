/* SPDX-License-Identifier: Apache-2.0
 *
 * ks_random.c: random bytes in chunks, all of them or none.
 */
#include "ks_fixture.h"

START_TEST(lengths_are_served_in_chunks)
{
    static const size_t lengths[] = {0, 1, 32, 255, 256, 257, 1000, 4096, 65536};
    static uint8_t out[65536 + 8];

    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        size_t n = lengths[i], zeros = 0;

        memset(out, 0, sizeof(out));
        fake_clear_counts();
        fx_ok(ks_random(fx_token(), NULL, out, n, &fx.err));
        for (size_t j = 0; j < n; j++)
            zeros += out[j] == 0;
        /* in every part of it: 256 zeros in a row, or in 256 bytes, do not happen */
        ck_assert_uint_lt(zeros, 8 + n / 64);
        for (size_t j = n; j < n + 8; j++)
            ck_assert_uint_eq(out[j], 0);
        ck_assert_uint_le(fake_largest_random(), 256);
        ck_assert_uint_eq(fake_calls("C_GenerateRandom"), (n + 255) / 256);
    }
    ck_assert_uint_eq(fake_sessions(), 1);
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
    uint8_t out[1024], zeros[1024] = {0};

    memset(out, 0xee, sizeof(out));
    fake_inject("C_GenerateRandom", 3, FAKE_FOREVER, CKR_RANDOM_NO_RNG, false);
    fx_fails(ks_random(fx_token(), NULL, out, sizeof(out), &fx.err), KS_MECHANISM);
    fx_says("CKR_RANDOM_NO_RNG");
    ck_assert_mem_eq(out, zeros, sizeof(out));
}
END_TEST

START_TEST(a_lost_session_is_replaced)
{
    uint8_t out[1024] = {0};

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
        {two_answers_differ, 0},
        {a_failure_is_a_failure_and_gives_nothing, 0},
        {a_lost_session_is_replaced, 0},
    };

    return fx_main("ks_random", tests, COUNT_OF(tests));
}
