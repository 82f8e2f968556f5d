"""Finds records by their ids, newest first, without parsing what isn't wanted."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from kagitori_server.audit.backwards import chain_backwards, chain_end
from kagitori_server.audit.chain import chain_names
from kagitori_server.audit.matching import parse_record
from kagitori_server.transparency.following import read_leaf

MOST_FOUND = 100


class FoundRecord(NamedTuple):
    """A record and where it is."""

    chain: str
    seq: int
    event: bytes


def find_records(root: Path, chains: list[str] | None, account: str, member: str, value: str) -> list[FoundRecord]:
    """The records kept for `account` whose `member` (`eventID` or `requestID`) is `value`, at most 100 of them, oldest
    first. Those of one call stand together, in one chain. Reads all of `chains` (None: of every one) if there is none;
    raises OSError."""
    needle = f'"{member}":"{value}"'.encode("ascii", "replace")
    for chain in chain_names(root) if chains is None else chains:
        found: list[FoundRecord] = []
        for line in chain_backwards(root / chain, chain_end(root / chain)):
            if needle not in line.data:
                if found:
                    break
                continue
            record, leaf = parse_record(line.data) or {}, read_leaf(line.data)
            if leaf is not None and record.get(member) == value and record.get("recipientAccountId") == account:
                found.append(FoundRecord(chain, leaf.seq, leaf.event))
                if member == "eventID" or len(found) == MOST_FOUND:
                    break
        if found:
            return found[::-1]
    return []
