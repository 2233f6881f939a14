#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# lint.sh [CHECK...]: all static checks, or some of: format tidy cppcheck arrows limits
# policy-doc man names.
# Needs a finished build in build/ (LINT_BUILD: another one). All checks run; fails if one did.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cd "$root"

build=${LINT_BUILD:-$root/build}
failed=0

fail() {
    printf 'lint: %s\n' "$*"
    failed=1
}

check_format() {
    scripts/format.sh --check || fail "not laid out as .clang-format says: scripts/format.sh"
    # What clang-format leaves alone: comments.
    # shellcheck disable=SC2046
    if awk 'length($0) > 100 { print FILENAME ":" FNR ": longer than 100 columns"; bad = 1 }
            /^ *\/\* *---/ && !/^\/\* --- [^-].*[^-] -+ \*\/$/ {
                print FILENAME ":" FNR ": not a section line: /* --- name ------ */"; bad = 1 }
            END { exit !bad }' $(c_files $all_c); then
        fail "comments: see above"
    fi
}

check_tidy() {
    [ -e "$build/compile_commands.json" ] || die "no build in $build; run scripts/build.sh"
    # Only what the build compiles: fuzz targets and the like need options that it does not use.
    python3 - "$build" >"$build/lint-files" <<'END'
import json, os, sys
seen = set()
for c in json.load(open(os.path.join(sys.argv[1], "compile_commands.json"))):
    seen.add(os.path.realpath(os.path.join(c["directory"], c["file"])))
print("\n".join(sorted(seen)))
END
    tidy '' "$(grep -v '/tests/' "$build/lint-files")"
    # Tests multiply small constants, and put strings together of which they know the length.
    tidy '-bugprone-implicit-widening-of-multiplication-result,-clang-analyzer-security.insecureAPI.strcpy' \
        "$(grep '/tests/' "$build/lint-files")"
}

tidy() {
    printf '%s\n' "$2" | xargs -d '\n' -n 2 -P "$(jobs_default)" \
        clang-tidy --quiet ${1:+"--checks=$1"} -p "$build" 2>/dev/null ||
        fail "clang-tidy has complaints"
}

check_cppcheck() {
    # varFuncNullUB: POSIX has NULL be a pointer.
    # shellcheck disable=SC2046
    cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr \
        --suppress=missingIncludeSystem --error-exitcode=1 -j "$(jobs_default)" \
        --suppress=varFuncNullUB --suppress=unmatchedSuppression -D_GNU_SOURCE -DHSM_VERSION='"0"' "-Dstatic_ASN1_SEQUENCE_END(x)=" \
        $(c_files keystore provider tools engine | grep '\.c$') ||
        fail "cppcheck has complaints"
}

# shared_object FILE EXPORTS LIBRARIES: it exports these and nothing else, needs none but these
# (and the C library and sanitizers), and stays in memory.
shared_object() {
    local out
    out=$(nm -D --defined-only "$build/$1" | awk '{ print $3 }' | sort | xargs)
    [ "$out" = "$2" ] || fail "$1 must export $2 and nothing else, it has: $out"
    # Not objdump: shared objects that are only needed by others do not count.
    out=$(readelf -d "$build/$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' |
        grep -vE "^($3|libc\.so\.6|libpthread\.so\.0|libdl\.so\.2|ld-linux.*|lib(a|t|ub)san\.so\..*)\$" || true)
    [ -z "$out" ] || fail "$1 links:" $out
    grep -q NODELETE <<<"$(readelf -d "$build/$1")" || fail "$1 is linked without -z nodelete"
}

