#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tokens: softhsm nss
#
# A real modulus, a handle between filler words in the private exponent, zeros: software takes it
# for a key. The engine does not, and names the command that makes a reference of it.
. "$(dirname "$0")/lib.sh"
. "$here/engine.inc"

token
key rsa rsa:2048
key other rsa:2048
key ec ec:P-256

# fake MODULUS FILE [pkcs8]: as vendors write it
fake() {
    python3 - "$@" <<'END'
import base64, sys

def tlv(tag, body):
    n = len(body)
    size = bytes([n]) if n < 128 else bytes([0x80 | (n.bit_length() + 7) // 8]) + n.to_bytes((n.bit_length() + 7) // 8, "big")
    return bytes([tag]) + size + body

def integer(x):
    return tlv(2, x.to_bytes(x.bit_length() // 8 + 1, "big"))

n = int(sys.argv[1], 16)
handle = (1234567).to_bytes(8, "little")
d = int.from_bytes(b"\x5a\x11\xed\x00" * 28 + handle + b"\x5a\x11\xed\x00" * 28, "big")
der = tlv(0x30, b"".join(integer(x) for x in (0, n, 65537, d, 0, 0, 0, 0, 0)))
name = "RSA PRIVATE KEY"
if sys.argv[3:] == ["pkcs8"]:
    rsa = bytes.fromhex("300d06092a864886f70d0101010500")
    der, name = tlv(0x30, integer(0) + rsa + tlv(4, der)), "PRIVATE KEY"
text = base64.encodebytes(der).decode().replace("\n", "")
lines = "\n".join(text[i:i + 64] for i in range(0, len(text), 64))
open(sys.argv[2], "w").write(f"-----BEGIN {name}-----\n{lines}\n-----END {name}-----\n")
END
}
modulus() {
    plain_openssl rsa -pubin -in "$1" -noout -modulus | sed 's/^Modulus=//'
}
fake "$(modulus rsa.pub)" old.pem
fake "$(modulus rsa.pub)" old8.pem pkcs8
for file in old.pem old8.pem; do
    must_fail "hsmkey check knows it" "^FAILED +file +$file: a vendor's fake PEM.*hsmkey reference --from-fake $file -o NEW.pem" \
        hsmkey check $file
done
cat old.pem rsa.pem >both-kinds.pem
must_fail "  also before a reference" '^FAILED +file +both-kinds.pem: holds, too, a vendor.s fake PEM' hsmkey check both-kinds.pem
must "software takes a fake for a key: that is the danger" plain_openssl pkey -in old.pem -pubout -out old.pub
same_files "with the right public half" old.pub rsa.pub

export OPENSSL_ENGINES=${engine%/*}
for file in old.pem old8.pem; do
    must_fail "the engine refuses $file and says what to do" \
        "$file: a fake PEM.*hsmkey reference --from-fake $file -o NEW.pem" \
        openssl dgst -engine hsm -keyform ENGINE -sha256 -sign $file -out sig data
    [ ! -s sig ] || failed "nothing is signed"
    must "that command" hsmkey reference --from-fake $file -o "new-$file"
    says "names the key" "object=rsa" out
    must "the reference loads" openssl pkey -in "new-$file" -pubout -out new.pub
    same_files "and has the right public half" new.pub rsa.pub
    must "the engine signs with it" openssl dgst -engine hsm -keyform ENGINE -sha256 -sign "new-$file" -out sig data
    must "  and the signature verifies" plain_openssl dgst -sha256 -verify rsa.pub -signature sig data
    rm sig
    same "the reference is private" "$(stat -c %a "new-$file")" 600
done
must "without the engine too" openssl dgst -sha256 -sign new-old.pem -out sig data

must_fail "an existing file is left alone" 'exists already' hsmkey reference --from-fake old.pem -o new-old.pem
must_fail "a URI and a fake" 'takes one URI, or --from-fake' hsmkey reference --from-fake old.pem pkcs11:object=rsa -o x.pem
must "a key in software" plain_openssl genrsa -traditional -out soft.pem 2048
must_fail "is no fake" 'soft.pem: is no fake, but a private key that works by itself' \
    hsmkey reference --from-fake soft.pem -o x.pem
must "a key in software, PKCS#8" plain_openssl genrsa -out soft8.pem 2048
must_fail "is no fake either" 'soft8.pem: is no fake' hsmkey reference --from-fake soft8.pem -o x.pem
must_fail "and the engine calls it what it is" 'soft.pem: holds a private key itself' \
    openssl dgst -engine hsm -keyform ENGINE -sha256 -sign soft.pem -out x.sig data
must "a reference" hsmkey reference pkcs11:object=rsa -o late.ref
cat soft.pem late.ref >second.pem
must "a reference behind a key is found" openssl dgst -engine hsm -keyform ENGINE -sha256 -sign second.pem -out x.sig data
rm -f x.sig
cat soft.pem soft.pem soft.pem soft.pem late.ref >fifth.pem
must_fail "behind four nobody looks: each may cost seconds" 'fifth.pem: holds a private key itself' \
    openssl dgst -engine hsm -keyform ENGINE -sha256 -sign fifth.pem -out x.sig data
fake "$(plain_openssl rsa -in soft.pem -noout -modulus | sed 's/^Modulus=//')" elsewhere.pem
must_fail "a fake of a key that is not on the token" 'no private key on the token has its modulus \(2048 bits' \
    hsmkey reference --from-fake elsewhere.pem -o x.pem
must_fail "a certificate or nothing" 'holds no RSA private key in PEM' hsmkey reference --from-fake ec.pub -o x.pem
must_fail "no such file" 'nope.pem' hsmkey reference --from-fake nope.pem -o x.pem
for n in 1 20 300 700; do
    head -c $n old.pem >damaged.pem
    must_fail "damaged after $n bytes" 'holds no RSA private key' hsmkey reference --from-fake damaged.pem -o x.pem
done
[ ! -e x.pem ] || failed "nothing is written when it fails"

if [ "$HSM_TOKEN" = softhsm ]; then
    must "the same key twice on the token: software" plain_openssl genrsa -out twice.key 2048
    must "  DER" plain_openssl rsa -in twice.key -outform DER -traditional -out twice.der
    must "  once" pkcs11_tool --write-object twice.der --type privkey --label one --id 71
    must "  twice" pkcs11_tool --write-object twice.der --type privkey --label two --id 72
    fake "$(plain_openssl rsa -in twice.key -noout -modulus | sed 's/^Modulus=//')" twice.pem
    must_fail "is an error that names both" 'two private keys.*object=one.*object=two|two private keys.*object=two.*object=one' \
        hsmkey reference --from-fake twice.pem -o x.pem
fi
