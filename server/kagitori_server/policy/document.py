"""Reads policy documents and compiles them; refuses everything it would not enforce to the letter.

Key policies raise `MalformedPolicyDocumentException`, `InvalidArnException` or `LimitExceededException`;
identity policies the first or the last, with the messages of AWS IAM. Conditions and policy variables are
refused: reading past them would widen an Allow and empty a Deny.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from kagitori_server.model.errors import (
    InvalidArnException,
    LimitExceededException,
    MalformedPolicyDocumentException,
)
from kagitori_server.policy.matchers import ActionSet, ResourceSet
from kagitori_server.policy.principals import (
    PrincipalForm,
    PrincipalResolver,
    Principals,
    account_of,
    is_service_name,
    principal_form,
)
from kagitori_server.policy.statements import (
    Effect,
    IdentityPolicy,
    KeyPolicy,
    KeyStatement,
    Statement,
    StatementRef,
)
from kagitori_server.policy.strict_json import PolicyJsonError, read_json

MAX_KEY_POLICY_BYTES = 32_768
"""Size of a key policy in UTF-8, whitespace included (KMS resource quotas)."""
MAX_IDENTITY_POLICY_LENGTH = 131_072
"""Characters of an identity policy with its whitespace (IAM API, `policyDocumentType`)."""

CURRENT_VERSION = "2012-10-17"
FIRST_VERSION = "2008-10-17"
"""Also the version of a document that names none; it knows no policy variables, `${…}` is plain text."""

NO_PRINCIPAL = "Policy contains a statement with no principal."
INVALID_PRINCIPALS = "Policy contains a statement with one or more invalid principals."
INVALID_ARN = "An ARN in the specified key policy is invalid."
BAD_VERSION = "Policy document must be version 2012-10-17 or greater."
REPEATED_SID = "Statement IDs (SID) in a single policy must be unique."
SYNTAX = "Syntax errors in policy."
BAD_SID = (
    "Statement IDs (SID) must be alpha-numeric. "
    "Check that your input satisfies the regular expression [0-9A-Za-z]*"
)
PRINCIPAL_FORBIDDEN = "Policy document should not specify a principal."
NO_ACTIONS = "Policy statement must contain actions."
NO_RESOURCES = "Policy statement must contain resources."
RESOURCE_NOT_ARN = 'Policy resources must be in ARN format or "*".'
NO_VENDOR = "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."

_DOCUMENT_MEMBERS = frozenset({"Version", "Id", "Statement"})
_STATEMENT_MEMBERS = frozenset({"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource"})
_PRINCIPAL_MEMBERS = frozenset({"Principal", "NotPrincipal"})
_VENDOR_ACTION = re.compile(r"[A-Za-z0-9-]+:[A-Za-z0-9*?]+")
_IDENTITY_SID = re.compile(r"[0-9A-Za-z]*")
_SURROGATE = re.compile("[\ud800-\udfff]")

_Fault = Callable[[str], MalformedPolicyDocumentException]
"""Makes the error for a breach of the grammar out of a phrase that says what is wrong."""


class IdentityKind(enum.Enum):
    """Where an identity policy lives; the value is its size limit in characters, whitespace not counted."""

    USER = 2_048
    MANAGED = 6_144
    GROUP = 5_120
    ROLE = 10_240


def policy_size(text: str) -> int:
    """Characters of an identity policy that count against its limit."""
    return len(text) - sum(text.count(blank) for blank in " \t\r\n")


def parse_key_policy(text: str, resolve: PrincipalResolver) -> KeyPolicy:
    """Validate and compile a key policy that is being put.

    `resolve` is asked once per distinct principal in the document. Raises LimitExceededException above 32,768
    bytes, InvalidArnException for a resource or principal that should be an ARN and is none, else
    MalformedPolicyDocumentException.
    """
    if len(text) > MAX_KEY_POLICY_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_KEY_POLICY_BYTES:
        raise LimitExceededException(f"A key policy has at most {MAX_KEY_POLICY_BYTES} bytes.")
    version, raw_statements = _read(text, _key_fault)
    bindings: dict[str, str] = {}
    sids: set[str] = set()
    compiled = tuple(
        _key_statement(_Members(raw, index, version, _key_fault), sids, resolve, bindings)
        for index, raw in enumerate(raw_statements)
    )
    return KeyPolicy(
        denies=tuple(each for each in compiled if each.effect is Effect.DENY),
        allows=tuple(each for each in compiled if each.effect is Effect.ALLOW),
        bindings=MappingProxyType(bindings),
    )


def load_key_policy(text: str, bindings: Mapping[str, str]) -> KeyPolicy:
    """Compile a stored key policy again, with the bindings recorded when it was put.

    Raises as `parse_key_policy`; a binding that is missing counts as an invalid principal.
    """
    return parse_key_policy(text, bindings.get)


def parse_identity_policy(text: str, kind: IdentityKind) -> IdentityPolicy:
    """Validate and compile an identity policy.

    Raises LimitExceededException above the size of its kind (or 131,072 characters in all), otherwise
    MalformedPolicyDocumentException.
    """
    if policy_size(text) > kind.value or len(text) > MAX_IDENTITY_POLICY_LENGTH:
        raise LimitExceededException(f"Maximum policy size of {kind.value} bytes exceeded.")
    version, raw_statements = _read(text, _identity_fault)
    sids: set[str] = set()
    compiled = tuple(
        _identity_statement(_Members(raw, index, version, _identity_fault), sids)
        for index, raw in enumerate(raw_statements)
    )
    return IdentityPolicy(
        denies=tuple(each for each in compiled if each.effect is Effect.DENY),
        allows=tuple(each for each in compiled if each.effect is Effect.ALLOW),
    )


def _malformed(message: str) -> MalformedPolicyDocumentException:
    return MalformedPolicyDocumentException(message)


def _key_fault(detail: str) -> MalformedPolicyDocumentException:
    return MalformedPolicyDocumentException(f"The key policy is malformed: {detail}.")


def _identity_fault(_: str) -> MalformedPolicyDocumentException:
    # AWS IAM has this one sentence for every breach it has no other for.
    return MalformedPolicyDocumentException(SYNTAX)


def _read(text: str, fault: _Fault) -> tuple[str, list[object]]:
    """The version of the document and its statements, not yet looked into."""
    try:
        document = read_json(text)
    except PolicyJsonError as error:
        raise fault(str(error)) from error
    if not isinstance(document, dict):
        raise fault("it is not a JSON object")
    if not document.keys() <= _DOCUMENT_MEMBERS:
        raise fault("a policy has the elements Version, Id and Statement only")
    version = document.get("Version", FIRST_VERSION)
    if version not in (CURRENT_VERSION, FIRST_VERSION):
        raise _malformed(BAD_VERSION) if isinstance(version, str) else fault("Version must be text")
    if not _is_text(document.get("Id", "")):
        raise fault("Id must be text")
    statements = document.get("Statement")
    if isinstance(statements, dict):
        statements = [statements]
    if not isinstance(statements, list) or not statements:
        raise fault("Statement must be a statement or a list of statements")
    return version, statements


def _is_text(value: object) -> bool:
    """Lone surrogates (JSON can write them as escapes) are no text: nothing could store or show them."""
    return isinstance(value, str) and _SURROGATE.search(value) is None


class _Members:
    """The members of one statement, read with the faults of the policy's kind."""

    def __init__(self, raw: object, index: int, version: str, fault: _Fault) -> None:
        self.index = index
        self.variables = version == CURRENT_VERSION
        self._fault = fault
        if not isinstance(raw, dict):
            raise self.fault("it is not an object")
        self.raw: dict[str, object] = raw
        if "Condition" in raw:
            raise _malformed(
                f"Conditions are not supported by this release; statement {index + 1} has a Condition."
            )
        if not raw.keys() <= _STATEMENT_MEMBERS | _PRINCIPAL_MEMBERS:
            raise self.fault("it has an element unknown to the policy language")

    def fault(self, detail: str) -> MalformedPolicyDocumentException:
        """The error for a breach of the grammar in this statement."""
        return self._fault(f"in statement {self.index + 1}, {detail}")

    def effect(self) -> Effect:
        value = self.raw.get("Effect")
        if value == "Allow":
            return Effect.ALLOW
        if value == "Deny":
            return Effect.DENY
        raise self.fault("Effect must be Allow or Deny")

    def sid(self, taken: set[str]) -> str | None:
        """The Sid, None when absent or empty."""
        value = self.raw.get("Sid", "")
        if not isinstance(value, str) or not _is_text(value):
            raise self.fault("Sid must be text")
        if value in taken:
            raise _malformed(REPEATED_SID)
        if value:
            taken.add(value)
        return value or None

    def one_of(self, name: str, negated_name: str) -> tuple[list[str], bool] | None:
        """The values of the one of the two elements that is there, and whether it is the negated one."""
        present = [each for each in (name, negated_name) if each in self.raw]
        if len(present) > 1:
            raise self.fault(f"{name} and {negated_name} exclude each other")
        if not present:
            return None
        return self.texts(self.raw[present[0]], present[0]), present[0] == negated_name

    def texts(self, value: object, name: str) -> list[str]:
        """A string or a list of strings, as a list."""
        values = value if isinstance(value, list) else [value]
        texts = [each for each in values if isinstance(each, str) and _is_text(each)]
        if len(texts) != len(values):
            raise self.fault(f"{name} must be a string or a list of strings")
        return texts

    def actions(self, patterns: Iterable[str], *, negated: bool) -> ActionSet:
        for pattern in patterns:
            if pattern in ("*", "*:*") or _VENDOR_ACTION.fullmatch(pattern):
                continue
            if ":" not in pattern:
                raise _malformed(NO_VENDOR)
            raise self.fault("an action has the form service:Name, with wildcards in the name only")
        return ActionSet.of(patterns, negated=negated)

    def resources(self, patterns: Iterable[str], *, negated: bool) -> ResourceSet:
        """ValueError for a pattern that is neither `*` nor an ARN."""
        if self.variables and any("${" in pattern for pattern in patterns):
            raise _malformed(
                f"Policy variables are not supported by this release; statement {self.index + 1} has one."
            )
        return ResourceSet.of(patterns, negated=negated)


