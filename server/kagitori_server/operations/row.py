"""What a row of the operation table says. No column of a row that decides about security has a default; where its keys
and permissions leave something out, any origin will do, they are always asked, and bind no encryption context.

A row is read by everything on the way of a call: transports (shapes), authorisation (permissions, grantable,
cross-account), resolution and the state check (keys), and the audit (what a record shows). No operation repeats
any of it in its own code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from kagitori_server.model.keys import KeyUsage, Origin
from kagitori_server.model.rates import CryptoRate, Rate
from kagitori_server.model.shape import Shape
from kagitori_server.model.states import StateRule
from kagitori_server.policy.grants import Grant

if TYPE_CHECKING:
    from kagitori_server.operations.context import Context, Services

Handler = Callable[["Context", Any], Any]
"""(context of the call, request) -> answer; both of the row's shapes."""

Check = Callable[["Context", Any], None]
"""(context of the call, request): raises what the operation refuses beyond shape, state and usage."""

Prepare = Callable[["Context", Any], None]
"""(context of the call, request): slow work that a write needs done before its transaction, left in `prepared`."""

Abandon = Callable[["Services", Any], None]
"""(parts of the service, what `prepare` left): undoes it, since its transaction was rolled back. Must not block."""


class Find(Enum):
    """How a request names a key."""

    MEMBER = "member"
    """By the member `member`: id or ARN, or an alias where the slot allows it."""
    CIPHERTEXT = "ciphertext"
    """By `member` if present, else by the header of the ciphertext in `ciphertext_member`."""
    GRANT = "grant"
    """The key of the grant that `grant_token` names, or else `member` and `grant_id` together."""
    ALIAS_TARGET = "alias target"
    """The key that the alias in `member` points to now."""
    FAMILY = "family"
    """The key of the same multi-Region family as the slot `key`'s, in the Region that `member` names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySlot:
    """One key that an operation touches: how to find it and what it must be like."""

    name: str
    find: Find
    member: str
    ciphertext_member: str | None = None
    alias_allowed: bool
    states: StateRule
    usage: KeyUsage | None
    """The usage the key must have; None where it doesn't matter."""
    origins: frozenset[Origin] | None = None
    """The origins that the key may have, which is looked at before its state; None where it doesn't matter."""


class Resource(Enum):
    """What a permission is asked on."""

    KEY = "key"
    """The key of a slot: key policy, identity policies, grants."""
    ALIAS = "alias"
    """The alias that the request names: identity policies alone."""
    GRANT = "grant"
    """The grant of a slot that is found by it: the grant says who may; policies can deny, and an account that may
    delegates by identity policies."""
    RETIRING_PRINCIPAL = "retiring principal"
    """The principal whose ARN the request member `retiring_principal` holds: identity policies of its account."""
    PRINCIPAL = "principal"
    """The principal whose ARN the request member `principal_arn` holds: identity policies alone."""
    POLICY = "policy"
    """The managed policy whose ARN the request member `policy_arn` holds: identity policies alone."""
    CHANGED = "changed"
    """The key, user, group or role that the call supposes changed, as the request's `changed_arn` says: identity
    policies alone."""
    ENTITY = "entity"
    """The user, role, group or managed policy that the permission's `entity` says: identity policies alone."""
    BUDGET = "budget"
    """The budget of the call's account that the request member `budget_name` names: identity policies alone."""
    OIDC_PROVIDER = "OpenID Connect provider"
    """The provider that the request is about (`oidc_providers.provider_arn`): identity policies alone."""
    TRAIL = "trail"
    """The delivered trail that the request member `name` names, by name or ARN: identity policies alone."""
    ACCOUNT = "account"
    """No resource: identity policies alone."""


class Naming(Enum):
    """How a request names an identity, or what belongs to one. Values are words for what is named."""

    USER = "user"
    ROLE = "role"
    GROUP = "group"
    POLICY = "policy"
    """A managed policy; like those before, by its name, which is unique in the call's account."""
    PRINCIPAL = "principal"
    """A user, role or root user by ARN, a role by that of a session of it, or else the caller."""
    TOKEN = "token"  # noqa: S105 - a word for what is named
    CERTIFICATE = "certificate"
    ACCESS_KEY = "access key"
    """Like those before, by its id: it stands for the principal that it belongs to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """What of a request tells the ARN that a permission is asked on."""

    naming: Naming
    member: str
    """The request member with the name, ARN or id."""
    path_member: str | None = None
    """For an entity that the call is to make: the member with the path that it will have. None for one that exists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """One permission that a call needs. All of a row's permissions are needed."""

    action: str
    """With its prefix: `kms:Encrypt`, `kagitori:CreateUser`."""
    on: Resource
    slot: str | None
    """The key slot, for KEY and GRANT."""
    entity: Entity | None = None
    """What ENTITY means; None for other resources."""
    context_member: str | None = None
    """The request member with the encryption context that constraints of grants are held against. Without one no
    constraint that binds the action is ever met."""
    proposes: Callable[[Any], Grant] | None = None
    """For `kms:CreateGrant`: what the request would grant, so that who may by a grant alone can't grant more."""
    region_member: str | None = None
    """For ACCOUNT: the request member that names another Region in which it is asked. None: the call's Region."""
    when: Callable[[Any], object] | None = None
    """Needed only for requests of which this is true; None for always."""


