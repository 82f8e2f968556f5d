"""The shell blocks of README.md, typed as they stand against a server that was started as they say."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.commandline import PROGRAM as CLIENT
from tests.support.operated import PATIENCE, OperatedServer, environment
from tests.support.operated import PROGRAM as SERVER

ROOT = Path(__file__).parents[2]
ADDRESSES = {"grpc": "127.0.0.1:7700", "aws": "127.0.0.1:8443"}


def test_blocks_work_as_written(tmp_path: Path) -> None:
    """In a folder that looks like a checkout after `make serve`; only the port differs."""
    start, *blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert start == "make serve\n"
    shutil.copy(ROOT / "README.md", tmp_path)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    aws = Path(sys.executable).with_name("aws")
    for name, words in (("kagitori", CLIENT), ("kagitori-server", SERVER), ("aws", [str(aws)])):
        (folder / name).write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        (folder / name).chmod(0o700)
    listening = ("--aws-listen", "127.0.0.1:0", "--log-level", "warning")
    with OperatedServer(tmp_path / "data", *listening, anew=True) as server:
        typed = "\n".join(blocks)
        for kind, address in ADDRESSES.items():
            assert address in typed
            typed = typed.replace(address, server.addresses[kind])
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", typed],
            cwd=tmp_path, env=environment(HOME=str(tmp_path / "home")),
            capture_output=True, text=True, timeout=2 * PATIENCE, check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert server.terminate() == 0
        assert server.log == ""
    assert "\nidentical\n" in done.stdout
    assert '"arn:aws:kms:us-east-1:000000000000:key/' in done.stdout
    assert "arn:aws:iam::000000000000:user/alice" in done.stdout
    assert (tmp_path / "README.copy.md").read_bytes() == (ROOT / "README.md").read_bytes()
    assert (tmp_path / "alice.token").stat().st_mode & 0o777 == 0o600
