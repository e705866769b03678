"""How a file system of `fsspec` writes documents whole, and swaps them.

Each kind of file system does it in its own way: by a condition of the request, by a lock, or not at
all, which it says.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.exception import StorageError
from dotflow.core.process import fork_safe_lock
from dotflow.providers.durable_folder import HIDDEN, DurableFolder, have_locks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_TEMPORARY: Final = ".tmp"
_AT_ONCE: Final = 32
# Larger documents would be sent in parts, of which none takes a condition.
_ONE_REQUEST: Final = 2**31
# Of an object, which swap wrote it.
_MARK: Final = "dotflow-write"
# Swaps of memory exclude each other, whichever storage does them: it is one for the process.
_memory: Final = fork_safe_lock()


class Files:
    """Any file system: a document is written beside its place, and then moved there.

    Whether that is done in one step depends on the file system: by SFTP it is.

    Args:
        fs: The file system, of `fsspec`.
        folder: Where the documents are.

    Attributes:
        swaps: Whether it has a way to swap.
    """

    swaps = False

    def __init__(self, fs: Any, folder: str) -> None:
        self.fs = fs
        self.folder = folder

    def prepare(self) -> None:
        """Make the folder, or see that it can be written to.

        Raises:
            FileNotFoundError: There is no such bucket.
        """
        self.fs.makedirs(self.folder, exist_ok=True)

    def write(self, path: str, document: bytes) -> None:
        """Write a document as a whole, in place of what was there."""
        temporary = self._temporary()
        try:
            self.fs.pipe_file(temporary, document)
            self.fs.mv(temporary, path)
        except BaseException:
            self._discard(temporary)
            raise

    def swap(self, path: str, document: bytes, is_expected: Callable[[bytes | None], bool]) -> bool:
        """Write a document only if what is there is expected, and nobody writes in between.

        Args:
            path: Where.
            document: What.
            is_expected: Is given what is there, None where nothing is.
        """
        raise NotImplementedError

    def read(self, path: str) -> bytes | None:
        """Return a document; None where there is none."""
        try:
            found: bytes = self.fs.cat_file(path)
        except FileNotFoundError:
            return None
        return found

    def heads(self, paths: Sequence[str], size: int) -> list[bytes]:
        """Return the beginnings of documents; of one that is gone, nothing."""
        found = self.fs.cat_ranges(list(paths), 0, size, on_error="return")
        for each in found:
            if isinstance(each, Exception) and not isinstance(each, FileNotFoundError):
                raise each
        return [b"" if isinstance(each, Exception) else each for each in found]

    def names(self, _prefix: str) -> list[str]:
        """Return the names of all files of the folder, or of those with a prefix only."""
        self.fs.invalidate_cache(self.folder)
        try:
            found = self.fs.ls(self.folder, detail=False)
        except FileNotFoundError:
            return []
        return [PurePosixPath(path).name for path in found]

    def remove(self, path: str) -> None:
        """Remove a document, if it is there."""
        try:
            self.fs.rm_file(path)
        except FileNotFoundError:
            return

    def remove_all(self, paths: Sequence[str]) -> None:
        """Remove documents."""
        for path in paths:
            self.remove(path)

    def _temporary(self) -> str:
        return f"{self.folder}/{HIDDEN}{os.urandom(12).hex()}{_TEMPORARY}"

    def _discard(self, temporary: str) -> None:
        try:
            self.fs.rm_file(temporary)
        except Exception:  # noqa: BLE001 - the first error is the one to tell
            return


class LocalFiles(Files):
    """Files of this machine: as those of `StorageFile`."""

    swaps = have_locks()

    def __init__(self, fs: Any, folder: str) -> None:
        super().__init__(fs, folder)
        self._durable = DurableFolder(Path(folder))

    def prepare(self) -> None:
        """Make the folder: see `Files`."""
        self._durable.make()

    def write(self, path: str, document: bytes) -> None:
        """Write a document: see `Files`."""
        self._durable.write(Path(path), document)

    def swap(self, path: str, document: bytes, is_expected: Callable[[bytes | None], bool]) -> bool:
        """Write a document on a condition: see `Files`."""
        if not have_locks():
            raise StorageError("atomic_swap needs file locks, which this platform lacks.")
        return self._durable.swap(Path(path), document, lambda: is_expected(self.read(path)))

    def remove(self, path: str) -> None:
        """Remove a document: see `Files`."""
        self.remove_all([path])

    def remove_all(self, paths: Sequence[str]) -> None:
        """Remove documents: see `Files`."""
        self._durable.remove(map(Path, paths), Path.exists)


class MemoryFiles(Files):
    """The memory of this process, which all storages of it share."""

    swaps = True

    def write(self, path: str, document: bytes) -> None:
        """Write a document: see `Files`."""
        with _memory:
            self.fs.pipe_file(path, document)

    def swap(self, path: str, document: bytes, is_expected: Callable[[bytes | None], bool]) -> bool:
        """Write a document on a condition: see `Files`."""
        with _memory:
            if not is_expected(self.read(path)):
                return False
            self.fs.pipe_file(path, document)
            return True


class Objects(Files):
    """A store of objects: each request does all of its work or nothing; there are no folders."""

    def prepare(self) -> None:
        """See that the bucket is there: see `Files`."""
        bucket = self.folder.partition("/")[0]
        if not self.fs.exists(bucket):
            raise FileNotFoundError(bucket)

    def write(self, path: str, document: bytes) -> None:
        """Write a document: see `Files`."""
        self.fs.pipe_file(path, document)

    def names(self, prefix: str) -> list[str]:
        """Return names: see `Files`. The store looks for the prefix."""
        self.fs.invalidate_cache()
        found = self.fs.find(self.folder, prefix=prefix)
        begin = f"{self.folder}/"
        names = [path[len(begin) :] for path in found if path.startswith(begin)]
        return [name for name in names if "/" not in name]

    def remove_all(self, paths: Sequence[str]) -> None:
        """Remove documents: see `Files`. Several at a time."""
        from fsspec.asyn import sync  # noqa: PLC0415 - has been imported

        sync(self.fs.loop, _remove_all, self.fs, list(paths))


class ConditionalObjects(Objects):
    """A store that writes on the condition that an object is of a certain version still.

    A request may be sent again whose answer was lost. It finds its own object then, by a mark.
    """

    swaps = True

    def swap(self, path: str, document: bytes, is_expected: Callable[[bytes | None], bool]) -> bool:
        """Write a document on a condition: see `Files`."""
        mark = os.urandom(16).hex()
        while True:
            # First the version, then what it is of: if that is newer, the condition fails.
            version = self._version(path)
            there = None if version is None else self.read(path)
            if version is not None and there is None:
                continue
            if not is_expected(there):
                return False
            if self._send(path, document, version, mark) or self._mark(path) == mark:
                return True

    def _info(self, path: str) -> dict[str, Any] | None:
        self.fs.invalidate_cache(self.folder)
        try:
            found: dict[str, Any] = self.fs.info(path)
        except FileNotFoundError:
            return None
        return found if found["type"] == "file" else None

    def _version(self, path: str) -> str | None:
        raise NotImplementedError

    def _send(self, path: str, document: bytes, version: str | None, mark: str) -> bool:
        """Write on the condition that the version is this one; return whether it was."""
        raise NotImplementedError

    def _mark(self, path: str) -> str | None:
        """Return which swap wrote an object."""
        raise NotImplementedError


class S3Objects(ConditionalObjects):
    """S3: conditions by `If-None-Match` and `If-Match`."""

    def prepare(self) -> None:
        """See that the bucket is there, with the right that a listing needs: see `Files`."""
        self.fs.call_s3("list_objects_v2", Bucket=self.folder.partition("/")[0], MaxKeys=1)

    def _version(self, path: str) -> str | None:
        found = self._info(path)
        return None if found is None else found["ETag"]

    def _send(self, path: str, document: bytes, version: str | None, mark: str) -> bool:
        condition = {"IfNoneMatch": "*"} if version is None else {"IfMatch": version}
        try:
            self.fs.pipe_file(
                path, document, chunksize=_ONE_REQUEST, Metadata={_MARK: mark}, **condition
            )
        except FileNotFoundError:  # removed since
            return False
        except OSError as error:
            if _s3_code(error) in ("PreconditionFailed", "412", "ConditionalRequestConflict"):
                return False
            raise
        return True

    def _mark(self, path: str) -> str | None:
        try:
            found: str | None = self.fs.metadata(path, refresh=True).get(_MARK)
        except FileNotFoundError:
            return None
        return found


class GcsObjects(ConditionalObjects):
    """Google Cloud Storage: conditions by the generation of an object."""

    def prepare(self) -> None:
        """See that the bucket is there, with the right that a listing needs: see `Files`."""
        self.fs.call("GET", "b/{}/o", self.folder.partition("/")[0], maxResults=1, json_out=True)

    def _version(self, path: str) -> str | None:
        found = self._info(path)
        return None if found is None else str(found["generation"])

    def _send(self, path: str, document: bytes, version: str | None, mark: str) -> bool:
        import json  # noqa: PLC0415 - fsspec has imported it

        # As gcsfs itself writes, but it has no argument for the generation.
        bucket, _, key = path.partition("/")
        boundary = os.urandom(16).hex()
        part = f"--{boundary}\r\nContent-Type: application/json\r\n\r\n"
        about = json.dumps({"name": key, "metadata": {_MARK: mark}})
        head = f"{part}{about}\r\n{part}".encode()
        place = f"{self.fs.base.partition('/storage/')[0]}/upload/storage/v1/b/{bucket}/o"
        try:
            self.fs.call(
                "POST",
                place,
                uploadType="multipart",
                ifGenerationMatch=version or "0",
                headers={"Content-Type": f'multipart/related; boundary="{boundary}"'},
                data=head + document + f"\r\n--{boundary}--".encode(),
                json_out=True,
            )
        except FileExistsError:
            return False
        return True

    def _mark(self, path: str) -> str | None:
        found = self._info(path)
        return None if found is None else (found.get("metadata") or {}).get(_MARK)


_KINDS: Final[dict[str, type[Files]]] = {
    **dict.fromkeys(("file", "local"), LocalFiles),
    "memory": MemoryFiles,
    **dict.fromkeys(("s3", "s3a"), S3Objects),
    **dict.fromkeys(("gs", "gcs"), GcsObjects),
    **dict.fromkeys(("abfs", "abfss", "az"), Objects),
}


def files_of(fs: Any, folder: str) -> Files:
    """Return what reads and writes in a folder of a file system."""
    return _KINDS.get(protocol_of(fs), Files)(fs, folder)


def is_bucket(fs: Any) -> bool:
    """Return whether the first part of a path is a bucket, and has no folder above it."""
    return issubclass(_KINDS.get(protocol_of(fs), Files), Objects)


def protocol_of(fs: Any) -> str:
    """Return the scheme of the URLs of a file system."""
    protocol = fs.protocol
    return str(protocol if isinstance(protocol, str) else protocol[0])


def _s3_code(error: BaseException) -> str:
    response = getattr(error.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


async def _remove_all(fs: Any, paths: list[str]) -> None:
    for begin in range(0, len(paths), _AT_ONCE):
        part = [_remove(fs, path) for path in paths[begin : begin + _AT_ONCE]]
        await asyncio.gather(*part)


async def _remove(fs: Any, path: str) -> None:
    try:
        await fs._rm_file(path)  # noqa: SLF001 - what fsspec has file systems override
    except FileNotFoundError:
        return
