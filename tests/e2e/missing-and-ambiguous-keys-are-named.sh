#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tokens: softhsm,softhsm-remote
#
# No key: the error says which was sought. Two keys: it names both.
. "$(dirname "$0")/lib.sh"

token
key one rsa:2048
must "another key with the same label, made by another program" pkcs11_tool --keypairgen \
    --key-type EC:prime256v1 --label one --id 0202
must_fail "the label alone is ambiguous" '02' openssl dgst -sha256 -sign "$token_uri;object=one;type=private" -out sig data
says "the error says so" 'more than one|ambiguous|two' out
must_fail "hsmkey reference refuses it as well" 'more than one|ambiguous|two' hsmkey reference \
    "$token_uri;object=one;type=private" -o x.pem
[ ! -e x.pem ] || failed "no file was written"
must "label and id are enough" openssl dgst -sha256 -sign "$token_uri;object=one;id=%02%02;type=private" -out sig data
must "the reference, which has the id, still works" openssl dgst -sha256 -sign one.pem -out sig data

must_fail "a key that is not there" 'nothing-here' openssl dgst -sha256 -sign "$token_uri;object=nothing-here;type=private" -out sig data
must_fail "hsmkey reference to it" 'nothing-here' hsmkey reference "$token_uri;object=nothing-here" -o x.pem
key gone rsa:2048
id=$(pkcs11_tool -O --type privkey 2>/dev/null | awk '/label: *gone/ { f = 1 } f && /ID:/ { print $2; exit }')
[ -n "$id" ] || failed "pkcs11-tool shows the key 'gone'"
for type in privkey pubkey; do
    must "delete its $type" pkcs11_tool --delete-object --type $type --id "$id"
done
refuses "a reference to a deleted key" 'gone' gone.pem
must_fail "and in pkey" . openssl pkey -in gone.pem -noout
configure check-key-at-load=no
refuses "and when keys are checked late" 'gone' gone.pem
must "late checking works with keys that are there" openssl dgst -sha256 -sign one.pem -out sig data
