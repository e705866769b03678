"""As `parallel.py`, from a script that has no main guard, as many scripts have none."""

from __future__ import annotations

import sys

from rounds import tell
from workload import timed

from dotflow import action


@action
def step() -> int:
    """Do nothing that takes time."""
    return 1


first, second = (timed(step, int(sys.argv[1]), mode="parallel")["run"] for _ in range(2))
tell({"first": first, "second": second})
