/* SPDX-License-Identifier: Apache-2.0
 *
 * generation.c - key generation in the HSM. A request is carried out on the token, or refused
 * with what to change; there is no software behind it. Whatever goes wrong after the token made
 * the key, the key is destroyed again.
 */
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <stdio.h>
#include <string.h>

#include "../core/digest.h"
#include "../key/policy.h"
#include "../key/public.h"
#include "keymgmt.h"

#define BITS_DEFAULT 2048U
#define BITS_MIN     1024U
#define BITS_MAX     16384U
#define LABEL_MAX    255U
#define ID_MAX       255L

void *prov_gen_init(enum prov_key_type type, void *provctx, int selection,
                    const OSSL_PARAM params[])
{
    struct prov_ctx *ctx = provctx;
    struct prov_gen *gen;
    bool keypair = (selection & OSSL_KEYMGMT_SELECT_KEYPAIR) != 0;

    if (!(keypair ? prov_permits(ctx, PROV_CLASS_KEYGEN, NULL) : prov_usable(ctx)))
        return NULL;
    if (!keypair && !prov_types[type].grouped) {
        prov_raise(ctx, PROV_R_UNSUPPORTED, "%s keys have no parameters to generate",
                   prov_types[type].name);
        return NULL;
    }
    gen = OPENSSL_zalloc(sizeof(*gen));
    if (gen == NULL)
        return NULL;
    gen->ctx = ctx;
    gen->type = type;
    gen->parameters_only = !keypair;
    gen->bits = BITS_DEFAULT;
    gen->sign = true;
    gen->decrypt = prov_types[type].decrypts;
    gen->derive = prov_types[type].derives;
    if (!prov_gen_set_params(gen, params)) {
        prov_gen_cleanup(gen);
        return NULL;
    }
    return gen;
}

void prov_gen_cleanup(void *genctx)
{
    struct prov_gen *gen = genctx;

    if (gen == NULL)
        return;
    ks_token_free(gen->token);
    ks_uri_free(gen->uri);
    OPENSSL_free(gen->label);
    OPENSSL_free(gen->id);
    OPENSSL_free(gen);
}

/* genpkey -paramfile: the group comes from a parameters-only key. */
int prov_gen_set_template(void *genctx, void *templ)
{
    struct prov_gen *gen = genctx;
    const struct prov_key *key = templ;

    if (gen == NULL || key == NULL)
        return 0;
    if (!prov_types[gen->type].grouped)
        return 1;
    gen->curve = key->pub != NULL ? prov_curve_of(key->pub) : NULL;
    if (gen->curve == NULL) {
        prov_raise(gen->ctx, PROV_R_UNSUPPORTED,
                   "the parameters are not those of P-256, P-384, P-521 or secp256k1");
        return 0;
    }
    return 1;
}

/* --- parameters ------------------------------------------------------------------------------ */

/* One parameter that the caller may set. */
typedef int take_fn(struct prov_gen *gen, const OSSL_PARAM *p);

static int bad(const struct prov_gen *gen, const char *name, const char *must)
{
    prov_raise(gen->ctx, PROV_R_PARAMETER, "%s must be %s", name, must);
    return 0;
}

/* The string of a parameter, at most `size` with NUL; longer ones are refused. */
static int get_string(const OSSL_PARAM *p, char *out, size_t size)
{
    return OSSL_PARAM_get_utf8_string(p, &out, size);
}

static int take_bits(struct prov_gen *gen, const OSSL_PARAM *p)
{
    size_t bits;

    if (!OSSL_PARAM_get_size_t(p, &bits) || bits < BITS_MIN || bits > BITS_MAX)
        return bad(gen, "the key size", "1024 to 16384 bits");
    gen->bits = (unsigned)bits;
    return 1;
}

static int take_primes(struct prov_gen *gen, const OSSL_PARAM *p)
{
    size_t primes;

    if (!OSSL_PARAM_get_size_t(p, &primes) || primes != 2)
        return bad(gen, "the number of primes", "2: PKCS#11 knows no other RSA keys");
    return 1;
}

static int take_exponent(struct prov_gen *gen, const OSSL_PARAM *p)
{
    BIGNUM *e = NULL;
    int ret = 0;

    if (!OSSL_PARAM_get_BN(p, &e) || !BN_is_odd(e) || BN_is_one(e) || BN_is_negative(e) ||
        BN_num_bytes(e) > (int)sizeof(gen->exponent)) {
        ret = bad(gen, "the public exponent", "odd, greater than 1 and at most 64 bits long");
        goto out;
    }
    gen->exponent_len = (size_t)BN_bn2bin(e, gen->exponent);
    ret = 1;
out:
    BN_free(e);
    return ret;
}

