/* SPDX-License-Identifier: Apache-2.0
 *
 * uri.c - PKCS#11 URIs (RFC 7512). p11-kit decodes and formats; here is only what we allow.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "error.h"
#include "uri.h"

#define URI_MAX 4096

#define TOKEN_USE     (1U << KS_URI_TOKEN)
#define REFERENCE_USE (1U << KS_URI_REFERENCE)
#define FOREIGN_USE   (1U << KS_URI_FOREIGN)
#define CALLER_USE    (1U << KS_URI_CALLER)
#define OBJECT_USE    (REFERENCE_USE | FOREIGN_USE | CALLER_USE)

#define NO_MODULE                                                                                  \
    "it names a PKCS#11 module: take it out of the URI, and set \"pkcs11-module\" in the "         \
    "provider's section of openssl.cnf"

/* Everything that RFC 7512 defines and that may occur, and where. What is not listed for a use is
 * refused: a URI must not be able to load code, choose a slot by number or carry a PIN. */
static const struct attribute_row {
    const char *name;
    unsigned uses;
    bool query;
    const char *why_not;
} attribute_rows[] = {
    {"token", TOKEN_USE | OBJECT_USE, false, NULL},
    {"serial", TOKEN_USE | OBJECT_USE, false, NULL},
    {"manufacturer", TOKEN_USE | FOREIGN_USE | CALLER_USE, false, NULL},
    {"model", TOKEN_USE | FOREIGN_USE | CALLER_USE, false, NULL},
    {"object", OBJECT_USE, false, NULL},
    {"id", OBJECT_USE, false, NULL},
    {"type", OBJECT_USE, false, NULL},
    {"pin-source", CALLER_USE, true,
     "it says where a PIN is: take it out of the URI, and set \"pin\" (file:PATH, env:NAME or "
     "prompt) in the provider's section of openssl.cnf"},
    {"pin-value", 0, true,
     "it holds a PIN: take it out of the URI, change that PIN if others could read it, and set "
     "\"pin\" (file:PATH, env:NAME or prompt) in the provider's section of openssl.cnf"},
    {"module-path", 0, true, NO_MODULE},
    {"module-name", 0, true, NO_MODULE},
    {"library-description", 0, false, NO_MODULE},
    {"library-manufacturer", 0, false, NO_MODULE},
    {"library-version", 0, false, NO_MODULE},
    {"slot-id", 0, false, "slot numbers change: name the token by token= or serial="},
    {"slot-description", 0, false, "slots change: name the token by token= or serial="},
    {"slot-manufacturer", 0, false, "slots change: name the token by token= or serial="},
};
#define ATTRIBUTE_ROWS (sizeof(attribute_rows) / sizeof(attribute_rows[0]))

/* One "name=value" piece: known, allowed here, not empty, not there before. Values are p11-kit's
 * business. */
static ks_status check_piece(const char *piece, size_t len, bool query, enum ks_uri_use use,
                             unsigned *seen, struct ks_error *err)
{
    const char *eq = memchr(piece, '=', len);
    size_t name_len = eq != NULL ? (size_t)(eq - piece) : len;
    const struct attribute_row *row = NULL;
    char name[80];
    size_t i;

    ks_escape(name, sizeof(name), piece, name_len);
    for (i = 0; i < ATTRIBUTE_ROWS; i++) {
        if (strlen(attribute_rows[i].name) == name_len && attribute_rows[i].query == query &&
            memcmp(attribute_rows[i].name, piece, name_len) == 0) {
            row = &attribute_rows[i];
            break;
        }
    }
    if (eq == NULL)
        return ks_fail(err, KS_URI, "PKCS#11 URI: '%s' is not of the form name=value", name);
    if (row == NULL)
        return ks_fail(err, KS_URI, "PKCS#11 URI: unknown attribute '%s'", name);
    if ((row->uses & (1U << use)) == 0)
        return ks_fail(err, KS_URI, "PKCS#11 URI: attribute '%s' is not permitted here%s%s", name,
                       row->why_not != NULL ? ": " : "", row->why_not != NULL ? row->why_not : "");
    if (name_len + 1 == len)
        return ks_fail(err, KS_URI, "PKCS#11 URI: attribute '%s' is empty", name);
    if ((*seen & (1U << i)) != 0)
        return ks_fail(err, KS_URI, "PKCS#11 URI: attribute '%s' is given twice", name);
    *seen |= 1U << i;
    return KS_SUCCESS;
}

