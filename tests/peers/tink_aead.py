"""Tink: envelope encryption and an encrypted keyset under a KMS key. usage: tink_aead.py KEY_ARN"""

import io
import json
import sys

import boto3
import tink
from tink import aead
from tink.integration import awskms

uri = f"aws-kms://{sys.argv[1]}"
aead.register()
client = awskms.new_client(key_uri=uri, boto3_client=boto3.client("kms"))
remote = client.get_aead(uri)

envelope = aead.KmsEnvelopeAead(aead.aead_key_templates.AES256_GCM, remote)
sealed = envelope.encrypt(b"secret", b"bound")
try:
    envelope.decrypt(sealed, b"other")
    refused = False
except tink.TinkError:
    refused = True

handle = tink.new_keyset_handle(aead.aead_key_templates.AES256_GCM)
kept = io.BytesIO()
handle.write_with_associated_data(tink.BinaryKeysetWriter(kept), remote, b"keyset")
again = tink.read_keyset_handle_with_associated_data(tink.BinaryKeysetReader(kept.getvalue()), remote, b"keyset")
local = handle.primitive(aead.Aead).encrypt(b"local", b"")
print(
    json.dumps({
        "opened": envelope.decrypt(sealed, b"bound").decode(),
        "refused": refused,
        "keyset": again.primitive(aead.Aead).decrypt(local, b"").decode(),
    })
)
