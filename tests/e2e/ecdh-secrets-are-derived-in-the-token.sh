#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tokens: softhsm,nss
#
# (p11-kit's client of Debian 12 does not pass the mechanism on.)
# ECDH with keys in the token: pkeyutl -derive, both ways, and CMS, whose senders use it.
. "$(dirname "$0")/lib.sh"

token
for curve in P-256 P-384 P-521; do
    key "key-$curve" "ec:$curve"
    must "a peer's key in software" plain_openssl genpkey -algorithm EC \
        -pkeyopt ec_paramgen_curve:$curve -out peer.pem
    must "its public half" plain_openssl pkey -in peer.pem -pubout -out peer.pub
    must "the peer derives the secret" \
        plain_openssl pkeyutl -derive -inkey peer.pem -peerkey "key-$curve.pub" -out want
    must "the token derives the secret" \
        openssl pkeyutl -derive -inkey "key-$curve.pem" -peerkey peer.pub -out got
    same_files "both have the same secret ($curve)" got want
    must "with cofactor, which is 1" openssl pkeyutl -derive -inkey "key-$curve.pem" \
        -peerkey peer.pub -pkeyopt ecdh_cofactor_mode:1 -out got
    same_files "it is the same ($curve)" got want
done
must_fail "a peer on another curve" 'curve|parameters' \
    openssl pkeyutl -derive -inkey key-P-256.pem -peerkey peer.pub -out got

software_ca
certificate key-P-256
for option in ecdh_kdf_md:sha1 ecdh_kdf_md:sha384 ecdh_cofactor_mode:1; do
    must "CMS to the token's key, $option" plain_openssl cms -encrypt -binary -aes256 -in data \
        -recip key-P-256.crt -keyopt $option -out data.cms
    rm -f data.out
    must "the token's key opens it" openssl cms -decrypt -in data.cms -inkey key-P-256.pem \
        -recip key-P-256.crt -out data.out
    same_files "what comes out" data data.out
done

step "not listed: refused, with the line that allows it"
configure offload="all -ec-derive"
must_fail "ECDH without ec-derive" 'ec-derive is not offloaded.*offload =.*ec-derive' \
    openssl pkeyutl -derive -inkey key-P-521.pem -peerkey peer.pub -out got
