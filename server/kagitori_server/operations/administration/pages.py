"""Pages of AdminService's lists, some entries of which are left out after they were read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from kagitori_server.operations.paging import cut, decode_marker, encode_marker

DEFAULT_PAGE = 100

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """The entries of one page, and where the next one starts. It may be shorter than asked for, even empty,
    without being the last."""

    items: tuple[Item, ...]
    next_marker: str | None

    @property
    def truncated(self) -> bool:
        """Whether there is more."""
        return self.next_marker is not None


def read_page(
    listing: str,
    marker: str | None,
    limit: int | None,
    fetch: Callable[[str, int], Sequence[Item]],
    name_of: Callable[[Item], str],
    wanted: Callable[[Item], bool] = lambda _: True,
) -> Page[Item]:
    """`fetch` reads so many entries after a name, in the order of names. Raises InvalidMarkerException."""
    after = decode_marker(listing, marker)
    size = limit or DEFAULT_PAGE
    page, more = cut(fetch(after, size + 1), size)
    return Page(tuple(filter(wanted, page)), encode_marker(listing, name_of(page[-1])) if more else None)
