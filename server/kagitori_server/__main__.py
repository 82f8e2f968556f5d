"""`kagitori-server` and `python -m kagitori_server`."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Runs the command line and exits with its status."""
    # gRPC's core reads this when it is imported. Its own lines on standard error are no JSON, and tell nothing that
    # a call's status doesn't.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from kagitori_server.commands import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
