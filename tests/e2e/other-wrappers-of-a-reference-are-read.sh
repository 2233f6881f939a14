#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The bare wrapper, and the URI PEM that people have from elsewhere, are read and never written.
. "$(dirname "$0")/lib.sh"

token
key rsa rsa:2048
key ec ec:P-256

for name in rsa ec; do
    # PKCS#8: version, algorithm, OCTET STRING; the bare reference is what is in the latter.
    plain_openssl asn1parse -in $name.pem >structure
    offset=$(awk -F: '/OCTET STRING/ { print $1 + 0; exit }' structure)
    plain_openssl asn1parse -in $name.pem -strparse "$offset" -noout -out bare.der
    { echo "-----BEGIN HSM KEY REFERENCE-----"; base64 -w 64 bare.der; echo "-----END HSM KEY REFERENCE-----"; } >bare.pem
    must "the bare wrapper of $name" openssl pkey -in bare.pem -pubout -out got.pub
    same_files "  is the same key" got.pub $name.pub
    must "  and signs" openssl dgst -sha256 -sign bare.pem -out sig data
    must "  verifiably" plain_openssl dgst -sha256 -verify $name.pub -signature sig data

    cat >foreign.txt <<END
asn1 = SEQUENCE:foreign
[foreign]
what = VISIBLESTRING:PKCS#11 Provider URI v1.0
uri = UTF8String:pkcs11:object=$name;type=private
END
    sed -i 's/PKCS#11 Provider/PKCS\\#11 Provider/; s/;type/\\;type/' foreign.txt
    plain_openssl asn1parse -genconf foreign.txt -noout -out foreign.der
    { echo "-----BEGIN PKCS#11 PROVIDER URI-----"; base64 -w 64 foreign.der; echo "-----END PKCS#11 PROVIDER URI-----"; } >foreign.pem
    must "the foreign URI PEM of $name" openssl pkey -in foreign.pem -pubout -out got.pub
    same_files "  is the same key" got.pub $name.pub
    must "  and signs" openssl dgst -sha256 -sign foreign.pem -out sig data
    must "  verifiably" plain_openssl dgst -sha256 -verify $name.pub -signature sig data
    must "written again it is an ordinary reference" openssl pkey -in foreign.pem -out new.pem
    same "its first line" "$(head -n 1 new.pem)" "-----BEGIN PRIVATE KEY-----"
    must "which works" openssl pkey -in new.pem -pubout -out got.pub
    same_files "  and is the same key" got.pub $name.pub
done

# in_foreign URI: such a PEM with any URI at all.
in_foreign() {
    printf '%s' "$1" >uri
    /usr/bin/python3 - >foreign.der.tmp <<'END'
import sys
uri = open("uri", "rb").read()
what = b"PKCS#11 Provider URI v1.0"
def tlv(tag, body):
    n = len(body)
    length = bytes([n]) if n < 128 else b"\x82" + n.to_bytes(2, "big")
    return bytes([tag]) + length + body
sys.stdout.buffer.write(tlv(0x30, tlv(0x1A, what) + tlv(0x0C, uri)))
END
    { echo "-----BEGIN PKCS#11 PROVIDER URI-----"; base64 -w 64 foreign.der.tmp; echo "-----END PKCS#11 PROVIDER URI-----"; } >foreign.pem
}
in_foreign "pkcs11:object=rsa;type=private"
must "the PEM made this way works" openssl pkey -in foreign.pem -noout
for part in "?pin-value=$pin" "?pin-source=file:$W/pin" "?pin-source=|cat%20$W/pin" "?module-path=$module" \
    "?module-name=softhsm2" ";slot-id=0" ";slot-description=x" ";colour=red"; do
    in_foreign "pkcs11:object=rsa;type=private$part"
    attribute=$(printf '%s' "$part" | sed 's/^[?;]//; s/=.*//')
    refuses "a reference with $attribute is refused" "$attribute" foreign.pem
    says_not "  and no PIN is printed" "$pin" out
done
