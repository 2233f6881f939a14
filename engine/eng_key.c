/* SPDX-License-Identifier: Apache-2.0
 *
 * eng_key.c - from what programs call a key to the provider's own EVP_PKEY, through OSSL_STORE.
 */
#include <ctype.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <openssl/store.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../provider/core/control.h"
#include "eng_local.h"

#define URI_MAX 4096

/* --- names ----------------------------------------------------------------------------------- */

enum name_kind { NAME_URI, NAME_CLASSIC, NAME_FILE, NAME_BAD };

struct name {
    enum name_kind kind;
    char uri[URI_MAX]; /* NAME_URI and NAME_CLASSIC */
    bool has_slot;
    unsigned long slot;
};

static bool is_uri(const char *text)
{
    return OPENSSL_strncasecmp(text, "pkcs11:", 7) == 0;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "01ab" or "01:ab" to "pkcs11:id=%01%ab". False when it is not hexadecimal. */
static bool uri_from_id(const char *text, char *out, size_t size)
{
    size_t used = (size_t)snprintf(out, size, "pkcs11:id=");
    size_t empty = used;

    while (*text != '\0') {
        if (hex_digit(text[0]) < 0 || hex_digit(text[1]) < 0 || used + 4 > size)
            return false;
        used += (size_t)snprintf(out + used, size - used, "%%%c%c", text[0], text[1]);
        text += 2;
        if (text[0] == ':' && text[1] != '\0')
            text++;
    }
    return used > empty;
}

static bool uri_from_label(const char *text, char *out, size_t size)
{
    size_t used = (size_t)snprintf(out, size, "pkcs11:object=");
    size_t empty = used;

    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;

        if (used + 4 > size)
            return false;
        /* RFC 3986's unreserved characters stand for themselves */
        used += (size_t)snprintf(
            out + used, size - used,
            isascii(c) && (isalnum(c) || strchr("-._~", c) != NULL) ? "%c" : "%%%02x", c);
    }
    return used > empty;
}

/* Parse [slot_N-]id_HEX or [slot_N-]label_NAME, as other engines call keys. */
static enum name_kind parse_classic(const char *text, struct name *name)
{
    char *end;

    if (strncmp(text, "slot_", 5) == 0 && isdigit((unsigned char)text[5])) {
        errno = 0;
        name->slot = strtoul(text + 5, &end, 10);
        if (errno != 0 || (*end != '-' && *end != '\0'))
            return NAME_FILE;
        name->has_slot = true;
        text = *end == '-' ? end + 1 : end;
    }
    if (strncmp(text, "id_", 3) == 0 && uri_from_id(text + 3, name->uri, sizeof(name->uri)))
        return NAME_CLASSIC;
    if (strncmp(text, "label_", 6) == 0 && uri_from_label(text + 6, name->uri, sizeof(name->uri)))
        return NAME_CLASSIC;
    return name->has_slot ? NAME_BAD : NAME_FILE;
}

static void parse_name(const char *text, struct name *name)
{
    memset(name, 0, sizeof(*name));
    if (text == NULL || text[0] == '\0') {
        name->kind = NAME_BAD;
    } else if (is_uri(text)) {
        name->kind = strlen(text) < sizeof(name->uri) - 16 ? NAME_URI : NAME_BAD;
        if (name->kind == NAME_URI)
            memcpy(name->uri, text, strlen(text) + 1);
    } else {
        name->kind = strchr(text, '/') != NULL ? NAME_FILE : parse_classic(text, name);
    }
}

static const char *file_path(const char *text)
{
    return OPENSSL_strncasecmp(text, "file:/", 6) == 0 ? text + 5 : text;
}

/* Find the value of `type` in a URI. NULL: the URI has no type. */
static const char *uri_type(const char *uri)
{
    const char *p = uri + strlen("pkcs11:");

    while (*p != '\0' && *p != '?') {
        if (strncmp(p, "type=", 5) == 0)
            return p + 5;
        p += strcspn(p, ";?");
        p += *p == ';';
    }
    return NULL;
}

