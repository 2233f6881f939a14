/* SPDX-License-Identifier: Apache-2.0
 *
 * C_ functions: sign, decrypt, generate, random. The cryptography runs without the mutex. */
#include <stdlib.h>
#include <string.h>

#include "fake_local.h"

/* --- beginning an operation ------------------------------------------------------------------ */

static const struct {
    CK_MECHANISM_TYPE type;
    enum fake_family family;
    bool sign, decrypt;
} mechanisms[] = {
    {CKM_RSA_PKCS, FAKE_FAMILY_RSA, true, true},
    {CKM_RSA_X_509, FAKE_FAMILY_RSA, true, true},
    {CKM_RSA_PKCS_OAEP, FAKE_FAMILY_RSA, false, true},
    {CKM_RSA_PKCS_PSS, FAKE_FAMILY_RSA, true, false},
    {CKM_ECDSA, FAKE_FAMILY_EC, true, false},
    {FAKE_CKM_EDDSA, FAKE_FAMILY_EDWARDS, true, false},
};

/* CK_EDDSA_PARAMS (PKCS#11 3.0), which p11-kit's header lacks. */
struct eddsa_params {
    CK_BBOOL ph_flag;
    CK_ULONG context_len;
    unsigned char *context;
};

/* Ed448 wants parameters, Ed25519 none; or the other way round. */
static CK_RV eddsa_parameters(const CK_MECHANISM *mech, const struct fake_material *material)
{
    const struct eddsa_params *p = mech->pParameter;
    bool wanted = (material->point.len == 57) != fake.quirk[FAKE_QUIRK_EDDSA_PARAMS];

    if (!wanted)
        return mech->ulParameterLen == 0 ? CKR_OK : CKR_MECHANISM_PARAM_INVALID;
    return p != NULL && mech->ulParameterLen == sizeof(*p) && !p->ph_flag && p->context_len == 0
               ? CKR_OK
               : CKR_MECHANISM_PARAM_INVALID;
}

/* SoftHSM's limits. */
static CK_RV softhsm_parameters(const struct fake_mechanism *m)
{
    static const struct {
        CK_MECHANISM_TYPE hash;
        unsigned long mgf;
    } pairs[] = {{CKM_SHA_1, CKG_MGF1_SHA1},
                 {CKM_SHA224, CKG_MGF1_SHA224},
                 {CKM_SHA256, CKG_MGF1_SHA256},
                 {CKM_SHA384, CKG_MGF1_SHA384},
                 {CKM_SHA512, CKG_MGF1_SHA512}};

    if (m->type == CKM_RSA_PKCS_OAEP)
        return m->hash == CKM_SHA_1 && m->mgf == CKG_MGF1_SHA1 && m->label_len == 0
                   ? CKR_OK
                   : CKR_ARGUMENTS_BAD;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        if (pairs[i].hash == m->hash)
            return pairs[i].mgf == m->mgf ? CKR_OK : CKR_ARGUMENTS_BAD;
    }
    return CKR_ARGUMENTS_BAD;
}

static CK_RV read_parameters(const CK_MECHANISM *mech, const struct fake_material *material,
                             struct fake_op *op)
{
    const struct fake_hashing *hashing = fake_hashing_of(mech->mechanism);
    const CK_MECHANISM_TYPE type = hashing != NULL ? hashing->base : mech->mechanism;
    const CK_RSA_PKCS_PSS_PARAMS *pss = mech->pParameter;
    const CK_RSA_PKCS_OAEP_PARAMS *oaep = mech->pParameter;
    struct fake_mechanism *m = &op->mech;

