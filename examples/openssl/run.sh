#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh FOLDER: a certification authority with its key in the HSM, made and used with the openssl
# command in a new folder. OPENSSL_CONF has to name the provider's configuration.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
: "${OPENSSL_CONF:?has to name a configuration that includes hsm.cnf}"
mkdir "$1"
cd "$1"
mkdir issued
touch index.txt
openssl rand -hex 16 >serial
cp "$here/ca.cnf" .

# The CA's key is made in the HSM; ca.pem is a reference to it.
openssl genpkey -propquery provider=hsm -algorithm EC -pkeyopt ec_paramgen_curve:P-256 \
    -pkeyopt "hsm-label:${CA_LABEL:-example-ca}" -out ca.pem
openssl req -new -x509 -key ca.pem -subj "/CN=Example CA in an HSM" -days 365 -out ca.crt \
    -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign"

# Somebody else's request, with a key in software, and its certificate.
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out www.key
openssl req -new -key www.key -subj "/CN=www.example.org" -addext "subjectAltName=DNS:www.example.org" -out www.csr
openssl ca -config ca.cnf -batch -notext -in www.csr -out www.crt
openssl verify -CAfile ca.crt www.crt

# Taken back, and said so to everybody.
openssl ca -config ca.cnf -revoke www.crt
openssl ca -config ca.cnf -gencrl -out ca.crl
openssl crl -in ca.crl -CAfile ca.crt -noout

# Signed text, by the CA itself.
echo "These are our certificates." >statement
openssl cms -sign -in statement -text -signer ca.crt -inkey ca.pem -out statement.eml
openssl cms -verify -in statement.eml -CAfile ca.crt -purpose any -out statement.read
