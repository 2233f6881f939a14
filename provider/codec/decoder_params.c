/* SPDX-License-Identifier: Apache-2.0
 *
 * decoder_params.c - decoders of parameter files (EC, SM2, DSA, DH, DHX). A key that is generated
 * from parameters is made by the provider that holds the parameters: libcrypto asks nobody else,
 * whatever the query says by then. So if the HSM is asked for when parameters are read, this
 * provider has to hold them; generation then happens in the HSM or is refused. If the HSM is not
 * asked for, the decoders leave the file alone, without even an error.
 *
 * Whether we are asked for is libcrypto's own question, "whose keymgmt does this caller get?", and
 * its answer is made of the caller's query, the default properties and the order of the providers.
 * A decoder is told none of that: OpenSSL 3.0 has no way to, and later ones forget what they tell
 * (they give it to an instance that they copy, and do not copy it). There are two ways to find out:
 *
 * - The question to libcrypto. A decoder may hand over an object of a type whose keymgmt it leaves
 *   to libcrypto to fetch. If another provider's is fetched, libcrypto asks the decoder to export
 *   the object; if ours is, it has no load() and gives nothing. So an object of type QUESTION is
 *   handed over, which does not exist. It is the exact answer, but from 3.5 on OSSL_STORE takes
 *   the vain attempt for a failure of the whole file.
 * - The order of the decoders, for OSSL_STORE from 3.5 on. There libcrypto sorts them by how well
 *   they fit query and default properties. Each of our decoders of a type stands between two that
 *   lack the property "provider": if it runs before both, it has been sorted, and if it does not
 *   run at all, the query excludes us. What comes from the order of the providers alone is fetched
 *   in our own library context, which has the same order.
 *
 * libcrypto runs the decoders of keys from the last loaded provider on to the first. What runs
 * before all of them are decoders that turn a form into the same form: PEM into PEM, DER into DER.
 */
#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/core_object.h>
#include <openssl/crypto.h>
#include <openssl/decoder.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <string.h>

#include "codec.h"

/* A type that each software provider has, and for which our keymgmt has no load(). */
#define QUESTION "X25519"

#define DER_MAX ((size_t)64 * 1024) /* of parameters that we look at; those of DH-8192 have 1 KiB */

#define KEYPAIR    OSSL_KEYMGMT_SELECT_KEYPAIR
#define PARAMETERS OSSL_KEYMGMT_SELECT_ALL_PARAMETERS

static const struct kind {
    const char *label; /* of the PEM block */
    const char *type;
} kinds[] = {
    {"EC PARAMETERS", "EC"}, {"SM2 PARAMETERS", "SM2"},      {"DSA PARAMETERS", "DSA"},
    {"DH PARAMETERS", "DH"}, {"X9.42 DH PARAMETERS", "DHX"},
};

/* What the decoders of one thread know of each other while libcrypto is on its way through them. */
static _Thread_local struct {
    bool declined;   /* it was found that nobody asked for us, or we are reading ourselves */
    bool *elsewhere; /* the answer to the question is to be noted here */
    bool routed;     /* decode_der() found that we come first */
    bool taken;      /* and decode_type() has handed the key over */
    const OSSL_CORE_BIO *seen; /* a decoder without "provider" ran on this input already */
} now;

/* A decoder has no state, its context is the provider's. libcrypto demands both functions. */
/* Only who says that parameters are wanted: what a key is made of is nobody's guess. */
static int params_does_selection(void *provctx, int selection)
{
    (void)provctx;
    return (selection & PARAMETERS) != 0 && (selection & KEYPAIR) == 0;
}

/* Called for the question alone: a real key goes to our own keymgmt, which has load(). */
static int params_export_object(void *vctx, const void *reference, size_t size,
                                OSSL_CALLBACK *export_cb, void *export_arg)
{
    (void)vctx;
    (void)reference;
    (void)size;
    (void)export_cb;
    (void)export_arg;
    if (now.elsewhere != NULL)
        *now.elsewhere = true;
    return 0;
}

/* --- is it us who are asked for? ------------------------------------------------------------- */

