/* SPDX-License-Identifier: Apache-2.0
 *
 * token/slot.c: trouble with one slot is not the others'. Whatever a slot answers, the tokens in
 * the other slots of the module are found, listed and used: at the start, after a recovery and
 * after a fork, alone, in a set and in a cluster.
 */
#include "ks_fixture.h"

#include <time.h>

#include "../../keystore/token/connect.h"
#include "../../keystore/token/key.h"

/* What a slot in trouble may say. */
static const unsigned long codes[] = {
    CKR_DEVICE_ERROR,
    CKR_DEVICE_MEMORY,
    CKR_HOST_MEMORY,
    CKR_TOKEN_NOT_PRESENT,
    CKR_VENDOR_DEFINED + 77,
    CKR_GENERAL_ERROR,
    CKR_FUNCTION_FAILED,
    CKR_DEVICE_REMOVED,
    CKR_TOKEN_NOT_RECOGNIZED,
    CKR_SLOT_ID_INVALID,
    CKR_FUNCTION_CANCELED,
    CKR_FUNCTION_NOT_SUPPORTED,
    CKR_ARGUMENTS_BAD,
    CKR_USER_NOT_LOGGED_IN,
    CKR_SESSION_HANDLE_INVALID,
    CKR_CRYPTOKI_NOT_INITIALIZED,
};
#define FEW 5 /* the first ones, where looking again takes its time */

/* Our token in the middle, and one in trouble on either side. */
static unsigned long before, after;

static void three_slots(void)
{
    struct fake_token mine;

    memset(&mine, 0, sizeof(mine));
    mine.label = fx.label;
    fake_reset();
    before = fake_add_token(&(struct fake_token){.label = "before"});
    fx.slot = fake_add_token(&mine);
    after = fake_add_token(&(struct fake_token){.label = "after"});
    fake_add_pair(fx.slot, FAKE_P256, "k");
}

static void in_trouble(unsigned long rv)
{
    fake_set_trouble(before, NULL, rv);
    fake_set_trouble(after, NULL, rv);
}

static struct ks_token *token_of(const char *uri, const char *name, unsigned recover_ms)
{
    struct ks_token_config config = fx_config();
    struct ks_token *token = NULL;

    config.token = uri;
    config.name = name;
    config.recover_ms = recover_ms;
    fx_ok(ks_token_new(&config, &token, &fx.err));
    return token;
}

static void wait_ms(unsigned ms)
{
    const struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    nanosleep(&ts, NULL);
}

/* --- one token ------------------------------------------------------------------------------- */

static void child_signs(void *arg)
{
    fx_need(fx_signs(arg, "k"), "no signature");
    fx_need(fake_calls("C_Initialize") == 1, "the module was initialised again and again");
}

START_TEST(the_others_in_trouble_are_not_our_trouble)
{
    struct ks_key *key;

    three_slots();
    in_trouble(codes[_i]);
    fx.token = token_of(fx.uri, "mine", 1);
    key = fx_key("k");
    fx_sign_well(key, "k");
    ck_assert_uint_eq(fake_calls("C_Initialize"), 1);
    ck_assert_uint_eq(fake_calls("C_GetTokenInfo"), 3); /* nobody is asked twice */
    /* when it has to be found again */
    fake_lose_connection();
    fx_sign_well(key, "k");
    fx_in_child(child_signs, key);
    fx_sign_well(key, "k");
    ks_key_free(key);
}
END_TEST

/* A child of a fork, when the other tokens have come into trouble only after our start. */
START_TEST(nor_in_a_child_that_finds_them_in_trouble)
{
    struct ks_key *key;

    three_slots();
    fx.token = token_of(fx.uri, "mine", 1);
    key = fx_key("k");
    fx_sign_well(key, "k");
    in_trouble(codes[_i]);
    fx_in_child(child_signs, key);
    fake_set_present(before, false);
    fx_in_child(child_signs, key);
    ks_key_free(key);
}
END_TEST

