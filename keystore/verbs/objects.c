/* SPDX-License-Identifier: Apache-2.0
 *
 * objects.c - all objects of a token. A listing makes a fixed number of searches, whatever is on
 * the token, and goes on when one object cannot be read.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../op/op.h"
#include "../token/answer.h"
#include "single.h"

/* With so many private keys of one id nobody asks which of them have one label, too. */
#define TWINS_MAX 64

/* Snapshots are gathered inside the gate and shown outside of it. */
struct gather {
    struct ks_uri *uri;
    struct ks_object **list;
    size_t count, room;
    size_t bytes;            /* of all values */
    struct ks_error trouble; /* the last object that could not be read */
    size_t unread;           /* how many */
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
    ks_status st = ks_answer_listing(&op->call, &g->bytes, size_of(o));

    if (!ks_ok(st)) {
        ks_object_free(o);
        return st;
    }
    if (g->count == g->room) {
        size_t room = g->room == 0 ? 16 : 2 * g->room;
        struct ks_object **list = realloc(g->list, room * sizeof(struct ks_object *));

        if (list == NULL) {
            ks_object_free(o);
            return ks_no_memory(op->call.err);
        }
        g->list = list;
        g->room = room;
    }
    g->list[g->count++] = o;
    return KS_SUCCESS;
}

/* Is it about this object alone? Of everything else, a lost session for one, the next object would
 * say the same, and ks_op knows what to do about it. An answer that cannot be ends the listing:
 * what else such a module has written is not known. */
static bool only_this_object(const struct ks_op *op, ks_status st)
{
    enum ks_recovery class = KS_RETRY;
    enum ks_code code;

    if (op->call.rv != CKR_OK)
        ks_classify(op->call.function, op->call.rv, &code, &class);
    return !ks_ok(st) &&
           (class == KS_PERMANENT || class == KS_STALE_HANDLE || class == KS_AMBIGUOUS);
}

/* An object that the listing shows for nothing but what is wrong with it. */
static struct ks_object *unread_object(enum ks_object_class klass, const struct ks_error *err)
{
    struct ks_object *o = calloc(1, sizeof(*o));

    if (o == NULL)
        return NULL;
    o->klass = klass;
    o->trouble = ks_strdup_n(err->text, strlen(err->text));
    if (o->trouble != NULL)
        return o;
    free(o);
    return NULL;
}

/* Read what a search has found. One that has gone since is as good as not found. */
static ks_status gather_objects(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                                enum ks_object_class klass, const CK_OBJECT_HANDLE *found,
                                CK_ULONG count, struct gather *g)
{
    struct ks_error *report = op->call.err;
    ks_status st = KS_SUCCESS;

    for (CK_ULONG i = 0; i < count && ks_ok(st); i++) {
        struct ks_object *o = NULL;

        op->call.err = &g->trouble;
        st = ks_snapshot_read(&op->call, fn, session, found[i], klass, &o);
        op->call.err = report;
        if (only_this_object(op, st)) {
            bool gone = op->call.rv == CKR_OBJECT_HANDLE_INVALID;

            g->unread += !gone;
            op->call.rv = CKR_OK;
            st = KS_SUCCESS;
            if (gone)
                continue;
            o = unread_object(klass, &g->trouble);
            if (o == NULL)
                st = ks_no_memory(op->call.err);
        } else if (!ks_ok(st) && op->call.err != NULL) {
            *op->call.err = g->trouble;
        }
        if (ks_ok(st)) {
            o->at.handle = found[i];
            st = gather_add(op, g, o);
        }
    }
    return st;
}

static ks_status gather_class(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                              enum ks_object_class klass, const struct ks_uri *uri,
                              struct gather *g)
{
    static const CK_OBJECT_CLASS numbers[] = {
        [KS_CLASS_PRIVATE] = CKO_PRIVATE_KEY,
        [KS_CLASS_PUBLIC] = CKO_PUBLIC_KEY,
        [KS_CLASS_CERTIFICATE] = CKO_CERTIFICATE,
    };
    static const CK_ATTRIBUTE_TYPE wanted[] = {CKA_LABEL, CKA_ID};
    CK_OBJECT_CLASS number = numbers[klass];
    CK_ATTRIBUTE template[3] = {{CKA_CLASS, &number, sizeof(number)}};
    struct ks_hits hits = {.grows = true};
    CK_ULONG n = 1;
    ks_status st;

