/* SPDX-License-Identifier: Apache-2.0
 *
 * generate.c - key pairs made on the token, and destroyed there. Never run twice: a lost answer
 * may have left a key behind. What fails half-way is cleaned up, but nothing that may be somebody
 * else's: other processes make keys, too, and of any name. Certain are the handles that the token
 * gave for the pair, as long as they are good, and a random id that we made up.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "../observe/log.h"
#include "../op/op.h"
#include "../token/answer.h"
#include "../token/key_types.h"
#include "../token/mech.h"
#include "single.h"

#define ID_DEFAULT_LEN 16

struct keygen {
    const struct ks_generate_spec *spec;
    CK_ATTRIBUTE label, id;
    bool random_id; /* nobody else has it */
    struct ks_object *object;
    CK_OBJECT_HANDLE handle, public_handle;
    enum { NOTHING, PERHAPS, PAIR } left; /* what there may be on the token */
};

static const CK_OBJECT_CLASS both_halves[] = {CKO_PRIVATE_KEY, CKO_PUBLIC_KEY};

/* --- does it exist already ------------------------------------------------------------------- */

static ks_status exists_step(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                             CK_OBJECT_HANDLE key)
{
    const struct keygen *g = op->arg;
    char text[128];

    (void)key;
    for (int half = 0; half < 2; half++) {
        for (int by_id = 0; by_id < 2; by_id++) {
            CK_OBJECT_CLASS klass = both_halves[half];
            CK_ATTRIBUTE template[2] = {{CKA_CLASS, &klass, sizeof(klass)},
                                        by_id ? g->id : g->label};
            CK_OBJECT_HANDLE found;
            CK_ULONG count;
            ks_status st = ks_object_search(&op->call, fn, session, template, 2, &found, 1, &count);

            if (!ks_ok(st))
                return st;
            if (count > 0)
                return ks_fail_token(
                    op->call.err, op->call.token, KS_KEY_EXISTS,
                    "a %s key with the same %s exists already ('%s'); choose another",
                    half == 0 ? "private" : "public", by_id ? "id" : "label",
                    ks_escape(text, sizeof(text), g->label.pValue, g->label.ulValueLen));
        }
    }
    return KS_SUCCESS;
}

/* --- clean-up -------------------------------------------------------------------------------- */

/* Both halves that carry this id, which is random: a token may have left out the label. */
static ks_status cleanup_step(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                              CK_OBJECT_HANDLE key)
{
    const struct keygen *g = op->arg;
    ks_status st = KS_SUCCESS, one;

    (void)key;
    for (int half = 0; half < 2; half++) {
        CK_OBJECT_CLASS klass = both_halves[half];
        CK_ATTRIBUTE template[2] = {{CKA_CLASS, &klass, sizeof(klass)}, g->id};
        CK_OBJECT_HANDLE found[4];
        CK_ULONG count = 0;

        one = ks_object_search(&op->call, fn, session, template, 2, found, 4, &count);
        if (!ks_ok(one))
            return one;
        for (CK_ULONG i = 0; i < count; i++) {
            one = ks_call_rv(&op->call, KS_C_DestroyObject, fn->C_DestroyObject(session, found[i]));
            if (!ks_ok(one))
                st = one;
        }
    }
    return st;
}

/* The pair that the token has just made and that is not kept: by its handles, in the session that
 * they came from. The failure is what `op` goes on to tell. */
static void destroy_made(struct ks_op *op, struct keygen *g, CK_FUNCTION_LIST *fn,
                         CK_SESSION_HANDLE session)
{
    bool gone = fn->C_DestroyObject(session, g->handle) == CKR_OK;

    if (g->public_handle != CK_INVALID_HANDLE && g->public_handle != g->handle)
        gone = fn->C_DestroyObject(session, g->public_handle) == CKR_OK && gone;
    else
        gone = false;
    g->left = gone ? NOTHING : PERHAPS;
    op->call.close_session = true;
}

/* After a generation that failed and may have left something behind: in a session of its own, for
 * the failure may have been the session's. */
