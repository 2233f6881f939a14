/* SPDX-License-Identifier: Apache-2.0
 *
 * rsa.c - RSA and RSA-PSS keys.
 */
#include "../core/fetch_cache.h"
#include "keymgmt.h"

#define RSA_PUBLIC                                                                                 \
    OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_N, NULL, 0), OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_E, NULL, 0)
#define PSS_RESTRICTIONS                                                                           \
    OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_RSA_DIGEST, NULL, 0),                                   \
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_RSA_DIGEST_PROPS, NULL, 0),                         \
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_RSA_MASKGENFUNC, NULL, 0),                          \
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_RSA_MGF1_DIGEST, NULL, 0),                          \
        OSSL_PARAM_int(OSSL_PKEY_PARAM_RSA_PSS_SALTLEN, NULL)
#define RSA_GEN                                                                                    \
    OSSL_PARAM_size_t(OSSL_PKEY_PARAM_RSA_BITS, NULL),                                             \
        OSSL_PARAM_size_t(OSSL_PKEY_PARAM_RSA_PRIMES, NULL),                                       \
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_E, NULL, 0), PROV_GEN_SETTABLE

static void *rsa_new(void *provctx)
{
    return prov_key_new(provctx, PROV_RSA);
}

static void *pss_new(void *provctx)
{
    return prov_key_new(provctx, PROV_RSA_PSS);
}

static void *rsa_load(const void *reference, size_t size)
{
    return prov_keymgmt_load(PROV_RSA, reference, size);
}

static void *pss_load(const void *reference, size_t size)
{
    return prov_keymgmt_load(PROV_RSA_PSS, reference, size);
}

static const OSSL_PARAM *rsa_types(int selection)
{
    static const OSSL_PARAM params[] = {RSA_PUBLIC, OSSL_PARAM_END};

    return (selection & OSSL_KEYMGMT_SELECT_PUBLIC_KEY) != 0 ? params : NULL;
}

static const OSSL_PARAM *pss_types(int selection)
{
    static const OSSL_PARAM params[] = {RSA_PUBLIC, PSS_RESTRICTIONS, OSSL_PARAM_END};

    return (selection & OSSL_KEYMGMT_SELECT_PUBLIC_KEY) != 0 ? params : NULL;
}

static const OSSL_PARAM *gettable_params(void *provctx)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_MANDATORY_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string("hsm-uri", NULL, 0),
        RSA_PUBLIC,
        PSS_RESTRICTIONS,
        OSSL_PARAM_END,
    };

    (void)provctx;
    return params;
}

/* Of both types. */
static const char *query_operation_name(int operation_id)
{
    return operation_id == OSSL_OP_SIGNATURE || operation_id == OSSL_OP_ASYM_CIPHER
               ? prov_operation_name(PROV_OWN_RSA, "RSA")
               : NULL;
}

static void *rsa_gen_init(void *provctx, int selection, const OSSL_PARAM params[])
{
    return prov_gen_init(PROV_RSA, provctx, selection, params);
}

static void *pss_gen_init(void *provctx, int selection, const OSSL_PARAM params[])
{
    return prov_gen_init(PROV_RSA_PSS, provctx, selection, params);
}

static const OSSL_PARAM *rsa_gen_settable(void *genctx, void *provctx)
{
    static const OSSL_PARAM params[] = {RSA_GEN, OSSL_PARAM_END};

    (void)genctx;
    (void)provctx;
    return params;
}

static const OSSL_PARAM *pss_gen_settable(void *genctx, void *provctx)
{
    static const OSSL_PARAM params[] = {RSA_GEN, PSS_RESTRICTIONS, OSSL_PARAM_END};

    (void)genctx;
    (void)provctx;
    return params;
}

