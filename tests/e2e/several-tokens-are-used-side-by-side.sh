#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tokens: softhsm
#
# tokens = east west: two independent tokens with their own PINs, in one process. The URI decides
# which one is meant, and a reference names its token.
. "$(dirname "$0")/lib.sh"

token
pin=11111111 make_softhsm east
pin=22222222 make_softhsm west
printf 11111111 >east.pin
printf 22222222 >west.pin
chmod 600 east.pin west.pin

for name in east west; do
    configure token=pkcs11:token=$name pin="file:$W/$name.pin"
    key only-$name rsa:2048
    must "a key called 'both' on $name" hsmkey generate --type ec:P-256 --label both -o both-$name.pem
    must "its public half" openssl pkey -in both-$name.pem -pubout -out both-$name.pub
done

side_by_side() { # [KEY=VALUE...]
    configure pkcs11-module= token= pin= tokens='east, west' \
        east.pkcs11-module="$module" east.token=pkcs11:token=east east.pin="file:$W/east.pin" \
        west.pkcs11-module="$module" west.token=pkcs11:token=west west.pin="file:$W/west.pin" "$@"
}
signs() { # WHAT KEY PUB
    must "$1" openssl dgst -sha256 -sign "$2" -out data.sig data
    must "  verified by a plain openssl" plain_openssl dgst -sha256 -verify "$3" -signature data.sig data
}
side_by_side

step "hsmkey check"
must "both are right" hsmkey check
for name in east west; do
    for line in "module +$name: " "token +$name: \"$name\"" "pin +$name: accepted \(one login, PIN from file:$W/$name.pin"; do
        says "the report" "^ok +$line" out
    done
done
side_by_side west.pn=x
must_fail "a key that no token has" '^FAILED +config .*unknown key "west\.pn"' hsmkey check
side_by_side north.pin="file:$W/pin"
must_fail "a token that is not listed" '^FAILED +config .*unknown key "north\.pin"' hsmkey check
side_by_side west.token=pkcs11:token=gone
must_fail "a token that is not there" '^FAILED +token +west: .*gone' hsmkey check
says "the other one is checked all the same" '^ok +pin +east: accepted' out
chmod 644 east.pin
side_by_side
must_fail "a PIN file that lets others in" '^FAILED +pin +east: .*0644' hsmkey check
says "the other one is checked all the same" '^ok +pin +west: accepted' out
chmod 600 east.pin
side_by_side west.pin=
must_fail "no PIN" '^FAILED +pin +west: .*add: west\.pin = ' hsmkey check
side_by_side

step "the drop-in, included, with its pin taken back"
cp "$conf" whole.cnf
{
    printf '.include %s\n' "$build/packaging/hsm.cnf"
    printf '[hsm_sect]\n'
    sed -n '/^\[hsm_sect\]/,/^\[req\]/p' whole.cnf | grep -vE '^\[|^activate'
} >with-pin.cnf
cp with-pin.cnf "$conf"
must_fail "as it is" 'pin belong to each token.*an empty "pin =" takes back' hsmkey check
must_fail "for programs, too" 'pin belong to each token.*an empty "pin =" takes back' \
    client threads both-east.pem 1 1
printf 'pin =\ntoken =\n' >>"$conf"
must "with an empty pin" hsmkey check
signs "for programs, too" "pkcs11:token=west;object=both;type=private" both-west.pub
side_by_side

step "hsmkey list and tokens"
must "list" hsmkey list
says "the key on east" '^private .* east +pkcs11:.*token=east;.*object=only-east' out
says "the key on west" '^private .* west +pkcs11:.*token=west;.*object=only-west' out
same "private keys" "$(grep -c '^private' out)" 4
must "list what is on one of them" hsmkey list 'pkcs11:token=west;type=private'
same "private keys on west" "$(grep -c '^private' out)" 2
hsmkey list --json >list.json
same "names of tokens in JSON" "$(/usr/bin/python3 -c '
import json
d = json.load(open("list.json"))
keys = sorted(o["token"] + " " + o["label"] for o in d["objects"] if o["class"] == "private")
print([t["name"] for t in d["tokens"]], keys)')" "['east', 'west'] ['east both', 'east only-east', 'west both', 'west only-west']"
must "tokens" hsmkey tokens
says "tokens" '^west ' out

