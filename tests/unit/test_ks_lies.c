/* SPDX-License-Identifier: Apache-2.0
 *
 * What a module answers is not believed: each lie of evil.def x each thing that a caller of the
 * keystore can ask for, on the caller's thread and on a worker. Whoever hears a lie fails, with an
 * error that names the function and the number, or has the right result; what is not written is
 * zeros; nothing is left on the token; and it ends. HSM_LIE=NAME runs one lie alone.
 */
#include <malloc.h>
#include <time.h>

#include "../../keystore/token/answer.h"
#include "../../keystore/token/key.h"
#include "evil.h"
#include "ks_fixture.h"

/* What the caller's memory holds, and what no output may. */
#define OURS   0xa5
#define MOST_S 20
/* What makes it run on a worker. */
#define LIMIT_MS 20000U

/* --- what can be asked for ------------------------------------------------------------------- */

struct cell {
    struct ks_token *token;
    struct ks_key *key;
    uint8_t out[FX_ROOM];
    size_t room, len; /* of `out`; 0: nothing comes back */
    bool right;       /* what came back is what it should be */
    unsigned made;    /* objects that stay */
};

/* What the module gives when it does not lie; set by the first cells of a row. */
struct truth {
    uint8_t out[256];
    size_t len;
};

struct ask {
    const char *name;
    ks_status (*run)(struct cell *c, const struct ask *ask);
    enum fake_kind kind;
    enum ks_mech_kind mech;
    unsigned long fake_mech; /* as the fake module verifies, or encrypts; 0: always the same */
    bool mechanisms;         /* it is about them */
    bool listing;
    bool reads; /* attributes, and does little else */
};

static ks_status find(struct cell *c, const char *label)
{
    char text[64];
    struct ks_uri *uri;
    ks_status st;

    snprintf(text, sizeof(text), "pkcs11:object=%s", label);
    uri = fx_uri(text, KS_URI_CALLER);
    st = ks_key_find(c->token, NULL, uri, &c->key, &fx.err);
    ks_uri_free(uri);
    return st;
}

static const char *label_of(enum fake_kind kind)
{
    return kind == FAKE_RSA ? "rsa" : kind == FAKE_P256 ? "ec" : "ed";
}

/* No byte of it is memory of the caller's, or of the heap's. */
static bool clean(const void *data, size_t len)
{
    const uint8_t *p = data;
    size_t ours = 0;

    for (size_t i = 0; i < len; i++)
        ours += p[i] == OURS || p[i] == (uint8_t)~OURS;
    return len < 16 || ours < len / 2;
}

/* One assertion for all of them: each of Check's is a system call. */
static bool all(const uint8_t *data, uint8_t value, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (data[i] != value)
            return false;
    return true;
}

static bool object_clean(const struct ks_object *o)
{
    return clean(o->label, o->label_len) && clean(o->id.data, o->id.len) &&
           clean(o->modulus.data, o->modulus.len) && clean(o->exponent.data, o->exponent.len) &&
           clean(o->ec_params.data, o->ec_params.len) && clean(o->ec_point.data, o->ec_point.len) &&
           clean(o->spki.data, o->spki.len) && clean(o->value.data, o->value.len);
}

static ks_status ask_connect(struct cell *c, const struct ask *ask)
{
    (void)ask;
    c->right = true;
    return ks_token_connect(c->token, NULL, &fx.err);
}

static ks_status ask_facts(struct cell *c, const struct ask *ask)
{
    struct ks_token_facts facts;
    ks_status st = ks_token_facts(c->token, NULL, &facts, &fx.err);

    (void)ask;
    c->right = ks_ok(st) && strcmp(facts.label, fx.label) == 0 && facts.login_required;
    return st;
}

static bool see_token(void *arg, const struct ks_token_facts *facts, const struct ks_error *unread)
{
    struct cell *c = arg;

    ck_assert_ptr_null(unread);
    c->right = c->right || strcmp(facts->label, fx.label) == 0;
    return true;
}

