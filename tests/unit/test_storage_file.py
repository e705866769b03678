"""StorageFile: values as they were, keys confined, documents whole, whoever is killed."""

from __future__ import annotations

import json
import os
import random
import re
import time as clock
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kept_values import WORKFLOW_ID, same
from promises import Place, Promises

from dotflow.core.context import Context
from dotflow.core.exception import StorageError
from dotflow.providers import durable_folder
from dotflow.providers.durable_folder import DurableFolder
from dotflow.providers.storage_codec import decode, encode
from dotflow.providers.storage_file import StorageFile, file_name, key_of
from dotflow.settings import Settings

if TYPE_CHECKING:
    from figures import Figures

TASK_ID = "01HXYZ0123456789ABCDEFGHJK"

# A busy machine may take its time over an example.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture
def storage(tmp_path: Path) -> StorageFile:
    """Return an empty storage."""
    return StorageFile(path=tmp_path)


def files(storage: StorageFile) -> list[str]:
    """Return the names of all files but the lock."""
    return sorted(file.name for file in storage.path.iterdir() if file.name != ".lock")


def through_json(value: Any) -> Any:
    """Write a value and read it."""
    return json.loads(json.dumps(encode(value)), object_hook=decode)


class TestPromises(Promises):
    """A folder keeps what every storage does."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        """Return a folder of its own."""
        path = str(tmp_path / "kept")
        return Place(
            lambda: StorageFile(path),
            f"from dotflow.providers import StorageFile\nstorage = StorageFile({path!r})",
        )


# Places and names


def test_folder_is_made(tmp_path: Path) -> None:
    """The folder `tasks` is made below the path given, at construction."""
    storage = StorageFile(path=str(tmp_path / "a" / "b"))
    assert storage.path == tmp_path / "a" / "b" / "tasks"
    assert storage.path.is_dir()


def test_folder_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each folder in which one was made is synced, so that a loss of power takes none away."""
    synced = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    StorageFile(path=tmp_path / "a" / "b")
    assert synced == [tmp_path / "a" / "b", tmp_path / "a", tmp_path]
    StorageFile(path=tmp_path / "a" / "b")
    assert len(synced) == 3


def test_default_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a path it is the one of the settings; a later `chdir` moves nothing."""
    monkeypatch.chdir(tmp_path)
    storage = StorageFile()
    assert storage.path == Path(Settings.START_PATH) / "tasks"
    storage.post("a", Context(storage=1))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert storage.get("a").storage == 1


def test_key_is_the_file(storage: StorageFile) -> None:
    """A task's file is named by workflow and task id, as it was in 1.x."""
    task: Any = SimpleNamespace(workflow_id=UUID(WORKFLOW_ID), task_id=TASK_ID)
    key = storage.key(task)
    assert key == f"{WORKFLOW_ID}-{TASK_ID}.json"
    storage.post(key, Context(storage=1))
    assert files(storage) == [key]


@pytest.mark.parametrize(
    "key",
    [
        f"{WORKFLOW_ID}-{TASK_ID}.json",
        f"etl-daily-{TASK_ID}.json",
        f"etl-{TASK_ID}",
        "etl-_run",
        "etl-_input_fp",
        "a",
        "v1.2_x",
    ],
)
def test_ordinary_keys_are_their_own_name(key: str) -> None:
    """Users recognise the files of their workflows."""
    assert file_name(key) == key
    assert key_of(key) == key


AWKWARD = [
    "",
    ".",
    "..",
    "../../etc/passwd",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "nul\0byte",
    "line\nbreak",
    "etl-_run\n",
    ".lock",
    ".hidden.tmp",
    "a.",
    "C:name",
    "x" * 5000,
    "é",
    "e\u0301",
    "\ud800",
    "K",
    "k",
    "\u212a",
    "ETL-_run",
    "etl-_run",
    f"etl-{TASK_ID}.json",
    f"etl-{TASK_ID.lower()}.json",
    f"ETL-{TASK_ID}.json",
    "a~b",
    "a%2fb",
    "$type",
]


