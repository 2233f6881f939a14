#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# tokens-doc.sh [RELEASE]: write docs/tokens.md, from what really works with each kind of token in a
# root of that Debian release (trixie by default). Needs root's rights; see tests/matrix.sh.
set -euo pipefail
. "$(dirname "$0")/common.sh"
. "$root/tests/root.sh"
cd "$root"

release=${1:-trixie}
kinds='softhsm softhsm-remote nss tpm opencryptoki'
root_possible
logs=$root/build/log/tokens
mkdir -p "$logs"
(root_make "$release" tokens) >"$logs/root.log" 2>&1 || die "no root of $release: $(tail -n 1 "$logs/root.log")"
root_run "$release" /work/src/scripts/build.sh build -Dwerror=true || die "the build failed"

for kind in $kinds; do
    # The root's own files are as before after each: openCryptoki's token is the system's.
    root_run --discard "$release" env HSM_TOKEN="$kind" timeout 900 bash /work/src/tests/tokens.sh \
        >"$logs/$kind.tsv" 2>"$logs/$kind.log" </dev/null ||
        { tail -n 20 "$logs/$kind.log"; die "tests/tokens.sh failed with $kind: $logs/$kind.log"; }
    say "$kind: $(grep -c "$(printf '\tyes\t')" "$logs/$kind.tsv") yes, $(grep -c "$(printf '\tno\t')" "$logs/$kind.tsv") no"
done

# The rows: key of tests/tokens.sh, and what people call it.
rows='generate-rsa:2048|generate RSA 2048
generate-rsa:3072|generate RSA 3072
generate-rsa:4096|generate RSA 4096
generate-ec:P-256|generate EC P-256
generate-ec:P-384|generate EC P-384
generate-ec:P-521|generate EC P-521
generate-ed25519|generate Ed25519
genpkey|`openssl genpkey` makes the key in the token
list|`hsmkey list`
reference|`hsmkey reference`
pkcs1-sha1|RSA PKCS#1 v1.5 signature, SHA-1
pkcs1-sha256|RSA PKCS#1 v1.5 signature, SHA-256
pkcs1-sha384|RSA PKCS#1 v1.5 signature, SHA-384
pkcs1-sha512|RSA PKCS#1 v1.5 signature, SHA-512
pkcs1-sha3-256|RSA PKCS#1 v1.5 signature, SHA3-256
pss-sha256|RSA-PSS signature, SHA-256
pss-sha384|RSA-PSS signature, SHA-384
pss-sha512|RSA-PSS signature, SHA-512
pss-salt|RSA-PSS signature, a salt of 11 bytes
pss-mixed|RSA-PSS signature, SHA-256 with MGF1-SHA1
ecdsa-sha1|ECDSA P-256 signature, SHA-1
ecdsa-sha256|ECDSA P-256 signature, SHA-256
ecdsa-sha384|ECDSA P-256 signature, SHA-384
ecdsa-sha512|ECDSA P-256 signature, SHA-512
ecdsa-sha3-256|ECDSA P-256 signature, SHA3-256
sign-ec:P-384|ECDSA P-384 signature
sign-ec:P-521|ECDSA P-521 signature
sign-ed25519|Ed25519 signature
decrypt-pkcs1|RSA decryption, PKCS#1 v1.5
oaep-sha1|RSA decryption, OAEP with SHA-1
oaep-sha256|RSA decryption, OAEP with SHA-256
oaep-mixed|RSA decryption, OAEP with SHA-256 and MGF1-SHA1
oaep-label|RSA decryption, OAEP with SHA-256 and a label
ecdh|ECDH P-256
threads|four threads share a key
nginx|nginx, two workers, RSA and EC, TLS 1.2 and 1.3
nginx-late|the same with `check-key-at-load = no`'

field() {
    awk -F '\t' -v key="$2" -v n="$3" '$1 == key { print $n }' "$logs/$1.tsv"
}

notes=
count=0
{
    cat <<'END2'
# What works with which token

Made by `scripts/tokens-doc.sh` from real runs; do not edit. Each "yes" was done by the token and verified by an OpenSSL without the
provider; each "no" failed with an error (the note says which) and was not done elsewhere.

END2
    printf 'With %s of Debian %s.\n\n' "$(field softhsm openssl 2)" "$release"
    cat <<END2
| token | what it is |
|---|---|
| softhsm | SoftHSM 2 in the process itself ($(field softhsm version 2)) |
| softhsm-remote | the same behind \`p11-kit server\` ($(field softhsm-remote version 2)) |
| nss | NSS softokn ($(field nss version 2)) |
| tpm | a TPM 2.0, simulated: tpm2-pkcs11 through tpm2-abrmd ($(field tpm version 2)) |
| opencryptoki | openCryptoki's software token ($(field opencryptoki version 2)) |

| | softhsm | softhsm-remote | nss | tpm | opencryptoki |
|---|---|---|---|---|---|
END2
    while IFS='|' read -r key title; do
        printf '| %s |' "$title"
        for kind in $kinds; do
            value=$(field "$kind" "$key" 2)
            note=$(field "$kind" "$key" 3)
            if [ "$value" = no ] && [ -n "$note" ]; then
                if ! grep -qxF "$note" <<<"$notes"; then
                    notes="$notes${notes:+
}$note"
                fi
                value="no ($(grep -nxF "$note" <<<"$notes" | cut -d: -f1))"
            fi
            printf ' %s |' "${value:--}"
        done
        printf '\n'
    done <<<"$rows"
    printf '\n"-": could not be tried, for want of a key.\n\n'
    while read -r note; do
        count=$((count + 1))
        [ -z "$note" ] || printf '%d. %s\n' $count "\`$note\`"
    done <<<"$notes"
    cat <<'END2'

## Notes

- **tpm2-pkcs11 and servers that fork**: in a child of a process that used the TPM, its C_Initialize does nothing, and both would go on with
  one connection. The provider refuses that. With `check-key-at-load = no` the parent leaves the TPM alone and each worker has a connection
  of its own; the PIN is still read by the parent. Workers need the module's variables in their environment
  (nginx: `env TPM2_PKCS11_STORE;`, `env TPM2_PKCS11_TCTI;`), and a TPM that is shared by processes needs tpm2-abrmd or the kernel's
  resource manager (`/dev/tpmrm0`).
- **openCryptoki**: the users of the processes have to be in the group `pkcs11`. The SO's and the user's PIN have to be changed before
  the token can be used.
- **NSS**: `pkcs11-init-args` names the database; see the end-to-end tests' `tests/e2e/lib.sh`.
END2
} >"$logs/tokens.md"
cp "$logs/tokens.md" docs/tokens.md
