"""SimulatePolicy: everything that it can be refused for; the work itself is done as the answer is given."""

from __future__ import annotations

from kagitori_server.model.errors import NotFoundException, ValidationException
from kagitori_server.model.keys import Key
from kagitori_server.model.limits import SECONDS_PER_DAY
from kagitori_server.model.principals import GroupRecord
from kagitori_server.operations.administration.changes import (
    Change,
    KeyChange,
    another_identity_policy,
    another_key_policy,
    disabled,
)
from kagitori_server.operations.administration.reach import holder_at
from kagitori_server.operations.context import Context
from kagitori_server.operations.grant_names import find_grant
from kagitori_server.operations.principal_names import resolver
from kagitori_server.operations.resolve import resolve_own_key
from kagitori_server.operations.shapes.simulation import SimulatePolicyRequest, SimulatePolicyResponse
from kagitori_server.operations.streams import Stream
from kagitori_server.storage.reader import Reader

DEFAULT_DAYS = 90
"""How far a simulation looks back unless told."""

_PAGE = 1_000


def simulate_policy(context: Context, request: SimulatePolicyRequest) -> Stream[SimulatePolicyResponse]:
    """Replays recorded calls against a change that isn't made."""
    start = context.now - DEFAULT_DAYS * SECONDS_PER_DAY if request.start_time is None else request.start_time
    end = request.end_time
    if start >= (context.now if end is None else end):
        raise ValidationException("The period of a simulation begins before it ends, and in the past.")
    change = _change(context, request)
    return context.services.administration.simulations.start(context, change, max(start, 0.0), end)


def _change(context: Context, request: SimulatePolicyRequest) -> Change:
    if request.identity_policy is not None:
        wanted = request.identity_policy
        with context.services.catalog.read() as reader:
            holder = holder_at(context, reader, wanted.principal_arn)
            members = _members(reader, holder.arn) if isinstance(holder, GroupRecord) else frozenset()
        return another_identity_policy(holder, wanted.policy_name, wanted.policy_document, members)
    key = _key(context, request)
    # The record names it.
    context.keys["key"] = key
    if request.key_policy is not None:
        with context.services.catalog.read() as reader:
            return another_key_policy(key, request.key_policy.policy, resolver(reader, context.services.partition))
    if request.grant_revocation is not None:
        return KeyChange(key, key, find_grant(context, key, request.grant_revocation.grant_id))
    return disabled(key)


def _key(context: Context, request: SimulatePolicyRequest) -> Key:
    named = request.changed_arn(context.services.partition, context.region, context.account)
    key = resolve_own_key(context, named)
    if key.arn != named:
        # The permission was asked on what the request says.
        raise NotFoundException(f"Key '{named}' does not exist")
    return key


def _members(reader: Reader, group_arn: str) -> frozenset[str]:
    found: set[str] = set()
    after = ""
    while page := reader.users_in(group_arn, after, _PAGE):
        found.update(user.arn for user in page)
        after = page[-1].name
    return frozenset(found)
