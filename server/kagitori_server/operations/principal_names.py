"""Principals as policies name them: from an ARN to the unique id that it stands for at this moment."""

from __future__ import annotations

import re
from collections.abc import Callable

from kagitori_server.model.arn import ACCOUNT_ID, ACCOUNT_PATTERN, PARTITION_PATTERN
from kagitori_server.model.principals import PrincipalKind
from kagitori_server.storage.reader import Reader

_OWNER = rf"(?P<account>{ACCOUNT_PATTERN})"
_IAM = re.compile(rf"arn:(?P<partition>{PARTITION_PATTERN}):iam::{_OWNER}:(?P<what>root|(?:user|role)/.+)")
_SESSION = re.compile(
    rf"arn:(?P<partition>{PARTITION_PATTERN}):sts::{_OWNER}:assumed-role/(?P<role>[^/]+)/(?P<session>[^/]+)"
)


def resolver(reader: Reader, partition: str) -> Callable[[str], str | None]:
    """A function from a principal's ARN (or 12-digit account id) to its unique id, None for nobody.

    Accounts and root users stand for the account id, role sessions for `AROA…:session`.
    """

    def resolve(name: str) -> str | None:
        if ACCOUNT_ID.fullmatch(name):
            return name if reader.get_account(name) else None
        if (iam := _IAM.fullmatch(name)) and iam["partition"] == partition:
            if iam["what"] == "root":
                return iam["account"] if reader.get_account(iam["account"]) else None
            found = reader.get_principal(name)
            return found.principal_id if found else None
        if (session := _SESSION.fullmatch(name)) and session["partition"] == partition:
            role = reader.find_principal(session["account"], PrincipalKind.ROLE, session["role"])
            # Exactly as it is written: conditions on whom a grant names compare the text.
            return f"{role.principal_id}:{session['session']}" if role and role.name == session["role"] else None
        return None

    return resolve
