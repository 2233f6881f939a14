#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# ssl_stapling on: nginx asks an OCSP responder, whose key is in the token as well, and shows the
# answer to its clients.
. "$(dirname "$0")/lib.sh"
. "$here/programs.inc"

token
count_calls
software_ca
key rsa rsa:2048
key ec ec:P-256
key ocsp rsa:2048
certificate rsa
certificate ec
must "a request for the responder" openssl req -new -key ocsp.pem -subj /CN=responder -out ocsp.csr
printf 'extendedKeyUsage = OCSPSigning\n' >ocsp.ext
must "the responder's certificate" plain_openssl x509 -req -in ocsp.csr -CA ca.pem -CAkey ca.key \
    -extfile ocsp.ext -days 2 -out ocsp.crt
for name in rsa ec; do # what the CA has issued, as `openssl ocsp` wants it
    serial=$(plain_openssl x509 -in $name.crt -noout -serial | sed 's/.*=//')
    printf 'V\t401231235959Z\t\t%s\tunknown\t/CN=localhost\n' "$serial" >>index.txt
done

printf 'unique_subject = no\n' >index.txt.attr

# `openssl ocsp -port` listens on all addresses of the machine: so a server on loopback that asks it.
cat >responder.py <<'END'
import base64, http.server, subprocess, urllib.parse
class Responder(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        open("ask.der", "wb").write(base64.b64decode(urllib.parse.unquote(self.path[1:])))
        subprocess.run(["openssl", "ocsp", "-index", "index.txt", "-CA", "ca.pem", "-rsigner", "ocsp.crt",
                        "-rkey", "ocsp.pem", "-ndays", "1", "-reqin", "ask.der", "-respout", "answer.der"], check=True)
        answer = open("answer.der", "rb").read()
        self.send_response(200)
        self.send_header("Content-Type", "application/ocsp-response")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
server = http.server.HTTPServer(("127.0.0.1", 0), Responder)
print("port", server.server_port, flush=True)
server.serve_forever()
END
responder_run() {
    OPENSSL_CONF=$conf exec env ${HSM_PRELOAD:+LD_PRELOAD="$HSM_PRELOAD"} python3 responder.py
}
start_server responder.log responder_run
wait_until 60 "the responder listens" grep -aq '^port ' responder.log
responder_port=$(sed -n 's/^port //p' responder.log)
responder=$server_pid

eval "plain_$(declare -f nginx_conf)"
nginx_conf() {
    plain_nginx_conf "$@" | sed "s|^        root |        ssl_stapling on;\n        ssl_stapling_verify on;\n\
        ssl_stapling_responder http://127.0.0.1:$responder_port/;\n        ssl_trusted_certificate $W/ca.pem;\n&|"
}
signed=$(calls C_Sign)
nginx_start rsa ec
says "nginx's configuration has stapling" 'ssl_stapling on' nginx.conf

handshakes=0
stapled() { # KIND VERSION
    handshakes=$((handshakes + 1))
    fetch "$@" -status && grep -aq 'OCSP Response Status: successful' client.log &&
        grep -aq 'Cert Status: good' client.log
}
for kind in RSA EC; do
    # Each worker asks at its first handshake and has the answer for later ones.
    wait_until 90 "a stapled answer, $kind" stapled $kind 1.3
    step "a stapled answer for the $kind certificate"
    says "it is the responder's" 'Responder Id: CN = responder' client.log
done
stop_server "$server_pid"
says_not "nginx's log has no errors" '\[(emerg|alert|crit|error)\]|exited on signal' error.log
answers=$(grep -ac 'HTTP/1.0" 200' responder.log)
[ "$answers" -ge 2 ] || { show responder.log; failed "nginx asked for the state of both certificates"; }
same "signatures by the token, for answers and handshakes" "$(calls C_Sign)" $((signed + answers + handshakes))
stop_server "$responder"
says_not "no error of the responder" 'error|traceback' responder.log
