"""What administration needs of parts that operations may not know: the audit trail, its
follower, the root key, the process.

Wiring fits them. Results are described by the attributes that are read of them, so that the records of the audit
fit as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from kagitori_keystore.base import SecretWrapping
from kagitori_server.model.keys import Key
from kagitori_server.model.principals import Caller, PrincipalRecord
from kagitori_server.operations.administration.usage_lists import UsageLists
from kagitori_server.policy.context import ContextValue
from kagitori_server.policy.explain import Explanation

if TYPE_CHECKING:
    from kagitori_server.operations.administration.changes import Change
    from kagitori_server.operations.context import Context  # which has a field for these ports
    from kagitori_server.operations.shapes.simulation import SimulatePolicyResponse
    from kagitori_server.operations.streams import Stream


EventFilter = tuple[str, str, str | None]
"""What a record is found by (`EventName`), the exact value, and of EncryptionContext the key of the pair."""


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which audit records are wanted. Times are seconds since the epoch, both ends included, None for no bound."""

    account: str
    """Records kept for this account, and no others."""
    start_time: float | None
    end_time: float | None
    attribute: EventFilter | None
    max_results: int
    next_token: str | None
    filters: tuple[EventFilter, ...] = ()
    """A record fits all of them, and `attribute`."""
    not_before: float | None = None
    """A bound on times that may be another one when the next page is asked for."""


class FoundEvent(Protocol):
    """An audit record that was found."""

    @property
    def event_id(self) -> str: ...
    @property
    def event_name(self) -> str: ...
    @property
    def read_only(self) -> str:
        """`true` or `false`."""
        ...

    @property
    def event_time(self) -> float: ...
    @property
    def event_source(self) -> str: ...
    @property
    def username(self) -> str | None:
        """The user's or session's name; `root` for a root user."""
        ...

    @property
    def access_key_id(self) -> str | None: ...
    @property
    def resources(self) -> Sequence[tuple[str, str]]:
        """(type, name) pairs."""
        ...

    @property
    def cloud_trail_event(self) -> str:
        """The whole record, JSON."""
        ...


class FoundPage(Protocol):
    """Records, newest first. There may be none although there is a `next_token` to go on from."""

    @property
    def events(self) -> Sequence[FoundEvent]: ...
    @property
    def next_token(self) -> str | None: ...


class FoundPortion(Protocol):
    """Records, oldest first, and what to go on with behind them."""

    @property
    def events(self) -> Sequence[FoundEvent]: ...
    @property
    def resume_token(self) -> str: ...
    @property
    def complete(self) -> bool:
        """Whether nothing comes behind."""
        ...


class FoundProblem(Protocol):
    """Something in the trail that isn't as it was written."""

    @property
    def chain(self) -> str: ...
    @property
    def segment(self) -> str | None: ...
    @property
    def line(self) -> int | None:
        """Counted from 1 within the segment; None for the segment or chain as a whole."""
        ...

    @property
    def description(self) -> str: ...


class FoundChain(Protocol):
    """One chain as verification found it; numbers are 0 and the head is its beginning while it has no record."""

    @property
    def chain(self) -> str: ...
    @property
    def records(self) -> int: ...
    @property
    def first_seq(self) -> int: ...
    @property
    def last_seq(self) -> int: ...
    @property
    def head(self) -> str:
        """64 hexadecimal digits."""
        ...

    @property
    def pruned_seq(self) -> int:
        """Of the last record that was removed because its time was over; 0 if none was."""
        ...

    @property
    def problems(self) -> Sequence[FoundProblem]: ...


class FoundTrail(Protocol):
    """All chains, and the problems that belong to none of them (a chain that is missing)."""

    @property
    def chains(self) -> Sequence[FoundChain]: ...
    @property
    def problems(self) -> Sequence[FoundProblem]: ...


class FoundDeliveryProblem(Protocol):
    """Something that is wrong with what was delivered."""

    @property
    def place(self) -> str: ...
    @property
    def description(self) -> str: ...


