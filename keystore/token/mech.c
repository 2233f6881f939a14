/* SPDX-License-Identifier: Apache-2.0
 *
 * mech.c - (operation, digest, padding) -> CK_MECHANISM, as tables.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "mech.h"

static const struct {
    CK_MECHANISM_TYPE type; /* KS_NO_MECHANISM: depends on the digest */
    const char *name;
    bool takes_message; /* whole, and not its digest */
} kinds[KS_MECH_KINDS] = {
    [KS_MECH_RSA_PKCS1] = {CKM_RSA_PKCS, "CKM_RSA_PKCS", false},
    [KS_MECH_RSA_PSS] = {CKM_RSA_PKCS_PSS, "CKM_RSA_PKCS_PSS", false},
    [KS_MECH_RSA_OAEP] = {CKM_RSA_PKCS_OAEP, "CKM_RSA_PKCS_OAEP", false},
    [KS_MECH_RSA_RAW] = {CKM_RSA_X_509, "CKM_RSA_X_509", false},
    [KS_MECH_ECDSA] = {CKM_ECDSA, "CKM_ECDSA", false},
    [KS_MECH_EDDSA] = {CKM_EDDSA_, "CKM_EDDSA", true},
    [KS_MECH_ECDH] = {CKM_ECDH1_DERIVE, "CKM_ECDH1_DERIVE", false},
    [KS_MECH_ECDH_COFACTOR] = {CKM_ECDH1_COFACTOR_DERIVE, "CKM_ECDH1_COFACTOR_DERIVE", false},
    [KS_MECH_RSA_KEYGEN] = {CKM_RSA_PKCS_KEY_PAIR_GEN, "CKM_RSA_PKCS_KEY_PAIR_GEN", false},
    [KS_MECH_EC_KEYGEN] = {CKM_EC_KEY_PAIR_GEN, "CKM_EC_KEY_PAIR_GEN", false},
    [KS_MECH_EDWARDS_KEYGEN] = {CKM_EC_EDWARDS_KEY_PAIR_GEN_, "CKM_EC_EDWARDS_KEY_PAIR_GEN", false},
    [KS_MECH_RSA_PKCS1_HASH] = {KS_NO_MECHANISM, "CKM_SHA256_RSA_PKCS and its kind", true},
    [KS_MECH_RSA_PSS_HASH] = {KS_NO_MECHANISM, "CKM_SHA256_RSA_PKCS_PSS and its kind", true},
    [KS_MECH_ECDSA_HASH] = {KS_NO_MECHANISM, "CKM_ECDSA_SHA256 and its kind", true},
};

