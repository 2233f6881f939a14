#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# model.sh [lint]: check the model in docs/model/ with spin: every configuration whole, and then
# with each of the code's rules broken once, which has to be found, by the property that it is
# about. With `lint` only look whether the functions that docs/model/README.md names exist.
set -euo pipefail
. "$(dirname "$0")/../scripts/common.sh"

model=$root/docs/model/hsm.pml
readme=${MODEL_README:-$root/docs/model/README.md}
failed=0

# Function names in the second column of the table, each defined somewhere in keystore/.
lint() {
    local names name all
    all=$(find "$root/keystore" -name '*.c' -exec cat {} +)
    names=$(sed -n '/^| step of the model/,/^$/p' "$readme" | awk -F'|' 'NR > 2 { print $3 }' |
        grep -o '`[a-z_0-9]*`' | tr -d '`' | sort -u)
    [ "$(wc -w <<<"$names")" -ge 20 ] || die "no table of functions in $readme"
    for name in $names; do
        # A definition begins in the first column and its arguments are not followed by a ;
        if ! awk -v name="$name" '
            /^[a-z]/ && $0 ~ "(^|[ *])" name "\\(" { head = 1 }
            head && /;$/ { head = 0 }
            head && /^{/ { found = 1 }
            /^}/ { head = 0 }
            END { exit !found }' <<<"$all"; then
            printf 'lint: %s names %s(), which is not defined in keystore/\n' "$readme" "$name"
            failed=1
        fi
    done
}

# run NAME OPTIONS: build and run the verifier; its output is in $out.
run() {
    local dir=$work/$1
    out=$dir/out
    mkdir -p "$dir"
    # shellcheck disable=SC2086
    (cd "$dir" && spin -a $2 "$model" >spin.log 2>&1 &&
        gcc -O2 -w -DSAFETY -DCOLLAPSE -DMEMLIM=1500 -o pan pan.c) ||
        { cat "$dir/spin.log"; die "the model does not build with: $2"; }
    (cd "$dir" && timeout 900 ./pan -m1000000 -w22) >"$out" 2>&1 || true
}

# What a good run says: all of it was looked at, and nothing found.
whole() {
    run "$1" "$2"
    if grep -q 'errors: 0' "$out" && ! grep -qE 'not completed|MEMLIM|max search depth too small|truncated' "$out"; then
        printf 'ok      model: %-10s %10.0f states, depth %s\n' "$1" \
            "$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' "$out")" \
            "$(sed -n 's/.*depth reached \([0-9]*\).*/\1/p' "$out")"
    else
        printf 'FAILED  model: %s (%s)\n' "$1" "$2"
        cat "$out"
        failed=1
    fi
}

# broken RULE CONFIGURATION PATTERN: spin has to say that.
broken() {
    run "$1" "${config[$2]} -DBREAK_$1"
    if grep -E '^pan:1: ' "$out" | grep -qE -- "$3"; then
        printf 'ok      model: without %-14s found: %s\n' "$1" \
            "$(sed -n 's/^pan:1: \(.*\) (at depth.*/\1/p' "$out" | cut -c1-90)"
    else
        printf 'FAILED  model: without %s nothing like "%s" was found\n' "$1" "$3"
        cat "$out"
        failed=1
    fi
}

lint
[ "${1:-}" != lint ] || exit $failed

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Together they are what is asked for; README.md says what is in which.
declare -A config=(
    [device]='-DTROUBLES=2 -DKINDS=32 -DREINITS=0 -DFORKS=0 -DWHOLE_GATE'
    [close]='-DTROUBLES=1 -DKINDS=5 -DREINITS=0 -DFORKS=0 -DWHOLE_GATE'
    [lost]='-DTROUBLES=1 -DKINDS=26 -DREINITS=0 -DFORKS=0 -DWHOLE_GATE'
    [neighbour]='-DTROUBLES=0 -DREINITS=1 -DFORKS=0'
    [fork]='-DTROUBLES=0 -DREINITS=0 -DFORKS=1'
)
# start COMMAND...: as many at a time as there are processors; what each says comes in this order.
count=0
start() {
    while [ "$(jobs -rp | wc -l)" -ge "$(jobs_default)" ]; do
        wait -n || true
    done
    { "$@"; echo $failed >"$work/failed.$count"; } >"$work/said.$count" 2>&1 &
    count=$((count + 1))
}

for name in device neighbour fork lost close; do
    start whole $name "${config[$name]}"
done
start broken WAKE close 'invalid end state'
start broken LATE_STAYS close 'invalid end state|first|waiters'
start broken TURN close 'first'
start broken UP_LOCK lost 'reconnects==1'
start broken DRAIN device 'inside==1'
start broken EPOCH_COMPARE neighbour 'k_tag%16'
start broken INIT_COMPARE neighbour '_tag%16|initialized_by'
start broken COUNT close 'open_count==\(?idle_count'
start broken COUNT_OLD lost 'open_count==\(?idle_count'
start broken STUCK close 'stuck==0'
start broken GENERATION fork '/16\)==process|initialized_by'
start broken FORK_WAIT fork 'inside==0'
start broken GATE_ORDER fork 'inside==0'
wait
for ((i = 0; i < count; i++)); do
    cat "$work/said.$i"
    [ "$(cat "$work/failed.$i" 2>/dev/null)" = 0 ] || failed=1
done
exit $failed
