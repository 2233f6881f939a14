/* SPDX-License-Identifier: Apache-2.0
 *
 * ks_object.c - search for objects and read their attributes. Tokens leave attributes out, fix
 * them, or fail a whole read because of one: what fails in bulk is read one by one, and absence is
 * never an error.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ks_answer.h"

/* p11-kit's header lacks it (PKCS#11 2.40). */
#define CKA_PUBLIC_KEY_INFO_ 0x00000129UL

#define ATTRIBUTE_ROOM                                                                             \
    1024 /* enough for an RSA-8192 modulus; longer values are asked for again   \
                             */

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
    ok = o->label == NULL || copy->label != NULL;
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

const char *ks_object_name(const struct ks_object *o, char *out, size_t size)
{
    char label[128], id[80] = "";
    size_t n = 0;

    for (size_t i = 0; i < o->id.len && n + 4 < sizeof(id); i++)
        n += (size_t)snprintf(id + n, sizeof(id) - n, "%s%02x", i > 0 ? ":" : "", o->id.data[i]);
    snprintf(out, size, "'%s' (id %s)", ks_escape(label, sizeof(label), o->label, o->label_len),
             id[0] != '\0' ? id : "none");
    return out;
}

ks_status ks_object_search(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                           CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE *found,
                           CK_ULONG max, CK_ULONG *found_count)
{
    CK_ULONG got;
    ks_status st;
    CK_RV rv;

    *found_count = 0;
    st = ks_op_rv(op, "C_FindObjectsInit", fn->C_FindObjectsInit(session, template, count));
    if (!ks_ok(st))
        return st;
    /* Some modules hand out fewer than there are: ask until there are none. */
    do {
        got = 0;
        rv = fn->C_FindObjects(session, found + *found_count, max - *found_count, &got);
        st = ks_op_rv(op, "C_FindObjects", rv);
        if (ks_ok(st))
            st = ks_answer_found(op, found + *found_count, *found_count, max - *found_count, got);
        if (ks_ok(st))
            *found_count += got;
    } while (ks_ok(st) && got > 0 && *found_count < max);
    /* On every path: a module may accept a second search while one is open. */
    rv = fn->C_FindObjectsFinal(session);
    if (ks_ok(st))
        st = ks_op_rv(op, "C_FindObjectsFinal", rv);
    return st;
}

/* --- attributes ------------------------------------------------------------------------------ */

static bool attribute_absent(const CK_ATTRIBUTE *a)
{
    return a->ulValueLen == CK_UNAVAILABLE_INFORMATION;
}

/* One attribute by itself, with its value allocated; absent when the token will not tell. Fails for
 * answers that cannot be. */
static ks_status read_one(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                          CK_OBJECT_HANDLE object, CK_ATTRIBUTE *a)
{
    ks_status st;
    CK_RV rv;

    free(a->pValue);
    a->pValue = NULL;
    a->ulValueLen = 0;
    st = ks_answer_attributes(op, fn, session, object, a, 1, &rv);
    if (ks_ok(st) && rv == CKR_OK && !attribute_absent(a) && a->ulValueLen > 0) {
        a->pValue = malloc(a->ulValueLen);
        if (a->pValue == NULL)
            return ks_no_memory(op->err);
        st = ks_answer_attributes(op, fn, session, object, a, 1, &rv);
    }
    if (!ks_ok(st) || rv != CKR_OK || a->pValue == NULL || attribute_absent(a)) {
        free(a->pValue);
        a->pValue = NULL;
        a->ulValueLen = CK_UNAVAILABLE_INFORMATION;
    }
    return st;
}

static bool only_attributes(CK_RV rv)
{
    return rv == CKR_ATTRIBUTE_TYPE_INVALID || rv == CKR_ATTRIBUTE_SENSITIVE ||
           rv == CKR_BUFFER_TOO_SMALL || rv == CKR_ATTRIBUTE_VALUE_INVALID ||
           rv == CKR_FUNCTION_FAILED || rv == CKR_GENERAL_ERROR;
}

/* Read `count` attributes with one call where the token plays along; `least` of them have to be
 * there. Of the last one it is believed that it is missing, with `rare`, where the token had
 * others. Values are malloced. */
