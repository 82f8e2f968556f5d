"""ExplainAccess and LintPolicy. They change nothing and use no key."""

from __future__ import annotations

import re

from kagitori_server.model.arn import ACCOUNT_PATTERN, PARTITION_PATTERN, key_arn, shortened
from kagitori_server.model.errors import (
    InvalidArnException,
    KmsError,
    LimitExceededException,
    MalformedPolicyDocumentException,
    NoSuchEntityException,
    UnsupportedOperationException,
)
from kagitori_server.model.keys import Key
from kagitori_server.model.principals import Caller, CredentialKind, PrincipalKind, PrincipalRecord
from kagitori_server.operations.administration.ports import ExplainedCall, SupposedCall
from kagitori_server.operations.administration.reach import principal_at
from kagitori_server.operations.context import Context
from kagitori_server.operations.grant_names import check_grant_tokens
from kagitori_server.operations.principal_names import resolver
from kagitori_server.operations.resolve import resolve_named_key
from kagitori_server.operations.shapes import decisions as shapes
from kagitori_server.policy.context import ContextValue, make_context
from kagitori_server.policy.document import IdentityKind, parse_identity_policy, parse_key_policy
from kagitori_server.policy.evaluate import Basis, Decision
from kagitori_server.policy.explain import Explanation, GrantReport, Layer, StatementReport
from kagitori_server.policy.lint import Finding, lint_identity_policy, lint_key_policy
from kagitori_server.storage.reader import Reader

EXPLAINED_SESSION = "explained"
"""The name of the session that a role named by its own ARN is supposed to call by."""

_SESSION = re.compile(r"arn:[a-z-]+:sts::[0-9]{12}:assumed-role/(?P<role>[^/]+)/(?P<session>[^/]+)")
_IDENTITY = re.compile(
    rf"arn:(?P<partition>{PARTITION_PATTERN}):iam::(?P<account>{ACCOUNT_PATTERN})"
    r":(?:root|(?:user|role|group|policy)/[!-~]+)"
)
_SOME_KEY = "00000000-0000-0000-0000-000000000000"

_SOURCES = {
    Layer.KEY_POLICY.value: shapes.PolicySource.KEY_POLICY,
    Layer.IDENTITY_POLICY.value: shapes.PolicySource.IDENTITY_POLICY,
    Layer.BOUNDARY.value: shapes.PolicySource.PERMISSIONS_BOUNDARY,
    Layer.SESSION_POLICY.value: shapes.PolicySource.SESSION_POLICY,
}
_DENYING = {
    Basis.DENIED_BY_BOUNDARY: shapes.PolicySource.PERMISSIONS_BOUNDARY,
    Basis.DENIED_BY_SESSION_POLICY: shapes.PolicySource.SESSION_POLICY,
}


def explain_access(context: Context, request: shapes.ExplainAccessRequest) -> shapes.ExplainAccessResponse:
    """Decides a call that isn't made, and tells what every statement and grant made of it."""
    named = request.resource_arn
    caller = context.caller if request.principal_arn is None else _supposed_caller(context, request.principal_arn)
    key = None
    if named != "*" and not _is_identity(context, named):
        if not named.startswith("arn:"):
            raise InvalidArnException(f"{shortened(named)} is not the ARN of a key or alias.")
        # Of the account that is asked about and no other: whether another's key exists isn't told.
        key = resolve_named_key(context, named, context.operation.permissions[0].action, alias_allowed=True)
        context.keys["key"] = key
    check_grant_tokens(context, request.grant_tokens)
    supposed = make_context(
        (name, given.values[0] if len(given.values) == 1 else given.values)
        for name, given in request.condition_values.items()
    )
    explained = context.services.administration.decisions.explain(
        context, SupposedCall(caller, request.action, key, named, request.encryption_context, supposed)
    )
    return _explanation(caller, key, explained)


def _is_identity(context: Context, named: str) -> bool:
    """Whether it's the ARN of something that AdminService is about and that the call which isn't made could reach;
    nothing is looked up. Raises InvalidArnException for what is out of its reach."""
    found = _IDENTITY.fullmatch(named)
    if found is None or found["partition"] != context.services.partition:
        return False
    if found["account"] != context.account and context.account != context.services.home_account:
        raise InvalidArnException(f"{shortened(named)} is not of the principal's account.")
    return True


def lint_policy(context: Context, request: shapes.LintPolicyRequest) -> shapes.LintPolicyResponse:
    """Checks a document; that it would be refused is a finding too. A key policy is looked at as if it were to be
    put on a key of this account and Region, its principals being those that exist now."""
    try:
        found = _lint(context, request)
    except (MalformedPolicyDocumentException, LimitExceededException, InvalidArnException) as refusal:
        return shapes.LintPolicyResponse(findings=(_refused(refusal),))
    remarks = [(_pointer(each), each) for each in found]
    return shapes.LintPolicyResponse(findings=tuple(
        shapes.LintFinding(
            severity=shapes.LintSeverity.WARNING, code=each.code.upper().replace("-", "_"), message=each.text,
            pointer=pointer,
        )
        for pointer, each in remarks
    ))