static int take_group(struct prov_gen *gen, const OSSL_PARAM *p)
{
    char name[80] = "", shown[100];

    if (!get_string(p, name, sizeof(name)) || (gen->curve = prov_curve_by_name(name)) == NULL) {
        prov_raise(gen->ctx, PROV_R_UNSUPPORTED,
                   "EC group \"%s\" is not supported in the HSM: use P-256, P-384, P-521 or "
                   "secp256k1",
                   ks_escape(shown, sizeof(shown), name, SIZE_MAX));
        return 0;
    }
    return 1;
}

static int take_encoding(struct prov_gen *gen, const OSSL_PARAM *p)
{
    char name[40];

    if (!get_string(p, name, sizeof(name)) || strcmp(name, OSSL_PKEY_EC_ENCODING_GROUP) != 0)
        return bad(gen, "the parameter encoding", OSSL_PKEY_EC_ENCODING_GROUP);
    return 1;
}

static int take_label(struct prov_gen *gen, const OSSL_PARAM *p)
{
    char *label = NULL;

    if (!OSSL_PARAM_get_utf8_string(p, &label, 0) || label[0] == '\0' ||
        strlen(label) > LABEL_MAX) {
        OPENSSL_free(label);
        return bad(gen, "hsm-label", "1 to 255 bytes long");
    }
    OPENSSL_free(gen->label);
    gen->label = label;
    return 1;
}

static int take_id(struct prov_gen *gen, const OSSL_PARAM *p)
{
    char *hex = NULL;
    unsigned char *id = NULL;
    long len = 0;

    if (OSSL_PARAM_get_utf8_string(p, &hex, 0)) {
        ERR_set_mark();
        id = OPENSSL_hexstr2buf(hex, &len);
        ERR_pop_to_mark();
    }
    OPENSSL_free(hex);
    if (id == NULL || len < 1 || len > ID_MAX) {
        OPENSSL_free(id);
        return bad(gen, "hsm-id", "2 to 510 hexadecimal digits, two for each byte");
    }
    OPENSSL_free(gen->id);
    gen->id = id;
    gen->id_len = (size_t)len;
    return 1;
}

/* Token, label and id at once: "pkcs11:token=T;object=L;id=%01". */
static int take_uri(struct prov_gen *gen, const OSSL_PARAM *p)
{
    static const char must[] = "a pkcs11: URI with token=, object= and id= (each as you like)";
    struct ks_bytes label, id;
    struct ks_uri *uri = NULL;
    char *text = NULL, *new_label = NULL;
    unsigned char *new_id = NULL;
    struct ks_error err;
    int ok = 0;

    if (!OSSL_PARAM_get_utf8_string(p, &text, 0))
        return bad(gen, "hsm-uri", must);
    if (!ks_ok(ks_uri_parse(text, KS_URI_CALLER, &uri, &err))) {
        prov_raise_ks(gen->ctx, &err);
        goto out;
    }
    label = ks_uri_label(uri);
    id = ks_uri_id(uri);
    if ((ks_uri_class(uri) != KS_CLASS_ANY && ks_uri_class(uri) != KS_CLASS_PRIVATE) ||
        ks_uri_pin_source(uri) != NULL || label.len > LABEL_MAX || id.len > ID_MAX ||
        (label.data != NULL && memchr(label.data, '\0', label.len) != NULL)) {
        bad(gen, "hsm-uri", must);
        goto out;
    }
    new_label = OPENSSL_strndup((const char *)label.data, label.len);
    new_id = OPENSSL_memdup(id.data, id.len);
    if ((label.data != NULL && new_label == NULL) || (id.data != NULL && new_id == NULL))
        goto out;
    ok = 1;
    if (new_label != NULL) {
        OPENSSL_free(gen->label);
        gen->label = new_label;
    }
    if (new_id != NULL) {
        OPENSSL_free(gen->id);
        gen->id = new_id;
        gen->id_len = id.len;
    }
    ks_uri_free(gen->uri);
    gen->uri = uri;
    uri = NULL;
out:
    if (!ok) {
        OPENSSL_free(new_label);
        OPENSSL_free(new_id);
    }
    ks_uri_free(uri);
    OPENSSL_free(text);
    return ok;
}

