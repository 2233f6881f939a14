// node server.js CERTIFICATE KEY CA PORT: an HTTPS server that asks for a client certificate.
// KEY is a key reference. README.md says how Node.js gets the provider.
const https = require('https'), fs = require('fs');
const [certificate, key, ca, port] = process.argv.slice(2);
https.createServer({
    cert: fs.readFileSync(certificate), key: fs.readFileSync(key), ca: fs.readFileSync(ca),
    requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.2',
}, (request, answer) => {
    answer.end('you are ' + request.socket.getPeerCertificate().serialNumber + '\n');
}).listen(Number(port), '127.0.0.1');