const OSSL_DISPATCH prov_keymgmt_rsa[] = {
    {OSSL_FUNC_KEYMGMT_NEW, (void (*)(void))rsa_new},
    {OSSL_FUNC_KEYMGMT_FREE, (void (*)(void))prov_keymgmt_free},
    {OSSL_FUNC_KEYMGMT_LOAD, (void (*)(void))rsa_load},
    {OSSL_FUNC_KEYMGMT_DUP, (void (*)(void))prov_keymgmt_dup},
    {OSSL_FUNC_KEYMGMT_HAS, (void (*)(void))prov_keymgmt_has},
    {OSSL_FUNC_KEYMGMT_MATCH, (void (*)(void))prov_keymgmt_match},
    {OSSL_FUNC_KEYMGMT_VALIDATE, (void (*)(void))prov_keymgmt_validate},
    {OSSL_FUNC_KEYMGMT_IMPORT, (void (*)(void))prov_keymgmt_import},
    {OSSL_FUNC_KEYMGMT_IMPORT_TYPES, (void (*)(void))rsa_types},
    {OSSL_FUNC_KEYMGMT_EXPORT, (void (*)(void))prov_keymgmt_export},
    {OSSL_FUNC_KEYMGMT_EXPORT_TYPES, (void (*)(void))rsa_types},
    {OSSL_FUNC_KEYMGMT_GET_PARAMS, (void (*)(void))prov_keymgmt_get_params},
    {OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, (void (*)(void))gettable_params},
    {OSSL_FUNC_KEYMGMT_SET_PARAMS, (void (*)(void))prov_keymgmt_set_params},
    {OSSL_FUNC_KEYMGMT_SETTABLE_PARAMS, (void (*)(void))prov_keymgmt_settable_params},
    {OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, (void (*)(void))query_operation_name},
    {OSSL_FUNC_KEYMGMT_GEN_INIT, (void (*)(void))rsa_gen_init},
    {OSSL_FUNC_KEYMGMT_GEN_SET_TEMPLATE, (void (*)(void))prov_gen_set_template},
    {OSSL_FUNC_KEYMGMT_GEN_SET_PARAMS, (void (*)(void))prov_gen_set_params},
    {OSSL_FUNC_KEYMGMT_GEN_SETTABLE_PARAMS, (void (*)(void))rsa_gen_settable},
    {OSSL_FUNC_KEYMGMT_GEN, (void (*)(void))prov_gen},
    {OSSL_FUNC_KEYMGMT_GEN_CLEANUP, (void (*)(void))prov_gen_cleanup},
    {0, NULL},
};

const OSSL_DISPATCH prov_keymgmt_rsa_pss[] = {
    {OSSL_FUNC_KEYMGMT_NEW, (void (*)(void))pss_new},
    {OSSL_FUNC_KEYMGMT_FREE, (void (*)(void))prov_keymgmt_free},
    {OSSL_FUNC_KEYMGMT_LOAD, (void (*)(void))pss_load},
    {OSSL_FUNC_KEYMGMT_DUP, (void (*)(void))prov_keymgmt_dup},
    {OSSL_FUNC_KEYMGMT_HAS, (void (*)(void))prov_keymgmt_has},
    {OSSL_FUNC_KEYMGMT_MATCH, (void (*)(void))prov_keymgmt_match},
    {OSSL_FUNC_KEYMGMT_VALIDATE, (void (*)(void))prov_keymgmt_validate},
    {OSSL_FUNC_KEYMGMT_IMPORT, (void (*)(void))prov_keymgmt_import},
    {OSSL_FUNC_KEYMGMT_IMPORT_TYPES, (void (*)(void))pss_types},
    {OSSL_FUNC_KEYMGMT_EXPORT, (void (*)(void))prov_keymgmt_export},
    {OSSL_FUNC_KEYMGMT_EXPORT_TYPES, (void (*)(void))pss_types},
    {OSSL_FUNC_KEYMGMT_GET_PARAMS, (void (*)(void))prov_keymgmt_get_params},
    {OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, (void (*)(void))gettable_params},
    {OSSL_FUNC_KEYMGMT_SET_PARAMS, (void (*)(void))prov_keymgmt_set_params},
    {OSSL_FUNC_KEYMGMT_SETTABLE_PARAMS, (void (*)(void))prov_keymgmt_settable_params},
    {OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, (void (*)(void))query_operation_name},
    {OSSL_FUNC_KEYMGMT_GEN_INIT, (void (*)(void))pss_gen_init},
    {OSSL_FUNC_KEYMGMT_GEN_SET_TEMPLATE, (void (*)(void))prov_gen_set_template},
    {OSSL_FUNC_KEYMGMT_GEN_SET_PARAMS, (void (*)(void))prov_gen_set_params},
    {OSSL_FUNC_KEYMGMT_GEN_SETTABLE_PARAMS, (void (*)(void))pss_gen_settable},
    {OSSL_FUNC_KEYMGMT_GEN, (void (*)(void))prov_gen},
    {OSSL_FUNC_KEYMGMT_GEN_CLEANUP, (void (*)(void))prov_gen_cleanup},
    {0, NULL},
};
