"""Configuration: the sample file, the order of sources, and every value that is refused, by its name."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest

from kagitori_server.config import Config, ConfigurationError, load_config

SAMPLE = Path(__file__).resolve().parents[2] / "docs" / "kagitori.toml"


def test_the_sample_is_the_defaults() -> None:
    """docs/kagitori.toml loads, names every setting there is, and changes none."""
    assert load_config(SAMPLE, {}, {}) == load_config(None, {}, {}) == Config()
    written = tomllib.loads(SAMPLE.read_text())
    defaults = dataclasses.asdict(Config())
    assert {section: set(members) for section, members in written.items()} == {
        section: set(members) for section, members in defaults.items()
    }


def test_every_setting_is_explained_in_the_sample() -> None:
    """No line of a setting is without a value, and each section is introduced by name."""
    for section in dataclasses.asdict(Config()):
        assert f"[{section}]" in SAMPLE.read_text()


BAD: list[tuple[str, str, Any]] = [
    ("service", "account", "12345678901"), ("service", "account", "1234567890123"), ("service", "account", "x" * 12),
    ("service", "account", ""), ("service", "account", 123456789012), ("service", "account", "12345678901\u0661"),
    ("service", "account", "000000000000\n"), ("service", "region", ""), ("service", "region", "US-EAST-1"),
    ("service", "region", "-a"), ("service", "region", "a-"), ("service", "region", "a" * 64),
    ("service", "region", "a.b"), ("service", "region", ["us-east-1"]), ("service", "partition", ""),
    ("service", "partition", "azure"), ("service", "partition", "AWS"), ("service", "partition", "aws:x"),
    ("service", "regions", ["eu-west-1"]), ("service", "regions", ["us-east-1", "B!"]),
    ("service", "regions", [1]), ("service", "regions", {"a": "b"}), ("service", "regions", 7),
    ("listen", "grpc", "7700"), ("listen", "grpc", ":7700"), ("listen", "grpc", "localhost"),
    ("listen", "grpc", "localhost:"), ("listen", "grpc", "localhost:65536"), ("listen", "grpc", "localhost:-1"),
    ("listen", "grpc", "localhost:http"), ("listen", "grpc", "localhost:\u0661"), ("listen", "grpc", 7700),
    ("listen", "grpc_mtls", "x"), ("listen", "grpc_plaintext", "x"), ("listen", "metrics", "x"),
    ("listen", "metrics_anywhere", "perhaps"), ("listen", "metrics_anywhere", 1), ("listen", "metrics_anywhere", ""),
    ("listen", "socket", True),
    ("attestation", "max_age_seconds", 0), ("attestation", "max_age_seconds", 86_401),
    ("attestation", "max_age_seconds", "nan"), ("attestation", "roots_file", 7),
    ("root_key", "provider", "hsm"), ("root_key", "provider", ""), ("root_key", "provider", "passphrase"),
    ("root_key", "previous_provider", "hsm"), ("root_key", "previous_provider", "file"),
    ("root_key", "deadline_seconds", 0), ("root_key", "deadline_seconds", 601),
    ("limits", "calls_in_flight", 0), ("limits", "calls_in_flight", 100_001), ("limits", "calls_in_flight", -1),
    ("limits", "calls_in_flight", 2.5), ("limits", "calls_in_flight", "2.5"), ("limits", "calls_in_flight", "many"),
    ("limits", "calls_in_flight", True), ("limits", "calls_in_flight", [1]), ("limits", "calls_in_flight", "1_000"),
    ("limits", "calls_in_flight", float("inf")), ("limits", "calls_in_flight", float("nan")),
    ("limits", "calls_in_flight", "9" * 5000), ("limits", "calls_in_flight", ""),
    ("limits", "read_threads", 0), ("limits", "read_threads", 65),
    ("limits", "shutdown_seconds", 0), ("limits", "shutdown_seconds", 600.1), ("limits", "shutdown_seconds", "inf"),
    ("limits", "shutdown_seconds", float("nan")), ("limits", "shutdown_seconds", "nan"),
    ("limits", "shutdown_seconds", False), ("limits", "shutdown_seconds", 10**400),
    ("limits", "shutdown_seconds", None), ("limits", "deletion_check_seconds", 0),
    ("limits", "deletion_check_seconds", 86_401), ("limits", "usage_count_seconds", 0),
    ("limits", "usage_count_seconds", 86_401),
    ("xks_proxy", "listen", "7703"), ("xks_proxy", "path_prefix", "example"), ("xks_proxy", "path_prefix", "/"),
    ("xks_proxy", "path_prefix", "/example/"), ("xks_proxy", "path_prefix", "/a b"),
    ("xks_proxy", "path_prefix", "/" + "a" * 117), ("xks_proxy", "keys", ["payments"]),
    ("xks_proxy", "keys", ["=alias/payments"]), ("xks_proxy", "keys", ["a/b=alias/payments"]),
    ("xks_proxy", "keys", ["a" * 129 + "=alias/payments"]), ("xks_proxy", "keys", ["payments=alias/"]),
    ("xks_proxy", "keys", ["payments=arn:aws:s3:::bucket"]), ("xks_proxy", "keys", ["a=alias/x", "a=alias/y"]),
    *(("delivery", "s3_endpoint", url) for url in (
        "http://s3.example.com:9000", "http://10.0.0.1", "http://127.0.0.1.example.com", "http://127.0.0.1@example.com",
        "http://localhost.example.com", "http://2130706433", "http://0.0.0.0:9000", "ftp://127.0.0.1", "127.0.0.1:9000",
        "https://", "http://", "https://s3.example.com:port", "https://user@s3.example.com", "https://s3.example.com?a",
    )),
    ("log", "level", "trace"), ("log", "level", "INFO"), ("log", "format", "xml"),
]


@pytest.mark.parametrize("name", ["client_ca_file", "client_name"])
def test_client_certificates_of_the_xks_proxy_need_both(name: str) -> None:
    """An authority alone would let in everybody whom it has certified."""
    with pytest.raises(ConfigurationError, match="both client_ca_file and client_name"):
        load_config(None, {}, {"xks_proxy": {name: "x"}})


@pytest.mark.parametrize("url", [
    "https://s3.example.com", "https://10.0.0.1:9000", "http://127.0.0.1:9000", "http://127.3.2.1", "http://[::1]:9000",
    "http://localhost:9000", "",
])
def test_records_are_delivered_in_the_clear_on_loopback_only(url: str) -> None:
    """Where nobody else listens; see `BAD` for all else."""
    assert load_config(None, {}, {"delivery": {"s3_endpoint": url}}).delivery.s3_endpoint == url
    with pytest.raises(ConfigurationError, match="http:// is for loopback addresses"):
        load_config(None, {}, {"delivery": {"s3_endpoint": "http://s3.example.com"}})


@pytest.mark.parametrize("which", ["provider", "previous_provider"])
def test_a_root_key_in_a_token_needs_its_token(which: str) -> None:
    """Module, label or serial number, and the file of the PIN."""
    other = {"provider": "passphrase", "passphrase_file": "p"} if which == "previous_provider" else {}
    given: dict[str, str] = {**other, which: "pkcs11"}
    for name, value, missing in (
        ("module", "m", "module"), ("token_serial", "1", "token_label"), ("pin_file", "f", "pin_file"),
    ):
        with pytest.raises(ConfigurationError, match=f"root_key.{missing} must be given"):
            load_config(None, {}, {"root_key": given})
        given[name] = value
    assert load_config(None, {}, {"root_key": given}).root_key.module == "m"


@pytest.mark.parametrize(("section", "name", "value"), BAD, ids=lambda value: repr(value)[:30])
def test_values_that_are_refused(section: str, name: str, value: Any) -> None:
    """The message names the setting, or the one that would have to fit it."""
    with pytest.raises(ConfigurationError) as caught:
        load_config(None, {}, {section: {name: value}})
    expected = "root_key.passphrase_file" if value == "passphrase" else f"{section}.{name}"
    assert str(caught.value).startswith(f"{expected} must be ")


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ({"listen": {"grpc": ""}}, "listen must be at least one"),
        ({"tls": {"certificate_file": "a"}}, "tls must be both"), ({"tls": {"key_file": "a"}}, "tls must be both"),
        ({"listen": {"grcp": "x"}}, "listen.grcp is not a setting"),
        ({"listen": {"__class__": "x"}}, "listen.__class__ is not a setting"),
        ({"server": {"region": "x"}}, "the flags: there is no section 'server'"),
        ({"service": "us-east-1"}, "the flags: there is no section 'service'"),
        ({"log": {"Level": "info"}}, "log.Level is not a setting"),
        ({"keystore": {"libcrypto": "libcrypto.so.3"}}, "keystore.libcrypto must be empty, or an absolute path"),
    ],
)
def test_combinations_and_misspelt_names(flags: dict[str, Any], text: str) -> None:
    """A setting nobody knows is never ignored."""
    with pytest.raises(ConfigurationError, match=text.replace(".", r"\.")):
        load_config(None, {}, flags)


@pytest.mark.parametrize(
    ("variable", "value", "text"),
    [
        ("KAGITORI_SERVICE__REGIN", "x", "service.regin is not a setting"),
        ("KAGITORI_SERVER__REGION", "x", "the environment: there is no section 'server'"),
        ("KAGITORI___REGION", "x", "the environment: there is no section ''"),
        ("KAGITORI_SERVICE__", "x", "service. is not a setting"),
        ("KAGITORI_LIMITS__READ_THREADS", "four", "limits.read_threads must be a whole number"),
        ("KAGITORI_LIMITS__SHUTDOWN_SECONDS", "soon", "limits.shutdown_seconds must be a number"),
        ("KAGITORI_LISTEN__METRICS_ANYWHERE", "yes", "listen.metrics_anywhere must be true or false"),
    ],
)
def test_the_environment_is_as_strict(variable: str, value: str, text: str) -> None:
    """Misspelt variables of our form are refused; the client's are left alone."""
    with pytest.raises(ConfigurationError) as caught:
        load_config(None, {variable: value}, {})
    assert str(caught.value) == text
    client = {"KAGITORI_ENDPOINT": "https://x", "KAGITORI_TOKEN_FILE": "/x", "PATH": "/bin", "OTHER__THING": "x"}
    assert load_config(None, client, {}) == Config()


