"""Writing accounts, users, roles, their identity policies and their credentials."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Table

from kagitori_server.model.errors import (
    DeleteConflictException,
    EntityAlreadyExistsException,
    NoSuchEntityException,
    ValidationException,
)
from kagitori_server.model.principals import (
    Account,
    CertificateRecord,
    PrincipalKind,
    PrincipalRecord,
    TokenRecord,
)
from kagitori_server.model.spiffe import SpiffeId, spiffe_id_or_none
from kagitori_server.storage import rows, schema
from kagitori_server.storage.changes import Change, ChangeKind
from kagitori_server.storage.custom_store_schema import custom_key_stores
from kagitori_server.storage.identity_writes import IdentityWrites, of_principal


class PrincipalWrites(IdentityWrites):
    """Changes to who may call.

    Each raises NoSuchEntityException for what isn't there, EntityAlreadyExistsException for names and ids
    that are taken, and DeleteConflictException for what others still depend on.
    """

    def insert_account(self, account: Account, root: PrincipalRecord) -> None:
        """A new account with its root user, whose identity policies must be empty."""
        if root.kind is not PrincipalKind.ROOT or root.account != account.account:
            raise ValueError("the root user must be the account's own")
        if self.get_account(account.account) is not None:
            raise EntityAlreadyExistsException(f"Account {account.account} exists already.")
        values = {"account": account.account, "name": account.name, "created": account.created}
        self._insert(schema.accounts, values)
        self._insert_principal(root)

    def delete_account(self, account: str) -> None:
        """Removes an account that has nothing left but its root user.

        Its key-encryption keys stay: processes may hold them open, and an account of this id made later uses them.
        """
        if self.get_account(account) is None:
            raise NoSuchEntityException(f"Account {account} is not found.")
        principals = schema.principals
        left = (
            self._count(schema.keys, schema.keys.c.account == account)
            + self._count(principals, principals.c.account == account)
            + self._count(schema.tokens, schema.tokens.c.account == account)
            + self._count(schema.certificates, schema.certificates.c.account == account)
            + self._count(schema.oidc_providers, schema.oidc_providers.c.account == account)
            + self._count(schema.access_keys, schema.access_keys.c.account == account)
            + self._count(schema.groups, schema.groups.c.account == account)
            + self._count(schema.managed_policies, schema.managed_policies.c.account == account)
            + self._count(custom_key_stores, custom_key_stores.c.account == account)
        )
        root = self.find_principal(account, PrincipalKind.ROOT, "root")
        if left != 1 or root is None:
            raise DeleteConflictException(
                f"Account {account} still has keys, key stores, principals, policies or credentials."
            )
        self._delete(principals, principals.c.arn == root.arn)
        self._delete(schema.budgets, schema.budgets.c.account == account)
        self._touch(Change.of_budgets(account))
        self._delete(schema.accounts, schema.accounts.c.account == account)
        self._touch(of_principal(root.arn))

    def insert_principal(self, principal: PrincipalRecord) -> None:
        """A new user or role, with its inline policies and trust policy. Names must differ in more than case."""
        if principal.inherited or principal.boundary:
            raise ValueError("a new principal has no policies of others yet")
        if principal.kind is PrincipalKind.ROOT:
            raise ValueError("a root user comes with its account")
        if self.get_account(principal.account) is None:
            raise NoSuchEntityException(f"Account {principal.account} is not found.")
        self._insert_principal(principal)

    def delete_principal(self, arn: str) -> None:
        """Removes a user or role that is in no group and has no identity policies or credentials left."""
        principal = self._need_principal(arn)
        if principal.kind is PrincipalKind.ROOT:
            raise DeleteConflictException("The root user goes with its account.")
        if principal.policies or any(self._count(table, condition) for table, condition in _dependents(arn)):
            raise DeleteConflictException(
                f"{principal.name} still has policies, groups or credentials: take them away first."
            )
        self._delete(schema.principal_boundaries, schema.principal_boundaries.c.arn == arn)
        self._delete(schema.role_trusts, schema.role_trusts.c.arn == arn)
        self._delete(schema.principals, schema.principals.c.arn == arn)
        self._touch(of_principal(arn))

    def put_principal_policy(self, arn: str, name: str, document: str) -> None:
        """An inline identity policy, new or in place of the one of that name."""
        self._need_principal(arn)
        table = schema.principal_policies
        if self._update(table, {"document": document}, table.c.arn == arn, table.c.name == name) == 0:
            self._insert(table, {"arn": arn, "name": name, "document": document})
        self._touch(of_principal(arn))

    def delete_principal_policy(self, arn: str, name: str) -> None:
        """Removes an inline identity policy."""
        table = schema.principal_policies
        if self._delete(table, table.c.arn == arn, table.c.name == name) == 0:
            raise NoSuchEntityException(f"Policy {name} is not found.")
        self._touch(of_principal(arn))

    def insert_token(self, token: TokenRecord) -> None:
        """A new token of a principal of the same account. The catalog sees the digest only."""
        if len(token.digest) != schema.DIGEST_BYTES:
            raise ValueError("a token's digest is a SHA-256")
        self._need_principal(token.principal_arn, token.account)
        if self.get_token(token.token_id) is not None or self.find_token(token.digest) is not None:
            raise EntityAlreadyExistsException("The token exists already.")
        self._insert(schema.tokens, rows.token_values(token))
        self._touch(Change(ChangeKind.TOKEN, token.digest.hex()))

    def delete_token(self, token_id: str) -> None:
        """Revokes a token; if AssumeRole gave it, the access key of its session ends as well."""
        token = self.get_token(token_id)
        if token is None:
            raise NoSuchEntityException("The token is not found.")
        self._delete(schema.tokens, schema.tokens.c.token_id == token_id)
        self._end_access_keys(schema.access_keys.c.entry_id == token_id)
        self._touch(Change(ChangeKind.TOKEN, token.digest.hex()))

    def insert_certificate(self, certificate: CertificateRecord) -> None:
        """Maps a certificate's name to a principal of the same account. A name can be mapped once."""
        uri, subject = certificate.uri_san, certificate.subject
        if (uri is None) == (subject is None):
            raise ValueError("a mapping is by URI or by subject")
        if uri is not None and not uri.isascii():
            raise ValidationException("A URI consists of ASCII characters.")
        self._need_principal(certificate.principal_arn, certificate.account)
        if (
            self.get_certificate(certificate.certificate_id) is not None
            or self.find_certificate(uri_san=uri, subject=subject) is not None
        ):
            raise EntityAlreadyExistsException("The certificate name is mapped already.")
        spiffe_id = None if uri is None else spiffe_id_or_none(uri)
        if spiffe_id is not None:
            self._check_overlap(spiffe_id, certificate.account)
        self._insert(schema.certificates, rows.certificate_values(certificate))
        self._touch(_of_certificate(certificate))

    def _check_overlap(self, wanted: SpiffeId, account: str) -> None:
        """No SPIFFE ID fits two patterns, and none that an account has mapped falls to another account's pattern."""
        rivals = set(self.uris_in(wanted.trust_domain, account))
        if wanted.is_pattern:
            rivals |= {each.uri_san for each in self.spiffe_patterns(wanted.trust_domain) if each.uri_san is not None}
        if any(other is not None and wanted.overlaps(other) for other in map(spiffe_id_or_none, rivals)):
            raise EntityAlreadyExistsException("SPIFFE IDs that fit this one are mapped already.")

    def delete_certificate(self, certificate_id: str) -> None:
        """Removes a mapping: the certificate is nobody's from now on."""
        certificate = self.get_certificate(certificate_id)
        if certificate is None:
            raise NoSuchEntityException("The certificate mapping is not found.")
        table = schema.certificates
        self._delete(table, table.c.certificate_id == certificate_id)
        self._touch(_of_certificate(certificate))

    def _insert_principal(self, principal: PrincipalRecord) -> None:
        table = schema.principals
        taken = self.find_principal(principal.account, principal.kind, principal.name) is not None
        if (
            taken
            or self._count(table, table.c.arn == principal.arn)
            or self._count(table, table.c.principal_id == principal.principal_id)
        ):
            raise EntityAlreadyExistsException(f"{principal.name} exists already.")
        self._insert(table, rows.principal_values(principal))
        self._insert(
            schema.principal_policies,
            *(
                {"arn": principal.arn, "name": name, "document": document}
                for name, document in principal.policies.items()
            ),
        )
        if principal.kind is PrincipalKind.ROLE:
            self._insert(schema.role_trusts, rows.role_trust_values(principal))
        self._touch(of_principal(principal.arn))


def _dependents(arn: str) -> list[tuple[Table, ColumnElement[bool]]]:
    """Where rows of a principal would be that keep it from being removed."""
    tokens, certificates, access_keys = schema.tokens, schema.certificates, schema.access_keys
    return [
        (tokens, tokens.c.principal_arn == arn),
        (certificates, certificates.c.principal_arn == arn),
        (schema.oidc_providers, schema.oidc_providers.c.role_arn == arn),
        (access_keys, access_keys.c.principal_arn == arn),
        (schema.principal_attachments, schema.principal_attachments.c.arn == arn),
        (schema.group_members, schema.group_members.c.user_arn == arn),
    ]


def _of_certificate(certificate: CertificateRecord) -> Change:
    pattern = rows.pattern_of(certificate)
    if pattern is not None:
        return Change(ChangeKind.SPIFFE_PATTERNS, pattern.trust_domain)
    if certificate.uri_san is not None:
        return Change(ChangeKind.CERTIFICATE_URI, certificate.uri_san)
    return Change(ChangeKind.CERTIFICATE_SUBJECT, certificate.subject or "")