static int emit(const char *type, struct prov_load *load, OSSL_CALLBACK *data_cb, void *data_arg)
{
    int object_type = OSSL_OBJECT_PKEY;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_int(OSSL_OBJECT_PARAM_TYPE, &object_type),
        /* libcrypto only reads it */
        OSSL_PARAM_construct_utf8_string(OSSL_OBJECT_PARAM_DATA_TYPE, (char *)(uintptr_t)type, 0),
        OSSL_PARAM_construct_octet_string(OSSL_OBJECT_PARAM_REFERENCE, &load, sizeof(load)),
        OSSL_PARAM_construct_end(),
    };

    return data_cb(params, data_arg);
}

/* Hands the question over. Where the fetch fails (fips=yes) libcrypto raises an error, after which
 * ours is not the latest any more. */
static bool libcrypto_says_so(const struct prov_ctx *ctx, OSSL_CALLBACK *data_cb, void *data_arg)
{
    static const char mine[] = "who has the parameters?";
    struct prov_load nothing = {.failed = true};
    bool elsewhere = false, fetched;
    const char *text = NULL;
    int flags = 0;

    ERR_set_mark();
    prov_raise(ctx, PROV_R_PARAMETER, "%s", mine);
    now.elsewhere = &elsewhere;
    (void)emit(QUESTION, &nothing, data_cb, data_arg);
    now.elsewhere = NULL;
    fetched = ERR_peek_last_error_data(&text, &flags) != 0 && text != NULL &&
              (flags & ERR_TXT_STRING) != 0 && strcmp(text, mine) == 0;
    ERR_pop_to_mark();
    return fetched && !elsewhere;
}

/* Without a query: by the default properties and the order of the providers. */
static bool we_come_first(const struct prov_ctx *ctx)
{
    EVP_KEYMGMT *keymgmt;
    bool ours;

    ERR_set_mark();
    keymgmt = EVP_KEYMGMT_fetch(ctx->libctx, QUESTION, NULL);
    ERR_pop_to_mark();
    ours = keymgmt != NULL &&
           OSSL_PROVIDER_get0_provider_ctx(EVP_KEYMGMT_get0_provider(keymgmt)) == ctx;
    EVP_KEYMGMT_free(keymgmt);
    return ours;
}

bool prov_decoders_are_sorted(void)
{
    return OPENSSL_version_major() > 3 ||
           (OPENSSL_version_major() == 3 && OPENSSL_version_minor() >= 5);
}

/* --- the key --------------------------------------------------------------------------------- */

/* The parameters as a software key, which is what we keep of them. */
static EVP_PKEY *software_parameters(const struct prov_ctx *ctx, const char *type,
                                     const unsigned char *der, size_t len)
{
    EVP_PKEY *pkey = NULL;
    OSSL_DECODER_CTX *dctx;

    ERR_set_mark();
    dctx = OSSL_DECODER_CTX_new_for_pkey(&pkey, "DER", NULL, type, EVP_PKEY_KEY_PARAMETERS,
                                         ctx->libctx, PROV_NOT_US);
    now.declined = true; /* our library context has these decoders, too */
    if (dctx == NULL || !OSSL_DECODER_from_data(dctx, &der, &len)) {
        EVP_PKEY_free(pkey);
        pkey = NULL;
    }
    now.declined = false;
    OSSL_DECODER_CTX_free(dctx);
    ERR_pop_to_mark();
    return pkey;
}

/* Hand the key over. Returns libcrypto's answer; now.taken tells whether our keymgmt has it. */
static int hand_over(struct prov_ctx *ctx, const char *type, const unsigned char *der, size_t len,
                     OSSL_CALLBACK *data_cb, void *data_arg)
{
    EVP_PKEY *pub = software_parameters(ctx, type, der, len);
    struct prov_load load = {.ctx = ctx};
    int ok = 1;

    now.taken = false;
    if (pub == NULL)
        return 1;
    if (EVP_PKEY_is_a(pub, "SM2"))
        type = "SM2"; /* libcrypto goes by the curve, whatever the label says */
    load.key = prov_key_new(ctx, strcmp(type, "EC") == 0 ? PROV_EC : PROV_KEY_TYPES);
    if (load.key == NULL) {
        EVP_PKEY_free(pub);
        return 0;
    }
    if (load.key->type == PROV_KEY_TYPES)
        load.key->refused = type;
    load.key->pub = pub;
    ok = emit(type, &load, data_cb, data_arg);
    now.taken = load.key == NULL;
    prov_key_free(load.key);
    return ok;
}

