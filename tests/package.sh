#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# package.sh [RELEASE...]: build the Debian package in a root of each release (bookworm, trixie, sid;
# trixie by default), install it, use it with nginx and SoftHSM, and see that its removal leaves
# nothing behind. Needs root's rights; see matrix.sh about the roots. CHECK=1 runs the unit tests in
# the package's build as well. The packages are left in build/packages/. The last line counts.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

# --- in the root ----------------------------------------------------------------------------------

step() {
    local name=$1 status=0
    shift
    "$@" >/tmp/out 2>&1 </dev/null || status=$?
    if [ $status != 0 ]; then
        printf 'FAILED  %s\n' "$name"
        tail -n 60 /tmp/out | sed 's/^/    /'
        exit 1
    fi
    printf 'ok      %s\n' "$name"
}

build_package() {
    rm -rf /work/package
    mkdir -p /work/package
    cp -a /work/src /work/package/openssl-hsm
    cd /work/package/openssl-hsm
    rm -rf build*
    cp -r packaging/debian debian
    dpkg-buildpackage -us -uc -b
}

# everything: all files there are, with the contents of /etc; not what this test or nginx writes.
everything() {
    find / -xdev \( -path /proc -o -path /dev -o -path /work -o -path /tmp -o -path /run -o -path /var/log \
        -o -path /var/cache -o -path /var/lib/apt -o -path /var/lib/dpkg -o -path /var/lib/softhsm \
        -o -path /var/lib/nginx \) -prune -o -printf '%y %m %u %g %p %l\n' | sort
    find /etc -type f -exec sha256sum {} + | sort
    find /var/lib/dpkg/info /var/lib/dpkg/alternatives /var/lib/dpkg/triggers -type f | sort
    dpkg-query -W
    ldconfig -p
}

site=/tmp/site
make_site() {
    local key
    mkdir -p $site/html
    chmod 755 $site
    # The token is where the package of SoftHSM has it, for users in its group.
    usermod -a -G softhsm www-data
    softhsm2-util --init-token --free --label web --pin 12345678 --so-pin 87654321
    chgrp -R softhsm /var/lib/softhsm/tokens
    chmod -R g+rwX /var/lib/softhsm/tokens
    printf 12345678 >$site/pin
    chmod 400 $site/pin
    echo 'from the package' >$site/html/index.html
    cat >$site/openssl.cnf <<END2
.include /etc/ssl/openssl.cnf
.include /etc/ssl/hsm.cnf
[hsm_sect]
pkcs11-module = $(find_softhsm)
token = pkcs11:token=web
pin = file:$site/pin
END2
    cat >$site/nginx.conf <<END2
user www-data;
worker_processes 2;
daemon off;
pid $site/nginx.pid;
error_log $site/error.log;
events { worker_connections 64; }
http {
    access_log off;
    server {
        listen 127.0.0.1:8443 ssl;
$(for key in rsa ec; do
        printf '        ssl_certificate %s.crt;\n        ssl_certificate_key %s.pem;\n' "$site/$key" "$site/$key"
    done)
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_tickets off;
        root $site/html;
    }
}
END2
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout $site/ca.key \
        -out $site/ca.pem -days 2 -subj '/CN=test CA'
}

with_hsm() {
    OPENSSL_CONF=$site/openssl.cnf "$@"
}

make_keys() {
    local key
    with_hsm hsmkey generate --type rsa:2048 --label rsa -o $site/rsa.pem
    with_hsm hsmkey generate --type ec:P-256 --label ec -o $site/ec.pem
    for key in rsa ec; do
        with_hsm openssl req -new -key $site/$key.pem -subj /CN=localhost \
            -addext subjectAltName=DNS:localhost -out $site/$key.csr
        openssl x509 -req -in $site/$key.csr -CA $site/ca.pem -CAkey $site/ca.key -copy_extensions copy \
            -days 2 -out $site/$key.crt
    done
    chgrp -R softhsm /var/lib/softhsm/tokens
    chmod -R g+rwX /var/lib/softhsm/tokens
    with_hsm hsmkey check $site/rsa.pem
}