static const struct {
    CK_MECHANISM_TYPE hash;
    CK_ULONG mgf1;
    CK_MECHANISM_TYPE pkcs1_hash, pss_hash, ecdsa_hash;
} digests[] = {
    [KS_DIGEST_NONE] = {KS_NO_MECHANISM, KS_NO_MECHANISM, KS_NO_MECHANISM, KS_NO_MECHANISM,
                        KS_NO_MECHANISM},
    [KS_DIGEST_SHA1] = {CKM_SHA_1, CKG_MGF1_SHA1, CKM_SHA1_RSA_PKCS, CKM_SHA1_RSA_PKCS_PSS,
                        CKM_ECDSA_SHA1},
    [KS_DIGEST_SHA224] = {CKM_SHA224, CKG_MGF1_SHA224, CKM_SHA224_RSA_PKCS, CKM_SHA224_RSA_PKCS_PSS,
                          CKM_ECDSA_SHA224},
    [KS_DIGEST_SHA256] = {CKM_SHA256, CKG_MGF1_SHA256, CKM_SHA256_RSA_PKCS, CKM_SHA256_RSA_PKCS_PSS,
                          CKM_ECDSA_SHA256},
    [KS_DIGEST_SHA384] = {CKM_SHA384, CKG_MGF1_SHA384, CKM_SHA384_RSA_PKCS, CKM_SHA384_RSA_PKCS_PSS,
                          CKM_ECDSA_SHA384},
    [KS_DIGEST_SHA512] = {CKM_SHA512, CKG_MGF1_SHA512, CKM_SHA512_RSA_PKCS, CKM_SHA512_RSA_PKCS_PSS,
                          CKM_ECDSA_SHA512},
    [KS_DIGEST_SHA512_224] = {CKM_SHA512_224_, KS_NO_MECHANISM, KS_NO_MECHANISM, KS_NO_MECHANISM,
                              KS_NO_MECHANISM},
    [KS_DIGEST_SHA512_256] = {CKM_SHA512_256_, KS_NO_MECHANISM, KS_NO_MECHANISM, KS_NO_MECHANISM,
                              KS_NO_MECHANISM},
    [KS_DIGEST_SHA3_224] = {CKM_SHA3_224_, CKG_MGF1_SHA3_224_, CKM_SHA3_224_RSA_PKCS_,
                            CKM_SHA3_224_RSA_PKCS_PSS_, CKM_ECDSA_SHA3_224_},
    [KS_DIGEST_SHA3_256] = {CKM_SHA3_256_, CKG_MGF1_SHA3_256_, CKM_SHA3_256_RSA_PKCS_,
                            CKM_SHA3_256_RSA_PKCS_PSS_, CKM_ECDSA_SHA3_256_},
    [KS_DIGEST_SHA3_384] = {CKM_SHA3_384_, CKG_MGF1_SHA3_384_, CKM_SHA3_384_RSA_PKCS_,
                            CKM_SHA3_384_RSA_PKCS_PSS_, CKM_ECDSA_SHA3_384_},
    [KS_DIGEST_SHA3_512] = {CKM_SHA3_512_, CKG_MGF1_SHA3_512_, CKM_SHA3_512_RSA_PKCS_,
                            CKM_SHA3_512_RSA_PKCS_PSS_, CKM_ECDSA_SHA3_512_},
};

CK_MECHANISM_TYPE ks_mech_type(enum ks_mech_kind kind, enum ks_digest digest)
{
    switch (kind) {
    case KS_MECH_RSA_PKCS1_HASH:
        return digests[digest].pkcs1_hash;
    case KS_MECH_RSA_PSS_HASH:
        return digests[digest].pss_hash;
    case KS_MECH_ECDSA_HASH:
        return digests[digest].ecdsa_hash;
    default:
        return kinds[kind].type;
    }
}

bool ks_mech_takes_message(enum ks_mech_kind kind)
{
    return kinds[kind].takes_message;
}

const char *ks_mech_name(enum ks_mech_kind kind)
{
    return kinds[kind].name;
}

ks_status ks_mech_build(const struct ks_mech *mech, const uint8_t *label, size_t label_len,
                        struct ks_mech_storage *out, struct ks_error *err)
{
    bool pss = mech->kind == KS_MECH_RSA_PSS || mech->kind == KS_MECH_RSA_PSS_HASH;

    memset(out, 0, sizeof(*out));
    out->mechanism.mechanism = ks_mech_type(mech->kind, mech->digest);
    if (out->mechanism.mechanism == KS_NO_MECHANISM)
        return ks_fail(err, KS_MECHANISM, "%s: PKCS#11 has no such mechanism for this digest",
                       kinds[mech->kind].name);
    if (!pss && mech->kind != KS_MECH_RSA_OAEP)
        return KS_SUCCESS;
    if (digests[mech->digest].hash == KS_NO_MECHANISM ||
        digests[mech->mgf1].mgf1 == KS_NO_MECHANISM)
        return ks_fail(err, KS_MECHANISM, "%s: PKCS#11 has no number for this digest or MGF1",
                       kinds[mech->kind].name);
    if (pss) {
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
        out->param.oaep.pSourceData = label_len > 0 ? (void *)label : NULL;
        out->param.oaep.ulSourceDataLen = label_len;
        out->mechanism.pParameter = &out->param.oaep;
        out->mechanism.ulParameterLen = sizeof(out->param.oaep);
    }
    return KS_SUCCESS;
}

void ks_mech_blame(struct ks_error *err, ks_status st, enum ks_mech_kind kind)
{
    size_t n;

    if (err == NULL || st.code != KS_MECHANISM || strstr(err->text, kinds[kind].name) != NULL)
        return;
    n = strlen(err->text);
    snprintf(err->text + n, sizeof(err->text) - n, " (%s)", kinds[kind].name);
}

