/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_list.c - hsmkey list: the keys and certificates of the tokens. What the members of a cluster
 * share is listed once.
 */
#include <openssl/asn1.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"

/* An object as it is listed. It is a copy, because objects are matched with each other at the
 * end. */
struct entry {
    const struct cmd_target *target;
    unsigned members; /* bit i: member i of the target has the object */
    enum ks_object_class klass;
    char type[96];
    char *label;
    size_t label_len;
    unsigned char *id;
    size_t id_len;
    unsigned char *content; /* the public part, or the certificate; NULL: the token does not say */
    size_t content_len;
    char uri[CMD_URI_SIZE];
    bool sign, decrypt, derive;
    bool sensitive, extractable, always_authenticate, local;
    bool with_public, with_certificate, with_private;
    char subject[256], not_after[64]; /* certificates */
};

/* An object that could not be read. */
struct unread {
    const struct cmd_target *target;
    size_t member;
    enum ks_object_class klass;
    char why[512];
};

struct listing {
    struct cmd_target targets[KS_GROUP_MAX];
    size_t target_count;
    struct entry *entries;
    size_t count, room;
    struct unread *unread;
    size_t unread_count;
    bool failed;
    /* the token that is being read now */
    struct ks_token_facts facts;
    const struct cmd_target *target;
    size_t member, target_first;        /* index of the target's first entry */
    unsigned unreachable[KS_GROUP_MAX]; /* by target; bit i: member i */
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

static const struct ks_bytes *content_of(const struct ks_object *object)
{
    if (object->klass == KS_CLASS_CERTIFICATE) {
        return &object->value;
    }
    return object->type == KS_KEY_RSA ? &object->modulus : &object->ec_point;
}

static bool same(const void *a, size_t a_len, const void *b, size_t b_len)
{
    return a_len == b_len && (a_len == 0 || memcmp(a, b, a_len) == 0);
}

/* The entry of the same object that another member of the cluster has shown already, or NULL. */
static struct entry *listed_already(const struct listing *list, const struct ks_object *object)
{
    const struct ks_bytes *content = content_of(object);
    size_t i;

