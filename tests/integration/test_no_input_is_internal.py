"""Whatever is sent to any rpc, by whomever: never a failure of the service's own, and it goes on serving."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.support.inprocess import ALLOW_ALL, HOME, REGION, InProcess
from tests.support.kms_calls import OTHER, alias_arn, encrypt, new_key, user_arn
from tests.support.random_messages import Pool, almost, messages, plausible

from kagitori.kms.v1 import resources_pb2
from kagitori_server.operations.table import TABLE
from kagitori_server.policy.defaults import default_key_policy
from kagitori_server.transports.grpc.contract import SERVICES, path
from kagitori_server.transports.grpc.dispatcher import Answer, Dispatcher
from kagitori_server.transports.grpc.peer import Peer
from kagitori_server.transports.grpc.status import DETAILS_KEY

RPCS = {method.name: method for service in SERVICES for method in service.methods}
SERVED = sorted(name for name in RPCS if name in TABLE)
OPEN_TO_ALL = {"GetCallerIdentity"}
FEW = settings(
    derandomize=True, deadline=None, database=None, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


class Target:
    """A service with a few things in it, behind the dispatcher that hosts call."""

    def __init__(self, service: InProcess) -> None:
        self.service = service
        self.dispatcher = Dispatcher(service.pipeline, service.ids.uuid)
        self.kept = new_key(service)
        keys = [new_key(service) for _ in range(3)]
        other = service.new_account(OTHER)
        foreign = new_key(service, token=other)
        service.new_user("victim", policies={"p": ALLOW_ALL})
        role = service.call("CreateRole", {"account_id": HOME, "role_name": "role"}).role
        service.call("CreateAlias", {"alias_name": "alias/app", "target_key_id": keys[0].key_id})
        service.call("DisableKey", {"key_id": keys[1].key_id})
        tokens = service.call("ListTokens", {"principal_arn": user_arn("victim")}).tokens
        self.tokens = {"root": service.root_token, "nobody": service.new_user("nobody"), "unknown": "kgt_" + "x" * 43}
        blob = encrypt(service, keys[0].key_id)
        uses = _Uses(service)
        self.pool = Pool(
            texts=[
                *(key.key_id for key in keys), keys[0].arn, foreign.key_id, foreign.arn, "alias/app",
                alias_arn("alias/app"), "alias/new", HOME, OTHER, user_arn("victim"), role.arn, "victim", "role",
                tokens[0].token_id, REGION, "eu-west-1", default_key_policy(HOME), ALLOW_ALL, "spiffe://x/y", "CN=x",
                "session-1", "default",
            ],
            blobs=[blob, blob[:-1], blob[:40], encrypt(service, keys[2].key_id, b"x" * 4096), b"\x01", *uses.blobs],
            sensible={
                **_sensible([key.key_id for key in keys], foreign.arn, blob, role.arn, tokens[0].token_id),
                **uses.sensible([*(key.key_id for key in keys), "alias/app", foreign.arn]),
            },
        )

    def send(self, rpc: MethodDescriptor, body: bytes, who: str) -> Answer:
        """The answer to a call by root, by a user who may do nothing, or by nobody we know."""
        metadata = (("authorization", f"Bearer {self.tokens[who]}"),)
        if path(rpc) in self.dispatcher.streaming:
            return self.service._runner.run(self._last(rpc, metadata, body))
        dispatched = self.dispatcher.dispatch(path(rpc), metadata, Peer("192.0.2.1"), body)
        return self.service._runner.run(dispatched)


    async def _last(self, rpc: MethodDescriptor, metadata: Sequence[tuple[str, str]], body: bytes) -> Answer:
        """What ends a stream of messages."""
        sent = [each async for each in self.dispatcher.stream(path(rpc), metadata, Peer("192.0.2.1"), body)]
        assert isinstance(sent[-1], Answer)
        return sent[-1]


class _Uses:
    """A key of each family, and what they make: members that make sense to who uses them."""

    def __init__(self, service: InProcess) -> None:
        self.keys = {
            spec: new_key(service, key_spec=spec, key_usage=usage).key_id
            for spec, usage in (
                ("RSA_2048", "SIGN_VERIFY"), ("ECC_NIST_P256", "KEY_AGREEMENT"), ("ECC_SECG_P256K1", "SIGN_VERIFY"),
                ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY"), ("ML_DSA_44", "SIGN_VERIFY"),
                ("HMAC_256", "GENERATE_VERIFY_MAC"), ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE"),
            )
        }
        self.keys["RSA_3072"] = new_key(service, key_spec="RSA_3072", key_usage="ENCRYPT_DECRYPT").key_id
        terms = {"key_id": self.keys["RSA_2048"], "signing_algorithm": "RSASSA_PSS_SHA_256", "message": b"x"}
        self.signature = service.call("Sign", terms).signature
        terms = {"key_id": self.keys["HMAC_256"], "mac_algorithm": "HMAC_SHA_256", "message": b"x"}
        self.mac = service.call("GenerateMac", terms).mac
        terms = {"key_id": self.keys["ML_KEM_768"], "encapsulation_algorithm": "ML_KEM"}
        self.encapsulation = service.call("Encapsulate", terms).shared_secret_ciphertext_blob
        self.public = service.call("GetPublicKey", {"key_id": self.keys["ECC_NIST_P256"]}).public_key
        self.blobs = [self.signature, self.mac, self.encapsulation, self.public, self.public[:-1]]

    def sensible(self, keys: list[str]) -> dict[str, list[Any]]:
        """Member name -> values. Elliptic pairs and quick specs alone, so that examples take milliseconds."""
        specs, pairs = resources_pb2.KeySpec, resources_pb2.DataKeyPairSpec
        return {
            "key_id": [*keys, *self.keys.values()], "source_key_id": [None, *keys[:1], self.keys["RSA_3072"]],
            "message": [b"x", b"y" * 32, b"z" * 64], "message_type": [None, 1, 2, 3],
            "signing_algorithm": resources_pb2.SigningAlgorithm.values(), "signature": [self.signature],
            "mac_algorithm": [2, 2, 3], "mac": [self.mac], "public_key": [self.public],
            "key_agreement_algorithm": [1], "encapsulation_algorithm": [1],
            "shared_secret_ciphertext_blob": [self.encapsulation, self.encapsulation[:-1]],
            "key_pair_spec": [pairs.Value(f"DATA_KEY_PAIR_SPEC_ECC_{name}") for name in ("NIST_P256", "SECG_P256K1")],
            "encryption_algorithm": [None, 1, 2, 3],
            "key_usage": [None, 1, 2, 3, 4, 5], "rotation_period_in_days": [None, 90, 2560],
            "replica_region": ["eu-west-1"], "primary_region": ["eu-west-1", REGION],
            "key_spec": [None, 1, 2, *(specs.Value(f"KEY_SPEC_{name}") for name in ("ECC_NIST_P256", "ML_DSA_44"))],
        }


def _sensible(keys: list[str], foreign: str, blob: bytes, role: str, token_id: str) -> dict[str, list[Any]]:
    principals = [user_arn("victim"), role]
    return {
        "key_id": [*keys, "alias/app", foreign], "target_key_id": keys, "destination_key_id": keys,
        "source_key_id": [None, keys[0]], "alias_name": ["alias/app", "alias/new", "alias/newer"],
        "plaintext": [b"x", b"y" * 4096], "ciphertext_blob": [blob], "number_of_bytes": [None, 1, 1024],
        "key_spec": [None, 1, 2], "description": ["d", ""], "policy": [default_key_policy(HOME)],
        "policy_name": ["default", "p"], "policy_document": [ALLOW_ALL], "principal_arn": principals,
        "account_id": [HOME, OTHER, "222233334444"], "user_name": ["victim", "new", "newer"],
        "role_name": ["role", "new"], "tags": [[], [{"tag_key": "k", "tag_value": "v"}]], "tag_keys": [["k"]],
        "pending_window_in_days": [None, 7, 30], "limit": [None, 1, 50], "marker": [None], "path": [None, "/a/"],
        "name": ["tenant"], "session_name": [None, "session-1"], "uri_san": [None, "spiffe://x/y"],
        "subject": [None, "CN=x"], "token_id": [token_id, "absent"], "certificate_id": ["absent"],
        "issuer_url": ["https://issuer.example"], "audiences": [["a"], ["b"]], "role_arn": [role],
        "jwks_document": [None, '{"keys": []}'], "tag_claims": [{}, {"team": "/a/b"}],
        "oidc_provider_arn": [f"arn:aws:iam::{HOME}:oidc-provider/issuer.example"],
        "encryption_context": [{}, {"a": "b"}], "dry_run": [None, True],
        "duration_seconds": [None, 900], "max_results": [None, 5], "path_prefix": [None, "/"],
    }


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """One service for all: what one rpc does to it, the next one meets."""
    with InProcess(tmp_path_factory.mktemp("service")) as service:
        yield Target(service)


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


def _judge(rpc: MethodDescriptor, answer: Answer, who: str) -> None:
    assert answer.code not in (StatusCode.INTERNAL, StatusCode.UNKNOWN, StatusCode.UNAVAILABLE), answer.message
    if answer.code is not StatusCode.OK:
        details = Status.FromString(dict(answer.trailers)[DETAILS_KEY])
        info = ErrorInfo()
        assert details.details[0].Unpack(info)
        assert (info.domain, bool(info.reason)) == ("kms.kagitori", True)
        assert info.metadata["requestId"] == dict(answer.trailers)["kagitori-request-id"]
        return
    assert who == "root" or rpc.name in OPEN_TO_ALL or rpc.name.startswith("Batch")
    said: Any = GetMessageClass(rpc.output_type).FromString(answer.body)
    for outcome in getattr(said, "outcomes", ()):
        assert outcome.error.code not in ("KMSInternalException", "DependencyTimeoutException")
        assert who == "root" or outcome.HasField("error")


def _still_serves(target: Target) -> None:
    key = target.service.call("DescribeKey", {"key_id": target.kept.key_id}).key_metadata
    assert key.enabled
    blob = encrypt(target.service, key.key_id)
    assert target.service.call("Decrypt", {"ciphertext_blob": blob}).plaintext == b"attack at dawn"


@pytest.mark.parametrize("name", SERVED)
def test_served_rpcs(target: Target, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Well-formed and malformed messages, by root and by others."""
    rpc = RPCS[name]
    likely, odd = (make(rpc.input_type, target.pool).map(_serialized) for make in (plausible, messages))
    callers = st.sampled_from(["root", "root", "root", "nobody", "unknown"])

    @settings(FEW, max_examples=80)
    @given(body=likely, who=callers)
    def run_likely(body: bytes, who: str) -> None:
        _judge(rpc, target.send(rpc, body, who), who)

    @settings(FEW, max_examples=40)
    @given(body=st.one_of(odd, almost(rpc.input_type, target.pool)), who=callers)
    def run_odd(body: bytes, who: str) -> None:
        _judge(rpc, target.send(rpc, body, who), who)

    run_likely()
    run_odd()
    _still_serves(target)
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]


