# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Sourced by every end-to-end test. A test gets a folder of its own ($W, the working directory), a
# token of the kind $HSM_TOKEN, and is over at the first thing that is not as expected.
#
#   HSM_BUILD   the build folder (default: build/)
#   HSM_TOKEN   softhsm          SoftHSM 2 in the process under test
#               softhsm-remote   SoftHSM 2 behind `p11-kit server`
#               nss              NSS softokn in the process under test
#               tpm              a TPM 2.0: swtpm behind tpm2-abrmd, through tpm2-pkcs11
#               opencryptoki     openCryptoki's software token (in a root of tests/root.sh only: its
#                                daemon and its folders are the system's)
#   HSM_PRELOAD sanitizer runtimes for programs that were not built with them
#   HSM_KEEP    not empty: leave $W behind
#
# A comment "# tokens: ..." on top of a test says for which kinds tests/run.sh runs it (default:
# the first three). A comment "# packages: ..." names Debian packages that only this test needs, and
# "# not with sanitizers: ..." says why it cannot run so.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
. "$here/../../scripts/common.sh"
build=${HSM_BUILD:-$root/build}
HSM_TOKEN=${HSM_TOKEN:-softhsm}
PATH=$PATH:/usr/sbin:/sbin
LC_ALL=C
export LC_ALL PATH
unset OPENSSL_CONF OPENSSL_MODULES OPENSSL_ENGINES PKCS11SPY PKCS11SPY_OUTPUT P11_KIT_SERVER_ADDRESS SOFTHSM2_CONF
# Servers here are on 127.0.0.1, and asked there: what "localhost" is, ::1 first or nothing at all, is
# the machine's matter, and no proxy of its has to do with them.
unset http_proxy https_proxy all_proxy HTTPS_PROXY ALL_PROXY

# passes USER FOLDER: that user gets as far as the folder.
passes() {
    [ "$(id -u)" != 0 ] || ! id "$1" >/dev/null 2>&1 || setpriv --reuid="$1" --regid="$(id -g "$1")" --clear-groups test -x "$2" 2>/dev/null
}

# Servers have workers of other users, who have to get here.
W=$(mktemp -d "${TMPDIR:-/tmp}/hsm-e2e.XXXXXX")
chmod 711 "$W"
if ! passes nobody "$W" && [ "${TMPDIR:-/tmp}" != /tmp ]; then
    rmdir "$W"
    W=$(mktemp -d /tmp/hsm-e2e.XXXXXX)
    chmod 711 "$W"
fi
mkdir -m 1777 "$W/reports" "$W/socket"
# And what they load: the sources and the build may be in somebody's private home.
mkdir -m 755 "$W/built" "$W/built/provider" "$W/built/engine"
for file in provider/hsm.so engine/hsm.so; do
    [ ! -e "$build/$file" ] || install -m 755 "$build/$file" "$W/built/$file"
done
provider=$W/built/provider/hsm.so
engine=$W/built/engine/hsm.so
cd "$W"
pids=
printf "some text to sign\n" >data