/* Once the question was asked libcrypto tries no other decoder on this input: it gets it again. */
static int pass_on(const unsigned char *data, size_t len, bool declined, OSSL_CALLBACK *data_cb,
                   void *data_arg)
{
    int object_type = OSSL_OBJECT_PKEY;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_int(OSSL_OBJECT_PARAM_TYPE, &object_type),
        /* libcrypto only reads it */
        OSSL_PARAM_construct_octet_string(OSSL_OBJECT_PARAM_DATA, (void *)(uintptr_t)data, len),
        OSSL_PARAM_construct_end(),
    };
    int ok;

    now.seen = NULL;
    now.declined = declined;
    ok = data_cb(params, data_arg);
    now.declined = false;
    return ok;
}

/* --- PEM ------------------------------------------------------------------------------------- */

static const char *type_of_label(const char *label)
{
    size_t i;

    for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(kinds[i].label, label) == 0)
            return kinds[i].type;
    }
    return NULL;
}

static int pass_on_pem(const char *label, const unsigned char *der, long len,
                       OSSL_CALLBACK *data_cb, void *data_arg)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *pem = NULL;
    long pem_len;
    int ok = 0;

    if (bio != NULL && PEM_write_bio(bio, label, "", der, len) > 0 &&
        (pem_len = BIO_get_mem_data(bio, &pem)) > 0)
        ok = pass_on((unsigned char *)pem, (size_t)pem_len, true, data_cb, data_arg);
    BIO_free(bio);
    return ok;
}

static int decode_pem(void *vctx, OSSL_CORE_BIO *in, int selection, OSSL_CALLBACK *data_cb,
                      void *data_arg, OSSL_PASSPHRASE_CALLBACK *pw_cb, void *pw_arg)
{
    struct prov_ctx *ctx = vctx;
    char *label = NULL, *header = NULL;
    const char *type;
    unsigned char *der = NULL;
    long len = 0;
    BIO *bio;
    int ok = 1;

    (void)pw_cb;
    (void)pw_arg;
    now.seen = NULL; /* a new input */
    if (now.declined || !params_does_selection(ctx, selection))
        return 1;
    bio = BIO_new_from_core_bio(ctx->libctx, in);
    ERR_set_mark();
    ok = bio != NULL && PEM_read_bio(bio, &label, &header, &der, &len) > 0;
    ERR_pop_to_mark();
    BIO_free(bio);
    type = ok ? type_of_label(label) : NULL;
    ok = 1;
    if (type == NULL || header[0] != '\0')
        goto out;
    now.taken = false;
    if (libcrypto_says_so(ctx, data_cb, data_arg))
        ok = hand_over(ctx, type, der, (size_t)len, data_cb, data_arg);
    if (ok && !now.taken)
        ok = pass_on_pem(label, der, len, data_cb, data_arg);
out:
    OPENSSL_free(label);
    OPENSSL_free(header);
    OPENSSL_free(der);
    return ok;
}

/* --- DER ------------------------------------------------------------------------------------- */

