#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tokens: softhsm
#
# Keys that want the PIN for every use get it, three calls each.
. "$(dirname "$0")/lib.sh"

token
must "a key with CKA_ALWAYS_AUTHENTICATE" pkcs11_tool --keypairgen --key-type EC:prime256v1 --label strict \
    --id 77 --always-auth
must "hsmkey reference" hsmkey reference "$token_uri;object=strict;type=private" -o strict.pem
must "its public half" openssl pkey -in strict.pem -pubout -out strict.pub
must "dgst" openssl dgst -sha256 -sign strict.pem -out sig data
must "  verifies" plain_openssl dgst -sha256 -verify strict.pub -signature sig data
must "threads" client threads strict.pem 4 10