    m->type = mech->mechanism;
    m->parameter_len = mech->ulParameterLen;
    if (type == FAKE_CKM_EDDSA)
        return eddsa_parameters(mech, material);
    if (type != CKM_RSA_PKCS_PSS && type != CKM_RSA_PKCS_OAEP)
        return mech->ulParameterLen == 0 ? CKR_OK : CKR_MECHANISM_PARAM_INVALID;
    if (mech->pParameter == NULL)
        return CKR_MECHANISM_PARAM_INVALID;
    if (type == CKM_RSA_PKCS_PSS) {
        if (mech->ulParameterLen != sizeof(*pss) ||
            (hashing != NULL && hashing->hash != pss->hashAlg))
            return CKR_MECHANISM_PARAM_INVALID;
        m->hash = pss->hashAlg;
        m->mgf = pss->mgf;
        m->salt = pss->sLen;
    } else {
        if (mech->ulParameterLen != sizeof(*oaep) ||
            (oaep->ulSourceDataLen != 0 && oaep->source != CKZ_DATA_SPECIFIED) ||
            oaep->ulSourceDataLen > sizeof(op->label))
            return CKR_MECHANISM_PARAM_INVALID;
        m->hash = oaep->hashAlg;
        m->mgf = oaep->mgf;
        m->label_len = oaep->ulSourceDataLen;
        if (m->label_len != 0)
            memcpy(op->label, oaep->pSourceData, m->label_len);
    }
    return fake.quirk[FAKE_QUIRK_SHA1_OAEP] ? softhsm_parameters(m) : CKR_OK;
}

static CK_RV check_mechanism(const struct fake_slot *slot, const struct fake_object *key,
                             CK_MECHANISM_TYPE type, enum fake_op_kind kind)
{
    bool swapped = fake.quirk[FAKE_QUIRK_SWAPPED_REFUSAL];
    CK_RV unknown = swapped ? CKR_KEY_TYPE_INCONSISTENT : CKR_MECHANISM_INVALID;
    const struct fake_hashing *hashing = fake_hashing_of(type);

    if (!fake_has_mechanism(slot, type))
        return unknown;
    if (hashing != NULL)
        type = hashing->base;
    for (size_t i = 0; i < sizeof(mechanisms) / sizeof(mechanisms[0]); i++) {
        if (mechanisms[i].type != type)
            continue;
        if (!(kind == FAKE_OP_SIGN ? mechanisms[i].sign : mechanisms[i].decrypt))
            return unknown;
        if (mechanisms[i].family == key->material->family)
            return CKR_OK;
        return swapped ? CKR_MECHANISM_INVALID : CKR_KEY_TYPE_INCONSISTENT;
    }
    return unknown;
}

static CK_RV check_key(const struct fake_session *s, const struct fake_object *key,
                       enum fake_op_kind kind)
{
    unsigned use = kind == FAKE_OP_SIGN ? FAKE_F_SIGN : FAKE_F_DECRYPT;

    if (key == NULL || key->slot != s->slot)
        return fake.quirk[FAKE_QUIRK_OBJECT_HANDLE] ? CKR_OBJECT_HANDLE_INVALID
                                                    : CKR_KEY_HANDLE_INVALID;
    if ((key->flags & FAKE_F_PRIVATE) != 0 && !fake_sees_private(s->slot))
        return CKR_USER_NOT_LOGGED_IN;
    if (key->class != CKO_PRIVATE_KEY)
        return CKR_KEY_TYPE_INCONSISTENT;
    if ((key->flags & use) == 0 && !fake.quirk[FAKE_QUIRK_USE_NOT_ENFORCED])
        return CKR_KEY_FUNCTION_NOT_PERMITTED;
    return CKR_OK;
}

static CK_RV op_begin(CK_SESSION_HANDLE session, const CK_MECHANISM *mech, CK_OBJECT_HANDLE handle,
                      enum fake_op_kind kind)
{
    struct fake_session *s;
    struct fake_object *key = fake_object_get(handle);
    CK_RV rv = fake_get_session(session, &s);

