/* SPDX-License-Identifier: Apache-2.0
 *
 * test_generation.c - every row of generation_table.h through libcrypto, over the fake module: the
 * key is on the token, or there is none, or nobody asked us.
 */
#define OPENSSL_SUPPRESS_DEPRECATED /* the functions that ask no provider are rows as well */

#include <check.h>
#include <openssl/core_names.h>
#include <openssl/decoder.h>
#include <openssl/dh.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/store.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../provider/key/policy.h"
#include "fake.h"
#include "generation_table.h"
#include "prov_fixture.h"

/* One key of one row under way. */
struct run {
    struct prov_fixture f;
    const char *key;
    const char *propq;
    OSSL_LIB_CTX *elsewhere; /* without our provider */
    OSSL_PROVIDER *software; /* there */
    EVP_PKEY *made;          /* by a way that makes the key itself */
    bool by_name;            /* the group of an EC key is still to be said */
};

/* --- parameters, as others make them --------------------------------------------------------- */

static EVP_PKEY *named_parameters(OSSL_LIB_CTX *libctx, const char *propq, const char *type)
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_name(libctx, type, propq);
    const char *group = strcmp(type, "EC") == 0    ? "P-256"
                        : strcmp(type, "SM2") == 0 ? "SM2"
                        : strcmp(type, "DH") == 0  ? "ffdhe2048"
                                                   : NULL;
    OSSL_PARAM params[] = {OSSL_PARAM_END, OSSL_PARAM_END};
    EVP_PKEY *pkey = NULL;

    if (group != NULL)
        params[0] = OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME,
                                                     (char *)(uintptr_t)group, 0);
    if (pctx != NULL && EVP_PKEY_paramgen_init(pctx) > 0 &&
        (strcmp(type, "DHX") != 0 || EVP_PKEY_CTX_set_dh_rfc5114(pctx, 3) > 0) &&
        EVP_PKEY_CTX_set_params(pctx, params) > 0)
        (void)EVP_PKEY_paramgen(pctx, &pkey);
    EVP_PKEY_CTX_free(pctx);
    return pkey;
}

/* The numbers of a group of RFC 5114 are good for DSA and DHX; DH has a group's name. */
static EVP_PKEY *parameters_of(OSSL_LIB_CTX *libctx, const char *propq, const char *type)
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_name(libctx, type, propq);
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    BIGNUM *p = BN_get_rfc3526_prime_2048(NULL), *q = NULL, *g = BN_new();
    OSSL_LIB_CTX *other = OSSL_LIB_CTX_new();
    EVP_PKEY *from = NULL, *pkey = NULL;
    OSSL_PARAM *params;
    bool ok = true;

    if (strcmp(type, "DSA") == 0 || strcmp(type, "DHX") == 0) {
        from = named_parameters(other, NULL, "DHX");
        ck_assert_ptr_nonnull(from);
        ok = EVP_PKEY_get_bn_param(from, OSSL_PKEY_PARAM_FFC_P, &p) &&
             EVP_PKEY_get_bn_param(from, OSSL_PKEY_PARAM_FFC_Q, &q) &&
             EVP_PKEY_get_bn_param(from, OSSL_PKEY_PARAM_FFC_G, &g) &&
             OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_FFC_Q, q);
    } else {
        ok = BN_set_word(g, 2);
    }
    if (strcmp(type, "EC") == 0 || strcmp(type, "SM2") == 0)
        ok = OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME,
                                             type[0] == 'E' ? "P-256" : "SM2", 0);
    else
        ok = ok && OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_FFC_P, p) &&
             OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_FFC_G, g);
    ck_assert(ok);
    params = OSSL_PARAM_BLD_to_param(bld);
    if (pctx != NULL && EVP_PKEY_fromdata_init(pctx) > 0)
        (void)EVP_PKEY_fromdata(pctx, &pkey, EVP_PKEY_KEY_PARAMETERS, params);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(bld);
    BN_free(p);
    BN_free(q);
    BN_free(g);
    EVP_PKEY_free(from);
    EVP_PKEY_CTX_free(pctx);
    OSSL_LIB_CTX_free(other);
    return pkey;
}

static BIO *parameter_file(const struct run *r)
{
    EVP_PKEY *params = parameters_of(r->elsewhere, NULL, r->key);
    BIO *bio = BIO_new(BIO_s_mem());

    ck_assert_msg(params != NULL, "%s", pf_errors());
    ck_assert_int_eq(PEM_write_bio_Parameters(bio, params), 1);
    EVP_PKEY_free(params);
    return bio;
}