# No two files of a folder need each other, directly or through others. A function that is registered
# hides an arrow, so those who register are named in docs/design/folders.md. The pictures in
# docs/design.md and docs/design/ show what the object files need.
check_circles() {
    local folder objects name
    for folder in $object_folders; do
        # a build without engines has no such folder
        [ "$folder" != engine/hsm.so.p ] || [ -e "$build/engine/hsm.so" ] || continue
        mapfile -t objects < <(objects_of "$build" "$folder")
        case $folder in
        keystore/*) scripts/circles.py --floors $keystore_floors "${objects[@]}" || fail "$folder: see above" ;;
        provider/*) scripts/circles.py --floors "$provider_floors" --sources provider "${objects[@]}" || fail "$folder: see above" ;;
        *) scripts/circles.py "${objects[@]}" || fail "$folder: see above" ;;
        esac
    done
    includes_follow_floors
    for name in $(nm --defined-only "$build/keystore/libkeystore.a" "$build/provider/libhsmprovider.a" 2>/dev/null |
        awk '$2 ~ /[A-Z]/ && $3 ~ /^(ks_set_|ks_process_add$|ks_stats_listener$|ks_kind_|prov_set_)/ { print $3 }' | sort -u); do
        grep -q "\`$name\`" docs/design/folders.md ||
            fail "$name registers functions, and docs/design/folders.md does not name it"
    done
    if [ -e "$build/engine/hsm.so" ]; then
        LINT_BUILD=$build scripts/floors-doc.sh --check || fail "a picture in docs/design is not what the object files say"
    fi
    circles_are_found
}

# A file of keystore/ includes headers of its own floor and of those below alone: what it does not
# see it cannot come to need.
includes_follow_floors() {
    local file floor other line floors=,$keystore_floors,
    for file in keystore/*/*.[ch]; do
        floor=${file#keystore/} floor=${floor%%/*}
        while IFS= read -r line; do
            other=${line#../} other=${other%%/*}
            [ "$other" != "$line" ] && [ "$line" != ../keystore.h ] || continue
            case ${floors%%,"$floor",*}, in
            *,"$other",*) ;;
            *) fail "$file includes $line, of a floor above its own, or of none" ;;
            esac
        done < <(sed -n 's/^ *# *include "\(.*\)"/\1/p' "$file")
    done
}

# The check itself: on a circle, round a corner, and on a step up.
circles_are_found() {
    local dir name
    dir=$(mktemp -d)
    for name in low_a:low_b low_b:high_c high_c:low_a low_d:high_c high_e:low_d; do
        printf 'void %s(void); void %s(void); void %s(void) { %s(); }\n' "${name%:*}" "${name#*:}" "${name%:*}" "${name#*:}" |
            gcc -c -x c -o "$dir/${name%:*}.c.o" -
    done
    if scripts/circles.py "$dir"/low_[ab].c.o "$dir"/high_c.c.o >"$dir/out" ||
        ! grep -q 'a circle of 3 files' "$dir/out" || ! grep -q 'low_b needs high_c of high_c' "$dir/out"; then
        fail "circles.py does not see a circle"
    fi
    if scripts/circles.py --floors low,high "$dir"/low_d.c.o "$dir"/high_c.c.o >"$dir/out" ||
        ! grep -q 'low_d needs high_c of high_c, which is a floor above it' "$dir/out"; then
        fail "circles.py does not see a step up"
    fi
    if [ "$(scripts/circles.py --draw "$dir" "$dir"/low_d.c.o "$dir"/high_[ce].c.o | paste -sd ' ')" != "high_e low_d high_c" ]; then
        fail "circles.py does not draw what needs what"
    fi
    mkdir -p "$dir/low" "$dir/high"
    echo '#include "../high/x.h"' >"$dir/low/d.c"
    if scripts/circles.py --floors 'low|high' --sources "$dir" "$dir"/low_d.c.o "$dir"/high_c.c.o >"$dir/out" ||
        ! grep -q 'low_d needs high_c of high_c, which is beside it' "$dir/out" ||
        ! grep -q 'low/d.c includes high/x.h, which is beside it' "$dir/out"; then
        fail "circles.py does not see a step aside, or not what is included"
    fi
    scripts/circles.py --floors low,high "$dir"/low_d.c.o "$dir"/high_e.c.o >"$dir/out" ||
        fail "circles.py sees a circle where there is none"
    rm -rf "$dir"
}

