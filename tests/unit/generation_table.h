/* SPDX-License-Identifier: Apache-2.0
 *
 * generation_table.h - every way in which a program can have a key made, row by row: where it is
 * made. test_generation.c carries out each row for each of its keys, asked in each of its ways;
 * policy_doc.c puts the rows into docs/policy.md.
 *
 * To add a row: add it. A new way is one function in test_generation.c, too.
 */
#ifndef HSM_GENERATION_TABLE_H
#define HSM_GENERATION_TABLE_H

enum generation_outcome {
    MADE_ON_HSM,
    MADE_NOWHERE,  /* refused, with an error */
    MADE_SOFTWARE, /* nobody asked for us: exactly as without us */
    /* We are asked for, but libcrypto calls nothing of ours: the row's `reason` says why. The test
     * shows it by whose key management the context has before the key is made, and whose the key
     * is, and by the module's calls. */
    NOT_ASKED,
};

struct generation_row {
    const char *way;   /* a function of test_generation.c */
    const char *keys;  /* blanks between */
    const char *asked; /* words of generation_asked, blanks between */
    enum generation_outcome outcome;
    const char *reason; /* what the error says; for NOT_ASKED: why */
};

/* How the HSM is asked for. */
static const struct generation_asked {
    const char *word, *query, *default_properties;
    int hsm_first;
    const char *in_words;
} generation_asked[] = {
    {"required", "provider=hsm", 0, 0, "query `provider=hsm`"},
    {"preferred", "?provider=hsm", 0, 0, "query `?provider=hsm`"},
    {"first", 0, 0, 1, "`hsm` before `default`"},
    {"default", 0, "?provider=hsm", 0, "`default_properties = ?provider=hsm`"},
    {"nobody", 0, 0, 0, "not at all"},
    {"elsewhere", "provider=default", 0, 1, "`hsm` before `default`, but query `provider=default`"},
};
#define GENERATION_ASKED (sizeof(generation_asked) / sizeof(generation_asked[0]))

#define ASKED "required preferred first default"
/* without a query of its own */
#define AROUND       "first default"
#define OTHERS       "nobody elsewhere"
#define REFUSED_TYPE "keys are not generated in the HSM"
#define NO_NAME      "a key in the HSM needs a name"