step "the URI decides"
for name in east west; do
    signs "only-$name" "pkcs11:object=only-$name;type=private" only-$name.pub
    signs "both, on $name" "pkcs11:token=$name;object=both;type=private" both-$name.pub
    must "a reference to it" hsmkey reference "pkcs11:token=$name;object=both;type=private" -o ref-$name.pem
    says "says the token" "reference to pkcs11:.*token=$name;" out
    signs "the reference names the token" ref-$name.pem both-$name.pub
    must "and hsmkey check says so" hsmkey check ref-$name.pem
    says "and hsmkey check says so" "^ok +file .*token=$name" out
done
must_fail "a name that both have" "token 'east' and on token 'west'" \
    hsmkey reference 'pkcs11:object=both;type=private' -o no.pem
must_fail "no key is made where it is not said on which token" 'generate --token NAME' \
    hsmkey generate --type ec:P-256 --label new -o no.pem
[ ! -e no.pem ] || failed "no file is left"

step "--token NAME"
for name in east west; do
    must "a key on $name" hsmkey generate --token $name --type ec:P-256 --label new-$name -o new-$name.pem
    says "says where it is" "pkcs11:.*token=$name;" out
    must "its public half" openssl pkey -in new-$name.pem -pubout -out new-$name.pub
    signs "its reference is good among several" new-$name.pem new-$name.pub
    must "and names its token" hsmkey check new-$name.pem
    says "and names its token" "^ok +file .*token=$name" out
    must "what is on $name" hsmkey --token $name list
    same "  is listed" "$(grep -c '^private .*new-' out)" 1
done
must_fail "a name that nobody has" '--token north: neither a pkcs11: URI .* nor the name' \
    hsmkey generate --token north --type ec:P-256 --label no -o no.pem
must_fail "  for check as well" '^FAILED +config +--token north' hsmkey --token north check
must_fail "with another module" 'leave --module out' \
    hsmkey generate --token east --module "$module" --type ec:P-256 --label no -o no.pem
[ ! -e no.pem ] || failed "no file is left"
must "check of one" hsmkey --token west check
cp "$conf" set.cnf
configure pkcs11-module= token= pin= clusters=web web.members='east west' \
    east.pkcs11-module="$module" east.token=pkcs11:token=east east.pin="file:$W/east.pin" \
    west.pkcs11-module="$module" west.token=pkcs11:token=west west.pin="file:$W/west.pin"
must "a key on a member of a cluster" hsmkey generate --token west --type ec:P-256 --label member -o member.pem
must "its public half" openssl pkey -in member.pem -pubout -out member.pub
signs "the cluster has it" member.pem member.pub
must "its reference names no token, for others may have the key as well" openssl pkey -in member.pem -text -noout
says_not "  none" 'pkcs11:.*token=' out
must_fail "a cluster is no token" '--token web: neither' hsmkey generate --token web --type ec:P-256 --label no -o no.pem
cp set.cnf "$conf"

step "one token fails"
printf 99999999 >west.pin
signs "a wrong PIN for west does not matter on east" ref-east.pem both-east.pub
must_fail "list shows the rest" '^private .* east ' hsmkey list
says "and names the one that fails" 'hsmkey: list: west: .*CKR_PIN_INCORRECT' out
must "storeutl shows the rest" openssl storeutl -noout pkcs11:
says "  all of east" "Total found: 6" out
must_fail "whether there is but one private key is not known then" west \
    openssl pkey -in 'pkcs11:type=private' -noout
