/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_list.c - hsmkey list: the keys and certificates of a token.
 */
#include <openssl/asn1.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"

/* An object as it is listed; copied, because what belongs together is known only at the end. */
struct entry {
    enum ks_class klass;
    char type[96];
    char *label;
    size_t label_len;
    unsigned char *id;
    size_t id_len;
    char uri[CMD_URI_SIZE];
    bool sign, decrypt, derive;
    bool sensitive, extractable, always_authenticate, local;
    bool with_public, with_certificate, with_private;
    char subject[256], not_after[64]; /* certificates */
};

struct listing {
    const struct ks_token_facts *facts;
    struct entry *entries;
    size_t count, room;
    bool failed;
};

static void certificate_facts(struct entry *entry, const struct ks_bytes *der)
{
    const unsigned char *p = der->data;
    X509 *cert = p != NULL ? d2i_X509(NULL, &p, (long)der->len) : NULL;
    const EVP_PKEY *key;
    BIO *bio = NULL;
    struct tm tm;

    snprintf(entry->type, sizeof(entry->type), "unreadable");
    if (cert == NULL) {
        goto out;
    }
    key = X509_get0_pubkey(cert);
    if (key != NULL) {
        cmd_pkey_type(key, entry->type, sizeof(entry->type));
    }
    bio = BIO_new(BIO_s_mem());
    if (bio != NULL &&
        X509_NAME_print_ex(bio, X509_get_subject_name(cert), 0,
                           XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB) >= 0) {
        int n = BIO_read(bio, entry->subject, (int)sizeof(entry->subject) - 1);

        entry->subject[n > 0 ? n : 0] = '\0';
    }
    if (ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm) == 1) {
        strftime(entry->not_after, sizeof(entry->not_after), "%Y-%m-%dT%H:%M:%SZ", &tm);
    }
out:
    BIO_free(bio);
    X509_free(cert);
    ERR_clear_error();
}

static bool copy_bytes(void *out, size_t *out_len, const void *in, size_t len)
{
    void *copy;

    if (in == NULL) {
        return true;
    }
    copy = malloc(len + 1);
    if (copy == NULL) {
        return false;
    }
    memcpy(copy, in, len);
    *(void **)out = copy;
    *out_len = len;
    return true;
}

static bool visit_object(void *arg, const struct ks_object *object)
{
    struct listing *list = arg;
    struct entry *entry;

    if (list->count == list->room) {
        size_t room = list->room * 2 + 16;
        struct entry *grown = realloc(list->entries, room * sizeof(*grown));

        if (grown == NULL) {
            goto fail;
        }
        list->entries = grown;
        list->room = room;
    }
    entry = &list->entries[list->count];
    memset(entry, 0, sizeof(*entry));
    entry->klass = object->klass;
    list->count++;
    if (!copy_bytes(&entry->label, &entry->label_len, object->label, object->label_len) ||
        !copy_bytes(&entry->id, &entry->id_len, object->id.data, object->id.len)) {
        goto fail;
    }
    if (object->klass == KS_CLASS_CERTIFICATE) {
        certificate_facts(entry, &object->value);
    } else {
        cmd_key_type(object, entry->type, sizeof(entry->type));
    }
    if (object->klass == KS_CLASS_PRIVATE) {
        entry->sign = object->can_sign;
        /* Some tokens set all flags by default, also those that make no sense. */
        entry->decrypt = object->can_decrypt && object->type == KS_KEY_RSA;
        entry->derive = object->can_derive && object->type != KS_KEY_RSA;
        entry->sensitive = object->sensitive;
        entry->extractable = object->extractable;
        entry->always_authenticate = object->always_authenticate;
        entry->local = object->local;
    }
    cmd_object_uri(object, list->facts, entry->uri, sizeof(entry->uri));
    return true;
fail:
    list->failed = true;
    return false;
}

static bool same_id(const struct entry *a, const struct entry *b)
{
    return a->id_len > 0 && a->id_len == b->id_len && memcmp(a->id, b->id, a->id_len) == 0;
}

static int compare_ids(const void *a, const void *b)
{
    const struct entry *x = *(const struct entry *const *)a, *y = *(const struct entry *const *)b;
    size_t len = x->id_len < y->id_len ? x->id_len : y->id_len;
    int rc = len > 0 ? memcmp(x->id, y->id, len) : 0;

    return rc != 0 ? rc : x->id_len < y->id_len ? -1 : x->id_len > y->id_len;
}

