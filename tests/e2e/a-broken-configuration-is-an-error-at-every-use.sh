#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tokens: softhsm
#
# Missing module, wrong token, unknown values: the provider loads, and every use says what is wrong.
. "$(dirname "$0")/lib.sh"

token
key rsa rsa:2048

# broken PATTERN KEY=VALUE...: the error is there at every use, and nothing else breaks.
broken() {
    local pattern=$1
    shift
    configure "$@"
    refuses "signing with $*" "$pattern" rsa.pem
    must_fail "dgst by URI with $*" "$pattern" openssl dgst -sha256 -sign "$token_uri;object=rsa;type=private" -out sig data
    must_fail "genpkey with $*" "$pattern" openssl genpkey -propquery provider=hsm -algorithm RSA \
        -pkeyopt rsa_keygen_bits:2048 -pkeyopt hsm-label:new -out new.pem
    step "storeutl with $*" # which has status 0 when it shows an error and then finds the end
    openssl storeutl -noout "$token_uri" >out 2>&1 </dev/null || true
    says "storeutl shows the error" "$pattern" out
    says_not "storeutl finds nothing" 'Total found: [1-9]' out
    must_fail "hsmkey list with $*" "$pattern" hsmkey list
    [ ! -s sig ] || failed "nothing was signed"
    [ ! -s new.pem ] || failed "nothing was generated"
    must "software work goes on with $*" openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out soft.pem
}
broken 'nowhere\.so' pkcs11-module=/nonexistent/nowhere.so
broken 'libcrypto|not a PKCS#11|C_GetFunctionList|module' pkcs11-module="$(ldconfig -p | sed -n 's/.*libcrypto\.so\.3 .*=> //p' | head -n 1)"
broken 'pkcs11-module' pkcs11-module=
broken 'other-token' token=pkcs11:token=other-token
broken 'token' token=pkcs11:colour=red
broken 'token' token=not-a-uri
broken 'token|object' 'token=pkcs11:token=test;object=rsa'
broken 'offload' offload=rsa-sing
broken 'offload' offload=-rsa-sign
broken 'offload' 'offload=all rsa-sign -rsa-sign'
broken 'sessions' sessions=many
broken 'sessions' sessions=-1
broken 'sessions' sessions=0x10
broken 'check-key-at-load' check-key-at-load=perhaps

step "values that are right are taken"
configure sessions=3 check-key-at-load=no offload='rsa-sign, ec-sign keygen'
must "dgst" openssl dgst -sha256 -sign rsa.pem -out sig data
configure check-key-at-load=yes offload='all -keygen'
must "dgst" openssl dgst -sha256 -sign rsa.pem -out sig data
configure token=
must "dgst without a token line, where there is only one" openssl dgst -sha256 -sign rsa.pem -out sig data

configure sesions=3
must_fail "hsmkey check finds an unknown key" 'sesions' hsmkey check
configure
must "hsmkey check finds nothing wrong" hsmkey check
configure offload=rsa-sing
must_fail "hsmkey check finds a bad value" 'rsa-sing' hsmkey check
configure module="$W/no-such/hsm.so"
must_fail "hsmkey check finds a missing provider" 'no-such/hsm\.so' hsmkey check
