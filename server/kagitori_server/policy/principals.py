"""Who calls, and whom a key policy names.

A policy names principals by ARN; what is compared is the unique id the ARN stood for when the policy was put,
so that a user or role made anew under an old name inherits nothing (IAM reference, Principal element).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from dataclasses import dataclass

PrincipalResolver = Callable[[str], str | None]
"""Unique id of what the principal (an ARN or a bare account id) stands for, None when there is no such thing.

Users `AIDA…`, roles `AROA…`, role sessions `AROA…:session`, federated users the `principal_id` of their
callers, account forms (`arn:…:root` and the bare id) the 12-digit account id.
"""

_ACCOUNT = re.compile(r"[0-9]{12}")
_PARTITION = re.compile(r"[a-z0-9-]{1,32}")
_SERVICE = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")
_NAME = r"[A-Za-z0-9_+=,.@-]"
# Path and name are bounded as in the IAM API: path up to 512 characters, name up to 64. `*` and `?` are left
# out of the path on purpose: the policy language knows no partial wildcard in a principal.
_PATH = r"(?:[!-)+->@-~]{1,510}/)?"
_IAM_RESOURCE = re.compile(rf"(user|role)/{_PATH}{_NAME}{{1,64}}")
_STS_RESOURCE = re.compile(rf"assumed-role/{_NAME}{{1,64}}/{_NAME}{{2,64}}|federated-user/{_NAME}{{2,32}}")


class CallerKind(enum.Enum):
    """What an authenticated caller is."""

    ROOT = "root"
    USER = "user"
    ASSUMED_ROLE = "assumed_role"
    FEDERATED = "federated"
    WEB_IDENTITY = "web_identity"
    """Whom a token of an OpenID Connect issuer speaks of, before it has become a role session."""
    SERVICE = "service"
    """A part of this service that uses keys as a service of AWS would: no account's, known by its principal alone."""


SERVICE_CALLERS = frozenset({"cloudtrail.amazonaws.com"})
"""The service principals that call. Statements may name others, which are nobody."""


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated principal as policies see it.

    `principal_id` is what AWS shows as such: `AIDA…` (user), `AROA…:session` (role session), `account:name`
    (federated user), the account id (root); of a web identity both it and `arn` are the provider's ARN, which is all
    that trust policies can name. Else `arn` is the caller's own ARN, that of the session for a role
    session; `role_id` and `role_arn` (with path) belong to role sessions alone. ValueError when these don't
    fit the kind. Of a service `principal_id` and `arn` are its principal, `account` is that on whose behalf it calls.
    """

    account: str
    kind: CallerKind
    arn: str
    principal_id: str
    role_id: str | None = None
    role_arn: str | None = None

    def __post_init__(self) -> None:
        is_session = self.kind is CallerKind.ASSUMED_ROLE
        if is_session != bool(self.role_id) or is_session != bool(self.role_arn):
            raise ValueError("role id and ARN belong to role sessions, and only to them")
        if (self.kind is CallerKind.ROOT) != (self.principal_id == self.account):
            raise ValueError("the account id is the principal id of the root user, and only of it")
        if not self.principal_id or not _ACCOUNT.fullmatch(self.account):
            raise ValueError("a caller has a principal id and a 12-digit account")


class PrincipalMatch(enum.IntEnum):
    """How a statement's principal element names a caller; the higher, the less is needed beside it."""

    NONE = 0
    ACCOUNT = 1
    """Only the caller's account is named: delegation to its identity policies."""
    ROLE = 2
    """The role of the session is named."""
    SELF = 3
    """The user, session or federated user itself is named, or everybody is."""


def match_id(unique_id: str, caller: Caller) -> PrincipalMatch:
    """How one unique id names the caller; for the root user its account id is its own."""
    if unique_id == caller.principal_id:
        return PrincipalMatch.SELF
    if unique_id == caller.role_id:
        return PrincipalMatch.ROLE
    return PrincipalMatch.ACCOUNT if unique_id == caller.account else PrincipalMatch.NONE


