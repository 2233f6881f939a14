#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tokens: softhsm
#
# A cluster of two members, each a p11-kit server of its own, under constant load from TLS clients:
# members are killed, stopped and started again. While one of them is up not one handshake fails.
# SOAK=N: N random cycles after the fixed ones.
#
# p11-kit knows several servers at a time by its configuration only, which is the machine's. So all
# of this runs in a mount namespace, with a folder of ours in the place of p11-kit's.
if [ "${1:-}" != in-namespace ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "FAILED: this test needs root, for a mount namespace of its own"
        exit 1
    fi
    # Not in every container, and not in a chroot whose root is no mount.
    if ! why=$(unshare --mount --propagation private sh -c 'mount --bind /tmp /tmp' 2>&1); then
        echo "FAILED: this test needs a mount namespace of its own, which root cannot have on this machine"
        echo "  got: $why"
        exit 1
    fi
    exec unshare --mount --propagation private "$0" in-namespace
fi
. "$(dirname "$0")/lib.sh"
worker_of www-data nginx nobody

# AddressSanitizer keeps what was freed, by default 256 MiB of it: that is no growth of ours.
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}quarantine_size_mb=8"

timeout_ms=2000
clients=3
members='east west'
p11_kit_modules=$(pkg-config --variable=p11_module_configs p11-kit-1)
softhsm=$(find_softhsm) || failed "SoftHSM is installed"
rounds=0

# --- members --------------------------------------------------------------------------------------

declare -A server=() # pid by member

# make_members: copies of the token, once the keys are in it.
make_members() {
    local name text=()
    mkdir modules
    for name in $members; do
        cp -r tokens "tokens-$name"
        chmod -R a+rwX "tokens-$name"
        sed "s,^directories.tokendir = .*,directories.tokendir = $W/tokens-$name," softhsm2.conf >"$name.conf"
        printf 'remote: unix:path=%s/socket/%s\n' "$W" "$name" >"modules/hsm-$name.module"
        cp pin "pin-$name"
        chmod 600 "pin-$name"
        text+=("$name.pkcs11-module=hsm-$name" "$name.token=$token_uri" "$name.pin=file:$W/pin-$name")
    done
    rm -r tokens softhsm2.conf
    unset SOFTHSM2_CONF
    mount --bind modules "$p11_kit_modules" || failed "p11-kit's module folder can be covered"
    configure pkcs11-module= token= pin= clusters=web "web.members=$members" "timeout-ms=$timeout_ms" \
        recover-interval-ms=300 "${text[@]}"
}

start_member() { # NAME
    rm -f "socket/$1"
    SOFTHSM2_CONF=$W/$1.conf start_server "server-$1.log" setpriv --reuid="$worker" --regid="$(id -g "$worker")" \
        --clear-groups p11-kit server -f --provider "$softhsm" --name "$W/socket/$1" "$token_uri"
    server[$1]=$server_pid
    wait_until 20 "the server of $1 opens its socket" test -S "socket/$1"
}

# family NAME: the server and what it forked, one for each connection.
family() {
    echo "${server[$1]}" $(pgrep -P "${server[$1]}")
}

stop_member() { # NAME
    local pid=${server[$1]}
    kill -STOP "$pid" # first, so that no child is missed
    # shellcheck disable=SC2046
    kill -STOP $(family "$1") 2>/dev/null || true
}

continue_member() { # NAME
    # shellcheck disable=SC2046
    kill -CONT $(family "$1") 2>/dev/null || true
}

kill_member() { # NAME
    local pid=${server[$1]}
    stop_member "$1"
    # shellcheck disable=SC2046
    kill -KILL $(family "$1") 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    pids=${pids/ $pid/}
    unset "server[$1]"
}

stop_all_members() {
    local name
    for name in "${!server[@]}"; do
        kill_member "$name"
    done
}
trap 'status=$?; set +e; touch stop; stop_all_members; (exit $status); cleanup' EXIT

# --- load -----------------------------------------------------------------------------------------