    for (i = list->target_first; list->target->cluster && i < list->count; i++) {
        struct entry *e = &list->entries[i];

        if (e->klass == object->klass && (e->members & 1U << list->member) == 0 &&
            same(e->id, e->id_len, object->id.data, object->id.len) &&
            same(e->label, e->label_len, object->label, object->label_len) &&
            (e->content == NULL || content->data == NULL ||
             same(e->content, e->content_len, content->data, content->len))) {
            return e;
        }
    }
    return NULL;
}

/* The URI of a cluster's key names no token, as the key is called the same on all members. */
static void entry_uri(const struct listing *list, const struct ks_object *object,
                      struct entry *entry)
{
    if (!list->target->cluster) {
        cmd_object_uri(object, &list->facts, entry->uri, sizeof(entry->uri));
    } else if (!ks_ok(ks_object_uri(object, NULL, KS_URI_DETAIL_REFERENCE, entry->uri,
                                    sizeof(entry->uri), NULL))) {
        entry->uri[0] = '\0';
    }
}

/* Note an object that cannot be read, and go on: it must not hide the others. */
static bool note_unread(struct listing *list, const struct ks_object *object)
{
    struct unread *grown = realloc(list->unread, (list->unread_count + 1) * sizeof(*list->unread));

    if (grown == NULL) {
        list->failed = true;
        return false;
    }
    list->unread = grown;
    grown += list->unread_count++;
    *grown = (struct unread){list->target, list->member, object->klass, ""};
    snprintf(grown->why, sizeof(grown->why), "%s", object->trouble);
    return true;
}

static bool visit_object(void *arg, const struct ks_object *object)
{
    struct listing *list = arg;
    struct entry *entry;
    const struct ks_bytes *content = content_of(object);

    if (object->trouble != NULL) {
        return note_unread(list, object);
    }
    entry = listed_already(list, object);
    if (entry != NULL) {
        entry->members |= 1U << list->member;
        return true;
    }
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
    entry->target = list->target;
    entry->members = 1U << list->member;
    list->count++;
    if (!cmd_copy(&entry->label, &entry->label_len, object->label, object->label_len) ||
        !cmd_copy(&entry->id, &entry->id_len, object->id.data, object->id.len) ||
        !cmd_copy(&entry->content, &entry->content_len, content->data, content->len)) {
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
    entry_uri(list, object, entry);
    return true;
fail:
    list->failed = true;
    return false;
}

static bool same_id(const struct entry *a, const struct entry *b)
{
    return a->target == b->target && a->id_len > 0 && a->id_len == b->id_len &&
           memcmp(a->id, b->id, a->id_len) == 0;
}

static int compare_ids(const void *a, const void *b)
{
    const struct entry *x = *(const struct entry *const *)a, *y = *(const struct entry *const *)b;
    size_t len = x->id_len < y->id_len ? x->id_len : y->id_len;
    int rc = len > 0 ? memcmp(x->id, y->id, len) : 0;

    if (x->target != y->target) {
        return x->target < y->target ? -1 : 1;
    }
    return rc != 0 ? rc : x->id_len < y->id_len ? -1 : x->id_len > y->id_len;
}

/* Objects of one target with one CKA_ID belong together. A token may hold many objects, so they are
 * sorted first. */
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

static const char *class_name(enum ks_object_class klass)
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

/* The names of the members that have the object. */
static void on_which(const struct entry *e, char *out, size_t size)
{
    size_t i;

    out[0] = '\0';
    for (i = 0; e->target->name != NULL && i < e->target->count; i++) {
        add_word(out, size, (e->members & 1U << i) != 0, ks_token_name(e->target->members[i]));
    }
}

static bool as_row(struct cmd_table *table, const struct entry *e)
{
    char label[200], use[40] = "", protection[80] = "", with[40] = "", on[600];
    const char *cells[] = {class_name(e->klass), e->type, label, use, protection, with, e->uri, on};
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
    on_which(e, on, sizeof(on));
    if (e->target->name != NULL) {
        cells[6] = on;
        cells[7] = e->uri;
    }
    for (i = 0; i < table->columns; i++) {
        if (cells[i][0] == '\0') {
            cells[i] = "-";
        }
    }
    return cmd_table_row(table, cells);
}

static void members_json(struct cmd_json *json, const char *key, const struct cmd_target *target,
                         unsigned members)
{
    size_t i;

    cmd_json_open(json, key, '[');
    for (i = 0; i < target->count; i++) {
        if ((members & 1U << i) != 0) {
            cmd_json_string(json, NULL, ks_token_name(target->members[i]));
        }
    }
    cmd_json_close(json, '[');
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
    if (e->target->cluster) {
        cmd_json_string(json, "cluster", e->target->name);
        members_json(json, "members", e->target, e->members);
    } else if (e->target->name != NULL) {
        cmd_json_string(json, "token", e->target->name);
    }
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
    static const char *const head_on[] = {"CLASS",      "TYPE", "LABEL", "USE",
                                          "PROTECTION", "WITH", "ON",    "URI"};
    const bool named = list->targets[0].name != NULL;
    struct cmd_table table = {.columns = named ? 8 : 7};
    bool ok = cmd_table_row(&table, named ? head_on : head);
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

static void token_json(struct cmd_env *env, const char *key, const char *name,
                       const struct ks_token_facts *facts)
{
    char uri[CMD_URI_SIZE];

    cmd_json_open(&env->doc, key, '{');
    if (name != NULL) {
        cmd_json_string(&env->doc, "name", name);
    }
    cmd_json_string(&env->doc, "label", facts != NULL ? facts->label : NULL);
    cmd_json_string(&env->doc, "serial", facts != NULL ? facts->serial : NULL);
    cmd_json_string(&env->doc, "uri",
                    facts != NULL && cmd_token_uri(facts, uri, sizeof(uri)) ? uri : NULL);
    if (name != NULL) {
        cmd_json_bool(&env->doc, "reachable", facts != NULL);
    }
    cmd_json_close(&env->doc, '{');
}

/* The token, or all named tokens, each with what it says of itself. */
static void targets_json(struct cmd_env *env, const struct listing *list)
{
    struct ks_token_facts facts;
    size_t i, j;
    bool known;

    cmd_json_open(&env->doc, NULL, '{');
    if (list->targets[0].name != NULL) {
        cmd_json_open(&env->doc, "tokens", '[');
    }
    for (i = 0; i < list->target_count; i++) {
        const struct cmd_target *target = &list->targets[i];

        for (j = 0; j < target->count; j++) {
            known = (list->unreachable[i] & 1U << j) == 0 &&
                    ks_ok(ks_token_facts(target->members[j], &env->opts, &facts, NULL));
            token_json(env, target->name == NULL ? "token" : NULL,
                       target->name == NULL ? NULL : ks_token_name(target->members[j]),
                       known ? &facts : NULL);
        }
    }
    if (list->targets[0].name != NULL) {
        cmd_json_close(&env->doc, '[');
    }
}

static void unread_json(struct cmd_env *env, const struct listing *list)
{
    size_t i;

    cmd_json_open(&env->doc, "unreadable", '[');
    for (i = 0; i < list->unread_count; i++) {
        const struct unread *u = &list->unread[i];

        cmd_json_open(&env->doc, NULL, '{');
        cmd_json_string(&env->doc, "class", class_name(u->klass));
        if (u->target->name != NULL) {
            cmd_json_string(&env->doc, "token", ks_token_name(u->target->members[u->member]));
        }
        cmd_json_string(&env->doc, "error", u->why);
        cmd_json_close(&env->doc, '{');
    }
    cmd_json_close(&env->doc, '[');
}

/* Name what could not be read on standard error, also where a JSON document is printed. */
static void print_unread(const struct listing *list)
{
    size_t i;

    for (i = 0; i < list->unread_count; i++) {
        const struct unread *u = &list->unread[i];
        const char *name =
            u->target->name != NULL ? ks_token_name(u->target->members[u->member]) : NULL;

        fprintf(stderr, "hsmkey: %s%sa %s object could not be read, and is not listed: %s\n",
                name != NULL ? name : "", name != NULL ? ": " : "", class_name(u->klass), u->why);
    }
}

static bool print_listing(struct cmd_env *env, const struct listing *list)
{
    char label[160] = "";
    struct ks_token_facts facts;
    size_t i;

    if (!env->json) {
        if (list->count > 0) {
            return print_text(list);
        }
        if (list->targets[0].name != NULL) {
            printf("The tokens hold no matching key or certificate.\n");
        } else if (ks_ok(ks_token_facts(env->prov->token, &env->opts, &facts, NULL))) {
            ks_escape(label, sizeof(label), facts.label, SIZE_MAX);
            printf("The token \"%s\" holds no matching key or certificate.\n", label);
        }
        return true;
    }
    targets_json(env, list);
    cmd_json_open(&env->doc, "objects", '[');
    for (i = 0; i < list->count; i++) {
        as_json(&env->doc, &list->entries[i]);
    }
    cmd_json_close(&env->doc, '[');
    if (list->unread_count > 0) {
        unread_json(env, list);
    }
    cmd_json_close(&env->doc, '{');
    return true;
}

/* List the objects of one token. False: the token cannot be asked, and the error was printed. */
static bool visit_token(struct cmd_env *env, struct listing *list, const struct ks_uri *uri)
{
    struct ks_token *token = list->target->members[list->member];
    const char *name = list->target->name != NULL ? ks_token_name(token) : NULL;
    const struct ks_call_options *opts = cmd_call_options(env, name);
    struct ks_error err;
    ks_status st;

    st = ks_token_connect(token, opts, &err);
    if (!ks_ok(st) && name == NULL) {
        cmd_error(env, "%s", cmd_login_text(env, &err));
        return false;
    }
    if (ks_ok(st)) {
        st = ks_token_facts(token, opts, &list->facts, &err);
    }
    if (ks_ok(st)) {
        st = ks_token_objects(token, opts, uri, visit_object, list, &err);
        /* The URI means another one of the tokens. */
        if (name != NULL && st.code == KS_TOKEN_NOT_FOUND) {
            st = (ks_status){KS_OK};
        }
    }
    if (!ks_ok(st)) {
        cmd_error(env, "%s%s%s", name != NULL ? name : "", name != NULL ? ": " : "",
                  cmd_without_name(name, err.text));
    }
    return ks_ok(st);
}

/* List the objects of all tokens that can be reached. Returns how many tokens could not. */
static size_t visit_all(struct cmd_env *env, struct listing *list, const struct ks_uri *uri)
{
    size_t lost = 0, i;

    list->target_count = cmd_targets(env, list->targets);
    for (i = 0; i < list->target_count; i++) {
        list->target = &list->targets[i];
        list->target_first = list->count;
        for (list->member = 0; list->member < list->target->count; list->member++) {
            if (!visit_token(env, list, uri)) {
                list->unreachable[i] |= 1U << list->member;
                lost++;
            }
        }
    }
    return lost;
}

static int list_tokens(struct cmd_env *env, const char *text)
{
    struct listing list = {0};
    struct ks_uri *uri = NULL;
    size_t lost;
    int status = CMD_FAILED;
    size_t i;

    if (text != NULL && !cmd_take_uri(env, text, &uri)) {
        return CMD_FAILED;
    }
    if (!cmd_open(env, NULL, NULL)) {
        goto out;
    }
    lost = visit_all(env, &list, uri);
    print_unread(&list);
    if (lost > 0 && list.targets[0].name == NULL) {
        goto out;
    }
    if (list.failed || !find_companions(&list) || !print_listing(env, &list)) {
        cmd_error(env, "out of memory");
        goto out;
    }
    status = lost == 0 ? CMD_OK : CMD_FAILED;
out:
    for (i = 0; i < list.count; i++) {
        free(list.entries[i].label);
        free(list.entries[i].id);
        free(list.entries[i].content);
    }
    free(list.entries);
    free(list.unread);
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
    return list_tokens(env, optind < argc ? argv[optind] : NULL);
}

const struct cmd cmd_list = {
    "list",
    "[URI]",
    "Show the keys and certificates of the token",
    "URI narrows the list down, as \"pkcs11:object=web;type=private\" does. The last column of "
    "the\n"
    "list is the URI that other commands take; WITH tells what else has the same id.\n"
    "What cannot be read is named on standard error, and does not hide the rest.\n"
    "With several tokens ON names those that have it: a key of a cluster is listed once. What can\n"
    "be reached is listed, and the status is 1 when one cannot.\n",
    list_run,
};
