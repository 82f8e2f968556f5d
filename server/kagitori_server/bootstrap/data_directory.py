"""The data directory: where everything of a deployment lies, and who may look into it.

    kagitori.db      the catalog (SQLite; absent with PostgreSQL)
    root-key/        the root key's file
    audit/           the audit trail, a folder per chain, and trees/ that are made from them
    tls/             the local CA and the server's certificate
    credentials/     the root user's token from the first start; its access key, for AWS SDKs and the AWS CLI
    development      only in directories of `kagitori-server dev`: what the instance for tests remembers
    run/             where the processes of a machine meet the workers of PKCS#11 tokens
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from kagitori_server.config import ConfigurationError

_OURS = frozenset({"kagitori.db", "root-key", "audit", "tls", "credentials", "development", "run", "sinks"})


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """Paths below one directory that belongs to this process's user alone."""

    root: Path

    @property
    def catalog(self) -> Path:
        """The SQLite database."""
        return self.root / "kagitori.db"

    @property
    def root_key(self) -> Path:
        """Folder of the root key."""
        return self.root / "root-key"

    @property
    def audit(self) -> Path:
        """Folder of the audit trail."""
        return self.root / "audit"

    @property
    def tls(self) -> Path:
        """Folder of certificates."""
        return self.root / "tls"

    @property
    def development(self) -> Path:
        """The file that marks an instance for tests."""
        return self.root / "development"

    @property
    def run(self) -> Path:
        """Folder of sockets; made when the first token is connected."""
        return self.root / "run"

    @property
    def sinks(self) -> Path:
        """Folder of how far the sinks of audit records have come; made when there are any."""
        return self.root / "sinks"

    @property
    def root_token(self) -> Path:
        """The file with the root user's token."""
        return self.root / "credentials" / "root.token"

    @property
    def aws_credentials(self) -> Path:
        """The file with the root user's access key, as AWS SDKs and the AWS CLI read it."""
        return self.root / "credentials" / "aws"

    def check_root_token(self) -> None:
        """Raises ConfigurationError if others may read the root user's token. Nothing is wrong if it is gone."""
        try:
            mode = self.root_token.lstat().st_mode
        except FileNotFoundError:
            return
        except OSError as error:
            raise ConfigurationError(f"{self.root_token}: {error.strerror}") from None
        if not stat.S_ISREG(mode) or mode & 0o077:
            raise ConfigurationError(
                f"{self.root_token} can be read by others; run chmod 600 {self.root_token}, "
                f"and kagitori-server root-token if they did"
            )


def open_data_directory(root: Path, *, make: bool = True) -> DataDirectory:
    """Makes the directory if need be (mode 0700), unless `make` is False: then it has to be there.

    Raises ConfigurationError if it belongs to somebody else, if others may write to it, or if it is in use for
    something else: full, and with nothing of ours in it.
    """
    try:
        if make:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = root.stat()
    except OSError as error:
        raise ConfigurationError(f"{root}: {error.strerror}") from None
    if not stat.S_ISDIR(status.st_mode):
        raise ConfigurationError(f"{root} is not a directory")
    if status.st_uid != os.geteuid():
        raise ConfigurationError(f"{root} belongs to another user")
    if status.st_mode & 0o022:
        raise ConfigurationError(f"{root} can be written by others; run chmod go-w {root}")
    names = {path.name for path in root.iterdir() if not path.name.startswith(".")} - {"lost+found"}
    if names and not names & _OURS:
        raise ConfigurationError(f"{root} is not empty and holds no data of Kagitori; name a directory of its own")
    return DataDirectory(root.resolve())


def write_private_file(path: Path, content: bytes) -> None:
    """Writes a file of mode 0600 so that it is there whole or not at all, even after a crash."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view):]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
