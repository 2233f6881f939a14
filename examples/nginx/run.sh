#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh [--once] [--keep]: nginx serves TLS with an RSA and an EC key that never leave their token.
#
#   --once   stop after the proof, exit 0 if it holds, and clean up
#   --keep   leave the folder with the token, configuration and logs behind
#
# Everything is made in a new folder, examples/nginx/run/<name> or, where nginx's workers could not
# reach that (a checkout in a private home), /tmp/openssl-hsm-nginx.<name>. README.md explains.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
. "$here/../../scripts/common.sh"

once=no
keep=no
for option in "$@"; do
    case $option in
    --once) once=yes ;;
    --keep) keep=yes ;;
    -h | --help) sed -n '4,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) die "unknown option: $option (there are --once and --keep)" ;;
    esac
done
handshakes=${HANDSHAKES:-5} # for each line of the table
build=${HSM_BUILD:-$root/build}

# --- the folder, and how it goes away -------------------------------------------------------------

run=
nginx_pid=
running() {
    [ -n "$nginx_pid" ] && kill -0 "$nginx_pid" 2>/dev/null
}

stop_nginx() {
    local i
    running || return 0
    kill -TERM "$nginx_pid" 2>/dev/null || true
    for i in $(seq 100); do
        running || break
        sleep 0.1
    done
    if running; then
        kill -KILL "$nginx_pid" 2>/dev/null || true
    fi
    wait "$nginx_pid" 2>/dev/null || true
    nginx_pid=
}

