/* SPDX-License-Identifier: Apache-2.0
 *
 * snapshot.c - read what there is to know about an object, with one call. Tokens leave
 * attributes out, fix them, or fail the whole read because of one: that an attribute is absent is
 * never an error.
 */
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "key_types.h"
#include "object.h"

void ks_object_free(struct ks_object *o)
{
    if (o == NULL)
        return;
    free(o->label);
    free(o->id.data);
    free(o->modulus.data);
    free(o->exponent.data);
    free(o->ec_params.data);
    free(o->ec_point.data);
    free(o->spki.data);
    free(o->value.data);
    free(o->trouble);
    free(o);
}

static bool copy_bytes(struct ks_bytes *to, const struct ks_bytes *from)
{
    *to = (struct ks_bytes){NULL, 0};
    if (from->data == NULL)
        return true;
    to->data = (uint8_t *)ks_strdup_n(from->data, from->len);
    to->len = from->len;
    return to->data != NULL;
}

struct ks_object *ks_object_copy(const struct ks_object *o)
{
    struct ks_object *copy = calloc(1, sizeof(*copy));
    bool ok;

    if (copy == NULL)
        return NULL;
    *copy = *o;
    copy->label = o->label != NULL ? ks_strdup_n(o->label, o->label_len) : NULL;
    copy->trouble = o->trouble != NULL ? ks_strdup_n(o->trouble, strlen(o->trouble)) : NULL;
    ok = o->label == NULL || copy->label != NULL;
    ok &= o->trouble == NULL || copy->trouble != NULL;
    ok &= copy_bytes(&copy->id, &o->id);
    ok &= copy_bytes(&copy->modulus, &o->modulus);
    ok &= copy_bytes(&copy->exponent, &o->exponent);
    ok &= copy_bytes(&copy->ec_params, &o->ec_params);
    ok &= copy_bytes(&copy->ec_point, &o->ec_point);
    ok &= copy_bytes(&copy->spki, &o->spki);
    ok &= copy_bytes(&copy->value, &o->value);
    if (!ok) {
        ks_object_free(copy);
        copy = NULL;
    }
    return copy;
}

/* --- attributes ------------------------------------------------------------------------------ */

#define OF(x) (1U << (x))
#define KEYS  (OF(KS_CLASS_PRIVATE) | OF(KS_CLASS_PUBLIC))
#define ALL   (KEYS | OF(KS_CLASS_CERTIFICATE))

