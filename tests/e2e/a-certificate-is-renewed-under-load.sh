#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tokens: softhsm nss
#
# examples/rotation/rotate.sh: the first key and certificate, the next ones while nginx serves, and
# back; not one request fails. What does not fit is refused before nginx sees it.
. "$(dirname "$0")/lib.sh"
. "$here/programs.inc"

token
software_ca
export HSMKEY=$build/tools/hsmkey

rotate() {
    local status=0
    env OPENSSL_CONF="$conf" ${HSM_PRELOAD:+LD_PRELOAD="$HSM_PRELOAD"} "$root/examples/rotation/rotate.sh" "$@" || status=$?
    # What root makes in SoftHSM is root's: nginx's workers could not read the key.
    [ -z "${nginx_user:-}" ] || [ ! -d tokens ] || chown -R "$nginx_user" tokens
    return $status
}

# issue: what the CA makes of the request, in new.crt.
issue() {
    must "the CA takes the request" plain_openssl x509 -req -in www/next/request.csr -CA ca.pem -CAkey ca.key \
        -copy_extensions copy -days 2 -out new.crt
}

must "the first key and its request" rotate first www rsa:2048 "/O=Somebody, Inc./CN=localhost" DNS:localhost,IP:127.0.0.1
issue
must_fail "an empty folder has no certificate to renew" "no certificate to take the names from" rotate request www
must_fail "a second key while one waits" "waiting for its certificate" rotate first www rsa:2048 /CN=x DNS:x
must "it is installed" rotate install www new.crt true

# nginx_start takes NAME.crt and NAME.pem
ln -s www/current/cert.pem served.crt
ln -s www/current/key.pem served.pem
nginx_start served
must_fetch RSA 1.3

serial_of() {
    plain_openssl x509 -in "$1" -noout -serial
}

served() {
    plain_openssl s_client -connect "127.0.0.1:$port" -servername localhost -CAfile ca.pem -verify_return_error \
        </dev/null >served.log 2>&1 && [ "$(serial_of served.log)" = "$(serial_of "$1")" ]
}

load_seconds=30
load_start 1
reload="nginx_test() { nginx -t -e $W/error.log -p $W -c $W/nginx.conf; }; nginx_test && kill -HUP $server_pid"

# --- the next ones --------------------------------------------------------------------------------

for type in rsa:2048 ec:P-256 ec:P-256; do
    # the type is the certificate's unless it is said
    if [ "$(readlink -f www/current)" = "$W/www/$(date -u +%Y%m%d)-2" ]; then
        must "the next key ($type) and its request" rotate request www "$type"
    else
        must "the next key (as before) and its request" rotate request www
    fi
    issue
    same "the subject is that of the certificate" "$(plain_openssl x509 -in www/current/cert.pem -noout -subject)" \
        "$(plain_openssl req -in www/next/request.csr -noout -subject)"
    must "the names, too" plain_openssl verify -CAfile ca.pem -verify_hostname localhost new.crt
    must "it is installed" rotate install www new.crt sh -c "$reload"
    wait_until 60 "nginx serves the new certificate ($type)" served new.crt
done
must "an EC key is in use" grep -q 'Peer signature type: \(ECDSA\|ecdsa_\)' served.log

# --- what does not fit ----------------------------------------------------------------------------

must "a key that waits" rotate request www
in_use=$(readlink www/current)
must_fail "another key's certificate" "for another key" rotate install www www/current/cert.pem true
issue
must "a certificate that ends today" plain_openssl x509 -req -in www/next/request.csr -CA ca.pem -CAkey ca.key -days 0 -out old.crt
must_fail "  is refused" "no good" rotate install www old.crt true
must_fail "a reload that fails" "in use as before" rotate install www new.crt false
same "the key in use is the one before" "$in_use" "$(readlink www/current)"
must "the same with a reload that works" rotate install www new.crt sh -c "$reload"
wait_until 60 "nginx serves it" served new.crt
must_fail "no key waits" "no key that waits" rotate install www new.crt true

must "back" rotate back www sh -c "$reload"
same "to the key before" "$in_use" "$(readlink www/current)"
wait_until 60 "nginx serves the certificate before" served www/current/cert.pem

load_stop "renewals" 1
