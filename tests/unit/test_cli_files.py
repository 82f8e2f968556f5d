"""Output files: they appear whole or not at all, on file systems with nameless files and without."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from kagitori_client.cli.failures import LocalFileError, UsageError
from kagitori_client.cli.files import read_document, replaced_file, write_secret


@pytest.fixture(params=["nameless", "named"], autouse=True)
def _kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "named":
        # Without its flag the call asks to write to a folder, and fails as on file systems that don't know it.
        monkeypatch.setattr(os, "O_TMPFILE", 0)


def _fail(target: Path, failure: BaseException, *, force: bool) -> None:
    with replaced_file(str(target), force=force) as file:
        file.write(b"content")
        raise failure


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_file_appears_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with replaced_file(str(target), force=False) as file:
        file.write(b"content")
        file.flush()
        assert not target.exists()
    assert target.read_bytes() == b"content"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert target.stat().st_nlink == 1
    assert _names(tmp_path) == ["out"]


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_failure_leaves_nothing(tmp_path: Path, force: bool, failure: type[BaseException]) -> None:
    with pytest.raises(failure):
        _fail(tmp_path / "out", failure(), force=force)
    assert _names(tmp_path) == []


def test_failure_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"old")
    with pytest.raises(ValueError, match="x"):
        _fail(target, ValueError("x"), force=True)
    assert (target.read_bytes(), _names(tmp_path)) == (b"old", ["out"])


def test_force_replaces(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"old")
    target.chmod(0o644)
    write_secret(str(target), b"new", force=True)
    assert (target.read_bytes(), _names(tmp_path)) == (b"new", ["out"])
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_file_that_came_to_be_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "out"
    ours = replaced_file(str(target), force=False)
    ours.__enter__().write(b"ours")
    target.write_bytes(b"theirs")
    with pytest.raises(UsageError, match="exists"):
        ours.__exit__(None, None, None)
    assert (target.read_bytes(), _names(tmp_path)) == (b"theirs", ["out"])


def test_relative_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_secret("out", b"1", force=False)
    write_secret("./out", b"2", force=True)
    assert (tmp_path / "out").read_bytes() == b"2"


def test_long_names(tmp_path: Path) -> None:
    write_secret(str(tmp_path / ("n" * 255)), b"1", force=True)
    with pytest.raises(LocalFileError, match="File name too long"):
        write_secret(str(tmp_path / ("n" * 256)), b"1", force=True)


def test_folder_that_may_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(LocalFileError, match="no folder"):
        write_secret(str(tmp_path / "none" / "out"), b"1", force=False)


def test_documents(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_bytes("{}\r\n é".encode())
    assert read_document(str(path)) == "{}\r\n é"
    for content, reason in ((b"\xff", "not UTF-8"), (b" " * ((1 << 20) + 1), "larger than 1 MiB")):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=reason):
            read_document(str(path))
    with pytest.raises(LocalFileError, match="No such file"):
        read_document(str(tmp_path / "none"))
