"""The trees of a trail and what is asked of them: signed heads, proofs that a record is in, proofs that a tree grew.

A process signs for its own chain, as far as that is durable, and for chains that no process writes. Of a chain that
another process writes it knows what that one has published.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from kagitori_server.audit.backwards import Cursor
from kagitori_server.audit.chain import chain_names
from kagitori_server.audit.following import abandoned_end
from kagitori_server.audit.trail import Trail
from kagitori_server.model.errors import (
    DependencyTimeoutException,
    KmsError,
    KMSInternalException,
    NoSuchEntityException,
    ValidationException,
)
from kagitori_server.transparency import finding, merkle
from kagitori_server.transparency.following import (
    TREES,
    ChainTree,
    TreeBrokenError,
    durable_size,
    first_line_hash,
    read_checkpoint,
)
from kagitori_server.transparency.notes import Head, Signer, proof_text, sign_head, verifier_key
from kagitori_server.transparency.tiles import TileDamagedError

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

MAX_RECEIPT_BYTES = 5 * 1024
"""Of a receipt, which travels in base64 with other metadata, of which gRPC's clients take 8 KiB."""
FIND_SECONDS = 8.0
"""How long the trail is looked through for a record: clients wait ten seconds by default."""
HASH_ONLY = b"leaf-hash:"
"""What stands before the hash of a leaf, in hexadecimal, in proofs that don't hold the record itself."""
_ORIGIN_DIGITS = 32


class SignedHead(NamedTuple):
    """A tree as it is now."""

    chain: str
    origin: str
    size: int
    root: bytes
    checkpoint: str
    verifier_keys: tuple[str, ...]
    """All keys that checkpoints of this origin have ever been signed with, the present one first."""


@dataclass(frozen=True, slots=True)
class Inclusion:
    """That a record is in a tree."""

    index: int
    leaf: bytes
    hashes: tuple[bytes, ...]
    proof: str
    """All of it with the checkpoint, as a tlog-proof."""


class Consistency(NamedTuple):
    """That a tree is the beginning of another."""

    origin: str
    first_root: bytes
    second_size: int
    second_root: bytes
    hashes: tuple[bytes, ...]


class Wanted(NamedTuple):
    """A record of this process's chain that a receipt is wanted for."""

    seq: int
    event: bytes
    shown: bool
    """Whether the receipt may hold the record."""


class _Goal(NamedTuple):
    """How far a chain may be read: to a record or to a place."""

    seq: int | None
    stop: Cursor | None
    foreign: bool = False
    """Whether another process writes the chain, and its tree."""


