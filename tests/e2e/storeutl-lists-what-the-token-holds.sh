#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# pkcs11: URIs name keys to every openssl command, and storeutl lists a token.
. "$(dirname "$0")/lib.sh"

token
key rsa rsa:2048
key ec ec:P-256

must "storeutl of the whole token" openssl storeutl -noout -text "$token_uri"
says "storeutl's count" 'Total found: [1-9]' out
[ "$(grep -c 'Pkey' out)" -ge 2 ] || { show out; failed "storeutl shows both private keys"; }
must "storeutl of one object" openssl storeutl -noout -keys "$token_uri;object=rsa;type=private"
says "one key" 'Total found: 1' out

for name in rsa ec; do
    uri="$token_uri;object=$name;type=private"
    must "dgst with the URI of $name" openssl dgst -sha256 -sign "$uri" -out sig data
    must "  verifies" plain_openssl dgst -sha256 -verify $name.pub -signature sig data
    must "pkey -pubout with the URI" openssl pkey -in "$uri" -pubout -out uri.pub
    same_files "  gives the same public half" uri.pub $name.pub
    must "pkey -pubin with the public object's URI" openssl pkey -pubin \
        -in "$token_uri;object=$name;type=public" -pubout -out uri.pub
    same_files "  gives the same public half" uri.pub $name.pub
    must "req with the URI" openssl req -new -key "$uri" -subj /CN=$name -out $name.csr
    must "  verifies" plain_openssl req -in $name.csr -verify -noout
    must "hsmkey reference" hsmkey reference "$uri" -o again.pem --force
    must "  the reference works" openssl pkey -in again.pem -pubout -out uri.pub
    same_files "  and is the same key" uri.pub $name.pub
    must "pkey -text" openssl pkey -in $name.pem -noout -text
    says "the text names the key" "object=$name" out
done

if [ "$HSM_TOKEN" = softhsm ]; then
    # what OpenSSL cannot use through us, first in the token or not, hides nothing
    must "a key on a curve that the provider does not know" \
        pkcs11_tool --keypairgen --key-type EC:brainpoolP256r1 --label odd --id 0d
    must "a key without a name" \
        pkcs11_tool --keypairgen --key-type EC:prime256v1
    must "storeutl of the whole token" openssl storeutl -noout "$token_uri"
    [ "$(grep -c ': Pkey' out)" = 2 ] || { show out; failed "storeutl shows the private keys that can be used"; }
    must_fail "pkey with the URI of the odd one" "the key's curve is not one of" \
        openssl pkey -in "$token_uri;object=odd;type=private" -noout
    must "hsmkey list" hsmkey list
    says "the list has the odd one, too" brainpoolP256r1 out
fi