cleanup() {
    local status=$?
    trap - EXIT INT TERM
    stop_nginx
    if [ -n "$run" ]; then
        if [ $keep = yes ]; then
            say "left behind: $run"
        else
            rm -rf "$run"
            rmdir "$here/run" 2>/dev/null || true
        fi
    fi
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# explain TEXT LOG...: say what went wrong, show the logs that tell why, and give up.
explain() {
    local log
    printf '\nFAILED: %s\n' "$1" >&2
    shift
    for log in "$@"; do
        if [ -s "$log" ]; then
            printf -- '--- end of %s\n' "$log" >&2
            tail -n 25 "$log" >&2
        fi
    done
    exit 1
}

# The folder must not be in anybody else's way, nor closed to the workers.
worker=
if [ "$(id -u)" = 0 ]; then
    for worker in www-data nginx nobody; do
        ! id "$worker" >/dev/null 2>&1 || break
    done
fi
reachable() {
    [ -z "$worker" ] ||
        setpriv --reuid="$worker" --regid="$(id -g "$worker")" --clear-groups test -x "$1"
}

# --- 1. what is needed ----------------------------------------------------------------------------

say "1. packages and build"
"$root/scripts/deps.sh" build example
[ -n "${HSM_BUILD:-}" ] || "$root/scripts/build.sh"
PATH=$PATH:/usr/sbin:/sbin
provider=$build/provider/hsm.so
hsmkey=$build/tools/hsmkey
softhsm=$(find_softhsm) || die "SoftHSM 2 (libsofthsm2.so) not found"
spy=$(find_spy) || die "pkcs11-spy.so (package opensc-pkcs11) not found"

umask 022
mkdir -p "$here/run" 2>/dev/null || true
if [ -w "$here/run" ] && reachable "$here/run"; then
    run=$(mktemp -d "$here/run/XXXXXX")
else
    rmdir "$here/run" 2>/dev/null || true
    run=$(mktemp -d /tmp/openssl-hsm-nginx.XXXXXX)
fi
chmod 755 "$run"
mkdir "$run/tokens" "$run/html" "$run/tmp"
cd "$run"

# --- 2. a token with two keys ---------------------------------------------------------------------

say "2. a SoftHSM token in $run"
(umask 077 && openssl rand -hex 8 >"$run/pin" && openssl rand -hex 8 >"$run/so-pin")
cat >"$run/softhsm2.conf" <<END
directories.tokendir = $run/tokens
objectstore.backend = file
log.level = INFO
END
export SOFTHSM2_CONF=$run/softhsm2.conf
softhsm2-util --init-token --free --label demo --pin "$(cat pin)" --so-pin "$(cat so-pin)" \
    >"$run/token.log" 2>&1 || explain "the token could not be made" "$run/token.log"

# The module is OpenSC's pkcs11-spy, which writes every call down and passes it on to SoftHSM:
# that is where C_Sign is counted. With a HSM of yours, its module stands here.
export PKCS11SPY=$softhsm PKCS11SPY_OUTPUT=$run/pkcs11.log
cat >"$run/openssl.cnf" <<END
.include $root/packaging/hsm.cnf

# The drop-in's section again: these lines add to it, and win.
[hsm_sect]
module = $provider
pkcs11-module = $spy
token = pkcs11:token=demo
pin = file:$run/pin
offload = rsa-sign ec-sign

[req]
distinguished_name = req_dn

[req_dn]
END
export OPENSSL_CONF=$run/openssl.cnf

# plain COMMAND...: without the provider, as any other program on this machine would run.
plain() {
    env -u OPENSSL_CONF -u SOFTHSM2_CONF "$@"
}

for key in rsa:rsa:2048 ec:ec:P-256; do
    name=web-${key%%:*}
    "$hsmkey" generate --type "${key#*:}" --label "$name" -o "$run/$name.pem" \
        >"$run/$name.log" 2>&1 || explain "hsmkey could not generate $name" "$run/$name.log"
    say "   ${key#*:} generated in the token, reference in $name.pem"
done

# --- 3. what the key files are worth --------------------------------------------------------------

say "3. the key files hold no private key:"
plain openssl asn1parse -in web-rsa.pem >asn1.log 2>&1 ||
    explain "web-rsa.pem cannot be read" "$run/asn1.log"
plain openssl asn1parse -in web-rsa.pem -strparse \
    "$(awk -F: '/OCTET STRING/ { print $1 + 0; exit }' asn1.log)" >>asn1.log 2>&1 || true
sed -n 's/^ *[0-9]*:d=\([0-9]*\).*\(OBJECT\|UTF8STRING\) *:\(.*\)/     \2 \3/p' asn1.log
for name in web-rsa web-ec; do
    if plain openssl pkey -in $name.pem -noout >refused.log 2>&1; then
        explain "openssl without the provider took $name.pem for a key" "$run/refused.log"
    fi
    say "   openssl without the provider: $(head -n 1 refused.log) ($name.pem)"
done

# --- 4. certificates ------------------------------------------------------------------------------

say "4. certificates: CSRs by plain 'openssl req', signed by a local CA"
plain openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout ca.key -out ca.pem \
    -days 30 -subj "/CN=openssl-hsm example CA" >ca.log 2>&1 ||
    explain "the CA could not be made" "$run/ca.log"
chmod 600 ca.key
for name in web-rsa web-ec; do
    openssl req -new -key $name.pem -subj "/CN=localhost" \
        -addext "subjectAltName=DNS:localhost,IP:127.0.0.1" -out $name.csr >$name.log 2>&1 ||
        explain "openssl req failed with $name.pem" "$run/$name.log" "$run/pkcs11.log"
    plain openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -copy_extensions copy \
        -days 30 -out $name.crt >$name.log 2>&1 || explain "the CA did not sign" "$run/$name.log"
done

# --- 5. nginx -------------------------------------------------------------------------------------

cat >html/index.html <<'END'
This page came over TLS. The server's private keys are in a PKCS#11 token and nowhere else.
END
if [ -n "$worker" ]; then
    # The workers log in to the token again after the fork. The PIN is not theirs to read: the
    # provider keeps the one that the master read. Only the token's own files must be theirs.
    chown -R "$worker" tokens tmp
fi

# Session resumption is off, so that every connection costs one signature, and the count tells.
nginx_conf() {
    cat <<END
${worker:+user $worker;}
worker_processes 2;
daemon off;
pid $run/nginx.pid;
error_log $run/error.log info;
env OPENSSL_CONF;
env SOFTHSM2_CONF;
env PKCS11SPY;
env PKCS11SPY_OUTPUT;
events { worker_connections 128; }
http {
    access_log $run/access.log;
    client_body_temp_path $run/tmp/body;
    proxy_temp_path $run/tmp/proxy;
    fastcgi_temp_path $run/tmp/fastcgi;
    uwsgi_temp_path $run/tmp/uwsgi;
    scgi_temp_path $run/tmp/scgi;
    default_type text/plain;
    server {
        listen 127.0.0.1:$port ssl;
        server_name localhost;
        ssl_certificate $run/web-rsa.crt;
        ssl_certificate_key $run/web-rsa.pem;
        ssl_certificate $run/web-ec.crt;
        ssl_certificate_key $run/web-ec.pem;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_tickets off;
        ssl_session_cache off;
        root $run/html;
    }
}
END
}

listening() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

start_nginx() {
    local i
    for port in 8443 $(shuf -i 20000-32000 -n 20); do
        ! listening "$port" || continue
        nginx_conf >nginx.conf
        : >error.log
        nginx -e "$run/error.log" -p "$run" -c "$run/nginx.conf" >nginx.log 2>&1 </dev/null &
        nginx_pid=$!
        for i in $(seq 300); do
            if ! running; then
                wait "$nginx_pid" || true
                nginx_pid=
                grep -q 'Address already in use' error.log && continue 2
                return 1
            fi
            ! listening "$port" || return 0
            sleep 0.1
        done
        return 1
    done
    return 1
}
start_nginx || explain "nginx did not start" "$run/error.log" "$run/nginx.log"
say "5. nginx listens on 127.0.0.1:$port, workers run as ${worker:-$(id -un)}"

# --- 6. the proof ---------------------------------------------------------------------------------

signatures() {
    grep -csE '^[0-9]+: C_Sign$' pkcs11.log || true
}

# fetch KEY VERSION: get the page once over that TLS version with that key; check what was used.
fetch() {
    local want sigalgs
    # The second name is what OpenSSL 3.5 and later call it.
    case $1-$2 in
    RSA-1.2) sigalgs=rsa_pkcs1_sha256 want='RSA|rsa_pkcs1_sha256' ;;
    RSA-1.3) sigalgs=rsa_pss_rsae_sha256 want='RSA-PSS|rsa_pss_rsae_sha256' ;;
    EC-*) sigalgs=ecdsa_secp256r1_sha256 want='ECDSA|ecdsa_secp256r1_sha256' ;;
    esac
    printf 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' |
        plain timeout 30 openssl s_client -connect "127.0.0.1:$port" -servername localhost \
            "-tls1_${2#1.}" -sigalgs $sigalgs -CAfile ca.pem -verify_hostname localhost \
            -verify_return_error -ign_eof >client.log 2>&1 || return 1
    grep -qE "^Peer signature type: ($want)\$" client.log &&
        grep -q "New, TLSv$2" client.log && grep -q '^This page came over TLS' client.log
}

