#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# 20 reloads, and workers killed, under load: not one request fails.
. "$(dirname "$0")/lib.sh"

token
rsa_and_ec
nginx_start rsa ec
master=$(cat nginx.pid)

# A client that never stops; every request is a new connection.
load() {
    local n=0
    while [ ! -e stop ]; do
        curl --silent --show-error --fail --max-time 30 --cacert ca.pem "https://localhost:$port/" >load.out 2>load.err || {
            echo "request $n: curl status $?: $(cat load.err)" >load.failed
            return 1
        }
        n=$((n + 1))
        echo $n >load.count
    done
}
load &
load_pid=$!
pids="$pids $load_pid"

workers() {
    pgrep -P "$master" | sort
}
step "20 reloads"
for i in $(seq 20); do
    old=$(workers)
    kill -HUP "$master"
    renewed() {
        local now
        now=$(comm -13 <(printf '%s\n' $old | sort) <(workers))
        [ -n "$now" ]
    }
    wait_until 60 "reload $i gives new workers" renewed
    fetch RSA 1.3 && fetch EC 1.2 || { show client.log; show error.log; failed "a page after reload $i"; }
    [ ! -e load.failed ] || { show error.log; failed "no request fails" "got: $(cat load.failed)"; }
done
touch stop
wait $load_pid || { show error.log; failed "no request fails" "got: $(cat load.failed)"; }
step "$(cat load.count) requests during the reloads"
[ "$(cat load.count)" -gt 20 ] || failed "the client kept asking" "got: $(cat load.count) requests"
says_not "no worker ended by a signal" 'exited on signal' error.log

step "a killed worker is replaced and the new one signs"
for i in 1 2 3; do
    for pid in $(workers); do
        kill -KILL "$pid" 2>/dev/null || true # one of the last reload's may just have ended
    done
    sleep 1
    must_fetch RSA 1.3
    must_fetch EC 1.3
done
