/* SPDX-License-Identifier: Apache-2.0
 *
 * group/group.c: clusters lose no operation while a member is up, and never use another key; in a
 * set the URI decides.
 */
#include <pthread.h>
#include <time.h>

#include "ks_fixture.h"

#define MEMBERS 3

static struct ks_token *members[MEMBERS], *group;
static unsigned long slots[MEMBERS];
static const char *const names[MEMBERS] = {"east", "west", "north"};
static char labels[MEMBERS][32];

/* Tokens of the fake, and a handle for all of them. */
static void make_group(enum ks_group kind, unsigned timeout_ms)
{
    static unsigned serial;
    char uri[128];

    for (size_t i = 0; i < MEMBERS; i++) {
        struct ks_token_config config = fx_config();

        snprintf(labels[i], sizeof(labels[i]), "%s-%u", names[i], ++serial);
        snprintf(uri, sizeof(uri), "pkcs11:token=%s", labels[i]);
        slots[i] = fake_add_token(&(struct fake_token){.label = labels[i]});
        config.name = names[i];
        config.token = uri;
        config.timeout_ms = timeout_ms;
        config.recover_ms = 10;
        fx_ok(ks_token_new(&config, &members[i], &fx.err));
    }
    fx_ok(ks_token_group("web", kind, members, MEMBERS, &group, &fx.err));
}

static void drop_group(void)
{
    ks_token_free(group);
    for (size_t i = 0; i < MEMBERS; i++)
        ks_token_free(members[i]);
}

static void add_everywhere(const char *label)
{
    for (size_t i = 0; i < MEMBERS; i++)
        fake_add_key(slots[i], &(struct fake_key){
                                   .kind = FAKE_RSA, .label = label, .id = label, .material = 1});
}

static struct ks_key *find(const char *text)
{
    struct ks_uri *uri = fx_uri(text, KS_URI_CALLER);
    struct ks_key *key = NULL;

    fx_ok(ks_key_find(group, NULL, uri, &key, &fx.err));
    ks_uri_free(uri);
    return key;
}

static uint8_t sig[FX_ROOM];
static size_t sig_len;

static ks_status sign(struct ks_key *key)
{
    sig_len = sizeof(sig);
    return ks_sign(key, NULL, &fx_pkcs1, fx_digest, sizeof(fx_digest), sig, &sig_len, &fx.err);
}

/* The signature is that of the object `label` on the first token: material 1. */
static void sign_well(struct ks_key *key, const char *label)
{
    const struct fake_mechanism mech = {.type = CKM_RSA_PKCS};

    fx_ok(sign(key));
    ck_assert(fake_verify(fake_find(slots[0], CKO_PRIVATE_KEY, label), &mech, fx_digest,
                          sizeof(fx_digest), sig, sig_len));
}

/* Give the background time to look after a member. */
static void wait_ms(unsigned ms)
{
    const struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    nanosleep(&ts, NULL);
}

/* A member may have been away and come back without anybody noticing: its sessions are gone, and it
 * is passed by at first. When the others cannot do it either, it is not given up. */
START_TEST(who_came_back_unnoticed_gets_another_turn)
{
    struct ks_key *key;

    make_group(KS_GROUP_CLUSTER, 0);
    add_everywhere("k");
    key = find("pkcs11:object=k");
    for (int i = 0; i < 20; i++)
        sign_well(key, "k");
    fake_clear_counts();
    /* the first two are passed by, the third is tried as often as may be */
    fake_inject("C_SignInit", 1, 5, CKR_DEVICE_ERROR, false);
    sign_well(key, "k");
    ck_assert_uint_eq(fake_calls("C_SignInit"), 6);
    fake_heal(NULL);
    ks_key_free(key);
    drop_group();
}
END_TEST

