#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh [--once] [--keep]: nginx serves TLS with an RSA and an EC key that never leave their token.
#
#   --once   stop after the proof, exit 0 if it holds, and clean up
#   --keep   leave the folder with the token, configuration and logs behind
#
# Everything is made in a new folder, examples/nginx/run/<name> or, where nginx's workers could not
# reach that (a checkout in a private home), /tmp/openssl-hsm-nginx.<name>. README.md explains.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
. "$here/../../scripts/common.sh"
. "$here/../common.sh"

options "$@"
handshakes=${HANDSHAKES:-5} # for each line of the table

# --- 1. what is needed ----------------------------------------------------------------------------

say "1. packages and build"
need build example
spy=$(find_spy) || die "pkcs11-spy.so (package opensc-pkcs11) not found"
make_folder

# --- 2. a token with two keys ---------------------------------------------------------------------

say "2. a SoftHSM token in $run"
make_token

# The module is OpenSC's pkcs11-spy, which writes every call down and passes it on to SoftHSM:
# that is where C_Sign is counted. With a HSM of yours, its module stands here.
export PKCS11SPY=$softhsm PKCS11SPY_OUTPUT=$run/pkcs11.log
write_openssl_cnf "$spy"
generate

# --- 3. what the key files are worth --------------------------------------------------------------

say "3. the key files hold no private key:"
plain openssl asn1parse -in web-rsa.pem >asn1.log 2>&1 ||
    explain "web-rsa.pem cannot be read" "$run/asn1.log"
plain openssl asn1parse -in web-rsa.pem -strparse \
    "$(awk -F: '/OCTET STRING/ { print $1 + 0; exit }' asn1.log)" >>asn1.log 2>&1 || true
sed -n 's/^ *[0-9]*:d=\([0-9]*\).*\(OBJECT\|UTF8STRING\) *:\(.*\)/     \2 \3/p' asn1.log
for name in web-rsa web-ec; do
    if plain openssl pkey -in $name.pem -noout >refused.log 2>&1; then
        explain "openssl without the provider took $name.pem for a key" "$run/refused.log"
    fi
    say "   openssl without the provider: $(head -n 1 refused.log) ($name.pem)"
done

# --- 4. certificates ------------------------------------------------------------------------------

say "4. certificates: CSRs by plain 'openssl req', signed by a local CA"
certificates

# --- 5. nginx -------------------------------------------------------------------------------------

if [ -n "$worker" ]; then
    # The workers log in to the token again after the fork. The PIN is not theirs to read: the
    # provider keeps the one that the master read. Only the token's own files must be theirs.
    chown -R "$worker" tokens
fi

start_nginx OPENSSL_CONF SOFTHSM2_CONF PKCS11SPY PKCS11SPY_OUTPUT
say "5. nginx listens on 127.0.0.1:$port, workers run as ${worker:-$(id -un)}"

# --- 6. the proof ---------------------------------------------------------------------------------

signatures() {
    grep -csE '^[0-9]+: C_Sign$' pkcs11.log || true
}

# fetch KEY VERSION: get the page once over that TLS version with that key; check what was used.
fetch() {
    local want sigalgs
    # The second name is what OpenSSL 3.5 and later call it.
    case $1-$2 in
    RSA-1.2) sigalgs=rsa_pkcs1_sha256 want='RSA|rsa_pkcs1_sha256' ;;
    RSA-1.3) sigalgs=rsa_pss_rsae_sha256 want='RSA-PSS|rsa_pss_rsae_sha256' ;;
    EC-*) sigalgs=ecdsa_secp256r1_sha256 want='ECDSA|ecdsa_secp256r1_sha256' ;;
    esac
    printf 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' |
        plain timeout 30 openssl s_client -connect "127.0.0.1:$port" -servername localhost \
            "-tls1_${2#1.}" -sigalgs $sigalgs -CAfile ca.pem -verify_hostname localhost \
            -verify_return_error -ign_eof >client.log 2>&1 || return 1
    grep -qE "^Peer signature type: ($want)\$" client.log &&
        grep -q "New, TLSv$2" client.log && grep -q '^This page came over TLS' client.log
}

say "6. handshakes made, and C_Sign calls counted between the provider and the token:"
say ""
printf '   %-10s %-5s %11s %13s\n' key TLS handshakes 'C_Sign calls'
all=0
all_signed=0
for key in RSA EC; do
    for version in 1.2 1.3; do
        before=$(signatures)
        for i in $(seq "$handshakes"); do
            fetch $key $version || explain "no page over TLS $version with the $key key" \
                "$run/client.log" "$run/error.log" "$run/pkcs11.log"
        done
        signed=$(($(signatures) - before))
        case $key in RSA) name=RSA-2048 ;; EC) name=EC-P-256 ;; esac
        printf '   %-10s %-5s %11d %13d\n' $name $version "$handshakes" "$signed"
        all=$((all + handshakes))
        all_signed=$((all_signed + signed))
        [ "$signed" = "$handshakes" ] || explain \
            "$handshakes handshakes but $signed signatures by the token" "$run/error.log"
    done
done
printf '   %-10s %-5s %11d %13d\n\n' all '' $all $all_signed
say "Every handshake was signed by the token: $all of $all."

[ $once = no ] || exit 0
say ""
say "nginx keeps serving. In another terminal, try"
say "    curl --cacert $run/ca.pem https://127.0.0.1:$port/"
say "Ctrl-C stops it and removes $run."
trap 'say ""; exit 0' INT TERM
wait "$nginx_pid" || true
running || explain "nginx ended by itself" "$run/error.log"
