"""A clock that can be moved forward, and that has happen on the way what falls due."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from kagitori_server.storage.catalog import Catalog
from kagitori_server.storage.reader import Reader


class VirtualClock:
    """The real time plus an offset, which only grows once the clock is in use. Goes at the usual pace."""

    def __init__(self, real: Callable[[], float], offset: float, keep: Callable[[float], None]) -> None:
        """`keep` is told each new offset, so that it outlives the process."""
        self._real = real
        self._offset = offset
        self._keep = keep

    def __call__(self) -> float:
        return self._real() + self._offset

    def start_at(self, time: float) -> None:
        """Shows any time, before anybody has looked."""
        self._offset = time - self._real()
        self._keep(self._offset)

    def move_to(self, target: float) -> None:
        """Moves there, unless that time is past. For one thread."""
        offset = target - self._real()
        if offset > self._offset:
            self._offset = offset
            self._keep(offset)


class TimeMachine:
    """Moves a clock from one event that falls due to the next: `operations.administration.laboratory.Clock`."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._catalog: Catalog | None = None
        self._workers: Sequence[Callable[[], int]] = ()
        self._pool: Executor | None = None

    def attach(self, catalog: Catalog, workers: Sequence[Callable[[], int]], pool: Executor) -> None:
        """What time does: each of `workers` does what is due, and tells how much that was. They run in `pool`, which
        has the one thread that they are for."""
        self._catalog, self._workers, self._pool = catalog, workers, pool

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock()

    def move_to(self, target: float) -> None:
        """Moves there, with everything that is due happening at its own time. Blocks. Raises KmsError."""
        if self._pool is None:
            raise RuntimeError("the clock was moved before the service was open")
        self._pool.submit(self._move, target).result()

    def _move(self, target: float) -> None:
        while (due := self._first_due(target)) is not None:
            self._clock.move_to(due)
            if not self._work():
                # A key whose store fails stays due; time goes on without it.
                break
        self._clock.move_to(target)
        self._work()

    def _work(self) -> int:
        return sum(worker() for worker in self._workers)

    def _first_due(self, target: float) -> float | None:
        """When the next thing falls due that does so by `target`."""
        if self._catalog is None:
            return None
        with self._catalog.read() as reader:
            times = [*_deletions(reader, target), *_rotations(reader, target), *_expirations(reader, target)]
        return min(times, default=None)


def _deletions(reader: Reader, target: float) -> list[float]:
    keys = (reader.get_key(*place) for place in reader.due_deletions(target, 1))
    return [key.deletion_date for key in keys if key is not None and key.deletion_date is not None]


def _rotations(reader: Reader, target: float) -> list[float]:
    keys = (reader.get_key(*place) for place in reader.due_rotations(target, 1))
    return [key.next_rotation for key in keys if key is not None and key.next_rotation is not None]


def _expirations(reader: Reader, target: float) -> list[float]:
    found = []
    for region, key_id, material_id in reader.due_expirations(target, 1):
        key = reader.get_key(region, key_id)
        version = None if key is None else key.material(material_id)
        if version is not None and version.expires is not None:
            found.append(version.expires)
    return found
