"""Names of resources: AWS ARNs, key ids and alias names, parsed strictly.

A key may be named four ways (AWS `KeyId` member): key id, key ARN, alias name, alias ARN. `parse_key_reference`
tells them apart without looking anything up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from kagitori_server.model.errors import InvalidAliasNameException, InvalidArnException, NotFoundException

PARTITION_PATTERN = r"aws[a-z-]{0,24}"
REGION_PATTERN = r"[a-z0-9][a-z0-9-]{0,62}"
ACCOUNT_PATTERN = r"[0-9]{12}"
KEY_ID_PATTERN = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|mrk-[0-9a-f]{32}"
ALIAS_PATTERN = r"alias/[a-zA-Z0-9:/_-]{1,250}"

_KEY_ID = re.compile(KEY_ID_PATTERN)
_ALIAS = re.compile(ALIAS_PATTERN)
_KMS_ARN = re.compile(
    rf"arn:(?P<partition>{PARTITION_PATTERN}):kms:(?P<region>{REGION_PATTERN}):(?P<account>{ACCOUNT_PATTERN})"
    rf":(?:key/(?P<key>{KEY_ID_PATTERN})|(?P<alias>{ALIAS_PATTERN}))"
)
ACCOUNT_ID = re.compile(ACCOUNT_PATTERN)
REGION = re.compile(REGION_PATTERN)

RESERVED_ALIAS_PREFIX = "alias/aws/"
SERVICE_ALIAS_PREFIX = "alias/kagitori/"


class ReferenceKind(Enum):
    """Which of the four forms a caller used to name a key."""

    KEY_ID = "key id"
    KEY_ARN = "key ARN"
    ALIAS_NAME = "alias name"
    ALIAS_ARN = "alias ARN"


@dataclass(frozen=True, slots=True)
class KeyReference:
    """A key as the caller named it. `account` and `region` are None in the forms that leave them open."""

    kind: ReferenceKind
    name: str
    """The key id, or the alias name with its `alias/` prefix."""
    account: str | None = None
    region: str | None = None

    @property
    def is_alias(self) -> bool:
        """True for an alias name or alias ARN."""
        return self.kind in (ReferenceKind.ALIAS_NAME, ReferenceKind.ALIAS_ARN)


def parse_key_reference(text: str, partition: str, *, alias_allowed: bool) -> KeyReference:
    """Tell which key `text` names.

    Raises NotFoundException for what can't be a key id (as AWS answers), InvalidArnException for a malformed or
    foreign ARN and for an alias where the operation takes none.
    """
    if _KEY_ID.fullmatch(text):
        return KeyReference(ReferenceKind.KEY_ID, text)
    if text.startswith("arn:"):
        reference = _parse_arn(text, partition)
    elif text.startswith("alias/"):
        if not _ALIAS.fullmatch(text):
            raise NotFoundException(f"Alias {shortened(text)} is not found.")
        reference = KeyReference(ReferenceKind.ALIAS_NAME, text)
    else:
        raise NotFoundException(f"Invalid keyId '{shortened(text)}'")
    if reference.is_alias and not alias_allowed:
        raise InvalidArnException(
            f"{shortened(text)} names an alias; this operation takes a key id or key ARN."
        )
    return reference


def _parse_arn(text: str, partition: str) -> KeyReference:
    found = _KMS_ARN.fullmatch(text)
    if found is None or found["partition"] != partition:
        raise InvalidArnException(f"Invalid arn {shortened(text)}")
    if found["key"]:
        return KeyReference(ReferenceKind.KEY_ARN, found["key"], found["account"], found["region"])
    return KeyReference(ReferenceKind.ALIAS_ARN, found["alias"], found["account"], found["region"])


def check_new_alias_name(name: str) -> None:
    """Refuse a name that a customer may not give an alias (AWS CreateAlias).

    Raises InvalidAliasNameException.
    """
    if not name.startswith("alias/"):
        raise InvalidAliasNameException("Alias must start with the prefix \"alias/\". Please see the AWS KMS "
                                        "naming rules: alias/ followed by letters, digits, : / _ or -.")
    if name.lower().startswith(RESERVED_ALIAS_PREFIX):
        raise InvalidAliasNameException("Aliases that begin with alias/aws/ are reserved.")
    if name.lower().startswith(SERVICE_ALIAS_PREFIX):
        raise InvalidAliasNameException("Aliases that begin with alias/kagitori/ are for the service's own keys.")
    if not _ALIAS.fullmatch(name):
        raise InvalidAliasNameException(
            "An alias is alias/ followed by 1 to 250 characters of a-z, A-Z, 0-9, : / _ and -."
        )


def key_arn(partition: str, region: str, account: str, key_id: str) -> str:
    """`arn:PARTITION:kms:REGION:ACCOUNT:key/ID`."""
    return f"arn:{partition}:kms:{region}:{account}:key/{key_id}"


def alias_arn(partition: str, region: str, account: str, alias_name: str) -> str:
    """`arn:PARTITION:kms:REGION:ACCOUNT:alias/NAME` for an `alias_name` that has its prefix."""
    return f"arn:{partition}:kms:{region}:{account}:{alias_name}"


def service_arn(partition: str, service: str, region: str, account: str) -> str:
    """The resource against which actions without a resource are decided: only `*` patterns match it."""
    return f"arn:{partition}:{service}:{region}:{account}:*"


def root_arn(partition: str, account: str) -> str:
    """The root user of an account, which also names the account as a whole in key policies."""
    return f"arn:{partition}:iam::{account}:root"


def entity_arn(partition: str, account: str, kind: str, path: str, name: str) -> str:
    """`arn:PARTITION:iam::ACCOUNT:KIND/PATH/NAME`: a `user`, `role`, `group` or `policy`; the path with its slashes."""
    return f"arn:{partition}:iam::{account}:{kind}{path}{name}"


def budget_arn(partition: str, account: str, name: str) -> str:
    """`arn:PARTITION:kagitori::ACCOUNT:budget/NAME`."""
    return f"arn:{partition}:kagitori::{account}:budget/{name}"


def trail_arn(partition: str, region: str, account: str, name: str) -> str:
    """`arn:PARTITION:cloudtrail:REGION:ACCOUNT:trail/NAME`."""
    return f"arn:{partition}:cloudtrail:{region}:{account}:trail/{name}"


def shortened(text: str, limit: int = 128) -> str:
    """What a message may repeat of a caller's text: printable characters, at most `limit` of them."""
    cut = text if len(text) <= limit else text[:limit] + "..."
    return "".join(c if c.isprintable() else "\ufffd" for c in cut)