# Each line: start, end, seconds until the handshake was done, curl's status.
load_client() {
    local start status took options=()
    case $1 in
    1) options=(--tls-max 1.2 --ciphers ECDHE-RSA-AES128-GCM-SHA256) ;;
    2) options=(--tls-max 1.2 --ciphers ECDHE-ECDSA-AES128-GCM-SHA256) ;;
    esac
    while [ ! -e stop ]; do
        if [ -e pause ]; then
            sleep 0.1
            continue
        fi
        start=$EPOCHREALTIME status=0
        took=$(curl --silent --show-error --fail --max-time 30 --cacert ca.pem "${options[@]}" --output /dev/null \
            --write-out '%{time_appconnect}' "https://127.0.0.1:$port/" 2>"load.err.$1") || status=$?
        echo "$start $EPOCHREALTIME ${took:-0} $status" >>"load.$1"
        [ $status = 0 ] || echo "$start $(cat "load.err.$1")" >>load.errors
    done
}

# An outage: from before the last member goes until after the first one is back.
outage_begins() {
    down=$EPOCHREALTIME
}
outage_ends() {
    echo "$down $EPOCHREALTIME" >>outages
}

# judge LIMIT: what the clients saw. A handshake is excused if it touches an outage and the 2 s
# after it. Prints what is wrong.
judge() {
    touch outages
    cat load.[0-9] | awk -v limit="$1" -v normal="$normal" '
        FILENAME == "outages" { down[++n] = $1; up[n] = $2; first[n] = 0; next }
        {
            excused = 0
            for (i = 1; i <= n; i++) {
                if ($1 < up[i] + 2 && $2 > down[i]) excused = 1
                if ($4 == 0 && $2 > up[i] && (!first[i] || $2 < first[i])) first[i] = $2
            }
            all++
            failed += $4 != 0
            if ($4 != 0 && !excused) { lost++; if (lost <= 5) print "WRONG: failed at " $1 ", status " $4 " after " $2 - $1 " s" }
            if ($4 == 0 && !excused && $3 > slowest) slowest = $3
        }
        END {
            for (i = 1; i <= n; i++) {
                if (first[i] - up[i] > longest) longest = first[i] - up[i]
                if (!first[i] || first[i] - up[i] > 2 + normal)
                    print "WRONG: outage " i ": served again " first[i] - up[i] " s after the first member was back"
            }
            if (lost) print "WRONG: " lost " handshakes failed while a member was up"
            if (slowest > limit) print "WRONG: slowest handshake: " slowest " s, expected at most " limit " s"
            printf "%d handshakes, %d failed (%d of them while a member was up); slowest %.3f s; " \
                "%d outages, served again within %.3f s\n", all, failed, lost, slowest, n, longest
        }' outages - >verdict
}

check() {
    judge "$(awk "BEGIN { print $timeout_ms / 1000 + $normal }")"
    step "$1: $(tail -n 1 verdict)"
    if [ -s outages ] && [ ! -s load.errors ]; then
        failed "handshakes fail while no member is up" "got: none failed, so who signed?"
    fi
    if grep -q WRONG verdict; then
        show verdict
        grep -v "closed keepalive" error.log >errors.seen || true
        show errors.seen
        failed "$1" "got: above"
    fi
}

# --- resources ------------------------------------------------------------------------------------

# KiB of memory and open files of the workers, the largest of each, while no client is connected. What
# is lost for good is still there a few seconds later; a connection that is being renewed is not.
resources() {
    local i pid n rss files least=
    touch pause
    for i in 1 2 3 4; do
        sleep 1
        rss=0 files=0
        for pid in $(pgrep -P "$(cat nginx.pid)"); do
            n=$(awk '/^VmRSS/ { print $2 }' "/proc/$pid/status")
            [ "$n" -le $rss ] || rss=$n
            n=$(find "/proc/$pid/fd" -mindepth 1 | wc -l)
            [ "$n" -le $files ] || files=$n
        done
        [ -n "$least" ] && [ "$files" -ge "$least" ] || least=$files
    done
    for pid in $(pgrep -P "$(cat nginx.pid)"); do
        ls -l "/proc/$pid/fd"
        ss -xnpH 2>/dev/null | grep "pid=$pid," || true
    done >"files.$1"
    rm pause
    echo $rss $least
}

