"""The home account and the root user's first credential, made when the catalog is empty."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kagitori_server.authn.authenticator import TOKEN_PREFIX
from kagitori_server.bootstrap.data_directory import write_private_file
from kagitori_server.model.arn import root_arn
from kagitori_server.model.principals import Account, PrincipalKind, PrincipalRecord, TokenRecord
from kagitori_server.operations.context import Identifiers
from kagitori_server.storage.catalog import Catalog
from kagitori_server.storage.writer import Writer


@dataclass(frozen=True, slots=True)
class FirstStart:
    """Makes what a fresh deployment needs. Every method blocks."""

    catalog: Catalog
    clock: Callable[[], float]
    ids: Identifiers
    partition: str
    home_account: str

    def ensure_home_account(self, token_file: Path) -> bool:
        """Makes the home account with a root credential in `token_file`, unless it exists. True when it was made.

        The file is durable before the account is, so a crash in between only means that both are made anew.
        """
        with self.catalog.write() as writer:
            if writer.get_account(self.home_account) is not None:
                return False
            now = self.clock()
            arn = root_arn(self.partition, self.home_account)
            root = PrincipalRecord(
                kind=PrincipalKind.ROOT, account=self.home_account, name="root", path="/",
                principal_id=self.home_account, arn=arn, created=now, policies={},
            )
            writer.insert_account(Account(self.home_account, "home", now), root)
            self._issue(writer, token_file, "made at the first start")
        return True

    def issue_root_token(self, token_file: Path) -> None:
        """Revokes the home account's root tokens and writes a new one: for operators who lost the first.

        Whoever can run this holds the data directory, and with it everything.
        """
        arn = root_arn(self.partition, self.home_account)
        with self.catalog.write() as writer:
            while tokens := writer.list_tokens(account=self.home_account, principal_arn=arn, limit=1_000):
                for token in tokens:
                    writer.delete_token(token.token_id)
            self._issue(writer, token_file, "issued by the operator")

    def _issue(self, writer: Writer, token_file: Path, description: str) -> None:
        secret = TOKEN_PREFIX + self.ids.secret()
        token = TokenRecord(
            token_id=self.ids.uuid(),
            digest=hashlib.sha256(secret.encode()).digest(),
            principal_arn=root_arn(self.partition, self.home_account),
            account=self.home_account,
            session_name="",
            description=description,
            created=self.clock(),
            expires=None,
        )
        writer.insert_token(token)
        write_private_file(token_file, secret.encode() + b"\n")
