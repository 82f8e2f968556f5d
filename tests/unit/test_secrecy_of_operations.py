"""No secret of a request or an answer comes out in a record, the log, an error or a metric, whatever the operation.

What is secret is found by the shapes, and what is called by the table: an operation that is new fails here until it has
a sample request.
"""

from __future__ import annotations

import base64
import logging
import random
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import pytest
from tests.support.identities import new_role, trust
from tests.support.inprocess import ALLOW_ALL, HOME, InProcess
from tests.support.keystore_parts import Workshop
from tests.support.kms_calls import OTHER, root
from tests.support.sample_requests import PASSWORD, SAMPLES, Scene
from tests.support.secrets_of import Member, forms_of, marked, members_of, secrets_in, with_member
from tests.support.token_double import AnyCluster
from tests.unit.test_operations_admin_reach import HOME_ONLY, _inside

from kagitori_server.laboratory.clock import TimeMachine, VirtualClock
from kagitori_server.laboratory.faults import Faults
from kagitori_server.model.custom_key_stores import CustomKeyStoreType
from kagitori_server.model.errors import KmsError
from kagitori_server.model.limits import Quotas
from kagitori_server.operations.dev_table import dev_table
from kagitori_server.operations.proxied_table import PROXIED
from kagitori_server.operations.row import BatchOperation, Operation
from kagitori_server.operations.streams import Stream
from kagitori_server.operations.table import TABLE
from kagitori_server.transports.metrics.measures import Measures

BATCHED = {row.name: row.item.name for row in TABLE.values() if isinstance(row, BatchOperation)}
_DEV = dev_table(TimeMachine(VirtualClock(lambda: 0.0, 0.0, lambda _offset: None)), Faults(frozenset()))
ROWS = {row.name: row for row in TABLE.values() if isinstance(row, Operation)}
KMS_ROWS = [row for row in ROWS.values() if row.service == "kms"]
WORKER = f"arn:aws:iam::{HOME}:role/secretive"
OTHERS: Mapping[str, Mapping[str, Any]] = {
    "GetCallerIdentity": {}, "ListAccounts": {}, "AssumeRole": {"role_arn": WORKER, "role_session_name": "session"},
    "LintPolicy": {"policy_kind": "IDENTITY_POLICY", "policy_document": ALLOW_ALL},
    "ListAuditPublicKeys": {}, "GetTreeHead": {}, "GetConsistencyProof": {"first_size": 1, "second_size": 2},
}
"""What neither the KMS samples nor the administration's calls hold."""


class Watched(logging.Handler):
    """A service whose log and metrics are kept, and what there was to keep secret of it."""

    def __init__(self, service: InProcess, measures: Measures) -> None:
        super().__init__(logging.DEBUG)
        self.service = service
        self.measures = measures
        self.logged: list[str] = []
        self.errors: list[str] = []
        self.secrets: dict[bytes, str] = {}
        self.chance = random.Random(20261124)

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps the line and everything that was given with it, but for the text of exceptions, which the service's
        formatter leaves out (test_logs.py)."""
        given = {name: value for name, value in record.__dict__.items() if name not in ("exc_info", "exc_text", "args")}
        self.logged.append(f"{record.getMessage()} {given}")

    def call(self, operation: str, values: Mapping[str, Any], token: str | None = None) -> Any:
        """The answer, None for a refusal. Notes all secrets of both."""
        for secret in secrets_in(values):
            self.secrets.setdefault(secret, operation)
        try:
            answer = self.service.call(operation, values, token=token)
        except KmsError as error:
            self.errors.append(f"{error!r} {error} {error.message} {error.violations} {error.__dict__}")
            return None
        if isinstance(answer, Stream):
            with closing(answer):
                while answer.pull() is not None:
                    pass
            return answer
        for secret in secrets_in(answer):
            self.secrets.setdefault(secret, operation)
        assert "SECRET" not in repr(answer)
        return answer

    def check(self) -> None:
        """Nothing secret is where it could be seen."""
        places = {
            "a record": self.service.audit_text().encode(), "the log": "\n".join(self.logged).encode(),
            "an error": "\n".join(self.errors).encode(), "a metric": self.measures.exposition(),
        }
        found = {
            (operation, name)
            for secret, operation in self.secrets.items()
            for form in forms_of(secret)
            for name, text in places.items()
            if form in text
        }
        assert found == set()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    openers = {CustomKeyStoreType.AWS_CLOUDHSM: AnyCluster(Workshop(tmp_path_factory.mktemp("tokens")).store)}
    quotas = Quotas(custom_key_stores_per_account_region=10_000)
    measures = Measures(TABLE, in_flight=lambda: 0, audit_position=lambda: 0)
    with InProcess(
        tmp_path_factory.mktemp("service"), openers=openers, quotas=quotas, observer=measures
    ) as service:
        handler = Watched(service, measures)
        logger = logging.getLogger()
        level = logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        new_role(service, "secretive", trust(root(HOME)))
        yield handler
        logger.setLevel(level)
        logger.removeHandler(handler)


def _secrets(row: Operation) -> list[Member]:
    return [member for member in members_of(row.request.cls) if member.secret]


def _hostile(watched: Watched, row: Operation, values: dict[str, Any]) -> None:
    """The request with each of its secrets marked, all of them, and too long ones, which is told of in other words."""
    secrets = _secrets(row)
    everything = values
    for member in secrets:
        for too_long in (False, True):
            value = marked(member, watched.chance, too_long=too_long)
            _note(watched, row.name, value)
            watched.call(row.name, with_member(values, member.path, value))
        everything = with_member(everything, member.path, marked(member, watched.chance))
    watched.call(row.name, everything)
    # Of the wrong type, and unreadable: nobody knows by then what is secret.
    for member in secrets:
        watched.call(row.name, with_member(values, member.path, marked(member, watched.chance).__class__))


def _note(watched: Watched, operation: str, value: Any) -> None:
    texts = value if isinstance(value, list) else [value]
    for text in texts:
        watched.secrets[text.encode() if isinstance(text, str) else text] = operation


def test_every_member_is_judged() -> None:
    """None sounds like a secret and isn't declared as one; instances for tests and proxies have none of their own."""
    doubtful = [
        (name, member.path)
        for name, row in {**ROWS, **_DEV, **PROXIED}.items() if isinstance(row, Operation)
        for shape in (row.request.cls, row.response)
        for member in members_of(shape) if member.doubtful
    ]
    assert doubtful == []
    assert [member for row in _DEV.values() if isinstance(row, Operation) for member in _secrets(row)] == []