def _lint(context: Context, request: shapes.LintPolicyRequest) -> tuple[Finding, ...]:
    if request.policy_kind is shapes.PolicyKind.TRUST_POLICY:
        raise UnsupportedOperationException("Trust policies can't be checked.")
    if request.policy_kind is shapes.PolicyKind.IDENTITY_POLICY:
        # The largest that any use allows; for a smaller one, putting it tells.
        return lint_identity_policy(parse_identity_policy(request.policy_document, IdentityKind.ROLE))
    partition = context.services.partition
    with context.services.catalog.read() as reader:
        policy = parse_key_policy(request.policy_document, resolver(reader, partition))
    return lint_key_policy(policy, key_arn(partition, context.region, context.account, _SOME_KEY))


def _refused(refusal: KmsError) -> shapes.LintFinding:
    return shapes.LintFinding(
        severity=shapes.LintSeverity.ERROR,
        code=re.sub(r"(?<=[a-z])(?=[A-Z])", "_", refusal.code().removesuffix("Exception")).upper(),
        message=refusal.message or "The document is not acceptable.",
        pointer="",
    )


def _pointer(finding: Finding) -> str:
    return "" if finding.index is None else f"/Statement/{finding.index}"


def _supposed_caller(context: Context, arn: str) -> Caller:
    """The caller that authentication would make of a credential of that principal. Raises NoSuchEntityException."""
    with context.services.catalog.read() as reader:
        if (session := _SESSION.fullmatch(arn)) is not None:
            record, session_name = _role(context, reader, session["role"], arn), session["session"]
        else:
            record, session_name = principal_at(context, reader, arn), EXPLAINED_SESSION
    is_role = record.kind is PrincipalKind.ROLE
    partition = context.services.partition
    return Caller(
        kind=record.kind,
        account=record.account,
        arn=(
            f"arn:{partition}:sts::{record.account}:assumed-role/{record.name}/{session_name}" if is_role
            else record.arn
        ),
        user_id=f"{record.principal_id}:{session_name}" if is_role else record.principal_id,
        record=record,
        credential_kind=CredentialKind.TOKEN,
        credential_id="",
        session_name=session_name if is_role else "",
        session_started=context.now,
    )


def _role(context: Context, reader: Reader, name: str, arn: str) -> PrincipalRecord:
    role = reader.find_principal(context.account, PrincipalKind.ROLE, name)
    if role is None or role.name != name:
        raise NoSuchEntityException(f"The principal {arn} cannot be found.")
    return role


def _explanation(caller: Caller, key: Key | None, explained: ExplainedCall) -> shapes.ExplainAccessResponse:
    decision = explained.explanation.decision
    if decision.allowed:
        text = (
            f"User: {caller.arn} is authorized to perform: {explained.action} on resource: {explained.resource} "
            f"because {decision.basis.reason}"
        )
    else:
        text = decision.denial_text(caller.arn, explained.action, explained.resource)
    return shapes.ExplainAccessResponse(
        decision=outcome_of(decision),
        explanation=text,
        decided_by=decided_by(decision, key),
        evaluations=_evaluations(explained.explanation, key),
        condition_values={
            name: shapes.ContextValues(values=_values(value)) for name, value in explained.context.items()
        },
    )


def _values(value: ContextValue) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def outcome_of(decision: Decision) -> shapes.Outcome:
    """The decision as the contract has it."""
    if decision.allowed:
        return shapes.Outcome.ALLOWED
    return shapes.Outcome.EXPLICIT_DENY if decision.explicit_deny else shapes.Outcome.IMPLICIT_DENY


def decided_by(decision: Decision, key: Key | None) -> shapes.StatementReference | None:
    """The statement or grant that decided on `key`, or without one by identity policies alone."""
    if decision.grant is not None:
        return _grant(decision.grant)
    if decision.statement is None:
        return None
    if decision.policy is None:
        source, policy = shapes.PolicySource.KEY_POLICY, "" if key is None else key.arn
    else:
        source = _DENYING.get(decision.basis, shapes.PolicySource.IDENTITY_POLICY)
        policy = decision.policy
    return shapes.StatementReference(
        source=source, policy=policy, index=decision.statement.index, sid=decision.statement.sid
    )


def _grant(grant_id: str) -> shapes.StatementReference:
    return shapes.StatementReference(source=shapes.PolicySource.GRANT, policy=grant_id, index=0, sid=None)


def _evaluations(explanation: Explanation, key: Key | None) -> tuple[shapes.StatementEvaluation, ...]:
    return (
        *(_of_statement(report, key) for report in explanation.statements),
        *(_of_grant(report) for report in explanation.grants),
    )


def _of_statement(report: StatementReport, key: Key | None) -> shapes.StatementEvaluation:
    policy = report.policy if report.policy is not None else "" if key is None else key.arn
    if report.matched:
        text = "matches" if report.names_caller_as is None else f"matches, names the caller as {report.names_caller_as}"
    elif report.failed == "condition":
        text = f"condition {report.operator} on {report.key} does not match"
    else:
        text = f"{report.failed} does not match"
    return shapes.StatementEvaluation(
        statement=shapes.StatementReference(
            source=_SOURCES[report.layer], policy=policy, index=report.index, sid=report.sid
        ),
        allows=report.effect == "Allow",
        matches=report.matched,
        explanation=text,
    )


def _of_grant(report: GrantReport) -> shapes.StatementEvaluation:
    text = "matches" if report.matched else f"{report.failed} does not match"
    return shapes.StatementEvaluation(
        statement=_grant(report.grant_id), allows=True, matches=report.matched, explanation=text
    )