/* Without a URI it is the only token; of those that can be read. */
START_TEST(the_only_token_is_the_only_one_that_can_be_read)
{
    struct ks_key *key;

    three_slots();
    in_trouble(CKR_DEVICE_ERROR);
    fx.token = token_of(NULL, "only", 1);
    key = fx_key("k");
    fx_sign_well(key, "k");
    ks_key_free(key);
    ks_token_free(fx.token);
    fake_set_trouble(after, NULL, CKR_OK);
    fx.token = token_of(NULL, "only", 1);
    fx_fails(ks_token_connect(fx.token, NULL, &fx.err), KS_TOKEN_AMBIGUOUS);
    fx_says("after");
}
END_TEST

/* --- the token that is meant ----------------------------------------------------------------- */

START_TEST(the_one_that_is_meant_may_be_the_one_in_trouble)
{
    enum ks_recovery class;
    enum ks_code code;
    struct ks_key *key;

    three_slots();
    fake_set_trouble(fx.slot, NULL, codes[_i]);
    fx.token = token_of(fx.uri, "mine", 1);
    ks_classify(KS_C_GetTokenInfo, codes[_i], &code, &class);
    switch (codes[_i]) {
    case CKR_TOKEN_NOT_PRESENT:
    case CKR_TOKEN_NOT_RECOGNIZED:
    case CKR_SLOT_ID_INVALID:
    case CKR_DEVICE_REMOVED:
        fx_fails(ks_token_connect(fx.token, NULL, &fx.err), KS_TOKEN_NOT_FOUND);
        break;
    default:
        fx_fails(ks_token_connect(fx.token, NULL, &fx.err), code);
        fx_says("C_GetTokenInfo");
        fx_says(ks_rv_name(codes[_i]));
        fx_says("1 of 3 slots could not be read");
        fx_says(fx.uri);
    }
    ck_assert_uint_eq(fake_calls("C_Login"), 0);
    fake_set_trouble(fx.slot, NULL, CKR_OK);
    key = fx_key("k");
    fx_sign_well(key, "k");
    ks_key_free(key);
}
END_TEST

static void heal_mine(void *arg)
{
    (void)arg;
    fake_set_trouble(fx.slot, NULL, CKR_OK);
}

/* One that served is found again where the module has to be initialised for that; also if what is
 * said of its slot would not be a reason, by itself. */
START_TEST(a_token_in_trouble_that_served_comes_back)
{
    struct ks_key *key;

    three_slots();
    fx.token = token_of(fx.uri, "mine", 1);
    key = fx_key("k");
    fx_sign_well(key, "k");
    fake_set_trouble(fx.slot, NULL, codes[_i]);
    fake_lose_sessions(false);
    ks_token_mark_lost(fx.token, fx.token->pool.epoch);
    fake_clear_counts();
    fake_at("C_Initialize", 1, heal_mine, NULL);
    fx_sign_well(key, "k");
    ck_assert_uint_eq(fake_calls("C_Initialize"), 1);
    ks_key_free(key);
}
END_TEST

static void put_back(void *arg)
{
    (void)arg;
    fake_set_present(fx.slot, true);
}

/* SoftHSM, while another process logs in: a module that has only just started looks again, whatever
 * is the matter with another slot. */
START_TEST(a_module_that_starts_at_the_wrong_moment_looks_again)
{
    struct ks_key *key;

    three_slots();
    fake_set_trouble(after, NULL, codes[_i]);
    fake_set_present(fx.slot, false);
    fake_at("C_Initialize", 3, put_back, NULL);
    fx.token = token_of(fx.uri, "mine", 1);
    key = fx_key("k");
    fx_sign_well(key, "k");
    ck_assert_uint_eq(fake_calls("C_Initialize"), 3);
    ks_key_free(key);
}
END_TEST

/* --- several tokens -------------------------------------------------------------------------- */

static const char *const both[] = {"east", "west"};
static struct ks_token *members[2], *group;
static unsigned long slots[2];

