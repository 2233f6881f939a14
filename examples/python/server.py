#!/usr/bin/env python3
"""server.py CERTIFICATE KEY CA PORT: an HTTPS server that asks for a client certificate.

KEY is a key reference. Nothing of it is special: the provider is configured in OPENSSL_CONF.
"""
import http.server
import ssl
import sys

certificate, key, ca, port = sys.argv[1:5]


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = ("you are " + self.connection.getpeercert()["serialNumber"] + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.minimum_version = ssl.TLSVersion.TLSv1_2
context.load_cert_chain(certificate, key)
context.load_verify_locations(ca)
context.verify_mode = ssl.CERT_REQUIRED
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Page)
# handshakes belong to the threads, not to the loop that accepts
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
