#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tokens: softhsm
#
# hsmkey check FILE ends with 0 where programs can use the key with that configuration, and only
# there; it says which line is in the way. It tries what the key permits.
. "$(dirname "$0")/lib.sh"

token
key rsa rsa:2048
key ec ec:P-256

# edited SED-SCRIPT [LINE...]: $conf as it should be, changed, and with some lines more
edited() {
    configure
    sed -i "$1" "$conf"
    printf '%s\n' "${@:2}" >>"$conf"
}
properties() {
    edited 's/^providers = .*/&\nalg_section = algs/' '[algs]' "$1"
}

# agrees WHAT YES|NO PATTERN: check, a program that reads PEM itself, and openssl(1) are of one mind.
agrees() {
    local what=$1 can=$2 pattern=$3 name check pem command
    for name in rsa ec; do
        step "$what: $name.pem"
        check=0 pem=0 command=0
        client threads $name.pem 1 1 >/dev/null 2>&1 || pem=$?
        openssl dgst -sha256 -sign $name.pem -out sig data >/dev/null 2>&1 || command=$?
        hsmkey check $name.pem >out 2>&1 || check=$?
        if [ "$can" = yes ]; then
            same "$what: a program that reads PEM" "$pem" 0
            same "$what: openssl" "$command" 0
            [ "$check" = 0 ] || { show out; failed "$what: hsmkey check" "got: status $check"; }
            says "$what" "^ok +file +$name\.pem: .*signs" out
        else
            [ "$pem" != 0 ] || [ "$command" != 0 ] || failed "$what: programs fail" "got: they sign"
            [ "$check" = 1 ] || { show out; failed "$what: hsmkey check fails" "got: status $check"; }
        fi
        says "$what" "$pattern" out
    done
}

agrees "as it should be" yes '^ok +provider'
provider_order='hsm default' configure
agrees "hsm first" yes '^warning +config .*before "default"'
provider_order='hsm'
configure
agrees "no default" no '^FAILED +file .*the provider "default" is not activated.*cannot load the key: add "default = default_sect" to section \[provider_sect\], and "activate = 1" to section \[default_sect\]'
says "  as the provider says itself" 'no other provider has (RSA|EC), which is needed for public halves' out
must_fail "  openssl is told so, too" 'no other provider has RSA.*activate the provider .*default' openssl dgst -sha256 -sign pkcs11:object=rsa -out sig data
edited 's/^hsm = .*/&\nbase = base_sect/' '[base_sect]' 'activate = 1'
agrees "base in place of default" no '^FAILED +file .*the provider "default" is not activated'
provider_order='default hsm'
edited '/^\[default_sect\]/,/^\[hsm/{/^activate/d}'
agrees "default is there, and not activated" no '^FAILED +file .*add "activate = 1" to section \[default_sect\]'
edited 's/^hsm = .*/&\nbase = base_sect/' '[base_sect]' 'activate = 1'
agrees "base as well" yes '^ok +file'
edited '/^\[hsm_sect\]/,/^\[req/{/^activate/d}'
agrees "hsm is not activated" no '^FAILED +file .*section \[hsm_sect\] has no "activate = 1"'
edited 's/^default = .*/&\nbroken = broken_sect/' '[broken_sect]' "module = $W/nothing.so" 'activate = 1'
agrees "a provider before hsm cannot be loaded, which harms nobody" yes '^ok +file'
edited 's/^providers = .*/ssl_conf = nowhere\n&/'
agrees "a line before the providers that cannot be carried out" no '^FAILED +config .*stops at the first line.*OpenSSL says: .*nowhere'
for line in 'default_properties = fips=yes' 'fips_mode = yes' 'default_properties = provider=default'; do
    properties "$line"
    agrees "$line" no "^FAILED +config +${line//\?/\\?} in section \[algs\] hides every algorithm of the provider \"hsm\""
    says "  said of the file as well" "^FAILED +file .*hides every algorithm of the provider \"hsm\"" out
    must_fail "  and without a file" "^FAILED +config +$line" hsmkey check