class PrincipalForm(enum.Enum):
    """What a syntactically valid member of `"AWS"` names."""

    EVERYONE = enum.auto()
    ACCOUNT = enum.auto()
    ROLE = enum.auto()
    USER_OR_SESSION = enum.auto()


def principal_form(text: str) -> PrincipalForm | None:
    """Which form a member of `"AWS"` has; None when there is none such (groups, partial wildcards)."""
    if text == "*":
        return PrincipalForm.EVERYONE
    if _ACCOUNT.fullmatch(text):
        return PrincipalForm.ACCOUNT
    parts = text.split(":", 5)
    if len(parts) != 6 or parts[0] != "arn" or parts[3]:
        return None
    partition, service, account, resource = parts[1], parts[2], parts[4], parts[5]
    if not _PARTITION.fullmatch(partition) or not _ACCOUNT.fullmatch(account):
        return None
    if service == "iam":
        if resource == "root":
            return PrincipalForm.ACCOUNT
        named = _IAM_RESOURCE.fullmatch(resource)
        if named is not None:
            return PrincipalForm.ROLE if named[1] == "role" else PrincipalForm.USER_OR_SESSION
    elif service == "sts" and _STS_RESOURCE.fullmatch(resource):
        return PrincipalForm.USER_OR_SESSION
    return None


def account_of(text: str) -> str:
    """The account id in a principal of form ACCOUNT."""
    return text if _ACCOUNT.fullmatch(text) else text.split(":", 5)[4]


def is_service_name(text: str) -> bool:
    """Whether the text could be a service principal, such as `logs.us-east-1.amazonaws.com`."""
    return len(text) <= 253 and _SERVICE.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Principals:
    """`Principal` or, negated, `NotPrincipal` of a key policy statement, with ARNs replaced by unique ids.

    `federated` holds the ARNs of identity providers as they are written: only trust policies can mean them. Canonical
    principals, and services but `SERVICE_CALLERS`, leave no trace here: no caller is one.
    """

    everyone: bool
    accounts: frozenset[str]
    roles: frozenset[str]
    selves: frozenset[str]
    negated: bool = False
    federated: frozenset[str] = frozenset()
    services: frozenset[str] = frozenset()

    @property
    def names_anyone(self) -> bool:
        """Whether the element lists anyone who could call, other than a service."""
        return self.everyone or bool(self.accounts or self.roles or self.selves)

    def match(self, caller: Caller) -> PrincipalMatch:
        """How the element names the caller. Negated: SELF, unless the caller is exempt, then NONE."""
        if caller.kind is CallerKind.WEB_IDENTITY:
            # It has no account yet, so no account that is named means it.
            named = self.everyone or caller.principal_id in self.federated
            return PrincipalMatch.NONE if named is self.negated else PrincipalMatch.SELF
        if caller.kind is CallerKind.SERVICE:
            # Of no account, so it has no identity policies and nothing is delegated to it.
            named = self.everyone or caller.principal_id in self.services
            return PrincipalMatch.NONE if named is self.negated else PrincipalMatch.SELF
        if self.negated:
            return PrincipalMatch.NONE if self._lists_all_of(caller) else PrincipalMatch.SELF
        if self.everyone or caller.principal_id in self.selves:
            return PrincipalMatch.SELF
        if caller.role_id in self.roles:
            return PrincipalMatch.ROLE
        if caller.account in self.accounts:
            return PrincipalMatch.ACCOUNT
        return PrincipalMatch.NONE

    def _lists_all_of(self, caller: Caller) -> bool:
        # The exemption holds for whom every member of the principal set is listed: account, role and session
        # (IAM reference, NotPrincipal).
        if self.everyone:
            return True
        return (
            caller.account in self.accounts
            and (caller.kind is CallerKind.ROOT or caller.principal_id in self.selves)
            and (caller.role_id is None or caller.role_id in self.roles)
        )
