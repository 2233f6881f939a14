/* SPDX-License-Identifier: Apache-2.0
 *
 * ks_generate.c - key pairs made on the token, and destroyed there. Never run twice: a lost answer
 * may have left a key behind. What fails half-way is cleaned up by its id.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "ks_answer.h"

#define ID_DEFAULT_LEN 16

/* p11-kit's header lacks it (PKCS#11 2.40). */
#define CKR_CURVE_NOT_SUPPORTED_ 0x00000140UL

struct generation {
    const struct ks_generate_spec *spec;
    CK_ATTRIBUTE label, id;
    struct ks_object *object;
    CK_OBJECT_HANDLE handle;
    bool called; /* C_GenerateKeyPair was */
};

static const CK_OBJECT_CLASS both_halves[] = {CKO_PRIVATE_KEY, CKO_PUBLIC_KEY};

/* --- does it exist already ------------------------------------------------------------------- */

static ks_status exists_step(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                             CK_OBJECT_HANDLE key)
{
    const struct generation *g = op->arg;
    char text[128];

    (void)key;
    for (int half = 0; half < 2; half++) {
        for (int by_id = 0; by_id < 2; by_id++) {
            CK_OBJECT_CLASS klass = both_halves[half];
            CK_ATTRIBUTE template[2] = {{CKA_CLASS, &klass, sizeof(klass)},
                                        by_id ? g->id : g->label};
            CK_OBJECT_HANDLE found;
            CK_ULONG count;
            ks_status st = ks_object_search(op, fn, session, template, 2, &found, 1, &count);

            if (!ks_ok(st))
                return st;
            if (count > 0)
                return ks_fail_token(
                    op->err, op->token, KS_KEY_EXISTS,
                    "a %s key with the same %s exists already ('%s'); choose another",
                    half == 0 ? "private" : "public", by_id ? "id" : "label",
                    ks_escape(text, sizeof(text), g->label.pValue, g->label.ulValueLen));
        }
    }
    return KS_SUCCESS;
}

/* --- clean-up -------------------------------------------------------------------------------- */

/* Destroy both halves that carry this id and label. */
static ks_status destroy_pair(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                              const CK_ATTRIBUTE *label, const CK_ATTRIBUTE *id)
{
    ks_status st = KS_SUCCESS, one;

    for (int half = 0; half < 2; half++) {
        CK_OBJECT_CLASS klass = both_halves[half];
        CK_ATTRIBUTE template[3] = {{CKA_CLASS, &klass, sizeof(klass)}};
        CK_OBJECT_HANDLE found[4];
        CK_ULONG n = 1, count = 0;

        if (id->ulValueLen > 0)
            template[n++] = *id;
        if (label->ulValueLen > 0)
            template[n++] = *label;
        if (n == 1)
            continue;
        one = ks_object_search(op, fn, session, template, n, found, 4, &count);
        if (!ks_ok(one))
            return one;
        for (CK_ULONG i = 0; i < count; i++) {
            one = ks_op_rv(op, "C_DestroyObject", fn->C_DestroyObject(session, found[i]));
            if (!ks_ok(one))
                st = one;
        }
    }
    return st;
}

static ks_status cleanup_step(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                              CK_OBJECT_HANDLE key)
{
    const struct generation *g = op->arg;

    (void)key;
    return destroy_pair(op, fn, session, &g->label, &g->id);
}

/* After a generation that failed: in a session of its own, for the failure may have been the
 * session's. Destroying by an id that nobody had before is safe to repeat. */
static ks_status clean_up(struct ks_token *token, struct generation *g, const struct ks_how *how,
                          ks_status failed, struct ks_error *err)
{
    struct ks_error why, first;
    struct ks_op op = {.token = token,
                       .step = cleanup_step,
                       .arg = g,
                       .how = how,
                       .err = &why,
                       .inline_only = true,
                       .read_write = true};
    char label[128];

    if (!g->called || ks_ok(ks_op_run(&op)) || err == NULL)
        return failed;
    first = *err;
    snprintf(err->text, sizeof(err->text),
             "%.400s; what it may have left behind could not be removed (%.200s): look for '%s'",
             first.text, why.text,
             ks_escape(label, sizeof(label), g->label.pValue, g->label.ulValueLen));
    return failed;
}

