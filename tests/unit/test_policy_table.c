/* SPDX-License-Identifier: Apache-2.0
 *
 * test_policy_table.c - every row of policy_table.h through libcrypto's EVP functions, with a look
 * at the PKCS#11 module: the private operation happened there exactly when the row says so.
 *
 * With HSM_TEST_MODULE in the environment the same rows run on that module's token, which has the
 * keys "rsa", "p256", "p384" and "p521" (HSM_TEST_TOKEN, HSM_TEST_INIT_ARGS and HSM_TEST_PIN go
 * with it). There is nothing to count then. When the token is in another process (p11-kit server)
 * a result that verifies can only have come from there. Rows that need a mechanism to be missing
 * are for the fake module; how many they are is printed.
 */
#include <check.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <openssl/rsa.h>
#include <openssl/store.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../keystore/keystore.h"
#include "fake.h"
#include "policy_table.h"
#include "prov_fixture.h"

static const struct {
    const char *name, *label;
    enum fake_kind kind;
} keys[] = {
    {"RSA", "rsa", FAKE_RSA},
    {"EC P-256", "p256", FAKE_P256},
    {"EC P-384", "p384", FAKE_P384},
    {"EC P-521", "p521", FAKE_P521},
    {"ED25519", "ed25519", FAKE_ED25519},
    {"ED448", "ed448", FAKE_ED448},
};
#define KEYS (sizeof(keys) / sizeof(keys[0]))

/* One row under way. */
struct run {
    const struct policy_row *row;
    struct prov_fixture f;
    const char *propq;
    EVP_PKEY *key;           /* on the token; NULL for generation */
    OSSL_LIB_CTX *elsewhere; /* without our provider */
    EVP_PKEY *pub;           /* key's public half there */
    unsigned char sig[1024]; /* for verification: a good signature */
    size_t sig_len;
};

static const unsigned char text[48] = "\x03\x03 forty-eight bytes, as a TLS secret has them.";

static bool real_token(void)
{
    return getenv("HSM_TEST_MODULE") != NULL;
}

/* --- what a real token lacks ----------------------------------------------------------------- */

static bool real_token_can(enum ks_mech_kind kind)
{
    const struct ks_token_config config = {.name = "test",
                                           .module = getenv("HSM_TEST_MODULE"),
                                           .init_args = getenv("HSM_TEST_INIT_ARGS"),
                                           .token = getenv("HSM_TEST_TOKEN"),
                                           .pin = "env:HSM_TEST_PIN"};
    struct ks_token *token = NULL;
    struct ks_error err;
    bool can = false;

    ck_assert_msg(ks_ok(ks_token_new(&config, &token, &err)), "%s", err.text);
    ck_assert_msg(ks_ok(ks_token_can(token, NULL, kind, &can, &err)), "%s", err.text);
    ks_token_free(token);
    return can;
}

/* The row as it has to come out on this token: what it cannot do is refused, and no row is left
 * out. Where it cannot even have the key, generating that is what is refused. */
static struct policy_row on_this_token(struct policy_row row)
{
    const char *without = getenv("HSM_TEST_WITHOUT"); /* key types, blanks between */

    if (!real_token())
        return row;
    if (row.outcome != REFUSED && strcmp(row.operation, "derive") == 0 &&
        !real_token_can(KS_MECH_ECDH) && !real_token_can(KS_MECH_ECDH_COFACTOR)) {
        row.outcome = REFUSED;
        row.reason = "lacks CKM_ECDH1_DERIVE";
    }
    if (without == NULL || strstr(without, row.key) == NULL ||
        (strcmp(row.operation, "generate") == 0 && row.outcome == REFUSED))
        return row;
    row.operation = "generate";
    row.asked = "provider=hsm";
    row.offload = "all";
    row.outcome = REFUSED;
    row.reason = "CKM_EC_EDWARDS_KEY_PAIR_GEN";
    return row;
}

