#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# s_server and s_client: TLS 1.2 and 1.3, RSA key exchange, client certificates.
. "$(dirname "$0")/lib.sh"

token
rsa_and_ec
page='s_server'

s_server -cert rsa.crt -key rsa.pem -dcert ec.crt -dkey ec.pem -no_ticket -no_cache
for i in 1 2 3; do
    must_fetch RSA 1.2
    must_fetch RSA 1.3
    must_fetch EC 1.2
    must_fetch EC 1.3
done

# key_exchange CIPHER: there is no server signature, so nothing for fetch() to look at.
key_exchange() {
    step "RSA key exchange, $1"
    printf 'GET / HTTP/1.0\r\n\r\n' | plain_openssl s_client -connect "127.0.0.1:$port" -tls1_2 \
        -cipher "$1" -CAfile ca.pem -verify_return_error -ign_eof >client.log 2>&1 ||
        { show client.log; show s_server.log; failed "RSA key exchange with $1"; }
    says "the cipher" "Cipher is $1" client.log
    says "the page" "s_server" client.log
}
key_exchange AES128-GCM-SHA256
key_exchange AES256-SHA256
stop_server "$server_pid"

step "client certificates, with the client's keys in the token"
plain_openssl req -x509 -newkey rsa:2048 -noenc -keyout server.key -out server.crt -days 2 \
    -subj /CN=localhost >out 2>&1 || failed "a server's certificate in software"
printf '' >none.cnf
server_conf=none.cnf s_server -cert server.crt -key server.key -Verify 2 -verify_return_error -CAfile ca.pem
for name in rsa ec; do
    for version in 2 3; do
        step "TLS 1.$version client with $name"
        printf 'GET / HTTP/1.0\r\n\r\n' | openssl s_client -connect "127.0.0.1:$port" -tls1_$version \
            -cert $name.crt -key $name.pem -CAfile server.crt -verify_return_error -ign_eof \
            >client.log 2>&1 || { show client.log; show s_server.log; failed "TLS 1.$version with $name"; }
        says "the page names the client" 'Client certificate' client.log
    done
done
step "a client without a certificate is turned away"
if printf 'GET / HTTP/1.0\r\n\r\n' | plain_openssl s_client -connect "127.0.0.1:$port" -tls1_2 \
    -CAfile server.crt -ign_eof >client.log 2>&1 && grep -q 'Client certificate' client.log; then
    failed "a client without a certificate is turned away"
fi