cleanup() {
    local status=$? pid report
    trap - EXIT INT TERM
    set +e
    for pid in $pids; do
        kill "$pid" 2>/dev/null
        kill -CONT "$pid" 2>/dev/null # a test may have stopped it
    done
    for pid in $pids; do
        wait "$pid" 2>/dev/null
    done
    for report in "$W"/reports/*; do
        [ -e "$report" ] || continue
        # AddressSanitizer remarks on stacks that programs switch to (ASYNC_JOBs): no error.
        grep -qE 'ERROR: |runtime error|WARNING: ThreadSanitizer' "$report" || continue
        echo "FAILED: a sanitizer reported:"
        head -n 60 "$report"
        [ "$status" != 0 ] || status=1
    done
    [ -n "${HSM_KEEP:-}" ] && echo "left behind: $W" || rm -rf "$W"
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Reports go to files, so that a program that was to fail cannot hide one in its failure.
export ASAN_OPTIONS="detect_leaks=0:log_path=$W/reports/asan:${ASAN_OPTIONS:-}"
export TSAN_OPTIONS="die_after_fork=0:suppressions=$here/tsan.supp:log_path=$W/reports/tsan:${TSAN_OPTIONS:-}"
export UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1:log_path=$W/reports/ubsan:${UBSAN_OPTIONS:-}"

# --- expectations ---------------------------------------------------------------------------------

failed() {
    printf 'FAILED: %s\n' "$1"
    shift
    [ $# = 0 ] || printf '  %s\n' "$@"
    exit 1
}

step() {
    printf '* %s\n' "$*"
}

show() {
    sed 's/^/  | /' "$1" | tail -n "${2:-30}"
}

# must WHAT COMMAND...: the command succeeds. Its output is in $W/out.
must() {
    local what=$1 status=0
    shift
    step "$what"
    "$@" >"$W/out" 2>&1 </dev/null || status=$?
    if [ "$status" != 0 ]; then
        show "$W/out"
        failed "$what" "command: $*" "expected: status 0" "got: status $status, output above"
    fi
}

# must_fail WHAT PATTERN COMMAND...: the command fails by itself (no signal, no timeout) and its
# output matches the pattern.
must_fail() {
    local what=$1 pattern=$2 status=0
    shift 2
    step "$what"
    "$@" >"$W/out" 2>&1 </dev/null || status=$?
    if [ "$status" = 0 ] || [ "$status" -ge 124 ]; then
        show "$W/out"
        failed "$what" "command: $*" "expected: an error" "got: status $status, output above"
    fi
    says "$what" "$pattern" "$W/out"
}

# says WHAT PATTERN FILE: a line of the file matches (extended regular expression, any case).
says() {
    if ! grep -aqiE -- "$2" "$3"; then
        show "$3"
        failed "$1" "expected: a line that matches: $2" "got: ${3##*/}, above"
    fi
}

says_not() {
    if grep -aqiE -- "$2" "$3"; then
        show "$3"
        failed "$1" "expected: no line that matches: $2" "got: ${3##*/}, above"
    fi
}

# same WHAT GOT WANT: two strings are equal.
same() {
    [ "$2" = "$3" ] || failed "$1" "expected: $3" "got: $2"
}

same_files() {
    cmp -s "$2" "$3" || failed "$1" "expected: $2 and $3 have the same content" "got: they differ"
}

# wait_until SECONDS WHAT COMMAND...: poll until the command succeeds.
wait_until() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [ $SECONDS -lt $end ] || failed "$what" "expected: within the time given" "got: not so far"
        sleep 0.1
    done
}

# --- programs -------------------------------------------------------------------------------------

limit=${HSM_LIMIT:-120} # seconds for any one program

# preloaded COMMAND...: a program that was not built with sanitizers but will load what was.
preloaded() {
    timeout "$limit" env ${HSM_PRELOAD:+LD_PRELOAD="$HSM_PRELOAD"} "$@"
}

# openssl with the provider in its configuration; $conf is that.
conf=$W/openssl.cnf
openssl() {
    OPENSSL_CONF=$conf preloaded openssl "$@"
}

# openssl as it is everywhere else: knows nothing of HSMs.
plain_openssl() {
    timeout "$limit" openssl "$@"
}

# leaks_count COMMAND...: a program of ours, which a build with sanitizers instruments: what it does
# not free is an error, too.
leaks_count() {
    # The slow way to unwind: what others leak is told from ours by who called them.
    ASAN_OPTIONS="${ASAN_OPTIONS/detect_leaks=0/detect_leaks=1:fast_unwind_on_malloc=0}" \
        LSAN_OPTIONS="suppressions=$here/lsan.supp:print_suppressions=0" timeout "$limit" "$@"
}

hsmkey() {
    OPENSSL_CONF=$conf leaks_count "$build/tools/hsmkey" "$@"
}

# client NAME ARGUMENTS...: a program from tests/e2e/*.c
client() {
    local name=$1
    shift
    OPENSSL_CONF=$conf leaks_count "$build/tests/e2e/$name" "$@"
}

# --- tokens ---------------------------------------------------------------------------------------

pin=12345678
token_label=test
token_uri=pkcs11:token=test
module=
init_args=

make_softhsm() {
    cat >"$W/softhsm2.conf" <<END
directories.tokendir = $W/tokens
objectstore.backend = file
log.level = ERROR
END
    mkdir -p "$W/tokens"
    SOFTHSM2_CONF=$W/softhsm2.conf softhsm2-util --init-token --free --label "${1:-$token_label}" \
        --pin "$pin" --so-pin 87654321 >"$W/token.log" 2>&1 || {
        show "$W/token.log"
        failed "softhsm2-util makes a token"
    }
}

