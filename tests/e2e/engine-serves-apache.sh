#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# packages: apache2
# tokens: softhsm softhsm-remote nss
#
# Apache with SSLCryptoDevice hsm, and the engine configured in openssl.cnf alone: keys by their
# URI and by a reference, a graceful restart, and a device that is not there.
. "$(dirname "$0")/lib.sh"
. "$here/programs.inc"
. "$here/apache.inc"
. "$here/engine.inc"

token
count_calls
rsa_and_ec
worker www-data
conf=$W/engine.cnf
engine_conf

write_conf() {
    apache_conf event warn <<END
SSLCryptoDevice ${device:-hsm}
<VirtualHost 127.0.0.1:$port>
    SSLEngine on
    SSLCertificateFile $W/rsa.crt
    SSLCertificateKeyFile "${rsa_key:-pkcs11:object=rsa;type=private}"
    SSLCertificateFile $W/ec.crt
    SSLCertificateKeyFile "$W/ec.pem"
</VirtualHost>
END
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
