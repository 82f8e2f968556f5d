"""The command `kagitori`.

Exit codes: 0 done; 1 the service refused, or something it answers for is not healthy; 2 wrong usage,
configuration or local files; 3 the service can't be reached; 4 data does not verify; 5 a simulated change would
refuse recorded calls; 128 and the number of a signal that ended it.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import signal
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and ends the process."""
    # A core file would hold tokens, and keys that pass through.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _check_standard_files()
    missing = [name for name in ("typer", "rich") if importlib.util.find_spec(name) is None]
    if missing:
        sys.stderr.write(
            f"error: Configuration: the command line needs {' and '.join(missing)}\n"
            "hint: pip install 'kagitori-kms[cli]'\n"
        )
        sys.exit(2)
    # gRPC's core would write its own lines about failed handshakes between ours; what they say is in our errors.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        # Only now: the bare install of the client has no typer.
        from kagitori_client.cli.app import run

        run(sys.argv[1:] if arguments is None else list(arguments))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def _check_standard_files() -> None:
    """Opens those of stdin, stdout and stderr that the caller has closed: the next file or connection would get the
    number, and whatever writes there with it. Without stdout there is nothing to be done."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdin is None:
        sys.stdin = os.fdopen(0)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w")
    if sys.stdout is None:
        sys.stderr.write("error: LocalFile: stdout is closed\n")
        sys.exit(2)
