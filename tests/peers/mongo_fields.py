"""libmongocrypt: explicit encryption of a field, its data key under a KMS key. usage: mongo_fields.py HOST:PORT KEY_ARN

libmongocrypt makes and signs the requests itself; this hands its bytes over TLS, as PyMongo would.
"""

import json
import os
import socket
import ssl
import sys

import bson
from pymongocrypt.errors import MongoCryptError
from pymongocrypt.explicit_encrypter import ExplicitEncrypter
from pymongocrypt.mongocrypt import MongoCryptOptions
from pymongocrypt.state_machine import MongoCryptCallback

endpoint, key = sys.argv[1:]
ALGORITHM = "AEAD_AES_256_CBC_HMAC_SHA_512-Random"


class Vault(MongoCryptCallback):
    """A key vault of one document, and the way to the KMS."""

    def __init__(self):
        self.kept = b""
        self.context = ssl.create_default_context(cafile=os.environ["AWS_CA_BUNDLE"])

    def kms_request(self, kms_context):
        host, _, port = kms_context.endpoint.partition(":")
        with (
            socket.create_connection((host, int(port)), timeout=10) as plain,
            self.context.wrap_socket(plain, server_hostname=host) as connection,
        ):
            connection.sendall(kms_context.message)
            while kms_context.bytes_needed > 0:
                received = connection.recv(kms_context.bytes_needed)
                if not received:
                    raise OSError("the connection ended within the answer")
                kms_context.feed(received)

    def insert_data_key(self, data_key):
        self.kept = bytes(data_key)
        return bson.decode(self.kept)["_id"]

    def fetch_keys(self, filter):
        yield self.kept

    def bson_encode(self, doc):
        return bson.encode(doc)

    def collection_info(self, database, filter):
        raise NotImplementedError

    def mark_command(self, database, cmd):
        raise NotImplementedError

    def close(self):
        pass


def encrypter(vault):
    credentials = {
        "accessKeyId": os.environ["AWS_ACCESS_KEY_ID"], "secretAccessKey": os.environ["AWS_SECRET_ACCESS_KEY"],
    }
    return ExplicitEncrypter(vault, MongoCryptOptions({"aws": credentials}))


vault = Vault()
first = encrypter(vault)
master = {"region": os.environ["AWS_REGION"], "key": key, "endpoint": endpoint}
data_key = first.create_data_key("aws", master)
sealed = first.encrypt(bson.encode({"v": "secret"}), ALGORITHM, key_id=data_key)
# Another one has nothing cached: it has the data key decrypted.
opened = bson.decode(encrypter(vault).decrypt(sealed))["v"]

altered = bson.decode(vault.kept)
material = bytearray(altered["keyMaterial"])
material[-1] ^= 1
altered["keyMaterial"] = bytes(material)
broken = Vault()
broken.kept = bson.encode(altered)
try:
    encrypter(broken).decrypt(sealed)
    refused = ""
except MongoCryptError as error:
    refused = str(error)
print(json.dumps({"opened": opened, "marked": b"secret" in bytes(sealed), "refused": refused}))
