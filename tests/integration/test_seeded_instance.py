"""A seed in a real process: ids, material, states, credentials and grants are the seed's, and work as any others."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from tests.support.forked import nursery, run_forked

from kagitori.kms.v1.cryptography_pb2 import (
    DecryptRequest,
    DeriveSharedSecretRequest,
    EncryptRequest,
    GenerateMacRequest,
    GetPublicKeyRequest,
    SignRequest,
)
from kagitori.kms.v1.grants_pb2 import ListGrantsRequest
from kagitori.kms.v1.key_material_pb2 import IncludeKeyMaterial, ListKeyRotationsRequest
from kagitori.kms.v1.keys_pb2 import DescribeKeyRequest, GetKeyPolicyRequest, ListResourceTagsRequest
from kagitori.kms.v1.resources_pb2 import (
    EncryptionAlgorithm,
    KeyAgreementAlgorithm,
    KeyMetadata,
    KeyState,
    MacAlgorithm,
    MessageType,
    SigningAlgorithm,
)
from kagitori_client import ServiceError
from kagitori_client.testing import NotStarted, Service, running
from kagitori_server.bootstrap.data_directory import open_data_directory
from kagitori_server.config import ConfigurationError, load_config
from kagitori_server.development import DevelopmentServer
from kagitori_server.laboratory.seed import load_seed
from kagitori_server.laboratory.seed_principals import Surroundings

UUID = "0b8f52c4-9d3e-4a57-8f0c-6f1d4c2f9a1"
SYMMETRIC, MAC, RSA, EDWARDS, AGREEING, IMPORTED, DYING, RULED = (UUID + digit for digit in "01234567")
FAMILY = "mrk-0123456789abcdef0123456789abcdef"
THEIRS = UUID + "8"
MATERIAL = bytes(range(32))
RSA_KEY = rsa.generate_private_key(65_537, 2_048)
EDWARDS_KEY = ed25519.Ed25519PrivateKey.from_private_bytes(MATERIAL)
AGREEING_KEY = ec.generate_private_key(ec.SECP256R1())
ALICE, BOB, TEAM = (f"kgt_{name:x<43}" for name in ("alice", "bob", "team"))
GRANT = "01" * 32


def pem(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def spki(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def text(material: bytes) -> str:
    return base64.b64encode(material).decode()


SEED = f"""
clock = 2026-01-01T00:00:00Z

[[accounts]]
id = "111122223333"
name = "team"
[[accounts.tokens]]
value = "{TEAM}"

[[managed_policies]]
name = "readers"
[managed_policies.document]
Version = "2012-10-17"
Statement = [{{ Effect = "Allow", Action = "kms:Decrypt", Resource = "*" }}]

[[groups]]
name = "staff"
managed_policies = ["readers"]

[[users]]
name = "alice"
path = "/people/"
tags = {{ team = "red" }}
groups = ["staff"]
[users.policies.use]
Version = "2012-10-17"
Statement = [{{ Effect = "Allow", Action = "kms:GenerateMac", Resource = "*" }}]
[[users.tokens]]
value = "{ALICE}"
description = "of the tests"
[[users.access_keys]]
id = "AKIAIOSFODNN7EXAMPLE"
secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

[[users]]
name = "bob"
[[users.tokens]]
value = "{BOB}"

[[roles]]
name = "deployer"
boundary = "readers"
[roles.trust]
Version = "2012-10-17"
[[roles.trust.Statement]]
Effect = "Allow"
Principal = {{ AWS = "arn:aws:iam::000000000000:user/bob" }}
Action = "sts:AssumeRole"

[[keys]]
id = "{SYMMETRIC}"
description = "orders"
materials = ["{text(MATERIAL[::-1])}", "{text(MATERIAL)}"]
aliases = ["alias/orders", "alias/also"]
rotation_days = 365
tags = {{ cost = "7" }}
[[keys.grants]]
id = "{GRANT}"
name = "encrypting"
grantee = "user/bob"
operations = ["Encrypt"]
encryption_context_subset = {{ shop = "1" }}

[[keys]]
id = "{MAC}"
spec = "HMAC_256"
materials = ["{text(MATERIAL)}"]

