# SPDX-License-Identifier: Apache-2.0
# Sourced by the other scripts: where things are, messages, steps with a log.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

say() {
    printf '%s\n' "$*"
}

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# logged LOG COMMAND...: run quietly; if it fails show the end of the log and where all of it is.
logged() {
    local log=$1 status=0
    shift
    mkdir -p "$(dirname "$log")"
    "$@" >"$log" 2>&1 </dev/null || status=$?
    if [ "$status" != 0 ]; then
        {
            printf -- '--- failed (status %s): %s\n' "$status" "$*"
            tail -n "${LOG_TAIL:-60}" "$log"
            printf -- '--- all of it: %s\n' "$log"
        } >&2
    fi
    return "$status"
}

jobs_default() {
    local n
    n=$(nproc 2>/dev/null || echo 1)
    [ "$n" -le 8 ] || n=8
    echo "${JOBS:-$n}"
}

# find_file PATTERN...: the first file that exists; patterns are expanded here.
find_file() {
    local pattern file
    for pattern in "$@"; do
        for file in $pattern; do
            if [ -e "$file" ]; then
                printf '%s\n' "$file"
                return 0
            fi
        done
    done
    return 1
}

find_softhsm() {
    find_file "/usr/lib/softhsm/libsofthsm2.so" "/usr/lib/*/softhsm/libsofthsm2.so" \
        "/usr/lib64/pkcs11/libsofthsm2.so"
}

find_spy() {
    find_file "/usr/lib/*/pkcs11/pkcs11-spy.so" "/usr/lib/*/pkcs11-spy.so" \
        "/usr/lib64/pkcs11/pkcs11-spy.so"
}

# e2e_tests [WORD]: the end-to-end tests with WORD in the name.
e2e_tests() {
    (cd "$root" && find tests/e2e -name "*${1:-}*.sh" ! -name lib.sh -type f | sort)
}

# e2e_packages [WORD]: what these need beside the set e2e, as scripts/deps.sh takes it. A test says
# so on its top, in a comment "# packages: NAME...".
e2e_packages() {
    local test package
    for test in $(e2e_tests "${1:-}"); do
        for package in $(sed -n 's/^# packages: *//p' "$root/$test"); do
            printf '+%s\n' "$package"
        done
    done
}

# c_files FOLDER...: all C files below those that exist. By find and not by git: the sources may
# have come without it, or belong to another user.
c_files() {
    local folder folders=()
    for folder in "$@"; do
        [ ! -d "$root/$folder" ] || folders+=("$folder")
    done
    (cd "$root" && find "${folders[@]}" -name '*.[ch]' -type f | sort)
}
all_c='keystore provider tools engine tests bench'

# objects_of BUILD FOLDER: the object files of that folder that the build makes; a file that was renamed
# leaves its old one there.
objects_of() {
    find "$1/$2" -name '*.o' | sort | grep -Fxf <(sed -n "s|^ *\"output\": \"\(.*\)\".*|$1/\1|p" "$1/compile_commands.json")
}

# Where a build has the object files of each folder, and the floors of keystore/ and of
# provider/, lowest first (docs/design/folders.md); a|b stand side by side and do not need each other.
object_folders='keystore/libkeystore.a.p provider/libhsmprovider.a.p tools/hsmkey.p engine/hsm.so.p'
keystore_floors=base,observe,module,token,op,verbs,group,report
provider_floors='config,core,key,keymgmt|signature|asymcipher|keyexch|rand|codec,algorithms,provider'
