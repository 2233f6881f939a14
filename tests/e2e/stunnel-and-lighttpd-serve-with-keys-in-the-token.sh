#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# packages: stunnel4 lighttpd lighttpd-mod-openssl
#
# stunnel (as a server, and as a client with a key of its own) and lighttpd. The settings are
# those of examples/stunnel/ and examples/lighttpd/.
. "$(dirname "$0")/lib.sh"
. "$here/programs.inc"

token
count_calls
rsa_and_ec
worker www-data
mkdir html
echo "a page over TLS" >html/index.html

# --- lighttpd -------------------------------------------------------------------------------------

write_lighttpd() {
    cat >lighttpd.conf <<END
server.document-root = "$W/html"
server.bind = "127.0.0.1"
server.port = $port
server.errorlog = "$W/error.log"
${worker:+server.username = \"$worker\"}
index-file.names = ( "index.html" )
END
    sed -e "s|/etc/lighttpd/tls/server|$W/$name|" -e 's|"TLSv1.2" )|"TLSv1.2", "Options" => "-SessionTicket" )|' \
        "$root/examples/lighttpd/lighttpd.conf" >>lighttpd.conf
    : >error.log
    [ -z "$worker" ] || chown "$worker" error.log
}
for name in rsa ec; do
    step "lighttpd with $name"
    serve lighttpd.log write_lighttpd lighttpd -D -f "$W/lighttpd.conf"
    for version in 1.2 1.3; do
        signatures 1 "lighttpd" must_fetch "${name^^}" $version
    done
    stop_server "$server_pid"
    says_not "no error in lighttpd's log" 'SSL:|error' error.log
done

# --- stunnel --------------------------------------------------------------------------------------

page_server() {
    exec python3 -u -m http.server --bind 127.0.0.1 --directory html 0
}
start_server page.log page_server
wait_until 60 "a server of pages without TLS" grep -q 'port [1-9]' page.log
plain_port=$(sed -n 's/.* port \([0-9]*\) .*/\1/p' page.log)
: >error.log

# stunnel becomes another user before it serves.
write_stunnel() {
    sed -e '1s|^|debug = warning\n|' -e "s|/etc/stunnel/server|$W/$name|; s|accept = 443|accept = 127.0.0.1:$port|; s|:80\$|:$plain_port|" \
        -e "s|^setuid.*|${worker:+setuid = $worker}|; s|^setgid.*|${worker:+setgid = $(id -gn "${worker:-root}")}|" \
        "$root/examples/stunnel/stunnel.conf" >stunnel.conf
    printf 'CAfile = %s\nrequireCert = %s\nverifyChain = %s\nsessionResume = no\n' "$W/ca.pem" $require $require >>stunnel.conf
}
require=no
for name in rsa ec; do
    step "stunnel with $name"
    serve stunnel.log write_stunnel stunnel "$W/stunnel.conf"
    for version in 1.2 1.3; do
        signatures 1 "stunnel" must_fetch "${name^^}" $version
    done
    stop_server "$server_pid"
    # It complains of the look whether it listens, which says nothing.
    says_not "no error in stunnel's log" 'LOG[0-2]|hsm:|private key|INTERNAL' stunnel.log
done

step "stunnel as a client with the ec key, of a stunnel with the rsa key that asks for it"
name=rsa require=yes
serve stunnel.log write_stunnel stunnel "$W/stunnel.conf"
first=$server_pid tls_port=$port
write_client() {
    cat >client.conf <<END
foreground = yes
debug = warning
pid =
${worker:+setuid = $worker}
${worker:+setgid = $(id -gn "$worker")}
[client]
client = yes
accept = 127.0.0.1:$port
connect = 127.0.0.1:$tls_port
cert = $W/ec.crt
key = $W/ec.pem
CAfile = $W/ca.pem
verifyChain = yes
checkHost = localhost
sessionResume = no
END
}
serve stunnel-client.log write_client stunnel "$W/client.conf"
before=$(calls C_Sign)
must "a page through both" curl --silent --show-error --fail --max-time 60 "http://127.0.0.1:$port/"
says "the page" "a page over TLS" out
# There may be more of them: the look whether the client listens made it ask the server.
[ $(($(calls C_Sign) - before)) -ge 2 ] || failed "the token signed for both" "got: $(($(calls C_Sign) - before))"
stop_server "$server_pid"
stop_server "$first"
