"""Compares trees with their chains: leaves are computed from the chain again, tiles and checkpoints held against them.

What a chain alone can't show, a cut-off end or a history that was rewritten as a whole, shows in checkpoints that were
kept: those beside the tiles, and better those that somebody kept elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from kagitori_server.audit.backwards import Cursor
from kagitori_server.audit.chain import chain_names
from kagitori_server.audit.forwards import chain_forwards
from kagitori_server.audit.verify import look_again
from kagitori_server.transparency import merkle
from kagitori_server.transparency.following import TREES, first_line_hash, read_checkpoint, read_leaf
from kagitori_server.transparency.notes import Head
from kagitori_server.transparency.tiles import TILE_WIDTH, TileDamagedError, TileFolder, TileTree

_MOST_TILES = 20
"""Tiles that are named one by one."""


class TreeProblem(NamedTuple):
    """What is wrong with the tree of a chain."""

    chain: str
    description: str


class _Comparing:
    """A store of tiles that keeps none, but compares each with the file that is there."""

    def __init__(self, kept: TileFolder) -> None:
        self._kept = kept
        self.wrong: list[str] = []

    def read(self, level: int, tile: int) -> bytes:
        """Never needed: the root of a tree is found in the tiles that aren't full."""
        raise TileDamagedError(f"tile {tile} of level {level} isn't kept")

    def write(self, level: int, tile: int, data: bytes) -> None:
        """Notes a file that isn't what the tile must be. One that is missing is no harm: it's made again."""
        if not self._kept.path(level, tile).exists():
            return
        try:
            same = self._kept.read(level, tile) == data
        except TileDamagedError:
            same = False
        if not same:
            self.wrong.append(f"tile {tile} of level {level}")


def check_trees(audit_root: Path, remembered: Sequence[Head] = ()) -> tuple[TreeProblem, ...]:
    """What is wrong with the trees of all chains, and with the chains by what was signed or `remembered` of them.

    Checkpoints are compared by what they say; who signed them has to be looked at before. Raises OSError.
    """
    return look_again(audit_root, lambda: _check_all(audit_root, remembered), lambda problems: not problems)


def _check_all(audit_root: Path, remembered: Sequence[Head]) -> tuple[TreeProblem, ...]:
    problems: list[TreeProblem] = []
    names = chain_names(audit_root)
    origins = {name: first_line_hash(audit_root / name) or "-" for name in names}
    known: dict[str, list[Head]] = {name: [] for name in names}
    for head in remembered:
        chain = _chain_of(head.origin, origins)
        if chain is None:
            problems.append(TreeProblem(head.origin, "no chain is the one of this checkpoint: it is gone, or another"))
        else:
            known[chain].append(head)
    for name in names:
        published = read_checkpoint(audit_root / TREES / name)
        if published is not None:
            if _chain_of(published.origin, origins) == name:
                known[name].append(published)
            else:
                problems.append(TreeProblem(name, "the checkpoint beside its tree is of another chain"))
        problems += _check(audit_root / name, audit_root / TREES / name, known[name])
    return tuple(problems)


def _check(chain_dir: Path, tree_dir: Path, heads: list[Head]) -> list[TreeProblem]:
    name, problems = chain_dir.name, list[TreeProblem]()
    kept = TileFolder(tree_dir)
    store = _Comparing(kept)
    tree = TileTree(store)
    waiting = sorted(heads, key=lambda head: head.size, reverse=True)

    def reached() -> None:
        while waiting and waiting[-1].size == tree.size:
            head = waiting.pop()
            if merkle.root(tree.node, tree.size) != head.root:
                problems.append(TreeProblem(name, f"the first {head.size} records aren't those that were signed"))

    def add(leaf: bytes) -> None:
        tree.append(leaf)
        reached()

    reached()
    for stretch in chain_forwards(chain_dir, Cursor(1, 0)):
        for line in stretch.lines:
            leaf = read_leaf(line)
            if leaf is not None and not tree.size and leaf.seq > 1:
                # Records that aren't kept any more have their hashes in the tiles.
                try:
                    for hashed in _leaves(kept, leaf.seq - 1):
                        add(hashed)
                except TileDamagedError:
                    return [*problems, TreeProblem(name, f"nothing proves the records before {leaf.seq}")]
            if leaf is not None and leaf.seq == tree.size + 1:
                add(merkle.leaf_hash(leaf.event))
    problems += [
        TreeProblem(name, f"a checkpoint of {head.size} records was signed, but there are {tree.size}")
        for head in waiting
    ]
    wrong = store.wrong
    if wrong:
        more = f" and {len(wrong) - _MOST_TILES} more" if len(wrong) > _MOST_TILES else ""
        listed = ", ".join(wrong[:_MOST_TILES])
        problems.append(TreeProblem(name, f"the tree isn't that of the chain: {listed}{more}"))
    return problems


def _leaves(kept: TileFolder, count: int) -> Iterator[bytes]:
    """The hashes of the first `count` leaves, from full tiles. Raises TileDamagedError."""
    for tile in range(-(-count // TILE_WIDTH)):
        data = kept.read(0, tile)
        for place in range(min(TILE_WIDTH, count - tile * TILE_WIDTH)):
            yield data[place * merkle.HASH_BYTES : (place + 1) * merkle.HASH_BYTES]


def _chain_of(origin: str, firsts: dict[str, str]) -> str | None:
    """The chain of an origin, by the hash of its first line and its name, whatever the log was called."""
    parts = origin.rsplit("/", 2)
    if len(parts) != 3 or not parts[2]:
        return None
    return parts[1] if firsts.get(parts[1], "").startswith(parts[2]) and len(parts[2]) >= 32 else None
