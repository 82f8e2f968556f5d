"""`kagitori-server` and `python -m kagitori_server`."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Runs the command line and exits with its status."""
    # gRPC's core would write lines of its own between those of our log, one for every handshake that fails. It
    # looks at this when it is loaded; whoever wants the lines sets it.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from kagitori_server.commands import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
