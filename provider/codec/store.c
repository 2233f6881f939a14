/* SPDX-License-Identifier: Apache-2.0
 *
 * store.c - OSSL_STORE for "pkcs11:" URIs: private keys, public keys and certificates of the
 * token that the provider is configured for.
 *
 * open() checks the URI only. The first load() asks the token once and remembers what there is;
 * every load() then hands out one thing. What cannot be used (a curve that we do not know, a
 * damaged certificate) is left out and logged: programs stop at the first load() that gives
 * nothing, so it must not hide what comes behind it. Private keys come first: programs take the
 * first key that they get. Which one that is must not depend on the order of a search: where a URI
 * names an object, or asks for type=private, and two private keys match it, that is an error, which
 * names both. Only a URI that names a whole token lists all keys.
 */
#include <openssl/core_object.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/store.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/fetch_cache.h"
#include "../core/prompt.h"
#include "../key/public.h"
#include "codec.h"

/* One thing to hand out. */
struct entry {
    enum ks_object_class klass;
    size_t place;         /* in which it was found */
    struct ks_key *priv;  /* a private key of a listing, until it is handed out */
    struct prov_key *key; /* public keys, and private keys that are ready */
    unsigned char *der;   /* certificates, with their CKA_ID */
    size_t der_len;
    unsigned char *id;
    size_t id_len;
    bool only_helps; /* a certificate that nobody asked for: a key may need it */
};

struct store_ctx {
    struct prov_ctx *ctx;
    struct ks_uri *uri;
    int expect; /* OSSL_STORE_INFO_*; 0: everything */
    bool listed;
    bool failed; /* listing failed: nothing will come */
    struct entry *entries;
    size_t count, room, next;
    size_t left_out; /* how many objects, and why the first of them */
    char why[512];
};

static void clear_entry(struct entry *entry)
{
    ks_key_free(entry->priv);
    prov_key_free(entry->key);
    OPENSSL_free(entry->der);
    OPENSSL_free(entry->id);
    memset(entry, 0, sizeof(*entry));
}

static struct entry *add_entry(struct store_ctx *sctx, enum ks_object_class klass)
{
    struct entry *entry;

    if (sctx->count == sctx->room) {
        size_t room = sctx->room == 0 ? 16 : sctx->room * 2;
        struct entry *grown = OPENSSL_realloc(sctx->entries, room * sizeof(*grown));

        if (grown == NULL)
            return NULL;
        sctx->entries = grown;
        sctx->room = room;
    }
    entry = &sctx->entries[sctx->count];
    memset(entry, 0, sizeof(*entry));
    entry->klass = klass;
    entry->place = sctx->count++;
    return entry;
}

/* --- open and close -------------------------------------------------------------------------- */

static int store_close(void *vsctx)
{
    struct store_ctx *sctx = vsctx;
    size_t i;

    if (sctx == NULL)
        return 1;
    for (i = 0; i < sctx->count; i++)
        clear_entry(&sctx->entries[i]);
    OPENSSL_free(sctx->entries);
    ks_uri_free(sctx->uri);
    OPENSSL_free(sctx);
    return 1;
}

/* A process logs in to a token once, with the PIN that the configuration names. */
static int check_pin_source(const struct prov_ctx *ctx, const struct ks_uri *uri)
{
    const char *source = ks_uri_pin_source(uri);

    if (source == NULL || (ctx->config.pin != NULL && strcmp(source, ctx->config.pin) == 0))
        return 1;
    prov_raise(ctx, PROV_R_PARAMETER,
               "pin-source in the URI is not the PIN source that the provider is configured with: "
               "leave it out, or set \"pin\" in the provider's section of openssl.cnf to the same");
    return 0;
}

static void *store_open(void *provctx, const char *uri)
{
    struct prov_ctx *ctx = provctx;
    struct store_ctx *sctx = NULL;
    struct ks_error err;

    prov_fetch_expected();
    if (!prov_usable(ctx))
        return NULL;
    sctx = OPENSSL_zalloc(sizeof(*sctx));
    if (sctx == NULL) {
        prov_raise(ctx, PROV_R_SOFTWARE, "out of memory");
        return NULL;
    }
    sctx->ctx = ctx;
    if (!ks_ok(ks_uri_parse(uri, KS_URI_CALLER, &sctx->uri, &err))) {
        prov_raise_ks(ctx, &err);
        goto err;
    }
    if (!check_pin_source(ctx, sctx->uri))
        goto err;
    return sctx;
err:
    store_close(sctx);
    return NULL;
}

