"""Reads credentials from files, and refuses files that others could read."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Never

from kagitori_client.errors import ConfigurationError

_TOKEN = re.compile(r"kgt_[A-Za-z0-9_-]{43}")
_MAX_TOKEN_FILE = 4096
_MAX_PEM_FILE = 1 << 20


class BearerToken:
    """An API token. It shows itself in no repr, is not picklable and has no `==`; `reveal` gives the text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        if not _TOKEN.fullmatch(text):
            # The text is withheld: it may be a secret of another kind.
            raise ConfigurationError("that is no API token", hint="tokens are kgt_ and 43 characters after it")
        self._text = text

    def reveal(self) -> str:
        """The token itself, for the `authorization` metadata alone."""
        return self._text

    def __repr__(self) -> str:
        return "BearerToken(…)"

    def __eq__(self, other: object) -> Never:
        raise TypeError("tokens are not compared")

    __hash__ = None  # type: ignore[assignment]  # a hash would let tokens become keys of a dict

    def __reduce__(self) -> Never:
        raise TypeError("tokens are not pickled")


def read_token(path: Path) -> BearerToken:
    """Reads a token from a file of mode 0600 or 0400 that belongs to this user or to root.

    Raises ConfigurationError if the file can't be read, may be read by others, or holds something else.
    """
    return parse_token(_read(path, _MAX_TOKEN_FILE, secret=True), str(path))


def parse_token(content: bytes, source: str) -> BearerToken:
    """A token and white space around it. Raises ConfigurationError, naming the source, for anything else."""
    try:
        return BearerToken(content.decode("ascii").strip())
    except (UnicodeDecodeError, ConfigurationError):
        # Not chained: the decoding error holds the bytes.
        raise ConfigurationError(
            f"{source} holds no API token", hint="a token is kgt_ and 43 characters after it"
        ) from None


def read_private_key(path: Path) -> bytes:
    """Reads a PEM private key, under the same conditions as a token."""
    return _read(path, _MAX_PEM_FILE, secret=True)


def read_certificates(path: Path) -> bytes:
    """Reads PEM certificates; anyone may read these. Raises ConfigurationError if the file holds none."""
    content = _read(path, _MAX_PEM_FILE, secret=False)
    if b"-----BEGIN CERTIFICATE-----" not in content:
        raise ConfigurationError(f"{path} holds no certificate in PEM form")
    return content


def _read(path: Path, limit: int, *, secret: bool) -> bytes:
    try:
        # Non-blocking, lest a FIFO in the place of the file hold us up for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigurationError(f"{path} can't be read: {error.strerror}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigurationError(f"{path} is not a regular file")
        if secret and status.st_mode & 0o077:
            raise ConfigurationError(
                f"{path} holds a secret and may be used by others (mode {stat.S_IMODE(status.st_mode):04o})",
                hint=f"chmod 600 {path}",
            )
        if secret and status.st_uid not in {0, os.geteuid()}:
            raise ConfigurationError(f"{path} holds a secret and belongs to another user")
        if status.st_size > limit:
            raise ConfigurationError(f"{path} is larger than {limit} bytes, the most such a file can hold")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(limit)
    finally:
        os.close(descriptor)
