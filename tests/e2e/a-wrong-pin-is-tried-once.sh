#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A wrong PIN is sent once, however many keys and operations there are; tokens lock.
. "$(dirname "$0")/lib.sh"

token
key rsa rsa:2048
key ec ec:P-256
count_calls
cp "$W/pin" good
printf 'not-the-pin' >"$W/pin"

must_fail "dgst with a reference" . openssl dgst -sha256 -sign rsa.pem -out sig data
same "logins tried by dgst" "$(calls C_Login)" 1
: >calls.log
must_fail "dgst with a URI" 'CKR_PIN_INCORRECT' openssl dgst -sha256 -sign "$token_uri;object=rsa;type=private" -out sig data
says "the error names the function" 'C_Login' out
says "and the token" "$token_label|hsm_sect" out
says_not "and not the PIN" 'not-the-pin' out
same "logins tried by dgst" "$(calls C_Login)" 1
[ ! -s sig ] || failed "nothing was signed"

: >calls.log
must_fail "threads" 'CKR_PIN_INCORRECT' client threads rsa.pem 8 3
same "logins tried by a program" "$(calls C_Login)" 1
: >calls.log
must_fail "s_server with two keys" 'refused the PIN|PIN_INCORRECT' openssl s_server -accept 127.0.0.1:0 \
    -cert rsa.pub -key rsa.pem -dcert ec.pub -dkey ec.pem
[ "$(calls C_Login)" -le 1 ] || failed "s_server tries at most once" "got: $(calls C_Login)"
: >calls.log
must_fail "hsmkey list" 'CKR_PIN_INCORRECT' hsmkey list
same "logins tried by hsmkey" "$(calls C_Login)" 1

cp good "$W/pin"
must "the right PIN still works" openssl dgst -sha256 -sign rsa.pem -out sig data