class FoundDelivery(Protocol):
    """What was delivered, as verification found it (`delivery.checking.DeliveryReport`)."""

    @property
    def digests(self) -> int: ...
    @property
    def log_files(self) -> int: ...
    @property
    def records(self) -> int: ...
    @property
    def sealed(self) -> int:
        """Log files that are encrypted, so that what is in them wasn't looked at."""
        ...

    @property
    def problem_count(self) -> int: ...
    @property
    def problems(self) -> Sequence[FoundDeliveryProblem]:
        """The first of them."""
        ...


class ChainPosition(Protocol):
    """The newest durable record of a chain that this process writes."""

    @property
    def chain(self) -> str: ...
    @property
    def seq(self) -> int: ...
    @property
    def head(self) -> str:
        """64 hexadecimal digits."""
        ...


class AuditPort(Protocol):
    """The audit trail. All but `positions` read files and block."""

    def lookup(self, query: EventQuery) -> FoundPage:
        """One page of records. Raises ValidationException for bad bounds, values and tokens."""
        ...

    def tail(self, query: EventQuery, backlog: int, request_id: str, /) -> Stream[FoundPortion]:
        """What came since the token was given; without a token the newest `backlog` records and a token. The record
        of `request_id` is left out. Raises as `lookup`, and ThrottlingException when as many streams run as may."""
        ...

    def export(self, query: EventQuery, /) -> Stream[FoundPortion]:
        """All records, oldest first, behind the token if there is one. Raises as `tail`."""
        ...

    def verify(self) -> FoundTrail:
        """Reads everything and checks every link."""
        ...

    def check_delivered(self) -> FoundDelivery | None:
        """Reads everything that was delivered; None where nothing is. Raises DependencyTimeoutException when it can't
        be reached."""
        ...

    def positions(self) -> Sequence[ChainPosition]:
        """How far this process's chains have come."""
        ...


