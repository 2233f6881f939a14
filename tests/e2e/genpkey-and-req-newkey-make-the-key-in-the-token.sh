#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Generation by openssl makes a token object, and what is written is a reference.
. "$(dirname "$0")/lib.sh"

token

made() {
    must "  $1.pem is a reference" plain_openssl asn1parse -in "$1.pem"
    says "  with an object identifier of our own" 'OBJECT.*:2\.25\.' out
    must_fail "  which openssl alone refuses" . plain_openssl pkey -in "$1.pem" -noout
    must "  hsmkey lists the key" hsmkey list
    says "  under its label" "$1" out
    must "  it signs" openssl dgst -sha256 -sign "$1.pem" -out sig data
    must "  its public half" openssl pkey -in "$1.pem" -pubout -out "$1.pub"
    must "  the signature verifies" plain_openssl dgst -sha256 -verify "$1.pub" -signature sig data
}

must "genpkey RSA" openssl genpkey -propquery provider=hsm -algorithm RSA -pkeyopt rsa_keygen_bits:2048 \
    -pkeyopt hsm-label:one -out one.pem
made one
must "genpkey EC with an id" openssl genpkey -propquery provider=hsm -algorithm EC \
    -pkeyopt ec_paramgen_curve:P-256 -pkeyopt hsm-label:two -pkeyopt hsm-id:a1b2c3 -out two.pem
made two
must "the id is the one asked for" hsmkey list
says "the id" 'a1[:%]?b2[:%]?c3' out
must "req -newkey RSA" openssl req -propquery provider=hsm -newkey rsa:2048 -pkeyopt hsm-label:three \
    -keyout three.pem -noenc -subj /CN=three -out three.csr
must "  the CSR verifies" plain_openssl req -in three.csr -verify -noout
made three
must "req -x509 -newkey EC" openssl req -propquery provider=hsm -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-384 \
    -pkeyopt hsm-label:four -keyout four.pem -noenc -subj /CN=four -out four.crt
must "  the certificate verifies" plain_openssl verify -CAfile four.crt four.crt
made four
must "the key file is for its owner only" stat -c %a one.pem
must_fail "the same label again is refused" 'exists|label' openssl genpkey -propquery provider=hsm \
    -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt hsm-label:one -out again.pem
[ ! -s again.pem ] || failed "a refused request writes no key"