static ks_status ask_tokens(struct cell *c, const struct ask *ask)
{
    (void)ask;
    return ks_module_tokens(EVIL_PKCS11_PATH, NULL, c->made != 0 ? LIMIT_MS : 0, see_token, c,
                            &fx.err);
}

static ks_status ask_mechanism(struct cell *c, const struct ask *ask)
{
    return ks_token_can(c->token, NULL, ask->mech, &c->right, &fx.err);
}

static ks_status ask_sizes(struct cell *c, const struct ask *ask)
{
    unsigned long min = 0, max = 0;
    ks_status st = ks_token_key_sizes(c->token, NULL, ask->mech, &min, &max, &fx.err);

    c->right = max >= min;
    return st;
}

static bool see_object(void *arg, const struct ks_object *object)
{
    struct cell *c = arg;

    ck_assert(object_clean(object));
    c->len++;
    return true;
}

static ks_status ask_list(struct cell *c, const struct ask *ask)
{
    ks_status st = ks_token_objects(c->token, NULL, NULL, see_object, c, &fx.err);

    (void)ask;
    c->right = c->len == 7; /* three pairs and a certificate */
    c->len = 0;
    return st;
}

/* Not there: where a lost login would be looked for. */
static ks_status ask_missing(struct cell *c, const struct ask *ask)
{
    ks_status st = find(c, "missing");

    (void)ask;
    c->right = st.code == KS_KEY_NOT_FOUND;
    return c->right ? (ks_status){KS_OK} : st;
}

static ks_status ask_find(struct cell *c, const struct ask *ask)
{
    ks_status st = find(c, label_of(ask->kind));

    if (ks_ok(st)) {
        const struct ks_object *o = ks_key_object(c->key);

        ck_assert(object_clean(o));
        c->right = o->id.len == strlen(label_of(ask->kind)) && o->can_sign && o->sensitive;
    }
    return st;
}

static ks_status ask_expect(struct cell *c, const struct ask *ask)
{
    static const uint8_t other[256] = {1};
    struct ks_expect expect = {.public_part = other, .public_len = sizeof(other)};
    ks_status st = ask_find(c, ask);

    if (!ks_ok(st))
        return st;
    st = ks_key_expect(c->key, &expect, &fx.err);
    c->right = st.code == KS_KEY_MISMATCH;
    return c->right ? (ks_status){KS_OK} : st;
}

static const struct ask asks[29];
static struct truth truths[sizeof(asks) / sizeof(asks[0])];

/* The same bytes as the first time. */
static bool as_ever(const struct cell *c, const struct ask *ask)
{
    struct truth *truth = &truths[ask - asks];

    if (truth->len == 0) {
        memcpy(truth->out, c->out, c->len);
        truth->len = c->len;
    }
    return c->len == truth->len && memcmp(c->out, truth->out, c->len) == 0;
}

static ks_status ask_sign(struct cell *c, const struct ask *ask)
{
    /* SHA-256 of fx_digest */
    static const uint8_t hash[32] = {0x12, 0x1b, 0x9b, 0x66, 0x15, 0xa1, 0xc5, 0xa1,
                                     0x35, 0x2d, 0xef, 0x17, 0xc5, 0x30, 0x09, 0x38,
                                     0x4c, 0x99, 0x4c, 0x70, 0xa7, 0xeb, 0xf2, 0xf1,
                                     0x08, 0x9b, 0xab, 0xee, 0xad, 0xc3, 0x92, 0x13};
    const struct ks_mech mech = {
        .kind = ask->mech, .digest = KS_DIGEST_SHA256, .mgf1 = KS_DIGEST_SHA256, .salt_len = 32};
    const struct fake_mechanism made = {
        .type = ask->fake_mech, .hash = CKM_SHA256, .mgf = CKG_MGF1_SHA256, .salt = 32};
    uint8_t block[256] = "a block of the modulus' size";
    const uint8_t *in = ask->mech == KS_MECH_RSA_RAW ? block : fx_digest;
    size_t in_len = ask->mech == KS_MECH_RSA_RAW ? sizeof(block) : sizeof(fx_digest);
    ks_status st = find(c, label_of(ask->kind));

    block[0] = 0;
    if (!ks_ok(st))
        return st;
    c->room = c->len = ask->kind == FAKE_RSA ? 256 : 64;
    st = ks_sign(c->key, NULL, &mech, in, in_len, c->out, &c->len, &fx.err);
    if (ask->mech == KS_MECH_ECDSA_HASH)
        in = hash;
    c->right =
        ks_ok(st) &&
        (ask->fake_mech == 0 ? as_ever(c, ask)
                             : fake_verify(fake_find(fx.slot, CKO_PRIVATE_KEY, label_of(ask->kind)),
                                           &made, in, in_len, c->out, c->len));
    return st;
}

