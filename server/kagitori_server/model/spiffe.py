"""SPIFFE IDs (SPIFFE-ID.md, sections 2 and 2.4) and patterns of them.

A pattern is a SPIFFE ID of whose path segments some are `*`, which stands for any one segment. No SPIFFE ID holds a
`*`, so what is meant is never in doubt.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

SCHEME = "spiffe://"
ID_MAX = 2_048
"""Bytes of a SPIFFE ID."""
ANY = "*"

_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_SEGMENT = re.compile(r"[A-Za-z0-9._-]+")


class SpiffeIdRefused(ValueError):
    """The text is no SPIFFE ID; the message says why without repeating it."""


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """A SPIFFE ID of a workload or, where segments are `*`, a pattern."""

    trust_domain: str
    segments: tuple[str, ...]

    @property
    def path(self) -> str:
        """With its leading slash."""
        return "/" + "/".join(self.segments)

    @property
    def uri(self) -> str:
        """The ID or pattern as it is written."""
        return f"{SCHEME}{self.trust_domain}{self.path}"

    @property
    def is_pattern(self) -> bool:
        """Whether it stands for many."""
        return ANY in self.segments

    def overlaps(self, other: SpiffeId) -> bool:
        """Whether some SPIFFE ID fits both. For an ID and a pattern: whether it fits the pattern."""
        return (
            self.trust_domain == other.trust_domain
            and len(self.segments) == len(other.segments)
            and all(
                mine == its or ANY in (mine, its) for mine, its in zip(self.segments, other.segments, strict=True)
            )
        )


def is_spiffe(uri: str) -> bool:
    """Whether a URI means to be a SPIFFE ID, well formed or not."""
    return uri[:7].lower() == "spiffe:"


@lru_cache(maxsize=4_096)
def spiffe_id_or_none(text: str) -> SpiffeId | None:
    """The SPIFFE ID or pattern that a text is, None when it is neither."""
    try:
        return parse_spiffe_id(text, pattern=True)
    except SpiffeIdRefused:
        return None


def parse_spiffe_id(text: str, *, pattern: bool = False) -> SpiffeId:
    """Reads the SPIFFE ID of a workload, and with `pattern` a pattern too. Raises SpiffeIdRefused.

    The scheme and the trust domain have to be in lower case; there is no port, user, query, fragment or percent
    encoding, and no segment that is empty or means a folder. The ID of a trust domain itself is no workload's.
    """
    if len(text) > ID_MAX or not text.startswith(SCHEME):
        raise SpiffeIdRefused(f"a SPIFFE ID begins with {SCHEME} and has at most {ID_MAX} characters")
    trust_domain, slash, path = text.removeprefix(SCHEME).partition("/")
    if not _TRUST_DOMAIN.fullmatch(trust_domain):
        raise SpiffeIdRefused("a trust domain consists of a-z, 0-9, dots, hyphens and underscores")
    if not slash:
        raise SpiffeIdRefused("a workload's SPIFFE ID has a path")
    segments = tuple(path.split("/"))
    for segment in segments:
        if pattern and segment == ANY:
            continue
        if not _SEGMENT.fullmatch(segment) or segment in (".", ".."):
            raise SpiffeIdRefused("the segments of its path consist of A-Z, a-z, 0-9, dots, hyphens and underscores")
    return SpiffeId(trust_domain, segments)
