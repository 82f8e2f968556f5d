"""Catalogs for tests, on SQLite and PostgreSQL alike, and nouns to put into them."""

from __future__ import annotations

import time
from collections.abc import Callable

from kagitori_server.model.grants import Constraint, ConstraintKind, Grant, GrantOperation, GrantPrincipal
from kagitori_server.model.keys import (
    Key,
    KeySpec,
    KeyState,
    KeyUsage,
    MaterialState,
    MaterialVersion,
    Origin,
    Tag,
)
from kagitori_server.model.principals import (
    Account,
    CertificateRecord,
    PrincipalKind,
    PrincipalRecord,
    TokenRecord,
)
from kagitori_server.storage import Catalog, CatalogOptions, open_catalog

ACCOUNT = "000000000000"
OTHER_ACCOUNT = "111122223333"
REGION = "us-east-1"
OTHER_REGION = "eu-central-1"
ROOT_ARN = f"arn:aws:iam::{ACCOUNT}:root"

LATEST_REVISION = "0010"
"""Of the catalog's schema."""


class Place:
    """Where catalogs are kept for the length of one test.

    Whoever asks for the location first finds nothing there; whoever opens it first, a catalog that was copied.
    """

    def __init__(self, kind: str, location: str | None = None, make: Callable[[bool], str] | None = None) -> None:
        """`location`, or else `make` makes the place when it is first needed, with a catalog in it or without."""
        self.kind = kind
        self.opened: list[Catalog] = []
        self._location = location
        self._make = make

    @property
    def location(self) -> str:
        """A path or a URL."""
        return self._made(False)

    def _made(self, with_catalog: bool) -> str:
        if self._location is None:
            assert self._make is not None
            self._location = self._make(with_catalog)
        return self._location

    def open(self, options: CatalogOptions | None = None) -> Catalog:
        """A catalog as another process would have it."""
        catalog = open_catalog(self._made(True), monotonic=time.monotonic, options=options)
        self.opened.append(catalog)
        return catalog

    def with_account(self, options: CatalogOptions | None = None) -> Catalog:
        """A catalog in which `ACCOUNT` exists."""
        catalog = self.open(options)
        with catalog.write() as writer:
            writer.insert_account(Account(ACCOUNT, "default", 1.5), a_root(ACCOUNT))
        return catalog

    def close(self) -> None:
        """All that were opened."""
        for catalog in self.opened:
            catalog.close()


def key_id_of(number: int) -> str:
    """The same id for the same number, in the order of numbers."""
    return f"{number:08x}-0000-4000-8000-000000000000"


def a_key(number: int = 1, *, account: str = ACCOUNT, region: str = REGION, materials: int = 1) -> Key:
    """A key of which every column differs from its neighbours."""
    key_id = key_id_of(number)
    return Key(
        account=account,
        region=region,
        key_id=key_id,
        arn=f"arn:aws:kms:{region}:{account}:key/{key_id}",
        spec=KeySpec.SYMMETRIC_DEFAULT,
        usage=KeyUsage.ENCRYPT_DECRYPT,
        origin=Origin.AWS_KMS,
        state=KeyState.ENABLED,
        description=f"key {number} ‘鍵’ \U0001f511",
        created=1700000000.123456 + number,
        store_id="default",
        materials=tuple(
            a_material(index, MaterialState.CURRENT if index == materials - 1 else MaterialState.NON_CURRENT)
            for index in range(materials)
        ),
        policy='{"Version": "2012-10-17",\r\n "Statement": []}\n',
        policy_bindings={ROOT_ARN: account},
        tags=(Tag("Z", ""), Tag("a", "ä")),
    )


def a_material(number: int, state: MaterialState = MaterialState.CURRENT) -> MaterialVersion:
    """Material with a reference of all byte values."""
    return MaterialVersion(
        f"{number:064x}", bytes([number]) + bytes(range(256)), 1700000001.000001 + number, state
    )


def a_root(account: str) -> PrincipalRecord:
    """An account's root user."""
    return PrincipalRecord(
        PrincipalKind.ROOT, account, "root", "/", account, f"arn:aws:iam::{account}:root", 1.5, {}
    )


def a_user(name: str = "alice", account: str = ACCOUNT) -> PrincipalRecord:
    """A user with tags and without policies."""
    return PrincipalRecord(
        kind=PrincipalKind.USER,
        account=account,
        name=name,
        path="/",
        principal_id=f"AIDA{account}{name.upper()}",
        arn=f"arn:aws:iam::{account}:user/{name}",
        created=2.25,
        policies={},
        tags={"team": "blue"},
    )


def a_role(name: str = "deployer", account: str = ACCOUNT) -> PrincipalRecord:
    """A role with an identity policy."""
    return PrincipalRecord(
        kind=PrincipalKind.ROLE,
        account=account,
        name=name,
        path="/ops/",
        principal_id=f"AROA{account}{name.upper()}",
        arn=f"arn:aws:iam::{account}:role/ops/{name}",
        created=3.125,
        policies={"use": '{"Version":"2012-10-17","Statement":[]}'},
        description="deploys",
    )


def a_token(number: int = 1, principal_arn: str = ROOT_ARN, account: str = ACCOUNT) -> TokenRecord:
    """A token that never expires when `number` is even."""
    return TokenRecord(
        token_id=f"token-{number:04}",
        digest=number.to_bytes(32, "big"),
        principal_arn=principal_arn,
        account=account,
        session_name="",
        description=f"token {number}",
        created=4.5,
        expires=None if number % 2 == 0 else 5.5 + number,
    )


def a_certificate(
    number: int = 1, *, uri: bool = True, principal_arn: str = ROOT_ARN, account: str = ACCOUNT
) -> CertificateRecord:
    """A mapping by URI, or else by subject."""
    return CertificateRecord(
        certificate_id=f"cert-{number:04}",
        uri_san=f"spiffe://example.org/workload/{number}" if uri else None,
        subject=None if uri else f"CN=workload {number},O=Example",
        principal_arn=principal_arn,
        account=account,
        session_name="workload",
        description="",
        created=6.5,
    )


def a_grant(number: int = 1, *, key: int = 1, grantee: str = "AIDAGRANTEE", retiring: str | None = None) -> Grant:
    """A grant to the principal of that unique id; the even ones have a constraint and a name."""
    even = number % 2 == 0
    return Grant(
        region=REGION,
        key_id=key_id_of(key),
        grant_id=f"{number:064x}",
        name=f"grant/{number}" if even else None,
        created=7.25 + number,
        grantee=GrantPrincipal(f"arn:aws:iam::{ACCOUNT}:user/{grantee.lower()}", grantee),
        retiring=GrantPrincipal(f"arn:aws:iam::{ACCOUNT}:user/{retiring.lower()}", retiring) if retiring else None,
        issuing_account=ACCOUNT,
        operations=frozenset({GrantOperation.ENCRYPT, GrantOperation.RETIRE_GRANT}),
        constraint=Constraint(ConstraintKind.SUBSET, {"ä": "\U0001f511", "a": ""}) if even else None,
    )
