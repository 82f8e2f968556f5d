"""AWS Encryption SDK: a large file by a master key provider and by a keyring.

usage: encryption_sdk.py FOLDER KEY_ARN BYTES
"""

import hashlib
import json
import sys
from pathlib import Path

import aws_encryption_sdk
import boto3
from aws_cryptographic_material_providers.mpl import AwsCryptographicMaterialProviders
from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
from aws_cryptographic_material_providers.mpl.models import CreateAwsKmsKeyringInput
from aws_encryption_sdk.exceptions import AWSEncryptionSDKClientError

folder, key, size = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
sdk = aws_encryption_sdk.EncryptionSDKClient()
context = {"purpose": "backup"}
plain, sealed, opened = folder / "plain", folder / "sealed", folder / "opened"

block = bytes(range(256)) * 4096
with plain.open("wb") as file:
    for _ in range(size // len(block)):
        file.write(block)

provider = aws_encryption_sdk.StrictAwsKmsMasterKeyProvider(key_ids=[key])
keyring = AwsCryptographicMaterialProviders(MaterialProvidersConfig()).create_aws_kms_keyring(
    CreateAwsKmsKeyringInput(kms_key_id=key, kms_client=boto3.client("kms"))
)


def copy(source, target):
    digest = hashlib.sha256()
    for part in source:
        target.write(part)
        digest.update(part)
    return digest.hexdigest()


with (
    plain.open("rb") as given,
    sealed.open("wb") as target,
    sdk.stream(mode="e", source=given, key_provider=provider, encryption_context=context) as encryptor,
):
    copy(encryptor, target)
# What the one wrote, the other reads.
with (
    sealed.open("rb") as given,
    opened.open("wb") as target,
    sdk.stream(mode="d", source=given, keyring=keyring) as decryptor,
):
    bound = decryptor.header.encryption_context["purpose"]
    read = copy(decryptor, target)

altered = bytearray(sealed.read_bytes()[: 1 << 20])
altered[200] ^= 1
try:
    sdk.decrypt(source=bytes(altered), key_provider=provider)
    refused = False
except (AWSEncryptionSDKClientError):
    refused = True
with plain.open("rb") as given:
    expected = hashlib.file_digest(given, "sha256").hexdigest()
print(json.dumps({"equal": read == expected, "bound": bound, "refused": refused, "bytes": opened.stat().st_size}))