static const OSSL_PARAM *store_settable_ctx_params(void *provctx)
{
    static const OSSL_PARAM settable[] = {
        OSSL_PARAM_int(OSSL_STORE_PARAM_EXPECT, NULL),
        OSSL_PARAM_utf8_string(OSSL_STORE_PARAM_PROPERTIES, NULL, 0),
        OSSL_PARAM_END,
    };

    (void)provctx;
    return settable;
}

static int store_set_ctx_params(void *vsctx, const OSSL_PARAM params[])
{
    struct store_ctx *sctx = vsctx;
    const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, OSSL_STORE_PARAM_EXPECT);

    /* the properties choose among other providers' code, which loads nothing of ours */
    return p == NULL || OSSL_PARAM_get_int(p, &sctx->expect);
}

/* --- listing --------------------------------------------------------------------------------- */

/* Whether the URI and what the caller expects leave room for a class. */
static bool wanted(const struct store_ctx *sctx, enum ks_object_class klass)
{
    static const int info_types[] = {
        [KS_CLASS_PRIVATE] = OSSL_STORE_INFO_PKEY,
        [KS_CLASS_PUBLIC] = OSSL_STORE_INFO_PUBKEY,
        [KS_CLASS_CERTIFICATE] = OSSL_STORE_INFO_CERT,
    };
    enum ks_object_class asked = ks_uri_class(sctx->uri);

    return (asked == KS_CLASS_ANY || asked == klass) &&
           (sctx->expect == 0 || sctx->expect == info_types[klass]);
}

/* Whether private keys are looked for by name, of which there must be one, and not listed. */
static bool find_one(const struct store_ctx *sctx)
{
    return ks_uri_names_object(sctx->uri);
}

/* Said once, in the log; the caller of OSSL_STORE gets the others. */
static void leave_out(struct store_ctx *sctx, const struct ks_object *object, const char *why)
{
    if (sctx->left_out++ == 0)
        snprintf(sctx->why, sizeof(sctx->why), "%.*s", (int)sizeof(sctx->why) - 1, why);
    ks_log_trouble(sctx->ctx->token, object, why);
}

/* The text of what was raised since the mark, which goes. */
static const char *raised_since_mark(char *out, size_t size)
{
    const char *text = NULL;
    int flags = 0;

    (void)ERR_peek_last_error_data(&text, &flags);
    snprintf(out, size, "%s",
             text != NULL && (flags & ERR_TXT_STRING) != 0 ? text : "it cannot be used");
    ERR_pop_to_mark();
    return out;
}

struct listing {
    struct store_ctx *sctx;
    bool failed; /* and raised */
};

static bool note_private(struct store_ctx *sctx, const struct ks_object *object)
{
    struct ks_key *priv = NULL;
    struct ks_error err;
    struct entry *entry;

    /* not a key that OpenSSL could use through us, like a DSA key */
    if (object->type == KS_KEY_OTHER)
        return true;
    if (!ks_ok(ks_key_of_object(sctx->ctx->token, object, &priv, &err))) {
        leave_out(sctx, object, err.text);
        return true;
    }
    entry = add_entry(sctx, KS_CLASS_PRIVATE);
    if (entry == NULL) {
        ks_key_free(priv);
        return false;
    }
    entry->priv = priv;
    return true;
}

static bool note_public(struct store_ctx *sctx, const struct ks_object *object)
{
    struct prov_key *key;
    struct entry *entry;
    char why[512];

    if (object->type == KS_KEY_OTHER)
        return true;
    ERR_set_mark();
    key = prov_key_from_object(sctx->ctx, object);
    if (key == NULL) {
        leave_out(sctx, object, raised_since_mark(why, sizeof(why)));
        return true;
    }
    ERR_clear_last_mark();
    entry = add_entry(sctx, KS_CLASS_PUBLIC);
    if (entry == NULL) {
        prov_key_free(key);
        return false;
    }
    entry->key = key;
    return true;
}

/* libcrypto would refuse it only when it is handed out. */
static bool is_certificate(const struct store_ctx *sctx, const struct ks_object *object)
{
    const unsigned char *p = object->value.data;
    X509 *cert = X509_new_ex(sctx->ctx->libctx, PROV_NOT_US);
    bool good;

    ERR_set_mark();
    good = cert != NULL && p != NULL && d2i_X509(&cert, &p, (long)object->value.len) != NULL &&
           p == object->value.data + object->value.len;
    ERR_pop_to_mark();
    X509_free(cert);
    return good;
}