class FoundHead(Protocol):
    """The head of a tree of records, signed."""

    @property
    def chain(self) -> str: ...
    @property
    def origin(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def root(self) -> bytes: ...
    @property
    def checkpoint(self) -> str: ...
    @property
    def verifier_keys(self) -> Sequence[str]: ...


class FoundInclusion(Protocol):
    """That a record is in a tree."""

    @property
    def index(self) -> int: ...
    @property
    def leaf(self) -> bytes: ...
    @property
    def hashes(self) -> Sequence[bytes]: ...
    @property
    def proof(self) -> str: ...


class FoundConsistency(Protocol):
    """That a tree is the beginning of another."""

    @property
    def origin(self) -> str: ...
    @property
    def first_root(self) -> bytes: ...
    @property
    def second_size(self) -> int: ...
    @property
    def second_root(self) -> bytes: ...
    @property
    def hashes(self) -> Sequence[bytes]: ...


class TransparencyPort(Protocol):
    """The trees over the audit trail (`transparency.log.TransparencyLog`). Everything blocks. An `origin` of None means
    the process's own chain; one that isn't known raises NoSuchEntityException."""

    def head(self, origin: str | None) -> FoundHead:
        """The head as it is now."""
        ...

    def inclusion_of_index(self, origin: str | None, index: int) -> tuple[FoundHead, FoundInclusion]:
        """The proof of any record by its number, without the record. Raises NoSuchEntityException."""
        ...

    def inclusion_of(
        self, origin: str | None, account: str, member: str, value: str
    ) -> tuple[FoundHead, Sequence[FoundInclusion]]:
        """The proofs of an account's records with that `eventID` or `requestID`. Raises NoSuchEntityException."""
        ...

    def consistency(self, origin: str | None, first: int, second: int | None) -> FoundConsistency:
        """That of the trees of so many records. Raises NoSuchEntityException, ValidationException."""
        ...


@dataclass(frozen=True, slots=True)
class RotatedRootKey:
    """What a rotation of the root key did: version ids before and after, and how many keys were rewrapped."""

    previous: str
    current: str
    rewrapped: int


class RootKeyPort(Protocol):
    """The root key. Both methods block and raise KeyStoreError; `root_key.RootKeyRotation` is one."""

    @property
    def provider(self) -> str:
        """The kind of its provider, such as `file`."""
        ...

    def current_version(self) -> str:
        """Id of the version that wraps now."""
        ...

    def rotate(self) -> RotatedRootKey:
        """Raises ConflictException while another rotation runs, UnsupportedOperationException where none can."""
        ...


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What doesn't change while the process runs."""

    version: str
    """Of the software."""
    default_region: str
    operations: tuple[str, ...]
    """Names of the operations it serves."""


class AssumptionPort(Protocol):
    """The decision about AssumeRole (`asking.may_assume_role`)."""

    def __call__(
        self, context: Context, role: PrincipalRecord, actions: tuple[str, ...],
        brought: Mapping[str, str | tuple[str, ...]], /,
    ) -> bool:
        """Whether the caller may do all of `actions` to the role, by its trust policy and the caller's policies.
        `brought` holds the condition keys that this request alone has."""
        ...


@dataclass(frozen=True, slots=True)
class SupposedCall:
    """A call that isn't made. `action` is as the caller of ExplainAccess wrote it."""

    caller: Caller
    action: str
    key: Key | None
    named: str
    """The resource as it was written: the ARN of a key or an alias, or of an identity or managed policy, or `*`."""
    encryption_context: Mapping[str, str]
    supposed: Mapping[str, ContextValue]
    """What its request would say, by condition key in lower case."""


@dataclass(frozen=True, slots=True)
class ExplainedCall:
    """The decision on a SupposedCall with its grounds."""

    action: str
    """In the capitals of the contract."""
    resource: str
    """The ARN that was decided on."""
    explanation: Explanation
    context: Mapping[str, ContextValue]
    """The condition keys that were present."""


class DecisionPort(Protocol):
    """Authorisation, asked about calls that aren't made. Blocks."""

    def explain(self, context: Context, call: SupposedCall) -> ExplainedCall:
        """Decides as for a call that is made. `context` is that of ExplainAccess.

        Raises ValidationException for an action that no served operation asks for, or not on such a resource.
        """
        ...


class SimulationPort(Protocol):
    """Recorded calls, decided again under a change."""

    def start(
        self, context: Context, change: Change, start: float, end: float | None, /
    ) -> Stream[SimulatePolicyResponse]:
        """What the change would turn, of the records of `context.account` from `start` to before `end` (seconds since
        the epoch, None for up to now). `context` is that of SimulatePolicy.

        Raises ThrottlingException when as many simulations run as may.
        """
        ...


class UsagePort(Protocol):
    """Who counts what the service is used for (`metering.Meter`)."""

    def catch_up(self, seconds: float, /) -> None:
        """Counts all that this process knows to have happened by now. Blocks.

        Raises DependencyTimeoutException when there is more than can be counted in that time.
        """
        ...


class DeliveredTrail(Protocol):
    """The trail that is delivered as log files and digests (`delivery.naming.TrailDescription`)."""

    @property
    def name(self) -> str: ...
    @property
    def arn(self) -> str: ...
    @property
    def home_region(self) -> str: ...
    @property
    def bucket(self) -> str:
        """The bucket that it is delivered to. Of a directory: the one that its content is meant for."""
        ...

    @property
    def prefix(self) -> str:
        """What object keys begin with; may be empty."""
        ...

    @property
    def kms_key(self) -> str:
        """ARN of the key that log files are encrypted under; empty for none."""
        ...


@dataclass(frozen=True, slots=True)
class Administration:
    """The ports of AdminService's operations. Made once, by wiring."""

    audit: AuditPort
    trail: DeliveredTrail | None
    """None where nothing is delivered."""
    transparency: TransparencyPort
    root_key: RootKeyPort
    decisions: DecisionPort
    simulations: SimulationPort
    usage: UsagePort
    usage_lists: UsageLists
    server: ServerFacts
    uptime: Callable[[], float]
    """Seconds since the process started."""
    counted_actions: frozenset[str]
    """KMS actions, without prefix, that budgets can count: those of served operations that use key material."""
    secrets: SecretWrapping
    """Wraps the secrets of access keys; it writes to the catalog, so not within a write transaction."""
    may_assume: AssumptionPort
    monotonic: Callable[[], float]
    """A clock in seconds for measuring how long a probe takes."""
