"""Shapes of the operations that prove single audit records (RFC 9162)."""

from __future__ import annotations

from dataclasses import dataclass

from kagitori_server.model.shape import member
from kagitori_server.operations.shapes.principals import account_id

_ID = "[A-Za-z0-9-]+"
_ORIGIN_MAX = 512
_MOST_RECORDS = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class GetTreeHeadRequest:
    """What GetTreeHead takes."""

    origin: str | None = member(minimum=1, maximum=_ORIGIN_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class GetTreeHeadResponse:
    """What GetTreeHead answers. `root_hash` is 32 bytes; `checkpoint` is a C2SP tlog-checkpoint."""

    chain_name: str
    origin: str
    tree_size: int
    root_hash: bytes
    checkpoint: str
    verifier_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetInclusionProofRequest:
    """What GetInclusionProof takes: exactly one of the last three."""

    account_id: str | None = account_id()
    origin: str | None = member(minimum=1, maximum=_ORIGIN_MAX)
    event_id: str | None = member(minimum=1, maximum=128, pattern=_ID)
    request_id: str | None = member(minimum=1, maximum=128, pattern=_ID)
    leaf_index: int | None = member(minimum=0, maximum=_MOST_RECORDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class InclusionProof:
    """That a record is in a tree. `proof` is a C2SP tlog-proof."""

    leaf_index: int
    leaf_hash: bytes
    hashes: tuple[bytes, ...]
    proof: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GetInclusionProofResponse:
    """What GetInclusionProof answers."""

    origin: str
    tree_size: int
    root_hash: bytes
    checkpoint: str
    proofs: tuple[InclusionProof, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetConsistencyProofRequest:
    """What GetConsistencyProof takes."""

    origin: str | None = member(minimum=1, maximum=_ORIGIN_MAX)
    first_size: int = member(required=True, minimum=1, maximum=_MOST_RECORDS)
    second_size: int | None = member(minimum=1, maximum=_MOST_RECORDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class GetConsistencyProofResponse:
    """What GetConsistencyProof answers."""

    origin: str
    first_size: int
    first_root_hash: bytes
    second_size: int
    second_root_hash: bytes
    hashes: tuple[bytes, ...]
