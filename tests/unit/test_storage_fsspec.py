"""StorageFsspec on local folders and in memory: the promises, names, ttl, and what it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
import time as clock
import unittest
import uuid
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from promises import KEYS, Place, Promises

from dotflow.core.context import Context
from dotflow.core.exception import InvalidOption, StorageError
from dotflow.providers import storage_document, storage_fsspec
from dotflow.providers.storage_file import StorageFile
from dotflow.providers.storage_fsspec import StorageFsspec
from dotflow.providers.storage_gcs import StorageGCS
from dotflow.providers.storage_s3 import StorageS3
from dotflow.testing import StorageContract

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder that is not there yet."""
    return tmp_path / "kept" / "here"


@pytest.fixture
def storage(folder: Path) -> StorageFsspec:
    """Return an empty storage in that folder."""
    return StorageFsspec(folder.as_uri())


def files(folder: Path) -> list[str]:
    """Return the names of all files but the lock."""
    return sorted(file.name for file in folder.iterdir() if file.name != ".lock")


class TestPromises(Promises):
    """A local folder keeps what every storage does."""

    @pytest.fixture
    def place(self, folder: Path) -> Place:
        """Return a folder of its own."""
        url = folder.as_uri()
        return Place(
            lambda: StorageFsspec(url),
            f"from dotflow.providers import StorageFsspec\nstorage = StorageFsspec({url!r})",
        )


class TestContractInMemory(StorageContract, unittest.TestCase):
    """The suite of the contract, in the memory of this process."""

    def make_storage(self) -> StorageFsspec:
        """Return a storage in a folder of its own."""
        return StorageFsspec(f"memory://{uuid.uuid4()}")


class TestContractInAFolder(StorageContract, unittest.TestCase):
    """The suite of the contract, in a local folder."""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def make_storage(self) -> StorageFsspec:
        """Return an empty storage."""
        return StorageFsspec((self.folder / str(uuid.uuid4())).as_uri())


def test_memory_is_of_the_process() -> None:
    """Two storages of one URL share what they have, and threads win one at a time."""
    one, other = (StorageFsspec("memory://shared") for _ in range(2))
    for key in KEYS:
        one.post(key, Context(storage=[key]))
    assert other.list_keys("") == sorted(KEYS)
    assert other.atomic_swap("K", Context(storage=["K"]), Context(storage=1)) is True
    assert one.atomic_swap("K", Context(storage=["K"]), Context(storage=2)) is False
    assert one.delete_prefix("") == len(KEYS)


# Documents


def test_document_is_that_of_a_file(storage: StorageFsspec, folder: Path, tmp_path: Path) -> None:
    """Name and content are those of StorageFile, and each reads the other's."""
    in_files = StorageFile(path=tmp_path)
    context = Context(storage={"n": (1, {2})}, task_id="a")
    for key in ("flow-a", "A/b"):
        storage.post(key, context, fingerprint="f")
        in_files.post(key, context, fingerprint="f")
    assert files(folder) == files(in_files.path)
    for name in files(folder):
        assert (folder / name).read_bytes() == (in_files.path / name).read_bytes()
    assert storage.fingerprint("flow-a") == "f"
    assert storage.fingerprint("absent") is None


