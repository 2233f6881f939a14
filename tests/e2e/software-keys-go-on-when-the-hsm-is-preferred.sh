#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# "?provider=hsm" prefers the HSM where it can do something. A private key in a file is none of its
# business: it signs, derives and decrypts in software as before, whoever comes first.
# tokens: softhsm
. "$(dirname "$0")/lib.sh"

token
key hsm ec:P-256
must "an RSA key in software" plain_openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.pem
must "an EC key in software" plain_openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec.pem
must "the same in the old format" plain_openssl pkey -in ec.pem -traditional -out old.pem
must "an Ed25519 key in software" plain_openssl genpkey -algorithm ED25519 -out ed.pem
must "X25519 in software" plain_openssl genpkey -algorithm X25519 -out x.pem
for name in rsa ec old ed x; do
    must "its public half" plain_openssl pkey -in $name.pem -pubout -out $name.pub
done
must "a ciphertext" plain_openssl pkeyutl -encrypt -inkey rsa.pem -in "$W/pin" -out cipher
head -c 32 /dev/zero >digest
must "the secret of ec and hsm, in software" plain_openssl pkeyutl -derive -inkey ec.pem -peerkey hsm.pub -out wanted

# all_operations QUERY...: with software keys
all_operations() {
    local name
    for name in rsa ec old; do
        must "$name: dgst" openssl dgst -sha256 -sign $name.pem "$@" -out sig data
        must "  verifies" plain_openssl dgst -sha256 -verify $name.pub -signature sig data
        must "$name: pkeyutl" openssl pkeyutl -sign -inkey $name.pem "$@" -in digest -out sig
        must "  verifies" plain_openssl pkeyutl -verify -pubin -inkey $name.pub -in digest -sigfile sig
        must "$name: check" openssl pkey -in $name.pem "$@" -noout -check
    done
    must "ed: pkeyutl" openssl pkeyutl -sign -rawin -inkey ed.pem "$@" -in data -out sig
    must "  verifies" plain_openssl pkeyutl -verify -pubin -rawin -inkey ed.pub -in data -sigfile sig
    must "rsa: decrypt" openssl pkeyutl -decrypt -inkey rsa.pem "$@" -in cipher -out plain
    same_files "the text" plain "$W/pin"
    must "x: derive" openssl pkeyutl -derive -inkey x.pem -peerkey x.pub "$@" -out secret
    must "ec: derive, the peer's key is in a file" openssl pkeyutl -derive -inkey ec.pem -peerkey hsm.pub "$@" -out secret
    same_files "the secret" secret wanted
    must "ec: derive, the peer's key is in the token" \
        openssl pkeyutl -derive -inkey ec.pem -peerkey 'pkcs11:object=hsm;type=public' "$@" -out secret
    same_files "the secret" secret wanted
    must "the token's key: derive" openssl pkeyutl -derive -inkey hsm.pem -peerkey ec.pub "$@" -out secret
    same_files "the secret" secret wanted
}

for provider_order in 'default hsm' 'hsm default'; do
    step "order: $provider_order, with a query"
    configure
    all_operations -propquery '?provider=hsm'
    step "order: $provider_order, by default"
    sed -i 's/^providers = .*/&\nalg_section = alg_sect/' "$conf"
    printf '[alg_sect]\ndefault_properties = ?provider=hsm\n' >>"$conf"
    all_operations
done