static ks_status read_attributes(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                                 CK_OBJECT_HANDLE object, CK_ATTRIBUTE *list, size_t count,
                                 size_t least, bool rare)
{
    size_t present = 0;
    ks_status st;
    CK_RV rv;

    for (size_t i = 0; i < count; i++) {
        list[i].pValue = calloc(1, ATTRIBUTE_ROOM);
        list[i].ulValueLen = ATTRIBUTE_ROOM;
        if (list[i].pValue == NULL)
            return ks_no_memory(op->err);
    }
    st = ks_answer_attributes(op, fn, session, object, list, count, &rv);
    if (!ks_ok(st) || rv == CKR_OK)
        return st;
    if (!only_attributes(rv))
        return ks_op_rv(op, "C_GetAttributeValue", rv);
    /* A length that the token did not touch may mean that it stopped before. */
    for (size_t i = 0; i < count && ks_ok(st); i++) {
        if (rare && i + 1 == count && present > 0 && attribute_absent(&list[i]))
            break;
        if (attribute_absent(&list[i]) || list[i].ulValueLen == ATTRIBUTE_ROOM)
            st = read_one(op, fn, session, object, &list[i]);
        present += !attribute_absent(&list[i]);
    }
    if (!ks_ok(st))
        return st;
    return present >= least ? KS_SUCCESS : ks_op_rv(op, "C_GetAttributeValue", rv);
}

static void free_attributes(CK_ATTRIBUTE *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(list[i].pValue);
}

static bool get_bool(const CK_ATTRIBUTE *a)
{
    return !attribute_absent(a) && a->ulValueLen >= sizeof(CK_BBOOL) &&
           *(const CK_BBOOL *)a->pValue != CK_FALSE;
}

/* Move the value out of the attribute. */
static void get_bytes(CK_ATTRIBUTE *a, struct ks_bytes *out)
{
    if (attribute_absent(a) || a->ulValueLen == 0)
        return;
    free(out->data);
    out->len = a->ulValueLen;
    out->data = realloc(a->pValue, out->len); /* the room was generous */
    if (out->data == NULL)
        out->data = a->pValue;
    a->pValue = NULL;
    a->ulValueLen = CK_UNAVAILABLE_INFORMATION;
}

/* Big-endian number without leading zeros; zeros alone are none. */
static void get_number(CK_ATTRIBUTE *a, struct ks_bytes *out)
{
    size_t zeros = 0;

    get_bytes(a, out);
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
}

/* --- EC points ------------------------------------------------------------------------------- */

/* Sizes of points: 2 * field + 1 for Weierstrass curves, and the Edwards curves' own. A raw point
 * can look like an OCTET STRING by chance; its inside then has none of these sizes. */
static bool plausible_point(const uint8_t *p, size_t len, enum ks_key_type type)
{
    static const size_t fields[] = {20, 24, 28, 32, 40, 48, 64, 66};

    if (type == KS_KEY_EDWARDS)
        return len == 32 || len == 57;
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        if ((len == 2 * fields[i] + 1 && p[0] == 4) ||
            (len == fields[i] + 1 && (p[0] == 2 || p[0] == 3)))
            return true;
    return false;
}

/* The OCTET STRING around the point, which some tokens leave out. */
static void unwrap_point(struct ks_bytes *point, enum ks_key_type type)
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
    if (head + len == point->len && plausible_point(point->data + head, len, type)) {
        memmove(point->data, point->data + head, len);
        point->len = len;
    }
}

/* --- snapshots ------------------------------------------------------------------------------- */

static enum ks_key_type key_type_of(const CK_ATTRIBUTE *a)
{
    static const struct {
        CK_KEY_TYPE ck;
        enum ks_key_type type;
    } rows[] = {
        {CKK_RSA, KS_KEY_RSA},
        {CKK_EC, KS_KEY_EC},
        {0x40UL /* CKK_EC_EDWARDS */, KS_KEY_EDWARDS},
    };
    CK_KEY_TYPE ck;

    if (attribute_absent(a) || a->ulValueLen != sizeof(ck))
        return KS_KEY_OTHER;
    memcpy(&ck, a->pValue, sizeof(ck));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].ck == ck)
            return rows[i].type;
    return KS_KEY_OTHER;
}