static ks_status clean_up(struct ks_token *token, struct keygen *g,
                          const struct ks_call_options *opts, ks_status failed,
                          struct ks_error *err)
{
    struct ks_error why = {.code = KS_OK}, first;
    struct ks_op op = {.call.token = token,
                       .step = cleanup_step,
                       .arg = g,
                       .call.opts = opts,
                       .call.err = &why,
                       .inline_only = true,
                       .read_write = true};
    char label[128];

    if (g->left == NOTHING || (g->random_id && ks_ok(ks_op_run(&op))) || err == NULL)
        return failed;
    first = *err;
    snprintf(err->text, sizeof(err->text),
             "%.400s; what it may have left behind %s (%.200s): look for '%s'", first.text,
             g->random_id ? "could not be removed" : "was not removed",
             g->random_id ? why.text : "its id was given, and another key may have it by now",
             ks_escape(label, sizeof(label), g->label.pValue, g->label.ulValueLen));
    return failed;
}

/* --- generation ------------------------------------------------------------------------------ */

/* Is what the token made what was asked for? Some modules drop attributes and say OK. */
static ks_status check_made(struct ks_op *op, const struct keygen *g)
{
    const struct ks_generate_spec *spec = g->spec;
    const struct ks_object *o = g->object;
    const char *wrong = NULL;

    if (o->type != spec->type)
        wrong = "is of another type";
    else if (o->label_len != g->label.ulValueLen ||
             memcmp(o->label, g->label.pValue, o->label_len) != 0)
        wrong = "has another label (CKA_LABEL)";
    else if (o->id.len != g->id.ulValueLen || memcmp(o->id.data, g->id.pValue, o->id.len) != 0)
        wrong = "has another id (CKA_ID)";
    else if (spec->sign && !o->can_sign)
        wrong = "cannot sign (CKA_SIGN is false)";
    else if (spec->decrypt && !o->can_decrypt)
        wrong = "cannot decrypt (CKA_DECRYPT is false)";
    else if (spec->derive && !o->can_derive)
        wrong = "cannot derive (CKA_DERIVE is false)";
    else if (!o->sensitive)
        wrong = "is readable (CKA_SENSITIVE is false)";
    else if (o->extractable && !spec->extractable)
        wrong = "can be extracted (CKA_EXTRACTABLE is true)";
    if (wrong == NULL)
        return KS_SUCCESS;
    return ks_fail_token(op->call.err, op->call.token, KS_TOKEN,
                         "C_GenerateKeyPair: the new key %s, though asked for otherwise; it was "
                         "destroyed again",
                         wrong);
}

static void add(CK_ATTRIBUTE *template, CK_ULONG *n, CK_ATTRIBUTE_TYPE type, const void *value,
                size_t len)
{
    template[(*n)++] = (CK_ATTRIBUTE){type, (void *)value, len};
}

static CK_RV generate_pair(struct keygen *g, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                           const uint8_t *ec_params, size_t ec_params_len)
{
    static const CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    static const uint8_t f4[] = {1, 0, 1};
    const struct ks_generate_spec *spec = g->spec;
    const struct ks_key_type_row *row = ks_key_type_row(spec->type);
    CK_MECHANISM mechanism = {ks_mech_type(row->keygen, KS_DIGEST_NONE), NULL, 0};
    CK_ATTRIBUTE pub[8], priv[10];
    CK_ULONG np = 0, ns = 0, bits = spec->rsa_bits;

    /* Nothing more than needed, and for EC nothing of ENCRYPT, WRAP or RECOVER: tokens fail, or
     * make unusable keys, for attributes in the wrong half. */
    add(pub, &np, CKA_TOKEN, &yes, sizeof(yes));
    pub[np++] = g->label;
    pub[np++] = g->id;
    add(pub, &np, CKA_VERIFY, spec->sign ? &yes : &no, sizeof(yes));
    if (row->decrypts)
        add(pub, &np, CKA_ENCRYPT, spec->decrypt ? &yes : &no, sizeof(yes));
    if (row->sized_in_bits) {
        add(pub, &np, CKA_MODULUS_BITS, &bits, sizeof(bits));
        if (spec->rsa_exponent_len > 0)
            add(pub, &np, CKA_PUBLIC_EXPONENT, spec->rsa_exponent, spec->rsa_exponent_len);
        else
            add(pub, &np, CKA_PUBLIC_EXPONENT, f4, sizeof(f4));
    } else {
        add(pub, &np, CKA_EC_PARAMS, ec_params, ec_params_len);
    }
    add(priv, &ns, CKA_TOKEN, &yes, sizeof(yes));
    add(priv, &ns, CKA_PRIVATE, &yes, sizeof(yes));
    add(priv, &ns, CKA_SENSITIVE, &yes, sizeof(yes));
    add(priv, &ns, CKA_EXTRACTABLE, spec->extractable ? &yes : &no, sizeof(yes));
    priv[ns++] = g->label;
    priv[ns++] = g->id;
    add(priv, &ns, CKA_SIGN, spec->sign ? &yes : &no, sizeof(yes));
    if (row->decrypts)
        add(priv, &ns, CKA_DECRYPT, spec->decrypt ? &yes : &no, sizeof(yes));
    if (row->derives)
        add(priv, &ns, CKA_DERIVE, spec->derive ? &yes : &no, sizeof(yes));
    return fn->C_GenerateKeyPair(session, &mechanism, pub, np, priv, ns, &g->public_handle,
                                 &g->handle);
}

