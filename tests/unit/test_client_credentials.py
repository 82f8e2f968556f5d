"""Files of credentials: what is read, and what is refused without showing it."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from kagitori_client.credentials import BearerToken, read_certificates, read_private_key, read_token
from kagitori_client.errors import ConfigurationError

TEXT = "kgt_" + "aB3-_" * 8 + "xyz"


def _file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "credential"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
@pytest.mark.parametrize("end", ["", "\n", "\r\n", "  \n"])
def test_token_of_a_private_file(tmp_path: Path, mode: int, end: str) -> None:
    path = _file(tmp_path, f"{TEXT}{end}".encode(), mode)
    assert read_token(path).reveal() == TEXT


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666, 0o620, 0o610, 0o601, 0o644])
def test_file_that_others_may_use(tmp_path: Path, mode: int) -> None:
    path = _file(tmp_path, TEXT.encode(), mode)
    for read in (read_token, read_private_key):
        with pytest.raises(ConfigurationError, match=f"{mode:04o}") as refused:
            read(path)
        assert refused.value.hint == f"chmod 600 {path}"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"kgt_short",
        TEXT.encode() + b"x",
        TEXT.encode() + b"\n" + TEXT.encode(),
        b"Bearer " + TEXT.encode(),
        b"hunter2",
        b"\xff\xfe",
        ("kgt_" + "ａ" * 43).encode(),
        b"kgt_" + b"a" * 42 + b"+",
    ],
)
def test_content_that_is_no_token_is_not_shown(tmp_path: Path, content: bytes) -> None:
    path = _file(tmp_path, content)
    with pytest.raises(ConfigurationError) as refused:
        read_token(path)
    assert refused.value.__cause__ is None
    assert "hunter2" not in f"{refused.value} {refused.value.hint}"
    assert TEXT not in f"{refused.value} {refused.value.hint}"


def test_what_is_no_file(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    for path, reason in ((tmp_path / "none", "No such file"), (tmp_path, "regular file"), (fifo, "regular file")):
        with pytest.raises(ConfigurationError, match=reason):
            read_token(path)


def test_too_large(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="larger"):
        read_token(_file(tmp_path, b"a" * 5000))


def test_foreign_owner(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    path = _file(tmp_path, TEXT.encode())
    os.chown(path, 12345, -1)
    with pytest.raises(ConfigurationError, match="another user"):
        read_token(path)


def test_certificates_may_be_public_but_must_be_some(tmp_path: Path) -> None:
    pem = b"-----BEGIN CERTIFICATE-----\nMAo=\n-----END CERTIFICATE-----\n"
    assert read_certificates(_file(tmp_path, pem, 0o644)) == pem
    with pytest.raises(ConfigurationError, match="no certificate"):
        read_certificates(_file(tmp_path, b"-----BEGIN PRIVATE KEY-----", 0o644))


def test_token_hides_itself() -> None:
    token = BearerToken(TEXT)
    assert TEXT not in f"{token!r} {token!s} {token}"
    for misuse in (lambda: token == TEXT, lambda: hash(token), lambda: pickle.dumps(token)):
        with pytest.raises(TypeError):
            misuse()
