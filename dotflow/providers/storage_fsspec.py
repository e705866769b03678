"""The storage that keeps contexts where `fsspec` reaches: S3, GCS, Azure, SFTP, local, memory."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from dotflow.abc.storage import Storage
from dotflow.core.arguments import check_text, strict_arguments
from dotflow.core.context import Context
from dotflow.core.exception import DotflowError, InvalidOption, ModuleNotFound, StorageError
from dotflow.core.ids import belongs_to, prefix_of, task_key
from dotflow.core.process import call_in_forked_child, fork_safe_lock
from dotflow.providers.durable_folder import HIDDEN
from dotflow.providers.fsspec_files import files_of, is_bucket, protocol_of
from dotflow.providers.storage_document import (
    Header,
    check_context,
    check_key,
    load,
    matches,
    new_document,
    peek_at,
    read_document,
)
from dotflow.providers.storage_file import file_name, key_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dotflow.core.model import Task
    from dotflow.providers.fsspec_files import Files

_EXAMPLES: Final = "'s3://bucket/folder', 'gs://bucket/folder' or 'file:///path'"
_EXTRAS: Final = {
    **dict.fromkeys(("s3", "s3a"), ("s3fs", "dotflow[s3]")),
    **dict.fromkeys(("gs", "gcs"), ("gcsfs", "dotflow[gcs]")),
}
# A first line with ids of common lengths is 300 bytes long.
_HEAD: Final = 2048
_AT_ONCE: Final = 500
# What a name has in common with its key, also where the rest of it is not its own name.
_OWN: Final = re.compile(r"[a-z0-9_-]{0,80}", re.ASCII)
_PASSWORD: Final = re.compile(r"(?<=:)[^/:@]*(?=@)")


class StorageFsspec(Storage):
    """Keeps one document a key in a folder of a file system that `fsspec` knows.

    The documents are those of `StorageFile`, with the same values and the same names. They are
    written whole: by the store of objects; on local and other file systems beside their place, and
    then moved there. `atomic_swap` is atomic on S3 and Google Cloud Storage, by conditional writes,
    on a local folder, by a lock of this machine, and in memory; elsewhere it is refused.

    Args:
        url: Where, as `s3://bucket/folder`. The bucket must be there.
        **options: What the file system takes, as `endpoint_url=` of `s3fs`.

    Attributes:
        url: The URL without its password.

    Raises:
        InvalidOption: The URL is none, or fsspec knows no such file system.
        ModuleNotFound: fsspec, or the library of that file system, is not installed.
        StorageError: The bucket or folder is not there, and cannot be made.
    """

    # Of a bucket with a prefix: the folder, where it is not what the URL has as its path, and what
    # the names in it begin with.
    _place: str | None = None
    _stem: str = ""

    @strict_arguments
    def __init__(self, url: str, **options: Any) -> None:
        super().__init__()
        check_text("url", url, f"give a URL, as {_EXAMPLES}")
        if "::" in url:
            raise InvalidOption(
                "url", _shown(url), "give the URL of one file system, not of a chain"
            )
        self.url = _shown(url)
        self._given = (url, options)
        self._lock = fork_safe_lock()
        self._files: Files | None = None
        files = self._connected()
        with self._reaching("use"):
            files.prepare()
        call_in_forked_child(self._leave_connections)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @property
    def can_lease(self) -> bool:
        """Whether `atomic_swap` is possible there."""
        return self._connected().swaps

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
            StorageError: The value is of a type that cannot be kept, or it cannot be written; what
                was there stays.
        """
        _, document = new_document(key, context, ttl, fingerprint)
        files = self._connected()
        with self._reaching("store", key):
            files.write(self._path(key), document)

    def get(self, key: str) -> Context:
        """Return the context under `key`, or an empty one.

        Raises:
            StorageError: The document of that key is corrupt, or cannot be read.
        """
        found = self._load(key)
        return Context() if found is None else found[1]

    def key(self, task: Task) -> str:
        """Return `<workflow id>-<task id>`."""
        return task_key(task)

    def delete(self, key: str) -> bool:
        """Remove what is under `key`; tell whether anything was."""
        path, files = self._path(key), self._connected()
        with self._reaching("delete", key):
            was_there = self._is_live(files.heads([path], _HEAD)[0], path)
            files.remove(path)
        return was_there

    def delete_prefix(self, prefix: str) -> int:
        """Remove all keys that begin with `prefix`; tell how many."""
        keys = self.list_keys(prefix)
        self._remove(keys)
        return len(keys)

    def list_keys(self, prefix: str) -> list[str]:
        """Return the keys that begin with `prefix`, in alphabetical order.

        The beginning of each document is read, for it may have expired.
        """
        check_text("prefix", prefix, blank=True)
        headers = self._headers([name for name in self._names(prefix) if _may_begin(name, prefix)])
        now = time.time()
        return sorted(
            header.key for header in headers if header.key.startswith(prefix) and header.live(now)
        )

    def clear(self, workflow_id: Any) -> int:
        """Remove everything of one workflow, and of no other; tell how many keys."""
        prefix = prefix_of(workflow_id)
        names = self._names(prefix)
        keys = {key for name in names if (key := key_of(name)) is not None}
        keys.update(header.key for header in self._headers([n for n in names if key_of(n) is None]))
        own = [key for key in keys if belongs_to(key, workflow_id)]
        self._remove(own)
        return len(own)

    def atomic_swap(
        self,
        key: str,
        expected: Context | None,
        new: Context,
        ttl: float | None = None,
        fingerprint: str | None = None,
    ) -> bool:
        """Store `new` only if the value there is still `expected`; see `Storage.atomic_swap`.

        Atomic among all who use the bucket, on S3 and Google Cloud Storage; among threads and
        processes of one machine, in a local folder; in one process, in memory.

        Raises:
            InvalidOption: As `post`.
            StorageError: As `post` and `get`, or the file system has no way to do it.
        """
        if expected is not None:
            check_context("expected", expected)
        _, document = new_document(key, new, ttl, fingerprint)
        path, files = self._path(key), self._connected()
        if not files.swaps:
            raise StorageError(
                f"atomic_swap is not possible on {protocol_of(files.fs)}: dotflow knows no way to "
                "write on a condition there. Use S3, Google Cloud Storage, a local folder or "
                "StorageSQL."
            )

        def is_expected(there: bytes | None) -> bool:
            found = self._read(key, path, there)
            return matches(None if found is None else found[1], expected)

        with self._reaching("swap", key):
            return files.swap(path, document, is_expected)

    def fingerprint(self, key: str) -> str | None:
        """Return the mark that was stored beside `key`."""
        found = self._load(key)
        return None if found is None else found[0].fingerprint

    # --- documents ----------------------------------------------------------------------

    def _load(self, key: str) -> tuple[Header, Context] | None:
        path, files = self._path(key), self._connected()
        with self._reaching("read", key):
            document = files.read(path)
        return self._read(key, path, document)

    def _read(self, key: str, path: str, document: bytes | None) -> tuple[Header, Context] | None:
        return None if document is None else read_document(key, document, path, time.time())

    def _is_live(self, head: bytes, path: str) -> bool:
        header = self._header(head, path)
        # Corrupt, and so there: whoever reads it is told.
        return bool(head) and (header is None or header.live(time.time()))

    def _header(self, head: bytes, path: str) -> Header | None:
        if not head:
            return None
        try:
            return peek_at(head)
        except StorageError:
            pass
        # A long first line, or a document that was reformatted by hand.
        try:
            return load(self._connected().read(path) or b"")[0]
        except (StorageError, RecursionError):
            return None

    def _headers(self, names: Sequence[str]) -> list[Header]:
        files = self._connected()
        found = []
        for begin in range(0, len(names), _AT_ONCE):
            part = names[begin : begin + _AT_ONCE]
            paths = [f"{files.folder}/{self._stem}{name}" for name in part]
            with self._reaching("list"):
                heads = files.heads(paths, _HEAD)
                for name, path, head in zip(part, paths, heads, strict=True):
                    header, key = self._header(head, path), key_of(name)
                    if header is not None and file_name(header.key) == name:
                        found.append(header)
                    elif head and key is not None:
                        # Corrupt, and so there.
                        found.append(Header(key, None, None))
        return found

    def _names(self, prefix: str) -> list[str]:
        own = _OWN.match(prefix)
        begin = "" if own is None else own[0]
        files = self._connected()
        with self._reaching("list"):
            found = files.names(self._stem + begin)
        stem = len(self._stem)
        return [
            name[stem:]
            for name in found
            if name.startswith(self._stem + begin) and not name.startswith(HIDDEN)
        ]

    def _remove(self, keys: Sequence[str]) -> None:
        files = self._connected()
        with self._reaching("delete"):
            files.remove_all([self._path(key) for key in keys])

    def _path(self, key: str) -> str:
        check_key(key)
        return f"{self._connected().folder}/{self._stem}{file_name(key)}"

    # --- the file system ----------------------------------------------------------------

    def _connected(self) -> Files:
        if self._files is None:
            with self._lock:
                if self._files is None:
                    self._files = self._connect()
        return self._files

    def _connect(self) -> Files:
        url, options = self._given
        scheme = url.partition("://")[0]
        try:
            from fsspec.core import url_to_fs  # noqa: PLC0415 - slow to import
        except ModuleNotFoundError:
            # The extra of a bucket brings fsspec along.
            _, extra = _EXTRAS.get(scheme, ("", "dotflow[fsspec]"))
            raise ModuleNotFound("fsspec", extra) from None
        try:
            fs, path = url_to_fs(url, **options)
        except ImportError as error:
            if scheme in _EXTRAS:
                raise ModuleNotFound(*_EXTRAS[scheme]) from None
            raise InvalidOption("url", self.url, str(error).rstrip(".")) from None
        except (ValueError, TypeError) as error:
            reason = str(error).replace(url, self.url).rstrip(".")
            raise InvalidOption("url", self.url, f"{reason}: give a URL, as {_EXAMPLES}") from None
        except Exception as error:  # noqa: BLE001 - what a server of that kind refuses
            raise StorageError(f"Cannot reach {self.url}: {_text(error)}.") from None
        if self._place is not None:
            return files_of(fs, self._place)
        if is_bucket(fs) and not path.strip("/"):
            raise InvalidOption("url", self.url, f"name a bucket, as {_EXAMPLES}")
        return files_of(fs, path.rstrip("/"))

    def _leave_connections(self) -> None:
        # They and the thread that serves them are the parent's.
        self._files = None

    @contextmanager
    def _reaching(self, purpose: str, key: str | None = None) -> Iterator[None]:
        try:
            yield
        except DotflowError:
            raise
        except FileNotFoundError as error:
            raise StorageError(
                f"Cannot {purpose} {self._named(key)}: {_text(error)} is not there. Make it first."
            ) from error
        except Exception as error:
            raise StorageError(f"Cannot {purpose} {self._named(key)}: {_text(error)}.") from error

    def _named(self, key: str | None) -> str:
        return self.url if key is None else f"{key!r} in {self.url}"


def _may_begin(name: str, prefix: str) -> bool:
    key = key_of(name)
    return key is None or key.startswith(prefix)


def _shown(url: str) -> str:
    return _PASSWORD.sub("***", url, count=1)


def _text(error: BaseException) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return f"{text} ({type(error).__name__})" if text else type(error).__name__


class StorageBucket(StorageFsspec):
    """A bucket, and a prefix that need be no folder: what S3 and Google Cloud Storage share."""

    def _open(self, scheme: str, bucket: str, prefix: str, options: dict[str, Any]) -> None:
        check_text("bucket", bucket, "give the name of a bucket")
        check_text("prefix", prefix, blank=True)
        if "/" in bucket or ":" in bucket:
            raise InvalidOption("bucket", bucket, "give its name alone: a folder is a prefix")
        if prefix.startswith("/") or "//" in prefix:
            raise InvalidOption("prefix", prefix, "give one without empty names, as 'dotflow/'")
        folder, _, self._stem = prefix.rpartition("/")
        self._place = f"{bucket}/{folder}".rstrip("/")
        StorageFsspec.__init__(self, f"{scheme}://{bucket}/{prefix}", **options)