static ks_status ask_decrypt(struct cell *c, const struct ask *ask)
{
    const struct ks_mech mech = {
        .kind = ask->mech, .digest = KS_DIGEST_SHA256, .mgf1 = KS_DIGEST_SHA256};
    const struct fake_mechanism made = {
        .type = ask->fake_mech, .hash = CKM_SHA256, .mgf = CKG_MGF1_SHA256};
    uint8_t block[256] = "", cipher[256];
    const uint8_t *in = ask->mech == KS_MECH_RSA_RAW ? block : fx_digest;
    size_t in_len = ask->mech == KS_MECH_RSA_RAW ? sizeof(block) : sizeof(fx_digest), len;
    ks_status st;

    memcpy(block + 8, fx_digest, sizeof(fx_digest));
    len = fake_encrypt(fake_find(fx.slot, CKO_PRIVATE_KEY, "rsa"), &made, in, in_len, cipher,
                       sizeof(cipher));
    ck_assert_uint_eq(len, sizeof(cipher));
    st = find(c, "rsa");
    if (!ks_ok(st))
        return st;
    c->room = c->len = 256;
    st = ks_decrypt(c->key, NULL, &mech, cipher, len, c->out, &c->len, &fx.err);
    c->right = ks_ok(st) && c->len == in_len && memcmp(c->out, in, in_len) == 0;
    return st;
}

static ks_status ask_derive(struct cell *c, const struct ask *ask)
{
    /* the generator of P-256 */
    static const uint8_t peer[65] = {
        0x04, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5,
        0x63, 0xa4, 0x40, 0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4,
        0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96, 0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a,
        0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce, 0x33,
        0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5};
    ks_status st = find(c, "ec");

    (void)ask;
    if (!ks_ok(st))
        return st;
    c->room = c->len = 32;
    st = ks_derive(c->key, NULL, false, peer, sizeof(peer), c->out, &c->len, &fx.err);
    if (ks_ok(st)) { /* x of the public point */
        uint8_t spki[128];
        size_t len = fake_public_key(fake_find(fx.slot, CKO_PRIVATE_KEY, "ec"), spki, sizeof(spki));

        ck_assert_uint_gt(len, 64);
        c->right = c->len == 32 && memcmp(c->out, spki + len - 64, 32) == 0;
    }
    return st;
}

static ks_status ask_generate(struct cell *c, const struct ask *ask)
{
    static const uint8_t p256[] = {6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7};
    static const uint8_t ed25519[] = {6, 3, 0x2b, 0x65, 0x70};
    const struct ks_generate_spec spec = {.type = ask->kind == FAKE_RSA    ? KS_KEY_RSA
                                                  : ask->kind == FAKE_P256 ? KS_KEY_EC
                                                                           : KS_KEY_EDWARDS,
                                          .rsa_bits = 2048,
                                          .ec_params = ask->kind == FAKE_P256 ? p256 : ed25519,
                                          .ec_params_len = ask->kind == FAKE_P256 ? sizeof(p256)
                                                                                  : sizeof(ed25519),
                                          .label = "new",
                                          .sign = true};
    ks_status st;

    fake_set_cheap(true);
    st = ks_generate(c->token, NULL, &spec, &c->key, &fx.err);
    if (ks_ok(st)) {
        ck_assert(object_clean(ks_key_object(c->key)));
        c->right = ks_key_object(c->key)->type == spec.type;
        c->made = 2;
    }
    return st;
}

