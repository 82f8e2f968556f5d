"""The DynamoDB Encryption Client and the S3 Encryption Client: an item and an object under a KMS key.

usage: stored_items.py STORE_URL KEY_ARN; STORE_URL is a server that plays DynamoDB and S3.
"""

import json
import sys

import boto3
from dynamodb_encryption_sdk.encrypted.table import EncryptedTable
from dynamodb_encryption_sdk.identifiers import CryptoAction
from dynamodb_encryption_sdk.material_providers.aws_kms import AwsKmsCryptographicMaterialsProvider
from dynamodb_encryption_sdk.structures import AttributeActions
from s3_encryption import S3EncryptionClient, S3EncryptionClientConfig
from s3_encryption.materials.kms_keyring import KmsKeyring

store, key = sys.argv[1:]
keys = {"aws_access_key_id": "store", "aws_secret_access_key": "store"}

dynamodb = boto3.resource("dynamodb", endpoint_url=store, **keys)
table = dynamodb.create_table(
    TableName="things", BillingMode="PAY_PER_REQUEST",
    KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
)
encrypted = EncryptedTable(
    table=table, materials_provider=AwsKmsCryptographicMaterialsProvider(key_id=key),
    attribute_actions=AttributeActions(default_action=CryptoAction.ENCRYPT_AND_SIGN),
)
encrypted.put_item(Item={"id": "1", "secret": "PLAINTEXT-MARK"})
raw = table.get_item(Key={"id": "1"})["Item"]
item = encrypted.get_item(Key={"id": "1"})["Item"]

s3 = boto3.client("s3", endpoint_url=store, **keys)
s3.create_bucket(Bucket="things")
keyring = KmsKeyring(kms_client=boto3.client("kms"), kms_key_id=key)
client = S3EncryptionClient(s3, S3EncryptionClientConfig(keyring))
client.put_object(Bucket="things", Key="object", Body=b"PLAINTEXT-MARK" * 1000)
# The one that was given to S3EncryptionClient decrypts from then on; another sees what is stored.
plain = boto3.client("s3", endpoint_url=store, **keys)
stored = plain.get_object(Bucket="things", Key="object")["Body"].read()
read = client.get_object(Bucket="things", Key="object")["Body"].read()

print(
    json.dumps({
        "item": item["secret"], "itemMarked": "PLAINTEXT-MARK" in repr(raw),
        "object": read == b"PLAINTEXT-MARK" * 1000, "objectMarked": b"PLAINTEXT-MARK" in stored,
    })
)
