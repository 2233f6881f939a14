/* SPDX-License-Identifier: Apache-2.0
 *
 * encoder.c - what a key of ours looks like in a file.
 *
 * Everything else that is public (PKCS#1 public keys, EC parameters, blobs) libcrypto's own
 * encoders do with what the keymgmt exports; they do it for us because none of ours claims that
 * selection.
 */
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>

#include "../key/reference.h"
#include "codec.h"

struct encoder_ctx {
    struct prov_ctx *ctx;
    bool encrypt; /* the caller named a cipher */
};

static void *encoder_newctx(void *provctx)
{
    struct encoder_ctx *ectx = OPENSSL_zalloc(sizeof(*ectx));

    if (ectx != NULL)
        ectx->ctx = provctx;
    return ectx;
}

static void encoder_freectx(void *vectx)
{
    OPENSSL_free(vectx);
}

static const OSSL_PARAM *encoder_settable_ctx_params(void *provctx)
{
    static const OSSL_PARAM settable[] = {
        OSSL_PARAM_utf8_string(OSSL_ENCODER_PARAM_CIPHER, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_ENCODER_PARAM_PROPERTIES, NULL, 0),
        OSSL_PARAM_END,
    };

    (void)provctx;
    return settable;
}

static int encoder_set_ctx_params(void *vectx, const OSSL_PARAM params[])
{
    struct encoder_ctx *ectx = vectx;
    const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, OSSL_ENCODER_PARAM_CIPHER);
    const char *cipher = NULL;

    /* refused when it comes to writing: set_ctx_params is called on every encoder there is */
    if (p != NULL)
        ectx->encrypt =
            OSSL_PARAM_get_utf8_string_ptr(p, &cipher) && cipher != NULL && *cipher != '\0';
    return 1;
}

/* --- which selection goes where -------------------------------------------------------------- */

static int selects_private(void *provctx, int selection)
{
    (void)provctx;
    return (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) != 0;
}

static int selects_public(void *provctx, int selection)
{
    (void)provctx;
    return (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) == 0 &&
           (selection & OSSL_KEYMGMT_SELECT_PUBLIC_KEY) != 0;
}

static int selects_any(void *provctx, int selection)
{
    (void)provctx;
    return (selection & OSSL_KEYMGMT_SELECT_ALL) != 0;
}

/* --- output ---------------------------------------------------------------------------------- */

typedef int write_fn(const struct encoder_ctx *ectx, const struct prov_key *key, int selection,
                     BIO *out);

/* What all encoders have in common: the key, and a BIO. */
static int encode(struct encoder_ctx *ectx, OSSL_CORE_BIO *cout, const void *key,
                  const OSSL_PARAM *abstract, int selection, write_fn *write)
{
    BIO *out;
    int ok;

    if (key == NULL || abstract != NULL) {
        prov_raise(ectx->ctx, PROV_R_UNSUPPORTED, "only keys of this provider can be encoded");
        return 0;
    }
    out = BIO_new_from_core_bio(ectx->ctx->libctx, cout);
    if (out == NULL) {
        prov_raise(ectx->ctx, PROV_R_SOFTWARE, "libcrypto gave no output BIO");
        return 0;
    }
    ok = write(ectx, key, selection, out);
    BIO_free(out);
    return ok;
}

static int write_failed(const struct encoder_ctx *ectx, const char *what)
{
    prov_raise(ectx->ctx, PROV_R_SOFTWARE, "libcrypto could not write %s", what);
    return 0;
}

static int refuse_encryption(const struct encoder_ctx *ectx)
{
    prov_raise(ectx->ctx, PROV_R_ENCRYPTED,
               "a key reference is not encrypted, because it holds no secret: the private key is "
               "in the HSM, and stays there. Write it without a cipher (openssl req: -noenc; "
               "openssl pkey, genpkey: without -aes256 and the like)");
    return 0;
}

