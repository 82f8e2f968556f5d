"""Input and output files: nothing half-written is ever left behind, nothing unverified is ever given out."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from kagitori_client.cli.failures import LocalFileError, UsageError
from kagitori_client.cli.patient import patient_reader
from kagitori_client.cli.text import printable

STANDARD = "-"
_MAX_DOCUMENT = 1 << 20
_PARTIAL = ".partial"


def read_document(name: str) -> str:
    """A text file such as a policy, `-` for stdin; at most 1 MiB, UTF-8. The text is exactly the file's."""
    with _failures(name), open_input(name) as file:
        content = file.read(_MAX_DOCUMENT + 1)
    if len(content) > _MAX_DOCUMENT:
        raise UsageError(f"{name} is larger than 1 MiB: that is no policy document")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{name} is not UTF-8 text") from None


def read_small(name: str, most: int, what: str) -> bytes:
    """A binary file of 1 to `most` bytes, `-` for stdin."""
    with _failures(name), open_input(name) as file:
        content = b""
        while len(content) <= most and (chunk := file.read(most + 1 - len(content))):
            content += chunk
    if not content:
        raise UsageError(f"{name} is empty: that is no {what}")
    if len(content) > most:
        raise UsageError(f"{name} is longer than {most:,} bytes: that is no {what}")
    return content


def read_secret(name: str, most: int, what: str) -> bytes:
    """A binary file of 1 to `most` bytes, `-` for stdin, with a warning where others can read it too."""
    content = read_small(name, most, what)
    if name != STANDARD:
        with _failures(name):
            mode = stat.S_IMODE(Path(name).stat().st_mode)
        if mode & 0o077:
            shown = printable(name)
            sys.stderr.write(f"warning: others may read the {what} in {shown} (mode {mode:04o}): chmod 600 it\n")
    return content


@contextlib.contextmanager
def open_input(name: str) -> Iterator[IO[bytes]]:
    """Opens a file for reading, `-` for stdin."""
    if name == STANDARD:
        file: IO[bytes] = sys.stdin.buffer
    else:
        with _failures(name):
            file = Path(name).open("rb")  # noqa: SIM115  # closed below; only the opening is reported as ours
    with contextlib.nullcontext(file) if name == STANDARD else file:
        if _may_wait(file):
            with patient_reader(file.fileno()) as reader:
                yield reader
        else:
            yield file


def _may_wait(file: IO[bytes]) -> bool:
    """True for pipes, sockets and terminals."""
    try:
        mode = os.fstat(file.fileno()).st_mode
    except OSError:
        # No file of the system's, such as a stand-in for stdin in memory.
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def refuse_same_file(source: str, target: str) -> None:
    """Raises UsageError if both names mean the same file."""
    if STANDARD in (source, target):
        return
    with contextlib.suppress(OSError):
        if Path(source).samefile(target):
            raise UsageError(f"{source} and {target} are the same file")
    if Path(source).absolute() == Path(target).absolute():
        raise UsageError(f"{source} and {target} are the same file")


