/* SPDX-License-Identifier: Apache-2.0
 *
 * refused.c - key types that libcrypto has and the HSM does not. Where somebody asks us
 * for such a key (by property query, or because we come first) there is none: a name that we did
 * not register would lead to the next provider, and the key would be made in software, in silence.
 *
 * Keys that exist already are another matter. Where we come first libcrypto brings us public keys
 * of these types, and software private keys that the program has: we hold them as a software key,
 * and hand them to the provider that does the operation. With software-private-keys = refuse the
 * private half is left out, and the operation fails.
 */
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <string.h>

#include "keymgmt.h"

#define PRIVATE OSSL_KEYMGMT_SELECT_PRIVATE_KEY
#define PUBLIC  OSSL_KEYMGMT_SELECT_PUBLIC_KEY

static bool is_private(const char *name)
{
    return strcmp(name, OSSL_PKEY_PARAM_PRIV_KEY) == 0 || strcmp(name, "seed") == 0;
}

/* `all` without the private parameters; `*found` tells whether there were any. The values are not
 * copied. Freed with OPENSSL_free(). */
static OSSL_PARAM *public_params(const OSSL_PARAM all[], bool *found)
{
    OSSL_PARAM *out;
    size_t n = 0, i;

    while (all[n].key != NULL)
        n++;
    out = OPENSSL_zalloc((n + 1) * sizeof(*out));
    *found = false;
    for (i = 0, n = 0; out != NULL && all[i].key != NULL; i++) {
        if (is_private(all[i].key))
            *found = true;
        else
            out[n++] = all[i];
    }
    return out;
}

static EVP_PKEY *software_key(const struct prov_key *key, int selection, const OSSL_PARAM params[])
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_name(key->ctx->libctx, key->refused, PROV_NOT_US);
    EVP_PKEY *pkey = NULL;

    /* libcrypto only reads the parameters */
    if (pctx == NULL || EVP_PKEY_fromdata_init(pctx) <= 0 ||
        EVP_PKEY_fromdata(pctx, &pkey, selection, (OSSL_PARAM *)(uintptr_t)params) <= 0) {
        prov_raise(key->ctx, PROV_R_SOFTWARE, "libcrypto does not take this %s key", key->refused);
        pkey = NULL;
    }
    EVP_PKEY_CTX_free(pctx);
    return pkey;
}

/* --- keymgmt --------------------------------------------------------------------------------- */

static void *refused_new(void *provctx, const char *name)
{
    struct prov_key *key = prov_key_new(provctx, PROV_KEY_TYPES);

    if (key != NULL)
        key->refused = name;
    return key;
}

/* Parameters that were read by codec/decoder_params.c. */
static void *refused_load(const char *name, const void *reference, size_t size)
{
    struct prov_load *load;
    struct prov_key *key;

    if (reference == NULL || size != sizeof(load))
        return NULL;
    memcpy(&load, reference, sizeof(load));
    key = load != NULL ? load->key : NULL;
    if (key == NULL || key->refused == NULL || strcmp(key->refused, name) != 0)
        return NULL;
    load->key = NULL;
    return key;
}

static int refused_import(void *keydata, int selection, const OSSL_PARAM params[])
{
    struct prov_key *key = keydata;
    OSSL_PARAM *public = NULL;
    bool has_private;
    size_t len = 0;
    int ret = 0;

    if (key == NULL || key->pub != NULL || key->software)
        return 0;
    public = public_params(params, &has_private);
    if (public == NULL)
        return 0;
    has_private = has_private && (selection & PRIVATE) != 0;
    key->has_public = (selection & PUBLIC) != 0 &&
                      (OSSL_PARAM_locate(public, OSSL_PKEY_PARAM_PUB_KEY) != NULL ||
                       OSSL_PARAM_locate(public, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY) != NULL);
    if (has_private && key->ctx->config.refuse_software_keys) {
        key->software = key->has_private = true;
        ret = 1;
        if (key->has_public) {
            key->pub = software_key(key, EVP_PKEY_PUBLIC_KEY, public);
            ret = key->pub != NULL;
        }
        goto out;
    }
    selection = has_private       ? EVP_PKEY_KEYPAIR
                : key->has_public ? EVP_PKEY_PUBLIC_KEY
                                  : EVP_PKEY_KEY_PARAMETERS;
    key->pub = software_key(key, selection, params);
    if (key->pub == NULL)
        goto out;
    key->has_private = has_private;
    /* some types work it out from the private half */
    ERR_set_mark();
    if (has_private &&
        EVP_PKEY_get_octet_string_param(key->pub, OSSL_PKEY_PARAM_PUB_KEY, NULL, 0, &len) == 1)
        key->has_public = true;
    ERR_pop_to_mark();
    ret = 1;
out:
    OPENSSL_free(public);
    return ret;
}