START_TEST(two_calls_in_steady_state)
{
    struct ks_key *key;

    make_group(KS_GROUP_CLUSTER, 0);
    add_everywhere("k");
    key = find("pkcs11:object=k");
    for (int i = 0; i < 20; i++)
        sign_well(key, "k");
    fake_clear_counts();
    for (int i = 0; i < 100; i++)
        fx_ok(sign(key));
    ck_assert_uint_eq(fake_calls(NULL), 200);
    ks_key_free(key);
    drop_group();
}
END_TEST

START_TEST(none_is_lost_while_a_member_is_up)
{
    struct ks_key *key;

    make_group(KS_GROUP_CLUSTER, 0);
    add_everywhere("k");
    key = find("pkcs11:object=k");
    for (int i = 0; i < 60; i++) {
        /* each combination of members that leaves one of them */
        for (size_t m = 0; m < MEMBERS; m++)
            fake_set_present(slots[m], ((unsigned)i / 5 % 7 + 1) & (1U << m));
        sign_well(key, "k");
    }
    ks_key_free(key);
    drop_group();
}
END_TEST

START_TEST(it_serves_again_when_the_first_member_is_back)
{
    struct ks_key *key;

    make_group(KS_GROUP_CLUSTER, 0);
    add_everywhere("k");
    key = find("pkcs11:object=k");
    sign_well(key, "k");
    for (size_t m = 0; m < MEMBERS; m++)
        fake_set_present(slots[m], false);
    for (int i = 0; i < 3; i++)
        ck_assert(!ks_ok(sign(key)));
    fake_set_present(slots[1], true);
    for (int i = 0; i < 100 && !ks_ok(sign(key)); i++)
        wait_ms(20);
    sign_well(key, "k");
    ks_key_free(key);
    drop_group();
}
END_TEST

START_TEST(a_member_without_the_key_is_not_used)
{
    struct ks_key *key;

    make_group(KS_GROUP_CLUSTER, 0);
    fake_add_key(slots[0],
                 &(struct fake_key){.kind = FAKE_RSA, .label = "k", .id = "k", .material = 1});
    key = find("pkcs11:object=k");
    for (int i = 0; i < 50; i++)
        sign_well(key, "k");
    fake_set_present(slots[0], false);
    ck_assert(!ks_ok(sign(key)));
    ks_key_free(key);
    drop_group();
}
END_TEST

START_TEST(nor_one_with_another_key_of_that_name)
{
    struct ks_key *key;

    make_group(KS_GROUP_CLUSTER, 0);
    for (unsigned m = 0; m < MEMBERS; m++)
        fake_add_key(slots[m], &(struct fake_key){
                                   .kind = FAKE_RSA, .label = "k", .id = "k", .material = m + 1});
    key = find("pkcs11:object=k");
    for (int i = 0; i < 50; i++)
        sign_well(key, "k");
    fake_set_present(slots[0], false);
    for (int i = 0; i < 5; i++)
        ck_assert(!ks_ok(sign(key)));
    ks_key_free(key);
    drop_group();
}
END_TEST

