/* SPDX-License-Identifier: Apache-2.0
 *
 * decoder.c - from key references in files to keys.
 *
 * Decoders are tried one after the other on the same input. What is not ours is left with 1 and
 * an untouched error queue: the loop in PEM_read_bio_PrivateKey() goes on to the next PEM block
 * only while the first queued error is "unsupported". What is ours and cannot be used is handed
 * on as well, for load() to fail with: only then OpenSSL 3.5 and later keep the errors when the
 * file was opened through OSSL_STORE.
 */
#include <openssl/bio.h>
#include <openssl/core_object.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>

#include "../core/prompt.h"
#include "../key/reference.h"
#include "codec.h"

/* The structure that PEM blocks are handed on with. The DER decoders examine the bytes, and also
 * take a bare reference or a foreign one; a structure of its own would need decoders of its own. */
#define STRUCTURE "PrivateKeyInfo"

/* --- shared ---------------------------------------------------------------------------------- */

/* A decoder has no state, its context is the provider's. libcrypto demands both functions. */
void *prov_decoder_newctx(void *provctx)
{
    return provctx;
}

void prov_decoder_freectx(void *vctx)
{
    (void)vctx;
}

static int decoder_does_selection(void *provctx, int selection)
{
    (void)provctx;
    /* 0: the caller takes what there is */
    return selection == 0 || (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) != 0;
}

/* Asked when libcrypto wants the key in another provider's keymgmt. The private key cannot leave
 * the HSM, and the public half alone would pass for a whole key, so the function gives nothing. It
 * has to exist: OpenSSL 3.0 and later call it without a check. */
static int decoder_export_object(void *vctx, const void *reference, size_t size,
                                 OSSL_CALLBACK *export_cb, void *export_arg)
{
    (void)vctx;
    (void)reference;
    (void)size;
    (void)export_cb;
    (void)export_arg;
    return 0;
}

/* --- DER ------------------------------------------------------------------------------------- */

/* Read what the input holds if it claims to be a reference, up to one byte more than a reference
 * may have. NULL: not ours, or no memory. Only the head of other people's keys is looked at. */
static unsigned char *read_reference(const struct prov_ctx *ctx, OSSL_CORE_BIO *in, size_t *len)
{
    BIO *bio = BIO_new_from_core_bio(ctx->libctx, in);
    unsigned char head[PROV_REF_HEAD];
    unsigned char *der = NULL;
    size_t have = 0, got;

    ERR_set_mark();
    while (bio != NULL && have < sizeof(head) &&
           BIO_read_ex(bio, head + have, sizeof(head) - have, &got))
        have += got;
    if (!prov_ref_claims(head, have))
        goto out;
    der = OPENSSL_malloc(PROV_REF_MAX + 1);
    if (der == NULL)
        goto out;
    memcpy(der, head, have);
    while (have < PROV_REF_MAX + 1 && BIO_read_ex(bio, der + have, PROV_REF_MAX + 1 - have, &got))
        have += got;
    *len = have;
out:
    ERR_pop_to_mark();
    OPENSSL_cleanse(head, sizeof(head));
    BIO_free(bio);
    return der;
}

static int emit(enum prov_key_type type, struct prov_load *load, OSSL_CALLBACK *data_cb,
                void *data_arg)
{
    int object_type = OSSL_OBJECT_PKEY;
    /* libcrypto only reads them */
    char *data_type = (char *)(uintptr_t)prov_types[type].name;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_int(OSSL_OBJECT_PARAM_TYPE, &object_type),
        OSSL_PARAM_construct_utf8_string(OSSL_OBJECT_PARAM_DATA_TYPE, data_type, 0),
        OSSL_PARAM_construct_octet_string(OSSL_OBJECT_PARAM_REFERENCE, &load, sizeof(load)),
        OSSL_PARAM_construct_end(),
    };

    return data_cb(params, data_arg);
}

static bool pin_is_asked_for(const struct prov_ctx *ctx)
{
    return ctx->config.pin != NULL && strcmp(ctx->config.pin, "prompt") == 0;
}

/* Failures that have been raised: load() only fails then. */
static void fail(struct prov_load *load)
{
    load->failed = true;
    load->err.code = KS_OK;
}

/* OSSL_STORE drops what is raised while it loads a key (OpenSSL 3.0 always, later versions not
 * if load() failed), and says "unsupported" instead. decode_pem() is further out: on 3.0, when the
 * provider is loaded after the default one, it gets to raise the error again. */
static _Thread_local struct {
    bool set;
    int reason;
    char text[1024];
} dropped;

static void note_failure(void)
{
    const char *text = NULL;
    int flags = 0;
    unsigned long code = ERR_peek_last_error_data(&text, &flags);

    /* OSSL_STORE tries once more, without the application's passphrase callback, and fails for lack
     * of it: the first failure is the one to report */
    if (dropped.set)
        return;
    dropped.set = code != 0 && ERR_GET_LIB(code) >= ERR_LIB_USER; /* a provider's error */
    dropped.reason = ERR_GET_REASON(code);
    snprintf(dropped.text, sizeof(dropped.text), "%s",
             text != NULL && (flags & ERR_TXT_STRING) != 0 ? text : "");
}