/* --- keys ------------------------------------------------------------------------------------ */

static const char *label_of(const char *key)
{
    size_t i;

    for (i = 0; i < KEYS; i++) {
        if (strcmp(keys[i].name, key) == 0)
            return keys[i].label;
    }
    return NULL;
}

static EVP_PKEY *load(OSSL_LIB_CTX *libctx, const char *label)
{
    OSSL_STORE_CTX *store;
    OSSL_STORE_INFO *info = NULL;
    EVP_PKEY *key = NULL;
    char uri[80];

    snprintf(uri, sizeof(uri), "pkcs11:object=%s;type=private", label);
    store = OSSL_STORE_open_ex(uri, libctx, NULL, NULL, NULL, NULL, NULL, NULL);
    if (store != NULL)
        info = OSSL_STORE_load(store);
    if (info != NULL)
        key = OSSL_STORE_INFO_get1_PKEY(info);
    ck_assert_msg(key != NULL, "%s: %s", uri, pf_errors());
    OSSL_STORE_INFO_free(info);
    OSSL_STORE_close(store);
    ERR_clear_error();
    return key;
}

/* The public half in a library context that does not know us. */
static EVP_PKEY *public_elsewhere(OSSL_LIB_CTX *elsewhere, EVP_PKEY *key)
{
    unsigned char *der = NULL;
    const unsigned char *p;
    EVP_PKEY *pub;
    int len = i2d_PUBKEY(key, &der);

    ck_assert_msg(len > 0, "%s", pf_errors());
    p = der;
    pub = d2i_PUBKEY_ex(NULL, &p, len, elsewhere, NULL);
    OPENSSL_free(der);
    ck_assert_msg(pub != NULL, "%s", pf_errors());
    return pub;
}

/* --- operations: true with a result that was looked at, false with an error in the queue ----- */

static int padding_of(const char *name)
{
    static const struct {
        const char *name;
        int value;
    } modes[] = {{"pkcs1", RSA_PKCS1_PADDING},
                 {"pss", RSA_PKCS1_PSS_PADDING},
                 {"none", RSA_NO_PADDING},
                 {"oaep", RSA_PKCS1_OAEP_PADDING},
                 {"tls", 7 /* RSA_PKCS1_WITH_TLS_PADDING, which is not public */}};
    size_t i;

    for (i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (strcmp(modes[i].name, name) == 0)
            return modes[i].value;
    }
    return 0;
}

static bool pad(EVP_PKEY_CTX *pctx, const char *name)
{
    return name[0] == '\0' || EVP_PKEY_CTX_set_rsa_padding(pctx, padding_of(name)) > 0;
}

static const char *digest_for(EVP_PKEY *key)
{
    return EVP_PKEY_is_a(key, "ED25519") || EVP_PKEY_is_a(key, "ED448") ? NULL : "SHA256";
}

static bool verifies(OSSL_LIB_CTX *libctx, const char *propq, EVP_PKEY *key, const char *padding,
                     const unsigned char *sig, size_t sig_len)
{
    EVP_MD_CTX *mdctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx = NULL;
    bool ok =
        EVP_DigestVerifyInit_ex(mdctx, &pctx, digest_for(key), libctx, propq, key, NULL) > 0 &&
        pad(pctx, padding) && EVP_DigestVerify(mdctx, sig, sig_len, text, sizeof(text)) == 1;

    EVP_MD_CTX_free(mdctx);
    return ok;
}

static bool sign_message(OSSL_LIB_CTX *libctx, const char *propq, EVP_PKEY *key,
                         const char *padding, unsigned char *sig, size_t *sig_len)
{
    EVP_MD_CTX *mdctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx = NULL;
    bool ok = EVP_DigestSignInit_ex(mdctx, &pctx, digest_for(key), libctx, propq, key, NULL) > 0 &&
              pad(pctx, padding) && EVP_DigestSign(mdctx, sig, sig_len, text, sizeof(text)) > 0;

    EVP_MD_CTX_free(mdctx);
    return ok;
}

