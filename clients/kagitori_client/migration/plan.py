"""What is to be made of a key of AWS, decided before anything is done. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kagitori_client.errors import ConfigurationError
from kagitori_client.migration.source import SourceKey

ORIGIN_TAG = "kagitori:imported-from"
"""The tag that keeps a key's ARN in AWS: by it a second run finds what the first one made."""
TAGS_MAX = 50
"""Tags of a key (AWS KMS quota)."""

_RESERVED = "aws:"
"""How tags begin that AWS itself sets, CloudFormation for one; nobody else may, there and here."""
_ACCOUNT = re.compile(r"[0-9]{12}")
_TOO_FAR_GONE = ("PendingDeletion", "PendingReplicaDeletion")


@dataclass(frozen=True, slots=True)
class Wishes:
    """How keys are to be moved.

    `accounts` are accounts of AWS -> accounts here, written anew wherever a policy names them. `materials` are ARNs
    -> files with the material that was imported into these keys.
    """

    accounts: Mapping[str, str] = field(default_factory=dict)
    materials: Mapping[str, str] = field(default_factory=dict)
    keep_policies: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """One key to be made, or `skipped` with the reason. `notes` are for whoever moves: what doesn't come along."""

    source: SourceKey
    policy: str | None
    tags: Mapping[str, str]
    material: str | None
    skipped: str | None
    notes: tuple[str, ...]


def read_accounts(pairs: Mapping[str, str]) -> dict[str, str]:
    """Checks a map of accounts. Raises ConfigurationError."""
    for account in (*pairs, *pairs.values()):
        if not _ACCOUNT.fullmatch(account):
            raise ConfigurationError(f"{account!r} is no account: these have 12 digits")
    return dict(pairs)


def plan(source: SourceKey, wishes: Wishes) -> Plan:
    """What is to be made of one key."""
    material = next((wishes.materials[name] for name in (source.arn, source.key_id) if name in wishes.materials), None)
    policy = rewritten(_about_itself(source), wishes.accounts) if wishes.keep_policies else None
    return Plan(
        source=source,
        policy=policy,
        tags={**_own_tags(source), ORIGIN_TAG: source.arn},
        material=material,
        skipped=_reason_to_skip(source),
        notes=(*_notes(source, material), *(() if policy is None else _doubts(policy))),
    )


def rewritten(policy: str, accounts: Mapping[str, str]) -> str:
    """A policy with accounts exchanged wherever their 12 digits stand by themselves, all in one go."""
    return re.sub(r"(?<![0-9])[0-9]{12}(?![0-9])", lambda found: accounts.get(found[0], found[0]), policy)


def _own_tags(source: SourceKey) -> dict[str, str]:
    return {name: value for name, value in source.tags.items() if not name.lower().startswith(_RESERVED)}


def _about_itself(source: SourceKey) -> str:
    """The policy with `*` for the key's ARN, which is another one here: as a resource both mean the key itself."""
    document = json.loads(source.policy)
    changed = False
    for statement in _statements(document):
        named = _resources(statement)
        if source.arn in named:
            statement["Resource"] = ["*" if each == source.arn else each for each in named]
            changed = True
    return json.dumps(document, ensure_ascii=False) if changed else source.policy


def _statements(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = document.get("Statement", [])
    return found if isinstance(found, list) else [found]


def _resources(statement: Mapping[str, Any]) -> list[str]:
    found = statement.get("Resource", [])
    return found if isinstance(found, list) else [found]


def _doubts(policy: str) -> Iterator[str]:
    for statement in _statements(json.loads(policy)):
        for name in _resources(statement):
            if name != "*":
                yield f"its policy names the resource {name}: where that isn't the key here, the statement does nothing"


def _reason_to_skip(source: SourceKey) -> str | None:
    if source.state in _TOO_FAR_GONE:
        return "it is about to be deleted"
    if source.multi_region_type == "REPLICA":
        return "it is a replica: move its primary key, and replicate that"
    if source.origin not in ("AWS_KMS", "EXTERNAL"):
        return f"its material is in a custom key store (origin {source.origin})"
    tags = _own_tags(source)
    if len(tags) >= TAGS_MAX and ORIGIN_TAG not in tags:
        return f"it has {len(tags)} tags, and the one that tells where it comes from has no room"
    return None


def _notes(source: SourceKey, material: str | None) -> Sequence[str]:
    notes = []
    if source.origin == "AWS_KMS":
        notes.append("new key material: what AWS encrypted has to be decrypted there and encrypted here")
    elif material is None:
        notes.append("waits for its imported material: kagitori key import")
    else:
        notes.append("same material; ciphertexts of AWS KMS still can't be read here, their format is AWS's")
    left = sorted(source.tags.keys() - _own_tags(source).keys())
    if left:
        notes.append(f"tags of AWS itself stay there: {', '.join(left)}")
    if source.grants:
        notes.append(f"{source.grants} grants were not moved")
    return notes
