"""Builds the tree of one chain by reading the chain from where it left off.

    AUDIT/trees/chain-00/cursor       JSON: the chain by the hash of its first line, how many leaves are in full tiles,
                                      and where in the chain the next one begins
    AUDIT/trees/chain-00/checkpoint   the newest checkpoint that was published
    AUDIT/trees/chain-00/tile/        the tiles; those that aren't full belong to that checkpoint

The leaf of a record is its event: the bytes between `"event":` and the brace that ends its line. Record `seq` is leaf
`seq` - 1. A crash costs no more than the cursor is behind; a folder that was lost or damaged is built anew, as long as
the chain has all of its records.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import NamedTuple

from kagitori_server.audit.backwards import Cursor
from kagitori_server.audit.forwards import Stretch, chain_forwards
from kagitori_server.audit.pruned import StatementsDamagedError, chain_beginning
from kagitori_server.transparency import merkle
from kagitori_server.transparency.notes import MAX_NOTE_BYTES, Head, read_head
from kagitori_server.transparency.tiles import TILE_WIDTH, TileDamagedError, TileFolder, TileTree, sync

_log = logging.getLogger(__name__)

TREES = "trees"
CHECKPOINT = "checkpoint"
_CURSOR = "cursor"
_CURSOR_BYTES = 4096
_PREV = b',"prev":"'
_EVENT = b'","event":'
_EVENT_OPENED = _EVENT + b"{"
_HASH_DIGITS = 64
_EVENT_AFTER = len(_PREV) + _HASH_DIGITS + len(_EVENT)


class TreeBrokenError(Exception):
    """The chain is not what a published checkpoint says of it, or has a gap: nothing of it may be signed any more."""


class Leaf(NamedTuple):
    """A record as a leaf."""

    seq: int
    event: bytes


class _Saved(NamedTuple):
    """A place behind a full tile."""

    size: int
    place: Cursor


class ChainTree:
    """The tree of a chain. Not thread-safe; everything blocks and raises OSError."""

    def __init__(self, chain_dir: Path, tree_dir: Path, first: str) -> None:
        """`first` is the hash of the chain's first line. Continues what is in `tree_dir`, or begins anew."""
        self._chain_dir = chain_dir
        self._dir = tree_dir
        self._first = first
        self._folder = TileFolder(tree_dir)
        self.tiles = TileTree(self._folder)
        self._place = Cursor(1, 0)
        self._full = self._kept = _Saved(0, self._place)
        self._published = read_checkpoint(tree_dir)
        self._checked = self._published is None
        self._resumed = False
        self._resume()

    @property
    def size(self) -> int:
        """How many records are in the tree."""
        return self.tiles.size

    @property
    def kept(self) -> int:
        """Up to which record the tree doesn't need the chain any more, even after a crash."""
        return self._kept.size

    @property
    def published(self) -> Head | None:
        """What the newest published checkpoint says."""
        return self._published

    def root(self, size: int) -> bytes:
        """The root of the first `size` records. Raises TileDamagedError."""
        return merkle.root(self.tiles.node, size)

    def step(self, seq: int | None, stop: Cursor | None) -> bool:
        """Reads a stretch of the chain on, up to record `seq` or to `stop`. Returns whether there may be more.

        Raises TreeBrokenError for a chain with a gap.
        """
        if seq is not None and self.size >= seq:
            return False
        stretch = next(chain_forwards(self._chain_dir, self._place, stop), None)
        if stretch is None:
            return False
        self._add(stretch, seq)
        return True

    def check(self) -> bool:
        """Whether the published checkpoint is of this tree. False as long as fewer records have been read.

        Raises TreeBrokenError if it isn't although the tree was built anew.
        """
        known = self._published
        if self._checked or known is None:
            return True
        if known.size > self.size:
            return False
        try:
            agrees = self.root(known.size) == known.root
        except TileDamagedError:
            agrees = False
        if not agrees:
            if self._resumed:
                # Tiles are no evidence, the chain is.
                _log.warning("the tree of audit chain %s is built anew: its tiles are damaged", self._chain_dir.name)
                self.rebuild()
                return False
            raise TreeBrokenError(f"{self._chain_dir.name} differs from its checkpoint of {known.size} records")
        self._checked = True
        return True

    def rebuild(self) -> None:
        """Forgets all tiles; what follows reads the chain from its beginning."""
        self.tiles = TileTree(self._folder)
        self._place = Cursor(1, 0)
        self._full = self._kept = _Saved(0, self._place)
        self._resumed = False
        # From now on nothing of the chain may be removed, whatever happens.
        (self._dir / _CURSOR).unlink(missing_ok=True)

    def save(self) -> None:
        """Makes durable what is in full tiles, so that a restart continues there."""
        if self._full.size == self._kept.size:
            return
        if durable_size(self._dir, self._first) >= self._full.size:
            # Another process follows a chain that nobody writes, too, and has come further.
            self._kept = self._full
            return
        self._folder.sync()
        size, place = self._full
        state = {"first": self._first, "size": size, "segment": place.segment, "offset": place.offset}
        _replace(self._dir / _CURSOR, json.dumps(state).encode())
        self._kept = self._full

    def publish(self, note: str, head: Head) -> None:
        """Puts a checkpoint of the present size beside the tiles, and with it the partial tiles that go with it."""
        for level, tile, data in self.tiles.partial():
            self._folder.write_partial(level, tile, data)
        _replace(self._dir / CHECKPOINT, note.encode())
        self._published = head

    def _resume(self) -> None:
        saved = _read_cursor(self._dir / _CURSOR, self._first)
        if saved is None:
            return
        try:
            self.tiles.resume(saved.size)
        except TileDamagedError:
            _log.warning("the tree of audit chain %s is built anew: a tile is missing", self._chain_dir.name)
            self.tiles = TileTree(self._folder)
            return
        self._full = self._kept = saved
        self._place = saved.place
        self._resumed = True

    def _add(self, stretch: Stretch, until: int | None) -> None:
        segment = stretch.end.segment
        offset = stretch.end.offset - sum(map(len, stretch.lines)) - len(stretch.lines)
        tiles = self.tiles
        for line in stretch.lines:
            following = tiles.size + 1
            if until is not None and following > until:
                self._place = Cursor(segment, offset)
                return
            offset += len(line) + 1
            event = _event_of(line, following)
            if event is None:
                leaf = read_leaf(line)
                if leaf is None or leaf.seq > following:
                    raise TreeBrokenError(f"{self._chain_dir.name} has no record {following} where it belongs")
                # Left behind by an append that failed.
                continue
            tiles.append(merkle.leaf_hash(event))
            if not tiles.size % TILE_WIDTH:
                self._full = _Saved(tiles.size, Cursor(segment, offset))
        self._place = stretch.end


