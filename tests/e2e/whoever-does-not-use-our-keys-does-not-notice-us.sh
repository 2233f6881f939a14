#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A process in which we are loaded is otherwise as it was: all that libcrypto and libssl answer
# without a property query is as without us, whatever is done with our keys (bystander.c).
# tokens: softhsm nss
. "$(dirname "$0")/lib.sh"

token
key rsa rsa:2048
key ec ec:P-256
keys='rsa.pem ec.pem'
if [ "$HSM_TOKEN" = softhsm ]; then
    key ed ed25519
    keys="$keys ed.pem"
fi
limit=600

# notices WHAT [OPTION]: the program's own answer, and its list of differences.
notices_nothing() {
    local what=$1
    shift
    # shellcheck disable=SC2086
    must "$what" client bystander "$@" $keys
    says "$what" '^0 answers' out
}

BYSTANDER_FETCHES=${BYSTANDER_FETCHES:-20000}
export BYSTANDER_FETCHES
notices_nothing "the provider's section alone"
BYSTANDER_FETCHES=0
notices_nothing "  nothing was asked before the first signature" -1 -n
cp "$conf" provider.cnf
if [ -e "$build/engine/hsm.so" ]; then
    . "$here/engine.inc"
    BYSTANDER_FETCHES=2000
    both provider engine PROVIDER_PATH= MODULE_PATH= INIT_ARGS= TOKEN= PIN=
    notices_nothing "the provider's section and the engine's" -1
    both engine provider PROVIDER_PATH= MODULE_PATH= INIT_ARGS= TOKEN= PIN=
    notices_nothing "the engine's section before the provider's" -1
    engine_conf
    notices_nothing "the engine's section alone" -1
    BYSTANDER_FETCHES=0
    notices_nothing "  in a program that loads its providers itself" -1 -l
fi
