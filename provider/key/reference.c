/* SPDX-License-Identifier: Apache-2.0
 *
 * reference.c - key references: what a key file holds instead of a private key.
 *
 *   PrivateKeyInfo ::= SEQUENCE {          PKCS#8, PEM label PRIVATE KEY
 *       version     INTEGER (0),
 *       algorithm   AlgorithmIdentifier,   PROV_OID_*, parameters absent
 *       privateKey  OCTET STRING }         HSMKeyReference
 *
 *   HSMKeyReference ::= SEQUENCE {         also bare, PEM label HSM KEY REFERENCE
 *       version     INTEGER (1),
 *       uri         UTF8String,
 *       id          OCTET STRING,          empty if, and only if, the URI has no id
 *       publicKey   SubjectPublicKeyInfo }
 *
 * Read only: SEQUENCE { VisibleString "PKCS#11 Provider URI v1.0", UTF8String uri }.
 *
 * docs/key-reference.md tells why. References come from strangers: everything that is not
 * exactly this, in DER, is refused, and nothing in them can name a module, a file or a PIN.
 */
#include <openssl/asn1.h>
#include <openssl/asn1t.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <string.h>

#include "key.h"
#include "public.h"
#include "reference.h"

#define REF_URI_MAX 4096

/* --- ASN.1 ----------------------------------------------------------------------------------- */

/* X509_PUBKEY is not used: it decodes the key while it is parsed, by whatever provider comes
 * first, before anything could have been checked. */
typedef struct {
    X509_ALGOR *algorithm;
    ASN1_BIT_STRING *key;
} REF_SPKI;

typedef struct {
    ASN1_INTEGER *version;
    ASN1_UTF8STRING *uri;
    ASN1_OCTET_STRING *id;
    REF_SPKI *spki;
} REF_INNER;

typedef struct {
    ASN1_INTEGER *version;
    X509_ALGOR *algorithm;
    ASN1_OCTET_STRING *inner;
} REF_OUTER;

typedef struct {
    ASN1_VISIBLESTRING *what;
    ASN1_UTF8STRING *uri;
} REF_FOREIGN;

/* clang-format off */
ASN1_SEQUENCE(REF_SPKI) = {
    ASN1_SIMPLE(REF_SPKI, algorithm, X509_ALGOR),
    ASN1_SIMPLE(REF_SPKI, key, ASN1_BIT_STRING)
} static_ASN1_SEQUENCE_END(REF_SPKI)

ASN1_SEQUENCE(REF_INNER) = {
    ASN1_SIMPLE(REF_INNER, version, ASN1_INTEGER),
    ASN1_SIMPLE(REF_INNER, uri, ASN1_UTF8STRING),
    ASN1_SIMPLE(REF_INNER, id, ASN1_OCTET_STRING),
    ASN1_SIMPLE(REF_INNER, spki, REF_SPKI)
} static_ASN1_SEQUENCE_END(REF_INNER)

ASN1_SEQUENCE(REF_OUTER) = {
    ASN1_SIMPLE(REF_OUTER, version, ASN1_INTEGER),
    ASN1_SIMPLE(REF_OUTER, algorithm, X509_ALGOR),
    ASN1_SIMPLE(REF_OUTER, inner, ASN1_OCTET_STRING)
} static_ASN1_SEQUENCE_END(REF_OUTER)

ASN1_SEQUENCE(REF_FOREIGN) = {
    ASN1_SIMPLE(REF_FOREIGN, what, ASN1_VISIBLESTRING),
    ASN1_SIMPLE(REF_FOREIGN, uri, ASN1_UTF8STRING)
} static_ASN1_SEQUENCE_END(REF_FOREIGN)
/* clang-format on */

#define FOREIGN_WHAT "PKCS#11 Provider URI v1.0"

    /* PROV_OID_ARC's content octets; one more octet, the key type, follows. test_reference.c
     * compares it with the text. */
    static const
    unsigned char arc_der[] = {0x69, 0x82, 0xe5, 0x91, 0xfd, 0xb7, 0xcf, 0xc3, 0xda, 0xab,
                               0xc5, 0x9b, 0xe3, 0x99, 0xdc, 0xe8, 0xce, 0xdd, 0xdb, 0x01};

