#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tokens: softhsm
#
# Without a PIN source, or with pin = prompt, hsmkey asks at the terminal: without echo, once, never
# on standard input, and never where there is no terminal.
. "$(dirname "$0")/lib.sh"

token
key web ec:P-256

# at_terminal ANSWER COMMAND...: somebody at a terminal types ANSWER when asked.
at_terminal() {
    OPENSSL_CONF=$conf timeout 60 /usr/bin/python3 "$here/terminal.py" "$1" : "${@:2}"
}

for source in "" "prompt"; do
    configure pin="$source"
    step "pin = $source: at a terminal"
    at_terminal "$pin" "$build/tools/hsmkey" list >out || { show out; failed "hsmkey list"; }
    says "the keys are listed" 'private.*object=web' out
    says "asked once" '^asked: 1' out
    says "the token is named" "PIN for token 'test'" out
    says_not "the PIN is not shown" "$pin" out
    step "pin = $source: generate"
    at_terminal "$pin" "$build/tools/hsmkey" generate --type ec:P-256 --label "by-hand$source" -o "h$source.pem" >out ||
        { show out; failed "hsmkey generate"; }
    says "asked once" '^asked: 1' out
    step "pin = $source: the wrong PIN"
    status=0
    at_terminal 999999 "$build/tools/hsmkey" list >out || status=$?
    same "status" "$status" 1
    says "the reason" 'CKR_PIN_INCORRECT' out
    says "asked once" '^asked: 1' out
    step "pin = $source: no answer"
    status=0
    at_terminal "" "$build/tools/hsmkey" list >out || status=$?
    same "status" "$status" 1
    says_not "no login was tried" 'CKR_' out

    step "pin = $source: no terminal, and a standard input that says nothing"
    mkfifo silence
    exec 3<>silence
    status=0
    OPENSSL_CONF=$conf timeout 30 setsid -w "$build/tools/hsmkey" list <silence >out 2>&1 || status=$?
    exec 3>&-
    rm silence
    same "status" "$status" 1
    says "the reason" 'PIN.*(no terminal|nobody)' out
    step "pin = $source: no terminal, and the PIN on standard input"
    status=0
    printf '%s\n' "$pin" | OPENSSL_CONF=$conf timeout 30 setsid -w "$build/tools/hsmkey" list >out 2>&1 || status=$?
    same "it is not read" "$status" 1
done

configure pin=
step "check does not ask where no PIN is configured"
status=0
at_terminal "$pin" "$build/tools/hsmkey" check >out || status=$?
same "status" "$status" 1
says "the reason" 'FAILED +pin .*no pin is configured' out
says "not asked" '^asked: 0' out
must "tokens needs none" hsmkey tokens
