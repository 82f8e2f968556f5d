"""pyarrow: a Parquet file with footer and a column under KMS keys. usage: parquet.py FILE KEY_ID

A key id, not an ARN: the colons of an ARN are pyarrow's own separators.
"""

import base64
import datetime as dt
import json
import sys
from pathlib import Path

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.parquet import encryption

path, key = Path(sys.argv[1]), sys.argv[2]
calls = {"wrap": 0, "unwrap": 0}


class Kms(encryption.KmsClient):
    """Wraps the file's keys by Encrypt and unwraps them by Decrypt."""

    def __init__(self, _config):
        super().__init__()
        self._kms = boto3.client("kms")

    def wrap_key(self, key_bytes, master_key_identifier):
        calls["wrap"] += 1
        answer = self._kms.encrypt(
            KeyId=master_key_identifier, Plaintext=key_bytes, EncryptionContext={"use": "parquet"}
        )
        return base64.b64encode(answer["CiphertextBlob"])

    def unwrap_key(self, wrapped_key, master_key_identifier):
        calls["unwrap"] += 1
        return self._kms.decrypt(
            KeyId=master_key_identifier, CiphertextBlob=base64.b64decode(wrapped_key),
            EncryptionContext={"use": "parquet"},
        )["Plaintext"]


table = pa.table({"name": ["kagitori"] * 1000, "secret": ["PLAINTEXT-MARK"] * 1000})
factory, connection = encryption.CryptoFactory(Kms), encryption.KmsConnectionConfig()
writing = encryption.EncryptionConfiguration(
    footer_key=key, column_keys={key: ["secret"]}, double_wrapping=True, cache_lifetime=dt.timedelta(minutes=5)
)
properties = factory.file_encryption_properties(connection, writing)
with pq.ParquetWriter(path, table.schema, encryption_properties=properties) as writer:
    writer.write_table(table)
reading = factory.file_decryption_properties(connection, encryption.DecryptionConfiguration())
read = pq.ParquetFile(path, decryption_properties=reading).read()
print(
    json.dumps({
        "equal": read.equals(table), "magic": path.read_bytes()[:4].decode(),
        "marked": b"PLAINTEXT-MARK" in path.read_bytes(), **calls,
    })
)