# make_nss: a database of NSS softokn's with the PIN in $W/pin; $nss_args
make_nss() {
    mkdir "$W/nss"
    certutil -N -d "sql:$W/nss" -f "$W/pin" >"$W/token.log" 2>&1 || failed "certutil makes a token"
    nss_args="configdir='sql:$W/nss' certPrefix='' keyPrefix='' secmod='secmod.db' flags="
}

find_nss() {
    find_file "/usr/lib/*/libsoftokn3.so" "/usr/lib/*/nss/libsoftokn3.so" "/usr/lib64/libsoftokn3.so"
}

# start_tpm: a software TPM, and the daemon that shares it among processes, on a D-Bus of its own.
start_tpm() {
    local port
    mkdir -p "$W/tpm" "$W/tpm2_pkcs11"
    for port in $(shuf -i 20000-32000 -n 20); do
        # The control channel is the next port: the TCTI counts on that.
        ! listening "$port" && ! listening $((port + 1)) || continue
        start_server tpm.log swtpm socket --tpm2 --tpmstate "dir=$W/tpm" --flags not-need-init,startup-clear \
            --server "type=tcp,port=$port,bindaddr=127.0.0.1" --ctrl "type=tcp,port=$((port + 1)),bindaddr=127.0.0.1"
        sleep 0.5
        ! kill -0 "$server_pid" 2>/dev/null || break
    done
    kill -0 "$server_pid" 2>/dev/null || { show tpm.log; failed "swtpm starts"; }
    cat >dbus.conf <<END
<busconfig>
  <type>session</type>
  <listen>unix:path=$W/socket/bus</listen>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_destination="*"/><allow eavesdrop="true"/>
  </policy>
</busconfig>
END
    start_server dbus.log dbus-daemon --config-file="$W/dbus.conf" --nofork
    wait_until 20 "dbus-daemon opens its socket" test -S "$W/socket/bus"
    export DBUS_SESSION_BUS_ADDRESS=unix:path=$W/socket/bus
    start_server abrmd.log tpm2-abrmd --session --allow-root --max-connections=100 "--tcti=swtpm:host=127.0.0.1,port=$port"
    tcti=tabrmd:bus_type=session
    wait_until 60 "tpm2-abrmd answers" env TPM2TOOLS_TCTI="$tcti" tpm2_getrandom --hex 1 >"$W/out" 2>&1
    export TPM2_PKCS11_STORE=$W/tpm2_pkcs11 TPM2_PKCS11_TCTI=$tcti TPM2_PKCS11_BACKEND=esysdb
    TPM2TOOLS_TCTI=$tcti tpm2_ptool init --path "$TPM2_PKCS11_STORE" >"$W/token.log" 2>&1 &&
        TPM2TOOLS_TCTI=$tcti tpm2_ptool addtoken --pid=1 --label="$token_label" --userpin="$pin" --sopin=87654321 \
            --path "$TPM2_PKCS11_STORE" >>"$W/token.log" 2>&1 || { show token.log; failed "tpm2_ptool makes a token"; }
}

# start_opencryptoki: pkcsslotd and a token of its software kind.
start_opencryptoki() {
    [ -e /.made ] && [ "$(id -u)" = 0 ] ||
        failed "openCryptoki runs in a root of tests/root.sh only" "got: a system that is somebody's"
    local slot=3 # in Debian's opencryptoki.conf
    if [ ! -S /run/opencryptoki/pkcsslotd.socket ] && [ ! -S /run/pkcsslotd.socket ]; then
        mkdir -p /run/opencryptoki
        pkcsslotd >"$W/token.log" 2>&1 || { show token.log; failed "pkcsslotd starts"; }
        opencryptoki_answers() {
            pkcs11-tool --module "$module" -L >"$W/out" 2>&1
        }
        wait_until 20 "pkcsslotd answers" opencryptoki_answers
    fi
    # The SO's PIN has to be changed before anything else, and the user's as well.
    {
        pkcs11-tool --module "$module" --slot $slot --init-token --so-pin 87654321 --label "$token_label" &&
            pkcs11-tool --module "$module" --slot $slot --login --login-type so --so-pin 87654321 \
                --change-pin --new-pin 76543210 &&
            pkcs11-tool --module "$module" --slot $slot --login --login-type so --so-pin 76543210 \
                --init-pin --new-pin 00000000 &&
            pkcs11-tool --module "$module" --slot $slot --login --pin 00000000 --change-pin --new-pin "$pin"
    } >>"$W/token.log" 2>&1 || { show token.log; failed "a token of openCryptoki"; }
}