def _event_of(line: bytes, seq: int) -> bytes | None:
    """The event of record `seq`; None for any other line. What nearly all lines are, without taking them apart."""
    start = b'{"seq":%d,"prev":"' % seq
    event = len(start) + _HASH_DIGITS + len(_EVENT)
    if line.startswith(start) and line.startswith(_EVENT_OPENED, event - len(_EVENT)) and line.endswith(b"}}"):
        return line[event:-1]
    return None


def read_leaf(line: bytes) -> Leaf | None:
    """The leaf in a line of a chain, without parsing it; None for what isn't a line."""
    comma = line.find(b",", 7, 27)
    digits = line[7:comma]
    event = comma + _EVENT_AFTER
    if (
        not line.startswith(b'{"seq":') or not digits.isdigit() or not line.endswith(b"}}")
        or not line.startswith(_PREV, comma) or not line.startswith(_EVENT_OPENED, event - len(_EVENT))
    ):
        return None
    return Leaf(int(digits), line[event:-1])


def first_line_hash(chain_dir: Path) -> str | None:
    """The hash by which a chain is known, of its first line, also if that was pruned; None while there is none."""
    try:
        found = chain_beginning(chain_dir)
    except StatementsDamagedError as error:
        _log.error("audit chain %s isn't followed: %s", chain_dir.name, error)
        return None
    return None if found is None else found[0]


def read_checkpoint(tree_dir: Path) -> Head | None:
    """What the published checkpoint says; None if there is none that can be read."""
    try:
        with (tree_dir / CHECKPOINT).open("rb") as file:
            return read_head(file.read(MAX_NOTE_BYTES + 1).decode())
    except (FileNotFoundError, UnicodeDecodeError):
        return None


def durable_size(tree_dir: Path, first: str) -> int:
    """How many leaves of the chain whose first line has that hash are in full tiles on the disk."""
    saved = _read_cursor(tree_dir / _CURSOR, first)
    return 0 if saved is None else saved.size


def _read_cursor(path: Path, first: str) -> _Saved | None:
    try:
        with path.open("rb") as file:
            state = json.loads(file.read(_CURSOR_BYTES))
        size, segment, offset = int(state["size"]), int(state["segment"]), int(state["offset"])
        if state["first"] != first:
            return None
    except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
        return None
    good = size > 0 and size % TILE_WIDTH == 0 and segment > 0 and offset >= 0
    return _Saved(size, Cursor(segment, offset)) if good else None


def _replace(path: Path, data: bytes) -> None:
    """Writes a file so that after a crash either the old or the new one is there, whole."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    fresh.replace(path)
    sync(path.parent)
