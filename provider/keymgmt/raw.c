/* SPDX-License-Identifier: Apache-2.0
 *
 * raw.c - keys whose public half is a string of bytes of one length: the rows of shape RAW in
 * types.def.
 */
#include "../core/fetch_cache.h"
#include "keymgmt.h"

static const OSSL_PARAM *types(int selection)
{
    static const OSSL_PARAM public_key[] = {
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
        OSSL_PARAM_END,
    };

    return (selection & OSSL_KEYMGMT_SELECT_PUBLIC_KEY) != 0 ? public_key : NULL;
}

static const OSSL_PARAM *gettable_params(void *provctx)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_MANDATORY_DIGEST, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
        OSSL_PARAM_utf8_string("hsm-uri", NULL, 0),
        OSSL_PARAM_END,
    };

    (void)provctx;
    return params;
}

static const OSSL_PARAM *gen_settable(void *genctx, void *provctx)
{
    static const OSSL_PARAM params[] = {PROV_GEN_SETTABLE, OSSL_PARAM_END};

    (void)genctx;
    (void)provctx;
    return params;
}

#define KEYMGMT_RAW(ID, id, name)                                                                  \
    static void *id##_new(void *provctx)                                                           \
    {                                                                                              \
        return prov_key_new(provctx, PROV_##ID);                                                   \
    }                                                                                              \
    static void *id##_load(const void *reference, size_t size)                                     \
    {                                                                                              \
        return prov_keymgmt_load(PROV_##ID, reference, size);                                      \
    }                                                                                              \
    static const char *id##_query_operation_name(int operation_id)                                 \
    {                                                                                              \
        return operation_id == OSSL_OP_SIGNATURE ? prov_operation_name(PROV_OWN_##ID, name)        \
                                                 : NULL;                                           \
    }                                                                                              \
    static void *id##_gen_init(void *provctx, int selection, const OSSL_PARAM params[])            \
    {                                                                                              \
        return prov_gen_init(PROV_##ID, provctx, selection, params);                               \
    }                                                                                              \
    const OSSL_DISPATCH prov_keymgmt_##id[] = {                                                    \
        {OSSL_FUNC_KEYMGMT_NEW, (void (*)(void))id##_new},                                         \
        {OSSL_FUNC_KEYMGMT_FREE, (void (*)(void))prov_keymgmt_free},                               \
        {OSSL_FUNC_KEYMGMT_LOAD, (void (*)(void))id##_load},                                       \
        {OSSL_FUNC_KEYMGMT_DUP, (void (*)(void))prov_keymgmt_dup},                                 \
        {OSSL_FUNC_KEYMGMT_HAS, (void (*)(void))prov_keymgmt_has},                                 \
        {OSSL_FUNC_KEYMGMT_MATCH, (void (*)(void))prov_keymgmt_match},                             \
        {OSSL_FUNC_KEYMGMT_VALIDATE, (void (*)(void))prov_keymgmt_validate},                       \
        {OSSL_FUNC_KEYMGMT_IMPORT, (void (*)(void))prov_keymgmt_import},                           \
        {OSSL_FUNC_KEYMGMT_IMPORT_TYPES, (void (*)(void))types},                                   \
        {OSSL_FUNC_KEYMGMT_EXPORT, (void (*)(void))prov_keymgmt_export},                           \
        {OSSL_FUNC_KEYMGMT_EXPORT_TYPES, (void (*)(void))types},                                   \
        {OSSL_FUNC_KEYMGMT_GET_PARAMS, (void (*)(void))prov_keymgmt_get_params},                   \
        {OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, (void (*)(void))gettable_params},                      \
        {OSSL_FUNC_KEYMGMT_SET_PARAMS, (void (*)(void))prov_keymgmt_set_params},                   \
        {OSSL_FUNC_KEYMGMT_SETTABLE_PARAMS, (void (*)(void))prov_keymgmt_settable_params},         \
        {OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, (void (*)(void))id##_query_operation_name},       \
        {OSSL_FUNC_KEYMGMT_GEN_INIT, (void (*)(void))id##_gen_init},                               \
        {OSSL_FUNC_KEYMGMT_GEN_SET_TEMPLATE, (void (*)(void))prov_gen_set_template},               \
        {OSSL_FUNC_KEYMGMT_GEN_SET_PARAMS, (void (*)(void))prov_gen_set_params},                   \
        {OSSL_FUNC_KEYMGMT_GEN_SETTABLE_PARAMS, (void (*)(void))gen_settable},                     \
        {OSSL_FUNC_KEYMGMT_GEN, (void (*)(void))prov_gen},                                         \
        {OSSL_FUNC_KEYMGMT_GEN_CLEANUP, (void (*)(void))prov_gen_cleanup},                         \
        {0, NULL},                                                                                 \
    };
#define KEYMGMT_RSA(...)
#define KEYMGMT_EC(...)
#define KEY_TYPE(ID, id, shape, name, ...) KEYMGMT_##shape(ID, id, name)
#include "../key/types.def"
