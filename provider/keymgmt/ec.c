/* SPDX-License-Identifier: Apache-2.0
 *
 * ec.c - EC keys.
 */
#include <string.h>

#include "../core/fetch_cache.h"
#include "keymgmt.h"

#define EC_GROUP_PARAMS                                                                            \
    OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),                                   \
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_EC_ENCODING, NULL, 0),                              \
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, NULL, 0),               \
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_EC_FIELD_TYPE, NULL, 0),                            \
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_EC_P, NULL, 0),                                              \
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_EC_A, NULL, 0),                                              \
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_EC_B, NULL, 0),                                              \
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_EC_GENERATOR, NULL, 0),                            \
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_EC_ORDER, NULL, 0),                                          \
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_EC_COFACTOR, NULL, 0),                                       \
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_EC_SEED, NULL, 0),                                 \
        OSSL_PARAM_int(OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS, NULL)

static void *ec_new(void *provctx)
{
    return prov_key_new(provctx, PROV_EC);
}

static void *ec_load(const void *reference, size_t size)
{
    return prov_keymgmt_load(PROV_EC, reference, size);
}

static const OSSL_PARAM *types(int selection)
{
    static const OSSL_PARAM public_key[] = {
        EC_GROUP_PARAMS,
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
        OSSL_PARAM_END,
    };
    static const OSSL_PARAM group[] = {EC_GROUP_PARAMS, OSSL_PARAM_END};

    if ((selection & OSSL_KEYMGMT_SELECT_PUBLIC_KEY) != 0)
        return public_key;
    return (selection & OSSL_KEYMGMT_SELECT_DOMAIN_PARAMETERS) != 0 ? group : NULL;
}

static const OSSL_PARAM *gettable_params(void *provctx)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, NULL, 0),
        OSSL_PARAM_utf8_string("hsm-uri", NULL, 0),
        EC_GROUP_PARAMS,
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_EC_PUB_X, NULL, 0),
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_EC_PUB_Y, NULL, 0),
        OSSL_PARAM_END,
    };

    (void)provctx;
    return params;
}

static const OSSL_PARAM *ec_settable_params(void *provctx)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, NULL, 0),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_EC_INCLUDE_PUBLIC, NULL),
        OSSL_PARAM_END,
    };

    (void)provctx;
    return params;
}

/* "include-public = 1", which `openssl ec` always says: that is how references are anyway. */
static bool includes_public(const OSSL_PARAM params[])
{
    int value = 0;

    return params != NULL && params[0].key != NULL && params[1].key == NULL &&
           strcmp(params[0].key, OSSL_PKEY_PARAM_EC_INCLUDE_PUBLIC) == 0 &&
           OSSL_PARAM_get_int(&params[0], &value) == 1 && value != 0;
}

/* Keys do not change, but a public key may still be put to mere parameters: CMS copies those of the
 * recipient's key, and makes the sender's key of them. */
static int ec_set_params(void *keydata, const OSSL_PARAM params[])
{
    struct prov_key *key = keydata;

    if (includes_public(params))
        return 1;
    if (key == NULL || key->pub == NULL || key->has_public || key->has_private || params == NULL ||
        params[0].key == NULL || params[1].key != NULL ||
        strcmp(params[0].key, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY) != 0 ||
        params[0].data_type != OSSL_PARAM_OCTET_STRING)
        return prov_keymgmt_set_params(keydata, params);
    if (EVP_PKEY_set1_encoded_public_key(key->pub, params[0].data, params[0].data_size) != 1) {
        prov_raise(key->ctx, PROV_R_SOFTWARE, "this is no public key of the curve");
        return 0;
    }
    key->has_public = true;
    return 1;
}

static const char *query_operation_name(int operation_id)
{
    switch (operation_id) {
    case OSSL_OP_SIGNATURE:
        return prov_operation_name(PROV_OWN_ECDSA, "ECDSA");
    case OSSL_OP_KEYEXCH:
        return prov_operation_name(PROV_OWN_ECDH, "ECDH");
    default:
        return NULL;
    }
}

static void *ec_gen_init(void *provctx, int selection, const OSSL_PARAM params[])
{
    return prov_gen_init(PROV_EC, provctx, selection, params);
}

static const OSSL_PARAM *ec_gen_settable(void *genctx, void *provctx)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_EC_ENCODING, NULL, 0),
        PROV_GEN_SETTABLE,
        OSSL_PARAM_END,
    };

    (void)genctx;
    (void)provctx;
    return params;
}

const OSSL_DISPATCH prov_keymgmt_ec[] = {
    {OSSL_FUNC_KEYMGMT_NEW, (void (*)(void))ec_new},
    {OSSL_FUNC_KEYMGMT_FREE, (void (*)(void))prov_keymgmt_free},
    {OSSL_FUNC_KEYMGMT_LOAD, (void (*)(void))ec_load},
    {OSSL_FUNC_KEYMGMT_DUP, (void (*)(void))prov_keymgmt_dup},
    {OSSL_FUNC_KEYMGMT_HAS, (void (*)(void))prov_keymgmt_has},
    {OSSL_FUNC_KEYMGMT_MATCH, (void (*)(void))prov_keymgmt_match},
    {OSSL_FUNC_KEYMGMT_VALIDATE, (void (*)(void))prov_keymgmt_validate},
    {OSSL_FUNC_KEYMGMT_IMPORT, (void (*)(void))prov_keymgmt_import},
    {OSSL_FUNC_KEYMGMT_IMPORT_TYPES, (void (*)(void))types},
    {OSSL_FUNC_KEYMGMT_EXPORT, (void (*)(void))prov_keymgmt_export},
    {OSSL_FUNC_KEYMGMT_EXPORT_TYPES, (void (*)(void))types},
    {OSSL_FUNC_KEYMGMT_GET_PARAMS, (void (*)(void))prov_keymgmt_get_params},
    {OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, (void (*)(void))gettable_params},
    {OSSL_FUNC_KEYMGMT_SET_PARAMS, (void (*)(void))ec_set_params},
    {OSSL_FUNC_KEYMGMT_SETTABLE_PARAMS, (void (*)(void))ec_settable_params},
    {OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, (void (*)(void))query_operation_name},
    {OSSL_FUNC_KEYMGMT_GEN_INIT, (void (*)(void))ec_gen_init},
    {OSSL_FUNC_KEYMGMT_GEN_SET_TEMPLATE, (void (*)(void))prov_gen_set_template},
    {OSSL_FUNC_KEYMGMT_GEN_SET_PARAMS, (void (*)(void))prov_gen_set_params},
    {OSSL_FUNC_KEYMGMT_GEN_SETTABLE_PARAMS, (void (*)(void))ec_gen_settable},
    {OSSL_FUNC_KEYMGMT_GEN, (void (*)(void))prov_gen},
    {OSSL_FUNC_KEYMGMT_GEN_CLEANUP, (void (*)(void))prov_gen_cleanup},
    {0, NULL},
};