static ks_status read_common(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                             CK_OBJECT_HANDLE handle, struct ks_object *o)
{
    CK_ATTRIBUTE list[] = {
        {.type = CKA_LABEL},     {.type = CKA_ID},          {.type = CKA_KEY_TYPE},
        {.type = CKA_SIGN},      {.type = CKA_DECRYPT},     {.type = CKA_DERIVE},
        {.type = CKA_SENSITIVE}, {.type = CKA_EXTRACTABLE}, {.type = CKA_ALWAYS_AUTHENTICATE},
        {.type = CKA_LOCAL},
    };
    size_t count = o->klass == KS_CLASS_PRIVATE ? 10 : o->klass == KS_CLASS_PUBLIC ? 3 : 2;
    ks_status st = read_attributes(op, fn, session, handle, list, count, 1, false);

    if (ks_ok(st)) {
        if (!attribute_absent(&list[0])) {
            o->label_len = list[0].ulValueLen;
            o->label = ks_strdup_n(list[0].pValue, o->label_len);
            if (o->label == NULL)
                st = ks_no_memory(op->err);
        }
        get_bytes(&list[1], &o->id);
        if (count > 2)
            o->type = key_type_of(&list[2]);
        if (count > 3) {
            o->can_sign = get_bool(&list[3]);
            o->can_decrypt = get_bool(&list[4]);
            o->can_derive = get_bool(&list[5]);
            o->sensitive = get_bool(&list[6]);
            o->extractable = get_bool(&list[7]);
            o->always_authenticate = get_bool(&list[8]);
            o->local = get_bool(&list[9]);
        }
    }
    free_attributes(list, count);
    return st;
}

static ks_status read_numbers(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                              CK_OBJECT_HANDLE handle, struct ks_object *o)
{
    CK_ATTRIBUTE rsa[] = {{.type = CKA_MODULUS}, {.type = CKA_PUBLIC_EXPONENT}};
    CK_ATTRIBUTE ec[] = {
        {.type = CKA_EC_PARAMS}, {.type = CKA_PUBLIC_KEY_INFO_}, {.type = CKA_EC_POINT}};
    CK_ATTRIBUTE spki[] = {{.type = CKA_PUBLIC_KEY_INFO_}};
    CK_ATTRIBUTE cert[] = {{.type = CKA_VALUE}};
    ks_status st = KS_SUCCESS;

    if (o->klass == KS_CLASS_CERTIFICATE) {
        st = read_one(op, fn, session, handle, cert);
        get_bytes(&cert[0], &o->value);
        free_attributes(cert, 1);
    } else if (o->type == KS_KEY_RSA) {
        st = read_attributes(op, fn, session, handle, rsa, 2, 0, false);
        if (ks_ok(st)) {
            get_number(&rsa[0], &o->modulus);
            get_number(&rsa[1], &o->exponent);
        }
        free_attributes(rsa, 2);
        if (ks_ok(st) && o->modulus.len == 0) {
            st = read_one(op, fn, session, handle, spki);
            get_bytes(&spki[0], &o->spki);
            free_attributes(spki, 1);
        }
    } else if (o->type == KS_KEY_EC || o->type == KS_KEY_EDWARDS) {
        /* Some tokens show the point on private keys as well; most do not. */
        st = read_attributes(op, fn, session, handle, ec, 3, 0, o->klass == KS_CLASS_PRIVATE);
        if (ks_ok(st)) {
            get_bytes(&ec[0], &o->ec_params);
            get_bytes(&ec[1], &o->spki);
            get_bytes(&ec[2], &o->ec_point);
            unwrap_point(&o->ec_point, o->type);
        }
        free_attributes(ec, 3);
    }
    return st;
}

static struct ks_bytes take_bytes(struct ks_bytes *from)
{
    struct ks_bytes out = *from;

    *from = (struct ks_bytes){NULL, 0};
    return out;
}