def test_all_rpcs_of_the_contract_are_served() -> None:
    """So that none is left out of what is tested here."""
    assert RPCS.keys() == set(SERVED)


def test_metadata_and_paths(target: Target) -> None:
    """Odd paths, Regions and credentials are refused with their details."""
    rpc = RPCS["ListKeys"]
    root = f"Bearer {target.tokens['root']}"
    for metadata in (
        (), (("authorization", ""),), (("authorization", root), ("authorization", root)),
        (("authorization", b"\xff"),),
        (("authorization", "Basic eDp5"),), (("authorization", "Bearer " + "x" * 100_000),),
        (("authorization", root), ("kagitori-region", "\x00")),
        (("authorization", root), ("kagitori-region", "mars-1")),
        (("authorization", root), ("kagitori-region", REGION), ("kagitori-region", REGION)),
        (("authorization", root), ("user-agent", "\ud800" * 9000)),
    ):
        answer = target.service._runner.run(target.dispatcher.dispatch(path(rpc), metadata, Peer(), b""))
        _judge(rpc, answer, "root")
    right = path(rpc)
    for odd in ("", "/", "/kagitori.kms.v1.KeyService/", "/x/ListKeys", right + "/", right.upper(), "\x00" * 999):
        answer = target.service._runner.run(target.dispatcher.dispatch(odd, (("authorization", root),), Peer(), b""))
        assert answer.code is StatusCode.UNIMPLEMENTED
        _judge(rpc, answer, "root")
    _still_serves(target)
