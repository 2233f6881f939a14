#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# nginx with a statistics file for each worker, a log and an audit: what they say is what happened;
# `hsmkey stats` adds the workers up; neither holds a secret.
. "$(dirname "$0")/lib.sh"

command -v nginx >/dev/null || failed "nginx is installed"
token
key rsa rsa:2048
key ec ec:P-256
software_ca
certificate rsa
certificate ec

mkdir -m 1777 stats
install -m 666 /dev/null log
offload='rsa-sign ec-sign'
configure "offload=$offload" "stats-file=$W/stats/%p.prom" "log=file:$W/log" audit=yes

# done_by CLASS RESULT: from hsmkey stats
done_by() {
    hsmkey stats --json stats/*.prom | python3 -c '
import json, sys
rows = json.load(sys.stdin)["series"]
print(sum(r["value"] for r in rows if r["name"] == "hsm_operations_total"
          and r["class"] == sys.argv[1] and r["result"] == sys.argv[2]))' "$1" "$2"
}

must "a signature with openssl" openssl dgst -sha256 -sign ec.pem -out sig data
files=(stats/*.prom)
same "one process, one file" "${#files[@]}" 1
same "written when the process ended, for all to read" "$(stat -c %a "${files[0]}")" 644
same "one signature" "$(done_by sign done)" 1
says_not "an ended process has no sessions" '^hsm_sessions' "${files[0]}"
must_fail "a decryption that is not offloaded" . openssl pkeyutl -decrypt -inkey rsa.pem -in sig
same "is refused" "$(done_by decrypt refused)" 1
says "and says so in the log" 'level=warn event=refused token=hsm class=decrypt key=' log
says "and in the audit" 'level=audit event=operation token=hsm class=decrypt key=.* outcome=refused' log

rm -f stats/*
: >log
nginx_start rsa ec
handshakes=6
for i in 1 2 3; do
    must_fetch RSA 1.2
    must_fetch EC 1.3
done
signed_so_far() {
    [ "$(done_by sign done 2>/dev/null || echo 0)" = $handshakes ]
}
wait_until 20 "within seconds, while nginx runs, $handshakes signatures in the workers' files" signed_so_far
says "workers say that the token is up" '^hsm_token_up\{pid="[0-9]+",token="hsm"\} 1$' <(cat stats/*.prom)
same "audit has a line for each" \
    "$(grep -c 'event=operation token=hsm class=sign key="pkcs11:[^ ]*type=private" outcome=done$' log)" $handshakes
same "nothing failed" "$(done_by sign failed)" 0
says "logins are in the log" 'level=info event=login token=hsm$' log
same "every line is whole" "$(grep -cvE '^ts=[0-9T:.-]+Z pid=[0-9]+ level=(info|warn|error|audit) event=[a-z-]+ ' log)" 0
stop_server "$server_pid"
must "hsmkey stats shows a table" hsmkey stats stats/*.prom
says "with the signatures in it" "^hsm +sign +$handshakes +0 +0 " out
says "and the keys" '^hsm +pkcs11:.*object=rsa;type=private +3 +0 +[0-9.]+ ms +[0-9.]+ ms$' out
printf 'hsm_operations_total{token="\033[2J",class="sign",result="done"} 1\n' >crafted.prom
must_fail "nothing that a terminal would act on is shown" 'not of a statistics file' hsmkey stats crafted.prom
must_fail "what is not a statistics file is refused" 'not of a statistics file' hsmkey stats data
for secret in "$pin" "some text to sign"; do
    says_not "no secret in log and statistics" "$secret" <(cat log stats/*.prom)
done

printf 'hsm_key_call_seconds_sum{key="k"} 1e29\nhsm_operations_total{class="sign"} 1e29\n' >huge.prom
must "more than there can be is the most that there can be" hsmkey stats --json huge.prom
says "as nanoseconds" '"nanoseconds": *18446744073709551615' out
says "and as a value" '"value": *18446744073709551615' out
