/* SPDX-License-Identifier: Apache-2.0
 *
 * test_params.c - the lists of parameters that the provider gives libcrypto: what a list names can
 * be had, what programs count on is in it; and parameters that only some programs set.
 */
#include <openssl/core_names.h>
#include <openssl/encoder.h>

#include "with_provider.h"

/* --- lists ----------------------------------------------------------------------------------- */

static bool lists(const OSSL_PARAM *list, const char *name)
{
    return list != NULL && OSSL_PARAM_locate_const(list, name) != NULL;
}

/* What a list names for those keys that have it. */
static bool some_only(const char *name)
{
    static const char *const names[] = {
        OSSL_PKEY_PARAM_MANDATORY_DIGEST, OSSL_PKEY_PARAM_RSA_DIGEST,
        OSSL_PKEY_PARAM_RSA_MASKGENFUNC,  OSSL_PKEY_PARAM_RSA_MGF1_DIGEST,
        OSSL_PKEY_PARAM_RSA_PSS_SALTLEN,  OSSL_PKEY_PARAM_RSA_DIGEST_PROPS,
    };

    for (int i = 0; i < COUNT(names); i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

/* One value of the list's type is asked for by each call of `get`. Returns how many there were. */
static int all_can_be_had(const OSSL_PARAM *list, int (*get)(void *arg, OSSL_PARAM params[]),
                          void *arg, const char *what)
{
    static unsigned char room[2048];
    int count = 0;

    ck_assert_msg(list != NULL, "%s: no list", what);
    for (; list->key != NULL; list++, count++) {
        const bool number =
            list->data_type == OSSL_PARAM_INTEGER || list->data_type == OSSL_PARAM_UNSIGNED_INTEGER;
        OSSL_PARAM params[2] = {*list, OSSL_PARAM_END};
        int got;

        memset(room, 0, sizeof(room));
        params[0].data = room;
        /* numbers of a key's own size, or of an int's */
        params[0].data_size = number && list->data_size == 0 ? 512 : sizeof(room);
        if (number && list->data_size != 0)
            params[0].data_size = list->data_size;
        params[0].return_size = OSSL_PARAM_UNMODIFIED;
        got = get(arg, params);
        if (some_only(list->key))
            continue;
        ck_assert_msg(got == 1 && OSSL_PARAM_modified(&params[0]), "%s: %s is named, and not given",
                      what, list->key);
    }
    return count;
}

static int get_of_key(void *key, OSSL_PARAM params[])
{
    return EVP_PKEY_get_params(key, params);
}

static int get_of_context(void *pctx, OSSL_PARAM params[])
{
    return EVP_PKEY_CTX_get_params(pctx, params);
}

/* --- keys ------------------------------------------------------------------------------------ */

static const struct kind {
    const char *name, *label, *public_part, *generation;
    enum fake_kind kind;
} kinds[] = {
    {"RSA", "rsa", OSSL_PKEY_PARAM_RSA_N, OSSL_PKEY_PARAM_RSA_BITS, FAKE_RSA},
    {"EC", "ec", OSSL_PKEY_PARAM_PUB_KEY, OSSL_PKEY_PARAM_GROUP_NAME, FAKE_P256},
    {"ED25519", "ed", OSSL_PKEY_PARAM_PUB_KEY, "hsm-label", FAKE_ED25519},
};

static void set_up(void)
{
    token_up();
    for (int i = 0; i < COUNT(kinds); i++)
        fake_add_pair(slot, kinds[i].kind, kinds[i].label);
    provider_up(NULL);
}

START_TEST(keys_give_what_their_lists_name)
{
    const struct kind *kind = &kinds[_i];
    EVP_KEYMGMT *keymgmt = EVP_KEYMGMT_fetch(libctx, kind->name, "provider=hsm");
    EVP_PKEY *key = load_key(kind->label);
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_name(libctx, kind->name, "provider=hsm");
    const OSSL_PARAM *list = EVP_KEYMGMT_gettable_params(keymgmt);

    ck_assert(lists(list, OSSL_PKEY_PARAM_BITS) && lists(list, OSSL_PKEY_PARAM_MAX_SIZE));
    ck_assert(lists(list, kind->public_part) && !lists(list, OSSL_PKEY_PARAM_PRIV_KEY));
    ck_assert(lists(list, "hsm-uri") && !lists(list, OSSL_PKEY_PARAM_RSA_D));
    ck_assert_int_gt(all_can_be_had(list, get_of_key, key, kind->name), 5);
    ck_assert(lists(EVP_KEYMGMT_gen_settable_params(keymgmt), kind->generation));
    ck_assert(lists(EVP_KEYMGMT_gen_settable_params(keymgmt), "hsm-label"));
    ck_assert(lists(EVP_PKEY_fromdata_settable(pctx, EVP_PKEY_PUBLIC_KEY), kind->public_part));
    EVP_PKEY_CTX_free(pctx);
    EVP_PKEY_free(key);
    EVP_KEYMGMT_free(keymgmt);
}
END_TEST

/* Keys of the refused types are held as a software key, of which all that is named can be asked. */
START_TEST(refused_keys_as_well)
{
    EVP_PKEY *made = EVP_PKEY_Q_keygen(plain, NULL, "X25519"), *key = NULL;
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_name(libctx, "X25519", "provider=hsm");
    EVP_KEYMGMT *keymgmt = EVP_KEYMGMT_fetch(libctx, "X25519", "provider=hsm");
    unsigned char raw[64], changed[64];
    size_t len = sizeof(raw), changed_len = 0;
    OSSL_PARAM params[2] = {OSSL_PARAM_END, OSSL_PARAM_END};
    const OSSL_PARAM *settable = EVP_KEYMGMT_settable_params(keymgmt);

    ck_assert(lists(EVP_KEYMGMT_gettable_params(keymgmt), OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY));
    ck_assert(lists(settable, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY));
    ck_assert_int_eq(EVP_PKEY_get_raw_public_key(made, raw, &len), 1);
    params[0] = OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, raw, len);
    ck_assert(
        lists(EVP_PKEY_fromdata_settable(pctx, EVP_PKEY_PUBLIC_KEY), OSSL_PKEY_PARAM_PUB_KEY));
    ck_assert_int_eq(EVP_PKEY_fromdata_init(pctx), 1);
    ck_assert_int_eq(EVP_PKEY_fromdata(pctx, &key, EVP_PKEY_PUBLIC_KEY, params), 1);

    /* what is set is what the key is then */
    raw[0] ^= 1;
    ck_assert_int_eq(EVP_PKEY_set1_encoded_public_key(key, raw, len), 1);
    ck_assert_int_eq(EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, changed,
                                                     sizeof(changed), &changed_len),
                     1);
    ck_assert(changed_len == len && memcmp(changed, raw, len) == 0);
    ck_assert_int_eq(EVP_PKEY_eq(key, made), 0);
    EVP_KEYMGMT_free(keymgmt);
    EVP_PKEY_CTX_free(pctx);
    EVP_PKEY_free(key);
    EVP_PKEY_free(made);
}
END_TEST

