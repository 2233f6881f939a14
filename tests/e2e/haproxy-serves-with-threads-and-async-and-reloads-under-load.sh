#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# packages: haproxy
#
# HAProxy: certificate and key reference in one file, in both orders; one thread and four, with and
# without ssl-mode-async; one C_Sign per handshake; reloads under load. The configuration is the
# one in examples/haproxy/.
. "$(dirname "$0")/lib.sh"
. "$here/programs.inc"

token
if grep -q jemalloc <<<"$(ldd "$(command -v haproxy)")"; then
    # pkcs11-spy of OpenSC 0.27 and later has its module use libc's free() for what jemalloc gave:
    # the provider's own audit counts.
    install -m 666 /dev/null audit.log
    configure log="file:$W/audit.log" audit=yes
    calls() {
        grep -c 'event=operation token=hsm class=sign .*outcome=done$' audit.log || true
    }
else
    count_calls
fi
rsa_and_ec
worker haproxy www-data
echo "a page over TLS" >page

write_conf() {
    : >error.log
    # The application behind it is HAProxy itself here: a page.
    sed -e "s|:443|127.0.0.1:$port|; s|/etc/haproxy/tls|$W|; s|nbthread .*|nbthread $threads|" \
        -e "s|^    user .*|${worker:+    user $worker}|" \
        -e "s|^    group .*|${worker:+    group $(id -gn "${worker:-root}")}|" \
        -e "s|^    server .*|    http-request return status 200 content-type text/plain file $W/page|" \
        -e "s|^    ssl-mode-async|$async|; s|^    insecure-fork-wanted|$new_threads|" "$root/examples/haproxy/haproxy.cfg" >haproxy.cfg
}

# HAProxy 2.6 takes its RSA certificate only for clients that know rsa_pkcs1, with TLS 1.3 as well.
pkcs1_too='rsa_pss_rsae_sha256:rsa_pkcs1_sha256'
four_pages() {
    must_fetch RSA 1.2
    must_fetch RSA 1.3 -sigalgs $pkcs1_too
    must_fetch EC 1.2
    must_fetch EC 1.3
}

# A new worker, and none of the old ones: since HAProxy 3.1 a worker loads its configuration after
# it was forked, and one that is asked for its sockets before it serves does not give them.
renewed() {
    [ -n "$(comm -13 <(printf '%s\n' "$old") <(children "$server_pid"))" ] &&
        [ -z "$(comm -12 <(printf '%s\n' "$old") <(children "$server_pid"))" ]
}

# All connections at once, each with a signature of its own.
at_once() {
    local i clients=
    rm -f once.failed
    for i in $(seq 16); do
        curl --silent --show-error --fail --max-time 60 --cacert ca.pem -o /dev/null "https://127.0.0.1:$port/" \
            2>"once.$i" || cat "once.$i" >>once.failed &
        clients="$clients $!"
    done
    # shellcheck disable=SC2086
    wait $clients
    [ ! -e once.failed ] || failed "16 connections at once" "got: $(cat once.failed)"
}

# most_threads: of HAProxy's workers.
most_threads() {
    local pid most=0 n
    for pid in $(children "$server_pid"); do
        n=$(find "/proc/$pid/task" -mindepth 1 -maxdepth 1 | wc -l)
        [ "$n" -le $most ] || most=$n
    done
    echo $most
}

# alone: ssl-mode-async, but HAProxy forbids itself the threads of the provider. It works, and gains
# nothing.
for way in "1 certificate-first no" "4 key-first no" "1 certificate-first alone" "4 certificate-first yes" "1 key-first yes"; do
    read -r threads order with_async <<<"$way"
    async=
    [ "$with_async" = no ] || async='    ssl-mode-async'
    new_threads=
    [ "$with_async" != yes ] || new_threads='    insecure-fork-wanted'
    step "HAProxy, $threads thread(s), $order, async: $with_async"
    if [ "$order" = key-first ]; then
        cat rsa.pem rsa.crt >site.pem.rsa
        cat ec.pem ec.crt >site.pem.ecdsa
    else
        cat rsa.crt rsa.pem >site.pem.rsa
        cat ec.crt ec.pem >site.pem.ecdsa
    fi
    serve haproxy.log write_conf haproxy -W -db -f "$W/haproxy.cfg"
    signatures 4 "4 handshakes, $way" four_pages
    signatures 16 "16 handshakes at once, $way" at_once
    if [ "$threads" = 1 ] && [ "$with_async" != alone ]; then
        # In an ASYNC_JOB the token's work is on threads of ours, and HAProxy's one goes on.
        some=no
        [ "$(most_threads)" = 1 ] || some=yes
        same "$way: threads beside HAProxy's own" $some "$with_async"
    fi
    load_start 2
    for i in 1 2 3; do
        old=$(children "$server_pid")
        kill -USR2 "$server_pid"
        wait_until 60 "$way: reload $i gives a new worker" renewed
        must_fetch RSA 1.3 -sigalgs $pkcs1_too
        must_fetch EC 1.2
        load_no_failure "$way: reload $i"
    done
    load_stop "$way: reloads" 10
    signatures 4 "4 handshakes after them, $way" four_pages
    stop_server "$server_pid"
    # 143 is the SIGTERM just sent; 134, 139 and the like are crashes.
    says_not "$way: no crash in HAProxy's log" 'exited with code 13[0-9]|\[EMERG' haproxy.log
done
