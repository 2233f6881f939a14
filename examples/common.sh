# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Sourced by the examples' run.sh, which has set $here and sourced scripts/common.sh: options, the
# folder of the run and how it goes away, certificates, nginx.

# options OPTION...: $once, $keep; --help shows lines 4 to 7 of the script.
options() {
    local option
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
}

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

# An example with more to end than nginx says how.
stop_others() {
    :
}

cleanup() {
    local status=$?
    trap - EXIT INT TERM
    stop_nginx
    stop_others
    if [ -n "$run" ]; then
        if [ "$keep" = yes ]; then
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

as_worker() {
    if [ -n "$worker" ]; then
        setpriv --reuid="$worker" --regid="$(id -g "$worker")" --clear-groups "$@"
    else
        "$@"
    fi
}

# need SET...: packages and a build; $provider, $hsmkey, $softhsm
need() {
    build=${HSM_BUILD:-$root/build}
    "$root/scripts/deps.sh" "$@"
    [ -n "${HSM_BUILD:-}" ] || "$root/scripts/build.sh"
    PATH=$PATH:/usr/sbin:/sbin
    provider=$build/provider/hsm.so
    hsmkey=$build/tools/hsmkey
    # The servers here are asked directly.
    unset http_proxy https_proxy all_proxy HTTPS_PROXY ALL_PROXY
    softhsm=$(find_softhsm) || die "SoftHSM 2 (libsofthsm2.so) not found"
}

# make_folder: $run, and go there.
make_folder() {
    umask 022
    mkdir -p "$here/run" 2>/dev/null || true
    if [ -w "$here/run" ] && as_worker test -x "$here/run"; then
        run=$(mktemp -d "$here/run/XXXXXX")
    else
        rmdir "$here/run" 2>/dev/null || true
        run=$(mktemp -d "/tmp/openssl-hsm-${here##*/}.XXXXXX")
    fi
    chmod 755 "$run"
    mkdir "$run/tokens" "$run/html" "$run/tmp"
    [ -z "$worker" ] || chown "$worker" "$run/tmp"
    cd "$run"
}

# --- keys and certificates ------------------------------------------------------------------------

# make_token: a SoftHSM token in tokens/, its PIN in the file pin.
make_token() {
    (umask 077 && openssl rand -hex 8 >"$run/pin" && openssl rand -hex 8 >"$run/so-pin")
    cat >"$run/softhsm2.conf" <<END
directories.tokendir = $run/tokens
objectstore.backend = file
log.level = INFO
END
    export SOFTHSM2_CONF=$run/softhsm2.conf
    softhsm2-util --init-token --free --label demo --pin "$(cat pin)" --so-pin "$(cat so-pin)" \
        >"$run/token.log" 2>&1 || explain "the token could not be made" "$run/token.log"
}

# write_openssl_cnf MODULE: the drop-in, with the token from make_token behind this module.
write_openssl_cnf() {
    cat >"$run/openssl.cnf" <<END
.include $root/packaging/hsm.cnf

# The drop-in's section again: these lines add to it, and win.
[hsm_sect]
module = $provider
pkcs11-module = $1
token = pkcs11:token=demo
pin = file:$run/pin
offload = rsa-sign ec-sign

[req]
distinguished_name = req_dn

[req_dn]
END
    export OPENSSL_CONF=$run/openssl.cnf
}

# plain COMMAND...: without the provider, as any other program on this machine would run.
plain() {
    env -u OPENSSL_CONF -u SOFTHSM2_CONF "$@"
}

# generate: web-rsa.pem and web-ec.pem, references to keys in the token.
generate() {
    local key name
    for key in rsa:rsa:2048 ec:ec:P-256; do
        name=web-${key%%:*}
        "$hsmkey" generate --type "${key#*:}" --label "$name" -o "$run/$name.pem" \
            >"$run/$name.log" 2>&1 || explain "hsmkey could not generate $name" "$run/$name.log"
        say "   ${key#*:} generated in the token, reference in $name.pem"
    done
}

# certificates: web-rsa.crt and web-ec.crt, issued by a CA in software, ca.pem.
certificates() {
    local name
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
}

# --- nginx ----------------------------------------------------------------------------------------

# Session resumption is off, so that every connection costs one signature.
nginx_conf() {
    cat <<END
${worker:+user $worker;}
worker_processes 2;
daemon off;
pid $run/nginx.pid;
error_log $run/error.log info;
$(printf 'env %s;\n' "$@")
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

try_ports() {
    local i
    for port in 8443 $(shuf -i 20000-32000 -n 20); do
        ! listening "$port" || continue
        nginx_conf "$@" >nginx.conf
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

# start_nginx VARIABLE...: with both certificates, on $port; it keeps these environment variables.
start_nginx() {
    cat >html/index.html <<'END'
This page came over TLS. The server's private keys are in a PKCS#11 token and nowhere else.
END
    try_ports "$@" || explain "nginx did not start" "$run/error.log" "$run/nginx.log"
}