def test_flags_before_environment_before_file(tmp_path: Path) -> None:
    """The first that has a value gives it, setting by setting."""
    file = tmp_path / "kagitori.toml"
    file.write_text('[service]\nregion = "a-1"\nregions = ["a-1", "b-1", "c-1"]\n[log]\nlevel = "debug"\n')
    environment = {"KAGITORI_SERVICE__REGION": "b-1", "KAGITORI_LIMITS__READ_THREADS": "7"}
    assert load_config(file, {}, {}).service.region == "a-1"
    assert load_config(file, environment, {}).service.region == "b-1"
    config = load_config(file, environment, {"service": {"region": "c-1"}})
    assert config.service.region == "c-1"
    assert (config.service.regions, config.log.level) == (("a-1", "b-1", "c-1"), "debug")
    assert (config.limits.read_threads, config.limits.calls_in_flight) == (7, 1024)


def test_texts_are_read_as_what_they_stand_for() -> None:
    """Lists by commas, numbers and truth by their words."""
    config = load_config(None, {
        "KAGITORI_SERVICE__REGIONS": "us-east-1, eu-west-1,,", "KAGITORI_LISTEN__METRICS_ANYWHERE": "True",
        "KAGITORI_LIMITS__SHUTDOWN_SECONDS": "2.5", "KAGITORI_LISTEN__GRPC": "[::1]:0",
        "KAGITORI_TLS__SERVER_NAMES": "",
    }, {})
    assert config.service.served_regions == ("us-east-1", "eu-west-1")
    assert (config.listen.metrics_anywhere, config.limits.shutdown_seconds) == (True, 2.5)
    assert (config.listen.grpc, config.tls.server_names) == ("[::1]:0", ())
    assert Config().service.served_regions == ("us-east-1",)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"[service", "is not TOML"), (b"\xff\xfe", "is not TOML"), (b"region = 1", "there is no section 'region'"),
        (b"[service]\nregion = 'a'\nregion = 'b'", "is not TOML"), (b"[nothing]\nx = 1", "no section 'nothing'"),
        (b"# " + b"x" * 1_048_576, "a file of at most 1 MiB"), (b"[[service]]\nregion = 'a'", "no section 'service'"),
    ],
    ids=["unfinished", "binary", "no section", "twice", "unknown", "huge", "list"],
)
def test_files_that_are_refused(tmp_path: Path, content: bytes, text: str) -> None:
    """With the file's name."""
    file = tmp_path / "bad.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        load_config(file, {}, {})
    assert text in str(caught.value)
    assert "bad.toml" in str(caught.value)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    """Neither missing files nor folders are ignored."""
    for path in (tmp_path / "absent.toml", tmp_path):
        with pytest.raises(ConfigurationError, match=path.name):
            load_config(path, {}, {})


def test_it_is_frozen() -> None:
    """Nothing is configured after the start."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().service.region = "x"  # type: ignore[misc]  # the point of it
