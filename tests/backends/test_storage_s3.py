"""StorageS3 and StorageFsspec on a server that speaks S3: the contract, faults, several writers."""

from __future__ import annotations

import os
import subprocess
import sys
import unittest
from typing import TYPE_CHECKING, Any

import pytest
from backends.faulty import BREAK_AFTER, BREAK_BEFORE, MEANWHILE, SLOW_DOWN, Faulty
from backends.ports import closed_port
from backends.s3 import S3, SECRET
from promises import Place, Promises

from dotflow import Config, Context, DotFlow, action
from dotflow.core.exception import StorageError
from dotflow.providers.storage_fsspec import StorageFsspec
from dotflow.providers.storage_s3 import StorageS3
from dotflow.testing import StorageContract

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    """Return a server, the same for all tests here; each has a bucket of its own."""
    with S3() as running:
        yield running


@pytest.fixture
def bucket(server: S3) -> str:
    """Return the name of an empty bucket."""
    return server.bucket()


@pytest.fixture
def proxy(server: S3) -> Iterator[Faulty]:
    """Return what stands between the storage and the server."""
    with Faulty(server.url) as running:
        yield running


@pytest.mark.usefixtures("_for_the_suite")
class TestContract(StorageContract, unittest.TestCase):
    """The suite of the contract."""

    server: S3

    @pytest.fixture(scope="class")
    @classmethod
    def _for_the_suite(cls, server: S3) -> None:
        cls.server = server

    def make_storage(self) -> StorageS3:
        """Return an empty storage."""
        return StorageS3(bucket=self.server.bucket(), **self.server.options())


class TestPromises(Promises):
    """What is promised beyond it."""

    @pytest.fixture
    def place(self, server: S3, bucket: str) -> Place:
        """Return a bucket of its own."""
        options = server.options()
        return Place(
            lambda: StorageS3(bucket=bucket, **options),
            "from dotflow.providers import StorageS3\n"
            f"storage = StorageS3(bucket={bucket!r}, **{options!r})",
        )


def objects(server: S3, bucket: str) -> list[str]:
    """Return the names of all objects."""
    import s3fs

    fs = s3fs.S3FileSystem(**server.options(), skip_instance_cache=True)
    return sorted(name.partition("/")[2] for name in fs.find(bucket))


@pytest.mark.parametrize(
    ("prefix", "name"), [("dotflow/", "dotflow/a-x"), ("", "a-x"), ("p/runs-", "p/runs-a-x")]
)
def test_names_of_objects(server: S3, bucket: str, prefix: str, name: str) -> None:
    """An object is `<prefix><key>`, and what else is in the bucket is left alone."""
    storage = StorageS3(bucket=bucket, prefix=prefix, region="eu-central-1", **server.options())
    other = StorageS3(bucket=bucket, prefix=f"other/{prefix}", **server.options())
    other.post("a-x", Context(storage="other"))
    storage.post("a-x", Context(storage=1))
    assert objects(server, bucket) == sorted([name, f"other/{prefix}a-x"])
    assert (storage.list_keys(""), storage.list_keys("a-")) == (["a-x"], ["a-x"])
    assert storage.delete_prefix("") == 1
    assert other.get("a-x").storage == "other"


def test_url_is_the_same_place(server: S3, bucket: str) -> None:
    """`StorageFsspec` and `StorageS3` read each other's documents."""
    by_url = StorageFsspec(f"s3://{bucket}/dotflow", **server.options())
    by_url.post("a", Context(storage=(1,)), fingerprint="f")
    by_name = StorageS3(bucket=bucket, **server.options())
    assert (by_name.get("a").storage, by_name.fingerprint("a")) == ((1,), "f")
    assert repr(by_name) == f"StorageS3('s3://{bucket}/dotflow/')"


def test_bucket_must_be_there(server: S3) -> None:
    """A bucket that there is not is an error at construction, which names it and no secret."""
    with pytest.raises(StorageError, match="Cannot use s3://absent/dotflow/: ") as caught:
        StorageS3(bucket="absent", **server.options())
    assert SECRET not in str(caught.value)


def test_server_that_is_not_there(bucket: str, server: S3) -> None:
    """Where nobody listens the error names the place, and no secret."""
    with closed_port() as address:
        options: dict[str, Any] = server.options(f"http://{address}")
        options["config_kwargs"] = {"retries": {"max_attempts": 1}}
        with pytest.raises(StorageError, match=f"Cannot use s3://{bucket}/dotflow/: ") as caught:
            StorageS3(bucket=bucket, **options)
    assert SECRET not in str(caught.value)


def test_many_keys_are_cleared(server: S3, bucket: str) -> None:
    """A workflow is removed, and no other, whatever its keys are."""
    storage = StorageS3(bucket=bucket, **server.options())
    own = [f"etl-{number:026d}" for number in range(40)]
    for key in (*own, "etl-_run", "etl-daily-_run", "etl-_input_fp"):
        storage.post(key, Context(storage=1))
    assert storage.clear("etl") == 42
    assert storage.list_keys("") == ["etl-daily-_run"]


# Faults


