"""Programs that are killed while they run, and what the backend has of them in the end.

Each mode is killed at two moments; `DOTFLOW_KILLS=20` kills each at so many random ones.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest
from wire.killing import check, kill_and_recover
from wire.sender import Wire

if TYPE_CHECKING:
    from pathlib import Path

    from wire.receivers import OwnReceiver

MODES = ("sequential", "sequential_group", "background", "parallel")
KILLS = int(os.environ.get("DOTFLOW_KILLS", "0"))
MOMENTS = [random.uniform(0, 1.5) for _ in range(KILLS)] or [0.0, 0.37]  # noqa: S311


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seconds", MOMENTS, ids=[f"moment {n}" for n in range(len(MOMENTS))])
def test_killed(own_receiver: OwnReceiver, tmp_path: Path, mode: str, seconds: float) -> None:
    """No run is missing and no span comes twice, at whatever moment the process is killed."""
    killed = kill_and_recover(Wire(own_receiver, "http/protobuf"), tmp_path, mode, seconds)
    check(killed)
