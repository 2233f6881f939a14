/* SPDX-License-Identifier: Apache-2.0
 *
 * Objects: their attributes, handles and the C_ functions on them. */
#include <stdlib.h>
#include <string.h>

#include "fake_local.h"

/* --- the table of objects and that of handles ------------------------------------------------ */

static void *grow(void *array, size_t *room, size_t needed)
{
    if (needed <= *room)
        return array;
    *room = *room != 0 ? *room * 2 : 64;
    array = realloc(array, *room * sizeof(void *));
    if (array == NULL)
        fake_die("out of memory");
    return array;
}

static CK_OBJECT_HANDLE first_handle(void)
{
    return fake.handle_base + 1;
}

struct fake_object *fake_object_new(unsigned long slot, CK_OBJECT_CLASS class,
                                    struct fake_material *material)
{
    struct fake_object *object = fake_alloc(sizeof(*object));

    object->class = class;
    object->slot = slot;
    object->flags = FAKE_F_TOKEN | FAKE_F_MODIFIABLE;
    object->material = material;
    fake_material_ref(material);
    fake.object = grow(fake.object, &fake.objects_room, fake.objects + 1);
    fake.object[fake.objects++] = object;
    fake.by_handle = grow(fake.by_handle, &fake.handles_room, fake.handles + 1);
    fake.by_handle[fake.handles++] = object;
    object->handle = first_handle() + fake.handles - 1;
    return object;
}

static void object_free(struct fake_object *object)
{
    fake_material_free(object->material);
    free(object->label.data);
    free(object->id.data);
    free(object->value.data);
    free(object->subject.data);
    free(object);
}

void fake_object_drop(struct fake_object *object)
{
    size_t i;

    for (i = 0; fake.object[i] != object; i++)
        ;
    /* keep the order: searches give objects in the order in which they were made */
    memmove(&fake.object[i], &fake.object[i + 1], (fake.objects - i - 1) * sizeof(fake.object[0]));
    fake.objects--;
    fake.by_handle[object->handle - first_handle()] = NULL;
    object_free(object);
}

void fake_objects_drop_all(void)
{
    for (size_t i = 0; i < fake.objects; i++)
        object_free(fake.object[i]);
    free(fake.object);
    free(fake.by_handle);
    fake.object = NULL;
    fake.by_handle = NULL;
    fake.objects = fake.objects_room = 0;
    fake.handles = fake.handles_room = 0;
}

struct fake_object *fake_object_get(CK_OBJECT_HANDLE handle)
{
    if (handle < first_handle() || handle - first_handle() >= fake.handles)
        return NULL;
    return fake.by_handle[handle - first_handle()];
}

void fake_session_objects_drop(CK_SESSION_HANDLE session)
{
    for (size_t i = fake.objects; i-- > 0;) {
        if (fake.object[i]->session == session)
            fake_object_drop(fake.object[i]);
    }
}

/* FRESH: the numbers move on past all that were ever given. OTHER: within a class and type each
 * object takes the handle of the next one. */
void fake_renumber_locked(enum fake_handles opts)
{
    if (opts == FAKE_HANDLES_FRESH) {
        fake.handle_base += fake.handles;
        for (size_t i = 0; i < fake.objects; i++)
            fake.object[i]->handle += fake.handles;
        return;
    }
    if (opts != FAKE_HANDLES_OTHER)
        return;
    for (size_t i = 0; i < fake.objects; i++) {
        struct fake_object *a = fake.object[i];

        for (size_t j = i + 1; j < fake.objects; j++) {
            struct fake_object *b = fake.object[j];
            CK_OBJECT_HANDLE h = a->handle;

            if (a->class != b->class || (a->material != NULL && b->material != NULL &&
                                         a->material->family != b->material->family))
                continue;
            a->handle = b->handle;
            b->handle = h;
            break;
        }
    }
    for (size_t i = 0; i < fake.objects; i++)
        fake.by_handle[fake.object[i]->handle - first_handle()] = fake.object[i];
}

/* --- attributes ------------------------------------------------------------------------------ */

enum {
    PRIV = 1,
    PUB = 2,
    CERT = 4,
    SECRET = 8,
    KEYS = PRIV | PUB,
    ALL = PRIV | PUB | CERT | SECRET
};

