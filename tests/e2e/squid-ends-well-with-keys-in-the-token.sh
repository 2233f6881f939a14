#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# packages: squid-openssl
# tokens: softhsm softhsm-remote
#
# Squid keeps its keys in static objects of C++, which are freed after libcrypto has cleaned up: the
# server, and each command that is sent to it, ends as it should.
. "$(dirname "$0")/lib.sh"
. "$here/programs.inc"

token
rsa_and_ec
worker proxy squid
# Squid frees the addresses that getaddrinfo() gave by an operator delete of another size.
export ASAN_OPTIONS="$ASAN_OPTIONS:new_delete_type_mismatch=0:alloc_dealloc_mismatch=0"
mkdir -m 1777 run
service=hsm$$ # another Squid on this machine has shared memory of its own

write_squid() {
    cat >squid.conf <<END
https_port 127.0.0.1:$port accel defaultsite=localhost tls-cert=$W/$name.crt tls-key=$W/$name.pem
http_access allow all
pid_filename $W/run/squid.pid
cache_log $W/run/cache.log
access_log none
coredump_dir none
visible_hostname localhost
pinger_enable off
shutdown_lifetime 0 seconds
${worker:+cache_effective_user $worker}
END
}

# squid_ends STATUS ARGUMENT...
squid_ends() {
    local status=0
    step "squid ${*:2}"
    OPENSSL_CONF=$conf preloaded squid -n "$service" -f "$W/squid.conf" "${@:2}" >command.log 2>&1 || status=$?
    same "exit status of squid ${*:2}" "$status" "$1"
    says_not "squid ${*:2}" 'Segment|FATAL' command.log
}

# Any answer will do: it comes over TLS.
answers() {
    curl -sk -o page "https://127.0.0.1:$port/" && grep -q Squid page
}

for name in ec rsa; do
    serve squid.log write_squid squid -n "$service" -N -f "$W/squid.conf"
    wait_until 60 "squid answers, with $name" answers
    squid_ends 0 -k parse
    squid_ends 0 -k check
    squid_ends 0 -k rotate
    squid_ends 0 -k reconfigure
    wait_until 60 "squid answers again" answers
    squid_ends 0 -k shutdown
    status=0
    wait "$server_pid" || status=$?
    pids=${pids/ $server_pid/}
    same "exit status of the server" "$status" 0
    says_not "no crash in squid's log" 'Segment|FATAL|dying' run/cache.log
done