static bool run_sign(struct run *r)
{
    unsigned char sig[1024];
    size_t len = sizeof(sig);

    if (!sign_message(r->f.libctx, r->propq, r->key, r->row->padding, sig, &len))
        return false;
    ck_assert_msg(verifies(r->elsewhere, NULL, r->pub, r->row->padding, sig, len), "%s",
                  pf_errors());
    return true;
}

static bool run_sign_digest(struct run *r)
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(r->f.libctx, r->key, r->propq);
    unsigned char digest[32], sig[1024];
    size_t len = sizeof(sig), digest_len = 0;
    bool ok;

    ck_assert_int_eq(
        EVP_Q_digest(r->elsewhere, "SHA256", NULL, text, sizeof(text), digest, &digest_len), 1);
    ok = pctx != NULL && EVP_PKEY_sign_init(pctx) > 0 && pad(pctx, r->row->padding) &&
         EVP_PKEY_CTX_set_signature_md(pctx, EVP_sha256()) > 0 &&
         EVP_PKEY_sign(pctx, sig, &len, digest, digest_len) > 0;
    EVP_PKEY_CTX_free(pctx);
    if (ok)
        ck_assert_msg(verifies(r->elsewhere, NULL, r->pub, r->row->padding, sig, len), "%s",
                      pf_errors());
    return ok;
}

static bool run_sign_block(struct run *r)
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(r->f.libctx, r->key, r->propq), *back;
    unsigned char block[256] = {0, 0x5a, 0x17}, sig[256], again[256];
    size_t len = sizeof(sig), again_len = sizeof(again);
    bool ok = pctx != NULL && EVP_PKEY_sign_init(pctx) > 0 && pad(pctx, r->row->padding) &&
              EVP_PKEY_sign(pctx, sig, &len, block, sizeof(block)) > 0;

    EVP_PKEY_CTX_free(pctx);
    if (!ok)
        return false;
    back = EVP_PKEY_CTX_new_from_pkey(r->elsewhere, r->pub, NULL);
    ck_assert_int_gt(EVP_PKEY_encrypt_init(back), 0);
    ck_assert(pad(back, "none"));
    ck_assert_int_gt(EVP_PKEY_encrypt(back, again, &again_len, sig, len), 0);
    ck_assert_mem_eq(again, block, sizeof(block));
    EVP_PKEY_CTX_free(back);
    return true;
}

static bool run_verify(struct run *r)
{
    bool ok = verifies(r->f.libctx, r->propq, r->key, r->row->padding, r->sig, r->sig_len);

    r->sig[r->sig_len / 2] ^= 1;
    if (ok)
        ck_assert(!verifies(r->f.libctx, r->propq, r->key, r->row->padding, r->sig, r->sig_len));
    return ok;
}

static size_t encrypt(OSSL_LIB_CTX *libctx, const char *propq, EVP_PKEY *key, const char *padding,
                      unsigned char *out, size_t size)
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(libctx, key, propq);
    bool ok = pctx != NULL && EVP_PKEY_encrypt_init(pctx) > 0 && pad(pctx, padding) &&
              EVP_PKEY_encrypt(pctx, out, &size, text, sizeof(text)) > 0;

    EVP_PKEY_CTX_free(pctx);
    return ok ? size : 0;
}

static bool decrypt(OSSL_LIB_CTX *libctx, const char *propq, EVP_PKEY *key, const char *padding,
                    const unsigned char *ct, size_t ct_len, unsigned char *out, size_t *out_len)
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(libctx, key, propq);
    bool tls = strcmp(padding, "tls") == 0;
    unsigned version = 0x0303;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_uint(OSSL_ASYM_CIPHER_PARAM_TLS_CLIENT_VERSION, &version),
        OSSL_PARAM_construct_end(),
    };
    bool ok = pctx != NULL && EVP_PKEY_decrypt_init(pctx) > 0 && pad(pctx, padding) &&
              (!tls || EVP_PKEY_CTX_set_params(pctx, params) > 0) &&
              EVP_PKEY_decrypt(pctx, out, out_len, ct, ct_len) > 0;

    EVP_PKEY_CTX_free(pctx);
    return ok;
}