@pytest.mark.parametrize("fault", [SLOW_DOWN, BREAK_BEFORE, BREAK_AFTER])
def test_faults_of_a_write(server: S3, bucket: str, proxy: Faulty, fault: str) -> None:
    """A run whose writes are throttled or broken off loses no step, and doubles none."""
    storage = StorageS3(bucket=bucket, **server.options(proxy.url))
    ran: list[str] = []

    @action
    def first() -> list[int]:
        ran.append("first")
        proxy.faults += [fault, fault]
        return list(range(20_000))

    @action
    def second(previous_context: Context) -> int:
        ran.append("second")
        proxy.faults += [fault]
        return len(previous_context.storage)

    flow = DotFlow(config=Config(storage=storage), workflow_id="faults")
    flow.task.add([first, second])
    flow.start()
    assert proxy.faults == []
    assert [task.status for task in flow.result_task()] == ["Completed", "Completed"]
    again = DotFlow(
        config=Config(storage=StorageS3(bucket=bucket, **server.options())), workflow_id="faults"
    )
    again.task.add([first, second])
    again.start(resume=True)
    assert [task.restored for task in again.result_task()] == [True, True]
    assert again.result_storage() == [list(range(20_000)), 20_000]
    assert ran == ["first", "second"]


@pytest.mark.parametrize("fault", [SLOW_DOWN, BREAK_BEFORE, BREAK_AFTER])
@pytest.mark.parametrize("there", [None, "old"])
def test_faults_of_a_swap(
    server: S3, bucket: str, proxy: Faulty, fault: str, there: str | None
) -> None:
    """A swap is told as it was, also where it was done and its answer was lost."""
    storage = StorageS3(bucket=bucket, **server.options(proxy.url))
    if there is not None:
        storage.post("a", Context(storage=there))
    proxy.faults.append(fault)
    assert storage.atomic_swap("a", Context(storage=there), Context(storage="new")) is True
    assert proxy.faults == []
    assert storage.get("a").storage == "new"
    assert storage.atomic_swap("a", Context(storage=there), Context(storage="newer")) is False


@pytest.mark.parametrize("there", [None, 1])
def test_writer_in_between(server: S3, bucket: str, proxy: Faulty, there: int | None) -> None:
    """A swap that another writer comes before, after it has looked, changes nothing."""
    other = StorageS3(bucket=bucket, **server.options())
    if there is not None:
        other.post("a", Context(storage=there))
    storage = StorageS3(bucket=bucket, **server.options(proxy.url))
    proxy.meanwhile = lambda: other.post("a", Context(storage=2))
    proxy.faults.append(MEANWHILE)
    assert storage.atomic_swap("a", Context(storage=there), Context(storage=3)) is False
    assert proxy.faults == []
    assert other.get("a").storage == 2


def test_removed_in_between(server: S3, bucket: str, proxy: Faulty) -> None:
    """Nor does one whose object is removed after it has looked."""
    other = StorageS3(bucket=bucket, **server.options())
    other.post("a", Context(storage=1))
    storage = StorageS3(bucket=bucket, **server.options(proxy.url))
    proxy.meanwhile = lambda: other.delete("a")
    proxy.faults.append(MEANWHILE)
    assert storage.atomic_swap("a", Context(storage=1), Context(storage=3)) is False
    assert proxy.faults == []
    assert other.list_keys("") == []


def test_throttled_for_good(server: S3, bucket: str, proxy: Faulty) -> None:
    """After the retries of s3fs the task fails, with what the server said; the old value stays."""
    StorageS3(bucket=bucket, **server.options()).post("old", Context(storage="old"))
    options: dict[str, Any] = server.options(proxy.url)
    options["config_kwargs"] = {"retries": {"max_attempts": 1}}
    storage = StorageS3(bucket=bucket, **options)
    proxy.faults += [SLOW_DOWN] * 100
    with pytest.raises(StorageError, match=r"Cannot store 'old' in s3://.*reduce your request"):
        storage.post("old", Context(storage="a value that is secret"))
    proxy.faults.clear()
    assert storage.get("old").storage == "old"


# The command line


def test_command_line(server: S3, bucket: str, tmp_path: Path) -> None:
    """`--storage s3 --path BUCKET/PREFIX` resumes from a bucket, with keys of the environment."""
    (tmp_path / "steps.py").write_text(
        "from dotflow import action\n\n@action\ndef read():\n    print('reading')\n    return [1]\n"
    )

    def start(place: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *(sys.executable, "-m", "dotflow.main", "start", "--step", "steps:read"),
                *("--storage", "s3", "--path", place, "--workflow-id", "w", "--resume", "--json"),
            ],
            cwd=tmp_path,
            env={
                **os.environ,
                "AWS_ENDPOINT_URL": server.url,
                "AWS_ACCESS_KEY_ID": "dotflow",
                "AWS_SECRET_ACCESS_KEY": SECRET,
                "PYTHONPATH": os.pathsep.join(sys.path),
                "DOTFLOW_HISTORY": "0",
            },
            capture_output=True,
            text=True,
            check=False,
        )

    first, second = start(f"{bucket}/runs/"), start(f"{bucket}/runs/")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert ("reading" in first.stderr, "reading" in second.stderr) == (True, False)
    assert all(name.startswith("runs/w-") for name in objects(server, bucket))
    refused = start("absent/runs")
    assert refused.returncode == 2
    assert "--storage s3: Cannot use s3://absent/runs: " in refused.stderr
    assert SECRET not in refused.stderr