/* --- generation ------------------------------------------------------------------------------ */

/* Is what the token made what was asked for? Some modules drop attributes and say OK. */
static ks_status check_made(struct ks_op *op, const struct generation *g)
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
    return ks_fail_token(op->err, op->token, KS_TOKEN,
                         "C_GenerateKeyPair: the new key %s, though asked for otherwise; it was "
                         "destroyed again",
                         wrong);
}

static void add(CK_ATTRIBUTE *template, CK_ULONG *n, CK_ATTRIBUTE_TYPE type, const void *value,
                size_t len)
{
    template[(*n)++] = (CK_ATTRIBUTE){type, (void *)value, len};
}

static enum ks_mech_kind kind_for(enum ks_key_type type)
{
    return type == KS_KEY_RSA       ? KS_MECH_RSA_KEYGEN
           : type == KS_KEY_EDWARDS ? KS_MECH_EDWARDS_KEYGEN
                                    : KS_MECH_EC_KEYGEN;
}

static CK_RV generate_pair(struct generation *g, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                           const uint8_t *ec_params, size_t ec_params_len)
{
    static const CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    static const uint8_t f4[] = {1, 0, 1};
    const struct ks_generate_spec *spec = g->spec;
    bool rsa = spec->type == KS_KEY_RSA;
    CK_MECHANISM mechanism = {ks_mech_type(kind_for(spec->type), KS_DIGEST_NONE), NULL, 0};
    CK_OBJECT_HANDLE public_handle = CK_INVALID_HANDLE;
    CK_ATTRIBUTE pub[8], priv[10];
    CK_ULONG np = 0, ns = 0, bits = spec->rsa_bits;

    /* Nothing more than needed, and for EC nothing of ENCRYPT, WRAP or RECOVER: tokens fail, or
     * make unusable keys, for attributes in the wrong half. */
    add(pub, &np, CKA_TOKEN, &yes, sizeof(yes));
    pub[np++] = g->label;
    pub[np++] = g->id;
    add(pub, &np, CKA_VERIFY, spec->sign ? &yes : &no, sizeof(yes));
    if (rsa) {
        add(pub, &np, CKA_ENCRYPT, spec->decrypt ? &yes : &no, sizeof(yes));
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
    if (rsa)
        add(priv, &ns, CKA_DECRYPT, spec->decrypt ? &yes : &no, sizeof(yes));
    else if (spec->type == KS_KEY_EC)
        add(priv, &ns, CKA_DERIVE, spec->derive ? &yes : &no, sizeof(yes));
    return fn->C_GenerateKeyPair(session, &mechanism, pub, np, priv, ns, &public_handle,
                                 &g->handle);
}

/* The codes by which tokens say that they do not know the curve. Nothing was made then. */
static bool curve_refused(CK_RV rv)
{
    static const CK_RV codes[] = {
        CKR_CURVE_NOT_SUPPORTED_,  CKR_DOMAIN_PARAMS_INVALID, CKR_ATTRIBUTE_VALUE_INVALID,
        CKR_TEMPLATE_INCONSISTENT, CKR_ARGUMENTS_BAD,         CKR_MECHANISM_PARAM_INVALID,
    };

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (codes[i] == rv)
            return true;
    return false;
}

static ks_status generate_step(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                               CK_OBJECT_HANDLE key)
{
    struct generation *g = op->arg;
    ks_status st;
    CK_RV rv;

    (void)key;
    g->called = true;
    rv = generate_pair(g, fn, session, g->spec->ec_params, g->spec->ec_params_len);
    if (curve_refused(rv) && g->spec->ec_params_else != NULL)
        rv = generate_pair(g, fn, session, g->spec->ec_params_else, g->spec->ec_params_else_len);
    st = ks_op_rv(op, "C_GenerateKeyPair", rv);
    ks_mech_blame(op->err, st, kind_for(g->spec->type));
    if (ks_ok(st))
        st = ks_answer_handle(op->token, "C_GenerateKeyPair", g->handle, op->err);
    if (ks_ok(st))
        st = ks_object_read(op, fn, session, g->handle, KS_CLASS_PRIVATE, true, &g->object);
    if (ks_ok(st))
        st = check_made(op, g);
    return st;
}

static void audit_generation(const struct generation *g, const struct ks_token *token, ks_status st)
{
    struct ks_object o = {.klass = KS_CLASS_PRIVATE,
                          .label = g->label.pValue,
                          .label_len = g->label.ulValueLen,
                          .id = {g->id.pValue, g->id.ulValueLen}};
    char uri[512];

    if (!ks_ok(ks_object_uri(&o, NULL, KS_URI_DETAIL_REFERENCE, uri, sizeof(uri), NULL)))
        uri[0] = '\0';
    ks_log_audit_line(token, KS_OP_GENERATE, uri, ks_ok(st) ? "done" : "failed",
                      ks_ok(st) ? NULL : ks_code_text(st.code));
}

ks_status ks_generate(struct ks_token *token, const struct ks_how *how,
                      const struct ks_generate_spec *spec, struct ks_key **out,
                      struct ks_error *err)
{
    uint8_t random_id[ID_DEFAULT_LEN];
    struct generation g = {.spec = spec};
    struct ks_op look = {.token = token,
                         .class = KS_OP_FIND,
                         .step = exists_step,
                         .arg = &g,
                         .how = how,
                         .err = err,
                         .inline_only = true};
    struct ks_op make = {.token = token,
                         .class = KS_OP_GENERATE,
                         .step = generate_step,
                         .arg = &g,
                         .how = how,
                         .err = err,
                         .once = true,
                         .inline_only = true,
                         .read_write = true};
    ks_status st;

    if (token->members != NULL)
        return ks_fail(
            err, KS_CONFIG,
            "%s stands for several tokens: generate the key on one of them (hsmkey "
            "generate --token NAME), and bring it to a cluster's others with the HSM's own tools",
            token->name);
    if (spec->label == NULL || spec->label[0] == '\0')
        return ks_fail(err, KS_CONFIG, "a new key needs a label");
    if (spec->type == KS_KEY_OTHER)
        return ks_fail(err, KS_MECHANISM, "keys of this type cannot be generated");
    g.label = (CK_ATTRIBUTE){CKA_LABEL, (void *)spec->label, strlen(spec->label)};
    g.id = (CK_ATTRIBUTE){CKA_ID, (void *)spec->id, spec->id_len};
    if (spec->id == NULL || spec->id_len == 0) {
        /* unique, not secret */
        if (getrandom(random_id, sizeof(random_id), 0) != (ssize_t)sizeof(random_id))
            return ks_fail(err, KS_INTERNAL, "getrandom failed");
        g.id = (CK_ATTRIBUTE){CKA_ID, random_id, sizeof(random_id)};
    }
    st = ks_op_run(&look);
    if (ks_ok(st)) {
        st = ks_op_run(&make);
        if (!ks_ok(st))
            st = clean_up(token, &g, how, st, err);
    }
    if (ks_ok(st))
        st = ks_key_make(token, g.object, g.handle, make.epoch, out, err);
    audit_generation(&g, token, st);
    if (!ks_ok(st))
        ks_object_free(g.object);
    return st;
}

/* --- destruction ----------------------------------------------------------------------------- */

static ks_status destroy_step(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                              CK_OBJECT_HANDLE handle)
{
    const struct ks_object *o = op->key->object;
    CK_ATTRIBUTE label = {CKA_LABEL, o->label, o->label_len};
    CK_ATTRIBUTE id = {CKA_ID, o->id.data, o->id.len};
    ks_status st = ks_op_rv(op, "C_DestroyObject", fn->C_DestroyObject(session, handle));

    if (ks_ok(st))
        st = destroy_pair(op, fn, session, &label, &id);
    return st;
}

ks_status ks_key_destroy(struct ks_key *key, const struct ks_how *how, struct ks_error *err)
{
    struct ks_op op = {.token = key->token,
                       .key = key,
                       .step = destroy_step,
                       .how = how,
                       .err = err,
                       .once = true,
                       .inline_only = true,
                       .read_write = true};

    return ks_op_run(&op);
}