[[keys]]
id = "{RSA}"
spec = "RSA_2048"
usage = "SIGN_VERIFY"
materials = ['''{pem(RSA_KEY)}''']

[[keys]]
id = "{EDWARDS}"
spec = "ECC_NIST_EDWARDS25519"
materials = ['''{pem(EDWARDS_KEY)}''']

[[keys]]
id = "{AGREEING}"
spec = "ECC_NIST_P256"
usage = "KEY_AGREEMENT"
materials = ['''{pem(AGREEING_KEY)}''']

[[keys]]
id = "{IMPORTED}"
origin = "EXTERNAL"
materials = ["{text(MATERIAL)}"]
valid_to = 2026-02-01T00:00:00Z
state = "Disabled"

[[keys]]
id = "{DYING}"
state = "PendingDeletion"
deletion_days = 7

[[keys]]
id = "{RULED}"
state = "PendingDeletion"
[keys.policy]
Version = "2012-10-17"
[[keys.policy.Statement]]
Effect = "Allow"
Principal = {{ AWS = "arn:aws:iam::000000000000:user/people/alice" }}
Action = "kms:*"
Resource = "*"

[[keys]]
id = "{FAMILY}"
materials = ["{text(MATERIAL)}"]
replicas = ["eu-west-1"]

[[keys]]
id = "{THEIRS}"
account = "111122223333"
region = "eu-west-1"
aliases = ["alias/theirs"]
"""
REGIONS = ("--set", "service.regions=us-east-1,eu-west-1")


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("seed") / "seed.toml"
    file.write_text(SEED)
    return file


@pytest.fixture(scope="module")
def service(seed: Path) -> Iterator[Service]:
    with running(seed=seed, arguments=REGIONS, nursery=nursery()) as started:
        yield started


def described(service: Service, key_id: str) -> KeyMetadata:
    return service.client.keys.DescribeKey(DescribeKeyRequest(key_id=key_id)).key_metadata


def test_keys_are_as_the_seed_says(service: Service) -> None:
    """Ids, states, times of the seed's clock, aliases, tags, rotation, replicas."""
    key = described(service, "alias/orders")
    assert key.arn == f"arn:aws:kms:us-east-1:000000000000:key/{SYMMETRIC}"
    assert (key.description, key.key_state) == ("orders", KeyState.KEY_STATE_ENABLED)
    assert 0 <= key.creation_date.seconds - 1_767_225_600 < 60
    assert described(service, "alias/also").arn == key.arn
    tags = service.client.keys.ListResourceTags(ListResourceTagsRequest(key_id=SYMMETRIC)).tags
    assert [(tag.tag_key, tag.tag_value) for tag in tags] == [("cost", "7")]
    dying = described(service, DYING)
    assert dying.key_state == KeyState.KEY_STATE_PENDINGDELETION
    assert 0 <= dying.deletion_date.seconds - 1_767_225_600 - 7 * 86_400 < 60
    imported = described(service, IMPORTED)
    assert (imported.key_state, imported.valid_to.seconds) == (KeyState.KEY_STATE_DISABLED, 1_769_904_000)
    family = described(service, FAMILY).multi_region_configuration
    assert [replica.region for replica in family.replica_keys] == ["eu-west-1"]


def test_material_is_the_seed_s(service: Service) -> None:
    """What is deterministic equals what the library computes from the same key on its own."""
    crypto = service.client.crypto
    algorithm = MacAlgorithm.MAC_ALGORITHM_HMAC_SHA_256
    mac = crypto.GenerateMac(GenerateMacRequest(key_id=MAC, message=b"m", mac_algorithm=algorithm)).mac
    assert mac == hmac.digest(MATERIAL, b"m", hashlib.sha256)
    for key_id, name, local in (
        (RSA, "RSASSA_PKCS1_V1_5_SHA_256", RSA_KEY.sign(b"m", padding.PKCS1v15(), SHA256())),
        (EDWARDS, "ED25519_SHA_512", EDWARDS_KEY.sign(b"m")),
    ):
        request = SignRequest(
            key_id=key_id, message=b"m", message_type=MessageType.MESSAGE_TYPE_RAW,
            signing_algorithm=SigningAlgorithm.Value(f"SIGNING_ALGORITHM_{name}"),
        )
        assert crypto.Sign(request).signature == local
    for key_id, key in ((RSA, RSA_KEY), (EDWARDS, EDWARDS_KEY), (AGREEING, AGREEING_KEY)):
        assert crypto.GetPublicKey(GetPublicKeyRequest(key_id=key_id)).public_key == spki(key)
    peer = ec.generate_private_key(ec.SECP256R1())
    agreed = crypto.DeriveSharedSecret(DeriveSharedSecretRequest(
        key_id=AGREEING, public_key=spki(peer),
        key_agreement_algorithm=KeyAgreementAlgorithm.KEY_AGREEMENT_ALGORITHM_ECDH,
    ))
    assert agreed.shared_secret == peer.exchange(ec.ECDH(), AGREEING_KEY.public_key())


