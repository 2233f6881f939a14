/* SPDX-License-Identifier: Apache-2.0
 *
 * key.c - private keys: found once, used by handle, found again when the handle belongs to
 * another epoch. A key that is found again must be the same key: handles and names are reused.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "../observe/log.h"
#include "connect.h"
#include "key.h"
#include "key_types.h"
#include "kind.h"
#include "mech.h"

static struct ks_key_stats *key_stats(struct ks_token *token, const struct ks_object *object)
{
    char uri[512];

    if (!ks_ok(ks_object_uri(object, NULL, KS_URI_DETAIL_REFERENCE, uri, sizeof(uri), NULL)))
        return ks_stats_key(&token->stats, KS_STATS_OTHER_KEYS);
    return ks_stats_key(&token->stats, uri);
}

ks_status ks_key_make(struct ks_token *token, struct ks_object *object, CK_OBJECT_HANDLE handle,
                      uint64_t epoch, struct ks_key **out, struct ks_error *err)
{
    struct ks_key *key = calloc(1, sizeof(*key));

    if (key == NULL)
        return ks_no_memory(err);
    atomic_init(&key->refs, 1);
    key->token = ks_token_ref(token);
    key->object = object;
    key->handle = handle;
    key->epoch = epoch;
    key->finding = key->first_finding = ks_epoch_new();
    key->stats = key_stats(token, object);
    *out = key;
    return KS_SUCCESS;
}

struct ks_key *ks_key_ref(struct ks_key *key)
{
    atomic_fetch_add(&key->refs, 1);
    return key;
}

void ks_key_free(struct ks_key *key)
{
    if (key == NULL || atomic_fetch_sub(&key->refs, 1) != 1)
        return;
    key->token->kind->key_free(key);
    ks_token_free(key->token);
    ks_object_free(key->object);
    free((void *)key->expect.public_part);
    free(key);
}

const struct ks_object *ks_key_object(const struct ks_key *key)
{
    return key->object;
}

struct ks_token *ks_key_token(const struct ks_key *key)
{
    return key->token;
}

void ks_key_forget(struct ks_key *key, uint64_t epoch)
{
    pthread_mutex_lock(&key->token->pool.lock);
    if (key->epoch == epoch)
        key->epoch = 0;
    pthread_mutex_unlock(&key->token->pool.lock);
}

/* --- the public half ------------------------------------------------------------------------- */

const struct ks_bytes *ks_key_public_part(const struct ks_object *o)
{
    static const struct ks_bytes none = {NULL, 0};
    const struct ks_key_type_row *row = ks_key_type_row(o->type);

    return row != NULL && row->public[0].offset != 0 ? ks_public_bytes(o, &row->public[0]) : &none;
}

size_t ks_key_block(const struct ks_key *key)
{
    const struct ks_key_type_row *row = ks_key_type_row(key->object->type);

    if (row == NULL || !row->decrypts)
        return 0;
    return key->expect.public_len != 0 ? key->expect.public_len : key->object->modulus.len;
}

static ks_status another_public(const struct ks_key *key, const struct ks_object *o,
                                struct ks_error *err)
{
    char name[256];

    return ks_fail_token(err, key->token, KS_KEY_MISMATCH,
                         "key %s: its public half is not the expected one; the key was "
                         "replaced, or the key reference belongs to another token: make a new "
                         "reference (hsmkey reference)",
                         ks_object_name(o, name, sizeof(name)));
}

/* Compare what the token shows with what is expected, or was there before. `*proved`: the private
 * object itself showed it. */
static ks_status check_public(const struct ks_key *key, const struct ks_object *o, bool *proved,
                              struct ks_error *err)
{
    const struct ks_bytes *have = ks_key_public_part(o), *had = ks_key_public_part(key->object);
    const struct ks_expect *e = &key->expect;
    const uint8_t *want = e->public_part;
    size_t want_len = e->public_len;