static const struct flag_row {
    CK_ATTRIBUTE_TYPE type;
    unsigned classes;
    unsigned flag;
} flag_rows[] = {
    {CKA_TOKEN, ALL, FAKE_F_TOKEN},
    {CKA_PRIVATE, ALL, FAKE_F_PRIVATE},
    {CKA_MODIFIABLE, ALL, FAKE_F_MODIFIABLE},
    {CKA_LOCAL, KEYS, FAKE_F_LOCAL},
    {CKA_DERIVE, KEYS, FAKE_F_DERIVE},
    {CKA_SENSITIVE, PRIV | SECRET, FAKE_F_SENSITIVE},
    {CKA_ALWAYS_SENSITIVE, PRIV, FAKE_F_SENSITIVE},
    {CKA_EXTRACTABLE, PRIV | SECRET, FAKE_F_EXTRACTABLE},
    {CKA_SIGN, PRIV, FAKE_F_SIGN},
    {CKA_DECRYPT, PRIV, FAKE_F_DECRYPT},
    {CKA_UNWRAP, PRIV, FAKE_F_UNWRAP},
    {CKA_ALWAYS_AUTHENTICATE, PRIV, FAKE_F_ALWAYS_AUTHENTICATE},
    {CKA_VERIFY, PUB, FAKE_F_VERIFY},
    {CKA_ENCRYPT, PUB, FAKE_F_ENCRYPT},
    {CKA_WRAP, PUB, FAKE_F_WRAP},
};

/* What a private key keeps to itself. */
static const CK_ATTRIBUTE_TYPE secret_rows[] = {
    CKA_PRIVATE_EXPONENT, CKA_PRIME_1,     CKA_PRIME_2, CKA_EXPONENT_1,
    CKA_EXPONENT_2,       CKA_COEFFICIENT, CKA_VALUE,
};

unsigned fake_flag_of(CK_ATTRIBUTE_TYPE type)
{
    for (size_t i = 0; i < sizeof(flag_rows) / sizeof(flag_rows[0]); i++) {
        if (flag_rows[i].type == type)
            return flag_rows[i].flag;
    }
    return 0;
}

static unsigned class_bit(CK_OBJECT_CLASS class)
{
    if (class == CKO_PRIVATE_KEY)
        return PRIV;
    if (class == CKO_SECRET_KEY)
        return SECRET;
    return class == CKO_PUBLIC_KEY ? PUB : CERT;
}

static bool get_flag(const struct fake_object *o, CK_ATTRIBUTE_TYPE type, struct fake_blob *out)
{
    for (size_t i = 0; i < sizeof(flag_rows) / sizeof(flag_rows[0]); i++) {
        if (flag_rows[i].type == type && (flag_rows[i].classes & class_bit(o->class)) != 0) {
            CK_BBOOL value = (o->flags & flag_rows[i].flag) != 0;

            fake_set_blob(out, &value, sizeof(value));
            return true;
        }
    }
    return false;
}

static bool get_number(const struct fake_object *o, CK_ATTRIBUTE_TYPE type, struct fake_blob *out)
{
    CK_ULONG value;
    static const CK_KEY_TYPE types[] = {[FAKE_FAMILY_RSA] = CKK_RSA,
                                        [FAKE_FAMILY_EC] = CKK_EC,
                                        [FAKE_FAMILY_EDWARDS] = FAKE_CKK_EDWARDS};
    bool key = o->material != NULL && o->class != CKO_CERTIFICATE;

    if (type == CKA_CLASS)
        value = o->class;
    else if (type == CKA_KEY_TYPE && key)
        value = types[o->material->family];
    else if (type == CKA_KEY_TYPE && o->class == CKO_SECRET_KEY)
        value = CKK_GENERIC_SECRET;
    else if (type == CKA_VALUE_LEN && o->class == CKO_SECRET_KEY)
        value = o->value.len;
    else if (type == CKA_CERTIFICATE_TYPE && o->class == CKO_CERTIFICATE)
        value = CKC_X_509;
    else if (type == CKA_MODULUS_BITS && o->class == CKO_PUBLIC_KEY && key &&
             o->material->family == FAKE_FAMILY_RSA)
        value = o->material->modulus.len * 8;
    else
        return false;
    fake_set_blob(out, &value, sizeof(value));
    return true;
}

/* A DER OCTET STRING around the point, but for tokens that leave it out. */
static void get_point(const struct fake_blob *point, struct fake_blob *out)
{
    unsigned char der[160];
    size_t n = 0;

    if (fake.quirk[FAKE_QUIRK_RAW_EC_POINT]) {
        fake_set_blob(out, point->data, point->len);
        return;
    }
    der[n++] = 0x04;
    if (point->len > 127)
        der[n++] = 0x81;
    der[n++] = (unsigned char)point->len;
    memcpy(der + n, point->data, point->len);
    fake_set_blob(out, der, n + point->len);
}

