"""`kagitori-server` and `python -m kagitori_server`."""

from __future__ import annotations

import sys

from kagitori_server.commands import run


def main() -> None:
    """Runs the command line and exits with its status."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
