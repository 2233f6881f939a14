#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tokens: softhsm
#
# (NSS softokn has neither or Ed25519 alone, p11-kit's client of Debian 12 does not pass it on.)
# nginx with an Ed25519 key in the token.
. "$(dirname "$0")/lib.sh"

token
software_ca
must "genpkey makes an Ed25519 key in the token" openssl genpkey -propquery provider=hsm \
    -algorithm ED25519 -pkeyopt hsm-label:ed -out ed.pem
certificate ed
chmod 644 ed.pem
count_calls
nginx_start ed
for version in 2 3; do
    for i in 1 2 3; do
        step "a page over TLS 1.$version, $i"
        printf 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' |
            plain_openssl s_client -connect "127.0.0.1:$port" -servername localhost -tls1_$version \
                -CAfile ca.pem -verify_hostname localhost -verify_return_error -ign_eof \
                >client.log 2>&1 || { show client.log; show error.log; failed "TLS 1.$version"; }
        says "who signed" '^Peer signature type: ED25519' client.log
        says "the page" 'a page over TLS' client.log
    done
done
stop_server "$server_pid"
same "signatures by the token, one a handshake" "$(calls C_Sign)" 6