    if (rv != CKR_OK)
        return rv;
    if (mech == NULL)
        return CKR_ARGUMENTS_BAD;
    if (s->op.kind != FAKE_OP_NONE)
        return CKR_OPERATION_ACTIVE;
    rv = check_key(s, key, kind);
    if (rv == CKR_OK)
        rv = check_mechanism(&fake.slot[s->slot], key, mech->mechanism, kind);
    fake_op_clear(&s->op);
    if (rv == CKR_OK)
        rv = read_parameters(mech, key->material, &s->op);
    fake.last.mech = s->op.mech;
    memcpy(fake.last.label, s->op.label, sizeof(s->op.label));
    if (rv != CKR_OK && !fake.quirk[FAKE_QUIRK_LATE_ERRORS]) {
        fake_op_clear(&s->op);
        return rv;
    }
    s->op.kind = kind;
    s->op.late = rv;
    if (key != NULL) {
        s->op.material = key->material;
        fake_material_ref(key->material);
        s->op.once_authenticated = (key->flags & FAKE_F_ALWAYS_AUTHENTICATE) != 0;
        s->op.wants_login = s->op.once_authenticated;
    }
    return CKR_OK;
}

CK_RV C_SignInit(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    struct fake_call call;
    CK_RV rv = fake_enter_session(&call, FAKE_C_SignInit, session);

    if (rv == CKR_OK)
        rv = op_begin(session, mechanism, key, FAKE_OP_SIGN);
    return fake_leave_session(&call, rv);
}

CK_RV C_DecryptInit(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    struct fake_call call;
    CK_RV rv = fake_enter_session(&call, FAKE_C_DecryptInit, session);

    if (rv == CKR_OK)
        rv = op_begin(session, mechanism, key, FAKE_OP_DECRYPT);
    return fake_leave_session(&call, rv);
}

/* --- carrying it out ------------------------------------------------------------------------- */

/* The input again and again: as long as a signature, and different for different inputs. */
static void cheap_output(const unsigned char *in, size_t in_len, unsigned char *out, size_t len)
{
    memset(out, 0x5a, len);
    for (size_t i = 0; i < len && in_len != 0; i++)
        out[i] = in[i % in_len];
}

static size_t strip_zeros(unsigned char *data, size_t len)
{
    size_t n = 0;

    while (n + 1 < len && data[n] == 0)
        n++;
    memmove(data, data + n, len - n);
    return len - n;
}

/* Without the mutex, on a copy of the operation. */
static CK_RV op_compute(const struct fake_op *op, bool cheap, const unsigned char *in,
                        size_t in_len, unsigned char *out, size_t *len)
{
    if (cheap) {
        *len = op->kind == FAKE_OP_SIGN || op->mech.type == CKM_RSA_X_509
                   ? fake_output_size(op->material)
                   : 48;
        cheap_output(in, in_len, out, *len);
        return CKR_OK;
    }
    if (fake_crypto_recall(op->material, op->kind != FAKE_OP_SIGN, in, in_len, out, len))
        return CKR_OK;
    if (op->kind == FAKE_OP_SIGN)
        return fake_crypto_sign(op->material, &op->mech, in, in_len, out, len);
    return fake_crypto_decrypt(op->material, &op->mech, in, in_len, out, len);
}

static void deviate(const struct fake_op *op, unsigned char *out, size_t *len)
{
    if (fake.quirk[FAKE_QUIRK_STRIPPED_ZEROS] && op->mech.type == CKM_RSA_X_509)
        *len = strip_zeros(out, *len);
    if (fake.quirk[FAKE_QUIRK_BAD_SIGNATURES] && op->kind == FAKE_OP_SIGN)
        out[*len - 1] ^= 1;
}

/* Hands out a result, and ends the operation unless only the size was asked for. */
static CK_RV op_finish(CK_SESSION_HANDLE session, const struct fake_op *op, CK_RV rv,
                       unsigned char *result, size_t result_len, unsigned char *out,
                       CK_ULONG *out_len)
{
    struct fake_session *s;
    bool ends = true;

    if (rv == CKR_OK) {
        deviate(op, result, &result_len);
        if (out == NULL || *out_len < result_len) {
            rv = out == NULL ? CKR_OK : CKR_BUFFER_TOO_SMALL;
            ends = false;
        } else {
            memcpy(out, result, result_len);
        }
        *out_len = result_len;
    } else if (rv == CKR_ENCRYPTED_DATA_INVALID && fake.quirk[FAKE_QUIRK_DATA_IS_GENERAL]) {
        rv = CKR_GENERAL_ERROR;
    }
    if (rv != CKR_OK && fake.quirk[FAKE_QUIRK_OPERATION_STICKS])
        ends = false;
    if (ends && fake_get_session(session, &s) == CKR_OK)
        fake_op_clear(&s->op);
    return rv;
}

