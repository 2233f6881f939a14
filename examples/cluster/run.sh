#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh [--once] [--keep]: nginx keeps serving with keys of three tokens of which two may be lost.
#
#   --once   stop after the proof, exit 0 if it holds, and clean up
#   --keep   leave the folder with the tokens, configuration and logs behind
#
# Everything is made in a new folder, examples/cluster/run/<name> or, where nginx's workers could not
# reach that (a checkout in a private home), /tmp/openssl-hsm-cluster.<name>. README.md explains.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
. "$here/../../scripts/common.sh"

# Several p11-kit servers are known to p11-kit by its configuration only, which is the machine's.
# This example leaves that alone: everything runs in a mount namespace, in which a folder of ours
# lies over p11-kit's.
case "${1:-}" in
-h | --help | --in-namespace) ;;
*)
    [ "$(id -u)" = 0 ] || die "needs root, for a mount namespace of its own in which p11-kit knows the servers of
this example. In real life nothing of that is needed: write a file for each server into
/etc/pkcs11/modules, as README.md shows"
    unshare --mount --propagation private sh -c 'mount --bind /tmp /tmp' ||
        die "no mount namespace can be made here (a container without the right to?); see README.md"
    exec unshare --mount --propagation private "$0" --in-namespace "$@"
    ;;
esac
[ "${1:-}" != --in-namespace ] || shift
. "$here/../common.sh"
options "$@"

members='east west north'
timeout_ms=2000
clients=3

# --- members --------------------------------------------------------------------------------------

declare -A server=() # pid by member

# Servers run as nginx's workers do, so that these may use their sockets, and cannot write the
# token: SoftHSM rewrites a token's file at every login, and p11-kit server forks a process, with a
# SoftHSM of its own, for each connection.
start_member() { # NAME
    local i as=()
    rm -f "socket/$1"
    # Not by as_worker, a function: what $! is then is a shell, and the server its child.
    [ -z "$worker" ] || as=(setpriv --reuid="$worker" --regid="$(id -g "$worker")" --clear-groups)
    SOFTHSM2_CONF=$run/$1.conf "${as[@]}" p11-kit server -f --provider "$softhsm" --name "$run/socket/$1" \
        pkcs11:token=demo >"server-$1.log" 2>&1 </dev/null &
    server[$1]=$!
    for i in $(seq 100); do
        [ ! -S "socket/$1" ] || return 0
        sleep 0.1
    done
    explain "the server of $1 does not open its socket" "$run/server-$1.log"
}

# signal_member SIGNAL NAME: to the server and what it forked. Stopped first, so that none is missed.
signal_member() {
    local pid=${server[$2]} child
    kill -STOP "$pid"
    for child in $(pgrep -P "$pid"); do
        kill "-$1" "$child" 2>/dev/null || true
    done
    kill "-$1" "$pid"
}

kill_member() { # NAME
    local pid=${server[$1]}
    signal_member KILL "$1"
    wait "$pid" 2>/dev/null || true
    unset "server[$1]"
}

stop_others() {
    local name
    touch "$run/stop" 2>/dev/null || true
    for name in "${!server[@]}"; do
        kill_member "$name" 2>/dev/null || true
    done
    # the clients end by themselves, and need the folder until then
    wait 2>/dev/null || true
}

# --- load -----------------------------------------------------------------------------------------

# One handshake after the other. Each line: start, end, seconds until the handshake was done, status.
client() {
    local start status took options=()
    case $1 in
    1) options=(--tls-max 1.2 --ciphers ECDHE-RSA-AES128-GCM-SHA256) ;;
    2) options=(--tls-max 1.2 --ciphers ECDHE-ECDSA-AES128-GCM-SHA256) ;;
    esac
    while [ ! -e stop ]; do
        start=$EPOCHREALTIME status=0
        took=$(plain curl --silent --show-error --fail --max-time 30 --cacert ca.pem "${options[@]}" --output /dev/null \
            --write-out '%{time_appconnect}' "https://127.0.0.1:$port/" 2>"client.$1.err") || status=$?
        echo "$start $EPOCHREALTIME ${took:-0} $status" >>"load.$1"
    done
}