static ks_status check_names(const char *text, enum ks_uri_use use, struct ks_error *err)
{
    const char *p = text + strlen("pkcs11:");
    bool query = false;
    unsigned seen = 0;

    while (*p != '\0') {
        size_t len = strcspn(p, query ? "&" : ";?");
        ks_status st;

        /* "pkcs11:" alone, and "pkcs11:?..." have an empty path */
        if (len > 0 || query || p[len] == ';') {
            st = check_piece(p, len, query, use, &seen, err);
            if (!ks_ok(st))
                return st;
        }
        p += len;
        if (*p == '\0')
            break;
        query = query || *p == '?';
        p++;
        if (*p == '\0')
            return ks_fail(err, KS_URI, "PKCS#11 URI: ends in a separator");
    }
    return KS_SUCCESS;
}

static bool class_of(CK_OBJECT_CLASS ck, enum ks_object_class *out)
{
    static const struct {
        CK_OBJECT_CLASS ck;
        enum ks_object_class klass;
    } rows[] = {
        {CKO_PRIVATE_KEY, KS_CLASS_PRIVATE},
        {CKO_PUBLIC_KEY, KS_CLASS_PUBLIC},
        {CKO_CERTIFICATE, KS_CLASS_CERTIFICATE},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].ck == ck) {
            *out = rows[i].klass;
            return true;
        }
    }
    return false;
}

/* What p11-kit accepted, but we do not. */
static ks_status check_values(const struct ks_uri *uri, enum ks_uri_use use, struct ks_error *err)
{
    const CK_ATTRIBUTE *a = ks_uri_attribute(uri, CKA_CLASS);
    const char *source = ks_uri_pin_source(uri);
    const bool file = use == KS_URI_REFERENCE || use == KS_URI_FOREIGN;
    enum ks_object_class klass = KS_CLASS_ANY;
    CK_OBJECT_CLASS ck;

    if (p11_kit_uri_any_unrecognized(uri->p11))
        return ks_fail(err, KS_URI, "PKCS#11 URI: an attribute was not recognised");
    if (a != NULL) {
        memcpy(&ck, a->pValue, sizeof(ck));
        if (!class_of(ck, &klass))
            return ks_fail(err, KS_URI, "PKCS#11 URI: type must be private, public or cert");
    }
    if (file && klass != KS_CLASS_ANY && klass != KS_CLASS_PRIVATE)
        return ks_fail(err, KS_URI, "PKCS#11 URI: a key reference has type=private");
    if (file && !ks_uri_names_object(uri))
        return ks_fail(err, KS_URI, "PKCS#11 URI: a key reference needs object= or id=");
    if (source != NULL && strncmp(source, "file:/", 6) != 0)
        return ks_fail(err, KS_URI,
                       "PKCS#11 URI: pin-source must be file: with an absolute path; commands are "
                       "never run");
    return KS_SUCCESS;
}

ks_status ks_uri_parse(const char *text, enum ks_uri_use use, struct ks_uri **out,
                       struct ks_error *err)
{
    struct ks_uri *uri = NULL;
    ks_status st;
    int rc;

    if (strnlen(text, URI_MAX + 1) > URI_MAX)
        return ks_fail(err, KS_URI, "PKCS#11 URI: longer than %d bytes", URI_MAX);
    if (strncasecmp(text, "pkcs11:", 7) != 0)
        return ks_fail(err, KS_URI, "PKCS#11 URI: does not begin with pkcs11:");
    st = check_names(text, use, err);
    if (!ks_ok(st))
        return st;
    uri = calloc(1, sizeof(*uri));
    if (uri != NULL)
        atomic_init(&uri->refs, 1);
    if (uri == NULL || (uri->text = strdup(text)) == NULL ||
        (uri->p11 = p11_kit_uri_new()) == NULL) {
        st = ks_no_memory(err);
        goto out;
    }
    rc = p11_kit_uri_parse(text, P11_KIT_URI_FOR_ANY, uri->p11);
    if (rc != P11_KIT_URI_OK) {
        st = ks_fail(err, KS_URI, "PKCS#11 URI: %s", p11_kit_uri_message(rc));
        goto out;
    }
    st = check_values(uri, use, err);
out:
    if (ks_ok(st))
        *out = uri;
    else
        ks_uri_free(uri);
    return st;
}

struct ks_uri *ks_uri_ref(const struct ks_uri *uri)
{
    struct ks_uri *u = (struct ks_uri *)uri;

    if (u != NULL)
        atomic_fetch_add(&u->refs, 1);
    return u;
}

void ks_uri_free(struct ks_uri *uri)
{
    if (uri == NULL || atomic_fetch_sub(&uri->refs, 1) != 1)
        return;
    p11_kit_uri_free(uri->p11);
    free(uri->text);
    free(uri);
}

const CK_ATTRIBUTE *ks_uri_attribute(const struct ks_uri *uri, CK_ATTRIBUTE_TYPE type)
{
    return p11_kit_uri_get_attribute(uri->p11, type);
}

