#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Every row of tests/unit/policy_table.h holds on a real token. With softhsm-remote the process
# under test holds no private key: what verifies was made in the other one.
. "$(dirname "$0")/lib.sh"

token
key rsa rsa:2048
key p256 ec:P-256
key p384 ec:P-384
key p521 ec:P-521
unset HSM_TEST_WITHOUT
for type in ED25519 ED448; do
    if openssl genpkey -propquery provider=hsm -algorithm $type -pkeyopt hsm-label:${type,,} \
        -out $type.pem >out 2>&1; then
        step "the token has an $type key"
    else
        says "the token cannot make an $type key" CKM_EC_EDWARDS_KEY_PAIR_GEN out
        HSM_TEST_WITHOUT="${HSM_TEST_WITHOUT:-} $type"
    fi
done
export HSM_TEST_WITHOUT=${HSM_TEST_WITHOUT:-}
export HSM_TEST_MODULE=$module HSM_TEST_TOKEN=$token_uri HSM_TEST_PIN=$pin
[ -z "$init_args" ] || export HSM_TEST_INIT_ARGS=$init_args
must "the policy table" timeout 600 "$build/tests/unit/test_policy_table"
show "$W/out" 3
says "no row failed" '^policy table: [0-9]{2,} of [0-9]+ rows ran, 0 failed' "$W/out"
