#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# nginx: keys loaded by a root master, used by unprivileged workers; one C_Sign per handshake.
. "$(dirname "$0")/lib.sh"

token
count_calls
rsa_and_ec

nginx_start rsa ec
before=$(calls C_Sign)
for i in 1 2 3 4; do
    for kind in RSA EC; do
        must_fetch $kind 1.2
        must_fetch $kind 1.3
    done
done
same "signatures for 16 handshakes" $(($(calls C_Sign) - before)) 16
step "RSA key exchange"
before=$(calls C_Decrypt)
printf 'GET / HTTP/1.0\r\n\r\n' | plain_openssl s_client -connect "127.0.0.1:$port" -tls1_2 \
    -cipher AES128-GCM-SHA256 -CAfile ca.pem -verify_return_error -ign_eof >client.log 2>&1 ||
    { show client.log; show error.log; failed "RSA key exchange"; }
says "the page" "a page over TLS" client.log
same "decryptions for one handshake" $(($(calls C_Decrypt) - before)) 1
says_not "nginx's log has no errors" '\[(emerg|alert|crit|error)\]' error.log
stop_server "$server_pid"
says_not "nor when it ends" '\[(emerg|alert|crit|error)\]|signal (11|6)' error.log