static int refused_export(void *keydata, int selection, OSSL_CALLBACK *callback, void *cbarg)
{
    const struct prov_key *key = keydata;

    if (key == NULL)
        return 0;
    if ((selection & PRIVATE) != 0 && key->software) {
        prov_raise_software_key(key);
        return 0;
    }
    return key->pub != NULL && EVP_PKEY_export(key->pub, selection, callback, cbarg);
}

/* Of all types together: libcrypto asks without saying which. */
static const OSSL_PARAM *refused_types(int selection)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PRIV_KEY, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_FFC_P, NULL, 0),
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_FFC_Q, NULL, 0),
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_FFC_G, NULL, 0),
        OSSL_PARAM_END,
    };

    (void)selection;
    return params;
}

static int refused_has(const void *keydata, int selection)
{
    const struct prov_key *key = keydata;

    return key != NULL && ((selection & PRIVATE) == 0 || key->has_private) &&
           ((selection & PUBLIC) == 0 || key->has_public) &&
           ((selection & OSSL_KEYMGMT_SELECT_ALL_PARAMETERS) == 0 || key->pub != NULL ||
            key->software);
}

static int refused_match(const void *keydata1, const void *keydata2, int selection)
{
    const struct prov_key *a = keydata1, *b = keydata2;
    int ok;

    if (a == NULL || b == NULL || a->pub == NULL || b->pub == NULL)
        return 0;
    ERR_set_mark();
    ok = (selection & OSSL_KEYMGMT_SELECT_KEYPAIR) != 0 ? EVP_PKEY_eq(a->pub, b->pub)
                                                        : EVP_PKEY_parameters_eq(a->pub, b->pub);
    ERR_pop_to_mark();
    return ok == 1;
}

static int refused_validate(const void *keydata, int selection, int checktype)
{
    const struct prov_key *key = keydata;
    EVP_PKEY_CTX *pctx;
    int ok = 1;

    (void)checktype;
    if (key == NULL || key->pub == NULL)
        return 0;
    pctx = EVP_PKEY_CTX_new_from_pkey(key->ctx->libctx, key->pub, PROV_NOT_US);
    if (pctx == NULL)
        return 0;
    if ((selection & PRIVATE) != 0)
        ok = !key->software && EVP_PKEY_private_check(pctx) == 1;
    if (ok && (selection & PUBLIC) != 0)
        ok = EVP_PKEY_public_check(pctx) == 1;
    if (ok && (selection & OSSL_KEYMGMT_SELECT_KEYPAIR) == OSSL_KEYMGMT_SELECT_KEYPAIR)
        ok = EVP_PKEY_pairwise_check(pctx) == 1;
    if (ok && (selection & OSSL_KEYMGMT_SELECT_DOMAIN_PARAMETERS) != 0)
        ok = EVP_PKEY_param_check(pctx) == 1;
    EVP_PKEY_CTX_free(pctx);
    return ok;
}

/* Keys of these types may change (set1_encoded_public_key), so a copy is a copy. */
static void *refused_dup(const void *keydata, int selection)
{
    const struct prov_key *key = keydata;
    struct prov_key *copy = key != NULL ? refused_new(key->ctx, key->refused) : NULL;

    if (copy == NULL)
        return NULL;
    copy->software = key->software;
    copy->has_public = key->has_public;
    copy->has_private = key->has_private;
    if (key->pub == NULL)
        return copy;
    if ((selection & OSSL_KEYMGMT_SELECT_KEYPAIR) != 0) {
        copy->pub = EVP_PKEY_dup(key->pub);
    } else {
        copy->has_public = copy->has_private = copy->software = false;
        copy->pub = EVP_PKEY_new();
        if (copy->pub != NULL && EVP_PKEY_copy_parameters(copy->pub, key->pub) != 1) {
            EVP_PKEY_free(copy->pub);
            copy->pub = NULL;
        }
    }
    if (copy->pub == NULL) {
        prov_key_free(copy);
        return NULL;
    }
    return copy;
}

static int refused_get_params(void *keydata, OSSL_PARAM params[])
{
    const struct prov_key *key = keydata;

    return key != NULL && key->pub != NULL && EVP_PKEY_get_params(key->pub, params);
}

static const OSSL_PARAM *refused_gettable(void *provctx)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_MANDATORY_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, NULL, 0),
        OSSL_PARAM_END,
    };

    (void)provctx;
    return params;
}

static int refused_set_params(void *keydata, const OSSL_PARAM params[])
{
    struct prov_key *key = keydata;

    if (params == NULL || params[0].key == NULL)
        return 1;
    /* libcrypto only reads the parameters */
    if (key == NULL || key->pub == NULL ||
        !EVP_PKEY_set_params(key->pub, (OSSL_PARAM *)(uintptr_t)params))
        return 0;
    key->has_public = key->has_public ||
                      OSSL_PARAM_locate_const(params, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY) != NULL;
    return 1;
}