static ks_status ask_destroy(struct cell *c, const struct ask *ask)
{
    ks_status st = find(c, label_of(ask->kind));

    if (ks_ok(st))
        st = ks_key_destroy(c->key, NULL, &fx.err);
    if (ks_ok(st)) {
        unsigned long half = fake_find(fx.slot, CKO_PUBLIC_KEY, label_of(ask->kind));

        c->right = fake_find(fx.slot, CKO_PRIVATE_KEY, label_of(ask->kind)) == 0 && half == 0;
        if (half != 0) /* where the token does not tell names */
            fake_remove_object(half);
        fake_add_pair(fx.slot, ask->kind, label_of(ask->kind));
    } else {
        c->right = true;
    }
    return st;
}

/* `kind` is how many bytes. */
static ks_status ask_random(struct cell *c, const struct ask *ask)
{
    static const size_t sizes[] = {5, 32, 1000};
    ks_status st;

    c->room = c->len = sizes[ask->kind];
    st = ks_random(c->token, NULL, c->out, c->len, &fx.err);
    c->right = fake_largest_random() >= 16; /* so that it shows when there were none */
    return st;
}

static const struct ask asks[29] = {
    {.name = "connect", .run = ask_connect},
    {.name = "facts", .run = ask_facts},
    {.name = "tokens", .run = ask_tokens},
    {.name = "mechanism", .run = ask_mechanism, .mech = KS_MECH_RSA_PSS, .mechanisms = true},
    {.name = "sizes", .run = ask_sizes, .mech = KS_MECH_RSA_KEYGEN, .mechanisms = true},
    {.name = "list", .run = ask_list, .listing = true, .reads = true},
    {.name = "missing", .run = ask_missing},
    {.name = "find rsa", .run = ask_find, .kind = FAKE_RSA, .reads = true},
    {.name = "find ec", .run = ask_find, .kind = FAKE_P256, .reads = true},
    {.name = "find ed", .run = ask_find, .kind = FAKE_ED25519, .reads = true},
    {.name = "expect", .run = ask_expect, .kind = FAKE_RSA},
    {"sign pkcs1", ask_sign, FAKE_RSA, KS_MECH_RSA_PKCS1, CKM_RSA_PKCS, false, false, false},
    {"sign pss", ask_sign, FAKE_RSA, KS_MECH_RSA_PSS, CKM_RSA_PKCS_PSS, false, false, false},
    {"sign raw", ask_sign, FAKE_RSA, KS_MECH_RSA_RAW, 0, false, false, false},
    {"sign ecdsa", ask_sign, FAKE_P256, KS_MECH_ECDSA, CKM_ECDSA, false, false, false},
    {"sign eddsa", ask_sign, FAKE_ED25519, KS_MECH_EDDSA, 0, false, false, false},
    {"sign hash pkcs1", ask_sign, FAKE_RSA, KS_MECH_RSA_PKCS1_HASH, 0, false, false, false},
    {"sign hash ecdsa", ask_sign, FAKE_P256, KS_MECH_ECDSA_HASH, CKM_ECDSA, false, false, false},
    {"decrypt pkcs1", ask_decrypt, FAKE_RSA, KS_MECH_RSA_PKCS1, CKM_RSA_PKCS, false, false, false},
    {"decrypt oaep", ask_decrypt, FAKE_RSA, KS_MECH_RSA_OAEP, CKM_RSA_PKCS_OAEP, false, false,
     false},
    {"decrypt raw", ask_decrypt, FAKE_RSA, KS_MECH_RSA_RAW, CKM_RSA_X_509, false, false, false},
    {.name = "derive", .run = ask_derive, .kind = FAKE_P256},
    {.name = "generate rsa", .run = ask_generate, .kind = FAKE_RSA, .reads = true},
    {.name = "generate ec", .run = ask_generate, .kind = FAKE_P256},
    {.name = "generate ed", .run = ask_generate, .kind = FAKE_ED25519},
    {.name = "destroy", .run = ask_destroy, .kind = FAKE_RSA},
    {.name = "random 5", .run = ask_random, .kind = 0},
    {.name = "random 32", .run = ask_random, .kind = 1},
    {.name = "random 1000", .run = ask_random, .kind = 2},
};

