#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tokens: softhsm
#
# The configured PIN goes to the configured token. One login is tried, by any verb.
. "$(dirname "$0")/lib.sh"

token
make_softhsm other
key web ec:P-256
# shellcheck disable=SC2119
count_calls

must "list" setsid -w env OPENSSL_CONF="$conf" "$build/tools/hsmkey" list
same "one login" "$(calls C_Login)" 1

: >calls.log
must_fail "--token that names another one" 'PIN' \
    env OPENSSL_CONF="$conf" setsid -w "$build/tools/hsmkey" --token pkcs11:token=other list
same "no login" "$(calls C_Login)" 0
must "with a PIN of its own" hsmkey --token pkcs11:token=other --pin "file:$W/pin" list
same "one login" "$(calls C_Login)" 1

: >calls.log
must_fail "--module that names another one" 'PIN|more than one' \
    env OPENSSL_CONF="$conf" setsid -w "$build/tools/hsmkey" --module "$real_module" list
same "no login" "$(calls C_Login)" 0

configure token=
: >calls.log
must_fail "--token where the configuration names none" 'PIN' \
    env OPENSSL_CONF="$conf" setsid -w "$build/tools/hsmkey" --token pkcs11:token=other list
same "no login" "$(calls C_Login)" 0
configure

step "the same module and token as configured"
: >calls.log
must "list" hsmkey --module "$module" --token "$token_uri" list
same "one login, with the configured PIN" "$(calls C_Login)" 1

printf 999999 >wrong
chmod 600 wrong
configure pin="file:$W/wrong"
for command in "list" "reference pkcs11:object=web -o no.pem" "generate --type rsa:2048 --label no -o no.pem" \
    "check web.pem" "--json check web.pem web.pem"; do
    : >calls.log
    # shellcheck disable=SC2086
    must_fail "a wrong PIN: hsmkey $command" 'CKR_PIN_INCORRECT' hsmkey $command
    same "one login" "$(calls C_Login)" 1
    [ ! -e no.pem ] || failed "no file is left"
    configure
    must "(the right PIN sets the token's count back)" hsmkey list
    configure pin="file:$W/wrong"
done

: >calls.log
must "tokens needs no PIN" hsmkey tokens
same "no login" "$(calls C_Login)" 0

configure pin=
must "pin-source in the URI of a command" hsmkey list "pkcs11:object=web?pin-source=file:$W/pin"
says "pin-source in the URI of a command" 'object=web' out
must_fail "pin-source that --pin contradicts" 'pin-source' hsmkey --pin "file:$W/pin" list "pkcs11:object=web?pin-source=file:$W/wrong"
must_fail "pin-source that is a command" 'pin-source' hsmkey list "pkcs11:object=web?pin-source=|touch%20$W/ran"
[ ! -e ran ] || failed "no command was run"
must_fail "pin-value" 'pin-value' hsmkey list "pkcs11:object=web?pin-value=$pin"
says_not "pin-value is not repeated" "$pin" out

status=0
step "a PIN on the command line"
hsmkey --pin "$pin" list >out 2>&1 || status=$?
same "is a usage error" "$status" 2
says_not "and not repeated" "$pin" out