# start_p11_kit_server: serve the SoftHSM token on a socket, from a process of its own.
start_p11_kit_server() {
    SOFTHSM2_CONF=$W/softhsm2.conf "$@" p11-kit server -f --provider "$(find_softhsm)" \
        --name "$W/socket/p11-kit.sock" "$token_uri" >"$W/p11-kit.log" 2>&1 </dev/null &
    p11_kit_pid=$!
    pids="$pids $p11_kit_pid"
    wait_until 20 "p11-kit server opens its socket" test -S "$W/socket/p11-kit.sock"
    chmod 666 "$W/socket/p11-kit.sock"
    export P11_KIT_SERVER_ADDRESS=unix:path=$W/socket/p11-kit.sock
}

# token: make one of the kind $HSM_TOKEN, and the configuration for it.
token() {
    printf '%s' "$pin" >"$W/pin"
    chmod 600 "$W/pin"
    case $HSM_TOKEN in
    softhsm)
        make_softhsm
        export SOFTHSM2_CONF=$W/softhsm2.conf
        module=$(find_softhsm) || failed "SoftHSM is installed"
        ;;
    softhsm-remote)
        make_softhsm
        start_p11_kit_server
        module=$(find_file "/usr/lib/*/pkcs11/p11-kit-client.so" "/usr/lib64/pkcs11/p11-kit-client.so") ||
            failed "p11-kit-client.so is installed"
        ;;
    nss)
        make_nss
        module=$(find_nss) || failed "NSS softokn is installed"
        init_args=$nss_args
        token_label='NSS Certificate DB'
        token_uri=pkcs11:token=NSS%20Certificate%20DB
        ;;
    tpm)
        module=$(find_file "/usr/lib/*/pkcs11/libtpm2_pkcs11.so" "/usr/lib/*/libtpm2_pkcs11.so.1" "/usr/lib64/pkcs11/libtpm2_pkcs11.so") ||
            failed "tpm2-pkcs11 is installed"
        start_tpm
        ;;
    opencryptoki)
        module=$(find_file "/usr/lib/*/pkcs11/libopencryptoki.so" "/usr/lib64/pkcs11/libopencryptoki.so") ||
            failed "openCryptoki is installed"
        start_opencryptoki
        ;;
    *) failed "HSM_TOKEN is softhsm, softhsm-remote, nss, tpm or opencryptoki" "got: $HSM_TOKEN" ;;
    esac
    real_module=$module
    configure
}

