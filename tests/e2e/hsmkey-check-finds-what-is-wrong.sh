#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tokens: softhsm
#
# hsmkey check: configuration, provider, token and references; status 0 or 1, text and JSON.
. "$(dirname "$0")/lib.sh"

token
offload='rsa-sign ec-sign rsa-oaep'
configure
key rsa rsa:2048
key ec ec:P-256

verdict() { # WHAT NAME: the results of one kind of check in JSON, in a line
    hsmkey check --json "${@:2}" >check.json || true
    /usr/bin/python3 -c '
import json, sys
report = json.load(open("check.json"))
print(" ".join(c["result"] for c in report["checks"] if c["check"] == sys.argv[1]), str(report["ok"]).lower())' "$1"
}

must "everything is right" hsmkey check rsa.pem ec.pem
for line in 'ok +config' 'ok +provider .*hsm\.so' 'ok +module' 'ok +token +"test"' \
    'ok +pin +accepted \(one login' 'ok +file +rsa\.pem: rsa:2048, signs' 'ok +file +ec\.pem: ec:P-256, signs'; do
    says "the report" "^$line" out
done
same "in JSON" "$(verdict file rsa.pem ec.pem)" "ok ok true"
must "a configuration by --config" env -u OPENSSL_CONF "$build/tools/hsmkey" check --config "$conf" rsa.pem
must_fail "a configuration among the files is a failed reference" \
    '^FAILED +file .*openssl\.cnf: is no key reference; a configuration is checked with --config FILE' hsmkey check "$conf" rsa.pem
says "  the others are checked all the same" '^ok +file +rsa\.pem' out

step "the configuration"
configure pkcs11-modul=x
must_fail "an unknown key" '^FAILED +config .*"pkcs11-modul".*did you mean pkcs11-module' hsmkey check
configure 'offload=rsa-sign req'
printf '[rsa-sign req]\nx = y\n' >>"$conf"
must_fail "a value that is a section's name" '^FAILED +config .*there is a section' hsmkey check
configure offload=rsa-sing
must_fail "a bad value" '^FAILED +config .*rsa-sing' hsmkey check
configure module="$W/nothing.so"
must_fail "no provider" '^FAILED +provider .*nothing\.so' hsmkey check
configure module="$real_module"
must_fail "not a provider" '^FAILED +provider .*not an OpenSSL provider' hsmkey check
echo rubbish >rubbish.so
configure module="$W/rubbish.so"
must_fail "not a library" '^FAILED +provider .*cannot be loaded' hsmkey check
printf '[x\n' >broken.cnf
must_fail "not a configuration" '^FAILED +config .*broken\.cnf: line 1' hsmkey check --config broken.cnf
printf '[x]\na = b\n' >without.cnf
must_fail "no section for us" '^FAILED +config .*no section for the provider "hsm"' hsmkey check --config without.cnf
provider_order='hsm default' configure
must "the wrong order is a warning" hsmkey check
says "the wrong order is a warning" '^warning +config .*before "default"' out
provider_order='hsm' configure
must "so is a missing default provider" hsmkey check
says "so is a missing default provider" '^warning +config .*"default" is not activated' out
provider_order='default hsm'
configure
sed -i 's/^providers = .*/&\nalg_section = algs\n[algs]\ndefault_properties = ?provider=hsm/' "$conf"
must "so is default_properties" hsmkey check
says "so is default_properties" '^warning +config .*default_properties' out

step "the token"
configure pkcs11-module=/nonexistent.so
must_fail "no module" '^FAILED +module .*nonexistent\.so' hsmkey check rsa.pem
says "references are not checked then" '^FAILED +file +rsa\.pem: not checked' out
configure token=pkcs11:token=other
must_fail "another token" '^FAILED +token .*other' hsmkey check
configure
chmod 644 pin
must_fail "a PIN file that lets others in" '^FAILED +pin .*0644' hsmkey check
chmod 600 pin
configure pin=
must_fail "no PIN" '^FAILED +pin .*no pin is configured' hsmkey check
configure

step "references"
must_fail "no such file" '^FAILED +file +gone\.pem: cannot be read: No such file' hsmkey check gone.pem rsa.pem
says "the others are checked all the same" '^ok +file +rsa\.pem' out
plain_openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out soft.pem 2>/dev/null
must_fail "a software key" '^FAILED +file +soft\.pem: .*not in the HSM' hsmkey check soft.pem
software_ca
must_fail "a certificate" '^FAILED +file +ca\.pem: .*no key reference' hsmkey check ca.pem
cat ca.pem rsa.pem >combined.pem
must "a certificate before the reference" hsmkey check combined.pem
cat soft.pem rsa.pem >two.pem
must_fail "a software key before the reference is what programs load" '^FAILED +file +two\.pem' hsmkey check two.pem
cat rsa.pem soft.pem >behind.pem
must "a software key behind the reference harms nobody" hsmkey check behind.pem
plain_openssl pkey -in soft.pem -aes256 -passout pass:secret -out locked.pem 2>/dev/null
configure software-private-keys=refuse
for name in soft locked; do
    must_fail "software-private-keys = refuse: $name.pem" \
        "^FAILED +file +$name\.pem: .*not in the HSM, and software-private-keys = refuse forbids" hsmkey check $name.pem
done
must_fail "  behind a reference" \
    '^FAILED +file +behind\.pem: holds a private key itself, too.*software-private-keys = refuse' hsmkey check behind.pem
must "  a reference is none" hsmkey check rsa.pem combined.pem
configure
head -c 300 rsa.pem >cut.pem
must_fail "a reference cut short" '^FAILED +file +cut\.pem' hsmkey check cut.pem
must "the reference moves to another key" pkcs11_tool --delete-object --type privkey --label rsa
must "(and its public half)" pkcs11_tool --delete-object --type pubkey --label rsa
must_fail "a key that is gone" '^FAILED +file +rsa\.pem: .*object=rsa' hsmkey check rsa.pem
same "in JSON" "$(verdict file rsa.pem ec.pem)" "failed ok false"

step "keys that do not sign"
configure offload='all'
must "a key for decryption" openssl genpkey -propquery provider=hsm -algorithm RSA -pkeyopt rsa_keygen_bits:2048 \
    -pkeyopt hsm-label:dec -pkeyopt hsm-usage:decrypt -out dec.pem
configure
must "is tried by decryption" hsmkey check dec.pem
says "is tried by decryption" '^ok +file +dec\.pem: rsa:2048, decrypts' out
configure offload=ec-sign
must_fail "and not where that is not offloaded" '^FAILED +file +dec\.pem: .*offload' hsmkey check dec.pem
