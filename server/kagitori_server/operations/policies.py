"""GetKeyPolicy, PutKeyPolicy and ListKeyPolicies."""

from __future__ import annotations

from collections.abc import Mapping

from kagitori_server.model.errors import NotFoundException, UnsupportedOperationException
from kagitori_server.operations.context import Context
from kagitori_server.operations.paging import decode_marker
from kagitori_server.operations.principal_names import resolver
from kagitori_server.operations.shapes.empty import EMPTY, Empty
from kagitori_server.operations.shapes.keys import (
    DEFAULT_POLICY_NAME,
    GetKeyPolicyRequest,
    GetKeyPolicyResponse,
    ListKeyPoliciesRequest,
    ListKeyPoliciesResponse,
    PutKeyPolicyRequest,
)
from kagitori_server.policy.document import parse_key_policy

_LISTING = "ListKeyPolicies"


def check_policy(context: Context, text: str, arn: str, *, bypass_lockout_check: bool) -> Mapping[str, str]:
    """Checks a key policy that is to be put, and tells which unique ids its principals stand for.

    Raises MalformedPolicyDocumentException, InvalidArnException, LimitExceededException.
    """
    policy = parse_key_policy(text, resolver(context.writer, context.services.partition))
    if not bypass_lockout_check:
        context.services.lockout_check(context, policy, arn)
    return policy.bindings


def get_key_policy(context: Context, request: GetKeyPolicyRequest) -> GetKeyPolicyResponse:
    """Answers the key policy byte for byte as it was put (AWS GetKeyPolicy)."""
    if request.policy_name != DEFAULT_POLICY_NAME:
        raise NotFoundException("No such policy exists")
    return GetKeyPolicyResponse(policy=context.key.policy, policy_name=DEFAULT_POLICY_NAME)


def check_put_key_policy(_context: Context, request: PutKeyPolicyRequest) -> None:
    """Refuses any policy name but `default`."""
    if request.policy_name != DEFAULT_POLICY_NAME:
        raise UnsupportedOperationException("The only policy name is default.")


def put_key_policy(context: Context, request: PutKeyPolicyRequest) -> Empty:
    """Replaces the key policy, at once and everywhere (AWS PutKeyPolicy)."""
    bindings = check_policy(
        context, request.policy, context.key.arn, bypass_lockout_check=request.bypass_policy_lockout_safety_check
    )
    context.writer.set_key_policy(context.region, context.key.key_id, request.policy, bindings)
    return EMPTY


def list_key_policies(_context: Context, request: ListKeyPoliciesRequest) -> ListKeyPoliciesResponse:
    """Lists the names of a key's policies: there is always exactly one (AWS ListKeyPolicies)."""
    after = decode_marker(_LISTING, request.marker)
    names = () if after else (DEFAULT_POLICY_NAME,)
    return ListKeyPoliciesResponse(policy_names=names, next_marker=None, truncated=False)
