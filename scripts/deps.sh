#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# deps.sh [SET...] [+PACKAGE...]: install what is missing (Debian 12 or later, apt). The sets are build
# example cluster e2e test lint fuzz model coverage roots package tokens.
# If all is there it does nothing, not even an apt-get update. Needs root or sudo otherwise.
#
# Debian's servers (nginx on port 80, and so on) start when they are installed. Nothing here wants
# that, so packages are installed with SYSTEMD_OFFLINE=1 (systemctl then leaves the running system
# alone) and RUNLEVEL=1 (sysvinit's scripts then start nothing), and the service of a package that
# was not there before is disabled again. No file (such as a policy-rc.d) is put anywhere for that.
set -euo pipefail
. "$(dirname "$0")/common.sh"

build='gcc libc6-dev meson ninja-build pkg-config libssl-dev libp11-kit-dev check'
example="$build openssl nginx softhsm2 opensc-pkcs11 ca-certificates curl"
cluster="$example p11-kit procps util-linux"
e2e="$build $example opensc p11-kit p11-kit-modules libnss3 libnss3-tools gnutls-bin python3 python3-cryptography
       procps util-linux"
test="$e2e clang llvm libclang-rt-dev valgrind"
lint="$build clang clang-format clang-tidy cppcheck binutils mandoc"
fuzz="$build clang llvm libclang-rt-dev"
coverage="$build gcovr python3 util-linux"
model='spin gcc libc6-dev'
roots='debootstrap util-linux'
package="$build build-essential dpkg-dev debhelper fakeroot nginx softhsm2 curl"
tokens="$e2e swtpm swtpm-tools libtpm2-pkcs11-1 libtpm2-pkcs11-tools tpm2-tools tpm2-abrmd libtss2-tcti-tabrmd0
        dbus-daemon opencryptoki"

[ $# -gt 0 ] || set -- build
wanted=
for set in "$@"; do
    case $set in
    +*) wanted="$wanted ${set#+}" ;;
    build | example | cluster | e2e | test | lint | fuzz | model | coverage | roots | package | tokens) wanted="$wanted ${!set}" ;;
    *) die "unknown set of packages: $set (there are build example cluster e2e test lint fuzz model coverage roots package tokens)" ;;
    esac
done

installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

missing=
for package in $wanted; do
    case " $missing " in *" $package "*) continue ;; esac
    if [ "$package" = libclang-rt-dev ]; then
        # Only a versioned name exists before Debian 13; clang recommends the right one.
        find_file "/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.asan-*.so" \
            "/usr/lib/clang/*/lib/linux/libclang_rt.asan-*.so" >/dev/null && continue
    elif installed "$package"; then
        continue
    fi
    missing="$missing $package"
done
[ -n "$missing" ] || exit 0

command -v apt-get >/dev/null ||
    die "not a Debian system; please install by hand what corresponds to:$missing"
as_root=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null ||
        die "neither root nor sudo; please install as root: apt-get install$missing"
    as_root=sudo
fi

echo "installing:$missing"
log=$root/build/log/deps.log
# The log folder must not become root's when sudo is used, and build/ not a half-made build folder:
# meson does not mind a folder with only logs in it.
mkdir -p "$(dirname "$log")"

apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive SYSTEMD_OFFLINE=1 RUNLEVEL=1 PREVLEVEL=1 \
        apt-get -q -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@"
}

new_services=
for package in nginx apache2 haproxy postgresql stunnel4 lighttpd; do
    installed "$package" || new_services="$new_services $package"
done

logged "$log" apt update || die "apt-get update failed"
case " $missing " in
*" libclang-rt-dev "*)
    clang=$(apt-cache depends clang | sed -n 's/.*Depends: clang-\([0-9]*\).*/\1/p' | head -n 1)
    missing=${missing/ libclang-rt-dev/ libclang-rt-$clang-dev}
    ;;
esac
# shellcheck disable=SC2086
logged "$log" apt install --no-install-recommends $missing || die "apt-get install failed"

command -v systemctl >/dev/null || exit 0
for package in $new_services; do
    installed "$package" || continue
    $as_root env SYSTEMD_OFFLINE=1 systemctl disable "$package" >>"$log" 2>&1 ||
        echo "note: the service $package stays enabled, see $log"
done
