"""Reads credentials from files, and refuses files that others could read."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Never

from kagitori_client.errors import ConfigurationError

_TOKEN = re.compile(r"kgt_[A-Za-z0-9_-]{43}")
_ISSUED = re.compile(r"[A-Za-z0-9_-]{2,}\.[A-Za-z0-9_-]{2,}\.[A-Za-z0-9_-]{2,}")
"""A signed JSON Web Token, as OpenID Connect issuers give (RFC 7515, compact)."""
_MAX_ISSUED = 8192
_MAX_TOKEN_FILE = _MAX_ISSUED + 256
_KINDS = "tokens are kgt_ and 43 characters after it, or signed tokens of an OpenID Connect issuer"
_MAX_PEM_FILE = 1 << 20


class BearerToken:
    """An API token, or one of an OpenID Connect issuer. It shows itself in no repr, is not picklable and has no `==`;
    `reveal` gives the text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        if not _TOKEN.fullmatch(text) and not (len(text) <= _MAX_ISSUED and _ISSUED.fullmatch(text)):
            # The text is withheld: it may be a secret of another kind.
            raise ConfigurationError("that is no API token", hint=_KINDS)
        self._text = text

    @property
    def is_issued(self) -> bool:
        """Whether it is one of an OpenID Connect issuer, which ends soon by itself."""
        return not self._text.startswith("kgt_")

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


class TokenFile:
    """A token that is read again whenever its file has changed, as Kubernetes and others replace theirs.

    While the file can't be read or holds something else, the token before it stays. Thread-safe; like the token
    itself it shows nothing and is not pickled.
    """

    __slots__ = ("_path", "_read")

    def __init__(self, path: Path) -> None:
        """Raises ConfigurationError as `read_token` does."""
        self._path = path
        self._read = (_state(path), read_token(path))

    def reveal(self) -> str:
        """The token as it is now, for the `authorization` metadata alone."""
        state, token = self._read
        now = _state(self._path)
        if now != state and now is not None:
            try:
                token = read_token(self._path)
            except ConfigurationError:
                return token.reveal()
            self._read = (now, token)
        return token.reveal()

    def __repr__(self) -> str:
        return f"TokenFile({str(self._path)!r})"

    def __reduce__(self) -> Never:
        raise TypeError("tokens are not pickled")


def _state(path: Path) -> tuple[int, int, int, int] | None:
    """What changes with a file; None while there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def read_token(path: Path) -> BearerToken:
    """Reads a token from a file of mode 0600 or 0400 that belongs to this user or to root.

    Files of tokens that an OpenID Connect issuer gave may be read by others, for so they are put into containers,
    and only must not be changed by them. Raises ConfigurationError if the file can't be read, may be read by others,
    or holds something else.
    """
    content, status = _content(path, _MAX_TOKEN_FILE)
    issued = None if content.startswith(b"kgt_") else _issued(content)
    if issued is None:
        _check_private(path, status, 0o077)
        return parse_token(content, str(path))
    _check_private(path, status, 0o022)
    return issued


def _issued(content: bytes) -> BearerToken | None:
    try:
        return BearerToken(content.decode("ascii").strip())
    except (UnicodeDecodeError, ConfigurationError):
        return None


def parse_token(content: bytes, source: str) -> BearerToken:
    """A token and white space around it. Raises ConfigurationError, naming the source, for anything else."""
    try:
        return BearerToken(content.decode("ascii").strip())
    except (UnicodeDecodeError, ConfigurationError):
        # Not chained: the decoding error holds the bytes.
        raise ConfigurationError(f"{source} holds no API token", hint=_KINDS) from None


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
    content, status = _content(path, limit)
    if secret:
        _check_private(path, status, 0o077)
    return content


def _check_private(path: Path, status: os.stat_result, forbidden: int) -> None:
    """Refuses a file of another user, and one with a `forbidden` bit in its mode. Raises ConfigurationError."""
    if status.st_mode & forbidden:
        raise ConfigurationError(
            f"{path} holds a secret and may be used by others (mode {stat.S_IMODE(status.st_mode):04o})",
            hint=f"chmod 600 {path}",
        )
    if status.st_uid not in {0, os.geteuid()}:
        raise ConfigurationError(f"{path} holds a secret and belongs to another user")


def _content(path: Path, limit: int) -> tuple[bytes, os.stat_result]:
    try:
        # Non-blocking, lest a FIFO in the place of the file hold us up for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigurationError(f"{path} can't be read: {error.strerror}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigurationError(f"{path} is not a regular file")
        if status.st_size > limit:
            raise ConfigurationError(f"{path} is larger than {limit} bytes, the most such a file can hold")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(limit), status
    finally:
        os.close(descriptor)
