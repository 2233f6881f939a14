#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# pkeyutl: signatures over digests, decryption with PKCS#1 v1.5 and OAEP in all its variants.
. "$(dirname "$0")/lib.sh"

token
key rsa rsa:2048
key ec ec:P-256
printf 'a secret of some bytes' >secret
plain_openssl dgst -sha256 -binary secret >digest

sign_with() {
    local name=$1
    shift
    must "pkeyutl -sign with $name $*" openssl pkeyutl -sign -inkey "$name.pem" "$@" -in digest -out sig
    must "  verifies in software" plain_openssl pkeyutl -verify -pubin -inkey "$name.pub" "$@" \
        -in digest -sigfile sig
}
sign_with rsa -pkeyopt digest:sha256
sign_with rsa
sign_with rsa -pkeyopt rsa_padding_mode:pss -pkeyopt digest:sha256 -pkeyopt rsa_pss_saltlen:digest
sign_with rsa -pkeyopt rsa_padding_mode:pss -pkeyopt digest:sha256 -pkeyopt rsa_pss_saltlen:max
sign_with ec
sign_with ec -pkeyopt digest:sha256
must_fail "a digest of the wrong length is refused" . \
    openssl pkeyutl -sign -inkey rsa.pem -pkeyopt digest:sha384 -in digest -out sig
must "pkeyutl -sign -rawin" openssl pkeyutl -sign -inkey rsa.pem -rawin -digest sha256 -in secret -out sig
must "  verifies in software" plain_openssl dgst -sha256 -verify rsa.pub -signature sig secret

decrypt_with() {
    rm -f plain
    must "encrypted in software $*" plain_openssl pkeyutl -encrypt -pubin -inkey rsa.pub "$@" -in secret -out cipher
    must "pkeyutl -decrypt $*" openssl pkeyutl -decrypt -inkey rsa.pem "$@" -in cipher -out plain
    same_files "  gives the text back" plain secret
}
decrypt_with -pkeyopt rsa_padding_mode:pkcs1
decrypt_with -pkeyopt rsa_padding_mode:oaep
decrypt_with -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256
decrypt_with -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha512 -pkeyopt rsa_mgf1_md:sha1
decrypt_with -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha1 -pkeyopt rsa_mgf1_md:sha384
decrypt_with -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_label:0011aabbff
decrypt_with -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_oaep_label:00

must "encrypt in software with one label" plain_openssl pkeyutl -encrypt -pubin -inkey rsa.pub \
    -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_label:01 -in secret -out cipher
must_fail "decrypt with another" 'decrypt' openssl pkeyutl -decrypt -inkey rsa.pem \
    -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_label:02 -in cipher -out plain
must "encrypt with our key object is software's work" openssl pkeyutl -encrypt -inkey rsa.pem \
    -pkeyopt rsa_padding_mode:oaep -in secret -out cipher
must "  and decrypts" openssl pkeyutl -decrypt -inkey rsa.pem -pkeyopt rsa_padding_mode:oaep \
    -in cipher -out plain
same_files "  to the same" plain secret

step "bad ciphertexts neither crash nor stop the token from working"
for i in 1 2 3 4 5; do
    plain_openssl rand -out noise 256
    printf '\0' | dd of=noise conv=notrunc status=none
    must_fail "decrypt noise with OAEP" 'decrypt' openssl pkeyutl -decrypt -inkey rsa.pem \
        -pkeyopt rsa_padding_mode:oaep -in noise -out plain
done
must_fail "a ciphertext that is too short" . openssl pkeyutl -decrypt -inkey rsa.pem -in secret -out plain
decrypt_with -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256

step "implicit rejection: noise decrypts to the same noise, again and again, with PKCS#1 v1.5"
openssl pkeyutl -decrypt -inkey rsa.pem -pkeyopt rsa_padding_mode:pkcs1 -in noise -out one >out 2>&1 &&
    openssl pkeyutl -decrypt -inkey rsa.pem -pkeyopt rsa_padding_mode:pkcs1 -in noise -out two >out 2>&1 ||
    { show out; failed "noise is decrypted without an error"; }
same_files "two processes reject alike" one two