static bool note_certificate(struct store_ctx *sctx, const struct ks_object *object,
                             bool only_helps)
{
    struct entry *entry;

    if (!is_certificate(sctx, object)) {
        leave_out(sctx, object,
                  object->value.len == 0 ? "it is empty"
                                         : "it is damaged, or no X.509 certificate");
        return true;
    }
    entry = add_entry(sctx, KS_CLASS_CERTIFICATE);
    if (entry == NULL)
        return false;
    entry->only_helps = only_helps;
    entry->der = OPENSSL_memdup(object->value.data, object->value.len);
    entry->der_len = object->value.len;
    if (object->id.len > 0)
        entry->id = OPENSSL_memdup(object->id.data, object->id.len);
    entry->id_len = entry->id != NULL ? object->id.len : 0;
    return entry->der != NULL;
}

static bool visit(void *arg, const struct ks_object *object)
{
    struct listing *listing = arg;
    struct store_ctx *sctx = listing->sctx;
    bool ok = true;

    bool helps = object->klass == KS_CLASS_CERTIFICATE && !wanted(sctx, object->klass) &&
                 wanted(sctx, KS_CLASS_PRIVATE) && !find_one(sctx);

    if (!helps && !wanted(sctx, object->klass))
        return true;
    if (object->klass == KS_CLASS_PRIVATE && find_one(sctx))
        return true;
    if (helps)
        ok = object->id.len == 0 || object->trouble != NULL || !is_certificate(sctx, object) ||
             note_certificate(sctx, object, true);
    else if (object->trouble != NULL)
        leave_out(sctx, object, object->trouble);
    else if (object->klass == KS_CLASS_PRIVATE)
        ok = note_private(sctx, object);
    else if (object->klass == KS_CLASS_PUBLIC)
        ok = note_public(sctx, object);
    else
        ok = note_certificate(sctx, object, false);
    listing->failed = !ok;
    return ok;
}

static int by_class(const void *a, const void *b)
{
    const struct entry *left = a, *right = b;

    if (left->klass != right->klass)
        return (int)left->klass - (int)right->klass;
    return left->place < right->place ? -1 : left->place > right->place;
}

/* The one private key that the URI names. Where the URI may as well mean a public key or a
 * certificate, there need not be one. Returns 0 when it failed, and raised. */
static int find_named(struct store_ctx *sctx, const struct ks_call_options *opts)
{
    struct ks_key *priv = NULL;
    struct ks_error err;
    struct entry *entry;
    ks_status status = ks_key_find(sctx->ctx->token, opts, sctx->uri, &priv, &err);

    if (status.code == KS_KEY_NOT_FOUND && ks_uri_class(sctx->uri) == KS_CLASS_ANY &&
        sctx->expect == 0)
        return 1;
    if (!ks_ok(status)) {
        prov_raise_ks(sctx->ctx, &err);
        return 0;
    }
    entry = add_entry(sctx, KS_CLASS_PRIVATE);
    if (entry != NULL)
        entry->key = prov_key_from_ks(sctx->ctx, priv, NULL);
    if (entry == NULL || entry->key == NULL) {
        ks_key_free(priv);
        return 0;
    }
    return 1;
}

static const char *name_of(const struct entry *entry, char *out, size_t size)
{
    char uri[4096];

    if (!ks_ok(ks_object_uri(ks_key_object(entry->priv), NULL, KS_URI_DETAIL_REFERENCE, uri,
                             sizeof(uri), NULL)))
        return "(one without a name)";
    return ks_escape(out, size, uri, SIZE_MAX);
}

/* "type=private" alone: as good as a name while the token holds one private key only. */
static int check_only_one(struct store_ctx *sctx)
{
    struct ks_error err = {.code = KS_KEY_AMBIGUOUS};
    char first[300], second[300];

    if (sctx->count < 2)
        return 1;
    snprintf(err.text, sizeof(err.text),
             "%zu private keys match the URI, %s and %s among them: add object= or id=, or leave "
             "type=private out to list the token",
             sctx->count, name_of(&sctx->entries[0], first, sizeof(first)),
             name_of(&sctx->entries[1], second, sizeof(second)));
    prov_raise_ks(sctx->ctx, &err);
    return 0;
}

