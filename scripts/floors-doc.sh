#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# floors-doc.sh [--check]: draw the pictures of folders in docs/design.md and docs/design/ from the
# object files of build/ (LINT_BUILD: another one), or tell whether they are what that would draw.
# A picture stands between the lines "<!-- scripts/floors-doc.sh draws: FOLDER -->" and "<!-- end -->".
set -euo pipefail
. "$(dirname "$0")/common.sh"
cd "$root"

build=${LINT_BUILD:-$root/build}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for folder in $object_folders; do
    options=()
    [ "${folder%%/*}" != keystore ] || options=(--floors "$keystore_floors")
    [ "${folder%%/*}" != provider ] || options=(--floors "$provider_floors")
    [ -d "$build/$folder" ] || die "no $build/$folder: run scripts/build.sh, with the engine"
    {
        # shellcheck disable=SC2016
        printf '```\n'
        objects_of "$build" "$folder" | xargs scripts/circles.py "${options[@]}" --draw "${folder%%/*}"
        # shellcheck disable=SC2016
        printf '```\n'
    } >"$work/${folder%%/*}"
done
for page in docs/design.md docs/design/*.md; do
    awk -v work="$work" '
        /^<!-- end -->$/ { inside = 0 }
        !inside { print }
        /^<!-- scripts\/floors-doc.sh draws: / {
            file = work "/" $4
            while ((getline line <file) > 0) print line
            inside = 1
        }' "$page" >"$work/page.md"
    if [ "${1:-}" = --check ]; then
        diff -u "$page" "$work/page.md" || die "$page is stale: run scripts/floors-doc.sh"
    else
        cmp -s "$page" "$work/page.md" || cp "$work/page.md" "$page"
    fi
done