def test_ciphertexts_travel_between_instances_of_one_seed(service: Service, seed: Path) -> None:
    """Those of the material before the rotation of the seed, too, and between Regions of a family."""
    context = {"a": "b"}
    blobs = [
        service.client.crypto.Encrypt(EncryptRequest(key_id=key, plaintext=b"x", encryption_context=context))
        for key in (SYMMETRIC, FAMILY)
    ]
    with running(seed=seed, arguments=REGIONS, nursery=nursery()) as other:
        for sealed in blobs:
            request = DecryptRequest(ciphertext_blob=sealed.ciphertext_blob, encryption_context=context)
            assert other.client.crypto.Decrypt(request).plaintext == b"x"
        request = DecryptRequest(
            ciphertext_blob=blobs[1].ciphertext_blob, encryption_context=context,
            encryption_algorithm=EncryptionAlgorithm.ENCRYPTION_ALGORITHM_SYMMETRIC_DEFAULT,
        )
        metadata = (("kagitori-region", "eu-west-1"),)
        assert other.client.crypto.Decrypt(request, metadata=metadata).plaintext == b"x"
    rotations = service.client.keys.ListKeyRotations(ListKeyRotationsRequest(
        key_id=SYMMETRIC, include_key_material=IncludeKeyMaterial.INCLUDE_KEY_MATERIAL_ALL_KEY_MATERIAL,
    )).rotations
    assert len(rotations) == 2


def test_principals_are_as_the_seed_says(service: Service) -> None:
    """Tokens are the seed's, and policies of the user, the group and the key hold."""
    alice, bob, team = (service.with_token(token) for token in (ALICE, BOB, TEAM))
    assert alice.arn == "arn:aws:iam::000000000000:user/people/alice"
    assert team.arn == "arn:aws:iam::111122223333:root"
    algorithm = MacAlgorithm.MAC_ALGORITHM_HMAC_SHA_256
    assert alice.client.crypto.GenerateMac(GenerateMacRequest(key_id=MAC, message=b"m", mac_algorithm=algorithm)).mac
    sealed = service.client.crypto.Encrypt(EncryptRequest(key_id=SYMMETRIC, plaintext=b"x")).ciphertext_blob
    assert alice.client.crypto.Decrypt(DecryptRequest(ciphertext_blob=sealed)).plaintext == b"x"
    assert alice.client.keys.GetKeyPolicy(GetKeyPolicyRequest(key_id=RULED)).policy
    with pytest.raises(ServiceError) as refused:
        service.client.keys.GetKeyPolicy(GetKeyPolicyRequest(key_id=RULED))
    assert refused.value.code == "AccessDeniedException"
    metadata = (("kagitori-region", "eu-west-1"),)
    theirs = team.client.keys.DescribeKey(DescribeKeyRequest(key_id="alias/theirs"), metadata=metadata).key_metadata
    assert theirs.key_id == THEIRS
    assert bob.client.crypto.Encrypt(
        EncryptRequest(key_id=SYMMETRIC, plaintext=b"x", encryption_context={"shop": "1", "b": "2"})
    ).ciphertext_blob