static CK_RV op_run(CK_SESSION_HANDLE session, enum fake_op_kind kind, const unsigned char *in,
                    CK_ULONG in_len, unsigned char *out, CK_ULONG *out_len)
{
    struct fake_session *s;
    struct fake_op op;
    unsigned char result[1024];
    size_t result_len = sizeof(result);
    bool cheap = fake.cheap;
    CK_RV rv = fake_get_session(session, &s);

    if (rv != CKR_OK)
        return rv;
    if (s->op.kind != kind)
        return CKR_OPERATION_NOT_INITIALIZED;
    if (s->op.late != CKR_OK || s->op.wants_login) {
        rv = s->op.late != CKR_OK ? s->op.late : CKR_USER_NOT_LOGGED_IN;
        if (!fake.quirk[FAKE_QUIRK_OPERATION_STICKS])
            fake_op_clear(&s->op);
        return rv;
    }
    op = s->op;
    op.mech.label = op.label;
    fake_material_ref(op.material);
    fake_unlock();
    rv = op_compute(&op, cheap, in, in_len, result, &result_len);
    fake_lock();
    rv = op_finish(session, &op, rv, result, result_len, out, out_len);
    fake_material_free(op.material);
    return rv;
}

CK_RV C_Sign(CK_SESSION_HANDLE session, unsigned char *data, CK_ULONG data_len,
             unsigned char *signature, CK_ULONG *signature_len)
{
    struct fake_call call;
    CK_RV rv = fake_enter_session(&call, FAKE_C_Sign, session);

    if (rv == CKR_OK)
        rv = op_run(session, FAKE_OP_SIGN, data, data_len, signature, signature_len);
    return fake_leave_session(&call, rv);
}

CK_RV C_Decrypt(CK_SESSION_HANDLE session, unsigned char *encrypted, CK_ULONG encrypted_len,
                unsigned char *data, CK_ULONG *data_len)
{
    struct fake_call call;
    CK_RV rv = fake_enter_session(&call, FAKE_C_Decrypt, session);

    if (rv == CKR_OK)
        rv = op_run(session, FAKE_OP_DECRYPT, encrypted, encrypted_len, data, data_len);
    return fake_leave_session(&call, rv);
}

/* --- key pairs ------------------------------------------------------------------------------- */

struct generation {
    const CK_ATTRIBUTE *pub, *priv;
    CK_ULONG pub_count, priv_count;
};

static const CK_ATTRIBUTE *template_find(const CK_ATTRIBUTE *template, CK_ULONG count,
                                         CK_ATTRIBUTE_TYPE type)
{
    for (CK_ULONG i = 0; i < count; i++) {
        if (template[i].type == type)
            return &template[i];
    }
    return NULL;
}

static void template_record(struct fake_template *out, const CK_ATTRIBUTE *template, CK_ULONG count)
{
    out->count = 0;
    for (CK_ULONG i = 0; i < count && out->count < FAKE_TEMPLATE; i++) {
        struct fake_recorded *r = &out->row[out->count++];

        r->type = template[i].type;
        r->len = template[i].ulValueLen;
        if (template[i].pValue != NULL)
            memcpy(r->value, template[i].pValue,
                   r->len < sizeof(r->value) ? r->len : sizeof(r->value));
    }
}

static enum fake_kind rsa_kind(CK_ULONG bits)
{
    if (bits == 3072)
        return FAKE_RSA_3072;
    return bits == 4096 ? FAKE_RSA_4096 : FAKE_RSA;
}