/* All operations are done, and it is not each of them that waits for the one that hangs. */
START_TEST(a_member_that_hangs_costs_half_the_time_once)
{
    struct timespec a, b;
    struct ks_key *key;
    unsigned slow = 0;
    long ms;

    make_group(KS_GROUP_CLUSTER, 2000);
    add_everywhere("k");
    key = find("pkcs11:object=k");
    for (int i = 0; i < 20; i++)
        sign_well(key, "k");
    fake_hang("C_Sign", 1);
    for (int i = 0; i < 30; i++) {
        clock_gettime(CLOCK_MONOTONIC, &a);
        sign_well(key, "k");
        clock_gettime(CLOCK_MONOTONIC, &b);
        ms = (b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000;
        slow += ms >= 900;
    }
    ck_assert_uint_ge(slow, 1);
    ck_assert_uint_lt(slow, 10); /* one, and what a busy machine adds */
    fake_release();
    wait_ms(50);
    sign_well(key, "k");
    ks_key_free(key);
    drop_group();
}
END_TEST

START_TEST(the_error_says_what_each_member_answered)
{
    struct ks_key *key;
    unsigned long handle;

    make_group(KS_GROUP_CLUSTER, 0);
    add_everywhere("k");
    /* north has no such key */
    while ((handle = fake_find(slots[2], CKO_PRIVATE_KEY, "k")) != 0)
        fake_remove_object(handle);
    key = find("pkcs11:object=k");
    for (int i = 0; i < 20; i++)
        sign_well(key, "k");
    fake_inject("C_Sign", 1, FAKE_FOREVER, CKR_GENERAL_ERROR, false);
    fx_fails(sign(key), KS_TOKEN);
    fx_says("web: no member could do it; ");
    fx_says("; east: C_Sign: CKR_GENERAL_ERROR; ");
    fx_says("; west: C_Sign: CKR_GENERAL_ERROR; ");
    fx_says("; north: does not have the key");
    fake_heal(NULL);
    /* one is gone, the other one refuses its PIN */
    fake_set_present(slots[0], false);
    fake_set_pin(slots[1], "9999");
    fake_lose_sessions(false);
    ck_assert(!ks_ok(sign(key)));
    fx_says("; east: no token of the module");
    fx_says("; west: C_Login: CKR_PIN_INCORRECT; ");
    /* what is wrong with the data is said by whoever looked at it, and by nobody else */
    fake_set_present(slots[0], true);
    fake_set_pin(slots[1], "1234");
    fake_inject("C_Sign", 1, FAKE_FOREVER, CKR_DATA_INVALID, false);
    fx_fails(sign(key), KS_DATA);
    ck_assert_ptr_null(strstr(fx.err.text, "web"));
    fake_heal(NULL);
    ks_key_free(key);
    drop_group();
}
END_TEST

START_TEST(so_does_that_of_a_key_that_is_nowhere)
{
    struct ks_uri *uri = fx_uri("pkcs11:object=k", KS_URI_CALLER);
    struct ks_key *key = NULL;

    make_group(KS_GROUP_CLUSTER, 0);
    fake_set_present(slots[1], false);
    fx_fails(ks_key_find(group, NULL, uri, &key, &fx.err), KS_KEY_NOT_FOUND);
    fx_says("; east: no private key");
    fx_says("; west: no token of the module");
    fx_says("; north: no private key");
    ks_uri_free(uri);
    drop_group();
}
END_TEST

static ks_status decrypt(struct ks_key *key, enum ks_mech_kind kind, const uint8_t *in)
{
    const struct ks_mech mech = {.kind = kind};

    sig_len = 256;
    return ks_decrypt(key, NULL, &mech, in, 256, sig, &sig_len, &fx.err);
}

/* Members do not all have raw RSA. Who has it does it, for all, and removes no padding itself. */
START_TEST(a_member_without_the_mechanism_leaves_it_to_others)
{
    const struct fake_mechanism pkcs1 = {.type = CKM_RSA_PKCS};
    uint8_t cipher[256], block[256] = {0, 1};
    struct ks_key *key;

    make_group(KS_GROUP_CLUSTER, 0);
    add_everywhere("k");
    for (size_t m = 0; m < 2; m++)
        fake_set_mechanism(slots[m], CKM_RSA_X_509, false);
    key = find("pkcs11:object=k");
    ck_assert_uint_eq(fake_encrypt(fake_find(slots[0], CKO_PRIVATE_KEY, "k"), &pkcs1, fx_digest,
                                   sizeof(fx_digest), cipher, sizeof(cipher)),
                      sizeof(cipher));
    for (size_t m = 0; m < MEMBERS; m++) /* the lists are known */
        fx_ok(ks_token_connect(members[m], NULL, &fx.err));
    for (int i = 0; i < 20; i++) {
        fx_ok(decrypt(key, KS_MECH_RSA_RAW, block));
        ck_assert_uint_eq(fake_last_mechanism().type, CKM_RSA_X_509);
        ck_assert(ks_key_lists(key, NULL, KS_MECH_RSA_RAW, i % 2 == 0));
        fx_ok(decrypt(key, KS_MECH_RSA_PKCS1, cipher));
        ck_assert_mem_eq(sig, fx_digest, sizeof(fx_digest));
    }
    /* the one that has it is away: its absence is not hidden by the others' ways */
    fake_set_present(slots[2], false);
    ck_assert(!ks_ok(decrypt(key, KS_MECH_RSA_RAW, block)));
    fx_says("does not list the mechanism");
    fx_ok(decrypt(key, KS_MECH_RSA_PKCS1, cipher));
    ck_assert(!ks_key_lists(key, NULL, KS_MECH_RSA_RAW, true));
    ks_key_free(key);
    drop_group();
}
END_TEST

struct worker {
    pthread_t thread;
    struct ks_key *key;
    unsigned failed;
};

static void *sign_on(void *arg)
{
    struct worker *w = arg;
    struct ks_error err;
    uint8_t out[FX_ROOM];

    for (int i = 0; i < 200; i++) {
        size_t len = sizeof(out);

        if (!ks_ok(ks_sign(w->key, NULL, &fx_pkcs1, fx_digest, sizeof(fx_digest), out, &len, &err)))
            w->failed++;
    }
    return NULL;
}

START_TEST(threads_lose_none_either)
{
    struct worker workers[8];
    struct ks_key *key;

    make_group(KS_GROUP_CLUSTER, 5000);
    add_everywhere("k");
    key = find("pkcs11:object=k");
    fake_set_cheap(true);
    for (size_t i = 0; i < COUNT_OF(workers); i++) {
        workers[i] = (struct worker){.key = key};
        ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, sign_on, &workers[i]), 0);
    }
    for (int i = 0; i < 10; i++) {
        fake_set_present(slots[i % MEMBERS], false);
        wait_ms(5);
        fake_set_present(slots[i % MEMBERS], true);
        wait_ms(5);
    }
    for (size_t i = 0; i < COUNT_OF(workers); i++) {
        pthread_join(workers[i].thread, NULL);
        ck_assert_uint_eq(workers[i].failed, 0);
    }
    ks_key_free(key);
    drop_group();
}
END_TEST

