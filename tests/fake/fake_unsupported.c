/* SPDX-License-Identifier: Apache-2.0
 *
 * C_ functions that this module has not: counted, scripted, CKR_FUNCTION_NOT_SUPPORTED. */
#include "fake_local.h"

static CK_RV unsupported(enum fake_function function)
{
    struct fake_call call;
    CK_RV rv = fake_enter(&call, function);

    return fake_leave(&call, rv != CKR_OK ? rv : CKR_FUNCTION_NOT_SUPPORTED);
}

CK_RV C_WaitForSlotEvent(CK_FLAGS flags, CK_SLOT_ID *slot, void *reserved)
{
    (void)flags;
    (void)slot;
    (void)reserved;
    return unsupported(FAKE_C_WaitForSlotEvent);
}

CK_RV C_InitToken(CK_SLOT_ID slot_id, unsigned char *pin, CK_ULONG pin_len, unsigned char *label)
{
    (void)slot_id;
    (void)pin;
    (void)pin_len;
    (void)label;
    return unsupported(FAKE_C_InitToken);
}

CK_RV C_InitPIN(CK_SESSION_HANDLE session, unsigned char *pin, CK_ULONG pin_len)
{
    (void)session;
    (void)pin;
    (void)pin_len;
    return unsupported(FAKE_C_InitPIN);
}

CK_RV C_SetPIN(CK_SESSION_HANDLE session, unsigned char *old_pin, CK_ULONG old_len,
               unsigned char *new_pin, CK_ULONG new_len)
{
    (void)session;
    (void)old_pin;
    (void)old_len;
    (void)new_pin;
    (void)new_len;
    return unsupported(FAKE_C_SetPIN);
}

CK_RV C_GetOperationState(CK_SESSION_HANDLE session, unsigned char *operation_state,
                          CK_ULONG *operation_state_len)
{
    (void)session;
    (void)operation_state;
    (void)operation_state_len;
    return unsupported(FAKE_C_GetOperationState);
}

CK_RV C_SetOperationState(CK_SESSION_HANDLE session, unsigned char *operation_state,
                          CK_ULONG operation_state_len, CK_OBJECT_HANDLE encryption_key,
                          CK_OBJECT_HANDLE authentiation_key)
{
    (void)session;
    (void)operation_state;
    (void)operation_state_len;
    (void)encryption_key;
    (void)authentiation_key;
    return unsupported(FAKE_C_SetOperationState);
}

CK_RV C_CopyObject(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *templ,
                   CK_ULONG count, CK_OBJECT_HANDLE *new_object)
{
    (void)session;
    (void)object;
    (void)templ;
    (void)count;
    (void)new_object;
    return unsupported(FAKE_C_CopyObject);
}

CK_RV C_GetObjectSize(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ULONG *size)
{
    (void)session;
    (void)object;
    (void)size;
    return unsupported(FAKE_C_GetObjectSize);
}

CK_RV C_SetAttributeValue(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *templ,
                          CK_ULONG count)
{
    (void)session;
    (void)object;
    (void)templ;
    (void)count;
    return unsupported(FAKE_C_SetAttributeValue);
}

CK_RV C_EncryptInit(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    (void)session;
    (void)mechanism;
    (void)key;
    return unsupported(FAKE_C_EncryptInit);
}

CK_RV C_Encrypt(CK_SESSION_HANDLE session, unsigned char *data, CK_ULONG data_len,
                unsigned char *encrypted_data, CK_ULONG *encrypted_data_len)
{
    (void)session;
    (void)data;
    (void)data_len;
    (void)encrypted_data;
    (void)encrypted_data_len;
    return unsupported(FAKE_C_Encrypt);
}

CK_RV C_EncryptUpdate(CK_SESSION_HANDLE session, unsigned char *part, CK_ULONG part_len,
                      unsigned char *encrypted_part, CK_ULONG *encrypted_part_len)
{
    (void)session;
    (void)part;
    (void)part_len;
    (void)encrypted_part;
    (void)encrypted_part_len;
    return unsupported(FAKE_C_EncryptUpdate);
}