void ks_object_borrow(struct ks_object *o, struct ks_object *pub)
{
    if (pub->type != o->type)
        return;
    if (o->modulus.len == 0 && pub->modulus.len > 0) {
        o->modulus = take_bytes(&pub->modulus);
        free(o->exponent.data); /* of the modulus that it does not show */
        o->exponent = take_bytes(&pub->exponent);
        o->borrowed = true;
    } else if (o->exponent.len == 0 && o->modulus.len == pub->modulus.len && o->modulus.len > 0 &&
               memcmp(o->modulus.data, pub->modulus.data, o->modulus.len) == 0) {
        o->exponent = take_bytes(&pub->exponent);
    }
    if (o->ec_point.len == 0 && pub->ec_point.len > 0) {
        o->ec_point = take_bytes(&pub->ec_point);
        o->borrowed = true;
    }
    if (o->ec_params.len == 0)
        o->ec_params = take_bytes(&pub->ec_params);
}

/* What the private object lacks, from the one public object with its id (or, without an id, its
 * label). */
static ks_status complete_from_public(struct ks_op *op, CK_FUNCTION_LIST *fn,
                                      CK_SESSION_HANDLE session, struct ks_object *o)
{
    CK_OBJECT_CLASS klass = CKO_PUBLIC_KEY;
    CK_ATTRIBUTE template[2] = {{CKA_CLASS, &klass, sizeof(klass)}};
    CK_OBJECT_HANDLE found[2];
    struct ks_object *pub = NULL;
    CK_ULONG count = 0;
    ks_status st;

    if (o->id.len > 0)
        template[1] = (CK_ATTRIBUTE){CKA_ID, o->id.data, o->id.len};
    else if (o->label_len > 0)
        template[1] = (CK_ATTRIBUTE){CKA_LABEL, o->label, o->label_len};
    else
        return KS_SUCCESS;
    st = ks_object_search(op, fn, session, template, 2, found, 2, &count);
    if (!ks_ok(st) || count != 1)
        return st;
    st = ks_object_read(op, fn, session, found[0], KS_CLASS_PUBLIC, false, &pub);
    if (ks_ok(st))
        ks_object_borrow(o, pub);
    ks_object_free(pub);
    return st;
}

static bool lacks_public(const struct ks_object *o)
{
    if (o->type == KS_KEY_RSA)
        return o->modulus.len == 0 || o->exponent.len == 0;
    return (o->type == KS_KEY_EC || o->type == KS_KEY_EDWARDS) &&
           (o->ec_point.len == 0 || o->ec_params.len == 0);
}

ks_status ks_object_read(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                         CK_OBJECT_HANDLE handle, enum ks_class klass, bool complete,
                         struct ks_object **out)
{
    struct ks_object *o = calloc(1, sizeof(*o));
    ks_status st;

    if (o == NULL)
        return ks_no_memory(op->err);
    o->klass = klass;
    st = read_common(op, fn, session, handle, o);
    if (ks_ok(st))
        st = read_numbers(op, fn, session, handle, o);
    if (ks_ok(st) && complete && klass == KS_CLASS_PRIVATE && lacks_public(o))
        st = complete_from_public(op, fn, session, o);
    if (ks_ok(st))
        *out = o;
    else
        ks_object_free(o);
    return st;
}

/* --- listings -------------------------------------------------------------------------------- */

/* Snapshots are gathered inside the gate and shown outside of it. */
struct gather {
    struct ks_uri *uri;
    struct ks_object **list;
    size_t count, room;
    size_t bytes; /* of all values */
};

static void gather_clear(struct gather *g)
{
    for (size_t i = 0; i < g->count; i++)
        ks_object_free(g->list[i]);
    free(g->list);
    *g = (struct gather){.uri = g->uri};
}

static void gather_release(void *arg)
{
    struct gather *g = arg;

    gather_clear(g);
    ks_uri_free(g->uri);
}

static size_t size_of(const struct ks_object *o)
{
    return sizeof(*o) + o->label_len + o->id.len + o->modulus.len + o->exponent.len +
           o->ec_params.len + o->ec_point.len + o->spki.len + o->value.len;
}

