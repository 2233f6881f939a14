/* SPDX-License-Identifier: Apache-2.0
 *
 * policy.c - which operation classes run on the HSM; everything else is refused.
 */
#include <stdio.h>
#include <string.h>

#include "policy.h"

#define BIT(class) (1U << (unsigned)(class))

const struct prov_not_asked prov_not_asked[] = {
    {"a parameter file read without a query, as req -newkey ec:FILE does",
     "the provider that holds the parameters makes the key, and nobody named the HSM when they "
     "were read: use default_properties"},
    {"OSSL_STORE without OSSL_STORE_expect()",
     "libcrypto asks for a key of any kind, and not for parameters"},
    {"a public key, or a certificate's, as template",
     "the provider that holds the public key makes the other one, and public keys are read by the "
     "default provider, whoever is asked for"},
    {"a software key as template", "the provider that holds the key makes the other one"},
    {"EC_KEY_generate_key()",
     "it asks no provider, as RSA_generate_key_ex(), DSA_generate_key() and DH_generate_key()"},
    {NULL, NULL},
};

/* --- refused operations ---------------------------------------------------------------------- */

static const enum ks_operation classes[PROV_CLASSES] = {
    [PROV_CLASS_RSA_SIGN] = KS_OP_SIGN,     [PROV_CLASS_EC_SIGN] = KS_OP_SIGN,
    [PROV_CLASS_ED_SIGN] = KS_OP_SIGN,      [PROV_CLASS_RSA_OAEP] = KS_OP_DECRYPT,
    [PROV_CLASS_RSA_PKCS1] = KS_OP_DECRYPT, [PROV_CLASS_RSA_TLS] = KS_OP_DECRYPT,
    [PROV_CLASS_EC_DERIVE] = KS_OP_DERIVE,  [PROV_CLASS_KEYGEN] = KS_OP_GENERATE,
    [PROV_CLASS_RAND] = KS_OP_RANDOM,
};

/* Count and log that an operation of `class` was refused; raises nothing. */
static void note_refused(const struct prov_ctx *ctx, enum prov_operation class,
                         const struct prov_key *key, const char *why)
{
    char text[80];

    snprintf(text, sizeof(text), "%s: %s", prov_class_names[class], why);
    if (ctx->token != NULL)
        ks_stats_refused(ctx->token, classes[class], key != NULL ? key->uri : NULL, text);
}

/* --- what the token has for a class ---------------------------------------------------------- */

const struct prov_need prov_needs[PROV_CLASSES] = {
    [PROV_CLASS_RSA_SIGN] = {{KS_MECH_RSA_PKCS1, KS_MECH_RSA_PSS, KS_MECH_RSA_RAW,
                              KS_MECH_RSA_PKCS1_HASH, KS_MECH_RSA_PSS_HASH},
                             5},
    [PROV_CLASS_RSA_OAEP] = {{KS_MECH_RSA_OAEP, KS_MECH_RSA_RAW}, 2},
    [PROV_CLASS_RSA_PKCS1] = {{KS_MECH_RSA_RAW, KS_MECH_RSA_PKCS1}, 2},
    /* the token's own removal of the padding would be an oracle */
    [PROV_CLASS_RSA_TLS] = {{KS_MECH_RSA_RAW}, 1},
    [PROV_CLASS_EC_SIGN] = {{KS_MECH_ECDSA, KS_MECH_ECDSA_HASH}, 2},
    [PROV_CLASS_EC_DERIVE] = {{KS_MECH_ECDH, KS_MECH_ECDH_COFACTOR}, 2},
    [PROV_CLASS_ED_SIGN] = {{KS_MECH_EDDSA}, 1},
    [PROV_CLASS_KEYGEN] = {{KS_MECH_RSA_KEYGEN, KS_MECH_EC_KEYGEN, KS_MECH_EDWARDS_KEYGEN}, 3},
    [PROV_CLASS_RAND] = {{0}, 0},
};

/* A mechanism that hashes counts with whichever digest the token has it. */
static ks_status token_lists(const struct prov_ctx *ctx, enum ks_mech_kind kind, bool *can,
                             struct ks_error *err)
{
    const bool hashes = kind == KS_MECH_RSA_PKCS1_HASH || kind == KS_MECH_RSA_PSS_HASH ||
                        kind == KS_MECH_ECDSA_HASH;
    ks_status status = {KS_OK};
    int digest;