static bool one_of(CK_RV rv, const CK_RV *codes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (codes[i] == rv)
            return true;
    return false;
}

/* The codes by which tokens say that they do not know the curve. */
static bool curve_refused(CK_RV rv)
{
    static const CK_RV codes[] = {
        CKR_CURVE_NOT_SUPPORTED_,  CKR_DOMAIN_PARAMS_INVALID, CKR_ATTRIBUTE_VALUE_INVALID,
        CKR_TEMPLATE_INCONSISTENT, CKR_ARGUMENTS_BAD,         CKR_MECHANISM_PARAM_INVALID,
    };

    return one_of(rv, codes, sizeof(codes) / sizeof(codes[0]));
}

/* The codes that speak of what was asked for, or of who asks: nothing was made then. All others
 * may come after the token has done its work. */
static bool nothing_made(CK_RV rv)
{
    static const CK_RV codes[] = {
        CKR_MECHANISM_INVALID,   CKR_TEMPLATE_INCOMPLETE,      CKR_ATTRIBUTE_TYPE_INVALID,
        CKR_ATTRIBUTE_READ_ONLY, CKR_KEY_SIZE_RANGE,           CKR_FUNCTION_NOT_SUPPORTED,
        CKR_USER_NOT_LOGGED_IN,  CKR_SESSION_READ_ONLY,        CKR_TOKEN_WRITE_PROTECTED,
        CKR_PIN_EXPIRED,         CKR_CRYPTOKI_NOT_INITIALIZED,
    };

    return curve_refused(rv) || one_of(rv, codes, sizeof(codes) / sizeof(codes[0]));
}

/* What the token says of the new pair: the private half, and what that does not show from the
 * public one, which is certain to be its own. */
static ks_status read_made(struct ks_op *op, struct keygen *g, CK_FUNCTION_LIST *fn,
                           CK_SESSION_HANDLE session)
{
    const bool have_public = g->public_handle != CK_INVALID_HANDLE;
    struct ks_object *pub = NULL;
    ks_status st;

    st = ks_object_read(&op->call, fn, session, g->handle, KS_CLASS_PRIVATE, !have_public,
                        &g->object);
    if (ks_ok(st) && have_public)
        st = ks_object_read(&op->call, fn, session, g->public_handle, KS_CLASS_PUBLIC, false, &pub);
    if (ks_ok(st) && pub != NULL)
        ks_object_borrow(g->object, pub);
    ks_object_free(pub);
    return st;
}

