"""Reads policy documents and compiles them; refuses everything it would not enforce to the letter.

Key policies raise `MalformedPolicyDocumentException`, `InvalidArnException` or `LimitExceededException`;
identity policies the first or the last, with the messages of AWS IAM.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from kagitori_server.model.errors import (
    InvalidArnException,
    LimitExceededException,
)
from kagitori_server.policy.conditions import Condition, Quantifier
from kagitori_server.policy.grammar import (
    BAD_SID,
    BAD_VERSION,
    CURRENT_VERSION,
    FIRST_VERSION,
    INVALID_ARN,
    INVALID_PRINCIPALS,
    NO_ACTIONS,
    NO_PRINCIPAL,
    NO_RESOURCES,
    PRINCIPAL_FORBIDDEN,
    PRINCIPAL_MEMBERS,
    RESOURCE_FORBIDDEN,
    RESOURCE_NOT_ARN,
    SYNTAX,
    Fault,
    Members,
    identity_fault,
    is_text,
    key_fault,
    malformed,
    trust_fault,
)
from kagitori_server.policy.matchers import ActionSet, ResourceSet
from kagitori_server.policy.operators import ConditionArnError
from kagitori_server.policy.principals import (
    SERVICE_CALLERS,
    PrincipalForm,
    PrincipalResolver,
    Principals,
    account_of,
    is_service_name,
    principal_form,
)
from kagitori_server.policy.statements import (
    EVERY_RESOURCE,
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
MAX_TRUST_POLICY_LENGTH = 2_048
"""Characters of a role's trust policy, whitespace not counted (IAM quotas)."""
MAX_IDENTITY_POLICY_LENGTH = 131_072
"""Characters of an identity policy with its whitespace (IAM API, `policyDocumentType`)."""

