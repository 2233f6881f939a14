#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# -engine hsm -keyform ENGINE: every way to name a key, and what programs do with the key. The
# provider is configured as always, OpenSSL finds the engine in its folder of engines.
. "$(dirname "$0")/lib.sh"
. "$here/engine.inc"

export OPENSSL_ENGINES=${engine%/*}
token
software_ca
key rsa rsa:2048 --id 01a2
key ec ec:P-256 --id 03b4
certificate rsa
certificate ec

signs() { # NAME-OF-KEY KEY
    rm -f sig
    must "dgst signs with $2" openssl dgst -engine hsm -keyform ENGINE -sha256 -sign "$2" -out sig data
    must "  and $1.pub verifies" plain_openssl dgst -sha256 -verify "$1.pub" -signature sig data
}
refused() { # WHAT PATTERN KEY
    rm -f sig
    must_fail "$1" "$2" openssl dgst -engine hsm -keyform ENGINE -sha256 -sign "$3" -out sig data
    [ ! -s sig ] || failed "$1: nothing is signed"
}

for name in rsa ec; do
    case $name in rsa) id=01a2 id_uri=%01%a2 ;; ec) id=03b4 id_uri=%03%b4 ;; esac
    signs $name "pkcs11:object=$name"
    signs $name "pkcs11:object=$name;type=private"
    signs $name "PKCS11:id=$id_uri"
    signs $name "$token_uri;object=$name;type=private?pin-source=file:$W/pin"
    signs $name "$name.pem"
    signs $name "$W/$name.pem"
    signs $name "file:$W/$name.pem"
    signs $name "id_$id"
    signs $name "id_${id:0:2}:${id:2:2}"
    signs $name "label_$name"
done
cat rsa.crt rsa.pem >both.pem
signs rsa both.pem

slot=$(hsmkey tokens --json | python3 -c 'import json, sys
print(*(t["slot"] for t in json.load(sys.stdin)["tokens"] if t["label"] == sys.argv[1]))' "$token_label")
signs rsa "slot_$slot-id_01a2"
signs ec "slot_$slot-label_ec"
other=$((slot + 1))
refused "another token's slot" "slot_$other is not where .*\\(that is slot_$slot\\).*pkcs11:id=%01%a2" "slot_$other-id_01a2"
refused "a slot without a key" 'takes a pkcs11: URI' "slot_$slot"
refused "no such key, by URI" 'no private key .*object=nope' pkcs11:object=nope
refused "no such key, by label" 'no private key .*object=nope' label_nope
refused "no such file" 'nope.pem: cannot be read' nope.pem
refused "a PIN in the URI, which is not shown" 'pin-value' "pkcs11:object=rsa?pin-value=$pin"
says_not "the PIN is not shown in an error" ":error:.*$pin" out
refused "a certificate alone" 'rsa.crt: holds no key reference' rsa.crt
refused "a key in software" 'ca.key: holds a private key itself' "$W/ca.key"
printf -- '-----BEGIN PRIVATE KEY-----\nMAMCAQA=\n-----END PRIVATE KEY-----\n' >damaged.pem
refused "a damaged file" 'damaged.pem: the key that this file stands for cannot be used' damaged.pem
refused "a folder" 'cannot be read' "$W"
refused "a whole token with two keys" 'more than one|two|ambiguous' "$token_uri"

cp "$conf" here.cnf
configure token=pkcs11:token=unplugged
refused "a token that is not plugged in" 'no token .* matches pkcs11:token=unplugged' rsa.pem
refused "  by URI as well" 'no token .* matches pkcs11:token=unplugged' pkcs11:object=rsa
cp here.cnf "$conf"

must "a request" openssl req -new -engine hsm -keyform engine -key label_ec -subj /CN=x -out x.csr
must "  verifies" plain_openssl req -in x.csr -verify -noout
must "a certificate" openssl req -new -x509 -engine hsm -keyform engine -key pkcs11:object=rsa -subj /CN=x -out x.crt
must "  verifies" plain_openssl verify -CAfile x.crt x.crt
must "pkeyutl signs" openssl pkeyutl -engine hsm -keyform engine -sign -rawin -digest sha256 -inkey label_rsa -in data -out sig
must "  and rsa.pub verifies" plain_openssl dgst -sha256 -verify rsa.pub -signature sig data

page='s_server'
s_server -engine hsm -keyform ENGINE -cert rsa.crt -key label_rsa -dcert ec.crt -dkeyform ENGINE \
    -dkey 'pkcs11:object=ec' -no_ticket -no_cache
for i in 1 2; do
    must_fetch RSA 1.2
    must_fetch RSA 1.3
    must_fetch EC 1.2
    must_fetch EC 1.3
done
stop_server "$server_pid"

step "a program of its own"
for key in pkcs11:object=rsa label_ec rsa.pem; do
    must "  load, free the engine, sign, verify: $key" client engine_client sign "$key"
    says "by the provider" "signed with a key of provider hsm" out
done
must_fail "  a command that nobody knows" 'invalid cmd name' client engine_client ctrl label_rsa NOPE x