/* Copy `uri`, and add type=`type` if it has no type. A URI of a whole token would list everything
 * otherwise, and the first key of that list is nobody's choice. */
static void with_type(char *out, size_t size, const char *uri, const char *type)
{
    size_t path = strcspn(uri, "?");
    const char *joint = path == strlen("pkcs11:") ? "" : ";";

    if (uri_type(uri) != NULL)
        snprintf(out, size, "%s", uri);
    else
        snprintf(out, size, "%.*s%stype=%s%s", (int)path, uri, joint, type, uri + path);
}

/* Refuse a slot number, as slot numbers change with what is plugged in, unless it is that of the
 * configured token: then it does no harm. */
static int check_slot(OSSL_PROVIDER *provider, const struct name *name)
{
    unsigned long slot = 0;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_ulong(PROV_PARAM_SLOT, &slot),
        OSSL_PARAM_construct_end(),
    };

    if (!name->has_slot)
        return 1;
    if (!OSSL_PROVIDER_get_params(provider, params) || !OSSL_PARAM_modified(params)) {
        eng_raise(ENG_R_NOT_LOADED, "slot_%lu: the configured token's slot is not known",
                  name->slot);
        return 0;
    }
    if (slot != name->slot) {
        eng_raise(ENG_R_KEY_NAME,
                  "slot_%lu is not where the configured token is (that is slot_%lu): the numbers "
                  "change with what is plugged in; name the key %s, and the token with `token` in "
                  "the provider's section of openssl.cnf",
                  name->slot, slot, name->uri);
        return 0;
    }
    return 1;
}

/* --- loading --------------------------------------------------------------------------------- */

/* Load the first object of the kind `expect` (OSSL_STORE_INFO_...) that a URI stands for. NULL: the
 * URI stands for no such object. */
static OSSL_STORE_INFO *from_store(const char *uri, int expect, const struct eng_ui *ui)
{
    OSSL_STORE_CTX *store = NULL;
    OSSL_STORE_INFO *info = NULL;

    store =
        OSSL_STORE_open_ex(uri, NULL, ENG_PROVIDER_ONLY, ui->method, ui->data, NULL, NULL, NULL);
    if (store == NULL || !OSSL_STORE_expect(store, expect))
        goto out;
    while (info == NULL && !OSSL_STORE_eof(store)) {
        info = OSSL_STORE_load(store);
        if (info != NULL && OSSL_STORE_INFO_get_type(info) != expect) {
            OSSL_STORE_INFO_free(info);
            info = NULL;
        }
    }
out:
    (void)OSSL_STORE_close(store);
    return info;
}

/* Load the provider, and turn what a program calls a key into a URI. NULL, and an error is raised,
 * when the name means nothing. */
static const char *resolve(const char *text, struct name *name)
{
    OSSL_PROVIDER *provider = eng_provider();
    char shown[ENG_SHOWN];

    if (provider == NULL)
        return NULL;
    if (name->kind == NAME_BAD) {
        eng_raise(ENG_R_KEY_NAME,
                  "\"%s\": the engine takes a pkcs11: URI, the path of a key reference, or "
                  "slot_N-id_HEX, slot_N-label_NAME, id_HEX, label_NAME",
                  eng_escape(shown, sizeof(shown), text != NULL ? text : ""));
        return NULL;
    }
    return check_slot(provider, name) ? name->uri : NULL;
}

static void loaded(const char *what, const char *name)
{
    char shown[ENG_SHOWN];

    eng_log("%s %s loaded through the provider %s", what, eng_escape(shown, sizeof(shown), name),
            ENG_PROVIDER);
}

static void not_loaded(const char *what, const char *uri)
{
    char shown[ENG_SHOWN];

    eng_raise(ENG_R_NOT_LOADED, "no %s could be loaded for %s", what,
              eng_escape(shown, sizeof(shown), uri));
}