_DOCUMENT_MEMBERS = frozenset({"Version", "Id", "Statement"})
_IDENTITY_SID = re.compile(r"[0-9A-Za-z]*")

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
    version, raw_statements = _read(text, key_fault)
    bindings: dict[str, str] = {}
    sids: set[str] = set()
    compiled = tuple(
        _key_statement(Members(raw, index, version, key_fault), sids, resolve, bindings)
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


def parse_trust_policy(text: str, resolve: PrincipalResolver) -> KeyPolicy:
    """Validate and compile a role's trust policy that is being put: who may assume the role.

    It speaks of the one role it is on, as a key policy speaks of its key, and names no resource. `resolve` is asked
    as by `parse_key_policy`. Raises LimitExceededException above 2,048 characters (or 131,072 with whitespace),
    otherwise MalformedPolicyDocumentException.
    """
    if policy_size(text) > MAX_TRUST_POLICY_LENGTH or len(text) > MAX_IDENTITY_POLICY_LENGTH:
        raise LimitExceededException(f"Maximum policy size of {MAX_TRUST_POLICY_LENGTH} bytes exceeded.")
    version, raw_statements = _read(text, trust_fault)
    bindings: dict[str, str] = {}
    sids: set[str] = set()
    try:
        compiled = tuple(
            _trust_statement(Members(raw, index, version, trust_fault), sids, resolve, bindings)
            for index, raw in enumerate(raw_statements)
        )
    except InvalidArnException:
        raise malformed(INVALID_PRINCIPALS) from None  # AWS IAM knows one answer for both
    return KeyPolicy(
        denies=tuple(each for each in compiled if each.effect is Effect.DENY),
        allows=tuple(each for each in compiled if each.effect is Effect.ALLOW),
        bindings=MappingProxyType(bindings),
    )


def load_trust_policy(text: str, bindings: Mapping[str, str]) -> KeyPolicy:
    """Compile a stored trust policy again, with the bindings recorded when it was put. Raises as the other."""
    return parse_trust_policy(text, bindings.get)


def parse_identity_policy(text: str, kind: IdentityKind) -> IdentityPolicy:
    """Validate and compile an identity policy.

    Raises LimitExceededException above the size of its kind (or 131,072 characters in all), otherwise
    MalformedPolicyDocumentException.
    """
    if policy_size(text) > kind.value or len(text) > MAX_IDENTITY_POLICY_LENGTH:
        raise LimitExceededException(f"Maximum policy size of {kind.value} bytes exceeded.")
    version, raw_statements = _read(text, identity_fault)
    sids: set[str] = set()
    compiled = tuple(
        _identity_statement(Members(raw, index, version, identity_fault), sids)
        for index, raw in enumerate(raw_statements)
    )
    return IdentityPolicy(
        denies=tuple(each for each in compiled if each.effect is Effect.DENY),
        allows=tuple(each for each in compiled if each.effect is Effect.ALLOW),
    )


def _read(text: str, fault: Fault) -> tuple[str, list[object]]:
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
        raise malformed(BAD_VERSION) if isinstance(version, str) else fault("Version must be text")
    if not is_text(document.get("Id", "")):
        raise fault("Id must be text")
    statements = document.get("Statement")
    if isinstance(statements, dict):
        statements = [statements]
    if not isinstance(statements, list) or not statements:
        raise fault("Statement must be a statement or a list of statements")
    return version, statements


_NO_ACTION = ActionSet.of((), negated=False)
_NO_RESOURCE = ResourceSet.of((), negated=False, variables=False, allows=True)

_FORBIDDEN_IN_KEY_POLICY = re.compile(r"aws:resourcetag/.*|kms:resourcetag(/.*)?|kms:resourcealiases", re.DOTALL)
_SINGLE_VALUED = ("kms:encryptioncontext:", "aws:requesttag/")


def _key_statement(
    members: Members, sids: set[str], resolve: PrincipalResolver, bindings: dict[str, str]
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
    return KeyStatement(
        StatementRef(members.index, sid), effect, actions, resources, _key_conditions(members), principals
    )


def _trust_statement(
    members: Members, sids: set[str], resolve: PrincipalResolver, bindings: dict[str, str]
) -> KeyStatement:
    if not members.raw.keys().isdisjoint(("Resource", "NotResource")):
        raise malformed(RESOURCE_FORBIDDEN)
    if members.raw.keys().isdisjoint(("Action", "NotAction")):
        raise malformed(NO_ACTIONS)
    return replace(_key_statement(members, sids, resolve, bindings), resources=EVERY_RESOURCE)


def _key_conditions(members: Members) -> tuple[Condition, ...]:
    try:
        conditions = members.conditions()
    except ConditionArnError as error:
        raise InvalidArnException(INVALID_ARN) from error
    forbidden = sorted({each.key for each in conditions if _FORBIDDEN_IN_KEY_POLICY.fullmatch(each.lookup)})
    if forbidden:
        raise malformed(f"These condition keys are not permitted in a key policy: {', '.join(forbidden)}")
    for each in conditions:
        if each.quantifier is Quantifier.FOR_ALL_VALUES and each.lookup.startswith(_SINGLE_VALUED):
            # It would hold for every request without the key.
            raise members.fault("ForAllValues with a single-valued condition key is over-permissive")
    return conditions


def _identity_statement(members: Members, sids: set[str]) -> Statement:
    if not PRINCIPAL_MEMBERS.isdisjoint(members.raw):
        raise malformed(PRINCIPAL_FORBIDDEN)
    effect = members.effect()
    sid = members.sid(sids)
    if sid is not None and not _IDENTITY_SID.fullmatch(sid):
        raise malformed(BAD_SID)
    action_values = members.one_of("Action", "NotAction")
    if action_values is None or not action_values[0]:
        raise malformed(NO_ACTIONS)
    actions = members.actions(action_values[0], negated=action_values[1])
    resource_values = members.one_of("Resource", "NotResource")
    if resource_values is None or not resource_values[0]:
        raise malformed(NO_RESOURCES)
    try:
        resources = members.resources(resource_values[0], negated=resource_values[1])
    except ValueError as error:
        raise malformed(RESOURCE_NOT_ARN) from error
    try:
        conditions = members.conditions()
    except ConditionArnError as error:
        raise malformed(SYNTAX) from error
    return Statement(StatementRef(members.index, sid), effect, actions, resources, conditions)


@dataclass(slots=True)
class _Named:
    """Collects the unique ids one principal element names, by form."""

    accounts: set[str]
    roles: set[str]
    selves: set[str]
    federated: set[str]
    services: set[str]
    everyone: bool = False

    def add(self, text: str, resolve: PrincipalResolver, bindings: dict[str, str]) -> None:
        form = principal_form(text)
        if form is None:
            if text.startswith("arn:") and len(text.split(":", 5)) < 6:
                raise InvalidArnException(INVALID_ARN)
            raise malformed(INVALID_PRINCIPALS)
        if form is PrincipalForm.EVERYONE:
            self.everyone = True
            return
        unique_id = bindings.get(text) or resolve(text)
        if not unique_id or (form is PrincipalForm.ACCOUNT and unique_id != account_of(text)):
            raise malformed(INVALID_PRINCIPALS)
        bindings[text] = unique_id
        if form is PrincipalForm.ACCOUNT:
            self.accounts.add(unique_id)
        elif form is PrincipalForm.ROLE:
            self.roles.add(unique_id)
        else:
            self.selves.add(unique_id)


def _principals(
    members: Members, effect: Effect, resolve: PrincipalResolver, bindings: dict[str, str]
) -> Principals:
    present = [name for name in ("Principal", "NotPrincipal") if name in members.raw]
    if not present:
        raise malformed(NO_PRINCIPAL)
    if len(present) > 1:
        raise members.fault("Principal and NotPrincipal exclude each other")
    negated = present[0] == "NotPrincipal"
    if negated and effect is Effect.ALLOW:
        raise members.fault("NotPrincipal with Allow would admit everybody else in the world")
    named = _Named(set(), set(), set(), set(), set())
    element = members.raw[present[0]]
    if element == "*":
        named.everyone = True
    elif isinstance(element, dict):
        if not any(element.values()):
            raise malformed(NO_PRINCIPAL)
        for member, value in element.items():
            _add_principals(named, member, members.texts(value, "a principal"), resolve, bindings)
    else:
        raise malformed(INVALID_PRINCIPALS) if isinstance(element, str) else members.fault(
            f"{present[0]} must be an object or *"
        )
    return Principals(
        named.everyone, frozenset(named.accounts), frozenset(named.roles), frozenset(named.selves), negated,
        frozenset(named.federated), frozenset(named.services),
    )


def _add_principals(
    named: _Named, member: str, values: list[str], resolve: PrincipalResolver, bindings: dict[str, str]
) -> None:
    if member == "AWS":
        for value in values:
            named.add(value, resolve, bindings)
    elif member == "Service":
        if not all(map(is_service_name, values)):
            raise malformed(INVALID_PRINCIPALS)
        named.services.update(SERVICE_CALLERS.intersection(values))
    elif member not in ("Federated", "CanonicalUser") or not all(values) or "*" in "".join(values):
        raise malformed(INVALID_PRINCIPALS)
    elif member == "Federated":
        named.federated.update(values)