static ks_status gather_add(struct ks_op *op, struct gather *g, struct ks_object *o)
{
    ks_status st = ks_answer_listing(op, &g->bytes, size_of(o));

    if (!ks_ok(st)) {
        ks_object_free(o);
        return st;
    }
    if (g->count == g->room) {
        size_t room = g->room == 0 ? 16 : 2 * g->room;
        struct ks_object **list = realloc(g->list, room * sizeof(struct ks_object *));

        if (list == NULL) {
            ks_object_free(o);
            return ks_no_memory(op->err);
        }
        g->list = list;
        g->room = room;
    }
    g->list[g->count++] = o;
    return KS_SUCCESS;
}

/* All handles of a search, however many; freed by the caller. */
static ks_status search_all(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                            CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE **out,
                            CK_ULONG *found)
{
    CK_OBJECT_HANDLE *list = NULL, *grown;
    CK_ULONG room = 256;
    ks_status st;

    for (;;) {
        grown = realloc(list, room * sizeof(*list));
        if (grown == NULL) {
            st = ks_no_memory(op->err);
            break;
        }
        list = grown;
        st = ks_object_search(op, fn, session, template, count, list, room, found);
        if (!ks_ok(st) || *found < room) /* a full list may not be all */
            break;
        st = ks_answer_objects(op, *found);
        if (!ks_ok(st))
            break;
        room = room < KS_OBJECTS_MAX / 8 ? 8 * room : KS_OBJECTS_MAX;
    }
    if (!ks_ok(st)) {
        free(list);
        list = NULL;
    }
    *out = list;
    return st;
}

static ks_status gather_step(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                             CK_OBJECT_HANDLE key)
{
    static const struct {
        enum ks_class klass;
        CK_OBJECT_CLASS ck;
    } classes[] = {
        {KS_CLASS_PRIVATE, CKO_PRIVATE_KEY},
        {KS_CLASS_PUBLIC, CKO_PUBLIC_KEY},
        {KS_CLASS_CERTIFICATE, CKO_CERTIFICATE},
    };
    static const CK_ATTRIBUTE_TYPE wanted[] = {CKA_LABEL, CKA_ID};
    struct gather *g = op->arg;
    enum ks_class only = g->uri != NULL ? ks_uri_class(g->uri) : KS_CLASS_ANY;
    ks_status st = KS_SUCCESS;

    (void)key;
    gather_clear(g); /* a retry starts over */
    for (size_t c = 0; c < 3 && ks_ok(st); c++) {
        CK_OBJECT_CLASS ck = classes[c].ck;
        CK_ATTRIBUTE template[3] = {{CKA_CLASS, &ck, sizeof(ck)}};
        CK_OBJECT_HANDLE *found = NULL;
        CK_ULONG n = 1, count = 0;

        if (only != KS_CLASS_ANY && only != classes[c].klass)
            continue;
        for (size_t w = 0; g->uri != NULL && w < 2; w++) {
            const CK_ATTRIBUTE *a = ks_uri_attribute(g->uri, wanted[w]);

            if (a != NULL)
                template[n++] = *a;
        }
        st = search_all(op, fn, session, template, n, &found, &count);
        for (CK_ULONG i = 0; i < count && ks_ok(st); i++) {
            struct ks_object *o = NULL;

            st = ks_object_read(op, fn, session, found[i], classes[c].klass, true, &o);
            if (ks_ok(st))
                st = gather_add(op, g, o);
        }
        free(found);
    }
    return st;
}

ks_status ks_token_objects(struct ks_token *token, const struct ks_how *how,
                           const struct ks_uri *uri,
                           bool (*visit)(void *arg, const struct ks_object *object), void *arg,
                           struct ks_error *err)
{
    struct gather g = {.count = 0};
    struct ks_op op = {.token = token,
                       .class = KS_OP_FIND,
                       .step = gather_step,
                       .how = how,
                       .err = err,
                       .arg = &g,
                       .arg_size = sizeof(g),
                       .release = gather_release};
    ks_status st;

    if (token->members != NULL)
        return ks_group_objects(token, how, uri, visit, arg, err);
    st = ks_op_reach(&op, uri);
    if (!ks_ok(st))
        return st;
    g.uri = ks_uri_ref(uri);
    st = ks_op_run(&op);
    for (size_t i = 0; ks_ok(st) && i < g.count; i++)
        if (!visit(arg, g.list[i]))
            break;
    gather_release(&g);
    return st;
}
