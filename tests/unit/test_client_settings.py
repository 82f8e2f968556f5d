"""Settings: what goes before what, and that credentials stay with their endpoint."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from kagitori_client.errors import ConfigurationError
from kagitori_client.settings import (
    Settings,
    config_path,
    load_settings,
    read_profiles,
    write_private,
    write_profile,
)

A, B = "https://a:1", "https://b:1"


def _environment(folder: Path, **more: str) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(folder), **more}


def _write(folder: Path, text: str) -> Path:
    path = folder / "kagitori" / "config.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_place_of_the_file(tmp_path: Path) -> None:
    assert config_path({"XDG_CONFIG_HOME": "/x"}) == Path("/x/kagitori/config.toml")
    assert config_path({"HOME": "/h"}) == Path("/h/.config/kagitori/config.toml")
    # The XDG specification: relative paths are to be ignored.
    assert config_path({"HOME": "/h", "XDG_CONFIG_HOME": "x"}) == Path("/h/.config/kagitori/config.toml")


def test_nothing_anywhere(tmp_path: Path) -> None:
    assert load_settings(environment=_environment(tmp_path)) == Settings()


def test_later_sources_win_member_by_member(tmp_path: Path) -> None:
    _write(tmp_path, f'[profiles.default]\nendpoint = "{A}"\nregion = "r1"\nca_file = "/ca"\ntoken_file = "/t1"\n')
    environment = _environment(tmp_path, KAGITORI_REGION="r2", KAGITORI_TOKEN_FILE="/t2", KAGITORI_CA_FILE="")
    loaded = load_settings(environment=environment, overrides=Settings(region="r3"))
    assert loaded == Settings(endpoint=A, region="r3", ca_file="/ca", token_file="/t2")


def test_another_endpoint_gets_no_credentials_of_the_first(tmp_path: Path) -> None:
    _write(
        tmp_path,
        f'[profiles.default]\nendpoint = "{A}"\nregion = "r1"\nca_file = "/ca"\ntoken_file = "/t1"\n'
        f'[profiles.certificate]\nendpoint = "{A}"\ncert_file = "/c"\nkey_file = "/k"\n',
    )
    elsewhere = load_settings(environment=_environment(tmp_path), overrides=Settings(endpoint=B))
    assert elsewhere == Settings(endpoint=B, region="r1")
    by_environment = load_settings(environment=_environment(tmp_path, KAGITORI_ENDPOINT=B))
    assert by_environment == Settings(endpoint=B, region="r1")
    both = _environment(tmp_path, KAGITORI_ENDPOINT=B, KAGITORI_TOKEN_FILE="/t2")
    assert load_settings(environment=both, overrides=Settings(endpoint=A)) == Settings(endpoint=A, region="r1")
    certificate = load_settings(
        profile="certificate", environment=_environment(tmp_path), overrides=Settings(endpoint=B)
    )
    assert certificate == Settings(endpoint=B)
    same = load_settings(environment=_environment(tmp_path, KAGITORI_ENDPOINT=A))
    assert same.token_file == "/t1"


def test_one_kind_of_credential_takes_back_the_other() -> None:
    token = Settings(endpoint=A, token_file="/t")
    certificate = Settings(endpoint=A, cert_file="/c", key_file="/k")
    assert token.overlaid(certificate) == certificate
    assert certificate.overlaid(token) == token


def test_profile_by_name_environment_or_default(tmp_path: Path) -> None:
    _write(tmp_path, f'[profiles.default]\nendpoint = "{A}"\n[profiles.other]\nendpoint = "{B}"\n')
    assert load_settings(environment=_environment(tmp_path)).endpoint == A
    assert load_settings(environment=_environment(tmp_path, KAGITORI_PROFILE="other")).endpoint == B
    named = load_settings(profile="default", environment=_environment(tmp_path, KAGITORI_PROFILE="other"))
    assert named.endpoint == A
    with pytest.raises(ConfigurationError, match="no profile 'missing'") as refused:
        load_settings(profile="missing", environment=_environment(tmp_path))
    assert "kagitori init --profile missing" in (refused.value.hint or "")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("endpoint = 'x'", "tables"),
        ("[profile.default]\nendpoint = 'x'", "tables"),
        ("profiles = 3", "tables"),
        ("[profiles]\ndefault = 3", "no table"),
        ("[profiles.default]\nendpont = 'x'", "unknown member 'endpont'"),
        ("[profiles.default]\ntoken = 'x'", "unknown member 'token'"),
        ("[profiles.default]\nendpoint = 3", "must be a string"),
        ("[profiles.default]\nendpoint = ''", "must be a string"),
        ('[profiles.default]\nca_file = "a\\u0000b"', "without NUL"),
        ("#" * (1 << 20) + "\n", "is longer than"),
        ("[profiles.default", "no TOML"),
    ],
)
def test_files_that_say_something_else(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        read_profiles(_write(tmp_path, text))


@pytest.mark.parametrize("mode", [0o660, 0o602, 0o666])
def test_a_file_that_others_can_change(tmp_path: Path, mode: int) -> None:
    """They could have the token that it names sent to their server."""
    path = _write(tmp_path, f"[profiles.default]\nendpoint = '{A}'\n")
    assert read_profiles(path)
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match=rf"may be changed by others \(mode {mode:04o}\)"):
        read_profiles(path)


def test_a_file_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They can change it as well; one of root's, as in a container, is read."""
    path = _write(tmp_path, f"[profiles.default]\nendpoint = '{A}'\n")
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
    else:  # who can't give it away is somebody else
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        read_profiles(path)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid)
    assert read_profiles(path)


def test_written_profiles_read_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "config.toml"
    first = Settings(endpoint=A, token_file='/with "quotes" \\ and ünïcode \x7f\t', region="r")
    second = Settings(endpoint="unix:///s")
    write_profile(path, "first", first)
    write_profile(path, "a b.c", second)
    assert read_profiles(path) == {"first": first, "a b.c": second}
    write_profile(path, "first", second)
    assert read_profiles(path) == {"first": second, "a b.c": second}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_failed_writing_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_private(tmp_path / "taken", b"x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken"]
