#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# rotate.sh: a server's next key, made in the HSM, its certificate, and the change to it without a
# failed handshake.
#
#   rotate.sh first FOLDER TYPE SUBJECT NAMES   the first key of all, as rsa:3072 /CN=www.example.org
#                                               DNS:www.example.org,DNS:example.org
#   rotate.sh request FOLDER [TYPE]             the next key; subject and names are the certificate's
#   rotate.sh install FOLDER FILE COMMAND...    FILE: the certificate, with its chain; COMMAND
#                                               reloads the server, as sh -c 'nginx -t && nginx -s reload'
#   rotate.sh back FOLDER COMMAND...            the key and certificate before
#
# The server has FOLDER/current/key.pem and FOLDER/current/cert.pem. OPENSSL_CONF names the
# configuration of the provider. README.md explains.
set -euo pipefail
: "${OPENSSL_CONF:?has to name a configuration that includes hsm.cnf}"
hsmkey=${HSMKEY:-hsmkey}

die() {
    printf 'rotate.sh: %s\n' "$1" >&2
    exit 1
}

# points LINK TO: in one step, so that whoever looks finds the old or the new, and never none.
points() {
    ln -s "$2" "$1.new.$$"
    mv -T "$1.new.$$" "$1"
}

# new_key TYPE: in a folder of its own, as FOLDER/next. Its label in the HSM has the date.
new_key() {
    local day n=1
    day=$(date -u +%Y%m%d)
    [ ! -L next ] || die "$PWD/next is waiting for its certificate already; remove that link to give it up"
    while ! mkdir "$day-$n" 2>/dev/null; do
        [ -d "$day-$n" ] || die "$PWD/$day-$n cannot be made"
        n=$((n + 1))
    done
    generation=$day-$n
    if ! "$hsmkey" generate --type "$1" --label "${PWD##*/}-$generation" -o "$generation/key.pem"; then
        rmdir "$generation"
        die "no key was made"
    fi
}

# type_of CERTIFICATE: as hsmkey generate calls it.
type_of() {
    local text
    text=$(openssl x509 -in "$1" -noout -text)
    case $text in
    *"Public Key Algorithm: rsaEncryption"*) sed -n 's/.*Public-Key: (\([0-9]*\) bit).*/rsa:\1/p' <<<"$text" ;;
    *"NIST CURVE: "*) sed -n 's/.*NIST CURVE: /ec:/p' <<<"$text" ;;
    *"Public Key Algorithm: ED25519"*) echo ed25519 ;;
    *) die "which type $1's key has is not clear: say it, as in: rotate.sh request FOLDER ec:P-256" ;;
    esac
}

requested() {
    points next "$generation"
    openssl req -in next/request.csr -noout -verify -subject
    echo "the CA's: $PWD/next/request.csr"
}

# made_request COMMAND...: OpenSSL makes it; a key without a request is of no use, and is named.
made_request() {
    "$@" -out "$generation/request.csr" ||
        die "no request was made; the key ${PWD##*/}-$generation is in the HSM, unused"
}

cmd_first() {
    [ $# = 3 ] || die "first takes FOLDER TYPE SUBJECT NAMES"
    [ ! -L current ] || die "$PWD has a key: request the next one"
    new_key "$1"
    made_request openssl req -new -key "$generation/key.pem" -subj "$2" -addext "subjectAltName=$3"
    requested
}

cmd_request() {
    local type
    [ $# -le 1 ] || die "request takes FOLDER and TYPE"
    [ -L current ] || die "$PWD has no certificate to take the names from: see 'first'"
    type=${1:-$(type_of current/cert.pem)}
    new_key "$type"
    # not what the CA added: only names, and whether a stapled OCSP response is promised
    made_request openssl x509 -x509toreq -copy_extensions copy -ext subjectAltName,tlsfeature \
        -in current/cert.pem -signkey "$generation/key.pem"
    requested
}

# Before the server sees any of it: is it this key's, in time, and does the HSM sign with it?
check() {
    openssl x509 -in "$1" -noout -checkend 3600 >/dev/null || die "the certificate is no good in an hour's time"
    [ "$(openssl x509 -in "$1" -noout -pubkey)" = "$(openssl pkey -in next/key.pem -pubout)" ] ||
        die "the certificate is for another key than $PWD/next/key.pem"
    if [ -L current ]; then
        [ "$(openssl x509 -in "$1" -noout -ext subjectAltName)" = \
            "$(openssl x509 -in current/cert.pem -noout -ext subjectAltName)" ] ||
            echo "note: the certificate has other names than the present one" >&2
    fi
    "$hsmkey" check next/key.pem || die "the key cannot be used"
}

# changes TO COMMAND...: the server gets the pair in TO, or keeps what it has.
changes() {
    local to=$1 from
    shift
    from=$(readlink current || true)
    points current "$to"
    if ! "$@"; then
        if [ -n "$from" ]; then
            points current "$from"
        else
            rm current
        fi
        die "'$*' failed: ${from:-nothing} is in use as before"
    fi
    [ -z "$from" ] || points previous "$from"
    echo "in use: $PWD/$to"
}

cmd_install() {
    local cert to
    [ $# -ge 2 ] || die "install takes FOLDER FILE COMMAND..."
    [ -L next ] || die "$PWD has no key that waits for a certificate"
    cert=$(cd "$came_from" && realpath -e "$1") || die "there is no certificate $1"
    shift
    check "$cert"
    to=$(readlink next)
    cp "$cert" "$to/cert.pem"
    changes "$to" "$@"
    rm next
}

cmd_back() {
    [ $# -ge 1 ] || die "back takes FOLDER COMMAND..."
    [ -L previous ] || die "$PWD has nothing to go back to"
    changes "$(readlink previous)" "$@"
}

command=${1:-}
folder=${2:-}
case $command in
first | request | install | back) [ -n "$folder" ] || die "which folder?" ;;
*) sed -n '4,17s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
shift 2
came_from=$PWD
[ "$command" != first ] || mkdir -p "$folder"
cd "$folder"
exec 9<. # one at a time
flock -n 9 || die "somebody else is at work in $folder"
"cmd_$command" "$@"