/* --- cells ----------------------------------------------------------------------------------- */

static void fill_token(bool certificate)
{
    static const unsigned long hashing[] = {CKM_SHA256_RSA_PKCS, 0x1044};

    fx_restart(NULL);
    for (size_t i = 0; i < COUNT_OF(hashing); i++)
        fake_set_mechanism(fx.slot, hashing[i], true);
    fake_add_pair(fx.slot, FAKE_RSA, "rsa");
    fake_add_pair(fx.slot, FAKE_P256, "ec");
    fake_add_pair(fx.slot, FAKE_ED25519, "ed");
    if (certificate) /* it takes a signature */
        fake_add_certificate(fx.slot, "rsa", "rsa", FAKE_RSA, 1);
}

/* The number that was claimed is in the error, and who claimed it. */
static void names_it(const char *where, const char *function)
{
    char number[32];

    ck_assert_msg(strstr(fx.err.text, function) != NULL, "%s: %s is not in: %s", where, function,
                  fx.err.text);
    ck_assert_msg(strstr(fx.err.text, "module is at fault") != NULL ||
                      strstr(fx.err.text, "no more are listed") != NULL ||
                      strstr(fx.err.text, "shared secret has") != NULL,
                  "%s: %s", where, fx.err.text);
    snprintf(number, sizeof(number), "%lu", evil_claimed());
    if (evil_claimed() == 0)
        return;
    ck_assert_msg(strstr(fx.err.text, number) != NULL, "%s: %s is not in: %s", where, number,
                  fx.err.text);
    /* and what it was compared with */
    ck_assert_msg(strstr(fx.err.text, "there was room for") != NULL ||
                      strstr(fx.err.text, "no more are believed than") != NULL ||
                      strstr(fx.err.text, "as it had said") != NULL,
                  "%s: %s", where, fx.err.text);
}

static void judge(const char *where, const struct cell *c, const struct ask *ask, enum evil_lie lie,
                  ks_status st)
{
    bool heard = evil_told() > 0;
    bool refused = heard && evil_lies[lie].outcome == EVIL_IS_REFUSED;

    if (lie == EVIL_DECRYPT_NOTHING && ask->mech == KS_MECH_RSA_RAW)
        refused = heard; /* other plaintexts may be zeros */
    if (evil_lies[lie].outcome == EVIL_IS_ASKED)
        refused = heard && ask->mechanisms;
    if (heard && evil_lies[lie].outcome == EVIL_IS_FAILS) {
        ck_assert_msg(!ks_ok(st), "%s: went well", where);
        refused = ask->listing;
    }
    if (refused) {
        ck_assert_msg(st.code == KS_TOKEN, "%s: status %d (%s), %s", where, (int)st.code,
                      ks_code_text(st.code), ks_ok(st) ? "" : fx.err.text);
        names_it(where, evil_lies[lie].function);
    } else if (!heard || evil_lies[lie].outcome == EVIL_IS_ASKED ||
               evil_lies[lie].outcome == EVIL_IS_HARMLESS) {
        ck_assert_msg(ks_ok(st), "%s: %s", where, fx.err.text);
        ck_assert_msg(c->right, "%s: a wrong result", where);
    }
    /* cleared, or refused before anything was done */
    if (c->key != NULL && c->room > 0 && !ks_ok(st))
        ck_assert_msg(all(c->out, st.code == KS_KEY_USE ? OURS : 0, c->room),
                      "%s: the output was not wiped", where);
    ck_assert_msg(c->len <= c->room, "%s: %zu bytes in %zu", where, c->len, c->room);
    ck_assert_msg(!ks_ok(st) || c->right || clean(c->out, c->len), "%s: memory of ours", where);
    ck_assert_msg(all(c->out + c->room, OURS, sizeof(c->out) - c->room),
                  "%s: written beyond the room", where);
}

