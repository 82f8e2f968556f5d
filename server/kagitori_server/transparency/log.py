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

from kagitori_server.audit.chain import chain_names
from kagitori_server.audit.following import Reach, reach
from kagitori_server.audit.indexing import Indexes
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
PATIENCE_SECONDS = 8.0
"""How long a caller is kept waiting: clients wait ten seconds by default."""
_HOLD_SECONDS = 0.5
"""How long the follower itself keeps others waiting."""
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


class _Patience:
    """How long a caller may be kept waiting."""

    def __init__(self, monotonic: Callable[[], float], seconds: float) -> None:
        self._monotonic = monotonic
        self._end = monotonic() + seconds

    @contextmanager
    def held(self, lock: threading.Lock) -> Iterator[None]:
        """Holds a lock. Raises DependencyTimeoutException if it can't be had in time."""
        if not lock.acquire(timeout=max(0.0, self._end - self._monotonic())):
            raise _not_in_time()
        try:
            yield
        finally:
            lock.release()

    def check(self) -> None:
        """Raises DependencyTimeoutException when the time is over."""
        if self._monotonic() > self._end:
            raise _not_in_time()

    def check_search(self) -> None:
        """The same, for who looks for a record that the index doesn't have."""
        if self._monotonic() > self._end:
            message = "The record was not found in time: name its log, or the record by its number."
            raise DependencyTimeoutException(message)