static bool get_blob(const struct fake_object *o, CK_ATTRIBUTE_TYPE type, struct fake_blob *out)
{
    const struct fake_material *m = o->material;
    const struct fake_blob *from = NULL;
    bool key = m != NULL && o->class != CKO_CERTIFICATE;
    bool rsa = key && m->family == FAKE_FAMILY_RSA;

    if (type == CKA_LABEL)
        from = &o->label;
    else if (type == CKA_ID)
        from = &o->id;
    else if (type == CKA_VALUE && !key)
        from = &o->value;
    else if (type == CKA_SUBJECT && o->class == CKO_CERTIFICATE)
        from = &o->subject;
    else if (type == CKA_MODULUS && rsa)
        from = &m->modulus;
    else if (type == CKA_PUBLIC_EXPONENT && rsa)
        from = &m->exponent;
    else if (type == CKA_EC_PARAMS && key && !rsa)
        from = &m->ec_params;
    else if (type == CKA_PUBLIC_KEY_INFO && key)
        from = &m->spki;
    if (type == CKA_EC_POINT && key && !rsa &&
        (o->class == CKO_PUBLIC_KEY || (o->flags & FAKE_F_POINT) != 0)) {
        get_point(&m->point, out);
        return true;
    }
    if (from == NULL || from->data == NULL)
        return false;
    if (from == &o->value && o->class == CKO_SECRET_KEY && (o->flags & FAKE_F_SENSITIVE) != 0)
        return false;
    if (type == CKA_EC_PARAMS && m->family == FAKE_FAMILY_EDWARDS &&
        fake.quirk[FAKE_QUIRK_EDWARDS_NAMES]) {
        size_t len;
        const unsigned char *name = fake_edwards_params(m->point.len == 57, true, &len);

        fake_set_blob(out, name, len);
        return true;
    }
    fake_set_blob(out, from->data, from->len);
    return true;
}

static bool is_secret(const struct fake_object *o, CK_ATTRIBUTE_TYPE type)
{
    for (size_t i = 0; i < sizeof(secret_rows) / sizeof(secret_rows[0]); i++) {
        if (o->class == CKO_PRIVATE_KEY && secret_rows[i] == type)
            return true;
    }
    return false;
}

CK_RV fake_attribute_get(const struct fake_object *object, CK_ATTRIBUTE_TYPE type,
                         struct fake_blob *out)
{
    if (is_secret(object, type))
        return CKR_ATTRIBUTE_SENSITIVE;
    if (get_flag(object, type, out) || get_number(object, type, out) || get_blob(object, type, out))
        return CKR_OK;
    if (type == CKA_NEVER_EXTRACTABLE && object->class == CKO_PRIVATE_KEY) {
        CK_BBOOL never = (object->flags & FAKE_F_EXTRACTABLE) == 0;

        fake_set_blob(out, &never, sizeof(never));
        return CKR_OK;
    }
    return CKR_ATTRIBUTE_TYPE_INVALID;
}

static bool is_hidden(const struct fake_object *object, CK_ATTRIBUTE_TYPE type)
{
    for (size_t i = 0; i < fake.hidden_count; i++) {
        const struct fake_hidden *h = &fake.hidden[i];

        if (h->attribute == type && (h->class == FAKE_ANY || h->class == object->class))
            return true;
    }
    return false;
}

CK_RV fake_template_apply(struct fake_object *object, const CK_ATTRIBUTE *template, CK_ULONG count)
{
    for (CK_ULONG i = 0; i < count; i++) {
        const CK_ATTRIBUTE *a = &template[i];
        unsigned flag = fake_flag_of(a->type);

        if (a->ulValueLen != 0 && a->pValue == NULL)
            return CKR_ATTRIBUTE_VALUE_INVALID;
        if (a->type == CKA_LABEL)
            fake_set_blob(&object->label, a->pValue, a->ulValueLen);
        else if (a->type == CKA_ID)
            fake_set_blob(&object->id, a->pValue, a->ulValueLen);
        else if (a->type == CKA_VALUE && object->class == CKO_CERTIFICATE)
            fake_set_blob(&object->value, a->pValue, a->ulValueLen);
        else if (a->type == CKA_SUBJECT && object->class == CKO_CERTIFICATE)
            fake_set_blob(&object->subject, a->pValue, a->ulValueLen);
        if (flag == 0)
            continue;
        if (a->ulValueLen != sizeof(CK_BBOOL))
            return CKR_ATTRIBUTE_VALUE_INVALID;
        if (*(const CK_BBOOL *)a->pValue != CK_FALSE)
            object->flags |= flag;
        else
            object->flags &= ~flag;
    }
    return CKR_OK;
}

