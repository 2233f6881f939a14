/* SPDX-License-Identifier: Apache-2.0
 *
 * ks_mech.c - (operation, digest, padding) -> CK_MECHANISM, as tables.
 */
#include <stdlib.h>
#include <string.h>

#include "ks_internal.h"

/* p11-kit's header stops at PKCS#11 2.40. */
#define CKM_SHA3_256_      0x000002B0UL
#define CKM_SHA3_224_      0x000002B5UL
#define CKM_SHA3_384_      0x000002C0UL
#define CKM_SHA3_512_      0x000002D0UL
#define CKM_SHA512_224_    0x00000048UL
#define CKM_SHA512_256_    0x0000004CUL
#define CKG_MGF1_SHA3_224_ 0x00000006UL
#define CKG_MGF1_SHA3_256_ 0x00000007UL
#define CKG_MGF1_SHA3_384_ 0x00000008UL
#define CKG_MGF1_SHA3_512_ 0x00000009UL

static const struct {
    CK_MECHANISM_TYPE type;
    const char *name;
} kinds[] = {
    [KS_MECH_RSA_PKCS1] = {CKM_RSA_PKCS, "CKM_RSA_PKCS"},
    [KS_MECH_RSA_PSS] = {CKM_RSA_PKCS_PSS, "CKM_RSA_PKCS_PSS"},
    [KS_MECH_RSA_OAEP] = {CKM_RSA_PKCS_OAEP, "CKM_RSA_PKCS_OAEP"},
    [KS_MECH_RSA_RAW] = {CKM_RSA_X_509, "CKM_RSA_X_509"},
    [KS_MECH_ECDSA] = {CKM_ECDSA, "CKM_ECDSA"},
    [KS_MECH_RSA_KEYGEN] = {CKM_RSA_PKCS_KEY_PAIR_GEN, "CKM_RSA_PKCS_KEY_PAIR_GEN"},
    [KS_MECH_EC_KEYGEN] = {CKM_EC_KEY_PAIR_GEN, "CKM_EC_KEY_PAIR_GEN"},
};

/* PKCS#11 defines no MGF1 for the truncated SHA-512s: 0. */
static const struct {
    CK_MECHANISM_TYPE hash;
    CK_ULONG mgf1;
} digests[] = {
    [KS_DIGEST_NONE] = {0, 0},
    [KS_DIGEST_SHA1] = {CKM_SHA_1, CKG_MGF1_SHA1},
    [KS_DIGEST_SHA224] = {CKM_SHA224, CKG_MGF1_SHA224},
    [KS_DIGEST_SHA256] = {CKM_SHA256, CKG_MGF1_SHA256},
    [KS_DIGEST_SHA384] = {CKM_SHA384, CKG_MGF1_SHA384},
    [KS_DIGEST_SHA512] = {CKM_SHA512, CKG_MGF1_SHA512},
    [KS_DIGEST_SHA512_224] = {CKM_SHA512_224_, 0},
    [KS_DIGEST_SHA512_256] = {CKM_SHA512_256_, 0},
    [KS_DIGEST_SHA3_224] = {CKM_SHA3_224_, CKG_MGF1_SHA3_224_},
    [KS_DIGEST_SHA3_256] = {CKM_SHA3_256_, CKG_MGF1_SHA3_256_},
    [KS_DIGEST_SHA3_384] = {CKM_SHA3_384_, CKG_MGF1_SHA3_384_},
    [KS_DIGEST_SHA3_512] = {CKM_SHA3_512_, CKG_MGF1_SHA3_512_},
};

CK_MECHANISM_TYPE ks_mech_type(enum ks_mech_kind kind)
{
    return kinds[kind].type;
}

const char *ks_mech_name(enum ks_mech_kind kind)
{
    return kinds[kind].name;
}

ks_status ks_mech_build(const struct ks_mech *mech, struct ks_mech_storage *out,
                        struct ks_error *err)
{
    memset(out, 0, sizeof(*out));
    out->mechanism.mechanism = kinds[mech->kind].type;
    if (mech->kind != KS_MECH_RSA_PSS && mech->kind != KS_MECH_RSA_OAEP)
        return KS_SUCCESS;
    if (digests[mech->digest].hash == 0 || digests[mech->mgf1].mgf1 == 0)
        return ks_fail(err, KS_MECHANISM, "%s: PKCS#11 has no number for this digest or MGF1",
                       kinds[mech->kind].name);
    if (mech->kind == KS_MECH_RSA_PSS) {
        out->param.pss.hashAlg = digests[mech->digest].hash;
        out->param.pss.mgf = digests[mech->mgf1].mgf1;
        out->param.pss.sLen = mech->salt_len;
        out->mechanism.pParameter = &out->param.pss;
        out->mechanism.ulParameterLen = sizeof(out->param.pss);
    } else {
        out->param.oaep.hashAlg = digests[mech->digest].hash;
        out->param.oaep.mgf = digests[mech->mgf1].mgf1;
        /* Some modules refuse "no source" and others an empty one with a pointer. */
        out->param.oaep.source = CKZ_DATA_SPECIFIED;
        out->param.oaep.pSourceData = mech->label_len > 0 ? (void *)mech->label : NULL;
        out->param.oaep.ulSourceDataLen = mech->label_len;
        out->mechanism.pParameter = &out->param.oaep;
        out->mechanism.ulParameterLen = sizeof(out->param.oaep);
    }
    return KS_SUCCESS;
}

uint32_t ks_mech_hash(const struct ks_mech *mech)
{
    /* Whether there is a label matters to tokens, not which. */
    uint32_t label = mech->kind == KS_MECH_RSA_OAEP && mech->label_len > 0;
    uint32_t salt = mech->kind == KS_MECH_RSA_PSS ? (uint32_t)mech->salt_len & 0xffffU : 0;

    return 1U << 31 | (uint32_t)mech->kind << 26 | label << 25 | (uint32_t)mech->digest << 20 |
           (uint32_t)mech->mgf1 << 16 | salt;
}

static ks_status read_list(struct ks_token *token, struct ks_error *err)
{
    CK_FUNCTION_LIST *fn = token->module->fn;
    CK_MECHANISM_TYPE *list = NULL;
    struct ks_gate gate;
    CK_ULONG count = 0;
    ks_status st;
    CK_RV rv;

    st = ks_gate_enter(&gate, token->module, err);
    if (!ks_ok(st))
        return st;
    rv = fn->C_GetMechanismList(token->slot, NULL, &count);
    if (rv == CKR_OK) {
        list = calloc(count + 1, sizeof(*list));
        rv = list != NULL ? fn->C_GetMechanismList(token->slot, list, &count) : CKR_HOST_MEMORY;
    }
    ks_gate_leave(&gate);
    if (rv != CKR_OK) {
        free(list);
        return ks_fail_rv(err, token, "C_GetMechanismList", rv, NULL);
    }
    free(token->mechanisms);
    token->mechanisms = list;
    token->mechanism_count = count;
    return KS_SUCCESS;
}

ks_status ks_token_can(struct ks_token *token, const struct ks_how *how, enum ks_mech_kind kind,
                       bool *can, struct ks_error *err)
{
    ks_status st = ks_token_connect(token, how, err);

    if (!ks_ok(st))
        return st;
    pthread_mutex_lock(&token->up_lock);
    if (token->mechanisms == NULL)
        st = read_list(token, err);
    *can = false;
    for (size_t i = 0; ks_ok(st) && i < token->mechanism_count; i++)
        if (token->mechanisms[i] == kinds[kind].type)
            *can = true;
    pthread_mutex_unlock(&token->up_lock);
    return st;
}
