/* SPDX-License-Identifier: Apache-2.0
 *
 * C_DeriveKey: ECDH to a secret that is a session object. */
#include <string.h>

#include "fake_local.h"

struct derivation {
    CK_MECHANISM_TYPE type;
    unsigned char peer[160];
    size_t peer_len;
    unsigned char secret[80];
    size_t secret_len;
};

/* The peer's point: raw, as PKCS#11 2.40 wants it; in an OCTET STRING for tokens that deviate. */
static CK_RV read_peer(const CK_MECHANISM *mech, struct derivation *d)
{
    const CK_ECDH1_DERIVE_PARAMS *p = mech->pParameter;
    const unsigned char *point;
    size_t len, head = 0;

    if (p == NULL || mech->ulParameterLen != sizeof(*p) || p->kdf != CKD_NULL ||
        p->pPublicData == NULL || p->ulPublicDataLen < 3 || p->ulPublicDataLen > sizeof(d->peer))
        return CKR_MECHANISM_PARAM_INVALID;
    point = p->pPublicData;
    len = p->ulPublicDataLen;
    if (fake.quirk[FAKE_QUIRK_DER_PEER]) {
        head = point[1] == 0x81 ? 3 : 2;
        if (point[0] != 4 || point[head - 1] != len - head)
            return CKR_MECHANISM_PARAM_INVALID;
    }
    memcpy(d->peer, point + head, len - head);
    d->peer_len = len - head;
    return CKR_OK;
}

static CK_RV check(const struct fake_session *s, const struct fake_object *key,
                   const CK_MECHANISM *mech)
{
    if (key == NULL || key->slot != s->slot)
        return fake.quirk[FAKE_QUIRK_OBJECT_HANDLE] ? CKR_OBJECT_HANDLE_INVALID
                                                    : CKR_KEY_HANDLE_INVALID;
    if ((key->flags & FAKE_F_PRIVATE) != 0 && !fake_sees_private(s->slot))
        return CKR_USER_NOT_LOGGED_IN;
    if (!fake_has_mechanism(&fake.slot[s->slot], mech->mechanism) ||
        (mech->mechanism != CKM_ECDH1_DERIVE && mech->mechanism != CKM_ECDH1_COFACTOR_DERIVE))
        return CKR_MECHANISM_INVALID;
    if (key->class != CKO_PRIVATE_KEY || key->material->family != FAKE_FAMILY_EC)
        return CKR_KEY_TYPE_INCONSISTENT;
    if ((key->flags & FAKE_F_DERIVE) == 0 && !fake.quirk[FAKE_QUIRK_USE_NOT_ENFORCED])
        return CKR_KEY_FUNCTION_NOT_PERMITTED;
    return CKR_OK;
}

/* A length in the template that is not the secret's own is refused. */
static CK_RV check_length(const CK_ATTRIBUTE *template, CK_ULONG count, size_t secret_len)
{
    for (CK_ULONG i = 0; i < count; i++) {
        CK_ULONG len;

        if (template[i].type != CKA_VALUE_LEN)
            continue;
        if (fake.quirk[FAKE_QUIRK_NO_VALUE_LEN])
            return CKR_TEMPLATE_INCONSISTENT;
        memcpy(&len, template[i].pValue, sizeof(len));
        if (len != secret_len)
            return CKR_ATTRIBUTE_VALUE_INVALID;
    }
    return CKR_OK;
}

static CK_RV secret_new(struct fake_session *s, struct derivation *d, const CK_ATTRIBUTE *template,
                        CK_ULONG count, CK_OBJECT_HANDLE *handle)
{
    const unsigned char *value = d->secret;
    size_t len = d->secret_len;
    struct fake_object *o;
    CK_RV rv = check_length(template, count, len);

    if (rv != CKR_OK)
        return rv;
    while (fake.quirk[FAKE_QUIRK_STRIPPED_ZEROS] && len > 1 && value[0] == 0) {
        value++;
        len--;
    }
    o = fake_object_new(s->slot, CKO_SECRET_KEY, NULL);
    o->flags = FAKE_F_SENSITIVE;
    rv = fake_template_apply(o, template, count);
    if (rv == CKR_OK && (o->flags & FAKE_F_TOKEN) != 0 && (s->flags & CKF_RW_SESSION) == 0)
        rv = CKR_SESSION_READ_ONLY;
    if (rv != CKR_OK) {
        fake_object_drop(o);
        return rv;
    }
    fake_set_blob(&o->value, value, len);
    o->session = (o->flags & FAKE_F_TOKEN) != 0 ? 0 : s->handle;
    *handle = o->handle;
    return CKR_OK;
}

static CK_RV derive(CK_SESSION_HANDLE session, const CK_MECHANISM *mech, CK_OBJECT_HANDLE base,
                    const CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE *handle)
{
    struct fake_object *key = fake_object_get(base);
    struct derivation d = {.type = 0};
    struct fake_material *material;
    struct fake_session *s;
    CK_RV rv = fake_get_session(session, &s);

    if (rv == CKR_OK)
        rv = check(s, key, mech);
    if (rv == CKR_OK)
        rv = read_peer(mech, &d);
    memset(&fake.last, 0, sizeof(fake.last));
    fake.last.mech.type = mech->mechanism;
    fake.last.mech.parameter_len = mech->ulParameterLen;
    if (rv != CKR_OK)
        return rv;
    material = key->material;
    fake_material_ref(material);
    fake_unlock();
    d.secret_len = sizeof(d.secret);
    rv = fake_crypto_derive(material, d.peer, d.peer_len, d.secret, &d.secret_len);
    fake_lock();
    fake_material_free(material);
    if (rv == CKR_OK)
        rv = fake_get_session(session, &s);
    return rv == CKR_OK ? secret_new(s, &d, template, count, handle) : rv;
}

CK_RV C_DeriveKey(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE base_key,
                  CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE *key)
{
    struct fake_call call;
    CK_RV rv = fake_enter_session(&call, FAKE_C_DeriveKey, session);

    if (rv == CKR_OK)
        rv = derive(session, mechanism, base_key, template, count, key);
    return fake_leave_session(&call, rv);
}