# configure [KEY=VALUE...]: write $conf. The keys are those of the provider's section and win over
# the test's defaults; KEY= leaves one out. $provider_order is "default hsm" or "hsm default".
provider_order='default hsm'
offload='all rsa-tls'
configure() {
    local name pair keys
    keys="module activate pkcs11-module pkcs11-init-args token pin offload"
    local -A value=([module]=$provider [activate]=1 [pkcs11-module]=$module [token]=$token_uri
        [pin]=file:$W/pin [offload]=$offload [pkcs11-init-args]=${init_args:+\"$init_args\"})
    for pair in "$@"; do
        case " $keys " in *" ${pair%%=*} "*) ;; *) keys="$keys ${pair%%=*}" ;; esac
        value[${pair%%=*}]=${pair#*=}
    done
    {
        printf 'openssl_conf = openssl_init\n[openssl_init]\nproviders = provider_sect\n[provider_sect]\n'
        for name in $provider_order; do
            printf '%s = %s_sect\n' "$name" "$name"
        done
        printf '[default_sect]\nactivate = 1\n[hsm_sect]\n'
        for name in $keys; do
            [ -z "${value[$name]}" ] || printf '%s = %s\n' "$name" "${value[$name]}"
        done
        printf '[req]\ndistinguished_name = req_dn\n[req_dn]\n'
    } >"$conf"
}

# count_calls: from now on every PKCS#11 call is written down by OpenSC's pkcs11-spy.
count_calls() {
    export PKCS11SPY=$real_module PKCS11SPY_OUTPUT=$W/calls.log
    module=$(find_spy) || failed "pkcs11-spy.so is installed"
    : >"$W/calls.log"
    chmod 666 "$W/calls.log"
    configure "$@"
}

# calls FUNCTION: how many there were, e.g. calls C_Sign, or calls 'C_[A-Za-z]*' for all.
calls() {
    grep -caE "^[0-9]+: $1\$" "$W/calls.log" || true
}

# key NAME TYPE [OPTION...]: generate a key in the token; its reference is NAME.pem, its public half
# NAME.pub.
key() {
    local name=$1 type=$2
    shift 2
    must "hsmkey generates $type '$name' in the token" \
        hsmkey generate --type "$type" --label "$name" -o "$name.pem" "$@"
    must "openssl pkey writes the public half of $name" \
        openssl pkey -in "$name.pem" -pubout -out "$name.pub"
}

# refuses WHAT PATTERN KEY: nobody signs with that key file. What the error says is looked at in a
# program that reads PEM itself, as servers do: OpenSSL 3.0 drops errors of its file store, which
# its command line uses, and only says that it could not read the key.
refuses() {
    must_fail "$1" "$2" client threads "$3" 1 1
    must_fail "  openssl dgst as well" . openssl dgst -sha256 -sign "$3" -out refused.sig data
    [ ! -s refused.sig ] || failed "$1: nothing is signed" "got: a signature"
}

# pkcs11_tool ARGUMENTS...: OpenSC's tool on the same token, logged in (SoftHSM only).
pkcs11_tool() {
    SOFTHSM2_CONF=$W/softhsm2.conf timeout "$limit" pkcs11-tool --module "$(find_softhsm)" \
        --token-label "$token_label" --login --pin "$pin" "$@"
}

# --- certificates, servers ------------------------------------------------------------------------

# software_ca: ca.pem and ca.key, nothing to do with the token.
software_ca() {
    must "a CA in software" plain_openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc \
        -keyout ca.key -out ca.pem -days 2 -subj "/CN=test CA" -addext keyUsage=critical,keyCertSign,cRLSign
}

# certificate NAME: a CSR with NAME.pem, signed by the software CA: NAME.crt
certificate() {
    must "openssl req makes a CSR with $1" openssl req -new -key "$1.pem" -subj "/CN=localhost" \
        -addext "subjectAltName=DNS:localhost,IP:127.0.0.1" -out "$1.csr"
    must "the CA takes it" plain_openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key \
        -copy_extensions copy -days 2 -out "$1.crt"
}

# rsa_and_ec: what most servers are tested with: the keys rsa and ec, each with a certificate.
rsa_and_ec() {
    software_ca
    key rsa rsa:2048
    key ec ec:P-256
    certificate rsa
    certificate ec
}

# start_server LOG COMMAND...: in the background; $server_pid.
start_server() {
    local log=$1
    shift
    rm -f "$log" # whoever waits for a line in it must not see an earlier server's
    "$@" >"$log" 2>&1 </dev/null &
    server_pid=$!
    pids="$pids $server_pid"
}

stop_server() {
    kill "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
    pids=${pids/ $1/}
}

# s_server OPTION...: openssl s_server -www on a free port: $port, $server_pid
s_server() {
    # shellcheck disable=SC2329
    s_server_run() {
        OPENSSL_CONF=$server_conf exec timeout 300 env ${HSM_PRELOAD:+LD_PRELOAD="$HSM_PRELOAD"} \
            openssl s_server -accept 127.0.0.1:0 -www "$@"
    }
    server_conf=${server_conf:-$conf}
    start_server s_server.log s_server_run "$@"
    local end=$((SECONDS + 60))
    until port=$(sed -n 's/^ACCEPT 127\.0\.0\.1:\([0-9]*\).*/\1/p' s_server.log 2>/dev/null) && [ -n "$port" ]; do
        if ! kill -0 "$server_pid" 2>/dev/null || [ $SECONDS -ge $end ]; then
            show s_server.log
            failed "openssl s_server starts"
        fi
        sleep 0.1
    done
    unset server_conf
}

# worker_of USER...: $worker is the first of these users that exists, whom root can become.
worker_of() {
    local name
    worker=
    for name in "$@"; do
        ! id "$name" >/dev/null 2>&1 || { worker=$name; break; }
    done
    [ -n "$worker" ] || failed "one of these users exists: $*"
    setpriv --reuid="$worker" --regid="$(id -g "$worker")" --clear-groups true 2>"$W/out" ||
        failed "this test needs a root that can become another user" "got: $(head -n 1 "$W/out")"
    passes "$worker" "$W" ||
        failed "this test needs a folder for temporary files that $worker can pass through" "got: $W"
}

listening() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# nginx_start NAME...: nginx as the example runs it, with NAME.crt and NAME.pem. $port, $server_pid
nginx_start() {
    local name i
    nginx_user=
    if [ "$(id -u)" = 0 ]; then
        worker_of www-data nginx nobody
        nginx_user=$worker
        for name in tokens nss tpm2_pkcs11; do
            [ ! -d "$name" ] || chown -R "$nginx_user" "$name"
        done
    fi
    if [ "$HSM_TOKEN" = opencryptoki ] && [ -n "$nginx_user" ]; then
        usermod -a -G pkcs11 "$nginx_user"
    fi
    mkdir -p html tmp
    echo "a page over TLS" >html/index.html
    [ -z "$nginx_user" ] || chown "$nginx_user" tmp
    for port in $(shuf -i 20000-32000 -n 20); do
        ! listening "$port" || continue
        nginx_conf "$@" >nginx.conf
        : >error.log
        start_server nginx.log nginx_run
        for i in $(seq 600); do
            if ! kill -0 "$server_pid" 2>/dev/null; then
                grep -q 'Address already in use' error.log && continue 2
                show error.log
                show nginx.log
                failed "nginx starts"
            fi
            ! listening "$port" || return 0
            sleep 0.1
        done
        break
    done
    show error.log
    failed "nginx listens within a minute"
}

nginx_run() {
    OPENSSL_CONF=$conf exec env ${HSM_PRELOAD:+LD_PRELOAD="$HSM_PRELOAD"} \
        nginx -e "$W/error.log" -p "$W" -c "$W/nginx.conf"
}

nginx_conf() {
    cat <<END
${nginx_user:+user $nginx_user;}
worker_processes ${nginx_workers:-2};
daemon off;
pid $W/nginx.pid;
error_log $W/error.log info;
env OPENSSL_CONF;
env SOFTHSM2_CONF;
env P11_KIT_SERVER_ADDRESS;
env TPM2_PKCS11_STORE;
env TPM2_PKCS11_TCTI;
env TPM2_PKCS11_BACKEND;
env DBUS_SESSION_BUS_ADDRESS;
env PKCS11SPY;
env PKCS11SPY_OUTPUT;
env ASAN_OPTIONS;
env UBSAN_OPTIONS;
${HSM_PRELOAD:+env LD_PRELOAD;}
events { worker_connections 128; }
http {
    access_log off;
    client_body_temp_path $W/tmp/body;
    proxy_temp_path $W/tmp/proxy;
    fastcgi_temp_path $W/tmp/fastcgi;
    uwsgi_temp_path $W/tmp/uwsgi;
    scgi_temp_path $W/tmp/scgi;
    server {
        listen 127.0.0.1:$port ssl;
$(for name in "$@"; do
        printf '        ssl_certificate %s;\n' "$W/$name.crt"
        printf '        ssl_certificate_key %s;\n' "$W/$name.pem"
    done)
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_ciphers ${nginx_ciphers:-HIGH:!aNULL};
        ssl_session_tickets off;
        ssl_session_cache off;
        root $W/html;
    }
}
END
}

# fetch RSA|EC 1.2|1.3 [S_CLIENT OPTION...]: one handshake with that kind of key and a page; the
# client is a plain openssl, its output is in client.log.
fetch() {
    local want sigalgs kind=$1 version=$2
    shift 2
    # The second name is what OpenSSL 3.5 and later call it.
    case $kind-$version in
    RSA-1.2) sigalgs=rsa_pkcs1_sha256 want='RSA|rsa_pkcs1_sha256' ;;
    RSA-1.3) sigalgs=rsa_pss_rsae_sha256 want='RSA-PSS|rsa_pss_rsae_sha256' ;;
    EC-*) sigalgs=ecdsa_secp256r1_sha256 want='ECDSA|ecdsa_secp256r1_sha256' ;;
    esac
    printf 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' |
        plain_openssl s_client -connect "127.0.0.1:$port" -servername localhost "-tls1_${version#1.}" \
            -sigalgs "$sigalgs" -CAfile ca.pem -verify_hostname localhost -verify_return_error \
            -ign_eof "$@" >client.log 2>&1 || return 1
    grep -aqE "^Peer signature type: ($want)\$" client.log && grep -aq "New, TLSv$version" client.log &&
        grep -aq "${page:-a page over TLS}" client.log
}

must_fetch() {
    step "a page over TLS $2 with the $1 key"
    if ! fetch "$@"; then
        show client.log
        [ ! -e error.log ] || show error.log 15
        [ ! -e s_server.log ] || show s_server.log 15
        failed "a page over TLS $2 with the $1 key"
    fi
}