static int write_reference(const struct encoder_ctx *ectx, const struct prov_key *key, bool pem,
                           BIO *out)
{
    unsigned char *der = NULL;
    size_t len = 0;
    int ok;

    if (ectx->encrypt)
        return refuse_encryption(ectx);
    if (!prov_ref_to_der(key, &der, &len))
        return 0;
    if (pem)
        ok = PEM_write_bio(out, PEM_STRING_PKCS8INF, "", der, (long)len) > 0;
    else
        ok = BIO_write(out, der, (int)len) == (int)len;
    OPENSSL_free(der);
    return ok ? 1 : write_failed(ectx, "the key reference");
}

static int write_reference_der(const struct encoder_ctx *ectx, const struct prov_key *key,
                               int selection, BIO *out)
{
    (void)selection;
    return write_reference(ectx, key, false, out);
}

static int write_reference_pem(const struct encoder_ctx *ectx, const struct prov_key *key,
                               int selection, BIO *out)
{
    (void)selection;
    return write_reference(ectx, key, true, out);
}

static int write_public_der(const struct encoder_ctx *ectx, const struct prov_key *key,
                            int selection, BIO *out)
{
    (void)selection;
    return i2d_PUBKEY_bio(out, key->pub) > 0 ? 1 : write_failed(ectx, "the public key");
}

static int write_public_pem(const struct encoder_ctx *ectx, const struct prov_key *key,
                            int selection, BIO *out)
{
    (void)selection;
    return PEM_write_bio_PUBKEY(out, key->pub) > 0 ? 1 : write_failed(ectx, "the public key");
}

static int refuse_traditional(const struct encoder_ctx *ectx, const struct prov_key *key,
                              int selection, BIO *out)
{
    (void)selection;
    (void)out;
    prov_raise(ectx->ctx, PROV_R_PRIVATE_EXPORT,
               "the traditional format for %s keys holds private numbers, which are in the HSM and "
               "stay there. A key reference is PKCS#8: use openssl pkey without -traditional, or "
               "PEM_write_bio_PrivateKey()",
               prov_types[key->type].name);
    return 0;
}

static int refuse_encrypted(const struct encoder_ctx *ectx, const struct prov_key *key,
                            int selection, BIO *out)
{
    (void)key;
    (void)selection;
    (void)out;
    return refuse_encryption(ectx);
}

/* --- text ------------------------------------------------------------------------------------ */

/* The token's label for people; printing a key must work while the token is away. */
static void token_label(const struct prov_key *key, char *out, size_t size)
{
    struct ks_token *token = key->priv != NULL ? ks_key_token(key->priv) : key->ctx->token;
    struct ks_token_facts facts;
    struct ks_error err;

    if (token == NULL)
        ks_escape(out, size, "(the provider's configuration is broken)", SIZE_MAX);
    else if (ks_ok(ks_token_facts(token, NULL, &facts, &err)))
        ks_escape(out, size, facts.label, SIZE_MAX);
    else
        ks_escape(out, size, "(not reachable)", SIZE_MAX);
}

static int write_private_text(const struct prov_key *key, BIO *out)
{
    char label[160], uri[1024], group[80];

    token_label(key, label, sizeof(label));
    ks_escape(uri, sizeof(uri), key->uri != NULL ? key->uri : "(none)", SIZE_MAX);
    if (BIO_printf(out, "HSM private key: %s, %d bit", prov_types[key->type].name,
                   EVP_PKEY_get_bits(key->pub)) <= 0)
        return 0;
    if (key->type == PROV_EC &&
        EVP_PKEY_get_utf8_string_param(key->pub, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof(group),
                                       NULL) &&
        BIO_printf(out, ", %s", group) <= 0)
        return 0;
    return BIO_printf(out,
                      "\nToken: %s\nURI: %s\n"
                      "The private part is in the HSM, and not in this file.\n",
                      label, uri) > 0;
}

static int write_text(const struct encoder_ctx *ectx, const struct prov_key *key, int selection,
                      BIO *out)
{
    int ok = 1;

    if ((selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) != 0 && key->has_private)
        ok = write_private_text(key, out);
    if (!ok)
        return write_failed(ectx, "the key's text");
    if ((selection & OSSL_KEYMGMT_SELECT_KEYPAIR) != 0)
        ok = EVP_PKEY_print_public(out, key->pub, 0, NULL) > 0;
    else
        ok = EVP_PKEY_print_params(out, key->pub, 0, NULL) > 0;
    return ok ? 1 : write_failed(ectx, "the key's text");
}

