"""Pythons that start no thread once the main thread has ended."""

from __future__ import annotations

import sys
from typing import Final

import pytest

# https://github.com/python/cpython/issues/113964
needs_late_threads: Final = pytest.mark.skipif(
    (3, 12) <= sys.version_info < (3, 12, 3),
    reason="Python 3.12.0 to 3.12.2 start no thread once the main thread has ended",
)
