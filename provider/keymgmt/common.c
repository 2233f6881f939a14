/* SPDX-License-Identifier: Apache-2.0
 *
 * common.c - keys as libcrypto sees them. The public half is a software key, and whatever
 * is asked about the public half is asked of that. The private half never leaves, and nothing
 * private comes in.
 */
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <string.h>

#include "../core/fetch_cache.h"
#include "../key/public.h"
#include "keymgmt.h"

#define PRIVATE OSSL_KEYMGMT_SELECT_PRIVATE_KEY
#define PUBLIC  OSSL_KEYMGMT_SELECT_PUBLIC_KEY

void prov_keymgmt_free(void *keydata)
{
    prov_key_free(keydata);
}

void *prov_keymgmt_load(enum prov_key_type type, const void *reference, size_t size)
{
    struct prov_load *load;
    struct prov_key *key;

    if (reference == NULL || size != sizeof(load))
        return NULL;
    memcpy(&load, reference, sizeof(load));
    if (load == NULL)
        return NULL;
    if (load->ctx != NULL)
        prov_fetched(load->ctx);
    if (load->failed) {
        if (load->err.code != KS_OK)
            prov_raise_ks(load->ctx, &load->err);
        return NULL;
    }
    if (load->key == NULL && load->ref != NULL && load->ctx != NULL)
        load->key = prov_key_from_ref(load->ctx, load->ref, NULL);
    key = load->key;
    if (key == NULL)
        return NULL;
    if (key->type != type) {
        prov_raise(key->ctx, PROV_R_REFERENCE, "this is a key of type %s, not %s",
                   prov_types[key->type].name, prov_types[type].name);
        return NULL;
    }
    load->key = NULL;
    return key;
}

int prov_keymgmt_has(const void *keydata, int selection)
{
    const struct prov_key *key = keydata;

    if (key == NULL)
        return 0;
    if ((selection & PRIVATE) != 0 && !key->has_private)
        return 0;
    if ((selection & PUBLIC) != 0 && !key->has_public)
        return 0;
    return (selection & OSSL_KEYMGMT_SELECT_DOMAIN_PARAMETERS) == 0 ||
           !prov_types[key->type].grouped || key->pub != NULL;
}

/* Public halves decide, whatever the selection: equal public keys have equal private keys. */
int prov_keymgmt_match(const void *keydata1, const void *keydata2, int selection)
{
    const struct prov_key *a = keydata1, *b = keydata2;
    int ok = 1;

    if (a == NULL || b == NULL)
        return 0;
    ERR_set_mark();
    if ((selection & OSSL_KEYMGMT_SELECT_KEYPAIR) != 0)
        ok = a->has_public && b->has_public && EVP_PKEY_eq(a->pub, b->pub) == 1;
    else if ((selection & OSSL_KEYMGMT_SELECT_DOMAIN_PARAMETERS) != 0 &&
             prov_types[a->type].grouped)
        ok = a->pub != NULL && b->pub != NULL && EVP_PKEY_parameters_eq(a->pub, b->pub) == 1;
    ERR_pop_to_mark();
    return ok;
}

/* Is the private key on the token now, and does it belong to our public half? This searches the
 * token again, and makes a trial operation if the object does not show the public half. */
static int validate_private(struct prov_key *key)
{
    struct ks_uri *uri = NULL;
    struct ks_key *found = NULL;
    struct ks_error err;
    int ret = 0;

    if (prov_key_private(key, NULL) == NULL)
        return 0;
    if (!ks_ok(ks_uri_parse(key->uri, KS_URI_REFERENCE, &uri, &err)) ||
        !ks_ok(ks_key_find(key->ctx->token, NULL, uri, &found, &err)))
        prov_raise_ks(key->ctx, &err);
    else if (!prov_key_expect(key, found))
        ret = 0; /* raised */
    else if (!ks_ok(ks_key_prove(found, NULL, &err)))
        prov_raise_ks(key->ctx, &err);
    else
        ret = 1;
    ks_key_free(found);
    ks_uri_free(uri);
    return ret;
}

int prov_keymgmt_validate(const void *keydata, int selection, int checktype)
{
    /* A lazy key is looked up, which does not change what it is. */
    struct prov_key *key = (struct prov_key *)keydata;
    EVP_PKEY_CTX *pctx = NULL;
    int ok = 1;

    if (key == NULL || !prov_keymgmt_has(key, selection))
        return 0;
    if (key->pub == NULL)
        return 1; /* nothing was selected that could be wrong */
    pctx = EVP_PKEY_CTX_new_from_pkey(key->ctx->libctx, key->pub, PROV_NOT_US);
    if (pctx == NULL)
        return 0;
    if ((selection & (PUBLIC | PRIVATE)) != 0)
        ok = (checktype == OSSL_KEYMGMT_VALIDATE_QUICK_CHECK ? EVP_PKEY_public_check_quick(pctx)
                                                             : EVP_PKEY_public_check(pctx)) == 1;
    if (ok && prov_types[key->type].grouped &&
        (selection & OSSL_KEYMGMT_SELECT_DOMAIN_PARAMETERS) != 0)
        ok = EVP_PKEY_param_check(pctx) == 1;
    EVP_PKEY_CTX_free(pctx);
    if (!ok)
        prov_raise(key->ctx, PROV_R_SOFTWARE, "the public key is not valid");
    if (ok && (selection & PRIVATE) != 0)
        ok = validate_private(key);
    return ok;
}