    if (!hashes)
        return ks_token_can(ctx->token, NULL, kind, can, err);
    *can = false;
    for (digest = KS_DIGEST_SHA1; digest <= KS_DIGEST_SHA3_512 && ks_ok(status) && !*can; digest++)
        status = ks_token_can_hash(ctx->token, NULL, kind, (enum ks_digest)digest, can, err);
    return status;
}

ks_status prov_class_mechanisms(const struct prov_ctx *ctx, enum prov_operation class,
                                unsigned *listed, struct ks_error *err)
{
    const struct prov_need *need = &prov_needs[class];
    ks_status status = {KS_OK};
    bool can = false;
    unsigned i;

    *listed = 0;
    for (i = 0; i < need->count && ks_ok(status); i++) {
        status = token_lists(ctx, need->kinds[i], &can, err);
        if (ks_ok(status) && can)
            *listed |= 1U << i;
    }
    return status;
}

const char *prov_class_mech_names(enum prov_operation class, unsigned bits, char *out, size_t size)
{
    const struct prov_need *need = &prov_needs[class];
    int used = 0;
    unsigned i;

    out[0] = '\0';
    for (i = 0; i < need->count && used >= 0 && (size_t)used < size; i++) {
        if ((bits & 1U << i) != 0)
            used += snprintf(out + used, size - (size_t)used, "%s%s", used > 0 ? ", " : "",
                             ks_mech_name(need->kinds[i]));
    }
    return out;
}

/* Does the token have a mechanism for the class? A yes is remembered, and the token is not asked
 * again. */
static int token_able(const struct prov_ctx *ctx, enum prov_operation class,
                      const struct prov_key *key)
{
    atomic_uint *able = &((struct prov_ctx *)(uintptr_t)ctx)->able;
    const bool named = key != NULL && key->uri != NULL;
    unsigned listed = 0;
    char names[200];
    struct ks_error err;

    /* The token need not be up yet if there is no key (a generation that the token cannot do fails
     * with the mechanism's name), or if the key waits for its first use. */
    if (key == NULL || prov_key_unseen(key) || ctx->token == NULL || prov_needs[class].count == 0 ||
        (atomic_load(able) & BIT(class)) != 0)
        return 1;
    /* If the token is down, the operation itself reports it. An error raised here would be lost:
     * libssl tries whether a key can sign at all, drops the errors, and reports "no suitable
     * signature algorithm". */
    if (!ks_ok(prov_class_mechanisms(ctx, class, &listed, &err)))
        return 1;
    if (listed != 0) {
        atomic_fetch_or(able, BIT(class));
        return 1;
    }
    note_refused(ctx, class, key, "the token lacks the mechanism");
    prov_raise(ctx, (enum prov_reason)(PROV_R_TOKEN + KS_MECHANISM),
               "%s%s%s: the token lacks %s%s, and this is never done elsewhere",
               prov_class_names[class], named ? " for " : "", named ? key->uri : "",
               prov_class_mech_names(class, ~0U, names, sizeof(names)),
               prov_needs[class].count > 1 ? " (one of them would do)" : "");
    return 0;
}

/* --- permission ------------------------------------------------------------------------------ */

int prov_permits(const struct prov_ctx *ctx, enum prov_operation class, const struct prov_key *key)
{
    char line[160];

    if (!prov_usable(ctx))
        return 0;
    if (key != NULL && key->software) {
        prov_raise_software_key(key);
        return 0;
    }
    /* Generation learns the type of the key only later, and asks the token then. */
    if (ctx->config.offload & BIT(class))
        return key == NULL || token_able(ctx, class, key);
    note_refused(ctx, class, key, "not offloaded");
    prov_raise(ctx, PROV_R_POLICY,
               "%s is not offloaded to the HSM%s%s, and is never done elsewhere; this line in the "
               "provider's section would allow it: %s",
               prov_class_names[class], key != NULL && key->uri != NULL ? " for " : "",
               key != NULL && key->uri != NULL ? key->uri : "",
               prov_policy_line(ctx->config.offload, class, line, sizeof(line)));
    return 0;
}
