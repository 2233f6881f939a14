#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# proxy_ssl_certificate_key: nginx is a client itself, with a key in the token, of a server that
# asks for certificates. Two C_Sign for each page: the server's, and the client's.
. "$(dirname "$0")/lib.sh"
. "$here/programs.inc"

token
count_calls
rsa_and_ec
must "a key of the upstream server in software" plain_openssl req -newkey rsa:2048 -noenc -keyout up.key \
    -out up.csr -subj /CN=upstream -addext subjectAltName=DNS:upstream
must "its certificate" plain_openssl x509 -req -in up.csr -CA ca.pem -CAkey ca.key -copy_extensions copy \
    -days 2 -out up.crt

eval "plain_$(declare -f nginx_conf)"
nginx_conf() {
    up_port=$((port + 1))
    while listening "$up_port"; do
        up_port=$((up_port + 1))
    done
    plain_nginx_conf rsa ec | sed "s|^        root .*|        location / {\n            proxy_pass https://127.0.0.1:$up_port;\n\
            proxy_ssl_certificate $W/$client.crt;\n            proxy_ssl_certificate_key $W/$client.pem;\n\
            proxy_ssl_trusted_certificate $W/ca.pem;\n            proxy_ssl_verify on;\n            proxy_ssl_name upstream;\n\
            proxy_ssl_protocols TLSv1.$version;\n            proxy_ssl_session_reuse off;\n        }\n|; \$d"
    cat <<END
    server {
        listen 127.0.0.1:$up_port ssl;
        ssl_certificate $W/up.crt;
        ssl_certificate_key $W/up.key;
        ssl_client_certificate $W/ca.pem;
        ssl_verify_client on;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_tickets off;
        location / {
            add_header Content-Type text/plain;
            return 200 "client \$ssl_client_verify \$ssl_protocol \$ssl_client_serial";
        }
    }
}
END
}
for client in rsa ec; do
    serial=$(plain_openssl x509 -in $client.crt -noout -serial | sed 's/.*=//')
    for version in 2 3; do
        nginx_start rsa ec
        step "nginx as a client, TLS 1.$version, $client"
        page="^client SUCCESS TLSv1.$version $serial"
        for kind in RSA EC; do
            signatures 2 "a page by way of nginx" must_fetch $kind 1.3
        done
        stop_server "$server_pid"
        says_not "nginx's log has no errors" '\[(emerg|alert|crit|error)\]|exited on signal' error.log
    done
done