/* Purpose: the value that `item` encodes, when all of `der` is its one and only DER encoding. */
static void *decode_strict(const unsigned char *der, size_t len, const ASN1_ITEM *item)
{
    const unsigned char *p = der;
    unsigned char *again = NULL;
    ASN1_VALUE *value;
    int again_len;

    ERR_set_mark();
    value = ASN1_item_d2i(NULL, &p, (long)len, item);
    if (value != NULL) {
        again_len = ASN1_item_i2d(value, &again, item);
        if (again_len < 0 || (size_t)again_len != len || memcmp(again, der, len) != 0) {
            ASN1_item_free(value, item);
            value = NULL;
        }
    }
    ERR_pop_to_mark();
    OPENSSL_free(again);
    return value;
}

/* --- checks that reading and writing share --------------------------------------------------- */

/* A URI from a stranger, made a C string. NULL, and raised, when it cannot be one. */
static char *uri_from_asn1(const struct prov_ctx *ctx, const ASN1_STRING *text)
{
    const unsigned char *data = ASN1_STRING_get0_data(text);
    int i, len = ASN1_STRING_length(text);
    char *uri;

    if (len <= 0 || len > REF_URI_MAX) {
        prov_raise(ctx, PROV_R_REFERENCE,
                   "the key reference's URI has %d bytes; 1 to %d are possible", len, REF_URI_MAX);
        return NULL;
    }
    for (i = 0; i < len; i++) {
        if (data[i] <= 0x20 || data[i] >= 0x7f) {
            prov_raise(ctx, PROV_R_REFERENCE,
                       "the key reference's URI holds the byte 0x%02x, which no URI may hold",
                       data[i]);
            return NULL;
        }
    }
    uri = OPENSSL_strndup((const char *)data, (size_t)len);
    if (uri == NULL)
        prov_raise(ctx, PROV_R_REFERENCE, "out of memory");
    return uri;
}

/* The parsed URI, or NULL, and raised. The text is not shown: it may hold a PIN. */
static struct ks_uri *parse_uri(const struct prov_ctx *ctx, const char *text, enum ks_uri_use use)
{
    struct ks_uri *uri = NULL;
    struct ks_error err;

    if (!ks_ok(ks_uri_parse(text, use, &uri, &err))) {
        prov_raise(ctx, PROV_R_REFERENCE, "the key reference's URI is not usable: %s", err.text);
        return NULL;
    }
    return uri;
}

/* The id beside the URI is there for readers that do not parse URIs; it must not say else. */
static int check_id(const struct prov_ctx *ctx, const struct ks_uri *uri, const unsigned char *id,
                    size_t id_len)
{
    struct ks_bytes in_uri = ks_uri_id(uri);

    if (in_uri.len != id_len || (id_len > 0 && memcmp(in_uri.data, id, id_len) != 0)) {
        prov_raise(ctx, PROV_R_REFERENCE,
                   "the key reference contradicts itself: its id is not the one in its URI");
        return 0;
    }
    return 1;
}

/* libcrypto need not know the OID. `raw->oid` has tag and length before it. */
static bool is_oid(const ASN1_OBJECT *object, const struct prov_raw *raw)
{
    return OBJ_length(object) == raw->oid_len - 2 &&
           memcmp(OBJ_get0_data(object), raw->oid + 2, raw->oid_len - 2) == 0;
}

/* The key type that a SubjectPublicKeyInfo is of; false when we have no such type. */
static bool spki_type(const REF_SPKI *spki, enum prov_key_type *type)
{
    const ASN1_OBJECT *object;
    int i, parameters, nid;

    X509_ALGOR_get0(&object, &parameters, NULL, spki->algorithm);
    nid = OBJ_obj2nid(object);
    for (i = 0; i < PROV_KEY_TYPES; i++) {
        const struct prov_type_info *info = &prov_types[i];

        if ((info->raw != NULL ? is_oid(object, info->raw) : info->nid == nid) &&
            (info->parameters == parameters || info->or_else == parameters)) {
            *type = (enum prov_key_type)i;
            return true;
        }
    }
    return false;
}