start_nginx() {
    local i
    with_hsm nginx -e $site/error.log -c $site/nginx.conf >$site/nginx.log 2>&1 &
    nginx_pid=$!
    for i in $(seq 600); do
        ! (exec 3<>/dev/tcp/127.0.0.1/8443) 2>/dev/null || return 0
        if ! kill -0 "$nginx_pid"; then
            break
        fi
        sleep 0.1
    done
    cat $site/error.log $site/nginx.log
    return 1
}

# page SIGALG VERSION...: curl verifies the certificate, and so who has the key.
page() {
    local got
    got=$(curl -sS --cacert $site/ca.pem "${@:2}" --connect-to localhost:443:127.0.0.1:8443 https://localhost/) ||
        { cat $site/error.log; return 1; }
    [ "$got" = 'from the package' ]
    printf 'GET / HTTP/1.0\r\n\r\n' | openssl s_client -connect 127.0.0.1:8443 -sigalgs "$1" -CAfile $site/ca.pem \
        -verify_return_error -ign_eof 2>&1 | grep -a 'from the package'
}

no_provider() {
    ! ls /usr/lib/*/ossl-modules/hsm.so /usr/lib/*/engines-3/hsm.so /usr/bin/hsmkey /etc/ssl/hsm.cnf 2>/dev/null &&
        ! with_hsm openssl pkey -in $site/rsa.pem -noout
}

inside() {
    local deb
    step "dpkg-buildpackage -us -uc -b" build_package
    deb=$(find_file "/work/package/openssl-hsm_*.deb")
    step "what the package needs is there: $(dpkg-deb -f "$deb" Depends)" make_site
    everything >/tmp/before
    step "apt-get install ${deb##*/}" apt-get install -y --no-install-recommends "$deb"
    everything >/tmp/installed
    step "such lists tell what was installed" bash -c "diff /tmp/before /tmp/installed | grep -c '^>.*/hsm[.]so' | grep -qx 2"
    step "the provider is listed" bash -c "OPENSSL_CONF=$site/openssl.cnf openssl list -providers | grep -x '  hsm'"
    step "the engine is found" with_hsm openssl engine -t hsm
    step "the manual pages are there" bash -c \
        "dpkg -L openssl-hsm | grep -c '/man[17]/.*gz$' | grep -x 2"
    step "keys and certificates, with hsmkey and openssl" make_keys
    start_nginx >/tmp/out 2>&1 || { cat /tmp/out; echo "FAILED  nginx starts"; exit 1; }
    step "a page over TLS 1.3 with RSA" page rsa_pss_rsae_sha256 --tlsv1.3
    step "a page over TLS 1.2 with EC" page ecdsa_secp256r1_sha256 --tls-max 1.2
    kill "$nginx_pid"
    wait "$nginx_pid" || true
    step "apt-get purge openssl-hsm" apt-get purge -y openssl-hsm
    step "programs have no provider any more" no_provider
    everything >/tmp/after
    step "nothing is left" diff /tmp/before /tmp/after
}

# --- outside --------------------------------------------------------------------------------------

case ${1:-} in
-h | --help) sed -n '4,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
--inside) inside; exit ;;
esac
. tests/root.sh
[ $# -gt 0 ] || set -- trixie
for name in "$@"; do
    case $name in bookworm | trixie | sid) ;; *) die "no such release: $name (there are bookworm trixie sid)" ;; esac
done
root_possible
logs=$root/build/log/package
mkdir -p "$logs" build/packages
passed=0
failed=0
for name in "$@"; do
    if ! (root_make "$name" package) >"$logs/$name.log" 2>&1; then
        printf 'FAILED  %s: no root: %s\n' "$name" "$(tail -n 1 "$logs/$name.log")"
        failed=$((failed + 1))
        continue
    fi
    status=0
    root_run --discard "$name" env DEB_BUILD_OPTIONS="$([ -n "${CHECK:-}" ] || echo nocheck) parallel=$(jobs_default)" \
        /work/src/tests/package.sh --inside 2>&1 </dev/null | tee "$logs/$name.log" | sed -u "s/^\(ok     \|FAILED \)/\1 $name:/" ||
        status=$?
    passed=$((passed + $(grep -c '^ok ' "$logs/$name.log" || true)))
    [ $status = 0 ] || failed=$((failed + 1))
    cp "$roots/$name"/work/package/*.deb build/packages/ 2>/dev/null || true
done
printf '%d passed, %d failed\n' $passed $failed
[ $failed = 0 ]
