#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# nginx under constant load, its keys in one token behind `p11-kit server`. The server is killed and
# started again, and stopped and continued: nginx is never restarted, handshakes fail only while
# the token is away, in bounded time, and two seconds after it is back all of them work.
#
#   SOAK=N  N cycles, each at random one of the two, instead of two and one
#
# tokens: softhsm-remote
. "$(dirname "$0")/lib.sh"

timeout_ms=1000
back_ms=2000
slack_ms=2000
# sanitizers cost a multiple
[ -z "${HSM_PRELOAD:-}" ] || back_ms=8000 slack_ms=8000

token
rsa_and_ec
configure timeout-ms=$timeout_ms
nginx_start rsa ec
master=$(cat nginx.pid)

now_ms() {
    echo $(($(date +%s%N) / 1000000))
}

# A client that never stops; every request is a new connection: a line of start, duration, status.
load() {
    local start status
    while [ ! -e stop ]; do
        start=$(now_ms)
        status=0
        curl --silent --fail --max-time 30 --cacert ca.pem -o /dev/null "https://127.0.0.1:$port/" || status=$?
        echo "$start $(($(now_ms) - start)) $status" >>load.log
        [ "$status" = 0 ] || sleep 0.05
    done
}

children() {
    pgrep -P "$1" | sort | tr '\n' ' '
}

# failures FROM TO: how many requests that started in between failed.
failures() {
    awk -v from="$1" -v to="$2" '$1 >= from && $1 < to && $3 != 0 { n++ } END { print n + 0 }' load.log
}

# serves_again WHAT MS: within that a handshake works, and then everything does.
serves_again() {
    local start end
    start=$(now_ms)
    until curl --silent --fail --max-time 30 --cacert ca.pem -o /dev/null "https://127.0.0.1:$port/"; do
        [ $(($(now_ms) - start)) -lt "$2" ] || {
            show error.log
            failed "$1: serving again within $2 ms" "got: not so far"
        }
        sleep 0.05
    done
    step "$1: serving again after $(($(now_ms) - start)) ms"
    while [ $(($(now_ms) - start)) -lt "$2" ]; do
        sleep 0.1
    done
    end=$(now_ms)
    for _ in 1 2 3 4 5; do
        must_fetch RSA 1.3
        must_fetch EC 1.3
    done
    same "$1: requests that failed since" "$(failures "$end" "$(now_ms)")" 0
}

kill_and_start() {
    local name=$1 pid before
    before=$(now_ms)
    # the children first: each has the connection of one worker
    for pid in $(children "$p11_kit_pid") "$p11_kit_pid"; do
        kill -KILL "$pid" 2>/dev/null || true
    done
    wait "$p11_kit_pid" 2>/dev/null || true
    pids=${pids/ $p11_kit_pid/}
    rm -f "$W/socket/p11-kit.sock"
    sleep 2.5 # they may wait for the recovery interval, and end with the timeout
    [ "$(failures "$before" "$(now_ms)")" -gt 0 ] || failed "$name: handshakes fail without the token"
    start_p11_kit_server
    serves_again "$name" "$back_ms"
}

stop_and_continue() {
    local name=$1 pid stopped before slowest
    stopped="$(children "$p11_kit_pid") $p11_kit_pid"
    before=$(now_ms)
    for pid in $stopped; do
        kill -STOP "$pid"
    done
    sleep 6
    [ "$(failures "$before" "$(now_ms)")" -gt 2 ] || {
        tail -n 20 load.log
        failed "$name: handshakes fail, one after the other" "got: $(failures "$before" "$(now_ms)")"
    }
    # what connected meanwhile waits for its own process, which inherits nothing of the stop
    for pid in $stopped; do
        kill -CONT "$pid" 2>/dev/null || true
    done
    serves_again "$name" $((back_ms + timeout_ms))
    slowest=$(awk -v from="$before" '$1 >= from && $2 > n { n = $2 } END { print n + 0 }' load.log)
    step "$name: the slowest handshake took $slowest ms"
    [ "$slowest" -le $((2 * timeout_ms + slack_ms)) ] ||
        failed "$name: no handshake takes longer than the timeout, and what waits before it" "got: $slowest ms"
}

# rss_kb, fds: of all workers, the largest.
rss_kb() {
    local pid
    for pid in $(children "$master"); do
        awk '/^VmRSS:/ { print $2 }' "/proc/$pid/status"
    done | sort -n | tail -n 1
}

fds() {
    local pid
    for pid in $(children "$master"); do
        find "/proc/$pid/fd" -mindepth 1 2>/dev/null | wc -l
    done | sort -n | tail -n 1
}

load &
load_pid=$!
pids="$pids $load_pid"
workers=$(children "$master")
sleep 1
same "requests that failed before anything happened" "$(failures 0 "$(now_ms)")" 0

kill_and_start "killed"
rss=$(rss_kb)
fd=$(fds)
if [ -n "${SOAK:-}" ]; then
    for cycle in $(seq "$SOAK"); do
        if [ $((RANDOM % 2)) = 0 ]; then
            kill_and_start "cycle $cycle, killed"
        else
            stop_and_continue "cycle $cycle, stopped"
        fi
    done
    # a worker that is left behind keeps its stack until its call returns
    [ "$(rss_kb)" -le $((rss + rss / 4 + 4096)) ] || failed "memory is flat" "got: $rss kB, then $(rss_kb) kB"
    [ "$(fds)" -le $((fd + 8)) ] || failed "file descriptors are flat" "got: $fd, then $(fds)"
else
    kill_and_start "killed again"
    stop_and_continue "stopped"
fi
touch stop
wait $load_pid
same "nginx's workers are the same as before" "$(children "$master")" "$workers"
says_not "no worker ended by a signal" 'exited on signal' error.log
step "$(wc -l <load.log) requests, $(awk '$3 != 0' load.log | wc -l) of them failed while the token was away"