/* --- C_GetAttributeValue --------------------------------------------------------------------- */

static CK_RV read_one(const struct fake_object *object, CK_ATTRIBUTE *a)
{
    struct fake_blob value = {NULL, 0};
    CK_RV rv = CKR_ATTRIBUTE_TYPE_INVALID;

    if (!is_hidden(object, a->type))
        rv = fake_attribute_get(object, a->type, &value);
    if (rv != CKR_OK) {
        a->ulValueLen = CK_UNAVAILABLE_INFORMATION;
        return rv;
    }
    if (a->pValue != NULL && a->ulValueLen < value.len) {
        a->ulValueLen = CK_UNAVAILABLE_INFORMATION;
        rv = CKR_BUFFER_TOO_SMALL;
    } else {
        if (a->pValue != NULL)
            memcpy(a->pValue, value.data, value.len);
        a->ulValueLen = value.len;
    }
    free(value.data);
    return rv;
}

static bool knows_all(const struct fake_object *object, const CK_ATTRIBUTE *template,
                      CK_ULONG count)
{
    for (CK_ULONG i = 0; i < count; i++) {
        struct fake_blob value = {NULL, 0};
        bool known = !is_hidden(object, template[i].type) &&
                     fake_attribute_get(object, template[i].type, &value) == CKR_OK;

        free(value.data);
        if (!known)
            return false;
    }
    return true;
}

static bool visible(const struct fake_session *s, const struct fake_object *object)
{
    return object->slot == s->slot &&
           ((object->flags & FAKE_F_PRIVATE) == 0 || fake_sees_private(s->slot));
}

static CK_RV get_attributes(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE handle,
                            CK_ATTRIBUTE *template, CK_ULONG count)
{
    struct fake_session *s;
    struct fake_object *object = fake_object_get(handle);
    CK_RV rv = fake_get_session(session, &s), all = CKR_OK;

    if (rv != CKR_OK)
        return rv;
    if (object == NULL || !visible(s, object))
        return CKR_OBJECT_HANDLE_INVALID;
    if (count > 1 && fake.quirk[FAKE_QUIRK_BULK_READ_FAILS] && !knows_all(object, template, count))
        return CKR_ATTRIBUTE_TYPE_INVALID;
    for (CK_ULONG i = 0; i < count; i++) {
        rv = read_one(object, &template[i]);
        if (rv != CKR_OK)
            all = rv;
    }
    return all;
}

CK_RV C_GetAttributeValue(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object,
                          CK_ATTRIBUTE *template, CK_ULONG count)
{
    struct fake_call call;
    CK_RV rv = fake_enter_session(&call, FAKE_C_GetAttributeValue, session);

    if (rv == CKR_OK)
        rv = get_attributes(session, object, template, count);
    return fake_leave_session(&call, rv);
}

/* --- searches -------------------------------------------------------------------------------- */

static bool matches(const struct fake_object *object, const CK_ATTRIBUTE *template, CK_ULONG count)
{
    for (CK_ULONG i = 0; i < count; i++) {
        struct fake_blob value = {NULL, 0};
        bool same;

        if (is_hidden(object, template[i].type) ||
            fake_attribute_get(object, template[i].type, &value) != CKR_OK)
            return false;
        same = value.len == template[i].ulValueLen &&
               (value.len == 0 || memcmp(value.data, template[i].pValue, value.len) == 0);
        free(value.data);
        if (!same)
            return false;
    }
    return true;
}

static CK_RV find_init(CK_SESSION_HANDLE session, const CK_ATTRIBUTE *template, CK_ULONG count)
{
    struct fake_session *s;
    CK_RV rv = fake_get_session(session, &s);

    if (rv != CKR_OK)
        return rv;
    if (s->searching)
        return CKR_OPERATION_ACTIVE;
    s->found = fake_alloc(fake.objects * sizeof(s->found[0]));
    for (size_t i = 0; i < fake.objects; i++) {
        if (visible(s, fake.object[i]) && matches(fake.object[i], template, count))
            s->found[s->found_count++] = fake.object[i]->handle;
    }
    s->searching = true;
    return CKR_OK;
}

