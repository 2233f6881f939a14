#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh [MEASUREMENT...]: build optimised, into build-bench/, and print ratios and counts: calls
# throughput handovers async cpu load memory timing, or some of these. docs/performance.md says what they mean.
# Nothing passes or fails. SAMPLES=N: samples per line of `timing`; RSA=1: with real decryptions.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

[ $# -gt 0 ] || set -- calls throughput handovers async cpu load memory timing
for measurement in "$@"; do
    case $measurement in
    calls | throughput | handovers | async | cpu | load | memory | timing) ;;
    -h | --help) sed -n '4,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) die "unknown measurement: $measurement (there are calls throughput handovers async cpu load memory timing)" ;;
    esac
done

scripts/deps.sh build test
export LOG_DIR=$root/build/log
[ -e build-bench/build.ninja ] ||
    logged "$LOG_DIR/build-bench-setup.log" meson setup -Dbuildtype=release -Dbench=true build-bench
logged "$LOG_DIR/build-bench-compile.log" \
    ninja -C build-bench -j "$(jobs_default)" bench/bench-operations bench/bench-dudect bench/bench-async

# Anything else on the machine shows in the numbers.
printf '%s processors, load %s, OpenSSL %s, p11-kit %s\n' "$(nproc)" "$(cut -d' ' -f1 /proc/loadavg)" \
    "$(pkg-config --modversion libcrypto)" "$(pkg-config --modversion p11-kit-1)"
for measurement in "$@"; do
    if [ "$measurement" = timing ]; then
        # shellcheck disable=SC2086
        build-bench/bench/bench-dudect ${SAMPLES:-${RSA:+10000}} ${RSA:+rsa}
    elif [ "$measurement" = async ]; then
        build-bench/bench/bench-async
    else
        build-bench/bench/bench-operations "$measurement"
    fi
done
