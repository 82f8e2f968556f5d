"""`kagitori policy`: key policies, and the inline policies of users, groups and roles."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from kagitori.kms.v1.identity_policies_pb2 import (
    DeleteIdentityPolicyRequest,
    GetIdentityPolicyRequest,
    ListIdentityPoliciesRequest,
    PutIdentityPolicyRequest,
)
from kagitori.kms.v1.keys_pb2 import GetKeyPolicyRequest, ListKeyPoliciesRequest, PutKeyPolicyRequest
from kagitori_client.cli import decisions, simulate
from kagitori_client.cli.arguments import principal_arn
from kagitori_client.cli.files import read_document
from kagitori_client.cli.keys import Key
from kagitori_client.cli.session import Session, command
from kagitori_client.cli.text import printable
from kagitori_client.client import pages

app = typer.Typer(help="Read, write, check and explain policies of keys and principals.", no_args_is_help=True)
decisions.register(app)
simulate.register(app)

Principal = Annotated[
    str, typer.Argument(metavar="PRINCIPAL", help="ARN, or user/NAME, role/NAME, group/NAME of your account.")
]
PolicyName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the policy.")]
Document = Annotated[str, typer.Argument(metavar="FILE", help="JSON document, - for stdin.")]


def print_document(session: Session, text: str, **facts: str) -> None:
    """Prints a policy byte for byte; a terminal gets a line end that may be missing, and nothing that moves it."""
    if session.as_json:
        session.json({**facts, "policy": text})
    elif sys.stdout.isatty():
        sys.stdout.write("".join(f"{printable(line)}\n" for line in text.replace("\t", "    ").splitlines()))
    else:
        sys.stdout.write(text)


@command(app, "get", epilog="Example: kagitori policy get alias/orders > policy.json")
def get(session: Session, key: Key) -> None:
    """Print the policy of a key, byte for byte as it was put."""
    arn = session.key_id(key)
    answer = session.client.keys.GetKeyPolicy(GetKeyPolicyRequest(key_id=arn))
    print_document(session, answer.policy, key_id=arn, policy_name=answer.policy_name)


@command(app, "put")
def put(
    session: Session,
    key: Key,
    document: Document,
    bypass_lockout_check: Annotated[
        bool, typer.Option("--bypass-lockout-check", help="Accept a policy that you could not change again.")
    ] = False,
) -> None:
    """Replace the policy of a key."""
    arn = session.key_id(key)
    request = PutKeyPolicyRequest(key_id=arn, policy=read_document(document))
    if bypass_lockout_check:
        request.bypass_policy_lockout_safety_check = True
    session.client.keys.PutKeyPolicy(request)
    session.done(f"{key} has a new policy", key_id=arn, policy_name="default")


@command(app, "list")
def list_(session: Session, key: Key) -> None:
    """List the names of a key's policies; there is one, default."""
    request = ListKeyPoliciesRequest(key_id=session.key_id(key))
    names = [name for page in pages(session.client.keys.ListKeyPolicies, request) for name in page.policy_names]
    session.rows("policies", [{"policy_name": name} for name in names], ["policy_name"])


@command(app, "put-identity", epilog="Example: kagitori policy put-identity user/alice use-orders policy.json")
def put_identity(session: Session, principal: Principal, name: PolicyName, document: Document) -> None:
    """Write an inline policy of a user, group or role."""
    arn, text = principal_arn(session, principal), read_document(document)
    request = PutIdentityPolicyRequest(principal_arn=arn, policy_name=name, policy_document=text)
    session.client.admin.PutIdentityPolicy(request)
    session.done(f"{principal} has the policy {name}", principal_arn=arn, policy_name=name)


@command(app, "get-identity")
def get_identity(session: Session, principal: Principal, name: PolicyName) -> None:
    """Print an inline policy, byte for byte as it was put."""
    arn = principal_arn(session, principal)
    answer = session.client.admin.GetIdentityPolicy(GetIdentityPolicyRequest(principal_arn=arn, policy_name=name))
    print_document(session, answer.policy_document, principal_arn=arn, policy_name=name)


@command(app, "list-identity")
def list_identity(session: Session, principal: Principal) -> None:
    """List the inline policies of a user, group or role."""
    request = ListIdentityPoliciesRequest(principal_arn=principal_arn(session, principal))
    names = [
        name for page in pages(session.client.admin.ListIdentityPolicies, request) for name in page.policy_names
    ]
    session.rows("policies", [{"policy_name": name} for name in names], ["policy_name"])


@command(app, "delete-identity")
def delete_identity(session: Session, principal: Principal, name: PolicyName) -> None:
    """Remove an inline policy."""
    arn = principal_arn(session, principal)
    session.client.admin.DeleteIdentityPolicy(DeleteIdentityPolicyRequest(principal_arn=arn, policy_name=name))
    session.done(f"{principal} is without the policy {name}", principal_arn=arn, policy_name=name)
