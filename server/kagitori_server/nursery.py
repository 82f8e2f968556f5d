"""`python -m kagitori_server.nursery`: has loaded the server once, and forks a `kagitori-server` at each request.

Loading takes longer than all else that an instance for tests does at its start. Nothing is shared but the code: each
has its own arguments, environment, folders and keys, as if it had been started alone. Not for servers in earnest.

Standard input is a socket (Unix, SOCK_SEQPACKET). A request is JSON {"arguments", "environment", "folder", "umask"}
(the last may be null, for the nursery's own) with four descriptors: standard input, output and error of the new
process, and a pipe on which its exit status is told as text.
The answer is its process id. The nursery ends with the other end of the socket; what it has forked goes on.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

_REQUEST_MAX = 1 << 20
_DESCRIPTORS = 4


def main() -> None:
    """Serves requests; in each forked process, runs the server and exits with its status."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # as __main__ does
    from kagitori_server.commands import run

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the servers and for who starts them
    gc.collect()
    gc.freeze()
    _Nursery(socket.socket(fileno=os.dup(0)), run).serve()


class _Nursery:
    """No threads: what is forked beside one may find a lock held for ever."""

    def __init__(self, requests: socket.socket, run: Callable[[Sequence[str]], int]) -> None:
        self._requests = requests
        self._run = run
        self._reports: dict[int, tuple[int, int]] = {}
        """Descriptor of a process -> (its id, where its end is told)."""
        self._poll = select.poll()
        self._poll.register(requests.fileno(), select.POLLIN)

    def serve(self) -> None:
        """Until the other end closes."""
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor in self._reports:
                    self._report(descriptor)
                elif not self._fork():
                    return

    def _fork(self) -> bool:
        data, descriptors, _, _ = socket.recv_fds(self._requests, _REQUEST_MAX, _DESCRIPTORS)
        if len(descriptors) != _DESCRIPTORS:
            return False
        process = os.fork()
        if process == 0:
            self._become(json.loads(data), descriptors)
        for descriptor in descriptors[:-1]:
            os.close(descriptor)
        watched = os.pidfd_open(process)
        self._reports[watched] = (process, descriptors[-1])
        self._poll.register(watched, select.POLLIN)
        with suppress(OSError):
            self._requests.send(str(process).encode("ascii"))
        return True

    def _become(self, request: dict[str, object], descriptors: Sequence[int]) -> None:
        """In the new process; never returns."""
        self._requests.close()
        for watched, (_, report) in self._reports.items():
            os.close(watched)
            os.close(report)
        for descriptor, standard in zip(descriptors, (0, 1, 2), strict=False):
            os.dup2(descriptor, standard)
        for descriptor in descriptors:
            os.close(descriptor)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.clear()
        os.environ.update(request["environment"])  # type: ignore[call-overload]  # the other end is of this project
        os.chdir(str(request["folder"]))
        umask = request.get("umask")
        if isinstance(umask, int):
            os.umask(umask)
        arguments = request["arguments"]
        sys.exit(self._run(arguments if isinstance(arguments, list) else []))

    def _report(self, watched: int) -> None:
        process, report = self._reports.pop(watched)
        self._poll.unregister(watched)
        os.close(watched)
        _, status = os.waitpid(process, 0)
        with suppress(OSError):
            os.write(report, str(os.waitstatus_to_exitcode(status)).encode("ascii"))
        os.close(report)


if __name__ == "__main__":
    main()
