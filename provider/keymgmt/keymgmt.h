/* SPDX-License-Identifier: Apache-2.0
 *
 * keymgmt.h - what the key types' keymgmt files share. keydata is a struct prov_key, genctx
 * a struct prov_gen.
 */
#ifndef HSM_KEYMGMT_COMMON_H
#define HSM_KEYMGMT_COMMON_H

#include "../key/key.h"

#define KEY_TYPE(ID, id, ...) extern const OSSL_DISPATCH prov_keymgmt_##id[];
#include "../key/types.def"
#undef KEY_TYPE
#define REFUSED(id, name, others) extern const OSSL_DISPATCH prov_refused_##id[];
#define REFUSED_SIGNS             REFUSED
#include "refused.def"
#undef REFUSED
#undef REFUSED_SIGNS

/* The callbacks that do not depend on the type, or find it in the key. */
OSSL_FUNC_keymgmt_free_fn prov_keymgmt_free;
OSSL_FUNC_keymgmt_dup_fn prov_keymgmt_dup;
OSSL_FUNC_keymgmt_has_fn prov_keymgmt_has;
OSSL_FUNC_keymgmt_match_fn prov_keymgmt_match;
OSSL_FUNC_keymgmt_validate_fn prov_keymgmt_validate;
OSSL_FUNC_keymgmt_import_fn prov_keymgmt_import;
OSSL_FUNC_keymgmt_export_fn prov_keymgmt_export;
OSSL_FUNC_keymgmt_get_params_fn prov_keymgmt_get_params;
OSSL_FUNC_keymgmt_set_params_fn prov_keymgmt_set_params;
OSSL_FUNC_keymgmt_settable_params_fn prov_keymgmt_settable_params;

/* Purpose: load() of one type; see struct prov_load. */
void *prov_keymgmt_load(enum prov_key_type type, const void *reference, size_t size);

/* --- generation (generation.c) --------------------------------------------------------------- */

/* Restrictions that an RSA-PSS key carries in its AlgorithmIdentifier. */
struct prov_pss {
    char digest[40];
    char mgf1[40];
    int salt_len;
    bool has_digest, has_mgf1, has_salt_len;
};

struct prov_gen {
    struct prov_ctx *ctx;
    enum prov_key_type type;
    bool parameters_only; /* EC: hand out the group, generate nothing */
    /* RSA */
    unsigned bits;
    uint8_t exponent[8]; /* big-endian */
    size_t exponent_len; /* 0: 65537 */
    struct prov_pss pss;
    /* EC */
    const struct prov_curve *curve;
    /* all */
    char *label;
    unsigned char *id;
    size_t id_len;
    bool sign, decrypt, derive;
    bool extractable;
    struct ks_uri *uri;     /* which of several tokens; NULL: not said */
    struct ks_token *token; /* the one that was chosen */
};

/* Purpose: gen_init() of one type. */
void *prov_gen_init(enum prov_key_type type, void *provctx, int selection,
                    const OSSL_PARAM params[]);
OSSL_FUNC_keymgmt_gen_set_template_fn prov_gen_set_template;
OSSL_FUNC_keymgmt_gen_set_params_fn prov_gen_set_params;
OSSL_FUNC_keymgmt_gen_fn prov_gen;
OSSL_FUNC_keymgmt_gen_cleanup_fn prov_gen_cleanup;

/* Purpose: try a new key: a test signature, or, if it is not for signing, another proof that it is
 * that of its public half. */
int prov_gen_try(const struct prov_gen *gen, struct prov_key *key, struct ks_key *priv);

/* Rows for the types' tables of settable parameters. */
#define PROV_GEN_SETTABLE                                                                          \
    OSSL_PARAM_utf8_string("hsm-label", NULL, 0), OSSL_PARAM_utf8_string("hsm-id", NULL, 0),       \
        OSSL_PARAM_utf8_string("hsm-extractable", NULL, 0),                                        \
        OSSL_PARAM_utf8_string("hsm-usage", NULL, 0), OSSL_PARAM_utf8_string("hsm-uri", NULL, 0)

#endif
