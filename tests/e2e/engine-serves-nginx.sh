#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tokens: softhsm softhsm-remote
#
# ssl_certificate_key engine:hsm:..., with reloads, with the engine configured in openssl.cnf alone.
. "$(dirname "$0")/lib.sh"
. "$here/programs.inc"
. "$here/engine.inc"

token
count_calls
rsa_and_ec
conf=$W/engine.cnf
engine_conf init= # nginx itself never initialises an engine

# The keys of lib.sh's nginx.conf, through the engine.
eval "plain_$(declare -f nginx_conf)"
nginx_conf() {
    plain_nginx_conf "$@" | sed -e "s|ssl_certificate_key $W/rsa.pem;|ssl_certificate_key 'engine:hsm:pkcs11:object=rsa;type=private';|" \
        -e "s|ssl_certificate_key $W/ec.pem;|ssl_certificate_key ${ec_key:-engine:hsm:label_ec};|"
}
nginx_start rsa ec
says "nginx has the engine's names" "engine:hsm:pkcs11:object=rsa" nginx.conf
before=$(calls C_Sign)
for i in 1 2 3; do
    for kind in RSA EC; do
        must_fetch $kind 1.2
        must_fetch $kind 1.3
    done
done
same "signatures for 12 handshakes" $(($(calls C_Sign) - before)) 12
for i in 1 2 3 4 5; do
    old=$(children "$server_pid")
    kill -HUP "$server_pid"
    wait_until 60 "reload $i gives new workers" renewed
    must_fetch RSA 1.3
    must_fetch EC 1.2
done
says_not "nginx's log has no errors" '\[(emerg|alert|crit|error)\]' error.log
stop_server "$server_pid"
says_not "nor when it ends" '\[(emerg|alert|crit|error)\]|signal (11|6)' error.log

# --- it does not start with a key that it cannot have, and the log says why ------------------------

starts_not() { # WHAT PATTERN
    step "$1"
    port=$((20000 + RANDOM % 12000))
    nginx_conf rsa ec >nginx.conf
    : >error.log
    if OPENSSL_CONF=$conf preloaded nginx -t -e "$W/error.log" -p "$W" -c "$W/nginx.conf" >nginx.log 2>&1; then
        show nginx.log
        failed "$1: nginx does not take it"
    fi
    says "$1: the log" "$2" error.log
}
ec_key=engine:hsm:label_nope starts_not "no such key" 'no private key .*object=nope'
ec_key=engine:hsm:$W/ca.key starts_not "a key in software" 'ca.key: holds a private key itself'
ec_key=engine:pkcs11:label_ec starts_not "another engine" 'engine:pkcs11.*no such engine:id=pkcs11'
engine_conf PROVIDER_PATH=/nowhere/hsm.so
starts_not "no provider" 'PROVIDER_PATH: /nowhere/hsm.so|the provider hsm cannot be loaded'
engine_conf MODULE_PATH=/nowhere/module.so
starts_not "no module" '/nowhere/module.so'
engine_conf PIN=prompt
starts_not "nobody to ask" 'nobody could be asked'
