#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# packages: postgresql
# not with sanitizers: under a preloaded AddressSanitizer libgnutls keeps a lock of glibc, and programs hang without us, too
#
# PostgreSQL: the server's key by reference, with a reload, and libpq's client key by reference. The
# settings are those of examples/postgresql/.
. "$(dirname "$0")/lib.sh"
. "$here/programs.inc"

token
count_calls
rsa_and_ec
# All of it runs as the database's user, who has to read the PIN as well: nothing here starts as root.
worker postgres
mkdir pg
chmod 700 pg
chmod 600 rsa.pem ec.pem
[ -z "$worker" ] || chown "$worker" pg pin rsa.pem ec.pem .

bin=$(dirname "$(find_file "/usr/lib/postgresql/*/bin/postgres" /usr/bin/postgres)")
must "initdb" as_worker "$bin/initdb" -D "$W/pg" -A trust -U tester --no-sync
write_conf() {
    {
        cat <<END
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = ''
fsync = off
END
        sed "s|/etc/postgresql/tls/server|$W/$server|; s|/etc/postgresql/tls|$W|" "$root/examples/postgresql/postgresql.conf"
    } | as_worker tee pg/postgresql.conf >/dev/null
    echo 'hostssl all all 127.0.0.1/32 trust clientcert=verify-ca' | as_worker tee pg/pg_hba.conf >/dev/null
}
query() { # CLIENT TLS-VERSION
    must "a query over $2, server with $server, client with $1" env OPENSSL_CONF="$conf" timeout "$limit" \
        env ${HSM_PRELOAD:+LD_PRELOAD="$HSM_PRELOAD"} "$(command -v setpriv)" ${worker:+--reuid="$worker" --clear-groups} \
        "$bin/psql" -X -A -t -c 'SELECT version, client_serial FROM pg_stat_ssl WHERE pid = pg_backend_pid()' \
        "host=localhost hostaddr=127.0.0.1 port=$port user=tester dbname=postgres sslmode=verify-full sslrootcert=$W/ca.pem \
         sslcert=$W/$1.crt sslkey=$W/$1.pem ssl_min_protocol_version=$2 ssl_max_protocol_version=$2"
    says "what was used" "^$2\\|[0-9]+\$" out
}
four_queries() {
    query rsa TLSv1.2
    query rsa TLSv1.3
    query ec TLSv1.2
    query ec TLSv1.3
}
server=rsa
as=
[ -z "$worker" ] || as="setpriv --reuid=$worker --regid=$(id -g "$worker") --clear-groups"
# shellcheck disable=SC2086
serve pg.log write_conf $as "$bin/postgres" -D "$W/pg"
wait_until 60 "the database is ready" grep -q 'ready to accept connections' pg.log
signatures 8 "4 connections, 2 signatures each" four_queries

step "the server's other key, after a reload"
server=ec
write_conf
kill -HUP "$server_pid"
wait_until 60 "the reload is done" grep -q 'parameter "ssl_key_file" changed' pg.log
wait_until 60 "the new certificate is served" as_worker timeout 20 sh -c \
    "env -u OPENSSL_CONF openssl s_client -starttls postgres -connect 127.0.0.1:$port -CAfile $W/ca.pem </dev/null 2>/dev/null | grep -q 'Server public key is 256'"
signatures 8 "4 connections, 2 signatures each" four_queries
stop_server "$server_pid"
says_not "no crash in the database's log" 'signal (6|11)|could not load private key' pg.log