def test_grants_are_as_the_seed_says(service: Service) -> None:
    """With the seed's id, and a token that follows from it."""
    (grant,) = service.client.keys.ListGrants(ListGrantsRequest(key_id=SYMMETRIC)).grants
    assert (grant.grant_id, grant.name) == (GRANT, "encrypting")
    bob = service.with_token(BOB)
    with pytest.raises(ServiceError) as refused:
        bob.client.crypto.Encrypt(EncryptRequest(key_id=SYMMETRIC, plaintext=b"x"))
    assert refused.value.code == "AccessDeniedException"
    assert bob.client.crypto.Encrypt(EncryptRequest(
        key_id=SYMMETRIC, plaintext=b"x", encryption_context={"shop": "1"},
        grant_tokens=[text(bytes.fromhex(GRANT))],
    )).ciphertext_blob


KEY = f'[[keys]]\nid = "{SYMMETRIC}"\n'


@pytest.mark.parametrize(
    ("seed_text", "message"),
    [
        (f'{KEY}materials = ["AAEC"]', "keys[0]: CreateKey: IncorrectKeyMaterialException"),
        (f'{KEY}spec = "ECC_NIST_P256"\nusage = "SIGN_VERIFY"\nmaterials = ["{text(MATERIAL)}"]',
         "keys[0]: CreateKey: IncorrectKeyMaterialException"),
        (f'{KEY}origin = "EXTERNAL"\nmaterials = ["AAEC"]',
         "keys[0]: ImportKeyMaterial: IncorrectKeyMaterialException"),
        (f'{KEY}spec = "RSA_2048"', "keys[0]: CreateKey: ValidationException: You must specify a KeyUsage"),
        (f'{KEY}spec = "HMAC_256"\nmaterials = ["{text(MATERIAL)}", "{text(MATERIAL)}"]',
         "keys[0]: RotateKeyOnDemand: UnsupportedOperationException"),
        (f"{KEY}{KEY}", "keys[1]: CreateKey: AlreadyExistsException"),
        (f'{KEY}aliases = ["orders"]', "keys[0]: CreateAlias: InvalidAliasNameException"),
        (f'{KEY}aliases = ["alias/aws/x"]', "keys[0]: CreateAlias: "),
        (f"{KEY}rotation_days = 1", "keys[0]: EnableKeyRotation: ValidationException"),
        (f'{KEY}replicas = ["eu-west-1"]', "keys[0]: ReplicateKey: "),
        (f'{KEY}policy = "{{}}"', "keys[0]: PutKeyPolicy: MalformedPolicyDocumentException"),
        (f'{KEY}region = "eu-west-1"', "keys[0]: CreateKey: ValidationException: The Region 'eu-west-1'"),
        (f'{KEY}[[keys.grants]]\ngrantee = "user/nobody"\noperations = ["Encrypt"]',
         "keys[0].grants[0]: CreateGrant: InvalidArnException"),
        (f'{KEY}[[keys.grants]]\ngrantee = "root"\noperations = ["Guess"]',
         "keys[0].grants[0]: CreateGrant: ValidationException"),
        (f'{KEY}account = "111122223333"', "keys[0]: CreateKey: NoSuchEntityException"),
        ('[[users]]\nname = "a b"', "users[0]: CreateUser: ValidationException"),
        ('[[users]]\nname = "a"\ngroups = ["g"]', "users[0]: AddUserToGroup: NoSuchEntityException"),
        ('[[users]]\nname = "a"\nmanaged_policies = ["g"]', "users[0]: AttachManagedPolicy: NoSuchEntityException"),
        ('[[users]]\nname = "a"\npolicies = { p = "{" }', "users[0]: PutIdentityPolicy: Malformed"),
        ('[[users]]\nname = "a"\n[[users]]\nname = "A"', "users[1]: CreateUser: EntityAlreadyExistsException"),
        ('[[roles]]\nname = "a"\ntrust = "{}"', "roles[0]: UpdateAssumeRolePolicy: Malformed"),
        ('[[accounts]]\nid = "111122223333"\n[[accounts]]\nid = "111122223333"',
         "accounts[1]: CreateAccount: EntityAlreadyExistsException"),
    ],
    ids=lambda value: value.replace(": ", "-")[:60] if value.count(": ") else "",
)
def test_what_the_service_would_refuse_is_refused_of_a_seed(tmp_path: Path, seed_text: str, message: str) -> None:
    """With the place in the file, the operation and the exception; and nothing listens."""
    (tmp_path / "seed.toml").write_text(seed_text)
    seed = load_seed(tmp_path / "seed.toml", Surroundings("aws", "000000000000", "us-east-1"))
    config = load_config(None, {}, {"listen": {"grpc": "127.0.0.1:0"}})
    server = DevelopmentServer(config, open_data_directory(tmp_path / "data"), seed)

    async def start() -> None:
        await asyncio.to_thread(server.open)
        try:
            await server.start()
        finally:
            await server.stop()

    with pytest.raises(ConfigurationError) as refused:
        asyncio.run(start())
    assert str(refused.value).startswith(f"seed: {message}")
    assert refused.value.__suppress_context__