say "6. handshakes made, and C_Sign calls counted between the provider and the token:"
say ""
printf '   %-10s %-5s %11s %13s\n' key TLS handshakes 'C_Sign calls'
all=0
all_signed=0
for key in RSA EC; do
    for version in 1.2 1.3; do
        before=$(signatures)
        for i in $(seq "$handshakes"); do
            fetch $key $version || explain "no page over TLS $version with the $key key" \
                "$run/client.log" "$run/error.log" "$run/pkcs11.log"
        done
        signed=$(($(signatures) - before))
        case $key in RSA) name=RSA-2048 ;; EC) name=EC-P-256 ;; esac
        printf '   %-10s %-5s %11d %13d\n' $name $version "$handshakes" "$signed"
        all=$((all + handshakes))
        all_signed=$((all_signed + signed))
        [ "$signed" = "$handshakes" ] || explain \
            "$handshakes handshakes but $signed signatures by the token" "$run/error.log"
    done
done
printf '   %-10s %-5s %11d %13d\n\n' all '' $all $all_signed
say "Every handshake was signed by the token: $all of $all."

[ $once = no ] || exit 0
say ""
say "nginx keeps serving. In another terminal, try"
say "    curl --cacert $run/ca.pem https://localhost:$port/"
say "Ctrl-C stops it and removes $run."
trap 'say ""; exit 0' INT TERM
wait "$nginx_pid" || true
running || explain "nginx ended by itself" "$run/error.log"
