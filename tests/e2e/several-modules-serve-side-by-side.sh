#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tokens: softhsm
#
# tokens = soft nss: two PKCS#11 modules in one process, each with its token and its PIN. nginx has
# its RSA key on the one and its EC key on the other, in all of its workers, over reloads; one PIN
# that is wrong does not matter to the other token.
. "$(dirname "$0")/lib.sh"
. "$here/programs.inc"

token # SoftHSM
printf 11112222 >nss.pin
chmod 600 nss.pin
cp pin soft.pin
cp nss.pin pin
make_nss
cp soft.pin pin
nss=$(find_nss) || failed "NSS softokn is installed"
nss_token=pkcs11:token=NSS%20Certificate%20DB
side_by_side() { # [KEY=VALUE...]
    configure pkcs11-module= token= pin= tokens='soft nss' \
        soft.pkcs11-module="$module" soft.token="$token_uri" soft.pin="file:$W/soft.pin" \
        nss.pkcs11-module="$nss" nss.pkcs11-init-args="\"$nss_args\"" nss.token=$nss_token \
        nss.pin="file:$W/nss.pin" "$@"
}
side_by_side
software_ca
must "hsmkey check knows both" hsmkey check
for name in soft nss; do
    says "  $name" "^ok +pin +$name: accepted" out
done
key rsa rsa:2048 --token soft
key ec ec:P-256 --token nss
must "both keys are listed" hsmkey list
says "  the RSA key on soft" '^private .* soft +pkcs11:.*token=test;.*object=rsa' out
says "  the EC key on nss" '^private .* nss +pkcs11:.*token=NSS%20Certificate%20DB;.*object=ec' out
certificate rsa
certificate ec
for name in rsa ec; do
    must "a signature with $name" openssl dgst -sha256 -sign $name.pem -out sig data
    must "  which verifies" plain_openssl dgst -sha256 -verify $name.pub -signature sig data
done
must "threads share both" client threads rsa.pem 4 20

nginx_start rsa ec
for i in 1 2 3; do
    for kind in RSA EC; do
        must_fetch $kind 1.2
        must_fetch $kind 1.3
    done
    old=$(children "$server_pid")
    kill -HUP "$server_pid"
    wait_until 60 "reload $i gives new workers" renewed
done
must_fetch RSA 1.3
must_fetch EC 1.2
says_not "nginx's log has no errors" '\[(emerg|alert|crit|error)\]' error.log
stop_server "$server_pid"

printf 99999999 >nss.pin
must "a wrong PIN on nss does not matter on soft" openssl dgst -sha256 -sign rsa.pem -out sig data
must_fail "  and is said where it does" 'NSS Certificate DB.*CKR_PIN_INCORRECT' client threads ec.pem 1 1