CK_RV C_FindObjectsInit(CK_SESSION_HANDLE session, CK_ATTRIBUTE *template, CK_ULONG count)
{
    struct fake_call call;
    CK_RV rv = fake_enter_session(&call, FAKE_C_FindObjectsInit, session);

    if (rv == CKR_OK)
        rv = find_init(session, template, count);
    return fake_leave_session(&call, rv);
}

CK_RV C_FindObjects(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *objects, CK_ULONG max,
                    CK_ULONG *count)
{
    struct fake_call call;
    struct fake_session *s;
    CK_RV rv = fake_enter_session(&call, FAKE_C_FindObjects, session);

    if (rv == CKR_OK)
        rv = fake_get_session(session, &s);
    if (rv == CKR_OK && !s->searching)
        rv = CKR_OPERATION_NOT_INITIALIZED;
    if (rv == CKR_OK) {
        *count = 0;
        while (*count < max && s->found_next < s->found_count)
            objects[(*count)++] = s->found[s->found_next++];
    }
    return fake_leave_session(&call, rv);
}

CK_RV C_FindObjectsFinal(CK_SESSION_HANDLE session)
{
    struct fake_call call;
    struct fake_session *s;
    CK_RV rv = fake_enter_session(&call, FAKE_C_FindObjectsFinal, session);

    if (rv == CKR_OK)
        rv = fake_get_session(session, &s);
    if (rv == CKR_OK && !s->searching)
        rv = CKR_OPERATION_NOT_INITIALIZED;
    if (rv == CKR_OK)
        fake_search_clear(s);
    return fake_leave_session(&call, rv);
}

/* --- making and destroying ------------------------------------------------------------------- */

static CK_RV may_write(const struct fake_session *s, bool token_object)
{
    if (fake.slot[s->slot].write_protected)
        return CKR_TOKEN_WRITE_PROTECTED;
    if (token_object && (s->flags & CKF_RW_SESSION) == 0)
        return CKR_SESSION_READ_ONLY;
    return CKR_OK;
}

static CK_RV destroy(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE handle)
{
    struct fake_session *s;
    struct fake_object *object = fake_object_get(handle);
    CK_RV rv = fake_get_session(session, &s);

    if (rv != CKR_OK)
        return rv;
    if (object == NULL || !visible(s, object))
        return CKR_OBJECT_HANDLE_INVALID;
    rv = may_write(s, (object->flags & FAKE_F_TOKEN) != 0);
    if (rv == CKR_OK)
        fake_object_drop(object);
    return rv;
}

CK_RV C_DestroyObject(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object)
{
    struct fake_call call;
    CK_RV rv = fake_enter_session(&call, FAKE_C_DestroyObject, session);

    if (rv == CKR_OK)
        rv = destroy(session, object);
    return fake_leave_session(&call, rv);
}

/* Certificates only: private keys are not imported into this token. */
static CK_RV create(CK_SESSION_HANDLE session, const CK_ATTRIBUTE *template, CK_ULONG count,
                    CK_OBJECT_HANDLE *handle)
{
    struct fake_session *s;
    struct fake_object *object;
    CK_RV rv = fake_get_session(session, &s);
    CK_OBJECT_CLASS class = CKO_DATA;

    for (CK_ULONG i = 0; i < count; i++) {
        if (template[i].type == CKA_CLASS && template[i].ulValueLen == sizeof(class))
            memcpy(&class, template[i].pValue, sizeof(class));
    }
    if (rv != CKR_OK)
        return rv;
    if (class != CKO_CERTIFICATE)
        return CKR_TEMPLATE_INCONSISTENT;
    object = fake_object_new(s->slot, class, NULL);
    object->flags &= ~(unsigned)FAKE_F_TOKEN;
    rv = fake_template_apply(object, template, count);
    if (rv == CKR_OK && object->value.data == NULL)
        rv = CKR_TEMPLATE_INCOMPLETE;
    if (rv == CKR_OK)
        rv = may_write(s, (object->flags & FAKE_F_TOKEN) != 0);
    if (rv != CKR_OK) {
        fake_object_drop(object);
        return rv;
    }
    object->session = (object->flags & FAKE_F_TOKEN) != 0 ? 0 : session;
    *handle = object->handle;
    return CKR_OK;
}

CK_RV C_CreateObject(CK_SESSION_HANDLE session, CK_ATTRIBUTE *template, CK_ULONG count,
                     CK_OBJECT_HANDLE *object)
{
    struct fake_call call;
    CK_RV rv = fake_enter_session(&call, FAKE_C_CreateObject, session);

    if (rv == CKR_OK)
        rv = create(session, template, count, object);
    return fake_leave_session(&call, rv);
}