static void make_group(enum ks_group kind)
{
    static unsigned serial;
    char label[32], uri[64];

    fake_reset();
    for (size_t i = 0; i < 2; i++) {
        snprintf(label, sizeof(label), "%s-%u", both[i], ++serial);
        snprintf(uri, sizeof(uri), "pkcs11:token=%s", label);
        slots[i] = fake_add_token(&(struct fake_token){.label = label});
        members[i] = token_of(uri, both[i], 1);
        fake_add_key(slots[i], &(struct fake_key){.kind = FAKE_P256,
                                                  .label = kind == KS_GROUP_SET ? both[i] : "k",
                                                  .id = "k",
                                                  .material = 1});
    }
    fx_ok(ks_token_group("web", kind, members, 2, &group, &fx.err));
}

static void drop_group(void)
{
    ks_token_free(group);
    ks_token_free(members[0]);
    ks_token_free(members[1]);
}

static struct ks_key *find(const char *label)
{
    char text[64];
    struct ks_key *key = NULL;
    struct ks_uri *uri;

    snprintf(text, sizeof(text), "pkcs11:object=%s", label);
    uri = fx_uri(text, KS_URI_CALLER);
    fx_ok(ks_key_find(group, NULL, uri, &key, &fx.err));
    ks_uri_free(uri);
    return key;
}

static void group_child(void *arg)
{
    for (int i = 0; i < 4; i++)
        fx_need(ks_ok(fx_sign(arg)), "no signature");
}

START_TEST(a_cluster_goes_on_with_the_other_slot)
{
    struct ks_key *key;

    for (size_t bad = 0; bad < 2; bad++) {
        make_group(KS_GROUP_CLUSTER);
        fake_set_trouble(slots[bad], NULL, codes[_i]);
        key = find("k");
        for (int i = 0; i < 8; i++)
            fx_ok(fx_sign(key));
        fx_in_child(group_child, key);
        fake_set_trouble(slots[bad], NULL, CKR_OK);
        fake_set_trouble(slots[1 - bad], NULL, codes[_i]);
        fx_in_child(group_child, key);
        ks_key_free(key);
        drop_group();
    }
}
END_TEST

START_TEST(a_set_serves_the_key_of_the_other_token)
{
    struct ks_key *key;

    for (size_t bad = 0; bad < 2; bad++) {
        make_group(KS_GROUP_SET);
        fake_set_trouble(slots[bad], NULL, codes[_i]);
        key = find(both[1 - bad]);
        fx_ok(fx_sign(key));
        fx_in_child(group_child, key);
        ks_key_free(key);
        drop_group();
    }
}
END_TEST

/* Looking for the one that is lost disturbs the others: less and less often. */
START_TEST(a_lost_token_does_not_go_on_disturbing_the_others)
{
    struct ks_key *key;

    make_group(KS_GROUP_CLUSTER);
    key = find("k");
    for (int i = 0; i < 8; i++)
        fx_ok(fx_sign(key));
    fake_set_trouble(slots[0], NULL, CKR_DEVICE_ERROR);
    ks_token_mark_lost(members[0], members[0]->pool.epoch);
    fake_clear_counts();
    for (int i = 0; i < 40; i++) {
        fx_ok(fx_sign(key));
        ck_assert(!ks_ok(ks_token_connect(members[0], NULL, NULL)));
        wait_ms(2);
    }
    /* after 1, 2, 4, 8, 16 ms and so on, instead of 40 times */
    ck_assert_uint_ge(fake_calls("C_Initialize"), 2);
    ck_assert_uint_le(fake_calls("C_Initialize"), 16);
    fake_set_trouble(slots[0], NULL, CKR_OK);
    wait_ms(100);
    fx_ok(ks_token_connect(members[0], NULL, &fx.err));
    ck_assert_uint_eq(members[0]->conn.reinits_in_vain, 0);
    ks_key_free(key);
    drop_group();
}
END_TEST

