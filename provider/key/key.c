/* SPDX-License-Identifier: Apache-2.0
 *
 * key.c - what keymgmt's keydata points to: a private key on a token, and its public half,
 * which is an ordinary software key.
 */
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <string.h>

#include "padding.h"
#include "proof.h"
#include "public.h"
#include "reference.h"

/* The longest URI that a reference may hold. */
#define URI_MAX 4096

/* --- the key itself -------------------------------------------------------------------------- */

struct prov_key *prov_key_new(struct prov_ctx *ctx, enum prov_key_type type)
{
    struct prov_key *key = OPENSSL_zalloc(sizeof(*key));

    if (key == NULL)
        return NULL;
    atomic_init(&key->refs, 1);
    key->ctx = ctx;
    key->type = type;
    return key;
}

struct prov_key *prov_key_ref(struct prov_key *key)
{
    atomic_fetch_add_explicit(&key->refs, 1, memory_order_relaxed);
    return key;
}

void prov_key_free(struct prov_key *key)
{
    if (key == NULL || atomic_fetch_sub_explicit(&key->refs, 1, memory_order_acq_rel) != 1)
        return;
    ks_key_free(key->priv);
    prov_ref_free(key->ref);
    prov_ir_secret_free(key->ir_secret);
    EVP_PKEY_free(key->pub);
    OPENSSL_free(key->uri);
    OPENSSL_free(key);
}

void prov_raise_software_key(const struct prov_key *key)
{
    prov_raise(key->ctx, PROV_R_SOFTWARE_KEY,
               "this %s private key is not in the HSM, and software-private-keys = refuse forbids "
               "to use it: load a key reference (hsmkey reference) instead",
               key->refused != NULL ? key->refused : prov_types[key->type].name);
}

static int raise_mismatch(const struct prov_key *key, const char *what)
{
    prov_raise(key->ctx, PROV_R_REFERENCE,
               "%s: %s on the token differs from what the key reference says", key->uri, what);
    return 0;
}

/* Type, exponent and curve: what ks_key_expect() does not compare. */
static int compare_rest(const struct prov_key *key, const struct ks_object *object)
{
    BIGNUM *e = NULL, *token_e = NULL;
    int ret = 0;

    if (object->type != prov_types[key->type].ks_type)
        return raise_mismatch(key, "the key's type");
    if (object->type == KS_KEY_EDWARDS) {
        enum prov_key_type type = key->type;

        if (object->ec_params.data != NULL &&
            (!prov_edwards_type(object, &type) || type != key->type))
            return raise_mismatch(key, "the key's curve");
        return 1;
    }
    if (object->type == KS_KEY_EC) {
        const struct prov_curve *curve = prov_curve_of(key->pub);

        if (curve == NULL) {
            prov_raise(key->ctx, PROV_R_UNSUPPORTED,
                       "%s: the curve is not one of P-256, P-384, P-521 and secp256k1", key->uri);
            return 0;
        }
        if (object->ec_params.data != NULL &&
            prov_curve_by_der(object->ec_params.data, object->ec_params.len) != curve)
            return raise_mismatch(key, "the key's curve");
        return 1;
    }
    if (object->exponent.data == NULL)
        return 1;
    token_e = BN_bin2bn(object->exponent.data, (int)object->exponent.len, NULL);
    if (token_e == NULL || !EVP_PKEY_get_bn_param(key->pub, OSSL_PKEY_PARAM_RSA_E, &e))
        goto out;
    ret = BN_cmp(e, token_e) == 0 ? 1 : raise_mismatch(key, "the RSA exponent");
out:
    BN_free(e);
    BN_free(token_e);
    return ret;
}

/* Asks the token now which mechanisms it lists, so that operations need not ask. */
static void note_mechanisms(struct prov_key *key, struct ks_key *priv)
{
    const struct prov_type_info *info = &prov_types[key->type];
    unsigned i;

    for (i = 0; i < info->mechanism_count; i++)
        (void)prov_key_can(key, priv, info->mechanisms[i]);
}

int prov_key_expect(struct prov_key *key, struct ks_key *priv)
{
    struct ks_expect expect = {.verify = prov_proof_verify,
                               .challenge = prov_proof_challenge,
                               .arg = key}; /* outlives its private half */
    const struct ks_object *object = ks_key_object(priv);
    unsigned char *part = NULL;
    struct ks_error err;
    int ret = 0;

    if (!compare_rest(key, object))
        return 0;
    part = prov_key_public_part(key->pub, &expect.public_len);
    if (part == NULL) {
        prov_raise(key->ctx, PROV_R_SOFTWARE, "%s: the public half cannot be read", key->uri);
        return 0;
    }
    expect.public_part = part;
    if (object->spki.data != NULL &&
        memmem(object->spki.data, object->spki.len, part, expect.public_len) == NULL &&
        prov_proof_other_spki(key, object->spki.data, object->spki.len)) {
        prov_raise(key->ctx, (enum prov_reason)(PROV_R_TOKEN + KS_KEY_MISMATCH),
                   "%s: its public half (CKA_PUBLIC_KEY_INFO) is not the expected one; the key was "
                   "replaced, or the key reference belongs to another token: make a new reference "
                   "(hsmkey reference)",
                   key->uri);
        goto out;
    }
    if (!ks_ok(ks_key_expect(priv, &expect, &err))) {
        prov_raise_ks(key->ctx, &err);
        goto out;
    }
    note_mechanisms(key, priv);
    ret = 1;
out:
    OPENSSL_free(part);
    return ret;
}

