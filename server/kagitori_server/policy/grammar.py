"""One statement of a policy document, member by member: what the grammar lets stand there, and the refusals.

The kinds of policies share the grammar and differ in the words of their refusals: key policies say what is wrong
where, identity policies answer with the few sentences of AWS IAM.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from kagitori_server.model.errors import MalformedPolicyDocumentException
from kagitori_server.policy.conditions import Condition, UnknownOperatorError, compile_condition, is_vendor_key
from kagitori_server.policy.matchers import ActionSet, ResourceSet
from kagitori_server.policy.operators import ConditionArnError, ConditionValueError
from kagitori_server.policy.statements import Effect
from kagitori_server.policy.strict_json import JsonNumber
from kagitori_server.policy.variables import VariableError

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
RESOURCE_FORBIDDEN = "Has prohibited field Resource"
RESOURCE_NOT_ARN = 'Policy resources must be in ARN format or "*".'
NO_VENDOR = "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."

_STATEMENT_MEMBERS = frozenset({"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"})
PRINCIPAL_MEMBERS = frozenset({"Principal", "NotPrincipal"})
_VENDOR_ACTION = re.compile(r"[A-Za-z0-9-]+:[A-Za-z0-9*?]+")
_SURROGATE = re.compile("[\ud800-\udfff]")

Fault = Callable[[str], MalformedPolicyDocumentException]
"""Makes the error for a breach of the grammar out of a phrase that says what is wrong."""


def malformed(message: str) -> MalformedPolicyDocumentException:
    """The error with one of AWS's own sentences."""
    return MalformedPolicyDocumentException(message)


def key_fault(detail: str) -> MalformedPolicyDocumentException:
    """The error for a breach of the grammar in a key policy."""
    return MalformedPolicyDocumentException(f"The key policy is malformed: {detail}.")


def trust_fault(detail: str) -> MalformedPolicyDocumentException:
    """The error for a breach of the grammar in a role's trust policy."""
    return MalformedPolicyDocumentException(f"The trust policy is malformed: {detail}.")


def identity_fault(_: str) -> MalformedPolicyDocumentException:
    """The error for a breach of the grammar in an identity policy."""
    # AWS IAM has this one sentence for every breach it has no other for.
    return MalformedPolicyDocumentException(SYNTAX)


def is_text(value: object) -> bool:
    """Lone surrogates (JSON can write them as escapes) are no text: nothing could store or show them."""
    return isinstance(value, str) and _SURROGATE.search(value) is None


class Members:
    """The members of one statement, read with the faults of the policy's kind."""

    def __init__(self, raw: object, index: int, version: str, fault: Fault) -> None:
        self.index = index
        self.variables = version == CURRENT_VERSION
        self._fault = fault
        if not isinstance(raw, dict):
            raise self.fault("it is not an object")
        self.raw: dict[str, object] = raw
        if not raw.keys() <= _STATEMENT_MEMBERS | PRINCIPAL_MEMBERS:
            raise self.fault("it has an element unknown to the policy language")

    def fault(self, detail: str) -> MalformedPolicyDocumentException:
        """The error for a breach of the grammar in this statement."""
        return self._fault(f"in statement {self.index + 1}, {detail}")

    def effect(self) -> Effect:
        """What the statement does when it matches."""
        value = self.raw.get("Effect")
        if value == "Allow":
            return Effect.ALLOW
        if value == "Deny":
            return Effect.DENY
        raise self.fault("Effect must be Allow or Deny")

    def sid(self, taken: set[str]) -> str | None:
        """The Sid, None when absent or empty."""
        value = self.raw.get("Sid", "")
        if not isinstance(value, str) or not is_text(value):
            raise self.fault("Sid must be text")
        if value in taken:
            raise malformed(REPEATED_SID)
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
        texts = [each for each in values if isinstance(each, str) and is_text(each)]
        if len(texts) != len(values):
            raise self.fault(f"{name} must be a string or a list of strings")
        return texts

    def actions(self, patterns: Iterable[str], *, negated: bool) -> ActionSet:
        """Compile the actions."""
        for pattern in patterns:
            if pattern in ("*", "*:*") or _VENDOR_ACTION.fullmatch(pattern):
                continue
            if ":" not in pattern:
                raise malformed(NO_VENDOR)
            raise self.fault("an action has the form service:Name, with wildcards in the name only")
        return ActionSet.of(patterns, negated=negated)

    def resources(self, patterns: Iterable[str], *, negated: bool) -> ResourceSet:
        """Compile the resources. ValueError for a pattern that is neither `*` nor an ARN."""
        allows = self.effect() is Effect.ALLOW
        try:
            return ResourceSet.of(patterns, negated=negated, variables=self.variables, allows=allows)
        except VariableError as error:
            raise self.fault(str(error)) from error

    def conditions(self) -> tuple[Condition, ...]:
        """Compile the Condition element; none when it is absent or an empty object.

        Beside the faults of the grammar raises ConditionArnError for a value that should be an ARN.
        """
        element = self.raw.get("Condition", {})
        if not isinstance(element, dict):
            raise self.fault("Condition must be an object")
        return tuple(
            self._condition(operator, key, value)
            for operator, keys in element.items()
            for key, value in self._operands(keys).items()
        )

    def _operands(self, keys: object) -> dict[str, object]:
        if not isinstance(keys, dict) or not keys:
            raise self.fault("a condition operator must have an object of condition keys")
        return keys

    def _condition(self, operator: str, key: str, value: object) -> Condition:
        if not is_text(key):
            raise self.fault("a condition key must be text")
        if not is_vendor_key(key):
            raise malformed(NO_VENDOR)
        texts = [_scalar(each) for each in (value if isinstance(value, list) else [value])]
        values = [text for text in texts if text is not None]
        if not values or len(values) != len(texts):
            raise self.fault("the values of a condition key must be a string, number or boolean, or a list of them")
        allows = self.effect() is Effect.ALLOW
        try:
            return compile_condition(operator, key, values, variables=self.variables, allows=allows)
        except UnknownOperatorError as error:
            raise self.fault("Condition has an operator unknown to the policy language") from error
        except ConditionArnError:
            raise
        except (ConditionValueError, VariableError) as error:
            raise self.fault(f"in Condition, {error}") from error


def _scalar(value: object) -> str | None:
    """A condition value as text: a string, a number as written, or a boolean."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, JsonNumber):
        return value.literal
    return value if isinstance(value, str) and is_text(value) else None
