"""`kagitori policy explain` and `kagitori policy lint`: why a call is allowed or not, what is wrong with a policy."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from kagitori.kms.v1.decisions_pb2 import (
    ContextValues,
    ExplainAccessRequest,
    LintPolicyRequest,
    PolicyKind,
    StatementReference,
)
from kagitori.kms.v1.keys_pb2 import DescribeKeyRequest
from kagitori_client.cli.arguments import pairs, principal_arn
from kagitori_client.cli.failures import PolicyFindings
from kagitori_client.cli.files import read_document
from kagitori_client.cli.session import Session, command
from kagitori_client.cli.text import Plain, plain

_PREFIXES = ("aws:", "kms:", "kagitori:")


class Kind(StrEnum):
    """What a document is to be used as."""

    KEY = "key"
    IDENTITY = "identity"


_KINDS = {Kind.KEY: PolicyKind.POLICY_KIND_KEY_POLICY, Kind.IDENTITY: PolicyKind.POLICY_KIND_IDENTITY_POLICY}


def register(app: typer.Typer) -> None:
    """Adds both commands to `kagitori policy`."""
    command(app, "explain", epilog="Example: kagitori policy explain --principal user/alice --action kms:Decrypt")(
        explain
    )
    command(app, "lint", epilog="Example: kagitori policy lint policy.json --kind identity")(lint)


def explain(
    session: Session,
    principal: Annotated[
        str, typer.Option(help="ARN, or user/NAME, role/NAME, root of your account.", metavar="PRINCIPAL")
    ],
    action: Annotated[str, typer.Option(help="Such as kms:Decrypt.", metavar="ACTION")],
    key: Annotated[
        str | None,
        typer.Option(
            help="Key id or alias, or the ARN of a key, alias, user, group, role or managed policy; none for actions "
            "without resource.",
            metavar="KEY",
        ),
    ] = None,
    context: Annotated[
        list[str] | None,
        typer.Option(
            help="name=value of the encryption context, or of a condition key (aws:…, kms:…); may be repeated.",
            metavar="NAME=VALUE",
        ),
    ] = None,
) -> None:
    """Tell whether a call would be allowed, and what every statement and grant makes of it."""
    given = pairs(context, "--context")
    request = ExplainAccessRequest(
        principal_arn=principal_arn(session, principal),
        action=action,
        resource_arn="*" if key is None else _resource(session, key),
        encryption_context={name: value for name, value in given.items() if not name.startswith(_PREFIXES)},
        condition_values={
            name: ContextValues(values=[value]) for name, value in given.items() if name.startswith(_PREFIXES)
        },
    )
    answer = session.client.admin.ExplainAccess(request)
    if session.as_json:
        session.json(plain(answer))
        return
    decided: list[dict[str, Plain]] = [{
        "decision": plain(answer)["decision"],
        "basis": answer.explanation,
        "decided_by": place(answer.decided_by) if answer.HasField("decided_by") else None,
    }]
    session.rows("decision", decided, ["decision", "basis", "decided_by"])
    rows: list[dict[str, Plain]] = [
        {
            "statement": place(each.statement),
            "effect": "Allow" if each.allows else "Deny",
            "matches": each.matches,
            "explanation": each.explanation,
        }
        for each in answer.evaluations
    ]
    session.rows("statements", rows, ["statement", "effect", "matches", "explanation"])


def lint(
    session: Session,
    document: Annotated[str, typer.Argument(metavar="FILE", help="JSON document, - for stdin.")],
    kind: Annotated[Kind, typer.Option(help="What the policy is to be used as.")] = Kind.KEY,
) -> None:
    """Check a policy document; exit code 1 when there is anything to say about it."""
    request = LintPolicyRequest(policy_kind=_KINDS[kind], policy_document=read_document(document))
    findings = session.client.admin.LintPolicy(request).findings
    session.rows("findings", [plain(each) for each in findings], ["severity", "code", "pointer", "message"])
    if findings:
        raise PolicyFindings(f"{len(findings)} findings in {document}")


def _resource(session: Session, key: str) -> str:
    """An ARN as it is; what else names a key of the caller's becomes the key's ARN."""
    if key.startswith("arn:"):
        return key
    found = session.client.keys.DescribeKey(DescribeKeyRequest(key_id=session.key_id(key)))
    return found.key_metadata.arn


def place(statement: StatementReference) -> str:
    """Where a statement stands, in words."""
    source = str(plain(statement)["source"]).lower().replace("_", " ")
    if source == "grant":
        return f"grant {statement.policy}"
    sid = f" ({statement.sid})" if statement.HasField("sid") else ""
    name = "" if source == "key policy" else f" {statement.policy}"
    return f"{source}{name} statement {statement.index}{sid}"