/* By libcrypto's reader, for what has not the plain shape, as RSA-PSS with restrictions. */
static EVP_PKEY *spki_decode_any(const struct prov_ctx *ctx, const unsigned char *der, int len)
{
    unsigned char *again = NULL;
    const unsigned char *p = der;
    EVP_PKEY *pub = d2i_PUBKEY_ex(NULL, &p, len, ctx->libctx, PROV_NOT_US);

    /* it overlooks things, like leading zeros and bytes that follow: compare */
    if (pub != NULL && (i2d_PUBKEY(pub, &again) != len || memcmp(again, der, (size_t)len) != 0)) {
        EVP_PKEY_free(pub);
        pub = NULL;
    }
    OPENSSL_free(again);
    return pub;
}

static EVP_PKEY *spki_decode(const struct prov_ctx *ctx, const REF_SPKI *spki,
                             enum prov_key_type type)
{
    enum prov_key_type found = type;
    unsigned char *der = NULL;
    EVP_PKEY *pub = NULL;
    bool good, plain = false;
    int len;

    ERR_set_mark();
    len = ASN1_item_i2d((const ASN1_VALUE *)spki, &der, ASN1_ITEM_rptr(REF_SPKI));
    if (len > 0)
        pub = prov_spki_read(ctx, der, (size_t)len, &found, &plain);
    if (len > 0 && !plain) {
        found = type;
        pub = spki_decode_any(ctx, der, len);
    }
    good = pub != NULL && found == type && EVP_PKEY_is_a(pub, prov_types[type].name) &&
           EVP_PKEY_get_bits(pub) > 0;
    ERR_pop_to_mark();
    OPENSSL_free(der);
    if (!good) {
        EVP_PKEY_free(pub);
        pub = NULL;
        if (!prov_raise_no_software(ctx, prov_types[type].name))
            prov_raise(ctx, PROV_R_REFERENCE,
                       "the key reference's public key is not a valid %s key",
                       prov_types[type].name);
    }
    return pub;
}

/* --- reading --------------------------------------------------------------------------------- */

void prov_ref_free(struct prov_ref *ref)
{
    if (ref == NULL)
        return;
    OPENSSL_free(ref->uri);
    OPENSSL_free(ref->id);
    EVP_PKEY_free(ref->pub);
    OPENSSL_free(ref);
}

static struct prov_ref *parse_foreign(const struct prov_ctx *ctx, const unsigned char *der,
                                      size_t len, enum prov_key_type only)
{
    REF_FOREIGN *foreign = decode_strict(der, len, ASN1_ITEM_rptr(REF_FOREIGN));
    struct prov_ref *ref = NULL;
    struct ks_uri *uri = NULL;
    const ASN1_STRING *what;
    int ok = 0;

    (void)only; /* it does not say of what type the key is */
    if (foreign == NULL) {
        prov_raise(ctx, PROV_R_REFERENCE,
                   "the PKCS#11 provider URI file is damaged: its DER is malformed or truncated");
        return NULL;
    }
    what = foreign->what;
    if (ASN1_STRING_length(what) != (int)strlen(FOREIGN_WHAT) ||
        memcmp(ASN1_STRING_get0_data(what), FOREIGN_WHAT, strlen(FOREIGN_WHAT)) != 0) {
        prov_raise(ctx, PROV_R_REFERENCE,
                   "the PKCS#11 provider URI file is of another version than \"%s\"", FOREIGN_WHAT);
        goto out;
    }
    ref = OPENSSL_zalloc(sizeof(*ref));
    if (ref == NULL)
        goto out;
    ref->uri = uri_from_asn1(ctx, foreign->uri);
    uri = ref->uri != NULL ? parse_uri(ctx, ref->uri, KS_URI_FOREIGN) : NULL;
    ok = uri != NULL;
out:
    ks_uri_free(uri);
    ASN1_item_free((ASN1_VALUE *)foreign, ASN1_ITEM_rptr(REF_FOREIGN));
    if (!ok) {
        prov_ref_free(ref);
        ref = NULL;
    }
    return ref;
}

static struct prov_ref *skipped(const struct prov_ctx *ctx, enum prov_key_type type)
{
    struct prov_ref *ref = OPENSSL_zalloc(sizeof(*ref));

    if (ref == NULL) {
        prov_raise(ctx, PROV_R_REFERENCE, "out of memory");
        return NULL;
    }
    ref->type = type;
    ref->skipped = true;
    return ref;
}

static int fill_ref(const struct prov_ctx *ctx, const REF_INNER *inner, enum prov_key_type only,
                    struct prov_ref *ref)
{
    int64_t version;
    int id_len = ASN1_STRING_length(inner->id);
    struct ks_uri *uri;
    bool id_agrees;

