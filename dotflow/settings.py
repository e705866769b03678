"""Paths that the environment can set."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

# Read once, at import.
_BASE: Final = os.environ.get("DOTFLOW_OUTPUT_PATH") or ".output"


class _Paths(type):
    # Paths are made when asked for: `pathlib` takes longer to import than most of dotflow.
    @property
    def START_PATH(cls) -> Path:  # noqa: N802 - the 1.x name of a constant
        """The folder that dotflow writes to."""
        from pathlib import Path  # noqa: PLC0415 - see above

        return Path(_BASE)

    @property
    def LOG_PATH(cls) -> Path:  # noqa: N802 - the 1.x name of a constant
        """The file that `LogDefault` writes to where it writes to a file."""
        return cls.START_PATH / "flow.log"


class Settings(metaclass=_Paths):
    """Where dotflow writes: `START_PATH`, from `DOTFLOW_OUTPUT_PATH`, and `LOG_PATH` in it."""
