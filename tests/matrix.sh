#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# matrix.sh [RELEASE...] [PART...]: build and test in a Debian of each release, with its OpenSSL.
#
#   bookworm  OpenSSL 3.0       trixie  OpenSSL 3.5       sid  OpenSSL 3.6 or newer
#
#   unit      unit tests
#   core      the end-to-end tests that show whether all operations work with that OpenSSL
#   few       some of those, to see whether a release works at all
#   e2e       all end-to-end tests; e2e:WORD only those with WORD in the name
#   --fresh   make the roots anew, with the packages of today
#   --roots   make the roots for these parts, and test nothing
#
# Without a release it is all three, without a part unit and core. Needs root's rights. The roots are
# made by debootstrap from the mirror that apt is set up with, in build/roots/, and kept. Logs are in
# build/log/matrix/. A release that cannot be tested is a failure. The last line counts.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
. tests/root.sh

few='openssl-signs-with-a-key-reference tls-works-with-keys nginx-serves-with-rsa engine-serves-nginx'
core="$few both-provider-orders pkeyutl-signs-and-decrypts genpkey-and-req-newkey cms-signs references-are-refused
      other-wrappers storeutl-lists the-private-part ecdh-secrets ed25519-keys-sign random-numbers a-broken-configuration
      a-ca-key threads-share nginx-reload engine-signs a-wrong-pin-is-tried-once the-policy-table installs-and
      nginx-says engine-draws several-modules whoever-does-not parameter-files software-keys-go hsmkey-check-does"

releases=
parts=
fresh=no
roots_only=no
for word in "$@"; do
    case $word in
    bookworm | trixie | sid) releases="$releases $word" ;;
    unit | core | few | e2e | e2e:*) parts="$parts $word" ;;
    --fresh) fresh=yes ;;
    --roots) roots_only=yes ;;
    -h | --help) sed -n '4,17s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) die "neither release nor part: $word (there are bookworm trixie sid; unit core few e2e)" ;;
    esac
done
releases=${releases:-bookworm trixie sid}
parts=${parts:-unit core}

# What tests/run.sh calls it, and the packages that it takes beside scripts/deps.sh's sets.
inside=
for part in $parts; do
    case $part in
    unit) inside="$inside unit:gcc" ;;
    core) for word in $core; do inside="$inside e2e:$word"; done ;;
    few) for word in $few; do inside="$inside e2e:$word"; done ;;
    *) inside="$inside $part" ;;
    esac
done
packages=
for part in $inside; do
    case $part in
    e2e) packages="$packages $(e2e_packages | tr '\n' ' ')" ;;
    e2e:*) packages="$packages $(e2e_packages "${part#*:}" | tr '\n' ' ')" ;;
    esac
done

logs=$root/build/log/matrix
mkdir -p "$logs"
root_possible
passed=0
failed=0

# release NAME: one of them. Its own counts are in the last line of its log.
release() {
    local log=$logs/$1.log status=0 start=$SECONDS count
    [ $fresh = no ] || rm -rf "${roots:?}/$1"
    # shellcheck disable=SC2086
    if ! (root_make "$1" e2e $packages) >"$log" 2>&1; then
        printf 'FAILED  %s: no root: %s\n' "$1" "$(tail -n 1 "$log")"
        failed=$((failed + 1))
        return
    fi
    printf '%s: %s (root ready after %d s)\n' "$1" "$(root_run "$1" openssl version)" $((SECONDS - start))
    # shellcheck disable=SC2086
    root_run "$1" /work/src/tests/run.sh $inside 2>&1 </dev/null | tee "$log" | sed -u "s/^ok     /ok      $1:/;s/^FAILED /FAILED  $1:/" |
        grep --line-buffered -vE '^[0-9]+ passed, [0-9]+ failed$' || true
    rm -rf "${logs:?}/$1"
    cp -r "$roots/$1/work/src/build/log" "$logs/$1" 2>/dev/null || true
    count=$(sed -nE '$s/^([0-9]+) passed, ([0-9]+) failed$/\1 \2/p' "$log")
    if [ -z "$count" ]; then
        printf 'FAILED  %s: the tests did not come to their end\n' "$1"
        tail -n 20 "$log"
        failed=$((failed + 1))
        return
    fi
    passed=$((passed + ${count% *}))
    failed=$((failed + ${count#* }))
}

for name in $releases; do
    if [ $roots_only = yes ]; then
        # shellcheck disable=SC2086
        (root_make "$name" e2e $packages)
    else
        release "$name"
    fi
done
[ $roots_only = no ] || exit 0
printf '%d passed, %d failed\n' $passed $failed
[ $failed = 0 ] && [ $passed -gt 0 ]