def test_failed_write_keeps_the_old_value(
    storage: StorageFsspec, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is an error that names place and key, the old value stays, nothing is left."""
    storage.post("a", Context(storage="old"))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for write in (
        lambda: storage.post("a", Context(storage="new")),
        lambda: storage.atomic_swap("a", Context(storage="old"), Context(storage="new")),
    ):
        with pytest.raises(StorageError, match=r"Cannot (store|swap) 'a' in file://.*No space"):
            write()
    assert storage.get("a").storage == "old"
    assert files(folder) == ["a"]


def test_corrupt_document_is_named(storage: StorageFsspec, folder: Path) -> None:
    """A document that is none is an error that names it; it is listed, and can be replaced."""
    for content in (b"{", b'{"dotflow": 2}', b"\xff"):
        (folder / "flow-a").write_bytes(content)
        with pytest.raises(StorageError, match=f"Cannot read {folder}/flow-a: not a document"):
            storage.get("flow-a")
        assert storage.list_keys("flow-") == ["flow-a"]
    assert storage.delete("flow-a") is True
    (folder / "b").write_bytes((folder / "b").name.encode())
    storage.post("b", Context(storage=1))
    (folder / "c").write_bytes((folder / "b").read_bytes())
    with pytest.raises(StorageError, match="belongs to the key 'b', not 'c'"):
        storage.get("c")


def test_long_header_is_read(storage: StorageFsspec) -> None:
    """A mark that makes the first line a long one hides no key."""
    storage.post("a", Context(storage=1), ttl=1000, fingerprint="f" * 10_000)
    assert storage.list_keys("") == ["a"]
    assert storage.delete("a") is True


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Put a clock that tests set in the place of the real one."""
    moment = [clock.time()]
    stopped = SimpleNamespace(time=lambda: moment[0])
    for module in (storage_fsspec, storage_document):
        monkeypatch.setattr(module, "time", stopped)
    return moment


def test_ttl_holds_for_all(storage: StorageFsspec, folder: Path, now: list[float]) -> None:
    """The expiry is in the document: whoever looks, it is gone at the ttl."""
    storage.post("a", Context(storage=1), ttl=5, fingerprint="f")
    other = StorageFsspec(folder.as_uri())
    now[0] += 4.9
    assert (other.get("a").storage, other.list_keys("")) == (1, ["a"])
    now[0] += 0.2
    assert (other.get("a").storage, other.fingerprint("a")) == (None, None)
    assert (other.list_keys(""), other.delete_prefix("")) == ([], 0)
    assert other.atomic_swap("a", Context(storage=1), Context(storage=2)) is False
    assert other.atomic_swap("a", None, Context(storage=3)) is True
    assert storage.get("a").storage == 3


# Other file systems


class Renaming(LocalFileSystem):
    """A file system that fsspec knows no more of than that it moves files."""

    protocol = "renaming"

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return super()._strip_protocol(path.removeprefix("renaming://"))


def test_other_file_systems(tmp_path: Path) -> None:
    """Elsewhere a document is written beside its place and moved there; a swap is refused."""
    fsspec.register_implementation("renaming", Renaming, clobber=True)
    storage = StorageFsspec(f"renaming://{tmp_path}/kept")
    for value in ("old", (1, 2)):
        storage.post("a", Context(storage=value))
    assert storage.get("a").storage == (1, 2)
    assert files(tmp_path / "kept") == ["a"]
    with pytest.raises(StorageError, match="atomic_swap is not possible on renaming"):
        storage.atomic_swap("a", Context(storage=(1, 2)), Context(storage=3))
    assert storage.get("a").storage == (1, 2)
    assert storage.clear("a") == 0
    assert storage.delete_prefix("") == 1


def test_broken_move_keeps_the_old_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the move fails the old value stays, and nothing is left beside it."""
    fsspec.register_implementation("renaming", Renaming, clobber=True)
    storage = StorageFsspec(f"renaming://{tmp_path}/kept")
    storage.post("a", Context(storage="old"))

    def broken(*_: object, **__: object) -> None:
        raise ConnectionResetError("the server went away")

    monkeypatch.setattr(Renaming, "mv", broken)
    with pytest.raises(StorageError, match=r"Cannot store 'a' in renaming://.*went away"):
        storage.post("a", Context(storage="new"))
    assert storage.get("a").storage == "old"
    assert files(tmp_path / "kept") == ["a"]


# What is refused


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("", "give a URL"),
        (None, "give a URL"),
        ("nonsense://x", "Protocol not known: nonsense"),
        ("s3://", "name a bucket"),
        ("simplecache::s3://b/p", "not of a chain"),
    ],
)
def test_wrong_url(url: Any, hint: str) -> None:
    """The error says what is wrong with the URL."""
    with pytest.raises(InvalidOption, match="url=") as caught:
        StorageFsspec(url)
    assert hint in str(caught.value)


def test_password_is_not_shown() -> None:
    """A password in a URL is in no error."""
    with pytest.raises(InvalidOption) as caught:
        StorageFsspec("nonsense://user:hidden@host/x")
    assert "nonsense://user:***@host/x" in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_unusable_folder(tmp_path: Path) -> None:
    """A file in the place of the folder is an error at construction."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Cannot use file://"):
        StorageFsspec((tmp_path / "file").as_uri())


@pytest.mark.parametrize("kind", [StorageS3, StorageGCS])
@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"bucket": ""}, "bucket='' is not valid: give the name of a bucket"),
        ({"bucket": "a/b"}, "a folder is a prefix"),
        ({"bucket": None}, "bucket=None is not valid"),
        ({"bucket": "b", "prefix": None}, "prefix=None is not valid"),
        ({"bucket": "b", "prefix": "/x/"}, "without empty names"),
    ],
)
def test_wrong_bucket(kind: Any, options: dict[str, Any], hint: str) -> None:
    """A bucket or prefix that cannot be is refused before anything is asked for."""
    with pytest.raises(InvalidOption) as caught:
        kind(**options)
    assert hint in str(caught.value)


def test_wrong_region_and_project() -> None:
    """So are a region and a project."""
    with pytest.raises(InvalidOption, match="region=3"):
        StorageS3(bucket="b", region=3)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="project=''"):
        StorageGCS(bucket="b", project="")


@pytest.mark.parametrize(
    ("missing", "made", "extra"),
    [
        ("fsspec", "StorageFsspec('memory://x')", "dotflow[fsspec]"),
        ("fsspec", "StorageS3(bucket='b')", "dotflow[s3]"),
        ("fsspec", "StorageGCS(bucket='b')", "dotflow[gcs]"),
        ("s3fs", "StorageS3(bucket='b')", "dotflow[s3]"),
        ("gcsfs", "StorageGCS(bucket='b')", "dotflow[gcs]"),
        ("gcsfs", "StorageFsspec('gcs://b')", "dotflow[gcs]"),
    ],
)
def test_missing_library(missing: str, made: str, extra: str) -> None:
    """Without a library the error names the extra that has it."""
    program = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from dotflow.core.exception import ModuleNotFound\n"
        "from dotflow.providers import StorageFsspec, StorageGCS, StorageS3\n"
        f"try: {made}\n"
        "except ModuleNotFound as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout == (
        f"The module {missing!r} is not installed. Install it with: pip install '{extra}'\n"
    )


def test_library_of_another_file_system() -> None:
    """Where fsspec lacks a library that no extra has, it says which."""
    with pytest.raises(InvalidOption, match=r"url='abfs://.*adlfs"):
        StorageFsspec("abfs://container/x", account_name="a")
