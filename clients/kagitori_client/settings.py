"""Where the client's settings come from: a profile, the environment, and what the caller says.

The later wins, member by member, with one exception: credentials and trust stay with the endpoint they were
set for. Where a later source names another endpoint, those of the earlier ones are dropped, so that no token
is sent to a server it was not meant for.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from kagitori_client.errors import ConfigurationError

DEFAULT_PROFILE = "default"
_ENVIRONMENT = {
    "endpoint": "KAGITORI_ENDPOINT",
    "ca_file": "KAGITORI_CA_FILE",
    "token_file": "KAGITORI_TOKEN_FILE",
    "cert_file": "KAGITORI_CERT_FILE",
    "key_file": "KAGITORI_KEY_FILE",
    "region": "KAGITORI_REGION",
    "aws_endpoint": "KAGITORI_AWS_ENDPOINT",
}
_MAX_CONFIG = 1 << 20


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client needs to know. Files are paths; a credential itself is never a setting."""

    endpoint: str | None = None
    ca_file: str | None = None
    token_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    region: str | None = None
    aws_endpoint: str | None = None
    """Where the same service speaks AWS's protocol. The client itself doesn't."""

    def overlaid(self, later: Settings) -> Settings:
        """These settings with `later` on top of them, by the rule of this module."""
        base = self
        if later.endpoint is not None and self.endpoint is not None and later.endpoint != self.endpoint:
            base = Settings(region=self.region)
        given = {f.name: value for f in fields(later) if (value := getattr(later, f.name)) is not None}
        if "token_file" in given and "cert_file" not in given:
            # A call carries one identity only, so naming one kind of credential takes back the other.
            base = replace(base, cert_file=None, key_file=None)
        elif "cert_file" in given and "token_file" not in given:
            base = replace(base, token_file=None)
        return replace(base, **given)


def config_path(environment: Mapping[str, str]) -> Path:
    """The configuration file: `kagitori/config.toml` under XDG_CONFIG_HOME, `~/.config` by default."""
    base = environment.get("XDG_CONFIG_HOME", "")
    folder = Path(base) if base.startswith("/") else Path(environment.get("HOME") or Path.home()) / ".config"
    return folder / "kagitori" / "config.toml"


def from_environment(environment: Mapping[str, str]) -> Settings:
    """The KAGITORI_… variables; an empty one counts as absent."""
    return Settings(**{name: environment.get(variable) or None for name, variable in _ENVIRONMENT.items()})


def read_profiles(path: Path) -> dict[str, Settings]:
    """All profiles of a configuration file; none if there is no such file.

    Raises ConfigurationError for a file that others may change, isn't TOML or says anything this client doesn't know.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(_MAX_CONFIG + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigurationError(f"{path} can't be read: {error.strerror}") from None
    # Who can change it can have the token that it names sent to a server of their own.
    if status.st_uid not in {0, os.geteuid()}:
        raise ConfigurationError(f"{path} belongs to another user")
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o022:
        raise ConfigurationError(f"{path} may be changed by others (mode {mode:04o})", hint=f"chmod go-w {path}")
    if len(content) > _MAX_CONFIG:
        raise ConfigurationError(f"{path} is longer than {_MAX_CONFIG:,} bytes: that is no configuration")
    try:
        document = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is no TOML: {error}") from None
    profiles = document.pop("profiles", {})
    if document or not isinstance(profiles, dict):
        raise ConfigurationError(f"{path} may hold tables [profiles.NAME] only")
    return {name: _profile(path, name, table) for name, table in profiles.items()}


def _profile(path: Path, name: str, table: object) -> Settings:
    known = {f.name for f in fields(Settings)}
    if not isinstance(table, dict):
        raise ConfigurationError(f"profile {name} in {path} is no table")
    for member, value in table.items():
        if member not in known:
            raise ConfigurationError(f"profile {name} in {path} has an unknown member {member!r}")
        if not isinstance(value, str) or not value or "\0" in value:
            raise ConfigurationError(
                f"{member} of profile {name} in {path} must be a string that isn't empty, without NUL"
            )
    return Settings(**table)


def load_settings(
    *, profile: str | None = None, overrides: Settings | None = None, environment: Mapping[str, str] | None = None
) -> Settings:
    """Profile, then environment, then `overrides`.

    `profile` (else KAGITORI_PROFILE) must exist; without either the profile `default` is used if there is one.
    """
    variables = os.environ if environment is None else environment
    wanted = profile or variables.get("KAGITORI_PROFILE") or None
    path = config_path(variables)
    profiles = read_profiles(path)
    if wanted is not None and wanted not in profiles:
        raise ConfigurationError(
            f"there is no profile {wanted!r} in {path}", hint=f"kagitori init --profile {wanted} makes one"
        )
    settings = profiles.get(wanted or DEFAULT_PROFILE, Settings())
    return settings.overlaid(from_environment(variables)).overlaid(overrides or Settings())


def write_profile(path: Path, name: str, settings: Settings) -> None:
    """Writes one profile, keeping the others (comments are lost); all or nothing, mode 0600."""
    profiles = {**read_profiles(path), name: settings}
    lines = []
    for profile, values in sorted(profiles.items()):
        lines.append(f"[profiles.{_quoted(profile)}]")
        for f in fields(Settings):
            value = getattr(values, f.name)
            if value is not None:
                lines.append(f"{f.name} = {_quoted(value)}")
        lines.append("")
    write_private(path, "\n".join(lines).encode())


def write_private(path: Path, content: bytes) -> None:
    """Replaces a file, mode 0600, all or nothing; makes its folder, mode 0700, where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's escapes are a subset of TOML's, but for DEL, which TOML wants escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