    if (!ASN1_INTEGER_get_int64(&version, inner->version) || version != 1) {
        prov_raise(ctx, PROV_R_REFERENCE,
                   "the key reference is of a version that this release does not know (it knows "
                   "version 1): write it again with hsmkey reference, or update");
        return 0;
    }
    if (!spki_type(inner->spki, &ref->type)) {
        prov_raise(ctx, PROV_R_REFERENCE,
                   "the key reference's public key is neither RSA nor RSA-PSS, nor EC on a named "
                   "curve, nor Ed25519 or Ed448");
        return 0;
    }
    ref->skipped = only != PROV_KEY_TYPES && only != ref->type;
    if (ref->skipped)
        return 1;
    ref->uri = uri_from_asn1(ctx, inner->uri);
    uri = ref->uri != NULL ? parse_uri(ctx, ref->uri, KS_URI_REFERENCE) : NULL;
    id_agrees = uri != NULL && check_id(ctx, uri, ASN1_STRING_get0_data(inner->id), (size_t)id_len);
    ks_uri_free(uri);
    if (!id_agrees)
        return 0;
    if (id_len > 0) {
        ref->id = OPENSSL_memdup(ASN1_STRING_get0_data(inner->id), (size_t)id_len);
        if (ref->id == NULL) {
            prov_raise(ctx, PROV_R_REFERENCE, "out of memory");
            return 0;
        }
        ref->id_len = (size_t)id_len;
    }
    ref->pub = spki_decode(ctx, inner->spki, ref->type);
    ref->has_public = ref->pub != NULL;
    return ref->has_public;
}

static struct prov_ref *parse_inner(const struct prov_ctx *ctx, const unsigned char *der,
                                    size_t len, enum prov_key_type only)
{
    REF_INNER *inner = decode_strict(der, len, ASN1_ITEM_rptr(REF_INNER));
    struct prov_ref *ref = NULL;

    if (inner == NULL) {
        prov_raise(ctx, PROV_R_REFERENCE,
                   "the key reference is damaged: its DER is malformed or truncated");
        return NULL;
    }
    ref = OPENSSL_zalloc(sizeof(*ref));
    if (ref == NULL) {
        prov_raise(ctx, PROV_R_REFERENCE, "out of memory");
    } else if (!fill_ref(ctx, inner, only, ref)) {
        prov_ref_free(ref);
        ref = NULL;
    }
    ASN1_item_free((ASN1_VALUE *)inner, ASN1_ITEM_rptr(REF_INNER));
    return ref;
}

/* The key type that an OID of our arc stands for; PROV_KEY_TYPES when this release has none. */
static enum prov_key_type type_of_oid(const ASN1_OBJECT *object)
{
    char text[64];
    int i, len = OBJ_obj2txt(text, sizeof(text), object, 1);

    for (i = 0; len > 0 && (size_t)len < sizeof(text) && i < PROV_KEY_TYPES; i++) {
        if (strcmp(text, prov_types[i].oid) == 0)
            return (enum prov_key_type)i;
    }
    return PROV_KEY_TYPES;
}

static struct prov_ref *parse_pkcs8(const struct prov_ctx *ctx, const unsigned char *der,
                                    size_t len, enum prov_key_type only)
{
    REF_OUTER *outer = decode_strict(der, len, ASN1_ITEM_rptr(REF_OUTER));
    struct prov_ref *ref = NULL;
    const ASN1_OBJECT *object;
    enum prov_key_type type;
    int64_t version;
    int parameters;

    if (outer == NULL) {
        prov_raise(ctx, PROV_R_REFERENCE,
                   "the key reference is damaged: its DER is malformed, truncated, or followed by "
                   "something else");
        return NULL;
    }
    X509_ALGOR_get0(&object, &parameters, NULL, outer->algorithm);
    type = type_of_oid(object);
    if (type == PROV_KEY_TYPES) {
        prov_raise(ctx, PROV_R_REFERENCE,
                   "the key reference is to a key of a type that this release does not have");
        goto out;
    }
    if (!ASN1_INTEGER_get_int64(&version, outer->version) || version != 0 ||
        parameters != V_ASN1_UNDEF) {
        prov_raise(ctx, PROV_R_REFERENCE,
                   "the key reference is malformed: version is not 0, or there are parameters");
        goto out;
    }
    if (only != PROV_KEY_TYPES && only != type) {
        ref = skipped(ctx, type);
        goto out;
    }
    ref = parse_inner(ctx, ASN1_STRING_get0_data(outer->inner),
                      (size_t)ASN1_STRING_length(outer->inner), PROV_KEY_TYPES);
    if (ref != NULL && ref->type != type) {
        prov_raise(ctx, PROV_R_REFERENCE,
                   "the key reference contradicts itself: it says %s, and its public key is %s",
                   prov_types[type].name, prov_types[ref->type].name);
        prov_ref_free(ref);
        ref = NULL;
    }
out:
    ASN1_item_free((ASN1_VALUE *)outer, ASN1_ITEM_rptr(REF_OUTER));
    return ref;
}