/* As a reference has it. Where the token is one of several independent ones the URI names it; a
 * cluster's key is on all of them. `token` may be NULL. */
static char *uri_of(const struct prov_ctx *ctx, const struct ks_object *object,
                    struct ks_token *token)
{
    const bool named = token != NULL && ctx->token != NULL &&
                       (ctx->name_token || ks_token_is_group(ctx->token, KS_GROUP_SET)) &&
                       !ks_token_is_group(token, KS_GROUP_CLUSTER);
    struct ks_token_facts facts;
    char uri[URI_MAX];
    struct ks_error err;

    if (named && !ks_ok(ks_token_facts(token, NULL, &facts, &err))) {
        prov_raise_ks(ctx, &err);
        return NULL;
    }

    if (!ks_ok(ks_object_uri(object, named ? &facts : NULL,
                             named ? KS_URI_DETAIL_TOKEN : KS_URI_DETAIL_REFERENCE, uri,
                             sizeof(uri), &err))) {
        prov_raise_ks(ctx, &err);
        return NULL;
    }
    return OPENSSL_strdup(uri);
}

struct prov_key *prov_key_from_ks(struct prov_ctx *ctx, struct ks_key *priv, EVP_PKEY *pub)
{
    char *uri = uri_of(ctx, ks_key_object(priv), ks_key_token(priv));
    struct prov_key *key = NULL;
    enum prov_key_type type;

    if (uri == NULL)
        return NULL;
    if (pub == NULL)
        pub = prov_key_public_of_private(ctx, priv, uri);
    else if (!EVP_PKEY_up_ref(pub))
        pub = NULL;
    if (pub == NULL)
        goto err;
    if (!prov_type_of(pub, &type)) {
        prov_raise(ctx, PROV_R_UNSUPPORTED, "%s: keys of this type are not supported", uri);
        goto err;
    }
    key = prov_key_new(ctx, type);
    if (key == NULL)
        goto err;
    key->pub = pub;
    key->uri = uri;
    key->has_public = key->has_private = true;
    if (!prov_key_expect(key, priv)) {
        prov_key_free(key);
        return NULL;
    }
    key->priv = priv;
    return key;
err:
    EVP_PKEY_free(pub);
    OPENSSL_free(uri);
    return NULL;
}

struct prov_key *prov_key_from_object(struct prov_ctx *ctx, const struct ks_object *object)
{
    struct prov_key *key = NULL;
    EVP_PKEY *pub = prov_key_public_of_object(ctx, object);
    enum prov_key_type type;

    if (pub == NULL)
        return NULL;
    if (!prov_type_of(pub, &type)) {
        prov_raise(ctx, PROV_R_UNSUPPORTED, "public keys of this type are not supported");
        goto err;
    }
    key = prov_key_new(ctx, type);
    if (key == NULL)
        goto err;
    key->pub = pub;
    key->has_public = true;
    key->uri = uri_of(ctx, object, NULL);
    if (key->uri == NULL) {
        prov_key_free(key);
        return NULL;
    }
    return key;
err:
    EVP_PKEY_free(pub);
    return NULL;
}

/* --- references ------------------------------------------------------------------------------ */

static struct ks_key *find_reference(struct prov_ctx *ctx, const struct prov_ref *ref,
                                     const struct ks_call_options *opts)
{
    struct ks_uri *uri = NULL;
    struct ks_key *priv = NULL;
    struct ks_error err;

    if (!ks_ok(ks_uri_parse(ref->uri, KS_URI_REFERENCE, &uri, &err)) ||
        !ks_ok((ref->has_public ? ks_key_find_known : ks_key_find)(ctx->token, opts, uri, &priv,
                                                                   &err))) {
        prov_raise_ks(ctx, &err);
        priv = NULL;
    }
    ks_uri_free(uri);
    return priv;
}

static struct prov_ref *copy_reference(const struct prov_ref *ref)
{
    struct prov_ref *copy = OPENSSL_zalloc(sizeof(*copy));

    if (copy == NULL)
        return NULL;
    copy->type = ref->type;
    copy->uri = OPENSSL_strdup(ref->uri);
    if (copy->uri == NULL)
        goto err;
    if (ref->id_len > 0) {
        copy->id = OPENSSL_memdup(ref->id, ref->id_len);
        if (copy->id == NULL)
            goto err;
        copy->id_len = ref->id_len;
    }
    if (ref->has_public) {
        if (!EVP_PKEY_up_ref(ref->pub))
            goto err;
        copy->pub = ref->pub;
        copy->has_public = true;
    }
    return copy;
err:
    prov_ref_free(copy);
    return NULL;
}

