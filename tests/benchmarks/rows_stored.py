"""What is measured of storages, how often, and the bars."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from processes import Pair, Peers, median_figures, within, workload
from row import Row

if TYPE_CHECKING:
    from collections.abc import Iterator


def stored(peers: Peers, pairs: int) -> Iterator[Row]:
    """What it costs to keep contexts, beside the bare writes to the same servers."""
    spent = median_figures(pairs, partial(workload, peers.stores, "stored_sql.py", 200, 5))
    beside = "a bare insert and commit"
    for name, what in {"run": "", "checkpoints": ", with checkpoints"}.items():
        figures = Pair(spent[name], spent["bare"])
        yield Row(f"run with `StorageSQL` on PostgreSQL{what}", "us/task", figures, beside, 3.0)
    put = "fsspec's own put"
    for where, what, beside, bar in (
        ("s3", "moto's S3", put, 1.5),
        ("disk", "a local folder", f"{put} and move, synced", 1.5),
        ("file", "a local folder", f"{put}, left to the system's memory", None),
    ):
        post = within(pairs, partial(workload, peers.stores, "stored_fsspec.py", where, 100, 5))
        yield Row(f"`StorageFsspec` on {what}", "us/context", post, beside, bar)
