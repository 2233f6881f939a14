#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# packages: nodejs
# tokens: softhsm nss
#
# Programs with a libcrypto of their own. A whole one works: inside the program, as Node.js has it,
# and beside the system's. A part of one would be a mixture: refused, and the log says why.
. "$(dirname "$0")/lib.sh"
. "$here/programs.inc"

token
count_calls
rsa_and_ec

# --- Node.js: its own libcrypto, unless the distribution built it with the system's ----------------

# node reads this section of the configuration, not openssl_conf.
sed 's/^openssl_conf = openssl_init/&\nnodejs_conf = openssl_init/' "$conf" >node.cnf
cat >talk.js <<'END'
const tls = require('tls'), fs = require('fs'), assert = require('assert'), crypto = require('crypto');
const [serverName, clientName, version] = process.argv.slice(2);
const pair = (name) => ({key: fs.readFileSync(name + '.pem'), cert: fs.readFileSync(name + '.crt'),
    ca: fs.readFileSync('ca.pem'), minVersion: version, maxVersion: version});
const wanted = new crypto.X509Certificate(fs.readFileSync(clientName + '.crt')).serialNumber;
const server = tls.createServer({...pair(serverName), requestCert: true, rejectUnauthorized: true}, (s) => {
    assert.strictEqual(s.getPeerCertificate().serialNumber, wanted);
    s.end('you are ' + wanted);
});
server.on('tlsClientError', (e) => { console.error('server:', e); process.exit(1); });
server.listen(0, '127.0.0.1', () => {
    const s = tls.connect({...pair(clientName), port: server.address().port, host: '127.0.0.1', servername: 'localhost'});
    s.on('error', (e) => { console.error('client:', e); process.exit(1); });
    s.on('data', (d) => { console.log(s.getProtocol(), d.toString()); });
    s.on('close', () => server.close());
});
setTimeout(() => { console.error('took too long'); process.exit(1); }, 60000).unref();
END
node_talk() {
    must "Node.js: server with $1, client with $2, $3" env OPENSSL_CONF="$W/node.cnf" timeout "$limit" \
        env ${HSM_PRELOAD:+LD_PRELOAD="$HSM_PRELOAD"} node talk.js "$1" "$2" "$3"
    says "the server saw the client's certificate" "^$3 you are [0-9A-F]+" out
}
for version in TLSv1.2 TLSv1.3; do
    signatures 2 "Node.js" node_talk rsa ec $version
    signatures 2 "Node.js" node_talk ec rsa $version
done
must_fail "without the provider Node.js refuses the reference" 'Error: error:.*(unsupported|DECODER)' \
    env -u OPENSSL_CONF node talk.js rsa ec TLSv1.3

# --- two whole libcryptos side by side ---------------------------------------------------------

lib=$(ldconfig -p | sed -n 's/.*libcrypto\.so\.3 .*=> //p' | head -n 1)
python3 - "$lib" <<'END'
import sys
data = open(sys.argv[1], "rb").read()
assert b"libcrypto.so.3\0" in data
open("libcrypto.so.9", "wb").write(data.replace(b"libcrypto.so.3\0", b"libcrypto.so.9\0"))
END
cat >two.py <<'END'
import ctypes, sys
P, c = ctypes.c_void_p, ctypes.CDLL("./libcrypto.so.9")
for name in "BIO_new_file", "PEM_read_bio_PrivateKey", "PEM_read_bio_PUBKEY", "EVP_MD_CTX_new", "EVP_sha256":
    getattr(c, name).restype = P
bio = P(c.BIO_new_file(sys.argv[1].encode(), b"r"))
key = P(c.PEM_read_bio_PrivateKey(bio, None, None, None))
assert key.value, "no key"
ctx, size, sig = P(c.EVP_MD_CTX_new()), ctypes.c_size_t(512), ctypes.create_string_buffer(512)
assert c.EVP_DigestSignInit(ctx, None, P(c.EVP_sha256()), None, key) == 1
assert c.EVP_DigestSign(ctx, sig, ctypes.byref(size), b"text", ctypes.c_size_t(4)) == 1
open("sig", "wb").write(sig.raw[:size.value])
maps = {line.split()[-1].split("/")[-1] for line in open("/proc/self/maps") if "libcrypto" in line}
print(sorted(maps))
assert maps == {"libcrypto.so.3", "libcrypto.so.9"}, maps
END
two() {
    must "a program with a libcrypto beside the system's signs with $1" env OPENSSL_CONF="$conf" \
        env ${HSM_PRELOAD:+LD_PRELOAD="$HSM_PRELOAD"} timeout "$limit" python3 two.py "$1.pem"
    printf text >text
    must "  the signature is good" plain_openssl dgst -sha256 -verify "$1.pub" -signature sig text
}
signatures 1 "two libcryptos" two rsa
signatures 1 "two libcryptos" two ec

# --- a mixture -------------------------------------------------------------------------------------

partial=$build/tests/e2e/partial_libcrypto.so
mixture='mixes two libcryptos: .*partial_libcrypto'
must_fail "a mixture is refused: openssl says so" "hsm provider: not loaded: this process $mixture" \
    env LD_PRELOAD="${HSM_PRELOAD:+$HSM_PRELOAD:}$partial" openssl dgst -provider-path "${provider%/*}" \
    -provider hsm -provider default -sha256 -sign rsa.pem -out no.sig data
must_fail "a server that its configuration gives the provider says so, too" "$mixture" \
    env OPENSSL_CONF="$conf" LD_PRELOAD="${HSM_PRELOAD:+$HSM_PRELOAD:}$partial" timeout "$limit" \
    openssl s_server -accept 127.0.0.1:0 -cert rsa.crt -key rsa.pem
