"""The first start: the home account, the root credential in its file, and the data directory."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest
from tests.support.inprocess import HOME, InProcess
from tests.support.kms_calls import root

from kagitori_server.bootstrap.data_directory import open_data_directory, write_private_file
from kagitori_server.bootstrap.first_start import FirstStart
from kagitori_server.config import ConfigurationError
from kagitori_server.model.errors import UnrecognizedClientException
from kagitori_server.model.principals import TokenRecord


def _first(service: InProcess) -> FirstStart:
    return FirstStart(service.catalog, service.clock, service.ids, "aws", HOME)


def test_the_root_credential(tmp_path: Path) -> None:
    """Written once, for its owner alone, and it works."""
    with InProcess(tmp_path) as service:
        file = tmp_path / "root.token"
        assert re.fullmatch(r"kgt_[A-Za-z0-9_-]{43}\n", file.read_text())
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert service.call("GetCallerIdentity").arn == root(HOME)
        assert [account.account_id for account in service.call("ListAccounts").accounts] == [HOME]
        before = file.read_bytes()
        assert _first(service).ensure_home_account(file) is False
        assert file.read_bytes() == before
        secret = before.strip()
        assert secret not in b"".join(path.read_bytes() for path in tmp_path.glob("kagitori.db*"))


def test_a_start_that_was_interrupted(tmp_path: Path) -> None:
    """A token file without an account (the crash came in between) is replaced; the old secret is nobody's."""
    write_private_file(tmp_path / "root.token", b"kgt_" + b"x" * 43 + b"\n")
    with InProcess(tmp_path) as service:
        assert service.root_token != "kgt_" + "x" * 43
        service.call("GetCallerIdentity")
        with pytest.raises(UnrecognizedClientException):
            service.call("GetCallerIdentity", token="kgt_" + "x" * 43)


def test_a_file_that_can_not_be_written_makes_no_account(tmp_path: Path) -> None:
    """Nobody could log in: the account isn't there either."""
    (tmp_path / "root.token").mkdir()
    with pytest.raises(IsADirectoryError):
        InProcess(tmp_path)
    (tmp_path / "root.token").rmdir()
    for leftover in tmp_path.glob(".root.token*"):
        assert stat.S_IMODE(leftover.stat().st_mode) == 0o600
    with InProcess(tmp_path) as service:
        service.call("GetCallerIdentity")


def test_a_new_root_credential(tmp_path: Path) -> None:
    """All old ones are revoked, however many there are; other principals keep theirs."""
    with InProcess(tmp_path) as service:
        alice = service.new_user("alice")
        old = [service.root_token, service.new_token(root(HOME)), service.new_token(root(HOME))]
        with service.catalog.write() as writer:
            for number in range(1_100):
                writer.insert_token(TokenRecord(
                    f"token-{number}", number.to_bytes(32), root(HOME), HOME, "", "", service.clock(), None
                ))
        _first(service).issue_root_token(tmp_path / "again" / "root.token")
        for token in old:
            with pytest.raises(UnrecognizedClientException):
                service.call("GetCallerIdentity", token=token)
        new = (tmp_path / "again" / "root.token").read_text().strip()
        assert service.call("GetCallerIdentity", token=new).arn == root(HOME)
        service.call("GetCallerIdentity", token=alice)
        with service.catalog.read() as reader:
            assert reader.count_tokens(root(HOME)) == 1


def test_private_files(tmp_path: Path) -> None:
    """Whole or not at all, mode 0600 whatever the umask, replacing what was there, following no link."""
    old_mask = os.umask(0)
    try:
        target = tmp_path / "folder" / "secret"
        write_private_file(target, b"one")
        target.chmod(0o644)
        write_private_file(target, b"two" * 100_000)
    finally:
        os.umask(old_mask)
    assert target.read_bytes() == b"two" * 100_000
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert stat.S_IMODE(target.parent.stat().st_mode) == 0o700
    assert os.listdir(target.parent) == ["secret"]  # noqa: PTH208 - dot files too
    outside = tmp_path / "outside"
    outside.write_bytes(b"untouched")
    link = tmp_path / "link"
    link.symlink_to(outside)
    write_private_file(link, b"new")
    assert outside.read_bytes() == b"untouched"
    assert not link.is_symlink()


def test_the_data_directory(tmp_path: Path) -> None:
    """Made for its owner alone; refused when others may write to it, or when it is none."""
    root_folder = tmp_path / "deep" / "data"
    data = open_data_directory(root_folder)
    assert stat.S_IMODE(root_folder.stat().st_mode) == 0o700
    paths = {data.catalog, data.root_key, data.audit, data.tls, data.root_token}
    assert all(path.is_relative_to(data.root) for path in paths)
    assert len(paths) == 5
    for mode in (0o770, 0o707, 0o777, 0o720):
        root_folder.chmod(mode)
        with pytest.raises(ConfigurationError, match="can be written by others"):
            open_data_directory(root_folder)
    root_folder.chmod(0o755)
    open_data_directory(root_folder)
    file = tmp_path / "file"
    file.write_text("x")
    for path in (file, file / "below"):
        with pytest.raises(ConfigurationError, match=re.escape(str(path))):
            open_data_directory(path)
    link = tmp_path / "link"
    link.symlink_to(root_folder)
    assert open_data_directory(link).root == root_folder


def test_somebody_else_s_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must belong to the user who runs the server."""
    if os.geteuid() == 0:
        os.chown(tmp_path, 65534, 65534)
    else:  # who can't give it away is somebody else
        monkeypatch.setattr(os, "geteuid", lambda: 65534)
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        open_data_directory(tmp_path)
