#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh [PART...]: install what is missing, build, and run all tests, or these parts:
#
#   lint      layout, clang-tidy, cppcheck, who may use what
#   unit      unit tests, built with gcc and with clang; unit:gcc without clang
#   valgrind  unit tests under valgrind (a quarter of an hour and more)
#   e2e       end-to-end tests with real tokens and servers; e2e:WORD only those with WORD in the name
#   asan      unit tests, and end-to-end tests with SoftHSM, built with AddressSanitizer and UBSan;
#             asan:WORD those with WORD in the name, with all kinds of token
#   tsan      what uses threads, built with ThreadSanitizer: unit tests, and threads-share-a-key
#   fuzz      each target of tests/fuzz/ from its corpus for HSM_FUZZ_SECONDS (30 without it), built
#             with libFuzzer, AddressSanitizer and UBSan; what was found is kept in build/log/
#   example   examples/nginx/run.sh --once, and examples/cluster/run.sh --once
#   fault     the fault campaign: every CKR_ at every call, in 40,000 processes (some minutes);
#             fault:quarter by turns at one of four moments, as `all` does it
#   model     the model of the session pool (docs/model/), every state of it, with spin
#   matrix    unit tests and the core of e2e in roots of Debian 13 and of sid, with OpenSSL 3.5 and
#             3.6 (needs root's rights; tests/matrix.sh can do more)
#   coverage  how much of each folder the unit tests, and the end-to-end tests with SoftHSM, run
#             through: a table, and pages in build/log/coverage/; coverage:unit the unit tests alone,
#             coverage:WORD them and the end-to-end tests with WORD in the name
#   all       all of these but valgrind, matrix and coverage; so does no part at all
#
# Logs are in build/log/. The last line counts what passed and failed; the status is 0 if nothing did.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

[ $# -gt 0 ] || set -- all
parts=" "
for part in "$@"; do
    case $part in
    all) parts="${parts}lint unit model e2e asan tsan fuzz fault:quarter example " ;;
    lint | unit | unit:gcc | valgrind | e2e | asan | tsan | fuzz | example | model | fault | fault:quarter | matrix | coverage) parts="$parts$part " ;;
    e2e:* | asan:* | coverage:*) parts="$parts$part " ;;
    -h | --help) sed -n '4,27s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) die "no such part: $part (there are lint unit valgrind e2e asan tsan fuzz example model fault matrix coverage all)" ;;
    esac
done

logs=$root/build/log
mkdir -p "$logs"
jobs=$(jobs_default)
passed=0
failed=0
failures=
LOG_TAIL=${LOG_TAIL:-40}

with() {
    case $parts in *" $1 "* | *" $1:"*) return 0 ;; esac
    return 1
}

good() {
    passed=$((passed + ${2:-1}))
    printf 'ok      %s\n' "$1"
}

bad() {
    failed=$((failed + 1))
    failures="$failures
        $1"
    printf 'FAILED  %s\n' "$1"
    printf -- '--- end of %s\n' "$2"
    tail -n "$LOG_TAIL" "$2" | sed 's/^/    /'
    printf -- '---\n'
}

# step NAME LOG COMMAND...: one thing that passes or fails.
step() {
    local name=$1 log=$logs/$2 start=$SECONDS status=0
    shift 2
    "$@" >"$log" 2>&1 </dev/null || status=$?
    if [ $status = 0 ]; then
        good "$name ($((SECONDS - start)) s)"
    else
        bad "$name ($((SECONDS - start)) s, status $status)" "$log"
    fi
    return $status
}

