"""For tests: suites that a provider of one's own must pass."""

from __future__ import annotations

from dotflow.testing.storage import StorageContract

__all__ = ["StorageContract"]