class Cost(Enum):
    """Where a handler runs."""

    INLINE = "inline"
    """A few microseconds of pure computation: in the event loop."""
    BY_KEY = "by key"
    """As the key's spec says: inline where its computations are quick, else in a pool with a thread per core, once
    the call has been admitted in the event loop."""
    BY_PUBLIC_KEY = "by public key"
    """The same, where the computation needs no more than the public half of an asymmetric key."""
    GENERATION = "generation"
    """Finds primes or makes other keys: in a small pool of its own, once the call has been admitted."""
    OFFLOAD = "offload"
    """Blocks: in a bounded pool of threads."""
    STORE = "store"
    """A write whose `prepare` waits for a key store out of the process: in threads that nothing else waits for."""


class Answer(Enum):
    """What the audit record shows as `responseElements`."""

    NOTHING = "null"
    KEY_ARN = "the ARN of the key that was changed, and the members listed in `response_shown`"
    MEMBERS = "the members listed in `response_shown`"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRule:
    """What a record of the operation shows. Members that aren't listed never reach the trail."""

    request_shown: tuple[str, ...]
    answer: Answer
    response_shown: tuple[str, ...] = ()
    """Members of the answer, or of a structure in it: `credentials.expiration`."""
    request_assumed: Callable[[Any], Mapping[str, object]] | None = None
    """request -> what it means by members of `request_shown` that it leaves out, which is shown then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A row of the table."""

    name: str
    service: str
    """`kms`, `kagitori` or a neighbour (`neighbour_table`): the event source, and the service part of the ARN of
    resource-less permissions."""
    request: Shape[Any]
    response: type[Any]
    keys: tuple[KeySlot, ...]
    alias_member: str | None
    """The request member that names an alias to create, change or delete."""
    account_member: str | None
    """The request member that names an account, by id or within a principal's ARN, for operations that the home
    account may do in others; None where the account is always the caller's."""
    permissions: tuple[Permission, ...]
    """In the order in which they are asked; a key is looked up when the first permission on it is asked."""
    grantable: bool
    cross_account: bool
    read_only: bool
    """As CloudTrail's `readOnly`: cryptographic operations count as read-only."""
    writes: bool
    """Whether the handler changes the catalog: it then runs in a write transaction."""
    rate: Rate
    """Which calls it shares a rate with. A CryptoRate says that it uses key material: budgets count those."""
    audit: AuditRule
    cost: Cost
    check: Check | None
    """Parameter checks that a dry run makes too; None where shape, state and usage say it all."""
    prepare: Prepare | None
    """What a row that writes does before it holds the catalog's one write turn, such as generating a key."""
    handler: Handler
    abandon: Abandon | None = None
    """What becomes of what `prepare` made when it comes to nothing; None where it lies in memory alone."""
    streams: bool = False
    """Whether the answer is a `streams.Stream` of `response`s: it leaves after the record, which tells of its
    beginning, and what can be refused is refused before. Only for rows that don't write."""

    @property
    def uses_keys(self) -> bool:
        """Whether it uses key material, which budgets count."""
        return isinstance(self.rate, CryptoRate)

    def slot(self, name: str) -> KeySlot:
        """The slot of that name. Raises KeyError."""
        for slot in self.keys:
            if slot.name == name:
                return slot
        raise KeyError(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOperation:
    """A batch call: `item` is run for each of its items, with one authorisation for those in a row that differ in
    their payload alone."""

    name: str
    item: Operation
    payload: tuple[str, ...]
    """Members of an item that only the item's handler and `check` look at: no permission or condition, no grant and no
    record depends on them, nor does a key that the item names."""
    _others: Callable[[Any], tuple[Any, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = [member.name for member in fields(self.item.request.cls) if member.name not in self.payload]
        object.__setattr__(self, "_others", attrgetter(*names))

    def terms(self, request: Any) -> tuple[Any, ...] | None:
        """What an item says beside its payload. None where that doesn't tell it from others: its key is found by the
        payload, or it has a document that must be looked at."""
        for slot in self.item.keys:
            if getattr(request, slot.member) is None:
                return None
        if getattr(request, "recipient", None) is not None:
            return None
        return self._others(request)


Row = Operation | BatchOperation
Table = Mapping[str, Row]