CK_RV C_EncryptFinal(CK_SESSION_HANDLE session, unsigned char *last_encrypted_part,
                     CK_ULONG *last_encrypted_part_len)
{
    (void)session;
    (void)last_encrypted_part;
    (void)last_encrypted_part_len;
    return unsupported(FAKE_C_EncryptFinal);
}

CK_RV C_DecryptUpdate(CK_SESSION_HANDLE session, unsigned char *encrypted_part,
                      CK_ULONG encrypted_part_len, unsigned char *part, CK_ULONG *part_len)
{
    (void)session;
    (void)encrypted_part;
    (void)encrypted_part_len;
    (void)part;
    (void)part_len;
    return unsupported(FAKE_C_DecryptUpdate);
}

CK_RV C_DecryptFinal(CK_SESSION_HANDLE session, unsigned char *last_part, CK_ULONG *last_part_len)
{
    (void)session;
    (void)last_part;
    (void)last_part_len;
    return unsupported(FAKE_C_DecryptFinal);
}

CK_RV C_DigestInit(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism)
{
    (void)session;
    (void)mechanism;
    return unsupported(FAKE_C_DigestInit);
}

CK_RV C_Digest(CK_SESSION_HANDLE session, unsigned char *data, CK_ULONG data_len,
               unsigned char *digest, CK_ULONG *digest_len)
{
    (void)session;
    (void)data;
    (void)data_len;
    (void)digest;
    (void)digest_len;
    return unsupported(FAKE_C_Digest);
}

CK_RV C_DigestUpdate(CK_SESSION_HANDLE session, unsigned char *part, CK_ULONG part_len)
{
    (void)session;
    (void)part;
    (void)part_len;
    return unsupported(FAKE_C_DigestUpdate);
}

CK_RV C_DigestKey(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key)
{
    (void)session;
    (void)key;
    return unsupported(FAKE_C_DigestKey);
}

CK_RV C_DigestFinal(CK_SESSION_HANDLE session, unsigned char *digest, CK_ULONG *digest_len)
{
    (void)session;
    (void)digest;
    (void)digest_len;
    return unsupported(FAKE_C_DigestFinal);
}

CK_RV C_SignUpdate(CK_SESSION_HANDLE session, unsigned char *part, CK_ULONG part_len)
{
    (void)session;
    (void)part;
    (void)part_len;
    return unsupported(FAKE_C_SignUpdate);
}

CK_RV C_SignFinal(CK_SESSION_HANDLE session, unsigned char *signature, CK_ULONG *signature_len)
{
    (void)session;
    (void)signature;
    (void)signature_len;
    return unsupported(FAKE_C_SignFinal);
}

CK_RV C_SignRecoverInit(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    (void)session;
    (void)mechanism;
    (void)key;
    return unsupported(FAKE_C_SignRecoverInit);
}

CK_RV C_SignRecover(CK_SESSION_HANDLE session, unsigned char *data, CK_ULONG data_len,
                    unsigned char *signature, CK_ULONG *signature_len)
{
    (void)session;
    (void)data;
    (void)data_len;
    (void)signature;
    (void)signature_len;
    return unsupported(FAKE_C_SignRecover);
}

CK_RV C_VerifyInit(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    (void)session;
    (void)mechanism;
    (void)key;
    return unsupported(FAKE_C_VerifyInit);
}

CK_RV C_Verify(CK_SESSION_HANDLE session, unsigned char *data, CK_ULONG data_len,
               unsigned char *signature, CK_ULONG signature_len)
{
    (void)session;
    (void)data;
    (void)data_len;
    (void)signature;
    (void)signature_len;
    return unsupported(FAKE_C_Verify);
}

CK_RV C_VerifyUpdate(CK_SESSION_HANDLE session, unsigned char *part, CK_ULONG part_len)
{
    (void)session;
    (void)part;
    (void)part_len;
    return unsupported(FAKE_C_VerifyUpdate);
}

CK_RV C_VerifyFinal(CK_SESSION_HANDLE session, unsigned char *signature, CK_ULONG signature_len)
{
    (void)session;
    (void)signature;
    (void)signature_len;
    return unsupported(FAKE_C_VerifyFinal);
}