/* Read one element of DER, and no byte more: who reads a file reads on behind it. */
static unsigned char *read_element(const struct prov_ctx *ctx, OSSL_CORE_BIO *in, size_t *len)
{
    BIO *bio = BIO_new_from_core_bio(ctx->libctx, in);
    unsigned char head[4], *der = NULL;
    size_t have = 2, body, octets, i;

    ERR_set_mark();
    if (bio == NULL || BIO_read(bio, head, 2) != 2 ||
        (head[0] != V_ASN1_OBJECT && head[0] != (V_ASN1_SEQUENCE | V_ASN1_CONSTRUCTED)))
        goto out;
    body = head[1];
    octets = (head[1] & 0x80U) != 0 ? head[1] & 0x7fU : 0;
    if (octets > 2 || head[1] == 0x80 || BIO_read(bio, head + 2, (int)octets) != (int)octets)
        goto out;
    for (i = 0, have += octets; i < octets; i++)
        body = i == 0 ? head[2] : body << 8U | head[2 + i];
    der = body > 0 && have + body <= DER_MAX ? OPENSSL_malloc(have + body) : NULL;
    if (der == NULL)
        goto out;
    memcpy(der, head, have);
    *len = have + body;
    if (BIO_read(bio, der + have, (int)body) != (int)body) {
        OPENSSL_free(der);
        der = NULL;
    }
out:
    ERR_pop_to_mark();
    BIO_free(bio);
    return der;
}

/* The type of the parameters that DER may hold; NULL: none. Numbers alone say no name: those of
 * DSA are p, q and g, of DHX p, g, q and what else there is, of DH p and g, and a small third. */
static const char *guess(const unsigned char *der, size_t len)
{
    const unsigned char *p = der, *end = der + len;
    long length[4] = {0}, n = 0;
    int tag = 0, class = 0, bits;

    if (len > 0 && der[0] == V_ASN1_OBJECT)
        return "EC";
    bits = ASN1_get_object(&p, &length[0], &tag, &class, end - p);
    while ((bits & 0x80) == 0 && p < end && n < 4) {
        bits = ASN1_get_object(&p, &length[n], &tag, &class, end - p);
        if ((bits & 0x80) != 0)
            return NULL;
        if (tag != V_ASN1_INTEGER)
            break;
        p += length[n++];
    }
    if (n == 1 && tag == V_ASN1_SEQUENCE && length[0] == 1)
        return "EC"; /* a curve in numbers */
    if (n == 2 || (n == 3 && length[2] <= 4))
        return "DH";
    if (n == 3)
        return length[1] < length[2] ? "DSA" : "DHX";
    return n == 4 ? "DHX" : NULL;
}

/* To the decoder of that type of ours, and to no other: the structure is our own. */
static int route_to(const char *type, const unsigned char *der, size_t len, OSSL_CALLBACK *data_cb,
                    void *data_arg)
{
    int object_type = OSSL_OBJECT_PKEY, ok;
    /* libcrypto only reads them */
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_int(OSSL_OBJECT_PARAM_TYPE, &object_type),
        OSSL_PARAM_construct_utf8_string(OSSL_OBJECT_PARAM_DATA_TYPE, (char *)(uintptr_t)type, 0),
        OSSL_PARAM_construct_utf8_string(OSSL_OBJECT_PARAM_DATA_STRUCTURE,
                                         (char *)(uintptr_t)PROV_PARAMS_STRUCTURE, 0),
        OSSL_PARAM_construct_octet_string(OSSL_OBJECT_PARAM_DATA, (void *)(uintptr_t)der, len),
        OSSL_PARAM_construct_end(),
    };

    now.routed = true;
    ok = data_cb(params, data_arg);
    now.routed = false;
    return ok;
}

/* Twice: where the caller has named a structure libcrypto compares the first decoder's that it
 * comes to with it, passes that one over, and compares no more. */
static int route(const char *type, const unsigned char *der, size_t len, OSSL_CALLBACK *data_cb,
                 void *data_arg)
{
    bool ec = strcmp(type, "EC") == 0;
    int ok = 1, i;

    for (i = 0; i < 2 && !now.taken; i++) {
        ok = route_to(type, der, len, data_cb, data_arg);
        if (ec && !now.taken)
            ok = route_to("SM2", der, len, data_cb, data_arg); /* of the same form */
    }
    return ok;
}

