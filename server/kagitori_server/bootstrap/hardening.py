"""What the process asks of the operating system before it opens any key."""

from __future__ import annotations

import ctypes
import logging
import resource

_log = logging.getLogger(__name__)

_PR_SET_DUMPABLE = 4
_MCL_CURRENT_AND_FUTURE = 3


def harden_process() -> None:
    """No core dumps, no peeking by other processes of the same user, and no swapping where the system allows it.

    Core dumps and `ptrace` (prctl(2), PR_SET_DUMPABLE) can always be refused. Memory is locked (mlockall(2)) only
    if the process may lock as much as it likes: under a limit, a later allocation could fail for it.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        _log.warning("the process could not be made undumpable")
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft != resource.RLIM_INFINITY:
        _log.info("memory is not locked: the limit RLIMIT_MEMLOCK is %d bytes; set it to unlimited", soft)
    elif libc.mlockall(_MCL_CURRENT_AND_FUTURE) != 0:
        _log.warning("memory could not be locked: %s", ctypes.get_errno())