def test_awkward_keys_stay_in_the_folder(tmp_path: Path) -> None:
    """Any text is a key: it comes back from the listing, and nothing lands elsewhere."""
    storage = StorageFile(path=tmp_path / "base")
    for key in AWKWARD:
        storage.post(key, Context(storage=key))
    assert sorted(storage.list_keys("")) == sorted(AWKWARD)
    assert [storage.get(key).storage for key in AWKWARD] == AWKWARD
    assert [entry.name for entry in tmp_path.iterdir()] == ["base"]
    assert [entry.name for entry in (tmp_path / "base").iterdir()] == ["tasks"]
    names = files(storage)
    assert len({name.casefold() for name in names}) == len(AWKWARD)
    assert all(len(name) < 250 and name.isascii() for name in names)
    assert all(storage.delete(key) for key in AWKWARD)
    assert files(storage) == []


@settings(UNHURRIED, max_examples=50)
@given(st.lists(st.text(st.sampled_from("aAbB01.-_~/é")) | st.text(), unique=True, max_size=20))
def test_no_two_keys_share_a_name(keys: list[str]) -> None:
    """Names differ, and not in case alone."""
    names = [file_name(key) for key in keys]
    assert len({name.casefold() for name in names}) == len(keys)
    assert all("/" not in name and not name.startswith(".") and name for name in names)


def test_clear_keeps_the_longer_id(storage: StorageFile) -> None:
    """Clearing `ETL` removes its keys, under hashed names too, and leaves `ETL-daily`."""
    others = [f"ETL-daily-{TASK_ID}.json", "ETL-daily-_run", "etl-_run"]
    for key in [f"ETL-{TASK_ID}.json", "ETL-_run", *others]:
        storage.post(key, Context(storage=1))
    assert storage.clear("ETL") == 2
    assert storage.list_keys("") == sorted(others)


# Values


_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.dates()
    | st.datetimes()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
)


@settings(UNHURRIED, max_examples=60)
@given(
    st.recursive(
        _LEAVES,
        lambda inner: st.lists(inner) | st.dictionaries(_LEAVES, inner) | st.tuples(inner, inner),
        max_leaves=12,
    )
)
def test_any_nesting_comes_back(value: Any) -> None:
    """No nesting of what can be kept changes it."""
    assert through_json(value) == value


def test_contexts_inside_come_back(storage: StorageFile) -> None:
    """The contexts that a class step gives keep value, ids and time."""
    inner = Context(storage=(1, 2), task_id=TASK_ID, workflow_id=WORKFLOW_ID)
    nameless = Context(storage=None, task_id=None)
    storage.post("a", Context(storage=[inner, nameless]))
    found, other = storage.get("a").storage
    assert isinstance(found, Context)
    assert (found.storage, found.task_id) == ((1, 2), TASK_ID)
    assert (found.workflow_id, found.time) == (UUID(WORKFLOW_ID), inner.time)
    assert (other.storage, other.task_id, other.workflow_id) == (None, None, None)


def test_ids_and_time_come_back(storage: StorageFile) -> None:
    """The context itself keeps its ids and time, a time of a test's own class too."""

    class FakeTime(datetime):
        pass

    context = Context(storage=1, task_id=TASK_ID, workflow_id=WORKFLOW_ID)
    context.time = FakeTime(2024, 1, 2, 3, 4, 5, 678)
    storage.post("a", context)
    found = storage.get("a")
    assert (found.task_id, found.workflow_id) == (TASK_ID, UUID(WORKFLOW_ID))
    assert same(found.time, datetime(2024, 1, 2, 3, 4, 5, 678))


def test_the_same_value_gives_the_same_text(storage: StorageFile) -> None:
    """The last value only, and sets in one order: posting again changes no byte."""
    context = Context(storage={"s": {"b", "a", "c"}})
    storage.post("a", context)
    before = (storage.path / "a").read_bytes()
    storage.post("a", context)
    assert (storage.path / "a").read_bytes() == before
    assert json.loads(before)["dotflow"] == 1
    assert json.loads(before)["value"]["s"]["value"] == ["a", "b", "c"]


