#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# packages: nodejs
# not with sanitizers: under a preloaded AddressSanitizer libgnutls keeps a lock of glibc, and programs hang without us, too
# tokens: softhsm nss
#
# examples/: curl's configurations, the programs in Python and for Node.js, the CA with the openssl
# command; the very files, but for their paths, and with keys in the token.
. "$(dirname "$0")/lib.sh"
. "$here/programs.inc"

examples=$root/examples
token
count_calls
software_ca
key server rsa:2048
key client ec:P-256
certificate server
certificate client
serial=$(plain_openssl x509 -in client.crt -noout -serial | sed 's/.*=//')

# asks WHAT COMMAND...: the server saw the client, and both signed once.
asks() {
    local what=$1
    shift
    talk() {
        must "$what" env OPENSSL_CONF="${client_conf:-$conf}" timeout "$limit" \
            env ${HSM_PRELOAD:+LD_PRELOAD="$HSM_PRELOAD"} "$@"
    }
    signatures 2 "$what" talk "$@"
    says "  the server saw the client's certificate" "^you are $serial\$" out
}

# --- Python ---------------------------------------------------------------------------------------

write_command() {
    printf 'exec %s %s\n' "$server" "$port" >server.sh
}
server="python3 $examples/python/server.py server.crt server.pem ca.pem"
serve python.log write_command sh server.sh
asks "Python asks Python" python3 "$examples/python/client.py" client.crt client.pem ca.pem "https://127.0.0.1:$port/"

# --- curl -----------------------------------------------------------------------------------------

curl --help all >/dev/null || failed "curl is installed"
sed "s|/etc/client/tls|$W|" "$examples/curl/curlrc" >curlrc
asks "curl -K curlrc" curl --silent --show-error --cacert ca.pem -K curlrc "https://127.0.0.1:$port/"
if [ -e "$engine" ] && grep -q dynamic <<<"$(curl --engine list)"; then
    . "$here/engine.inc"
    sed "s|/etc/client/tls|$W|" "$examples/curl/engine.curlrc" >engine.curlrc
    conf=$W/engine.cnf engine_conf
    client_conf=$W/engine.cnf asks "curl -K engine.curlrc" \
        curl --silent --show-error --cacert ca.pem -K engine.curlrc "https://127.0.0.1:$port/"
fi
stop_server "$server_pid"

# --- Node.js --------------------------------------------------------------------------------------

sed "s|^.include .*|.include $W/hsm.cnf|" "$examples/nodejs/openssl.cnf" >node.cnf
sed -e 's/^openssl_conf = .*/[default]/' "$conf" >hsm.cnf
server="node $examples/nodejs/server.js server.crt server.pem ca.pem"
OPENSSL_CONF='' conf=$W/node.cnf serve node.log write_command sh server.sh
client_conf=$W/node.cnf asks "Node.js asks Node.js" \
    node "$examples/nodejs/client.js" client.crt client.pem ca.pem "https://127.0.0.1:$port/"
asks "Python asks Node.js" python3 "$examples/python/client.py" client.crt client.pem ca.pem "https://127.0.0.1:$port/"
stop_server "$server_pid"

# --- the openssl command --------------------------------------------------------------------------

configure offload='ec-sign keygen'
before=$(calls C_Sign)
must "a CA in the token" env OPENSSL_CONF="$conf" timeout "$limit" \
    env ${HSM_PRELOAD:+LD_PRELOAD="$HSM_PRELOAD"} bash "$examples/openssl/run.sh" "$W/ca"
says "its certificate is good" 'www.crt: OK' out
says "the CRL too" 'verify OK' out
says "the message too" 'These are our certificates' ca/statement.read
# its own certificate, the other one, the CRL and the message; a generation tries its key as well
[ $(($(calls C_Sign) - before)) -ge 4 ] || failed "the CA's signatures are the token's"
must "the CRL names the certificate" plain_openssl crl -in ca/ca.crl -CAfile ca/ca.crt -noout -text
says "  as revoked" "Serial Number: $(plain_openssl x509 -in ca/www.crt -noout -serial | sed 's/.*=//')" out
must_fail "the CA's key is a reference" 'could not|unable' plain_openssl pkey -in ca/ca.pem -noout
