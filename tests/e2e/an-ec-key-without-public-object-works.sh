#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tokens: softhsm,softhsm-remote
#
# EC private objects hold no point: the reference carries it.
. "$(dirname "$0")/lib.sh"

token
key ec ec:P-256 --id 33
must "the public object goes" pkcs11_tool --delete-object --type pubkey --id 33
must "the reference signs" openssl dgst -sha256 -sign ec.pem -out sig data
must "  verifies" plain_openssl dgst -sha256 -verify ec.pub -signature sig data
must "CSR" openssl req -new -key ec.pem -subj /CN=ec -out csr
must "  verifies" plain_openssl req -in csr -verify -noout
must "threads" client threads ec.pem 4 10
must_fail "by URI alone nobody knows the public half, and the error says so" 'public' \
    openssl pkey -in "$token_uri;id=%33;type=private" -pubout
plain_openssl req -x509 -newkey rsa:2048 -noenc -keyout /dev/null -subj /CN=other -out other.crt >out 2>&1
must "a certificate with the same id, made from the reference" openssl req -x509 -key ec.pem -subj /CN=ec -days 2 -out ec.crt
plain_openssl x509 -in ec.crt -outform DER -out ec.der
must "  put on the token" pkcs11_tool --write-object ec.der --type cert --id 33 --label ec
must "now the URI alone is enough" openssl pkey -in "$token_uri;id=%33;type=private" -pubout -out uri.pub
same_files "  with the certificate's key" uri.pub ec.pub
must "storeutl shows the certificate" openssl storeutl -certs -noout "$token_uri"
says "one certificate" 'Total found: 1' out
