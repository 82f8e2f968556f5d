"""Reading the catalog within one consistent snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, Table, func, select, tuple_

from kagitori_server.model.custom_key_stores import DEFAULT_STORE
from kagitori_server.model.grants import Grant, GrantToken
from kagitori_server.model.keys import Alias, Key, KeyManager, KeyState, Tag
from kagitori_server.model.principals import (
    Account,
    CertificateRecord,
    PrincipalKind,
    PrincipalRecord,
    TokenRecord,
)
from kagitori_server.storage import rows, schema
from kagitori_server.storage.budget_reader import BudgetReader
from kagitori_server.storage.custom_store_reader import CustomStoreReader
from kagitori_server.storage.delivery_reader import DeliveryReader
from kagitori_server.storage.identity_reader import IdentityReader
from kagitori_server.storage.tag_reader import TagReader
from kagitori_server.storage.usage_reader import UsageReader

_SEPARATOR = " "


@dataclass(frozen=True, slots=True)
class Intent:
    """An audit record of a change that was committed, until the trail holds its outcome."""

    event_id: str
    chain: str
    record: bytes = field(repr=False)


class Reader(IdentityReader, BudgetReader, CustomStoreReader, TagReader, UsageReader, DeliveryReader):
    """One snapshot: everything it returns was true at one moment. For one thread, until its `with` ends.

    Listings are ordered by code point and start after the name or id given ("" for the beginning).
    """

    # Keys and aliases.

    def get_key(self, region: str, key_id: str) -> Key | None:
        """The key with its materials, tags and aliases."""
        row = self._one(schema.keys, schema.keys.c.region == region, schema.keys.c.key_id == key_id)
        return None if row is None else self._whole_key(row)

    def key_regions(self, key_id: str) -> tuple[str, ...]:
        """Regions in which a key of this id exists, in order."""
        keys = schema.keys.c
        statement = select(keys.region).where(keys.key_id == key_id).order_by(keys.region)
        return tuple(self._connection.scalars(statement))

    def list_keys(
        self, account: str, region: str, after_key_id: str = "", limit: int = 100
    ) -> list[tuple[str, str]]:
        """(key id, ARN) in the order of ids."""
        keys = schema.keys.c
        statement = (
            select(keys.key_id, keys.arn)
            .where(keys.account == account, keys.region == region, keys.key_id > after_key_id)
            .order_by(keys.key_id)
            .limit(limit)
        )
        return [(row.key_id, row.arn) for row in self._connection.execute(statement)]

    def count_keys(self, account: str, region: str) -> int:
        """How many keys of its own the account has in the Region, whatever their state."""
        keys = schema.keys.c
        own = keys.manager == KeyManager.CUSTOMER.value
        return self._count(schema.keys, keys.account == account, keys.region == region, own)

    def due_deletions(self, now: float, limit: int) -> list[tuple[str, str]]:
        """(Region, key id) of keys pending deletion whose date is not after `now`, longest overdue first."""
        keys = schema.keys.c
        statement = (
            select(keys.region, keys.key_id)
            .where(keys.deletion_date.is_not(None), keys.deletion_date <= now)
            .order_by(keys.deletion_date, keys.region, keys.key_id)
            .limit(limit)
        )
        return [(row.region, row.key_id) for row in self._connection.execute(statement)]

    def due_rotations(self, now: float, limit: int) -> list[tuple[str, str]]:
        """(Region, key id) of usable keys whose next automatic rotation is not after `now`, longest overdue first."""
        keys = schema.keys.c
        statement = (
            select(keys.region, keys.key_id)
            .where(
                keys.next_rotation.is_not(None), keys.next_rotation <= now,
                keys.state.in_([KeyState.ENABLED.value, KeyState.UPDATING.value]),
            )
            .order_by(keys.next_rotation, keys.region, keys.key_id)
            .limit(limit)
        )
        return [(row.region, row.key_id) for row in self._connection.execute(statement)]

    def due_expirations(self, now: float, limit: int) -> list[tuple[str, str, str]]:
        """(Region, key id, material id) of imported material that expires not after `now`, longest overdue first."""
        materials = schema.materials.c
        statement = (
            select(materials.region, materials.key_id, materials.material_id)
            .where(materials.expires.is_not(None), materials.expires <= now)
            .order_by(materials.expires, materials.region, materials.key_id, materials.number)
            .limit(limit)
        )
        return [(row.region, row.key_id, row.material_id) for row in self._connection.execute(statement)]

    def get_alias(self, account: str, region: str, name: str) -> Alias | None:
        """The alias of that name, with its `alias/` prefix."""
        aliases = schema.aliases.c
        row = self._one(
            schema.aliases, aliases.account == account, aliases.region == region, aliases.name == name
        )
        return None if row is None else rows.alias_of(row)

    def list_aliases(
        self, account: str, region: str, key_id: str | None = None, after_name: str = "", limit: int = 100
    ) -> list[Alias]:
        """Aliases in the order of names; only those of one key when `key_id` is given."""
        aliases = schema.aliases.c
        conditions = [aliases.account == account, aliases.region == region, aliases.name > after_name]
        if key_id is not None:
            conditions.append(aliases.key_id == key_id)
        return [rows.alias_of(row) for row in self._some(schema.aliases, aliases.name, limit, *conditions)]

    # Grants.

    def get_grant(self, region: str, key_id: str, grant_id: str) -> Grant | None:
        """The grant of that id on that key."""
        grants = schema.grants.c
        row = self._one(
            schema.grants, grants.region == region, grants.key_id == key_id, grants.grant_id == grant_id
        )
        return None if row is None else rows.grant_of(row)

    def grants_to(self, region: str, key_id: str, grantee_id: str) -> tuple[Grant, ...]:
        """All that this grantee, and no other, is granted on the key, in the order of grant ids."""
        grants = schema.grants.c
        statement = (
            select(schema.grants)
            .where(grants.region == region, grants.key_id == key_id, grants.grantee_id == grantee_id)
            .order_by(grants.grant_id)
        )
        return tuple(rows.grant_of(row) for row in self._connection.execute(statement))

    def grant_ids_to(self, region: str, key_id: str, grantee_id: str) -> frozenset[str]:
        """The ids of what `grants_to` returns, at a small part of its cost."""
        grants = schema.grants.c
        # One text, since a row for each id would take ten times as long.
        statement = select(func.aggregate_strings(grants.grant_id, _SEPARATOR)).where(
            grants.region == region, grants.key_id == key_id, grants.grantee_id == grantee_id
        )
        found: str | None = self._connection.scalar(statement)
        return frozenset(found.split(_SEPARATOR)) if found else frozenset()

    def grants_named(self, region: str, key_id: str, name: str) -> tuple[Grant, ...]:
        """The grants of that name on the key, oldest first."""
        grants = schema.grants.c
        statement = (
            select(schema.grants)
            .where(grants.region == region, grants.key_id == key_id, grants.name == name)
            .order_by(grants.created, grants.grant_id)
        )
        return tuple(rows.grant_of(row) for row in self._connection.execute(statement))

    def list_grants(
        self, region: str, key_id: str, grantee_id: str | None = None, after: str = "", limit: int = 100
    ) -> list[Grant]:
        """Grants on a key in the order of ids; only those of one grantee when it is given."""
        grants = schema.grants.c
        conditions = [grants.region == region, grants.key_id == key_id, grants.grant_id > after]
        if grantee_id is not None:
            conditions.append(grants.grantee_id == grantee_id)
        return [rows.grant_of(row) for row in self._some(schema.grants, grants.grant_id, limit, *conditions)]

    def list_retirable_grants(
        self, region: str, retiring_id: str, after: tuple[str, str] = ("", ""), limit: int = 100
    ) -> list[Grant]:
        """Grants on any key of the Region with this retiring principal, in the order of (key id, grant id)."""
        grants = schema.grants.c
        statement = (
            select(schema.grants)
            .where(
                grants.region == region,
                grants.retiring_id == retiring_id,
                tuple_(grants.key_id, grants.grant_id) > tuple_(*after),
            )
            .order_by(grants.key_id, grants.grant_id)
            .limit(limit)
        )
        return [rows.grant_of(row) for row in self._connection.execute(statement)]

    def count_grants(self, region: str, key_id: str) -> int:
        """How many grants the key has."""
        return self._count(schema.grants, schema.grants.c.region == region, schema.grants.c.key_id == key_id)

    def find_grant_token(self, digest: bytes) -> GrantToken | None:
        """What the grant token with this SHA-256 names."""
        row = self._one(schema.grant_tokens, schema.grant_tokens.c.digest == digest)
        return None if row is None else GrantToken(row.region, row.key_id, row.grant_id)

    # Principals and credentials.

    def get_account(self, account: str) -> Account | None:
        """The account of these 12 digits."""
        row = self._one(schema.accounts, schema.accounts.c.account == account)
        return None if row is None else rows.account_of(row)

    def list_accounts(self, after: str = "", limit: int = 100) -> list[Account]:
        """Accounts in the order of their digits."""
        column = schema.accounts.c.account
        return [rows.account_of(row) for row in self._some(schema.accounts, column, limit, column > after)]

    def get_principal(self, arn: str) -> PrincipalRecord | None:
        """The user, role or root user with everything that decides what it may do."""
        row = self._one(schema.principals, schema.principals.c.arn == arn)
        return None if row is None else self._whole_principals([row], inherited=True)[0]

    def find_principal(self, account: str, kind: PrincipalKind, name: str) -> PrincipalRecord | None:
        """The user or role of that name, whatever its path and the case of its letters."""
        principals = schema.principals.c
        row = self._one(
            schema.principals,
            principals.account == account,
            principals.kind == kind.value,
            principals.folded_name == name.lower(),
        )
        return None if row is None else self._whole_principals([row], inherited=True)[0]

    def list_principals(
        self, account: str, kind: PrincipalKind, after_name: str = "", limit: int = 100
    ) -> list[PrincipalRecord]:
        """Users or roles of an account in the order of names, without the policies they inherit."""
        principals = schema.principals.c
        found = self._some(
            schema.principals,
            principals.name,
            limit,
            principals.account == account,
            principals.kind == kind.value,
            principals.name > after_name,
        )
        return self._whole_principals(found, inherited=False)

    def count_principals(self, account: str, kind: PrincipalKind) -> int:
        """How many users or roles an account has."""
        principals = schema.principals.c
        return self._count(schema.principals, principals.account == account, principals.kind == kind.value)

    def get_token(self, token_id: str) -> TokenRecord | None:
        """The token of this id."""
        row = self._one(schema.tokens, schema.tokens.c.token_id == token_id)
        return None if row is None else rows.token_of(row)

    def find_token(self, digest: bytes) -> TokenRecord | None:
        """The token whose secret has this SHA-256, expired or not."""
        row = self._one(schema.tokens, schema.tokens.c.digest == digest)
        return None if row is None else rows.token_of(row)

    def list_tokens(
        self, account: str, principal_arn: str | None = None, after: str = "", limit: int = 100
    ) -> list[TokenRecord]:
        """Tokens of an account in the order of ids; only those of one principal when it is given."""
        tokens = schema.tokens.c
        conditions = [tokens.account == account, tokens.token_id > after]
        if principal_arn is not None:
            conditions.append(tokens.principal_arn == principal_arn)
        return [rows.token_of(row) for row in self._some(schema.tokens, tokens.token_id, limit, *conditions)]

    def count_tokens(self, principal_arn: str) -> int:
        """How many tokens were made for a principal, expired ones included; those of AssumeRole don't count."""
        tokens = schema.tokens.c
        return self._count(schema.tokens, tokens.principal_arn == principal_arn, tokens.session.is_(None))

    def get_certificate(self, certificate_id: str) -> CertificateRecord | None:
        """The certificate mapping of this id."""
        row = self._one(schema.certificates, schema.certificates.c.certificate_id == certificate_id)
        return None if row is None else rows.certificate_of(row)

    def find_certificate(
        self, *, uri_san: str | None = None, subject: str | None = None
    ) -> CertificateRecord | None:
        """The mapping of a URI or of a subject (RFC 4514); exactly one must be given."""
        if (uri_san is None) == (subject is None):
            raise ValueError("exactly one of uri_san and subject")
        certificates = schema.certificates.c
        condition = certificates.uri_san == uri_san if subject is None else certificates.subject == subject
        row = self._one(schema.certificates, condition)
        return None if row is None else rows.certificate_of(row)

    def list_certificates(
        self, account: str, principal_arn: str | None = None, after: str = "", limit: int = 100
    ) -> list[CertificateRecord]:
        """Certificate mappings of an account in the order of ids; of one principal when it is given."""
        certificates = schema.certificates.c
        conditions = [certificates.account == account, certificates.certificate_id > after]
        if principal_arn is not None:
            conditions.append(certificates.principal_arn == principal_arn)
        found = self._some(schema.certificates, certificates.certificate_id, limit, *conditions)
        return [rows.certificate_of(row) for row in found]

    # What the audit trail and the key store are owed.

    def pending_intents(self, chain: str | None = None, limit: int = 1_000) -> list[Intent]:
        """Intents not yet cleared, oldest first; of one chain when it is given."""
        intents = schema.intents.c
        statement = select(schema.intents).order_by(intents.version, intents.ordinal).limit(limit)
        if chain is not None:
            statement = statement.where(intents.chain == chain)
        return [
            Intent(row.event_id, row.chain, bytes(row.record)) for row in self._connection.execute(statement)
        ]

    def key_encryption_key(self, account: str, region: str) -> bytes | None:
        """The wrapped key-encryption key of an account and Region."""
        keks = schema.key_encryption_keys.c
        row = self._one(schema.key_encryption_keys, keks.account == account, keks.region == region)
        return None if row is None else bytes(row.wrapped)

    def key_encryption_keys(self) -> list[tuple[str, str, bytes]]:
        """(account, Region, wrapped key) of all, in order."""
        keks = schema.key_encryption_keys.c
        statement = select(schema.key_encryption_keys).order_by(keks.account, keks.region)
        return [(row.account, row.region, bytes(row.wrapped)) for row in self._connection.execute(statement)]

    def _whole_key(self, row: Row[Any]) -> Key:
        def belonging(table: Table, order: str) -> Sequence[Row[Any]]:
            statement = select(table).where(table.c.region == row.region, table.c.key_id == row.key_id)
            return self._connection.execute(statement.order_by(table.c[order])).all()

        return rows.key_of(
            row,
            [rows.material_of(found) for found in belonging(schema.materials, "number")],
            [Tag(found.tag_key, found.tag_value) for found in belonging(schema.tags, "tag_key")],
            [found.name for found in belonging(schema.aliases, "name")],
            () if row.primary_region is None else self.key_regions(row.key_id),
            None if row.store_id == DEFAULT_STORE else self.custom_key_store(row.store_id),
        )