static const struct generation_row generation_table[] = {
    {"by name", "RSA RSA-PSS EC ED25519 ED448", ASKED, MADE_ON_HSM, ""},
    {"by name", "X25519 X448 SM2 DSA DH DHX ML-DSA-65 ML-KEM-768 SLH-DSA-SHA2-128s", ASKED,
     MADE_NOWHERE, REFUSED_TYPE},
    {"by name", "RSA EC ED25519 X25519", OTHERS, MADE_SOFTWARE, ""},
    {"EVP_PKEY_Q_keygen()", "RSA EC ED25519 ED448", ASKED, MADE_NOWHERE, NO_NAME},
    {"EVP_PKEY_Q_keygen()", "X25519 X448", ASKED, MADE_NOWHERE, REFUSED_TYPE},
    {"EVP_PKEY_Q_keygen()", "EC X25519", OTHERS, MADE_SOFTWARE, ""},
    {"EVP_PKEY_CTX_new_id()", "RSA EC ED25519 ED448", AROUND, MADE_ON_HSM, ""},
    {"EVP_PKEY_CTX_new_id()", "X25519 X448 DSA DH", AROUND, MADE_NOWHERE, REFUSED_TYPE},
    {"EVP_PKEY_CTX_new_id()", "EC X25519", "nobody", MADE_SOFTWARE, ""},

    /* parameters */
    {"EVP_PKEY_paramgen()", "EC", ASKED, MADE_ON_HSM, ""},
    {"EVP_PKEY_paramgen()", "SM2 DSA DH DHX", ASKED, MADE_NOWHERE, REFUSED_TYPE},
    {"EVP_PKEY_paramgen()", "EC DH", OTHERS, MADE_SOFTWARE, ""},
    {"EVP_PKEY_fromdata()", "EC", ASKED, MADE_ON_HSM, ""},
    {"EVP_PKEY_fromdata()", "DSA DH DHX", ASKED, MADE_NOWHERE, REFUSED_TYPE},
    {"EVP_PKEY_fromdata()", "EC DSA DH DHX", OTHERS, MADE_SOFTWARE, ""},
    {"PEM_read_bio_Parameters_ex()", "EC", ASKED, MADE_ON_HSM, ""},
    {"PEM_read_bio_Parameters_ex()", "SM2 DSA DH DHX", ASKED, MADE_NOWHERE, REFUSED_TYPE},
    {"PEM_read_bio_Parameters_ex()", "EC SM2 DSA DH DHX", OTHERS, MADE_SOFTWARE, ""},
    {"OSSL_DECODER, parameters in DER", "EC", ASKED, MADE_ON_HSM, ""},
    {"OSSL_DECODER, parameters in DER", "SM2 DSA DH DHX", ASKED, MADE_NOWHERE, REFUSED_TYPE},
    {"OSSL_DECODER, parameters in DER", "EC SM2 DSA DH DHX", OTHERS, MADE_SOFTWARE, ""},
    {"OSSL_STORE, a parameter file", "EC", "preferred first default", MADE_ON_HSM, ""},
    {"OSSL_STORE, a parameter file", "SM2 DSA DH DHX", "preferred first default", MADE_NOWHERE,
     REFUSED_TYPE},
    /* there is no file store with that query */
    {"OSSL_STORE, a parameter file", "EC DSA", "required", MADE_NOWHERE, "unsupported"},
    {"OSSL_STORE, a parameter file", "EC SM2 DSA DH DHX", OTHERS, MADE_SOFTWARE, ""},
    {"d2i_KeyParams()", "EC", ASKED, MADE_ON_HSM, ""},
    {"d2i_KeyParams()", "DSA DH", ASKED, MADE_NOWHERE, REFUSED_TYPE},
    {"d2i_KeyParams()", "EC DSA DH", OTHERS, MADE_SOFTWARE, ""},
    {"EVP_PKEY_copy_parameters()", "EC", ASKED, MADE_ON_HSM, ""},
    {"EVP_PKEY_copy_parameters()", "DSA DH DHX", ASKED, MADE_NOWHERE, REFUSED_TYPE},
    {"EVP_PKEY_dup() of parameters", "EC", ASKED, MADE_ON_HSM, ""},
    {"EVP_PKEY_dup() of parameters", "DSA DH DHX", ASKED, MADE_NOWHERE, REFUSED_TYPE},

    /* a key as a pattern for another one */
    {"a key in the HSM as template", "RSA EC ED25519", ASKED " nobody", MADE_ON_HSM, ""},

    /* not asked */
    {"a parameter file read without a query, as req -newkey ec:FILE does", "EC", AROUND,
     MADE_ON_HSM, ""},
    {"a parameter file read without a query, as req -newkey ec:FILE does", "DSA DH DHX", AROUND,
     MADE_NOWHERE, REFUSED_TYPE},
    {"a parameter file read without a query, as req -newkey ec:FILE does", "EC SM2 DSA DH DHX",
     "required preferred", NOT_ASKED,
     "the provider that holds the parameters makes the key, and nobody named the HSM when they "
     "were read: use default_properties"},
    {"OSSL_STORE without OSSL_STORE_expect()", "EC DSA DH DHX", "preferred first default",
     NOT_ASKED, "libcrypto asks for a key of any kind, and not for parameters"},
    {"a public key, or a certificate's, as template", "RSA EC ED25519", ASKED, NOT_ASKED,
     "the provider that holds the public key makes the other one, and public keys are read by the "
     "default provider, whoever is asked for"},
    {"a software key as template", "RSA EC", ASKED, NOT_ASKED,
     "the provider that holds the key makes the other one"},
    {"EC_KEY_generate_key()", "EC", ASKED, NOT_ASKED,
     "it asks no provider, as RSA_generate_key_ex(), DSA_generate_key() and DH_generate_key()"},
};
#define GENERATION_ROWS (sizeof(generation_table) / sizeof(generation_table[0]))

#endif
