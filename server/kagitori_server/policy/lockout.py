"""The lockout safety check: whoever puts a key policy must be able to put the next one."""

from __future__ import annotations

from kagitori_server.model.errors import MalformedPolicyDocumentException
from kagitori_server.policy.context import Context
from kagitori_server.policy.evaluate import NO_LIMITS, Limits, NamedPolicies, Query, decide_key
from kagitori_server.policy.matchers import split_arn
from kagitori_server.policy.principals import Caller
from kagitori_server.policy.statements import KeyPolicy

LOCKED_OUT = "The new key policy will not allow you to update the key policy in the future."


def check_lockout(
    candidate: KeyPolicy,
    caller: Caller,
    identity_policies: NamedPolicies,
    key_arn: str,
    context: Context,
    *,
    limits: Limits = NO_LIMITS,
) -> None:
    """Raise MalformedPolicyDocumentException if the candidate would refuse `kms:PutKeyPolicy` to the caller.

    Grants can't give this action. `BypassPolicyLockoutSafetyCheck` is the business of whoever calls this.
    ValueError if `key_arn` is no ARN.
    """
    parts = split_arn(key_arn)
    if parts is None:
        raise ValueError("not a key ARN")
    query = Query(caller, "kms:PutKeyPolicy", key_arn, parts[4], context)
    decision = decide_key(query, candidate, identity_policies, cross_account_capable=False, limits=limits)
    if not decision.allowed:
        raise MalformedPolicyDocumentException(LOCKED_OUT)
