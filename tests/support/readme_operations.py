"""Prints the README's table of operations: `python -m tests.support.readme_operations`.

What is served follows from the operation table, what there is from the contract's three services.
"""

from __future__ import annotations

import re
from pathlib import Path

from kagitori_server.operations.table import TABLE
from kagitori_server.transports.grpc.contract import SERVICES

README = Path(__file__).resolve().parents[2] / "README.md"
_OPENING = "<!-- operations: kept in step with the operation table by a test -->"
_BLOCK = re.compile(rf"(?<={_OPENING}\n).*(?=<!-- end -->)", re.DOTALL)


def block() -> str:
    """The table in Markdown, a row per service."""
    lines = ["| service | served | in the contract, not served yet |", "|---|---|---|"]
    for service in SERVICES:
        names = [method.name for method in service.methods]
        served = ", ".join(name for name in names if name in TABLE)
        missing = ", ".join(name for name in names if name not in TABLE)
        lines.append(f"| {service.name} | {served} | {missing or 'none'} |")
    return "\n".join(lines) + "\n"


def in_readme() -> str:
    """The block as the README has it. ValueError when the README has none."""
    found = _BLOCK.search(README.read_text())
    if found is None:
        raise ValueError("README.md has no block of operations")
    return found.group()


if __name__ == "__main__":
    print(block(), end="")