static void raise_dropped(const struct prov_ctx *ctx)
{
    const char *text = NULL;
    int flags = 0;

    /* the error is still in the queue when the application reads PEM itself */
    if (ERR_peek_last_error_data(&text, &flags) != 0 && (flags & ERR_TXT_STRING) != 0 &&
        strcmp(text, dropped.text) == 0)
        return;
    prov_raise(ctx, (enum prov_reason)dropped.reason, "%s", dropped.text);
}

/* A foreign file has only a URI, so the token has to tell the type of the key. Returns false when
 * it is not `type`. */
static bool find_foreign(struct prov_ctx *ctx, const struct prov_ref *ref, enum prov_key_type type,
                         const struct ks_call_options *opts, struct prov_load *load)
{
    struct ks_uri *uri = NULL;
    struct ks_key *key = NULL;
    bool mine = true;

    if (!ks_ok(ks_uri_parse(ref->uri, KS_URI_FOREIGN, &uri, &load->err)) ||
        !ks_ok(ks_key_find(ctx->token, opts, uri, &key, &load->err))) {
        load->failed = true;
        goto out;
    }
    if (ks_key_object(key)->type != prov_types[type].ks_type || prov_types[type].restricted) {
        /* a type that nobody has is reported once, by the first of the decoders */
        mine = type == PROV_RSA && ks_key_object(key)->type == KS_KEY_OTHER;
        if (mine) {
            prov_raise(ctx, PROV_R_UNSUPPORTED,
                       "the key reference is to a key that is neither RSA nor EC nor Ed25519 nor "
                       "Ed448");
            fail(load);
        }
        goto out;
    }
    ERR_set_mark();
    load->key = prov_key_from_ks(ctx, key, NULL);
    /* Several decoders see this key when their types are one type to the token, as Ed25519 and
     * Ed448 are: only the first one reports the failure. */
    mine = load->key != NULL || type == prov_type_first(prov_types[type].ks_type);
    if (mine)
        ERR_clear_last_mark();
    else
        ERR_pop_to_mark();
    if (load->key == NULL) {
        fail(load);
        goto out;
    }
    key = NULL;
    mine = load->key->type == type;
    if (!mine) {
        prov_key_free(load->key);
        load->key = NULL;
    }
out:
    ks_key_free(key);
    ks_uri_free(uri);
    return mine;
}

/* Prepares what load() will be given. Returns false when another decoder has to do it. */
static bool prepare(struct prov_ctx *ctx, struct prov_ref *ref, enum prov_key_type type,
                    struct prov_prompt *prompt, struct prov_load *load)
{
    if (ref->skipped || (ref->has_public && ref->type != type)) {
        prov_ref_free(ref);
        return false;
    }
    if (!prov_usable(ctx)) {
        fail(load);
    } else if (pin_is_asked_for(ctx) &&
               !ks_ok(ks_token_connect(ctx->token, &prompt->opts, &load->err))) {
        /* here and not in load(), which does not get the application's callback */
        load->failed = true;
    } else if (ref->has_public) {
        load->ref = ref;
        return true;
    } else {
        bool mine = find_foreign(ctx, ref, type, &prompt->opts, load);

        prov_ref_free(ref);
        return mine;
    }
    prov_ref_free(ref);
    return true;
}

static int decode(void *vctx, enum prov_key_type type, OSSL_CORE_BIO *in, int selection,
                  OSSL_CALLBACK *data_cb, void *data_arg, OSSL_PASSPHRASE_CALLBACK *pw_cb,
                  void *pw_arg)
{
    struct prov_ctx *ctx = vctx;
    struct prov_load load = {.ctx = ctx};
    struct prov_prompt prompt;
    struct prov_ref *ref;
    unsigned char *der;
    size_t len = 0;
    bool is_ours, mine = true;
    int ok = 1;

    if (!decoder_does_selection(ctx, selection))
        return 1;
    der = read_reference(ctx, in, &len);
    if (der == NULL)
        return 1;
    prov_prompt_init(&prompt, pw_cb, pw_arg);
    ref = prov_ref_from_der_of(ctx, der, len, type, &is_ours);
    OPENSSL_free(der);
    if (ref == NULL)
        fail(&load);
    else
        mine = prepare(ctx, ref, type, &prompt, &load);
    if (mine)
        ok = emit(type, &load, data_cb, data_arg);
    if (!ok)
        note_failure();
    prov_ref_free(load.ref);
    prov_key_free(load.key);
    return ok;
}

/* --- PEM ------------------------------------------------------------------------------------- */

/* The labels that references come under. libcrypto's own PEM decoder knows the first one too; it
 * would do as well, but for the errors that OSSL_STORE drops. */
