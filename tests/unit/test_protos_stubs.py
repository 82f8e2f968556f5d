"""The checked-in stubs are what the generator makes of the contract, and the check notices if they aren't."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROTOS = Path(__file__).resolve().parents[2] / "protos"
STUBS = Path("kagitori/kms/v1")


def run_generator(protos: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the generator of one tree from the file system's root: it may depend on no working directory."""
    return subprocess.run(
        [sys.executable, str(protos / "generate.py"), *arguments],
        cwd="/", capture_output=True, text=True, check=False,
    )


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the whole contract that a test may spoil."""
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(PROTOS, tmp_path / "protos", ignore=ignored))


def test_stubs_are_current() -> None:
    """Regenerated into a scratch folder, every stub equals the one in the repository."""
    outcome = run_generator(PROTOS, "--check")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_check_names_every_kind_of_difference_and_writes_nothing(copied: Path) -> None:
    """A changed, a lost and a superfluous stub are each reported and left as they are."""
    changed, lost, superfluous = (
        copied / STUBS / name for name in ("keys_pb2.py", "grants_pb2.pyi", "gone_pb2_grpc.py")
    )
    changed.write_text(changed.read_text("utf-8") + "# edited by hand\n", "utf-8")
    lost.unlink()
    superfluous.write_text("", "utf-8")
    outcome = run_generator(copied, "--check")
    assert outcome.returncode == 1
    assert outcome.stdout.splitlines() == [
        f"missing: {STUBS / lost.name}",
        f"left over: {STUBS / superfluous.name}",
        f"stale: {STUBS / changed.name}",
    ]
    assert "edited by hand" in changed.read_text("utf-8")
    assert superfluous.exists()
    assert not lost.exists()


def test_generator_repairs_every_difference(copied: Path) -> None:
    """Without --check the same differences are gone afterwards."""
    (copied / STUBS / "keys_pb2.py").write_text("", "utf-8")
    (copied / STUBS / "gone_pb2.py").write_text("", "utf-8")
    (copied / STUBS / "key_service_pb2_grpc.pyi").unlink()
    assert run_generator(copied).returncode == 0
    assert run_generator(copied, "--check").returncode == 0
    assert not (copied / STUBS / "gone_pb2.py").exists()


def test_a_contract_that_does_not_compile_fails_the_check(copied: Path) -> None:
    """The compiler's complaint reaches the reader, and the check does not pass."""
    (copied / STUBS / "broken.proto").write_text('syntax = "proto3";\nmessage {}\n', "utf-8")
    outcome = run_generator(copied, "--check")
    assert outcome.returncode != 0
    assert "broken.proto" in outcome.stderr


def test_stubs_name_no_place_of_the_machine_that_made_them() -> None:
    """Generated files hold only paths below the import root."""
    root = str(PROTOS.parent)
    stubs = sorted((PROTOS / STUBS).glob("*_pb2*"))
    assert stubs
    assert [path.name for path in stubs if root in path.read_text("utf-8")] == []
