#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# openssl cms and smime sign with references, and decrypt with one.
. "$(dirname "$0")/lib.sh"

token
rsa_and_ec
printf 'dear reader,\r\nthis is a mail\r\n' >mail

for name in rsa ec; do
    must "cms -sign with $name" openssl cms -sign -binary -in mail -signer $name.crt -inkey $name.pem \
        -outform PEM -nodetach -out signed
    must "  verifies" plain_openssl cms -verify -binary -inform PEM -in signed -CAfile ca.pem -purpose any -out got
    same_files "  with the text" got mail
done
must "cms -sign with PSS" openssl cms -sign -binary -in mail -signer rsa.crt -inkey rsa.pem \
    -keyopt rsa_padding_mode:pss -outform PEM -nodetach -out signed
must "  verifies" plain_openssl cms -verify -binary -inform PEM -in signed -CAfile ca.pem -purpose any -out got
must "smime -sign" openssl smime -sign -binary -in mail -signer rsa.crt -inkey rsa.pem -outform PEM \
    -nodetach -out signed
must "  verifies" plain_openssl smime -verify -binary -inform PEM -in signed -CAfile ca.pem -purpose any -out got

must "encrypted in software with PKCS#1 v1.5" plain_openssl cms -encrypt -binary -aes256 -in mail \
    -outform PEM -out encrypted rsa.crt
must "cms -decrypt" openssl cms -decrypt -binary -inform PEM -in encrypted -recip rsa.crt -inkey rsa.pem -out got
same_files "  gives the text" got mail
must "cms -decrypt without a certificate" openssl cms -decrypt -binary -inform PEM -in encrypted -inkey rsa.pem -out got
same_files "  gives the text" got mail
must "encrypted in software with OAEP" plain_openssl cms -encrypt -binary -aes256 -in mail -outform PEM \
    -out encrypted -recip rsa.crt -keyopt rsa_padding_mode:oaep -keyopt rsa_oaep_md:sha256
must "cms -decrypt" openssl cms -decrypt -binary -inform PEM -in encrypted -recip rsa.crt -inkey rsa.pem -out got
same_files "  gives the text" got mail
must "smime -encrypt in software" plain_openssl smime -encrypt -binary -aes256 -in mail -outform PEM -out encrypted rsa.crt
must "smime -decrypt" openssl smime -decrypt -binary -inform PEM -in encrypted -recip rsa.crt -inkey rsa.pem -out got
same_files "  gives the text" got mail