    *proved = false;
    if (want == NULL) {
        want = had->data;
        want_len = had->len;
    }
    if (want_len > 0 && have->len > 0) {
        if (have->len != want_len || memcmp(have->data, want, have->len) != 0)
            return another_public(key, o, err);
        *proved = !o->borrowed;
    }
    /* A SubjectPublicKeyInfo has modulus or point in it as they are; or another encoding of them,
     * and then it says nothing here. */
    if (want_len > 0 && o->spki.len > want_len &&
        memmem(o->spki.data, o->spki.len, want, want_len) != NULL)
        *proved = true;
    return KS_SUCCESS;
}

ks_status ks_key_expect(struct ks_key *key, const struct ks_expect *expect, struct ks_error *err)
{
    char *copy = ks_strdup_n(expect->public_part, expect->public_len);
    uint64_t finding;
    ks_status st;
    bool proved;

    if (copy == NULL)
        return ks_no_memory(err);
    free((void *)key->expect.public_part);
    key->expect = *expect;
    key->expect.public_part = (const uint8_t *)copy;
    pthread_mutex_lock(&key->token->pool.lock);
    finding = key->finding;
    pthread_mutex_unlock(&key->token->pool.lock);
    st = check_public(key, key->object, &proved, err);
    /* what was found first: in a later finding it may be another object */
    if (ks_ok(st) && proved && finding == key->first_finding)
        atomic_store(&key->proved, finding);
    return ks_ok(st) ? key->token->kind->expect(key, err) : st;
}

/* --- what the token refused ------------------------------------------------------------------ */

void ks_key_mark_refused(struct ks_key *key, const struct ks_mech *mech)
{
    static _Atomic unsigned next;
    uint32_t hash = ks_mech_hash(mech);

    if (ks_key_is_refused(key, mech))
        return;
    atomic_store(&key->refused[atomic_fetch_add(&next, 1) % KS_REFUSED_MAX], hash);
    ks_log_event(mech->kind == KS_MECH_RSA_RAW ? KS_LOG_WARN : KS_LOG_INFO, "mechanism-refused",
                 key->token->name, "mechanism", ks_mech_name(mech->kind), "key",
                 key->stats != NULL ? key->stats->uri : NULL, "text",
                 "another way is taken with this key from now on", NULL);
}

bool ks_key_is_refused(struct ks_key *key, const struct ks_mech *mech)
{
    uint32_t hash = ks_mech_hash(mech);

    for (size_t i = 0; i < KS_REFUSED_MAX; i++)
        if (atomic_load_explicit(&key->refused[i], memory_order_relaxed) == hash)
            return true;
    return false;
}

/* --- finding --------------------------------------------------------------------------------- */

/* Two matches: say which, so that the user can tell them apart. */
static ks_status ambiguous(struct ks_call *call, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                           const CK_OBJECT_HANDLE *found)
{
    struct ks_object *a = NULL, *b = NULL;
    char an[256] = "?", bn[256] = "?";

    if (ks_ok(ks_object_read(call, fn, session, found[0], KS_CLASS_PRIVATE, false, &a)))
        ks_object_name(a, an, sizeof(an));
    if (ks_ok(ks_object_read(call, fn, session, found[1], KS_CLASS_PRIVATE, false, &b)))
        ks_object_name(b, bn, sizeof(bn));
    ks_object_free(a);
    ks_object_free(b);
    call->rv = CKR_OK;
    return ks_fail_token(call->err, call->token, KS_KEY_AMBIGUOUS,
                         "more than one private key matches: %s and %s; name one of them by id= "
                         "and object=",
                         an, bn);
}

static ks_status not_found(struct ks_call *call, const char *wanted)
{
    struct ks_token_facts facts;

    ks_token_copy_facts(call->token, &facts);
    return ks_fail_token(call->err, call->token, KS_KEY_NOT_FOUND, "no private key %s%s", wanted,
                         facts.login_required && !facts.protected_path && call->token->pin == NULL
                             ? "; private keys show only after login: set pin = file:/path in the "
                               "provider's section"
                             : "; 'hsmkey list' shows what is there");
}

