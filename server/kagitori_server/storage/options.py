"""What an operator may tune of the catalog. Every default is safe."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CatalogOptions:
    """Bounds of the catalog of one process."""

    read_connections: int = 4
    """Snapshots that may be open at a time; one more connection serves writes, one more proves currency."""
    view_entries: int = 100_000
    """Records the view keeps of each kind, and as many notes of records that are absent."""
    write_wait_seconds: float = 10.0
    """Longest wait for the turn to write; then the call fails with DependencyTimeoutException."""
    statement_seconds: float = 15.0
    """Longest a single statement may run (PostgreSQL)."""
    prove_seconds: float = 1.0
    """Longest a caller waits for proof that the view is current (PostgreSQL); then it is refused."""
    changes_kept: int = 10_000
    """Write transactions whose changes are remembered. A view further behind drops all it holds."""

    def __post_init__(self) -> None:
        if min(self.read_connections, self.view_entries, self.changes_kept) < 1:
            raise ValueError("read_connections, view_entries and changes_kept must be at least 1")
        if min(self.write_wait_seconds, self.statement_seconds, self.prove_seconds) <= 0:
            raise ValueError("waits must be longer than nothing")
