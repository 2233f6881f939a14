#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tokens: softhsm
#
# Root looks at files of others with hsmkey: it waits for none, reads no device and no more than
# 16 MiB, and no file to be checked makes it load anything or use another configuration.
. "$(dirname "$0")/lib.sh"

token
key rsa rsa:2048
limit=30

step "what is no plain file"
mkfifo fifo
mkdir folder
ln -s fifo to-fifo
ln -s nowhere dangling
ln -s /proc/self/mem to-mem
truncate -s 17M huge
python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind("listener")'
# FILE|what is said of it
files='fifo|is not a plain file
to-fifo|is not a plain file
folder|is a folder
huge|is larger than 16 MiB
listener|No such device or address|is not a plain file
dangling|No such file
/dev/zero|is not a plain file
/dev/tty|is not a plain file|No such device or address
/proc/self/environ|is not a plain file
to-mem|is not a plain file
/proc/kmsg|is not a plain file|not permitted|Permission denied
/sys/kernel/uevent_seqnum|is not a plain file|No such file'
while IFS='|' read -r file reason; do
    must_fail "hsmkey check $file" "^FAILED +file +$file: cannot be read: ($reason)" hsmkey check "$file"
    must_fail "  check --config $file" "^FAILED +config +$file: the configuration cannot be read: ($reason)" \
        hsmkey check --config "$file" rsa.pem
    must_fail "  OPENSSL_CONF=$file" "the configuration cannot be read: ($reason)" \
        env OPENSSL_CONF="$file" timeout "$limit" "$build/tools/hsmkey" list
    must_fail "  stats $file" "$file: ($reason)" hsmkey stats "$file"
    must_fail "  reference --from-fake $file" "$file: ($reason)" hsmkey reference --from-fake "$file" -o x.pem
    [ ! -e x.pem ] || failed "nothing is written"
done <<<"$files"
must "/dev/null as a configuration is an empty one" \
    env OPENSSL_CONF=/dev/null timeout "$limit" "$build/tools/hsmkey" --module "$real_module" tokens
must_fail "  and as a reference none" '^FAILED +file +/dev/null' hsmkey check /dev/null

step "statistics without an end"
python3 -c '
for i in range(100000): print("hsm_x{pid=\"1\",a=\"%d\"} 1" % i)' >many.prom
must_fail "too many series" 'many.prom: line [0-9]+: there are more than 20000 series' hsmkey stats many.prom
head -c 4000000 /dev/zero | tr '\0' x >one-line.prom
must_fail "one long line" 'one-line.prom: line 1 is not of a statistics file' hsmkey stats one-line.prom

step "a file that names libraries"
cp "$provider" marked-provider.so
cp "$real_module" marked-module.so
configure module="$W/marked-provider.so" pkcs11-module="$W/marked-module.so"
mv "$conf" named.cnf
configure
{ cat rsa.pem; sed 's/^/# /' named.cnf; } >commented.pem
{ cat rsa.pem named.cnf; } >behind.pem
{ cat named.cnf rsa.pem; } >before.pem
sed 's/BEGIN /BEGIN NO /; s/END /END NO /' rsa.pem | cat - named.cnf >other.pem
loaded() { # FILE...: check with the list of all that the dynamic linker opened
    rm -f linker.*
    OPENSSL_CONF=$conf LD_DEBUG=files LD_DEBUG_OUTPUT=$W/linker timeout "$limit" "$build/tools/hsmkey" check "$@" >out 2>&1 || true
    cat linker.*
}
loaded --config named.cnf rsa.pem >list
says "(the list shows what a configuration names)" 'marked-module' list
for file in named.cnf behind.pem before.pem other.pem commented.pem; do
    loaded "$file" rsa.pem >list
    says_not "$file loads nothing" 'marked' list
    says "  the configuration stays what it was" '^ok +config .*/openssl\.cnf' out
    says "  the next file is checked with it" '^ok +file +rsa\.pem' out
    must_fail "  two of them are no configurations" '^FAILED +file' hsmkey check named.cnf "$file"
done