/* --- what is it? ----------------------------------------------------------------------------- */

struct cursor {
    const unsigned char *p;
    const unsigned char *end;
};

/* Enter the element at the cursor if its tag is `tag`: `*inside` spans its contents and the
 * cursor moves behind it. Contents that the input cuts off are clipped: a truncated reference is
 * a damaged reference, and not something else. */
static bool enter(struct cursor *at, unsigned char tag, struct cursor *inside)
{
    size_t len, left, octets;

    if (at->end - at->p < 2 || at->p[0] != tag)
        return false;
    len = at->p[1];
    at->p += 2;
    if (len > 0x80) {
        octets = len - 0x80;
        if (octets > sizeof(len) || (size_t)(at->end - at->p) < octets)
            return false;
        for (len = 0; octets > 0; octets--)
            len = len << 8 | *at->p++;
    }
    left = (size_t)(at->end - at->p);
    inside->p = at->p;
    inside->end = at->p + (len < left ? len : left);
    at->p = inside->end;
    return true;
}

typedef struct prov_ref *ref_parser(const struct prov_ctx *ctx, const unsigned char *der,
                                    size_t len, enum prov_key_type only);

/* The parser for what the DER claims to be; NULL: nothing of ours. Cheap, as it sees every
 * private key that the process loads, and raises nothing. */
static ref_parser *recognise(const unsigned char *der, size_t len)
{
    struct cursor at = {der, der + len};
    struct cursor sequence, element, oid;

    if (!enter(&at, V_ASN1_SEQUENCE | V_ASN1_CONSTRUCTED, &sequence))
        return NULL;
    at = sequence;
    if (enter(&at, V_ASN1_VISIBLESTRING, &element)) {
        /* without "v1.0", which parse_foreign() looks at */
        size_t prefix = strlen(FOREIGN_WHAT) - strlen("v1.0");

        return (size_t)(element.end - element.p) >= prefix &&
                       memcmp(element.p, FOREIGN_WHAT, prefix) == 0
                   ? parse_foreign
                   : NULL;
    }
    at = sequence;
    if (!enter(&at, V_ASN1_INTEGER, &element))
        return NULL;
    if (enter(&at, V_ASN1_UTF8STRING, &element))
        return parse_inner;
    if (enter(&at, V_ASN1_SEQUENCE | V_ASN1_CONSTRUCTED, &element) &&
        enter(&element, V_ASN1_OBJECT, &oid) && (size_t)(oid.end - oid.p) >= sizeof(arc_der) &&
        memcmp(oid.p, arc_der, sizeof(arc_der)) == 0)
        return parse_pkcs8;
    return NULL;
}

bool prov_ref_claims(const unsigned char *der, size_t len)
{
    return recognise(der, len) != NULL;
}

struct prov_ref *prov_ref_from_der_of(const struct prov_ctx *ctx, const unsigned char *der,
                                      size_t len, enum prov_key_type type, bool *is_ours)
{
    ref_parser *parse = recognise(der, len);

    *is_ours = parse != NULL;
    if (parse == NULL)
        return NULL;
    if (len > PROV_REF_MAX) {
        prov_raise(ctx, PROV_R_REFERENCE, "the key reference has %zu bytes; %zu are possible", len,
                   PROV_REF_MAX);
        return NULL;
    }
    return parse(ctx, der, len, type);
}

