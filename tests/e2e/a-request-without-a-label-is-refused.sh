#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Generation without a label says what to add, and leaves nothing behind, on the token or on disk.
. "$(dirname "$0")/lib.sh"

token
key before rsa:2048
must "list" hsmkey list --json
cp out list.before

must_fail "genpkey RSA" 'hsm-label' openssl genpkey -propquery provider=hsm -algorithm RSA \
    -pkeyopt rsa_keygen_bits:2048 -out new.pem
must_fail "genpkey EC" 'hsm-label' openssl genpkey -propquery provider=hsm -algorithm EC \
    -pkeyopt ec_paramgen_curve:P-256 -out new.pem
must_fail "req -newkey" 'hsm-label' openssl req -propquery provider=hsm -newkey rsa:2048 -noenc \
    -keyout new.pem -subj /CN=new -out new.csr
[ ! -s new.pem ] || failed "no key file was written" "got: $(head -n 1 new.pem)"
must_fail "genrsa, which cannot pass a label" 'genpkey|hsm-label' openssl genrsa -propquery provider=hsm \
    -out new.pem 2048
[ ! -s new.pem ] || failed "no key file was written" "got: $(head -n 1 new.pem)"

must "list again" hsmkey list --json
same_files "the token holds what it held before" out list.before

step "without asking for us, generation is software's business as ever"
must "genpkey" openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out soft.pem
must "  a plain key" plain_openssl pkey -in soft.pem -noout -check
