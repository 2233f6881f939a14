#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# packages: apache2
#
# Apache: the three MPMs, one key by its reference and one by its URI, one C_Sign per handshake;
# graceful restarts under load. The virtual host is the one in examples/apache/.
. "$(dirname "$0")/lib.sh"
. "$here/programs.inc"
. "$here/apache.inc"

token
count_calls
rsa_and_ec
worker www-data
write_conf() {
    # The example's virtual host, with this test's paths and keys.
    sed -e "s|\*:443|127.0.0.1:$port|; s|www\.example\.org|localhost|; s|/var/www/html|$W/html|" \
        -e "s|KeyFile \"pkcs11:object=ec.*|KeyFile $ec_key|; s|KeyFile .*/rsa.pem|KeyFile $rsa_key|" \
        -e "s|/etc/apache2/tls|$W|" "$root/examples/apache/site.conf" | apache_conf $mpm warn
}

# The two kinds of name are the other way round for the last MPM.
for mpm in prefork worker event; do
    rsa_key=$W/rsa.pem ec_key="pkcs11:object=ec;type=private"
    if [ $mpm = event ]; then
        rsa_key="pkcs11:object=rsa;type=private" ec_key=$W/ec.pem
    fi
    step "Apache, MPM $mpm"
    serve apache.log write_conf "${apache[@]}"
    signatures 4 "4 handshakes, $mpm" four_pages
    load_start 2
    for i in 1 2 3 4; do
        old=$(children "$server_pid")
        kill -USR1 "$server_pid"
        wait_until 60 "$mpm: graceful restart $i gives new workers" renewed
        must_fetch RSA 1.3
        must_fetch EC 1.2
        load_no_failure "$mpm: graceful restart $i"
    done
    load_stop "$mpm: graceful restarts" 10
    signatures 4 "4 handshakes after them, $mpm" four_pages
    # Not SIGTERM: with it, worker and event run exit() while their threads go on.
    kill -WINCH "$server_pid"
    wait_until 60 "$mpm: Apache ends gracefully" gone "$server_pid"
    stop_server "$server_pid"
    # Apache counts the children of a generation, and says so when restarts follow each other so fast
    # that one ends before it was counted; nothing was wrong with the child.
    sed -i '/ AH00546: no record of generation /d' error.log
    says_not "$mpm: no error in Apache's log" ':(emerg|alert|crit|error)\]|exit signal' error.log
done
