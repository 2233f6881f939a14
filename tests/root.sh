# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Sourced after scripts/common.sh by what runs in a Debian of its own: a root folder for each
# release below build/roots/, made by debootstrap from the mirror that apt is set up with, and kept.
# Mounts live in a namespace and go away with it: such a folder can be removed with rm -rf.

roots=${HSM_ROOTS:-$root/build/roots}

# root_possible: dies with the reason if roots cannot be made here.
root_possible() {
    [ "$(id -u)" = 0 ] || die "making a Debian root needs root's rights (debootstrap, chroot, mount)"
    command -v apt-get >/dev/null || die "not a Debian system: no apt that would know a mirror"
    "$root/scripts/deps.sh" roots || die "debootstrap could not be installed"
    unshare --mount --pid --ipc --net --fork true 2>/dev/null ||
        die "namespaces are not permitted here (unshare --mount --pid --ipc --net)"
}

# root_mirror: the mirror of Debian itself (not of its security updates) that apt uses.
root_mirror() {
    local mirror=
    # shellcheck disable=SC2016
    mirror=$(apt-get indextargets --format '$(LABEL)|$(SITE)' 'Created-By: Packages' |
        sed -n 's/^Debian|//p' | head -n 1)
    [ -n "$mirror" ] || mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' |
        grep -E '/debian/?$' | head -n 1)
    [ -n "$mirror" ] || die "apt's sources name no mirror of Debian (is it another distribution?)"
    printf '%s\n' "$mirror"
}

# root_make RELEASE PACKAGE-SET...: make the root of that release if it is not there, and install
# what scripts/deps.sh calls by these names. One process at a time.
root_make() {
    local release=$1 dir=$roots/$1 proxy
    shift
    mkdir -p "$roots"
    exec 8>"$roots/$release.lock"
    flock 8
    if [ ! -e "$dir/.made" ]; then
        rm -rf "${dir:?}"
        proxy=$(apt-config dump Acquire::http::Proxy --format '%v%n' 2>/dev/null || true)
        mkdir -p "$roots/debs"
        # shellcheck disable=SC2097,SC2098
        logged "$roots/$release.debootstrap.log" env ${proxy:+http_proxy="$proxy"} \
            debootstrap --variant=minbase --cache-dir="$roots/debs" \
            --include=ca-certificates,iproute2 "$release" "$dir" "$(root_mirror)" ||
            die "debootstrap could not make a root of $release"
        apt-config dump 2>/dev/null | grep -E '^Acquire::https?::Proxy' >"$dir/etc/apt/apt.conf.d/90proxy" || true
        # A mirror that stands still for a while (sid's lists are valid for a week) is no reason not to
        # test. Signatures are checked all the same.
        echo 'Acquire::Check-Valid-Until "false";' >"$dir/etc/apt/apt.conf.d/90old-mirror"
        # Nobody minds if a root is lost with the machine: dpkg need not wait for the disk.
        echo force-unsafe-io >"$dir/etc/dpkg/dpkg.cfg.d/90unsafe-io"
        # No service starts in there.
        printf '#!/bin/sh\nexit 101\n' >"$dir/usr/sbin/policy-rc.d"
        chmod 755 "$dir/usr/sbin/policy-rc.d"
        touch "$dir/.made"
    fi
    # The names as they are here, now: the root may be older than the network it is used in.
    cp /etc/resolv.conf "$dir/etc/resolv.conf" 2>/dev/null || true
    cp /etc/hosts "$dir/etc/hosts"
    root_sources "$release"
    [ $# = 0 ] || root_run --network "$release" /work/src/scripts/deps.sh "$@" ||
        die "the packages ($*) could not be installed in the root of $release"
    exec 8>&-
}

# root_sources RELEASE: this source tree, as it is, to /work/src in the root. Times are kept, so
# that what was built there is built anew only where something changed.
root_sources() {
    local work=$roots/$1/work
    mkdir -p "$work/src"
    find "$work/src" -mindepth 1 -maxdepth 1 ! -name 'build*' -exec rm -rf {} +
    tar -C "$root" --exclude=./build --exclude='./build-*' --exclude=./.git --exclude=./.cache \
        --exclude='./examples/*/run' -cf - . | tar -C "$work/src" --no-same-owner -xf -
}

# root_run [--network] [--discard] RELEASE COMMAND...: run it in the root, as root. It has processes,
# /proc, /dev/shm, terminals and (without --network) a loopback of its own, all of which end with it.
#   --discard   what it writes below / is gone afterwards, but for /work
root_run() {
    local network=--net discard=
    while :; do
        case $1 in
        --network) network= ;;
        --discard) discard=yes ;;
        *) break ;;
        esac
        shift
    done
    local dir=$roots/$1
    shift
    # shellcheck disable=SC2016
    unshare --mount --pid --ipc --fork --kill-child $network env -i HOME=/root TERM=dumb LC_ALL=C.UTF-8 \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        ROOT_DIR="$dir" ROOT_NET="$network" ROOT_DISCARD="$discard" \
        ${JOBS:+JOBS="$JOBS"} ${HSM_LIMIT:+HSM_LIMIT="$HSM_LIMIT"} ${LOG_TAIL:+LOG_TAIL="$LOG_TAIL"} \
        bash -euc '
            if [ -n "$ROOT_DISCARD" ]; then
                mount -t tmpfs -o mode=755 none /mnt
                mkdir /mnt/upper /mnt/work /mnt/root
                mount -t overlay -o "lowerdir=$ROOT_DIR,upperdir=/mnt/upper,workdir=/mnt/work" none /mnt/root
                mkdir -p /mnt/root/work
                mount --bind "$ROOT_DIR/work" /mnt/root/work
                ROOT_DIR=/mnt/root
            else
                # a mount of its own, or unshare --mount in there fails
                mount --bind "$ROOT_DIR" "$ROOT_DIR"
            fi
            mount -t proc proc "$ROOT_DIR/proc"
            mount -t tmpfs -o mode=1777 none "$ROOT_DIR/dev/shm" 2>/dev/null ||
                { mkdir -p "$ROOT_DIR/dev/shm" && mount -t tmpfs -o mode=1777 none "$ROOT_DIR/dev/shm"; }
            mkdir -p "$ROOT_DIR/dev/pts"
            mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$ROOT_DIR/dev/pts"
            [ -e "$ROOT_DIR/dev/ptmx" ] || ln -s pts/ptmx "$ROOT_DIR/dev/ptmx"
            mount -t tmpfs -o mode=1777 none "$ROOT_DIR/tmp"
            [ -z "$ROOT_NET" ] || chroot "$ROOT_DIR" ip link set lo up
            unset ROOT_NET ROOT_DISCARD
            exec chroot "$ROOT_DIR" env -u ROOT_DIR "$@"' root_run "$@"
}
