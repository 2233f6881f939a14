/* SPDX-License-Identifier: Apache-2.0
 *
 * base/pkcs11.h - the constants and types of PKCS#11.
 */
#ifndef HSM_KS_PKCS11_H
#define HSM_KS_PKCS11_H

#include <p11-kit/pkcs11.h>

/* What the headers of older p11-kits lack, under names that end in an underscore, so that newer
 * headers, which have some of them as macros and some otherwise, do not matter. Source: PKCS#11
 * v3.0, Current Mechanisms, and v2.40 errata 01. */
#define CKA_PUBLIC_KEY_INFO_         0x00000129UL
#define CKG_MGF1_SHA3_224_           0x00000006UL
#define CKG_MGF1_SHA3_256_           0x00000007UL
#define CKG_MGF1_SHA3_384_           0x00000008UL
#define CKG_MGF1_SHA3_512_           0x00000009UL
#define CKK_EC_EDWARDS_              0x00000040UL
#define CKM_SHA512_224_              0x00000048UL
#define CKM_SHA512_256_              0x0000004cUL
#define CKM_SHA3_256_RSA_PKCS_       0x00000060UL
#define CKM_SHA3_384_RSA_PKCS_       0x00000061UL
#define CKM_SHA3_512_RSA_PKCS_       0x00000062UL
#define CKM_SHA3_256_RSA_PKCS_PSS_   0x00000063UL
#define CKM_SHA3_384_RSA_PKCS_PSS_   0x00000064UL
#define CKM_SHA3_512_RSA_PKCS_PSS_   0x00000065UL
#define CKM_SHA3_224_RSA_PKCS_       0x00000066UL
#define CKM_SHA3_224_RSA_PKCS_PSS_   0x00000067UL
#define CKM_SHA3_256_                0x000002b0UL
#define CKM_SHA3_224_                0x000002b5UL
#define CKM_SHA3_384_                0x000002c0UL
#define CKM_SHA3_512_                0x000002d0UL
#define CKM_ECDSA_SHA3_224_          0x00001047UL
#define CKM_ECDSA_SHA3_256_          0x00001048UL
#define CKM_ECDSA_SHA3_384_          0x00001049UL
#define CKM_ECDSA_SHA3_512_          0x0000104aUL
#define CKM_EC_EDWARDS_KEY_PAIR_GEN_ 0x00001055UL
#define CKM_EDDSA_                   0x00001057UL
#define CKR_CURVE_NOT_SUPPORTED_     0x00000140UL

#endif
