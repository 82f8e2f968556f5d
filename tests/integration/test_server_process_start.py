"""What the first start makes, what later starts keep, and what the server refuses to start on."""

from __future__ import annotations

import json
import socket
import stat
from pathlib import Path

import pytest
from tests.support.operated import OperatedServer, command, process, refused

from kagitori.kms.v1 import cryptography_pb2, keys_pb2

FREE = "127.0.0.1:0"
PUBLIC = {"tls/ca.crt", "tls/server.crt"}


def _modes(data: Path) -> dict[str, int]:
    return {
        str(path.relative_to(data)): stat.S_IMODE(path.lstat().st_mode)
        for path in data.rglob("*")
        if not path.is_symlink()
    }


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that was used once."""
    data = tmp_path_factory.mktemp("start") / "data"
    with OperatedServer(data, "--log-level", "warning", anew=True) as server, server.stubs() as root:
        token = server.root_token
        key = root.keys.CreateKey(keys_pb2.CreateKeyRequest()).key_metadata.key_id
        assert server.said[0] == f"First start: the root user's token is in {data}/credentials/root.token"
        assert server.said[1].strip() == f"the local CA's certificate is in {data}/tls/ca.crt"
        assert token not in "".join(server.said) + server.log
        assert "PRIVATE KEY" not in "".join(server.said) + server.log
        # While it runs, so that the write-ahead log is looked at too.
        modes = _modes(data)
        sealed = root.crypto.Encrypt(cryptography_pb2.EncryptRequest(key_id=key, plaintext=b"kept"))
        assert server.terminate() == 0
    (data.parent / "kept.json").write_text(json.dumps({
        "token": token, "blob": sealed.ciphertext_blob.hex(), "modes": modes,
    }))
    return data


def test_everything_is_for_its_owner_alone(started: Path) -> None:
    """Files 0600, folders 0700; certificates may be read by all."""
    modes = json.loads((started.parent / "kept.json").read_text())["modes"]
    assert {"kagitori.db", "kagitori.db-wal", "audit/chain-00/00000001.jsonl", "root-key/root-key", "tls/ca.key",
            "tls/server.key", "credentials/root.token", *PUBLIC} <= modes.keys()
    assert stat.S_IMODE(started.stat().st_mode) == 0o700
    for name, mode in modes.items():
        path = started / name
        expected = 0o700 if path.is_dir() else 0o644 if name in PUBLIC else 0o600
        assert mode == expected, name


def test_second_start_keeps_everything(started: Path) -> None:
    """Same token, same CA, same keys; nothing is said of a first start."""
    kept = json.loads((started.parent / "kept.json").read_text())
    names = ("credentials/root.token", "tls/ca.crt", "tls/ca.key", "tls/server.crt", "root-key/root-key")
    before = {name: (started / name).read_bytes() for name in names}
    with OperatedServer(started, "--log-level", "warning", anew=True) as server, server.stubs(kept["token"]) as root:
        assert all(line.startswith("Listening: ") for line in server.said)
        blob = bytes.fromhex(kept["blob"])
        assert root.crypto.Decrypt(cryptography_pb2.DecryptRequest(ciphertext_blob=blob)).plaintext == b"kept"
        assert server.terminate() == 0
        assert server.log == ""
    assert {name: (started / name).read_bytes() for name in names} == before


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        (".", 0o770),
        (".", 0o702),
        ("root-key/root-key", 0o640),
        ("credentials/root.token", 0o604),
        ("tls/ca.key", 0o644),
        ("tls/server.key", 0o640),
        ("kagitori.db", 0o644),
    ],
)
def test_loose_permissions_are_refused(started: Path, name: str, mode: int) -> None:
    """One line that names the file, exit status 1; made right again, it starts."""
    path = (started / name).resolve()
    told = path.parent if path.parent.name == "root-key" else path
    right = stat.S_IMODE(path.stat().st_mode)
    path.chmod(mode)
    try:
        done = command("--data-dir", started, "--grpc-listen", FREE, "--log-level", "warning", cwd=started.parent)
    finally:
        path.chmod(right)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("kagitori-server: ")
    assert str(told) in line


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--metrics-listen", "0.0.0.0:0"], "listen.metrics must be a loopback address"),
        (["--metrics-listen", "[::]:0"], "listen.metrics must be a loopback address"),
        (["--grpc-plaintext-listen", "0.0.0.0:0"], "loopback"),
        (["--grpc-plaintext-listen", "[::]:0"], "loopback"),
        (["--grpc-socket", "relative.sock"], "must be absolute"),
        (["--grpc-socket", "/nonexistent/folder/x.sock"], "/nonexistent/folder"),
        (["--set", "catalog.url=nonsense"], "catalog.url must be"),
        (["--set", "catalog.url=mysql://u:marked-password@h/x"], "postgresql://"),
        (["--set", "tls.server_names=not a name"], "neither a DNS name nor an IP address"),
        (["--set", "tls.certificate_file=/nonexistent", "--set", "tls.key_file=/nonexistent"], "/nonexistent"),
        (["--set", "root_key.provider=passphrase", "--set", "root_key.passphrase_file=/nonexistent"], "/nonexistent"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(tmp_path: Path, arguments: list[str], told: str) -> None:
    """Exit status 1, no traceback, nothing on standard output, no secret of a URL."""
    done = command(
        "--data-dir", tmp_path / "data", "--grpc-listen", FREE, "--log-level", "warning", *arguments, cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert told in line
    assert "marked-password" not in line
    assert {path.name for path in tmp_path.iterdir()} <= {"data"}


@pytest.mark.parametrize("flag", ["--grpc-mtls-listen", "--metrics-listen"])
def test_port_in_use(started: Path, flag: str) -> None:
    """Somebody else's port: said in one line that names it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = process(
            "--data-dir", started, "--grpc-listen", FREE, "--log-level", "warning", flag, address, cwd=started.parent
        )
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert address in line


