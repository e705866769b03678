"""The storage that keeps each context in a file of its own.

No two keys share a file name, on any file system.
"""

from __future__ import annotations

import re
import time
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dotflow.abc.storage import Storage
from dotflow.core.arguments import check_folder, check_text, strict_arguments
from dotflow.core.context import Context
from dotflow.core.exception import StorageError
from dotflow.core.ids import belongs_to, prefix_of, task_key
from dotflow.providers.durable_folder import HIDDEN, DurableFolder, have_locks, remove_stale
from dotflow.providers.storage_document import (
    Header,
    check_context,
    check_key,
    matches,
    new_document,
    peek,
    read_document,
    unreadable,
)
from dotflow.settings import Settings

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

    from dotflow.core.model import Task


# Only hashed names have it, so it tells them from the plain ones.
HASHED: Final = "~"

_PLAIN = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,198}[a-z0-9_-])?", re.ASCII)
_ID_TAIL = re.compile(r"-[a-z0-9]{26}(?=(?:\.json)?$)")
_SLUG = re.compile(r"[^a-z0-9_-]+")


def file_name(key: str) -> str:
    """Return the name of a key's file.

    An ordinary key is its own name. For any other (`..`, `/`, too long, other letters, upper
    case outside the task id) the name is what can be recognised of it, `~` and a hash.
    """
    lower = key.lower()
    # Capitals only where a task id has them: so no two plain names differ in case alone.
    if _PLAIN.fullmatch(lower) and key == _ID_TAIL.sub(lambda tail: tail[0].upper(), lower):
        return key
    slug = _SLUG.sub("-", lower.removesuffix(".json"))[:80]
    digest = sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{slug}{HASHED}{digest[:32]}.json"


def key_of(name: str) -> str | None:
    """Return the key of a plain name; None for a hashed one, or a file of somebody else."""
    return name if HASHED not in name and file_name(name) == name else None


_FOLDER: Final = "tasks"


class StorageFile(Storage):
    """Keeps one JSON document a key, in `<path>/tasks`; safe for threads and processes.

    A document is replaced as a whole or not at all, also where the process is killed, and what is
    stored when a call returns survives a loss of power. A damaged file is found by its checksums.

    Values come back as they were: JSON's own types, tuple, set, frozenset, bytes, bytearray,
    complex, datetime, date, time, timedelta, Decimal, UUID, Path, Context, in any nesting. Others
    are refused before anything is written.

    Args:
        path: The folder in which `tasks` is made.

    Attributes:
        path: The folder of the documents.

    Raises:
        InvalidOption: `path` is no path, or of a file.
    """

    @strict_arguments
    def __init__(self, path: str | os.PathLike[str] = Settings.START_PATH) -> None:
        super().__init__()
        check_folder("path", path, _FOLDER)
        self.path = Path(path) / _FOLDER
        # A step may change the working directory.
        self._folder = DurableFolder(self.path.absolute())
        self._folder.make()

    @property
    def can_lease(self) -> bool:
        """Whether the platform has file locks."""
        return have_locks()

    def post(
        self,
        key: str,
        context: Context,
        ttl: float | None = None,
        fingerprint: str | None = None,
    ) -> None:
        """Store a context, in place of what was there; see `Storage.post`.

        Raises:
            InvalidOption: An argument is of a wrong type, or the ttl is negative.
            StorageError: The value is of a type that cannot be kept.
            OSError: The file cannot be written; what was there stays.
        """
        _, document = new_document(key, context, ttl, fingerprint)
        self._folder.write(self._file(key), document)

    def get(self, key: str) -> Context:
        """Return the context under `key`, or an empty one.

        Raises:
            StorageError: The file of that key is corrupt; names it.
        """
        found = self._load(key)
        return Context() if found is None else found[1]

    def key(self, task: Task) -> str:
        """Return `<workflow id>-<task id>.json`."""
        return f"{task_key(task)}.json"

    def delete(self, key: str) -> bool:
        """Remove what is under `key`; tell whether anything was."""
        return self._delete([key]) > 0

    def delete_prefix(self, prefix: str) -> int:
        """Remove all keys that begin with `prefix`; tell how many."""
        return self._delete(self.list_keys(prefix))

    def clear(self, workflow_id: Any) -> int:
        """Remove everything of one workflow, and of no other; tell how many keys."""
        keys = self.list_keys(prefix_of(workflow_id))
        return self._delete([key for key in keys if belongs_to(key, workflow_id)])

    def list_keys(self, prefix: str) -> list[str]:
        """Return the keys that begin with `prefix`, in alphabetical order."""
        check_text("prefix", prefix, blank=True)
        return sorted(key for key in self._keys() if key.startswith(prefix) and self._has(key))

    def atomic_swap(
        self,
        key: str,
        expected: Context | None,
        new: Context,
        ttl: float | None = None,
        fingerprint: str | None = None,
    ) -> bool:
        """Store `new` only if the value there is still `expected`; see `Storage.atomic_swap`.

        Atomic among threads and processes of one machine.

        Raises:
            InvalidOption: As `post`.
            StorageError: As `post` and `get`, or the platform has no file locks.
        """
        if not have_locks():
            raise StorageError(
                "atomic_swap needs file locks (the module fcntl), which this platform lacks. "
                "Use StorageDefault within one process."
            )
        if expected is not None:
            check_context("expected", expected)
        _, document = new_document(key, new, ttl, fingerprint)

        def is_expected() -> bool:
            found = self._load(key)
            return matches(None if found is None else found[1], expected)

        return self._folder.swap(self._file(key), document, is_expected)

    def fingerprint(self, key: str) -> str | None:
        """Return the mark that was stored beside `key`."""
        found = self._load(key)
        return None if found is None else found[0].fingerprint

    def _file(self, key: str) -> Path:
        check_key(key)
        return self._folder.path / file_name(key)

    def _delete(self, keys: Iterable[str]) -> int:
        return self._folder.remove([self._file(key) for key in keys], _live)

    def _load(self, key: str) -> tuple[Header, Context] | None:
        file = self._file(key)
        try:
            document = file.read_bytes()
        except FileNotFoundError:
            return None
        except IsADirectoryError as error:
            raise unreadable(file, error) from error
        return read_document(key, document, file, time.time())

    def _keys(self) -> Iterator[str]:
        for entry in self._folder.path.iterdir():
            if entry.name.startswith(HIDDEN):
                remove_stale(entry)
            elif (key := key_of(entry.name) or _key_inside(entry)) is not None:
                yield key

    def _has(self, key: str) -> bool:
        file = self._file(key)
        if _live(file):
            return True
        with self._folder.locked():
            if file.is_file() and not _live(file):
                file.unlink()
        return False


def _live(file: Path) -> bool:
    try:
        header = peek(file)
    except (FileNotFoundError, IsADirectoryError):
        return False
    except (StorageError, RecursionError):
        return True  # Corrupt, and so there: whoever reads it is told.
    return header.live(time.time())


def _key_inside(file: Path) -> str | None:
    try:
        key = peek(file).key
    except (OSError, StorageError, RecursionError):
        return None
    return key if file_name(key) == file.name else None