static EVP_PKEY *private_by_uri(const char *uri, const struct eng_ui *ui)
{
    char full[URI_MAX + 32];
    OSSL_STORE_INFO *info;
    EVP_PKEY *key = NULL;

    with_type(full, sizeof(full), uri, "private");
    info = from_store(full, OSSL_STORE_INFO_PKEY, ui);
    if (info != NULL)
        key = OSSL_STORE_INFO_get1_PKEY(info);
    OSSL_STORE_INFO_free(info);
    if (key != NULL && !eng_is_ours(key)) {
        EVP_PKEY_free(key);
        key = NULL;
    }
    if (key == NULL)
        not_loaded("private key", full);
    OPENSSL_cleanse(full, sizeof(full));
    return key;
}

/* Load a public key. Many tokens keep no public object, so the private object is tried as well: it
 * has the public half, too. */
static EVP_PKEY *public_by_uri(const char *uri, const struct eng_ui *ui)
{
    const char *type = uri_type(uri);
    char full[URI_MAX + 32];
    OSSL_STORE_INFO *info = NULL;
    EVP_PKEY *key = NULL;

    if (type == NULL || strncmp(type, "private", 7) != 0) {
        with_type(full, sizeof(full), uri, "public");
        ERR_set_mark();
        info = from_store(full, OSSL_STORE_INFO_PUBKEY, ui);
        if (info != NULL)
            key = OSSL_STORE_INFO_get1_PUBKEY(info);
        OSSL_STORE_INFO_free(info);
        if (key != NULL || type == NULL)
            ERR_pop_to_mark();
        else
            ERR_clear_last_mark();
        if (key == NULL && type != NULL)
            not_loaded("public key", full);
        OPENSSL_cleanse(full, sizeof(full));
    }
    if (key == NULL && (type == NULL || strncmp(type, "private", 7) == 0))
        key = private_by_uri(uri, ui);
    return key;
}

static EVP_PKEY *load(const char *text, const struct eng_ui *ui, const char *what,
                      EVP_PKEY *(*by_uri)(const char *uri, const struct eng_ui *ui))
{
    struct name name;
    const char *uri;
    EVP_PKEY *key = NULL;

    parse_name(text, &name);
    uri = resolve(text, &name);
    if (uri != NULL) {
        key = name.kind == NAME_FILE ? eng_load_reference(file_path(text), ui) : by_uri(uri, ui);
    }
    if (key != NULL)
        loaded(what, text);
    OPENSSL_cleanse(&name, sizeof(name));
    return key;
}

EVP_PKEY *eng_load_private(const char *text, const struct eng_ui *ui)
{
    return load(text, ui, "private key", private_by_uri);
}

EVP_PKEY *eng_load_public(const char *text, const struct eng_ui *ui)
{
    return load(text, ui, "public key", public_by_uri);
}

/* Copy a certificate without the property query that comes with it from our store: with that query
 * libcrypto could fetch nothing else to work on it. */
static X509 *plain(const X509 *certificate)
{
    unsigned char *der = NULL;
    const unsigned char *p;
    X509 *copy = NULL;
    int len = i2d_X509(certificate, &der);

    p = der;
    if (len > 0)
        copy = d2i_X509(NULL, &p, len);
    OPENSSL_free(der);
    return copy;
}

X509 *eng_load_certificate(const char *text, const struct eng_ui *ui)
{
    char full[URI_MAX + 32];
    OSSL_STORE_INFO *info;
    X509 *certificate = NULL;
    struct name name;
    const char *uri;

    parse_name(text, &name);
    if (name.kind == NAME_FILE)
        name.kind = NAME_BAD;
    uri = resolve(text, &name);
    if (uri == NULL)
        goto out;
    with_type(full, sizeof(full), uri, "cert");
    info = from_store(full, OSSL_STORE_INFO_CERT, ui);
    if (info != NULL)
        certificate = plain(OSSL_STORE_INFO_get0_CERT(info));
    OSSL_STORE_INFO_free(info);
    if (certificate == NULL)
        not_loaded("certificate", full);
    else
        loaded("certificate", text);
    OPENSSL_cleanse(full, sizeof(full));
out:
    OPENSSL_cleanse(&name, sizeof(name));
    return certificate;
}