START_TEST(in_a_set_the_uri_decides)
{
    char text[128];
    struct ks_key *key = NULL;
    struct ks_uri *uri;

    make_group(KS_GROUP_SET, 0);
    for (unsigned m = 0; m < MEMBERS; m++)
        fake_add_key(slots[m], &(struct fake_key){
                                   .kind = FAKE_RSA, .label = "k", .id = "k", .material = m + 1});
    fake_add_pair(slots[2], FAKE_P256, "only-here");
    for (size_t m = 0; m < MEMBERS; m++) {
        snprintf(text, sizeof(text), "pkcs11:token=%s;object=k", labels[m]);
        key = find(text);
        ck_assert_ptr_eq(ks_key_token(key), members[m]);
        ks_key_free(key);
    }
    key = find("pkcs11:object=only-here");
    ck_assert_ptr_eq(ks_key_token(key), members[2]);
    ks_key_free(key);
    uri = fx_uri("pkcs11:object=k", KS_URI_CALLER);
    fx_fails(ks_key_find(group, NULL, uri, &key, &fx.err), KS_KEY_AMBIGUOUS);
    fx_says(labels[0]);
    fx_says(labels[1]);
    ks_uri_free(uri);
    uri = fx_uri("pkcs11:object=nowhere", KS_URI_CALLER);
    fx_fails(ks_key_find(group, NULL, uri, &key, &fx.err), KS_KEY_NOT_FOUND);
    ks_uri_free(uri);
    drop_group();
}
END_TEST

START_TEST(keys_are_not_generated_through_a_group)
{
    struct ks_generate_spec spec = {
        .type = KS_KEY_RSA, .rsa_bits = 2048, .label = "new", .sign = true};
    struct ks_key *key = NULL;

    make_group(KS_GROUP_CLUSTER, 0);
    fx_fails(ks_generate(group, NULL, &spec, &key, &fx.err), KS_CONFIG);
    ck_assert_uint_eq(fake_calls("C_GenerateKeyPair"), 0);
    drop_group();
}
END_TEST

