#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# faults-doc.sh: run the fault campaign and write docs/faults.md from what came of it. The test of
# the same name (meson test --suite fault) tells when that file is stale.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cd "$root"

build=${HSM_BUILD:-build}
scripts/build.sh "$build"
LD_BIND_NOW=1 "$build/tests/fault/fault_campaign" --markdown docs/faults.md
