#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tokens: softhsm
#
# Labels with newlines and control characters reach no terminal and no log as they are.
. "$(dirname "$0")/lib.sh"

token
evil=$(printf 'a\nFAKE: all is well\033[31m;b')
clean() {
    says_not "$1: no line of its own for what comes after a newline" '^FAKE' out
    says_not "$1: no escape character" "$(printf '\033')" out
}
must "a key with a strange label, by another program" pkcs11_tool --keypairgen --key-type EC:prime256v1 \
    --label "$evil" --id 99
must "and another with the same" pkcs11_tool --keypairgen --key-type EC:prime256v1 --label "$evil" --id 98

must "hsmkey list" hsmkey list
clean "hsmkey list"
must "hsmkey list --json" hsmkey list --json
clean "hsmkey list --json"
cp out list.json
must "  is valid JSON" /usr/bin/python3 -m json.tool list.json
must "hsmkey reference" hsmkey reference "$token_uri;id=%99;type=private" -o evil.pem
clean "hsmkey reference"
must "storeutl" openssl storeutl -noout "$token_uri"
clean "storeutl"
must "pkey -text" openssl pkey -in evil.pem -noout -text
clean "pkey -text"
must "the key signs" openssl dgst -sha256 -sign evil.pem -out sig data
must "hsmkey generate with such a label" hsmkey generate --type ec:P-256 --label "$(printf 'x\ny')" -o x.pem
clean "hsmkey generate"
must_fail "an error that names both keys" 'more than one|ambiguous|two' \
    openssl pkey -in "$token_uri;object=a%0AFAKE:%20all%20is%20well%1B%5B31m%3Bb;type=private" -noout
clean "the error about two keys"
for type in privkey pubkey; do
    must "the key goes" pkcs11_tool --delete-object --type $type --id 99
done
must_fail "an error that names a missing key" . client threads evil.pem 1 1
clean "the error about a missing key"
