#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Python's ssl module as server and as mutual-TLS client, both with keys in the token, in threads.
. "$(dirname "$0")/lib.sh"
. "$here/programs.inc"

token
count_calls
rsa_and_ec

cat >talk.py <<'END'
import socket, ssl, sys, threading
server_name, client_name, version, connections = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])

def context(side, name):
    ctx = ssl.SSLContext(side)
    ctx.minimum_version = ctx.maximum_version = getattr(ssl.TLSVersion, version)
    ctx.load_cert_chain(name + ".crt", name + ".pem")
    ctx.load_verify_locations("ca.pem")
    ctx.verify_mode = ssl.CERT_REQUIRED
    return ctx

server = context(ssl.PROTOCOL_TLS_SERVER, server_name)
server.num_tickets = 0
client = context(ssl.PROTOCOL_TLS_CLIENT, client_name)
listener = socket.create_server(("127.0.0.1", 0), backlog=64)
listener.settimeout(60)
port = listener.getsockname()[1]
good = []

def answer(plain):
    with server.wrap_socket(plain, server_side=True) as s:
        s.sendall(("you are " + s.getpeercert()["serialNumber"]).encode())

def ask():
    with socket.create_connection(("127.0.0.1", port), timeout=60) as plain:
        with client.wrap_socket(plain, server_hostname="localhost") as s:
            good.append(s.recv(1000).decode())

asking = [threading.Thread(target=ask) for _ in range(connections)]
for thread in asking:
    thread.start()
answering = []
for _ in range(connections):
    plain, _ = listener.accept()
    plain.settimeout(60)
    answering.append(threading.Thread(target=answer, args=(plain,)))
    answering[-1].start()
for thread in asking + answering:
    thread.join()
print("\n".join(good))
sys.exit(len(good) != connections)
END
talk() { # SERVER CLIENT VERSION
    local serial
    must "server with $1, client with $2, $3" env OPENSSL_CONF="$conf" timeout "$limit" \
        env ${HSM_PRELOAD:+LD_PRELOAD="$HSM_PRELOAD"} python3 talk.py "$1" "$2" "$3" 4
    serial=$(plain_openssl x509 -in "$2.crt" -noout -serial | sed 's/.*=//')
    same "who the server talked to, each time" "$(grep -c "^you are $serial\$" out)" 4
    says_not "no exception" 'Error|Traceback' out
}
for version in TLSv1_2 TLSv1_3; do
    signatures 8 "4 connections with 2 keys" talk rsa ec $version
    signatures 8 "4 connections with 2 keys" talk ec rsa $version
done
must_fail "without the provider Python refuses the reference" 'ssl.SSLError|SSL.*error' \
    env -u OPENSSL_CONF python3 talk.py rsa ec TLSv1_3 1