static CK_RV generate_rsa(const struct generation *g, bool cheap, struct fake_material **out)
{
    static const unsigned char f4[] = {1, 0, 1};
    const CK_ATTRIBUTE *bits = template_find(g->pub, g->pub_count, CKA_MODULUS_BITS);
    const CK_ATTRIBUTE *e = template_find(g->pub, g->pub_count, CKA_PUBLIC_EXPONENT);
    CK_ULONG n;

    if (bits == NULL || bits->ulValueLen != sizeof(n))
        return CKR_TEMPLATE_INCOMPLETE;
    memcpy(&n, bits->pValue, sizeof(n));
    if (n < 2048 || n > 4096)
        return CKR_ATTRIBUTE_VALUE_INVALID;
    if (cheap) {
        *out = fake_builtin_material(rsa_kind(n), 1);
        return CKR_OK;
    }
    *out = fake_generate_rsa((unsigned)n, e != NULL ? e->pValue : f4,
                             e != NULL ? e->ulValueLen : sizeof(f4));
    return *out != NULL ? CKR_OK : CKR_ATTRIBUTE_VALUE_INVALID;
}

static CK_RV generate_ec(const struct generation *g, struct fake_material **out)
{
    const CK_ATTRIBUTE *params = template_find(g->pub, g->pub_count, CKA_EC_PARAMS);
    bool known = false;

    if (params == NULL)
        return CKR_TEMPLATE_INCOMPLETE;
    *out = fake_generate_ec(params->pValue, params->ulValueLen, &known);
    if (*out != NULL)
        return CKR_OK;
    return known ? CKR_FUNCTION_FAILED : CKR_CURVE_NOT_SUPPORTED;
}

/* The curve's name, in one spelling only. */
static CK_RV generate_edwards(const struct generation *g, struct fake_material **out)
{
    const CK_ATTRIBUTE *params = template_find(g->pub, g->pub_count, CKA_EC_PARAMS);

    if (params == NULL)
        return CKR_TEMPLATE_INCOMPLETE;
    for (int ed448 = 0; ed448 < 2; ed448++) {
        size_t len;
        const unsigned char *want =
            fake_edwards_params(ed448, fake.quirk[FAKE_QUIRK_EDWARDS_NAMES], &len);

        if (params->ulValueLen == len && memcmp(params->pValue, want, len) == 0) {
            *out = fake_generate_edwards(ed448);
            return *out != NULL ? CKR_OK : CKR_FUNCTION_FAILED;
        }
    }
    return CKR_CURVE_NOT_SUPPORTED;
}

static CK_RV half_new(struct fake_session *s, CK_OBJECT_CLASS class, struct fake_material *m,
                      const CK_ATTRIBUTE *template, CK_ULONG count, struct fake_object **out)
{
    struct fake_object *o = fake_object_new(s->slot, class, m);
    CK_RV rv;

    o->flags = FAKE_F_MODIFIABLE | FAKE_F_LOCAL;
    if (class == CKO_PRIVATE_KEY)
        o->flags |= FAKE_F_PRIVATE | FAKE_F_SENSITIVE;
    rv = fake_template_apply(o, template, count);
    if (rv == CKR_OK && fake.slot[s->slot].write_protected)
        rv = CKR_TOKEN_WRITE_PROTECTED;
    else if (rv == CKR_OK && (o->flags & FAKE_F_TOKEN) != 0 && (s->flags & CKF_RW_SESSION) == 0)
        rv = CKR_SESSION_READ_ONLY;
    if (rv != CKR_OK) {
        fake_object_drop(o);
        return rv;
    }
    o->session = (o->flags & FAKE_F_TOKEN) != 0 ? 0 : s->handle;
    *out = o;
    return CKR_OK;
}