_NO_ACTION = ActionSet.of((), negated=False)
_NO_RESOURCE = ResourceSet.of((), negated=False)


def _key_statement(
    members: _Members, sids: set[str], resolve: PrincipalResolver, bindings: dict[str, str]
) -> KeyStatement:
    effect = members.effect()
    sid = members.sid(sids)
    principals = _principals(members, effect, resolve, bindings)
    # A statement without action or resource is accepted by KMS and has no effect (key policy elements).
    action_values = members.one_of("Action", "NotAction")
    resource_values = members.one_of("Resource", "NotResource")
    if ([], False) in (action_values, resource_values) or ([], True) in (action_values, resource_values):
        raise members.fault("a list is empty")
    actions, resources = _NO_ACTION, _NO_RESOURCE
    if action_values is not None:
        actions = members.actions(action_values[0], negated=action_values[1])
    if resource_values is not None:
        try:
            resources = members.resources(resource_values[0], negated=resource_values[1])
        except ValueError as error:
            raise InvalidArnException(INVALID_ARN) from error
    return KeyStatement(StatementRef(members.index, sid), effect, actions, resources, principals)


def _identity_statement(members: _Members, sids: set[str]) -> Statement:
    if not _PRINCIPAL_MEMBERS.isdisjoint(members.raw):
        raise _malformed(PRINCIPAL_FORBIDDEN)
    effect = members.effect()
    sid = members.sid(sids)
    if sid is not None and not _IDENTITY_SID.fullmatch(sid):
        raise _malformed(BAD_SID)
    action_values = members.one_of("Action", "NotAction")
    if action_values is None or not action_values[0]:
        raise _malformed(NO_ACTIONS)
    actions = members.actions(action_values[0], negated=action_values[1])
    resource_values = members.one_of("Resource", "NotResource")
    if resource_values is None or not resource_values[0]:
        raise _malformed(NO_RESOURCES)
    try:
        resources = members.resources(resource_values[0], negated=resource_values[1])
    except ValueError as error:
        raise _malformed(RESOURCE_NOT_ARN) from error
    return Statement(StatementRef(members.index, sid), effect, actions, resources)