static ks_status generate_step(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                               CK_OBJECT_HANDLE key)
{
    struct keygen *g = op->arg;
    ks_status st;
    CK_RV rv;

    (void)key;
    rv = generate_pair(g, fn, session, g->spec->ec_params, g->spec->ec_params_len);
    if (curve_refused(rv) && g->spec->ec_params_else != NULL)
        rv = generate_pair(g, fn, session, g->spec->ec_params_else, g->spec->ec_params_else_len);
    g->left = rv == CKR_OK ? PAIR : nothing_made(rv) ? NOTHING : PERHAPS;
    st = ks_call_rv(&op->call, KS_C_GenerateKeyPair, rv);
    ks_mech_blame(op->call.err, st, ks_key_type_row(g->spec->type)->keygen);
    if (ks_ok(st)) {
        st = ks_answer_handle(op->call.token, KS_C_GenerateKeyPair, g->handle, op->call.err);
        if (!ks_ok(st))
            g->left = PERHAPS; /* there is no handle to destroy it by */
    }
    if (ks_ok(st))
        st = read_made(op, g, fn, session);
    if (ks_ok(st))
        st = check_made(op, g);
    if (!ks_ok(st) && g->left == PAIR)
        destroy_made(op, g, fn, session);
    return st;
}

static void audit_generation(const struct keygen *g, const struct ks_token *token, ks_status st)
{
    struct ks_object o = {.klass = KS_CLASS_PRIVATE,
                          .label = g->label.pValue,
                          .label_len = g->label.ulValueLen,
                          .id = {g->id.pValue, g->id.ulValueLen}};
    char uri[512];

    if (!ks_ok(ks_object_uri(&o, NULL, KS_URI_DETAIL_REFERENCE, uri, sizeof(uri), NULL)))
        uri[0] = '\0';
    ks_log_audit_line(token->name, KS_OP_GENERATE, uri, ks_ok(st) ? "done" : "failed",
                      ks_ok(st) ? NULL : ks_code_text(st.code));
}

ks_status ks_single_generate(struct ks_token *token, const struct ks_call_options *opts,
                             const struct ks_generate_spec *spec, struct ks_key **out,
                             struct ks_error *err)
{
    uint8_t random_id[ID_DEFAULT_LEN];
    struct keygen g = {.spec = spec};
    struct ks_op look = {.call.token = token,
                         .class = KS_OP_FIND,
                         .step = exists_step,
                         .arg = &g,
                         .call.opts = opts,
                         .call.err = err,
                         .inline_only = true};
    struct ks_op make = {.call.token = token,
                         .class = KS_OP_GENERATE,
                         .step = generate_step,
                         .arg = &g,
                         .call.opts = opts,
                         .call.err = err,
                         .once = true,
                         .inline_only = true,
                         .read_write = true};
    ks_status st;

    if (spec->label == NULL || spec->label[0] == '\0')
        return ks_fail(err, KS_CONFIG, "a new key needs a label");
    if (ks_key_type_row(spec->type) == NULL)
        return ks_fail(err, KS_MECHANISM, "keys of this type cannot be generated");
    g.label = (CK_ATTRIBUTE){CKA_LABEL, (void *)spec->label, strlen(spec->label)};
    g.id = (CK_ATTRIBUTE){CKA_ID, (void *)spec->id, spec->id_len};
    if (spec->id == NULL || spec->id_len == 0) {
        /* unique, not secret */
        if (getrandom(random_id, sizeof(random_id), 0) != (ssize_t)sizeof(random_id))
            return ks_fail(err, KS_INTERNAL, "getrandom failed");
        g.id = (CK_ATTRIBUTE){CKA_ID, random_id, sizeof(random_id)};
        g.random_id = true;
    }
    st = ks_op_run(&look);
    if (ks_ok(st)) {
        st = ks_op_run(&make);
        if (!ks_ok(st))
            st = clean_up(token, &g, opts, st, err);
    }
    if (ks_ok(st))
        st = ks_key_make(token, g.object, g.handle, make.call.epoch, out, err);
    if (ks_ok(st)) {
        (*out)->public_handle = g.public_handle;
        (*out)->id_is_ours = g.random_id;
    }
    audit_generation(&g, token, st);
    if (!ks_ok(st))
        ks_object_free(g.object);
    return st;
}

/* --- destruction ----------------------------------------------------------------------------- */

/* The key's public object among those with its id and label: what was generated with it, or has its
 * public half. `*others`: there are some that may be it or not. */
