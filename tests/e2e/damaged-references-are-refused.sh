#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tokens: softhsm
#
# Truncated, altered, oversized and random references: an error, no crash, nothing signed.
. "$(dirname "$0")/lib.sh"

token
key rsa rsa:2048
key ec ec:P-256

refused() {
    must_fail "$1" . openssl pkey -in "$2" -noout
    must_fail "  signing" . openssl dgst -sha256 -sign "$2" -out sig data
    [ ! -s sig ] || failed "nothing was signed"
}
pem() {
    { echo "-----BEGIN $2-----"; base64 -w 64 "$1"; echo "-----END $2-----"; } >bad.pem
}
for name in rsa ec; do
    plain_openssl asn1parse -in $name.pem -noout -out $name.der
    size=$(stat -c %s $name.der)
    must "DER works as well as PEM" openssl pkey -inform DER -in $name.der -noout
    for cut in 0 1 2 5 10 20 30 50 $((size / 2)) $((size - 20)) $((size - 1)); do
        head -c $cut $name.der >bad.der
        pem bad.der "PRIVATE KEY"
        refused "$name, the first $cut bytes of $size" bad.pem
    done
    # The outer lengths stay right while the inner ones lie.
    for at in 5 12 30 40 50; do
        cp $name.der bad.der
        printf '\377' | dd of=bad.der bs=1 seek=$at conv=notrunc status=none
        pem bad.der "PRIVATE KEY"
        refused "$name with byte $at altered" bad.pem
    done
    head -n 3 $name.pem >bad.pem
    refused "$name PEM without its end" bad.pem
done
for label in "PRIVATE KEY" "HSM KEY REFERENCE" "PKCS#11 PROVIDER URI"; do
    for size in 1 64 4096; do
        head -c $size /dev/urandom >bad.der
        pem bad.der "$label"
        refused "$size random bytes as $label" bad.pem
    done
    # Not more: a plain OpenSSL 3.6 takes time that grows with the square, 2 s for these.
    head -c 300000 /dev/zero >bad.der
    pem bad.der "$label"
    refused "three hundred kilobytes of nothing as $label" bad.pem
done
must "the good ones work as before" openssl dgst -sha256 -sign rsa.pem -out sig data
