#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# packages: prometheus
# tokens: softhsm
#
# Prometheus' own tool takes what stats-file holds, and examples/prometheus: the alerts fire when
# they should, and are about metrics that there are.
. "$(dirname "$0")/lib.sh"

alerts=$root/examples/prometheus
must "the alerts are well-formed" promtool check rules "$alerts/hsm-alerts.yml"
must "and fire when they should" promtool test rules "$alerts/hsm-alerts.test.yml"

token
mkdir -m 1777 stats
install -m 666 /dev/null log
configure "stats-file=$W/stats/%p.prom" "log=file:$W/log"
rsa_and_ec
nginx_start rsa ec
must_fetch RSA 1.3
must_fetch EC 1.2
# With what only processes at work have: sessions and state.
signed() {
    grep -aqs '^hsm_key_call_seconds_count{.*} [1-9]' stats/*.prom && grep -aqs '^hsm_sessions{' stats/*.prom
}
wait_until 20 "workers write their statistics" signed
cp -r stats at-work
stop_server "$server_pid"
# In the operation itself: what fails while a key is loaded is no operation.
printf 'another' >"$W/pin"
configure check-key-at-load=no "stats-file=$W/stats/%p.prom" "log=file:$W/log"
must_fail "a signature with a wrong PIN" . openssl dgst -sha256 -sign rsa.pem -out sig data
# must gives no standard input, and promtool takes nothing else.
check_metrics() {
    promtool check metrics <"$1"
}
for file in stats/*.prom at-work/*.prom; do
    must "promtool takes $file" check_metrics "$file"
done
sed 's/^hsm_token_info{.*/hsm_token_info{/' "$file" >broken
must_fail "and would not take everything" 'error while linting' check_metrics broken
cat at-work/*.prom stats/*.prom >all
names=$(grep -oE 'hsm_[a-z_]+' "$alerts/hsm-alerts.yml" | sort -u)
[ -n "$names" ] || failed "the alerts name metrics"
for name in $names; do
    says "there is a $name" "^$name\{" all
done
says "a refused PIN has the code that the alert looks for" 'hsm_failures_total\{.*code="(CKR_PIN_[A-Z]+|PIN_REFUSED)"\} 1$' all
