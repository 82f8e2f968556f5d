"""Which audit records are meant: `ATTRIBUTE=VALUE` and pairs of the encryption context."""

from __future__ import annotations

from collections.abc import Sequence

from kagitori.kms.v1.audit_pb2 import LookupAttribute, LookupAttributeKey
from kagitori_client.cli.arguments import pairs
from kagitori_client.cli.failures import UsageError

_PREFIX = "LOOKUP_ATTRIBUTE_KEY_"
ATTRIBUTES = {
    name.removeprefix(_PREFIX).lower().replace("_", "-"): number
    for name, number in LookupAttributeKey.items()
    if number not in (
        LookupAttributeKey.LOOKUP_ATTRIBUTE_KEY_UNSPECIFIED, LookupAttributeKey.LOOKUP_ATTRIBUTE_KEY_ENCRYPTION_CONTEXT
    )
}
"""What --filter takes, with the numbers of the contract."""


def filters(only: Sequence[str] | None, context: Sequence[str] | None) -> list[LookupAttribute]:
    """The selections of a request. Raises UsageError."""
    found = [_attribute(text) for text in only or ()]
    for name, value in pairs(context, "--context").items():
        found.append(LookupAttribute(
            attribute_key=LookupAttributeKey.LOOKUP_ATTRIBUTE_KEY_ENCRYPTION_CONTEXT, context_key=name,
            attribute_value=value,
        ))
    return found


def _attribute(text: str) -> LookupAttribute:
    name, equals, value = text.partition("=")
    if not equals or not value or name not in ATTRIBUTES:
        raise UsageError(
            f"--filter wants ATTRIBUTE=VALUE, not {text!r}", hint=f"attributes: {', '.join(ATTRIBUTES)}"
        )
    return LookupAttribute(attribute_key=ATTRIBUTES[name], attribute_value=value)
