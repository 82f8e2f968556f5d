"""The home account's root user's access key, for AWS SDKs and the AWS CLI, and the file that they read it from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from kagitori_keystore.base import Domain, SecretWrapping
from kagitori_server.bootstrap.data_directory import write_private_file
from kagitori_server.model.arn import root_arn
from kagitori_server.model.principals import AccessKeyRecord, access_key_label
from kagitori_server.operations.administration.access_keys import ID_CHARACTERS, STANDARD_BASE64
from kagitori_server.operations.administration.credentials import sortable_id
from kagitori_server.operations.context import Identifiers
from kagitori_server.storage.catalog import Catalog
from kagitori_server.storage.writer import Writer

PROFILE = "kagitori"
"""Of the access key in the file."""


@dataclass(frozen=True, slots=True)
class RootAccessKeys:
    """Gives the home account's root user access keys. Every method blocks, and raises KeyStoreError when a secret
    can't be wrapped."""

    catalog: Catalog
    secrets: SecretWrapping = field(repr=False)
    clock: Callable[[], float]
    ids: Identifiers
    partition: str
    home_account: str
    region: str
    """The service's default Region, whose key-encryption key wraps secrets."""

    def ensure(self, file: Path) -> bool:
        """Makes an access key and writes it to `file`, unless there is the file or an access key. True when it was
        made."""
        if file.exists():
            return False
        with self.catalog.read() as reader:
            if reader.list_access_keys(self.home_account, self._arn):
                return False
        record, secret = self._new()
        with self.catalog.write() as writer:
            if writer.list_access_keys(self.home_account, self._arn):
                return False
            self._put(writer, record, secret, file)
        return True

    def replace(self, file: Path) -> None:
        """Ends the access keys that there are and writes a new one to `file`."""
        record, secret = self._new()
        with self.catalog.write() as writer:
            for old in writer.list_access_keys(self.home_account, self._arn):
                writer.delete_access_key(old.access_key_id)
            self._put(writer, record, secret, file)

    def plant(self, access_key_id: str, secret: str) -> None:
        """Gives it one that somebody chose, unless there is one of this id: in instances for tests."""
        record = self._record(access_key_id, secret)
        with self.catalog.write() as writer:
            if writer.get_access_key(access_key_id) is None:
                writer.insert_access_key(record)

    @property
    def _arn(self) -> str:
        return root_arn(self.partition, self.home_account)

    def _new(self) -> tuple[AccessKeyRecord, str]:
        secret = self.ids.secret().translate(STANDARD_BASE64)
        return self._record(self.ids.unique_id("AKIA")[:ID_CHARACTERS], secret), secret

    def _record(self, access_key_id: str, secret: str) -> AccessKeyRecord:
        now = self.clock()
        wrapped = self.secrets.wrap_secret(
            Domain(self.home_account, self.region), access_key_label(access_key_id), secret.encode()
        )
        return AccessKeyRecord(
            access_key_id=access_key_id, entry_id=sortable_id("key", now, self.ids.uuid()), principal_arn=self._arn,
            account=self.home_account, region=self.region, wrapped_secret=wrapped, active=True, created=now,
        )

    def _put(self, writer: Writer, record: AccessKeyRecord, secret: str, file: Path) -> None:
        """The file is durable before the access key is, so a crash in between only leaves one that nobody knows."""
        writer.insert_access_key(record)
        content = f"[{PROFILE}]\naws_access_key_id = {record.access_key_id}\naws_secret_access_key = {secret}\n"
        write_private_file(file, content.encode())
