"""What every storage promises, as tests."""

# ruff: noqa: PT009 - users run these with unittest, whose assertions `python -O` keeps

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from dotflow.core.context import Context

if TYPE_CHECKING:
    import unittest

    from dotflow.abc.storage import Storage

    _TestCase = unittest.TestCase
else:
    _TestCase = object


class StorageContract(_TestCase):
    """Twelve tests of a storage; mix it into a `unittest.TestCase`.

    ```python
    class TestMyStorage(StorageContract, unittest.TestCase):
        def make_storage(self):
            return MyStorage()
    ```

    Attributes:
        supports_ttl: False skips the three tests of expiry.
        ttl: Seconds, at least the resolution of the storage's clock.
        patience: Seconds after its ttl by which a value must be gone.
    """

    supports_ttl: bool = True
    ttl: float = 0.05
    patience: float = 10.0

    def make_storage(self) -> Storage:
        """Return a new, empty storage."""
        raise NotImplementedError(f"{type(self).__qualname__} must define make_storage()")

    def test_roundtrip(self) -> None:
        """What was posted is what is got, with its ids; the last post counts."""
        storage = self.make_storage()
        storage.post("flow-a", Context(storage="old"))
        storage.post("flow-a", Context(storage={"n": [1, 2.5, None, "x"]}, task_id="a"))
        found = storage.get("flow-a")
        self.assertEqual(found.storage, {"n": [1, 2.5, None, "x"]})
        self.assertEqual(found.task_id, "a")

    def test_missing_key(self) -> None:
        """An absent key gives an empty context."""
        found = self.make_storage().get("flow-absent")
        self.assertIsInstance(found, Context)
        self.assertIsNone(found.storage)

    def test_delete_present(self) -> None:
        """Deleting a present key says so, and it is gone."""
        storage = self._filled("flow-a")
        self.assertIs(storage.delete("flow-a"), True)
        self.assertIsNone(storage.get("flow-a").storage)

    def test_delete_absent(self) -> None:
        """Deleting an absent key says that nothing was there."""
        self.assertIs(self.make_storage().delete("flow-a"), False)

    def test_delete_prefix_counts(self) -> None:
        """Deleting a prefix removes those keys, no other, and counts them."""
        storage = self._filled("flow-a", "flow-b", "other-a")
        self.assertEqual(storage.delete_prefix("flow-"), 2)
        self.assertEqual(storage.delete_prefix("flow-"), 0)
        self.assertEqual(storage.get("other-a").storage, "other-a")

    def test_list_keys(self) -> None:
        """The keys with the prefix are listed, each as it was posted."""
        storage = self._filled("flow-a", "flow-b", "other-a")
        self.assertEqual(sorted(storage.list_keys("flow-")), ["flow-a", "flow-b"])
        self.assertEqual(list(storage.list_keys("none-")), [])

    def test_swap_match(self) -> None:
        """A swap from the value that is there, or from nothing, stores the new one."""
        storage = self.make_storage()
        self.assertIs(storage.atomic_swap("flow-a", None, Context(storage=1)), True)
        self.assertIs(storage.atomic_swap("flow-b", Context(), Context(storage=1)), True)
        self.assertIs(storage.atomic_swap("flow-a", Context(storage=1), Context(storage=2)), True)
        self.assertEqual(storage.get("flow-a").storage, 2)

    def test_swap_mismatch(self) -> None:
        """A swap from any other value changes nothing."""
        storage = self._filled("flow-a")
        new = Context(storage="new")
        self.assertIs(storage.atomic_swap("flow-a", Context(storage="other"), new), False)
        self.assertIs(storage.atomic_swap("flow-a", None, new), False)
        self.assertIs(storage.atomic_swap("flow-b", Context(storage="other"), new), False)
        self.assertEqual(storage.get("flow-a").storage, "flow-a")
        self.assertIsNone(storage.get("flow-b").storage)

    def test_swap_clears_ttl(self) -> None:
        """A swap without a ttl makes a value stay that had one."""
        storage = self._storage_with_ttl()
        self._swap_within_ttl(storage, "flow-a")
        storage.post("flow-later", Context(storage=1), ttl=self.ttl)
        self._until_gone(storage, "flow-later")
        self.assertEqual(storage.get("flow-a").storage, 2)

    def test_swap_sets_ttl(self) -> None:
        """A swap with a ttl makes the new value go after it."""
        storage = self._storage_with_ttl()
        storage.post("flow-a", Context(storage=1))
        swapped = storage.atomic_swap(
            "flow-a", Context(storage=1), Context(storage=2), ttl=self.ttl
        )
        self.assertIs(swapped, True)
        self._until_gone(storage, "flow-a")

    def test_ttl_expiry(self) -> None:
        """After its ttl a value is gone, for every method; a post without ttl clears it."""
        storage = self._storage_with_ttl()
        storage.post("flow-kept", Context(storage=1), ttl=self.ttl)
        storage.post("flow-kept", Context(storage=2))
        storage.post("flow-a", Context(storage=1), ttl=self.ttl)
        self._until_gone(storage, "flow-a")
        self.assertEqual(list(storage.list_keys("flow-")), ["flow-kept"])
        self.assertIs(storage.delete("flow-a"), False)
        self.assertEqual(storage.get("flow-kept").storage, 2)

    def test_clear(self) -> None:
        """Clearing a workflow removes its keys, and none of one whose id begins the same."""
        other = "etl-daily-01HXYZ0123456789ABCDEFGHJK"
        storage = self._filled("etl-01HXYZ0123456789ABCDEFGHJK", "etl-_run", other)
        storage.clear("etl")
        self.assertEqual(list(storage.list_keys("")), [other])

    def _filled(self, *keys: str) -> Storage:
        storage = self.make_storage()
        for key in keys:
            storage.post(key, Context(storage=key))
        return storage

    def _storage_with_ttl(self) -> Storage:
        if not self.supports_ttl:
            self.skipTest("the storage has no ttl")
        return self.make_storage()

    def _swap_within_ttl(self, storage: Storage, key: str) -> None:
        # On a busy machine the ttl may pass before the swap: then again.
        for _ in range(100):
            storage.post(key, Context(storage=1), ttl=self.ttl)
            if storage.atomic_swap(key, Context(storage=1), Context(storage=2)):
                return
        self.fail("no swap found the value within its ttl")

    def _until_gone(self, storage: Storage, key: str) -> None:
        # Nothing announces an expiry, so it is polled for.
        deadline = time.monotonic() + self.ttl + self.patience
        while storage.get(key).storage is not None:
            self.assertLess(time.monotonic(), deadline, f"{key} outlived its ttl")
            time.sleep(self.ttl / 10)