static EVP_PKEY *read_parameters(const struct run *r, const char *propq)
{
    BIO *bio = parameter_file(r);
    EVP_PKEY *params = PEM_read_bio_Parameters_ex(bio, NULL, r->f.libctx, propq);

    BIO_free(bio);
    ck_assert_msg(params != NULL, "%s", pf_errors());
    return params;
}

/* For generation from `from`, which goes away. */
static EVP_PKEY_CTX *from_key(const struct run *r, EVP_PKEY *from)
{
    EVP_PKEY_CTX *pctx =
        from != NULL ? EVP_PKEY_CTX_new_from_pkey(r->f.libctx, from, r->propq) : NULL;

    EVP_PKEY_free(from);
    return pctx;
}

/* --- the ways: a context for generation, or the key itself, or neither and an error ---------- */

static EVP_PKEY_CTX *way_name(struct run *r)
{
    r->by_name = true;
    return EVP_PKEY_CTX_new_from_name(r->f.libctx, r->key, r->propq);
}

static EVP_PKEY_CTX *way_quick(struct run *r)
{
    if (strcmp(r->key, "RSA") == 0)
        r->made = EVP_PKEY_Q_keygen(r->f.libctx, r->propq, r->key, (size_t)2048);
    else if (strcmp(r->key, "EC") == 0)
        r->made = EVP_PKEY_Q_keygen(r->f.libctx, r->propq, r->key, "P-256");
    else
        r->made = EVP_PKEY_Q_keygen(r->f.libctx, r->propq, r->key);
    return NULL;
}

static EVP_PKEY_CTX *way_id(struct run *r)
{
    static const struct {
        const char *key;
        int id;
    } ids[] = {{"RSA", EVP_PKEY_RSA},         {"EC", EVP_PKEY_EC},
               {"ED25519", EVP_PKEY_ED25519}, {"ED448", EVP_PKEY_ED448},
               {"X25519", EVP_PKEY_X25519},   {"X448", EVP_PKEY_X448},
               {"DSA", EVP_PKEY_DSA},         {"DH", EVP_PKEY_DH}};
    OSSL_LIB_CTX *before = OSSL_LIB_CTX_set0_default(r->f.libctx);
    EVP_PKEY_CTX *pctx = NULL;
    size_t i;

    for (i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        if (strcmp(ids[i].key, r->key) == 0)
            pctx = EVP_PKEY_CTX_new_id(ids[i].id, NULL);
    }
    (void)OSSL_LIB_CTX_set0_default(before);
    r->by_name = true;
    return pctx;
}

static EVP_PKEY_CTX *way_paramgen(struct run *r)
{
    return from_key(r, named_parameters(r->f.libctx, r->propq, r->key));
}

static EVP_PKEY_CTX *way_fromdata(struct run *r)
{
    return from_key(r, parameters_of(r->f.libctx, r->propq, r->key));
}

static EVP_PKEY_CTX *way_pem(struct run *r)
{
    return from_key(r, read_parameters(r, r->propq));
}

static EVP_PKEY_CTX *way_pem_without_query(struct run *r)
{
    return from_key(r, read_parameters(r, NULL));
}

static EVP_PKEY_CTX *way_decoder(struct run *r)
{
    EVP_PKEY *params = parameters_of(r->elsewhere, NULL, r->key), *read = NULL;
    unsigned char *der = NULL;
    const unsigned char *p;
    int len = i2d_KeyParams(params, &der);
    size_t left = (size_t)len;
    OSSL_DECODER_CTX *dctx;

    ck_assert_int_gt(len, 0);
    p = der;
    dctx = OSSL_DECODER_CTX_new_for_pkey(&read, "DER", NULL, r->key, EVP_PKEY_KEY_PARAMETERS,
                                         r->f.libctx, r->propq);
    ck_assert_int_eq(OSSL_DECODER_from_data(dctx, &p, &left), 1);
    ck_assert_uint_eq(left, 0);
    ck_assert_ptr_nonnull(read);
    OSSL_DECODER_CTX_free(dctx);
    OPENSSL_free(der);
    EVP_PKEY_free(params);
    return from_key(r, read);
}

