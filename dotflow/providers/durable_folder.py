"""A folder whose files are replaced as a whole, under a lock, and survive a loss of power.

The steps of a replacement are those that POSIX promises to be durable: the bytes are on the disk
before the file gets its name (`fsync` of the file, `rename`), and the name is before the call
returns (`fsync` of the folder).
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from types import ModuleType


fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # pragma: no cover - where there is none, nothing here is tested
    fcntl = None

# What no document's name begins with, so that a listing leaves these out.
HIDDEN: Final = "."

_LOCK: Final = ".lock"
_TEMPORARY: Final = ".tmp"
_STALE: Final = 24 * 3600.0
# Some network file systems cannot sync a folder, and some users may not open it for reading.
_CANNOT_SYNC: Final = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM)


def have_locks() -> bool:
    """Return whether the platform has file locks."""
    return fcntl is not None


class DurableFolder:
    """Files that threads and processes of one machine write, each of them whole or not at all.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self) -> None:
        """Make the folder, with those above it; a loss of power does not take them away."""
        missing = [self.path]
        while not missing[-1].exists():
            missing.append(missing[-1].parent)
        self.path.mkdir(parents=True, exist_ok=True)
        for folder in missing[1:]:
            _sync(folder)

    def write(self, file: Path, document: bytes) -> None:
        """Put a document in place of what was there.

        Raises:
            OSError: It cannot be written; what was there stays.
        """
        with self._written(document) as temporary, self.locked():
            temporary.replace(file)
        _sync(self.path)

    def swap(self, file: Path, document: bytes, is_expected: Callable[[], bool]) -> bool:
        """Put a document in place of what was there on a condition, asked under the lock.

        Returns:
            Whether it was written.

        Raises:
            OSError: As `write`.
        """
        with self._written(document) as temporary, self.locked():
            if not is_expected():
                return False
            temporary.replace(file)
        _sync(self.path)
        return True

    def remove(self, files: Iterable[Path], was_there: Callable[[Path], bool]) -> int:
        """Remove files, and return for how many of them a test, asked under the lock, held."""
        found = []
        for file in files:
            with self.locked():
                found.append(was_there(file))
                file.unlink(missing_ok=True)
        if found:
            # Else they could come back, and count as what a later run has written.
            _sync(self.path)
        return sum(found)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the folder; without file locks do nothing.

        A crash of the holder frees it. Not re-entrant.
        """
        if fcntl is None:
            yield
            return
        # A descriptor each time: the lock belongs to it, so it parts threads as well.
        descriptor = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            # A child forked meanwhile has the descriptor too: closing ours would not free it.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    @contextmanager
    def _written(self, document: bytes) -> Iterator[Path]:
        temporary = self.path / f"{HIDDEN}{os.urandom(12).hex()}{_TEMPORARY}"
        try:
            with temporary.open("xb") as file:
                file.write(document)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


def remove_stale(entry: Path) -> None:
    """Remove a file that a killed process left half-written a day ago or earlier."""
    if entry.suffix != _TEMPORARY:
        return
    with suppress(FileNotFoundError):
        if entry.stat().st_mtime < time.time() - _STALE:
            entry.unlink()


def _sync(folder: Path) -> None:
    if fcntl is None:  # pragma: no cover - Windows has no descriptor of a folder
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
