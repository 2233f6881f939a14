#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tokens: softhsm-remote
#
# The PIN is changed while nginx serves. Nothing happens to what is logged in; after a reload the new
# workers, which cannot read the PIN file, log in with the new PIN, and the old one was never sent.
. "$(dirname "$0")/lib.sh"
. "$here/programs.inc"

token
count_calls
rsa_and_ec
nginx_start rsa ec
must_fetch RSA 1.3
must_fetch EC 1.2

# Nor one that was.
all_renewed() {
    renewed && [ -z "$(comm -12 <(printf '%s\n' "$old") <(children "$server_pid"))" ]
}

must "the token's PIN is changed" pkcs11_tool --change-pin --new-pin 8765-new
must_fail "the token refuses the old one" 'PIN_INCORRECT' pkcs11_tool --list-objects --type privkey
[ -z "$nginx_user" ] || chown -R "$nginx_user" tokens
printf '8765-new' >"$W/pin"
must_fetch RSA 1.3
: >calls.log
old=$(children "$server_pid")
kill -HUP "$server_pid"
wait_until 60 "new workers alone" all_renewed
for i in 1 2 3 4 5 6; do
    must_fetch RSA 1.3
    must_fetch EC 1.2
done
says_not "no PIN was refused" 'PIN_INCORRECT|refused the PIN' error.log

old=$(children "$server_pid")
for pid in $old; do
    kill -KILL "$pid"
done
wait_until 60 "workers in the place of killed ones" all_renewed
must_fetch RSA 1.3
must_fetch EC 1.3
says_not "nor was a PIN refused" 'PIN_INCORRECT|refused the PIN' error.log
logins=$(calls C_Login)
[ "$logins" -ge 2 ] && [ "$logins" -le 4 ] || failed "workers log in, and none of them twice" "got: $logins logins of 4 workers"