static bool holds_private(const OSSL_PARAM params[])
{
    static const char *const names[] = {
        OSSL_PKEY_PARAM_PRIV_KEY,         OSSL_PKEY_PARAM_RSA_D,
        OSSL_PKEY_PARAM_RSA_FACTOR1,      OSSL_PKEY_PARAM_RSA_FACTOR2,
        OSSL_PKEY_PARAM_RSA_EXPONENT1,    OSSL_PKEY_PARAM_RSA_EXPONENT2,
        OSSL_PKEY_PARAM_RSA_COEFFICIENT1,
    };
    size_t i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (OSSL_PARAM_locate_const(params, names[i]) != NULL)
            return true;
    }
    return false;
}

int prov_keymgmt_import(void *keydata, int selection, const OSSL_PARAM params[])
{
    struct prov_key *key = keydata;
    const char *public_name;
    bool has_public;

    if (key == NULL || key->pub != NULL || key->has_private)
        return 0; /* shared keys do not change */
    if (holds_private(params) && key->ctx->config.refuse_software_keys) {
        /* Refusing it would send the key back to its own provider, and that would use it. */
        key->software = key->has_private = true;
    } else if (holds_private(params)) {
        prov_raise(key->ctx, PROV_R_PRIVATE_EXPORT,
                   "a software private key cannot become an HSM key: generate it in the HSM, or "
                   "import it with the HSM's own tools");
        return 0;
    }
    public_name = prov_types[key->type].ks_type == KS_KEY_RSA ? OSSL_PKEY_PARAM_RSA_N
                                                              : OSSL_PKEY_PARAM_PUB_KEY;
    has_public = (selection & PUBLIC) != 0 && OSSL_PARAM_locate_const(params, public_name) != NULL;
    if (!has_public) {
        if ((selection & OSSL_KEYMGMT_SELECT_KEYPAIR) != 0 && !key->software)
            return 0;
        if (!prov_types[key->type].grouped)
            return 1; /* the others have no parameters that keys could differ in */
    }
    key->pub = prov_public_params(
        key->ctx, key->type, has_public ? EVP_PKEY_PUBLIC_KEY : EVP_PKEY_KEY_PARAMETERS, params);
    key->has_public = has_public && key->pub != NULL;
    return key->pub != NULL;
}

int prov_keymgmt_export(void *keydata, int selection, OSSL_CALLBACK *callback, void *cbarg)
{
    const struct prov_key *key = keydata;

    if (key == NULL)
        return 0;
    /* A private key does not even export its public half: libcrypto would take that for the whole
     * key, and move the operation to the provider that it exports to. (libcrypto asks for
     * everything; a public key then gives its public half.) */
    if ((selection & PRIVATE) != 0 && key->has_private) {
        prov_raise(key->ctx, PROV_R_PRIVATE_EXPORT, "%s%sthe private key stays in the HSM",
                   key->uri != NULL ? key->uri : "", key->uri != NULL ? ": " : "");
        return 0;
    }
    if (key->pub == NULL)
        return 0;
    return EVP_PKEY_export(key->pub, selection & ~PRIVATE, callback, cbarg);
}

/* The software key again, with nothing but what `selection` names. */
static struct prov_key *copy_public(const struct prov_key *key, int selection)
{
    struct prov_key *copy = prov_key_new(key->ctx, key->type);
    OSSL_PARAM *params = NULL;

    if (copy == NULL || key->pub == NULL)
        return copy;
    if ((selection & PUBLIC) != 0 && key->has_public) {
        if (!EVP_PKEY_up_ref(key->pub))
            goto err;
        copy->pub = key->pub;
        copy->has_public = true;
        if (key->uri != NULL && (copy->uri = OPENSSL_strdup(key->uri)) == NULL)
            goto err;
        return copy;
    }
    if (!prov_types[key->type].grouped || (selection & OSSL_KEYMGMT_SELECT_DOMAIN_PARAMETERS) == 0)
        return copy;
    if (EVP_PKEY_todata(key->pub, EVP_PKEY_KEY_PARAMETERS, &params) <= 0)
        goto err;
    copy->pub = prov_public_params(key->ctx, key->type, EVP_PKEY_KEY_PARAMETERS, params);
    OSSL_PARAM_free(params);
    if (copy->pub == NULL)
        goto err;
    return copy;
err:
    prov_key_free(copy);
    return NULL;
}

/* Keys do not change, so a copy of the whole is the same key once more. */
void *prov_keymgmt_dup(const void *keydata, int selection)
{
    struct prov_key *key = (struct prov_key *)keydata;

    if (key == NULL)
        return NULL;
    if ((selection & PRIVATE) != 0 && key->has_private)
        return prov_key_ref(key);
    return copy_public(key, selection);
}

int prov_keymgmt_get_params(void *keydata, OSSL_PARAM params[])
{
    const struct prov_key *key = keydata;
    OSSL_PARAM *p;

    if (key == NULL || key->pub == NULL)
        return 0;
    p = OSSL_PARAM_locate(params, "hsm-uri");
    if (p != NULL && key->uri != NULL && !OSSL_PARAM_set_utf8_string(p, key->uri))
        return 0;
    return EVP_PKEY_get_params(key->pub, params);
}

const OSSL_PARAM *prov_keymgmt_settable_params(void *provctx)
{
    static const OSSL_PARAM params[] = {OSSL_PARAM_END};

    (void)provctx;
    return params;
}

/* Without this function libcrypto would report that every parameter was set. */
int prov_keymgmt_set_params(void *keydata, const OSSL_PARAM params[])
{
    const struct prov_key *key = keydata;
    char name[64];

    if (params == NULL || params[0].key == NULL)
        return 1;
    prov_raise(key != NULL ? key->ctx : NULL, PROV_R_PARAMETER,
               "\"%s\" cannot be changed: HSM keys are read-only",
               ks_escape(name, sizeof(name), params[0].key, SIZE_MAX));
    return 0;
}