    for (size_t w = 0; uri != NULL && w < 2; w++) {
        const CK_ATTRIBUTE *a = ks_uri_attribute(uri, wanted[w]);

        if (a != NULL)
            template[n++] = *a;
    }
    st = ks_object_search_all(&op->call, fn, session, template, n, &hits);
    if (ks_ok(st))
        st = gather_objects(op, fn, session, klass, hits.list, hits.count, g);
    free(hits.list);
    return st;
}

/* --- which belongs to which ------------------------------------------------------------------ */

/* By id, or by label for those that have no id. */
static int by_name(const void *a, const void *b)
{
    const struct ks_object *x = *(struct ks_object *const *)a, *y = *(struct ks_object *const *)b;
    bool labels = x->id.len == 0 && y->id.len == 0;
    const void *xd = labels ? (const void *)x->label : x->id.data;
    const void *yd = labels ? (const void *)y->label : y->id.data;
    size_t xl = labels ? x->label_len : x->id.len, yl = labels ? y->label_len : y->id.len;
    size_t less = xl < yl ? xl : yl;
    int rc = less > 0 ? memcmp(xd, yd, less) : 0;

    return rc != 0 ? rc : (xl > yl) - (xl < yl);
}

/* The pointers to the objects of a class, sorted. NULL: no memory. */
static struct ks_object **sorted(const struct gather *g, enum ks_object_class klass, size_t *count)
{
    struct ks_object **out = calloc(g->count + 1, sizeof(struct ks_object *));

    *count = 0;
    for (size_t i = 0; out != NULL && i < g->count; i++)
        if (g->list[i]->klass == klass && g->list[i]->trouble == NULL)
            out[(*count)++] = g->list[i];
    if (out != NULL)
        qsort(out, *count, sizeof(struct ks_object *), by_name);
    return out;
}

/* The public object of a private key, if there is one and no more. */
static struct ks_object *public_of(struct ks_object **publics, size_t count,
                                   const struct ks_object *o)
{
    struct ks_object **hit;
    size_t i;

    if (count == 0 || (o->id.len == 0 && o->label_len == 0))
        return NULL;
    hit = bsearch(&o, publics, count, sizeof(struct ks_object *), by_name);
    if (hit == NULL)
        return NULL;
    i = (size_t)(hit - publics);
    if ((i > 0 && by_name(&publics[i - 1], hit) == 0) ||
        (i + 1 < count && by_name(&publics[i + 1], hit) == 0))
        return NULL;
    return *hit;
}

/* Give the private keys of `g` what they lack from the public objects of `from`. */
static ks_status complete_all(struct gather *g, const struct gather *from, struct ks_error *err)
{
    size_t count;
    struct ks_object **publics = sorted(from, KS_CLASS_PUBLIC, &count), *pub, *copy;
    ks_status st = publics != NULL ? KS_SUCCESS : ks_no_memory(err);

    for (size_t i = 0; i < g->count && ks_ok(st); i++) {
        struct ks_object *o = g->list[i];

        if (o->klass != KS_CLASS_PRIVATE || !ks_object_lacks_public(o))
            continue;
        pub = public_of(publics, count, o);
        if (pub == NULL)
            continue;
        copy = ks_object_copy(pub);
        if (copy == NULL)
            st = ks_no_memory(err);
        else
            ks_object_borrow(o, copy);
        ks_object_free(copy);
    }
    free(publics);
    return st;
}

/* Private keys of one label and one id cannot be told apart by a URI, nor found again. */
static ks_status mark_twins(struct gather *g, struct ks_error *err)
{
    size_t count;
    struct ks_object **keys = sorted(g, KS_CLASS_PRIVATE, &count);

    if (keys == NULL)
        return ks_no_memory(err);
    for (size_t from = 0, to; from < count; from = to) {
        for (to = from + 1; to < count && by_name(&keys[from], &keys[to]) == 0; to++)
            ;
        /* of one id: few, unless somebody wants it to take long */
        for (size_t i = from; i < to && to - from <= TWINS_MAX; i++)
            for (size_t j = from; j < to; j++)
                if (i != j && keys[i]->label_len == keys[j]->label_len &&
                    (keys[i]->label_len == 0 ||
                     memcmp(keys[i]->label, keys[j]->label, keys[i]->label_len) == 0))
                    keys[i]->at.twin = true;
        for (size_t i = from; i < to && to - from > TWINS_MAX; i++)
            keys[i]->at.twin = true;
    }
    free(keys);
    return KS_SUCCESS;
}