def check_target(target: str, *, force: bool) -> None:
    """Refuses, before any work is done, a target that may not or can't be replaced."""
    path = Path(target)
    try:
        status = path.lstat()
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise LocalFileError(f"{target} can't be written: there is no folder {path.parent}") from None
        return
    except OSError as error:
        raise LocalFileError(f"{target} can't be written: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"{target} exists and is no regular file", hint="use - for stdout")
    if not force:
        raise _exists(path)


@contextlib.contextmanager
def replaced_file(target: str, *, force: bool) -> Iterator[IO[bytes]]:
    """A new file that appears under its name, mode 0600, only when the block ends well.

    Until then it has no name at all (O_TMPFILE), so that not even a killed process leaves anything behind; on
    file systems without that it has a temporary one, removed when the block fails. The content is on disk
    before the name is. An existing file is replaced only with `force`, also if it came to be in the meantime.
    """
    check_target(target, force=force)
    path = Path(target)
    with _failures(target):
        descriptor, temporary = _open_hidden(path)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            with _failures(target):
                file.flush()
                os.fsync(file.fileno())
                if temporary is None:
                    temporary = _name(file.fileno(), path, force=force)
        with _failures(target):
            if temporary is not None:
                _publish(temporary, path, force=force)
            _sync_folder(path.parent)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _open_hidden(path: Path) -> tuple[int, Path | None]:
    """A new file beside `path`, open for writing: without a name, or with the one answered."""
    try:
        return os.open(path.parent, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600), None
    except OSError as error:
        if error.errno not in {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL}:
            raise
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.", suffix=_PARTIAL)
    return descriptor, Path(name)


def _name(descriptor: int, path: Path, *, force: bool) -> Path | None:
    """Names a nameless file: as it shall be called (None), or, to replace a file, with a temporary name."""
    named = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}{_PARTIAL}") if force else path
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # A link, unlike a rename, fails where the name exists. The folder's descriptor makes Python call
        # linkat(2), which alone can link what /proc/self/fd points at.
        os.link(f"/proc/self/fd/{descriptor}", named.name, src_dir_fd=folder, dst_dir_fd=folder)
    except FileExistsError:
        raise _exists(path) from None
    finally:
        os.close(folder)
    return named if force else None


def _publish(temporary: Path, path: Path, *, force: bool) -> None:
    if force:
        temporary.replace(path)
        return
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        raise _exists(path) from None
    except OSError:
        # Some file systems have no hard links. The name was free when the work began, and is looked at again.
        check_target(str(path), force=False)
        temporary.replace(path)


def _exists(path: Path) -> UsageError:
    return UsageError(f"{path} exists", hint="--force replaces it")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def spooled_stdout() -> Iterator[IO[bytes]]:
    """Stdout that stays silent until the block ends well; meanwhile all is in a nameless temporary file."""
    with _failures("temporary file"):
        spool = tempfile.TemporaryFile()  # noqa: SIM115  # closed below
    with spool:
        yield spool
        spool.seek(0)
        shutil.copyfileobj(spool, sys.stdout.buffer)
        sys.stdout.buffer.flush()


@contextlib.contextmanager
def direct_stdout() -> Iterator[IO[bytes]]:
    """Stdout itself, for output that shows by itself whether it is whole; not to a terminal."""
    _refuse_terminal()
    yield sys.stdout.buffer
    sys.stdout.buffer.flush()


def _refuse_terminal() -> None:
    if sys.stdout.isatty():
        raise UsageError("that output is binary and would go to the terminal", hint="name a file or use a pipe")


def check_output(target: str, *, force: bool) -> None:
    """Refuses, before any work is done, a file that may not be written, and a terminal for binary output."""
    if target == STANDARD:
        _refuse_terminal()
    else:
        check_target(target, force=force)


def write_output(target: str, content: bytes, *, force: bool) -> None:
    """Writes a small file, mode 0600, all or nothing; `-` for stdout."""
    if target == STANDARD:
        with direct_stdout() as stdout:
            stdout.write(content)
    else:
        write_secret(target, content, force=force)


def write_secret(target: str, content: bytes, *, force: bool) -> None:
    """Writes a small file, mode 0600, all or nothing."""
    with _failures(target), replaced_file(target, force=force) as file:
        file.write(content)


@contextlib.contextmanager
def progress(label: str, source: IO[bytes]) -> Iterator[Callable[[int], None] | None]:
    """A progress bar on stderr, where that is a terminal; what it gives wants the bytes done so far."""
    if not sys.stderr.isatty():
        yield None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=_length(source))
        yield lambda done: bar.update(task, completed=done)


def _length(source: IO[bytes]) -> int | None:
    try:
        status = os.fstat(source.fileno())
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


@contextlib.contextmanager
def _failures(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LocalFileError(f"{name}: {error.strerror or type(error).__name__}") from None
