"""A disk under the audit trail that can be full."""

from __future__ import annotations

import errno

from kagitori_server.audit.disk import Disk


class FullDisk(Disk):
    """A disk that takes nothing while it is full."""

    full = False

    def write_durably(self, descriptor: int, data: bytes, offset: int) -> None:
        """Fails half way."""
        if self.full:
            super().write_durably(descriptor, data[: len(data) // 2], offset)
            raise OSError(errno.ENOSPC, "no space")
        super().write_durably(descriptor, data, offset)
