/* SPDX-License-Identifier: Apache-2.0
 *
 * find.c - a key by its URI, or from a listing.
 */
#include <string.h>

#include "../op/op.h"
#include "single.h"

struct find {
    struct ks_uri *uri;
    struct ks_object *object;
    CK_OBJECT_HANDLE handle;
    bool known; /* the caller has the public half */
};

static void find_release(void *arg)
{
    struct find *f = arg;

    ks_uri_free(f->uri);
    ks_object_free(f->object);
}

static ks_status find_step(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                           CK_OBJECT_HANDLE key)
{
    struct find *f = op->arg;
    char wanted[512];
    ks_status st;

    (void)key;
    st = ks_key_search(&op->call, fn, session, ks_uri_attribute(f->uri, CKA_LABEL),
                       ks_uri_attribute(f->uri, CKA_ID),
                       ks_escape(wanted, sizeof(wanted), f->uri->text, SIZE_MAX), &f->handle);
    if (!ks_ok(st))
        return st;
    ks_object_free(f->object); /* of an earlier try */
    f->object = NULL;
    return ks_object_read(&op->call, fn, session, f->handle, KS_CLASS_PRIVATE, !f->known,
                          &f->object);
}

ks_status ks_single_find(struct ks_token *token, const struct ks_call_options *opts,
                         const struct ks_uri *uri, bool known, struct ks_key **out,
                         struct ks_error *err)
{
    struct find f = {.known = known};
    struct ks_op op = {.call.token = token,
                       .class = KS_OP_FIND,
                       .step = find_step,
                       .call.opts = opts,
                       .call.err = err,
                       .arg = &f,
                       .arg_size = sizeof(f),
                       .release = find_release};
    ks_status st;

    st = ks_op_reach(&op, uri);
    if (!ks_ok(st))
        return st;
    f.uri = ks_uri_ref(uri);
    st = ks_op_run(&op);
    if (ks_ok(st))
        st = ks_key_make(token, f.object, f.handle, op.call.epoch, out, err);
    if (ks_ok(st))
        f.object = NULL; /* the key's now */
    find_release(&f);
    return st;
}

static ks_status find_key(struct ks_token *token, const struct ks_call_options *opts,
                          const struct ks_uri *uri, bool known, struct ks_key **out,
                          struct ks_error *err)
{
    enum ks_object_class klass = ks_uri_class(uri);

    if (klass != KS_CLASS_ANY && klass != KS_CLASS_PRIVATE)
        return ks_fail(err, KS_URI, "PKCS#11 URI: a private key is wanted, but type= says else");
    if (!ks_uri_names_object(uri))
        return ks_fail(err, KS_URI, "PKCS#11 URI: names no key; add object= or id=");
    return token->kind->find(token, opts, uri, known, out, err);
}

ks_status ks_key_find(struct ks_token *token, const struct ks_call_options *opts,
                      const struct ks_uri *uri, struct ks_key **out, struct ks_error *err)
{
    return find_key(token, opts, uri, false, out, err);
}

ks_status ks_key_find_known(struct ks_token *token, const struct ks_call_options *opts,
                            const struct ks_uri *uri, struct ks_key **out, struct ks_error *err)
{
    return find_key(token, opts, uri, true, out, err);
}

/* --- keys of a listing ----------------------------------------------------------------------- */

ks_status ks_single_key_of(struct ks_token *token, const struct ks_object *object,
                           struct ks_key **out, struct ks_error *err)
{
    struct ks_object *copy;
    ks_status st;

    if (object->at.twin)
        return ks_fail_token(err, token, KS_KEY_AMBIGUOUS,
                             "more than one private key has this label and this id: give one of "
                             "them another");
    if (object->id.len == 0 && object->label_len == 0)
        return ks_fail_token(err, token, KS_URI,
                             "a private key without label and id cannot be named: give it one");
    copy = ks_object_copy(object);
    if (copy == NULL)
        return ks_no_memory(err);
    st = ks_key_make(token, copy, object->at.handle, object->at.epoch, out, err);
    if (!ks_ok(st))
        ks_object_free(copy);
    return st;
}

ks_status ks_key_of_object(struct ks_token *token, const struct ks_object *object,
                           struct ks_key **out, struct ks_error *err)
{
    return token->kind->key_of(token, object, out, err);
}