static int take_extractable(struct prov_gen *gen, const OSSL_PARAM *p)
{
    char value[8];

    if (!get_string(p, value, sizeof(value)) ||
        (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0))
        return bad(gen, "hsm-extractable", "yes or no");
    gen->extractable = value[0] == 'y';
    return 1;
}

static int take_usage(struct prov_gen *gen, const OSSL_PARAM *p)
{
    static const char must[] =
        "a list of sign, decrypt (RSA) and derive (EC); Ed25519 and Ed448 keys sign";
    char value[64];
    char *word, *rest = value;
    bool sign = false, decrypt = false, derive = false;

    if (!get_string(p, value, sizeof(value)))
        return bad(gen, "hsm-usage", must);
    while ((word = strsep(&rest, ", ")) != NULL) {
        if (strcmp(word, "sign") == 0)
            sign = true;
        else if (strcmp(word, "decrypt") == 0 && prov_types[gen->type].decrypts)
            decrypt = true;
        else if (strcmp(word, "derive") == 0 && prov_types[gen->type].derives)
            derive = true;
        else if (word[0] != '\0')
            return bad(gen, "hsm-usage", must);
    }
    if (!sign && !decrypt && !derive)
        return bad(gen, "hsm-usage", must);
    gen->sign = sign;
    gen->decrypt = decrypt;
    gen->derive = derive;
    return 1;
}

static int take_digest(struct prov_gen *gen, const OSSL_PARAM *p)
{
    if (!get_string(p, gen->pss.digest, sizeof(gen->pss.digest)) ||
        prov_digest_by_name(gen->ctx, gen->pss.digest) == NULL)
        return bad(gen, "the RSA-PSS digest", "one that the provider has (SHA-1, SHA-2, SHA-3)");
    gen->pss.has_digest = true;
    return 1;
}

static int take_mgf(struct prov_gen *gen, const OSSL_PARAM *p)
{
    char name[20];

    if (!get_string(p, name, sizeof(name)) || OPENSSL_strcasecmp(name, "MGF1") != 0)
        return bad(gen, "the mask generation function", "MGF1");
    return 1;
}

static int take_mgf1(struct prov_gen *gen, const OSSL_PARAM *p)
{
    if (!get_string(p, gen->pss.mgf1, sizeof(gen->pss.mgf1)) ||
        prov_digest_by_name(gen->ctx, gen->pss.mgf1) == NULL)
        return bad(gen, "the MGF1 digest", "one that the provider has (SHA-1, SHA-2, SHA-3)");
    gen->pss.has_mgf1 = true;
    return 1;
}

static int take_salt_len(struct prov_gen *gen, const OSSL_PARAM *p)
{
    if (!OSSL_PARAM_get_int(p, &gen->pss.salt_len) || gen->pss.salt_len < 0)
        return bad(gen, "the RSA-PSS salt length", "a number of bytes");
    gen->pss.has_salt_len = true;
    return 1;
}

#define FOR(type) (1U << (unsigned)(type))
#define FOR_RSA   (FOR(PROV_RSA) | FOR(PROV_RSA_PSS))
#define FOR_ALL   (FOR(PROV_KEY_TYPES) - 1U)

static const struct {
    const char *name;
    unsigned types;
    take_fn *take;
} parameters[] = {
    {OSSL_PKEY_PARAM_RSA_BITS, FOR_RSA, take_bits},
    {OSSL_PKEY_PARAM_RSA_PRIMES, FOR_RSA, take_primes},
    {OSSL_PKEY_PARAM_RSA_E, FOR_RSA, take_exponent},
    {OSSL_PKEY_PARAM_RSA_DIGEST, FOR(PROV_RSA_PSS), take_digest},
    {OSSL_PKEY_PARAM_RSA_MASKGENFUNC, FOR(PROV_RSA_PSS), take_mgf},
    {OSSL_PKEY_PARAM_RSA_MGF1_DIGEST, FOR(PROV_RSA_PSS), take_mgf1},
    {OSSL_PKEY_PARAM_RSA_PSS_SALTLEN, FOR(PROV_RSA_PSS), take_salt_len},
    {OSSL_PKEY_PARAM_GROUP_NAME, FOR(PROV_EC), take_group},
    {OSSL_PKEY_PARAM_EC_ENCODING, FOR(PROV_EC), take_encoding},
    {"hsm-label", FOR_ALL, take_label},
    {"hsm-id", FOR_ALL, take_id},
    {"hsm-extractable", FOR_ALL, take_extractable},
    {"hsm-usage", FOR_ALL, take_usage},
    {"hsm-uri", FOR_ALL, take_uri},
};

