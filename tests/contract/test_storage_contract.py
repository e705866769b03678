"""The storages that dotflow brings keep what every storage promises."""

from __future__ import annotations

import shutil
import tempfile
import unittest
from typing import TYPE_CHECKING

from dotflow.providers.storage_default import StorageDefault
from dotflow.providers.storage_file import StorageFile
from dotflow.testing import StorageContract

if TYPE_CHECKING:
    from typing import Any

    from dotflow.abc.storage import Storage
    from dotflow.core.context import Context


class TestStorageDefault(StorageContract, unittest.TestCase):
    """In memory."""

    def make_storage(self) -> Storage:
        """Return an empty storage."""
        return StorageDefault()


class TestStorageFile(StorageContract, unittest.TestCase):
    """In files."""

    def make_storage(self) -> Storage:
        """Return a storage in a folder of its own."""
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        return StorageFile(path=folder)


def run(suite: type[unittest.TestCase]) -> unittest.TestResult:
    """Run a suite as users run it."""
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(suite).run(result)
    return result


def failed(result: unittest.TestResult) -> set[str]:
    """Return the names of the tests that failed."""
    return {test.id().rpartition(".")[2] for test, _ in result.failures}


def test_suite_has_twelve_tests() -> None:
    """A right storage passes all twelve."""
    result = run(TestStorageDefault)
    assert (result.testsRun, result.failures, result.errors) == (12, [], [])


def test_suite_without_ttl_skips_three() -> None:
    """A storage that knows no ttl is spared the tests of it."""

    class WithoutTtl(TestStorageDefault):
        supports_ttl = False

    result = run(WithoutTtl)
    names = {test.id().rpartition(".")[2] for test, _ in result.skipped}
    assert names == {"test_swap_clears_ttl", "test_swap_sets_ttl", "test_ttl_expiry"}
    assert result.wasSuccessful()


def test_suite_asks_for_the_storage() -> None:
    """Without `make_storage` each test says what is missing."""

    class Forgotten(StorageContract, unittest.TestCase):
        pass

    result = run(Forgotten)
    assert len(result.errors) == 12
    assert "Forgotten must define make_storage()" in result.errors[0][1]


def test_suite_finds_faults() -> None:
    """A swap that never succeeds and a clear by bare prefix are each found."""

    class Faulty(StorageDefault):
        def atomic_swap(self, *_: Any, **__: Any) -> bool:
            return False

        def clear(self, workflow_id: Any) -> int:
            return self.delete_prefix(f"{workflow_id}-")

    class TestFaulty(StorageContract, unittest.TestCase):
        def make_storage(self) -> Storage:
            return Faulty()

    expected = {"test_swap_match", "test_swap_clears_ttl", "test_swap_sets_ttl", "test_clear"}
    assert failed(run(TestFaulty)) == expected


def test_suite_finds_a_ttl_that_is_ignored() -> None:
    """A storage that says it has ttl and has none fails those tests, in bounded time."""

    class Endless(StorageDefault):
        def post(self, key: str, context: Context, *_: Any, **__: Any) -> None:
            super().post(key, context)

    class TestEndless(StorageContract, unittest.TestCase):
        patience = 0.1

        def make_storage(self) -> Storage:
            return Endless()

    expected = {"test_swap_clears_ttl", "test_swap_sets_ttl", "test_ttl_expiry"}
    assert failed(run(TestEndless)) == expected
