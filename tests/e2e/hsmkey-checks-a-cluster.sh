#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tokens: softhsm
#
# clusters = web: hsmkey check, list, reference and cluster check with two members.
. "$(dirname "$0")/lib.sh"

token
pin=11111111 make_softhsm east
pin=22222222 make_softhsm west
printf 11111111 >east.pin
printf 22222222 >west.pin
chmod 600 east.pin west.pin

import() { # FILE TOKEN LABEL ID
    must "$3 goes to $2" softhsm2-util --import "$1" --token "$2" --label "$3" --id "$4" --pin "$(cat "$2.pin")"
}
remove() { # TOKEN LABEL
    local type
    for type in privkey pubkey; do
        token_label=$1 pin=$(cat "$1.pin") must "$2's $type goes from $1" pkcs11_tool --delete-object --type $type --label "$2"
    done
}
for name in one two; do
    must "a key" plain_openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out soft-$name.pem
    must "its public half" plain_openssl pkey -in soft-$name.pem -pubout -out $name.pub
done
must "an EC key" plain_openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out soft-ec.pem
for token in east west; do
    import soft-one.pem $token one 01
    import soft-ec.pem $token ec 0ec0
done

cluster() { # [KEY=VALUE...]
    configure token= pin= clusters=web 'web.members=east west' \
        east.token=pkcs11:token=east east.pin="file:$W/east.pin" \
        west.token=pkcs11:token=west west.pin="file:$W/west.pin" "$@"
}
verdict() { # the exit status, and what the JSON says of the key $1
    local status=0
    hsmkey cluster check --json >check.json || status=$?
    /usr/bin/python3 -c '
import json, sys
d = json.load(open("check.json"))
c = d["clusters"][0]
k = [k for k in c["keys"] if k["label"] == sys.argv[1]]
print(sys.argv[2], d["ok"], c["name"], [m["name"] for m in c["members"] if m["reachable"]],
      [(k["type"], k["id"], k["missing-on"], k["differs-on"], k["ambiguous-on"]) for k in k])' "$1" $status
}

must_fail "without a cluster" 'no cluster' hsmkey cluster check
cluster
must "all the same" hsmkey cluster check
says "all the same" '^ok +web: 2 keys are the same on east, west' out
same "in JSON" "$(verdict one)" "0 True web ['east', 'west'] [('rsa:2048', '01', [], [], [])]"
must "hsmkey check" hsmkey check
for line in 'pin +east: accepted' 'pin +west: accepted' 'cluster +web: 2 of 2 members can be used'; do
    says "hsmkey check" "^ok +$line" out
done

step "one key, one line, one reference"
must "list" hsmkey list 'pkcs11:object=one;type=private'
same "one line" "$(grep -c '^private' out)" 1
says "with its members, and a URI without a token" '^private .* east,west +pkcs11:.*object=one' out
says_not "with its members, and a URI without a token" 'token=' out
hsmkey list --json >list.json
same "in JSON" "$(/usr/bin/python3 -c '
import json
d = json.load(open("list.json"))
print(sorted((o["label"], o["cluster"], o["members"]) for o in d["objects"] if o["class"] == "private"))')" \
    "[('ec', 'web', ['east', 'west']), ('one', 'web', ['east', 'west'])]"
must "its reference" hsmkey reference 'pkcs11:object=one;type=private' -o one.pem
says "its reference" 'reference to pkcs11:(object|id)=' out
must "signs" openssl dgst -sha256 -sign one.pem -out data.sig data
must "  verified by a plain openssl" plain_openssl dgst -sha256 -verify one.pub -signature data.sig data
must "hsmkey check of the reference" hsmkey check one.pem

step "members that disagree"
import soft-two.pem east two 02
must_fail "a key that west lacks" '^FAILED +web: "two", id 02, rsa:2048: missing on west' hsmkey cluster check
says_not "nothing is said of the others" 'FAILED.*"(one|ec)"' out
same "in JSON" "$(verdict two)" "1 False web ['east', 'west'] [('rsa:2048', '02', ['west'], [], [])]"
must "list says so" hsmkey list 'pkcs11:object=two;type=private'
says "list says so" '^private .* east +pkcs11:' out
import soft-one.pem west two 02
must_fail "another key of that name" '^FAILED +web: "two", id 02, rsa:2048: another public half on west' hsmkey cluster check
same "in JSON" "$(verdict two)" "1 False web ['east', 'west'] [('rsa:2048', '02', [], ['west'], [])]"
must "list shows two" hsmkey list 'pkcs11:object=two;type=private'
same "list shows two" "$(grep -c '^private' out)" 2
must "its reference" hsmkey reference 'pkcs11:object=two;type=private' -o two.pem
for i in 1 2 3 4; do
    must "only the right one signs ($i)" openssl dgst -sha256 -sign two.pem -out data.sig data
    must "  verified by a plain openssl" plain_openssl dgst -sha256 -verify two.pub -signature data.sig data
done
remove west two
import soft-two.pem west two 02
must "all the same again" hsmkey cluster check

step "members that cannot be reached"
cluster west.token=pkcs11:token=gone
must_fail "one" '^FAILED +web: west cannot be reached: .*gone' hsmkey cluster check
same "in JSON" "$(verdict one)" "1 False web ['east'] [('rsa:2048', '01', [], [], [])]"
must "hsmkey check warns, and a service can start" hsmkey check one.pem
says "hsmkey check warns" '^warning +token +west: .*gone' out
says "hsmkey check warns" '^warning +cluster +web: 1 of 2 members can be used' out
must_fail "list shows what is left" 'hsmkey: list: west: no token' hsmkey list
says "list shows what is left" '^private .* east +pkcs11:' out
cluster west.token=pkcs11:token=gone east.token=pkcs11:token=gone-too
must_fail "both" '^FAILED +web: east cannot be reached' hsmkey cluster check
must_fail "hsmkey check fails then" '^FAILED +cluster +web: 0 of 2 members' hsmkey check one.pem

step "a member that hangs"
token_uri=pkcs11:token=west start_p11_kit_server
client=$(find_file "/usr/lib/*/pkcs11/p11-kit-client.so" "/usr/lib64/pkcs11/p11-kit-client.so") ||
    failed "p11-kit-client.so is installed"
cluster west.pkcs11-module="$client" timeout-ms=1500
must "west is in another process" hsmkey cluster check
kill -STOP "$p11_kit_pid"
limit=30
must_fail "hsmkey cluster check ends, and names it" '^FAILED +web: west cannot be reached: .*no answer' hsmkey cluster check
must_fail "so does list" 'hsmkey: list: west: .*no answer' hsmkey list
says "with what is left" '^private .* east +pkcs11:' out
must "hsmkey check ends" hsmkey check one.pem
says "hsmkey check names it" '^warning +token +west: .*no answer' out
kill -CONT "$p11_kit_pid"
must "it goes on" hsmkey cluster check

status=0
step "another word than check"
hsmkey cluster mend >out 2>&1 || status=$?
same "is a usage error" "$status" 2
