#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tokens: softhsm nss
#
# openssl.cnf as people have it: an engine section, with or without the provider's.
. "$(dirname "$0")/lib.sh"
. "$here/engine.inc"

token
key rsa rsa:2048
key ec ec:P-256
cp "$conf" provider.cnf
conf=$W/engine.cnf

signs() { # WHAT KEY [OPTION...]
    local what=$1 key=$2
    shift 2
    rm -f sig
    must "$what" openssl dgst -engine hsm -keyform ENGINE -sha256 -sign "$key" -out sig "$@" data
    must "  and the signature verifies" plain_openssl dgst -sha256 -verify rsa.pub -signature sig data
}
refused() { # WHAT PATTERN
    rm -f sig
    must_fail "$1" "$2" openssl dgst -engine hsm -keyform ENGINE -sha256 -sign pkcs11:object=rsa -out sig data
    [ ! -s sig ] || failed "$1: nothing is signed"
}

# --- an engine section alone ----------------------------------------------------------------------

engine_conf
signs "MODULE_PATH, PIN and INIT_ARGS" pkcs11:object=rsa
must "a reference, without asking for the engine" openssl dgst -sha256 -sign rsa.pem -out sig data
must "  and the signature verifies" plain_openssl dgst -sha256 -verify rsa.pub -signature sig data
must "openssl req as well" openssl req -new -x509 -key pkcs11:object=ec -subj /CN=x -out x.crt
must "the default provider stays, and comes first" client engine_client bind
says "the provider is loaded by bind" "provider hsm is there" out
must "a program of its own" client engine_client sign pkcs11:object=rsa
must_fail "LOAD_CERT_CTRL without its struct is an error, and no crash" 'LOAD_CERT_CTRL: wants a struct' \
    client engine_client nonsense

engine_conf RE_ENUMERATE=EMPTY VERBOSE=EMPTY
signs "VERBOSE" pkcs11:object=rsa
signs "VERBOSE and a reference" rsa.pem
openssl dgst -engine hsm -keyform ENGINE -sha256 -sign rsa.pem -out sig data >out 2>&1
says "VERBOSE says what is loaded" 'hsm engine: private key rsa.pem loaded through the provider hsm' out
engine_conf VERBOSE=EMPTY QUIET=EMPTY
openssl dgst -engine hsm -keyform ENGINE -sha256 -sign rsa.pem -out sig data >out 2>&1
says_not "QUIET takes it back" 'loaded through' out
must_fail "a setting that comes too late" 'MODULE_PATH.* have to come before the first key' \
    client engine_client ctrl pkcs11:object=rsa MODULE_PATH /another/module.so
must "the same setting again" client engine_client ctrl pkcs11:object=rsa PIN "file:$W/pin"
if [ "$HSM_TOKEN" = softhsm ]; then
    engine_conf TOKEN=
    signs "without TOKEN, where there is only one" pkcs11:object=rsa
fi
engine_conf TOKEN=pkcs11:token=other
refused "another token" 'no token .* matches pkcs11:token=other'
engine_conf init=0
signs "init = 0" pkcs11:object=rsa

export TEST_PIN=$pin
engine_conf PIN=env:TEST_PIN
signs "PIN = env:" pkcs11:object=rsa
unset TEST_PIN
for how in PIN= PIN=prompt "PIN= FORCE_LOGIN=EMPTY"; do
    # shellcheck disable=SC2086
    engine_conf $how
    must "$how: the program's UI is asked" client engine_client prompt pkcs11:object=rsa "$pin"
    says "once" "asked 1 times" out
    must_fail "$how: nobody to ask, and it does not wait" 'nobody could be asked' \
        client engine_client sign pkcs11:object=rsa
done

engine_conf
must_fail "a program with a libcrypto of its own is told" \
    'hsm engine: refused: this program has a libcrypto of its own' client engine_client foreign "$engine"

# --- what is refused, by name ---------------------------------------------------------------------

