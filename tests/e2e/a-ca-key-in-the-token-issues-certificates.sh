#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# x509 -req and openssl ca sign with a CA key in the token; so do CRLs.
. "$(dirname "$0")/lib.sh"

token
key ca rsa:2048
key ecca ec:P-384
plain_openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout leaf.key \
    -subj /CN=leaf -out leaf.csr >out 2>&1 || failed "a leaf's CSR in software"

for name in ca ecca; do
    must "a root certificate with $name" openssl req -x509 -key $name.pem -subj "/CN=$name" -days 9 \
        -addext basicConstraints=critical,CA:true -out $name.crt
    must "x509 -req with $name" openssl x509 -req -in leaf.csr -CA $name.crt -CAkey $name.pem \
        -set_serial 7 -days 2 -out leaf.crt
    must "  verifies" plain_openssl verify -CAfile $name.crt leaf.crt

    mkdir -p db/$name
    : >db/$name/index
    echo 1000 >db/$name/serial
    echo 01 >db/$name/crlnumber
    cat >>$conf <<END
[$name]
database = $W/db/$name/index
new_certs_dir = $W/db/$name
serial = $W/db/$name/serial
crlnumber = $W/db/$name/crlnumber
certificate = $W/$name.crt
private_key = $W/$name.pem
default_md = sha384
default_days = 2
default_crl_days = 2
policy = any
END
done
printf '[any]\ncommonName = supplied\n' >>$conf
for name in ca ecca; do
    must "ca with $name" openssl ca -batch -config $conf -name $name -in leaf.csr -out leaf.crt
    must "  verifies" plain_openssl verify -CAfile $name.crt leaf.crt
    must "ca -revoke" openssl ca -config $conf -name $name -revoke leaf.crt
    must "ca -gencrl" openssl ca -config $conf -name $name -gencrl -out crl.pem
    must "  the list verifies" plain_openssl crl -in crl.pem -CAfile $name.crt -noout
    must_fail "  and has the certificate" 'revoked' plain_openssl verify -crl_check -CRLfile crl.pem \
        -CAfile $name.crt leaf.crt
done
