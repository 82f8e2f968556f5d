"""A growing Merkle tree whose full parts lie on the disk as C2SP tlog-tiles of height 8.

    FOLDER/tile/0/x001/x234/067          full: the hashes of leaves 256 x 1234067 and the 255 after it, 8,192 bytes
    FOLDER/tile/1/000.p/5                partial: five hashes, each of a full tile at level 0

Tiles are never changed once full. What isn't full is in memory, and written beside a published checkpoint only.
"""

from __future__ import annotations

import os
import shutil
from collections import OrderedDict
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from kagitori_server.transparency.merkle import HASH_BYTES, node_hash

TILE_WIDTH = 256
TILE_BYTES = TILE_WIDTH * HASH_BYTES
_HEIGHT = 8
_CACHED = 64
"""Tiles kept with all their inner nodes, some 30 KB each."""

_Rows = list[list[bytes]]
"""The nodes of a tile by their height above its hashes, 0 to 7."""


class TileDamagedError(Exception):
    """A tile that must be there is missing or not what it must be: the tree has to be built anew."""


class TileStore(Protocol):
    """Where full tiles are kept."""

    def read(self, level: int, tile: int) -> bytes:
        """The 8,192 bytes of a full tile. Raises TileDamagedError."""
        ...

    def write(self, level: int, tile: int, data: bytes) -> None:
        """Keeps a tile that has become full."""
        ...


class TileFolder:
    """Tiles as files. Raises OSError where the disk fails."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unsynced: list[Path] = []

    def path(self, level: int, tile: int) -> Path:
        """Where a full tile lies."""
        return self._folder / "tile" / str(level) / tile_name(tile)

    def read(self, level: int, tile: int) -> bytes:
        """The bytes of a full tile. Raises TileDamagedError."""
        path = self.path(level, tile)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            data = b""
        if len(data) != TILE_BYTES:
            raise TileDamagedError(f"{path.name} of level {level} is not a full tile")
        return data

    def write(self, level: int, tile: int, data: bytes) -> None:
        """Writes a full tile, durable after the next `sync`."""
        path = self.path(level, tile)
        _place(path, data)
        self._unsynced.append(path)

    def write_partial(self, level: int, tile: int, data: bytes) -> None:
        """Writes a tile that isn't full yet, in the place of what was written of it before; none if it's empty."""
        partial = self._partial(level, tile)
        if tile:
            shutil.rmtree(self._partial(level, tile - 1), ignore_errors=True)
        if not data:
            return
        width = str(len(data) // HASH_BYTES)
        _place(partial / width, data)
        for other in partial.iterdir():
            if other.name != width:
                other.unlink(missing_ok=True)

    def sync(self) -> None:
        """Makes durable what was written of full tiles."""
        folders = {above for path in self._unsynced for above in path.parents if above.is_relative_to(self._folder)}
        for path in (*self._unsynced, *folders):
            sync(path)
        self._unsynced.clear()

    def _partial(self, level: int, tile: int) -> Path:
        path = self.path(level, tile)
        return path.with_name(path.name + ".p")


class TileTree:
    """A tree over a store of tiles. Not thread-safe."""

    def __init__(self, store: TileStore) -> None:
        """An empty tree; `resume` continues one."""
        self._store = store
        self._edges: list[_Rows] = []
        self._full: list[int] = []
        self._cache: OrderedDict[tuple[int, int], _Rows] = OrderedDict()
        self.size = 0
        """How many leaves there are."""

    def resume(self, size: int) -> None:
        """Makes an empty tree that of the first `size` leaves, a multiple of 256, from the full tiles of the store.

        Raises TileDamagedError.
        """
        self.size = size
        count = size // TILE_WIDTH
        self._edges, self._full = [_rows()], [count]
        while count:
            level, full = len(self._full), count // TILE_WIDTH
            rows = _rows()
            for tile in range(full * TILE_WIDTH, count):
                _push(rows, node_hash(*self._tile(level - 1, tile)[_HEIGHT - 1]))
            self._edges.append(rows)
            self._full.append(full)
            count = full

    def append(self, leaf: bytes) -> None:
        """Adds the hash of a leaf. Writes the tiles that become full with it."""
        self.size += 1
        if self._edges and len(self._edges[0][0]) < TILE_WIDTH - 1:
            _push(self._edges[0], leaf)
            return
        level, found = 0, leaf
        while True:
            if level == len(self._edges):
                self._edges.append(_rows())
                self._full.append(0)
            rows = self._edges[level]
            top = _push(rows, found)
            if top is None:
                break
            self._store.write(level, self._full[level], b"".join(rows[0]))
            self._edges[level] = _rows()
            self._full[level] += 1
            level, found = level + 1, top

    def node(self, height: int, index: int) -> bytes:
        """The hash of a perfect subtree, as `merkle` asks for it. Raises TileDamagedError."""
        level, within = divmod(height, _HEIGHT)
        tile, place = divmod(index, 1 << (_HEIGHT - within))
        rows = self._edges[level] if tile == self._full[level] else self._tile(level, tile)
        return rows[within][place]

    def partial(self) -> list[tuple[int, int, bytes]]:
        """Level, index and hashes of the tiles that aren't full."""
        edges = enumerate(zip(self._full, self._edges, strict=True))
        return [(level, tile, b"".join(rows[0])) for level, (tile, rows) in edges]

    def _tile(self, level: int, tile: int) -> _Rows:
        rows = self._cache.get((level, tile))
        if rows is not None:
            self._cache.move_to_end((level, tile))
            return rows
        data = self._store.read(level, tile)
        rows = _rows()
        for start in range(0, TILE_BYTES, HASH_BYTES):
            _push(rows, data[start : start + HASH_BYTES])
        self._cache[level, tile] = rows
        if len(self._cache) > _CACHED:
            self._cache.popitem(last=False)
        return rows


def tile_name(tile: int) -> str:
    """The index of a tile in its path: `x001/x234/067` for 1234067."""
    parts = [f"{tile % 1000:03d}"]
    while tile := tile // 1000:
        parts.append(f"x{tile % 1000:03d}")
    return "/".join(reversed(parts))


def _rows() -> _Rows:
    return [[] for _ in range(_HEIGHT)]


def _push(rows: _Rows, found: bytes) -> bytes | None:
    """Adds a hash to a tile; returns the node above the tile when it is full with it."""
    for row in rows:
        row.append(found)
        if len(row) & 1:
            return None
        found = sha256(b"\1" + row[-2] + found).digest()  # node_hash, without the call
    return found


def _place(path: Path, data: bytes) -> None:
    """Writes a file that nobody ever sees a part of."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_bytes(data)
    fresh.replace(path)


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
