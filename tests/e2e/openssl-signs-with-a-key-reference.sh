#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# openssl's pkey, req, x509 and dgst take a reference for a private key, RSA and EC.
. "$(dirname "$0")/lib.sh"

token
key rsa rsa:2048
key ec ec:P-256
key ec384 ec:P-384
key ec521 ec:P-521
printf 'some text to sign' >data

# dgst_with KEY DIGEST [OPTION...]: the signature verifies with the public half, by plain openssl,
# and not over other data.
printf 'some text to sigh' >other
dgst_with() {
    local name=$1 md=$2
    shift 2
    must "dgst -$md with $name $*" openssl dgst "-$md" -sign "$name.pem" "$@" -out sig data
    must "  verifies in software" plain_openssl dgst "-$md" -verify "$name.pub" "$@" -signature sig data
    must_fail "  not over other data" 'Verification failure' \
        plain_openssl dgst "-$md" -verify "$name.pub" "$@" -signature sig other
}

for md in sha1 sha224 sha256 sha384 sha512 sha512-256 sha3-256 sha3-512; do
    dgst_with rsa $md
    dgst_with ec $md
done
dgst_with ec384 sha384
dgst_with ec521 sha512
for salt in digest max auto 0 17; do
    must "dgst -sha256 with PSS, salt length $salt" openssl dgst -sha256 -sign rsa.pem \
        -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:$salt -out sig data
    case $salt in auto) verify=max ;; *) verify=$salt ;; esac
    must "  verifies in software with exactly that length" plain_openssl dgst -sha256 -verify rsa.pub \
        -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:$verify -signature sig data
done
dgst_with rsa sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_mgf1_md:sha1
dgst_with rsa sha384 -sigopt rsa_padding_mode:pss -sigopt rsa_mgf1_md:sha512

step "verification by the provider's own key object"
must "dgst -prverify" openssl dgst -sha384 -prverify rsa.pem -sigopt rsa_padding_mode:pss \
    -sigopt rsa_mgf1_md:sha512 -signature sig data
must_fail "dgst -prverify of other data" 'Verification failure' openssl dgst -sha384 \
    -prverify rsa.pem -sigopt rsa_padding_mode:pss -sigopt rsa_mgf1_md:sha512 -signature sig other

for name in rsa ec ec384; do
    must "req -new with $name" openssl req -new -key $name.pem -subj "/CN=$name" -out $name.csr
    must "  its own signature verifies" plain_openssl req -in $name.csr -verify -noout
    must "  the CSR's key" plain_openssl req -in $name.csr -pubkey -noout -out csr.pub
    same_files "the CSR carries $name's public half" csr.pub $name.pub
    must "req -x509 with $name" openssl req -x509 -key $name.pem -subj "/CN=$name" -days 2 -out $name.crt
    must "  the self-signed certificate verifies" plain_openssl verify -CAfile $name.crt $name.crt
    must "x509 -req -signkey with $name" openssl x509 -req -in $name.csr -signkey $name.pem -days 2 -out self.crt
    must "  verifies" plain_openssl verify -CAfile self.crt self.crt
done
must "req -x509 with PSS" openssl req -x509 -key rsa.pem -subj "/CN=pss" -days 2 -out pss.crt \
    -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest
must "  verifies" plain_openssl verify -CAfile pss.crt pss.crt
must "  shows PSS" plain_openssl x509 -in pss.crt -noout -text
says "the certificate's signature algorithm" 'Signature Algorithm: rsassaPss' out