@dataclass(slots=True)
class _Named:
    """Collects the unique ids one principal element names, by form."""

    accounts: set[str]
    roles: set[str]
    selves: set[str]
    everyone: bool = False

    def add(self, text: str, resolve: PrincipalResolver, bindings: dict[str, str]) -> None:
        form = principal_form(text)
        if form is None:
            if text.startswith("arn:") and len(text.split(":", 5)) < 6:
                raise InvalidArnException(INVALID_ARN)
            raise _malformed(INVALID_PRINCIPALS)
        if form is PrincipalForm.EVERYONE:
            self.everyone = True
            return
        unique_id = bindings.get(text) or resolve(text)
        if not unique_id or (form is PrincipalForm.ACCOUNT and unique_id != account_of(text)):
            raise _malformed(INVALID_PRINCIPALS)
        bindings[text] = unique_id
        if form is PrincipalForm.ACCOUNT:
            self.accounts.add(unique_id)
        elif form is PrincipalForm.ROLE:
            self.roles.add(unique_id)
        else:
            self.selves.add(unique_id)


def _principals(
    members: _Members, effect: Effect, resolve: PrincipalResolver, bindings: dict[str, str]
) -> Principals:
    present = [name for name in ("Principal", "NotPrincipal") if name in members.raw]
    if not present:
        raise _malformed(NO_PRINCIPAL)
    if len(present) > 1:
        raise members.fault("Principal and NotPrincipal exclude each other")
    negated = present[0] == "NotPrincipal"
    if negated and effect is Effect.ALLOW:
        raise members.fault("NotPrincipal with Allow would admit everybody else in the world")
    named = _Named(set(), set(), set())
    element = members.raw[present[0]]
    if element == "*":
        named.everyone = True
    elif isinstance(element, dict):
        if not any(element.values()):
            raise _malformed(NO_PRINCIPAL)
        for member, value in element.items():
            _add_principals(named, member, members.texts(value, "a principal"), resolve, bindings)
    else:
        raise _malformed(INVALID_PRINCIPALS) if isinstance(element, str) else members.fault(
            f"{present[0]} must be an object or *"
        )
    return Principals(
        named.everyone, frozenset(named.accounts), frozenset(named.roles), frozenset(named.selves), negated
    )


def _add_principals(
    named: _Named, member: str, values: list[str], resolve: PrincipalResolver, bindings: dict[str, str]
) -> None:
    if member == "AWS":
        for value in values:
            named.add(value, resolve, bindings)
    elif member == "Service":
        if not all(map(is_service_name, values)):
            raise _malformed(INVALID_PRINCIPALS)
    elif member not in ("Federated", "CanonicalUser") or not all(values) or "*" in "".join(values):
        raise _malformed(INVALID_PRINCIPALS)
