"""Files of credentials: what is read, and what is refused without showing it."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from kagitori_client.credentials import BearerToken, TokenFile, read_certificates, read_private_key, read_token
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
        read_token(_file(tmp_path, b"a" * 9000))


def test_foreign_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _file(tmp_path, TEXT.encode())
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
    else:  # who can't give it away is somebody else
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(ConfigurationError, match="another user"):
        read_token(path)


ISSUED = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o600, 0o444])
def test_issued_tokens_may_be_read_by_others(tmp_path: Path, mode: int) -> None:
    """So they are put into containers (Kubernetes: mode 0644 or 0640)."""
    token = read_token(_file(tmp_path, f"{ISSUED}\n".encode(), mode))
    assert (token.reveal(), token.is_issued) == (ISSUED, True)
    assert ISSUED not in repr(token)


@pytest.mark.parametrize("mode", [0o666, 0o646, 0o664])
def test_issued_tokens_must_not_be_changed_by_others(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigurationError, match=f"{mode:04o}"):
        read_token(_file(tmp_path, ISSUED.encode(), mode))


@pytest.mark.parametrize(
    "text", [ISSUED + ".x", "a.b", "..", "a.b.c", ISSUED.replace("e", "é", 1), ISSUED + "x" * 8_192]
)
def test_what_is_no_issued_token(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError):
        read_token(_file(tmp_path, text.encode(), 0o600))


def test_a_token_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    """As Kubernetes changes it, by a symbolic link; what can't be used leaves the token before it."""
    for number in (1, 2):
        (tmp_path / f"data-{number}").mkdir()
        (tmp_path / f"data-{number}" / "token").write_text(ISSUED + "A" * number)
    link = tmp_path / "data"
    link.symlink_to("data-1")
    file = TokenFile(link / "token")
    assert file.reveal() == file.reveal() == ISSUED + "A"
    (tmp_path / "new").symlink_to("data-2")
    (tmp_path / "new").rename(link)
    assert file.reveal() == ISSUED + "AA"
    (tmp_path / "data-2" / "token").write_text("nonsense")
    assert file.reveal() == ISSUED + "AA"
    (tmp_path / "data-2" / "token").unlink()
    assert file.reveal() == ISSUED + "AA"
    (tmp_path / "data-2" / "token").write_text(ISSUED + "AAA")
    assert file.reveal() == ISSUED + "AAA"
    assert "eyJ" not in repr(file)
    with pytest.raises(TypeError):
        pickle.dumps(file)


def test_a_token_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        TokenFile(tmp_path / "none")


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
