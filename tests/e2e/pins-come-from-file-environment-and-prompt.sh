#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The three sources of a PIN, and what is wrong with each.
. "$(dirname "$0")/lib.sh"

token
key rsa rsa:2048
uri="$token_uri;object=rsa;type=private"
sign() {
    openssl dgst -sha256 -sign "$uri" -out sig "$@" data
}

for mode in 644 640 660 606; do
    chmod $mode "$W/pin"
    case $mode in
    640) must "mode 640: the group may read" sign ;;
    *) must_fail "a PIN file with mode $mode is refused" 'pin.*(permission|mode|group|other|everyone|chmod)|(permission|mode|group|other|everyone|chmod).*pin' sign ;;
    esac
done
chmod 600 "$W/pin"
must "mode 600" sign
printf '%s\n' "$pin" >"$W/pin"
must "a newline at the end does not count" sign
: >"$W/pin"
must_fail "an empty PIN file" 'pin' sign
rm "$W/pin"
must_fail "no PIN file" "pin" sign

configure pin=env:TEST_PIN
export TEST_PIN=$pin
must "from the environment" sign
unset TEST_PIN
must_fail "not in the environment" 'TEST_PIN' sign

configure pin=prompt
must "from the application's callback" sign -passin "pass:$pin"
must_fail "a wrong answer" 'CKR_PIN_INCORRECT' sign -passin "pass:wrong-answer"
must_fail "nobody to ask" 'pin|prompt' setsid timeout 60 env OPENSSL_CONF=$conf \
    ${HSM_PRELOAD:+LD_PRELOAD="$HSM_PRELOAD"} openssl dgst -sha256 -sign "$uri" -out sig data

for value in "$pin" "pass:$pin" "file:" "file:relative/path" "file:pin" "env:" "|cat /etc/passwd" "prompt:x"; do
    configure "pin=$value"
    must_fail "pin = $value is refused" 'pin' sign
    says_not "  without repeating it" "$pin" out
done