uint32_t ks_mech_hash(const struct ks_mech *mech)
{
    /* Whether there is a label matters to tokens, not which. */
    uint32_t label = mech->kind == KS_MECH_RSA_OAEP && mech->label_len > 0;
    uint32_t salt = mech->kind == KS_MECH_RSA_PSS || mech->kind == KS_MECH_RSA_PSS_HASH
                        ? (uint32_t)mech->salt_len & 0xffffU
                        : 0;

    return 1U << 31 | (uint32_t)mech->kind << 26 | label << 25 | (uint32_t)mech->digest << 20 |
           (uint32_t)mech->mgf1 << 16 | salt;
}

/* With a bit that says that it is known. */
#define KINDS_KNOWN (1U << KS_MECH_KINDS)

static unsigned kinds_of(const CK_MECHANISM_TYPE *list, CK_ULONG count)
{
    unsigned bits = KINDS_KNOWN;

    for (unsigned kind = 0; kind < KS_MECH_KINDS; kind++) {
        CK_MECHANISM_TYPE type = ks_mech_type((enum ks_mech_kind)kind, KS_DIGEST_NONE);

        if (type == KS_NO_MECHANISM) /* depends on the digest */
            bits |= 1U << kind;
        for (CK_ULONG i = 0; i < count; i++)
            if (list[i] == type)
                bits |= 1U << kind;
    }
    return bits;
}

bool ks_token_lacks(const struct ks_token *token, enum ks_mech_kind kind)
{
    unsigned bits = atomic_load_explicit(&token->mechs.kinds, memory_order_relaxed);

    return (bits & KINDS_KNOWN) != 0 && (bits & 1U << kind) == 0;
}

bool ks_token_lists(const struct ks_token *token, enum ks_mech_kind kind)
{
    return (atomic_load_explicit(&token->mechs.kinds, memory_order_relaxed) & 1U << kind) != 0;
}

/* More than tokens have (SoftHSM 75, NSS 200), so that one call does. */
#define MECHANISMS_ROOM 512

/* The list as it is now: only what is asked by kind is replaced. */
ks_status ks_token_reread_mechanisms(struct ks_token *token, struct ks_error *err)
{
    CK_ULONG *list = NULL, count = 0;
    struct ks_gate gate;
    ks_status st = ks_gate_enter_since(&gate, token, atomic_load(&token->conn.slot_init),
                                       KS_C_GetMechanismList, err);

    if (!ks_ok(st))
        return st;
    st = ks_answer_list(token, token->module->fn, KS_LIST_MECHANISMS, token->conn.slot,
                        MECHANISMS_ROOM, &list, &count, err);
    ks_gate_leave(&gate);
    if (ks_ok(st))
        atomic_store(&token->mechs.kinds, kinds_of(list, count));
    free(list);
    return st;
}

ks_status ks_token_read_mechanisms(struct ks_token *token, struct ks_error *err)
{
    CK_FUNCTION_LIST *fn = token->module->fn;
    CK_MECHANISM_TYPE *list = NULL;
    struct ks_gate gate;
    CK_ULONG count = 0;
    bool known;
    ks_status st;

    pthread_mutex_lock(&token->pool.lock);
    known = token->mechs.list != NULL;
    pthread_mutex_unlock(&token->pool.lock);
    if (known)
        return KS_SUCCESS;
    st = ks_gate_enter_since(&gate, token, atomic_load(&token->conn.slot_init),
                             KS_C_GetMechanismList, err);
    if (!ks_ok(st))
        return st;
    st = ks_answer_list(token, fn, KS_LIST_MECHANISMS, token->conn.slot, MECHANISMS_ROOM, &list,
                        &count, err);
    ks_gate_leave(&gate);
    if (!ks_ok(st))
        return st;
    pthread_mutex_lock(&token->pool.lock);
    if (token->mechs.list == NULL) {
        token->mechs.count = count;
        token->mechs.list = list;
        atomic_store(&token->mechs.kinds, kinds_of(list, count));
        list = NULL;
    }
    pthread_mutex_unlock(&token->pool.lock);
    free(list); /* another thread was quicker */
    return KS_SUCCESS;
}