class TransparencyLog:
    """The trees of the chains in one folder. Thread-safe; everything blocks. Methods that answer callers raise
    KMSInternalException when the disk fails or a chain isn't what was signed of it, DependencyTimeoutException after
    eight seconds, while a tree is still being built, and KmsError when there is no key to sign with.

    `name` is what the origins of all trees begin with. `rest` is called again and again while `run_once` reads.
    """

    def __init__(
        self, audit_root: Path, trail: Trail, signer: Signer, name: str, monotonic: Callable[[], float],
        rest: Callable[[], None], indexes: Indexes | None = None,
    ) -> None:
        self._root = audit_root
        self._trail = trail
        self._signer = signer
        self._name = name
        self._monotonic = monotonic
        self._rest = rest
        self._indexes = indexes
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
            patience = self._patience()
            with patience.held(self._lock):
                head, note = self._sign(chain, self._current(chain, patience))
            keys = tuple(verifier_key(head.origin, key) for key in self._signer.listed())
            return SignedHead(chain, head.origin, head.size, head.root, note, keys)

    def inclusion_of_index(self, origin: str | None, index: int) -> tuple[SignedHead, Inclusion]:
        """The proof for a record by its number in the tree, from 0 on. It doesn't hold the record.

        Raises NoSuchEntityException.
        """
        with self._failing():
            signed, found = self._prove(self._chain_of(origin), [(index, None)], self._patience())
            return signed, found[0]

    def inclusion_of(
        self, origin: str | None, account: str, member: str, value: str
    ) -> tuple[SignedHead, list[Inclusion]]:
        """The proofs for the records of an account with that `eventID` or `requestID`, at most 100, with the records.

        Raises NoSuchEntityException, DependencyTimeoutException also when what the index doesn't have is too long to be
        looked through.
        """
        with self._failing():
            patience = self._patience()
            chains = None if origin is None else [self._chain_of(origin)]
            wanted = finding.Wanted(account, member, value)
            records = finding.find_records(self._root, chains, wanted, patience.check_search, self._indexes)
            if not records:
                raise NoSuchEntityException("The audit record cannot be found.")
            leaves = [(record.seq - 1, record.event) for record in records]
            return self._prove(records[0].chain, leaves, patience)

    def consistency(self, origin: str | None, first: int, second: int | None) -> Consistency:
        """That the first `first` records are the beginning of the first `second` (None: of all there are now).

        Raises NoSuchEntityException, ValidationException.
        """
        with self._failing():
            chain, patience = self._chain_of(origin), self._patience()
            with patience.held(self._lock):
                return self._with_tree(chain, patience, lambda tree: self._consistency(chain, tree, first, second))

    def receipts(self, wanted: Sequence[Wanted]) -> list[bytes]:
        """A receipt for each of some durable records of this process, all under one signature."""
        with self._failing():
            chain = self._chain_of(None)
            _, proofs = self._prove(chain, [(each.seq - 1, each.event) for each in wanted], self._patience())
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
        while not self._stopping:
            goal = reach(self._root, chain, self._trail.position())
            if goal is None:
                return
            while not self._stopping and self._step(goal):
                self._rest()
            if self._stopping or self._published(chain):
                return

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

    def _goal(self, chain: str) -> Reach:
        goal = reach(self._root, chain, self._trail.position())
        if goal is None:
            # Another process writes it, and its tree.
            published = read_checkpoint(self._root / TREES / chain)
            goal = Reach(chain, 0 if published is None else published.size, None)
        return goal

    def _step(self, goal: Reach) -> bool:
        chain = goal.chain
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

    def _current(self, chain: str, patience: _Patience) -> ChainTree:
        """The tree as far as its chain may be read, checked against what was published. Under the lock."""
        known = chain in self._trees
        try:
            return self._brought_up(chain, patience)
        except TreeBrokenError:
            if not known:
                raise
            # Another process may have gone on with the tree, and have removed what wasn't read here yet.
            del self._trees[chain]
            return self._brought_up(chain, patience)

    def _brought_up(self, chain: str, patience: _Patience) -> ChainTree:
        tree = self._tree(chain)
        if tree is None:
            raise NoSuchEntityException("The audit trail has no record yet.")
        goal = self._goal(chain)
        for _ in range(2):
            while tree.step(goal.seq, goal.stop):
                patience.check()
            if tree.check():
                return tree
        raise TreeBrokenError(f"{chain} ends before the record that its checkpoint ends with")

    def _with_tree(self, chain: str, patience: _Patience, ask: Callable[[ChainTree], _T]) -> _T:
        """What `ask` makes of the current tree; asked again when tiles were found damaged and built anew."""
        try:
            return ask(self._current(chain, patience))
        except TileDamagedError as damage:
            _log.warning("the tree of audit chain %s is built anew: %s", chain, damage)
            self._trees[chain].rebuild()
            return ask(self._current(chain, patience))

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

    def _published(self, chain: str) -> bool:
        """Publishes a checkpoint of what has been read. False if there is more to be read first: tiles were damaged."""
        with self._lock:
            if self._tree(chain) is None:
                return True
            try:
                tree = self._with_tree(chain, self._patience(_HOLD_SECONDS), lambda tree: tree)
            except DependencyTimeoutException:
                return False
            tree.save()
            published = tree.published
            if tree.size and (published is None or published.size < tree.size) and self._signer.listed():
                head, note = self._sign(chain, tree)
                tree.publish(note, head)
            return True

    # --- proofs ------------------------------------------------------------------------------------------------------

    def _prove(
        self, chain: str, records: Sequence[tuple[int, bytes | None]], patience: _Patience
    ) -> tuple[SignedHead, list[Inclusion]]:
        """Proofs for records by index, under one head. Events are put into them, and must be what is in the tree."""
        with patience.held(self._lock):
            return self._with_tree(chain, patience, lambda tree: self._proofs(chain, tree, records))

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

    def _patience(self, seconds: float = PATIENCE_SECONDS) -> _Patience:
        return _Patience(self._monotonic, seconds)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except (TreeBrokenError, TileDamagedError, OSError) as failure:
            # No text of it to callers: it names files, and what became of other accounts' records.
            _log.exception("the audit trail's tree can't be used")
            raise KMSInternalException("The audit trail can't be proven.") from failure


def _not_in_time() -> DependencyTimeoutException:
    return DependencyTimeoutException("The audit trail's tree is still being built; try again later.")


def _receipt(proof: Inclusion, wanted: Wanted) -> bytes:
    """The proof as it is given to a caller: without the record if that is too long or not for the caller to see."""
    if wanted.shown:
        text = proof.proof.encode()
        if len(text) <= MAX_RECEIPT_BYTES:
            return text
    checkpoint = proof.proof.partition("\n\n")[2]
    return proof_text(HASH_ONLY + proof.leaf.hex().encode(), proof.index, proof.hashes, checkpoint).encode()
