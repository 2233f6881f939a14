#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tokens: softhsm
#
# What an administrator gets to see when something around nginx is wrong: it does not start, and the
# log says why; or its workers cannot sign, no handshake succeeds, and the log says why.
. "$(dirname "$0")/lib.sh"
. "$here/programs.inc"

token
rsa_and_ec
mkdir html tmp
echo "a page over TLS" >html/index.html
worker www-data
nginx_user=$worker
[ -z "$worker" ] || chown "$worker" tmp

nginx_server=(nginx -e "$W/error.log" -p "$W" -c "$W/nginx.conf")
without= # lines that nginx.conf is to lack
write_conf() {
    : >error.log
    nginx_conf rsa ec | sed "${without:+/$without/d}" >nginx.conf
}

# starts_not WHAT PATTERN [COMMAND...]: nginx ends by itself, in time; $said is the log.
said=error.log
starts_not() {
    local what=$1 pattern=$2
    shift 2
    port=$((20000 + RANDOM % 12000))
    write_conf
    OPENSSL_CONF=$conf must_fail "$what: nginx does not start" . \
        preloaded timeout 60 "${@:-env}" "${nginx_server[@]}"
    says "  and says why" "$pattern" "$said"
}

# serves_not WHAT PATTERN [COMMAND...]: nginx starts; nobody gets a page, and no client is shown a
# bad signature, but nginx breaks the handshake off.
serves_not() {
    local what=$1 pattern=$2 kind version
    shift 2
    step "$what: nginx starts"
    serve nginx.log write_conf "${@:-env}" "${nginx_server[@]}"
    for kind in RSA EC; do
        for version in 1.2 1.3; do
            : >error.log
            if fetch $kind $version; then
                failed "$what: no page over TLS $version with the $kind key"
            fi
            says "  the server breaks off" 'alert internal error|alert handshake failure' client.log
            says_not "  there is no bad signature" 'bad signature|signature.*(mismatch|invalid)' client.log
            says "  and says why, TLS $version with the $kind key" "$pattern" error.log
        done
    done
    stop_server "$server_pid"
}

serves() {
    step "$1: nginx starts"
    shift
    serve nginx.log write_conf "${@:-env}" "${nginx_server[@]}"
    must_fetch RSA 1.2
    must_fetch EC 1.3
    stop_server "$server_pid"
    says_not "  without an error" '\[(emerg|alert|crit|error)\]' error.log
}

# --- nginx does not start -------------------------------------------------------------------------

configure module=/nowhere/hsm.so
starts_not "no provider" "cannot load certificate key \"$W/(rsa|ec).pem\".*unsupported"
must_fail "  hsmkey check says what to do" '/nowhere/hsm.so' hsmkey check rsa.pem
configure
starts_not "OPENSSL_CONF taken away" "cannot load certificate key \"$W/(rsa|ec).pem\".*unsupported" \
    env -u OPENSSL_CONF
starts_not "SOFTHSM2_CONF taken away" \
    "rsa.pem.*(no token of the module $module matches $token_uri|C_Initialize)" env -u SOFTHSM2_CONF
configure token=pkcs11:token=unplugged
starts_not "a token that is not plugged in" \
    "rsa.pem.*no token of the module $module matches pkcs11:token=unplugged.*hsmkey tokens"
configure pkcs11-module=/nowhere/module.so
starts_not "no such module" 'cannot load the PKCS#11 module /nowhere/module.so.*check pkcs11-module'
configure pin=file:/nowhere/pin
starts_not "no PIN file" 'PIN file /nowhere/pin: No such file'
chmod 644 pin
configure
starts_not "a PIN file for all to read" "PIN file $W/pin: mode 0644.*chmod 0600 $W/pin"
chmod 600 pin
configure pin=env:NO_SUCH_PIN
starts_not "a PIN that is not in the environment" 'environment variable NO_SUCH_PIN is not set'
configure offload=rsa-sing
starts_not "a configuration that is broken" 'unknown operation class "rsa-sing"'
configure

# nginx with functions of another libcrypto in it; standard error is what there is so early.
said=out
starts_not "two libcryptos in one process" \
    'hsm provider: not loaded: this process mixes two libcryptos: .*partial_libcrypto' \
    env LD_PRELOAD="${HSM_PRELOAD:+$HSM_PRELOAD:}$build/tests/e2e/partial_libcrypto.so"
said=error.log

# --- it starts, and its workers find out ----------------------------------------------------------

# The key is looked up when the first handshake wants it.
configure check-key-at-load=no token=pkcs11:token=unplugged
serves_not "a token that is not plugged in, looked for at first use" \
    "\[crit\].*no token of the module $module matches pkcs11:token=unplugged"
configure check-key-at-load=no
without='env SOFTHSM2_CONF;'
serves_not "nginx takes SOFTHSM2_CONF away from its workers" \
    "\[crit\].*(no token of the module|C_Initialize: ).*$module.*child of the one that loaded the provider.*environment variables.*nginx: env NAME;"
configure check-key-at-load=no log=stderr
serves_not "  with a log of the provider's own" \
    "level=error event=connect-failed token=hsm text=\".*environment variables.*nginx: env NAME;"
without=

# A new binary gets the environment that nginx.conf leaves it. nginx changes its binary only if it
# is a daemon, and was started by its full path.
configure
without='env OPENSSL_CONF;'
step "nginx takes OPENSSL_CONF away from the binary that is to follow it"
until port=$((20000 + RANDOM % 12000)) && ! listening "$port"; do :; done
write_conf
sed -i 's/^daemon off/daemon on/' nginx.conf
must "  nginx starts" env OPENSSL_CONF="$conf" timeout "$limit" env ${HSM_PRELOAD:+LD_PRELOAD="$HSM_PRELOAD"} \
    "$(command -v nginx)" "${nginx_server[@]:1}"
wait_until 60 "  nginx writes its pid" test -s nginx.pid
master=$(cat nginx.pid)
pids="$pids $master"
wait_until 60 "  nginx listens" listening "$port"
must_fetch RSA 1.3
kill -USR2 "$master"
new_binary_ended() {
    grep -aqE "cannot load certificate key \"$W/rsa.pem\".*unsupported" error.log &&
        grep -aqE 'new binary process [0-9]+ exited|process [0-9]+ exited with code 1$' error.log
}
wait_until 60 "  the new one says why it ends" new_binary_ended
must_fetch RSA 1.2
must_fetch EC 1.3
kill "$master"
wait_until 60 "  the old one ends" gone "$master"
without=

# What the master process was given it keeps for its workers.
export TEST_PIN=$pin
configure check-key-at-load=no pin=env:TEST_PIN
serves "a PIN in the environment, which workers do not have"
unset TEST_PIN

if [ -z "$worker" ]; then
    step "not root: nginx's workers are the same user as its master, and lack nothing"
    exit
fi
configure check-key-at-load=no
serves "a PIN file that is root's, and a key that is looked up by workers"
configure check-key-at-load=no pin-keep=no
serves_not "the same with pin-keep = no" \
    "PIN file $W/pin: Permission denied; this process runs as user $(id -u "$worker") and is a child of"
chown -R root tokens
chmod 700 tokens
for check in yes no; do
    configure check-key-at-load=$check
    serves_not "workers may not read the token's files, check-key-at-load = $check" \
        "\[crit\].*(no token|C_GetTokenInfo|C_Initialize: .*$module).*runs as user $(id -u "$worker") .*as user 0: it needs access to the token's files"
done