/* --- dispatch -------------------------------------------------------------------------------- */

static int encode_pki_der(void *vectx, OSSL_CORE_BIO *cout, const void *key,
                          const OSSL_PARAM abstract[], int selection,
                          OSSL_PASSPHRASE_CALLBACK *pw_cb, void *pw_arg)
{
    (void)pw_cb;
    (void)pw_arg;
    return encode(vectx, cout, key, abstract, selection, write_reference_der);
}

static int encode_pki_pem(void *vectx, OSSL_CORE_BIO *cout, const void *key,
                          const OSSL_PARAM abstract[], int selection,
                          OSSL_PASSPHRASE_CALLBACK *pw_cb, void *pw_arg)
{
    (void)pw_cb;
    (void)pw_arg;
    return encode(vectx, cout, key, abstract, selection, write_reference_pem);
}

static int encode_spki_der(void *vectx, OSSL_CORE_BIO *cout, const void *key,
                           const OSSL_PARAM abstract[], int selection,
                           OSSL_PASSPHRASE_CALLBACK *pw_cb, void *pw_arg)
{
    (void)pw_cb;
    (void)pw_arg;
    return encode(vectx, cout, key, abstract, selection, write_public_der);
}

static int encode_spki_pem(void *vectx, OSSL_CORE_BIO *cout, const void *key,
                           const OSSL_PARAM abstract[], int selection,
                           OSSL_PASSPHRASE_CALLBACK *pw_cb, void *pw_arg)
{
    (void)pw_cb;
    (void)pw_arg;
    return encode(vectx, cout, key, abstract, selection, write_public_pem);
}

static int encode_text(void *vectx, OSSL_CORE_BIO *cout, const void *key,
                       const OSSL_PARAM abstract[], int selection, OSSL_PASSPHRASE_CALLBACK *pw_cb,
                       void *pw_arg)
{
    (void)pw_cb;
    (void)pw_arg;
    return encode(vectx, cout, key, abstract, selection, write_text);
}

static int encode_traditional(void *vectx, OSSL_CORE_BIO *cout, const void *key,
                              const OSSL_PARAM abstract[], int selection,
                              OSSL_PASSPHRASE_CALLBACK *pw_cb, void *pw_arg)
{
    (void)pw_cb;
    (void)pw_arg;
    return encode(vectx, cout, key, abstract, selection, refuse_traditional);
}

static int encode_encrypted(void *vectx, OSSL_CORE_BIO *cout, const void *key,
                            const OSSL_PARAM abstract[], int selection,
                            OSSL_PASSPHRASE_CALLBACK *pw_cb, void *pw_arg)
{
    (void)pw_cb;
    (void)pw_arg;
    return encode(vectx, cout, key, abstract, selection, refuse_encrypted);
}

const OSSL_DISPATCH prov_encoder_pki_der[] = {
    {OSSL_FUNC_ENCODER_NEWCTX, (void (*)(void))encoder_newctx},
    {OSSL_FUNC_ENCODER_FREECTX, (void (*)(void))encoder_freectx},
    {OSSL_FUNC_ENCODER_SETTABLE_CTX_PARAMS, (void (*)(void))encoder_settable_ctx_params},
    {OSSL_FUNC_ENCODER_SET_CTX_PARAMS, (void (*)(void))encoder_set_ctx_params},
    {OSSL_FUNC_ENCODER_DOES_SELECTION, (void (*)(void))selects_private},
    {OSSL_FUNC_ENCODER_ENCODE, (void (*)(void))encode_pki_der},
    {0, NULL},
};

const OSSL_DISPATCH prov_encoder_pki_pem[] = {
    {OSSL_FUNC_ENCODER_NEWCTX, (void (*)(void))encoder_newctx},
    {OSSL_FUNC_ENCODER_FREECTX, (void (*)(void))encoder_freectx},
    {OSSL_FUNC_ENCODER_SETTABLE_CTX_PARAMS, (void (*)(void))encoder_settable_ctx_params},
    {OSSL_FUNC_ENCODER_SET_CTX_PARAMS, (void (*)(void))encoder_set_ctx_params},
    {OSSL_FUNC_ENCODER_DOES_SELECTION, (void (*)(void))selects_private},
    {OSSL_FUNC_ENCODER_ENCODE, (void (*)(void))encode_pki_pem},
    {0, NULL},
};