/* A key that is looked up on the token at its first use. */
static struct prov_key *lazy_key(struct prov_ctx *ctx, const struct prov_ref *ref)
{
    struct prov_key *key = prov_key_new(ctx, ref->type);

    if (key == NULL)
        return NULL;
    key->ref = copy_reference(ref);
    key->uri = OPENSSL_strdup(ref->uri);
    if (key->ref == NULL || key->uri == NULL || !EVP_PKEY_up_ref(ref->pub)) {
        prov_key_free(key);
        return NULL;
    }
    key->pub = ref->pub;
    key->has_public = key->has_private = true;
    return key;
}

struct prov_key *prov_key_from_ref(struct prov_ctx *ctx, const struct prov_ref *ref,
                                   const struct ks_call_options *opts)
{
    struct prov_key *key;
    struct ks_key *priv;

    if (!prov_usable(ctx))
        return NULL;
    if (ref->has_public && !ctx->config.check_key_at_load) {
        /* the token can wait, but who uses the key may not be allowed to read the PIN */
        ks_token_preload_pin(ctx->token, opts);
        return lazy_key(ctx, ref);
    }
    priv = find_reference(ctx, ref, opts);
    if (priv == NULL)
        return NULL;
    key = prov_key_from_ks(ctx, priv, ref->has_public ? ref->pub : NULL);
    if (key == NULL)
        ks_key_free(priv);
    return key;
}

bool prov_key_unseen(const struct prov_key *key)
{
    return key->ref != NULL && __atomic_load_n(&key->priv, __ATOMIC_ACQUIRE) == NULL;
}

/* Looks up the private half of a key that was loaded without it; NULL, and raised, if that fails.
 * It takes no lock: it may take as long as a connection does, and a child that is forked meanwhile
 * would wait for ever for a thread that exists only in the parent. */
static struct ks_key *look_up(struct prov_key *key, const struct ks_call_options *opts)
{
    struct ks_key *priv, *first = NULL;

    if (!prov_usable(key->ctx))
        return NULL;
    priv = find_reference(key->ctx, key->ref, opts);
    if (priv == NULL)
        return NULL;
    if (!prov_key_expect(key, priv)) {
        ks_key_free(priv);
        return NULL;
    }
    if (__atomic_compare_exchange_n(&key->priv, &first, priv, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE))
        return priv;
    ks_key_free(priv); /* another thread was faster, with the same result */
    return first;
}

struct ks_key *prov_key_private(struct prov_key *key, const struct ks_call_options *opts)
{
    struct ks_key *priv = __atomic_load_n(&key->priv, __ATOMIC_ACQUIRE);

    if (priv != NULL)
        return priv;
    if (key->software) {
        prov_raise_software_key(key);
        return NULL;
    }
    if (!key->has_private || key->ref == NULL) {
        prov_raise(key->ctx, PROV_R_NO_PRIVATE,
                   "this is a public key: the operation needs the private key in the HSM");
        return NULL;
    }
    return look_up(key, opts);
}

struct ks_key *prov_key_private_for(struct prov_key *key, enum prov_use use)
{
    static const struct {
        const char *what, *attribute;
    } uses[] = {
        [PROV_USE_SIGN] = {"signing", "CKA_SIGN"},
        [PROV_USE_DECRYPT] = {"decryption", "CKA_DECRYPT"},
        [PROV_USE_DERIVE] = {"ECDH", "CKA_DERIVE"},
    };
    struct ks_key *priv = prov_key_private(key, NULL);
    const struct ks_object *object;

    if (priv == NULL)
        return NULL;
    object = ks_key_object(priv);
    if (use == PROV_USE_SIGN      ? object->can_sign
        : use == PROV_USE_DECRYPT ? object->can_decrypt
                                  : object->can_derive)
        return priv;
    prov_raise(key->ctx, (enum prov_reason)(PROV_R_TOKEN + KS_KEY_USE),
               "key \"%s\" is not for %s: its %s is not true on the token",
               key->uri != NULL ? key->uri : "", uses[use].what, uses[use].attribute);
    return NULL;
}

bool prov_key_can(struct prov_key *key, struct ks_key *priv, enum ks_mech_kind kind)
{
    /* two bits for each kind: the answer is known, the answer */
    const unsigned known = 1U << (2 * (unsigned)kind), yes = known << 1;
    unsigned seen = atomic_load_explicit(&key->mechanisms, memory_order_relaxed);
    struct ks_error err;
    bool can = true;

    _Static_assert(2 * KS_MECH_KINDS <= 32, "prov_key.mechanisms is too small");
    if ((seen & known) != 0)
        return (seen & yes) != 0;
    if (!ks_ok(ks_token_can(ks_key_token(priv), NULL, kind, &can, &err)))
        return true;
    atomic_fetch_or_explicit(&key->mechanisms, can ? known | yes : known, memory_order_relaxed);
    return can;
}
