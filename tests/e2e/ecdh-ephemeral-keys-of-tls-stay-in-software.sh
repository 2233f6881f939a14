#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# TLS's short-lived ECDHE keys are the default provider's, whatever we offer: the token signs the
# handshake and does nothing else for it.
. "$(dirname "$0")/lib.sh"

token
software_ca
key ec ec:P-256
certificate ec
page='s_server'
count_calls
server_groups=P-256:P-384:P-521:X25519
s_server -cert ec.crt -key ec.pem -no_ticket -no_cache -groups $server_groups
for group in P-256 P-384 P-521 X25519; do
    for version in 1.2 1.3; do
        # TLS 1.2 wants the certificate's curve among the groups: behind the one to be used
        groups=$group
        [ $group = P-256 ] || groups=$group:P-256
        must_fetch EC $version -groups $groups
        says "the key exchange" '^(Server|Peer) Temp Key: (ECDH, |X25519)' client.log
    done
done
stop_server "$server_pid"
[ "$(calls C_Sign)" -ge 8 ] || failed "the token signs" "got: $(calls C_Sign) signatures"
same "secrets derived in the token" "$(calls C_DeriveKey)" 0
same "keys generated in the token" "$(calls C_GenerateKeyPair)" 0
