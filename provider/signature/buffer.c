/* SPDX-License-Identifier: Apache-2.0
 *
 * buffer.c - tokens that hash by themselves: they lack CKM_RSA_PKCS or CKM_ECDSA and
 * have CKM_SHA256_RSA_PKCS and its kind. They get the message, which is kept for that, and what
 * they make of it is verified before it is released.
 */
#include <openssl/crypto.h>
#include <string.h>

#include "signature.h"

int prov_sig_raise_lacks(const struct prov_sig *sig, enum ks_mech_kind kind)
{
    prov_raise(sig->ctx, (enum prov_reason)(PROV_R_TOKEN + KS_MECHANISM),
               "the token lacks %s, which this operation with %s needs, and nothing else is used "
               "in its place",
               ks_mech_name(kind), sig->key->uri != NULL ? sig->key->uri : "the key");
    return 0;
}

bool prov_sig_hashes(const struct prov_sig *sig, enum ks_mech_kind raw, enum ks_mech_kind hash)
{
    struct ks_error err;
    bool can = false;

    if (sig->priv == NULL)
        return sig->postponed;
    return !prov_key_can(sig->key, sig->priv, raw) && sig->digest != NULL &&
           ks_ok(ks_token_can_hash(ks_key_token(sig->priv), NULL, hash, sig->digest->ks, &can,
                                   &err)) &&
           can;
}

void prov_sig_keep(struct prov_sig *sig)
{
    sig->keeping = true;
}

int prov_sig_digest_suffices(const struct prov_sig *sig, enum ks_mech_kind raw,
                             enum ks_mech_kind hash)
{
    if (!prov_sig_hashes(sig, raw, hash))
        return 1;
    prov_raise(sig->ctx, (enum prov_reason)(PROV_R_TOKEN + KS_MECHANISM),
               "the token lacks %s and signs with %s only, which hash by themselves, and here is "
               "a digest: have the message signed (openssl dgst -sign, pkeyutl -sign -rawin, "
               "EVP_DigestSign)",
               ks_mech_name(raw), ks_mech_name(hash));
    return 0;
}

int prov_sig_sign_kept(const struct prov_sig *sig, const struct ks_mech *mech, unsigned char *out,
                       size_t *out_len)
{
    static const unsigned char nothing[1];
    struct ks_error err;

    if (sig->too_long) {
        prov_raise(sig->ctx, PROV_R_UNSUPPORTED,
                   "the token hashes by itself (%s), and the message is longer than the %u bytes "
                   "that every token is known to take",
                   ks_mech_name(mech->kind), KS_MESSAGE_MAX);
        return 0;
    }
    return ks_ok(ks_sign(sig->priv, NULL, mech, sig->kept != NULL ? sig->kept : nothing,
                         sig->kept_len, out, out_len, &err)) ||
           prov_sig_raise_failed(sig, &err);
}

int prov_sig_raise_not_good(const struct prov_sig *sig, unsigned char *out, size_t len)
{
    OPENSSL_cleanse(out, len);
    prov_raise(sig->ctx, PROV_R_VERIFY,
               "the signature that the token made of the message does not verify with %s",
               sig->key->uri != NULL ? sig->key->uri : "the public key");
    return 0;
}

int prov_sig_keep_more(struct prov_sig *sig, const unsigned char *data, size_t len)
{
    if (sig->too_long || len > KS_MESSAGE_MAX - sig->kept_len) {
        sig->too_long = true;
        return 1;
    }
    if (sig->kept_len + len > sig->kept_room) {
        size_t room = sig->kept_room == 0 ? 1024 : sig->kept_room;
        unsigned char *grown;

        while (room < sig->kept_len + len)
            room *= 2;
        grown = OPENSSL_clear_realloc(sig->kept, sig->kept_room, room);
        if (grown == NULL)
            return 0;
        sig->kept = grown;
        sig->kept_room = room;
    }
    if (len > 0)
        memcpy(sig->kept + sig->kept_len, data, len);
    sig->kept_len += len;
    return 1;
}

int prov_sig_raise_failed(const struct prov_sig *sig, const struct ks_error *err)
{
    prov_raise_ks(sig->ctx, err);
    return 0;
}
