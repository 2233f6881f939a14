/* SPDX-License-Identifier: Apache-2.0
 *
 * policy_table.h - the policy, row by row: which operation on which key runs on the HSM, which is
 * refused, and which runs in software because it needs the public half alone.
 * test_policy_table.c runs every row; policy_doc.c makes docs/policy.md of them.
 *
 * To add a row: add it. A new kind of operation is one function in test_policy_table.c, too; a new
 * key one line in its table of keys.
 */
#ifndef HSM_POLICY_TABLE_H
#define HSM_POLICY_TABLE_H

enum policy_outcome { ON_HSM, IN_SOFTWARE, REFUSED };

struct policy_row {
    const char *key;       /* "RSA", "RSA-PSS", "EC P-256" ... */
    const char *operation; /* a function of test_policy_table.c */
    const char *padding;   /* or scheme; "" where there is none */
    const char *asked;     /* the property query; "" for none. "first": our provider is the first */
    const char *offload;   /* the line in the configuration */
    const char *lacks;     /* mechanisms that the token does not have, blanks between; "" none */
    enum policy_outcome outcome;
    const char *reason; /* what the error says, when it is refused */
};

#define LACKS_RSA "CKM_RSA_PKCS CKM_RSA_PKCS_PSS CKM_RSA_X_509 CKM_RSA_PKCS_OAEP"
#define NOT_DONE  " is not offloaded to the HSM"
/* libcrypto's own words: nothing is exported, and the HSM's algorithms are not asked for. */
#define ELSEWHERE "operation not supported for this keytype"