static EVP_PKEY *store_parameters(const struct run *r, bool expect)
{
    char path[] = "/tmp/hsm-parameters-XXXXXX", uri[80], *pem = NULL;
    int fd = mkstemp(path);
    BIO *bio = parameter_file(r);
    long len = BIO_get_mem_data(bio, &pem);
    OSSL_STORE_CTX *store;
    OSSL_STORE_INFO *info = NULL;
    EVP_PKEY *params = NULL;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, pem, (size_t)len), len);
    close(fd);
    BIO_free(bio);
    snprintf(uri, sizeof(uri), "file:%s", path);
    store = OSSL_STORE_open_ex(uri, r->f.libctx, r->propq, NULL, NULL, NULL, NULL, NULL);
    if (store != NULL && expect)
        ck_assert_int_eq(OSSL_STORE_expect(store, OSSL_STORE_INFO_PARAMS), 1);
    if (store != NULL)
        info = OSSL_STORE_load(store);
    if (info != NULL)
        params = OSSL_STORE_INFO_get1_PARAMS(info);
    OSSL_STORE_INFO_free(info);
    OSSL_STORE_close(store);
    unlink(path);
    return params;
}

static EVP_PKEY_CTX *way_store(struct run *r)
{
    return from_key(r, store_parameters(r, true));
}

static EVP_PKEY_CTX *way_store_of_all(struct run *r)
{
    return from_key(r, store_parameters(r, false));
}

static EVP_PKEY_CTX *way_d2i(struct run *r)
{
    EVP_PKEY *params = parameters_of(r->elsewhere, NULL, r->key), *read;
    int type = EVP_PKEY_get_base_id(params);
    unsigned char *der = NULL;
    const unsigned char *p;
    int len = i2d_KeyParams(params, &der);

    ck_assert_int_gt(len, 0);
    p = der;
    read = d2i_KeyParams(type, NULL, &p, len);
    ck_assert_msg(read != NULL, "%s", pf_errors());
    OPENSSL_free(der);
    EVP_PKEY_free(params);
    return from_key(r, read);
}

static EVP_PKEY_CTX *way_copy(struct run *r)
{
    EVP_PKEY *params = read_parameters(r, r->propq), *copy = EVP_PKEY_new();

    ck_assert_msg(EVP_PKEY_copy_parameters(copy, params) == 1, "%s", pf_errors());
    EVP_PKEY_free(params);
    return from_key(r, copy);
}

static EVP_PKEY_CTX *way_dup(struct run *r)
{
    EVP_PKEY *params = read_parameters(r, r->propq), *copy = EVP_PKEY_dup(params);

    ck_assert_msg(copy != NULL, "%s", pf_errors());
    EVP_PKEY_free(params);
    return from_key(r, copy);
}

static EVP_PKEY_CTX *way_hsm_key(struct run *r)
{
    char uri[80];
    OSSL_STORE_CTX *store;
    OSSL_STORE_INFO *info;
    EVP_PKEY *key = NULL;

    snprintf(uri, sizeof(uri), "pkcs11:object=%s;type=private", r->key);
    store = OSSL_STORE_open_ex(uri, r->f.libctx, NULL, NULL, NULL, NULL, NULL, NULL);
    ck_assert_msg(store != NULL, "%s", pf_errors());
    info = OSSL_STORE_load(store);
    ck_assert_msg(info != NULL, "%s", pf_errors());
    key = OSSL_STORE_INFO_get1_PKEY(info);
    OSSL_STORE_INFO_free(info);
    OSSL_STORE_close(store);
    ERR_clear_error();
    fake_clear_counts();
    return from_key(r, key);
}

static EVP_PKEY *software_key(const struct run *r)
{
    EVP_PKEY *key =
        strcmp(r->key, "RSA") == 0  ? EVP_PKEY_Q_keygen(r->elsewhere, NULL, "RSA", (size_t)1024)
        : strcmp(r->key, "EC") == 0 ? EVP_PKEY_Q_keygen(r->elsewhere, NULL, "EC", "P-256")
                                    : EVP_PKEY_Q_keygen(r->elsewhere, NULL, r->key);

    ck_assert_ptr_nonnull(key);
    return key;
}

static EVP_PKEY_CTX *way_public_key(struct run *r)
{
    EVP_PKEY *key = software_key(r), *read;
    unsigned char *der = NULL;
    int len = i2d_PUBKEY(key, &der);
    const unsigned char *p = der;

    read = d2i_PUBKEY_ex(NULL, &p, len, r->f.libctx, NULL);
    ck_assert_msg(read != NULL, "%s", pf_errors());
    OPENSSL_free(der);
    EVP_PKEY_free(key);
    return from_key(r, read);
}