static bool run_decrypt(struct run *r)
{
    const char *padding = strcmp(r->row->padding, "tls") == 0 ? "pkcs1" : r->row->padding;
    unsigned char ct[512], pt[512];
    size_t ct_len = encrypt(r->elsewhere, NULL, r->pub, padding, ct, sizeof(ct));
    size_t pt_len = sizeof(pt);

    ck_assert_uint_gt(ct_len, 0);
    if (!decrypt(r->f.libctx, r->propq, r->key, r->row->padding, ct, ct_len, pt, &pt_len))
        return false;
    ck_assert_uint_eq(pt_len, sizeof(text));
    ck_assert_mem_eq(pt, text, sizeof(text));
    return true;
}

/* That the ciphertext is right shows in the decrypt rows, whose input comes from elsewhere; here
 * it matters that two of them differ, and that nothing private happens. */
static bool run_encrypt(struct run *r)
{
    unsigned char one[512], two[512];
    size_t len = encrypt(r->f.libctx, r->propq, r->key, r->row->padding, one, sizeof(one));

    if (len == 0)
        return false;
    ck_assert_uint_eq(len, (size_t)EVP_PKEY_get_size(r->pub));
    ck_assert_uint_eq(encrypt(r->f.libctx, r->propq, r->key, r->row->padding, two, sizeof(two)),
                      len);
    ck_assert_mem_ne(one, two, len);
    return true;
}

static bool derive(OSSL_LIB_CTX *libctx, const char *propq, EVP_PKEY *own, EVP_PKEY *peer,
                   unsigned char *out, size_t *len)
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(libctx, own, propq);
    bool ok = pctx != NULL && EVP_PKEY_derive_init(pctx) > 0 &&
              EVP_PKEY_derive_set_peer(pctx, peer) > 0 && EVP_PKEY_derive(pctx, out, len) > 0;

    EVP_PKEY_CTX_free(pctx);
    return ok;
}

/* The secret is the one that the other side gets. */
static bool run_derive(struct run *r)
{
    EVP_PKEY *other = EVP_PKEY_Q_keygen(r->elsewhere, NULL, "EC", r->row->key + strlen("EC "));
    unsigned char ours[80], theirs[80], *der = NULL;
    size_t ours_len = sizeof(ours), theirs_len = sizeof(theirs);
    int der_len = i2d_PUBKEY(other, &der);
    const unsigned char *p = der;
    EVP_PKEY *peer = d2i_PUBKEY_ex(NULL, &p, der_len, r->f.libctx, NULL);
    bool ok;

    ck_assert_msg(peer != NULL, "%s", pf_errors());
    ck_assert(derive(r->elsewhere, NULL, other, r->pub, theirs, &theirs_len));
    ok = derive(r->f.libctx, r->propq, r->key, peer, ours, &ours_len);
    if (ok) {
        ck_assert_uint_eq(ours_len, theirs_len);
        ck_assert_mem_eq(ours, theirs, ours_len);
    }
    OPENSSL_free(der);
    EVP_PKEY_free(peer);
    EVP_PKEY_free(other);
    return ok;
}

static bool run_export(struct run *r)
{
    OSSL_PARAM *params = NULL;
    bool ok = EVP_PKEY_todata(r->key, EVP_PKEY_KEYPAIR, &params) > 0;

    OSSL_PARAM_free(params);
    return ok;
}