/* One that is destroyed on one member would stay on the others, and nobody could tell. */
START_TEST(nor_destroyed_through_one)
{
    static const char *const kinds[] = {"cluster", "set"};
    struct ks_key *key;

    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        make_group(k == 0 ? KS_GROUP_CLUSTER : KS_GROUP_SET, 0);
        if (k == 0)
            add_everywhere("k");
        else
            fake_add_key(slots[1], &(struct fake_key){.kind = FAKE_RSA, .label = "k", .id = "k"});
        fake_clear_counts();
        key = find("pkcs11:object=k");
        if (k == 0) {
            fx_fails(ks_key_destroy(key, NULL, &fx.err), KS_CONFIG);
            ck_assert_uint_eq(fake_calls("C_DestroyObject"), 0);
            for (size_t i = 0; i < MEMBERS; i++)
                ck_assert_uint_ne(fake_find(slots[i], CKO_PRIVATE_KEY, "k"), 0);
            sign_well(key, "k");
        } else { /* of a set it is one token's, and that destroys it */
            fx_ok(ks_key_destroy(key, NULL, &fx.err));
            ck_assert_uint_eq(fake_find(slots[1], CKO_PRIVATE_KEY, "k"), 0);
        }
        ks_key_free(key);
        drop_group();
    }
}
END_TEST

/* Whatever can be asked of a token can be asked of a group. */
START_TEST(a_group_answers_every_question)
{
    static const enum ks_group kinds[] = {KS_GROUP_CLUSTER, KS_GROUP_SET};
    unsigned long min, max;
    struct ks_token_facts facts;
    bool can;

    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        make_group(kinds[k], 0);
        ck_assert(!ks_token_started(group) || k > 0);
        fx_ok(ks_token_connect(group, NULL, &fx.err));
        ck_assert(ks_token_started(group));
        fx_ok(ks_token_facts(group, NULL, &facts, &fx.err));
        ck_assert_str_eq(facts.label, labels[0]);
        fx_ok(ks_token_can(group, NULL, KS_MECH_RSA_PKCS1, &can, &fx.err));
        ck_assert(can);
        min = max = 0;
        fx_ok(ks_token_key_sizes(group, NULL, KS_MECH_RSA_KEYGEN, &min, &max, &fx.err));
        ck_assert_uint_gt(min, 0);
        ck_assert_uint_ge(max, min);
        /* the first one is away: the next one says it */
        fake_set_present(slots[0], false);
        fake_lose_sessions(false);
        min = max = 0;
        fx_ok(ks_token_key_sizes(group, NULL, KS_MECH_RSA_KEYGEN, &min, &max, &fx.err));
        ck_assert_uint_ge(max, min);
        drop_group();
    }
}
END_TEST

int main(void)
{
    const struct fx_test tests[] = {
        {two_calls_in_steady_state, 0},
        {who_came_back_unnoticed_gets_another_turn, 0},
        {none_is_lost_while_a_member_is_up, 0},
        {it_serves_again_when_the_first_member_is_back, 0},
        {a_member_without_the_key_is_not_used, 0},
        {nor_one_with_another_key_of_that_name, 0},
        {a_member_that_hangs_costs_half_the_time_once, 0},
        {the_error_says_what_each_member_answered, 0},
        {so_does_that_of_a_key_that_is_nowhere, 0},
        {a_member_without_the_mechanism_leaves_it_to_others, 0},
        {threads_lose_none_either, 0},
        {in_a_set_the_uri_decides, 0},
        {keys_are_not_generated_through_a_group, 0},
        {nor_destroyed_through_one, 0},
        {a_group_answers_every_question, 0},
    };

    return fx_main("ks_group", tests, COUNT_OF(tests));
}
