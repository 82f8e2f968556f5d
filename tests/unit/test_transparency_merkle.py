"""Trees and proofs against published vectors, and tiles against trees made in the simplest way."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from kagitori_server.transparency import merkle
from kagitori_server.transparency.tiles import TileDamagedError, TileFolder, TileTree, tile_name

FILE = Path(__file__).parents[1] / "vectors/transparency/rfc6962-trees.json"
VECTORS: dict[str, Any] = json.loads(FILE.read_text())
LEAVES = [bytes.fromhex(leaf) for leaf in VECTORS["leaves"]]
ROOTS = [bytes.fromhex(root) for root in VECTORS["roots"]]


def plain_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word by word."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\1" + plain_root(leaves[:split]) + plain_root(leaves[split:])).digest()


def tree_of(folder: Path, leaves: list[bytes]) -> TileTree:
    tree = TileTree(TileFolder(folder))
    for leaf in leaves:
        tree.append(merkle.leaf_hash(leaf))
    return tree


def _proof(case: dict[str, Any]) -> list[bytes]:
    return [bytes.fromhex(each) for each in case["proof"]]


def test_published_roots(tmp_path: Path) -> None:
    """The roots of the trees of 0 to 8 leaves that implementations of Certificate Transparency share."""
    tree = tree_of(tmp_path, LEAVES)
    assert [merkle.root(tree.node, size) for size in range(9)] == ROOTS


@pytest.mark.parametrize("case", VECTORS["inclusion"])
def test_published_inclusion_proofs(tmp_path: Path, case: dict[str, Any]) -> None:
    """Proofs are made as published, and lead to the published root."""
    tree, index, size = tree_of(tmp_path, LEAVES), case["index"], case["size"]
    assert merkle.inclusion_proof(tree.node, index, 0, size) == _proof(case)
    assert merkle.root_of_inclusion(index, size, merkle.leaf_hash(LEAVES[index]), _proof(case)) == ROOTS[size]


@pytest.mark.parametrize("case", VECTORS["consistency"])
def test_published_consistency_proofs(tmp_path: Path, case: dict[str, Any]) -> None:
    """Proofs are made as published."""
    tree = tree_of(tmp_path, LEAVES)
    assert merkle.consistency_proof(tree.node, case["first"], case["second"]) == _proof(case)


def test_published_subtrees(tmp_path: Path) -> None:
    """All subtrees of trees of up to 130 leaves, and all inclusion proofs in them."""
    most = VECTORS["subtrees"]["leaves"]
    tree = tree_of(tmp_path, [bytes([number]) for number in range(most)])
    hashes, proofs = hashlib.sha256(), hashlib.sha256()
    for end in range(1, most + 1):
        for start in range(end):
            if start % (1 << (end - start - 1).bit_length()):
                continue
            hashes.update(f"[{start}, {end}) {merkle.subtree(tree.node, start, end).hex()}\n".encode())
            for index in range(start, end):
                proof = merkle.inclusion_proof(tree.node, index, start, end)
                proofs.update(" ".join([f"{index} [{start}, {end})", *(each.hex() for each in proof)]).encode() + b"\n")
    assert hashes.hexdigest() == VECTORS["subtrees"]["hashes"]
    assert proofs.hexdigest() == VECTORS["subtrees"]["inclusion_proofs"]


@pytest.mark.parametrize(("index", "size"), [(-1, 8), (8, 8), (0, 0), (5, 4)])
def test_an_index_outside_the_tree_proves_nothing(index: int, size: int) -> None:
    """Whatever the proof."""
    assert merkle.root_of_inclusion(index, size, merkle.leaf_hash(b""), []) is None


def test_proofs_of_wrong_length_prove_nothing(tmp_path: Path) -> None:
    """One hash less or more."""
    tree, leaf = tree_of(tmp_path, LEAVES), merkle.leaf_hash(LEAVES[2])
    proof = merkle.inclusion_proof(tree.node, 2, 0, 7)
    assert merkle.root_of_inclusion(2, 7, leaf, proof) == ROOTS[7]
    assert merkle.root_of_inclusion(2, 7, leaf, proof[:-1]) is None
    assert merkle.root_of_inclusion(2, 7, leaf, [*proof, ROOTS[7]]) is None


SIZES = [1, 2, 255, 256, 257, 511, 512, 513, 1000, 65_535, 65_536, 65_537, 66_000]


def test_a_large_tree_agrees_with_the_definition(tmp_path: Path) -> None:
    """Over three levels of tiles, at their edges, and as it was at smaller sizes."""
    leaves = [number.to_bytes(3, "big") for number in range(SIZES[-1])]
    tree = tree_of(tmp_path, leaves)
    for size in SIZES:
        expected = plain_root(leaves[:size])
        assert merkle.root(tree.node, size) == expected
        for index in {0, size // 2, size - 1}:
            proof = merkle.inclusion_proof(tree.node, index, 0, size)
            assert merkle.root_of_inclusion(index, size, merkle.leaf_hash(leaves[index]), proof) == expected


@pytest.mark.parametrize("size", [256, 512, 65_536, 65_536 + 256, 65_536 + 512])
def test_a_tree_is_resumed_from_its_full_tiles(tmp_path: Path, size: int) -> None:
    """And goes on as though it had never stopped."""
    leaves = [number.to_bytes(3, "big") for number in range(size + 300)]
    tree_of(tmp_path, leaves[:size])
    resumed = TileTree(TileFolder(tmp_path))
    resumed.resume(size)
    assert merkle.root(resumed.node, size) == plain_root(leaves[:size])
    for leaf in leaves[size:]:
        resumed.append(merkle.leaf_hash(leaf))
    assert merkle.root(resumed.node, size + 300) == plain_root(leaves)


def test_a_tree_without_a_tile_is_not_resumed(tmp_path: Path) -> None:
    """Nor one whose tile was cut."""
    tree_of(tmp_path, [b"x"] * 512)
    tile = tmp_path / "tile/0/001"
    tile.write_bytes(tile.read_bytes()[:-1])
    with pytest.raises(TileDamagedError):
        TileTree(TileFolder(tmp_path)).resume(512)


def test_tiles_lie_where_the_standard_says(tmp_path: Path) -> None:
    """Names of tlog-tiles; partial ones are replaced, and go when the tile is full."""
    assert tile_name(1_234_067) == "x001/x234/067"
    assert tile_name(0) == "000"
    folder = TileFolder(tmp_path)
    tree = TileTree(folder)

    def grow(size: int) -> set[str]:
        while tree.size < size:
            tree.append(merkle.leaf_hash(b"x"))
        for level, tile, data in tree.partial():
            folder.write_partial(level, tile, data)
        return {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}

    assert grow(3) == {"tile/0/000.p/3"}
    assert grow(5) == {"tile/0/000.p/5"}
    assert grow(256) == {"tile/0/000", "tile/1/000.p/1"}
    assert grow(700) == {"tile/0/000", "tile/0/001", "tile/0/002.p/188", "tile/1/000.p/2"}
    assert len((tmp_path / "tile/0/000").read_bytes()) == 8192
    folder.sync()