static bool run_generate(struct run *r)
{
    static unsigned serial;
    char type[40], label[80];
    const char *group = NULL;
    OSSL_PARAM params[3] = {OSSL_PARAM_END, OSSL_PARAM_END, OSSL_PARAM_END};
    EVP_PKEY_CTX *pctx;
    EVP_PKEY *key = NULL;
    bool ok;

    snprintf(type, sizeof(type), "%s", r->row->key);
    if (strncmp(type, "EC ", 3) == 0) {
        type[2] = '\0';
        group = r->row->key + 3;
    }
    snprintf(label, sizeof(label), "new %ld %u", (long)getpid(), ++serial);
    params[0] = OSSL_PARAM_construct_utf8_string("hsm-label", label, 0);
    if (group != NULL)
        params[1] = OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME,
                                                     (char *)(uintptr_t)group, 0);
    pctx = EVP_PKEY_CTX_new_from_name(r->f.libctx, type, r->propq);
    ok = pctx != NULL && EVP_PKEY_keygen_init(pctx) > 0 &&
         EVP_PKEY_CTX_set_params(pctx, params) > 0 && EVP_PKEY_generate(pctx, &key) > 0;
    EVP_PKEY_CTX_free(pctx);
    if (ok)
        ck_assert_ptr_eq(EVP_PKEY_get0_provider(key), r->f.hsm);
    EVP_PKEY_free(key);
    return ok;
}

static const struct operation {
    const char *name;
    bool (*run)(struct run *r);
    const char *function; /* of PKCS#11, that has to be called when it is ON_HSM */
} operations[] = {
    {"sign", run_sign, "C_Sign"},
    {"sign-digest", run_sign_digest, "C_Sign"},
    {"sign-block", run_sign_block, "C_Sign"},
    {"verify", run_verify, NULL},
    {"decrypt", run_decrypt, "C_Decrypt"},
    {"encrypt", run_encrypt, NULL},
    {"derive", run_derive, "C_DeriveKey"},
    {"export-private", run_export, NULL},
    {"generate", run_generate, "C_GenerateKeyPair"},
};
#define OPERATIONS (sizeof(operations) / sizeof(operations[0]))

/* --- one row --------------------------------------------------------------------------------- */

static unsigned long slot;

