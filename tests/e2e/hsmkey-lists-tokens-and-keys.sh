#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# hsmkey: tokens, list, generate, reference, check, in text and JSON.
. "$(dirname "$0")/lib.sh"

token
must "hsmkey --help" hsmkey --help
for verb in tokens list generate reference check; do
    says "the help names $verb" "\\b$verb\\b" out
done
for verb in tokens list generate reference check; do
    must "hsmkey $verb --help" hsmkey $verb --help
    says "hsmkey $verb --help" "usage.*$verb" out
done
must "hsmkey tokens" hsmkey tokens
says "the token" "$token_label" out
must "hsmkey tokens --json" hsmkey tokens --json
cp out json && must "  is JSON" /usr/bin/python3 -m json.tool json
says "with the token" "$token_label" json

key web rsa:2048 --id 0102
key mail ec:P-384
must "the reference is for its owner only" stat -c %a web.pem
same "mode of the reference" "$(cat out)" 600
must "hsmkey list" hsmkey list
for pattern in 'object=web' 'object=mail' 'RSA' 'EC' '2048' 'P-384|secp384r1'; do
    says "hsmkey list" "$pattern" out
done
must "hsmkey list --json" hsmkey list --json
cp out json && must "  is JSON" /usr/bin/python3 -m json.tool json
says "with the keys" 'object=web' json

must_fail "no overwriting" 'exist|--force' hsmkey reference "$token_uri;object=web;type=private" -o web.pem
must "but with --force" hsmkey reference "$token_uri;object=web;type=private" -o web.pem --force
must "  it works" openssl dgst -sha256 -sign web.pem -out sig data
must_fail "generate refuses to overwrite before it generates" 'exist|--force' \
    hsmkey generate --type rsa:2048 --label other -o web.pem
must "  so no such key" hsmkey list
says_not "  so no such key" 'object=other' out
must_fail "the same label" 'exist' hsmkey generate --type rsa:2048 --label web -o w2.pem
must_fail "the same id" 'exist' hsmkey generate --type rsa:2048 --label web3 --id 0102 -o w3.pem
must_fail "no label" 'label' hsmkey generate --type rsa:2048 -o w4.pem
must_fail "an unknown type" 'type|rsa' hsmkey generate --type dsa:1024 --label d -o w5.pem
must_fail "a tiny RSA key" . hsmkey generate --type rsa:12 --label d -o w5.pem
must_fail "an unknown verb" 'frobnicate' hsmkey frobnicate
must_fail "a reference to a whole token" 'more than one|one|object|id' hsmkey reference "$token_uri" -o w6.pem
for file in w2 w3 w4 w5 w6; do
    [ ! -e $file.pem ] || failed "a refused request leaves no file" "got: $file.pem"
done
step "overrides"
OPENSSL_CONF=/dev/null
must "--config" hsmkey --config "$conf" list
conf=/dev/null
if [ -z "$init_args" ]; then # there is no option for those
    must "--module, --token, --pin" hsmkey --module "$module" --token "$token_uri" --pin "file:$W/pin" list
    says "hsmkey list" 'object=web' out
fi