# --- the test -------------------------------------------------------------------------------------

token
rsa_and_ec
make_members
# nginx's workers cannot read the PIN files: their master has to, for the absent member as well.
step "only east is there when nginx starts"
start_member east
nginx_start rsa ec
must_fetch RSA 1.2
must_fetch EC 1.3
start_member west
workers=$(pgrep -P "$(cat nginx.pid)" | sort)

for client in $(seq $clients); do
    load_client "$client" &
    pids="$pids $!"
done
sleep 2
normal=0.5 # less says nothing on a machine with other things to do
judge 1000
normal=$(sed -n 's/.*slowest \([0-9.]*\) s.*/\1/p' verdict | awk '{ print ($1 > 0.5 ? $1 : 0.5) }')
check "both members up"

# kill_one NAME: and start it again.
kill_one() {
    step "kill -9 $1, start it again"
    kill_member "$1"
    sleep "${2:-1}"
    start_member "$1"
    sleep "${3:-1.5}"
}
stop_one() {
    step "stop $1, continue it"
    stop_member "$1"
    sleep "${2:-2.5}"
    continue_member "$1"
    sleep "${3:-1.5}"
}
kill_both() { # FIRST-BACK OTHER
    step "kill -9 both, start $1, then $2"
    outage_begins
    kill_member "$1"
    kill_member "$2"
    sleep "${3:-1.5}"
    start_member "$1"
    outage_ends
    sleep "${4:-2.5}"
    start_member "$2"
    sleep "${4:-2.5}"
}
stop_both() {
    step "stop both, continue them"
    outage_begins
    stop_member "$1"
    stop_member "$2"
    sleep "${3:-3}"
    continue_member "$1"
    outage_ends
    continue_member "$2"
    sleep "${4:-2.5}"
}

kill_one east
kill_one west
check "killed members"
stop_one east
stop_one west
check "stopped members"
kill_both west east
check "both killed"
stop_both east west
check "both stopped"
before=$(resources before)

for round in $(seq "${SOAK:-0}"); do
    pair=$(shuf -e -- $members | tr '\n' ' ')
    # shellcheck disable=SC2086
    case $((RANDOM % 6)) in
    0 | 1) kill_one ${pair% * } "0.$((RANDOM % 1000))" "2.$((RANDOM % 1000))" ;;
    2 | 3) stop_one ${pair% * } "$((RANDOM % 4)).$((RANDOM % 1000))" "2.$((RANDOM % 1000))" ;;
    4) kill_both $pair "$((RANDOM % 2)).$((RANDOM % 1000))" ;;
    5) stop_both $pair "$((RANDOM % 4)).$((RANDOM % 1000))" ;;
    esac
    check "random cycle $round"
done
if [ "${SOAK:-0}" = 0 ]; then
    for round in 1 2; do
        kill_one east 0.3 1.2
        kill_one west 0.3 1.2
    done
fi
check "all"
after=$(resources after)
touch stop
same "no worker was replaced" "$(pgrep -P "$(cat nginx.pid)" | sort)" "$workers"
says_not "no worker ended by a signal" 'exited on signal' error.log
step "memory and open files of the workers: ${before/ / KiB, }, then ${after/ / KiB, }"
[ $((${after% *})) -le $((${before% *} + 2048)) ] ||
    failed "the memory of the workers is flat" "before: ${before% *} KiB" "got: ${after% *} KiB"
if [ $((${after#* })) -gt $((${before#* } + 1)) ]; then
    diff files.before files.after || true
    failed "the open files of the workers are flat" "before: ${before#* }" "got: ${after#* }"
fi
