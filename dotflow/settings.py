"""Paths that the environment can set."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final


class Settings:
    """Where dotflow writes, read once from `DOTFLOW_OUTPUT_PATH` at import."""

    START_PATH: Final = Path(os.environ.get("DOTFLOW_OUTPUT_PATH") or ".output")
    LOG_PATH: Final = START_PATH / "flow.log"