def test_a_process_says_why_it_refuses_a_seed(tmp_path: Path) -> None:
    """In one line, and never with what is secret."""
    (tmp_path / "seed.toml").write_text(f'{KEY}materials = ["{text(MATERIAL)}"]\nspec = "HMAC_512"')
    with pytest.raises(NotStarted) as refused, running(seed=tmp_path / "seed.toml", nursery=nursery()):
        raise AssertionError("it started")
    assert refused.value.message == (
        "kagitori-server ended with status 1: kagitori-server: seed: keys[0]: CreateKey: "
        "IncorrectKeyMaterialException: The key material is not one key of the KMS key's spec."
    )


def test_data_survive_a_restart_with_their_clock(tmp_path: Path, seed: Path) -> None:
    """The seed is carried out once; what came later stays beside it, and time is not turned back."""
    data = tmp_path / "data"
    with running(seed=seed, data_dir=data, arguments=REGIONS, nursery=nursery()) as first:
        sealed = first.client.crypto.Encrypt(EncryptRequest(key_id=SYMMETRIC, plaintext=b"x")).ciphertext_blob
        moved = first.advance(days=3)
    for again in (seed, None):
        with running(seed=again, data_dir=data, arguments=REGIONS, nursery=nursery()) as second:
            assert second.client.crypto.Decrypt(DecryptRequest(ciphertext_blob=sealed)).plaintext == b"x"
            assert second.now() >= moved
    other = tmp_path / "other.toml"
    other.write_text("")
    refused = pytest.raises(NotStarted, match="which this seed didn't make")
    with refused, running(seed=other, data_dir=data, nursery=nursery()):
        raise AssertionError("it started")


def test_instances_for_tests_and_others_keep_out_of_each_other_s_data(tmp_path: Path) -> None:
    """Neither the doors of tests on data that count, nor known keys in earnest."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    with running(data_dir=ours, nursery=nursery()):
        pass
    outcome = run_forked(["--data-dir", str(ours), "--grpc-listen", "127.0.0.1:0"], tmp_path, os.environ)
    assert (outcome.returncode, outcome.stdout) == (1, "")
    assert "is an instance for tests" in outcome.stderr
    theirs.mkdir(mode=0o700)
    (theirs / "kagitori.db").touch()
    with pytest.raises(NotStarted, match="isn't for tests"), running(data_dir=theirs, nursery=nursery()):
        raise AssertionError("it started")
    elsewhere = ["--set", "catalog.url=postgresql://h/x"]
    with pytest.raises(NotStarted, match=r"catalog\.url"), running(arguments=elsewhere, nursery=nursery()):
        raise AssertionError("it started")


def test_the_seed_of_the_documentation_is_one(tmp_path: Path) -> None:
    """The examples of docs/testing.md together, but for the members of which a key has one only."""
    page = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()
    blocks = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    written = "\n".join(blocks).replace('replicas = ["eu-west-1"]', "")
    (tmp_path / "seed.toml").write_text(written)
    with running(seed=tmp_path / "seed.toml", nursery=nursery()) as service:
        assert described(service, "alias/orders").description == "orders"
        assert service.with_token(f"kgt_{'alice':x<43}").arn.endswith(":user/alice")
        assert service.with_token(f"kgt_{'deployer':x<43}").arn.endswith(":assumed-role/deployer/ci")
