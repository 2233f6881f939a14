/* SPDX-License-Identifier: Apache-2.0
 *
 * codec.h - keys from and to files: decoders, encoders, and the store.
 */
#ifndef HSM_PROV_CODEC_H
#define HSM_PROV_CODEC_H

#include "../key/key.h"

/* Decoders have no state: their context is the provider's. */
OSSL_FUNC_decoder_newctx_fn prov_decoder_newctx;
OSSL_FUNC_decoder_freectx_fn prov_decoder_freectx;
/* decoders: input=der,structure=PrivateKeyInfo (one a type), and input=pem for the PEM labels that
 * libcrypto does not know */
#define KEY_TYPE(ID, id, ...) extern const OSSL_DISPATCH prov_decoder_der_##id[];
#include "../key/types.def"
#undef KEY_TYPE
extern const OSSL_DISPATCH prov_decoder_pem[];
/* decoders of parameters (codec/decoder_params.c): input=pem and input=der, which run before all
 * others, and one a type. The structure is a name of our own: nobody else's decoder is meant. */
#define PROV_PARAMS_STRUCTURE "hsm-parameters"
/* Purpose: whether the running libcrypto sorts decoders by how well they fit the query, from 3.5
 * on. Those of one type are of no use elsewhere. */
bool prov_decoders_are_sorted(void);
extern const OSSL_DISPATCH prov_decoder_params_pem[];
extern const OSSL_DISPATCH prov_decoder_params_der[];
extern const OSSL_DISPATCH prov_decoder_params_mark[];
extern const OSSL_DISPATCH prov_decoder_params_ec[];
extern const OSSL_DISPATCH prov_decoder_params_sm2[];
extern const OSSL_DISPATCH prov_decoder_params_dsa[];
extern const OSSL_DISPATCH prov_decoder_params_dh[];
extern const OSSL_DISPATCH prov_decoder_params_dhx[];
/* encoders, one set serves all types: PrivateKeyInfo and SubjectPublicKeyInfo in der and pem,
 * and text; "type-specific" and EncryptedPrivateKeyInfo are there to refuse with the reason */
extern const OSSL_DISPATCH prov_encoder_pki_der[];
extern const OSSL_DISPATCH prov_encoder_pki_pem[];
extern const OSSL_DISPATCH prov_encoder_spki_der[];
extern const OSSL_DISPATCH prov_encoder_spki_pem[];
extern const OSSL_DISPATCH prov_encoder_text[];
extern const OSSL_DISPATCH prov_encoder_traditional[]; /* refuses: type-specific, pkcs1, X9.62 */
extern const OSSL_DISPATCH prov_encoder_encrypted[];   /* refuses: EncryptedPrivateKeyInfo */

extern const OSSL_DISPATCH prov_store[];

#endif