/* Objects with one CKA_ID belong together. Sorted first: a token may hold many. */
static bool find_companions(struct listing *list)
{
    struct entry **sorted = calloc(list->count + 1, sizeof(struct entry *));
    size_t from, to, i, j;

    if (sorted == NULL) {
        return false;
    }
    for (i = 0; i < list->count; i++) {
        sorted[i] = &list->entries[i];
    }
    qsort(sorted, list->count, sizeof(struct entry *), compare_ids);
    for (from = 0; from < list->count; from = to) {
        bool found[KS_CLASS_CERTIFICATE + 1] = {false};

        for (to = from + 1; to < list->count && same_id(sorted[from], sorted[to]); to++) {
        }
        for (j = from; j < to; j++) {
            found[sorted[j]->klass] = true;
        }
        for (j = from; j < to; j++) {
            sorted[j]->with_private = found[KS_CLASS_PRIVATE];
            sorted[j]->with_public = found[KS_CLASS_PUBLIC];
            sorted[j]->with_certificate = found[KS_CLASS_CERTIFICATE];
        }
    }
    free(sorted);
    return true;
}

static const char *class_name(enum ks_class klass)
{
    static const char *const names[] = {
        [KS_CLASS_ANY] = "other",
        [KS_CLASS_PRIVATE] = "private",
        [KS_CLASS_PUBLIC] = "public",
        [KS_CLASS_CERTIFICATE] = "certificate",
    };

    return names[klass];
}

static void add_word(char *out, size_t size, bool condition, const char *word)
{
    size_t len = strlen(out);

    if (condition) {
        snprintf(out + len, size - len, "%s%s", len > 0 ? "," : "", word);
    }
}

static bool as_row(struct cmd_table *table, const struct entry *e)
{
    char label[200], use[40] = "", protection[80] = "", with[40] = "";
    const char *cells[] = {class_name(e->klass), e->type, label, use, protection, with, e->uri};
    bool private = e->klass == KS_CLASS_PRIVATE;
    size_t i;

    ks_escape(label, sizeof(label), e->label != NULL ? e->label : "", e->label_len);
    add_word(use, sizeof(use), e->sign, "sign");
    add_word(use, sizeof(use), e->decrypt, "decrypt");
    add_word(use, sizeof(use), e->derive, "derive");
    add_word(protection, sizeof(protection), private && e->sensitive, "sensitive");
    add_word(protection, sizeof(protection), private && !e->sensitive, "NOT-SENSITIVE");
    add_word(protection, sizeof(protection), private && e->extractable, "EXTRACTABLE");
    add_word(protection, sizeof(protection), private && e->always_authenticate, "pin-each-time");
    add_word(with, sizeof(with), !private && e->with_private, "private");
    add_word(with, sizeof(with), e->klass != KS_CLASS_PUBLIC && e->with_public, "public");
    add_word(with, sizeof(with), e->klass != KS_CLASS_CERTIFICATE && e->with_certificate,
             "certificate");
    for (i = 0; i < table->columns; i++) {
        if (cells[i][0] == '\0') {
            cells[i] = "-";
        }
    }
    return cmd_table_row(table, cells);
}

static void as_json(struct cmd_json *json, const struct entry *e)
{
    char *hex = malloc(e->id_len * 2 + 4);

    cmd_json_open(json, NULL, '{');
    cmd_json_string(json, "class", class_name(e->klass));
    cmd_json_string(json, "type", e->type);
    cmd_json_bytes(json, "label", e->label, e->label_len);
    cmd_json_string(json, "id",
                    hex != NULL && e->id != NULL ? cmd_hex(e->id, e->id_len, hex, e->id_len * 2 + 4)
                                                 : NULL);
    cmd_json_string(json, "uri", e->uri[0] != '\0' ? e->uri : NULL);
    if (e->klass == KS_CLASS_PRIVATE) {
        cmd_json_bool(json, "sign", e->sign);
        cmd_json_bool(json, "decrypt", e->decrypt);
        cmd_json_bool(json, "derive", e->derive);
        cmd_json_bool(json, "sensitive", e->sensitive);
        cmd_json_bool(json, "extractable", e->extractable);
        cmd_json_bool(json, "always-authenticate", e->always_authenticate);
        cmd_json_bool(json, "generated-on-token", e->local);
    } else {
        cmd_json_bool(json, "has-private", e->with_private);
    }
    if (e->klass != KS_CLASS_PUBLIC) {
        cmd_json_bool(json, "has-public", e->with_public);
    }
    if (e->klass != KS_CLASS_CERTIFICATE) {
        cmd_json_bool(json, "has-certificate", e->with_certificate);
    } else {
        cmd_json_string(json, "subject", e->subject);
        cmd_json_string(json, "not-after", e->not_after[0] != '\0' ? e->not_after : NULL);
    }
    cmd_json_close(json, '{');
    free(hex);
}