class TransparencyLog:
    """The trees of the chains in one folder. Thread-safe; everything blocks. Methods raise KMSInternalException when
    the disk fails or a chain isn't what was signed of it, and KmsError when there is no key to sign with.

    `name` is what the origins of all trees begin with. `rest` is called again and again while `run_once` reads.
    """

    def __init__(
        self, audit_root: Path, trail: Trail, signer: Signer, name: str, monotonic: Callable[[], float],
        rest: Callable[[], None],
    ) -> None:
        self._root = audit_root
        self._trail = trail
        self._signer = signer
        self._name = name
        self._monotonic = monotonic
        self._rest = rest
        self._lock = threading.Lock()
        self._trees: dict[str, ChainTree] = {}
        self._origins: dict[str, str] = {}
        self._signed: dict[str, tuple[int, bytes, str]] = {}
        self._broken: set[str] = set()
        self._stopping = False

    def head(self, origin: str | None) -> SignedHead:
        """The newest head of a log, by default of the process's own chain. Raises NoSuchEntityException."""
        with self._failing():
            # The first key leaves a record when it is made, so that a new trail has something to prove.
            self._signer.current()
            chain = self._chain_of(origin)
            with self._lock:
                head, note = self._sign(chain, self._current(chain))
            keys = tuple(verifier_key(head.origin, key) for key in self._signer.listed())
            return SignedHead(chain, head.origin, head.size, head.root, note, keys)

    def inclusion_of_index(self, origin: str | None, index: int) -> tuple[SignedHead, Inclusion]:
        """The proof for a record by its number in the tree, from 0 on. It doesn't hold the record.

        Raises NoSuchEntityException.
        """
        with self._failing():
            signed, found = self._prove(self._chain_of(origin), [(index, None)])
            return signed, found[0]

    def inclusion_of(
        self, origin: str | None, account: str, member: str, value: str
    ) -> tuple[SignedHead, list[Inclusion]]:
        """The proofs for the records of an account with that `eventID` or `requestID`, at most 100, with the records.

        Raises NoSuchEntityException, DependencyTimeoutException when the trail is too long to be looked through.
        """
        with self._failing():
            chains = None if origin is None else [self._chain_of(origin)]
            wanted = finding.Wanted(account, member, value)
            records = finding.find_records(self._root, chains, wanted, self._until(FIND_SECONDS))
            if not records:
                raise NoSuchEntityException("The audit record cannot be found.")
            return self._prove(records[0].chain, [(record.seq - 1, record.event) for record in records])

    def consistency(self, origin: str | None, first: int, second: int | None) -> Consistency:
        """That the first `first` records are the beginning of the first `second` (None: of all there are now).

        Raises NoSuchEntityException, ValidationException.
        """
        with self._failing():
            chain = self._chain_of(origin)
            with self._lock:
                return self._with_tree(chain, lambda tree: self._consistency(chain, tree, first, second))

    def receipts(self, wanted: Sequence[Wanted]) -> list[bytes]:
        """A receipt for each of some durable records of this process, all under one signature."""
        with self._failing():
            chain = self._chain_of(None)
            _, proofs = self._prove(chain, [(each.seq - 1, each.event) for each in wanted])
            return [_receipt(proof, each) for proof, each in zip(proofs, wanted, strict=True)]

    def run_once(self) -> None:
        """Brings the trees up to date, with rests, and publishes checkpoints if there is a key to sign them with: the
        first one is made for whoever first asks for a head, a proof or a receipt."""
        failure: Exception | None = None
        for chain in chain_names(self._root):
            if self._stopping:
                return
            if chain in self._broken:
                continue
            try:
                self._follow(chain)
            except TreeBrokenError:
                # Told once. Whoever asks for a proof is refused each time.
                _log.exception("the tree of audit chain %s isn't carried on", chain)
                self._broken.add(chain)
            except (KmsError, TileDamagedError, OSError) as error:
                # Chains don't wait for each other.
                failure = error
        if failure is not None:
            with self._failing():
                raise failure

    def kept(self, chain: str) -> int | None:
        """Up to which record the tree of a chain doesn't need the chain any more; None if the chain has no record."""
        with self._failing():
            first = self._first(chain)
            return None if first is None else durable_size(self._root / TREES / chain, first)

    def stop(self) -> None:
        """Lets `run_once` end soon."""
        self._stopping = True

    def _follow(self, chain: str) -> None:
        goal = self._goal(chain)
        if goal.foreign:
            return
        while not self._stopping and self._step(chain, goal):
            self._rest()
        if not self._stopping:
            self._publish(chain)

    # --- trees -------------------------------------------------------------------------------------------------------

    def _chain_of(self, origin: str | None) -> str:
        own = self._trail.position().chain
        if origin is None or self._origin(own) == origin:
            return own
        for chain in chain_names(self._root):
            if self._origin(chain) == origin:
                return chain
        raise NoSuchEntityException("No audit trail of this origin can be found.")

    def _origin(self, chain: str) -> str | None:
        """The origin of a chain's tree; None while the chain has no record."""
        known = self._origins.get(chain)
        if known is None:
            first = self._first(chain)
            if first is None:
                return None
            known = self._origins[chain] = f"{self._name}/{chain}/{first[:_ORIGIN_DIGITS]}"
        return known

    def _first(self, chain: str) -> str | None:
        """The hash of a chain's first line; None while that isn't there, or not known to be durable."""
        position = self._trail.position()
        return None if chain == position.chain and not position.seq else first_line_hash(self._root / chain)

    def _tree(self, chain: str) -> ChainTree | None:
        tree = self._trees.get(chain)
        if tree is None:
            first = self._first(chain)
            if first is None:
                return None
            tree = self._trees[chain] = ChainTree(self._root / chain, self._root / TREES / chain, first)
        return tree

    def _goal(self, chain: str) -> _Goal:
        position = self._trail.position()
        if chain == position.chain:
            return _Goal(position.seq, None)
        end = abandoned_end(self._root / chain)
        if end is not None:
            return _Goal(None, end)
        published = read_checkpoint(self._root / TREES / chain)
        return _Goal(0 if published is None else published.size, None, foreign=True)

    def _step(self, chain: str, goal: _Goal) -> bool:
        with self._lock:
            tree = self._tree(chain)
            if tree is None:
                return False
            try:
                return tree.step(goal.seq, goal.stop)
            except TreeBrokenError:
                # As below: said to be so only when the tree as it is on the disk doesn't fit either.
                del self._trees[chain]
                tree = self._tree(chain)
                return tree is not None and tree.step(goal.seq, goal.stop)

    def _current(self, chain: str) -> ChainTree:
        """The tree as far as its chain may be read, checked against what was published. Under the lock."""
        known = chain in self._trees
        try:
            return self._brought_up(chain)
        except TreeBrokenError:
            if not known:
                raise
            # Another process may have gone on with the tree, and have removed what wasn't read here yet.
            del self._trees[chain]
            return self._brought_up(chain)

    def _brought_up(self, chain: str) -> ChainTree:
        tree = self._tree(chain)
        if tree is None:
            raise NoSuchEntityException("The audit trail has no record yet.")
        goal = self._goal(chain)
        for _ in range(2):
            while tree.step(goal.seq, goal.stop):
                pass
            if tree.check():
                return tree
        raise TreeBrokenError(f"{chain} ends before the record that its checkpoint ends with")

    def _with_tree(self, chain: str, ask: Callable[[ChainTree], _T]) -> _T:
        """What `ask` makes of the current tree; asked again when tiles were found damaged and built anew."""
        try:
            return ask(self._current(chain))
        except TileDamagedError as damage:
            _log.warning("the tree of audit chain %s is built anew: %s", chain, damage)
            self._trees[chain].rebuild()
            return ask(self._current(chain))

    def _sign(self, chain: str, tree: ChainTree) -> tuple[Head, str]:
        origin = self._origin(chain)
        if origin is None or not tree.size:
            raise NoSuchEntityException("The audit trail has no record yet.")
        head = Head(origin, tree.size, tree.root(tree.size))
        key = self._signer.current()
        known = self._signed.get(chain)
        if known is not None and known[:2] == (head.size, key.public_key):
            return head, known[2]
        note = sign_head(head, key)
        self._signed[chain] = (head.size, key.public_key, note)
        return head, note

    def _publish(self, chain: str) -> None:
        with self._lock:
            if self._tree(chain) is None:
                return
            tree = self._with_tree(chain, lambda tree: tree)
            tree.save()
            published = tree.published
            if not tree.size or (published is not None and published.size >= tree.size) or not self._signer.listed():
                return
            head, note = self._sign(chain, tree)
            tree.publish(note, head)

    # --- proofs ------------------------------------------------------------------------------------------------------

    def _prove(
        self, chain: str, records: Sequence[tuple[int, bytes | None]]
    ) -> tuple[SignedHead, list[Inclusion]]:
        """Proofs for records by index, under one head. Events are put into them, and must be what is in the tree."""
        with self._lock:
            return self._with_tree(chain, lambda tree: self._proofs(chain, tree, records))

    def _proofs(
        self, chain: str, tree: ChainTree, records: Sequence[tuple[int, bytes | None]]
    ) -> tuple[SignedHead, list[Inclusion]]:
        head, note = self._sign(chain, tree)
        found = []
        for index, event in records:
            if index >= head.size:
                raise NoSuchEntityException("The audit record is not in a signed tree yet.")
            leaf = tree.tiles.node(0, index) if event is None else merkle.leaf_hash(event)
            hashes = merkle.inclusion_proof(tree.tiles.node, index, 0, head.size)
            if merkle.root_of_inclusion(index, head.size, leaf, hashes) != head.root:
                raise TileDamagedError(f"the tree does not prove record {index + 1}")
            extra = HASH_ONLY + leaf.hex().encode() if event is None else event
            found.append(Inclusion(index, leaf, tuple(hashes), proof_text(extra, index, hashes, note)))
        return SignedHead(chain, head.origin, head.size, head.root, note, ()), found

    def _consistency(self, chain: str, tree: ChainTree, first: int, second: int | None) -> Consistency:
        origin, second = self._origin(chain), tree.size if second is None else second
        if first > second:
            raise ValidationException("The first size must not be above the second.")
        if second > tree.size or origin is None:
            raise NoSuchEntityException(f"The tree has not {second} records.")
        hashes = merkle.consistency_proof(tree.tiles.node, first, second)
        return Consistency(origin, tree.root(first), second, tree.root(second), tuple(hashes))

    def _until(self, seconds: float) -> Callable[[], None]:
        """Raises DependencyTimeoutException when called after that time."""
        deadline = self._monotonic() + seconds

        def check() -> None:
            if self._monotonic() > deadline:
                message = "The record was not found in time: name its log, or the record by its number."
                raise DependencyTimeoutException(message)

        return check

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except (TreeBrokenError, TileDamagedError, OSError) as failure:
            # No text of it to callers: it names files, and what became of other accounts' records.
            _log.exception("the audit trail's tree can't be used")
            raise KMSInternalException("The audit trail can't be proven.") from failure


def _receipt(proof: Inclusion, wanted: Wanted) -> bytes:
    """The proof as it is given to a caller: without the record if that is too long or not for the caller to see."""
    if wanted.shown:
        text = proof.proof.encode()
        if len(text) <= MAX_RECEIPT_BYTES:
            return text
    checkpoint = proof.proof.partition("\n\n")[2]
    return proof_text(HASH_ONLY + proof.leaf.hex().encode(), proof.index, proof.hashes, checkpoint).encode()