/* --- operations ------------------------------------------------------------------------------ */

static const struct operation {
    const char *label, *settable, *gettable;
    int (*init)(EVP_PKEY_CTX *pctx);
} operations[] = {
    {"rsa", OSSL_SIGNATURE_PARAM_PAD_MODE, OSSL_SIGNATURE_PARAM_DIGEST, EVP_PKEY_sign_init},
    {"ec", OSSL_SIGNATURE_PARAM_DIGEST, OSSL_SIGNATURE_PARAM_DIGEST, EVP_PKEY_sign_init},
    {"rsa", OSSL_ASYM_CIPHER_PARAM_PAD_MODE, OSSL_ASYM_CIPHER_PARAM_PAD_MODE,
     EVP_PKEY_decrypt_init},
    {"ec", OSSL_EXCHANGE_PARAM_KDF_TYPE, OSSL_EXCHANGE_PARAM_KDF_TYPE, EVP_PKEY_derive_init},
};

START_TEST(operations_name_what_they_take)
{
    const struct operation *op = &operations[_i];
    EVP_PKEY *key = load_key(op->label);
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(libctx, key, NULL);

    ck_assert_int_eq(op->init(pctx), 1);
    ck_assert(lists(EVP_PKEY_CTX_settable_params(pctx), op->settable));
    ck_assert(lists(EVP_PKEY_CTX_gettable_params(pctx), op->gettable));
    ck_assert(!lists(EVP_PKEY_CTX_settable_params(pctx), "no-such-parameter"));
    EVP_PKEY_CTX_free(pctx);
    EVP_PKEY_free(key);
}
END_TEST

