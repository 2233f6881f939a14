#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tokens: softhsm
#
# (NSS softokn has neither or Ed25519 alone, p11-kit's client of Debian 12 does not pass it on.)
# Ed25519 and Ed448 keys in the token: generation, requests, certificates, pkeyutl, TLS 1.2 and 1.3.
. "$(dirname "$0")/lib.sh"

token
software_ca
for type in ED25519 ED448; do
    must "genpkey makes an $type key in the token" openssl genpkey -propquery provider=hsm \
        -algorithm $type -pkeyopt hsm-label:$type -out $type.pem
    says "a reference, and no key" 'BEGIN PRIVATE KEY' $type.pem
    must "pkey shows it" openssl pkey -in $type.pem -text -noout
    says "the text" "HSM private key: $type" out
    must "the public half" openssl pkey -in $type.pem -pubout -out $type.pub
    must "pkeyutl signs" openssl pkeyutl -sign -rawin -inkey $type.pem -in data -out data.sig
    must "the signature verifies without us" \
        plain_openssl pkeyutl -verify -rawin -pubin -inkey $type.pub -in data -sigfile data.sig
    must "a self-signed certificate" \
        openssl req -new -x509 -key $type.pem -subj "/CN=$type" -days 2 -out self.crt
    must "it verifies without us" plain_openssl verify -CAfile self.crt self.crt
    certificate $type
    must_fail "a second key of that name" 'exists already' openssl genpkey \
        -propquery provider=hsm -algorithm $type -pkeyopt hsm-label:$type -out second.pem
    must_fail "a reference without the provider" . \
        plain_openssl pkeyutl -sign -rawin -inkey $type.pem -in data -out none.sig
    must_fail "a digest is refused" . openssl dgst -sha256 -sign $type.pem -out none.sig data
    head -c 20000 /dev/zero >long
    must_fail "a message that is too long" '20000 bytes are more' \
        openssl pkeyutl -sign -rawin -inkey $type.pem -in long -out none.sig
done

for type in ed25519 ed448; do
    must "hsmkey generate --type $type" hsmkey generate --type $type --label tool-$type -o tool-$type.pem
    must "  its public half" openssl pkey -in tool-$type.pem -pubout -out tool-$type.pub
    must "  pkeyutl signs" openssl pkeyutl -sign -rawin -inkey tool-$type.pem -in data -out data.sig
    must "  the signature verifies without us" \
        plain_openssl pkeyutl -verify -rawin -pubin -inkey tool-$type.pub -in data -sigfile data.sig
    must "  hsmkey check" hsmkey check tool-$type.pem
    says "  tried it" "^ok +file .*$type, signs, signature verified" out
done
must_fail "another Edwards curve" 'ed25519 or ed448' hsmkey generate --type ed25518 --label no -o no.pem

page='s_server'
for type in ED25519 ED448; do
    s_server -cert $type.crt -key $type.pem -no_ticket -no_cache
    for version in 2 3; do
        step "TLS 1.$version with $type"
        printf 'GET / HTTP/1.0\r\n\r\n' | plain_openssl s_client -connect "127.0.0.1:$port" \
            -tls1_$version -CAfile ca.pem -verify_hostname localhost -verify_return_error -ign_eof \
            >client.log 2>&1 || { show client.log; show s_server.log; failed "TLS 1.$version with $type"; }
        says "who signed" "^Peer signature type: $type" client.log
        says "the page" 's_server' client.log
    done
    stop_server "$server_pid"
done

step "not listed: refused, with the line that allows it"
configure offload="all -ed-sign"
must_fail "signing without ed-sign" 'ed-sign is not offloaded.*offload =.*ed-sign' \
    openssl pkeyutl -sign -rawin -inkey ED25519.pem -in data -out none.sig
must_fail "hsmkey check says so" '^FAILED +file .*permits nothing that this key can do \(ed-sign\)' hsmkey check tool-ed25519.pem
