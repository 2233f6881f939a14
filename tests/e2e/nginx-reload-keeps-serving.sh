#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# 20 reloads, and workers killed, under load: not one request fails.
. "$(dirname "$0")/lib.sh"
. "$here/programs.inc"

token
rsa_and_ec
nginx_start rsa ec
load_seconds=30
load_start 1

step "20 reloads"
for i in $(seq 20); do
    old=$(children "$server_pid")
    kill -HUP "$server_pid"
    wait_until 60 "reload $i gives new workers" renewed
    fetch RSA 1.3 && fetch EC 1.2 || { show client.log; show error.log; failed "a page after reload $i"; }
    load_no_failure "reload $i"
done
load_stop "20 reloads" 21
says_not "no worker ended by a signal" 'exited on signal' error.log

step "a killed worker is replaced and the new one signs"
for i in 1 2 3; do
    for pid in $(children "$server_pid"); do
        kill -KILL "$pid" 2>/dev/null || true # one of the last reload's may just have ended
    done
    sleep 1
    must_fetch RSA 1.3
    must_fetch EC 1.3
done
