#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# [random] random = HSM-RAND: every number that OpenSSL hands out is the token's, or there is none.
. "$(dirname "$0")/lib.sh"

# with_random LINE...: $conf as it is, with a [random] section of these lines.
with_random() {
    sed -i '2a random = random_sect' "$conf"
    printf '[random_sect]\n' >>"$conf"
    printf '%s\n' "$@" >>"$conf"
}

# drawn: how many calls of C_GenerateRandom there were; forgets them.
drawn() {
    calls C_GenerateRandom
    : >calls.log
}

# few WHAT: at least one number was drawn.
some() {
    local n
    n=$(drawn)
    [ "$n" -gt 0 ] || failed "$1" "expected: calls of C_GenerateRandom" "got: none"
}

token
key ec ec:P-256
software_ca
count_calls
with_random 'random = HSM-RAND'
: >calls.log

must "openssl rand" openssl rand -out one 32
same "C_GenerateRandom for 32 bytes" "$(drawn)" 1
same "bytes" "$(stat -c %s one)" 32
must "once more" openssl rand -out two 32
! cmp -s one two || failed "two draws differ" "got: the same bytes"
must "a megabyte" openssl rand -out many 1000000
same "bytes" "$(stat -c %s many)" 1000000
some "a megabyte is the token's"
[ "$(gzip -c many | wc -c)" -gt 990000 ] || failed "a megabyte of random numbers does not shrink"

must "a key in software is made of the token's numbers" openssl genpkey -algorithm EC \
    -pkeyopt ec_paramgen_curve:P-256 -out soft.pem
some "genpkey draws from the token"
must "an RSA key too" openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out soft-rsa.pem
some "genpkey draws from the token"

# A key of the token first (the module is initialised then), random numbers after that.
must "a certificate with a random serial number, signed in the token" openssl req -x509 -new -key ec.pem \
    -subj /CN=random -days 2 -out random.crt
same "one signature" "$(calls C_Sign)" 1
some "the serial number is the token's"

must "a certificate for a key in software" openssl req -x509 -new -key soft.pem -subj /CN=localhost \
    -days 2 -out soft.crt
s_server -cert soft.crt -key soft.pem -no_ticket -no_cache
: >calls.log
for version in 1.2 1.3; do
    step "TLS $version: the server's nonces and ephemeral keys"
    printf 'GET / HTTP/1.0\r\n\r\n' | plain_openssl s_client -connect "127.0.0.1:$port" \
        "-tls1_${version#1.}" -CAfile soft.crt -verify_return_error -ign_eof >client.log 2>&1 ||
        { show client.log; show s_server.log; failed "TLS $version"; }
    some "TLS $version draws from the token"
done
stop_server "$server_pid"

if [ "$HSM_TOKEN" = softhsm-remote ]; then
    kill "$p11_kit_pid"
    wait "$p11_kit_pid" 2>/dev/null || true
    must_fail "without the token's process there are no numbers" 'hsm|HSM|token' openssl rand -hex 32
    says_not "  and none are printed" '^[0-9a-f]{64}$' "$W/out"
    must_fail "  and no keys" . openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out none.pem
    [ ! -s none.pem ] || failed "no key is made" "got: $(cat none.pem)"
    exit
fi

# --- refusals ---------------------------------------------------------------------------------

# refused WHAT PATTERN: no numbers, no keys, no call into the module.
refused() {
    must_fail "$1" "$2" openssl rand -hex 32
    says_not "  and none are printed" '^[0-9a-f]{64}$' "$W/out"
    must_fail "  nor is a key made" "$2" openssl genpkey -algorithm EC \
        -pkeyopt ec_paramgen_curve:P-256 -out none.pem
    [ ! -s none.pem ] || failed "no key is made" "got: $(cat none.pem)"
    same "  calls of the module" "$(calls 'C_[A-Za-z]*')" 0
}
for line in 'random = HSM-RAND' 'seed = HSM-RAND'; do
    : >calls.log
    configure offload='rsa-sign ec-sign'
    with_random "$line"
    refused "$line, class not listed" 'rand is not offloaded.*offload = rsa-sign ec-sign rand'
    configure offload='rsa-sign ec-sing'
    with_random "$line"
    refused "$line, broken configuration" 'unknown operation class "ec-sing"'
    configure token=pkcs11:token=nobody
    with_random "$line"
    must_fail "$line, no such token" 'token' openssl rand -hex 32
    says_not "  and none are printed" '^[0-9a-f]{64}$' "$W/out"
done

# --- as the seed source -------------------------------------------------------------------------

configure
with_random 'seed = HSM-RAND'
: >calls.log
must "openssl rand, seeded by the token" openssl rand -hex 32
some "the seed is the token's"

# --- what OpenSSL does without us, as docs/random.md says ---------------------------------------

sed -i '/^hsm = /d' "$conf"
must "a seed source whose provider is missing: OpenSSL goes on in silence" openssl rand -hex 32
configure
with_random 'random = HSM-RAND'
sed -i '/^hsm = /d' "$conf"
must_fail "a generator whose provider is missing is an error" 'unable to fetch drbg|fetch' openssl rand -hex 32