/* What a token cannot is not known from one that does not say. */
START_TEST(a_token_that_hides_its_mechanisms_is_not_one_that_lacks_them)
{
    bool can = true;

    for (size_t bad = 0; bad < 2; bad++) {
        make_group(KS_GROUP_SET);
        fake_set_trouble(slots[bad], "C_GetMechanismList", codes[_i]);
        fx_ok(ks_token_can(group, NULL, KS_MECH_ECDSA, &can, &fx.err));
        ck_assert(can);
        fake_set_mechanism(slots[1 - bad], CKM_RSA_X_509, false);
        drop_group();
        make_group(KS_GROUP_SET);
        fake_set_mechanism(slots[1 - bad], CKM_RSA_X_509, false);
        fake_set_trouble(slots[bad], "C_GetMechanismList", codes[_i]);
        ck_assert(!ks_ok(ks_token_can(group, NULL, KS_MECH_RSA_RAW, &can, &fx.err)));
        fx_says("C_GetMechanismList");
        drop_group();
    }
}
END_TEST

/* --- listings -------------------------------------------------------------------------------- */

static char listed[512];

static bool list(void *arg, const struct ks_token_facts *facts, const struct ks_error *unread)
{
    size_t len = strlen(listed);

    (void)arg;
    if (unread != NULL) {
        ck_assert_str_eq(unread->function, "C_GetTokenInfo");
        ck_assert_str_eq(facts->label, "");
    }
    snprintf(listed + len, sizeof(listed) - len, "%lu:%s ", facts->slot,
             unread != NULL ? unread->rv_name : facts->label);
    return true;
}

START_TEST(a_listing_goes_on_and_says_what_it_could_not_read)
{
    static const char *const gone[] = {"CKR_TOKEN_NOT_PRESENT", "CKR_SLOT_ID_INVALID",
                                       "CKR_DEVICE_REMOVED"};
    const char *name = ks_rv_name(codes[_i]);
    char expected[256];
    bool said = true;

    three_slots();
    in_trouble(codes[_i]);
    for (size_t i = 0; i < COUNT_OF(gone); i++)
        said = said && strcmp(name, gone[i]) != 0;
    if (said)
        snprintf(expected, sizeof(expected), "%lu:%s %lu:%s %lu:%s ", before, name, fx.slot,
                 fx.label, after, name);
    else
        snprintf(expected, sizeof(expected), "%lu:%s ", fx.slot, fx.label);
    listed[0] = '\0';
    fx_ok(ks_module_tokens(FAKE_PKCS11_PATH, NULL, 0, list, NULL, &fx.err));
    ck_assert_str_eq(listed, expected);
    /* and what is said of the library is not all that counts */
    listed[0] = '\0';
    fake_inject("C_GetInfo", 1, FAKE_FOREVER, codes[_i], false);
    fx_ok(ks_module_tokens(FAKE_PKCS11_PATH, NULL, 20000, list, NULL, &fx.err));
    ck_assert_str_eq(listed, expected);
}
END_TEST

int main(void)
{
    const int n = (int)COUNT_OF(codes);
    const struct fx_test tests[] = {
        {the_others_in_trouble_are_not_our_trouble, n},
        {nor_in_a_child_that_finds_them_in_trouble, n},
        {the_only_token_is_the_only_one_that_can_be_read, 0},
        {the_one_that_is_meant_may_be_the_one_in_trouble, FEW},
        {a_token_in_trouble_that_served_comes_back, n},
        {a_module_that_starts_at_the_wrong_moment_looks_again, FEW},
        {a_cluster_goes_on_with_the_other_slot, FEW},
        {a_set_serves_the_key_of_the_other_token, FEW},
        {a_lost_token_does_not_go_on_disturbing_the_others, 0},
        {a_token_that_hides_its_mechanisms_is_not_one_that_lacks_them, n},
        {a_listing_goes_on_and_says_what_it_could_not_read, n},
    };

    return fx_main("ks_slot", tests, COUNT_OF(tests));
}
