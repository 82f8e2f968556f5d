"""`kagitori principal`: accounts, users, roles, their tags, and the certificates that stand for them."""

from __future__ import annotations

from typing import Annotated

import typer

from kagitori.kms.v1.credentials_pb2 import (
    DeregisterCertificateRequest,
    GetCallerIdentityRequest,
    ListCertificatesRequest,
    RegisterCertificateRequest,
)
from kagitori.kms.v1.principals_pb2 import (
    CreateAccountRequest,
    CreateRoleRequest,
    CreateUserRequest,
    DeleteRoleRequest,
    DeleteUserRequest,
    GetRoleRequest,
    GetUserRequest,
    ListAccountsRequest,
    ListRolesRequest,
    ListUsersRequest,
    TagPrincipalRequest,
    UntagPrincipalRequest,
    UpdateAssumeRolePolicyRequest,
)
from kagitori_client.cli.arguments import principal_arn, seconds, tags
from kagitori_client.cli.failures import UsageError
from kagitori_client.cli.files import read_document
from kagitori_client.cli.policies import Document, Principal
from kagitori_client.cli.session import Session, command
from kagitori_client.client import pages

app = typer.Typer(help="Manage who may call: accounts, users, groups, roles, certificates.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME")]
Account = Annotated[
    str | None, typer.Option("--account", help="Another account, 12 digits; managing account only.", metavar="ID")
]
Path = Annotated[str | None, typer.Option("--path", help="Path such as /engineering/.", metavar="PATH")]
TagOption = Annotated[list[str] | None, typer.Option("--tag", help="Tag; repeatable.", metavar="NAME=VALUE")]


@command(app, "whoami")
def whoami(session: Session) -> None:
    """Show who you are to the service."""
    session.record(session.client.admin.GetCallerIdentity(GetCallerIdentityRequest()))


@command(app, "create-account")
def create_account(
    session: Session,
    name: Name,
    account: Annotated[
        str | None, typer.Option("--id", help="12 digits; random when absent.", metavar="ID")
    ] = None,
) -> None:
    """Make an account. `kagitori token create arn:aws:iam::ID:root` makes its first credential."""
    request = CreateAccountRequest(name=name, account_id=account)
    session.record(session.client.admin.CreateAccount(request).account)


@command(app, "list-accounts")
def list_accounts(session: Session) -> None:
    """List accounts."""
    found = [a for page in pages(session.client.admin.ListAccounts, ListAccountsRequest()) for a in page.accounts]
    session.records("accounts", found, ["account_id", "name", "create_date"])


@command(app, "create-user", epilog="Example: kagitori principal create-user alice --tag team=shop")
def create_user(
    session: Session, name: Name, path: Path = None, tag: TagOption = None, account: Account = None
) -> None:
    """Make a user, without permissions or credentials."""
    request = CreateUserRequest(user_name=name, path=path, tags=tags(tag), account_id=account)
    session.record(session.client.admin.CreateUser(request).user)


@command(app, "list-users")
def list_users(
    session: Session,
    group: Annotated[str | None, typer.Option("--group", help="Only members of this group.", metavar="NAME")] = None,
    account: Account = None,
) -> None:
    """List users."""
    request = ListUsersRequest(account_id=account, group_name=group)
    found = [user for page in pages(session.client.admin.ListUsers, request) for user in page.users]
    session.records("users", found, ["user_name", "arn", "create_date"])


@command(app, "show-user")
def show_user(session: Session, name: Name, account: Account = None) -> None:
    """Show a user."""
    session.record(session.client.admin.GetUser(GetUserRequest(user_name=name, account_id=account)).user)


@command(app, "delete-user")
def delete_user(session: Session, name: Name, account: Account = None) -> None:
    """Remove a user that has no credentials, groups or policies any more."""
    session.client.admin.DeleteUser(DeleteUserRequest(user_name=name, account_id=account))
    session.done(f"user {name} is removed", user_name=name)


@command(app, "create-role", epilog="Example: kagitori principal create-role backup --description nightly")
def create_role(
    session: Session,
    name: Name,
    path: Path = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    trust: Annotated[
        str | None, typer.Option(help="Trust policy: who may assume it; nobody when absent.", metavar="FILE")
    ] = None,
    longest_session: Annotated[
        str | None, typer.Option(help="Longest session, 1h to 12h; 1h when absent.", metavar="TIME")
    ] = None,
    tag: TagOption = None,
    account: Account = None,
) -> None:
    """Make a role, without permissions. `kagitori token assume-role` takes it on for a session."""
    request = CreateRoleRequest(
        role_name=name, path=path, description=description, tags=tags(tag), account_id=account,
        assume_role_policy_document=read_document(trust) if trust is not None else None,
        max_session_duration=seconds(longest_session) if longest_session is not None else None,
    )
    session.record(session.client.admin.CreateRole(request).role)


