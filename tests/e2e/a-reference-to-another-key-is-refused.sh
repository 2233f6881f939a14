#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tokens: softhsm,softhsm-remote
#
# The reference's public half must be the one of the key in the token.
. "$(dirname "$0")/lib.sh"

token
delete() {
    local type
    for type in privkey pubkey; do
        must "delete the $type $1" pkcs11_tool --delete-object --type $type --id "$1"
    done
}
for type in rsa:RSA:2048 ec:EC:prime256v1; do
    name=${type%%:*}
    case $name in rsa) spec=rsa:2048 ;; ec) spec=ec:P-256 ;; esac
    key $name $spec --id 0a0b
    delete 0a0b
    must "another key in its place" pkcs11_tool --keypairgen --key-type "${type#*:}" --label $name --id 0a0b
    refuses "$name: the old reference is refused" 'match|differ|not the expected|another' $name.pem
    configure check-key-at-load=no
    refuses "$name: and when keys are checked late" 'match|differ|not the expected|another' $name.pem
    if [ $name = ec ]; then
        must "without its public object" pkcs11_tool --delete-object --type pubkey --id 0a0b
        for check in yes no; do
            configure check-key-at-load=$check
            refuses "$name: the first signature does not leave, check-key-at-load = $check" \
                'match|differ|not the expected|verif' ec.pem
        done
        must "delete" pkcs11_tool --delete-object --type privkey --id 0a0b
    else
        delete 0a0b
    fi
    configure
done
