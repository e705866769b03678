"""StorageGCS on fake-gcs-server: the contract, faults, several writers. Google's is not tested."""

from __future__ import annotations

import unittest
from typing import TYPE_CHECKING

import pytest
from backends.faulty import BREAK_AFTER, MEANWHILE, Faulty
from backends.gcs import Gcs
from promises import Place, Promises

from dotflow.core.context import Context
from dotflow.core.exception import StorageError
from dotflow.providers.storage_fsspec import StorageFsspec
from dotflow.providers.storage_gcs import StorageGCS
from dotflow.testing import StorageContract

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gcs]:
    """Return a server, the same for all tests here; each has a bucket of its own."""
    with pytest.MonkeyPatch.context() as patch, Gcs(tmp_path_factory.mktemp("gcs")) as running:
        # Else gcsfs asks by gRPC, which this server does not speak, what kind of bucket it is.
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        yield running


@pytest.fixture
def bucket(server: Gcs) -> str:
    """Return the name of an empty bucket."""
    return server.bucket()


@pytest.fixture
def proxy(server: Gcs) -> Iterator[Faulty]:
    """Return what stands between the storage and the server."""
    with Faulty(server.url, method="POST") as running:
        yield running


@pytest.mark.usefixtures("_for_the_suite")
class TestContract(StorageContract, unittest.TestCase):
    """The suite of the contract."""

    server: Gcs

    @pytest.fixture(scope="class")
    @classmethod
    def _for_the_suite(cls, server: Gcs) -> None:
        cls.server = server

    def make_storage(self) -> StorageGCS:
        """Return an empty storage."""
        return StorageGCS(bucket=self.server.bucket(), **self.server.options())


class TestPromises(Promises):
    """What is promised beyond it."""

    @pytest.fixture
    def place(self, server: Gcs, bucket: str) -> Place:
        """Return a bucket of its own."""
        options = server.options()
        return Place(
            lambda: StorageGCS(bucket=bucket, **options),
            "from dotflow.providers import StorageGCS\n"
            f"storage = StorageGCS(bucket={bucket!r}, **{options!r})",
        )


@pytest.mark.parametrize("prefix", ["dotflow/", "", "p/runs-"])
def test_names_of_objects(server: Gcs, bucket: str, prefix: str) -> None:
    """An object is `<prefix><key>`, also by URL, and what else is in the bucket is left alone."""
    storage = StorageGCS(bucket=bucket, prefix=prefix, project="p", **server.options())
    other = StorageGCS(bucket=bucket, prefix=f"other/{prefix}", **server.options())
    other.post("a-x", Context(storage="other"))
    storage.post("a-x", Context(storage=1))
    assert (storage.list_keys(""), storage.list_keys("a-")) == (["a-x"], ["a-x"])
    if not prefix.endswith("-"):
        by_url = StorageFsspec(f"gs://{bucket}/{prefix}", **server.options())
        assert by_url.get("a-x").storage == 1
    assert storage.delete_prefix("") == 1
    assert other.get("a-x").storage == "other"


def test_bucket_must_be_there(server: Gcs) -> None:
    """A bucket that there is not is an error at construction, which names it."""
    with pytest.raises(StorageError, match="Cannot use gs://absent/dotflow/: "):
        StorageGCS(bucket="absent", **server.options())


@pytest.mark.parametrize("there", [None, 1])
def test_writer_in_between(server: Gcs, bucket: str, proxy: Faulty, there: int | None) -> None:
    """A swap that another writer comes before, after it has looked, changes nothing."""
    other = StorageGCS(bucket=bucket, **server.options())
    if there is not None:
        other.post("a", Context(storage=there))
    storage = StorageGCS(bucket=bucket, **server.options(proxy.url))
    proxy.meanwhile = lambda: other.post("a", Context(storage=2))
    proxy.faults.append(MEANWHILE)
    assert storage.atomic_swap("a", Context(storage=there), Context(storage=3)) is False
    assert proxy.faults == []
    assert other.get("a").storage == 2


@pytest.mark.parametrize("there", [None, 1])
def test_swap_whose_answer_was_lost(
    server: Gcs, bucket: str, proxy: Faulty, there: int | None
) -> None:
    """A swap that was done, and whose connection then broke, has happened, once."""
    storage = StorageGCS(bucket=bucket, **server.options(proxy.url))
    if there is not None:
        storage.post("a", Context(storage=there))
    proxy.faults.append(BREAK_AFTER)
    assert storage.atomic_swap("a", Context(storage=there), Context(storage=2)) is True
    assert proxy.faults == []
    assert storage.get("a").storage == 2
