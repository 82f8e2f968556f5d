"""A service with a key and people to grant something to: what tests of grants share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.support.inprocess import HOME, InProcess

TENANT = "111111111111"
PAIRS = {"app": "shop", "stage": "live"}


def user(name: str, account: str = HOME) -> str:
    """The ARN of a user."""
    return f"arn:aws:iam::{account}:user/{name}"


class Keyholder:
    """The home account's root user, who owns a key and grants."""

    def __init__(self, service: InProcess) -> None:
        self.service = service
        self.key_id: str = service.call("CreateKey").key_metadata.key_id
        self.key_arn: str = service.call("DescribeKey", {"key_id": self.key_id}).key_metadata.arn

    def grant(self, grantee: str, *operations: str, token: str | None = None, **values: Any) -> Any:
        """The answer of CreateGrant; `grantee` is an ARN or a user's name."""
        arn = grantee if grantee.startswith("arn:") else user(grantee)
        members = {"key_id": self.key_arn, "grantee_principal": arn, "operations": operations, **values}
        return self.service.call("CreateGrant", members, token=token)

    def encrypt(self, token: str, context: Mapping[str, str] | None = None, **values: Any) -> bytes:
        """The ciphertext of Encrypt, by whom `token` proves."""
        members = {"key_id": self.key_arn, "plaintext": b"p", **values}
        if context is not None:
            members["encryption_context"] = context
        blob: bytes = self.service.call("Encrypt", members, token=token).ciphertext_blob
        return blob

    def grant_ids(self, **values: Any) -> list[str]:
        """The ids that ListGrants lists."""
        return [entry.grant_id for entry in self.service.call("ListGrants", {"key_id": self.key_id, **values}).grants]