def test_value_that_contains_itself(storage: StorageFile) -> None:
    """A list inside itself is refused as such."""
    value: list[Any] = []
    value.append(value)
    with pytest.raises(StorageError, match=r"list under 'a': it is nested too deeply"):
        storage.post("a", Context(storage=value))
    assert files(storage) == []


# Reading what is not a document


_HEAD = b'{"dotflow": 1, "key": "a", "expires": null, "fingerprint": null'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1]",
        b'"x"',
        b"\xff\xfe",
        b'{"value": 1}',
        b'{"dotflow": 99, "key": "a", "value": 1}',
        _HEAD + b',\n"value"',
        _HEAD + b',\n"value": 1}',
        _HEAD + b',\n"value": {"$type": "unknown", "value": 1}}',
        _HEAD + b',\n"value": {"$type": "Decimal", "value": "q"}}',
    ],
)
def test_corrupt_file_is_named(storage: StorageFile, content: bytes) -> None:
    """The error names the file; the key is listed, can be cleared and posted anew."""
    file = storage.path / "a"
    file.write_bytes(content)
    with pytest.raises(StorageError) as caught:
        storage.get("a")
    assert str(file.absolute()) in str(caught.value)
    assert storage.list_keys("") == ["a"]
    storage.post("a", Context(storage=1))
    assert storage.get("a").storage == 1
    file.write_bytes(content)
    assert storage.delete("a")