struct prov_ref *prov_ref_from_der(const struct prov_ctx *ctx, const unsigned char *der, size_t len,
                                   bool *is_ours)
{
    return prov_ref_from_der_of(ctx, der, len, PROV_KEY_TYPES, is_ours);
}

/* --- writing --------------------------------------------------------------------------------- */

/* The id that goes beside the URI: the URI's own, so that both always agree. */
static int set_id(REF_INNER *inner, const struct prov_key *key)
{
    struct ks_uri *uri = parse_uri(key->ctx, key->uri, KS_URI_REFERENCE);
    struct ks_bytes id = {NULL, 0};
    int ok;

    if (uri == NULL)
        return 0;
    id = ks_uri_id(uri);
    ok = ASN1_OCTET_STRING_set(inner->id, id.data, (int)id.len);
    ks_uri_free(uri);
    return ok;
}

static int inner_to_der(const struct prov_key *key, unsigned char **der)
{
    unsigned char *spki_der = NULL;
    REF_INNER *inner = (REF_INNER *)ASN1_item_new(ASN1_ITEM_rptr(REF_INNER));
    int spki_len = i2d_PUBKEY(key->pub, &spki_der);
    int len = -1;

    *der = NULL;
    if (inner == NULL || spki_len <= 0)
        goto out;
    ASN1_item_free((ASN1_VALUE *)inner->spki, ASN1_ITEM_rptr(REF_SPKI));
    inner->spki = decode_strict(spki_der, (size_t)spki_len, ASN1_ITEM_rptr(REF_SPKI));
    if (inner->spki == NULL || !ASN1_INTEGER_set_int64(inner->version, 1) ||
        !ASN1_STRING_set(inner->uri, key->uri, -1) || !set_id(inner, key))
        goto out;
    len = ASN1_item_i2d((const ASN1_VALUE *)inner, der, ASN1_ITEM_rptr(REF_INNER));
out:
    OPENSSL_free(spki_der);
    ASN1_item_free((ASN1_VALUE *)inner, ASN1_ITEM_rptr(REF_INNER));
    return len;
}

static int outer_to_der(enum prov_key_type type, const unsigned char *inner, int inner_len,
                        unsigned char **der)
{
    REF_OUTER *outer = (REF_OUTER *)ASN1_item_new(ASN1_ITEM_rptr(REF_OUTER));
    ASN1_OBJECT *oid = OBJ_txt2obj(prov_types[type].oid, 1);
    int len = -1;

    *der = NULL;
    if (outer == NULL || oid == NULL || !ASN1_INTEGER_set_int64(outer->version, 0) ||
        !ASN1_OCTET_STRING_set(outer->inner, inner, inner_len) ||
        !X509_ALGOR_set0(outer->algorithm, oid, V_ASN1_UNDEF, NULL))
        goto out;
    oid = NULL; /* the algorithm's now */
    len = ASN1_item_i2d((const ASN1_VALUE *)outer, der, ASN1_ITEM_rptr(REF_OUTER));
out:
    ASN1_OBJECT_free(oid);
    ASN1_item_free((ASN1_VALUE *)outer, ASN1_ITEM_rptr(REF_OUTER));
    return len;
}

int prov_ref_to_der(const struct prov_key *key, unsigned char **der, size_t *len)
{
    unsigned char *inner = NULL;
    struct prov_ref *again = NULL;
    int inner_len, outer_len;
    bool is_ours;
    int ok = 0;

    *der = NULL;
    if (!key->has_private || key->uri == NULL) {
        prov_raise(key->ctx, PROV_R_NO_PRIVATE,
                   "there is no key reference to a public key: write the public key itself");
        return 0;
    }
    inner_len = inner_to_der(key, &inner);
    outer_len = inner_len > 0 ? outer_to_der(key->type, inner, inner_len, der) : -1;
    if (outer_len <= 0) {
        prov_raise(key->ctx, PROV_R_REFERENCE, "libcrypto could not encode the key reference");
        goto out;
    }
    /* what we would refuse to read, for instance a PIN in the URI, is not written either */
    again = prov_ref_from_der(key->ctx, *der, (size_t)outer_len, &is_ours);
    if (again == NULL)
        goto out;
    *len = (size_t)outer_len;
    ok = 1;
out:
    prov_ref_free(again);
    OPENSSL_free(inner);
    if (!ok) {
        OPENSSL_free(*der);
        *der = NULL;
    }
    return ok;
}
