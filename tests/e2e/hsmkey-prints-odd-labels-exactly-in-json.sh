#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tokens: softhsm
#
# hsmkey list --json gives back every label that is UTF-8 as it is, in ASCII; what is not UTF-8
# becomes U+FFFD, and the URI is still exact.
. "$(dirname "$0")/lib.sh"

token
cat >labels.py <<'END'
good = ["quote \" and \\ backslash", "line\nbreak\r\ttab", "\x1b[31mred\x7f\x01", "ü ß €", "\U0001f511 key",
        "\u202eright to left", "</script>%41;object=other?pin-value=1", " spaces "]
bad = [b"lone \xff byte", b"overlong \xc0\xaf", b"surrogate \xed\xa0\x80", b"cut \xe2\x82", b"\xf4\x90\x80\x80 beyond"]
END
step "keys with odd labels"
cat >generate.py <<'END'
import os, subprocess, sys
sys.path.insert(0, ".")
from labels import good, bad
for label in [g.encode() for g in good] + bad:
    subprocess.run([sys.argv[1], "generate", "--type", "ec:P-256", "--label", label], check=True, stdout=subprocess.DEVNULL)
END
OPENSSL_CONF=$conf /usr/bin/python3 generate.py "$build/tools/hsmkey" || failed "keys with odd labels"
hsmkey list --json >list.json
step "the JSON"
cat >compare.py <<'END'
import json, sys, urllib.parse
sys.path.insert(0, ".")
from labels import good, bad
raw = open("list.json", "rb").read()
assert all(b == 10 or 32 <= b < 127 for b in raw), "output is not plain ASCII"
keys = [o for o in json.loads(raw)["objects"] if o["class"] == "private"]
labels = sorted(k["label"] for k in keys)
want = good + [b.decode(errors="replace") for b in bad]
clean = lambda text: text.replace("\ufffd", "")
assert sorted(map(clean, labels)) == sorted(map(clean, want)), (labels, want)
assert all(g in labels for g in good), labels
assert sum("\ufffd" in l for l in labels) == len(bad), labels
def name(uri):
    return [urllib.parse.unquote_to_bytes(a[7:]) for a in uri[7:].split(";") if a.startswith("object=")][0]
assert sorted(name(k["uri"]) for k in keys) == sorted([g.encode() for g in good] + bad), "URIs are not exact"
print("\n".join(k["uri"] for k in keys))
END
/usr/bin/python3 compare.py >uris || failed "labels in JSON"
step "each URI finds its key again"
count=0
while read -r uri; do
    hsmkey reference "$uri" -o again.pem --force >out 2>&1 || { show out; failed "hsmkey reference $uri"; }
    count=$((count + 1))
done <uris
same "keys found again" "$count" 13
must "the list in text" hsmkey list
if LC_ALL=C grep -q '[^ -~]' out; then
    failed "the list in text is printable ASCII"
fi
same "one line a key or public key, and the head" "$(wc -l <out)" 27