static CK_RV pair_new(struct fake_session *s, const struct generation *g, struct fake_material *m,
                      CK_OBJECT_HANDLE *pub_handle, CK_OBJECT_HANDLE *priv_handle)
{
    struct fake_object *pub, *priv;
    bool picky = fake.quirk[FAKE_QUIRK_PICKY_PRIVATE] &&
                 (template_find(g->priv, g->priv_count, CKA_MODULUS_BITS) != NULL ||
                  template_find(g->priv, g->priv_count, CKA_PUBLIC_EXPONENT) != NULL);
    CK_RV rv = half_new(s, CKO_PUBLIC_KEY, m, g->pub, g->pub_count, &pub);

    if (rv != CKR_OK)
        return rv;
    if (fake.quirk[FAKE_QUIRK_HALF_PAIR])
        return CKR_FUNCTION_FAILED;
    rv = half_new(s, CKO_PRIVATE_KEY, m, g->priv, g->priv_count, &priv);
    if (rv != CKR_OK) {
        fake_object_drop(pub);
        return rv;
    }
    if (picky || fake.quirk[FAKE_QUIRK_UNUSABLE_KEYS])
        priv->flags &= ~(unsigned)FAKE_F_USES;
    *pub_handle = pub->handle;
    *priv_handle = priv->handle;
    return CKR_OK;
}

static CK_RV generate_pair(CK_SESSION_HANDLE session, const CK_MECHANISM *mech,
                           const struct generation *g, CK_OBJECT_HANDLE *pub,
                           CK_OBJECT_HANDLE *priv)
{
    struct fake_session *s;
    struct fake_material *m = NULL;
    bool cheap = fake.cheap;
    CK_RV rv = fake_get_session(session, &s);

    template_record(&fake.public_template, g->pub, g->pub_count);
    template_record(&fake.private_template, g->priv, g->priv_count);
    memset(&fake.last, 0, sizeof(fake.last));
    fake.last.mech.type = mech->mechanism;
    fake.last.mech.parameter_len = mech->ulParameterLen;
    if (rv != CKR_OK)
        return rv;
    if (!fake_has_mechanism(&fake.slot[s->slot], mech->mechanism))
        return CKR_MECHANISM_INVALID;
    if (!fake_sees_private(s->slot))
        return CKR_USER_NOT_LOGGED_IN;
    fake_unlock();
    if (mech->mechanism == CKM_RSA_PKCS_KEY_PAIR_GEN)
        rv = generate_rsa(g, cheap, &m);
    else if (mech->mechanism == CKM_EC_KEY_PAIR_GEN)
        rv = generate_ec(g, &m);
    else if (mech->mechanism == FAKE_CKM_EDWARDS_GEN)
        rv = generate_edwards(g, &m);
    else
        rv = CKR_MECHANISM_INVALID;
    fake_lock();
    if (rv == CKR_OK)
        rv = fake_get_session(session, &s);
    if (rv == CKR_OK)
        rv = pair_new(s, g, m, pub, priv);
    fake_material_free(m);
    return rv;
}

CK_RV C_GenerateKeyPair(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *pub,
                        CK_ULONG pub_count, CK_ATTRIBUTE *priv, CK_ULONG priv_count,
                        CK_OBJECT_HANDLE *pub_handle, CK_OBJECT_HANDLE *priv_handle)
{
    struct fake_call call;
    struct generation g = {pub, priv, pub_count, priv_count};
    CK_RV rv = fake_enter_session(&call, FAKE_C_GenerateKeyPair, session);

    if (rv == CKR_OK)
        rv = generate_pair(session, mechanism, &g, pub_handle, priv_handle);
    return fake_leave_session(&call, rv);
}

/* --- random ---------------------------------------------------------------------------------- */

CK_RV C_GenerateRandom(CK_SESSION_HANDLE session, unsigned char *out, CK_ULONG len)
{
    struct fake_call call;
    struct fake_session *s;
    CK_RV rv = fake_enter_session(&call, FAKE_C_GenerateRandom, session);

    if (rv == CKR_OK) {
        rv = fake_get_session(session, &s);
        if (len > fake.largest_random)
            fake.largest_random = len;
    }
    if (rv == CKR_OK && fake.random_max != 0 && len > fake.random_max)
        rv = CKR_ARGUMENTS_BAD;
    if (rv == CKR_OK && !fake_crypto_random(out, len))
        rv = CKR_FUNCTION_FAILED;
    return fake_leave_session(&call, rv);
}
