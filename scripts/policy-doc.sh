#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# policy-doc.sh [--check]: write docs/policy.md from tests/unit/policy_table.h, or tell whether it
# is what that would write.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cd "$root"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${CC:-cc}" -std=gnu11 -Wall -Wextra -Werror -o "$work/policy_doc" tests/unit/policy_doc.c
"$work/policy_doc" >"$work/policy.md"
if [ "${1:-}" = --check ]; then
    diff -u docs/policy.md "$work/policy.md" || die "docs/policy.md is stale: run scripts/policy-doc.sh"
else
    cp "$work/policy.md" docs/policy.md
fi
