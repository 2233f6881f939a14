#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# format.sh [--check]: lay out all C files with clang-format, or tell which ones are not.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cd "$root"

# shellcheck disable=SC2086
mapfile -t files < <(c_files $all_c)
[ ${#files[@]} -gt 0 ] || die "no C files found"
if [ "${1:-}" = --check ]; then
    clang-format --dry-run --Werror "${files[@]}"
else
    clang-format -i "${files[@]}"
fi
