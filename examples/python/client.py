#!/usr/bin/env python3
"""client.py CERTIFICATE KEY CA URL: shows a client certificate whose key is in the HSM."""
import ssl
import sys
import urllib.request

certificate, key, ca, url = sys.argv[1:5]
context = ssl.create_default_context(cafile=ca)
context.load_cert_chain(certificate, key)
with urllib.request.urlopen(url, context=context, timeout=60) as answer:
    print(answer.read().decode(), end="")
