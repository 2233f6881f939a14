#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# tokens.sh: what works with the token of the kind $HSM_TOKEN (see e2e/lib.sh)? Each thing is done and
# its result verified in software; a line "KEY<tab>yes|no<tab>WHY" for each. Run by
# scripts/tokens-doc.sh, which makes docs/tokens.md of it. A "no" is a result and no failure; but a
# result that is wrong, where the token said that it is right, is one.
. "$(dirname "$0")/e2e/lib.sh"

token
exec 4>&1 5>&2 # results; all else goes to the other output
exec >&2
limit=60

report() {
    printf '%s\t%s\t%s\n' "$1" "$2" "${3:-}" >&4
}

# wrong WHAT: a result that is not what it says. Ends the run.
wrong() {
    printf 'FAILED: %s\n' "$1" >&5
    exit 1
}

# why FILE: our own error in it, in few words: what the token said, or what we did.
why() {
    sed -nE 's/.*(token lacks [A-Z0-9_]+).*/\1/p;s/.*(C_[A-Za-z]+: CKR_[A-Z_]+).*/\1/p;s/.*: (decryption failed):.*/\1/p;s/.*module [^ ]* (cannot be used in a child of a process that used it).*/\1/p;s/.*no key was generated: ([^;]*).*/\1/p' "$1" | head -n 1
}

# can NAME COMMAND...: the command fails, or succeeds and what comes next verifies it.
can() {
    local name=$1 status=0
    shift
    "$@" >"$W/out" 2>&1 </dev/null || status=$?
    if [ $status = 0 ]; then
        report "$name" yes
        return 0
    fi
    [ $status -lt 124 ] || { show "$W/out"; failed "$name: an answer in time, and no crash" "got: status $status"; }
    report "$name" no "$(why "$W/out")"
    return 1
}

generates() {
    hsmkey generate --type "$2" --label "$1" -o "$1.pem" && openssl pkey -in "$1.pem" -pubout -out "$1.pub"
}

# signs KEY OPTION...: signed by the token, verified by a plain openssl.
signs() {
    local key=$1
    shift
    openssl dgst "$@" -sign "$key.pem" -out sig data || return 1
    plain_openssl dgst "$@" -verify "$key.pub" -signature sig data || wrong "signatures with $* are right"
}

signs_raw() {
    openssl pkeyutl -sign -rawin -inkey "$1.pem" -in data -out sig || return 1
    plain_openssl pkeyutl -verify -rawin -pubin -inkey "$1.pub" -in data -sigfile sig || wrong "signatures of $1 are right"
}

# decrypts KEY OPTION...
decrypts() {
    local key=$1 option options=()
    shift
    for option in "$@"; do
        options+=(-pkeyopt "$option")
    done
    plain_openssl pkeyutl -encrypt -pubin -inkey "$key.pub" "${options[@]}" -in data -out cipher ||
        wrong "a plain openssl encrypts with $*"
    openssl pkeyutl -decrypt -inkey "$key.pem" "${options[@]}" -in cipher -out plain || return 1
    cmp data plain || wrong "what was decrypted with $* is right"
}

derives() {
    plain_openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out peer.pem
    plain_openssl pkey -in peer.pem -pubout -out peer.pub
    openssl pkeyutl -derive -inkey ec.pem -peerkey peer.pub -out secret || return 1
    plain_openssl pkeyutl -derive -inkey peer.pem -peerkey ec.pub -out secret2 || wrong "the peer derives"
    cmp secret secret2 || wrong "both derive the same"
}

genpkey() {
    openssl genpkey -propquery provider=hsm -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt hsm-label:gen -out gen.pem
}

generates_ed25519() {
    openssl genpkey -propquery provider=hsm -algorithm ED25519 -pkeyopt hsm-label:ed -out ed.pem &&
        openssl pkey -in ed.pem -pubout -out ed.pub
}

lists() {
    hsmkey list >list || { cat list; return 1; }
    grep -E '^private +rsa:2048 +rsa ' list
}

references() {
    hsmkey reference "$token_uri;object=rsa;type=private" -o ref.pem && openssl pkey -in ref.pem -pubout -out ref.pub &&
        cmp ref.pub rsa.pub
}

# serves [KEY=VALUE...]: 12 handshakes with two workers of nginx; one that fails is enough for a no.
serves() {
    local i key version
    configure "$@"
    nginx_start rsa ec
    for i in 1 2 3; do
        for key in RSA EC; do
            for version in 1.2 1.3; do
                fetch $key $version || { grep -a hsm error.log; stop_server "$server_pid"; return 1; }
            done
        done
    done
    stop_server "$server_pid"
}

module_package() {
    local real
    real=$(readlink -f "$module")
    dpkg-query -S "$real" "$module" 2>/dev/null | sed -n '1s/:.*//p'
}

case $HSM_TOKEN in
tpm) packages='libtpm2-pkcs11-1 swtpm tpm2-abrmd' ;;
softhsm-remote) packages='libsofthsm2 p11-kit' ;;
*) packages=$(module_package) ;;
esac
for package in $packages; do
    version="${version:+$version, }$(dpkg-query -W -f '${Package} ${Version}' "$package")"
done
report openssl "$(plain_openssl version | cut -d' ' -f1-2)"
report version "$version"

can generate-rsa:2048 generates rsa rsa:2048 || failed "a token without RSA keys is of no use here"
can generate-rsa:3072 generates rsa3072 rsa:3072 || true
can generate-rsa:4096 generates rsa4096 rsa:4096 || true
can generate-ec:P-256 generates ec ec:P-256 || failed "a token without EC keys is of no use here"
can generate-ec:P-384 generates ec384 ec:P-384 && { can sign-ec:P-384 signs ec384 -sha384 || true; }
can generate-ec:P-521 generates ec521 ec:P-521 && { can sign-ec:P-521 signs ec521 -sha512 || true; }
can generate-ed25519 generates_ed25519 && { can sign-ed25519 signs_raw ed || true; }
can genpkey genpkey || true
can list lists || true
can reference references || true
for digest in sha1 sha256 sha384 sha512 sha3-256; do
    can "pkcs1-$digest" signs rsa "-$digest" || true
done
for digest in sha256 sha384 sha512; do
    can "pss-$digest" signs rsa "-$digest" -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest || true
done
can pss-salt signs rsa -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:11 || true
can pss-mixed signs rsa -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_mgf1_md:sha1 || true
for digest in sha1 sha256 sha384 sha512 sha3-256; do
    can "ecdsa-$digest" signs ec "-$digest" || true
done
can decrypt-pkcs1 decrypts rsa rsa_padding_mode:pkcs1 || true
can oaep-sha1 decrypts rsa rsa_padding_mode:oaep || true
can oaep-sha256 decrypts rsa rsa_padding_mode:oaep rsa_oaep_md:sha256 || true
can oaep-mixed decrypts rsa rsa_padding_mode:oaep rsa_oaep_md:sha256 rsa_mgf1_md:sha1 || true
can oaep-label decrypts rsa rsa_padding_mode:oaep rsa_oaep_md:sha256 rsa_oaep_label:6c6162656c || true
can ecdh derives || true
# Four threads, 50 signatures each, verified by the program itself.
can threads client threads rsa.pem 4 50 || true
software_ca
certificate rsa
certificate ec
can nginx serves || true
can nginx-late serves check-key-at-load=no || true
