#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# packages: apache2
# tokens: softhsm softhsm-remote nss
#
# Apache with SSLCryptoDevice hsm, and the engine configured in openssl.cnf alone: keys by their
# URI and by a reference, a graceful restart, and a device that is not there.
. "$(dirname "$0")/lib.sh"
. "$here/programs.inc"
. "$here/engine.inc"

token
count_calls
software_ca
key rsa rsa:2048
key ec ec:P-256
certificate rsa
certificate ec
worker www-data
mkdir html
echo "a page over TLS" >html/index.html
conf=$W/engine.cnf
engine_conf

modules=$(dirname "$(find_file "/usr/lib/apache2/modules/mod_ssl.so" "/usr/lib64/httpd/modules/mod_ssl.so")")
write_conf() {
    local module
    : >error.log
    {
        for module in mpm_event ssl authz_core dir mime; do
            echo "LoadModule ${module}_module $modules/mod_$module.so"
        done
        cat <<EOF
${worker:+User $worker}
${worker:+Group $(id -gn "$worker")}
ServerRoot $W
ServerName localhost
PidFile $W/apache.pid
ErrorLog $W/error.log
LogLevel warn
DefaultRuntimeDir $W
Mutex file:$W
TypesConfig /dev/null
DirectoryIndex index.html
DocumentRoot $W/html
StartServers 2
Listen 127.0.0.1:$port
SSLSessionCache none
SSLSessionTickets off
SSLCryptoDevice ${device:-hsm}
<VirtualHost 127.0.0.1:$port>
    SSLEngine on
    SSLCertificateFile $W/rsa.crt
    SSLCertificateKeyFile "${rsa_key:-pkcs11:object=rsa;type=private}"
    SSLCertificateFile $W/ec.crt
    SSLCertificateKeyFile "$W/ec.pem"
</VirtualHost>
EOF
    } >apache.conf
}
apache=(setsid apache2 -DFOREGROUND -d "$W" -f "$W/apache.conf")
four_pages() {
    local kind version
    for kind in RSA EC; do
        for version in 1.2 1.3; do
            must_fetch $kind $version
        done
    done
}
renewed() {
    [ -n "$(comm -13 <(printf '%s\n' "$old") <(children "$server_pid"))" ]
}

step "SSLCryptoDevice hsm: Apache starts"
serve apache.log write_conf "${apache[@]}"
signatures 4 "4 handshakes" four_pages
old=$(children "$server_pid")
kill -USR1 "$server_pid"
wait_until 60 "a graceful restart gives new workers" renewed
signatures 4 "4 handshakes after it" four_pages
kill -WINCH "$server_pid"
wait_until 60 "Apache ends" gone "$server_pid"
stop_server "$server_pid"
says_not "no error in Apache's log" ':(emerg|alert|crit|error)\]|exit signal' error.log

starts_not() { # WHAT PATTERN
    local status=0
    step "$1: Apache does not start"
    port=$((20000 + RANDOM % 12000))
    write_conf
    OPENSSL_CONF=$conf preloaded timeout 60 "${apache[@]}" >apache.log 2>&1 </dev/null || status=$?
    same "  it ends by itself" $status 1
    cat error.log apache.log >said
    says "  and says why" "$2" said
}
device=nope starts_not "another device" "SSLCryptoDevice: Invalid argument|nope"
# Apache hides what OSSL_STORE says of a URI, and shows what is wrong with a file.
engine_conf PIN=file:/nowhere/pin
starts_not "no PIN file" 'lookup failed for private key identifier .pkcs11:object=rsa;type=private'
rsa_key=$W/rsa.pem starts_not "  with a reference" 'SSL Library Error.*PIN file /nowhere/pin: No such file'
engine_conf PROVIDER_PATH=/nowhere/hsm.so
starts_not "no provider" 'OSSL_STORE_open failed for PKCS#11 URI .pkcs11:object=rsa;type=private'
rsa_key=$W/rsa.pem starts_not "  with a reference" 'unsupported private key algorithm'