CK_RV C_VerifyRecoverInit(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    (void)session;
    (void)mechanism;
    (void)key;
    return unsupported(FAKE_C_VerifyRecoverInit);
}

CK_RV C_VerifyRecover(CK_SESSION_HANDLE session, unsigned char *signature, CK_ULONG signature_len,
                      unsigned char *data, CK_ULONG *data_len)
{
    (void)session;
    (void)signature;
    (void)signature_len;
    (void)data;
    (void)data_len;
    return unsupported(FAKE_C_VerifyRecover);
}

CK_RV C_DigestEncryptUpdate(CK_SESSION_HANDLE session, unsigned char *part, CK_ULONG part_len,
                            unsigned char *encrypted_part, CK_ULONG *encrypted_part_len)
{
    (void)session;
    (void)part;
    (void)part_len;
    (void)encrypted_part;
    (void)encrypted_part_len;
    return unsupported(FAKE_C_DigestEncryptUpdate);
}

CK_RV C_DecryptDigestUpdate(CK_SESSION_HANDLE session, unsigned char *encrypted_part,
                            CK_ULONG encrypted_part_len, unsigned char *part, CK_ULONG *part_len)
{
    (void)session;
    (void)encrypted_part;
    (void)encrypted_part_len;
    (void)part;
    (void)part_len;
    return unsupported(FAKE_C_DecryptDigestUpdate);
}

CK_RV C_SignEncryptUpdate(CK_SESSION_HANDLE session, unsigned char *part, CK_ULONG part_len,
                          unsigned char *encrypted_part, CK_ULONG *encrypted_part_len)
{
    (void)session;
    (void)part;
    (void)part_len;
    (void)encrypted_part;
    (void)encrypted_part_len;
    return unsupported(FAKE_C_SignEncryptUpdate);
}

CK_RV C_DecryptVerifyUpdate(CK_SESSION_HANDLE session, unsigned char *encrypted_part,
                            CK_ULONG encrypted_part_len, unsigned char *part, CK_ULONG *part_len)
{
    (void)session;
    (void)encrypted_part;
    (void)encrypted_part_len;
    (void)part;
    (void)part_len;
    return unsupported(FAKE_C_DecryptVerifyUpdate);
}

CK_RV C_GenerateKey(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *templ,
                    CK_ULONG count, CK_OBJECT_HANDLE *key)
{
    (void)session;
    (void)mechanism;
    (void)templ;
    (void)count;
    (void)key;
    return unsupported(FAKE_C_GenerateKey);
}

CK_RV C_WrapKey(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE wrapping_key,
                CK_OBJECT_HANDLE key, unsigned char *wrapped_key, CK_ULONG *wrapped_key_len)
{
    (void)session;
    (void)mechanism;
    (void)wrapping_key;
    (void)key;
    (void)wrapped_key;
    (void)wrapped_key_len;
    return unsupported(FAKE_C_WrapKey);
}

CK_RV C_UnwrapKey(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism,
                  CK_OBJECT_HANDLE unwrapping_key, unsigned char *wrapped_key,
                  CK_ULONG wrapped_key_len, CK_ATTRIBUTE *templ, CK_ULONG attribute_count,
                  CK_OBJECT_HANDLE *key)
{
    (void)session;
    (void)mechanism;
    (void)unwrapping_key;
    (void)wrapped_key;
    (void)wrapped_key_len;
    (void)templ;
    (void)attribute_count;
    (void)key;
    return unsupported(FAKE_C_UnwrapKey);
}

CK_RV C_SeedRandom(CK_SESSION_HANDLE session, unsigned char *seed, CK_ULONG seed_len)
{
    (void)session;
    (void)seed;
    (void)seed_len;
    return unsupported(FAKE_C_SeedRandom);
}

CK_RV C_GetFunctionStatus(CK_SESSION_HANDLE session)
{
    (void)session;
    return unsupported(FAKE_C_GetFunctionStatus);
}

CK_RV C_CancelFunction(CK_SESSION_HANDLE session)
{
    (void)session;
    return unsupported(FAKE_C_CancelFunction);
}
