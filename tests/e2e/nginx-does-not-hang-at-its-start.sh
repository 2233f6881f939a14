#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tokens: softhsm-remote
#
# A token server that does not answer, or is not there: with timeout-ms nginx does not start, in
# time, and says why; with check-key-at-load = no it starts, and serves when the token is back.
. "$(dirname "$0")/lib.sh"
. "$here/programs.inc"

token
software_ca
key rsa rsa:2048
certificate rsa
mkdir html tmp
echo "a page over TLS" >html/index.html
worker www-data
nginx_user=$worker
[ -z "$worker" ] || chown "$worker" tmp
nginx_server=(nginx -e "$W/error.log" -p "$W" -c "$W/nginx.conf")
write_conf() {
    : >error.log
    nginx_conf rsa >nginx.conf
}
starts_not() { # WHAT PATTERN
    port=$((20000 + RANDOM % 12000))
    write_conf
    OPENSSL_CONF=$conf must_fail "$1: nginx ends by itself" . preloaded timeout 60 "${nginx_server[@]}"
    says "  and says why" "$2" error.log
}

kill -STOP "$p11_kit_pid"
configure timeout-ms=1500
starts_not "a token server that hangs" "rsa.pem.*no answer from the module within [0-9]+ ms"
must_fail "hsmkey check as well" '^FAILED +token .*no answer from the module within [0-9]+ ms' hsmkey check rsa.pem

configure timeout-ms=1500 check-key-at-load=no
step "with check-key-at-load = no nginx starts all the same"
serve nginx.log write_conf "${nginx_server[@]}"
if fetch RSA 1.3; then
    failed "no page while the token hangs"
fi
says "  and says why" '\[crit\].*no answer from the module within [0-9]+ ms' error.log
kill -CONT "$p11_kit_pid"
answers() {
    fetch RSA 1.3
}
wait_until 60 "it serves when the token answers again" answers
stop_server "$server_pid"

stop_server "$p11_kit_pid"
rm -f socket/p11-kit.sock
configure
starts_not "a token server that is not there" 'rsa.pem.*shows no token at all: the HSM, or the service behind the module, is down'
