#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Encryption, other formats, export: refused with the reason, or another reference.
. "$(dirname "$0")/lib.sh"

token
software_ca
key rsa rsa:2048
key ec ec:P-256
certificate rsa

for name in rsa ec; do
    must_fail "pkey -aes256 with $name" 'reference|secret|encrypt' openssl pkey -in $name.pem -aes256 \
        -passout pass:secret -out x.pem
    [ ! -s x.pem ] || failed "nothing was written"
    must_fail "pkey -traditional with $name" . openssl pkey -in $name.pem -traditional -out x.pem
    [ ! -s x.pem ] || failed "nothing was written"
    must "pkey writes a reference for $name" openssl pkey -in $name.pem -out again.pem
    must "  a copy that signs" openssl dgst -sha256 -sign again.pem -out sig data
    must_fail "  and is none for openssl alone" . plain_openssl pkey -in again.pem -noout
    must "pkey -text" openssl pkey -in $name.pem -noout -text
    says "the text says where the key is" 'HSM|token' out
    says_not "and has no private numbers" '^(privateExponent|prime1|priv):' out
    must "pkey -pubout -text_pub" openssl pkey -in $name.pem -noout -text_pub
done
must_fail "rsa -text in the classic format" . openssl rsa -in rsa.pem -traditional -out x.pem
must_fail "ec" . openssl ec -in ec.pem -aes128 -passout pass:secret -out x.pem
must_fail "ec in the classic format" . openssl ec -in ec.pem -out x.pem
[ ! -s x.pem ] || failed "nothing was written"
must_fail "ec -no_public" . openssl ec -in ec.pem -no_public -noout
must "ec -pubout" openssl ec -in ec.pem -pubout -out ec-again.pub
same_files "the public half" ec-again.pub ec.pub
must "ec -text" openssl ec -in ec.pem -noout -text
says "the text says where the key is" 'HSM|token' out

# These ask for a PrivateKeyInfo, as writing a reference does, and encrypt it by themselves. What
# they can get is a reference.
must "pkcs8 -topk8" openssl pkcs8 -topk8 -in rsa.pem -passout pass:secret -out wrapped.pem
must_fail "what is in it is no key" . plain_openssl pkey -in wrapped.pem -passin pass:secret -noout
must "pkcs12 -export" openssl pkcs12 -export -inkey rsa.pem -in rsa.crt -passout pass:secret -out bag.p12
must_fail "what is in it is no key" . plain_openssl pkcs12 -in bag.p12 -passin pass:secret -nodes -nocerts