/* What is asked for, and how much room there is for it: more than anybody needs. */
static const struct row {
    CK_ATTRIBUTE_TYPE type;
    unsigned room;
    unsigned classes; /* OF(KS_CLASS_...): whose attribute it is */
    /* For which classes it is asked for once more, by itself, if the token did not give it with the
     * others. What many tokens lack is not among them: it would cost a call for each key. */
    unsigned again;
} rows[] = {
    {CKA_LABEL, 1024, ALL, ALL},
    {CKA_ID, 1024, ALL, ALL},
    /* no more: NSS calls any other room too small */
    {CKA_KEY_TYPE, sizeof(CK_KEY_TYPE), KEYS, KEYS},
    {CKA_SIGN, 8, OF(KS_CLASS_PRIVATE), 0},
    {CKA_DECRYPT, 8, OF(KS_CLASS_PRIVATE), 0},
    {CKA_DERIVE, 8, OF(KS_CLASS_PRIVATE), 0},
    {CKA_SENSITIVE, 8, OF(KS_CLASS_PRIVATE), 0},
    {CKA_EXTRACTABLE, 8, OF(KS_CLASS_PRIVATE), 0},
    {CKA_ALWAYS_AUTHENTICATE, 8, OF(KS_CLASS_PRIVATE), 0},
    {CKA_LOCAL, 8, OF(KS_CLASS_PRIVATE), 0},
    {CKA_MODULUS, 2056, KEYS, KEYS},
    {CKA_PUBLIC_EXPONENT, 264, KEYS, KEYS},
    {CKA_EC_PARAMS, 1024, KEYS, KEYS},
    {CKA_EC_POINT, 264, KEYS, OF(KS_CLASS_PUBLIC)},
    {CKA_PUBLIC_KEY_INFO_, 2568, KEYS, 0},
    {CKA_VALUE, 8200, OF(KS_CLASS_CERTIFICATE), OF(KS_CLASS_CERTIFICATE)},
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

/* One object's, while they are read. */
struct bulk {
    size_t count;
    CK_ATTRIBUTE list[KS_ATTRIBUTES_MAX];
    const struct row *row[KS_ATTRIBUTES_MAX];
    void *own[KS_ATTRIBUTES_MAX]; /* a value for which the room was too small */
    uint8_t values[];
};

static bool attribute_absent(const CK_ATTRIBUTE *a)
{
    return a->ulValueLen == CK_UNAVAILABLE_INFORMATION;
}

static struct bulk *bulk_new(enum ks_object_class klass)
{
    struct bulk *b;
    size_t room = 0;

    for (size_t i = 0; i < ROWS; i++)
        room += (rows[i].classes & OF(klass)) != 0 ? rows[i].room : 0;
    b = calloc(1, sizeof(*b) + room);
    room = 0;
    for (size_t i = 0; b != NULL && i < ROWS; i++) {
        if ((rows[i].classes & OF(klass)) == 0)
            continue;
        b->row[b->count] = &rows[i];
        b->list[b->count++] = (CK_ATTRIBUTE){rows[i].type, b->values + room, rows[i].room};
        room += rows[i].room;
    }
    return b;
}

static void bulk_free(struct bulk *b)
{
    for (size_t i = 0; b != NULL && i < b->count; i++)
        free(b->own[i]);
    free(b);
}

/* The attribute if it is there; NULL. */
static const CK_ATTRIBUTE *bulk_get(const struct bulk *b, CK_ATTRIBUTE_TYPE type)
{
    for (size_t i = 0; i < b->count; i++)
        if (b->list[i].type == type)
            return attribute_absent(&b->list[i]) ? NULL : &b->list[i];
    return NULL;
}

static bool only_attributes(CK_RV rv)
{
    return rv == CKR_ATTRIBUTE_TYPE_INVALID || rv == CKR_ATTRIBUTE_SENSITIVE ||
           rv == CKR_BUFFER_TOO_SMALL || rv == CKR_ATTRIBUTE_VALUE_INVALID ||
           rv == CKR_FUNCTION_FAILED || rv == CKR_GENERAL_ERROR;
}

/* Reads `a` as it is; absent unless the token gave it. Fails for answers that cannot be, and for
 * trouble that is not the attribute's. */
static ks_status read_it(struct ks_call *call, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                         CK_OBJECT_HANDLE object, CK_ATTRIBUTE *a, CK_RV *rv)
{
    ks_status st = ks_answer_attributes(call, fn, session, object, a, 1, rv);

    if (ks_ok(st) && *rv != CKR_OK && !only_attributes(*rv))
        st = ks_call_rv(call, KS_C_GetAttributeValue, *rv);
    if (!ks_ok(st) || *rv != CKR_OK)
        a->ulValueLen = CK_UNAVAILABLE_INFORMATION;
    return st;
}

/* One attribute by itself: in the room that it has, and if that is too small in as much as it
 * wants. */
static ks_status read_again(struct ks_call *call, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                            CK_OBJECT_HANDLE object, struct bulk *b, size_t i)
{
    CK_ATTRIBUTE *a = &b->list[i];
    void *room = a->pValue;
    ks_status st;
    CK_RV rv;

    a->ulValueLen = b->row[i]->room;
    st = read_it(call, fn, session, object, a, &rv);
    if (!ks_ok(st) || rv != CKR_BUFFER_TOO_SMALL)
        return st;
    *a = (CK_ATTRIBUTE){.type = a->type};
    st = read_it(call, fn, session, object, a, &rv);
    if (ks_ok(st) && !attribute_absent(a)) {
        b->own[i] = calloc(1, a->ulValueLen + 1);
        if (b->own[i] == NULL)
            return ks_no_memory(call->err);
        a->pValue = b->own[i];
        st = read_it(call, fn, session, object, a, &rv);
    }
    if (a->pValue == NULL)
        a->pValue = room;
    return st;
}

static enum ks_key_type key_type_of(const CK_ATTRIBUTE *a)
{
    CK_KEY_TYPE ckk;

    if (a == NULL || a->ulValueLen != sizeof(ckk))
        return KS_KEY_OTHER;
    memcpy(&ckk, a->pValue, sizeof(ckk));
    return ks_key_type_by_ckk(ckk);
}

/* Whether objects like that one have the attribute, as far as we know. */
static bool has(const struct ks_object *o, CK_ATTRIBUTE_TYPE attribute)
{
    if (attribute == CKA_PUBLIC_KEY_INFO_)
        return o->type != KS_KEY_OTHER;
    return o->klass == KS_CLASS_CERTIFICATE || !ks_is_public_attribute(attribute) ||
           ks_key_type_shows(o->type, attribute);
}

/* How many of the attributes the module has looked at: the length of the last one is another than
 * its room. */
static size_t looked_at(const struct bulk *b)
{
    size_t n = b->count;

    while (n > 0 && b->list[n - 1].ulValueLen == b->row[n - 1]->room)
        n--;
    return n;
}

/* Some modules stop at the first attribute that an object does not have, or fill in nothing at all:
 * what they left is read one by one. */
static ks_status read_rest(struct ks_call *call, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                           CK_OBJECT_HANDLE handle, struct ks_object *o, struct bulk *b, CK_RV rv)
{
    size_t seen = looked_at(b), gave = 0, present = 0;
    ks_status st = KS_SUCCESS;

    for (size_t i = 0; i < seen; i++)
        gave += !attribute_absent(&b->list[i]);
    /* CKA_KEY_TYPE comes before the attributes that only keys of some types have. */
    for (size_t i = 0; i < b->count && ks_ok(st); i++) {
        CK_ATTRIBUTE *a = &b->list[i];
        const struct row *row = b->row[i];
        bool absent = attribute_absent(a);

        if (!has(o, row->type))
            a->ulValueLen = CK_UNAVAILABLE_INFORMATION;
        else if (i >= seen || (absent && (gave == 0 || rv == CKR_BUFFER_TOO_SMALL ||
                                          (row->again & OF(o->klass)) != 0)))
            st = read_again(call, fn, session, handle, b, i);
        if (row->type == CKA_KEY_TYPE)
            o->type = key_type_of(bulk_get(b, CKA_KEY_TYPE));
        present += !attribute_absent(a);
    }
    if (!ks_ok(st))
        return st;
    return present > 0 ? KS_SUCCESS : ks_call_rv(call, KS_C_GetAttributeValue, rv);
}

static ks_status read_all(struct ks_call *call, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                          CK_OBJECT_HANDLE handle, struct ks_object *o, struct bulk *b)
{
    ks_status st;
    CK_RV rv;

    st = ks_answer_attributes(call, fn, session, handle, b->list, b->count, &rv);
    if (!ks_ok(st))
        return st;
    if (rv == CKR_OK) {
        o->type = key_type_of(bulk_get(b, CKA_KEY_TYPE));
        return KS_SUCCESS;
    }
    if (!only_attributes(rv))
        return ks_call_rv(call, KS_C_GetAttributeValue, rv);
    return read_rest(call, fn, session, handle, o, b, rv);
}

/* --- from attributes to the object ----------------------------------------------------------- */

static bool get_bool(const struct bulk *b, CK_ATTRIBUTE_TYPE type)
{
    const CK_ATTRIBUTE *a = bulk_get(b, type);

    return a != NULL && a->ulValueLen >= sizeof(CK_BBOOL) &&
           *(const CK_BBOOL *)a->pValue != CK_FALSE;
}

/* False: no memory. */
static bool get_bytes(const struct bulk *b, CK_ATTRIBUTE_TYPE type, struct ks_bytes *out)
{
    const CK_ATTRIBUTE *a = bulk_get(b, type);

    if (a == NULL || a->ulValueLen == 0)
        return true;
    out->data = (uint8_t *)ks_strdup_n(a->pValue, a->ulValueLen);
    out->len = out->data != NULL ? a->ulValueLen : 0;
    return out->data != NULL;
}

/* Big-endian number without leading zeros; zeros alone are none. */
static bool get_number(const struct bulk *b, CK_ATTRIBUTE_TYPE type, struct ks_bytes *out)
{
    size_t zeros = 0;

    if (!get_bytes(b, type, out))
        return false;
    while (zeros < out->len && out->data[zeros] == 0)
        zeros++;
    if (zeros > 0) {
        memmove(out->data, out->data + zeros, out->len - zeros);
        out->len -= zeros;
    }
    if (out->len == 0) {
        free(out->data);
        *out = (struct ks_bytes){NULL, 0};
    }
    return true;
}

/* --- EC points ------------------------------------------------------------------------------- */

/* Sizes of points: 2 * field + 1 for Weierstrass curves, and the Edwards curves' own. A raw point
 * can look like an OCTET STRING by chance; its inside then has none of these sizes. */
static bool plausible_point(const uint8_t *p, size_t len, enum ks_encoded encoded)
{
    static const size_t fields[] = {20, 24, 28, 32, 40, 48, 64, 66};

    if (encoded == KS_EDWARDS_POINT)
        return len == 32 || len == 57;
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        if ((len == 2 * fields[i] + 1 && p[0] == 4) ||
            (len == fields[i] + 1 && (p[0] == 2 || p[0] == 3)))
            return true;
    return false;
}

/* The OCTET STRING around the point, which some tokens leave out. */
static void unwrap_point(struct ks_bytes *point, enum ks_encoded encoded)
{
    size_t head = 2, len;

    if (point->len < 3 || point->data[0] != 4)
        return;
    len = point->data[1];
    if (len == 0x81) {
        len = point->data[2];
        head = 3;
    }
    if (len >= 0x80 && head == 2)
        return;
    if (head + len == point->len && plausible_point(point->data + head, len, encoded)) {
        memmove(point->data, point->data + head, len);
        point->len = len;
    }
}

/* --- snapshots ------------------------------------------------------------------------------- */

static bool fill_public(struct ks_object *o, const struct bulk *b,
                        const struct ks_public_attribute *a)
{
    struct ks_bytes *out = (struct ks_bytes *)((char *)o + a->offset);
    bool ok;

    if (a->offset == 0)
        return true;
    ok = a->encoded == KS_NUMBER ? get_number(b, a->type, out) : get_bytes(b, a->type, out);
    if (ok && (a->encoded == KS_POINT || a->encoded == KS_EDWARDS_POINT))
        unwrap_point(out, a->encoded);
    return ok;
}

static bool fill(struct ks_object *o, const struct bulk *b)
{
    const struct ks_key_type_row *row = ks_key_type_row(o->type);
    const CK_ATTRIBUTE *label = bulk_get(b, CKA_LABEL);
    bool ok = get_bytes(b, CKA_ID, &o->id) && get_bytes(b, CKA_VALUE, &o->value);

    if (label != NULL) {
        o->label = ks_strdup_n(label->pValue, label->ulValueLen);
        o->label_len = label->ulValueLen;
        ok = ok && o->label != NULL;
    }
    o->can_sign = get_bool(b, CKA_SIGN);
    o->can_decrypt = get_bool(b, CKA_DECRYPT);
    o->can_derive = get_bool(b, CKA_DERIVE);
    o->sensitive = get_bool(b, CKA_SENSITIVE);
    o->extractable = get_bool(b, CKA_EXTRACTABLE);
    o->always_authenticate = get_bool(b, CKA_ALWAYS_AUTHENTICATE);
    o->local = get_bool(b, CKA_LOCAL);
    if (o->type != KS_KEY_OTHER)
        ok = ok && get_bytes(b, CKA_PUBLIC_KEY_INFO_, &o->spki);
    for (size_t i = 0; row != NULL && i < KS_PUBLIC_ATTRIBUTES && ok; i++)
        ok = fill_public(o, b, &row->public[i]);
    return ok;
}

ks_status ks_snapshot_read(struct ks_call *call, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                           CK_OBJECT_HANDLE handle, enum ks_object_class klass,
                           struct ks_object **out)
{
    struct ks_object *o = calloc(1, sizeof(*o));
    struct bulk *b = bulk_new(klass);
    ks_status st;

    if (o == NULL || b == NULL) {
        st = ks_no_memory(call->err);
        goto out;
    }
    o->klass = klass;
    st = read_all(call, fn, session, handle, o, b);
    if (ks_ok(st) && !fill(o, b))
        st = ks_no_memory(call->err);
    if (ks_ok(st)) {
        *out = o;
        o = NULL;
    }
out:
    bulk_free(b);
    ks_object_free(o);
    return st;
}