const OSSL_DISPATCH prov_encoder_spki_der[] = {
    {OSSL_FUNC_ENCODER_NEWCTX, (void (*)(void))encoder_newctx},
    {OSSL_FUNC_ENCODER_FREECTX, (void (*)(void))encoder_freectx},
    {OSSL_FUNC_ENCODER_SETTABLE_CTX_PARAMS, (void (*)(void))encoder_settable_ctx_params},
    {OSSL_FUNC_ENCODER_SET_CTX_PARAMS, (void (*)(void))encoder_set_ctx_params},
    {OSSL_FUNC_ENCODER_DOES_SELECTION, (void (*)(void))selects_public},
    {OSSL_FUNC_ENCODER_ENCODE, (void (*)(void))encode_spki_der},
    {0, NULL},
};

const OSSL_DISPATCH prov_encoder_spki_pem[] = {
    {OSSL_FUNC_ENCODER_NEWCTX, (void (*)(void))encoder_newctx},
    {OSSL_FUNC_ENCODER_FREECTX, (void (*)(void))encoder_freectx},
    {OSSL_FUNC_ENCODER_SETTABLE_CTX_PARAMS, (void (*)(void))encoder_settable_ctx_params},
    {OSSL_FUNC_ENCODER_SET_CTX_PARAMS, (void (*)(void))encoder_set_ctx_params},
    {OSSL_FUNC_ENCODER_DOES_SELECTION, (void (*)(void))selects_public},
    {OSSL_FUNC_ENCODER_ENCODE, (void (*)(void))encode_spki_pem},
    {0, NULL},
};

const OSSL_DISPATCH prov_encoder_text[] = {
    {OSSL_FUNC_ENCODER_NEWCTX, (void (*)(void))encoder_newctx},
    {OSSL_FUNC_ENCODER_FREECTX, (void (*)(void))encoder_freectx},
    {OSSL_FUNC_ENCODER_SETTABLE_CTX_PARAMS, (void (*)(void))encoder_settable_ctx_params},
    {OSSL_FUNC_ENCODER_SET_CTX_PARAMS, (void (*)(void))encoder_set_ctx_params},
    {OSSL_FUNC_ENCODER_DOES_SELECTION, (void (*)(void))selects_any},
    {OSSL_FUNC_ENCODER_ENCODE, (void (*)(void))encode_text},
    {0, NULL},
};

const OSSL_DISPATCH prov_encoder_traditional[] = {
    {OSSL_FUNC_ENCODER_NEWCTX, (void (*)(void))encoder_newctx},
    {OSSL_FUNC_ENCODER_FREECTX, (void (*)(void))encoder_freectx},
    {OSSL_FUNC_ENCODER_SETTABLE_CTX_PARAMS, (void (*)(void))encoder_settable_ctx_params},
    {OSSL_FUNC_ENCODER_SET_CTX_PARAMS, (void (*)(void))encoder_set_ctx_params},
    {OSSL_FUNC_ENCODER_DOES_SELECTION, (void (*)(void))selects_private},
    {OSSL_FUNC_ENCODER_ENCODE, (void (*)(void))encode_traditional},
    {0, NULL},
};

const OSSL_DISPATCH prov_encoder_encrypted[] = {
    {OSSL_FUNC_ENCODER_NEWCTX, (void (*)(void))encoder_newctx},
    {OSSL_FUNC_ENCODER_FREECTX, (void (*)(void))encoder_freectx},
    {OSSL_FUNC_ENCODER_SETTABLE_CTX_PARAMS, (void (*)(void))encoder_settable_ctx_params},
    {OSSL_FUNC_ENCODER_SET_CTX_PARAMS, (void (*)(void))encoder_set_ctx_params},
    {OSSL_FUNC_ENCODER_DOES_SELECTION, (void (*)(void))selects_private},
    {OSSL_FUNC_ENCODER_ENCODE, (void (*)(void))encode_encrypted},
    {0, NULL},
};