static void explain_nothing(const struct store_ctx *sctx)
{
    struct ks_error err = {.code = KS_KEY_NOT_FOUND};

    if (sctx->left_out > 0)
        snprintf(err.text, sizeof(err.text),
                 "of what matches the URI nothing can be used (%zu looked at): %s", sctx->left_out,
                 sctx->why);
    else
        snprintf(err.text, sizeof(err.text), "%s",
                 ks_uri_names_object(sctx->uri)
                     ? "no object of the kind that was asked for matches the URI; 'hsmkey list' "
                       "shows what is there"
                     : "the token holds no RSA, EC or Edwards key and no certificate of the kind "
                       "that was asked for");
    prov_raise_ks(sctx->ctx, &err);
}

/* --- making ready ---------------------------------------------------------------------------- */

/* The public half of a private key that does not show it all: from a certificate of the listing, or
 * from what the key does show. The token is not asked again for each such key. */
static EVP_PKEY *listed_public(const struct store_ctx *sctx, const struct ks_object *object)
{
    EVP_PKEY *pub = NULL;
    size_t i;

    for (i = 0; object->id.len > 0 && pub == NULL && i < sctx->count; i++) {
        const struct entry *e = &sctx->entries[i];

        if (e->klass == KS_CLASS_CERTIFICATE && e->id_len == object->id.len &&
            memcmp(e->id, object->id.data, e->id_len) == 0)
            pub = prov_key_public_of_certificate(sctx->ctx, object, e->der, e->der_len);
    }
    return pub != NULL ? pub : prov_key_public_of_object(sctx->ctx, object);
}

/* Make a key of a listing's private key; false: it cannot be used, which has been said. */
static bool make_ready(struct store_ctx *sctx, struct entry *entry)
{
    EVP_PKEY *pub;
    char why[512];

    if (entry->only_helps)
        return false;
    if (entry->priv == NULL)
        return true;
    ERR_set_mark();
    pub = listed_public(sctx, ks_key_object(entry->priv));
    if (pub != NULL)
        entry->key = prov_key_from_ks(sctx->ctx, entry->priv, pub);
    EVP_PKEY_free(pub);
    if (entry->key == NULL) {
        leave_out(sctx, ks_key_object(entry->priv), raised_since_mark(why, sizeof(why)));
        return false;
    }
    ERR_clear_last_mark();
    entry->priv = NULL;
    return true;
}

/* Go on to what can be handed out, so that eof() knows whether there is something. */
static void go_on(struct store_ctx *sctx)
{
    while (sctx->next < sctx->count && !make_ready(sctx, &sctx->entries[sctx->next])) {
        clear_entry(&sctx->entries[sctx->next]);
        sctx->next++;
    }
}

/* A token that cannot be asked, one of several, does not hide what the others hold. But whether
 * there is only one private key is not known then. */
static bool goes_on(struct store_ctx *sctx, const struct ks_error *err)
{
    const struct ks_object nothing = {.klass = KS_CLASS_ANY};

    if (sctx->count == 0 || (ks_uri_class(sctx->uri) == KS_CLASS_PRIVATE && !find_one(sctx)))
        return false;
    leave_out(sctx, &nothing, err->text);
    return true;
}

/* Fill `entries`. Returns 0 when there is nothing to hand out, and has raised why. */
static int list(struct store_ctx *sctx, const struct ks_call_options *opts)
{
    struct listing listing = {.sctx = sctx};
    struct ks_error err;

    if (find_one(sctx) && wanted(sctx, KS_CLASS_PRIVATE) && !find_named(sctx, opts))
        return 0;
    if (!find_one(sctx) || wanted(sctx, KS_CLASS_PUBLIC) || wanted(sctx, KS_CLASS_CERTIFICATE)) {
        if (!ks_ok(ks_token_objects(sctx->ctx->token, opts, sctx->uri, visit, &listing, &err)) &&
            !goes_on(sctx, &err)) {
            prov_raise_ks(sctx->ctx, &err);
            return 0;
        }
        if (listing.failed)
            return 0;
    }
    if (sctx->count == 0) {
        explain_nothing(sctx);
        return 0;
    }
    if (ks_uri_class(sctx->uri) == KS_CLASS_PRIVATE && !check_only_one(sctx))
        return 0;
    qsort(sctx->entries, sctx->count, sizeof(*sctx->entries), by_class);
    go_on(sctx);
    if (sctx->next < sctx->count)
        return 1;
    explain_nothing(sctx);
    return 0;
}

/* --- handing out ----------------------------------------------------------------------------- */

