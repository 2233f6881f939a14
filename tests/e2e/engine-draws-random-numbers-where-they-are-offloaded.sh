#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tokens: softhsm nss softhsm-remote
#
# A program that makes engine hsm its default for everything, as -engine does and nginx's
# ssl_engine, gets the token's random numbers if `offload` lists rand, and OpenSSL's own otherwise.
. "$(dirname "$0")/lib.sh"
. "$here/engine.inc"

token
rsa_and_ec
count_calls
conf=$W/engine.cnf

# with FIRST SECOND CLASSES [KEY=VALUE...]: the provider has these classes, and all settings
with() {
    local first=$1 second=$2 classes=$3
    shift 3
    conf=$W/provider.cnf configure offload="$classes" "$@"
    both "$first" "$second" MODULE_PATH= INIT_ARGS= TOKEN= PIN= PROVIDER_PATH=
    : >calls.log
}

for order in "provider engine" "engine provider"; do
    # shellcheck disable=SC2086
    with $order 'rsa-sign ec-sign rand'
    must "$order: openssl rand -engine hsm" openssl rand -engine hsm -out one 32
    same "  C_GenerateRandom for 32 bytes" "$(calls C_GenerateRandom)" 1
    same "  bytes" "$(stat -c %s one)" 32
    must "  once more" openssl rand -engine hsm -out two 32
    ! cmp -s one two || failed "two draws differ" "got: the same bytes"
    : >calls.log
    must "  a program that stirs something in" client engine_client stir
    same "  gets the token's all the same: C_GenerateRandom" "$(calls C_GenerateRandom)" 1
    must "  100,000 bytes" openssl rand -engine hsm -out many 100000
    [ "$(gzip -c many | wc -c)" -gt 99000 ] || failed "random numbers do not shrink"
    : >calls.log
    must "$order: a key in software" openssl genpkey -engine hsm -algorithm EC \
        -pkeyopt ec_paramgen_curve:P-256 -out soft.pem
    [ "$(calls C_GenerateRandom)" -gt 0 ] || failed "  it is made of the token's numbers"
    : >calls.log
    must "$order: who does not ask for the engine gets OpenSSL's own" openssl rand -hex 32
    same "  C_GenerateRandom" "$(calls C_GenerateRandom)" 0
    must "$order: a signature" openssl dgst -engine hsm -keyform ENGINE -sha256 -sign label_rsa -out sig data
    must "  which verifies" plain_openssl dgst -sha256 -verify rsa.pub -signature sig data

    # shellcheck disable=SC2086
    with $order 'rsa-sign ec-sign'
    must "$order: rand is not listed: OpenSSL's own, as ever" openssl rand -engine hsm -hex 32
    same "  calls of the module" "$(calls 'C_[A-Za-z]*')" 0
done

with provider engine 'rsa-sign ec-sign rand'
must "openssl engine shows it" openssl engine -c hsm
says "  as a capability" '\[RAND\]' out
with provider engine 'all -rand'
must "or does not" openssl engine -c hsm
says_not "  as a capability" 'RAND' out

# --- there is nothing instead ---------------------------------------------------------------------

with provider engine 'rsa-sign rand' token=pkcs11:token=nobody
must_fail "no such token: no numbers" 'no token .* matches pkcs11:token=nobody' openssl rand -engine hsm -hex 32
says_not "  and none are printed" '^[0-9a-f]{64}$' out
with provider engine 'rsa-sing rand'
must "a broken configuration: the engine has no numbers, OpenSSL goes on with its own" openssl rand -engine hsm -hex 32

# --- a server, with workers -----------------------------------------------------------------------

with provider engine 'rsa-sign ec-sign rand'
eval "plain_$(declare -f nginx_conf)"
nginx_conf() {
    echo "ssl_engine hsm;"
    plain_nginx_conf "$@"
}
nginx_start rsa ec
: >calls.log
for i in 1 2; do
    must_fetch RSA 1.2
    must_fetch EC 1.3
done
same "C_Sign for 4 handshakes" "$(calls C_Sign)" 4
# a server's random of each handshake, at the least
[ "$(calls C_GenerateRandom)" -ge 4 ] || failed "nginx' numbers are the token's" "got: $(calls C_GenerateRandom) calls"
says_not "nginx's log has no errors" '\[(emerg|alert|crit|error)\]' error.log
