#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# build.sh [FOLDER [MESON OPTION...]]: configure FOLDER (default build/) if that has not been done,
# and build. Quiet; a failure shows the log.
set -euo pipefail
. "$(dirname "$0")/common.sh"

build=${1:-build}
[ $# = 0 ] || shift
case $build in /*) ;; *) build=$root/$build ;; esac
name=${build##*/}
logs=${LOG_DIR:-$root/build/log}

if [ ! -e "$build/build.ninja" ]; then
    logged "$logs/$name-setup.log" meson setup "$@" "$build" "$root" || exit 1
elif [ $# -gt 0 ]; then
    logged "$logs/$name-setup.log" meson configure "$@" "$build" || exit 1
fi
logged "$logs/$name-compile.log" ninja -C "$build" -j "$(jobs_default)"