/* No match may mean that the login was lost, as private objects are invisible then. Ask, and report
 * CKR_USER_NOT_LOGGED_IN, so that the operation logs in again. */
static ks_status check_login(struct ks_call *call, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session)
{
    CK_SESSION_INFO info = {0};
    struct ks_token_facts facts;
    ks_status st;

    ks_token_copy_facts(call->token, &facts);
    if (!facts.login_required || (call->token->pin == NULL && !facts.protected_path))
        return KS_SUCCESS;
    st = ks_call_rv(call, KS_C_GetSessionInfo, fn->C_GetSessionInfo(session, &info));
    if (ks_ok(st) && (info.state == CKS_RO_PUBLIC_SESSION || info.state == CKS_RW_PUBLIC_SESSION))
        st = ks_call_rv(call, KS_C_FindObjects, CKR_USER_NOT_LOGGED_IN);
    return st;
}

ks_status ks_key_search(struct ks_call *call, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                        const CK_ATTRIBUTE *label, const CK_ATTRIBUTE *id, const char *wanted,
                        CK_OBJECT_HANDLE *out)
{
    CK_OBJECT_CLASS klass = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE template[3] = {{CKA_CLASS, &klass, sizeof(klass)}};
    CK_OBJECT_HANDLE found[2];
    CK_ULONG n = 1, count = 0;
    ks_status st;

    if (label != NULL)
        template[n++] = *label;
    if (id != NULL)
        template[n++] = *id;
    st = ks_object_search(call, fn, session, template, n, found, 2, &count);
    if (ks_ok(st) && count == 0) {
        st = check_login(call, fn, session);
        /* another thread may have logged in again since the search */
        if (ks_ok(st))
            st = ks_object_search(call, fn, session, template, n, found, 2, &count);
    }
    if (!ks_ok(st))
        return st;
    if (count == 0)
        return not_found(call, wanted);
    if (count > 1)
        return ambiguous(call, fn, session, found);
    *out = found[0];
    return KS_SUCCESS;
}

/* Another number for another object. Two threads may find the same one at once. */
static uint64_t note_found(struct ks_key *key, CK_OBJECT_HANDLE handle, uint64_t epoch, bool proved)
{
    uint64_t finding;

    pthread_mutex_lock(&key->token->pool.lock);
    if (key->epoch != epoch || key->handle != handle)
        key->finding = ks_epoch_new();
    key->handle = handle;
    key->epoch = epoch;
    finding = key->finding;
    pthread_mutex_unlock(&key->token->pool.lock);
    if (proved)
        atomic_store(&key->proved, finding);
    return finding;
}

ks_status ks_key_locate(struct ks_call *call, CK_FUNCTION_LIST *fn, struct ks_session *session,
                        struct ks_key *key, CK_OBJECT_HANDLE *handle)
{
    const struct ks_object *was = key->object;
    CK_ATTRIBUTE label = {CKA_LABEL, was->label, was->label_len};
    CK_ATTRIBUTE id = {CKA_ID, was->id.data, was->id.len};
    struct ks_object *is = NULL;
    char name[256];
    bool proved = false;
    ks_status st;

    st = ks_key_search(call, fn, session->handle, was->label_len > 0 ? &label : NULL,
                       was->id.len > 0 ? &id : NULL, ks_object_name(was, name, sizeof(name)),
                       handle);
    if (!ks_ok(st))
        return st;
    /* a hint is worth a call where it is all that there is */
    st = ks_object_read(call, fn, session->handle, *handle, KS_CLASS_PRIVATE,
                        key->expect.verify == NULL || key->expect.challenge == NULL, &is);
    if (!ks_ok(st))
        return st;
    if (is->type != was->type)
        st = ks_fail_token(call->err, call->token, KS_KEY_MISMATCH,
                           "key %s is of another type than before", name);
    else
        st = check_public(key, is, &proved, call->err);
    ks_object_free(is);
    if (ks_ok(st))
        session->finding = note_found(key, *handle, session->epoch, proved);
    return st;
}