static EVP_PKEY_CTX *way_software_key(struct run *r)
{
    EVP_PKEY *key = software_key(r), *read;
    unsigned char *der = NULL;
    int len = i2d_PrivateKey(key, &der);
    const unsigned char *p = der;

    read = d2i_AutoPrivateKey_ex(NULL, &p, len, r->f.libctx, NULL);
    ck_assert_msg(read != NULL, "%s", pf_errors());
    OPENSSL_free(der);
    EVP_PKEY_free(key);
    return from_key(r, read);
}

static EVP_PKEY_CTX *way_ec_key(struct run *r)
{
    EC_KEY *key = EC_KEY_new_by_curve_name_ex(r->f.libctx, r->propq, NID_X9_62_prime256v1);

    ck_assert_int_eq(EC_KEY_generate_key(key), 1);
    r->made = EVP_PKEY_new();
    ck_assert_int_eq(EVP_PKEY_assign_EC_KEY(r->made, key), 1);
    return NULL;
}

static const struct {
    const char *name;
    EVP_PKEY_CTX *(*begin)(struct run *r);
} ways[] = {
    {"by name", way_name},
    {"EVP_PKEY_Q_keygen()", way_quick},
    {"EVP_PKEY_CTX_new_id()", way_id},
    {"EVP_PKEY_paramgen()", way_paramgen},
    {"EVP_PKEY_fromdata()", way_fromdata},
    {"PEM_read_bio_Parameters_ex()", way_pem},
    {"OSSL_DECODER, parameters in DER", way_decoder},
    {"OSSL_STORE, a parameter file", way_store},
    {"d2i_KeyParams()", way_d2i},
    {"EVP_PKEY_copy_parameters()", way_copy},
    {"EVP_PKEY_dup() of parameters", way_dup},
    {"a key in the HSM as template", way_hsm_key},
    {"a parameter file read without a query, as req -newkey ec:FILE does", way_pem_without_query},
    {"OSSL_STORE without OSSL_STORE_expect()", way_store_of_all},
    {"a public key, or a certificate's, as template", way_public_key},
    {"a software key as template", way_software_key},
    {"EC_KEY_generate_key()", way_ec_key},
};
#define WAYS (sizeof(ways) / sizeof(ways[0]))

/* --- one key --------------------------------------------------------------------------------- */

static const struct generation_asked *asked_by(const char *word)
{
    size_t i;

    for (i = 0; i < GENERATION_ASKED; i++) {
        if (strcmp(generation_asked[i].word, word) == 0)
            return &generation_asked[i];
    }
    ck_abort_msg("nobody asks \"%s\"", word);
    return NULL;
}

static bool generates(const struct run *r, EVP_PKEY_CTX *pctx, bool label, EVP_PKEY **key)
{
    OSSL_PARAM params[3] = {OSSL_PARAM_END, OSSL_PARAM_END, OSSL_PARAM_END};
    size_t n = 0;

    if (label)
        params[n++] = OSSL_PARAM_construct_utf8_string("hsm-label", (char *)(uintptr_t) "new", 0);
    if (r->by_name && EVP_PKEY_CTX_is_a(pctx, "EC"))
        params[n++] = OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME,
                                                       (char *)(uintptr_t) "P-256", 0);
    return EVP_PKEY_keygen_init(pctx) > 0 &&
           (n == 0 || EVP_PKEY_CTX_set_params(pctx, params) > 0) &&
           EVP_PKEY_generate(pctx, key) > 0;
}

static void assert_outcome(const struct run *r, const struct generation_row *row,
                           const OSSL_PROVIDER *maker, EVP_PKEY *key, unsigned objects,
                           unsigned objects_before)
{
    switch (row->outcome) {
    case MADE_ON_HSM:
        ck_assert_msg(key != NULL, "refused: %s", pf_errors());
        ck_assert_ptr_eq(EVP_PKEY_get0_provider(key), r->f.hsm);
        ck_assert_uint_eq(fake_calls("C_GenerateKeyPair"), 1);
        ck_assert_uint_gt(objects, objects_before);
        break;
    case MADE_NOWHERE:
        ck_assert_msg(key == NULL, "there is a key");
        ck_assert_msg(ERR_peek_error() != 0, "no error");
        ck_assert_msg(pf_error_says(row->reason), "expected '%s' in: %s", row->reason, pf_errors());
        break;
    case MADE_SOFTWARE:
    case NOT_ASKED:
        ck_assert_msg(key != NULL, "refused: %s", pf_errors());
        ck_assert_ptr_ne(EVP_PKEY_get0_provider(key), r->f.hsm);
        ck_assert_ptr_ne(maker, r->f.hsm);
        ck_assert_msg(ERR_peek_error() == 0, "left in the queue: %s", pf_errors());
        break;
    }
    if (row->outcome == MADE_ON_HSM)
        return;
    ck_assert_uint_eq(fake_calls("C_GenerateKeyPair"), 0);
    ck_assert_uint_eq(objects, objects_before);
}