# The arrows of docs/design/folders.md: which folder may know what.
check_arrows() {
    local out libcrypto lib
    check_circles
    lib=$build/keystore/libkeystore.a
    [ -e "$lib" ] || die "no $lib; run scripts/build.sh"
    libcrypto=$(ldconfig -p | sed -n 's/.*libcrypto\.so\.3 .*=> //p' | head -n 1)
    [ -n "$libcrypto" ] || die "libcrypto.so.3 not found"
    out=$(comm -12 <(nm -u "$lib" | sed -n 's/^ *U //p' | sort -u) \
        <(nm -D --defined-only "$libcrypto" | awk '{ sub(/@.*/, "", $3); print $3 }' | sort -u))
    [ -z "$out" ] || fail "keystore/ uses libcrypto:" $out
    if grep -rnE '# *include *[<"](openssl/|(\.\./)+provider)' keystore; then
        fail "keystore/ includes headers of OpenSSL or of provider/"
    fi

    shared_object provider/hsm.so OSSL_provider_init 'libcrypto\.so\.3|libp11-kit\.so\.0'
    if [ -e "$build/engine/hsm.so" ]; then
        shared_object engine/hsm.so 'bind_engine v_check' 'libcrypto\.so\.3'
        out=$(nm -D -u "$build/engine/hsm.so" | grep -E ' (p11_kit|C_|ks_|prov_)' || true)
        [ -z "$out" ] || fail "the engine uses PKCS#11, keystore/ or provider/:" $out
    fi

    # What the engine and the provider agreed upon stands in one header; hsmkey builds fakepem.c.
    if grep -nE '# *include *".*(keystore|provider|tools)/' engine/*.[ch] |
        grep -vE 'provider/(core/control|config/cnf)\.h"'; then
        fail "engine/ may use provider/core/control.h and provider/config/cnf.h only"
    fi
    if grep -nE '# *include *".*engine/' tools/*.[ch] | grep -v 'engine/fakepem\.h"'; then
        fail "tools/ may use engine/fakepem.h only"
    fi
    if grep -rnE --include='*.[ch]' '# *include *".*(engine|tools)/' provider keystore; then
        fail "nothing uses engine/ or tools/"
    fi

    # CK_ types and PKCS#11 headers stay in keystore/. Comments may speak of them.
    local file
    for file in $(c_files provider tools engine) keystore/keystore.h; do
        if gcc -fpreprocessed -dD -E -P -x c "$file" 2>/dev/null |
            sed 's/"\([^"\\]\|\\.\)*"/""/g' |
            grep -nE '\bCK_[A-Z]|\bCK[MAORUFZPH]_[A-Z]|\bC_[A-Z][a-z]+[A-Za-z]* *\('; then
            fail "$file: PKCS#11 outside keystore/"
        fi
        if grep -nE '# *include.*(pkcs11|p11-kit)' "$file"; then
            fail "$file: a PKCS#11 header outside keystore/"
        fi
    done
}

# Warnings only: the limits are "about" 700 lines a file and 60 a function.
check_limits() {
    local file
    for file in $(c_files $all_c); do
        awk -v file="$file" '
            /^\{/ { start = NR }
            /^\}/ { if (start && NR - start - 1 > 60)
                        printf "note: %s:%d: function of %d lines\n", file, start, NR - start - 1
                    start = 0 }
            END { if (NR > 700) printf "note: %s: %d lines\n", file, NR }' "$file"
        grep -q 'SPDX-License-Identifier: Apache-2.0' <<<"$(head -n 3 "$file")" ||
            fail "$file: no SPDX line on top"
    done
}

check_policy-doc() {
    scripts/recovery-doc.sh --check || fail "docs/recovery.md is not what the keystore's tables say"
    scripts/policy-doc.sh --check || fail "docs/policy.md is not what the tests' table says"
}

# Every configuration key and subcommand has its place in a manual page.
check_man() {
    local name page keys verbs
    for page in docs/man/*; do
        mandoc -T lint -W warning "$page" || fail "$page: not well-formed"
    done
    keys=$(sed -n '/^const struct prov_config_key/,/^};/s/^    {"\([a-z0-9-]*\)".*/\1/p' provider/config/parse.c)
    verbs=$(sed -n '/^const struct cmd /{n;s/^ *"\([a-z]*\)",$/\1/p}' tools/cmd_*.c)
    [ -n "$keys" ] && [ -n "$verbs" ] || fail "keys and subcommands are not where this check looks"
    for name in $keys; do
        grep -q "^\.It Ic $name " docs/man/hsm-provider.7 || fail "hsm-provider(7) does not explain $name"
    done
    for name in $verbs; do
        grep -q "^\.Ss $name" docs/man/hsmkey.1 || fail "hsmkey(1) does not explain $name"
    done
}

# What the pages about the code name is there: functions, `name()`, and files, `folder/file.c`.
check_names() {
    local page name all
    all=$(c_files keystore provider tools engine tests | grep '\.c$' | xargs cat)
    for page in docs/tour.md docs/glossary.md docs/adding.md docs/debugging.md docs/design.md docs/design/*.md; do
        for name in $(grep -oE '`[a-z_][a-z_0-9]*\(\)`' "$page" | tr -d '`()' | sort -u); do
            grep -qE "^[A-Za-z].*[ *]$name\(" <<<"$all" || fail "$page names $name(), which is not defined"
        done
        for name in $(grep -oE '`[a-z]+(/[a-z_0-9]+)*/[a-z_0-9]+\.(c|def|inc)`' "$page" | tr -d '`' | sort -u); do
            [ -e "$name" ] || [ -e "keystore/$name" ] || [ -e "provider/$name" ] || fail "$page names $name, which does not exist"
        done
    done
}

[ $# -gt 0 ] || set -- format arrows limits policy-doc man names cppcheck tidy
for check in "$@"; do
    case $check in
    format | tidy | cppcheck | arrows | limits | policy-doc | man | names) "check_$check" ;;
    *) die "unknown check: $check" ;;
    esac
done
exit $failed
