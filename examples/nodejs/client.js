// node client.js CERTIFICATE KEY CA URL: shows a client certificate whose key is in the HSM.
const https = require('https'), fs = require('fs');
const [certificate, key, ca, url] = process.argv.slice(2);
https.get(url, {
    cert: fs.readFileSync(certificate), key: fs.readFileSync(key), ca: fs.readFileSync(ca),
}, (answer) => answer.pipe(process.stdout)).on('error', (e) => {
    console.error('client:', e.message);
    process.exitCode = 1;
});
