#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# packages: wget
# not with sanitizers: under a preloaded AddressSanitizer libgnutls keeps a lock of glibc, and programs hang without us, too
#
# curl shows a client certificate whose key is in the token: by its reference, by its URI with the
# provider alone where curl can, and with `--engine hsm --key-type ENG`. Debian's wget is built with
# GnuTLS: it takes no reference; one that is built with OpenSSL takes it.
. "$(dirname "$0")/lib.sh"
. "$here/programs.inc"

token
count_calls
rsa_and_ec
must "a server's key in software" plain_openssl req -x509 -newkey rsa:2048 -noenc -keyout server.key \
    -out server.crt -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1
printf '' >none.cnf
server_conf=none.cnf s_server -cert server.crt -key server.key -Verify 2 -verify_return_error -CAfile ca.pem

page_with() { # WHAT COMMAND...
    step "$1"
    shift
    if ! OPENSSL_CONF=$conf preloaded "$@" >page.html 2>client.log </dev/null; then
        show client.log
        show s_server.log 10
        failed "the command gets a page" "command: $*"
    fi
    says "the server saw the certificate" 'Client certificate' page.html
    says "and its subject" 'CN *= *localhost' page.html
}
ask='curl --silent --show-error --fail --max-time 60 --cacert server.crt'
for name in rsa ec; do
    for version in 2 3; do
        # shellcheck disable=SC2086
        signatures 1 "curl, reference" page_with "curl, TLS 1.$version, the reference of $name" \
            $ask --tlsv1.$version --tls-max 1.$version --cert $name.crt --key $name.pem "https://127.0.0.1:$port/"
    done
done

step "without the provider curl refuses the reference"
if env -u OPENSSL_CONF $ask --cert rsa.crt --key rsa.pem "https://127.0.0.1:$port/" >page.html 2>client.log; then
    failed "curl without the provider does not take the reference"
fi
says "curl says that the key is at fault" 'private key file' client.log

# shellcheck disable=SC2086
if [ -e "$engine" ] && grep -q dynamic <<<"$(curl --engine list)"; then
    . "$here/engine.inc"
    engine_conf
    for name in rsa ec; do
        signatures 1 "curl, engine" page_with "curl --engine hsm, $name" \
            $ask --engine hsm --key-type ENG --cert $name.crt --key "pkcs11:object=$name;type=private" \
            "https://127.0.0.1:$port/"
    done
    configure
fi

rm -f page.html
step "wget with the reference"
if grep -q libgnutls <<<"$(ldd "$(command -v wget)")"; then
    # It says nothing of the key and goes on without a certificate; the server turns it away.
    if OPENSSL_CONF=$conf preloaded wget --tries=1 -O page.html --ca-certificate=server.crt \
        --certificate=rsa.crt --private-key=rsa.pem "https://127.0.0.1:$port/" >client.log 2>&1; then
        failed "GnuTLS does not take a reference for a key"
    fi
    [ ! -s page.html ] || failed "wget got no page"
else
    signatures 1 "wget" page_with "wget with the reference" wget -q -O - --ca-certificate=server.crt \
        --certificate=rsa.crt --private-key=rsa.pem "https://127.0.0.1:$port/"
fi