static ks_status find_public(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                             CK_OBJECT_HANDLE *out, bool *others)
{
    const struct ks_object *o = op->key->object;
    const struct ks_bytes *want = ks_key_public_part(o), *have;
    CK_OBJECT_CLASS klass = CKO_PUBLIC_KEY;
    CK_ATTRIBUTE template[3] = {{CKA_CLASS, &klass, sizeof(klass)}};
    CK_OBJECT_HANDLE found[8];
    CK_ULONG n = 1, count = 0;
    ks_status st;

    if (o->id.len > 0)
        template[n++] = (CK_ATTRIBUTE){CKA_ID, o->id.data, o->id.len};
    if (o->label_len > 0)
        template[n++] = (CK_ATTRIBUTE){CKA_LABEL, o->label, o->label_len};
    if (n == 1)
        return KS_SUCCESS;
    st = ks_object_search(&op->call, fn, session, template, n, found, 8, &count);
    for (CK_ULONG i = 0; ks_ok(st) && i < count; i++) {
        struct ks_object *pub = NULL;

        st = ks_object_read(&op->call, fn, session, found[i], KS_CLASS_PUBLIC, false, &pub);
        if (!ks_ok(st))
            break;
        have = ks_key_public_part(pub);
        if (op->key->id_is_ours ||
            (pub->type == o->type && want->len > 0 && have->len == want->len &&
             memcmp(have->data, want->data, want->len) == 0))
            *out = found[i];
        else if (want->len == 0 || have->len == 0)
            *others = true;
        ks_object_free(pub);
    }
    return st;
}

/* The object that the key was made of; or one that was found again, and then it may be another key
 * of the same name, unless something says that it is ours. */
static ks_status destroy_step(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                              CK_OBJECT_HANDLE handle)
{
    struct ks_key *key = op->key;
    CK_OBJECT_HANDLE pub = CK_INVALID_HANDLE;
    char name[256];
    bool others = false, same;
    ks_status st = KS_SUCCESS;

    pthread_mutex_lock(&key->token->pool.lock);
    same = key->finding == key->first_finding && key->handle == handle;
    pthread_mutex_unlock(&key->token->pool.lock);
    if (same && key->public_handle != CK_INVALID_HANDLE)
        pub = key->public_handle;
    else
        st = find_public(op, fn, session, &pub, &others);
    if (ks_ok(st) && !same && !key->id_is_ours && pub == CK_INVALID_HANDLE &&
        (key->object->borrowed || ks_key_public_part(key->object)->len == 0))
        st = ks_fail_token(op->call.err, op->call.token, KS_KEY_MISMATCH,
                           "key %s was found anew, and may be another one of that name: it was "
                           "not destroyed, remove it by hand",
                           ks_object_name(key->object, name, sizeof(name)));
    if (ks_ok(st))
        st = ks_call_rv(&op->call, KS_C_DestroyObject, fn->C_DestroyObject(session, handle));
    if (ks_ok(st) && pub != CK_INVALID_HANDLE)
        st = ks_call_rv(&op->call, KS_C_DestroyObject, fn->C_DestroyObject(session, pub));
    else if (ks_ok(st) && others)
        st = ks_fail_token(op->call.err, op->call.token, KS_KEY_MISMATCH,
                           "key %s was destroyed, but nothing tells whether a public key object "
                           "of its name is its own: remove that by hand",
                           ks_object_name(key->object, name, sizeof(name)));
    return st;
}

ks_status ks_single_destroy(struct ks_key *key, const struct ks_call_options *opts,
                            struct ks_error *err)
{
    struct ks_expect *e = &key->expect;
    struct ks_op op = {.call.token = key->token,
                       .key = key,
                       .step = destroy_step,
                       .call.opts = opts,
                       .call.err = err,
                       .once = true,
                       .inline_only = true,
                       .read_write = true};

    /* who set them may be gone */
    e->verify = NULL;
    e->challenge = NULL;
    return ks_op_run(&op);
}

ks_status ks_generate(struct ks_token *token, const struct ks_call_options *opts,
                      const struct ks_generate_spec *spec, struct ks_key **out,
                      struct ks_error *err)
{
    return token->kind->generate(token, opts, spec, out, err);
}

ks_status ks_key_destroy(struct ks_key *key, const struct ks_call_options *opts,
                         struct ks_error *err)
{
    return key->token->kind->destroy(key, opts, err);
}