/* Returns whether the lie was told. */
static bool run_cell(enum evil_lie lie, unsigned long attribute, const struct ask *ask,
                     unsigned timeout_ms)
{
    struct ks_token_config config;
    struct cell c = {.right = false};
    unsigned objects;
    char where[128];
    time_t began = time(NULL);
    ks_status st;
    bool heard;

    snprintf(where, sizeof(where), "%s (attribute 0x%lx), %s, time limit %u", evil_lies[lie].name,
             attribute, ask->name, timeout_ms);
    evil_tell(EVIL_TRUTH, EVIL_EVERY);
    fill_token(ask->listing);
    objects = fake_objects(fx.slot, FAKE_ANY);
    config = fx_config();
    config.module = EVIL_PKCS11_PATH;
    config.timeout_ms = timeout_ms;
    fx_ok(ks_token_new(&config, &c.token, &fx.err));
    memset(c.out, OURS, sizeof(c.out));
    c.made = ask->run == ask_tokens ? timeout_ms : 0;
    evil_tell(lie, attribute);
    st = ask->run(&c, ask);
    if (ask->run == ask_tokens)
        c.made = 0;
    judge(where, &c, ask, lie, st);
    heard = evil_told() > 0;
    if (!ks_ok(st) && strstr(fx.err.text, "could not be removed") != NULL)
        c.made = 2; /* it says so */
    ks_key_free(c.key);
    ks_token_free(c.token);
    ck_assert_msg(fake_sessions() == 0, "%s: %u sessions left", where, fake_sessions());
    ck_assert_uint_eq(fake_open_searches(), 0);
    ck_assert_uint_eq(fake_open_operations(), 0);
    ck_assert_msg(fake_objects(fx.slot, FAKE_ANY) == objects + c.made, "%s: %u objects, not %u",
                  where, fake_objects(fx.slot, FAKE_ANY), objects + c.made);
    ck_assert_msg(time(NULL) - began < MOST_S, "%s: took too long", where);
    return heard;
}

static bool about_values(enum evil_lie lie)
{
    return lie >= EVIL_VALUE_LONG && lie <= EVIL_VALUE_MOVED;
}

START_TEST(a_lie_is_refused_or_harmless)
{
    static const unsigned long attributes[] = {
        CKA_LABEL,   CKA_ID,        CKA_KEY_TYPE, CKA_SIGN,  CKA_SENSITIVE,
        CKA_MODULUS, CKA_EC_PARAMS, CKA_EC_POINT, CKA_VALUE,
    };
    enum evil_lie lie = (enum evil_lie)_i;
    const char *only = getenv("HSM_LIE");
    unsigned told = 0;

    if (only != NULL && strcmp(only, evil_lies[lie].name) != 0)
        return;
    mallopt(M_PERTURB, OURS); /* fresh memory of the heap is full of it */
    for (size_t i = 0; i < COUNT_OF(asks); i++) {
        if (asks[i].run == ask_sign && asks[i].fake_mech == 0)
            (void)run_cell(EVIL_TRUTH, EVIL_EVERY, &asks[i], 0);
        if (!run_cell(lie, EVIL_EVERY, &asks[i], 0) && lie != EVIL_TRUTH)
            continue; /* never heard of it */
        told++;
        (void)run_cell(lie, EVIL_EVERY, &asks[i], LIMIT_MS);
        for (size_t a = 0; about_values(lie) && asks[i].reads && a < COUNT_OF(attributes); a++)
            (void)run_cell(lie, attributes[a], &asks[i], 0);
    }
    ck_assert_msg(told > 0, "%s was never told", evil_lies[lie].name);
}
END_TEST

/* What would take a lot of memory to show. */
START_TEST(a_listing_has_a_limit)
{
    struct ks_call op = {.token = fx_token(), .err = &fx.err};
    size_t total = 0;

    fx_ok(ks_answer_listing(&op, &total, KS_LISTING_MAX));
    fx_fails(ks_answer_listing(&op, &total, 1), KS_TOKEN);
    fx_says("C_GetAttributeValue");
    fx_says("268435457");
    ck_assert(op.close_session);
}
END_TEST

int main(void)
{
    const struct fx_test tests[] = {
        {a_lie_is_refused_or_harmless, EVIL_LIES},
        {a_listing_has_a_limit, 0},
    };

    return fx_main("lies", tests, COUNT_OF(tests));
}