@command(app, "list-roles")
def list_roles(session: Session, account: Account = None) -> None:
    """List roles."""
    request = ListRolesRequest(account_id=account)
    found = [role for page in pages(session.client.admin.ListRoles, request) for role in page.roles]
    session.records("roles", found, ["role_name", "arn", "description", "create_date"])


@command(app, "put-trust", epilog="Example: kagitori principal put-trust backup trust.json")
def put_trust(session: Session, name: Name, document: Document, account: Account = None) -> None:
    """Say anew who may assume a role."""
    request = UpdateAssumeRolePolicyRequest(
        role_name=name, policy_document=read_document(document), account_id=account
    )
    session.client.admin.UpdateAssumeRolePolicy(request)
    session.done(f"role {name} has a new trust policy", role_name=name)


@command(app, "show-role")
def show_role(session: Session, name: Name, account: Account = None) -> None:
    """Show a role."""
    session.record(session.client.admin.GetRole(GetRoleRequest(role_name=name, account_id=account)).role)


@command(app, "tag", epilog="Example: kagitori principal tag user/alice --tag team=shop")
def tag_principal(session: Session, principal: Principal, tag: TagOption = None) -> None:
    """Give a user or role tags, which policies can refer to."""
    arn = principal_arn(session, principal)
    session.client.admin.TagPrincipal(TagPrincipalRequest(principal_arn=arn, tags=tags(tag)))
    session.done(f"{principal} is tagged", principal_arn=arn)


@command(app, "untag")
def untag_principal(
    session: Session, principal: Principal, names: Annotated[list[str], typer.Argument(metavar="NAME...")]
) -> None:
    """Take tags away from a user or role."""
    arn = principal_arn(session, principal)
    session.client.admin.UntagPrincipal(UntagPrincipalRequest(principal_arn=arn, tag_keys=names))
    session.done(f"{principal} is untagged", principal_arn=arn)


@command(app, "delete-role")
def delete_role(session: Session, name: Name, account: Account = None) -> None:
    """Remove a role that has no policies or credentials any more."""
    session.client.admin.DeleteRole(DeleteRoleRequest(role_name=name, account_id=account))
    session.done(f"role {name} is removed", role_name=name)


@command(
    app, "map-certificate",
    epilog="Example: kagitori principal map-certificate user/web --uri-san spiffe://example.org/web",
)
def map_certificate(
    session: Session,
    principal: Principal,
    uri_san: Annotated[
        str | None,
        typer.Option(help="The certificate's single URI name, or for a role a pattern of SPIFFE IDs.", metavar="URI"),
    ] = None,
    subject: Annotated[
        str | None, typer.Option(help="The certificate's subject, in the form of RFC 4514.", metavar="NAME")
    ] = None,
    session_name: Annotated[str | None, typer.Option(help="Name of the session; roles need one.")] = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
) -> None:
    """Let callers with a client certificate act as a principal."""
    if (uri_san is None) == (subject is None):
        raise UsageError("say either --uri-san or --subject")
    request = RegisterCertificateRequest(
        principal_arn=principal_arn(session, principal), session_name=session_name, description=description
    )
    if uri_san is not None:
        request.uri_san = uri_san
    if subject is not None:
        request.subject = subject
    answer = session.client.admin.RegisterCertificate(request)
    session.done(
        f"certificate mapping {answer.certificate_id} stands for {request.principal_arn}",
        certificate_id=answer.certificate_id, principal_arn=request.principal_arn,
    )


@command(app, "list-certificates")
def list_certificates(
    session: Session,
    principal: Annotated[str | None, typer.Option(help="Only those of this principal.")] = None,
) -> None:
    """List the certificates that stand for principals."""
    request = ListCertificatesRequest(principal_arn=principal_arn(session, principal) if principal else None)
    found = [c for page in pages(session.client.admin.ListCertificates, request) for c in page.certificates]
    shown = ["certificate_id", "principal_arn", "uri_san", "subject", "session_name"]
    session.records("certificates", found, shown)


@command(app, "unmap-certificate")
def unmap_certificate(session: Session, certificate_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Take a certificate's meaning away again."""
    request = DeregisterCertificateRequest(certificate_id=certificate_id)
    session.client.admin.DeregisterCertificate(request)
    session.done(f"certificate mapping {certificate_id} is removed", certificate_id=certificate_id)
