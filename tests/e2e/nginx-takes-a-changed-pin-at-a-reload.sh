#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tokens: softhsm-remote
#
# The PIN is changed while nginx serves. Nothing happens to what is logged in; after a reload the new
# workers, which cannot read the PIN file, log in with the new PIN, and the old one was never sent.
. "$(dirname "$0")/lib.sh"

token
count_calls
rsa_and_ec
nginx_start rsa ec
master=$(cat nginx.pid)
must_fetch RSA 1.3
must_fetch EC 1.2

workers() {
    pgrep -P "$master" | sort
}
renewed() {
    local now
    now=$(comm -13 <(printf '%s\n' $old | sort) <(workers))
    [ -n "$now" ] && [ -z "$(comm -12 <(printf '%s\n' $old | sort) <(workers))" ]
}

must "the token's PIN is changed" pkcs11_tool --change-pin --new-pin 8765-new
must_fail "the token refuses the old one" 'PIN_INCORRECT' pkcs11_tool --list-objects --type privkey
[ -z "$nginx_user" ] || chown -R "$nginx_user" tokens
printf '8765-new' >"$W/pin"
must_fetch RSA 1.3
: >calls.log
old=$(workers)
kill -HUP "$master"
wait_until 60 "new workers alone" renewed
for i in 1 2 3 4 5 6; do
    must_fetch RSA 1.3
    must_fetch EC 1.2
done
says_not "no PIN was refused" 'PIN_INCORRECT|refused the PIN' error.log

old=$(workers)
for pid in $old; do
    kill -KILL "$pid"
done
wait_until 60 "workers in the place of killed ones" renewed
must_fetch RSA 1.3
must_fetch EC 1.3
says_not "nor was a PIN refused" 'PIN_INCORRECT|refused the PIN' error.log
[ "$(calls C_Login)" -le 4 ] || failed "no worker logs in twice" "got: $(calls C_Login) logins of 4 workers"

