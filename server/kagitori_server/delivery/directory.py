"""A directory as destination: object keys are paths, metadata is a JSON file beside each that has any."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from kagitori_server.delivery.destination import OBJECT_MAX_BYTES, DestinationFailed, Stored

METADATA_ENDING = ".metadata.json"
_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,250}")
_UNFINISHED = ".unfinished-"
_METADATA_MAX = 65_536


class DirectoryDestination:
    """Files of mode 0640 in folders of mode 0750, each put into place whole and durable."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, key: str, content: bytes, metadata: Mapping[str, str]) -> None:
        """The metadata first, so that whoever sees the object sees both."""
        path = self._path(key)
        try:
            self._make_folder(path.parent)
            if metadata:
                text = json.dumps(dict(metadata), indent=1, sort_keys=True).encode("ascii")
                _put(path.with_name(path.name + METADATA_ENDING), text)
            _put(path, content)
        except OSError as error:
            raise _failed(path, error) from None

    def get(self, key: str) -> Stored | None:
        """The file with what stands beside it."""
        path = self._path(key)
        try:
            content = _read(path, OBJECT_MAX_BYTES)
            if content is None:
                return None
            beside = _read(path.with_name(path.name + METADATA_ENDING), _METADATA_MAX)
        except OSError as error:
            raise _failed(path, error) from None
        return Stored(content, {} if beside is None else _metadata(path, beside))

    def tidy(self, before: float, until: Callable[[], bool]) -> None:
        """Removes unfinished files."""
        for folder, _, names in os.walk(self._root):
            if until():
                return
            for name in names:
                if name.startswith(_UNFINISHED):
                    # Another process may be tidying up, too.
                    with suppress(FileNotFoundError):
                        path = Path(folder, name)
                        if path.stat().st_mtime < before:
                            path.unlink()

    def keys(self, prefix: str) -> Iterator[str]:
        """Whatever lies there, but what a crash left unfinished."""
        folder = prefix.rpartition("/")[0]
        below = self._path(folder) if folder else self._root
        found = []
        for path in below.rglob("*"):
            key = path.relative_to(self._root).as_posix()
            ours = path.name.startswith(_UNFINISHED) or path.name.endswith(METADATA_ENDING)
            if key.startswith(prefix) and not ours and path.is_file():
                found.append(key)
        yield from sorted(found)

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if not all(map(_PART.fullmatch, parts)):
            raise DestinationFailed("an object key has parts of letters, digits, dots, underscores and hyphens")
        return self._root.joinpath(*parts)

    def _make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        folder.mkdir(mode=0o750, exist_ok=True)
        _sync_folder(folder.parent)


def _put(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f"{_UNFINISHED}{uuid4().hex}")
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path, most: int) -> bytes | None:
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if len(content) > most:
        raise DestinationFailed(f"{path} is larger than {most} bytes")
    return content


def _metadata(path: Path, text: bytes) -> Mapping[str, str]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise DestinationFailed(f"{path}{METADATA_ENDING} isn't a JSON object of texts")
    return found


def _failed(path: Path, error: OSError) -> DestinationFailed:
    return DestinationFailed(f"{path}: {error.strerror or 'it failed'}")
