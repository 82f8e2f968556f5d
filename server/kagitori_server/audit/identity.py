"""Who called, as a record's `userIdentity`. Rendered once for a principal and kept with it."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from datetime import UTC, datetime

INTERNAL = "AWS Internal"
"""Where what the service does by itself comes from, and who invokes it: CloudTrail's words."""


class IdentityType(enum.StrEnum):
    """CloudTrail's kinds of callers."""

    ROOT = "Root"
    IAM_USER = "IAMUser"
    ASSUMED_ROLE = "AssumedRole"
    ROLE = "Role"
    FEDERATED_USER = "FederatedUser"
    AWS_ACCOUNT = "AWSAccount"
    AWS_SERVICE = "AWSService"
    WEB_IDENTITY_USER = "WebIdentityUser"
    SAML_USER = "SAMLUser"
    INTERNAL = ""
    """The service itself (rotation, deletion when due): such records carry no type, only `invokedBy`."""
    UNKNOWN = "Unknown"


_REQUIRED: dict[IdentityType, tuple[str, ...]] = {
    IdentityType.ROOT: ("principalId", "arn", "accountId"),
    IdentityType.IAM_USER: ("principalId", "arn", "accountId", "userName"),
    IdentityType.ASSUMED_ROLE: ("principalId", "arn", "accountId", "sessionContext"),
    IdentityType.ROLE: ("principalId", "arn", "accountId"),
    IdentityType.FEDERATED_USER: ("principalId", "arn", "accountId", "sessionContext"),
    IdentityType.AWS_ACCOUNT: ("principalId", "accountId"),
    IdentityType.AWS_SERVICE: ("invokedBy",),
    IdentityType.WEB_IDENTITY_USER: ("principalId", "userName", "identityProvider"),
    IdentityType.SAML_USER: ("principalId", "userName", "identityProvider"),
    IdentityType.INTERNAL: ("accountId", "invokedBy"),
    IdentityType.UNKNOWN: (),
}


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """The session of temporary credentials: the role (or user) behind it, when it began (epoch seconds),
    how.
    """

    issuer_type: str
    issuer_principal_id: str
    issuer_arn: str
    issuer_account_id: str
    issuer_user_name: str
    creation_time: float
    mfa_authenticated: bool = False
    source_identity: str | None = None
    federated_provider: str | None = None


def render_identity(
    kind: IdentityType,
    *,
    principal_id: str | None = None,
    arn: str | None = None,
    account_id: str | None = None,
    access_key_id: str | None = None,
    user_name: str | None = None,
    session: SessionFacts | None = None,
    identity_provider: str | None = None,
    invoked_by: str | None = None,
) -> bytes:
    """The JSON of `userIdentity`, ASCII. Raises ValueError if the kind lacks a member it must have.

    `access_key_id` is the public half of a credential (never a secret or a token). A caller who could not be
    authenticated is `UNKNOWN`, with no more than what may be said of it; the service's own doings are
    `INTERNAL` with `invoked_by` "AWS Internal", as CloudTrail calls it.
    """
    members: dict[str, object] = {
        "type": kind.value or None,
        "principalId": principal_id,
        "arn": arn,
        "accountId": account_id,
        "accessKeyId": access_key_id,
        "userName": user_name,
        "sessionContext": None if session is None else _session_context(session),
        "identityProvider": identity_provider,
        "invokedBy": invoked_by,
    }
    missing = [name for name in _REQUIRED[kind] if members[name] is None]
    if missing:
        raise ValueError(f"a caller of kind {kind.name} lacks {', '.join(missing)}")
    present = {name: value for name, value in members.items() if value is not None}
    return json.dumps(present, separators=(",", ":"), allow_nan=False).encode("ascii")


def _session_context(session: SessionFacts) -> dict[str, object]:
    created = datetime.fromtimestamp(session.creation_time, UTC)
    context: dict[str, object] = {
        "sessionIssuer": {
            "type": session.issuer_type,
            "principalId": session.issuer_principal_id,
            "arn": session.issuer_arn,
            "accountId": session.issuer_account_id,
            "userName": session.issuer_user_name,
        },
    }
    if session.federated_provider is not None:
        context["webIdFederationData"] = {"federatedProvider": session.federated_provider, "attributes": {}}
    context["attributes"] = {
        "creationDate": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        # CloudTrail writes this one as a string.
        "mfaAuthenticated": "true" if session.mfa_authenticated else "false",
    }
    if session.source_identity is not None:
        context["sourceIdentity"] = session.source_identity
    return context
