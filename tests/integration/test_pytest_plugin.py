"""The pytest plugin as other projects have it: the example project's own tests, in a pytest of their own."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.support.devserver import IMPORT_ROOTS

from kagitori_client.testing import NotStarted, running

EXAMPLE = Path(__file__).parents[2] / "examples" / "tested-project"


def run_pytest(project: Path, temporary: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """pytest with the plugin, in `project`; everything temporary is below `temporary`."""
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join((IMPORT_ROOTS, str(project))), "TMPDIR": str(temporary),
        "PYTHONDONTWRITEBYTECODE": "1",
        # Where this project is installed, pytest would load the plugin by itself, and then not by its module's name.
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        # What somebody's shell says of a service is nothing to the servers of tests.
        "KAGITORI_ENDPOINT": "https://nowhere.example:1", "KAGITORI_SERVICE__REGION": "eu-nowhere-1",
    }
    command = [sys.executable, "-m", "pytest", "-p", "kagitori_client.testing.plugin", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, *arguments], cwd=project, env=environment, capture_output=True, text=True, check=False, timeout=240
    )


def folders(temporary: Path) -> list[str]:
    return [path.name for path in temporary.iterdir() if path.name.startswith("kagitori")]


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


def write(project: Path, files: Mapping[str, str]) -> Path:
    project.mkdir()
    (project / "pytest.ini").write_text("[pytest]\n")
    for name, text in files.items():
        (project / name).write_text(text)
    return project


@pytest.mark.parametrize("workers", [(), ("-p", "xdist.plugin", "-n", "2")], ids=["alone", "xdist"])
def test_the_example_passes_and_leaves_nothing_behind(temporary: Path, workers: tuple[str, ...]) -> None:
    """Session, account and instance fixtures, seed, clock and faults; with a server for each worker of xdist."""
    outcome = run_pytest(EXAMPLE, temporary, "-q", *workers)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "6 passed" in outcome.stdout
    assert folders(temporary) == []


def test_a_seed_on_the_command_line_and_more_arguments(tmp_path: Path, temporary: Path) -> None:
    """The option goes before the configuration, and arguments reach the server."""
    project = write(tmp_path / "project", {
        "test_it.py": (
            "from kagitori.kms.v1.keys_pb2 import DescribeKeyRequest\n"
            "def test_it(kagitori):\n"
            "    assert kagitori.environment['KAGITORI_REGION'] == 'eu-test-1'\n"
            "    key = kagitori.client.keys.DescribeKey(DescribeKeyRequest(key_id='alias/a')).key_metadata\n"
            "    assert key.arn == 'arn:aws:kms:eu-test-1:000000000000:key/0b8f52c4-9d3e-4a57-8f0c-6f1d4c2f9a10'\n"
        ),
        "other.toml": '[[keys]]\nid = "0b8f52c4-9d3e-4a57-8f0c-6f1d4c2f9a10"\naliases = ["alias/a"]\n',
        "pytest.ini": "[pytest]\nkagitori_seed = missing.toml\nkagitori_arguments = --region eu-test-1\n",
    })
    outcome = run_pytest(project, temporary, "--kagitori-seed", "other.toml", "-q")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_a_seed_that_is_refused_fails_the_tests_with_the_reason(tmp_path: Path, temporary: Path) -> None:
    """Whoever wrote the seed reads which member is wrong."""
    project = write(tmp_path / "project", {
        "test_it.py": "def test_it(kagitori):\n    pass\n", "seed.toml": '[[keys]]\nid = "nonsense"\n',
    })
    outcome = run_pytest(project, temporary, "--kagitori-seed", "seed.toml", "-q")
    assert outcome.returncode == 1
    assert "keys[0].id must be a UUID" in outcome.stdout
    assert folders(temporary) == []


def test_each_instance_is_a_fresh_one_of_the_seed_that_holds_there(tmp_path: Path, temporary: Path) -> None:
    """Servers are started ahead of their tests, and none is used twice or with another's seed."""
    project = write(tmp_path / "project", {
        "test_it.py": (
            "import pytest\n"
            "from kagitori.kms.v1.keys_pb2 import CreateKeyRequest, ListKeysRequest\n"
            "seen = set()\n"
            "def look(service, keys):\n"
            "    assert len(service.client.keys.ListKeys(ListKeysRequest()).keys) == keys\n"
            "    service.client.keys.CreateKey(CreateKeyRequest())\n"
            "    assert service.process.pid not in seen\n"
            "    seen.add(service.process.pid)\n"
            "@pytest.mark.parametrize('time', range(2))\n"
            "def test_plain(kagitori_instance, time):\n"
            "    look(kagitori_instance, 0)\n"
            "class TestSeeded:\n"
            "    @pytest.fixture(scope='class')\n"
            "    def kagitori_seed(self, pytestconfig):\n"
            "        return pytestconfig.rootpath / 'seed.toml'\n"
            "    def test_seeded(self, kagitori_instance):\n"
            "        look(kagitori_instance, 1)\n"
            "def test_plain_again(kagitori_instance):\n"
            "    look(kagitori_instance, 0)\n"
        ),
        "seed.toml": '[[keys]]\nid = "0b8f52c4-9d3e-4a57-8f0c-6f1d4c2f9a10"\n',
    })
    outcome = run_pytest(project, temporary, "-q")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "4 passed" in outcome.stdout
    assert folders(temporary) == []


def test_a_pytest_that_is_killed_takes_its_server_along(tmp_path: Path, temporary: Path) -> None:
    """The server ends with its standard input, and removes its folder."""
    project = write(tmp_path / "project", {
        "test_it.py": (
            "import os\n"
            "def test_it(kagitori):\n"
            f"    open({str(tmp_path / 'pid')!r}, 'w').write(str(kagitori.process.pid))\n"
            "    os.kill(os.getpid(), 9)\n"
        ),
    })
    outcome = run_pytest(project, temporary, "-q")
    assert outcome.returncode == -9
    server = int((tmp_path / "pid").read_text())
    # It may have ended by now, which is as well.
    with contextlib.suppress(ProcessLookupError):
        watched = os.pidfd_open(server)
        try:
            assert select.select([watched], [], [], 40)[0], "the server lives on"
        finally:
            os.close(watched)
    assert [name for name in folders(temporary) if name.startswith("kagitori-dev-")] == []


def test_the_plugin_loads_no_grpc_for_those_who_don_t_use_it(tmp_path: Path, temporary: Path) -> None:
    """It is loaded for everybody who has it installed."""
    project = write(tmp_path / "project", {
        "test_it.py": "import sys\ndef test_it():\n    assert 'grpc' not in sys.modules\n",
    })
    outcome = run_pytest(project, temporary, "-q")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_a_server_that_can_t_start_says_why() -> None:
    """Outside pytest, too."""
    with pytest.raises(NotStarted, match=r"log\.level must be"), running(arguments=["--log-level", "loud"]):
        raise AssertionError("it started")
