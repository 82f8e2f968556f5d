"""Every command that README.md shows can be typed: sub-commands, options and targets exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from tests.support.commandline import program

from kagitori_client.cli.session import Options
from kagitori_server.commands import _parser

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def _commands() -> list[str]:
    """The lines of shell blocks, and what stands in backticks."""
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    lines = [
        part for block in blocks for line in block.replace("\\\n", " ").splitlines() for part in line.split(" && ")
    ]
    prose = re.sub(r"^```.*?^```", "", README, flags=re.DOTALL | re.MULTILINE)
    return [*lines, *re.findall(r"`([^`\n]+)`", prose)]


COMMANDS = _commands()
CLIENT = [words for words in COMMANDS if re.match(r"(?:[A-Z_]+=\S+ )*kagitori \w", words)]
SERVER = [words for words in COMMANDS if words.startswith("kagitori-server")]
MAKE = [words for words in COMMANDS if words.startswith("make ")]


def _resolve(command: Any, name: str, words: list[str]) -> None:
    """Parses `words` as the command line does, down to the last sub-command, and runs nothing."""
    with command.make_context(name, list(words), obj=Options()) as context:
        if not hasattr(command, "resolve_command"):
            return
        rest = [*context._protected_args, *context.args]
        found, sub_command, rest = command.resolve_command(context, rest)
    assert sub_command is not None
    _resolve(sub_command, found, rest)


def test_commands_are_found() -> None:
    """The patterns above still match what the file is made of."""
    assert len(CLIENT) >= 11
    assert len(SERVER) >= 5
    assert {"make serve", "make test", "make lint", "make bench", "make protos"} <= set(MAKE)


@pytest.mark.parametrize("line", CLIENT)
def test_client_commands_parse(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With their options; paths are those of a checkout."""
    monkeypatch.chdir(ROOT)
    words = [word for word in shlex.split(line) if not re.match(r"[A-Z_]+=", word)]
    _resolve(program(), words[0], words[1:])


@pytest.mark.parametrize("line", SERVER)
def test_server_commands_parse(line: str) -> None:
    """With their options."""
    _parser().parse_args(shlex.split(line)[1:])


def test_options_named_in_prose_exist() -> None:
    """Flags beside the commands are the server's or the client's."""
    flags = {words.split()[0] for words in COMMANDS if words.startswith("--")}
    assert flags
    help_text = _parser().format_help()
    assert {flag for flag in flags if not re.search(rf"{flag}\b", help_text)} == set()


@pytest.mark.parametrize("line", MAKE)
def test_make_targets_exist(line: str) -> None:
    """As targets, and as phony ones."""
    target = shlex.split(line)[1]
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)
    assert target in re.findall(r"^\.PHONY:(.*)$", MAKEFILE, re.MULTILINE)[0].split()


def test_links_lead_somewhere() -> None:
    """Relative links name files of the repository."""
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
