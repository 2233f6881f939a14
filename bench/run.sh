#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh [MEASUREMENT...]: build optimised, into build-bench/, and print ratios and counts: calls
# throughput handovers async cpu load instructions memory timing, or some of these.
# docs/performance.md says what they mean.
# Nothing passes or fails. SAMPLES=N: samples per line of `timing`; RSA=1: with real decryptions.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

[ $# -gt 0 ] || set -- calls throughput handovers async cpu load instructions memory timing
for measurement in "$@"; do
    case $measurement in
    calls | throughput | handovers | async | cpu | load | instructions | memory | timing) ;;
    -h | --help) sed -n '4,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) die "unknown measurement: $measurement (there are calls throughput handovers async cpu load instructions memory timing)" ;;
    esac
done

scripts/deps.sh build test
export LOG_DIR=$root/build/log
[ -e build-bench/build.ninja ] ||
    logged "$LOG_DIR/build-bench-setup.log" meson setup -Dbuildtype=release -Dbench=true build-bench
logged "$LOG_DIR/build-bench-compile.log" \
    ninja -C build-bench -j "$(jobs_default)" bench/bench-operations bench/bench-dudect bench/bench-async \
    bench/bench-instructions

# counted ROW [FUNCTION]: instructions of one round, by callgrind; of that function alone. The fake
# token's own, behind C_ functions, are left out, and it does not matter what else the machine does.
counted() {
    local rounds=10 out count=(--toggle-collect='counted_*' --toggle-collect='C_*')

    [ $# = 1 ] || count=(--toggle-collect="$2")
    # a function switches counting over, so on where it was off: what came before is forgotten
    out=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null --zero-before=begin_counting \
        "${count[@]}" build-bench/bench/bench-instructions "$1" $rounds 2>&1) || die "$out"
    printf '%s\n' "$out" | awk -v rounds=$rounds '/Collected/ {printf "%d\n", $NF / rounds}'
}

instructions() {
    printf '\nInstructions, keys from a reference (PEM), on a token that is connected\n'
    printf '%-64s %12s\n' \
        'RSA: load, PKCS#1 signature, free' "$(counted rsa)" \
        'RSA: load, free' "$(counted rsa-load)" \
        'RSA: PKCS#1 signature' "$(counted rsa-sign)" \
        'EC: load, signature, free' "$(counted ec)" \
        'EC: the software verification of the first signature, of that' "$(counted ec prov_proof_verify)" \
        'EC: load, free' "$(counted ec-load)" \
        'EC: signature' "$(counted ec-sign)" \
        'a software RSA key: load, free' "$(counted software-load)" \
        'the same in a process without us' "$(counted software-alone)"
}

# Anything else on the machine shows in the numbers.
printf '%s processors, load %s, OpenSSL %s, p11-kit %s\n' "$(nproc)" "$(cut -d' ' -f1 /proc/loadavg)" \
    "$(pkg-config --modversion libcrypto)" "$(pkg-config --modversion p11-kit-1)"
for measurement in "$@"; do
    if [ "$measurement" = timing ]; then
        # shellcheck disable=SC2086
        build-bench/bench/bench-dudect ${SAMPLES:-${RSA:+10000}} ${RSA:+rsa}
    elif [ "$measurement" = async ]; then
        build-bench/bench/bench-async
    elif [ "$measurement" = instructions ]; then
        instructions
    else
        build-bench/bench/bench-operations "$measurement"
    fi
done
