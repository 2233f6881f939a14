#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# packages: apache2
# tokens: softhsm
#
# The same as with nginx, where Apache differs: it shows failed handshakes with `LogLevel info`
# only, and hides what OSSL_STORE said of a pkcs11: URI. With log = stderr the provider's own log
# has it, in Apache's log.
. "$(dirname "$0")/lib.sh"
. "$here/programs.inc"
. "$here/apache.inc"

token
software_ca
key rsa rsa:2048
certificate rsa
worker www-data

level=warn
write_conf() {
    apache_conf event $level <<END
<VirtualHost 127.0.0.1:$port>
    SSLEngine on
    SSLCertificateFile $W/rsa.crt
    SSLCertificateKeyFile "${key_file:-$W/rsa.pem}"
</VirtualHost>
END
}

starts_not() { # WHAT PATTERN
    local status=0
    port=$((20000 + RANDOM % 12000))
    write_conf
    step "$1: Apache does not start"
    OPENSSL_CONF=$conf preloaded timeout 60 "${apache[@]}" >apache.log 2>&1 </dev/null || status=$?
    same "  it ends by itself" $status 1
    says "  and says so" 'Fatal error initialising mod_ssl|AH00526' error.log
    says "  and says why" "$2" error.log
}

serves_not() { # WHAT PATTERN
    local version
    step "$1: Apache starts"
    serve apache.log write_conf "${apache[@]}"
    for version in 1.2 1.3; do
        : >error.log
        if fetch RSA $version; then
            failed "$1: no page over TLS $version"
        fi
        says "  the server breaks off" 'alert internal error|alert handshake failure' client.log
        says_not "  there is no bad signature" 'bad signature|signature.*(mismatch|invalid)' client.log
        wait_until 20 "  and says why, TLS $version" grep -aqE "$2" error.log
    done
    kill -WINCH "$server_pid"
    wait_until 60 "  Apache ends" gone "$server_pid"
    stop_server "$server_pid"
}

# --- it does not start ----------------------------------------------------------------------------

uri='pkcs11:object=rsa;type=private'
configure module=/nowhere/hsm.so
starts_not "no provider" "unsupported private key algorithm"
says "  and names the file" "check $W/rsa.pem" error.log
configure token=pkcs11:token=unplugged
starts_not "a token that is not plugged in" \
    "SSL Library Error.*no token of the module $module matches pkcs11:token=unplugged.*hsmkey tokens"
says "  and names the file" "check $W/rsa.pem" error.log
configure token=pkcs11:token=unplugged log=stderr
key_file=$uri starts_not "  by its URI, with a log" \
    "event=connect-failed .*no token of the module $module matches pkcs11:token=unplugged"
configure pin=file:/nowhere/pin log=stderr
key_file=$uri starts_not "no PIN file, with a log" 'event=connect-failed .*PIN file /nowhere/pin: No such file'

# --- it starts, and its workers find out ----------------------------------------------------------

unplugged="no token of the module $module matches pkcs11:token=unplugged"
configure check-key-at-load=no token=pkcs11:token=unplugged log=stderr
serves_not "a token that is not plugged in, looked for at first use" "event=connect-failed .*$unplugged"
configure check-key-at-load=no token=pkcs11:token=unplugged
level=info serves_not "  and with LogLevel info" "SSL Library Error.*$unplugged"
if [ -z "$worker" ]; then
    step "not root: Apache's workers are the same user as its parent, and lack nothing"
    exit
fi
chown -R root tokens
chmod 700 tokens
user=$(id -u "$worker")
configure log=stderr
serves_not "workers may not read the token's files" \
    "level=error event=connect-failed .*runs as user $user .*as user 0: it needs access to the token's files"
key_file=$uri serves_not "  by its URI" \
    "level=error event=connect-failed .*runs as user $user .*as user 0: it needs access to the token's files"
