#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# recovery-doc.sh [--check]: write docs/recovery.md from the tables of the keystore, or tell whether it
# is what that would write.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cd "$root"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck disable=SC2046
"${CC:-cc}" -std=gnu11 -Wall -Wextra -Werror $(pkg-config --cflags-only-I p11-kit-1) -o "$work/recovery_doc" \
    tests/unit/recovery_doc.c keystore/op/recovery.c keystore/token/reconnect.c keystore/base/status.c
"$work/recovery_doc" >"$work/recovery.md"
if [ "${1:-}" = --check ]; then
    diff -u docs/recovery.md "$work/recovery.md" || die "docs/recovery.md is stale: run scripts/recovery-doc.sh"
else
    cp "$work/recovery.md" docs/recovery.md
fi
