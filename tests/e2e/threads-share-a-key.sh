#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# 32 threads share one key; children inherit it over fork; more threads than sessions wait.
. "$(dirname "$0")/lib.sh"

token
key rsa rsa:2048
key ec ec:P-256
each=10
[ $HSM_TOKEN != nss ] || each=2 # NSS takes 50 ms for an RSA signature, in one thread or in many
must "32 threads, RSA, signing and decrypting" client threads rsa.pem 32 $each decrypt
says "all of them" "32 threads made $each signatures each" out
must "32 threads, EC" client threads ec.pem 32 40
says "all of them" '32 threads made 40 signatures each' out
for name in rsa ec; do
    must "four children and their parent, 4 threads each, $name" client threads $name.pem 4 $each fork
    same "reports" "$(grep -c "4 threads made $each" out)" 5
done
configure sessions=2
must "32 threads wait for two sessions" client threads ec.pem 32 10
says "all of them" '32 threads made 10 signatures each' out
configure sessions=1
must "and for one" client threads ec.pem 8 10