done
properties 'default_properties = provider=hsm'
agrees "default_properties = provider=hsm" no '^FAILED +config +default_properties = provider=hsm in section \[algs\] hides'
properties 'default_properties = ?provider=hsm'
agrees "default_properties = ?provider=hsm" yes '^warning +config .*default_properties'
configure

edited 's/^default = .*/&\nother = other_sect/' '[other_sect]' "module = $build/tests/e2e/crash.so" 'activate = 1'
must_fail "another provider crashes the program, and not hsmkey" \
    '^FAILED +file +ec\.pem: .*a program that loads this configuration crashes \(signal 6' hsmkey check rsa.pem ec.pem
says "  which is said of each file" '^FAILED +file +rsa\.pem: .*crashes' out
configure

step "by --config, and by name"
mv "$conf" elsewhere.cnf
configure pin=
must "--config is what the program has" hsmkey check --config elsewhere.cnf rsa.pem
must "--pin is not the configuration's, which is said" hsmkey check --pin "file:$W/pin" rsa.pem
says "--pin is not the configuration's, which is said" '^warning +program +not tried' out
says "  and the key is tried with it" '^ok +file +rsa\.pem' out
configure

step "keys that permit one thing only"
restricted() { # LABEL MECHANISM
    must "a key for $2 only" pkcs11_tool --keypairgen --key-type rsa:2048 --usage-sign --label "$1" --id 0a --allowed-mechanisms "$2"
    must "  its reference" hsmkey reference "pkcs11:object=$1;type=private" -o "$1.pem"
}
made_for() { # LABEL USAGE GENPKEY-OPTION...
    must "a key for: $2" openssl genpkey -propquery provider=hsm "${@:3}" -pkeyopt "hsm-label:$1" -pkeyopt "hsm-usage:$2" -out "$1.pem"
}
restricted pss RSA-PKCS-PSS
restricted plain RSA-PKCS
configure offload=all
made_for dec decrypt -algorithm RSA -pkeyopt rsa_keygen_bits:2048
made_for agree derive -algorithm EC -pkeyopt ec_paramgen_curve:P-256
while IFS='|' read -r label how; do
    must "hsmkey check tries $label.pem by what it can do" hsmkey check "$label.pem"
    says "hsmkey check tries $label.pem by what it can do" "^ok +file +$label\.pem: .*$how" out
done <<'END'
pss|signs, signature verified \(PSS with SHA-256\)
plain|signs, signature verified \(PKCS#1 with SHA-256\)
dec|decrypts, trial succeeded \(OAEP
agree|derives, trial succeeded \(ECDH\)
END
configure

step "nothing is left behind"
mkdir -m 700 stats
configure "stats-file=$W/stats/%p.prom" "log=file:$W/log"
must "with statistics" hsmkey check rsa.pem ec.pem
same "none is written" "$(ls stats)" ""
configure

step "what stands before a reference is not tried"
plain_openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -aes256 -pass pass:secret -out locked.pem 2>/dev/null
{ echo "-----BEGIN SOMEBODY'S KEY-----"; echo AAAA; echo "-----END SOMEBODY'S KEY-----"; } >other.pem
for name in locked other; do
    cat $name.pem rsa.pem >two.pem
    status=0
    OPENSSL_CONF=$conf timeout 60 /usr/bin/python3 "$here/terminal.py" "$pin" : "$build/tools/hsmkey" check two.pem >out || status=$?
    same "status" "$status" 1
    says "the reason" '^FAILED +file +two\.pem: OpenSSL loads another key' out
    says_not "no passphrase is asked for" 'pass phrase|passphrase' out
done

step "a PIN that a person types"
configure pin=prompt
OPENSSL_CONF=$conf timeout 60 /usr/bin/python3 "$here/terminal.py" "$pin" : "$build/tools/hsmkey" check rsa.pem ec.pem >out ||
    { show out; failed "at a terminal"; }
says "for the login, and as a program asks" '^asked: 2' out
says "both are tried" '^ok +file +ec\.pem' out
status=0
OPENSSL_CONF=$conf timeout 60 setsid -w "$build/tools/hsmkey" check rsa.pem </dev/null >out 2>&1 || status=$?
same "without a terminal" "$status" 1
must_fail "the trial's process is not for people" 'for hsmkey check itself' hsmkey as-a-program
