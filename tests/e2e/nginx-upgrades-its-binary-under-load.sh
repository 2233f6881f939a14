#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# USR2 starts a second master with workers of its own, QUIT ends the first; reloads before and after;
# not one handshake fails.
. "$(dirname "$0")/lib.sh"
. "$here/programs.inc"

token
count_calls
rsa_and_ec
worker www-data
nginx_user=$worker
mkdir html tmp
echo "a page over TLS" >html/index.html
[ -z "$worker" ] || chown "$worker" tmp

# nginx changes its binary only if it has become a daemon, and was started by its full path.
nginx=$(command -v nginx)
started=no
for port in $(shuf -i 20000-32000 -n 20); do
    ! listening "$port" || continue
    nginx_conf rsa ec | sed 's/^daemon off/daemon on/' >nginx.conf
    : >error.log
    if OPENSSL_CONF=$conf preloaded "$nginx" -e "$W/error.log" -p "$W" -c "$W/nginx.conf" >nginx.log 2>&1 </dev/null; then
        started=yes
        break
    fi
    grep -q 'Address already in use' error.log || break
done
[ $started = yes ] || { show error.log; failed "nginx starts"; }
# nginx renames the file before the next master writes its own.
has_pid() {
    seen=$(cat nginx.pid 2>/dev/null) && [ -n "$seen" ] && [ "$seen" != "${1:-}" ]
}
wait_until 60 "nginx writes its pid" has_pid
master=$seen
pids="$pids $master"

handshakes() {
    must_fetch RSA 1.2
    must_fetch RSA 1.3
    must_fetch EC 1.3
}
reload() { # PID
    local old
    old=$(children "$1")
    kill -HUP "$1"
    renewed() {
        [ -n "$(comm -13 <(printf '%s\n' "$old") <(children "$1"))" ]
    }
    wait_until 60 "a reload gives new workers" renewed "$1"
}

wait_until 60 "nginx listens" listening "$port"
signatures 3 "3 handshakes" handshakes
load_start 2
for round in 1 2 3; do
    reload "$master"
    must_fetch RSA 1.3
    step "upgrade $round"
    kill -USR2 "$master"
    wait_until 60 "upgrade $round: a new master" has_pid "$master"
    next=$seen
    pids="$pids $next"
    workers_of_next() {
        [ -n "$(children "$next")" ]
    }
    wait_until 60 "upgrade $round: the new master has workers" workers_of_next
    must_fetch EC 1.3
    kill -QUIT "$master"
    wait_until 120 "upgrade $round: the old master ends" gone "$master"
    pids=${pids/ $master/}
    master=$next
    must_fetch RSA 1.2
    must_fetch EC 1.2
    load_no_failure "upgrade $round"
done
load_stop "upgrades" 10
signatures 3 "3 handshakes after the upgrades" handshakes
says_not "nginx's log has no errors" '\[(emerg|alert|crit|error)\]|exited on signal' error.log
kill "$master"
wait_until 60 "nginx ends" gone "$master"
pids=${pids/ $master/}
says_not "nor when it ends" '\[(emerg|alert|crit|error)\]|exited on signal' error.log
