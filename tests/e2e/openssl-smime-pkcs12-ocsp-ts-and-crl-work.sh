#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The parts of the openssl command that no other test here uses: smime, pkcs12 with a reference in
# it, ocsp, ts, ca -gencrl and crl, verify. By openssl.cnf alone, and by -provider options.
. "$(dirname "$0")/lib.sh"
. "$here/programs.inc"

token
count_calls
rsa_and_ec

for name in rsa ec; do
    signs() {
        must "smime signs with $name" openssl smime -sign -in data -text -signer $name.crt -inkey $name.pem -out $name.smime
    }
    signatures 1 "smime, $name" signs
    must "smime verifies it" plain_openssl smime -verify -in $name.smime -CAfile ca.pem -purpose any -out out.smime
    says "the text" 'some text to sign' out.smime
done
must "smime encrypts for rsa" plain_openssl smime -encrypt -aes256 -in data -out data.p7m rsa.crt
before=$(calls C_Decrypt)
must "smime decrypts with rsa" openssl smime -decrypt -in data.p7m -recip rsa.crt -inkey rsa.pem -out data.back
# One for the message; another makes the secret of implicit rejection, once a process.
same "decryptions by the token" $(($(calls C_Decrypt) - before)) 2
says "the text is back" 'some text to sign' data.back

for name in rsa ec; do
    must "pkcs12 takes the reference of $name" openssl pkcs12 -export -inkey $name.pem -in $name.crt \
        -passout pass:secret -out $name.p12
    must "and gives it back" openssl pkcs12 -in $name.p12 -passin pass:secret -nocerts -noenc -out $name.back.pem
    signs() {
        must "it signs" openssl dgst -sha256 -sign $name.back.pem -out sig data
    }
    signatures 1 "a key that was in a PKCS #12 file" signs
    must "the signature is good" plain_openssl dgst -sha256 -verify $name.pub -signature sig data
    # The file's own cover is as good as any other's, but there is nothing secret in it.
    plain_openssl pkcs12 -in $name.p12 -passin pass:secret -nocerts -noenc -out plain.pem >out 2>&1 || true
    if [ -s plain.pem ] && plain_openssl pkey -in plain.pem -noout >>out 2>&1; then
        failed "openssl without the provider gets no key out of $name.p12"
    fi
done

# --- ocsp, without a server -----------------------------------------------------------------------

printf 'extendedKeyUsage = OCSPSigning\n' >ocsp.ext
must "a responder's certificate" plain_openssl x509 -req -in rsa.csr -CA ca.pem -CAkey ca.key -extfile ocsp.ext -days 2 -out ocsp.crt
serial=$(plain_openssl x509 -in ec.crt -noout -serial | sed 's/.*=//')
printf 'R\t401231235959Z\t260101000000Z\t%s\tunknown\t/CN=localhost\n' "$serial" >index.txt
must "a question" plain_openssl ocsp -issuer ca.pem -cert ec.crt -no_nonce -reqout ask.der
answers() {
    must "ocsp answers with a key in the token" openssl ocsp -index index.txt -CA ca.pem -rsigner ocsp.crt \
        -rkey rsa.pem -reqin ask.der -respout answer.der -ndays 1
}
signatures 1 "ocsp" answers
must "the answer is good" plain_openssl ocsp -issuer ca.pem -cert ec.crt -respin answer.der -CAfile ca.pem -no_nonce
says "and says what is in the index" 'ec.crt: revoked' out
says "and verified" 'Response verify OK' out

# --- ts --------------------------------------------------------------------------------------------

printf 'extendedKeyUsage = critical,timeStamping\n' >ts.ext
for name in rsa ec; do
    must "a time stamper's certificate, $name" plain_openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key \
        -extfile ts.ext -days 2 -out ts-$name.crt
    must "a request for a time stamp" plain_openssl ts -query -data data -sha256 -cert -out ask.tsq
    cat >>"$conf" <<END
[tsa_$name]
serial = $W/tsserial
signer_cert = $W/ts-$name.crt
certs = $W/ca.pem
signer_key = $W/$name.pem
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
ess_cert_id_alg = sha256
END
    stamps() {
        must "ts -reply with $name" openssl ts -reply -config "$conf" -section tsa_$name -queryfile ask.tsq -out stamp.tsr
    }
    echo 01 >tsserial
    signatures 1 "ts" stamps
    must "the time stamp is good" plain_openssl ts -verify -in stamp.tsr -queryfile ask.tsq -CAfile ca.pem
done

# --- ca -gencrl and crl, by -provider options ------------------------------------------------------

for name in rsa ec; do
    must "a self-signed CA, $name" openssl req -x509 -new -key $name.pem -subj "/CN=CA $name" -days 2 -out ca-$name.pem
    : >ca-$name.txt
    echo 01 >crlnumber
    cat >>"$conf" <<END
[ca_$name]
database = $W/ca-$name.txt
crlnumber = $W/crlnumber
default_md = sha256
default_crl_days = 2
END
    gencrl() {
        must "ca -gencrl with $name" openssl ca -config "$conf" -name ca_$name -gencrl -cert ca-$name.pem \
            -keyfile $name.pem -out $name.crl
    }
    signatures 1 "ca -gencrl" gencrl
    must "crl verifies it" plain_openssl crl -in $name.crl -CAfile ca-$name.pem -noout
    says "and says so" 'verify OK' out
done
step "with -provider options, the section of the configuration not activated"
configure activate=
signatures 1 "-provider options" must "dgst -provider hsm -provider default" openssl dgst -provider default \
    -provider hsm -sha256 -sign ec.pem -out sig data
must "the signature is good" plain_openssl dgst -sha256 -verify ec.pub -signature sig data
