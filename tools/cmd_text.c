/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_text.c - how types, bytes and tokens are written.
 */
#include <openssl/asn1.h>
#include <openssl/ec.h>
#include <openssl/objects.h>
#include <stdlib.h>
#include <string.h>

#include "../provider/key/types.h"
#include "cmd.h"

const char *cmd_hex(const unsigned char *in, size_t len, char *out, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    size_t i, at = 0;

    out[0] = '\0';
    for (i = 0; i < len; i++) {
        if (at + 2 + (i + 1 < len ? 3 : 0) >= size) {
            snprintf(out + at, size - at, "...");
            return out;
        }
        out[at++] = digits[in[i] >> 4];
        out[at++] = digits[in[i] & 15];
        out[at] = '\0';
    }
    return out;
}

bool cmd_copy(void *out, size_t *out_len, const void *in, size_t len)
{
    void *copy;

    if (in == NULL) {
        return true;
    }
    copy = malloc(len + 1);
    if (copy == NULL) {
        return false;
    }
    memcpy(copy, in, len);
    memcpy(out, &copy, sizeof(copy)); /* whatever type the pointer has */
    *out_len = len;
    /* cppcheck-suppress memleak */
    return true;
}

static const char *curve_name(int nid)
{
    const char *name = EC_curve_nid2nist(nid);

    return name != NULL ? name : OBJ_nid2sn(nid);
}

/* CKA_EC_PARAMS: an OID, or explicit parameters. */
static void ec_type(const struct ks_object *object, char *out, size_t size)
{
    const unsigned char *p = object->ec_params.data;
    ASN1_OBJECT *oid = NULL;
    char text[80] = "unknown";
    int nid;

    if (p != NULL && object->ec_params.len > 1 && p[0] == V_ASN1_OBJECT) {
        oid = d2i_ASN1_OBJECT(NULL, &p, (long)object->ec_params.len);
    } else if (p != NULL && object->ec_params.len > 1 && p[0] == 0x30) {
        snprintf(text, sizeof(text), "explicit");
    }
    if (oid != NULL) {
        nid = OBJ_obj2nid(oid);
        if (nid != NID_undef) {
            snprintf(text, sizeof(text), "%s", curve_name(nid));
        } else {
            OBJ_obj2txt(text, (int)sizeof(text), oid, 1);
        }
    }
    ASN1_OBJECT_free(oid);
    snprintf(out, size, "ec:%s", text);
}

const char *cmd_key_type(const struct ks_object *object, char *out, size_t size)
{
    enum prov_key_type type;
    unsigned bits = 0;
    unsigned char top;

    switch (object->type) {
    case KS_KEY_RSA:
        if (object->modulus.data != NULL && object->modulus.len > 0) {
            bits = (unsigned)(object->modulus.len - 1) * 8;
            for (top = object->modulus.data[0]; top != 0; top >>= 1) {
                bits++;
            }
        }
        snprintf(out, size, bits > 0 ? "rsa:%u" : "rsa", bits);
        break;
    case KS_KEY_EC:
        ec_type(object, out, size);
        break;
    case KS_KEY_EDWARDS:
        snprintf(out, size, "%s", prov_edwards_type(object, &type) ? prov_types[type].word : "ed");
        break;
    case KS_KEY_OTHER:
    default:
        snprintf(out, size, "other");
        break;
    }
    return out;
}

const char *cmd_pkey_type(const EVP_PKEY *pkey, char *out, size_t size)
{
    enum prov_key_type type;
    char group[80];
    int nid;

    if (EVP_PKEY_is_a(pkey, "EC") && EVP_PKEY_get_group_name(pkey, group, sizeof(group), NULL)) {
        nid = OBJ_txt2nid(group);
        snprintf(out, size, "ec:%s", nid != NID_undef ? curve_name(nid) : group);
    } else if (EVP_PKEY_is_a(pkey, "RSA") || EVP_PKEY_is_a(pkey, "RSA-PSS")) {
        snprintf(out, size, "%s:%d", EVP_PKEY_is_a(pkey, "RSA") ? "rsa" : "rsa-pss",
                 EVP_PKEY_get_bits(pkey));
    } else if (prov_type_of(pkey, &type) && prov_types[type].raw != NULL) {
        snprintf(out, size, "%s", prov_types[type].word);
    } else {
        snprintf(out, size, "%s", EVP_PKEY_get0_type_name(pkey));
    }
    return out;
}

bool cmd_token_uri(const struct ks_token_facts *facts, char *out, size_t size)
{
    static const struct ks_object nothing = {.klass = KS_CLASS_ANY};

    return cmd_object_uri(&nothing, facts, out, size);
}

bool cmd_object_uri(const struct ks_object *object, const struct ks_token_facts *facts, char *out,
                    size_t size)
{
    if (!ks_ok(ks_object_uri(object, facts, KS_URI_DETAIL_FULL, out, size, NULL))) {
        out[0] = '\0';
        return false;
    }
    return true;
}
