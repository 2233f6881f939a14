#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tokens: softhsm,nss
#
# (p11-kit's client of Debian 12 does not pass the mechanism on.)
# Derived secrets are session objects for the length of two calls. Counted at the PKCS#11 boundary:
# every one that is made is destroyed, by the same process. One more is made than is asked for: the
# key's object shows no public half, and the first derivation proves that it is the expected key.
. "$(dirname "$0")/lib.sh"

token
key key ec:P-256
must "a peer's key" plain_openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out peer.pem
must "its public half" plain_openssl pkey -in peer.pem -pubout -out peer.pub
must "the peer derives the secret" \
    plain_openssl pkeyutl -derive -inkey peer.pem -peerkey key.pub -out want
count_calls
must "500 derivations" client derive key.pem peer.pub want 500
says "all of them right" '^500 secrets$' out
same "C_DeriveKey calls" "$(calls C_DeriveKey)" 501
same "C_DestroyObject calls" "$(calls C_DestroyObject)" 501
