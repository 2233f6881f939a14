#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tokens: softhsm
#
# No program without the provider takes a reference for a key, or signs with one.
. "$(dirname "$0")/lib.sh"

token
rsa_and_ec

cat >load.py <<'END'
import ssl, sys
ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(sys.argv[1] + ".crt", sys.argv[1] + ".pem")
END
cat >cryptography.load.py <<'END'
import sys
from cryptography.hazmat.primitives.serialization import load_pem_private_key
load_pem_private_key(open(sys.argv[1] + ".pem", "rb").read(), None)
END
python=/usr/bin/python3 # Debian's, which has Debian's python3-cryptography

plain_openssl req -x509 -newkey rsa:2048 -noenc -keyout server.key -out server.crt -days 2 \
    -subj /CN=localhost >out 2>&1 || failed "a server's certificate in software"
printf '' >none.cnf
server_conf=none.cnf s_server -cert server.crt -key server.key # for curl to talk to

for name in rsa ec; do
    must_fail "openssl pkey, $name" 'could not|unable' plain_openssl pkey -in $name.pem -noout
    must_fail "openssl dgst, $name" 'could not|unable' plain_openssl dgst -sha256 -sign $name.pem -out sig data
    must_fail "openssl $name" 'could not|unable' plain_openssl $name -in $name.pem -noout
    must_fail "openssl pkcs8, $name" . plain_openssl pkcs8 -in $name.pem -topk8 -nocrypt -out x
    must_fail "openssl s_server, $name" 'could not|unable' timeout 20 openssl s_server -accept 127.0.0.1:0 \
        -cert $name.crt -key $name.pem
    [ ! -s sig ] || failed "nothing was signed"
    must_fail "certtool (GnuTLS), $name" 'error|unknown|unsupported|failed' certtool --load-privkey $name.pem --key-info
    must_fail "curl, $name" 'key' curl --silent --show-error --cert $name.crt --key $name.pem \
        --insecure "https://127.0.0.1:$port/"
    must_fail "Python's ssl, $name" 'SSLError|ssl\.' $python load.py $name
    must_fail "Python's cryptography, $name" 'ValueError|Unsupported' $python cryptography.load.py $name
    cat >refuse.conf <<END
pid $W/nginx.pid;
events { }
http {
    access_log off;
    client_body_temp_path $W/body;
    proxy_temp_path $W/proxy;
    fastcgi_temp_path $W/fastcgi;
    uwsgi_temp_path $W/uwsgi;
    scgi_temp_path $W/scgi;
    server { listen 127.0.0.1:1 ssl; ssl_certificate $W/$name.crt; ssl_certificate_key $W/$name.pem; }
}
END
    must_fail "nginx, $name" 'cannot load certificate key' nginx -t -e "$W/error.log" -p "$W" -c "$W/refuse.conf"
done

step "the file holds nothing but the public half, the id and the URI"
plain_openssl pkey -pubin -in rsa.pub -outform DER -out pub.der
plain_openssl pkey -pubin -in ec.pub -outform DER -out ecpub.der
for pair in rsa:pub.der ec:ecpub.der; do
    plain_openssl asn1parse -in ${pair%%:*}.pem -noout -out ref.der
    size=$(($(stat -c %s ref.der) - $(stat -c %s ${pair#*:})))
    # What is left over is the OID, the URI and the id: an RSA-2048 private exponent is 256 bytes.
    [ $size -lt 200 ] || failed "the reference has no room for a private key" "got: $size bytes besides the public half"
done