int prov_gen_set_params(void *genctx, const OSSL_PARAM params[])
{
    struct prov_gen *gen = genctx;
    const OSSL_PARAM *p;
    size_t i;

    if (params == NULL)
        return 1;
    for (i = 0; i < sizeof(parameters) / sizeof(parameters[0]); i++) {
        if ((parameters[i].types & FOR(gen->type)) == 0)
            continue;
        p = OSSL_PARAM_locate_const(params, parameters[i].name);
        if (p != NULL && !parameters[i].take(gen, p))
            return 0;
    }
    return 1;
}

/* --- the public half of an RSA-PSS key ------------------------------------------------------- */

/* The numbers of `pub`, and the restrictions that were asked for. */
static EVP_PKEY *restricted_public(const struct prov_gen *gen, EVP_PKEY *pub)
{
    const struct prov_pss *pss = &gen->pss;
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    OSSL_PARAM *params = NULL;
    BIGNUM *n = NULL, *e = NULL;
    EVP_PKEY *restricted = NULL;

    if (bld == NULL || !EVP_PKEY_get_bn_param(pub, OSSL_PKEY_PARAM_RSA_N, &n) ||
        !EVP_PKEY_get_bn_param(pub, OSSL_PKEY_PARAM_RSA_E, &e) ||
        !OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, n) ||
        !OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, e))
        goto out;
    if (pss->has_digest &&
        !OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_RSA_DIGEST, pss->digest, 0))
        goto out;
    if (pss->has_mgf1 &&
        !OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_RSA_MGF1_DIGEST, pss->mgf1, 0))
        goto out;
    if (pss->has_salt_len &&
        !OSSL_PARAM_BLD_push_int(bld, OSSL_PKEY_PARAM_RSA_PSS_SALTLEN, pss->salt_len))
        goto out;
    params = OSSL_PARAM_BLD_to_param(bld);
    if (params != NULL)
        restricted = prov_public_params(gen->ctx, PROV_RSA_PSS, EVP_PKEY_PUBLIC_KEY, params);
out:
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(bld);
    BN_free(n);
    BN_free(e);
    return restricted;
}

/* --- generation ------------------------------------------------------------------------------ */

static void no_label(const struct prov_gen *gen)
{
    const char *type = prov_types[gen->type].name;
    char option[80] = "";

    if (prov_types[gen->type].grouped)
        snprintf(option, sizeof(option), " -pkeyopt ec_paramgen_curve:%s",
                 gen->curve->nist != NULL ? gen->curve->nist : gen->curve->name);
    else if (prov_types[gen->type].raw == NULL)
        snprintf(option, sizeof(option), " -pkeyopt rsa_keygen_bits:%u", gen->bits);
    prov_raise(gen->ctx, PROV_R_NO_LABEL,
               "a key in the HSM needs a name: add \"-pkeyopt hsm-label:NAME\" (genpkey, req). "
               "genrsa and ecparam cannot pass it, use: openssl genpkey -propquery "
               "provider=hsm -algorithm %s%s -pkeyopt hsm-label:NAME -out FILE",
               type, option);
}

static struct prov_key *generate_parameters(const struct prov_gen *gen)
{
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)gen->curve->name, 0),
        OSSL_PARAM_construct_end(),
    };
    struct prov_key *key = prov_key_new(gen->ctx, PROV_EC);

    if (key == NULL)
        return NULL;
    key->pub = prov_public_params(gen->ctx, PROV_EC, EVP_PKEY_KEY_PARAMETERS, params);
    if (key->pub == NULL) {
        prov_key_free(key);
        return NULL;
    }
    return key;
}

/* gen_init has checked that the configuration permits generation; this checks that the token can
 * generate keys of the type. */
static int token_generates(struct prov_gen *gen)
{
    const enum ks_mech_kind kind = prov_types[gen->type].keygen;
    struct ks_error err;
    bool can = false;

    ks_token_free(gen->token);
    gen->token = NULL;
    if (!ks_ok(ks_token_select(gen->ctx->token, NULL, gen->uri, &gen->token, &err)) ||
        !ks_ok(ks_token_can(gen->token, NULL, kind, &can, &err))) {
        prov_raise_ks(gen->ctx, &err);
        return 0;
    }
    if (!can)
        prov_raise(gen->ctx, (enum prov_reason)(PROV_R_TOKEN + KS_MECHANISM),
                   "the token lacks %s: it does not generate %s keys, and they are never generated "
                   "elsewhere",
                   ks_mech_name(kind), prov_types[gen->type].name);
    return can;
}