static void make(const struct generation_row *row, const char *name,
                 const struct generation_asked *asked)
{
    struct run r = {.key = name, .propq = asked->query};
    const OSSL_PROVIDER *maker = NULL;
    EVP_PKEY_CTX *pctx = NULL;
    EVP_PKEY *key = NULL;
    unsigned objects;
    unsigned long slot;
    size_t i;

    fprintf(stderr, "%s: %s, asked for: %s\n", row->way, name, asked->word);
    fake_reset();
    slot = fake_add_token(NULL);
    (void)fake_add_pair(slot, FAKE_RSA, "RSA");
    (void)fake_add_pair(slot, FAKE_P256, "EC");
    (void)fake_add_pair(slot, FAKE_ED25519, "ED25519");
    objects = fake_objects(slot, FAKE_ANY);
    pf_config("offload", "all");
    r.f = pf_open(asked->hsm_first != 0);
    r.elsewhere = OSSL_LIB_CTX_new();
    r.software = OSSL_PROVIDER_load(r.elsewhere, "default");
    if (asked->default_properties != NULL)
        ck_assert_int_eq(EVP_set_default_properties(r.f.libctx, asked->default_properties), 1);
    fake_clear_counts();
    for (i = 0; i < WAYS && strcmp(ways[i].name, row->way) != 0; i++)
        ;
    ck_assert_msg(i < WAYS, "no function for \"%s\"", row->way);
    ERR_clear_error();
    pctx = ways[i].begin(&r);
    if (pctx != NULL && EVP_PKEY_keygen_init(pctx) > 0)
        maker = EVP_PKEY_CTX_get0_provider(pctx);
    key = r.made;
    if (pctx != NULL)
        (void)generates(&r, pctx, row->outcome == MADE_ON_HSM, &key);
    assert_outcome(&r, row, maker, key, fake_objects(slot, FAKE_ANY), objects);
    ERR_clear_error();
    EVP_PKEY_free(key);
    EVP_PKEY_CTX_free(pctx);
    pf_close(&r.f);
    OSSL_PROVIDER_unload(r.software);
    OSSL_LIB_CTX_free(r.elsewhere);
}

/* `list` is a copy of words with blanks between. */
static char *next_word(char **list)
{
    char *word;

    do
        word = strsep(list, " ");
    while (word != NULL && word[0] == '\0');
    return word;
}

START_TEST(test_row)
{
    const struct generation_row *row = &generation_table[_i];
    char *all_keys = strdup(row->keys), *all_asked, *keys = all_keys, *asked, *key, *word;

    while ((key = next_word(&keys)) != NULL) {
        asked = all_asked = strdup(row->asked);
        while ((word = next_word(&asked)) != NULL)
            make(row, key, asked_by(word));
        free(all_asked);
    }
    free(all_keys);
}
END_TEST

/* What hsmkey policy says of the ways in which nobody asks us is what was found here. */
START_TEST(test_not_asked)
{
    const struct prov_not_asked *said;
    size_t i, rows = 0, found = 0;

    for (i = 0; i < GENERATION_ROWS; i++) {
        const struct generation_row *row = &generation_table[i];

        if (row->outcome != NOT_ASKED)
            continue;
        rows++;
        for (said = prov_not_asked; said->way != NULL; said++) {
            if (strcmp(said->way, row->way) == 0 && strcmp(said->why, row->reason) == 0)
                found++;
        }
    }
    ck_assert_uint_eq(found, rows);
    for (said = prov_not_asked; said->way != NULL; said++)
        found--;
    ck_assert_uint_eq(found, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("generation");
    TCase *tcase = tcase_create("rows");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tcase, 240);
    tcase_add_loop_test(tcase, test_row, 0, (int)GENERATION_ROWS);
    tcase_add_test(tcase, test_not_asked);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
