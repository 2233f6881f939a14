#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The provider works before and after the default provider in the configuration.
. "$(dirname "$0")/lib.sh"

token
for provider_order in 'default hsm' 'hsm default'; do
    configure
    step "order: $provider_order"
    label=k${provider_order%% *}
    key rsa$label rsa:2048
    key ec$label ec:P-256
    for name in rsa$label ec$label; do
        must "dgst" openssl dgst -sha256 -sign $name.pem -out sig data
        must "  verifies in software" plain_openssl dgst -sha256 -verify $name.pub -signature sig data
        must "  verifies in this configuration" openssl dgst -sha256 -verify $name.pub -signature sig data
        must "req" openssl req -new -key $name.pem -subj /CN=$name -out csr
        must "  verifies" openssl req -in csr -verify -noout
    done
    must "encrypt" openssl pkeyutl -encrypt -pubin -inkey rsa$label.pub -pkeyopt rsa_padding_mode:oaep -in "$W/pin" -out cipher
    must "decrypt" openssl pkeyutl -decrypt -inkey rsa$label.pem -pkeyopt rsa_padding_mode:oaep -in cipher -out plain
    same_files "the text" plain "$W/pin"
    step "software keys are as good as before"
    must "genpkey in software" openssl genpkey -propquery provider=default -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out soft.pem
    must "dgst with a software key" openssl dgst -sha256 -sign soft.pem -out sig data
    must "pkey" openssl pkey -in soft.pem -pubout -out soft.pub
    must "  verifies" plain_openssl dgst -sha256 -verify soft.pub -signature sig data
done
