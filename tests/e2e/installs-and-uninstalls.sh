#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tokens: softhsm
# not with sanitizers: it makes a build of its own, as a distribution would
#
# meson install puts every file where OpenSSL and people look for it, and uninstall takes all of
# them away again.
. "$(dirname "$0")/lib.sh"

token
# A build folder may belong to another user, and other tests use it: a configuration of its own.
must "meson setup, as a distribution would" meson setup --prefix=/usr -Dtests=false "$W/b" "$root"
must "the build" ninja -C "$W/b" -j "$(jobs_default)"
must "meson install into a folder" env DESTDIR="$W/dest" meson install -C "$W/b"

modules=$(pkg-config --variable=modulesdir libcrypto)
engines=$(pkg-config --variable=enginesdir libcrypto)
want="/etc/ssl/hsm.cnf /usr/bin/hsmkey /usr/share/man/man1/hsmkey.1 /usr/share/man/man7/hsm-provider.7 $modules/hsm.so"
[ ! -e "$build/engine/hsm.so" ] || want="$want $engines/hsm.so"
got=$(cd dest && find . ! -type d -printf '/%P\n' | sort | tr '\n' ' ')
same "the files that were installed" "$got" "$(printf '%s\n' $want | sort | tr '\n' ' ')"
same "modes that let everybody read, and nobody write" "$(find dest -type f -perm /022 -o -type f ! -perm -444)" ""
says_not "no template is left in the drop-in" '@[A-Z]+@' dest/etc/ssl/hsm.cnf
says "the drop-in names its own folder" '/etc/ssl/hsm.cnf' dest/etc/ssl/hsm.cnf

step "what was installed works, from the drop-in"
cat >installed.cnf <<END2
.include $W/dest/etc/ssl/hsm.cnf
[hsm_sect]
pkcs11-module = $module
token = $token_uri
pin = file:$W/pin
END2
export OPENSSL_MODULES=$W/dest$modules
conf=$W/installed.cnf
provider=$W/dest$modules/hsm.so
must "hsmkey makes a key" env OPENSSL_CONF="$conf" "$W/dest/usr/bin/hsmkey" generate --type ec:P-256 --label installed -o k.pem
must "openssl list names the provider" openssl list -providers
says "its name" '^  hsm$' out
says "its state" 'status: active' out
must "and what it can do" openssl list -provider hsm -signature-algorithms -store-loaders
says "ECDSA" 'ECDSA.* @ hsm' out
says "the store" 'pkcs11 @ hsm' out
must "openssl signs" openssl dgst -sha256 -sign k.pem -out sig data
must "the public half" openssl pkey -in k.pem -pubout -out k.pub
must "the signature is right" plain_openssl dgst -sha256 -verify k.pub -signature sig data
if [ -e "$build/engine/hsm.so" ]; then
    must "the engine is found by its id" env OPENSSL_ENGINES="$W/dest$engines" OPENSSL_CONF="$conf" \
        openssl engine -t hsm
fi

must "ninja uninstall" env DESTDIR="$W/dest" ninja -C "$W/b" uninstall
same "nothing is left" "$(find dest ! -type d 2>/dev/null || true)" ""
