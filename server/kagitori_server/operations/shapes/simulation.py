"""Shapes of SimulatePolicy."""

from __future__ import annotations

from dataclasses import dataclass

from kagitori_server.model import limits
from kagitori_server.model.arn import key_arn, parse_key_reference
from kagitori_server.model.errors import ValidationException
from kagitori_server.model.shape import member
from kagitori_server.operations.shapes.decisions import Outcome, StatementReference
from kagitori_server.operations.shapes.keys import key_id
from kagitori_server.operations.shapes.principals import POLICY_CHARACTERS, account_id, entity_arn, name

_POLICY_NAME_MAX = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedKeyPolicy:
    """Another policy of a key."""

    key_id: str = key_id()
    policy: str = member(required=True, minimum=1, maximum=limits.POLICY_SHAPE_MAX, pattern=POLICY_CHARACTERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedIdentityPolicy:
    """Another inline policy of a user, group or role; without a document, one less."""

    principal_arn: str = entity_arn()
    policy_name: str = name(maximum=_POLICY_NAME_MAX)
    policy_document: str | None = member(minimum=1, maximum=limits.POLICY_SHAPE_MAX, pattern=POLICY_CHARACTERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedGrantRevocation:
    """A grant less."""

    key_id: str = key_id()
    grant_id: str = member(required=True, minimum=1, maximum=128)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedKeyDisabling:
    """A key that can't be used."""

    key_id: str = key_id()


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatePolicyRequest:
    """What SimulatePolicy takes: exactly one of the four changes."""

    account_id: str | None = account_id()
    key_policy: ProposedKeyPolicy | None = member()
    identity_policy: ProposedIdentityPolicy | None = member()
    grant_revocation: ProposedGrantRevocation | None = member()
    key_disabling: ProposedKeyDisabling | None = member()
    start_time: float | None = member()
    end_time: float | None = member()

    def changed_arn(self, partition: str, region: str, account: str) -> str:
        """The ARN of the key or holder of policies that would change; a key id is one of that account and Region.

        Raises ValidationException unless the request names one change, InvalidArnException for what names no key.
        """
        changes = [
            change
            for change in (self.key_policy, self.identity_policy, self.grant_revocation, self.key_disabling)
            if change is not None
        ]
        if len(changes) != 1:
            raise ValidationException("A simulation is of one change: a policy, a grant less, or a key disabled.")
        change = changes[0]
        if isinstance(change, ProposedIdentityPolicy):
            return change.principal_arn
        named = parse_key_reference(change.key_id, partition, alias_allowed=False)
        return key_arn(partition, named.region or region, named.account or account, named.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationProgress:
    """How far it has come."""

    records_read: int
    records_total: int
    finished: bool
    calls_decided: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationFinding:
    """Calls that would be answered differently."""

    principal_arn: str
    action: str
    resource_arn: str
    before: Outcome
    after: Outcome
    calls: int
    first_seen: float
    last_seen: float
    event_id: str
    statement: StatementReference | None
    refused_when_made: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationUndecided:
    """Calls that can't be decided."""

    reason: str
    calls: int
    event_id: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatePolicyResponse:
    """A message of the stream; one of the members is set."""

    progress: SimulationProgress | None = None
    finding: SimulationFinding | None = None
    undecided: SimulationUndecided | None = None
