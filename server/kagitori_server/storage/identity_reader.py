"""Reading groups, managed policies and access keys, and what principals have of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, Table, func, select

from kagitori_server.model.principals import (
    AccessKeyRecord,
    CertificateRecord,
    GroupRecord,
    ManagedPolicyRecord,
    OidcProviderRecord,
    PolicyHome,
    PolicyText,
    PrincipalRecord,
)
from kagitori_server.model.spiffe import SCHEME
from kagitori_server.storage import identity_rows, rows, schema
from kagitori_server.storage.snapshot import Snapshot

_HOLDERS = (schema.principal_attachments, schema.group_attachments, schema.principal_boundaries)
"""Who has a managed policy."""


class IdentityReader(Snapshot):
    """What a snapshot says of groups, managed policies and access keys."""

    # Groups.

    def get_group(self, arn: str) -> GroupRecord | None:
        """The group with its inline policies."""
        row = self._one(schema.groups, schema.groups.c.arn == arn)
        return None if row is None else self._whole_groups([row])[0]

    def find_group(self, account: str, name: str) -> GroupRecord | None:
        """The group of that name, whatever its path and the case of its letters."""
        groups = schema.groups.c
        row = self._one(schema.groups, groups.account == account, groups.folded_name == name.lower())
        return None if row is None else self._whole_groups([row])[0]

    def list_groups(self, account: str, after_name: str = "", limit: int = 100) -> list[GroupRecord]:
        """Groups of an account in the order of names."""
        groups = schema.groups.c
        found = self._some(schema.groups, groups.name, limit, groups.account == account, groups.name > after_name)
        return self._whole_groups(found)

    def groups_of(self, user_arn: str, after_name: str = "", limit: int = 100) -> list[GroupRecord]:
        """The groups that a user is in, in the order of names."""
        groups, members = schema.groups.c, schema.group_members.c
        mine = select(members.group_arn).where(members.user_arn == user_arn)
        found = self._some(schema.groups, groups.name, limit, groups.arn.in_(mine), groups.name > after_name)
        return self._whole_groups(found)

    def users_in(self, group_arn: str, after_name: str = "", limit: int = 100) -> list[PrincipalRecord]:
        """The users in a group in the order of names, without the policies they inherit."""
        principals = schema.principals.c
        members = select(schema.group_members.c.user_arn).where(schema.group_members.c.group_arn == group_arn)
        found = self._some(
            schema.principals, principals.name, limit, principals.arn.in_(members), principals.name > after_name
        )
        return self._whole_principals(found, inherited=False)

    def count_groups(self, account: str) -> int:
        """How many groups an account has."""
        return self._count(schema.groups, schema.groups.c.account == account)

    # Managed policies.

    def get_managed_policy(self, arn: str) -> ManagedPolicyRecord | None:
        """The managed policy of that ARN."""
        row = self._one(schema.managed_policies, schema.managed_policies.c.arn == arn)
        return None if row is None else self._counted([row])[0]

    def list_managed_policies(
        self, account: str, holder_arn: str | None = None, after_name: str = "", limit: int = 100
    ) -> list[ManagedPolicyRecord]:
        """Managed policies of an account in the order of names; those attached to one holder when it is given."""
        policies = schema.managed_policies.c
        conditions = [policies.account == account, policies.name > after_name]
        if holder_arn is not None:
            attached = schema.principal_attachments.c, schema.group_attachments.c
            own, of_group = (select(each.policy_arn).where(each.arn == holder_arn) for each in attached)
            conditions.append(policies.arn.in_(own.union(of_group)))
        return self._counted(self._some(schema.managed_policies, policies.name, limit, *conditions))

    def count_managed_policies(self, account: str) -> int:
        """How many managed policies an account has."""
        return self._count(schema.managed_policies, schema.managed_policies.c.account == account)

    # OpenID Connect providers and patterns of SPIFFE IDs.

    def get_oidc_provider(self, arn: str) -> OidcProviderRecord | None:
        """The provider of that ARN."""
        row = self._one(schema.oidc_providers, schema.oidc_providers.c.arn == arn)
        return None if row is None else identity_rows.oidc_provider_of(row)

    def oidc_providers_of(self, issuer: str) -> tuple[OidcProviderRecord, ...]:
        """All providers of an issuer, whichever account's, in the order of ARNs."""
        providers = schema.oidc_providers
        statement = select(providers).where(providers.c.issuer == issuer).order_by(providers.c.arn)
        return tuple(map(identity_rows.oidc_provider_of, self._connection.execute(statement)))

    def list_oidc_providers(self, account: str, after_arn: str = "", limit: int = 100) -> list[OidcProviderRecord]:
        """Providers of an account in the order of ARNs."""
        providers = schema.oidc_providers.c
        conditions = (providers.account == account, providers.arn > after_arn)
        found = self._some(schema.oidc_providers, providers.arn, limit, *conditions)
        return [identity_rows.oidc_provider_of(row) for row in found]

    def count_oidc_providers(self, account: str) -> int:
        """How many providers an account has."""
        return self._count(schema.oidc_providers, schema.oidc_providers.c.account == account)

    def spiffe_patterns(self, trust_domain: str) -> tuple[CertificateRecord, ...]:
        """The mappings of patterns of SPIFFE IDs in a trust domain, oldest first."""
        certificates = schema.certificates
        statement = select(certificates).where(certificates.c.pattern_domain == trust_domain)
        found = self._connection.execute(statement.order_by(certificates.c.certificate_id))
        return tuple(map(rows.certificate_of, found))

    def uris_in(self, trust_domain: str, other_than: str) -> list[str]:
        """SPIFFE IDs and patterns in a trust domain that are mapped by other accounts than `other_than`."""
        certificates = schema.certificates.c
        # Upper bound of the prefix: the character after the slash.
        start, end = f"{SCHEME}{trust_domain}/", f"{SCHEME}{trust_domain}0"
        statement = select(certificates.uri_san).where(
            certificates.uri_san >= start, certificates.uri_san < end, certificates.account != other_than
        )
        return [row.uri_san for row in self._connection.execute(statement)]

    # Access keys.

    def get_access_key(self, access_key_id: str) -> AccessKeyRecord | None:
        """The access key of this id."""
        row = self._one(schema.access_keys, schema.access_keys.c.access_key_id == access_key_id)
        return None if row is None else identity_rows.access_key_of(row)

    def list_access_keys(
        self, account: str, principal_arn: str | None = None, after: str = "", limit: int = 100
    ) -> list[AccessKeyRecord]:
        """Access keys that last, in the order of their making; only those of one principal when it is given."""
        keys = schema.access_keys.c
        conditions = [keys.account == account, keys.entry_id > after, keys.session.is_(None)]
        if principal_arn is not None:
            conditions.append(keys.principal_arn == principal_arn)
        found = self._some(schema.access_keys, keys.entry_id, limit, *conditions)
        return [identity_rows.access_key_of(row) for row in found]

    def count_sessions(self, role_arn: str) -> int:
        """How many sessions AssumeRole gave of a role that haven't been cleared away."""
        tokens = schema.tokens.c
        return self._count(schema.tokens, tokens.principal_arn == role_arn, tokens.session.is_not(None))

    # How records are put together.

    def _whole_groups(self, found: Sequence[Row[Any]]) -> list[GroupRecord]:
        policies = self._inline(schema.group_policies, [row.arn for row in found])
        return [identity_rows.group_of(row, policies.get(row.arn, {})) for row in found]

    def _counted(self, found: Sequence[Row[Any]]) -> list[ManagedPolicyRecord]:
        counts: defaultdict[str, int] = defaultdict(int)
        for table in _HOLDERS:
            column = table.c.policy_arn
            statement = select(column, func.count()).where(column.in_([row.arn for row in found])).group_by(column)
            for arn, count in self._connection.execute(statement):
                counts[arn] += count
        return [identity_rows.managed_policy_of(row, counts[row.arn]) for row in found]

    def _whole_principals(self, found: Sequence[Row[Any]], *, inherited: bool) -> list[PrincipalRecord]:
        arns = [row.arn for row in found]
        inline = self._inline(schema.principal_policies, arns)
        bounds = self._managed(schema.principal_boundaries, arns)
        trusts = {row.arn: row for row in self._some_of(schema.role_trusts, arns)}
        others = self._inherited(arns) if inherited else {}
        return [
            rows.principal_of(
                row,
                inline.get(row.arn, {}),
                sorted(others.get(row.arn, ()), key=lambda policy: policy.name),
                next(iter(bounds.get(row.arn, ())), None),
                trusts.get(row.arn),
            )
            for row in found
        ]

    def _inherited(self, arns: Sequence[str]) -> dict[str, set[PolicyText]]:
        """By principal: managed policies, and those of its groups, each once."""
        found: defaultdict[str, set[PolicyText]] = defaultdict(set)
        for arn, policies in self._managed(schema.principal_attachments, arns).items():
            found[arn].update(policies)
        members = schema.group_members.c
        membership = self._connection.execute(
            select(members.user_arn, members.group_arn).where(members.user_arn.in_(arns))
        ).all()
        groups = sorted({row.group_arn for row in membership})
        inline, managed = self._inline(schema.group_policies, groups), self._managed(schema.group_attachments, groups)
        for user, group in membership:
            found[user].update(managed.get(group, ()))
            found[user].update(
                PolicyText(f"{group}/{name}", PolicyHome.GROUP, document)
                for name, document in inline.get(group, {}).items()
            )
        return found

    def _inline(self, table: Table, arns: Sequence[str]) -> dict[str, dict[str, str]]:
        """Inline policies in `table` by holder and name, in the order of names."""
        found: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for row in self._some_of(table, arns, table.c.name):
            found[row.arn][row.name] = row.document
        return found

    def _managed(self, table: Table, arns: Iterable[str]) -> dict[str, list[PolicyText]]:
        """The managed policies that `table` links to each of `arns`."""
        policies = schema.managed_policies
        statement: Select[Any] = (
            select(table.c.arn, policies.c.arn.label("policy_arn"), policies.c.document)
            .join_from(table, policies, table.c.policy_arn == policies.c.arn)
            .where(table.c.arn.in_(list(arns)))
            .order_by(table.c.arn, policies.c.arn)
        )
        found: defaultdict[str, list[PolicyText]] = defaultdict(list)
        for row in self._connection.execute(statement):
            found[row.arn].append(PolicyText(row.policy_arn, PolicyHome.MANAGED, row.document))
        return found

    def _some_of(self, table: Table, arns: Sequence[str], *order: ColumnElement[Any]) -> Sequence[Row[Any]]:
        statement = select(table).where(table.c.arn.in_(arns)).order_by(table.c.arn, *order)
        return self._connection.execute(statement).all()