/* Ed25519 has no digest to choose: only the identifier of the algorithm, for certificates. */
START_TEST(eddsa_gives_its_algorithm)
{
    EVP_PKEY *key = load_key("ed");
    EVP_MD_CTX *mctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx = NULL;

    ck_assert_int_eq(EVP_DigestSignInit_ex(mctx, &pctx, NULL, libctx, NULL, key, NULL), 1);
    ck_assert_int_eq(all_can_be_had(EVP_PKEY_CTX_gettable_params(pctx), get_of_context, pctx, "Ed"),
                     1);
    ck_assert(lists(EVP_PKEY_CTX_gettable_params(pctx), OSSL_SIGNATURE_PARAM_ALGORITHM_ID));
    ck_assert(!lists(EVP_PKEY_CTX_settable_params(pctx), OSSL_SIGNATURE_PARAM_PAD_MODE));
    EVP_MD_CTX_free(mctx);
    EVP_PKEY_free(key);
}
END_TEST

/* The digest of a signature has the parameters of that digest: SHA-1 knows one of SSL 3.0's. */
START_TEST(the_digest_is_asked)
{
    EVP_PKEY *key = load_key("rsa");
    EVP_MD *md = EVP_MD_fetch(libctx, "SHA1", NULL);
    EVP_MD_CTX *mctx = EVP_MD_CTX_new();
    unsigned char wrong[3] = "no";
    OSSL_PARAM params[2] = {
        OSSL_PARAM_construct_octet_string(OSSL_DIGEST_PARAM_SSL3_MS, wrong, sizeof(wrong)),
        OSSL_PARAM_END};

    ck_assert_int_eq(EVP_DigestSignInit_ex(mctx, NULL, "SHA1", libctx, NULL, key, NULL), 1);
    ck_assert_ptr_eq(EVP_MD_CTX_settable_params(mctx), EVP_MD_settable_ctx_params(md));
    ck_assert(lists(EVP_MD_CTX_settable_params(mctx), OSSL_DIGEST_PARAM_SSL3_MS));
    ck_assert_ptr_eq(EVP_MD_CTX_gettable_params(mctx), EVP_MD_gettable_ctx_params(md));
    /* the digest sees the value, and wants 48 bytes */
    ck_assert_int_le(EVP_MD_CTX_set_params(mctx, params), 0);
    ck_assert_int_le(EVP_MD_CTX_get_params(mctx, params), 0);
    ERR_clear_error();
    EVP_MD_CTX_free(mctx);
    EVP_MD_free(md);
    EVP_PKEY_free(key);
}
END_TEST

/* --- generation ------------------------------------------------------------------------------ */

static int generate(const char *type, const char *name, const char *value, EVP_PKEY **key)
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_name(libctx, type, "provider=hsm");
    char group[] = "P-256";
    OSSL_PARAM params[4] = {
        OSSL_PARAM_construct_utf8_string("hsm-label", (char *)(uintptr_t) "unnamed", 0),
        OSSL_PARAM_construct_utf8_string(name, (char *)(uintptr_t)value, 0), OSSL_PARAM_END,
        OSSL_PARAM_END};
    int ok;

    if (strcmp(type, "EC") == 0)
        params[2] = OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0);

    ck_assert_int_eq(EVP_PKEY_keygen_init(pctx), 1);
    ok = EVP_PKEY_CTX_set_params(pctx, params) == 1 && EVP_PKEY_generate(pctx, key) == 1;
    EVP_PKEY_CTX_free(pctx);
    return ok;
}

