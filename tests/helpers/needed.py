"""Tools that some tests need beside Python packages: without them a test is skipped.

Where `DOTFLOW_REQUIRE_TOOLS` is `1`, as in CI, it fails instead. `make tools` installs them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from pathlib import Path

REQUIRED: Final = "DOTFLOW_REQUIRE_TOOLS"


def tool(name: str, found: str | Path | None, hint: str) -> str:
    """Return the place of a tool, or skip the test that asks; where tools are required, fail it.

    Args:
        name: What the tool is called.
        found: Where it is, if it is there.
        hint: How to get it.
    """
    if found is not None:
        return str(found)
    reason = f"{name} is not installed: {hint}"
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{reason} ({REQUIRED} is 1)")
    pytest.skip(reason)