static bool print_text(const struct listing *list)
{
    static const char *const head[] = {"CLASS",      "TYPE", "LABEL", "USE",
                                       "PROTECTION", "WITH", "URI"};
    struct cmd_table table = {.columns = 7};
    bool ok = cmd_table_row(&table, head);
    size_t i;

    for (i = 0; ok && i < list->count; i++) {
        ok = as_row(&table, &list->entries[i]);
    }
    if (ok && list->count > 0) {
        cmd_table_print(&table, stdout);
    }
    cmd_table_clear(&table);
    return ok;
}

static bool print_listing(struct cmd_env *env, const struct listing *list,
                          const struct ks_token_facts *facts)
{
    char label[160], uri[CMD_URI_SIZE];
    size_t i;

    if (!env->json) {
        if (list->count == 0) {
            ks_escape(label, sizeof(label), facts->label, SIZE_MAX);
            printf("The token \"%s\" holds no matching key or certificate.\n", label);
        }
        return print_text(list);
    }
    cmd_json_open(&env->doc, NULL, '{');
    cmd_json_open(&env->doc, "token", '{');
    cmd_json_string(&env->doc, "label", facts->label);
    cmd_json_string(&env->doc, "serial", facts->serial);
    cmd_json_string(&env->doc, "uri", cmd_token_uri(facts, uri, sizeof(uri)) ? uri : NULL);
    cmd_json_close(&env->doc, '{');
    cmd_json_open(&env->doc, "objects", '[');
    for (i = 0; i < list->count; i++) {
        as_json(&env->doc, &list->entries[i]);
    }
    cmd_json_close(&env->doc, '[');
    cmd_json_close(&env->doc, '{');
    return true;
}

static int list_token(struct cmd_env *env, const char *text)
{
    struct ks_token_facts facts;
    struct listing list = {.facts = &facts};
    struct ks_uri *uri = NULL;
    struct ks_error err;
    int status = CMD_FAILED;
    size_t i;

    if (text != NULL && !cmd_take_uri(env, text, &uri)) {
        return CMD_FAILED;
    }
    if (!cmd_open(env, NULL, NULL) || !cmd_connect(env)) {
        goto out;
    }
    if (!ks_ok(ks_token_facts(env->prov->token, &env->how, &facts, &err)) ||
        !ks_ok(ks_token_objects(env->prov->token, &env->how, uri, visit_object, &list, &err))) {
        cmd_error_ks(env, NULL, &err);
        goto out;
    }
    if (list.failed || !find_companions(&list) || !print_listing(env, &list, &facts)) {
        cmd_error(env, "out of memory");
        goto out;
    }
    status = CMD_OK;
out:
    for (i = 0; i < list.count; i++) {
        free(list.entries[i].label);
        free(list.entries[i].id);
    }
    free(list.entries);
    ks_uri_free(uri);
    return status;
}

static int list_run(struct cmd_env *env, int argc, char **argv)
{
    static const struct option own[] = {{0}};
    int status;

    if (cmd_getopt(env, argc, argv, own, &status) == CMD_STOP) {
        return status;
    }
    if (argc - optind > 1) {
        return cmd_usage(env, "takes one URI at most");
    }
    return list_token(env, optind < argc ? argv[optind] : NULL);
}

const struct cmd cmd_list = {
    "list",
    "[URI]",
    "Show the keys and certificates of the token",
    "URI narrows the list down, as \"pkcs11:object=web;type=private\" does. The last column of "
    "the\n"
    "list is the URI that other commands take; WITH tells what else has the same id.\n",
    list_run,
};
