"""The words of `kagitori-server`: what is refused before anything is opened, and what wins over what."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from kagitori_server.commands import _configured, _parser, run
from kagitori_server.config import Config, ConfigurationError


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the outside configures these tests, and files appear in a folder of their own."""
    for name in ("KAGITORI_LISTEN__GRPC", "KAGITORI_SERVICE__REGION", "KAGITORI_LOG__LEVEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def _parsed(*words: str) -> argparse.Namespace:
    return _parser().parse_args(words)


def _config(*words: str) -> Config:
    return _configured(_parsed(*words))


@pytest.mark.parametrize(
    "words",
    [
        ["--no-such-flag"],
        ["--grpc", "127.0.0.1:1"],
        ["serve"],
        ["dev", "--seed"],
        ["verify-audit"],
        ["root-token"],
        ["client-certificate", "--uri", "spiffe://a/b"],
        ["client-certificate", "--data-dir", "x", "--uri", "spiffe://a/b", "--out", "x", "--days", "many"],
        ["--grpc-listen", "127.0.0.1:1", "dev"],
        ["--set", "log.level=debug", "dev"],
        ["--data-dir", "x", "dev"],
        ["--config", "x.toml", "verify-audit", "--data-dir", "x"],
    ],
)
def test_wrong_words(words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Exit status 2 and usage; above all, no option is taken and then forgotten."""
    with pytest.raises(SystemExit) as ended:
        run(words)
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "usage: kagitori-server" in captured.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "--data-dir is needed"),
        (["--set", "nothing"], "SECTION.NAME=VALUE"),
        (["--set", "grpc=127.0.0.1:1"], "SECTION.NAME=VALUE"),
        (["--set", "listen=grpc.x"], "SECTION.NAME=VALUE"),
        (["--set", "lisen.grpc=127.0.0.1:1"], "lisen"),
        (["--set", "listen.grcp=127.0.0.1:1"], "listen.grcp is not a setting"),
        (["--set", "limits.read_threads=many"], "limits.read_threads must be a whole number"),
        (["--set", "limits.read_threads=0"], "limits.read_threads must be 1 to 64"),
        (["--set", "limits.shutdown_seconds=nan"], "limits.shutdown_seconds must be"),
        (["--set", "listen.metrics_anywhere=yes"], "true or false"),
        (["--set", "tls.certificate_file=x.crt"], "both certificate_file and key_file"),
        (["--set", "root_key.provider=tpm"], "root_key.provider must be file, passphrase or pkcs11"),
        (["--set", "root_key.provider=passphrase"], "root_key.passphrase_file"),
        (["--set", "service.account=1"], "12 digits"),
        (["--set", "service.regions=eu-central-1"], "service.regions"),
        (["--region", "Moon"], "service.region"),
        (["--log-level", "loud"], "log.level must be"),
        (["--grpc-listen", ""], "at least one of grpc"),
        (["--grpc-listen", "7700"], "listen.grpc must be host:port"),
        (["--grpc-listen", "127.0.0.1:70000"], "listen.grpc must be host:port"),
        (["--grpc-listen", "127.0.0.1:-1"], "listen.grpc must be host:port"),
        (["--metrics-listen", ":9"], "listen.metrics must be host:port"),
        (["--config", "missing.toml"], "missing.toml: No such file"),
    ],
)
def test_refused_in_one_line(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Exit status 1; nothing is made."""
    assert run(words if not words or "--data-dir" in words else ["--data-dir", str(tmp_path / "data"), *words]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("kagitori-server: ")
    assert told in line
    assert list(tmp_path.iterdir()) == []


def test_sources_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag, else the environment, else the file, else the default; each setting by itself."""
    file = tmp_path / "kagitori.toml"
    file.write_text('[service]\nregion = "from-file"\n[listen]\ngrpc = "127.0.0.1:1"\n[log]\nlevel = "error"\n')
    assert _config("--config", str(file)).service.region == "from-file"
    monkeypatch.setenv("KAGITORI_SERVICE__REGION", "from-environment")
    monkeypatch.setenv("KAGITORI_TOKEN_FILE", "the client's, and no setting")
    found = _config("--config", str(file), "--grpc-listen", "127.0.0.1:2")
    assert found.service.region == "from-environment"
    assert found.listen.grpc == "127.0.0.1:2"
    assert found.log.level == "error"
    assert found.limits == Config().limits
    found = _config("--config", str(file), "--region", "from-flag", "--set", "listen.metrics_anywhere=true")
    assert found.service.region == "from-flag"
    assert found.listen.metrics_anywhere is True


def test_misspelt_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of the server's form that names no setting."""
    for name in ("KAGITORI_LISTEN__GRCP", "KAGITORI_LISEN__GRPC"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "127.0.0.1:1")
            with pytest.raises(ConfigurationError):
                _config()


def test_help_is_there_for_every_sub_command(capsys: pytest.CaptureFixture[str]) -> None:
    """And names its options."""
    for words, option in (
        ([], "--data-dir"), (["dev"], "--grpc-listen"), (["root-token"], "--data-dir"),
        (["client-certificate"], "--days"), (["verify-audit"], "--data-dir"),
    ):
        with pytest.raises(SystemExit) as ended:
            run([*words, "--help"])
        assert ended.value.code == 0
        assert option in capsys.readouterr().out
