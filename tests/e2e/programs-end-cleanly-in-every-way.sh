#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# packages: g++
#
# A program ends in the middle of signatures, unloads the provider, forks at any time, frees what it
# has of a key at any moment of its end: no crash, no hang, the right exit status, no signature lost,
# nothing left behind.
. "$(dirname "$0")/lib.sh"

token
key rsa rsa:2048
key ec ec:P-256
must "what is in the token" hsmkey list
cp out before
rounds=${ROUNDS:-3}

# A child that was forked amid threads has what those were using, and nobody to free it.
forking_client() {
    OPENSSL_CONF=$conf timeout "$limit" "$build/tests/e2e/$1" "${@:2}"
}

# ways KEY WAY...: each in so many processes; what their programs leak is an error as well.
ways() {
    local key=$1 way runs
    shift
    for way in "$@"; do
        # AddressSanitizer's own allocator stays locked in a child that was forked amid threads. And
        # exit() in a handler runs the module's destructors amid a call of the module: SoftHSM frees
        # a second time what the interrupted C_Sign was just freeing, and AddressSanitizer makes the
        # moment in which that can happen long, because it notes the stack at every free().
        case $way in
            forks* | children* | *'in the handler'*) [ -z "${HSM_PRELOAD:-}" ] || continue ;;
        esac
        runs=client
        case $way in *fork* | *child* | daemon) runs=forking_client ;; esac
        must "$way, with $key" $runs exits "$key.pem" "$rounds" "$way"
        same "rounds" "$(cat out)" "$way: $rounds of $rounds rounds good"
    done
}

for name in ec rsa; do
    ways $name return free cleanup 'free, cleanup' 'exit in a thread' 'return while signing' \
        SIGTERM 'SIGTERM, exit in the handler' 'SIGTERM, exit in the handler, threads'
done
ways ec 'child quits' 'child does nothing' 'forks while signing' 'children while signing' \
    'fork in a thread' 'double fork' daemon exec
configure timeout-ms=20000
ways ec return free 'free, cleanup' 'exit in a thread' 'return while signing' SIGTERM \
    'SIGTERM, exit in the handler' 'SIGTERM, exit in the handler, threads' 'forks while signing' \
    'children while signing' 'double fork' daemon exec
# not activated by the configuration, so that it can be unloaded
configure activate=
ways ec unload 'free the context'
configure

# endings KEY.pem: whatever holds a key, or something of the provider's, is freed at each moment of a
# program's end; after libcrypto has cleaned up, too, as by a static object's destructor.
export ENDINGS_LIBRARY=$build/tests/e2e/endings_library.so
endings() {
    local object moment
    for object in $(sed -n 's/^object //p' endings.txt); do
        # p11-kit's client of Debian 12 does not pass ECDH on.
        [ "$object $1 $HSM_TOKEN" != "other-operation ec.pem softhsm-remote" ] || continue
        for moment in $(sed -n 's/^moment //p' endings.txt); do
            must "$object of $1, freed: $moment" client endings "$1" "$object" "$moment"
            same "what it says" "$(cat out)" "$object freed"
        done
    done
}

"$build/tests/e2e/endings" >endings.txt
endings ec.pem
configure check-key-at-load=no timeout-ms=20000
endings rsa.pem
configure

step "static and thread-local objects of C++"
c++ -o statics "$here/statics.cc" -lcrypto -pthread
for name in ec rsa; do
    OPENSSL_CONF=$conf must "with $name" preloaded ./statics "$name.pem"
    same "its destructors" "$(sort out | tr '\n' ';')" \
        'after use;before main;before use;of a thread;of a thread;'
done

# hung: the servers of the connections, which p11-kit server forks.
hung() {
    pgrep -P "$p11_kit_pid" || true
}

no_connection() {
    [ -z "$(hung)" ]
}

if [ "$HSM_TOKEN" = softhsm-remote ]; then
    wait_until 10 "the token's server has no connection left" no_connection
    step "a server that hangs does not keep a program from ending"
    mkfifo input
    client exits ec.pem run wait <input 9>said >waiting.log 2>&1 &
    waiting=$!
    pids="$pids $waiting"
    exec 8>input
    wait_until 30 "it has signed" test -s said
    # shellcheck disable=SC2046
    kill -STOP $(hung)
    exec 8>&-
    start=$SECONDS status=0
    wait "$waiting" || status=$?
    pids=${pids/ $waiting/}
    # shellcheck disable=SC2046
    kill -CONT $(hung)
    same "exit status" "$status" 4
    [ $((SECONDS - start)) -le 30 ] || failed "it ends in a bounded time" "got: after $((SECONDS - start)) s"
    wait_until 10 "the token's server has no connection left" no_connection
fi
must "what is in the token afterwards" hsmkey list
same_files "nothing was left behind in the token" before out
