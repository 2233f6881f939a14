#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# build.sh [FOLDER [MESON OPTION...]]: configure FOLDER (default build/) if that has not been done,
# and build: all of it, or what BUILD_TARGETS names. Quiet; a failure shows the log. A build in build/
# leaves compile_commands.json at the top, where editors look for it.
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
if [ "$build" = "$root/build" ]; then
    ln -sfn build/compile_commands.json "$root/compile_commands.json"
fi
# shellcheck disable=SC2086
logged "$logs/$name-compile.log" ninja -C "$build" -j "$(jobs_default)" ${BUILD_TARGETS:-}