static const struct {
    const char *type, *name, *value, *says; /* NULL: it goes well */
} generations[] = {
    {"RSA-PSS", OSSL_PKEY_PARAM_RSA_MASKGENFUNC, "mgf1", NULL},
    {"RSA-PSS", OSSL_PKEY_PARAM_RSA_MASKGENFUNC, "MGF2", "MGF1"},
    {"EC", "hsm-uri", "pkcs11:token=fake;object=named;id=%01%02", NULL},
    {"EC", "hsm-uri", "pkcs11:object=named;type=private", NULL},
    {"EC", "hsm-uri", "pkcs11:object=named;type=cert", "hsm-uri"},
    {"EC", "hsm-uri", "pkcs11:object=named?pin-source=file:/p", "hsm-uri"},
    {"EC", "hsm-uri", "pkcs11:object=named;no-such=1", "no-such"},
};

START_TEST(generation_takes_it_or_says_why)
{
    const bool good = generations[_i].says == NULL;
    const unsigned before = fake_objects(slot, FAKE_ANY);
    const char *want = generations[_i].value[0] == 'p' ? "object=named" : "object=unnamed";
    EVP_PKEY *key = NULL;
    char uri[200] = "", text[512] = "";

    ck_assert_msg(
        generate(generations[_i].type, generations[_i].name, generations[_i].value, &key) == good,
        "%s", generations[_i].value);
    if (good) {
        ck_assert_int_eq(EVP_PKEY_get_utf8_string_param(key, "hsm-uri", uri, sizeof(uri), NULL), 1);
        ck_assert_msg(strstr(uri, want) != NULL, "%s", uri);
        ck_assert_uint_eq(fake_objects(slot, FAKE_ANY), before + 2);
    } else {
        our_reason_and_text(text, sizeof(text));
        ck_assert_msg(strstr(text, generations[_i].says) != NULL, "%s", text);
        ck_assert_uint_eq(fake_objects(slot, FAKE_ANY), before);
    }
    EVP_PKEY_free(key);
}
END_TEST

/* --- encoding -------------------------------------------------------------------------------- */

/* Nobody gets an encrypted reference: there is nothing secret in it, and others could not tell. */
START_TEST(an_encrypted_key_is_refused)
{
    EVP_PKEY *key = load_key("ec");
    OSSL_ENCODER_CTX *ectx = OSSL_ENCODER_CTX_new_for_pkey(
        key, EVP_PKEY_KEYPAIR, "DER", "EncryptedPrivateKeyInfo", "provider=hsm");
    unsigned char *out = NULL;
    size_t len = 0;
    char text[512] = "";

    ck_assert_int_gt(OSSL_ENCODER_CTX_get_num_encoders(ectx), 0);
    ck_assert_int_eq(OSSL_ENCODER_CTX_set_cipher(ectx, "AES-256-CBC", NULL), 1);
    ck_assert_int_eq(OSSL_ENCODER_CTX_set_passphrase(ectx, (const unsigned char *)"secret", 6), 1);
    ck_assert_int_eq(OSSL_ENCODER_to_data(ectx, &out, &len), 0);
    ck_assert_ptr_null(out);
    our_reason_and_text(text, sizeof(text));
    ck_assert_msg(strstr(text, "encrypt") != NULL, "%s", text);
    ERR_clear_error();
    OSSL_ENCODER_CTX_free(ectx);
    EVP_PKEY_free(key);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("params");
    TCase *tc = tcase_create("params");

    tcase_add_checked_fixture(tc, set_up, provider_down);
    tcase_add_loop_test(tc, keys_give_what_their_lists_name, 0, COUNT(kinds));
    tcase_add_test(tc, refused_keys_as_well);
    tcase_add_loop_test(tc, operations_name_what_they_take, 0, COUNT(operations));
    tcase_add_test(tc, eddsa_gives_its_algorithm);
    tcase_add_test(tc, the_digest_is_asked);
    tcase_add_loop_test(tc, generation_takes_it_or_says_why, 0, COUNT(generations));
    tcase_add_test(tc, an_encrypted_key_is_refused);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