def test_two_servers_never_share_a_port(started: Path) -> None:
    """A second server on the first one's address is refused: it must not take some of its calls."""
    with OperatedServer(started, "--log-level", "warning") as first:
        address = first.addresses["grpc"]
        done = command("--data-dir", started.parent / "other", "--grpc-listen", address, cwd=started.parent)
        assert done.returncode == 1
        assert address in done.stderr
        assert first.terminate() == 0


def test_sub_commands_make_no_data_directory(tmp_path: Path) -> None:
    """A mistyped --data-dir is told, not filled; above all no trail is called sound that isn't there."""
    wrong = tmp_path / "mistyped"
    for words in (["verify-audit"], ["root-token"], ["client-certificate", "--uri", "spiffe://a/b", "--out", "x"]):
        done = command(*words, "--data-dir", wrong, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert str(wrong) in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
    wrong.mkdir(mode=0o700)
    done = command("verify-audit", "--data-dir", wrong, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no audit trail" in done.stderr


def test_verify_audit_tells_sound_from_tampered(started: Path) -> None:
    """Exit status 0, and 3 after one byte was changed."""
    done = command("verify-audit", "--data-dir", started, cwd=started.parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("The trail is sound.\n")
    segment = started / "audit" / "chain-00" / "00000001.jsonl"
    content = segment.read_bytes()
    first_line = content.index(b"CreateKey")
    segment.write_bytes(content[:first_line] + b"Create_ey" + content[first_line + 9 :])
    done = command("verify-audit", "--data-dir", started, cwd=started.parent)
    segment.write_bytes(content)
    assert done.returncode == 3
    assert "PROBLEM" in done.stdout
    assert done.stdout.endswith("The trail has problems.\n")


def test_verify_audit_holds_the_trail_against_a_kept_checkpoint(started: Path, tmp_path: Path) -> None:
    """One of a log that isn't there is a problem; a file that is none is told."""
    (tmp_path / "other").write_text(f"kagitori/chain-00/{'0' * 32}\n1\n{'A' * 43}=\n\n— x AAAAAAAA\n")
    (tmp_path / "none").write_text("nonsense")
    done = command("verify-audit", "--data-dir", started, "--checkpoint", tmp_path / "other", cwd=started.parent)
    assert done.returncode == 3
    assert "no chain is the one of this checkpoint" in done.stdout
    done = command("verify-audit", "--data-dir", started, "--checkpoint", tmp_path / "none", cwd=started.parent)
    assert (done.returncode, done.stdout) == (1, "")
    assert "is no checkpoint of a log" in done.stderr


def test_root_token_replaces_the_old_ones_at_once(started: Path) -> None:
    """A running server refuses every earlier token from the moment on and takes the new one."""
    with OperatedServer(started, "--log-level", "warning") as server:
        with server.stubs() as root:
            old = server.root_token
            second = root.make_token(root.whoami()).token
        done = command("root-token", "--data-dir", started, cwd=started.parent)
        assert done.returncode == 0
        assert done.stdout == f"The root user's new token is in {started}/credentials/root.token\n"
        new = server.root_token
        assert new != old
        assert new not in done.stdout + done.stderr
        for gone in (old, second):
            with server.stubs(gone) as stubs:
                assert refused(stubs.whoami)[1] == "UNRECOGNIZED_CLIENT"
        with server.stubs(new) as stubs:
            assert stubs.whoami() == "arn:aws:iam::000000000000:root"
        assert stat.S_IMODE((started / "credentials" / "root.token").stat().st_mode) == 0o600
        assert server.terminate() == 0


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    """A slip of the finger must not spread keys over a folder that belongs to others."""
    (tmp_path / "passwd").write_text("somebody's")
    done = command("--data-dir", tmp_path, "--grpc-listen", FREE, cwd=tmp_path)
    assert done.returncode == 1
    assert "is not empty and holds no data of Kagitori" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["passwd"]


@pytest.mark.parametrize("name", ["lost+found", ".snapshot"])
def test_a_fresh_file_system_is_no_obstacle(tmp_path: Path, name: str) -> None:
    """What file systems put into their root isn't in the way."""
    (tmp_path / name).mkdir()
    tmp_path.chmod(0o700)
    with OperatedServer(tmp_path, "--log-level", "warning") as server:
        assert server.terminate() == 0