bool ks_uri_matches_token(const struct ks_uri *uri, const CK_TOKEN_INFO *info)
{
    return p11_kit_uri_match_token_info(uri->p11, (CK_TOKEN_INFO *)info) == 1;
}

const char *ks_uri_pin_source(const struct ks_uri *uri)
{
    return p11_kit_uri_get_pin_source(uri->p11);
}

enum ks_object_class ks_uri_class(const struct ks_uri *uri)
{
    const CK_ATTRIBUTE *a = ks_uri_attribute(uri, CKA_CLASS);
    enum ks_object_class klass = KS_CLASS_ANY;
    CK_OBJECT_CLASS ck;

    if (a != NULL) {
        memcpy(&ck, a->pValue, sizeof(ck));
        (void)class_of(ck, &klass);
    }
    return klass;
}

bool ks_uri_names_object(const struct ks_uri *uri)
{
    return ks_uri_attribute(uri, CKA_LABEL) != NULL || ks_uri_attribute(uri, CKA_ID) != NULL;
}

static struct ks_bytes bytes_of(const CK_ATTRIBUTE *a)
{
    return (struct ks_bytes){.data = a != NULL ? a->pValue : NULL,
                             .len = a != NULL ? a->ulValueLen : 0};
}

struct ks_bytes ks_uri_label(const struct ks_uri *uri)
{
    return bytes_of(ks_uri_attribute(uri, CKA_LABEL));
}

struct ks_bytes ks_uri_id(const struct ks_uri *uri)
{
    return bytes_of(ks_uri_attribute(uri, CKA_ID));
}

static bool set_padded(unsigned char *out, size_t size, const char *in)
{
    size_t len = strlen(in);

    if (len > size)
        return false;
    memset(out, ' ', size);
    memcpy(out, in, len);
    return true;
}

bool ks_uri_matches_facts(const struct ks_uri *uri, const struct ks_token_facts *facts)
{
    CK_TOKEN_INFO info = {0};

    return set_padded(info.label, sizeof(info.label), facts->label) &&
           set_padded(info.manufacturerID, sizeof(info.manufacturerID), facts->manufacturer) &&
           set_padded(info.model, sizeof(info.model), facts->model) &&
           set_padded(info.serialNumber, sizeof(info.serialNumber), facts->serial) &&
           ks_uri_matches_token(uri, &info);
}

ks_status ks_object_uri(const struct ks_object *object, const struct ks_token_facts *facts,
                        enum ks_uri_detail detail, char *out, size_t size, struct ks_error *err)
{
    static const CK_OBJECT_CLASS classes[] = {
        [KS_CLASS_PRIVATE] = CKO_PRIVATE_KEY,
        [KS_CLASS_PUBLIC] = CKO_PUBLIC_KEY,
        [KS_CLASS_CERTIFICATE] = CKO_CERTIFICATE,
    };
    CK_OBJECT_CLASS ck = classes[object->klass];
    P11KitUri *uri = p11_kit_uri_new();
    CK_ATTRIBUTE attributes[3];
    CK_ULONG count = 0;
    CK_TOKEN_INFO *info;
    char *text = NULL;
    ks_status st = KS_SUCCESS;

    if (uri == NULL)
        return ks_no_memory(err);
    if (object->klass != KS_CLASS_ANY)
        attributes[count++] = (CK_ATTRIBUTE){CKA_CLASS, &ck, sizeof(ck)};
    if (object->id.len > 0)
        attributes[count++] = (CK_ATTRIBUTE){CKA_ID, object->id.data, object->id.len};
    if (object->label_len > 0)
        attributes[count++] = (CK_ATTRIBUTE){CKA_LABEL, object->label, object->label_len};
    info = p11_kit_uri_get_token_info(uri);
    if (detail != KS_URI_DETAIL_REFERENCE && facts != NULL &&
        !set_padded(info->label, sizeof(info->label), facts->label)) {
        st = ks_fail(err, KS_URI, "the token's label is too long");
        goto out;
    }
    if (detail == KS_URI_DETAIL_FULL && facts != NULL &&
        !set_padded(info->serialNumber, sizeof(info->serialNumber), facts->serial)) {
        st = ks_fail(err, KS_URI, "the token's serial number is too long");
        goto out;
    }
    if (p11_kit_uri_set_attributes(uri, attributes, count) != P11_KIT_URI_OK ||
        p11_kit_uri_format(uri, P11_KIT_URI_FOR_OBJECT_ON_TOKEN, &text) != P11_KIT_URI_OK) {
        st = ks_no_memory(err);
        goto out;
    }
    if (strlen(text) >= size) {
        st = ks_fail(err, KS_URI, "the key's URI is longer than %zu bytes", size - 1);
        goto out;
    }
    memcpy(out, text, strlen(text) + 1);
out:
    free(text);
    p11_kit_uri_free(uri);
    return st;
}