# count FROM: handshakes made, failed, lost (failed although a member was up), and the slowest; of
# those that ended since then. A failure is excused if it touches an outage or the 2 s after it.
count() {
    cat load.[0-9] | awk -v from="$1" -v since="$down" '
        FILENAME == "outages" { down[++n] = $1; up[n] = $2; next }
        $2 < from { next }
        {
            excused = since != "" && $2 > since
            for (i = 1; i <= n; i++)
                if ($1 < up[i] + 2 && $2 > down[i]) excused = 1
            if ($4 == 0) made++; else failed++
            if ($4 != 0 && !excused) lost++
            if ($4 == 0 && !excused && $3 > slowest) slowest = $3
        }
        END { printf "%d %d %d %.3f\n", made, failed, lost, slowest }' outages -
}

down=
row() { # TEXT MEMBERS-UP FROM
    # shellcheck disable=SC2046
    printf '   %-38s %10d %8d %8d %8d %9.3f s\n' "$1" "$2" $(count "$3")
}

# phase TEXT SECONDS COMMAND...: do that, wait, and show what the clients saw.
phase() {
    local text=$1 seconds=$2 start=$EPOCHREALTIME
    shift 2
    [ $# = 0 ] || "$@"
    sleep "$seconds"
    row "$text" "$up" "$start"
}

# A member goes, a member comes. An outage is from before the last one goes until the first is back.
goes() { # COMMAND...
    up=$((up - 1))
    [ $up != 0 ] || down=$EPOCHREALTIME
    "$@"
}
comes() {
    "$@"
    up=$((up + 1))
    [ $up = 1 ] || return 0
    echo "$down $EPOCHREALTIME" >>outages
    down=
}
kill_all() {
    local name
    for name in $members; do
        goes kill_member "$name"
    done
}
stop_all() {
    local name
    for name in $members; do
        goes signal_member STOP "$name"
    done
}

# --- 1. what is needed ----------------------------------------------------------------------------

say "1. packages and build"
need build cluster
make_folder
mkdir -m 1777 socket
mkdir modules

# --- 2. a token with two keys, three times --------------------------------------------------------

say "2. a SoftHSM token in $run"
make_token
write_openssl_cnf "$softhsm"
generate
say "   certificates: CSRs by plain 'openssl req', signed by a local CA"
certificates
unset SOFTHSM2_CONF

say "3. copies of it, each behind a p11-kit server of its own:"
for name in $members; do
    cp -r tokens "tokens-$name"
    chmod -R a+rX,a-w "tokens-$name"
    sed "s,^directories.tokendir = .*,directories.tokendir = $run/tokens-$name," softhsm2.conf >"$name.conf"
    printf 'remote: unix:path=%s/socket/%s\n' "$run" "$name" >"modules/hsm-$name.module"
    start_member "$name"
    say "   $name: $(cat "modules/hsm-$name.module"), pid ${server[$name]}"
done
rm -r tokens
folder=$(pkg-config --variable=p11_module_configs p11-kit-1)
mount --bind modules "$folder" || explain "$folder could not be covered in this namespace"

# The token of step 2 is no more. Not with the drop-in: its pin is that of a single token.
{
    cat <<END
openssl_conf = openssl_init

[openssl_init]
providers = provider_sect

[provider_sect]
default = default_sect
hsm = hsm_sect

[default_sect]
activate = 1

[hsm_sect]
activate = 1
module = $provider
offload = rsa-sign ec-sign
clusters = web
web.members = $members
timeout-ms = $timeout_ms
recover-interval-ms = 300
END
    for name in $members; do
        printf '%s.pkcs11-module = hsm-%s\n' "$name" "$name"
        printf '%s.token = pkcs11:token=demo\n' "$name"
        printf '%s.pin = file:%s\n' "$name" "$run/pin"
    done
} >openssl.cnf
say "   openssl.cnf makes a cluster of them:"
sed -n '/^clusters/,$s/^/     /p' openssl.cnf

# --- 4. nginx -------------------------------------------------------------------------------------

start_nginx OPENSSL_CONF
say "4. nginx listens on 127.0.0.1:$port, workers run as ${worker:-$(id -un)}"

# --- 5. the proof ---------------------------------------------------------------------------------

say "5. $clients clients make one handshake after the other, RSA and EC; members come and go:"
say ""
: >outages
up=3
for i in $(seq $clients); do
    client "$i" &
done
printf '   %-38s %10s %8s %8s %8s %11s\n' '' 'members up' made failed lost slowest
begin=$EPOCHREALTIME
phase "all is well" 2
phase "kill -9 east" 2 goes kill_member east
phase "kill -9 west" 2 goes kill_member west
phase "start east" 2 comes start_member east
phase "kill -9 north: only east, just back" 2 goes kill_member north
phase "start west" 2 comes start_member west
phase "start north" 2 comes start_member north
phase "stop east (SIGSTOP): it hangs" 3 goes signal_member STOP east
phase "stop west" 3 goes signal_member STOP west
phase "continue both" 2 comes signal_member CONT east
comes signal_member CONT west
phase "kill -9 all" 2 kill_all
phase "start west" 3 comes start_member west
comes start_member east
phase "start the others" 2 comes start_member north
phase "stop all" 3 stop_all
phase "continue north" 3 comes signal_member CONT north
comes signal_member CONT east
phase "continue the others" 2 comes signal_member CONT west
read -r made failed lost slowest <<<"$(count "$begin")"
printf '   %-38s %10s %8d %8d %8d %9.3f s\n\n' all '' "$made" "$failed" "$lost" "$slowest"
say "Lost is what failed while a member was up; not what failed while none was, or in the 2 s after that."
say "These are left out of \"slowest\", too."
[ "$lost" = 0 ] || explain "$lost handshakes failed while a member was up" "$run/error.log"
[ "$failed" -gt 0 ] || explain "handshakes were made while no member was up: by whom?" "$run/error.log"
[ "$made" -gt 50 ] || explain "only $made handshakes were made" "$run/error.log" "$run/client.1.err"
say "Not one handshake failed while a member was up. The slowest took $slowest s; timeout-ms is $timeout_ms."

[ $once = no ] || exit 0
say ""
say "nginx keeps serving, the clients go on. In another terminal, try"
say "    curl --cacert $run/ca.pem https://127.0.0.1:$port/"
say "Here, type: kill NAME, stop NAME, continue NAME or start NAME (there are $members)."
say "Ctrl-C stops it and removes $run."
trap 'say ""; exit 0' INT TERM
last=$EPOCHREALTIME
terminal=yes
while running; do
    verb='' name=''
    if [ $terminal = yes ]; then
        status=0
        read -r -t 5 verb name || status=$?
        # no more input: a timeout is 128 and more
        [ $status = 0 ] || [ $status -gt 128 ] || terminal=no
    else
        sleep 5
    fi
    case " $members " in *" ${name:-none} "*) ;; *) verb= ;; esac
    case "$verb-${server[${name:-none}]:-down}" in
    -*) ;;
    start-down) start_member "$name" ;;
    kill-[0-9]*) kill_member "$name" ;;
    stop-[0-9]*) signal_member STOP "$name" ;;
    continue-[0-9]*) signal_member CONT "$name" ;;
    *) say "not now: $verb $name" ;;
    esac
    read -r made failed lost slowest <<<"$(count "$last")"
    say "$(date +%T)  $made handshakes, $failed failed, slowest $slowest s"
    last=$EPOCHREALTIME
done
explain "nginx ended by itself" "$run/error.log"