static int generate_on_token(const struct prov_gen *gen, struct ks_key **priv)
{
    const struct prov_raw *raw = prov_types[gen->type].raw;
    struct ks_generate_spec spec = {
        .type = prov_types[gen->type].ks_type,
        .rsa_bits = gen->bits,
        .rsa_exponent_len = gen->exponent_len,
        .ec_params = gen->curve != NULL ? gen->curve->der : NULL,
        .ec_params_len = gen->curve != NULL ? gen->curve->der_len : 0,
        .label = gen->label,
        .id = gen->id,
        .id_len = gen->id_len,
        .sign = gen->sign,
        .decrypt = gen->decrypt,
        .derive = gen->derive,
        .extractable = gen->extractable,
    };
    struct ks_error err;

    if (raw != NULL && raw->curve != NULL) {
        spec.ec_params = (const uint8_t *)raw->oid;
        spec.ec_params_len = raw->oid_len;
        spec.ec_params_else = (const uint8_t *)raw->curve;
        spec.ec_params_else_len = raw->curve_len;
    }
    memcpy(spec.rsa_exponent, gen->exponent, gen->exponent_len);
    if (!ks_ok(ks_generate(gen->token, NULL, &spec, priv, &err))) {
        prov_raise_ks(gen->ctx, &err);
        return 0;
    }
    return 1;
}

static void destroy(const struct prov_gen *gen, struct ks_key *priv)
{
    struct ks_error err;

    if (!ks_ok(ks_key_destroy(priv, NULL, &err))) {
        prov_raise_ks(gen->ctx, &err);
        prov_raise(gen->ctx, PROV_R_VERIFY,
                   "the new key is not usable and could not be destroyed: remove it by hand");
    }
}

/* Makes a provider key of the new key, and tries it. On failure the caller still owns `priv`. */
static struct prov_key *wrap(const struct prov_gen *gen, struct ks_key *priv)
{
    struct prov_key *plain = prov_key_from_ks(gen->ctx, priv, NULL), *key = NULL;
    EVP_PKEY *restricted = NULL;

    if (plain == NULL)
        return NULL;
    if (!prov_gen_try(gen, plain, priv)) {
        prov_raise(gen->ctx, PROV_R_VERIFY,
                   "the token generated a key whose %s are not good; it was not kept",
                   gen->sign ? "signatures" : "results");
        goto err;
    }
    if (!prov_types[gen->type].restricted)
        return plain;
    /* The same key, with another public half. */
    restricted = restricted_public(gen, plain->pub);
    key = restricted != NULL ? prov_key_new(gen->ctx, PROV_RSA_PSS) : NULL;
    if (key == NULL)
        goto err;
    key->pub = restricted;
    key->uri = plain->uri;
    key->priv = priv;
    key->has_public = key->has_private = true;
    plain->uri = NULL;
    /* `plain` is freed below: from here on `priv` is compared with the public half of `key` */
    if (!prov_key_expect(key, priv)) {
        key->priv = NULL;
        prov_key_free(key);
        restricted = NULL;
        goto err;
    }
    plain->priv = NULL;
    prov_key_free(plain);
    return key;
err:
    EVP_PKEY_free(restricted);
    plain->priv = NULL;
    prov_key_free(plain);
    return NULL;
}

void *prov_gen(void *genctx, OSSL_CALLBACK *callback, void *cbarg)
{
    struct prov_gen *gen = genctx;
    struct ks_key *priv = NULL;
    struct prov_key *key;

    (void)callback; /* the token does not tell how far it is */
    (void)cbarg;
    if (gen == NULL)
        return NULL;
    if (prov_types[gen->type].grouped && gen->curve == NULL) {
        prov_raise(gen->ctx, PROV_R_PARAMETER,
                   "no EC group: add \"-pkeyopt ec_paramgen_curve:P-256\" (or another)");
        return NULL;
    }
    if (gen->parameters_only)
        return generate_parameters(gen);
    if (gen->label == NULL) {
        no_label(gen);
        return NULL;
    }
    if (!token_generates(gen) || !generate_on_token(gen, &priv))
        return NULL;
    key = wrap(gen, priv);
    if (key == NULL) {
        destroy(gen, priv);
        ks_key_free(priv);
    }
    return key;
}
