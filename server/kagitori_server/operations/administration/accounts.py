"""CreateAccount, ListAccounts and DeleteAccount."""

from __future__ import annotations

import uuid

from kagitori_server.model.arn import root_arn
from kagitori_server.model.errors import (
    DeleteConflictException,
    EntityAlreadyExistsException,
    LimitExceededException,
)
from kagitori_server.model.principals import Account, PrincipalKind, PrincipalRecord
from kagitori_server.operations.administration.credentials import drop_expired
from kagitori_server.operations.administration.pages import read_page
from kagitori_server.operations.administration.reach import is_home
from kagitori_server.operations.context import Context
from kagitori_server.operations.shapes import principals as shapes
from kagitori_server.operations.shapes.empty import EMPTY, Empty
from kagitori_server.storage.reader import Reader

ACCOUNTS_MAX = 1_000
"""Accounts of an installation."""

_IDS = 10**12
_ATTEMPTS = 8
"""Random ids tried; with at most `ACCOUNTS_MAX` of 10^12 taken, the second one is needed practically never."""


def create_account(context: Context, request: shapes.CreateAccountRequest) -> shapes.CreateAccountResponse:
    """Makes an account with its root user, who has no credentials yet."""
    if len(context.writer.list_accounts(limit=ACCOUNTS_MAX)) >= ACCOUNTS_MAX:
        raise LimitExceededException(f"The installation has {ACCOUNTS_MAX} accounts, the most it may have.")
    number = request.account_id or _free_id(context)
    account = Account(number, request.name, context.now)
    root = PrincipalRecord(
        kind=PrincipalKind.ROOT,
        account=number,
        name="root",
        path="/",
        principal_id=number,
        arn=root_arn(context.services.partition, number),
        created=context.now,
        policies={},
    )
    context.writer.insert_account(account, root)
    return shapes.CreateAccountResponse(account=_shown(context, account))


def list_accounts(context: Context, request: shapes.ListAccountsRequest) -> shapes.ListAccountsResponse:
    """Lists all accounts for the home account's callers; others see their own."""
    with context.services.catalog.read() as reader:
        page = read_page(
            context.operation.name,
            request.marker,
            request.limit,
            reader.list_accounts if is_home(context) else lambda after, _: _own(context, reader, after),
            lambda account: account.account,
        )
    return shapes.ListAccountsResponse(
        accounts=tuple(_shown(context, account) for account in page.items),
        next_marker=page.next_marker,
        truncated=page.truncated,
    )


def delete_account(context: Context, request: shapes.DeleteAccountRequest) -> Empty:
    """Removes an account that has nothing left but its root user. The home account stays."""
    if request.account_id == context.services.home_account:
        raise DeleteConflictException("The managing account can't be deleted.")
    # Anybody else's tokens keep the account anyway, by whom they belong to.
    drop_expired(context, root_arn(context.services.partition, request.account_id))
    context.writer.delete_account(request.account_id)
    return EMPTY


def _own(context: Context, reader: Reader, after: str) -> list[Account]:
    own = reader.get_account(context.caller.account)
    return [] if own is None or own.account <= after else [own]


def _free_id(context: Context) -> str:
    for _ in range(_ATTEMPTS):
        number = f"{uuid.UUID(context.services.ids.uuid()).int % _IDS:012}"
        if context.writer.get_account(number) is None:
            return number
    raise EntityAlreadyExistsException("No free account id was found; name one.")


def _shown(context: Context, account: Account) -> shapes.Account:
    return shapes.Account(
        account_id=account.account,
        name=account.name,
        arn=root_arn(context.services.partition, account.account),
        create_date=account.created,
    )