def test_exhausted_stack_is_no_corruption(
    storage: StorageFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader deep in recursion gets its own error, not one that blames the file."""
    storage.post("a", Context(storage=1))

    def exhausted(*_: Any, **__: Any) -> None:
        raise RecursionError

    monkeypatch.setattr(json, "loads", exhausted)
    with pytest.raises(RecursionError):
        storage.get("a")


def test_file_of_another_key_is_refused(storage: StorageFile) -> None:
    """A copied file does not pass for the key whose name it bears."""
    storage.post("a", Context(storage=1))
    (storage.path / "b").write_bytes((storage.path / "a").read_bytes())
    with pytest.raises(StorageError, match=r"belongs to the key 'a', not 'b'"):
        storage.get("b")


def test_file_edited_by_hand(storage: StorageFile) -> None:
    """A document that was edited is read, in any layout, once its checksums are taken out."""
    storage.post("a", Context(storage=(1,)), fingerprint="f")
    storage.post("B", Context(storage=2), ttl=60)
    for file in storage.path.iterdir():
        if file.name != ".lock":
            fields = json.loads(file.read_text())
            file.write_text(json.dumps(fields, indent=2))
            with pytest.raises(StorageError, match="edited without removing crc32"):
                storage.get(fields["key"])
            del fields["crc32"]
            file.write_text(json.dumps(fields, indent=2))
    assert (storage.get("a").storage, storage.fingerprint("a")) == ((1,), "f")
    assert storage.list_keys("") == ["B", "a"]


def test_each_byte_counts(storage: StorageFile, figures: Figures) -> None:
    """A file with one bit turned over, or a part cut out, is refused by name; it stays listed."""
    storage.post("a", Context({"paid": [1, "text", None], "on": UUID(WORKFLOW_ID)}), ttl=60)
    file = storage.path / "a"
    whole, chosen = file.read_bytes(), random.Random(1)  # noqa: S311 - to be repeatable
    damaged = [whole[:end] for end in range(len(whole))]
    for place in range(len(whole)):
        bit = 1 << chosen.randrange(8)
        damaged.append(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        damaged.append(whole[:place] + whole[place + chosen.randrange(1, 40) :])
    assert len(damaged) > 1_000
    for document in damaged:
        file.write_bytes(document)
        with pytest.raises(StorageError, match=re.escape(f"Cannot read {file.absolute()}: ")):
            storage.get("a")
        assert storage.list_keys("") == ["a"]
    figures.add("bad inputs tried", len(damaged))


def test_files_of_others_are_left_alone(storage: StorageFile) -> None:
    """What cannot be a key's file is neither listed nor removed."""
    (storage.path / "README.md").write_text("mine")
    (storage.path / f"x~{'0' * 32}.json").write_text("{}")
    (storage.path / "folder").mkdir()
    storage.post("K", Context(storage=1))
    hashed = storage.path / file_name("K")
    hashed.with_name("copy~of-it.json").write_bytes(hashed.read_bytes())
    assert storage.list_keys("") == ["K"]
    assert storage.delete_prefix("") == 1
    assert len(files(storage)) == 4


def test_folder_in_the_place_of_a_file(storage: StorageFile) -> None:
    """A folder under a key's name is an error that names it."""
    (storage.path / "a").mkdir()
    with pytest.raises(StorageError, match=r"Cannot read .*a: "):
        storage.get("a")


# Ttl and marks


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Put a clock that tests set in the place of the real one."""
    from dotflow.providers import storage_file

    moment = [clock.time()]
    monkeypatch.setattr(storage_file, "time", SimpleNamespace(time=lambda: moment[0]))
    return moment


def test_ttl_holds_in_another_process(storage: StorageFile, now: list[float]) -> None:
    """The expiry is in the document: whoever reads it, it is gone at the ttl."""
    storage.post("a", Context(storage=1), ttl=5, fingerprint="f")
    other = StorageFile(path=storage.path.parent)
    now[0] += 4.9
    assert (other.get("a").storage, other.fingerprint("a")) == (1, "f")
    now[0] += 0.2
    assert (other.get("a").storage, other.fingerprint("a")) == (None, None)
    assert not storage.delete("a")
    assert files(storage) == []


def test_listing_removes_the_expired(storage: StorageFile, now: list[float]) -> None:
    """Expired files do not pile up in the folder."""
    storage.post("a", Context(storage=1), ttl=5)
    storage.post("K", Context(storage=1), ttl=5)
    storage.post("b", Context(storage=1))
    now[0] += 5.1
    assert storage.list_keys("") == ["b"]
    assert files(storage) == ["b"]


def test_post_clears_marks(storage: StorageFile, now: list[float]) -> None:
    """A later post without ttl and fingerprint leaves neither behind."""
    storage.post("a", Context(storage=1), ttl=5, fingerprint="f")
    storage.post("a", Context(storage=2))
    now[0] += 10
    assert (storage.get("a").storage, storage.fingerprint("a")) == (2, None)
    assert storage.fingerprint("absent") is None


def test_expired_is_not_dropped_once_it_is_posted_anew(
    storage: StorageFile, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing that found a value expired looks again, with the lock, before it removes."""
    storage.post("a", Context(storage=1), ttl=5)
    now[0] += 6
    locked = DurableFolder.locked

    def posted_meanwhile(folder: DurableFolder) -> Any:
        monkeypatch.setattr(DurableFolder, "locked", locked)
        storage.post("a", Context(storage=2))
        return locked(folder)

    monkeypatch.setattr(DurableFolder, "locked", posted_meanwhile)
    storage.list_keys("")
    assert storage.get("a").storage == 2


# Swaps


def test_without_file_locks(storage: StorageFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the platform has none, a swap says so, and the rest works."""
    monkeypatch.setattr(durable_folder, "fcntl", None)
    storage.post("a", Context(storage=1))
    assert storage.get("a").storage == 1
    with pytest.raises(StorageError, match="fcntl"):
        storage.atomic_swap("a", Context(storage=1), Context(storage=2))
    assert storage.delete("a")
    assert not (storage.path / ".lock").exists()


# Crashes


def test_full_disk_keeps_the_old_value(
    storage: StorageFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that fails is raised, the old value stays, no part of the new one does."""
    storage.post("a", Context(storage="old"))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        storage.post("a", Context(storage="new"))
    assert storage.get("a").storage == "old"
    assert files(storage) == ["a"]


def test_leftovers_of_a_crash(storage: StorageFile) -> None:
    """A half-written file is never a value; once it is a day old it is removed."""
    fresh, old, other = (storage.path / name for name in (".f.tmp", ".o.tmp", ".other"))
    for file in (fresh, old, other):
        file.write_bytes(b"{")
        os.utime(file, (0, 0))
    os.utime(fresh)
    assert storage.list_keys("") == []
    assert files(storage) == [".f.tmp", ".other"]