/* --- all of them ----------------------------------------------------------------------------- */

/* How many private keys are completed by a search for each; of more, all public keys are read. */
#define FEW 2

static ks_status complete(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                          struct gather *g, bool have_publics)
{
    struct gather publics = {.count = 0};
    size_t lacking = 0;
    ks_status st = KS_SUCCESS;

    for (size_t i = 0; i < g->count; i++)
        lacking += g->list[i]->klass == KS_CLASS_PRIVATE && ks_object_lacks_public(g->list[i]);
    if (lacking == 0)
        return st;
    if (have_publics)
        return complete_all(g, g, op->call.err);
    if (lacking > FEW) {
        st = gather_class(op, fn, session, KS_CLASS_PUBLIC, NULL, &publics);
        if (ks_ok(st))
            st = complete_all(g, &publics, op->call.err);
        gather_clear(&publics);
        return st;
    }
    for (size_t i = 0; i < g->count && ks_ok(st); i++) {
        struct ks_object *o = g->list[i];

        if (o->klass != KS_CLASS_PRIVATE || !ks_object_lacks_public(o))
            continue;
        st = ks_object_complete(&op->call, fn, session, o);
        if (only_this_object(op, st)) { /* it stays as it is */
            op->call.rv = CKR_OK;
            st = KS_SUCCESS;
        }
    }
    return st;
}

static ks_status gather_step(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                             CK_OBJECT_HANDLE key)
{
    static const enum ks_object_class classes[] = {KS_CLASS_PRIVATE, KS_CLASS_PUBLIC,
                                                   KS_CLASS_CERTIFICATE};
    struct gather *g = op->arg;
    enum ks_object_class only = g->uri != NULL ? ks_uri_class(g->uri) : KS_CLASS_ANY;
    bool whole = g->uri == NULL || !ks_uri_names_object(g->uri);
    ks_status st = KS_SUCCESS;

    (void)key;
    gather_clear(g); /* a retry starts over */
    for (size_t c = 0; c < 3 && ks_ok(st); c++)
        if (only == KS_CLASS_ANY || only == classes[c])
            st = gather_class(op, fn, session, classes[c], g->uri, g);
    /* When nothing at all can be read it is not the objects. */
    if (ks_ok(st) && g->unread > 0 && g->unread == g->count) {
        if (op->call.err != NULL)
            *op->call.err = g->trouble;
        op->call.function = g->trouble.fn;
        op->call.rv = g->trouble.rv;
        st = (ks_status){g->trouble.code};
    }
    if (ks_ok(st))
        st = complete(op, fn, session, g, whole && only == KS_CLASS_ANY);
    if (ks_ok(st))
        st = mark_twins(g, op->call.err);
    return st;
}

ks_status ks_single_objects(struct ks_token *token, const struct ks_call_options *opts,
                            const struct ks_uri *uri,
                            bool (*visit)(void *arg, const struct ks_object *object), void *arg,
                            struct ks_error *err)
{
    struct gather g = {.count = 0};
    struct ks_op op = {.call.token = token,
                       .class = KS_OP_FIND,
                       .step = gather_step,
                       .call.opts = opts,
                       .call.err = err,
                       .arg = &g,
                       .arg_size = sizeof(g),
                       .release = gather_release};
    ks_status st;

    st = ks_op_reach(&op, uri);
    if (!ks_ok(st))
        return st;
    g.uri = ks_uri_ref(uri);
    st = ks_op_run(&op);
    for (size_t i = 0; ks_ok(st) && i < g.count; i++) {
        g.list[i]->at.token = token;
        g.list[i]->at.epoch = op.call.epoch;
        if (!visit(arg, g.list[i]))
            break;
    }
    gather_release(&g);
    return st;
}

ks_status ks_token_objects(struct ks_token *token, const struct ks_call_options *opts,
                           const struct ks_uri *uri,
                           bool (*visit)(void *arg, const struct ks_object *object), void *arg,
                           struct ks_error *err)
{
    return token->kind->objects(token, opts, uri, visit, arg, err);
}