static unsigned long private_calls(void)
{
    static const char *const functions[] = {"C_Sign",      "C_SignFinal",       "C_Decrypt",
                                            "C_DeriveKey", "C_GenerateKeyPair", "C_GenerateRandom"};
    unsigned long calls = 0;
    size_t i;

    for (i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
        calls += fake_calls(functions[i]);
    return calls;
}

static void make_token(void)
{
    size_t i;

    if (real_token()) {
        pf_config("pkcs11-module", getenv("HSM_TEST_MODULE"));
        pf_config("pkcs11-init-args", getenv("HSM_TEST_INIT_ARGS"));
        pf_config("token", getenv("HSM_TEST_TOKEN"));
        return;
    }
    fake_reset();
    slot = fake_add_token(NULL);
    for (i = 0; i < KEYS; i++)
        (void)fake_add_pair(slot, keys[i].kind, keys[i].label);
}

static void take_mechanisms_away(const char *list)
{
    char copy[200], line[80];
    char *word, *rest = copy;

    snprintf(copy, sizeof(copy), "%s", list);
    while ((word = strsep(&rest, " ")) != NULL) {
        if (word[0] == '\0')
            continue;
        snprintf(line, sizeof(line), "mechanism %s off\n", word);
        fake_script(line);
    }
}

/* A signature to verify, made on the token with everything allowed. */
static void sign_beforehand(struct run *r)
{
    struct prov_fixture f;
    EVP_PKEY *key;

    pf_config("offload", "all");
    f = pf_open(false);
    key = load(f.libctx, label_of(r->row->key));
    r->sig_len = sizeof(r->sig);
    ck_assert_msg(sign_message(f.libctx, NULL, key, r->row->padding, r->sig, &r->sig_len), "%s",
                  pf_errors());
    EVP_PKEY_free(key);
    pf_close(&f);
}

static void assert_outcome(const struct run *r, const struct operation *op, bool done,
                           unsigned objects)
{
    const struct policy_row *row = r->row;

    if (row->outcome == REFUSED) {
        ck_assert_msg(!done, "it was done");
        ck_assert_msg(ERR_peek_error() != 0, "no error");
        ck_assert_msg(pf_error_says(row->reason), "expected '%s' in: %s", row->reason, pf_errors());
    } else {
        ck_assert_msg(done, "refused: %s", pf_errors());
    }
    if (real_token())
        return;
    if (row->outcome == ON_HSM) {
        ck_assert_ptr_nonnull(op->function);
        ck_assert_uint_gt(fake_calls(op->function), 0);
    } else {
        ck_assert_msg(private_calls() == 0, "a private operation: %s", fake_log());
        ck_assert_uint_eq(fake_objects(slot, FAKE_ANY), objects);
    }
}

static const struct operation *operation_of(const struct policy_row *row)
{
    size_t i;

    for (i = 0; i < OPERATIONS; i++) {
        if (strcmp(operations[i].name, row->operation) == 0)
            return &operations[i];
    }
    ck_abort_msg("no function for the operation \"%s\"", row->operation);
    return NULL;
}

START_TEST(test_row)
{
    const struct policy_row here = on_this_token(policy_table[_i]), *row = &here;
    const struct operation *op = operation_of(row);
    bool first = strcmp(row->asked, "first") == 0;
    struct run r = {.row = row, .propq = first || row->asked[0] == '\0' ? NULL : row->asked};
    OSSL_PROVIDER *software;
    unsigned objects = 0;
    bool done;

    fprintf(stderr, "row %d: %s %s %s asked=%s offload=%s lacks=%s\n", _i, row->key, row->operation,
            row->padding, row->asked, row->offload, row->lacks);
    make_token();
    if (strcmp(row->operation, "verify") == 0)
        sign_beforehand(&r);
    pf_config("offload", row->offload);
    if (!real_token()) {
        take_mechanisms_away(row->lacks);
        objects = fake_objects(slot, FAKE_ANY);
    }
    r.f = pf_open(first);
    r.elsewhere = OSSL_LIB_CTX_new();
    software = OSSL_PROVIDER_load(r.elsewhere, "default");
    if (strcmp(row->operation, "generate") != 0) {
        r.key = load(r.f.libctx, label_of(row->key));
        r.pub = public_elsewhere(r.elsewhere, r.key);
    }
    ERR_clear_error();
    if (!real_token())
        fake_clear_counts();
    done = op->run(&r);
    assert_outcome(&r, op, done, objects);
    ERR_clear_error();
    EVP_PKEY_free(r.key);
    EVP_PKEY_free(r.pub);
    pf_close(&r.f);
    OSSL_PROVIDER_unload(software);
    OSSL_LIB_CTX_free(r.elsewhere);
}
END_TEST

/* --- all of them ----------------------------------------------------------------------------- */

int main(void)
{
    Suite *suite = suite_create("policy table");
    TCase *tcase = tcase_create("rows");
    SRunner *runner;
    int failed, ran;
    unsigned expected = 0, left_out = 0;
    size_t i;

    tcase_set_timeout(tcase, 120);
    for (i = 0; i < POLICY_ROWS; i++) {
        if (real_token() && policy_table[i].lacks[0] != '\0') {
            left_out++;
            continue;
        }
        tcase_add_loop_test(tcase, test_row, (int)i, (int)i + 1);
        expected++;
    }
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    ran = srunner_ntests_run(runner);
    srunner_free(runner);
    printf("policy table: %d of %zu rows ran, %d failed; %u are for the fake module only\n", ran,
           POLICY_ROWS, failed, left_out);
    return failed == 0 && ran == (int)expected ? EXIT_SUCCESS : EXIT_FAILURE;
}