static const struct policy_row policy_table[] = {
    /* RSA signatures */
    {"RSA", "sign", "pkcs1", "", "rsa-sign", "", ON_HSM, ""},
    {"RSA", "sign", "pkcs1", "", "rsa-sign", LACKS_RSA, REFUSED, "lacks CKM_RSA_PKCS"},
    {"RSA", "sign", "pkcs1", "", "all -rsa-sign", "", REFUSED, "rsa-sign" NOT_DONE},
    {"RSA", "sign", "pkcs1", "provider=default", "rsa-sign", "", REFUSED, ELSEWHERE},
    {"RSA", "sign", "pkcs1", "provider=default", "all -rsa-sign", "", REFUSED, ELSEWHERE},
    {"RSA", "sign", "pkcs1", "first", "rsa-sign", "", ON_HSM, ""},
    {"RSA", "sign", "pkcs1", "first", "all -rsa-sign", "", REFUSED, "rsa-sign" NOT_DONE},
    {"RSA", "sign-digest", "pkcs1", "", "rsa-sign", "", ON_HSM, ""},
    {"RSA", "sign-digest", "pkcs1", "", "all -rsa-sign", "", REFUSED, "rsa-sign" NOT_DONE},
    {"RSA", "sign", "pss", "", "rsa-sign", "", ON_HSM, ""},
    {"RSA", "sign", "pss", "", "rsa-sign", "CKM_RSA_PKCS_PSS", ON_HSM, ""},
    {"RSA", "sign", "pss", "", "rsa-sign", "CKM_RSA_PKCS_PSS CKM_RSA_X_509", REFUSED,
     "neither PSS with"},
    {"RSA", "sign", "pss", "", "rsa-sign", LACKS_RSA, REFUSED, "lacks CKM_RSA_PKCS"},
    {"RSA", "sign", "pss", "", "all -rsa-sign", "", REFUSED, "rsa-sign" NOT_DONE},
    {"RSA", "sign-block", "none", "", "rsa-sign", "", ON_HSM, ""},
    {"RSA", "sign-block", "none", "", "rsa-sign", "CKM_RSA_X_509", REFUSED, "CKM_RSA_X_509"},
    {"RSA", "sign-block", "none", "", "all -rsa-sign", "", REFUSED, "rsa-sign" NOT_DONE},
    {"RSA", "verify", "pkcs1", "", "rsa-sign", "", IN_SOFTWARE, ""},
    {"RSA", "verify", "pkcs1", "", "all -rsa-sign", "", IN_SOFTWARE, ""},
    {"RSA", "verify", "pss", "", "rsa-sign", LACKS_RSA, IN_SOFTWARE, ""},

    /* RSA decryption */
    {"RSA", "decrypt", "oaep", "", "rsa-oaep", "", ON_HSM, ""},
    {"RSA", "decrypt", "oaep", "", "rsa-oaep", "CKM_RSA_PKCS_OAEP", ON_HSM, ""},
    {"RSA", "decrypt", "oaep", "", "rsa-oaep", "CKM_RSA_PKCS_OAEP CKM_RSA_X_509", REFUSED,
     "lacks CKM_RSA_PKCS_OAEP"},
    {"RSA", "decrypt", "oaep", "", "all -rsa-oaep", "", REFUSED, "rsa-oaep" NOT_DONE},
    {"RSA", "decrypt", "oaep", "provider=default", "rsa-oaep", "", REFUSED, ELSEWHERE},
    {"RSA", "decrypt", "oaep", "provider=default", "all -rsa-oaep", "", REFUSED, ELSEWHERE},
    {"RSA", "decrypt", "oaep", "first", "rsa-oaep", "", ON_HSM, ""},
    {"RSA", "decrypt", "pkcs1", "", "rsa-pkcs1", "", ON_HSM, ""},
    {"RSA", "decrypt", "pkcs1", "", "rsa-pkcs1", "CKM_RSA_X_509", ON_HSM, ""},
    {"RSA", "decrypt", "pkcs1", "", "rsa-pkcs1", "CKM_RSA_X_509 CKM_RSA_PKCS", REFUSED,
     "lacks CKM_RSA_X_509, CKM_RSA_PKCS"},
    {"RSA", "decrypt", "pkcs1", "", "all -rsa-pkcs1", "", REFUSED, "rsa-pkcs1" NOT_DONE},
    {"RSA", "decrypt", "tls", "", "rsa-tls", "", ON_HSM, ""},
    {"RSA", "decrypt", "tls", "", "all", "", REFUSED, "rsa-tls" NOT_DONE},
    {"RSA", "decrypt", "tls", "", "rsa-tls", "CKM_RSA_X_509", REFUSED, "lacks CKM_RSA_X_509"},
    {"RSA", "encrypt", "oaep", "", "all -rsa-oaep", "", IN_SOFTWARE, ""},
    {"RSA", "encrypt", "pkcs1", "", "rsa-sign", LACKS_RSA, IN_SOFTWARE, ""},

    /* EC signatures */
    {"EC P-256", "sign", "", "", "ec-sign", "", ON_HSM, ""},
    {"EC P-256", "sign", "", "", "ec-sign", "CKM_ECDSA", REFUSED, "lacks CKM_ECDSA"},
    {"EC P-256", "sign", "", "", "all -ec-sign", "", REFUSED, "ec-sign" NOT_DONE},
    {"EC P-256", "sign", "", "provider=default", "ec-sign", "", REFUSED, ELSEWHERE},
    {"EC P-256", "sign", "", "provider=default", "all -ec-sign", "", REFUSED, ELSEWHERE},
    {"EC P-256", "sign", "", "first", "ec-sign", "", ON_HSM, ""},
    {"EC P-256", "sign-digest", "", "", "ec-sign", "", ON_HSM, ""},
    {"EC P-256", "sign-digest", "", "", "all -ec-sign", "", REFUSED, "ec-sign" NOT_DONE},
    {"EC P-256", "verify", "", "", "all -ec-sign", "", IN_SOFTWARE, ""},
    {"EC P-384", "sign", "", "", "ec-sign", "", ON_HSM, ""},
    {"EC P-384", "sign", "", "", "all -ec-sign", "", REFUSED, "ec-sign" NOT_DONE},
    {"EC P-521", "sign", "", "", "ec-sign", "", ON_HSM, ""},
    {"EC P-521", "sign", "", "", "all -ec-sign", "", REFUSED, "ec-sign" NOT_DONE},

    /* ECDH */
    {"EC P-256", "derive", "", "", "ec-derive", "", ON_HSM, ""},
    {"EC P-256", "derive", "", "", "ec-derive", "CKM_ECDH1_DERIVE", ON_HSM, ""},
    {"EC P-256", "derive", "", "", "ec-derive", "CKM_ECDH1_DERIVE CKM_ECDH1_COFACTOR_DERIVE",
     REFUSED, "lacks CKM_ECDH1_DERIVE"},
    {"EC P-256", "derive", "", "", "all -ec-derive", "", REFUSED, "ec-derive" NOT_DONE},
    {"EC P-256", "derive", "", "provider=default", "ec-derive", "", REFUSED, ELSEWHERE},
    {"EC P-256", "derive", "", "provider=default", "all -ec-derive", "", REFUSED, ELSEWHERE},
    {"EC P-256", "derive", "", "first", "ec-derive", "", ON_HSM, ""},
    {"EC P-256", "derive", "", "first", "all -ec-derive", "", REFUSED, "ec-derive" NOT_DONE},
    {"EC P-384", "derive", "", "", "ec-derive", "", ON_HSM, ""},
    {"EC P-384", "derive", "", "", "all -ec-derive", "", REFUSED, "ec-derive" NOT_DONE},
    {"EC P-521", "derive", "", "", "ec-derive", "", ON_HSM, ""},
    {"EC P-521", "derive", "", "", "all -ec-derive", "", REFUSED, "ec-derive" NOT_DONE},

    /* EdDSA */
    {"ED25519", "sign", "", "", "ed-sign", "", ON_HSM, ""},
    {"ED25519", "sign", "", "", "ed-sign", "CKM_EDDSA", REFUSED, "lacks CKM_EDDSA"},
    {"ED25519", "sign", "", "", "all -ed-sign", "", REFUSED, "ed-sign" NOT_DONE},
    {"ED25519", "sign", "", "provider=default", "ed-sign", "", REFUSED, ELSEWHERE},
    {"ED25519", "sign", "", "provider=default", "all -ed-sign", "", REFUSED, ELSEWHERE},
    {"ED25519", "sign", "", "first", "ed-sign", "", ON_HSM, ""},
    {"ED25519", "sign", "", "first", "all -ed-sign", "", REFUSED, "ed-sign" NOT_DONE},
    {"ED25519", "verify", "", "", "all -ed-sign", "", IN_SOFTWARE, ""},
    {"ED448", "sign", "", "", "ed-sign", "", ON_HSM, ""},
    {"ED448", "sign", "", "", "ed-sign", "CKM_EDDSA", REFUSED, "lacks CKM_EDDSA"},
    {"ED448", "sign", "", "", "all -ed-sign", "", REFUSED, "ed-sign" NOT_DONE},
    {"ED448", "verify", "", "", "all -ed-sign", "", IN_SOFTWARE, ""},

    /* the private half stays where it is */
    {"ED25519", "export-private", "", "", "all", "", REFUSED, "the private key stays in the HSM"},
    {"ED448", "export-private", "", "", "all", "", REFUSED, "the private key stays in the HSM"},
    {"RSA", "export-private", "", "", "all", "", REFUSED, "the private key stays in the HSM"},
    {"EC P-256", "export-private", "", "", "all", "", REFUSED, "the private key stays in the HSM"},

    /* generation */
    {"RSA", "generate", "", "provider=hsm", "all", "", ON_HSM, ""},
    {"RSA", "generate", "", "?provider=hsm", "all", "", ON_HSM, ""},
    {"RSA", "generate", "", "first", "all", "", ON_HSM, ""},
    {"RSA", "generate", "", "provider=hsm", "all -keygen", "", REFUSED, "keygen" NOT_DONE},
    {"RSA", "generate", "", "provider=hsm", "all", "CKM_RSA_PKCS_KEY_PAIR_GEN", REFUSED,
     "CKM_RSA_PKCS_KEY_PAIR_GEN"},
    {"RSA-PSS", "generate", "", "provider=hsm", "all", "", ON_HSM, ""},
    {"RSA-PSS", "generate", "", "first", "all -keygen", "", REFUSED, "keygen" NOT_DONE},
    {"EC P-256", "generate", "", "provider=hsm", "all", "", ON_HSM, ""},
    {"EC P-256", "generate", "", "?provider=hsm", "all", "", ON_HSM, ""},
    {"EC P-256", "generate", "", "first", "all", "", ON_HSM, ""},
    {"EC P-256", "generate", "", "provider=hsm", "all -keygen", "", REFUSED, "keygen" NOT_DONE},
    {"EC P-256", "generate", "", "provider=hsm", "all", "CKM_EC_KEY_PAIR_GEN", REFUSED,
     "CKM_EC_KEY_PAIR_GEN"},
    {"EC P-384", "generate", "", "provider=hsm", "all", "", ON_HSM, ""},
    {"EC P-521", "generate", "", "provider=hsm", "all", "", ON_HSM, ""},
    {"ED25519", "generate", "", "provider=hsm", "all", "", ON_HSM, ""},
    {"ED25519", "generate", "", "first", "all", "", ON_HSM, ""},
    {"ED25519", "generate", "", "provider=hsm", "all -keygen", "", REFUSED, "keygen" NOT_DONE},
    {"ED25519", "generate", "", "provider=hsm", "all", "CKM_EC_EDWARDS_KEY_PAIR_GEN", REFUSED,
     "CKM_EC_EDWARDS_KEY_PAIR_GEN"},
    {"ED448", "generate", "", "provider=hsm", "all", "", ON_HSM, ""},
    {"ED448", "generate", "", "provider=hsm", "all", "CKM_EC_EDWARDS_KEY_PAIR_GEN", REFUSED,
     "CKM_EC_EDWARDS_KEY_PAIR_GEN"},
    {"X25519", "generate", "", "provider=hsm", "all", "", REFUSED, "X25519 keys are not generated"},
    {"X25519", "generate", "", "first", "all", "", REFUSED, "X25519 keys are not generated"},
    {"X448", "generate", "", "?provider=hsm", "all", "", REFUSED, "X448 keys are not generated"},
    {"SM2", "generate", "", "?provider=hsm", "all", "", REFUSED, "SM2 keys are not generated"},
    {"DSA", "generate", "", "?provider=hsm", "all", "", REFUSED, "DSA keys are not generated"},
    {"DH", "generate", "", "?provider=hsm", "all", "", REFUSED, "DH keys are not generated"},
    {"DHX", "generate", "", "?provider=hsm", "all", "", REFUSED, "DHX keys are not generated"},
    {"ML-DSA-65", "generate", "", "?provider=hsm", "all", "", REFUSED,
     "ML-DSA-65 keys are not generated"},
    {"ML-KEM-768", "generate", "", "?provider=hsm", "all", "", REFUSED,
     "ML-KEM-768 keys are not generated"},
};
#define POLICY_ROWS (sizeof(policy_table) / sizeof(policy_table[0]))

#endif