static int hand_out_key(struct store_ctx *sctx, struct prov_key *key, OSSL_CALLBACK *object_cb,
                        void *object_arg)
{
    struct prov_load load = {.ctx = sctx->ctx, .key = key};
    struct prov_load *reference = &load;
    int object_type = OSSL_OBJECT_PKEY;
    /* libcrypto only reads it */
    char *data_type = (char *)(uintptr_t)prov_types[key->type].name;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_int(OSSL_OBJECT_PARAM_TYPE, &object_type),
        OSSL_PARAM_construct_utf8_string(OSSL_OBJECT_PARAM_DATA_TYPE, data_type, 0),
        OSSL_PARAM_construct_octet_string(OSSL_OBJECT_PARAM_REFERENCE, &reference,
                                          sizeof(reference)),
        OSSL_PARAM_construct_end(),
    };
    int ok = object_cb(params, object_arg);

    prov_key_free(load.key);
    return ok;
}

static int hand_out_certificate(const struct entry *entry, OSSL_CALLBACK *object_cb,
                                void *object_arg)
{
    int object_type = OSSL_OBJECT_CERT;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_int(OSSL_OBJECT_PARAM_TYPE, &object_type),
        OSSL_PARAM_construct_octet_string(OSSL_OBJECT_PARAM_DATA, entry->der, entry->der_len),
        OSSL_PARAM_construct_end(),
    };

    return object_cb(params, object_arg);
}

static int hand_out(struct store_ctx *sctx, struct entry *entry, OSSL_CALLBACK *object_cb,
                    void *object_arg)
{
    struct prov_key *key = entry->key;

    entry->key = NULL;
    return key != NULL ? hand_out_key(sctx, key, object_cb, object_arg)
                       : hand_out_certificate(entry, object_cb, object_arg);
}

static int store_load(void *vsctx, OSSL_CALLBACK *object_cb, void *object_arg,
                      OSSL_PASSPHRASE_CALLBACK *pw_cb, void *pw_arg)
{
    struct store_ctx *sctx = vsctx;
    struct prov_prompt prompt;
    struct entry *entry;
    int ok;

    prov_prompt_init(&prompt, pw_cb, pw_arg);
    if (!sctx->listed) {
        sctx->listed = true;
        /* callers go on until eof(), so a failure has to end it */
        sctx->failed = !list(sctx, &prompt.opts);
    }
    if (sctx->failed || sctx->next >= sctx->count)
        return 0;
    entry = &sctx->entries[sctx->next++];
    ok = hand_out(sctx, entry, object_cb, object_arg);
    clear_entry(entry);
    go_on(sctx);
    return ok;
}

static int store_eof(void *vsctx)
{
    const struct store_ctx *sctx = vsctx;

    return sctx->listed && (sctx->failed || sctx->next >= sctx->count);
}

/* libcrypto first offers a key to the keymgmt of whichever provider was loaded first, and comes
 * back to ours when that gets nothing. So it gets public keys, which are plain software keys,
 * and nothing of private keys: the public half alone would pass for the whole. */
static int store_export_object(void *vsctx, const void *reference, size_t size,
                               OSSL_CALLBACK *export_cb, void *export_arg)
{
    const struct prov_load *load;
    OSSL_PARAM *params = NULL;
    int ok;

    (void)vsctx;
    if (size != sizeof(load))
        return 0;
    memcpy(&load, reference, sizeof(load));
    if (load->key == NULL || load->key->has_private || load->key->pub == NULL ||
        !EVP_PKEY_todata(load->key->pub, EVP_PKEY_PUBLIC_KEY, &params))
        return 0;
    ok = export_cb(params, export_arg);
    OSSL_PARAM_free(params);
    return ok;
}

const OSSL_DISPATCH prov_store[] = {
    {OSSL_FUNC_STORE_OPEN, (void (*)(void))store_open},
    {OSSL_FUNC_STORE_SETTABLE_CTX_PARAMS, (void (*)(void))store_settable_ctx_params},
    {OSSL_FUNC_STORE_SET_CTX_PARAMS, (void (*)(void))store_set_ctx_params},
    {OSSL_FUNC_STORE_LOAD, (void (*)(void))store_load},
    {OSSL_FUNC_STORE_EOF, (void (*)(void))store_eof},
    {OSSL_FUNC_STORE_CLOSE, (void (*)(void))store_close},
    {OSSL_FUNC_STORE_EXPORT_OBJECT, (void (*)(void))store_export_object},
    {0, NULL},
};
