#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tokens: softhsm
#
# hsmkey generate and reference: the file is looked after before the key, appears whole with mode
# 0600, replaces nothing by itself, follows no symbolic link, and leaves nothing else behind.
. "$(dirname "$0")/lib.sh"

token
keys() {
    hsmkey list --json >list.json
    /usr/bin/python3 -c 'import json; print(sum(o["class"] == "private" for o in json.load(open("list.json"))["objects"]))'
}
no_key() {
    must_fail "$1: refused" "$2" hsmkey generate --type ec:P-256 --label new -o "$3"
    same "$1: no key was generated" "$(keys)" "$count"
}
no_litter() {
    same "no temporary file is left" "$(find . -name '.hsmkey*' | wc -l)" 0
}

count=0
umask 000
key web ec:P-256
count=1
umask 022
same "the mode, whatever the umask" "$(stat -c %a web.pem)" 600
cp web.pem before

no_key "an existing file" 'web\.pem: exists already.*--force' web.pem
no_key "a folder that is not there" 'nowhere/x\.pem.*No such file' nowhere/x.pem
no_key "a folder" 'is a folder' .
no_key "an empty name" 'empty' ''
ln -s web.pem link.pem
ln -s nothing dangling.pem
no_key "a link" 'symbolic link' link.pem
no_key "a dangling link" 'symbolic link' dangling.pem
mkfifo fifo
must_fail "a FIFO, even with --force" 'not a plain file' hsmkey generate --type ec:P-256 --label new -o fifo --force
same "no key was generated" "$(keys)" "$count"
if [ "$(id -u)" != 0 ]; then
    mkdir -m 555 locked
    no_key "a folder without write permission" 'Permission denied' locked/x.pem
else
    no_key "a folder that nobody can write to" 'cannot be created' /proc/self/x.pem
fi
same_files "the old file is as it was" web.pem before
[ ! -e nothing ] || failed "nothing was written through the link"
no_litter

must_fail "reference does not replace a file" 'exists already' \
    hsmkey reference 'pkcs11:object=web' -o before
must_fail "reference --force does not follow a link" 'symbolic link' \
    hsmkey reference 'pkcs11:object=web' -o link.pem --force
must "reference --force replaces a file" hsmkey reference 'pkcs11:object=web' -o before --force
same_files "with the same reference" web.pem before
same "the mode" "$(stat -c %a before)" 600
must "an absolute path" hsmkey reference 'pkcs11:object=web' -o "$W/absolute.pem"
same_files "the same reference" web.pem absolute.pem
step "standard output"
hsmkey reference 'pkcs11:object=web' -o - >out.pem
same_files "the same reference" web.pem out.pem
step "in JSON"
hsmkey --json reference 'pkcs11:object=web' -o - >out.json
/usr/bin/python3 -c 'import json, sys; sys.stdout.write(json.load(open("out.json"))["reference"])' >out.pem
same_files "the same reference" web.pem out.pem

# What goes wrong after the file was prepared: while somebody looks for the PIN, another program
# makes a file of that name.
configure pin=prompt
step "a file that appears meanwhile"
status=0
OPENSSL_CONF=$conf timeout 60 /usr/bin/python3 "$here/terminal.py" "$pin" "ls -A >listing; echo precious >late.pem" \
    "$build/tools/hsmkey" generate --type ec:P-256 --label late -o late.pem >out || status=$?
says "the file was prepared before the login" '^\.hsmkey-' listing
same "status" "$status" 1
same "the other file is not replaced" "$(cat late.pem)" precious
says "it says that the key exists" 'the key was generated.*late\.pem.*File exists' out
says "and gives the command" "hsmkey reference '[^']*object=late;type=private' -o" out
configure
must "that command works" hsmkey reference "$(sed -n "s/.*hsmkey reference '\([^']*\)'.*/\1/p" out)" -o late2.pem
must "and the reference, too" hsmkey check late2.pem

step "an interrupted generation"
OPENSSL_CONF=$conf timeout 60 "$build/tools/hsmkey" generate --type rsa:8192 --label slow -o slow.pem >out 2>&1 &
pid=$!
temporary() { [ -n "$(find . -name '.hsmkey-*')" ]; }
wait_until 30 "the file is prepared" temporary
kill -TERM $pid
status=0
wait $pid || status=$?
same "status" "$status" 143
[ ! -e slow.pem ] || failed "no file is left"
no_litter
