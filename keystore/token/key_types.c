/* SPDX-License-Identifier: Apache-2.0
 *
 * key_types.c - the table of key types. docs/adding.md says what else a new type needs.
 */
#include <stddef.h>

#include "key_types.h"

/* A signature comes first: it is what most keys are for. */
static const struct ks_trial rsa_trials[] = {
    {KS_OP_SIGN, {.kind = KS_MECH_RSA_PKCS1}},
    {KS_OP_SIGN,
     {.kind = KS_MECH_RSA_PSS,
      .digest = KS_DIGEST_SHA256,
      .mgf1 = KS_DIGEST_SHA256,
      .salt_len = 32}},
    {KS_OP_SIGN, {.kind = KS_MECH_RSA_PKCS1_HASH, .digest = KS_DIGEST_SHA256}},
    {KS_OP_SIGN,
     {.kind = KS_MECH_RSA_PSS_HASH,
      .digest = KS_DIGEST_SHA256,
      .mgf1 = KS_DIGEST_SHA256,
      .salt_len = 32}},
    {KS_OP_SIGN, {.kind = KS_MECH_RSA_RAW}},
    {KS_OP_DECRYPT, {.kind = KS_MECH_RSA_RAW}},
    {KS_OP_DECRYPT, {.kind = KS_MECH_RSA_OAEP, .digest = KS_DIGEST_SHA1, .mgf1 = KS_DIGEST_SHA1}},
    {KS_OP_DECRYPT, {.kind = KS_MECH_RSA_PKCS1}},
};

static const struct ks_trial ec_trials[] = {
    {KS_OP_SIGN, {.kind = KS_MECH_ECDSA}},
    {KS_OP_SIGN, {.kind = KS_MECH_ECDSA_HASH, .digest = KS_DIGEST_SHA256}},
    {KS_OP_DERIVE, {.kind = KS_MECH_ECDH}},
    {KS_OP_DERIVE, {.kind = KS_MECH_ECDH_COFACTOR}},
};

static const struct ks_trial edwards_trials[] = {
    {KS_OP_SIGN, {.kind = KS_MECH_EDDSA}},
};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Two numbers of the size of a coordinate: the point has both, and a byte in front. */
static size_t of_point(size_t public_len)
{
    return public_len - 1;
}

static size_t of_edwards_point(size_t public_len)
{
    return 2 * public_len;
}

static const struct ks_key_type_row rows[] = {
    [KS_KEY_RSA] = {.ckk = CKK_RSA,
                    .keygen = KS_MECH_RSA_KEYGEN,
                    .sized_in_bits = true,
                    .decrypts = true,
                    .public = {{CKA_MODULUS, KS_NUMBER, offsetof(struct ks_object, modulus)},
                               {CKA_PUBLIC_EXPONENT, KS_NUMBER,
                                offsetof(struct ks_object, exponent)}},
                    .trials = rsa_trials,
                    .trial_count = COUNT_OF(rsa_trials)},
    [KS_KEY_EC] = {.ckk = CKK_EC,
                   .keygen = KS_MECH_EC_KEYGEN,
                   .derives = true,
                   .public = {{CKA_EC_POINT, KS_POINT, offsetof(struct ks_object, ec_point)},
                              {CKA_EC_PARAMS, KS_BYTES, offsetof(struct ks_object, ec_params)}},
                   .result_len = of_point,
                   .trials = ec_trials,
                   .trial_count = COUNT_OF(ec_trials)},
    [KS_KEY_EDWARDS] =
        {.ckk = CKK_EC_EDWARDS_,
         .keygen = KS_MECH_EDWARDS_KEYGEN,
         .public = {{CKA_EC_POINT, KS_EDWARDS_POINT, offsetof(struct ks_object, ec_point)},
                    {CKA_EC_PARAMS, KS_BYTES, offsetof(struct ks_object, ec_params)}},
         .result_len = of_edwards_point,
         .trials = edwards_trials,
         .trial_count = COUNT_OF(edwards_trials)},
};
#define ROWS COUNT_OF(rows)

const struct ks_key_type_row *ks_key_type_row(enum ks_key_type type)
{
    return type == KS_KEY_OTHER || (size_t)type >= ROWS ? NULL : &rows[type];
}

enum ks_key_type ks_key_type_by_ckk(CK_KEY_TYPE ckk)
{
    for (size_t i = KS_KEY_OTHER + 1; i < ROWS; i++)
        if (rows[i].ckk == ckk)
            return (enum ks_key_type)i;
    return KS_KEY_OTHER;
}

bool ks_key_type_shows(enum ks_key_type type, CK_ATTRIBUTE_TYPE attribute)
{
    const struct ks_key_type_row *row = ks_key_type_row(type);

    for (size_t i = 0; row != NULL && i < KS_PUBLIC_ATTRIBUTES; i++)
        if (row->public[i].offset != 0 && row->public[i].type == attribute)
            return true;
    return false;
}

bool ks_is_public_attribute(CK_ATTRIBUTE_TYPE attribute)
{
    for (size_t i = KS_KEY_OTHER + 1; i < ROWS; i++)
        if (ks_key_type_shows((enum ks_key_type)i, attribute))
            return true;
    return false;
}