# Errors in openssl.cnf are dropped by the openssl command, so commands are given to the engine.
engine_conf
command() { # NAME [VALUE]
    openssl engine hsm -pre "$1${2+:$2}"
}
says_refused() { # WHAT PATTERN NAME [VALUE]
    local what=$1 pattern=$2
    shift 2
    step "$what"
    command "$@" >out 2>&1 || true
    says "$what" "$pattern" out
}
says_refused "a PIN itself" 'engine command refused.*PIN: the PIN itself is not taken.*PIN = file:' PIN 99887766
says_not "  which is not shown" 'command refused.*99887766' out
says_refused "SO_PATH" 'SO_PATH: a command of the engine `dynamic`' SO_PATH /x.so
says_refused "DEBUG_LEVEL" "DEBUG_LEVEL: the log is the provider's" DEBUG_LEVEL 7
says_refused "a relative PROVIDER_PATH" 'PROVIDER_PATH: must be the absolute path' PROVIDER_PATH hsm.so
says_refused "PROVIDER_PATH too late" 'PROVIDER_PATH: the provider hsm is loaded already' PROVIDER_PATH "$provider"
says_refused "a relative path of a module" 'pkcs11-module.*absolute path' MODULE_PATH ./x.so
engine_conf PIN="$pin"
refused "a PIN in openssl.cnf gives no key, and the first one says why" 'PIN: the PIN itself is not taken'
says_not "  the PIN is not shown" "$pin" out
engine_conf DEBUG_LEVEL=7
refused "DEBUG_LEVEL in openssl.cnf" "DEBUG_LEVEL: the log is the provider's"
engine_conf MODULE_PATH=./x.so
refused "a relative path in openssl.cnf" 'pkcs11-module.*absolute path'
engine_conf MODULE_PATH=/nowhere/module.so
refused "no such module" '/nowhere/module.so'
engine_conf MODULE_PATH=
refused "no module at all" 'pkcs11-module is missing'
engine_conf PROVIDER_PATH=/nowhere/hsm.so
refused "no such provider" 'PROVIDER_PATH: /nowhere/hsm.so.*No such file'
OPENSSL_MODULES=/nowhere
export OPENSSL_MODULES
engine_conf PROVIDER_PATH=
refused "no provider" 'the provider hsm cannot be loaded: its hsm.so has to be in OPENSSL_MODULES or /'
must_fail "  nor in another program" 'the provider hsm cannot be loaded' client engine_client sign rsa.pem
OPENSSL_MODULES=${provider%/*}
signs "OPENSSL_MODULES" pkcs11:object=rsa
unset OPENSSL_MODULES
engine_conf engine_id=pkcs11
must "engine_id is openssl.cnf's own matter" client engine_client sign rsa.pem
must_fail "another engine than ours" 'no such engine:.*id=pkcs11' \
    openssl dgst -engine pkcs11 -keyform ENGINE -sha256 -sign pkcs11:object=rsa -out sig data
conf=none.cnf
: >none.cnf
step "ours under another name"
openssl engine dynamic -pre "SO_PATH:$engine" -pre ID:pkcs11 -pre LOAD >out 2>&1 || true
says "is refused" 'engine "pkcs11" was asked for, but the name of this one is "hsm"' out
mkdir engines
cp "$engine" engines/pkcs11.so
OPENSSL_ENGINES=$W/engines must_fail "and as a file with another name" \
    'engine "pkcs11" was asked for, but the name of this one is "hsm"' \
    openssl dgst -engine pkcs11 -keyform ENGINE -sha256 -sign pkcs11:object=rsa -out sig data
conf=$W/engine.cnf

# --- together with the provider's section ---------------------------------------------------------

for order in "engine provider" "provider engine"; do
    # shellcheck disable=SC2086
    both $order MODULE_PATH= INIT_ARGS= TOKEN= PIN= PROVIDER_PATH=
    signs "$order: all settings are the provider's" pkcs11:object=rsa
    must "  default stays first" client engine_client bind
    must "  a program of its own" client engine_client sign pkcs11:object=rsa
    # shellcheck disable=SC2086
    both $order PROVIDER_PATH=
    signs "$order: the same settings twice" pkcs11:object=rsa
    # shellcheck disable=SC2086
    both $order PROVIDER_PATH= PIN=file:/another
    refused "$order: settings that differ" 'different values for pin: keep the section'
    # shellcheck disable=SC2086
    both $order PROVIDER_PATH=
    sed -i '/^pin = /d; /^pkcs11-module = /d; /^token = /d' "$conf"
    signs "$order: the engine completes the section" pkcs11:object=rsa
done

# libcrypto then reads openssl.cnf, which loads the same engine, while it loads the engine.
both provider engine MODULE_PATH= INIT_ARGS= TOKEN= PIN= PROVIDER_PATH=
OPENSSL_ENGINES=${engine%/*} must "the engine is asked for before openssl.cnf was read" \
    client engine_client early pkcs11:object=rsa

# --- certificates ---------------------------------------------------------------------------------

engine_conf
if [ "$HSM_TOKEN" = softhsm ]; then
    must "a certificate" openssl req -new -x509 -key rsa.pem -subj /CN=x -out x.crt
    must "  in DER" plain_openssl x509 -in x.crt -outform DER -out x.der
    must "  put on the token" pkcs11_tool --write-object x.der --type cert --label rsa
    must "LOAD_CERT_CTRL" client engine_client cert pkcs11:object=rsa
    same_files "the certificate is the one on the token" out x.crt
    must_fail "LOAD_CERT_CTRL without a certificate" 'no certificate could be loaded for pkcs11:object=ec;type=cert' \
        client engine_client cert pkcs11:object=ec
fi