static const struct pem_row {
    const char *label;
    bool only_references;
} pem_rows[] = {
    {PEM_STRING_PKCS8INF, false},
    {"HSM KEY REFERENCE", true},
    {"PKCS#11 PROVIDER URI", true},
};

/* One PEM block, or nothing. It may be anybody's key: to be wiped. */
static bool read_pem(const struct prov_ctx *ctx, OSSL_CORE_BIO *in, char **label, char **header,
                     unsigned char **der, long *len)
{
    BIO *bio = BIO_new_from_core_bio(ctx->libctx, in);
    bool ok;

    ERR_set_mark();
    ok = bio != NULL && PEM_read_bio(bio, label, header, der, len) > 0;
    ERR_pop_to_mark();
    BIO_free(bio);
    return ok;
}

static int emit_der(const struct prov_ctx *ctx, unsigned char *der, size_t len,
                    OSSL_CALLBACK *data_cb, void *data_arg)
{
    int object_type = OSSL_OBJECT_PKEY;
    char structure[] = STRUCTURE;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_int(OSSL_OBJECT_PARAM_TYPE, &object_type),
        OSSL_PARAM_construct_utf8_string(OSSL_OBJECT_PARAM_DATA_STRUCTURE, structure, 0),
        OSSL_PARAM_construct_octet_string(OSSL_OBJECT_PARAM_DATA, der, len),
        OSSL_PARAM_construct_end(),
    };
    int ok;

    dropped.set = false;
    ok = data_cb(params, data_arg);
    if (!ok && dropped.set)
        raise_dropped(ctx);
    return ok;
}

static int decode_pem(void *vctx, OSSL_CORE_BIO *in, int selection, OSSL_CALLBACK *data_cb,
                      void *data_arg, OSSL_PASSPHRASE_CALLBACK *pw_cb, void *pw_arg)
{
    struct prov_ctx *ctx = vctx;
    const struct pem_row *row = NULL;
    char *label = NULL, *header = NULL;
    unsigned char *der = NULL;
    long len = 0;
    size_t i;
    int ok = 1;

    (void)pw_cb;
    (void)pw_arg;
    if (!decoder_does_selection(ctx, selection) || !read_pem(ctx, in, &label, &header, &der, &len))
        goto out;
    for (i = 0; i < sizeof(pem_rows) / sizeof(pem_rows[0]) && row == NULL; i++)
        row = strcmp(label, pem_rows[i].label) == 0 ? &pem_rows[i] : NULL;
    if (row == NULL)
        goto out;
    if (header[0] == '\0' && prov_ref_claims(der, (size_t)len)) {
        ok = emit_der(ctx, der, (size_t)len, data_cb, data_arg);
    } else if (row->only_references) {
        prov_raise(ctx, PROV_R_REFERENCE, "the \"%s\" block holds something else, or is damaged",
                   label);
        ok = 0;
    }
out:
    OPENSSL_free(label);
    OPENSSL_free(header);
    OPENSSL_clear_free(der, (size_t)len);
    return ok;
}

/* --- dispatch -------------------------------------------------------------------------------- */

#define KEY_TYPE(ID, id, ...)                                                                      \
    static int decode_##id(void *vctx, OSSL_CORE_BIO *in, int selection, OSSL_CALLBACK *data_cb,   \
                           void *data_arg, OSSL_PASSPHRASE_CALLBACK *pw_cb, void *pw_arg)          \
    {                                                                                              \
        return decode(vctx, PROV_##ID, in, selection, data_cb, data_arg, pw_cb, pw_arg);           \
    }                                                                                              \
    const OSSL_DISPATCH prov_decoder_der_##id[] = {                                                \
        {OSSL_FUNC_DECODER_NEWCTX, (void (*)(void))prov_decoder_newctx},                           \
        {OSSL_FUNC_DECODER_FREECTX, (void (*)(void))prov_decoder_freectx},                         \
        {OSSL_FUNC_DECODER_DOES_SELECTION, (void (*)(void))decoder_does_selection},                \
        {OSSL_FUNC_DECODER_DECODE, (void (*)(void))decode_##id},                                   \
        {OSSL_FUNC_DECODER_EXPORT_OBJECT, (void (*)(void))decoder_export_object},                  \
        {0, NULL},                                                                                 \
    };
#include "../key/types.def"
#undef KEY_TYPE

const OSSL_DISPATCH prov_decoder_pem[] = {
    {OSSL_FUNC_DECODER_NEWCTX, (void (*)(void))prov_decoder_newctx},
    {OSSL_FUNC_DECODER_FREECTX, (void (*)(void))prov_decoder_freectx},
    {OSSL_FUNC_DECODER_DOES_SELECTION, (void (*)(void))decoder_does_selection},
    {OSSL_FUNC_DECODER_DECODE, (void (*)(void))decode_pem},
    {OSSL_FUNC_DECODER_EXPORT_OBJECT, (void (*)(void))decoder_export_object},
    {0, NULL},
};
