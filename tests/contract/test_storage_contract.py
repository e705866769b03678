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
    from dotflow.abc.storage import Storage


class TestStorageDefault(StorageContract, unittest.TestCase):
    """In memory."""

    def make_storage(self) -> Storage:
        """Give an empty storage."""
        return StorageDefault()


class TestStorageFile(StorageContract, unittest.TestCase):
    """In files."""

    def make_storage(self) -> Storage:
        """Give a storage in a folder of its own."""
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        return StorageFile(path=folder)