static int decode_der(void *vctx, OSSL_CORE_BIO *in, int selection, OSSL_CALLBACK *data_cb,
                      void *data_arg, OSSL_PASSPHRASE_CALLBACK *pw_cb, void *pw_arg)
{
    struct prov_ctx *ctx = vctx;
    const char *type;
    unsigned char *der;
    size_t len = 0;
    int ok = 1;

    (void)pw_cb;
    (void)pw_arg;
    now.seen = NULL; /* a new input */
    if (now.declined || !params_does_selection(ctx, selection) ||
        (prov_decoders_are_sorted() && !we_come_first(ctx)))
        return 1;
    der = read_element(ctx, in, &len);
    type = der != NULL ? guess(der, len) : NULL;
    if (type == NULL)
        goto out;
    now.taken = false;
    if (prov_decoders_are_sorted())
        ok = route(type, der, len, data_cb, data_arg);
    else if (libcrypto_says_so(ctx, data_cb, data_arg))
        ok = hand_over(ctx, type, der, len, data_cb, data_arg);
    /* Sorted decoders find out by themselves. */
    if (!now.taken)
        ok = pass_on(der, len, !prov_decoders_are_sorted(), data_cb, data_arg);
out:
    OPENSSL_free(der);
    return ok;
}

/* --- DER of a known type, where decoders are sorted ------------------------------------------ */

static int decode_type(void *vctx, const char *type, OSSL_CORE_BIO *in, int selection,
                       OSSL_CALLBACK *data_cb, void *data_arg)
{
    struct prov_ctx *ctx = vctx;
    bool asked = prov_decoders_are_sorted() && now.seen != in;
    unsigned char *der;
    size_t len = 0;
    int ok = 1;

    if (now.declined || !params_does_selection(ctx, selection) || (!asked && !now.routed))
        return 1;
    der = read_element(ctx, in, &len);
    if (der != NULL)
        ok = hand_over(ctx, type, der, len, data_cb, data_arg);
    OPENSSL_free(der);
    return ok;
}

/* One of the two that are sorted behind the others when we are asked for. */
static int decode_mark(void *vctx, OSSL_CORE_BIO *in, int selection, OSSL_CALLBACK *data_cb,
                       void *data_arg, OSSL_PASSPHRASE_CALLBACK *pw_cb, void *pw_arg)
{
    (void)vctx;
    (void)selection;
    (void)data_cb;
    (void)data_arg;
    (void)pw_cb;
    (void)pw_arg;
    now.seen = in;
    return 1;
}

/* --- dispatch -------------------------------------------------------------------------------- */

#define DISPATCH(decode)                                                                           \
    {OSSL_FUNC_DECODER_NEWCTX, (void (*)(void))prov_decoder_newctx},                               \
        {OSSL_FUNC_DECODER_FREECTX, (void (*)(void))prov_decoder_freectx},                         \
        {OSSL_FUNC_DECODER_DOES_SELECTION, (void (*)(void))params_does_selection},                 \
        {OSSL_FUNC_DECODER_DECODE, (void (*)(void))(decode)},                                      \
        {OSSL_FUNC_DECODER_EXPORT_OBJECT, (void (*)(void))params_export_object},                   \
    {                                                                                              \
        0, NULL                                                                                    \
    }

const OSSL_DISPATCH prov_decoder_params_pem[] = {DISPATCH(decode_pem)};
const OSSL_DISPATCH prov_decoder_params_der[] = {DISPATCH(decode_der)};
const OSSL_DISPATCH prov_decoder_params_mark[] = {DISPATCH(decode_mark)};

#define TYPE(id, name)                                                                             \
    static int decode_##id(void *vctx, OSSL_CORE_BIO *in, int selection, OSSL_CALLBACK *data_cb,   \
                           void *data_arg, OSSL_PASSPHRASE_CALLBACK *pw_cb, void *pw_arg)          \
    {                                                                                              \
        (void)pw_cb;                                                                               \
        (void)pw_arg;                                                                              \
        return decode_type(vctx, name, in, selection, data_cb, data_arg);                          \
    }                                                                                              \
    const OSSL_DISPATCH prov_decoder_params_##id[] = {DISPATCH(decode_##id)};

TYPE(ec, "EC")
TYPE(sm2, "SM2")
TYPE(dsa, "DSA")
TYPE(dh, "DH")
TYPE(dhx, "DHX")