static const OSSL_PARAM *refused_settable(void *provctx)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, NULL, 0),
        OSSL_PARAM_END,
    };

    (void)provctx;
    return params;
}

static const char *operation_name(const char *name)
{
    return strcmp(name, "DHX") == 0 ? "DH" : name;
}

/* --- generation ------------------------------------------------------------------------------ */

static void *refuse(void *provctx, const char *name)
{
    prov_raise(provctx, PROV_R_UNSUPPORTED,
               "%s keys are not generated in the HSM, and never elsewhere when the HSM is asked: "
               "use RSA, RSA-PSS, EC, Ed25519 or Ed448, or ask for a software key with -propquery "
               "provider=default",
               name);
    return NULL;
}

/* libcrypto wants these beside gen_init; there is never anything to give them. */
static void *refused_gen(void *genctx, OSSL_CALLBACK *callback, void *cbarg)
{
    (void)genctx;
    (void)callback;
    (void)cbarg;
    return NULL;
}

static void refused_gen_cleanup(void *genctx)
{
    (void)genctx;
}

/* --- dispatch -------------------------------------------------------------------------------- */

/* The callbacks that do not get to know their type otherwise, and the table. Its last row is
 * `load`: {0, NULL}, or load() for a type that codec/decoder_params.c reads. */
#define TABLE(id, name, load, function)                                                            \
    static void *id##_new(void *provctx)                                                           \
    {                                                                                              \
        return refused_new(provctx, name);                                                         \
    }                                                                                              \
    static void *id##_gen_init(void *provctx, int selection, const OSSL_PARAM params[])            \
    {                                                                                              \
        (void)selection;                                                                           \
        (void)params;                                                                              \
        return refuse(provctx, name);                                                              \
    }                                                                                              \
    static const char *id##_operation_name(int operation_id)                                       \
    {                                                                                              \
        (void)operation_id;                                                                        \
        return operation_name(name);                                                               \
    }                                                                                              \
    const OSSL_DISPATCH prov_refused_##id[] = {                                                    \
        {OSSL_FUNC_KEYMGMT_NEW, (void (*)(void))id##_new},                                         \
        {OSSL_FUNC_KEYMGMT_FREE, (void (*)(void))prov_keymgmt_free},                               \
        {OSSL_FUNC_KEYMGMT_DUP, (void (*)(void))refused_dup},                                      \
        {OSSL_FUNC_KEYMGMT_HAS, (void (*)(void))refused_has},                                      \
        {OSSL_FUNC_KEYMGMT_MATCH, (void (*)(void))refused_match},                                  \
        {OSSL_FUNC_KEYMGMT_VALIDATE, (void (*)(void))refused_validate},                            \
        {OSSL_FUNC_KEYMGMT_IMPORT, (void (*)(void))refused_import},                                \
        {OSSL_FUNC_KEYMGMT_IMPORT_TYPES, (void (*)(void))refused_types},                           \
        {OSSL_FUNC_KEYMGMT_EXPORT, (void (*)(void))refused_export},                                \
        {OSSL_FUNC_KEYMGMT_EXPORT_TYPES, (void (*)(void))refused_types},                           \
        {OSSL_FUNC_KEYMGMT_GET_PARAMS, (void (*)(void))refused_get_params},                        \
        {OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, (void (*)(void))refused_gettable},                     \
        {OSSL_FUNC_KEYMGMT_SET_PARAMS, (void (*)(void))refused_set_params},                        \
        {OSSL_FUNC_KEYMGMT_SETTABLE_PARAMS, (void (*)(void))refused_settable},                     \
        {OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, (void (*)(void))id##_operation_name},             \
        {OSSL_FUNC_KEYMGMT_GEN_INIT, (void (*)(void))id##_gen_init},                               \
        {OSSL_FUNC_KEYMGMT_GEN, (void (*)(void))refused_gen},                                      \
        {OSSL_FUNC_KEYMGMT_GEN_CLEANUP, (void (*)(void))refused_gen_cleanup},                      \
        {load, function},                                                                          \
        {0, NULL},                                                                                 \
    };
#define REFUSED(id, name, others) TABLE(id, name, 0, NULL)
#define REFUSED_SIGNS             REFUSED
#define REFUSED_PARAMS(id, name, others)                                                           \
    static void *id##_load(const void *reference, size_t size)                                     \
    {                                                                                              \
        return refused_load(name, reference, size);                                                \
    }                                                                                              \
    TABLE(id, name, OSSL_FUNC_KEYMGMT_LOAD, (void (*)(void))id##_load)
#define REFUSED_SIGNS_PARAMS REFUSED_PARAMS
#include "refused.def"