def test_every_operation_is_called_here() -> None:
    """One that is new needs a sample, for KMS in tests/support/sample_requests.py."""
    assert {row.name for row in KMS_ROWS} == SAMPLES.keys()
    assert ROWS.keys() == SAMPLES.keys() | HOME_ONLY.keys() | _inside(OTHER).keys() | OTHERS.keys()
    assert set(BATCHED.values()) <= SAMPLES.keys()


def test_kms_operations(watched: Watched) -> None:
    """Each succeeds once, so that its answer's secrets are known, and then with marked ones."""
    for row in KMS_ROWS:
        scene = Scene(watched.service, row)
        values = scene.request()
        assert watched.call(row.name, values) is not None, row.name
        _hostile(watched, row, values)
    watched.secrets[PASSWORD.encode()] = "CreateCustomKeyStore"
    watched.check()


def test_administration(watched: Watched) -> None:
    """In the order of the calls, which lets most succeed."""
    for token in (watched.service.root_token, watched.service.new_account(OTHER)):
        watched.secrets[token.encode()] = "every call"
    watched.call("CreateUser", {"account_id": OTHER, "user_name": "alice"})
    watched.call("CreateRole", {"account_id": OTHER, "role_name": "worker"})
    calls = {**_inside(OTHER), **OTHERS, **HOME_ONLY}
    user = watched.service.new_user("secretive", policies={"all": ALLOW_ALL})
    watched.secrets[user.encode()] = "CreateToken"
    answered = {name for name, values in calls.items() if watched.call(name, values, token=user) is not None}
    telling = {name for name in calls if any(member.secret for member in members_of(ROWS[name].response))}
    assert telling == {"CreateToken", "CreateAccessKey", "AssumeRole", "ListAuditPublicKeys"} <= answered
    for name, values in calls.items():
        _hostile(watched, ROWS[name], dict(values))
    for known in [secret for secret in watched.secrets if secret.startswith(b"kgt_")]:
        wrong = known[:-1] + b"A"
        watched.secrets[wrong] = "GetCallerIdentity"
        watched.call("GetCallerIdentity", {}, token=wrong.decode())
    watched.check()


def test_batches(watched: Watched) -> None:
    """An item that succeeds, one with marked secrets, one with secrets that are too long, one that is no request."""
    for name, item in BATCHED.items():
        row = ROWS[item]
        values = Scene(watched.service, row).request()
        bad, worse = values, values
        for member in _secrets(row):
            bad = with_member(bad, member.path, marked(member, watched.chance))
            worse = with_member(worse, member.path, marked(member, watched.chance, too_long=True))
        answer = watched.call(name, {"items": [values, bad, worse, {"nothing": "of the kind"}]})
        assert answer.outcomes[0].response is not None
        assert answer.outcomes[-1].error is not None
    watched.check()


def test_what_is_secret_is_found() -> None:
    """In the middle of other text, whatever it is written in."""
    secret = random.Random(1).randbytes(40)
    for place in range(3):
        text = b"x" * place + secret + b"yz"
        for written in (text, base64.b64encode(text), base64.urlsafe_b64encode(text), text.hex().encode()):
            assert any(form in written for form in forms_of(secret))
    with pytest.raises(ValueError, match="by chance"):
        forms_of(b"short")
