"""Writing groups, managed policies and who has them, tags and trust policies of principals, and access keys.

A principal's record holds all that its groups and managed policies say, so whatever changes one of these touches
every principal whose record it is in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import ColumnElement, Table, select

from kagitori_server.model.errors import (
    DeleteConflictException,
    EntityAlreadyExistsException,
    NoSuchEntityException,
)
from kagitori_server.model.principals import (
    AccessKeyRecord,
    GroupRecord,
    ManagedPolicyRecord,
    OidcProviderRecord,
    PrincipalKind,
    PrincipalRecord,
    TrustPolicy,
)
from kagitori_server.storage import identity_rows, rows, schema
from kagitori_server.storage.changes import Change, ChangeKind
from kagitori_server.storage.recorder import Recorder

CLEARED_AT_ONCE = 500
"""Expired credentials that one write clears away."""


class IdentityWrites(Recorder):
    """Changes to what principals have beside themselves.

    Each raises NoSuchEntityException for what isn't there, EntityAlreadyExistsException for names and ids
    that are taken, and DeleteConflictException for what others still depend on.
    """

    # Groups.

    def insert_group(self, group: GroupRecord) -> None:
        """A new group, without policies. Names must differ in more than case."""
        self._insert_named(schema.groups, identity_rows.group_values(group), "group_id")

    def delete_group(self, arn: str) -> None:
        """Removes a group that has no members and no policies left."""
        self._need_group(arn)
        dependents = (
            (schema.group_policies, schema.group_policies.c.arn == arn),
            (schema.group_attachments, schema.group_attachments.c.arn == arn),
            (schema.group_members, schema.group_members.c.group_arn == arn),
        )
        if any(self._count(table, condition) for table, condition in dependents):
            raise DeleteConflictException("The group still has users or policies: take them away first.")
        self._delete(schema.groups, schema.groups.c.arn == arn)

    def put_group_policy(self, arn: str, name: str, document: str) -> None:
        """An inline policy of a group, new or in place of the one of that name."""
        self._need_group(arn)
        table = schema.group_policies
        if self._update(table, {"document": document}, table.c.arn == arn, table.c.name == name) == 0:
            self._insert(table, {"arn": arn, "name": name, "document": document})
        self._touch_members(arn)

    def delete_group_policy(self, arn: str, name: str) -> None:
        """Removes an inline policy of a group."""
        table = schema.group_policies
        if self._delete(table, table.c.arn == arn, table.c.name == name) == 0:
            raise NoSuchEntityException(f"Policy {name} is not found.")
        self._touch_members(arn)

    def add_member(self, group_arn: str, user_arn: str) -> None:
        """Puts a user into a group of its account; being in it already is no error."""
        group, user = self._need_group(group_arn), self._need_principal(user_arn)
        if user.kind is not PrincipalKind.USER or user.account != group.account:
            raise ValueError("only users of its account can be in a group")
        self._link(schema.group_members, {"group_arn": group_arn, "user_arn": user_arn})
        self._touch(of_principal(user_arn))

    def remove_member(self, group_arn: str, user_arn: str) -> None:
        """Takes a user out of a group."""
        members = schema.group_members
        if not self._delete(members, members.c.group_arn == group_arn, members.c.user_arn == user_arn):
            raise NoSuchEntityException("The user is not in the group.")
        self._touch(of_principal(user_arn))

    # Managed policies.

    def insert_managed_policy(self, policy: ManagedPolicyRecord) -> None:
        """A new managed policy, which nobody has. Names must differ in more than case."""
        self._insert_named(schema.managed_policies, identity_rows.managed_policy_values(policy), "policy_id")

    def delete_managed_policy(self, arn: str) -> None:
        """Removes a managed policy that nobody has and that bounds nobody."""
        if self._need_managed_policy(arn).attachments:
            raise DeleteConflictException("The policy is still attached or a boundary: take it away first.")
        self._delete(schema.managed_policies, schema.managed_policies.c.arn == arn)

    def attach_policy(self, arn: str, policy_arn: str) -> None:
        """Gives a user, role or group a managed policy; having it already is no error."""
        self._need_managed_policy(policy_arn)
        self._link(self._attachments_of(arn), {"arn": arn, "policy_arn": policy_arn})
        self._touch_holder(arn)

    def detach_policy(self, arn: str, policy_arn: str) -> None:
        """Takes a managed policy away from a user, role or group."""
        table = self._attachments_of(arn)
        if self._delete(table, table.c.arn == arn, table.c.policy_arn == policy_arn) == 0:
            raise NoSuchEntityException(f"Policy {policy_arn} is not attached.")
        self._touch_holder(arn)

    def put_boundary(self, arn: str, policy_arn: str) -> None:
        """Bounds a user or role by a managed policy, in place of the one before."""
        self._need_principal(arn)
        self._need_managed_policy(policy_arn)
        table = schema.principal_boundaries
        if self._update(table, {"policy_arn": policy_arn}, table.c.arn == arn) == 0:
            self._insert(table, {"arn": arn, "policy_arn": policy_arn})
        self._touch(of_principal(arn))

    def delete_boundary(self, arn: str) -> None:
        """Lets a user or role be bounded no more."""
        if self._delete(schema.principal_boundaries, schema.principal_boundaries.c.arn == arn) == 0:
            raise NoSuchEntityException("The principal has no permissions boundary.")
        self._touch(of_principal(arn))

    # Principals.

    def set_principal_tags(self, arn: str, tags: Mapping[str, str]) -> None:
        """All of a user's or role's tags: these and no others."""
        if self._update(schema.principals, {"tags": rows.pairs_text(tags)}, schema.principals.c.arn == arn) == 0:
            raise NoSuchEntityException("The principal is not found.")
        self._touch(of_principal(arn))

    def set_trust_policy(self, arn: str, trust: TrustPolicy) -> None:
        """Who may assume a role."""
        role = self._need_principal(arn)
        if role.kind is not PrincipalKind.ROLE:
            raise ValueError("only roles have a trust policy")
        values = {"document": trust.document, "bindings": rows.pairs_text(trust.bindings)}
        if self._update(schema.role_trusts, values, schema.role_trusts.c.arn == arn) == 0:
            fresh = {"arn": arn, "max_session_seconds": role.max_session_seconds, **values}
            self._insert(schema.role_trusts, fresh)
        self._touch(of_principal(arn))

    # Access keys and sessions.

    def insert_access_key(self, key: AccessKeyRecord) -> None:
        """A new access key of a principal of the same account."""
        if self._need_principal(key.principal_arn).account != key.account:
            raise NoSuchEntityException("The principal is not found.")
        keys = schema.access_keys
        if self._count(keys, (keys.c.access_key_id == key.access_key_id) | (keys.c.entry_id == key.entry_id)):
            raise EntityAlreadyExistsException("The access key exists already.")
        self._insert(keys, identity_rows.access_key_values(key))
        self._touch(Change(ChangeKind.ACCESS_KEY, key.access_key_id))

    def set_access_key_active(self, access_key_id: str, *, active: bool) -> None:
        """Whether an access key is accepted."""
        keys = schema.access_keys
        if self._update(keys, {"active": active}, keys.c.access_key_id == access_key_id) == 0:
            raise NoSuchEntityException("The access key is not found.")
        self._touch(Change(ChangeKind.ACCESS_KEY, access_key_id))

    def delete_access_key(self, access_key_id: str) -> None:
        """Ends an access key for good."""
        keys = schema.access_keys
        if self._delete(keys, keys.c.access_key_id == access_key_id) == 0:
            raise NoSuchEntityException("The access key is not found.")
        self._touch(Change(ChangeKind.ACCESS_KEY, access_key_id))

    def clear_expired(self, principal_arn: str, now: float) -> None:
        """Removes of a principal's credentials what has expired, not more than `CLEARED_AT_ONCE` of each kind."""
        tokens, keys = schema.tokens.c, schema.access_keys.c
        self._end_tokens(tokens.principal_arn == principal_arn, tokens.expires <= now)
        self._end_access_keys(keys.principal_arn == principal_arn, keys.expires <= now)

    def end_sessions(self, role_arn: str) -> None:
        """Ends all sessions that AssumeRole gave of a role."""
        tokens, keys = schema.tokens.c, schema.access_keys.c
        while self._end_tokens(tokens.principal_arn == role_arn, tokens.session.is_not(None)):
            pass
        while self._end_access_keys(keys.principal_arn == role_arn, keys.session.is_not(None)):
            pass

    # OpenID Connect providers.

    def insert_oidc_provider(self, provider: OidcProviderRecord) -> None:
        """A new provider of a role of the same account. A token of its issuer must not fit two providers."""
        role = self._need_principal(provider.role_arn, provider.account)
        if role.kind is not PrincipalKind.ROLE:
            raise ValueError("only roles have sessions")
        if self.get_oidc_provider(provider.arn) is not None:
            raise EntityAlreadyExistsException(f"{provider.arn} exists already.")
        taken = {audience for other in self.oidc_providers_of(provider.issuer) for audience in other.audiences}
        if not taken.isdisjoint(provider.audiences):
            raise EntityAlreadyExistsException("Tokens of this issuer for that audience prove another role already.")
        self._insert(schema.oidc_providers, identity_rows.oidc_provider_values(provider))
        self._touch(Change(ChangeKind.OIDC_ISSUER, provider.issuer))

    def delete_oidc_provider(self, arn: str) -> None:
        """Ends the trust in an issuer."""
        provider = self.get_oidc_provider(arn)
        if provider is None:
            raise NoSuchEntityException("The OpenID Connect provider is not found.")
        self._delete(schema.oidc_providers, schema.oidc_providers.c.arn == arn)
        self._touch(Change(ChangeKind.OIDC_ISSUER, provider.issuer))

    # What these share.

    def _end_tokens(self, *which: ColumnElement[bool]) -> int:
        tokens = schema.tokens
        digests = self._connection.scalars(select(tokens.c.digest).where(*which).limit(CLEARED_AT_ONCE)).all()
        self._touch(*(Change(ChangeKind.TOKEN, bytes(digest).hex()) for digest in digests))
        return self._delete(tokens, tokens.c.digest.in_(digests)) if digests else 0

    def _end_access_keys(self, *which: ColumnElement[bool]) -> int:
        keys = schema.access_keys
        ids = self._connection.scalars(select(keys.c.access_key_id).where(*which).limit(CLEARED_AT_ONCE)).all()
        self._touch(*(Change(ChangeKind.ACCESS_KEY, access_key_id) for access_key_id in ids))
        return self._delete(keys, keys.c.access_key_id.in_(ids)) if ids else 0

    def _insert_named(self, table: Table, values: Mapping[str, object], id_column: str) -> None:
        if self._count(schema.accounts, schema.accounts.c.account == values["account"]) == 0:
            raise NoSuchEntityException("The account is not found.")
        taken = (
            (table.c.arn == values["arn"])
            | (table.c[id_column] == values[id_column])
            | ((table.c.account == values["account"]) & (table.c.folded_name == values["folded_name"]))
        )
        if self._count(table, taken):
            raise EntityAlreadyExistsException(f"{values['name']} exists already.")
        self._insert(table, values)

    def _link(self, table: Table, values: Mapping[str, str]) -> None:
        if not self._count(table, *(table.c[name] == value for name, value in values.items())):
            self._insert(table, values)

    def _attachments_of(self, arn: str) -> Table:
        if self.get_group(arn) is not None:
            return schema.group_attachments
        self._need_principal(arn)
        return schema.principal_attachments

    def _touch_holder(self, arn: str) -> None:
        self._touch(of_principal(arn))
        self._touch_members(arn)

    def _touch_members(self, group_arn: str) -> None:
        members = schema.group_members.c
        arns: Iterable[str] = self._connection.scalars(
            select(members.user_arn).where(members.group_arn == group_arn).order_by(members.user_arn)
        )
        self._touch(*map(of_principal, arns))

    def _need_group(self, arn: str) -> GroupRecord:
        group = self.get_group(arn)
        if group is None:
            raise NoSuchEntityException("The group is not found.")
        return group

    def _need_managed_policy(self, arn: str) -> ManagedPolicyRecord:
        policy = self.get_managed_policy(arn)
        if policy is None:
            raise NoSuchEntityException("The policy is not found.")
        return policy

    def _need_principal(self, arn: str, account: str | None = None) -> PrincipalRecord:
        principal = self.get_principal(arn)
        if principal is None or (account is not None and principal.account != account):
            raise NoSuchEntityException("The principal is not found.")
        return principal


def of_principal(arn: str) -> Change:
    """A principal's record is another one now."""
    return Change(ChangeKind.PRINCIPAL, arn)
