"""What a task holds after its run, in bytes: `memory.py COUNT rss|traced`.

The step gives None, so that no result is counted. `rss` is what the process grew by, as the
kernel sees it; `traced` is what `tracemalloc` finds allocated and still held.
"""

from __future__ import annotations

import gc
import os
import sys
import tracemalloc
from pathlib import Path

from rounds import tell
from workload import check, flow_of

from dotflow import action


@action
def step() -> None:
    """Do nothing and give nothing."""


def resident() -> int:
    """Return how many bytes of this process are in memory."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def traced() -> int:
    """Return how many bytes Python has allocated."""
    return tracemalloc.get_traced_memory()[0]


def main(count: int, method: str) -> None:
    """Return by how much building and running `count` tasks grew the process, a task."""
    flow_of(step, 10).start()
    use = resident
    if method == "traced":
        tracemalloc.start()
        use = traced
    gc.collect()
    before = use()
    flow = flow_of(step, count)
    flow.start()
    gc.collect()
    grown = use() - before
    check(flow, count)
    tell({"bytes": grown / count})


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