# together COUNT RUN ENDED: for each entry of the array `queue` call "RUN ENTRY" in a process of its
# own, COUNT at a time, and "ENDED ENTRY STATUS SECONDS" when it is over.
together() {
    local pid status
    local -A running=() started=()
    while [ ${#queue[@]} -gt 0 ] || [ ${#running[@]} -gt 0 ]; do
        while [ ${#queue[@]} -gt 0 ] && [ ${#running[@]} -lt "$1" ]; do
            "$2" "${queue[0]}" &
            running[$!]=${queue[0]}
            started[$!]=$SECONDS
            queue=("${queue[@]:1}")
        done
        status=0
        wait -n -p pid "${!running[@]}" || status=$?
        "$3" "${running[$pid]}" $status $((SECONDS - started[$pid]))
        unset "running[$pid]"
    done
}

# Compilers need the processors that tests leave idle while they wait. So what later parts need is
# made in the background from the beginning, one thing after the other and with the lowest priority.
# Each entry: LOG COMMAND. `made` waits for it, and counts it as `step` does.
ahead=()
ahead_pids=

ahead_start() {
    local line
    [ $# -gt 0 ] || return 0
    # A process group of its own, which ahead_stop can end with all that it has started.
    set -m
    (
        for line in "$@"; do
            read -r log command <<<"$line"
            start=$SECONDS status=0
            $command >"$logs/$log" 2>&1 </dev/null || status=$?
            echo "$status $((SECONDS - start))" >"$logs/$log.part"
            mv "$logs/$log.part" "$logs/$log.status"
        done
    ) </dev/null >/dev/null 2>&1 &
    set +m
    ahead_pids="$ahead_pids $!"
}

ahead_stop() {
    local pid
    for pid in $ahead_pids; do
        kill -- "-$pid" 2>/dev/null || true
    done
}

# ahead_wait LOG: until that is made, or nobody makes it any more.
ahead_wait() {
    # shellcheck disable=SC2086
    until [ -e "$logs/$1.status" ] || ! kill -0 $ahead_pids 2>/dev/null; do
        sleep 0.2
    done
    [ -e "$logs/$1.status" ] || echo "1 0" >"$logs/$1.status"
}

# made NAME LOG
made() {
    local status seconds start=$SECONDS
    ahead_wait "$2"
    read -r status seconds <"$logs/$2.status"
    if [ "$status" = 0 ]; then
        good "$1 ($seconds s, waited for $((SECONDS - start)) s)"
    else
        bad "$1 ($seconds s, status $status)" "$logs/$2"
    fi
    return "$status"
}

finish() {
    [ -z "$failures" ] || printf '\nfailed:%s\n\n' "$failures"
    printf '%d passed, %d failed\n' $passed $failed
    [ $failed = 0 ]
    exit
}

# --- unit tests -----------------------------------------------------------------------------------

# unit_tests NAME BUILD [MESON TEST OPTION...]: each test program counts; none at all is a failure.
# Most of the time they wait, for time limits and back-offs: two for each processor.
unit_tests() {
    local name=$1 build=$2 log=$logs/unit-${1// /-}.log start=$SECONDS status=0 ok not
    shift 2
    meson test -C "$build" --no-rebuild --num-processes $((2 * jobs)) --print-errorlogs "$@" >"$log" 2>&1 </dev/null ||
        status=$?
    ok=$(sed -n 's/^Ok: *\([0-9]*\).*/\1/p' "$log")
    not=$(sed -nE 's/^(Expected Fail|Fail|Unexpected Pass|Skipped|Timeout): *([0-9]+).*/\2/p' "$log" |
        awk '{ n += $1 } END { print n + 0 }')
    if [ $status = 0 ] && [ "${ok:-0}" -gt 0 ] && [ "$not" = 0 ]; then
        good "unit tests, $name: $ok programs ($((SECONDS - start)) s)" "$ok"
    else
        passed=$((passed + ${ok:-0}))
        [ "$not" -le 1 ] || failed=$((failed + not - 1))
        bad "unit tests, $name: ${ok:-0} passed, $not failed or skipped ($((SECONDS - start)) s, status $status)" "$log"
    fi
}

# --- end-to-end tests -----------------------------------------------------------------------------

# e2e NAME BUILD WORD [TOKENS]: all tests in tests/e2e/ for each kind of token.
e2e() {
    local name=$1 build=$2 word=$3 test tokens token
    local queue=()
    for test in $(e2e_tests "$word"); do
        if [ -n "${HSM_PRELOAD:-}" ] && grep -q '^# not with sanitizers:' "$test"; then
            printf 'left out: %s: %s (%s)\n' "$name" "$(basename "$test" .sh | tr - ' ')" \
                "$(sed -n 's/^# not with sanitizers: *//p' "$test")"
            continue
        fi
        tokens=$(sed -n 's/^# tokens: *//p' "$test" | tr ',' ' ')
        for token in ${tokens:-softhsm softhsm-remote nss}; do
            [[ -z ${4:-} || " $4 " == *" $token "* ]] || continue
            queue+=("$test $token")
        done
    done
    [ ${#queue[@]} -gt 0 ] || die "no test in tests/e2e/ has '$word' in its name"
    mkdir -p "$logs/$name"
    # Half of the time a test waits for a server or a reload, so that more of them fit.
    together $((jobs + jobs / 2)) e2e_run e2e_ended
}

# e2e_run "TEST TOKEN", in a process of its own; $name and $build are those of e2e.
e2e_run() {
    local test=${1% *} token=${1#* }
    HSM_BUILD=$build HSM_TOKEN=$token exec timeout 900 "$test" \
        >"$logs/$name/$(basename "$test" .sh).$token.log" 2>&1 </dev/null
}

# e2e_ended "TEST TOKEN" STATUS SECONDS
e2e_ended() {
    local id token=${1#* }
    id=$(basename "${1% *}" .sh)
    if [ "$2" = 0 ]; then
        good "$name: ${id//-/ } [$token] ($3 s)"
    else
        bad "$name: $id [$token] ($3 s, status $2)" "$logs/$name/$id.$token.log"
    fi
}

# --- fuzzing --------------------------------------------------------------------------------------

# The targets are the files tests/fuzz/fuzz_*.c; a folder that is there already is asked to look anew.
fuzz_build() {
    [ ! -e build-fuzz/build.ninja ] || meson setup --reconfigure build-fuzz || return
    CC=clang BUILD_TARGETS=fuzz-targets nice -n 19 scripts/build.sh build-fuzz -Dfuzz=true -Dwerror=true -Db_sanitize=address,undefined
}

# fuzz_one NAME: what it comes upon besides the corpus stays in build-fuzz/found/NAME until next time.
fuzz_one() {
    local found=$root/build-fuzz/found/$1 corpus=$root/tests/fuzz/corpus/$1
    rm -rf "$found" && mkdir -p "$found"
    [ -n "$(find "$corpus" -type f 2>/dev/null)" ] || { echo "$corpus is empty"; return 1; }
    UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 exec "$root/build-fuzz/tests/fuzz/fuzz_$1" -timeout=20 \
        -max_total_time="${HSM_FUZZ_SECONDS:-30}" -artifact_prefix="$logs/fuzz-$1-" "$found" "$corpus"
}

# fuzz: each target. Passed is what libFuzzer has ended by itself, with "DONE".
fuzz() {
    local file
    local queue=()
    for file in tests/fuzz/fuzz_*.c; do
        file=${file#tests/fuzz/fuzz_}
        queue+=("${file%.c}")
    done
    rm -f "$logs"/fuzz-*
    together "$jobs" fuzz_run fuzz_ended
}

fuzz_run() {
    (fuzz_one "$1") >"$logs/fuzz-$1.log" 2>&1 </dev/null
}

# fuzz_ended TARGET STATUS SECONDS
fuzz_ended() {
    local done input
    done=$(sed -nE 's/^#([0-9]+)\s+DONE +(cov: [0-9]+ ft: [0-9]+ corp: [0-9]+).*/\1 executions, \2/p' "$logs/fuzz-$1.log")
    if [ "$2" = 0 ] && [ -n "$done" ]; then
        good "fuzz: $1: $done ($3 s)"
    else
        input=$(find "$logs" -name "fuzz-$1-*" -printf ' build/log/%f')
        bad "fuzz: $1 (status $2); the input:${input:- none was kept}" "$logs/fuzz-$1.log"
    fi
}

# --- coverage -------------------------------------------------------------------------------------

# Every process adds to the same files, those of other users (servers' workers) as well, whatever
# their umask: so all of them are there before, empty, which libgcov takes for new.
coverage_reset() {
    local note
    find "$root/build-coverage" -name '*.gcda' -delete
    find "$root/build-coverage" -name '*.gcno' | while read -r note; do
        : >"${note%.gcno}.gcda"
        chmod 666 "${note%.gcno}.gcda"
    done
    [ "$(id -u)" != 0 ] || ! id nobody >/dev/null 2>&1 ||
        setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups test -x "$root/build-coverage" ||
        echo "note: other users cannot get to $root: servers' workers are not counted"
}

# Lines, functions and branches by folder.
coverage_report() {
    find "$root/build-coverage" -name '*.gcda' -empty -delete
    rm -rf "$logs/coverage"
    mkdir -p "$logs/coverage"
    logged "$logs/coverage.log" gcovr --root "$root" --object-directory "$root/build-coverage" \
        --filter '(keystore|provider|tools|engine)/' --exclude-unreachable-branches --exclude-throw-branches \
        --json-summary "$logs/coverage/summary.json" --json "$logs/coverage/all.json" \
        --html-details "$logs/coverage/index.html" "$root/build-coverage" || return
    python3 - "$logs/coverage/summary.json" <<'END'
import json, sys
kinds = ("line", "function", "branch")
rows = {}
for file in json.load(open(sys.argv[1]))["files"]:
    for name in (file["filename"].split("/")[0], "all"):
        row = rows.setdefault(name, dict.fromkeys([k + end for k in kinds for end in ("_covered", "_total")], 0))
        for key in row:
            row[key] += file[key]
print("%-10s" % "folder" + "".join("%22s" % (k + ("es" if k == "branch" else "s")) for k in kinds))
for name in ["keystore", "provider", "tools", "engine", "all"]:
    row = rows[name]
    cells = [(row[k + "_covered"], row[k + "_total"]) for k in kinds]
    print("%-10s" % name + "".join("%14s %5.1f %%" % ("%d/%d" % c, 100 * c[0] / c[1]) for c in cells))
END
}

# words PART: what comes after the colon, for each time that the part was asked for; * if nothing.
words() {
    local part
    for part in $parts; do
        case $part in
        "$1") echo '*' ;;
        "$1":*) echo "${part#*:}" ;;
        esac
    done
}

# --- what was asked for ---------------------------------------------------------------------------

sets="build"
with lint && sets="$sets lint"
with example && sets="$sets example"
with tsan && sets="$sets e2e"
with fuzz && sets="$sets fuzz"
with coverage && sets="$sets coverage"
with model && sets="$sets model"
case $parts in *" unit "* | *" valgrind "* | *" fault"* | *" asan"* | *" tsan "*) sets="$sets test" ;; esac
with matrix && sets="$sets roots"
while read -r word; do
    [ "$word" != '*' ] || word=
    sets="$sets e2e $(e2e_packages "$word" | tr '\n' ' ')"
done < <(words e2e && words asan && words coverage | sed '/^unit$/d')
# shellcheck disable=SC2086
scripts/deps.sh $sets || { failed=1; finish; }

export LOG_DIR=$logs LOG_TAIL
step "build with gcc" build.log env CC="${CC:-gcc}" scripts/build.sh build -Dwerror=true || finish

# build_ahead COMPILER FOLDER OPTION...
build_ahead() {
    CC=$1 nice -n 19 scripts/build.sh "${@:2}" -Dwerror=true
}
roots_ahead() {
    nice -n 19 tests/matrix.sh --roots trixie sid unit core
}
rm -f "$logs"/*.status
trap ahead_stop EXIT
[[ $parts != *" unit "* ]] || ahead+=("build-clang.log build_ahead clang build-clang")
! with lint || ahead+=("lint-tidy.log nice -n 19 scripts/lint.sh tidy")
! with asan || ahead+=("build-asan.log build_ahead gcc build-asan -Db_sanitize=address,undefined")
! with tsan || ahead+=("build-tsan.log build_ahead gcc build-tsan -Db_sanitize=thread")
! with fuzz || ahead+=("build-fuzz.log fuzz_build")
ahead_start "${ahead[@]}"
! with matrix || ahead_start "roots.log roots_ahead"

if with lint; then
    for check in format arrows limits policy-doc man names cppcheck; do
        step "lint: $check" "lint-$check.log" scripts/lint.sh $check || true
    done
fi
if with unit; then
    unit_tests gcc build --suite unit
fi
if [[ $parts == *" unit "* ]]; then
    if made "build with clang" build-clang.log; then
        unit_tests clang build-clang --suite unit
    fi
fi
if with valgrind; then
    # Check forks for every test: valgrind reports in each child.
    CK_TIMEOUT_MULTIPLIER=10 unit_tests valgrind build --suite unit --timeout-multiplier 20 --wrapper \
        "valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite"
fi
if with e2e; then
    mapfile -t list < <(words e2e)
    for word in "${list[@]}"; do
        [ "$word" != '*' ] || word=
        e2e e2e "$root/build" "$word"
    done
fi
if with lint; then
    made "lint: tidy" lint-tidy.log || true
fi
if with asan; then
    if made "build with sanitizers" build-asan.log; then
        HSM_PRELOAD=$(gcc -print-file-name=libasan.so):$(gcc -print-file-name=libubsan.so)
        export HSM_PRELOAD
        mapfile -t list < <(words asan)
        for word in "${list[@]}"; do
            if [ "$word" = '*' ]; then
                UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 CK_TIMEOUT_MULTIPLIER=4 unit_tests sanitizers build-asan --suite unit --timeout-multiplier 4
                # The other kinds of token take the same ways through our code.
                e2e asan "$root/build-asan" '' softhsm
            else
                e2e asan "$root/build-asan" "$word"
            fi
        done
        unset HSM_PRELOAD
    fi
fi
if with tsan; then
    # Not test_ks_module: it forks amid its threads, which ThreadSanitizer cannot follow.
    if made "build with ThreadSanitizer" build-tsan.log; then
        TSAN_OPTIONS=die_after_fork=0 CK_TIMEOUT_MULTIPLIER=4 \
            unit_tests threads build-tsan --timeout-multiplier 4 test_async test_calls test_ks_group test_ks_log test_ks_op \
            test_ks_pin test_ks_recover test_ks_session test_ks_stats test_rand
        HSM_PRELOAD=$(gcc -print-file-name=libtsan.so)
        export HSM_PRELOAD
        # Not nss: it unloads and loads a library, which suppressions cannot name then.
        e2e tsan "$root/build-tsan" threads-share-a-key "softhsm softhsm-remote"
        unset HSM_PRELOAD
    fi
fi
if with fuzz; then
    if made "build for fuzzing" build-fuzz.log; then
        fuzz
    fi
fi
if with example; then
    for name in nginx cluster; do
        step "examples/$name/run.sh --once" "example-$name.log" "examples/$name/run.sh" --once || true
    done
fi
if [[ $parts == *" fault "* ]]; then
    unit_tests fault build --suite fault
fi
if [[ $parts == *" fault:quarter "* ]]; then
    unit_tests "a quarter of the fault campaign" build --suite fault-quarter
fi
if with coverage; then
    # Not optimised, so that lines are what they are; counters that threads do not lose.
    if step "build with gcov" build-coverage.log env CC=gcc scripts/build.sh build-coverage -Db_coverage=true \
        -Doptimization=0 -Dc_args=-fprofile-update=atomic; then
        coverage_reset
        CK_TIMEOUT_MULTIPLIER=4 unit_tests coverage build-coverage --suite unit --timeout-multiplier 4
        mapfile -t list < <(words coverage | sed '/^unit$/d')
        for word in "${list[@]}"; do
            [ "$word" != '*' ] || word=
            e2e coverage-e2e "$root/build-coverage" "$word" softhsm
        done
        if coverage_report; then
            good "coverage: build/log/coverage/index.html"
        else
            bad "coverage" "$logs/coverage.log"
        fi
    fi
fi
if with model; then
    step "model" model.log tests/model.sh || true
    grep -E "^ok .* states" "$logs/model.log" || true
fi
if with matrix; then
    # If a root could not be made, matrix.sh tries again, and says why.
    ahead_wait roots.log
    # Passes its own lines on, and counts by its last one.
    tests/matrix.sh trixie sid unit core 2>&1 </dev/null | tee "$logs/matrix.log" | sed -u '$d' || true
    count=$(sed -nE '$s/^([0-9]+) passed, ([0-9]+) failed$/\1 \2/p' "$logs/matrix.log")
    if [ -n "$count" ]; then
        passed=$((passed + ${count% *}))
        failed=$((failed + ${count#* }))
        [ "${count#* }" = 0 ] || failures="$failures
        matrix: ${count#* } tests, see $logs/matrix.log"
    else
        bad "matrix" "$logs/matrix.log"
    fi
fi
finish
