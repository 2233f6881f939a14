#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# stunnel (in front of lighttpd, and as a client with a key of its own) and lighttpd.
. "$(dirname "$0")/lib.sh"
. "$here/programs.inc"

token
count_calls
software_ca
key rsa rsa:2048
key ec ec:P-256
certificate rsa
certificate ec
many_processes
worker www-data
mkdir html
echo "a page over TLS" >html/index.html

# --- lighttpd -------------------------------------------------------------------------------------

write_lighttpd() {
    cat >lighttpd.conf <<END
server.modules = ( "mod_openssl" )
server.document-root = "$W/html"
server.bind = "127.0.0.1"
server.port = $port
server.errorlog = "$W/error.log"
${worker:+server.username = \"$worker\"}
index-file.names = ( "index.html" )
ssl.engine = "enable"
ssl.pemfile = "$W/$name.crt"
ssl.privkey = "$W/$name.pem"
ssl.openssl.ssl-conf-cmd = ( "MinProtocol" => "TLSv1.2", "Options" => "-SessionTicket" )
END
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
    cat >stunnel.conf <<END
foreground = yes
debug = warning
pid =
${worker:+setuid = $worker}
${worker:+setgid = $(id -gn "$worker")}
[server]
accept = 127.0.0.1:$port
connect = 127.0.0.1:$plain_port
cert = $W/$name.crt
key = $W/$name.pem
CAfile = $W/ca.pem
verifyPeer = no
requireCert = $require
verifyChain = $require
sslVersionMin = TLSv1.2
sessionResume = no
END
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
    says_not "no error in stunnel's log" 'LOG[0-2]|hsm|private key|INTERNAL' stunnel.log
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
